package index

import "sync"

// freedList remembers slots and overflow buckets that were freed since the last fence (IDX-2). It is
// bounded by what the batches under way free: every round takes it along.
type freedList struct {
	mu sync.Mutex
	freedItems
	ticket uint64
}

type freedItems struct {
	slots   []freedSlot
	buckets []freedBucket
}

type freedSlot struct {
	stripe int
	slot   uint64
	ticket uint64
}

type freedBucket struct {
	overflow *overflow
	offset   uint64
}

// addSlot notes that the slot was emptied and flushed, and returns the ticket to release it under.
func (f *freedList) addSlot(stripe int, slot uint64) (ticket uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ticket++
	f.slots = append(f.slots, freedSlot{stripe, slot, f.ticket})
	return f.ticket
}

// addBucket notes that the overflow bucket was unlinked and flushed.
func (f *freedList) addBucket(o *overflow, offset uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buckets = append(f.buckets, freedBucket{o, offset})
}

// take returns what was freed so far and forgets it.
func (f *freedList) take() freedItems {
	f.mu.Lock()
	defer f.mu.Unlock()
	items := f.freedItems
	f.freedItems = freedItems{}
	return items
}

// fenceAndRelease fences, and makes reusable what was freed before.
func (ix *Index) fenceAndRelease() error {
	items := ix.freed.take()
	if err := ix.region.Fence(); err != nil {
		return err
	}
	for _, f := range items.slots {
		s := &ix.stripes[f.stripe]
		s.mu.Lock()
		s.release(f.slot, f.ticket)
		s.mu.Unlock()
	}
	for _, f := range items.buckets {
		f.overflow.give(f.offset)
	}
	return nil
}
