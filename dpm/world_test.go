package dpm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

// violation is what a broken promise panics with, so that the mutation check can catch it.
type violation string

func violated(f string, args ...any) { panic(violation(fmt.Sprintf(f, args...))) }

// world is a pool on a fake region with two nodes of two threads each, all in one goroutine. It does random
// things, crashes the pool at a fence, opens what the crash may have left, settles what was under way with the
// nodes that live on, and compares everything with what was promised.
type world struct {
	seed  uint64
	rng   *rand.Rand
	fake  *pmem.Fake
	o     Options
	clock *clock.Manual
	d     *localDialer
	pool  *Pool
	// mutants: sites are tracked and skip is skipped.
	mutants bool
	skip    pmem.Site
	sites   map[pmem.Site]bool

	nodes   [worldNodes]*worldNode
	threads [worldNodes * worldThreads]*worldThread
	owner   [worldGroups]int // thread that may write the group's keys

	acked map[string]string // what was acknowledged
	hot   map[string]*hotKey
	meta  map[string][]metaState // what a record may hold: one state, two after a crash in a change
	// scripted: crashes come when the scene says, and not by the ops' own design.
	scripted bool
	// mapped: the nodes' processes map the pool's memory, and may store to it for as long as they live.
	mapped  bool
	running map[uint32]bool // processes
	lastPID uint32
	names   map[uint64]bool // identity hashes of all nodes there ever were
	epoch   uint64
	crashes int
	ops     map[string]int
}

// firstPID is beyond the processes that a machine can have, so that none of the world's is taken for one of this machine's.
const firstPID = 1 << 30

const (
	worldNodes   = 2
	worldThreads = 2
	worldGroups  = 6
	worldKeys    = 12 // of a group
)

type worldNode struct {
	identity string
	life     int
	pid      uint32
	dead     bool // its process is gone and the next one did not get through yet
	waits    bool // its process runs, and asks for its rank again
	fenced   bool // a fence of it was begun: once nothing of it is left, its rank may go to another name
	session  *remote.Session
	rank     fabric.Rank
}

type worldThread struct {
	*remote.Thread
	node    *worldNode
	number  uint16
	pending []write // of the batch whose outcome is unknown
}

type write struct {
	key     string
	value   string
	deleted bool
}

// hotKey is a replicated key, written by all threads.
type hotKey struct {
	indirect format.Pointer
	may      []string // what it may hold: one value unless a crash came into a CAS
}

type metaState struct {
	version uint64
	blob    string
}

func newWorld(seed uint64, mutants bool, skip pmem.Site) *world {
	w := &world{
		seed: seed, rng: random.New(seed), mutants: mutants, skip: skip, sites: map[pmem.Site]bool{}, clock: clock.NewManual(time.Unix(1_700_000_000, 0)),
		acked: map[string]string{}, hot: map[string]*hotKey{}, meta: map[string][]metaState{}, ops: map[string]int{}, names: map[uint64]bool{},
		running: map[uint32]bool{}, lastPID: firstPID,
	}
	w.mapped = w.rng.IntN(2) == 0
	shape := smallShape(24)
	shape.IndirectWords = 8
	l, err := format.NewLayout(shape, 0)
	if err != nil {
		panic(err)
	}
	w.fake = pmem.NewFake(l.TotalBytes, pmem.Fsync)
	w.mutate()
	w.o = testOptions(w.fake, shape)
	w.o.Clock = w.clock
	w.o.private.indexMaxOverflow = 0.01 // so that it grows
	w.o.private.alive = func(pid uint32, _ uint64) bool { return w.running[pid] }
	w.d = &localDialer{mapped: w.mapped}
	for g := range w.owner {
		w.owner[g] = w.rng.IntN(len(w.threads))
	}
	w.o.private.named = w.checkNamed // a file gets its name when it is whole, so a crash while it is made leaves none
	p, err := Open(w.o)
	if err != nil {
		violated("create: %v", err)
	}
	w.o.private.named = nil
	w.pool, w.d.pool = p, p
	for i := range w.nodes {
		w.nodes[i] = &worldNode{identity: fmt.Sprintf("10.0.0.%d", i+1)}
		w.birth(i)
	}
	return w
}

