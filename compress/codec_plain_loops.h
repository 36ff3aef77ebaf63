/*
 * codec_plain_loops.h - the loops of codec_plain_kernels.h, between lanes.h and lanes_end.h.
 *
 * What does not fill a register is done element by element, with the same operations.
 */

INLINE float plain_p(const float *in, const float *residual, float scale, size_t i)
{
	return residual ? in[i] + scale * residual[i] : in[i];
}

static uint32_t plain_source(const float *in, const float *residual, float scale, size_t count,
			     float *p)
{
	size_t whole = count / LANES * LANES;
	i32v most = (i32v){0};
	uint32_t greatest;

	for (size_t i = 0; i < whole; i += LANES) {
		f32v v = load_f32v(in + i);

		if (residual)
			v = v + scale * load_f32v(residual + i);
		store_f32v(p + i, v);
		most = larger(most, (i32v)(bits_of(v) & 0x7fffffff));
	}
	greatest = greatest_lane(most);
	for (size_t i = whole; i < count; i++) {
		float v = plain_p(in, residual, scale, i);
		uint32_t bits;

		p[i] = v;
		memcpy(&bits, &v, sizeof(bits));
		bits &= 0x7fffffff;
		greatest = bits > greatest ? bits : greatest;
	}
	return greatest;
}

/* Magnitudes are compared as integers: so NaN, which is not to be used, stays above. */
static void plain_clamp(const float *p, float most, size_t count, float *out)
{
	size_t whole = count / LANES * LANES;
	uint32_t limit;

	memcpy(&limit, &most, sizeof(limit));
	for (size_t i = 0; i < whole; i += LANES) {
		u32v bits = bits_of(load_f32v(p + i));
		u32v magnitude = bits & 0x7fffffff;
		u32v least = (u32v)smaller((i32v)magnitude, (i32v){0} + (int32_t)limit);

		store_f32v(out + i, floats_of(least | (bits & 0x80000000)));
	}
	for (size_t i = whole; i < count; i++) {
		uint32_t bits, magnitude;

		memcpy(&bits, &p[i], sizeof(bits));
		magnitude = bits & 0x7fffffff;
		bits = (magnitude > limit ? limit : magnitude) | (bits & 0x80000000);
		memcpy(&out[i], &bits, sizeof(bits));
	}
}

static void plain_left(const float *p, const float *decoded, size_t count, float *left)
{
	size_t whole = count / LANES * LANES;

	for (size_t i = 0; i < whole; i += LANES)
		store_f32v(left + i, load_f32v(p + i) - load_f32v(decoded + i));
	for (size_t i = whole; i < count; i++)
		left[i] = p[i] - decoded[i];
}

static void plain_add(const float *v, float weight, size_t count, float *sum)
{
	size_t whole = count / LANES * LANES;

	for (size_t i = 0; i < whole; i += LANES)
		store_f32v(sum + i, load_f32v(sum + i) + weight * load_f32v(v + i));
	for (size_t i = whole; i < count; i++)
		sum[i] += weight * v[i];
}

const struct plain_kernels PLAIN_VARIANT = {
	.source = plain_source,
	.clamp = plain_clamp,
	.left = plain_left,
	.add = plain_add,
};
