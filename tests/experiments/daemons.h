/*
 * daemons.h - trainers on real daemons: a cluster of `carry-lab run` that lives as long as they do.
 *
 * carry-lab makes a network namespace a node (without root: an address of loopback), one carryd in
 * each, one trainer a node, and puts "[RANK] " before each line that a trainer prints.  Programs
 * are those of the same build as this one.
 */
#ifndef TESTS_EXPERIMENTS_DAEMONS_H
#define TESTS_EXPERIMENTS_DAEMONS_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { DAEMONS_WORDS = 64, DAEMONS_LINE_BYTES = 256 };

struct daemons {
	pid_t pid; /* of carry-lab */
	FILE *lines;
};

/*
 * daemons_start() - words: what the trainer, the program beside this one, is called with, ended by
 * NULL, at most DAEMONS_WORDS.
 * Return: 0, or negative errno.
 */
int daemons_start(struct daemons *d, uint32_t nodes, const char *const *words);

/*
 * daemons_line() - what a rank printed next, without its end.
 * Return: 1: *rank and line are set; 0: all trainers have ended.
 */
int daemons_line(struct daemons *d, uint32_t *rank, char line[DAEMONS_LINE_BYTES]);

/* daemons_end() - Return: 0: all trainers ended well, and nothing is left of the cluster. */
int daemons_end(struct daemons *d);

#endif
