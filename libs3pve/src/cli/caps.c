/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* caps.c - what a probe found out serves later runs: better checksums, and which conditions hold */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/state.h"

#define CAPS_S INT64_C(604800) /* a week; servers are upgraded */

static json_t *identity_of(const struct cli *cli) {
    return json_pack(
        "{s:s, s:s}",
        "endpoint",
        s3pve_config_get(cli->config, "endpoint"),
        "bucket",
        s3pve_config_get(cli->config, "bucket")
    );
}

void caps_use(struct cli *cli) {
    struct s3pve_caps caps;
    struct state state;

    if (!state_find(&state, "probe", identity_of(cli)))
        return;
    if (s3pve_caps_parse(state.value, &caps, NULL) == 0 && caps.probed_s + CAPS_S > time(NULL))
        s3pve_client_use_caps(cli->client, &caps);
    state_close(&state);
}

/* Not being able to keep it is no failure of the probe. */
void caps_keep(struct cli *cli, const struct s3pve_caps *caps) {
    _free_ char *text = s3pve_caps_text(caps);
    struct state state;

    if (!text || state_open(&state, "probe", identity_of(cli), NULL) < 0)
        return;
    state_save(&state, text, NULL);
    state_close(&state);
}
