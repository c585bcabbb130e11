package remote

import "encoding/binary"

// arena hands out byte ranges that live until reset. It keeps one block from Run to Run; when that is
// too small it is replaced, and ranges of the old one stay valid through the slices that hold them.
type arena struct {
	block []byte
	used  int
}

const (
	arenaStart = 64 << 10
	arenaKeep  = 4 << 20 // a larger block is given back at reset
)

func (a *arena) reset() {
	a.used = 0
	if len(a.block) > arenaKeep {
		a.block = nil
	}
}

// take returns n bytes, of undefined contents, 8-byte aligned within the block.
func (a *arena) take(n int) []byte {
	a.used = (a.used + 7) &^ 7
	if a.used+n > len(a.block) {
		a.block, a.used = make([]byte, max(arenaStart, 2*len(a.block), n)), 0
	}
	b := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	return b
}

func leWord(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
