/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* M1 and M2: a file being written, until the store has it or it is gone. */
#include "files/stream.h"
#include "mount3.h"

#define STEP KIB(128)

static struct s3pve_file *file;

static bool is_pattern(const char *key, size_t len) {
    const char *data = mem3_text(key);
    size_t i = 0;

    if (mem3_size(key) != (long)len)
        return false;
    while (i < len && data[i] == pattern_byte(i))
        i++;
    return i == len;
}

static void small_file(void) {
    uint64_t n;

    is_int(mount_open("snippets/a", O_WRONLY | O_CREAT, &file), 0, "a file is made");
    is_int(mount_append(file, "hello ", 0), 0, "and written");
    is_int(mount_append(file, "world", 6), 0, "... in order");
    ok(!mem3_text("snippets/a"), "before close the store has nothing (M2)");
    is_int(mount_size("snippets/a"), 11, "who asks for it here sees how far it is");
    is_str(mount_list("snippets"), "", "but it is not in the directory");
    is_str(mount_read("snippets/a"), "(EBUSY)", "and nobody can read it");
    n = mem3_n_requests();
    is_int(s3pve_file_flush(file), 0, "close publishes it");
    is_int((long long)(mem3_n_requests() - n), 1, "... in one request");
    is_str(mem3_text("snippets/a"), "hello world", "the store has all of it");
    is_int(s3pve_file_flush(file), 0, "a second close(2) of a dup is harmless");
    is_int((long long)(mem3_n_requests() - n), 1, "... and costs nothing");
    is_int(mount_size("snippets/a"), 11, "its size is right at once");
    s3pve_file_close(file);
    is_int(mount_size("snippets/a"), 11, "... and after the last close");
    is_str(mount_list("snippets"), "a", "now it is in the directory");
    is_str(mount_read("snippets/a"), "hello world", "and can be read");
    ok(mount3_is_clean(), "nothing is left over");
}

static void flushed_too_early(void) {
    mount_open("snippets/b", O_WRONLY | O_CREAT, &file);
    is_int(s3pve_file_flush(file), 0, "a shell closes its copy before a byte was written");
    is_int(mount_append(file, "one", 0), 0, "(writing)");
    is_int(s3pve_file_flush(file), 0, "a child with the file open runs another program");
    is_int(mount_append(file, "two", 3), 0, "writing goes on");
    is_int(mount_close(file), 0, "the last close");
    is_str(mem3_text("snippets/b"), "onetwo", "the store has the longer file");
    is_int(mount_write("dump/x.protected", ""), 0, "a file of no bytes ...");
    is_int(mem3_size("dump/x.protected"), 0, "... is an object of no bytes");
    is_int(
        mount_open("dump/y.protected", O_RDONLY | O_CREAT, &file), 0, "made without writing ..."
    );
    is_int(mem3_size("dump/y.protected"), 0, "... it is there when open(2) returns");
    s3pve_file_close(file);
    ok(mount3_is_clean(), "nothing is left over");
}

static void large_file(void) {
    struct s3pve_files_stats stats;
    struct s3pve_files_upload upload;

    mount_open("template/iso/big.iso", O_WRONLY | O_CREAT | O_TRUNC, &file);
    is_int(mount_stream(file, 0, MIB(40) + 77, STEP), 0, "40 MiB are written in order");
    is_int((long long)mem3_n_uploads(), 1, "they are on their way while it goes on (M1)");
    s3pve_files_stats(fs, &stats);
    ok(stats.upload_memory == 0, "what went is not kept");
    is_int(stats.uploads, 1, "the upload is counted");
    is_int(s3pve_files_upload_next(fs, 0, &upload), 0, "... and listed");
    is_str(upload.path, "template/iso/big.iso", "... by its path");
    ok(upload.size == MIB(40) + 77 && upload.stored >= MIB(32), "... and how far it is");
    is_int(s3pve_files_upload_next(fs, 1, &upload), -ENOENT, "... alone");
    ok(mem3_size("template/iso/big.iso") < 0, "it is not in the store before close");
    is_int(mount_close(file), 0, "close");
    ok(is_pattern("template/iso/big.iso", MIB(40) + 77), "all bytes are there, in order");
    ok(mount3_is_clean(), "nothing is left over");

    mount_open("template/iso/big.iso", O_WRONLY | O_TRUNC, &file);
    is_int(mount_stream(file, 0, MIB(17), STEP), 0, "it is written anew");
    ok(is_pattern("template/iso/big.iso", MIB(40) + 77), "until close the old one stays");
    is_int(mount_close(file), 0, "close");
    ok(is_pattern("template/iso/big.iso", MIB(17)), "replaces it");
}

