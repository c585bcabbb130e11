package remote

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// Lease is a node's right to serve (OWN-1). It renews by a one-sided write of a counter to the rank's
// word in the pool's lease table; the pool's processor has no part in it. The lease counts from before
// the write was posted, so it ends, on the node's clock, before anybody who watches the word on
// their own clock may call it over.
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
	return lease, nil
}

// Renew posts one renewal: one round trip. After an error the lease holds until its old end.
func (l *Lease) Renew() error {
	began := l.clock.Now()
	binary.LittleEndian.PutUint64(l.word[:], l.counter+1)
	l.verbs[0] = fabric.Verb{Kind: fabric.Write, Address: l.address, Buffer: l.word[:]}
	if err := l.qp.Post(l.verbs[:]); err != nil {
		return fmt.Errorf("renew lease: %w", err)
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
