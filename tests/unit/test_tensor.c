/*
 * test_tensor.c - the table of a group's tensors: numbers, refusals, the account; and which copy of
 * a state an op reads, over several lanes.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/tensor.h"

enum { LANES = 3, COUNT = 5000 };

static struct tensors *table(uint64_t bytes_max)
{
	const struct tensors_options o = {.chunk_bytes_max = 1 << 20, .bytes_max = bytes_max};
	struct tensors *t;

	assert_int_equal(tensors_new(&t, &o), 0);
	return t;
}

static struct tensor_use use_of(const char *name, uint64_t key, const char *codec,
				const char *feedback)
{
	return (struct tensor_use){.name = name,
				   .key = key,
				   .count = COUNT,
				   .type = VEC_F32,
				   .codec = codec,
				   .feedback = feedback};
}

static int add(struct tensors *t, const char *name, uint64_t key, const char *codec,
	       const char *feedback)
{
	struct tensor_use use = use_of(name, key, codec, feedback);
	struct err err;

	return tensors_add(t, &use, &err);
}

static void refused(struct tensors *t, const struct tensor_use *use, int error, const char *text)
{
	struct err err;

	assert_int_equal(tensors_add(t, use, &err), error);
	assert_string_equal(err.text, text);
}

/* The same words are the same number; a state is of key and algorithm. */
static void numbers(void **state)
{
	struct tensors *t = table(1 << 20);
	const struct tensor *a, *b, *c, *d;

	(void)state;
	assert_null(tensors_at(t, 0));
	assert_int_equal(add(t, "a", 1, "int4", "ef14"), 0);
	assert_int_equal(add(t, "b", 2, "int4", "ef14"), 1);
	assert_int_equal(add(t, "a", 1, "int4", "ef14"), 0);
	assert_int_equal(add(t, "a", 1, "int4:block=128", "ef14"), 0); /* the default block */
	assert_int_equal(add(t, "a", 1, "int8", "ef14"), 2);
	assert_int_equal(add(t, "a", 1, "int8", "ef21"), 3);
	assert_int_equal(add(t, "", 0, "int8", ""), 4);
	assert_int_equal(add(t, "x", 9, "int8", "none"), 4); /* without state keys are one */
	assert_null(tensors_at(t, 5));
	a = tensors_at(t, 0);
	b = tensors_at(t, 1);
	c = tensors_at(t, 2);
	d = tensors_at(t, 3);
	assert_true(a->state && a->state != b->state && a->state == c->state);
	assert_true(a->state != d->state);
	assert_null(tensors_at(t, 4)->state);
	assert_int_equal(a->digest, b->digest);
	assert_int_not_equal(a->digest, c->digest);
	assert_int_not_equal(c->digest, d->digest);
	assert_string_equal(tensor_name(c), "a");
	assert_string_equal(tensor_name(tensors_at(t, 4)), "");
	tensors_free(t);
}

/* A list is one number; its alternatives are what they would be alone, with one state. */
static void lists(void **state)
{
	struct tensors *t = table(1 << 20);
	int number = add(t, "a", 1, "auto:int8/int4", "ef14"), other;
	const struct tensor *list = tensors_at(t, (uint32_t)number), *bare;

	(void)state;
	assert_true(number >= 0);
	assert_int_equal(add(t, "a", 1, "auto:int8/int4", "ef14"), number);
	assert_int_equal(add(t, "a", 1, "auto", "ef14"), number);
	other = add(t, "b", 2, "auto", "ef14");
	assert_int_not_equal(other, number);
	assert_int_equal(tensors_at(t, (uint32_t)other)->digest, list->digest);
	assert_int_not_equal(add(t, "a", 1, "auto:int4/int8", "ef14"), number);
	assert_int_equal(list->alternatives, 3);
	assert_int_equal(list->key, 1);
	assert_int_equal(list->count, COUNT);
	for (int i = 0; i < 3; i++) {
		static const char *const codecs[] = {"none", "int8", "int4"};
		int alone = add(t, "a", 1, codecs[i], "ef14");

		assert_ptr_equal(list->alternative[i], tensors_at(t, (uint32_t)alone));
		assert_ptr_equal(list->alternative[i]->state, list->state);
		assert_string_equal(list->list->codec[i], codecs[i]);
	}
	assert_true(coding_dense(&list->alternative[0]->coding));
	assert_ptr_equal(tensors_find(t, list->digest), list);
	assert_null(tensors_find(t, list->digest + 1));
	bare = tensors_at(t, (uint32_t)add(t, "", 0, "auto", ""));
	assert_null(bare->state);
	assert_null(bare->alternative[0]); /* dense, as if nothing had been said */
	assert_non_null(bare->alternative[2]);
	assert_int_not_equal(bare->digest, list->digest);
	tensors_free(t);
}

