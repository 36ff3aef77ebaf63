/* coding.c - see coding.h. */
#include "libclient/coding.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/internal.h"
#include "libclient/replay.h"
#include "proto/text.h"

#define ANSWER_NS UINT64_C(10000000000)

/* "none", also by saying nothing. */
static bool is_none(const char *spec)
{
	return !*spec || strcmp(spec, "none") == 0;
}

static int copy_spec(char *to, const struct carry *c, const char *what, const char *spec)
{
	size_t bytes = strlen(spec);

	if (bytes >= CTL_SPEC_BYTES)
		return sentence_set(c, -ENAMETOOLONG, "the %s is longer than %d bytes: \"%s\"",
				    what, CTL_SPEC_BYTES - 1, spec);
	if (!text_ok(spec, bytes + 1))
		return sentence_set(c, -EINVAL, "the %s has a control character: \"%s\"", what,
				    spec);
	memcpy(to, spec, bytes + 1);
	return 0;
}

/* Locked: the daemon's number, or its sentence. */
static int ask_number(struct carry *c, const struct ctl_tensor *tensor, struct ctl_number *number)
{
	struct ask ask;
	int r = ask_run(c, &ask, CTL_TENSOR, tensor, sizeof(*tensor), deadline_after(ANSWER_NS));

	if (r == -ETIMEDOUT && !ask.done)
		return sentence_set(c, -EIO, "carryd at %s did not answer: is it stopped?",
				    c->path);
	if (r == 0)
		*number = ask.number;
	return r;
}

/* --- of a group ----------------------------------------------------------------------------- */

