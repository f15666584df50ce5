/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Many threads do what they like to a few names, while listings come and go, other nodes meddle and
 * the store fails now and then.  Afterwards the mount, the store and the counts have to agree.
 *
 * A file's bytes all are one letter, so that a mixture of two versions shows; zeroes are gaps.
 */
#include "files/stream.h"
#include "mount3.h"

#define N_THREADS 6
#define N_NAMES 8
#define RUN_MS 6000

static const char *const dirs[] = {"dump", "snippets", "import/d"};
static atomic_uint n_mixed, n_ops, n_wrong;
static atomic_bool stop;

struct actor {
    pthread_t thread;
    unsigned seed;
};

static unsigned draw(struct actor *actor, unsigned n) {
    actor->seed = actor->seed * 1103515245 + 12345;
    return (actor->seed >> 16) % n;
}

static void name_of(struct actor *actor, char ret_path[200]) {
    static const char *const names[N_NAMES] = {
        "a", "b", "vzdump-1.vma.dat", "vzdump-1.vma.zst", "c", "vzdump-2.vma.dat", "e", "x.tmp/f"};

    snprintf(ret_path, 200, "%s/%s", dirs[draw(actor, 3)], names[draw(actor, N_NAMES)]);
}

/* What a writer reads through its own descriptor, from wherever the bytes are just then. */
static void read_back(struct actor *actor, struct s3pve_file *file, char letter) {
    char buf[4096];
    ssize_t n = s3pve_file_read(file, buf, sizeof(buf), draw(actor, 4) * KIB(64));

    for (ssize_t i = 0; i < n; i++) {
        if (buf[i] && buf[i] != letter && !n_mixed++)
            printf("# read back: %c at %zd, %c was written\n", buf[i], i, letter);
    }
}

static void write_some(struct actor *actor, const char *path) {
    static const int flags[] = {
        O_WRONLY | O_CREAT | O_TRUNC, O_WRONLY | O_CREAT, O_RDWR | O_CREAT | O_TRUNC};
    struct s3pve_file *file;
    size_t step = 1u << (8 + draw(actor, 12)), n = draw(actor, 40);
    char letter = (char)('a' + draw(actor, 26)), *buf = malloc(step);

    memset(buf, letter, step);
    if (mount_open(path, flags[draw(actor, 2) * 2], &file) == 0) {
        for (size_t i = 0; i < n && s3pve_file_write(file, buf, step, i * step) > 0; i++) {
            if (draw(actor, 30) == 0)
                s3pve_file_flush(file);
            if (draw(actor, 40) == 0) /* out of order: to the node's disk, or an error */
                s3pve_file_write(file, buf, step, draw(actor, 2) * i * step / 2);
            if (draw(actor, 10) == 0 && !strstr(path, "x.tmp"))
                read_back(actor, file, letter);
        }
        if (draw(actor, 8))
            s3pve_file_flush(file);
        s3pve_file_close(file);
    }
    free(buf);
}

static void read_all(struct actor *actor, const char *path) {
    struct s3pve_file *file;
    size_t step = 1u << (10 + draw(actor, 8));
    char *buf = malloc(step), letter = 0;
    bool is_local = strstr(path, "x.tmp"); /* these have any number of writers */
    uint64_t at = 0;
    ssize_t n;

    if (mount_open(path, O_RDONLY, &file) == 0) {
        while ((n = s3pve_file_read(file, buf, step, at)) > 0) {
            for (ssize_t i = 0; i < n; i++) {
                letter = letter ? letter : buf[i];
                if (buf[i] && buf[i] != letter && !is_local && !n_mixed++)
                    printf(
                        "# %s: %c at %llu, %c before\n",
                        path,
                        buf[i],
                        (unsigned long long)at + (unsigned long long)i,
                        letter
                    );
            }
            at += (uint64_t)n;
        }
        s3pve_file_close(file);
    }
    free(buf);
}

static void truncate_some(struct actor *actor, const char *path) {
    uint64_t ino = mount_ino(path);
    struct stat attr = {.st_size = draw(actor, 2) ? 0 : draw(actor, 300000)}, st;

    if (ino)
        s3pve_files_setattr(fs, ino, &attr, S3PVE_SET_SIZE, &st);
}

static void meddle(struct actor *actor, const char *path) {
    char text[64];

    memset(text, 'A' + (int)draw(actor, 26), 63);
    text[draw(actor, 63)] = '\0';
    text[63] = '\0';
    if (strstr(path, "x.tmp") || strstr(path, "import"))
        return;
    if (draw(actor, 2))
        mem3_put(path, text);
    else
        mem3_delete(path);
}

