//go:build rdma && linux && cgo

package ibverbs

/*
#include <stdlib.h>
#include "verbs.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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

// gone says which events mean that a connection has ended.
func gone(kind C.int) bool {
	switch kind {
	case C.RDMA_CM_EVENT_DISCONNECTED, C.RDMA_CM_EVENT_TIMEWAIT_EXIT, C.RDMA_CM_EVENT_DEVICE_REMOVAL,
		C.RDMA_CM_EVENT_CONNECT_ERROR, C.RDMA_CM_EVENT_UNREACHABLE, C.RDMA_CM_EVENT_REJECTED:
		return true
	}
	return false
}
