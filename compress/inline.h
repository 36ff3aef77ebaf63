/*
 * inline.h - functions of a few registers, which must become part of the loop that calls them.
 *
 * By force, because compilers count their instructions before they know the constants.  Not under
 * a sanitizer, whose checks in all copies would keep the compiler busy for minutes.
 *
 * UNROLL: before a loop over a few registers, which are to stay registers.
 */
#ifndef COMPRESS_INLINE_H
#define COMPRESS_INLINE_H

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INLINE_SANITIZED
#endif
#elif defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define INLINE_SANITIZED
#endif

#ifdef INLINE_SANITIZED
#define INLINE static inline __attribute__((unused))
#else
#define INLINE static inline __attribute__((always_inline, unused))
#endif

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#endif
