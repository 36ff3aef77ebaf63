/*
 * pattern.c - see pattern.h.
 *
 * The expected values come from the definition of each reduction, in 64-bit
 * integers or in doubles that are exact, and share no code with the kernels
 * under test.
 */
#include "tools/perf/pattern.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Format of a type; floats: value = 1.fraction * 2^exponent. */
struct format {
	bool is_float;
	bool is_signed;
	unsigned bytes;
	int exponent_bits;
	int fraction_bits;
	int64_t limit; /* floats: no larger |integer| as input ...                        */
	double room;   /* ... and no larger sum over the ranks: exact in fp32, or finite  */
};

static struct format format_of(enum carry_type type)
{
	switch (type) {
	case CARRY_F32: return (struct format){true, true, 4, 8, 23, 1 << 20, 16777216.0};
	case CARRY_F64:
		return (struct format){true, true, 8, 11, 52, 1ll << 36, 9007199254740992.0};
	case CARRY_F16: return (struct format){true, true, 2, 5, 10, 1024, 65504.0};
	case CARRY_BF16: return (struct format){true, true, 2, 8, 7, 255, 16777216.0};
	case CARRY_I8: return (struct format){.is_signed = true, .bytes = 1};
	case CARRY_U8: return (struct format){.bytes = 1};
	case CARRY_I32: return (struct format){.is_signed = true, .bytes = 4};
	case CARRY_I64: return (struct format){.is_signed = true, .bytes = 8};
	}
	abort(); /* no type of carry.h */
}

/* The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint32_t class_of(const struct pattern *p, size_t index)
{
	return (uint32_t)(mix(index ^ p->salt) >> 52);
}

/* The low bytes of bits as the type sees them. */
static int64_t integer_of(const struct format *f, uint64_t bits)
{
	unsigned unused = 64 - 8 * f->bytes;

	if (f->is_signed)
		return (int64_t)(bits << unused) >> unused;
	return (int64_t)(bits << unused >> unused);
}

static int64_t integer_value(const struct format *f, enum carry_reduce reduce, uint64_t hash)
{
	return integer_of(f, reduce == CARRY_PROD ? hash | 1 : hash);
}

/*
 * The rank's place among the ranks, turned by the class: places below PATTERN_FACTORS
 * get a power of two, places 0 and 1 an odd factor too.  So a product stays within
 * 15 * 2^+-8 in whatever order it is made.
 */
static double factor_value(uint32_t ranks, uint32_t class, uint32_t rank, uint64_t hash)
{
	uint32_t place = (rank + class) % ranks;
	double value = hash & 1 ? -1 : 1;

	if (place < PATTERN_FACTORS)
		value *= hash & 2 ? 2 : 0.5;
	if (place == 0)
		value *= 3;
	if (place == 1)
		value *= 5;
	return value;
}

static double float_value(const struct format *f, enum carry_reduce reduce, uint32_t ranks,
			  uint32_t class, uint32_t rank, uint64_t hash)
{
	if (reduce == CARRY_PROD)
		return factor_value(ranks, class, rank, hash);

	int64_t limit = (int64_t)(f->room / ranks);
	if (limit > f->limit)
		limit = f->limit;
	return (double)((int64_t)(hash % (uint64_t)(2 * limit + 1)) - limit);
}

/*
 * The bits of x in a binary format, rounded to even.  In units of the last place
 * x is an integer q, hidden bit included, and adding it to the exponent field less
 * one gives the encoding, for subnormals and carries too.
 */
static uint64_t narrow(const struct format *f, double x)
{
	int bias = (1 << (f->exponent_bits - 1)) - 1;
	uint64_t infinity = ((1ull << f->exponent_bits) - 1) << f->fraction_bits;
	uint64_t sign = signbit(x) ? 1ull << (f->exponent_bits + f->fraction_bits) : 0;
	int exponent = x == 0 ? 1 - bias : ilogb(x);

	if (exponent < 1 - bias)
		exponent = 1 - bias;
	if (exponent > bias)
		return sign | infinity;
	uint64_t q = (uint64_t)nearbyint(ldexp(fabs(x), f->fraction_bits - exponent));
	uint64_t bits = ((uint64_t)(exponent + bias - 1) << f->fraction_bits) + q;
	return sign | (bits < infinity ? bits : infinity);
}

static uint64_t hash_of(uint64_t salt, uint32_t class, uint32_t rank)
{
	return mix(salt + mix((uint64_t) class << 32 | rank));
}

static uint64_t integer_result(const struct format *f, enum carry_reduce reduce, uint32_t ranks,
			       uint64_t salt, uint32_t class)
{
	int64_t low = INT64_MAX, high = INT64_MIN;
	uint64_t sum = 0, product = 1;

	for (uint32_t rank = 0; rank < ranks; rank++) {
		int64_t value = integer_value(f, reduce, hash_of(salt, class, rank));

		sum += (uint64_t)value;
		product *= (uint64_t)value;
		low = value < low ? value : low;
		high = value > high ? value : high;
	}
	assert(ranks > 0);
	switch (reduce) {
	case CARRY_SUM: return sum;
	case CARRY_AVG: return (uint64_t)(integer_of(f, sum) / (int64_t)ranks);
	case CARRY_MIN: return (uint64_t)low;
	case CARRY_MAX: return (uint64_t)high;
	case CARRY_PROD: return product;
	}
	abort(); /* no reduction of carry.h */
}

