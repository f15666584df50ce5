/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* M4: reading in order and out of it, pinned to one version. */
#include "mount3.h"

static struct s3pve_file *file;

/* Are these @len bytes at @offset what mem3_put_size() made? */
static bool read_is_right(struct s3pve_file *from, size_t len, uint64_t offset) {
    char *buf = malloc(len);
    ssize_t n = s3pve_file_read(from, buf, len, offset);
    bool right = n == (ssize_t)len;

    for (size_t i = 0; right && i < len; i++)
        right = buf[i] == pattern_byte(offset + i);
    free(buf);
    return right;
}

static void in_order(void) {
    bool right = true;
    uint64_t n;
    char byte;

    mem3_put_size("dump/vzdump-qemu-1-x.vma.zst", MIB(50) + 333);
    is_int(mount_open("dump/vzdump-qemu-1-x.vma.zst", O_RDONLY, &file), 0, "a backup is opened");
    n = mem3_n_requests();
    for (uint64_t at = 0; at < MIB(50); at += KIB(128))
        right = right && read_is_right(file, KIB(128), at);
    ok(right && read_is_right(file, 333, MIB(50)), "read in order, every byte is right");
    is_int(s3pve_file_read(file, &byte, 1, MIB(50) + 333), 0, "at its end there is no more");
    n = mem3_n_requests() - n;
    ok(n < 24, "in few requests (%llu)", (unsigned long long)n);
    ok(mem3.bytes_read < MIB(52),
       "and hardly a byte twice (%llu)",
       (unsigned long long)mem3.bytes_read);
    s3pve_file_close(file);
    usleep(50000);
    is_int((long long)atomic_load(&fs->ahead_bytes), 0, "all memory is given back");
}

struct racer {
    pthread_t thread;
    uint64_t from;
    bool right;
};

/* The kernel's read-ahead: several requests at once, each a stripe of the file. */
static void *race(void *arg) {
    struct racer *racer = arg;

    racer->right = true;
    for (uint64_t at = racer->from; at < MIB(40); at += 6ull * KIB(128))
        racer->right = racer->right && read_is_right(file, KIB(128), at);
    return NULL;
}

static void several_at_once(void) {
    struct racer racers[6];
    bool right = true;
    uint64_t n;

    mem3_put_size("import/raced", MIB(40));
    mount_open("import/raced", O_RDONLY, &file);
    mem3.delay_ms = 2;
    n = mem3_n_requests();
    for (size_t i = 0; i < 6; i++) {
        racers[i].from = i * KIB(128);
        pthread_create(&racers[i].thread, NULL, race, &racers[i]);
    }
    for (size_t i = 0; i < 6; i++) {
        pthread_join(racers[i].thread, NULL);
        right = right && racers[i].right;
    }
    n = mem3_n_requests() - n;
    mem3.delay_ms = 0;
    ok(right, "six readers in turn get the right bytes");
    ok(n < 100, "and count as one in order (%llu requests)", (unsigned long long)n);
    s3pve_file_close(file);
}

static void out_of_order(void) {
    struct s3pve_files_stats stats;
    uint64_t n, seed = 7;
    bool right = true;

    mem3_put_size("template/iso/a.iso", MIB(30) + 100);
    mount_open("template/iso/a.iso", O_RDONLY, &file);
    n = mem3_n_requests();
    for (int i = 0; i < 500; i++) {
        seed = seed * 6364136223846793005ull + 1;
        right = right && read_is_right(file, 4096, (seed >> 33) % (MIB(30) - 4096));
    }
    ok(right, "500 random reads are right");
    ok(read_is_right(file, 200, MIB(30) - 100), "also across blocks, to the end");
    ok(mem3_n_requests() - n <= 40, "... and each block is fetched but once");
    s3pve_file_close(file);

    mount_open("template/iso/a.iso", O_RDONLY, &file);
    n = mem3_n_requests();
    for (uint64_t at = MIB(29); at >= MIB(3); at -= MIB(3))
        right = right && read_is_right(file, 4096, at);
    ok(right, "another opener reads the same");
    is_int((long long)(mem3_n_requests() - n), 0, "from this node's disk");
    s3pve_files_stats(fs, &stats);
    ok(stats.cache_bytes >= MIB(28) && stats.cache_hits > 400, "which is counted");
    s3pve_file_close(file);

    fs = s3pve_files_close(fs);
    mount_again();
    mount_open("template/iso/a.iso", O_RDONLY, &file);
    n = mem3_n_requests();
    ok(read_is_right(file, KIB(64), MIB(17)), "after a restart, too");
    is_int((long long)(mem3_n_requests() - n), 0, "... still from the disk");
    s3pve_file_close(file);
}

