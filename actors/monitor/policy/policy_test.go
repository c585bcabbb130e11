package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/dinomo-kv/dinomo/hashring"
)

// TestScenarios runs testdata/*.txt: `options` sets switches and constants, `period` is one decision period, whose keys
// are lines of "name accesses [GLOBALxLOCAL]". Time advances by the decision period of 10 s.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		o := Options{}
		o.EnsureDefaults()
		var st State
		now := time.Unix(0, 0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "options": // also forgets what was decided
				st = State{}
				o = Options{Elasticity: d.HasArg("elasticity"), SelectiveReplication: d.HasArg("selective-rep"), OnMean: d.HasArg("mean")}
				d.MaybeScanArgs(t, "min", &o.MinKNs)
				d.MaybeScanArgs(t, "max", &o.MaxKNs)
				d.MaybeScanArgs(t, "add", &o.AddKNs)
				d.MaybeScanArgs(t, "min-hot", &o.MinHotAccesses)
				if arg, ok := d.Arg("cold"); ok {
					if _, err := fmt.Sscan(arg.Vals[0], &o.ColdDeviations); err != nil {
						d.Fatalf(t, "cold: %v", err)
					}
				}
				o.EnsureDefaults()
				if err := o.Validate(); err != nil {
					return err.Error()
				}
				return "ok"
			case "period":
				now = now.Add(10 * time.Second)
				var decisions []Decision
				decisions, st = Decide(o, snapshot(t, d, now), st)
				var b strings.Builder
				for _, x := range decisions {
					fmt.Fprintln(&b, x)
				}
				return b.String()
			}
			return "unknown command " + d.Cmd
		})
	})
}

func snapshot(t *testing.T, d *datadriven.TestData, now time.Time) Snapshot {
	t.Helper()
	s := Snapshot{Now: now, Reports: 1, Changing: d.HasArg("changing")}
	var mean, p99 int
	d.MaybeScanArgs(t, "mean-us", &mean)
	d.MaybeScanArgs(t, "p99-us", &p99)
	s.LatencyMean, s.LatencyP99 = time.Duration(mean)*time.Microsecond, time.Duration(p99)*time.Microsecond
	if d.HasArg("silent") {
		s.Reports = 0
	}
	for _, arg := range d.CmdArgs {
		if arg.Key == "occupancy" {
			for i, v := range arg.Vals {
				n := NodeLoad{PrivateIP: fmt.Sprintf("kn%d", i+1), Threads: 2}
				if _, err := fmt.Sscan(v, &n.Occupancy); err != nil {
					d.Fatalf(t, "occupancy %q: %v", v, err)
				}
				s.Nodes = append(s.Nodes, n)
			}
		}
	}
	for _, line := range strings.Split(d.Input, "\n") {
		if line == "" {
			continue
		}
		k := KeyLoad{Replication: hashring.Single}
		var r string
		if _, err := fmt.Sscanf(line+" 1x1", "%s %d %s", &k.Key, &k.Accesses, &r); err != nil {
			d.Fatalf(t, "%q: %v", line, err)
		}
		if _, err := fmt.Sscanf(r, "%dx%d", &k.Replication.Global, &k.Replication.Local); err != nil {
			d.Fatalf(t, "%q: %v", line, err)
		}
		if k.Key == "cold*50" { // stands for fifty keys of that many accesses
			for i := range 50 {
				s.Keys = append(s.Keys, KeyLoad{Key: fmt.Sprintf("cold%d", i), Accesses: k.Accesses, Replication: k.Replication})
			}
			continue
		}
		s.Keys = append(s.Keys, k)
	}
	return s
}

func TestValidate(t *testing.T) {
	for name, o := range map[string]Options{
		"bounds crossed":      {MinKNs: 5, MaxKNs: 4},
		"occupancies crossed": {AddOccupancy: 0.1, RemoveOccupancy: 0.2},
		"occupancy above one": {AddOccupancy: 1.5},
		"negative SLO":        {SLO: -1},
	} {
		o.EnsureDefaults()
		if o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
