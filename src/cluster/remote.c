/* Parcels of other nodes, executed by a shard that is led here. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/varint.h"
#include "machine/txn/prepare.h"

#include <stdlib.h>

enum { REMOTE_HELD = 0x80, NS_PER_US = 1000 };

struct remote {
    struct requester requester; /* first */
    struct list node;           /* in cluster.remotes */
    struct cluster *cluster;
    struct peer *peer;
    uint64_t generation; /* of the connection; 0: nobody waits any more */
    uint32_t shard, count, answered;
    uint64_t parcel;
    uint64_t start, sequence; /* of the parcel: the same never comes twice, … */
    uint32_t slow_us;         /* as in struct forward_head */
    uint32_t held; /* so many have had to wait, for transactions or for an entry: the others' answers do not wait for
                      theirs */
    uint8_t *protocols;    /* of each request, and REMOTE_HELD */
    struct buffer answers; /* as they go into frames, … */
    size_t sent;           /* … and how much of them has gone */
    size_t at;             /* of the answer being written */
    struct resp_writer writer;
};

/* Nobody waits for it any more. */
static void forget_peer(struct remote *remote)
{
    if (remote->generation != 0) {
        remote->generation = 0;
        remote->peer->owed_bytes -= remote->answers.size - remote->sent;
        remote->peer->parcels--;
    }
}

static void remote_destroy(struct remote *remote)
{
    forget_peer(remote);
    list_remove(&remote->node);
    buffer_deinit(&remote->answers);
    free(remote->protocols);
    free(remote);
}

static void begin_answer(struct remote *remote)
{
    remote->at = remote->answers.size;
    (void)buffer_reserve(&remote->answers, ANSWER_HEAD_BYTES);
    remote->answers.size += ANSWER_HEAD_BYTES;
}

static void end_answer(struct remote *remote, struct answer_head head)
{
    remote->answered++;
    if (remote->generation == 0) {
        return;
    }
    size_t size = remote->answers.size - remote->at - ANSWER_HEAD_BYTES;
    ASSERT(size <= FORWARD_REPLY_BYTES); /* the machine makes no larger replies */
    head.size = (uint32_t)size;
    answer_head_put(remote->answers.data + remote->at, &head);
    if (head.slow) {
        put_u32(buffer_reserve(&remote->answers, ANSWER_TOOK_BYTES), head.took_us);
        remote->answers.size += ANSWER_TOOK_BYTES;
    }
    remote->peer->owed_bytes += remote->answers.size - remote->at;
    env_wake(remote->cluster->env);
}

/* The peer does not take what it asked for. It gets no more replies, and is told so: memory is bounded. */
static bool overwhelmed(const struct remote *remote) { return remote->peer->owed_bytes > REMOTE_OWED_BYTES; }

static struct resp_writer *remote_begin(struct requester *requester, uint64_t tag)
{
    struct remote *remote = (struct remote *)requester;
    if (remote->generation == 0 || overwhelmed(remote)) {
        return NULL;
    }
    begin_answer(remote);
    remote->writer = resp_writer_to(&remote->answers, remote->protocols[tag] & ~REMOTE_HELD);
    return &remote->writer;
}

static void answer(struct remote *remote, uint64_t tag, enum forward_outcome outcome, enum status status)
{
    if (remote->generation != 0) {
        begin_answer(remote);
    }
    end_answer(remote, (struct answer_head){.place = (uint32_t)tag, .outcome = outcome, .status = status});
}

/* took_ns: negative when it is no command of a client's. */
static void answer_reply(struct remote *remote, uint64_t tag, bool took_long, int64_t took_ns)
{
    int64_t took_us = took_ns / NS_PER_US;
    bool slow = took_ns >= 0 && remote->slow_us != FORWARD_NEVER_SLOW && took_us >= remote->slow_us;
    end_answer(remote, (struct answer_head){.place = (uint32_t)tag,
                                            .outcome = took_long ? FORWARD_REPLIED_LONG : FORWARD_REPLIED,
                                            .slow = slow,
                                            .index = remote->cluster->told_index,
                                            .took_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX});
}

