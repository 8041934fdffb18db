/* One member among liars: whatever well-formed messages come, in whatever order, no belief of the core breaks (its
 * assertions are about itself, never about what others say). The input is a list of operations; the host behaves. */
#include "fuzz.h"
#include "raft/raft.h"

enum { MAXIMUM_ENTRIES = 6 };

struct host {
    struct raft *raft;
    uint64_t now_ms;
    uint64_t pending; /* ready not told durable yet */
    bool chunk_pending, chunk_last;
    struct raft_snapshot_ident chunk;
};

static const uint64_t members[] = {1, 2, 3};

static struct raft_configuration make_configuration(uint8_t pick)
{
    struct raft_configuration c = {0};
    size_t first = pick & 1;
    enum status status = raft_configuration_make(members + first, 2 + (first == 0), NULL, 0, &c);
    ASSERT(status == STATUS_OK);
    return c;
}

static void take_all(struct host *host, bool sync)
{
    static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
    struct raft_ready ready;
    while (raft_take_ready(host->raft, &ready)) {
        host->pending = ready.number != 0 ? ready.number : host->pending;
        if (ready.commit_changed) {
            raft_applied(host->raft, ready.commit);
        }
        if (ready.has_chunk) {
            host->chunk_pending = true;
            host->chunk_last = ready.chunk_last;
            host->chunk = ready.chunk_ident;
        }
        if (sync && host->pending != 0) {
            raft_stored(host->raft, host->pending);
            host->pending = 0;
        }
    }
    struct raft_message message;
    while (raft_take_message(host->raft, &message)) {
        if (message.type == RAFT_SNAPSHOT) {
            raft_snapshot_gone(host->raft, &message.snapshot.ident);
        }
        if (message.type != RAFT_APPEND) {
            continue;
        }
        message.append.entries = entries;
        message.append.count = message.append.available;
        for (uint32_t i = 0; i < message.append.count; i++) {
            entries[i] = (struct raft_entry){.index = message.append.prev_index + 1 + i};
            enum status status = raft_term_at(host->raft, entries[i].index, &entries[i].term);
            ASSERT(status == STATUS_OK);
        }
        raft_append_filled(host->raft, &message);
    }
}

static void answer_chunk(struct host *host, uint8_t pick)
{
    if (!host->chunk_pending) {
        return;
    }
    host->chunk_pending = false;
    if (pick % 4 == 0) {
        raft_snapshot_failed(host->raft);
    } else if (host->chunk_last) {
        struct raft_configuration c = make_configuration(pick);
        raft_snapshot_installed(host->raft, &c);
        raft_snapshot_available(host->raft, &host->chunk);
    } else {
        raft_snapshot_chunk_written(host->raft);
    }
}

static void fill_append(struct slice *from, struct raft_message *m, struct raft_entry *entries, struct buffer *payload)
{
    m->append.prev_index = fuzz_take_byte(from) % 32;
    m->append.prev_term = m->append.prev_index == 0 ? 0 : fuzz_take_byte(from) % 16;
    m->append.commit = fuzz_take_byte(from) % 40;
    m->append.count = fuzz_take_byte(from) % MAXIMUM_ENTRIES;
    m->append.entries = entries;
    uint64_t term = m->append.prev_term;
    for (uint32_t i = 0; i < m->append.count; i++) {
        uint8_t pick = fuzz_take_byte(from);
        term += pick % 4 == 0;
        entries[i] = (struct raft_entry){.index = m->append.prev_index + 1 + i, .term = term, .kind = RAFT_ENTRY_HOST};
        if (pick >= 240) {
            struct raft_configuration c = make_configuration(pick);
            buffer_clear(payload);
            raft_configuration_encode(&c, payload);
            entries[i].kind = RAFT_ENTRY_CONFIGURATION;
            entries[i].payload = buffer_slice(payload);
        }
    }
}

static void fill_snapshot(struct slice *from, struct raft_message *m)
{
    static const uint8_t bytes[64];
    struct raft_snapshot_ident ident = {
        .index = fuzz_take_byte(from) % 32, .term = fuzz_take_byte(from) % 16, .id = 1, .size_bytes = 8};
    if (m->type == RAFT_SNAPSHOT) {
        m->snapshot.ident = ident;
        m->snapshot.offset = fuzz_take_byte(from) % 9;
        m->snapshot.data = slice_of(bytes, fuzz_take_byte(from) % 9);
    } else {
        m->snapshot_reply.ident = ident;
        m->snapshot_reply.offset = fuzz_take_byte(from) % 9;
    }
}

