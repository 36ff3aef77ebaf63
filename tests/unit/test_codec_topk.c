/*
 * test_codec_topk.c - topk: exact bytes, what is selected against a sort, thresholds, energy that
 * is lost against published figures, and bytes that no encoder makes.
 */
#include "compress/codec.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "tests/unit/topk_rig.h"

/* --- bytes -------------------------------------------------------------------------------- */

static void makes(const char *spec, const float *in, size_t count, const void *bytes, size_t length)
{
	struct topk_message m;

	topk_encode(&m, spec, in, count, 0);
	assert_int_equal(m.result.bytes, length);
	assert_memory_equal(m.bytes, bytes, length);
	topk_drop(&m);
}

static void exact_bytes(void **state)
{
	/* 3 of 8: -3, 2 and 8, elements 1, 2 and 7. */
	static const float in[8] = {0.5f, -3, 2, 0, 1, -1, 0, 8};
	static const unsigned char values[12] = {0, 0, 0x40, 0xc0, 0, 0, 0, 0x40, 0, 0, 0, 0x41};
	/* Elements 5, 200 and 999 of 1000: r = 8; gaps 5, 194 and 3 * 256 + 30. */
	static const unsigned char sparse[] = {2,    3,    0,    0, 0,    0x3f, 0x80,
					       0xbf, 0x80, 0x3f, 5, 0xc2, 0x1e, 0x23};
	unsigned char bytes[32] = {1, 3};
	float far[1000] = {0};

	(void)state;
	memcpy(bytes + 4, values, sizeof(values));
	bytes[16] = 0x86;
	makes("topk:density=0.3", in, 8, bytes, 17);
	makes("topk:density=0.3,indices=bitmap", in, 8, bytes, 17);
	bytes[0] = 2; /* r = 0: the bits are those of a bitmap */
	makes("topk:density=0.3,indices=gaps", in, 8, bytes, 17);
	bytes[0] = 3;
	memcpy(bytes + 16, "\x03\x00\x01\x08\x70\x00", 6);
	makes("topk:density=0.3,indices=local", in, 8, bytes, 22);
	memcpy(bytes, values, sizeof(values)); /* 30 % of 1024: a bitmap */
	bytes[12] = 0x86;
	makes("topk:mode=block,density=0.3", in, 8, bytes, 13);
	memcpy(bytes + 12, "\x01\x08\x70\x00", 4);
	makes("topk:mode=block,density=0.3,indices=local", in, 8, bytes, 16);
	far[5] = 1.0f;
	far[200] = -1.0f;
	far[999] = 1.0f;
	/* The values are 3f80, bf80 and 3f80. */
	memcpy(bytes, sparse, 4);
	memcpy(bytes + 4, "\x80\x3f\x80\xbf\x80\x3f", 6);
	memcpy(bytes + 10, sparse + 10, 4);
	makes("topk:density=0.003,values=bf16", far, 1000, bytes, 14);
}

/* --- what is selected --------------------------------------------------------------------- */

struct ranked {
	float magnitude;
	size_t index;
};

static int greater_first(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->magnitude != y->magnitude)
		return x->magnitude > y->magnitude ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* out[i] = in[i] where it is one of the `keep` greatest, 0 elsewhere. */
static void select_by_sort(const float *in, size_t count, size_t keep, float *out)
{
	struct ranked *all = malloc(count * sizeof(*all));

	for (size_t i = 0; i < count; i++)
		all[i] = (struct ranked){fabsf(in[i]), i};
	qsort(all, count, sizeof(*all), greater_first);
	memset(out, 0, count * sizeof(*out));
	for (size_t i = 0; i < keep; i++)
		out[all[i].index] = in[all[i].index];
	free(all);
}

