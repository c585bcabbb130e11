//go:build rdma && linux && cgo

package ibverbs

/*
#include <stdlib.h>
#include "verbs.h"
*/
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// sockaddr is an address as C wants it.
type sockaddr struct {
	v4  unix.RawSockaddrInet4
	v6  unix.RawSockaddrInet6
	is6 bool
}

func newSockaddr(a netip.AddrPort) *sockaddr {
	var s sockaddr
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], a.Port())
	if ip := a.Addr().Unmap(); ip.Is4() {
		s.v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: binary.NativeEndian.Uint16(port[:]), Addr: ip.As4()}
	} else {
		s.is6 = true
		s.v6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: binary.NativeEndian.Uint16(port[:]), Addr: ip.As16()}
	}
	return &s
}

func (s *sockaddr) c() *C.struct_sockaddr {
	if s.is6 {
		return (*C.struct_sockaddr)(unsafe.Pointer(&s.v6))
	}
	return (*C.struct_sockaddr)(unsafe.Pointer(&s.v4))
}

// cmChannel delivers rdma_cm's events through Go's poller.
type cmChannel struct {
	c      *C.struct_rdma_event_channel
	events *os.File
	event  *C.struct_dn_event
}

func newCMChannel() (*cmChannel, error) {
	c, err := C.rdma_create_event_channel()
	if c == nil {
		return nil, fmt.Errorf("rdma_cm (is the module rdma_ucm loaded, and /dev/infiniband/rdma_cm accessible?): %w: %w", ErrNoDevice, err)
	}
	ch := &cmChannel{c: c, event: (*C.struct_dn_event)(C.calloc(1, C.sizeof_struct_dn_event))}
	if err := errno(C.dn_cm_nonblocking(c)); err != nil {
		ch.destroy()
		return nil, err
	}
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		ch.destroy()
		return nil, err
	}
	ch.events = os.NewFile(uintptr(fd), "rdma-cm-events")
	return ch, nil
}

// destroy frees the channel. Its ids must be gone.
func (ch *cmChannel) destroy() {
	if ch.events != nil {
		_ = ch.events.Close()
	}
	C.rdma_destroy_event_channel(ch.c)
	C.free(unsafe.Pointer(ch.event))
}

// next waits for the next event, which is valid until the next call.
func (ch *cmChannel) next() (*C.struct_dn_event, error) {
	raw, err := ch.events.SyscallConn()
	if err != nil {
		return nil, err
	}
	var rc C.int
	err = raw.Read(func(uintptr) bool {
		rc = C.dn_cm_event(ch.c, ch.event)
		return !errors.Is(errno(rc), syscall.EAGAIN)
	})
	if err == nil {
		err = errno(rc)
	}
	return ch.event, err
}

// expect waits for one kind of event.
func (ch *cmChannel) expect(kind C.int, what string) error {
	e, err := ch.next()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case e.kind == kind:
		return nil
	case e.kind == C.RDMA_CM_EVENT_REJECTED:
		return rejection(e)
	}
	name := strings.TrimPrefix(C.GoString(C.rdma_event_str(C.enum_rdma_cm_event_type(e.kind))), "RDMA_CM_EVENT_")
	return fmt.Errorf("%s: rdma_cm says %s (%d)", what, name, e.status)
}

// rejection returns the listener's reason, or that nobody listens.
func rejection(e *C.struct_dn_event) error {
	const consumerDefined = 28
	if e.status == consumerDefined && e.private_bytes >= 2 {
		if err := parseVerdict(C.GoBytes(unsafe.Pointer(&e.private_data[0]), C.int(e.private_bytes))); err != nil {
			return err
		}
	}
	return fmt.Errorf("rdma_cm: connection rejected (%d): nobody listens there", e.status)
}

// dialCM connects a queue pair to the listener at address.
func dialCM(ctx context.Context, address string, do fabric.DialOptions, o Options) (*endpoint, *device, error) {
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	ch, err := newCMChannel()
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = ch.events.SetReadDeadline(longAgo) })
	e, d, err := ch.dial(ctx, to.AddrPort(), do, o)
	if !stop() && err != nil {
		err = ctx.Err()
	}
	if err != nil {
		ch.destroy()
		return nil, nil, err
	}
	go ch.watch(e)
	return e, d, nil
}

