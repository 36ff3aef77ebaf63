/*
 * test_carryctl.c - carryctl's question to a daemon that answers well, badly or not at all;
 * its tables, compared whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/ctl.h"
#include "tools/ctl/links.h"
#include "tools/ctl/query.h"
#include "tools/ctl/show.h"
#include "tools/ctl/table.h"

/* --- a daemon that plays one scene ----------------------------------------------------------- */

enum scene { ANSWER, REFUSE, HANG_UP, GARBAGE, VERSION, WRONG_ID };

struct server {
	char path[100];
	int fd;
	enum scene scene;
	pthread_t thread;
	char what[CTL_NAME_BYTES]; /* what was asked */
};

static void say(int fd, enum ctl_kind kind, uint32_t id, uint16_t version, const void *body,
		size_t bytes)
{
	struct ctl_header header = {.magic = CTL_MAGIC,
				    .version = version,
				    .kind = (uint16_t)kind,
				    .id = id,
				    .bytes = (uint32_t)bytes};

	(void)ctl_send(fd, &header, body, NULL, 0);
}

static void *serve(void *argument)
{
	struct server *s = argument;
	_Alignas(8) unsigned char packet[256];
	struct ctl_error error = {.error = -EPERM, .text = "not for you"};
	struct ctl_header header;
	int fd = accept(s->fd, NULL, NULL);

	if (fd < 0 || ctl_receive(fd, packet, sizeof(packet), NULL, NULL) <= 0 ||
	    ctl_request_check(packet, sizeof(header) + sizeof(struct ctl_query)) != CTL_GOOD)
		return NULL;
	memcpy(&header, packet, sizeof(header));
	memcpy(s->what, packet + sizeof(header), sizeof(s->what));
	switch (s->scene) {
	case ANSWER:
		say(fd, CTL_MORE, header.id, CTL_VERSION, "{\"a\":", 5);
		say(fd, CTL_MORE, header.id, CTL_VERSION, " 1", 2);
		say(fd, CTL_OK, header.id, CTL_VERSION, "}", 1);
		break;
	case REFUSE: say(fd, CTL_ERROR, header.id, CTL_VERSION, &error, sizeof(error)); break;
	case HANG_UP: break;
	case GARBAGE: (void)!write(fd, "HTTP/1.1 400 Bad Request", 24); break;
	case VERSION: say(fd, CTL_OK, header.id, CTL_VERSION + 1, "{}", 2); break;
	case WRONG_ID: say(fd, CTL_OK, header.id + 1, CTL_VERSION, "{}", 2); break;
	}
	close(fd);
	return s;
}

static void server_path(struct server *s)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->path, sizeof(s->path), "%s/carryctl-%d.sock",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
}

static void server_listen(struct server *s, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	server_path(s);
	(void)unlink(s->path);
	memcpy(address.sun_path, s->path, strlen(s->path));
	s->fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->fd, 5), 0);
}

static char *ask(struct server *s, enum scene scene, char *sentence)
{
	char *text;
	void *served;

	server_listen(s, SOCK_SEQPACKET);
	s->scene = scene;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	sentence[0] = 0;
	text = query_run(s->path, "status", sentence);
	assert_int_equal(pthread_join(s->thread, &served), 0);
	assert_ptr_equal(served, s);
	assert_string_equal(s->what, "status");
	close(s->fd);
	unlink(s->path);
	return text;
}

static void good_answer(void **state)
{
	char sentence[QUERY_SENTENCE_BYTES];
	struct server s;
	char *text = ask(&s, ANSWER, sentence);

	(void)state;
	assert_non_null(text);
	assert_string_equal(text, "{\"a\": 1}");
	free(text);
}

