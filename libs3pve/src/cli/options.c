/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/fail.h"
#include "cli/options.h"

enum kind { FLAG, COUNT, TEXT, SETTING, META, SECRET };

struct row {
    const char *name;
    char letter; /* 0: none */
    enum kind kind;
    size_t offset;        /* in struct options, for FLAG, COUNT and TEXT */
    const char *argument; /* NULL: takes none */
    const char *commands; /* those that take it, with | between; NULL: all */
    const char *help;
};

#define AT(field) offsetof(struct options, field)

static const struct row rows[] = {
    {"storage", 's', TEXT, AT(storage), "ID", NULL, "use this Proxmox VE storage's settings"},
    {"config", 'c', TEXT, AT(config_file), "FILE", NULL, "read settings from lines name = value"},
    {"endpoint", 'e', SETTING, 0, "URL", NULL, "where the store answers"},
    {"bucket", 'b', SETTING, 0, "NAME", NULL, "the bucket"},
    {"prefix", 'p', SETTING, 0, "PATH", NULL, "work below this prefix; keys are relative to it"},
    {"region", 0, SETTING, 0, "NAME", NULL, "region to sign for"},
    {"provider", 0, SETTING, 0, "NAME", NULL, "preset of defaults, see 's3pve providers'"},
    {"addressing", 0, SETTING, 0, "HOW", NULL, "auto, path or virtual"},
    {"access-key", 'a', SETTING, 0, "KEY", NULL, "access key; the secret is asked for"},
    {"credentials", 0, SETTING, 0, "FROM", NULL, "file, env, imds or anonymous"},
    {"credentials-file", 0, SETTING, 0, "FILE", NULL, "where the secret key is"},
    {"secret-key", 0, SECRET, 0, "-", NULL, NULL},
    {"session-token", 0, SECRET, 0, "-", NULL, NULL},
    {"fingerprint", 0, SETTING, 0, "SHA256", NULL, "trust this certificate and no other"},
    {"ca-file", 0, SETTING, 0, "FILE", NULL, "trust these certificate authorities"},
    {"proxy", 0, SETTING, 0, "URL", NULL, "HTTP proxy"},
    {"timeout", 't', SETTING, 0, "SECONDS", NULL, "bound of one call"},
    {"connections", 0, SETTING, 0, "N", NULL, "transfers at once"},
    {"part-size", 0, SETTING, 0, "MIB", NULL, "size of an upload's parts"},
    {"upload-limit", 0, SETTING, 0, "MIB", NULL, "MiB a second at most"},
    {"download-limit", 0, SETTING, 0, "MIB", NULL, "MiB a second at most"},
    {"sse", 0, SETTING, 0, "HOW", NULL, "server-side encryption: AES256, aws:kms"},
    {"sse-kms-key", 0, SETTING, 0, "ID", NULL, "its key"},
    {"json", 'j', FLAG, AT(json), NULL, NULL, "machine-readable output and errors"},
    {"quiet", 'q', FLAG, AT(quiet), NULL, NULL, "no progress, no summary"},
    {"verbose", 'v', COUNT, AT(verbose), NULL, NULL, "log to stderr; twice: every request"},
    {"no-progress", 0, FLAG, AT(no_progress), NULL, NULL, "no progress line"},
    {"help", 'h', FLAG, AT(help), NULL, NULL, "this text, or a command's"},
    {"version", 0, FLAG, AT(version), NULL, NULL, "print the version"},

    {"long", 'l', FLAG, AT(detailed), NULL, "ls|volume ls|volume dump", "more about each"},
    {"recursive", 'r', FLAG, AT(recursive), NULL, "ls|rm", "everything below the prefix"},
    {"bytes",
     0,
     FLAG,
     AT(bytes),
     NULL,
     "ls|du|status|volume ls",
     "sizes in bytes, also on a terminal"},
    {"yes", 'y', FLAG, AT(yes), NULL, "rm|volume rm", "do not ask before removing"},
    {"resume", 0, FLAG, AT(resume), NULL, "put|get", "go on where an earlier try broke off"},
    {"if-absent", 0, FLAG, AT(if_absent), NULL, "put", "fail when the key exists"},
    {"content-type", 0, TEXT, AT(content_type), "TYPE", "put|cp", "media type"},
    {"storage-class", 0, SETTING, 0, "CLASS", "put|cp", "storage class"},
    {"meta", 'm', META, 0, "NAME=VALUE", "put|cp", "user metadata; may be repeated"},
    {"tags", 0, TEXT, AT(tags), "K=V&K2=V2", "put|cp", "object tags, percent-encoded"},
    {"range", 0, TEXT, AT(range), "A-B", "cat", "bytes A to B, both included; A- or -N"},
    {"expires", 0, TEXT, AT(expires), "TIME", "presign", "lifetime such as 30m, 12h, 7d (1h)"},
    {"data", 0, FLAG, AT(data), NULL, "volume fsck", "read all data, too"},
    {"salvage", 0, FLAG, AT(salvage), NULL, "volume export", "zeroes for what is damaged"},
    {"older", 0, TEXT, AT(older), "TIME", "sweep", "only uploads begun so long ago (7d)"},
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))
#define FIRST_VAL 256 /* beyond every letter */

