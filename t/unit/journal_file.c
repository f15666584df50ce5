/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The journal's file: made whole or not at all, one process's, and what it holds. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "tap.h"
#include "volume/journal_file.h"

#define RING (64 * (uint64_t)BLOCK)

static char folder[256];

static struct journal_file *open_it(uint64_t ring_len) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct journal_file *file = NULL;

    if (journal_file_open(folder, ring_len, &file, &err) < 0)
        printf("# %s\n", err.message);
    return file;
}

/* ... and there is a journal. */
static struct journal_file *make_it(uint64_t ring_len) {
    struct journal_file *file = open_it(ring_len);
    struct superblock superblock = {.generation = 1, .ring_len = ring_len, .seed = 5};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (file && journal_file_write_superblock(file, &superblock, &err) < 0)
        printf("# %s\n", err.message);
    return file;
}

static unsigned count_named(const char *start) {
    DIR *dir = opendir(folder);
    struct dirent *entry;
    unsigned n = 0;

    while ((entry = readdir(dir)))
        n += strncmp(entry->d_name, start, strlen(start)) == 0;
    closedir(dir);
    return n;
}

static void test_making(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct journal_file *file = NULL, *second = NULL;
    uint8_t blocks[2 * BLOCK], nothing[2 * BLOCK] = {0};
    struct superblock superblock = {.generation = 1, .ring_len = RING, .seed = 5};
    char path[300];
    struct stat st;

    is_int(
        journal_file_open(folder, (uint64_t)1 << 50, &file, &err), -1, "one of 1 PiB has no room"
    );
    is_int(err.code, S3PVE_E_NO_SPACE, "... and says so: %s", err.message);
    is_int(count_named("journal"), 0, "... and leaves nothing");
    file = open_it(RING);
    ok(file, "one that fits is made");
    is_int((long long)journal_file_ring_len(file), RING, "... as long as it was asked for");
    is_int(journal_file_superblocks(file, blocks, &err), 0, "its superblocks");
    ok(memcmp(blocks, nothing, sizeof(blocks)) == 0, "... are zeroes");
    is_int(count_named("journal"), 0, "... and there is nothing yet");
    is_int(journal_file_write_superblock(file, &superblock, &err), 0, "one is written");
    is_int(count_named("journal"), 1, "... and then there is");
    snprintf(path, sizeof(path), "%s/journal", folder);
    stat(path, &st);
    ok((uint64_t)st.st_blocks * 512 >= RING, "it has all the space it will need");
    is_int(journal_file_open(folder, RING, &second, &err), -1, "it cannot be opened twice");
    is_int(err.code, S3PVE_E_CONFLICT, "... as a conflict");
    journal_file_close(file);
    file = open_it(2 * RING);
    is_int((long long)journal_file_ring_len(file), RING, "opened again it keeps its length");
    journal_file_remove(file);
    journal_file_close(file);
    is_int(count_named("journal"), 0, "removed, it is gone");
}

static void test_bytes(void) {
    struct journal_file *file = make_it(RING);
    struct superblock superblock = {.generation = 3, .ring_len = RING, .seed = 7}, back;
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint8_t a[BLOCK], b[2 * BLOCK], in[3 * BLOCK], blocks[2 * BLOCK];
    struct iovec iov[2] = {{a, sizeof(a)}, {b, sizeof(b)}};

    memset(a, 1, sizeof(a));
    memset(b, 2, sizeof(b));
    is_int(journal_file_write(file, RING - 3 * BLOCK, iov, 2, &err), 0, "a record at the end");
    is_int(journal_file_read(file, RING - 3 * BLOCK, in, sizeof(in), &err), 0, "is read back");
    ok(in[0] == 1 && in[BLOCK] == 2 && in[3 * BLOCK - 1] == 2, "... as it was");
    in[0] = 0;
    ok(journal_file_peek(file, RING - 3 * BLOCK, in, 3), "... without waiting, too");
    ok(in[0] == 1, "... and right");
    is_int(journal_file_sync(file, &err), 0, "synced");
    is_int(journal_file_read(file, RING - BLOCK, in, sizeof(in), &err), -1, "nothing is behind it");
    is_int(err.code, S3PVE_E_CORRUPT, "... %s", err.message);
    is_int(journal_file_write_superblock(file, &superblock, &err), 0, "a superblock");
    journal_file_superblocks(file, blocks, &err);
    ok(superblock_decode(&back, blocks + BLOCK) && back.seed == 7,
       "... of odd generation is second");
    ok(!superblock_decode(&back, blocks), "... and the other one is left alone");
    journal_file_close(file);
}

/* In the folder above. */
static int count_spares(void) {
    char was[256];
    int n;

    strcpy(was, folder);
    folder[strlen(folder) - 2] = '\0';
    n = (int)count_named("spare-");
    strcpy(folder, was);
    return n;
}

