/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

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

static void one_inode_one_version(void) {
    struct s3pve_file *reader, *writer, *late;
    char text[16];
    uint64_t ino;

    mem3_put("snippets/v", "0123456789");
    s3pve_files_expire(fs);
    ino = mount_ino("snippets/v");
    mount_open("snippets/v", O_RDONLY, &reader);
    is_int(
        s3pve_file_open(fs, ino, O_RDWR | O_TRUNC, &writer, NULL),
        -ESTALE,
        "who writes is told to look the name up again"
    );
    ok(mount_ino("snippets/v") != ino, "... which has another inode");
    is_int(s3pve_file_open(fs, ino, O_RDONLY, &late, NULL), -ESTALE, "the old one is not opened");
    is_int(mount_open("snippets/v", O_RDWR | O_TRUNC, &writer), 0, "then he may write");
    mount_append(writer, "new", 0);
    is_int(s3pve_file_read(reader, text, 10, 0), 10, "the reader has all of the old version");
    ok(memcmp(text, "0123456789", 10) == 0, "... as it was");
    is_int(mount_open("snippets/v", O_RDONLY, &late), -EBUSY, "nobody opens what is being written");
    s3pve_file_flush(writer);
    is_int(mount_open("snippets/v", O_RDONLY, &late), 0, "what is published may be opened");
    ok(s3pve_file_is_direct(late), "... without pages in the kernel");
    ino = mount_ino("snippets/v");
    is_int(s3pve_file_truncate(writer, 0), 0, "its writer cuts it");
    is_int(s3pve_file_read(late, text, 3, 0), -EIO, "... which is an error to others, not an end");
    is_str(mem3_text("snippets/v"), "new", "... and nothing in the bucket yet");
    is_int(mount_append(writer, "newer", 0), 0, "he writes on");
    is_int(mount_close(writer), 0, "... and closes");
    is_str(mem3_text("snippets/v"), "newer", "then it is published");
    is_int((long long)mount_ino("snippets/v"), (long long)ino, "... in the inode he has");
    s3pve_file_close(late);
    s3pve_file_close(reader);
    ok(mount3_is_clean(), "nothing is left over");
}

/* The kernel hears of a new size after it is published. */
static void cut_by_name(void) {
    struct stat attr = {.st_size = 5}, st;
    struct s3pve_file *reader;

    mount_write("snippets/c", "0123456789");
    mount_open("snippets/c", O_RDONLY, &reader);
    ok(!s3pve_file_is_direct(reader), "a file is read through the kernel's pages");
    s3pve_file_close(reader);
    is_int(
        s3pve_files_setattr(fs, mount_ino("snippets/c"), &attr, S3PVE_SET_SIZE, &st),
        0,
        "it is cut by name"
    );
    mount_open("snippets/c", O_RDONLY, &reader);
    ok(s3pve_file_is_direct(reader), "who opens it just then reads past them");
    s3pve_file_close(reader);
    usleep(1100000);
    mount_open("snippets/c", O_RDONLY, &reader);
    ok(!s3pve_file_is_direct(reader), "... and later through them again");
    s3pve_file_close(reader);
}

/* The listing that named it may be some seconds old. */
static void replaced_since(void) {
    struct s3pve_file *reader;
    uint64_t ino;

    mem3_put("snippets/s", "old");
    s3pve_files_expire(fs);
    ino = mount_ino("snippets/s");
    mem3_put("snippets/s", "longer");
    is_int(
        s3pve_file_open(fs, ino, O_RDONLY, &reader, NULL),
        -ESTALE,
        "a file of another size than was listed is another inode's"
    );
    is_str(mount_read("snippets/s"), "longer", "... and is read at once");
    mem3.n_head = 0;
    is_str(mount_read("snippets/s"), "longer", "read again");
    is_int(mem3.n_head, 0, "... nothing is asked for that");

    mem3_put("snippets/t", "one");
    s3pve_files_expire(fs);
    mount_ino("snippets/t");
    mem3_put("snippets/t", "two");
    is_str(mount_read("snippets/t"), "two", "one of the same size is read as well");
    mount_write("snippets/u", "own");
    mem3.n_head = 0;
    is_str(mount_read("snippets/u"), "own", "what we wrote ourselves is read");
    is_int(mem3.n_head, 0, "... without asking");

    mem3_put("snippets/v", "text");
    s3pve_files_expire(fs);
    mount_ino("snippets/v");
    mem3.fail = "head";
    is_str(mount_read("snippets/v"), "text", "who cannot ask reads what was listed");
    mem3.fail = NULL;
}

static atomic_uint n_entries;

static void on_entry(void *ctx, uint64_t parent, const char *name) {
    n_entries++;
}

/* The kernel was told the size of what is not published after all. */
static void dropped(void) {
    struct s3pve_files_notify notify = {.inval_entry = on_entry};
    struct s3pve_file *writer, *late;
    struct stat st;

    mem3_put("snippets/d", "0123456789");
    s3pve_files_expire(fs);
    is_int(s3pve_files_lookup(fs, mount_ino("snippets"), "d", &st), 0, "the kernel knows a file");
    s3pve_files_set_notify(fs, &notify);
    is_int(s3pve_file_open(fs, st.st_ino, O_RDWR, &writer, NULL), 0, "a writer opens it");
    s3pve_file_truncate(writer, 5);
    s3pve_file_close(writer);
    is_int(
        s3pve_file_open(fs, st.st_ino, O_RDONLY, &late, NULL),
        -ESTALE,
        "he cuts it and is killed: what the kernel knew is not opened"
    );
    is_int(n_entries, 1, "... of which it is told");
    is_str(mount_read("snippets/d"), "0123456789", "... another inode has what is there");
    s3pve_files_forget(fs, st.st_ino, 1);

    is_int(s3pve_files_lookup(fs, mount_ino("snippets"), "d", &st), 0, "the kernel knows that one");
    is_int(s3pve_file_open(fs, st.st_ino, O_RDWR, &writer, NULL), 0, "a writer opens it");
    s3pve_file_truncate(writer, 5);
    is_int(mount_close(writer), 0, "he cuts it and closes");
    is_int((long long)mount_ino("snippets/d"), (long long)st.st_ino, "then it stays as it is");
    s3pve_files_forget(fs, st.st_ino, 1);
    s3pve_files_set_notify(fs, &(struct s3pve_files_notify){0});
    ok(mount3_is_clean(), "nothing is left over");
}

int main(void) {
    mount3_begin();
    open_so_many();
    one_inode_one_version();
    cut_by_name();
    replaced_since();
    dropped();
    return mount3_end();
}
