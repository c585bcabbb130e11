package replay

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/dinomo-kv/dinomo/dac"
)

// GoalsConfig says how large the tables of goals are. The zero value is the full size.
type GoalsConfig struct {
	// Keys and ValueBytes are the data set's. Defaults 200,000 and 1,024.
	Keys       uint64
	ValueBytes int
	// Ops is the length of each trace; the second half is counted. Default 4,000,000.
	Ops uint64
	// Seed of the traces and of the cache. Default 20,261, which no policy was tuned with.
	Seed uint64
	// Only, if set, keeps the goals whose trace contains it.
	Only string
	// Workers is how many replays run at a time. Default: the processors.
	Workers int
	// Progress, if set, is told how far the replays are, 0 to 1, by one goroutine at a time.
	Progress func(phase string, fraction float64)
}

// EnsureDefaults sets what is zero to its default.
func (c *GoalsConfig) EnsureDefaults() {
	if c.Keys == 0 {
		c.Keys = 200_000
	}
	if c.ValueBytes == 0 {
		c.ValueBytes = 1024
	}
	if c.Ops == 0 {
		c.Ops = 4_000_000
	}
	if c.Seed == 0 {
		c.Seed = 20_261
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Progress == nil {
		c.Progress = func(string, float64) {}
	}
}

// The goals. A stationary law, from an empty cache or after each key was written once: within
// stationarySlack of the best static choice. A moving one: no more round trips than policy
// paper, and where popularity is reshuffled at most shiftShare of them.
const (
	stationarySlack = 0.03
	shiftShare      = 0.9
)

var (
	goalParts = []int{128, 32, 8}
	goalCosts = []float64{2, 3, 5}
	// goalThetas are the stationary laws; 0 is uniform.
	goalThetas = []float64{0, 0.5, 0.8, 0.99, 1.2, 2}
	// shifts reshuffle popularity every so many operations.
	shifts = []struct {
		theta  float64
		period uint64
	}{{0.5, 250_000}, {0.8, 250_000}, {0.99, 250_000}, {1.2, 250_000}, {0.99, 150_000}, {0.8, 400_000}}
	// otherLaws have periods and lengths for 4 million operations on 200,000 keys.
	otherLaws = []string{
		"scan:0.99,0.3,20000", "scan:0.9,0.15,5000", "scan:0.99,0.6,200000", "scan:0.5,0.3,20000",
		"drift:0.99,1000000", "drift:0.9,2500000",
	}
)

// Goal is one line of the tables: what policy adaptive does on a trace, and what it is to do.
type Goal struct {
	Trace      string  `json:"trace"`
	CachePart  int     `json:"cache_part"` // the cache is 1/CachePart of the values
	CacheBytes int     `json:"cache_bytes"`
	MissCost   float64 `json:"miss_cost"`

	Adaptive float64 `json:"adaptive_round_trips_per_read"`
	Paper    float64 `json:"paper_round_trips_per_read"`
	// Optimum is the best static choice, for stationary laws. Learnable is what a cache without overhead that had counted every
	// read of every key until then would need (see learnable), for these and shifting ones. Distances are what is above
	// Optimum: 0.03 is 3 %.
	Optimum           float64 `json:"optimum_round_trips_per_read,omitempty"`
	Distance          float64 `json:"distance_to_optimum,omitempty"`
	Learnable         float64 `json:"learnable_round_trips_per_read,omitempty"`
	LearnableDistance float64 `json:"learnable_distance_to_optimum,omitempty"`

	// Limit is the most round trips that reach the goal.
	Limit   float64 `json:"limit_round_trips_per_read"`
	Reached bool    `json:"reached"`
	// Verdict is "yes", "no", or "not learnable" where Learnable is above the limit too.
	Verdict string `json:"verdict"`

	law        string // the trace without sizes and seed
	stationary bool
	theta      float64
	loaded     bool
	period     uint64 // of a shift
}

// GoalsReport is the tables of goals.
type GoalsReport struct {
	Keys       uint64 `json:"keys"`
	ValueBytes int    `json:"value_bytes"`
	Ops        uint64 `json:"operations"`
	Seed       uint64 `json:"seed"`
	Reached    int    `json:"reached"`
	// NotLearnable counts goals that no policy could have reached.
	NotLearnable int    `json:"not_learnable"`
	Goals        []Goal `json:"goals"`
}

// goals lists all goals, not yet measured.
func (c *GoalsConfig) goals() []Goal {
	var all []Goal
	add := func(g Goal) {
		g.Trace = fmt.Sprintf("%s,keys=%d,ops=%d,seed=%d", g.law, c.Keys, c.Ops, c.Seed)
		if g.loaded {
			g.Trace += ",load=1"
			g.law += ",load=1"
		}
		if !strings.Contains(g.Trace, c.Only) {
			return
		}
		for _, g.CachePart = range goalParts {
			for _, g.MissCost = range goalCosts {
				g.CacheBytes = int(c.Keys) * c.ValueBytes / g.CachePart
				all = append(all, g)
			}
		}
	}
	for _, loaded := range []bool{false, true} {
		for _, theta := range goalThetas {
			add(Goal{law: fmt.Sprintf("zipf:%v", theta), stationary: true, theta: theta, loaded: loaded})
		}
	}
	for _, s := range shifts {
		add(Goal{law: fmt.Sprintf("shift:%v,%d", s.theta, s.period), theta: s.theta, period: s.period})
	}
	for _, law := range otherLaws {
		add(Goal{law: law})
	}
	return all
}

// run replays a goal's trace through a policy.
func (g *Goal) run(c *GoalsConfig, policy string) (Report, error) {
	return Run(Config{
		Trace: g.Trace, Policy: policy, CacheBytes: g.CacheBytes, ValueBytes: c.ValueBytes, MissCost: g.MissCost, Seed: c.Seed,
		NoOptimum: !g.stationary || policy != dac.PolicyAdaptive,
	})
}

// judge fills in what follows from the measurements.
func (g *Goal) judge() {
	switch {
	case g.stationary:
		g.Limit = (1 + stationarySlack) * g.Optimum
		if g.Optimum > 0 {
			g.Distance, g.LearnableDistance = g.Adaptive/g.Optimum-1, g.Learnable/g.Optimum-1
		}
	case g.period > 0:
		g.Limit = shiftShare * g.Paper
	default:
		g.Limit = g.Paper
	}
	g.Reached = g.Adaptive <= g.Limit
	g.Verdict = g.verdict()
}

// Goals measures every goal: some 400 replays at full size.
func Goals(ctx context.Context, cfg GoalsConfig) (*GoalsReport, error) {
	cfg.EnsureDefaults()
	r := &GoalsReport{Keys: cfg.Keys, ValueBytes: cfg.ValueBytes, Ops: cfg.Ops, Seed: cfg.Seed, Goals: cfg.goals()}
	jobs := r.jobs(&cfg)
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%w: no goal's trace contains %q", ErrConfig, cfg.Only)
	}
	if err := inParallel(ctx, cfg.Workers, jobs, cfg.Progress); err != nil {
		return nil, err
	}
	for i := range r.Goals {
		g := &r.Goals[i]
		g.judge()
		switch g.Verdict {
		case verdictYes:
			r.Reached++
		case verdictNotLearnable:
			r.NotLearnable++
		}
	}
	return r, nil
}

