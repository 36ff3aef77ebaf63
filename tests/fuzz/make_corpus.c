/*
 * make_corpus.c - writes the seeds of the fuzzers of proto/, compress/ and verbs: every kind of
 * message once, valid, and the notable ways in which one is not.
 *
 *   make corpus
 *
 * Needed again only when a layout changes.  Seeds that a fuzzer found are kept beside them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "compress/codec.h"
#include "daemon/codec_spec.h"
#include "proto/ctl.h"
#include "proto/shm.h"
#include "proto/wire.h"
#include "tests/common/samples.h"

struct seed {
	size_t bytes;
	unsigned char data[4096];
};

static void add(struct seed *seed, const void *data, size_t bytes)
{
	if (seed->bytes + bytes > sizeof(seed->data))
		abort();
	memcpy(seed->data + seed->bytes, data, bytes);
	seed->bytes += bytes;
}

static void make_folder(const char *path)
{
	if (mkdir(path, 0777) < 0 && errno != EEXIST) {
		perror(path);
		exit(1);
	}
}

static void save(const char *root, const char *corpus, const char *name, const struct seed *seed)
{
	char path[512];
	FILE *file;

	make_folder(root);
	snprintf(path, sizeof(path), "%s/%s", root, corpus);
	make_folder(path);
	snprintf(path, sizeof(path), "%s/%s/%s", root, corpus, name);
	file = fopen(path, "wb");
	if (!file || fwrite(seed->data, 1, seed->bytes, file) != seed->bytes || fclose(file)) {
		perror(path);
		exit(1);
	}
}

static void save_wire(const char *root, const char *name, struct wire_frame *frame,
		      const struct sample_payload *payload)
{
	struct seed seed = {0};

	wire_seal(frame, NULL);
	add(&seed, frame, sizeof(*frame));
	add(&seed, payload->data, payload->bytes);
	save(root, "wire", name, &seed);
}

/* Every kind as a frame, and its payload alone behind a byte that names the kind. */
static void make_wire(const char *root)
{
	struct sample_payload payload;
	struct wire_frame frame;

	for (const uint16_t *kind = sample_wire_kinds; *kind; kind++) {
		struct seed message = {0};
		unsigned char byte = (unsigned char)*kind;

		sample_wire(*kind, &frame, &payload);
		save_wire(root, wire_kind_name(*kind), &frame, &payload);
		if (!payload.bytes || *kind == WIRE_CONTRIBUTION || *kind == WIRE_FINAL)
			continue;
		add(&message, &byte, 1);
		add(&message, payload.data, payload.bytes);
		save(root, "wire_messages", wire_kind_name(*kind), &message);
	}
	sample_wire(WIRE_CONTRIBUTION, &frame, &payload);
	frame.codec = 1;
	frame.payload_type = 0;
	save_wire(root, "contribution-codec", &frame, &payload);
	frame.count = 0;
	frame.chunk = 0;
	frame.payload_bytes = 0;
	payload.bytes = 0;
	save_wire(root, "contribution-empty", &frame, &payload);
	sample_wire(WIRE_FINAL, &frame, &payload);
	frame.flags = WIRE_FLAG_NONFINITE;
	frame.culprit = 7;
	save_wire(root, "final-nonfinite", &frame, &payload);
	frame.flags = 0;
	save_wire(root, "final-culprit", &frame, &payload);
	sample_wire(WIRE_FINAL, &frame, &payload);
	frame.payload_has_crc = 0;
	frame.payload_crc = 0;
	save_wire(root, "final-without-crc", &frame, &payload);
	frame.reserved1 = 1;
	save_wire(root, "final-reserved", &frame, &payload);
	frame.payload_bytes = UINT32_MAX;
	save_wire(root, "final-too-long", &frame, &payload);
	frame = (struct wire_frame){.kind = WIRE_CREDIT, .path_ack = 7};
	payload.bytes = 0;
	save_wire(root, "credit-ack-only", &frame, &payload);
}

/* Messages that differ from the samples in shape, not only in a field. */
static void make_messages(const char *root)
{
	struct wire_hello hello = {
		.instance = 1, .purpose = WIRE_CONTROL, .port = 7117, .address = "2001:db8::1"};
	struct {
		struct wire_table table;
		struct wire_node node;
		uint16_t rank;
	} small = {.table = {.group = 1,
			     .name = "g",
			     .epoch = 1,
			     .nodes = 1,
			     .ranks = 1,
			     .lanes = 1,
			     .chunk_bytes_max = WIRE_CHUNK_BYTES_LEAST,
			     .paths = 1},
		   .node = {.instance = 1, .port = 1, .address = "::"}};
	struct seed seed = {.bytes = 1, .data = {WIRE_HELLO}};

	add(&seed, &hello, sizeof(hello));
	save(root, "wire_messages", "hello-control", &seed);
	hello.purpose = WIRE_DATA;
	hello.port = 0;
	memset(hello.address, 0, sizeof(hello.address));
	seed.bytes = 1;
	add(&seed, &hello, sizeof(hello));
	save(root, "wire_messages", "hello-data-anonymous", &seed);
	seed = (struct seed){.bytes = 1, .data = {WIRE_TABLE}};
	add(&seed, &small, wire_table_bytes(1, 1));
	save(root, "wire_messages", "table-smallest", &seed);
	seed.data[1 + offsetof(struct wire_table, ranks)] = 255;
	save(root, "wire_messages", "table-wrong-count", &seed);
}

