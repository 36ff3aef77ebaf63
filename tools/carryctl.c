/*
 * carryctl.c - looks into a running carryd.
 *
 *     carryctl [--socket PATH] [--json] REPORT
 *
 * Each report is a row of the table below; the usage text and the dispatch come from
 * it.  To add one: a function in tools/ctl/show.c, a row here, and the daemon's answer
 * in daemon/report.c.  One that carryctl makes itself has a function `look`.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl/doctor.h"
#include "tools/ctl/links.h"
#include "tools/ctl/query.h"
#include "tools/ctl/show.h"

#define DEFAULT_SOCKET "/run/carry/carryd.sock"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct report_row {
	const char *name, *help;
	int (*show)(const json_t *report, FILE *to); /* 0 or -ENOMEM */
	json_t *(*look)(const char *socket);         /* NULL: the daemon is asked */
	void (*complete)(json_t *report);            /* what the daemon does not know; or NULL */
	bool (*is_bad)(const json_t *report);        /* exit code 1; NULL: it never is */
};

static const struct report_row rows[] = {
	{"status", "the daemon, its lanes, its trainers, its memory", show_status, NULL, NULL,
	 NULL},
	{"groups", "groups, what they did, their peers", show_groups, NULL, NULL, NULL},
	{"links", "data connections, and what RDMA devices counted", links_show, NULL,
	 links_complete, NULL},
	{"state", "state of error feedback, by group and tensor key", show_state, NULL, NULL, NULL},
	{"config", "every key of the configuration and where it was set", show_config, NULL, NULL,
	 NULL},
	{"doctor", "what RDMA needs on this host, what is missing, what to do", doctor_show,
	 doctor_look, NULL, doctor_is_bad},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void usage(FILE *to)
{
	(void)fprintf(to, "usage: carryctl [--socket PATH] [--json] ");
	for (size_t i = 0; i < ROWS; i++)
		(void)fprintf(to, "%s%s", i ? "|" : "", rows[i].name);
	(void)fprintf(to, "\n");
	for (size_t i = 0; i < ROWS; i++)
		(void)fprintf(to, "  %-14s %s\n", rows[i].name, rows[i].help);
	(void)fprintf(to,
		      "  --socket PATH  of the daemon (default: $CARRY_SOCKET, %s)\n"
		      "  --json         the report as one JSON document\n"
		      "  --version      the version of carryctl\n"
		      "Exit codes: 0 done, 1 failed (doctor: there is a fault), 2 bad usage.\n",
		      DEFAULT_SOCKET);
}

static const struct report_row *find_row(const char *name)
{
	for (size_t i = 0; i < ROWS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	return NULL;
}

/* Return: the daemon's report, or NULL: said why. */
static json_t *ask(const char *socket, const char *what)
{
	char sentence[QUERY_SENTENCE_BYTES];
	char *text = query_run(socket, what, sentence);
	json_error_t error;
	json_t *report;

	if (!text) {
		(void)fprintf(stderr, "carryctl: %s\n", sentence);
		return NULL;
	}
	report = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	free(text);
	if (!report)
		(void)fprintf(stderr, "carryctl: the daemon's report is not JSON: %s\n",
			      error.text);
	return report;
}

static int run(const char *socket, const struct report_row *row, bool json)
{
	json_t *report = row->look ? row->look(socket) : ask(socket, row->name);
	int failed;

	if (!report)
		return EXIT_FAILED;
	if (row->complete)
		row->complete(report);
	if (json)
		failed = json_dumpf(report, stdout, JSON_INDENT(2)) || putchar('\n') == EOF;
	else
		failed = row->show(report, stdout);
	if (!failed && row->is_bad)
		failed = row->is_bad(report);
	json_decref(report);
	if (failed == -ENOMEM)
		(void)fprintf(stderr, "carryctl: no memory for the tables\n");
	if (fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "carryctl: write to standard output: %s\n", strerror(errno));
		failed = 1;
	}
	return failed ? EXIT_FAILED : EXIT_DONE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *socket = getenv("CARRY_SOCKET");
	const struct report_row *row;
	bool json = false;
	int option;

	if (!socket || !*socket)
		socket = DEFAULT_SOCKET;
	while ((option = getopt_long(argc, argv, "s:jVh", options, NULL)) != -1) {
		switch (option) {
		case 's': socket = optarg; break;
		case 'j': json = true; break;
		case 'V': (void)printf("carryctl %s\n", CARRY_RELEASE); return EXIT_DONE;
		case 'h': usage(stdout); return EXIT_DONE;
		default: usage(stderr); return EXIT_USAGE;
		}
	}
	if (argc - optind != 1) {
		usage(stderr);
		return EXIT_USAGE;
	}
	row = find_row(argv[optind]);
	if (!row) {
		(void)fprintf(stderr, "carryctl: there is no report \"%s\"\n", argv[optind]);
		usage(stderr);
		return EXIT_USAGE;
	}
	return run(socket, row, json);
}
