/*
 * run.c - the program behind `make experiments`: runs them, prints each figure, leaves a page.
 *
 * Experiments run one after the other, each on several threads.  See options.c for its options.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/experiments/experiment.h"
#include "tests/experiments/options.h"
#include "tests/experiments/page.h"
#include "tests/experiments/report.h"

enum { MOST = 26 };

static int closed(FILE *file, const char *path, bool written)
{
	if (!fclose(file) && written)
		return 0;
	fprintf(stderr, "run: %s: %s\n", path, strerror(errno));
	return -1;
}

static FILE *opened(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file)
		fprintf(stderr, "run: %s: %s\n", path, strerror(errno));
	return file;
}

/* Return: 0, or -1 and a line says what cannot be written. */
static int write_files(const struct options *o, const struct experiment *e, size_t count)
{
	int error = 0;
	FILE *file;

	if (o->json) {
		char *text = report_json(e, count);

		file = text ? opened(o->json) : NULL;
		if (!file || closed(file, o->json, fprintf(file, "%s\n", text) > 0))
			error = -1;
		free(text);
	}
	if (o->html) {
		file = opened(o->html);
		if (file)
			page_html(file, e, count);
		if (!file || closed(file, o->html, !ferror(file)))
			error = -1;
	}
	return error;
}

static int run(const struct options *o)
{
	struct experiment *e = calloc(MOST, sizeof(*e));
	size_t count = 0, rows = 0, failed = 0;
	int error;

	if (!e)
		abort();
	for (const struct experiment_entry *entry = experiment_table; entry->letter; entry++) {
		if (!options_want(o, entry->letter))
			continue;
		e[count] = (struct experiment){
			.letter = entry->letter, .title = entry->title, .threads = o->threads};
		printf("%s  %s\n", entry->letter, entry->title);
		entry->run(&e[count]);
		report_lines(stdout, &e[count]);
		(void)fflush(stdout);
		rows += e[count].rows;
		failed += experiment_failed(&e[count]);
		count++;
	}
	error = write_files(o, e, count);
	if (o->html && !error)
		printf("%s: words, tables and plots\n", o->html);
	printf("%zu passed, %zu failed\n", rows - failed, failed);
	for (size_t i = 0; i < count; i++)
		experiment_deinit(&e[i]);
	free(e);
	return error || failed || !rows ? 1 : 0;
}

int main(int count, char **args)
{
	char why[OPTIONS_WHY_BYTES];
	struct options o;

	switch (options_parse(&o, count, args, why, sizeof(why))) {
	case OPTIONS_RUN: return run(&o);
	case OPTIONS_HELP: fputs(options_usage, stdout); return 0;
	case OPTIONS_BAD: break;
	}
	fprintf(stderr, "run: %s; --help says what there is\n", why);
	return 2;
}
