package inspect

import (
	"errors"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

// checkTables checks everything before the segments but the filter and the pointer words, which only the index
// gives a meaning.
func (v *verifier) checkTables(part func(float64)) error {
	v.checkRootsPage()
	v.checkMetadata()
	v.checkRanks()
	part(0.5)
	v.checkSegments()
	return nil
}

// checkRootsPage checks the server epoch and the reserved bytes; the root that counts is the index's.
func (v *verifier) checkRootsPage() {
	if _, ok := v.p.ServerEpoch(); !ok {
		v.damage(format.RootsOffset+format.ServerEpochOffset, "server epoch", "%#016x fails its check", v.p.Word(format.RootsOffset+format.ServerEpochOffset))
	}
	for at := uint64(0); at < format.PageBytes; at += format.WordBytes {
		inRoot := at < format.RootBytes || at >= format.RootOffset(1) && at < format.RootOffset(1)+format.RootBytes
		if inRoot || at == format.ServerEpochOffset {
			continue
		}
		if word := v.p.Word(format.RootsOffset + at); word != 0 {
			v.damage(format.RootsOffset+at, "roots page", "reserved word is %#x, not 0", word)
		}
	}
	for which := range 2 {
		v.checkRoot(which)
	}
}

// checkRoot looks at a root that is neither erased nor sound. If it should be the one that counts, the index's check
// says so; else growth was cut short, or it is damaged.
func (v *verifier) checkRoot(which int) {
	at := format.RootsOffset + format.RootOffset(which)
	var raw [format.RootBytes]byte
	var root format.Root
	v.p.Read(at, raw[:])
	if raw == [format.RootBytes]byte{} || format.DecodeRoot(&raw, v.l, &root) == nil {
		return
	}
	v.suspect(at, "index root", "root %c is neither sound nor erased: a crash cut the index's growth short, or it is damaged", 'A'+which)
}

func (v *verifier) checkMetadata() {
	byName := map[string]uint32{}
	for i := range v.l.MetadataRecords {
		m, err := v.p.Metadata(i)
		v.r.Checked.MetadataRecords++
		if err != nil {
			v.r.add(v.o, Damage, look.AsDamage(err, v.l.MetadataSlotOffset(i, 0), "metadata"))
			continue
		}
		for which, state := range m.Slots {
			if state == look.SlotUnsound {
				v.suspect(v.l.MetadataSlotOffset(i, which), "metadata", "slot %d of record %d is not sound: a crash cut a change of %q short, or it is damaged", which, i, m.Name)
			}
		}
		if !m.Present {
			continue
		}
		if other, double := byName[m.Name]; double {
			v.damage(m.Offset, "metadata", "records %d and %d are both %q", other, i, m.Name)
		}
		byName[m.Name] = i
		if m.Name != ownershipRecord {
			continue
		}
		if _, err := ownership(&m); err != nil {
			v.suspect(m.Offset, "metadata", "sound bytes, but no ownership map: %v", err)
		}
	}
}

func (v *verifier) checkRanks() {
	for i := range v.l.Ranks {
		v.r.Checked.Ranks++
		if _, err := v.p.Rank(i); err != nil {
			v.badWords(err, "rank table")
		}
	}
}

func (v *verifier) checkSegments() {
	for i := range v.l.Segments {
		id := format.SegmentID(i)
		v.r.Checked.Segments++
		h, err := v.p.Segment(id)
		if err != nil {
			v.badWords(err, "segment table")
			continue
		}
		why := v.p.Implausible(&h)
		if why != "" { // the words change one by one
			if h, err = v.p.Segment(id); err == nil {
				why = v.p.Implausible(&h)
			}
		}
		if why != "" {
			v.damage(v.l.SegmentHeaderOffset(id), "segment table", "segment %d: %s", id, why)
		}
	}
}

// badWords adds all the damaged words that an error of a decoder names.
func (v *verifier) badWords(err error, area string) {
	var word *format.WordError
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case ok:
		for _, e := range joined.Unwrap() {
			v.badWords(e, area)
		}
	case errors.As(err, &word):
		v.damage(word.Offset, area, "%s: %#016x fails its check", word.What, word.Word)
	}
}
