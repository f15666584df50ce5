/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * fuzz.c - main() of a fuzz target without libFuzzer
 *
 *     build/t/fuzz/NAME.t [-n MUTATIONS] [FILE|FOLDER]...
 *
 * Runs every seed, and MUTATIONS of each that depend on nothing but the seed and their number.
 * Without names the seeds are t/data/fuzz/NAME and t/data/NAME.  Input that kills the target is
 * left in a file, to be given as FILE with -n 0.
 */
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "tap.h"

#define MUTATIONS 2000
#define SIZE_MAX_MUTATED 65536 /* larger seeds are run as they are: time is better spent */

static struct {
    char *path; /* where the input goes if it kills us */
    const uint8_t *data;
    size_t size;
    unsigned mutations;
    unsigned n_seeds;
} run;

static void save_and_die(int signal_number) {
    int fd = open(run.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd >= 0 && write(fd, run.data, run.size) == (ssize_t)run.size)
        dprintf(STDERR_FILENO, "# the input is in %s\n", run.path);
    _exit(99);
}

/* Sanitizers look for these; they shall end in abort(), where we can save the input. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

__attribute__((__visibility__("default"))) const char *__asan_default_options(void) {
    return "abort_on_error=1:handle_segv=1:handle_abort=0";
}

__attribute__((__visibility__("default"))) const char *__ubsan_default_options(void) {
    return "abort_on_error=1:print_stacktrace=1";
}

static void catch_crashes(const char *name) {
    static const int signals[] = {SIGABRT, SIGALRM, SIGFPE, SIGSEGV, SIGBUS};
    struct sigaction old;

    if (asprintf(&run.path, "%s/fuzz-%s-%d", getenv("TMPDIR") ?: "/tmp", name, getpid()) < 0)
        exit(2);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            signal(signals[i], save_and_die);
    }
}

/* An exact allocation, so that a sanitizer sees a read of one byte too much. */
static void feed(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);

    memcpy(copy, data, size);
    run.data = copy;
    run.size = size;
    alarm(60);
    LLVMFuzzerTestOneInput(copy, size);
    alarm(0);
    free(copy);
}

static uint32_t chance(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

static uint8_t odd_byte(uint64_t *state) {
    static const uint8_t odd[] = "\0\1\t\n\r \"%&'+,-./0129:;<=>?AZ\\]_az{}~\x7f\x80\xc0\xff";

    return chance(state) % 2 ? odd[chance(state) % (sizeof(odd) - 1)] : (uint8_t)chance(state);
}

/* Opens a gap of @n bytes at @at. */
static void insert(uint8_t *data, size_t *size, size_t at, const uint8_t *what, size_t n) {
    memmove(data + at + n, data + at, *size - at);
    memmove(data + at, what, n);
    *size += n;
}

static void remove_range(uint8_t *data, size_t *size, size_t at, size_t n) {
    memmove(data + at, data + at + n, *size - at - n);
    *size -= n;
}

/* One change, by at most 64 bytes; @data has room for them. */
static void change(uint8_t *data, size_t *size, uint64_t *state) {
    const size_t at = *size ? chance(state) % *size : 0, left = *size - at;
    const size_t n = left ? 1 + chance(state) % (left < 64 ? left : 64) : 0;
    uint8_t piece[64];

    switch (*size ? chance(state) % 6 : 0) {
    case 0: insert(data, size, at, (uint8_t[]){odd_byte(state)}, 1); break;
    case 1: data[at] = odd_byte(state); break;
    case 2: data[at] ^= (uint8_t)(1u << chance(state) % 8); break;
    case 3: remove_range(data, size, at, n); break;
    case 4: /* the same again, somewhere else */
        memcpy(piece, data + at, n);
        insert(data, size, chance(state) % *size, piece, n);
        break;
    case 5: *size = at; break;
    }
}

static void mutate(const uint8_t *seed, size_t size) {
    uint8_t *data = malloc(size + 8 * 64);

    for (unsigned i = 0; i < run.mutations; i++) {
        uint64_t state = 0x9e3779b97f4a7c15u * (i + 1) + size;
        size_t n = size;

        memcpy(data, seed, size);
        for (unsigned changes = 1 + chance(&state) % 6; changes; changes--)
            change(data, &n, &state);
        feed(data, n);
    }
    free(data);
}

static void run_file(const char *path) {
    FILE *file = fopen(path, "re");
    uint8_t *data = NULL;
    size_t size = 0;

    if (!file || getdelim((char **)&data, &size, EOF, file) < -1) {
        ok(false, "%s can be read", path);
        return;
    }
    size = (size_t)ftell(file);
    fclose(file);
    feed(data, size);
    if (size <= SIZE_MAX_MUTATED)
        mutate(data, size);
    free(data);
    run.n_seeds++;
    ok(true, "%s and %u mutations are survived", path, size > SIZE_MAX_MUTATED ? 0 : run.mutations);
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void run_path(const char *path) {
    struct dirent **entries;
    int n = scandir(path, &entries, is_visible, alphasort);

    if (n < 0) {
        run_file(path);
        return;
    }
    for (int i = 0; i < n; i++) {
        char *file;

        if (asprintf(&file, "%s/%s", path, entries[i]->d_name) > 0)
            run_path(file);
        free(file);
        free(entries[i]);
    }
    free(entries);
}

static void run_seeds_of(const char *name) {
    static const char *const folders[] = {"t/data/fuzz", "t/data"};

    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        if (access(path, F_OK) == 0)
            run_path(path);
    }
}

int main(int argc, char **argv) {
    char *name = basename(argv[0]);
    int option;

    if (strrchr(name, '.'))
        *strrchr(name, '.') = '\0';
    run.mutations = MUTATIONS;
    while ((option = getopt(argc, argv, "n:")) != -1) {
        if (option != 'n')
            return 2;
        run.mutations = (unsigned)strtoul(optarg, NULL, 10);
    }

    catch_crashes(name);
    for (int i = optind; i < argc; i++)
        run_path(argv[i]);
    if (optind == argc)
        run_seeds_of(name);
    ok(run.n_seeds > 0, "there are seeds (%u)", run.n_seeds);
    return done_testing();
}