static void remote_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct remote *remote = (struct remote *)requester;
    const struct cluster *cluster = remote->cluster;
    bool counts = cluster->events.served != NULL;
    int64_t took_ns = counts ? cluster->events.served(cluster->owner, remote->peer->node, command) : 0;
    if (remote->generation == 0 || !overwhelmed(remote)) {
        answer_reply(remote, tag, command_may_script(command->spec) && cluster->took_long,
                     command->spec->internal ? -1 : took_ns);
    } else if ((command->spec->flags & COMMAND_READONLY) != 0) {
        answer(remote, tag, FORWARD_REFUSED, STATUS_FULL);
    } else {
        answer(remote, tag, FORWARD_EXECUTED, STATUS_OK);
    }
}

static void remote_failed(struct requester *requester, uint64_t tag, enum status status)
{
    enum forward_outcome outcome = status == STATUS_UNCERTAIN  ? FORWARD_UNCERTAIN
                                   : status == STATUS_EXECUTED ? FORWARD_EXECUTED
                                                               : FORWARD_REFUSED;
    answer((struct remote *)requester, tag, outcome, outcome == FORWARD_REFUSED ? status : STATUS_OK);
}

static void remote_returned(struct requester *requester, uint64_t tag)
{
    answer((struct remote *)requester, tag, FORWARD_RETURNED, STATUS_OK);
}

static const struct requester_events remote_events = {remote_begin, remote_end, remote_failed, remote_returned};

/* ---- in ---- */

/* One request of a parcel. */
struct forwarded {
    struct command command;
    bool logged;
    uint64_t who;
};

static enum status take_request(struct cluster *cluster, struct slice *payload, struct forwarded *ret_request)
{
    if (payload->size == 0 || payload->data[0] > 1) {
        return STATUS_CORRUPT;
    }
    ret_request->logged = payload->data[0] == 1;
    *payload = slice_of(payload->data + 1, payload->size - 1);
    if (!varint_take(payload, &ret_request->who)) {
        return STATUS_CORRUPT;
    }
    return command_decode(payload, &cluster->arguments, &ret_request->command);
}

/* What needs no marker: it reads, or changes nothing when it comes again. */
static bool may_repeat(const struct command_spec *spec)
{
    return (spec->flags & COMMAND_READONLY) != 0 || txn_ends(spec);
}

/* Decodes all of it before anything is taken. *ret_gated: the gate must see it, whatever is there. */
static enum status check(struct cluster *cluster, const struct forward_head *head, struct slice payload,
                         uint8_t *ret_protocols, bool *ret_gated)
{
    uint32_t logged = 0;
    *ret_gated = false;
    for (uint32_t i = 0; i < head->count; i++) {
        struct forwarded request = {0};
        enum status status = take_request(cluster, &payload, &request);
        if (status != STATUS_OK) {
            return status;
        }
        if (!request.logged && !may_repeat(request.command.spec)) {
            return STATUS_CORRUPT;
        }
        logged += request.logged ? 1 : 0;
        ret_protocols[i] = request.command.protocol;
        *ret_gated = *ret_gated || txn_prepares(request.command.spec) || txn_ends(request.command.spec);
    }
    return payload.size == 0 && logged == head->logged ? STATUS_OK : STATUS_CORRUPT;
}

/* A parcel at the shard that is to execute it. */
struct admission {
    struct lane *lane;
    struct remote *remote;
    struct shard_origin origin;
    struct slice payload;
    uint32_t logged; /* to be announced */
    size_t bytes;
    bool part; /* some that are to be logged wait for a transaction */
};

static struct shard_request request_of(const struct admission *admission, uint32_t place, uint64_t who)
{
    uint64_t of[] = {admission->origin.node, who};
    return (struct shard_request){.origin = admission->remote,
                                  .tag = place,
                                  .who = who == 0 ? 0 : hash_bytes(0, of, sizeof(of)),
                                  .forwarded = &admission->origin};
}

