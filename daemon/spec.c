/* spec.c - see spec.h. */
#include "daemon/spec.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A part of the spec as a sentence quotes it: all of it, unless it fills the sentence. */
struct quoted {
	int length;
	const char *rest;
};

static struct quoted quoted(size_t length)
{
	enum { MOST = 96 };

	return length <= MOST ? (struct quoted){(int)length, ""} : (struct quoted){MOST, "..."};
}

bool spec_names(const char *spec, const char *name)
{
	size_t length = strcspn(spec, ":");

	return strlen(name) == length && memcmp(name, spec, length) == 0;
}

int spec_unknown(const char *kind, const char *spec, struct err *err)
{
	struct quoted name = quoted(strcspn(spec, ":"));

	return err_set(err, -EINVAL, "there is no %s \"%.*s%s\"", kind, name.length, spec,
		       name.rest);
}

/* --- values ------------------------------------------------------------------------------- */

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

/* The value is `length` bytes, which a comma or the end follows.  Return: is it one? */
static bool value_number(const struct setting_option *o, const char *value, size_t length,
			 double *number)
{
	char *end;

	if (o->kind == SETTING_WORD) {
		*number = word_number(o->words, value, length);
		return true;
	}
	*number = strtod(value, &end);
	/* strtod() skips blanks; a spec is one word in logs and command lines. */
	return length && value[0] != ' ' && end == value + length;
}

static void option_range(const struct setting_option *o, char *text, size_t bytes)
{
	switch (o->kind) {
	case SETTING_WORD: (void)snprintf(text, bytes, "one of %s", o->words); return;
	case SETTING_REAL: (void)snprintf(text, bytes, "%.9g to %.9g", o->min, o->max); return;
	case SETTING_NUMBER:
		(void)snprintf(text, bytes, "a whole number from %.0f to %.0f", o->min, o->max);
		return;
	case SETTING_POWER_OF_2:
		(void)snprintf(text, bytes, "a power of two from %.0f to %.0f", o->min, o->max);
		return;
	}
}

/* --- options ------------------------------------------------------------------------------ */

static const struct setting_option *option_named(const struct setting_option *options,
						 const char *key, size_t length)
{
	for (const struct setting_option *o = options; o && o->key; o++)
		if (strlen(o->key) == length && memcmp(o->key, key, length) == 0)
			return o;
	return NULL;
}

int spec_options(void *setting, const char *kind, const char *name,
		 const struct setting_option *options, const char *spec, struct err *err)
{
	const char *at = spec + strcspn(spec, ":");

	setting_defaults(setting, options);
	while (*at) {
		const char *text = at + 1, *value;
		size_t length = strcspn(text, ","), key = strcspn(text, "=,");
		const struct setting_option *o = option_named(options, text, key);
		struct quoted said = quoted(key);
		char range[96];
		double number;

		at = text + length;
		if (!o)
			return err_set(err, -EINVAL, "%s %s has no option \"%.*s%s\"", kind, name,
				       said.length, text, said.rest);
		value = text + key + (key < length);
		if (!value_number(o, value, (size_t)(at - value), &number) ||
		    !setting_fits(o, number)) {
			said = quoted((size_t)(at - value));
			option_range(o, range, sizeof(range));
			return err_set(err, -EINVAL, "%s %s: %s = %.*s%s: must be %s", kind, name,
				       o->key, said.length, value, said.rest, range);
		}
		setting_set(setting, o, number);
	}
	return 0;
}

/* --- formatting --------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static size_t append(char *spec, size_t bytes, size_t used,
							   const char *format, ...)
{
	va_list args;
	int more;

	va_start(args, format);
	more = vsnprintf(spec + used, bytes - used, format, args);
	va_end(args);
	assert(more >= 0 && used + (size_t)more < bytes);
	return used + (size_t)more;
}

void spec_format(char *spec, size_t bytes, const char *name, const struct setting_option *options,
		 const void *setting)
{
	size_t used = append(spec, bytes, 0, "%s", name);

	for (const struct setting_option *o = options; o && o->key; o++) {
		double value = setting_get(setting, o);
		const char *word = o->words;
		unsigned int number = o->kind == SETTING_WORD ? (unsigned int)value : 0;

		used = append(spec, bytes, used, "%c%s=", o == options ? ':' : ',', o->key);
		if (o->kind != SETTING_WORD) {
			/* Of float32 nine digits tell all apart, of whole numbers ten. */
			used = append(spec, bytes, used, "%.*g", o->kind == SETTING_REAL ? 9 : 10,
				      value);
			continue;
		}
		for (; number; number--)
			word = strchr(word, '|') + 1;
		used = append(spec, bytes, used, "%.*s", (int)strcspn(word, "|"), word);
	}
}
