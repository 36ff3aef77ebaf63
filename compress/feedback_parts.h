/*
 * feedback_parts.h - what the algorithms of feedback_*.c are made of; for them alone.
 *
 * Vectors are float32[count].  A vector that is read may be NULL: zeros.
 */
#ifndef COMPRESS_FEEDBACK_PARTS_H
#define COMPRESS_FEEDBACK_PARTS_H

#include "compress/feedback.h"

#define FEEDBACK_HAS(vector) (1u << (vector))

/* out = scale * x; out may be x */
void feedback_scaled(float *out, float scale, const float *x, size_t count);
/* out = in + scale * x, each rounded; out may be in.  Return: is one of them no finite number? */
bool feedback_sum_of(const struct codec_kernels *k, float *out, const float *in, float scale,
		     const float *x, size_t count);
bool feedback_nonfinite(const struct codec_kernels *k, const float *x, size_t count);

/* now[vector], but NULL in a dense op: of vectors that an absolute op starts anew. */
const float *feedback_relative(const struct feedback_op *op, const struct feedback_state *state,
			       enum feedback_vector vector);

/* Add weight times what the others will decode of this node's own bytes. */
void feedback_add_own(const struct feedback_op *op, const struct feedback_input *input,
		      const void *bytes, size_t length, float weight, float *out);

/* Encode in + residual_scale * residual up, and what is lost to residual_out (or NULL). */
struct codec_result feedback_encode_up(const struct feedback_op *op,
				       const struct feedback_input *input, const float *in,
				       const float *residual, float residual_scale,
				       float *residual_out, void *out);

/* The same down, in the draws of `key`. */
struct codec_result feedback_encode_down(const struct feedback_op *op, const float *in,
					 const float *residual, float residual_scale,
					 float *residual_out, struct random_key key,
					 float threshold, void *out);

/* next[vector] = scale * now[vector], or zeros in a dense op. */
void feedback_stay(const struct feedback_op *op, const struct feedback_state *state,
		   enum feedback_vector vector, float scale);

/*
 * ... and what this node's own bytes stand for is added.  Return: is a sum no finite number?
 * @own: what feedback_encode_up() gave; own->few only if work has not been used since.
 */
bool feedback_follow_own(const struct feedback_op *op, const struct feedback_state *state,
			 const struct feedback_input *input, const void *bytes,
			 const struct codec_result *own, enum feedback_vector vector, float scale);

/* Bytes of work for either codec, a multiple of 64. */
size_t feedback_codec_work(const struct codec_setting *up, const struct codec_setting *down,
			   size_t count);

void feedback_divide(const struct feedback_op *op, float *x, size_t count);

/* Finals and results of algorithms whose owner keeps nothing: the sum, divided or as it is. */
struct codec_result feedback_final_divided(const struct feedback_op *op,
					   const struct feedback_state *state, float *sum,
					   struct random_key key, float threshold, void *out);
struct codec_result feedback_final_sum(const struct feedback_op *op,
				       const struct feedback_state *state, float *sum,
				       struct random_key key, float threshold, void *out);

/* The result is the final; or G += final and the result is G, divided. */
int feedback_result_plain(const struct feedback_op *op, const struct feedback_state *state,
			  struct random_key key, const void *bytes, size_t length, float *result,
			  bool *nonfinite);
int feedback_result_sum(const struct feedback_op *op, const struct feedback_state *state,
			struct random_key key, const void *bytes, size_t length, float *result,
			bool *nonfinite);

#endif
