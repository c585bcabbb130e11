package look

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// ErrMoved: the index table was replaced while it was looked at. Walk takes it from its visitor and goes on in the
// new table.
var ErrMoved = errors.New("index table was replaced")

// ErrUnsteady: the index changed faster than it could be read, time and again.
var ErrUnsteady = errors.New("index does not hold still; try again when there is less to do")

// tries is how often something that seems damaged is read before it is believed, or something unsteady is given up.
const tries = 6

// Index is the pool's index table as of some moment.
type Index struct {
	pool  *Pool
	roots rootBytes
	// Table is the view that readers of the pool have.
	Table *index.Table
	// Which is the root that counts: 0 A, 1 B.
	Which int
}

type rootBytes [2][format.RootBytes]byte

func (p *Pool) readRoots() (r rootBytes) {
	for which := range r {
		p.Read(format.RootsOffset+format.RootOffset(which), r[which][:])
	}
	return r
}

// Index reads the index's root and directory.
func (p *Pool) Index() (*Index, error) {
	var err error
	for n := 1; n <= tries; n++ {
		x := &Index{pool: p, roots: p.readRoots()}
		if err = x.load(); err == nil && x.Current() {
			return x, nil
		}
		if err == nil {
			err = ErrUnsteady
		}
		p.pause(n)
	}
	return nil, err
}

func (x *Index) load() error {
	page := make([]byte, format.PageBytes)
	for which := range x.roots {
		copy(page[format.RootOffset(which):], x.roots[which][:])
	}
	root, which, err := format.CurrentRoot(page, x.pool.layout)
	if err != nil {
		return Damage{format.RootsOffset, "index root", err.Error()}
	}
	at := x.pool.layout.DirectoryOffset[root.Directory]
	directory := make([]byte, uint64(root.Extents)*format.DirectoryEntryBytes)
	x.pool.Read(at, directory)
	if x.Table, err = index.NewTable(x.pool.layout, root, directory); err != nil {
		return Damage{at, "index directory", err.Error()}
	}
	x.Which = which
	return nil
}

// Current says whether no root has changed since: then everything that was read of the table in between
// was the table's.
func (x *Index) Current() bool { return x.pool.readRoots() == x.roots }

// Chain is what one main bucket and its overflow buckets hold.
type Chain struct {
	Bucket  uint64
	Buckets []uint64 // offsets, in chain order
	Slots   []Slot   // that are occupied
	// Broken is why the chain could not be followed to its end; nil when it could.
	Broken error
}

// Slot is an occupied slot of a bucket.
type Slot struct {
	At      uint64 // offset of its pointer word
	Hash    uint64
	Pointer format.Pointer
	Depth   int // place of its bucket in the chain, from 1
}

// read reads a chain as it is now, or as several moments make it look.
func (x *Index) read(bucket uint64, c *Chain) {
	l := x.pool.layout
	*c = Chain{Bucket: bucket, Buckets: c.Buckets[:0], Slots: c.Slots[:0]}
	offset := l.BucketOffset(x.Table.Extents, bucket)
	var raw [format.BucketBytes]byte
	var b format.Bucket
	for range index.MaxChain {
		x.pool.Read(offset, raw[:])
		c.Buckets = append(c.Buckets, offset)
		if err := format.DecodeBucket(&raw, offset, &b); err != nil {
			c.Broken = AsDamage(err, offset, "index")
			return
		}
		if b.Tag != x.Table.Root.Tag() || b.Flags != 0 {
			c.Broken = Damage{offset, "index", fmt.Sprintf("bucket is of table tag %d, flags %d; want %d, 0", b.Tag, b.Flags, x.Table.Root.Tag())}
			return
		}
		for i, p := range b.Pointer {
			if !p.Nil() {
				at := offset + format.BucketPointerOffset + uint64(i)*format.SlotBytes
				c.Slots = append(c.Slots, Slot{at, b.Hash[i], p, len(c.Buckets)})
			}
		}
		if b.Overflow == 0 {
			return
		}
		if _, ok := l.SegmentOf(b.Overflow); !ok {
			c.Broken = Damage{offset + format.BucketOverflowOffset, "index", fmt.Sprintf("bucket leads to %#x, out of the segments", b.Overflow)}
			return
		}
		offset = b.Overflow
	}
	c.Broken = Damage{c.Buckets[0], "index", fmt.Sprintf("chain has more than %d buckets: it leads into itself", index.MaxChain)}
}

