/*
 * codec_sparse_loops.h - the loops of codec_sparse_kernels.h for one CPU variant.  Each
 * codec_sparse_VARIANT.c includes it once; before it, it defines
 *
 *   VARIANT                                    its name; the table will be sparse_VARIANT
 *   uint64_t mask_of(const float *p, uint32_t least)   the mask of one group
 *   size_t collect_group(const float *p, const uint32_t *from, uint64_t mask, uint32_t first,
 *                        uint32_t *index, float *value)
 *                                              as sparse_one_by_one(); room for a group
 *   size_t expand_line(const float *value, uint32_t kept, float *out)
 *   size_t expand_add_line(const float *value, uint32_t kept, float weight, float *sum)
 *                                              16 elements, one for each bit; how many bits
 *   void copy_line(float *out, const unsigned char *bytes)   16 elements; bytes: any alignment
 *   void stream_line(float *out, const float *p)       16 elements, out aligned to 64
 *   void stream_end(void)                              orders what was streamed
 *
 * The trip counts of the innermost loops are constant, so that compilers make them wide.
 */
#include "compress/inline.h"

enum { LINE = 16 }; /* elements of a cache line */

/*
 * What follows a tile is fetched while the tile is worked on: memory would be idle then.  Beyond
 * the end of a vector it is in vain, but does no harm.
 */
INLINE void ahead(const float *at)
{
	uintptr_t next = (uintptr_t)at + SPARSE_TILE * sizeof(*at);

	__builtin_prefetch((const void *)next);
}

INLINE uint32_t magnitude_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits & 0x7fffffffu;
}

/* One group of p; the greatest magnitudes are kept lane by lane. */
INLINE void source_group(const float *restrict in, const float *restrict residual, bool feedback,
			 float scale, float *restrict p, uint32_t *restrict greatest)
{
	for (size_t i = 0; i < SPARSE_GROUP; i += LINE) {
		ahead(in + i);
		if (feedback)
			ahead(residual + i);
	}
	for (size_t i = 0; i < SPARSE_GROUP; i++)
		p[i] = feedback ? in[i] + scale * residual[i] : in[i];
	for (size_t line = 0; line < SPARSE_GROUP; line += LINE)
		for (size_t i = 0; i < LINE; i++) {
			uint32_t magnitude = magnitude_of(p[line + i]);

			greatest[i] = magnitude > greatest[i] ? magnitude : greatest[i];
		}
}

INLINE uint32_t greatest_of(const uint32_t greatest[LINE])
{
	uint32_t most = 0;

	for (size_t i = 0; i < LINE; i++)
		most = greatest[i] > most ? greatest[i] : most;
	return most;
}

static uint32_t source(const float *in, const float *residual, float scale, float *p, size_t count)
{
	float rest_in[SPARSE_GROUP] = {0}, rest_residual[SPARSE_GROUP] = {0};
	uint32_t greatest[LINE] = {0};
	size_t at = 0, left = count % SPARSE_GROUP;

	if (residual)
		for (; at + SPARSE_GROUP <= count; at += SPARSE_GROUP)
			source_group(in + at, residual + at, true, scale, p + at, greatest);
	else
		for (; at + SPARSE_GROUP <= count; at += SPARSE_GROUP)
			source_group(in + at, in + at, false, 0, p + at, greatest);
	if (left) {
		memcpy(rest_in, in + at, left * sizeof(*in));
		if (residual)
			memcpy(rest_residual, residual + at, left * sizeof(*in));
		source_group(rest_in, rest_residual, residual != NULL, scale, p + at, greatest);
	}
	return greatest_of(greatest);
}

INLINE uint32_t put_source_as(float *restrict left, const float *restrict before, const float *in,
			      const float *residual, bool feedback, float scale, float *p)
{
	uint32_t greatest[LINE] = {0};

	for (size_t at = 0; at < SPARSE_TILE; at += SPARSE_GROUP) {
		source_group(in + at, residual + at, feedback, scale, p + at, greatest);
		for (size_t line = at; line < at + SPARSE_GROUP; line += LINE)
			stream_line(left + line, before + line);
	}
	return greatest_of(greatest);
}

static uint32_t put_source(float *left, const float *before, const float *in, const float *residual,
			   float scale, float *p)
{
	return residual ? put_source_as(left, before, in, residual, true, scale, p)
			: put_source_as(left, before, in, in, false, 0, p);
}

