package experiment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// Kinds of failure.
const (
	// KnownDead is a process that is killed; the management node waited for it and says so.
	KnownDead = "known-dead"
	// Unreachable is a process that is stopped: only its lease tells.
	Unreachable = "unreachable"
)

// FailureOptions say which failures to make. The zero value of a field means its default.
type FailureOptions struct {
	Options
	// KNs at first. Default 3. The failed one is replaced at the end of each failure's part.
	KNs int
	// Kinds are the failures, one after the other. Default both.
	Kinds []string
	// Outstanding is the load. Default 32. ReadRatio is the share of reads. Default 0.5, so that there is something to merge.
	Outstanding int
	ReadRatio   float64
	// Before and After are how long the load goes on around each failure. Default 3 s and 5 s.
	Before, After time.Duration
	// Probes is how many keys of the failed KN are asked for until they are served. Default 64.
	Probes int
	// Patience bounds the wait for them. Default 30 s.
	Patience time.Duration
}

// EnsureDefaults fills zero fields.
func (o *FailureOptions) EnsureDefaults() {
	o.Options.EnsureDefaults()
	for _, d := range []struct {
		field *int
		value int
	}{{&o.KNs, 3}, {&o.Outstanding, 32}, {&o.Probes, 64}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Before, 3 * time.Second}, {&o.After, 5 * time.Second}, {&o.Patience, 30 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.ReadRatio == 0 {
		o.ReadRatio = 0.5
	}
	if o.Kinds == nil {
		o.Kinds = []string{KnownDead, Unreachable}
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = o.dataBytes() / 16
	}
}

// Validate says what is wrong, after EnsureDefaults.
func (o *FailureOptions) Validate() error {
	if o.KNs < 2 || o.KNs > cluster.MaxKNs {
		return fmt.Errorf("failure: %d KNs; want 2 to %d: somebody has to take over", o.KNs, cluster.MaxKNs)
	}
	for _, k := range o.Kinds {
		if k != KnownDead && k != Unreachable {
			return fmt.Errorf("failure: kind %q; want %s or %s", k, KnownDead, Unreachable)
		}
	}
	if o.Outstanding < 1 || o.Probes < 1 || o.ReadRatio < 0 || o.ReadRatio > 1 {
		return errors.New("failure: outstanding operations and probes must be positive, the read ratio 0 to 1")
	}
	return o.Options.Validate()
}

// Failover is what the failure of a KN meant for its keys. Times are milliseconds since the failure.
type Failover struct {
	Kind string `json:"kind"`
	KN   string `json:"kn"`
	// AtSeconds is when it had failed, on the time line: its process was stopped, or seen to be gone.
	AtSeconds float64 `json:"at_seconds"`
	// LeaseMillis is the configured lease and margin, which an unreachable KN's keys wait for.
	LeaseMillis float64 `json:"lease_and_margin_ms"`
	// MapMillis is when the map without it was in force, as seen by a poll of the pool; AllServedMillis when each of Probes of
	// its keys had been read again, FirstServedMillis the first of them. The slowest one's wait includes what the client needed to
	// learn of the new owner.
	MapMillis         float64 `json:"map_changed_ms"`
	FirstServedMillis float64 `json:"first_key_served_ms"`
	AllServedMillis   float64 `json:"all_keys_served_ms"`
	Probes            int     `json:"probes"`
	// Change is what the coordinator says about the change of ownership: fencing and merging included.
	Change string `json:"change,omitempty"`
}

func (f Failover) String() string {
	s := fmt.Sprintf("%s KN %s at %.2f s: map changed after %.0f ms, its keys served again after %.0f to %.0f ms (%d keys probed)",
		f.Kind, f.KN, f.AtSeconds, f.MapMillis, f.FirstServedMillis, f.AllServedMillis, f.Probes)
	if f.Kind == Unreachable {
		s += fmt.Sprintf("; lease and margin are %.0f ms", f.LeaseMillis)
	}
	if f.Change != "" {
		s += "\n  " + f.Change
	}
	return s
}

// Failure kills a KN, and stops another, under load (Dinomo §6, figure of fault tolerance), and measures how long their keys were
// not served. ErrNotShown: some were not served again.
func Failure(ctx context.Context, o FailureOptions) (report *TimedReport, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	w, err := keysOf(o.Keys, o.Zipf, o.ReadRatio)
	if err != nil {
		return nil, err
	}
	x, err := begin(ctx, &o.Options, cluster.Topology{KNs: o.KNs}, setup{
		name: "failure", step: 50 * time.Millisecond, attempt: 200 * time.Millisecond,
		set: []string{"policy.policy-decision-period=1s", "policy.server-report-period=1s"}, // how often the journal is written
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	x.l.setWorkload(w)
	x.phase("before")
	x.l.setOutstanding(o.Outstanding)
	var failovers []Failover
	var failed error
	for _, kind := range o.Kinds {
		f, err := o.fail(ctx, x, kind)
		failovers = append(failovers, f)
		if failed = errors.Join(failed, err); err != nil && !errors.Is(err, ErrNotShown) {
			return nil, err
		}
	}
	// The journal is written at the end of a period.
	if err := x.l.rest(ctx, 1500*time.Millisecond); err != nil {
		return nil, err
	}
	report, err = x.report("A KN fails under load", map[string]string{
		"load": fmt.Sprintf("%d operations under way, %g %% reads", o.Outstanding, 100*o.ReadRatio), "KNs": fmt.Sprint(o.KNs),
		"attempt timeout of clients": "200ms",
	})
	if report != nil {
		report.Failovers = failovers
		report.explain()
	}
	return report, errors.Join(err, failed)
}

// fail makes one failure, measures it, and replaces the KN.
func (o *FailureOptions) fail(ctx context.Context, x *timed, kind string) (Failover, error) {
	lease := x.c.Conf().Dinomo.Lease
	f := Failover{Kind: kind, LeaseMillis: millis(lease.Length + lease.Margin)}
	if err := x.l.rest(ctx, o.Before); err != nil {
		return f, err
	}
	victim, pid, err := o.victim(ctx, x)
	if err != nil {
		return f, err
	}
	probes, err := newProbes(o, x, victim)
	if err != nil {
		return f, err
	}
	defer probes.close()
	x.phase(kind + " " + victim.PrivateIP)
	f.KN, f.Probes = victim.PrivateIP, len(probes.keys)
	if err := x.strike(ctx, kind, victim.PrivateIP, pid); err != nil {
		return f, err
	}
	at := x.l.now()
	f.AtSeconds = at.Seconds()
	first, all, probeErr := probes.run(ctx, o.Patience, x.l)
	f.FirstServedMillis, f.AllServedMillis = millis(first-at), millis(all-at)
	if probeErr != nil {
		return f, probeErr
	}
	x.mark("its keys are served again")
	if err := x.l.rest(ctx, o.After); err != nil {
		return f, err
	}
	if changed, ok := x.w.since(at, func(m *hashring.Map) bool { _, there := m.Member(victim.Rank); return !there }); ok {
		f.MapMillis = millis(changed - at)
	}
	if err := x.revive(kind, victim.PrivateIP, pid); err != nil {
		return f, err
	}
	return f, nil
}

// strike makes a process fail and returns when it has: killed by the management node, which waits for it, tells the M-node and does
// not start it again; or stopped.
func (x *timed) strike(ctx context.Context, kind, ip string, pid int) error {
	if kind == Unreachable {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("stop KN %s: %w", ip, err)
		}
		// A thread stops when it next runs: until then it serves.
		for !stopped(pid) && ctx.Err() == nil {
			x.l.clock.Sleep(500 * time.Microsecond)
		}
		return context.Cause(ctx)
	}
	if _, err := x.c.KillNodes(ctx, ip); err != nil {
		return fmt.Errorf("have KN %s killed: %w", ip, err)
	}
	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) && ctx.Err() == nil {
		x.l.clock.Sleep(500 * time.Microsecond)
	}
	return context.Cause(ctx)
}

// stopped says whether all threads of a process are.
func stopped(pid int) bool {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		// The state follows the name, which is in parentheses and may contain anything.
		if _, state, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(" ")); !ok || len(state) == 0 || state[0] != 'T' {
			return false
		}
	}
	return len(paths) > 0
}