_Static_assert(N_ROWS <= 64, "a bit for each row in options.seen");

/* The tables that getopt_long() wants. */
static void getopt_tables(struct option longs[N_ROWS + 1], char shorts[2 * N_ROWS + 2]) {
    char *p = shorts;

    *p++ = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < N_ROWS; i++) {
        longs[i] = (struct option){
            .name = rows[i].name,
            .has_arg = rows[i].argument ? required_argument : no_argument,
            .val = FIRST_VAL + (int)i,
        };
        if (!rows[i].letter)
            continue;
        *p++ = rows[i].letter;
        if (rows[i].argument)
            *p++ = ':';
    }
    longs[N_ROWS] = (struct option){0};
    *p = '\0';
}

static const struct row *row_of(int val) {
    if (val >= FIRST_VAL)
        return &rows[val - FIRST_VAL];
    for (size_t i = 0; i < N_ROWS; i++) {
        if (val && rows[i].letter == val)
            return &rows[i];
    }
    return NULL;
}

static int refuse_secret(const struct row *row, struct s3pve_error *err) {
    return fail(
        err,
        S3PVE_E_INVALID,
        "--%s is not taken from the command line, where every process can read it: put a line "
        "'%s = ...' into a file of mode 0600 and name it with --config or --credentials-file, or "
        "set AWS_%s and use --credentials env, or give --access-key on a terminal and be asked",
        row->name,
        row->name,
        strcmp(row->name, "secret-key") == 0 ? "SECRET_ACCESS_KEY" : "SESSION_TOKEN"
    );
}

static int add_setting(
    struct options *options, const char *name, const char *value, struct s3pve_error *err
) {
    if (strcmp(name, "proxy") == 0 && strchr(value, '@'))
        return fail(
            err,
            S3PVE_E_INVALID,
            "--proxy with a password is not taken from the command line: put 'proxy = ...' into a "
            "file of mode 0600 and name it with --config"
        );
    if (options->n_settings == OPTIONS_SETTINGS)
        return fail(err, S3PVE_E_INVALID, "too many options");

    options->settings[options->n_settings].name = name;
    options->settings[options->n_settings++].value = value;
    return 0;
}

static int add_meta(struct options *options, const char *text, struct s3pve_error *err) {
    const char *equals = strchr(text, '=');
    struct s3pve_meta *meta = &options->meta[options->n_meta];
    size_t len = equals ? (size_t)(equals - text) : 0;

    if (!len || len >= sizeof(meta->name) || strlen(equals + 1) >= sizeof(meta->value))
        return fail(
            err,
            S3PVE_E_INVALID,
            "--meta wants NAME=VALUE with a name of at most %zu and a value of at most %zu bytes",
            sizeof(meta->name) - 1,
            sizeof(meta->value) - 1
        );
    if (options->n_meta == S3PVE_META_MAX)
        return fail(err, S3PVE_E_INVALID, "--meta may be given %d times", S3PVE_META_MAX);

    for (size_t i = 0; i < len; i++)
        meta->name[i] = (char)tolower((unsigned char)text[i]);
    meta->name[len] = '\0';
    memcpy(meta->value, equals + 1, strlen(equals + 1) + 1);
    options->n_meta++;
    return 0;
}

static int apply(struct options *options, const struct row *row, struct s3pve_error *err) {
    char *field = (char *)options + row->offset;

    options->seen |= 1ull << (row - rows);
    switch (row->kind) {
    case FLAG: *(bool *)field = true; return 0;
    case COUNT: (*(unsigned *)field)++; return 0;
    case TEXT: *(const char **)field = optarg; return 0;
    case SETTING: return add_setting(options, row->name, optarg, err);
    case META: return add_meta(options, optarg, err);
    case SECRET: explicit_bzero(optarg, strlen(optarg)); return refuse_secret(row, err);
    }
    return -1;
}

