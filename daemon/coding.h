/*
 * coding.h - how a tensor goes over the wire: a codec each way, and what is done about their error.
 *
 * What users write is one codec and one feedback ("int4", "ef14").  The codec is the one up, from
 * nodes to owners.  Down, from owners to everybody, goes the same one where nothing else would
 * carry its error or where the feedback does (none, twosided, ef21-bc), else an exact one: float32,
 * or, where the codec up leaves most elements zero, those that are not, with their places.
 *
 * Plain values; equal words give equal bytes, so that nodes agree if their digests do.
 */
#ifndef DAEMON_CODING_H
#define DAEMON_CODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compress/codec.h"
#include "compress/feedback.h"
#include "daemon/err.h"

struct coding {
	struct codec_setting up, down;
	struct feedback_setting feedback;
};

/*
 * coding_parse() - @codec, @feedback: specs; "" is none.
 * @chunk_bytes_max: of the slots; 0: not known yet
 * Return: 0; -EINVAL and *err names what is wrong.
 */
int coding_parse(struct coding *out, const char *codec, const char *feedback,
		 uint32_t chunk_bytes_max, struct err *err);

bool coding_same(const struct coding *a, const struct coding *b);
bool coding_plain(const struct coding *c); /* neither codec nor feedback                */
/* Feedback without a codec: what is carried goes out whole. */
bool coding_dense(const struct coding *c);

/* Does it keep every bit of the sum on the way down? */
bool coding_exact_down(const struct coding *c);

/* A number of all that ranks must agree on; 0: plain. */
uint32_t coding_digest(const struct coding *c);

/* Chunks are cut at multiples of it: elements, a power of two. */
uint32_t coding_block(const struct coding *c);

/* Memory to encode and decode in, whatever the codec: topk sorts numbers of all elements. */
static inline size_t coding_work_bytes(uint32_t chunk_bytes_max)
{
	return 5 * (size_t)chunk_bytes_max + 65536;
}

/* Do messages of chunks of `count` elements, sums and what is computed in fit? */
bool coding_fits(const struct coding *c, uint64_t count, uint32_t chunk_bytes_max);

#endif
