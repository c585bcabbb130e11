package inspect

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// headBytes is how much of a value is shown.
const headBytes = 256

// EntryReport shows a log entry, and where the index leads for its key.
type EntryReport struct {
	Key   string  `json:"key"`
	Hash  string  `json:"hash"`
	Index Lookup  `json:"index"`
	Entry *Entry  `json:"entry,omitempty"`    // what the index leads to, or what lies at the offset asked for
	Tail  []Entry `json:"unmerged,omitempty"` // entries of the key that are not merged, as the logs have them
}

// Status is StatusDamaged when something on the way to the entry, or the entry's value, is damaged.
func (r *EntryReport) Status() Status {
	if r.Index.Error != "" || r.Entry != nil && r.Entry.ValueError != "" {
		return StatusDamaged
	}
	return StatusSound
}

// Lookup is how a reader finds the key.
type Lookup struct {
	Found    bool     `json:"found"`
	Buckets  []uint64 `json:"buckets"` // read, until the key was found
	Slot     uint64   `json:"slot,omitempty"`
	Pointer  string   `json:"pointer,omitempty"`
	Indirect string   `json:"indirect,omitempty"` // the pointer to the pointer, of a replicated key
	Error    string   `json:"error,omitempty"`
}

// Entry is a decoded log entry.
type Entry struct {
	Offset        uint64 `json:"offset"`
	Bytes         uint64 `json:"bytes"`
	Segment       uint32 `json:"segment"`
	SegmentOffset uint64 `json:"segment_offset"`
	SegmentHeader string `json:"segment_header"`
	Op            string `json:"op"`
	Lattice       uint8  `json:"lattice"`
	Codec         string `json:"codec"`
	Replicated    bool   `json:"replicated"`
	Sequence      uint64 `json:"sequence"`
	Generation    uint32 `json:"generation"`
	// Current: the segment has the entry's generation, so the entry is part of its log; else it is a leftover of
	// an earlier life of the segment.
	Current     bool   `json:"current"`
	Merged      bool   `json:"merged"` // below the segment's watermark
	Live        bool   `json:"live"`   // the index leads here
	StoredBytes int    `json:"stored_bytes"`
	RawBytes    uint32 `json:"raw_bytes"`
	Value       []byte `json:"value_head"` // its first bytes, uncompressed
	ValueError  string `json:"value_error,omitempty"`
}

// ErrNoEntry: the pool has no such key, in the index or in a log, or no entry at that offset.
var ErrNoEntry = errors.New("no such entry")

// EntryOfKey shows what the pool holds for a key.
func EntryOfKey(p *look.Pool, key []byte) (*EntryReport, error) {
	r := newEntryReport(key)
	target := r.lookUp(p, key)
	if !target.Nil() {
		var e format.Entry
		var buffer []byte
		if err := p.Entry(target, &buffer, &e); err != nil {
			r.Index.Error = err.Error()
		} else {
			r.Entry = describe(p, &e, target.Offset())
			r.Entry.Live = true
		}
	}
	logs, err := p.Logs()
	if err != nil {
		return r, err
	}
	for i := range logs {
		for _, s := range logs[i].Segments {
			p.Entries(&s, s.Merged, p.Layout().SegmentBytes, 0, func(e *look.Placed) bool {
				if bytes.Equal(e.Key, key) {
					r.Tail = append(r.Tail, *describe(p, &e.Entry, e.Offset))
				}
				return true
			})
		}
	}
	if !r.Index.Found && len(r.Tail) == 0 && r.Index.Error == "" {
		return r, fmt.Errorf("key %q: %w", key, ErrNoEntry)
	}
	return r, nil
}

// EntryAtOffset shows the entry at an offset of the pool, dead or live.
func EntryAtOffset(p *look.Pool, offset uint64) (*EntryReport, error) {
	var e format.Entry
	var buffer []byte
	if err := p.EntryAt(offset, &buffer, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEntry, err)
	}
	r := newEntryReport(e.Key)
	r.Entry = describe(p, &e, offset)
	target := r.lookUp(p, e.Key)
	r.Entry.Live = target.Offset() == offset && r.Entry.Current
	return r, nil
}

func newEntryReport(key []byte) *EntryReport {
	return &EntryReport{Key: string(key), Hash: fmt.Sprintf("%016x", index.KeyHash(key))}
}

// lookUp fills in r.Index and returns the pointer to the key's entry.
func (r *EntryReport) lookUp(p *look.Pool, key []byte) (target format.Pointer) {
	var c look.Chain
	slot, err := p.Find(key, &c)
	if err != nil {
		r.Index.Error = err.Error()
	}
	if slot.Pointer.Nil() {
		r.Index.Buckets = c.Buckets
		return 0
	}
	r.Index.Found, r.Index.Slot, r.Index.Buckets = true, slot.At, c.Buckets[:slot.Depth]
	if target, err = p.Direct(slot.Pointer); err != nil {
		r.Index.Error = err.Error()
		return 0
	}
	r.Index.Pointer = target.String()
	if slot.Pointer.Indirect() {
		r.Index.Indirect = slot.Pointer.String()
	}
	return target
}

var codecNames = map[format.Flags]string{format.CodecNone: "none", format.CodecS2: "s2", format.CodecZstd: "zstd"}

func describe(p *look.Pool, e *format.Entry, offset uint64) *Entry {
	l := p.Layout()
	id, _ := l.SegmentOf(offset)
	d := &Entry{
		Offset: offset, Bytes: e.Bytes(), Segment: uint32(id), SegmentOffset: offset - l.SegmentOffset(id), Op: e.Op.String(), Lattice: e.Lattice,
		Codec: codecNames[e.Flags.Codec()], Replicated: e.Flags.Replicated(), Sequence: e.Sequence, Generation: e.Generation,
		StoredBytes: len(e.Value), RawBytes: e.RawLength,
	}
	if h, err := p.Segment(id); err != nil {
		d.SegmentHeader = err.Error()
	} else {
		d.SegmentHeader = h.String()
		d.Current = h.State != format.SegmentFree && h.Generation == e.Generation
		d.Merged = d.Current && (h.Kind != format.SegmentLog || d.SegmentOffset < h.Merged)
	}
	value := e.Value
	if uint64(e.RawLength) > l.MaxEntryBytes() {
		d.ValueError = fmt.Sprintf("claims to unpack to %d bytes, more than any entry holds", e.RawLength)
	} else if raw, err := remote.Unpack(e); err != nil {
		d.ValueError = err.Error()
	} else {
		value = raw
	}
	d.Value = bytes.Clone(value[:min(len(value), headBytes)])
	return d
}
