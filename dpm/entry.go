package dpm

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// readEntry decodes the entry behind a direct pointer, in place. It fails with an error that wraps
// format.ErrDamaged when the bytes are not the entry that the pointer was made for.
func (p *Pool) readEntry(pointer format.Pointer, e *format.Entry) error {
	offset, length, ok := p.layout.EntryRange(pointer)
	if !ok {
		return fmt.Errorf("pointer %v is %w", pointer, format.ErrDamaged)
	}
	if err := p.layout.Salt.DecodeEntry(p.region.View(offset, length), e); err != nil {
		if !errors.Is(err, format.ErrDamaged) {
			err = fmt.Errorf("%w: %w", format.ErrDamaged, err)
		}
		return fmt.Errorf("entry %v: %w", pointer, err)
	}
	if !pointer.MadeFor(e.Bytes(), e.Generation) {
		return fmt.Errorf("entry %v is %w: its segment holds another", pointer, format.ErrDamaged)
	}
	return nil
}

// keyAt returns the key of the entry that a pointer leads to, in place: the index asks, to tell keys of one hash
// apart. The entry's checksum is not computed: that would read the whole value of each entry that is superseded
// (BenchmarkMerge/updates), and whoever serves or moves an entry checks it.
func (p *Pool) keyAt(pointer format.Pointer) ([]byte, error) {
	if pointer.Indirect() {
		var err error
		if pointer, err = p.loadWord(pointer); err != nil {
			return nil, err
		}
	}
	offset, length, ok := p.layout.EntryRange(pointer)
	if !ok {
		return nil, fmt.Errorf("pointer %v is %w", pointer, format.ErrDamaged)
	}
	key, generation, size, err := format.PeekKey(p.region.View(offset, length))
	if err != nil || !pointer.MadeFor(size, generation) {
		return nil, fmt.Errorf("entry %v is %w: its place holds something else", pointer, format.ErrDamaged)
	}
	return key, nil
}

// lookup returns what the index holds for key, 0 when nothing. The index looks without a lock, so an entry may be
// superseded, its segment freed and reused between two of its steps: then it looks again.
func (p *Pool) lookup(hash uint64, key []byte) (pointer format.Pointer, err error) {
	for range 4 {
		if pointer, err = p.index.Get(hash, key); err == nil || !errors.Is(err, format.ErrDamaged) {
			return pointer, err
		}
	}
	p.damageIn("index", err)
	return 0, err
}

// Get reads a key as of what is merged: for the DPM's own tools and tests. The value is a copy, as stored.
func (p *Pool) Get(hash uint64, key []byte) (e format.Entry, found bool, err error) {
	pointer, err := p.lookup(hash, key)
	if err != nil || pointer.Nil() {
		return e, false, err
	}
	if pointer.Indirect() {
		if pointer, err = p.loadWord(pointer); err != nil {
			return e, false, err
		}
	}
	if err := p.readEntry(pointer, &e); err != nil {
		return e, false, err
	}
	e.Key, e.Value = append([]byte(nil), e.Key...), append([]byte(nil), e.Value...)
	return e, e.Op == format.OpPut, nil
}
