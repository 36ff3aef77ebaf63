/*
 * codec_int_loops.h - the loops of int8, int4 and int2 for one CPU variant: encoding here, decoding
 * in codec_int_decode_loops.h.  Each codec_int_VARIANT.c includes it once, after sixteen lanes
 * (lanes_VARIANT.h) and VARIANT, the name of its table: int_VARIANT.
 *
 * Some blocks at a time, a batch, are read once, into p on the stack (in the first cache), for
 * their greatest magnitudes; from there they are coded, and what the codes lose is written as the
 * residual.  While one batch is coded, the next one is fetched, or, of usual blocks where the
 * residual goes past the caches, read in the same loop: else memory would wait for the arithmetic.
 *
 * The random numbers u of stochastic rounding are within (-1/2, 1/2), of 16 bits for int8 and of 20
 * for the others, so that an integer + u is exact and rounds to the integer: what lies on a level
 * is sent as it is.
 */
enum {
	LANE_COUNT = 16,
	BATCH = 1024,    /* elements, or one block: p, input and residuals fit in the first cache */
	OUT_AHEAD = 512, /* bytes of the message that are fetched ahead of the codes */
};

enum residual_store { RESIDUAL_NONE, RESIDUAL_KEEP, RESIDUAL_AWAY };

/* What turns p into codes; constant over a block. */
struct coder {
	float s, inverse;      /* code = round(p * inverse + offset) */
	struct random_key key; /* of the element's high half         */
	uint32_t element;      /* index in the tensor of p[0]        */
	bool clamp;            /* s is at its limit                  */
};

/*
 * Where the batch after this one is, to be fetched; the same again if there is none, and `in` again
 * if there is no residual.
 */
struct ahead {
	const float *in, *residual;
};

LANE float code_least(enum int_kind kind)
{
	return kind == INT_8 ? -127.0f : kind == INT_4 ? -7.0f : 0.0f;
}

LANE float code_most(enum int_kind kind)
{
	return kind == INT_8 ? 127.0f : kind == INT_4 ? 7.0f : 3.0f;
}

LANE f32x16 dither(enum int_kind kind, struct random_key key, uint32_t element)
{
	int bits = kind == INT_8 ? 16 : 20;
	float unit = kind == INT_8 ? 0x1p-16f : 0x1p-20f;
	u32x16 x = u_mul(u_lanes(), u_set(RANDOM_STEP)); /* known before the loop */

	x = u_xor(u_add(x, u_set(element * RANDOM_STEP)), u_set(key.low)); /* random_at() */
	x = u_mul(u_xor(x, u_right(x, 16)), u_set(0x21f0aaadu));
	x = u_add(x, u_set(key.high));
	x = u_mul(u_xor(x, u_right(x, 15)), u_set(0x735a2d97u));
	x = u_xor(x, u_right(x, 15));
	return f_sub(f_mul(f_from(u_right(x, 32 - bits)), f_set(unit)), f_set(0.5f - unit / 2));
}

/* Codes of x; *decoded is what they decode to. */
LANE u32x16 code(enum int_kind kind, bool stochastic, bool clamp, struct coder c, size_t at,
		 f32x16 x, f32x16 *decoded)
{
	f32x16 v = f_mul(x, f_set(c.inverse)), level;
	u32x16 codes;

	if (kind == INT_2)
		v = f_add(v, f_set(1.5f));
	if (stochastic && c.s > 0)
		v = f_add(v, dither(kind, c.key, c.element + (uint32_t)at));
	if (clamp)
		v = f_max(f_min(v, f_set(code_most(kind))), f_set(code_least(kind)));
	codes = f_nearest(v);
	level = f_from(codes);
	if (kind == INT_2)
		level = f_sub(f_add(level, level), f_set(3));
	*decoded = f_mul(level, f_set(c.s));
	return codes;
}