/* A tile at a time: its masks first, so that they need not wait for branches on each. */
INLINE size_t collect_tile(const float *p, const uint32_t *from, size_t count, uint32_t first,
			   uint64_t masks[SPARSE_MASKS], uint32_t *index, float *value)
{
	size_t groups = (count + SPARSE_GROUP - 1) / SPARSE_GROUP, n = 0;

	if (count % SPARSE_GROUP) /* the zeros after p are none of it */
		masks[groups - 1] &= ((uint64_t)1 << count % SPARSE_GROUP) - 1;
	for (size_t g = 0; g < groups; g++) {
		size_t at = g * SPARSE_GROUP;

		n += collect_group(p + at, from ? from + at : NULL, masks[g], first + (uint32_t)at,
				   index + n, value + n);
	}
	return n;
}

INLINE size_t collect_all(const float *p, const uint32_t *from, size_t count, uint32_t first,
			  uint32_t least, uint32_t *index, float *value)
{
	uint64_t masks[SPARSE_MASKS];
	size_t n = 0;

	for (size_t tile = 0; tile < count; tile += SPARSE_TILE) {
		size_t left = count - tile < SPARSE_TILE ? count - tile : SPARSE_TILE;

		for (size_t at = 0; at < left; at += SPARSE_GROUP)
			masks[at / SPARSE_GROUP] = mask_of(p + tile + at, least);
		n += collect_tile(p + tile, from ? from + tile : NULL, left, first + (uint32_t)tile,
				  masks, index + n, value + n);
	}
	return n;
}

static size_t collect(const float *p, size_t count, uint32_t first, uint32_t least, uint32_t *index,
		      float *value)
{
	return collect_all(p, NULL, count, first, least, index, value);
}

/* In place: what is kept moves to where everything was read already. */
static size_t filter(uint32_t *index, float *value, size_t count, uint32_t least)
{
	return collect_all(value, index, count, 0, least, index, value);
}

static size_t count_of(const float *p, size_t groups, uint32_t least)
{
	size_t n = 0;

	for (size_t g = 0; g < groups; g++)
		n += (size_t)__builtin_popcountll(mask_of(p + g * SPARSE_GROUP, least));
	return n;
}

/*
 * Between two magnitudes their numbers say where to look.  The side that stays twice counts for
 * less (the Illinois algorithm), and each fourth step halves what is left, whatever the numbers.
 * No branch but the loop's: which side is next is as good as random.
 */
static uint32_t between(const float *p, size_t groups, size_t keep, struct sparse_reach low,
			uint32_t high, uint32_t apart)
{
	enum { ONE = 256 };
	uint64_t more = (low.count - keep) * ONE + ONE / 2, fewer = keep * ONE;
	bool raised = false, lowered = false;

	for (unsigned int step = 1; high - low.magnitude > apart; step++) {
		uint64_t room = high - low.magnitude;
		uint64_t share = step % 4 ? room * more / (more + fewer) : room / 2;
		uint32_t at = low.magnitude + (uint32_t)(share ? share : 1);
		size_t n = count_of(p, groups, at);
		bool raise = n > keep;

		if (n == keep)
			return at;
		more = raise ? (n - keep) * ONE + ONE / 2 : more >> lowered;
		fewer = raise ? fewer >> raised : (keep - n) * ONE + ONE / 2;
		low.magnitude = raise ? at : low.magnitude;
		high = raise ? high : at;
		raised = raise;
		lowered = !raise;
	}
	return low.magnitude;
}

static void put(float *out, const float *p, size_t count, bool away)
{
	if (away && ((uintptr_t)out & 63) == 0)
		for (; count >= LINE; count -= LINE, out += LINE, p += LINE)
			stream_line(out, p);
	memcpy(out, p, count * sizeof(*p));
}

static void pass(float *out, const float *p, size_t count, bool away)
{
	if (away && ((uintptr_t)out & 63) == 0) {
		for (; count >= LINE; count -= LINE, out += LINE, p += LINE) {
			ahead(p);
			stream_line(out, p);
		}
	} else {
		for (size_t i = 0; i < count; i += LINE)
			ahead(p + i);
	}
	memcpy(out, p, count * sizeof(*p));
}

INLINE float lost(float value, bool narrowed)
{
	return narrowed ? value - sparse_widen(sparse_narrow(value)) : 0;
}

