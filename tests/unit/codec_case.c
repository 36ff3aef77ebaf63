/* codec_case.c - see codec_case.h. */
#include "tests/unit/codec_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"

/* --- one encoding ------------------------------------------------------------------------- */

struct codec_setting case_setting(const char *spec)
{
	struct codec_setting s;
	struct err err;

	if (codec_parse(&s, spec, &err))
		fail_msg("%s: %s", spec, err.text);
	return s;
}

const struct vec *case_vec(void)
{
	static const struct vec *best; /* asking the CPU takes 30 us on a virtual machine */

	if (!best)
		best = vec_best();
	return best;
}

const struct codec_kernels *case_best(void)
{
	return codec_kernels_of(case_vec());
}

/* Aligned as what is written past the caches must be. */
static void *room(size_t bytes)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 64, bytes ? bytes : 1), 0);
	return p;
}

static void encode(struct codec_case *c, const struct case_input *from)
{
	struct codec_input input = {
		.in = from->in,
		.residual = from->residual,
		.residual_scale = from->residual_scale != 0 ? from->residual_scale : 1,
		.residual_out = c->residual,
		.count = from->count,
		.first = from->first,
		.rank_key = random_key(1, from->step, 2, from->rank),
		.shared_key = random_key(1, from->step, 2, RANDOM_SHARED),
		.threshold = from->threshold,
		.away = from->away,
		.work = c->origin.work,
	};

	assert_int_equal(from->count, c->count);
	c->origin.first = input.first;
	c->origin.rank_key = input.rank_key;
	c->origin.shared_key = input.shared_key;
	c->result = codec_encode(&c->setting, c->kernels, &input, c->room);
	if (!c->result.nonfinite)
		assert_in_range(c->result.bytes, 1, codec_bound(&c->setting, c->count));
}

void case_encode(struct codec_case *c, const char *spec, const struct case_input *input)
{
	*c = (struct codec_case){.setting = case_setting(spec), .count = input->count};
	c->kernels = codec_kernels_of(input->on ? input->on : case_vec());
	c->room = malloc(codec_bound(&c->setting, c->count));
	c->decoded = room(c->count * sizeof(float));
	c->residual = room(c->count * sizeof(float));
	c->origin.work = room(codec_work_bytes(&c->setting, c->count));
	encode(c, input);
	if (c->result.nonfinite)
		return;
	c->bytes = malloc(c->result.bytes);
	memcpy(c->bytes, c->room, c->result.bytes);
	assert_int_equal(case_decode(c, c->bytes, c->result.bytes), 0);
}

void case_encode_away(struct codec_case *c, const char *spec, const struct case_input *input)
{
	struct case_input from = *input;
	struct codec_case near;

	from.away = false;
	case_encode(&near, spec, &from);
	from.away = true;
	case_encode(c, spec, &from);
	assert_int_equal(near.result.bytes, c->result.bytes);
	assert_memory_equal(near.bytes, c->bytes, near.result.bytes);
	assert_memory_equal(near.residual, c->residual, c->count * sizeof(float));
	case_drop(&near);
}

void case_again(struct codec_case *c, const struct case_input *input)
{
	free(c->bytes);
	c->bytes = NULL;
	encode(c, input);
	if (!c->result.nonfinite)
		assert_int_equal(case_decode(c, c->room, c->result.bytes), 0);
}

int case_decode(struct codec_case *c, const void *bytes, size_t length)
{
	return codec_decode(&c->setting, c->kernels, &c->origin, bytes, length, c->decoded,
			    c->count);
}

void case_drop(struct codec_case *c)
{
	free(c->origin.work);
	free(c->room);
	free(c->bytes);
	free(c->decoded);
	free(c->residual);
}

/* --- what is encoded ---------------------------------------------------------------------- */

static float element(enum case_shape shape, size_t i, size_t count, uint64_t *state)
{
	switch (shape) {
	case CASE_ZERO: return 0;
	case CASE_GAUSS: return (float)draw_gauss(state);
	case CASE_ONE_HOT: return i == count / 2 ? -3.5f : 0;
	case CASE_ALL_EQUAL: return 0.1f;
	case CASE_ALTERNATING: return i % 2 ? -7.25f : 7.25f;
	case CASE_HUGE_AND_TINY:
		return (float)draw_gauss(state) * powf(10, (float)(draw_u64(state) % 75) - 37);
	case CASE_DENORMAL: return (float)(draw_u64(state) % 2000) * 0x1p-149f;
	case CASE_MINUS_ZERO: return i % 3 ? -0.0f : 0.0f;
	case CASE_LARGEST: return i % 5 ? 0x1.fffffep127f : -0x1.fffffep127f;
	case CASE_SMALL: return (float)draw_gauss(state) * 0x1p-124f;
	case CASE_SHAPES: break;
	}
	return 0;
}

float *case_vector(enum case_shape shape, size_t count, uint64_t seed)
{
	float *v = malloc(count * sizeof(*v));

	assert_non_null(v);
	for (size_t i = 0; i < count; i++)
		v[i] = element(shape, i, count, &seed);
	return v;
}

const size_t case_counts[CASE_COUNTS] = {1, 2, 3, 31, 32, 33, 1000, 1024, 1025, 8192, 20000};

static void set_init(struct case_set *set)
{
	for (size_t n = 0; n < CASE_COUNTS; n++) {
		for (enum case_shape shape = 0; shape < CASE_SHAPES; shape++)
			set->in[shape][n] =
				case_vector(shape, case_counts[n], shape * CASE_COUNTS + n);
		set->residual[n] = case_vector(CASE_GAUSS, case_counts[n], ~n);
	}
}

static void set_deinit(struct case_set *set)
{
	for (size_t n = 0; n < CASE_COUNTS; n++) {
		for (enum case_shape shape = 0; shape < CASE_SHAPES; shape++)
			free(set->in[shape][n]);
		free(set->residual[n]);
	}
}

void case_each(void (*f)(const struct codec *c, const char *spec, const struct case_set *set))
{
	struct case_set set;

	set_init(&set);
	for (const struct codec *const *c = codec_table; *c; c++)
		for (const char *const *spec = (*c)->examples; *spec; spec++)
			f(*c, *spec, &set);
	set_deinit(&set);
}

double case_norm2(const float *v, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += (double)v[i] * (double)v[i];
	return sum;
}

double case_nmse(const char *spec, const float *in, size_t count, size_t chunk)
{
	double lost = 0;

	for (size_t first = 0; first < count; first += chunk) {
		struct case_input input = {.in = in + first,
					   .count = count - first < chunk ? count - first : chunk,
					   .first = first};
		struct codec_case c;

		case_encode(&c, spec, &input);
		assert_false(c.result.nonfinite);
		lost += case_norm2(c.residual, c.count);
		case_drop(&c);
	}
	return lost / case_norm2(in, count);
}
