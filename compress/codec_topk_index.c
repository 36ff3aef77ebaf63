/* codec_topk_index.c - see codec_topk_index.h. */
#include "compress/codec_topk_index.h"

#include <errno.h>
#include <string.h>

static size_t bytes_of(size_t bits)
{
	return (bits + 7) / 8;
}

static size_t blocks_of(size_t count)
{
	return (count + TOPK_BLOCK - 1) / TOPK_BLOCK;
}

/* --- bits --------------------------------------------------------------------------------- */

enum { WIDE = 56 }; /* bits that put_wide() takes */

void topk_bits_put(struct topk_bits *bits, uint32_t value, unsigned int width)
{
	uint32_t low;

	bits->word |= (uint64_t)value << bits->held;
	bits->held += width;
	if (bits->held < 32)
		return;
	low = (uint32_t)bits->word;
	memcpy(bits->out, &low, sizeof(low));
	bits->out += sizeof(low);
	bits->word >>= 32;
	bits->held -= 32;
}

void topk_bits_end(struct topk_bits *bits)
{
	memcpy(bits->out, &bits->word, bytes_of(bits->held));
	bits->out += bytes_of(bits->held);
	bits->held = 0;
}

/*
 * As topk_bits_put(), for up to WIDE bits where fewer than 8 are held, and without a branch: how
 * many bits come is as good as random.  Eight bytes are written, so as many must be free.
 */
static inline void put_wide(struct topk_bits *bits, uint64_t value, unsigned int width)
{
	bits->word |= value << bits->held;
	bits->held += width;
	memcpy(bits->out, &bits->word, sizeof(bits->word));
	bits->out += bits->held / 8;
	bits->word >>= bits->held / 8 * 8;
	bits->held %= 8;
}

/* So that fewer than 8 are held. */
static void whole_bytes(struct topk_bits *bits)
{
	for (; bits->held >= 8; bits->held -= 8, bits->word >>= 8)
		*bits->out++ = (unsigned char)bits->word;
}

/* Eight bytes from `at` on, zeros beyond the end. */
static uint64_t word_at(const unsigned char *bytes, size_t length, size_t at)
{
	uint64_t word = 0;

	if (length - at >= sizeof(word))
		memcpy(&word, bytes + at, sizeof(word)); /* a load; the other is a call */
	else
		memcpy(&word, bytes + at, length - at);
	return word;
}

uint32_t topk_bits_get(const unsigned char *bytes, size_t length, size_t at, unsigned int width)
{
	uint64_t word = word_at(bytes, length, at / 8) >> at % 8;

	return (uint32_t)(word & (((uint64_t)1 << width) - 1));
}

bool topk_bits_spare(const unsigned char *bytes, size_t length, size_t used)
{
	if (used % 8 && bytes[used / 8] >> used % 8)
		return false;
	for (size_t i = bytes_of(used); i < length; i++)
		if (bytes[i])
			return false;
	return true;
}

/* --- sizes -------------------------------------------------------------------------------- */

static size_t gap_bits(unsigned int low, size_t kept, size_t count)
{
	return kept * (low + 1) + ((count - kept) >> low);
}

static unsigned int gap_low(size_t kept, size_t count)
{
	unsigned int low = 0;

	while (gap_bits(low + 1, kept, count) < gap_bits(low, kept, count))
		low++;
	return low;
}

size_t topk_index_most(enum topk_coding coding, size_t kept, size_t count)
{
	unsigned int low;

	switch (coding) {
	case TOPK_BITMAP: return bytes_of(count);
	case TOPK_GAPS:
		low = gap_low(kept, count);
		return kept ? bytes_of(kept * low) + bytes_of(kept + ((count - kept) >> low)) : 0;
	case TOPK_LOCAL:
		return blocks_of(count) * sizeof(uint16_t) + bytes_of(kept * TOPK_PLACE_BITS);
	case TOPK_ALL:
	case TOPK_CODINGS: break;
	}
	return 0;
}

size_t topk_index_bytes(enum topk_coding coding, const uint32_t *index, size_t kept, size_t count)
{
	unsigned int low = gap_low(kept, count);
	size_t unary = kept;
	uint32_t next = 0;

	if (coding != TOPK_GAPS || !kept)
		return topk_index_most(coding, kept, count);
	for (size_t i = 0; i < kept; i++) {
		unary += (index[i] - next) >> low;
		next = index[i] + 1;
	}
	return bytes_of(kept * low) + bytes_of(unary);
}

/* --- writing ------------------------------------------------------------------------------ */

/* A byte is written again with each of its bits; to read it would wait for the write. */
void topk_bitmap_write(const uint32_t *index, size_t kept, size_t count, unsigned char *out)
{
	uint32_t byte = 0, at = 0;

	memset(out, 0, bytes_of(count));
	for (size_t i = 0; i < kept; i++) {
		byte = index[i] / 8 == at ? byte : 0;
		at = index[i] / 8;
		byte |= 1u << index[i] % 8;
		out[at] = (unsigned char)byte;
	}
}

