/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* An object opened for update: fetched when it is first written to, one version of it. */
#include "files/stream.h"
#include "mount3.h"

static struct s3pve_file *file;

static void updating(void) {
    uint64_t n;
    char text[16];

    mem3_put("snippets/old", "0123456789");
    s3pve_files_expire(fs);
    mount_open("snippets/old", O_RDWR, &file);
    n = mem3_n_requests();
    is_int(mount_append(file, "ab", 3), 0, "an object is changed in the middle");
    is_int((long long)(mem3_n_requests() - n), 1, "... after it was fetched once");
    is_int(s3pve_file_read(file, text, 10, 0), 10, "its writer reads ...");
    ok(memcmp(text, "012ab56789", 10) == 0, "... what it wrote");
    is_str(mount_read("snippets/old"), "(EBUSY)", "others here cannot open it for now");
    is_str(mem3_text("snippets/old"), "0123456789", "... and elsewhere have the old one");
    mount_close(file);
    is_str(mem3_text("snippets/old"), "012ab56789", "after close it is the new one");

    mount_open("snippets/old", O_WRONLY | O_APPEND, &file);
    mount_append(file, "+", 0);
    mount_append(file, "+", 0);
    mount_close(file);
    is_str(mem3_text("snippets/old"), "012ab56789++", "O_APPEND appends, whatever the offset");

    mem3_put_size("import/large", MIB(20));
    s3pve_files_expire(fs);
    mount_open("import/large", O_RDWR, &file);
    is_int(mount_append(file, "XYZ", MIB(19)), 0, "a large object is changed");
    ok(atomic_load(&fs->spool_bytes) == MIB(20), "... in a spool");
    mount_close(file);
    ok(mem3_size("import/large") == (long)MIB(20) &&
           memcmp(mem3_text("import/large") + MIB(19), "XYZ", 3) == 0 &&
           mem3_text("import/large")[MIB(18)] == pattern_byte(MIB(18)),
       "... and all the rest is as it was");

    mem3_put_size("import/mid", MIB(1));
    s3pve_files_expire(fs);
    atomic_fetch_add(&fs->head_bytes, STORAGE_MEMORY);
    mount_open("import/mid", O_WRONLY, &file);
    is_int(mount_append(file, "end", MIB(1)), 0, "without memory for a small object ...");
    ok(atomic_load(&fs->spool_bytes) == MIB(1) + 3, "... the spool takes it");
    mount_close(file);
    atomic_fetch_sub(&fs->head_bytes, STORAGE_MEMORY);
    ok(mem3_size("import/mid") == (long)MIB(1) + 3 &&
           mem3_text("import/mid")[1000] == pattern_byte(1000),
       "... all of it");

    n = mem3_n_requests();
    mount_open("import/large", O_RDWR, &file);
    mount_close(file);
    is_int((long long)(mem3_n_requests() - n), 0, "opened to write and not written costs nothing");
    ok(mount3_is_clean(), "nothing is left over");
}

/* Another node replaces what is about to be changed: bytes of it must not be taken for ours. */
static void updating_what_changed(void) {
    static const size_t sizes[] = {MIB(20), MIB(18), MIB(22), 10};
    char name[32];

    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "import/changed%zu", i);
        mem3_put_size(name, i == 3 ? 20 : MIB(20));
        s3pve_files_expire(fs);
        mount_open(name, O_RDWR, &file);
        mem3_put_size(name, sizes[i]);
        is_int(mount_append(file, "XYZ", 5), -EIO, "replaced before the first write: EIO");
        mount_close(file);
        ok(mem3_size(name) == (long)sizes[i] && mem3_text(name)[5] == pattern_byte(5),
           "... and the store keeps the other's %zu bytes",
           sizes[i]);
    }
    ok(mount3_is_clean(), "nothing is left over");
}

int main(void) {
    mount3_begin();
    updating();
    updating_what_changed();
    return mount3_end();
}
