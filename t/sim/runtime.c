/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* runtime.c - what a runtime would do for the machine, later, or not at all */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "node.h"

struct ticket *ticket_new(struct node *node) {
    struct ticket *ticket = calloc(1, sizeof(*ticket));

    ticket->node = node;
    ticket->life = node->life;
    return ticket;
}

void ticket_free(struct ticket *ticket) {
    free(ticket->data);
    free(ticket);
}

static void go_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;

    if (!ticket_is_heard(ticket, go_event))
        return;
    volume_go(ticket->node->volume);
    ticket_free(ticket);
}

/* What comes in the next few ms comes together. */
static void hold_some(struct node *node) {
    if (!sim_happens(node->sim, 5))
        return;
    volume_hold(node->volume);
    world_in(
        &node->sim->world, world_chance(&node->sim->world, 4), go_event, NULL, ticket_new(node)
    );
}

bool ticket_is_heard(struct ticket *ticket, world_fn again) {
    struct node *node = ticket->node;

    if (node->life != ticket->life || !node->volume) {
        ticket_free(ticket);
        return false;
    }
    if (node->paused) {
        world_in(&node->sim->world, 1 + world_chance(&node->sim->world, 5), again, NULL, ticket);
        return false;
    }
    volume_tick(node->volume, node->sim->world.now_ms);
    hold_some(node);
    return true;
}

bool sim_happens(struct sim *sim, unsigned percent) {
    return world_chance(&sim->world, 100) < percent;
}

int64_t sim_soon(struct sim *sim) {
    return 1 + world_chance(&sim->world, sim_happens(sim, 10) ? 60 : 6);
}

/* ------------------------------------------------------------------- oracle */

bool node_counts(const struct node *node) {
    const struct sim *sim = node->sim;

    return node == sim->writer && !sim->opening && node->volume &&
           sim->bucket.owner_nonce == node->volume->nonce;
}

void node_note_stored(struct node *node) {
    if (node_counts(node))
        node->sim->stored = oracle_count(&node->sim->oracle, node->volume->jseq_applied);
}

static void note_answer(struct node *node, const struct volume_request *request) {
    struct sim *sim = node->sim;
    size_t n = oracle_count(&sim->oracle, request->jseq);

    if (request->type == VOLUME_FLUSH || request->fua) {
        must_hold(
            &sim->world,
            node == sim->writer || !sim->params.bucket,
            "(D5) a flush is answered on a node that lost the volume"
        );
        if (node_counts(node) && n > sim->safe)
            sim->safe = n;
    }
    if (request->type != VOLUME_FLUSH && node_counts(node) && n > sim->answered)
        sim->answered = n;
}

/* ----------------------------------------------------------------- requests */

void node_forget(struct node *node, struct guest_request *asked) {
    struct guest_request **at = &node->asked;

    while (*at != asked)
        at = &(*at)->next;
    *at = asked->next;
    free(asked->request.sums);
    free(asked->request.zero);
    free(asked->request.pieces);
    free(asked->data);
    free(asked);
}

static void answer(void *ctx, struct volume_request *request, const struct s3pve_error *err) {
    struct node *node = ctx;
    struct guest_request *asked = (struct guest_request *)request;

    node->sim->n_answers++;
    if (!err && request->type != VOLUME_READ)
        note_answer(node, request);
    node_note_stored(node);
    node_forget(node, asked);
}

/* A block of what a piece says, from where a runtime would have it. */
void runtime_fetch(
    struct node *node, const struct volume_piece *piece, uint32_t i, uint8_t *block
) {
    size_t at = 2 * (size_t)BLOCK + piece->place + i * (size_t)BLOCK;
    const struct sim_object *object;
    char name[SEGMENT_NAME];

    memset(block, 0, BLOCK);
    if (piece->where == PIECE_SEGMENT) {
        segment_name(name, &piece->segment);
        object = bucket_find(&node->sim->bucket, name);
        must_hold(
            &node->sim->world,
            object || !node_counts(node),
            "the map names %s, which is not there",
            name
        );
        if (!object) /* who lost the volume may find that */
            return;
        memcpy(block, object->data + piece->header_len + (piece->place + i) * BLOCK, BLOCK);
    } else if (piece->where == PIECE_RING) {
        for (struct ticket *ticket = node->writes; ticket; ticket = ticket->next)
            if (at >= ticket->at && at < ticket->at + ticket->len) {
                memcpy(block, ticket->data + (at - ticket->at), BLOCK);
                return;
            }
        memcpy(block, node->disk.seen + at, BLOCK);
    }
}

