package conformance

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// together runs work for each of n queue pairs at the same time.
func (f *fixture) together(n int, work func(i int, qp fabric.QP) error) {
	f.t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		qp := f.dial()
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := work(i, qp); err != nil {
				f.t.Errorf("queue pair %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
}

func testConcurrentFetchAdd(t *testing.T, b *Backend) {
	f := start(t, b)
	const peers = 4
	each := 2000 / b.Scale
	seen := make([][]uint64, peers)
	f.together(peers, func(i int, qp fabric.QP) error {
		verbs := []fabric.Verb{{Kind: fabric.FetchAdd, Address: 4096, Swap: 1}, {Kind: fabric.FetchAdd, Address: 4096, Swap: 1}}
		for range each / 2 {
			if err := qp.Post(verbs); err != nil {
				return err
			}
			seen[i] = append(seen[i], verbs[0].Result, verbs[1].Result)
		}
		return nil
	})
	all := map[uint64]bool{}
	for i := range seen {
		for j, v := range seen[i] {
			if all[v] {
				t.Fatalf("%d was handed out twice", v)
			}
			if all[v] = true; j > 0 && v <= seen[i][j-1] {
				t.Fatalf("queue pair %d got %d after %d", i, v, seen[i][j-1])
			}
		}
	}
	if got := word(t, f.dial(), 4096); got != uint64(peers*(each/2)*2) || len(all) != int(got) {
		t.Errorf("the counter is %d, %d values were handed out, want %d", got, len(all), peers*(each/2)*2)
	}
}

func testConcurrentCAS(t *testing.T, b *Backend) {
	f := start(t, b)
	const peers = 4
	each := 300 / b.Scale
	f.together(peers, func(_ int, qp fabric.QP) error {
		v := []fabric.Verb{{Kind: fabric.CAS, Address: 8192}}
		for done := 0; done < each; {
			v[0].Swap = v[0].Expect + 1
			if err := qp.Post(v); err != nil {
				return err
			}
			if v[0].Result == v[0].Expect {
				done++
				v[0].Expect++
			} else {
				v[0].Expect = v[0].Result
			}
		}
		return nil
	})
	if got := word(t, f.dial(), 8192); got != uint64(peers*each) {
		t.Errorf("%d successful increments left the counter at %d", peers*each, got)
	}
}

// whole says whether a word is one that the writers below wrote, and not parts of two.
func whole(w uint64) bool { return uint32(w) == ^uint32(w>>32) }

func wholeWord(stamp uint32) uint64 { return uint64(^stamp)<<32 | uint64(stamp) }

// testNoTornWords lets writers with differently aligned payloads store over each other's words
// while readers look.
func testNoTornWords(t *testing.T, b *Backend) {
	f := start(t, b)
	const words = 700 // longer than a connection's buffer of 4 KiB would be, not a multiple of anything
	initial := make([]byte, words*8)
	for i := range words {
		binary.LittleEndian.PutUint64(initial[i*8:], wholeWord(0))
	}
	must(t, f.dial(), fabric.Verb{Kind: fabric.Write, Address: 0, Buffer: initial})
	rounds := 400 / b.Scale
	f.together(4, func(i int, qp fabric.QP) error {
		buffer := make([]byte, words*8+i)[i:] // each peer's memory is aligned differently
		verbs := []fabric.Verb{{Kind: fabric.Read, Buffer: buffer}}
		for round := range rounds {
			if i%2 == 0 {
				verbs[0].Kind = fabric.Write
				for w := range words {
					binary.LittleEndian.PutUint64(buffer[w*8:], wholeWord(uint32(round*4+i+w*65537)))
				}
			}
			if err := qp.Post(verbs); err != nil {
				return err
			}
			for w := 0; i%2 != 0 && w < words; w++ {
				if got := binary.LittleEndian.Uint64(buffer[w*8:]); !whole(got) {
					t.Errorf("word %d is torn: %#016x", w, got)
					return nil
				}
			}
		}
		return nil
	})
}

// testNeighboursSurvive writes adjoining byte ranges from several queue pairs at once; nobody's
// unaligned ends may take a neighbour's bytes back in time. Each peer owns its bytes. Cards write
// bytes; a processor that merges words must take care.
func testNeighboursSurvive(t *testing.T, b *Backend) {
	f := start(t, b)
	const peers, length = 4, 13
	f.together(peers, func(i int, qp fabric.QP) error {
		mine, back := make([]byte, length), make([]byte, length)
		verbs := []fabric.Verb{
			{Kind: fabric.Write, Address: uint64(1024 + i*length), Buffer: mine},
			{Kind: fabric.Read, Address: uint64(1024 + i*length), Buffer: back},
		}
		for round := range 500 / b.Scale {
			for j := range mine {
				mine[j] = byte(round + i + j)
			}
			if err := qp.Post(verbs); err != nil {
				return err
			}
			if string(mine) != string(back) {
				t.Errorf("round %d: peer %d wrote % x and reads % x", round, i, mine, back)
				return nil
			}
		}
		return nil
	})
}
