/* handle.c - struct carry: who may call, how it ends; options; see internal.h. */
#include "libclient/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int handle_check(const struct carry *c)
{
	if (!c)
		return sentence_set(NULL, -EINVAL, "the handle is NULL");
	if (guard_forked(&c->guard))
		return sentence_set(c, -EOWNERDEAD,
				    "this handle belongs to the parent of this process: "
				    "call carry_open() after fork()");
	return 0;
}

int handle_check_ended(const struct carry *c)
{
	return c->ended ? sentence_set(c, c->ended, "%s", c->text) : 0;
}

void handle_end(struct carry *c, int code, const char *format, ...)
{
	va_list arguments;

	if (c->ended)
		return;
	va_start(arguments, format);
	vsnprintf(c->text, sizeof(c->text), format, arguments);
	va_end(arguments);
	c->ended = code;
	/* Tells a daemon that only lost its mind, and makes carry_event_fd() readable. */
	shutdown(c->socket, SHUT_RDWR);

	for (uint32_t i = 0; i < SHM_GROUPS_MAX; i++) {
		struct carry_group *g = c->groups[i];

		for (uint32_t k = 0; g && k < SHM_OPS_MAX; k++) {
			struct carry_work *w = g->flying[k];

			if (!w)
				continue;
			w->status = code;
			memcpy(w->text, c->text, sizeof(w->text));
			work_land(w);
		}
	}
	ask_end(c);
	watch_tell(c);
}

static void put(struct carry *c, uint32_t lane, const struct shm_submission *s)
{
	struct shm_port *port = &c->submit[lane];

	shm_submissions(c->base, &c->layout, lane)[port->position % SHM_RING_ENTRIES] = *s;
	shm_produce(port);
}

static void wake(struct carry *c, uint32_t lane)
{
	if (shm_wake_needed(&c->submit[lane].ring->sleeps))
		shm_doorbell_ring(c->doorbell_fd[lane]);
}

void handle_submit(struct carry *c, uint32_t lane, const struct shm_submission *s)
{
	put(c, lane, s);
	wake(c, lane);
}

void handle_mention(struct carry *c, uint32_t lane, const struct shm_submission *s)
{
	put(c, lane, s);
	if (shm_produce_unseen(&c->submit[lane]) > SHM_UNSEEN)
		wake(c, lane);
}

int options_read(const struct carry *c, const char *what, void *to, size_t bytes, const void *from)
{
	const unsigned char *given = from;
	size_t size;

	memset(to, 0, bytes);
	if (!from)
		return 0;
	memcpy(&size, from, sizeof(size));
	if (size < sizeof(size))
		return sentence_set(c, -EINVAL, "struct %s: size is not set", what);
	for (size_t i = bytes; i < size; i++)
		if (given[i])
			return sentence_set(c, -EINVAL,
					    "struct %s has a field that libcarry %s does not know: "
					    "the program needs a newer one",
					    what, carry_version());
	memcpy(to, from, size < bytes ? size : bytes);
	return 0;
}

int answer_check(const struct carry *c, const char *what, const void *to)
{
	size_t size;

	memcpy(&size, to, sizeof(size));
	if (size < sizeof(size))
		return sentence_set(c, -EINVAL, "struct %s: size is not set", what);
	return 0;
}

void answer_write(void *to, const void *from, size_t bytes)
{
	size_t size;

	memcpy(&size, to, sizeof(size));
	if (size < bytes)
		bytes = size;
	memcpy((char *)to + sizeof(size), (const char *)from + sizeof(size), bytes - sizeof(size));
}

int schedule_id(uint16_t *id, const struct carry *c, const char *name)
{
	/* As in daemon/sched: the numbers are on the wire and never change. */
	static const char *const names[] = {"auto", "direct", "flat", "ring"};

	for (uint16_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name ? name : "auto", names[i]) != 0)
			continue;
		*id = i;
		return 0;
	}
	return sentence_set(c, -EINVAL,
			    "schedule \"%s\" does not exist: it is auto, direct, flat or ring",
			    name);
}

const char *carry_version(void)
{
	return CARRY_RELEASE;
}

size_t carry_type_bytes(enum carry_type type)
{
	static_assert((int)CARRY_F32 == SHM_F32 && (int)CARRY_F64 == SHM_F64, "one numbering");
	static_assert((int)CARRY_F16 == SHM_F16 && (int)CARRY_BF16 == SHM_BF16, "one numbering");
	static_assert((int)CARRY_I8 == SHM_I8 && (int)CARRY_U8 == SHM_U8, "one numbering");
	static_assert((int)CARRY_I32 == SHM_I32 && (int)CARRY_I64 == SHM_I64, "one numbering");
	return type > 0 && type <= UINT8_MAX ? shm_type_bytes((uint8_t)type) : 0;
}

const char *carry_daemon_version(const struct carry *c)
{
	return c ? c->version : "";
}
