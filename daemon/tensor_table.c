/* tensor_table.c - the tensors of a group: states, numbers, reports; see tensor.h. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/op.h"
#include "daemon/tensor_state.h"
#include "proto/crc32c.h"

/* --- making one ----------------------------------------------------------------------------- */

static void *piece(unsigned char *base, size_t *used, size_t bytes)
{
	void *at = base ? base + *used : NULL;

	*used += (bytes + 4095) / 4096 * 4096;
	return at;
}

/* Lay both copies out at `base` (NULL: only count).  Return: bytes. */
static size_t state_layout(struct tensor_state *s, unsigned char *base)
{
	size_t used = 0;

	for (int i = 0; i < 2; i++) {
		for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
			size_t bytes = feedback_vector_bytes(&s->feedback, v, s->count);

			if (bytes)
				s->vectors[i][v] = piece(base, &used, bytes);
		}
		for (enum tensor_way way = 0; way < TENSOR_WAYS; way++)
			s->heads[i].thresholds[way] =
				piece(base, &used, s->chunks_max * sizeof(float));
	}
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++)
		if (feedback_logged(&s->feedback) >> v & 1)
			s->marks[v] = piece(base, &used,
					    feedback_log_cells(s->count) * sizeof(*s->marks[v]));
	return used;
}

static int no_room(const struct tensors *t, const struct tensor_use *use, uint64_t bytes,
		   struct err *err)
{
	return err_set(err, -ENOMEM,
		       "key \"%s\": the state of feedback %s for %" PRIu64
		       " elements needs %" PRIu64 " bytes, %" PRIu64
		       " of [limits] state_bytes = %" PRIu64 " are left",
		       use->name, use->feedback, use->count, bytes, t->options.bytes_max - t->bytes,
		       t->options.bytes_max);
}

static int state_new(struct tensors *t, const struct tensor_use *use, uint8_t feedback,
		     struct tensor_state **out, struct err *err)
{
	struct tensor_state *s = calloc(1, sizeof(*s));
	uint64_t chunks = use->count / OP_BLOCK + 1;

	if (!s)
		return err_set(err, -ENOMEM, "no memory for a tensor");
	(void)snprintf(s->name, sizeof(s->name), "%s", use->name);
	s->key = use->key;
	s->count = use->count;
	s->type = use->type;
	s->feedback.id = feedback;
	s->chunks_max = chunks < OP_CHUNKS_MAX ? (uint32_t)chunks : OP_CHUNKS_MAX;
	s->bytes = state_layout(s, NULL);
	if (s->bytes > t->options.bytes_max - t->bytes) {
		int ret = no_room(t, use, s->bytes, err);

		free(s);
		return ret;
	}
	s->memory = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->memory == MAP_FAILED) {
		uint64_t bytes = s->bytes;

		free(s);
		return err_set(err, -ENOMEM, "cannot map %" PRIu64 " bytes for key \"%s\"", bytes,
			       use->name);
	}
	/* What is logged lies a page or less apart: small pages cost more than the bytes. */
	(void)madvise(s->memory, s->bytes, MADV_HUGEPAGE);
	(void)state_layout(s, s->memory);
	s->next = t->states;
	t->states = s;
	t->bytes += s->bytes;
	*out = s;
	return 0;
}

/* The state of this key and algorithm, which may be used with other codecs. */
static int state_of(struct tensors *t, const struct tensor_use *use, uint8_t feedback,
		    struct tensor_state **out, struct err *err)
{
	for (struct tensor_state *s = t->states; s; s = s->next) {
		if (s->key != use->key)
			continue;
		if (strcmp(s->name, use->name) != 0)
			return err_set(err, -EINVAL,
				       "keys \"%s\" and \"%s\" have the same hash: rename one",
				       s->name, use->name);
		if (s->count != use->count || s->type != use->type)
			return err_set(err, -EINVAL,
				       "key \"%s\" is a tensor of %" PRIu64
				       " %s elements, not of %" PRIu64 " %s",
				       use->name, s->count, vec_type_name((enum vec_type)s->type),
				       use->count, vec_type_name((enum vec_type)use->type));
		if (s->feedback.id == feedback) {
			*out = s;
			return 0;
		}
	}
	return state_new(t, use, feedback, out, err);
}

/* --- the table ------------------------------------------------------------------------------ */

int tensors_new(struct tensors **out, const struct tensors_options *options)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->options = *options;
	return 0;
}

