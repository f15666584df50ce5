/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "mount3.h"

#include "base/utf8.h"

static void directories(void) {
    uint64_t n;

    is_int(mount_mkdir("import/d"), 0, "mkdir");
    is_int(mem3_size("import/d/"), 0, "makes a marker object");
    is_int(mount_mkdir("import/d"), -EEXIST, "mkdir of what is there");
    is_int(mount_mkdir("dump"), -EEXIST, "... also of what PVE expects");
    is_int(mount_mkdir("nowhere/d"), -ENOENT, "mkdir below nothing");
    n = mem3_n_requests();
    is_int(mount_size("import/d/x"), -ENOENT, "a new directory is known to be empty");
    is_int((long long)(mem3_n_requests() - n), 0, "... without asking");
    is_int(mount_write("import/d/f", "x"), 0, "a file in it");
    is_int(mount_rmdir("import/d"), -ENOTEMPTY, "rmdir of what is not empty");
    is_int(mount_unlink("import/d"), -EISDIR, "unlink of a directory");
    is_int(mount_rmdir("import/d/f"), -ENOTDIR, "rmdir of a file");
    is_int(mount_unlink("import/d/f"), 0, "unlink");
    is_int(mount_rmdir("import/d"), 0, "rmdir");
    ok(mem3_size("import/d/") < 0, "takes the marker away");
    is_int(mount_rmdir("import/d"), -ENOENT, "rmdir of nothing");
    is_int(mount_rmdir("import"), -EBUSY, "rmdir of what PVE expects");

    is_int(mount_mkdir("import/e"), 0, "mkdir");
    mem3_put("import/e/another-nodes", "x");
    is_int(mount_rmdir("import/e"), -ENOTEMPTY, "what another node just put there is respected");
}

static void files(void) {
    uint64_t n;

    is_int(mount_unlink("snippets/none"), -ENOENT, "unlink of nothing");
    n = mem3_n_requests();
    is_int(mount_unlink("snippets/none"), -ENOENT, "... again");
    is_int((long long)(mem3_n_requests() - n), 0, "... costs nothing");
    mount_write("snippets/a", "x");
    mem3.fail = "delete";
    is_int(mount_unlink("snippets/a"), -EIO, "an object that cannot be deleted ...");
    mem3.fail = NULL;
    is_int(mount_size("snippets/a"), 1, "... is still there");
    is_int(mount_unlink("snippets/a"), 0, "... until it can");
    is_int(mount_write("snippets/a/b", "x"), -ENOENT, "no file below nothing");
    is_int(mount_write("snippets/\xff", "x"), -EINVAL, "no name that is not UTF-8");
}

static struct s3pve_file *late;

static void close_late(void) {
    mem3.on_delete = NULL;
    is_int(mount_close(late), 0, "a file is removed while its new content is put");
    ok(mem3_text("snippets/late") != NULL, "... just after the old one went");
}

static void unlink_and_close(void) {
    mount_write("snippets/late", "old");
    is_int(mount_open("snippets/late", O_WRONLY | O_TRUNC, &late), 0, "a file is written anew");
    mount_append(late, "new", 0);
    mem3.on_delete = close_late;
    is_int(mount_unlink("snippets/late"), 0, "unlink");
    ok(!mem3_text("snippets/late"), "takes the new one, too");
    is_int(mount_size("snippets/late"), -ENOENT, "... name and all");
}

static void last_error(void) {
    struct s3pve_files_stats stats;
    char key[200] = "";

    strcat(key, "a"); /* so that the cut would be within a character */
    for (int i = 0; i < 60; i++)
        strcat(key, "\xc3\xa4");
    files_fail(fs, "x", key, &(struct s3pve_error){.code = S3PVE_E_CORRUPT, .message = "why"});
    s3pve_files_stats(fs, &stats);
    ok(utf8_valid(stats.last_error, strlen(stats.last_error)), "an error's text is not cut badly");
}

static void long_names(void) {
    char path[1400] = "snippets", name[260];
    int rc = 0;

    memset(name, 'n', 256);
    name[256] = '\0';
    strcat(strcat(path, "/"), name);
    is_int(mount_write(path, "x"), -ENAMETOOLONG, "256 bytes are too long a name");
    strcpy(path, "snippets");
    name[250] = '\0';
    for (int i = 0; i < 5 && rc == 0; i++) {
        strcat(strcat(path, "/"), name);
        rc = mount_mkdir(path);
    }
    is_int(rc, -ENAMETOOLONG, "more than 1024 in all is too long a key");
}

static void usage(void) {
    struct s3pve_files_stats stats;
    uint64_t used;

    mem3_put_size("import/other", 5000);
    s3pve_files_expire(fs);
    fs->usage.due_ms = 0;
    s3pve_files_refresh(fs, NULL);
    usleep(50000);
    s3pve_files_stats(fs, &stats);
    used = stats.used_bytes;
    ok(used >= 5000 && stats.used_objects > 0, "used bytes are counted in the bucket");
    ok(stats.used_as_of_s >= clock_wall_s() - 2, "... now and then");
    mount_write("import/mine", "12345");
    s3pve_files_stats(fs, &stats);
    is_int((long long)(stats.used_bytes - used), 5, "our own count at once");
    mount_write("import/mine", "123");
    s3pve_files_stats(fs, &stats);
    is_int((long long)(stats.used_bytes - used), 3, "... also when they are replaced");
    mount_rename("import/mine", "import/other");
    s3pve_files_stats(fs, &stats);
    is_int((long long)(stats.used_bytes + 5000 - used), 3, "... and replace");
    is_int((long long)stats.total_bytes, 1ll << 50, "without a quota there is a virtual size");
    is_int(
        (long long)(stats.total_bytes - stats.avail_bytes),
        (long long)stats.used_bytes,
        "... less what is used"
    );
}

/* They queue for a directory, which the kernel lets one at a time change. */
static void queue_offline(void) {
    int64_t began_ms, first_ms;

    mount_write("import/q", "x");
    mem3.down_ms = 20000;
    mem3.down = true;
    files_fail(fs, "check", "", &(struct s3pve_error){.code = S3PVE_E_IO});
    began_ms = clock_monotonic_ms();
    is_int(mount_unlink("import/q"), -EIO, "offline, a change of a name fails");
    first_ms = clock_monotonic_ms() - began_ms;
    ok(first_ms < OFFLINE_MS + 1000, "... soon (%lld ms)", (long long)first_ms);
    began_ms = clock_monotonic_ms();
    for (int i = 0; i < 3; i++)
        mount_unlink("import/q");
    ok(clock_monotonic_ms() - began_ms < 3 * OFFLINE_AGAIN_MS + 1000,
       "... and those behind it sooner");
    mem3.down = false;
    files_mark_online(fs);
    is_int(mount_unlink("import/q"), 0, "online it is made");
}

int main(void) {
    mount3_begin();
    directories();
    files();
    unlink_and_close();
    last_error();
    long_names();
    usage();
    queue_offline();
    return mount3_end();
}