static void keeps_the_greatest(void **state)
{
	static const enum draw_law shapes[] = {DRAW_GAUSS, DRAW_LAPLACE, DRAW_COARSE, DRAW_ZERO};
	static const struct {
		const char *exact, *block;
		double density;
	} specs[] = {{"topk:density=0.01", "topk:mode=block,density=0.01", 0.01},
		     {"topk:density=0.25", "topk:mode=block,density=0.25", 0.25},
		     {"topk:density=1", "topk:mode=block,density=1", 1},
		     {"topk:density=1e-5", "topk:mode=block,density=1e-5", 1e-5}};
	static const size_t counts[] = {1, 63, 64, 65, 1000, 1024, 3000, 10240};

	(void)state;
	for (size_t n = 0; n < 4 * 4 * 8; n++) {
		size_t count = counts[n % 8], spec = n / 8 % 4;
		size_t keep = (size_t)ceil(specs[spec].density * (double)count - 1e-9);
		float *in = draw_vector(shapes[n / 32], count, 1, n),
		      *right = malloc(count * sizeof(*in));
		/* Any threshold may be passed in: it must not matter. */
		float hints[] = {0, 1e-3f, 0.7f, 2.4f, 1e9f, INFINITY, NAN};
		struct topk_message m;

		for (size_t v = 0; vec_variants[v]; v++) {
			if (!vec_supported(vec_variants[v]))
				continue;
			select_by_sort(in, count, keep, right);
			for (size_t h = 0; h < sizeof(hints) / sizeof(*hints); h++) {
				topk_encode_on(&m, vec_variants[v], specs[spec].exact, in, count,
					       hints[h]);
				assert_int_equal(topk_kept(&m), keep);
				assert_memory_equal(m.decoded, right, count * sizeof(*in));
				topk_drop(&m);
			}
			for (size_t at = 0; at < count; at += 1024) {
				size_t block = count - at < 1024 ? count - at : 1024;

				select_by_sort(
					in + at, block,
					(size_t)ceil(specs[spec].density * (double)block - 1e-9),
					right + at);
			}
			topk_encode_on(&m, vec_variants[v], specs[spec].block, in, count, 0);
			assert_int_equal(m.result.bytes, codec_bound(&m.setting, count));
			assert_memory_equal(m.decoded, right, count * sizeof(*in));
			topk_drop(&m);
		}
		free(right);
		free(in);
	}
}

/* Lines of 16 of which the greatest are in all, in one of 16, in all but one of 16, or in one. */
static void keeps_the_greatest_wherever_they_are(void **state)
{
	static const char *const specs[] = {"topk:density=0.001", "topk:density=0.01",
					    "topk:density=0.06", "topk:density=0.5"};
	static const size_t thousandths[] = {1, 10, 60, 500};
	enum { COUNT = 40000, LINE = 16 };

	(void)state;
	for (size_t n = 0; n < 4 * 4 * 4; n++) {
		size_t spec = n / 16, keep = COUNT / 1000 * thousandths[spec];
		float *in = draw_vector(n % 4 ? DRAW_GAUSS : DRAW_COARSE, COUNT, 1, n);
		float *right = malloc(COUNT * sizeof(*in));

		for (size_t i = 0; i < COUNT; i++) {
			size_t line = i / LINE, turn = line / 16 * 5 % 16;
			bool in_turn = line % 16 == turn;

			if (n / 4 % 4 == 1)
				in[i] *= in_turn ? 100 : 1;
			else if (n / 4 % 4 == 2)
				in[i] *= in_turn ? 1 : 100;
			else if (n / 4 % 4 == 3)
				in[i] = line == 777 + n ? in[i] + 9 : 0;
		}
		select_by_sort(in, COUNT, keep, right);
		for (size_t v = 0; vec_variants[v]; v++) {
			struct topk_message m;

			if (!vec_supported(vec_variants[v]))
				continue;
			/* With a threshold far too low all of the first tiles are candidates. */
			for (int low = 0; low < 2; low++) {
				topk_encode_on(&m, vec_variants[v], specs[spec], in, COUNT,
					       low ? 1e-3f : 0);
				assert_int_equal(topk_kept(&m), keep);
				assert_memory_equal(m.decoded, right, COUNT * sizeof(*in));
				topk_drop(&m);
			}
		}
		free(right);
		free(in);
	}
}

