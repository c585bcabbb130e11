//go:build rdma && linux && cgo

#include "verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct ibv_context *dn_open_device(const char *name)
{
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);
	struct ibv_context *c = NULL;
	if (!list)
		return NULL;
	errno = ENODEV;
	for (int i = 0; i < n && !c; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			c = ibv_open_device(list[i]);
	int saved = errno;
	ibv_free_device_list(list);
	errno = saved;
	return c;
}

int dn_query_port(struct ibv_context *c, int port, struct ibv_port_attr *a) { return -ibv_query_port(c, port, a); }

struct ibv_mr *dn_reg_mr(struct ibv_pd *pd, void *p, size_t length, int writable)
{
	int access = IBV_ACCESS_REMOTE_READ;
	if (writable)
		access |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
	struct ibv_mr *mr = ibv_reg_mr(pd, p, length, access);
	// Files with dax cannot be pinned, but cards with on-demand paging need not pin.
	if (!mr && (errno == EOPNOTSUPP || errno == EFAULT)) {
		int saved = errno;
		mr = ibv_reg_mr(pd, p, length, access | IBV_ACCESS_ON_DEMAND);
		errno = saved;
	}
	return mr;
}

static int nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int create_qp(struct dn_queue *q, struct ibv_pd *pd, uint32_t receives)
{
	// A card that cannot take this much inline payload refuses the queue pair: ask for less.
	for (uint32_t bytes = 256;; bytes /= 2) {
		struct ibv_qp_init_attr a = {
			.send_cq = q->send_cq, .recv_cq = q->recv_cq, .qp_type = IBV_QPT_RC, .sq_sig_all = 0,
			.cap = { .max_send_wr = q->depth, .max_recv_wr = receives, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = bytes },
		};
		if (q->id) {
			if (rdma_create_qp(q->id, pd, &a) == 0)
				q->qp = q->id->qp;
		} else {
			q->qp = ibv_create_qp(pd, &a);
		}
		if (q->qp) {
			q->max_inline = a.cap.max_inline_data < bytes ? a.cap.max_inline_data : bytes;
			return 0;
		}
		if (bytes == 0)
			return -errno;
	}
}

int dn_create(struct dn_queue *q, struct ibv_pd *pd, struct rdma_cm_id *id, void *arena, size_t length, uint32_t depth, uint32_t receives)
{
	q->context = pd->context;
	q->id = id;
	q->depth = depth;
	q->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->wrs = calloc(depth, sizeof *q->wrs);
	q->sges = calloc(depth, sizeof *q->sges);
	if (q->wake < 0 || !q->wrs || !q->sges)
		return -errno;
	// No remote access: peers reach the pool, never an endpoint's own buffers.
	if (!(q->arena = ibv_reg_mr(pd, arena, length, IBV_ACCESS_LOCAL_WRITE)))
		return -errno;
	if (!(q->send_channel = ibv_create_comp_channel(q->context)) || !(q->recv_channel = ibv_create_comp_channel(q->context)))
		return -errno;
	int rc = nonblocking(q->send_channel->fd);
	if (!rc)
		rc = nonblocking(q->recv_channel->fd);
	if (rc)
		return rc;
	if (!(q->send_cq = ibv_create_cq(q->context, depth + 1, NULL, q->send_channel, 0)) ||
	    !(q->recv_cq = ibv_create_cq(q->context, receives + 1, NULL, q->recv_channel, 0)))
		return -errno;
	return create_qp(q, pd, receives);
}

// A peer that finds no receive posted tries again after this time.
enum { NOT_READY_TIME = 8 }; // 0.16 ms