// revive brings the number of KNs back to what it was.
func (x *timed) revive(kind, ip string, pid int) error {
	if kind == Unreachable {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			return fmt.Errorf("continue KN %s: %w", ip, err)
		}
		x.mark("%s continues, fenced; it is started again", ip)
		return nil
	}
	to, err := x.c.Plan().Address(x.o.Network.Manage(), messages.ManageChurn, 0)
	if err != nil {
		return err
	}
	x.mark("another KN is added")
	return x.asker.SendFrame(to.String(), []byte(messages.Churn{Action: messages.ChurnAdd, Count: 1, Kind: messages.KindMemory}.String()))
}

// victim picks a member and its process.
func (o *FailureOptions) victim(ctx context.Context, x *timed) (hashring.Member, int, error) {
	within, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	for {
		report, err := x.c.ManagerStatus(within)
		if err != nil {
			return hashring.Member{}, 0, fmt.Errorf("ask the management node for KNs: %w", err)
		}
		members := x.w.ownership().Members()
		for _, n := range report.GetNodes() {
			for _, m := range members {
				if m.PrivateIP == n.GetPrivateIp() && n.GetState() == "running" && n.GetPid() != 0 && len(members) >= o.KNs {
					return m, int(n.GetPid()), nil
				}
			}
		}
		if within.Err() != nil {
			return hashring.Member{}, 0, fmt.Errorf("%d of %d KNs are members; the failed one did not come back", len(members), o.KNs)
		}
		x.l.clock.Sleep(50 * time.Millisecond)
	}
}

