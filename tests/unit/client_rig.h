/*
 * client_rig.h - a table of clients (daemon/client.h) on a real socket in a folder of its
 * own, turned by hand; and trainers that say what the test wants.
 *
 * Everything asserts, so a test reads what happened and nothing else.
 */
#ifndef TESTS_UNIT_CLIENT_RIG_H
#define TESTS_UNIT_CLIENT_RIG_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/client.h"
#include "daemon/config.h"
#include "daemon/loop.h"
#include "proto/ctl.h"

enum { RIG_LANES = 2, RIG_REQUESTS = 64, RIG_TEXT_BYTES = 384 };

struct client_rig {
	struct config config;
	struct loop *loop;
	struct clients *clients;
	int lane_fds[RIG_LANES]; /* epoll descriptors */
	char folder[64], path[96];
	uint64_t now_ns;
	struct client_request requests[RIG_REQUESTS]; /* what came, CLIENT_GONE too         */
	size_t count;
	char refused[RIG_TEXT_BYTES]; /* the last sentence of accept          */
};

/* settings: of the configuration, "" for none; there are RIG_LANES lanes. */
void client_rig_open(struct client_rig *r, const char *settings);
void client_rig_close(struct client_rig *r); /* checks that the socket file goes */

/* Handle events until there are none; `requests` holds what came meanwhile. */
void client_rig_turn(struct client_rig *r);

/* The one request that came in a turn, of this kind. */
const struct client_request *client_rig_one(struct client_rig *r, enum client_request_kind kind);

int trainer_connect(const struct client_rig *r); /* non-blocking */
void trainer_send(int fd, enum ctl_kind kind, uint32_t id, const void *body, size_t bytes);
void trainer_query(int fd, uint32_t id, const char *what);

struct answer {
	struct ctl_header header; /* kind 0: end of file */
	int fds[CTL_FDS_MAX];
	size_t nfds;
	union {
		struct ctl_error error;
		struct ctl_attached attached;
		struct ctl_created created;
		char text[CTL_PACKET_BYTES_MAX];
	};
};
/* The answer that is there.  kind 0: the connection was closed. */
void trainer_answer(int fd, struct answer *out);
void trainer_nothing(int fd); /* there is no answer */
/* There is a CTL_ERROR with this id and error; text as in strcmp(). */
void trainer_refused(int fd, uint32_t id, int error, const char *text);

/* connect, ATTACH, answer: the descriptors are closed again.  Return: fd; *client: its number. */
int trainer_attach(struct client_rig *r, uint64_t arena_bytes, uint32_t *client);

/* Open descriptors and shared mappings of this process. */
size_t count_fds(void);
size_t count_arenas(void);

#endif
