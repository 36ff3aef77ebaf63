/*
 * test_chooser.c - a chooser in a world where each alternative takes a known time: what it tries,
 * where it settles, how seldom it changes its mind.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/chooser.h"

#define LIST 7
#define MS UINT64_C(1000000)

/* Ops of one list, of some classes in turn; the lane follows its own leases. */
struct world {
	struct chooser *chooser;
	struct choices choices;
	uint64_t seq, now_ns;
	uint64_t ns[64][CHOICE_ALTERNATIVES_MAX]; /* of an op, by class and alternative */
	uint32_t classes;
	uint8_t size_class[4], alternatives;
	uint64_t changed_at[4], changes[4], closest; /* closest: ops between two changes */
	uint8_t last[4];
	uint64_t ops[64][CHOICE_ALTERNATIVES_MAX];
};

static struct world begin(uint8_t alternatives)
{
	struct world w = {.alternatives = alternatives,
			  .classes = 1,
			  .size_class = {20},
			  .closest = UINT64_MAX};

	assert_int_equal(chooser_new(&w.chooser), 0);
	return w;
}

static void run(struct world *w, uint64_t ops)
{
	for (uint64_t end = w->seq + ops; w->seq < end;) {
		uint32_t i = (uint32_t)(++w->seq % w->classes);
		uint8_t size_class = w->size_class[i];
		struct choice_sample sample = {.seq = w->seq,
					       .bytes = choice_class_bytes(size_class),
					       .list = LIST,
					       .size_class = size_class,
					       .alternatives = w->alternatives};
		struct choice_decision decision;
		struct choice_lease lease;

		if (chooser_lease(w->chooser, w->seq, w->now_ns, &decision)) {
			choice_lease_of(&lease, &decision);
			assert_true(choices_add(&w->choices, &lease, w->seq));
		}
		assert_true(w->seq <= w->choices.through);
		sample.alternative = choices_at(&w->choices, LIST, size_class, w->seq);
		if (sample.alternative != w->last[i]) {
			if (w->changes[i] && w->seq - w->changed_at[i] < w->closest)
				w->closest = w->seq - w->changed_at[i];
			w->changes[i]++;
			w->changed_at[i] = w->seq;
			w->last[i] = sample.alternative;
		}
		w->ops[size_class][sample.alternative]++;
		sample.ns = w->ns[size_class][sample.alternative];
		w->now_ns += sample.ns;
		chooser_note(w->chooser, &sample);
	}
}

static void set(struct world *w, uint8_t size_class, uint64_t a, uint64_t b, uint64_t c)
{
	w->ns[size_class][0] = a * MS;
	w->ns[size_class][1] = b * MS;
	w->ns[size_class][2] = c * MS;
}

static void settles_on_the_fastest(void **state)
{
	static const uint64_t times[][3] = {
		{100, 30, 20}, {100, 20, 30}, {20, 100, 30}, {20, 30, 100}, {30, 20, 100},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct world w = begin(3);
		uint8_t best = 0;

		set(&w, 20, times[i][0], times[i][1], times[i][2]);
		for (uint8_t a = 1; a < 3; a++)
			if (times[i][a] < times[i][best])
				best = a;
		run(&w, 900);
		assert_int_equal(w.last[0], best);
		for (uint8_t a = 0; a < 3; a++)
			assert_true(w.ops[20][a] >= CHOOSER_SAMPLES_MIN);
		run(&w, 100000);
		/* Trials of others cost little: of all ops, nearly all go by the best one. */
		assert_true(w.ops[20][best] > 95000);
		assert_true(w.closest >= CHOOSER_PERIOD);
		chooser_free(w.chooser);
	}
}

/* Hardly faster is no reason to lose more. */
static void prefers_what_loses_less(void **state)
{
	struct world w = begin(3);

	(void)state;
	set(&w, 20, 100, 99, 98);
	run(&w, 1000);
	assert_int_equal(w.last[0], 0);
	set(&w, 20, 100, 98, 96);
	run(&w, 100000);
	assert_true(w.ops[20][1] > 85000); /* 98 <= 1.03 x 96 */
	chooser_free(w.chooser);
}

