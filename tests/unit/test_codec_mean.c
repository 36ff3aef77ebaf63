/*
 * test_codec_mean.c - what codecs promise of the mean over their draws (codec.h), for each entry
 * of the table and each of its examples: contraction and unbiasedness.
 *
 * Most that draw round an element to one of two levels beside it.  The levels are learned from
 * the draws; then the variance of a rounding without bias is known exactly and needs no estimate:
 * (high - x) (x - low).  Others (eden) take many values, and their mean squares are estimated.
 */
#include "tests/unit/codec_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- draws of one vector ------------------------------------------------------------------- */

struct tally {
	struct codec_case c;
	const float *in;
	size_t count;
	double draws;
	double *sum, *squares; /* of decoded - in */
	float *low, *high;     /* decoded */
};

static void tally_init(struct tally *t, const char *spec, const float *in, size_t count)
{
	*t = (struct tally){.in = in, .count = count};
	t->sum = calloc(count, sizeof(*t->sum));
	t->squares = calloc(count, sizeof(*t->squares));
	t->low = malloc(count * sizeof(*t->low));
	t->high = malloc(count * sizeof(*t->high));
	for (size_t i = 0; i < count; i++) {
		t->low[i] = INFINITY;
		t->high[i] = -INFINITY;
	}
	case_encode(&t->c, spec, &(struct case_input){.in = in, .count = count});
}

static void tally_deinit(struct tally *t)
{
	case_drop(&t->c);
	free(t->sum);
	free(t->squares);
	free(t->low);
	free(t->high);
}

enum { STRIP = 64 };

/* A loop that the compiler makes vectors of; it takes most of the time. */
__attribute__((noinline)) static void tally_strip(const float *restrict in,
						  const float *restrict decoded,
						  double *restrict sum, double *restrict squares,
						  float *restrict low, float *restrict high)
{
	for (size_t k = 0; k < STRIP; k++) {
		double e = (double)decoded[k] - (double)in[k];

		sum[k] += e;
		squares[k] += e * e;
	}
	for (size_t k = 0; k < STRIP; k++)
		low[k] = decoded[k] < low[k] ? decoded[k] : low[k];
	for (size_t k = 0; k < STRIP; k++)
		high[k] = decoded[k] > high[k] ? decoded[k] : high[k];
}

static void tally_draw(struct tally *t, uint64_t step)
{
	const float *decoded = t->c.decoded;
	size_t i = 0;

	case_again(&t->c, &(struct case_input){.in = t->in, .count = t->count, .step = step});
	for (; i + STRIP <= t->count; i += STRIP)
		tally_strip(t->in + i, decoded + i, t->sum + i, t->squares + i, t->low + i,
			    t->high + i);
	for (; i < t->count; i++) {
		double e = (double)decoded[i] - (double)t->in[i];

		t->sum[i] += e;
		t->squares[i] += e * e;
		t->low[i] = fminf(t->low[i], decoded[i]);
		t->high[i] = fmaxf(t->high[i], decoded[i]);
	}
	t->draws++;
}

/*
 * Was the element always its low or its high value?  Of errors e that are -a or b the sum of
 * (e - b) (e + a) is 0; one value between them would be -1e-4 of draws * (a + b)^2 or so.
 */
static bool two_valued(const struct tally *t, size_t i)
{
	double a = (double)t->in[i] - (double)t->low[i], b = (double)t->high[i] - (double)t->in[i];
	double off = t->squares[i] - (b - a) * t->sum[i] - t->draws * a * b;

	return t->low[i] < t->high[i] && fabs(off) <= 1e-9 * t->draws * (a + b) * (a + b);
}

/* The expected square of an element's error. */
static double expected(const struct tally *t, size_t i)
{
	if (two_valued(t, i))
		return ((double)t->in[i] - (double)t->low[i]) *
		       ((double)t->high[i] - (double)t->in[i]);
	return t->squares[i] / t->draws;
}

/* --- contraction --------------------------------------------------------------------------- */

/*
 * What may be lost of a block: (1 - delta) of its squares, but where float32 ends.
 *
 * int8, int4, int2: a scale is 2^-126 at least.  A block whose greatest element is below 127 or 7
 * times that is rounded to multiples of 2^-126: of an element at most half of that is lost, in the
 * mean square too; to nearest, at most all.  The scale of int2 fits all elements; it is at least
 * greatest / (3 n), as the greatest has level 3 (or, where all are nearly equal, 1) and the squares
 * of n levels are 9 n at most; where it would be below 2^-126, the block is lost.
 *
 * qsgd: the step, norm / levels, is rounded up, by at most one unit in the last place, and its
 * multiples to nearest.  So neighbours are at most step * (1 + (levels + 1) 2^-23) + 2^-149 apart,
 * and what is lost in the mean grows with the square of that distance at most.
 */
static double block_may_lose(const struct codec_setting *s, const float *in, size_t n, double delta)
{
	double norm2 = case_norm2(in, n), greatest = 0, levels = s->levels, norm;

	for (size_t i = 0; i < n; i++)
		greatest = fmax(greatest, fabs((double)in[i]));
	if ((s->id == CODEC_INT8 && greatest < 127 * 0x1p-126) ||
	    (s->id == CODEC_INT4 && greatest < 7 * 0x1p-126))
		return fmin(s->rounding == CODEC_NEAREST ? norm2 : INFINITY, (double)n * 0x1p-254);
	if (s->id == CODEC_INT2 && greatest < 3 * (double)n * 0x1p-126)
		return norm2;
	if (s->id == CODEC_QSGD && norm2 > 0) {
		norm = sqrt(norm2) * (1 + (levels + 1) * 0x1p-23) + levels * 0x1p-149;
		return (1 - delta) * norm * norm;
	}
	return (1 - delta) * norm2;
}

