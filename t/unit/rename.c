/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* M3: what a rename costs and what it leaves, whatever happens. */
#include "mount3.h"

#define STEP KIB(128)
#define DAT "dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.dat"
#define ZST "dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.zst"

static struct s3pve_file *file;

/* An archive of @len bytes with zstd's first four. */
static int write_archive(const char *path, uint64_t len) {
    int rc = mount_open(path, O_WRONLY | O_CREAT | O_TRUNC, &file);

    if (rc == 0)
        rc = mount_append(file, "\x28\xb5\x2f\xfd", 0);
    return rc < 0 ? rc : mount_stream(file, 4, len - 4, STEP);
}

static bool is_archive(const char *key, uint64_t len) {
    const char *data = mem3_text(key);

    return mem3_size(key) == (long)len && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0 &&
           data[len - 1] == pattern_byte(len - 1);
}

static void the_backup(uint64_t len, const char *what) {
    struct s3pve_files_stats stats;
    struct s3pve_files_upload upload;
    uint64_t n, used;

    s3pve_files_stats(fs, &stats);
    used = stats.used_bytes;
    is_int(mount_unlink(DAT), -ENOENT, "vzdump begins by removing what is not there");
    is_int(write_archive(DAT, len), 0, "it writes %s", what);
    is_int(mount_close(file), 0, "and closes it");
    is_int(mount_size(DAT), (long)len, "its size is right at once");
    ok(mem3_size(DAT) < 0 && mem3_size(ZST) < 0, "the store shows neither name yet");
    is_int(mount_size(ZST), -ENOENT, "nor does the mount show the second");
    s3pve_files_stats(fs, &stats);
    is_int(stats.held_uploads, 1, "it is held");
    is_int(s3pve_files_upload_next(fs, 0, &upload), 0, "... and listed");
    ok(upload.held && upload.size == len, "... as that");

    s3pve_files_expire(fs);
    usleep(2000);
    n = mem3_n_requests();
    mount_size(DAT);
    mount_size(ZST);
    is_int(mount_rename(DAT, ZST), 0, "vzdump renames it");
    is_int((long long)(mem3_n_requests() - n), 1, "that is exactly one request (M3)");
    is_int((long long)mem3.n_copy, 0, "... and no copy");
    ok(is_archive(ZST, len), "the store has all of it under its name");
    ok(mem3_size(DAT) < 0, "... and nothing under the other");
    is_int(mount_size(ZST), (long)len, "so does the mount");
    is_int(mount_size(DAT), -ENOENT, "... on both");
    s3pve_files_stats(fs, &stats);
    is_int((long long)(stats.used_bytes - used), (long long)len, "the bytes count as used");
    ok(mount3_is_clean(), "nothing is held any more");
    is_int(mount_unlink(ZST), 0, "and it can be removed");
    s3pve_files_stats(fs, &stats);
    is_int((long long)stats.used_bytes, (long long)used, "... which frees them");
}

static void given_up(void) {
    write_archive(DAT, MIB(20));
    mount_close(file);
    is_int(mount_unlink(DAT), 0, "a backup that failed is removed");
    ok(mount3_is_clean() && mem3_size(DAT) < 0 && mem3_size(ZST) < 0, "parts and all");

    write_archive(DAT, MIB(20));
    s3pve_file_close(file);
    ok(mount3_is_clean() && mount_size(DAT) == -ENOENT,
       "one whose writer was killed leaves nothing");

    write_archive(DAT, 1000);
    mount_close(file);
    is_int(mount_unlink(DAT), 0, "the same for a small one");
    ok(mount3_is_clean(), "nothing is left");
}

