package monitor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/dinomo-kv/dinomo/actors/monitor/figures"
	"github.com/dinomo-kv/dinomo/messages"
)

// collector remembers the last reports of KN threads and of users.
type collector struct {
	limit   int
	memory  time.Duration
	threads map[threadID]*threadSeen
	users   map[string]*userSeen

	tooMany uint64
}

// threadID names a KN thread across its runs.
type threadID struct {
	privateIP string
	thread    uint32
}

// threadSeen is a thread's last report, and the one that the last summary ended with.
type threadSeen struct {
	base, last *messages.KnStatistics
	at         time.Time
	// anna: it has sent Anna's statistics only, from since on; last adds them up.
	anna  bool
	since time.Time
}

// userSeen is a user thread's last feedback.
type userSeen struct {
	feedback *messages.UserFeedback
	at       time.Time
	fresh    bool // since the last summary
}

func newCollector(limit int, memory time.Duration) *collector {
	return &collector{limit: limit, memory: memory, threads: map[threadID]*threadSeen{}, users: map[string]*userSeen{}}
}

// statistics takes a KN thread's report. An older one than is known counts for nothing.
func (c *collector) statistics(now time.Time, s *messages.KnStatistics) {
	id := threadID{s.GetPrivateIp(), s.GetThread()}
	seen := c.threads[id]
	switch {
	case seen == nil && len(c.threads) >= c.limit:
		c.tooMany++
		return
	case seen == nil:
		seen = &threadSeen{}
		c.threads[id] = seen
	case seen.anna:
		*seen = threadSeen{}
	case s.GetIncarnation() < seen.last.GetIncarnation(),
		s.GetIncarnation() == seen.last.GetIncarnation() && s.GetUptimeSeconds() < seen.last.GetUptimeSeconds():
		return
	}
	seen.last, seen.at = s, now
}

// maxLatencyMicros is a mean latency that no thread has: what is above, or is no number, is not believed.
const maxLatencyMicros = 1e9

// annaStatistics takes what a thread did in one period, in Anna's form. A thread that also sends ours is left to that: it says more.
func (c *collector) annaStatistics(now time.Time, key messages.MetadataKey, s *messages.ServerThreadStatistics) {
	id := threadID{key.PrivateIP, key.Thread}
	seen := c.threads[id]
	switch {
	case seen == nil && len(c.threads) >= c.limit:
		c.tooMany++
		return
	case seen == nil:
		seen = &threadSeen{anna: true, since: now, last: &messages.KnStatistics{PublicIp: key.PublicIP, PrivateIp: key.PrivateIP, Thread: key.Thread}}
		c.threads[id] = seen
	case !seen.anna:
		return
	}
	k := messages.Clone(seen.last) // the report before may be the base of a period
	k.UptimeSeconds = now.Sub(seen.since).Seconds()
	k.Reads += uint64(s.GetAccessCount()) // Anna does not say which were writes
	k.ValueHits += s.GetValueCacheHitCount()
	k.ShortcutHits += s.GetShortcutCacheHitCount()
	k.UnmergedHits += s.GetLocalLogHitCount()
	k.Misses += s.GetCacheMissCount()
	if micros := s.GetKvsAvgLatency(); micros > 0 && micros < maxLatencyMicros {
		k.ReadLatencySumNanoseconds += uint64(micros * 1000 * float64(s.GetAccessCount()))
	}
	k.Occupancy, k.StorageConsumption, k.CacheBytesUsed = s.GetOccupancy(), s.GetStorageConsumption(), s.GetValueCacheSize()
	seen.last, seen.at = k, now
}

// feedback takes a user thread's report.
func (c *collector) feedback(now time.Time, f *messages.UserFeedback) {
	seen := c.users[f.GetUid()]
	switch {
	case f.GetFinish():
		delete(c.users, f.GetUid())
		return
	case seen == nil && len(c.users) >= c.limit:
		c.tooMany++
		return
	case seen == nil:
		seen = &userSeen{}
		c.users[f.GetUid()] = seen
	}
	seen.feedback, seen.at, seen.fresh = f, now, true
}

// expire forgets who has not reported for long.
func (c *collector) expire(now time.Time) {
	maps.DeleteFunc(c.threads, func(_ threadID, t *threadSeen) bool { return now.Sub(t.at) > c.memory })
	maps.DeleteFunc(c.users, func(_ string, u *userSeen) bool { return now.Sub(u.at) > c.memory })
}

// forget drops the reports of a node that is no member any more.
func (c *collector) forget(member func(privateIP string) bool) {
	maps.DeleteFunc(c.threads, func(id threadID, _ *threadSeen) bool { return !member(id.privateIP) })
}

// nodes returns what each KN did since the last summary, by private IP, and begins the next period.
func (c *collector) nodes() []KNSummary {
	byIP := map[string]*KNSummary{}
	for _, id := range slices.SortedFunc(maps.Keys(c.threads), compareThreads) {
		t := c.threads[id]
		n := byIP[id.privateIP]
		if n == nil {
			n = &KNSummary{PrivateIP: id.privateIP, Rank: t.last.GetRank()}
			byIP[id.privateIP] = n
		}
		did := figures.Between(t.base, t.last)
		n.Epoch = max(n.Epoch, t.last.GetEpoch())
		n.Seconds = max(n.Seconds, t.last.GetUptimeSeconds()-baseUptime(t))
		n.Busiest = max(n.Busiest, t.last.GetOccupancy())
		n.Counters.Add(did)
		t.base = t.last
	}
	var all []KNSummary
	for _, ip := range slices.Sorted(maps.Keys(byIP)) {
		all = append(all, *byIP[ip])
	}
	return all
}

func compareThreads(a, b threadID) int {
	return cmp.Or(cmp.Compare(a.privateIP, b.privateIP), cmp.Compare(a.thread, b.thread))
}

// baseUptime is where on the thread's own clock the period began.
func baseUptime(t *threadSeen) float64 {
	if t.base == nil || !figures.SameRun(t.base, t.last) {
		return 0
	}
	return t.base.GetUptimeSeconds()
}

// usersSince sums up the feedback that came since the last summary: the mean latency weighs each user by what it did,
// the tail is the worst user's.
func (c *collector) usersSince() UserSummary {
	var u UserSummary
	var weighed float64
	for _, uid := range slices.Sorted(maps.Keys(c.users)) {
		seen := c.users[uid]
		if !seen.fresh {
			continue
		}
		seen.fresh = false
		f := seen.feedback
		u.Reporters++
		u.Throughput += f.GetThroughput()
		weighed += f.GetThroughput() * f.GetAvgLatency()
		u.LatencyP99Micros = max(u.LatencyP99Micros, f.GetTailLatency())
	}
	if u.Throughput > 0 {
		u.LatencyMeanMicros = weighed / u.Throughput
	}
	return u
}

// hotKeys sums the accesses of the keys that threads reported as their hottest, the hottest first.
func (c *collector) hotKeys() []HotKeyCount {
	sum := map[string]uint64{}
	for _, t := range c.threads {
		for _, k := range t.last.GetHotKeys() {
			sum[string(k.GetKey())] += k.GetAccesses()
		}
	}
	all := make([]HotKeyCount, 0, len(sum))
	for key, n := range sum {
		all = append(all, HotKeyCount{Key: key, Accesses: n})
	}
	slices.SortFunc(all, func(a, b HotKeyCount) int {
		return cmp.Or(cmp.Compare(b.Accesses, a.Accesses), cmp.Compare(a.Key, b.Key))
	})
	return all
}
