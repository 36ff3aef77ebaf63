/* codec_dither.c - see codec_dither.h. */
#include "compress/codec_dither.h"

#include <errno.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/copy.h"

static const struct dither_format *format_of(const struct codec_setting *s)
{
	return s->id == CODEC_NATURAL ? &dither_natural
	       : s->id == CODEC_QSGD  ? &dither_qsgd
				      : &dither_terngrad;
}

static size_t at_most(size_t count, size_t most)
{
	return count < most ? count : most;
}

static size_t block_bytes(const struct dither_format *f, const struct codec_setting *s,
			  size_t count)
{
	size_t rest = count % f->tile;

	return f->header_bytes + count / f->tile * f->bytes(s, f->tile) +
	       (rest ? f->bytes(s, rest) : 0);
}

size_t dither_bound(const struct codec_setting *s, size_t count)
{
	const struct dither_format *f = format_of(s);
	size_t rest = count % s->block;

	return count / s->block * block_bytes(f, s, s->block) +
	       (rest ? block_bytes(f, s, rest) : 0);
}

size_t dither_work(const struct codec_setting *s, size_t count)
{
	return at_most(count, s->block) * sizeof(float);
}

/* The tiles of a block whose p is in work. */
static void encode_block(const struct dither_format *f, const struct codec_setting *s,
			 const struct dither_kernels *k, const struct codec_input *input,
			 size_t first, size_t count, unsigned char *block)
{
	struct random_key key = random_key_at(input->rank_key, input->first + first);
	float *p = input->work;
	unsigned char *to = block + f->header_bytes;
	float decoded[DITHER_TILE];

	for (size_t i = 0; i < count; i += f->tile) {
		size_t tile = at_most(count - i, f->tile);

		f->encode(s, k, block, p + i, key, (uint32_t)(input->first + first + i), tile, to);
		if (input->residual_out) {
			float *out = input->residual_out + first + i;

			f->decode(s, k, block, to, decoded, tile);
			k->subtract(input->away ? p + i : out, p + i, decoded, tile);
			if (input->away)
				copy_away(out, p + i, tile * sizeof(float));
		}
		to += f->bytes(s, tile);
	}
}

struct codec_result dither_encode(const struct codec_setting *s, const struct codec_kernels *k,
				  const struct codec_input *input, void *out)
{
	const struct dither_format *f = format_of(s);
	unsigned char *to = out;

	for (size_t first = 0; first < input->count; first += s->block) {
		size_t count = at_most(input->count - first, s->block);
		const float *residual = input->residual ? input->residual + first : NULL;
		struct dither_measure measure =
			k->dither->source(input->work, input->in + first, residual,
					  input->residual_scale, count, f->squares(s));

		if (measure.greatest >= CODEC_NONFINITE_BITS)
			return (struct codec_result){.nonfinite = true};
		f->header_of(s, measure, count, to);
		encode_block(f, s, k->dither, input, first, count, to);
		to += block_bytes(f, s, count);
	}
	return (struct codec_result){.bytes = (size_t)(to - (unsigned char *)out)};
}

static int check(const struct dither_format *f, const struct codec_setting *s,
		 const struct dither_kernels *k, const unsigned char *from, size_t length,
		 size_t count)
{
	if (length != dither_bound(s, count))
		return -EBADMSG;
	for (size_t first = 0; first < count; first += s->block) {
		size_t block = at_most(count - first, s->block);

		if (!f->good_header(from))
			return -EBADMSG;
		from += f->header_bytes;
		for (size_t i = 0; i < block; i += f->tile) {
			size_t tile = at_most(block - i, f->tile);

			if (!f->good_tile(s, k, from, tile))
				return -EBADMSG;
			from += f->bytes(s, tile);
		}
	}
	return 0;
}

/*
 * What will be written comes while something else is worked on.  Beyond the end of a vector that is
 * in vain, but does no harm.
 */
static void fetch(const float *soon, size_t count)
{
	enum { LINE = 16 };

	for (size_t i = 0; i < count; i += LINE)
		__builtin_prefetch((const void *)((uintptr_t)soon + i * sizeof(*soon)), 1);
}

int dither_decode(const struct codec_setting *s, const struct codec_kernels *k,
		  const struct codec_origin *origin, const void *bytes, size_t length, float *out,
		  size_t count)
{
	const struct dither_format *f = format_of(s);
	const unsigned char *from = bytes;
	int error = check(f, s, k->dither, from, length, count);

	(void)origin;
	for (size_t first = 0; !error && first < count; first += s->block) {
		size_t block = at_most(count - first, s->block);
		const unsigned char *header = from;

		from += f->header_bytes;
		for (size_t i = 0; i < block; i += f->tile) {
			size_t tile = at_most(block - i, f->tile);

			if (f->scattered)
				fetch(out + first + i + tile, f->tile);
			f->decode(s, k->dither, header, from, out + first + i, tile);
			from += f->bytes(s, tile);
		}
	}
	return error;
}

int dither_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
		      const struct codec_origin *origin, const void *bytes, size_t length,
		      float weight, float *sum, size_t count)
{
	const struct dither_format *f = format_of(s);
	const unsigned char *from = bytes;
	int error = check(f, s, k->dither, from, length, count);
	float decoded[DITHER_TILE];

	(void)origin;
	for (size_t first = 0; !error && first < count; first += s->block) {
		size_t block = at_most(count - first, s->block);
		const unsigned char *header = from;

		from += f->header_bytes;
		for (size_t i = 0; i < block; i += f->tile) {
			size_t tile = at_most(block - i, f->tile);

			fetch(sum + first + i, tile);
			f->decode(s, k->dither, header, from, decoded, tile);
			k->dither->add(sum + first + i, decoded, weight, tile);
			from += f->bytes(s, tile);
		}
	}
	return error;
}

float dither_scale(const unsigned char *header)
{
	float scale;

	memcpy(&scale, header, sizeof(scale));
	return scale;
}

bool dither_good_scale(const unsigned char *header)
{
	uint32_t bits;

	memcpy(&bits, header, sizeof(bits));
	return bits < CODEC_NONFINITE_BITS;
}

float dither_shift(float scale)
{
	return scale < 0x1p-60f ? 0x1p100f : scale > 0x1p60f ? 0x1p-64f : 1;
}
