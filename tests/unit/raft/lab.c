#include "tests/unit/raft/lab.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>

/* ---- life ---- */

void lab_init(struct lab *lab) { memset(lab, 0, sizeof *lab); }

static void node_forget(struct lab_node *node)
{
    raft_destroy(node->raft);
    node->raft = NULL;
    for (size_t i = 0; i < node->op_count; i++) {
        if (node->ops[i].kind == LAB_OP_ENTRY) {
            lab_bytes_release(node->ops[i].entry.payload);
        }
    }
    node->op_count = 0;
    lab_bytes_release(node->configuration);
    node->configuration = NULL;
    node->read_count = 0;
    node->installing = false;
    node->incoming_size = 0;
    node->old_file.ident.index = 0;
}

void lab_deinit(struct lab *lab)
{
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        struct lab_node *node = &lab->nodes[id];
        node_forget(node);
        lab_log_drop_from(&node->stable, 0);
        lab_log_drop_from(&node->latest, 0);
        free(node->stable.entries);
        free(node->latest.entries);
        free(node->ops);
    }
    while (lab->packet_count > 0) {
        lab_drop(lab, lab->packet_count - 1);
    }
    free(lab->packets);
    lab_oracle_deinit(lab);
}

struct raft_options lab_options(uint64_t id, uint64_t seed)
{
    return (struct raft_options){
        .id = id,
        .seed = seed * 31 + id,
        .election_timeout_ms = 100,
        .heartbeat_ms = 20,
        .commit_notice_ms = 5,
        .append_bytes = 64,
        .inflight_messages = 4,
        .inflight_bytes = 256,
        .snapshot_chunk_bytes = 40,
        .uncommitted_entries = 200,
        .clock_drift_ppm = 100000,
        .entry_version = 1,
    };
}

static void boot_state(struct lab_node *node, struct raft_boot *boot)
{
    *boot = (struct raft_boot){
        .hard_state = node->stable.hard_state,
        .configuration = node->first,
        .trimmed_index = node->stable.trimmed,
        .trimmed_term = node->stable.trimmed_term,
    };
    node->applied = 0;
    node->state = 0;
    if (node->file.ident.index != 0) {
        struct slice configuration;
        bool good = lab_file_read(&node->file, &node->state, &configuration);
        ASSERT(good);
        enum status status = raft_configuration_decode(configuration, &boot->configuration);
        ASSERT(status == STATUS_OK);
        boot->snapshot_index = node->file.ident.index;
        boot->snapshot_term = node->file.ident.term;
        node->applied = node->file.ident.index;
        node->configuration = lab_bytes_make(configuration.data, configuration.size);
    }
    node->told_commit = node->applied;
}

void lab_restart(struct lab *lab, uint64_t id)
{
    struct lab_node *node = &lab->nodes[id];
    ASSERT(node->exists && node->raft == NULL);
    lab_log_copy(&node->latest, &node->stable);
    struct raft_boot boot;
    boot_state(node, &boot);
    enum status status = raft_create(&node->options, &boot, &node->raft);
    for (size_t i = 0; i < node->stable.count && status == STATUS_OK; i++) {
        const struct lab_entry *e = &node->stable.entries[i];
        struct raft_entry entry = {e->index, e->term, e->kind, e->version,
                                   slice_of(e->payload->data, e->payload->size)};
        status = raft_boot_entry(node->raft, &entry);
    }
    status = status == STATUS_OK ? raft_start(node->raft, lab_now(node)) : status;
    if (status != STATUS_OK) {
        lab_fail(lab, "%d does not boot: %s", (int)id, status_text(status));
        raft_destroy(node->raft);
        node->raft = NULL;
        return;
    }
#ifdef COHORT_MUTATIONS
    raft_mutate(node->raft, lab->mutation);
#endif
    if (node->file.ident.index != 0) {
        raft_snapshot_available(node->raft, &node->file.ident);
    }
    node->seen_role = RAFT_FOLLOWER;
    node->received_since_quiet = 0;
    node->ticked_ms = lab_now(node);
    node->contact_ms = node->awake_ms;
    node->led_ms = 0;
    lab_oracle_status(lab, node);
    lab_turn(lab, id);
}

void lab_add(struct lab *lab, const struct raft_options *options, const struct raft_configuration *first)
{
    ASSERT(options->id >= 1 && options->id <= LAB_NODES);
    struct lab_node *node = &lab->nodes[options->id];
    ASSERT(!node->exists);
    node->exists = true;
    node->id = options->id;
    node->options = *options;
    node->clock_rate = 1;
    node->clock_ms = 1000;
    if (first != NULL) {
        node->first = *first;
    }
    lab_restart(lab, node->id);
}

