package experiment

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dinomo-kv/dinomo/cluster"
	"github.com/dinomo-kv/dinomo/cluster/run"
)

// System is a cache policy under the name that it has in a profile.
type System struct{ Name, Policy string }

// Systems are the paper's: Dinomo, Dinomo-S, a static share, and no cache.
func Systems() []System {
	return []System{
		{"dinomo", "auto"}, {"dinomo-s", "shortcut-only"}, {"static", "static:0.5"}, {"none", "none"},
	}
}

// ParseSystem reads one of Systems' names, or a policy as kvs_config.cache-policy takes them.
func ParseSystem(s string) System {
	for _, known := range Systems() {
		if known.Name == strings.ToLower(s) {
			return known
		}
	}
	return System{Name: s, Policy: s}
}

// Workloads are the paper's: read-only, then mixes with updates, then with inserts. Those with inserts come last, since they
// make the data set grow.
func Workloads() []run.Mix {
	return []run.Mix{
		{Name: "read-only", ReadRatio: 1},
		{Name: "95/5 update", ReadRatio: 0.95}, {Name: "50/50 update", ReadRatio: 0.5},
		{Name: "95/5 insert", ReadRatio: 0.95, Inserts: true}, {Name: "50/50 insert", ReadRatio: 0.5, Inserts: true},
	}
}

// ParseWorkload finds one of Workloads by its name.
func ParseWorkload(s string) (run.Mix, error) {
	var names []string
	for _, w := range Workloads() {
		if w.Name == s {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return run.Mix{}, fmt.Errorf("no workload %q; there are: %s", s, strings.Join(names, ", "))
}

// ProfileOptions say what to profile. The zero value of a field means its default.
type ProfileOptions struct {
	Options
	// Systems and Workloads default to the functions of these names.
	Systems   []System
	Workloads []run.Mix
	// KNs lists the sizes of cluster. Default 1, 2.
	KNs []int
	// CacheBytes of Options is the cache of all KNs together here, so that clusters of all sizes cache as much. Default
	// 1/32 of the data.

	// Seconds is the length of each workload. Default 5. Outstanding is how many operations are under way. Default 64.
	Seconds     float64
	Outstanding int
}

// EnsureDefaults fills zero fields.
func (o *ProfileOptions) EnsureDefaults() {
	o.Options.EnsureDefaults()
	if o.Systems == nil {
		o.Systems = Systems()
	}
	if o.Workloads == nil {
		o.Workloads = Workloads()
	}
	if o.KNs == nil {
		o.KNs = []int{1, 2}
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = o.dataBytes() / 32
	}
	if o.Seconds == 0 {
		o.Seconds = 5
	}
	if o.Outstanding == 0 {
		o.Outstanding = 64
	}
}

// Validate says what is wrong, after EnsureDefaults.
func (o *ProfileOptions) Validate() error {
	if len(o.Systems) == 0 || len(o.Workloads) == 0 || len(o.KNs) == 0 {
		return errors.New("profile: systems, workloads and numbers of KNs are needed")
	}
	for _, n := range o.KNs {
		if n < 1 || n > cluster.MaxKNs {
			return fmt.Errorf("profile: %d KNs; want 1 to %d", n, cluster.MaxKNs)
		}
	}
	return o.Options.Validate()
}

// Profile runs every workload on every system with every number of KNs, each system and number on a new cluster. When it fails,
// the report has what was measured until then.
func Profile(ctx context.Context, o ProfileOptions) (*ProfileReport, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	report := &ProfileReport{
		Commit: o.Commit, Keys: o.Keys, ValueBytes: o.ValueBytes, Zipf: o.Zipf, Threads: o.Threads, Fabric: o.Fabric,
		CacheBytes: o.CacheBytes, Seconds: o.Seconds, Outstanding: o.Outstanding,
	}
	all, done := len(o.KNs)*len(o.Systems), 0
	for _, kns := range o.KNs {
		for _, s := range o.Systems {
			o.Logf("profile: %s with %d KNs", s.Name, kns)
			within := func(phase string, fraction float64) {
				o.Progress(fmt.Sprintf("%s, %d KNs: %s", s.Name, kns, phase), (float64(done)+fraction*0.99)/float64(all))
			}
			one, err := profileOne(ctx, &o, s, kns, within)
			if one != nil {
				report.Machine = one.Machine
				report.add(s, kns, one)
			}
			if err != nil {
				return report, fmt.Errorf("%s with %d KNs: %w", s.Name, kns, err)
			}
			done++
		}
	}
	return report, nil
}

// profileOne runs all workloads on one cluster.
func profileOne(ctx context.Context, o *ProfileOptions, s System, kns int, progress func(string, float64)) (report *run.Report, err error) {
	each := *o
	each.CacheBytes = o.CacheBytes / int64(kns)
	name := fmt.Sprintf("%s-%d", strings.NewReplacer(":", "-", "/", "-").Replace(s.Name), kns)
	c, err := each.up(ctx, name, cluster.Topology{KNs: kns, Benches: 1}, "kvs_config.cache-policy="+s.Policy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	t := c.Topology()
	return run.Run(ctx, run.Options{
		IP: t.Network.Tool(1), Plan: c.Plan(), DPM: t.Network.DPM(), Benches: t.BenchIPs(), BenchThreads: c.Conf().Threads.Benchmark,
		Keys: o.Keys, ValueBytes: o.ValueBytes, Zipf: o.Zipf, Outstanding: o.Outstanding, Mixes: o.Workloads, Seconds: o.Seconds,
		Progress: progress, Commit: o.Commit, Configuration: map[string]string{"policy": c.Conf().CachePolicy()},
	})
}
