/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The files of a storage on a real server: streams, held archives, other nodes and crashes.
 *
 * TEST_ARCHIVE_MIB: size of the archive, 200 by default; 6144 takes two minutes, and a
 * server with room for it (libs3pve/DESIGN.md 12).
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "live.h"
#include "steps.h"

#define DAT "dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.dat"
#define ZST "dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.zst"

static struct s3pve_client *client;
static struct s3pve_file *file;

static struct s3pve_config *config;

static struct s3pve_client *open_client(void) {
    struct s3pve_client *opened = NULL;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (s3pve_client_open(config, NULL, NULL, &opened, &err) < 0 ||
        s3pve_client_start_thread(opened, &err) < 0)
        bail_out("%s", err.message);
    return opened;
}

static long peak_mib(void) {
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
}

static unsigned n_uploads_left(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    unsigned n = 0;

    if (s3pve_upload_sweep(client, "", 0, &n, NULL, &err) < 0)
        printf("# sweep: %s\n", err.message);
    return n;
}

static long object_size(const char *key) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_info info;

    return s3pve_object_head(client, key, &info, NULL, &err) < 0 ? -(long)err.errnum
                                                                 : (long)info.size;
}

/* A block of the pattern, again and again: making 6 GiB must not be what takes the time. */
static int write_archive(const char *path, uint64_t len) {
    static char block[1u << 20];
    int rc = mount_open(path, O_WRONLY | O_CREAT | O_TRUNC, &file);

    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = pattern_byte(i);
    for (uint64_t at = 0; at < len && rc == 0; at += sizeof(block)) {
        ssize_t n;

        memcpy(block, at ? (const char *)&at : "\x28\xb5\x2f\xfd", 4);
        n = s3pve_file_write(file, block, sizeof(block), at);
        rc = n < 0 ? (int)n : 0;
    }
    return rc;
}

static bool read_is_right(const char *path, uint64_t len) {
    size_t step = KIB(128);
    char *buf = malloc(step);
    bool right = mount_open(path, O_RDONLY, &file) == 0;

    for (uint64_t at = 0; at < len && right; at += step) {
        uint64_t block = at & ~(uint64_t)0xfffff;

        right = s3pve_file_read(file, buf, step, at) == (ssize_t)step;
        if (at == block)
            right = right && memcmp(buf, at ? (const char *)&at : "\x28\xb5\x2f\xfd", 4) == 0;
        for (size_t i = at == block ? 4 : 0; right && i < step; i += 61)
            right = buf[i] == pattern_byte((at & 0xfffff) + i);
    }
    s3pve_file_close(file);
    free(buf);
    return right;
}

static void the_backup(void) {
    const char *text = getenv("TEST_ARCHIVE_MIB");
    uint64_t len = MIB(text ? strtoul(text, NULL, 10) : 200);
    struct s3pve_counters before, after;
    int64_t began = clock_monotonic_ms();
    long rss = peak_mib();

    is_int(
        write_archive(DAT, len),
        0,
        "an archive of %llu MiB is written",
        (unsigned long long)len >> 20
    );
    is_int(mount_close(file), 0, "and closed");
    printf("# written in %lld ms\n", (long long)(clock_monotonic_ms() - began));
    ok(peak_mib() - rss < 128, "with less than 128 MiB of memory (%ld)", peak_mib() - rss);
    is_int(object_size(ZST), -ENOENT, "the store shows it under no name");
    is_int(object_size(DAT), -ENOENT, "... neither");
    is_int(mount_size(DAT), (long)len, "the mount does, with its size");

    s3pve_client_counters(client, &before);
    began = clock_monotonic_ms();
    is_int(mount_rename(DAT, ZST), 0, "it is renamed");
    printf("# renamed in %lld ms\n", (long long)(clock_monotonic_ms() - began));
    s3pve_client_counters(client, &after);
    is_int(
        (long long)(after.n_put - before.n_put), 1, "that is one request that changes something"
    );
    ok(after.n_get - before.n_get <= 1, "... and where its answer has no ETag, a look at it");
    is_int(
        (long long)(after.n_list + after.n_delete - before.n_list - before.n_delete), 0, "no more"
    );
    is_int(object_size(ZST), (long)len, "the store has all of it");
    is_int(mount_size(ZST), (long)len, "so has the mount");
    began = clock_monotonic_ms();
    ok(read_is_right(ZST, len), "it reads back right");
    printf("# read in %lld ms\n", (long long)(clock_monotonic_ms() - began));
    is_int(mount_unlink(ZST), 0, "it is removed");
    is_int(object_size(ZST), -ENOENT, "... from the store");
    is_int(n_uploads_left(), 0, "no parts are left");
}

