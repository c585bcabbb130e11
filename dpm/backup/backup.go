package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/look"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// ErrNotMerged: what was in the logs when the backup began did not get merged in time.
var ErrNotMerged = errors.New("pool does not merge its logs")

// Options say what to back up and how. Path and Out are required.
type Options struct {
	// Path of the pool file; a volatile pool's is /proc/PID/fd/N of its DPM.
	Path string
	Out  io.Writer
	// MergeWithin bounds the wait for what is in the logs at the beginning. Default 30 s: full logs take a few.
	MergeWithin time.Duration
	// SkipDamaged leaves damaged entries out, which the Summary lists, instead of giving up at the first.
	SkipDamaged bool
	Clock       clock.Clock
	// Progress is called about once in a thousandth of the work. Default: nobody is.
	Progress func(Progress)
}

// Progress says how far a backup or a restore is.
type Progress struct {
	Done  float64 // 0 to 1; of a restore not known, and 0
	Keys  uint64
	Bytes uint64 // of keys and stored values
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.MergeWithin == 0 {
		o.MergeWithin = 30 * time.Second
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
}

// Validate says what is missing.
func (o *Options) Validate() error {
	if o.Path == "" || o.Out == nil {
		return errors.New("backup: a pool's path and somewhere to write to are needed")
	}
	return nil
}

// Summary is what a backup came to.
type Summary struct {
	Live            bool          `json:"live"`     // the pool was open
	Unmerged        int           `json:"unmerged"` // keys whose newest entry came from a log (closed pools)
	Keys            uint64        `json:"keys"`
	MetadataRecords uint64        `json:"metadata_records"`
	Bytes           uint64        `json:"bytes"` // of keys and stored values
	ArchiveBytes    uint64        `json:"archive_bytes"`
	Waited          time.Duration `json:"waited_nanoseconds"` // for merging
	Duration        time.Duration `json:"duration_nanoseconds"`
	Skipped         []look.Damage `json:"skipped,omitempty"` // the first 1,000 pieces of damage
	SkippedCount    uint64        `json:"skipped_count"`
}

const maxSkipped = 1000

// job is one backup under way.
type job struct {
	ctx      context.Context
	o        *Options
	pool     *look.Pool
	w        *Writer
	s        Summary
	overlay  map[string]unmerged
	found    look.Chain
	buffer   []byte
	arena    []byte // keys and values of one chain
	entries  []chainEntry
	reported float64
}

// unmerged is what the logs of a closed pool hold for a key, newer than the index.
type unmerged struct {
	pointer format.Pointer // nil: deleted
}

// chainEntry is an entry of a chain, with its bytes in the arena.
type chainEntry struct {
	format.Entry
	key, value [2]int
}

// Write writes a backup of the pool to o.Out. See the package about what it is consistent with.
func Write(ctx context.Context, o Options) (Summary, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return Summary{}, err
	}
	began := o.Clock.Now()
	pool, err := look.Open(look.Options{Path: o.Path, Clock: o.Clock})
	if err != nil {
		return Summary{}, fmt.Errorf("backup: %w", err)
	}
	j := &job{ctx: ctx, o: &o, pool: pool}
	err = j.run()
	if j.w != nil {
		j.s.ArchiveBytes, j.s.Keys, j.s.MetadataRecords = j.w.written, j.w.totals.puts, j.w.totals.metadata
	}
	if err = errors.Join(err, pool.Close()); err != nil {
		err = fmt.Errorf("backup of %s: %w", o.Path, err)
	}
	j.s.Duration = o.Clock.Now().Sub(began)
	return j.s, err
}

// WriteFile is Write to a new file, which has its name only when it is whole and on disk. o.Out is not used.
func WriteFile(ctx context.Context, o Options, path string) (s Summary, err error) {
	if _, err := os.Lstat(path); err == nil {
		return s, fmt.Errorf("backup: %s is there already: %w", path, os.ErrExist)
	}
	partial := path + ".partial"
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return s, fmt.Errorf("backup: %w", err)
	}
	o.Out = f
	s, err = Write(ctx, o)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		return s, errors.Join(err, os.Remove(partial))
	}
	return s, syncDirectory(path)
}

func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (j *job) run() error {
	if err := j.settle(); err != nil {
		return err
	}
	epoch, _ := j.pool.ServerEpoch() // a damaged one does not matter here
	sb := j.pool.Superblock()
	h := Header{PoolID: sb.PoolID, Created: uint64(j.o.Clock.Now().Unix()), ServerEpoch: epoch, Shape: sb.Layout.Shape, Durability: sb.Durability, Live: j.s.Live}
	var err error
	if j.w, err = NewWriter(j.o.Out, &h); err != nil {
		return err
	}
	if err := j.metadata(); err != nil {
		return err
	}
	if err := j.pool.Walk(j.ctx, j.chain); err != nil {
		return err
	}
	if err := j.writeOverlay(); err != nil {
		return err
	}
	j.o.Progress(Progress{1, j.w.totals.puts, j.s.Bytes})
	return j.w.Close(j.s.SkippedCount)
}