// mutate has the fake ignore the flush or fence that the world goes without.
func (w *world) mutate() {
	if !w.mutants {
		return
	}
	w.fake.LookThrough("dpm.(*Pool).fence", "dpm.(*Pool).writeWord")
	w.fake.Skip(w.skip)
}

// boot opens what is in the fake, crashing recovery now and then, until it is open and nothing crashed.
func (w *world) boot() {
	for {
		w.o.private.region = w.fake
		w.arm(4, 12)
		p, err := Open(w.o)
		if w.fake.Crashed() {
			w.reboot()
			continue
		}
		if err != nil {
			violated("open: %v", err)
		}
		w.pool, w.d.pool = p, p
		if p.ServerEpoch() <= w.epoch {
			violated("server epoch %d after %d", p.ServerEpoch(), w.epoch)
		}
		w.epoch = p.ServerEpoch()
		w.fake.CrashAtFence(0, false)
		return
	}
}

// checkNamed opens what is durable of a pool whose file is about to get its name.
func (w *world) checkNamed() {
	o := w.o
	o.private.named = nil
	o.private.region = pmem.NewFakeFrom(w.fake.StrictImage(), pmem.Fsync)
	p, err := Open(o)
	if err != nil || p.Recovery().Created {
		violated("a pool that has its name is not whole: %v", err)
	}
}

// arm has the fake crash soon, once in so many times.
func (w *world) arm(oneIn, within int) {
	if w.scripted {
		return
	}
	n := 0
	if w.rng.IntN(oneIn) == 0 {
		n = 1 + w.rng.IntN(within)
	}
	w.fake.CrashAtFence(n, false)
}

// reboot replaces the crashed fake by one of the images that the crash may have left.
func (w *world) reboot() {
	w.crashes++
	if w.pool != nil {
		st := w.pool.Stats()
		w.ops["compactions"] += int(st.Compactions)
		w.ops["freed"] += int(st.FreedSegments)
		w.ops["handed out"] += int(st.HandedOut)
		w.ops["grown"] += int(st.IndexGrows)
		w.ops["overflow buckets"] = max(w.ops["overflow buckets"], int(st.IndexOverflowBuckets))
		w.pool = nil
	}
	for _, s := range w.fake.Sites() {
		w.sites[s] = true
	}
	w.d.pool = nil // all queue pairs are dead
	image := w.fake.CrashImage(w.rng)
	w.fake = pmem.NewFakeFrom(image, pmem.Fsync)
	w.mutate()
}

// recover goes on after a crash: recovery, twice; then each node lives on or is replaced; then all is compared.
func (w *world) recover() {
	for {
		w.reboot()
		w.boot()
		w.checkTwice()
		w.arm(3, 30)
		ok := w.reviveAll()
		if !w.fake.Crashed() {
			if !ok {
				violated("a node could not go on, though nothing crashed")
			}
			break
		}
	}
	w.fake.CrashAtFence(0, false)
	w.verify()
}

// checkTwice opens a copy of what recovery left durable: it must find nothing to do.
func (w *world) checkTwice() {
	if problems := w.pool.Audit(); len(problems) > 0 {
		violated("after recovery: %v", problems)
	}
	before := w.fake.StrictImage()
	copied := pmem.NewFakeFrom(before, pmem.Fsync)
	o := w.o
	o.private.region = copied
	p, err := Open(o)
	if err != nil {
		violated("second recovery: %v", err)
	}
	if p.ServerEpoch() != w.epoch+1 {
		violated("epoch %d was given out and may be given out again", w.epoch)
	}
	after := copied.StrictImage()
	epochAt := format.RootsOffset + format.ServerEpochOffset
	copy(before[epochAt:epochAt+8], after[epochAt:])
	if !bytes.Equal(before, after) {
		at := 0
		for before[at] == after[at] {
			at++
		}
		violated("a second recovery changed the byte at %#x; %v", at, p.Recovery())
	}
}

// reviveAll reconnects or replaces every node. It returns false when something failed.
func (w *world) reviveAll() bool {
	w.clock.Advance(2 * time.Second) // leases of the dead have run out
	for i := range w.nodes {
		if w.nodes[i].dead || w.rng.IntN(3) == 0 {
			if !w.replace(i) {
				return false
			}
			continue
		}
		for n := range worldThreads {
			if !w.reconnect(w.threads[i*worldThreads+n]) {
				return false
			}
		}
	}
	return true
}

