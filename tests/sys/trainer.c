/*
 * trainer.c - a rank that does what it is told, word by word, for the tests of real daemons.
 *
 *	trainer open join sum:f32:1000 @1:die sum:f32:1000
 *
 * Each word is a step; "@0,2:STEP" is for ranks 0 and 2 only, "!1:STEP" for all but rank 1.  A
 * step that matters prints one line, "STEP: ok ..." or "STEP: ECODE at MS: sentence", and the
 * next step follows either way; at the end the exit code is 1 if a step failed.  Times are
 * milliseconds of the real-time clock, so that scripts can compare them.
 *
 *   timeout:S root:HOST port:N rank:N ranks:N run:NAME schedule:NAME  for the joins that follow
 *   open[:ARENA] join[:NAME] alloc:BYTES heap (tensors there from now on) destroy close
 *   sum:TYPE:COUNT[:REDUCE]     a blocking op: "ok HASH" of the result's bits; REDUCE: sum avg ...
 *   vast:TYPE:COUNT[:REDUCE]    the same of zeros, for tensors that are larger than the memory
 *   post:TYPE:COUNT[:REDUCE]    the same without waiting (at most POSTS_MAX)
 *   wait                        for every posted op, in order, each as its sum would print
 *   loop:MS:TYPE:COUNT          sums until MS have passed on rank 0, or one fails: "ok SUMS HASH"
 *   limit:S                     for each wait; what takes longer "hangs"
 *   abort abort-in:MS (by a thread) fork (what a child may do) race (two threads, one group)
 *   sleep:MS say:TEXT await:FILE die die-in:MS
 *
 * Values are floats of all sorts of size, so that sums in another order have other bits; every
 * result is compared with a sum in double, too, and "WRONG" says that it is off.
 */
#include "libclient/carry.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POSTS_MAX = 32, PARTS_MAX = 4, RACE_S = 10 };
#define NS_PER_S 1000000000ll
#define NS_PER_MS 1000000ll

struct op {
	const char *step;
	enum carry_type type;
	enum carry_reduce reduce;
	size_t count;
	void *data; /* in place */
	struct carry_work *work;
};

struct trainer {
	_Atomic bool raced; /* a racing call was told so */
	struct carry *carry;
	struct carry_group *group;
	struct carry_group_options options;
	uint32_t rank; /* of this process, for @ and ! */
	bool heap, failed;
	int64_t limit_ns;
	struct op posts[POSTS_MAX];
	size_t post_count;
	pthread_t aborter;
	bool aborting, dying; /* by the aborter */
	int64_t abort_in_ms;
};

/* --- words ----------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / NS_PER_MS;
}

static void sleep_ms(int64_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static void die_usage(const char *step)
{
	fprintf(stderr, "trainer: cannot understand \"%s\"\n", step);
	exit(2);
}

static uint64_t number(const char *text, const char *step)
{
	char *end;
	uint64_t value;

	if (!text)
		die_usage(step);
	value = strtoull(text, &end, 10);
	if (*end == 'K' || *end == 'M')
		value <<= *end++ == 'K' ? 10 : 20;
	if (end == text || *end)
		die_usage(step);
	return value;
}

static void tell(struct trainer *t, const char *step, int code)
{
	if (code) {
		t->failed = true;
		printf("%s: %s at %" PRId64 ": %s\n", step, carry_error_name(code), now_ms(),
		       carry_last_error(NULL));
	} else {
		printf("%s: ok\n", step);
	}
	(void)fflush(stdout);
}

/* --- values ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

/* -8 to 8 with 24 random bits, so that every addition rounds. */
static float float_of(uint32_t rank, size_t i)
{
	uint64_t bits = mix(i * 4099 + rank + 1);

	return ((float)(uint32_t)(bits >> 40) / 0x1p24f - 0.5f) * (float)(1u << (bits & 3)) * 2;
}

static int32_t int_of(uint32_t rank, size_t i)
{
	return (int32_t)(uint32_t)mix(i * 8209 + rank + 1);
}

static void fill(const struct op *op, uint32_t rank)
{
	for (size_t i = 0; i < op->count; i++) {
		if (op->type == CARRY_I32)
			((int32_t *)op->data)[i] = int_of(rank, i);
		else if (op->type == CARRY_F64)
			((double *)op->data)[i] = (double)float_of(rank, i);
		else
			((float *)op->data)[i] = float_of(rank, i);
	}
}

