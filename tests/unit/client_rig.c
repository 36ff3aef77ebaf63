/* client_rig.c - see client_rig.h. */
#include "tests/unit/client_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

void client_rig_open(struct client_rig *r, const char *settings)
{
	struct clients_options options = {.config = &r->config, .version = "9.9.9"};
	char text[2048];
	struct err err = {.text = ""};

	memset(r, 0, sizeof(*r));
	snprintf(r->folder, sizeof(r->folder), "%s/carry-client.XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(r->folder));
	snprintf(r->path, sizeof(r->path), "%s/carryd.sock", r->folder);
	snprintf(text, sizeof(text), "[daemon]\nsocket = %s\n[engine]\nlanes = %d\n%s", r->path,
		 RIG_LANES, settings);
	if (config_parse(&r->config, text, strlen(text), "rig", &err))
		fail_msg("%s", err.text);
	assert_int_equal(loop_open(&r->loop, &err), 0);
	for (int i = 0; i < RIG_LANES; i++)
		r->lane_fds[i] = epoll_create1(EPOLL_CLOEXEC);
	options.loop = r->loop;
	options.lane_fds = r->lane_fds;
	assert_int_equal(clients_open(&r->clients, &options, &err), 0);
	if (clients_listen(r->clients, &err))
		fail_msg("%s", err.text);
	r->now_ns = 1000000000;
}

void client_rig_close(struct client_rig *r)
{
	clients_close(r->clients);
	loop_close(r->loop);
	for (int i = 0; i < RIG_LANES; i++)
		close(r->lane_fds[i]);
	assert_int_equal(access(r->path, F_OK), -1);
	assert_int_equal(rmdir(r->folder), 0);
}

static void client_rig_keep(struct client_rig *r, const struct client_request *request)
{
	assert_true(r->count < RIG_REQUESTS);
	r->requests[r->count++] = *request;
}

void client_rig_turn(struct client_rig *r)
{
	struct loop_event events[16];
	struct client_request request;
	struct err err;
	size_t count;

	r->count = 0;
	clients_tick(r->clients, r->now_ns);
	while ((count = loop_wait(r->loop, events, 16, 0)))
		for (size_t i = 0; i < count; i++) {
			if (events[i].tag == LOOP_LISTEN_UNIX) {
				if (clients_accept(r->clients, r->now_ns, &err))
					snprintf(r->refused, sizeof(r->refused), "%s", err.text);
			} else if (events[i].tag == LOOP_CLIENT) {
				if (clients_ready(r->clients, events[i].index, events[i].events,
						  &request))
					client_rig_keep(r, &request);
			} else {
				assert_int_equal(events[i].tag, LOOP_CLIENT_PID);
				clients_pid_ready(r->clients, events[i].index);
			}
		}
	while (clients_gone(r->clients, &request))
		client_rig_keep(r, &request);
}

const struct client_request *client_rig_one(struct client_rig *r, enum client_request_kind kind)
{
	client_rig_turn(r);
	assert_int_equal(r->count, 1);
	assert_int_equal(r->requests[0].kind, kind);
	return &r->requests[0];
}

int trainer_connect(const struct client_rig *r)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	memcpy(address.sun_path, r->path, strlen(r->path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void trainer_send(int fd, enum ctl_kind kind, uint32_t id, const void *body, size_t bytes)
{
	struct ctl_header header = {.magic = CTL_MAGIC,
				    .version = CTL_VERSION,
				    .kind = (uint16_t)kind,
				    .id = id,
				    .bytes = (uint32_t)bytes};

	assert_int_equal(ctl_send(fd, &header, body, NULL, 0), sizeof(header) + bytes);
}

void trainer_query(int fd, uint32_t id, const char *what)
{
	struct ctl_query query = {.what = ""};

	snprintf(query.what, sizeof(query.what), "%s", what);
	trainer_send(fd, CTL_QUERY, id, &query, sizeof(query));
}

void trainer_answer(int fd, struct answer *out)
{
	_Alignas(8) static unsigned char packet[CTL_PACKET_BYTES_MAX];
	long bytes = ctl_receive(fd, packet, sizeof(packet), out->fds, &out->nfds);

	memset(&out->header, 0, sizeof(out->header));
	if (bytes == 0)
		return;
	assert_true(bytes > 0);
	assert_int_equal(ctl_answer_check(packet, (size_t)bytes), CTL_GOOD);
	memcpy(&out->header, packet, sizeof(out->header));
	memcpy(out->text, packet + sizeof(out->header), out->header.bytes);
}

void trainer_nothing(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), -1);
	assert_int_equal(errno, EAGAIN);
}

void trainer_refused(int fd, uint32_t id, int error, const char *text)
{
	static struct answer answer;

	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_ERROR);
	assert_string_equal(answer.error.text, text);
	assert_int_equal(answer.header.id, id);
	assert_int_equal(answer.error.error, error);
}

int trainer_attach(struct client_rig *r, uint64_t arena_bytes, uint32_t *client)
{
	static struct answer answer;
	struct ctl_attach attach = {.arena_bytes = arena_bytes, .name = "trainer"};
	int fd = trainer_connect(r);

	trainer_send(fd, CTL_ATTACH, 1, &attach, sizeof(attach));
	*client = client_rig_one(r, CLIENT_ATTACHED)->client;
	trainer_answer(fd, &answer);
	assert_int_equal(answer.header.kind, CTL_ATTACHED);
	assert_int_equal(answer.nfds, 2 + RIG_LANES);
	for (size_t i = 0; i < answer.nfds; i++)
		close(answer.fds[i]);
	return fd;
}

size_t count_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

size_t count_arenas(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "memfd:carry-arena") != NULL;
	fclose(maps);
	return count;
}
