//go:build rdma && linux && cgo && rdmatest

package ibverbs

/*
#include "verbs.h"
*/
import "C"

// Tests cannot use cgo, so what they need of it is here, under a tag that only they set.

type cWorkRequest = C.struct_dn_wr

func rawWrite(q *QP, remote uint64) cWorkRequest {
	copy(q.endpoint.data(), "\x01\x02\x03\x04\x05\x06\x07\x08")
	return cWorkRequest{op: C.DN_WRITE, remote: C.uint64_t(remote), local: q.local(0), length: 8}
}

func rawFetchAdd(q *QP, remote uint64) cWorkRequest {
	return cWorkRequest{op: C.DN_FETCH_ADD, remote: C.uint64_t(remote), local: q.local(0), length: 8, compare: 1}
}
