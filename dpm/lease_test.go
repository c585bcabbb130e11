package dpm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// TestFenceOnSuspicionAndRenewalExcludeEachOther guards OWN-1: a rank that renewed since its lease word was seen
// is not fenced, and one that is fenced renews no more.
func TestFenceOnSuspicionAndRenewalExcludeEachOther(t *testing.T) {
	fake := newFake(t, smallShape(16))
	p := mustOpen(t, testOptions(fake, smallShape(16)))
	defer p.Close()
	s := mustSession(t, &localDialer{pool: p}, "127.0.0.100")
	lease, err := s.Lease(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	word := func() uint64 { return p.Ranks()[0].Lease }
	if got, want := word()>>32, uint64(s.Incarnation()); got != want {
		t.Fatalf("the lease word starts with incarnation %d, want %d", got, want)
	}
	seen := word()
	if err := lease.Renew(); err != nil {
		t.Fatal(err)
	}
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), seen); fenced || err != nil {
		t.Fatalf("a rank that renewed meanwhile: fenced %v, %v", fenced, err)
	}
	if err := lease.Renew(); err != nil {
		t.Fatalf("after a fence that was refused: %v", err)
	}
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), word()); !fenced || err != nil {
		t.Fatalf("a rank that stood still: fenced %v, %v", fenced, err)
	}
	if err := lease.Renew(); !errors.Is(err, fabric.ErrFenced) {
		t.Fatalf("renewal of a fenced rank: %v", err)
	}
	if lease.HeldAt(time.Now()) {
		t.Error("a lease that is known to be fenced still holds")
	}
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), seen); !fenced || err != nil {
		t.Errorf("fencing again: fenced %v, %v", fenced, err)
	}
}

// swapper is a listener of a card whose atomics the processor's are not atomic with.
type swapper struct {
	fabric.Listener
	pool  *Pool
	swaps int
	err   error
}

func (s *swapper) SwapWord(address, expect, swap uint64) (uint64, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.swaps++
	before, _ := s.pool.region.CompareAndSwap64(address, expect, swap)
	return before, nil
}

func (s *swapper) Fence(fabric.Rank, fabric.Incarnation) error { return nil }
func (s *swapper) Close() error                                { return nil }

// TestFenceOnSuspicionGoesThroughTheCard: where queue pairs' atomics are a card's, the lease word is changed by the card, or not at all.
// Guards OWN-1.
func TestFenceOnSuspicionGoesThroughTheCard(t *testing.T) {
	fake := newFake(t, smallShape(16))
	p := mustOpen(t, testOptions(fake, smallShape(16)))
	defer p.Close()
	card := &swapper{pool: p, err: errors.New("the card is stuck")}
	p.Listen(card)
	s := mustSession(t, &localDialer{pool: p}, "127.0.0.100")
	lease, err := s.Lease(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	word := p.Ranks()[0].Lease
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), word); fenced || !errors.Is(err, card.err) {
		t.Fatalf("with a card that is stuck: fenced %v, %v", fenced, err)
	}
	if err := lease.Renew(); err != nil {
		t.Fatalf("after a fence that failed: %v", err)
	}
	card.err = nil
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), p.Ranks()[0].Lease); !fenced || err != nil || card.swaps != 1 {
		t.Fatalf("fenced %v after %d swaps by the card, %v", fenced, card.swaps, err)
	}
	if err := lease.Renew(); !errors.Is(err, fabric.ErrFenced) {
		t.Fatalf("renewal of a fenced rank: %v", err)
	}
}
