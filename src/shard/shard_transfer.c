/* Messages to and from other members: entries read back from the log, snapshots in chunks.
 *
 * A chunk is read in the background, one at a time for each member, and sent when it is there. */
#include "shard/shard_state.h"

#include "base/assert.h"
#include "base/memory.h"
#include "log/snapshot_format.h"
#include "raft/raft_codec.h"

#include <stdio.h>
#include <stdlib.h>

static struct raft_entry *entries_of(struct shard *shard)
{
    if (shard->entries == NULL) {
        shard->entries = memory_allocate_zeroed(RAFT_MAXIMUM_APPEND_ENTRIES, sizeof(*shard->entries));
    }
    return shard->entries;
}

/* Reads entries one behind the other. Returns how many; on failure *ret_status says why. */
static uint32_t read_entries(struct shard *shard, const struct raft_message *message, struct raft_entry *entries,
                             enum status *ret_status)
{
    struct buffer *bytes = &shard->entry_bytes;
    size_t offsets[RAFT_MAXIMUM_APPEND_ENTRIES];
    uint32_t count = 0;
    while (count < message->append.available && count < RAFT_MAXIMUM_APPEND_ENTRIES &&
           (count == 0 || bytes->size < message->append.room_bytes)) {
        struct log_entry logged;
        offsets[count] = bytes->size;
        *ret_status =
            log_read(shard->log, shard->options.group, message->append.prev_index + 1 + count, bytes, &logged);
        if (*ret_status != STATUS_OK) {
            return 0;
        }
        entries[count++] = shard_entry_of(&logged);
    }
    for (uint32_t i = 0; i < count; i++) { /* the buffer may have moved while it grew */
        entries[i].payload.data = bytes->data + offsets[i];
    }
    return count;
}

/* Reads the entries that an append may carry; a large one goes alone, from where it lies. False when the log cannot be
 * read: the store has failed then. */
static bool fill_append(struct shard *shard, struct raft_message *message)
{
    struct raft_entry *entries = entries_of(shard);
    uint64_t first = message->append.prev_index + 1;
    uint32_t count = 0;
    enum status status = STATUS_OK;
    buffer_clear(&shard->entry_bytes);
    if (message->append.available > 0 && log_entry_bytes(shard->log, shard->options.group, first) > SHARD_LARGE_BYTES) {
        struct log_entry logged;
        status = log_look(shard->log, shard->options.group, first, &shard->entry_bytes, &logged);
        if (status == STATUS_OK) {
            entries[count++] = shard_entry_of(&logged);
        }
    } else {
        count = read_entries(shard, message, entries, &status);
    }
    if (status != STATUS_OK) {
        store_fail(shard->store, status, "an entry that another member needs cannot be read back");
        return false;
    }
    message->append.entries = entries;
    message->append.count = count;
    raft_append_filled(shard->raft, message);
    return true;
}

/* ---- chunks of a snapshot ---- */

struct departure {
    struct list node; /* in shard.departures */
    struct env_work work;
    struct env *env;
    struct shard *shard;         /* NULL when it has gone meanwhile */
    struct raft_message message; /* yet without its data */
    char path[SNAPSHOT_PATH_BYTES];
    struct buffer bytes;
    enum status status;
};

static void departure_run(struct env_work *work)
{
    struct departure *departure = CONTAINER_OF(work, struct departure, work);
    size_t wanted = (size_t)departure->message.snapshot.room_bytes;
    struct env_file *file = NULL;
    departure->status = env_open(departure->env, departure->path, ENV_OPEN_READ, &file);
    if (departure->status != STATUS_OK) {
        return;
    }
    size_t size = 0;
    departure->status = env_read(departure->env, file, departure->message.snapshot.offset,
                                 buffer_reserve(&departure->bytes, wanted), wanted, &size);
    if (departure->status == STATUS_OK && size != wanted) {
        departure->status = STATUS_CORRUPT;
    }
    departure->bytes.size = size;
    env_close(departure->env, file);
}

/* Returns the message's size. */
static size_t send_message(struct shard *shard, const struct raft_message *message)
{
    buffer_clear(&shard->message);
    struct slice tail = raft_message_encode_head(message, &shard->message);
    shard->sink.send(shard->owner, shard->options.group, message->to, buffer_slice(&shard->message), tail);
    return shard->message.size + tail.size;
}

static void departure_free(struct departure *departure)
{
    buffer_deinit(&departure->bytes);
    free(departure);
}