static int explain(int val, char **argv, struct s3pve_error *err) {
    const struct row *row = row_of(optopt);
    const char *word = argv[optind - 1];

    if (val == ':' && row && row->kind == SECRET)
        return refuse_secret(row, err);
    if (val == ':' && row)
        return fail(err, S3PVE_E_INVALID, "--%s needs a value: %s", row->name, row->argument);
    if (row)
        return fail(err, S3PVE_E_INVALID, "--%s takes no value", row->name);
    if (optopt)
        return fail(err, S3PVE_E_INVALID, "unknown option -%c; see s3pve --help", optopt);
    /* The word may hold "--name=value" with a value that is nobody's business. */
    return fail(
        err,
        S3PVE_E_INVALID,
        "unknown or ambiguous option %.*s; see s3pve --help",
        (int)strcspn(word, "="),
        word
    );
}

int options_parse(struct options *options, int argc, char **argv, struct s3pve_error *err) {
    struct option longs[N_ROWS + 1];
    char shorts[2 * N_ROWS + 2];
    int val, r = 0;

    getopt_tables(longs, shorts);
    opterr = 0;
    /* Walk on after a mistake: --json behind it still decides how the mistake is shown. */
    while ((val = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        struct s3pve_error *where = r == 0 ? err : NULL;

        if (val == '?' || val == ':')
            r = explain(val, argv, where);
        else if (apply(options, row_of(val), where) < 0)
            r = -1;
    }
    options->args = argv + optind;
    options->n_args = argc - optind;
    return r;
}

/* Is @word one of those in @list? */
static bool word_in(const char *list, const char *word) {
    size_t len = strlen(word);

    for (const char *p = strstr(list, word); p; p = strstr(p + 1, word)) {
        if ((p == list || p[-1] == '|') && (p[len] == '|' || p[len] == '\0'))
            return true;
    }
    return false;
}

int options_check(const struct options *options, const char *command, struct s3pve_error *err) {
    for (size_t i = 0; i < N_ROWS; i++) {
        if (!(options->seen >> i & 1) || !rows[i].commands || word_in(rows[i].commands, command))
            continue;
        return fail(err, S3PVE_E_INVALID, "--%s is not an option of this command", rows[i].name);
    }
    return 0;
}

void options_help(const char *command) {
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct row *row = &rows[i];
        char left[64], letter[] = {'-', row->letter, ',', '\0'};

        if (!row->help ||
            (command ? !row->commands || !word_in(row->commands, command) : row->commands != NULL))
            continue;
        snprintf(
            left,
            sizeof(left),
            "%s --%s%s%s",
            row->letter ? letter : "   ",
            row->name,
            row->argument ? " " : "",
            row->argument ? row->argument : ""
        );
        printf("  %-30s %s\n", left, row->help);
    }
}

int options_seconds(
    const char *name, const char *text, unsigned *ret_seconds, struct s3pve_error *err
) {
    static const struct {
        char unit;
        unsigned seconds;
    } units[] = {{'\0', 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    unsigned long n;
    char *end;

    errno = 0;
    n = strtoul(text, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (!isdigit((unsigned char)*text) || errno || *end != units[i].unit || (*end && end[1]))
            continue;
        if (n > UINT_MAX / units[i].seconds)
            break;
        *ret_seconds = (unsigned)n * units[i].seconds;
        return 0;
    }
    return fail(
        err, S3PVE_E_INVALID, "--%s wants seconds, or 30m, 12h, 7d, 2w, not '%s'", name, text
    );
}

/* A fraction is of the unit, and ends at a byte. */
int options_bytes(const char *text, uint64_t *ret_bytes, struct s3pve_error *err) {
    static const char units[] = "KMGTP";
    char *end;
    long double n;
    const char *unit;

    errno = 0;
    n = strtold(text, &end);
    unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (long i = unit ? unit - units + 1 : 0; i > 0; i--)
        n *= 1024;
    if (isdigit((unsigned char)*text) && !strpbrk(text, "xXeEnN") && !errno &&
        (!*end || (unit && !end[1])) && n < (long double)(1ull << 60) &&
        (long double)(uint64_t)n == n) {
        *ret_bytes = (uint64_t)n;
        return 0;
    }
    return fail(err, S3PVE_E_INVALID, "a size is bytes, or 16M, 32G, 1.5T, not '%s'", text);
}

bool options_has_setting(const struct options *options, const char *name) {
    for (unsigned i = 0; i < options->n_settings; i++) {
        if (strcmp(options->settings[i].name, name) == 0 && options->settings[i].value[0])
            return true;
    }
    return false;
}