/* What is not sent of a group: chosen by bits, as compilers take no register for a condition. */
INLINE void left_group(const float *restrict p, uint32_t least, bool narrowed, float *restrict left)
{
	for (size_t i = 0; i < SPARSE_GROUP; i++) {
		float rest = lost(p[i], narrowed);
		uint32_t below = 0u - ((magnitude_of(p[i]) - least) >> 31);
		uint32_t all, part;

		memcpy(&all, &p[i], sizeof(all));
		memcpy(&part, &rest, sizeof(part));
		part = (all & below) | (part & ~below);
		memcpy(&left[i], &part, sizeof(part));
	}
}

INLINE size_t reach_as(const struct sparse_tile *t, uint32_t *most, bool feedback, bool narrowed,
		       bool away)
{
	_Alignas(64) float p[SPARSE_TILE], left[SPARSE_GROUP];
	uint64_t masks[SPARSE_MASKS];
	uint32_t greatest[LINE] = {0};

	for (size_t at = 0; at < t->count; at += SPARSE_GROUP) {
		source_group(t->in + at, (feedback ? t->residual : t->in) + at, feedback, t->scale,
			     p + at, greatest);
		masks[at / SPARSE_GROUP] = mask_of(p + at, t->least);
		left_group(p + at, t->least, narrowed, left);
		for (size_t line = 0; away && line < SPARSE_GROUP; line += LINE)
			stream_line(t->left + at + line, left + line);
		if (!away)
			memcpy(t->left + at, left, sizeof(left));
	}
	for (size_t i = 0; i < LINE; i++)
		*most = greatest[i] > *most ? greatest[i] : *most;
	return collect_tile(p, NULL, t->count, t->first, masks, t->index, t->value);
}

/* A tile that ends within a group. */
static size_t reach_rest(const struct sparse_tile *t, uint32_t *most)
{
	_Alignas(64) float p[SPARSE_TILE];
	uint32_t greatest = source(t->in, t->residual, t->scale, p, t->count);
	size_t n = collect(p, t->count, t->first, t->least, t->index, t->value);

	*most = greatest > *most ? greatest : *most;
	for (size_t i = 0; i < n; i++)
		p[t->index[i] - t->first] = lost(t->value[i], t->narrow);
	put(t->left, p, t->count, t->away);
	return n;
}

static size_t reach(const struct sparse_tile *t, uint32_t *most)
{
	bool away = t->away && ((uintptr_t)t->left & 63) == 0;

	if (t->count % SPARSE_GROUP)
		return reach_rest(t, most);
	if (t->residual && !t->narrow)
		return away ? reach_as(t, most, true, false, true)
			    : reach_as(t, most, true, false, false);
	if (t->residual)
		return away ? reach_as(t, most, true, true, true)
			    : reach_as(t, most, true, true, false);
	return t->narrow ? reach_as(t, most, false, true, false)
			 : reach_as(t, most, false, false, false);
}

INLINE void left_as(const struct sparse_tile *t, bool narrowed, bool away)
{
	_Alignas(64) float left[SPARSE_GROUP];

	for (size_t at = 0; at < t->count; at += SPARSE_GROUP) {
		left_group(t->in + at, t->least, narrowed, left);
		for (size_t line = 0; line < SPARSE_GROUP; line += LINE) {
			if (away)
				stream_line(t->left + at + line, left + line);
			else
				memcpy(t->left + at + line, left + line, LINE * sizeof(*left));
		}
	}
}

static bool split(const struct sparse_tile *t, size_t keep, unsigned char *bitmap)
{
	bool away = t->away && ((uintptr_t)t->left & 63) == 0;
	uint64_t masks[SPARSE_MASKS];
	size_t n = 0;

	for (size_t at = 0; at < t->count; at += SPARSE_GROUP) {
		uint64_t mask = mask_of(t->in + at, t->least);

		masks[at / SPARSE_GROUP] = mask;
		n += (size_t)__builtin_popcountll(mask);
	}
	if (n != keep)
		return false;
	memcpy(bitmap, masks, t->count / 8);
	if (t->left && t->narrow && away)
		left_as(t, true, true);
	else if (t->left && t->narrow)
		left_as(t, true, false);
	else if (t->left && away)
		left_as(t, false, true);
	else if (t->left)
		left_as(t, false, false);
	return true;
}

