/*
 * samples.h - one valid example of everything that proto/ checks, and of the words of verbs.
 *
 * Unit tests break them field by field, make_corpus.c writes them down as seeds for the
 * fuzzers.  All are deterministic; every text is filled up with zeros.
 */
#ifndef TESTS_COMMON_SAMPLES_H
#define TESTS_COMMON_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/transport/verbs_words.h"
#include "proto/ctl.h"
#include "proto/shm.h"
#include "proto/wire.h"

/* Every kind of frame, ended by 0. */
extern const uint16_t sample_wire_kinds[];
extern const uint16_t sample_ctl_requests[];
extern const uint16_t sample_ctl_answers[];

enum { SAMPLE_NODES = 3, SAMPLE_RANKS = 5, SAMPLE_PAYLOAD_MAX = 2048, SAMPLE_ARENA = 1 << 20 };

/* A payload, aligned as the checks want it. */
struct sample_payload {
	size_t bytes;
	_Alignas(8) unsigned char data[SAMPLE_PAYLOAD_MAX];
};

/*
 * sample_wire() - a sealed frame of this kind that uses every field it may use, with its
 * payload (and the payload's checksum, if it has a payload).
 */
void sample_wire(uint16_t kind, struct wire_frame *frame, struct sample_payload *payload);

/* sample_wire_payload_check() - the check that belongs to the kind; WIRE_OK where there is none. */
enum wire_verdict sample_wire_payload_check(uint16_t kind, const void *payload, size_t bytes);

/* sample_ctl() - a packet, header and body. */
void sample_ctl(uint16_t kind, struct sample_payload *packet);

/* sample_submission() - f32 sum of 1000 elements, out of place, for an arena of SAMPLE_ARENA. */
struct shm_submission sample_submission(void);

/* What two ends say before they have a queue pair over RoCE v2; and of one that cannot. */
struct verbs_greeting sample_greeting(void);
struct verbs_greeting sample_greeting_cannot(void);
struct verbs_word sample_word(void);

#endif
