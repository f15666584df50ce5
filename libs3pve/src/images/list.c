/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* list.c - the volumes there are: a listing for each guest, and all the roots, several at once */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "core/error.h"
#include "core/request.h"
#include "images/crew.h"
#include "images/length.h"

struct names {
    char (*names)[S3PVE_VOLUME_NAME]; /* owned */
    size_t n, room;
};

static void names_clear(struct names *names) {
    free(names->names);
}

static int add(struct names *names, const char *name, struct s3pve_error *err) {
    if (names->n == names->room) {
        size_t room = names->room ? names->room * 2 : 64;
        void *more = reallocarray(names->names, room, sizeof(*names->names));

        if (!more)
            return error_set(err, S3PVE_E_NOMEM, "no memory for names");
        names->names = more;
        names->room = room;
    }
    strcpy(names->names[names->n++], name);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

/* ------------------------------------------------------------------ listing */

struct listing {
    struct s3pve_client *client;
    const int *cancel;
    int64_t until_ms;   /* clock_monotonic_ms() */
    struct names names; /* of guests, or of volumes */
    bool guests;
};

/* What is left of the time. */
static struct s3pve_call call_of(const struct listing *listing) {
    struct store store = {.cancel = listing->cancel, .until_ms = listing->until_ms};

    return store_call(&store);
}

static int note(struct listing *listing, const char *key, struct s3pve_error *err) {
    char name[S3PVE_VOLUME_NAME];
    size_t len = strlen(key);

    if (!listing->guests)
        return names_of_folder(key, name) ? add(&listing->names, name, err) : 0;
    if (len < sizeof(NAMES_TOP) || len >= sizeof(name))
        return 0;
    snprintf(
        name, sizeof(name), "%.*s", (int)(len - sizeof(NAMES_TOP)), key + sizeof(NAMES_TOP) - 1
    );
    return names_vmid(name) && !strchr(name, '/') ? add(&listing->names, name, err) : 0;
}

/* The folders in @folder, "images/" or "images/100/". */
static int list_folders(struct listing *listing, const char *folder, struct s3pve_error *err) {
    struct s3pve_call call = call_of(listing);
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    int rc;

    if (s3pve_list_open(listing->client, folder, "/", NULL, &list, &call, err) < 0)
        return -1;
    while ((rc = s3pve_list_next(list, &entry, err)) > 0)
        if (entry.is_prefix && note(listing, entry.key, err) < 0) {
            rc = -1;
            break;
        }
    s3pve_list_close(list);
    return rc;
}

static int list_guest(struct listing *volumes, const char *vmid, struct s3pve_error *err) {
    char folder[ROOT_FOLDER];

    snprintf(folder, sizeof(folder), NAMES_TOP "%s/", vmid);
    return list_folders(volumes, folder, err);
}

/* One of several guests at once. */
struct guest {
    struct crew_job job;
    struct listing listing;
    const char *vmid;
    int rc;
    struct s3pve_error err;
};

static void list_one(void *arg) {
    struct guest *guest = arg;

    guest->rc = list_guest(&guest->listing, guest->vmid, &guest->err);
}

/* What it has is added to @volumes, unless @rc says that all is over. */
static int take(struct guest *guest, struct listing *volumes, int rc, struct s3pve_error *err) {
    const struct names *names = &guest->listing.names;

    for (size_t i = 0; i < names->n && rc == 0 && guest->rc == 0; i++)
        rc = add(&volumes->names, names->names[i], err);
    if (rc == 0 && guest->rc < 0 && err)
        *err = guest->err;
    names_clear(&guest->listing.names);
    return rc < 0 ? rc : guest->rc;
}

static int list_guests(
    struct listing *volumes, const struct names *vmids, struct s3pve_error *err
) {
    struct guest guests[INSPECT_THREADS];
    struct crew crew;
    int rc = 0;

    crew_init(&crew);
    for (size_t i = 0; i < vmids->n + INSPECT_THREADS; i++) {
        struct guest *guest = &guests[i % INSPECT_THREADS];

        if (i >= INSPECT_THREADS && i - INSPECT_THREADS < vmids->n) {
            crew_wait(&crew, &guest->job);
            rc = take(guest, volumes, rc, err);
        }
        if (i >= vmids->n)
            continue;
        *guest = (struct guest){.listing = *volumes, .vmid = vmids->names[i]};
        guest->listing.names = (struct names){0};
        crew_start(&crew, &guest->job, list_one, guest);
    }
    crew_clear(&crew);
    return rc;
}

static int list_names(struct listing *volumes, uint64_t vmid, struct s3pve_error *err) {
    struct listing guests = *volumes;
    char text[32];
    int rc;

    if (vmid) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)vmid);
        return list_guest(volumes, text, err);
    }
    guests.guests = true;
    rc = list_folders(&guests, NAMES_TOP, err);
    if (rc == 0)
        rc = list_guests(volumes, &guests.names, err);
    names_clear(&guests.names);
    return rc;
}

