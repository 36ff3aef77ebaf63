/*
 * exchange_code.c - chunks that go through a codec, with error feedback; see exchange.h.
 *
 * Local ranks are summed as float32; that is the node's input.  It is encoded once, into the
 * buffer that is sent, and sent again from there; the owner's own part is encoded just before it
 * is added.  Contributions are decoded and added in node order.  Everybody, the owner too, decodes
 * the final's bytes, so all have the same bits.
 *
 * A NaN or an infinity in what is to be encoded: the message is plain float32, flagged, NaN where
 * the number was not finite; so is then the final.  Every node sees every final of the op, and so
 * all find alike that the op changes no state.
 *
 * Draws: a key of the op and the node for contributions, one of the op alone for finals and for
 * what all must draw alike; the element's index does the rest.  So nothing depends on the order of
 * chunks, on lanes, who owns a chunk, or whether it is encoded again.
 */
#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "daemon/exchange_state.h"

enum {
	AWAY_BYTES = 4 << 20,             /* state of that size does not stay in a cache anyway */
	DRAWS_OF_FINALS = WIRE_NODES_MAX, /* in the place of a node */
};

static const struct codec_setting exact;

/* --- what both ends must know alike --------------------------------------------------------- */

static struct random_key draws(const struct op *op, uint32_t who)
{
	return random_key(0, op->seq, op->call.key, who);
}

/* A dense op's are exact whatever its coding says. */
static const struct codec_setting *chosen_codec(const struct op *op, enum tensor_way way)
{
	const struct coding *coding = &op->tensor->coding;

	if (op->turn.dense)
		return &exact;
	return way == TENSOR_UP ? &coding->up : &coding->down;
}

static struct feedback_op code_op(const struct exchange *x, const struct op *op, uint32_t chunk)
{
	const struct coding *coding = &op->tensor->coding;
	bool average = op->call.reduce == VEC_AVG;

	return (struct feedback_op){
		.setting = &coding->feedback,
		.up = chosen_codec(op, TENSOR_UP),
		.down = chosen_codec(op, TENSOR_DOWN),
		.kernels = codec_kernels_of(x->plan.vec),
		.count = op_elements(op, chunk),
		.first = op_offset(op, chunk),
		.step = op->turn.step,
		.divisor = average ? x->plan.ranks : 1,
		.scale = op->call.scale,
		.dense = op->turn.dense,
		.away = op->call.count * sizeof(float) >= AWAY_BYTES,
		.shared_key = draws(op, RANDOM_SHARED),
		.work = x->work,
	};
}

static struct feedback_state code_state(const struct op *op, uint32_t chunk)
{
	struct tensor_op tensor_op = exchange_tensor_op(op);
	struct feedback_state state = {0};

	if (op->entered)
		tensor_slices(&tensor_op, &op->turn, op_offset(op, chunk), &state);
	return state;
}

static float code_threshold(const struct op *op, enum tensor_way way, uint32_t chunk)
{
	struct tensor_op tensor_op = exchange_tensor_op(op);

	if (way == TENSOR_DOWN && coding_exact_down(&op->tensor->coding))
		return FLT_TRUE_MIN; /* whatever is not zero */
	return op->entered ? tensor_threshold(&tensor_op, &op->turn, way, chunk) : 0;
}

static void keep_threshold(const struct op *op, enum tensor_way way, uint32_t chunk,
			   float threshold)
{
	struct tensor_op tensor_op = exchange_tensor_op(op);

	if (op->entered)
		tensor_keep_threshold(&tensor_op, &op->turn, way, chunk, threshold);
}

static bool flagged(uint8_t flags)
{
	return flags & WIRE_FLAG_NONFINITE;
}

/* The codec of a message, up or down. */
static const struct codec_setting *codec_of(const struct codec_setting *chosen, uint8_t flags)
{
	return flagged(flags) ? &exact : chosen;
}

/* Of a rank, on average, as it is computed with. */
static float weight_of(const struct wire_frame *f)
{
	double weight;

	memcpy(&weight, &f->weight, sizeof(weight));
	weight /= f->contributors;
	return weight >= (double)FLT_MIN && weight <= (double)FLT_MAX ? (float)weight : 0;
}

bool exchange_coded_fits(const struct exchange *x, const struct op *op, const struct wire_frame *f)
{
	const struct coding *coding = &op->tensor->coding;
	uint64_t count = op_elements(op, f->chunk);
	const struct codec_setting *chosen =
		chosen_codec(op, f->kind == WIRE_FINAL ? TENSOR_DOWN : TENSOR_UP);
	/* Nothing is encoded as nothing. */
	const struct codec_setting *codec = count ? codec_of(chosen, f->flags) : &exact;

	if (f->codec != codec->id || f->feedback != coding->feedback.id || !(weight_of(f) > 0) ||
	    f->culprit > x->plan.ranks)
		return false;
	if (codec->id == CODEC_NONE)
		return f->payload_type == VEC_F32 && f->payload_bytes == count * sizeof(float);
	return f->payload_bytes >= 1 && f->payload_bytes <= codec_bound(codec, count);
}

