/* replay.c - see replay.h; the lines are made by daemon/control_choice.c. */
#include "libclient/replay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/internal.h"
#include "proto/ctl.h"

struct change {
	uint64_t op, bytes;
	char codec[CTL_SPEC_BYTES], list[4 * CTL_SPEC_BYTES], feedback[CTL_SPEC_BYTES];
	char group[24]; /* its id: of that run */
};

struct replay {
	size_t count, room;
	struct change *changes; /* [count], by op */
};

/* The value behind " key=", up to the next space.  Return: whether there is one that fits. */
static bool value_of(const char *line, const char *key, char *value, size_t bytes)
{
	char name[32];
	const char *at;
	size_t length;

	(void)snprintf(name, sizeof(name), " %s=", key);
	at = strstr(line, name);
	if (!at)
		return false;
	at += strlen(name);
	length = strcspn(at, " \n");
	if (!length || length >= bytes)
		return false;
	memcpy(value, at, length);
	value[length] = 0;
	return true;
}

static bool number_of(const char *line, const char *key, uint64_t *value)
{
	char text[24], *end;

	if (!value_of(line, key, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return false;
	*value = strtoull(text, &end, 10);
	return !*end;
}

/* Return: a line that says what was chosen in this group, behind its start; NULL: another one. */
static const char *choice_line(const char *line, const char *start)
{
	const char *at = strstr(line, start);
	char id[16];

	if (!at || !value_of(at, "id", id, sizeof(id)) || strcmp(id, "choice") != 0)
		return NULL;
	return at + strlen(start);
}

static bool read_change(const char *line, uint64_t *number, struct change *change)
{
	memset(change, 0, sizeof(*change));
	return number_of(line, "change", number) && number_of(line, "op", &change->op) &&
	       number_of(line, "bytes", &change->bytes) && *number && change->bytes &&
	       value_of(line, "codec", change->codec, sizeof(change->codec)) &&
	       value_of(line, "list", change->list, sizeof(change->list)) &&
	       value_of(line, "feedback", change->feedback, sizeof(change->feedback)) &&
	       value_of(line, "group", change->group, sizeof(change->group));
}

static int add(struct replay *r, const struct change *change)
{
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct change *more = reallocarray(r->changes, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->changes = more;
		r->room = room;
	}
	r->changes[r->count++] = *change;
	return 0;
}

/* One choice.  Return: 0, or negative errno with a sentence. */
static int take(struct replay *r, struct carry *c, const char *file, uint64_t line,
		const char *words)
{
	struct change change;
	uint64_t number;

	if (!read_change(words, &number, &change))
		return sentence_set(c, -EINVAL, "%s, line %llu: this is no whole choice", file,
				    (unsigned long long)line);
	if (number == 1)
		r->count = 0; /* of a run that began after that */
	else if (r->count && strcmp(change.group, r->changes[0].group) != 0)
		return 0; /* of one that began before */
	if (number != r->count + 1)
		return sentence_set(
			c, -EINVAL,
			"%s, line %llu: change %llu of the group comes after change %zu: "
			"lines are missing",
			file, (unsigned long long)line, (unsigned long long)number, r->count);
	if (r->count && change.op < r->changes[r->count - 1].op)
		return sentence_set(c, -EINVAL, "%s, line %llu: op %llu comes after a later one",
				    file, (unsigned long long)line, (unsigned long long)change.op);
	if (r->count && (strcmp(change.list, r->changes[0].list) != 0 ||
			 strcmp(change.feedback, r->changes[0].feedback) != 0))
		return sentence_set(c, -EINVAL,
				    "%s, line %llu: the choice is of codec %s with feedback %s, an "
				    "earlier one of %s with %s: only runs with one of them can be "
				    "made again",
				    file, (unsigned long long)line, change.list, change.feedback,
				    r->changes[0].list, r->changes[0].feedback);
	if (add(r, &change))
		return sentence_set(c, -ENOMEM, "no memory for the choices in %s", file);
	return 0;
}

static int read_lines(struct replay *r, struct carry *c, FILE *from, const char *file,
		      const char *group)
{
	char start[CTL_NAME_BYTES + 16], *line = NULL;
	uint64_t number = 0;
	size_t room = 0;
	int ret = 0;

	(void)snprintf(start, sizeof(start), "group \"%s\": ", group);
	while (ret == 0 && getline(&line, &room, from) >= 0) {
		const char *words = choice_line(line, start);

		number++;
		if (words)
			ret = take(r, c, file, number, words);
	}
	free(line);
	if (ret == 0 && ferror(from))
		ret = sentence_set(c, -EIO, "cannot read the choices of codecs in %s", file);
	if (ret == 0 && !r->count)
		ret = sentence_set(c, -EINVAL, "%s has no choice of a codec for group \"%s\" in it",
				   file, group);
	return ret;
}

int replay_read(struct replay **out, struct carry *c, const char *file, const char *group)
{
	struct replay *r;
	FILE *from;
	int ret;

	*out = NULL;
	from = fopen(file, "re");
	if (!from)
		return sentence_set(c, -errno, "cannot read the choices of codecs in %s: %s", file,
				    strerror(errno));
	r = calloc(1, sizeof(*r));
	ret = r ? read_lines(r, c, from, file, group)
		: sentence_set(c, -ENOMEM, "no memory for the choices in %s", file);
	(void)fclose(from);
	if (ret == 0)
		*out = r;
	else
		replay_free(r);
	return ret;
}

void replay_free(struct replay *r)
{
	if (r)
		free(r->changes);
	free(r);
}

const char *replay_codec(const struct replay *r, size_t i)
{
	return i < r->count ? r->changes[i].codec : NULL;
}

const char *replay_at(const struct replay *r, uint64_t seq, size_t bytes)
{
	for (size_t i = r->count; i-- > 0;) {
		const struct change *change = &r->changes[i];

		if (change->op <= seq && bytes >= change->bytes && bytes / 2 < change->bytes)
			return change->codec;
	}
	return "none";
}
