/* codec.c - the table of codecs, their options, and calls into them; see codec.h. */
#include "compress/codec.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
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

/* --- options ------------------------------------------------------------------------------ */

double codec_option_get(const struct codec_setting *s, const struct codec_option *o)
{
	const char *at = (const char *)s + o->offset;
	uint32_t number;
	float real;

	switch (o->kind) {
	case CODEC_WORD: return *(const uint8_t *)at;
	case CODEC_REAL: memcpy(&real, at, sizeof(real)); return (double)real;
	case CODEC_NUMBER:
	case CODEC_POWER_OF_2: break;
	}
	memcpy(&number, at, sizeof(number));
	return number;
}

void codec_option_set(struct codec_setting *s, const struct codec_option *o, double value)
{
	char *at = (char *)s + o->offset;
	uint32_t number;
	float real;

	switch (o->kind) {
	case CODEC_WORD: *(uint8_t *)at = (uint8_t)value; return;
	case CODEC_REAL:
		real = (float)value + 0.0f; /* there is one zero: +0 */
		memcpy(at, &real, sizeof(real));
		return;
	case CODEC_NUMBER:
	case CODEC_POWER_OF_2: break;
	}
	number = (uint32_t)value;
	memcpy(at, &number, sizeof(number));
}

static double words_max(const char *words)
{
	double most = 0;

	for (; *words; words++)
		most += *words == '|';
	return most;
}

/* Bounds are compared as they are stored, in float32. */
bool codec_option_fits(const struct codec_option *o, double value)
{
	double min = o->kind == CODEC_WORD ? 0 : o->min;
	double max = o->kind == CODEC_WORD ? words_max(o->words) : o->max;

	if (o->kind == CODEC_REAL)
		return (float)value >= (float)min && (float)value <= (float)max;
	if (!(value >= min && value <= max) || value != floor(value))
		return false;
	return o->kind != CODEC_POWER_OF_2 || ((uint64_t)value & ((uint64_t)value - 1)) == 0;
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
	for (const struct codec_option *o = codec->options; o && o->key; o++) {
		if (!codec_option_fits(o, codec_option_get(s, o)))
			return -EINVAL;
		codec_option_set(&known, o, codec_option_get(s, o));
	}
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
