/*
 * log.h - what the daemon tells the journal: one sentence a line, on stderr.
 *
 *     <5>trainer 3 attached client=3 pid=4711 uid=1000 name=python3 id=client-attached
 *      |  the sentence      what a program may want to read            the stable message id
 *      priority, as sd-daemon(3) reads it; left out on a terminal
 *
 * Only whoever decides what happens next logs.  The main thread alone writes: lanes
 * report facts.  A message that comes too often is counted instead of repeated: at most
 * LOG_BURST lines of one id a second, then "N more ...".  A reader of stderr that
 * has stopped reading loses lines, which are counted, and never stops the daemon.  Choices of
 * codecs, which are rare by themselves and from which a run can be made again, are not held back.
 *
 * Reads no clock: whoever owns the log tells it the time with log_time().
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdint.h>

enum { LOG_BURST = 10, LOG_LINE_BYTES = 1024 };

/* The numbers are syslog's. */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Every message has an id that scripts may rely on.  To add one: a line here. */
#define LOG_IDS(X)                                    \
	X(LOG_READY, "ready")                         \
	X(LOG_STOPPING, "stopping")                   \
	X(LOG_START_FAILED, "start-failed")           \
	X(LOG_LIMIT, "limit")                         \
	X(LOG_LANE, "lane")                           \
	X(LOG_LANE_STUCK, "lane-stuck")               \
	X(LOG_CLIENT_REFUSED, "client-refused")       \
	X(LOG_CLIENT_ATTACHED, "client-attached")     \
	X(LOG_CLIENT_GONE, "client-gone")             \
	X(LOG_CLIENT_BAD, "client-bad")               \
	X(LOG_PEER_UP, "peer-up")                     \
	X(LOG_PEER_DOWN, "peer-down")                 \
	X(LOG_PEER_DEAD, "peer-dead")                 \
	X(LOG_PEER_REFUSED, "peer-refused")           \
	X(LOG_PEER_UNLIKE, "peer-unlike")             \
	X(LOG_PATH_UP, "path-up")                     \
	X(LOG_PATH_DOWN, "path-down")                 \
	X(LOG_RENDEZVOUS, "rendezvous")               \
	X(LOG_RENDEZVOUS_FAILED, "rendezvous-failed") \
	X(LOG_GROUP_FORMED, "group-formed")           \
	X(LOG_GROUP_FAILED, "group-failed")           \
	X(LOG_GROUP_GONE, "group-gone")               \
	X(LOG_CHOICE, "choice")                       \
	X(LOG_OP_MISMATCH, "op-mismatch")             \
	X(LOG_OP_ABORTED, "op-aborted")

#define X(id, name) id,
enum log_id { LOG_IDS(X) LOG_ID_COUNT };
#undef X

struct log;

/* log_open() - lines at `level` or more urgent go to `fd` (not owned).  Return: 0 or -ENOMEM. */
int log_open(struct log **out, int fd, enum log_level level);
void log_close(struct log *log); /* tells what was counted; NULL is allowed */

/*
 * log_put() - one line: a sentence without a final period, then perhaps " key=value"s.
 * Control characters in it become '?'.  LOG_LINE_BYTES at most, the rest is cut.
 */
__attribute__((format(printf, 4, 5))) void log_put(struct log *log, enum log_level level,
						   enum log_id id, const char *format, ...);

/* log_time() - the time; tells what was counted in the second that has passed. */
void log_time(struct log *log, uint64_t now_ns);
uint64_t log_deadline_ns(const struct log *log); /* when to call it next; UINT64_MAX: any time */

const char *log_id_name(enum log_id id);

#endif