static void narrow(const float *value, size_t count, unsigned char *out)
{
	uint16_t narrowed[LINE];
	float rest[LINE] = {0};

	for (; count >= LINE; count -= LINE, value += LINE, out += sizeof(narrowed)) {
		for (size_t i = 0; i < LINE; i++)
			narrowed[i] = sparse_narrow(value[i]);
		memcpy(out, narrowed, sizeof(narrowed));
	}
	memcpy(rest, value, count * sizeof(*value));
	for (size_t i = 0; i < LINE; i++)
		narrowed[i] = sparse_narrow(rest[i]);
	memcpy(out, narrowed, count * sizeof(*narrowed));
}

typedef uint32_t any_u32 __attribute__((aligned(1), may_alias));
typedef uint16_t any_u16 __attribute__((aligned(1), may_alias));

/*
 * One line of values, not by memcpy(): compilers copy in small pieces, and a larger load would wait
 * for them.  Float32's not by a loop either: gcc makes memcpy() of it.
 */
INLINE void read_line(const unsigned char *restrict bytes, bool narrowed, float *restrict value,
		      uint32_t *restrict greatest)
{
	const any_u16 *restrict narrow = (const void *)bytes;
	any_u32 *restrict to = (void *)value;

	if (!narrowed)
		copy_line(value, bytes);
	for (size_t i = 0; i < LINE; i++) {
		uint32_t bits = narrowed ? (uint32_t)narrow[i] << 16 : to[i];
		uint32_t magnitude = bits & 0x7fffffffu;

		if (narrowed)
			to[i] = bits;
		greatest[i] = magnitude > greatest[i] ? magnitude : greatest[i];
	}
}

INLINE uint32_t read_as(const unsigned char *bytes, bool narrowed, size_t count, float *value)
{
	size_t width = narrowed ? sizeof(uint16_t) : sizeof(float);
	uint32_t greatest[LINE] = {0};
	unsigned char rest[LINE * sizeof(float)] = {0};
	float last[LINE] = {0};

	for (; count >= LINE; count -= LINE, bytes += LINE * width, value += LINE)
		read_line(bytes, narrowed, value, greatest);
	memcpy(rest, bytes, count * width);
	read_line(rest, narrowed, last, greatest);
	memcpy(value, last, count * sizeof(*value));
	return greatest_of(greatest);
}

static uint32_t read_values(const unsigned char *bytes, bool narrowed, size_t count, float *value)
{
	return narrowed ? read_as(bytes, true, count, value) : read_as(bytes, false, count, value);
}

static size_t ones(const unsigned char *bitmap, size_t count)
{
	size_t length = (count + 7) / 8, n = 0, at = 0;
	uint64_t word = 0;

	for (; at + sizeof(word) <= length; at += sizeof(word)) {
		memcpy(&word, bitmap + at, sizeof(word));
		n += (size_t)__builtin_popcountll(word);
	}
	word = 0;
	memcpy(&word, bitmap + at, length - at);
	return n + (size_t)__builtin_popcountll(word);
}

/* The bits of the line at an element. */
INLINE uint32_t line_bits(const unsigned char *bitmap, size_t at)
{
	uint16_t bits;

	memcpy(&bits, bitmap + at / 8, sizeof(bits));
	return bits;
}

static void expand(const unsigned char *bitmap, const float *value, size_t count, float *out)
{
	size_t at = 0;

	for (; at + LINE <= count; at += LINE)
		value += expand_line(value, line_bits(bitmap, at), out + at);
	for (; at < count; at++)
		out[at] = bitmap[at / 8] >> at % 8 & 1 ? *value++ : 0;
}

static void expand_add(const unsigned char *bitmap, const float *value, float weight, size_t count,
		       float *sum)
{
	size_t at = 0;

	for (; at + LINE <= count; at += LINE)
		value += expand_add_line(value, line_bits(bitmap, at), weight, sum + at);
	for (; at < count; at++)
		if (bitmap[at / 8] >> at % 8 & 1)
			sum[at] += weight * *value++;
}

#define JOIN(a, b) a##b
#define STRUCT_OF(variant) JOIN(sparse_, variant)

const struct sparse_kernels STRUCT_OF(VARIANT) = {
	.source = source,
	.put_source = put_source,
	.collect = collect,
	.filter = filter,
	.reach = reach,
	.split = split,
	.between = between,
	.narrow = narrow,
	.read = read_values,
	.ones = ones,
	.expand = expand,
	.expand_add = expand_add,
	.put = put,
	.pass = pass,
	.fence = stream_end,
};