void tensors_free(struct tensors *t)
{
	while (t && t->states) {
		struct tensor_state *s = t->states;

		t->states = s->next;
		(void)munmap(s->memory, s->bytes);
		free(s);
	}
	for (uint32_t i = 0; t && i < t->count; i++)
		free(tensors_slot(t, i)->list);
	for (uint32_t i = 0; t && i < TENSORS_MAX / TENSORS_BLOCK; i++)
		free(t->blocks[i]);
	free(t);
}

static int check_use(const struct tensor_use *use, const struct coding *coding, struct err *err)
{
	uint8_t feedback = coding->feedback.id;

	if (feedback == FEEDBACK_NONE)
		return 0;
	if (!use->key)
		return err_set(err, -EINVAL,
			       "feedback %s needs a tensor key: it keeps what is lost under it",
			       feedback_by_id(feedback)->name);
	if (vec_sum_type((enum vec_type)use->type) != VEC_F32)
		return err_set(err, -EINVAL,
			       "key \"%s\": feedback is for f32, f16 and bf16, not %s", use->name,
			       vec_type_name((enum vec_type)use->type));
	return 0;
}

/* Its number in the table.  Return: that, -ENOSPC. */
static int put_in(struct tensors *t, const struct tensor *made, struct err *err)
{
	uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++)
		if (tensors_slot(t, i)->state == made->state &&
		    tensors_slot(t, i)->alternatives == made->alternatives &&
		    tensors_slot(t, i)->digest == made->digest &&
		    coding_same(&tensors_slot(t, i)->coding, &made->coding))
			return (int)i;
	if (count == TENSORS_MAX)
		return err_set(err, -ENOSPC,
			       "a group may have %d keys and codecs together, and has them",
			       TENSORS_MAX);
	if (count % TENSORS_BLOCK == 0) {
		struct tensor *block = calloc(TENSORS_BLOCK, sizeof(*block));

		if (!block)
			return err_set(err, -ENOMEM, "no memory for a tensor");
		t->blocks[count / TENSORS_BLOCK] = block;
	}
	*tensors_slot(t, count) = *made;
	atomic_store_explicit(&t->count, count + 1, memory_order_release);
	return (int)count;
}

static int add_coding(struct tensors *t, const struct tensor_use *use, struct err *err)
{
	struct tensor made = {0};
	int ret = coding_parse(&made.coding, use->codec, use->feedback, t->options.chunk_bytes_max,
			       err);

	if (!ret)
		ret = check_use(use, &made.coding, err);
	if (!ret && made.coding.feedback.id != FEEDBACK_NONE) {
		made.key = use->key;
		made.count = use->count;
		made.type = use->type;
		ret = state_of(t, use, made.coding.feedback.id, &made.state, err);
	}
	if (ret)
		return ret;
	made.digest = coding_digest(&made.coding);
	made.in_place = (uint8_t)feedback_in_place(&made.coding.feedback, &made.coding.up,
						   &made.coding.down);
	return put_in(t, &made, err);
}

/* One of several codings, all with the same state. */
static int add_list(struct tensors *t, const struct tensor_use *use, const struct choice_list *list,
		    struct err *err)
{
	uint32_t digests[1 + CHOICE_ALTERNATIVES_MAX] = {list->count};
	const struct tensor *added = NULL, *alternative[CHOICE_ALTERNATIVES_MAX] = {NULL};
	struct tensor made;
	int ret;

	for (uint32_t i = 0; i < list->count; i++) {
		struct tensor_use one = *use;

		one.codec = list->codec[i];
		ret = add_coding(t, &one, err);
		if (ret < 0)
			return ret;
		added = tensors_slot(t, (uint32_t)ret);
		digests[1 + i] = added->digest;
		alternative[i] = added->digest ? added : NULL;
	}
	assert(added); /* a list is never empty */
	made = *added; /* the last one: key, state and feedback are those of all */
	made.coding.up = made.coding.down = (struct codec_setting){0};
	memcpy(made.alternative, alternative, sizeof(alternative));
	made.alternatives = (uint8_t)list->count;
	made.digest = crc32c(0, digests, sizeof(digests));
	made.digest += !made.digest;
	made.list = malloc(sizeof(*list));
	if (!made.list)
		return err_set(err, -ENOMEM, "no memory for a list of codecs");
	*made.list = *list;
	ret = put_in(t, &made, err);
	if (ret < 0 || tensors_slot(t, (uint32_t)ret)->list != made.list)
		free(made.list);
	return ret;
}

int tensors_add(struct tensors *t, const struct tensor_use *use, struct err *err)
{
	struct choice_list list;
	int ret = choice_parse(&list, use->codec, err);

	if (ret < 0)
		return ret;
	return ret ? add_list(t, use, &list, err) : add_coding(t, use, err);
}