static void notices_a_change(void **state)
{
	struct world w = begin(3);

	(void)state;
	set(&w, 20, 20, 30, 40);
	run(&w, 5000);
	assert_int_equal(w.last[0], 0);
	set(&w, 20, 200, 60, 30); /* the link has become slow */
	run(&w, 800);
	assert_int_equal(w.last[0], 2);
	set(&w, 20, 10, 15, 20); /* and faster than it was: no hurry */
	run(&w, 600);
	assert_int_equal(w.last[0], 2);
	run(&w, 3400);
	assert_int_equal(w.last[0], 0);
	assert_true(w.closest >= CHOOSER_PERIOD);
	chooser_free(w.chooser);
}

/* Slower for a while, and nothing else would help: nothing is tried. */
static void bears_a_change(void **state)
{
	struct world w = begin(3);
	uint64_t changes;

	(void)state;
	set(&w, 20, 100, 80, 20);
	run(&w, 500);
	changes = w.changes[0];
	set(&w, 20, 200, 160, 40);
	run(&w, 700);
	set(&w, 20, 100, 80, 20);
	run(&w, 700);
	assert_int_equal(w.last[0], 2);
	assert_int_equal(w.changes[0], changes);
	chooser_free(w.chooser);
}

/* What became better elsewhere is found by a trial, some time. */
static void finds_what_became_better(void **state)
{
	struct world w = begin(2);

	(void)state;
	set(&w, 20, 20, 30, 0);
	run(&w, 5000);
	assert_int_equal(w.last[0], 0);
	set(&w, 20, 20, 10, 0);
	run(&w, 10000);
	assert_int_equal(w.last[0], 1);
	chooser_free(w.chooser);
}

static void one_choice_a_class(void **state)
{
	struct world w = begin(3);

	(void)state;
	w.classes = 4;
	for (uint8_t i = 0; i < 4; i++)
		w.size_class[i] = (uint8_t)(14 + 2 * i);
	set(&w, 14, 5, 6, 7);
	set(&w, 16, 9, 7, 8);
	set(&w, 18, 30, 20, 10);
	set(&w, 20, 50, 40, 60);
	run(&w, 2500);
	assert_int_equal(w.last[0], 0);
	assert_int_equal(w.last[1], 1);
	assert_int_equal(w.last[2], 2);
	assert_int_equal(w.last[3], 1);
	assert_true(w.closest >= CHOOSER_PERIOD);
	chooser_free(w.chooser);
}

/* However short ops are, a class does not change faster than a person can read it. */
static void pauses(void **state)
{
	struct world w = begin(3);
	uint64_t most;

	(void)state;
	w.ns[20][0] = w.ns[20][1] = w.ns[20][2] = 10000;
	run(&w, 1000000); /* 10 s; with trials of what is as good all the while */
	most = w.now_ns / CHOOSER_PAUSE_NS;
	assert_true(w.changes[0] <= most);
	assert_true(w.changes[0] >= 3);
	chooser_free(w.chooser);
}

/* A link that has saved up bytes is fast for a while: 20 ops of the trial, and then no more. */
static void bursts(void **state)
{
	struct world w = begin(2);

	(void)state;
	set(&w, 20, 100, 20, 0);
	for (int i = 0; i < 20000; i++) {
		bool fresh = w.last[0] == 0 && w.seq - w.changed_at[0] < 20;

		w.ns[20][0] = (fresh ? 10 : 100) * MS;
		run(&w, 1);
	}
	assert_true(w.ops[20][1] > 19000);
	chooser_free(w.chooser);
}

