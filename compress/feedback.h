/*
 * feedback.h - error feedback: what compression loses in one op comes back in the next ones.
 *
 * One call is one chunk of one tensor on one node, a worker towards the chunk's owner:
 *
 *   feedback_contribution()  worker: input and state -> bytes to the owner
 *   feedback_add()           owner: sum += weight * decoded contribution, in node order
 *   feedback_final()         owner: sum and state -> bytes to everybody
 *   feedback_result()        everybody: the final's bytes and state -> result
 *   feedback_left_out()      worker, if the final says that the contribution is not in it
 *
 *              worker                          owner                   everybody
 *   none       C(in)                           D(S)                    result = final
 *   ef14       C(p), p = in + e; e = p - C     S                       result = final
 *   twosided   like ef14                       D(q), q = S + E         result = final
 *                                              E = q - D
 *   ef21       c = C(in - g); g += c           S                       G += final; result = G
 *   ef21-w     c = C(in / w - g); g += c       S = sum of w c          like ef21
 *   ef21-sgdm  v += eta (in - v); ef21 of v    S                       like ef21
 *   ef21-bc    like ef21                       B += S; D(B - G)        G += final; result = G
 *   econtrol   d = C(eta e + in - h)           S                       like ef21, G = sum of h
 *              e += in - h - d; h += d
 *   loco       C(p), p = in + e                S                       result = final
 *              e = Q8(beta e + (1 - beta) (p - C))
 *
 * S is the sum of the decoded contributions, C and D the codecs up and down; a D that is not
 * written is exact.  C stands for what the others decode, never for what was meant.  G and B are
 * sums, G = sum of (w) g over the nodes, so that membership can change; an average divides S (or,
 * where there is a G, the result) by the divisor.  E is in the result's unit.
 *
 * State is a few vectors a tensor (enum feedback_vector), zero at first, in slices of chunks.  It
 * is read from `now` and written whole to `next`, which never overlap: to commit an op, the caller
 * exchanges all of them; to abort it, to leave out an op that is flagged non-finite or one that
 * the trainer takes back, it exchanges none.  Nothing else is remembered, so any call can be made
 * again and gives the same bits.
 *
 * Vectors that an op changes in a few places only may be changed in place instead
 * (feedback_in_place()): `next` is `now`, and a log says what was there (feedback_log.h).  What
 * ops that don't count have changed is put back by each call before it reads a vector.
 *
 * A dense op uses exact codecs whatever was chosen.  ef14, twosided and loco send input and
 * residual and keep a residual of zero.  The ef21 family and econtrol read g, h, B and G as zero:
 * nodes send their new g (h) itself and G becomes the final; that is the absolute op with which
 * they start again after a change of members or codecs.
 *
 * Left out: the residual of ef14, twosided becomes p, loco's what C = 0 gives; all other state
 * stays, but g and h become zero in a dense op, whose G does not have them.
 *
 * Units: if what the trainer sends is measured by another unit than the last time (loss scale;
 * for residuals also the step size), `scale` = new / old multiplies all state as it is read.
 *
 * Sources: notes on Seide 2014, Karimireddy 2019 (ef14); Tang 2021 (twosided); Richtarik 2021 and
 * its sequels of 2023 and 2024 (ef21*); Gao 2023 (econtrol); Xie 2024 (loco).
 * Pure: no allocation; any thread.
 */
#ifndef COMPRESS_FEEDBACK_H
#define COMPRESS_FEEDBACK_H

#include "compress/codec.h"
#include "compress/feedback_log.h"

enum { FEEDBACK_BLOCK = 256 }; /* elements: loco has a scale for each */

/* Numbers on the wire. */
enum feedback_id {
	FEEDBACK_NONE = 0,
	FEEDBACK_EF14,
	FEEDBACK_TWOSIDED,
	FEEDBACK_EF21,
	FEEDBACK_EF21_W,
	FEEDBACK_EF21_SGDM,
	FEEDBACK_EF21_BC,
	FEEDBACK_ECONTROL,
	FEEDBACK_LOCO,
	FEEDBACK_IDS,
};

