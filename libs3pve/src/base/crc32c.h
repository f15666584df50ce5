/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* crc32c.h - CRC-32C (Castagnoli), continued from @crc; start with 0.  isa-l does the work. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
