package figures

import (
	"maps"
	"time"

	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// Counters are sums over threads. Those that grow are differences when made by Between.
type Counters struct {
	Threads uint64

	Reads, Writes, Deletes                        uint64 // tuples
	ValueHits, ShortcutHits, UnmergedHits, Misses uint64 // of reads
	Requests                                      uint64 // messages

	RoundTripsRead, RoundTripsWrite, RoundTripsMiss uint64
	BytesRead, BytesWritten                         uint64 // moved by verbs
	Verbs                                           VerbCounts

	ReadNanoseconds, WriteNanoseconds uint64          // service times
	Latencies                         latency.Buckets `json:"-"` // of tuples, inside the KN
	Errors                            map[string]uint64
	WriteWaits, DroppedAnswers        uint64
	Promotions, Demotions, Evictions  uint64

	// Gauges: as of the later report, never subtracted.
	OccupancySum                     float64 // one summand a thread, 0 to 1
	CacheBytesUsed, CacheBytesBudget uint64
	UnmergedSegments, StoredBytes    uint64
}

// VerbCounts counts verbs by kind.
type VerbCounts struct {
	Reads, Writes, CAS, FetchAdd, Flush, Calls uint64
}

// Of returns what one report says.
func Of(s *messages.KnStatistics) Counters {
	v := s.GetVerbs()
	c := Counters{
		Threads: 1, Reads: s.GetReads(), Writes: s.GetWrites(), Deletes: s.GetDeletes(),
		ValueHits: s.GetValueHits(), ShortcutHits: s.GetShortcutHits(), UnmergedHits: s.GetUnmergedHits(), Misses: s.GetMisses(),
		Requests: s.GetRequests(), RoundTripsRead: s.GetRoundTripsRead(), RoundTripsWrite: s.GetRoundTripsWrite(),
		RoundTripsMiss: s.GetRoundTripsMiss(), BytesRead: s.GetBytesRead(), BytesWritten: s.GetBytesWritten(),
		Verbs:           VerbCounts{v.GetReads(), v.GetWrites(), v.GetCas(), v.GetFetchAdd(), v.GetFlush(), v.GetCalls()},
		ReadNanoseconds: s.GetReadLatencySumNanoseconds(), WriteNanoseconds: s.GetWriteLatencySumNanoseconds(),
		Errors: maps.Clone(s.GetErrors()), WriteWaits: s.GetWriteWaits(), DroppedAnswers: s.GetDroppedAnswers(),
		Promotions: s.GetCachePromotions(), Demotions: s.GetCacheDemotions(), Evictions: s.GetCacheEvictions(),
		OccupancySum: s.GetOccupancy(), CacheBytesUsed: s.GetCacheBytesUsed(), CacheBytesBudget: s.GetCacheBytesBudget(),
		UnmergedSegments: s.GetUnmergedSegments(), StoredBytes: s.GetStorageConsumption(),
	}
	c.Latencies.Load(s.GetLatencyBuckets())
	return c
}

// SameRun says whether two reports are of one run of one thread, so that their difference means something.
func SameRun(before, after *messages.KnStatistics) bool {
	return before.GetPrivateIp() == after.GetPrivateIp() && before.GetThread() == after.GetThread() &&
		before.GetIncarnation() == after.GetIncarnation() && before.GetUptimeSeconds() <= after.GetUptimeSeconds()
}

// Between returns what a thread did between two of its reports. before may be nil, or of an earlier run: then it is
// what the thread did since it started (FIG-1).
func Between(before, after *messages.KnStatistics) Counters {
	c := Of(after)
	if before == nil || !SameRun(before, after) {
		return c
	}
	b := Of(before)
	later, earlier := c.growing(), b.growing()
	for i := range later {
		*later[i] -= min(*later[i], *earlier[i])
	}
	c.Latencies.Subtract(&b.Latencies)
	for name, n := range b.Errors {
		if c.Errors[name] -= min(c.Errors[name], n); c.Errors[name] == 0 {
			delete(c.Errors, name)
		}
	}
	return c
}

// Add adds other to c, gauges included.
func (c *Counters) Add(other Counters) {
	mine, theirs := c.growing(), other.growing()
	for i := range mine {
		*mine[i] += *theirs[i]
	}
	c.Latencies.Add(&other.Latencies)
	if c.Errors == nil && len(other.Errors) > 0 {
		c.Errors = make(map[string]uint64, len(other.Errors))
	}
	for name, n := range other.Errors {
		c.Errors[name] += n
	}
	c.Threads += other.Threads
	c.OccupancySum += other.OccupancySum
	c.CacheBytesUsed += other.CacheBytesUsed
	c.CacheBytesBudget += other.CacheBytesBudget
	c.UnmergedSegments += other.UnmergedSegments
	c.StoredBytes += other.StoredBytes
}

// growing lists the counters that only grow in a thread's life.
func (c *Counters) growing() []*uint64 {
	return []*uint64{
		&c.Reads, &c.Writes, &c.Deletes, &c.ValueHits, &c.ShortcutHits, &c.UnmergedHits, &c.Misses, &c.Requests,
		&c.RoundTripsRead, &c.RoundTripsWrite, &c.RoundTripsMiss, &c.BytesRead, &c.BytesWritten,
		&c.Verbs.Reads, &c.Verbs.Writes, &c.Verbs.CAS, &c.Verbs.FetchAdd, &c.Verbs.Flush, &c.Verbs.Calls,
		&c.ReadNanoseconds, &c.WriteNanoseconds, &c.WriteWaits, &c.DroppedAnswers, &c.Promotions, &c.Demotions, &c.Evictions,
	}
}

// Operations are the tuples served.
func (c *Counters) Operations() uint64 { return c.Reads + c.Writes + c.Deletes }

// Occupancy is the mean of the threads', 0 to 1.
func (c *Counters) Occupancy() float64 { return ratio(c.OccupancySum, float64(c.Threads)) }

// MeanMicroseconds is the mean service time of an operation.
func (c *Counters) MeanMicroseconds() float64 {
	return ratio(float64(c.ReadNanoseconds+c.WriteNanoseconds)/1000, float64(c.Operations()))
}

// Latency sums up how long tuples took inside the KN; without buckets only their mean is known.
func (c *Counters) Latency() latency.Summary {
	if c.Latencies.Count() == 0 {
		return latency.Summary{Mean: c.MeanMicroseconds()}
	}
	return c.Latencies.Summary(time.Duration(c.ReadNanoseconds + c.WriteNanoseconds))
}

// Ratios are what people read of Counters. The JSON names are those of a run's report.
type Ratios struct {
	ValueHit           float64 `json:"value_hit_ratio"`    // of reads, as the next three
	ShortcutHit        float64 `json:"shortcut_hit_ratio"` //
	UnmergedHit        float64 `json:"unmerged_hit_ratio"`
	Miss               float64 `json:"miss_ratio"`
	RoundTripsPerRead  float64 `json:"round_trips_per_read"`
	RoundTripsPerWrite float64 `json:"round_trips_per_write"` // of writes and deletes; below 1 where they share a commit
	RoundTripsPerMiss  float64 `json:"round_trips_per_miss"`
	BytesReadPerOp     float64 `json:"bytes_read_per_operation"`
	BytesWrittenPerOp  float64 `json:"bytes_written_per_operation"`
}

// Ratios divides; what has no denominator is 0.
func (c *Counters) Ratios() Ratios {
	of := func(a, b uint64) float64 { return ratio(float64(a), float64(b)) }
	return Ratios{
		ValueHit: of(c.ValueHits, c.Reads), ShortcutHit: of(c.ShortcutHits, c.Reads),
		UnmergedHit: of(c.UnmergedHits, c.Reads), Miss: of(c.Misses, c.Reads),
		RoundTripsPerRead: of(c.RoundTripsRead, c.Reads), RoundTripsPerWrite: of(c.RoundTripsWrite, c.Writes+c.Deletes),
		RoundTripsPerMiss: of(c.RoundTripsMiss, c.Misses),
		BytesReadPerOp:    of(c.BytesRead, c.Operations()), BytesWrittenPerOp: of(c.BytesWritten, c.Operations()),
	}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