/* What "econtrol:eta=0.1" says, options filled in; what is no option is 0. */
struct feedback_setting {
	uint8_t id; /* enum feedback_id                                          */
	uint8_t zero[3];
	float eta;      /* ef21-sgdm: weight of the new input; econtrol: of e in C   */
	float beta;     /* loco: weight of the old residual                          */
	uint32_t reset; /* loco: e is zero at every such step; 0: never              */
};

/* State, of float32 except loco's residual; see feedback_vector_bytes(). */
enum feedback_vector {
	FEEDBACK_RESIDUAL,       /* worker: e                                        */
	FEEDBACK_ESTIMATE,       /* worker: g or h, what G has of this node          */
	FEEDBACK_MOMENTUM,       /* worker: v                                        */
	FEEDBACK_OWNER_RESIDUAL, /* owner: E                                         */
	FEEDBACK_OWNER_SUM,      /* owner: B, sum of all g                           */
	FEEDBACK_SUM,            /* everybody: G                                     */
	FEEDBACK_VECTORS,
};

/* The chunk's slices; those that the algorithm or the caller's part in it lacks are unused. */
struct feedback_state {
	const void *now[FEEDBACK_VECTORS];
	void *next[FEEDBACK_VECTORS];
	struct feedback_log log[FEEDBACK_VECTORS];
};

/* What is the same on all nodes. */
struct feedback_op {
	const struct feedback_setting *setting;
	const struct codec_setting *up, *down;
	const struct codec_kernels *kernels;
	size_t count;                 /* elements of the chunk, 1 to CODEC_COUNT_MAX         */
	uint64_t first;               /* index of its first one in the tensor                */
	uint64_t step;                /* ops that were committed on this tensor before       */
	uint64_t divisor;             /* of an average: ranks in S (in G); of a sum: 1       */
	float scale;                  /* unit of the input, new / old; usually 1             */
	bool dense;                   /* exact; absolute                                     */
	bool away;                    /* `next` is not read soon                             */
	bool result_away;             /* nor is the result                                   */
	struct random_key shared_key; /* of codecs that draw the same on all nodes   */
	void *work;                   /* feedback_work_bytes(), aligned to 64                */
};

struct feedback_input {
	const float *in; /* float32[count], read once                                   */
	/* ef21-w: of this node, > 0, usually 1 on average; and of its last committed op. */
	float weight, last_weight;
	struct random_key key; /* this node's draws                                  */
	float threshold;       /* codec_input's                                      */
};

struct feedback {
	const char *name;
	enum feedback_id id;
	const struct setting_option *options; /* of struct feedback_setting   */
	const char *const *examples;          /* specs for tests, ended by NULL   */
	uint32_t vectors;                     /* bits 1 << enum feedback_vector   */
	bool lossy_down;                      /* else the codec down must be exact  */
	bool weighted;                        /* feedback_add() multiplies by weight */
	struct codec_result (*contribution)(const struct feedback_op *op,
					    const struct feedback_state *state,
					    const struct feedback_input *input, void *out);
	int (*left_out)(const struct feedback_op *op, const struct feedback_state *state,
			const struct feedback_input *input, const void *bytes, size_t length);
	struct codec_result (*final)(const struct feedback_op *op,
				     const struct feedback_state *state, float *sum,
				     struct random_key key, float threshold, void *out);
	int (*result)(const struct feedback_op *op, const struct feedback_state *state,
		      struct random_key key, const void *bytes, size_t length, float *result,
		      bool *nonfinite);
};

extern const struct feedback *const feedback_table[]; /* ended by NULL */
const struct feedback *feedback_by_id(uint8_t id);    /* NULL: there is none */

/* feedback_check() - a setting that came from elsewhere.  Return: 0 or -EINVAL. */
int feedback_check(const struct feedback_setting *s);

/*
 * feedback_refuse() - codecs that the algorithm does not go with, for chunks of `count` elements.
 * Return: why not, a sentence without its subject; NULL: they do.
 */
const char *feedback_refuse(const struct feedback_setting *s, const struct codec_setting *up,
			    const struct codec_setting *down, size_t count);

