/* The host of the consensus core: what it wants stored goes to the log, what is durable is told to it, what it has
 * committed is applied.
 *
 *   propose ─▶ ready ─▶ log (memory) ─▶ flush ─▶ durable ─▶ raft_stored ─▶ ready: commit ─▶ apply
 *
 * The log's kind byte holds the entry's kind (low four bits) and version (high four). */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/varint.h"

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
    .snapshot_chunk_bytes = 96 << 10,
    .uncommitted_entries = 4096,
    .entry_version = ENTRY_VERSION,
    .clock_drift_ppm = SHARD_CLOCK_DRIFT_PPM,
};

static uint8_t kind_byte(const struct raft_entry *entry)
{
    ASSERT(entry->kind < 16 && entry->version < 16);
    return (uint8_t)(entry->kind | entry->version << 4);
}

struct raft_entry shard_entry_of(const struct log_entry *logged)
{
    return (struct raft_entry){
        .index = logged->index,
        .term = logged->term,
        .kind = logged->kind & 15,
        .version = logged->kind >> 4,
        .payload = logged->payload,
    };
}

uint64_t shard_now_ms(const struct shard *shard) { return (uint64_t)(env_monotonic_ns(shard->env) / NS_PER_MS); }

/* ---- start ---- */

static enum status boot_entries(struct shard *shard, uint64_t first, uint64_t last)
{
    struct buffer bytes;
    buffer_init(&bytes);
    enum status status = STATUS_OK;
    for (uint64_t index = first; index <= last && status == STATUS_OK; index++) {
        struct log_entry logged;
        buffer_clear(&bytes);
        status = log_read(shard->log, shard->options.group, index, &bytes, &logged);
        if (status == STATUS_OK) {
            struct raft_entry entry = shard_entry_of(&logged);
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
    options.id = shard->options.member;
    options.lease_reads = shard->options.lease_reads;
    options.eager = shard->options.eager;
    env_random(shard->env, &options.seed, sizeof(options.seed));
    struct log_hard_state state = log_hard_state(shard->log, shard->options.group);
    struct raft_boot boot = {
        .hard_state = {state.term, state.vote, state.committed},
        .snapshot_index = shard->applied_index,
        .snapshot_term = shard->snapshot_term,
        .configuration = shard->configuration,
    };
    uint64_t last = 0;
    uint64_t last_term = 0;
    log_bounds(shard->log, shard->options.group, &boot.trimmed_index, &boot.trimmed_term, &last, &last_term);
    enum status status = raft_create(&options, &boot, &shard->raft);
    if (status == STATUS_OK) {
        status = boot_entries(shard, boot.trimmed_index + 1, last);
    }
    if (status == STATUS_OK) {
        status = raft_start(shard->raft, shard_now_ms(shard));
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
        ticket = log_append_hard_state(shard->log, shard->options.group, &state);
    }
    if (ready->store_trim) {
        ticket = log_append_trim(shard->log, shard->options.group, ready->trim_index, ready->trim_term);
    }
    for (size_t i = 0; i < ready->entry_count; i++) {
        const struct raft_entry *entry = &ready->entries[i];
        struct log_entry logged = {.index = entry->index, .term = entry->term, .kind = kind_byte(entry)};
        ticket = log_append(shard->log, shard->options.group, &logged, &entry->payload, 1);
        shard->logged_since_snapshot_bytes += entry->payload.size;
        if (entry->payload.size > SHARD_LARGE_BYTES) {
            shard->store->had_large = true;
            store_beat(shard->store);
        }
        shard->stats.replaced += entry->index <= shard->last_index ? 1 : 0;
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

static struct batch *first_sealed(struct shard *shard)
{
    return list_empty(&shard->sealed) ? NULL : CONTAINER_OF(shard->sealed.next, struct batch, node);
}

/* Batches of reads alone wait for the batches before them, and for their round and what it saw to be applied. */
static void apply_reads(struct shard *shard)
{
    struct batch *batch = shard->applying ? NULL : first_sealed(shard);
    while (batch != NULL && batch->index == 0 &&
           (batch->round == 0 || (batch->round <= shard->read_round && shard->read_index <= shard->applied_index)) &&
           shard_may_work(shard)) {
        if (!batch_apply(shard, batch)) {
            return;
        }
        batch_give_back(shard, batch);
        batch = first_sealed(shard);
    }
}

/* What is to be executed, or has been, may be large. */
static void beat_beside(struct shard *shard, size_t bytes)
{
    if (bytes > SHARD_LARGE_BYTES) {
        store_beat(shard->store);
    }
}

static enum status apply_from_log(struct shard *shard, uint64_t index)
{
    struct log_entry logged;
    buffer_clear(&shard->entry_bytes);
    enum status status = log_look(shard->log, shard->options.group, index, &shard->entry_bytes, &logged);
    if (status != STATUS_OK) {
        return status;
    }
    struct raft_entry entry = shard_entry_of(&logged);
    beat_beside(shard, entry.payload.size);
    status = entry_replay(shard, &entry);
    beat_beside(shard, entry.payload.size);
    buffer_shrink(&shard->entry_bytes, 1 << 20);
    return status;
}

/* The requests that travel in the entry at this index, NULL when it is another's. */
static struct batch *batch_for(struct shard *shard, uint64_t index)
{
    LIST_FOR_EACH (at, &shard->sealed) {
        struct batch *batch = CONTAINER_OF(at, struct batch, node);
        if (batch->index != 0) {
            ASSERT(batch->index >= index);
            return batch->index == index ? batch : NULL;
        }
    }
    return NULL;
}

/* Reads that stand before an entry of ours need no round of their own any more: it was handed to consensus after they
 * arrived, and it is committed in our term. */
static bool apply_reads_before(struct shard *shard, const struct batch *entry)
{
    struct batch *batch = first_sealed(shard);
    while (batch != entry) {
        ASSERT(batch->index == 0);
        if (!batch_apply(shard, batch)) {
            return false;
        }
        batch_give_back(shard, batch);
        batch = first_sealed(shard);
    }
    return true;
}

/* What is left of it, as far as the turn's work goes. */
static void apply_entry(struct shard *shard, uint64_t index)
{
    struct batch *orphan = NULL;
    if (!shard_settle_orphans(shard, index, &orphan)) {
        return;
    }
    struct batch *batch = batch_for(shard, index);
    if (batch != NULL) {
        ASSERT(orphan == NULL);
        if (!apply_reads_before(shard, batch)) {
            return;
        }
    } else {
        batch = orphan;
    }
    if (batch != NULL) {
        size_t bytes = batch->logged.size;
        beat_beside(shard, bytes);
        bool whole = batch_apply(shard, batch);
        beat_beside(shard, bytes);
        if (whole) {
            shard->stats.orphans_executed += batch == orphan ? 1 : 0;
            batch_give_back(shard, batch);
        }
        return;
    }
    enum status status = apply_from_log(shard, index);
    if (status != STATUS_OK && status != STATUS_AGAIN) {
        char what[160];
        (void)snprintf(what, sizeof(what), "log entry %llu in %.80s cannot be applied", (unsigned long long)index,
                       shard->options.directory);
        store_fail(shard->store, status, what);
    }
}

static void apply_committed(struct shard *shard)
{
    apply_reads(shard);
    while (shard->applied_index < shard->commit && !shard->store->failed && shard_may_work(shard)) {
        apply_entry(shard, shard->applied_index + 1);
        apply_reads(shard);
    }
    if (!shard->store->failed) {
        raft_applied(shard->raft, shard->applied_index);
    }
}

/* ---- leading ---- */

static void propose_genesis(struct shard *shard)
{
    uint64_t seed = 0;
    env_random(shard->env, &seed, sizeof(seed));
    struct entry_header header = {.time_ms = 1, .wall_ms = env_wall_ms(shard->env)};
    entry_header_put(shard->genesis, &header);
    put_u64(shard->genesis + ENTRY_HEADER_BYTES, seed);
    uint64_t index = 0;
    shard->genesis_term = shard->term;
    shard->stats.geneses++;
    if (shard_propose(shard, ENTRY_GENESIS, slice_of(shard->genesis, sizeof(shard->genesis)), &index) != STATUS_OK) {
        shard->genesis_term = 0; /* another leader will */
    }
}

/* An elected member takes requests once it has applied an entry of its own term, so that it knows every time given out
 * before, and the machine is there. */
static void begin_to_lead(struct shard *shard)
{
    struct raft_status status;
    raft_status(shard->raft, &status);
    if (!status.term_committed || shard->applied_index != status.last) {
        return;
    }
    if (shard->machine == NULL) {
        if (shard->genesis_term != shard->term) {
            propose_genesis(shard);
        }
        return;
    }
    ASSERT(list_empty(&shard->orphans)); /* an entry of this term is applied */
    shard->leading = true;
    gate_open(&shard->gate);
    shard_time_lead(shard);
    if (shard->sink.led != NULL) {
        shard->sink.led(shard->owner, shard->options.group, true, shard->leader, shard->term);
    }
}

static void role_changed(struct shard *shard, const struct raft_ready *ready)
{
    bool was_leading = shard->leading;
    shard->elected = ready->role == RAFT_LEADER;
    shard->leader = ready->leader;
    if (!shard->elected || ready->term != shard->term) {
        shard->leading = false;
        shard_return_waiting(shard);
    }
    shard->term = ready->term;
    if (shard->sink.led != NULL && (was_leading || !shard->elected)) {
        shard->sink.led(shard->owner, shard->options.group, shard->leading, shard->leader, shard->term);
    }
}

static void act_on(struct shard *shard, const struct raft_ready *ready)
{
    store(shard, ready);
    if (ready->role_changed) {
        role_changed(shard, ready);
    }
    if (ready->commit_changed) {
        shard->commit = ready->commit;
    }
    if (ready->reads_confirmed) {
        shard->read_round = ready->read_round;
        shard->read_index = ready->read_index;
    }
    if (ready->leader_time_heard) {
        shard_time_heard(shard, &ready->leader_time, ready->term);
    }
    if (ready->has_chunk) {
        shard_take_chunk(shard, ready);
    }
    if (ready->snapshot_wanted && shard->machine != NULL && shard->snapshot == NULL &&
        shard_snapshot(shard) != STATUS_OK) {
        return; /* noted there; wanted again later */
    }
}

static bool step(struct shard *shard)
{
    struct raft_ready ready;
    if (shard->store->failed || !raft_take_ready(shard->raft, &ready)) {
        return false;
    }
    act_on(shard, &ready);
    return !shard->store->failed;
}

void shard_pump(struct shard *shard)
{
    while (step(shard)) {
    }
    if (!shard->store->failed) {
        shard_send_messages(shard);
    }
}

bool shard_must_apply(const struct shard *shard) { return shard->applied_index < shard->commit; }

void shard_apply(struct shard *shard)
{
    bool again = true;
    shard->behind = false;
    if (shard_must_apply(shard) && !shard->store->failed) {
        apply_committed(shard);
    }
    while (again && !shard->store->failed) {
        while (step(shard)) {
            apply_committed(shard);
        }
        again = false;
        if (shard->elected && !shard->leading && !shard->store->failed) {
            uint64_t before = shard->genesis_term;
            begin_to_lead(shard);
            again = before != shard->genesis_term;
        }
    }
    if (!shard->store->failed) {
        apply_reads(shard);
        shard_send_messages(shard);
    }
}

void shard_tell_time(struct shard *shard)
{
    if (shard->leading && !shard->lone) {
        struct raft_time time;
        shard_time_now(shard, &time.time_ms, &time.wall_ms);
        raft_set_time(shard->raft, time);
    }
}

void shard_tick(struct shard *shard)
{
    raft_tick(shard->raft, shard_now_ms(shard));
    shard_tell_time(shard);
}

enum status shard_propose(struct shard *shard, enum entry_kind kind, struct slice payload, uint64_t *ret_index)
{
    struct raft_entry entry = {.kind = (uint8_t)kind, .version = ENTRY_VERSION, .payload = payload};
    enum status status = raft_propose(shard->raft, &entry, 1);
    if (status == STATUS_OK) {
        *ret_index = entry.index;
    }
    return status;
}