static uint64_t float_result(const struct format *f, enum carry_reduce reduce, uint32_t ranks,
			     uint64_t salt, uint32_t class)
{
	double sum = 0, product = 1, low = INFINITY, high = -INFINITY;

	for (uint32_t rank = 0; rank < ranks; rank++) {
		double value =
			float_value(f, reduce, ranks, class, rank, hash_of(salt, class, rank));

		sum += value;
		product *= value;
		low = fmin(low, value);
		high = fmax(high, value);
	}
	switch (reduce) {
	case CARRY_SUM: return narrow(f, sum);
	case CARRY_AVG:
		if (f->bytes == 8)
			return narrow(f, sum / ranks);
		return narrow(f, (double)((float)sum / (float)ranks));
	case CARRY_MIN: return narrow(f, low);
	case CARRY_MAX: return narrow(f, high);
	case CARRY_PROD: return narrow(f, product);
	}
	abort(); /* no reduction of carry.h */
}

size_t pattern_type_bytes(enum carry_type type)
{
	return format_of(type).bytes;
}

void pattern_make(struct pattern *p, enum carry_type type, enum carry_reduce reduce, uint32_t ranks,
		  uint32_t rank, uint64_t salt)
{
	struct format f = format_of(type);
	uint64_t mask = UINT64_MAX >> (64 - 8 * f.bytes);

	p->type_bytes = f.bytes;
	p->salt = mix(salt);
	for (uint32_t class = 0; class < PATTERN_CLASSES; class ++) {
		uint64_t hash = hash_of(p->salt, class, rank);

		if (f.is_float) {
			p->input[class] =
				narrow(&f, float_value(&f, reduce, ranks, class, rank, hash));
			p->expected[class] = float_result(&f, reduce, ranks, p->salt, class);
		} else {
			p->input[class] = (uint64_t)integer_value(&f, reduce, hash) & mask;
			p->expected[class] =
				integer_result(&f, reduce, ranks, p->salt, class) & mask;
		}
	}
}

static void put(const struct pattern *p, void *out, size_t index, uint64_t bits)
{
	switch (p->type_bytes) {
	case 1: ((uint8_t *)out)[index] = (uint8_t)bits; break;
	case 2: ((uint16_t *)out)[index] = (uint16_t)bits; break;
	case 4: ((uint32_t *)out)[index] = (uint32_t)bits; break;
	case 8: ((uint64_t *)out)[index] = bits; break;
	}
}

static uint64_t get(const struct pattern *p, const void *from, size_t index)
{
	switch (p->type_bytes) {
	case 1: return ((const uint8_t *)from)[index];
	case 2: return ((const uint16_t *)from)[index];
	case 4: return ((const uint32_t *)from)[index];
	case 8: return ((const uint64_t *)from)[index];
	}
	return 0;
}

void pattern_fill(const struct pattern *p, void *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put(p, out, i, p->input[class_of(p, i)]);
}

void pattern_spoil(const struct pattern *p, void *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put(p, out, i, ~p->expected[class_of(p, i)]);
}

struct pattern_wrong pattern_check(const struct pattern *p, const void *got, size_t count)
{
	struct pattern_wrong wrong = {0};

	for (size_t i = 0; i < count; i++) {
		uint64_t expected = p->expected[class_of(p, i)];
		uint64_t value = get(p, got, i);

		if (value == expected)
			continue;
		if (wrong.count++ == 0) {
			wrong.first = i;
			wrong.got = value;
			wrong.expected = expected;
		}
	}
	return wrong;
}

/* The number that a float's bit pattern stands for. */
static double widen(enum carry_type type, uint64_t bits)
{
	uint32_t word = (uint32_t)bits;
	float value;

	if (type == CARRY_F16) {
		double magnitude = bits >> 10 & 0x1f ? ldexp((double)(0x400 | (bits & 0x3ff)),
							     (int)(bits >> 10 & 0x1f) - 25)
						     : ldexp((double)(bits & 0x3ff), -24);

		if ((bits >> 10 & 0x1f) == 0x1f)
			magnitude = bits & 0x3ff ? NAN : INFINITY;
		return bits & 0x8000 ? -magnitude : magnitude;
	}
	if (type == CARRY_BF16)
		word <<= 16;
	memcpy(&value, &word, sizeof(value));
	return (double)value;
}

struct pattern_error pattern_error(const struct pattern *p, enum carry_type type, const void *got,
				   size_t count)
{
	struct pattern_error error = {0};
	double squares = 0, exact = 0;

	for (size_t i = 0; i < count; i++) {
		double right = widen(type, p->expected[class_of(p, i)]);
		double off = fabs(widen(type, get(p, got, i)) - right);

		squares += off * off;
		exact += right * right;
		error.greatest = off > error.greatest || isnan(off) ? off : error.greatest;
	}
	error.relative = exact > 0 ? sqrt(squares / exact) : 0;
	return error;
}
