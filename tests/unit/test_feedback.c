/*
 * test_feedback.c - the rules of feedback.h, one chunk at a time: for each algorithm, each codec
 * that it goes with, units, dense ops and contributions that are left out, what is written next
 * to what was there, against the same rule in float64 with the bytes decoded by themselves.
 * Residuals are compared to the last bit.
 */
#include "compress/feedback.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"
#include "tests/common/draw.h"
#include "tests/unit/codec_case.h"
#include "tests/unit/feedback_pairs.h"

/* --- one chunk ---------------------------------------------------------------------------- */

/* Loco's blocks are here as floats; `now` and `next` are what the code sees. */
struct chunk {
	struct feedback_setting setting;
	struct codec_setting up, down;
	struct feedback_op op;
	struct feedback_input input;
	struct feedback_state state;
	double *now[FEEDBACK_VECTORS], *next[FEEDBACK_VECTORS];
	float *in, *sum, *result;
	double *decoded; /* own contribution or final */
	void *bytes;
	size_t length;
};

static void *room(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);

	assert_non_null(p);
	return p;
}

/* Loco's residual by its description: scale, int8[256], ... */
static void widen(const struct chunk *c, enum feedback_vector v, const void *stored, double *out)
{
	for (size_t i = 0; i < c->op.count; i++) {
		const char *block = (const char *)stored + i / 256 * 260;
		float x;

		memcpy(&x, c->setting.id == FEEDBACK_LOCO ? block : (const char *)stored + 4 * i,
		       sizeof(x));
		out[i] = (double)x;
		if (c->setting.id == FEEDBACK_LOCO && v == FEEDBACK_RESIDUAL)
			out[i] *= (double)(signed char)block[4 + i % 256];
	}
}

static void fill(const struct chunk *c, enum feedback_vector v, void *stored, uint64_t *seed)
{
	float scale = 0.01f;

	if (c->setting.id != FEEDBACK_LOCO || v != FEEDBACK_RESIDUAL) {
		for (size_t i = 0; i < c->op.count; i++)
			((float *)stored)[i] = (float)draw_gauss(seed);
		return;
	}
	for (size_t i = 0; i < c->op.count; i++) {
		char *block = (char *)stored + i / 256 * 260;

		memcpy(block, &scale, sizeof(scale));
		block[4 + i % 256] = (char)(draw_u64(seed) % 255 - 127);
	}
}

static void chunk_init(struct chunk *c, const struct feedback_setting *setting,
		       const struct codec_setting *up, const struct codec_setting *down,
		       size_t count, uint64_t seed)
{
	*c = (struct chunk){.setting = *setting, .up = *up, .down = *down};
	c->op = (struct feedback_op){
		.setting = &c->setting,
		.up = &c->up,
		.down = &c->down,
		.kernels = case_best(),
		.count = count,
		.step = 3,
		.divisor = 3,
		.scale = 1,
		.shared_key = random_key(1, 2, 3, RANDOM_SHARED),
		.work = aligned_alloc(64,
				      feedback_work_bytes(setting, up, down, count) / 64 * 64 + 64),
	};
	c->in = room(count * sizeof(float));
	c->sum = room(count * sizeof(float));
	c->result = room(count * sizeof(float));
	c->decoded = room(count * sizeof(double));
	for (size_t i = 0; i < count; i++)
		c->in[i] = (float)draw_gauss(&seed);
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
		size_t bytes = feedback_vector_bytes(setting, v, count);
		void *now = room(bytes), *next = room(bytes);

		c->now[v] = room(count * sizeof(double));
		c->next[v] = room(count * sizeof(double));
		memset(next, 0xff, bytes); /* NaN: all of it is to be written */
		c->state.now[v] = now;
		c->state.next[v] = next;
		if (!bytes)
			continue;
		fill(c, v, now, &seed);
		widen(c, v, now, c->now[v]);
	}
	c->input = (struct feedback_input){
		.in = c->in, .weight = 1, .last_weight = 1, .key = random_key(1, 2, 3, 4)};
}

static void chunk_deinit(struct chunk *c)
{
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
		free((void *)(uintptr_t)c->state.now[v]);
		free(c->state.next[v]);
		free(c->now[v]);
		free(c->next[v]);
	}
	free(c->op.work);
	free(c->in);
	free(c->sum);
	free(c->result);
	free(c->decoded);
	free(c->bytes);
}