void topk_places_write(struct topk_bits *bits, const uint32_t *index, size_t kept)
{
	enum { AT_ONCE = 5, BEHIND = 8 }; /* the bits of 8 fill what put_wide() writes too much */
	size_t i = 0;

	whole_bytes(bits);
	for (; i + AT_ONCE + BEHIND <= kept; i += AT_ONCE) {
		uint64_t places = 0;

		for (unsigned int n = 0; n < AT_ONCE; n++)
			places |= (uint64_t)(index[i + n] % TOPK_BLOCK) << n * TOPK_PLACE_BITS;
		put_wide(bits, places, AT_ONCE * TOPK_PLACE_BITS);
	}
	for (; i < kept; i++)
		topk_bits_put(bits, index[i] % TOPK_BLOCK, TOPK_PLACE_BITS);
}

/* The unary part comes after all low bits, but both are written in one pass over the indices. */
struct gaps {
	struct topk_bits lows, unary;
	unsigned int low;
	uint32_t next; /* the first index that the next gap can end at */
};

static void gap_write(struct gaps *g, uint32_t index)
{
	uint32_t gap = index - g->next, zeros = gap >> g->low;

	if (g->low)
		topk_bits_put(&g->lows, gap & ((1u << g->low) - 1), g->low);
	for (; zeros >= 31; zeros -= 31)
		topk_bits_put(&g->unary, 0, 31);
	topk_bits_put(&g->unary, 1u << zeros, zeros + 1);
	g->next = index + 1;
}

enum { GAPS_AT_ONCE = 4, GAP_LOW_WIDE = WIDE / GAPS_AT_ONCE };

/* GAPS_AT_ONCE gaps; at least 64 more follow, whose bits fill what put_wide() writes too much. */
static inline void gaps_write_some(struct gaps *g, const uint32_t *index)
{
	uint32_t low_bits = (1u << g->low) - 1, next = g->next;
	uint64_t lows = 0, unary = 0;
	unsigned int end = 0;

	for (unsigned int i = 0; i < GAPS_AT_ONCE; i++) {
		uint32_t gap = index[i] - next;

		lows |= (uint64_t)(gap & low_bits) << i * g->low;
		end += gap >> g->low;
		unary |= (uint64_t)1 << end % 64;
		end++;
		next = index[i] + 1;
	}
	if (end > WIDE) {
		for (unsigned int i = 0; i < GAPS_AT_ONCE; i++)
			gap_write(g, index[i]);
		whole_bytes(&g->lows);
		whole_bytes(&g->unary);
		return;
	}
	if (g->low)
		put_wide(&g->lows, lows, GAPS_AT_ONCE * g->low);
	put_wide(&g->unary, unary, end);
	g->next = next;
}

static size_t gaps_write(const uint32_t *index, size_t kept, size_t count, unsigned char *out)
{
	enum { BEHIND = 64 };
	unsigned int low = gap_low(kept, count);
	struct gaps g = {{.out = out}, {.out = out + bytes_of(kept * low)}, low, 0};
	size_t i = 0;

	if (low <= GAP_LOW_WIDE)
		for (; i + GAPS_AT_ONCE + BEHIND <= kept; i += GAPS_AT_ONCE)
			gaps_write_some(&g, index + i);
	for (; i < kept; i++)
		gap_write(&g, index[i]);
	topk_bits_end(&g.unary);
	topk_bits_end(&g.lows);
	return (size_t)(g.unary.out - out);
}

static void local_write(const uint32_t *index, size_t kept, size_t count, unsigned char *out)
{
	struct topk_bits bits = {.out = out + blocks_of(count) * sizeof(uint16_t)};
	size_t i = 0;

	for (size_t block = 0; block < blocks_of(count); block++) {
		uint16_t here = 0;

		for (; i < kept && index[i] / TOPK_BLOCK == block; i++)
			here++;
		memcpy(out + block * sizeof(here), &here, sizeof(here));
	}
	topk_places_write(&bits, index, kept);
	topk_bits_end(&bits);
}

size_t topk_index_write(enum topk_coding coding, const uint32_t *index, size_t kept, size_t count,
			unsigned char *out)
{
	switch (coding) {
	case TOPK_BITMAP: topk_bitmap_write(index, kept, count, out); break;
	case TOPK_GAPS: return gaps_write(index, kept, count, out);
	case TOPK_LOCAL: local_write(index, kept, count, out); break;
	case TOPK_ALL:
	case TOPK_CODINGS: break;
	}
	return topk_index_most(coding, kept, count);
}

/* --- reading ------------------------------------------------------------------------------ */

bool topk_bitmap_good(const unsigned char *bytes, size_t length, size_t count)
{
	return length == bytes_of(count) && topk_bits_spare(bytes, length, count);
}

