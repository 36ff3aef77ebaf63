/* draw.c - see draw.h. */
#include "tests/common/draw.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/random.h"

uint64_t draw_u64(uint64_t *state)
{
	return random_next(state);
}

double draw_uniform(uint64_t *state)
{
	return ((double)(random_next(state) >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller; their second number is not used. */
double draw_gauss(uint64_t *state)
{
	double radius = sqrt(-2 * log(draw_uniform(state)));

	return radius * cos(2 * M_PI * draw_uniform(state));
}

double draw_laplace(uint64_t *state)
{
	double u = draw_uniform(state) - 0.5;

	return copysign(log(1 - 2 * fabs(u)), u);
}

double draw_student(uint64_t *state)
{
	double normal = draw_gauss(state), squares = 0;

	for (int i = 0; i < 3; i++) {
		double g = draw_gauss(state);

		squares += g * g;
	}
	return normal / sqrt(squares / 3);
}

double draw_of(enum draw_law law, uint64_t *state)
{
	switch (law) {
	case DRAW_GAUSS: return draw_gauss(state);
	case DRAW_LAPLACE: return draw_laplace(state);
	case DRAW_STUDENT: return draw_student(state);
	case DRAW_COARSE: return round(2 * draw_gauss(state)) / 2;
	case DRAW_ZERO:
	case DRAW_LAWS: break;
	}
	return 0;
}

void draw_about_gauss(float *v, size_t count, uint64_t *state)
{
	uint64_t s = *state;

	for (size_t i = 0; i < count; i++) {
		uint64_t x = random_next(&s), mask = 0xffff;
		int32_t sum =
			(int32_t)((x & mask) + (x >> 16 & mask) + (x >> 32 & mask) + (x >> 48));

		v[i] = (float)(sum - 0x1fffe) * 0x1.bbp-16f;
	}
	*state = s;
}

float *draw_vector(enum draw_law law, size_t count, double unit, uint64_t seed)
{
	float *v = malloc(count * sizeof(*v));

	assert(v);
	for (size_t i = 0; i < count; i++)
		v[i] = (float)(draw_of(law, &seed) * unit);
	return v;
}

void draw_bytes(void *bytes, size_t count, uint64_t *state)
{
	unsigned char *at = bytes;

	while (count) {
		uint64_t x = random_next(state);
		size_t some = count < sizeof(x) ? count : sizeof(x);

		memcpy(at, &x, some);
		at += some;
		count -= some;
	}
}
