package remote

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// LatticeFilter is a copy of the pool's Bloom filter of keys that were ever stored with another
// lattice type than LWW. Make it with Reader.FetchFilter; the zero value holds every key.
type LatticeFilter struct{ words []byte }

// MayHold says whether a key of that hash may have been stored with another type than LWW. False is
// certain, as of the fetch and for what was merged by then.
func (f *LatticeFilter) MayHold(hash uint64) bool {
	if len(f.words) == 0 {
		return true
	}
	offset, bits := format.FilterWord(hash, uint64(len(f.words)))
	return leWord(f.words[offset:])&bits == bits
}

// FetchFilter reads the whole filter into f: one round trip for up to 8 MiB.
func (r *Reader) FetchFilter(f *LatticeFilter) error {
	if uint64(len(f.words)) != r.layout.FilterBytes {
		f.words = make([]byte, r.layout.FilterBytes)
	}
	for at := uint64(0); at < r.layout.FilterBytes; at += maxPostData {
		end := min(at+maxPostData, r.layout.FilterBytes)
		r.verbs = append(r.verbs[:0], fabric.Verb{Kind: fabric.Read, Address: r.layout.FilterOffset + at, Buffer: f.words[at:end]})
		if err := r.post(); err != nil {
			f.words = nil
			return fmt.Errorf("lattice filter: %w", err)
		}
	}
	return nil
}

// MayHoldLattice reads the one word of the filter that a key's bits lie in: one round trip.
func (r *Reader) MayHoldLattice(hash uint64) (bool, error) {
	offset, bits := format.FilterWord(hash, r.layout.FilterBytes)
	r.arena.reset()
	r.verbs = append(r.verbs[:0], fabric.Verb{Kind: fabric.Read, Address: r.layout.FilterOffset + offset, Buffer: r.arena.take(format.WordBytes)})
	if err := r.post(); err != nil {
		return true, fmt.Errorf("lattice filter: %w", err)
	}
	return leWord(r.verbs[0].Buffer)&bits == bits, nil
}