static void one_writer(void) {
    struct s3pve_file *other;

    mount_open("snippets/w", O_WRONLY | O_CREAT, &file);
    is_int(mount_open("snippets/w", O_WRONLY, &other), -EBUSY, "there is one writer at a time");
    is_int(mount_open("snippets/w", O_RDWR | O_CREAT, &other), -EBUSY, "... however it opens");
    is_int(mount_open("snippets/w", O_WRONLY | O_CREAT | O_EXCL, &other), -EEXIST, "O_EXCL");
    mount_close(file);
    is_int(mount_open("snippets/w", O_WRONLY, &other), 0, "afterwards another may");
    mount_close(other);
    mem3_put("snippets/elsewhere", "made by another node just now");
    is_int(
        mount_open("snippets/elsewhere", O_WRONLY | O_CREAT | O_EXCL, &other),
        -EEXIST,
        "O_EXCL asks the store, not only the memory"
    );
}

/* The kernel tells of the last close(2) after it has returned: the next may be quicker. */
static void next_writer(void) {
    struct s3pve_file *late;

    mount_open("snippets/next", O_WRONLY | O_CREAT, &late);
    mount_append(late, "first", 0);
    s3pve_file_flush(late);
    is_int(mount_open("snippets/next", O_WRONLY | O_TRUNC, &file), 0, "who comes after a close");
    mount_append(file, "second", 0);
    s3pve_file_close(late);
    is_int(mount_close(file), 0, "... writes the file anew");
    is_str(mem3_text("snippets/next"), "second", "... and that is what stays");

    mount_open("snippets/next", O_WRONLY | O_TRUNC, &late);
    mount_append(late, "third", 0);
    s3pve_file_flush(late);
    is_int(mount_open("snippets/next", O_WRONLY | O_APPEND, &file), 0, "or appends to it");
    mount_append(file, "!", 0);
    mount_append(late, "lost", 5);
    is_int(s3pve_file_flush(late), -EIO, "if the other goes on after all, its close tells");
    s3pve_file_close(late);
    mount_close(file);
    is_str(mem3_text("snippets/next"), "third!", "... and nothing is mixed");
    ok(mount3_is_clean(), "nothing is left over");
}

static void failing(void) {
    mount_open("import/broken", O_WRONLY | O_CREAT, &file);
    mem3.fail = "part";
    mount_stream(file, 0, MIB(40), STEP);
    mem3.fail = NULL;
    is_int(mount_size("import/broken"), -ENOENT, "a new file that failed is not there any more");
    s3pve_file_close(file);

    mem3.fail = "put";
    is_int(mount_write("snippets/f", "x"), -EIO, "when the store refuses, close says so");
    mem3.fail = NULL;
    is_int(mount_size("snippets/f"), -ENOENT, "and the name is gone");
    ok(!mem3_text("snippets/f"), "... everywhere");

    mount_open("snippets/g", O_WRONLY | O_CREAT, &file);
    mount_append(file, "x", 0);
    mem3.fail = "put";
    is_int(s3pve_file_flush(file), -EIO, "a close that failed ...");
    mem3.fail = NULL;
    is_int(s3pve_file_flush(file), 0, "... can succeed for the next");
    s3pve_file_close(file);
    is_str(mem3_text("snippets/g"), "x", "then it is there");

    mount_open("import/h", O_WRONLY | O_CREAT, &file);
    mem3.fail = "part";
    is_int(mount_stream(file, 0, MIB(40), STEP), -EIO, "a part that cannot be stored fails write");
    mem3.fail = NULL;
    is_int(mount_append(file, "x", MIB(40)), -EIO, "... for good");
    is_int(mount_close(file), -EIO, "... and close");
    ok(mem3_size("import/h") < 0 && mount3_is_clean(), "nothing of it is left");

    mount_open("import/i", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), STEP);
    mem3.fail = "complete";
    is_int(mount_close(file), -EIO, "so does a Complete that fails");
    mem3.fail = NULL;
    ok(mem3_size("import/i") < 0 && mount3_is_clean(), "nothing of it is left");

    mem3_put("snippets/kept", "before");
    s3pve_files_refresh(fs, NULL);
    s3pve_files_expire(fs);
    mem3.fail = "put";
    is_int(mount_write("snippets/kept", "after"), -EIO, "a failed replacement ...");
    mem3.fail = NULL;
    is_str(mount_read("snippets/kept"), "before", "... leaves what was there");
    is_int(mount_size("snippets/kept"), 6, "... with its size");
}

