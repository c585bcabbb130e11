package dac

// Stats is a snapshot of a cache. Counters run from New and wrap never in practice.
type Stats struct {
	ValueHits, ShortcutHits, Misses uint64 // lookups by answer
	Promotions                      uint64 // shortcuts that became values
	Demotions                       uint64 // values that became shortcuts
	EvictedValues                   uint64 // values that left altogether
	EvictedShortcuts                uint64 // shortcuts that left
	Dropped                         uint64 // entries that DropIf took
	Rejected                        uint64 // entries lost because their buckets were full
	Failures                        uint64 // entries not kept because the system gave no memory
	PopularityChanges               uint64 // how often policy adaptive noticed one
	AgeingPasses                    uint64 // how often it cut hit counts down, for this or their size

	Values, Shortcuts int // entries now

	BudgetBytes    int // the limit
	BytesUsed      int // all memory that counts, in pages where it is taken in pages
	TableBytes     int // of it: the table of entries
	ValueBytes     int // of it: chunks, with headers, keys and values
	FixedBytes     int // of it: everything whose size does not depend on the contents
	MissRoundTrips float64
}

type counters struct {
	valueHits, shortcutHits, misses uint64
	promotions, demotions           uint64
	evictedValues, evictedShortcuts uint64
	dropped, rejected, failures     uint64
}

// lookups returns how many there were.
func (s *counters) lookups() uint64 { return s.valueHits + s.shortcutHits + s.misses }

// Stats returns the counters and sizes of this moment.
func (c *Cache) Stats() Stats {
	s := &c.stats
	out := Stats{
		ValueHits: s.valueHits, ShortcutHits: s.shortcutHits, Misses: s.misses,
		Promotions: s.promotions, Demotions: s.demotions,
		EvictedValues: s.evictedValues, EvictedShortcuts: s.evictedShortcuts,
		Dropped: s.dropped, Rejected: s.rejected, Failures: s.failures,
		Values: c.values, Shortcuts: c.table.entries - c.values,
		BudgetBytes: c.opts.BudgetBytes, BytesUsed: c.BytesUsed(),
		TableBytes: c.tableResident, ValueBytes: c.resident - c.tableResident, FixedBytes: c.fixedBytes,
		MissRoundTrips: c.miss.value(),
	}
	if c.adaptive != nil {
		out.PopularityChanges, out.AgeingPasses = c.adaptive.epoch.changes, c.adaptive.epoch.passes
	}
	return out
}

// BytesUsed returns the memory that the cache takes, all counted; it never exceeds Budget.
func (c *Cache) BytesUsed() int { return c.fixedBytes + c.resident }

// Budget returns the most that BytesUsed may become.
func (c *Cache) Budget() int { return c.opts.BudgetBytes }

// missCost is a moving average of the round trips of a miss.
type missCost struct {
	average  float64
	observed uint64
	fixed    bool
}

const (
	// defaultMissCost is assumed before the first miss: bucket, then entry.
	defaultMissCost = 2
	// missWindow is over how many misses the average moves: a KN thread misses thousands of
	// times a second, so this follows a resize of the index at once and is still smooth.
	missWindow = 256
)

func (m *missCost) reset(fixed float64) {
	*m = missCost{average: fixed, fixed: fixed > 0}
	if !m.fixed {
		m.average = defaultMissCost
	}
}

func (m *missCost) observe(roundTrips int) {
	if m.fixed || roundTrips <= 0 {
		return
	}
	m.observed++
	m.average += (float64(roundTrips) - m.average) / float64(min(m.observed, missWindow))
}

func (m *missCost) value() float64 { return m.average }
