package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Verdict is what a check found.
type Verdict string

// The verdicts, worst last.
const (
	Good    Verdict = "ok"
	Warning Verdict = "warning"
	Bad     Verdict = "failed"
)

// Check is one line of a probe.
type Check struct {
	Subject string  `json:"subject"` // "shm", "tcp", "ibverbs", "dax", "dpm"
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Hint    string  `json:"hint,omitempty"` // what to do
}

// ProbeOptions say what to look at besides this machine itself.
type ProbeOptions struct {
	Backends backends.Options
	// Directory where a pool would lie, for dax; "" leaves that out.
	Directory string
	// Address of a DPM to dial with Backend; "" leaves that out. A Backend that cannot be used is worse than another one that cannot.
	Address string
	Backend string
	Timeout time.Duration // default 5 s
}

// ProbeReport is what a probe found.
type ProbeReport struct {
	Checks []Check `json:"checks"`
}

// Worst returns the worst verdict.
func (p ProbeReport) Worst() Verdict {
	worst := Good
	for _, c := range p.Checks {
		if c.Verdict == Bad || c.Verdict == Warning && worst == Good {
			worst = c.Verdict
		}
	}
	return worst
}

// String returns the report as text, one line a check.
func (p ProbeReport) String() string {
	var b strings.Builder
	for _, c := range p.Checks {
		fmt.Fprintf(&b, "%-8s %-8s %s\n", c.Subject, c.Verdict, c.Detail)
		if c.Hint != "" {
			fmt.Fprintf(&b, "%17s -> %s\n", "", c.Hint)
		}
	}
	return b.String()
}

// Probe tries what each backend needs on this machine. It changes nothing.
func Probe(ctx context.Context, o ProbeOptions) ProbeReport {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	var p ProbeReport
	for _, name := range []string{"tcp", "shm"} {
		p.add(loopback(ctx, name, o))
	}
	if err := ibverbs.Available(); err != nil {
		verdict := Warning
		if o.Backend == "ibverbs" {
			verdict = Bad
		}
		p.add(Check{"ibverbs", verdict, err.Error(), ""})
	} else {
		for _, f := range ibverbs.Probe(o.Backends.IBVerbs) {
			p.add(Check{"ibverbs", verdictOf(f.Level), f.Detail, f.Hint})
		}
	}
	if o.Directory != "" {
		p.add(dax(o.Directory))
	}
	if o.Address != "" {
		p.add(dpm(ctx, o))
	}
	return p
}

func (p *ProbeReport) add(c Check) { p.Checks = append(p.Checks, c) }

func verdictOf(l ibverbs.Level) Verdict {
	switch l {
	case ibverbs.LevelGood:
		return Good
	case ibverbs.LevelWarning:
		return Warning
	}
	return Bad
}

// loopback serves a small pool and works on it.
func loopback(ctx context.Context, name string, o ProbeOptions) Check {
	result, err := Run(ctx, Options{
		Backend: name, Backends: o.Backends, Verbs: []fabric.Kind{fabric.Read}, Sizes: []int{64}, Batches: []int{1},
		Duration: 20 * time.Millisecond, Dial: fabric.DialOptions{DialTimeout: o.Timeout, Timeout: o.Timeout},
	})
	if err != nil {
		return Check{name, Bad, err.Error(), ""}
	}
	return Check{name, Good, fmt.Sprintf("loopback READ of 64 bytes: p50 %.2f us", result.Results[0].LatencyMicroseconds.P50), ""}
}

// dax looks at persistent memory.
func dax(directory string) Check {
	switch err := pmem.HaveDAX(directory); {
	case err == nil:
		return Check{"dax", Good, fmt.Sprintf("%s maps with MAP_SYNC; write-back by %s", directory, pmem.WriteBackInstruction()), ""}
	case errors.Is(err, pmem.ErrNoDAX):
		return Check{"dax", Warning, err.Error(), "durability fsync works on any disk"}
	case errors.Is(err, os.ErrNotExist):
		return Check{"dax", Bad, err.Error(), "name a directory that exists"}
	default:
		return Check{"dax", Warning, "not known: " + err.Error(), ""}
	}
}

// dpm dials a live DPM.
func dpm(ctx context.Context, o ProbeOptions) Check {
	backend, err := backends.Lookup(o.Backend, o.Backends)
	if err != nil {
		return Check{"dpm", Bad, err.Error(), ""}
	}
	qp, err := backend.Dialer.Dial(ctx, o.Address, fabric.DialOptions{
		Hello:       fabric.Hello{Access: fabric.ReadOnly, Identity: "fabric-probe", Thread: fabric.SharedThread},
		DialTimeout: o.Timeout, Timeout: o.Timeout,
	})
	if err != nil {
		return Check{"dpm", Bad, err.Error(), hintFor(err)}
	}
	defer qp.Close()
	if err := qp.Post([]fabric.Verb{{Kind: fabric.Read, Buffer: make([]byte, 64)}}); err != nil {
		return Check{"dpm", Bad, fmt.Sprintf("admitted, but a READ fails: %v", err), hintFor(err)}
	}
	s := qp.Session()
	return Check{"dpm", Good, fmt.Sprintf("%s by %s: pool %s of %d MiB, %s, start %d", o.Address, o.Backend, s.Pool, s.PoolBytes>>20, s.Durability, s.ServerEpoch), ""}
}

func hintFor(err error) string {
	switch {
	case errors.Is(err, fabric.ErrWrongPool):
		return "this end and the DPM must be of one version, and with shm on one machine"
	case errors.Is(err, fabric.ErrTimeout):
		return "is the address right, and does a firewall drop packets?"
	case errors.Is(err, fabric.ErrRefused):
		return "does the DPM serve this fabric, and has it a free rank?"
	}
	return ""
}
