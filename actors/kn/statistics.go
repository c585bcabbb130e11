package kn

import (
	"time"
	"unicode/utf8"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

// statistics collects the threads' figures, regularly and for whoever asks, and sends them out: our KnStatistics
// to the M-nodes' control sockets, Anna's messages to their internal-statistics sockets and under metadata keys.
type statistics struct {
	next   uint64
	open   map[uint64]*collection
	at     time.Time
	keysAt time.Time
	serial uint32                            // of regular reports
	last   map[uint32]*messages.KnStatistics // by thread, of the last regular report
	own    map[string][]byte                 // Anna's metadata values of this node, by key
}

// collection waits for the threads' figures.
type collection struct {
	missing int
	threads []*messages.KnStatistics
	hot     [][]hotKey
	regular bool
	keys    bool // with hot keys for Anna
	query   *messages.StatisticsQuery
}

// maxCollections bounds the questions under way; more are not answered, and asked again.
const maxCollections = 64

// begin asks every thread.
func (s *statistics) begin(c *control, n *collection) {
	if len(s.open) >= maxCollections {
		c.unknown++
		return
	}
	if s.open == nil {
		s.open = make(map[uint64]*collection)
	}
	s.next++
	n.missing = len(c.threads)
	n.threads, n.hot = make([]*messages.KnStatistics, n.missing), make([][]hotKey, n.missing)
	s.open[s.next] = n
	c.order(ask{id: s.next, period: n.regular, newKeys: n.keys})
}

func (s *statistics) query(c *control, q *messages.StatisticsQuery) {
	if q.GetResponseAddress() != "" {
		s.begin(c, &collection{query: q})
	}
}

func (s *statistics) tick(c *control, now time.Time) {
	if s.at.IsZero() {
		s.at, s.keysAt = now, now
	}
	if now.Sub(s.at) < c.o.ReportPeriod {
		return
	}
	s.at = now
	for id, n := range s.open { // a thread that is stuck must not have reports pile up
		if n.regular {
			delete(s.open, id)
		}
	}
	keys := now.Sub(s.keysAt) >= c.o.KeyReportPeriod
	if keys {
		s.keysAt = now
	}
	s.begin(c, &collection{regular: true, keys: keys})
}

// reported takes one thread's figures.
func (s *statistics) reported(c *control, r reported, now time.Time, out *runtime.Outbox) {
	n := s.open[r.id]
	if n == nil || n.threads[r.thread] != nil {
		return
	}
	n.threads[r.thread], n.hot[r.thread] = r.statistics, r.hot
	if n.missing--; n.missing > 0 {
		return
	}
	delete(s.open, r.id)
	if n.query != nil {
		s.answer(c, n, out)
		return
	}
	s.report(c, n, now, out)
}

func (s *statistics) answer(c *control, n *collection, out *runtime.Outbox) {
	report := &messages.StatisticsReport{RequestId: n.query.GetRequestId(), PrivateIp: c.o.PrivateIP, Threads: n.threads}
	if m := c.guard.Map(); m != nil {
		report.Epoch = uint64(m.Epoch())
	}
	c.send(n.query.GetResponseAddress(), messages.Envelope(c.o.PrivateIP, report), out)
}

// report sends the regular reports.
func (s *statistics) report(c *control, n *collection, now time.Time, out *runtime.Outbox) {
	s.serial++
	values := make(map[string][]byte)
	for i, k := range n.threads {
		c.sendMonitors(k, out)
		s.annas(c, values, messages.MetadataStats, k.GetThread(), now, annaStatistics(k, s.last[k.GetThread()], s.serial))
		if n.keys {
			access, size := annaKeys(n.hot[i])
			s.annas(c, values, messages.MetadataAccess, k.GetThread(), now, access)
			s.annas(c, values, messages.MetadataSize, k.GetThread(), now, size)
		}
		if s.last == nil {
			s.last = make(map[uint32]*messages.KnStatistics)
		}
		s.last[k.GetThread()] = k
	}
	c.public.set(values)
	s.share(c, values, out)
	put := &messages.KeyRequest{Type: messages.RequestType_PUT}
	for key, value := range values {
		put.Tuples = append(put.Tuples, &messages.KeyTuple{Key: key, LatticeType: messages.LatticeType_LWW, Payload: value})
	}
	frame := messages.AppendKeyRequest(nil, put)
	for _, ip := range c.o.Monitors {
		out.Send(c.o.address(ip, messages.MonitorStatistics), frame)
	}
}

// annas adds one of Anna's metadata values.
func (s *statistics) annas(c *control, values map[string][]byte, kind messages.MetadataKind, thread uint32, now time.Time, m messages.Message) {
	key := messages.MetadataKey{Kind: kind, PublicIP: c.o.PublicIP, PrivateIP: c.o.PrivateIP, Thread: thread, Tier: messages.Tier_MEMORY}
	if value, err := messages.MetadataPayload(uint64(now.UnixMicro()), m); err == nil {
		values[key.String()] = value
	}
}

// annaStatistics is what happened between two reports, as Anna's monitor reads it.
func annaStatistics(k, last *messages.KnStatistics, serial uint32) *messages.ServerThreadStatistics {
	tuples := k.GetReads() + k.GetWrites() + k.GetDeletes() - last.GetReads() - last.GetWrites() - last.GetDeletes()
	took := k.GetReadLatencySumNanoseconds() + k.GetWriteLatencySumNanoseconds() -
		last.GetReadLatencySumNanoseconds() - last.GetWriteLatencySumNanoseconds()
	s := &messages.ServerThreadStatistics{
		StorageConsumption: k.GetStorageConsumption(), Occupancy: k.GetOccupancy(), Epoch: serial, AccessCount: uint32(tuples),
		ValueCacheSize: k.GetCacheBytesUsed(), ValueCacheHitCount: k.GetValueHits() - last.GetValueHits(),
		ShortcutCacheHitCount: k.GetShortcutHits() - last.GetShortcutHits(), LocalLogHitCount: k.GetUnmergedHits() - last.GetUnmergedHits(),
		CacheMissCount: k.GetMisses() - last.GetMisses(),
	}
	if tuples > 0 {
		s.KvsAvgLatency = float64(took) / 1e3 / float64(tuples)
	}
	return s
}

// annaKeys are the hottest keys and their values' sizes. Anna's messages can only name keys that are UTF-8.
func annaKeys(hot []hotKey) (*messages.KeyAccessData, *messages.KeySizeData) {
	access, size := &messages.KeyAccessData{}, &messages.KeySizeData{}
	for _, k := range hot {
		if !utf8.Valid(k.key) {
			continue
		}
		access.Keys = append(access.Keys, &messages.KeyCount{Key: string(k.key), AccessCount: uint32(k.accesses)})
		if k.bytes > 0 {
			size.KeySizes = append(size.KeySizes, &messages.KeySize{Key: string(k.key), Size: k.bytes})
		}
	}
	return access, size
}
