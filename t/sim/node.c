/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "core/error.h"
#include "node.h"

/* Something under way.  What it does happens when its time has come, or not at all. */
struct ticket {
    struct node *node;
    unsigned life;
    struct ticket *next; /* among node->writes */
    struct volume_request *request;
    uint64_t number; /* jseq, or seq */
    size_t at, len;
    uint8_t *data; /* owned */
    char name[SEGMENT_NAME];
    bool landed;
};

static struct ticket *ticket_new(struct node *node) {
    struct ticket *ticket = calloc(1, sizeof(*ticket));

    ticket->node = node;
    ticket->life = node->life;
    return ticket;
}

static void ticket_free(struct ticket *ticket) {
    free(ticket->data);
    free(ticket);
}

/* Is its node still the one that asked?  Then it goes on; while it stands still, later. */
static bool is_heard(struct ticket *ticket, world_fn again) {
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
    return true;
}

static bool happens(struct sim *sim, unsigned percent) {
    return world_chance(&sim->world, 100) < percent;
}

static int64_t soon(struct sim *sim) {
    return 1 + world_chance(&sim->world, happens(sim, 10) ? 60 : 6);
}

/* ------------------------------------------------------------------- oracle */

static bool counts(const struct node *node) {
    return node == node->sim->writer && !node->sim->frozen;
}

static void note_stored(struct node *node) {
    if (counts(node))
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
        if (counts(node) && n > sim->safe)
            sim->safe = n;
    }
    if (request->type != VOLUME_FLUSH && counts(node) && n > sim->answered)
        sim->answered = n;
}

/* ----------------------------------------------------------------- requests */

static void forget(struct node *node, struct guest_request *asked) {
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
    note_stored(node);
    forget(node, asked);
}

/* A block of what a piece says, from where a runtime would have it. */
static void fetch(struct node *node, const struct volume_piece *piece, uint32_t i, uint8_t *block) {
    size_t at = 2 * (size_t)BLOCK + piece->place + i * (size_t)BLOCK;
    const struct sim_object *object;
    char name[SEGMENT_NAME];

    memset(block, 0, BLOCK);
    if (piece->where == PIECE_SEGMENT) {
        segment_name(name, &piece->segment);
        object = bucket_find(&node->sim->bucket, name);
        must_hold(&node->sim->world, object, "the map names %s, which is not there", name);
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
            fetch(node, &asked->request.pieces[p], i, bytes);
            if (counts(node) && asked->least != SIZE_MAX)
                must_hold(
                    &node->sim->world,
                    oracle_may_be(&node->sim->oracle, block, oracle_hash(bytes), asked->least),
                    "(D1) block %u is not what was written",
                    (unsigned)block
                );
        }
}

static void read_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;

    if (!is_heard(ticket, read_event))
        return;
    check_read(node, (struct guest_request *)ticket->request);
    volume_read_done(node->volume, ticket->request, NULL);
    ticket_free(ticket);
}

static void read_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);

    ticket->request = request;
    world_in(&node->sim->world, soon(node->sim), read_event, NULL, ticket);
}

static void sum_block(struct volume_request *request, uint32_t i, const uint8_t *block) {
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
        fetch(node, &request->pieces[piece++], 0, old);
        memcpy(asked->data, old, from);
        if (!last && to < BLOCK)
            memcpy(asked->data + to, old + to, BLOCK - to);
        sum_block(request, 0, asked->data);
    }
    if (last && to % BLOCK) {
        fetch(node, &request->pieces[piece], 0, old);
        memcpy(asked->data + to, old + to % BLOCK, BLOCK - to % BLOCK);
        sum_block(request, last, asked->data + (size_t)last * BLOCK);
    }
}

static void edges_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;

    if (!is_heard(ticket, edges_event))
        return;
    join(ticket->node, (struct guest_request *)ticket->request);
    volume_edges_done(ticket->node->volume, ticket->request, NULL);
    ticket_free(ticket);
}

