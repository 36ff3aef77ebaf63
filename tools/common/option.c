/*
 * option.c - see option.h.
 */
#include "tools/common/option.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>

void option_refused(int got, char *const *argv, char *why, size_t why_bytes)
{
	/* Inside a bundle like -xyz optind still stands at it, so the letter is what is sure. */
	if (optopt > 0 && optopt <= CHAR_MAX)
		snprintf(why, why_bytes, "option -%c %s", optopt,
			 got == ':' ? "wants a value" : "is unknown");
	else if (optopt > CHAR_MAX && got == '?')
		snprintf(why, why_bytes, "\"%s\": this option takes no value", argv[optind - 1]);
	else
		snprintf(why, why_bytes, "option %s %s", argv[optind - 1],
			 got == ':' ? "wants a value" : "is unknown or not unique");
}
