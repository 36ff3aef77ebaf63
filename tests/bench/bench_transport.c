/*
 * bench_transport.c - what each feature of the io_uring transport is worth.
 *
 * Two processes send frames to each other, both ways at once, over one TCP connection:
 * on the loopback interface, and (as root) over a veth pair between two network
 * namespaces that live no longer than this program.  Beside the transport with its
 * features on and off runs the floor: a blocking sender and a blocking receiver thread
 * in each process, which is what the kernel's TCP costs however one calls it.
 *
 * GB/s is what both directions carry together, CPU s/GB is user and system time of both
 * processes, calls/frame the system calls per frame sent or received.  Settings are
 * interleaved in rounds; the median round is printed.
 *
 * usage: bench_transport [--rounds N] [--only loopback|veth] [--mtu N]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/transport/transport.h"
#include "proto/shm.h"
#include "tools/common/number.h"

enum {
	ROUNDS_MAX = 15,
	FRAMES_MAX = 40000, /* of a run, each way */
	POOL = 16,          /* buffers in use at once */
	RUN_LIMIT_S = 30,
};

#define RUN_BYTES (192ull << 20) /* of a run, each way, unless FRAMES_MAX is less */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint32_t sizes[] = {4 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20};

struct setting {
	const char *name;
	bool floor;
	struct transport_options options;
};

#define OFF TRANSPORT_OFF
#define ON TRANSPORT_ON

static const struct setting settings[] = {
	{"floor: send/recv", true, {0}},
	{"auto", false, {0}},
	{"all off", false, {.defer_taskrun = OFF, .multishot = OFF, .zerocopy = OFF}},
	{"defer_taskrun", false, {.multishot = OFF, .zerocopy = OFF}},
	{"+ multishot", false, {.multishot = ON, .zerocopy = OFF}},
	{"+ zero-copy", false, {.multishot = OFF, .zerocopy = ON, .fixed_buffers = OFF}},
	{"+ fixed buffers", false, {.multishot = OFF, .zerocopy = ON, .fixed_buffers = ON}},
	{"sqpoll", false, {.sqpoll = ON, .multishot = OFF, .zerocopy = OFF}},
};

/* One process's account of a run, in memory that both share. */
struct account {
	double seconds;
	double cpu_s;
	uint64_t syscalls;
	uint64_t copied, notified;
	int failed;
};

struct result {
	double gbs, cpu_per_gb, calls;
	double copied; /* of the zero-copy sends, how many the kernel copied; -1: none were made */
};

struct worker {
	int fd;
	uint32_t bytes;               /* of a payload */
	uint32_t frames;              /* each way */
	unsigned char *source, *sink; /* POOL payloads each */
	_Atomic uint64_t calls;
};

