/* rules.c - see rules.h. */
#include "tests/experiments/rules.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *zeros(size_t count)
{
	double *v = calloc(count, sizeof(*v));

	assert(v);
	return v;
}

void rules_init(struct rules *r, const char *feedback, const char *up, const char *down,
		uint32_t nodes, size_t count)
{
	assert(nodes >= 1 && nodes <= CLUSTER_NODES);
	*r = (struct rules){.nodes = nodes, .count = count, .scale = 1};
	cluster_specs(&r->feedback, feedback, &r->up, up, &r->down, down);
	r->sum = zeros(count);
	r->wanted = zeros(count);
	r->sent = zeros(count);
	r->best = calloc(count, sizeof(*r->best));
	assert(r->best);
	for (uint32_t n = 0; n < nodes; n++) {
		r->weight[n] = 1;
		for (size_t v = 0; v < FEEDBACK_VECTORS; v++)
			r->state[n][v] = zeros(count);
	}
}

void rules_deinit(struct rules *r)
{
	for (uint32_t n = 0; n < r->nodes; n++)
		for (size_t v = 0; v < FEEDBACK_VECTORS; v++)
			free(r->state[n][v]);
	free(r->sum);
	free(r->wanted);
	free(r->sent);
	free(r->best);
	*r = (struct rules){0};
}

/* --- codecs ------------------------------------------------------------------------------- */

/* The k greatest magnitudes, of equal ones the first; best[0..k) is sorted by magnitude. */
static void top(struct rules *r, size_t k, const double *in, double *out)
{
	size_t *best = r->best, kept = 0;

	memset(out, 0, r->count * sizeof(*out));
	for (size_t i = 0; i < r->count; i++) {
		size_t at = kept < k ? kept : k;

		while (at && fabs(in[i]) > fabs(in[best[at - 1]])) {
			if (at < k)
				best[at] = best[at - 1];
			at--;
		}
		if (at == k)
			continue;
		best[at] = i;
		kept += kept < k;
	}
	for (size_t i = 0; i < kept; i++)
		out[best[i]] = in[best[i]];
}

static void signs(const double *in, double *out, size_t count, bool l2)
{
	double magnitudes = 0, squares = 0, scale;

	for (size_t i = 0; i < count; i++) {
		magnitudes += fabs(in[i]);
		squares += in[i] * in[i];
	}
	scale = l2 ? sqrt(squares / (double)count) : magnitudes / (double)count;
	for (size_t i = 0; i < count; i++)
		out[i] = in[i] < 0 ? -scale : scale;
}

/* What is left of `in` after the codec; `out` may not be `in`. */
static void code(struct rules *r, const struct codec_setting *s, const double *in, double *out)
{
	if (s->id == CODEC_NONE || r->dense) {
		memcpy(out, in, r->count * sizeof(*out));
	} else if (s->id == CODEC_TOPK && s->mode == 0) {
		/* A density of 0.1 in float32 is a little more. */
		top(r, (size_t)ceil((double)s->density * (double)r->count - 1e-4), in, out);
	} else {
		assert(s->id == CODEC_SIGN);
		for (size_t at = 0; at < r->count; at += s->block) {
			size_t left = r->count - at;

			signs(in + at, out + at, left < s->block ? left : s->block, s->scale == 1);
		}
	}
}

/* --- rules -------------------------------------------------------------------------------- */

/* What is lost is sent with the next input. */
static void with_residual(struct rules *r, uint32_t node, const double *in)
{
	double *e = r->state[node][FEEDBACK_RESIDUAL];

	for (size_t i = 0; i < r->count; i++)
		r->wanted[i] = in[i] + r->scale * e[i];
	code(r, &r->up, r->wanted, r->sent);
	for (size_t i = 0; i < r->count; i++)
		e[i] = r->wanted[i] - r->sent[i];
}

/* Differences to the estimate g; dense: g anew. */
static void with_estimate(struct rules *r, uint32_t node, const double *in, double eta)
{
	double *g = r->state[node][FEEDBACK_ESTIMATE], *v = r->state[node][FEEDBACK_MOMENTUM];

	for (size_t i = 0; i < r->count; i++) {
		v[i] = r->scale * v[i] + eta * (in[i] / r->weight[node] - r->scale * v[i]);
		g[i] *= r->dense ? 0 : r->scale;
		r->wanted[i] = v[i] - g[i];
	}
	code(r, &r->up, r->wanted, r->sent);
	for (size_t i = 0; i < r->count; i++)
		g[i] += r->sent[i];
}

/* delta = C(eta e + in - h); e += in - h - delta; h += delta. */
static void with_both(struct rules *r, uint32_t node, const double *in)
{
	double *e = r->state[node][FEEDBACK_RESIDUAL], *h = r->state[node][FEEDBACK_ESTIMATE];

	for (size_t i = 0; i < r->count; i++) {
		h[i] *= r->dense ? 0 : r->scale;
		e[i] *= r->scale;
		r->wanted[i] = (double)r->feedback.eta * e[i] + in[i] - h[i];
	}
	code(r, &r->up, r->wanted, r->sent);
	for (size_t i = 0; i < r->count; i++) {
		e[i] += in[i] - h[i] - r->sent[i];
		h[i] += r->sent[i];
	}
}

/* Sets r->sent.  Return: whether results are sums of estimates. */
static bool contribute(struct rules *r, uint32_t node, const double *in)
{
	switch (r->feedback.id) {
	case FEEDBACK_NONE: code(r, &r->up, in, r->sent); return false;
	case FEEDBACK_EF14:
	case FEEDBACK_TWOSIDED: with_residual(r, node, in); return false;
	case FEEDBACK_EF21:
	case FEEDBACK_EF21_W: with_estimate(r, node, in, 1); return true;
	case FEEDBACK_EF21_SGDM: /* the momentum begins with the first gradient */
		with_estimate(r, node, in, r->ops ? (double)r->feedback.eta : 1);
		return true;
	default:
		assert(r->feedback.id == FEEDBACK_ECONTROL);
		with_both(r, node, in);
		return true;
	}
}

void rules_op(struct rules *r, const double *in, double *result)
{
	double divisor = r->average ? r->nodes : 1, *all = r->state[0][FEEDBACK_SUM];
	double *residual = r->state[0][FEEDBACK_OWNER_RESIDUAL];
	bool estimates = false;

	memset(r->sum, 0, r->count * sizeof(*r->sum));
	for (uint32_t n = 0; n < r->nodes; n++) {
		estimates = contribute(r, n, in + n * r->count);
		for (size_t i = 0; i < r->count; i++)
			r->sum[i] += r->weight[n] * r->sent[i];
	}
	for (size_t i = 0; i < r->count; i++) {
		if (estimates) {
			all[i] = r->sum[i] + (r->dense ? 0 : r->scale * all[i]);
			result[i] = all[i] / divisor;
		} else {
			r->wanted[i] = r->sum[i] / divisor + r->scale * residual[i];
		}
	}
	r->ops++;
	if (estimates)
		return;
	code(r, &r->down, r->wanted, result);
	for (size_t i = 0; i < r->count; i++)
		residual[i] = r->wanted[i] - result[i];
}
