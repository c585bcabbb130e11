package dpm

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// struckOut is the first word of a slot that holds no version any more. It is not zero, so that a slot
// that was never written looks different.
const struckOut = 1

// metadataStore holds named, versioned blobs. A record is created in slot 0. A change writes the other slot,
// fences, and then strikes the superseded slot out (a creation strikes out slot 1), so that of a record at
// rest exactly one slot is sound, and damage to it can neither bring an older version back nor pass for
// a creation that a crash cut short.
type metadataStore struct {
	sync.Mutex
	records []metadataRecord
	byName  map[string]int
	buffer  []byte
}

type metadataRecord struct {
	name    string
	version uint64
	which   int // the slot that holds it
	length  int
}

// MetaGet returns a record's blob and version, or ErrNoRecord.
func (p *Pool) MetaGet(name string) (blob []byte, version uint64, err error) {
	p.meta.Lock()
	defer p.meta.Unlock()
	return p.metaGet(name)
}

// metaGet reads and checks a record. REQUIRES: meta locked.
func (p *Pool) metaGet(name string) (blob []byte, version uint64, err error) {
	i, ok := p.meta.byName[name]
	if !ok {
		return nil, 0, fmt.Errorf("%w: %q", ErrNoRecord, name)
	}
	r := &p.meta.records[i]
	offset := p.layout.MetadataSlotOffset(uint32(i), r.which)
	var m format.Metadata
	err = format.DecodeMetadata(p.layout.Salt, p.region.View(offset, format.MetadataBytes(r.length)), &m)
	if err != nil || m.Name != name || m.Version != r.version {
		err = fmt.Errorf("metadata record %q at %#x is %w", name, offset, format.ErrDamaged)
		p.damage(offset, "metadata", err)
		return nil, 0, err
	}
	return bytes.Clone(m.Blob), m.Version, nil
}

// MetaCAS replaces a record if its version is expect (0: there is none yet), durably, and returns its
// new version: expect + 1. With ErrConflict it returns the present version, and MetaGet the blob.
func (p *Pool) MetaCAS(name string, expect uint64, blob []byte) (version uint64, err error) {
	if err := p.Err(); err != nil {
		return 0, err
	}
	if len(name) == 0 || len(name) > format.MaxMetadataName || len(blob) > p.layout.MaxMetadataBlob() {
		return 0, fmt.Errorf("%w: name of %d bytes (1 to %d), blob of %d (at most %d)",
			ErrRecords, len(name), format.MaxMetadataName, len(blob), p.layout.MaxMetadataBlob())
	}
	t := &p.meta
	t.Lock()
	defer t.Unlock()
	i, known := t.byName[name]
	if !known {
		i = t.unused()
	}
	switch {
	case known && t.records[i].version != expect:
		return t.records[i].version, fmt.Errorf("%w: %q has %d, not %d", ErrConflict, name, t.records[i].version, expect)
	case !known && expect != 0:
		return 0, fmt.Errorf("%w: %q does not exist", ErrConflict, name)
	case i < 0:
		return 0, fmt.Errorf("%w: all %d records are in use", ErrRecords, len(t.records))
	}
	r := metadataRecord{name: name, version: expect + 1, which: 0, length: len(blob)}
	if known {
		r.which = 1 - t.records[i].which
	}
	if err := p.writeRecord(i, &r, blob); err != nil {
		return 0, fmt.Errorf("metadata record %q: %w", name, err)
	}
	t.records[i] = r
	t.byName[name] = i
	return r.version, nil
}

// writeRecord makes one slot of record i durable, then strikes the other out. REQUIRES: meta locked.
func (p *Pool) writeRecord(i int, r *metadataRecord, blob []byte) error {
	size := format.MetadataBytes(len(blob))
	if uint64(cap(p.meta.buffer)) < size {
		p.meta.buffer = make([]byte, size)
	}
	buffer := p.meta.buffer[:size]
	format.EncodeMetadata(p.layout.Salt, buffer, &format.Metadata{Name: r.name, Version: r.version, Blob: blob})
	offset := p.layout.MetadataSlotOffset(uint32(i), r.which)
	p.region.Write(offset, buffer)
	p.region.Flush(offset, size)
	if err := p.fence(); err != nil {
		return err
	}
	return p.strikeOut(uint32(i), 1-r.which)
}

// strikeOut makes a metadata slot unsound by its first word.
func (p *Pool) strikeOut(record uint32, which int) error {
	offset := p.layout.MetadataSlotOffset(record, which)
	p.region.Store64(offset, struckOut)
	p.region.Flush(offset, format.WordBytes)
	return p.fence()
}

func (t *metadataStore) unused() int {
	for i := range t.records {
		if t.records[i].version == 0 {
			return i
		}
	}
	return -1
}

// metadataLook is what recovery finds of one record.
type metadataLook struct {
	record  metadataRecord
	present bool
	// strike: the other slot is to be struck out; a crash came before that.
	strike bool
}

// lookMetadata reads record i without changing anything.
func (p *Pool) lookMetadata(i uint32) (look metadataLook, err error) {
	var found [2]format.Metadata
	var sound [2]bool
	var first [2]uint64
	for which := range found {
		offset := p.layout.MetadataSlotOffset(i, which)
		first[which] = p.region.Load64(offset)
		sound[which] = format.DecodeMetadata(p.layout.Salt, p.region.View(offset, uint64(p.layout.MetadataSlotBytes)), &found[which]) == nil
	}
	which := 0
	switch {
	case sound[0] && sound[1]:
		if found[1].Version > found[0].Version {
			which = 1
		}
		if found[0].Name != found[1].Name {
			return look, fmt.Errorf("metadata record %d is %w: its slots are %q and %q", i, format.ErrDamaged, found[0].Name, found[1].Name)
		}
	case sound[1]:
		which = 1
	case sound[0]:
	case first[1] != 0:
		return look, fmt.Errorf("metadata record %d at %#x is %w: neither slot is sound", i, p.layout.MetadataSlotOffset(i, 0), format.ErrDamaged)
	default: // never written, or a crash cut its creation short
		return look, nil
	}
	m := &found[which]
	look.present, look.strike = true, first[1-which] != struckOut
	look.record = metadataRecord{name: m.Name, version: m.Version, which: which, length: len(m.Blob)}
	return look, nil
}

// restoreMetadata takes over what lookMetadata found, and finishes changes that a crash cut short.
func (p *Pool) restoreMetadata(looks []metadataLook) error {
	t := &p.meta
	t.records = make([]metadataRecord, len(looks))
	t.byName = make(map[string]int, len(looks))
	for i, look := range looks {
		if !look.present {
			continue
		}
		if other, double := t.byName[look.record.name]; double {
			return fmt.Errorf("metadata records %d and %d are both %q: %w", other, i, look.record.name, format.ErrDamaged)
		}
		if look.strike {
			if err := p.strikeOut(uint32(i), 1-look.record.which); err != nil {
				return err
			}
		}
		t.records[i] = look.record
		t.byName[look.record.name] = i
	}
	return nil
}
