/*
 * codec_sign_loops.h - the loops of sign_kernels for one CPU variant: included by each
 * codec_sign_VARIANT.c once, which defines before it
 *
 *   types      v16: 16 floats; sums16: 16 doubles
 *   memory     v16 load16(from); store16(to, v), stream16(to, v): past the caches, to aligned to 64
 *   numbers    splat16(x), add16(a, b), subtract16(a, b), multiply16(a, b), magnitudes16(v)
 *   signs      unsigned below_zero16(v): bit i for element i
 *              v16 by_sign16(v, plus, minus): element by element v < 0 ? minus : plus
 *              v16 by_bits16(bits, plus, minus): the same by bits
 *   sums       sums16 sums_zero(void), sums_add(s, v), sums_squares(s, v): s + v, s + v^2
 *              void sums_store(to, s): to double[16]
 *   void fence(void)   orders what was streamed
 *   VARIANT    its name; the table will be sign_VARIANT
 *
 * What is left at the end is padded with zeros, which add nothing.
 */
enum { LANES = 16 };

INLINE double sums_total(sums16 s)
{
	double sum[LANES];

	sums_store(sum, s);
	for (size_t width = LANES / 2; width; width /= 2)
		for (size_t i = 0; i < width; i++)
			sum[i] += sum[i + width];
	return sum[0];
}

INLINE v16 source(const float *in, const float *residual, v16 scale, bool feedback)
{
	v16 p = load16(in);

	return feedback ? add16(p, multiply16(scale, load16(residual))) : p;
}

/*
 * What follows a block is fetched while the block is worked on: memory would be idle when the
 * residual is made.  Beyond the end of a vector it is in vain, but does no harm.
 */
INLINE void ahead(const float *at)
{
	enum { AHEAD = 1024 }; /* elements: a usual block */

	__builtin_prefetch((const void *)((uintptr_t)at + AHEAD * sizeof(*at)));
}

/* Of the elements whose p is known: signs and sum. */
struct pack {
	v16 even, odd; /* partial sums of |p| of a group, by 16 elements in turn */
	sums16 sums;
};

INLINE void pack_16(struct pack *pack, v16 *part, unsigned char *bits, float *p, v16 v,
		    bool squares)
{
	unsigned int below = below_zero16(v);

	store16(p, v);
	bits[0] = (unsigned char)below;
	bits[1] = (unsigned char)(below >> 8);
	if (squares)
		pack->sums = sums_squares(pack->sums, v);
	else
		*part = add16(*part, magnitudes16(v));
}

/* The second pass.  away: past the caches, to aligned to 64. */
INLINE void residual_16(float *out, const float *p, v16 plus, v16 minus, bool away)
{
	v16 v = load16(p), left = subtract16(v, by_sign16(v, plus, minus));

	if (away)
		stream16(out, left);
	else
		store16(out, left);
}

INLINE void pack_as(struct pack *pack, unsigned char *bits, float *p, const float *in,
		    const float *residual, float residual_scale, size_t count, bool feedback,
		    bool squares, bool away, const struct sign_pending *pending)
{
	const struct sign_pending before = pending ? *pending : (struct sign_pending){0};
	v16 scale = splat16(residual_scale);
	v16 plus = splat16(before.scale), minus = splat16(-before.scale);

	for (size_t first = 0; first < count; first += SIGN_GROUP) {
		size_t end = count - first < SIGN_GROUP ? count : first + SIGN_GROUP;

		pack->even = splat16(0);
		pack->odd = splat16(0);
		for (size_t i = first; i < end; i += 2 * LANES) {
			const float *r = (feedback ? residual : in) + i;

			for (size_t line = 0; away && line < 2 * LANES; line += LANES) {
				ahead(in + i + line);
				if (feedback)
					ahead(r + line);
			}
			pack_16(pack, &pack->even, bits + i / 8, p + i,
				source(in + i, r, scale, feedback), squares);
			pack_16(pack, &pack->odd, bits + i / 8 + 2, p + i + LANES,
				source(in + i + LANES, r + LANES, scale, feedback), squares);
			for (size_t line = 0; pending && line < 2 * LANES; line += LANES)
				residual_16(before.out + i + line, before.p + i + line, plus, minus,
					    true);
		}
		if (!squares)
			pack->sums = sums_add(pack->sums, add16(pack->even, pack->odd));
	}
}

