package remote

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// Reader finds and reads entries over one thread's queue pair. One goroutine owns it.
//
// Reads are run together: Run takes any number of Gets and advances all of them by one step a round
// trip, so that n misses cost two round trips, not 2n.
type Reader struct {
	layout *format.Layout
	caller *caller
	table  *index.Table // nil: not fetched yet
	number uint64       // of the table
	unpack decompressor

	verbs  []fabric.Verb
	owners []int32 // for each verb, which Get it serves
	arena  arena
	one    [1]Get

	counters ReadCounters
}

// Get is one read. Fill in Hash and Key, and Pointer when it is known where the entry lies; the rest
// is Run's.
type Get struct {
	Hash uint64 // the key's index hash
	Key  []byte
	// Pointer is a shortcut to try first, 0 to ask the index. After Run it is where the entry was
	// found: for a replicated key, where its word pointed.
	Pointer format.Pointer

	// Results. Value is valid until the Reader's next Run.
	Value    []byte
	Lattice  uint8
	Sequence uint64
	// Indirect is the replicated key's pointer word as the index has it, 0 for other keys.
	Indirect   format.Pointer
	RoundTrips int   // how many this read took part in
	Shortcut   bool  // the pointer given was good
	Err        error // nil, ErrNotFound, or why not

	state   getState
	probe   index.Probe // of the bucket read last; Count candidates are not tried yet
	chain   int         // buckets read
	foreign uint64      // a hash word in one of them that belongs elsewhere, 0 when there was none
	fetches uint8       // times the search began anew
	unsound uint64      // what the index led to last that was not sound: a pointer, or an address in the index
	times   uint8       // in a row
	address uint64
	buffer  []byte
}

type getState uint8

const (
	getDone getState = iota
	getBucket
	getOverflow
	getWord
	getEntry
)

// Limits of one search.
const (
	maxFetches  = 16      // times a search begins anew before it gives up
	believe     = 4       // times that the same thing must be unsound to be damaged
	maxPostData = 8 << 20 // payload of one Post; what is above waits for the next
)

func newReader(layout *format.Layout, c *caller) *Reader {
	return &Reader{layout: layout, caller: c}
}

// Get reads one key. It is Run for a single Get.
func (r *Reader) Get(hash uint64, key []byte, shortcut format.Pointer) (*Get, error) {
	g := &r.one[0]
	g.Hash, g.Key, g.Pointer = hash, key, shortcut
	r.Run(r.one[:])
	return g, g.Err
}

// Run performs all gets. Errors are in each Get's Err: ErrNotFound; format.ErrDamaged when what the
// index leads to is not sound; ErrRetries; or the fabric's, after which Broken says whether the queue pair lives.
func (r *Reader) Run(gets []Get) {
	r.arena.reset()
	open := 0
	for i := range gets {
		open += r.start(&gets[i])
	}
	for open > 0 {
		if err := r.step(gets); err != nil {
			for i := range gets {
				if gets[i].state != getDone {
					gets[i].finish(err)
				}
			}
			return
		}
		open = 0
		for i := range gets {
			if gets[i].state != getDone {
				open++
			}
		}
	}
}

// start resets the results of g and returns 1 when there is something to do.
func (r *Reader) start(g *Get) int {
	pointer := g.Pointer
	*g = Get{Hash: g.Hash, Key: g.Key, Pointer: pointer, state: getBucket}
	switch {
	case len(g.Key) == 0:
		g.finish(ErrNotFound)
		return 0
	case pointer.Indirect():
		g.Indirect, g.state, g.Shortcut = pointer, getWord, true
	case !pointer.Nil():
		g.state, g.Shortcut = getEntry, true
	}
	return 1
}

func (g *Get) finish(err error) { g.Err, g.state = err, getDone }

// again begins the search anew at the index, or gives up.
func (g *Get) again(why error) {
	g.state, g.Pointer, g.Indirect, g.Shortcut = getBucket, 0, 0, false
	if g.fetches++; g.fetches > maxFetches {
		g.finish(fmt.Errorf("%w after %d tries: %w", ErrRetries, maxFetches, why))
	}
}

