/*
 * codec_case.h - one encoding and its decoding, what is encoded, and each codec in turn: for the
 * tests of codecs.
 *
 * Buffers are heap blocks of exactly their size, so that AddressSanitizer sees what goes beyond.
 */
#ifndef TESTS_UNIT_CODEC_CASE_H
#define TESTS_UNIT_CODEC_CASE_H

#include "compress/codec.h"
#include "tests/common/draw.h"

struct case_input {
	const float *in, *residual; /* float32[count]; residual NULL: none           */
	float residual_scale;       /* 0: 1                                          */
	size_t count;
	uint64_t first, step; /* index in the tensor; of the draws                   */
	uint32_t rank;
	float threshold;
	bool away;
	const struct vec *on; /* CPU variant; NULL: the best                         */
};

struct codec_case {
	struct codec_setting setting;
	const struct codec_kernels *kernels;
	struct codec_origin origin;
	struct codec_result result;
	unsigned char *room;  /* codec_bound()                                       */
	unsigned char *bytes; /* of result.bytes; NULL where that is nonfinite       */
	float *decoded, *residual;
	size_t count;
};

struct codec_setting case_setting(const char *spec);
const struct vec *case_vec(void); /* the best CPU variant */
const struct codec_kernels *case_best(void);

/* case_encode() - encode and decode; fails the test unless the message fits and is taken. */
void case_encode(struct codec_case *c, const char *spec, const struct case_input *input);
/* case_encode_away() - past the caches; fails the test if bytes or residual differ from near. */
void case_encode_away(struct codec_case *c, const char *spec, const struct case_input *input);
/* case_again() - the same of another input of that size; the message is in `room` alone. */
void case_again(struct codec_case *c, const struct case_input *input);
/* case_decode() - decode `bytes` into c->decoded.  Return: what codec_decode() returns. */
int case_decode(struct codec_case *c, const void *bytes, size_t length);
void case_drop(struct codec_case *c);

/* Shapes of vectors that codecs meet or fear; draw.h has the laws. */
enum case_shape {
	CASE_ZERO,
	CASE_GAUSS,
	CASE_ONE_HOT,
	CASE_ALL_EQUAL,
	CASE_ALTERNATING,
	CASE_HUGE_AND_TINY, /* 1e-38 to 1e38 */
	CASE_DENORMAL,
	CASE_MINUS_ZERO,
	CASE_LARGEST,
	CASE_SMALL, /* about 2^-124, where scales end */
	CASE_SHAPES
};

enum { CASE_COUNTS = 11 };
extern const size_t case_counts[CASE_COUNTS]; /* 1 to 20000 elements */

/* Each shape in each size, and a residual for it. */
struct case_set {
	float *in[CASE_SHAPES][CASE_COUNTS], *residual[CASE_COUNTS];
};

/* case_vector() - float[count], to be freed. */
float *case_vector(enum case_shape shape, size_t count, uint64_t seed);

/* case_each() - call f for each example of each codec. */
void case_each(void (*f)(const struct codec *c, const char *spec, const struct case_set *set));

/* case_nmse() - ||residual||^2 / ||in||^2 of in[count], encoded in chunks of at most `chunk`. */
double case_nmse(const char *spec, const float *in, size_t count, size_t chunk);

/* case_norm2() - the sum of squares. */
double case_norm2(const float *v, size_t count);

#endif
