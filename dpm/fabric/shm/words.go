package shm

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

const wordBytes = 8

// words is mapped memory as words. Its length is rounded down to whole words.
type words []uint64

func wordsOf(mem []byte) words {
	if len(mem) < wordBytes {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), len(mem)/wordBytes)
}

// at returns the word at a byte address, which is a multiple of 8. The atomics on it pair with the
// DPM's (pmem.Region's Load64, Store64, CompareAndSwap64, Add64) and other peers'.
func (w words) at(address uint64) *uint64 { return &w[address/wordBytes] }

// read copies pool bytes at address into dst, each aligned word by one atomic load, in rising
// order. An atomic load is an ordinary load on amd64 and arm64's costs little more; copying by the runtime's
// memmove would be faster for long buffers, but nothing says that it moves whole words.
func (w words) read(address uint64, dst []byte) {
	if skew := address % wordBytes; skew != 0 && len(dst) > 0 {
		var b [wordBytes]byte
		binary.LittleEndian.PutUint64(b[:], atomic.LoadUint64(w.at(address-skew)))
		n := copy(dst, b[skew:])
		dst, address = dst[n:], address+uint64(n)
	}
	body := w[address/wordBytes:][: len(dst)/wordBytes : len(dst)/wordBytes]
	address += uint64(len(body)) * wordBytes
	for len(body) >= 4 && len(dst) >= 4*wordBytes {
		binary.LittleEndian.PutUint64(dst, atomic.LoadUint64(&body[0]))
		binary.LittleEndian.PutUint64(dst[8:], atomic.LoadUint64(&body[1]))
		binary.LittleEndian.PutUint64(dst[16:], atomic.LoadUint64(&body[2]))
		binary.LittleEndian.PutUint64(dst[24:], atomic.LoadUint64(&body[3]))
		body, dst = body[4:], dst[4*wordBytes:]
	}
	for i := range body {
		binary.LittleEndian.PutUint64(dst, atomic.LoadUint64(&body[i]))
		dst = dst[wordBytes:]
	}
	if len(dst) > 0 {
		var b [wordBytes]byte
		binary.LittleEndian.PutUint64(b[:], atomic.LoadUint64(w.at(address)))
		copy(dst, b[:])
	}
}

// write copies src to the pool at address, each aligned word by one atomic store, in rising order.
// The last store is a full barrier, so a later READ of this queue pair does not overtake the WRITE.
func (w words) write(address uint64, src []byte) {
	if skew := address % wordBytes; skew != 0 && len(src) > 0 {
		n := min(len(src), wordBytes-int(skew))
		w.merge(address-skew, skew, src[:n])
		src, address = src[n:], address+uint64(n)
	}
	body := w[address/wordBytes:][: len(src)/wordBytes : len(src)/wordBytes]
	if len(body) > 0 {
		address += uint64(len(body)) * wordBytes
		for len(body) > 4 && len(src) >= 4*wordBytes {
			storeWord(&body[0], binary.LittleEndian.Uint64(src))
			storeWord(&body[1], binary.LittleEndian.Uint64(src[8:]))
			storeWord(&body[2], binary.LittleEndian.Uint64(src[16:]))
			storeWord(&body[3], binary.LittleEndian.Uint64(src[24:]))
			body, src = body[4:], src[4*wordBytes:]
		}
		for ; len(body) > 1; body, src = body[1:], src[wordBytes:] {
			storeWord(&body[0], binary.LittleEndian.Uint64(src))
		}
		atomic.StoreUint64(&body[0], binary.LittleEndian.Uint64(src))
		src = src[wordBytes:]
	}
	if len(src) > 0 {
		w.merge(address, 0, src)
	}
}

// merge puts part into the word at address from byte skew on, leaving the word's other bytes as
// they are even when somebody changes them at this moment.
func (w words) merge(address, skew uint64, part []byte) {
	word := w.at(address)
	for {
		old := atomic.LoadUint64(word)
		var b [wordBytes]byte
		binary.LittleEndian.PutUint64(b[:], old)
		copy(b[skew:], part)
		if atomic.CompareAndSwapUint64(word, old, binary.LittleEndian.Uint64(b[:])) {
			return
		}
	}
}