// jobs returns what has to be done, each writing fields of its own.
func (r *GoalsReport) jobs(cfg *GoalsConfig) (jobs []func() error) {
	sameLaw := map[string][]*Goal{}
	for i := range r.Goals {
		g := &r.Goals[i]
		jobs = append(jobs, func() error {
			rep, err := g.run(cfg, dac.PolicyAdaptive)
			g.Adaptive, g.Optimum = rep.RoundTripsPerRead, rep.OptimumRoundTrips
			return err
		}, func() error {
			rep, err := g.run(cfg, dac.PolicyPaper)
			g.Paper = rep.RoundTripsPerRead
			return err
		})
		if g.stationary || g.period > 0 {
			if sameLaw[g.law] = append(sameLaw[g.law], g); len(sameLaw[g.law]) == 1 {
				jobs = append(jobs, func() error { return learnable(cfg, sameLaw[g.law]) })
			}
		}
	}
	return jobs
}

// name is how tables call the cache of a goal.
func (g *Goal) name() string { return fmt.Sprintf("1/%d", g.CachePart) }

// WriteText prints the tables, stationary goals first.
func (r *GoalsReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%d keys of %d bytes, %d operations, the second half counted, seed %d\n", r.Keys, r.ValueBytes, r.Ops, r.Seed)
	for _, stationary := range []bool{true, false} {
		if err := r.table(w, stationary); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\n%d of %d goals reached; %d could not be, whatever the policy\n", r.Reached, len(r.Goals), r.NotLearnable)
	return err
}

func (r *GoalsReport) table(w io.Writer, stationary bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	any := false
	for i := range r.Goals {
		g := &r.Goals[i]
		if g.stationary != stationary {
			continue
		}
		if !any && stationary {
			fmt.Fprintf(t, "\ntrace\tcache\tmiss cost\tpaper\tadaptive\toptimum\tadaptive above it\tlearnable above it\tgoal: %.0f %%\t\n", 100*stationarySlack)
		} else if !any {
			fmt.Fprintf(t, "\ntrace\tcache\tmiss cost\tpaper\tadaptive\tsaved\tlearnable\tgoal\treached\t\n")
		}
		any = true
		fmt.Fprintf(t, "%s\t%s\t%v\t%.4f\t%.4f\t", g.law, g.name(), g.MissCost, g.Paper, g.Adaptive)
		if stationary {
			fmt.Fprintf(t, "%.4f\t%+.1f %%\t%+.1f %%\t%s\t\n", g.Optimum, 100*g.Distance, 100*g.LearnableDistance, g.Verdict)
		} else {
			most := "-"
			if g.period > 0 {
				most = fmt.Sprintf("%.1f %%", 100*(1-g.Learnable/g.Paper))
			}
			fmt.Fprintf(t, "%.1f %%\t%s\t%.0f %%\t%s\t\n", 100*(1-g.Adaptive/g.Paper), most, 100*(1-g.Limit/g.Paper), g.Verdict)
		}
	}
	return t.Flush()
}

// Verdicts.
const (
	verdictYes          = "yes"
	verdictNo           = "no"
	verdictNotLearnable = "not learnable"
)

// verdict says whether a goal was reached, and if not, whether any policy could have.
func (g *Goal) verdict() string {
	switch {
	case g.Reached:
		return verdictYes
	case g.Learnable > g.Limit:
		return verdictNotLearnable
	default:
		return verdictNo
	}
}