/*
 * feedback_vector_bytes() - of one copy of a vector of `count` elements; 0: there is none.
 * A slice that begins at element `first`, a multiple of FEEDBACK_BLOCK (where there is a log, of
 * FEEDBACK_CELL), is that many bytes in.
 */
size_t feedback_vector_bytes(const struct feedback_setting *s, enum feedback_vector vector,
			     size_t count);

/*
 * feedback_logged() - the vectors, bits 1 << enum feedback_vector, that some codecs change in
 * place.  feedback_in_place() - those that ops with these codecs should.
 */
uint32_t feedback_logged(const struct feedback_setting *s);
uint32_t feedback_in_place(const struct feedback_setting *s, const struct codec_setting *up,
			   const struct codec_setting *down);

size_t feedback_work_bytes(const struct feedback_setting *s, const struct codec_setting *up,
			   const struct codec_setting *down, size_t count);

/* The codecs of this op: those chosen, or the exact one. */
const struct codec_setting *feedback_up(const struct feedback_op *op);
const struct codec_setting *feedback_down(const struct feedback_op *op);

/*
 * feedback_contribution() - encode a worker's part; out has codec_bound() of feedback_up().
 * Writes next[] of the worker's vectors.  Return: bytes; or nonfinite: the contribution or its
 * state would be, and the op is to be flagged.
 */
struct codec_result feedback_contribution(const struct feedback_op *op,
					  const struct feedback_state *state,
					  const struct feedback_input *input, void *out);

/*
 * feedback_left_out() - after feedback_contribution(), whose bytes these are: they did not count.
 * Writes next[] of the worker's vectors again; input->in is not read.  Return: 0.
 */
int feedback_left_out(const struct feedback_op *op, const struct feedback_state *state,
		      const struct feedback_input *input, const void *bytes, size_t length);

/* feedback_add() - key, weight: of the node that encoded it.  Return: 0 or -EBADMSG. */
int feedback_add(const struct feedback_op *op, struct random_key key, float weight,
		 const void *bytes, size_t length, float *sum);

/*
 * The same where all contributions have few elements: the sum is a list of those that are in it.
 * Elements come out as those of feedback_add() would.
 *
 * feedback_adds_few() - is this such an op?  @nodes: how many contributions there will be
 * feedback_sum_begin() - no element yet
 * feedback_add_few() - feedback_add().  Return: -ENOSPC: too many elements for this way
 * feedback_final_few() - feedback_final(), in the same bytes.  bytes = 0: there are too many
 * elements for this way, or one is no finite number
 */
struct feedback_sum {
	float *room[2]; /* float32[count] each: the list in [at], the next one in the other */
	size_t n;       /* elements of the list                                   */
	int at;
};
bool feedback_adds_few(const struct feedback_op *op, uint32_t nodes);
void feedback_sum_begin(struct feedback_sum *sum);
int feedback_add_few(const struct feedback_op *op, struct random_key key, float weight,
		     const void *bytes, size_t length, struct feedback_sum *sum);
struct codec_result feedback_final_few(const struct feedback_op *op, const struct feedback_sum *sum,
				       struct random_key key, float threshold, void *out);

/*
 * feedback_final() - make the final of the sum, which is overwritten; out has codec_bound() of
 * feedback_down().  key: the final's own draws; those of no contribution, and best without the
 * owner in it, so that who owns a chunk makes no difference.
 * Writes next[] of the owner's vectors; ef21-bc reads now[FEEDBACK_SUM].
 */
struct codec_result feedback_final(const struct feedback_op *op, const struct feedback_state *state,
				   float *sum, struct random_key key, float threshold, void *out);

/*
 * feedback_result() - result float32[count], apart from the state.  Writes next[FEEDBACK_SUM].
 * *nonfinite: the new G would be; all nodes see it alike, and none commits.
 * Return: 0 or -EBADMSG; then next and result are undefined.
 */
int feedback_result(const struct feedback_op *op, const struct feedback_state *state,
		    struct random_key key, const void *bytes, size_t length, float *result,
		    bool *nonfinite);

#endif
