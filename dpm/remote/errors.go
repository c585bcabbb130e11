package remote

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Errors of this package. Those of dpm/fabric pass through wrapped.
var (
	// ErrNotFound: the index has no such key, or the key is deleted.
	ErrNotFound = errors.New("key is not in the pool")
	// ErrStale: the entry behind the pointer is not the one asked for any more; look it up again.
	ErrStale = errors.New("pointer is stale")
	// ErrNoSpace: the pool has no room for puts. Deletes and reads still work.
	ErrNoSpace = errors.New("pool is full; delete something or add memory")
	// ErrBusy: the thread has as many unmerged segments as it may, or the pool is still settling an earlier
	// incarnation's log. Try again soon.
	ErrBusy = errors.New("pool is busy merging; try again")
	// ErrBatchFull: the entry does not fit the batch any more. Commit, then append it.
	ErrBatchFull = errors.New("batch is full; commit first")
	// ErrTooLarge: the entry can never fit a segment, or a key, name or record is above its limit.
	ErrTooLarge = errors.New("entry is too large for the pool")
	// ErrUnresolved: the outcome of an earlier Commit is unknown; Reconnect settles it.
	ErrUnresolved = errors.New("outcome of the last batch is unknown; reconnect first")
	// ErrNotAttached: Reconnect has not succeeded yet.
	ErrNotAttached = errors.New("thread is not attached to the pool")
	// ErrLogLost: the pool's log ends before what it had acknowledged, or knows this thread no more.
	ErrLogLost = errors.New("pool does not hold what it acknowledged")
	// ErrConflict: the metadata record has another version than expected.
	ErrConflict = errors.New("record was changed by somebody else")
	// ErrNoRecord: there is no metadata record of that name.
	ErrNoRecord = errors.New("no such metadata record")
	// ErrFailed: the DPM could not do it and said why.
	ErrFailed = errors.New("pool refused")
	// ErrRetries: the index kept changing under a lookup, more often than it is worth following.
	ErrRetries = errors.New("lookup did not settle")
)

// statusErrors maps what a call answers to what callers test for.
var statusErrors = map[call.Status]error{
	call.NoSpace: ErrNoSpace, call.Busy: ErrBusy, call.NotFound: ErrNotFound, call.Conflict: ErrConflict,
	call.TooLarge: ErrTooLarge, call.Malformed: call.ErrMalformed, call.Fenced: fabric.ErrFenced, call.Failed: ErrFailed,
	call.Damaged: format.ErrDamaged,
}

// statusError turns a reply that is not OK into an error.
func statusError(r *call.Reply) error {
	sentinel := statusErrors[r.Status]
	if sentinel == nil {
		sentinel = ErrFailed
	}
	if r.Text == "" {
		return fmt.Errorf("%s: %w", r.Op, sentinel)
	}
	return &poolError{r.Op.String() + ": " + r.Text, sentinel}
}

// poolError shows what the pool said and is the sentinel that goes with it.
type poolError struct {
	text     string
	sentinel error
}

func (e *poolError) Error() string { return e.text }
func (e *poolError) Unwrap() error { return e.sentinel }
