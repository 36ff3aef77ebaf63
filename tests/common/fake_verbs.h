/*
 * fake_verbs.h - RDMA devices that are not there, for tests of the verbs transport without one.
 *
 * A program that names any of this has the functions of libibverbs from here, as far as the
 * transport uses them: devices "fake0", "fake1"..., each with one port.  What one queue pair
 * writes is copied to where another's key allows; keys, states, receives, completion queues and
 * limits are checked as a device does.  One thread.
 *
 * Destroying a queue pair takes its completions out of the queue, and with them their receives,
 * as mlx5 does.
 *
 *     fake_verbs_begin(2);              two devices with active ports
 *     fake_verbs.device[0]...           what tests set, below
 *     fake_verbs_event(0, type, qpn)    an asynchronous event
 *     fake_verbs_end()                  fails if anything is left
 */
#ifndef TESTS_COMMON_FAKE_VERBS_H
#define TESTS_COMMON_FAKE_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#include <infiniband/verbs.h>

enum { FAKE_DEVICES_MAX = 4, FAKE_SGES_MAX = 16, FAKE_LABELS_MAX = 64 };

struct fake_device {
	struct ibv_device device;
	/* set by tests */
	bool active;     /* the port                                                        */
	bool gone;       /* not in the list, and no call succeeds                            */
	bool infiniband; /* not RoCE                                                         */
	int open_error;  /* errno of ibv_open_device()                                       */
	uint32_t gids;   /* ::ffff:10.0.0.1 and so on, all RoCE v2                           */
	int max_cqe, max_srq_wr;
	int connect_error; /* errno of making a queue pair ready to receive                 */
	/* what is there */
	uint32_t contexts, pds, channels, cqs, srqs, qps, mrs;
	uint32_t receives;   /* in its shared receive queue */
	uint32_t cq_most;    /* completions that were in a queue at once */
	uint32_t qps_broken; /* destroyed without having been in the error state */
};

struct fake_verbs {
	uint32_t count;
	struct fake_device device[FAKE_DEVICES_MAX];
	uint64_t lock_bytes; /* most that may be registered in all, RLIMIT_MEMLOCK; 0: no limit */
	uint64_t locked;
	bool cut;  /* no packet arrives: retries are used up at once */
	bool held; /* no packet leaves: writes stay queued, until fake_verbs_release() */
	uint64_t writes;
	uint32_t labels[FAKE_LABELS_MAX]; /* flow labels of queue pairs, as they were connected */
	uint32_t labels_count;
};

extern struct fake_verbs fake_verbs;

void fake_verbs_begin(uint32_t devices);
void fake_verbs_end(void);

/* On every context of the device.  qpn: for those of queue pairs, else 0. */
void fake_verbs_event(uint32_t device, enum ibv_event_type type, uint32_t qpn);

/* `held` no more. */
void fake_verbs_release(void);

/* A SEND without payload instead of a write, from that queue pair to the one it is joined to. */
void fake_verbs_send(uint32_t qpn);

#endif
