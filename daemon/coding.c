/* coding.c - see coding.h. */
#include "daemon/coding.h"

#include <errno.h>
#include <string.h>

#include "compress/codec_topk.h"
#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"
#include "proto/crc32c.h"

/*
 * Exact where most is zero: topk with the least of all thresholds keeps whatever is not zero.  The
 * threshold is the caller's to give.
 */
static const struct codec_setting nonzeros = {
	.id = CODEC_TOPK,
	.mode = TOPK_THRESHOLD,
	.scope = TOPK_TENSOR,
	.density = 1,
};

enum { CODING_TRIAL = 1 << 15 }; /* elements: a usual chunk, for bounds that depend on it */

static const struct coding plain;

bool coding_same(const struct coding *a, const struct coding *b)
{
	/* By bytes: settings have one form for each meaning. */
	return memcmp((const unsigned char *)a, (const unsigned char *)b, sizeof(*a)) == 0;
}

bool coding_plain(const struct coding *c)
{
	return coding_same(c, &plain);
}

bool coding_dense(const struct coding *c)
{
	return c->up.id == CODEC_NONE && c->feedback.id != FEEDBACK_NONE;
}

bool coding_exact_down(const struct coding *c)
{
	return c->feedback.id != FEEDBACK_NONE && !feedback_by_id(c->feedback.id)->lossy_down;
}

/* Does it send few elements, so that the sum of what few nodes sent has few, too? */
static bool sparse(const struct codec_setting *s)
{
	return s->id == CODEC_TOPK || s->id == CODEC_RANDK;
}

uint32_t coding_digest(const struct coding *c)
{
	uint32_t digest = crc32c(0, c, sizeof(*c));

	if (coding_plain(c))
		return 0;
	return digest ? digest : 1;
}

uint32_t coding_block(const struct coding *c)
{
	uint32_t block = c->up.block > c->down.block ? c->up.block : c->down.block;

	return block > FEEDBACK_BLOCK ? block : FEEDBACK_BLOCK;
}

bool coding_fits(const struct coding *c, uint64_t count, uint32_t chunk_bytes_max)
{
	return count <= CODEC_COUNT_MAX && count * sizeof(float) <= chunk_bytes_max &&
	       codec_bound(&c->up, count) <= chunk_bytes_max &&
	       codec_bound(&c->down, count) <= chunk_bytes_max &&
	       feedback_work_bytes(&c->feedback, &c->up, &c->down, count) <=
		       coding_work_bytes(chunk_bytes_max);
}

int coding_parse(struct coding *out, const char *codec, const char *feedback,
		 uint32_t chunk_bytes_max, struct err *err)
{
	const struct feedback *algorithm;
	const char *refused;
	int ret;

	*out = plain;
	ret = codec_parse(&out->up, *codec ? codec : "none", err);
	if (!ret)
		ret = feedback_parse(&out->feedback, *feedback ? feedback : "none", err);
	if (ret)
		return ret;
	algorithm = feedback_by_id(out->feedback.id);
	if (out->feedback.id == FEEDBACK_NONE || algorithm->lossy_down)
		out->down = out->up;
	refused = feedback_refuse(&out->feedback, &out->up, &out->down, CODING_TRIAL);
	if (refused)
		return err_set(err, -EINVAL, "feedback %s with codec %s: %s", algorithm->name,
			       codec_by_id(out->up.id)->name, refused);
	if (coding_exact_down(out) && sparse(&out->up))
		out->down = nonzeros;
	if (chunk_bytes_max && !coding_fits(out, coding_block(out), chunk_bytes_max))
		return err_set(err, -EINVAL,
			       "codec %s: blocks of %u elements do not fit into the slots of %u "
			       "bytes of this group ([limits] inflight_bytes sizes them)",
			       codec_by_id(out->up.id)->name, coding_block(out), chunk_bytes_max);
	return 0;
}