/* Exactly as long as needed, for AddressSanitizer. */
static void keep(struct chunk *c, const struct codec_setting *codec, struct random_key key,
		 void *bytes, struct codec_result r)
{
	struct codec_origin from = {.first = c->op.first,
				    .rank_key = key,
				    .shared_key = c->op.shared_key,
				    .work = c->op.work};
	float *decoded = room(c->op.count * sizeof(float));

	assert_false(r.nonfinite);
	c->bytes = room(r.bytes);
	c->length = r.bytes;
	memcpy(c->bytes, bytes, r.bytes);
	free(bytes);
	assert_int_equal(codec_decode(codec, c->op.kernels, &from, c->bytes, c->length, decoded,
				      c->op.count),
			 0);
	for (size_t i = 0; i < c->op.count; i++)
		c->decoded[i] = (double)decoded[i];
	free(decoded);
}

static void contribute(struct chunk *c)
{
	const struct codec_setting *up = feedback_up(&c->op);
	void *bytes = room(codec_bound(up, c->op.count));

	keep(c, up, c->input.key, bytes,
	     feedback_contribution(&c->op, &c->state, &c->input, bytes));
}

static void widen_next(struct chunk *c)
{
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++)
		if (feedback_vector_bytes(&c->setting, v, 1))
			widen(c, v, c->state.next[v], c->next[v]);
}

/* --- rules in float64 --------------------------------------------------------------------- */

struct expected {
	double residual, estimate, momentum, sent;
};

/* What a worker has and means to send for element i; c: what the others decode, 0: left out. */
static struct expected worker(const struct chunk *k, size_t i, double c, bool in_final)
{
	const struct feedback_setting *s = &k->setting;
	double s_ = (double)k->op.scale, in = (double)k->in[i];
	double e = s_ * k->now[FEEDBACK_RESIDUAL][i];
	double g = k->op.dense ? 0 : s_ * k->now[FEEDBACK_ESTIMATE][i];
	double v = s_ * k->now[FEEDBACK_MOMENTUM][i], eta = (double)s->eta;
	double beta = (double)s->beta;

	switch ((enum feedback_id)s->id) {
	case FEEDBACK_NONE: return (struct expected){.sent = in};
	case FEEDBACK_EF14:
	case FEEDBACK_TWOSIDED: return (struct expected){.residual = in + e - c, .sent = in + e};
	case FEEDBACK_LOCO:
		if (s->reset && k->op.step % s->reset == 0)
			e = 0;
		return (struct expected){.residual = k->op.dense && in_final
							     ? 0
							     : beta * e + (1 - beta) * (in + e - c),
					 .sent = in + e};
	case FEEDBACK_EF21_W:
		g *= (double)k->input.last_weight / (double)k->input.weight;
		in /= (double)k->input.weight;
		return (struct expected){.estimate = g + c, .sent = in - g};
	case FEEDBACK_EF21:
	case FEEDBACK_EF21_BC: return (struct expected){.estimate = g + c, .sent = in - g};
	case FEEDBACK_EF21_SGDM:
		if (in_final)
			v = k->op.step ? (1 - eta) * v + eta * in : in;
		return (struct expected){.estimate = g + c, .momentum = v, .sent = v - g};
	case FEEDBACK_ECONTROL:
		return (struct expected){.residual = in_final ? e + in - g - c : e,
					 .estimate = g + c,
					 .sent = eta * e + in - g};
	case FEEDBACK_IDS: break;
	}
	fail_msg("no rule for feedback %d", s->id);
	return (struct expected){0};
}

static void near(const struct chunk *k, const char *what, size_t i, double found, double expected,
		 double unit)
{
	if (!(fabs(found - expected) <= unit))
		fail_msg("%s, codec %u, dense %d, scale %g: %s of %zu is %.9g, not %.9g",
			 feedback_by_id(k->setting.id)->name, k->up.id, k->op.dense,
			 (double)k->op.scale, what, i, found, expected);
}

static bool has(const struct chunk *k, enum feedback_vector v)
{
	return feedback_vector_bytes(&k->setting, v, 1) > 0;
}

