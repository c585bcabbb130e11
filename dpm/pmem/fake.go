package pmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// ErrCrashed is what Fence returns, and what CrashPanic carries, once a Fake has crashed.
var ErrCrashed = errors.New("pmem fake has crashed")

// Fake is a Region in memory that can crash. It keeps, for every word stored since it was last
// durable, all the values it has had, and so can produce every image that persistent memory, or a
// disk under fdatasync, may hold after a crash:
//
//   - a word that was flushed and fenced since its last store has that store's value;
//   - any other word has any one of the values it had since (and including) its last durable one,
//     whatever its neighbours have, because cache lines and pages are written back at any time,
//     in any order, fenced or not.
//
// These are the faults a user of a Region must survive, and no others: words never tear, and
// fenced words never go back. (Real hardware keeps the order of stores within a cache line; the
// fake does not, so code that relies on it fails here.)
//
// A test arms a crash at the n-th fence, runs until it hits, takes any number of images with
// CrashImage and opens each with NewFakeFrom. All methods may be called from any goroutine.
type Fake struct {
	mapping
	durability Durability

	mu struct {
		sync.Mutex
		at        []int32   // for each word, its history's place in histories + 1; 0: it is durable as it is
		histories []history // in use and spare ones
		spare     []int32
		flushed   []uint64 // offsets of words with a flush that awaits a fence
		crashed   bool
		base      []byte // the visible bytes at the crash
		fences    int
		flushes   int
		crashAt   int // fence before whose effect to crash; 0: never
		panics    bool
		onFence   func(n int)
		track     bool
		sites     map[Site]int
		skip      Site
		helpers   []string // functions whose callers count as sites
	}
}

// history is what a word has been since it was last durable: values[0] is durable.
type history struct {
	offset uint64
	values []uint64 // empty: a spare
	fence  int      // index of the value that the next fence makes durable; 0: no flush is under way
}

// CrashPanic is what a Fake panics with when an armed crash hits (CrashAtFence with panics).
type CrashPanic struct{ Fence int }

// Error implements error.
func (c CrashPanic) Error() string { return fmt.Sprintf("%v at fence %d", ErrCrashed, c.Fence) }

// Unwrap makes errors.Is(c, ErrCrashed) true.
func (c CrashPanic) Unwrap() error { return ErrCrashed }

// NewFake returns bytes of zero memory, all durable, that claims to have the durability given.
func NewFake(bytes uint64, d Durability) *Fake {
	f := newFake(bytes, d)
	clear(f.mem)
	return f
}

// newFake is NewFake with memory that may hold anything.
func newFake(bytes uint64, d Durability) *Fake {
	m := usedMappings.take(bytes)
	if m.mem == nil {
		var err error
		if m, err = mapAnonymous(bytes); err != nil {
			panic(err)
		}
	}
	f := &Fake{mapping: m, durability: d}
	f.mu.at = make([]int32, bytes/wordBytes)
	f.mu.sites = map[Site]int{}
	runtime.AddCleanup(f, usedMappings.give, m)
	return f
}

// usedMappings keeps the memory of fakes that are gone. Tests drop fakes by the thousand: the memory is not Go's, and to map
// fresh pages costs more than most of what is done with them.
var usedMappings mappingPool

type mappingPool struct {
	mu    sync.Mutex
	spare []mapping
}

// maxSpare bounds the mappings that wait to be used again.
const maxSpare = 8

// take returns a mapping of that size, or one without memory.
func (p *mappingPool) take(bytes uint64) (m mapping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.spare {
		if p.spare[i].Bytes() == bytes {
			m = p.spare[i]
			p.spare = slices.Delete(p.spare, i, i+1)
			return m
		}
	}
	return m
}

// give keeps a mapping, in place of the one that has waited longest when there are too many.
func (p *mappingPool) give(m mapping) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spare) == maxSpare {
		_ = p.spare[0].unmap()
		p.spare = slices.Delete(p.spare, 0, 1)
	}
	p.spare = append(p.spare, m)
}

// NewFakeFrom returns a fake that holds image (copied), all durable.
func NewFakeFrom(image []byte, d Durability) *Fake {
	f := newFake(uint64(len(image)), d)
	copy(f.mem, image)
	return f
}

// Durability implements Region.
func (f *Fake) Durability() Durability { return f.durability }

// Close implements Region. The memory goes when the object does.
func (f *Fake) Close() error { return nil }

// note records that the word at offset is about to change. REQUIRES: mu held, before the store.
func (f *Fake) note(offset, value uint64) {
	if f.mu.crashed {
		return
	}
	before := f.mapping.Load64(offset) // panics here if offset is out of bounds
	i := f.mu.at[offset/wordBytes]
	if i == 0 {
		if n := len(f.mu.spare); n > 0 {
			i, f.mu.spare = f.mu.spare[n-1], f.mu.spare[:n-1]
		} else {
			f.mu.histories = append(f.mu.histories, history{})
			i = int32(len(f.mu.histories))
		}
		f.mu.at[offset/wordBytes] = i
		h := &f.mu.histories[i-1]
		h.offset, h.fence = offset, 0
		h.values = append(h.values, before)
	}
	h := &f.mu.histories[i-1]
	h.values = append(h.values, value)
}

