/*
 * digits.h - the data set: 8 x 8 grey images of handwritten digits.
 *
 * File (gzip or plain): one line an image, 64 pixels 0..16 and the label 0..9,
 * separated by commas; see tests/data/README.md.
 */
#ifndef TOOLS_TRAIN_DIGITS_H
#define TOOLS_TRAIN_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_PIXELS 64
#define DIGITS_CLASSES 10
#define DIGITS_IMAGES_MAX 100000u

struct digits {
	uint32_t count;  /* images                                      */
	float *pixels;   /* float32[count * DIGITS_PIXELS], 0..1; owned */
	uint8_t *labels; /* uint8[count], 0..9; owned                   */
};

/*
 * digits_read() - @why: gets one sentence on failure, with file and line.
 * Return: 0 or negative errno; -EINVAL: the contents are wrong.
 */
int digits_read(struct digits *d, const char *path, char *why, size_t why_bytes);
void digits_free(struct digits *d);

/*
 * digits_split() - put 0..count-1 into an order that depends on the seed alone.
 * Return: how many of order[count], from the front, are for training; the rest, a third, is held
 * out.
 */
uint32_t digits_split(uint32_t count, uint64_t seed, uint32_t *order);

#endif