/* What must wait is taken by the shard already; the rest is to be announced. */
static void hold_back(struct admission *admission)
{
    struct remote *remote = admission->remote;
    struct slice rest = admission->payload;
    for (uint32_t i = 0; i < remote->count; i++) {
        struct forwarded forwarded = {0};
        size_t before = rest.size;
        ASSERT(take_request(remote->cluster, &rest, &forwarded) == STATUS_OK);
        struct shard_request request = request_of(admission, i, forwarded.who);
        enum status status = STATUS_OK;
        if (!shard_hold(admission->lane->local, &forwarded.command, forwarded.logged, &request, &status)) {
            continue;
        }
        remote->protocols[i] |= REMOTE_HELD;
        remote->held++;
        if (forwarded.logged) {
            admission->logged--;
            admission->bytes -= before - rest.size;
            admission->part = true;
        }
        if (status != STATUS_OK) {
            answer(remote, i, FORWARD_REFUSED, status);
        }
    }
}

static void refuse_one(struct remote *remote, uint32_t place, enum status status)
{
    bool elsewhere = status == STATUS_NOT_LEADER;
    answer(remote, place, elsewhere ? FORWARD_RETURNED : FORWARD_REFUSED, elsewhere ? STATUS_OK : status);
}

/* The rest of the parcel, which may have been refused as a whole. */
static void submit_rest(struct admission *admission, enum status whole)
{
    struct remote *remote = admission->remote;
    struct slice rest = admission->payload;
    for (uint32_t i = 0; i < remote->count; i++) {
        struct forwarded forwarded = {0};
        ASSERT(take_request(remote->cluster, &rest, &forwarded) == STATUS_OK);
        if ((remote->protocols[i] & REMOTE_HELD) != 0) {
            continue;
        }
        struct shard_request request = request_of(admission, i, forwarded.who);
        enum status status = whole;
        if (status == STATUS_OK) {
            remote->held += txn_ends(forwarded.command.spec) && !forwarded.logged ? 1 : 0;
            status = shard_take(admission->lane->local, &forwarded.command, forwarded.logged, &request);
        }
        if (status != STATUS_OK) {
            shard_let_go(admission->lane->local, &forwarded.command);
            refuse_one(remote, i, status);
        }
    }
}

static void admit(struct lane *lane, struct remote *remote, const struct forward_head *head, struct slice payload,
                  bool gated)
{
    struct admission admission = {
        .lane = lane,
        .remote = remote,
        .origin = {remote->peer->node, head->start, head->sequence, head->settled_below},
        .payload = payload,
        .logged = head->logged,
        .bytes = payload.size,
    };
    if (gated || shard_holds_any(lane->local)) {
        hold_back(&admission);
    }
    enum status status = STATUS_OK;
    if (admission.logged != 0) {
        status = admission.part
                     ? shard_forwarded_part(lane->local, &admission.origin, admission.logged, admission.bytes)
                     : shard_forwarded(lane->local, &admission.origin, admission.logged, admission.bytes);
    }
    submit_rest(&admission, status);
}

static struct remote *remote_create(struct cluster *cluster, struct peer *peer, uint64_t generation,
                                    const struct forward_head *head)
{
    struct remote *remote = memory_allocate(sizeof(*remote));
    uint8_t *protocols = memory_allocate(head->count);
    *remote = (struct remote){
        .requester = {&remote_events, 0},
        .cluster = cluster,
        .peer = peer,
        .generation = generation,
        .shard = head->shard,
        .count = head->count,
        .parcel = head->parcel,
        .start = head->start,
        .sequence = head->sequence,
        .slow_us = head->slow_us,
        .protocols = protocols,
    };
    list_init(&remote->node);
    list_append(&cluster->remotes, &remote->node);
    peer->parcels += generation != 0 ? 1 : 0;
    cluster->counters.received_parcels++;
    return remote;
}

static void answer_all(struct remote *remote, enum status status)
{
    for (uint32_t i = 0; i < remote->count; i++) {
        refuse_one(remote, i, status);
    }
}

/* … and if it did: what waits of it would be logged again, for parts of a parcel are told from one another by nobody.
 */
