package conformance

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// contention is how long the tests below let queue pairs work against each other at least: some
// backends would be through with any number of rounds before the next goroutine has started.
const contention = 250 * time.Millisecond

// rounds returns a function that is true for at least that many calls, and for the time of
// contention, which starts with the first call.
func rounds(atLeast int) func() bool {
	var end time.Time
	n := 0
	return func() bool {
		if n++; n == 1 {
			end = now().Add(contention)
		}
		return n <= atLeast || n%16 != 0 || now().Before(end)
	}
}

// together runs work for each of n queue pairs at the same time.
func (f *fixture) together(n int, work func(i int, qp fabric.QP) error) {
	f.t.Helper()
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		qp := f.dial()
		wg.Add(1)
		go func() {
			defer wg.Done()
			<-begin
			if err := work(i, qp); err != nil {
				f.t.Errorf("queue pair %d: %v", i, err)
			}
		}()
	}
	close(begin)
	wg.Wait()
}

func testConcurrentFetchAdd(t *testing.T, b *Backend) {
	f := start(t, b)
	const peers = 4
	seen := make([][]uint64, peers)
	f.together(peers, func(i int, qp fabric.QP) error {
		verbs := []fabric.Verb{{Kind: fabric.FetchAdd, Address: 4096, Swap: 1}, {Kind: fabric.FetchAdd, Address: 4096, Swap: 1}}
		for more := rounds(1000 / b.Scale); more(); {
			if err := qp.Post(verbs); err != nil {
				return err
			}
			seen[i] = append(seen[i], verbs[0].Result, verbs[1].Result)
		}
		return nil
	})
	all := slices.Concat(seen...)
	for i := range seen {
		if !slices.IsSorted(seen[i]) {
			t.Errorf("queue pair %d saw the counter go back", i)
		}
	}
	slices.Sort(all)
	for i := range all {
		if all[i] != uint64(i) {
			t.Fatalf("of %d FETCH_ADDs number %d got %d: a value was handed out twice or never", len(all), i, all[i])
		}
	}
	if got := word(t, f.dial(), 4096); int(got) != len(all) {
		t.Errorf("the counter is %d, %d values were handed out", got, len(all))
	}
}

func testConcurrentCAS(t *testing.T, b *Backend) {
	f := start(t, b)
	const peers = 4
	var total atomic.Uint64
	f.together(peers, func(_ int, qp fabric.QP) error {
		v := []fabric.Verb{{Kind: fabric.CAS, Address: 8192}}
		for more := rounds(300 / b.Scale); more(); {
			v[0].Swap = v[0].Expect + 1
			if err := qp.Post(v); err != nil {
				return err
			}
			if v[0].Result == v[0].Expect {
				total.Add(1)
				v[0].Expect++
			} else {
				v[0].Expect = v[0].Result
			}
		}
		return nil
	})
	if got := word(t, f.dial(), 8192); got != total.Load() || got == 0 {
		t.Errorf("%d successful increments left the counter at %d", total.Load(), got)
	}
}

// whole says whether a word is one that the writers below wrote, and not parts of two.
func whole(w uint64) bool { return uint32(w) == ^uint32(w>>32) }

func wholeWord(stamp uint32) uint64 { return uint64(^stamp)<<32 | uint64(stamp) }

// testNoTornWords lets writers with differently aligned payloads store over each other's words
// while readers look.
func testNoTornWords(t *testing.T, b *Backend) {
	t.Run("short", func(t *testing.T) { noTornWords(t, b, 40) })
	t.Run("long", func(t *testing.T) { noTornWords(t, b, 9001) }) // longer than any buffer on the way
}

func noTornWords(t *testing.T, b *Backend, words int) {
	f := start(t, b)
	initial := make([]byte, words*8)
	for i := range words {
		binary.LittleEndian.PutUint64(initial[i*8:], wholeWord(0))
	}
	must(t, f.dial(), fabric.Verb{Kind: fabric.Write, Address: 4096, Buffer: initial})
	f.together(4, func(i int, qp fabric.QP) error {
		buffer := make([]byte, words*8+i)[i:] // each peer's memory is aligned differently
		odd := make([]byte, 3+i)              // and so is the stream, where there is one
		verbs := []fabric.Verb{{Kind: fabric.Read, Buffer: odd}, {Kind: fabric.Read, Address: 4096, Buffer: buffer}}
		if i%2 == 0 {
			verbs[0].Kind, verbs[0].Address, verbs[1].Kind = fabric.Write, uint64(i), fabric.Write
		}
		more := rounds(100 / b.Scale)
		for round := 0; more(); round++ {
			for w := 0; i%2 == 0 && w < words; w++ {
				binary.LittleEndian.PutUint64(buffer[w*8:], wholeWord(uint32(round*4+i+w*65537)))
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
		more := rounds(500 / b.Scale)
		for round := 0; more(); round++ {
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