/* What is still on the node is not lost with one attempt to send it. */
static void failing_spool(void) {
    const char *dat = "dump/vzdump-lxc-7-2026_01_01-00_00_00.tar.dat";
    const char *done = "dump/vzdump-lxc-7-2026_01_01-00_00_00.tar.zst";

    mount_open(dat, O_WRONLY | O_CREAT, &file);
    mount_append(file, "\x28\xb5\x2f\xfd", 0);
    is_int(mount_append(file, "end", MIB(40)), 0, "a held file goes to the spool");
    mem3.fail = "part";
    is_int(s3pve_file_flush(file), -EIO, "the store does not take it: close says so");
    is_int(s3pve_file_flush(file), -EIO, "... and the next does, too");
    mem3.fail = NULL;
    is_int(s3pve_file_flush(file), 0, "... until it does");
    is_int((long long)mem3_n_uploads(), 1, "what failed was aborted");
    is_int(mount_close(file), 0, "(closed)");
    is_int(mount_rename(dat, done), 0, "it is renamed");
    is_int(mem3_size(done), (long)MIB(40) + 3, "... whole");
    ok(mount3_is_clean(), "nothing is left over");
}

static void dropped(void) {
    mount_open("import/d", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), STEP);
    s3pve_file_close(file);
    ok(mem3_size("import/d") < 0 && mount3_is_clean(),
       "a file never flushed is dropped, its parts too");
    is_int(mount_size("import/d"), -ENOENT, "... and its name");

    mount_open("import/e", O_WRONLY | O_CREAT, &file);
    mount_append(file, "first", 0);
    s3pve_file_flush(file);
    mount_append(file, "second", 5);
    s3pve_file_close(file);
    is_str(mem3_text("import/e"), "first", "what was written after the last flush is dropped");
    is_int(mount_size("import/e"), 5, "... and the size says so");

    mount_open("import/u", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), STEP);
    is_int(mount_unlink("import/u"), 0, "a file being written is unlinked");
    is_int((long long)mem3_n_uploads(), 0, "its upload is aborted at once");
    is_int(mount_append(file, "x", MIB(20)), -EIO, "its writer hears of it");
    is_int(mount_close(file), 0, "... but not in close, since nobody can look for it");
    ok(mem3_size("import/u") < 0 && mount3_is_clean(), "nothing comes of it");
}

static void out_of_order(void) {
    static char tail[] = "tail";

    mount_open("import/o", O_WRONLY | O_CREAT, &file);
    is_int(mount_append(file, "....world", 0), 0, "bytes that are still here ...");
    is_int(mount_append(file, "hell", 0), 0, "... can be rewritten");
    is_int(mount_append(file, "!", 12), 0, "a gap is fine");
    mount_close(file);
    ok(mem3_size("import/o") == 13 && memcmp(mem3_text("import/o"), "hellworld\0\0\0!", 13) == 0,
       "it is filled with zeroes");

    mount_open("import/p", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(1), STEP);
    mount_append(file, tail, 100);
    is_int(mount_stream(file, MIB(1), MIB(31), STEP), 0, "a writer that went back goes on");
    is_int((long long)mem3_n_uploads(), 0, "... into a spool, not to the store");
    ok(atomic_load(&fs->spool_bytes) >= MIB(32), "... which is counted");
    is_int(mount_append(file, tail, MIB(20)), 0, "... and takes bytes anywhere");
    is_int(mount_close(file), 0, "close sends it");
    ok(mem3_size("import/p") == (long)MIB(32), "all of it");
    ok(memcmp(mem3_text("import/p") + 100, tail, 4) == 0 &&
           memcmp(mem3_text("import/p") + MIB(20), tail, 4) == 0 &&
           mem3_text("import/p")[MIB(30)] == pattern_byte(MIB(30)),
       "with every change");
    ok(mount3_is_clean(), "nothing is left over");

    mount_open("import/q", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), STEP);
    is_int(mount_append(file, "x", 5), -EIO, "going back after parts were sent cannot be");
    ok(strstr(mem3.log, "out of order"), "... and the log says so");
    s3pve_file_close(file);

    mount_open("import/r", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), STEP);
    is_int(mount_append(file, "x", MIB(21)), 0, "a gap after parts were sent ...");
    mount_close(file);
    ok(mem3_size("import/r") == (long)MIB(21) + 1 && mem3_text("import/r")[MIB(21) - 1] == 0 &&
           mem3_text("import/r")[MIB(21)] == 'x',
       "... is filled with zeroes");

    mount_open("import/s", O_WRONLY | O_CREAT, &file);
    is_int(mount_append(file, "end", MIB(100)), 0, "a jump far ahead goes to the spool");
    is_int((long long)mem3_n_uploads(), 0, "... without sending zeroes");
    mount_close(file);
    ok(mem3_size("import/s") == (long)MIB(100) + 3, "... until close");
}

