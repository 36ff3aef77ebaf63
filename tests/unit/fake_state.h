/*
 * fake_state.h - the fake daemon's inside: fake_daemon.c has thread and socket, fake_rings.c ops.
 */
#ifndef TESTS_UNIT_FAKE_STATE_H
#define TESTS_UNIT_FAKE_STATE_H

#include "proto/ctl.h"
#include "proto/shm.h"
#include "tests/unit/fake_daemon.h"

struct held {
	uint32_t lane;
	struct shm_submission s;
};

struct client {
	int fd; /* -1: none */
	bool attached;
	int wake_fd;
	int doorbell_fd[SHM_LANES_MAX];
	void *base;
	struct shm_layout layout;
	struct shm_port submit[SHM_LANES_MAX];
	struct shm_port complete[SHM_LANES_MAX];
	bool used[SHM_GROUPS_MAX];
	uint64_t posted[SHM_GROUPS_MAX]; /* seq of the last op */
	bool aborted[SHM_GROUPS_MAX];
	uint32_t ranks[SHM_GROUPS_MAX];
	struct held held[SHM_RING_ENTRIES * 2];
	size_t holding;
	bool late; /* a request waits for its answer */
	struct ctl_header late_header;
	char late_body[sizeof(struct ctl_create)];
};

struct fake {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t taken;
	struct fake_control control;
	struct fake_seen seen;
	uint64_t asked;
	uint64_t done; /* fake_set() calls asked for and taken */
	bool stop;
	bool dead;
	int knock_fd;
	int listen_fd;
	uint32_t lanes;
	struct client clients[FAKE_CLIENTS_MAX];
	char directory[64];
	char path[96];
};

/* fake_ring() - wake whoever sleeps on an eventfd. */
void fake_ring(int fd);

/* fake_release() - complete what is held of a group (or of all: SHM_GROUPS_MAX), in order. */
void fake_release(struct fake *f, struct client *k, uint32_t group, int status, const char *text);

/* fake_read_rings() - take and answer submissions.  Return: whether there was anything. */
bool fake_read_rings(struct fake *f, struct client *k);

#endif
