package inspect

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

// unsound is a part of a log whose entries are not sound: what they were cannot be told, but whether a key leads there can.
type unsound struct {
	first, next uint64 // pool offsets
	damage      look.Damage
	missed      bool // a key leads there
}

// unsoundEntry takes note of what lies from byte end of a segment up to byte resume, where a sound entry follows, or else the log
// ends. If all of it was merged, who misses it is found out when all logs have been read; else it is a write that got lost.
func (v *verifier) unsoundEntry(s *look.Segment, end, resume uint64, follows bool) {
	then := "none follows it"
	if follows {
		then = fmt.Sprintf("the next sound one follows after %d bytes", resume-end)
	}
	base := v.l.SegmentOffset(s.ID)
	d := look.Damage{Offset: base + end, Area: "log", Detail: fmt.Sprintf(
		"entry of segment %d (%v), byte %d, is not sound; %s", s.ID, &s.SegmentHeader, end, then)}
	merged := s.Kind == format.SegmentCompaction || resume <= s.Merged
	if !merged || len(v.unsound) == v.o.MaxProblems {
		v.r.add(v.o, Damage, d)
		return
	}
	v.unsound = append(v.unsound, unsound{first: base + end, next: base + resume, damage: d})
}

// judgeUnsound reports the unsound parts of logs: those that a key leads to as damage, the others as notes. Where the index
// cannot be read as a whole, of which its own check says why, nobody can tell them apart, and all are damage.
func (v *verifier) judgeUnsound() {
	if len(v.unsound) == 0 {
		return
	}
	var c look.Chain
	broken := false
	err := v.p.Walk(v.ctx, func(x *look.Index, bucket uint64) error {
		if _, err := x.Check(bucket, &c, nil); err != nil {
			return err
		}
		broken = broken || c.Broken != nil
		for _, s := range c.Slots {
			v.miss(s)
		}
		return nil
	})
	for _, u := range v.unsound {
		if u.missed || broken || err != nil {
			v.r.add(v.o, Damage, u.damage)
			continue
		}
		u.damage.Detail += "; no key leads there"
		v.r.add(v.o, Note, u.damage)
	}
}

// miss marks the unsound part that a slot leads to.
func (v *verifier) miss(s look.Slot) {
	target, err := v.p.Direct(s.Pointer)
	if err != nil {
		return
	}
	for i := range v.unsound {
		if u := &v.unsound[i]; target.Offset() >= u.first && target.Offset() < u.next {
			u.missed = true
		}
	}
}