void lab_crash(struct lab *lab, uint64_t id, size_t keep)
{
    struct lab_node *node = &lab->nodes[id];
    ASSERT(node->raft != NULL && keep <= node->op_count);
    (void)lab_ops_settle(node, keep);
    if (lab->trace != NULL && lab->trace_packets) {
        buffer_append_format(lab->trace, "%d: crash, losing %d operations\n", (int)id, (int)node->op_count);
    }
    lab->marks.crashes++;
    lab->marks.lost_ops += node->op_count;
    node_forget(node);
}

/* ---- what the core wants ---- */

static void store(struct lab *lab, struct lab_node *node, const struct raft_ready *ready)
{
    struct lab_op op = {.kind = LAB_OP_HARD_STATE, .hard_state = ready->hard_state};
    if (ready->store_hard_state) {
        lab_op_push(node, &op);
    }
    if (ready->store_trim) {
        op = (struct lab_op){.kind = ready->trim_all ? LAB_OP_TRIM_ALL : LAB_OP_TRIM,
                             .entry = {.index = ready->trim_index, .term = ready->trim_term}};
        lab_op_push(node, &op);
    }
    for (size_t i = 0; i < ready->entry_count; i++) {
        const struct raft_entry *e = &ready->entries[i];
        lab->marks.truncations += i == 0 && e->index <= lab_last(&node->latest);
        op = (struct lab_op){
            .kind = LAB_OP_ENTRY,
            .entry = {e->index, e->term, e->kind, e->version, lab_bytes_make(e->payload.data, e->payload.size)}};
        lab_op_push(node, &op);
        lab_oracle_appended(lab, node, &op.entry);
    }
    op = (struct lab_op){.kind = LAB_OP_END, .number = ready->number};
    lab_op_push(node, &op);
}

static void take_chunk(struct lab *lab, struct lab_node *node, const struct raft_ready *ready)
{
    struct lab_file *file = &node->incoming;
    if (ready->chunk_offset == 0) {
        file->ident = ready->chunk_ident;
        node->incoming_size = 0;
    }
    ASSERT(ready->chunk_offset == node->incoming_size && ready->chunk_ident.size_bytes <= LAB_FILE_BYTES);
    memcpy(file->bytes + node->incoming_size, ready->chunk_data.data, ready->chunk_data.size);
    node->incoming_size += ready->chunk_data.size;
    if (!ready->chunk_last) {
        raft_snapshot_chunk_written(node->raft);
        return;
    }
    node->installing = true;
    if (!lab->lazy_install) {
        lab_install(lab, node->id, true);
    }
}

void lab_install(struct lab *lab, uint64_t id, bool succeeds)
{
    struct lab_node *node = &lab->nodes[id];
    ASSERT(node->installing);
    node->installing = false;
    uint64_t state;
    struct slice bytes;
    if (!succeeds || !lab_file_read(&node->incoming, &state, &bytes)) {
        raft_snapshot_failed(node->raft);
        return;
    }
    struct raft_configuration configuration;
    enum status status = raft_configuration_decode(bytes, &configuration);
    ASSERT(status == STATUS_OK);
    node->file = node->incoming;
    node->old_file.ident.index = 0;
    node->applied = node->file.ident.index;
    node->told_commit = node->applied;
    node->state = state;
    lab_bytes_release(node->configuration);
    node->configuration = lab_bytes_make(bytes.data, bytes.size);
    raft_snapshot_installed(node->raft, &configuration);
    raft_snapshot_available(node->raft, &node->file.ident);
    lab->marks.installs++;
    if (node->applied < lab->oracle.capacity && lab->oracle.indexes[node->applied].has_state &&
        lab->oracle.indexes[node->applied].state != state) {
        lab_fail(lab, "%d installed another state at %d", (int)id, (int)node->applied);
    }
    if (lab->trace != NULL) {
        buffer_append_format(lab->trace, "%d: snapshot installed, applied %d\n", (int)id, (int)node->applied);
    }
}

