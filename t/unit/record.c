/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a crash leaves, and that it does not stay. */
#include <dirent.h>
#include <sys/wait.h>

#include "mount3.h"

static int n_files(const char *folder) {
    char path[300];
    DIR *dir;
    struct dirent *entry;
    int n = 0;

    snprintf(path, sizeof(path), "%s/state/%s", mount_dir, folder);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        n += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

static void put_record(const char *name, const char *text) {
    char path[300];
    FILE *out;

    snprintf(path, sizeof(path), "%s/state/uploads/%s", mount_dir, name);
    out = fopen(path, "we");
    fputs(text, out);
    fclose(out);
}

/* As a daemon before us would have begun it. */
static void leave_upload(const char *key, char ret_id[40]) {
    struct s3pve_upload *upload;

    s3pve_upload_open(mem3_client(), key, NULL, &upload, NULL);
    s3pve_upload_begin(upload, NULL, NULL);
    strcpy(ret_id, s3pve_upload_id(upload));
    s3pve_upload_close(upload);
}

/* --- what is on the disk when the power fails: fsync(2) was asked for it */

static struct {
    unsigned n_files, n_folders;
    uint64_t n_put; /* requests that change something, by then */
    bool has_name;  /* when the folder was synced, the record was whole, under its name */
} synced;

static bool has_record(int folder) {
    char path[300], name[300];
    struct dirent *entry;
    DIR *dir;
    bool has = false;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", folder);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        snprintf(name, sizeof(name), "%s", entry->d_name);
        has = has || (name[0] != '.' && !strstr(name, ".new"));
    }
    if (dir)
        closedir(dir);
    return has;
}

/* In place of the C library's. */
int fsync(int fd) {
    struct stat st;

    fstat(fd, &st);
    synced.n_files += S_ISREG(st.st_mode);
    synced.n_folders += S_ISDIR(st.st_mode) && synced.n_files;
    synced.has_name = S_ISDIR(st.st_mode) && has_record(fd);
    synced.n_put = mem3.counters.n_put;
    return 0;
}

static void on_disk_first(void) {
    struct s3pve_file *file;
    uint64_t n = mem3.counters.n_put;

    memset(&synced, 0, sizeof(synced));
    mount_open("import/power", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(40), KIB(128));
    ok(mem3.counters.n_put - n >= 3, "an upload is begun, and has two parts at least");
    is_int(synced.n_files, 1, "its record is synced");
    is_int(synced.n_folders, 1, "... then its folder");
    ok(synced.has_name, "... which has it under its name");
    is_int((long long)(synced.n_put - n), 1, "all that before the first part is sent");
    mount_close(file);
    mount_unlink("import/power");
}

static void a_life(void) {
    struct s3pve_file *file;
    struct record *record;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    mount_open("import/a", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(1), KIB(128));
    is_int(n_files("uploads"), 0, "what is in memory needs no record");
    mount_stream(file, MIB(1), MIB(18), KIB(128));
    is_int(n_files("uploads"), 1, "an upload with parts has one");
    mount_close(file);
    is_int(n_files("uploads"), 0, "until it is complete");

    is_int(record_new(fs, "k", "i", &record, &err), 0, "a record");
    is_int((int)records_abort_left(fs), 0, "of a live upload ...");
    is_int(n_files("uploads"), 1, "... is left alone");
    record_end(fs, record, false);
    is_int(n_files("uploads"), 1, "one that did not end well stays");
    is_int((int)records_abort_left(fs), 0, "and is dealt with later");
    is_int(n_files("uploads"), 0, "... then it goes");
}

static void after_a_crash(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char id[40], other[40], text[200];

    leave_upload("dump/vzdump-qemu-1-x.vma.zst", id);
    leave_upload("template/iso/another-nodes.iso", other);
    snprintf(text, sizeof(text), "key = dump/vzdump-qemu-1-x.vma.zst\nid = %s\n", id);
    put_record("1-1-1", text);
    put_record("1-1-2", "key = dump/b");
    put_record("1-1-3.new", "");
    put_record("1-1-4", "rubbish\n\n\n");
    put_record("1-1-5", "key = dump/c\nid = long-gone\n");
    is_int((int)mem3_n_uploads(), 2, "two uploads are under way in the store");
    is_int(s3pve_files_recover(fs, NULL, &err), 0, "the next daemon recovers");
    is_int((int)mem3_n_uploads(), 1, "the one we left is aborted, another's is not");
    is_int(n_files("uploads"), 0, "and no record is left, whatever was in it");
}

/* The id of an upload that is under way in the store, or NULL. */
static const char *upload_of(const char *key) {
    LOCK_SCOPE(&mem3.lock);
    for (const struct s3pve_upload *upload = mem3.uploads; upload; upload = upload->next) {
        if (strcmp(upload->key, key) == 0)
            return upload->id;
    }
    return NULL;
}

