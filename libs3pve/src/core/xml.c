/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <libxml/parser.h>
#include <libxml/xmlreader.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "core/error.h"
#include "core/xml.h"

#define PATH_MAX_LEN 512 /* bytes of "a/b/c"; S3's longest path has 60 */
#define ROOT_LEN 64

DEFINE_CLEANUP(xmlTextReaderPtr, xmlFreeTextReader)

struct walk {
    xmlTextReaderPtr reader;
    xml_element_fn fn;
    void *ctx;
    char root[ROOT_LEN];
    char path[PATH_MAX_LEN];
    size_t path_len;
    unsigned depth; /* open elements */
    struct buf text;
    bool nested; /* the innermost open element has had a child */
    bool stopped;
    const char *fault; /* why the document was refused */
};

static void silence(
    void *ctx, const char *message, xmlParserSeverities severity, xmlTextReaderLocatorPtr at
) {
}

static void init_parser(void) {
    xmlInitParser();
}

/* No DTD is loaded, no entity replaced, no network touched.  A zero byte is no character of XML;
 * refusing it here also refuses UTF-16, which would hide a DOCTYPE from nobody but surprises us. */
static xmlTextReaderPtr open_reader(const char *data, size_t len) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    xmlTextReaderPtr reader;

    pthread_once(&once, init_parser);
    if (len == 0 || len > LIMIT_REPLY || memchr(data, '\0', len))
        return NULL;
    reader = xmlReaderForMemory(
        data, (int)len, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING
    );
    if (reader)
        xmlTextReaderSetErrorHandler(reader, silence, NULL);
    return reader;
}

static int refuse(struct walk *walk, const char *fault) {
    walk->fault = fault;
    return -1;
}

/* The element is over: tell about it and step out of its path. */
static int close_element(struct walk *walk) {
    char *slash;

    if (walk->fn && walk->fn(walk->ctx, walk->path, walk->nested ? "" : buf_text(&walk->text)) != 0)
        walk->stopped = true;

    slash = strrchr(walk->path, '/');
    walk->path_len = slash ? (size_t)(slash - walk->path) : 0;
    walk->path[walk->path_len] = '\0';
    walk->depth--;
    walk->nested = true;
    return 0;
}

static int open_element(struct walk *walk) {
    const char *name = (const char *)xmlTextReaderConstLocalName(walk->reader);
    size_t len = name ? strlen(name) : 0;

    if (len == 0 || len >= ROOT_LEN)
        return refuse(walk, "an element with an odd name");
    if (++walk->depth > LIMIT_XML_DEPTH)
        return refuse(walk, "nested too deeply");
    if (walk->path_len + 1 + len >= sizeof(walk->path))
        return refuse(walk, "an element with too long a path");

    if (walk->path_len)
        walk->path[walk->path_len++] = '/';
    memcpy(walk->path + walk->path_len, name, len + 1);
    walk->path_len += len;
    if (walk->depth == 1)
        memcpy(walk->root, name, len + 1);

    walk->nested = false;
    walk->text.len = 0;
    if (walk->text.data)
        walk->text.data[0] = '\0';
    return xmlTextReaderIsEmptyElement(walk->reader) ? close_element(walk) : 0;
}

static int add_text(struct walk *walk) {
    const char *text = (const char *)xmlTextReaderConstValue(walk->reader);

    if (walk->nested || !text) /* white space between children */
        return 0;
    if (walk->text.len + strlen(text) > LIMIT_XML_TEXT)
        return refuse(walk, "an element with too much text");
    return buf_str(&walk->text, text) < 0 ? refuse(walk, "out of memory") : 0;
}

static int take_node(struct walk *walk) {
    switch (xmlTextReaderNodeType(walk->reader)) {
    case XML_READER_TYPE_ELEMENT: return open_element(walk);
    case XML_READER_TYPE_END_ELEMENT: return close_element(walk);
    case XML_READER_TYPE_TEXT:
    case XML_READER_TYPE_CDATA:
    case XML_READER_TYPE_WHITESPACE:
    case XML_READER_TYPE_SIGNIFICANT_WHITESPACE: return add_text(walk);
    case XML_READER_TYPE_DOCUMENT_TYPE: return refuse(walk, "a document type declaration");
    case XML_READER_TYPE_ENTITY_REFERENCE: return refuse(walk, "an entity reference");
    default: return 0; /* comments, processing instructions */
    }
}

