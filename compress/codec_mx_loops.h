/*
 * codec_mx_loops.h - the loops of mxfp8 and mxfp4, between lanes.h and lanes_end.h.
 *
 * Elements are scaled by powers of two, so all is exact but the one rounding to the format.
 */

enum { MX_REGISTERS = MX_BLOCK / LANES };

/* Magnitudes, scaled, to codes without the sign: to nearest even, saturated. */
INLINE u32v mx_code(f32v magnitude, struct mx_shape f)
{
	uint32_t shift = 23 - f.mantissa;
	u32v bits = bits_of(magnitude);
	u32v normal = ((bits + ((1u << (shift - 1)) - 1) + (bits >> shift & 1)) >> shift) -
		      ((127 - f.bias) << f.mantissa);
	/* A float of this size has the spacing of the format's subnormals: the sum rounds. */
	u32v magic = (u32v){0} + ((127 + 23 + 1 - f.bias - f.mantissa) << 23);
	u32v small = bits_of(magnitude + floats_of(magic)) - magic;
	u32v code = PICK((i32v)bits < (int32_t)((127 + 1 - f.bias) << 23), small, normal);
	u32v most = (u32v){0} + f.most;

	return (u32v)smaller((i32v)code, (i32v)most);
}

/*
 * Codes with the sign in bit 7 to halves of their elements' values, to be multiplied by twice the
 * scale: the least scale is no normal float, twice of it is.
 */
INLINE f32v mx_half(u32v code, struct mx_shape f)
{
	u32v sign = (code & 0x80) << 24;
	u32v magnitude = code & 0x7f;
	u32v normal = (magnitude << (23 - f.mantissa)) + ((127 - 1 - f.bias) << 23);
	u32v magic = (u32v){0} + ((127 + 23 - f.bias - f.mantissa) << 23);
	u32v small = bits_of(floats_of(magic + magnitude) - floats_of(magic));

	return floats_of(sign | PICK((i32v)magnitude < (int32_t)(1u << f.mantissa), small, normal));
}

