/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Names that are used again while the store still takes in what had them before. */
#include "files/keylock.h"
#include "mount3.h"

#define DAT "dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.dat"
#define ZST "dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.zst"

static struct s3pve_file *file;

struct writer {
    struct s3pve_file *file;
    pthread_t thread;
    int rc;
};

static void *flush_and_close(void *arg) {
    struct writer *writer = arg;

    writer->rc = mount_close(writer->file);
    return NULL;
}

/* Writes @path and closes it, which takes half a second; then unlinks it meanwhile. */
static void write_and_unlink(struct writer *writer, const char *path, const char *text) {
    mount_open(path, O_WRONLY | O_CREAT, &writer->file);
    if (*text)
        mount_append(writer->file, text, 0);
    mem3.delay_ms = 500;
    pthread_create(&writer->thread, NULL, flush_and_close, writer);
    usleep(200000);
    mem3.delay_ms = 0;
    is_int(mount_unlink(path), 0, "'%s' is unlinked while its close goes on", path);
}

static void ends_well(struct writer *writer) {
    pthread_join(writer->thread, NULL);
    is_int(writer->rc, 0, "... which has nothing to complain of");
}

/* What we undo is our own, even if the next file of that name has the same bytes. */
static void unlinked_and_made_anew(void) {
    static const char *const texts[] = {"", "same", "other"};
    struct writer first, second;

    for (size_t i = 0; i < 3; i++) {
        write_and_unlink(&first, "import/anew", i == 0 ? "" : "same");
        is_int(mount_write("import/anew", texts[i]), 0, "made anew with '%s'", texts[i]);
        ends_well(&first);
        is_str(mem3_text("import/anew"), texts[i], "the second one is in the store");
        is_str(mount_read("import/anew"), texts[i], "... and in the mount");
        mount_unlink("import/anew");
    }

    write_and_unlink(&first, "import/anew", "1");
    write_and_unlink(&second, "import/anew", "2");
    is_int(mount_write("import/anew", "3"), 0, "made anew twice");
    ends_well(&first);
    ends_well(&second);
    is_str(mem3_text("import/anew"), "3", "the third one is in the store");
    mount_unlink("import/anew");

    write_and_unlink(&first, "import/anew", "1");
    is_int(mount_open("import/anew", O_WRONLY | O_CREAT | O_EXCL, &file), 0, "with O_EXCL as well");
    is_int(mount_close(file), 0, "... it is closed");
    ends_well(&first);
    is_str(mem3_text("import/anew"), "", "... and in the store");
    mount_unlink("import/anew");
    ok(mount3_is_clean(), "nothing is left over");
}

static void unlinked_and_renamed_to(void) {
    struct writer first;

    mount_write("import/from", "from");
    write_and_unlink(&first, "import/to", "to");
    is_int(mount_rename("import/from", "import/to"), 0, "another file gets the name");
    ends_well(&first);
    is_str(mem3_text("import/to"), "from", "the store has that one");
    is_str(mount_read("import/to"), "from", "... and the mount");

    mount_write("import/from", "from");
    write_and_unlink(&first, "import/to2", "to");
    files_fail(fs, "check", "", &(struct s3pve_error){.code = S3PVE_E_IO});
    is_int(mount_rename("import/from", "import/to2"), -EBUSY, "offline, nobody waits for it");
    files_mark_online(fs);
    ends_well(&first);
    is_str(mem3_text("import/from"), "from", "... and all is as it was");
    mount_unlink("import/from");
    mount_unlink("import/to");
    ok(mount3_is_clean(), "nothing is left over");
}

static void *rename_archive(void *ctx) {
    *(int *)ctx = mount_rename(DAT, ZST);
    return NULL;
}

/* The store has completed it by the time we are told that nobody wants it. */
static void unlinked_meanwhile(uint64_t len) {
    pthread_t renamer;
    int rc = 0;

    mount_open(DAT, O_WRONLY | O_CREAT, &file);
    mount_append(file, "\x28\xb5\x2f\xfd", 0);
    mount_stream(file, 4, len - 4, KIB(128));
    mount_close(file);
    mem3.delay_ms = 500;
    pthread_create(&renamer, NULL, rename_archive, &rc);
    usleep(200000);
    mem3.delay_ms = 0;
    is_int(mount_unlink(DAT), 0, "an archive is removed while it is renamed");
    pthread_join(renamer, NULL);
    is_int(rc, -ENOENT, "... which finds it gone");
    ok(mem3_size(DAT) < 0 && mem3_size(ZST) < 0, "... and leaves no object");
    ok(mount3_is_clean() && mount_size(ZST) == -ENOENT, "... nor anything else");
}