LANE void narrow(enum int_kind kind, unsigned char *to, u32x16 codes)
{
	if (kind == INT_8)
		narrow8(to, codes);
	else if (kind == INT_4)
		narrow4(to, codes);
	else
		narrow2(to, codes);
}

/* The codes of four registers. */
LANE void narrow_64(enum int_kind kind, unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	if (kind == INT_8) {
		narrow8_64(to, a, b, c, d);
	} else if (kind == INT_4) {
		narrow4_64(to, a, b, c, d);
	} else {
		narrow2(to, a);
		narrow2(to + 4, b);
		narrow2(to + 8, c);
		narrow2(to + 12, d);
	}
}

/* --- encoding ----------------------------------------------------------------------------- */

/* What p is made of: in, in + residual (the usual scale is 1) or in + scale * residual. */
enum source_sum { SOURCE_IN, SOURCE_PLUS, SOURCE_SCALED };

/* One register of p.  Return: the greater of `greatest` and its magnitudes. */
LANE u32x16 source_line(enum source_sum how, const float *in, const float *residual, float scale,
			float *p, u32x16 greatest)
{
	f32x16 x = f_load(in);

	if (how == SOURCE_PLUS)
		x = f_add(x, f_load(residual));
	else if (how == SOURCE_SCALED)
		x = f_add(x, f_mul(f_set(scale), f_load(residual)));
	f_store(p, x);
	return u_max(greatest, u_and(u_of(x), u_set(0x7fffffff)));
}

/*
 * p, zeros after it to a multiple of 16.  `left` will be written soon, or is NULL.
 * Return: the greatest bits of |p|.
 */
LANE uint32_t source(enum source_sum how, const float *in, const float *residual, float scale,
		     const float *left, size_t count, float *p)
{
	size_t whole = count / LANE_COUNT * LANE_COUNT, rest = (count - whole) * sizeof(*in);
	u32x16 greatest = u_set(0), other = u_set(0);
	float x[LANE_COUNT] = {0}, y[LANE_COUNT] = {0};
	size_t at = 0;

	for (; at + 2 * LANE_COUNT <= whole; at += 2 * LANE_COUNT) {
		size_t next = at + LANE_COUNT;

		if (left) {
			__builtin_prefetch(left + at, 1);
			__builtin_prefetch(left + next, 1);
		}
		greatest = source_line(how, in + at, residual + at, scale, p + at, greatest);
		other = source_line(how, in + next, residual + next, scale, p + next, other);
	}
	greatest = u_max(greatest, other);
	for (; at < whole; at += LANE_COUNT)
		greatest = source_line(how, in + at, residual + at, scale, p + at, greatest);
	if (!rest)
		return u_most(greatest);
	memcpy(x, in + whole, rest);
	if (how != SOURCE_IN)
		memcpy(y, residual + whole, rest);
	return u_most(source_line(how, x, y, scale, p + whole, greatest));
}

LANE uint32_t source_any(const struct codec_input *input, size_t first, const float *left,
			 size_t count, float *p)
{
	const float *in = input->in + first;
	float scale = input->residual_scale;

	if (!input->residual)
		return source(SOURCE_IN, in, in, 0, left, count, p);
	if (scale == 1)
		return source(SOURCE_PLUS, in, input->residual + first, 1, left, count, p);
	return source(SOURCE_SCALED, in, input->residual + first, scale, left, count, p);
}

struct block {
	struct coder coder;
	const float *p;
	struct ahead ahead;
	float *residual;
};

/* LANE_COUNT elements from p[at] on, and what their codes leave.  Return: the codes. */
LANE u32x16 code_line(enum int_kind kind, bool stochastic, bool clamp, enum residual_store store,
		      const struct block *b, size_t at)
{
	f32x16 x = f_load(b->p + at), decoded;
	u32x16 codes = code(kind, stochastic, clamp, b->coder, at, x, &decoded);

	__builtin_prefetch(b->ahead.in + at);
	__builtin_prefetch(b->ahead.residual + at);
	if (store == RESIDUAL_AWAY)
		f_stream(b->residual + at, f_sub(x, decoded));
	else if (store == RESIDUAL_KEEP)
		f_store(b->residual + at, f_sub(x, decoded));
	return codes;
}

