/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The read cache: gives back what it was given, or nothing. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tap.h"
#include "volume/readcache.h"

#define LINE ((size_t)READ_LINE * BLOCK)

static char path[256];
static uint8_t line[LINE], got[LINE];

static struct readcache_key key(uint64_t seq, uint32_t no) {
    return (struct readcache_key){.volume = 5, .segment = {seq, 1, 0xabcdef}, .line = no};
}

static void put(struct readcache *cache, uint64_t seq, uint32_t no) {
    struct readcache_key k = key(seq, no);

    memset(line, (int)(seq * 16 + no), LINE);
    readcache_put(cache, &k, line, READ_LINE);
}

/* Is it there, and right? */
static bool has(struct readcache *cache, uint64_t seq, uint32_t no) {
    struct readcache_key k = key(seq, no);

    memset(got, 0xee, LINE);
    return readcache_get(cache, &k, 0, READ_LINE, got, true) == READCACHE_HIT &&
           got[0] == (uint8_t)(seq * 16 + no) && got[LINE - 1] == got[0];
}

static void test_lines(const char *where, const char *what) {
    struct readcache *cache = readcache_open(where, 8 * LINE);
    struct readcache_key k = key(1, 0), other = key(1, 0);

    ok(!has(cache, 1, 0), "%s: empty at first", what);
    put(cache, 1, 0);
    ok(has(cache, 1, 0), "... it gives back what it got");
    is_int(readcache_get(cache, &k, 3, 2, got, false), READCACHE_HIT, "... in pieces, at once");
    ok(!has(cache, 1, 1), "... another line is not there");
    other.segment.nonce++;
    ok(!readcache_has(cache, &other, 1), "... nor the same of another process's segment");
    other = k;
    other.volume++;
    ok(!readcache_has(cache, &other, 1), "... nor of another volume's");
    k.line = 7;
    readcache_put(cache, &k, line, 3);
    is_int(readcache_get(cache, &k, 0, 3, got, true), READCACHE_HIT, "a short line is there");
    is_int(readcache_get(cache, &k, 2, 2, got, true), READCACHE_MISS, "... as far as it goes");
    readcache_put(cache, &k, line, READ_LINE);
    is_int(readcache_get(cache, &k, 2, 2, got, true), READCACHE_HIT, "... and can grow");
    readcache_close(cache);
}

static void test_full(void) {
    struct readcache *cache = readcache_open(path, 8 * LINE);
    struct readcache_stats stats;
    unsigned n = 0;

    for (uint32_t i = 0; i < 8; i++)
        put(cache, 2, i);
    for (uint32_t i = 0; i < 8; i++)
        n += has(cache, 2, i);
    is_int(n, 8, "as many lines as it has room for");
    put(cache, 3, 0); /* all were read: the hand goes round */
    has(cache, 2, 5);
    put(cache, 3, 1);
    put(cache, 3, 2);
    put(cache, 3, 3);
    ok(has(cache, 2, 5), "what is read again and again stays");
    n = 0;
    for (uint32_t i = 0; i < 4; i++)
        n += has(cache, 3, i);
    is_int(n, 4, "... and new lines have room");
    readcache_stats(cache, &stats);
    is_int((long long)stats.bytes, 8 * LINE, "it never has more than its size");
    readcache_close(cache);
}

static void test_damage(void) {
    struct readcache *cache = readcache_open(path, 4 * LINE);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct readcache_key k = key(1, 0);

    put(cache, 1, 0);
    ok(pwrite(fd, "x", 1, 5 * BLOCK + 100) == 1, "a byte is damaged on the disk");
    is_int(
        readcache_get(cache, &k, 0, 5, got, true), READCACHE_HIT, "the blocks before it are fine"
    );
    is_int(readcache_get(cache, &k, 5, 1, got, true), READCACHE_MISS, "... its own is a miss");
    put(cache, 1, 0);
    ok(has(cache, 1, 0), "... and can be stored again");
    ok(ftruncate(fd, 0) == 0 && !has(cache, 1, 0), "a file that was cut short is a miss");
    close(fd);
    readcache_close(cache);
    ok(!readcache_open("/nonexistent/folder/cache", LINE), "no folder, no cache");
}

static void test_again(void) {
    struct readcache *cache = readcache_open(path, 8 * LINE);
    struct readcache_key k = key(4, 1);
    char index[300];
    unsigned n = 0;
    int fd;

    put(cache, 4, 0);
    put(cache, 4, 1);
    put(cache, 4, 2);
    readcache_close(cache);
    cache = readcache_open(path, 8 * LINE);
    ok(has(cache, 4, 0) && has(cache, 4, 1) && has(cache, 4, 2), "opened again it has what it had");
    readcache_close(cache);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    for (off_t at = 0; at < (off_t)(8 * LINE); at += BLOCK)
        n += pwrite(fd, "?", 1, at) == 1;
    is_int(n, 8 * READ_LINE, "a byte of each block is damaged meanwhile");
    close(fd);
    cache = readcache_open(path, 8 * LINE);
    is_int(readcache_get(cache, &k, 0, 1, got, true), READCACHE_MISS, "... and each is a miss");
    put(cache, 4, 1);
    readcache_close(cache);
    cache = readcache_open(path, 2 * LINE);
    ok(!has(cache, 4, 2), "a smaller one has what fits");
    put(cache, 4, 5);
    put(cache, 4, 6);
    readcache_close(cache);
    snprintf(index, sizeof(index), "%s.index", path);
    fd = open(index, O_WRONLY | O_CLOEXEC);
    ok(pwrite(fd, "damage", 6, 40) == 6, "the index is damaged");
    close(fd);
    cache = readcache_open(path, 8 * LINE);
    ok(has(cache, 4, 5) != has(cache, 4, 6), "... and the others are found");
    readcache_close(cache);
    unlink(path);
    unlink(index);
}

/* Nothing is there yet. */
static void begin(void) {
    char index[300];

    snprintf(index, sizeof(index), "%s.index", path);
    unlink(path);
    unlink(index);
}

int main(void) {
    snprintf(path, sizeof(path), "%s/readcache-%d", getenv("TMPDIR") ?: "/tmp", (int)getpid());
    test_lines(path, "on the disk");
    test_lines(NULL, "in memory");
    begin();
    test_full();
    begin();
    test_damage();
    begin();
    test_again();
    return done_testing();
}
