package remote

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// AppenderOptions are an Appender's limits and choices. Zero fields mean their defaults.
type AppenderOptions struct {
	// BatchBytes bounds a batch; an entry larger than it still goes alone. Default 1 MiB: enough for a
	// thousand 1 KiB entries, small enough that 64 threads' buffers do not matter. At most 8 MiB.
	BatchBytes int
	// BatchEntries bounds the entries of a batch. Default 4,096.
	BatchEntries int
	// Prealloc is how many segments are asked for ahead of need. Default 2: with one segment open and
	// one ready, a batch that fills a segment needs no round trip more. At most 16.
	Prealloc int
	// Compression is tried on values of at least CompressAbove bytes and kept when it saves space.
	// Default CompressNone.
	Compression Compression
	// CompressAbove is in bytes. Default 256: below it a codec's header eats what it saves.
	CompressAbove int
}

// EnsureDefaults fills zero fields.
func (o *AppenderOptions) EnsureDefaults() {
	defaultTo(&o.BatchBytes, 1<<20)
	defaultTo(&o.BatchEntries, 4096)
	defaultTo(&o.Prealloc, 2)
	defaultTo(&o.CompressAbove, 256)
}

// Validate says which option is out of range.
func (o *AppenderOptions) Validate() error {
	switch {
	case o.BatchBytes < 0 || o.BatchBytes > 8<<20:
		return fmt.Errorf("batch of %d bytes: want 1 to 8 MiB", o.BatchBytes)
	case o.BatchEntries < 0 || o.BatchEntries > 1<<20:
		return fmt.Errorf("batch of %d entries: want 1 to 1,048,576", o.BatchEntries)
	case o.Prealloc < 0 || o.Prealloc > 16:
		return fmt.Errorf("%d segments ahead: want 1 to 16", o.Prealloc)
	case o.CompressAbove < 0:
		return fmt.Errorf("compression above %d bytes: want at least 0", o.CompressAbove)
	case o.Compression > CompressZstd:
		return fmt.Errorf("compression %d: want none, s2 or zstd", o.Compression)
	}
	return nil
}

func defaultTo(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// Appender writes one thread's log. One goroutine owns it.
//
// Put and Delete collect a batch; Commit sends it as one round trip. After a Commit that returned nil
// or a Reconnect that did, Entries lists what was written until the next Put or Delete.
type Appender struct {
	o      AppenderOptions
	layout *format.Layout
	caller *caller
	codec  *compressor

	current   handle // the segment being written, when open
	open      bool
	used      uint64 // bytes of current that are posted or in the batch
	ready     []handle
	next      uint64 // sequence number of the next entry
	batch     batch
	collected bool // the batch is open: the next Put adds to it instead of beginning anew
	attached  bool
	// unresolved: a posted batch's fate is unknown.
	unresolved bool
	poolSays   poolSays
	unsettled  []uint64 // sequence numbers of replicated entries whose CAS is outstanding, ascending
	counters   AppendCounters
	table      func() uint64 // the index table that the thread's reader uses, 0 none
}

// poolSays is what the last reply told about this thread's log.
type poolSays struct {
	merged   uint64
	unmerged uint32
	limit    uint32
	epoch    uint64
}

// newAppender makes an appender that has yet to Reconnect.
func newAppender(layout *format.Layout, c *caller, table func() uint64, o AppenderOptions) (*Appender, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("appender options: %w", err)
	}
	codec, err := newCompressor(o.Compression, o.CompressAbove)
	if err != nil {
		return nil, err
	}
	return &Appender{o: o, layout: layout, caller: c, codec: codec, next: 1, table: table}, nil
}

