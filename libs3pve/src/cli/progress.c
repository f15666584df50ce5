/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/signals.h"

#define TICK_MS 200
#define FIRST_MS 600 /* what is over sooner needs no line */

static int drawn; /* a line stands on the terminal */

static int columns(void) {
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static void add_eta(char *text, size_t room, uint64_t left, double rate) {
    unsigned long s = rate > 0 ? (unsigned long)((double)left / rate) + 1 : 0;

    if (s && s < 360000)
        snprintf(text, room, "  %lu:%02lu:%02lu left", s / 3600, s / 60 % 60, s % 60);
}

static double rate_of(const struct progress *progress, uint64_t done) {
    int64_t ms = clock_monotonic_ms() - progress->started_ms;

    return ms > 0 && done > progress->first ? (double)(done - progress->first) * 1000 / (double)ms
                                            : 0;
}

static void draw(const struct progress *progress) {
    uint64_t done = progress->count(progress->ctx), total = progress->total;
    double rate = rate_of(progress, done);
    char size[OUT_SIZE], of[OUT_SIZE], speed[OUT_SIZE], eta[48] = "", share[48] = "", line[160];

    if (total) {
        unsigned percent = (unsigned)(done >= total ? 100 : (double)done * 100 / (double)total);

        snprintf(share, sizeof(share), " of %s  %3u%%", out_size(of, total, true), percent);
        if (done < total)
            add_eta(eta, sizeof(eta), total - done, rate);
    }
    snprintf(
        line,
        sizeof(line),
        "  %s%s  %s/s%s",
        out_size(size, done, true),
        share,
        out_size(speed, (uint64_t)rate, true),
        eta
    );
    flockfile(stderr);
    fprintf(stderr, "\r\033[K%s%s", progress->name, line);
    fflush(stderr);
    __atomic_store_n(&drawn, 1, __ATOMIC_RELAXED);
    funlockfile(stderr);
}

/* Sleeps for a tick.  Return: false when it is time to end. */
static bool pause_tick(struct progress *progress) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, TICK_MS);
    LOCK_SCOPE(&progress->lock);

    if (!progress->stop)
        pthread_cond_timedwait(&progress->woken, &progress->lock, &until);
    return !progress->stop;
}

static void *run(void *arg) {
    struct progress *progress = arg;

    signals_block();
    while (pause_tick(progress)) {
        if (clock_monotonic_ms() - progress->started_ms >= FIRST_MS)
            draw(progress);
    }
    return NULL;
}

/* The label, short, whole characters only, and none that a terminal obeys. */
static void set_name(struct progress *progress) {
    size_t room = columns() > 100 ? sizeof(progress->name) : 32, n = 0;

    while (progress->label[n] && n < room - 1) {
        unsigned char c = (unsigned char)progress->label[n];

        progress->name[n] = progress->label[n];
        if (c < 0x20 || c == 0x7f)
            progress->name[n] = '?';
        n++;
    }
    while (n && progress->label[n] && ((unsigned char)progress->label[n] & 0xc0) == 0x80)
        n--;
    progress->name[n] = '\0';
}

bool progress_wanted(const struct cli *cli) {
    const struct options *options = &cli->options;

    return !options->quiet && !options->no_progress && !options->json && isatty(STDERR_FILENO);
}

void progress_start(struct progress *progress, const struct cli *cli) {
    progress->started_ms = clock_monotonic_ms();
    if (!progress_wanted(cli))
        return;
    set_name(progress);
    pthread_mutex_init(&progress->lock, NULL);
    pthread_cond_init(&progress->woken, NULL);
    progress->on = pthread_create(&progress->thread, NULL, run, progress) == 0;
}

void progress_stop(struct progress *progress, bool done) {
    char size[OUT_SIZE], speed[OUT_SIZE];
    uint64_t n;

    if (!progress->on)
        return;
    pthread_mutex_lock(&progress->lock);
    progress->stop = true;
    pthread_cond_signal(&progress->woken);
    pthread_mutex_unlock(&progress->lock);
    pthread_join(progress->thread, NULL);
    progress->on = false;
    progress_clear();
    if (!done)
        return;

    n = progress->count(progress->ctx);
    fprintf(
        stderr,
        "%s  %s in %.1f s, %s/s\n",
        progress->name,
        out_size(size, n, true),
        (double)(clock_monotonic_ms() - progress->started_ms) / 1000,
        out_size(speed, (uint64_t)rate_of(progress, n), true)
    );
}

void progress_clear(void) {
    flockfile(stderr);
    if (__atomic_exchange_n(&drawn, 0, __ATOMIC_RELAXED))
        fputs("\r\033[K", stderr);
    funlockfile(stderr);
}

uint64_t progress_counter(const void *counter) {
    return __atomic_load_n((const uint64_t *)counter, __ATOMIC_RELAXED);
}
