/*
 * test_codec_bits.c - what must not change a bit (codec.h), for each entry of the table and each of
 * its examples: the CPU variant, where the residual goes, where the message lies, and where a
 * tensor is cut.
 */
#include "tests/unit/codec_case.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VARIANTS = 8 };

/* The CPU variants that this machine has, the scalar one first, ended by NULL. */
static void variants_of(const struct vec *v[VARIANTS])
{
	size_t n = 0;

	for (size_t i = 0; vec_variants[i]; i++)
		if (vec_supported(vec_variants[i]))
			v[n++] = vec_variants[i];
	assert_in_range(n, 1, VARIANTS - 1);
	assert_ptr_equal(v[0], vec_variants[0]);
	v[n] = NULL;
}

static void same_case(const struct codec_case *a, const struct codec_case *b, const char *spec,
		      const char *what)
{
	size_t bytes = a->count * sizeof(float);

	assert_int_equal(a->result.nonfinite, b->result.nonfinite);
	if (a->result.nonfinite)
		return;
	if (a->result.bytes != b->result.bytes ||
	    memcmp(&a->result.threshold, &b->result.threshold, sizeof(float)) != 0 ||
	    memcmp(a->bytes, b->bytes, a->result.bytes) != 0 ||
	    memcmp(a->decoded, b->decoded, bytes) != 0 ||
	    memcmp(a->residual, b->residual, bytes) != 0)
		fail_msg("%s, %zu elements: %s differs", spec, a->count, what);
}

/* --- CPU variants ------------------------------------------------------------------------- */

/* What decode_add makes of a message and a sum; the sum. */
static float *added(const struct codec_case *c, const void *bytes, size_t length,
		    const float *before, int error)
{
	float *sum = malloc(c->count * sizeof(*sum));

	memcpy(sum, before, c->count * sizeof(*sum));
	assert_int_equal(codec_decode_add(&c->setting, c->kernels, &c->origin, bytes, length, -0.3f,
					  sum, c->count),
			 error);
	return sum;
}

static void same_sum(const struct codec_case *a, const struct codec_case *b, const char *spec,
		     const float *before)
{
	float *one = added(a, a->bytes, a->result.bytes, before, 0);
	float *two = added(b, b->bytes, b->result.bytes, before, 0);

	if (memcmp(one, two, a->count * sizeof(float)) != 0)
		fail_msg("%s, %zu elements: sums differ", spec, a->count);
	free(one);
	free(two);
}

static void agrees(const struct codec *c, const char *spec, const struct case_set *set)
{
	const struct vec *on[VARIANTS];

	(void)c;
	variants_of(on);
	for (size_t n = 0; n < CASE_COUNTS * CASE_SHAPES; n++) {
		size_t size = n % CASE_COUNTS;
		enum case_shape shape = (enum case_shape)(n / CASE_COUNTS);
		struct case_input input = {.in = set->in[shape][size],
					   .residual = set->residual[size],
					   .residual_scale = 0.75f,
					   .count = case_counts[size],
					   .step = n,
					   .on = on[0]};
		struct codec_case e, f;

		if (shape == CASE_LARGEST || n % 2)
			input.residual = NULL;
		case_encode(&e, spec, &input);
		for (size_t v = 1; on[v]; v++) {
			input.on = on[v];
			case_encode(&f, spec, &input);
			same_case(&e, &f, spec, on[v]->name);
			same_sum(&e, &f, spec, set->residual[size]);
			case_drop(&f);
		}
		case_drop(&e);
	}
}

static void variants_agree(void **state)
{
	(void)state;
	case_each(agrees);
}

/*
 * Every count around the widths of registers and the groups of formats: the variants' loops end in
 * different ways.  What a decoder does not write stays different.
 */