static void die(const char *what)
{
	fprintf(stderr, "bench_transport: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct wire_frame make_frame(uint32_t number, uint32_t bytes)
{
	return (struct wire_frame){
		.kind = WIRE_CONTRIBUTION,
		.group = 1,
		.epoch = 1,
		.seq = number + 1,
		.count = bytes,
		.contributors = 1,
		.call_digest = 1,
		.schedule = 1,
		.op = WIRE_OP_ALLREDUCE,
		.type = SHM_U8,
		.payload_type = SHM_U8,
		.reduce = SHM_SUM,
		.payload_bytes = bytes,
	};
}

/* --- the floor ------------------------------------------------------------------------------ */

static void send_frame(struct worker *w, uint32_t number)
{
	struct wire_frame frame = make_frame(number, w->bytes);
	struct iovec parts[2] = {
		{.iov_base = &frame, .iov_len = sizeof(frame)},
		{.iov_base = w->source + (size_t)(number % POOL) * w->bytes, .iov_len = w->bytes},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	size_t left = sizeof(frame) + w->bytes;

	wire_seal(&frame, NULL);
	while (left) {
		ssize_t n = sendmsg(w->fd, &message, MSG_NOSIGNAL);

		if (n <= 0)
			die("sendmsg");
		w->calls++;
		left -= (size_t)n;
		for (size_t i = 0; i < 2 && n; i++) {
			size_t part = (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;

			parts[i].iov_base = (unsigned char *)parts[i].iov_base + part;
			parts[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
}

static void *send_frames(void *arg)
{
	struct worker *w = arg;

	for (uint32_t i = 0; i < w->frames; i++)
		send_frame(w, i);
	return NULL;
}

static void receive(struct worker *w, void *dst, size_t bytes)
{
	if (recv(w->fd, dst, bytes, MSG_WAITALL) != (ssize_t)bytes)
		die("recv");
	w->calls++;
}

static void run_floor(struct worker *w)
{
	pthread_t sender;

	if (pthread_create(&sender, NULL, send_frames, w))
		die("pthread_create");
	for (uint32_t i = 0; i < w->frames; i++) {
		struct wire_frame frame;

		receive(w, &frame, sizeof(frame));
		if (wire_check(&frame) != WIRE_OK)
			die("a broken frame");
		receive(w, w->sink + (size_t)(i % POOL) * w->bytes, frame.payload_bytes);
	}
	(void)pthread_join(sender, NULL);
}

/* --- the transport -------------------------------------------------------------------------- */

struct progress {
	uint32_t queued, sent, announced, received;
};

static void handle(struct worker *w, struct transport *t, struct progress *p,
		   const struct transport_event *e)
{
	switch (e->kind) {
	case TRANSPORT_HEADER:
		transport_uring.place(t, 0, 0,
				      w->sink + (size_t)(p->announced++ % POOL) * w->bytes);
		break;
	case TRANSPORT_FRAME: p->received++; break;
	case TRANSPORT_SENT: p->sent++; break;
	case TRANSPORT_DOWN:
		errno = -e->error;
		/* The other side closes when it has everything, which is all we wanted, too. */
		if (p->sent < w->frames || p->received < w->frames)
			die("the path went down");
		break;
	}
}

static void run_transport(struct worker *w, const struct setting *setting, struct account *account)
{
	const struct transport_ops *ops = &transport_uring;
	struct transport_options options = setting->options;
	struct transport_event events[64];
	struct progress p = {0};
	struct transport *t;
	struct err err;

	options.lane_fd = -1;
	options.queue_frames = POOL / 2;
	if (ops->open(&t, &options, &err) < 0) {
		fprintf(stderr, "%s: %s\n", setting->name, err.text);
		exit(2);
	}
	ops->remember(t, w->source, (size_t)POOL * w->bytes);
	if (ops->attach(t, 0, 0, w->fd, 0) < 0)
		die("attach");
	while (p.sent < w->frames || p.received < w->frames) {
		size_t n;

		for (; p.queued < w->frames && p.queued - p.sent < POOL && ops->room(t, 0, 0);
		     p.queued++) {
			struct wire_frame frame = make_frame(p.queued, w->bytes);

			ops->send(t, 0, 0, &frame, w->source + (size_t)(p.queued % POOL) * w->bytes,
				  p.queued);
		}
		n = ops->poll(t, events, COUNT(events));
		for (size_t i = 0; i < n; i++)
			handle(w, t, &p, &events[i]);
		if (!n)
			ops->wait(t, CLOCK_NS_PER_S);
	}
	w->calls = ops->stats(t)->syscalls;
	account->notified = ops->stats(t)->zerocopy_sends;
	account->copied = ops->stats(t)->zerocopy_copied;
	ops->close(t);
}

/* --- one run -------------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void work(const struct setting *setting, uint32_t bytes, int fd, int start,
		 struct account *account)
{
	uint64_t frames = RUN_BYTES / bytes;
	struct worker w = {.fd = fd, .bytes = bytes};
	uint64_t begin_ns;
	double cpu_s;
	char go;

	(void)alarm(RUN_LIMIT_S);
	w.frames = (uint32_t)(frames < FRAMES_MAX ? frames : FRAMES_MAX);
	w.source = malloc((size_t)POOL * bytes);
	w.sink = malloc((size_t)POOL * bytes);
	if (!w.source || !w.sink)
		die("malloc");
	memset(w.source, 1, (size_t)POOL * bytes);
	memset(w.sink, 2, (size_t)POOL * bytes);
	(void)!read(start, &go, 1); /* the end of the pipe is the sign */
	begin_ns = clock_now_ns();
	cpu_s = cpu_seconds();
	if (setting->floor)
		run_floor(&w);
	else
		run_transport(&w, setting, account);
	account->seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
	account->cpu_s = cpu_seconds() - cpu_s;
	account->syscalls = w.calls;
	exit(memcmp(w.source, w.sink, bytes) ? 3 : 0);
}

static bool run(const struct setting *setting, uint32_t bytes, const int fds[2],
		struct account accounts[2])
{
	/* Long enough for both to have their memory ready. */
	const struct timespec ready = {.tv_nsec = 20 * (long)CLOCK_NS_PER_MS};
	pid_t pids[2];
	int start[2];
	bool good = true;

	memset(accounts, 0, 2 * sizeof(*accounts));
	if (pipe2(start, O_CLOEXEC) < 0)
		die("pipe");
	(void)fflush(NULL);
	for (int s = 0; s < 2; s++) {
		pids[s] = fork();
		if (pids[s] < 0)
			die("fork");
		if (pids[s])
			continue;
		(void)close(start[1]);
		(void)close(fds[1 - s]);
		work(setting, bytes, fds[s], start[0], &accounts[s]);
	}
	(void)close(start[0]);
	(void)nanosleep(&ready, NULL);
	(void)close(start[1]);
	(void)close(fds[0]);
	(void)close(fds[1]);
	for (int s = 0; s < 2; s++) {
		int status;

		if (waitpid(pids[s], &status, 0) < 0 || status)
			good = false;
	}
	return good;
}

/* --- connections ---------------------------------------------------------------------------- */

/* Where the two ends live; -1: where we are. */
struct medium {
	const char *name;
	const char *address;
	int namespaces[2];
};

static void enter(int namespace)
{
	if (namespace >= 0 && setns(namespace, CLONE_NEWNET) < 0)
		die("setns");
}

static void join(const struct medium *m, int home, int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t bytes = sizeof(address);
	int one = 1;
	int listener;

	(void)inet_pton(AF_INET, m->address, &address.sin_addr);
	enter(m->namespaces[0]);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, bytes) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes) < 0)
		die("listen");
	enter(m->namespaces[1]);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fds[1] < 0 || connect(fds[1], (struct sockaddr *)&address, bytes) < 0)
		die("connect");
	fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fds[0] < 0)
		die("accept");
	(void)close(listener);
	enter(home);
	for (int s = 0; s < 2; s++)
		(void)setsockopt(fds[s], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Run "ip ..." in a namespace. */
static void ip(int namespace, const char *arguments)
{
	char command[256];
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (!pid) {
		enter(namespace);
		(void)snprintf(command, sizeof(command), "exec ip %s", arguments);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		die("sh");
	}
	if (waitpid(pid, &status, 0) < 0 || status) {
		fprintf(stderr, "bench_transport: ip %s failed\n", arguments);
		exit(1);
	}
}

/* Two namespaces that only our descriptors keep alive, and the veth pair in them. */
static bool make_veth(struct medium *m, int home, unsigned mtu)
{
	char command[128];

	for (int s = 0; s < 2; s++) {
		if (unshare(CLONE_NEWNET) < 0) {
			printf("veth: skipped: namespaces need root (%s)\n", strerror(errno));
			return false;
		}
		m->namespaces[s] = open("/proc/self/ns/net", O_RDONLY);
		if (m->namespaces[s] < 0)
			die("/proc/self/ns/net");
	}
	enter(home);
	(void)snprintf(command, sizeof(command),
		       "link add left mtu %u type veth peer name right mtu %u netns /proc/%d/fd/%d",
		       mtu, mtu, (int)getpid(), m->namespaces[1]);
	ip(m->namespaces[0], command);
	ip(m->namespaces[0], "addr add 10.117.0.1/24 dev left");
	ip(m->namespaces[1], "addr add 10.117.0.2/24 dev right");
	ip(m->namespaces[0], "link set left up");
	ip(m->namespaces[1], "link set right up");
	return true;
}

/* --- the table ------------------------------------------------------------------------------ */

static int by_speed(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	return (x->gbs > y->gbs) - (x->gbs < y->gbs);
}

static struct result judge(const struct account a[2], uint32_t bytes)
{
	uint64_t each = RUN_BYTES / bytes < FRAMES_MAX ? RUN_BYTES / bytes : FRAMES_MAX;
	double frames = 2 * (double)each;
	double gb = frames * bytes / 1e9;
	uint64_t notified = a[0].notified + a[1].notified;

	return (struct result){
		.gbs = gb / (a[0].seconds > a[1].seconds ? a[0].seconds : a[1].seconds),
		.cpu_per_gb = (a[0].cpu_s + a[1].cpu_s) / gb,
		.calls = (double)(a[0].syscalls + a[1].syscalls) / (2 * frames),
		.copied = notified ? (double)(a[0].copied + a[1].copied) / (double)notified : -1,
	};
}

static void print_result(const struct medium *m, uint32_t bytes, const char *name,
			 struct result *results, int rounds)
{
	const struct result *r;

	qsort(results, (size_t)rounds, sizeof(*results), by_speed);
	r = &results[rounds / 2];
	printf("%-9s %6uK  %-17s %7.2f %11.3f %12.2f", m->name, bytes >> 10, name, r->gbs,
	       r->cpu_per_gb, r->calls);
	if (r->copied >= 0)
		printf("   %.0f %% of zero-copy sends were copied", 100 * r->copied);
	printf("\n");
}

static int measure(const struct medium *m, int home, uint32_t bytes, int rounds,
		   struct account *accounts)
{
	static struct result results[COUNT(settings)][ROUNDS_MAX];

	for (int round = 0; round < rounds; round++)
		for (size_t i = 0; i < COUNT(settings); i++) {
			int fds[2];

			join(m, home, fds);
			if (!run(&settings[i], bytes, fds, accounts)) {
				fprintf(stderr, "bench_transport: %s failed\n", settings[i].name);
				return 1;
			}
			results[i][round] = judge(accounts, bytes);
		}
	for (size_t i = 0; i < COUNT(settings); i++)
		print_result(m, bytes, settings[i].name, results[i], rounds);
	(void)fflush(stdout);
	return 0;
}

static int measure_all(struct medium *media, const char *only, int rounds, unsigned mtu)
{
	struct account *accounts = mmap(NULL, 2 * sizeof(*accounts), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int home = open("/proc/self/ns/net", O_RDONLY);

	if (accounts == MAP_FAILED || home < 0)
		die("set-up");
	printf("over        frame  setting              GB/s    CPU s/GB  calls/frame\n");
	for (int k = 0; k < 2; k++) {
		if (only && strcmp(only, media[k].name))
			continue;
		if (k == 1 && !make_veth(&media[k], home, mtu))
			continue;
		for (size_t i = 0; i < COUNT(sizes); i++)
			if (measure(&media[k], home, sizes[i], rounds, accounts))
				return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"only", required_argument, NULL, 'o'},
		{"mtu", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	struct medium media[2] = {
		{"loopback", "127.0.0.1", {-1, -1}},
		{"veth", "10.117.0.1", {-1, -1}},
	};
	const char *only = NULL;
	uint64_t rounds = 3, mtu = 1500;
	int c, bad = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r': bad |= number_count(optarg, 1, ROUNDS_MAX, &rounds); break;
		case 'o': only = optarg; break;
		case 'm': bad |= number_count(optarg, 576, 65535, &mtu); break;
		default: bad = 1;
		}
	}
	if (bad || optind != argc ||
	    (only && strcmp(only, "loopback") != 0 && strcmp(only, "veth") != 0)) {
		fprintf(stderr,
			"usage: bench_transport [--rounds 1..%d] [--only loopback|veth] "
			"[--mtu 576..65535]\n",
			ROUNDS_MAX);
		return 2;
	}
	return measure_all(media, only, (int)rounds, (unsigned)mtu);
}
