/*
 * bench.h - the measurement of carry-perf, on one rank.
 *
 *     barrier, warm-up ops, barrier, n timed ops one after the other, each waited for;
 *     with --check one more op on fresh data, every element of whose result is compared.
 *
 * All ranks make the same calls.  The ranks' figures are put together by allreduces too,
 * outside the timed part.
 */
#ifndef TOOLS_PERF_BENCH_H
#define TOOLS_PERF_BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "libclient/carry.h"
#include "tools/perf/options.h"
#include "tools/perf/pattern.h"
#include "tools/perf/report.h"

#define BENCH_WHY_BYTES 640

struct bench {
	const struct perf_options *options; /* the caller's                              */
	struct perf_group facts;
	uint32_t rank;
	char why[BENCH_WHY_BYTES]; /* after a failure: one sentence             */

	/* the module's own */
	struct carry *carry;
	struct carry_group *group;
	struct pattern *pattern;
	void *in;        /* max_bytes, in the arena                                      */
	void *out;       /* max_bytes, in the arena                                      */
	double *figures; /* float64[iterations + BENCH_FIGURES], in the arena            */
};

/*
 * bench_open() - attach, allocate, join.
 * Return: 0, or negative errno with a sentence in b->why.  Call bench_close() in both cases.
 */
int bench_open(struct bench *b, const struct perf_options *o);
void bench_close(struct bench *b);

/*
 * bench_measure() - one size, out of place and in place.
 * Wrong elements of this rank are told on standard error, the first of them by its place.
 * Return: 0, or negative errno with a sentence in b->why.
 */
int bench_measure(struct bench *b, uint64_t bytes, struct perf_result *result);

#endif
