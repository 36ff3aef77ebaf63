/* query.c - see query.h. */
#include "tools/ctl/query.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/ctl.h"

enum { QUERY_LIMIT_MS = 10000, QUERY_RETRY_MS = 10, QUERY_ID = 1 };

struct query {
	const char *socket;
	int fd;
	long deadline_ms;
	char *text; /* what has come so far */
	size_t bytes;
	char *sentence;
	_Alignas(8) unsigned char packet[CTL_PACKET_BYTES_MAX];
};

static long query_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

__attribute__((format(printf, 2, 3))) static bool query_fail(struct query *q, const char *format,
							     ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(q->sentence, QUERY_SENTENCE_BYTES, format, args);
	va_end(args);
	return false;
}

static bool query_connect_failed(struct query *q, int error)
{
	switch (error) {
	case ENOENT:
		return query_fail(q,
				  "no daemon has made %s: start carryd, or name its socket with "
				  "--socket",
				  q->socket);
	case ECONNREFUSED: return query_fail(q, "no daemon listens on %s: it has ended", q->socket);
	case EACCES:
		return query_fail(q, "no permission to use %s: become a member of its group",
				  q->socket);
	case EPROTOTYPE:
	case ENOTSOCK: return query_fail(q, "%s is not the socket of a carryd", q->socket);
	case EAGAIN:
		return query_fail(q, "the daemon at %s does not take connections: it is stopped",
				  q->socket);
	default: return query_fail(q, "connect to %s: %s", q->socket, strerror(error));
	}
}

static bool query_connect(struct query *q)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(q->socket);

	if (length == 0 || length >= sizeof(address.sun_path))
		return query_fail(q, "the path of a socket has 1 to %zu bytes, \"%s\" has %zu",
				  sizeof(address.sun_path) - 1, q->socket, length);
	memcpy(address.sun_path, q->socket, length);
	q->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (q->fd < 0)
		return query_fail(q, "make a socket: %s", strerror(errno));
	while (connect(q->fd, (const struct sockaddr *)&address, sizeof(address))) {
		/* EAGAIN: so many connections wait already. */
		if (errno != EINTR && (errno != EAGAIN || query_now_ms() >= q->deadline_ms))
			return query_connect_failed(q, errno);
		if (errno == EAGAIN)
			(void)poll(NULL, 0, QUERY_RETRY_MS);
	}
	return true;
}

static bool query_send(struct query *q, const char *what)
{
	struct ctl_query body = {.what = ""};
	struct ctl_header header = {.magic = CTL_MAGIC,
				    .version = CTL_VERSION,
				    .kind = CTL_QUERY,
				    .id = QUERY_ID,
				    .bytes = sizeof(body)};
	long sent;

	(void)snprintf(body.what, sizeof(body.what), "%s", what);
	sent = ctl_send(q->fd, &header, &body, NULL, 0);
	/* Whoever refuses us says why before it closes. */
	if (sent < 0 && sent != -EPIPE)
		return query_fail(q, "write to carryd at %s: %s", q->socket, strerror((int)-sent));
	return true;
}

/* Return: bytes of a packet, or 0 and a sentence. */
static size_t query_receive(struct query *q)
{
	struct pollfd readable = {.fd = q->fd, .events = POLLIN};
	bool again = true;

	for (;;) {
		long bytes = ctl_receive(q->fd, q->packet, sizeof(q->packet), NULL, NULL);
		long left_ms = q->deadline_ms - query_now_ms();

		if (bytes > 0)
			return (size_t)bytes;
		if (bytes == -ECONNRESET && again) {
			again = false; /* what it sent before is still to be read */
			continue;
		}
		if (bytes != -EAGAIN) {
			(void)query_fail(q, "carryd at %s closed the connection", q->socket);
			return 0;
		}
		if (left_ms <= 0) {
			(void)query_fail(q, "carryd at %s does not answer: it is stopped or stuck",
					 q->socket);
			return 0;
		}
		(void)poll(&readable, 1, (int)left_ms);
	}
}

static bool query_append(struct query *q, const void *body, size_t bytes)
{
	char *text;

	if (bytes > QUERY_BYTES_MAX - q->bytes)
		return query_fail(q, "carryd at %s answers with more than %d MiB", q->socket,
				  QUERY_BYTES_MAX >> 20);
	text = realloc(q->text, q->bytes + bytes + 1);
	if (!text)
		return query_fail(q, "no memory for an answer of %zu bytes", q->bytes + bytes);
	if (bytes)
		memcpy(text + q->bytes, body, bytes);
	q->text = text;
	q->bytes += bytes;
	q->text[q->bytes] = 0;
	return true;
}

static bool query_collect(struct query *q)
{
	struct ctl_header header;
	const unsigned char *body = q->packet + sizeof(header);

	do {
		size_t bytes = query_receive(q);
		enum ctl_verdict verdict;

		if (!bytes)
			return false;
		verdict = ctl_answer_check(q->packet, bytes);
		memcpy(&header, q->packet, sizeof(header));
		if (verdict == CTL_BAD_VERSION)
			return query_fail(q,
					  "carryd at %s speaks version %u of the protocol, "
					  "carryctl version %d",
					  q->socket, header.version, CTL_VERSION);
		if (verdict == CTL_GOOD && header.kind == CTL_ERROR) {
			struct ctl_error error;

			memcpy(&error, body, sizeof(error));
			return query_fail(q, "carryd at %s: %s", q->socket, error.text);
		}
		if (verdict != CTL_GOOD || header.id != QUERY_ID ||
		    (header.kind != CTL_MORE && header.kind != CTL_OK))
			return query_fail(q, "what listens on %s does not answer like a carryd",
					  q->socket);
		if (!query_append(q, body, header.bytes))
			return false;
	} while (header.kind == CTL_MORE);
	return true;
}

char *query_run(const char *socket, const char *what, char *sentence)
{
	struct query q = {.socket = socket, .fd = -1, .sentence = sentence};
	bool ok;

	q.deadline_ms = query_now_ms() + QUERY_LIMIT_MS;
	ok = query_connect(&q) && query_send(&q, what) && query_collect(&q);
	if (q.fd >= 0)
		(void)close(q.fd);
	if (ok)
		return q.text;
	free(q.text);
	return NULL;
}
