package engine

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// A key with several owners (selective replication, Dinomo §4.4) has an indirect pointer in its index slot: the address
// of a word that leads to its newest entry. Every owner reads the word on every get, and answers from its cache if it still
// leads to what it has cached. A write goes to the writer's own log, with the word read in the same round trip, and
// takes effect when a CAS moves the word from what it was to the new entry; who loses the race looks again.
//
// The operations of a batch on one such key are a group. They take effect together, in their order, at the word's
// READ if none writes and at the CAS otherwise; only the last state of the key is written.

// sharedKey is what an engine knows of a key with several owners.
type sharedKey struct {
	key      []byte
	hash     uint64
	indirect format.Pointer // of its word, 0 while not known
	// seen is the entry that the word led to when this engine last knew, found and kind what kind of value that is.
	seen  format.Pointer
	found bool
	kind  lattice.Type
}

// group is a batch's operations on one shared key.
type group struct {
	s        *sharedKey
	ops      []int
	before   state          // what the key held, when known
	word     format.Pointer // what the word held when before was found out, or at the commit
	buffer   [format.WordBytes]byte
	final    state // to be written
	changed  bool  // there is something to write
	phase    groupPhase
	sequence uint64
	pointer  format.Pointer
}

// current says whether the word still leads to the entry that this engine saw there. A word that holds nothing has gone back to the
// pool, whose processor may be handing it out to another key with a plain store: no CAS may expect 0 there, whatever an engine thinks to
// own, and nothing follows from it about the key. The ownership protocol has every owner let go before a word goes back; this
// holds without it.
func (g *group) current() bool { return g.word != 0 && g.word == g.s.seen }

type groupPhase uint8

const (
	groupIdle      groupPhase = iota
	groupAppended             // in the log's open batch
	groupCommitted            // durable, not published
	groupOver                 // published, or given up
)

// maxRaces bounds how often a write looks again because another owner was faster.
const maxRaces = 64

// Share tells which keys have several owners, this thread among them, as of the installed map. What is known of keys
// that stay shared is kept.
func (e *Engine) Share(keys []HashedKey) {
	old := e.shared
	e.shared = make(map[string]*sharedKey, len(keys))
	for _, k := range keys {
		s := old[string(k.Key)]
		if s == nil {
			s = &sharedKey{key: bytes.Clone(k.Key), hash: k.Hash}
			e.cache.Invalidate(s.key, s.hash) // from before it was shared
		}
		e.shared[string(s.key)] = s
	}
	for name, s := range old {
		if e.shared[name] == nil {
			e.cache.Invalidate(s.key, s.hash) // others may have written since it was cached
		}
	}
}

// collect forms the groups of a batch.
func (e *Engine) collect() {
	if len(e.shared) == 0 {
		return
	}
	for i := range e.ops {
		s := e.ops[i].shared
		if s == nil || e.ops[i].code != messages.AnnaError_NO_ERROR {
			continue
		}
		g := e.groupOf(s)
		g.ops = append(g.ops, i)
	}
}

func (e *Engine) groupOf(s *sharedKey) *group {
	for i := range e.groups {
		if e.groups[i].s == s {
			return &e.groups[i]
		}
	}
	var ops []int
	if n := len(e.groups); n < cap(e.groups) {
		ops = e.groups[:n+1][n].ops[:0]
	}
	e.groups = append(e.groups, group{s: s, ops: ops})
	return &e.groups[len(e.groups)-1]
}

// needsState says whether a group has to know what its key holds: not if it begins with a write that replaces whatever
// is there.
func (e *Engine) needsState(g *group) bool {
	if g.s.indirect == 0 {
		return true
	}
	o := &e.ops[g.ops[0]]
	return o.kind == opGet || o.kind == opPut && (o.lattice != lattice.LWW || e.o.Lattice.Mode != lattice.Arrival)
}

// readShared finds out what the shared keys of the batch hold, as far as their groups need it: the words of all in one
// round trip, then the entries that are not cached.
func (e *Engine) readShared() {
	e.collect()
	if len(e.groups) == 0 || !e.link.up() {
		return
	}
	e.readWords()
	for i := range e.groups {
		if g := &e.groups[i]; e.link.up() && e.needsState(g) && !g.before.known {
			e.readEntry(g)
		}
	}
}

