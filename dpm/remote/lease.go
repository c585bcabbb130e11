package remote

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Lease is a node's right to serve (OWN-1). It renews by a one-sided CAS that counts up the rank's
// word in the pool's lease table; the pool's processor has no part in it. The lease counts from before
// the CAS was posted, so it ends, on the node's clock, before anybody who watches the word on
// their own clock may call it over.
//
// It is a CAS and not a WRITE so that fencing on suspicion can be refused: the DPM fences by a CAS from the word that
// was seen standing still to format.LeaseFenced, so that of a renewal and a fence exactly one happens.
//
// Renew belongs to one goroutine; HeldAt may be called from any.
type Lease struct {
	qp      fabric.QP
	clock   clock.Clock
	address uint64
	length  time.Duration
	counter uint64
	base    time.Time // what until counts from; carries the monotonic reading
	until   atomic.Int64
	word    [format.WordBytes]byte
	verbs   [1]fabric.Verb
}

// newLease reads the rank's word to go on from it. The lease is not held before the first Renew.
func newLease(qp fabric.QP, l *format.Layout, length time.Duration, c clock.Clock) (*Lease, error) {
	lease := &Lease{qp: qp, clock: c, length: length, base: c.Now(),
		address: l.RankEntryOffset(uint32(qp.Session().Rank)) + format.RankLeaseOffset}
	lease.until.Store(-1)
	lease.verbs[0] = fabric.Verb{Kind: fabric.Read, Address: lease.address, Buffer: lease.word[:]}
	if err := qp.Post(lease.verbs[:]); err != nil {
		return nil, fmt.Errorf("read lease word: %w", err)
	}
	lease.counter = leWord(lease.word[:])
	if lease.counter == format.LeaseFenced {
		return nil, fmt.Errorf("lease word: %w", fabric.ErrFenced)
	}
	return lease, nil
}

// Renew posts one renewal: one round trip. After an error the lease holds until its old end, except after
// fabric.ErrFenced (the word is not what this lease left there), which ends it at once and for ever.
func (l *Lease) Renew() error {
	began := l.clock.Now()
	l.verbs[0] = fabric.Verb{Kind: fabric.CAS, Address: l.address, Expect: l.counter, Swap: l.counter + 1}
	if err := l.qp.Post(l.verbs[:]); err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	if found := l.verbs[0].Result; found != l.counter {
		l.Drop()
		return fmt.Errorf("renew lease: the word is %#x, not %#x: %w", found, l.counter, fabric.ErrFenced)
	}
	l.counter++
	l.until.Store(int64(began.Add(l.length).Sub(l.base)))
	return nil
}

// HeldAt says whether the lease holds at that time of the lease's clock. Ask after the data that is
// to be answered was read, with a time taken after that.
func (l *Lease) HeldAt(now time.Time) bool { return int64(now.Sub(l.base)) < l.until.Load() }

// Until returns when the lease ends unless renewed; ok is false when it was never held or was dropped.
func (l *Lease) Until() (end time.Time, ok bool) {
	until := l.until.Load()
	return l.base.Add(time.Duration(until)), until >= 0
}

// Length is how long one renewal holds.
func (l *Lease) Length() time.Duration { return l.length }

// Drop gives the lease up at once.
func (l *Lease) Drop() { l.until.Store(-1) }
