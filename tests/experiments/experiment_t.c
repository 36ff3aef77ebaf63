/*
 * experiment_t.c - LIBSVM-like training on real daemons: sorted_logistic.h by eight ranks, each on
 * a node of its own with a carryd of its own (trainer.c), sending top 1 %.
 *
 * The step is eight times what theory promises to be safe for ef21; published experiments tune by
 * such powers of two.  The same is run three times: by the daemons; in this process with the same
 * code (team.h), whose x must have the same bits; and in float64.  Feedback that follows each
 * node's gradient takes |gradient of f|^2 below 1e-10; without it the level must stay where it
 * stays in float64: what stalls ends in cycles, whose turns depend on roundings, hence the wider
 * limits.
 *
 * Bytes: a contribution is 3 elements, the final of a feedback those of all nodes, 3 to 24.  A
 * message has 4 bytes and 4 to 4 + 2 an element; an owner sends itself nothing.  Dense: 300
 * floats each way.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/experiments/daemons.h"
#include "tests/experiments/sorted_logistic.h"
#include "tests/experiments/team.h"

enum { RULES = 5, KINDS = 2, EVERY = 20, EARLY = 400 };
enum rule { NONE, EF14, EF21, ECONTROL, EXACT };

#define DENSITY 0.01
#define TOP "topk:density=0.01"

static const struct {
	const char *name, *feedback, *up, *down;
	size_t steps;
} rules[RULES] = {
	{"no feedback", "none", TOP, TOP, 600},
	{"ef14", "ef14", TOP, "none", 600},
	{"ef21", "ef21", TOP, "none", 800},
	{"econtrol", "econtrol:eta=0.01", TOP, "none", 1200},
	{"exact", "none", "none", "none", 800},
};

/* How a run went. */
struct course {
	double early, least, last; /* |gradient|^2: after EARLY steps, of all, at the end */
	uint64_t hash;             /* of x at the end */
};

struct training {
	struct sorted_logistic problem;
	double step;
	struct course team[KINDS][RULES], daemons[RULES];
	struct experiment_curve *curve[RULES];
	uint64_t bytes[RULES]; /* that all ranks sent */
	uint32_t same[RULES];  /* ranks that ended with the same bits as rank 0 */
	uint64_t hashes[RULES][SORTED_NODES];
	bool ended[RULES][SORTED_NODES];
	int status; /* of the daemons' run */
};

static void note(struct course *course, size_t step, double square)
{
	if (step == EARLY)
		course->early = square;
	course->least = fmin(course->least, square); /* of a NaN and a number: the number */
	course->last = square;
}

/* --- in this process ---------------------------------------------------------------------- */

static void run_team(void *context, size_t i)
{
	struct training *t = context;
	size_t rule = i % RULES, kind = i / RULES;
	struct course *course = &t->team[kind][rule];
	double x[SORTED_DIM] = {0};
	struct team team;

	team_init(&team, (enum team_kind)kind, rules[rule].feedback, rules[rule].up,
		  rules[rule].down, SORTED_NODES, SORTED_DIM);
	team.average = true;
	for (size_t step = 0; step <= rules[rule].steps; step++) {
		double square = 0;

		for (size_t n = 0; n < SORTED_NODES; n++)
			sorted_logistic_gradient(&t->problem, n, x, team.in + n * SORTED_DIM);
		for (size_t d = 0; d < SORTED_DIM; d++) {
			double sum = 0;

			for (size_t n = 0; n < SORTED_NODES; n++)
				sum += team.in[n * SORTED_DIM + d];
			square += pow(sum / SORTED_NODES, 2);
		}
		if (step % EVERY == 0)
			note(course, step, square);
		if (step == rules[rule].steps)
			break;
		team_op(&team);
		for (size_t d = 0; d < SORTED_DIM; d++)
			x[d] -= t->step * team.out[d];
	}
	course->hash = sorted_logistic_hash(x);
	team_deinit(&team);
}

/* --- on real daemons ---------------------------------------------------------------------- */

static void take_line(struct training *t, uint32_t rank, const char *line)
{
	uint64_t bytes, hash;
	double square;
	size_t step;
	unsigned rule;

	if (rank >= SORTED_NODES)
		return;
	if (sscanf(line, "grad %u %zu %lf", &rule, &step, &square) == 3 && rule < RULES) {
		note(&t->daemons[rule], step, square);
		experiment_point(t->curve[rule], (double)step, square);
	} else if (sscanf(line, "end %u %" SCNu64 " %" SCNx64, &rule, &bytes, &hash) == 3 &&
		   rule < RULES) {
		t->bytes[rule] += bytes;
		t->hashes[rule][rank] = hash;
		t->ended[rule][rank] = true;
	}
}