static void edges_op(
    void *ctx, struct volume_request *request, const struct volume_piece *pieces, uint32_t n
) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);

    ticket->request = request;
    world_in(&node->sim->world, soon(node->sim), edges_event, NULL, ticket);
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

    if (!is_heard(ticket, written_event))
        return;
    drop_write(ticket);
    disk_write(&node->disk, ticket->at, ticket->data, ticket->len);
    volume_journal_written(node->volume, ticket->number, NULL);
    note_stored(node);
    ticket_free(ticket);
}

/* The oracle hears of the writes in the order the machine gave them. */
static void tell_oracle(struct node *node, const uint8_t *data) {
    const struct jrecord *record = &node->volume->record;

    if (node != node->sim->writer)
        return;
    for (uint32_t i = 0; i < record->n_entries; i++) {
        const struct jrecord_entry *entry = &record->entries[i];

        for (uint32_t k = 0; k < entry->n; k++)
            oracle_write(
                &node->sim->oracle,
                record->jseq,
                entry->block + k,
                entry->kind == EXTENT_DATA ? oracle_hash(data + (entry->data + k) * (size_t)BLOCK)
                                           : 0
            );
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

    if (!is_heard(ticket, synced_event))
        return;
    disk_sync_end(&ticket->node->disk);
    volume_journal_synced(ticket->node->volume, NULL);
    ticket_free(ticket);
}

static void journal_sync_op(void *ctx) {
    struct node *node = ctx;

    disk_sync_begin(&node->disk);
    world_in(&node->sim->world, soon(node->sim), synced_event, NULL, ticket_new(node));
}

static void write_superblock(struct node *node, const struct superblock *superblock) {
    uint8_t block[BLOCK];

    superblock_encode(superblock, block);
    disk_write(&node->disk, superblock->generation % 2 * BLOCK, block, BLOCK);
    memcpy(node->disk.stable + superblock->generation % 2 * BLOCK, block, BLOCK);
}

static void superblock_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct superblock superblock;

    if (!is_heard(ticket, superblock_event))
        return;
    drop_write(ticket);
    if (superblock_decode(&superblock, ticket->data))
        write_superblock(ticket->node, &superblock);
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
    world_in(&node->sim->world, soon(node->sim), superblock_event, NULL, ticket);
}

/* ------------------------------------------------------------------- bucket */

static void landed_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    uint8_t *copy = malloc(ticket->len);

    memcpy(copy, ticket->data, ticket->len);
    bucket_put(ctx, ticket->name, copy, ticket->len);
    ticket_free(ticket);
}

static void put_event(void *ctx, void *arg);

/* One attempt.  Whatever its answer, the bucket may have it; and maybe long after. */
static void put_attempt(struct ticket *ticket) {
    struct sim *sim = ticket->node->sim;
    bool fails = happens(sim, sim->trouble), late = fails && happens(sim, 30);
    struct ticket *effect = ticket_new(ticket->node);
    int64_t answer = soon(sim) + world_chance(&sim->world, 20);

    ticket->landed = !fails;
    strcpy(effect->name, ticket->name);
    effect->len = ticket->len;
    effect->data = malloc(ticket->len);
    memcpy(effect->data, ticket->data, ticket->len);
    if (!fails || late || happens(sim, 50))
        world_in(
            &sim->world,
            late ? 100 + world_chance(&sim->world, 3000)
                 : world_chance(&sim->world, (uint32_t)answer),
            landed_event,
            &sim->bucket,
            effect
        );
    else
        ticket_free(effect);
    world_in(&sim->world, answer, put_event, NULL, ticket);
}

static void put_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;
    struct node *node = ticket->node;

    if (!is_heard(ticket, put_event))
        return;
    if (!ticket->landed) {
        put_attempt(ticket);
        return;
    }
    volume_segment_stored(node->volume, ticket->number);
    note_stored(node);
    ticket_free(ticket);
}

