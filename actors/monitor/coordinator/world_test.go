package coordinator_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/kn/guard"
	"github.com/dinomo-kv/dinomo/actors/monitor/coordinator"
	"github.com/dinomo-kv/dinomo/actors/ownership"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/messages"
)

// The world of the model: coordinators and guards are the real ones; the pool, the threads and the network are the
// simplest that can show a lost write, a stale read or two owners. Time is virtual, every choice comes from a seed.
//
// Faults: messages dropped, doubled and reordered; KNs paused, killed and started again; coordinators restarted.

const (
	lease      = 1000 * time.Millisecond
	renewEvery = 250 * time.Millisecond
	sampleKeys = 60
)

type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	queue  events
	serial int
	lossy  bool

	version uint64
	record  []byte
	ranks   map[uint32]*rank
	truth   [sampleKeys]int // last acknowledged value
	stored  [sampleKeys]int // what the index holds

	kns          []*kn
	coordinators []*boss
	log          []string
	writes       int
	swaps        int
}

// rank is the pool's view of a rank: its newest incarnation.
type rank struct {
	incarnation uint64
	word        uint64
	fenced      bool
	ip          string
	gone        bool
}

// kn is a KN: a guard, a lease, and the values it has acknowledged but not merged.
type kn struct {
	ip          string
	rank        uint32
	incarnation uint64
	g           *guard.Guard
	held        map[string]hashring.Ranges
	leaseUntil  time.Time
	pausedUntil time.Time
	dead        bool
	leaving     uint64 // the incarnation that was asked to leave
	unmerged    map[int]int
	cache       map[int]int
}

type boss struct {
	name string
	runs uint64
	c    *coordinator.Coordinator
}

type event struct {
	at     time.Time
	serial int
	do     func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].serial < q[j].serial
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any     { old := *q; e := old[len(old)-1]; *q = old[:len(old)-1]; return e }

func newWorld(t *testing.T, seed uint64, kns, bosses int) *world {
	w := &world{t: t, rng: random.New(seed), now: time.Unix(1000, 0), ranks: map[uint32]*rank{}}
	for i := range bosses {
		w.coordinators = append(w.coordinators, &boss{name: fmt.Sprintf("127.0.0.%d", 3+i)})
		w.restart(w.coordinators[i])
	}
	for i := range kns {
		k := &kn{ip: fmt.Sprintf("127.0.0.%d", 100+i), rank: uint32(1 + i)}
		w.kns = append(w.kns, k)
		w.boot(k)
	}
	w.every(10*time.Millisecond, w.tick)
	w.every(renewEvery, w.renew)
	w.every(200*time.Millisecond, w.hellos)
	w.every(5*time.Millisecond, w.traffic)
	return w
}

func (w *world) restart(b *boss) {
	b.runs++
	c, err := coordinator.New(coordinator.Options{
		Name: b.name, Reply: "tcp://" + b.name + ":8800", DPM: "dpm", VirtualNodes: 20, InitialKNs: 2,
		Lease: lease, PrepareTimeout: 3 * time.Second,
	}, b.runs)
	if err != nil {
		w.t.Fatal(err)
	}
	b.c = c
}

// boot starts a KN's process: the pool fences its last run and gives the rank a new incarnation.
func (w *world) boot(k *kn) {
	r := w.ranks[k.rank]
	if r == nil {
		r = &rank{ip: k.ip}
		w.ranks[k.rank] = r
	}
	r.incarnation++
	r.fenced, r.gone = false, false
	k.incarnation, k.dead = r.incarnation, false
	k.g = guard.New(guard.Options{
		Rank: hashring.Rank(k.rank), PrivateIP: k.ip, Address: "tcp://" + k.ip + ":8600", ResumeTimeout: 5 * time.Second,
	})
	k.held, k.cache = map[string]hashring.Ranges{}, map[int]int{}
	k.leaseUntil = time.Time{}
	// The last run's log waits in the pool until somebody drains it; this model merges it at the drain.
	if k.unmerged == nil {
		k.unmerged = map[int]int{}
	}
	w.logf("%s boots as incarnation %d", k.ip, k.incarnation)
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%8.3f ", w.now.Sub(time.Unix(1000, 0)).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now.Add(d), w.serial, do})
}