static void forked_writer(void) {
    write_archive(DAT, MIB(20));
    is_int(s3pve_file_flush(file), 0, "vzdump runs a program while its archive is open");
    is_int(mount_stream(file, MIB(20), MIB(20), STEP), 0, "the archive goes on");
    is_int(s3pve_file_flush(file), 0, "the compressor ends");
    is_int(mount_close(file), 0, "vzdump closes it");
    is_int(mount_rename(DAT, ZST), 0, "and renames it");
    ok(is_archive(ZST, MIB(40)), "all of it is there");

    write_archive(DAT, MIB(20));
    is_int(mount_rename(DAT, ZST), 0, "a rename before the last close, over what is there");
    ok(is_archive(ZST, MIB(20)), "publishes what was written so far");
    mount_close(file);
    ok(is_archive(ZST, MIB(20)) && mount3_is_clean(), "and the close adds nothing");
    mount_unlink(ZST);
}

static void not_as_foretold(void) {
    write_archive("dump/vzdump-x.vma.dat", MIB(20));
    mount_close(file);
    is_int(mount_rename("dump/vzdump-x.vma.dat", "dump/other.bin"), 0, "another name than usual");
    ok(is_archive("dump/other.bin", MIB(20)), "the bytes are there");
    ok(mem3_size("dump/vzdump-x.vma.zst") < 0, "... and not where they were going");
    ok(mount3_is_clean(), "nothing is left");

    mem3_put("dump/vzdump-y.vma.zst", "another's");
    write_archive("dump/vzdump-y.vma.dat", MIB(20));
    mount_close(file);
    is_int(
        mount_rename("dump/vzdump-y.vma.dat", "dump/elsewhere.bin"), -EIO, "somebody is in the way"
    );
    is_str(mem3_text("dump/vzdump-y.vma.zst"), "another's", "whom we leave alone");
    ok(mem3_size("dump/elsewhere.bin") < 0, "nothing appears");
    is_int(mount_size("dump/vzdump-y.vma.dat"), (long)MIB(20), "and the archive is still there");
    mem3_delete("dump/vzdump-y.vma.zst");
    is_int(
        mount_rename("dump/vzdump-y.vma.dat", "dump/elsewhere.bin"), 0, "so it can be tried again"
    );
    ok(is_archive("dump/elsewhere.bin", MIB(20)), "... with success");

    write_archive("dump/vzdump-z.vma.dat", MIB(20));
    mount_close(file);
    mem3.fail = "copy";
    is_int(mount_rename("dump/vzdump-z.vma.dat", "dump/z.bin"), -EIO, "the copy fails");
    mem3.fail = NULL;
    is_int(
        mount_rename("dump/vzdump-z.vma.dat", "dump/z.bin"), 0, "the next try goes on from there"
    );
    ok(is_archive("dump/z.bin", MIB(20)) && mem3_size("dump/vzdump-z.vma.zst") < 0, "... cleanly");

    write_archive("dump/vzdump-v.vma.dat", MIB(20));
    mount_close(file);
    mem3.lost_complete = true;
    is_int(
        mount_rename("dump/vzdump-v.vma.dat", "dump/v.bin"),
        -EINTR,
        "its first step is not heard of"
    );
    mem3.lost_complete = false;
    is_int(
        mount_rename("dump/vzdump-v.vma.dat", "dump/v.bin"), 0, "the next try is not in its own way"
    );
    ok(is_archive("dump/v.bin", MIB(20)) && mem3_size("dump/vzdump-v.vma.zst") < 0, "... at all");

    write_archive("dump/vzdump-w.vma.dat", MIB(20));
    mount_close(file);
    mem3.fail = "copy";
    mount_rename("dump/vzdump-w.vma.dat", "dump/w.bin");
    mem3.fail = NULL;
    is_int(mount_unlink("dump/vzdump-w.vma.dat"), 0, "or it is given up");
    ok(mem3_size("dump/vzdump-w.vma.zst") < 0 && mount3_is_clean(), "... with what was published");
}

static void failing_complete(void) {
    write_archive(DAT, MIB(20));
    mount_close(file);
    mem3.fail = "complete";
    is_int(mount_rename(DAT, ZST), -EIO, "when Complete fails, so does the rename");
    mem3.fail = NULL;
    is_int(mount_size(DAT), (long)MIB(20), "the archive is as it was");
    is_int(mount_size(ZST), -ENOENT, "... under its old name only");
    is_int(mount_rename(DAT, ZST), 0, "and it can be tried again");
    ok(is_archive(ZST, MIB(20)), "... with success");
    mount_unlink(ZST);
}

