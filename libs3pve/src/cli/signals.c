/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

#include "cli/signals.h"

static const int deadly[] = {SIGINT, SIGTERM, SIGHUP};

#define N_DEADLY (sizeof(deadly) / sizeof(deadly[0]))

static int caught; /* the signal, and the cancel flag of every call */

static void on_tick(int number) {
    (void)number;
}

/*
 * The flag alone does not end a read(2) from a pipe that was entered just after it was looked at,
 * so a clock goes on interrupting whatever blocks.
 */
static void on_deadly(int number) {
    const struct itimerval often = {{0, 200000}, {0, 200000}};

    __atomic_store_n(&caught, number, __ATOMIC_RELAXED);
    setitimer(ITIMER_REAL, &often, NULL);
}

const int *signals_catch(void) {
    struct sigaction once = {.sa_handler = on_deadly, .sa_flags = (int)SA_RESETHAND};
    struct sigaction tick = {.sa_handler = on_tick};
    struct sigaction was;

    sigaction(SIGALRM, &tick, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < N_DEADLY; i++) {
        /* nohup(1) and shells in the background ignore some on purpose. */
        if (sigaction(deadly[i], NULL, &was) == 0 && was.sa_handler == SIG_IGN)
            continue;
        sigaction(deadly[i], &once, NULL);
    }
    return &caught;
}

void signals_broken_pipe(void) {
    __atomic_store_n(&caught, SIGPIPE, __ATOMIC_RELAXED);
}

void signals_obey(void) {
    int number = __atomic_load_n(&caught, __ATOMIC_RELAXED);

    if (!number)
        return;
    signal(number, SIG_DFL);
    raise(number);
}

void signals_block(void) {
    sigset_t set;

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}