// reconnect settles a thread's log with the pool.
func (w *world) reconnect(t *worldThread) bool {
	err := w.patiently(func() error { return t.ReconnectOnce(context.Background()) })
	if w.fake.Crashed() {
		return false
	}
	if err != nil {
		violated("thread %d of %s cannot go on: %v", t.number, t.node.identity, err)
	}
	w.acknowledge(t.pending)
	t.pending = nil
	for _, e := range t.Entries() { // what was replicated is in the log now, but no word leads to it, or one does
		t.Settle(e.Sequence)
	}
	w.settleHot()
	return true
}

// patiently tries again while the pool is busy or short of space, and lets it work meanwhile.
func (w *world) patiently(try func() error) (err error) {
	for range 50 {
		err = try()
		if err == nil || w.fake.Crashed() || !errors.Is(err, remote.ErrBusy) && !errors.Is(err, remote.ErrNoSpace) {
			return err
		}
		w.clock.Advance(recountEvery)
		if _, stepErr := w.pool.Step(); stepErr != nil {
			return stepErr
		}
	}
	return err
}

// replace lets a node die, with whatever its threads had under way, and attaches another process of its name.
func (w *world) replace(i int) bool {
	n := w.nodes[i]
	n.dead = true
	var lost [][]write
	for k := range worldThreads {
		t := w.threads[i*worldThreads+k]
		if t.pending != nil {
			lost = append(lost, t.pending)
		}
		_ = t.Close()
	}
	if n.session != nil {
		_ = n.session.Close()
	}
	renamed := n.session != nil && w.rng.IntN(3) == 0 // it leaves, and another one comes
	if n.session != nil && (renamed || w.rng.IntN(2) == 0) {
		// Fenced by a coordinator first.
		n.fenced = true
		stillWrites := w.openSegments(n)
		if err := w.pool.Fence(n.session.Rank(), n.session.Incarnation()); err != nil {
			return w.mustHaveCrashed("fence: %v", err)
		}
		if err := w.pool.DrainRank(context.Background(), n.session.Rank(), n.session.Incarnation()); err != nil {
			return w.mustHaveCrashed("drain: %v", err)
		}
		if w.mapped && !w.linger(stillWrites) {
			return false
		}
	}
	w.running[n.pid] = n.waits // another process is born, unless this one asks again
	if renamed {
		n.identity, n.rank, n.session = fmt.Sprintf("10.%d.0.%d", n.life, i+1), 0, nil
		n.fenced = false
		w.arm(2, 2)
		defer w.disarm()
	}
	if !w.birth(i) {
		return false
	}
	for _, writes := range lost {
		w.adopt(writes)
	}
	for k := range worldThreads {
		w.threads[i*worldThreads+k].pending = nil
	}
	w.settleHot()
	return true
}

// openSegments lists the segments that a node's process may be writing to. A thread writes its segments in order, so it is
// done with one once a later one begins with an entry, merged or not: such a segment may be free soon after the fence.
func (w *world) openSegments(n *worldNode) (open []format.SegmentID) {
	var e format.Entry
	reached := map[uint16]uint64{} // by thread, order of the last segment with an entry
	for i := range w.pool.segments {
		id := format.SegmentID(i)
		h := &w.pool.segments[i].header
		if h.Kind != format.SegmentLog || h.State != format.SegmentOpen || h.Rank != uint16(n.session.Rank()) || h.Incarnation != uint32(n.session.Incarnation()) {
			continue
		}
		open = append(open, id)
		if w.pool.entryAt(w.pool.layout.SegmentOffset(id), w.pool.layout.SegmentBytes, h.Generation, 0, &e) {
			reached[h.Thread] = max(reached[h.Thread], h.Order)
		}
	}
	return slices.DeleteFunc(open, func(id format.SegmentID) bool {
		h := &w.pool.segments[id].header
		return h.Order < reached[h.Thread]
	})
}

