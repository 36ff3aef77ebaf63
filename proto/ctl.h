/*
 * ctl.h - what goes over the daemon's Unix socket (SOCK_SEQPACKET).
 *
 * One packet is one message: struct ctl_header, then `bytes` of body.  A client
 * sends a request and gets exactly one answer with the same `id`; answers may come
 * out of order.  Trainers first send CTL_ATTACH and stay connected: the connection
 * is their life line.  carryctl sends CTL_QUERY and reads CTL_MORE... CTL_OK.
 *
 * Both sides check: the daemon requests with ctl_request_check(), the client
 * answers with ctl_answer_check().
 */
#ifndef PROTO_CTL_H
#define PROTO_CTL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_MAGIC 0x4c544343u /* "CCTL" */
#define CTL_VERSION 1
#define CTL_NAME_BYTES 64
#define CTL_TEXT_BYTES 384
#define CTL_PACKET_BYTES_MAX 32768u
#define CTL_FDS_MAX 18 /* arena, the wake-up socket, a doorbell per lane */

enum ctl_kind {
	/* requests */
	CTL_ATTACH = 1,  /* body: struct ctl_attach; answer CTL_ATTACHED with descriptors */
	CTL_CREATE = 2,  /* body: struct ctl_create; answer CTL_CREATED, after everybody came */
	CTL_DESTROY = 3, /* body: struct ctl_destroy; answer CTL_OK */
	CTL_QUERY = 4,   /* body: struct ctl_query; answers CTL_MORE*, CTL_OK: JSON in parts */
	CTL_TENSOR = 5,  /* body: struct ctl_tensor; answer CTL_NUMBER, for submissions */
	/* answers */
	CTL_OK = 32,
	CTL_ERROR = 33,    /* body: struct ctl_error */
	CTL_ATTACHED = 34, /* body: struct ctl_attached */
	CTL_CREATED = 35,  /* body: struct ctl_created */
	CTL_MORE = 36,     /* body: the next part of a long answer */
	CTL_NUMBER = 37,   /* body: struct ctl_number */
};

struct ctl_header {
	uint32_t magic;   /* CTL_MAGIC */
	uint16_t version; /* CTL_VERSION */
	uint16_t kind;    /* enum ctl_kind */
	uint32_t id;      /* the requester's, returned */
	uint32_t bytes;   /* of body */
};
static_assert(sizeof(struct ctl_header) == 16, "no padding");

struct ctl_attach {
	uint64_t arena_bytes;      /* wanted; 0: the daemon's default */
	char name[CTL_NAME_BYTES]; /* of the program, for messages */
};
static_assert(sizeof(struct ctl_attach) == 8 + CTL_NAME_BYTES, "no padding");

/*
 * Descriptors in order: memfd, the trainer's end of its wake-up socket (AF_UNIX, SOCK_DGRAM;
 * a datagram of any length is a wake-up), then the trainer's doorbell (an eventfd) of each lane.
 */
struct ctl_attached {
	uint64_t total_bytes; /* of the memfd; shm_header says the rest */
	uint32_t lanes;
	uint32_t client;              /* the daemon's number for this trainer */
	char version[CTL_NAME_BYTES]; /* of the daemon */
};
static_assert(sizeof(struct ctl_attached) == 16 + CTL_NAME_BYTES, "no padding");

struct ctl_create {
	char name[CTL_NAME_BYTES];
	char run[CTL_NAME_BYTES];
	char root[CTL_NAME_BYTES]; /* numeric address of rank 0's node; may have %scope */
	uint16_t root_port;
	uint16_t schedule; /* 0: automatic */
	uint32_t rank;
	uint32_t ranks;
	uint32_t timeout_ms;  /* 1.. */
	uint32_t reserved[2]; /* zero */
};
static_assert(sizeof(struct ctl_create) == 3 * CTL_NAME_BYTES + 24, "no padding");