static void judgements(void **state)
{
	struct err err;
	bool plain;

	(void)state;
	assert_int_equal(tensors_judge("", "", &plain, &err), 0);
	assert_true(plain);
	assert_int_equal(tensors_judge("none", "ef14", &plain, &err), 0);
	assert_false(plain);
	assert_int_equal(tensors_judge("auto", "none", &plain, &err), 0);
	assert_false(plain);
	assert_int_equal(tensors_judge("auto:int8/int3", "none", &plain, &err), -EINVAL);
	assert_non_null(strstr(err.text, "int3"));
	assert_int_equal(tensors_judge("auto:int8/", "none", &plain, &err), -EINVAL);
	assert_int_equal(tensors_judge("auto:int8/sign", "ef21", &plain, &err), 0);
	assert_int_equal(tensors_judge("auto:int8/none:", "none", &plain, &err), -EINVAL);
	assert_non_null(strstr(err.text, "none is always among"));
	assert_int_equal(tensors_judge("auto:int8", "ef15", &plain, &err), -EINVAL);
	assert_non_null(strstr(err.text, "ef15"));
}

static void refusals(void **state)
{
	struct tensors *t = table(200000);
	struct tensor_use use = use_of("w", 1, "int9", "");

	(void)state;
	assert_int_equal(add(t, "w", 1, "int4", "ef14"), 0);
	use.codec = "topk:density=2";
	use.feedback = "ef14";
	{
		struct err err;

		assert_int_equal(tensors_add(t, &use, &err), -EINVAL);
		assert_non_null(strstr(err.text, "density"));
	}
	use = use_of("w", 1, "int4", "ef14");
	use.count++;
	refused(t, &use, -EINVAL, "key \"w\" is a tensor of 5000 f32 elements, not of 5001 f32");
	use.count--;
	use.type = VEC_BF16;
	refused(t, &use, -EINVAL, "key \"w\" is a tensor of 5000 f32 elements, not of 5000 bf16");
	use = use_of("v", 1, "int4", "ef14");
	refused(t, &use, -EINVAL, "keys \"w\" and \"v\" have the same hash: rename one");
	use = use_of("", 0, "int4", "ef14");
	refused(t, &use, -EINVAL,
		"feedback ef14 needs a tensor key: it keeps what is lost under it");
	use = use_of("n", 5, "int4", "ef14");
	use.type = VEC_I32;
	refused(t, &use, -EINVAL, "key \"n\": feedback is for f32, f16 and bf16, not i32");
	use = use_of("big", 6, "int4", "ef21");
	use.count = 100000;
	refused(t, &use, -ENOMEM,
		"key \"big\": the state of feedback ef21 for 100000 elements needs 1630208 bytes, "
		"142656 of [limits] state_bytes = 200000 are left");
	assert_int_equal(tensors_bytes(t), 57344);
	tensors_free(t);
	t = table(1 << 20);
	for (int i = 0; i < TENSORS_MAX; i++) {
		char spec[64];

		(void)snprintf(spec, sizeof(spec), "topk:density=%.6f", 5e-5 * (i + 1));
		assert_int_equal(add(t, "", 0, spec, ""), i);
	}
	use = use_of("", 0, "int4", "");
	refused(t, &use, -ENOSPC, "a group may have 16384 keys and codecs together, and has them");
	tensors_free(t);
}

/* --- turns ------------------------------------------------------------------------------------ */

static struct tensor_op op_of(const struct tensors *t, uint64_t seq)
{
	return (struct tensor_op){.seq = seq,
				  .tensor = tensors_at(t, 0),
				  .chunks = 5,
				  .lanes = LANES,
				  .weight = (float)seq};
}

/* An op that all lanes leave; those of the mask `good` well.  Return: the copy that was read. */
static uint8_t run(const struct tensors *t, uint64_t seq, bool discard, uint32_t good,
		   uint64_t steps)
{
	struct tensor_op op = op_of(t, seq);
	struct tensor_turn turn[LANES];

	op.discard = discard;
	for (uint32_t l = 0; l < LANES; l++) {
		assert_true(tensor_enter(&op, &turn[l]));
		assert_int_equal(turn[l].from, turn[0].from);
		assert_int_equal(turn[l].step, steps);
	}
	for (uint32_t l = 0; l < LANES; l++)
		tensor_leave(&op, &turn[l], good >> l & 1);
	return turn[0].from;
}

