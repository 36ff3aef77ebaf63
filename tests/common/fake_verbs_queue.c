/*
 * fake_verbs_queue.c - completion queues, receives and queue pairs of fake_verbs.h.
 *
 * Everything is done when it is posted: a write that finds no receive, or is held back, waits in
 * its queue pair.
 */
#include "tests/common/fake_verbs_state.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { QPS_MAX = 1024, SEND_MAX = 512 };

struct fake_cq {
	struct ibv_cq cq;
	struct ibv_wc *wc; /* [cq.cqe] */
	int count;
	bool armed, broken;
};

struct fake_srq {
	struct ibv_srq srq;
	uint64_t *wr_ids; /* [size] */
	uint32_t size, count;
	uint32_t unpolled; /* taken, and their completions not */
};

struct fake_write {
	struct ibv_send_wr wr;
	struct ibv_sge sges[FAKE_SGES_MAX];
	unsigned char *copy; /* of what is inline */
};

struct fake_qp {
	struct ibv_qp qp;
	struct ibv_qp_cap cap;
	uint32_t to;
	struct fake_write writes[SEND_MAX];
	uint32_t first, count;
	bool was_error;
};

static struct fake_qp *qps[QPS_MAX]; /* at number % QPS_MAX */
static uint32_t last_number;

static struct fake_cq *cq_of(struct ibv_cq *cq)
{
	return (struct fake_cq *)cq;
}

static struct fake_qp *qp_of(uint32_t number)
{
	struct fake_qp *qp = qps[number % QPS_MAX];

	return qp && qp->qp.qp_num == number ? qp : NULL;
}

struct ibv_qp *fake_qp_by_number(uint32_t number)
{
	struct fake_qp *qp = qp_of(number);

	return qp ? &qp->qp : NULL;
}

/* --- completions ---------------------------------------------------------------------------- */

static void complete(struct fake_qp *qp, const struct ibv_wc *wc)
{
	struct fake_cq *cq = cq_of(qp->qp.recv_cq);

	if (cq->count == cq->cq.cqe) {
		if (!cq->broken)
			fake_event(cq->cq.context, IBV_EVENT_CQ_ERR, NULL);
		cq->broken = true;
		return;
	}
	cq->wc[cq->count] = *wc;
	cq->wc[cq->count++].qp_num = qp->qp.qp_num;
	if ((uint32_t)cq->count > fake_about(cq->cq.context)->cq_most)
		fake_about(cq->cq.context)->cq_most = (uint32_t)cq->count;
	if (cq->armed)
		fake_ring(cq->cq.channel->fd);
	cq->armed = false;
}

/* Its place in the shared receive queue is free again. */
static void taken(const struct ibv_wc *wc)
{
	const struct fake_qp *qp = qp_of(wc->qp_num);

	if (qp && (wc->opcode & IBV_WC_RECV))
		((struct fake_srq *)qp->qp.srq)->unpolled--;
}

static int poll_cq(struct ibv_cq *given, int max, struct ibv_wc *wc)
{
	struct fake_cq *cq = cq_of(given);
	int n = cq->count < max ? cq->count : max;

	memcpy(wc, cq->wc, (size_t)n * sizeof(*wc));
	for (int i = 0; i < n; i++)
		taken(&wc[i]);
	cq->count -= n;
	memmove(cq->wc, cq->wc + n, (size_t)cq->count * sizeof(*wc));
	return n;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited)
{
	(void)solicited;
	cq_of(cq)->armed = true;
	return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context,
			     struct ibv_comp_channel *channel, int vector)
{
	struct fake_cq *cq = calloc(1, sizeof(*cq));

	(void)cq_context;
	(void)vector;
	assert_non_null(cq);
	assert_true(cqe > 0 && cqe <= fake_about(context)->max_cqe);
	cq->cq.context = context;
	cq->cq.channel = channel;
	cq->cq.cqe = cqe;
	cq->wc = calloc((size_t)cqe, sizeof(*cq->wc));
	assert_non_null(cq->wc);
	fake_about(context)->cqs++;
	return &cq->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	fake_about(cq->context)->cqs--;
	free(cq_of(cq)->wc);
	free(cq);
	return 0;
}

/* --- writes --------------------------------------------------------------------------------- */

static void flush(struct fake_qp *qp)
{
	for (; qp->count; qp->count--, qp->first = (qp->first + 1) % SEND_MAX) {
		struct fake_write *w = &qp->writes[qp->first];

		complete(qp, &(struct ibv_wc){.wr_id = w->wr.wr_id, .status = IBV_WC_WR_FLUSH_ERR});
		free(w->copy);
	}
}

static void fails(struct fake_qp *qp, enum ibv_wc_status status)
{
	struct fake_write *w = &qp->writes[qp->first];

	complete(qp, &(struct ibv_wc){.wr_id = w->wr.wr_id, .status = status});
	free(w->copy);
	qp->first = (qp->first + 1) % SEND_MAX;
	qp->count--;
	qp->qp.state = IBV_QPS_ERR;
	qp->was_error = true;
	flush(qp);
}