static void bad_answers(void **state)
{
	static const char *const sentences[] = {
		[REFUSE] = "carryd at %s: not for you",
		[HANG_UP] = "carryd at %s closed the connection",
		[GARBAGE] = "what listens on %s does not answer like a carryd",
		[VERSION] = "carryd at %s speaks version 2 of the protocol, carryctl version 1",
		[WRONG_ID] = "what listens on %s does not answer like a carryd",
	};
	char sentence[QUERY_SENTENCE_BYTES];
	struct server s;

	(void)state;
	for (int scene = REFUSE; scene <= WRONG_ID; scene++) {
		const char *expected = sentences[scene], *place = strstr(expected, "%s");
		size_t before = (size_t)(place - expected), path;

		assert_null(ask(&s, (enum scene)scene, sentence));
		path = strlen(s.path);
		assert_memory_equal(sentence, expected, before);
		assert_memory_equal(sentence + before, s.path, path);
		assert_string_equal(sentence + before + path, place + 2);
	}
}

static void fails(struct server *s, const char *before, const char *behind)
{
	char sentence[QUERY_SENTENCE_BYTES], expected[QUERY_SENTENCE_BYTES];

	assert_null(query_run(s->path, "status", sentence));
	snprintf(expected, sizeof(expected), "%s%s%s", before, s->path, behind);
	assert_string_equal(sentence, expected);
}

static void nobody_there(void **state)
{
	char sentence[QUERY_SENTENCE_BYTES], path[200];
	struct server s;

	(void)state;
	server_path(&s);
	fails(&s, "no daemon has made ", ": start carryd, or name its socket with --socket");
	server_listen(&s, SOCK_SEQPACKET);
	close(s.fd);
	fails(&s, "no daemon listens on ", ": it has ended");
	server_listen(&s, SOCK_STREAM);
	fails(&s, "", " is not the socket of a carryd");
	close(s.fd);
	unlink(s.path);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	assert_null(query_run(path, "status", sentence));
	assert_memory_equal(sentence, "the path of a socket has 1 to 107 bytes, \"xxx", 44);
	assert_null(query_run("", "status", sentence));
	assert_string_equal(sentence, "the path of a socket has 1 to 107 bytes, \"\" has 0");
}

