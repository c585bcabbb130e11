package remote

import (
	"encoding/binary"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/internal/planted"
)

// A replicated key's index slot holds an indirect pointer: the address of a word that leads to the
// key's current entry. Its owners put by writing an entry (Appender.Put with format.FlagReplicated,
// the READ of the word riding along as Extra) and then moving the word by CAS; they get by
// comparing the word with the one their cached value came with.

// ReadPointerWord returns the verb that reads the word behind an indirect pointer into word (8 bytes).
func (r *Reader) ReadPointerWord(indirect format.Pointer, word []byte) (fabric.Verb, error) {
	i, ok := r.layout.IndirectOf(indirect)
	if !ok || len(word) != format.WordBytes {
		return fabric.Verb{}, fmt.Errorf("%w: %v is no indirect pointer of this pool", ErrStale, indirect)
	}
	return fabric.Verb{Kind: fabric.Read, Address: r.layout.IndirectOffsetOf(i), Buffer: word}, nil
}

// PointerWord decodes what ReadPointerWord's verb read.
func PointerWord(word []byte) format.Pointer { return format.Pointer(leWord(word)) }

// LoadPointer reads the word behind an indirect pointer: one round trip.
func (r *Reader) LoadPointer(indirect format.Pointer) (format.Pointer, error) {
	r.arena.reset()
	v, err := r.ReadPointerWord(indirect, r.arena.take(format.WordBytes))
	if err != nil {
		return 0, err
	}
	r.verbs = append(r.verbs[:0], v)
	r.counters.WordReads++
	if err := r.post(); err != nil {
		return 0, err
	}
	return PointerWord(r.verbs[0].Buffer), nil
}

// CASPointer moves the word behind an indirect pointer from one entry to another, durably: one round
// trip. It returns what the word was before; the word was moved if that is expect.
//
// After an error the outcome is unknown: LoadPointer over a new queue pair tells.
func (r *Reader) CASPointer(indirect, expect, swap format.Pointer) (before format.Pointer, err error) {
	i, ok := r.layout.IndirectOf(indirect)
	if !ok {
		return 0, fmt.Errorf("%w: %v is no indirect pointer of this pool", ErrStale, indirect)
	}
	address := r.layout.IndirectOffsetOf(i)
	if planted.Has(planted.StoreForCAS) {
		word := binary.LittleEndian.AppendUint64(nil, uint64(swap))
		r.verbs = append(r.verbs[:0], fabric.Verb{Kind: fabric.Write, Address: address, Buffer: word})
		return expect, r.post()
	}
	r.verbs = append(r.verbs[:0],
		fabric.Verb{Kind: fabric.CAS, Address: address, Expect: uint64(expect), Swap: uint64(swap)},
		fabric.Verb{Kind: fabric.Flush, Address: address, Length: format.WordBytes})
	if err := r.post(); err != nil {
		return 0, err
	}
	return format.Pointer(r.verbs[0].Result), nil
}

// FlushPointer makes the word behind an indirect pointer durable as it was last read: one round trip.
// A reader that has seen another owner's new value posts it before it shows the value to anybody,
// so that a crash cannot take back what was seen.
func (r *Reader) FlushPointer(indirect format.Pointer) error {
	i, ok := r.layout.IndirectOf(indirect)
	if !ok {
		return fmt.Errorf("%w: %v is no indirect pointer of this pool", ErrStale, indirect)
	}
	r.verbs = append(r.verbs[:0], fabric.Verb{Kind: fabric.Flush, Address: r.layout.IndirectOffsetOf(i), Length: format.WordBytes})
	return r.post()
}

// Install asks the pool to put an indirect pointer in front of key, while nobody reads or writes it,
// and returns the indirect pointer. A key that has one already keeps it; one that does not exist gets one
// that leads to a tombstone.
func (r *Reader) Install(key []byte) (format.Pointer, error) {
	reply, err := r.caller.do(&call.Request{Op: call.Install, Key: key})
	if err != nil {
		return 0, err
	}
	return format.Pointer(reply.Pointer), nil
}

// Remove asks the pool to take key's indirect pointer away, while nobody reads or writes it.
func (r *Reader) Remove(key []byte) error {
	_, err := r.caller.do(&call.Request{Op: call.Remove, Key: key})
	return err
}
