package engine

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Options configure an Engine; zero fields mean their defaults.
type Options struct {
	Cache    dac.Options
	Appender remote.AppenderOptions
	// Lattice bounds payloads and picks the LWW mode.
	Lattice lattice.Options
	// WriteWait is how long a batch's writes wait for the pool to merge, when the thread has as many unmerged segments as it
	// may, or a full pool for what it keeps for deletes; after it this one and those behind it are refused as OVERLOADED.
	// Default 1 s: a merge worker frees a segment in some tens of ms. Longer holds up the thread's reads, shorter turns a
	// burst into errors.
	WriteWait time.Duration
	// ReadBytes bounds, roughly, the values that one batch holds in memory. Default 32 MiB. Gets past it are refused as
	// OVERLOADED.
	ReadBytes int
	// ProgressEvery is how often a busy thread asks how far its log is merged. Default 50 ms.
	ProgressEvery time.Duration
	Clock         clock.Clock
	// Waits is called before a batch pauses for the pool, so that answers that are ready can leave. Default: nothing.
	Waits func()
	// Changed is called, from another goroutine, when the pool is there again or lost for good: the owner
	// then calls Poll. Default: nothing.
	Changed func()
	// Logf receives what no result tells: the pool gone and back, damaged entries. Default: nothing.
	Logf func(format string, args ...any)
}

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	o.Cache.EnsureDefaults()
	o.Appender.EnsureDefaults()
	o.Lattice = o.Lattice.EnsureDefaults()
	if o.WriteWait == 0 {
		o.WriteWait = time.Second
	}
	if o.ReadBytes == 0 {
		o.ReadBytes = 32 << 20
	}
	if o.ProgressEvery == 0 {
		o.ProgressEvery = 50 * time.Millisecond
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Waits == nil {
		o.Waits = func() {}
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
}

// Validate says which option is out of range.
func (o *Options) Validate() error {
	if err := o.Cache.Validate(); err != nil {
		return fmt.Errorf("engine options: %w", err)
	}
	if err := o.Appender.Validate(); err != nil {
		return fmt.Errorf("engine options: %w", err)
	}
	if err := o.Lattice.Validate(); err != nil {
		return fmt.Errorf("engine options: %w", err)
	}
	switch {
	case o.WriteWait < 0 || o.ProgressEvery < 0:
		return fmt.Errorf("engine options: write wait %v, progress every %v: want positive durations", o.WriteWait, o.ProgressEvery)
	case o.ReadBytes < 1<<20:
		return fmt.Errorf("engine options: read bytes %d: want at least 1 MiB", o.ReadBytes)
	}
	return nil
}