// settle makes what was flushed durable. REQUIRES: mu held.
func (f *Fake) settle() {
	for _, offset := range f.mu.flushed {
		i := f.mu.at[offset/wordBytes]
		h := &f.mu.histories[i-1]
		h.values = append(h.values[:0], h.values[h.fence:]...)
		h.fence = 0
		if len(h.values) == 1 {
			h.values = h.values[:0]
			f.mu.at[offset/wordBytes] = 0
			f.mu.spare = append(f.mu.spare, i)
		}
	}
	f.mu.flushed = f.mu.flushed[:0]
}

// Load64 implements Region.
func (f *Fake) Load64(offset uint64) uint64 { return f.mapping.Load64(offset) }

// Store64 implements Region.
func (f *Fake) Store64(offset, value uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(offset, value)
	f.mapping.Store64(offset, value)
}

// CompareAndSwap64 implements Region.
func (f *Fake) CompareAndSwap64(offset, expect, swap uint64) (before uint64, swapped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if before = f.mapping.Load64(offset); before != expect {
		return before, false
	}
	f.note(offset, swap)
	f.mapping.Store64(offset, swap)
	return before, true
}

// Add64 implements Region.
func (f *Fake) Add64(offset, delta uint64) (before uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before = f.mapping.Load64(offset)
	f.note(offset, before+delta)
	f.mapping.Store64(offset, before+delta)
	return before
}

// Read implements Region.
func (f *Fake) Read(offset uint64, dst []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mapping.Read(offset, dst)
}

// Write implements Region.
func (f *Fake) Write(offset uint64, src []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dst := f.rangeOf(offset, uint64(len(src)))
	if len(src) == 0 {
		return
	}
	first, end := offset&^(wordBytes-1), (offset+uint64(len(src))+wordBytes-1)&^(wordBytes-1)
	if f.mu.crashed {
		copy(dst, src)
		return
	}
	for w := first; w < end; w += wordBytes {
		value := f.mapping.Load64(w)
		from := max(w, offset)
		to := min(w+wordBytes, offset+uint64(len(src)))
		var word [wordBytes]byte
		binary.LittleEndian.PutUint64(word[:], value)
		copy(word[from-w:to-w], src[from-offset:])
		value = binary.LittleEndian.Uint64(word[:])
		f.note(w, value)
		f.mapping.Store64(w, value)
	}
}

// Flush implements Region.
func (f *Fake) Flush(offset, length uint64) {
	f.rangeOf(offset, length)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.skipped(KindFlush) || f.mu.crashed || length == 0 {
		return
	}
	f.mu.flushes++
	first, end := offset&^(LineBytes-1), (offset+length+LineBytes-1)&^(LineBytes-1)
	for w := first; w < end; w += wordBytes {
		i := f.mu.at[w/wordBytes]
		if i == 0 {
			continue
		}
		h := &f.mu.histories[i-1]
		if h.fence == 0 {
			f.mu.flushed = append(f.mu.flushed, w)
		}
		h.fence = len(h.values) - 1
	}
}

// Fence implements Region. It returns ErrCrashed once the fake has crashed.
func (f *Fake) Fence() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.skipped(KindFence) {
		return nil
	}
	if f.mu.crashed {
		return ErrCrashed
	}
	f.mu.fences++
	if f.mu.onFence != nil {
		f.mu.onFence(f.mu.fences)
	}
	if f.mu.fences == f.mu.crashAt {
		f.crash()
		if f.mu.panics {
			panic(CrashPanic{f.mu.fences})
		}
		return ErrCrashed
	}
	f.settle()
	return nil
}

// CrashAtFence arms a crash at the n-th fence from now, before it takes effect; n 0 disarms. With
// panics the fence panics with CrashPanic, for single-goroutine code (see Crashes). Without, it
// and all later ones return ErrCrashed; what is stored after the crash is visible but in no image.
func (f *Fake) CrashAtFence(n int, panics bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.crashAt, f.mu.panics = 0, panics
	if n > 0 {
		f.mu.crashAt = f.mu.fences + n
	}
}

// OnFence has hook called at each fence, with its number from 1, before it takes effect and before an armed crash.
// It must not call the fake.
func (f *Fake) OnFence(hook func(n int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.onFence = hook
}

// Crash crashes now.
func (f *Fake) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash()
}

// crash freezes what images are made of. REQUIRES: mu held.
func (f *Fake) crash() {
	if !f.mu.crashed {
		f.mu.crashed, f.mu.base = true, slices.Clone(f.mem)
	}
}

// Crashed says whether the fake has crashed.
func (f *Fake) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.crashed
}

// Fences returns how many fences there have been, and Flushes how many flushes.
func (f *Fake) Fences() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.fences
}

// Flushes returns how many flushes there have been.
func (f *Fake) Flushes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.flushes
}

// AwaitingFence returns how many words were flushed and not fenced since.
func (f *Fake) AwaitingFence() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.flushed)
}

// PendingWords returns how many words are not durable as they are visible.
func (f *Fake) PendingWords() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending())
}

// Crashes runs work and says whether the fake's armed crash ended it. Other panics pass through.
func Crashes(work func()) (crashed bool) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case CrashPanic:
			crashed = true
		default:
			panic(p)
		}
	}()
	work()
	return false
}
