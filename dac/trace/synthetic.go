package trace

import (
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"

	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/internal/zipf"
)

// KeyBytes is the length of a synthetic key.
const KeyBytes = 8

// synthetic is the Source of a Law.
type synthetic struct {
	law     Law
	rng     *rand.Rand
	sampler *zipf.Sampler
	// order maps ranks to keys; other is the second order of drift.
	order, other *zipf.Permutation
	done         uint64
	loaded       uint64 // keys of the load phase written
	scan, left   uint64 // next key of the scan, and how many it still has
	key          [KeyBytes]byte
}

func newSynthetic(l Law) (*synthetic, error) {
	s := &synthetic{law: l, rng: random.New(l.Seed)}
	var err error
	if s.sampler, err = zipf.NewSampler(l.Keys, l.Theta); err != nil {
		return nil, err
	}
	if s.order, err = zipf.NewPermutation(l.Keys, l.Seed); err != nil {
		return nil, err
	}
	s.other, err = zipf.NewPermutation(l.Keys, l.Seed+1)
	return s, err
}

// Close implements Source.
func (s *synthetic) Close() error { return nil }

// Next implements Source.
func (s *synthetic) Next(op *Op) error {
	if s.law.Load && s.loaded < s.law.Keys {
		s.fill(op, Update, s.other.Of(s.loaded))
		s.loaded++
		return nil
	}
	if s.done == s.law.Ops {
		return io.EOF
	}
	n, err := s.draw()
	if err != nil {
		return err
	}
	s.done++
	kind := Get
	if s.law.Updates > 0 && s.rng.Float64() < s.law.Updates {
		kind = Update
	}
	s.fill(op, kind, n)
	return nil
}

func (s *synthetic) fill(op *Op, kind Kind, n uint64) {
	binary.BigEndian.PutUint64(s.key[:], n)
	op.Kind, op.Key, op.ValueBytes = kind, s.key[:], s.law.ValueBytes(n)
}

// draw chooses the next key.
func (s *synthetic) draw() (uint64, error) {
	switch s.law.Name {
	case "shift":
		if s.done > 0 && s.done%s.law.Period == 0 {
			var err error
			if s.order, err = zipf.NewPermutation(s.law.Keys, s.rng.Uint64()); err != nil {
				return 0, err
			}
		}
	case "scan":
		if s.rng.Float64() < s.law.Share {
			return s.walk(), nil
		}
	case "drift":
		phase := 2 * math.Pi * float64(s.done%s.law.Period) / float64(s.law.Period)
		if s.rng.Float64() > (1+math.Cos(phase))/2 {
			return s.other.Of(s.sampler.Next(s.rng)), nil
		}
	}
	return s.order.Of(s.sampler.Next(s.rng)), nil
}

// walk returns the next key of the scan, starting another somewhere when one is over.
func (s *synthetic) walk() uint64 {
	if s.left == 0 {
		s.scan, s.left = s.rng.Uint64N(s.law.Keys), s.law.Length
	}
	s.left--
	n := s.scan
	s.scan = (s.scan + 1) % s.law.Keys
	return n
}
