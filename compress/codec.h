/*
 * codec.h - codecs: a chunk of float32 to fewer bytes and back.
 *
 * A codec is one entry of the table (codec_table.h) and one file codec_NAME.c; CPU variants of its
 * inner loops are beside it.  All are pure: no allocation, no state, no clock; any thread.
 *
 *   p = in + residual_scale * residual           what is encoded (float32, one rounding each)
 *   bytes = C(p)
 *   residual_out = p - decode(bytes)             to the last bit, in the same pass
 *
 * Rules that all keep, and tests hold for the whole table:
 *   - `in` is read once: it may be memory that somebody else writes to.  What is needed twice is
 *     kept in residual_out, on the stack or in work.
 *   - decode(encode(0)) = 0; a block of zeros has scale 0.
 *   - the bytes depend on (setting, values, first, random keys, threshold) alone: not on the CPU
 *     variant, nor on how a tensor is cut at multiples of the codec's block, if it has one.
 *   - NaN or infinity in p: encode says so, and out, residual_out and all else that it wrote or
 *     returned is not to be used.  One exception: `none` has written p, all of it, and `bytes`.
 *   - decode trusts nothing: bytes of a wrong length, scales or values that are not finite, indices
 *     out of range or out of order are -EBADMSG; then out is undefined, and nothing beyond it is
 *     touched.  decode_add checks everything before it adds anything.
 *   - what is decoded is finite: what is too large for float32 saturates.  Three exceptions: of
 *     none, bf16 and fp16 any bytes of the right length are taken.  A payload of plain floats is as
 *     its sender wrote it, and gives NaN and infinity where it has them.
 *   - decode_add(weight) adds weight * decode(bytes), each product rounded once and then added.
 * The floating-point environment must be the default one (round to nearest, denormals kept).
 */
#ifndef COMPRESS_CODEC_H
#define COMPRESS_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compress/random.h"
#include "compress/setting.h"
#include "compress/vector.h"

/* Numbers on the wire. */
enum codec_id {
	CODEC_NONE = 0, /* float32 as it is */
	CODEC_BF16,
	CODEC_FP16,
	CODEC_INT8,
	CODEC_INT4,
	CODEC_INT2,
	CODEC_SIGN,
	CODEC_TOPK,
	CODEC_RANDK,
	CODEC_QSGD,
	CODEC_NATURAL,
	CODEC_TERNGRAD,
	CODEC_MXFP8,
	CODEC_MXFP4,
	CODEC_EDEN,
	CODEC_IDS,
};

enum {
	CODEC_BLOCK_MAX = 65536,   /* elements; blocks are powers of two                     */
	CODEC_COUNT_MAX = 1 << 18, /* elements of a chunk                                    */
};

/* A float with such magnitude bits (all but the sign) or greater is no finite number. */
#define CODEC_NONFINITE_BITS 0x7f800000u

enum codec_rounding { CODEC_NEAREST = 0, CODEC_STOCHASTIC };

/*
 * What a spec such as "int8:block=256,rounding=stochastic" says, options filled in.  Each codec's
 * file lists the options that it has; the others are 0.  Equal specs give equal settings.
 */
struct codec_setting {
	uint8_t id;       /* enum codec_id                                           */
	uint8_t rounding; /* enum codec_rounding                                     */
	uint8_t scale, mode, scope, values, indices, format; /* number of the option's word */
	uint32_t bits, levels;
	uint32_t block; /* elements that are encoded together; 0: the whole chunk  */
	float density;  /* share of the elements that is kept                      */
	float clip;
};

struct codec_input {
	const float *in;       /* float32[count], read once                              */
	const float *residual; /* float32[count] or NULL                                 */
	float residual_scale;
	float *residual_out;          /* float32[count], may be `residual`; or NULL             */
	size_t count;                 /* 1 to CODEC_COUNT_MAX                                   */
	uint64_t first;               /* index of in[0] in its tensor; a multiple of the block  */
	struct random_key rank_key;   /* draws of this rank's own                        */
	struct random_key shared_key; /* draws that are the same on all ranks            */
	float threshold;              /* of the last step, for codecs that reuse it; 0: none    */
	bool away;  /* a hint: of a large tensor, whose vectors do not stay in the caches */
	void *work; /* codec_work_bytes(), aligned to 64                      */
};

/* What a codec kept, wherever whoever made this has put it. */
struct codec_few {
	const uint32_t *index; /* [n], ascending, below the chunk's count */
	const float *value;    /* [n]                                     */
	size_t n;
};

