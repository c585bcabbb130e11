package inspect

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/messages"
)

// ownershipRecord is the name of the metadata record with the ownership map; its version is the map's epoch.
const ownershipRecord = "ownership"

// PoolReport is what a pool says of itself.
type PoolReport struct {
	Path          string     `json:"path"`
	OpenBy        string     `json:"open_by,omitempty"` // the process that has it open
	PoolID        string     `json:"pool_id"`
	Version       int        `json:"format_version"`
	Created       time.Time  `json:"created"`
	Durability    string     `json:"durability"` // that it was created for
	Bytes         uint64     `json:"bytes"`
	SegmentBytes  uint64     `json:"segment_bytes"`
	Segments      uint32     `json:"segments"`
	MaxEntryBytes uint64     `json:"max_entry_bytes"`
	ServerEpoch   uint64     `json:"server_epoch"` // starts of the DPM
	Areas         []Area     `json:"areas"`
	Metadata      []Record   `json:"metadata"`
	Ownership     *Ownership `json:"ownership,omitempty"`
	Ranks         []Rank     `json:"ranks"`
	Damage        []string   `json:"damage,omitempty"` // met on the way; Verify looks for all of it
}

// Area is a part of the file.
type Area struct {
	Name   string `json:"name"`
	Offset uint64 `json:"offset"`
	Bytes  uint64 `json:"bytes"`
}

// Record is a metadata record.
type Record struct {
	Name    string            `json:"name"`
	Version uint64            `json:"version"`
	Bytes   int               `json:"bytes"`
	Offset  uint64            `json:"offset"`
	Slots   [2]look.SlotState `json:"slots"`
}

// Ownership is the ownership map in force.
type Ownership struct {
	Epoch      uint64   `json:"epoch"`
	Members    []Member `json:"members"`
	Replicated int      `json:"replicated_keys"`
}

// Member is a KN of the ownership map.
type Member struct {
	Rank        uint32 `json:"rank"`
	Incarnation uint64 `json:"incarnation"`
	PrivateIP   string `json:"private_ip"`
	Threads     uint32 `json:"threads"`
}

// Rank is an entry of the rank table that is not free.
type Rank struct {
	Rank         uint32 `json:"rank"`
	State        string `json:"state"`
	Incarnation  uint32 `json:"incarnation"`
	Process      uint32 `json:"process,omitempty"`
	ProcessStart uint64 `json:"process_start,omitempty"`
	Lease        uint64 `json:"lease"`
}

// Pool reports what p says of itself.
func Pool(p *look.Pool) *PoolReport {
	s, l := p.Superblock(), p.Layout()
	r := &PoolReport{
		Path: p.Path(), OpenBy: p.Holder(), PoolID: fmt.Sprintf("%x", s.PoolID), Version: format.Version,
		Created: time.Unix(int64(s.Created), 0).UTC(), Durability: pmem.Durability(s.Durability).String(), Bytes: l.TotalBytes,
		SegmentBytes: l.SegmentBytes, Segments: l.Segments, MaxEntryBytes: l.MaxEntryBytes(), Areas: areas(l),
	}
	epoch, ok := p.ServerEpoch()
	if r.ServerEpoch = epoch; !ok {
		r.Damage = append(r.Damage, fmt.Sprintf("server epoch at %#x is damaged", format.RootsOffset+format.ServerEpochOffset))
	}
	r.addMetadata(p)
	for i := range l.Ranks {
		e, err := p.Rank(i)
		if err != nil {
			r.Damage = append(r.Damage, fmt.Sprintf("rank %d: %v", i, err))
		}
		if e.State != format.RankFree {
			r.Ranks = append(r.Ranks, Rank{i, e.State.String(), e.Incarnation, e.Process, e.ProcessStart, e.Lease})
		}
	}
	return r
}

func (r *PoolReport) addMetadata(p *look.Pool) {
	for i := range p.Layout().MetadataRecords {
		m, err := p.Metadata(i)
		if err != nil {
			r.Damage = append(r.Damage, err.Error())
		}
		if !m.Present {
			continue
		}
		r.Metadata = append(r.Metadata, Record{m.Name, m.Version, len(m.Blob), m.Offset, m.Slots})
		if m.Name != ownershipRecord {
			continue
		}
		if r.Ownership, err = ownership(&m); err != nil {
			r.Damage = append(r.Damage, err.Error())
		}
	}
}

// ownership decodes the ownership map's record.
func ownership(m *look.MetadataRecord) (*Ownership, error) {
	var w messages.OwnershipMap
	if err := messages.Unmarshal(m.Blob, &w); err != nil {
		return nil, fmt.Errorf("metadata record %q at %#x: %w", m.Name, m.Offset, err)
	}
	if w.GetEpoch() != m.Version {
		return nil, look.Damage{Offset: m.Offset, Area: "metadata", Detail: fmt.Sprintf("record %q, version %d, holds epoch %d", m.Name, m.Version, w.GetEpoch())}
	}
	o := &Ownership{Epoch: w.GetEpoch(), Replicated: len(w.GetReplicated())}
	for _, k := range w.GetMembers() {
		o.Members = append(o.Members, Member{k.GetRank(), uint64(k.GetIncarnation()), k.GetPrivateIp(), k.GetThreads()})
	}
	return o, nil
}

func areas(l *format.Layout) []Area {
	directory := uint64(l.Segments) * format.DirectoryEntryBytes
	return []Area{
		{"superblock", 0, format.SuperblockBytes},
		{"roots", format.RootsOffset, format.PageBytes},
		{"metadata", l.MetadataOffset, 2 * uint64(l.MetadataRecords) * uint64(l.MetadataSlotBytes)},
		{"ranks", l.RankOffset, uint64(l.Ranks) * format.RankEntryBytes},
		{"indirect pointers", l.IndirectOffset, uint64(l.IndirectWords) * format.WordBytes},
		{"lattice filter", l.FilterOffset, l.FilterBytes},
		{"segment table", l.SegmentTableOffset, uint64(l.Segments) * format.SegmentHeaderBytes},
		{"index directory A", l.DirectoryOffset[0], directory},
		{"index directory B", l.DirectoryOffset[1], directory},
		{"segments", l.SegmentsOffset, l.TotalBytes - l.SegmentsOffset},
	}
}