/* Only sums are compared: the other reductions are carry-perf's. */
static bool right(const struct op *op, uint32_t ranks)
{
	for (size_t i = 0; op->reduce == CARRY_SUM && i < op->count; i++) {
		double sum = 0, got, most = 1e-5 * ranks * 8;
		uint32_t whole = 0;

		for (uint32_t rank = 0; rank < ranks; rank++) {
			sum += (double)float_of(rank, i);
			whole += op->type == CARRY_I32 ? (uint32_t)int_of(rank, i) : 0;
		}
		if (op->type == CARRY_I32) {
			if (((const uint32_t *)op->data)[i] != whole)
				return false;
			continue;
		}
		got = op->type == CARRY_F64 ? ((const double *)op->data)[i]
					    : (double)((const float *)op->data)[i];
		if (!(fabs(got - sum) <= most))
			return false;
	}
	return true;
}

static uint64_t hash(const struct op *op)
{
	const unsigned char *bytes = op->data;
	size_t left = op->count * carry_type_bytes(op->type);
	uint64_t h = 0xcbf29ce484222325ull, word;

	for (; left >= sizeof(word); left -= sizeof(word), bytes += sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		h = mix(h ^ word);
	}
	for (; left; left--)
		h = mix(h ^ *bytes++);
	return h;
}

/* --- ops ------------------------------------------------------------------------------------- */

static struct op op_of(const char *step, char **parts)
{
	static const char *const types[] = {"", "f32", "f64", "", "", "", "", "i32"};
	static const char *const reduces[] = {"", "sum", "avg", "min", "max", "prod"};
	struct op op = {.step = step, .reduce = parts[2] ? 0 : CARRY_SUM};

	for (int i = 1; parts[0] && i < 8; i++)
		if (strcmp(parts[0], types[i]) == 0)
			op.type = (enum carry_type)i;
	for (int i = 1; parts[2] && i < 6; i++)
		if (strcmp(parts[2], reduces[i]) == 0)
			op.reduce = (enum carry_reduce)i;
	if (!op.type || !op.reduce)
		die_usage(step);
	op.count = number(parts[1], step);
	return op;
}

static void give_back(struct trainer *t, struct op *op)
{
	if (t->heap || !t->carry)
		free(op->data);
	else
		(void)carry_free(t->carry, op->data);
}

static bool post(struct trainer *t, struct op *op)
{
	size_t bytes = op->count * carry_type_bytes(op->type);
	int code;

	op->data = t->heap || !t->carry ? malloc(bytes + 1) : carry_alloc(t->carry, bytes);
	if (!op->data) {
		tell(t, op->step, -ENOMEM);
		return false;
	}
	if (strncmp(op->step, "vast", 4) != 0)
		fill(op, t->group ? carry_group_rank(t->group) : 0);
	code = t->group ? carry_allreduce(t->group, op->data, op->data, op->count, op->type,
					  op->reduce, NULL, &op->work)
			: -ENOTCONN;
	if (code) {
		tell(t, op->step, code);
		give_back(t, op);
	}
	return !code;
}

/* Return: whether it was right. */
static bool finish(struct trainer *t, struct op *op, uint64_t *bits, bool quiet)
{
	int code = carry_wait(op->work, t->limit_ns, NULL);

	if (code) {
		tell(t, code == -ETIMEDOUT ? "hangs" : op->step, code);
	} else if (!right(op, carry_group_ranks(t->group))) {
		t->failed = true;
		printf("%s: WRONG\n", op->step);
		code = -EIO;
	} else {
		*bits = hash(op);
		if (!quiet)
			printf("%s: ok %016" PRIx64 "\n", op->step, *bits);
	}
	(void)fflush(stdout);
	give_back(t, op);
	return !code;
}

static void step_sum(struct trainer *t, const char *step, char **parts)
{
	struct op op = op_of(step, parts);
	uint64_t bits;

	if (post(t, &op))
		(void)finish(t, &op, &bits, false);
}

static void step_post(struct trainer *t, const char *step, char **parts)
{
	struct op op = op_of(step, parts);

	if (t->post_count == POSTS_MAX)
		die_usage(step);
	if (post(t, &op))
		t->posts[t->post_count++] = op;
}

static void step_wait(struct trainer *t)
{
	uint64_t bits;

	for (size_t i = 0; i < t->post_count; i++)
		(void)finish(t, &t->posts[i], &bits, false);
	t->post_count = 0;
}

/* Rank 0 decides when it is enough: the others hear of it by a small sum. */
static void step_loop(struct trainer *t, const char *step, char **parts)
{
	int64_t end_ms = now_ms() + (int64_t)number(parts[0], step);
	struct op op = op_of(step, parts + 1);
	uint64_t bits, first = 0, sums = 0;
	int32_t over = 0;

	while (!over) {
		if (!post(t, &op) || !finish(t, &op, &bits, true))
			return;
		if (sums++ == 0)
			first = bits;
		if (bits != first) {
			printf("%s: WRONG bits in sum %" PRIu64 "\n", step, sums);
			t->failed = true;
			return;
		}
		over = t->rank == 0 && now_ms() >= end_ms;
		int code = carry_allreduce(t->group, &over, &over, 1, CARRY_I32, CARRY_SUM, NULL,
					   NULL);
		if (code) {
			tell(t, step, code);
			return;
		}
	}
	printf("%s: ok %" PRIu64 " %016" PRIx64 "\n", step, sums, first);
}

