/*
 * trainer.c - a rank that minimises sorted_logistic.h together with others, through libcarry: what
 * an application does, and nothing else.  experiment_t.c runs one on each node.
 *
 *	trainer STEP EVERY [FEEDBACK CODEC STEPS]...
 *
 * x -= STEP * mean of the ranks' gradients, STEPS times from x = 0, once for each three words.
 * Every EVERY steps, and at the end, the ranks sum their gradients exactly, in float64, and rank 0
 * prints
 *	grad WHICH STEPS |gradient|^2         WHICH counts the three words, from 0
 * At the end each rank prints
 *	end WHICH BYTES HASH                  bytes sent for the encoded gradients; bits of x
 * Ends with 1 if a call fails.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/carry.h"
#include "tests/experiments/sorted_logistic.h"

struct trainer {
	struct carry *c;
	struct carry_group *g;
	float *sent;   /* float32[SORTED_DIM] in the arena */
	double *exact; /* float64[SORTED_DIM] in the arena */
	double step;
	size_t every;
	struct sorted_logistic problem;
};

struct course {
	unsigned which;
	const char *feedback, *codec;
	size_t steps;
	uint64_t bytes;
	double x[SORTED_DIM], gradient[SORTED_DIM]; /* gradient: of this rank, at x */
};

static void need(int code, const char *what)
{
	if (!code)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, carry_error_name(code), carry_last_error(NULL));
	exit(1);
}

static void trainer_open(struct trainer *t)
{
	need(carry_open(&t->c, NULL), "open");
	need(carry_group_create(&t->g, t->c, NULL), "create");
	if (carry_group_ranks(t->g) != SORTED_NODES) {
		fprintf(stderr, "%u ranks, the data is for %d\n", carry_group_ranks(t->g),
			SORTED_NODES);
		exit(1);
	}
	t->sent = carry_alloc(t->c, SORTED_DIM * sizeof(*t->sent));
	t->exact = carry_alloc(t->c, SORTED_DIM * sizeof(*t->exact));
	if (!t->sent || !t->exact)
		need(-1, "alloc");
}

static void show(struct trainer *t, const struct course *course, size_t step)
{
	double square = 0;

	memcpy(t->exact, course->gradient, sizeof(course->gradient));
	need(carry_allreduce(t->g, t->exact, t->exact, SORTED_DIM, CARRY_F64, CARRY_AVG, NULL,
			     NULL),
	     "exact sum");
	for (size_t i = 0; i < SORTED_DIM; i++)
		square += t->exact[i] * t->exact[i];
	if (carry_group_rank(t->g) == 0)
		printf("grad %u %zu %.17g\n", course->which, step, square);
}

static void descend(struct trainer *t, struct course *course)
{
	char key[32];
	struct carry_op_result result = {.size = sizeof(result)};
	struct carry_op_options options = {.size = sizeof(options),
					   .key = key,
					   .codec = course->codec,
					   .feedback = course->feedback,
					   .schedule = "direct", /* also what is dense */
					   .result = &result};

	(void)snprintf(key, sizeof(key), "x.%u", course->which);
	for (size_t i = 0; i < SORTED_DIM; i++)
		t->sent[i] = (float)course->gradient[i];
	need(carry_allreduce(t->g, t->sent, t->sent, SORTED_DIM, CARRY_F32, CARRY_AVG, &options,
			     NULL),
	     course->feedback);
	course->bytes += result.wire_bytes;
	for (size_t i = 0; i < SORTED_DIM; i++)
		course->x[i] -= t->step * (double)t->sent[i];
}

static void run(struct trainer *t, struct course *course)
{
	uint32_t rank = carry_group_rank(t->g);

	for (size_t step = 0; step <= course->steps; step++) {
		sorted_logistic_gradient(&t->problem, rank, course->x, course->gradient);
		if (step % t->every == 0 || step == course->steps)
			show(t, course, step);
		if (step < course->steps)
			descend(t, course);
	}
	printf("end %u %" PRIu64 " %016" PRIx64 "\n", course->which, course->bytes,
	       sorted_logistic_hash(course->x));
}

int main(int argc, char **argv)
{
	struct trainer *t;

	if (argc < 3 || argc % 3) {
		fprintf(stderr, "usage: trainer STEP EVERY [FEEDBACK CODEC STEPS]...\n");
		return 2;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->step = strtod(argv[1], NULL);
	t->every = strtoul(argv[2], NULL, 10);
	sorted_logistic_init(&t->problem);
	trainer_open(t);
	for (int i = 3; i < argc; i += 3) {
		struct course course = {.which = (unsigned)(i / 3 - 1),
					.feedback = argv[i],
					.codec = argv[i + 1],
					.steps = strtoul(argv[i + 2], NULL, 10)};

		run(t, &course);
	}
	need(carry_group_destroy(t->g), "destroy");
	carry_close(t->c);
	free(t);
	return 0;
}
