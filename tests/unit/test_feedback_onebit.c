/*
 * test_feedback_onebit.c - `twosided` with signs and l2 scales is the exchange of the 1-bit
 * optimizers, step by step.
 *
 * The reference, in float64, from the description of DeepSpeed's compressed_allreduce: buffer =
 * input + worker error; scale = |buffer| / sqrt(elements); signs with 0 as +; the owner's mean of
 * scale * sign, plus its own error, is sent the same way.  Each step starts from the state that
 * the code has, so that rounding does not add up.  An element of the owner that is zero but for
 * rounding may have either sign.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/experiments/experiment.h"

enum { NODES = 5, COUNT = 512, STEPS = 1000 };

static double sign(double x)
{
	return x >= 0 ? 1 : -1;
}

static double scale_of(const double *x)
{
	double squares = 0;

	for (size_t i = 0; i < COUNT; i++)
		squares += x[i] * x[i];
	return sqrt(squares / COUNT);
}

struct exchange {
	double worker[NODES][COUNT], owner[COUNT], mean[COUNT], result[COUNT];
};

/* What is in the state before the step, and what the step makes of it. */
static void reference(struct exchange *x, const struct experiment_inputs *inputs)
{
	double scale;

	memset(x->mean, 0, sizeof(x->mean));
	for (size_t n = 0; n < NODES; n++) {
		for (size_t i = 0; i < COUNT; i++)
			x->worker[n][i] += (double)inputs->data[n * COUNT + i];
		scale = scale_of(x->worker[n]);
		for (size_t i = 0; i < COUNT; i++) {
			x->mean[i] += scale * sign(x->worker[n][i]) / NODES;
			x->worker[n][i] -= scale * sign(x->worker[n][i]);
		}
	}
	for (size_t i = 0; i < COUNT; i++)
		x->mean[i] += x->owner[i];
	scale = scale_of(x->mean);
	for (size_t i = 0; i < COUNT; i++) {
		x->result[i] = scale * sign(x->mean[i]);
		x->owner[i] = x->mean[i] - x->result[i];
	}
}

static void load(struct exchange *x, struct cluster *c)
{
	for (size_t i = 0; i < COUNT; i++) {
		x->owner[i] = (double)cluster_vector(c, 0, FEEDBACK_OWNER_RESIDUAL)[i];
		for (uint32_t n = 0; n < NODES; n++)
			x->worker[n][i] = (double)cluster_vector(c, n, FEEDBACK_RESIDUAL)[i];
	}
}

static void equal(double found, double expected, double unit, const char *what, size_t step)
{
	if (!(fabs(found - expected) <= 1e-5 * unit))
		fail_msg("step %zu: %s is %.9g, not %.9g", step, what, found, expected);
}

/* Return: elements whose sign was anybody's guess. */
static size_t compare(const struct exchange *x, struct cluster *c, const float *result, size_t step)
{
	double unit = fabs(x->result[0]) + 1;
	size_t guesses = 0;

	for (size_t i = 0; i < COUNT; i++) {
		for (uint32_t n = 0; n < NODES; n++)
			equal((double)cluster_vector(c, n, FEEDBACK_RESIDUAL)[i], x->worker[n][i],
			      unit + fabs(x->worker[n][i]), "worker error", step);
		if (fabs(x->mean[i]) < 1e-6 * unit) {
			guesses++;
			equal(fabs((double)result[i]), fabs(x->result[i]), unit, "result", step);
			continue;
		}
		equal((double)result[i], x->result[i], unit, "result", step);
		equal((double)cluster_vector(c, 0, FEEDBACK_OWNER_RESIDUAL)[i], x->owner[i],
		      unit + fabs(x->owner[i]), "owner error", step);
	}
	return guesses;
}

static void is_the_exchange_of_the_onebit_optimizers(void **state)
{
	static struct exchange x;
	struct experiment_inputs inputs;
	struct experiment_random random;
	struct cluster c;
	size_t guesses = 0;

	(void)state;
	cluster_init(&c, "twosided", "sign:block=512,scale=l2", "sign:block=512,scale=l2", NODES,
		     COUNT, COUNT);
	experiment_inputs_init(&inputs, NODES, COUNT);
	experiment_seed(&random, 1);
	c.average = true;
	for (size_t t = 0; t < STEPS; t++) {
		for (size_t i = 0; i < NODES * COUNT; i++)
			inputs.data[i] = i % 11 && t ? (float)experiment_normal(&random) : 0;
		load(&x, &c);
		reference(&x, &inputs);
		assert_true(cluster_op(&c, inputs.in, inputs.result));
		guesses += compare(&x, &c, inputs.result, t);
	}
	/* All of the first step, which is zero, and next to nothing later. */
	assert_in_range(guesses, COUNT, COUNT + 20);
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_the_exchange_of_the_onebit_optimizers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
