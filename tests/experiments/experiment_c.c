/*
 * experiment_c.c - ef21-w (weights L_i / sum of L) may take larger steps than ef21, and with equal
 * steps is the same.
 *
 * logistic.h, top 1 of 50, node 0's data 1, 10, 100 times as hard.  d = 1/50, x = (1 + sqrt(1 -
 * d)) / d - 1; the steps are 1 / (L + x root of mean L_i^2) for ef21, 1 / (L + x mean L_i) for
 * ef21-w.  Top-k commutes with a factor, so that with equal steps both are the same up to rounding,
 * and to the last bit where the weights are powers of two; and the rounds until |gradient|^2 has
 * come to TARGET are as the steps, up to 5 %.
 *
 * Equal steps agree up to 1e-12 in float64.  In float32 a weight that is no power of two rounds
 * each difference otherwise, by 2^-24 of a node's gradient; |gradient|^2, of which the nodes' parts
 * cancel, differs by less than 5e-4.
 * Source: Richtarik et al., "Error Feedback Reloaded", 2024.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/experiments/logistic.h"
#include "tests/experiments/team.h"

enum { HARDNESSES = 3, EQUAL_ROUNDS = 2000, ROUNDS_MAX = 60000, CASES = 7 };

static const double hardness[HARDNESSES] = {1, 10, 100};

#define TARGET 3e-5

enum weights { EVEN, SMOOTHNESS, POWERS_OF_2 };

static const struct {
	enum team_kind kind;
	enum weights weights;
	bool large; /* ef21-w's step */
	bool to_target;
} cases[CASES] = {
	{TEAM_OWN, EVEN, false, true},          {TEAM_OWN, SMOOTHNESS, true, true},
	{TEAM_OWN, SMOOTHNESS, false, true},    {TEAM_OWN, POWERS_OF_2, false, false},
	{TEAM_FLOAT64, EVEN, false, false},     {TEAM_FLOAT64, SMOOTHNESS, false, false},
	{TEAM_FLOAT64, SMOOTHNESS, true, true},
};

struct course {
	double square[EQUAL_ROUNDS]; /* |gradient|^2 of the first rounds */
	size_t rounds;               /* until TARGET */
	struct experiment_curve *curve;
};

struct comparison {
	struct logistic problem[HARDNESSES];
	double step[HARDNESSES][2]; /* of ef21, of ef21-w */
	struct course course[HARDNESSES][CASES];
};

static void steps(const struct logistic *l, double step[2])
{
	double share = 1. / LOGISTIC_DIM, reach = (1 + sqrt(1 - share)) / share - 1;
	double mean = 0, squares = 0;

	for (size_t n = 0; n < LOGISTIC_NODES; n++) {
		mean += l->smoothness[n] / LOGISTIC_NODES;
		squares += l->smoothness[n] * l->smoothness[n] / LOGISTIC_NODES;
	}
	step[0] = 1 / (l->smoothness_of_mean + reach * sqrt(squares));
	step[1] = 1 / (l->smoothness_of_mean + reach * mean);
}

static void weigh(struct team *t, const struct logistic *l, enum weights weights)
{
	double mean = 0;

	for (size_t n = 0; n < LOGISTIC_NODES; n++)
		mean += l->smoothness[n] / LOGISTIC_NODES;
	for (uint32_t n = 0; n < LOGISTIC_NODES; n++) {
		double weight = l->smoothness[n] / mean;

		if (weights == SMOOTHNESS)
			team_weigh(t, n, weight);
		if (weights == POWERS_OF_2)
			team_weigh(t, n, exp2(rint(log2(weight)) + n % 3));
	}
}

