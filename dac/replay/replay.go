package replay

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dac/trace"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// Config says what to replay. The zero value of a field but Trace stands for its default.
type Config struct {
	// Trace is the name of a file or of a law; see trace.Open.
	Trace string
	// Policy is a name that dac.Options takes. Default: the cache's own default.
	Policy string
	// CacheBytes is the cache's budget. Default 64 MiB.
	CacheBytes int
	// MissCost is the round trips of a miss, told to the cache. With 0 a miss costs
	// two round trips and the cache measures that.
	MissCost float64
	// ValueBytes is the length of values whose trace does not say. Default 1024.
	ValueBytes int
	// Warmup is the part of the operations that is not counted. Default 0.5; below 0: none.
	Warmup float64
	// Seed starts the cache's random choices. Default 1.
	Seed uint64
	// NoOptimum skips the search for the best static choice, which for a file takes memory
	// for each of its keys.
	NoOptimum bool
	// Clock measures the speed. Default: the machine's.
	Clock clock.Clock
	// Progress, if set, is told what is being done and how far that is, 0 to 1, by one goroutine
	// at a time.
	Progress func(phase string, fraction float64)
}

// EnsureDefaults sets what is zero to its default.
func (c *Config) EnsureDefaults() {
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	if c.ValueBytes == 0 {
		c.ValueBytes = 1024
	}
	switch {
	case c.Warmup == 0:
		c.Warmup = 0.5
	case c.Warmup < 0:
		c.Warmup = 0
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Progress == nil {
		c.Progress = func(string, float64) {}
	}
	o := dac.Options{Policy: c.Policy}
	o.EnsureDefaults()
	c.Policy = o.Policy
}

// ErrConfig: a Config names something that cannot be.
var ErrConfig = errors.New("replay cannot run")

// Validate reports the first field that cannot be.
func (c *Config) Validate() error {
	switch {
	case c.Trace == "":
		return fmt.Errorf("%w: no trace: want a file, or %s", ErrConfig, trace.Laws)
	case !(c.Warmup < 1):
		return fmt.Errorf("%w: warm-up of %v: want less than 1, the part of the trace that is not counted", ErrConfig, c.Warmup)
	case c.ValueBytes < 0 || c.ValueBytes > trace.MaxValue:
		return fmt.Errorf("%w: values of %d bytes: want 0 to %d", ErrConfig, c.ValueBytes, trace.MaxValue)
	}
	o := c.options()
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

func (c *Config) options() dac.Options {
	return dac.Options{Policy: c.Policy, BudgetBytes: c.CacheBytes, MissCost: c.MissCost, Seed: c.Seed}
}

// cost returns the round trips of a miss.
func (c *Config) cost() float64 {
	if c.MissCost == 0 {
		return defaultMissCost
	}
	return c.MissCost
}

// defaultMissCost is a bucket and an entry.
const defaultMissCost = 2

// Report is what a replay found. Ratios are of the counted reads.
type Report struct {
	Trace              string  `json:"trace"`
	Policy             string  `json:"policy"`
	CacheBytes         int     `json:"cache_bytes"`
	CacheBytesUsed     int     `json:"cache_bytes_used"`
	MissCost           float64 `json:"miss_cost"`
	Operations         uint64  `json:"operations"` // counted ones
	Reads              uint64  `json:"reads"`
	ValueHitRatio      float64 `json:"value_hit_ratio"`
	ShortcutHitRatio   float64 `json:"shortcut_hit_ratio"`
	MissRatio          float64 `json:"miss_ratio"`
	RoundTripsPerRead  float64 `json:"round_trips_per_read"`
	OperationsPerSec   float64 `json:"ops_per_second"`
	BytesReadPerRead   float64 `json:"bytes_read_per_read"` // of values, through the network
	CachedValues       int     `json:"cached_values"`
	CachedShortcuts    int     `json:"cached_shortcuts"`
	PopularityChanges  uint64  `json:"popularity_changes"` // that policy adaptive noticed, warm-up included
	OptimumRoundTrips  float64 `json:"optimum_round_trips_per_read,omitempty"`
	OptimumValues      int     `json:"optimum_values,omitempty"`
	OptimumShortcuts   int     `json:"optimum_shortcuts,omitempty"`
	DistanceToOptimum  float64 `json:"distance_to_optimum,omitempty"` // 0.03 is 3 % more round trips
	OptimumIsFromTrace bool    `json:"optimum_is_from_trace,omitempty"`

	hasOptimum bool
}

// String renders a report for people, one fact a line.
func (r Report) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-22s "+format+"\n", append([]any{name}, args...)...)
	}
	line("trace", "%s", r.Trace)
	line("policy", "%s", r.Policy)
	line("cache", "%s, of which %s used: %d values, %d shortcuts", sizeText(float64(r.CacheBytes)), sizeText(float64(r.CacheBytesUsed)), r.CachedValues, r.CachedShortcuts)
	line("miss cost", "%.3g round trips", r.MissCost)
	line("reads", "%d of %d operations", r.Reads, r.Operations)
	line("answered by", "values %.2f %%, shortcuts %.2f %%, misses %.2f %%", 100*r.ValueHitRatio, 100*r.ShortcutHitRatio, 100*r.MissRatio)
	line("round trips per read", "%.4f", r.RoundTripsPerRead)
	if r.hasOptimum {
		source := "true popularity"
		if r.OptimumIsFromTrace {
			source = "the trace's own counts"
		}
		line("best static choice", "%.4f, by %s: %d values, %d shortcuts", r.OptimumRoundTrips, source, r.OptimumValues, r.OptimumShortcuts)
		if r.OptimumRoundTrips > 0 {
			line("distance to it", "%+.1f %%", 100*r.DistanceToOptimum)
		}
	}
	line("value bytes per read", "%.0f over the network", r.BytesReadPerRead)
	line("popularity changes", "%d noticed", r.PopularityChanges)
	line("speed", "%.2f million operations a second", r.OperationsPerSec/1e6)
	return b.String()
}

