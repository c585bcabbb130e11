//go:build rdma && linux && cgo && rdmatest

package ibverbs

/*
#include "verbs.h"
*/
import "C"

import (
	"context"
	"net/netip"
	"unsafe"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
)

// halfDial asks the listener at address for a queue pair, runs wait, and goes away without completing the set-up.
func halfDial(ctx context.Context, address string, o Options, wait func()) error {
	o.EnsureDefaults()
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ch, err := newCMChannel()
	if err != nil {
		return err
	}
	defer ch.destroy()
	var id *C.struct_rdma_cm_id
	if rc, err := C.rdma_create_id(ch.c, &id, nil, C.RDMA_PS_TCP); rc != 0 {
		return err
	}
	defer func() { C.rdma_destroy_id(id) }()
	if _, err := ch.resolve(ctx, id, netip.Addr{}, to, o); err != nil {
		return err
	}
	r := o.record(fabric.Hello{})
	private := r.append(nil)
	// Without a queue pair of its own rdma_cm leaves the last step of the set-up to this process, which never takes it.
	if err := errno(C.dn_cm_connect(id, 0, unsafe.Pointer(&private[0]), C.uint8_t(len(private)), 16, C.int(o.Retries))); err != nil {
		return err
	}
	wait()
	return nil
}

// Tests cannot use cgo, so what they need of it is here, under a tag that only they set.

type cWorkRequest = C.struct_dn_wr

func rawWrite(q *QP, remote uint64) cWorkRequest {
	copy(q.endpoint.data(), "\x01\x02\x03\x04\x05\x06\x07\x08")
	return cWorkRequest{op: C.DN_WRITE, remote: C.uint64_t(remote), local: q.local(0), length: 8}
}

func rawFetchAdd(q *QP, remote uint64) cWorkRequest {
	return cWorkRequest{op: C.DN_FETCH_ADD, remote: C.uint64_t(remote), local: q.local(0), length: 8, compare: 1}
}