LANE void code_block(enum int_kind kind, bool stochastic, bool clamp, enum residual_store store,
		     struct coder c, const float *p, size_t count, struct ahead ahead,
		     unsigned char *out, float *residual)
{
	size_t whole = count / LANE_COUNT * LANE_COUNT, bits = (count - whole) * int_bits(kind);
	unsigned char bytes[LANE_COUNT];
	float left[LANE_COUNT];
	struct block b = {c, p, ahead, residual};
	f32x16 x, decoded;
	size_t at = 0;

	for (; at + 4 * LANE_COUNT <= whole; at += 4 * LANE_COUNT)
		narrow_64(kind, out + int_code_bytes(kind, at),
			  code_line(kind, stochastic, clamp, store, &b, at),
			  code_line(kind, stochastic, clamp, store, &b, at + LANE_COUNT),
			  code_line(kind, stochastic, clamp, store, &b, at + 2 * LANE_COUNT),
			  code_line(kind, stochastic, clamp, store, &b, at + 3 * LANE_COUNT));
	for (; at < whole; at += LANE_COUNT)
		narrow(kind, out + int_code_bytes(kind, at),
		       code_line(kind, stochastic, clamp, store, &b, at));
	if (!bits)
		return;
	x = f_load(p + whole);
	narrow(kind, bytes, code(kind, stochastic, clamp, c, whole, x, &decoded));
	if (bits % 8)
		bytes[bits / 8] &= (unsigned char)((1 << bits % 8) - 1);
	memcpy(out + int_code_bytes(kind, whole), bytes, (bits + 7) / 8);
	f_store(left, f_sub(x, decoded));
	if (store != RESIDUAL_NONE)
		memcpy(residual + whole, left, (count - whole) * sizeof(*left));
}

/*
 * int2's scale for rounding to nearest: elements above 1.2 times the mean magnitude get 3s, the
 * others s, with the s of the least squared error; what is nearest to these levels then errs even
 * less.  Magnitudes are brought near 1 first, so that no sum overflows.
 */
LANE float fit_scale(const float *p, size_t count, uint32_t greatest)
{
	uint32_t exponent = greatest >> 23, inverse = exponent < 253 ? 253 - exponent : 1;
	f32x16 unit = f_set(int_bits_float(inverse << 23)), one = f_set(1), least;
	f32x16 all = f_set(0), high = f_set(0), highs = f_set(0);
	float sum, fit;

	if (exponent == 0)
		return 0;
	for (size_t at = 0; at < count; at += LANE_COUNT)
		all = f_add(all, f_of(u_and(u_of(f_mul(f_load(p + at), unit)), u_set(0x7fffffff))));
	sum = f_sum(all);
	least = f_set(1.2f * (sum / (float)count));
	for (size_t at = 0; at < count; at += LANE_COUNT) {
		f32x16 x = f_of(u_and(u_of(f_mul(f_load(p + at), unit)), u_set(0x7fffffff)));

		high = f_add(high, f_above(x, least, x));
		highs = f_add(highs, f_above(x, least, one));
	}
	fit = (sum + 2 * f_sum(high)) / ((float)count + 8 * f_sum(highs));
	fit *= int_bits_float((254 - inverse) << 23);
	return fit < 0x1p-126f ? 0 : fit;
}

LANE float block_scale(enum int_kind kind, bool stochastic, enum int_scale format, const float *p,
		       size_t count, uint32_t greatest)
{
	float most = int_scale_max(kind, format), scale;

	if (kind == INT_2 && !stochastic)
		return int_scale_round(format, fit_scale(p, count, greatest), most, true);
	scale = int_bits_float(greatest) / (kind == INT_2 ? 3.0f : code_most(kind));
	return int_scale_round(format, scale, most, false);
}