static void run_daemons(struct training *t)
{
	char step[32], every[16], steps[RULES][16], line[DAEMONS_LINE_BYTES];
	const char *words[2 + 3 * RULES + 1] = {step, every};
	struct daemons daemons;
	uint32_t rank;

	(void)snprintf(step, sizeof(step), "%.17g", t->step);
	(void)snprintf(every, sizeof(every), "%d", EVERY);
	for (size_t r = 0; r < RULES; r++) {
		(void)snprintf(steps[r], sizeof(steps[r]), "%zu", rules[r].steps);
		words[2 + 3 * r] = rules[r].feedback;
		words[3 + 3 * r] = rules[r].up;
		words[4 + 3 * r] = steps[r];
	}
	t->status = daemons_start(&daemons, SORTED_NODES, words);
	if (t->status)
		return;
	while (daemons_line(&daemons, &rank, line))
		take_line(t, rank, line);
	t->status = daemons_end(&daemons);
	for (size_t r = 0; r < RULES; r++)
		for (size_t n = 0; n < SORTED_NODES; n++)
			t->same[r] +=
				t->ended[r][n] && t->hashes[r][n] == t->team[TEAM_OWN][r].hash;
}

/* --- figures ------------------------------------------------------------------------------ */

static void figures(struct experiment *e, const struct training *t)
{
	const double dense = 2. * (SORTED_NODES - 1) * SORTED_DIM * sizeof(float);
	const double most = (SORTED_NODES - 1) * (4 + 6 * 3. + 4 + 6 * 3. * SORTED_NODES);
	const double least = (SORTED_NODES - 1) * 2. * (4 + 4 * 3.);
	const struct course *own = t->daemons, *f64 = t->team[TEAM_FLOAT64];

	experiment_near(e, t->status, 0, 0, "the cluster's exit status");
	for (size_t r = 0; r < RULES; r++)
		experiment_near(e, t->same[r], SORTED_NODES, 0,
				"%s: ranks with the bits of one process", rules[r].name);
	for (size_t r = 0; r < RULES; r++)
		experiment_near(e, own[r].early, f64[r].early, r <= EF14 ? 0.05 : 0.01,
				"%s: |gradient|\xc2\xb2 after %d steps, float64", rules[r].name,
				EARLY);
	for (size_t r = EF21; r < RULES; r++)
		experiment_expect(e, own[r].last, 0, 1e-10,
				  "%s: |gradient|\xc2\xb2 after %zu steps", rules[r].name,
				  rules[r].steps);
	for (size_t r = NONE; r <= EF14; r++)
		experiment_expect(e, own[r].least, 0.5 * f64[r].least, INFINITY,
				  "%s: least |gradient|\xc2\xb2 of %zu steps", rules[r].name,
				  rules[r].steps);
	for (size_t r = 0; r < RULES; r++) {
		double fewer = dense * (double)rules[r].steps / (double)t->bytes[r];

		if (r == EXACT)
			experiment_near(e, fewer, 1, 0, "%s: bytes, of dense", rules[r].name);
		else
			experiment_expect(e, fewer, dense / most, dense / least,
					  "%s: times fewer bytes than dense", rules[r].name);
	}
}

void experiment_t(struct experiment *e)
{
	struct experiment_plot *plot =
		experiment_plot(e, "Eight ranks on eight daemons, data sorted by label", "steps",
				"|gradient|\xc2\xb2", EXPERIMENT_LOG_Y);
	struct training *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	e->words =
		"Eight ranks, each on a node of its own, train through real daemons: logistic "
		"regression on sparse data that is sorted by label, so that some nodes see only "
		"examples of the one kind and the others only of the other. Without feedback, "
		"each node keeps sending the same few large elements, which cancel those of other "
		"nodes, and the rest never arrives: the gradient stalls. With ef14 it does at "
		"a lower level. ef21 and econtrol come as close as the exact gradient, with a "
		"twentieth of its bytes. All ranks end with the same bits, which are those of the "
		"same ops in one process.";
	for (size_t r = 0; r < RULES; r++) {
		t->curve[r] = experiment_curve(plot, "%s", rules[r].name);
		t->daemons[r] = t->team[TEAM_OWN][r] = t->team[TEAM_FLOAT64][r] =
			(struct course){(double)NAN, (double)NAN, (double)NAN, 0};
	}
	sorted_logistic_init(&t->problem);
	t->step = 8 * sorted_logistic_step(&t->problem, DENSITY);
	experiment_each(e, (size_t)KINDS * RULES, run_team, t);
	run_daemons(t);
	figures(e, t);
	free(t);
}