/* Loco rounds to the block's 255 steps once more, for what is left out twice. */
static double residual_unit(const struct chunk *k, double unit, bool in_final)
{
	double most = 0;

	if (k->setting.id != FEEDBACK_LOCO)
		return unit;
	for (size_t i = 0; i < k->op.count; i++)
		most = fmax(most, fabs(k->next[FEEDBACK_RESIDUAL][i]));
	return unit + most / 127 / 2 * (in_final ? 1.001 : 2.5);
}

static float was(const struct chunk *k, enum feedback_vector v, size_t i)
{
	float scaled = k->op.scale * ((const float *)k->state.now[v])[i];

	return scaled;
}

static void equal(const struct chunk *k, enum feedback_vector v, size_t i, float right)
{
	float found = ((const float *)k->state.next[v])[i];

	if (found != right)
		fail_msg("%s, codec %u, dense %d: vector %d of %zu is %a, not %a",
			 feedback_by_id(k->setting.id)->name, k->up.id, k->op.dense, (int)v, i,
			 (double)found, (double)right);
}

/*
 * What is kept is what was not sent, to the last bit: each operation of the rule rounded once.
 * What was left out is added to what was kept, so it comes back within that one rounding.
 */
static void conserves(const struct chunk *k, size_t i, bool in_final)
{
	float c = (float)k->decoded[i], in = k->in[i], p, left, h;

	if (k->setting.id == FEEDBACK_EF14 || k->setting.id == FEEDBACK_TWOSIDED) {
		p = in + was(k, FEEDBACK_RESIDUAL, i);
		left = p - c;
		equal(k, FEEDBACK_RESIDUAL, i, in_final ? left : left + c);
	} else if (k->setting.id == FEEDBACK_ECONTROL && in_final) {
		h = k->op.dense ? 0 : was(k, FEEDBACK_ESTIMATE, i);
		p = in - h;
		p = p + was(k, FEEDBACK_RESIDUAL, i);
		equal(k, FEEDBACK_RESIDUAL, i, p - c);
		equal(k, FEEDBACK_ESTIMATE, i, h + c);
	}
}

static void check_worker(struct chunk *k, bool in_final)
{
	double unit = 0, residual = 0;

	widen_next(k);
	for (size_t i = 0; i < k->op.count; i++)
		unit = fmax(unit, fabs(k->decoded[i]));
	unit = (unit + 10 * fmax(1, (double)k->op.scale)) * 4 * 0x1p-24;
	if (has(k, FEEDBACK_RESIDUAL))
		residual = residual_unit(k, unit, in_final);
	for (size_t i = 0; i < k->op.count; i++) {
		struct expected x = worker(k, i, in_final ? k->decoded[i] : 0, in_final);

		conserves(k, i, in_final);
		if (has(k, FEEDBACK_RESIDUAL))
			near(k, "residual", i, k->next[FEEDBACK_RESIDUAL][i], x.residual, residual);
		if (has(k, FEEDBACK_ESTIMATE))
			near(k, "estimate", i, k->next[FEEDBACK_ESTIMATE][i], x.estimate, unit);
		if (has(k, FEEDBACK_MOMENTUM))
			near(k, "momentum", i, k->next[FEEDBACK_MOMENTUM][i], x.momentum, unit);
		if (in_final && feedback_up(&k->op)->id == CODEC_NONE)
			near(k, "contribution", i, k->decoded[i], x.sent, unit);
	}
}