static void act(struct actor *actor) {
    char path[200], other[200];

    name_of(actor, path);
    name_of(actor, other);
    switch (draw(actor, 16)) {
    case 0:
    case 1:
    case 2:
    case 3: write_some(actor, path); break;
    case 4:
    case 5:
    case 6: read_all(actor, path); break;
    case 7:
    case 8: mount_rename(path, other); break;
    case 9: mount_unlink(path); break;
    case 10: mount_list(dirs[draw(actor, 3)]); break;
    case 11: s3pve_files_expire(fs); break;
    case 12: mount_mkdir(draw(actor, 2) ? "import/d" : "dump/x.tmp"); break;
    case 13: mount_rmdir(draw(actor, 2) ? "import/d" : "dump/x.tmp"); break;
    case 14: truncate_some(actor, path); break;
    default: meddle(actor, path); break;
    }
    n_ops++;
}

static void *run(void *arg) {
    while (!stop)
        act(arg);
    return NULL;
}

/* One more, who breaks things for a moment. */
static void trouble(struct actor *actor) {
    static const char *const fails[] = {
        "put", "get", "delete", "copy", "complete", "begin", "part"};

    mem3.fail = fails[draw(actor, 7)];
    usleep(2000);
    mem3.fail = NULL;
    mem3.list_delay_ms = draw(actor, 3);
    usleep(20000);
    s3pve_files_refresh(fs, NULL);
}

static void compare_dir(const char *dir) {
    size_t skip = strlen(dir) + 1;
    char path[200];

    mount_list(dir);
    for (size_t i = 0; i < mem3.n_objects; i++) {
        const char *key = mem3.objects[i].key;

        if (strncmp(key, dir, skip - 1) != 0 || key[skip - 1] != '/' || !key[skip])
            continue;
        snprintf(path, sizeof(path), "%s", key);
        if (!strchr(key + skip, '/') && mount_size(path) != (long)mem3.objects[i].len) {
            printf(
                "# %s: %ld in the mount, %zu in the store\n",
                key,
                mount_size(path),
                mem3.objects[i].len
            );
            n_wrong++;
        }
    }
}

static void agree(void) {
    struct s3pve_files_stats stats;

    mem3.list_delay_ms = 0;
    s3pve_files_refresh(fs, NULL);
    s3pve_files_expire(fs);
    for (size_t i = 0; i < 6; i++) {
        char path[100];

        snprintf(path, sizeof(path), "%s/vzdump-%zu.vma.dat", dirs[i / 2], i % 2 + 1);
        mount_unlink(path);
    }
    s3pve_files_expire(fs);
    for (size_t i = 0; i < 3; i++)
        compare_dir(dirs[i]);
    is_int(n_wrong, 0, "what the store has, the mount shows");
    for (const struct stream *left = fs->streams; left; left = left->next)
        printf(
            "# left: '%s' held %d doomed %d settled %d broken %d refs %u place %d linked %d same "
            "%d\n",
            left->node->name,
            left->is_held,
            left->is_doomed,
            left->is_settled,
            left->is_broken,
            left->n_refs,
            left->place,
            left->node->parent != NULL,
            left->node->stream == left
        );
    s3pve_files_stats(fs, &stats);
    is_int(stats.open_files, 0, "no file is open any more");
    is_int(stats.uploads, 0, "none is being written or held");
    is_int((long long)fs->usage.reserved, 0, "nothing is reserved");
    is_int((long long)stats.upload_memory, 0, "no memory is");
    is_int((long long)atomic_load(&fs->spool_bytes), 0, "no spool is");
    mount_wait_aborts();
    fs->abort_due_ms = 0;
    s3pve_files_refresh(fs, NULL);
    mount_wait_aborts();
    is_int((int)mem3_n_uploads(), 0, "and the store has no parts");
}

int main(void) {
    struct actor actors[N_THREADS], breaker = {.seed = 99};
    const char *seed = getenv("STRESS_SEED");
    int64_t until;

    mount_options.cache_size = MIB(8);
    mount_options.dir_ttl_ms = 50;
    mount3_begin();
    until = clock_monotonic_ms() + RUN_MS;
    for (unsigned i = 0; i < N_THREADS; i++) {
        actors[i].seed = (seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)getpid()) * 31 + i;
        pthread_create(&actors[i].thread, NULL, run, &actors[i]);
    }
    while (clock_monotonic_ms() < until)
        trouble(&breaker);
    stop = true;
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(actors[i].thread, NULL);
    printf("# %u operations\n", n_ops);
    ok(n_ops > 100, "many operations of many threads");
    is_int(n_mixed, 0, "nobody read a mixture of two versions");
    agree();
    return mount3_end();
}
