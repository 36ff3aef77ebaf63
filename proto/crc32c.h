/*
 * crc32c.h - CRC-32C (Castagnoli), the checksum of every header.
 *
 * Reflected polynomial 0x82f63b78, initial value and final xor ~0, as in RFC 3720
 * appendix B.4: crc32c("123456789") = 0xe3069283.
 */
#ifndef PROTO_CRC32C_H
#define PROTO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32c() - of data[bytes], going on from `crc`, 0 to begin. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

/* crc32c_portable() - the same number without the instruction; the tests compare the two. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t bytes);

#endif
