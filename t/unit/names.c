/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "files/names.h"
#include "tap.h"

static void which_names_are_accepted(void) {
    char longest[LIMIT_KEY_SEGMENT + 2];

    memset(longest, 'a', sizeof(longest));
    longest[LIMIT_KEY_SEGMENT + 1] = '\0';
    is_int(name_check(longest), -ENAMETOOLONG, "256 bytes are too many");
    longest[LIMIT_KEY_SEGMENT] = '\0';
    is_int(name_check(longest), 0, "255 bytes are not");
    is_int(name_check("debian 12 (ä).iso"), 0, "blanks, brackets and UTF-8 are fine");
    is_int(name_check(""), -EINVAL, "nothing is not a name");
    is_int(name_check("."), -EINVAL, "'.' is not a name");
    is_int(name_check(".."), -EINVAL, "'..' is not a name");
    is_int(name_check("a/b"), -EINVAL, "a slash is refused");
    is_int(name_check("a\nb"), -EINVAL, "a control character is refused");
    is_int(name_check("a\xff"), -EINVAL, "bytes that are not UTF-8 are refused");
}

static void which_names_are_held(void) {
    ok(name_is_held("vzdump-qemu-100-2026_01_02-03_04_05.vma.dat"), "a compressed VM's archive");
    ok(name_is_held("vzdump-lxc-100-2026_01_02-03_04_05.dat"), "a container's, not compressed");
    ok(!name_is_held("vzdump-qemu-100-2026_01_02-03_04_05.vma.zst"), "a finished one is not");
    ok(!name_is_held("something.dat"), "another's .dat is not");
    ok(!name_is_held("vzdump-.log"), "a log is not");
    ok(name_is_archive("vzdump-qemu-100-x.vma.zst"), "a backup is an archive");
    ok(!name_is_archive("vzdump-qemu-100-x.vma.zst.notes"), "its notes are not");
    ok(!name_is_archive("debian.iso"), "an ISO is not");
}

static void which_directories_are_local(void) {
    ok(name_is_local_dir("dump", "vzdump-qemu-100-x.tmp"), "vzdump's working directory");
    ok(name_is_local_dir("dump/sub", "x.tmp"), "any *.tmp below dump");
    ok(name_is_local_dir("elsewhere", "vzdump-lxc-1.tmp"), "vzdump's own, wherever it dumps");
    ok(!name_is_local_dir("template/iso", "x.tmp"), "others are not");
    ok(!name_is_local_dir("dump", "tmp"), "nor is 'tmp'");
    ok(!name_is_local_dir("dumpster", "x.tmp"), "nor below a name that begins the same");
    ok(name_is_hidden("", ".s3pve"), "our bookkeeping is hidden");
    ok(!name_is_hidden("dump", ".s3pve"), "... at the top only");
}

static void predict(const char *name, const void *head, size_t len, const char *want) {
    char got[NAME_SIZE];
    bool found = name_predict(name, head, len, got);

    is_str(got, want, "%s, %zu bytes -> %s", name, len, *want ? want : "unknown");
    ok(found == (*want != '\0'), "... and says so");
}

static void what_the_first_bytes_foretell(void) {
    char tar[512] = "./etc/vzdump/pct.conf";

    memcpy(tar + 257, "ustar  ", 8);
    predict("vzdump-qemu-1-x.vma.dat", "\x28\xb5\x2f\xfd\x04", 5, "vzdump-qemu-1-x.vma.zst");
    predict("vzdump-lxc-1-x.tar.dat", "\x28\xb5\x2f\xfd\x04", 5, "vzdump-lxc-1-x.tar.zst");
    predict("vzdump-qemu-1-x.vma.dat", "\x1f\x8b\x08", 3, "vzdump-qemu-1-x.vma.gz");
    predict("vzdump-qemu-1-x.vma.dat", "\x89LZO\0\r\n\x1a\n\x10", 10, "vzdump-qemu-1-x.vma.lzo");
    predict("vzdump-qemu-1-x.dat", "VMA\0\0\0\0\1", 8, "vzdump-qemu-1-x.vma");
    predict("vzdump-lxc-1-x.dat", tar, sizeof(tar), "vzdump-lxc-1-x.tar");
    predict("vzdump-lxc-1-x.dat", tar, 261, "");
    predict("vzdump-qemu-1-x.vma.dat", "VMA\0\0\0\0\1", 8, "");
    predict("vzdump-qemu-1-x.dat", "\x28\xb5\x2f\xfd", 4, "");
    predict("vzdump-qemu-1-x.vma.dat", "\x28\xb5\x2f", 3, "");
    predict("vzdump-qemu-1-x.vma.dat", "", 0, "");
    predict("other.vma.dat", "\x28\xb5\x2f\xfd", 4, "");
}

int main(void) {
    which_names_are_accepted();
    which_names_are_held();
    which_directories_are_local();
    what_the_first_bytes_foretell();
    is_str(name_expected_dir(0), "dump", "PVE expects a place for backups");
    return done_testing();
}
