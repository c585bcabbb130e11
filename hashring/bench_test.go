package hashring

import (
	"fmt"
	"testing"
)

func benchHashes() []uint64 {
	hashes := make([]uint64, 1<<14)
	for i := range hashes {
		hashes[i] = KeyHash(fmt.Appendf(nil, "%d", i))
	}
	return hashes
}

func BenchmarkPrimaryOwner(b *testing.B) {
	for _, nodes := range []int{2, 16, 64} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			m, hashes := mustMap(b, testSpec(nodes, 4, 0)), benchHashes()
			b.ReportAllocs()
			for i := range b.N {
				m.PrimaryOwner(hashes[i&(len(hashes)-1)])
			}
		})
	}
}

func BenchmarkServes(b *testing.B) {
	for _, replicated := range []int{0, 1000} {
		b.Run(fmt.Sprintf("nodes=64/replicated=%d", replicated), func(b *testing.B) {
			s := testSpec(64, 4, 0)
			s.Replicated = make(map[string]Replication)
			for n := range replicated {
				s.Replicated[fmt.Sprintf("hot%d", n)] = Replication{4, 1}
			}
			m, hashes, key := mustMap(b, s), benchHashes(), []byte("some key")
			b.ReportAllocs()
			for i := range b.N {
				m.Serves(key, hashes[i&(len(hashes)-1)], 3, 1)
			}
		})
	}
}

func BenchmarkOwners(b *testing.B) {
	for _, factor := range []int{3, 64} {
		b.Run(fmt.Sprintf("nodes=64/factor=%d", factor), func(b *testing.B) {
			m, hashes := mustMap(b, testSpec(64, 4, 0)), benchHashes()
			dst := make([]Owner, 0, 64)
			b.ReportAllocs()
			for i := range b.N {
				m.Owners(hashes[i&(len(hashes)-1)], factor, dst)
			}
		})
	}
}

func BenchmarkNewMap(b *testing.B) {
	for _, nodes := range []int{4, 64, 1024} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			s := testSpec(nodes, 4, 0)
			b.ReportAllocs()
			for range b.N {
				mustMap(b, s)
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	m := mustMap(b, testSpec(64, 4, 0))
	b.Run("replicate", func(b *testing.B) {
		for range b.N {
			must(b)(m.WithReplication(map[string]Replication{"k": {2, 1}}))
		}
	})
	b.Run("join", func(b *testing.B) {
		for range b.N {
			must(b)(m.With(testMember(64, 4)))
		}
	})
}

func BenchmarkMoves(b *testing.B) {
	m := mustMap(b, testSpec(64, 4, 0))
	next := must(b)(m.With(testMember(64, 4)))
	b.Run("compute", func(b *testing.B) {
		for range b.N {
			Moves(m, next)
		}
	})
	moves, hashes := Moves(m, next), benchHashes()
	b.Run("contains", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			moves.Contains(hashes[i&(len(hashes)-1)])
		}
	})
}
