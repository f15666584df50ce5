/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* steps.h - a mounted storage without a kernel, and the steps that programs make on it */
#ifndef STEPS_H
#define STEPS_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "files/files.h"
#include "pattern.h"
#include "tap.h"

static char mount_dir[128];
static struct s3pve_files_options mount_options = {
    .virtual_size = 1ull << 50,
    .dir_ttl_ms = 60000,
};
static struct s3pve_client *mount_client; /* set it first */
static struct s3pve_files *fs;

/* Until the aborts that a heartbeat began are through. */
static inline void mount_wait_aborts(void) {
    bool aborting = true;

    for (int i = 0; i < 500 && aborting; i++) {
        usleep(10000);
        LOCK_SCOPE(&fs->lock);
        aborting = fs->aborting;
    }
}

static inline void mount_again(void) {
    static char state[160], cache[160];
    struct s3pve_error err = S3PVE_ERROR_INIT;

    snprintf(state, sizeof(state), "%s/state", mount_dir);
    snprintf(cache, sizeof(cache), "%s/cache", mount_dir);
    mkdir(state, 0700);
    mkdir(cache, 0700);
    mount_options.state_dir = state;
    if (mount_options.cache_size)
        mount_options.cache_dir = cache;
    if (s3pve_files_open(mount_client, &mount_options, &fs, &err) < 0)
        bail_out("%s", err.message);
    s3pve_files_refresh(fs, NULL);
    mount_wait_aborts();
}

