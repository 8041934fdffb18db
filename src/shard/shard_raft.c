/* The host of the consensus core: what it wants stored goes to the log, what is durable is told to it, what it has
 * committed is applied.
 *
 *   propose ─▶ ready ─▶ log (memory) ─▶ flush ─▶ durable ─▶ raft_stored ─▶ ready: commit ─▶ apply
 *
 * The log's kind byte holds the entry's kind (low four bits) and version (high four). */
#include "shard/shard_state.h"

#include "base/assert.h"

#include <stdio.h>

enum { NS_PER_MS = 1000000 };

/* Timeouts after the dissertation's advice: an election timeout well above a round trip and a sync. */
static const struct raft_options standard_options = {
    .election_timeout_ms = 500,
    .heartbeat_ms = 100,
    .commit_notice_ms = 5,
    .append_bytes = 1 << 20,
    .inflight_messages = 32,
    .inflight_bytes = 16 << 20,
    .snapshot_chunk_bytes = 256 << 10,
    .uncommitted_entries = 4096,
    .entry_version = ENTRY_VERSION,
};

static uint8_t kind_byte(const struct raft_entry *entry)
{
    ASSERT(entry->kind < 16 && entry->version < 16);
    return (uint8_t)(entry->kind | entry->version << 4);
}

static struct raft_entry entry_of(const struct log_entry *logged)
{
    return (struct raft_entry){
        .index = logged->index,
        .term = logged->term,
        .kind = logged->kind & 15,
        .version = logged->kind >> 4,
        .payload = logged->payload,
    };
}

static uint64_t now_ms(const struct shard *shard) { return (uint64_t)(env_monotonic_ns(shard->env) / NS_PER_MS); }

/* ---- start ---- */

static enum status boot_entries(struct shard *shard, uint64_t first, uint64_t last)
{
    struct buffer bytes;
    buffer_init(&bytes);
    enum status status = STATUS_OK;
    for (uint64_t index = first; index <= last && status == STATUS_OK; index++) {
        struct log_entry logged;
        buffer_clear(&bytes);
        status = log_read(shard->log, SHARD_GROUP, index, &bytes, &logged);
        if (status == STATUS_OK) {
            struct raft_entry entry = entry_of(&logged);
            shard->logged_since_snapshot_bytes += index > shard->applied_index ? logged.payload.size : 0;
            status = raft_boot_entry(shard->raft, &entry);
        }
    }
    buffer_deinit(&bytes);
    return status;
}

enum status shard_raft_open(struct shard *shard)
{
    struct raft_options options = standard_options;
    options.id = SHARD_MEMBER;
    env_random(shard->env, &options.seed, sizeof(options.seed));
    struct log_hard_state state = log_hard_state(shard->log, SHARD_GROUP);
    struct raft_boot boot = {
        .hard_state = {state.term, state.vote, state.committed},
        .snapshot_index = shard->applied_index,
        .snapshot_term = shard->snapshot_term,
        .configuration = shard->configuration,
    };
    uint64_t last = 0;
    uint64_t last_term = 0;
    log_bounds(shard->log, SHARD_GROUP, &boot.trimmed_index, &boot.trimmed_term, &last, &last_term);
    enum status status = raft_create(&options, &boot, &shard->raft);
    if (status == STATUS_OK) {
        status = boot_entries(shard, boot.trimmed_index + 1, last);
    }
    if (status == STATUS_OK) {
        status = raft_start(shard->raft, now_ms(shard));
    }
    if (status == STATUS_OK && shard->applied_index != 0) {
        shard_snapshot_announce(shard);
    }
    return status;
}

/* ---- storing ---- */

/* A ready is durable when the log's ticket for the last of it is. */
static void remember_ready(struct shard *shard, uint64_t number, uint64_t ticket)
{
    struct stored_ready ready = {number, ticket};
    buffer_append(&shard->storing, &ready, sizeof(ready));
}