static double may_lose(const struct codec_setting *s, const float *in, size_t count, double delta)
{
	size_t block = s->block ? s->block : count;
	double sum = 0;

	for (size_t first = 0; first < count; first += block)
		sum += block_may_lose(s, in + first, count - first < block ? count - first : block,
				      delta);
	return sum;
}

/*
 * All that is added to the bound is rounding, as a share.  Sums of n squares in float64 err by
 * n * 2^-53 on either side; and a scale that is e off its best value (of sign e < 3e-7, see
 * test_codec_sign.c) stands beside the bottom of a parabola: e^2 more is lost, less than 2^-43.
 */
static double rounding(size_t count)
{
	return (double)count * 0x1p-52 + 0x1p-43;
}

static void one_contraction(const char *spec, size_t draws, double delta, enum case_shape shape,
			    const float *in, size_t count)
{
	double lost = 0, limit;
	struct tally t;

	assert_true(delta > 0 && delta <= 1);
	tally_init(&t, spec, in, count);
	for (uint64_t step = 0; step < draws; step++)
		tally_draw(&t, step);
	for (size_t i = 0; i < count; i++)
		lost += expected(&t, i);
	limit = may_lose(&t.c.setting, in, count, delta);
	if (!(lost <= limit * (1 + rounding(count))))
		fail_msg("%s, shape %d, %zu: %g lost of %g, at most %.17g, delta %g", spec, shape,
			 count, lost, case_norm2(in, count), limit, delta);
	tally_deinit(&t);
}

static void contracts(const struct codec *c, const char *spec, const struct case_set *set)
{
	struct codec_setting s = case_setting(spec);
	bool random = c->id == CODEC_EDEN || (c->unbiased && c->unbiased(&s));

	for (size_t n = 0; n < CASE_COUNTS; n++) {
		/* Of few elements each has to show its levels, of many their sum counts. */
		size_t draws = !random ? 1 : case_counts[n] < 100 ? 400 : 50;
		double delta = c->delta ? c->delta(&s, case_counts[n]) : 0;

		assert_true(delta >= 0);
		for (enum case_shape shape = 0; shape < CASE_SHAPES && delta > 0; shape++)
			one_contraction(spec, draws, delta, shape, set->in[shape][n],
					case_counts[n]);
	}
}

static void contraction(void **state)
{
	(void)state;
	case_each(contracts);
}

/* --- unbiasedness -------------------------------------------------------------------------- */

/* The value nearest to x on the other side of it than `seen`, among those of the same block. */
static double other_level(const struct tally *t, size_t i)
{
	size_t block = t->c.setting.block ? t->c.setting.block : t->count;
	size_t first = i / block * block, end = first + block < t->count ? first + block : t->count;
	double x = (double)t->in[i], side = (double)t->low[i] < x ? 1 : -1, nearest = INFINITY;

	for (size_t j = first; j < end; j++)
		for (int k = 0; k < 2; k++) {
			double d = side * ((double)(k ? t->low : t->high)[j] - x);

			nearest = d > 0 && d < nearest ? d : nearest;
		}
	return x + side * nearest;
}

/* How many standard deviations the mean of an element's draws is from x. */
static double deviations(const struct tally *t, const char *spec, size_t i)
{
	double x = (double)t->in[i], seen = (double)t->low[i], share;

	if (t->low[i] < t->high[i])
		return t->sum[i] / sqrt(t->draws * expected(t, i));
	if (seen == x)
		return 0;
	/* Always one level; the other is as unlikely as x is near to this one. */
	share = (seen - x) / (seen - other_level(t, i));
	/* exp(-14.38) is the probability of 5 deviations. */
	if (!(t->draws * -log1p(-share) <= 14.38))
		fail_msg("%s: element %zu, %a, is always %a", spec, i, x, seen);
	return (seen < x ? -1 : 1) * sqrt(t->draws * share / (1 - share));
}

/* Elements that have the same draws; chi-squared then varies as much more. */
static double together(const struct codec *c)
{
	return c->id == CODEC_RANDK ? 64 : 1;
}

/* The mean of 1e4 draws is within 5 deviations for each element, and all are as they should be. */
static void is_unbiased(const struct codec *c, const char *spec, const struct case_set *set)
{
	enum { COUNT = 4096, DRAWS = 10000 };
	struct codec_setting s = case_setting(spec);
	double chi2 = 0, limit = 5 * sqrt(2 * COUNT * together(c));
	float *in = case_vector(CASE_GAUSS, COUNT, 77);
	bool exact = true;
	struct tally t;

	(void)set;
	if (c->unbiased && c->unbiased(&s)) {
		tally_init(&t, spec, in, COUNT);
		for (uint64_t step = 0; step < DRAWS; step++)
			tally_draw(&t, step);
		for (size_t i = 0; i < COUNT; i++) {
			double z = deviations(&t, spec, i);

			if (fabs(z) > 5)
				fail_msg("%s: element %zu, %g, is off by %.2f deviations", spec, i,
					 (double)in[i], z);
			exact &= t.low[i] == in[i] && t.high[i] == in[i];
			chi2 += z * z;
		}
		if (!exact && fabs(chi2 - COUNT) > limit)
			fail_msg("%s: chi-squared is %.0f, not %d within %.0f", spec, chi2, COUNT,
				 limit);
		tally_deinit(&t);
	}
	free(in);
}

static void unbiasedness(void **state)
{
	(void)state;
	case_each(is_unbiased);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contraction),
		cmocka_unit_test(unbiasedness),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