// settle sees to it that the index, or the overlay, has all that was acknowledged until now (BAK-1).
func (j *job) settle() error {
	err := j.pool.Hold()
	if err == nil {
		return j.readTails()
	}
	if !errors.Is(err, pmem.ErrLocked) {
		return err
	}
	j.s.Live = true
	marks, err := j.pool.Marks()
	if err != nil {
		return err
	}
	began := j.o.Clock.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		for len(marks) > 0 {
			reached, err := j.pool.Reached(&marks[len(marks)-1])
			if err != nil {
				return err
			}
			if !reached {
				break
			}
			marks = marks[:len(marks)-1]
		}
		j.s.Waited = j.o.Clock.Now().Sub(began)
		if len(marks) == 0 {
			return nil
		}
		if j.pool.Hold() == nil { // the DPM has gone
			j.s.Live = false
			return j.readTails()
		}
		if m := marks[len(marks)-1]; j.s.Waited > j.o.MergeWithin {
			return fmt.Errorf("%w: segment %d (%v) is not merged up to byte %d after %v", ErrNotMerged, m.Segment.ID, &m.Segment.SegmentHeader, m.End, j.s.Waited)
		}
		if j.ctx.Err() != nil {
			return j.ctx.Err()
		}
		j.o.Clock.Sleep(pause)
	}
}

// readTails reads the logs of a pool that nobody has open: for each key the last entry counts. Before a key's writes move to
// another thread's log, the one before is merged (OWN-2), so no key is in two.
func (j *job) readTails() error {
	logs, err := j.pool.Logs()
	if err != nil {
		return err
	}
	j.overlay = map[string]unmerged{}
	for i := range logs {
		err := j.pool.Tail(&logs[i], func(e *look.Placed) {
			switch {
			case e.Flags.Replicated():
			case e.Op == format.OpPut:
				j.overlay[string(e.Key)] = unmerged{e.Pointer}
			case e.Op == format.OpDelete:
				j.overlay[string(e.Key)] = unmerged{}
			}
		})
		if err != nil {
			if err = j.skip(look.AsDamage(err, 0, "log")); err != nil {
				return err
			}
		}
	}
	j.s.Unmerged = len(j.overlay)
	return nil
}

// skip notes damage, or returns it as the error to give up with.
func (j *job) skip(d look.Damage) error {
	if !j.o.SkipDamaged {
		return d
	}
	j.s.SkippedCount++
	if len(j.s.Skipped) < maxSkipped {
		j.s.Skipped = append(j.s.Skipped, d)
	}
	return nil
}

func (j *job) metadata() error {
	for i := range j.pool.Layout().MetadataRecords {
		m, err := j.pool.Metadata(i)
		if err != nil {
			if err = j.skip(look.AsDamage(err, 0, "metadata")); err != nil {
				return err
			}
		}
		if !m.Present {
			continue
		}
		if err := j.w.Metadata(m.Name, m.Version, m.Blob); err != nil {
			return err
		}
	}
	return nil
}

// chain writes the entries of one bucket's chain.
func (j *job) chain(x *look.Index, bucket uint64) error {
	damaged, err := x.Check(bucket, &j.found, j.collect)
	if err != nil {
		return err
	}
	for _, d := range damaged {
		if err := j.skip(d); err != nil {
			return err
		}
	}
	for i := range j.entries {
		e := &j.entries[i]
		e.Key, e.Value = j.arena[e.key[0]:e.key[1]], j.arena[e.value[0]:e.value[1]]
		if _, newer := j.overlay[string(e.Key)]; newer {
			continue
		}
		if err := j.put(&e.Entry); err != nil {
			return err
		}
	}
	if done := float64(bucket) / float64(x.Table.Buckets()); done-j.reported >= 0.001 {
		j.reported = done
		j.o.Progress(Progress{done, j.w.totals.puts, j.s.Bytes})
	}
	return nil
}

func (j *job) put(e *format.Entry) error {
	j.s.Bytes += uint64(len(e.Key) + len(e.Value))
	return j.w.Put(e)
}

// collect copies the entries that a chain leads to.
func (j *job) collect(c *look.Chain) (found []look.Damage) {
	j.entries, j.arena = j.entries[:0], j.arena[:0]
	for _, s := range c.Slots {
		var e format.Entry
		target, err := j.pool.Direct(s.Pointer)
		if err == nil {
			err = j.pool.Entry(target, &j.buffer, &e)
		}
		if err == nil && index.KeyHash(e.Key) != s.Hash {
			err = look.Damage{Offset: s.At, Area: "index", Detail: fmt.Sprintf("slot has hash %016x, its entry %v is of key %.64q", s.Hash, target, e.Key)}
		}
		if err != nil {
			found = append(found, look.AsDamage(err, s.At, "index"))
			continue
		}
		if e.Op != format.OpPut { // a replicated key that is deleted
			continue
		}
		keyAt := len(j.arena)
		j.arena = append(append(j.arena, e.Key...), e.Value...)
		valueAt := keyAt + len(e.Key)
		j.entries = append(j.entries, chainEntry{e, [2]int{keyAt, valueAt}, [2]int{valueAt, len(j.arena)}})
	}
	return found
}

// writeOverlay writes the keys whose newest entry was not merged.
func (j *job) writeOverlay() error {
	for _, u := range j.overlay {
		if u.pointer.Nil() {
			continue
		}
		var e format.Entry
		if err := j.pool.Entry(u.pointer, &j.buffer, &e); err != nil {
			return err // it was sound a moment ago, and nobody writes
		}
		if err := j.put(&e); err != nil {
			return err
		}
	}
	return nil
}
