/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* check.c - what a volume that was just opened must be */
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "node.h"

static void bring(struct node *node, const struct page_id *id) {
    struct volume *volume = node->volume;
    _cleanup_(buf_clear) struct buf bytes = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct page *page = leaves_find(&volume->leaves, id);
    struct volume_page want;

    if (!page->ref.len || page->here)
        return;
    want_place(volume, id, &want);
    must_hold(
        &node->sim->world,
        uploads_read_page(node->sim, &want, &bytes) == 0,
        "a page is not there: %s",
        want.object
    );
    must_hold(
        &node->sim->world,
        leaves_bring(&volume->leaves, volume->map, &volume->table, id, &bytes, &err) == 0,
        "%s",
        err.message
    );
}

static void bring_all(struct node *node) {
    struct leaves *leaves = &node->volume->leaves;

    for (uint32_t i = 0; i < leaves->n_nodes; i++) {
        bring(node, &(struct page_id){PAGE_NODE, i});
        for (uint32_t k = 0; leaves->nodes[i].leaves && k < MAP_LEAF; k++)
            bring(node, &(struct page_id){PAGE_LEAF, i * MAP_LEAF + k});
    }
}

/* Every row of the table counts just the blocks that the map has in its segment, or the pages. */
static void count_run(void *ctx, uint64_t block, uint32_t n, place_t place) {
    uint32_t *live = ctx;

    if (place_kind(place) == PLACE_DATA)
        live[map_row(place)] += n;
}

static void count_page(uint32_t *live, const struct page *page) {
    if (page->ref.len)
        live[page->ref.row]++;
}

static void check_live(struct node *node) {
    const struct table *table = &node->volume->table;
    const struct leaves *leaves = &node->volume->leaves;
    uint32_t *live = calloc(table->n_rows + 1, sizeof(*live));

    map_each(node->volume->map, 0, UINT64_MAX, count_run, live);
    count_page(live, &leaves->root);
    for (uint32_t i = 0; i < leaves->n_nodes; i++) {
        count_page(live, &leaves->nodes[i].page);
        for (uint32_t k = 0; leaves->nodes[i].leaves && k < MAP_LEAF; k++)
            count_page(live, &leaves->nodes[i].leaves[k]);
    }
    for (uint32_t i = 0; i < table->n_rows; i++)
        must_hold(
            &node->sim->world,
            live[i] == table->rows[i].live,
            "object %llu is said to have %u alive, and has %u",
            (unsigned long long)table->rows[i].id.seq,
            table->rows[i].live,
            live[i]
        );
    free(live);
}

/* A cluster by the machine's own maps, without a request of the guest's. */
static void read_cluster(struct node *node, unsigned cluster, uint64_t *hashes) {
    struct volume_request request = {.type = VOLUME_READ};
    uint64_t start = oracle_clusters[cluster] * BLOCK, size = node->volume->params.size;
    uint8_t block[BLOCK];
    uint32_t at = 0;

    if (start >= size)
        return;
    request.offset = start;
    request.len = ORACLE_CLUSTER * BLOCK < size - start ? ORACLE_CLUSTER * BLOCK : size - start;
    if (lookup(node->volume, &request) != 1)
        abort();
    for (uint32_t p = 0; p < request.n_pieces; p++)
        for (uint32_t i = 0; i < request.pieces[p].n; i++) {
            runtime_fetch(node, &request.pieces[p], i, block);
            hashes[at++] = oracle_hash(block);
        }
    lookup_unpin(node->volume, &request);
}

static void check_disk(struct node *node) {
    struct sim *sim = node->sim;
    uint64_t hashes[ORACLE_BLOCKS] = {0};
    size_t least = sim->loss == LOSS_DAEMON  ? sim->answered
                   : sim->loss == LOSS_POWER ? sim->safe
                   : sim->params.bucket      ? sim->safe
                                             : sim->stored;

    for (unsigned i = 0; i < ORACLE_CLUSTERS; i++)
        read_cluster(node, i, hashes + i * ORACLE_CLUSTER);
    oracle_check(&sim->oracle, hashes, least);
    if (sim->oracle.n_writes > oracle_count(&sim->oracle, node->volume->jseq))
        sim->oracle.n_writes = oracle_count(&sim->oracle, node->volume->jseq);
    sim->answered = sim->oracle.n_writes;
    if (sim->safe > sim->answered)
        sim->safe = sim->answered;
}

void check_opened(struct node *node) {
    struct sim *sim = node->sim;
    struct volume *volume = node->volume;

    must_hold(
        &sim->world,
        volume->params.size >= sim->size,
        "it has %llu bytes, and was said to have %llu",
        (unsigned long long)volume->params.size,
        (unsigned long long)sim->size
    );
    sim->size = volume->params.size;
    bring_all(node);
    check_live(node);
    check_disk(node);
    leaves_trim(&volume->leaves, volume->map, 0);
}