static void given_up(void) {
    write_archive(DAT, MIB(40));
    mount_close(file);
    is_int(mount_unlink(DAT), 0, "a failed backup is removed");
    is_int(n_uploads_left(), 0, "... with its parts");
    write_archive(DAT, MIB(40));
    is_int(mount_unlink(DAT), 0, "also while it is written");
    s3pve_file_close(file);
    is_int(n_uploads_left(), 0, "... with its parts");
    write_archive("template/iso/killed.iso", MIB(40));
    s3pve_file_close(file);
    is_int(n_uploads_left(), 0, "so is a file whose writer was killed");
    is_int(object_size("template/iso/killed.iso"), -ENOENT, "... and nobody sees half of it");
}

static void inherited(void) {
    write_archive(DAT, MIB(40));
    is_int(s3pve_file_flush(file), 0, "a close(2) that was not the last");
    is_int(mount_stream(file, MIB(40), MIB(20) + 7, KIB(128)), 0, "writing goes on");
    is_int(s3pve_file_flush(file), 0, "another");
    is_int(mount_append(file, "end", MIB(60) + 7), 0, "and on");
    is_int(mount_close(file), 0, "the last");
    is_int(mount_rename(DAT, ZST), 0, "the rename");
    is_int(object_size(ZST), (long)MIB(60) + 10, "all of it is there");
    ok(read_is_right(ZST, MIB(40)), "... and right");
    mount_unlink(ZST);
    is_int(n_uploads_left(), 0, "no parts are left");
}

static void small_files(void) {
    is_int(mount_write(ZST ".notes.tmp.1", "über alles"), 0, "notes are written");
    is_int(mount_rename(ZST ".notes.tmp.1", ZST ".notes"), 0, "... and renamed");
    is_str(mount_read(ZST ".notes"), "über alles", "... and read");
    is_int(mount_open(ZST ".protected", O_RDONLY | O_CREAT, &file), 0, "protected");
    s3pve_file_close(file);
    is_int(object_size(ZST ".protected"), 0, "... is an empty object");
    is_int(mount_mkdir("import/d"), 0, "mkdir");
    is_int(mount_write("import/d/a b+c%41 €.yaml", "x"), 0, "an odd name");
    is_str(mount_read("import/d/a b+c%41 €.yaml"), "x", "... reads back");
    s3pve_files_expire(fs);
    is_str(mount_list("import/d"), "a b+c%41 €.yaml", "... lists");
    is_int(mount_rmdir("import/d"), -ENOTEMPTY, "rmdir");
    is_int(mount_unlink("import/d/a b+c%41 €.yaml"), 0, "unlink");
    is_int(mount_rmdir("import/d"), 0, "rmdir");
    is_int(object_size("import/d/"), -ENOENT, "... takes its marker away");
    is_int(mount_open("snippets/log", O_WRONLY | O_CREAT | O_APPEND, &file), 0, "appending");
    mount_append(file, "one\n", 0);
    mount_close(file);
    mount_open("snippets/log", O_WRONLY | O_APPEND, &file);
    mount_append(file, "two\n", 0);
    mount_close(file);
    is_str(mount_read("snippets/log"), "one\ntwo\n", "... appends");
}