/* All the memory that heads may have is taken. */
static void many_heads(void) {
    struct s3pve_file *archive;
    char *start = calloc(1, MIB(1));

    atomic_fetch_add(&fs->head_bytes, STORAGE_MEMORY);
    mem3_put("snippets/tight", "0123456789");
    mem3_put_size("import/tight", MIB(2));
    s3pve_files_expire(fs);
    mount_open("snippets/tight", O_RDWR, &file);
    is_int(mount_append(file, "ab", 3), 0, "a small object is changed in memory all the same");
    mount_close(file);
    is_str(mem3_text("snippets/tight"), "012ab56789", "... and published");
    mount_open("import/tight", O_RDWR, &file);
    is_int(mount_append(file, "ab", 3), 0, "a larger one is, on the node's disk");
    mount_close(file);
    ok(mem3_size("import/tight") == (long)MIB(2) &&
           memcmp(mem3_text("import/tight") + 3, "ab", 2) == 0,
       "... and published");

    memcpy(start, "\x28\xb5\x2f\xfd", 4);
    mount_open("dump/vzdump-tight.vma.dat", O_WRONLY | O_CREAT, &archive);
    is_int((int)s3pve_file_write(archive, start, MIB(1), 0), (int)MIB(1), "an archive begins");
    is_int((long long)mem3_n_uploads(), 1, "... and is sent at once");
    is_int(mount_close(archive), 0, "its end");
    mem3.n_copy = 0;
    mount_rename("dump/vzdump-tight.vma.dat", "dump/vzdump-tight.vma.zst");
    is_int(mem3.n_copy, 0, "its first bytes were looked at: nothing is copied when it is renamed");
    is_int(mem3_size("dump/vzdump-tight.vma.zst"), (long long)MIB(1), "... whole");
    atomic_fetch_sub(&fs->head_bytes, STORAGE_MEMORY);
    free(start);
    ok(mount3_is_clean(), "nothing is left over");
}

static void truncating(void) {
    struct stat attr = {0}, st;
    uint64_t ino;

    mount_write("snippets/old", "0123456789");
    ino = mount_ino("snippets/old");
    attr.st_size = 3;
    is_int(s3pve_files_setattr(fs, ino, &attr, S3PVE_SET_SIZE, &st), 0, "truncate(2) to less");
    is_str(mem3_text("snippets/old"), "012", "... is published");
    is_int(st.st_size, 3, "... and the new size told");
    attr.st_size = 5;
    is_int(s3pve_files_setattr(fs, ino, &attr, S3PVE_SET_SIZE, &st), 0, "to more");
    ok(mem3_size("snippets/old") == 5 && memcmp(mem3_text("snippets/old"), "012\0\0", 5) == 0,
       "... grows with zeroes");
    attr.st_size = 0;
    is_int(s3pve_files_setattr(fs, ino, &attr, S3PVE_SET_SIZE, &st), 0, "to nothing");
    is_int(mem3_size("snippets/old"), 0, "... leaves an empty object");

    mount_open("import/t", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), STEP);
    ino = mount_ino("import/t");
    attr.st_size = 0;
    is_int(s3pve_files_setattr(fs, ino, &attr, S3PVE_SET_SIZE, &st), 0, "begun again");
    is_int((long long)mem3_n_uploads(), 0, "... the parts are dropped");
    is_int(mount_stream(file, 0, MIB(18), STEP), 0, "... and it is written anew");
    mount_close(file);
    ok(is_pattern("import/t", MIB(18)), "... whole");
    attr.st_size = MIB(30);
    mount_open("import/t2", O_WRONLY | O_CREAT, &file);
    ino = mount_ino("import/t2");
    is_int(s3pve_files_setattr(fs, ino, &attr, S3PVE_SET_SIZE, &st), 0, "made large at first");
    is_int(mount_append(file, "mid", MIB(10)), 0, "... then written anywhere");
    mount_close(file);
    ok(mem3_size("import/t2") == (long)MIB(30) && mem3_text("import/t2")[MIB(10)] == 'm',
       "... is published so");
    ok(mount3_is_clean(), "nothing is left over");
}

