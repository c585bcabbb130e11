package look

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Entry reads the entry behind a direct pointer and checks that it is the one that the pointer was made for. buffer
// is grown as needed and the entry points into it. The error is a Damage: which the caller believes when it has
// seen that whatever led here still does.
func (p *Pool) Entry(pointer format.Pointer, buffer *[]byte, e *format.Entry) error {
	offset, length, ok := p.layout.EntryRange(pointer)
	if !ok {
		return Damage{pointer.Offset(), "log", fmt.Sprintf("pointer %v leads to no entry's place", pointer)}
	}
	raw := room(buffer, length)
	p.Read(offset, raw)
	if err := p.layout.Salt.DecodeEntry(raw, e); err != nil {
		return Damage{offset, "log", fmt.Sprintf("pointer %v: %v", pointer, err)}
	}
	if !pointer.MadeFor(e.Bytes(), e.Generation) {
		return Damage{offset, "log", fmt.Sprintf("pointer %v leads to another entry: generation %d, %d bytes", pointer, e.Generation, e.Bytes())}
	}
	return nil
}

// EntryAt reads whatever entry lies at offset, at most to the end of its segment. It fails with format's
// ErrNoEntry or ErrEntryDamaged.
func (p *Pool) EntryAt(offset uint64, buffer *[]byte, e *format.Entry) error {
	id, ok := p.layout.SegmentOf(offset)
	if !ok || offset%format.WordBytes != 0 {
		return fmt.Errorf("offset %#x: %w: it is not an aligned place in a segment", offset, format.ErrNoEntry)
	}
	end := p.layout.SegmentOffset(id) + p.layout.SegmentBytes
	if end-offset < format.EntryHeaderBytes {
		return fmt.Errorf("offset %#x: %w", offset, format.ErrNoEntry)
	}
	raw := room(buffer, format.EntryHeaderBytes)
	p.Read(offset, raw)
	size, err := format.EntryBytesAt(raw)
	if err == nil && size > end-offset {
		err = format.ErrEntryDamaged
	}
	if err == nil {
		raw = room(buffer, size)
		p.Read(offset, raw)
		err = p.layout.Salt.DecodeEntry(raw, e)
	}
	if err != nil {
		return fmt.Errorf("offset %#x: %w", offset, err)
	}
	return nil
}

func room(buffer *[]byte, length uint64) []byte {
	if uint64(cap(*buffer)) < length {
		*buffer = make([]byte, length+length/4)
	}
	return (*buffer)[:length:length]
}

// Direct returns the pointer to the entry that a slot's pointer leads to: itself, or what its indirect-pointer
// word holds.
func (p *Pool) Direct(pointer format.Pointer) (format.Pointer, error) {
	if !pointer.Indirect() {
		return pointer, nil
	}
	word, ok := p.layout.IndirectOf(pointer)
	if !ok {
		return 0, Damage{pointer.Offset(), "index", fmt.Sprintf("pointer %v leads to no indirect-pointer word", pointer)}
	}
	target := format.Pointer(p.Word(p.layout.IndirectOffsetOf(word)))
	if _, _, ok := p.layout.EntryRange(target); !ok {
		return 0, Damage{pointer.Offset(), "indirect pointers", fmt.Sprintf("word %d holds %v, which leads to no entry", word, target)}
	}
	return target, nil
}

// AsDamage returns err as a Damage, placed at offset when it is none by itself.
func AsDamage(err error, offset uint64, area string) Damage {
	var d Damage
	if errors.As(err, &d) {
		return d
	}
	var w *format.WordError
	if errors.As(err, &w) {
		return Damage{w.Offset, area, w.Error()}
	}
	return Damage{offset, area, err.Error()}
}