// linger lets the process of a fenced node live on for a while and store to what it maps, behind its log's end, while the pool
// and the other node work: nobody may see that (DPM-6). Were its segments free, they would be the next to be handed out. It
// returns false when the fake crashed meanwhile.
func (w *world) linger(open []format.SegmentID) bool {
	ends := map[format.SegmentID]uint64{}
	for _, id := range open {
		ends[id] = w.pool.segments[id].header.Sealed
	}
	for range w.rng.IntN(4) {
		w.opStep()
		slices.SortStableFunc(w.pool.mu.free, func(a, b format.SegmentID) int {
			return cmp.Compare(slices.Index(open, b), slices.Index(open, a)) // its own first
		})
		w.othersWrite()
		if w.fake.Crashed() {
			return false
		}
	}
	for _, id := range open {
		at := ends[id] + uint64(w.rng.IntN(4))*8
		late := []byte(value(w.rng.IntN(1e6), 8+8*w.rng.IntN(40)))
		if at+uint64(len(late)) <= w.pool.layout.SegmentBytes {
			w.fake.Write(w.pool.layout.SegmentOffset(id)+at, late)
			w.ops["late stores"]++
		}
	}
	return true
}

// othersWrite has a connected thread of a living node write to a new segment.
func (w *world) othersWrite() {
	for at, t := range w.threads {
		qp, _ := t.QP().(*localQP)
		g := slices.Index(w.owner[:], at)
		if qp == nil || qp.pool != w.pool || t.node.dead || t.Unresolved() || g < 0 || w.fake.Crashed() {
			continue
		}
		if t.Len() == 0 {
			if err := t.Seal(); err != nil && !errors.Is(err, remote.ErrBusy) {
				w.mustHaveCrashed("seal: %v", err)
				return
			}
		}
		w.putBatch(at, []int{g})
	}
}

func (w *world) mustHaveCrashed(f string, args ...any) bool {
	if !w.fake.Crashed() {
		violated(f, args...)
	}
	return false
}

// birth attaches a new process of node i.
func (w *world) birth(i int) bool {
	n := w.nodes[i]
	n.life++
	w.names[identityHash(n.identity)] = true
	if n.waits {
		w.ops["asked again"]++
	} else {
		w.lastPID++
		w.running[n.pid], n.pid = false, w.lastPID
		w.running[n.pid] = true
	}
	n.waits = false
	w.clock.Advance(2 * time.Second)
	// A refusal would be tried again until the context ends: nobody else runs meanwhile, so it need not wait.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := remote.Options{Dialer: w.d, Address: "local", Identity: n.identity, PID: n.pid, PIDStart: 1, Clock: w.clock, Waiting: func(error) { cancel() }}
	session, err := remote.Dial(ctx, o)
	if err != nil {
		n.waits = true
		return w.mustHaveCrashed("%s, life %d: %v", n.identity, n.life, err)
	}
	var born [worldThreads]*remote.Thread
	for k := range worldThreads {
		o := remote.AppenderOptions{BatchBytes: 24 << 10, Prealloc: 1 + w.rng.IntN(2)}
		if k > 0 { // test values compress to next to nothing, and the pool is to be filled, too
			o.Compression = remote.Compression(w.rng.IntN(3))
		}
		if born[k], err = session.Thread(ctx, uint16(k), o); err != nil {
			return w.mustHaveCrashed("%s thread %d: %v", n.identity, k, err)
		}
	}
	if n.rank != 0 && n.rank != session.Rank() && (!n.fenced || w.pool.ranks.ranks[n.rank].entry.Identity == identityHash(n.identity)) {
		violated("%s was rank %d and is rank %d now", n.identity, n.rank, session.Rank())
	}
	n.session, n.rank, n.dead, n.fenced = session, session.Rank(), false, false
	for k := range worldThreads {
		at := i*worldThreads + k
		var pending []write
		if w.threads[at] != nil {
			pending = w.threads[at].pending
		}
		w.threads[at] = &worldThread{Thread: born[k], node: n, number: uint16(k), pending: pending}
	}
	return true
}