static void agrees_at_all_counts(const struct codec *c, const char *spec,
				 const struct case_set *set)
{
	const struct vec *on[VARIANTS];

	(void)c;
	variants_of(on);
	for (size_t count = 1; count <= 700; count++) {
		struct case_input input = {.in = set->in[CASE_GAUSS][CASE_COUNTS - 1],
					   .residual = set->residual[CASE_COUNTS - 1],
					   .count = count,
					   .step = count,
					   .on = on[0]};
		struct codec_case e, f;

		case_encode(&e, spec, &input);
		for (size_t v = 1; on[v]; v++) {
			input.on = on[v];
			case_encode(&f, spec, &input);
			memset(e.decoded, 0x11, count * sizeof(float));
			memset(f.decoded, 0x22, count * sizeof(float));
			assert_int_equal(case_decode(&e, e.bytes, e.result.bytes), 0);
			assert_int_equal(case_decode(&f, f.bytes, f.result.bytes), 0);
			same_case(&e, &f, spec, on[v]->name);
			same_sum(&e, &f, spec, set->residual[CASE_COUNTS - 1]);
			case_drop(&f);
		}
		case_drop(&e);
	}
}

static void variants_agree_at_all_counts(void **state)
{
	(void)state;
	case_each(agrees_at_all_counts);
}

/* A message with a few bits flipped: the same error, or the same numbers. */
static void judges_alike(const struct codec *c, const char *spec, const struct case_set *set)
{
	const struct vec *on[VARIANTS];
	uint64_t seed = 7;

	(void)c;
	variants_of(on);
	for (size_t n = 0; n < 12 * CASE_COUNTS; n++) {
		size_t size = n % CASE_COUNTS, bytes = case_counts[size] * sizeof(float);
		struct case_input input = {.in = set->in[CASE_GAUSS][size],
					   .count = case_counts[size],
					   .step = n,
					   .on = on[0]};
		struct codec_case e, f;
		int error;

		case_encode(&e, spec, &input);
		for (size_t flips = 1 + draw_u64(&seed) % 3; flips; flips--)
			e.bytes[draw_u64(&seed) % e.result.bytes] ^=
				(unsigned char)(1 << draw_u64(&seed) % 8);
		error = case_decode(&e, e.bytes, e.result.bytes);
		for (size_t v = 1; on[v]; v++) {
			float *one, *two;

			input.on = on[v];
			case_encode(&f, spec, &input);
			assert_int_equal(case_decode(&f, e.bytes, e.result.bytes), error);
			one = added(&e, e.bytes, e.result.bytes, input.in, error);
			two = added(&f, e.bytes, e.result.bytes, input.in, error);
			if (memcmp(one, two, bytes) != 0 ||
			    (!error && memcmp(e.decoded, f.decoded, bytes) != 0))
				fail_msg("%s, %zu elements: %s differs", spec, input.count,
					 on[v]->name);
			free(one);
			free(two);
			case_drop(&f);
		}
		case_drop(&e);
	}
}

static void variants_judge_alike(void **state)
{
	(void)state;
	case_each(judges_alike);
}

/* --- where the residual goes -------------------------------------------------------------- */

/* One encoding with the residual from and to these places, compared with the plain one. */
static void goes_to(const struct codec_case *plain, const struct case_input *from,
		    const float *residual, float *residual_out, bool away, const char *spec)
{
	struct codec_input input = {
		.in = from->in,
		.residual = residual,
		.residual_scale = from->residual_scale,
		.residual_out = residual_out,
		.count = from->count,
		.rank_key = plain->origin.rank_key,
		.shared_key = plain->origin.shared_key,
		.away = away,
		.work = plain->origin.work,
	};
	struct codec_result r;

	memset(plain->room, 0xee, plain->result.bytes);
	r = codec_encode(&plain->setting, plain->kernels, &input, plain->room);
	if (r.nonfinite || r.bytes != plain->result.bytes ||
	    memcmp(&r.threshold, &plain->result.threshold, sizeof(float)) != 0 ||
	    memcmp(plain->room, plain->bytes, r.bytes) != 0 ||
	    (residual_out &&
	     memcmp(residual_out, plain->residual, from->count * sizeof(float)) != 0))
		fail_msg("%s, %zu elements%s, %s: differs on %s", spec, from->count,
			 away ? ", away" : "", residual_out == residual ? "in place" : "elsewhere",
			 from->on->name);
}

