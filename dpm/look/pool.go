package look

import (
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Options say which pool to look at. Path is required.
type Options struct {
	// Path of the pool file; a volatile pool's is /proc/PID/fd/N of its DPM.
	Path  string
	Clock clock.Clock
	// Pause is how long a look waits before it reads again what seemed damaged; the n-th pause is n times as long.
	// Default 2 ms: some thousand times what a store takes to become visible.
	Pause time.Duration
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Pause == 0 {
		o.Pause = 2 * time.Millisecond
	}
}

// Pool is a pool that is looked at. One goroutine uses it.
type Pool struct {
	o          Options
	region     *pmem.File
	superblock format.Superblock
	layout     *format.Layout
	held       bool
}

// Open maps the file read-only and checks its superblock. It fails with the errors of pmem.Open and
// format.DecodeSuperblock: fs.ErrNotExist, format.ErrForeign, ErrVersion, ErrSuperblock, ErrTruncated.
func Open(o Options) (*Pool, error) {
	o.EnsureDefaults()
	region, err := pmem.Open(pmem.Options{Path: o.Path, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	p := &Pool{o: o, region: region}
	head := make([]byte, min(region.Bytes(), format.SuperblockBytes))
	region.Read(0, head)
	if p.superblock, err = format.DecodeSuperblock(head, region.Bytes()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", o.Path, err), region.Close())
	}
	p.layout = &p.superblock.Layout
	return p, nil
}

// Close gives the mapping back, and the hold.
func (p *Pool) Close() error { return p.region.Close() }

// Path returns the file's name.
func (p *Pool) Path() string { return p.o.Path }

// Superblock returns what the pool's first page says.
func (p *Pool) Superblock() *format.Superblock { return &p.superblock }

// Layout says where everything lies.
func (p *Pool) Layout() *format.Layout { return p.layout }

// Volatile says whether the pool lives in the memory of a running process: then it is always live.
func (p *Pool) Volatile() bool { return pmem.Durability(p.superblock.Durability) == pmem.Volatile }

// Holder names the process that has the pool open, "" when none is known of.
func (p *Pool) Holder() string {
	if p.Volatile() {
		return "the process whose memory it is"
	}
	return p.region.Holder()
}

// Hold keeps the DPM from opening the pool until Close, so that it stands still. It fails with pmem.ErrLocked
// while the DPM has it open.
func (p *Pool) Hold() error {
	if p.Volatile() {
		return fmt.Errorf("%w by %s", pmem.ErrLocked, p.Holder())
	}
	if err := p.region.Hold(); err != nil {
		return err
	}
	p.held = true
	return nil
}

// Held says whether Hold succeeded.
func (p *Pool) Held() bool { return p.held }

// Read copies pool bytes. The range must lie in the pool.
func (p *Pool) Read(offset uint64, dst []byte) { p.region.Read(offset, dst) }

// Word reads one aligned word.
func (p *Pool) Word(offset uint64) uint64 { return p.region.Load64(offset) }

// pause waits before the n-th repetition of a look.
func (p *Pool) pause(n int) {
	if !p.held {
		p.o.Clock.Sleep(time.Duration(n) * p.o.Pause)
	}
}

// Damage is stored bytes that are not what was written.
type Damage struct {
	Offset uint64 `json:"offset"` // in the pool
	Area   string `json:"area"`   // "index", "log", "metadata", ...
	Detail string `json:"detail"`
}

// String shows the damage with its address.
func (d Damage) String() string { return fmt.Sprintf("%s at %#x: %s", d.Area, d.Offset, d.Detail) }

// Error makes a Damage an error that wraps format.ErrDamaged.
func (d Damage) Error() string { return d.String() }

// Unwrap makes errors.Is(d, format.ErrDamaged) true.
func (d Damage) Unwrap() error { return format.ErrDamaged }
