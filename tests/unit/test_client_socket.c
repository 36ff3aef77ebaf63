/*
 * test_client_socket.c - the socket's file: made with mode and group, taken over from a dead
 * daemon, left alone with a living one, passed by systemd; and what may be in its way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/client.h"

struct place {
	char folder[64], path[96];
	struct config config;
	struct loop *loop;
	struct clients *clients;
	struct err err;
};

static void place_open(struct place *p, const char *name, const char *settings)
{
	struct clients_options options = {.config = &p->config, .version = "1"};
	int lane_fds[SHM_LANES_MAX];
	char text[512];

	memset(lane_fds, -1, sizeof(lane_fds));
	memset(p, 0, sizeof(*p));
	snprintf(p->folder, sizeof(p->folder), "%s/carry-socket.XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->path, sizeof(p->path), "%s/%s", p->folder, name);
	snprintf(text, sizeof(text), "[daemon]\nsocket = %s\n%s", p->path, settings);
	assert_int_equal(config_parse(&p->config, text, strlen(text), "f", &p->err), 0);
	assert_int_equal(loop_open(&p->loop, &p->err), 0);
	options.loop = p->loop;
	options.lane_fds = lane_fds;
	assert_int_equal(clients_open(&p->clients, &options, &p->err), 0);
}

static void place_close(struct place *p)
{
	clients_close(p->clients);
	loop_close(p->loop);
	assert_int_equal(rmdir(p->folder), 0);
}

static int listen_at(struct place *p)
{
	return clients_listen(p->clients, &p->err);
}

/* Return: a bound, perhaps listening socket. */
static int other_socket(const char *path, int type, int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (backlog)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static void mode_and_end(void **state)
{
	struct place p;
	struct stat about;

	(void)state;
	place_open(&p, "carryd.sock", "socket_mode = 0624\nsocket_group = daemon\n");
	assert_int_equal(listen_at(&p), 0);
	assert_int_equal(stat(p.path, &about), 0);
	assert_int_equal(about.st_mode, S_IFSOCK | 0624);
	if (getuid() == 0)
		assert_int_equal(about.st_gid, 1);
	clients_unlisten(p.clients);
	assert_int_equal(access(p.path, F_OK), -1);
	clients_unlisten(p.clients);
	place_close(&p);
}

static void folder_is_made(void **state)
{
	struct place p;
	char folder[80];

	(void)state;
	place_open(&p, "run/carryd.sock", "");
	assert_int_equal(listen_at(&p), 0);
	clients_unlisten(p.clients);
	snprintf(folder, sizeof(folder), "%s/run", p.folder);
	assert_int_equal(rmdir(folder), 0);
	place_close(&p);
}

static void folder_cannot_be_made(void **state)
{
	char expected[256];
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "a/b/carryd.sock", "");
	assert_int_equal(listen_at(&p), -ENOENT);
	snprintf(expected, sizeof(expected),
		 "make the folder %s/a/b for the socket: No such file or directory", p.folder);
	assert_string_equal(p.err.text, expected);
	place_close(&p);

	place_open(&p, "file/carryd.sock", "");
	snprintf(expected, sizeof(expected), "%s/file", p.folder);
	fd = open(expected, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(listen_at(&p), -ENOTDIR);
	assert_int_equal(unlink(expected), 0);
	snprintf(expected, sizeof(expected), "open the socket's folder %s/file: Not a directory",
		 p.folder);
	assert_string_equal(p.err.text, expected);
	place_close(&p);
}

static void dead_daemon(void **state)
{
	struct place p;

	(void)state;
	place_open(&p, "carryd.sock", "");
	close(other_socket(p.path, SOCK_SEQPACKET, 5));
	assert_int_equal(access(p.path, F_OK), 0);
	assert_int_equal(listen_at(&p), 0);
	place_close(&p);
}

static void living_daemon(void **state)
{
	char expected[256];
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "carryd.sock", "");
	fd = other_socket(p.path, SOCK_SEQPACKET, 5);
	assert_int_equal(listen_at(&p), -EADDRINUSE);
	snprintf(expected, sizeof(expected), "a daemon with pid %d listens on %s already",
		 (int)getpid(), p.path);
	assert_string_equal(p.err.text, expected);
	clients_close(p.clients); /* somebody else's file stays */
	p.clients = NULL;
	assert_int_equal(unlink(p.path), 0);
	close(fd);
	place_close(&p);

	place_open(&p, "carryd.sock", ""); /* another kind of server */
	fd = other_socket(p.path, SOCK_STREAM, 5);
	assert_true(listen_at(&p) < 0);
	assert_non_null(strstr(p.err.text, "somebody listens on"));
	assert_int_equal(unlink(p.path), 0);
	close(fd);
	place_close(&p);
}