static struct exchange_message message(const struct op *op, const struct codec_setting *codec,
				       size_t bytes, double weight)
{
	return (struct exchange_message){
		.bytes = (uint32_t)bytes,
		.codec = codec->id,
		.feedback = op->tensor->coding.feedback.id,
		.payload_type = codec->id == CODEC_NONE ? VEC_F32 : 0,
		.weight = weight,
	};
}

/* --- what is not finite ----------------------------------------------------------------------- */

/* One NaN for all: which one comes out of a sum of two depends on the processor. */
static void mark_nonfinite(unsigned char *bytes, uint64_t count)
{
	float *values = (float *)(void *)bytes;

	for (uint64_t i = 0; i < count; i++)
		if (!isfinite(values[i]))
			values[i] = NAN;
}

static bool chunk_nonfinite(const struct exchange *x, struct op *op, uint32_t chunk, uint32_t rank)
{
	enum vec_type type = (enum vec_type)op->call.type;
	uint64_t count = op_elements(op, chunk);
	const unsigned char *in = (const unsigned char *)op->ranks[rank].in +
				  op_offset(op, chunk) * vec_type_bytes(type);
	struct vec_input input = {in, type};

	vec_combine(x->plan.vec, type, VEC_SUM, &input, 1, 0, x->values, VEC_F32, count);
	for (uint64_t i = 0; i < count; i++)
		if (!isfinite(x->values[i]))
			return true;
	return false;
}

/* 1 + the rank whose input it is; 0: nobody's, but of their sum or of what was carried. */
static uint16_t find_culprit(const struct exchange *x, struct op *op, uint32_t chunk)
{
	for (uint32_t r = 0; r < x->plan.local_ranks; r++)
		if (chunk_nonfinite(x, op, chunk, r))
			return (uint16_t)(x->plan.local_rank[r] + 1);
	return 0;
}

/* Of several culprits the lowest rank, so that all nodes name the same one. */
static uint16_t lowest(uint16_t a, uint16_t b)
{
	return a && (!b || a < b) ? a : b;
}

/* --- contributions ---------------------------------------------------------------------------- */

struct exchange_message exchange_encode_own(struct exchange *x, struct op *op, uint32_t chunk,
					    unsigned char *out)
{
	struct feedback_op code = code_op(x, op, chunk);
	struct feedback_state state = code_state(op, chunk);
	struct feedback_input input = {
		.in = exchange_own_floats(x, op, chunk),
		.weight = op->weight,
		.last_weight = op->turn.last_weight > 0 ? op->turn.last_weight : op->weight,
		.key = draws(op, x->plan.node),
		.threshold = code_threshold(op, TENSOR_UP, chunk),
	};
	double total = (double)op->weight * x->plan.local_ranks;
	struct codec_result encoded;
	struct exchange_message m;

	if (!code.count) /* the empty tensor */
		return message(op, &exact, 0, total);
	encoded = feedback_contribution(&code, &state, &input, out);
	if (!encoded.nonfinite) {
		keep_threshold(op, TENSOR_UP, chunk, encoded.threshold);
		return message(op, code.up, encoded.bytes, total);
	}
	/* What the trainer has written meanwhile is sent flagged as well: it harms its op. */
	code.up = &exact;
	encoded = feedback_contribution(&code, &state, &input, out);
	mark_nonfinite(out, code.count);
	m = message(op, &exact, encoded.bytes, total);
	m.flags = WIRE_FLAG_NONFINITE;
	m.culprit = find_culprit(x, op, chunk);
	return m;
}

/* --- finals ----------------------------------------------------------------------------------- */

/* A contribution to be added: a slot's, or our own. */
struct part {
	const void *bytes;
	uint32_t length;
	uint8_t flags;
	uint16_t culprit;
	float weight;
};

static struct part part_of(struct exchange *x, struct op *op, uint32_t chunk, uint16_t node,
			   const struct part *own)
{
	const struct slot *slot;

	if (node == x->plan.node)
		return *own;
	slot = exchange_slot_of(x, node, op->seq, chunk);
	assert(slot);
	return (struct part){slot->memory, slot->frame.payload_bytes, slot->frame.flags,
			     slot->frame.culprit, weight_of(&slot->frame)};
}

/* The sum of all contributions, in node order.  Return: false: one is no message of its codec. */
static bool add_parts(struct exchange *x, struct op *op, uint32_t chunk,
		      const struct feedback_op *code, const struct part *own,
		      struct exchange_message *m)
{
	float *sum = (float *)(void *)x->result;

	memset(sum, 0, code->count * sizeof(*sum));
	for (uint16_t n = 0; n < x->plan.nodes; n++) {
		struct part part = part_of(x, op, chunk, n, own);
		struct feedback_op add = *code;

		add.up = codec_of(code->up, part.flags);
		if (feedback_add(&add, draws(op, n), part.weight, part.bytes, part.length, sum)) {
			assert(n != x->plan.node);
			exchange_note_bad(x, n, op->seq);
			return false;
		}
		if (flagged(part.flags)) {
			m->flags = WIRE_FLAG_NONFINITE;
			m->culprit = lowest(m->culprit, part.culprit);
		}
	}
	return true;
}

