//go:build rdma && rdmatest && linux && cgo

package ibverbs

import (
	"errors"
	"sync"
	"testing"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// TestSwapWord: what the listener swaps and what queue pairs swap and add exclude each other, word by word. A CAS by the processor
// instead would lose some on a card of the level ATOMIC_HCA.
func TestSwapWord(t *testing.T) {
	bothSetups(t, func(t *testing.T, s Setup) {
		l, region := serve(t, s)
		const word, each = 128, 300
		count := func(swap func(expect uint64) (before uint64, err error)) {
			for done, expect := 0, uint64(0); done < each; {
				before, err := swap(expect)
				if err != nil {
					t.Error(err)
					return
				}
				if before == expect {
					done, before = done+1, expect+1
				}
				expect = before
			}
		}
		var wg sync.WaitGroup
		for rank := range fabric.Rank(2) {
			q := mustDial(t, s, l.Address(), fabric.Hello{Rank: rank + 1})
			wg.Go(func() {
				count(func(expect uint64) (uint64, error) {
					v := []fabric.Verb{{Kind: fabric.CAS, Address: word, Expect: expect, Swap: expect + 1}}
					err := q.Post(v)
					return v[0].Result, err
				})
			})
		}
		wg.Go(func() {
			count(func(expect uint64) (uint64, error) {
				return l.(fabric.WordSwapper).SwapWord(word, expect, expect+1)
			})
		})
		wg.Wait()
		if got := region.Load64(word); got != 3*each {
			t.Errorf("%d swaps left %d", 3*each, got)
		}
		for _, address := range []uint64{4, poolBytes, poolBytes - 4} {
			if _, err := l.(fabric.WordSwapper).SwapWord(address, 0, 1); !errors.Is(err, fabric.ErrBounds) && !errors.Is(err, fabric.ErrMisaligned) {
				t.Errorf("the word at %#x: %v", address, err)
			}
		}
		// A queue pair that broke is made anew.
		lo := l.(*Listener).loopback
		lo.mu.Lock()
		lo.mu.into.fail(errors.New("cut"))
		lo.mu.Unlock()
		if _, err := l.(fabric.WordSwapper).SwapWord(word, 0, 0); !errors.Is(err, fabric.ErrBroken) {
			t.Errorf("over a broken queue pair: %v", err)
		}
		if before, err := l.(fabric.WordSwapper).SwapWord(word, 3*each, 7); err != nil || before != 3*each || region.Load64(word) != 7 {
			t.Errorf("over the next one: %d, %v; the pool holds %d", before, err, region.Load64(word))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.(fabric.WordSwapper).SwapWord(word, 0, 1); !errors.Is(err, fabric.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
