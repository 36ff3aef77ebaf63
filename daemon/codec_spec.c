/* codec_spec.c - see codec_spec.h. */
#include "daemon/codec_spec.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct codec *codec_by_name(const char *name, size_t length)
{
	for (const struct codec *const *c = codec_table; *c; c++)
		if (strlen((*c)->name) == length && memcmp((*c)->name, name, length) == 0)
			return *c;
	return NULL;
}

/* Which of "a|b|c" the word is, or -1. */
static int word_number(const char *words, const char *word, size_t length)
{
	for (int number = 0;; number++) {
		size_t bytes = strcspn(words, "|");

		if (bytes == length && memcmp(words, word, length) == 0)
			return number;
		if (!words[bytes])
			return -1;
		words += bytes + 1;
	}
}

static void option_range(const struct codec_option *o, char *text, size_t bytes)
{
	switch (o->kind) {
	case CODEC_WORD: (void)snprintf(text, bytes, "one of %s", o->words); return;
	case CODEC_REAL: (void)snprintf(text, bytes, "%.9g to %.9g", o->min, o->max); return;
	case CODEC_NUMBER: (void)snprintf(text, bytes, "%.0f to %.0f", o->min, o->max); return;
	case CODEC_POWER_OF_2:
		(void)snprintf(text, bytes, "a power of two from %.0f to %.0f", o->min, o->max);
		return;
	}
}

static const struct codec_option *option_named(const struct codec *codec, const char *key,
					       size_t length)
{
	for (const struct codec_option *o = codec->options; o && o->key; o++)
		if (strlen(o->key) == length && memcmp(o->key, key, length) == 0)
			return o;
	return NULL;
}

/* One "key=value" of `length` bytes. */
static int option_parse(struct codec_setting *s, const struct codec *codec, const char *text,
			size_t length, struct err *err)
{
	size_t key = strcspn(text, "=");
	const struct codec_option *o = option_named(codec, text, key < length ? key : length);
	char value[32], range[96], *end = value;
	double number;

	if (!o)
		return err_set(err, -EINVAL, "codec %s has no option \"%.*s\"", codec->name,
			       (int)(key < length ? key : length), text);
	(void)snprintf(value, sizeof(value), "%.*s", key < length ? (int)(length - key - 1) : 0,
		       text + (key < length ? key + 1 : length));
	if (o->kind == CODEC_WORD) {
		number = word_number(o->words, value, strlen(value));
		end = value + strlen(value);
	} else {
		number = strtod(value, &end);
	}
	if (!*value || *end || !codec_option_fits(o, number)) {
		option_range(o, range, sizeof(range));
		return err_set(err, -EINVAL, "codec %s: %s = %s: must be %s", codec->name, o->key,
			       value, range);
	}
	codec_option_set(s, o, number);
	return 0;
}

int codec_parse(struct codec_setting *out, const char *spec, struct err *err)
{
	size_t name = strcspn(spec, ":");
	const struct codec *codec = codec_by_name(spec, name);
	const char *at = spec + name, *refused;

	if (!codec)
		return err_set(err, -EINVAL, "there is no codec \"%.*s\"",
			       (int)(name < 64 ? name : 64), spec);
	*out = (struct codec_setting){.id = (uint8_t)codec->id};
	for (const struct codec_option *o = codec->options; o && o->key; o++)
		codec_option_set(out, o, o->value);
	while (*at) {
		size_t length = strcspn(++at, ",");
		int error = option_parse(out, codec, at, length, err);

		if (error)
			return error;
		at += length;
	}
	if (codec->derive)
		codec->derive(out);
	refused = codec->refuse ? codec->refuse(out) : NULL;
	if (refused)
		return err_set(err, -EINVAL, "codec %s: %s", codec->name, refused);
	return 0;
}

__attribute__((format(printf, 3, 4))) static size_t append(char *spec, size_t used,
							   const char *format, ...)
{
	va_list args;
	int more;

	va_start(args, format);
	more = vsnprintf(spec + used, CODEC_SPEC_BYTES - used, format, args);
	va_end(args);
	assert(more >= 0 && used + (size_t)more < CODEC_SPEC_BYTES);
	return used + (size_t)more;
}

void codec_format(const struct codec_setting *s, char spec[CODEC_SPEC_BYTES])
{
	const struct codec *codec = codec_by_id(s->id);
	size_t used = append(spec, 0, "%s", codec->name);

	for (const struct codec_option *o = codec->options; o && o->key; o++) {
		double value = codec_option_get(s, o);
		const char *word = o->words;
		unsigned int number = o->kind == CODEC_WORD ? (unsigned int)value : 0;

		used = append(spec, used, "%c%s=", o == codec->options ? ':' : ',', o->key);
		if (o->kind != CODEC_WORD) {
			used = append(spec, used, "%.9g", value);
			continue;
		}
		for (; number; number--)
			word = strchr(word, '|') + 1;
		used = append(spec, used, "%.*s", (int)strcspn(word, "|"), word);
	}
}
