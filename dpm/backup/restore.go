package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dinomo-kv/dinomo/dpm"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// RestoreOptions say what to make of an archive. Archive and Pool.Path are required.
type RestoreOptions struct {
	Archive io.Reader
	// Pool is the pool to make. Its Path must not exist. With neither Bytes nor Shape.Segments it gets the shape of the
	// pool that was backed up; so do zero fields of Shape when only the size is given. Durability is the backed-up pool's
	// unless it is set.
	Pool     dpm.Options
	Progress func(Progress)
}

// RestoreSummary is what a restore came to.
type RestoreSummary struct {
	Header   Header        `json:"-"`
	Keys     uint64        `json:"keys"`
	Bytes    uint64        `json:"bytes"`             // of keys and stored values
	Left     []string      `json:"left_out"`          // metadata records in the archive, which are not restored
	Skipped  uint64        `json:"skipped_in_backup"` // damaged entries that the backup had left out
	Duration time.Duration `json:"duration_nanoseconds"`
}

// Check reads a whole archive and says what is in it. The error wraps ErrDamaged when anything is wrong with it.
func Check(ctx context.Context, archive io.Reader) (RestoreSummary, error) {
	var s RestoreSummary
	r, err := NewReader(archive)
	if err != nil {
		return s, err
	}
	defer r.Close()
	return s, s.each(ctx, r, func([]format.Entry) error { return nil })
}

// loadBytes is how much is handed to the pool at once.
const loadBytes = 4 << 20

// each reads the archive to its end and hands its entries on in batches.
func (s *RestoreSummary) each(ctx context.Context, r *Reader, load func([]format.Entry) error) error {
	s.Header = r.Header()
	var batch []format.Entry
	var arena []byte
	flush := func() error {
		at := 0
		for i := range batch { // the arena has its final place now
			e := &batch[i]
			keyEnd := at + len(e.Key)
			end := keyEnd + len(e.Value)
			e.Key, e.Value = arena[at:keyEnd:keyEnd], arena[keyEnd:end:end]
			at = end
		}
		err := load(batch)
		batch, arena = batch[:0], arena[:0]
		return err
	}
	for {
		rec, err := r.Next()
		switch {
		case err == io.EOF:
			s.Skipped = r.Skipped()
			return flush()
		case err != nil:
			return err
		case rec.Name != "":
			s.Left = append(s.Left, rec.Name)
			continue
		}
		s.Keys++
		s.Bytes += uint64(len(rec.Entry.Key) + len(rec.Entry.Value))
		batch, arena = append(batch, rec.Entry), append(append(arena, rec.Entry.Key...), rec.Entry.Value...)
		if len(arena) >= loadBytes {
			if err := errors.Join(ctx.Err(), flush()); err != nil {
				return err
			}
		}
	}
}

// Restore makes a new pool of an archive (BAK-3). When it fails there is no pool at the path, as before.
func Restore(ctx context.Context, o RestoreOptions) (s RestoreSummary, err error) {
	if o.Archive == nil || o.Pool.Path == "" {
		return s, errors.New("restore: an archive and a path for the pool are needed")
	}
	if o.Pool.Durability == pmem.Volatile {
		return s, errors.New("restore: a volatile pool would be gone at once; restore to a file")
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Pool.Clock == nil {
		o.Pool.Clock = clock.Real{}
	}
	began := o.Pool.Clock.Now()
	path := o.Pool.Path
	if err := absent(path); err != nil {
		return s, err
	}
	r, err := NewReader(o.Archive)
	if err != nil {
		return s, fmt.Errorf("restore: %w", err)
	}
	defer r.Close()
	o.Pool.Path = path + ".restoring"
	if err := remove(o.Pool.Path); err != nil { // what an earlier restore left
		return s, fmt.Errorf("restore: %w", err)
	}
	if err = s.fill(ctx, r, &o); err == nil {
		err = adopt(o.Pool.Path, path)
	}
	s.Duration = o.Pool.Clock.Now().Sub(began)
	if err != nil {
		return s, fmt.Errorf("restore to %s: %w", path, errors.Join(err, remove(o.Pool.Path)))
	}
	return s, nil
}

// fill makes the pool under its temporary name.
func (s *RestoreSummary) fill(ctx context.Context, r *Reader, o *RestoreOptions) error {
	po := o.Pool
	po.Shape = shapeOf(&po, r.Header().Shape)
	po.Workers = -1
	if was := pmem.Durability(r.Header().Durability); po.Durability == 0 && was != pmem.Volatile {
		po.Durability = was
	}
	pool, err := dpm.Open(po)
	if err != nil {
		return err
	}
	err = s.each(ctx, r, func(batch []format.Entry) error {
		err := pool.Load(batch)
		o.Progress(Progress{0, s.Keys, s.Bytes})
		return err
	})
	if errors.Is(err, dpm.ErrNoSpace) {
		err = fmt.Errorf("%w: the pool of %d bytes is too small for the backup", err, pool.Layout().TotalBytes)
	}
	return errors.Join(err, pool.Close())
}

// shapeOf returns the shape to make: what is asked for, and the archive's where nothing is.
func shapeOf(o *dpm.Options, archive format.Shape) format.Shape {
	shape := o.Shape
	if shape.Segments == 0 && o.Bytes == 0 {
		shape.Segments = archive.Segments
		if shape.SegmentBytes != 0 { // other segments, as many as the same bytes hold
			shape.Segments = uint32(uint64(archive.Segments) * archive.SegmentBytes / shape.SegmentBytes)
		}
	}
	for _, f := range []struct{ to, from *uint32 }{
		{&shape.MetadataRecords, &archive.MetadataRecords}, {&shape.MetadataSlotBytes, &archive.MetadataSlotBytes},
		{&shape.Ranks, &archive.Ranks}, {&shape.IndirectWords, &archive.IndirectWords},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	if shape.SegmentBytes == 0 {
		shape.SegmentBytes = archive.SegmentBytes
	}
	if shape.FilterBytes == 0 {
		shape.FilterBytes = archive.FilterBytes
	}
	return shape
}

// adopt writes the finished pool to disk, whatever its durability, and gives it its name.
func adopt(partial, path string) error {
	if err := absent(path); err != nil {
		return err
	}
	f, err := pmem.Open(pmem.Options{Path: partial, Durability: pmem.Fsync})
	if err != nil {
		return err
	}
	f.Flush(0, f.Bytes())
	if err = f.Fence(); err == nil {
		err = f.Rename(path)
	}
	return errors.Join(err, f.Close())
}

func absent(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return fmt.Errorf("restore: %s is there already: %w; move it away first", path, os.ErrExist)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// remove removes a pool that is not finished, and what its creation may have left.
func remove(path string) error {
	for _, name := range []string{path, path + ".new"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
