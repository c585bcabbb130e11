package sim

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Listener serves one region on a Network. It implements fabric.Listener. All of its fields are
// guarded by Network.mu once it is listening.
type Listener struct {
	network *Network
	region  pmem.Region
	service fabric.Service
	options fabric.ListenOptions

	queuePairs []*QP // in the order of their admission
	fenced     map[fabric.Rank]fabric.Incarnation
	closed     bool
	metrics    fabric.Metrics
}

var (
	_ fabric.Listener = (*Listener)(nil)
	_ fabric.Dialer   = (*Network)(nil)
)

// Address implements fabric.Listener.
func (l *Listener) Address() string { return l.options.Address }

// Revocable implements fabric.Listener.
func (l *Listener) Revocable() bool { return !l.network.mapped }

// Metrics implements fabric.Listener.
func (l *Listener) Metrics() fabric.Metrics {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	m := l.metrics
	m.Connections = uint64(len(l.queuePairs))
	return m
}

// admit makes a queue pair, or says why not.
func (l *Listener) admit(o fabric.DialOptions) (*QP, error) {
	n, h := l.network, o.Hello
	n.mu.Lock()
	full := len(l.queuePairs) >= l.options.MaxConnections
	fenced := l.isFenced(h.Rank, h.Incarnation)
	n.mu.Unlock()
	switch {
	case full:
		return nil, l.refuse(fabric.RefusedFull, fmt.Errorf("%d connections are open already: %w", l.options.MaxConnections, fabric.ErrRefused))
	case fenced:
		return nil, l.refuse(fabric.RefusedFenced, fabric.ErrFenced)
	}
	l.replace(h.Rank, h.Incarnation, h.Thread)
	s, err := l.service.Admit(h)
	if err != nil {
		return nil, l.refuse(fabric.RefusedOther, refusal(err))
	}
	l.replace(s.Rank, s.Incarnation, h.Thread)
	s.PoolBytes, s.Durability = l.region.Bytes(), l.region.Durability()
	qp := &QP{network: n, listener: l, options: o, session: s}
	n.mu.Lock()
	switch {
	case l.closed:
		err = fabric.ErrBroken
	case l.isFenced(s.Rank, s.Incarnation):
		err = fabric.ErrFenced
	default:
		l.metrics.Admitted++
		l.queuePairs = append(l.queuePairs, qp)
	}
	n.mu.Unlock()
	if err != nil {
		l.service.Gone(s, h.Thread)
		return nil, l.refuse(fabric.RefusedOther, err)
	}
	return qp, nil
}

// refusal makes an error of Admit's one of those that reach diallers.
func refusal(err error) error {
	for _, sentinel := range []error{fabric.ErrWrongPool, fabric.ErrFenced, fabric.ErrRefused} {
		if errors.Is(err, sentinel) {
			return err
		}
	}
	return fmt.Errorf("%v: %w", err, fabric.ErrRefused)
}

// refuse counts a refusal.
func (l *Listener) refuse(reason fabric.RefusalReason, err error) error {
	switch {
	case errors.Is(err, fabric.ErrFenced):
		reason = fabric.RefusedFenced
	case errors.Is(err, fabric.ErrWrongPool):
		reason = fabric.RefusedWrongPool
	}
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.metrics.Refused[reason]++
	return err
}

// isFenced reports whether an incarnation is. REQUIRES: mu held.
func (l *Listener) isFenced(rank fabric.Rank, incarnation fabric.Incarnation) bool {
	upTo, ok := l.fenced[rank]
	return ok && rank != 0 && incarnation <= upTo
}

// replace revokes the queue pair of a thread, if there is one.
func (l *Listener) replace(rank fabric.Rank, incarnation fabric.Incarnation, thread uint16) {
	if rank == 0 || thread == fabric.SharedThread {
		return
	}
	replaced := l.revoke(func(q *QP) bool {
		return q.session.Rank == rank && q.session.Incarnation == incarnation && q.options.Hello.Thread == thread
	})
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.metrics.Replaced += uint64(replaced)
}

// Fence implements fabric.Listener.
func (l *Listener) Fence(rank fabric.Rank, upTo fabric.Incarnation) error {
	if rank == 0 || rank >= fabric.MaxRanks {
		return fmt.Errorf("fence rank %d: ranks are 1 to %d", rank, fabric.MaxRanks-1)
	}
	l.network.mu.Lock()
	l.metrics.Fences++
	l.fenced[rank] = max(l.fenced[rank], upTo)
	l.network.mu.Unlock()
	killed := l.revoke(func(q *QP) bool { return q.session.Rank == rank && q.session.Incarnation <= upTo })
	l.network.mu.Lock()
	l.metrics.FencedOff += uint64(killed)
	l.network.mu.Unlock()
	return nil
}

// Close implements fabric.Listener.
func (l *Listener) Close() error {
	l.shut()
	l.revoke(func(*QP) bool { return true })
	return nil
}

// Crash ends the listener as its process' death would: nobody is told, nothing more is executed.
func (l *Listener) Crash() {
	l.shut()
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for _, q := range l.queuePairs {
		q.revoked = true
	}
	l.queuePairs = nil
}

func (l *Listener) shut() {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	l.closed = true
	if n.mu.listeners[l.options.Address] == l {
		delete(n.mu.listeners, l.options.Address)
	}
}

// revoke ends queue pairs for good, waits for the calls that they are being served, and tells the
// service. It returns how many there were.
func (l *Listener) revoke(which func(*QP) bool) int {
	n := l.network
	n.mu.Lock()
	var ended []*QP
	kept := l.queuePairs[:0:0]
	for _, q := range l.queuePairs {
		if which(q) {
			q.revoked = true
			ended = append(ended, q)
		} else {
			kept = append(kept, q)
		}
	}
	l.queuePairs = kept
	for _, q := range ended {
		for q.calling {
			n.awaitCall()
		}
	}
	n.mu.Unlock()
	for _, q := range ended {
		l.service.Gone(q.session, q.options.Hello.Thread)
	}
	return len(ended)
}

// awaitCall lets a call go on. REQUIRES: mu held; it is released meanwhile.
func (n *Network) awaitCall() {
	if n.wait == nil {
		n.mu.idle.Wait()
		return
	}
	n.mu.Unlock()
	n.wait(0)
	n.mu.Lock()
}

// forget removes a queue pair that its dialler has given up, and tells the service.
func (l *Listener) forget(q *QP) { l.revoke(func(other *QP) bool { return other == q }) }