static void random_reads(void) {
    struct s3pve_counters before, after;

    write_archive("template/iso/a.iso", MIB(24));
    mount_close(file);
    mount_open("template/iso/a.iso", O_RDONLY, &file);
    for (uint64_t at = MIB(23); at > MIB(2); at -= MIB(2)) {
        uint64_t mark = 0;

        s3pve_file_read(file, &mark, 4, at);
        ok(mark == at, "a random read at %llu", (unsigned long long)at);
    }
    s3pve_client_counters(client, &before);
    for (uint64_t at = MIB(23) + KIB(64); at > MIB(2); at -= MIB(2)) {
        char byte;

        s3pve_file_read(file, &byte, 1, at);
    }
    s3pve_client_counters(client, &after);
    is_int((long long)(after.n_get - before.n_get), 0, "what was near them is on the node");
    s3pve_file_close(file);
}

static void two_nodes(void) {
    static char state[200];
    struct s3pve_files_options options = mount_options;
    struct s3pve_files *here = fs, *there;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    snprintf(state, sizeof(state), "%s/other", mount_dir);
    mkdir(state, 0700);
    options.state_dir = state;
    options.cache_dir = NULL;
    options.dir_ttl_ms = 300;
    is_int(s3pve_files_open(client, &options, &there, &err), 0, "another node mounts the bucket");
    fs = there;
    s3pve_files_refresh(fs, NULL);
    is_int(mount_size("snippets/shared"), -ENOENT, "it sees what is there");
    fs = here;
    is_int(mount_write("snippets/shared", "hello"), 0, "one writes a file");
    fs = there;
    usleep(310000);
    is_str(mount_read("snippets/shared"), "hello", "the other reads it when its time is over (M5)");
    is_int(mount_write("snippets/shared", "hello back"), 0, "and answers");
    fs = here;
    s3pve_files_expire(fs);
    is_str(mount_read("snippets/shared"), "hello back", "which the first reads");
    fs = there;
    is_int(mount_unlink("snippets/shared"), 0, "one removes it");
    s3pve_files_close(there);
    fs = here;
    s3pve_files_expire(fs);
    is_int(mount_size("snippets/shared"), -ENOENT, "and it is gone for both");
}

/* A client and a storage of its own, in a process that is killed in the middle. */
static void crash(void) {
    pid_t child;
    int status;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    fs = s3pve_files_close(fs);
    child = fork();
    if (child == 0) {
        client = mount_client = open_client();
        mount_again();
        write_archive(DAT, MIB(40));
        mount_close(file);
        write_archive("template/iso/b.iso", MIB(40));
        mount_mkdir("dump/vzdump-qemu-100-x.tmp");
        mount_write("dump/vzdump-qemu-100-x.tmp/conf", "x");
        kill(getpid(), SIGKILL);
    }
    waitpid(child, &status, 0);
    ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a daemon is killed while it writes");
    mount_again();
    is_int(s3pve_files_recover(fs, NULL, &err), 0, "the next one recovers");
    is_int(n_uploads_left(), 0, "and has aborted what was left");
    is_int(mount_size(DAT), -ENOENT, "there is no half archive");
    is_int(mount_size("template/iso/b.iso"), -ENOENT, "... nor image");
    is_int(object_size("template/iso/b.iso"), -ENOENT, "... in the store either");
    is_int(mount_size("dump/vzdump-qemu-100-x.tmp"), -ENOENT, "nor a working directory");
}

int main(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    config = live_config();
    s3pve_config_set(config, "prefix", "a prefix/of two", &err);
    client = open_client();
    s3pve_bucket_create(client, NULL, &err);
    mount_options.cache_size = GIB(1);
    mount_begin(client);
    the_backup();
    given_up();
    inherited();
    small_files();
    random_reads();
    two_nodes();
    crash();
    mount_done();
    s3pve_client_close(client);
    s3pve_config_free(config);
    return done_testing();
}