static void turns(void **state)
{
	struct tensors *t = table(1 << 20);
	uint8_t first, second;

	(void)state;
	assert_int_equal(add(t, "w", 1, "int4", "ef14"), 0);
	first = run(t, 1, false, 7, 0);
	second = !first;
	assert_int_equal(run(t, 2, false, 7, 1), second);
	assert_int_equal(run(t, 3, false, 5, 2), first); /* one lane failed */
	assert_int_equal(run(t, 4, false, 0, 2), first); /* all did */
	assert_int_equal(run(t, 5, false, 7, 2), first);
	assert_int_equal(run(t, 6, false, 7, 3), second);
	assert_int_equal(run(t, 7, true, 7, 3), second); /* 6 is taken back */
	assert_int_equal(run(t, 8, true, 6, 3), second); /* so is 7, although 8 fails */
	assert_int_equal(run(t, 9, true, 7, 3), second); /* nothing is left to take back */
	assert_int_equal(run(t, 10, false, 7, 4), first);
	tensors_free(t);
}

/* Lanes come and go one by one; another op comes in when all are out. */
static void one_at_a_time(void **state)
{
	struct tensors *t = table(1 << 20);
	struct tensor_op one = op_of(t, 1), two = op_of(t, 2);
	struct tensor_turn turn, other;

	(void)state;
	assert_int_equal(add(t, "w", 1, "int4", "ef14"), 0);
	one.tensor = two.tensor = tensors_at(t, 0);
	assert_true(tensor_enter(&one, &turn));
	assert_false(tensor_enter(&two, &other));
	tensor_leave(&one, &turn, true);
	assert_true(tensor_enter(&one, &turn));
	assert_true(tensor_enter(&one, &turn));
	tensor_leave(&one, &turn, true);
	assert_false(tensor_enter(&two, &other));
	tensor_leave(&one, &turn, true);
	assert_true(tensor_enter(&two, &other));
	assert_int_not_equal(other.from, turn.from);
	assert_true(other.last_weight == 1);
	assert_int_equal(other.step, 1);
	tensor_leave(&two, &other, false);
	tensors_free(t);
}

static void thresholds(void **state)
{
	static const char *const specs[] = {"topk:mode=threshold",
					    "topk:mode=threshold,scope=tensor"};

	(void)state;
	for (size_t s = 0; s < 2; s++) {
		struct tensors *t = table(1 << 20);
		struct tensor_op op, other;
		struct tensor_turn turn;

		assert_int_equal(add(t, "w", 1, specs[s], "ef14"), 0);
		assert_int_equal(add(t, "w", 1, "topk:mode=threshold,density=0.3", "ef14"), 1);
		op = op_of(t, 1);
		for (uint32_t l = 0; l < LANES; l++) {
			assert_true(tensor_enter(&op, &turn));
			assert_true(tensor_threshold(&op, &turn, TENSOR_UP, 1) == 0);
			for (uint32_t c = l; c < 5; c += LANES)
				tensor_keep_threshold(&op, &turn, TENSOR_UP, c, (float)c);
		}
		for (uint32_t l = 0; l < LANES; l++)
			tensor_leave(&op, &turn, true);
		op.seq = 2;
		assert_true(tensor_enter(&op, &turn));
		for (uint32_t c = 0; c < 5; c++)
			assert_true(tensor_threshold(&op, &turn, TENSOR_UP, c) ==
				    (s ? 2 : (float)c));
		/* Those of another codec are nothing to this one. */
		other = op;
		other.tensor = tensors_at(t, 1);
		assert_true(tensor_threshold(&other, &turn, TENSOR_UP, 3) == 0);
		tensor_leave(&op, &turn, false);
		tensors_free(t);
	}
}

/* A small op is one lane's: what it leaves well is the state, whatever the lanes of the group. */
static void one_lane_alone(void **state)
{
	struct tensors *t = table(1 << 20);
	struct tensor_turn turn;

	(void)state;
	assert_int_equal(add(t, "w", 1, "int4", "ef14"), 0);
	for (uint64_t seq = 1; seq <= 3; seq++) {
		struct tensor_op op = op_of(t, seq);

		op.lanes = 1;
		assert_true(tensor_enter(&op, &turn));
		assert_int_equal(turn.step, seq - 1);
		tensor_leave(&op, &turn, true);
	}
	assert_int_equal(run(t, 4, false, 7, 3), 1);
	tensors_free(t);
}