static int judge(struct carry *c, const char *codec, const char *feedback)
{
	struct ctl_tensor tensor = {.handle = CTL_NO_GROUP};
	struct ctl_number number;
	int r;

	if (is_none(codec) && is_none(feedback))
		return 0;
	memcpy(tensor.codec, codec, strlen(codec));
	memcpy(tensor.feedback, feedback, strlen(feedback));
	pthread_mutex_lock(&c->lock);
	r = ask_number(c, &tensor, &number);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int read_rule(struct coding_rule *rule, struct carry *c, const char *text, size_t bytes)
{
	const char *equals = memchr(text, '=', bytes);
	char spec[CTL_SPEC_BYTES + 1];
	size_t pattern = equals ? (size_t)(equals - text) : 0;

	if (!pattern || pattern >= sizeof(rule->pattern) || bytes - pattern - 1 >= CTL_SPEC_BYTES)
		return sentence_set(c, -EINVAL,
				    "key_codecs: \"%.*s\" is not PATTERN=CODEC (at most %zu and %d "
				    "bytes)",
				    (int)bytes, text, sizeof(rule->pattern) - 1,
				    CTL_SPEC_BYTES - 1);
	memcpy(rule->pattern, text, pattern);
	(void)snprintf(spec, sizeof(spec), "%.*s", (int)(bytes - pattern - 1), equals + 1);
	return copy_spec(rule->codec, c, "codec of a key", spec);
}

static int read_rules(struct coding_default *d, struct carry *c, const char *rules)
{
	for (const char *at = rules; at && *at;) {
		size_t bytes = strcspn(at, ";");
		struct coding_rule *rule = &d->rule[d->rules];
		int r;

		if (d->rules == CODING_RULES_MAX)
			return sentence_set(c, -EINVAL, "key_codecs has more than %d rules",
					    CODING_RULES_MAX);
		r = read_rule(rule, c, at, bytes);
		/* none: dense, whatever the group's feedback is */
		if (r == 0 && !is_none(rule->codec))
			r = judge(c, rule->codec, d->feedback);
		if (r < 0)
			return r;
		d->rules++;
		at += bytes + (at[bytes] == ';');
	}
	return 0;
}

static bool is_replay(const char *spec)
{
	return strncmp(spec, REPLAY_PREFIX, strlen(REPLAY_PREFIX)) == 0;
}

/* What is to be made again must be possible here, too. */
static int read_replay(struct coding_default *d, struct carry *c, const char *name,
		       const char *spec)
{
	int r = replay_read(&d->replay, c, spec + strlen(REPLAY_PREFIX), name);
	const char *codec;

	memcpy(d->codec, "auto", sizeof("auto"));
	for (size_t i = 0; r == 0 && (codec = replay_codec(d->replay, i)); i++)
		if (i == 0 || strcmp(codec, replay_codec(d->replay, i - 1)) != 0)
			r = judge(c, codec, d->feedback);
	return r;
}

int coding_default_read(struct coding_default *d, struct carry *c, const char *name,
			const struct carry_group_options *o)
{
	const char *codec = o->codec ? o->codec : "";
	int r;

	memset(d, 0, sizeof(*d));
	d->bytes_min = o->codec_bytes_min ? o->codec_bytes_min : CODING_BYTES_MIN;
	r = copy_spec(d->feedback, c, "group's feedback", o->feedback ? o->feedback : "");
	if (r == 0 && is_replay(codec))
		r = read_replay(d, c, name, codec);
	else if (r == 0)
		r = copy_spec(d->codec, c, "group's codec", codec);
	if (r == 0)
		r = judge(c, d->codec, d->feedback);
	return r == 0 ? read_rules(d, c, o->key_codecs) : r;
}

void coding_default_free(struct coding_default *d)
{
	replay_free(d->replay);
}

/* --- of an op --------------------------------------------------------------------------------- */

/* Sums of floats that are made in float32. */
static bool can_encode(const struct coding_call *call)
{
	return (call->type == CARRY_F32 || call->type == CARRY_F16 || call->type == CARRY_BF16) &&
	       (call->reduce == CARRY_SUM || call->reduce == CARRY_AVG);
}

static int check_call(struct carry *c, const struct coding_call *call, const struct ctl_tensor *t)
{
	if (!can_encode(call))
		return sentence_set(c, -EINVAL,
				    "codec %s, feedback %s: only sums and averages of f32, f16 and "
				    "bf16 can be encoded",
				    is_none(t->codec) ? "none" : t->codec,
				    is_none(t->feedback) ? "none" : t->feedback);
	if (call->other_schedule)
		return sentence_set(c, -EINVAL,
				    "an op with codec %s goes by the schedule direct only",
				    is_none(t->codec) ? "none" : t->codec);
	if (!is_none(t->feedback) && !call->key_hash)
		return sentence_set(
			c, -EINVAL,
			"feedback %s needs a tensor key: it keeps what is lost under it",
			t->feedback);
	if (!is_none(t->feedback) && strlen(call->key) >= CTL_KEY_BYTES)
		return sentence_set(c, -ENAMETOOLONG,
				    "the tensor key is longer than %d bytes: \"%.64s...\"",
				    CTL_KEY_BYTES - 1, call->key);
	if (!is_none(t->feedback) && !text_ok(call->key, strlen(call->key) + 1))
		return sentence_set(c, -EINVAL, "the tensor key has a control character: \"%s\"",
				    call->key);
	return 0;
}

/* The words for an op that says none itself.  Return: whether it is encoded at all. */
static bool default_words(const struct coding_default *d, const struct coding_call *call,
			  struct ctl_tensor *t)
{
	if (!can_encode(call) || call->bytes < d->bytes_min || call->other_schedule)
		return false;
	memcpy(t->codec, d->codec, sizeof(t->codec));
	memcpy(t->feedback, d->feedback, sizeof(t->feedback));
	for (uint32_t i = 0; call->key_hash && i < d->rules; i++) {
		if (fnmatch(d->rule[i].pattern, call->key, 0) != 0)
			continue;
		memcpy(t->codec, d->rule[i].codec, sizeof(t->codec));
		return !is_none(t->codec);
	}
	return true;
}

static bool is_auto(const char *spec)
{
	return strcmp(spec, "auto") == 0 || strncmp(spec, "auto:", 5) == 0;
}

/* What was chosen then stands in the place of the choice. */
static void choose_again(const struct replay *replay, const struct coding_call *call,
			 struct ctl_tensor *t)
{
	const char *codec;

	if (!replay || !is_auto(t->codec))
		return;
	codec = replay_at(replay, call->seq, call->bytes);
	memset(t->codec, 0, sizeof(t->codec));
	memcpy(t->codec, codec, strlen(codec));
}

/* Locked: the number, known or asked for now. */
static int number_of(uint16_t *coding, struct carry_group *g, const struct ctl_tensor *t)
{
	struct ctl_number number = {0};
	struct coding_number *n;
	int r;

	for (n = g->numbers; n; n = n->next)
		if (memcmp(&n->asked, t, sizeof(*t)) == 0) {
			*coding = n->coding;
			return 0;
		}
	r = ask_number(g->c, t, &number);
	if (r < 0)
		return r;
	n = calloc(1, sizeof(*n));
	if (!n)
		return sentence_set(g->c, -ENOMEM, "no memory for a tensor key");
	n->asked = *t;
	n->coding = number.plain ? 0 : (uint16_t)(number.number + 1);
	n->next = g->numbers;
	g->numbers = n;
	*coding = n->coding;
	return 0;
}

static bool in_flight(const struct carry_group *g, uint64_t state)
{
	for (const struct work_block *b = g->blocks; b; b = b->next)
		for (size_t i = 0; i < WORKS_PER_BLOCK; i++)
			if (b->works[i].state != WORK_FREE && b->works[i].key_state == state)
				return true;
	return false;
}

int coding_of(uint16_t *coding, uint64_t *state, struct carry_group *g,
	      const struct coding_call *call, const struct carry_op_options *o)
{
	struct ctl_tensor t = {.handle = g->handle};
	int r = 0;

	*coding = 0;
	*state = 0;
	if (o->codec && is_none(o->codec) && !o->feedback)
		return 0;
	if (o->codec && is_replay(o->codec))
		return sentence_set(g->c, -EINVAL, "codec %s is for a whole group, not for an op",
				    o->codec);
	if (o->codec || o->feedback) {
		r = copy_spec(t.codec, g->c, "codec", o->codec ? o->codec : g->coding.codec);
		if (r == 0)
			r = copy_spec(t.feedback, g->c, "feedback",
				      o->feedback ? o->feedback : g->coding.feedback);
	} else if (!default_words(&g->coding, call, &t)) {
		return 0;
	}
	choose_again(g->coding.replay, call, &t);
	if (r < 0 || (is_none(t.codec) && is_none(t.feedback)))
		return r;
	r = check_call(g->c, call, &t);
	if (r < 0)
		return r;
	if (!is_none(t.feedback)) {
		*state = call->key_hash;
		if (in_flight(g, *state))
			return sentence_set(g->c, -EBUSY,
					    "key \"%s\": an op with feedback on it was not waited "
					    "for yet",
					    call->key);
		memcpy(t.key_name, call->key, strlen(call->key));
		t.key = call->key_hash;
		t.count = call->count;
		t.type = (uint8_t)call->type;
	}
	return number_of(coding, g, &t);
}

void coding_free(struct coding_number *numbers)
{
	while (numbers) {
		struct coding_number *next = numbers->next;

		free(numbers);
		numbers = next;
	}
}