// readWords reads the words of the groups that need to know and answers from the cache where it holds what the word
// leads to.
func (e *Engine) readWords() {
	verbs := make([]fabric.Verb, 0, len(e.groups))
	for i := range e.groups {
		if g := &e.groups[i]; e.needsState(g) && g.s.indirect != 0 {
			if v, ok := e.wordVerb(g); ok {
				verbs = append(verbs, v)
			}
		}
	}
	if len(verbs) == 0 {
		return
	}
	if err := e.link.thread.QP().Post(verbs); err != nil {
		e.failed(err)
		return
	}
	for i := range e.groups {
		g := &e.groups[i]
		if !e.needsState(g) || g.s.indirect == 0 {
			continue
		}
		e.charge(g, 1, fromShortcut)
		g.word = format.Pointer(binary.LittleEndian.Uint64(g.buffer[:]))
		if !g.current() {
			continue
		}
		if !g.s.found {
			g.before = state{known: true, origin: none}
			continue
		}
		if r := e.cache.Lookup(g.s.key, g.s.hash); r.Kind == dac.Value && r.Shortcut == uint64(g.word) {
			g.before = state{known: true, found: true, kind: lattice.Type(r.Meta), value: e.arena.clone(r.Value), origin: none}
		}
	}
}

// wordVerb makes the READ of a group's word; ok is false when the indirect pointer makes no sense any more.
func (e *Engine) wordVerb(g *group) (fabric.Verb, bool) {
	v, err := e.link.thread.ReadPointerWord(g.s.indirect, g.buffer[:])
	if err != nil {
		g.s.indirect = 0
		return v, false
	}
	return v, true
}

// charge counts a group's round trips: gets count those they took part in, writes theirs once.
func (e *Engine) charge(g *group, trips int, from source) {
	writes := false
	for _, i := range g.ops {
		o := &e.ops[i]
		if o.kind != opGet {
			writes = true
			continue
		}
		o.source = from
		e.counters.RoundTripsRead += uint64(trips)
		if from == fromIndex {
			e.counters.RoundTripsMiss += uint64(trips)
		}
	}
	if writes {
		e.counters.RoundTripsWrite += uint64(trips)
	}
}

// readEntry reads the entry that a group's word leads to, or the way there from the index.
func (e *Engine) readEntry(g *group) {
	s := g.s
	from := s.indirect
	if g.word != 0 && !g.word.Indirect() {
		from = g.word
	}
	got, err := e.link.thread.Get(s.hash, s.key, from)
	e.charge(g, got.RoundTrips, fromIndex)
	if err != nil && !errors.Is(err, remote.ErrNotFound) {
		e.fail(g, e.failed(err))
		return
	}
	if got.Indirect != 0 {
		s.indirect, g.word = got.Indirect, got.Pointer
	} else if !got.Shortcut { // found through the index, which has no indirect pointer for it
		e.o.Logf("key %q has several owners but no indirect pointer yet", s.key)
		e.fail(g, messages.AnnaError_OVERLOADED)
		return
	}
	g.before = state{known: true, origin: none}
	s.seen, s.found = g.word, err == nil
	if err == nil {
		s.kind = lattice.Type(got.Lattice)
		g.before.found, g.before.kind, g.before.value = true, s.kind, e.arena.clone(got.Value)
		e.cache.Update(s.key, s.hash, got.Value, uint32(got.Lattice), uint64(g.word))
	} else {
		e.cache.Invalidate(s.key, s.hash)
	}
	e.flushWord(s)
}

// flushWord makes a word durable before its new value is shown to anybody, in the modes in which another owner's CAS
// may be seen before it is durable.
func (e *Engine) flushWord(s *sharedKey) {
	switch e.link.thread.QP().Session().Durability {
	case pmem.Fsync, pmem.DAX:
		if err := e.link.thread.FlushPointer(s.indirect); err != nil {
			e.failed(err)
		}
	}
}

// fail ends a group with an error for all its operations.
func (e *Engine) fail(g *group, code messages.AnnaError) {
	for _, i := range g.ops {
		e.ops[i].code = code
	}
	g.phase = groupOver
}

// compute lets a group's operations take effect, in order, on what the key holds.
func (e *Engine) compute(g *group) {
	now := g.before
	g.changed = false
	for _, i := range g.ops {
		o := &e.ops[i]
		o.code = messages.AnnaError_NO_ERROR
		if o.kind != opGet {
			if after, changed := e.next(i, now); changed {
				now, g.changed = after, true
			}
		}
		if o.after = now; o.kind == opGet && now.origin != none {
			o.source = fromBatch
		}
	}
	g.final = now
}

// appendShared computes the groups and appends what they write.
func (e *Engine) appendShared() {
	for i := range e.groups {
		g := &e.groups[i]
		switch {
		case g.phase == groupOver:
		case !e.link.up() || e.needsState(g) && !g.before.known:
			e.fail(g, messages.AnnaError_TIMEOUT)
		default:
			e.compute(g)
			e.appendGroup(g)
		}
	}
}

