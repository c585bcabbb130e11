package dpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Open opens the pool at o.Path, or creates it there if there is none. A pool that is in use, foreign, of another
// version or damaged is refused with one line that says which and where.
//
// A pool file is made under another name and gets its own when it is whole, so a crash while creating leaves no pool.
func Open(o Options) (*Pool, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Pool{o: o}
	p.gate.init()
	err := p.open()
	if err != nil {
		if p.file != nil {
			err = errors.Join(err, p.file.Close())
		}
		if o.Path == "" {
			return nil, fmt.Errorf("open pool: %w", err)
		}
		return nil, fmt.Errorf("open pool %s: %w", o.Path, err)
	}
	p.start()
	return p, nil
}

func (p *Pool) open() error {
	fresh, err := p.mapRegion()
	if err != nil {
		return err
	}
	if fresh {
		if err := p.format(); err != nil {
			return err
		}
		if p.file != nil && p.o.Durability != pmem.Volatile && !p.file.Device() {
			if err := p.file.Rename(p.o.Path); err != nil {
				return err
			}
		}
		if hook := p.o.private.named; hook != nil {
			hook()
		}
	}
	return p.recover(fresh)
}

// mapRegion opens or creates the memory and says whether it is new.
func (p *Pool) mapRegion() (fresh bool, err error) {
	o := &p.o
	if o.private.region != nil {
		p.region = o.private.region
		return p.region.Load64(0) == 0, nil
	}
	if o.Durability == pmem.Volatile {
		bytes, err := p.newBytes()
		if err != nil {
			return true, err
		}
		p.file, err = pmem.NewVolatile(bytes)
		if err != nil {
			return true, err
		}
		p.region = p.file
		return true, nil
	}
	options := pmem.Options{Path: o.Path, Durability: o.Durability, Sparse: o.Sparse, Sync: o.private.sync}
	p.file, err = pmem.Open(options)
	switch {
	case err == nil:
		p.region = p.file
		// A device is there before there is a pool on it: whoever gives it to Dinomo makes its first word 0.
		return p.file.Device() && p.region.Load64(0) == 0, nil
	case !errors.Is(err, fs.ErrNotExist):
		p.file = nil
		return false, err
	case o.MustExist:
		return false, fmt.Errorf("%w: %w", ErrNoPool, err)
	}
	bytes, err := p.newBytes()
	if err != nil {
		return true, err
	}
	options.Path += ".new"
	if err := os.Remove(options.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("remove what an earlier creation left: %w", err)
	}
	if p.file, err = pmem.Create(bytes, options); err != nil {
		p.file = nil
		return true, err
	}
	p.region = p.file
	return true, nil
}

// newBytes settles the shape of a pool that is to be created and returns its size.
func (p *Pool) newBytes() (uint64, error) {
	shape := &p.o.Shape
	if shape.Segments == 0 {
		bytes := p.o.Bytes
		if p.region != nil {
			bytes = min(bytes, p.region.Bytes()) // a device has the size that it has
		}
		shape.Segments = format.SegmentsFor(*shape, bytes)
		if shape.Segments == 0 {
			return 0, fmt.Errorf("%d bytes do not hold a pool with segments of %d bytes; make it larger", p.o.Bytes, shape.SegmentBytes)
		}
	}
	l, err := format.NewLayout(*shape, 0)
	return l.TotalBytes, err
}

// format writes an empty pool: everything else first, the superblock last.
func (p *Pool) format() error {
	if _, err := p.newBytes(); err != nil {
		return err
	}
	var random [20]byte
	if _, err := io.ReadFull(p.o.private.entropy, random[:]); err != nil {
		return fmt.Errorf("draw the pool's identity: %w", err)
	}
	s := format.Superblock{
		PoolID: [16]byte(random[:16]), Created: uint64(p.o.Clock.Now().Unix()), Durability: uint8(p.o.Durability),
	}
	var err error
	if s.Layout, err = format.NewLayout(p.o.Shape, format.Salt(binary.LittleEndian.Uint32(random[16:]))); err != nil {
		return err
	}
	if p.region.Bytes() < s.Layout.TotalBytes {
		return fmt.Errorf("%d bytes of memory for a pool of %d", p.region.Bytes(), s.Layout.TotalBytes)
	}
	if p.file != nil && p.file.Device() { // unlike a new file it may hold anything
		zero := make([]byte, format.SuperblockBytes)
		for at := uint64(0); at < s.Layout.SegmentsOffset; at += uint64(len(zero)) {
			p.region.Write(at, zero[:min(uint64(len(zero)), s.Layout.SegmentsOffset-at)])
		}
		p.region.Flush(0, s.Layout.SegmentsOffset)
	}
	p.superblock, p.layout = s, &s.Layout
	p.segments = make([]segment, s.Layout.Segments)
	for id := range p.segments {
		p.mu.free = append(p.mu.free, format.SegmentID(id))
	}
	if _, err = index.Create(p.indexOptions()); err != nil {
		return err
	}
	var page [format.SuperblockBytes]byte
	s.Encode(&page)
	p.region.Write(0, page[:])
	p.region.Flush(0, format.SuperblockBytes)
	return p.fence()
}

func (p *Pool) indexOptions() index.Options {
	return index.Options{
		Region: p.region, Layout: p.layout, KeyAt: p.keyAt, Alloc: p.allocIndex, Retire: p.retire,
		Mended:      func(w *format.WordError) { p.damage(w.Offset, "index, mended", w) },
		MaxOverflow: p.o.private.indexMaxOverflow,
		Free: func(ids []format.SegmentID) {
			if err := p.free(ids); err != nil {
				p.failOnce(err)
			}
		},
	}
}

// allocIndex hands a segment to the index. Tables, which are optional, leave the reserve alone; overflow
// buckets, without which merging stops, leave what compaction needs to make room.
func (p *Pool) allocIndex(kind format.SegmentKind, table uint64) (format.SegmentID, error) {
	keep := compactionKeeps
	if kind == format.SegmentIndex && p.index != nil {
		keep = p.reserve
	}
	ids, err := p.handOut(format.SegmentHeader{
		SegmentIdentity: format.SegmentIdentity{State: format.SegmentOpen, Kind: kind}, Table: table,
	}, 1, keep)
	if err != nil {
		return format.NoSegment, err
	}
	if len(ids) == 0 {
		return format.NoSegment, ErrNoSpace
	}
	return ids[0], nil
}

// compactionKeeps is how many segments only compaction may take: one to copy into, one for when it is full.
const compactionKeeps = 2