void lab_apply(struct lab *lab, uint64_t id, uint64_t limit)
{
    struct lab_node *node = &lab->nodes[id];
    while (node->applied < node->told_commit && limit-- > 0) {
        const struct lab_entry *entry = lab_entry(&node->latest, node->applied + 1);
        if (entry == NULL) {
            lab_fail(lab, "%d has a gap: nothing to apply at %d", (int)id, (int)node->applied + 1);
            return;
        }
        node->applied++;
        node->state = hash_bytes(node->state, &(uint64_t){lab_hash_entry(entry)}, sizeof(uint64_t));
        if (entry->kind == RAFT_ENTRY_CONFIGURATION) {
            lab_bytes_release(node->configuration);
            node->configuration = lab_bytes_share(entry->payload);
            lab->marks.changes++;
        }
        lab_oracle_applied(lab, node, entry);
    }
    raft_applied(node->raft, node->applied);
}

static void finish_reads(struct lab *lab, struct lab_node *node, const struct raft_ready *ready)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->read_count; i++) {
        struct lab_read *read = &node->reads[i];
        bool confirmed = ready->reads_confirmed && read->round <= ready->read_round;
        if (confirmed) {
            lab->marks.reads++;
            if (ready->read_index < read->must_see) {
                lab_fail(lab, "stale read at %d: sees %d, but %d was answered before", (int)node->id,
                         (int)ready->read_index, (int)read->must_see);
            }
            if (ready->read_index > lab->oracle.observed) {
                lab->oracle.observed = ready->read_index;
            }
            if (lab->trace != NULL) {
                buffer_append_format(lab->trace, "%d: read %d sees %d\n", (int)node->id, (int)read->tag,
                                     (int)ready->read_index);
            }
        } else if (ready->role_changed) {
            if (lab->trace != NULL) {
                buffer_append_format(lab->trace, "%d: read %d void\n", (int)node->id, (int)read->tag);
            }
        } else {
            node->reads[kept++] = *read;
        }
    }
    node->read_count = kept;
}

static const char *const role_names[] = {"follower", "pre-candidate", "candidate", "leader"};

static void act(struct lab *lab, struct lab_node *node, const struct raft_ready *ready)
{
    if (ready->number != 0) {
        store(lab, node, ready);
    }
    if (lab->trace != NULL && ready->role_changed) {
        buffer_append_format(lab->trace, "%d: %s in term %d", (int)node->id, role_names[ready->role], (int)ready->term);
        if (ready->role == RAFT_FOLLOWER && ready->leader != 0) {
            buffer_append_format(lab->trace, " of %d", (int)ready->leader);
        }
        buffer_append_string(lab->trace, "\n");
    }
    if (ready->leader_time_heard) {
        node->leader_time = ready->leader_time;
    }
    if (ready->commit_changed) {
        node->told_commit = ready->commit;
        lab_oracle_committed(lab, node, ready->commit);
        if (lab->trace != NULL) {
            buffer_append_format(lab->trace, "%d: commit %d\n", (int)node->id, (int)ready->commit);
        }
    }
    finish_reads(lab, node, ready);
    if (ready->has_chunk) {
        take_chunk(lab, node, ready);
    }
    if (!lab->lazy_apply && !lab->failed) {
        lab_apply(lab, node->id, UINT64_MAX);
    }
}

/* The host's part of an append: entries from the log, until the room is used. */
static void fill_append(struct lab *lab, struct lab_node *node, struct raft_message *message,
                        struct raft_entry *entries)
{
    uint64_t bytes = 0;
    uint32_t count = 0;
    while (count < message->append.available && (count == 0 || bytes < message->append.room_bytes)) {
        const struct lab_entry *e = lab_entry(&node->latest, message->append.prev_index + 1 + count);
        ASSERT(e != NULL);
        entries[count++] =
            (struct raft_entry){e->index, e->term, e->kind, e->version, slice_of(e->payload->data, e->payload->size)};
        bytes += e->payload->size;
    }
    message->append.entries = entries;
    message->append.count = count;
    raft_append_filled(node->raft, message);
}

static bool fill_snapshot(struct lab *lab, struct lab_node *node, struct raft_message *message)
{
    const struct lab_file *file = node->file.ident.id == message->snapshot.ident.id ? &node->file : &node->old_file;
    if (file->ident.index == 0 || file->ident.id != message->snapshot.ident.id) {
        raft_snapshot_gone(node->raft, &message->snapshot.ident);
        return false;
    }
    message->snapshot.data = slice_of(file->bytes + message->snapshot.offset, message->snapshot.room_bytes);
    lab->marks.resumed_chunks += message->snapshot.offset > 0;
    return true;
}

