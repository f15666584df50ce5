/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * xml.h - a bounded pull reader for S3's answers
 *
 * libxml2's reader without entities, DTDs or network; depth, text and size are bounded
 * (limits.h).  Namespaces are ignored: servers differ.  Also a writer for the few documents we
 * send.
 */
#ifndef CORE_XML_H
#define CORE_XML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "s3pve.h"

struct xml;

/*
 * Called for every element that closes: @path is "ListBucketResult/Contents/Key", @text its text
 * (trimmed of nothing, "" for empty or nested elements).  Nonzero stops the walk (not an error).
 */
typedef int (*xml_element_fn)(void *ctx, const char *path, const char *text);

/* Return: 0, or -1 (CORRUPT) when the document is malformed, hostile or too large.
 * @ret_root receives the root element's local name, also when @fn is NULL. */
int xml_walk(
    const char *data,
    size_t len,
    char ret_root[64],
    xml_element_fn fn,
    void *ctx,
    struct s3pve_error *err
);

/* Just the root element's local name.  Return: 0, or -1 when there is none. */
int xml_root(const char *data, size_t len, char ret_root[64]);

/* <Error><Code/><Message/><Region/><RequestId/></Error>, from as much of it as is there. */
struct xml_error {
    char code[48];
    char message[256];
    char region[64];
    char endpoint[256];
    char request_id[80];
};
/* Return: true when the root is <Error> (or <ErrorResponse>). */
bool xml_error_parse(const char *data, size_t len, struct xml_error *ret_error);

/* Append text with & < > " escaped and control characters as references. */
int xml_escape(struct buf *out, const char *text);

#endif