/* Root may use every socket, so root's test becomes nobody. */
static void no_permission(void **state)
{
	char sentence[QUERY_SENTENCE_BYTES], expected[QUERY_SENTENCE_BYTES];
	struct server s;
	int status;
	pid_t child;

	(void)state;
	server_listen(&s, SOCK_SEQPACKET);
	assert_int_equal(chmod(s.path, 0), 0);
	snprintf(expected, sizeof(expected),
		 "no permission to use %s: become a member of its group", s.path);
	child = fork();
	if (child == 0) {
		if (getuid() == 0 && setuid(65534))
			_exit(2);
		_exit(query_run(s.path, "status", sentence) || strcmp(sentence, expected) != 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(s.fd);
	unlink(s.path);
}

/* --- tables ---------------------------------------------------------------------------------- */

static void sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {{0, "0B"},           {999, "999B"},        {1000, "1.0K"},
		     {1536, "1.5K"},      {10240, "10K"},       {1 << 20, "1.0M"},
		     {256 << 20, "256M"}, {1ull << 40, "1.0T"}, {UINT64_MAX, "16E"}};
	char text[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(table_size(cases[i].bytes, text, sizeof(text)), cases[i].text);
}

static void shows_json(int (*show)(const json_t *, FILE *), const json_t *json,
		       const char *expected)
{
	size_t bytes;
	char *text;
	FILE *to = open_memstream(&text, &bytes);

	assert_non_null(json);
	assert_int_equal(show(json, to), 0);
	fclose(to);
	assert_string_equal(text, expected);
	free(text);
}

static void shows(int (*show)(const json_t *, FILE *), const char *json_text, const char *expected)
{
	json_t *json = json_loads(json_text, 0, NULL);

	shows_json(show, json, expected);
	json_decref(json);
}

static void status(void **state)
{
	(void)state;
	shows(show_status,
	      "{\"version\": \"1.0\", \"pid\": 5, \"uptime_s\": 93784.9, \"socket\": \"/s\","
	      " \"groups\": 1, \"groups_max\": 64, \"connections\": {\"open\": 2, \"max\": 256,"
	      " \"attached\": 1, \"refused\": 3},"
	      " \"lanes\": [{\"lane\": 0, \"ops_done\": 12, \"wire_sent\": 2048, \"syscalls\": 7,"
	      " \"transport\": \"uring\"}],"
	      " \"clients\": [{\"client\": 0, \"pid\": 77, \"uid\": 1000, \"groups\": 1,"
	      " \"arena_bytes\": 1073741824, \"resident_bytes\": 4096, \"name\": "
	      "\"m\xc3\xbcller\"}],"
	      " \"peers\": [{\"host\": \"n1\", \"address\": \"10.0.0.2:7117\", \"state\": "
	      "\"known\","
	      " \"connected\": true, \"trouble\": \"\"}],"
	      " \"memory\": {\"shared_bytes\": 1073741824, \"shared_bytes_max\": 68719476736,"
	      " \"groups_bytes\": 0, \"inflight_bytes_per_group\": 268435456}}",
	      "carryd 1.0, pid 5, up 1d 2:03:04, socket /s\n"
	      "1 of 64 groups, 2 of 256 connections, 1 trainers, 3 refused so far\n"
	      "\n"
	      "lane  ops  failed  sent  received  frames out  frames in  resent  syscalls  "
	      "transport\n"
	      "   0   12       0  2.0K        0B           0          0       0         7  uring\n"
	      "\n"
	      "trainer  pid   uid  groups  arena  used  name\n"
	      "      0   77  1000       1   1.0G  4.0K  m\xc3\xbcller\n"
	      "\n"
	      "daemon  address        state  connected  trouble\n"
	      "n1      10.0.0.2:7117  known  yes\n"
	      "\n"
	      "memory                in use  limit  limited by\n"
	      "shared with trainers    1.0G    64G  [limits] arena_bytes\n"
	      "groups                    0B   256M  [limits] inflight_bytes, each group\n");
}

static void groups(void **state)
{
	(void)state;
	shows(show_groups,
	      "[{\"id\": \"0a\", \"name\": \"g\", \"run\": \"\", \"state\": \"running\", "
	      "\"epoch\": 1,"
	      " \"ranks\": 3, \"nodes\": 2, \"lanes\": 1, \"schedule\": \"auto\","
	      " \"memory_bytes\": 1048576, \"ops_done\": 12, \"ops_failed\": 1,"
	      " \"ops_in_flight\": 3, \"bytes_reduced\": 2048, \"payload_sent\": 3145728,"
	      " \"ended\": \"\", \"choices\": ["
	      "{\"list\": \"auto:int8/int4\", \"feedback\": \"ef14\", \"bytes_min\": 16384,"
	      " \"from_op\": 301, \"codec\": \"int4\", \"settled\": true, \"ns_per_mib\":"
	      " {\"none\": 7360000, \"int8\": null, \"int4\": 2204877}},"
	      "{\"list\": \"auto:int8/int4\", \"feedback\": \"ef14\", \"bytes_min\": 1048576,"
	      " \"from_op\": 1, \"codec\": \"int8\", \"settled\": false, \"ns_per_mib\": {}}],"
	      " \"choice_changes\": 70, \"choice_history\": ["
	      "{\"from_op\": 201, \"bytes_min\": 16384, \"codec\": \"int8\", \"settled\": false},"
	      "{\"from_op\": 301, \"bytes_min\": 16384, \"codec\": \"int4\", \"settled\": true}],"
	      " \"peers\": ["
	      "{\"node\": 0, \"ranks\": 2, \"host\": \"n0\", \"address\": \"10.0.0.1:7117\","
	      " \"state\": \"here\"},"
	      "{\"node\": 1, \"ranks\": 1, \"host\": \"n1\", \"address\": \"10.0.0.2:7117\","
	      " \"state\": \"dead\", \"over\": \"both\", \"paths_rdma\": 3, \"paths_tcp\": 1,"
	      " \"why_not_rdma\": \"there: its port is down\"}]},"
	      " {\"id\": \"0b\", \"name\": \"h\", \"run\": \"7\", \"state\": \"over\","
	      " \"ended\": \"rank 1 left\"}]",
	      "group g (0a): running, epoch 1\n"
	      "    3 ranks on 2 nodes, 1 lanes, schedule auto, memory 1.0M\n"
	      "    12 ops done, 1 failed, 3 in flight, 0 of all with a codec; 2.0K reduced, "
	      "3.0M sent\n"
	      "     node  ranks  host  address        state  over          why not RDMA\n"
	      "        0      2  n0    10.0.0.1:7117  here\n"
	      "        1      1  n1    10.0.0.2:7117  dead   RDMA and TCP  "
	      "there: its port is down\n"
	      "     list            feedback  from  since op  codec          ms/MiB\n"
	      "     auto:int8/int4  ef14       16K       301  int4   chosen  none 7.36, "
	      "int4 2.20\n"
	      "     auto:int8/int4  ef14      1.0M         1  int8   tried\n"
	      "    70 changes, the last of them:\n"
	      "      from op 201 on tensors from 16K try int8\n"
	      "      from op 301 on tensors from 16K go by int4\n"
	      "\n"
	      "group h of run 7 (0b): over, epoch 0\n"
	      "    0 ranks on 0 nodes, 0 lanes, schedule , memory 0B\n"
	      "    0 ops done, 0 failed, 0 in flight, 0 of all with a codec; 0B reduced, 0B sent\n"
	      "    ended: rank 1 left\n");
}

static void configuration(void **state)
{
	(void)state;
	shows(show_config,
	      "[{\"section\": \"network\", \"key\": \"port\", \"value\": \"1\", \"default\": "
	      "\"7117\","
	      " \"origin\": \"/etc/carry/carryd.conf:3\"},"
	      " {\"section\": \"daemon\", \"key\": \"socket_group\", \"value\": \"\","
	      " \"default\": \"\", \"origin\": \"default\"}]",
	      "section    key           value  default  origin\n"
	      "[network]  port          1      7117     /etc/carry/carryd.conf:3\n"
	      "[daemon]   socket_group                  default\n");
}

static void state_of_feedback(void **state)
{
	(void)state;
	shows(show_state,
	      "[{\"name\": \"world\", \"id\": \"00ff\", \"state_bytes\": 1536,"
	      " \"state_bytes_max\": 8589934592, \"keys\": ["
	      "{\"key\": \"w\", \"count\": 100, \"type\": \"f32\", \"feedback\": \"ef14\","
	      " \"bytes\": 1024, \"steps\": 7, \"norm\": 1.25},"
	      "{\"key\": \"layer.bias\", \"count\": 5, \"type\": \"bf16\", \"feedback\":"
	      " \"loco\", \"bytes\": 512, \"steps\": 0, \"norm\": null}]},"
	      "{\"name\": \"b\", \"id\": \"01\", \"keys\": []}]",
	      "group world (00ff): 2 keys with state, 1.5K of 8.0G\n"
	      "key         elements  type  feedback  state  steps  norm\n"
	      "w                100  f32   ef14       1.0K      7  1.25\n"
	      "layer.bias         5  bf16  loco       512B      0     -\n"
	      "\n"
	      "group b (01): 0 keys with state, 0B of 0B\n");
}

/* A file below the folder, with the folders that it needs. */
static void put(const char *root, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
		*at = '/';
	}
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static int take_off(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)about;
	(void)type;
	(void)where;
	return remove(path);
}

static const char links_report[] =
	"{\"paths\": ["
	"{\"host\": \"n1\", \"address\": \"10.0.0.2:7117\", \"lane\": 0, \"path\": 0,"
	" \"up\": true, \"over\": \"RDMA\", \"device\": \"rxe0:1\","
	" \"why_not_rdma\": \"\", \"frames_sent\": 3, \"frames_received\": 4,"
	" \"payload_sent\": 2048, \"payload_received\": 1048576},"
	"{\"host\": \"n1\", \"address\": \"10.0.0.2:7117\", \"lane\": 1, \"path\": 0,"
	" \"up\": true, \"over\": \"TCP\", \"why_not_rdma\": \"there: no GID\"},"
	"{\"host\": \"n1\", \"address\": \"10.0.0.2:7117\", \"lane\": 1, \"path\": 1,"
	" \"up\": false, \"over\": \"\"}],"
	" \"lanes\": [{\"lane\": 0, \"transport\": \"verbs on rxe0:1, UDP ports by mlx5\","
	" \"work_requests\": 17, \"completions\": 5,"
	" \"registered_bytes\": 4194304, \"registrations\": 2, \"retries_exceeded\": 1,"
	" \"rnr_exceeded\": 0, \"requests_failed\": 2}]}";

static void links(void **state)
{
	static const char *const files[][2] = {
		{"rxe0/ports/1/hw_counters/rcvd_rnr_err", "7\n"},
		{"rxe0/ports/1/hw_counters/sent_pkts", "123456789012\n"},
		{"rxe0/ports/1/hw_counters/send_err", "0\n"},
		{"rxe0/ports/1/hw_counters/lifespan", "10\n"},
		{"rxe0/ports/1/hw_counters/words", "no number\n"},
		{"rxe0/ports/2/state", "1: DOWN\n"},
		{"rxe1/node_type", "1: CA\n"},
	};
	char root[128];
	json_t *json = json_loads(links_report, 0, NULL);
	json_t *ports;

	(void)state;
	snprintf(root, sizeof(root), "%s/devices-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
		 (int)getpid());
	assert_int_equal(mkdir(root, 0700), 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		put(root, files[i][0], files[i][1]);
	links_add_ports(json, root);
	assert_int_equal(nftw(root, take_off, 16, FTW_DEPTH | FTW_PHYS), 0);
	ports = json_loads("[{\"device\": \"rxe0\", \"port\": 1, \"used\": true, \"counters\":"
			   " {\"rcvd_rnr_err\": 7, \"sent_pkts\": 123456789012, \"send_err\": 0}},"
			   "{\"device\": \"rxe0\", \"port\": 2, \"used\": false,"
			   " \"counters\": {}}]",
			   0, NULL);
	assert_true(json_equal(json_object_get(json, "ports"), ports));
	json_object_del(
		json_object_get(json_array_get(json_object_get(json, "ports"), 0), "counters"),
		"sent_pkts"); /* their order is nobody's */
	shows_json(links_show, json,
		   "host  address        lane  path  over          device  frames out  frames in"
		   "  sent  received  why not RDMA\n"
		   "n1    10.0.0.2:7117     0     0  RDMA          rxe0:1           3          4"
		   "  2.0K      1.0M\n"
		   "n1    10.0.0.2:7117     1     0  TCP                            0          0"
		   "    0B        0B  there: no GID\n"
		   "n1    10.0.0.2:7117     1     1  (being made)                   0          0"
		   "    0B        0B\n"
		   "\n"
		   "lane  work requests  completions  registered  in pieces  retries exceeded"
		   "  RNR exceeded  other errors\n"
		   "   0             17            5        4.0M          2                 1"
		   "             0             2\n"
		   "lane 0: verbs on rxe0:1, UDP ports by mlx5\n"
		   "\n"
		   "device  port  used  counter       value\n"
		   "rxe0       1  yes   rcvd_rnr_err      7\n");
	json_decref(ports);
	json_decref(json);
	json = json_object();
	links_add_ports(json, root); /* it is gone */
	assert_int_equal(json_array_size(json_object_get(json, "ports")), 0);
	shows_json(links_show, json, "no data connections\n");
	json_decref(json);
}

static void nothing_to_show(void **state)
{
	(void)state;
	shows(show_state, "[]", "no groups\n");
	shows(show_groups, "[]", "no groups\n");
	/* An answer of another daemon's making does no harm. */
	shows(show_groups, "{}", "no groups\n");
	shows(show_config, "{}", "section  key  value  default  origin\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_of_feedback),
		cmocka_unit_test(good_answer),
		cmocka_unit_test(bad_answers),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(no_permission),
		cmocka_unit_test(sizes),
		cmocka_unit_test(status),
		cmocka_unit_test(groups),
		cmocka_unit_test(configuration),
		cmocka_unit_test(links),
		cmocka_unit_test(nothing_to_show),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