static void check_read(struct node *node, struct guest_request *asked) {
    uint64_t block = request_first(&asked->request);
    uint8_t bytes[BLOCK];

    for (uint32_t p = 0; p < asked->request.n_pieces; p++)
        for (uint32_t i = 0; i < asked->request.pieces[p].n; i++, block++) {
            runtime_fetch(node, &asked->request.pieces[p], i, bytes);
            if (node_counts(node) && asked->least != SIZE_MAX)
                must_hold(
                    &node->sim->world,
                    oracle_may_be(
                        &node->sim->oracle, oracle_index(block), oracle_hash(bytes), asked->least
                    ),
                    "(D1) block %u is not what was written",
                    (unsigned)block
                );
        }
}

static void read_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;

    if (!ticket_is_heard(ticket, read_event))
        return;
    check_read(node, (struct guest_request *)ticket->request);
    volume_read_done(node->volume, ticket->request, NULL);
    ticket_free(ticket);
}

static void request_later(struct node *node, struct volume_request *request, world_fn event) {
    struct ticket *ticket = ticket_new(node);
    int64_t ms = sim_soon(node->sim);

    ticket->request = request;
    if (sim_happens(node->sim, 2))
        ms += world_chance(&node->sim->world, 600);
    world_in(&node->sim->world, ms, event, NULL, ticket);
}

static void read_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
) {
    request_later(ctx, request, read_event);
}

void runtime_sum(struct volume_request *request, uint32_t i, const uint8_t *block) {
    request->sums[i] = crc32c(0, block, BLOCK);
    request->zero[i] = oracle_hash(block) == 0;
}

/* The bytes around those of the request, in its first block and in its last. */
static void join(struct node *node, struct guest_request *asked) {
    struct volume_request *request = &asked->request;
    uint32_t last = request_blocks(request) - 1, piece = 0;
    size_t from = request->offset % BLOCK, to = from + request->len;
    uint8_t old[BLOCK];

    if (from || (!last && to < BLOCK)) {
        runtime_fetch(node, &request->pieces[piece++], 0, old);
        memcpy(asked->data, old, from);
        if (!last && to < BLOCK)
            memcpy(asked->data + to, old + to, BLOCK - to);
        runtime_sum(request, 0, asked->data);
    }
    if (last && to % BLOCK) {
        runtime_fetch(node, &request->pieces[piece], 0, old);
        memcpy(asked->data + to, old + to % BLOCK, BLOCK - to % BLOCK);
        runtime_sum(request, last, asked->data + (size_t)last * BLOCK);
    }
}

static void edges_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;

    if (!ticket_is_heard(ticket, edges_event))
        return;
    join(ticket->node, (struct guest_request *)ticket->request);
    volume_edges_done(ticket->node->volume, ticket->request, NULL);
    ticket_free(ticket);
}

static void edges_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
) {
    request_later(ctx, request, edges_event);
}

/* ------------------------------------------------------------------ journal */

static void drop_write(struct ticket *ticket) {
    struct ticket **at = &ticket->node->writes;

    while (*at != ticket)
        at = &(*at)->next;
    *at = ticket->next;
}

static void written_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;

    if (!ticket_is_heard(ticket, written_event))
        return;
    drop_write(ticket);
    disk_write(&node->disk, ticket->at, ticket->data, ticket->len);
    volume_journal_written(node->volume, ticket->number, NULL);
    node_note_stored(node);
    ticket_free(ticket);
}

static void tell_entry(
    struct oracle *oracle, uint64_t jseq, const struct jrecord_entry *entry, const uint8_t *data
) {
    for (uint32_t i = 0; i < ORACLE_BLOCKS; i++) {
        uint64_t block = oracle_clusters[i / ORACLE_CLUSTER] + i % ORACLE_CLUSTER;
        uint64_t k = block - entry->block;

        if (block < entry->block || k >= entry->n)
            continue;
        oracle_write(
            oracle, jseq, i, entry->kind == EXTENT_DATA ? oracle_hash(data + k * BLOCK) : 0
        );
    }
}

/* The oracle hears of the writes in the order the machine gave them. */
static void tell_oracle(struct node *node, const uint8_t *data) {
    const struct jrecord *record = &node->volume->record;

    if (node != node->sim->writer)
        return;
    for (uint32_t i = 0; i < record->n_entries; i++) {
        const struct jrecord_entry *entry = &record->entries[i];

        tell_entry(&node->sim->oracle, record->jseq, entry, data + entry->data * (size_t)BLOCK);
    }
}

