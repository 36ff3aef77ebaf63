/*
 * test_client_launcher.c - who the environment says we are; host lists, sizes, root.
 * Wrapped: __wrap_getaddrinfo
 */
#include "libclient/launcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

#include "libclient/nodelist.h"
#include "libclient/root.h"

#define VARIABLES_MAX 10

struct launch {
	const char *what;
	const char *variables[VARIABLES_MAX]; /* "NAME=value" */
	struct carry_group_options o;
	const char *error; /* part of the sentence; NULL: success */
	uint32_t rank, ranks;
	const char *root;
	uint16_t port;
	const char *run;
};

#define LONG_ID "0123456789012345678901234567890123456789012345678901234567890123456789"

static const struct launch launches[] = {
	{"torchrun",
	 {"RANK=3", "WORLD_SIZE=8", "MASTER_ADDR=n0", "MASTER_PORT=29500",
	  "TORCHELASTIC_RUN_ID=j7"},
	 {0},
	 NULL,
	 3,
	 8,
	 "n0",
	 7117,
	 "j7"},
	{"torchrun without a run id",
	 {"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=::1", "MASTER_PORT=29500",
	  "TORCHELASTIC_RUN_ID=none"},
	 {0},
	 NULL,
	 0,
	 2,
	 "::1",
	 7117,
	 "port-29500"},
	{"srun",
	 {"SLURM_PROCID=5", "SLURM_NTASKS=16", "SLURM_STEP_NUM_TASKS=8", "SLURM_JOB_ID=99",
	  "SLURM_STEP_ID=0", "SLURM_JOB_NODELIST=gpu[007-009],x",
	  "SLURM_STEP_NODELIST=gpu[008-009]"},
	 {0},
	 NULL,
	 5,
	 8,
	 "gpu008",
	 7117,
	 "99.0"},
	{"sbatch",
	 {"SLURM_PROCID=0", "SLURM_NTASKS=1", "SLURM_JOB_ID=99", "SLURM_NODELIST=b1,b2"},
	 {0},
	 NULL,
	 0,
	 1,
	 "b1",
	 7117,
	 "99"},
	{"mpirun in a Slurm job",
	 {"OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4", "SLURM_PROCID=0", "SLURM_NTASKS=2",
	  "SLURM_NODELIST=n[1-2]", "SLURM_JOB_ID=5", "PMIX_NAMESPACE=prterun-n1-77@1"},
	 {0},
	 NULL,
	 2,
	 4,
	 "n1",
	 7117,
	 "prterun-n1-77@1"},
	{"mpirun on one host",
	 {"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_SIZE=4",
	  "OMPI_MCA_ess_base_jobid=1234"},
	 {0},
	 NULL,
	 1,
	 4,
	 "127.0.0.1",
	 7117,
	 "1234"},
	{"MPICH",
	 {"PMI_RANK=1", "PMI_SIZE=2", "CARRY_ROOT=h"},
	 {0},
	 NULL,
	 1,
	 2,
	 "h",
	 7117,
	 "default"},
	{"torchrun under srun",
	 {"RANK=9", "WORLD_SIZE=16", "SLURM_PROCID=1", "SLURM_NTASKS=2", "MASTER_ADDR=m"},
	 {0},
	 NULL,
	 9,
	 16,
	 "m",
	 7117,
	 "default"},
	{"Carry's own go first",
	 {"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=m", "CARRY_ROOT=c", "CARRY_PORT=9000",
	  "CARRY_RUN_ID=mine", "TORCHELASTIC_RUN_ID=theirs"},
	 {0},
	 NULL,
	 0,
	 2,
	 "c",
	 9000,
	 "mine"},
	{"options go before all",
	 {"RANK=0", "WORLD_SIZE=2", "CARRY_ROOT=c", "CARRY_PORT=9000", "CARRY_RUN_ID=mine"},
	 {.rank = 4, .ranks = 5, .root = "o", .root_port = 1, .run = "r"},
	 NULL,
	 4,
	 5,
	 "o",
	 1,
	 "r"},
	{"one rank needs no root", {NULL}, {.ranks = 1}, NULL, 0, 1, "127.0.0.1", 7117, "default"},
	{"empty variables are none",
	 {"RANK=", "PMI_RANK=0", "PMI_SIZE=1", "MASTER_ADDR=", "CARRY_PORT="},
	 {0},
	 NULL,
	 0,
	 1,
	 "127.0.0.1",
	 7117,
	 "default"},
	{"batch system",
	 {"PBS_JOBID=8.head"},
	 {.ranks = 1},
	 NULL,
	 0,
	 1,
	 "127.0.0.1",
	 7117,
	 "8.head"},
	{"long id is hashed",
	 {"PMIX_NAMESPACE=" LONG_ID},
	 {.ranks = 1},
	 NULL,
	 0,
	 1,
	 "127.0.0.1",
	 7117,
	 "0123456789012345678901234567890123456789012345-be3cee88845bf57a"},

	{"nothing", {NULL}, {0}, "RANK and WORLD_SIZE", 0, 0, NULL, 0, NULL},
	{"no size",
	 {"RANK=0"},
	 {0},
	 "RANK is set in the environment (torchrun), WORLD_SIZE is not",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"garbage",
	 {"RANK=1x", "WORLD_SIZE=2"},
	 {0},
	 "RANK=1x in the environment",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"negative", {"RANK=-1", "WORLD_SIZE=2"}, {0}, "RANK=-1", 0, 0, NULL, 0, NULL},
	{"too much",
	 {"RANK=1", "WORLD_SIZE=4294967296"},
	 {0},
	 "WORLD_SIZE=4294967296",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"not below",
	 {"PMI_RANK=2", "PMI_SIZE=2"},
	 {0},
	 "PMI_RANK=2 is not below PMI_SIZE=2",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"size 0",
	 {"PMI_RANK=0", "PMI_SIZE=0"},
	 {0},
	 "PMI_RANK=0 is not below PMI_SIZE=0",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"option not below",
	 {NULL},
	 {.rank = 2, .ranks = 2},
	 "rank 2 is not below",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"no root",
	 {"RANK=0", "WORLD_SIZE=2"},
	 {0},
	 "CARRY_ROOT or MASTER_ADDR",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"bad list",
	 {"SLURM_PROCID=0", "SLURM_NTASKS=2", "SLURM_NODELIST=n[1-"},
	 {0},
	 "SLURM_NODELIST=n[1- in the environment is no host list",
	 0,
	 0,
	 NULL,
	 0,
	 NULL},
	{"bad port", {"CARRY_PORT=65536"}, {.ranks = 1}, "CARRY_PORT=65536", 0, 0, NULL, 0, NULL},
	{"port 0", {"CARRY_PORT=0"}, {.ranks = 1}, "CARRY_PORT=0", 0, 0, NULL, 0, NULL},
	{"empty root", {NULL}, {.ranks = 2, .root = ""}, "is no host", 0, 0, NULL, 0, NULL},
};