// adopt takes over a dead thread's batch of unknown outcome: some prefix of it must have happened, as a whole.
func (w *world) adopt(writes []write) {
	for n := len(writes); n >= 0; n-- {
		state := map[string]write{}
		for _, x := range writes {
			v, ok := w.acked[x.key]
			state[x.key] = write{x.key, v, !ok}
		}
		for _, x := range writes[:n] {
			state[x.key] = x
		}
		same := true
		for key, x := range state {
			v, found := w.stored(key)
			same = same && found == !x.deleted && (!found || v == x.value)
		}
		if same {
			w.acknowledge(writes[:n])
			return
		}
	}
	violated("of a batch of unknown outcome no prefix is there: %d writes", len(writes))
}

func (w *world) acknowledge(writes []write) {
	for _, x := range writes {
		if x.deleted {
			delete(w.acked, x.key)
		} else {
			w.acked[x.key] = x.value
		}
	}
}

// stored reads a key from the pool directly.
func (w *world) stored(key string) (value string, found bool) {
	e, found, err := w.pool.Get(index.KeyHash([]byte(key)), []byte(key))
	if err != nil {
		violated("get %s: %v", key, err)
	}
	if !found {
		return "", false
	}
	raw, err := remote.Unpack(&e)
	if err != nil {
		violated("get %s: %v", key, err)
	}
	return string(raw), true
}

// verify compares everything that was acknowledged with what is there.
func (w *world) verify() {
	w.drainAll()
	for g := range worldGroups {
		for k := range worldKeys {
			key := groupKey(g, k)
			want, present := w.acked[key]
			got, found := w.stored(key)
			if found != present || got != want {
				violated("%s = %.20q, %v; acknowledged was %.20q, %v", key, got, found, want, present)
			}
		}
	}
	w.settleHot()
	for _, name := range sortedKeys(w.meta) {
		blob, version, err := w.pool.MetaGet(name)
		if err != nil && !errors.Is(err, ErrNoRecord) {
			violated("metadata %s: %v", name, err)
		}
		found := metaState{version, string(blob)}
		if !containsState(w.meta[name], found) {
			violated("metadata %s = %+v, want one of %+v", name, found, w.meta[name])
		}
		w.meta[name] = []metaState{found}
	}
	w.checkRanks()
	if problems := w.pool.Audit(); len(problems) > 0 {
		violated("%v", problems)
	}
	w.pool.index.Check(func(problem index.Problem) bool {
		violated("%v", problem)
		return false
	})
}

// checkRanks expects every rank to belong to a name that asked for one, and every name to have one rank at most.
func (w *world) checkRanks() {
	of := map[uint64]int{}
	for i := range w.pool.ranks.ranks {
		e := &w.pool.ranks.ranks[i].entry
		if e.State == format.RankFree {
			continue
		}
		if !w.names[e.Identity] {
			violated("rank %d belongs to nobody: %+v", i, *e)
		}
		if other, twice := of[e.Identity]; twice {
			violated("ranks %d and %d belong to one name", other, i)
		}
		of[e.Identity] = i
	}
}

// drainAll merges every log through its own threads. It returns early when the fake crashes.
func (w *world) drainAll() {
	for _, t := range w.threads {
		w.drain(t)
	}
}

func (w *world) drain(t *worldThread) bool {
	if t.Unresolved() {
		return false
	}
	for range 100 {
		done, err := t.Drain(0)
		if w.fake.Crashed() {
			return false
		}
		if err != nil {
			violated("drain: %v", err)
		}
		if done {
			return true
		}
		if _, err := w.pool.Step(); err != nil {
			return w.mustHaveCrashed("step: %v", err)
		}
	}
	violated("drain never ends")
	return false
}

// groupKey returns key k of a group. All keys of a group lie in one bucket, whatever the index grows to, so that chains
// grow and shrink.
func groupKey(g, k int) string { return groupKeys[g][k] }

var groupKeys = func() (keys [worldGroups][worldKeys]string) {
	const log2 = 13
	for g := range keys {
		found := 0
		for n := 0; found < worldKeys; n++ {
			key := fmt.Sprintf("g%d-%d", g, n)
			if format.BucketNumber(index.KeyHash([]byte(key)), log2) == uint64(g*777) {
				keys[g][found] = key
				found++
			}
		}
	}
	return keys
}()

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func containsState(states []metaState, s metaState) bool {
	for _, other := range states {
		if other == s {
			return true
		}
	}
	return false
}
