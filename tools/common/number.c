/*
 * number.c - see number.h.  strtoull() alone would take "-1", " 1" and "".
 */
#include "tools/common/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int digits(const char *text, uint64_t *out, char **end)
{
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long value = strtoull(text, end, 10);
	if (errno)
		return -ERANGE;
	*out = value;
	return 0;
}

int number_count(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t value;
	char *end;
	int r = digits(text, &value, &end);

	if (r)
		return r;
	if (*end != '\0')
		return -EINVAL;
	if (value < min || value > max)
		return -ERANGE;
	*out = value;
	return 0;
}

int number_bytes(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	static const char suffixes[] = "KMG";
	uint64_t value;
	unsigned shift = 0;
	char *end;
	int r = digits(text, &value, &end);

	if (r)
		return r;
	if (*end != '\0') {
		const char *suffix = strchr(suffixes, toupper((unsigned char)*end));

		if (!suffix || end[1] != '\0')
			return -EINVAL;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	value <<= shift;
	if (value < min || value > max)
		return -ERANGE;
	*out = value;
	return 0;
}

int number_real(const char *text, double min, double max, double *out)
{
	char *end;

	/* No names and no hexadecimals: "inf", "nan" and "0x1p3" are typing errors here. */
	if (text[0] == '\0' || strspn(text, "0123456789.eE+-") != strlen(text))
		return -EINVAL;
	double value = strtod(text, &end);
	if (end == text || *end != '\0')
		return -EINVAL;
	if (!isfinite(value) || value < min || value > max)
		return -ERANGE;
	*out = value;
	return 0;
}
