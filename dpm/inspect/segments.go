package inspect

import (
	"context"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

// SegmentsReport lists the segments in use, and sums them up.
type SegmentsReport struct {
	SegmentBytes uint64         `json:"segment_bytes"`
	Total        int            `json:"total"`
	Free         int            `json:"free"`
	InUse        map[string]int `json:"in_use"` // "sealed log" and so on
	LiveBytes    uint64         `json:"live_bytes"`
	Unmerged     uint64         `json:"unmerged_bytes"` // of sealed logs; of open ones the end is not stored
	Segments     []Segment      `json:"segments"`
	Damage       []string       `json:"damage,omitempty"`
}

// Segment is one segment in use.
type Segment struct {
	ID          format.SegmentID `json:"id"`
	Offset      uint64           `json:"offset"`
	State       string           `json:"state"`
	Kind        string           `json:"kind"`
	Rank        uint16           `json:"rank,omitempty"`
	Incarnation uint32           `json:"incarnation,omitempty"`
	Thread      uint16           `json:"thread,omitempty"`
	Generation  uint32           `json:"generation"`
	Order       uint64           `json:"order,omitempty"`
	Merged      uint64           `json:"merged_bytes"`
	Sealed      uint64           `json:"sealed_bytes"`
	Table       uint64           `json:"table,omitempty"`
	// LiveBytes is what entries take that the index leads to, each rounded up to format.SizeUnit.
	LiveBytes   uint64 `json:"live_bytes"`
	LiveEntries uint64 `json:"live_entries"`
}

// liveCount is what the index leads to in one segment.
type liveCount struct{ bytes, entries uint64 }

// Segments lists the segments. Live bytes are counted by a walk over the index, while it changes if the pool is live.
func Segments(ctx context.Context, p *look.Pool) (*SegmentsReport, error) {
	l := p.Layout()
	r := &SegmentsReport{SegmentBytes: l.SegmentBytes, Total: int(l.Segments), InUse: map[string]int{}}
	live, err := r.countLive(ctx, p)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		r.Damage = append(r.Damage, fmt.Sprintf("live bytes are not known: %v", err))
	}
	for i := range l.Segments {
		id := format.SegmentID(i)
		h, err := p.Segment(id)
		if err != nil {
			r.Damage = append(r.Damage, fmt.Sprintf("segment %d: %v", id, err))
		}
		if h.State == format.SegmentFree {
			r.Free++
			continue
		}
		r.InUse[fmt.Sprintf("%v %v", h.State, h.Kind)]++
		r.LiveBytes += live[i].bytes
		if h.Kind == format.SegmentLog && h.State == format.SegmentSealed && h.Merged < h.Sealed {
			r.Unmerged += h.Sealed - h.Merged
		}
		r.Segments = append(r.Segments, Segment{
			ID: id, Offset: l.SegmentOffset(id), State: h.State.String(), Kind: h.Kind.String(), Rank: h.Rank, Incarnation: h.Incarnation,
			Thread: h.Thread, Generation: h.Generation, Order: h.Order, Merged: h.Merged, Sealed: h.Sealed, Table: h.Table,
			LiveBytes: live[i].bytes, LiveEntries: live[i].entries,
		})
	}
	return r, nil
}

// countLive counts what the index leads to, by segment.
func (r *SegmentsReport) countLive(ctx context.Context, p *look.Pool) ([]liveCount, error) {
	l := p.Layout()
	live := make([]liveCount, l.Segments)
	var c look.Chain
	return live, p.Walk(ctx, func(x *look.Index, bucket uint64) error {
		damaged, err := x.Check(bucket, &c, nil)
		if err != nil {
			return err
		}
		for _, d := range damaged {
			r.Damage = append(r.Damage, d.String())
		}
		for _, s := range c.Slots {
			target, err := p.Direct(s.Pointer)
			if err != nil {
				continue // Verify's business
			}
			if id, ok := l.SegmentOf(target.Offset()); ok {
				live[id].bytes += target.Size()
				live[id].entries++
			}
		}
		return nil
	})
}