/* How a block's codes are made: a block of zeros has always the same bytes, so it draws nothing. */
enum rounding { ROUND_NEAREST, ROUND_CLAMPED, ROUND_DRAWN };

LANE enum rounding rounding_of(enum int_kind kind, bool stochastic, struct coder c)
{
	if (stochastic && c.s > 0)
		return ROUND_DRAWN;
	return kind == INT_2 || c.clamp ? ROUND_CLAMPED : ROUND_NEAREST;
}

LANE void code_any(enum int_kind kind, bool stochastic, enum residual_store store, struct coder c,
		   const float *p, size_t count, struct ahead ahead, unsigned char *out,
		   float *left)
{
	switch (rounding_of(kind, stochastic, c)) {
	case ROUND_DRAWN: code_block(kind, true, true, store, c, p, count, ahead, out, left); break;
	case ROUND_CLAMPED:
		code_block(kind, false, true, store, c, p, count, ahead, out, left);
		break;
	case ROUND_NEAREST:
		code_block(kind, false, false, store, c, p, count, ahead, out, left);
		break;
	}
}

/* Blocks that fit in p, and what turns them into codes. */
struct batch {
	float p[INT_BLOCK_MAX] __attribute__((aligned(64)));
	uint32_t greatest[BATCH / INT_BLOCK_MIN]; /* bits of |p| in a block */
	struct coder coder[BATCH / INT_BLOCK_MIN];
};

LANE size_t block_length(size_t block, size_t count, size_t at)
{
	return count % block && count - at < block ? count - at : block;
}

/* Return: the greatest bits of |p| in the batch. */
LANE uint32_t batch_read(enum residual_store store, const struct codec_input *input, size_t first,
			 size_t block, size_t count, struct batch *batch)
{
	uint32_t most = 0;

	for (size_t at = 0, n = 0; at < count; at += block, n++) {
		float *soon = store == RESIDUAL_KEEP ? input->residual_out + first + at : NULL;
		uint32_t greatest = source_any(input, first + at, soon,
					       block_length(block, count, at), batch->p + at);

		batch->greatest[n] = greatest;
		most = greatest > most ? greatest : most;
	}
	return most;
}

/* Of all blocks before the first is coded, so that none waits for the division of one block. */
LANE void batch_scales(enum int_kind kind, bool stochastic, enum int_scale format,
		       const struct codec_input *input, size_t first, size_t block, size_t count,
		       struct batch *batch)
{
	for (size_t at = 0, n = 0; at < count; at += block, n++) {
		float s = block_scale(kind, stochastic, format, batch->p + at,
				      block_length(block, count, at), batch->greatest[n]);

		batch->coder[n] = (struct coder){
			.s = s,
			.inverse = s > 0 ? (kind == INT_2 ? 0.5f : 1.0f) / s : 0,
			.key = random_key_at(input->rank_key, input->first + first + at),
			.element = (uint32_t)(input->first + first + at),
			.clamp = s >= int_scale_max(kind, format),
		};
	}
}

/* What was read becomes codes. */
LANE void batch_code(enum int_kind kind, bool stochastic, enum residual_store store,
		     enum int_scale format, const struct codec_input *input, size_t first,
		     size_t block, size_t count, struct batch *batch, unsigned char **out)
{
	size_t ahead = first + (input->count - first >= 2 * count ? count : 0);
	const float *residual = input->residual ? input->residual : input->in;

	batch_scales(kind, stochastic, format, input, first, block, count, batch);
	for (size_t at = 0, n = 0; at < count; at += block, n++) {
		size_t length = block_length(block, count, at);
		struct ahead next = {input->in + ahead + at, residual + ahead + at};

		*out = int_scale_put(format, batch->coder[n].s, *out);
		code_any(kind, stochastic, store, batch->coder[n], batch->p + at, length, next,
			 *out, store == RESIDUAL_NONE ? NULL : input->residual_out + first + at);
		*out += int_code_bytes(kind, length);
	}
}

