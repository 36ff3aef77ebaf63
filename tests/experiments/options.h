/* options.h - the command line of the experiments. */
#ifndef TESTS_EXPERIMENTS_OPTIONS_H
#define TESTS_EXPERIMENTS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { OPTIONS_WHY_BYTES = 160, OPTIONS_THREADS_MAX = 64 };

enum options_action { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_BAD };

struct options {
	const char *only;        /* letters; NULL: all              */
	const char *json, *html; /* files to write, or NULL         */
	unsigned threads;        /* 1 to OPTIONS_THREADS_MAX        */
};

extern const char options_usage[];

/* options_parse() - OPTIONS_BAD: `why` says what is wrong. */
enum options_action options_parse(struct options *o, int count, char **args, char *why,
				  size_t why_bytes);

/* options_want() - is the experiment of this letter to run? */
bool options_want(const struct options *o, const char *letter);

#endif
