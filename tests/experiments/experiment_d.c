/*
 * experiment_d.c - ef21 of noisy gradients does not converge however many nodes there are;
 * momentum before it does.
 *
 * f = |x|^2 / 2 in two dimensions, top 1, noise one of (2 0), (0 1), (-2 -1) times sqrt(0.3), step
 * 0.001: mean |gradient|^2 over the second half of 2e5 steps.  The expected figures have two
 * digits, so they are right up to 5 %.
 * Source: Fatkhullin et al., "Momentum Provably Improves Error Feedback!", 2023, section 3.
 */
#include <math.h>

#include "tests/experiments/experiment.h"

enum { DIM = 2, STEPS = 200000, SIZES = 3, RULES = 3 };

static const uint32_t sizes[SIZES] = {64, 8, 1}; /* the longest first */
static const struct {
	const char *feedback, *name;
	double expected[SIZES];
} rules[RULES] = {
	{"ef21", "ef21", {1.0e-3, 1.1e-3, 5.4e-3}},
	{"ef21-sgdm:eta=0.1", "momentum 0.1", {4.2e-4, 4.9e-4, 8.5e-4}},
	{"ef21-sgdm:eta=0.01", "momentum 0.01", {1.3e-5, 7.4e-5, 4.6e-4}},
};

static double mean_square(const char *feedback, uint32_t nodes)
{
	static const double noise[3][DIM] = {{2, 0}, {0, 1}, {-2, -1}};
	double x[DIM] = {1, 1}, sum = 0;
	struct experiment_inputs inputs;
	struct experiment_random random;
	struct cluster c;

	cluster_init(&c, feedback, "topk:density=0.5", "none", nodes, DIM, DIM);
	experiment_inputs_init(&inputs, nodes, DIM);
	experiment_seed(&random, 1);
	c.average = true;
	for (size_t t = 0; t < STEPS; t++) {
		for (uint32_t n = 0; n < nodes; n++) {
			const double *drawn = noise[experiment_u64(&random) % 3];

			for (size_t i = 0; i < DIM; i++)
				inputs.data[n * DIM + i] = (float)(x[i] + drawn[i] * sqrt(0.3));
		}
		experiment_op(&c, &inputs);
		if (t >= STEPS / 2)
			sum += x[0] * x[0] + x[1] * x[1];
		for (size_t i = 0; i < DIM; i++)
			x[i] -= 0.001 * (double)inputs.result[i];
	}
	experiment_inputs_deinit(&inputs);
	cluster_deinit(&c);
	return sum / (STEPS - STEPS / 2);
}

static void run(void *context, size_t i)
{
	double *measured = context;

	measured[i] = mean_square(rules[i % RULES].feedback, sizes[i / RULES]);
}

void experiment_d(struct experiment *e)
{
	struct experiment_plot *p = experiment_plot(e, "Where the gradient ends", "nodes",
						    "mean |gradient|\xc2\xb2", EXPERIMENT_LOG_BOTH);
	double measured[SIZES * RULES];

	e->words =
		"Each node's gradient has noise, and a common one-element message can carry "
		"only part of it. Averaging over more nodes should help. For plain ef21 it "
		"hardly does: its curve becomes flat, because each node keeps chasing its own "
		"noise. Averaging over time before compressing (momentum) mends that: the smaller "
		"its weight for the new gradient, the lower the end, and with 0.01 it falls with "
		"the number of nodes as it does without compression.";
	experiment_each(e, SIZES * RULES, run, measured);
	for (size_t r = 0; r < RULES; r++) {
		struct experiment_curve *c = experiment_curve(p, "%s", rules[r].name);

		for (size_t s = SIZES; s-- > 0;) {
			experiment_point(c, sizes[s], measured[s * RULES + r]);
			experiment_near(e, measured[s * RULES + r], rules[r].expected[s], 0.05,
					"%s, %u node%s, published", rules[r].name, sizes[s],
					sizes[s] > 1 ? "s" : "");
		}
	}
}
