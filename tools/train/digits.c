/*
 * digits.c - see digits.h.
 */
#include "tools/train/digits.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tools/common/random.h"

#define LINE_BYTES 512
#define GREY_MAX 16

/* The number at *text, at most `max`, and the byte after it.  Return: -1 if there is none. */
static long field(const char **text, long max, char after)
{
	char *end;

	if (**text < '0' || **text > '9')
		return -1;
	long value = strtol(*text, &end, 10);
	if (value > max || *end != after)
		return -1;
	*text = end + 1;
	return value;
}

/* Return: 0, or the number, from 1, of the field that is wrong. */
static int parse_line(const char *line, float *pixels, uint8_t *label)
{
	for (int i = 0; i < DIGITS_PIXELS; i++) {
		long value = field(&line, GREY_MAX, ',');

		if (value < 0)
			return i + 1;
		pixels[i] = (float)value / GREY_MAX;
	}
	long value = field(&line, DIGITS_CLASSES - 1, '\0');
	if (value < 0)
		return DIGITS_PIXELS + 1;
	*label = (uint8_t)value;
	return 0;
}

static int grow(struct digits *d, uint32_t room)
{
	float *pixels = realloc(d->pixels, (size_t)room * DIGITS_PIXELS * sizeof(*pixels));

	if (pixels)
		d->pixels = pixels;
	uint8_t *labels = realloc(d->labels, room);
	if (labels)
		d->labels = labels;
	return pixels && labels ? 0 : -ENOMEM;
}

static int read_lines(struct digits *d, gzFile file, const char *path, char *why, size_t why_bytes)
{
	char line[LINE_BYTES];
	uint32_t room = 0;

	while (gzgets(file, line, sizeof(line))) {
		size_t bytes = strcspn(line, "\r\n");
		uint32_t number = d->count + 1;

		if (number > DIGITS_IMAGES_MAX) {
			snprintf(why, why_bytes, "%s has more than %u lines", path,
				 DIGITS_IMAGES_MAX);
			return -EINVAL;
		}
		line[bytes] = '\0';
		if (number > room) {
			room = room ? 2 * room : 2048;
			if (grow(d, room)) {
				snprintf(why, why_bytes, "%s: no memory for its images", path);
				return -ENOMEM;
			}
		}
		int wrong = parse_line(line, d->pixels + (size_t)d->count * DIGITS_PIXELS,
				       d->labels + d->count);
		if (wrong) {
			snprintf(why, why_bytes, "%s:%u: field %d is not %s", path, number, wrong,
				 wrong > DIGITS_PIXELS ? "the last, a label 0..9"
						       : "a pixel 0..16 and a comma");
			return -EINVAL;
		}
		d->count++;
	}
	return 0;
}

int digits_read(struct digits *d, const char *path, char *why, size_t why_bytes)
{
	*d = (struct digits){0};
	errno = 0;
	gzFile file = gzopen(path, "rbe");
	if (!file) {
		int r = errno ? -errno : -ENOMEM;

		snprintf(why, why_bytes, "cannot open %s: %s", path, strerror(-r));
		return r;
	}
	int r = read_lines(d, file, path, why, why_bytes);
	if (!r) {
		int status;
		const char *text = gzerror(file, &status);

		if (status != Z_OK && status != Z_STREAM_END) {
			snprintf(why, why_bytes, "cannot read %s to its end: %s", path,
				 status == Z_ERRNO ? strerror(errno) : text);
			r = -EINVAL;
		} else if (d->count < 3) {
			snprintf(why, why_bytes, "%s has only %u images; 3 are the least", path,
				 d->count);
			r = -EINVAL;
		}
	}
	gzclose(file);
	if (r)
		digits_free(d);
	return r;
}

void digits_free(struct digits *d)
{
	free(d->pixels);
	free(d->labels);
	*d = (struct digits){0};
}

uint32_t digits_split(uint32_t count, uint64_t seed, uint32_t *order)
{
	uint64_t state = random_seed(seed, 0);

	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	random_shuffle(&state, order, count);
	return count - count / 3;
}
