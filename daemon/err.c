/*
 * err.c - sentences about failures; see err.h.
 */
#include "daemon/err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *err, int code, const char *format, ...)
{
	va_list args;

	err->code = code;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return code;
}

int err_add(struct err *err, const char *format, ...)
{
	char front[sizeof(err->text)];
	char whole[2 * sizeof(err->text) + 4];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(front, sizeof(front), format, args);
	va_end(args);
	(void)snprintf(whole, sizeof(whole), "%s: %s", front, err->text);
	(void)snprintf(err->text, sizeof(err->text), "%.*s", (int)sizeof(err->text) - 1, whole);
	return err->code;
}
