/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What was once seen of a server, from disk: taken, it survives being written and read again. */
#include <string.h>

#include "fuzz.h"
#include "s3pve.h"

static void check_again(const struct s3pve_caps *caps) {
    char *text = s3pve_caps_text(caps), *again;
    struct s3pve_caps same;

    must(text && !strchr(text, '\n'));
    must(s3pve_caps_parse(text, &same, NULL) == 0);
    again = s3pve_caps_text(&same);
    must(again && strcmp(text, again) == 0);
    free(text);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = strndup((const char *)data, size);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_caps caps;

    memset(&caps, 0xff, sizeof(caps));
    if (s3pve_caps_parse(text, &caps, &err) == 0) {
        must(memchr(caps.server, 0, sizeof(caps.server)));
        must(caps.put_if_absent <= S3PVE_IGNORED && caps.part_copy <= S3PVE_IGNORED);
        check_again(&caps);
    } else {
        must(err.code == S3PVE_E_CORRUPT && err.message[0] && !strchr(err.message, '\n'));
    }
    free(text);
    return 0;
}
