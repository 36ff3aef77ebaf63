/*
 * preload_mlx5.c - a libmlx5 that is not one, for test_verbs_udp: remembers the ports that it was
 * told, and refuses where it is asked to.
 */
#include <stdint.h>

struct ibv_qp;

/* What the test reads and sets. */
struct fake_mlx5 {
	int refuse; /* errno */
	uint32_t count;
	struct ibv_qp *qp;
	uint16_t port;
};

struct fake_mlx5 fake_mlx5;
int mlx5dv_modify_qp_udp_sport(struct ibv_qp *qp, uint16_t port);

int mlx5dv_modify_qp_udp_sport(struct ibv_qp *qp, uint16_t port)
{
	fake_mlx5.count++;
	fake_mlx5.qp = qp;
	fake_mlx5.port = port;
	return fake_mlx5.refuse;
}