struct codec_result {
	size_t bytes;    /* written; 1 to codec_bound()                                  */
	bool nonfinite;  /* p has a NaN or an infinity: nothing else is valid, see above */
	float threshold; /* for the next step, but not if nonfinite; 0: the codec has none */
	/* What codec_few() would find, as long as work is not used; index NULL: not at hand. */
	struct codec_few few;
};

/* What decoding needs beside the bytes. */
struct codec_origin {
	uint64_t first;
	struct random_key rank_key, shared_key; /* as they were encoded with */
	void *work;
	bool away; /* a hint: what is decoded will not be read soon */
};

/* One CPU variant of all codecs' inner loops. */
struct codec_kernels;

struct codec {
	const char *name;
	enum codec_id id;
	const struct setting_option *options; /* of struct codec_setting */
	/* Fills in what follows from the options and is none (a mode's block).  NULL: nothing. */
	void (*derive)(struct codec_setting *s);
	/* Combinations of options that make no sense; NULL: all do.  Return: a sentence or NULL. */
	const char *(*refuse)(const struct codec_setting *s);
	const char *const *examples; /* specs that tests and benchmarks run, ended by NULL */
	size_t (*bound)(const struct codec_setting *s, size_t count); /* bytes, at most */
	size_t (*work)(const struct codec_setting *s, size_t count);  /* bytes; NULL: none */
	struct codec_result (*encode)(const struct codec_setting *s, const struct codec_kernels *k,
				      const struct codec_input *input, void *out);
	int (*decode)(const struct codec_setting *s, const struct codec_kernels *k,
		      const struct codec_origin *origin, const void *bytes, size_t length,
		      float *out, size_t count);
	int (*decode_add)(const struct codec_setting *s, const struct codec_kernels *k,
			  const struct codec_origin *origin, const void *bytes, size_t length,
			  float weight, float *sum, size_t count);
	/* Of codecs that keep few elements: decode, but only to these.  NULL: it keeps all. */
	int (*few)(const struct codec_setting *s, const struct codec_kernels *k,
		   const struct codec_origin *origin, const void *bytes, size_t length,
		   size_t count, struct codec_few *out);
	/*
	 * encode() of a vector that is zero but for these elements; input->in is not read.  NULL:
	 * it has no quicker way; bytes = 0: not for this setting or input.
	 */
	struct codec_result (*encode_few)(const struct codec_setting *s,
					  const struct codec_input *input,
					  const struct codec_few *few, void *out);
	/*
	 * E||C(x) - x||^2 <= (1 - delta) ||x||^2, the mean over the draws: the delta that is
	 * promised, from 0: nothing is, to 1: nothing is lost.  NULL: 0.  Beside that, each
	 * element may lose as much as the least normal number, 2^-126.
	 */
	double (*delta)(const struct codec_setting *s, size_t count);
	/*
	 * Does its own noise make what feedback.h keeps grow, from op to op?  NULL: no.
	 * Return: what it needs not to, a sentence without its subject; NULL: it does not.
	 */
	const char *(*runs_away)(const struct codec_setting *s, size_t count);
	bool (*unbiased)(const struct codec_setting *s); /* NULL: false */
};

extern const struct codec *const codec_table[]; /* ended by NULL */
const struct codec *codec_by_id(uint8_t id);    /* NULL: there is none */

/* codec_check() - a setting that came from elsewhere.  Return: 0 or -EINVAL. */
int codec_check(const struct codec_setting *s);

/* codec_kernels_of() - the inner loops of the same CPU variant as v's (vector.h). */
const struct codec_kernels *codec_kernels_of(const struct vec *v);

size_t codec_bound(const struct codec_setting *s, size_t count);
size_t codec_work_bytes(const struct codec_setting *s, size_t count);
struct codec_result codec_encode(const struct codec_setting *s, const struct codec_kernels *k,
				 const struct codec_input *input, void *out);
int codec_decode(const struct codec_setting *s, const struct codec_kernels *k,
		 const struct codec_origin *origin, const void *bytes, size_t length, float *out,
		 size_t count);
int codec_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
		     const struct codec_origin *origin, const void *bytes, size_t length,
		     float weight, float *sum, size_t count);
bool codec_keeps_few(const struct codec_setting *s);
int codec_few(const struct codec_setting *s, const struct codec_kernels *k,
	      const struct codec_origin *origin, const void *bytes, size_t length, size_t count,
	      struct codec_few *out);
struct codec_result codec_encode_few(const struct codec_setting *s, const struct codec_input *input,
				     const struct codec_few *few, void *out);

#endif