// setOptimum records the best static choice and the distance to it.
func (r *Report) setOptimum(best Best, fromTrace bool) {
	r.hasOptimum = true
	r.OptimumRoundTrips, r.OptimumValues, r.OptimumShortcuts = best.RoundTrips, best.Values, best.Shortcuts
	r.OptimumIsFromTrace = fromTrace
	if best.RoundTrips > 0 {
		r.DistanceToOptimum = r.RoundTripsPerRead/best.RoundTrips - 1
	}
}

// Run replays the trace once. It returns what trace.Open and the source say about a bad trace.
func Run(cfg Config) (Report, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	t, err := openTape(&cfg)
	if err != nil {
		return Report{}, err
	}
	return t.run(&cfg)
}

// run replays the tape once.
func (t *tape) run(cfg *Config) (Report, error) {
	p, err := newPlayer(cfg)
	if err != nil {
		return Report{}, err
	}
	defer p.cache.Close()
	if err := p.play(t.total); err != nil {
		return Report{}, err
	}
	rep := p.report()
	if !cfg.NoOptimum && rep.Reads > 0 {
		rep.setOptimum(Optimum(t.keys, cfg.CacheBytes, cfg.cost()), t.fromTrace)
	}
	return rep, nil
}

// each calls do for every operation of a trace.
func each(name string, do func(*trace.Op)) error {
	src, err := trace.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	var op trace.Op
	for {
		switch err := src.Next(&op); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("trace %s: %w", name, err)
		}
		do(&op)
	}
}

// batchOps is how many operations are read before the clock starts: reading a trace, and
// making one up, must not count as the cache's time.
const batchOps = 4096

// step is one operation, ready for the cache.
type step struct {
	kind       trace.Kind
	hash       uint64
	from, to   int // of the key, in the batch's key bytes
	valueBytes int
	shortcut   uint64
}

type player struct {
	cfg   *Config
	cache *dac.Cache
	keys  []byte
	batch []step
	value []byte
	// dither turns a miss cost that is no whole number into whole round trips.
	dither  *rand.Rand
	counted counts
	seconds float64
}

type counts struct {
	operations, reads, values, shortcuts, misses, valueBytes uint64
	roundTrips                                               float64
}

func newPlayer(cfg *Config) (*player, error) {
	cache, err := dac.New(cfg.options())
	if err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	return &player{cfg: cfg, cache: cache, dither: random.New(cfg.Seed)}, nil
}

