/* nodelist.c - see nodelist.h. */
#include "libclient/nodelist.h"

#include <errno.h>
#include <string.h>

#define DIGITS "0123456789"

/* @at: behind "[".  Return: behind "]", and the first number; NULL: not a range. */
static const char *bracket(const char *at, size_t *digits)
{
	*digits = strspn(at, DIGITS);
	for (;;) {
		size_t number = strspn(at, DIGITS);

		at += number;
		if (number && *at == '-') {
			at++;
			number = strspn(at, DIGITS);
			at += number;
		}
		if (!number)
			return NULL;
		if (*at == ']')
			return at + 1;
		if (*at++ != ',')
			return NULL;
	}
}

int nodelist_first(char *first, size_t bytes, const char *list)
{
	size_t used = 0;

	while (*list && *list != ',') {
		const char *from = list++;
		size_t length = 1;

		if (*from == '[') {
			from++;
			list = bracket(from, &length);
			if (!list)
				return -EINVAL;
		} else if (*from == ']' || (unsigned char)*from <= ' ') {
			return -EINVAL;
		}
		if (length >= bytes - used)
			return -EINVAL;
		memcpy(first + used, from, length);
		used += length;
	}
	if (!used)
		return -EINVAL;
	first[used] = 0;
	return 0;
}