/* Owner and everybody, with a sum of about the size of three contributions. */
static void check_final(struct chunk *k, uint64_t seed)
{
	const struct codec_setting *down = feedback_down(&k->op);
	struct random_key key = random_key(1, 2, 3, 1u << 31);
	void *bytes = room(codec_bound(down, k->op.count));
	double *sum = room(k->op.count * sizeof(double)), s = (double)k->op.scale, unit = 1e-5;
	bool has_sum = has(k, FEEDBACK_SUM), nonfinite = true, dense = k->op.dense;

	for (size_t i = 0; i < k->op.count; i++) {
		k->sum[i] = (float)draw_gauss(&seed);
		sum[i] = (double)k->sum[i];
	}
	free(k->bytes);
	keep(k, down, key, bytes, feedback_final(&k->op, &k->state, k->sum, key, 0, bytes));
	assert_int_equal(
		feedback_result(&k->op, &k->state, key, k->bytes, k->length, k->result, &nonfinite),
		0);
	assert_false(nonfinite);
	widen_next(k);
	for (size_t i = 0; i < k->op.count; i++) {
		double q = sum[i] / (has_sum ? 1 : 3), all = sum[i], result = k->decoded[i];
		float divided; /* k->sum is now */

		if (has(k, FEEDBACK_OWNER_RESIDUAL)) {
			q += s * k->now[FEEDBACK_OWNER_RESIDUAL][i];
			near(k, "owner's residual", i, k->next[FEEDBACK_OWNER_RESIDUAL][i],
			     q - k->decoded[i], unit);
			divided = k->sum[i] + was(k, FEEDBACK_OWNER_RESIDUAL, i);
			equal(k, FEEDBACK_OWNER_RESIDUAL, i, divided - (float)k->decoded[i]);
		}
		if (has(k, FEEDBACK_OWNER_SUM)) {
			all += dense ? 0 : s * k->now[FEEDBACK_OWNER_SUM][i];
			near(k, "owner's sum", i, k->next[FEEDBACK_OWNER_SUM][i], all, unit);
			q = all - (dense ? 0 : s * k->now[FEEDBACK_SUM][i]);
		}
		if (has_sum) {
			result += dense ? 0 : s * k->now[FEEDBACK_SUM][i];
			near(k, "sum", i, k->next[FEEDBACK_SUM][i], result, unit);
			result /= 3;
		}
		if (down->id == CODEC_NONE)
			near(k, "final", i, k->decoded[i], q, unit);
		near(k, "result", i, (double)k->result[i], result, unit);
	}
	free(sum);
}

/* --- tests -------------------------------------------------------------------------------- */

typedef void visit(const struct feedback_setting *s, const struct codec_setting *up,
		   const struct codec_setting *down);

/* Each example of an algorithm with each example of a codec, up and, where it may be, down. */
static void each_pair(visit *f)
{
	const struct codec_setting exact = {.id = CODEC_NONE};
	size_t pairs = 0;

	for (const struct feedback *const *a = feedback_table; *a; a++)
		for (const char *const *example = (*a)->examples; *example; example++)
			for (const struct codec *const *b = codec_table; *b; b++)
				for (const char *const *spec = (*b)->examples; *spec; spec++) {
					struct feedback_setting s;
					struct codec_setting c;
					struct err err;

					assert_int_equal(feedback_parse(&s, *example, &err), 0);
					assert_int_equal(codec_parse(&c, *spec, &err), 0);
					if (!pair_goes(*example, *spec, 1000))
						continue;
					f(&s, &c, (*a)->lossy_down ? &c : &exact);
					pairs++;
				}
	assert_true(pairs >= 3 * 9);
}

static void one_rule(const struct feedback_setting *s, const struct codec_setting *up,
		     const struct codec_setting *down)
{
	static const size_t counts[] = {1, 17, 256, 1000};
	static const float scales[] = {1, 0.5f, 3};

	for (size_t n = 0; n < 4 * 3 * 2; n++) {
		struct chunk k;

		chunk_init(&k, s, up, down, counts[n % 4], n);
		k.op.scale = scales[n / 4 % 3];
		k.op.dense = n / 12;
		k.op.step = n % 4 ? n % 11 : 0;
		k.input.weight = n % 3 ? 1 : 2.5f;
		k.input.last_weight = n % 5 ? 1 : 0.3f;
		contribute(&k);
		check_worker(&k, true);
		assert_int_equal(feedback_left_out(&k.op, &k.state, &k.input, k.bytes, k.length),
				 0);
		check_worker(&k, false);
		check_final(&k, n);
		chunk_deinit(&k);
	}
}

static void rules_hold(void **state)
{
	(void)state;
	each_pair(one_rule);
}

/* All of the state, in one block of memory. */
static unsigned char *state_copy(const struct chunk *k, size_t *bytes)
{
	unsigned char *copy;

	*bytes = 0;
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++)
		*bytes += feedback_vector_bytes(&k->setting, v, k->op.count);
	copy = room(*bytes);
	*bytes = 0;
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
		size_t part = feedback_vector_bytes(&k->setting, v, k->op.count);

		memcpy(copy + *bytes, k->state.now[v], part);
		*bytes += part;
	}
	return copy;
}

