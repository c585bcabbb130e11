package experiment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
)

// HotKeyOptions say how hot a key becomes. The zero value of a field means its default.
type HotKeyOptions struct {
	// Options' Zipf is that of the other keys; it defaults to none here. A skewed one has accesses whose standard deviation exceeds
	// their mean, and then the paper's bound for cold keys, mean - 1 standard deviation, is below what any key can have.
	Options
	// KNs defaults to 3.
	KNs int
	// Low and High are the operations under way before and after, and while the key is hot. Defaults 1 and 128: with the threads' limit those
	// that wait for one of them are served well within the clients' patience.
	Low, High int
	// HotShare is the share of the operations that are on the hot key. Default 0.8. ReadRatio is the share of reads, of the hot
	// key and of all others. Default 0.95.
	HotShare, ReadRatio float64
	// SLO is on the mean latency. Default 600 µs. DecisionPeriod and GracePeriod are the policy's. Defaults 2 s and 4 s.
	SLO, DecisionPeriod, GracePeriod time.Duration
	// Quiet is how long the first and the last part last. Default 5 s. Steady is how long the key stays hot once it is on
	// all KNs. Default 10 s. Patience bounds the wait for it to be, and for the end of that. Default 90 s each.
	Quiet, Steady, Patience time.Duration
}

// EnsureDefaults fills zero fields.
func (o *HotKeyOptions) EnsureDefaults() {
	if o.Zipf == 0 {
		o.Zipf = -1
	}
	o.Options.EnsureDefaults()
	for _, d := range []struct {
		field *int
		value int
	}{{&o.KNs, 3}, {&o.Low, 1}, {&o.High, 128}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.SLO, 600 * time.Microsecond}, {&o.DecisionPeriod, 2 * time.Second}, {&o.GracePeriod, 4 * time.Second},
		{&o.Quiet, 5 * time.Second}, {&o.Steady, 10 * time.Second}, {&o.Patience, 90 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.HotShare == 0 {
		o.HotShare = 0.8
	}
	if o.ReadRatio == 0 {
		o.ReadRatio = 0.95
	}
	if o.ServiceRate == 0 {
		o.ServiceRate = pacedRate
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = o.dataBytes() / 4
	}
}

// Validate says what is wrong, after EnsureDefaults.
func (o *HotKeyOptions) Validate() error {
	switch {
	case o.KNs < 2 || o.KNs > cluster.MaxKNs:
		return fmt.Errorf("hot key: %d KNs; want 2 to %d: a key with one owner more needs another KN", o.KNs, cluster.MaxKNs)
	case o.Low < 1 || o.High <= o.Low || o.High > maxOutstanding:
		return fmt.Errorf("hot key: want 1 <= low load < high load <= %d", maxOutstanding)
	case o.HotShare < 0 || o.HotShare > 1 || o.ReadRatio < 0 || o.ReadRatio > 1 || o.SLO <= 0:
		return errors.New("hot key: shares are 0 to 1, and the SLO positive")
	}
	return o.Options.Validate()
}

// HotKeyRow is how often the hot key was read while it had so many owners.
type HotKeyRow struct {
	Owners         int     `json:"owners"` // KN threads
	Seconds        float64 `json:"seconds"`
	Reads          uint64  `json:"reads"`
	ReadsPerSecond float64 `json:"reads_per_second"`
	// BusiestShare is the share of these reads that the owner with the most of them answered: 1/Owners if they are spread evenly.
	BusiestShare float64 `json:"busiest_share"`

	from map[string]uint64 // reads by who answered them
}

// hotKeyName is the hot key. It is not among the numbered ones, so that it is as cold as can be before and after.
const hotKeyName = "hot"

// withHotKey makes a share of a workload's operations ones on the hot key.
func withHotKey(others workload, share, readRatio float64) workload {
	return func(rng *rand.Rand) request {
		if rng.Float64() >= share {
			return others(rng)
		}
		return request{key: hotKeyName, hot: true, write: rng.Float64() >= readRatio}
	}
}

// HotKey shows a key that becomes very hot, is given to all KNs while it is written, and to one again when it has gone cold
// (Dinomo §6, figure of load balancing). ErrNotShown: it was not within the patience.
func HotKey(ctx context.Context, o HotKeyOptions) (report *TimedReport, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	others, err := keysOf(o.Keys, o.Zipf, o.ReadRatio)
	if err != nil {
		return nil, err
	}
	x, err := begin(ctx, &o.Options, cluster.Topology{KNs: o.KNs}, setup{
		name: "hotkey", key: hotKeyName, step: 500 * time.Millisecond, attempt: 500 * time.Millisecond,
		set: append(policySettings(o.SLO, o.DecisionPeriod, o.GracePeriod), "policy.selective-rep=true",
			fmt.Sprintf("policy.server-key-monitor-period=%v", o.DecisionPeriod)),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	spread, gathered, err := o.play(ctx, x, others)
	if err != nil {
		return nil, err
	}
	report, err = x.report("A hot key: replicated while it is written, and taken back", map[string]string{
		"load": fmt.Sprintf("%d, then %d, then %d operations under way, %g %% reads; the hot key has %g %% of them meanwhile", o.Low, o.High, o.Low,
			100*o.ReadRatio, 100*o.HotShare),
		"SLO": fmt.Sprintf("mean of %v", o.SLO), "decisions": fmt.Sprintf("each %v, grace %v", o.DecisionPeriod, o.GracePeriod),
		"KNs": fmt.Sprint(o.KNs),
	})
	if report != nil {
		report.HotKey = x.w.hotKey()
	}
	if err == nil && !(spread && gathered) {
		err = fmt.Errorf("%w: the key was on all %d KNs: %v, and on one again: %v", ErrNotShown, o.KNs, spread, gathered)
	}
	return report, err
}

// play is the load's course.
func (o *HotKeyOptions) play(ctx context.Context, x *timed, others workload) (spread, gathered bool, err error) {
	x.l.setWorkload(others)
	x.phase("no hot key")
	x.l.setOutstanding(o.Low)
	if err := x.l.rest(ctx, o.Quiet+o.GracePeriod); err != nil {
		return false, false, err
	}
	x.phase("hot key")
	x.w.countReads(true)
	x.l.setWorkload(withHotKey(others, o.HotShare, o.ReadRatio))
	x.l.setOutstanding(o.High)
	if spread, err = x.l.wait(ctx, o.Patience, func() bool { return x.w.owners() >= o.KNs }); err != nil {
		return spread, false, err
	}
	if spread {
		x.phase("hot key on all KNs")
		if err := x.l.rest(ctx, o.Steady); err != nil {
			return spread, false, err
		}
	}
	x.w.countReads(false)
	x.phase("no hot key again")
	x.l.setWorkload(others)
	x.l.setOutstanding(o.Low)
	if gathered, err = x.l.wait(ctx, o.Patience, func() bool { return x.w.owners() == 1 }); err != nil {
		return spread, gathered, err
	}
	// The journal is written at the end of a period.
	return spread, gathered, x.l.rest(ctx, max(o.Quiet, o.DecisionPeriod*3/2))
}
