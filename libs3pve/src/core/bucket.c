/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* bucket.c - is it there, may we use it, where is it, how full is it */
#include <stdio.h>
#include <string.h>

#include "core/client.h"
#include "core/error.h"
#include "core/request.h"
#include "core/xml.h"

/* The one region that must not be named when a bucket is created, and that has no name in old
 * answers. */
#define FIRST_REGION "us-east-1"

static int send_list_one(
    struct s3pve_client *client, bool v1, const struct s3pve_call *call, struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;

    request_init(&rq, v1 ? "ListObjects" : "ListObjectsV2", "GET", NULL, call);
    rq.root = "ListBucketResult";
    rq.urgent = true;
    if (!v1)
        request_query(&rq, "list-type", "2");
    request_query(&rq, "max-keys", "1");
    request_query(&rq, "prefix", client->config.prefix);
    return request_send(client, &rq, err);
}

/* A listing of one name below our prefix: the least that a restricted key may do.  HEAD bucket
 * would need the right to list all of it. */
_public_ int s3pve_bucket_check(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error reason = S3PVE_ERROR_INIT;
    bool v1 = client->list_v1;

    if (send_list_one(client, v1, call, &reason) == 0)
        return 0;
    if (!v1 && reason.code == S3PVE_E_UNSUPPORTED)
        return send_list_one(client, true, call, err);
    if (err)
        *err = reason;
    return -1;
}

/* What goes into LocationConstraint: NULL where a region has no name of its own. */
static const char *nameable_region(const char *region) {
    bool none = !*region || strcmp(region, FIRST_REGION) == 0 || strcmp(region, "auto") == 0;

    return none ? NULL : region;
}

static int send_create(
    struct s3pve_client *client,
    const char *region,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(buf_clear) struct buf body = {0};
    _cleanup_(request_clear) struct request rq;
    struct iovec iov;

    request_init(&rq, "CreateBucket", "PUT", NULL, call);
    if (region) {
        if (buf_str(
                &body,
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                "<LocationConstraint>"
            ) < 0 ||
            xml_escape(&body, region) < 0 ||
            buf_str(&body, "</LocationConstraint></CreateBucketConfiguration>") < 0)
            return error_set(err, S3PVE_E_NOMEM, "CreateBucket: out of memory");
        request_body(&rq, &iov, body.data, body.len);
    }
    return request_send(client, &rq, err);
}

static bool about_location(const struct s3pve_error *err) {
    static const char *const codes[] = {
        "IllegalLocationConstraintException",
        "InvalidLocationConstraint",
        "InvalidRegion",
        "MalformedXML",
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(err->s3_code, codes[i]) == 0)
            return true;
    }
    return false;
}

/* A name that is taken may be taken by us: servers use three codes for it, and one of them for
 * both.  Only asking tells. */
static int settle_conflict(
    struct s3pve_client *client,
    const struct s3pve_error *reason,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (strcmp(reason->s3_code, "BucketAlreadyOwnedByYou") == 0 ||
        s3pve_bucket_check(client, call, NULL) == 0)
        return 0;

    if (err)
        *err = *reason;
    return error_wrap(
        err,
        "bucket '%s' exists and is not for these keys; choose another name",
        client->config.bucket
    );
}

/*
 * AWS must be told the region of its endpoint; most others take the bucket where it is asked for,
 * and some know no region by that name.  So each gets what it likes best first, and the other form
 * when it complains.
 */
_public_ int s3pve_bucket_create(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
) {
    struct s3pve_error reason = S3PVE_ERROR_INIT;
    bool named_first = strcmp(client->config.provider->name, "aws") == 0;
    char name[sizeof(client->region)];
    const char *region;

    if (client->pid != getpid()) /* a lock may be held for ever, see engine_calls.c */
        return error_set(err, S3PVE_E_INVALID, "CreateBucket: used after fork()");
    {
        LOCK_SCOPE(&client->lock);
        memcpy(name, client->region, sizeof(name));
    }
    region = nameable_region(name);
    if (send_create(client, named_first ? region : NULL, call, &reason) == 0)
        return 0;
    if (region && about_location(&reason) &&
        send_create(client, named_first ? NULL : region, call, &reason) == 0)
        return 0;
    if (reason.code == S3PVE_E_CONFLICT)
        return settle_conflict(client, &reason, call, err);
    if (err)
        *err = reason;
    return -1;
}

static int take_location(void *ctx, const char *path, const char *text) {
    if (strcmp(path, "LocationConstraint") == 0 || /* some wrap it once more */
        strcmp(path, "LocationConstraint/LocationConstraint") == 0 ||
        strcmp(path, "CreateBucketConfiguration/LocationConstraint") == 0)
        snprintf(ctx, 64, "%s", text);
    return *(const char *)ctx != '\0';
}

/* The header tells it even where the document is refused. */
static int location_by_head(
    struct s3pve_client *client,
    char region[64],
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    int rc;

    request_init(&rq, "HeadBucket", "HEAD", NULL, call);
    rc = request_send(client, &rq, err);
    if (!rq.reply.region[0] && rc < 0)
        return -1;
    snprintf(region, 64, "%s", rq.reply.region[0] ? rq.reply.region : FIRST_REGION);
    return 0;
}

_public_ int s3pve_bucket_location(
    struct s3pve_client *client,
    char region[64],
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    _cleanup_(request_clear) struct request rq;
    struct s3pve_error reason = S3PVE_ERROR_INIT;
    char name[64] = "";

    request_init(&rq, "GetBucketLocation", "GET", NULL, call);
    rq.root = "";
    request_query(&rq, "location", "");
    if (request_send(client, &rq, &reason) < 0) {
        if (reason.code == S3PVE_E_UNSUPPORTED || reason.code == S3PVE_E_DENIED)
            return location_by_head(client, region, call, err);
        if (err)
            *err = reason;
        return -1;
    }
    if (xml_walk(
            rq.reply.body ? rq.reply.body : "", rq.reply.body_len, NULL, take_location, name, err
        ) < 0)
        return error_wrap(err, "GetBucketLocation");

    if (strcmp(name, "EU") == 0) /* AWS's oldest name */
        strcpy(name, "eu-west-1");
    else if (!*name || strcmp(name, "null") == 0 || strcmp(name, "default") == 0) /* RGW's */
        strcpy(name, FIRST_REGION);
    memcpy(region, name, sizeof(name));
    return 0;
}

_public_ int s3pve_bucket_usage(
    struct s3pve_client *client,
    uint64_t *ret_objects,
    uint64_t *ret_bytes,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_list *list = NULL;
    struct s3pve_entry entry;
    uint64_t objects = 0, bytes = 0;
    int rc;

    if (s3pve_list_open(client, "", NULL, NULL, &list, call, err) < 0)
        return -1;
    while ((rc = s3pve_list_next(list, &entry, err)) == 1) {
        objects++;
        bytes += entry.info.size;
    }
    s3pve_list_close(list);
    if (rc < 0)
        return -1;

    *ret_objects = objects;
    *ret_bytes = bytes;
    return 0;
}