static void make_shm(const char *root)
{
	static const unsigned char script[] = {0xff, 0x80, 0x81, 0xff, 0xfe, 0x0b, 0x0a};
	static const char *const names[] = {"allreduce", "in-place", "overlap", "huge-count",
					    "abort"};
	struct shm_layout l;

	if (shm_layout(&l, 2, SAMPLE_ARENA) < 0)
		abort();
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct shm_submission s = sample_submission();
		const uint64_t header[] = {
			SHM_MAGIC | (uint64_t)SHM_VERSION << 32 | (uint64_t)l.lanes << 48,
			l.total_bytes, l.rings_offset, l.arena_offset, l.arena_bytes};
		unsigned char pad[64] = {0};
		uint64_t position = UINT64_MAX - 600;
		struct seed seed = {0};

		if (i == 1)
			s.out_offset = s.in_offset;
		else if (i == 2)
			s.out_offset = s.in_offset + 4;
		else if (i == 3)
			s.count = 1ull << 62;
		else if (i == 4)
			s = (struct shm_submission){.kind = SHM_ABORT, .group = 3};
		add(&seed, &s, sizeof(s));
		memcpy(pad, header, sizeof(header));
		add(&seed, pad, offsetof(struct shm_header, trainer_sleeps));
		add(&seed, &position, sizeof(position));
		add(&seed, script, sizeof(script));
		for (unsigned step = 0; step < 8; step++) {
			const uint64_t number = step * 523;
			const unsigned char what = (unsigned char)step;

			add(&seed, &what, 1);
			add(&seed, &number, sizeof(number));
		}
		save(root, "shm", names[i], &seed);
	}
}

static void make_ctl(const char *root)
{
	static const char *const names[] = {
		[CTL_ATTACH] = "attach",     [CTL_CREATE] = "create",   [CTL_DESTROY] = "destroy",
		[CTL_QUERY] = "query",       [CTL_OK] = "ok",           [CTL_ERROR] = "error",
		[CTL_ATTACHED] = "attached", [CTL_CREATED] = "created", [CTL_MORE] = "more",
	};
	static const uint16_t *const kinds[] = {sample_ctl_requests, sample_ctl_answers};
	struct sample_payload packet;
	struct seed seed;

	for (size_t i = 0; i < 2; i++) {
		for (const uint16_t *kind = kinds[i]; *kind; kind++) {
			sample_ctl(*kind, &packet);
			seed.bytes = 0;
			add(&seed, packet.data, packet.bytes);
			save(root, "ctl", names[*kind], &seed);
		}
	}
	sample_ctl(CTL_QUERY, &packet);
	seed.bytes = 0;
	add(&seed, packet.data, packet.bytes - 1);
	save(root, "ctl", "query-cut", &seed);
	seed.bytes = 7;
	save(root, "ctl", "header-cut", &seed);
}

/* Every codec's examples: a number of elements that no block divides, encoded. */
static void make_codec(const char *root)
{
	enum { COUNT = 203 };
	float in[COUNT];

	for (int i = 0; i < COUNT; i++)
		in[i] = (float)(i * 37 % 101 - 50) / (float)(1 + i % 7);
	for (const struct codec *const *c = codec_table; *c; c++) {
		for (size_t i = 0; (*c)->examples[i]; i++) {
			const unsigned char header[] = {(unsigned char)(*c)->id, (unsigned char)i,
							COUNT - 1, 0};
			struct codec_input input = {.in = in, .count = COUNT};
			struct codec_setting s;
			struct seed seed = {0};
			struct err err;
			char name[32];

			if (codec_parse(&s, (*c)->examples[i], &err) ||
			    codec_bound(&s, COUNT) > sizeof(seed.data) - sizeof(header))
				abort();
			input.work = aligned_alloc(64, codec_work_bytes(&s, COUNT) / 64 * 64 + 64);
			add(&seed, header, sizeof(header));
			seed.bytes += codec_encode(&s, codec_kernels_of(vec_variants[0]), &input,
						   seed.data + seed.bytes)
					      .bytes;
			free(input.work);
			(void)snprintf(name, sizeof(name), "%s-%zu", (*c)->name, i);
			save(root, "codec", name, &seed);
		}
	}
}

/* A greeting and a word: of RoCE, of InfiniBand, of one that cannot; and one with an escape. */
static void make_verbs_words(const char *root)
{
	static const char *const names[] = {"roce", "infiniband", "cannot", "escape"};
	struct verbs_greeting greetings[] = {sample_greeting(), sample_greeting(),
					     sample_greeting_cannot(), sample_greeting_cannot()};
	struct verbs_word words[] = {sample_word(), sample_word(), sample_word(), sample_word()};

	greetings[1].link = VERBS_INFINIBAND;
	greetings[1].lid = 7;
	greetings[3].why_not[3] = '\033';
	words[1].state = VERBS_JUDGE;
	words[2].good = 0;
	memcpy(words[2].why_not, "no", 3);
	words[3].why_not[0] = '\n';
	for (size_t i = 0; i < 4; i++) {
		struct seed seed = {0};

		add(&seed, &greetings[i], sizeof(greetings[i]));
		add(&seed, &words[i], sizeof(words[i]));
		save(root, "verbs_words", names[i], &seed);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make_corpus FOLDER\n");
		return 2;
	}
	make_wire(argv[1]);
	make_messages(argv[1]);
	make_shm(argv[1]);
	make_ctl(argv[1]);
	make_codec(argv[1]);
	make_verbs_words(argv[1]);
	return 0;
}
