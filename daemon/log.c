/* log.c - see log.h. */
#include "daemon/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_WINDOW_NS 1000000000ull

struct log {
	int fd;
	enum log_level level;
	bool priorities;             /* write <N> in front                          */
	uint64_t window_ns;          /* when the current window began               */
	uint64_t lost;               /* lines that stderr had no room for           */
	uint32_t waiting;            /* ids with something held back                */
	uint32_t put[LOG_ID_COUNT];  /* lines of this window        */
	uint64_t held[LOG_ID_COUNT]; /* not written since           */
	enum log_level held_level[LOG_ID_COUNT];
};

const char *log_id_name(enum log_id id)
{
#define X(id, name) [id] = (name),
	static const char *const names[LOG_ID_COUNT] = {LOG_IDS(X)};
#undef X
	return names[id];
}

int log_open(struct log **out, int fd, enum log_level level)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->fd = fd;
	log->level = level;
	log->priorities = !isatty(fd);
	*out = log;
	return 0;
}

static bool log_room(const struct log *log)
{
	struct pollfd poll_fd = {.fd = log->fd, .events = POLLOUT};

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

/* line: `length` bytes of text, cleaned here; has room for a newline behind them. */
static bool log_write(const struct log *log, char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[length] = '\n';
	return log_room(log) && write(log->fd, line, length + 1) == (ssize_t)(length + 1);
}

/* snprintf()'s answer as a length within bytes - 1. */
static size_t log_length(int printed, size_t bytes)
{
	if (printed < 0)
		return 0;
	return (size_t)printed < bytes ? (size_t)printed : bytes - 1;
}

static void log_line(struct log *log, enum log_level level, enum log_id id, const char *text)
{
	char line[LOG_LINE_BYTES + 1], front[8] = "", tail[96];
	size_t used, tail_length;
	int printed;

	if (log->priorities)
		(void)snprintf(front, sizeof(front), "<%d>", (int)level);
	if (log->lost)
		printed = snprintf(tail, sizeof(tail), " lost=%llu id=%s",
				   (unsigned long long)log->lost, log_id_name(id));
	else
		printed = snprintf(tail, sizeof(tail), " id=%s", log_id_name(id));
	tail_length = log_length(printed, sizeof(tail));
	printed = snprintf(line, LOG_LINE_BYTES - tail_length, "%s%s", front, text);
	used = log_length(printed, LOG_LINE_BYTES - tail_length);
	memcpy(line + used, tail, tail_length);
	if (log_write(log, line, used + tail_length))
		log->lost = 0;
	else
		log->lost++;
}

void log_put(struct log *log, enum log_level level, enum log_id id, const char *format, ...)
{
	char text[LOG_LINE_BYTES];
	va_list args;

	if (level > log->level)
		return;
	if (log->put[id] == LOG_BURST && id != LOG_CHOICE) {
		log->waiting += log->held[id] == 0;
		log->held[id]++;
		log->held_level[id] = level;
		return;
	}
	log->put[id] += log->put[id] < LOG_BURST;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_line(log, level, id, text);
}

static void log_tell_held(struct log *log)
{
	for (int id = 0; id < LOG_ID_COUNT; id++) {
		char text[80];

		if (!log->held[id])
			continue;
		(void)snprintf(text, sizeof(text), "%llu more like the last one count=%llu",
			       (unsigned long long)log->held[id],
			       (unsigned long long)log->held[id]);
		log->held[id] = 0;
		log_line(log, log->held_level[id], (enum log_id)id, text);
	}
	log->waiting = 0;
}

void log_time(struct log *log, uint64_t now_ns)
{
	if (now_ns - log->window_ns < LOG_WINDOW_NS)
		return;
	log_tell_held(log);
	log->window_ns = now_ns;
	memset(log->put, 0, sizeof(log->put));
}

uint64_t log_deadline_ns(const struct log *log)
{
	return log->waiting ? log->window_ns + LOG_WINDOW_NS : UINT64_MAX;
}

void log_close(struct log *log)
{
	if (!log)
		return;
	log_tell_held(log);
	free(log);
}
