/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* M5 and M6: what a listing brings, what it must not undo, and what waits for it. */
#include "mount3.h"

static atomic_uint n_entries, n_inodes;

static void on_entry(void *ctx, uint64_t parent, const char *name) {
    n_entries++;
}

static void on_inode(void *ctx, uint64_t ino) {
    n_inodes++;
}

static int64_t took_ms(long (*fn)(void), long *ret) {
    int64_t began = clock_monotonic_ms();

    *ret = fn();
    return clock_monotonic_ms() - began;
}

static void expire(void) {
    s3pve_files_expire(fs);
    usleep(2000);
}

static void what_is_there(void) {
    uint64_t n;

    mem3_put("dump/a.log", "one");
    mem3_put("dump/sub/b.log", "four");
    mem3_put("dump//odd", "x");
    mem3_put(".s3pve/store.json", "{}");
    mem3_put("readme", "top");
    is_int(mount_size("dump/a.log"), 3, "an object is a file of its size");
    is_int(mount_size("dump/sub/b.log"), 4, "a common prefix is a directory");
    is_int(mount_size("dump/nothing"), -ENOENT, "an unknown name is not there");
    is_int(mount_size(".s3pve"), -ENOENT, "our own bookkeeping does not show");
    is_int(mount_size("readme"), 3, "but what else is at the top does");
    n = mem3_n_requests();
    is_int(mount_size("dump/a.log"), 3, "asked again ...");
    is_int(mount_size("dump/nothing2"), -ENOENT, "... also for what is not there ...");
    ok(strstr(mount_list("dump"), "a.log"), "... and for all ...");
    is_int((long long)(mem3_n_requests() - n), 0, "... it is all from memory (M6)");
    is_int(mount_size("template/iso"), 0, "a directory PVE needs is there without an object");
}

static void what_others_do(void) {
    uint64_t before = mount_ino("dump/a.log");
    struct s3pve_files_notify notify = {.inval_entry = on_entry, .inval_inode = on_inode};

    s3pve_files_set_notify(fs, &notify);
    mem3_put("dump/new.log", "other node's");
    is_int(mount_size("dump/new.log"), -ENOENT, "another's file may be unseen while fresh");
    expire();
    is_int(mount_size("dump/new.log"), 12, "but not once the directory is old (M5)");
    mem3_put("dump/a.log", "another one");
    mem3_delete("dump/new.log");
    n_entries = n_inodes = 0;
    expire();
    is_int(mount_size("dump/a.log"), 11, "its change is seen");
    is_int(mount_size("dump/new.log"), -ENOENT, "its removal, too");
    usleep(20000);
    ok(n_entries >= 2, "and the kernel hears of both");
    is_int((long long)mount_ino("dump/a.log"), (long long)before, "nobody has it open: same inode");
    mem3_put("dump/gone/x", "1");
    expire();
    is_int(mount_size("dump/gone/x"), 1, "a directory comes with its first object");
    mem3_delete("dump/gone/x");
    expire();
    is_int(mount_size("dump/gone"), -ENOENT, "... and goes with the last");
    s3pve_files_set_notify(fs, &(struct s3pve_files_notify){0});
}

/* Until it looks the name up again, the kernel reads as far as the size it was told. */
static void known_to_the_kernel(void) {
    struct s3pve_file *file;
    struct stat st;

    mem3_put("dump/k.log", "short");
    expire();
    is_int(s3pve_files_lookup(fs, mount_ino("dump"), "k.log", &st), 0, "the kernel knows a file");
    mem3_put("dump/k.log", "much longer");
    expire();
    is_int(mount_size("dump/k.log"), 11, "another node replaces it");
    is_int(
        s3pve_file_open(fs, st.st_ino, O_RDONLY, &file, NULL),
        -ESTALE,
        "what the kernel knew is not opened for the new bytes"
    );
    is_str(mount_read("dump/k.log"), "much longer", "... which have another inode");
    s3pve_files_forget(fs, st.st_ino, 1);
}

static void name_that_is_both(void) {
    mem3_put("import/both", "file");
    mem3_put("import/both/inside", "x");
    expire();
    is_int(mount_size("import/both/inside"), 1, "of an object and a directory the latter wins");
    mem3_delete("import/both/inside");
    expire();
    is_int(mount_size("import/both"), 4, "and the former shows when the latter is gone");
    mem3_put("import/both/inside", "x");
    expire();
    is_int(mount_size("import/both/inside"), 1, "... and again");
}

static struct s3pve_file *being_written;

static void write_and_remove(void) {
    mem3.on_list = NULL;
    is_int(mount_close(being_written), 0, "(we finish a file while the listing runs)");
    is_int(mount_write("snippets/again", "second"), 0, "(and write another anew)");
    is_int(mount_unlink("snippets/old"), 0, "(and remove)");
    is_int(mount_rename("snippets/from", "snippets/to"), 0, "(and rename)");
}

static void own_changes_survive(void) {
    mem3_put("snippets/old", "1");
    mem3_put("snippets/from", "2");
    mem3_put("snippets/to", "first");
    mem3_put("snippets/again", "first");
    expire();
    is_int(mount_size("snippets/old"), 1, "a file to be removed");
    mount_open("snippets/ours", O_WRONLY | O_CREAT, &being_written);
    mount_append(being_written, "new", 0);
    mem3.list_delay_ms = 50;
    mem3.on_list = write_and_remove;
    expire();
    is_int(mount_size("snippets/old"), -ENOENT, "what was removed stays removed (T2)");
    is_str(mount_read("snippets/ours"), "new", "what was finished is there (T1)");
    is_str(mount_read("snippets/again"), "second", "what was written anew is new");
    is_int(mount_size("snippets/from"), -ENOENT, "what was renamed has left its name");
    is_int(mount_size("snippets/to"), 1, "... and has the other");
    mem3.list_delay_ms = 0;
    expire();
    is_str(mount_read("snippets/ours"), "new", "the next listing agrees");
    is_int(mount_size("snippets/old"), -ENOENT, "... on all of them");
}