static void departure_done(struct env_work *work)
{
    struct departure *departure = CONTAINER_OF(work, struct departure, work);
    struct shard *shard = departure->shard;
    if (shard != NULL) {
        list_remove(&departure->node);
        if (!shard->store->failed && departure->status == STATUS_OK) {
            departure->message.snapshot.data = buffer_slice(&departure->bytes);
            (void)send_message(shard, &departure->message);
        } else if (!shard->store->failed) { /* most often a newer one has taken its place */
            raft_snapshot_gone(shard->raft, &departure->message.snapshot.ident);
            env_wake(shard->env);
        }
    }
    departure_free(departure);
}

static void begin_departure(struct shard *shard, const struct raft_message *message)
{
    LIST_FOR_EACH (at, &shard->departures) {
        if (CONTAINER_OF(at, struct departure, node)->message.to == message->to) {
            return; /* one is on its way: this one is as lost, and is asked for again */
        }
    }
    struct departure *departure = memory_allocate_zeroed(1, sizeof(*departure));
    departure->work = (struct env_work){.run = departure_run, .done = departure_done};
    departure->env = shard->env;
    departure->shard = shard;
    departure->message = *message;
    snapshot_format_path(shard->options.directory, shard->options.group, message->snapshot.ident.index, "",
                         departure->path);
    list_append(&shard->departures, &departure->node);
    env_work_submit(shard->env, &departure->work);
}

void shard_transfer_leave(struct shard *shard)
{
    LIST_FOR_EACH_SAFE (at, after, &shard->departures) {
        struct departure *departure = CONTAINER_OF(at, struct departure, node);
        list_remove(&departure->node);
        departure->shard = NULL; /* done sees it */
    }
    buffer_deinit(&shard->message);
    free(shard->entries);
    shard->entries = NULL;
}

/* ---- out ---- */

void shard_send_messages(struct shard *shard)
{
    struct raft_message message;
    while (!shard->store->failed && !shard->had_large && raft_take_message(shard->raft, &message)) {
        ASSERT(shard->sink.send != NULL);
        if (message.type == RAFT_APPEND && !fill_append(shard, &message)) {
            return;
        }
        if (message.type == RAFT_SNAPSHOT) {
            begin_departure(shard, &message);
        } else if (send_message(shard, &message) > SHARD_LARGE_BYTES) {
            shard->had_large = true;
            env_wake(shard->env);
        }
    }
    buffer_shrink(&shard->message, SHARD_LARGE_BYTES);
    buffer_shrink(&shard->entry_bytes, SHARD_LARGE_BYTES);
}

bool shard_beat(struct shard *shard, uint64_t now_ms)
{
    if (shard->raft == NULL || shard->sink.beat == NULL || SHARD_MUTATED(shard, NO_BEATS)) {
        return false;
    }
    bool any = false;
    struct raft_message message;
    if (shard->leading && raft_deadline(shard->raft) <= now_ms) {
        shard_tell_time(shard);
    }
    while (raft_take_beat(shard->raft, now_ms, &message)) {
        buffer_clear(&shard->message);
        raft_message_encode(&message, &shard->message);
        shard->sink.beat(shard->owner, shard->options.group, message.to, buffer_slice(&shard->message));
        any = true;
    }
    return any;
}

/* ---- in ---- */

/* True when the log lacks what it had: no crash explains that (raft_status.lost). */
static bool stop_if_lost(struct shard *shard)
{
    struct raft_status now;
    raft_status(shard->raft, &now);
    if (now.lost == 0) {
        return false;
    }
    char text[512];
    (void)snprintf(text, sizeof(text),
                   "the log of group %u in %.200s ends at entry %llu, but this node has acknowledged entry %llu: the "
                   "data folder is an older copy of itself, or its disk lost what was synced; bring back the folder as "
                   "the node left it last, or let the others serve without it",
                   shard->options.group, shard->options.directory, (unsigned long long)now.last,
                   (unsigned long long)now.lost);
    store_fail(shard->store, STATUS_CORRUPT, text);
    return true;
}

enum status shard_receive(struct shard *shard, struct slice bytes, bool overtook)
{
    if (shard->store->failed) {
        return STATUS_CLOSED;
    }
    struct raft_message message;
    enum status status = raft_message_decode(bytes, entries_of(shard), &message);
    if (status == STATUS_OK && message.type == RAFT_HEARTBEAT) {
        message.heartbeat.overtook = overtook;
    }
    if (status == STATUS_OK) {
        status = raft_step(shard->raft, &message);
    }
    if (status == STATUS_CORRUPT && stop_if_lost(shard)) {
        return STATUS_CLOSED;
    }
    shard_pump(shard); /* what arrived is borrowed until then */
    env_wake(shard->env);
    return status;
}

void shard_peer_lost(struct shard *shard, uint64_t member) { raft_peer_lost(shard->raft, member); }

void shard_peer_gone(struct shard *shard, uint64_t member) { raft_peer_gone(shard->raft, member); }
