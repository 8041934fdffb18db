/* What becomes of requests when leadership goes.
 *
 * Not handed to consensus yet, and reads behind the last entry: definitely not executed, returned at once. In an entry:
 * orphans, which wait until their entry is committed, or another in its place, or before it one of a later term: then
 * they were executed, or never will be. (That the entry is gone from this member's log proves nothing: another member
 * may still have it and bring it back.) Only a snapshot that skips the place leaves it unknown.
 *
 * Reads alone that stand before an entry share its fate: read again later, they would see what came behind them. (If it
 * is committed they may be read just before it: it was handed to consensus after they arrived, so nothing behind it was
 * acknowledged before.) */
#include "shard/shard_state.h"

#include "base/assert.h"

/* Gives each request of one kind, or of both, to the sink. */
static void return_requests(struct shard *shard, struct batch *batch)
{
    size_t logged_at = ENTRY_HEADER_BYTES + batch->done.logged_bytes;
    size_t reads_at = batch->done.read_bytes; /* reads before it have their replies */
    struct slice logged = slice_of(batch->logged.data + logged_at, batch->logged.size - logged_at);
    struct slice reads = slice_of(batch->reads.data + reads_at, batch->reads.size - reads_at);
    ASSERT(batch->request_count == 0 || shard->sink.returned != NULL);
    for (size_t i = batch->done.requests; i < batch->request_count; i++) {
        const struct request *request = &batch->requests[i];
        struct slice *from = request->kind == REQUEST_READ ? &reads : &logged;
        struct command command;
        ASSERT(command_decode_logged(from, &shard->arguments, &command) == STATUS_OK);
        if (request->kind != REQUEST_ORIGIN) {
            shard->sink.returned(shard->owner, request->origin, request->tag, &command);
        }
    }
    shard_unweigh(shard, batch_pending_bytes(batch));
}

void batch_return(struct shard *shard, struct batch *batch)
{
    list_remove(&batch->node);
    return_requests(shard, batch);
    batch_give_back(shard, batch);
}

static struct batch *batch_at(struct list *node) { return CONTAINER_OF(node, struct batch, node); }

/* What is sealed, up to the last entry, becomes orphans; reads behind it are returned. */
static void orphan_sealed(struct shard *shard)
{
    struct list *last = shard->sealed.prev;
    while (last != &shard->sealed && batch_at(last)->index == 0) {
        last = last->prev;
    }
    bool behind = last == &shard->sealed;
    LIST_FOR_EACH_SAFE (at, after, &shard->sealed) {
        list_remove(at);
        if (behind) {
            batch_return(shard, batch_at(at));
        } else {
            list_append(&shard->orphans, at);
        }
        behind = behind || at == last;
    }
}

void shard_return_waiting(struct shard *shard)
{
    gate_return(shard);
    outcomes_return(shard);
    orphan_sealed(shard);
    while (!list_empty(&shard->waiting)) {
        shard->stats.waiting_returned++;
        batch_return(shard, CONTAINER_OF(shard->waiting.next, struct batch, node));
    }
    if (shard->open->request_count != 0) {
        struct batch *batch = shard->open;
        shard->stats.waiting_returned += batch->logged_count != 0 ? 1 : 0;
        shard->open = batch_take(shard);
        batch_return(shard, batch);
    }
}

/* Reads alone that stand before an orphan's entry, all others before it being settled. False: in another turn. */
static bool settle_reads_before(struct shard *shard, const struct batch *entry, bool committed)
{
    while (batch_at(shard->orphans.next) != entry) {
        struct batch *reads = batch_at(shard->orphans.next);
        ASSERT(reads->index == 0);
        if (committed) {
            if (!batch_apply(shard, reads)) {
                return false;
            }
            batch_give_back(shard, reads);
        } else {
            batch_return(shard, reads);
        }
    }
    return true;
}