/* Nearly as fast, and faster for once: what is close is tried several times. */
static void a_lucky_trial(void **state)
{
	struct world w = begin(2);

	(void)state;
	set(&w, 20, 100, 90, 0);
	run(&w, 200); /* the first trial of 1 */
	assert_int_equal(w.last[0], 1);
	set(&w, 20, 100, 115, 0);
	run(&w, 800);
	assert_int_equal(w.last[0], 0);
	assert_int_equal(w.changes[0], 6); /* three trials each */
	chooser_free(w.chooser);
}

/* Slower for once, by nearly two: one trial does not rule it out. */
static void an_unlucky_trial(void **state)
{
	struct world w = begin(2);

	(void)state;
	set(&w, 20, 1, 2, 0);
	w.ns[20][1] -= MS / 10;
	run(&w, 200); /* the first trial of 1, in 190 ms */
	assert_int_equal(w.last[0], 1);
	w.ns[20][1] = 7 * MS / 10;
	run(&w, 2000);
	assert_int_equal(w.last[0], 1);
	chooser_free(w.chooser);
}

/* Nor does the last of three, the others of which were faster. */
static void an_unlucky_last_trial(void **state)
{
	struct world w = begin(2);

	(void)state;
	set(&w, 20, 10, 9, 0);
	while (w.changes[0] < 5) /* 1 0 1 0 1 */
		run(&w, 1);
	set(&w, 20, 10, 19, 0);
	run(&w, 150);
	set(&w, 20, 10, 9, 0);
	run(&w, 1000);
	assert_int_equal(w.last[0], 1);
	assert_int_equal(w.changes[0], 5);
	chooser_free(w.chooser);
}

/* But one of a second does. */
static void a_long_trial(void **state)
{
	struct world w = begin(3);

	(void)state;
	set(&w, 20, 100, 19, 10);
	run(&w, 900);
	assert_int_equal(w.last[0], 2);
	assert_int_equal(w.changes[0], 2);
	chooser_free(w.chooser);
}

/* Slower by a half for some hundred ops, now and then: no reason to try others. */
static void slow_spells(void **state)
{
	struct world w = begin(2);
	uint64_t changes;

	(void)state;
	set(&w, 20, 30, 40, 0);
	run(&w, 1000);
	assert_int_equal(w.last[0], 0);
	changes = w.changes[0];
	for (int i = 0; i < 2; i++) {
		set(&w, 20, 45, 60, 0);
		run(&w, 300);
		set(&w, 20, 30, 40, 0);
		run(&w, 700);
	}
	assert_int_equal(w.changes[0], changes);
	chooser_free(w.chooser);
}

/*
 * Short ops, all of them three times slower for 6 of 40 ms: what ops took in the last of a period's
 * 50 ms says little, what they took all over it says enough.
 */
static void short_ops(void **state)
{
	static const uint64_t ns[] = {30000, 35000, 40000};
	struct world w = begin(3);

	(void)state;
	w.now_ns = 1000 * MS; /* slow just then, and no time since anything */
	run(&w, 1);
	while (w.now_ns < 61000 * MS) {
		for (uint8_t a = 0; a < 3; a++)
			w.ns[20][a] = w.now_ns / MS % 40 < 6 ? 3 * ns[a] : ns[a];
		run(&w, 10);
	}
	assert_int_equal(w.last[0], 0);
	assert_true(w.ops[20][0] > w.seq / 10 * 9);
	chooser_free(w.chooser);
}

/* A single slow op is nothing. */
static void outliers(void **state)
{
	struct world w = begin(2);

	(void)state;
	set(&w, 20, 20, 30, 0);
	run(&w, 1000);
	for (int i = 0; i < 100; i++) {
		w.ns[20][0] = 5000 * MS;
		run(&w, 3);
		w.ns[20][0] = 20 * MS;
		run(&w, 7);
	}
	assert_int_equal(w.last[0], 0);
	assert_true(w.ops[20][1] < 300);
	chooser_free(w.chooser);
}

