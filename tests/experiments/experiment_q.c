/*
 * experiment_q.c - one node's state is lost at step 1000 of 4000 (least_squares.h, spread 10).
 *
 * A residual of ef14 may be lost.  Losing g of ef21 or h of econtrol while G keeps it is a bias
 * for ever (28.5); an absolute op, or taking it out of G, mends all of it.
 */
#include <string.h>

#include "tests/experiments/least_squares.h"

enum loss { NOTHING, STATE, STATE_THEN_ABSOLUTE, STATE_AND_SHARE };

static void lose(struct cluster *c, enum feedback_vector vector)
{
	if (feedback_vector_bytes(&c->feedback, vector, 1))
		memset(cluster_vector(c, 0, vector), 0, SQUARES_DIM * sizeof(float));
}

/* G -= g of node 0, everywhere. */
static void take_out(struct cluster *c)
{
	const float *g = cluster_vector(c, 0, FEEDBACK_ESTIMATE);

	for (uint32_t n = 0; n < SQUARES_NODES; n++)
		for (size_t i = 0; i < SQUARES_DIM; i++)
			cluster_vector(c, n, FEEDBACK_SUM)[i] -= g[i];
}

static double run(const char *feedback, enum loss loss)
{
	struct least_squares s;
	double error;

	least_squares_init(&s, feedback, "topk:density=0.1", 10, 0, 0.02);
	least_squares_run(&s, 1000);
	if (loss == STATE_AND_SHARE)
		take_out(&s.c);
	if (loss != NOTHING) {
		lose(&s.c, FEEDBACK_RESIDUAL);
		lose(&s.c, FEEDBACK_ESTIMATE);
	}
	s.c.dense = loss == STATE_THEN_ABSOLUTE;
	least_squares_run(&s, 1);
	s.c.dense = false;
	least_squares_run(&s, 2899);
	error = least_squares_error(&s, 100);
	least_squares_deinit(&s);
	return error;
}

void experiment_q(struct experiment *e)
{
	const char *const kinds[] = {"ef21", "econtrol:eta=0.1"};

	e->words = "Setting of B with a spread of 10. After 1000 of 4000 steps a node loses "
		   "its state. A residual of ef14 may be lost: nothing happens. What ef21 and "
		   "econtrol keep may not: the others' aggregate still has the node's lost "
		   "share, and everything ends in the wrong place for ever. Sending everything "
		   "anew (an absolute op), or taking the lost share out of the aggregate, "
		   "mends it completely.";
	experiment_expect(e, run("ef14", STATE), 0.2, 0.4, "ef14, a residual lost");
	for (size_t i = 0; i < 2; i++) {
		experiment_expect(e, run(kinds[i], NOTHING), 0, 1e-8, "%s, nothing lost", kinds[i]);
		experiment_expect(e, run(kinds[i], STATE), 10, 60, "%s, lost", kinds[i]);
		experiment_expect(e, run(kinds[i], STATE_THEN_ABSOLUTE), 0, 1e-8,
				  "%s, lost, then an absolute op", kinds[i]);
		experiment_expect(e, run(kinds[i], STATE_AND_SHARE), 0, 1e-8,
				  "%s, lost and taken out of G", kinds[i]);
	}
}
