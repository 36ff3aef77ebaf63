/*
 * experiment_e.c - signs alone go nowhere, or the wrong way; with feedback they don't.
 *
 * Valley: f = |x1 + x2| / 4 + |x1 - x2| from (2, 1), step 0.01 / sqrt(1 + t), 4000 steps: x1 + x2
 * stays 3 without feedback and is 2.375 with it.  The residual is in gradient units, so each
 * smaller step makes it count for more (the op's scale).
 *
 * Slope: f = x / 4 on [-1, 1], whose stochastic gradient is 4 in a quarter of all cases, else -1.
 * Steps of 0.001 times the sign: a walk that goes up with probability 3/4 and down with 1/4, and at
 * the upper end is on average 1/2 step below it.  With feedback (one element: its sign and its mean
 * magnitude are all of it) it goes up 1 with 3/4, down 4 with 1/4; its distance d from the lower
 * end is geometric, with the root r of r = 3/4 + r^5 / 4, and on average r / (1 - r) steps.
 * Published as single points: 0.999 and -0.986.
 * Source: Karimireddy et al., "Error Feedback Fixes SignSGD", 2019, section 3.
 */
#include <math.h>

#include "tests/experiments/team.h"

enum { VALLEY_STEPS = 4000, SLOPE_STEPS = 400000, RULES = 2 };

static const char *const feedbacks[RULES] = {"none", "ef14"};

static double valley(enum team_kind kind, const char *feedback, struct experiment_curve *curve)
{
	double x[2] = {2, 1}, last = 0.01;
	struct team team;

	team_init(&team, kind, feedback, "sign", "none", 1, 2);
	for (size_t t = 0; t < VALLEY_STEPS; t++) {
		double step = 0.01 / sqrt(1 + (double)t);
		double sum = x[0] + x[1] >= 0 ? 0.25 : -0.25, difference = x[0] >= x[1] ? 1 : -1;

		if (curve && t % 20 == 0)
			experiment_point(curve, (double)t, x[0] + x[1]);
		team.in[0] = sum + difference;
		team.in[1] = sum - difference;
		team.scale = last / step;
		last = step;
		team_op(&team);
		for (size_t i = 0; i < 2; i++)
			x[i] -= step * team.out[i];
	}
	team_deinit(&team);
	return x[0] + x[1];
}

/* Return: mean of x over the second half. */
static double slope(const char *feedback, struct experiment_curve *curve)
{
	bool only_signs = feedback == feedbacks[0];
	struct experiment_random random;
	double x = 0, sum = 0;
	struct team team;

	experiment_seed(&random, 1);
	team_init(&team, TEAM_OWN, feedback, "sign", "none", 1, 1);
	for (size_t t = 0; t < SLOPE_STEPS; t++) {
		if (curve && t < 6000 && t % 20 == 0)
			experiment_point(curve, (double)t, x);
		team.in[0] = experiment_uniform(&random) < 0.25 ? 4 : -1;
		team_op(&team);
		x -= 0.001 * (only_signs ? copysign(1, team.out[0]) : team.out[0]);
		x = x > 1 ? 1 : x < -1 ? -1 : x; /* a NaN stays one */
		if (t >= SLOPE_STEPS / 2)
			sum += x;
	}
	team_deinit(&team);
	return sum / (SLOPE_STEPS - SLOPE_STEPS / 2);
}

void experiment_e(struct experiment *e)
{
	struct experiment_plot *along =
		experiment_plot(e, "Along the valley", "steps", "x1 + x2", EXPERIMENT_LINEAR);
	struct experiment_plot *down = experiment_plot(e, "Down a slope with noisy gradients",
						       "steps", "x", EXPERIMENT_LINEAR);
	double own[RULES], float64[RULES], end[RULES], root = 0.8;

	e->words =
		"A sign tells the direction of an element but not how much it matters. Along a "
		"narrow valley the signs of the two gradient entries always balance, and x1 + x2 "
		"stays where it is for ever. With feedback the part that the signs got wrong "
		"builds up until it wins. Worse is a slope whose gradient is mostly a little "
		"negative and seldom very positive: signs alone count the cases, and walk up to "
		"the wrong end; with feedback the seldom ones have their weight.";
	for (size_t r = 0; r < RULES; r++) {
		const char *name = r ? "with feedback" : "no feedback";

		own[r] = valley(TEAM_OWN, feedbacks[r], experiment_curve(along, "%s", name));
		float64[r] = valley(TEAM_FLOAT64, feedbacks[r], NULL);
		end[r] = slope(feedbacks[r], experiment_curve(down, "%s", name));
	}
	for (int i = 0; i < 200; i++)
		root = 0.75 + pow(root, 5) / 4;
	experiment_near(e, own[0], 3, 1e-6, "valley, no feedback: x1 + x2");
	experiment_near(e, own[1], float64[1], 1e-4, "valley, ef14: x1 + x2");
	experiment_near(e, own[1], 2.375, 5e-4, "valley, ef14: x1 + x2, published");
	experiment_near(e, float64[0], 3, 1e-12, "valley, no feedback: x1 + x2 in float64");
	experiment_near(e, (1 - end[0]) / 0.001, 0.5, 0.05, "slope, no feedback: steps below +1");
	experiment_near(e, (1 + end[1]) / 0.001, root / (1 - root), 0.05,
			"slope, ef14: steps above -1");
}
