/*
 * tensor.h - how the tensors of a group go over the wire, and the state of their error feedback.
 *
 * A trainer names a codec, a feedback and a tensor key once and gets a number (tensors_add(), main
 * thread); its submissions say the number, and lanes look it up (tensors_at()).  The table only
 * grows, so lanes need no lock.  An entry without feedback has no state and needs no key.
 *
 * State belongs to (key, feedback algorithm): another codec goes on with it, another algorithm
 * begins at zero, and what there was is kept for when it is used again.  It is two copies of the
 * vectors of compress/feedback.h, and two of the thresholds that codecs reuse, one a chunk:
 *
 *   tensor_enter()   each lane of an op, when it begins: reads one copy, writes the other
 *   tensor_slices()  of a chunk
 *   tensor_leave()   each of them, when it is over there.  If all left with `good`, the copies
 *                    change places; else nothing has changed
 *
 * An op whose coding is dense sends what is carried as well, and leaves nothing.  Dense ops after
 * it are plain: they go as if there were no feedback, as fast, and neither read nor write the
 * state.  What they leave behind of the ef21 family, estimates that are not of the last op, is
 * made good by the next op, which is absolute.  An algorithm that keeps more (momentum; residual
 * and estimate) is never plain.
 *
 * Vectors of which the op's codec changes few elements (tensor.in_place) do not change places: the
 * op changes them where they are and has a log in the other copy (compress/feedback_log.h).  If it
 * does not commit, or is taken back, the next op finds that the log is of an op later than the
 * last one that counts, tensor_turn.base, and puts back what it comes to, chunk by chunk.
 *
 * Ops on one state run one after the other: a second one in flight is refused by tensor_enter().
 * tensor_enter(discard): the op before is taken back first: it reads what that one read.
 *
 * Memory is mapped when the entry is made and populated when it is first used.
 */
#ifndef DAEMON_TENSOR_H
#define DAEMON_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/choice.h"
#include "daemon/coding.h"
#include "daemon/err.h"

enum {
	TENSORS_MAX = 16384, /* of a group: combinations of key and coding */
	TENSOR_KEY_BYTES = 256,
};

struct tensor_state;

/* One number that submissions may say.  Never changes. */
struct tensor {
	struct coding coding;
	uint32_t digest; /* coding_digest()                                          */
	uint64_t key;    /* as wire frames say it; 0: none                           */
	uint64_t count;  /* with state: elements, and enum vec_type                  */
	uint8_t type;
	uint8_t in_place;           /* feedback_in_place()                           */
	struct tensor_state *state; /* NULL: no feedback                             */
	/* with a list ("auto:..."): by one of these it goes, [0] is dense, NULL without feedback */
	uint8_t alternatives; /* 0: it has a coding of its own                         */
	const struct tensor *alternative[CHOICE_ALTERNATIVES_MAX];
	struct choice_list *list; /* their words                                     */
};

struct tensors; /* of a group */

struct tensors_options {
	uint32_t chunk_bytes_max; /* of the group */
	uint64_t bytes_max;       /* of all states together */
};

int tensors_new(struct tensors **out, const struct tensors_options *options);
void tensors_free(struct tensors *t); /* NULL is allowed; no lane uses it any more */

struct tensor_use {
	const char *name; /* of the key; "": none */
	uint64_t key;
	uint64_t count;
	uint8_t type; /* enum vec_type */
	const char *codec, *feedback;
};

/*
 * tensors_add() - the number of this use, made if there is none yet.  Main thread.
 * Return: number; -EINVAL (bad specs, feedback without a key, a key with another count or type),
 * -ENOMEM (more than bytes_max, with what is needed and what is left), -ENOSPC, and *err.
 */
int tensors_add(struct tensors *t, const struct tensor_use *use, struct err *err);

/* tensors_judge() - words alone.  *plain: neither codec nor feedback.  Return: 0; -EINVAL, *err. */
int tensors_judge(const char *codec, const char *feedback, bool *plain, struct err *err);

/* Main thread: what has this digest.  NULL: nothing, here. */
const struct tensor *tensors_find(const struct tensors *t, uint32_t digest);

/* Any thread.  Return: NULL: there is no such number. */
const struct tensor *tensors_at(const struct tensors *t, uint32_t number);

const char *tensor_name(const struct tensor *t); /* of its key; "": it has none */

/* What all lanes say of the op alike; @weight: of this node in it. */
struct tensor_op {
	uint64_t seq;                /* greater than those of the ops before, below 2^53 */
	const struct tensor *tensor; /* with state */
	uint32_t chunks;             /* to leave                                                  */
	uint32_t lanes;              /* that enter and leave                                      */
	float weight;
	bool discard;
};

/* What they find. */
struct tensor_turn {
	uint8_t from;      /* the copy that is read, of thresholds and the like       */
	uint8_t vectors;   /* ... and of each vector: bits 1 << enum feedback_vector   */
	uint8_t in_place;  /* ... those that are written where they are               */
	uint64_t base;     /* seq of the last op that counts; 0: there is none        */
	uint64_t step;     /* ops that were committed before, but for plain ones      */
	float last_weight; /* of the last one that was; 0: there is none              */
	bool dense;        /* exact; absolute: see compress/feedback.h                */
	bool plain;        /* dense, and there is nothing to carry: as if without feedback */
	bool once;         /* dense only this time: the next op of its coding is not   */
};

/* Lane's thread.  Return: false: another op on the state is in flight. */
bool tensor_enter(const struct tensor_op *op, struct tensor_turn *turn);
void tensor_leave(const struct tensor_op *op, const struct tensor_turn *turn, bool good);

/* Elements first.. of the vectors; first is a multiple of FEEDBACK_CELL. */
void tensor_slices(const struct tensor_op *op, const struct tensor_turn *turn, uint64_t first,
		   struct feedback_state *out);

enum tensor_way { TENSOR_UP, TENSOR_DOWN, TENSOR_WAYS };

/* What the last step of the same coding kept for encoding this chunk; 0: nothing. */
float tensor_threshold(const struct tensor_op *op, const struct tensor_turn *turn,
		       enum tensor_way way, uint32_t chunk);
void tensor_keep_threshold(const struct tensor_op *op, const struct tensor_turn *turn,
			   enum tensor_way way, uint32_t chunk, float threshold);

/* --- what there is: main thread --------------------------------------------------------------- */

struct tensor_report {
	const char *name; /* of the key */
	uint64_t key, count;
	uint8_t type;
	const char *feedback; /* name of the algorithm */
	uint64_t bytes;       /* both copies */
	uint64_t steps;       /* committed */
	/* l2 norm of the residual, or of what stands in its place (estimate), on this node */
	double norm;
	bool has_norm; /* false: in use meanwhile, or too much to look at */
};

uint64_t tensors_bytes(const struct tensors *t);
/*
 * tensors_report() - state number i, 0-based; computes the norm if `budget` has as many bytes left.
 * Return: false: there are no more.
 */
bool tensors_report(const struct tensors *t, uint32_t i, uint64_t *budget,
		    struct tensor_report *out);

#endif