static void keeps_round_numbers(void **state)
{
	static const char *const specs[] = {"topk:density=0.1", "topk:density=0.01",
					    "topk:density=0.3", "topk:density=0.7",
					    "topk:density=0.001"};
	static const size_t thousandths[] = {100, 10, 300, 700, 1};

	(void)state;
	for (size_t i = 0; i < 5; i++)
		for (size_t count = 1000; count <= 256000; count *= 4) {
			float *in = draw_vector(DRAW_GAUSS, count, 1, i);
			struct topk_message m;

			topk_encode(&m, specs[i], in, count, 0);
			assert_int_equal(topk_kept(&m), count / 1000 * thousandths[i]);
			topk_drop(&m);
			free(in);
		}
}

static void near(double value, double right, double part)
{
	if (!(fabs(value - right) <= part * right))
		fail_msg("%g, not %g", value, right);
}

static double lost(const char *spec, enum draw_law law)
{
	enum { COUNT = 1 << 18 };
	double left = 0, all = 0;

	for (uint64_t chunk = 0; chunk < 4; chunk++) {
		float *in = draw_vector(law, COUNT, 1, chunk);
		struct topk_message m;

		topk_encode(&m, spec, in, COUNT, 0);
		for (size_t i = 0; i < COUNT; i++) {
			left += (double)m.residual[i] * (double)m.residual[i];
			all += (double)in[i] * (double)in[i];
		}
		topk_drop(&m);
		free(in);
	}
	return left / all;
}

/* Mean square errors of 2^20 numbers, and in the limit: E[x^2; |x| < t]. */
static void loses_what_it_must(void **state)
{
	static const struct {
		const char *spec;
		double gauss, laplace;
	} rows[] = {{"topk:density=0.1", .561, .404},
		    {"topk:density=0.01", .915, .837},
		    {"topk:density=0.001", .987, .967},
		    {"topk:density=0.01,values=bf16", .915, .837}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		near(lost(rows[i].spec, DRAW_GAUSS), rows[i].gauss, 0.02);
		near(lost(rows[i].spec, DRAW_LAPLACE), rows[i].laplace, 0.05);
	}
}

/* In place, and past the caches or not, aligned or not: the same bytes and the same residual. */
static void residual_in_place(void **state)
{
	static const char *const specs[] = {"topk", "topk:mode=block", "topk:mode=threshold",
					    "topk:mode=threshold,scope=tensor", "randk"};
	enum { COUNT = 5003 };
	float *in = draw_vector(DRAW_GAUSS, COUNT, 1, 1),
	      *residual = draw_vector(DRAW_LAPLACE, COUNT, 1, 2);
	float *room = aligned_alloc(64, 5056 * sizeof(float));
	unsigned char *bytes = malloc(COUNT * 8), *again = malloc(COUNT * 8);
	void *work = aligned_alloc(64, 1 << 20);
	float *left = malloc(COUNT * sizeof(float));

	(void)state;
	for (size_t n = 0; n < 5 * 4 * 3; n++) {
		static const float thresholds[] = {0, 4, 0.5f}; /* none, good, far too low */
		const struct codec_kernels *k = codec_kernels_of(vec_best());
		struct codec_setting s;
		struct err err;
		struct codec_input input = {.in = in,
					    .residual = residual,
					    .residual_scale = 0.9f,
					    .residual_out = left,
					    .count = COUNT,
					    .threshold = thresholds[n / 20],
					    .work = work};
		struct codec_result one, two;

		assert_int_equal(codec_parse(&s, specs[n % 5], &err), 0);
		assert_in_range(codec_work_bytes(&s, COUNT), 0, 1 << 20);
		one = codec_encode(&s, k, &input, bytes);
		input.residual = input.residual_out = room + (n / 5 & 1);
		input.away = n / 10 & 1;
		memcpy(input.residual_out, residual, COUNT * sizeof(float));
		two = codec_encode(&s, k, &input, again);
		assert_int_equal(one.bytes, two.bytes);
		assert_memory_equal(bytes, again, one.bytes);
		assert_memory_equal(left, input.residual_out, COUNT * sizeof(float));
		assert_true(one.threshold == two.threshold);
		input.residual = residual; /* nobody wants the residual */
		input.residual_out = NULL;
		two = codec_encode(&s, k, &input, again);
		assert_int_equal(one.bytes, two.bytes);
		assert_memory_equal(bytes, again, one.bytes);
	}
	free(in);
	free(residual);
	free(room);
	free(bytes);
	free(again);
	free(work);
	free(left);
}

