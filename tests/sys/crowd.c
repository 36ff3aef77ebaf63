/*
 * crowd.c - attaches trainers by the hundred and kills each with SIGKILL, wherever it is.
 *
 *	crowd COUNT ROOT [SEED]
 *
 * WIDTH children live at once.  What a child does depends on its number: attach; attach and
 * fill memory; form a group of its own (ROOT is this node's own address) and sum; ask for a group
 * whose other rank never comes; leave ops in flight.  It is killed when it has come that far, or
 * after a random time of at most RANDOM_MS, that is at any instruction.
 * Prints "killed COUNT, ATTACHED attached, FAILED failed"; a child fails if libcarry says no.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/carry.h"

enum { WIDTH = 16, KINDS = 6, RANDOM_MS = 12, LIMIT_MS = 20000, ARENA = 1 << 20 };

struct child {
	pid_t pid;
	int report; /* "a": attached, "d": done, "f": failed */
};

static void report(int fd, char word)
{
	(void)!write(fd, &word, 1);
}

static void fail(int fd)
{
	fprintf(stderr, "crowd: %s\n", carry_last_error(NULL));
	report(fd, 'f');
	_exit(1);
}

/* A group of `ranks`, of which this is rank 0. */
static struct carry_group *group_of(struct carry *c, const char *root, uint32_t ranks, int fd)
{
	char run[32];
	struct carry_group_options options = {.size = sizeof(options),
					      .root = root,
					      .run = run,
					      .ranks = ranks,
					      .timeout_ns = 60000000000ull};
	struct carry_group *g = NULL;

	(void)snprintf(run, sizeof(run), "crowd-%d", (int)getpid());
	if (ranks > 1)
		report(fd, 'd'); /* it blocks */
	if (carry_group_create(&g, c, &options))
		fail(fd);
	return g;
}

static void live(unsigned int number, const char *root, int fd)
{
	const struct carry_open_options options = {.size = sizeof(options), .arena_bytes = ARENA};
	unsigned int kind = number % KINDS;
	struct carry_work *work;
	struct carry_group *g;
	struct carry *c;
	float *x;

	if (carry_open_with(&c, &options))
		fail(fd);
	report(fd, 'a');
	x = carry_alloc(c, ARENA / 4);
	if (!x)
		fail(fd);
	if (kind >= 1)
		memset(x, 0, ARENA / 4);
	if (kind == 2 || kind >= 4) {
		g = group_of(c, root, 1, fd);
		for (int i = 0; i < 4; i++) {
			int code = carry_allreduce(g, x, x, ARENA / 32, CARRY_F32, CARRY_SUM, NULL,
						   kind == 4 ? &work : NULL);
			if (code)
				fail(fd);
		}
	}
	if (kind == 3)
		(void)group_of(c, root, 2, fd);
	report(fd, 'd');
	for (;;)
		(void)pause();
}

static struct child start(unsigned int number, const char *root)
{
	struct child child = {.pid = -1};
	int ends[2];

	if (pipe(ends) || (child.pid = fork()) < 0) {
		fprintf(stderr, "crowd: %s\n", strerror(errno));
		exit(1);
	}
	if (child.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(ends[0]);
		live(number, root, ends[1]);
	}
	(void)close(ends[1]);
	child.report = ends[0];
	return child;
}

/* Return: the last word the child said within limit_ms, 0: none; *attached counts. */
static char listen_to(const struct child *child, int limit_ms, unsigned int *attached)
{
	struct pollfd one = {.fd = child->report, .events = POLLIN};
	char word, last = 0;

	while (last != 'd' && last != 'f' && poll(&one, 1, limit_ms) > 0 &&
	       read(child->report, &word, 1) == 1) {
		*attached += word == 'a';
		last = word;
	}
	return last;
}

int main(int argc, char **argv)
{
	unsigned int count, attached = 0, failed = 0, begun = 0, seed = 1;
	struct child children[WIDTH];

	if (argc < 3)
		return 2;
	count = (unsigned int)strtoul(argv[1], NULL, 10);
	seed = argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) * 2 + 1 : 1;
	for (unsigned int ended = 0; ended < count; ended++) {
		struct child *child = &children[ended % WIDTH];
		int limit_ms = LIMIT_MS;
		char last;

		while (begun < count && begun < ended + WIDTH) {
			children[begun % WIDTH] = start(begun, argv[2]);
			begun++;
		}
		seed = seed * 1664525u + 1013904223u;
		if (ended % KINDS == KINDS - 1)
			limit_ms = (int)(seed >> 16) % RANDOM_MS;
		last = listen_to(child, limit_ms, &attached);
		failed += last == 'f' || (limit_ms == LIMIT_MS && last != 'd');
		(void)kill(child->pid, SIGKILL);
		(void)waitpid(child->pid, NULL, 0);
		(void)close(child->report);
	}
	printf("killed %u, %u attached, %u failed\n", count, attached, failed);
	return failed > 0;
}
