/*
 * peer_openmpi.c - Open MPI's allreduce for comparison; mpirun starts one process per rank.
 */
#include <mpi.h>
#include <stdio.h>

#include "tests/bench/peer_common.h"

struct openmpi {
	float *in, *out;
	int count;
};

static int failed(int code)
{
	char text[MPI_MAX_ERROR_STRING];
	int length;

	if (code == MPI_SUCCESS)
		return 0;
	MPI_Error_string(code, text, &length);
	fprintf(stderr, "openmpi: %.*s\n", length, text);
	return -1;
}

static int prepare(void *self, float *in, float *out, size_t count)
{
	struct openmpi *m = self;

	*m = (struct openmpi){.in = in, .out = out, .count = (int)count};
	return 0;
}

static int sum(void *self, bool in_place)
{
	struct openmpi *m = self;

	return failed(MPI_Allreduce(in_place ? MPI_IN_PLACE : m->in, m->out, m->count, MPI_FLOAT,
				    MPI_SUM, MPI_COMM_WORLD));
}

static int combine(void *self, double *values, size_t count)
{
	(void)self;
	return failed(MPI_Allreduce(MPI_IN_PLACE, values, (int)count, MPI_DOUBLE, MPI_SUM,
				    MPI_COMM_WORLD));
}

int main(int argc, char **argv)
{
	struct openmpi m = {0};
	struct peer_system s = {
		.name = "openmpi",
		.self = &m,
		.prepare = prepare,
		.sum = sum,
		.combine = combine,
	};
	struct peer_options o;
	int rank, ranks, code;

	if (failed(MPI_Init(&argc, &argv)))
		return 1;
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	s.rank = (uint32_t)rank;
	s.ranks = (uint32_t)ranks;
	code = peer_options_parse(&o, argc, argv) ? peer_run(&s, &o) : 2;
	if (code)
		MPI_Abort(MPI_COMM_WORLD, code);
	MPI_Finalize();
	return 0;
}