static void *unlink_file(void *ctx) {
    *(int *)ctx = mount_unlink("import/leaving");
    return NULL;
}

static void renamed_meanwhile(void) {
    pthread_t remover;
    int rc = 0;

    mount_write("import/leaving", "text");
    mem3.delay_ms = 500;
    pthread_create(&remover, NULL, unlink_file, &rc);
    usleep(200000);
    mem3.delay_ms = 0;
    is_int(
        mount_rename("import/leaving", "import/left"), 0, "a file is renamed while it is removed"
    );
    pthread_join(remover, NULL);
    is_int(rc, -ENOENT, "... which comes too late");
    is_str(mem3_text("import/left"), "text", "the object is there");
    is_int(mount_size("import/left"), 4, "... and so is its name");
    is_int(mount_unlink("import/left"), 0, "... by which it can be removed");
}

static void *take(void *arg) {
    struct keylock turn;
    int *rc = arg;

    *rc = keylock_take(fs, &turn, "import/k", true);
    if (*rc == 0)
        keylock_give(fs, &turn, 0);
    return NULL;
}

static void turns(void) {
    struct keylock turn, other;
    pthread_t thread;
    int rc = 1;

    is_int(keylock_take(fs, &turn, "import/k", true), 0, "a key is taken");
    is_int(keylock_take(fs, &other, "import/k2", true), 0, "... and another as well");
    keylock_give(fs, &other, 0);
    pthread_create(&thread, NULL, take, &rc);
    usleep(300000);
    is_int(rc, 1, "a second one waits for the first");
    keylock_give(fs, &turn, 0);
    pthread_join(thread, NULL);
    is_int(rc, 0, "... and gets his turn");

    keylock_take(fs, &turn, "import/k", true);
    __atomic_store_n(&fs->closing, 1, __ATOMIC_RELAXED);
    is_int(keylock_take(fs, &other, "import/k", true), -EINTR, "who is cancelled waits no longer");
    __atomic_store_n(&fs->closing, 0, __ATOMIC_RELAXED);
    keylock_give(fs, &turn, 0);
}

static int cancel;

static void *unlink_and_be_killed(void *arg) {
    s3pve_files_set_cancel(&cancel);
    *(int *)arg = mount_unlink("import/late");
    s3pve_files_set_cancel(NULL);
    return NULL;
}

static void *write_again(void *arg) {
    *(int *)arg = mount_write("import/late", "new");
    return NULL;
}

/* Nobody waits for the answer any more, and what was asked may still be done. */
static void not_waited_for(void) {
    int64_t began_ms;
    pthread_t thread;
    int rc = 1;

    mount_write("import/late", "old");
    mem3.delay_ms = 500;
    pthread_create(&thread, NULL, unlink_and_be_killed, &rc);
    usleep(100000);
    __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    mem3.delay_ms = 0;
    is_int(rc, -EINTR, "somebody is killed while he removes a file");

    rc = 1;
    began_ms = clock_monotonic_ms();
    pthread_create(&thread, NULL, write_again, &rc);
    usleep(1000000);
    is_str(mem3_text("import/late"), "old", "the next one of that name is not stored at once");
    mem3_delete("import/late"); /* as the store does it now */
    is_int(mount_write("import/other", "other"), 0, "... but others are");
    pthread_join(thread, NULL);
    is_int(rc, 0, "... and then it is");
    is_str(mem3_text("import/late"), "new", "... for good");
    ok(clock_monotonic_ms() - began_ms < KEY_LINGER_MS + 1000, "... soon");
    mount_unlink("import/late");
    ok(mount3_is_clean(), "nothing is left over");
}

int main(void) {
    mount3_begin();
    turns();
    unlinked_and_made_anew();
    unlinked_and_renamed_to();
    unlinked_meanwhile(1000);
    unlinked_meanwhile(MIB(20));
    renamed_meanwhile();
    not_waited_for();
    return mount3_end();
}
