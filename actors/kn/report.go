package kn

import (
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// reporting is what a thread counts beside its engine. All counts run from the thread's start.
type reporting struct {
	hot     *hotKeys
	started time.Time

	requests, malformed, dropped        uint64
	gossip, gossipDropped, cacheUpdates uint64
	errors                              [errorCodes]uint64

	busy              time.Duration
	readSum, writeSum time.Duration
	latencies         latency.Buckets // of tuples, reads and writes

	// As of the last report, for figures that cover the time since.
	reportedAt   time.Time
	reportedBusy time.Duration
}

// errorCodes is one above the largest code that a node answers with.
const errorCodes = int(messages.AnnaError_DAMAGED) + 1

func (r *reporting) failed(code messages.AnnaError) { r.errors[code]++ }

// served counts a round. Its answers left together, so each of its tuples took as long as the round.
func (r *reporting) served(round *round, began, ended time.Time) {
	took := ended.Sub(began)
	r.busy += took
	r.readSum += took * time.Duration(round.reads)
	r.writeSum += took * time.Duration(round.mutations)
	r.latencies.Record(took, round.reads+round.mutations)
}

// figures is a thread's report.
type figures struct {
	statistics *messages.KnStatistics
	hot        []hotKey
}

// hotReported is how many of the hottest keys are reported.
const hotReported = 64

// figures describes the thread at this moment.
func (t *thread) figures(now time.Time) figures {
	c, g, cache, verbs := t.engine.Counters(), t.engine.Gauges(), t.engine.CacheStats(), t.engine.Verbs()
	r := &t.report
	period := now.Sub(r.reportedAt)
	s := &messages.KnStatistics{
		Rank: uint32(t.self.rank), Thread: uint32(t.number), Incarnation: t.self.incarnation,
		PublicIp: t.o.PublicIP, PrivateIp: t.o.PrivateIP,
		PeriodSeconds: period.Seconds(), UptimeSeconds: now.Sub(r.started).Seconds(),
		Reads: c.Reads - c.Failed, Writes: c.Writes, Deletes: c.Deletes,
		ValueHits: c.ValueHits, ShortcutHits: c.ShortcutHits, UnmergedHits: c.UnmergedHits, Misses: c.Misses,
		Requests: r.requests, RoundTripsRead: c.RoundTripsRead, RoundTripsWrite: c.RoundTripsWrite, RoundTripsMiss: c.RoundTripsMiss,
		BytesRead: verbs.BytesRead, BytesWritten: verbs.BytesWritten, Verbs: verbCounts(verbs),
		Errors:                    map[string]uint64{},
		ReadLatencySumNanoseconds: uint64(r.readSum), WriteLatencySumNanoseconds: uint64(r.writeSum),
		LatencyBuckets: slices.Clone(r.latencies.Trimmed()),
		CacheBytesUsed: uint64(cache.BytesUsed), CacheBytesBudget: uint64(cache.BudgetBytes),
		CacheDemotions: cache.Demotions, CachePromotions: cache.Promotions, CacheEvictions: cache.EvictedValues + cache.EvictedShortcuts,
		UnmergedSegments: uint64(g.UnmergedSegments), WriteWaits: c.WriteWaits, DroppedAnswers: r.dropped,
		StorageConsumption: t.engine.AppendCounters().Bytes,
	}
	if t.view.m != nil {
		s.Epoch = uint64(t.view.m.Epoch())
	}
	if period > 0 {
		s.Occupancy = min(float64(r.busy-r.reportedBusy)/float64(period), 1)
	}
	for code, n := range r.errors {
		if n > 0 {
			s.Errors[messages.AnnaError(code).String()] = n
		}
	}
	if r.malformed > 0 {
		s.Errors["MALFORMED"] = r.malformed
	}
	hot := r.hot.top(hotReported)
	for _, k := range hot {
		s.HotKeys = append(s.HotKeys, &messages.HotKey{Key: k.key, Accesses: k.accesses})
	}
	return figures{statistics: s, hot: hot}
}

// next begins a new period for the figures that cover one.
func (r *reporting) next(now time.Time, a ask) {
	if a.period {
		r.reportedAt, r.reportedBusy = now, r.busy
	}
	if a.newKeys {
		r.hot.reset()
	}
}

func verbCounts(c fabric.Counters) *messages.VerbCounts {
	return &messages.VerbCounts{
		Reads: c.Verbs[fabric.Read], Writes: c.Verbs[fabric.Write], Cas: c.Verbs[fabric.CAS],
		FetchAdd: c.Verbs[fabric.FetchAdd], Flush: c.Verbs[fabric.Flush], Calls: c.Calls,
	}
}
