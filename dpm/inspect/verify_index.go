package inspect

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

// latticeLWW is the wire number of last-writer-wins, the one lattice type that the filter does not hold.
const latticeLWW = 1

// checkIndex checks root, directory, every bucket and every entry that a slot leads to.
func (v *verifier) checkIndex(part func(float64)) error {
	v.words = map[uint32]uint64{}
	var c look.Chain
	return v.p.Walk(v.ctx, func(x *look.Index, bucket uint64) error {
		if x.Table.Root.Table != v.table {
			v.begin(x)
		}
		if bucket%4096 == 0 {
			part(float64(bucket) / float64(x.Table.Buckets()))
		}
		damaged, err := x.Check(bucket, &c, func(c *look.Chain) []look.Damage { return v.chainDamage(x, c) })
		if err != nil {
			return err
		}
		for _, d := range damaged {
			v.r.add(v.o, Damage, d)
		}
		v.countChain(&c)
		return nil
	})
}

// begin takes note of the table that is walked, and checks the headers of its extents.
func (v *verifier) begin(x *look.Index) {
	v.table = x.Table.Root.Table
	v.chains = chainSet{layout: v.l, owners: map[format.SegmentID][]uint32{}}
	for _, id := range x.Table.Extents {
		h, err := v.p.Segment(id)
		if err == nil && (h.Kind != format.SegmentIndex || h.Table != v.table) && x.Current() {
			v.damage(v.l.SegmentHeaderOffset(id), "segment table", "segment %d is an extent of index table %d; its header says %v", id, v.table, &h)
		}
	}
}

// chainDamage says what is wrong with a chain that could be read.
func (v *verifier) chainDamage(x *look.Index, c *look.Chain) (found []look.Damage) {
	say := func(at uint64, detail string, args ...any) {
		found = append(found, look.Damage{Offset: at, Area: "index", Detail: fmt.Sprintf(detail, args...)})
	}
	for depth, offset := range c.Buckets[1:] {
		if why := v.badOverflow(x, c, offset); why != "" {
			say(offset, "overflow bucket %d of the chain of bucket %d: %s", depth+1, c.Bucket, why)
		}
	}
	for i, s := range c.Slots {
		if d := v.badSlot(s); d != nil {
			found = append(found, *d)
			continue
		}
		for _, other := range c.Slots[:i] {
			if other.Hash == s.Hash && v.sameKey(other, s) {
				say(s.At, "the key of hash %016x is in the slot at %#x too", s.Hash, other.At)
			}
		}
	}
	return found
}

// badOverflow says why a bucket cannot be an overflow bucket of the chain, "" when it can.
func (v *verifier) badOverflow(x *look.Index, c *look.Chain, offset uint64) string {
	id, _ := v.l.SegmentOf(offset)
	h, err := v.p.Segment(id)
	if err == nil && (h.Kind != format.SegmentOverflow || h.Table != v.table) {
		return fmt.Sprintf("it is in segment %d, which is no overflow segment of table %d but %v", id, v.table, &h)
	}
	owner, ok := v.chains.owner(offset)
	if !ok || owner == c.Bucket {
		return ""
	}
	// On a live pool it may have left that chain meanwhile: look.
	var other look.Chain
	if _, err := x.Check(owner, &other, nil); err == nil && slices.Contains(other.Buckets, offset) {
		return fmt.Sprintf("it is in the chain of bucket %d too", owner)
	}
	return ""
}

// badSlot says what is wrong with a slot and the entry behind it, nil when nothing is.
func (v *verifier) badSlot(s look.Slot) *look.Damage {
	say := func(detail string, args ...any) *look.Damage {
		return &look.Damage{Offset: s.At, Area: "index", Detail: fmt.Sprintf(detail, args...)}
	}
	target, err := v.p.Direct(s.Pointer)
	if err != nil {
		d := look.AsDamage(err, s.At, "index")
		return &d
	}
	if why := v.badPlace(target); why != "" {
		return say("slot of hash %016x: pointer %v %s", s.Hash, target, why)
	}
	var e format.Entry
	if err := v.p.Entry(target, &v.buffers[0], &e); err != nil {
		d := look.AsDamage(err, target.Offset(), "log")
		d.Detail = fmt.Sprintf("entry that the slot at %#x leads to: %s", s.At, d.Detail)
		return &d
	}
	hash := index.KeyHash(e.Key)
	switch {
	case hash != s.Hash:
		return say("slot has hash %016x, its entry %v is of key %.64q with hash %016x", s.Hash, target, e.Key, hash)
	case e.Op != format.OpPut && !s.Pointer.Indirect():
		return say("slot of hash %016x leads to a %v of key %.64q", s.Hash, e.Op, e.Key)
	case e.Op == format.OpPut && e.Lattice != latticeLWW && !v.inFilter(hash):
		at, _ := format.FilterWord(hash, v.l.FilterBytes)
		return &look.Damage{Offset: v.l.FilterOffset + at, Area: "lattice filter", Detail: fmt.Sprintf("bits of key %.64q (lattice type %d) are not set", e.Key, e.Lattice)}
	}
	return v.sharedWord(s)
}

