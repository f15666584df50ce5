/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/waiting.h"

#define FIRST_MS 2000 /* what is over sooner needs no line */
#define AGAIN_MS 500
#define WHY 480 /* bytes of a message */

static struct {
    const struct cli *cli; /* borrowed */
    pthread_t thread;
    bool on;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t woken;
    bool stop;
    char why[WHY];
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER};

void waiting_note(const char *why) {
    LOCK_SCOPE(&waiting.lock);
    snprintf(waiting.why, sizeof(waiting.why), "%s", why);
}

/* Return: false when it is time to end. */
static bool sleep_ms(unsigned ms) {
    struct timespec until = clock_in_ms(CLOCK_REALTIME, ms);
    LOCK_SCOPE(&waiting.lock);

    while (!waiting.stop && pthread_cond_timedwait(&waiting.woken, &waiting.lock, &until) == 0) {
    }
    return !waiting.stop;
}

static bool has_answered(void) {
    struct s3pve_counters counters;

    s3pve_client_counters(waiting.cli->client, &counters);
    return counters.last_ok_s != 0;
}

/* What is being sent may take its time: then only what went wrong is worth a word. */
static bool has_reason(char *why, size_t room) {
    LOCK_SCOPE(&waiting.lock);
    snprintf(why, room, "%s", waiting.why[0] ? waiting.why : "no answer yet");
    return waiting.why[0] || strcmp(waiting.cli->command->name, "put") != 0;
}

static void say(const char *why) {
    const char *endpoint = s3pve_config_get(waiting.cli->config, "endpoint");

    flockfile(stderr);
    progress_clear();
    if (waiting.cli->options.json) {
        json_t *object = json_pack("{s:s, s:s}", "log", "info", "waiting_for", endpoint);

        json_object_set_new(object, "message", out_text(why));
        out_json(stderr, object);
    } else {
        fprintf(stderr, "s3pve: waiting for %s: ", endpoint);
        out_name(stderr, why);
        fputc('\n', stderr);
    }
    funlockfile(stderr);
}

static void *run(void *arg) {
    char why[WHY];
    bool going;

    (void)arg;
    signals_block();
    for (going = sleep_ms(FIRST_MS); going && !has_answered(); going = sleep_ms(AGAIN_MS)) {
        if (has_reason(why, sizeof(why))) {
            say(why);
            break;
        }
    }
    return NULL;
}

void waiting_start(const struct cli *cli) {
    if (waiting.on || cli->options.quiet || cli->options.verbose)
        return;
    waiting.cli = cli;
    waiting.on = pthread_create(&waiting.thread, NULL, run, NULL) == 0;
}

void waiting_stop(void) {
    if (!waiting.on)
        return;
    pthread_mutex_lock(&waiting.lock);
    waiting.stop = true;
    pthread_cond_signal(&waiting.woken);
    pthread_mutex_unlock(&waiting.lock);
    pthread_join(waiting.thread, NULL);
    waiting.on = false;
}
