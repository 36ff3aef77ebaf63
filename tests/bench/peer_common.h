/*
 * peer_common.h - measure another system's allreduce as carry-perf measures ours.
 *
 * peer_openmpi.c and peer_gloo.cc bring a struct peer_system; everything else is here and
 * the same for both: options, warm-up, barrier, one time an iteration (the mean over the
 * ranks), median and p99, CPU time of the timed loop, a check of every element on fresh data,
 * JSON with carry-perf's keys.  f32 sums, out of place and in place.
 */
#ifndef TESTS_BENCH_PEER_COMMON_H
#define TESTS_BENCH_PEER_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct peer_options {
	size_t bytes;
	uint32_t iterations, warmups;
	const char *json;      /* NULL: none                                */
	const char *algorithm; /* Gloo: which; Open MPI chooses by itself   */
	const char *store;     /* Gloo: a folder that all ranks see         */
	const char *interface; /* Gloo: of this node                        */
};

/* A connected system.  The functions return 0, or -1 after a sentence on standard error. */
struct peer_system {
	const char *name;
	uint32_t rank, ranks;
	void *self;
	/* Buffers of all later sums: float in[count], out[count]. */
	int (*prepare)(void *self, float *in, float *out, size_t count);
	/* in, or in place out, summed over the ranks, to out. */
	int (*sum)(void *self, bool in_place);
	/* values[count] summed over the ranks. */
	int (*combine)(void *self, double *values, size_t count);
};

/* peer_options_parse() - Return: false after a sentence. */
bool peer_options_parse(struct peer_options *o, int argc, char **argv);

/* peer_run() - measure, check and report.  Return: the exit code. */
int peer_run(const struct peer_system *s, const struct peer_options *o);

#ifdef __cplusplus
}
#endif

#endif
