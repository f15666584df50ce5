/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/reply.h"

void reply_add(json_t *object, const char *name, json_t *value) {
    json_object_set_new(object, name, value);
}

void reply_add_number(json_t *object, const char *name, uint64_t number) {
    reply_add(object, name, json_integer((json_int_t)number));
}

void reply_add_bool(json_t *object, const char *name, bool value) {
    reply_add(object, name, json_boolean(value));
}

/* A name the bucket holds need not be UTF-8, but JSON must. */
void reply_add_text(json_t *object, const char *name, const char *text) {
    json_t *string = json_string(text);
    reply_add(object, name, string ? string : json_string("?"));
}

json_t *reply_good(void) {
    return json_pack("{s:b}", "ok", 1);
}

json_t *reply_bad(const char *code, const char *why) {
    json_t *answer = json_pack("{s:b}", "ok", 0);
    reply_add_text(answer, "code", code);
    reply_add_text(answer, "error", why);
    return answer;
}

json_t *reply_error(const struct s3pve_error *err) {
    return reply_bad(s3pve_code_name(err->code), err->message);
}