// doubt deals with something unsound that the index leads to. A reader may see such a thing in passing, because slots,
// segments and buckets change hands between two of its READs. When search after search leads to the same, it was there in between,
// and is damaged.
func (g *Get) doubt(unsound uint64, err error) {
	if g.unsound != unsound {
		g.unsound, g.times = unsound, 0
	}
	if g.times++; g.times >= believe {
		g.finish(err)
		return
	}
	g.again(err)
}

// step posts one verb for each unfinished get that fits, and digests what came.
func (r *Reader) step(gets []Get) error {
	if r.table == nil {
		if err := r.FetchRoot(); err != nil {
			return err
		}
	}
	r.verbs, r.owners = r.verbs[:0], r.owners[:0]
	data := 0
	for i := range gets {
		g := &gets[i]
		if g.state == getDone {
			continue
		}
		v, ok := r.verb(g)
		if !ok {
			continue
		}
		if len(r.verbs) > 0 && (data+len(v.Buffer) > maxPostData || len(r.verbs) == fabric.MaxBatch) {
			break
		}
		data += len(v.Buffer)
		r.verbs, r.owners = append(r.verbs, v), append(r.owners, int32(i))
	}
	if len(r.verbs) == 0 {
		return nil
	}
	if err := r.post(); err != nil {
		return err
	}
	stale := false
	for _, i := range r.owners {
		g := &gets[i]
		g.RoundTrips++
		stale = r.digest(g) || stale
	}
	if stale {
		return r.FetchRoot()
	}
	return nil
}

func (r *Reader) post() error {
	r.counters.Posts++
	if r.caller.qp == nil {
		return ErrNotAttached
	}
	if err := r.caller.qp.Post(r.verbs); err != nil {
		return fmt.Errorf("read %d ranges: %w", len(r.verbs), err)
	}
	return nil
}

// verb makes the READ that g's state wants. ok is false when g got finished or moved on instead.
func (r *Reader) verb(g *Get) (v fabric.Verb, ok bool) {
	length := uint64(format.BucketBytes)
	switch g.state {
	case getBucket:
		g.address, g.chain, g.foreign = r.table.BucketOf(g.Hash), 0, 0
		r.counters.BucketReads++
	case getOverflow:
		g.address = g.probe.Next
		r.counters.OverflowReads++
	case getWord:
		i, known := r.layout.IndirectOf(g.Indirect)
		if !known {
			g.lost(g.Indirect, fmt.Errorf("indirect pointer %v of key %q is %w", g.Indirect, g.Key, format.ErrDamaged))
			return v, false
		}
		g.address, length = r.layout.IndirectOffsetOf(i), format.WordBytes
		r.counters.WordReads++
	case getEntry:
		var known bool
		if g.address, length, known = r.layout.EntryRange(g.Pointer); !known {
			g.lost(g.Pointer, fmt.Errorf("pointer %v of key %q is %w", g.Pointer, g.Key, format.ErrDamaged))
			return v, false
		}
		r.counters.EntryReads++
	}
	g.buffer = r.arena.take(int(length))
	return fabric.Verb{Kind: fabric.Read, Address: g.address, Buffer: g.buffer}, true
}

// lost deals with a pointer that leads nowhere, or to something unsound: a shortcut is forgotten, the index's own is doubted.
func (g *Get) lost(p format.Pointer, err error) {
	if g.Shortcut {
		g.again(err)
		return
	}
	g.doubt(uint64(p), err)
}

