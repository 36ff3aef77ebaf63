/*
 * client_state.h - the inside of client.h, shared by client.c, client_socket.c (the
 * listening socket), client_attach.c (shared memory) and client_answer.c.
 *
 * The table has CLIENTS_WAITING slots more than limits.clients: for connections that are
 * refused.  They wait there for their first request, so that the refusal is an answer
 * to it.  As many descriptors are held in reserve, so that this works too when the
 * process has none left.
 */
#ifndef DAEMON_CLIENT_STATE_H
#define DAEMON_CLIENT_STATE_H

#include "daemon/client.h"

enum { CLIENTS_WAITING = 4 };

enum client_state {
	CLIENT_STATE_FREE = 0,
	CLIENT_STATE_REFUSED, /* `why` goes out as the answer to its first request       */
	CLIENT_STATE_CONNECTED,
	CLIENT_STATE_ATTACHED,
	CLIENT_STATE_ENDED, /* descriptors closed; clients_gone() will tell `why`      */
	CLIENT_STATE_GONE,  /* told; waits for client_forget()                         */
};

/* A long answer on its way. */
struct client_text {
	char *text; /* NULL: none */
	size_t bytes, sent;
	uint32_t id;
};

struct client {
	enum client_state state;
	int fd, pid_fd; /* -1: none                                             */
	uid_t uid;
	pid_t pid;
	struct client_text answer;
	char why[CTL_TEXT_BYTES];
	int why_code; /* REFUSED: negative errno                              */
	/* from ATTACH to client_forget() */
	char name[CTL_NAME_BYTES];
	int memory_fd;
	int wake_fd, trainer_fd; /* the wake-up socket: our end; the trainer's, until it is sent */
	int doorbells[SHM_LANES_MAX]; /* eventfds, each in its lane's epoll; to ENDED; -1: none */
	void *base;
	struct shm_layout layout;
	uint64_t handles;                     /* bit h: handle h is taken                 */
	uint64_t why_version[SHM_GROUPS_MAX]; /* ours; the one in shared memory is hostile */
};

struct clients {
	const struct config *config;
	struct loop *loop;
	const char *version;
	int lane_fds[SHM_LANES_MAX]; /* -1: none (any more)                                  */
	int listen_fd;
	char path[CONFIG_TEXT_BYTES]; /* of the file that we made; "": systemd's socket    */
	dev_t device;                 /* of that file: it is removed only if it is still ours */
	ino_t inode;
	int reserve[CLIENTS_WAITING]; /* -1: in use                                        */
	uint64_t paused_until_ns;     /* the listening socket is not watched; 0: it is     */
	uint32_t ended;               /* clients in CLIENT_STATE_ENDED                     */
	uint64_t accepted, refused;
	uint32_t slots; /* of the table: config->clients + CLIENTS_WAITING   */
	struct client *table;
	_Alignas(8) unsigned char packet[CTL_PACKET_BYTES_MAX];
};

/* client_socket.c: make or take the listening socket, in c->listen_fd. */
int client_socket_open(struct clients *c, struct err *err);
void client_socket_close(struct clients *c);

/* client_attach.c: answer ATTACH.  Return: whether the client is attached now. */
bool client_attach(struct clients *c, uint32_t client, uint32_t id,
		   const struct ctl_attach *attach);
void client_unmap(struct client *one); /* memory and wake-up socket */
void client_doorbells_close(const struct clients *c, struct client *one);

/* client_answer.c */
void client_text_more(struct clients *c, uint32_t client); /* there is room: go on */
void client_text_drop(struct client *one);
/* A last packet: CTL_ERROR, if there is room for it. */
void client_last_words(const struct client *one, uint32_t id, int code, const char *text);

/* client.c: close the descriptors; ENDED if it was attached, FREE otherwise. */
void client_close(struct clients *c, uint32_t client, const char *why);

#endif