func (w *world) every(d time.Duration, do func()) {
	w.after(d, func() { do(); w.every(d, do) })
}

func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

func (w *world) delay() time.Duration {
	d := time.Duration(100+w.rng.IntN(900)) * time.Microsecond
	if w.lossy && w.rng.IntN(10) == 0 {
		d += time.Duration(w.rng.IntN(6000)) * time.Millisecond
	}
	return d
}

// deliver sends a message over the network.
func (w *world) deliver(to string, e *messages.ControlEnvelope) {
	copies := 1
	if w.lossy {
		copies = [...]int{0, 1, 1, 1, 1, 1, 1, 1, 2, 2}[w.rng.IntN(10)]
	}
	for range copies {
		w.after(w.delay(), func() { w.receive(to, e) })
	}
}

func (w *world) receive(to string, e *messages.ControlEnvelope) {
	if to == "dpm" {
		w.dpm(e)
		return
	}
	for _, b := range w.coordinators {
		if to == "tcp://"+b.name+":8800" {
			var out coordinator.Outbox
			b.c.Receive(w.now, e, &out)
			w.bossOut(b, &out)
		}
	}
	for _, k := range w.kns {
		if to == "tcp://"+k.ip+":8600" && !k.dead {
			if w.now.Before(k.pausedUntil) {
				w.after(k.pausedUntil.Sub(w.now)+time.Millisecond, func() { w.receive(to, e) })
				continue
			}
			var out guard.Outbox
			k.g.Receive(w.now, e, &out)
			w.knOut(k, &out)
		}
	}
}

func (w *world) bossOut(b *boss, out *coordinator.Outbox) {
	for _, e := range out.Events {
		w.logf("%s %s: %s", b.name, e.Kind, e.Text)
	}
	for _, s := range out.Sends {
		w.deliver(s.To, s.Envelope)
	}
}

// leave asks a KN to go: it says goodbye until a map is without it. One that is in no map just ends.
func (w *world) leave(k *kn) {
	run := k.incarnation
	if !k.g.Member(run) {
		k.dead, w.ranks[k.rank].gone = true, true
		return
	}
	k.leaving = run
	var say func()
	say = func() {
		if k.dead || k.incarnation != run {
			return
		}
		for _, b := range w.coordinators {
			w.deliver("tcp://"+b.name+":8800", messages.Envelope(k.ip, &messages.NodeBye{Rank: k.rank, PrivateIp: k.ip, Incarnation: run, Reason: "model"}))
		}
		w.after(time.Second, say)
	}
	say()
}

// knOut does what a guard wants, the way a node and its threads do.
func (w *world) knOut(k *kn, out *guard.Outbox) {
	run := k.incarnation
	alive := func(do func()) func() {
		var again func()
		again = func() {
			if k.incarnation != run || k.dead {
				return
			}
			if w.now.Before(k.pausedUntil) {
				w.after(k.pausedUntil.Sub(w.now), again)
				return
			}
			do()
		}
		return again
	}
	for _, n := range out.Notes {
		w.logf("%s %s", k.ip, n)
	}
	if out.Install != nil {
		clear(k.held)
		for key := range k.cache { // DAC-2
			if !w.owns(k, key) {
				delete(k.cache, key)
			}
		}
	}
	if out.Install != nil && k.leaving == run && !k.g.Member(run) {
		w.logf("%s has left", k.ip)
		k.dead, w.ranks[k.rank].gone = true, true
		return
	}
	for _, id := range out.Forget {
		delete(k.held, id)
	}
	for _, r := range out.Releases {
		k.held[r.ID] = r.Ranges
		w.after(w.delay(), alive(func() {
			if w.ranks[k.rank].fenced {
				return
			}
			merged := uint64(0)
			for key, v := range k.unmerged {
				w.stored[key] = v
				delete(k.unmerged, key)
				merged++
			}
			for key := range k.cache {
				if r.Ranges.ContainsKey(keyName(key), keyHash(key)) {
					delete(k.cache, key)
				}
			}
			var o guard.Outbox
			k.g.Released(r.ID, merged, &o)
			w.knOut(k, &o)
		}))
	}
	if out.ReadMap {
		w.after(w.delay(), alive(func() {
			var o guard.Outbox
			k.g.Record(w.version, w.record, &o)
			w.knOut(k, &o)
		}))
	}
	if s := out.Swap; s != nil {
		w.after(w.delay(), func() { // it may take effect although its sender died meanwhile
			if w.ranks[k.rank].incarnation == run && w.ranks[k.rank].fenced {
				return
			}
			w.swap(s.Expected, s.Record)
			w.after(w.delay(), alive(func() {
				var o guard.Outbox
				k.g.Swapped(w.version, w.record, &o)
				w.knOut(k, &o)
			}))
		})
	}
	for _, s := range out.Sends {
		w.deliver(s.To, s.Envelope)
	}
}

