/*
 * bench.c - see bench.h.
 */
#include "tools/perf/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tools/common/clock.h"

#define BENCH_FIGURES 2u /* after the times: wire bytes, CPU seconds */
#define ALIGN_BYTES 4096u
#define ARENA_SPARE_BYTES (64u << 10)
#define ARENA_BYTES_MIN (1u << 20)

static int failed(struct bench *b, int code, const char *doing)
{
	snprintf(b->why, sizeof(b->why), "%s: %s", doing, carry_last_error(NULL));
	return code;
}

static uint64_t aligned(uint64_t bytes)
{
	return (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

static uint64_t figures_bytes(const struct perf_options *o)
{
	return ((uint64_t)o->iterations + BENCH_FIGURES) * sizeof(double);
}

static uint64_t arena_bytes(const struct perf_options *o)
{
	uint64_t bytes = 2 * aligned(o->max_bytes) + aligned(figures_bytes(o)) + ARENA_SPARE_BYTES;

	if (o->arena_bytes)
		return o->arena_bytes;
	return bytes < ARENA_BYTES_MIN ? ARENA_BYTES_MIN : bytes;
}

int bench_open(struct bench *b, const struct perf_options *o)
{
	uint64_t timeout_ns = o->timeout_s * CLOCK_NS_PER_S;
	struct carry_open_options open = {
		.size = sizeof(open),
		.arena_bytes = arena_bytes(o),
		.timeout_ns = timeout_ns,
	};
	struct carry_group_options group = {
		.size = sizeof(group),
		.root = o->root,
		.schedule = o->schedule,
		.codec = o->codec,
		.feedback = o->feedback,
		.codec_bytes_min = 1,
		.rank = o->rank,
		.ranks = o->ranks,
		.timeout_ns = timeout_ns,
	};

	*b = (struct bench){.options = o, .rank = o->rank};
	b->pattern = malloc(sizeof(*b->pattern));
	if (!b->pattern) {
		snprintf(b->why, sizeof(b->why), "no memory");
		return -ENOMEM;
	}
	int code = carry_open_with(&b->carry, &open);
	if (code)
		return failed(b, code, "cannot attach");
	b->in = carry_alloc(b->carry, o->max_bytes);
	b->out = b->in ? carry_alloc(b->carry, o->max_bytes) : NULL;
	b->figures = b->out ? carry_alloc(b->carry, figures_bytes(o)) : NULL;
	if (!b->figures)
		return failed(b, -ENOMEM, "the arena is too small for -e");
	code = carry_group_create(&b->group, b->carry, &group);
	if (code)
		return failed(b, code, "cannot join the group");
	b->rank = carry_group_rank(b->group);
	b->facts.ranks = carry_group_ranks(b->group);
	b->facts.nodes = carry_group_nodes(b->group);
	return 0;
}

void bench_close(struct bench *b)
{
	/* After a failure ops may be in flight, and destroy would wait for them. */
	if (b->group && !b->why[0])
		carry_group_destroy(b->group);
	carry_close(b->carry);
	free(b->pattern);
	*b = (struct bench){0};
}

/* One op from start to end.  Adds to *wire_bytes. */
static int allreduce(struct bench *b, const void *in, void *out, uint64_t count,
		     enum carry_type type, enum carry_reduce reduce, const char *key,
		     double *wire_bytes)
{
	struct carry_op_options options = {.size = sizeof(options), .key = key};
	struct carry_op_result result = {.size = sizeof(result)};
	struct carry_work *work;

	int code = carry_allreduce(b->group, in, out, count, type, reduce, &options, &work);
	if (code)
		return failed(b, code, "allreduce");
	code = carry_wait(work, (int64_t)(b->options->timeout_s * CLOCK_NS_PER_S), &result);
	if (code == -ETIMEDOUT) {
		snprintf(b->why, sizeof(b->why),
			 "allreduce of %" PRIu64 " elements: not complete after %u s", count,
			 b->options->timeout_s);
		return code;
	}
	if (code)
		return failed(b, code, "allreduce");
	*wire_bytes += (double)result.wire_bytes;
	return 0;
}

/* The op under test. */
static int test_op(struct bench *b, uint64_t count, bool in_place, double *wire_bytes)
{
	char key[64] = ""; /* state of feedback belongs to one tensor */

	if (perf_is_coded(b->options))
		(void)snprintf(key, sizeof(key), "%s.%" PRIu64, in_place ? "in-place" : "out",
			       count);
	return allreduce(b, in_place ? b->out : b->in, b->out, count, b->options->type,
			 b->options->reduce, key, wire_bytes);
}

static int combine(struct bench *b, uint64_t count, enum carry_reduce reduce)
{
	double ignored = 0;

	return allreduce(b, b->figures, b->figures, count, CARRY_F64, reduce, "", &ignored);
}

static int barrier(struct bench *b)
{
	b->figures[0] = 0;
	return combine(b, 1, CARRY_SUM);
}

static double cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static bool refills(const struct bench *b, bool in_place)
{
	return in_place && perf_is_coded(b->options);
}

/*
 * Sums of sums grow beyond all numbers, and codecs look at their data.  What it takes is no part of
 * the op, on other ranks neither: who was faster waits until all have done it.
 */
static int refill(struct bench *b, uint64_t count)
{
	pattern_fill(b->pattern, b->out, count);
	return barrier(b);
}

/* Warm up, then leave the iterations' times in b->figures, the other figures after them. */
static int run_batch(struct bench *b, uint64_t count, bool in_place)
{
	uint32_t n = b->options->iterations;
	double wire_bytes = 0, cpu_s;
	int code = barrier(b);

	for (uint32_t i = 0; i < b->options->warmups && !code; i++) {
		if (refills(b, in_place))
			code = refill(b, count);
		if (!code)
			code = test_op(b, count, in_place, &wire_bytes);
	}
	if (!code)
		code = barrier(b);
	if (code)
		return code;

	wire_bytes = 0;
	cpu_s = cpu_seconds();
	uint64_t before_ns = clock_now_ns();
	for (uint32_t i = 0; i < n; i++) {
		if (refills(b, in_place)) {
			double from_s = cpu_seconds();

			code = refill(b, count);
			cpu_s += cpu_seconds() - from_s;
			before_ns = clock_now_ns();
		}
		if (!code)
			code = test_op(b, count, in_place, &wire_bytes);
		if (code)
			return code;
		uint64_t now_ns = clock_now_ns();
		b->figures[i] = (double)(now_ns - before_ns) / 1e3;
		before_ns = now_ns;
	}
	b->figures[n] = wire_bytes / n;
	b->figures[n + 1] = cpu_seconds() - cpu_s;
	return 0;
}

/* From the figures of all ranks. */
static int collect(struct bench *b, struct perf_side *side)
{
	uint32_t n = b->options->iterations;
	double slowest_us = 0;

	for (uint32_t i = 0; i < n; i++)
		slowest_us = b->figures[i] > slowest_us ? b->figures[i] : slowest_us;
	int code = combine(b, n + BENCH_FIGURES, CARRY_AVG);
	if (code)
		return code;
	side->wire_bytes = b->figures[n];
	side->cpu_s = b->figures[n + 1] * b->facts.ranks;
	perf_times(side, b->figures, n);

	b->figures[0] = slowest_us;
	code = combine(b, 1, CARRY_MAX);
	side->max_us = b->figures[0];
	return code;
}

static void tell_wrong(const struct bench *b, uint64_t count, bool in_place,
		       const struct pattern_wrong *wrong)
{
	fprintf(stderr,
		"carry-perf: rank %u: %s: %" PRIu64 " of %" PRIu64 " elements are wrong, the first "
		"is %" PRIu64 ": 0x%" PRIx64 " instead of 0x%" PRIx64 "\n",
		b->rank, in_place ? "in place" : "out of place", wrong->count, count, wrong->first,
		wrong->got, wrong->expected);
}

/* Of the last op's result; it is the same on all ranks. */
static void take_error(const struct bench *b, uint64_t count, struct perf_side *side)
{
	struct pattern_error error = pattern_error(b->pattern, b->options->type, b->out, count);

	side->error = error.relative;
	side->error_max = error.greatest;
}

/* FNV-1a of all bytes. */
static uint64_t hash_bytes(const void *from, size_t bytes)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ ((const unsigned char *)from)[i]) * UINT64_C(0x100000001b3);
	return hash >> 1; /* a positive int64 */
}

