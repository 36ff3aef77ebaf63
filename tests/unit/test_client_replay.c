/*
 * test_client_replay.c - choices of codecs read from a log: what other lines there are, what is
 * missing, and by what each op went.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libclient/carry.h"
#include "libclient/replay.h"

#define LINE(name, change, op, bytes, codec, list) OF("00ff", name, change, op, bytes, codec, list)
#define OF(id, name, change, op, bytes, codec, list)                                               \
	"<6>group \"" name "\": tensors of " bytes " to x bytes go by codec " codec " from op " op \
	" on group=" id " change=" change " op=" op " bytes=" bytes " codec=" codec " list=" list  \
	" feedback=ef14 id=choice\n"
#define G(change, op, bytes, codec) LINE("g", change, op, bytes, codec, "auto:int8/int4")

static int read_text(struct replay **out, const char *text)
{
	char path[] = "/tmp/carry-replay-XXXXXX";
	int fd = mkstemp(path), ret;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
	ret = replay_read(out, NULL, path, "g");
	(void)unlink(path);
	return ret;
}

static void by_op_and_size(void **state)
{
	struct replay *r;

	(void)state;
	assert_int_equal(read_text(&r,
				   "<5>carryd is ready id=ready\n" G("1", "101", "16384", "int8")
					   LINE("other", "1", "101", "16384", "sign", "auto:sign")
						   G("2", "101", "65536", "int8:block=64")
							   G("3", "201", "16384", "int4")
								   G("4", "301", "16384", "none")),
			 0);
	assert_string_equal(replay_at(r, 100, 16384), "none");
	assert_string_equal(replay_at(r, 101, 16384), "int8");
	assert_string_equal(replay_at(r, 101, 32767), "int8");
	assert_string_equal(replay_at(r, 101, 32768), "none"); /* of another class */
	assert_string_equal(replay_at(r, 101, 16383), "none");
	assert_string_equal(replay_at(r, 200, 16384), "int8");
	assert_string_equal(replay_at(r, 201, 16384), "int4");
	assert_string_equal(replay_at(r, 1000, 16384), "none");
	assert_string_equal(replay_at(r, 1000, 65536), "int8:block=64");
	assert_string_equal(replay_codec(r, 3), "none");
	assert_null(replay_codec(r, 4));
	replay_free(r);
}

/* A log may have a prefix before each line, and several runs. */
static void journals(void **state)
{
	struct replay *r;

	(void)state;
	assert_int_equal(
		read_text(&r,
			  G("1", "101", "16384", "int8")
				  G("2", "201", "16384", "int4") "Nov 22 14:00:00 n0 carryd[1]: " G(
					  "1", "151", "16384", "int4")),
		0);
	assert_string_equal(replay_at(r, 120, 16384), "none");
	assert_string_equal(replay_at(r, 151, 16384), "int4");
	assert_null(replay_codec(r, 1));
	replay_free(r);
}

/* Two jobs of that name at once: the one that began last. */
static void two_at_once(void **state)
{
	struct replay *r;

	(void)state;
	assert_int_equal(
		read_text(&r, OF("01", "g", "1", "101", "16384", "int8",
				 "auto") OF("02", "g", "1", "151", "16384", "int4", "auto")
				      OF("01", "g", "2", "201", "16384", "int4", "auto")
					      OF("02", "g", "2", "251", "16384", "int8", "auto")),
		0);
	assert_string_equal(replay_at(r, 150, 16384), "none");
	assert_string_equal(replay_at(r, 250, 16384), "int4");
	assert_string_equal(replay_at(r, 251, 16384), "int8");
	replay_free(r);
}

static void refused(const char *text, const char *says)
{
	struct replay *r;

	assert_int_equal(read_text(&r, text), -EINVAL);
	assert_null(r);
	if (!strstr(carry_last_error(NULL), says))
		fail_msg("\"%s\" does not say \"%s\"", carry_last_error(NULL), says);
}

static void bad_files(void **state)
{
	struct replay *r;

	(void)state;
	refused("", "has no choice of a codec for group \"g\"");
	refused(LINE("gg", "1", "101", "16384", "int8", "auto"), "has no choice");
	refused(G("2", "101", "16384", "int8"), "change 2 of the group comes after change 0");
	refused(G("1", "101", "16384", "int8") G("3", "201", "16384", "int4"),
		"line 2: change 3 of the group comes after change 1: lines are missing");
	refused(G("1", "101", "16384", "int8") G("2", "100", "16384", "int4"),
		"line 2: op 100 comes after a later one");
	refused(G("1", "101", "16384", "int8") LINE("g", "2", "201", "16384", "int4", "auto:int4"),
		"codec auto:int4 with feedback ef14, an earlier one of auto:int8/int4");
	refused(G("1", "x", "16384", "int8"), "line 1: this is no whole choice");
	refused(G("1", "101", "0", "int8"), "line 1: this is no whole choice");
	refused("group \"g\": cut change=1 op=101 bytes=16384 id=choice\n", "no whole choice");
	assert_int_equal(replay_read(&r, NULL, "/nowhere/log", "g"), -ENOENT);
	assert_null(r);
	assert_non_null(strstr(carry_last_error(NULL), "/nowhere/log: No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_op_and_size),
		cmocka_unit_test(journals),
		cmocka_unit_test(two_at_once),
		cmocka_unit_test(bad_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
