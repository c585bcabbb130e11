package sim

import (
	"time"

	"github.com/dinomo-kv/dinomo/actors/dpmnode"
	"github.com/dinomo-kv/dinomo/actors/kn"
	"github.com/dinomo-kv/dinomo/actors/monitor"
	"github.com/dinomo-kv/dinomo/actors/monitor/coordinator"
	"github.com/dinomo-kv/dinomo/actors/route"
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/invariant"
	"github.com/dinomo-kv/dinomo/messages"
)

// reportPeriod is how often KNs report.
const reportPeriod = 250 * time.Millisecond

// shape is the simulated pool's: small, so that segments are reused.
func shape(segments int) format.Shape {
	return format.Shape{
		SegmentBytes: format.MinSegmentBytes, Segments: uint32(segments), MetadataRecords: 4, MetadataSlotBytes: 4096, Ranks: 64, IndirectWords: 64,
		FilterBytes: 1024,
	}
}

func poolBytes(segments int) uint64 {
	l, err := format.NewLayout(shape(segments), 0)
	invariant.Check(err == nil, "the simulated pool's shape: %v", err)
	return l.TotalBytes
}

// composeDPM starts the pool's node.
func composeDPM(p *process) error {
	w := p.w
	n, err := dpmnode.Start(dpmnode.Options{
		IP: p.ip, Plan: w.plan, Clock: p.node.Clock(), System: p.node, Logf: p.logf,
		Pool: dpm.Options{
			Shape: shape(w.o.Segments), Durability: pmem.DAX, Workers: w.mergers, LeaseLength: lease, LeaseMargin: lease / 10,
			Simulation: &dpm.Simulation{
				Region: w.region, Entropy: entropy{w.rng}, Alive: func(pid uint32, _ uint64) bool { return pid == 0 || w.alive[pid] },
			},
		},
		Listen: func(pool *dpm.Pool, o fabric.ListenOptions) (fabric.Listener, error) {
			var err error
			w.listener, err = w.fabric.Listen(pool.Region(), pool.Service(w.mapped()), o)
			return w.listener, err
		},
	})
	if err != nil {
		w.watch.violation("the pool does not open: %v", err)
		return err
	}
	p.dpm = n
	w.watch.poolOpened(n.Pool())
	return nil
}

func (w *World) mapped() bool { return w.o.Fabric == Mapped }

// crashPool is a power cut of the pool's machine: what was not durable may or may not be there afterwards. Where KNs map its memory the
// pool's process alone is killed, and they go on storing.
func (w *World) crashPool() {
	if w.listener != nil {
		w.listener.Crash()
	}
	if w.mapped() {
		return
	}
	w.region = pmem.NewFakeFrom(w.region.CrashImage(w.rng), pmem.DAX)
}

// entropy makes the bytes of a random source.
type entropy struct{ from interface{ Uint32() uint32 } }

// Read implements io.Reader.
func (e entropy) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e.from.Uint32())
	}
	return len(b), nil
}

// composeKN starts a KN. It waits for the pool.
func composeKN(p *process) error {
	w := p.w
	verbs, err := w.plan.Address(dpmIP, messages.DPMVerbs, 0)
	if err != nil {
		return err
	}
	n, err := kn.Start(forever, kn.Options{
		Dialer: w.fabric, DPM: verbs.HostPort(), PrivateIP: p.ip, Threads: w.o.Threads, Plan: w.plan,
		Monitors: ips(w.monitors), Routes: ips(w.routes), PID: p.pid, PIDStart: 1,
		Cache:       dac.Options{Policy: w.o.CachePolicy, BudgetBytes: dac.MinBudgetBytes, Seed: w.o.Seed + uint64(p.pid)},
		DialTimeout: 200 * time.Millisecond, VerbTimeout: 100 * time.Millisecond, WriteWait: 100 * time.Millisecond,
		RenewPeriod: lease / 4, MapPeriod: 250 * time.Millisecond, ReportPeriod: reportPeriod, KeyReportPeriod: 2 * reportPeriod,
		ResumeTimeout: 3 * time.Second, Clock: p.node.Clock(), System: p.node, Logf: p.logf, RandomSeed: w.o.Seed + uint64(p.pid),
	})
	if err != nil {
		return err
	}
	p.kn = n
	return nil
}

func composeRoute(p *process) error {
	w := p.w
	_, err := route.Start(route.Options{
		IP: p.ip, Plan: w.plan, DPM: dpmIP, Monitors: ips(w.monitors), Clock: p.node.Clock(), System: p.node, Logf: p.logf,
	})
	return err
}

func composeMonitor(p *process) error {
	w := p.w
	_, err := monitor.Start(monitor.Options{
		IP: p.ip, Plan: w.plan, DPM: dpmIP, Clock: p.node.Clock(), System: p.node, Logf: p.logf,
		Policy: w.policy(), SummaryPeriod: decisionPeriod, ReporterMemory: 3 * time.Second,
		Coordinator: coordinator.Options{
			InitialKNs: max(1, w.o.KNs), FirstMapWait: 500 * time.Millisecond, VirtualNodes: 16, Poll: 50 * time.Millisecond,
			Lease: lease, LeaseMargin: lease / 4, PrepareTimeout: 2 * time.Second, SpreadTimeout: time.Second, NodeMemory: 2 * time.Second,
		},
	})
	return err
}

func ips(of []*process) []string {
	var all []string
	for _, p := range of {
		all = append(all, p.ip)
	}
	return all
}

// logf is the node's log.
func (p *process) logf(format string, args ...any) {
	if p.w.o.Logf != nil {
		p.w.logf(p.name+": "+format, args...)
	}
}