// dial goes through rdma_cm's steps. On an error nothing of it is left but the channel.
func (ch *cmChannel) dial(ctx context.Context, to netip.AddrPort, do fabric.DialOptions, o Options) (*endpoint, *device, error) {
	var id *C.struct_rdma_cm_id
	if rc, err := C.rdma_create_id(ch.c, &id, nil, C.RDMA_PS_TCP); rc != 0 {
		return nil, nil, fmt.Errorf("rdma_cm: %w", err)
	}
	d, err := ch.resolve(ctx, id, do.LocalIP, to, o)
	var e *endpoint
	if err == nil {
		e, err = newEndpoint(d, id, o, true, to.String())
	}
	if err != nil {
		C.rdma_destroy_id(id)
		return nil, nil, err
	}
	e.bye = func() { C.rdma_disconnect(id) }
	if err = e.ready(); err == nil {
		r := recordOf(do.Hello)
		private := r.append(nil)
		err = errno(C.dn_cm_connect(id, 0, unsafe.Pointer(&private[0]), C.uint8_t(len(private)), 16, C.int(o.Retries)))
	}
	if err == nil {
		err = ch.expect(C.RDMA_CM_EVENT_ESTABLISHED, "connect")
	}
	if err == nil {
		err = e.established()
	}
	if err != nil {
		_ = e.Close()
		<-e.destroyed
		return nil, nil, err
	}
	return e, d, nil
}

// established sets what rdma_cm does not.
func (e *endpoint) established() error {
	if err := e.begin(); err != nil {
		return err
	}
	defer e.end()
	if err := errno(C.dn_set_not_ready_time(e.c)); err != nil {
		return fmt.Errorf("set up a queue pair: %w", err)
	}
	return nil
}

// resolve finds the card and the route to an address.
func (ch *cmChannel) resolve(ctx context.Context, id *C.struct_rdma_cm_id, from netip.Addr, to netip.AddrPort, o Options) (*device, error) {
	milliseconds := C.int(5000)
	if deadline, ok := ctx.Deadline(); ok {
		milliseconds = C.int(max(1, deadline.Sub(now())/time.Millisecond))
	}
	var source *C.struct_sockaddr
	if from.IsValid() && !from.IsLoopback() { // a card has no loopback addresses
		source = newSockaddr(netip.AddrPortFrom(from, 0)).c()
	}
	if rc, err := C.rdma_resolve_addr(id, source, newSockaddr(to).c(), milliseconds); rc != 0 {
		return nil, fmt.Errorf("resolve %s to an RDMA device: %w", to, err)
	}
	if err := ch.expect(C.RDMA_CM_EVENT_ADDR_RESOLVED, "resolve "+to.String()+" to an RDMA device"); err != nil {
		return nil, err
	}
	d, err := deviceOf(id.verbs)
	if err != nil {
		return nil, err
	}
	if err := o.allows(d.name(), int(C.dn_cm_port(id))); err != nil {
		return nil, err
	}
	C.dn_cm_ack_timeout(id, C.uint8_t(o.AckTimeout)) // older kernels cannot; then theirs holds
	if rc, err := C.rdma_resolve_route(id, milliseconds); rc != 0 {
		return nil, fmt.Errorf("find a route to %s: %w", to, err)
	}
	return d, ch.expect(C.RDMA_CM_EVENT_ROUTE_RESOLVED, "find a route to "+to.String())
}

// allows says whether the card that an address leads to is one that the options name.
func (o *Options) allows(device string, port int) error {
	if o.Device != "" && o.Device != device || o.Port != 0 && o.Port != port {
		return fmt.Errorf("%w: the address belongs to %s port %d, the options want %s port %d", ErrNoDevice, device, port, o.Device, o.Port)
	}
	return nil
}

// watch ends the endpoint when rdma_cm says that its peer has gone, and frees the channel after it.
func (ch *cmChannel) watch(e *endpoint) {
	for {
		event, err := ch.next()
		if err != nil {
			break
		}
		if gone(event.kind) {
			e.fail(io.EOF)
			break
		}
	}
	<-e.destroyed
	ch.destroy()
}

// gone says which events mean that a connection has ended.
func gone(kind C.int) bool {
	switch kind {
	case C.RDMA_CM_EVENT_DISCONNECTED, C.RDMA_CM_EVENT_TIMEWAIT_EXIT, C.RDMA_CM_EVENT_DEVICE_REMOVAL,
		C.RDMA_CM_EVENT_CONNECT_ERROR, C.RDMA_CM_EVENT_UNREACHABLE, C.RDMA_CM_EVENT_REJECTED:
		return true
	}
	return false
}

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
	}
}

