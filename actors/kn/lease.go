package kn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/planted"
)

// leaseKeeper renews the node's lease from a goroutine and a queue pair of its own, so that no slow batch or call
// can delay a renewal. Threads ask heldAt.
type leaseKeeper struct {
	session *remote.Session
	clock   clock.Clock
	period  time.Duration
	lost    func(error) // told once, when the rank is fenced
	logf    func(string, ...any)

	base     time.Time
	until    atomic.Int64 // nanoseconds after base
	away     atomic.Bool  // the last renewal failed: the pool cannot be reached
	revoked  atomic.Bool  // the node has ended: never again
	renewals atomic.Uint64
	lease    *remote.Lease // of the goroutine
}

func newLeaseKeeper(s *remote.Session, c clock.Clock, period time.Duration, lost func(error), logf func(string, ...any)) *leaseKeeper {
	if period == 0 {
		period = s.LeaseLength() / 4
	}
	k := &leaseKeeper{session: s, clock: c, period: period, lost: lost, logf: logf, base: c.Now()}
	k.until.Store(-1)
	return k
}

// heldAt says whether the node may serve at that time (OWN-1).
func (k *leaseKeeper) heldAt(now time.Time) bool {
	return int64(now.Sub(k.base)) < k.until.Load() || planted.Has(planted.LeaseIgnored)
}

// run renews until ctx ends or the rank is fenced.
func (k *leaseKeeper) run(ctx context.Context) {
	defer k.drop()
	for {
		err := k.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, fabric.ErrFenced):
			k.until.Store(-1)
			k.lost(err)
			return
		case err != nil && !k.away.Swap(true):
			k.logf("lease: cannot renew: %v", err)
		case err == nil && k.away.Swap(false):
			k.logf("lease: renewed again")
		}
		if clock.Wait(k.clock, k.period, nil, ctx.Done()) == clock.Stopped {
			return
		}
	}
}

// renew posts one renewal, over a new queue pair if the old one is gone. The lease held before holds until its own end.
func (k *leaseKeeper) renew(ctx context.Context) error {
	if k.lease == nil {
		lease, err := k.session.Lease(ctx)
		if err != nil {
			return err
		}
		k.lease = lease
	}
	if err := k.lease.Renew(); err != nil {
		if remote.Broken(err) {
			_ = k.lease.Close()
			k.lease = nil
		}
		return err
	}
	if end, ok := k.lease.Until(); ok {
		k.until.Store(int64(end.Sub(k.base)))
		k.renewals.Add(1)
	}
	if k.revoked.Load() {
		k.until.Store(-1)
	}
	return nil
}

// revoke ends the lease for ever, from any goroutine: somebody else has found out that the node may not serve.
func (k *leaseKeeper) revoke() {
	k.revoked.Store(true)
	k.until.Store(-1)
}

func (k *leaseKeeper) drop() {
	k.until.Store(-1)
	if k.lease != nil {
		_ = k.lease.Close()
	}
}