static void clean_environment(void)
{
	static const char *const names[] = {
		"RANK",
		"WORLD_SIZE",
		"LOCAL_WORLD_SIZE",
		"MASTER_ADDR",
		"MASTER_PORT",
		"TORCHELASTIC_RUN_ID",
		"OMPI_COMM_WORLD_RANK",
		"OMPI_COMM_WORLD_SIZE",
		"OMPI_COMM_WORLD_LOCAL_SIZE",
		"OMPI_MCA_ess_base_jobid",
		"PMIX_NAMESPACE",
		"PMI_RANK",
		"PMI_SIZE",
		"MPI_LOCALNRANKS",
		"SLURM_PROCID",
		"SLURM_NTASKS",
		"SLURM_STEP_NUM_TASKS",
		"SLURM_JOB_ID",
		"SLURM_STEP_ID",
		"SLURM_NODELIST",
		"SLURM_JOB_NODELIST",
		"SLURM_STEP_NODELIST",
		"PBS_JOBID",
		"LSB_JOBID",
		"CARRY_ROOT",
		"CARRY_PORT",
		"CARRY_RUN_ID",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

static void test_launches(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(launches) / sizeof(launches[0]); i++) {
		const struct launch *t = &launches[i];
		struct launcher l;
		int r;

		clean_environment();
		for (int v = 0; v < VARIABLES_MAX && t->variables[v]; v++)
			putenv((char *)(uintptr_t)t->variables[v]);
		r = launcher_read(&l, NULL, &t->o);
		if (r < 0)
			printf("%s: %s\n", t->what, carry_last_error(NULL));
		if (t->error) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(carry_last_error(NULL), t->error));
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(l.rank, t->rank);
		assert_int_equal(l.ranks, t->ranks);
		assert_string_equal(l.root, t->root);
		assert_int_equal(l.root_port, t->port);
		assert_string_equal(l.run, t->run);
	}
	clean_environment();
}

