/*
 * codec_case.h - one encoding and its decoding, for the tests of single codecs.
 *
 * Buffers are heap blocks of exactly their size, so that AddressSanitizer sees what goes beyond.
 */
#ifndef TESTS_UNIT_CODEC_CASE_H
#define TESTS_UNIT_CODEC_CASE_H

#include "compress/codec.h"

struct codec_case {
	struct codec_setting setting;
	struct codec_origin origin;
	struct codec_result result;
	unsigned char *bytes; /* of result.bytes */
	float *decoded, *residual;
	size_t count;
};

/* case_encode() - in + residual (NULL: in), element `first` on, with the draws of `step`. */
void case_encode(struct codec_case *c, const char *spec, const float *in, const float *residual,
		 size_t count, uint64_t first, uint64_t step);
/* case_decode() - decode `bytes` into c->decoded.  Return: what codec_decode() returns. */
int case_decode(struct codec_case *c, const void *bytes, size_t length);
void case_drop(struct codec_case *c);

enum case_shape { CASE_GAUSS, CASE_LAPLACE };

/* case_vector() - random numbers of unit variance; free() it. */
float *case_vector(enum case_shape shape, size_t count, uint64_t seed);

/* case_nmse() - ||residual||^2 / ||in||^2 of `count` numbers, encoded in chunks of 65536. */
double case_nmse(const char *spec, enum case_shape shape, size_t count);

#endif