static void over_an_object(void) {
    mem3_put(DAT, "somebody's");
    s3pve_files_expire(fs);
    write_archive(DAT, MIB(20));
    is_int(mount_close(file), 0, "an archive is written over an object of its first name");
    is_str(mem3_text(DAT), "somebody's", "which stays for as long");
    is_int(mount_rename(DAT, ZST), 0, "and is renamed");
    ok(is_archive(ZST, MIB(20)), "its bytes are where they should be");
    ok(!mem3_text(DAT), "and the object is gone");
    mount_unlink(ZST);
    ok(mount3_is_clean(), "nothing is left");
}

static void plain_objects(void) {
    uint64_t ino;
    char text[8];

    mount_write("template/iso/a.iso.tmp_dwnl.77", "image");
    ino = mount_ino("template/iso/a.iso.tmp_dwnl.77");
    mount_open("template/iso/a.iso.tmp_dwnl.77", O_RDONLY, &file);
    mem3.n_copy = 0;
    is_int(
        mount_rename("template/iso/a.iso.tmp_dwnl.77", "template/iso/a.iso"), 0, "a download's end"
    );
    is_int((long long)mem3.n_copy, 1, "is a copy in the store");
    is_str(mem3_text("template/iso/a.iso"), "image", "the bytes are there");
    ok(!mem3_text("template/iso/a.iso.tmp_dwnl.77"), "and not here");
    is_int((long long)mount_ino("template/iso/a.iso"), (long long)ino, "it is the same file");
    is_int(s3pve_file_read(file, text, 5, 0), 5, "and who had it open reads on");
    s3pve_file_close(file);

    mem3.other_copy_etag = true;
    mount_open("template/iso/a.iso", O_RDONLY, &file);
    is_int(mount_rename("template/iso/a.iso", "template/iso/b.iso"), 0, "with another ETag");
    is_int(s3pve_file_read(file, text, 5, 0), -EIO, "... it might be another version");
    s3pve_file_close(file);
    is_str(mount_read("template/iso/b.iso"), "image", "... for who opened it before");
    is_int(mount_rename("template/iso/b.iso", "template/iso/a.iso"), 0, "(and back)");
    mem3.other_copy_etag = false;

    mount_write("dump/n.notes.tmp.1", "new notes");
    mount_write("dump/n.notes", "old notes");
    is_int(mount_rename("dump/n.notes.tmp.1", "dump/n.notes"), 0, "a file replaces another");
    is_str(mem3_text("dump/n.notes"), "new notes", "in the store");
    is_str(mount_read("dump/n.notes"), "new notes", "and in the mount");
    is_int(mount_rename("dump/n.notes", "dump/n.notes"), 0, "a rename to itself is nothing");
    is_int(mount_rename("dump/none", "dump/n2"), -ENOENT, "a file that is not there");
    is_int(mount_rename("dump/n.notes", "dump/a\nb"), -EINVAL, "a name that cannot be");
    is_int(
        s3pve_files_rename(
            fs, mount_ino("dump"), "n.notes", mount_ino("template/iso"), "a.iso", RENAME_NOREPLACE
        ),
        -EEXIST,
        "RENAME_NOREPLACE keeps what is there"
    );
    mem3.fail = "copy";
    is_int(mount_rename("dump/n.notes", "dump/m.notes"), -EIO, "a copy that fails ...");
    mem3.fail = "delete";
    is_str(mount_read("dump/n.notes"), "new notes", "... leaves all as it was");
    is_int(mount_size("dump/m.notes"), -ENOENT, "... all");
    is_int(
        mount_rename("dump/n.notes", "dump/m.notes"), -EIO, "a source that cannot be removed ..."
    );
    mem3.fail = NULL;
    is_str(mount_read("dump/n.notes"), "new notes", "... stays");
    is_str(mount_read("dump/m.notes"), "new notes", "... beside the copy");
}