// appendGroup appends a group's final state to the log.
func (e *Engine) appendGroup(g *group) {
	if !g.changed {
		g.phase = groupOver
		return
	}
	var code messages.AnnaError
	if g.sequence, g.pointer, code = e.appendEntry(g.s.key, g.final, format.FlagReplicated); code != messages.AnnaError_NO_ERROR {
		e.failWrites(g, code)
		return
	}
	g.phase = groupAppended
}

// failWrites ends a group whose writes did not take effect. Gets before them stand, gets behind them share their fate.
func (e *Engine) failWrites(g *group, code messages.AnnaError) {
	for _, i := range g.ops {
		if o := &e.ops[i]; o.kind != opGet && o.code == messages.AnnaError_NO_ERROR || o.kind == opGet && o.after.origin != none {
			o.code = code
		}
	}
	g.phase = groupOver
}

// sharedOpen says whether a group's write waits for the commit.
func (e *Engine) sharedOpen() bool {
	for i := range e.groups {
		if e.groups[i].phase == groupAppended {
			return true
		}
	}
	return false
}

// sharedWords are the READs of the words that are about to be moved; they ride along with the commit.
func (e *Engine) sharedWords() []fabric.Verb {
	var verbs []fabric.Verb
	for i := range e.groups {
		if g := &e.groups[i]; g.phase == groupAppended {
			if v, ok := e.wordVerb(g); ok {
				verbs = append(verbs, v)
			}
		}
	}
	return verbs
}

func (e *Engine) sharedCommitted() {
	for i := range e.groups {
		if g := &e.groups[i]; g.phase == groupAppended {
			g.phase, g.word = groupCommitted, format.Pointer(binary.LittleEndian.Uint64(g.buffer[:]))
		}
	}
}

// moveShared publishes what the groups have written, each with one CAS if nobody is faster.
func (e *Engine) moveShared() {
	kept := false
	for i := range e.groups {
		for races := 0; e.groups[i].phase == groupCommitted; races++ {
			if !e.link.up() {
				e.lostGroup(&e.groups[i])
				break
			}
			if races > 0 && !kept {
				e.keepValues() // what follows may read
				kept = true
			}
			e.move(&e.groups[i], races)
		}
	}
}

// move tries once to publish a committed group. Its word is what it was at the commit, or at the last try.
func (e *Engine) move(g *group, races int) {
	s := g.s
	if races > maxRaces {
		e.link.thread.Settle(g.sequence)
		e.failWrites(g, messages.AnnaError_OVERLOADED)
		return
	}
	if !g.current() { // another owner wrote since: its value, or at least its type, counts
		e.keepValues()
		g.before = state{}
		e.readEntry(g)
		if g.phase == groupOver || !e.link.up() {
			e.lostGroup(g)
			return
		}
	}
	if !g.before.known {
		g.before = state{known: true, found: s.found, kind: s.kind, origin: none}
	}
	was := g.final
	e.compute(g)
	if !g.changed {
		e.link.thread.Settle(g.sequence)
		g.phase = groupOver
		return
	}
	if g.final.found != was.found || g.final.kind != was.kind || !bytes.Equal(g.final.value, was.value) {
		e.link.thread.Settle(g.sequence)
		g.phase = groupIdle
		e.appendGroup(g)
		e.commit()
		return // the commit read the word again
	}
	e.counters.RoundTripsWrite++
	before, err := e.link.thread.CASPointer(s.indirect, g.word, g.pointer)
	switch {
	case err != nil:
		e.failed(err)
		e.lostGroup(g)
	case before != g.word:
		g.word = before
	default:
		e.published(g)
	}
}

// published notes that a group's write has taken effect.
func (e *Engine) published(g *group) {
	s := g.s
	e.link.thread.Settle(g.sequence)
	g.phase = groupOver
	s.seen, s.found, s.kind = g.pointer, g.final.found, g.final.kind
	if s.found {
		e.cache.Update(s.key, s.hash, g.final.value, uint32(s.kind), uint64(g.pointer))
	} else {
		e.cache.Invalidate(s.key, s.hash)
	}
}

// lostGroup ends a group whose publication is unknown, mostly because the pool went away. The entry is settled once it is
// back: it has had its CAS or never will.
func (e *Engine) lostGroup(g *group) {
	e.failWrites(g, messages.AnnaError_TIMEOUT)
	g.s.seen = 0
	if e.link.up() {
		e.link.thread.Settle(g.sequence)
	} else {
		e.link.unsettled = append(e.link.unsettled, g.sequence)
	}
}
