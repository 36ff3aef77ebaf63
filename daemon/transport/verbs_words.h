/*
 * verbs_words.h - what two ends say on their socket before they have a queue pair, and what of it
 * is refused (PROTOCOL.md 1.3); needs nothing of libibverbs.
 *
 * Both messages have a fixed size and are little-endian, as all that we send.  A greeting comes
 * first, both ways; then, if both can make a queue pair, a word for each of two steps.
 */
#ifndef DAEMON_TRANSPORT_VERBS_WORDS_H
#define DAEMON_TRANSPORT_VERBS_WORDS_H

#include <assert.h>
#include <stdint.h>

#define VERBS_MAGIC 0x53425256u /* "VRBS" */

enum {
	VERBS_VERSION = 2,     /* of these, and of what is written into rings              */
	VERBS_UNIT_BYTES = 64, /* places in a ring are counted in these, and it in wholes  */
	VERBS_RING_BYTES_MIN = 256 << 10,
	VERBS_RING_BYTES_MAX = VERBS_UNIT_BYTES << 19, /* as many as an immediate can name */
	VERBS_NUMBER_MAX = 0xffffff,                   /* of a queue pair, of a packet     */
	VERBS_LID_MAX = 0xbfff,                        /* from there on they are multicast */
};

enum verbs_state {
	VERBS_GREET = 1, /* waiting for the other's greeting                            */
	VERBS_CONNECT,   /* for its word that its queue pair can receive                */
	VERBS_PROBE,     /* for the completion of our first write                       */
	VERBS_JUDGE,     /* for its word that its own arrived                           */
	VERBS_UP,
	VERBS_TO_TCP, /* the socket is to become a TCP path                          */
};

enum verbs_link { VERBS_INFINIBAND = 0, VERBS_ROCE_V1, VERBS_ROCE_V2, VERBS_LINKS };

struct verbs_greeting {
	uint32_t magic;
	uint16_t version;
	uint8_t usable;  /* 0: no queue pair can be made here, `why_not` says why: all */
	uint8_t tcp_too; /* TCP will do                          of the rest is zero then */
	uint32_t qpn, psn;
	uint32_t rkey;
	uint32_t ring_bytes;
	uint64_t ring;
	uint8_t gid[16]; /* RoCE */
	uint16_t lid;    /* InfiniBand */
	uint8_t link;    /* enum verbs_link */
	uint8_t mtu;     /* 1 to 5: 256 to 4096 bytes, as enum ibv_mtu */
	uint32_t reserved;
	char why_not[72];
};
static_assert(sizeof(struct verbs_greeting) == 128, "no padding");

/* What each says of a step. */
struct verbs_word {
	uint32_t magic;
	uint8_t state; /* VERBS_CONNECT, VERBS_JUDGE: of which step */
	uint8_t good;  /* 0: `why_not` says why not */
	uint16_t reserved;
	char why_not[56];
};
static_assert(sizeof(struct verbs_word) == 64, "no padding");

/* What is wrong with it.  Return: static words; NULL: nothing. */
const char *verbs_greeting_refuse(const struct verbs_greeting *g);
const char *verbs_word_refuse(const struct verbs_word *w);

#endif
