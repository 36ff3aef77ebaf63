/* choice.c - see choice.h. */
#include "daemon/choice.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/spec.h"

/* "auto" alone. */
static const char usual[] = "int8/int4";

/* --- lists ------------------------------------------------------------------------------------ */

int choice_parse(struct choice_list *out, const char *spec, struct err *err)
{
	const char *at = strchr(spec, ':');

	if (!spec_names(spec, "auto"))
		return 0;
	*out = (struct choice_list){.count = 1};
	(void)snprintf(out->codec[0], sizeof(out->codec[0]), "none");
	for (at = at ? at + 1 : usual;; at++) {
		size_t bytes = strcspn(at, "/");

		if (bytes == 0)
			return err_set(err, -EINVAL,
				       "codec auto: a codec is missing in \"%s\": write "
				       "auto:int8/int4",
				       spec);
		if (strcspn(at, ":/") == 4 && memcmp(at, "none", 4) == 0)
			return err_set(err, -EINVAL,
				       "codec auto: none is always among the alternatives: leave "
				       "it out of \"%s\"",
				       spec);
		if (out->count == CHOICE_ALTERNATIVES_MAX)
			return err_set(err, -EINVAL, "codec auto: more than %d codecs in \"%s\"",
				       CHOICE_ALTERNATIVES_MAX - 1, spec);
		if (bytes >= CHOICE_SPEC_BYTES)
			return err_set(err, -EINVAL, "codec auto: a codec is longer than %d bytes",
				       CHOICE_SPEC_BYTES - 1);
		memcpy(out->codec[out->count], at, bytes);
		out->codec[out->count++][bytes] = 0;
		at += bytes;
		if (!*at)
			return 1;
	}
}

uint8_t choice_size_class(uint64_t bytes)
{
	return bytes ? (uint8_t)(63 - __builtin_clzll(bytes)) : 0;
}

uint64_t choice_class_bytes(uint8_t size_class)
{
	return 1ull << size_class;
}

/* --- what was chosen -------------------------------------------------------------------------- */

void choice_lease_of(struct choice_lease *out, const struct choice_decision *decision)
{
	*out = (struct choice_lease){
		.from = decision->from, .through = decision->through, .count = decision->count};
	for (uint32_t i = 0; i < decision->count; i++) {
		const struct wire_choice *c = &decision->changes[i];

		out->changes[i] = (struct choice){c->list, c->size_class, c->alternative};
	}
}

static struct choice *find(struct choices *c, uint32_t list, uint8_t size_class)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (c->now[i].list == list && c->now[i].size_class == size_class)
			return &c->now[i];
	return NULL;
}

static void change(struct choices *c, const struct choice *to)
{
	struct choice *at = find(c, to->list, to->size_class);

	if (at)
		*at = *to;
	else if (c->count < CHOICE_LISTS_MAX)
		c->now[c->count++] = *to;
}

static void begin(struct choices *c, uint64_t seq)
{
	uint32_t begun = 0;

	for (; begun < c->pending && c->leases[begun].from <= seq; begun++)
		for (uint32_t i = 0; i < c->leases[begun].count; i++)
			change(c, &c->leases[begun].changes[i]);
	c->pending -= begun;
	memmove(c->leases, c->leases + begun, c->pending * sizeof(c->leases[0]));
}

bool choices_add(struct choices *c, const struct choice_lease *lease, uint64_t seq)
{
	assert(lease->from == c->through + 1 && lease->through >= lease->from);
	begin(c, seq);
	if (lease->count && c->pending == CHOICE_PENDING_MAX)
		return false;
	if (lease->count)
		c->leases[c->pending++] = *lease;
	c->through = lease->through;
	return true;
}

uint8_t choices_at(struct choices *c, uint32_t list, uint8_t size_class, uint64_t seq)
{
	const struct choice *choice;

	assert(seq <= c->through);
	begin(c, seq);
	choice = find(c, list, size_class);
	return choice ? choice->alternative : 0;
}