static void run(void *context, size_t i)
{
	struct comparison *all = context;
	size_t hard = HARDNESSES - 1 - i / CASES, of = i % CASES; /* the longest first */
	const struct logistic *l = &all->problem[hard];
	struct course *course = &all->course[hard][of];
	size_t most = cases[of].to_target ? ROUNDS_MAX : EQUAL_ROUNDS;
	double x[LOGISTIC_DIM] = {0}, step = all->step[hard][cases[of].large];
	struct team t;

	team_init(&t, cases[of].kind, cases[of].weights == EVEN ? "ef21" : "ef21-w",
		  "topk:density=0.02", "none", LOGISTIC_NODES, LOGISTIC_DIM);
	t.average = true;
	weigh(&t, l, cases[of].weights);
	for (size_t round = 0; round < most; round++) {
		double mean[LOGISTIC_DIM] = {0}, square = 0;

		for (size_t n = 0; n < LOGISTIC_NODES; n++) {
			logistic_gradient(l, n, x, &t.in[n * LOGISTIC_DIM]);
			for (size_t k = 0; k < LOGISTIC_DIM; k++)
				mean[k] += t.in[n * LOGISTIC_DIM + k] / LOGISTIC_NODES;
		}
		for (size_t k = 0; k < LOGISTIC_DIM; k++)
			square += mean[k] * mean[k];
		if (course->curve && round % 50 == 0)
			experiment_point(course->curve, (double)round, square);
		if (round < EQUAL_ROUNDS)
			course->square[round] = square;
		if (square <= TARGET && !course->rounds) {
			course->rounds = round;
			most = round < EQUAL_ROUNDS ? EQUAL_ROUNDS : round;
		}
		team_op(&t);
		for (size_t k = 0; k < LOGISTIC_DIM; k++)
			x[k] -= step * t.out[k];
	}
	team_deinit(&t);
}

/* Return: the greatest relative difference of |gradient|^2 in the first rounds. */
static double apart(const struct course *a, const struct course *b)
{
	double most = 0;

	for (size_t round = 0; round < EQUAL_ROUNDS; round++)
		most = fmax(most, fabs(a->square[round] / b->square[round] - 1));
	return most;
}

static void figures(struct experiment *e, const struct comparison *all, size_t hard)
{
	static const double published[HARDNESSES] = {1.001, 1.512, 3.587};
	const struct course *c = all->course[hard];
	double ratio = all->step[hard][1] / all->step[hard][0], h = hardness[hard];

	experiment_near(e, ratio, published[hard], 0.01, "x %g: step of ef21-w / ef21, published",
			h);
	experiment_near(e, (double)c[0].rounds / (double)c[1].rounds, ratio, 0.05,
			"x %g: rounds of ef21 / ef21-w", h);
	experiment_near(e, (double)c[1].rounds, (double)c[6].rounds, 0.02,
			"x %g: rounds of ef21-w, float64", h);
	experiment_expect(e, apart(&c[5], &c[4]), 0, 1e-12,
			  "x %g, equal steps: relative difference in float64", h);
	experiment_near(e, apart(&c[3], &c[0]), 0, 0,
			"x %g, equal steps: ... in float32, weights powers of 2", h);
	experiment_expect(e, apart(&c[2], &c[0]), 0, 5e-4, "x %g, equal steps: ... in float32", h);
}

void experiment_c(struct experiment *e)
{
	static const char *const titles[HARDNESSES] = {
		"All nodes alike", "One node 10 times as hard", "One node 100 times as hard"};
	static const char *const names[CASES] = {"ef21", "ef21-w", "ef21-w, ef21's step"};
	struct comparison *all = calloc(1, sizeof(*all));

	if (!all)
		abort();
	e->words =
		"Twenty nodes, one of which has data that makes its function steeper. The theory "
		"of ef21 has to go by the root of the mean square of the steepnesses, which one "
		"node can dominate; with weights in proportion to it (ef21-w) their mean is "
		"enough, and the step may be larger. The rounds needed fall by just as much. With "
		"equal steps both are the same, because the greatest element stays the greatest "
		"when all are multiplied by a weight: to 1e-12 in float64, and here, in float32, "
		"to the last bit if the weights are powers of two. Other weights round otherwise "
		"in float32, so that 1e-12 cannot be asked of them; one part in two thousand can.";
	for (size_t h = 0; h < HARDNESSES; h++) {
		struct experiment_plot *p = experiment_plot(e, titles[h], "rounds",
							    "|gradient|\xc2\xb2", EXPERIMENT_LOG_Y);

		logistic_init(&all->problem[h], hardness[h]);
		steps(&all->problem[h], all->step[h]);
		for (size_t c = 0; c < 3; c++)
			all->course[h][c].curve = experiment_curve(p, "%s", names[c]);
	}
	experiment_each(e, (size_t)HARDNESSES * CASES, run, all);
	for (size_t h = 0; h < HARDNESSES; h++)
		figures(e, all, h);
	free(all);
}
