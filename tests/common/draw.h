/*
 * draw.h - random numbers for tests, of several laws; the same everywhere for the same seed.
 *
 * The state is one word, any start is good: tools/common/random.h's splitmix64.
 */
#ifndef TESTS_COMMON_DRAW_H
#define TESTS_COMMON_DRAW_H

#include <stddef.h>
#include <stdint.h>

enum draw_law {
	DRAW_GAUSS,   /* variance 1                                             */
	DRAW_LAPLACE, /* density exp(-|x|) / 2: variance 2                      */
	DRAW_STUDENT, /* t of 3 degrees of freedom: variance 3, heavy tails     */
	DRAW_COARSE,  /* Gauss in steps of 0.5: many are equal                  */
	DRAW_ZERO,
	DRAW_LAWS
};

uint64_t draw_u64(uint64_t *state);
double draw_uniform(uint64_t *state); /* in (0, 1): an odd multiple of 2^-54 */
double draw_gauss(uint64_t *state);
double draw_laplace(uint64_t *state);
double draw_student(uint64_t *state);
double draw_of(enum draw_law law, uint64_t *state);

/* draw_about_gauss() - float[count], each the sum of four uniform numbers of 16 bits: cheap. */
void draw_about_gauss(float *v, size_t count, uint64_t *state);

/* draw_vector() - float[count] of the law, times `unit`; free() it. */
float *draw_vector(enum draw_law law, size_t count, double unit, uint64_t seed);

/* draw_bytes() - fill `bytes` with random ones. */
void draw_bytes(void *bytes, size_t count, uint64_t *state);

#endif