static void test_long_texts(void **state)
{
	char text[300];
	struct carry_group_options o = {.ranks = 1, .run = text};
	struct launcher l;

	(void)state;
	clean_environment();
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	assert_int_equal(launcher_read(&l, NULL, &o), -ENAMETOOLONG);
	o.run = "r";
	o.root = text;
	assert_int_equal(launcher_read(&l, NULL, &o), -EINVAL);
}

static void test_nodelist(void **state)
{
	static const struct {
		const char *list, *first;
	} cases[] = {
		{"n1", "n1"},
		{"n1,n2", "n1"},
		{"n[1-4]", "n1"},
		{"n[3,5-9]", "n3"},
		{"node[001-128]", "node001"},
		{"rack[0-1]node[07,09-12],login", "rack0node07"},
		{"n[10]-ib,m", "n10-ib"},
		{"a.b-c_d", "a.b-c_d"},
		{"", NULL},
		{",n1", NULL},
		{"n[", NULL},
		{"n[]", NULL},
		{"n[1", NULL},
		{"n[1-]", NULL},
		{"n[-1]", NULL},
		{"n[1,]", NULL},
		{"n[a]", NULL},
		{"n]1", NULL},
		{"n 1", NULL},
		{"n[[1]]", NULL},
	};
	char first[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = nodelist_first(first, sizeof(first), cases[i].list);

		assert_int_equal(r, cases[i].first ? 0 : -EINVAL);
		if (r == 0)
			assert_string_equal(first, cases[i].first);
	}
	assert_int_equal(nodelist_first(first, 4, "abc"), 0);
	assert_int_equal(nodelist_first(first, 4, "abcd"), -EINVAL);
	assert_int_equal(nodelist_first(first, 4, "ab[12]"), -EINVAL);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
		int r;
	} cases[] = {
		{"0", 0, 0},
		{"4096", 4096, 0},
		{"1K", 1024, 0},
		{"64M", 64u << 20, 0},
		{"3G", UINT64_C(3) << 30, 0},
		{"17179869183G", UINT64_C(17179869183) << 30, 0},
		{"17179869184G", 0, -EINVAL},
		{"18446744073709551615", UINT64_MAX, 0},
		{"18446744073709551616", 0, -EINVAL},
		{"", 0, -EINVAL},
		{"M", 0, -EINVAL},
		{"1m", 0, -EINVAL},
		{"1MB", 0, -EINVAL},
		{"1 M", 0, -EINVAL},
		{"-1", 0, -EINVAL},
		{"1.5G", 0, -EINVAL},
		{"0000000000000000000000000", 0, -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;

		assert_int_equal(launcher_size(&bytes, cases[i].text), cases[i].r);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

/* What the resolver says; 0: what it really says. */
static int resolver_says;

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out)
{
	return resolver_says ? resolver_says : __real_getaddrinfo(host, service, hints, out);
}

static void test_root_without_address(void **state)
{
	static const struct {
		int says, code;
	} cases[] = {{EAI_AGAIN, -EHOSTUNREACH},
		     {EAI_NONAME, -EHOSTUNREACH},
		     {EAI_FAIL, -EHOSTUNREACH},
		     {EAI_MEMORY, -ENOMEM}};
	char address[64] = "as it was", text[160];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		resolver_says = cases[i].says;
		assert_int_equal(root_resolve(address, sizeof(address), NULL, "node0"),
				 cases[i].code);
		(void)snprintf(text, sizeof(text), "the root's host \"node0\" has no address: %s",
			       gai_strerror(cases[i].says));
		assert_string_equal(carry_last_error(NULL), text);
		assert_string_equal(address, "as it was");
	}
	resolver_says = 0;
}

static void test_root(void **state)
{
	char address[64];

	(void)state;
	assert_int_equal(root_resolve(address, sizeof(address), NULL, "192.0.2.7"), 0);
	assert_string_equal(address, "192.0.2.7");
	assert_int_equal(root_resolve(address, sizeof(address), NULL, "2001:db8::0:7"), 0);
	assert_string_equal(address, "2001:db8::7");
	assert_int_equal(root_resolve(address, sizeof(address), NULL, "localhost"), 0);
	assert_true(!strcmp(address, "127.0.0.1") || !strcmp(address, "::1"));
	assert_int_equal(root_resolve(address, sizeof(address), NULL, "no host"), -EHOSTUNREACH);
	assert_non_null(strstr(carry_last_error(NULL), "\"no host\" has no address"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_launches), cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_nodelist), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_root),     cmocka_unit_test(test_root_without_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