INLINE float mx_float(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* A block's codes in their places; 4-bit ones: i in the low half of byte i, 16 + i in the high. */
INLINE void mx_store(uint8_t *out, const u32v *code, enum mx_format format)
{
	if (format != MX_E2M1) {
		UNROLL for (int i = 0; i < MX_REGISTERS; i++) store_bytes(out + i * LANES, code[i]);
		return;
	}
	UNROLL for (int i = 0; i < MX_REGISTERS / 2; i++)
	{
		u32v low = code[i], high = code[i + MX_REGISTERS / 2];

		low = (low & 7) | (low >> 4 & 8);
		high = (high & 7) | (high >> 4 & 8);
		store_bytes(out + i * LANES, low | high << 4);
	}
}

/* What mx_half() makes of 4-bit codes. */
static const float mx_halves[16] = {0,    .25F,  .5F,  .75F,  1,  1.5F,  2,  3,
				    -0.F, -.25F, -.5F, -.75F, -1, -1.5F, -2, -3};

/*
 * The values of 4-bit codes; bits above them don't matter.  Eight lanes hold magnitudes alone, each
 * with its own number in the upper bits: a whole code there takes that away and leaves the sign.
 */
INLINE f32v mx_value_of_4(u32v code, float scale)
{
#if LANES == 1
	return mx_halves[code & 15] * scale;
#elif LANES == 8
	u32v values = bits_of(load_f32v(mx_halves) * scale) ^ lane_numbers() << 28;

	return floats_of(bits_of(lane_of(floats_of(values), code)) ^ code << 28);
#else
	return lane_of(load_f32v(mx_halves) * scale, code);
#endif
}

/* The values of a block's elements from i * LANES on; scale: twice the block's (see mx_half()). */
INLINE f32v mx_load(const uint8_t *bytes, int i, float scale, enum mx_format format)
{
	u32v code;

	if (format != MX_E2M1)
		return mx_half(load_bytes(bytes + i * LANES), mx_shape(format)) * scale;
	code = load_bytes(bytes + i % (MX_REGISTERS / 2) * LANES);
	return mx_value_of_4(i < MX_REGISTERS / 2 ? code : code >> 4, scale);
}

INLINE uint32_t mx_encode_block(const float *in, const float *residual, float scale, uint8_t *out,
				float *left, enum mx_format format)
{
	struct mx_shape f = mx_shape(format);
	f32v p[MX_REGISTERS];
	u32v code[MX_REGISTERS];
	i32v most = (i32v){0};
	uint32_t greatest, byte;

	UNROLL for (int i = 0; i < MX_REGISTERS; i++)
	{
		p[i] = load_f32v(in + i * LANES);
		if (residual)
			p[i] = p[i] + scale * load_f32v(residual + i * LANES);
		most = larger(most, (i32v)(bits_of(p[i]) & 0x7fffffff));
	}
	greatest = greatest_lane(most);
	byte = greatest >> 23 > f.emax ? (greatest >> 23) - f.emax : 0;
	UNROLL for (int i = 0; i < MX_REGISTERS; i++)
	{
		u32v sign = bits_of(p[i]) >> 24 & 0x80;
		f32v scaled = floats_of(bits_of(p[i]) & 0x7fffffff) * mx_float((254 - byte) << 23);

		code[i] = sign | mx_code(scaled, f);
		if (left)
			store_f32v(left + i * LANES,
				   p[i] - mx_half(code[i], f) * mx_float((byte + 1) << 23));
	}
	*out = (uint8_t)byte;
	mx_store(out + 1, code, format);
	return greatest;
}

INLINE uint32_t mx_encode(const float *in, const float *residual, float scale, size_t blocks,
			  uint8_t *out, float *left, enum mx_format format)
{
	uint32_t greatest = 0;

	for (size_t i = 0; i < blocks; i++) {
		uint32_t block = mx_encode_block(in + i * MX_BLOCK,
						 residual ? residual + i * MX_BLOCK : NULL, scale,
						 out + i * mx_block_bytes(format),
						 left ? left + i * MX_BLOCK : NULL, format);

		greatest = block > greatest ? block : greatest;
	}
	return greatest;
}

/* add: to out, times weight. */
INLINE void mx_decode(const uint8_t *bytes, size_t blocks, bool add, float weight, float *out,
		      enum mx_format format)
{
	for (; blocks; blocks--) {
		float scale = mx_float((*bytes + 1u) << 23);

		UNROLL for (int i = 0; i < MX_REGISTERS; i++)
		{
			f32v v = mx_load(bytes + 1, i, scale, format);

			if (add)
				v = load_f32v(out + i * LANES) + weight * v;
			store_f32v(out + i * LANES, v);
		}
		bytes += mx_block_bytes(format);
		out += MX_BLOCK;
	}
}

#define MX_KERNELS(name, format)                                                                 \
	static uint32_t mx_encode_##name(const float *in, const float *residual, float scale,    \
					 size_t blocks, uint8_t *out, float *left)               \
	{                                                                                        \
		return mx_encode(in, residual, scale, blocks, out, left, format);                \
	}                                                                                        \
	static void mx_decode_##name(const uint8_t *bytes, size_t blocks, float *out)            \
	{                                                                                        \
		mx_decode(bytes, blocks, false, 0, out, format);                                 \
	}                                                                                        \
	static void mx_add_##name(const uint8_t *bytes, size_t blocks, float weight, float *sum) \
	{                                                                                        \
		mx_decode(bytes, blocks, true, weight, sum, format);                             \
	}

MX_KERNELS(e4m3, MX_E4M3)
MX_KERNELS(e5m2, MX_E5M2)
MX_KERNELS(e2m1, MX_E2M1)

const struct mx_kernels MX_VARIANT = {
	.encode = {mx_encode_e4m3, mx_encode_e5m2, mx_encode_e2m1},
	.decode = {mx_decode_e4m3, mx_decode_e5m2, mx_decode_e2m1},
	.decode_add = {mx_add_e4m3, mx_add_e5m2, mx_add_e2m1},
};
