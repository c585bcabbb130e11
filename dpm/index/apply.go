package index

import (
	"bytes"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Mutation is one change of the index.
type Mutation struct {
	Hash uint64 // KeyHash(Key)
	Key  []byte // the caller keeps it unchanged during Apply
	New  format.Pointer

	// Conditional mutations happen only if the key's pointer is If (0: the key is absent). With a
	// non-zero If the pointer alone identifies the slot, and Key may be nil.
	Conditional bool
	If          format.Pointer
}

// Outcome is what became of a mutation.
type Outcome uint8

// The outcomes.
const (
	// Inserted: the key was absent; New is referenced now.
	Inserted Outcome = iota + 1
	// Replaced: New is referenced now, Old no more.
	Replaced
	// Removed: Old is not referenced any more.
	Removed
	// Unchanged: the key pointed to New already (a replay).
	Unchanged
	// Absent: a delete found nothing.
	Absent
	// Overtaken: a later mutation of the same batch has the same key; this one never showed.
	Overtaken
	// Refused: the condition did not hold; New is not referenced.
	Refused
)

var outcomeNames = [...]string{"none", "inserted", "replaced", "removed", "unchanged", "absent", "overtaken", "refused"}

// String returns the outcome's name.
func (o Outcome) String() string { return outcomeNames[o] }

// Result says what a mutation did. For counting live bytes: Inserted and Replaced reference New, Replaced and
// Removed dereference Old, the others change nothing. What was dereferenced may be reused only after
// a fence that follows Apply.
type Result struct {
	Outcome Outcome
	Old     format.Pointer
}

// plan is a change that is prepared (hash written, slot reserved) and waits for the fence.
type plan struct {
	mutation int
	slot     uint64 // offset of the pointer word
	old      format.Pointer
	depth    int32 // place in the chain, from 1
	fresh    bool  // the slot was empty and is reserved
}

// scratch is what one Apply needs, kept for the next one.
type scratch struct {
	plans   []plan
	todo    []int
	later   []int   // to be tried again in the next round
	starved []int   // to be tried again when there are overflow buckets
	seen    []int32 // open-addressing hash table of mutation numbers + 1
	credit  int     // overflow buckets promised to this batch
}

// publishCount lets a batch wait until another one has published.
type publishCount struct {
	mu      sync.Mutex
	changed sync.Cond
	count   uint64
}

// Apply makes the mutations, in order where they concern one key. results (at least as long as batch) says
// what they did. They are flushed, and durable after the caller's next fence; only then may it move its watermark,
// reuse what was dereferenced, or tell anybody.
//
// Apply fences once, between preparing and publishing, if it changes anything. So log entries that the
// caller flushed (not fenced) before are durable before a pointer leads to them.
//
// The first applied mutations have happened: all of them unless err is set. After whatever error Alloc
// returned, those that needed no overflow bucket (deletes and replacements never do) have happened too; the
// others have no outcome, and the batch, or its part from applied on, is to be applied again when there is
// space. Other errors wrap format.ErrDamaged and name the address, or are the region's fence error, after
// which the index takes no more mutations.
func (ix *Index) Apply(batch []Mutation, results []Result) (applied int, err error) {
	if err := ix.broken(); err != nil {
		return 0, err
	}
	results = results[:len(batch)]
	sc := ix.scratch.Get().(*scratch)
	defer ix.scratch.Put(sc)
	ix.swap.RLock()
	defer ix.swap.RUnlock()
	l := ix.live.Load()

	sc.coalesce(batch, results)
	sc.todo, sc.starved, sc.credit = sc.todo[:0], sc.starved[:0], 0
	for i := range batch {
		if results[i].Outcome != Overtaken {
			sc.todo = append(sc.todo, i)
		}
	}
	ix.touch(l, batch)
	for err == nil && len(sc.todo) > 0 {
		if err = ix.round(l, sc, batch, results); err == nil && len(sc.todo) == 0 && len(sc.starved) > 0 {
			err = ix.feed(l, sc)
		}
	}
	l.overflow.unpromise(sc.credit)
	if err != nil {
		return appliedPrefix(batch, results), err
	}
	return len(batch), nil
}

// feed gets overflow buckets for the mutations that found none and puts them back on the list.
func (ix *Index) feed(l *live, sc *scratch) error {
	starved := len(sc.starved)
	if err := l.overflow.promise(starved); err != nil {
		return err
	}
	sc.credit += starved
	sc.todo = append(sc.todo, sc.starved...)
	sc.starved = sc.starved[:0]
	return nil
}

// appliedPrefix counts the mutations before the first that has not happened. One that was overtaken by a
// mutation that has not happened has not happened either.
func appliedPrefix(batch []Mutation, results []Result) int {
	for i := range results {
		if results[i].Outcome != Overtaken {
			continue
		}
		for j := i + 1; j < len(batch); j++ {
			if sameKey(&batch[i], &batch[j]) && results[j].Outcome == 0 {
				results[i].Outcome = 0
				break
			}
		}
	}
	for i := range results {
		if results[i].Outcome == 0 {
			return i
		}
	}
	return len(results)
}

func sameKey(a, b *Mutation) bool {
	return a.Hash == b.Hash && !a.Conditional && !b.Conditional && bytes.Equal(a.Key, b.Key)
}

// touch loads the main bucket of every mutation. The loads do not depend on each other, so the
// processor overlaps their cache misses, which the rounds would take one after the other. BenchmarkApply
// has the gain.
func (ix *Index) touch(l *live, batch []Mutation) (sum uint64) {
	for i := range batch {
		sum += ix.region.Load64(l.BucketOf(batch[i].Hash))
	}
	return sum
}

// coalesce marks as Overtaken all unconditional mutations whose key has a later unconditional one, and clears
// the other results.
func (sc *scratch) coalesce(batch []Mutation, results []Result) {
	size := 16
	for size < 2*len(batch) {
		size *= 2
	}
	if len(sc.seen) < size {
		sc.seen = make([]int32, size)
	}
	seen := sc.seen[:size]
	clear(seen)
	for i := len(batch) - 1; i >= 0; i-- {
		results[i] = Result{}
		if batch[i].Conditional {
			continue
		}
		at := int(batch[i].Hash) & (size - 1)
		for ; seen[at] != 0; at = (at + 1) & (size - 1) {
			if j := seen[at] - 1; sameKey(&batch[i], &batch[j]) {
				results[i].Outcome = Overtaken
				break
			}
		}
		if seen[at] == 0 {
			seen[at] = int32(i + 1)
		}
	}
}

// round prepares as many of sc.todo as it can, fences, publishes, and leaves in sc.todo what has to
// be tried again.
func (ix *Index) round(l *live, sc *scratch, batch []Mutation, results []Result) error {
	sc.plans, sc.later = sc.plans[:0], sc.later[:0]
	before := ix.published.load()
	if err := ix.broken(); err != nil { // the batch that this one waits for may never publish
		return err
	}
	for at, i := range sc.todo {
		verdict, err := ix.prepare(l, i, &batch[i], &results[i], sc)
		if err != nil {
			ix.abandon(sc, batch)
			return err
		}
		if verdict == noBucket {
			sc.starved = append(sc.starved, i)
		}
		if verdict == waitForOther {
			// Never wait with slots reserved: publish these first, then try the rest.
			sc.later = append(sc.later, sc.todo[at:]...)
			break
		}
	}
	if len(sc.plans) > 0 {
		ix.rounds.Add(1)
		if err := ix.fenceAndRelease(); err != nil {
			return ix.fail(err)
		}
		ix.publishAll(l, sc, batch, results)
	} else if len(sc.later) > 0 {
		ix.published.wait(before)
	}
	ix.retries.Add(int64(len(sc.later)))
	sc.todo, sc.later = sc.later, sc.todo
	return nil
}

func (ix *Index) publishAll(l *live, sc *scratch, batch []Mutation, results []Result) {
	var used, depths int64
	for i := range sc.plans {
		p := &sc.plans[i]
		m := &batch[p.mutation]
		if !ix.publish(l, p, m) {
			sc.later = append(sc.later, p.mutation)
			continue
		}
		r := &results[p.mutation]
		r.Old = p.old
		switch {
		case p.fresh:
			r.Outcome = Inserted
			used, depths = used+1, depths+int64(p.depth)
		case m.New == 0:
			r.Outcome = Removed
			used, depths = used-1, depths-int64(p.depth)
		default:
			r.Outcome = Replaced
		}
	}
	ix.addCounts(used, depths)
	ix.published.add()
}

// abandon takes the reservations of a round back. Their hash words mean nothing in empty slots.
func (ix *Index) abandon(sc *scratch, batch []Mutation) {
	for i := range sc.plans {
		if p := &sc.plans[i]; p.fresh {
			number := stripeOf(batch[p.mutation].Hash)
			s := &ix.stripes[number]
			s.mu.Lock()
			s.forget(p.slot)
			s.free(p.slot, ix.freed.addSlot(number, p.slot)) // it may have been freed just before it was reserved
			s.mu.Unlock()
		}
	}
	ix.published.add()
}

func (c *publishCount) load() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func (c *publishCount) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.changed.Broadcast()
}

// wait returns once the count is no longer what load returned.
func (c *publishCount) wait(before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.count == before {
		c.changed.Wait()
	}
}