/* Ops of which several end at once take the time of the first together. */
static void no_time_at_all(void **state)
{
	struct chooser *c;
	struct choice_decision l;
	uint32_t changes = 0;

	(void)state;
	assert_int_equal(chooser_new(&c), 0);
	for (uint64_t seq = 1; seq < 3000; seq++) {
		struct choice_sample s = {.seq = seq,
					  .bytes = 1 << 20,
					  .list = LIST,
					  .size_class = 20,
					  .alternatives = 3};

		if (chooser_lease(c, seq, seq * 1000 * MS, &l)) {
			changes += l.count;
			for (uint32_t i = 0; i < l.count; i++)
				assert_true(l.changes[i].alternative < 3);
			if (l.count == 1 && changes == 1)
				assert_int_equal(l.changes[0].cost[0], MS);
		}
		if (seq < 500)
			s.ns = 0; /* nobody knows how long they took */
		else
			s.ns = seq % 4 ? 0 : 4 * MS;
		chooser_note(c, &s);
		if (seq < 500)
			assert_int_equal(changes, 0);
	}
	assert_true(changes >= 1);
	chooser_free(c);
}

/* The same of so many that not each sample is kept. */
static void together(void **state)
{
	struct chooser *c;
	struct choice_decision l;
	uint64_t now_ns = 0;
	uint8_t now = 0;
	uint32_t changes = 0;

	(void)state;
	assert_int_equal(chooser_new(&c), 0);
	for (uint64_t seq = 1; seq < 200000; seq++) {
		struct choice_sample s = {.seq = seq,
					  .bytes = 1 << 20,
					  .list = LIST,
					  .size_class = 20,
					  .alternatives = 2};

		if (chooser_lease(c, seq, now_ns, &l) && l.count) {
			now = l.changes[0].alternative;
			for (uint8_t a = 0; a < 2; a++) /* 30 and 60 us for a MiB */
				assert_true(l.changes[0].cost[a] == 0 ||
					    l.changes[0].cost[a] == 30000u * (a + 1u));
			changes++;
		}
		s.alternative = now;
		s.ns = seq % 4 ? 0 : 4u * 30000 * (now + 1u);
		now_ns += s.ns;
		chooser_note(c, &s);
	}
	assert_true(changes >= 2);
	assert_int_equal(now, 0);
	chooser_free(c);
}

/* Ops that nobody timed, other lists, a jump of the numbers. */
static void leases(void **state)
{
	struct chooser *c;
	struct choice_decision l;

	(void)state;
	assert_int_equal(chooser_new(&c), 0);
	assert_true(chooser_lease(c, 1, 0, &l));
	assert_int_equal(l.from, 1);
	assert_int_equal(l.through, 100);
	assert_int_equal(l.count, 0);
	assert_false(chooser_lease(c, 68, 0, &l));
	assert_true(chooser_lease(c, 69, 0, &l));
	assert_int_equal(l.from, 101);
	assert_int_equal(l.through, 200);
	assert_true(chooser_lease(c, 5000, 0, &l));
	assert_int_equal(l.from, 201);
	assert_int_equal(l.through, 5099);
	assert_false(chooser_lease(c, 12, 0, &l));
	chooser_free(c);
	chooser_free(NULL);
}

