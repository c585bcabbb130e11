//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/random"
)

func now() time.Time { return clock.Real{}.Now() }

// setupTimeout bounds the exchange over the set-up socket at the listener's end.
const setupTimeout = 5 * time.Second

// socketSetup connects queue pairs by an exchange over TCP. The connection stays open for as long as the
// queue pair lives: its end tells that the other process has gone.
type socketSetup struct {
	*queue
	device  *device
	path    path
	options Options
	address string
	socket  net.Listener
}

func bindSocket(address string, o Options) (*socketSetup, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	d, p, err := choosePath(o, at.AddrPort().Addr())
	if err != nil {
		return nil, err
	}
	return &socketSetup{queue: newQueue(), device: d, path: p, options: o, address: address}, nil
}

func (s *socketSetup) listen() (err error) {
	if s.socket, err = net.Listen("tcp", s.address); err != nil {
		return fmt.Errorf("listen for RDMA set-up on %q (is another DPM running there?): %w", s.address, err)
	}
	return nil
}

func (s *socketSetup) card() *device { return s.device }

func (s *socketSetup) way() (path, error) { return s.path, nil }

// Addr implements net.Listener.
func (s *socketSetup) Addr() net.Addr { return s.socket.Addr() }

// serve accepts until the socket is closed. check judges what a peer says of itself.
func (s *socketSetup) serve(check func(fabric.Hello) error, logf func(string, ...any)) {
	for {
		peer, err := s.socket.Accept()
		if err != nil {
			select {
			case <-s.closed:
				return
			default:
				logf("fabric ibverbs: accept on %s: %v", s.Addr(), err) // out of descriptors, usually
				clock.Real{}.Sleep(acceptBackoff)
				continue
			}
		}
		if !s.enter() {
			_ = peer.Close()
			continue
		}
		go func() {
			defer s.leave()
			e, err := s.setUp(peer, check)
			if err != nil {
				_, _ = peer.Write(appendVerdict(nil, err))
				if e != nil {
					_ = e.Close()
				}
				_ = peer.Close()
				return
			}
			_ = peer.SetDeadline(time.Time{})
			go e.watchSocket(peer)
			_ = s.deliver(e)
		}()
	}
}

// setUp makes this end of a queue pair for one peer. With an error the queue pair, if there is one, must be closed.
func (s *socketSetup) setUp(peer net.Conn, check func(fabric.Hello) error) (*endpoint, error) {
	_ = peer.SetDeadline(now().Add(setupTimeout))
	r, err := s.greeted(peer)
	if err != nil {
		return nil, err
	}
	var b [linkBytes]byte
	if _, err := io.ReadFull(peer, b[:]); err != nil {
		return nil, err
	}
	theirs, err := parseLink(b[:])
	if err != nil {
		return nil, err
	}
	if err := check(r.hello()); err != nil {
		return nil, err
	}
	e, ours, err := startPlain(s.device, s.path, s.options, false, peer)
	if err != nil {
		return nil, err
	}
	if err := e.connectPlain(s.path, s.options, ours, theirs); err != nil {
		return e, err
	}
	_, err = peer.Write(ours.append(appendVerdict(nil, nil)))
	return e, err
}

// greeted reads a peer's record. What of it tells the version is judged first: the rest may be longer or shorter in another one.
func (s *socketSetup) greeted(peer net.Conn) (record, error) {
	var b [recordBytes]byte
	if _, err := io.ReadFull(peer, b[:recordPrefix]); err != nil {
		return record{}, err
	}
	if err := checkPrefix(b[:recordPrefix]); err != nil {
		return record{}, err
	}
	if _, err := io.ReadFull(peer, b[recordPrefix:]); err != nil {
		return record{}, err
	}
	return parseRecord(b[:])
}

// Close implements net.Listener.
func (s *socketSetup) Close() error {
	s.queue.close() // before serve sees its socket closed
	return s.socket.Close()
}

// finish frees everything. Every accepted endpoint must have been closed.
func (s *socketSetup) finish() { s.drain() }

// dialSocket connects a queue pair to the listener at address.
func dialSocket(ctx context.Context, address string, do fabric.DialOptions, o Options) (*endpoint, *device, error) {
	dialer := net.Dialer{}
	if do.LocalIP.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(do.LocalIP, 0))
	}
	peer, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	// Where a card has the address that the exchange goes out from, the queue pair takes the same way.
	d, p, err := choosePath(o, netip.MustParseAddrPort(peer.LocalAddr().String()).Addr())
	if err != nil {
		_ = peer.Close()
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = peer.Close() })
	e, ours, err := startPlain(d, p, o, true, peer)
	if err == nil {
		if err = e.exchange(peer, p, o, o.record(do.Hello), ours); err != nil {
			_ = e.Close()
		}
	}
	if !stop() && err != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = peer.Close()
		return nil, nil, err
	}
	go e.watchSocket(peer)
	return e, d, nil
}

// exchange is the dialler's side of the set-up.
func (e *endpoint) exchange(peer net.Conn, p path, o Options, r record, ours link) error {
	if _, err := peer.Write(ours.append(r.append(nil))); err != nil {
		return err
	}
	if err := readVerdict(peer); err != nil {
		return err
	}
	var b [linkBytes]byte
	if _, err := io.ReadFull(peer, b[:]); err != nil {
		return err
	}
	theirs, err := parseLink(b[:])
	if err != nil {
		return err
	}
	return e.connectPlain(p, o, ours, theirs)
}

// startPlain makes a queue pair that is not connected yet, and its half of the link.
func startPlain(d *device, p path, o Options, withData bool, peer net.Conn) (*endpoint, link, error) {
	e, err := newEndpoint(d, nil, o, withData, peer.RemoteAddr().String())
	if err != nil {
		return nil, link{}, err
	}
	e.bye = func() { _ = peer.Close() }
	if err := errno(C.dn_to_init(e.c, C.int(p.number))); err != nil {
		_ = e.Close()
		return nil, link{}, fmt.Errorf("initialise a queue pair on %s: %w", d.name(), err)
	}
	if err := e.ready(); err != nil {
		_ = e.Close()
		return nil, link{}, err
	}
	return e, link{
		qpn: uint32(e.c.qp.qp_num), psn: uint32(random.FreshSeed()) & 0xffffff, lid: p.lid,
		gid: p.gid, hasGID: p.gidIndex >= 0, mtu: uint8(p.mtu), reads: uint8(p.reads),
	}, nil
}

// connectPlain connects a queue pair with the other half of the link.
func (e *endpoint) connectPlain(p path, o Options, ours, theirs link) error {
	if ours.hasGID != theirs.hasGID {
		return fmt.Errorf("one end is on Ethernet (RoCE) and the other is not: %w", fabric.ErrRefused)
	}
	err := errno(C.dn_to_ready(e.c, C.int(p.number), C.int(p.gidIndex), (*C.uint8_t)(&theirs.gid[0]), C.uint16_t(theirs.lid),
		C.uint32_t(theirs.qpn), C.uint32_t(theirs.psn), C.uint32_t(ours.psn), C.int(min(ours.mtu, theirs.mtu)),
		C.int(min(ours.reads, theirs.reads)), C.int(o.Retries), C.int(o.AckTimeout)))
	if err != nil {
		return fmt.Errorf("connect a queue pair of %s (is there a route between the two addresses?): %w", p.device, err)
	}
	return nil
}

// watchSocket ends the endpoint when the set-up connection ends.
func (e *endpoint) watchSocket(peer net.Conn) {
	_, _ = peer.Read(make([]byte, 1))
	e.fail(io.EOF)
}