int tensors_judge(const char *codec, const char *feedback, bool *plain, struct err *err)
{
	struct choice_list list;
	struct coding coding;
	int ret = choice_parse(&list, codec, err);

	*plain = false;
	for (uint32_t i = 1; ret > 0 && i < list.count; i++)
		if (coding_parse(&coding, list.codec[i], feedback, 0, err))
			return -EINVAL;
	if (ret)
		return ret < 0 ? ret : 0;
	ret = coding_parse(&coding, codec, feedback, 0, err);
	*plain = ret == 0 && coding_plain(&coding);
	return ret;
}

const struct tensor *tensors_find(const struct tensors *t, uint32_t digest)
{
	uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++)
		if (tensors_slot(t, i)->digest == digest)
			return tensors_slot(t, i);
	return NULL;
}

const struct tensor *tensors_at(const struct tensors *t, uint32_t number)
{
	if (!t || number >= atomic_load_explicit(&t->count, memory_order_acquire))
		return NULL;
	return tensors_slot(t, number);
}

/* --- report --------------------------------------------------------------------------------- */

uint64_t tensors_bytes(const struct tensors *t)
{
	return t->bytes;
}

/*
 * Lanes may be writing to it: what the log of an op that does not count yet knows is taken from
 * there, single words are read, and what changed meanwhile is not used.
 */
static bool norm_of(const struct feedback_log *log, uint64_t count, double *norm)
{
	double sums[8] = {0}, sum = 0;

	for (uint64_t first = 0; first < count; first += FEEDBACK_CELL) {
		size_t n = count - first < FEEDBACK_CELL ? count - first : FEEDBACK_CELL;
		struct feedback_log cell = *log;
		float before[FEEDBACK_CELL], *values = log->values + first;

		if (log->marks) {
			cell.values += first;
			cell.old += first;
			cell.marks += first / FEEDBACK_CELL;
			if (!feedback_log_before(&cell, n, before))
				return false;
			values = before;
		}
		for (size_t i = 0; i < n; i++) {
			float value;

			__atomic_load(values + i, &value, __ATOMIC_RELAXED);
			sums[i % 8] += (double)value * (double)value;
		}
	}
	for (int i = 0; i < 8; i++)
		sum += sums[i];
	*norm = sqrt(sum);
	return true;
}

static void try_norm(const struct tensor_state *s, uint64_t *budget, struct tensor_report *out)
{
	uint64_t word = atomic_load(&s->word);
	const struct tensor_head *head = &s->heads[word & WORD_HEAD ? 1 : 0];
	enum feedback_vector v =
		s->vectors[0][FEEDBACK_RESIDUAL] ? FEEDBACK_RESIDUAL : FEEDBACK_ESTIMATE;
	int from = word & WORD_VECTORS << v ? 1 : 0;
	struct feedback_log log = {.base = head->seq};
	bool same;

	out->steps = head->step;
	/* loco's is not of float32 */
	if (!s->vectors[0][v] || s->feedback.id == FEEDBACK_LOCO ||
	    s->count * sizeof(float) > *budget)
		return;
	*budget -= s->count * sizeof(float);
	log.values = (float *)(void *)s->vectors[from][v];
	log.old = (float *)(void *)s->vectors[!from][v];
	log.marks = s->marks[v];
	same = norm_of(&log, s->count, &out->norm);
	/* Two ops later it is being written to; one op later, if it is changed in place. */
	out->has_norm = same && ((atomic_load(&s->word) ^ word) & WORD_CURRENT) == 0 &&
			head->step == out->steps && head->seq == log.base;
}

/* Small tensors may be done with more than once while they are looked at. */
static void report_norm(const struct tensor_state *s, uint64_t *budget, struct tensor_report *out)
{
	enum { TRIES = 4 };

	for (int i = 0; i < TRIES && !out->has_norm; i++)
		try_norm(s, budget, out);
}

bool tensors_report(const struct tensors *t, uint32_t i, uint64_t *budget,
		    struct tensor_report *out)
{
	const struct tensor_state *s = t->states;

	while (s && i--)
		s = s->next;
	if (!s)
		return false;
	*out = (struct tensor_report){.name = s->name,
				      .key = s->key,
				      .count = s->count,
				      .type = s->type,
				      .feedback = feedback_by_id(s->feedback.id)->name,
				      .bytes = s->bytes};
	report_norm(s, budget, out);
	return true;
}
