/* launcher.c - see launcher.h. */
#include "libclient/launcher.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/nodelist.h"
#include "libclient/sentence.h"

#define RUN_BYTES_MAX 63

/* The first whose rank is set is it.  Slurm is last: its variables are also there under the
 * launchers that run inside of its jobs. */
struct convention {
	const char *name;
	const char *rank;
	const char *ranks[2]; /* the first that is set */
	const char *local;    /* ranks on this host    */
};

static const struct convention conventions[] = {
	{"torchrun", "RANK", {"WORLD_SIZE"}, "LOCAL_WORLD_SIZE"},
	{"Open MPI",
	 "OMPI_COMM_WORLD_RANK",
	 {"OMPI_COMM_WORLD_SIZE"},
	 "OMPI_COMM_WORLD_LOCAL_SIZE"},
	{"PMI", "PMI_RANK", {"PMI_SIZE"}, "MPI_LOCALNRANKS"},
	{"Slurm", "SLURM_PROCID", {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, NULL},
};

/* An empty variable counts as none. */
static const char *variable(const char *name)
{
	const char *value = name ? getenv(name) : NULL;

	return value && *value ? value : NULL;
}

int launcher_number(uint64_t *value, const char *text, uint64_t max)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (const char *t = text; *t; t++) {
		if (*t < '0' || *t > '9')
			return -EINVAL;
		if (n > (max - (uint64_t)(*t - '0')) / 10)
			return -EINVAL;
		n = n * 10 + (uint64_t)(*t - '0');
	}
	*value = n;
	return 0;
}

int launcher_size(uint64_t *bytes, const char *text)
{
	static const char units[] = "KMG";
	char digits[24];
	size_t length = strlen(text);
	const char *unit = length ? strchr(units, text[length - 1]) : NULL;
	uint64_t n;
	unsigned int shift = unit ? 10 * (unsigned int)(unit - units + 1) : 0;

	if (unit)
		length--;
	if (length == 0 || length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length);
	digits[length] = 0;
	if (launcher_number(&n, digits, UINT64_MAX >> shift) < 0)
		return -EINVAL;
	*bytes = n << shift;
	return 0;
}

static int number_variable(uint32_t *value, const struct carry *c, const char *name, uint32_t max)
{
	uint64_t n;

	if (launcher_number(&n, variable(name), max) < 0)
		return sentence_set(c, -EINVAL,
				    "%s=%s in the environment is not a number from 0 to %" PRIu32,
				    name, variable(name), max);
	*value = (uint32_t)n;
	return 0;
}

/* Rank and size by a convention; its rank variable is set. */
static int read_convention(struct launcher *l, const struct carry *c, const struct convention *v)
{
	const char *ranks = variable(v->ranks[0]) ? v->ranks[0] : v->ranks[1];

	if (!variable(ranks))
		return sentence_set(c, -EINVAL, "%s is set in the environment (%s), %s is not",
				    v->rank, v->name, v->ranks[0]);
	if (number_variable(&l->rank, c, v->rank, UINT32_MAX) < 0 ||
	    number_variable(&l->ranks, c, ranks, UINT32_MAX) < 0)
		return -EINVAL;
	if (l->ranks == 0 || l->rank >= l->ranks)
		return sentence_set(c, -EINVAL, "%s=%" PRIu32 " is not below %s=%" PRIu32, v->rank,
				    l->rank, ranks, l->ranks);
	return 0;
}

static const struct convention *find_convention(void)
{
	for (size_t i = 0; i < sizeof(conventions) / sizeof(conventions[0]); i++)
		if (variable(conventions[i].rank))
			return &conventions[i];
	return NULL;
}

static int read_rank(struct launcher *l, const struct carry *c, const struct convention *v,
		     const struct carry_group_options *o)
{
	if (o->ranks > 0) {
		if (o->rank >= o->ranks)
			return sentence_set(c, -EINVAL,
					    "rank %" PRIu32 " is not below the number of ranks, "
					    "%" PRIu32,
					    o->rank, o->ranks);
		l->rank = o->rank;
		l->ranks = o->ranks;
		return 0;
	}
	if (!v)
		return sentence_set(c, -EINVAL,
				    "no rank: set rank and ranks, or RANK and WORLD_SIZE in the "
				    "environment, or use a launcher (torchrun, mpirun, srun)");
	return read_convention(l, c, v);
}

