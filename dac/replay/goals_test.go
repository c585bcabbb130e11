package replay

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/dac"
)

const (
	goalValue = 1024
	// goalSeed is none of those that the policy was tuned with.
	goalSeed = 20_261
)

// short is one line of the test below: a law at one cache size and miss cost.
type short struct {
	law  string
	part int // the cache is 1/part of the values
	cost float64
}

// run replays a trace with both policies.
func (g short) run(t *testing.T, keys int) (adaptive, paper Report) {
	t.Helper()
	var reports [2]Report
	for i, policy := range []string{dac.PolicyAdaptive, dac.PolicyPaper} {
		rep, err := Run(Config{
			Trace: g.law, Policy: policy, CacheBytes: keys * goalValue / g.part, ValueBytes: goalValue, MissCost: g.cost, NoOptimum: i > 0,
		})
		if err != nil {
			t.Fatal(err)
		}
		reports[i] = rep
	}
	return reports[0], reports[1]
}

// The goals at a quarter of their size, where they are reached, with little slack: a policy
// that gets worse fails here. `dinomo replay --goals` measures all of them.
func TestPolicyReachesItsGoals(t *testing.T) {
	const keys = 50_000
	law := func(format string) string { return fmt.Sprintf(format+",keys=%d,seed=%d", keys, goalSeed) }
	for _, c := range []struct {
		short
		distance, overPaper float64 // the most that is accepted; overPaper 1: as many round trips
	}{
		{short{law("zipf:0.5,ops=1000000,load=1"), 32, 3}, 0.03, 1},
		{short{law("zipf:0.8,ops=1000000,load=1"), 8, 3}, 0.03, 1},
		{short{law("zipf:0.99,ops=1000000,load=1"), 32, 3}, 0.03, 1},
		{short{law("zipf:0.99,ops=1000000,load=1"), 8, 5}, 0.05, 1},
		{short{law("uniform,ops=600000"), 32, 3}, 0.03, 1.005},
		{short{law("shift:0.99,60000,ops=600000"), 32, 3}, math.Inf(1), 0.9},
		{short{law("shift:0.99,60000,ops=600000"), 8, 3}, math.Inf(1), 0.9},
		{short{law("shift:0.5,60000,ops=600000"), 32, 3}, math.Inf(1), 0.95},
		{short{law("shift:0.5,60000,ops=600000"), 128, 3}, math.Inf(1), 0.935},
		{short{law("scan:0.9,0.2,5000,ops=600000"), 32, 3}, math.Inf(1), 1},
		{short{law("drift:0.9,300000,ops=600000"), 8, 3}, math.Inf(1), 1},
	} {
		a, p := c.run(t, keys)
		t.Logf("%-50s 1/%-3d cost %v: %.4f round trips, paper %.4f, distance %+.1f %%", c.law, c.part, c.cost, a.RoundTripsPerRead, p.RoundTripsPerRead, 100*a.DistanceToOptimum)
		if a.DistanceToOptimum > c.distance {
			t.Errorf("%s 1/%d: %.1f %% above the optimum, want at most %.1f %%", c.law, c.part, 100*a.DistanceToOptimum, 100*c.distance)
		}
		if a.RoundTripsPerRead > c.overPaper*p.RoundTripsPerRead {
			t.Errorf("%s 1/%d: %.4f round trips, want at most %.3f times paper's %.4f", c.law, c.part, a.RoundTripsPerRead, c.overPaper, p.RoundTripsPerRead)
		}
	}
}

// The tables at a tiny size: every goal is measured and judged, and what no policy could learn
// is above what is known of the optimum.
func TestGoalsAreJudged(t *testing.T) {
	r, err := Goals(t.Context(), GoalsConfig{Keys: 40_000, Ops: 40_000, Only: "0.99", Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	verdicts := map[string]int{}
	for i := range r.Goals {
		g := &r.Goals[i]
		verdicts[g.Verdict]++
		if g.Adaptive <= 0 || g.Paper <= 0 || g.Limit <= 0 || g.Reached != (g.Adaptive <= g.Limit) {
			t.Errorf("%+v", g)
		}
		// Sampling noise of 20,000 reads aside, learning from reads costs something.
		if g.stationary && (g.Learnable < g.Optimum || g.Learnable > 1.05*g.Adaptive) {
			t.Errorf("%s %s: learnable %.4f, want between the optimum %.4f and adaptive %.4f", g.law, g.name(), g.Learnable, g.Optimum, g.Adaptive)
		}
	}
	if len(r.Goals) != 9*(2+5) || verdicts[verdictYes] != r.Reached || verdicts[verdictNotLearnable] != r.NotLearnable || r.NotLearnable == 0 {
		t.Errorf("%d goals, verdicts %v, report says %d and %d", len(r.Goals), verdicts, r.Reached, r.NotLearnable)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || strings.Count(text.String(), "\n") < len(r.Goals)+4 {
		t.Errorf("%v\n%s", err, &text)
	}
	t.Logf("%s", &text)
	if _, err := Goals(t.Context(), GoalsConfig{Only: "no such law"}); !errors.Is(err, ErrConfig) {
		t.Errorf("goals of no trace: %v", err)
	}
}
