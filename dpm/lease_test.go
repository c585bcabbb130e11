package dpm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// TestFenceOnSuspicionAndRenewalExcludeEachOther guards OWN-1: a rank that renewed since its lease word was seen
// is not fenced, and one that is fenced renews no more.
func TestFenceOnSuspicionAndRenewalExcludeEachOther(t *testing.T) {
	fake := newFake(t, smallShape(16))
	o := testOptions(fake, smallShape(16))
	p := mustOpen(t, o)
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
	last := word()
	o.Clock.(*clock.Manual).Advance(o.LeaseLength - 1)
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), last); fenced || err != nil {
		t.Fatalf("a rank whose word the pool has not seen standing still for a lease: fenced %v, %v", fenced, err)
	}
	o.Clock.(*clock.Manual).Advance(1)
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), last); !fenced || err != nil {
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
	o := testOptions(fake, smallShape(16))
	p := mustOpen(t, o)
	defer p.Close()
	card := &swapper{pool: p, err: errors.New("the card is stuck")}
	p.Listen(card)
	s := mustSession(t, &localDialer{pool: p}, "127.0.0.100")
	lease, err := s.Lease(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	word := p.Ranks()[0].Lease
	o.Clock.(*clock.Manual).Advance(o.LeaseLength)
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), word); fenced || !errors.Is(err, card.err) {
		t.Fatalf("with a card that is stuck: fenced %v, %v", fenced, err)
	}
	if err := lease.Renew(); err != nil {
		t.Fatalf("after a fence that failed: %v", err)
	}
	card.err = nil
	word = p.Ranks()[0].Lease
	o.Clock.(*clock.Manual).Advance(o.LeaseLength)
	if fenced, err := p.FenceUnchanged(s.Rank(), s.Incarnation(), word); !fenced || err != nil || card.swaps != 1 {
		t.Fatalf("fenced %v after %d swaps by the card, %v", fenced, card.swaps, err)
	}
	if err := lease.Renew(); !errors.Is(err, fabric.ErrFenced) {
		t.Fatalf("renewal of a fenced rank: %v", err)
	}
}

// openEnd is a listener whose queue pairs are never seen to end: their machines have lost their power.
type openEnd struct{ fabric.Listener }

func (openEnd) Fence(fabric.Rank, fabric.Incarnation) error { return nil }
func (openEnd) Close() error                                { return nil }

// TestSuccessorOfALostMachine: a node whose machine was lost, with its connections still open here, gets its rank back once its old lease has
// run out, though no coordinator has it fenced.
func TestSuccessorOfALostMachine(t *testing.T) {
	fake := newFake(t, smallShape(16))
	o := testOptions(fake, smallShape(16))
	p := mustOpen(t, o)
	defer p.Close()
	p.Listen(openEnd{})
	service := p.Service(false)
	hello := fabric.Hello{Identity: "127.0.0.100", PID: 1 << 30}
	first, err := service.Admit(hello)
	if err != nil {
		t.Fatal(err)
	}
	hello.PID++
	settle := func() {
		t.Helper()
		if _, err := p.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := service.Admit(hello); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("while the lease may hold: %v", err)
	}
	settle()
	o.Clock.(*clock.Manual).Advance(o.LeaseLength * 2)
	if _, err := service.Admit(hello); !errors.Is(err, fabric.ErrRefused) {
		t.Fatalf("before the predecessor is fenced: %v", err)
	}
	settle()
	second, err := service.Admit(hello)
	if err != nil || second.Rank != first.Rank || second.Incarnation != first.Incarnation+1 {
		t.Fatalf("%+v after %+v, %v", second, first, err)
	}
}
