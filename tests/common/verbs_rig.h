/*
 * verbs_rig.h - a verbs transport, and a peer that does with its queue pairs what it likes.
 *
 * Both are real instances on the machine's first RDMA device.  Paths between them are made as
 * they always are; from then on only the victim is driven, and the attacker writes by hand: what
 * it wants, where it wants, with the immediate that it wants.  Rings are the victim's memory that
 * the attacker may write.
 */
#ifndef TESTS_COMMON_VERBS_RIG_H
#define TESTS_COMMON_VERBS_RIG_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/transport/verbs.h"

enum { VERBS_RIG_BYTES = 64 << 10 };

struct verbs_rig {
	struct transport *victim, *attacker;
	unsigned char *from; /* [VERBS_RIG_BYTES], what the attacker writes from */
	struct ibv_mr *from_mr;
};

/* One request of the attacker. */
struct verbs_rig_write {
	enum ibv_wr_opcode opcode; /* 0: IBV_WR_RDMA_WRITE */
	uint64_t to;               /* address */
	uint32_t key;
	uint32_t bytes; /* of rig->from */
	uint32_t immediate;
};

void verbs_rig_open(struct verbs_rig *rig);
void verbs_rig_close(struct verbs_rig *rig);

/* ibv_reg_mr() and ibv_dereg_mr() of the library; fake_verbs.h has others of these names. */
struct ibv_mr *verbs_rig_register(struct transport *t, void *at, size_t bytes, int access);
void verbs_rig_unregister(struct ibv_mr *mr);

/* A path that is up; both call the other by that number.  Return: the attacker's end. */
struct verbs_path *verbs_rig_join(struct verbs_rig *rig, uint16_t peer);

/* Write by that path's queue pair.  Return: how it went. */
enum ibv_wc_status verbs_rig_write(struct verbs_rig *rig, const struct verbs_path *by,
				   const struct verbs_rig_write *write);

/* The next thing that the victim has to tell; fails after some seconds. */
struct transport_event verbs_rig_event(struct verbs_rig *rig);

#endif
