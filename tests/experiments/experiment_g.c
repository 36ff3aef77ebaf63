/*
 * experiment_g.c - 1-bit Adam: momentum compressed to signs in both directions trains as well as
 * Adam, and does not if the residuals are thrown away.
 *
 * Logistic regression, 8 nodes with data of their own, Adam for the first 15 % of the steps; then
 * the second moment is frozen and each node's momentum goes through `twosided` signs, one scale a
 * chunk as in DeepSpeed.
 * Source: Tang et al., "1-bit Adam", 2021.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/experiments/team.h"

enum { NODES = 8, DIM = 64, ROWS = 64, STEPS = 2000, WARM = 300, TRAININGS = 7 };

struct problem {
	double row[NODES * ROWS][DIM], label[NODES * ROWS];
};

static void problem_draw(struct problem *p)
{
	struct experiment_random random;
	double truth[DIM];

	experiment_seed(&random, 1);
	for (size_t i = 0; i < DIM; i++)
		truth[i] = experiment_normal(&random);
	for (size_t r = 0; r < NODES * ROWS; r++) {
		double along = 0;

		for (size_t i = 0; i < DIM; i++) {
			p->row[r][i] = experiment_normal(&random) * (1 + (double)(i % 4));
			along += p->row[r][i] * truth[i];
		}
		p->label[r] = along + 4 * experiment_normal(&random) >= 0 ? 1 : -1;
	}
}

/* Mean loss of rows [first, first + rows) with |x|^2 / 200, and its gradient. */
static double loss(const struct problem *p, size_t first, size_t rows, const double *x, double *g)
{
	double sum = 0;

	for (size_t i = 0; i < DIM; i++) {
		sum += x[i] * x[i] / 200 * (double)rows;
		g[i] = x[i] / 100;
	}
	for (size_t r = first; r < first + rows; r++) {
		double along = 0, push;

		for (size_t i = 0; i < DIM; i++)
			along += p->row[r][i] * x[i];
		sum += log1p(exp(-p->label[r] * along));
		push = -p->label[r] / (1 + exp(p->label[r] * along)) / (double)rows;
		for (size_t i = 0; i < DIM; i++)
			g[i] += push * p->row[r][i];
	}
	return sum / (double)rows;
}

/* Throw away what both sides still have to send. */
static void forget(struct team *t)
{
	for (uint32_t n = 0; n < NODES; n++)
		for (size_t i = 0; i < DIM; i++) {
			team_set(t, n, FEEDBACK_RESIDUAL, i, 0);
			team_set(t, n, FEEDBACK_OWNER_RESIDUAL, i, 0);
		}
}

/* What was put in since the residuals were zero, what came out, and what is still to come. */
struct balance {
	double in[DIM], out[DIM];
};

/* Return: the greatest element that is missing, of the greatest of the sums. */
static double missing(struct team *t, const struct balance *b)
{
	double most = 0, size = 0;

	for (size_t i = 0; i < DIM; i++) {
		double left = team_get(t, 0, FEEDBACK_OWNER_RESIDUAL, i);

		for (uint32_t n = 0; n < NODES; n++)
			left += team_get(t, n, FEEDBACK_RESIDUAL, i) / NODES;
		most = fmax(most, fabs(b->in[i] - b->out[i] - left));
		size = fmax(size, fabs(b->in[i]));
	}
	return most / size;
}

struct training {
	const char *name, *codec;
	enum team_kind kind;
	bool forgets;
	double loss, missing;
	struct experiment_curve *curve;
};

/* One node's momentum to the team; to the balance what signs carry. */
static void put_in(struct team *t, struct balance *b, size_t node, const double *m, const double *g)
{
	for (size_t i = 0; i < DIM; i++) {
		t->in[node * DIM + i] = 0.9 * m[i] + 0.1 * g[i];
		if (!t->dense)
			b->in[i] += t->in[node * DIM + i] / NODES;
	}
}