static void read_again(void) {
    uint64_t n;

    for (int pass = 0; pass < 3; pass++) {
        if (pass == 0)
            mem3_put_size("template/cache/t.tar.zst", MIB(20));
        s3pve_files_expire(fs);
        mount_open("template/cache/t.tar.zst", O_RDONLY, &file);
        n = mem3_n_requests();
        for (uint64_t at = 0; at < MIB(20); at += KIB(128))
            read_is_right(file, KIB(128), at);
        n = mem3_n_requests() - n;
        s3pve_file_close(file);
        usleep(50000);
    }
    is_int((long long)n, 0, "a template that is read for the third time is on the node");
}

static void replaced(void) {
    struct s3pve_file *fresh;
    uint64_t before, after;
    char text[8];

    mem3_put("snippets/s", "old one");
    s3pve_files_expire(fs);
    before = mount_ino("snippets/s");
    mount_open("snippets/s", O_RDONLY, &file);
    is_int(s3pve_file_read(file, text, 7, 0), 7, "a file is open and read");
    is_int(mount_write("snippets/s", "new one, longer"), 0, "and replaced by us");
    after = mount_ino("snippets/s");
    ok(before != after, "the new version has another inode");
    is_str(mount_read("snippets/s"), "new one, longer", "and its bytes");
    is_int(s3pve_file_read(file, text, 7, 0), 7, "who reads the old one");
    ok(memcmp(text, "old one", 7) == 0, "... gets no new bytes");
    s3pve_file_close(file);

    mem3_put_size("import/r", MIB(3));
    s3pve_files_expire(fs);
    mount_open("import/r", O_RDONLY, &file);
    ok(read_is_right(file, 4096, 0), "a file is open and read");
    mem3_put_size("import/r", MIB(3));
    is_int(s3pve_file_read(file, text, 7, MIB(2)), -EIO, "and replaced elsewhere: no mixture");
    mount_open("import/r", O_RDONLY, &fresh);
    ok(read_is_right(fresh, 4096, MIB(2)), "who opens it now reads the new one");
    s3pve_file_close(fresh);
    s3pve_file_close(file);

    mem3_put_size("import/late", MIB(3));
    s3pve_files_expire(fs);
    mount_size("import/late");
    mem3_put_size("import/late", MIB(3));
    mount_open("import/late", O_RDONLY, &file);
    ok(read_is_right(file, 4096, MIB(1)), "replaced just before it is opened: the new bytes");
    s3pve_file_close(file);

    mem3_put_size("import/u", MIB(3));
    s3pve_files_expire(fs);
    mount_open("import/u", O_RDONLY, &file);
    mount_unlink("import/u");
    is_int(s3pve_file_read(file, text, 7, 0), -EIO, "an unlinked object has no bytes any more");
    s3pve_file_close(file);
}

static void *read_slowly(void *arg) {
    char byte;

    *(ssize_t *)arg = s3pve_file_read(file, &byte, 1, MIB(2));
    return NULL;
}

/* Who writes and reads through one descriptor, with several threads. */
static void by_its_writer(void) {
    struct stat attr = {.st_size = 0}, st;
    pthread_t thread;
    ssize_t n = 0;

    mem3_put_size("import/rw", MIB(3));
    s3pve_files_expire(fs);
    is_int(mount_open("import/rw", O_RDWR, &file), 0, "a file is open for both");
    mem3.delay_ms = 1000;
    pthread_create(&thread, NULL, read_slowly, &n);
    usleep(100000);
    mem3.delay_ms = 0;
    s3pve_files_setattr(fs, mount_ino("import/rw"), &attr, S3PVE_SET_SIZE, &st);
    is_int(mount_stream(file, 0, MIB(20), KIB(128)), 0, "one thread writes it anew");
    is_int(s3pve_file_flush(file), 0, "... and publishes it");
    ok(read_is_right(file, KIB(128), MIB(19)), "... and reads what it has published");
    pthread_join(thread, NULL);
    ok(n == 1 || n == -EIO, "another, that was reading all the while, comes to no harm (%zd)", n);
    s3pve_file_close(file);
    is_int((long long)atomic_load(&fs->ahead_bytes), 0, "no memory stays");
}