static int walk_document(struct walk *walk, const char *data, size_t len) {
    _cleanup_(xmlFreeTextReaderp) xmlTextReaderPtr reader = open_reader(data, len);
    int rc = 0;

    if (!reader)
        return refuse(walk, "empty, too large, or not text");
    walk->reader = reader;
    while (!walk->stopped && (rc = xmlTextReaderRead(reader)) == 1) {
        if (take_node(walk) < 0)
            return -1;
    }
    if (rc < 0)
        return refuse(walk, "not well-formed");
    return walk->root[0] ? 0 : refuse(walk, "without an element");
}

int xml_walk(
    const char *data,
    size_t len,
    char ret_root[64],
    xml_element_fn fn,
    void *ctx,
    struct s3pve_error *err
) {
    struct walk walk = {.fn = fn, .ctx = ctx};
    int rc = walk_document(&walk, data, len);

    buf_clear(&walk.text);
    if (rc < 0)
        return error_set(err, S3PVE_E_CORRUPT, "XML answer refused: %s", walk.fault);
    if (ret_root)
        memcpy(ret_root, walk.root, ROOT_LEN);
    return 0;
}

int xml_root(const char *data, size_t len, char ret_root[64]) {
    _cleanup_(xmlFreeTextReaderp) xmlTextReaderPtr reader = open_reader(data, len);
    struct walk walk = {.reader = reader};

    while (reader && !walk.root[0] && xmlTextReaderRead(reader) == 1) {
        if (take_node(&walk) < 0)
            break;
    }
    if (!walk.root[0])
        return -1;
    memcpy(ret_root, walk.root, ROOT_LEN);
    return 0;
}

/* Paths are Error/Code, or ErrorResponse/Error/Code with the RequestId outside: the last name will
 * do, as nothing else in these documents has the same. */
static int take_error_element(void *ctx, const char *path, const char *text) {
    struct xml_error *error = ctx;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const struct {
        const char *name;
        char *to;
        size_t room;
    } fields[] = {
        {"Code", error->code, sizeof(error->code)},
        {"Message", error->message, sizeof(error->message)},
        {"Region", error->region, sizeof(error->region)},
        {"Endpoint", error->endpoint, sizeof(error->endpoint)},
        {"RequestId", error->request_id, sizeof(error->request_id)},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(name, fields[i].name) == 0 && !*fields[i].to)
            snprintf(fields[i].to, fields[i].room, "%s", text);
    }
    return 0;
}

bool xml_error_parse(const char *data, size_t len, struct xml_error *ret_error) {
    struct xml_error error = {0};
    struct walk walk = {.fn = take_error_element, .ctx = &error};
    char root[ROOT_LEN];

    if (xml_root(data, len, root) < 0 ||
        (strcmp(root, "Error") != 0 && strcmp(root, "ErrorResponse") != 0))
        return false;

    (void)walk_document(&walk, data, len); /* what came before a cut or a fault still counts */
    buf_clear(&walk.text);

    utf8_make_printable(error.code);
    utf8_make_printable(error.message);
    utf8_make_printable(error.region);
    utf8_make_printable(error.endpoint);
    utf8_make_printable(error.request_id);
    *ret_error = error;
    return true;
}

int xml_escape(struct buf *out, const char *text) {
    int rc = 0;

    for (; *text && rc == 0; text++) {
        switch (*text) {
        case '&': rc = buf_str(out, "&amp;"); break;
        case '<': rc = buf_str(out, "&lt;"); break;
        case '>': rc = buf_str(out, "&gt;"); break;
        case '"': rc = buf_str(out, "&quot;"); break;
        default:
            if ((unsigned char)*text < 0x20 || *text == 0x7f)
                rc = buf_printf(out, "&#x%X;", (unsigned)(unsigned char)*text);
            else
                rc = buf_add(out, text, 1);
        }
    }
    return rc;
}
