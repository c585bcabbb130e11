package index

import (
	"bytes"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Problem is something wrong with the stored index.
type Problem struct {
	Offset uint64 // of the bucket or word, in the pool
	What   string
}

// String shows the problem with its address.
func (p Problem) String() string { return fmt.Sprintf("%#x: %s", p.Offset, p.What) }

// Check verifies the current table's structure and that every slot's hash is that of the key its entry holds,
// and calls report for each problem until it returns false. It changes nothing; on a live index run it with
// merging paused, or it may report what was changed under its eyes. It goes on after damage where it can.
func (ix *Index) Check(report func(Problem) bool) {
	l := ix.live.Load()
	c := &checker{ix: ix, l: l, report: report, seen: newBucketSet(ix.o.Layout, l.overflow.segments())}
	for bucket := range l.Buckets() {
		if c.stopped {
			return
		}
		c.chain(bucket)
	}
}

type checker struct {
	ix      *Index
	l       *live
	report  func(Problem) bool
	seen    *bucketSet
	stopped bool
}

func (c *checker) problem(offset uint64, format string, args ...any) {
	if !c.stopped {
		c.stopped = !c.report(Problem{offset, fmt.Sprintf(format, args...)})
	}
}

// chain checks one main bucket and what hangs on it.
func (c *checker) chain(bucket uint64) {
	var held []slotAt
	depth := 0
	first := c.l.layout.BucketOffset(c.l.Extents, bucket)
	err := c.ix.walkChain(c.l.Table, bucket, func(offset uint64, b *format.Bucket) error {
		if depth++; depth > 1 && !c.seen.add(offset) {
			return fmt.Errorf("%w: bucket %#x is in two chains, or in no overflow segment of the table", ErrChain, offset)
		}
		for i, p := range b.Pointer {
			if p == 0 {
				continue
			}
			at := offset + format.BucketPointerOffset + uint64(i)*format.SlotBytes
			if format.BucketNumber(b.Hash[i], c.l.Root.BucketsLog2) != bucket {
				c.problem(at, "hash %016x belongs to bucket %d, not %d", b.Hash[i], format.BucketNumber(b.Hash[i], c.l.Root.BucketsLog2), bucket)
			}
			held = c.slot(at, b.Hash[i], p, held)
		}
		return nil
	})
	if err != nil {
		c.problem(first, "chain of bucket %d: %v", bucket, err)
	}
}

type slotAt struct {
	at   uint64
	hash uint64
	key  []byte
}

// slot checks one occupied slot against its entry, and against those before it in the chain.
func (c *checker) slot(at, hash uint64, p format.Pointer, held []slotAt) []slotAt {
	if _, _, ok := c.l.layout.EntryRange(p); !ok {
		if _, ok := c.l.layout.IndirectOf(p); !ok {
			c.problem(at, "pointer %v leads out of the segments", p)
			return held
		}
	}
	key, err := c.ix.o.KeyAt(p)
	if err != nil {
		c.problem(at, "entry %v: %v", p, err)
		return held
	}
	if want := c.ix.o.private.hashOf(key); want != hash {
		c.problem(at, "slot has hash %016x, its entry %v has key hash %016x", hash, p, want)
	}
	for _, other := range held {
		if other.hash == hash && bytes.Equal(other.key, key) {
			c.problem(at, "key %q is in the slot at %#x too", key, other.at)
		}
	}
	return append(held, slotAt{at, hash, bytes.Clone(key)})
}
