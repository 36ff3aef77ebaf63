/*
 * sentence.h - the last failure of each thread, in words.
 *
 * Kept in thread-local storage like errno, with the handle it was about: a failure must have a
 * place also when there is no handle yet, and no other thread may replace it.
 */
#ifndef LIBCLIENT_SENTENCE_H
#define LIBCLIENT_SENTENCE_H

#define SENTENCE_BYTES 512

struct carry;

/*
 * sentence_set() - describe a failure and return it, so that it fits in a return.
 * @c: the handle, or NULL if there is none
 * @code: negative errno
 * Return: code.  Keeps errno.
 */
__attribute__((format(printf, 3, 4))) int sentence_set(const struct carry *c, int code,
						       const char *format, ...);

/* sentence_forget() - c is about to be freed; another handle may get its address. */
void sentence_forget(const struct carry *c);

#endif