// play runs all operations and counts those after the warm-up.
func (p *player) play(total uint64) error {
	warm := uint64(p.cfg.Warmup * float64(total))
	done := uint64(0)
	flush := func() {
		start := p.cfg.Clock.Now()
		for i := range p.batch {
			p.do(&p.batch[i])
		}
		if done > warm {
			p.seconds += p.cfg.Clock.Now().Sub(start).Seconds()
			p.counted.operations += uint64(len(p.batch))
		}
		p.batch, p.keys = p.batch[:0], p.keys[:0]
		p.cfg.Progress("replay", float64(done)/float64(max(total, 1)))
	}
	err := each(p.cfg.Trace, func(op *trace.Op) {
		p.add(op)
		done++
		if len(p.batch) == batchOps || done == warm || done == total {
			flush()
			if done == warm {
				p.counted, p.seconds = counts{}, 0
			}
		}
	})
	flush()
	return err
}

func (p *player) add(op *trace.Op) {
	n := op.ValueBytes
	if n == trace.NoSize {
		n = p.cfg.ValueBytes
	}
	if n > len(p.value) {
		p.value = make([]byte, n)
	}
	hash := xxhash.Sum64(op.Key)
	from := len(p.keys)
	p.keys = append(p.keys, op.Key...)
	p.batch = append(p.batch, step{
		kind: op.Kind, hash: hash, from: from, to: len(p.keys), valueBytes: n,
		// In place of an address: a number that no other key has, but for one chance in 2^64.
		shortcut: hash*0x9e3779b97f4a7c15 ^ uint64(len(op.Key)),
	})
}

// do is what an engine does with one operation.
func (p *player) do(s *step) {
	key, value := p.keys[s.from:s.to], p.value[:s.valueBytes]
	switch s.kind {
	case trace.Update:
		p.cache.Update(key, s.hash, value, 0, s.shortcut)
		return
	case trace.Delete:
		p.cache.Invalidate(key, s.hash)
		return
	}
	p.counted.reads++
	r := p.cache.Lookup(key, s.hash)
	switch {
	case r.Kind == dac.Value && len(r.Value) == s.valueBytes:
		p.counted.values++
		return
	case r.Kind == dac.Shortcut && r.Shortcut == s.shortcut:
		p.counted.shortcuts++
		p.counted.roundTrips++
		p.counted.valueBytes += uint64(s.valueBytes)
		p.cache.PromoteAfterShortcutHit(key, s.hash, value, 0, s.shortcut)
		return
	case r.Kind != dac.Miss:
		// Another key of the same hash, or a trace that changes a size without an update.
		p.cache.Invalidate(key, s.hash)
		p.counted.roundTrips++
	}
	p.counted.misses++
	p.counted.roundTrips += p.cfg.cost()
	p.counted.valueBytes += uint64(s.valueBytes)
	trips := p.cfg.cost()
	whole := int(trips)
	if frac := trips - float64(whole); frac > 0 && p.dither.Float64() < frac {
		whole++
	}
	p.cache.InsertAfterMiss(key, s.hash, value, 0, s.shortcut, whole)
}

func (p *player) report() Report {
	n := &p.counted
	stats := p.cache.Stats()
	reads := max(float64(n.reads), 1)
	rep := Report{
		Trace: p.cfg.Trace, Policy: p.cfg.Policy,
		CacheBytes: p.cfg.CacheBytes, CacheBytesUsed: stats.BytesUsed,
		MissCost: p.cfg.cost(), Operations: n.operations, Reads: n.reads,
		ValueHitRatio: float64(n.values) / reads, ShortcutHitRatio: float64(n.shortcuts) / reads,
		MissRatio: float64(n.misses) / reads, RoundTripsPerRead: n.roundTrips / reads,
		BytesReadPerRead: float64(n.valueBytes) / reads,
		CachedValues:     stats.Values, CachedShortcuts: stats.Shortcuts,
		PopularityChanges: stats.PopularityChanges,
	}
	if p.seconds > 0 {
		rep.OperationsPerSec = float64(n.operations) / p.seconds
	}
	return rep
}
