/*
 * setting.h - options of codecs and of feedback: where in the setting an option is, and which
 * numbers it takes.  A setting is struct codec_setting or struct feedback_setting.
 */
#ifndef COMPRESS_SETTING_H
#define COMPRESS_SETTING_H

#include <stdbool.h>
#include <stddef.h>

/* The field's type: uint32_t, uint32_t, float, uint8_t. */
enum setting_kind { SETTING_NUMBER, SETTING_POWER_OF_2, SETTING_REAL, SETTING_WORD };

/* Options stand in arrays that a key of NULL ends; such an array may be NULL. */
struct setting_option {
	const char *key;
	enum setting_kind kind;
	size_t offset;     /* of the field in the setting */
	double min, max;   /* not of words */
	const char *words; /* "nearest|stochastic", counted from 0 */
	double value;      /* default; of words: the number */
};

/* An option's field as a number.  There is one zero: +0 is what -0 is set to. */
double setting_get(const void *setting, const struct setting_option *o);
void setting_set(void *setting, const struct setting_option *o, double value);
void setting_defaults(void *setting, const struct setting_option *options);

/* setting_fits() - does the option take the number?  Bounds are compared as they are stored. */
bool setting_fits(const struct setting_option *o, double value);

/* setting_copy() - all options.  Return: false if `from` has one that does not fit. */
bool setting_copy(void *to, const void *from, const struct setting_option *options);

#endif
