package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dinomo-kv/dinomo/internal/random"
)

// Options say what is simulated. The zero value of a field leaves it to the seed, or means its default.
type Options struct {
	Seed uint64
	// KNs, Threads, Routes and Monitors are the cluster's shape at first; Clients is the number of clients.
	KNs, Threads, Routes, Monitors, Clients int
	// Keys is how many keys clients fight for.
	Keys int
	// CachePolicy is dac.Options.Policy.
	CachePolicy string
	// Fabric is remote (verbs travel; the pool's machine may lose its power) or mapped (KNs on the pool's machine store into its memory
	// themselves, and a fenced one cannot be stopped; the pool's process may die).
	Fabric string
	// Segments is how many segments of 64 KiB the pool has: few, and they are reused soon.
	Segments int
	// Faults names the kinds of fault that may happen. Nil: a random subset of all. Empty but not nil: none.
	Faults []string
	// Safety is how long faults are made, in virtual time. Default 4 s.
	Safety time.Duration
	// Liveness bounds how long it takes, once all is healed, until every key is served. Default 15 s of virtual time.
	Liveness time.Duration
	// Logf receives a line for each thing that happens, with its virtual time. Nil: nobody does.
	Logf func(format string, args ...any)
}

// Lease is the length of a KN's lease in simulations: shorter than the default, so that a run sees many end.
const lease = 400 * time.Millisecond

// EnsureDefaults fills zero fields, from the seed where chance decides.
func (o *Options) EnsureDefaults() {
	rng := random.New(o.Seed ^ 0x5eed0f5a)
	draw := func(field *int, least, most int) {
		if n := least + rng.IntN(most-least+1); *field == 0 {
			*field = n
		}
	}
	draw(&o.KNs, 1, 3)
	draw(&o.Threads, 1, 2)
	draw(&o.Routes, 1, 2)
	draw(&o.Monitors, 1, 2)
	draw(&o.Clients, 2, 4)
	draw(&o.Keys, 4, 12)
	if policy := []string{"adaptive", "paper", "value-only", "shortcut-only", "none"}[rng.IntN(5)]; o.CachePolicy == "" {
		o.CachePolicy = policy
	}
	if subset := someOf(rng, Faults()); o.Faults == nil {
		o.Faults = subset
	}
	if fabric := []string{Remote, Mapped}[rng.IntN(2)]; o.Fabric == "" {
		o.Fabric = fabric
	}
	// Each thread that there may be has one segment open and two ahead.
	room := 16 + 3*mostKNs*o.Threads
	draw(&o.Segments, room, room+32)
	if o.Safety == 0 {
		o.Safety = 4 * time.Second
	}
	if o.Liveness == 0 {
		o.Liveness = 15 * time.Second
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// The kinds of fabric.
const (
	Remote = "remote"
	Mapped = "mapped"
)

// someOf draws a subset, of one to all.
func someOf(rng *rand.Rand, all []string) []string {
	share := 0.1 + 0.8*rng.Float64()
	some := []string{}
	for _, name := range all {
		if rng.Float64() < share {
			some = append(some, name)
		}
	}
	if len(some) == 0 {
		some = append(some, all[rng.IntN(len(all))])
	}
	return some
}

// Validate says what is wrong with the options, after EnsureDefaults.
func (o *Options) Validate() error {
	for _, name := range o.Faults {
		if !slices.Contains(Faults(), name) {
			return fmt.Errorf("simulation: there is no fault %q; there are %s", name, strings.Join(Faults(), ", "))
		}
	}
	switch {
	case o.KNs < 0 || o.KNs > mostKNs || o.Threads < 1 || o.Threads > 4:
		return fmt.Errorf("simulation: %d KNs of %d threads; want 0 to %d of 1 to 4", o.KNs, o.Threads, mostKNs)
	case o.Routes < 1 || o.Routes > 4 || o.Monitors < 1 || o.Monitors > 3 || o.Clients < 1 || o.Clients > 64 || o.Keys < 1 || o.Keys > 10000:
		return fmt.Errorf("simulation: want 1 to 4 routing nodes, 1 to 3 M-nodes, 1 to 64 clients and 1 to 10000 keys")
	case o.Fabric != Remote && o.Fabric != Mapped:
		return fmt.Errorf("simulation: fabric %q; want %s or %s", o.Fabric, Remote, Mapped)
	case o.Segments < 16 || o.Segments > 4096:
		return fmt.Errorf("simulation: %d segments; want 16 to 4096", o.Segments)
	case o.Safety < 0 || o.Liveness < 0:
		return fmt.Errorf("simulation: times must not be negative")
	}
	return nil
}

// mostKNs is how many KNs there can be at a time.
const mostKNs = 6

// String shows what the options came to, on a line.
func (o *Options) String() string {
	return fmt.Sprintf("kns=%d threads=%d routes=%d monitors=%d clients=%d keys=%d cache=%s fabric=%s segments=%d safety=%v faults=%s",
		o.KNs, o.Threads, o.Routes, o.Monitors, o.Clients, o.Keys, o.CachePolicy, o.Fabric, o.Segments, o.Safety, strings.Join(o.Faults, ","))
}