/*
 * A batch, step by step, so that none waits for the maximum of one block.  What the caller knows of
 * format, block and count, the compiler does, too: then blocks have no ends.
 * Return: the greatest bits of |p|.
 */
LANE uint32_t encode_batch(enum int_kind kind, bool stochastic, enum residual_store store,
			   enum int_scale format, const struct codec_input *input, size_t first,
			   size_t block, size_t count, unsigned char **out)
{
	struct batch batch;
	uint32_t most = batch_read(store, input, first, block, count, &batch);

	if (most < CODEC_NONFINITE_BITS)
		batch_code(kind, stochastic, store, format, input, first, block, count, &batch,
			   out);
	return most;
}

/* A block that is coded, and the same block of the next batch, which is read meanwhile. */
struct step {
	struct block block;
	unsigned char *out;
	const float *next_in, *next_residual;
	float next_scale;
	float *next_p;
};

LANE uint32_t step_block(enum int_kind kind, bool stochastic, bool clamp, struct step s,
			 size_t count)
{
	const enum residual_store away = RESIDUAL_AWAY;
	u32x16 greatest[2] = {u_set(0), u_set(0)}, codes[4];

	for (size_t at = 0; at < count; at += 4 * LANE_COUNT) {
		for (size_t i = 0; i < 4; i++) {
			size_t line = at + i * LANE_COUNT;

			greatest[i % 2] =
				source_line(SOURCE_SCALED, s.next_in + line, s.next_residual + line,
					    s.next_scale, s.next_p + line, greatest[i % 2]);
			codes[i] = code_line(kind, stochastic, clamp, away, &s.block, line);
		}
		/* Stores are done in order: one that misses would hold up the residual's. */
		__builtin_prefetch(
			(void *)((uintptr_t)s.out + int_code_bytes(kind, at) + OUT_AHEAD), 1);
		narrow_64(kind, s.out + int_code_bytes(kind, at), codes[0], codes[1], codes[2],
			  codes[3]);
	}
	return u_most(u_max(greatest[0], greatest[1]));
}

LANE uint32_t step_any(enum int_kind kind, bool stochastic, struct step s, size_t count)
{
	switch (rounding_of(kind, stochastic, s.block.coder)) {
	case ROUND_DRAWN: return step_block(kind, true, true, s, count);
	case ROUND_CLAMPED: return step_block(kind, false, true, s, count);
	case ROUND_NEAREST: break;
	}
	return step_block(kind, false, false, s, count);
}

/*
 * The second half of one batch and the first half of the next in one loop.
 * Return: the greatest bits of |p| in the next one.
 */
LANE uint32_t code_and_read(enum int_kind kind, bool stochastic, const struct codec_input *input,
			    size_t first, size_t block, const struct batch *batch,
			    struct batch *next, unsigned char **out)
{
	size_t ahead = first + BATCH + (input->count - first >= 3 * BATCH ? BATCH : 0);
	uint32_t most = 0;

	for (size_t at = 0, n = 0; at < BATCH; at += block, n++) {
		size_t from = first + BATCH + at;
		unsigned char *codes = int_scale_put(INT_FP16, batch->coder[n].s, *out);
		struct step s = {
			.block = {batch->coder[n],
				  batch->p + at,
				  {input->in + ahead + at, input->residual + ahead + at},
				  input->residual_out + first + at},
			.out = codes,
			.next_in = input->in + from,
			.next_residual = input->residual + from,
			.next_scale = input->residual_scale,
			.next_p = next->p + at,
		};

		next->greatest[n] = step_any(kind, stochastic, s, block);
		most = next->greatest[n] > most ? next->greatest[n] : most;
		*out = codes + int_code_bytes(kind, block);
	}
	return most;
}

