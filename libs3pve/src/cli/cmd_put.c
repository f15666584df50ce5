/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/state.h"

#define RESUME_PIECE (1u << 20) /* bytes between two looks at the upload's id */
#define ABORT_MS 15000          /* for removing parts: somebody waits for the program's end */

struct source {
    int fd;
    bool regular;
    struct stat stat;
};

static void source_close(struct source *source) {
    if (source->fd > STDIN_FILENO)
        close(source->fd);
}

static int source_open(struct source *source, const char *path, struct s3pve_error *err) {
    bool is_stdin = strcmp(path, "-") == 0;

    source->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (source->fd < 0 || fstat(source->fd, &source->stat) < 0)
        return fail_errno(err, "%s", path);
    if (S_ISDIR(source->stat.st_mode))
        return fail(err, S3PVE_E_INVALID, "%s is a folder", path);
    source->regular = S_ISREG(source->stat.st_mode);
    return 0;
}

/* FILE alone, or KEY with a slash at its end: the file's own name is the (rest of the) key. */
static int make_key(const char *path, const char *key, char **ret_key, struct s3pve_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool folder = !key || !key[0] || key[strlen(key) - 1] == '/';
    _cleanup_(buf_clear) struct buf full = {0};

    if (folder && (strcmp(path, "-") == 0 || !name[0]))
        return fail(err, S3PVE_E_INVALID, "'%s' names no file: say under which KEY", path);
    if (buf_str(&full, key ? key : "") < 0 || (folder && buf_str(&full, name) < 0))
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    *ret_key = buf_steal(&full);
    return 0;
}

static struct s3pve_put_options put_options(const struct options *options) {
    return (struct s3pve_put_options){
        .content_type = options->content_type,
        .meta = options->meta,
        .n_meta = options->n_meta,
        .tags = options->tags,
        .if_absent = options->if_absent,
    };
}

static uint64_t count_stored(const void *upload) {
    return s3pve_upload_stored(upload);
}

static struct progress progress_of(
    const char *key, const struct source *source, const struct s3pve_upload *upload, uint64_t first
) {
    return (struct progress){
        .label = key,
        .first = first,
        .total = source->regular ? (uint64_t)source->stat.st_size : 0,
        .count = count_stored,
        .ctx = upload,
    };
}

/* Complete the upload unless something failed before (@r), and show how it went. */
static int finish(
    struct cli *cli,
    const char *key,
    struct s3pve_upload *upload,
    struct progress *progress,
    int r,
    struct s3pve_error *err
) {
    struct s3pve_info info = {0};

    if (r == 0)
        r = s3pve_upload_complete(upload, &info, &cli->call, err);
    progress_stop(progress, r == 0);
    if (r == 0 && cli->options.json)
        out_json(stdout, out_info(key, &info));
    return r;
}

/* Nothing stays behind, as far as the store can be reached. */
static void drop(struct s3pve_upload *upload) {
    const struct s3pve_call call = {.timeout_ms = ABORT_MS};

    if (upload)
        s3pve_upload_abort(upload, &call);
    s3pve_upload_close(upload);
}

DEFINE_CLEANUP(struct s3pve_upload *, drop)

static int put_once(
    struct cli *cli, const char *key, const struct source *source, struct s3pve_error *err
) {
    _cleanup_(dropp) struct s3pve_upload *upload = NULL;
    const struct s3pve_put_options options = put_options(&cli->options);
    struct progress progress;
    int r;

    if (s3pve_upload_open(cli->client, key, &options, &upload, err) < 0)
        return -1;

    progress = progress_of(key, source, upload, 0);
    progress_start(&progress, cli);
    r = s3pve_upload_read_fd(upload, source->fd, &cli->call, err);
    return finish(cli, key, upload, &progress, r, err);
}

/* ---------------------------------------------------------------- --resume */

static json_t *identity_of(const struct cli *cli, const char *key, const struct stat *stat) {
    json_t *file = json_pack(
        "{s:I, s:I, s:I, s:I, s:I}",
        "size",
        (json_int_t)stat->st_size,
        "mtime",
        (json_int_t)stat->st_mtim.tv_sec,
        "mtime_ns",
        (json_int_t)stat->st_mtim.tv_nsec,
        "dev",
        (json_int_t)stat->st_dev,
        "ino",
        (json_int_t)stat->st_ino
    );

    return state_identity(cli->config, key, file);
}

