package inspect

import (
	"context"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

// IndexReport describes the index table. If it grows while it is walked, the counts are of both tables, each for its part.
type IndexReport struct {
	Table           uint64  `json:"table"`
	Sequence        uint64  `json:"root_sequence"`
	Root            string  `json:"root"` // "A" or "B"
	Buckets         uint64  `json:"buckets"`
	Extents         int     `json:"extents"` // segments of main buckets
	OverflowBuckets uint64  `json:"overflow_buckets"`
	Keys            uint64  `json:"keys"`            // occupied slots
	Replicated      uint64  `json:"replicated_keys"` // of these, through an indirect pointer
	LoadFactor      float64 `json:"load_factor"`     // keys per slot of the main buckets
	// BucketsPerLookup is the mean number of buckets read to find a key that is present.
	BucketsPerLookup float64 `json:"buckets_per_lookup"`
	// ChainLengths counts chains of 1, 2, 3, ... buckets; the last also the longer ones.
	ChainLengths [maxChainShown]uint64 `json:"chain_lengths"`
	LongestChain int                   `json:"longest_chain"`
	Damage       []string              `json:"damage,omitempty"`
}

const maxChainShown = 8

// Index walks the index and describes it. It fails when there is no sound root or directory.
func Index(ctx context.Context, p *look.Pool) (*IndexReport, error) {
	var r IndexReport
	var c look.Chain
	var depths uint64
	err := p.Walk(ctx, func(x *look.Index, bucket uint64) error {
		if root := x.Table.Root; root.Table != r.Table {
			r.Table, r.Sequence, r.Buckets, r.Extents = root.Table, root.Sequence, x.Table.Buckets(), len(x.Table.Extents)
			r.Root = string(rune('A' + x.Which))
		}
		damaged, err := x.Check(bucket, &c, nil)
		if err != nil {
			return err
		}
		for _, d := range damaged {
			r.Damage = append(r.Damage, d.String())
		}
		r.LongestChain = max(r.LongestChain, len(c.Buckets))
		r.ChainLengths[min(len(c.Buckets), maxChainShown)-1]++
		r.OverflowBuckets += uint64(len(c.Buckets) - 1)
		for _, s := range c.Slots {
			r.Keys++
			depths += uint64(s.Depth)
			if s.Pointer.Indirect() {
				r.Replicated++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.Keys > 0 {
		r.BucketsPerLookup = float64(depths) / float64(r.Keys)
		r.LoadFactor = float64(r.Keys) / float64(r.Buckets*format.SlotsPerBucket)
	}
	return &r, nil
}
