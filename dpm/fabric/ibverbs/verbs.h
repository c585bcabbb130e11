//go:build rdma && linux && cgo

// The part of the backend that is C: what libibverbs offers as macros and inline functions, and the loops that
// must not cross between Go and C for each step.

#ifndef DINOMO_VERBS_H
#define DINOMO_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdint.h>

enum dn_op { DN_READ = 1, DN_WRITE, DN_CAS, DN_FETCH_ADD, DN_SEND };

enum dn_flag {
	DN_FENCE = 1,  // not before the READs and atomics that were posted earlier are complete
	DN_INLINE = 2, // the card need not fetch the payload
};

// A work request as Go makes it: no pointers that the garbage collector would have to know.
struct dn_wr {
	uint64_t remote;
	uint64_t local;   // address in the endpoint's arena
	uint64_t compare; // CAS: expect; FETCH_ADD: addend
	uint64_t swap;    // CAS
	uint32_t length;
	uint32_t immediate; // SEND
	uint8_t op;
	uint8_t flags;
	uint8_t reserved[6];
};

// What the card was asked to do.
struct dn_counters {
	uint64_t doorbells;
	uint64_t work_requests;
	uint64_t signalled; // work requests whose completion was asked for
	uint64_t inlined;   // work requests whose payload the card need not fetch
	uint64_t sleeps;    // waits that polling did not end
};

// A queue pair with what belongs to it. The sending half is used by one thread at a time, and so is the
// receiving half; the halves are independent.
struct dn_queue {
	struct ibv_context *context;
	struct ibv_qp *qp;
	struct rdma_cm_id *id; // NULL unless made by rdma_cm
	struct ibv_cq *send_cq, *recv_cq;
	struct ibv_comp_channel *send_channel, *recv_channel;
	struct ibv_mr *arena;
	int wake; // eventfd: written to interrupt a wait
	uint32_t rkey;
	uint32_t depth;      // work requests of one dn_run
	uint32_t max_inline; // bytes
	uint32_t spin;       // polls before sleeping
	uint32_t unacknowledged; // completion events of the receiving half
	struct ibv_send_wr *wrs;
	struct ibv_sge *sges;
	struct dn_counters counters; // of the sending half
};

// What became of a dn_run or a receive.
struct dn_outcome {
	uint32_t index; // of the work request that failed
	int32_t status; // ibv_wc_status
	uint32_t vendor;
	uint32_t bytes;     // receives
	uint32_t immediate; // receives
};

// Devices.
struct ibv_context *dn_open_device(const char *name);
int dn_query_port(struct ibv_context *c, int port, struct ibv_port_attr *a);
struct ibv_mr *dn_reg_mr(struct ibv_pd *pd, void *p, size_t length, int writable);

// Queue pairs. dn_create makes everything but the queue pair's connection; id is NULL for a plain one.
int dn_create(struct dn_queue *q, struct ibv_pd *pd, struct rdma_cm_id *id, void *arena, size_t length, uint32_t depth, uint32_t receives);
int dn_to_init(struct dn_queue *q, int port);
int dn_to_ready(struct dn_queue *q, int port, int gid_index, const uint8_t *peer_gid, uint16_t peer_lid, uint32_t peer_qpn,
		uint32_t peer_psn, uint32_t psn, int mtu, int reads, int retries, int ack_timeout);
int dn_set_access(struct dn_queue *q, int writable);
int dn_set_not_ready_time(struct dn_queue *q); // rdma_cm leaves it at 655 ms
int dn_fail(struct dn_queue *q);
void dn_destroy(struct dn_queue *q);

// dn_run posts n work requests (at most depth) with one doorbell and waits until all are complete: 0, 1 when
// one failed (see outcome), -ETIMEDOUT, -ECANCELED after dn_wake, or another negative errno.
int dn_run(struct dn_queue *q, const struct dn_wr *wr, int n, int64_t timeout_ns, struct dn_outcome *outcome);
void dn_wake(struct dn_queue *q);

// Receives. dn_receive returns 1 with an outcome, 0 when there is none (the channel is armed then), or a negative errno.
int dn_post_receive(struct dn_queue *q, uint64_t local, uint32_t length, uint32_t index);
int dn_receive(struct dn_queue *q, struct dn_outcome *outcome);

// rdma_cm.
struct dn_event {
	struct rdma_cm_id *id, *listener;
	int kind;
	int status;
	uint32_t private_bytes;
	uint8_t private_data[256];
};
int dn_cm_event(struct rdma_event_channel *channel, struct dn_event *e); // does not block: -EAGAIN
int dn_cm_nonblocking(struct rdma_event_channel *channel);
int dn_cm_connect(struct rdma_cm_id *id, int accept, const void *private_data, uint8_t bytes, int reads, int retries);
int dn_cm_ack_timeout(struct rdma_cm_id *id, uint8_t exponent);
uint8_t dn_cm_port(struct rdma_cm_id *id);

#endif
