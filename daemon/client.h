/*
 * client.h - who is connected to the Unix socket: trainers, carryctl.
 *
 * Owns the listening socket, the table of connections and the memory shared with
 * trainers.  It answers ATTACH itself and hands every other request to the caller, who
 * answers with client_answer_*().  Nothing blocks and nothing calls back.
 *
 *     connected --ATTACH--> attached --EOF, death, a broken rule, client_end()--> gone
 *         |                     descriptors are closed; the mapping stays          |
 *         +--> free             until client_forget(): no lane uses it any more    +--> free
 *
 * The end of an attached client is told once, by clients_gone(), which main.c calls after
 * each batch of events; the number is not used again before client_forget().  A trainer's
 * death is noticed by its pidfd too, since a forked child may hold the socket open.
 *
 * The account: at most limits.clients connections, limits.clients_per_uid of one user;
 * shared memory (arena and rings) at most limits.arena_bytes, limits.arena_bytes_per_uid
 * of one user, limits.arena_bytes_max of one trainer.  It is charged at ATTACH and
 * given back by client_forget().
 *
 * Main thread only.
 */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/config.h"
#include "daemon/err.h"
#include "daemon/loop.h"
#include "proto/ctl.h"
#include "proto/shm.h"

enum { CLIENTS_MAX = CONFIG_CLIENTS_MAX };

struct clients;

struct clients_options {
	const struct config *config; /* outlives the clients                                 */
	struct loop *loop;
	const int *lane_fds; /* epoll[config->lanes] that lanes sleep on; copied; not owned  */
	const char *version; /* of the daemon                                                */
};

int clients_open(struct clients **out, const struct clients_options *options, struct err *err);

/*
 * clients_listen() - take the socket that systemd passed, or make config->socket, once
 * everything else is ready: whoever finds the file may count on the daemon.
 * A socket file that nobody listens on is replaced.
 * Return: 0, or negative errno and *err.
 */
int clients_listen(struct clients *c, struct err *err);
/* No more connections: close the listening socket; remove its file, if we made it. */
void clients_unlisten(struct clients *c);
/* clients_unlisten() and more: closes all.  The lanes have ended, their descriptors too. */
void clients_close(struct clients *c);

/* --- events of the loop ------------------------------------------------------------------ */

enum client_request_kind {
	CLIENT_ATTACHED = 1, /* has been answered; the lanes should learn of it          */
	CLIENT_CREATE,       /* body: create                                             */
	CLIENT_DESTROY,      /* body: destroy; handle < SHM_GROUPS_MAX and taken         */
	CLIENT_TENSOR,       /* body: tensor; handle taken, or CTL_NO_GROUP              */
	CLIENT_QUERY,        /* body: query; also of clients that are not attached       */
	CLIENT_GONE,         /* why: a sentence; only of clients that were ATTACHED      */
};

struct client_request {
	enum client_request_kind kind;
	uint32_t client;
	uint32_t id; /* for the answer */
	union {
		struct ctl_create create;
		struct ctl_destroy destroy;
		struct ctl_query query;
		struct ctl_tensor tensor;
		char why[CTL_TEXT_BYTES];
	};
};

/* LOOP_LISTEN_UNIX.  Return: 0, or negative errno and *err says who was refused and why. */
int clients_accept(struct clients *c, uint64_t now_ns, struct err *err);
/* LOOP_CLIENT: at most one packet.  Return: whether *out has a request (never GONE). */
bool clients_ready(struct clients *c, uint32_t client, uint32_t events, struct client_request *out);
/* LOOP_CLIENT_PID */
void clients_pid_ready(struct clients *c, uint32_t client);
/* The next client that has ended, and why.  Return: false if there is none (left). */
bool clients_gone(struct clients *c, struct client_request *out);
/* Accept again after a pause for want of descriptors. */
void clients_tick(struct clients *c, uint64_t now_ns);
uint64_t clients_deadline_ns(const struct clients *c); /* UINT64_MAX: none */

/* --- what control needs of one client ------------------------------------------------------- */

uint32_t clients_max(const struct clients *c);                  /* numbers are below it */
bool client_attached(const struct clients *c, uint32_t client); /* attached and not gone    */
uid_t client_uid(const struct clients *c, uint32_t client);
pid_t client_pid(const struct clients *c, uint32_t client);
const char *client_name(const struct clients *c, uint32_t client);

/* Of an attached or gone client. */
void *client_base(const struct clients *c, uint32_t client);
const struct shm_layout *client_layout(const struct clients *c, uint32_t client);
/* Our end of the trainer's wake-up socket (proto/shm.h); open until client_forget(). */
int client_wake_fd(const struct clients *c, uint32_t client);

/* A free group handle of an attached client.  Return: 0..SHM_GROUPS_MAX-1, or -ENOSPC. */
int client_handle_take(struct clients *c, uint32_t client);
void client_handle_give(struct clients *c, uint32_t client, uint32_t handle);

/*
 * client_why() - why ops of a group fail: before any completion that fails.  Cut to
 * the room there is; "" to begin with.  Nothing happens if the client is gone.
 */
void client_why(struct clients *c, uint32_t client, uint32_t handle, const char *text);

/*
 * Answers.  They never block: a client that does not read is ended, and clients_gone()
 * says so.  Answers to a client that is gone are dropped.
 */
void client_answer_ok(struct clients *c, uint32_t client, uint32_t id);
void client_answer_error(struct clients *c, uint32_t client, uint32_t id, int code,
			 const char *text);
void client_answer_created(struct clients *c, uint32_t client, uint32_t id,
			   const struct ctl_created *created);
void client_answer_number(struct clients *c, uint32_t client, uint32_t id,
			  const struct ctl_number *number);
/* To a QUERY.  Takes over `text` (of malloc): CTL_MORE... CTL_OK, as fast as the client reads. */
void client_answer_text(struct clients *c, uint32_t client, uint32_t id, char *text, size_t bytes);

/* client_end() - it broke a rule: tell it why, close it; clients_gone() will report it. */
__attribute__((format(printf, 3, 4))) void client_end(struct clients *c, uint32_t client,
						      const char *format, ...);

/* client_forget() - after clients_gone(), when every lane has let go: unmap, free the number. */
void client_forget(struct clients *c, uint32_t client);

/* --- for reports ---------------------------------------------------------------------------- */

struct clients_account {
	uint32_t connections, attached, gone; /* gone: waiting for client_forget()         */
	uint64_t shared_bytes;                /* mapped for trainers, gone ones included   */
	uint64_t accepted, refused;           /* since start                               */
};
void clients_account(const struct clients *c, struct clients_account *out);

/* Of an attached or gone client: memory that really exists, in bytes; handles taken. */
uint64_t client_resident_bytes(const struct clients *c, uint32_t client);
uint32_t client_groups(const struct clients *c, uint32_t client);

#endif