/* --- groups ---------------------------------------------------------------------------------- */

static void step_join(struct trainer *t, const char *step, const char *name)
{
	int code;

	t->options.name = name;
	code = t->carry ? carry_group_create(&t->group, t->carry, &t->options) : -ENOTCONN;
	tell(t, step, code);
}

static void step_open(struct trainer *t, const char *step, const char *arena)
{
	struct carry_open_options options = {.size = sizeof(options)};

	if (arena)
		options.arena_bytes = number(arena, step);
	tell(t, step, carry_open_with(&t->carry, &options));
}

static void die(void)
{
	printf("dies at %" PRId64 "\n", now_ms());
	(void)fflush(stdout);
	(void)kill(getpid(), SIGKILL);
}

static void *abort_later(void *data)
{
	struct trainer *t = data;

	sleep_ms(t->abort_in_ms);
	if (t->dying)
		die();
	if (carry_group_abort(t->group))
		printf("abort failed: %s\n", carry_last_error(NULL));
	return NULL;
}

static void step_abort_in(struct trainer *t, const char *step, const char *ms)
{
	t->abort_in_ms = (int64_t)number(ms, step);
	if (t->aborting || pthread_create(&t->aborter, NULL, abort_later, t))
		die_usage(step);
	t->aborting = true;
}

/* What a child may do with its parent's handles: nothing; with its own: all. */
static void step_fork(struct trainer *t, const char *step)
{
	struct trainer own = {.options = t->options, .limit_ns = t->limit_ns};
	char *parts[PARTS_MAX] = {"f32", "1000"};
	char run[32];
	float x = 1;
	pid_t child = fork();
	int status;

	if (child > 0) {
		if (waitpid(child, &status, 0) != child || status)
			t->failed = true;
		return;
	}
	tell(&own, "child's sum",
	     carry_allreduce(t->group, &x, &x, 1, CARRY_F32, CARRY_SUM, NULL, NULL));
	tell(&own, "child's abort", carry_group_abort(t->group));
	tell(&own, "child's destroy", carry_group_destroy(t->group));
	carry_close(t->carry);
	own.failed = false;
	(void)snprintf(run, sizeof(run), "child-%d", (int)getpid());
	own.options.run = run;
	own.options.rank = 0;
	own.options.ranks = 1;
	step_open(&own, "child's open", NULL);
	step_join(&own, "child's join", "child");
	step_sum(&own, step, parts);
	carry_close(own.carry);
	_exit(own.failed);
}

static void *race_sum(void *data)
{
	struct trainer *t = data;
	size_t count = 20000;
	float *x = calloc(count, sizeof(*x));
	uintptr_t busy = 0;

	/* Until both threads were in the call at once: how soon that is, the scheduler decides. */
	for (time_t end = time(NULL) + RACE_S; x && !t->raced && time(NULL) < end;) {
		int code = carry_allreduce(t->group, x, x, count, CARRY_F32, CARRY_SUM, NULL, NULL);

		busy += code == -EBUSY;
		if (code == -EBUSY)
			t->raced = true;
		if (code && code != -EBUSY)
			tell(t, "race", code);
	}
	free(x);
	return (void *)busy; /* NOLINT: a number, not a pointer */
}

static void step_race(struct trainer *t)
{
	void *busy[2] = {NULL, NULL};
	pthread_t other;

	if (pthread_create(&other, NULL, race_sum, t))
		die_usage("race");
	busy[0] = race_sum(t);
	(void)pthread_join(other, &busy[1]);
	printf("race: %s\n", busy[0] || busy[1] ? "EBUSY" : "nobody noticed");
}

/* --- steps ----------------------------------------------------------------------------------- */

static void step_await(const char *step, const char *path)
{
	int64_t end_ms = now_ms() + 30000;

	while (access(path, F_OK)) {
		if (now_ms() >= end_ms) {
			printf("%s: did not come\n", step);
			exit(1);
		}
		sleep_ms(2);
	}
}

