/*
 * codec_int_decode_loops.h - decoding int8, int4 and int2 on one CPU variant; a part of
 * codec_int_loops.h, which includes it once.
 */
LANE f32x16 widen(enum int_kind kind, const unsigned char *from)
{
	return f_from(kind == INT_8 ? widen8(from) : kind == INT_4 ? widen4(from) : widen2(from));
}

enum decoded_store { DECODED_KEEP, DECODED_AWAY, DECODED_ADD };

LANE f32x16 decoded_into(bool add, f32x16 decoded, float weight, const float *out)
{
	return add ? f_add(f_load(out), f_mul(f_set(weight), decoded)) : decoded;
}

LANE void decode_block(enum int_kind kind, enum decoded_store store, float s, float weight,
		       const unsigned char *bytes, float *out, size_t count)
{
	bool add = store == DECODED_ADD;
	size_t whole = count / LANE_COUNT * LANE_COUNT;
	unsigned char codes[LANE_COUNT] = {0};
	float rest[LANE_COUNT] = {0};
	f32x16 x;

	for (size_t at = 0; at < whole; at += LANE_COUNT) {
		x = f_mul(widen(kind, bytes + int_code_bytes(kind, at)), f_set(s));
		x = decoded_into(add, x, weight, out + at);
		if (store == DECODED_AWAY)
			f_stream(out + at, x);
		else
			f_store(out + at, x);
	}
	if (whole == count)
		return;
	memcpy(codes, bytes + int_code_bytes(kind, whole), int_code_bytes(kind, count - whole));
	memcpy(rest, out + whole, (count - whole) * sizeof(*rest));
	x = f_mul(widen(kind, codes), f_set(s));
	f_store(rest, decoded_into(add, x, weight, rest));
	memcpy(out + whole, rest, (count - whole) * sizeof(*rest));
}

LANE void decode_all(enum int_kind kind, enum decoded_store store, const struct codec_setting *s,
		     const unsigned char *bytes, float weight, float *out, size_t total)
{
	for (size_t at = 0; at < total; at += s->block) {
		size_t count = total - at < s->block ? total - at : s->block;
		float scale = int_scale_get((enum int_scale)s->scale, bytes);

		bytes += int_scale_bytes((enum int_scale)s->scale);
		decode_block(kind, store, scale, weight, bytes, out + at, count);
		bytes += int_code_bytes(kind, count);
	}
}

#define DECODE(name, kind)                                                                      \
	static void name(const struct codec_setting *s, const unsigned char *bytes, float *out, \
			 size_t count, bool away)                                               \
	{                                                                                       \
		if (!away || (uintptr_t)out % 64 != 0) {                                        \
			decode_all(kind, DECODED_KEEP, s, bytes, 0, out, count);                \
			return;                                                                 \
		}                                                                               \
		decode_all(kind, DECODED_AWAY, s, bytes, 0, out, count);                        \
		stream_end();                                                                   \
	}                                                                                       \
	static void name##_add(const struct codec_setting *s, const unsigned char *bytes,       \
			       float weight, float *sum, size_t count)                          \
	{                                                                                       \
		decode_all(kind, DECODED_ADD, s, bytes, weight, sum, count);                    \
	}

DECODE(decode_8, INT_8)
DECODE(decode_4, INT_4)
DECODE(decode_2, INT_2)
