/* verbs_rig.c - see verbs_rig.h. */
#include "tests/common/verbs_rig.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "tests/common/rig.h"

#define LIMIT_NS (20 * CLOCK_NS_PER_S)
#define OWN_WRITE UINT64_MAX /* wr_id; the transport's are of other numbers */

static const struct transport_ops *const ops = &transport_verbs;

static void *of_the_library(const char *name)
{
	void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_NOLOAD);
	void *function = library ? dlsym(library, name) : NULL;

	if (!function)
		fail_msg("%s", dlerror());
	(void)dlclose(library); /* the program has it, too */
	return function;
}

struct ibv_mr *verbs_rig_register(struct transport *t, void *at, size_t bytes, int access)
{
	struct ibv_mr *(*reg)(struct ibv_pd *, void *, size_t, int);
	void *function = of_the_library("ibv_reg_mr");
	struct ibv_mr *mr;

	memcpy(&reg, &function, sizeof(reg));
	mr = reg(t->device.pd, at, bytes, access);
	assert_non_null(mr);
	return mr;
}

void verbs_rig_unregister(struct ibv_mr *mr)
{
	int (*dereg)(struct ibv_mr *);
	void *function = of_the_library("ibv_dereg_mr");

	memcpy(&dereg, &function, sizeof(dereg));
	assert_int_equal(dereg(mr), 0);
}

void verbs_rig_open(struct verbs_rig *rig)
{
	const struct transport_options options = {.lane_fd = -1, .queue_frames = 16};
	struct transport **sides[] = {&rig->victim, &rig->attacker};
	struct err err;

	for (int s = 0; s < 2; s++)
		if (ops->open(sides[s], &options, &err))
			fail_msg("%s", err.text);
	rig->from = aligned_alloc(4096, VERBS_RIG_BYTES);
	assert_non_null(rig->from);
	rig->from_mr = verbs_rig_register(rig->attacker, rig->from, VERBS_RIG_BYTES, 0);
}

void verbs_rig_close(struct verbs_rig *rig)
{
	verbs_rig_unregister(rig->from_mr);
	free(rig->from);
	ops->close(rig->victim);
	ops->close(rig->attacker);
}

struct verbs_path *verbs_rig_join(struct verbs_rig *rig, uint16_t peer)
{
	uint64_t end_ns = clock_now_ns() + LIMIT_NS;
	struct transport *sides[] = {rig->victim, rig->attacker};
	struct transport_event none;
	int fds[2];

	assert_int_equal(rig_sockets(AF_INET, fds), 0);
	for (int s = 0; s < 2; s++)
		assert_int_equal(ops->attach(sides[s], peer, 0, fds[s], TRANSPORT_OFFER_VERBS), 0);
	while (!ops->room(rig->victim, peer, 0) || !ops->room(rig->attacker, peer, 0)) {
		assert_true(clock_now_ns() < end_ns);
		for (int s = 0; s < 2; s++)
			(void)ops->poll(sides[s], &none, 0);
	}
	return rig->attacker->paths[peer * TRANSPORT_PATHS_MAX];
}

enum ibv_wc_status verbs_rig_write(struct verbs_rig *rig, const struct verbs_path *by,
				   const struct verbs_rig_write *write)
{
	struct ibv_sge piece = {(uintptr_t)rig->from, write->bytes, rig->from_mr->lkey};
	struct ibv_send_wr wr = {
		.wr_id = OWN_WRITE,
		.opcode = write->opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.imm_data = htonl(write->immediate),
		.sg_list = &piece,
		.num_sge = write->bytes > 0,
		.wr.rdma = {.remote_addr = write->to, .rkey = write->key},
	};
	uint64_t end_ns = clock_now_ns() + LIMIT_NS;
	struct ibv_send_wr *bad;
	struct ibv_wc wc = {0};

	assert_true(write->bytes <= VERBS_RIG_BYTES);
	assert_int_equal(ibv_post_send(by->qp, &wr, &bad), 0);
	/* What the victim sent is here, too, and of no interest. */
	while (ibv_poll_cq(rig->attacker->device.cq, 1, &wc) < 1 || wc.wr_id != OWN_WRITE)
		assert_true(clock_now_ns() < end_ns);
	return wc.status;
}

struct transport_event verbs_rig_event(struct verbs_rig *rig)
{
	uint64_t end_ns = clock_now_ns() + LIMIT_NS;
	struct transport_event event = {0};

	while (!ops->poll(rig->victim, &event, 1))
		assert_true(clock_now_ns() < end_ns);
	return event;
}