func (w *world) swap(expected uint64, record []byte) bool {
	if expected != w.version {
		return false
	}
	w.version, w.record = expected+1, record
	w.swaps++
	return true
}

// dpm answers the DPM's control messages.
func (w *world) dpm(e *messages.ControlEnvelope) {
	switch m := messages.Unwrap(e).(type) {
	case *messages.MetaRead:
		s := &messages.MetaState{RequestId: m.RequestId, Name: m.Name, Version: w.version}
		if m.KnownVersion != w.version {
			s.Value = w.record
		}
		w.deliver(m.ResponseAddress, messages.Envelope("dpm", s))
	case *messages.MetaSwap:
		ok := w.swap(m.ExpectedVersion, m.Value)
		w.deliver(m.ResponseAddress, messages.Envelope("dpm", &messages.MetaState{
			RequestId: m.RequestId, Name: m.Name, Version: w.version, Value: w.record, Swapped: ok,
		}))
	case *messages.PoolQuery:
		s := &messages.PoolState{RequestId: m.RequestId, ServerEpoch: 1, OwnershipVersion: w.version}
		for id := range uint32(len(w.kns) + 1) {
			if r := w.ranks[id]; r != nil {
				s.Ranks = append(s.Ranks, &messages.RankState{
					Rank: id, Incarnation: r.incarnation, LeaseWord: r.word, Fenced: r.fenced, ProcessGone: r.gone, PrivateIp: r.ip,
				})
			}
		}
		w.deliver(m.ResponseAddress, messages.Envelope("dpm", s))
	case *messages.RankFence:
		r := w.ranks[m.Rank]
		if r.incarnation == m.UptoIncarnation && !r.fenced && (!m.OnlyIfUnchanged || m.LeaseWord == r.word) {
			r.fenced = true
			w.logf("rank %d incarnation %d is fenced", m.Rank, r.incarnation)
		}
		w.deliver(m.ResponseAddress, messages.Envelope("dpm", &messages.RankState{
			RequestId: m.RequestId, Rank: m.Rank, Incarnation: m.UptoIncarnation,
			Fenced: r.fenced || r.incarnation > m.UptoIncarnation,
		}))
	case *messages.RankDrain:
		w.after(w.delay(), func() {
			k := w.kns[m.Rank-1]
			if k.incarnation == m.Incarnation || k.dead || w.ranks[m.Rank].incarnation > m.Incarnation {
				for key, v := range k.unmerged {
					w.stored[key] = v
					delete(k.unmerged, key)
				}
			}
			w.deliver(m.ResponseAddress, messages.Envelope("dpm", &messages.RankState{
				RequestId: m.RequestId, Rank: m.Rank, Incarnation: m.Incarnation, Fenced: true, Drained: true,
			}))
		})
	}
}

func (w *world) tick() {
	for _, b := range w.coordinators {
		var out coordinator.Outbox
		b.c.Tick(w.now, &out)
		w.bossOut(b, &out)
	}
	for _, k := range w.kns {
		if k.dead || w.now.Before(k.pausedUntil) {
			continue
		}
		var out guard.Outbox
		k.g.Tick(w.now, &out)
		w.knOut(k, &out)
	}
}

