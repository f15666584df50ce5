/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

#define NODE ((uint64_t)MAP_LEAF * MAP_LEAF)

const uint64_t oracle_clusters[ORACLE_CLUSTERS] = {
    0,
    MAP_LEAF - 8,
    5 * MAP_LEAF + 100,
    700 * MAP_LEAF - 5,
    NODE - 8,
    NODE + 3 * MAP_LEAF + 10,
    2 * NODE + 50 * MAP_LEAF,
    2 * NODE + 900 * MAP_LEAF + 200,
};

uint32_t oracle_index(uint64_t block) {
    for (uint32_t i = 0; i < ORACLE_CLUSTERS; i++)
        if (block >= oracle_clusters[i] && block < oracle_clusters[i] + ORACLE_CLUSTER)
            return i * ORACLE_CLUSTER + (uint32_t)(block - oracle_clusters[i]);
    return ORACLE_BLOCKS;
}

uint64_t oracle_hash(const void *block) {
    static const uint8_t zeroes[BLOCK];
    const uint64_t *words = block;
    uint64_t hash = 14695981039346656037u;

    if (memcmp(block, zeroes, BLOCK) == 0)
        return 0;
    for (unsigned i = 0; i < BLOCK / 8; i++)
        hash = (hash ^ words[i]) * 1099511628211u;
    return hash | 1;
}

void oracle_init(struct oracle *oracle, struct world *world) {
    *oracle = (struct oracle){.world = world};
}

void oracle_clear(struct oracle *oracle) {
    free(oracle->writes);
}

void oracle_write(struct oracle *oracle, uint64_t jseq, uint32_t block, uint64_t hash) {
    must_hold(oracle->world, block < ORACLE_BLOCKS, "a write to a block that nobody wrote to");
    must_hold(
        oracle->world,
        !oracle->n_writes || oracle->writes[oracle->n_writes - 1].jseq <= jseq,
        "(I1) jseq goes back"
    );
    if (oracle->n_writes == oracle->room) {
        oracle->room = oracle->room ? oracle->room * 2 : 1024;
        oracle->writes = realloc(oracle->writes, oracle->room * sizeof(*oracle->writes));
    }
    oracle->writes[oracle->n_writes++] = (struct oracle_write){block, hash, jseq};
}

size_t oracle_count(const struct oracle *oracle, uint64_t jseq) {
    size_t n = oracle->n_writes;

    while (n > 0 && oracle->writes[n - 1].jseq > jseq)
        n--;
    return n;
}

bool oracle_may_be(const struct oracle *oracle, uint32_t block, uint64_t hash, size_t least) {
    for (size_t i = oracle->n_writes; i > 0; i--) {
        const struct oracle_write *write = &oracle->writes[i - 1];

        if (write->block != block)
            continue;
        if (write->hash == hash)
            return true;
        if (i <= least)
            return false; /* this one is certain, and nothing since was it */
    }
    return hash == 0;
}

void oracle_check(struct oracle *oracle, const uint64_t *hashes, size_t least) {
    uint64_t now[ORACLE_BLOCKS] = {0};
    unsigned wrong = 0;
    size_t found = 0;
    bool any = false;

    for (unsigned i = 0; i < ORACLE_BLOCKS; i++)
        wrong += hashes[i] != 0;
    for (size_t k = 0;; k++) {
        const struct oracle_write *write = &oracle->writes[k];

        if (wrong == 0) {
            found = k;
            any = true;
        }
        if (k == oracle->n_writes)
            break;
        wrong -= now[write->block] != hashes[write->block];
        now[write->block] = write->hash;
        wrong += now[write->block] != hashes[write->block];
    }
    must_hold(oracle->world, any, "(D4) the disk is no prefix of the %zu writes", oracle->n_writes);
    must_hold(
        oracle->world,
        found >= least,
        "(D2, D3) the disk has %zu writes, %zu were promised, of %zu",
        found,
        least,
        oracle->n_writes
    );
    world_note(
        oracle->world,
        "the disk is as after write %zu of %zu (%zu promised)",
        found,
        oracle->n_writes,
        least
    );
    oracle->n_writes = found;
}
