//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// loopback is a queue pair from the listener's card to itself. The card's atomics are atomic among themselves only (ATOMIC_HCA), so
// what the DPM changes in a word that KNs change by CAS must go through the card as well.
type loopback struct {
	device  *device
	path    path
	options Options
	memory  *region

	mu struct {
		sync.Mutex
		closed     bool
		from, into *endpoint // nil until the first swap, and after a failed one
	}
}

// loopbackTimeout bounds one swap: nothing leaves the card, so only a card that is stuck takes long.
const loopbackTimeout = 2 * time.Second

func (l *loopback) swap(address, expect, swap uint64) (before uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return 0, fabric.ErrClosed
	}
	if l.mu.from == nil {
		if err := l.connect(); err != nil {
			return 0, fmt.Errorf("loop back through %s: %w", l.device.name(), err)
		}
	}
	e := l.mu.from
	e.wrs = append(e.wrs[:0], C.struct_dn_wr{
		op: C.DN_CAS, remote: C.uint64_t(l.memory.base + address), local: e.address(messageBytes), length: 8,
		compare: C.uint64_t(expect), swap: C.uint64_t(swap),
	})
	if err := e.run(loopbackTimeout); err != nil {
		l.drop() // the next swap makes another; of this one the outcome is unknown
		return 0, fmt.Errorf("CAS by loopback through %s: %w: %w", l.device.name(), fabric.ErrBroken, err)
	}
	return binary.NativeEndian.Uint64(e.data()), nil
}

// connect makes the queue pair. REQUIRES: mu held.
func (l *loopback) connect() error {
	from, ours, err := startPlain(l.device, l.path, l.options, true, noPeer{})
	if err != nil {
		return err
	}
	into, theirs, err := startPlain(l.device, l.path, l.options, false, noPeer{})
	if err != nil {
		return errors.Join(err, from.Close())
	}
	l.mu.from, l.mu.into = from, into
	err = errors.Join(from.connectPlain(l.path, l.options, ours, theirs), into.connectPlain(l.path, l.options, theirs, ours), into.setAccess(fabric.ReadWrite))
	if err != nil {
		l.drop()
		return err
	}
	from.c.rkey = C.uint32_t(l.memory.rkey)
	return nil
}

// drop frees the queue pair. REQUIRES: mu held.
func (l *loopback) drop() {
	for _, e := range []*endpoint{l.mu.from, l.mu.into} {
		if e != nil {
			_ = e.Close()
			<-e.destroyed
		}
	}
	l.mu.from, l.mu.into = nil, nil
}

func (l *loopback) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	l.drop()
}

// noPeer stands for the connection that a queue pair was set up over, where there was none.
type noPeer struct{ net.Conn }

func (noPeer) RemoteAddr() net.Addr { return rdmaAddr("loopback") }
func (noPeer) Close() error         { return nil }
