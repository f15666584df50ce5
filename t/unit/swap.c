/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What becomes of a swap whose answer is lost; and who may change a root. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/error.h"
#include "tap.h"
#include "volume/swap.h"

/* A bucket with a root; what happens to the next writes is written down beforehand. */
enum fate { DONE, LOST, LOST_DONE };

static struct {
    char *text;
    unsigned version, n_puts;
    enum fate fates[8];
    char *late; /* lands before the next write */
} bucket;

static void put_now(const char *text) {
    free(bucket.text);
    bucket.text = strdup(text);
    bucket.version++;
}

static int get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    if (!bucket.text)
        return error_set(err, S3PVE_E_NOT_FOUND, "none");
    snprintf(etag, ETAG_ROOM, "v%u", bucket.version);
    return buf_str(text, bucket.text);
}

static int put(
    void *ctx, const char *text, const char *etag, char new_etag[ETAG_ROOM], struct s3pve_error *err
) {
    enum fate fate = bucket.fates[bucket.n_puts++];
    char now[ETAG_ROOM] = "";

    if (bucket.late) {
        put_now(bucket.late);
        free(bucket.late);
        bucket.late = NULL;
    }
    if (bucket.text)
        snprintf(now, sizeof(now), "v%u", bucket.version);
    if (fate == LOST)
        return error_set(err, S3PVE_E_TIMEOUT, "lost");
    if (strcmp(now, etag) != 0)
        return error_set(err, S3PVE_E_CONFLICT, "another version");
    put_now(text);
    snprintf(new_etag, ETAG_ROOM, "v%u", bucket.version);
    return fate == DONE ? 0 : error_set(err, S3PVE_E_TIMEOUT, "lost");
}

static const struct volume_store store = {.root_get = get, .root_put = put};

static void begin(void) {
    struct root root = {.size = 4096, .segment_blocks = 1, .rev = 5};
    char *text = NULL;

    root.owner = (struct root_owner){ROOT_OPEN, 3, 0x33, "pve1", "boot"};
    root_encode(&root, &text, NULL);
    free(bucket.text);
    memset(&bucket, 0, sizeof(bucket));
    bucket.text = text;
    bucket.version = 1;
}

static int set_size(struct root *root, const void *arg, struct s3pve_error *err) {
    root->size = *(const uint64_t *)arg;
    return 0;
}

static int change(uint32_t nonce, uint64_t size, struct s3pve_error *err) {
    struct root_change it = {3, nonce, set_size, &size};

    return root_change(&store, NULL, &it, err);
}

static uint64_t size_now(uint64_t *ret_rev) {
    _cleanup_(root_clear) struct root root;

    if (root_decode(&root, bucket.text, strlen(bucket.text), NULL) < 0)
        abort();
    *ret_rev = root.rev;
    return root.size;
}

static void check(int want, uint64_t size, uint64_t rev, int rc, const char *what) {
    uint64_t rev_now, now = size_now(&rev_now);

    is_int(rc, want, "%s", what);
    is_int((long long)now, (long long)size, "... its size");
    is_int((long long)rev_now, (long long)rev, "... and rev");
}

static void test_change(void) {
    begin();
    check(0, 8192, 6, change(0x33, 8192, NULL), "the owner changes its root");
    begin();
    bucket.fates[0] = LOST_DONE;
    check(0, 8192, 6, change(0x33, 8192, NULL), "it was done, though nobody said so");
    is_int(bucket.n_puts, 1, "... which is seen without another");
    begin();
    bucket.fates[0] = bucket.fates[1] = LOST;
    check(0, 8192, 6, change(0x33, 8192, NULL), "it was not, and is tried again");
    begin();
    bucket.fates[0] = bucket.fates[1] = bucket.fates[2] = LOST;
    check(-1, 4096, 5, change(0x33, 8192, NULL), "not for ever");
}

static void test_late(void) {
    char *earlier;

    begin();
    change(0x33, 8192, NULL);
    earlier = strdup(bucket.text); /* ours, and its rev is 6 */
    begin();
    bucket.late = earlier;
    check(0, 12288, 7, change(0x33, 12288, NULL), "one of ours that lands late is not this one");
}

static void test_others(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    begin();
    check(-1, 4096, 5, change(0x44, 8192, &err), "who lost the volume changes nothing");
    is_int(err.code, S3PVE_E_CONFLICT, "... and is told");
    ok(strstr(err.message, "pve1"), "... who has it: %s", err.message);
}

static void test_create(void) {
    struct root root = {.size = 512, .segment_blocks = 1};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint64_t rev;

    begin();
    free(bucket.text);
    bucket.text = NULL;
    bucket.fates[0] = LOST;
    is_int(volume_create(&store, NULL, &root, NULL), 0, "a volume is made");
    root = (struct root){.size = 1024, .segment_blocks = 1};
    is_int(volume_create(&store, NULL, &root, &err), -1, "but not where there is one");
    is_int(err.code, S3PVE_E_CONFLICT, "... which is a conflict");
    ok(size_now(&rev) == 512 && rev == 1, "the first one is as it was");
}

int main(void) {
    test_change();
    test_late();
    test_others();
    test_create();
    free(bucket.text);
    return done_testing();
}