static inline void mount_begin(struct s3pve_client *client) {
    mount_client = client;
    snprintf(mount_dir, sizeof(mount_dir), "%s/s3pve-files-XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(mount_dir))
        exit(1);
    mount_again();
}

static inline int mount_remove(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    return remove(path);
}

/* Closes the storage and removes its folders. */
static inline void mount_done(void) {
    fs = s3pve_files_close(fs);
    nftw(mount_dir, mount_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Inode of a path, by looking up each part as the kernel does; 0 with errno when there is none. */
static inline uint64_t mount_ino(const char *path) {
    char copy[1400], *p = copy, *name;
    uint64_t ino = S3PVE_ROOT_INO;
    struct stat st;

    snprintf(copy, sizeof(copy), "%s", path);
    while ((name = strsep(&p, "/"))) {
        int rc = *name ? s3pve_files_lookup(fs, ino, name, &st) : 0;

        if (rc < 0) {
            errno = -rc;
            return 0;
        }
        if (*name) {
            s3pve_files_forget(fs, st.st_ino, 1);
            ino = st.st_ino;
        }
    }
    return ino;
}

/* Directory and last part of a path. */
static inline uint64_t mount_parent(const char *path, const char **ret_name) {
    char copy[1400], *slash;

    snprintf(copy, sizeof(copy), "%s", path);
    slash = strrchr(copy, '/');
    *ret_name = slash ? path + (slash - copy) + 1 : path;
    if (!slash)
        return S3PVE_ROOT_INO;
    *slash = '\0';
    return mount_ino(copy);
}

static inline int mount_stat(const char *path, struct stat *ret_attr) {
    uint64_t ino = mount_ino(path);

    return ino ? s3pve_files_getattr(fs, ino, ret_attr) : -errno;
}

/* Size as stat(2) sees it, or -errno. */
static inline long mount_size(const char *path) {
    struct stat st;
    int rc = mount_stat(path, &st);

    return rc < 0 ? rc : (long)st.st_size;
}

static inline int mount_open_once(const char *path, int flags, struct s3pve_file **ret_file) {
    const char *name;
    uint64_t parent = mount_parent(path, &name), ino;
    struct stat st;
    int rc;

    *ret_file = NULL;
    if (flags & O_CREAT) {
        rc = s3pve_files_create(fs, parent, name, 0644, flags, &st, ret_file);
        if (rc == 0)
            s3pve_files_forget(fs, st.st_ino, 1);
        return rc;
    }
    ino = mount_ino(path);
    return ino ? s3pve_file_open(fs, ino, flags, ret_file, NULL) : -errno;
}

/* open(2), with O_CREAT or without, and ESTALE tried once more as the kernel does; *ret_file NULL
 * on failure. */
static inline int mount_open(const char *path, int flags, struct s3pve_file **ret_file) {
    int rc = mount_open_once(path, flags, ret_file);

    return rc == -ESTALE ? mount_open_once(path, flags, ret_file) : rc;
}

static inline int mount_close(struct s3pve_file *file) {
    int rc = s3pve_file_flush(file);

    s3pve_file_close(file);
    return rc;
}

static inline int mount_append(struct s3pve_file *file, const char *text, uint64_t offset) {
    ssize_t n = s3pve_file_write(file, text, strlen(text), offset);

    return n < 0 ? (int)n : n == (ssize_t)strlen(text) ? 0 : -EIO;
}

/* A whole file of text, as cp(1) would make it. */
static inline int mount_write(const char *path, const char *text) {
    struct s3pve_file *file;
    int rc = mount_open(path, O_WRONLY | O_CREAT | O_TRUNC, &file);

    if (rc < 0)
        return rc;
    rc = mount_append(file, text, 0);
    if (rc < 0) {
        s3pve_file_close(file);
        return rc;
    }
    return mount_close(file);
}

/* @len bytes of pattern_byte() from @offset on, in writes of @step. */
static inline int mount_stream(
    struct s3pve_file *file, uint64_t offset, uint64_t len, size_t step
) {
    char *buf = malloc(step);
    int rc = 0;

    for (uint64_t done = 0; done < len && rc == 0;) {
        size_t n = len - done < step ? (size_t)(len - done) : step;
        ssize_t written;

        for (size_t i = 0; i < n; i++)
            buf[i] = pattern_byte(offset + done + i);
        written = s3pve_file_write(file, buf, n, offset + done);
        rc = written < 0 ? (int)written : 0;
        done += n;
    }
    free(buf);
    return rc;
}

/* A whole small file as text, "" when empty; errno's name in brackets on failure. */
static inline const char *mount_read(const char *path) {
    static __thread char text[70000];
    struct s3pve_file *file;
    ssize_t n = mount_open(path, O_RDONLY, &file);

    if (n == 0) {
        n = s3pve_file_read(file, text, sizeof(text) - 1, 0);
        s3pve_file_close(file);
    }
    if (n < 0)
        snprintf(text, sizeof(text), "(%s)", strerrorname_np((int)-n));
    else
        text[n] = '\0';
    return text;
}

static inline int mount_unlink(const char *path) {
    const char *name;
    uint64_t parent = mount_parent(path, &name);

    return parent ? s3pve_files_unlink(fs, parent, name) : -errno;
}

static inline int mount_mkdir(const char *path) {
    const char *name;
    uint64_t parent = mount_parent(path, &name);
    struct stat st;
    int rc = parent ? s3pve_files_mkdir(fs, parent, name, 0755, &st) : -errno;

    if (rc == 0)
        s3pve_files_forget(fs, st.st_ino, 1);
    return rc;
}

static inline int mount_rmdir(const char *path) {
    const char *name;
    uint64_t parent = mount_parent(path, &name);

    return parent ? s3pve_files_rmdir(fs, parent, name) : -errno;
}

static inline int mount_rename(const char *from, const char *to) {
    const char *name, *new_name;
    uint64_t parent = mount_parent(from, &name), new_parent = mount_parent(to, &new_name);

    return s3pve_files_rename(fs, parent, name, new_parent, new_name, 0);
}

/* The names of a directory, sorted by nobody, with blanks between. */
static inline const char *mount_list(const char *path) {
    static __thread char text[8192];
    struct s3pve_dir *dir;
    const char *name;
    struct stat st;
    int rc = s3pve_dir_open(fs, mount_ino(path), &dir);

    text[0] = '\0';
    if (rc < 0) {
        snprintf(text, sizeof(text), "(%s)", strerrorname_np(-rc));
        return text;
    }
    for (size_t i = 2; s3pve_dir_entry(dir, i, &name, &st) == 0; i++) {
        if (*text)
            strcat(text, " ");
        strcat(text, name);
    }
    s3pve_dir_close(dir);
    return text;
}

#endif