static int bitmap_read(const unsigned char *bytes, size_t length, uint32_t *index, size_t kept,
		       size_t count)
{
	size_t n = 0;

	if (!topk_bitmap_good(bytes, length, count))
		return -EBADMSG;
	for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
		uint64_t word = word_at(bytes, length, at);

		if ((size_t)__builtin_popcountll(word) > kept - n)
			return -EBADMSG;
		for (; word; word &= word - 1)
			index[n++] = (uint32_t)(8 * at) + (uint32_t)__builtin_ctzll(word);
	}
	return n == kept ? 0 : -EBADMSG;
}

struct gaps_reader {
	const unsigned char *lows;
	size_t lows_bytes;
	unsigned int low;
	size_t n, sum; /* gaps read, and the sum of their low bits */
	size_t last;   /* place of the last one                    */
};

/*
 * The gaps that end in a word, whose first bit is at `first`.  Before the n-th one there are n ones
 * and the zeros of all gaps so far, so an index needs no index before it.
 */
static inline void gaps_read_word(struct gaps_reader *r, uint64_t word, size_t first, bool inside,
				  uint32_t *index)
{
	uint64_t mask = ((uint64_t)1 << r->low) - 1, field;
	size_t n = r->n, sum = r->sum, last = r->last;

	for (; word; word &= word - 1, n++) {
		size_t at = n * r->low;

		last = first + (size_t)__builtin_ctzll(word);
		if (inside) {
			memcpy(&field, r->lows + at / 8, sizeof(field));
			field = field >> at % 8 & mask;
		} else {
			field = r->low ? topk_bits_get(r->lows, r->lows_bytes, at, r->low) : 0;
		}
		sum += field;
		index[n] = (uint32_t)(((last - n) << r->low) + sum + n);
	}
	r->n = n;
	r->sum = sum;
	r->last = last;
}

static int gaps_read(const unsigned char *bytes, size_t length, uint32_t *index, size_t kept,
		     size_t count)
{
	enum { WORD = 64 }; /* bits; and so many gaps end in one at most */
	unsigned int low = gap_low(kept, count);
	size_t lows = bytes_of(kept * low);
	struct gaps_reader r = {.lows = bytes, .lows_bytes = lows, .low = low};

	if (!kept)
		return length ? -EBADMSG : 0;
	if (length < lows || !topk_bits_spare(bytes, lows, kept * low))
		return -EBADMSG;
	for (size_t at = 0; at < length - lows; at += WORD / 8) {
		uint64_t word = word_at(bytes + lows, length - lows, at);

		if ((size_t)__builtin_popcountll(word) > kept - r.n)
			return -EBADMSG;
		if ((r.n + WORD) * low / 8 + sizeof(word) <= lows)
			gaps_read_word(&r, word, 8 * at, true, index);
		else
			gaps_read_word(&r, word, 8 * at, false, index);
	}
	if (r.n < kept || r.last / 8 + 1 != length - lows)
		return -EBADMSG;
	/* They ascend, so the last one says it of all. */
	return ((r.last - (kept - 1)) << low) + r.sum + kept - 1 < count ? 0 : -EBADMSG;
}

static int local_read(const unsigned char *bytes, size_t length, uint32_t *index, size_t kept,
		      size_t count)
{
	size_t head = blocks_of(count) * sizeof(uint16_t), n = 0;

	if (length != topk_index_most(TOPK_LOCAL, kept, count) ||
	    !topk_bits_spare(bytes + head, length - head, kept * TOPK_PLACE_BITS))
		return -EBADMSG;
	for (size_t block = 0; block < blocks_of(count); block++) {
		size_t next = block * TOPK_BLOCK;
		uint16_t here;

		memcpy(&here, bytes + block * sizeof(here), sizeof(here));
		if (here > kept - n)
			return -EBADMSG;
		for (; here; here--, n++) {
			size_t place = topk_bits_get(bytes + head, length - head,
						     n * TOPK_PLACE_BITS, TOPK_PLACE_BITS);
			size_t i = block * TOPK_BLOCK + place;

			if (i < next || i >= count)
				return -EBADMSG;
			index[n] = (uint32_t)i;
			next = i + 1;
		}
	}
	return n == kept ? 0 : -EBADMSG;
}

int topk_index_read(enum topk_coding coding, const unsigned char *bytes, size_t length,
		    uint32_t *index, size_t kept, size_t count)
{
	switch (coding) {
	case TOPK_ALL:
		if (length || kept != count)
			return -EBADMSG;
		for (size_t i = 0; i < count; i++)
			index[i] = (uint32_t)i;
		return 0;
	case TOPK_BITMAP: return bitmap_read(bytes, length, index, kept, count);
	case TOPK_GAPS: return gaps_read(bytes, length, index, kept, count);
	case TOPK_LOCAL: return local_read(bytes, length, index, kept, count);
	case TOPK_CODINGS: break;
	}
	return -EBADMSG;
}