// renew renews leases and polls the map, as a KN's lease keeper does.
func (w *world) renew() {
	for _, k := range w.kns {
		r := w.ranks[k.rank]
		if k.dead || w.now.Before(k.pausedUntil) || r.fenced || r.incarnation != k.incarnation {
			continue
		}
		posted, run := w.now, k.incarnation
		w.after(w.delay(), func() {
			if r.fenced || r.incarnation != run {
				return
			}
			r.word++
			if !k.dead && k.incarnation == run {
				k.leaseUntil = posted.Add(lease)
				var out guard.Outbox
				k.g.Record(w.version, w.record, &out)
				w.knOut(k, &out)
			}
		})
	}
}

func (w *world) hellos() {
	for _, k := range w.kns {
		if k.dead || w.now.Before(k.pausedUntil) || k.g.Member(k.incarnation) {
			continue
		}
		for _, b := range w.coordinators {
			w.deliver("tcp://"+b.name+":8800", messages.Envelope(k.ip, &messages.NodeHello{
				Rank: k.rank, PublicIp: k.ip, PrivateIp: k.ip, Threads: 1, Incarnation: k.incarnation,
			}))
		}
	}
}

func keyName(key int) []byte { return fmt.Appendf(nil, "key%d", key) }
func keyHash(key int) uint64 { return hashring.KeyHash(keyName(key)) }

func (w *world) owns(k *kn, key int) bool {
	m := k.g.Map()
	return m != nil && k.g.Member(k.incarnation) && m.Serves(keyName(key), keyHash(key), hashring.Rank(k.rank), 0)
}

func (w *world) serves(k *kn, key int) bool {
	if k.dead || w.now.Before(k.pausedUntil) || !w.now.Before(k.leaseUntil) || !w.owns(k, key) {
		return false
	}
	for _, ranges := range k.held {
		if ranges.ContainsKey(keyName(key), keyHash(key)) {
			return false
		}
	}
	return true
}

// traffic reads and writes random keys wherever somebody serves them.
func (w *world) traffic() {
	for range 10 {
		key := w.rng.IntN(sampleKeys)
		var servers []*kn
		for _, k := range w.kns {
			if w.serves(k, key) {
				servers = append(servers, k)
			}
		}
		if len(servers) > 1 {
			w.fail("key %d is served by %s and %s", key, servers[0].ip, servers[1].ip)
		}
		if len(servers) == 0 {
			continue
		}
		k := servers[0]
		value, cached := k.cache[key]
		if !cached {
			if v, ok := k.unmerged[key]; ok {
				value = v
			} else {
				value = w.stored[key]
			}
			k.cache[key] = value
		}
		if value != w.truth[key] {
			w.fail("key %d reads %d at %s, but %d was acknowledged", key, value, k.ip, w.truth[key])
		}
		if w.rng.IntN(2) == 0 && !w.ranks[k.rank].fenced {
			w.writes++
			w.truth[key], k.unmerged[key], k.cache[key] = w.writes, w.writes, w.writes
		}
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	tail := w.log[max(0, len(w.log)-60):]
	for _, line := range tail {
		w.t.Log(line)
	}
	w.t.Fatalf(format, args...)
}

// healthy says whether every key is served by somebody and all live KNs agree on the map.
func (w *world) healthy() error {
	for _, k := range w.kns {
		if !k.dead && (k.g.Map() == nil || uint64(k.g.Map().Epoch()) != w.version || !k.g.Member(k.incarnation)) {
			return fmt.Errorf("%s (incarnation %d) is not in step with epoch %d", k.ip, k.incarnation, w.version)
		}
	}
	for key := range sampleKeys {
		if !slices.ContainsFunc(w.kns, func(k *kn) bool { return w.serves(k, key) }) {
			return fmt.Errorf("nobody serves key %d", key)
		}
	}
	m, err := ownership.Decode(w.record, w.version, nil)
	if err != nil {
		return err
	}
	live := 0
	for _, k := range w.kns {
		if !k.dead {
			live++
		}
	}
	if len(m.Members()) != live {
		return fmt.Errorf("the map has %d members, %d KNs live", len(m.Members()), live)
	}
	return nil
}