struct ctl_created {
	uint64_t group;  /* id on the wire, for logs */
	uint32_t handle; /* for submissions, < SHM_GROUPS_MAX */
	uint32_t nodes;
	uint32_t node;  /* of the caller */
	uint32_t lanes; /* agreed: submit to lanes 0..lanes-1 only */
};
static_assert(sizeof(struct ctl_created) == 24, "no padding");

struct ctl_destroy {
	uint32_t handle;
	uint32_t reserved; /* zero */
};
static_assert(sizeof(struct ctl_destroy) == 8, "no padding");

#define CTL_KEY_BYTES 256
#define CTL_SPEC_BYTES 128
#define CTL_NO_GROUP UINT32_MAX

/* How tensors are to be sent: coding of submissions.  The same words give the same number. */
struct ctl_tensor {
	uint64_t key;        /* hash of key_name; 0 without one */
	uint64_t count;      /* elements; 0 without a key */
	uint32_t handle;     /* of the group; CTL_NO_GROUP: only judge the words */
	uint8_t type;        /* enum shm_type; 0 without a key */
	uint8_t reserved[3]; /* zero */
	char key_name[CTL_KEY_BYTES];
	char codec[CTL_SPEC_BYTES]; /* "int4:block=64"; "": none */
	char feedback[CTL_SPEC_BYTES];
};
static_assert(sizeof(struct ctl_tensor) == 24 + CTL_KEY_BYTES + 2 * CTL_SPEC_BYTES, "no padding");

struct ctl_number {
	uint32_t number; /* < UINT16_MAX; 0 for CTL_NO_GROUP */
	uint32_t plain;  /* 1: neither codec nor feedback: submit without coding */
};
static_assert(sizeof(struct ctl_number) == 8, "no padding");

struct ctl_query {
	char what[CTL_NAME_BYTES]; /* "status", "groups", "config"... */
};
static_assert(sizeof(struct ctl_query) == CTL_NAME_BYTES, "no padding");

struct ctl_error {
	int32_t error; /* negative errno */
	uint32_t reserved;
	char text[CTL_TEXT_BYTES];
};
static_assert(sizeof(struct ctl_error) == 8 + CTL_TEXT_BYTES, "no padding");

enum ctl_verdict {
	CTL_GOOD = 0,
	CTL_TOO_SHORT,
	CTL_BAD_MAGIC,
	CTL_BAD_VERSION,
	CTL_BAD_KIND,
	CTL_BAD_LENGTH,
	CTL_BAD_FIELD,
};
const char *ctl_verdict_name(enum ctl_verdict verdict);

/*
 * ctl_request_check(), ctl_answer_check() - is this packet well formed?
 * @packet: `bytes` bytes as received, aligned to 8, hostile.
 * Return: CTL_GOOD: header and body may be used: lengths fit the kind, texts are
 * terminated, counts in range (1 <= ranks, rank < ranks), reserved fields zero.
 */
enum ctl_verdict ctl_request_check(const void *packet, size_t bytes);
enum ctl_verdict ctl_answer_check(const void *packet, size_t bytes);

/*
 * ctl_send(), ctl_receive() - one packet over a SEQPACKET socket, with descriptors.
 * @fds: up to CTL_FDS_MAX.  To ctl_receive() always room for CTL_FDS_MAX, or NULL to
 * close whatever comes; it sets *nfds (0 on errors; NULL is allowed with fds NULL).
 * They never raise SIGPIPE; received descriptors are close-on-exec.
 * Return: bytes, 0 at end of file (receive), or negative errno (-EAGAIN on a
 * non-blocking socket, -EMSGSIZE if the packet was longer than `bytes`).
 */
long ctl_send(int fd, const struct ctl_header *header, const void *body, const int *fds,
	      size_t nfds);
long ctl_receive(int fd, void *packet, size_t bytes, int *fds, size_t *nfds);

#endif
