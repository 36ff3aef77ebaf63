/*
 * stranger.c - connects to a daemon's port and behaves badly, for the tests of real daemons.
 *
 *	stranger ADDRESS PORT WORD [COUNT]
 *
 *   http tls garbage   another protocol
 *   version            a HELLO of the next version, whose checksum is right
 *   kind               a frame that may not come first
 *   field              a HELLO with a purpose that there is not
 *   truncated          half of a HELLO, then nothing
 *   silent             nothing at all
 *   hangup             half of a HELLO, then the end
 *
 * COUNT connections are made (1), then each waits for its end, at most LIMIT_MS.  Prints "WORD:
 * CLOSED of COUNT closed by the daemon within MS ms, BYTES bytes came"; exit code 1 if one was not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/crc32c.h"
#include "proto/wire.h"

enum { LIMIT_MS = 20000, COUNT_MAX = 1000 };

struct greeting {
	struct wire_frame frame;
	struct wire_hello hello;
};

static long now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int dial(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to))) {
		fprintf(stderr, "stranger: %s port %s: %s\n", address, port, strerror(errno));
		exit(1);
	}
	return fd;
}

/* A HELLO that a daemon would take. */
static struct greeting greet(void)
{
	struct greeting g = {.frame = {.kind = WIRE_HELLO, .payload_bytes = sizeof(g.hello)},
			     .hello = {.instance = 0x1234567890abcdefull,
				       .purpose = WIRE_CONTROL,
				       .port = 7117,
				       .address = "10.9.8.7",
				       .host = "stranger"}};

	wire_seal(&g.frame, &g.hello);
	return g;
}

/* wire_seal() knows one version only. */
static void seal_version(struct greeting *g)
{
	g->frame.version = WIRE_VERSION + 1;
	g->frame.header_crc = crc32c(0, &g->frame, offsetof(struct wire_frame, header_crc));
}

static size_t compose(const char *word, unsigned char *bytes, size_t room)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: example\r\n\r\n";
	static const unsigned char tls[] = {0x16, 3, 1, 0, 0xc0, 1, 0, 0, 0xbc, 3, 3};
	struct greeting g = greet();

	memset(bytes, 0xa5, room);
	if (strcmp(word, "silent") == 0)
		return 0;
	if (strcmp(word, "garbage") == 0)
		return room;
	if (strcmp(word, "http") == 0) {
		memcpy(bytes, http, sizeof(http) - 1);
		return sizeof(http) - 1;
	}
	if (strcmp(word, "tls") == 0) {
		memcpy(bytes, tls, sizeof(tls));
		return 197;
	}
	if (strcmp(word, "version") == 0) {
		seal_version(&g);
	} else if (strcmp(word, "kind") == 0) {
		g.frame = (struct wire_frame){.kind = WIRE_BYE};
		wire_seal(&g.frame, NULL);
	} else if (strcmp(word, "field") == 0) {
		g.hello.purpose = 77;
		wire_seal(&g.frame, &g.hello);
	} else if (strcmp(word, "truncated") != 0 && strcmp(word, "hangup") != 0) {
		fprintf(stderr, "stranger: there is no \"%s\"\n", word);
		exit(2);
	}
	memcpy(bytes, &g, sizeof(g));
	return *word == 't' || *word == 'h' ? sizeof(g) / 2 : sizeof(g);
}

/* Return: bytes that came before the end; -1: it did not end in time. */
static long drain(int fd, long until_ms)
{
	unsigned char bytes[512];
	long sum = 0;

	for (;;) {
		struct pollfd one = {.fd = fd, .events = POLLIN};
		long left = until_ms - now_ms();
		ssize_t got;

		if (left <= 0 || poll(&one, 1, (int)left) <= 0)
			return -1;
		got = recv(fd, bytes, sizeof(bytes), 0);
		if (got <= 0)
			return sum;
		sum += got;
	}
}

int main(int argc, char **argv)
{
	unsigned char bytes[4096];
	int fds[COUNT_MAX], closed = 0, count;
	long start_ms = now_ms(), sum = 0;
	size_t length;

	if (argc < 4)
		return 2;
	count = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 1;
	if (count < 1 || count > COUNT_MAX)
		return 2;
	length = compose(argv[3], bytes, sizeof(bytes));
	for (int i = 0; i < count; i++) {
		fds[i] = dial(argv[1], argv[2]);
		if (length)
			(void)send(fds[i], bytes, length, MSG_NOSIGNAL);
		if (strcmp(argv[3], "hangup") == 0)
			(void)shutdown(fds[i], SHUT_WR);
	}
	for (int i = 0; i < count; i++) {
		long got = drain(fds[i], start_ms + LIMIT_MS);

		closed += got >= 0;
		sum += got > 0 ? got : 0;
		(void)close(fds[i]);
	}
	printf("%s: %d of %d closed by the daemon within %ld ms, %ld bytes came\n", argv[3], closed,
	       count, now_ms() - start_ms, sum);
	return closed != count;
}