/* Results of codecs are near, not equal, to what is known: but all ranks have the same. */
static int check_same(struct bench *b, uint64_t count, struct perf_side *side)
{
	uint64_t hash = hash_bytes(b->out, count * pattern_type_bytes(b->options->type));
	uint64_t found[2];
	double ignored = 0;

	for (int i = 0; i < 2; i++) {
		int code;

		memcpy(b->figures, &hash, sizeof(hash));
		code = allreduce(b, b->figures, b->figures, 1, CARRY_I64, i ? CARRY_MAX : CARRY_MIN,
				 "", &ignored);
		if (code)
			return code;
		memcpy(&found[i], b->figures, sizeof(found[i]));
	}
	side->wrong = found[0] == hash && found[1] == hash ? 0 : count;
	if (side->wrong)
		fprintf(stderr, "carry-perf: rank %u: its result is not that of all ranks\n",
			b->rank);
	return 0;
}

/* One op on fresh data, so that no result of an op before can pass for this one's. */
static int check(struct bench *b, uint64_t count, bool in_place, struct perf_side *side)
{
	double ignored = 0;

	pattern_make(b->pattern, b->options->type, b->options->reduce, b->facts.ranks, b->rank,
		     2 * count + in_place + 1);
	pattern_spoil(b->pattern, b->out, count);
	pattern_fill(b->pattern, in_place ? b->out : b->in, count);
	int code = test_op(b, count, in_place, &ignored);
	if (code)
		return code;
	if (perf_is_coded(b->options))
		return check_same(b, count, side);
	struct pattern_wrong wrong = pattern_check(b->pattern, b->out, count);
	if (wrong.count)
		tell_wrong(b, count, in_place, &wrong);

	uint64_t mine = wrong.count;
	memcpy(b->figures, &mine, sizeof(mine));
	code = allreduce(b, b->figures, b->figures, 1, CARRY_I64, CARRY_SUM, "", &ignored);
	memcpy(&side->wrong, b->figures, sizeof(side->wrong));
	/* The count is told by what is under test: it may be wrong itself, but not hide ours. */
	if (side->wrong < mine)
		side->wrong = mine;
	return code;
}

static int measure_side(struct bench *b, uint64_t count, bool in_place, struct perf_side *side)
{
	*side = (struct perf_side){0};
	pattern_make(b->pattern, b->options->type, b->options->reduce, b->facts.ranks, b->rank, 0);
	pattern_fill(b->pattern, b->in, count);
	pattern_fill(b->pattern, b->out, count);
	int code = run_batch(b, count, in_place);
	if (!code && perf_is_coded(b->options))
		take_error(b, count, side);
	if (!code)
		code = collect(b, side);
	if (!code && b->options->check)
		code = check(b, count, in_place, side);
	return code;
}

int bench_measure(struct bench *b, uint64_t bytes, struct perf_result *result)
{
	size_t type_bytes = pattern_type_bytes(b->options->type);
	struct perf_result r = {.count = bytes / type_bytes};

	r.bytes = r.count * type_bytes;
	int code = measure_side(b, r.count, false, &r.out_of_place);
	if (!code)
		code = measure_side(b, r.count, true, &r.in_place);
	if (!code)
		*result = r;
	return code;
}