static void fill_body(struct slice *from, struct raft_message *m, struct raft_entry *entries, struct buffer *payload)
{
    uint8_t a = fuzz_take_byte(from) % 40;
    uint8_t b = fuzz_take_byte(from) % 16;
    switch (m->type) {
    case RAFT_PRE_VOTE:
        m->pre_vote.next_term = m->term + 1;
        m->pre_vote.last_index = a;
        m->pre_vote.last_term = b;
        break;
    case RAFT_PRE_VOTE_REPLY:
        m->pre_vote_reply.next_term = b;
        m->pre_vote_reply.granted = a & 1;
        break;
    case RAFT_VOTE:
        m->vote.last_index = a;
        m->vote.last_term = b;
        m->vote.transfer = b & 1;
        break;
    case RAFT_VOTE_REPLY: m->vote_reply.granted = a & 1; break;
    case RAFT_APPEND: fill_append(from, m, entries, payload); break;
    case RAFT_APPEND_REPLY:
        m->append_reply.index = a;
        m->append_reply.rejected = b & 1;
        m->append_reply.hint_index = fuzz_take_byte(from) % 40;
        m->append_reply.hint_term = b;
        break;
    case RAFT_HEARTBEAT:
        m->heartbeat.sequence = b;
        m->heartbeat.commit = a;
        break;
    case RAFT_HEARTBEAT_REPLY:
        m->heartbeat_reply.sequence = b;
        m->heartbeat_reply.matched = a;
        m->heartbeat_reply.durable = fuzz_take_byte(from) % 40;
        break;
    case RAFT_SNAPSHOT:
    case RAFT_SNAPSHOT_REPLY: fill_snapshot(from, m); break;
    case RAFT_TIMEOUT_NOW: break;
    }
}

static void step(struct host *host, struct slice *from, uint8_t type)
{
    struct raft_status status;
    raft_status(host->raft, &status);
    uint8_t pick = fuzz_take_byte(from);
    struct raft_message m = {.type = (enum raft_message_type)(RAFT_PRE_VOTE + type % RAFT_TIMEOUT_NOW),
                             .from = 2 + (pick & 1),
                             .to = 1,
                             .term = status.term + (pick >> 1) % 3 - (status.term > 0 && pick >= 128)};
    struct raft_entry entries[MAXIMUM_ENTRIES];
    struct buffer payload;
    buffer_init(&payload);
    (void)buffer_reserve(&payload, RAFT_CONFIGURATION_MAXIMUM_BYTES);
    fill_body(from, &m, entries, &payload);
    enum status result = raft_step(host->raft, &m);
    ASSERT(result == STATUS_OK || result == STATUS_INVALID || result == STATUS_CORRUPT);
    take_all(host, pick & 2);
    buffer_deinit(&payload);
}

static void operate(struct host *host, struct slice *from)
{
    uint8_t op = fuzz_take_byte(from);
    uint64_t round;
    struct raft_entry entry = {.kind = RAFT_ENTRY_HOST};
    struct raft_configuration target = make_configuration(op);
    switch (op % 24) {
    case 0:
        host->now_ms += fuzz_take_byte(from);
        raft_tick(host->raft, host->now_ms);
        break;
    case 1: (void)!raft_propose(host->raft, &entry, 1); break;
    case 2: (void)!raft_read(host->raft, &round); break;
    case 3: (void)!raft_transfer(host->raft, 2 + (op >= 128)); break;
    case 4: (void)!raft_change(host->raft, &target); break;
    case 5: raft_peer_lost(host->raft, 2 + (op >= 128)); break;
    case 6: answer_chunk(host, op / 24); break;
    case 7: take_all(host, true); return;
    default: step(host, from, op / 2); return;
    }
    take_all(host, op >= 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct raft_options options = {
        .id = 1,
        .seed = size,
        .election_timeout_ms = 50,
        .heartbeat_ms = 10,
        .commit_notice_ms = 5,
        .append_bytes = 100,
        .inflight_messages = 2,
        .inflight_bytes = 100,
        .snapshot_chunk_bytes = 4,
        .uncommitted_entries = 20,
        .lease_reads = size & 1,
        .clock_drift_ppm = 1000,
    };
    struct raft_boot boot = {.configuration = make_configuration(0)};
    struct host host = {0};
    enum status status = raft_create(&options, &boot, &host.raft);
    ASSERT(status == STATUS_OK);
    status = raft_start(host.raft, 0);
    ASSERT(status == STATUS_OK);
    struct slice from = slice_of(data, size < 4096 ? size : 4096);
    while (from.size > 0) {
        operate(&host, &from);
    }
    raft_destroy(host.raft);
    return 0;
}