static void journal_write_op(
    void *ctx,
    uint64_t place,
    uint64_t jseq,
    const void *header,
    size_t len,
    const struct volume_source *sources,
    uint32_t n
) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);
    bool pad = ((const uint8_t *)header)[6] == JRECORD_PAD;

    ticket->number = jseq;
    ticket->at = 2 * (size_t)BLOCK + place;
    ticket->data = malloc(len + JRECORD_DATA_MAX * (size_t)BLOCK);
    memcpy(ticket->data, header, len);
    ticket->len = len;
    for (uint32_t i = 0; i < n; i++) {
        const struct guest_request *asked = (const struct guest_request *)sources[i].request;

        memcpy(
            ticket->data + ticket->len,
            asked->data + sources[i].first * (size_t)BLOCK,
            sources[i].n * (size_t)BLOCK
        );
        ticket->len += sources[i].n * (size_t)BLOCK;
    }
    ticket->next = node->writes;
    node->writes = ticket;
    if (!pad)
        tell_oracle(node, ticket->data + len);
    world_in(&node->sim->world, world_chance(&node->sim->world, 4), written_event, NULL, ticket);
}

static void synced_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;

    if (!ticket_is_heard(ticket, synced_event))
        return;
    disk_sync_end(&ticket->node->disk);
    volume_journal_synced(ticket->node->volume, NULL);
    ticket_free(ticket);
}

static void journal_sync_op(void *ctx) {
    struct node *node = ctx;

    disk_sync_begin(&node->disk);
    world_in(&node->sim->world, sim_soon(node->sim), synced_event, NULL, ticket_new(node));
}

void runtime_superblock(struct node *node, const struct superblock *superblock) {
    uint8_t block[BLOCK];

    superblock_encode(superblock, block);
    disk_write(&node->disk, superblock->generation % 2 * BLOCK, block, BLOCK);
    memcpy(node->disk.stable + superblock->generation % 2 * BLOCK, block, BLOCK);
}

static void superblock_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct superblock superblock;

    if (!ticket_is_heard(ticket, superblock_event))
        return;
    drop_write(ticket);
    if (superblock_decode(&superblock, ticket->data))
        runtime_superblock(ticket->node, &superblock);
    volume_superblock_written(ticket->node->volume, NULL);
    ticket_free(ticket);
}

static void superblock_op(void *ctx, const struct superblock *superblock) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);

    ticket->data = malloc(BLOCK);
    ticket->at = superblock->generation % 2 * BLOCK;
    ticket->len = BLOCK;
    superblock_encode(superblock, ticket->data);
    ticket->next = node->writes;
    node->writes = ticket;
    world_in(&node->sim->world, sim_soon(node->sim), superblock_event, NULL, ticket);
}

/* --------------------------------------------------------------------- rest */

static bool lease_valid(void *ctx) {
    struct node *node = ctx;

    return node->sim->world.now_ms < node->lease_until;
}

static void wake_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;

    if (!ticket_is_heard(ticket, wake_event))
        return;
    ticket_free(ticket);
}

static void wake_at(void *ctx, int64_t at_ms) {
    struct node *node = ctx;
    int64_t now_ms = node->sim->world.now_ms;

    if (node->wake_ms > now_ms && node->wake_ms <= at_ms)
        return;
    node->wake_ms = at_ms > now_ms ? at_ms : now_ms + 1;
    world_in(&node->sim->world, node->wake_ms - now_ms, wake_event, NULL, ticket_new(node));
}

const struct volume_ops runtime_ops = {
    .answer = answer,
    .read = read_op,
    .edges = edges_op,
    .journal_write = journal_write_op,
    .journal_sync = journal_sync_op,
    .superblock_write = superblock_op,
    .segment_put = uploads_segment,
    .page_get = uploads_page,
    .checkpoint_put = protocols_publish,
    .objects_delete = uploads_delete,
    .lease_valid = lease_valid,
    .wake_at = wake_at,
};

/* Of what its writer had under way, some sectors are on the disk. */
void runtime_kill(struct node *node) {
    while (node->writes) {
        struct ticket *ticket = node->writes;

        drop_write(ticket);
        disk_write_some(&node->disk, ticket->at, ticket->data, ticket->len);
    }
}
