/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "mount3.h"

static void open_so_many(void) {
    static struct s3pve_file *files[OPEN_FILES_MAX];
    struct s3pve_files_stats stats;
    struct s3pve_file *more;
    unsigned n = 0;

    mem3_put("snippets/a", "text");
    while (n < OPEN_FILES_MAX && mount_open("snippets/a", O_RDONLY, &files[n]) == 0)
        n++;
    is_int(n, OPEN_FILES_MAX, "so many files can be open at once");
    is_int(mount_open("snippets/a", O_RDONLY, &more), -ENFILE, "... and no more");
    is_int(mount_write("snippets/b", "x"), -ENFILE, "... nor can one be made");
    is_int(mount_size("snippets/b"), -ENOENT, "... which then has no name");
    s3pve_file_close(files[--n]);
    is_int(mount_write("snippets/b", "x"), 0, "when one is closed, another may be opened");
    while (n)
        s3pve_file_close(files[--n]);
    s3pve_files_stats(fs, &stats);
    is_int(stats.open_files, 0, "all are closed");
    ok(mount3_is_clean(), "nothing is left over");
}

int main(void) {
    mount3_begin();
    open_so_many();
    return mount3_end();
}
