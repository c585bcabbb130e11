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
