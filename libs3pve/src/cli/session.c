/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/limits.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/waiting.h"

#define TROUBLE_ATTEMPTS 4 /* from here on it is more than a hiccup */

static const char *level_name(enum s3pve_log_level level) {
    static const char *const names[] = {"error", "warning", "info", "debug"};

    return level < sizeof(names) / sizeof(names[0]) ? names[level] : "?";
}

static void log_json(const struct s3pve_log_record *record) {
    json_t *object = json_object();

    json_object_set_new(object, "log", json_string(level_name(record->level)));
    json_object_set_new(object, "operation", out_text(record->operation));
    json_object_set_new(object, "key", out_text(record->key));
    json_object_set_new(object, "message", out_text(record->message));
    json_object_set_new(object, "http_status", json_integer(record->http_status));
    json_object_set_new(object, "s3_code", out_text(record->s3_code));
    json_object_set_new(object, "request_id", out_text(record->request_id));
    json_object_set_new(object, "attempt", json_integer(record->attempt));
    json_object_set_new(object, "elapsed_ms", json_integer(record->elapsed_ms));
    out_json(stderr, object);
}

static void log_line(const struct s3pve_log_record *record) {
    size_t len = strlen(record->operation);
    bool told =
        strncmp(record->message, record->operation, len) == 0 && record->message[len] == ' ';

    fprintf(stderr, "s3pve: %s: ", level_name(record->level));
    if (!told) { /* a failure names both itself */
        fprintf(stderr, "%s ", record->operation);
        out_name(stderr, record->key);
        fputs(record->key[0] ? ": " : "", stderr);
    }
    out_name(stderr, record->message);
    if (record->http_status)
        fprintf(stderr, "  status=%d", record->http_status);
    if (record->s3_code[0])
        fprintf(stderr, " code=%s", record->s3_code);
    if (record->request_id[0])
        fprintf(stderr, " request=%s", record->request_id);
    if (record->attempt)
        fprintf(stderr, " attempt=%u ms=%u", record->attempt, record->elapsed_ms);
    fputc('\n', stderr);
}

/* Unasked: what the library wants to be known (failed requests are told by the command), and, to
 * somebody who waits at a terminal, trouble that lasts. */
static bool wants(const struct options *options, const struct s3pve_log_record *record) {
    if (options->verbose)
        return record->level != S3PVE_LOG_DEBUG || options->verbose > 1;
    if (options->quiet)
        return false;
    if (record->level <= S3PVE_LOG_WARNING)
        return record->attempt == 0;
    return record->level == S3PVE_LOG_INFO && record->attempt >= TROUBLE_ATTEMPTS &&
           !options->json && isatty(STDERR_FILENO);
}

static void on_log(void *ctx, const struct s3pve_log_record *record) {
    const struct options *options = ctx;

    if (record->level == S3PVE_LOG_INFO && record->attempt)
        waiting_note(record->message);
    if (!wants(options, record))
        return;
    flockfile(stderr);
    progress_clear();
    if (options->json)
        log_json(record);
    else
        log_line(record);
    funlockfile(stderr);
}

/* One line from the terminal, unseen.  Return: 0, or -1 (CANCELLED, IO). */
static int ask_secret(int tty, char *line, size_t room, struct s3pve_error *err) {
    static const char prompt[] = "Secret key: ";
    struct termios shown, hidden;
    ssize_t n;

    if (tcgetattr(tty, &shown) < 0)
        return fail_errno(err, "terminal");
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(tty, TCSAFLUSH, &hidden);
    n = write(tty, prompt, sizeof(prompt) - 1) < 0 ? -1 : read(tty, line, room - 1);
    tcsetattr(tty, TCSAFLUSH, &shown);
    if (write(tty, "\n", 1) < 0 || n < 0)
        return fail(err, S3PVE_E_CANCELLED, "no secret key was given");

    line[n] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return 0;
}

static int prompt_secret(struct s3pve_config *config, struct s3pve_error *err) {
    char line[LIMIT_OPTION];
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int r;

    if (tty < 0)
        return fail(
            err,
            S3PVE_E_INVALID,
            "--access-key without a secret key: put 'secret-key = ...' into a file of mode 0600 "
            "and "
            "name it with --credentials-file, or run on a terminal to be asked"
        );

    r = ask_secret(tty, line, sizeof(line), err);
    if (r == 0)
        r = s3pve_config_set(config, "secret-key", line, err);
    explicit_bzero(line, sizeof(line));
    close(tty);
    return r;
}

static bool is_set(const struct s3pve_config *config, const char *name) {
    const char *value = s3pve_config_get(config, name);

    return value && value[0];
}

/* The keys: what was said, else what the environment has. */
static int settle_credentials(struct cli *cli, struct s3pve_error *err) {
    const char *env = getenv("AWS_ACCESS_KEY_ID");
    bool elsewhere = is_set(cli->config, "credentials-file") ||
                     options_has_setting(&cli->options, "credentials");

    if (options_has_setting(&cli->options, "access-key"))
        return elsewhere ? 0 : prompt_secret(cli->config, err);
    if (elsewhere || is_set(cli->config, "access-key") || !env || !env[0])
        return 0;
    return s3pve_config_set(cli->config, "credentials", "env", err);
}

/* On a command line a file may be named from where one stands. */
static int apply_option(
    struct s3pve_config *config, const char *name, const char *value, struct s3pve_error *err
) {
    const char *suffix = strrchr(name, '-');
    _free_ char *path = NULL;

    if (!suffix || strcmp(suffix, "-file") != 0 || !value[0] || value[0] == '/')
        return s3pve_config_set(config, name, value, err);
    path = realpath(value, NULL);
    if (!path)
        return fail_errno(err, "%s: %s", name, value);
    return s3pve_config_set(config, name, path, err);
}

static int configure(struct cli *cli, struct s3pve_error *err) {
    const struct options *options = &cli->options;
    const char *file = options->config_file;

    if (!file && !options->storage)
        file = getenv("S3PVE_CONFIG");
    if (options->storage && storage_configure(cli->config, options->storage, err) < 0)
        return -1;
    if (file && file[0] && s3pve_config_read_file(cli->config, file, err) < 0)
        return err->code = S3PVE_E_INVALID, -1;
    for (unsigned i = 0; i < options->n_settings; i++) {
        if (apply_option(cli->config, options->settings[i].name, options->settings[i].value, err) <
            0)
            return -1;
    }
    return settle_credentials(cli, err);
}

int session_open(struct cli *cli, struct s3pve_error *err) {
    cli->config = s3pve_config_new();
    if (!cli->config)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    if (configure(cli, err) < 0)
        return -1;
    if (s3pve_client_open(cli->config, on_log, &cli->options, &cli->client, err) == 0) {
        caps_use(cli);
        waiting_start(cli);
        return 0;
    }
    if (err->code == S3PVE_E_NOT_FOUND) /* a file that is named and missing: no answer of a store */
        err->code = S3PVE_E_INVALID;
    return -1;
}
