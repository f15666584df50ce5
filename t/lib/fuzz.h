/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * fuzz.h - a fuzz target is one function that takes any bytes and must survive them
 *
 * `make fuzz` links it with libFuzzer, which looks for bytes it does not survive.  Everywhere else
 * t/lib/fuzz.c replays the seeds and some thousand mutations of them, always the same.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. */
#define must(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #cond);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