static void something_else_is_there(void **state)
{
	char expected[256];
	struct place p;

	(void)state;
	place_open(&p, "carryd.sock", "");
	close(open(p.path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(listen_at(&p), -EEXIST);
	snprintf(expected, sizeof(expected), "%s exists and is not a socket", p.path);
	assert_string_equal(p.err.text, expected);
	assert_int_equal(unlink(p.path), 0);
	place_close(&p);
}

static void file_that_somebody_replaced(void **state)
{
	struct place p;
	int fd;

	(void)state;
	place_open(&p, "carryd.sock", "");
	assert_int_equal(listen_at(&p), 0);
	assert_int_equal(unlink(p.path), 0);
	fd = other_socket(p.path, SOCK_SEQPACKET, 5);
	clients_unlisten(p.clients);
	assert_int_equal(unlink(p.path), 0); /* it was still there */
	close(fd);
	place_close(&p);
}

static void unknown_group(void **state)
{
	struct place p;

	(void)state;
	place_open(&p, "carryd.sock", "socket_group = no-such-group\n");
	assert_int_equal(listen_at(&p), -ENOENT);
	assert_string_equal(p.err.text,
			    "[daemon] socket_group = no-such-group: there is no such group");
	place_close(&p);
}

/* Somebody holds the folder's lock for ever: we wait a second, not for ever. */
static void folder_that_stays_locked(void **state)
{
	struct place p;
	int folder;

	(void)state;
	place_open(&p, "carryd.sock", "");
	folder = open(p.folder, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(folder, LOCK_EX), 0);
	assert_int_equal(listen_at(&p), 0);
	close(folder);
	place_close(&p);
}

/* What systemd does, in a child: descriptor 3, LISTEN_FDS and LISTEN_PID.  Return: exit code. */
static int activated(struct place *p, int fd, const char *count)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_FDS", count, 1);
	setenv("LISTEN_PID", pid, 1);
	if (dup2(fd, 3) != 3)
		return 90;
	if (listen_at(p))
		return -p->err.code;
	clients_close(p->clients);
	return 0;
}

static int in_child(struct place *p, int fd, const char *count, const char *sentence)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		int code = activated(p, fd, count);

		if (code && strcmp(p->err.text, sentence) != 0) {
			fprintf(stderr, "%s\n", p->err.text);
			_exit(91);
		}
		_exit(code);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void systemd(void **state)
{
	char other[100];
	struct place p;
	int packets, stream, three;

	(void)state;
	three = open("/dev/null", O_RDONLY); /* so that nothing of ours is 3 */
	place_open(&p, "carryd.sock", "");
	snprintf(other, sizeof(other), "%s/s", p.folder);
	packets = other_socket(p.path, SOCK_SEQPACKET, 5);
	stream = other_socket(other, SOCK_STREAM, 5);
	assert_int_equal(in_child(&p, packets, "1", ""), 0);
	assert_int_equal(access(p.path, F_OK), 0); /* systemd's, so it stays */
	assert_int_equal(in_child(&p, stream, "1",
				  "systemd passed something that is not a listening Unix socket of "
				  "packets (ListenSequentialPacket=)"),
			 EINVAL);
	assert_int_equal(in_child(&p, packets, "2", "systemd passed 2 sockets, and not one"),
			 EINVAL);
	close(packets);
	close(stream);
	close(three);
	assert_int_equal(unlink(p.path), 0);
	assert_int_equal(unlink(other), 0);
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode_and_end),
		cmocka_unit_test(folder_is_made),
		cmocka_unit_test(folder_cannot_be_made),
		cmocka_unit_test(dead_daemon),
		cmocka_unit_test(living_daemon),
		cmocka_unit_test(something_else_is_there),
		cmocka_unit_test(file_that_somebody_replaced),
		cmocka_unit_test(unknown_group),
		cmocka_unit_test(folder_that_stays_locked),
		cmocka_unit_test(systemd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