// digest takes the bytes that g's READ brought and says whether the root is out of date.
func (r *Reader) digest(g *Get) (staleRoot bool) {
	switch g.state {
	case getBucket, getOverflow:
		return r.digestBucket(g)
	case getWord:
		word := format.Pointer(leWord(g.buffer))
		if word.Nil() || word.Indirect() { // the word went back to the pool: the key is not replicated any more
			r.counters.StalePointers++
			g.again(fmt.Errorf("%w: word %v holds %v", ErrStale, g.Indirect, word))
			return false
		}
		g.Pointer, g.state = word, getEntry
	case getEntry:
		r.digestEntry(g)
	}
	return false
}

func (r *Reader) digestBucket(g *Get) (staleRoot bool) {
	if err := r.table.Probe((*[format.BucketBytes]byte)(g.buffer), g.address, g.Hash, &g.probe); err != nil {
		err = fmt.Errorf("bucket of key %q at %#x: %w", g.Key, g.address, err)
		if errors.Is(err, format.ErrDamaged) {
			g.doubt(g.address, err)
		} else {
			g.again(err)
		}
		return errors.Is(err, index.ErrMoved)
	}
	if g.chain++; g.chain > index.MaxChain {
		if g.fetches += maxFetches / 2; g.fetches > maxFetches { // twice is enough for so long a walk
			g.finish(fmt.Errorf("bucket chain of key %q: %w", g.Key, index.ErrChain))
			return false
		}
		g.again(index.ErrChain)
		return false
	}
	g.foreign = max(g.foreign, g.probe.Foreign)
	g.nextCandidate()
	return false
}

// nextCandidate goes on with the next slot of the same hash, then along the chain.
func (g *Get) nextCandidate() {
	switch {
	case g.probe.Count > 0: // from the last
		g.probe.Count--
		p := g.probe.Candidates[g.probe.Count]
		if p.Indirect() {
			g.Indirect, g.state = p, getWord
		} else {
			g.Indirect, g.Pointer, g.state = 0, p, getEntry
		}
	case g.probe.Next != 0:
		g.state = getOverflow
	case g.foreign != 0: // it may have been this key's
		g.doubt(g.foreign, fmt.Errorf("bucket chain of key %q: hash word at %#x is %w", g.Key, g.foreign, format.ErrDamaged))
	default:
		g.finish(ErrNotFound)
	}
}

func (r *Reader) digestEntry(g *Get) {
	var e format.Entry
	err := r.layout.Salt.CheckEntry(g.buffer, g.Pointer, g.Key, &e)
	switch {
	case err == nil:
		r.deliver(g, &e)
	case g.Shortcut || !errors.Is(err, format.ErrOtherEntry) || !g.Pointer.MadeFor(e.Bytes(), e.Generation):
		// The segment was given back and perhaps reused since the pointer was read.
		r.counters.StalePointers++
		g.lost(g.Pointer, fmt.Errorf("entry %v of key %q at %#x is %w: %w", g.Pointer, g.Key, g.address, format.ErrDamaged, err))
	case index.KeyHash(e.Key) != g.Hash:
		g.lost(g.Pointer, fmt.Errorf("index slot of key %q is %w: it leads to %v, which is another key's", g.Key, format.ErrDamaged, g.Pointer))
	default: // the very entry, but of another key with the same hash
		r.counters.OtherKeys++
		g.nextCandidate()
	}
}

// deliver finishes g with the entry that was asked for.
func (r *Reader) deliver(g *Get, e *format.Entry) {
	g.Lattice, g.Sequence, g.Value, g.state = e.Lattice, e.Sequence, e.Value, getDone
	if e.Op != format.OpPut {
		g.finish(ErrNotFound)
		return
	}
	if e.Flags.Codec() == format.CodecNone {
		return
	}
	if uint64(e.RawLength) > r.layout.MaxEntryBytes() {
		g.finish(fmt.Errorf("entry %v: %w: claims %d bytes", g.Pointer, ErrUndecodable, e.RawLength))
		return
	}
	raw, err := r.unpack.decompress(r.arena.take(int(e.RawLength)), e)
	if err != nil {
		g.finish(fmt.Errorf("entry %v: %w", g.Pointer, err))
		return
	}
	g.Value = raw
}
