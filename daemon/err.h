/*
 * err.h - what went wrong, in words, for a person.
 *
 * The control path (configuration, connect, attach) takes a `struct err *` last: on
 * failure it returns a negative errno and one sentence that names the culprit.  The
 * data path returns verdicts and formats nothing.  Whoever decides what happens next
 * prints the sentence, once; nobody logs *and* returns.
 */
#ifndef DAEMON_ERR_H
#define DAEMON_ERR_H

struct err {
	int code;       /* negative errno, 0 if nothing was set         */
	char text[384]; /* one sentence, no newline, no trailing period */
};

/*
 * err_set() - describe a failure and return it, so that it fits in a return:
 *     return err_set(err, -EINVAL, "%s:%d: unknown codec \"%s\"", path, line, name);
 * Return: code.
 */
__attribute__((format(printf, 3, 4))) int err_set(struct err *err, int code, const char *format,
						  ...);

/*
 * err_add() - put the caller's view in front: "peer 3 (10.0.0.7): connection refused".
 * Return: err->code.
 */
__attribute__((format(printf, 2, 3))) int err_add(struct err *err, const char *format, ...);

#endif