static void fly(struct lab *lab, const struct raft_message *message)
{
    if (lab->cut[message->from][message->to]) {
        return;
    }
    struct buffer out;
    buffer_init(&out);
    raft_message_encode(message, &out);
    if (lab->packet_count == lab->packet_capacity) {
        lab->packet_capacity = lab->packet_capacity == 0 ? 64 : lab->packet_capacity * 2;
        lab->packets = realloc(lab->packets, lab->packet_capacity * sizeof *lab->packets);
        ASSERT(lab->packets != NULL);
    }
    lab->packets[lab->packet_count++] =
        (struct lab_packet){message->from, message->to, message->type, lab_bytes_make(out.data, out.size)};
    buffer_deinit(&out);
}

void lab_turn(struct lab *lab, uint64_t id)
{
    struct lab_node *node = &lab->nodes[id];
    if (node->raft == NULL || lab->failed) {
        return;
    }
    struct raft_ready ready;
    bool snapshot_wanted = false;
    while (!lab->failed && raft_take_ready(node->raft, &ready)) {
        act(lab, node, &ready);
        lab_oracle_status(lab, node);
        snapshot_wanted = snapshot_wanted || ready.snapshot_wanted;
    }
    if (snapshot_wanted && !lab->failed) {
        lab_snapshot(lab, id, 0); /* takes a turn of its own */
    }
    struct raft_message message;
    static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
    while (!lab->failed && raft_take_message(node->raft, &message)) {
        if (message.type == RAFT_APPEND) {
            fill_append(lab, node, &message, entries);
        } else if (message.type == RAFT_SNAPSHOT && !fill_snapshot(lab, node, &message)) {
            continue;
        }
        lab_oracle_sent(lab, node, &message);
        fly(lab, &message);
    }
}

/* ---- what happens to it ---- */

uint64_t lab_now(const struct lab_node *node) { return (uint64_t)node->clock_ms; }

/* The host has a turn. */
static void tick_now(struct lab *lab, struct lab_node *node)
{
    uint64_t passed_ms = lab_now(node) - node->ticked_ms;
    node->awake_ms +=
        passed_ms > node->options.election_timeout_ms / 4 ? node->options.election_timeout_ms / 8 : passed_ms;
    node->ticked_ms = lab_now(node);
    raft_set_time(node->raft, (struct raft_time){(int64_t)node->clock_ms, (int64_t)node->clock_ms + 1});
    raft_tick(node->raft, lab_now(node));
    lab_turn(lab, node->id);
    lab_oracle_alone(lab, node);
}

void lab_tick(struct lab *lab, uint64_t id, double real_ms)
{
    struct lab_node *node = &lab->nodes[id];
    double left_ms = real_ms * node->clock_rate;
    double step_ms = (double)(node->options.election_timeout_ms / LAB_LISTENS);
    if (node->raft == NULL || node->paused) {
        node->clock_ms += left_ms;
        return;
    }
    do {
        double passed_ms = left_ms < step_ms ? left_ms : step_ms;
        node->clock_ms += passed_ms;
        left_ms -= passed_ms;
        tick_now(lab, node);
    } while (left_ms > 0 && !lab->failed);
}

void lab_beat(struct lab *lab, uint64_t id)
{
    struct lab_node *node = &lab->nodes[id];
    struct raft_message message;
    while (node->raft != NULL && !lab->failed && raft_take_beat(node->raft, lab_now(node), &message)) {
        lab_oracle_sent(lab, node, &message);
        fly(lab, &message);
    }
}

void lab_sync(struct lab *lab, uint64_t id, size_t ops)
{
    struct lab_node *node = &lab->nodes[id];
    ASSERT(node->raft != NULL && ops <= node->op_count);
    uint64_t number = lab_ops_settle(node, ops);
    if (number != 0) {
        raft_stored(node->raft, number);
        lab_turn(lab, id);
    }
}

void lab_drop(struct lab *lab, size_t at)
{
    ASSERT(at < lab->packet_count);
    lab_bytes_release(lab->packets[at].bytes);
    memmove(&lab->packets[at], &lab->packets[at + 1], (lab->packet_count - at - 1) * sizeof *lab->packets);
    lab->packet_count--;
}

void lab_duplicate(struct lab *lab, size_t at)
{
    ASSERT(at < lab->packet_count);
    struct lab_packet copy = lab->packets[at];
    if (lab->packet_count == lab->packet_capacity) {
        return;
    }
    lab_bytes_share(copy.bytes);
    lab->packets[lab->packet_count++] = copy;
}

