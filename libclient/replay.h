/*
 * replay.h - codec "replay:FILE": the choices that a daemon logged for "auto:...", made again.
 *
 * FILE has the log of the daemon of the group's first node, or what journalctl shows of it.  Lines
 * that are no choices of the group, by its name, are skipped; of several runs the one that began
 * last counts.  Every rank reads its own: ranks whose files differ get -EBADMSG.
 */
#ifndef LIBCLIENT_REPLAY_H
#define LIBCLIENT_REPLAY_H

#include <stddef.h>
#include <stdint.h>

struct carry;
struct replay;

#define REPLAY_PREFIX "replay:"

/*
 * replay_read() - @group: its name.  Return: 0, or negative errno with a sentence.
 * replay_free() - NULL is allowed.
 */
int replay_read(struct replay **out, struct carry *c, const char *file, const char *group);
void replay_free(struct replay *r);

/* The codecs that ops went by; i from 0.  NULL: there are no more. */
const char *replay_codec(const struct replay *r, size_t i);

/* The codec of op `seq` on a tensor of so many bytes; "none" before the first choice. */
const char *replay_at(const struct replay *r, uint64_t seq, size_t bytes);

#endif