static bool waits_already(const struct cluster *cluster, const struct peer *peer, const struct forward_head *head)
{
    LIST_FOR_EACH (at, &cluster->remotes) {
        const struct remote *remote = CONTAINER_OF(at, struct remote, node);
        if (remote->held != 0 && remote->peer == peer && remote->shard == head->shard && remote->start == head->start &&
            remote->sequence == head->sequence && head->sequence != 0) {
            return true;
        }
    }
    return false;
}

enum status remote_receive(struct cluster *cluster, struct peer *peer, uint64_t generation, struct slice payload)
{
    struct forward_head head;
    enum status status = forward_head_take(&payload, &head);
    if (status != STATUS_OK || head.shard > cluster->shard_count) {
        return STATUS_CORRUPT;
    }
    if (peer->parcels >= (uint64_t)(cluster->shard_count + 1) * (LANE_PARCELS + 1)) { /* and a question */
        return STATUS_FULL;
    }
    if (waits_already(cluster, peer, &head)) {
        return STATUS_OK;
    }
    struct remote *remote = remote_create(cluster, peer, generation, &head);
    bool gated = false;
    enum status sense = check(cluster, &head, payload, remote->protocols, &gated);
    struct lane *lane = lane_of(cluster, head.shard);
    if (sense != STATUS_OK) {
        answer_all(remote, sense);
    } else if (!lane_leads(lane) || lane->term != head.term) {
        answer_all(remote, STATUS_NOT_LEADER);
    } else {
        admit(lane, remote, &head, payload, gated);
    }
    return sense;
}

/* ---- out ---- */

/* False when the rest must be tried again. */
static bool send_answers(struct remote *remote)
{
    uint8_t head[ANSWERS_HEAD_BYTES];
    answers_head_put(head, remote->shard, remote->parcel);
    while (remote->generation != 0 && remote->sent != remote->answers.size) {
        size_t rest = remote->answers.size - remote->sent;
        size_t size = rest < ANSWERS_PIECE_BYTES ? rest : ANSWERS_PIECE_BYTES;
        struct slice parts[2] = {slice_of(head, sizeof(head)), slice_of(remote->answers.data + remote->sent, size)};
        enum status status = peers_send_request(remote->cluster, remote->peer, remote->generation, NODE_ANSWERS, parts);
        if (status != STATUS_OK) {
            return status != STATUS_FULL; /* lost, and will be told so */
        }
        remote->sent += size;
        remote->peer->owed_bytes -= size;
    }
    buffer_clear(&remote->answers);
    buffer_shrink(&remote->answers, ANSWERS_PIECE_BYTES);
    remote->sent = 0;
    return true;
}

void remotes_turn(struct cluster *cluster)
{
    bool full[PLACEMENT_MAXIMUM_NODES] = {false}; /* later answers do not overtake earlier ones */
    LIST_FOR_EACH_SAFE (at, after, &cluster->remotes) {
        struct remote *remote = CONTAINER_OF(at, struct remote, node);
        size_t peer = (size_t)(remote->peer - cluster->peers);
        bool complete = remote->answered == remote->count;
        size_t unsent = remote->answers.size - remote->sent;
        bool due = complete || unsent >= ANSWERS_PIECE_BYTES || (remote->held != 0 && unsent != 0);
        if (!due || (full[peer] && remote->generation != 0)) {
            continue;
        }
        if (!send_answers(remote)) {
            full[peer] = true;
        } else if (complete) {
            remote_destroy(remote);
        }
    }
}

void remotes_lost(struct cluster *cluster, const struct peer *peer, uint64_t generation)
{
    LIST_FOR_EACH (at, &cluster->remotes) {
        struct remote *remote = CONTAINER_OF(at, struct remote, node);
        if (remote->peer == peer && remote->generation == generation) {
            forget_peer(remote);
            buffer_deinit(&remote->answers);
            remote->sent = 0;
            /* It will ask what became of the parcel, and "absent" must stay true. */
            struct lane *lane = lane_of(cluster, remote->shard);
            if (remote->held != 0 && lane->local != NULL) {
                shard_forget(lane->local, remote);
            }
        }
    }
}

void remotes_destroy(struct cluster *cluster)
{
    while (!list_empty(&cluster->remotes)) {
        remote_destroy(CONTAINER_OF(cluster->remotes.next, struct remote, node));
    }
}