static size_t length_of(const struct fake_write *w)
{
	size_t bytes = 0;

	for (int i = 0; i < w->wr.num_sge; i++)
		bytes += w->sges[i].length;
	return bytes;
}

/* Return: whether it was let through; its own queue pair, or both, have failed otherwise. */
static bool allowed(struct fake_qp *qp, struct fake_qp *peer, const struct fake_write *w)
{
	size_t bytes = length_of(w);

	for (int i = 0; i < w->wr.num_sge && !w->copy; i++)
		if (!fake_may(w->sges[i].lkey, w->sges[i].addr, w->sges[i].length, 0, qp->qp.pd)) {
			fails(qp, IBV_WC_LOC_PROT_ERR);
			return false;
		}
	if (bytes && !fake_may(w->wr.wr.rdma.rkey, w->wr.wr.rdma.remote_addr, bytes,
			       IBV_ACCESS_REMOTE_WRITE, peer->qp.pd)) {
		fake_event(peer->qp.context, IBV_EVENT_QP_ACCESS_ERR, &peer->qp);
		peer->qp.state = IBV_QPS_ERR;
		peer->was_error = true;
		flush(peer);
		fails(qp, IBV_WC_REM_ACCESS_ERR);
		return false;
	}
	return true;
}

static void copy(const struct fake_write *w)
{
	unsigned char *to = (unsigned char *)(uintptr_t)w->wr.wr.rdma.remote_addr;

	for (int i = 0; i < w->wr.num_sge; i++) {
		memcpy(to, (void *)(uintptr_t)w->sges[i].addr, w->sges[i].length);
		to += w->sges[i].length;
	}
}

static void received(struct fake_qp *peer, const struct fake_write *w)
{
	struct fake_srq *srq = (struct fake_srq *)peer->qp.srq;

	srq->unpolled++;
	complete(peer,
		 &(struct ibv_wc){.wr_id = srq->wr_ids[--srq->count],
				  .opcode = w->wr.opcode == IBV_WR_SEND ? IBV_WC_RECV
									: IBV_WC_RECV_RDMA_WITH_IMM,
				  .wc_flags = w->wr.opcode == IBV_WR_SEND ? 0 : IBV_WC_WITH_IMM,
				  .imm_data = w->wr.imm_data,
				  .byte_len = (uint32_t)length_of(w)});
	fake_about(peer->qp.context)->receives--;
}

static void go_on(struct fake_qp *qp)
{
	while (qp->count && !fake_verbs.held) {
		struct fake_write *w = &qp->writes[qp->first];
		struct fake_qp *peer = qp_of(qp->to);
		bool answers = peer && peer->to == qp->qp.qp_num && !fake_verbs.cut &&
			       fake_about(peer->qp.context)->active &&
			       fake_about(qp->qp.context)->active &&
			       (peer->qp.state == IBV_QPS_RTR || peer->qp.state == IBV_QPS_RTS);

		if (!answers) {
			fails(qp, IBV_WC_RETRY_EXC_ERR);
			return;
		}
		if (w->wr.opcode != IBV_WR_RDMA_WRITE && !((struct fake_srq *)peer->qp.srq)->count)
			return; /* receiver not ready: for ever */
		if (!allowed(qp, peer, w))
			return;
		copy(w);
		fake_verbs.writes++;
		if (w->wr.opcode != IBV_WR_RDMA_WRITE)
			received(peer, w);
		if (w->wr.send_flags & IBV_SEND_SIGNALED)
			complete(qp, &(struct ibv_wc){.wr_id = w->wr.wr_id,
						      .opcode = IBV_WC_RDMA_WRITE});
		free(w->copy);
		qp->first = (qp->first + 1) % SEND_MAX;
		qp->count--;
	}
}

static void all_go_on(void)
{
	for (uint32_t i = 0; i < QPS_MAX; i++)
		if (qps[i] && qps[i]->qp.state == IBV_QPS_RTS)
			go_on(qps[i]);
}

void fake_verbs_release(void)
{
	fake_verbs.held = false;
	all_go_on();
}

static void keep_inline(struct fake_write *w)
{
	unsigned char *to = malloc(length_of(w) + 1);

	assert_non_null(to);
	w->copy = to;
	for (int i = 0; i < w->wr.num_sge; i++) {
		memcpy(to, (void *)(uintptr_t)w->sges[i].addr, w->sges[i].length);
		w->sges[i].addr = (uintptr_t)to;
		to += w->sges[i].length;
	}
}

static int post_send(struct ibv_qp *given, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct fake_qp *qp = (struct fake_qp *)given;
	struct fake_write *w = &qp->writes[(qp->first + qp->count) % SEND_MAX];

	*bad = wr;
	if (given->state != IBV_QPS_RTS && given->state != IBV_QPS_ERR)
		return EINVAL;
	if (qp->count == qp->cap.max_send_wr)
		return ENOMEM;
	assert_null(wr->next);
	assert_in_range(wr->num_sge, 0, qp->cap.max_send_sge);
	*w = (struct fake_write){.wr = *wr};
	for (int i = 0; i < wr->num_sge; i++)
		w->sges[i] = wr->sg_list[i];
	if (wr->send_flags & IBV_SEND_INLINE) {
		assert_in_range(length_of(w), 0, qp->cap.max_inline_data);
		keep_inline(w);
	}
	qp->count++;
	if (given->state == IBV_QPS_ERR)
		flush(qp);
	else
		go_on(qp);
	return 0;
}