/* What has no record may be another node's backup, which goes on for days. */
static void of_nobody(void) {
    static const struct {
        const char *key;
        unsigned age_s;
        bool stays;
        const char *what;
    } cases[] = {
        {"dump/vzdump-qemu-2-x.vma.zst", 0, true, "a backup that has just begun"},
        {"dump/vzdump-qemu-3-x.vma.zst", 86400, true, "... or yesterday"},
        {"dump/vzdump-qemu-4-x.vma.zst", 7 * 86400 - 60, true, "... or almost a week ago"},
        {"dump/vzdump-qemu-5-x.vma.zst", 7 * 86400 + 60, false, "older than a week"},
        {"template/iso/old.iso", 8 * 86400, false, "an image"},
        {"template/cache/old.tar.zst", 8 * 86400, false, "a template"},
        {"import/old.ova", 8 * 86400, false, "an import"},
        {"snippets/old", 8 * 86400, false, "a snippet"},
        {"images/100/vm-100-disk-0/x", 99 * 86400, true, "a virtual disk"},
        {"dumpling/x", 99 * 86400, true, "what others have beside our folders"},
        {"x", 99 * 86400, true, "... or at the top"},
    };
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char id[40];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        leave_upload(cases[i].key, id);
        mem3.uploads->age_s = cases[i].age_s;
    }
    is_int(s3pve_files_recover(fs, NULL, &err), 0, "a daemon starts");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ok((upload_of(cases[i].key) != NULL) == cases[i].stays,
           "%s %s",
           cases[i].what,
           cases[i].stays ? "is left alone" : "is aborted");
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *left = upload_of(cases[i].key);

        if (left)
            s3pve_upload_abort_id(mem3_client(), cases[i].key, left, NULL, &err);
    }
}

static void *abort_left(void *arg) {
    *(unsigned *)arg = records_abort_left(fs);
    return NULL;
}

/* The start of a daemon, and its first heartbeat: one has the first record in hand and all others
 * in mind while the other one deals with them. */
static void two_at_once(void) {
    char id[40], name[16], text[200];
    unsigned slow = 9;
    pthread_t thread;

    for (int i = 0; i < 6; i++) {
        leave_upload("dump/twice", id);
        snprintf(name, sizeof(name), "2-1-%d", i);
        snprintf(text, sizeof(text), "key = dump/twice\nid = %s\n", id);
        put_record(name, text);
    }
    mem3.delay_ms = 500;
    pthread_create(&thread, NULL, abort_left, &slow);
    usleep(200000);
    mem3.delay_ms = 0;
    is_int(records_abort_left(fs), 0, "of two that abort at once, one does it all");
    is_int(n_files("uploads"), 0, "... nothing is left");
    pthread_join(thread, NULL);
    is_int(slow, 0, "... and the other finds no fault with that");
}

static void local_files_of_before(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;

    mount_mkdir("dump/x.tmp");
    mount_write("dump/x.tmp/qemu-server.conf", "memory: 512");
    is_int(n_files("local"), 1, "a local file is on the node");
    fs = s3pve_files_close(fs);
    mount_again();
    is_int(s3pve_files_recover(fs, NULL, &err), 0, "the next daemon");
    is_int(n_files("local"), 0, "... clears it away");
    is_int(mount_size("dump/x.tmp"), -ENOENT, "... with its directory");
}

static void during_an_outage(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int64_t began_ms;
    struct s3pve_file *file;
    char id[40], text[200];

    leave_upload("dump/d", id);
    snprintf(text, sizeof(text), "key = dump/d\nid = %s\n", id);
    put_record("1-1-6", text);
    mem3.down = true;
    is_int(s3pve_files_recover(fs, NULL, &err), -1, "a store that is down cannot abort");
    ok(strstr(err.message, "uploads of an earlier run"), "... which is told: %s", err.message);
    is_int(n_files("uploads"), 1, "the record stays");
    mem3.down = false;

    mount_open("import/e", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), KIB(128));
    mem3.fail = "abort";
    s3pve_file_close(file);
    mem3.fail = NULL;
    is_int(n_files("uploads"), 2, "nor can a dropped file be aborted then");
    s3pve_files_refresh(fs, NULL);
    mount_wait_aborts();
    fs->abort_due_ms = 0;
    mem3.delay_ms = 200;
    began_ms = clock_monotonic_ms();
    s3pve_files_refresh(fs, NULL);
    ok(clock_monotonic_ms() - began_ms < 200, "the heartbeat has it done, and does not wait");
    mount_wait_aborts();
    mem3.delay_ms = 0;
    is_int(n_files("uploads"), 0, "... until it is");
    is_int((int)mem3_n_uploads(), 1, "... in the store");
}

static struct s3pve_file *volatile left_open;

static void closing(void) {
    struct s3pve_file *file;

    mount_open("import/open", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), KIB(128));
    left_open = file;
    mount_open("dump/vzdump-held.vma.dat", O_WRONLY | O_CREAT, &file);
    mount_append(file, "\x28\xb5\x2f\xfd", 0);
    mount_stream(file, 4, MIB(20), KIB(128));
    mount_close(file);
    is_int((int)mem3_n_uploads(), 3, "one file is open, another held");
    fs = s3pve_files_close(fs);
    is_int((int)mem3_n_uploads(), 1, "when the storage is closed, both are aborted");
    is_int(n_files("uploads"), 0, "and no record stays");
    mount_again();
}

int main(void) {
    mount3_begin();
    a_life();
    on_disk_first();
    after_a_crash();
    of_nobody();
    two_at_once();
    local_files_of_before();
    during_an_outage();
    closing();
    return mount3_end();
}