// Put appends a put to the batch and returns the pointer that the entry will have. key and value are
// copied. On an error nothing was appended and what the batch held stays in it. flags may be 0 or
// format.FlagReplicated.
//
// Errors: ErrBatchFull, ErrTooLarge, ErrNoSpace, ErrBusy, ErrUnresolved, ErrNotAttached, and the
// fabric's when segments had to be asked for.
func (a *Appender) Put(key, value []byte, lattice uint8, flags format.Flags) (format.Pointer, error) {
	if len(value) > int(a.layout.MaxEntryBytes()) {
		return 0, ErrTooLarge
	}
	stored, codec := a.codec.compress(value)
	return a.append(&format.Entry{
		Op: format.OpPut, Lattice: lattice, Flags: flags&format.FlagReplicated | codec,
		RawLength: uint32(len(value)), Key: key, Value: stored,
	})
}

// Delete appends a delete to the batch. It works in a full pool. Otherwise as Put.
func (a *Appender) Delete(key []byte, flags format.Flags) (format.Pointer, error) {
	return a.append(&format.Entry{Op: format.OpDelete, Flags: flags & format.FlagReplicated, Key: key})
}

// beginBatch forgets the batch before.
func (a *Appender) beginBatch() { a.batch.begin(a.next, a.current, a.used, a.open) }

func (a *Appender) append(e *format.Entry) (format.Pointer, error) {
	size := e.Bytes()
	switch {
	case !a.attached:
		return 0, ErrNotAttached
	case a.unresolved:
		return 0, ErrUnresolved
	case len(e.Key) == 0 || len(e.Key) > format.MaxKeyBytes || size > a.layout.MaxEntryBytes():
		return 0, ErrTooLarge
	}
	if !a.collected {
		a.beginBatch()
		a.collected = true
	}
	if n := len(a.batch.buffer); n > 0 && (n+int(size) > a.o.BatchBytes || len(a.batch.entries) >= a.o.BatchEntries) {
		return 0, ErrBatchFull
	}
	if err := a.makeRoom(size, e.Op == format.OpDelete); err != nil {
		return 0, err
	}
	return a.place(e, size), nil
}

// place encodes e at the log's end, where makeRoom has made room.
func (a *Appender) place(e *format.Entry, size uint64) format.Pointer {
	e.Sequence, e.Generation = a.next, a.current.Generation
	address := a.current.base + a.used
	start := len(a.batch.buffer)
	a.layout.Salt.EncodeEntry(a.batch.reserve(address, size), e)
	a.used += size
	a.next++
	keyStart := start + format.EntryHeaderBytes
	pointer := format.PackPointer(address, size, a.current.Generation)
	a.batch.entries = append(a.batch.entries, Appended{
		Sequence: e.Sequence, Pointer: pointer, Op: e.Op, Flags: e.Flags,
		Key:   a.batch.buffer[keyStart : keyStart+len(e.Key) : keyStart+len(e.Key)],
		start: start, end: start + int(size),
	})
	return pointer
}

// makeRoom sees to it that current has size bytes left, in a segment where the entry may go.
func (a *Appender) makeRoom(size uint64, isDelete bool) error {
	if a.fits(size, isDelete) {
		return nil
	}
	if len(a.ready) == 0 {
		if err := a.alloc(!isDelete); err != nil {
			return err
		}
	}
	if a.open && a.used == 0 {
		// A segment out of the reserve that nothing was written to (its batch was abandoned). The pool has room
		// again, so it may as well be an ordinary one; an empty segment is never left behind, because
		// recovery takes it for the end of the log.
		a.current.deletesOnly = false
		return nil
	}
	a.current, a.open, a.used = a.ready[0], true, 0
	a.ready = append(a.ready[:0], a.ready[1:]...)
	a.batch.taken = append(a.batch.taken, a.current)
	a.counters.Switches++
	return nil
}

func (a *Appender) fits(size uint64, isDelete bool) bool {
	return a.open && a.used+size <= a.layout.SegmentBytes && (isDelete || !a.current.deletesOnly)
}

// alloc asks for segments. When the pool is full, and only deletes are waiting, it asks for one of the reserve.
func (a *Appender) alloc(forPuts bool) error {
	a.counters.Waits++
	err := a.request(uint32(a.o.Prealloc), false)
	if !forPuts && (errors.Is(err, ErrNoSpace) || errors.Is(err, ErrBusy)) {
		err = a.allocForDeletes()
	}
	if err == nil && len(a.ready) == 0 {
		return fmt.Errorf("ALLOC: %w: no segment in it", call.ErrMalformed)
	}
	return err
}