static void kernel_pages(void) {
    struct s3pve_file *other;
    bool keep;
    uint64_t ino;

    mount_write("snippets/k", "one");
    ino = mount_ino("snippets/k");
    s3pve_file_open(fs, ino, O_RDONLY, &file, &keep);
    ok(!keep, "at first the kernel has no pages worth keeping");
    s3pve_file_close(file);
    s3pve_file_open(fs, ino, O_RDONLY, &file, &keep);
    ok(keep, "the same version again: it has");
    s3pve_file_close(file);
    mount_write("snippets/k", "two");
    is_int((long long)mount_ino("snippets/k"), (long long)ino, "nobody had it open: same inode");
    s3pve_file_open(fs, ino, O_RDONLY, &file, &keep);
    ok(!keep, "but its pages are not good any more");
    s3pve_file_open(fs, ino, O_RDONLY, &other, &keep);
    ok(keep, "two readers of a version share them");
    s3pve_file_close(other);
    s3pve_file_close(file);
}

static void no_etag(void) {
    uint64_t ino;

    mem3.no_list_etag = true;
    mem3_put("snippets/n", "pinned");
    s3pve_files_expire(fs);
    mem3.n_head = 0;
    is_str(mount_read("snippets/n"), "pinned", "a server whose listing has no ETags");
    is_int(mem3.n_head, 1, "... is asked for it when the file is opened");
    mem3_put("snippets/n", "one");
    s3pve_files_expire(fs);
    ino = mount_ino("snippets/n");
    mem3_put("snippets/n", "another");
    is_int(s3pve_file_open(fs, ino, O_RDONLY, &file, NULL), -ESTALE, "of another size now");
    is_str(mount_read("snippets/n"), "another", "... it is another inode's");
    mem3.no_list_etag = false;
    s3pve_files_expire(fs);
}

static void other_etags(void) {
    char text[8] = "";
    uint64_t ino;

    mem3.other_list_etag = true;
    mount_write("import/own", "our own");
    ino = mount_ino("import/own");
    mount_open("import/own", O_RDONLY, &file);
    s3pve_file_read(file, text, 1, 0);
    s3pve_files_expire(fs);
    is_int((long long)mount_ino("import/own"), (long long)ino, "a listing's other ETag ...");
    is_int(s3pve_file_read(file, text, 7, 0), 7, "... does not disturb who reads our own file");
    mem3_put("import/own", "another");
    s3pve_files_expire(fs);
    ok(mount_ino("import/own") != ino, "another version is noticed all the same");
    is_int(s3pve_file_read(file, text, 7, 0), 7, "... and who reads the one before");
    is_str(text, "our own", "... reads that, from the node's disk");
    s3pve_file_close(file);
    is_str(mount_read("import/own"), "another", "... and can be read");

    mount_write("import/own", "again 1");
    mem3_put("import/own", "again 2");
    s3pve_files_expire(fs);
    mount_size("import/own");
    if (strcmp(mount_read("import/own"), "again 2") != 0)
        is_str(mount_read("import/own"), "again 2", "one of the same size is found by reading it");
    else
        ok(true, "one of the same size is found at once");
    mem3.other_list_etag = false;
    s3pve_files_expire(fs);
}

static void *read_one(void *arg) {
    struct racer *racer = arg;

    racer->right = read_is_right(file, KIB(64), racer->from);
    return NULL;
}