// badPlace says why a direct pointer cannot lead to a live entry, "" when it can.
func (v *verifier) badPlace(p format.Pointer) string {
	if _, _, ok := v.l.EntryRange(p); !ok {
		return "leads to no entry's place"
	}
	id, _ := v.l.SegmentOf(p.Offset())
	h, err := v.p.Segment(id)
	if err != nil { // reported with the segment table
		return ""
	}
	switch {
	case h.Kind != format.SegmentLog && h.Kind != format.SegmentCompaction:
		return fmt.Sprintf("leads into segment %d, which is %v %v", id, h.State, h.Kind)
	case h.Generation%format.PointerGenerations != p.Generation():
		return fmt.Sprintf("is of another generation than segment %d, which has %d", id, h.Generation)
	case h.State == format.SegmentSealed && p.Offset()-v.l.SegmentOffset(id) >= h.Sealed:
		return fmt.Sprintf("leads beyond the log of segment %d, which ends at byte %d", id, h.Sealed)
	}
	return ""
}

// sharedWord says whether another slot has the same indirect-pointer word.
func (v *verifier) sharedWord(s look.Slot) *look.Damage {
	word, ok := v.l.IndirectOf(s.Pointer)
	if !ok {
		return nil
	}
	other, seen := v.words[word]
	if seen && other != s.At && format.Pointer(v.p.Word(other)) == s.Pointer {
		return &look.Damage{Offset: s.At, Area: "index", Detail: fmt.Sprintf("the slot at %#x leads to indirect-pointer word %d too", other, word)}
	}
	v.words[word] = s.At
	return nil
}

// sameKey says whether two slots of the same hash lead to entries of one key.
func (v *verifier) sameKey(a, b look.Slot) bool {
	var entries [2]format.Entry
	for i, s := range []look.Slot{a, b} {
		target, err := v.p.Direct(s.Pointer)
		if err != nil || v.p.Entry(target, &v.buffers[i], &entries[i]) != nil {
			return false
		}
	}
	return bytes.Equal(entries[0].Key, entries[1].Key)
}

func (v *verifier) inFilter(hash uint64) bool {
	at, bits := format.FilterWord(hash, v.l.FilterBytes)
	return v.p.Word(v.l.FilterOffset+at)&bits == bits
}

// countChain counts a chain that was checked.
func (v *verifier) countChain(c *look.Chain) {
	k := &v.r.Checked
	k.Buckets += uint64(len(c.Buckets))
	k.Keys += uint64(len(c.Slots))
	for _, offset := range c.Buckets[1:] {
		v.chains.add(offset, c.Bucket)
	}
	for _, s := range c.Slots {
		target, err := v.p.Direct(s.Pointer)
		if err != nil {
			continue
		}
		k.LiveBytes += target.Size()
		if s.Pointer.Indirect() {
			k.IndirectWords++
		}
	}
}

// chainSet knows in which chain each overflow bucket was seen.
type chainSet struct {
	layout *format.Layout
	owners map[format.SegmentID][]uint32 // main bucket + 1, by number of the bucket within the segment
}

func (c *chainSet) place(offset uint64) (id format.SegmentID, number uint64) {
	id, _ = c.layout.SegmentOf(offset)
	return id, (offset - c.layout.SegmentOffset(id)) / format.BucketBytes
}

func (c *chainSet) owner(offset uint64) (bucket uint64, ok bool) {
	id, number := c.place(offset)
	if owners := c.owners[id]; owners != nil && owners[number] != 0 {
		return uint64(owners[number] - 1), true
	}
	return 0, false
}

func (c *chainSet) add(offset, bucket uint64) {
	id, number := c.place(offset)
	if c.owners[id] == nil {
		c.owners[id] = make([]uint32, c.layout.SegmentBytes/format.BucketBytes)
	}
	c.owners[id][number] = uint32(bucket + 1)
}
