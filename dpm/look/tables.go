package look

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// ServerEpoch returns how often the DPM was started on the pool; ok is false when the word is damaged.
func (p *Pool) ServerEpoch() (epoch uint64, ok bool) {
	return format.OpenServerEpoch(p.Word(format.RootsOffset + format.ServerEpochOffset))
}

// Rank returns an entry of the rank table. The error names every damaged word.
func (p *Pool) Rank(rank uint32) (e format.RankEntry, err error) {
	at := p.layout.RankEntryOffset(rank)
	var raw [format.RankEntryBytes]byte
	p.Read(at, raw[:])
	err = format.DecodeRankEntry(&raw, at, &e)
	return e, err
}

// Segment returns a segment's header; of a free one, only the generation. The error names every damaged word.
func (p *Pool) Segment(id format.SegmentID) (h format.SegmentHeader, err error) {
	at := p.layout.SegmentHeaderOffset(id)
	var raw [format.SegmentHeaderBytes]byte
	p.Read(at, raw[:])
	if err = format.DecodeSegmentHeader(&raw, at, &h); err == nil && h.State == format.SegmentFree {
		h = format.SegmentHeader{Generation: h.Generation} // a hand-out may be under way, or have been cut short
	}
	return h, err
}

// Implausible says what is wrong with the contents of a header whose words are sound, "" when nothing is.
func (p *Pool) Implausible(h *format.SegmentHeader) string {
	switch {
	case h.State == format.SegmentFree:
		return ""
	case h.Kind == format.SegmentNone:
		return "it is in use for nothing"
	case h.State == format.SegmentSealed && h.Sealed > p.layout.SegmentBytes:
		return fmt.Sprintf("its log of %d bytes is longer than a segment", h.Sealed)
	case h.Merged > p.layout.SegmentBytes:
		return fmt.Sprintf("its merged log of %d bytes is longer than a segment", h.Merged)
	case h.Kind == format.SegmentLog && (h.Rank == 0 || uint32(h.Rank) >= p.layout.Ranks):
		return fmt.Sprintf("its owner is rank %d of %d", h.Rank, p.layout.Ranks)
	}
	return ""
}

// SlotState is what one of the two slots of a metadata record is.
type SlotState string

// The slot states.
const (
	SlotUnwritten SlotState = "unwritten"
	SlotSound     SlotState = "sound"
	SlotStruck    SlotState = "struck out" // superseded
	SlotUnsound   SlotState = "unsound"    // a write that was cut short, or damage
)

// metadataStruckOut is the first word of a slot whose version was superseded.
const metadataStruckOut = 1

// MetadataRecord is one of the pool's named blobs.
type MetadataRecord struct {
	Record  uint32
	Present bool
	Offset  uint64 // of the slot that counts
	Slots   [2]SlotState
	Name    string
	Version uint64
	Blob    []byte
}

// Metadata reads one metadata record. A Damage is returned when neither slot is sound though one was.
func (p *Pool) Metadata(record uint32) (MetadataRecord, error) {
	for n := 1; ; n++ {
		r, err := p.metadata(record)
		if err == nil || n == tries {
			return r, err
		}
		p.pause(n)
	}
}

func (p *Pool) metadata(record uint32) (r MetadataRecord, err error) {
	r.Record = record
	var found [2]format.Metadata
	for which := range r.Slots {
		found[which], r.Slots[which] = p.metadataSlot(p.layout.MetadataSlotOffset(record, which))
	}
	which := 0
	switch a, b := r.Slots[0] == SlotSound, r.Slots[1] == SlotSound; {
	case a && b:
		if found[0].Name != found[1].Name {
			return r, Damage{p.layout.MetadataSlotOffset(record, 0), "metadata",
				fmt.Sprintf("record %d: its slots are %q and %q", record, found[0].Name, found[1].Name)}
		}
		if found[1].Version > found[0].Version {
			which = 1
		}
	case b:
		which = 1
	case a:
	case r.Slots[1] != SlotUnwritten:
		at := p.layout.MetadataSlotOffset(record, 0)
		if r.Slots[0] != SlotUnsound {
			at = p.layout.MetadataSlotOffset(record, 1)
		}
		return r, Damage{at, "metadata", fmt.Sprintf("record %d: neither slot is sound", record)}
	default: // never written, or its creation was cut short: nobody was told of it
		return r, nil
	}
	m := &found[which]
	r.Present, r.Offset = true, p.layout.MetadataSlotOffset(record, which)
	r.Name, r.Version, r.Blob = m.Name, m.Version, m.Blob
	return r, nil
}

func (p *Pool) metadataSlot(at uint64) (m format.Metadata, state SlotState) {
	switch p.Word(at) {
	case 0:
		return m, SlotUnwritten
	case metadataStruckOut:
		return m, SlotStruck
	}
	raw := make([]byte, p.layout.MetadataSlotBytes)
	p.Read(at, raw)
	if format.DecodeMetadata(p.layout.Salt, raw, &m) != nil {
		return m, SlotUnsound
	}
	return m, SlotSound
}
