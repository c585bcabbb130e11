package dac

import "encoding/binary"

// A chunk holds a value entry:
//
//	word 0  hash
//	word 1  shortcut
//	word 2  value length (32 bits) | key length (16) | unused (16)
//	word 3  meta (32) | hits (32)
//	word 4  neighbour towards the more recent end of the recency list, a ref   } LRU policies
//	word 5  neighbour towards the least recent end                             } only
//	then the key's bytes and the value's bytes
//
// The hash is there because chunks move: it leads to the slot that must learn the new ref.
type chunk []byte

const (
	plainHeader  = 32
	linkedHeader = 48
	maxKeyBytes  = 1<<16 - 1
)

func (k chunk) word(i int) uint64       { return binary.LittleEndian.Uint64(k[8*i:]) }
func (k chunk) setWord(i int, v uint64) { binary.LittleEndian.PutUint64(k[8*i:], v) }

func (k chunk) hash() uint64         { return k.word(0) }
func (k chunk) shortcut() uint64     { return k.word(1) }
func (k chunk) valueLen() int        { return int(binary.LittleEndian.Uint32(k[16:])) }
func (k chunk) keyLen() int          { return int(binary.LittleEndian.Uint16(k[20:])) }
func (k chunk) meta() uint32         { return binary.LittleEndian.Uint32(k[24:]) }
func (k chunk) hits() uint32         { return binary.LittleEndian.Uint32(k[28:]) }
func (k chunk) setHits(n uint32)     { binary.LittleEndian.PutUint32(k[28:], n) }
func (k chunk) newer() ref           { return ref(k.word(4)) }
func (k chunk) older() ref           { return ref(k.word(5)) }
func (k chunk) setNewer(r ref)       { k.setWord(4, uint64(r)) }
func (k chunk) setOlder(r ref)       { k.setWord(5, uint64(r)) }
func (k chunk) setShortcut(s uint64) { k.setWord(1, s) }

func (k chunk) key(header int) []byte { return k[header : header+k.keyLen()] }

func (k chunk) value(header int) []byte {
	from := header + k.keyLen()
	to := from + k.valueLen()
	return k[from:to:to]
}

// write fills a chunk; the links are the caller's.
func (k chunk) write(header int, e *entry, hits uint32) {
	k.setWord(0, e.hash)
	k.setWord(1, e.shortcut)
	k.setWord(2, uint64(uint32(len(e.value)))|uint64(uint16(len(e.key)))<<32)
	k.setWord(3, uint64(e.meta)|uint64(hits)<<32)
	n := copy(k[header:], e.key)
	copy(k[header+n:], e.value)
}

// rewrite replaces all but the key and the hits.
func (k chunk) rewrite(header int, e *entry) {
	k.setWord(1, e.shortcut)
	binary.LittleEndian.PutUint32(k[16:], uint32(len(e.value)))
	binary.LittleEndian.PutUint32(k[24:], e.meta)
	copy(k[header+len(e.key):], e.value)
}

// An entry is what a caller hands in about one key.
type entry struct {
	key      []byte
	hash     uint64
	value    []byte
	meta     uint32
	shortcut uint64
}