/* Nothing beside it is touched. */
static void margins(const float *out, size_t count, size_t margin)
{
	for (size_t i = 1; i <= margin; i++) {
		assert_memory_equal(out - i, "\x55\x55\x55\x55", 4);
		assert_memory_equal(out + count + i - 1, "\x55\x55\x55\x55", 4);
	}
}

/* Decoded to `out`, past the caches or not. */
static void decoded_to(const struct codec_case *e, float *out, bool away, const char *spec)
{
	struct codec_origin origin = e->origin;

	origin.away = away;
	assert_int_equal(codec_decode(&e->setting, e->kernels, &origin, e->bytes, e->result.bytes,
				      out, e->count),
			 0);
	if (memcmp(out, e->decoded, e->count * sizeof(*out)) != 0)
		fail_msg("%s, %zu elements: decoded%s differs", spec, e->count,
			 away ? " away" : "");
}

/*
 * Past the caches or not, in place or not, from a place that is aligned or not, and nowhere: the
 * bytes, the residual and what is decoded are the same, and nothing beyond those is written.
 */
static void goes_anywhere(const struct codec *c, const char *spec, const struct case_set *set)
{
	enum { MARGIN = 16, ROOM = 20000 + 3 * MARGIN };
	float *room = aligned_alloc(64, ROOM * sizeof(float));
	const struct vec *on[VARIANTS];

	(void)c;
	variants_of(on);
	for (size_t n = 0; n < CASE_COUNTS * 2; n++) {
		size_t size = n % CASE_COUNTS, count = case_counts[size];
		const float *residual = n / CASE_COUNTS ? set->residual[size] : NULL;
		struct case_input input = {.in = set->in[CASE_GAUSS][size],
					   .residual = residual,
					   .residual_scale = 0.9f,
					   .count = count};

		for (size_t v = 0; on[v]; v++) {
			struct codec_case e;

			input.on = on[v];
			case_encode(&e, spec, &input);
			for (size_t k = 0; k < 8; k++) {
				float *out = room + (k & 1 ? MARGIN + 3 : MARGIN);
				bool away = k & 2, in_place = residual && k & 4;

				memset(room, 0x55, ROOM * sizeof(float));
				if (in_place)
					memcpy(out, residual, count * sizeof(float));
				goes_to(&e, &input, in_place ? out : residual, out, away, spec);
				margins(out, count, MARGIN);
				decoded_to(&e, out, away, spec);
				margins(out, count, MARGIN);
			}
			goes_to(&e, &input, residual, NULL, false, spec);
			goes_to(&e, &input, residual, NULL, true, spec);
			case_drop(&e);
		}
	}
	free(room);
}

/* A message lies at any address: it is decoded, and added, to the same bits. */
static void comes_from_anywhere(const struct codec *c, const char *spec, const struct case_set *set)
{
	const struct vec *on[VARIANTS];

	(void)c;
	variants_of(on);
	for (size_t n = 0; n < CASE_COUNTS; n++) {
		size_t count = case_counts[n];
		struct case_input input = {.in = set->in[CASE_GAUSS][n], .count = count};
		float *sum = malloc(2 * count * sizeof(float)), *moved = sum + count;

		for (size_t v = 0; on[v]; v++) {
			struct codec_case e;
			unsigned char *room;

			input.on = on[v];
			case_encode(&e, spec, &input);
			room = malloc(e.result.bytes + 1);
			memcpy(room + 1, e.bytes, e.result.bytes);
			for (size_t i = 0; i < 2 * count; i++)
				sum[i] = (float)(i % count);
			assert_int_equal(codec_decode_add(&e.setting, e.kernels, &e.origin, e.bytes,
							  e.result.bytes, 0.7f, sum, count),
					 0);
			assert_int_equal(codec_decode_add(&e.setting, e.kernels, &e.origin,
							  room + 1, e.result.bytes, 0.7f, moved,
							  count),
					 0);
			if (memcmp(sum, moved, count * sizeof(float)) != 0)
				fail_msg("%s, %zu elements: added from elsewhere differs", spec,
					 count);
			assert_int_equal(codec_decode(&e.setting, e.kernels, &e.origin, room + 1,
						      e.result.bytes, moved, count),
					 0);
			assert_memory_equal(moved, e.decoded, count * sizeof(float));
			free(room);
			case_drop(&e);
		}
		free(sum);
	}
}