/* The earlier try's upload and where it ended, or a new one. */
static int continue_upload(
    struct cli *cli,
    const char *key,
    struct state *state,
    const struct stat *stat,
    struct s3pve_upload **ret_upload,
    struct s3pve_error *err
) {
    const struct s3pve_put_options options = put_options(&cli->options);
    _cleanup_(dropp) struct s3pve_upload *upload = NULL;
    struct s3pve_error why = S3PVE_ERROR_INIT;
    uint64_t offset = 0;

    if (state->value[0] &&
        s3pve_upload_resume(
            cli->client, key, state->value, &options, &upload, &offset, &cli->call, &why
        ) < 0) {
        if (why.code != S3PVE_E_NOT_FOUND)
            return *err = why, -1;
        if (state_save(state, "", err) < 0) /* swept meanwhile: begin anew */
            return -1;
    }
    if (upload && offset > (uint64_t)stat->st_size)
        return fail(err, S3PVE_E_CORRUPT, "the store has more of it than the file");
    if (!upload && s3pve_upload_open(cli->client, key, &options, &upload, err) < 0)
        return -1;
    *ret_upload = steal_ptr(&upload);
    return 0;
}

/* The id is written down as soon as there is one: from then on even SIGKILL loses no part. */
static int note_id(
    const struct s3pve_upload *upload, struct state *state, struct s3pve_error *err
) {
    const char *id = s3pve_upload_id(upload);

    return strcmp(id, state->value) == 0 ? 0 : state_save(state, id, err);
}

static int copy_rest(
    struct cli *cli,
    struct s3pve_upload *upload,
    const struct source *source,
    struct state *state,
    struct s3pve_error *err
) {
    _free_ char *piece = malloc(RESUME_PIECE);
    uint64_t offset = s3pve_upload_size(upload);
    ssize_t n;

    if (!piece)
        return fail(err, S3PVE_E_NOMEM, "out of memory");
    while ((n = pread(source->fd, piece, RESUME_PIECE, (off_t)offset)) != 0) {
        if (n < 0 && errno != EINTR)
            return fail_errno(err, "read");
        if (n > 0 && s3pve_upload_write(upload, piece, (size_t)n, &cli->call, err) < 0)
            return -1;
        if (note_id(upload, state, err) < 0)
            return -1;
        offset += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

static int check_unchanged(const struct source *source, struct s3pve_error *err) {
    struct stat now;

    if (fstat(source->fd, &now) < 0)
        return fail_errno(err, "stat");
    if (now.st_size != source->stat.st_size || now.st_mtim.tv_sec != source->stat.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != source->stat.st_mtim.tv_nsec)
        return fail(err, S3PVE_E_CORRUPT, "the file changed while it was read");
    return 0;
}

static int put_parts(
    struct cli *cli,
    const char *key,
    struct s3pve_upload *upload,
    const struct source *source,
    struct state *state,
    struct s3pve_error *err
) {
    struct progress progress = progress_of(key, source, upload, s3pve_upload_size(upload));
    int r;

    progress_start(&progress, cli);
    r = copy_rest(cli, upload, source, state, err);
    if (r == 0)
        r = s3pve_upload_seal(upload, &cli->call, err);
    if (r == 0)
        r = check_unchanged(source, err);
    return finish(cli, key, upload, &progress, r, err);
}

/* A failure that another try will meet again leaves nothing to continue. */
static bool is_final(enum s3pve_code code) {
    return code == S3PVE_E_CONFLICT || code == S3PVE_E_INVALID || code == S3PVE_E_CORRUPT;
}

static int put_resumable(
    struct cli *cli, const char *key, const struct source *source, struct s3pve_error *err
) {
    struct s3pve_upload *upload = NULL;
    struct state state;
    int r;

    if (!source->regular)
        return fail(err, S3PVE_E_INVALID, "--resume needs a plain file, which can be read again");
    if (state_open(&state, "put", identity_of(cli, key, &source->stat), err) < 0)
        return -1;

    r = continue_upload(cli, key, &state, &source->stat, &upload, err);
    if (r == 0)
        r = put_parts(cli, key, upload, source, &state, err);
    if (r < 0 && state.value[0] && !is_final(err->code))
        s3pve_upload_leave(upload);
    else
        drop(upload);

    if (r == 0 || is_final(err->code))
        state_remove(&state);
    else
        state_close(&state);
    return r;
}

/* Better to hear it before hours of upload than after; the store decides in the end. */
static int check_absent(struct cli *cli, const char *key, struct s3pve_error *err) {
    if (!cli->options.if_absent || s3pve_object_head(cli->client, key, NULL, &cli->call, NULL) < 0)
        return 0;
    return fail(err, S3PVE_E_CONFLICT, "%s: it exists already", key);
}

int cmd_put(struct cli *cli, int n, char **args, struct s3pve_error *err) {
    _cleanup_(source_close) struct source source = {.fd = -1};
    _free_ char *key = NULL;

    if (cli->options.resume && strcmp(args[0], "-") == 0)
        return fail(err, S3PVE_E_INVALID, "--resume needs a FILE, which can be read again");
    if (make_key(args[0], n > 1 ? args[1] : NULL, &key, err) < 0)
        return -1;
    if (source_open(&source, args[0], err) < 0 || check_absent(cli, key, err) < 0)
        return -1;
    return cli->options.resume ? put_resumable(cli, key, &source, err)
                               : put_once(cli, key, &source, err);
}
