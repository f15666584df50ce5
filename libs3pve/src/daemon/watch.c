/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/watch.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"

#define BLANKS " \t\r"

static void fclosep(FILE **file) {
    if (*file)
        fclose(*file);
}

/* Is the line (without newline) a section header, and is it ours? */
static bool is_header(const char *line, const char *storage, bool *ret_ours) {
    size_t type_len = strcspn(line, ": \t\r");
    if (type_len == 0 || line[type_len] != ':')
        return false;
    const char *id = line + type_len + 1;
    id += strspn(id, BLANKS);
    size_t id_len = strcspn(id, BLANKS);
    *ret_ours = type_len == 2 && strncmp(line, "s3", 2) == 0 && id_len == strlen(storage) &&
                strncmp(id, storage, id_len) == 0;
    return true;
}

/* Is @node in a list like "pve1, pve2"? */
static bool has_node(const char *list, const char *node) {
    size_t node_len = strlen(node);
    for (const char *c = list + strspn(list, " \t\r,;"); *c; c += strspn(c, " \t\r,;")) {
        size_t len = strcspn(c, " \t\r,;");
        if (len == node_len && strncmp(c, node, len) == 0)
            return true;
        c += len;
    }
    return false;
}

/* What one property line of our section changes. */
static enum watch_state property(const char *line, const char *node, enum watch_state state) {
    line += strspn(line, BLANKS);
    size_t name_len = strcspn(line, BLANKS);
    const char *value = line + name_len + strspn(line + name_len, BLANKS);
    if (name_len == 7 && strncmp(line, "disable", 7) == 0)
        return value[0] == '0' ? state : WATCH_DISABLED;
    if (name_len == 5 && strncmp(line, "nodes", 5) == 0 && state == WATCH_WANTED)
        return has_node(value, node) ? state : WATCH_ELSEWHERE;
    return state;
}

enum watch_state watch_judge(const char *text, const char *storage, const char *node) {
    enum watch_state state = WATCH_GONE;
    bool ours = false;
    while (*text) {
        char line[4096];
        size_t len = strcspn(text, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)(len < 4095 ? len : 4095), text);
        text += len + (text[len] == '\n');

        if (line[strspn(line, BLANKS)] == '#')
            continue;
        if (is_header(line, storage, &ours))
            state = ours ? WATCH_WANTED : state;
        else if (line[strspn(line, BLANKS)] == '\0')
            ours = false; /* a blank line ends a section */
        else if (ours)
            state = property(line, node, state);
    }
    return state;
}

enum watch_state watch_file(const char *path, const char *storage) {
    char node[256] = "";
    _cleanup_(fclosep) FILE *file = fopen(path, "re");
    _free_ char *text = malloc(STORAGE_CFG_MAX + 1);
    if (!file || !text || gethostname(node, sizeof(node) - 1) < 0)
        return WATCH_UNKNOWN;

    size_t len = fread(text, 1, STORAGE_CFG_MAX, file);
    if (ferror(file) || !feof(file))
        return WATCH_UNKNOWN;
    text[len] = '\0';
    node[strcspn(node, ".")] = '\0';
    return watch_judge(text, storage, node);
}

const char *watch_reason(enum watch_state state) {
    switch (state) {
    case WATCH_GONE: return "it is no longer in storage.cfg";
    case WATCH_DISABLED: return "it is disabled";
    case WATCH_ELSEWHERE: return "it is not for this node";
    case WATCH_WANTED:
    case WATCH_UNKNOWN: break;
    }
    return "";
}
