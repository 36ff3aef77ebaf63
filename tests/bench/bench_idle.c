/*
 * bench_idle.c - a trainer that has worked and now does nothing: what does its daemon use?
 *
 * Attaches, joins the group that the environment names, does some allreduces, prints "idle" and
 * sleeps; then one more allreduce shows that group and daemon still are what they were.  Who
 * started it reads the daemons' CPU time while all ranks sleep.
 *
 * usage: bench_idle SECONDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libclient/carry.h"

enum {
	COUNT = 16384, /* elements of an op */
	OPS = 20,
	SECONDS_MAX = 3600,
};

static int failed(const char *doing)
{
	fprintf(stderr, "bench_idle: %s: %s\n", doing, carry_last_error(NULL));
	return -1;
}

/* Every rank gives rank + 1. */
static int one_op(struct carry_group *g, float *values)
{
	unsigned ranks = carry_group_ranks(g);
	float expected = (float)ranks * (float)(ranks + 1) / 2;

	for (int i = 0; i < COUNT; i++)
		values[i] = (float)(carry_group_rank(g) + 1);
	if (carry_allreduce(g, values, values, COUNT, CARRY_F32, CARRY_SUM, NULL, NULL))
		return failed("allreduce");
	for (int i = 0; i < COUNT; i++) {
		if (values[i] < expected || values[i] > expected) {
			fprintf(stderr, "bench_idle: element %d is %g, not %g\n", i,
				(double)values[i], (double)expected);
			return -1;
		}
	}
	return 0;
}

static int work_and_idle(struct carry *c, struct carry_group *g, long seconds)
{
	struct timespec rest = {.tv_sec = seconds};
	float *values = carry_alloc(c, COUNT * sizeof(float));

	if (!values)
		return failed("arena");
	for (int i = 0; i < OPS; i++)
		if (one_op(g, values))
			return -1;
	puts("idle");
	fflush(stdout);
	nanosleep(&rest, NULL);
	return one_op(g, values);
}

int main(int argc, char **argv)
{
	char *end = NULL;
	long seconds = argc == 2 ? strtol(argv[1], &end, 10) : 0;
	struct carry *c = NULL;
	struct carry_group *g = NULL;
	int r;

	if (!end || *end || seconds < 1 || seconds > SECONDS_MAX) {
		fprintf(stderr, "usage: bench_idle SECONDS\n");
		return 2;
	}
	if (carry_open(&c, NULL)) {
		failed("cannot attach");
		return 1;
	}
	r = carry_group_create(&g, c, NULL);
	if (r)
		failed("cannot join the group");
	else
		r = work_and_idle(c, g, seconds);
	if (g && !r)
		carry_group_destroy(g);
	carry_close(c);
	return r ? 1 : 0;
}
