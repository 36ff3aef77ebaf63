/*
 * holes.c - a trainer that punches holes into the memory that it shares with its daemon.
 *
 *	holes tensors|all MS RUN
 *
 * Rank and size of its group come from the environment (carry-lab run).  While it sums, for MS
 * milliseconds, a thread takes pages away again and again:
 *   tensors  those of its inputs and results: every op succeeds, with bits of no meaning
 *   all      the rings and the header, too: ops end somehow, or never; nobody waits for them
 * Prints "holes: ok OPS ops, PUNCHED punched" or "holes: ENAME: sentence"; exit code 0 for either
 * if the mode allows it.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "libclient/carry.h"

enum { COUNT = 1 << 18, LIMIT_MS = 5000, NS_PER_MS = 1000000 };

struct puncher {
	char *from;
	size_t bytes;
	_Atomic bool stop;
	uint64_t times;
};

struct tensors {
	float *in, *out; /* float32[COUNT] each, one behind the other */
	int32_t *late;   /* never punched but with everything         */
};

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *punch(void *argument)
{
	struct puncher *p = argument;
	const struct timespec pause = {.tv_nsec = 100000};

	while (!p->stop) {
		if (madvise(p->from, p->bytes, MADV_REMOVE)) {
			fprintf(stderr, "holes: punch: %s\n", strerror(errno));
			_exit(2);
		}
		p->times++;
		(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

/* Where the shared memory is in this process: header, rings, arena. */
static bool find_memory(struct puncher *p)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	while (maps && !found && fgets(line, sizeof(line), maps)) {
		uintptr_t from, to;

		if (strstr(line, "memfd:carry-arena") &&
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2) {
			memcpy(&p->from, &from, sizeof(from));
			p->bytes = to - from;
			found = true;
		}
	}
	if (maps)
		fclose(maps);
	return found;
}

static int reduce(struct carry_group *g, const void *in, void *out, size_t count,
		  enum carry_type type, enum carry_reduce how)
{
	struct carry_work *w;
	int r = carry_allreduce(g, in, out, count, type, how, NULL, &w);

	return r ? r : carry_wait(w, (int64_t)LIMIT_MS * NS_PER_MS, NULL);
}

/*
 * Until a rank's time is up: the ranks agree on that, so that nobody leaves the others waiting.
 * Where their agreement is punched away, too, until latest_ms.
 */
static int sums(struct carry_group *g, const struct tensors *t, int64_t until_ms, int64_t latest_ms,
		uint64_t *ops)
{
	do {
		int r = reduce(g, t->in, t->out, COUNT, CARRY_F32, CARRY_SUM);

		*t->late = now_ms() >= until_ms;
		if (r == 0)
			r = reduce(g, t->late, t->late, 1, CARRY_I32, CARRY_MAX);
		if (r)
			return r;
		++*ops;
	} while (!*t->late && now_ms() < latest_ms);
	return 0;
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	return *text && !*end && value > 0 ? value : 0;
}

int main(int argc, char **argv)
{
	struct carry_open_options open_options = {.size = sizeof(open_options),
						  .arena_bytes = 16 << 20};
	struct carry_group_options options = {.size = sizeof(options)};
	struct puncher p = {.stop = false};
	struct carry *c = NULL;
	struct carry_group *g;
	pthread_t thread;
	bool all = argc > 1 && strcmp(argv[1], "all") == 0;
	int64_t until_ms;
	struct tensors t;
	uint64_t ops = 0;
	int r;

	if (argc != 4 || !number(argv[2]))
		return 2;
	options.run = argv[3];
	if (carry_open_with(&c, &open_options) || carry_group_create(&g, c, &options)) {
		fprintf(stderr, "holes: %s\n", carry_last_error(NULL));
		return 2;
	}
	t.in = carry_alloc(c, 2 * COUNT * sizeof(*t.in));
	t.out = t.in ? t.in + COUNT : NULL;
	t.late = carry_alloc(c, sizeof(*t.late));
	p.from = (char *)t.in;
	p.bytes = 2 * COUNT * sizeof(*t.in);
	if (!t.in || !t.late || (all && !find_memory(&p)) ||
	    pthread_create(&thread, NULL, punch, &p))
		return 2;
	until_ms = now_ms() + number(argv[2]);
	r = sums(g, &t, until_ms, all ? until_ms : INT64_MAX, &ops);
	p.stop = true;
	pthread_join(thread, NULL);
	if (r)
		printf("holes: %s: %s\n", carry_error_name(r), carry_last_error(c));
	else
		printf("holes: ok %" PRIu64 " ops, %" PRIu64 " punched\n", ops, p.times);
	carry_close(c);
	return r && !all;
}
