/*
 * scribbler.c - a rank that writes into its input while the op runs, for test_scribble.
 *
 *	scribbler COUNT SCHEDULE    two groups, "bad" and "good"; the last rank scribbles in "bad"
 *
 * Prints "bad: RESULT", "good: RESULT" for an op of COUNT floats each, the good one begun
 * before and ended behind the bad one, and "again: RESULT" of one more op in "bad".
 * RESULT: "ok HASH" or "ECODE: sentence".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/carry.h"

#define WAIT_NS 60000000000ll

static void need(int code, const char *what)
{
	if (!code)
		return;
	printf("%s: %s: %s\n", what, carry_error_name(code), carry_last_error(NULL));
	exit(1);
}

static float *tensor(struct carry *c, size_t count, uint32_t rank)
{
	float *t = carry_alloc(c, count * sizeof(*t));

	if (!t)
		need(-ENOMEM, "alloc");
	for (size_t i = 0; i < count; i++)
		t[i] = (float)((i * 7 + rank) % 1000);
	return t;
}

static void result(const char *name, struct carry_work *work, const float *out, size_t count)
{
	int code = carry_wait(work, WAIT_NS, NULL);
	uint64_t hash = 14695981039346656037u;

	if (code) {
		printf("%s: %s: %s\n", name, carry_error_name(code), carry_last_error(NULL));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		uint32_t bits;

		memcpy(&bits, &out[i], sizeof(bits));
		hash = (hash ^ bits) * 1099511628211u;
	}
	printf("%s: ok %016" PRIx64 "\n", name, hash);
}

static struct carry_work *begin(struct carry_group *g, const float *in, float *out, size_t count)
{
	struct carry_work *work = NULL;

	need(carry_allreduce(g, in, out, count, CARRY_F32, CARRY_SUM, NULL, &work), "allreduce");
	return work;
}

int main(int argc, char **argv)
{
	struct carry_group_options options = {.size = sizeof(options), .name = "bad"};
	size_t count = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
	struct carry_group *bad, *good;
	struct carry_work *other, *work;
	struct carry *c;
	uint32_t rank;
	float *in, *out, *in2, *out2;

	if (!count)
		return 2;
	options.schedule = argv[2];
	need(carry_open(&c, NULL), "open");
	need(carry_group_create(&bad, c, &options), "create bad");
	options.name = "good";
	need(carry_group_create(&good, c, &options), "create good");
	rank = carry_group_rank(bad);
	in = tensor(c, count, rank);
	in2 = tensor(c, count, rank);
	out = tensor(c, count, 0);
	out2 = tensor(c, count, 0);

	other = begin(good, in2, out2, count);
	work = begin(bad, in, out, count);
	if (rank + 1 == carry_group_ranks(bad))
		for (uint32_t round = 0; !carry_test(work); round++)
			for (size_t i = 0; i < count; i += 16)
				((volatile float *)in)[i] = (float)round;
	result("bad", work, out, count);
	result("good", other, out2, count);
	result("again", begin(bad, in2, out, count), out, count);
	need(carry_group_destroy(bad), "destroy");
	need(carry_group_destroy(good), "destroy");
	carry_close(c);
	return 0;
}