static void directories(void) {
    is_int(mount_mkdir("import/d"), 0, "a directory");
    ok(mem3_text("import/d/"), "is a marker object");
    is_int(mount_rename("import/d", "import/e"), 0, "an empty one can be renamed");
    ok(!mem3_text("import/d/") && mem3_text("import/e/"), "... marker and all");
    mount_write("import/e/f", "x");
    is_int(mount_rename("import/e", "import/g"), -EXDEV, "one with objects cannot: mv(1) copies");
    is_int(mount_rename("dump", "dump2"), -EBUSY, "nor one that PVE needs");
    is_int(mount_rename("import/e/f", "import/e"), -EISDIR, "a file does not replace one");
    is_int(mount_rename("import/e/f", "import/h"), 0, "a file moves between directories");
    is_str(mem3_text("import/h"), "x", "... in the store, too");
}

static int rename_only(const char *from, const char *to) {
    const char *name, *new_name;
    uint64_t parent = mount_parent(from, &name), new_parent = mount_parent(to, &new_name);

    return s3pve_files_rename(fs, parent, name, new_parent, new_name, RENAME_NOREPLACE);
}

/* Directories have just been listed, and then another node comes. */
static void another_nodes(void) {
    uint64_t ino;

    mount_write("import/mine", "mine");
    mount_list("import");
    mem3_put("import/theirs", "theirs");
    is_int(rename_only("import/mine", "import/theirs"), -EEXIST, "RENAME_NOREPLACE asks the store");
    is_str(mem3_text("import/theirs"), "theirs", "... and leaves another node's file alone");
    is_str(mem3_text("import/mine"), "mine", "... as well as the own");
    mem3.fail = "head";
    is_int(rename_only("import/mine", "import/free"), -EIO, "... fails when it cannot know");
    mem3.fail = NULL;
    is_int(rename_only("import/mine", "import/free"), 0, "... and does it when nobody is there");
    is_str(mem3_text("import/free"), "mine", "... wholly");

    write_archive(DAT, 1000);
    mount_close(file);
    mem3_put(ZST, "another's");
    is_int(rename_only(DAT, ZST), -EEXIST, "so it does for an archive");
    is_str(mem3_text(ZST), "another's", "... which replaces nothing");
    is_int(mount_rename(DAT, ZST), 0, "... unless it may");
    mount_unlink(ZST);

    mount_write("import/old", "old");
    mem3_put("import/old", "new and longer");
    ino = mount_ino("import/old");
    is_int(mount_rename("import/old", "import/fresh"), 0, "a file replaced elsewhere is renamed");
    ok(mount_ino("import/fresh") != ino, "... is another to the kernel, which had another size");
    is_int(mount_size("import/fresh"), 14, "... and known by what was copied");
    is_str(mount_read("import/fresh"), "new and longer", "... to the last byte");

    mount_mkdir("import/from");
    mount_mkdir("import/to");
    mem3_put("import/from/file", "x");
    is_int(mount_rename("import/from", "import/else"), -EXDEV, "a directory with a file of theirs");
    ok(mem3_text("import/from/") && !mem3_text("import/else/"), "... stays");
    mem3_delete("import/from/file");
    mem3_put("import/to/file", "x");
    is_int(mount_rename("import/from", "import/to"), -ENOTEMPTY, "nor does it replace one");
    ok(mem3_text("import/from/") && mem3_text("import/to/"), "... both stay");
    mem3_delete("import/to/file");
    mem3_put("import/new/", "");
    is_int(rename_only("import/from", "import/new"), -EEXIST, "nor an empty one, if told so");
    is_int(mount_rename("import/from", "import/to"), 0, "but else it does");
    ok(!mem3_text("import/from/") && mem3_text("import/to/"), "... with its marker");
    is_int(mount_size("import/from"), -ENOENT, "... and the name is gone");
}

