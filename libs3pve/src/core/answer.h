/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* answer.h - taking in what the store sends, byte by byte; callbacks of struct transfer */
#ifndef CORE_ANSWER_H
#define CORE_ANSWER_H

#include "core/http.h"

int answer_header(struct transfer *transfer, const char *name, const char *value);
int answer_data(struct transfer *transfer, const void *data, size_t len);

#endif
