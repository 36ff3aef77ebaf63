/* codec.c - the table of codecs, their options, and calls into them; see codec.h. */
#include "compress/codec.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "compress/codec_table.h"

#define CODEC_ENTRY(name) &codec_##name,
const struct codec *const codec_table[] = {CODEC_TABLE(CODEC_ENTRY) NULL};
#undef CODEC_ENTRY

const struct codec *codec_by_id(uint8_t id)
{
	for (const struct codec *const *c = codec_table; *c; c++)
		if ((*c)->id == id)
			return *c;
	return NULL;
}

int codec_check(const struct codec_setting *s)
{
	const struct codec *codec = codec_by_id(s->id);
	struct codec_setting known = {.id = s->id};
	/* By bytes: a number is only ever what was set from the same text. */
	const unsigned char *right = (const unsigned char *)&known;
	const unsigned char *given = (const unsigned char *)s;

	if (!codec)
		return -EINVAL;
	if (!setting_copy(&known, s, codec->options))
		return -EINVAL;
	if (codec->derive)
		codec->derive(&known);
	/* What is neither an option of the codec nor follows from them must be zero. */
	if (memcmp(right, given, sizeof(known)) != 0)
		return -EINVAL;
	return codec->refuse && codec->refuse(s) ? -EINVAL : 0;
}

/* --- calls -------------------------------------------------------------------------------- */

size_t codec_bound(const struct codec_setting *s, size_t count)
{
	return codec_by_id(s->id)->bound(s, count);
}

size_t codec_work_bytes(const struct codec_setting *s, size_t count)
{
	const struct codec *codec = codec_by_id(s->id);

	return codec->work ? codec->work(s, count) : 0;
}

struct codec_result codec_encode(const struct codec_setting *s, const struct codec_kernels *k,
				 const struct codec_input *input, void *out)
{
	assert(input->count >= 1 && input->count <= CODEC_COUNT_MAX);
	assert(!s->block || input->first % s->block == 0);
	return codec_by_id(s->id)->encode(s, k, input, out);
}

int codec_decode(const struct codec_setting *s, const struct codec_kernels *k,
		 const struct codec_origin *origin, const void *bytes, size_t length, float *out,
		 size_t count)
{
	assert(count >= 1 && count <= CODEC_COUNT_MAX);
	return codec_by_id(s->id)->decode(s, k, origin, bytes, length, out, count);
}

int codec_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
		     const struct codec_origin *origin, const void *bytes, size_t length,
		     float weight, float *sum, size_t count)
{
	assert(count >= 1 && count <= CODEC_COUNT_MAX);
	return codec_by_id(s->id)->decode_add(s, k, origin, bytes, length, weight, sum, count);
}

bool codec_keeps_few(const struct codec_setting *s)
{
	return codec_by_id(s->id)->few != NULL;
}

int codec_few(const struct codec_setting *s, const struct codec_kernels *k,
	      const struct codec_origin *origin, const void *bytes, size_t length, size_t count,
	      struct codec_few *out)
{
	assert(count >= 1 && count <= CODEC_COUNT_MAX);
	return codec_by_id(s->id)->few(s, k, origin, bytes, length, count, out);
}

struct codec_result codec_encode_few(const struct codec_setting *s, const struct codec_input *input,
				     const struct codec_few *few, void *out)
{
	const struct codec *codec = codec_by_id(s->id);

	assert(input->count >= 1 && input->count <= CODEC_COUNT_MAX);
	if (!codec->encode_few)
		return (struct codec_result){0};
	return codec->encode_few(s, input, few, out);
}
