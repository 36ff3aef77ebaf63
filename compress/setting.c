/* setting.c - see setting.h. */
#include "compress/setting.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

double setting_get(const void *setting, const struct setting_option *o)
{
	const char *at = (const char *)setting + o->offset;
	uint32_t number;
	float real;

	switch (o->kind) {
	case SETTING_WORD: return *(const uint8_t *)at;
	case SETTING_REAL: memcpy(&real, at, sizeof(real)); return (double)real;
	case SETTING_NUMBER:
	case SETTING_POWER_OF_2: break;
	}
	memcpy(&number, at, sizeof(number));
	return number;
}

void setting_set(void *setting, const struct setting_option *o, double value)
{
	char *at = (char *)setting + o->offset;
	uint32_t number;
	float real;

	switch (o->kind) {
	case SETTING_WORD: *(uint8_t *)at = (uint8_t)value; return;
	case SETTING_REAL:
		real = (float)value + 0.0f; /* -0 becomes +0 */
		memcpy(at, &real, sizeof(real));
		return;
	case SETTING_NUMBER:
	case SETTING_POWER_OF_2: break;
	}
	number = (uint32_t)value;
	memcpy(at, &number, sizeof(number));
}

void setting_defaults(void *setting, const struct setting_option *options)
{
	for (const struct setting_option *o = options; o && o->key; o++)
		setting_set(setting, o, o->value);
}

static double words_max(const char *words)
{
	double most = 0;

	for (; *words; words++)
		most += *words == '|';
	return most;
}

bool setting_fits(const struct setting_option *o, double value)
{
	double min = o->kind == SETTING_WORD ? 0 : o->min;
	double max = o->kind == SETTING_WORD ? words_max(o->words) : o->max;

	if (o->kind == SETTING_REAL)
		return (float)value >= (float)min && (float)value <= (float)max;
	if (!(value >= min && value <= max) || value != floor(value))
		return false;
	return o->kind != SETTING_POWER_OF_2 || ((uint64_t)value & ((uint64_t)value - 1)) == 0;
}

bool setting_copy(void *to, const void *from, const struct setting_option *options)
{
	for (const struct setting_option *o = options; o && o->key; o++) {
		if (!setting_fits(o, setting_get(from, o)))
			return false;
		setting_set(to, o, setting_get(from, o));
	}
	return true;
}
