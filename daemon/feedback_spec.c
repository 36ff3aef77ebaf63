/* feedback_spec.c - see feedback_spec.h. */
#include "daemon/feedback_spec.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct feedback *feedback_by_name(const char *name, size_t length)
{
	for (const struct feedback *const *f = feedback_table; *f; f++)
		if (strlen((*f)->name) == length && memcmp((*f)->name, name, length) == 0)
			return *f;
	return NULL;
}

static const struct feedback_option *option_named(const struct feedback *feedback, const char *key,
						  size_t length)
{
	for (const struct feedback_option *o = feedback->options; o && o->key; o++)
		if (strlen(o->key) == length && memcmp(o->key, key, length) == 0)
			return o;
	return NULL;
}

/* One "key=value" of `length` bytes. */
static int option_parse(struct feedback_setting *s, const struct feedback *feedback,
			const char *text, size_t length, struct err *err)
{
	size_t key = strcspn(text, "=");
	const struct feedback_option *o;
	char value[32], *end = value;
	double number;

	key = key < length ? key : length;
	o = option_named(feedback, text, key);
	if (!o)
		return err_set(err, -EINVAL, "feedback %s has no option \"%.*s\"", feedback->name,
			       (int)key, text);
	(void)snprintf(value, sizeof(value), "%.*s", key < length ? (int)(length - key - 1) : 0,
		       text + (key < length ? key + 1 : length));
	number = strtod(value, &end);
	if (!*value || *end || !feedback_option_fits(o, number))
		return err_set(err, -EINVAL, "feedback %s: %s = %s: must be %s%.10g to %.10g",
			       feedback->name, o->key, value,
			       o->kind == FEEDBACK_NUMBER ? "a whole number from " : "", o->min,
			       o->max);
	feedback_option_set(s, o, number);
	return 0;
}

int feedback_parse(struct feedback_setting *out, const char *spec, struct err *err)
{
	size_t name = strcspn(spec, ":");
	const struct feedback *feedback = feedback_by_name(spec, name);
	const char *at = spec + name;

	if (!feedback)
		return err_set(err, -EINVAL, "there is no feedback \"%.*s\"",
			       (int)(name < 64 ? name : 64), spec);
	*out = (struct feedback_setting){.id = (uint8_t)feedback->id};
	for (const struct feedback_option *o = feedback->options; o && o->key; o++)
		feedback_option_set(out, o, o->value);
	while (*at) {
		size_t length = strcspn(++at, ",");
		int error = option_parse(out, feedback, at, length, err);

		if (error)
			return error;
		at += length;
	}
	return 0;
}

void feedback_format(const struct feedback_setting *s, char spec[FEEDBACK_SPEC_BYTES])
{
	const struct feedback *feedback = feedback_by_id(s->id);
	size_t used = 0;
	int more = snprintf(spec, FEEDBACK_SPEC_BYTES, "%s", feedback->name);

	assert(more > 0);
	used = (size_t)more;
	for (const struct feedback_option *o = feedback->options; o && o->key; o++) {
		more = snprintf(spec + used, FEEDBACK_SPEC_BYTES - used, "%c%s=%.*g",
				o == feedback->options ? ':' : ',', o->key,
				o->kind == FEEDBACK_REAL ? 9 : 10, feedback_option_get(s, o));
		assert(more > 0 && used + (size_t)more < FEEDBACK_SPEC_BYTES);
		used += (size_t)more;
	}
}