/*
 * All whole batches, of usual blocks; there is one at least.  *done: elements coded.
 * Return: the greatest bits of |p| in the batch that was read last; no other was nonfinite.
 */
LANE uint32_t encode_steps(enum int_kind kind, bool stochastic, const struct codec_input *input,
			   size_t block, unsigned char **out, size_t *done)
{
	struct batch batch[2];
	uint32_t most = batch_read(RESIDUAL_AWAY, input, 0, block, BATCH, &batch[0]);
	size_t at = 0, n = 0;

	for (; input->count - at >= 2 * BATCH && most < CODEC_NONFINITE_BITS; at += BATCH, n ^= 1) {
		batch_scales(kind, stochastic, INT_FP16, input, at, block, BATCH, &batch[n]);
		most = code_and_read(kind, stochastic, input, at, block, &batch[n], &batch[n ^ 1],
				     out);
	}
	if (most < CODEC_NONFINITE_BITS)
		batch_code(kind, stochastic, RESIDUAL_AWAY, INT_FP16, input, at, block, BATCH,
			   &batch[n], out);
	*done = at + BATCH;
	return most;
}

LANE uint32_t encode_all(enum int_kind kind, bool stochastic, enum residual_store store,
			 const struct codec_setting *s, const struct codec_input *input,
			 unsigned char *out)
{
	const size_t usual = kind == INT_8 ? 256 : kind == INT_4 ? 128 : 64;
	size_t batch = s->block > BATCH ? s->block : BATCH, at = 0, left;
	uint32_t most = 0;

	if (s->block == usual && s->scale == INT_FP16) {
		if (store == RESIDUAL_AWAY && input->residual && input->count >= BATCH)
			most = encode_steps(kind, stochastic, input, usual, &out, &at);
		for (; input->count - at >= BATCH && most < CODEC_NONFINITE_BITS; at += BATCH)
			most = encode_batch(kind, stochastic, store, INT_FP16, input, at, usual,
					    BATCH, &out);
	}
	for (; at < input->count && most < CODEC_NONFINITE_BITS; at += batch) {
		left = input->count - at;
		most = encode_batch(kind, stochastic, store, (enum int_scale)s->scale, input, at,
				    s->block, left < batch ? left : batch, &out);
	}
	if (store == RESIDUAL_AWAY)
		stream_end();
	return most;
}

#define ENCODE(name, kind, stochastic)                                                       \
	static uint32_t name(const struct codec_setting *s, const struct codec_input *input, \
			     unsigned char *out)                                             \
	{                                                                                    \
		if (!input->residual_out)                                                    \
			return encode_all(kind, stochastic, RESIDUAL_NONE, s, input, out);   \
		if (input->away && (uintptr_t)input->residual_out % 64 == 0)                 \
			return encode_all(kind, stochastic, RESIDUAL_AWAY, s, input, out);   \
		return encode_all(kind, stochastic, RESIDUAL_KEEP, s, input, out);           \
	}

ENCODE(encode_8, INT_8, false)
ENCODE(encode_4, INT_4, false)
ENCODE(encode_2, INT_2, false)
ENCODE(encode_8_stochastic, INT_8, true)
ENCODE(encode_4_stochastic, INT_4, true)
ENCODE(encode_2_stochastic, INT_2, true)

#include "compress/codec_int_decode_loops.h"

#define JOIN(a, b) a##b
#define STRUCT_OF(variant) JOIN(int_, variant)

const struct int_kernels STRUCT_OF(VARIANT) = {
	.encode = {{encode_8, encode_8_stochastic},
		   {encode_4, encode_4_stochastic},
		   {encode_2, encode_2_stochastic}},
	.decode = {decode_8, decode_4, decode_2},
	.decode_add = {decode_8_add, decode_4_add, decode_2_add},
};
