/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * live.h - a real server for tests in C: the throwaway RGW that all tests of a run share
 *
 * See t/lib/rgw and t/lib/prove.  Without them, or without Ceph, the test is skipped.
 */
#ifndef LIVE_H
#define LIVE_H

#include "s3pve.h"

/* The server's configuration, with a bucket name of this test's own in it; not created yet. */
struct s3pve_config *live_config(void);

/* The same, below @prefix; created. */
struct s3pve_config *live_bucket(const char *prefix);

/* A client for that bucket, which is made, below @prefix. */
struct s3pve_client *live_client(const char *prefix);

/*
 * A client for a fake server of this test's own, which misbehaves on demand: see t/lib/fakes3 for
 * @settings ("conditions=off ...", or ""), t/lib/FakeS3/Fault.pm for rules.  Its bucket is made,
 * parts are 5 MiB.  A new one ends the last.
 */
struct s3pve_client *live_fake(const char *settings, const char *timeout_s);
struct s3pve_config *live_fake_config(const char *timeout_s); /* for more clients of it */
void live_fake_rule(const char *rule);
void live_fake_clear(void); /* no rules, no log */
unsigned live_fake_count(const char *operation);
unsigned live_fake_uploads(void);                         /* not completed and not aborted */
void live_fake_zeroes(const char *key, const char *size); /* an object that takes no memory */

#endif
