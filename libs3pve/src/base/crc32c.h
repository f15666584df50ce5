/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* crc32c.h - the Castagnoli checksum, as iSCSI, ext4 and S3's x-amz-checksum-crc32c use it */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue from @crc (0 to start): crc32c(crc32c(0, a), b) is the checksum of a and b. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The same without the processor's instruction; for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
