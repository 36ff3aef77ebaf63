/*
 * test_digits.c - reading and splitting the data set of carry-train.
 */
#include "tools/train/digits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#define FILE_PATH "tests/data/digits.csv.gz"
#define IMAGES 1797
#define PATH_BYTES 256

static struct digits read_all(void)
{
	struct digits d;
	char why[256] = "";
	int r = digits_read(&d, FILE_PATH, why, sizeof(why));

	if (r)
		fail_msg("%s", why);
	return d;
}

static void the_data_set(void **state)
{
	/* Images of each class, counted with awk. */
	static const unsigned per_class[] = {178, 182, 177, 183, 181, 182, 181, 179, 174, 180};
	struct digits d = read_all();
	unsigned seen[DIGITS_CLASSES] = {0};

	(void)state;
	assert_int_equal(d.count, IMAGES);
	for (size_t i = 0; i < d.count; i++)
		seen[d.labels[i]]++;
	assert_memory_equal(seen, per_class, sizeof(seen));

	/* The first line begins 0,0,5,13,9,1 and is a zero. */
	assert_true(d.pixels[2] == 5 / 16.0f);
	assert_true(d.pixels[3] == 13 / 16.0f);
	assert_int_equal(d.labels[0], 0);
	digits_free(&d);
	digits_free(&d);
	assert_null(d.pixels);
}

static void split_is_a_function_of_the_seed(void **state)
{
	uint32_t a[IMAGES], b[IMAGES], moved = 0;
	uint8_t seen[IMAGES] = {0};

	(void)state;
	assert_int_equal(digits_split(IMAGES, 1, a), 1198);
	assert_int_equal(digits_split(IMAGES, 1, b), 1198);
	assert_memory_equal(a, b, sizeof(a));
	for (size_t i = 0; i < IMAGES; i++) {
		assert_in_range(a[i], 0, IMAGES - 1);
		seen[a[i]]++;
	}
	for (size_t i = 0; i < IMAGES; i++)
		assert_int_equal(seen[i], 1);

	/* The same on every machine, for ever. */
	static const uint32_t first[] = {1418, 1378, 287, 726, 256};
	assert_memory_equal(a, first, sizeof(first));
	assert_int_equal(a[IMAGES - 1], 1674);
	digits_split(IMAGES, 2, b);
	for (size_t i = 0; i < IMAGES; i++)
		moved += a[i] != b[i];
	assert_true(moved > IMAGES * 9 / 10);
}

/* Write text to a new file (gzip if `packed`), cut off after `keep` bytes. */
static void write_file(char *path, const char *text, int packed, long keep)
{
	const char *folder = getenv("TMPDIR");

	snprintf(path, PATH_BYTES, "%s/test_digits.%d", folder ? folder : "/tmp", (int)getpid());
	gzFile file = gzopen(path, packed ? "wbx" : "wbxT");
	assert_non_null(file);
	assert_int_equal(gzputs(file, text), (int)strlen(text));
	assert_int_equal(gzclose(file), Z_OK);
	if (keep)
		assert_int_equal(truncate(path, keep), 0);
}

/* `lines` good lines, then `last`. */
static char *text_of(int lines, const char *last)
{
	size_t bytes;
	char *text = NULL;
	FILE *file = open_memstream(&text, &bytes);

	assert_non_null(file);
	for (int l = 0; l < lines; l++) {
		for (int i = 0; i < DIGITS_PIXELS; i++)
			fprintf(file, "%d,", (i * 7 + l) % 17);
		fprintf(file, "%d\n", l % 10);
	}
	fputs(last, file);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void refused(const char *text, int packed, long keep, const char *sentence)
{
	struct digits d;
	char path[PATH_BYTES], why[512] = "";

	write_file(path, text, packed, keep);
	int r = digits_read(&d, path, why, sizeof(why));
	unlink(path);
	assert_int_equal(r, -EINVAL);
	assert_null(d.pixels);
	assert_null(d.labels);
	/* The sentence begins with, or contains, the file. */
	if (!strstr(why, path) || !strstr(why, sentence))
		fail_msg("\"%s\" does not name %s and \"%s\"", why, path, sentence);
}

static void bad_files(void **state)
{
	static const struct {
		const char *last, *sentence;
	} cases[] = {
		{"1,2,3\n", ":5: field 3 is not a pixel 0..16"},
		{"17,\n", ":5: field 1 is not a pixel 0..16"},
		{"-1,\n", ":5: field 1 is not a pixel 0..16"},
		{"99999999999999999999999,\n", ":5: field 1 is not a pixel"},
		{"\n", ":5: field 1 is not a pixel"},
		{"0,x\n", ":5: field 2 is not a pixel"},
	};
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text = text_of(4, cases[i].last);
		refused(text, i % 2, 0, cases[i].sentence);
		free(text);
	}

	text = text_of(5, "");
	text[strlen(text) - 2] = 'x'; /* the last label */
	refused(text, 0, 0, ":5: field 65 is not the last, a label 0..9");
	free(text);
	text = text_of(5, "");
	memcpy(text + strlen(text) - 1, ",", 1); /* a field too many */
	refused(text, 0, 0, ":5: field 65 is not the last");
	free(text);
	text = text_of(2, "");
	refused(text, 1, 0, "has only 2 images");
	free(text);
	refused("", 0, 0, "has only 0 images");
	text = text_of(300, "");
	refused(text, 1, 300, "cannot read");
	free(text);
}

static void no_file(void **state)
{
	struct digits d;
	char why[256];

	(void)state;
	assert_int_equal(digits_read(&d, "/nonexistent/digits", why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "cannot open /nonexistent/digits: No such file or directory");
}

/* More than one growth of the arrays. */
static void long_files(void **state)
{
	char *text = text_of(5000, ""), path[PATH_BYTES], why[512];
	struct digits d;

	(void)state;
	write_file(path, text, 1, 0);
	int r = digits_read(&d, path, why, sizeof(why));
	unlink(path);
	assert_int_equal(r, 0);
	assert_int_equal(d.count, 5000);
	assert_int_equal(d.labels[4999], 9);
	assert_true(d.pixels[4999 * DIGITS_PIXELS + 1] == (float)((7 + 4999) % 17) / 16);
	digits_free(&d);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_data_set), cmocka_unit_test(split_is_a_function_of_the_seed),
		cmocka_unit_test(bad_files),    cmocka_unit_test(no_file),
		cmocka_unit_test(long_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