// allocForDeletes asks for a segment of a full pool's reserve, which has one for each thread. A thread that has filled its own
// gives that back first: nothing in it is live, so that it comes back once it is merged.
func (a *Appender) allocForDeletes() error {
	if a.open && a.current.deletesOnly {
		if !a.batch.empty() {
			return fmt.Errorf("%w: the pool is full, and takes what was deleted before it has room for more", ErrBatchFull)
		}
		if err := a.giveBack(); err != nil {
			return err
		}
		a.beginBatch()
	}
	return a.request(1, true)
}

func (a *Appender) request(count uint32, deletesOnly bool) error {
	r := call.Request{Op: call.Alloc, Count: count, DeletesOnly: deletesOnly, Table: a.table(), Settled: a.settled()}
	reply, err := a.caller.do(&r)
	if reply != nil && (err == nil || reply.Status == call.NoSpace || reply.Status == call.Busy) {
		a.learn(reply)
	}
	if err != nil {
		return err
	}
	for _, s := range reply.Segments {
		if s.ID >= a.layout.Segments {
			return fmt.Errorf("ALLOC: %w: segment %d of %d", call.ErrMalformed, s.ID, a.layout.Segments)
		}
		base := a.layout.SegmentOffset(format.SegmentID(s.ID))
		a.ready = append(a.ready, handle{Segment: s, base: base, deletesOnly: deletesOnly})
	}
	return nil
}

// learn takes what every reply about the thread's log says.
func (a *Appender) learn(r *call.Reply) {
	a.poolSays.merged = max(a.poolSays.merged, r.Merged)
	a.poolSays.unmerged = r.Unmerged
}

// Len is the number of entries in the open batch.
func (a *Appender) Len() int {
	if !a.collected {
		return 0
	}
	return len(a.batch.entries)
}

// Commit makes the batch durable in one round trip; extra verbs (READs of pointer words, say) ride
// along behind it, and their results are in Extra. An empty batch with no extra costs nothing.
//
// Any error means that the outcome is not known: entries may or may not be in the log. Nothing more
// can be written until Reconnect has settled it.
func (a *Appender) Commit(extra ...fabric.Verb) error {
	switch {
	case !a.attached:
		return ErrNotAttached
	case a.unresolved:
		return ErrUnresolved
	case !a.collected && len(extra) == 0:
		return nil
	case !a.collected:
		a.beginBatch()
	}
	a.collected = false
	if a.batch.empty() && len(extra) == 0 {
		return nil
	}
	a.batch.posted = !a.batch.empty()
	verbs := a.batch.post(extra)
	if err := a.caller.qp.Post(verbs); err != nil {
		a.unresolved = a.batch.posted
		return fmt.Errorf("commit %d entries: %w", len(a.batch.entries), err)
	}
	a.committed()
	return nil
}

// committed counts a batch that is durable.
func (a *Appender) committed() {
	if a.batch.empty() {
		return
	}
	a.counters.Batches++
	a.counters.Entries += uint64(len(a.batch.entries))
	a.counters.Bytes += uint64(len(a.batch.buffer))
	for i := range a.batch.entries {
		if a.batch.entries[i].Flags.Replicated() {
			a.unsettled = append(a.unsettled, a.batch.entries[i].Sequence)
		}
	}
}

// Extra returns the verbs that rode along with the last Commit, with their results, until the next Put.
func (a *Appender) Extra() []fabric.Verb { return a.batch.verbs[2*len(a.batch.chunks):] }

// Entries lists the entries of the batch that Commit or Reconnect dealt with last (or, before that, of
// the open batch), in log order, until the next Put or Delete.
func (a *Appender) Entries() []Appended { return a.batch.entries }

