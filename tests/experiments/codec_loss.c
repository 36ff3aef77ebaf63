/* codec_loss.c - see codec_loss.h. */
#include "tests/experiments/codec_loss.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tests/experiments/experiment.h"

static double greatest(const double *v, size_t n)
{
	double most = 0;

	for (size_t i = 0; i < n; i++)
		most = fmax(most, fabs(v[i]));
	return most;
}

static double squares(const double *v, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += v[i] * v[i];
	return sum;
}

/* The expected square of what is lost if m becomes low or high, right in the mean. */
static double between(double m, double low, double high)
{
	return (high - m) * (m - low);
}

double loss_integer(const double *v, size_t n, double a, double b)
{
	double step = greatest(v, n) / a, lost = 0;

	for (size_t i = 0; i < n; i++) {
		double at = fabs(v[i]) / step, low = floor(at), off = at - rint(at);

		lost += (b > 0 ? between(at, low, low + 1) : off * off) * step * step;
	}
	return lost;
}

double loss_four_levels(const double *v, size_t n, double a, double b)
{
	double size = sqrt(squares(v, n) / (double)n), least = INFINITY;

	(void)a;
	(void)b;
	for (int try = 0; try <= 128; try++) {
		double s = size * (0.4 + 0.4 * try / 128), lost = 0;

		for (size_t i = 0; i < n; i++) {
			double m = fabs(v[i]), off = m - (m < 2 * s ? s : 3 * s);

			lost += off * off;
		}
		least = fmin(least, lost);
	}
	return least;
}

double loss_sign(const double *v, size_t n, double a, double b)
{
	double scale = 0, lost = 0;

	(void)b;
	for (size_t i = 0; i < n; i++)
		scale += fabs(v[i]) / (double)n;
	if (a > 0)
		scale = sqrt(squares(v, n) / (double)n);
	for (size_t i = 0; i < n; i++)
		lost += (fabs(v[i]) - scale) * (fabs(v[i]) - scale);
	return lost;
}

static int by_magnitude(const void *x, const void *y)
{
	double a = fabs(*(const double *)x), b = fabs(*(const double *)y);

	return (a > b) - (a < b);
}

double loss_top(const double *v, size_t n, double a, double b)
{
	double *sorted = malloc(n * sizeof(*sorted)), lost;

	(void)b;
	assert(sorted);
	for (size_t i = 0; i < n; i++)
		sorted[i] = v[i];
	qsort(sorted, n, sizeof(*sorted), by_magnitude);
	lost = squares(sorted, n - (size_t)a);
	free(sorted);
	return lost;
}

double loss_share(const double *v, size_t n, double a, double b)
{
	(void)b;
	return (1 - a) * squares(v, n);
}

double loss_levels(const double *v, size_t n, double a, double b)
{
	double step = (b > 0 ? greatest(v, n) : sqrt(squares(v, n))) / a, lost = 0;

	for (size_t i = 0; i < n; i++) {
		double at = fabs(v[i]) / step;

		lost += between(at, floor(at), floor(at) + 1) * step * step;
	}
	return lost;
}

double loss_ternary(const double *v, size_t n, double a, double b)
{
	double clip = a > 0 ? a * sqrt(squares(v, n) / (double)n) : INFINITY, lost = 0;
	double scale = fmin(greatest(v, n), clip);

	(void)b;
	for (size_t i = 0; i < n; i++) {
		double m = fabs(v[i]), chance = fmin(m, clip) / scale;

		lost += chance * (m - scale) * (m - scale) + (1 - chance) * m * m;
	}
	return lost;
}

double loss_power(const double *v, size_t n, double a, double b)
{
	double lost = 0;

	(void)a;
	(void)b;
	for (size_t i = 0; i < n; i++) {
		double m = fabs(v[i]), low = m > 0 ? exp2(floor(log2(m))) : 0;

		lost += between(m, low, 2 * low);
	}
	return lost;
}

double loss_float(const double *v, size_t n, double a, double b)
{
	static const struct {
		int mantissa, exponent_min, exponent_max;
		double most;
	} formats[] = {
		[LOSS_BF16] = {7, -126, 127, 0x1.fep127},
		[LOSS_FP16] = {10, -14, 15, 65504},
		[LOSS_E4M3] = {3, -6, 8, 448},
		[LOSS_E5M2] = {2, -14, 15, 57344},
		[LOSS_E2M1] = {1, 0, 2, 6},
	};
	size_t f = (size_t)a;
	double unit = 1, lost = 0;

	if (b > 0)
		unit = exp2(floor(log2(greatest(v, n))) - formats[f].exponent_max);
	for (size_t i = 0; i < n; i++) {
		double m = fabs(v[i]) / unit, step, off;
		int exponent = m > 0 ? (int)floor(log2(m)) : formats[f].exponent_min;

		if (exponent < formats[f].exponent_min)
			exponent = formats[f].exponent_min;
		step = ldexp(1, exponent - formats[f].mantissa);
		off = (m - fmin(step * rint(m / step), formats[f].most)) * unit;
		lost += off * off;
	}
	return lost;
}

/* --- rotation ----------------------------------------------------------------------------- */

static void hadamard(double *x, size_t n)
{
	for (size_t half = 1; half < n; half *= 2) {
		for (size_t at = 0; at < n; at += 2 * half) {
			for (size_t i = at; i < at + half; i++) {
				double sum = x[i] + x[i + half];

				x[i + half] = x[i] - x[i + half];
				x[i] = sum;
			}
		}
	}
	for (size_t i = 0; i < n; i++)
		x[i] /= sqrt((double)n);
}

/* The centroids for a normal distribution: Max, "Quantizing for Minimum Distortion", 1960. */
static double centroid(size_t bits, double magnitude)
{
	static const double all[5][9] = {
		[1] = {0.79788},
		[2] = {0.45278, 1.51042},
		[3] = {0.24509, 0.75601, 1.34391, 2.15195},
		[4] = {0.12840, 0.38805, 0.65676, 0.94234, 1.25623, 1.61805, 2.06902, 2.73259},
	};
	const double *c = all[bits];

	while (c[1] > 0 && magnitude > (c[0] + c[1]) / 2)
		c++;
	return c[0];
}

double loss_rotated(const double *v, size_t n, double a, double b)
{
	double *x = malloc(n * sizeof(*x)), size = squares(v, n), product = 0, codes = 0, scale;
	double lost = 0;
	struct experiment_random random;

	assert(x);
	/* Other draws for other blocks; which ones makes no difference. */
	experiment_seed(&random, (uint64_t)(fabs(v[0]) * 0x1p40) + 1);
	for (size_t i = 0; i < n; i++)
		x[i] = experiment_u64(&random) >> 63 ? v[i] : -v[i];
	hadamard(x, n);
	for (size_t i = 0; i < n; i++) {
		double c = centroid((size_t)a, fabs(x[i]) / sqrt(size / (double)n));

		product += fabs(x[i]) * c;
		codes += c * c;
	}
	scale = b > 0 ? product / codes : size / product;
	for (size_t i = 0; i < n; i++) {
		double c = centroid((size_t)a, fabs(x[i]) / sqrt(size / (double)n));

		lost += (fabs(x[i]) - scale * c) * (fabs(x[i]) - scale * c);
	}
	free(x);
	return lost;
}
