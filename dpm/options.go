package dpm

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Options say which pool to open and how. Zero fields mean their defaults.
type Options struct {
	// Path of the pool file; not used by pmem.Volatile.
	Path string
	// Bytes is about how large to make a pool that does not exist yet: as many whole segments as
	// fit. Default 1 GiB. Ignored when Shape.Segments is set, and for an existing pool.
	Bytes uint64
	// Shape are the pool's other proportions when it is created.
	Shape format.Shape
	// Durability is the mode to open the pool in. Default pmem.Process.
	Durability pmem.Durability
	// Sparse leaves the disk space of a new pool to be found as it fills; see pmem.Options.
	Sparse bool
	// MustExist refuses to create a pool.
	MustExist bool

	// Workers is how many goroutines merge. Default 2; one more takes space back. Negative: none, and
	// who opened the pool calls Step.
	Workers int
	// MergeBatchBytes bounds the log bytes merged between two fences. Default 1 MiB: large enough that
	// three fences are little beside it, small enough that a thread's progress is seen soon.
	MergeBatchBytes int
	// UnmergedSegments bounds the segments that a KN thread holds unmerged, open and ready ones included;
	// past it, its puts wait. Default 6: one open, two ahead, three behind.
	UnmergedSegments int
	// ReserveSegments are kept from puts, for compaction, the index's growth and deletes. Default
	// one in 32, at least 4 and at most 64; at least 3. Where more threads are attached than it has segments for their
	// deletes, more are kept, up to a quarter of the pool; threads that come later take turns.
	ReserveSegments int
	// SpaceFactor is how much of the pool may be in use, in terms of the live bytes, before mostly dead
	// segments are compacted although there is room. Default 1.4; 1.05 to 16. Lower compacts more often.
	SpaceFactor float64

	// LeaseLength is what KNs are told. Default 1 s.
	LeaseLength time.Duration
	// LeaseMargin is added when the DPM itself has to wait a lease out: for clocks that run at
	// different rates. Default a tenth of LeaseLength.
	LeaseMargin time.Duration

	// AcceptDamage opens a pool whose unmerged log has damaged entries in its middle: they are reported
	// and skipped. Without it such a pool is refused.
	AcceptDamage bool

	Clock  clock.Clock
	Events EventListener
	// Simulation replaces the machine. Default: the real one.
	Simulation *Simulation

	private struct {
		region     pmem.Region // opens this instead of a file
		alive      func(pid uint32, start uint64) bool
		entropy    io.Reader
		pollAtMost time.Duration
		// indexMaxOverflow is index.Options.MaxOverflow.
		indexMaxOverflow float64
		// sync is pmem.Options.Sync.
		sync func(fdatasync func() error) error
		// named is called where the file of a new pool gets its name, which a region without a file knows nothing of.
		named func()
	}
}

// Simulation is what stands for the machine in a simulation of a whole cluster. The pool opens Region, which is all zeros when it
// is new, and does not close it.
type Simulation struct {
	Region pmem.Region
	// Alive says whether the process of that number and start runs.
	Alive func(pid uint32, start uint64) bool
	// Entropy is where a new pool's identity comes from.
	Entropy io.Reader
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	o.private.entropy = rand.Reader
	if s := o.Simulation; s != nil {
		o.private.region, o.private.alive, o.private.entropy = s.Region, s.Alive, s.Entropy
	}
	o.Shape.EnsureDefaults()
	if o.Bytes == 0 {
		o.Bytes = 1 << 30
	}
	if o.Durability == 0 {
		o.Durability = pmem.Process
	}
	if o.Workers == 0 {
		o.Workers = 2
	}
	if o.MergeBatchBytes == 0 {
		o.MergeBatchBytes = 1 << 20
	}
	if o.UnmergedSegments == 0 {
		o.UnmergedSegments = 6
	}
	if o.SpaceFactor == 0 {
		o.SpaceFactor = 1.4
	}
	if o.LeaseLength == 0 {
		o.LeaseLength = time.Second
	}
	if o.LeaseMargin == 0 {
		o.LeaseMargin = o.LeaseLength / 10
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.private.alive == nil {
		o.private.alive = processAlive
	}
	if o.private.pollAtMost == 0 {
		o.private.pollAtMost = 5 * time.Millisecond
	}
	o.Events.EnsureDefaults()
}

// Validate says which option is out of range.
func (o *Options) Validate() error {
	switch {
	case o.Path == "" && o.Durability != pmem.Volatile && o.private.region == nil:
		return fmt.Errorf("pool options: no path for a pool of durability %v", o.Durability)
	case o.Workers > 64:
		return fmt.Errorf("pool options: %d merge workers, want at most 64", o.Workers)
	case o.MergeBatchBytes < 4096 || o.MergeBatchBytes > 64<<20:
		return fmt.Errorf("pool options: merge batches of %d bytes, want 4 KiB to 64 MiB", o.MergeBatchBytes)
	case o.UnmergedSegments < 2 || o.UnmergedSegments > 1024:
		return fmt.Errorf("pool options: %d unmerged segments a thread, want 2 to 1024", o.UnmergedSegments)
	case o.ReserveSegments != 0 && o.ReserveSegments < 3:
		return fmt.Errorf("pool options: %d reserve segments, want at least 3", o.ReserveSegments)
	case o.SpaceFactor < 1.05 || o.SpaceFactor > 16:
		return fmt.Errorf("pool options: space factor %v, want 1.05 to 16", o.SpaceFactor)
	case o.LeaseLength < 10*time.Millisecond || o.LeaseLength > time.Hour:
		return fmt.Errorf("pool options: lease length %v, want 10ms to 1h", o.LeaseLength)
	case o.LeaseMargin < 0:
		return fmt.Errorf("pool options: lease margin %v is negative", o.LeaseMargin)
	}
	return nil
}

// reserve returns how many of a pool's segments are kept from puts.
func (o *Options) reserve(segments uint32) int {
	if o.ReserveSegments != 0 {
		return o.ReserveSegments
	}
	return min(max(int(segments)/32, 4), 64)
}