// Abandon drops an open batch that Commit was not called for. It has no effect on one that was posted.
func (a *Appender) Abandon() {
	if !a.collected {
		return
	}
	b := &a.batch
	// The segments that the batch took are to be used in this order all the same: one that stayed empty before one
	// that did not would be the end of the log to recovery.
	a.ready = append(slices.Clone(b.taken), a.ready...)
	a.next, a.current, a.used, a.open = b.firstSequence, b.segment, b.used, b.open
	a.beginBatch()
	a.collected = false
}

// Maintain does what would otherwise cost a later batch a round trip: it asks for segments ahead when
// the current one is more than half full and none is ready. And it gives a segment of a full pool's reserve back, since there may be
// more threads with something to delete than the reserve has segments. Call it when the thread has nothing better to do. ErrNoSpace
// and ErrBusy are for the batch that will need the segment to report.
func (a *Appender) Maintain() error {
	var err error
	switch {
	case !a.attached || a.unresolved:
		return nil
	case a.HoldsReserve() && a.Len() == 0:
		err = a.Seal()
	case len(a.ready) > 0 || a.open && a.used <= a.layout.SegmentBytes/2:
		return nil
	default:
		err = a.request(uint32(a.o.Prealloc), false)
	}
	if errors.Is(err, ErrNoSpace) || errors.Is(err, ErrBusy) {
		return nil
	}
	return err
}

// HoldsReserve says whether one of the thread's segments is out of a full pool's reserve: Maintain gives it back.
func (a *Appender) HoldsReserve() bool {
	return a.open && a.current.deletesOnly || slices.ContainsFunc(a.ready, func(h handle) bool { return h.deletesOnly })
}

// Progress asks the pool how far this thread's log is merged.
func (a *Appender) Progress() error {
	if !a.attached {
		return ErrNotAttached
	}
	r := call.Request{Op: call.Progress, Table: a.table(), Settled: a.settled()}
	reply, err := a.caller.do(&r)
	if err == nil {
		a.learn(reply)
	}
	return err
}

// Drain asks the pool to merge what this thread has written with sequence numbers below through (0: everything)
// and says whether that is done. The pool works on it for a moment only: ask again until it is.
func (a *Appender) Drain(through uint64) (done bool, err error) {
	if !a.attached {
		return false, ErrNotAttached
	}
	if a.unresolved {
		return false, ErrUnresolved
	}
	if through == 0 {
		through = a.next
	}
	r := call.Request{Op: call.Drain, Settled: a.settled(), Through: through}
	reply, err := a.caller.do(&r)
	if err != nil {
		return false, err
	}
	a.learn(reply)
	return reply.Done, nil
}

// Seal gives the thread's segments back to the pool: what was written is merged and nothing more will
// be written to them. The next Put asks for new ones. The batch must be committed or abandoned.
func (a *Appender) Seal() error {
	switch {
	case !a.attached:
		return ErrNotAttached
	case a.unresolved:
		return ErrUnresolved
	case a.collected && !a.batch.empty():
		return fmt.Errorf("SEAL: %w", ErrBatchFull)
	}
	if err := a.giveBack(); err != nil {
		return err
	}
	a.collected = false
	return nil
}

// giveBack has the thread's segments merged and sealed. REQUIRES: nothing is written to them that was not committed.
func (a *Appender) giveBack() error {
	reply, err := a.caller.do(&call.Request{Op: call.Seal})
	if err != nil {
		return err
	}
	a.learn(reply)
	a.current, a.open, a.used, a.ready = handle{}, false, 0, a.ready[:0]
	return nil
}

// Next is the sequence number that the next entry gets.
func (a *Appender) Next() uint64 { return a.next }

// Merged is the sequence number below which every entry of this thread is in the index, as of the
// pool's last reply.
func (a *Appender) Merged() uint64 { return a.poolSays.merged }

// Unmerged returns how many of this thread's segments counted against its limit at the last reply, and the limit.
func (a *Appender) Unmerged() (segments, limit uint32) { return a.poolSays.unmerged, a.poolSays.limit }

// Unresolved says whether the outcome of a batch is unknown.
func (a *Appender) Unresolved() bool { return a.unresolved }