// Check reads a chain and has check look at it; and again while there is anything wrong with it, until check finds
// nothing or the same twice. It returns what is damaged, with c as it was then, or ErrMoved or ErrUnsteady.
func (x *Index) Check(bucket uint64, c *Chain, check func(c *Chain) []Damage) ([]Damage, error) {
	var before []Damage
	for n := 1; n <= tries; n++ {
		x.read(bucket, c)
		var found []Damage
		if c.Broken != nil {
			found = append(found, AsDamage(c.Broken, c.Buckets[0], "index"))
		}
		found = append(found, x.misplaced(c)...)
		if check != nil {
			found = append(found, check(c)...)
		}
		if !x.Current() {
			return nil, ErrMoved
		}
		if len(found) == 0 || slices.Equal(found, before) {
			return found, nil
		}
		before = found
		x.pool.pause(n)
	}
	return nil, ErrUnsteady
}

// misplaced lists slots that belong to other chains. On a live pool they are what a reader finds who stands in an
// overflow bucket that was taken away and given to another chain meanwhile.
func (x *Index) misplaced(c *Chain) (found []Damage) {
	for _, s := range c.Slots {
		if belongs := format.BucketNumber(s.Hash, x.Table.Root.BucketsLog2); belongs != c.Bucket {
			found = append(found, Damage{s.At, "index", fmt.Sprintf("slot's hash %016x belongs to bucket %d, not %d", s.Hash, belongs, c.Bucket)})
		}
	}
	return found
}

// Walk calls visit for each bucket of the index, in order, and goes on in the new table when the table is replaced.
// visit calls Check. When it returns ErrMoved it is called again, for the same part of the keys.
func (p *Pool) Walk(ctx context.Context, visit func(x *Index, bucket uint64) error) error {
	x, err := p.Index()
	if err != nil {
		return err
	}
	for bucket, n := uint64(0), 0; bucket < x.Table.Buckets(); {
		if bucket%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := visit(x, bucket)
		if err == nil {
			bucket, n = bucket+1, 0
			continue
		}
		if n++; !errors.Is(err, ErrMoved) || n > tries {
			return err
		}
		log2 := x.Table.Root.BucketsLog2
		if x, err = p.Index(); err != nil {
			return err
		}
		switch grown := x.Table.Root.BucketsLog2; {
		case grown >= log2:
			bucket <<= grown - log2
		default: // tables do not shrink; were one to, some keys would come twice
			bucket >>= log2 - grown
		}
	}
	return nil
}

// Find returns the slot of a key, a zero Slot when the index has none, and in c the chain it was looked for in.
func (p *Pool) Find(key []byte, c *Chain) (s Slot, err error) {
	for range tries {
		x, err := p.Index()
		if err != nil {
			return Slot{}, err
		}
		var buffer []byte
		if s, err = x.Find(key, c, &buffer); !errors.Is(err, ErrMoved) {
			return s, err
		}
	}
	return Slot{}, ErrUnsteady
}

// Find is Pool.Find in one table; it fails with ErrMoved when that was replaced. Damage is an error only where it may
// hide the key.
func (x *Index) Find(key []byte, c *Chain, buffer *[]byte) (s Slot, err error) {
	hash := index.KeyHash(key)
	bucket := format.BucketNumber(hash, x.Table.Root.BucketsLog2)
	damaged, err := x.Check(bucket, c, func(c *Chain) (found []Damage) {
		s, found = x.pool.findIn(c, hash, key, buffer)
		return found
	})
	if err == nil && len(damaged) > 0 && s.Pointer.Nil() {
		err = damaged[0]
	}
	return s, err
}

func (p *Pool) findIn(c *Chain, hash uint64, key []byte, buffer *[]byte) (s Slot, found []Damage) {
	for _, s := range c.Slots {
		if s.Hash != hash {
			continue
		}
		var e format.Entry
		target, err := p.Direct(s.Pointer)
		if err == nil {
			err = p.Entry(target, buffer, &e)
		}
		switch {
		case err != nil:
			found = append(found, AsDamage(err, s.At, "index"))
		case string(e.Key) == string(key):
			return s, nil
		}
	}
	return Slot{}, found
}