func bindCM(address string, o Options) (*cmSetup, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if at.IP == nil || at.IP.IsUnspecified() || at.IP.IsLoopback() {
		return nil, fmt.Errorf("fabric ibverbs: listen on an address of an RDMA device, not on %q", address)
	}
	ch, err := newCMChannel()
	if err != nil {
		return nil, err
	}
	s := &cmSetup{queue: newQueue(), channel: ch, options: o}
	s.mu.endpoints = make(map[*C.struct_rdma_cm_id]*endpoint)
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
		return fmt.Errorf("is the port free? %w", err)
	}
	if s.id.verbs == nil {
		return fmt.Errorf("%w has the address %s", ErrNoDevice, at.Addr())
	}
	var err error
	if s.device, err = deviceOf(s.id.verbs); err != nil {
		return err
	}
	if err := s.options.allows(s.device.name(), int(C.dn_cm_port(s.id))); err != nil {
		return err
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], uint16(C.rdma_get_src_port(s.id)))
	s.address = netip.AddrPortFrom(at.Addr().Unmap(), binary.BigEndian.Uint16(port[:]))
	return nil
}

func (s *cmSetup) card() *device { return s.device }

func (s *cmSetup) listen() error {
	if rc, err := C.rdma_listen(s.id, maxSetups); rc != 0 {
		return fmt.Errorf("listen for RDMA connections on %s: %w", s.address, err)
	}
	return nil
}

// Addr implements net.Listener.
func (s *cmSetup) Addr() net.Addr { return net.TCPAddrFromAddrPort(s.address) }

// serve handles events until Close. check judges what a peer says of itself.
func (s *cmSetup) serve(check func(fabric.Hello) error) {
	s.serving.Lock()
	defer s.serving.Unlock()
	for {
		e, err := s.channel.next()
		if err != nil {
			return // closed
		}
		switch {
		case e.kind == C.RDMA_CM_EVENT_CONNECT_REQUEST:
			s.request(e, check)
		case e.kind == C.RDMA_CM_EVENT_ESTABLISHED:
			if endpoint := s.endpointOf(e.id); endpoint != nil {
				if err := endpoint.established(); err != nil {
					endpoint.fail(err)
				}
				_ = s.deliver(endpoint)
			}
		case gone(e.kind):
			if endpoint := s.endpointOf(e.id); endpoint != nil {
				endpoint.fail(io.EOF)
			}
		}
	}
}

func (s *cmSetup) endpointOf(id *C.struct_rdma_cm_id) *endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.endpoints[id]
}

// request makes this end of a queue pair and accepts, or rejects.
func (s *cmSetup) request(event *C.struct_dn_event, check func(fabric.Hello) error) {
	id := event.id
	r, err := parseRecord(C.GoBytes(unsafe.Pointer(&event.private_data[0]), C.int(event.private_bytes)))
	if err == nil {
		err = check(r.hello())
	}
	if err != nil {
		verdict := appendVerdict(nil, err)
		C.rdma_reject(id, unsafe.Pointer(&verdict[0]), C.uint8_t(len(verdict)))
		C.rdma_destroy_id(id)
		return
	}
	e, err := newEndpoint(s.device, id, s.options, false, "rdma peer")
	if err != nil {
		verdict := appendVerdict(nil, fmt.Errorf("%v: %w", err, fabric.ErrRefused))
		C.rdma_reject(id, unsafe.Pointer(&verdict[0]), C.uint8_t(len(verdict)))
		C.rdma_destroy_id(id)
		return
	}
	s.mu.Lock()
	s.mu.endpoints[id] = e
	s.mu.Unlock()
	e.forget = func() { // before the id's address can be another one's
		s.mu.Lock()
		delete(s.mu.endpoints, id)
		s.mu.Unlock()
	}
	e.bye = func() { C.rdma_disconnect(id) }
	C.dn_cm_ack_timeout(id, C.uint8_t(s.options.AckTimeout))
	if err = e.ready(); err == nil {
		err = errno(C.dn_cm_connect(id, 1, nil, 0, 16, C.int(s.options.Retries)))
	}
	if err != nil {
		_ = e.Close()
	}
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

// finish frees everything. Every accepted endpoint must have been closed.
func (s *socketSetup) finish() { s.drain() }
