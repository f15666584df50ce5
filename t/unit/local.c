/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What vzdump keeps beside its archive stays on the node, and is bounded there. */
#include "mount3.h"

static int set_size(const char *path, uint64_t size) {
    struct stat attr = {.st_size = (off_t)size}, st;

    return s3pve_files_setattr(fs, mount_ino(path), &attr, S3PVE_SET_SIZE, &st);
}

static uint64_t taken(void) {
    return atomic_load(&fs->local_bytes);
}

static void so_much_and_no_more(void) {
    struct s3pve_file *file;

    is_int(mount_mkdir("dump/x.tmp"), 0, "a directory of this node");
    is_int(mount_write("dump/x.tmp/a", "0123456789"), 0, "... with a file");
    is_int(mount_write("dump/x.tmp/b", ""), 0, "... and another");
    is_int((long long)taken(), 10, "their bytes are counted");
    is_int(set_size("dump/x.tmp/a", LOCAL_MAX + 1), -ENOSPC, "one cannot be larger than all may");
    is_int((long)mount_size("dump/x.tmp/a"), 10, "... and stays as it was");
    is_int(set_size("dump/x.tmp/a", LOCAL_MAX - 5), 0, "up to that it can");
    mount_open("dump/x.tmp/b", O_WRONLY, &file);
    is_int(mount_append(file, "12345", 0), 0, "the other has the rest");
    is_int(mount_append(file, "6", 5), -ENOSPC, "... and no more");
    is_int(mount_append(file, "abc", 0), 0, "what it has can be written again");
    is_int(mount_close(file), 0, "... and closed");
    is_str(mount_read("dump/x.tmp/b"), "abc45", "... and read");
    is_int(set_size("dump/x.tmp/a", 1), 0, "when one is cut");
    is_int((long long)taken(), 6, "... there is room again");
    is_int(mount_unlink("dump/x.tmp/a") + mount_unlink("dump/x.tmp/b"), 0, "they are removed");
    is_int((long long)taken(), 0, "... and all is free");
    is_int((long long)mem3.counters.n_put, 0, "the store never heard of them");
}

int main(void) {
    mount3_begin();
    so_much_and_no_more();
    return mount3_end();
}
