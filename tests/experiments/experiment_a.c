/*
 * experiment_a.c - three nodes whose largest gradient entries all point the wrong way.
 *
 * f_i = <a_i, x>^2 + |x|^2 / 4 with a = (-3 2 2), (2 -3 2), (2 2 -3), x0 = (1 1 1), top 1 of 3,
 * step 0.01: without feedback x grows by 1 + 11 * 0.01 / 6 in each step; with it, x vanishes, and
 * |x| after 2000 steps is known to two or three digits.
 * Source: Beznosikov et al., "On Biased Compression for Distributed Learning", 2020.
 */
#include <math.h>

#include "tests/experiments/team.h"

enum { NODES = 3, DIM = 3, STEPS = 2000, RULES = 5 };

static const struct {
	const char *name, *feedback, *codec;
	bool absolute; /* begins with an absolute op */
	double published, digits;
} rules[RULES] = {
	{"no feedback", "none", "topk:density=0.3", false, 1.0e16, 0.05},
	{"exact", "none", "none", false, 1.11e-10, 0.01},
	{"ef14", "ef14", "topk:density=0.3", false, 8.6e-11, 0.01},
	{"ef21", "ef21", "topk:density=0.3", true, 8.5e-11, 0.01},
	{"econtrol", "econtrol:eta=0.1", "topk:density=0.3", true, 1.14e-10, 0.01},
};

static double norm(const double *x)
{
	return sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
}

/* Return: |x| at the end. */
static double run(size_t rule, enum team_kind kind, struct experiment_curve *curve)
{
	static const double a[NODES][DIM] = {{-3, 2, 2}, {2, -3, 2}, {2, 2, -3}};
	double x[DIM] = {1, 1, 1};
	struct team team;

	team_init(&team, kind, rules[rule].feedback, rules[rule].codec, "none", NODES, DIM);
	team.average = true;
	for (int t = 0; t < STEPS; t++) {
		if (curve && t % 10 == 0)
			experiment_point(curve, t, norm(x));
		for (size_t n = 0; n < NODES; n++) {
			double along = a[n][0] * x[0] + a[n][1] * x[1] + a[n][2] * x[2];

			for (size_t i = 0; i < DIM; i++)
				team.in[n * DIM + i] = 2 * along * a[n][i] + x[i] / 2;
		}
		team.dense = t == 0 && rules[rule].absolute;
		team_op(&team);
		for (size_t i = 0; i < DIM; i++)
			x[i] -= 0.01 * team.out[i];
	}
	team_deinit(&team);
	return norm(x);
}

void experiment_a(struct experiment *e)
{
	struct experiment_plot *p =
		experiment_plot(e, "Distance from the minimum", "steps", "|x|", EXPERIMENT_LOG_Y);
	double own[RULES], float64[RULES];

	e->words =
		"Three nodes whose gradients almost cancel: the largest entry of each points "
		"the wrong way, and only the largest is sent. Without feedback every step makes "
		"things worse, by a factor of 1 + 11/600, although each message is the best "
		"approximation by one element that there is. With feedback of any kind the "
		"entries that were held back arrive later, and x vanishes as fast as without "
		"compression. econtrol stops earlier than in float64, where what it keeps of the "
		"first steps is as small as float32 can tell apart.";
	for (size_t r = 0; r < RULES; r++) {
		own[r] = run(r, TEAM_OWN, experiment_curve(p, "%s", rules[r].name));
		float64[r] = run(r, TEAM_FLOAT64, NULL);
	}
	experiment_near(e, pow(own[0] / sqrt(3), 1. / STEPS), 1 + 11. / 600, 1e-8,
			"no feedback: growth in each step");
	for (size_t r = 1; r < RULES - 1; r++)
		experiment_near(e, own[r], float64[r], 0.001, "%s: |x|", rules[r].name);
	experiment_expect(e, own[RULES - 1], 0, 1e-7, "econtrol: |x|");
	for (size_t r = 0; r < RULES; r++)
		experiment_near(e, float64[r], rules[r].published, rules[r].digits,
				"%s: |x| in float64, and published", rules[r].name);
}