static void store(struct shard *shard, const struct raft_ready *ready)
{
    uint64_t ticket = 0;
    if (ready->store_hard_state) {
        struct log_hard_state state = {ready->hard_state.term, ready->hard_state.vote, ready->hard_state.commit};
        ticket = log_append_hard_state(shard->log, SHARD_GROUP, &state);
    }
    if (ready->store_trim) {
        ticket = log_append_trim(shard->log, SHARD_GROUP, ready->trim_index, ready->trim_term);
    }
    for (size_t i = 0; i < ready->entry_count; i++) {
        const struct raft_entry *entry = &ready->entries[i];
        struct log_entry logged = {.index = entry->index, .term = entry->term, .kind = kind_byte(entry)};
        ticket = log_append(shard->log, SHARD_GROUP, &logged, &entry->payload, 1);
        shard->logged_since_snapshot_bytes += entry->payload.size;
        shard->last_index = entry->index;
    }
    if (ready->number != 0) {
        remember_ready(shard, ready->number, ticket);
    }
}

void shard_stored(struct shard *shard, uint64_t ticket)
{
    uint64_t number = 0;
    size_t done = 0;
    while (done < shard->storing.size) {
        struct stored_ready ready;
        memcpy(&ready, shard->storing.data + done, sizeof(ready));
        if (ready.ticket > ticket) {
            break;
        }
        number = ready.number;
        done += sizeof(ready);
    }
    buffer_consume(&shard->storing, done);
    if (number != 0) {
        raft_stored(shard->raft, number);
    }
}

/* ---- applying ---- */

/* The requests of this shard that travel in the next entry to apply; NULL when it is somebody else's, or none. */
static struct batch *own_batch(struct shard *shard, uint64_t index)
{
    if (list_empty(&shard->sealed)) {
        return NULL;
    }
    struct batch *batch = CONTAINER_OF(shard->sealed.next, struct batch, node);
    return batch->index == index ? batch : NULL;
}

/* Batches of reads alone wait for the batches before them only. */
static void apply_reads(struct shard *shard)
{
    while (!list_empty(&shard->sealed)) {
        struct batch *batch = CONTAINER_OF(shard->sealed.next, struct batch, node);
        if (batch->index != 0) {
            return;
        }
        batch_apply(shard, batch);
        batch_give_back(shard, batch);
    }
}

static enum status apply_from_log(struct shard *shard, uint64_t index)
{
    struct log_entry logged;
    buffer_clear(&shard->entry_bytes);
    enum status status = log_read(shard->log, SHARD_GROUP, index, &shard->entry_bytes, &logged);
    if (status != STATUS_OK) {
        return status;
    }
    struct raft_entry entry = entry_of(&logged);
    status = entry_replay(shard, &entry);
    buffer_shrink(&shard->entry_bytes, 1 << 20);
    return status;
}

static void apply_committed(struct shard *shard)
{
    apply_reads(shard);
    while (shard->applied_index < shard->commit && !shard->failed) {
        uint64_t index = shard->applied_index + 1;
        struct batch *batch = own_batch(shard, index);
        if (batch != NULL) {
            batch_apply(shard, batch);
            batch_give_back(shard, batch);
        } else {
            enum status status = apply_from_log(shard, index);
            if (status != STATUS_OK) {
                char what[160];
                (void)snprintf(what, sizeof(what), "log entry %llu in %.80s cannot be applied",
                               (unsigned long long)index, shard->options.directory);
                shard_fail(shard, status, what);
                return;
            }
        }
        apply_reads(shard);
    }
    raft_applied(shard->raft, shard->applied_index);
}

void shard_pump(struct shard *shard)
{
    struct raft_ready ready;
    while (!shard->failed && raft_take_ready(shard->raft, &ready)) {
        store(shard, &ready);
        if (ready.commit_changed) {
            shard->commit = ready.commit;
        }
        if (ready.role_changed) {
            shard->leading = ready.role == RAFT_LEADER;
            shard->term = ready.term;
        }
        apply_committed(shard);
    }
    struct raft_message message;
    while (raft_take_message(shard->raft, &message)) {
        UNREACHABLE(); /* a lone voter has nobody to talk to */
    }
    if (!shard->failed) {
        apply_committed(shard);
    }
}

void shard_tick(struct shard *shard) { raft_tick(shard->raft, now_ms(shard)); }

enum status shard_propose(struct shard *shard, enum entry_kind kind, struct slice payload, uint64_t *ret_index)
{
    struct raft_entry entry = {.kind = (uint8_t)kind, .version = ENTRY_VERSION, .payload = payload};
    enum status status = raft_propose(shard->raft, &entry, 1);
    if (status == STATUS_OK) {
        *ret_index = entry.index;
    }
    return status;
}