/* --- receives ------------------------------------------------------------------------------- */

static int post_srq_recv(struct ibv_srq *given, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct fake_srq *srq = (struct fake_srq *)given;

	for (; wr; wr = wr->next) {
		*bad = wr;
		if (fake_about(given->context)->gone)
			return EIO;
		if (srq->count + srq->unpolled == srq->size)
			return ENOMEM;
		assert_int_equal(wr->num_sge, 0);
		srq->wr_ids[srq->count++] = wr->wr_id;
		fake_about(given->context)->receives++;
	}
	all_go_on();
	return 0;
}

struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
	struct fake_srq *srq = calloc(1, sizeof(*srq));

	assert_non_null(srq);
	assert_true((int)attr->attr.max_wr <= fake_about(pd->context)->max_srq_wr);
	srq->srq.context = pd->context;
	srq->size = attr->attr.max_wr;
	srq->wr_ids = calloc(srq->size, sizeof(*srq->wr_ids));
	assert_non_null(srq->wr_ids);
	fake_about(pd->context)->srqs++;
	return &srq->srq;
}

int ibv_destroy_srq(struct ibv_srq *given)
{
	struct fake_srq *srq = (struct fake_srq *)given;

	fake_about(given->context)->receives -= srq->count;
	fake_about(given->context)->srqs--;
	free(srq->wr_ids);
	free(srq);
	return 0;
}

/* --- queue pairs ---------------------------------------------------------------------------- */

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct fake_qp *qp;

	if (fake_about(pd->context)->gone) {
		errno = EIO;
		return NULL;
	}
	qp = calloc(1, sizeof(*qp));
	assert_non_null(qp);
	assert_in_range(attr->cap.max_send_wr, 1, SEND_MAX);
	assert_in_range(attr->cap.max_send_sge, 1, FAKE_SGES_MAX);
	do {
		last_number++;
	} while (qps[last_number % QPS_MAX]);
	qps[last_number % QPS_MAX] = qp;
	qp->cap = attr->cap;
	qp->qp = (struct ibv_qp){.context = pd->context,
				 .pd = pd,
				 .send_cq = attr->send_cq,
				 .recv_cq = attr->recv_cq,
				 .srq = attr->srq,
				 .qp_num = last_number,
				 .state = IBV_QPS_RESET};
	fake_about(pd->context)->qps++;
	return &qp->qp;
}

int ibv_modify_qp(struct ibv_qp *given, struct ibv_qp_attr *attr, int mask)
{
	struct fake_qp *qp = (struct fake_qp *)given;
	const struct fake_device *d = fake_about(given->context);

	assert_true(mask & IBV_QP_STATE);
	if (d->gone)
		return EIO;
	if (attr->qp_state == IBV_QPS_RTR && d->connect_error)
		return d->connect_error;
	if (attr->qp_state != IBV_QPS_ERR && attr->qp_state != given->state + 1)
		return EINVAL;
	if (mask & IBV_QP_AV && fake_verbs.labels_count < FAKE_LABELS_MAX)
		fake_verbs.labels[fake_verbs.labels_count++] = attr->ah_attr.grh.flow_label;
	if (mask & IBV_QP_DEST_QPN)
		qp->to = attr->dest_qp_num;
	given->state = attr->qp_state;
	if (given->state == IBV_QPS_ERR) {
		qp->was_error = true;
		flush(qp);
	}
	return 0;
}

/* Completions of the queue pair go with it; the places of their receives are free, untold. */
int ibv_destroy_qp(struct ibv_qp *given)
{
	struct fake_qp *qp = (struct fake_qp *)given;
	struct fake_cq *cq = cq_of(given->recv_cq);
	int kept = 0;

	if (given->state != IBV_QPS_RESET && given->state != IBV_QPS_INIT && !qp->was_error &&
	    !fake_about(given->context)->gone)
		fake_about(given->context)->qps_broken++;
	for (int i = 0; i < cq->count; i++) {
		if (cq->wc[i].qp_num == given->qp_num)
			taken(&cq->wc[i]);
		else
			cq->wc[kept++] = cq->wc[i];
	}
	cq->count = kept;
	for (; qp->count; qp->count--, qp->first = (qp->first + 1) % SEND_MAX)
		free(qp->writes[qp->first].copy);
	qps[given->qp_num % QPS_MAX] = NULL;
	fake_about(given->context)->qps--;
	free(qp);
	return 0;
}

const struct ibv_context_ops fake_ops = {
	.poll_cq = poll_cq,
	.req_notify_cq = req_notify_cq,
	.post_srq_recv = post_srq_recv,
	.post_send = post_send,
};

void fake_verbs_send(uint32_t qpn)
{
	struct ibv_send_wr wr = {.wr_id = 1, .opcode = IBV_WR_SEND}, *bad;

	assert_int_equal(post_send(&qp_of(qpn)->qp, &wr, &bad), 0);
}
