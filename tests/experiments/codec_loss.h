/*
 * codec_loss.h - what codecs lose of a block of numbers, in float64, from their definitions:
 * ||C(v) - v||^2, of random ones the expectation.  Nothing is shared with the codecs themselves.
 *
 * Every function has the same form; a and b are what its comment says.  n is the block.
 */
#ifndef TESTS_EXPERIMENTS_CODEC_LOSS_H
#define TESTS_EXPERIMENTS_CODEC_LOSS_H

#include <stddef.h>

/* Integers from -a to a, the greatest magnitude being a; b: rounded at random. */
double loss_integer(const double *v, size_t n, double a, double b);

/* -3s, -s, s, 3s with the best s of 128 between 0.4 and 0.8 of the root mean square. */
double loss_four_levels(const double *v, size_t n, double a, double b);

/* Sign times the mean magnitude, or (a) the root mean square. */
double loss_sign(const double *v, size_t n, double a, double b);

/* All but the a of greatest magnitude. */
double loss_top(const double *v, size_t n, double a, double b);

/* All but a share a, whichever. */
double loss_share(const double *v, size_t n, double a, double b);

/* a levels up to the l2 norm, or (b) the greatest magnitude, rounded at random. */
double loss_levels(const double *v, size_t n, double a, double b);

/* 0 or the greatest of what is clipped at a times the root mean square (0: not at all). */
double loss_ternary(const double *v, size_t n, double a, double b);

/* One of the two powers of two around the magnitude. */
double loss_power(const double *v, size_t n, double a, double b);

/* Floats of format a; b: in units of the greatest one's power of two, as OCP MX has it. */
enum loss_format { LOSS_BF16, LOSS_FP16, LOSS_E4M3, LOSS_E5M2, LOSS_E2M1 };
double loss_float(const double *v, size_t n, double a, double b);

/* Rotated (n a power of two) and rounded to 2^a centroids; scaled without bias, or (b) for the
 * least loss. */
double loss_rotated(const double *v, size_t n, double a, double b);

#endif
