//go:build rdma && linux && cgo

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"unsafe"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/internal/clock"
)

// cmSetup accepts queue pairs through rdma_cm. It implements net.Listener.
type cmSetup struct {
	*queue
	channel *cmChannel
	id      *C.struct_rdma_cm_id
	device  *device
	options Options
	address netip.AddrPort
	serving sync.Mutex // held by serve

	mu struct {
		sync.Mutex
		endpoints map[*C.struct_rdma_cm_id]*endpoint // until they are destroyed
		pending   map[*C.struct_rdma_cm_id]*endpoint // not established yet, so nobody's but ours; at most maxSetups
	}
}

func bindCM(address string, o Options) (*cmSetup, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if at.IP == nil || at.IP.IsUnspecified() || at.IP.IsLoopback() {
		return nil, fmt.Errorf("fabric ibverbs: rdma_cm listens on an IP of an RDMA device, which %q is not: %w; %s", address, ErrNoDevice, addressHint())
	}
	ch, err := newCMChannel()
	if err != nil {
		return nil, err
	}
	s := &cmSetup{queue: newQueue(), channel: ch, options: o}
	s.mu.endpoints = make(map[*C.struct_rdma_cm_id]*endpoint)
	s.mu.pending = make(map[*C.struct_rdma_cm_id]*endpoint)
	if err := s.bind(at.AddrPort()); err != nil {
		if s.id != nil {
			C.rdma_destroy_id(s.id)
		}
		ch.destroy()
		return nil, fmt.Errorf("bind RDMA connections to %s: %w", address, err)
	}
	return s, nil
}

func (s *cmSetup) bind(at netip.AddrPort) error {
	if rc, err := C.rdma_create_id(s.channel.c, &s.id, nil, C.RDMA_PS_TCP); rc != 0 {
		return err
	}
	if rc, err := C.rdma_bind_addr(s.id, newSockaddr(at).c()); rc != 0 {
		return fmt.Errorf("is the port free, and the IP this machine's? %w", err)
	}
	if s.id.verbs == nil {
		return fmt.Errorf("%w has the address %s; %s", ErrNoDevice, at.Addr(), addressHint())
	}
	var err error
	if s.device, err = deviceOf(s.id.verbs); err != nil {
		return err
	}
	if err := s.options.allows(at.Addr(), s.device.name(), int(C.dn_cm_port(s.id))); err != nil {
		return err
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], uint16(C.rdma_get_src_port(s.id)))
	s.address = netip.AddrPortFrom(at.Addr().Unmap(), binary.BigEndian.Uint16(port[:]))
	return nil
}

func (s *cmSetup) card() *device { return s.device }

func (s *cmSetup) way() (path, error) {
	ports, err := s.device.ports()
	if err != nil {
		return path{}, err
	}
	return choose(ports, Options{Port: int(C.dn_cm_port(s.id))}, s.address.Addr())
}

func (s *cmSetup) listen() error {
	if rc, err := C.rdma_listen(s.id, maxSetups); rc != 0 {
		return fmt.Errorf("listen for RDMA connections on %s: %w", s.address, err)
	}
	return nil
}

// Addr implements net.Listener.
func (s *cmSetup) Addr() net.Addr { return net.TCPAddrFromAddrPort(s.address) }

// serve handles events until Close. check judges what a peer says of itself.
func (s *cmSetup) serve(check func(fabric.Hello) error, logf func(string, ...any)) {
	s.serving.Lock()
	defer s.serving.Unlock()
	for {
		event, err := s.channel.next()
		if err == nil {
			s.handle(event, check)
			continue
		}
		select {
		case <-s.closed:
			return
		default:
			logf("fabric ibverbs: wait for connections on %s: %v", s.address, err)
			clock.Real{}.Sleep(acceptBackoff)
		}
	}
}

func (s *cmSetup) handle(event *C.struct_dn_event, check func(fabric.Hello) error) {
	switch {
	case event.kind == C.RDMA_CM_EVENT_CONNECT_REQUEST:
		if err := s.request(event, check); err != nil {
			verdict := appendVerdict(nil, err)
			C.rdma_reject(event.id, unsafe.Pointer(&verdict[0]), C.uint8_t(len(verdict)))
			C.rdma_destroy_id(event.id)
		}
	case event.kind == C.RDMA_CM_EVENT_ESTABLISHED:
		if e, _ := s.settle(event.id); e != nil {
			if err := e.established(); err != nil {
				e.fail(err)
			}
			_ = s.deliver(e)
		}
	case gone(event.kind):
		switch e, pending := s.settle(event.id); {
		case pending:
			_ = e.Close() // nobody else knows of it
		case e != nil:
			e.fail(io.EOF)
		}
	}
}

// settle returns the endpoint of an id, if it is there, and whether it was waiting to be established, which is over with this.
func (s *cmSetup) settle(id *C.struct_rdma_cm_id) (e *endpoint, pending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, pending = s.mu.pending[id]
	delete(s.mu.pending, id)
	return s.mu.endpoints[id], pending
}

// enlist enters an endpoint that is to be established, unless too many are.
func (s *cmSetup) enlist(id *C.struct_rdma_cm_id, e *endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.pending) >= maxSetups {
		return fmt.Errorf("%d queue pairs are being set up, try again: %w", maxSetups, fabric.ErrRefused)
	}
	s.mu.endpoints[id], s.mu.pending[id] = e, e
	return nil
}

// forget is called before the id's address can be another one's.
func (s *cmSetup) forget(id *C.struct_rdma_cm_id) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.endpoints, id)
	delete(s.mu.pending, id)
}

// request makes this end of a queue pair and accepts. An error is why the peer is rejected; then the id is still there, and nothing else.
func (s *cmSetup) request(event *C.struct_dn_event, check func(fabric.Hello) error) error {
	id := event.id
	r, err := parseRecord(C.GoBytes(unsafe.Pointer(&event.private_data[0]), C.int(event.private_bytes)))
	if err == nil {
		err = check(r.hello())
	}
	if err != nil {
		return err
	}
	e, err := newEndpoint(s.device, id, s.options, false, "rdma peer")
	if err != nil {
		return fmt.Errorf("%v: %w", err, fabric.ErrRefused)
	}
	if err := s.enlist(id, e); err != nil {
		e.abandon()
		return err
	}
	e.forget = func() { s.forget(id) }
	e.bye = func() { C.rdma_disconnect(id) }
	C.dn_cm_ack_timeout(id, C.uint8_t(s.options.AckTimeout))
	if err = e.ready(); err == nil {
		err = errno(C.dn_cm_connect(id, 1, nil, 0, 16, C.int(s.options.Retries)))
	}
	if err != nil {
		_ = e.Close() // with it the id: the peer is told by rdma_cm
	}
	return nil
}

// Close implements net.Listener: no new queue pairs from now on.
func (s *cmSetup) Close() error {
	s.queue.close()
	return nil
}

// finish frees everything. Every accepted endpoint must have been closed.
func (s *cmSetup) finish() {
	s.drain()
	s.mu.Lock()
	var left []*endpoint
	for _, e := range s.mu.endpoints {
		left = append(left, e)
	}
	s.mu.Unlock()
	for _, e := range left { // on their way to being established
		_ = e.Close()
		<-e.destroyed
	}
	_ = s.channel.events.SetReadDeadline(longAgo)
	s.serving.Lock() // no event is being handled
	defer s.serving.Unlock()
	C.rdma_destroy_id(s.id)
	s.channel.destroy()
}
