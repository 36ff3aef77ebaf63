/* ask.c - see ask.h. */
#include "libclient/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "libclient/internal.h"

const char *ask_verdict(enum ctl_verdict verdict)
{
	switch (verdict) {
	case CTL_BAD_MAGIC: return "is not a carryd: its answer has another magic number";
	case CTL_BAD_VERSION:
		return "speaks another version of the protocol: update carryd or libcarry";
	case CTL_TOO_SHORT:
	case CTL_BAD_KIND:
	case CTL_BAD_LENGTH:
	case CTL_BAD_FIELD: return "sent an answer that makes no sense";
	case CTL_GOOD: break;
	}
	return "sent an answer to nothing";
}

static void ask_remove(struct carry *c, const struct ask *ask)
{
	for (struct ask **at = &c->asks; *at; at = &(*at)->next) {
		if (*at != ask)
			continue;
		*at = ask->next;
		return;
	}
}

/* A request that finds the socket's buffer full waits; the daemon reads when it can. */
static int send_request(struct carry *c, const struct ctl_header *header, const void *body,
			uint64_t deadline_ns)
{
	for (;;) {
		long sent = ctl_send(c->socket, header, body, NULL, 0);
		struct pollfd room = {.fd = c->socket, .events = POLLOUT};

		if (sent >= 0)
			return 0;
		if (sent != -EAGAIN) {
			handle_end(c, -ECONNRESET, "carryd at %s has ended", c->path);
			return handle_check_ended(c);
		}
		if (now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		pthread_mutex_unlock(&c->lock);
		poll(&room, 1, 10);
		pthread_mutex_lock(&c->lock);
		if (c->ended)
			return handle_check_ended(c);
	}
}

int ask_run(struct carry *c, struct ask *ask, uint16_t kind, const void *body, uint32_t bytes,
	    uint64_t deadline_ns)
{
	struct ctl_header header = {.magic = CTL_MAGIC, .version = CTL_VERSION, .kind = kind};
	int r = handle_check_ended(c);

	if (r < 0)
		return r;
	*ask = (struct ask){.kind = kind, .id = ++c->last_ask, .next = c->asks};
	c->asks = ask;
	header.id = ask->id;
	header.bytes = bytes;
	r = send_request(c, &header, body, deadline_ns);
	while (r == 0 && !ask->done)
		r = watch_round(c, deadline_ns);
	ask_remove(c, ask);
	if (!ask->done)
		return r;
	if (ask->error)
		return sentence_set(c, ask->error, "%s", ask->text);
	return 0;
}

/* A group that came too late for its caller: leave it again.  The answer will be to nothing. */
static void leave_late(struct carry *c, const struct ctl_created *created)
{
	struct ctl_destroy body = {.handle = created->handle};
	struct ctl_header header = {.magic = CTL_MAGIC,
				    .version = CTL_VERSION,
				    .kind = CTL_DESTROY,
				    .id = ++c->last_ask,
				    .bytes = sizeof(body)};

	if (ctl_send(c->socket, &header, &body, NULL, 0) < 0)
		handle_end(c, -EPROTO, "carryd at %s does not take requests any more", c->path);
}

void ask_answer(struct carry *c, const void *packet, size_t bytes)
{
	enum ctl_verdict verdict = ctl_answer_check(packet, bytes);
	const struct ctl_header *header = packet;
	const void *body = header + 1;
	struct ask *ask = c->asks;

	if (verdict != CTL_GOOD) {
		handle_end(c, -EPROTO, "carryd at %s %s", c->path, ask_verdict(verdict));
		return;
	}
	while (ask && ask->id != header->id)
		ask = ask->next;
	if (!ask) {
		if (header->kind == CTL_CREATED)
			leave_late(c, body);
		return;
	}
	if (header->kind == CTL_ERROR) {
		const struct ctl_error *error = body;

		ask->error = error->error;
		memcpy(ask->text, error->text, sizeof(ask->text));
	} else if (header->kind == CTL_CREATED && ask->kind == CTL_CREATE) {
		memcpy(&ask->created, body, sizeof(ask->created));
	} else if (header->kind == CTL_NUMBER && ask->kind == CTL_TENSOR) {
		memcpy(&ask->number, body, sizeof(ask->number));
	} else if (header->kind != CTL_OK || ask->kind != CTL_DESTROY) {
		handle_end(c, -EPROTO, "carryd at %s sent an answer of the wrong kind, %u", c->path,
			   header->kind);
		return;
	}
	ask->done = true;
}

void ask_end(struct carry *c)
{
	for (struct ask *ask = c->asks; ask; ask = ask->next) {
		if (ask->done)
			continue;
		ask->done = true;
		ask->error = c->ended;
		snprintf(ask->text, sizeof(ask->text), "%.*s", CTL_TEXT_BYTES - 1, c->text);
	}
}
