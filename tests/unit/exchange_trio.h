/*
 * exchange_trio.h - three exchanges of one group whose frames are carried by hand, so that a test
 * may do something between any two of them.
 */
#ifndef TESTS_UNIT_EXCHANGE_TRIO_H
#define TESTS_UNIT_EXCHANGE_TRIO_H

#include "daemon/exchange.h"

enum { TRIO = 3, TRIO_LOCAL = 2, TRIO_COUNT_MAX = 50000, TRIO_CHUNK_BYTES = 65536 };

struct trio {
	struct owner_table owners;
	uint32_t ranks[TRIO];
	struct exchange *x[TRIO];
	uint32_t count; /* elements of each tensor */
	float in[TRIO][TRIO_LOCAL][TRIO_COUNT_MAX], out[TRIO][TRIO_LOCAL][TRIO_COUNT_MAX];
	bool at_once; /* payloads stay where they arrive, if they may */
	bool crc;     /* frames say that they have one                */
	unsigned char ring[TRIO_CHUNK_BYTES];
	/* Carried or placed so far. */
	uint32_t contributions, finals, contributions_stayed, finals_stayed;
};

/* trio_open() - of `local` ranks a node, in[n][r][i] = i % 7 + n + r; close: they must be idle. */
void trio_open(struct trio *t, uint32_t local, uint32_t count, uint32_t slots);
void trio_close(struct trio *t);

/* trio_post() - all ranks of a node call op `seq`, a sum in float32. */
void trio_post(struct trio *t, uint16_t node, uint64_t seq, const struct sched *sched);
void trio_post_all(struct trio *t, uint64_t seq, const struct sched *sched);

/* How a tensor is cut. */
struct op_geometry trio_geometry(const struct trio *t);

/*
 * trio_place() - a slot for the frame.  *at: where its payload goes, there or into the ring.
 * trio_arrive() - the payload goes there and is told of; the ring has something else afterwards.
 */
void *trio_place(struct trio *t, uint16_t from, uint16_t to, const struct wire_frame *f, void **at);
void trio_arrive(struct trio *t, uint16_t from, uint16_t to, const struct exchange_send *send,
		 void *slot, void *at);

/* One frame of `from`, if it has any for `to`, arrives there and is acknowledged. */
bool trio_carry(struct trio *t, uint16_t from, uint16_t to);

/* trio_finish() - until nothing moves.  Return: completions of ranks, all with that error. */
uint32_t trio_finish(struct trio *t, int error);

/* All results are sums of what trio_open() wrote. */
void trio_expect_sums(const struct trio *t);

#endif