/* Nothing that was found may have touched a vector; frees `before`. */
static void state_is(const struct chunk *k, unsigned char *before)
{
	size_t bytes;
	unsigned char *now = state_copy(k, &bytes);

	assert_memory_equal(now, before, bytes);
	free(now);
	free(before);
}

/* NaN or infinity in any element: found, and no vector of the state is touched. */
static void one_nonfinite(const struct feedback_setting *s, const struct codec_setting *up,
			  const struct codec_setting *down)
{
	static const size_t at[] = {0, 16, 255, 256, 299};
	const float bad[] = {NAN, INFINITY, -INFINITY};

	for (size_t n = 0; n < 5 * 3 * 2; n++) {
		unsigned char *before;
		struct chunk k;
		size_t length;
		void *bytes;

		chunk_init(&k, s, up, down, 300, n);
		before = state_copy(&k, &length);
		k.op.dense = n / 15;
		bytes = room(codec_bound(feedback_up(&k.op), 300) +
			     codec_bound(feedback_down(&k.op), 300));
		k.in[at[n % 5]] = bad[n / 5 % 3];
		assert_true(feedback_contribution(&k.op, &k.state, &k.input, bytes).nonfinite);
		for (size_t i = 0; i < 300; i++)
			k.sum[i] = i == at[n % 5] ? bad[n / 5 % 3] : 1;
		assert_true(
			feedback_final(&k.op, &k.state, k.sum, k.input.key, 0, bytes).nonfinite);
		state_is(&k, before);
		free(bytes);
		chunk_deinit(&k);
	}
}

static void nonfinite_is_found(void **state)
{
	(void)state;
	each_pair(one_nonfinite);
}

/* Bytes of a wrong length are refused wherever bytes are taken. */
static void one_hostile(const struct feedback_setting *s, const struct codec_setting *up,
			const struct codec_setting *down)
{
	struct chunk k;
	bool nonfinite;

	chunk_init(&k, s, up, down, 300, 1);
	contribute(&k);
	memset(k.sum, 0, 300 * sizeof(float));
	assert_int_equal(feedback_add(&k.op, k.input.key, 1, k.bytes, k.length, k.sum), 0);
	assert_int_equal(feedback_add(&k.op, k.input.key, 1, k.bytes, 0, k.sum), -EBADMSG);
	assert_int_equal(
		feedback_result(&k.op, &k.state, k.input.key, k.bytes, 0, k.result, &nonfinite),
		-EBADMSG);
	chunk_deinit(&k);
}

static void bad_bytes_are_refused(void **state)
{
	(void)state;
	each_pair(one_hostile);
}

/* g and c are finite and their sum is not; the same of G and the final. */
static void overflow_is_found(void **state)
{
	const struct codec_setting exact = {.id = CODEC_NONE};
	const struct feedback_setting ef21 = {.id = FEEDBACK_EF21};
	float final[300];
	unsigned char *before;
	struct chunk k;
	size_t length;
	bool nonfinite = false;

	(void)state;
	chunk_init(&k, &ef21, &exact, &exact, 300, 1);
	((float *)(uintptr_t)k.state.now[FEEDBACK_SUM])[299] = 3e38f;
	((float *)(uintptr_t)k.state.now[FEEDBACK_ESTIMATE])[299] = -3e38f;
	before = state_copy(&k, &length);
	k.in[299] = 3e38f;
	assert_true(feedback_contribution(&k.op, &k.state, &k.input, final).nonfinite);
	for (size_t i = 0; i < 300; i++)
		final[i] = i == 299 ? 3e38f : 1;
	assert_int_equal(feedback_result(&k.op, &k.state, k.input.key, final, sizeof(final),
					 k.result, &nonfinite),
			 0);
	assert_true(nonfinite);
	state_is(&k, before);
	chunk_deinit(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_hold),
		cmocka_unit_test(nonfinite_is_found),
		cmocka_unit_test(overflow_is_found),
		cmocka_unit_test(bad_bytes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