/* A step of Adam, whose second moment is frozen once signs are sent. */
static void step(double *x, double *m, double *v, const struct team *t, size_t done)
{
	double rate = 0.01 / (1 + (double)done / 100);

	for (size_t i = 0; i < DIM; i++) {
		double mean = (t->out[i] - 0.9 * m[i]) / 0.1;

		if (t->dense)
			v[i] = 0.999 * v[i] + 0.001 * mean * mean;
		m[i] = t->out[i];
		x[i] -= rate * m[i] / (sqrt(v[i]) + 1e-8);
	}
}

static void train(const struct problem *p, struct training *of)
{
	double x[DIM] = {0}, m[DIM] = {0}, v[DIM] = {0}, g[DIM];
	struct balance b = {{0}, {0}};
	struct team t;

	team_init(&t, of->kind, "twosided", of->codec, of->codec, NODES, DIM);
	t.average = true;
	for (size_t done = 0; done < STEPS; done++) {
		t.dense = done < WARM;
		if (of->curve && done % 20 == 0)
			experiment_point(of->curve, (double)done, loss(p, 0, NODES * ROWS, x, g));
		for (size_t n = 0; n < NODES; n++) {
			loss(p, n * ROWS, ROWS, x, g);
			put_in(&t, &b, n, m, g);
		}
		if (of->forgets)
			forget(&t);
		team_op(&t);
		for (size_t i = 0; i < DIM && !t.dense; i++)
			b.out[i] += t.out[i];
		step(x, m, v, &t, done);
	}
	of->loss = loss(p, 0, NODES * ROWS, x, g);
	of->missing = missing(&t, &b);
	team_deinit(&t);
}

struct trainings {
	struct problem problem;
	struct training each[TRAININGS];
};

static void run(void *context, size_t i)
{
	struct trainings *t = context;

	train(&t->problem, &t->each[i]);
}

void experiment_g(struct experiment *e)
{
	static const struct training list[TRAININGS] = {
		{.name = "Adam", .codec = "none"},
		{.name = "1-bit Adam", .codec = "sign:block=64,scale=l2"},
		{.name = "1-bit Adam, l1 scales", .codec = "sign:block=64,scale=l1"},
		{.name = "residuals thrown away",
		 .codec = "sign:block=64,scale=l2",
		 .forgets = true},
		{.name = "Adam", .codec = "none", .kind = TEAM_FLOAT64},
		{.name = "1-bit Adam", .codec = "sign:block=64,scale=l2", .kind = TEAM_FLOAT64},
		{.name = "l1 scales", .codec = "sign:block=64,scale=l1", .kind = TEAM_FLOAT64},
	};
	struct experiment_plot *p = experiment_plot(e, "Loss", "steps", "loss", EXPERIMENT_LOG_Y);
	struct trainings *t = malloc(sizeof(*t));

	if (!t)
		abort();
	e->words =
		"1-bit Adam sends the signs of the momentum in both directions, a thirty-second "
		"of the bytes, after a first part of the training (300 steps) that is sent "
		"exactly. The residuals on both sides make that as good as Adam. If they are "
		"thrown away before each op, the training is ruined. Added up over all ops, what "
		"comes out is what was put in, up to what the residuals still hold.";
	problem_draw(&t->problem);
	memcpy(t->each, list, sizeof(list));
	for (size_t i = 0; i < 4; i++)
		t->each[i].curve = experiment_curve(p, "%s", list[i].name);
	experiment_each(e, TRAININGS, run, t);
	for (size_t i = 1; i <= 2; i++) {
		experiment_near(e, t->each[i].loss / t->each[0].loss, 1, 1e-3, "%s: loss / Adam's",
				list[i].name);
		experiment_near(e, t->each[i].loss, t->each[i + 4].loss, 1e-3, "%s: loss",
				list[i].name);
		experiment_expect(e, t->each[i].missing, 0, 1e-4, "%s: lost on the way, relative",
				  list[i].name);
		experiment_expect(e, t->each[i + 4].missing, 0, 1e-11,
				  "%s: lost on the way in float64", list[i].name);
	}
	experiment_near(e, t->each[0].loss, t->each[4].loss, 1e-6, "Adam: loss");
	experiment_expect(e, t->each[3].loss / t->each[0].loss, 1.01, INFINITY,
			  "residuals thrown away: loss / Adam's");
	free(t);
}
