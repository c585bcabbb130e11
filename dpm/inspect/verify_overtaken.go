package inspect

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

// areaOvertaken names pointers that lead to an older entry than they should.
const areaOvertaken = "index pointer"

// checkOvertaken reports a slot that leads to an older entry of the key than e, which is merged. Within one
// thread's log sequence numbers tell older from newer; across threads, and for entries that compaction moved, nothing does.
func (v *verifier) checkOvertaken(s *look.Segment, e *look.Placed) {
	hash := index.KeyHash(e.Key)
	for range logTries {
		x := v.askIndex()
		if x == nil {
			return
		}
		bucket := format.BucketNumber(hash, x.Table.Root.BucketsLog2)
		damaged, err := x.Check(bucket, &v.lookups, func(c *look.Chain) []look.Damage { return v.behind(c, hash, s, e) })
		if errors.Is(err, look.ErrMoved) {
			v.overtake = nil
			continue
		}
		for _, d := range damaged {
			if d.Area == areaOvertaken {
				v.r.add(v.o, Damage, d)
			}
		}
		return
	}
}

// askIndex returns the table to look keys up in, nil when there is none: the index's check has said so.
func (v *verifier) askIndex() *look.Index {
	if v.overtake == nil && !v.noIndex {
		x, err := v.p.Index()
		v.overtake, v.noIndex = x, err != nil
	}
	return v.overtake
}

// behind lists the slots of the key that lead to an older entry of the same log.
func (v *verifier) behind(c *look.Chain, hash uint64, s *look.Segment, e *look.Placed) (found []look.Damage) {
	for _, slot := range c.Slots {
		if slot.Hash != hash || slot.Pointer == e.Pointer || slot.Pointer.Indirect() {
			continue
		}
		id, ok := v.l.SegmentOf(slot.Pointer.Offset())
		if !ok {
			continue
		}
		h, err := v.p.Segment(id)
		if err != nil || h.Kind != format.SegmentLog || h.Rank != s.Rank || h.Incarnation != s.Incarnation || h.Thread != s.Thread {
			continue
		}
		var older format.Entry
		if v.p.Entry(slot.Pointer, &v.buffers[1], &older) != nil || older.Sequence >= e.Sequence || !bytes.Equal(older.Key, e.Key) {
			continue
		}
		found = append(found, look.Damage{Offset: slot.At, Area: areaOvertaken, Detail: fmt.Sprintf(
			"slot of key %.64q leads to %v, number %d of its log, though number %d at %#x was merged", e.Key, slot.Pointer, older.Sequence, e.Sequence, e.Offset)})
	}
	return found
}
