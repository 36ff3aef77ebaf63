/*
 * fake_verbs_state.h - what the two halves of fake_verbs share; private to them.
 *
 *   fake_verbs.c         devices, events, registered memory
 *   fake_verbs_queue.c   completion queues, shared receive queues, queue pairs
 */
#ifndef TESTS_COMMON_FAKE_VERBS_STATE_H
#define TESTS_COMMON_FAKE_VERBS_STATE_H

#include "tests/common/fake_verbs.h"

static inline struct fake_device *fake_about(struct ibv_context *context)
{
	return (struct fake_device *)context->device;
}

/* One more to be read from that eventfd. */
void fake_ring(int fd);
void fake_event(struct ibv_context *context, enum ibv_event_type type, struct ibv_qp *qp);
/* Does that key allow access to [at, at + bytes)? */
bool fake_may(uint32_t key, uint64_t at, size_t bytes, int access, const struct ibv_pd *pd);

/* What contexts are made with. */
extern const struct ibv_context_ops fake_ops;
struct ibv_qp *fake_qp_by_number(uint32_t number); /* or NULL */

#endif
