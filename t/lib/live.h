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

/* A client for that bucket, which is made, below @prefix. */
struct s3pve_client *live_client(const char *prefix);

#endif
