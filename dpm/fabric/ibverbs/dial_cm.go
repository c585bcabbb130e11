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
	"unsafe"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

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
		r := o.record(do.Hello)
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
	if err := o.allows(to.Addr(), d.name(), int(C.dn_cm_port(id))); err != nil {
		return nil, err
	}
	C.dn_cm_ack_timeout(id, C.uint8_t(o.AckTimeout)) // older kernels cannot; then theirs holds
	if rc, err := C.rdma_resolve_route(id, milliseconds); rc != 0 {
		return nil, fmt.Errorf("find a route to %s: %w", to, err)
	}
	return d, ch.expect(C.RDMA_CM_EVENT_ROUTE_RESOLVED, "find a route to "+to.String())
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