static void test_spares(void) {
    struct journal_file *file = make_it(RING), *others[JOURNAL_SPARES + 1];
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint8_t mark[BLOCK], in[BLOCK], blocks[2 * BLOCK], nothing[2 * BLOCK] = {0};
    struct iovec iov = {mark, sizeof(mark)};
    char was[256];

    memset(mark, 9, sizeof(mark));
    journal_file_write(file, 5 * BLOCK, &iov, 1, &err);
    journal_file_remove(file);
    journal_file_close(file);
    is_int(count_spares(), 1, "a journal that is done with is a spare one");
    file = make_it(2 * RING);
    is_int(count_spares(), 1, "... but not for whoever wants a longer one");
    journal_file_remove(file);
    journal_file_close(file);
    file = make_it(RING);
    journal_file_read(file, 5 * BLOCK, in, sizeof(in), &err);
    ok(memcmp(in, mark, sizeof(in)) == 0, "the next one is made of it");
    is_int(count_spares(), 1, "... and it is none any more");
    journal_file_superblocks(file, blocks, &err);
    ok(memcmp(blocks, nothing, BLOCK) == 0, "... with new superblocks");
    is_int((long long)journal_file_ring_len(file), RING, "... as long as it was asked for");

    strcpy(was, folder);
    for (unsigned i = 0; i < JOURNAL_SPARES + 1; i++) {
        folder[strlen(folder) - 1] = (char)('a' + i);
        others[i] = make_it(RING);
    }
    strcpy(folder, was);
    for (unsigned i = 0; i < JOURNAL_SPARES + 1; i++) {
        journal_file_remove(others[i]);
        journal_file_close(others[i]);
    }
    is_int(count_spares(), JOURNAL_SPARES, "not more of them than that are kept");
    is_int(
        journal_file_open("/nonexistent/v", RING, &others[0], &err), -1, "no folder, no journal"
    );
    journal_file_remove(file);
    journal_file_close(file);
    is_int(count_named("journal"), 0, "what finds no place among them is gone");
}

/* D7 */
static void test_sums(void) {
    struct journal_file *file = make_it(RING);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint8_t a[2 * BLOCK], in[2 * BLOCK];
    struct iovec iov = {a, sizeof(a)};
    uint32_t sums[2];
    char path[300];
    int fd;

    for (size_t i = 0; i < sizeof(a); i++)
        a[i] = (uint8_t)(i * 7 + i / BLOCK);
    sums[0] = crc32c(0, a, BLOCK);
    sums[1] = crc32c(0, a + BLOCK, BLOCK);
    journal_file_note(file, 4 * BLOCK, sums, 2);
    journal_file_write(file, 4 * BLOCK, &iov, 1, &err);
    is_int(journal_file_get(file, 4 * BLOCK, in, 2, &err), 0, "blocks that have their sums");
    ok(memcmp(in, a, sizeof(a)) == 0, "... are read");
    snprintf(path, sizeof(path), "%s/journal", folder);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    ok(pwrite(fd, "?", 1, (2 + 5) * BLOCK + 9) == 1, "one is damaged");
    is_int(journal_file_get(file, 4 * BLOCK, in, 1, &err), 0, "... the other is read");
    ok(!journal_file_peek(file, 4 * BLOCK, in, 2), "... it is not");
    is_int(journal_file_get(file, 4 * BLOCK, in, 2, &err), -1, "... and that is an error");
    is_int(err.code, S3PVE_E_CORRUPT, "... %s", err.message);
    close(fd);
    journal_file_close(file);
}

static void test_aside(void) {
    struct journal_file *file = make_it(RING);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    uint8_t blocks[2 * BLOCK];
    struct superblock back;

    is_int(journal_file_set_aside(file, 17, &err), 0, "a journal set aside");
    is_int(count_named("journal-lost-0000000000000011-"), 1, "... has a name that says from where");
    journal_file_superblocks(file, blocks, &err);
    ok(!superblock_decode(&back, blocks + BLOCK), "... and there is an empty one");
    is_int((long long)journal_file_ring_len(file), RING, "... as long");
    journal_file_close(file);
}

static void test_odd(void) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct journal_file *file = NULL;
    char path[300];

    snprintf(path, sizeof(path), "%s/journal", folder);
    is_int(truncate(path, 3 * BLOCK + 1), 0, "a journal of odd length");
    is_int(journal_file_open(folder, RING, &file, &err), -1, "... is not opened");
    is_int(err.code, S3PVE_E_CORRUPT, "... %s", err.message);
    is_int(truncate(path, 2 * BLOCK), 0, "nor one without a ring");
    is_int(journal_file_open(folder, RING, &file, &err), -1, "... which is refused");
    ok(access(path, F_OK) == 0, "... and left where it is");
}

int main(void) {
    char command[300];

    snprintf(folder, sizeof(folder), "%s/journal.XXXXXX", getenv("TMPDIR") ?: "/tmp");
    if (!mkdtemp(folder))
        bail_out("%s", folder);
    strcat(folder, "/v");
    test_making();
    test_bytes();
    test_spares();
    test_sums();
    test_aside();
    test_odd();
    snprintf(command, sizeof(command), "rm -rf '%.*s'", (int)strlen(folder) - 2, folder);
    ok(system(command) == 0, "cleaned up");
    return done_testing();
}