/* Where all send few elements: the final, into x->values.  bytes = 0: by encode_sum(). */
static struct codec_result encode_few(struct exchange *x, struct op *op, uint32_t chunk,
				      const struct feedback_op *code, const struct part *own)
{
	const struct codec_result not_so = {0};
	struct feedback_sum sum = {
		.room = {(float *)(void *)x->result, (float *)(void *)x->scratch},
	};

	if (!feedback_adds_few(code, x->plan.nodes))
		return not_so;
	feedback_sum_begin(&sum); /* our own part is encoded, so x->scratch is free */
	for (uint16_t n = 0; n < x->plan.nodes; n++) {
		struct part part = part_of(x, op, chunk, n, own);

		if (flagged(part.flags) || feedback_add_few(code, draws(op, n), part.weight,
							    part.bytes, part.length, &sum))
			return not_so;
	}
	return feedback_final_few(code, &sum, draws(op, DRAWS_OF_FINALS),
				  code_threshold(op, TENSOR_DOWN, chunk),
				  (unsigned char *)x->values);
}

/* The same of any.  Return: bytes = 0: a part is no message of its codec. */
static struct codec_result encode_sum(struct exchange *x, struct op *op, uint32_t chunk,
				      struct feedback_op *code, const struct part *own,
				      struct exchange_message *sums)
{
	struct feedback_state state = code_state(op, chunk);
	struct random_key key = draws(op, DRAWS_OF_FINALS);
	float *sum = (float *)(void *)x->result;
	struct codec_result encoded = {0};

	if (!add_parts(x, op, chunk, code, own, sums))
		return encoded;
	code->down = codec_of(code->down, sums->flags);
	/* Our own message is not needed any more, unless the sum has to be made again. */
	encoded = feedback_final(code, &state, sum, key, code_threshold(op, TENSOR_DOWN, chunk),
				 (unsigned char *)x->values);
	if (encoded.nonfinite && !flagged(sums->flags)) {
		sums->flags = WIRE_FLAG_NONFINITE; /* finite inputs, but not their sum */
		code->down = &exact;
		(void)add_parts(x, op, chunk, code, own, sums);
		encoded = feedback_final(code, &state, sum, key, 0, (unsigned char *)x->values);
	}
	return encoded;
}

bool exchange_encode_final(struct exchange *x, struct op *op, uint32_t chunk,
			   struct exchange_message *out)
{
	struct feedback_op code = code_op(x, op, chunk);
	struct exchange_message mine, sums = {0};
	struct codec_result encoded;
	struct part own;

	for (uint16_t n = 0; n < x->plan.nodes; n++)
		if (x->nodes[n].bad)
			return false; /* it is being ended */
	mine = exchange_encode_own(x, op, chunk, x->message);
	own = (struct part){x->message, mine.bytes, mine.flags, mine.culprit, op->weight};
	*out = message(op, &exact, 0, x->plan.ranks);
	if (!code.count)
		return true;
	encoded = encode_few(x, op, chunk, &code, &own);
	if (!encoded.bytes)
		encoded = encode_sum(x, op, chunk, &code, &own, &sums);
	if (!encoded.bytes)
		return false;
	memcpy(x->message, x->values, encoded.bytes);
	if (flagged(sums.flags))
		mark_nonfinite(x->message, code.count);
	else
		keep_threshold(op, TENSOR_DOWN, chunk, encoded.threshold);
	*out = message(op, code.down, encoded.bytes, x->plan.ranks);
	out->flags = sums.flags;
	out->culprit = sums.culprit;
	return true;
}

/* --- results ---------------------------------------------------------------------------------- */

bool exchange_decode_final(struct exchange *x, struct op *op, uint32_t chunk,
			   const struct exchange_message *m, const void *bytes)
{
	struct feedback_op code = code_op(x, op, chunk);
	struct feedback_state state = code_state(op, chunk);
	enum vec_type type = (enum vec_type)op->call.type;
	float *direct = exchange_out_floats(x, op, chunk);
	float *result = direct ? direct : x->values;
	struct vec_input input = {result, VEC_F32};
	bool nonfinite = false;

	if (!code.count)
		return true;
	code.result_away = direct && code.away;
	code.down = codec_of(code.down, m->flags);
	if (feedback_result(&code, &state, draws(op, DRAWS_OF_FINALS), bytes, m->bytes, result,
			    &nonfinite))
		return false;
	if (flagged(m->flags) || nonfinite) {
		op->nonfinite = true;
		op->culprit = lowest(op->culprit, m->culprit);
	}
	if (direct)
		return true;
	if (type != VEC_F32) {
		vec_combine(x->plan.vec, type, VEC_SUM, &input, 1, 0, x->result, type, code.count);
		exchange_write_result(x, op, chunk, x->result);
	} else {
		exchange_write_result(x, op, chunk, result);
	}
	return true;
}
