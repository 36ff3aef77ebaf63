/* client_answer.c - what goes back to a client, without ever waiting for it; see client.h. */
#include "daemon/client_state.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_PART_BYTES (CTL_PACKET_BYTES_MAX - sizeof(struct ctl_header))

static bool answer_open(const struct client *one)
{
	return one->state == CLIENT_STATE_REFUSED || one->state == CLIENT_STATE_CONNECTED ||
	       one->state == CLIENT_STATE_ATTACHED;
}

static struct ctl_header answer_header(enum ctl_kind kind, uint32_t id, size_t bytes)
{
	return (struct ctl_header){.magic = CTL_MAGIC,
				   .version = CTL_VERSION,
				   .kind = (uint16_t)kind,
				   .id = id,
				   .bytes = (uint32_t)bytes};
}

static struct ctl_error answer_error_body(int code, const char *text)
{
	struct ctl_error body = {.error = code};

	(void)snprintf(body.text, sizeof(body.text), "%s", text);
	return body;
}

static void answer(struct clients *c, uint32_t client, enum ctl_kind kind, uint32_t id,
		   const void *body, size_t bytes)
{
	struct client *one = &c->table[client];
	struct ctl_header header = answer_header(kind, id, bytes);
	long sent;

	if (!answer_open(one))
		return;
	sent = ctl_send(one->fd, &header, body, NULL, 0);
	if (sent == -EAGAIN)
		client_close(c, client, "it does not read its answers");
	else if (sent < 0)
		client_close(c, client, "its connection is closed");
}

void client_answer_ok(struct clients *c, uint32_t client, uint32_t id)
{
	answer(c, client, CTL_OK, id, NULL, 0);
}

void client_answer_error(struct clients *c, uint32_t client, uint32_t id, int code,
			 const char *text)
{
	struct ctl_error body = answer_error_body(code, text);

	assert(code < 0 && *text);
	answer(c, client, CTL_ERROR, id, &body, sizeof(body));
}

void client_answer_created(struct clients *c, uint32_t client, uint32_t id,
			   const struct ctl_created *created)
{
	answer(c, client, CTL_CREATED, id, created, sizeof(*created));
}

void client_answer_number(struct clients *c, uint32_t client, uint32_t id,
			  const struct ctl_number *number)
{
	answer(c, client, CTL_NUMBER, id, number, sizeof(*number));
}

void client_last_words(const struct client *one, uint32_t id, int code, const char *text)
{
	struct ctl_error body = answer_error_body(code, text);
	struct ctl_header header = answer_header(CTL_ERROR, id, sizeof(body));

	(void)ctl_send(one->fd, &header, &body, NULL, 0);
}

/* --- long answers ---------------------------------------------------------------------------- */

void client_text_drop(struct client *one)
{
	free(one->answer.text);
	memset(&one->answer, 0, sizeof(one->answer));
}

void client_text_more(struct clients *c, uint32_t client)
{
	struct client *one = &c->table[client];
	struct client_text *text = &one->answer;

	while (answer_open(one) && text->text) {
		size_t left = text->bytes - text->sent;
		size_t bytes = left < ANSWER_PART_BYTES ? left : ANSWER_PART_BYTES;
		struct ctl_header header =
			answer_header(bytes < left ? CTL_MORE : CTL_OK, text->id, bytes);
		long sent = ctl_send(one->fd, &header, text->text + text->sent, NULL, 0);

		if (sent == -EAGAIN) {
			/* Its next request waits until it has read this. */
			(void)loop_change(c->loop, one->fd, EPOLLOUT, LOOP_CLIENT, client);
			return;
		}
		if (sent < 0) {
			client_close(c, client, "its connection is closed");
			return;
		}
		text->sent += bytes;
		if (bytes == left) {
			client_text_drop(one);
			(void)loop_change(c->loop, one->fd, EPOLLIN, LOOP_CLIENT, client);
		}
	}
}

void client_answer_text(struct clients *c, uint32_t client, uint32_t id, char *text, size_t bytes)
{
	struct client *one = &c->table[client];

	if (!answer_open(one)) {
		free(text);
		return;
	}
	assert(!one->answer.text); /* or its request would not have been read */
	one->answer = (struct client_text){.text = text, .bytes = bytes, .id = id};
	client_text_more(c, client);
}

/* --- why operations fail --------------------------------------------------------------------- */

/* The reader (libcarry) copies the text between two looks at the version. */
void client_why(struct clients *c, uint32_t client, uint32_t handle, const char *text)
{
	struct client *one = &c->table[client];
	struct shm_why *why;
	size_t length = strnlen(text, sizeof(why->text) - 1);

	assert(handle < SHM_GROUPS_MAX);
	if (one->state != CLIENT_STATE_ATTACHED)
		return;
	why = &((struct shm_header *)one->base)->why[handle];
	atomic_store_explicit(&why->version, ++one->why_version[handle], memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	memcpy(why->text, text, length);
	memset(why->text + length, 0, sizeof(why->text) - length);
	atomic_store_explicit(&why->version, ++one->why_version[handle], memory_order_release);
}
