/*
 * test_control_create.c - who is refused a group before anybody else is asked: the limits of
 * a trainer, of a user and of the daemon.  Trainers are numbers here; roots do not answer.
 * Wrapped: __wrap_client_groups __wrap_client_pid __wrap_client_uid __wrap_client_answer_error
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

#include "daemon/control_state.h"

uint32_t __wrap_client_groups(const struct clients *c, uint32_t client);
pid_t __wrap_client_pid(const struct clients *c, uint32_t client);
uid_t __wrap_client_uid(const struct clients *c, uint32_t client);
void __wrap_client_answer_error(struct clients *c, uint32_t client, uint32_t id, int code,
				const char *text);

struct fixture {
	struct config config;
	struct loop *loop;
	struct log *log;
	int log_fd;
	struct control *control;
};

static struct {
	uint32_t groups; /* that every trainer is in */
	int code;        /* the last answer; 0: none */
	char text[WIRE_TEXT_BYTES];
} world;

uint32_t __wrap_client_groups(const struct clients *c, uint32_t client)
{
	(void)c;
	(void)client;
	return world.groups;
}

pid_t __wrap_client_pid(const struct clients *c, uint32_t client)
{
	(void)c;
	return (pid_t)(5000 + client);
}

/* A hundred trainers each. */
uid_t __wrap_client_uid(const struct clients *c, uint32_t client)
{
	(void)c;
	return 1000 + client / 100;
}

void __wrap_client_answer_error(struct clients *c, uint32_t client, uint32_t id, int code,
				const char *text)
{
	(void)c;
	(void)client;
	(void)id;
	world.code = code;
	(void)snprintf(world.text, sizeof(world.text), "%s", text);
}

static struct fixture *make(const char *limits)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct engine_thread *none[1] = {NULL};
	char text[256];
	struct err err;
	int bytes = snprintf(text, sizeof(text),
			     "[network]\nlisten = 127.0.0.1\npeers = 127.0.0.0/8\nport = 0\n"
			     "root_ports = 7117\n"
			     "[limits]\n%s\n",
			     limits);

	assert_non_null(f);
	world.groups = 0;
	world.code = 0;
	world.text[0] = 0;
	f->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(f->log_fd >= 0);
	assert_int_equal(config_parse(&f->config, text, (size_t)bytes, "test", &err), 0);
	assert_int_equal(loop_open(&f->loop, &err), 0);
	assert_int_equal(log_open(&f->log, f->log_fd, LOG_LEVEL_DEBUG), 0);
	assert_int_equal(
		control_open(&f->control, &f->config, f->loop, f->log, NULL, none, 0, &err), 0);
	(void)snprintf(f->control->host, sizeof(f->control->host), "h");
	return f;
}

static void end(struct fixture *f)
{
	while (f->control->creates)
		create_free(f->control, f->control->creates, 1);
	control_close(f->control);
	loop_close(f->loop);
	log_close(f->log);
	(void)close(f->log_fd);
	free(f);
}

/* Rank `rank` of group `name`, with its root at 127.0.1.`root`.  Return: the answer's code. */
static int ask(struct fixture *f, uint32_t client, const char *name, uint32_t rank, int root)
{
	struct client_request request = {.kind = CLIENT_CREATE, .client = client};

	(void)snprintf(request.create.name, sizeof(request.create.name), "%s", name);
	(void)snprintf(request.create.root, sizeof(request.create.root), "127.0.1.%d", root);
	request.create.root_port = 7117;
	request.create.rank = rank;
	request.create.ranks = 4096;
	request.create.timeout_ms = 1000;
	world.code = 0;
	create_begin(f->control, &request, 1);
	return world.code;
}

static int ask_number(struct fixture *f, uint32_t client, int number, uint32_t rank, int root)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "g%d", number);
	return ask(f, client, name, rank, root);
}

static struct create *last(struct fixture *f)
{
	return f->control->creates;
}

static void test_groups(void **state)
{
	struct fixture *f = make("groups = 3");
	struct create *first;

	(void)state;
	f->control->group_count = 1;
	assert_int_equal(ask(f, 1, "a", 0, 1), 0);
	first = last(f);
	assert_int_equal(ask(f, 2, "a", 1, 1), 0);
	assert_int_equal(ask(f, 1, "b", 0, 1), 0);
	assert_int_equal(ask(f, 1, "c", 0, 1), -EUSERS);
	assert_string_equal(world.text, "carryd on host h has 3 groups, as many as [limits] groups "
					"allows");
	assert_int_equal(ask(f, 3, "a", 2, 1), 0); /* no new group */
	/* Whoever counted for "a" is gone; the others of "a" still wait. */
	create_free(f->control, first, 1);
	assert_int_equal(ask(f, 1, "c", 0, 1), -EUSERS);
	create_free(f->control, last(f), 1);
	create_free(f->control, f->control->creates->next, 1);
	assert_int_equal(ask(f, 1, "c", 0, 1), 0);
	f->control->group_count = 0;
	end(f);
}