static void message_comes_from_anywhere(void **state)
{
	(void)state;
	case_each(comes_from_anywhere);
}

static void residual_goes_anywhere(void **state)
{
	(void)state;
	case_each(goes_anywhere);
}

/* --- cuts --------------------------------------------------------------------------------- */

/* Elements [from, to) alone are encoded as they are in the whole. */
static void is_part(const struct codec_case *whole, const char *spec,
		    const struct case_input *input, size_t from, size_t to, size_t *byte)
{
	bool joined = whole->setting.id != CODEC_TOPK;
	struct case_input part = *input;
	struct codec_case c;

	part.in += from;
	part.first += from;
	part.count = to - from;
	case_encode(&c, spec, &part);
	assert_true(!joined || *byte + c.result.bytes <= whole->result.bytes);
	if ((joined && memcmp(c.bytes, whole->bytes + *byte, c.result.bytes) != 0) ||
	    memcmp(c.decoded, whole->decoded + from, part.count * sizeof(float)) != 0 ||
	    memcmp(c.residual, whole->residual + from, part.count * sizeof(float)) != 0)
		fail_msg("%s: %zu to %zu differs", spec, from, to);
	*byte += c.result.bytes;
	case_drop(&c);
}

/*
 * Cut at multiples of the block, anywhere if a codec has none but sees each element alone, the
 * same bytes come out; also where a tensor's 2^32nd element is in the chunk.  A message of topk
 * has all its values before all its places: there the elements alone are compared.
 */
static void may_be_cut(const struct codec *c, const char *spec, const struct case_set *set)
{
	enum { COUNT = 150000 };
	static const uint64_t firsts[] = {0, 1 << 20, ((uint64_t)1 << 32) - 65536};
	float *in = case_vector(CASE_GAUSS, COUNT, 5);
	struct codec_setting s = case_setting(spec);
	bool single = c->id == CODEC_NONE || c->id == CODEC_BF16 || c->id == CODEC_FP16;
	size_t block = single ? 1 : s.block;

	(void)set;
	for (size_t n = 0; n < 3 && block; n++) {
		struct case_input input = {.in = in, .count = COUNT, .first = firsts[n], .step = n};
		struct codec_case whole;
		/* After one block; and at 2^32. */
		size_t first = block, second = 65536 + (single ? 7 : 0), byte = 0;

		case_encode(&whole, spec, &input);
		is_part(&whole, spec, &input, 0, first, &byte);
		if (first < second)
			is_part(&whole, spec, &input, first, second, &byte);
		is_part(&whole, spec, &input, second, COUNT, &byte);
		if (c->id != CODEC_TOPK)
			assert_int_equal(byte, whole.result.bytes);
		case_drop(&whole);
	}
	free(in);
}

static void cuts_do_not_matter(void **state)
{
	(void)state;
	case_each(may_be_cut);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variants_agree),
		cmocka_unit_test(variants_agree_at_all_counts),
		cmocka_unit_test(variants_judge_alike),
		cmocka_unit_test(residual_goes_anywhere),
		cmocka_unit_test(message_comes_from_anywhere),
		cmocka_unit_test(cuts_do_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