/* Are all ranks on this host? */
static bool all_local(const struct launcher *l, const struct convention *v)
{
	uint64_t local;

	if (l->ranks == 1)
		return true;
	return v && variable(v->local) &&
	       launcher_number(&local, variable(v->local), UINT32_MAX) == 0 && local == l->ranks;
}

static int read_root(struct launcher *l, const struct carry *c, const struct convention *v,
		     const struct carry_group_options *o)
{
	static const char *const lists[] = {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST",
					    "SLURM_NODELIST"};
	const char *root = o->root;

	if (!root)
		root = variable("CARRY_ROOT");
	if (!root)
		root = variable("MASTER_ADDR");
	if (root) {
		if (!*root || strlen(root) >= sizeof(l->root))
			return sentence_set(c, -EINVAL, "the root \"%s\" is no host", root);
		memcpy(l->root, root, strlen(root) + 1);
		return 0;
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (!variable(lists[i]))
			continue;
		if (nodelist_first(l->root, sizeof(l->root), variable(lists[i])) < 0)
			return sentence_set(c, -EINVAL, "%s=%s in the environment is no host list",
					    lists[i], variable(lists[i]));
		return 0;
	}
	if (!all_local(l, v))
		return sentence_set(c, -EINVAL,
				    "no root: set root, or CARRY_ROOT or MASTER_ADDR in the "
				    "environment, to the host of rank 0");
	memcpy(l->root, "127.0.0.1", sizeof("127.0.0.1"));
	return 0;
}

static int read_port(struct launcher *l, const struct carry *c, const struct carry_group_options *o)
{
	uint32_t port = LAUNCHER_PORT;

	if (o->root_port)
		port = o->root_port;
	else if (variable("CARRY_PORT") && number_variable(&port, c, "CARRY_PORT", UINT16_MAX) < 0)
		return -EINVAL;
	if (port == 0)
		return sentence_set(c, -EINVAL, "CARRY_PORT=0 in the environment is no port");
	l->root_port = (uint16_t)port;
	return 0;
}

/* A launcher's id that is too long keeps its beginning and gets a hash for the rest. */
static void shorten(char *run)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	size_t keep = RUN_BYTES_MAX - 17;

	if (strlen(run) <= RUN_BYTES_MAX)
		return;
	for (const unsigned char *t = (const unsigned char *)run; *t; t++)
		hash = (hash ^ *t) * UINT64_C(0x100000001b3);
	snprintf(run + keep, 18, "-%016" PRIx64, hash);
}

static int read_run(struct launcher *l, const struct carry *c, const struct carry_group_options *o)
{
	static const char *const ids[] = {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"};
	static const char *const batch[] = {"PBS_JOBID", "LSB_JOBID"};
	const char *run = o->run ? o->run : variable("CARRY_RUN_ID");
	const char *torch = variable("TORCHELASTIC_RUN_ID");
	const char *step = variable("SLURM_STEP_ID");

	if (run) {
		if (strlen(run) >= sizeof(l->run))
			return sentence_set(c, -ENAMETOOLONG, "the run id is longer than %d bytes",
					    RUN_BYTES_MAX);
		memcpy(l->run, run, strlen(run) + 1);
		return 0;
	}
	if (torch && strcmp(torch, "none") != 0)
		run = torch;
	for (size_t i = 0; !run && i < sizeof(ids) / sizeof(ids[0]); i++)
		run = variable(ids[i]);
	if (!run && variable("SLURM_JOB_ID")) {
		snprintf(l->run, sizeof(l->run), "%s%s%s", variable("SLURM_JOB_ID"),
			 step ? "." : "", step ? step : "");
		shorten(l->run);
		return 0;
	}
	for (size_t i = 0; !run && i < sizeof(batch) / sizeof(batch[0]); i++)
		run = variable(batch[i]);
	if (!run && variable("MASTER_PORT"))
		snprintf(l->run, sizeof(l->run), "port-%s", variable("MASTER_PORT"));
	else
		snprintf(l->run, sizeof(l->run), "%s", run ? run : "default");
	shorten(l->run);
	return 0;
}

int launcher_read(struct launcher *l, const struct carry *c, const struct carry_group_options *o)
{
	const struct convention *v = o->ranks > 0 ? NULL : find_convention();

	if (read_rank(l, c, v, o) < 0 || read_root(l, c, v, o) < 0 || read_port(l, c, o) < 0)
		return -EINVAL;
	return read_run(l, c, o);
}