/* --- thresholds --------------------------------------------------------------------------- */

static void threshold_keeps_what_reaches_it(void **state)
{
	enum { COUNT = 5000, KEEP = 500 };
	float *in = draw_vector(DRAW_GAUSS, COUNT, 1, 3), right[COUNT];
	static const float thresholds[] = {0.01f, 1.2f, 1.6f, 1.9f, 3.5f};

	(void)state;
	for (size_t t = 0; t < 5; t++) {
		size_t reach = 0;
		struct topk_message m;

		for (size_t i = 0; i < COUNT; i++) {
			bool does = fabsf(in[i]) >= thresholds[t];

			right[i] = does ? in[i] : 0;
			reach += does;
		}
		topk_encode(&m, "topk:density=0.1,mode=threshold", in, COUNT, thresholds[t]);
		if (reach < KEEP / 2 || reach > 2 * KEEP) {
			select_by_sort(in, COUNT, KEEP, right);
			reach = KEEP;
		} else {
			/* Towards k, or where it was. */
			assert_true((m.result.threshold > thresholds[t]) == (reach > KEEP));
		}
		assert_int_equal(topk_kept(&m), reach);
		assert_memory_equal(m.decoded, right, sizeof(right));
		topk_drop(&m);
	}
	free(in);
}

static void threshold_tends_to_k(void **state)
{
	static const char *const specs[] = {"topk:mode=threshold,density=0.1",
					    "topk:mode=threshold,density=0.01",
					    "topk:mode=threshold,density=0.001"};
	static const double keep[] = {2000, 200, 20};

	(void)state;
	for (size_t n = 0; n < 6; n++) {
		float threshold = 0;
		double sum = 0;

		for (uint64_t step = 0; step < 120; step++) {
			float *in = draw_vector(n % 2 ? DRAW_LAPLACE : DRAW_GAUSS, 20000, 1, step);
			struct topk_message m;

			topk_encode(&m, specs[n / 2], in, 20000, threshold);
			threshold = m.result.threshold;
			assert_in_range(topk_kept(&m), keep[n / 2] / 2, 2 * keep[n / 2]);
			sum += step < 20 ? 0 : (double)topk_kept(&m);
			topk_drop(&m);
			free(in);
		}
		/* Of 20 a step the mean over 100 has a deviation of 0.45. */
		near(sum / 100, keep[n / 2], 0.12);
	}
}

/* One threshold for chunks of different size of numbers: the mean of the results is the next. */
static void one_threshold_for_a_tensor(void **state)
{
	enum { CHUNKS = 8, COUNT = 8192 };
	double threshold = 0, sum = 0;
	struct topk_message m;

	(void)state;
	for (uint64_t step = 0; step < 150; step++) {
		double next = 0;
		size_t all = 0;

		for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
			float *in = draw_vector(DRAW_GAUSS, COUNT, 1, step * CHUNKS + chunk);

			for (size_t i = 0; i < COUNT; i++)
				in[i] *= chunk == 3 ? 2 : 0.25f;
			topk_encode(&m, "topk:mode=threshold,scope=tensor", in, COUNT,
				    (float)threshold);
			next += (double)m.result.threshold / CHUNKS;
			all += topk_kept(&m);
			topk_drop(&m);
			free(in);
		}
		threshold = next;
		sum += step < 100 ? 0 : (double)all / 50;
	}
	near(sum, 0.01 * CHUNKS * COUNT, 0.05);
	assert_true(threshold > 2); /* all but the chunk of large numbers keep next to nothing */
}