int dn_to_init(struct dn_queue *q, int port)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_INIT, .port_num = port, .qp_access_flags = 0 };
	return -ibv_modify_qp(q->qp, &a, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

int dn_to_ready(struct dn_queue *q, int port, int gid_index, const uint8_t *peer_gid, uint16_t peer_lid, uint32_t peer_qpn,
		uint32_t peer_psn, uint32_t psn, int mtu, int reads, int retries, int ack_timeout)
{
	struct ibv_qp_attr a = {
		.qp_state = IBV_QPS_RTR, .path_mtu = mtu, .dest_qp_num = peer_qpn, .rq_psn = peer_psn,
		.max_dest_rd_atomic = reads, .min_rnr_timer = NOT_READY_TIME,
		.ah_attr = { .dlid = peer_lid, .port_num = port },
	};
	if (gid_index >= 0) {
		a.ah_attr.is_global = 1;
		a.ah_attr.grh.hop_limit = 64;
		a.ah_attr.grh.sgid_index = gid_index;
		memcpy(a.ah_attr.grh.dgid.raw, peer_gid, 16);
	}
	int rc = ibv_modify_qp(q->qp, &a, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
					   IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	if (rc)
		return -rc;
	// rnr_retry 7 waits for ever while a peer's receive buffers are full: that peer is alive, and our callers have time
	// limits of their own. retry_cnt is about peers that do not answer at all.
	struct ibv_qp_attr s = { .qp_state = IBV_QPS_RTS, .timeout = ack_timeout, .retry_cnt = retries, .rnr_retry = 7,
				 .sq_psn = psn, .max_rd_atomic = reads };
	return -ibv_modify_qp(q->qp, &s, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
						 IBV_QP_MAX_QP_RD_ATOMIC);
}

int dn_set_access(struct dn_queue *q, int writable)
{
	struct ibv_qp_attr a = { .qp_access_flags = IBV_ACCESS_REMOTE_READ };
	if (writable)
		a.qp_access_flags |= IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
	return -ibv_modify_qp(q->qp, &a, IBV_QP_ACCESS_FLAGS);
}

int dn_set_not_ready_time(struct dn_queue *q)
{
	struct ibv_qp_attr a = { .min_rnr_timer = NOT_READY_TIME };
	return -ibv_modify_qp(q->qp, &a, IBV_QP_MIN_RNR_TIMER);
}

int dn_fail(struct dn_queue *q)
{
	struct ibv_qp_attr a = { .qp_state = IBV_QPS_ERR };
	return -ibv_modify_qp(q->qp, &a, IBV_QP_STATE);
}

void dn_destroy(struct dn_queue *q)
{
	if (q->qp) {
		if (q->id)
			rdma_destroy_qp(q->id);
		else
			ibv_destroy_qp(q->qp);
	}
	if (q->recv_cq) {
		ibv_ack_cq_events(q->recv_cq, q->unacknowledged); // or destroying it would wait for them
		ibv_destroy_cq(q->recv_cq);
	}
	if (q->send_cq)
		ibv_destroy_cq(q->send_cq);
	if (q->recv_channel)
		ibv_destroy_comp_channel(q->recv_channel);
	if (q->send_channel)
		ibv_destroy_comp_channel(q->send_channel);
	if (q->arena)
		ibv_dereg_mr(q->arena);
	if (q->id)
		rdma_destroy_id(q->id);
	if (q->wake > 0)
		close(q->wake);
	free(q->wrs);
	free(q->sges);
	memset(q, 0, sizeof *q);
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int post(struct dn_queue *q, const struct dn_wr *wr, int n)
{
	static const enum ibv_wr_opcode opcodes[] = {
		[DN_READ] = IBV_WR_RDMA_READ, [DN_WRITE] = IBV_WR_RDMA_WRITE, [DN_CAS] = IBV_WR_ATOMIC_CMP_AND_SWP,
		[DN_FETCH_ADD] = IBV_WR_ATOMIC_FETCH_AND_ADD, [DN_SEND] = IBV_WR_SEND_WITH_IMM,
	};
	for (int i = 0; i < n; i++) {
		struct ibv_send_wr *w = &q->wrs[i];
		q->sges[i] = (struct ibv_sge){ .addr = wr[i].local, .length = wr[i].length, .lkey = q->arena->lkey };
		*w = (struct ibv_send_wr){ .wr_id = i, .next = i + 1 < n ? w + 1 : NULL, .sg_list = &q->sges[i], .num_sge = 1,
					   .opcode = opcodes[wr[i].op] };
		if (wr[i].flags & DN_FENCE)
			w->send_flags |= IBV_SEND_FENCE;
		if (wr[i].flags & DN_INLINE) {
			w->send_flags |= IBV_SEND_INLINE;
			q->counters.inlined++;
		}
		switch (wr[i].op) {
		case DN_CAS:
		case DN_FETCH_ADD:
			w->wr.atomic.remote_addr = wr[i].remote;
			w->wr.atomic.rkey = q->rkey;
			w->wr.atomic.compare_add = wr[i].compare;
			w->wr.atomic.swap = wr[i].swap;
			break;
		case DN_SEND:
			w->imm_data = htonl(wr[i].immediate);
			break;
		default:
			w->wr.rdma.remote_addr = wr[i].remote;
			w->wr.rdma.rkey = q->rkey;
		}
	}
	// The last one's completion says that all before it are complete, too; each of them completes only if it fails.
	q->wrs[n - 1].send_flags |= IBV_SEND_SIGNALED;
	q->counters.doorbells++;
	q->counters.signalled++;
	q->counters.work_requests += n;
	struct ibv_send_wr *bad;
	return -ibv_post_send(q->qp, q->wrs, &bad);
}

// wait_event waits until the sending half has an event, somebody calls dn_wake, or time is up.
static int wait_event(struct dn_queue *q, int64_t deadline)
{
	int64_t left = deadline - now_ns();
	if (left <= 0)
		return -ETIMEDOUT;
	q->counters.sleeps++;
	struct pollfd fds[2] = { { .fd = q->send_channel->fd, .events = POLLIN }, { .fd = q->wake, .events = POLLIN } };
	int64_t ms = left / 1000000 + 1; // a wait without a deadline has more than poll can count; it looks again then
	int rc = poll(fds, 2, ms < INT_MAX ? (int)ms : INT_MAX);
	if (rc < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[1].revents)
		return -ECANCELED;
	if (fds[0].revents) {
		struct ibv_cq *cq;
		void *context;
		if (ibv_get_cq_event(q->send_channel, &cq, &context) == 0)
			ibv_ack_cq_events(cq, 1);
	}
	return 0;
}

int dn_run(struct dn_queue *q, const struct dn_wr *wr, int n, int64_t timeout_ns, struct dn_outcome *outcome)
{
	int rc = post(q, wr, n);
	if (rc)
		return rc;
	int64_t deadline = 0;
	for (uint32_t polls = 0;;) {
		struct ibv_wc wc;
		int got = ibv_poll_cq(q->send_cq, 1, &wc);
		if (got < 0)
			return -EIO;
		if (got && wc.status != IBV_WC_SUCCESS) {
			*outcome = (struct dn_outcome){ .index = wc.wr_id, .status = wc.status, .vendor = wc.vendor_err };
			return 1;
		}
		if (got && wc.wr_id == (uint64_t)(n - 1))
			return 0;
		if (got || ++polls < q->spin)
			continue;
		if (polls == q->spin) { // arm, then look once more: what came before arming makes no event
			if (!deadline)
				deadline = now_ns() + timeout_ns;
			if ((rc = ibv_req_notify_cq(q->send_cq, 0)))
				return -rc;
			continue;
		}
		rc = wait_event(q, deadline);
		// A failure ends the receiving half, too, and whoever waits there may close the queue pair before this wakes up:
		// the failure is still what happened.
		if (rc == -ECANCELED && ibv_poll_cq(q->send_cq, 1, &wc) == 1 && wc.status != IBV_WC_SUCCESS && wc.status != IBV_WC_WR_FLUSH_ERR) {
			*outcome = (struct dn_outcome){ .index = wc.wr_id, .status = wc.status, .vendor = wc.vendor_err };
			return 1;
		}
		if (rc)
			return rc;
		polls = q->spin - 1; // arm again
	}
}

void dn_wake(struct dn_queue *q)
{
	uint64_t one = 1;
	ssize_t ignored = write(q->wake, &one, sizeof one); // full means that it is awake already
	(void)ignored;
}

int dn_post_receive(struct dn_queue *q, uint64_t local, uint32_t length, uint32_t index)
{
	struct ibv_sge sge = { .addr = local, .length = length, .lkey = q->arena->lkey };
	struct ibv_recv_wr w = { .wr_id = index, .sg_list = &sge, .num_sge = 1 }, *bad;
	return -ibv_post_recv(q->qp, &w, &bad);
}

static int poll_receive(struct dn_queue *q, struct dn_outcome *outcome)
{
	struct ibv_wc wc;
	int got = ibv_poll_cq(q->recv_cq, 1, &wc);
	if (got < 0)
		return -EIO;
	if (got)
		*outcome = (struct dn_outcome){ .index = wc.wr_id, .status = wc.status, .vendor = wc.vendor_err, .bytes = wc.byte_len,
						.immediate = wc.wc_flags & IBV_WC_WITH_IMM ? ntohl(wc.imm_data) : 0 };
	return got;
}

int dn_receive(struct dn_queue *q, struct dn_outcome *outcome)
{
	int got = poll_receive(q, outcome);
	if (got)
		return got;
	struct ibv_cq *cq;
	void *context;
	while (ibv_get_cq_event(q->recv_channel, &cq, &context) == 0) // old events, or the wait would end at once
		if (++q->unacknowledged == 1024) {
			ibv_ack_cq_events(cq, q->unacknowledged);
			q->unacknowledged = 0;
		}
	int rc = ibv_req_notify_cq(q->recv_cq, 0);
	if (rc)
		return -rc;
	return poll_receive(q, outcome);
}

int dn_cm_nonblocking(struct rdma_event_channel *channel) { return nonblocking(channel->fd); }

int dn_cm_event(struct rdma_event_channel *channel, struct dn_event *e)
{
	struct rdma_cm_event *event;
	if (rdma_get_cm_event(channel, &event))
		return -errno;
	memset(e, 0, sizeof *e);
	e->id = event->id;
	e->listener = event->listen_id;
	e->kind = event->event;
	e->status = event->status;
	if (event->param.conn.private_data && event->param.conn.private_data_len) {
		e->private_bytes = event->param.conn.private_data_len;
		memcpy(e->private_data, event->param.conn.private_data, e->private_bytes);
	}
	rdma_ack_cm_event(event);
	return 0;
}

int dn_cm_connect(struct rdma_cm_id *id, int accept, const void *private_data, uint8_t bytes, int reads, int retries)
{
	struct rdma_conn_param p = {
		.private_data = private_data, .private_data_len = bytes, .responder_resources = reads, .initiator_depth = reads,
		.retry_count = retries, .rnr_retry_count = 7,
	};
	return (accept ? rdma_accept(id, &p) : rdma_connect(id, &p)) ? -errno : 0;
}

int dn_cm_ack_timeout(struct rdma_cm_id *id, uint8_t exponent)
{
	return rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &exponent, sizeof exponent) ? -errno : 0;
}

uint8_t dn_cm_port(struct rdma_cm_id *id) { return id->port_num; }
