/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* M2: what becomes of a file's bytes, wherever they are when something happens to it. */
#include "files/stream.h"
#include "mount3.h"

#define STEP KIB(128)

static struct s3pve_file *file;

static int set_size(const char *path, uint64_t size) {
    struct stat attr = {.st_size = (off_t)size}, st;

    return s3pve_files_setattr(fs, mount_ino(path), &attr, S3PVE_SET_SIZE, &st);
}

static void *flush(void *arg) {
    *(int *)arg = s3pve_file_flush(file);
    return NULL;
}

/* The store has taken it by the time we are told that nobody wants it. */
static void unlinked_during_close(void) {
    static const uint64_t sizes[] = {5, MIB(20)};
    pthread_t thread;
    int rc = -1;

    for (size_t i = 0; i < 2; i++) {
        mount_open("import/u", O_WRONLY | O_CREAT, &file);
        mount_stream(file, 0, sizes[i], STEP);
        mem3.delay_ms = 500;
        pthread_create(&thread, NULL, flush, &rc);
        usleep(200000);
        mem3.delay_ms = 0;
        is_int(mount_unlink("import/u"), 0, "a file is unlinked while its close goes on");
        is_int(mount_size("import/u"), -ENOENT, "... and is gone at once");
        pthread_join(thread, NULL);
        is_int(rc, 0, "the close has nothing to complain of");
        ok(mem3_size("import/u") < 0, "... and leaves no object");
        s3pve_file_close(file);
        ok(mount3_is_clean(), "nothing is left over");
    }
}

/* The same, but another node has put its own there before the close looks. */
static void unlinked_and_replaced(void) {
    pthread_t thread;
    int rc = -1;

    mount_open("import/mine", O_WRONLY | O_CREAT, &file);
    mount_append(file, "mine", 0);
    mem3.delay_ms = 500;
    pthread_create(&thread, NULL, flush, &rc);
    usleep(200000);
    is_int(mount_unlink("import/mine"), 0, "unlinked while its close goes on");
    while (!mem3_text("import/mine"))
        usleep(1000);
    mem3_put("import/mine", "another node's");
    pthread_join(thread, NULL);
    mem3.delay_ms = 0;
    is_str(mem3_text("import/mine"), "another node's", "what others put there meanwhile stays");
    s3pve_file_close(file);
    ok(mount3_is_clean(), "nothing is left over");
    mem3_delete("import/mine");
}

/* The same, but nobody can say whether it is still there. */
static void unlinked_and_left(void) {
    pthread_t thread;
    int rc = 0;

    mount_open("import/left", O_WRONLY | O_CREAT, &file);
    mount_append(file, "left", 0);
    mem3.delay_ms = 500;
    pthread_create(&thread, NULL, flush, &rc);
    usleep(200000);
    mem3.fail = "head";
    is_int(mount_unlink("import/left"), 0, "unlinked while its close goes on");
    pthread_join(thread, NULL);
    mem3.delay_ms = 0;
    mem3.fail = "";
    is_int(rc, -EIO, "the close says that it may have been left behind");
    s3pve_file_close(file);
    ok(mount3_is_clean(), "nothing is left over on the node");
    mem3_delete("import/left");
}

static void read_by_its_writer(void) {
    char text[8] = "";

    mount_open("import/r", O_RDWR | O_CREAT, &file);
    mount_append(file, "0123456789", 0);
    is_int(s3pve_file_read(file, text, 4, 8), 2, "in memory: as many as there are");
    ok(memcmp(text, "89", 2) == 0, "... the right ones");
    is_int(s3pve_file_read(file, text, 4, 10), 0, "... and none at the end");
    mount_append(file, "ab", 3);
    is_int(mount_append(file, "far", MIB(17)), 0, "(out of order: to the node's disk)");
    is_int(s3pve_file_read(file, text, 4, 2), 4, "on the disk, too");
    ok(memcmp(text, "2ab5", 4) == 0, "... the right ones");
    is_int(s3pve_file_read(file, text, 8, MIB(17)), 3, "... up to the end");
    is_int(s3pve_file_read(file, text, 8, MIB(18)), 0, "... and none beyond");
    mount_close(file);

    mount_open("import/s", O_RDWR | O_CREAT, &file);
    mount_stream(file, 0, MIB(17), STEP);
    is_int(s3pve_file_read(file, text, 4, 0), -EIO, "on their way to the store: not now");
    is_int(mount_close(file), 0, "... which is no failure");
    mount_open("import/t", O_RDWR | O_CREAT, &file);
    mount_stream(file, 0, MIB(17), STEP);
    is_int(mount_append(file, "x", 0), -EIO, "(a file that fails)");
    is_int(s3pve_file_read(file, text, 4, 0), -EIO, "has nothing to read");
    is_int(s3pve_file_fsync(file), -EIO, "... and fsync says so");
    s3pve_file_close(file);
    ok(mount3_is_clean(), "nothing is left over");
}