INLINE double pack_all(unsigned char *bits, float *p, const float *in, const float *residual,
		       float residual_scale, size_t count, bool feedback, bool squares, bool away,
		       const struct sign_pending *pending)
{
	size_t left = count % SIGN_GROUP, whole = count - left;
	float rest[3][SIGN_GROUP]; /* in, residual, p */
	unsigned char rest_bits[SIGN_GROUP / 8];
	struct pack pack = {.sums = sums_zero()};

	if (pending)
		pack_as(&pack, bits, p, in, residual, residual_scale, whole, feedback, squares,
			true, pending);
	else if (away)
		pack_as(&pack, bits, p, in, residual, residual_scale, whole, feedback, squares,
			true, NULL);
	else
		pack_as(&pack, bits, p, in, residual, residual_scale, whole, feedback, squares,
			false, NULL);
	if (left) {
		size_t padded = (left + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);

		memset(rest, 0, sizeof(rest));
		memcpy(rest[0], in + whole, left * sizeof(float));
		if (feedback)
			memcpy(rest[1], residual + whole, left * sizeof(float));
		pack_as(&pack, rest_bits, rest[2], rest[0], rest[1], residual_scale, padded,
			feedback, squares, false, NULL);
		memcpy(p + whole, rest[2], left * sizeof(float));
		memcpy(bits + whole / 8, rest_bits, (left + 7) / 8);
	}
	return sums_total(pack.sums);
}

static double sign_pack(unsigned char *bits, float *p, const float *in, const float *residual,
			float residual_scale, size_t count, bool squares, bool away,
			const struct sign_pending *pending)
{
	if (residual && squares)
		return pack_all(bits, p, in, residual, residual_scale, count, true, true, away,
				pending);
	if (residual)
		return pack_all(bits, p, in, residual, residual_scale, count, true, false, away,
				pending);
	if (squares)
		return pack_all(bits, p, in, NULL, 0, count, false, true, away, pending);
	return pack_all(bits, p, in, NULL, 0, count, false, false, away, pending);
}

static void sign_residual(float *out, const float *p, float scale, size_t count, bool away)
{
	v16 plus = splat16(scale), minus = splat16(-scale);
	size_t whole = count - count % LANES, left = count % LANES;
	float rest[LANES] = {0};

	if (away && (uintptr_t)out % 64 == 0) {
		for (size_t i = 0; i < whole; i += LANES)
			residual_16(out + i, p + i, plus, minus, true);
	} else {
		for (size_t i = 0; i < whole; i += LANES)
			residual_16(out + i, p + i, plus, minus, false);
	}
	if (left) {
		memcpy(rest, p + whole, left * sizeof(float));
		residual_16(rest, rest, plus, minus, false);
		memcpy(out + whole, rest, left * sizeof(float));
	}
}

INLINE unsigned int bits_at(const unsigned char *bits, size_t i)
{
	return bits[i / 8] | (unsigned int)bits[i / 8 + 1] << 8;
}

enum unpack { UNPACK, UNPACK_AWAY, UNPACK_ADD };

INLINE void unpack_as(float *out, const unsigned char *bits, float scale, size_t count,
		      enum unpack how)
{
	bool add = how == UNPACK_ADD;
	v16 plus = splat16(scale), minus = splat16(-scale);
	size_t whole = count - count % LANES, left = count % LANES;
	float rest[LANES] = {0};

	for (size_t i = 0; i < whole; i += LANES) {
		v16 v = by_bits16(bits_at(bits, i), plus, minus);

		if (how == UNPACK_AWAY)
			stream16(out + i, v);
		else
			store16(out + i, add ? add16(load16(out + i), v) : v);
	}
	if (left) {
		unsigned int last = left > 8 ? bits_at(bits, whole) : bits[whole / 8];
		v16 v = by_bits16(last, plus, minus);

		if (add)
			memcpy(rest, out + whole, left * sizeof(float));
		store16(rest, add ? add16(load16(rest), v) : v);
		memcpy(out + whole, rest, left * sizeof(float));
	}
}

static void sign_unpack(float *out, const unsigned char *bits, float scale, size_t count, bool away)
{
	if (away && (uintptr_t)out % 64 == 0)
		unpack_as(out, bits, scale, count, UNPACK_AWAY);
	else
		unpack_as(out, bits, scale, count, UNPACK);
}

static void sign_unpack_add(float *sum, const unsigned char *bits, float scale, size_t count)
{
	unpack_as(sum, bits, scale, count, UNPACK_ADD);
}

#define PASTE(a, b) a##b
#define NAMED(a, b) PASTE(a, b)

const struct sign_kernels NAMED(sign_, VARIANT) = {
	.pack = sign_pack,
	.residual = sign_residual,
	.unpack = sign_unpack,
	.unpack_add = sign_unpack_add,
	.fence = fence,
};
