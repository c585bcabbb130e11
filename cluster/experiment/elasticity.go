package experiment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/cluster"
)

// ElasticityOptions say how the load steps and when the M-node acts. The zero value of a field means its default.
type ElasticityOptions struct {
	Options
	// MinKNs are there at first and at the end, MaxKNs under load. Defaults 1 and 3.
	MinKNs, MaxKNs int
	// Low and High are the operations under way before and after, and in the step. Defaults 1 and 256.
	Low, High int
	// ReadRatio is the share of reads. Default 0.95.
	ReadRatio float64
	// SLO is on the mean latency. Default 1,200 µs, the paper's.
	SLO time.Duration
	// DecisionPeriod and GracePeriod are the policy's. Defaults 2 s and 6 s, so that one need not watch for half an hour; the
	// paper's are 10 s and 90 s.
	DecisionPeriod, GracePeriod time.Duration
	// Quiet is how long the low load lasts at first. Default 5 s. Patience bounds the wait for the cluster to grow, and to
	// shrink. Default 2 min each.
	Quiet, Patience time.Duration
}

// EnsureDefaults fills zero fields.
func (o *ElasticityOptions) EnsureDefaults() {
	o.Options.EnsureDefaults()
	for _, d := range []struct {
		field *int
		value int
	}{{&o.MinKNs, 1}, {&o.MaxKNs, 3}, {&o.Low, 1}, {&o.High, 256}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.SLO, 1200 * time.Microsecond}, {&o.DecisionPeriod, 2 * time.Second}, {&o.GracePeriod, 6 * time.Second},
		{&o.Quiet, 5 * time.Second}, {&o.Patience, 2 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.ReadRatio == 0 {
		o.ReadRatio = 0.95
	}
	if o.ServiceRate == 0 {
		o.ServiceRate = pacedRate
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = o.dataBytes() / 16
	}
}

// Validate says what is wrong, after EnsureDefaults.
func (o *ElasticityOptions) Validate() error {
	switch {
	case o.MinKNs < 1 || o.MaxKNs <= o.MinKNs || o.MaxKNs > cluster.MaxKNs:
		return fmt.Errorf("elasticity: want 1 <= minimum < maximum <= %d KNs", cluster.MaxKNs)
	case o.Low < 1 || o.High <= o.Low || o.High > maxOutstanding:
		return fmt.Errorf("elasticity: want 1 <= low load < high load <= %d", maxOutstanding)
	case o.ReadRatio < 0 || o.ReadRatio > 1 || o.SLO <= 0:
		return errors.New("elasticity: the read ratio is 0 to 1, and the SLO positive")
	}
	return o.Options.Validate()
}

// policySettings switch the M-node's policy on with short periods.
func policySettings(slo, decision, grace time.Duration) []string {
	return []string{
		"policy.using_avg_latency=true", fmt.Sprintf("policy.latencythreshold=%v", slo), fmt.Sprintf("policy.policy-decision-period=%v", decision),
		fmt.Sprintf("policy.grace-period=%v", grace), fmt.Sprintf("policy.server-report-period=%v", decision/2),
	}
}

// Elasticity shows a cluster that grows with its load and shrinks again (Dinomo §6, figure of auto-scaling). ErrNotShown: it did not
// within the patience.
func Elasticity(ctx context.Context, o ElasticityOptions) (report *TimedReport, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	w, err := keysOf(o.Keys, o.Zipf, o.ReadRatio)
	if err != nil {
		return nil, err
	}
	x, err := begin(ctx, &o.Options, cluster.Topology{KNs: o.MinKNs}, setup{
		name: "elasticity", step: 500 * time.Millisecond, attempt: 500 * time.Millisecond,
		set: append(policySettings(o.SLO, o.DecisionPeriod, o.GracePeriod), "policy.elasticity=true",
			fmt.Sprintf("dinomo.policy.min-kns=%d", o.MinKNs), fmt.Sprintf("dinomo.policy.max-kns=%d", o.MaxKNs)),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	grown, shrunk, err := o.play(ctx, x, w)
	if err != nil {
		return nil, err
	}
	report, err = x.report("A load step: the cluster grows and shrinks", map[string]string{
		"load": fmt.Sprintf("%d, then %d, then %d operations under way, %g %% reads", o.Low, o.High, o.Low, 100*o.ReadRatio),
		"SLO":  fmt.Sprintf("mean of %v", o.SLO), "decisions": fmt.Sprintf("each %v, grace %v", o.DecisionPeriod, o.GracePeriod),
		"KNs": fmt.Sprintf("%d to %d", o.MinKNs, o.MaxKNs),
	})
	if err == nil && !(grown && shrunk) {
		err = fmt.Errorf("%w: grown to %d KNs: %v, shrunk to %d: %v", ErrNotShown, o.MaxKNs, grown, o.MinKNs, shrunk)
	}
	return report, err
}

// play is the load's course.
func (o *ElasticityOptions) play(ctx context.Context, x *timed, w workload) (grown, shrunk bool, err error) {
	x.l.setWorkload(w)
	x.phase("low load")
	x.l.setOutstanding(o.Low)
	if err := x.l.rest(ctx, o.Quiet+o.GracePeriod); err != nil {
		return false, false, err
	}
	x.phase("high load")
	x.l.setOutstanding(o.High)
	if grown, err = x.l.wait(ctx, o.Patience, func() bool { return x.w.members() >= o.MaxKNs }); err != nil {
		return grown, false, err
	}
	if grown {
		x.phase("high load, grown")
		if err := x.l.rest(ctx, o.Quiet); err != nil {
			return grown, false, err
		}
	}
	x.phase("low load again")
	x.l.setOutstanding(o.Low)
	if shrunk, err = x.l.wait(ctx, o.Patience, func() bool { return x.w.members() <= o.MinKNs }); err != nil {
		return grown, shrunk, err
	}
	if shrunk {
		x.phase("low load, shrunk")
	}
	// The journal is written at the end of a period.
	return grown, shrunk, x.l.rest(ctx, max(o.Quiet, o.DecisionPeriod*3/2))
}