static bool option_step(struct trainer *t, const char *step, char **parts)
{
	const char *word = parts[0], *value = parts[1];

	if (strcmp(word, "timeout") == 0)
		t->options.timeout_ns = number(value, step) * (uint64_t)NS_PER_S;
	else if (strcmp(word, "root") == 0)
		t->options.root = value;
	else if (strcmp(word, "port") == 0)
		t->options.root_port = (uint16_t)number(value, step);
	else if (strcmp(word, "rank") == 0)
		t->options.rank = (uint32_t)number(value, step);
	else if (strcmp(word, "ranks") == 0)
		t->options.ranks = (uint32_t)number(value, step);
	else if (strcmp(word, "run") == 0)
		t->options.run = value;
	else if (strcmp(word, "schedule") == 0)
		t->options.schedule = value;
	else if (strcmp(word, "limit") == 0)
		t->limit_ns = (int64_t)number(value, step) * NS_PER_S;
	else if (strcmp(word, "heap") == 0)
		t->heap = true;
	else
		return false;
	return true;
}

static bool plain_step(const char *step, char **parts)
{
	const char *word = parts[0];

	if (strcmp(word, "sleep") == 0) {
		sleep_ms((int64_t)number(parts[1], step));
	} else if (strcmp(word, "say") == 0 && parts[1]) {
		printf("%s at %" PRId64 "\n", parts[1], now_ms());
		(void)fflush(stdout);
	} else if (strcmp(word, "await") == 0 && parts[1]) {
		step_await(step, parts[1]);
	} else if (strcmp(word, "die") == 0) {
		die();
	} else {
		return false;
	}
	return true;
}

static bool group_step(struct trainer *t, const char *step, char **parts)
{
	const char *word = parts[0];

	if (strcmp(word, "open") == 0) {
		step_open(t, step, parts[1]);
	} else if (strcmp(word, "join") == 0) {
		step_join(t, step, parts[1]);
	} else if (strcmp(word, "alloc") == 0) {
		tell(t, step, carry_alloc(t->carry, number(parts[1], step)) ? 0 : -ENOMEM);
	} else if (strcmp(word, "abort") == 0) {
		tell(t, step, carry_group_abort(t->group));
	} else if (strcmp(word, "abort-in") == 0 || strcmp(word, "die-in") == 0) {
		t->dying = *word == 'd';
		step_abort_in(t, step, parts[1]);
	} else if (strcmp(word, "destroy") == 0) {
		int code = carry_group_destroy(t->group);

		tell(t, step, code);
		if (code != -ETIMEDOUT)
			t->group = NULL;
	} else if (strcmp(word, "close") == 0) {
		carry_close(t->carry);
		t->carry = NULL;
		t->group = NULL;
	} else {
		return false;
	}
	return true;
}

static bool op_step(struct trainer *t, const char *step, char **parts)
{
	const char *word = parts[0];

	if (strcmp(word, "sum") == 0 || strcmp(word, "vast") == 0)
		step_sum(t, step, parts + 1);
	else if (strcmp(word, "post") == 0)
		step_post(t, step, parts + 1);
	else if (strcmp(word, "wait") == 0)
		step_wait(t);
	else if (strcmp(word, "loop") == 0)
		step_loop(t, step, parts + 1);
	else if (strcmp(word, "fork") == 0)
		step_fork(t, step);
	else if (strcmp(word, "race") == 0)
		step_race(t);
	else
		return false;
	return true;
}

/* "0,2" */
static bool listed(const char *list, uint32_t rank)
{
	while (*list) {
		char *end;

		if (strtoul(list, &end, 10) == rank && end != list)
			return true;
		list = *end == ',' ? end + 1 : "";
	}
	return false;
}

/* @cut: a copy of the step, to be taken apart; both stay until the end. */
static void run(struct trainer *t, const char *step, char *cut)
{
	char *rest = cut, *parts[PARTS_MAX + 2] = {NULL};

	if (*cut == '@' || *cut == '!') {
		const char *list = strsep(&rest, ":");

		if (!rest || listed(list + 1, t->rank) != (*step == '@'))
			return;
		step += rest - cut;
	}
	for (size_t i = 0; rest && i < PARTS_MAX; i++)
		parts[i] = strsep(&rest, ":");
	if (!parts[0] || (!option_step(t, step, parts) && !plain_step(step, parts) &&
			  !group_step(t, step, parts) && !op_step(t, step, parts)))
		die_usage(step);
}

int main(int argc, char **argv)
{
	struct trainer t = {.options = {.size = sizeof(t.options)}, .limit_ns = 40 * NS_PER_S};
	const char *rank = getenv("RANK");
	char **copies = calloc((size_t)argc, sizeof(*copies));

	t.rank = rank ? (uint32_t)number(rank, "RANK") : 0;
	for (int i = 1; copies && i < argc; i++) {
		copies[i] = strdup(argv[i]);
		if (!copies[i])
			die_usage(argv[i]);
		run(&t, argv[i], copies[i]);
	}
	if (t.aborting)
		(void)pthread_join(t.aborter, NULL);
	carry_close(t.carry);
	for (int i = 1; copies && i < argc; i++)
		free(copies[i]);
	free(copies);
	return t.failed;
}