// probes are clients of their own that ask for a failed KN's keys until each was served.
type probes struct {
	c    *client.Client
	keys []string
}

// probeAttempt is how long a probe waits for an answer: it bounds how much later than the keys are served that is noticed.
const probeAttempt = 20 * time.Millisecond

// newProbes finds keys of a KN and reads each once, so that the client knows where they were.
func newProbes(o *FailureOptions, x *timed, victim hashring.Member) (*probes, error) {
	m := x.w.ownership()
	p := &probes{}
	rng := random.New(o.Seed + 5)
	for range 10_000 * o.Probes {
		key := keyName(rng.Uint64N(o.Keys) + 1)
		if owner, ok := m.PrimaryOwner(hashring.KeyHash([]byte(key))); ok && owner.Rank == victim.Rank {
			if p.keys = append(p.keys, key); len(p.keys) == o.Probes {
				break
			}
		}
	}
	if len(p.keys) == 0 {
		return nil, fmt.Errorf("KN %s owns none of the keys", victim.PrivateIP)
	}
	routing, err := x.c.Topology().Routing(x.c.Plan(), x.c.Conf().Threads.Routing)
	if err != nil {
		return nil, err
	}
	ip := o.Network.Tool(2 + loadLanes)
	p.c, err = client.New(client.Options{
		Routing: routing, IP: ip, LocalIP: cluster.DialFrom(ip), AnyPort: true, AttemptTimeout: probeAttempt, RetryPauseMax: 5 * time.Millisecond,
		Seed: o.Seed + 6,
	})
	return p, err
}

func (p *probes) close() { _ = p.c.Close() }

// run reads all keys until each was served, and returns when the first and the last were.
func (p *probes) run(ctx context.Context, patience time.Duration, l *load) (first, all time.Duration, err error) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	type end struct {
		at  time.Duration
		err error
	}
	ends := make(chan end, len(p.keys))
	for _, key := range p.keys {
		go func() {
			_, err := p.c.Get(within, key)
			ends <- end{l.now(), err}
		}()
	}
	for range p.keys {
		e := <-ends
		if e.err != nil {
			err = fmt.Errorf("%w: a key was not served again: %w", ErrNotShown, e.err)
			continue
		}
		if first == 0 {
			first = e.at
		}
		all = max(all, e.at)
	}
	return first, all, err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// explain adds the coordinator's words to the failovers.
func (r *TimedReport) explain() {
	for i := range r.Failovers {
		f := &r.Failovers[i]
		for _, m := range r.Marks {
			// The M-node may have been faster than this process to hear of the end.
			if m.AtSeconds >= f.AtSeconds-0.1 && strings.HasPrefix(m.Label, "epoch") && strings.Contains(m.Label, "failure of "+f.KN) {
				f.Change = m.Label
				break
			}
		}
	}
}
