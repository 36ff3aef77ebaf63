/* sentence.c - see sentence.h; carry_last_error(), carry_error_name(). */
#include "libclient/sentence.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libclient/carry.h"

struct sentence {
	const struct carry *c;
	char text[SENTENCE_BYTES];
};

/* The one thing outside of a handle, for the reasons in sentence.h. */
static _Thread_local struct sentence last;

int sentence_set(const struct carry *c, int code, const char *format, ...)
{
	int saved = errno;
	va_list arguments;

	/* The arguments may point into the old sentence. */
	char text[SENTENCE_BYTES];
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);

	/* One line, whatever a daemon or an environment variable put into it. */
	for (char *t = text; *t; t++)
		if ((unsigned char)*t < 0x20 || *t == 0x7f)
			*t = ' ';
	memcpy(last.text, text, sizeof(text));
	last.c = c;
	errno = saved;
	return code;
}

void sentence_forget(const struct carry *c)
{
	if (last.c == c)
		last.c = NULL;
}

const char *carry_last_error(const struct carry *c)
{
	return !c || c == last.c ? last.text : "";
}

const char *carry_error_name(int error)
{
	const char *name;

	if (error == 0)
		return "OK";
	name = strerrorname_np(error < 0 ? -error : error);
	return name ? name : "unknown error";
}
