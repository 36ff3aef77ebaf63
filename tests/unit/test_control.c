/*
 * test_control.c - the control with neither lanes nor trainers: it opens and ends in order, says
 * where it is, and every allocation of it may fail.  What it does with lanes, trainers and
 * other daemons is tested with real ones (tests/sys).
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include "daemon/control.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/fail_alloc.h"

struct fixture {
	struct config config;
	struct loop *loop;
	struct log *log;
	int log_fd;
};

static struct fixture make(const char *network)
{
	struct fixture f = {.log_fd = memfd_create("log", MFD_CLOEXEC)};
	char text[256];
	struct err err;
	int bytes = snprintf(text, sizeof(text), "[network]\nport = 0\n%s\n", network);

	assert_true(f.log_fd >= 0);
	assert_int_equal(config_parse(&f.config, text, (size_t)bytes, "test", &err), 0);
	assert_int_equal(loop_open(&f.loop, &err), 0);
	assert_int_equal(log_open(&f.log, f.log_fd, LOG_LEVEL_DEBUG), 0);
	return f;
}

static void end(struct fixture *f)
{
	loop_close(f->loop);
	log_close(f->log);
	(void)close(f->log_fd);
}

static int open_control(struct fixture *f, struct control **out, struct err *err)
{
	struct engine_thread *none[1] = {NULL};

	return control_open(out, &f->config, f->loop, f->log, NULL, none, 0, err);
}

static void test_life(void **state)
{
	struct fixture f = make("listen = 127.0.0.1");
	struct control *c = NULL;
	struct err err;
	json_t *json;

	(void)state;
	assert_int_equal(open_control(&f, &c, &err), 0);
	assert_string_equal(control_address(c), "127.0.0.1");
	assert_int_not_equal(control_port(c), 0);
	json = control_groups_json(c);
	assert_int_equal(json_array_size(json), 0);
	json_decref(json);
	json = control_peers_json(c);
	assert_int_equal(json_array_size(json), 0);
	json_decref(json);
	control_tick(c, 1);
	control_facts(c, 1);
	assert_int_equal(control_deadline_ns(c), UINT64_MAX); /* an idle daemon sleeps */
	control_stop(c, 2);
	assert_true(control_stopped(c));
	control_close(c);
	control_close(NULL);
	end(&f);
}

/* Without an address to listen on it tells others one that they may reach. */
static void test_all_addresses(void **state)
{
	static const char *const words[] = {"", "listen = 0.0.0.0", "listen = ::", "listen = ::1"};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct fixture f = make(words[i]);
		struct control *c = NULL;
		struct err err;
		int ret = open_control(&f, &c, &err);

		if (ret && strchr(words[i], ':')) {
			print_message("no IPv6 here: %s\n", err.text);
			end(&f);
			continue;
		}
		assert_int_equal(ret, 0);
		assert_string_not_equal(control_address(c), "");
		assert_string_not_equal(control_address(c), "0.0.0.0");
		assert_string_not_equal(control_address(c), "::");
		control_close(c);
		end(&f);
	}
}

static void test_cannot(void **state)
{
	struct fixture f = make("listen = 127.0.0.1"), g = make("listen = 192.0.2.1");
	struct fixture h = make("interfaces = =nosuch");
	struct control *c = NULL, *other = NULL;
	struct err err;
	char text[128];

	(void)state;
	assert_int_equal(open_control(&f, &c, &err), 0);
	f.config.port = control_port(c);
	assert_int_equal(open_control(&f, &other, &err), -EADDRINUSE);
	(void)snprintf(text, sizeof(text), "listen on 127.0.0.1 port %u: Address already in use",
		       control_port(c));
	assert_string_equal(err.text, text);
	assert_int_equal(open_control(&g, &other, &err), -EADDRNOTAVAIL);
	assert_string_equal(err.text,
			    "listen on 192.0.2.1 port 0: Cannot assign requested address");
	assert_int_equal(open_control(&h, &other, &err), -ENODEV);
	assert_string_equal(err.text,
			    "no interface that is up matches \"=nosuch\" ([network] interfaces)");
	assert_null(other);
	control_close(c);
	end(&f);
	end(&g);
	end(&h);
}

static void test_no_memory(void **state)
{
	struct fixture f = make("listen = 127.0.0.1");
	struct control *c = NULL;
	struct err err;
	int n, ret;

	(void)state;
	for (n = 1;; n++) {
		fail_alloc_at(n);
		ret = open_control(&f, &c, &err);
		fail_alloc_at(0);
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_non_null(strstr(err.text, "no memory for the "));
		assert_null(c);
	}
	assert_int_equal(n, 6);
	control_close(c);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_all_addresses),
		cmocka_unit_test(test_cannot),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
