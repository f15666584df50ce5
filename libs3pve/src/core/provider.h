/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* provider.h - what is known beforehand of the stores people use; see s3pve_provider_next() */
#ifndef CORE_PROVIDER_H
#define CORE_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>

#include "s3pve.h"

/* Return: the preset of that name, or NULL. */
const struct s3pve_provider *provider_find(const char *name);

/* The preset whose endpoint @host (no port) is; "generic" when it is nobody's. */
const struct s3pve_provider *provider_of_host(const char *host);

/* The region that stands in @host where the preset's pattern has <region>; false when none does. */
bool provider_region_of_host(
    const struct s3pve_provider *provider, const char *host, char ret_region[64]
);

/* The preset's endpoint for a region; false when it has no pattern, or needs more than a region. */
bool provider_endpoint(
    const struct s3pve_provider *provider, const char *region, char *ret_endpoint, size_t size
);

#endif