/* -------------------------------------------------------------------- roots */

struct reading {
    struct s3pve_client *client;
    const struct listing *listing;
    const struct names *names;
    struct s3pve_volumes *all; /* borrowed; NULL: as the bucket has it */
    struct request rqs[LIST_ROOTS];
    struct request *busy[LIST_ROOTS]; /* NULL: not begun, or done */
    size_t asked;                     /* names so far */
    int (*each)(void *ctx, const struct s3pve_volume_info *info);
    void *ctx;
};

static void ask(struct reading *r) {
    size_t slot = r->asked % LIST_ROOTS;
    struct request *rq = &r->rqs[slot];
    struct s3pve_call call = call_of(r->listing);
    char key[ROOT_FOLDER + 16];

    names_folder(r->names->names[r->asked++], key);
    strcat(key, "/volume.json");
    request_init(rq, "GetObject", "GET", key, &call);
    rq->reply_max = ROOT_BYTES_MAX + 1;
    rq->urgent = true;
    rq->quiet = true;
    r->busy[slot] = rq;
    request_submit(r->client, rq);
}

/* One that cannot be read keeps the others from nobody.  Return: 0, what each() said, or -1. */
static int tell(struct reading *r, size_t i, struct s3pve_error *err) {
    struct request *rq = &r->rqs[i % LIST_ROOTS];
    const char *name = r->names->names[i];
    struct s3pve_error cause = rq->error;
    struct s3pve_volume_info info;
    struct root root;
    int rc = 0;

    if (!cause.code && root_decode(&root, rq->reply.body, rq->reply.body_len, &cause) == 0) {
        idle_info(name, &root, &info);
        if (r->all && info.is_file)
            info.size = length_known(r->all, name, &root);
        if (!root.deleting)
            rc = r->each(r->ctx, &info);
        root_clear(&root);
    } else if (cause.code == S3PVE_E_CORRUPT || cause.code == S3PVE_E_UNSUPPORTED) {
        client_log(r->client, S3PVE_LOG_ERROR, "list", name, "%s", cause.message);
    } else if (cause.code != S3PVE_E_NOT_FOUND) {
        if (err)
            *err = cause;
        rc = -1;
    }
    request_clear(rq);
    return rc;
}

static void wait_for(struct reading *r, size_t slot) {
    while (r->busy[slot]) {
        int i = request_wait(r->client, r->busy, LIST_ROOTS, CALL_MS);

        if (i >= 0)
            r->busy[i] = NULL;
    }
}

static int read_roots(struct reading *r, struct s3pve_error *err) {
    int rc = 0;
    size_t i;

    for (i = 0; i < r->names->n && rc == 0; i++) {
        while (r->asked < r->names->n && r->asked < i + LIST_ROOTS)
            ask(r);
        wait_for(r, i % LIST_ROOTS);
        rc = tell(r, i, err);
    }
    for (; i < r->asked; i++) {
        if (r->busy[i % LIST_ROOTS])
            request_cancel(r->client, r->busy[i % LIST_ROOTS]);
        request_clear(&r->rqs[i % LIST_ROOTS]);
    }
    return rc;
}

static int list(
    struct reading *reading, uint64_t vmid, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct listing listing = {
        .client = reading->client,
        .cancel = call ? call->cancel : NULL,
        .until_ms = idle_until_ms(reading->client, call),
    };
    int rc = list_names(&listing, vmid, err);

    if (rc == 0) {
        if (listing.names.n)
            qsort(listing.names.names, listing.names.n, sizeof(*listing.names.names), by_name);
        reading->listing = &listing;
        reading->names = &listing.names;
        rc = read_roots(reading, err);
    }
    names_clear(&listing.names);
    return rc;
}

_public_ int s3pve_volume_list(
    struct s3pve_client *client,
    uint64_t vmid,
    int (*each)(void *ctx, const struct s3pve_volume_info *info),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _free_ struct reading *reading = calloc(1, sizeof(*reading));

    if (!reading)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a list");
    reading->client = client;
    reading->each = each;
    reading->ctx = ctx;
    return list(reading, vmid, call, err);
}

_public_ int s3pve_volumes_list(
    struct s3pve_volumes *all,
    uint64_t vmid,
    int (*each)(void *ctx, const struct s3pve_volume_info *info),
    void *ctx,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _free_ struct reading *reading = calloc(1, sizeof(*reading));

    if (!reading)
        return error_set(err, S3PVE_E_NOMEM, "no memory for a list");
    reading->client = all->client;
    reading->all = all;
    reading->each = each;
    reading->ctx = ctx;
    return list(reading, vmid, call, err);
}