static void local_files(void) {
    uint64_t n = mem3_n_requests();
    size_t objects = mem3.n_objects;

    is_int(mount_mkdir("dump/vzdump-qemu-100-x.tmp"), 0, "vzdump's working directory");
    is_int(mount_write("dump/vzdump-qemu-100-x.tmp/qemu-server.conf", "memory: 512"), 0, "a file");
    is_str(
        mount_read("dump/vzdump-qemu-100-x.tmp/qemu-server.conf"), "memory: 512", "it reads back"
    );
    is_int(mount_mkdir("dump/vzdump-qemu-100-x.tmp/etc"), 0, "a directory in it");
    is_int(
        mount_rename(
            "dump/vzdump-qemu-100-x.tmp/qemu-server.conf", "dump/vzdump-qemu-100-x.tmp/etc/conf"
        ),
        0,
        "a rename in it"
    );
    is_str(mount_list("dump/vzdump-qemu-100-x.tmp"), "etc", "it lists");
    is_int(
        mount_rename("dump/vzdump-qemu-100-x.tmp/etc/conf", "dump/conf"),
        -EXDEV,
        "a rename out of it is not one"
    );
    mount_open("dump/vzdump-qemu-100-x.tmp/etc/conf", O_RDWR, &file);
    is_int(mount_append(file, "M", 0), 0, "random writes");
    is_int(s3pve_file_fsync(file), 0, "fsync");
    is_int(mount_unlink("dump/vzdump-qemu-100-x.tmp/etc/conf"), 0, "unlinked while open");
    is_int(mount_append(file, "more", 20), 0, "... and still written");
    s3pve_file_close(file);
    is_int(mount_rmdir("dump/vzdump-qemu-100-x.tmp"), -ENOTEMPTY, "rmdir of what is not empty");
    is_int(mount_rmdir("dump/vzdump-qemu-100-x.tmp/etc"), 0, "rmdir");
    is_int(mount_rmdir("dump/vzdump-qemu-100-x.tmp"), 0, "rmdir");
    is_int((long long)mem3.n_objects, (long long)objects, "the store never heard of any of it");
    ok(mem3_n_requests() - n <= 1, "but for a listing");
    is_int((long)atomic_load(&fs->local_bytes), 0, "and the node has its space back");
}

static void *write_new(void *ctx) {
    *(int *)ctx = mount_write("snippets/slow", "NEW");
    return NULL;
}

/* close(2) is still putting the object when another process renames it. */
static void during_a_close(void) {
    pthread_t writer;
    int closed = -1;

    is_int(mount_write("snippets/target", "OLD"), 0, "there is a file");
    mem3.delay_ms = 300;
    pthread_create(&writer, NULL, write_new, &closed);
    for (int i = 0; i < 200 && mount_size("snippets/slow") != 3; i++)
        usleep(5000);
    is_int(
        mount_rename("snippets/slow", "snippets/target"), 0, "one being closed is renamed to it"
    );
    pthread_join(writer, NULL);
    mem3.delay_ms = 0;
    is_int(closed, 0, "... and its close succeeds");
    is_str(mem3_text("snippets/target"), "NEW", "the store has it under the new name");
    is_int(mem3_size("snippets/slow"), -1, "... and no longer under the old one");
    is_int(mount_size("snippets/slow"), -ENOENT, "nor has the mount");
}

/* Parts cannot change their key, and no close is to publish under a name that has moved. */
static void while_it_is_sent(void) {
    mount_open("import/sent", O_WRONLY | O_CREAT, &file);
    mount_stream(file, 0, MIB(20), KIB(128));
    is_int((long long)mem3_n_uploads(), 1, "a file of which parts are sent");
    is_int(mount_rename("import/sent", "import/moved"), -EBUSY, "... cannot be renamed");
    is_int(mount_size("import/moved"), -ENOENT, "... the new name is not there");
    is_int(mount_size("import/sent"), (long)MIB(20), "... the old one is");
    is_int(mount_append(file, "end", MIB(20)), 0, "it can be written further");
    is_int(mount_close(file), 0, "... and closed");
    is_int(mem3_size("import/sent"), (long)MIB(20) + 3, "the store has it under its name");
    is_int(mount_rename("import/sent", "import/moved"), 0, "which then can be changed");
    is_int(mem3_size("import/moved"), (long)MIB(20) + 3, "... wholly");
    ok(mem3_size("import/sent") < 0 && mount3_is_clean(), "... and nothing is left");
}

