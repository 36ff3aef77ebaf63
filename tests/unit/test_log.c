/*
 * test_log.c - lines of the log: their shape, their level, what happens to too many and
 * to a reader that does not read.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/log.h"
#include "tests/unit/fail_alloc.h"

#define SECOND 1000000000ull

struct pipe_log {
	int fds[2];
	struct log *log;
	char text[65536];
};

static void open_log(struct pipe_log *p, enum log_level level)
{
	assert_int_equal(pipe2(p->fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(log_open(&p->log, p->fds[1], level), 0);
	log_time(p->log, 100 * SECOND);
}

static void close_log(struct pipe_log *p)
{
	log_close(p->log);
	close(p->fds[0]);
	close(p->fds[1]);
}

/* What has been written since the last call. */
static const char *lines(struct pipe_log *p)
{
	ssize_t bytes = read(p->fds[0], p->text, sizeof(p->text) - 1);

	p->text[bytes > 0 ? bytes : 0] = 0;
	return p->text;
}

static void shape(void **state)
{
	struct pipe_log p;

	(void)state;
	open_log(&p, LOG_LEVEL_INFO);
	log_put(p.log, LOG_LEVEL_NOTICE, LOG_CLIENT_ATTACHED, "trainer %u attached pid=%d", 3u, 17);
	assert_string_equal(lines(&p), "<5>trainer 3 attached pid=17 id=client-attached\n");
	log_put(p.log, LOG_LEVEL_ERROR, LOG_START_FAILED, "two\nlines\x1b and %s", "\x7f");
	assert_string_equal(lines(&p), "<3>two?lines? and ? id=start-failed\n");
	log_put(p.log, LOG_LEVEL_DEBUG, LOG_READY, "not urgent enough");
	assert_string_equal(lines(&p), "");
	close_log(&p);
}

static void long_lines_are_cut(void **state)
{
	struct pipe_log p;
	char text[2 * LOG_LINE_BYTES];

	(void)state;
	open_log(&p, LOG_LEVEL_INFO);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	log_put(p.log, LOG_LEVEL_INFO, LOG_READY, "%s", text);
	assert_int_equal(strlen(lines(&p)), LOG_LINE_BYTES);
	assert_string_equal(strchr(p.text, ' '), " id=ready\n");
	close_log(&p);
}

static void too_many_are_counted(void **state)
{
	struct pipe_log p;
	const char *at;
	int count = 0;

	(void)state;
	open_log(&p, LOG_LEVEL_INFO);
	assert_true(log_deadline_ns(p.log) == UINT64_MAX);
	for (int i = 0; i < LOG_BURST + 25; i++)
		log_put(p.log, LOG_LEVEL_WARNING, LOG_PATH_DOWN, "down %d", i);
	for (at = lines(&p); (at = strchr(at, '\n')); at++)
		count++;
	assert_int_equal(count, LOG_BURST);
	assert_true(log_deadline_ns(p.log) == 101 * SECOND);
	log_put(p.log, LOG_LEVEL_INFO, LOG_PATH_UP, "another id is not held back");
	assert_string_equal(lines(&p), "<6>another id is not held back id=path-up\n");
	log_time(p.log, 101 * SECOND - 1);
	assert_string_equal(lines(&p), "");
	log_time(p.log, 101 * SECOND);
	assert_string_equal(lines(&p), "<4>25 more like the last one count=25 id=path-down\n");
	assert_true(log_deadline_ns(p.log) == UINT64_MAX);
	log_put(p.log, LOG_LEVEL_WARNING, LOG_PATH_DOWN, "down again");
	assert_string_equal(lines(&p), "<4>down again id=path-down\n");
	close_log(&p);
}

static void close_tells_the_count(void **state)
{
	struct pipe_log p;

	(void)state;
	open_log(&p, LOG_LEVEL_INFO);
	for (int i = 0; i < LOG_BURST + 1; i++)
		log_put(p.log, LOG_LEVEL_INFO, LOG_READY, "x");
	lines(&p);
	log_close(p.log);
	assert_string_equal(lines(&p), "<6>1 more like the last one count=1 id=ready\n");
	close(p.fds[0]);
	close(p.fds[1]);
}

/* A pipe that nobody empties: lines are lost and counted, nothing blocks. */
static void reader_that_does_not_read(void **state)
{
	struct pipe_log p;
	char text[512];
	int flags, lost;

	(void)state;
	open_log(&p, LOG_LEVEL_INFO);
	flags = fcntl(p.fds[1], F_GETFL);
	assert_int_equal(fcntl(p.fds[1], F_SETFL, flags & ~O_NONBLOCK), 0);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (uint64_t i = 0; i < 300; i++) {
		log_put(p.log, LOG_LEVEL_INFO, LOG_READY, "%s", text);
		log_time(p.log, (101 + i) * SECOND);
	}
	while (*lines(&p))
		;
	log_put(p.log, LOG_LEVEL_INFO, LOG_LANE, "back");
	assert_int_equal(sscanf(lines(&p), "<6>back lost=%d id=lane\n", &lost), 1);
	assert_in_range(lost, 100, 299);
	log_put(p.log, LOG_LEVEL_INFO, LOG_LANE, "again");
	assert_string_equal(lines(&p), "<6>again id=lane\n");
	close_log(&p);
}

static void ids_have_distinct_names(void **state)
{
	(void)state;
	for (int a = 0; a < LOG_ID_COUNT; a++)
		for (int b = 0; b < a; b++)
			assert_string_not_equal(log_id_name((enum log_id)a),
						log_id_name((enum log_id)b));
}

static void no_memory(void **state)
{
	struct log *log = NULL;

	(void)state;
	fail_alloc_at(1);
	assert_int_equal(log_open(&log, 2, LOG_LEVEL_INFO), -ENOMEM);
	assert_null(log);
	log_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shape),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(too_many_are_counted),
		cmocka_unit_test(close_tells_the_count),
		cmocka_unit_test(reader_that_does_not_read),
		cmocka_unit_test(ids_have_distinct_names),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
