/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever volume.json holds: what is believed is in order, and is written as it was read. */
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"
#include "volume/root.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(root_clear) struct root root = {0}, again = {0};
    _free_ char *text = NULL;

    if (root_decode(&root, (const char *)data, size, NULL) < 0)
        return 0;
    must(root.n_epochs <= ROOT_EPOCHS_MAX && root.size % 512 == 0);
    for (uint32_t i = 1; i < root.n_epochs; i++)
        must(root.epochs[i].first == root.epochs[i - 1].last + 1);
    must(root_encode(&root, &text, NULL) == 0);
    must(root_decode(&again, text, strlen(text), NULL) == 0);
    must(again.n_epochs == root.n_epochs && again.rev == root.rev && again.size == root.size);
    must(strcmp(again.owner.node, root.owner.node) == 0);
    return 0;
}
