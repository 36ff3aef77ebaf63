/*
 * test_engine_alloc.c - the data path allocates nothing: two lanes over real sockets, all
 * schedules and types, after a few ops to warm up.
 *
 * Counted are the calls of the daemon's own code: __wrap_malloc __wrap_calloc
 * __wrap_realloc __wrap_free.  The simulated network allocates, so this runs over uring.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/engine.h"

enum { NODES = 2, PATHS = 2, HANDLE = 3, WARM_UP = 40, OPS = 400, COUNT = 100000 };

#define ARENA_BYTES (4u << 20)
#define OUT_OFFSET (2u << 20)
#define LIMIT_NS (60 * CLOCK_NS_PER_S)

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void __wrap_free(void *block);

static uint64_t calls;

void *__wrap_malloc(size_t bytes)
{
	calls++;
	return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	calls++;
	return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
	calls++;
	return __real_realloc(block, bytes);
}

void __wrap_free(void *block)
{
	calls++;
	__real_free(block);
}

struct node {
	struct engine *engine;
	struct exchange *exchange;
	uint16_t peers[NODES];
	unsigned char *base;
	struct shm_layout layout;
	struct shm_port submit, complete;
	uint64_t posted, done;
};

static struct node nodes[NODES];
static struct owner_table owners;

static void command(struct node *n, const struct engine_command *c)
{
	assert_true(mailbox_put(engine_commands(n->engine), c));
}

/* Return: 0, or why there is no io_uring. */
static int open_node(uint16_t number)
{
	static const uint32_t ranks_of_node[NODES] = {1, 1};
	struct node *n = &nodes[number];
	struct engine_options options = {
		.transport = "uring",
		.lane_fd = -1,
		.main_eventfd = -1,
		.paths = PATHS,
		.transport_options = {.queue_frames = 16},
	};
	struct exchange_plan plan = {
		.group = 1,
		.epoch = 1,
		.nodes = NODES,
		.node = number,
		.lanes = 1,
		.ranks = NODES,
		.ranks_of_node = ranks_of_node,
		.local_ranks = 1,
		.owners = &owners,
		.flat_bytes_max = 4096,
		.chunk_bytes_max = 65536,
		.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
		.slots = 4,
		.buffers = 8,
		.vec = vec_best(),
	};
	struct err err;
	int ret = engine_open(&n->engine, &options, &err);

	if (ret) {
		print_message("%s\n", err.text);
		assert_true(ret == -EPERM || ret == -ENOSYS);
		return ret;
	}
	assert_int_equal(exchange_new(&n->exchange, &plan, &err), 0);
	assert_int_equal(shm_layout(&n->layout, 1, ARENA_BYTES), 0);
	n->base = mmap(NULL, n->layout.total_bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(n->base, MAP_FAILED);
	n->submit.ring = shm_submit_ring(n->base, &n->layout, 0);
	n->complete.ring = shm_complete_ring(n->base, &n->layout, 0);
	for (uint16_t p = 0; p < NODES; p++)
		n->peers[p] = p == number ? UINT16_MAX : p;
	command(n, &(struct engine_command){.kind = ENGINE_CLIENT_ADD,
					    .base = n->base,
					    .layout = n->layout,
					    .wake_fd = -1});
	command(n, &(struct engine_command){
			   .kind = ENGINE_GROUP_ADD, .exchange = n->exchange, .peers = n->peers});
	command(n, &(struct engine_command){
			   .kind = ENGINE_RANK_ADD, .exchange = n->exchange, .handle = HANDLE});
	return 0;
}

static void connect_path(uint16_t path)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd[2], one = 1;

	assert_int_equal(bind(listener, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&address, bytes), 0);
	fd[1] = accept(listener, NULL, NULL);
	assert_true(fd[1] >= 0);
	(void)close(listener);
	for (uint16_t n = 0; n < NODES; n++) {
		(void)setsockopt(fd[n], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		command(&nodes[n], &(struct engine_command){.kind = ENGINE_PATH_ADD,
							    .peer = (uint16_t)(1 - n),
							    .path = path,
							    .fd = fd[n]});
	}
}

/* Sizes, types, reductions and schedules take turns; ops overlap. */
static void post(struct node *n)
{
	uint64_t seq = n->posted + 1;
	struct shm_submission s = {
		.work = seq,
		.seq = seq,
		.key = seq % 3,
		.count = seq % 5 ? seq * 37 % 3000 : COUNT,
		.out_offset = seq % 2 ? OUT_OFFSET : 0,
		.group = HANDLE,
		.kind = SHM_ALLREDUCE,
		.type = (uint8_t)(1 + seq % VEC_TYPES),
		.reduce = (uint8_t)(1 + seq % VEC_REDUCES),
		.schedule = (uint8_t)(seq % 4),
	};

	if (n->posted - n->done >= 8)
		return;
	shm_submissions(n->base, &n->layout, 0)[n->submit.position % SHM_RING_ENTRIES] = s;
	shm_produce(&n->submit);
	n->posted = seq;
}

static void read_completions(struct node *n)
{
	while (shm_consume_ready(&n->complete) == 1) {
		struct shm_completion c = shm_completions(
			n->base, &n->layout, 0)[n->complete.position % SHM_RING_ENTRIES];

		shm_consume(&n->complete);
		assert_int_equal(c.status, 0);
		n->done++;
	}
}

static void run_until(uint64_t ops)
{
	uint64_t begun_ns = clock_now_ns();

	while (nodes[0].done < ops || nodes[1].done < ops) {
		uint64_t now_ns = clock_now_ns();

		assert_true(now_ns - begun_ns < LIMIT_NS);
		for (int n = 0; n < NODES; n++) {
			if (nodes[n].posted < ops)
				post(&nodes[n]);
			(void)engine_round(nodes[n].engine, now_ns);
			read_completions(&nodes[n]);
		}
	}
}

static void ops_allocate_nothing(void **state)
{
	uint64_t before;

	(void)state;
	owner_found(&owners, NODES);
	for (uint16_t n = 0; n < NODES; n++)
		if (open_node(n))
			skip();
	for (uint16_t p = 0; p < PATHS; p++)
		connect_path(p);
	run_until(WARM_UP);
	before = calls;
	assert_true(before > 0); /* the counter counts */
	run_until(WARM_UP + OPS);
	assert_int_equal(calls, before);
	for (uint16_t n = 0; n < NODES; n++) {
		assert_true(atomic_load(&engine_stats(nodes[n].engine)->payload_sent) > 0);
		engine_close(nodes[n].engine);
		exchange_free(nodes[n].exchange);
		(void)munmap(nodes[n].base, nodes[n].layout.total_bytes);
	}
	assert_true(calls > before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ops_allocate_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