/* The kernel's first read-ahead is several requests, and all of them find the same. */
static void repinned_at_once(void) {
    struct racer racers[4];
    unsigned n_right = 0;

    mem3_put_size("import/both", MIB(8));
    s3pve_files_expire(fs);
    mount_size("import/both");
    mem3_put_size("import/both", MIB(8));
    mount_open("import/both", O_RDONLY, &file);
    mem3.delay_ms = 20;
    for (size_t i = 0; i < 4; i++) {
        racers[i].from = i * MIB(2);
        pthread_create(&racers[i].thread, NULL, read_one, &racers[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(racers[i].thread, NULL);
        n_right += racers[i].right;
    }
    mem3.delay_ms = 0;
    is_int(n_right, 4, "replaced before its first reads, it is read all the same");
    s3pve_file_close(file);
}

static void early_close(void) {
    uint64_t n;
    int64_t began;

    mem3_put_size("dump/vzdump-lxc-9-x.tar.zst", MIB(100));
    mem3.delay_ms = 20;
    s3pve_files_expire(fs);
    mount_open("dump/vzdump-lxc-9-x.tar.zst", O_RDONLY, &file);
    n = mem3.bytes_read;
    began = clock_monotonic_ms();
    for (uint64_t at = 0; at < MIB(1); at += KIB(128))
        read_is_right(file, KIB(128), at);
    s3pve_file_close(file);
    ok(clock_monotonic_ms() - began < 500, "a config is extracted from a backup quickly");
    mem3.delay_ms = 0;
    usleep(100000);
    ok(mem3.bytes_read - n <= MIB(8), "and not much more is fetched than was read");
    is_int((long long)atomic_load(&fs->ahead_bytes), 0, "nothing goes on after close");
}

static void dead_store(void) {
    int64_t began;
    char text[8];

    mem3_put_size("import/far", MIB(9));
    mem3_put_size("import/near", 5000);
    s3pve_files_expire(fs);
    mount_open("import/near", O_RDONLY, &file);
    read_is_right(file, 5000, 0);
    s3pve_file_close(file);
    mount_open("import/far", O_RDONLY, &file);
    mem3.down = true;
    mem3.down_ms = 100;
    began = clock_monotonic_ms();
    is_int(s3pve_file_read(file, text, 7, MIB(5)), -EIO, "bytes nobody has are an I/O error");
    ok(clock_monotonic_ms() - began < 1000, "... when the deadline has passed");
    s3pve_file_close(file);
    mount_open("import/near", O_RDONLY, &file);
    ok(read_is_right(file, 5000, 0), "bytes on the node can still be read");
    s3pve_file_close(file);
    mem3.down = false;
    s3pve_files_refresh(fs, NULL);
    mount_open("import/far", O_RDONLY, &file);
    ok(read_is_right(file, 7, MIB(5)), "and when the store is back, all can");
    s3pve_file_close(file);
}

static void killed_reader(void) {
    int cancel = 1;
    char text[8];

    mem3_put_size("import/killed", MIB(9));
    s3pve_files_expire(fs);
    mount_open("import/killed", O_RDONLY, &file);
    s3pve_files_set_cancel(&cancel);
    is_int(s3pve_file_read(file, text, 7, MIB(5)), -EINTR, "a killed reader is let go");
    s3pve_files_set_cancel(NULL);
    ok(read_is_right(file, 7, MIB(5)), "the next reads on");
    s3pve_file_close(file);
}

struct sharer {
    pthread_t thread;
    int cancel;
    ssize_t n;
};

static void *share(void *arg) {
    struct sharer *sharer = arg;
    char byte;

    s3pve_files_set_cancel(&sharer->cancel);
    sharer->n = s3pve_file_read(file, &byte, 1, MIB(5));
    s3pve_files_set_cancel(NULL);
    return NULL;
}

/* Who fetches a block for several is killed. */
static void killed_for_others(void) {
    struct sharer sharers[3] = {0};

    mem3_put_size("import/shared", MIB(9));
    s3pve_files_expire(fs);
    mount_open("import/shared", O_RDONLY, &file);
    mem3.delay_ms = 1000;
    for (size_t i = 0; i < 3; i++) {
        pthread_create(&sharers[i].thread, NULL, share, &sharers[i]);
        usleep(50000);
    }
    __atomic_store_n(&sharers[0].cancel, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 3; i++)
        pthread_join(sharers[i].thread, NULL);
    mem3.delay_ms = 0;
    is_int(sharers[0].n, -EINTR, "a reader is killed while others wait for the same bytes");
    ok(sharers[1].n == 1 && sharers[2].n == 1, "... which they fetch themselves");
    s3pve_file_close(file);
}

/* The same ETag, and another size: one of the two is wrong, and must not go round for ever. */
static void another_size(void) {
    struct version version = {.key = "import/sized", .etag = NULL, .size = 3};
    struct s3pve_info info;
    char text[16] = "";

    mem3_put("import/sized", "0123456789");
    s3pve_object_head(mount_client, "import/sized", &info, NULL, NULL);
    version.etag = info.etag;
    is_int(blocks_read(fs->blocks, &version, text, sizeof(text), 0), 3, "a short version");
    version.size = 10;
    is_int(blocks_read(fs->blocks, &version, text, sizeof(text), 0), 10, "is not a longer one");
    is_str(text, "0123456789", "... which is read whole");
    version.size = 12;
    is_int(blocks_read(fs->blocks, &version, text, 4, 10), -ESTALE, "... and not beyond its end");
}

int main(void) {
    mount_options.cache_size = MIB(200);
    mount3_begin();
    in_order();
    several_at_once();
    out_of_order();
    read_again();
    replaced();
    by_its_writer();
    kernel_pages();
    no_etag();
    other_etags();
    repinned_at_once();
    early_close();
    dead_store();
    killed_reader();
    killed_for_others();
    another_size();
    return mount3_end();
}
