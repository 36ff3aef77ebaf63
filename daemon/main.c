/*
 * main.c - carryd's command line.
 *
 *     carryd [-c FILE] [--check-config] [--print-config] [--version]
 *
 * Exit codes: 0 done, 1 failed, 2 bad usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/err.h"
#include "daemon/log.h"
#include "daemon/main_run.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum action { ACTION_RUN, ACTION_CHECK, ACTION_PRINT };

static void usage(FILE *to)
{
	(void)fprintf(to,
		      "usage: carryd [-c FILE] [--check-config | --print-config]\n"
		      "Moves and sums the tensors of this node's trainers.\n"
		      "  -c FILE, --config FILE  the configuration (default: " CONFIG_DEFAULT_PATH
		      ", if it is there)\n"
		      "  --check-config          read it, say what is wrong with it, and end\n"
		      "  --print-config          print every key, with help, default and origin\n"
		      "  --version               print the version\n"
		      "  --help                  print this\n"
		      "Exit codes: 0 done, 1 failed, 2 bad usage.\n");
}

static int print_config(const struct config *config)
{
	config_print(config, stdout);
	if (fflush(stdout) || ferror(stdout)) {
		(void)fprintf(stderr, "carryd: cannot write to standard output\n");
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int run(const struct config *config, uint64_t start_ns)
{
	struct log *log;
	struct err err;
	int error;

	if (log_open(&log, STDERR_FILENO, (enum log_level)config->log_level)) {
		(void)fprintf(stderr, "carryd: no memory for the log\n");
		return EXIT_FAILED;
	}
	error = main_run(config, log, start_ns, &err);
	if (error)
		log_put(log, LOG_LEVEL_ERROR, LOG_START_FAILED, "%s", err.text);
	log_close(log);
	return error ? EXIT_FAILED : EXIT_DONE;
}

static int act(enum action action, const char *path, uint64_t start_ns)
{
	struct config config;
	struct err err;

	if (config_load(&config, path, &err)) {
		(void)fprintf(stderr, "carryd: %s\n", err.text);
		return EXIT_FAILED;
	}
	switch (action) {
	case ACTION_CHECK:
		(void)printf("%s: good\n", *config.path ? config.path : "no file, all defaults");
		return EXIT_DONE;
	case ACTION_PRINT: return print_config(&config);
	case ACTION_RUN: break;
	}
	return run(&config, start_ns);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'C'},
		{"print-config", no_argument, NULL, 'P'}, {"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
	};
	uint64_t start_ns = clock_now_ns();
	enum action action = ACTION_RUN;
	const char *path = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c': path = optarg; break;
		case 'C': action = ACTION_CHECK; break;
		case 'P': action = ACTION_PRINT; break;
		case 'V': (void)printf("carryd %s\n", CARRY_RELEASE); return EXIT_DONE;
		case 'h': usage(stdout); return EXIT_DONE;
		default: usage(stderr); return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "carryd: \"%s\" is too much\n", argv[optind]);
		usage(stderr);
		return EXIT_USAGE;
	}
	return act(action, path, start_ns);
}
