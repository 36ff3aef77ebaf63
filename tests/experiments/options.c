/* options.c - see options.h. */
#include "tests/experiments/options.h"

#include <ctype.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/experiments/experiment.h"
#include "tools/common/number.h"
#include "tools/common/option.h"

const char options_usage[] =
	"usage: run [options]\n"
	"Runs experiments whose outcome is known with this project's codecs and error feedback,\n"
	"and prints each figure: experiment, what, measured, expected, tolerance, ok or DIFFERS.\n"
	"  --only LETTERS  only these experiments, as in AB or A,B (default: all)\n"
	"  --threads N     at once (default: processors)\n"
	"  --json FILE     write the figures there, too\n"
	"  --html FILE     write a page with words, tables and plots\n"
	"  --help\n"
	"Exit codes: 0 all as expected, 1 a figure differs or a file cannot be written, 2 bad "
	"usage.\n";

enum { OPT_ONLY = 256, OPT_THREADS, OPT_JSON, OPT_HTML, OPT_HELP };

static const struct option table[] = {
	{"only", required_argument, NULL, OPT_ONLY},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"json", required_argument, NULL, OPT_JSON},
	{"html", required_argument, NULL, OPT_HTML},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static bool is_letter_of(const char *letter, char c)
{
	return letter[0] == toupper((unsigned char)c);
}

/* Letters and commas, at least one letter, each of an experiment. */
static enum options_action take_only(struct options *o, const char *letters, char *why,
				     size_t why_bytes)
{
	for (const char *c = letters; *c; c++) {
		const struct experiment_entry *entry = experiment_table;

		while (*c != ',' && entry->letter && !is_letter_of(entry->letter, *c))
			entry++;
		if (!entry->letter) {
			(void)snprintf(why, why_bytes, "--only: there is no experiment \"%c\"", *c);
			return OPTIONS_BAD;
		}
	}
	if (!letters[strspn(letters, ",")]) {
		(void)snprintf(why, why_bytes, "--only: \"%s\" names no experiment", letters);
		return OPTIONS_BAD;
	}
	o->only = letters;
	return OPTIONS_RUN;
}

static enum options_action take_threads(struct options *o, const char *text, char *why,
					size_t why_bytes)
{
	uint64_t threads;

	if (number_count(text, 1, OPTIONS_THREADS_MAX, &threads)) {
		(void)snprintf(why, why_bytes, "--threads: \"%s\" is not a number from 1 to %d",
			       text, OPTIONS_THREADS_MAX);
		return OPTIONS_BAD;
	}
	o->threads = (unsigned)threads;
	return OPTIONS_RUN;
}

static enum options_action take(struct options *o, int option, char **args, char *why,
				size_t why_bytes)
{
	switch (option) {
	case OPT_ONLY: return take_only(o, optarg, why, why_bytes);
	case OPT_THREADS: return take_threads(o, optarg, why, why_bytes);
	case OPT_JSON: o->json = optarg; return OPTIONS_RUN;
	case OPT_HTML: o->html = optarg; return OPTIONS_RUN;
	case OPT_HELP: return OPTIONS_HELP;
	default: option_refused(option, args, why, why_bytes); return OPTIONS_BAD;
	}
}

enum options_action options_parse(struct options *o, int count, char **args, char *why,
				  size_t why_bytes)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	enum options_action action = OPTIONS_RUN;
	int option;

	*o = (struct options){.threads = 1};
	if (processors > 1)
		o->threads = processors < OPTIONS_THREADS_MAX ? (unsigned)processors
							      : OPTIONS_THREADS_MAX;
	optind = 0; /* from the beginning: this may not be the first command line */
	while (action == OPTIONS_RUN &&
	       (option = getopt_long(count, args, "+:", table, NULL)) != -1)
		action = take(o, option, args, why, why_bytes);
	if (action == OPTIONS_RUN && optind < count) {
		(void)snprintf(why, why_bytes, "\"%s\" is no option", args[optind]);
		return OPTIONS_BAD;
	}
	return action;
}

bool options_want(const struct options *o, const char *letter)
{
	if (!o->only)
		return true;
	for (const char *c = o->only; *c; c++)
		if (is_letter_of(letter, *c))
			return true;
	return false;
}
