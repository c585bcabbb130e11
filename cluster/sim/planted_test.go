//go:build planted

package sim

import (
	"testing"

	"github.com/dinomo-kv/dinomo/internal/planted"
)

// plantedSeeds is within how many seeds a planted bug must be found.
const plantedSeeds = 300

// TestFindsPlantedBugs: a simulation that finds nothing proves something only if it finds what is there.
func TestFindsPlantedBugs(t *testing.T) {
	defer planted.Plant("")
	for _, bug := range planted.All {
		t.Run(string(bug), func(t *testing.T) {
			planted.Plant(bug)
			for seed := range uint64(plantedSeeds) {
				r, err := Run(Options{Seed: seed + 1})
				if err != nil {
					t.Fatal(err)
				}
				if r.Result != Passed {
					t.Logf("seed %d: %s: %.600s", r.Seed, r.Result, r.Violations[0])
					return
				}
			}
			t.Errorf("%d seeds did not find it", plantedSeeds)
		})
	}
}
