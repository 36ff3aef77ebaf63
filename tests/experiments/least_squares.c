/* least_squares.c - see least_squares.h. */
#include "tests/experiments/least_squares.h"

#include <math.h>

enum { DRAWN = 20 }; /* every so many steps are points of the curve */

/* A_i^2 of node n. */
static double curvature(size_t n)
{
	return (double)((n + 1) * (n + 1)) / SQUARES_NODES;
}

void least_squares_init(struct least_squares *s, enum team_kind kind, const char *feedback,
			const char *codec, double spread, double noise, double rate)
{
	*s = (struct least_squares){.noise = noise / sqrt(SQUARES_DIM),
				    .step = rate / SQUARES_SMOOTHNESS};
	team_init(&s->team, kind, feedback, codec, "none", SQUARES_NODES, SQUARES_DIM);
	s->team.average = true;
	experiment_seed(&s->random, 1);
	for (size_t n = 0; n < SQUARES_NODES; n++) {
		for (size_t i = 0; i < SQUARES_DIM; i++) {
			double b = experiment_normal(&s->random) * spread / (double)(n + 1);

			s->pull[n][i] = sqrt(curvature(n)) * b;
			s->best[i] += s->pull[n][i];
		}
	}
	for (size_t i = 0; i < SQUARES_DIM; i++) {
		s->best[i] /= SQUARES_SMOOTHNESS * SQUARES_NODES;
		s->x[i] = s->best[i] + 1;
	}
}

void least_squares_deinit(struct least_squares *s)
{
	team_deinit(&s->team);
}

static double error_of(const struct least_squares *s)
{
	double sum = 0;

	for (size_t i = 0; i < SQUARES_DIM; i++)
		sum += (s->x[i] - s->best[i]) * (s->x[i] - s->best[i]);
	return sum;
}

void least_squares_run(struct least_squares *s, size_t steps)
{
	for (size_t t = 0; t < steps; t++) {
		if (s->curve && s->steps % DRAWN == 0)
			experiment_point(s->curve, (double)s->steps, error_of(s));
		for (size_t n = 0; n < SQUARES_NODES; n++)
			for (size_t i = 0; i < SQUARES_DIM; i++) {
				double g = curvature(n) * s->x[i] - s->pull[n][i];

				if (s->noise > 0)
					g += s->noise * experiment_normal(&s->random);
				s->team.in[n * SQUARES_DIM + i] = g;
			}
		team_op(&s->team);
		for (size_t i = 0; i < SQUARES_DIM; i++)
			s->x[i] -= s->step * s->team.out[i];
		s->steps++;
	}
}

double least_squares_error(struct least_squares *s, size_t steps)
{
	double sum = 0;

	for (size_t t = 0; t < steps; t++) {
		least_squares_run(s, 1);
		sum += error_of(s);
	}
	return sum / (double)steps;
}