bool shard_settle_orphans(struct shard *shard, uint64_t index, struct batch **ret_orphan)
{
    if (list_empty(&shard->orphans)) {
        return true;
    }
    struct batch *survivor = NULL;
    uint64_t term = 0;
    ASSERT(raft_term_at(shard->raft, index, &term) == STATUS_OK);
    LIST_FOR_EACH_SAFE (at, after, &shard->orphans) {
        struct batch *batch = batch_at(at);
        if (batch->index == 0) {
            continue; /* with the entry behind it */
        }
        if (batch->index == index && batch->term == term) {
            if (!settle_reads_before(shard, batch, true)) {
                return false;
            }
            survivor = batch;
        } else if (batch->index <= index || batch->term < term) { /* terms never fall along a log */
            ASSERT(survivor == NULL);                             /* orphans are of one term */
            bool settled = settle_reads_before(shard, batch, false);
            ASSERT(settled);
            shard->stats.orphans_returned++;
            batch_return(shard, batch);
        }
    }
    *ret_orphan = survivor;
    return true;
}

static void leave_uncertain(struct shard *shard, struct batch *batch)
{
    ASSERT(batch->request_count == 0 || shard->sink.uncertain != NULL);
    for (size_t i = batch->done.requests; i < batch->request_count; i++) {
        if (batch->requests[i].kind != REQUEST_ORIGIN) {
            shard->sink.uncertain(shard->owner, batch->requests[i].origin, batch->requests[i].tag);
        }
    }
    shard_unweigh(shard, batch_pending_bytes(batch));
    batch_give_back(shard, batch);
}

void shard_lose_sight(struct shard *shard, uint64_t index)
{
    ASSERT(list_empty(&shard->sealed)); /* a leader is sent no snapshot */
    struct list *last = &shard->orphans;
    LIST_FOR_EACH (at, &shard->orphans) {
        last = batch_at(at)->index != 0 && batch_at(at)->index <= index ? at : last;
    }
    while (last != &shard->orphans && !list_empty(&shard->orphans)) {
        struct list *first = shard->orphans.next;
        leave_uncertain(shard, batch_at(first));
        if (first == last) {
            break;
        }
    }
}

/* ---- what others may know and do about it ---- */

bool shard_leading(const struct shard *shard) { return shard->leading && !shard->store->failed; }

void shard_leader(const struct shard *shard, uint64_t *ret_leader, uint64_t *ret_term)
{
    *ret_leader = shard->leader;
    *ret_term = shard->term;
}

bool shard_orphaned(const struct shard *shard) { return !list_empty(&shard->orphans); }

/* With a lease: it is looked at by a fresh reading of the clock, and from then until the read the state does not
 * change, so the read sees what was acknowledged up to that reading. */
bool shard_may_read(const struct shard *shard)
{
    if (!shard_leading(shard) || shard->lone || !shard->options.lease_reads) {
        return shard_leading(shard) && shard->lone;
    }
    uint64_t index = 0;
    uint64_t until_ms = 0;
    return raft_lease(shard->raft, &index, &until_ms) == STATUS_OK && shard_now_ms(shard) < until_ms &&
           index <= shard->applied_index;
}

enum status shard_transfer(struct shard *shard, uint64_t to)
{
    enum status status = shard->store->failed ? STATUS_CLOSED : raft_transfer(shard->raft, to);
    env_wake(shard->env);
    return status;
}

size_t shard_peers(const struct shard *shard, struct shard_peer_status *ret_peers, size_t capacity)
{
    struct raft_status status;
    raft_status(shard->raft, &status);
    if (status.role != RAFT_LEADER) {
        return 0;
    }
    for (size_t i = 0; i < status.peers && i < capacity; i++) {
        struct raft_peer_status peer;
        raft_peer_status(shard->raft, i, &peer);
        ret_peers[i] = (struct shard_peer_status){
            .id = peer.id,
            .match = peer.match,
            .state = peer.state,
            .heard_ms = (int64_t)(shard_now_ms(shard) - peer.heard_ms),
        };
    }
    return status.peers;
}