static void test_of_a_trainer(void **state)
{
	struct fixture *f = make("groups = 256");

	(void)state;
	world.groups = 60;
	for (int i = 0; i < 4; i++)
		assert_int_equal(ask_number(f, 1, i, 0, 1), 0);
	assert_int_equal(ask_number(f, 1, 4, 0, 1), -ENOSPC);
	assert_string_equal(world.text, "pid 5001 on host h is in, or waits for, 64 groups");
	assert_int_equal(ask_number(f, 2, 4, 0, 1), 0);
	end(f);
}

static void test_of_a_user(void **state)
{
	struct fixture *f = make("groups = 256");
	uint32_t count = 0;

	(void)state;
	for (uint32_t client = 0; client < 100; client++)
		for (int i = 0; i < 64 && count < CONTROL_UID_CREATES_MAX; i++, count++)
			assert_int_equal(ask_number(f, client, i, client, 1), 0);
	assert_int_equal(ask_number(f, 99, 0, 99, 1), -EUSERS);
	assert_string_equal(world.text, "1024 ranks of user 1000 on host h wait for groups");
	assert_int_equal(ask_number(f, 100, 0, 0, 1), 0); /* another user */
	end(f);
}

static void test_roots_of_a_user(void **state)
{
	struct fixture *f = make("groups = 256");

	(void)state;
	for (int i = 0; i < CONTROL_UID_DIALS_MAX; i++)
		assert_int_equal(ask_number(f, 1, i, 0, 1 + i), 0);
	assert_int_equal(ask_number(f, 2, 99, 0, 99), -EUSERS);
	assert_string_equal(world.text, "the root's daemon at 127.0.1.99 port 7117: 16 roots are "
					"being sought for user 1000 already");
	assert_int_equal(ask_number(f, 2, 99, 0, 1), 0); /* is being dialled already */
	assert_int_equal(ask_number(f, 100, 99, 0, 99), 0);
	end(f);
}

/* A root on another port is refused before anybody is asked. */
static void test_ports_of_roots(void **state)
{
	struct fixture *f = make("groups = 256");
	uint16_t own = control_port(f->control);
	char text[256];

	(void)state;
	assert_int_not_equal(own, 7117);
	f->config.root_ports[0] = 0;
	assert_int_equal(ask(f, 1, "a", 0, 1), -EPERM);
	(void)snprintf(text, sizeof(text),
		       "the root's daemon at 127.0.1.1 port 7117: roots must have the port of this "
		       "daemon, %u ([network] root_ports is empty)",
		       own);
	assert_string_equal(world.text, text);
	(void)snprintf(f->config.root_ports, sizeof(f->config.root_ports), "7116,7118-7200");
	assert_int_equal(ask(f, 1, "a", 0, 1), -EPERM);
	assert_string_equal(world.text, "the root's daemon at 127.0.1.1 port 7117: the port is not "
					"one of 7116,7118-7200 ([network] root_ports)");
	assert_null(f->control->creates);
	(void)snprintf(f->config.root_ports, sizeof(f->config.root_ports), "7116,7117-7200");
	assert_int_equal(ask(f, 1, "a", 0, 1), 0);
	end(f);
}

/* Wishes that were pending when there was room meet a daemon that is full now. */
static void test_full_when_it_comes(void **state)
{
	struct fixture *f = make("groups = 1");
	struct control *c = f->control;
	struct {
		struct wire_table head;
		struct wire_node node;
		uint16_t ranks[4];
	} table = {.head = {.group = 77,
			    .name = "a",
			    .epoch = 1,
			    .nodes = 1,
			    .ranks = 1,
			    .lanes = 1,
			    .chunk_bytes_max = 65536,
			    .chunk_bytes_usual = 32768,
			    .paths = 1,
			    .uid = 1000}};
	const struct wire_refuse *refusal;

	(void)state;
	frame_own_node(c, &table.node);
	assert_int_equal(ask(f, 1, "a", 0, 1), 0);
	peers_hang_up(c->peers, last(f)->dial);
	last(f)->state = CREATE_JOINED;
	last(f)->root = CONTROL_NOBODY;
	c->group_count = 1;
	setup_begin(c, CONTROL_NOBODY, &table.head, 1);
	assert_null(c->groups);
	assert_non_null(c->own_first);
	assert_int_equal(c->own_first->kind, WIRE_REFUSE);
	refusal = (const struct wire_refuse *)(const void *)c->own_first->payload;
	assert_int_equal(refusal->error, -EUSERS);
	assert_string_equal(refusal->text, "carryd on host h has 1 groups, as many as [limits] "
					   "groups allows");
	c->group_count = 0;
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups),         cmocka_unit_test(test_of_a_trainer),
		cmocka_unit_test(test_of_a_user),      cmocka_unit_test(test_roots_of_a_user),
		cmocka_unit_test(test_ports_of_roots), cmocka_unit_test(test_full_when_it_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