static long size_of_a(void) {
    return mount_size("dump/a.log");
}

static long size_of_unknown(void) {
    return mount_size("dump/unknown");
}

static long list_dump(void) {
    return strstr(mount_list("dump"), "a.log") ? 1 : 0;
}

static void slow_store(void) {
    long rc;
    int64_t ms;

    mem3.list_delay_ms = 4000;
    expire();
    ms = took_ms(size_of_a, &rc);
    is_int(rc, 11, "a name known before is answered while the listing takes long");
    ok(ms < LISTING_WAIT_MS + 500, "... after 2 s at most (%lld ms)", (long long)ms);
    ms = took_ms(size_of_a, &rc);
    ok(ms < 100, "... and nobody waits for the same listing again (%lld ms)", (long long)ms);
    mem3.list_delay_ms = 0;
    usleep(2500000);
}

static void dead_store(void) {
    struct s3pve_files_stats stats;
    long rc;
    int64_t ms;

    mem3.down = true;
    mem3.down_ms = 300;
    expire();
    ms = took_ms(size_of_a, &rc);
    is_int(rc, 11, "with a dead store, a known name is answered");
    ok(ms < 1000, "... after the first attempt (%lld ms)", (long long)ms);
    s3pve_files_stats(fs, &stats);
    ok(!stats.online, "the storage counts as offline");
    ok(strstr(stats.last_error, "nobody answers"), "... and says why");
    ms = took_ms(size_of_a, &rc);
    ok(rc == 11 && ms < 100, "from then on at once (%lld ms)", (long long)ms);
    ms = took_ms(list_dump, &rc);
    ok(rc == 1 && ms < 100, "a known directory, too (%lld ms)", (long long)ms);
    ms = took_ms(size_of_unknown, &rc);
    ok(rc == -ENOENT && ms < 100, "and what is not in it (%lld ms)", (long long)ms);
    is_int(mount_size("template/iso"), 0, "PVE's own directories are always there");
    is_str(mount_list("template/cache"), "(EIO)", "one never seen cannot be listed");

    mem3.down = false;
    s3pve_files_refresh(fs, NULL);
    s3pve_files_stats(fs, &stats);
    ok(stats.online, "the heartbeat notices that it is back");
    expire();
    is_int(mount_size("dump/unknown"), -ENOENT, "and all is as before");
    usleep(LISTING_AGAIN_MS * 1000);
    is_str(mount_list("template/cache"), "", "the unseen one can be seen");
}

static void killed_asker(void) {
    int cancel = 1;

    mem3.list_delay_ms = 1000;
    s3pve_files_set_cancel(&cancel);
    expire();
    is_int(mount_size("dump/unknown3"), -EINTR, "who was killed is let go at once");
    s3pve_files_set_cancel(NULL);
    mem3.list_delay_ms = 0;
}

static void many(void) {
    char key[64];
    struct s3pve_dir *dir;
    const char *name;
    struct stat st;
    size_t n = 0;
    int64_t began;
    uint64_t requests;

    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "dump/vzdump-qemu-%d-x.vma.zst", i);
        mem3_put(key, "z");
    }
    expire();
    mount_size("dump/a.log");
    usleep(300000);
    requests = mem3_n_requests();
    began = clock_monotonic_ms();
    is_int(s3pve_dir_open(fs, mount_ino("dump"), &dir), 0, "10,000 objects are listed");
    while (s3pve_dir_entry(dir, n, &name, &st) == 0)
        n++;
    s3pve_dir_close(dir);
    ok(n > 10000, "all of them");
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "dump/vzdump-qemu-%d-x.vma.zst", i);
        n -= mount_size(key) == 1;
    }
    ok(n < 20, "each has its size");
    is_int((long long)(mem3_n_requests() - requests), 0, "from memory");
    ok(clock_monotonic_ms() - began < 1000, "in no time");
}

static bool has_logged(const char *text) {
    LOCK_SCOPE(&mem3.lock);
    return strstr(mem3.log, text) != NULL;
}

/* A directory that nobody could hold is refused, not held in part. */
static void too_many(void) {
    struct s3pve_files_stats stats;
    struct s3pve_dir *dir;
    unsigned n = atomic_load(&n_entries);

    mem3_put("import/known", "x");
    mem3_put("import/below/x", "x");
    expire();
    is_int(mount_size("import/known"), 1, "a directory is known");
    mem3.n_made_up = DIR_ENTRIES_MAX;
    expire();
    is_int(mount_size("import/made-up-1"), -ENOENT, "then it has more names than we take");
    for (int i = 0; i < 1000 && !has_logged("too many names"); i++)
        usleep(10000);
    ok(has_logged("too many names"), "... which is logged");
    is_int(mount_size("import/known"), 1, "... what was known stays");
    is_int(s3pve_dir_open(fs, mount_ino("import/below"), &dir), -EIO, "one never seen is an error");
    mem3.n_made_up = 0;
    s3pve_files_stats(fs, &stats);
    ok(stats.online, "... of that directory, not of the storage");
    is_int(atomic_load(&n_entries), n, "the kernel is told of nothing");
}

int main(void) {
    mount3_begin();
    what_is_there();
    what_others_do();
    known_to_the_kernel();
    name_that_is_both();
    own_changes_survive();
    slow_store();
    dead_store();
    killed_asker();
    many();
    too_many();
    return mount3_end();
}