static void segment_put_op(
    void *ctx,
    const struct segment_id *id,
    const void *header,
    size_t len,
    const struct batch_piece *pieces,
    uint32_t n
) {
    struct node *node = ctx;
    struct ticket *ticket = ticket_new(node);

    ticket->number = id->seq;
    segment_name(ticket->name, id);
    ticket->data = malloc(len + SEGMENT_BLOCKS_MAX * (size_t)64);
    memcpy(ticket->data, header, len);
    ticket->len = len;
    for (uint32_t i = 0; i < n; i++) {
        size_t bytes = pieces[i].n * (size_t)BLOCK;

        ticket->data = realloc(ticket->data, ticket->len + bytes);
        memcpy(
            ticket->data + ticket->len,
            node->disk.seen + 2 * (size_t)BLOCK + pieces[i].ring % node->sim->ring_len,
            bytes
        );
        ticket->len += bytes;
    }
    put_attempt(ticket);
}

static bool lease_valid(void *ctx) {
    struct node *node = ctx;

    return node->sim->world.now_ms < node->lease_until;
}

static void wake_event(void *ctx, void *arg) {
    struct ticket *ticket = arg;

    if (!is_heard(ticket, wake_event))
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

static const struct volume_ops ops = {
    .answer = answer,
    .read = read_op,
    .edges = edges_op,
    .journal_write = journal_write_op,
    .journal_sync = journal_sync_op,
    .superblock_write = superblock_op,
    .segment_put = segment_put_op,
    .lease_valid = lease_valid,
    .wake_at = wake_at,
};

/* -------------------------------------------------------------------- store */

/* The other node opens it too, while this one is about to. */
static void rival(struct node *node) {
    struct sim *sim = node->sim;
    struct node *other = &sim->nodes[node == &sim->nodes[0]];

    if (!node->opening || other->opening || other->volume || !happens(sim, 3))
        return;
    world_note(&sim->world, "%s tries as well", other->me.name);
    if (node_open(other))
        world_run(&sim->world, world_chance(&sim->world, 50));
    sim->frozen = true;
}

/* Time passes, and maybe this is where it dies. */
static int step(struct node *node, struct s3pve_error *err) {
    struct sim *sim = node->sim;

    world_run(&sim->world, 1 + world_chance(&sim->world, 12));
    rival(node);
    if (happens(sim, sim->trouble / 4))
        return error_set(err, S3PVE_E_IO, "died");
    return 0;
}

static int root_get(void *ctx, struct buf *text, char etag[ETAG_ROOM], struct s3pve_error *err) {
    struct node *node = ctx;
    struct bucket *bucket = &node->sim->bucket;

    if (step(node, err) < 0)
        return -1;
    snprintf(etag, ETAG_ROOM, "%llu", (unsigned long long)bucket->root_version);
    return buf_str(text, bucket->root);
}

static int root_put(
    void *ctx, const char *text, const char *etag, char new_etag[ETAG_ROOM], struct s3pve_error *err
) {
    struct node *node = ctx;
    struct sim *sim = node->sim;
    bool lost = happens(sim, sim->trouble), done = !lost || happens(sim, 50);

    if (step(node, err) < 0)
        return -1;
    if (done && strtoull(etag, NULL, 10) != sim->bucket.root_version)
        return error_set(err, S3PVE_E_CONFLICT, "another version");
    if (done) {
        free(sim->bucket.root);
        sim->bucket.root = strdup(text);
        sim->bucket.root_version++;
        world_note(&sim->world, "root %s", text);
    }
    snprintf(new_etag, ETAG_ROOM, "%llu", (unsigned long long)sim->bucket.root_version);
    if (step(node, err) < 0)
        return -1;
    return lost ? error_set(err, S3PVE_E_TIMEOUT, "no answer") : 0;
}

static int log_list(
    void *ctx,
    uint64_t after,
    int (*each)(void *each_ctx, const struct segment_id *id),
    void *each_ctx,
    struct s3pve_error *err
) {
    struct node *node = ctx;
    struct bucket *bucket = &node->sim->bucket;
    struct segment_id id;
    char last[SEGMENT_NAME] = "";

    /* Page by page, and things may come in between. */
    for (;;) {
        size_t i = 0;

        if (step(node, err) < 0)
            return -1;
        while (i < bucket->n_objects && strcmp(bucket->objects[i].name, last) <= 0)
            i++;
        if (i == bucket->n_objects)
            return 0;
        for (unsigned n = 0; n < 20 && i < bucket->n_objects; n++, i++) {
            strcpy(last, bucket->objects[i].name);
            if (segment_name_parse(last, &id) && id.seq > after && each(each_ctx, &id) < 0)
                return error_set(err, S3PVE_E_NOMEM, "no memory");
        }
    }
}

static int header_get(
    void *ctx, const struct segment_id *id, struct buf *header, struct s3pve_error *err
) {
    struct node *node = ctx;
    const struct sim_object *object;
    char name[SEGMENT_NAME];

    if (happens(node->sim, 10) && step(node, err) < 0)
        return -1;
    segment_name(name, id);
    object = bucket_find(&node->sim->bucket, name);
    if (!object)
        return error_set(err, S3PVE_E_NOT_FOUND, "%s", name);
    return buf_add(header, object->data, segment_header_len(object->data, object->len));
}

static int owner_lives(
    void *ctx, const char *name, const char *incarnation, bool *ret_lives, struct s3pve_error *err
) {
    struct node *node = ctx;
    struct sim *sim = node->sim;

    for (int i = 0; i < 2; i++)
        if (strcmp(sim->nodes[i].me.name, name) == 0)
            *ret_lives = strcmp(sim->nodes[i].me.incarnation, incarnation) == 0 &&
                         sim->world.now_ms < sim->nodes[i].lease_until + 15;
    return step(node, err);
}

static int superblocks_read(
    void *ctx, uint8_t blocks[2 * BLOCK], uint64_t *ret_ring_len, struct s3pve_error *err
) {
    struct node *node = ctx;

    memcpy(blocks, node->disk.seen, 2 * (size_t)BLOCK);
    *ret_ring_len = node->sim->ring_len;
    return step(node, err);
}

static int superblock_write(
    void *ctx, const struct superblock *superblock, struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    write_superblock(node, superblock);
    return step(node, err);
}

static int ring_read(void *ctx, uint64_t place, void *data, size_t len, struct s3pve_error *err) {
    struct node *node = ctx;

    must_hold(&node->sim->world, place + len <= node->sim->ring_len, "a read beyond the ring");
    memcpy(data, node->disk.seen + 2 * (size_t)BLOCK + place, len);
    return 0;
}

static int ring_write(
    void *ctx, uint64_t place, const void *data, size_t len, struct s3pve_error *err
) {
    struct node *node = ctx;

    if (step(node, err) < 0)
        return -1;
    disk_write(&node->disk, 2 * (size_t)BLOCK + place, data, len);
    return 0;
}

static int journal_set_aside(
    void *ctx, uint64_t jseq_first, uint64_t jseq_last, struct s3pve_error *err
) {
    struct node *node = ctx;

    node->sim->n_aside++;
    disk_erase(&node->disk);
    return step(node, err);
}

static uint32_t sim_random(void *ctx) {
    struct node *node = ctx;

    return world_chance(&node->sim->world, 1u << 31);
}

static const struct volume_store store = {
    .root_get = root_get,
    .root_put = root_put,
    .log_list = log_list,
    .header_get = header_get,
    .owner_lives = owner_lives,
    .superblocks_read = superblocks_read,
    .superblock_write = superblock_write,
    .ring_read = ring_read,
    .ring_write = ring_write,
    .journal_set_aside = journal_set_aside,
    .random = sim_random,
};

/* --------------------------------------------------------------------- node */

void node_init(struct node *node, struct sim *sim, const char *name) {
    *node = (struct node){.sim = sim, .lease_until = INT64_MAX / 2};
    strcpy(node->me.name, name);
    strcpy(node->me.incarnation, "boot-1");
    disk_init(&node->disk, &sim->world, sim->ring_len);
}

void node_clear(struct node *node) {
    node_kill(node);
    disk_clear(&node->disk);
}

void node_kill(struct node *node) {
    node->life++;
    while (node->writes) {
        struct ticket *ticket = node->writes;

        drop_write(ticket);
        disk_write_some(&node->disk, ticket->at, ticket->data, ticket->len);
    }
    while (node->asked)
        forget(node, node->asked);
    node->volume = volume_free(node->volume);
    root_clear(&node->root);
    node->paused = false;
    node->wake_ms = 0;
}

static void check_disk(struct node *node) {
    struct sim *sim = node->sim;
    uint64_t hashes[ORACLE_BLOCKS];
    size_t least = sim->loss == LOSS_DAEMON  ? sim->answered
                   : sim->loss == LOSS_POWER ? sim->safe
                   : sim->params.bucket      ? sim->safe
                                             : sim->stored;

    node_read_all(node, hashes);
    oracle_check(&sim->oracle, hashes, least);
    if (sim->oracle.n_writes > oracle_count(&sim->oracle, node->volume->jseq))
        sim->oracle.n_writes = oracle_count(&sim->oracle, node->volume->jseq);
    sim->answered = sim->oracle.n_writes;
    if (sim->safe > sim->answered)
        sim->safe = sim->answered;
}

/* Every row of the table counts just the blocks that the map has in its segment. */
static void count_live(void *ctx, uint64_t block, uint32_t n, place_t place) {
    uint32_t *live = ctx;

    if (place_kind(place) == PLACE_DATA)
        live[map_row(place)] += n;
}

static void check_live(struct node *node) {
    const struct table *table = &node->volume->table;
    uint32_t *live = calloc(table->n_rows + 1, sizeof(*live));

    map_each(node->volume->map, 0, ORACLE_BLOCKS, count_live, live);
    for (uint32_t i = 0; i < table->n_rows; i++)
        must_hold(
            &node->sim->world,
            live[i] == table->rows[i].live,
            "segment %llu is said to have %u blocks alive, and has %u",
            (unsigned long long)table->rows[i].id.seq,
            table->rows[i].live,
            live[i]
        );
    free(live);
}

/* A piece of the disk by the machine's own maps, without a request. */
void node_read_all(struct node *node, uint64_t hashes[ORACLE_BLOCKS]) {
    struct volume_request request = {0};
    uint8_t block[BLOCK];
    uint32_t at = 0;

    if (lookup(node->volume, &request, 0, ORACLE_BLOCKS) < 0)
        abort();
    for (uint32_t p = 0; p < request.n_pieces; p++)
        for (uint32_t i = 0; i < request.pieces[p].n; i++) {
            fetch(node, &request.pieces[p], i, block);
            hashes[at++] = oracle_hash(block);
        }
    lookup_unpin(node->volume, &request);
}

bool node_open(struct node *node) {
    struct sim *sim = node->sim;
    struct node *other = &sim->nodes[node == &sim->nodes[0]];
    struct s3pve_error err = S3PVE_ERROR_INIT;
    int rc;

    node->volume = volume_new(&sim->params, &ops, node);
    node->opening = true;
    if (sim->writer && node != sim->writer)
        sim->loss = LOSS_DISK;
    sim->frozen = true;
    rc = volume_open(node->volume, &store, node, &node->me, &node->root, node->etag, &err);
    node->opening = false;
    if (rc < 0) {
        world_note(&sim->world, "%s does not open: %s", node->me.name, err.message);
        must_hold(&sim->world, err.code != S3PVE_E_CORRUPT, "%s: %s", node->me.name, err.message);
        sim->n_refused++;
        node_kill(node);
        return false;
    }
    world_note(
        &sim->world,
        "%s opens epoch %u, tip %llu, jseq %llu",
        node->me.name,
        node->volume->epoch,
        (unsigned long long)node->volume->tip,
        (unsigned long long)node->volume->jseq
    );
    sim->n_opens++;
    must_hold(
        &sim->world,
        !other->volume || other->opening || sim->world.now_ms >= other->lease_until,
        "(I8) %s has the volume, and %s opens it",
        other->me.name,
        node->me.name
    );
    if (sim->writer && node != sim->writer)
        sim->loss = LOSS_DISK;
    check_live(node);
    check_disk(node);
    sim->writer = node;
    sim->frozen = false;
    sim->loss = LOSS_DAEMON;
    note_stored(node);
    return true;
}

/* -------------------------------------------------------------------- guest */

static void fill(struct sim *sim, struct guest_request *asked, uint32_t n) {
    asked->data = calloc(n, BLOCK);
    asked->request.sums = calloc(n, sizeof(uint32_t));
    asked->request.zero = calloc(n, sizeof(bool));
    for (uint32_t i = 0; i < n && asked->request.type == VOLUME_WRITE; i++) {
        uint64_t *words = (uint64_t *)(asked->data + (size_t)i * BLOCK);

        if (happens(sim, 90))
            for (uint32_t k = 0; k < BLOCK / 8; k += 32)
                words[k] = ++sim->next_id;
    }
}

/* Only what it covers is its own; the rest comes with the edges. */
static void cut(struct guest_request *asked, uint32_t n) {
    size_t from = asked->request.offset % BLOCK, to = from + asked->request.len;

    memset(asked->data, 0, from);
    memset(asked->data + to, 0, (size_t)n * BLOCK - to);
    for (uint32_t i = 0; i < n; i++)
        sum_block(&asked->request, i, asked->data + (size_t)i * BLOCK);
}

void node_ask(struct node *node) {
    struct sim *sim = node->sim;
    struct guest_request *asked = calloc(1, sizeof(*asked));
    struct volume_request *request = &asked->request;
    uint32_t what = world_chance(&sim->world, 100), n = 1 + world_chance(&sim->world, 6);
    uint32_t sectors = n * (BLOCK / SECTOR), first;

    request->type = what < 30   ? VOLUME_READ
                    : what < 82 ? VOLUME_WRITE
                    : what < 90 ? VOLUME_ZERO
                                : VOLUME_FLUSH;
    if (sim->plain) {
        request->type = what < 90 ? VOLUME_WRITE : VOLUME_READ;
        sectors = BLOCK / SECTOR;
    }
    request->fua = request->type == VOLUME_WRITE && happens(sim, 10);
    request->unmap = happens(sim, 50);
    if (request->type != VOLUME_FLUSH) {
        if (happens(sim, 15) && request->type != VOLUME_READ && !sim->plain)
            sectors = 1 + world_chance(&sim->world, sectors);
        first = world_chance(&sim->world, (ORACLE_BLOCKS * (BLOCK / SECTOR) - sectors));
        if (sectors % (BLOCK / SECTOR) == 0 && (sim->plain || happens(sim, 85)))
            first = first / (BLOCK / SECTOR) * (BLOCK / SECTOR);
        request->offset = (uint64_t)first * SECTOR;
        request->len = (uint64_t)sectors * SECTOR;
        n = request_blocks(request);
        fill(sim, asked, n);
        if (request->type != VOLUME_READ)
            cut(asked, n);
    }
    asked->least = counts(node) ? sim->answered : SIZE_MAX;
    asked->next = node->asked;
    node->asked = asked;
    volume_tick(node->volume, sim->world.now_ms);
    volume_submit(node->volume, request);
}