static int64_t used_bytes(void) {
    struct s3pve_files_stats stats;

    s3pve_files_stats(fs, &stats);
    return (int64_t)stats.used_bytes;
}

/* What the store has under the new name stays there until the file is published. */
static void written_over_an_object(void) {
    struct s3pve_file *writer;
    int64_t used;

    for (int i = 0; i < 2; i++) {
        if (i == 0)
            mount_write("import/old", "OLD");
        else
            mem3_put("import/old", "OLD"); /* another node's, which we have not seen */
        mount_open("import/fresh", O_WRONLY | O_CREAT, &writer);
        mount_append(writer, "NEWER", 0);
        s3pve_files_expire(fs);
        usleep(2000);
        is_int(
            mount_rename("import/fresh", "import/old"), 0, "a new file is renamed to a known one"
        );
        is_int(mount_size("import/old"), 5, "... and is there");
        is_int(mount_size("import/fresh"), -ENOENT, "... under one name");
        is_int(mount_unlink("import/old"), 0, "it is removed");
        ok(mem3_size("import/old") < 0, "... with what was there before");
        mount_close(writer);
        is_int(mount_size("import/old"), -ENOENT, "... for good");
    }

    mount_list("snippets");
    used = used_bytes();
    mount_write("import/old", "OLD");
    mount_open("import/fresh", O_WRONLY | O_CREAT, &writer);
    mount_append(writer, "NEWER", 0);
    is_int(mount_rename("import/fresh", "import/old"), 0, "the same again");
    s3pve_file_close(writer);
    is_str(mount_read("import/old"), "OLD", "a killed writer leaves what was there");
    is_int(used_bytes() - used, 3, "... which counts as used");
    mount_unlink("import/old");
    is_int(used_bytes() - used, 0, "... and then no longer");

    mount_write("import/old", "OLD");
    mount_open("import/fresh", O_WRONLY | O_CREAT, &writer);
    mount_append(writer, "NEWER", 0);
    mount_rename("import/fresh", "import/old");
    is_int(mount_close(writer), 0, "one that closes replaces it");
    is_str(mem3_text("import/old"), "NEWER", "... in the store");
    is_int(used_bytes() - used, 5, "... and in what is used");
    mount_unlink("import/old");
    ok(mount3_is_clean(), "nothing is left over");
}

/* The same with nobody there: the directory is not kept locked for the writer's deadline. */
static void while_offline(void) {
    int64_t began_ms;
    pthread_t writer;
    int closed = -1;

    mem3.delay_ms = 2500;
    pthread_create(&writer, NULL, write_new, &closed);
    for (int i = 0; i < 200 && mount_size("snippets/slow") != 3; i++)
        usleep(5000);
    files_fail(fs, "check", "", &(struct s3pve_error){.code = S3PVE_E_IO});
    began_ms = clock_monotonic_ms();
    is_int(mount_rename("snippets/slow", "snippets/other"), -EBUSY, "offline, nobody waits for it");
    ok(clock_monotonic_ms() - began_ms < 1500, "... for long");
    pthread_join(writer, NULL);
    mem3.delay_ms = 0;
    files_mark_online(fs);
    is_int(mount_rename("snippets/slow", "snippets/other"), 0, "later it can be renamed");
    is_str(mem3_text("snippets/other"), "NEW", "... wholly");
}

int main(void) {
    mount3_begin();
    the_backup(MIB(40) + 5, "40 MiB");
    the_backup(1000, "1000 bytes");
    given_up();
    forked_writer();
    not_as_foretold();
    failing_complete();
    over_an_object();
    plain_objects();
    during_a_close();
    while_it_is_sent();
    written_over_an_object();
    while_offline();
    directories();
    another_nodes();
    local_files();
    return mount3_end();
}