static void tensor_keeps_nothing_or_all(void **state)
{
	float *in = draw_vector(DRAW_GAUSS, 3000, 1, 1);
	struct topk_message m;

	(void)state;
	topk_encode(&m, "topk:mode=threshold,scope=tensor", in, 3000, 100);
	assert_int_equal(m.result.bytes, 4);
	assert_int_equal(topk_kept(&m), 0);
	assert_true(m.result.threshold < 100 && m.result.threshold > 80);
	topk_drop(&m);
	topk_encode(&m, "topk:mode=threshold,scope=tensor", in, 3000, 1e-9f);
	assert_int_equal(m.result.bytes, 4 + 3000 * 4);
	assert_memory_equal(m.decoded, in, 3000 * sizeof(*in));
	topk_drop(&m);
	/* Nearly all: an index costs more than the few values, so all are sent. */
	topk_encode(&m, "topk:mode=threshold,scope=tensor", in, 3000, 0.01f);
	assert_int_equal(m.result.bytes, 4 + 3000 * 4);
	assert_memory_equal(m.decoded, in, 3000 * sizeof(*in));
	assert_true(m.result.threshold > 0.01f);
	topk_drop(&m);
	free(in);
}

/* --- sizes and hostile bytes --------------------------------------------------------------- */

/* Kept elements in runs, apart, at the ends: topk_encode() holds each against its bound. */
static void bounds_hold(void **state)
{
	static const char *const specs[] = {
		"topk:mode=threshold,density=0.02",
		"topk:mode=threshold,density=0.02,indices=gaps,values=bf16",
		"topk:mode=threshold,density=0.3,indices=local",
		"topk:mode=threshold,density=0.5,indices=gaps",
		"topk:mode=threshold,density=0.9,indices=local,values=bf16",
		"topk:mode=threshold,scope=tensor,indices=gaps",
		"topk:mode=threshold,scope=tensor,density=0.9,indices=bitmap,values=bf16",
	};
	uint64_t seed = 9;

	(void)state;
	for (size_t n = 0; n < 7 * 200; n++) {
		size_t count = 1 + draw_u64(&seed) % 5000, large = draw_u64(&seed) % (count + 1);
		size_t stride = 1 + draw_u64(&seed) % (1 + count / (large + 1));
		float *in = draw_vector(DRAW_GAUSS, count, 1, n);
		struct topk_message m;

		for (size_t i = 0; i < count; i++) {
			bool is = n % 3 ? i % stride == stride - 1 && i / stride < large
					: i >= count - large;

			in[i] = is ? 100 + in[i] : 0.01f * in[i];
		}
		topk_encode(&m, specs[n % 7], in, count, 50);
		topk_drop(&m);
		free(in);
	}
}

static void refused(struct topk_message *m, size_t at, unsigned char value, size_t length)
{
	unsigned char *bytes = malloc(length);

	memcpy(bytes, m->bytes, length < m->result.bytes ? length : m->result.bytes);
	if (length > m->result.bytes)
		memset(bytes + m->result.bytes, 0, length - m->result.bytes);
	if (at < length)
		bytes[at] = value;
	assert_int_equal(topk_decode(m, bytes, length), -EBADMSG);
	free(bytes);
}

