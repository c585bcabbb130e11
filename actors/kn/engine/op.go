package engine

import (
	"bytes"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// opKind is what an operation does.
type opKind uint8

const (
	opGet opKind = iota
	opPut
	opDelete
)

// source is where a read found what it wanted.
type source uint8

const (
	fromNowhere  source = iota // not looked up yet, or not needed
	fromBatch                  // an earlier operation of the batch
	fromValue                  // a cached value
	fromUnmerged               // the table of unmerged entries
	fromShortcut               // a cached shortcut
	fromIndex                  // the index
)

// none is the index of no operation.
const none = -1

// state is what a key holds at some point of a batch.
type state struct {
	known  bool // the rest means something
	found  bool
	kind   lattice.Type
	value  []byte
	origin int // the operation of this batch that made it so, none if it is older than the batch
}

// op is one operation of a batch.
type op struct {
	kind    opKind
	lattice lattice.Type // of a put's payload
	hash    uint64
	key     []byte
	payload []byte
	cached  dac.Result // what the cache said; its Value is a copy

	earlier int        // the operation before with the same hash, or none
	shared  *sharedKey // set when the key has several owners
	source  source
	read    int   // its place among the batch's reads, or none
	after   state // what the key holds after it
	code    messages.AnnaError
	counted bool // by Probe

	// Of a write that was appended.
	appended bool
	sequence uint64
	pointer  format.Pointer
}

// Result is the outcome of an operation. Value is of a get, valid until the next Begin.
type Result struct {
	Code    messages.AnnaError
	Lattice lattice.Type
	Value   []byte
	// Written: what a get shows was written by the same batch.
	Written bool
}

// same returns the latest operation before o with the same key, or none.
func (e *Engine) same(o *op) int {
	i := o.earlier
	for i != none && !bytes.Equal(e.ops[i].key, o.key) {
		i = e.ops[i].earlier
	}
	return i
}

// add appends an empty operation to the batch and links it to those of the same hash.
func (e *Engine) add(kind opKind, key []byte, hash uint64) (*op, int) {
	i := len(e.ops)
	earlier, ok := e.touched[hash]
	if !ok {
		earlier = none
	}
	if kind != opGet || ok { // a get only matters to others where there is a chain already
		e.touched[hash] = i
	}
	e.ops = append(e.ops, op{kind: kind, key: key, hash: hash, earlier: earlier, read: none})
	o := &e.ops[i]
	if len(e.shared) > 0 {
		o.shared = e.shared[string(key)]
	}
	return o, i
}

// arena hands out copies that live until the next Begin.
type arena struct {
	block []byte
	taken int // bytes cloned since the reset
}

// arenaKeep is the largest block that is kept from batch to batch.
const arenaKeep = 4 << 20

func (a *arena) reset() {
	if cap(a.block) > arenaKeep {
		a.block = nil
	}
	a.block, a.taken = a.block[:0], 0
}

// clone copies b; the copy is not nil.
func (a *arena) clone(b []byte) []byte {
	a.taken += len(b)
	start := len(a.block)
	if start+len(b) > cap(a.block) { // earlier copies live on in the old block
		a.block, start = make([]byte, 0, max(64<<10, 2*cap(a.block), len(b))), 0
	}
	a.block = append(a.block, b...)
	return a.block[start:len(a.block):len(a.block)]
}