/* They last half a pause, as ops go, but for the first after a change. */
static void long_leases(void **state)
{
	struct chooser *c;
	struct choice_decision l = {0};
	uint64_t now_ns = 0, longest = 0, changed = 0;

	(void)state;
	assert_int_equal(chooser_new(&c), 0);
	for (uint64_t seq = 1; seq < 40000; seq++) {
		struct choice_sample s = {.seq = seq,
					  .bytes = 4096,
					  .ns = 100000,
					  .list = LIST,
					  .size_class = 12,
					  .alternatives = 2};

		if (chooser_lease(c, seq, now_ns, &l)) {
			assert_true(l.through - l.from + 1 >= CHOOSER_PERIOD);
			if (l.count) {
				assert_int_equal(l.through - l.from + 1, CHOOSER_PERIOD);
				changed++;
			}
			if (l.through - l.from > longest)
				longest = l.through - l.from;
		}
		now_ns += s.ns;
		chooser_note(c, &s);
	}
	assert_true(changed > 0);
	assert_in_range(longest, 200, 300); /* 25 ms */
	/* Shorter ones have no longer leases: they might become long. */
	for (uint64_t seq = 40000; seq < 42000; seq++) {
		if (chooser_lease(c, seq, now_ns, &l))
			assert_in_range(l.through - l.from + 1, CHOOSER_PERIOD, 400);
		now_ns += 1000;
	}
	assert_int_equal(l.through - l.from + 1, 400);
	/* Slow now: the next may be the last that is too long. */
	for (uint64_t seq = 42000, next = l.through; seq < next + 200; seq++) {
		if (chooser_lease(c, seq, now_ns, &l) && seq > next)
			assert_int_equal(l.through - l.from + 1, CHOOSER_PERIOD);
		now_ns += 20 * MS;
	}
	chooser_free(c);
}

/* A class that has had few ops is not judged, however many there were of others. */
static void few_samples(void **state)
{
	struct chooser *c;
	struct choice_decision l;

	(void)state;
	assert_int_equal(chooser_new(&c), 0);
	for (uint64_t seq = 1; seq < 1000; seq++) {
		struct choice_sample s = {.seq = seq,
					  .bytes = 1 << 20,
					  .ns = MS,
					  .list = LIST,
					  .size_class = 20,
					  .alternatives = 2};

		if (chooser_lease(c, seq, seq * 1000 * MS, &l))
			assert_int_equal(l.count, 0);
		if (seq % 90 == 0) /* 11 times */
			chooser_note(c, &s);
	}
	chooser_free(c);
}

/* Of more lists and classes than there is room for it is said once that some stay dense. */
static void too_many_lists(void **state)
{
	struct chooser *c;
	struct choice_decision l;
	uint32_t full = 0;

	(void)state;
	assert_int_equal(chooser_new(&c), 0);
	for (uint64_t seq = 1; seq < 4000; seq++) {
		struct choice_sample s = {.seq = seq,
					  .bytes = 1 << 20,
					  .ns = MS,
					  .size_class = 20,
					  .alternatives = 2};

		/* 64 lists, and from op 2,000 on two more */
		s.list = (uint32_t)(seq % (seq < 2000 ? CHOICE_LISTS_MAX : CHOICE_LISTS_MAX + 2));
		if (chooser_lease(c, seq, seq * MS, &l)) {
			assert_true(seq > 2000 || !l.full);
			full += l.full;
			for (uint32_t i = 0; i < l.count; i++)
				assert_true(l.changes[i].list < CHOICE_LISTS_MAX);
		}
		chooser_note(c, &s);
	}
	assert_int_equal(full, 1);
	chooser_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settles_on_the_fastest),
		cmocka_unit_test(prefers_what_loses_less),
		cmocka_unit_test(notices_a_change),
		cmocka_unit_test(bears_a_change),
		cmocka_unit_test(finds_what_became_better),
		cmocka_unit_test(one_choice_a_class),
		cmocka_unit_test(pauses),
		cmocka_unit_test(bursts),
		cmocka_unit_test(a_lucky_trial),
		cmocka_unit_test(an_unlucky_trial),
		cmocka_unit_test(an_unlucky_last_trial),
		cmocka_unit_test(a_long_trial),
		cmocka_unit_test(slow_spells),
		cmocka_unit_test(short_ops),
		cmocka_unit_test(outliers),
		cmocka_unit_test(no_time_at_all),
		cmocka_unit_test(together),
		cmocka_unit_test(leases),
		cmocka_unit_test(long_leases),
		cmocka_unit_test(few_samples),
		cmocka_unit_test(too_many_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