/* truncate(2) between a writer's last close(2) and the kernel's word of it. */
static void truncated_late(void) {
    struct stat attr = {.st_size = 2}, st;

    mount_open("snippets/late", O_WRONLY | O_CREAT, &file);
    mount_append(file, "12345", 0);
    s3pve_file_flush(file);
    is_int(
        s3pve_files_setattr(fs, mount_ino("snippets/late"), &attr, S3PVE_SET_SIZE, &st),
        0,
        "truncate"
    );
    s3pve_file_close(file);
    is_str(mem3_text("snippets/late"), "12", "... is published at once");
}

static void attributes(void) {
    struct stat attr = {.st_mode = 0400, .st_uid = 100000, .st_gid = (gid_t)-1}, st;
    uint64_t ino;

    mount_open("snippets/attr", O_WRONLY | O_CREAT, &file);
    mount_append(file, "x", 0);
    ino = mount_ino("snippets/attr");
    attr.st_mtim.tv_sec = 1234567890;
    is_int(
        s3pve_files_setattr(
            fs, ino, &attr, S3PVE_SET_MODE | S3PVE_SET_OWNER | S3PVE_SET_MTIME, &st
        ),
        0,
        "chmod, chown and utimens are accepted"
    );
    mount_close(file);
    mount_stat("snippets/attr", &st);
    is_int(st.st_mtime, 1234567890, "cp -p's time outlives close");
    is_int(st.st_mode & 07777, 0400, "... the mode, too");
    is_int(st.st_uid, 100000, "... and the owner");
    is_int(st.st_gid, 0, "... where one was given");
    s3pve_files_expire(fs);
    mount_stat("snippets/attr", &st);
    is_int(st.st_mtime, 1234567890, "... and the next listing");
}

static void quota(void) {
    struct s3pve_files_stats stats;

    s3pve_files_stats(fs, &stats);
    s3pve_files_set_limits(fs, 0, stats.used_bytes + MIB(2));
    mount_open("import/full", O_WRONLY | O_CREAT, &file);
    is_int(mount_stream(file, 0, MIB(1), STEP), 0, "within the quota one may write");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.avail_bytes, (long long)MIB(1), "what is being written is counted");
    is_int(mount_stream(file, MIB(1), MIB(2), STEP), -ENOSPC, "beyond it one may not");
    s3pve_files_stats(fs, &stats);
    ok(strstr(stats.last_error, "import/full") && strstr(stats.last_error, "quota"), "... said so");
    is_int(mount_close(file), -ENOSPC, "... and close fails, too");
    ok(mem3_size("import/full") < 0, "... so that nothing comes of it");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.avail_bytes, (long long)MIB(2), "what was dropped is free again");
    is_int(mount_write("import/fits", "0123456789"), 0, "what fits goes");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.avail_bytes, (long long)MIB(2) - 10, "... and is counted at once");
    is_int(mount_unlink("import/fits"), 0, "removing it");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.avail_bytes, (long long)MIB(2), "... frees it at once");
    s3pve_files_set_limits(fs, 0, 0);
}

static void killed_writer(void) {
    int cancel = 0;

    mount_open("import/k", O_WRONLY | O_CREAT, &file);
    s3pve_files_set_cancel(&cancel);
    mount_stream(file, 0, MIB(15), STEP);
    cancel = 1;
    is_int(mount_stream(file, MIB(15), MIB(5), STEP), -EINTR, "a killed writer's call ends");
    s3pve_files_set_cancel(NULL);
    s3pve_file_close(file);
    ok(mem3_size("import/k") < 0 && mount3_is_clean(), "and nothing of it stays");
}

int main(void) {
    mount3_begin();
    small_file();
    flushed_too_early();
    large_file();
    one_writer();
    next_writer();
    failing();
    failing_spool();
    dropped();
    out_of_order();
    many_heads();
    truncating();
    truncated_late();
    attributes();
    quota();
    killed_writer();
    return mount3_end();
}
