/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A disk that fills up: a small file system of our own, which nobody else sees. */
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "files/stream.h"
#include "mount3.h"

#define DISK_MIB 160
#define RESERVED_MIB (DISK_MIB * CACHE_KEEP_FREE_PCT / 100)
#define STEP KIB(256)

static char disk[64];
static struct s3pve_file *file;

static long free_mib(void) {
    struct statvfs st;

    statvfs(disk, &st);
    return (long)(st.f_bavail * st.f_frsize >> 20);
}

static uint64_t cached(void) {
    struct s3pve_files_stats stats;

    s3pve_files_stats(fs, &stats);
    return stats.cache_bytes;
}

/* Until the cache has taken all that it may. */
static void fill_cache(void) {
    static const char block[CACHE_BLOCK];
    const struct version version = {"template/iso/big.iso", "e", MIB(2 * DISK_MIB)};

    for (uint64_t no = 0; no < 2 * DISK_MIB; no++)
        blocks_keep(fs->blocks, &version, no, block);
}

static void make_disk(void) {
    snprintf(disk, sizeof(disk), "%s/s3pve-disk-XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        skip_all("needs root, to mount a small file system");
    if (!mkdtemp(disk) || mount("none", disk, "tmpfs", 0, "size=160m") < 0)
        bail_out("tmpfs: %s", strerror(errno));
    setenv("TMPDIR", disk, 1);
}

static void in_a_full_cache(void) {
    fill_cache();
    ok(free_mib() < RESERVED_MIB + 40, "the cache has filled the disk, but for its last part");
    ok(free_mib() >= RESERVED_MIB - 1, "... which it leaves alone");
    mount_open("import/a.raw", O_WRONLY | O_CREAT, &file);
    is_int(mount_append(file, "x", MIB(100)), 0, "a file is written out of order");
    is_int(mount_stream(file, 0, MIB(60), STEP), 0, "... and gets its space from the cache");
    ok(cached() > MIB(20), "... which loses no more than it must");
    fill_cache();
    ok(free_mib() >= RESERVED_MIB - 1, "and does not take it back");
    is_int(mount_close(file), 0, "the file is published");
    is_int(mem3_size("import/a.raw"), (long long)MIB(100) + 1, "... whole");
    is_int((long long)atomic_load(&fs->spool_bytes), 0, "... and its spool is gone");
}

/* A size alone takes no space, as disk images begin. */
static void in_a_hole(void) {
    struct stat attr = {.st_size = MIB(2 * DISK_MIB)}, st;
    struct s3pve_files_stats stats;

    mount_open("import/b.raw", O_WRONLY | O_CREAT, &file);
    is_int(
        s3pve_files_setattr(fs, mount_ino("import/b.raw"), &attr, S3PVE_SET_SIZE, &st),
        0,
        "a file is made larger than the disk"
    );
    is_int(mount_stream(file, 0, MIB(2 * DISK_MIB), STEP), -ENOSPC, "but cannot be filled");
    s3pve_files_stats(fs, &stats);
    ok(strstr(stats.last_error, "last 5%"), "... for a reason that is told");
    ok(free_mib() >= RESERVED_MIB - 1, "... and leaves the last part of the disk alone");
    is_int(s3pve_file_flush(file), -ENOSPC, "close says so, too");
    s3pve_file_close(file);
    ok(mem3_size("import/b.raw") < 0, "nothing comes of it");
    ok(free_mib() > DISK_MIB / 2, "... and its space is free again");
}

static void too_large(void) {
    struct stat attr = {.st_size = SPOOL_MAX + 1}, st;
    uint64_t n;

    mount_open("import/c.raw", O_WRONLY | O_CREAT, &file);
    is_int(
        s3pve_files_setattr(fs, mount_ino("import/c.raw"), &attr, S3PVE_SET_SIZE, &st),
        -ENOSPC,
        "beyond what all spools may have"
    );
    is_int((long long)atomic_load(&fs->spool_bytes), 0, "... nothing is counted");
    s3pve_file_close(file);

    mem3_put_size("import/d.raw", MIB(DISK_MIB));
    s3pve_files_expire(fs);
    mount_open("import/d.raw", O_WRONLY, &file);
    n = mem3_n_requests();
    is_int(mount_append(file, "x", 5), -ENOSPC, "an object that does not fit cannot be changed");
    is_int((long long)(mem3_n_requests() - n), 0, "... and is not fetched to find that out");
    is_int(mount_close(file), -ENOSPC, "... which close tells, too");
    attr.st_size = 5;
    is_int(
        s3pve_files_setattr(fs, mount_ino("import/d.raw"), &attr, S3PVE_SET_SIZE, &st),
        0,
        "but it can be cut, which takes what stays"
    );
    is_int(mem3_size("import/d.raw"), 5, "... of it");
    is_int((long long)atomic_load(&fs->spool_bytes), 0, "... nothing stays counted");
}

/* The cache's folder may go at any time; what is being written may not. */
static void no_cache(void) {
    char cache[200], gone[200];

    snprintf(cache, sizeof(cache), "%s/cache", mount_dir);
    snprintf(gone, sizeof(gone), "%s/gone", mount_dir);
    rename(cache, gone);
    mount_open("import/f.raw", O_WRONLY | O_CREAT, &file);
    is_int(mount_append(file, "x", MIB(20)), 0, "without the cache's folder there is another");
    is_int(mount_close(file), 0, "... for a file out of order");
    is_int(mem3_size("import/f.raw"), (long long)MIB(20) + 1, "... and it is published");
    rename(gone, cache);
}

/* The node's state has no space for a record: without one, no upload may begin. */
static void no_record(void) {
    char folder[200];

    snprintf(folder, sizeof(folder), "%s/state/uploads", mount_dir);
    if (mount("none", folder, "tmpfs", 0, "nr_inodes=1") < 0)
        bail_out("tmpfs: %s", strerror(errno));
    mount_open("import/e.iso", O_WRONLY | O_CREAT, &file);
    is_int(
        mount_stream(file, 0, MIB(20), STEP), -ENOSPC, "no space for an upload's record: ENOSPC"
    );
    s3pve_file_close(file);
    is_int((long long)mem3_n_uploads(), 0, "... and nothing stays in the store");
    umount(folder);
    is_int(mount_write("import/e.iso", "x"), 0, "afterwards all is well");
}

int main(void) {
    int rc;

    make_disk();
    mount_options.cache_size = GIB(1);
    mount3_begin();
    in_a_full_cache();
    in_a_hole();
    too_large();
    no_cache();
    no_record();
    rc = mount3_end();
    umount(disk);
    rmdir(disk);
    return rc;
}