static void cut_on_disk(void) {
    mount_open("import/c", O_RDWR | O_CREAT, &file);
    mount_append(file, "end", MIB(40));
    is_int(set_size("import/c", MIB(30)), 0, "a file on the node's disk is cut");
    is_int(mount_append(file, "mid", MIB(20)), 0, "... and written further");
    is_int(s3pve_file_flush(file), 0, "... and published");
    is_int(mem3_size("import/c"), (long long)MIB(30), "... as long as it is");
    is_int(mount_append(file, "MID", MIB(20)), 0, "changed after that");
    is_int(s3pve_file_flush(file), 0, "... it is published again");
    ok(memcmp(mem3_text("import/c") + MIB(20), "MID", 3) == 0, "... with the change");
    is_int(set_size("import/c", 0), 0, "cut to nothing");
    is_int(mount_close(file), 0, "close");
    is_int(mem3_size("import/c"), 0, "... nothing is there");
    ok(mount3_is_clean(), "nothing is left over");
}

static void cut_in_the_store(void) {
    mount_open("import/d", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(17), STEP);
    is_int(set_size("import/d", MIB(18)), 0, "what is being sent can grow");
    is_int(set_size("import/d", MIB(16)), -EIO, "... but not shrink");
    is_int(mount_append(file, "end", MIB(18)), 0, "... and goes on as it was");
    is_int(mount_append(file, "x", LIMIT_OBJECT), -EFBIG, "... up to what an object may have");
    is_int(mount_close(file), 0, "close");
    ok(mem3_size("import/d") == (long)MIB(18) + 3 && mem3_text("import/d")[MIB(18) - 1] == 0 &&
           mem3_text("import/d")[MIB(17) - 1] == pattern_byte(MIB(17) - 1),
       "it is whole, with zeroes where nothing was written");
    ok(mount3_is_clean(), "nothing is left over");
}

/* Sealed under its final name; then it turns out that it goes on. */
static void goes_on(void) {
    const char *from = "dump/vzdump-on.vma.dat", *to = "dump/vzdump-on.vma.zst";

    for (int in_spool = 0; in_spool < 2; in_spool++) {
        mount_open(from, O_WRONLY | O_CREAT, &file);
        mount_append(file, "\x28\xb5\x2f\xfd", 0);
        if (in_spool)
            mount_append(file, "!", 2);
        is_int(mount_stream(file, 4, MIB(20), STEP), 0, "an archive is written");
        is_int(s3pve_file_flush(file), 0, "... and closed");
        is_int((long long)mem3_n_uploads(), 1, "... all of it is in the store");
        is_int(mount_append(file, "more", MIB(20) + 4), 0, "it goes on");
        is_int(mount_close(file), 0, "... and is closed again");
        mem3.n_copy = 0;
        is_int(mount_rename(from, to), 0, "then it is renamed");
        is_int(mem3.n_copy, 0, "... in place");
        ok(mem3_size(to) == (long)MIB(20) + 8 &&
               memcmp(mem3_text(to) + MIB(20) + 4, "more", 4) == 0,
           "... with its end");
        ok(mount3_is_clean(), "nothing is left over");
        mount_unlink(to);
    }
}

int main(void) {
    mount3_begin();
    unlinked_during_close();
    unlinked_and_replaced();
    unlinked_and_left();
    read_by_its_writer();
    cut_on_disk();
    cut_in_the_store();
    goes_on();
    return mount3_end();
}
