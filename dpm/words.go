package dpm

import (
	"fmt"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// wordTable hands out indirect-pointer words. The index says which are in use; a word that it does not
// lead to is free, whatever it holds, unless it is quarantined.
type wordTable struct {
	sync.Mutex
	used []bool // or quarantined
	free int
	next uint32 // where to look for a free one
	// installed is the pool's fence count at which a word in use was handed out; 0, and not in here, for those found at
	// open. quarantined are words that nothing leads to any more and that somebody fenced may still move.
	installed   map[uint32]uint64
	quarantined map[uint32]fenceSpan
}

func (t *wordTable) take(fences uint64) (i uint32, ok bool) {
	t.Lock()
	defer t.Unlock()
	for range t.used {
		i = t.next
		t.next = (t.next + 1) % uint32(len(t.used))
		if !t.used[i] {
			t.used[i], t.installed[i] = true, fences
			t.free--
			return i, true
		}
	}
	return 0, false
}

// restore takes over which words the index leads to.
func (t *wordTable) restore(used []bool) {
	t.Lock()
	defer t.Unlock()
	t.used, t.free = used, 0
	t.installed, t.quarantined = map[uint32]uint64{}, map[uint32]fenceSpan{}
	for _, u := range used {
		if !u {
			t.free++
		}
	}
}

func (t *wordTable) give(i uint32) {
	t.Lock()
	defer t.Unlock()
	delete(t.installed, i)
	if t.used[i] {
		t.used[i] = false
		t.free++
	}
}

// FreeWord says whether there is an indirect-pointer word at an offset that no key's slot leads to and that is not quarantined: the
// DPM's own, which nobody may move by CAS.
func (p *Pool) FreeWord(offset uint64) bool {
	if offset < p.layout.IndirectOffset {
		return false
	}
	i := (offset - p.layout.IndirectOffset) / format.WordBytes
	p.words.Lock()
	defer p.words.Unlock()
	return i < uint64(len(p.words.used)) && !p.words.used[i]
}

// pin counts the entry that a pointer word leads to as live in its own way.
func (p *Pool) pin(target format.Pointer, by int64) {
	if _, _, ok := p.layout.EntryRange(target); ok {
		id, _ := p.layout.SegmentOf(target.Offset())
		if p.segments[id].pinned.Add(by) <= 0 {
			p.wakeReclaimer()
		}
	}
}

// abandonWord frees the word behind an indirect pointer that the index has lost. The entry it leads to
// keeps its pin until the reclaimer counts.
func (p *Pool) abandonWord(indirect format.Pointer) {
	if i, ok := p.layout.IndirectOf(indirect); ok {
		p.clearWord(i)
	}
}

// loadWord returns what the word behind an indirect pointer holds.
func (p *Pool) loadWord(indirect format.Pointer) (format.Pointer, error) {
	i, ok := p.layout.IndirectOf(indirect)
	if !ok {
		return 0, fmt.Errorf("indirect pointer %v is %w", indirect, format.ErrDamaged)
	}
	return format.Pointer(p.region.Load64(p.layout.IndirectOffsetOf(i))), nil
}

// Install puts an indirect pointer in front of key and returns it. Nobody may read or write the key
// meanwhile, and what was written to it must be merged: the ownership protocol sees to both. A key
// that has one keeps it, unless somebody fenced may still move its word (see renew). One that does not exist gets one
// that leads to a tombstone.
//
// The word, and a tombstone, are flushed first; Apply fences before it publishes the slot; a fence makes that
// durable. A crash between leaves a word that nothing leads to.
func (p *Pool) Install(key []byte) (format.Pointer, error) {
	if err := p.checkKey(key); err != nil {
		return 0, err
	}
	p.compact.Lock() // nothing may move the key's entry meanwhile
	defer p.compact.Unlock()
	hash := index.KeyHash(key)
	current, err := p.lookup(hash, key)
	if err != nil {
		return 0, fmt.Errorf("install pointer of %q: %w", key, err)
	}
	if current.Indirect() {
		return p.renew(hash, key, current)
	}
	target := current
	if current.Nil() {
		if target, err = p.writeTombstone(key); err != nil {
			return 0, fmt.Errorf("install pointer of %q: %w", key, err)
		}
	}
	i, ok := p.words.take(p.ranks.fenceCount())
	if !ok {
		return 0, fmt.Errorf("install pointer of %q: %w", key, ErrNoWord)
	}
	return p.leadThrough(i, target, index.Mutation{Hash: hash, Key: key, Conditional: true, If: current})
}

// leadThrough makes word i lead to target and a key's slot lead to word i, in place of what m.If says.
func (p *Pool) leadThrough(i uint32, target format.Pointer, m index.Mutation) (format.Pointer, error) {
	p.pin(target, 1)
	p.writePointerWord(i, target)
	m.New = format.PackIndirect(p.layout.IndirectOffsetOf(i))
	outcome, err := p.mutate(m)
	if err != nil || outcome == index.Refused {
		p.words.give(i)
		p.pin(target, -1)
		if err == nil {
			err = ErrBusy // the key is being written: the caller broke the protocol
		}
		return 0, fmt.Errorf("install pointer of %q: %w", m.Key, err)
	}
	if m.If.Indirect() {
		p.pin(target, -1) // the old word's
	}
	if !m.If.Nil() {
		p.dereference(m.If)
	}
	return m.New, nil
}

// Remove takes key's indirect pointer away: its slot leads to its entry again, or is gone if the entry is
// a tombstone. Nobody may read or write the key meanwhile. A key without one stays as it is.
func (p *Pool) Remove(key []byte) error {
	if err := p.checkKey(key); err != nil {
		return err
	}
	p.compact.Lock()
	defer p.compact.Unlock()
	hash := index.KeyHash(key)
	current, err := p.lookup(hash, key)
	if err != nil {
		return fmt.Errorf("remove pointer of %q: %w", key, err)
	}
	if !current.Indirect() {
		return nil
	}
	target, err := p.loadWord(current)
	if err != nil {
		return fmt.Errorf("remove pointer of %q: %w", key, err)
	}
	var e format.Entry
	if err := p.readEntry(target, &e); err != nil {
		return fmt.Errorf("remove pointer of %q: %w", key, err)
	}
	m := index.Mutation{Hash: hash, Key: key, Conditional: true, If: current}
	if e.Op == format.OpPut {
		m.New = target
		p.countLive(target) // before it is true: so that the reclaimer never sees too little
	}
	outcome, err := p.mutate(m)
	if err != nil || outcome == index.Refused {
		if err == nil {
			err = ErrBusy
		}
		return fmt.Errorf("remove pointer of %q: %w", key, err)
	}
	i, _ := p.layout.IndirectOf(current)
	p.clearWord(i)
	p.pin(target, -1)
	return nil
}

// clearWord frees a word that nothing leads to any more, unless somebody fenced may still move it: then it waits in
// quarantine. It is zeroed for readers that remember it; what a crash leaves in a free word does not matter, so there is
// nothing to flush.
func (p *Pool) clearWord(i uint32) {
	if p.quarantineWord(i) {
		return
	}
	p.region.Store64(p.layout.IndirectOffsetOf(i), 0)
	p.words.give(i)
}

func (p *Pool) checkKey(key []byte) error {
	if len(key) == 0 || len(key) > format.MaxKeyBytes {
		return fmt.Errorf("key of %d bytes: want 1 to %d", len(key), format.MaxKeyBytes)
	}
	return p.Err()
}

// writePointerWord stores and flushes an indirect-pointer word that nothing leads to yet.
func (p *Pool) writePointerWord(i uint32, target format.Pointer) {
	offset := p.layout.IndirectOffsetOf(i)
	p.region.Store64(offset, uint64(target))
	p.region.Flush(offset, format.WordBytes)
}

// mutate makes one mutation of the index durable.
func (p *Pool) mutate(m index.Mutation) (index.Outcome, error) {
	var results [1]index.Result
	if _, err := p.index.Apply([]index.Mutation{m}, results[:]); err != nil {
		return 0, err
	}
	return results[0].Outcome, p.fence()
}

// countLive counts the entry behind p as one that the index leads to.
func (p *Pool) countLive(pointer format.Pointer) {
	if id, ok := p.layout.SegmentOf(pointer.Offset()); ok {
		p.segments[id].live.Add(int64(pointer.Units()))
	}
}

// PointerChange is Install or Remove for several keys, stopping at the first that fails.
func (p *Pool) PointerChange(keys [][]byte, install bool) (done int, err error) {
	for _, key := range keys {
		if install {
			_, err = p.Install(key)
		} else {
			err = p.Remove(key)
		}
		if err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}