static void report(void **state)
{
	struct tensors *t = table(1 << 20);
	struct tensor_op op = {.seq = 1, .chunks = 1, .lanes = LANES, .weight = 1};
	struct feedback_state slices;
	struct tensor_report r;
	struct tensor_turn turn;
	uint64_t budget = COUNT * sizeof(float);

	(void)state;
	assert_false(tensors_report(t, 0, &budget, &r));
	assert_int_equal(add(t, "w", 1, "int4", "ef14"), 0);
	op.tensor = tensors_at(t, 0);
	for (uint32_t l = 0; l < LANES; l++)
		assert_true(tensor_enter(&op, &turn));
	tensor_slices(&op, &turn, 0, &slices);
	assert_null(slices.next[FEEDBACK_SUM]);
	((float *)slices.next[FEEDBACK_RESIDUAL])[7] = 3;
	((float *)slices.next[FEEDBACK_RESIDUAL])[COUNT - 1] = 4;
	for (uint32_t l = 0; l < LANES; l++)
		tensor_leave(&op, &turn, true);
	assert_true(tensors_report(t, 0, &budget, &r));
	assert_string_equal(r.name, "w");
	assert_string_equal(r.feedback, "ef14");
	assert_true(r.has_norm && r.norm == 5);
	assert_int_equal(r.steps, 1);
	assert_int_equal(r.bytes, tensors_bytes(t));
	assert_true(tensors_report(t, 0, &budget, &r)); /* the budget is used up */
	assert_false(r.has_norm);
	assert_false(tensors_report(t, 1, &budget, &r));
	tensors_free(t);
}

static double norm_now(const struct tensors *t)
{
	uint64_t budget = COUNT * sizeof(float);
	struct tensor_report r;

	assert_true(tensors_report(t, 0, &budget, &r));
	assert_true(r.has_norm);
	return r.norm;
}

/* One op of all lanes that adds 3 and 4 to an estimate, in place. */
static void three_and_four(const struct tensors *t, uint64_t seq, bool discard, bool good,
			   double before)
{
	const uint32_t index[] = {7, COUNT - 1};
	const float value[] = {3, 4};
	const struct codec_few few = {index, value, 2};
	struct tensor_op op = op_of(t, seq);
	struct feedback_state slices;
	struct tensor_turn turn;
	size_t next = 0;

	op.discard = discard;
	for (uint32_t l = 0; l < LANES; l++)
		assert_true(tensor_enter(&op, &turn));
	tensor_slices(&op, &turn, 0, &slices);
	assert_ptr_equal(slices.now[FEEDBACK_ESTIMATE], slices.next[FEEDBACK_ESTIMATE]);
	assert_ptr_not_equal(slices.now[FEEDBACK_MOMENTUM], slices.next[FEEDBACK_MOMENTUM]);
	feedback_log_undo(&slices.log[FEEDBACK_ESTIMATE], COUNT);
	assert_true(norm_now(t) == before);
	(void)feedback_log_add(&slices.log[FEEDBACK_ESTIMATE], COUNT, &few, &next, COUNT);
	assert_true(norm_now(t) == before);
	for (uint32_t l = 0; l < LANES; l++)
		tensor_leave(&op, &turn, good);
}

/* The norm is of what counts, whatever is in memory. */
static void report_in_place(void **state)
{
	struct tensors *t = table(1 << 20);

	(void)state;
	assert_int_equal(add(t, "w", 1, "topk", "ef21-sgdm"), 0);
	three_and_four(t, 1, false, false, 0);
	assert_true(norm_now(t) == 0);
	three_and_four(t, 2, false, true, 0);
	assert_true(norm_now(t) == 5);
	three_and_four(t, 3, false, false, 5);
	assert_true(norm_now(t) == 5);
	three_and_four(t, 4, false, true, 5);
	assert_true(norm_now(t) == 10);
	three_and_four(t, 5, true, false, 5); /* 4 is taken back */
	assert_true(norm_now(t) == 5);
	three_and_four(t, 6, true, true, 5); /* there is nothing more to take back */
	assert_true(norm_now(t) == 10);
	tensors_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),        cmocka_unit_test(lists),
		cmocka_unit_test(judgements),     cmocka_unit_test(refusals),
		cmocka_unit_test(turns),          cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(thresholds),     cmocka_unit_test(report),
		cmocka_unit_test(one_lane_alone), cmocka_unit_test(report_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
