/*
 * reducer.c - see reducer.h.
 */
#include "tools/train/reducer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/clock.h"

#define ALIGN_BYTES 4096u
#define ARENA_SPARE_BYTES (64u << 10)

/* Keep libcarry's sentence: the handle will be gone when it is printed. */
static int failed(struct reducer *r, int code, const char *doing)
{
	snprintf(r->why, sizeof(r->why), "%s: %s", doing, carry_last_error(NULL));
	return code;
}

static size_t aligned(size_t bytes)
{
	return (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

static int open_local(struct reducer *r, size_t bytes)
{
	r->ranks = 1;
	r->nodes = 1;
	r->memory = aligned_alloc(ALIGN_BYTES, bytes);
	if (!r->memory) {
		snprintf(r->why, sizeof(r->why), "no memory for %zu bytes of gradients", bytes);
		return -ENOMEM;
	}
	return 0;
}

static int open_group(struct reducer *r, const struct reducer_options *options, size_t bytes)
{
	uint64_t arena_bytes = aligned(bytes + ARENA_SPARE_BYTES);
	struct carry_open_options open = {
		.size = sizeof(open),
		.arena_bytes = arena_bytes < 1u << 20 ? 1u << 20 : arena_bytes,
		.timeout_ns = r->timeout_ns,
	};
	struct carry_group_options group = {
		.size = sizeof(group),
		.timeout_ns = r->timeout_ns,
		.codec = options->codec,
		.feedback = options->feedback,
	};

	int code = carry_open_with(&r->carry, &open);
	if (code)
		return failed(r, code, "cannot attach");
	r->memory = carry_alloc(r->carry, bytes);
	if (!r->memory)
		return failed(r, -ENOMEM, "cannot place the gradients");
	code = carry_group_create(&r->group, r->carry, &group);
	if (code)
		return failed(r, code, "cannot join the group");
	r->rank = carry_group_rank(r->group);
	r->ranks = carry_group_ranks(r->group);
	r->nodes = carry_group_nodes(r->group);
	return 0;
}

int reducer_open(struct reducer *r, const struct reducer_options *options, const size_t *counts,
		 size_t buckets)
{
	size_t bytes = aligned(REDUCER_VALUES_MAX * sizeof(*r->values));

	assert(buckets <= REDUCER_BUCKETS_MAX);
	*r = (struct reducer){.buckets = buckets, .timeout_ns = options->timeout_ns};
	for (size_t b = 0; b < buckets; b++) {
		r->count[b] = counts[b];
		bytes += aligned(counts[b] * sizeof(float));
	}
	int code = options->local ? open_local(r, bytes) : open_group(r, options, bytes);
	if (code) {
		reducer_close(r);
		return code;
	}

	unsigned char *next = r->memory;
	r->values = (double *)(void *)next;
	next += aligned(REDUCER_VALUES_MAX * sizeof(*r->values));
	for (size_t b = 0; b < buckets; b++) {
		r->bucket[b] = (float *)(void *)next;
		next += aligned(counts[b] * sizeof(float));
	}
	return 0;
}

void reducer_close(struct reducer *r)
{
	bool busy = r->why[0] != '\0';

	for (size_t b = 0; b < r->buckets; b++)
		busy |= r->work[b] != NULL;
	if (r->carry) {
		/* With ops in flight destroy would wait for them; close ends them. */
		if (r->group && !busy)
			carry_group_destroy(r->group);
		carry_close(r->carry);
	} else {
		free(r->memory);
	}
	r->carry = NULL;
	r->group = NULL;
	r->memory = NULL;
	r->buckets = 0;
}

static int wait_for(struct reducer *r, struct carry_work *work, struct carry_op_result *result,
		    const char *what)
{
	int code = carry_wait(work, (int64_t)r->timeout_ns, result);

	if (code == -ETIMEDOUT) {
		snprintf(r->why, sizeof(r->why), "%s: not complete after %llu s", what,
			 (unsigned long long)(r->timeout_ns / CLOCK_NS_PER_S));
		return code;
	}
	return code ? failed(r, code, what) : 0;
}

int reducer_post(struct reducer *r, size_t bucket)
{
	float *gradient = r->bucket[bucket];
	char key[32];
	struct carry_op_options options = {.size = sizeof(options), .key = key};

	assert(!r->work[bucket]);
	if (!r->carry)
		return 0;
	snprintf(key, sizeof(key), "layer%zu", bucket);
	int code = carry_allreduce(r->group, gradient, gradient, r->count[bucket], CARRY_F32,
				   CARRY_SUM, &options, &r->work[bucket]);
	return code ? failed(r, code, "cannot sum a gradient") : 0;
}

int reducer_wait(struct reducer *r, size_t bucket)
{
	struct carry_op_result result = {.size = sizeof(result)};
	char what[64];

	if (!r->carry)
		return 0;
	snprintf(what, sizeof(what), "sum of layer %zu's gradient", bucket);
	int code = wait_for(r, r->work[bucket], &result, what);
	if (code)
		return code;
	r->work[bucket] = NULL;
	r->wire_bytes += result.wire_bytes;
	return 0;
}

static int reduce_values(struct reducer *r, void *values, size_t count, enum carry_type type,
			 enum carry_reduce reduce, const char *what)
{
	size_t bytes = count * carry_type_bytes(type);
	struct carry_work *work;

	memcpy(r->values, values, bytes);
	int code =
		carry_allreduce(r->group, r->values, r->values, count, type, reduce, NULL, &work);
	if (code)
		return failed(r, code, what);
	code = wait_for(r, work, NULL, what);
	if (code)
		return code;
	memcpy(values, r->values, bytes);
	return 0;
}

int reducer_sum(struct reducer *r, double *values, size_t count)
{
	assert(count <= REDUCER_VALUES_MAX);
	if (!r->carry)
		return 0;
	return reduce_values(r, values, count, CARRY_F64, CARRY_SUM, "sum of the scores");
}

int reducer_same(struct reducer *r, uint64_t value, bool *same)
{
	/* Halves, so that neither order nor sign of a 64-bit type matters. */
	int64_t low[2] = {(int64_t)(value & UINT32_MAX), (int64_t)(value >> 32)};
	int64_t high[2] = {low[0], low[1]};

	if (r->carry) {
		int code = reduce_values(r, low, 2, CARRY_I64, CARRY_MIN, "least of the hashes");

		if (!code)
			code = reduce_values(r, high, 2, CARRY_I64, CARRY_MAX,
					     "greatest of the hashes");
		if (code)
			return code;
	}
	*same = low[0] == high[0] && low[1] == high[1];
	return 0;
}