void lab_deliver(struct lab *lab, size_t at)
{
    struct lab_packet packet = lab->packets[at];
    lab_bytes_share(packet.bytes);
    lab_drop(lab, at);
    struct lab_node *node = &lab->nodes[packet.to];
    struct raft_message message;
    static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
    if (node->raft != NULL) {
        enum status status = raft_message_decode(slice_of(packet.bytes->data, packet.bytes->size), entries, &message);
        ASSERT(status == STATUS_OK);
        node->received_since_quiet++;
        node->contact_ms = node->awake_ms;
        if (lab->trace != NULL && lab->trace_packets) {
            lab_describe(&message, lab->trace);
            buffer_append_string(lab->trace, "\n");
        }
        lab->marks.rejects += message.type == RAFT_APPEND_REPLY && message.append_reply.rejected;
        lab->marks.transfers += message.type == RAFT_TIMEOUT_NOW;
        status = raft_step(node->raft, &message);
        if (status != STATUS_OK) {
            lab_fail(lab, "%d refuses a %s of %d: %s", (int)packet.to, lab_type_name(packet.type), (int)packet.from,
                     status_text(status));
        }
        lab_oracle_led(node, &message);
        lab_turn(lab, packet.to);
    }
    lab_bytes_release(packet.bytes);
}

enum status lab_propose(struct lab *lab, uint64_t id, const char *text)
{
    struct lab_node *node = &lab->nodes[id];
    struct raft_entry entry = {.kind = RAFT_ENTRY_HOST, .version = 1, .payload = slice_from_string(text)};
    enum status status = raft_propose(node->raft, &entry, 1);
    lab->proposals += status == STATUS_OK;
    lab_turn(lab, id);
    return status;
}

enum status lab_read(struct lab *lab, uint64_t id)
{
    struct lab_node *node = &lab->nodes[id];
    if (node->read_count == LAB_READS) {
        return STATUS_FULL;
    }
    struct lab_read *read = &node->reads[node->read_count];
    enum status status = raft_read(node->raft, &read->round);
    if (status == STATUS_OK) {
        read->must_see = lab->oracle.observed;
        read->tag = ++lab->read_tags;
        node->read_count++;
    }
    lab_turn(lab, id);
    return status;
}

enum status lab_lease_read(struct lab *lab, uint64_t id, uint64_t *ret_index)
{
    struct lab_node *node = &lab->nodes[id];
    uint64_t until_ms;
    enum status status = raft_lease(node->raft, ret_index, &until_ms);
    if (status == STATUS_OK && lab_now(node) >= until_ms) {
        return STATUS_AGAIN;
    }
    if (status == STATUS_OK) {
        lab->marks.lease_reads++;
        if (*ret_index < lab->oracle.observed) {
            lab_fail(lab, "stale lease read at %d: sees %d, but %d was answered before", (int)id, (int)*ret_index,
                     (int)lab->oracle.observed);
        }
    }
    return status;
}

void lab_snapshot(struct lab *lab, uint64_t id, uint64_t tail)
{
    struct lab_node *node = &lab->nodes[id];
    if (node->applied <= node->file.ident.index || node->installing) {
        return;
    }
    uint64_t term;
    enum status status = raft_term_at(node->raft, node->applied, &term);
    ASSERT(status == STATUS_OK);
    struct buffer first;
    buffer_init(&first);
    raft_configuration_encode(&node->first, &first);
    struct slice configuration = node->configuration != NULL
                                     ? slice_of(node->configuration->data, node->configuration->size)
                                     : buffer_slice(&first);
    if (!raft_snapshot_in_use(node->raft, &node->old_file.ident) || node->old_file.ident.index == 0) {
        node->old_file = node->file;
    }
    lab_file_make(&node->file, node->applied, term, id, node->state, configuration);
    buffer_deinit(&first);
    raft_snapshot_available(node->raft, &node->file.ident);
    raft_compact(node->raft, node->applied > tail ? node->applied - tail : 0);
    lab->marks.compactions++;
    lab_turn(lab, id);
}

uint64_t lab_leader(const struct lab *lab)
{
    uint64_t best = 0, best_term = 0;
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (lab->nodes[id].raft == NULL || lab->nodes[id].paused) {
            continue;
        }
        struct raft_status status;
        raft_status(lab->nodes[id].raft, &status);
        if (status.role == RAFT_LEADER && status.term > best_term) {
            best = id;
            best_term = status.term;
        }
    }
    return best;
}