static void hostile_messages(void **state)
{
	static const char *const specs[] = {
		"topk:density=0.003,indices=gaps", "topk:density=0.003,indices=bitmap",
		"topk:density=0.003,indices=local", "topk:mode=block,density=0.003,indices=local"};
	float in[1001] = {[5] = 1, [200] = -1, [999] = 2, [1000] = 3};
	struct topk_message m;

	(void)state;
	for (size_t i = 0; i < 4; i++) { /* 4 of 1001 */
		topk_encode(&m, specs[i], in, 1001, 0);
		for (size_t length = 0; length < m.result.bytes; length++)
			refused(&m, SIZE_MAX, 0, length);
		refused(&m, SIZE_MAX, 0, m.result.bytes + 1);
		if (i < 3) {
			refused(&m, 0, 0, m.result.bytes); /* all */
			refused(&m, 0, i == 0 ? 1 : 2, m.result.bytes);
			refused(&m, 0, 4, m.result.bytes);
			refused(&m, 1, 3, m.result.bytes); /* kept */
			refused(&m, 1, 5, m.result.bytes);
			refused(&m, 3, 1, m.result.bytes);
		}
		refused(&m, i < 3 ? 7 : 3, 0xff, m.result.bytes);      /* a value: NaN */
		refused(&m, m.result.bytes - 1, 0xff, m.result.bytes); /* spare bits, too far */
		topk_drop(&m);
	}
	topk_encode(&m, specs[3], in, 1001, 0); /* places 5, 200: 05 20 73 */
	refused(&m, 17, 0x03, m.result.bytes);  /* 773, 192 */
	refused(&m, 16, 0xc9, m.result.bytes);  /* 201, 200 */
	topk_drop(&m);
}

/* A bitmap with the right number of bits, but not in each block. */
static void blocks_have_their_shares(void **state)
{
	float *in = draw_vector(DRAW_GAUSS, 2048, 1, 5);
	struct topk_message m;
	unsigned char *bitmap, *bytes;
	size_t length, from = 0, to = 1024;

	(void)state;
	topk_encode(&m, "topk:mode=block,density=0.25", in, 2048, 0);
	length = m.result.bytes;
	bytes = malloc(length);
	memcpy(bytes, m.bytes, length);
	bitmap = bytes + length - 2048 / 8;
	while (!(bitmap[from / 8] >> from % 8 & 1))
		from++;
	while (bitmap[to / 8] >> to % 8 & 1)
		to++;
	assert_int_equal(topk_decode(&m, bytes, length), 0);
	bitmap[from / 8] ^= (unsigned char)(1 << from % 8);
	bitmap[to / 8] ^= (unsigned char)(1 << to % 8);
	assert_int_equal(topk_decode(&m, bytes, length), -EBADMSG);
	free(bytes);
	free(in);
	topk_drop(&m);
}

static void refused_settings(void **state)
{
	struct codec_setting s;
	struct err err;

	(void)state;
	assert_int_equal(codec_parse(&s, "topk:scope=tensor", &err), -EINVAL);
	assert_string_equal(err.text, "codec topk: scope=tensor needs mode=threshold");
	assert_int_equal(codec_parse(&s, "topk:mode=block,indices=gaps", &err), -EINVAL);
	assert_int_equal(codec_parse(&s, "topk:density=0", &err), -EINVAL);
	assert_int_equal(codec_parse(&s, "topk:density=nan", &err), -EINVAL);
	assert_int_equal(codec_parse(&s, "topk:mode=block", &err), 0);
	assert_int_equal(s.block, 1024);
	assert_int_equal(codec_check(&s), 0);
	s.block = 0;
	assert_int_equal(codec_check(&s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact_bytes),
		cmocka_unit_test(keeps_the_greatest),
		cmocka_unit_test(keeps_the_greatest_wherever_they_are),
		cmocka_unit_test(keeps_round_numbers),
		cmocka_unit_test(loses_what_it_must),
		cmocka_unit_test(residual_in_place),
		cmocka_unit_test(threshold_keeps_what_reaches_it),
		cmocka_unit_test(threshold_tends_to_k),
		cmocka_unit_test(one_threshold_for_a_tensor),
		cmocka_unit_test(tensor_keeps_nothing_or_all),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(hostile_messages),
		cmocka_unit_test(blocks_have_their_shares),
		cmocka_unit_test(refused_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
