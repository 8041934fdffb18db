/* Parcels of other nodes, executed by a shard that is led here. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

struct remote {
    struct requester requester; /* first */
    struct list node;           /* in cluster.remotes */
    struct cluster *cluster;
    struct peer *peer;
    uint64_t generation; /* of the connection; 0: nobody waits any more */
    uint32_t shard, count, answered;
    uint64_t parcel;
    uint8_t *protocols;    /* of each request */
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

static void end_answer(struct remote *remote, uint64_t tag, enum forward_outcome outcome, enum status status)
{
    struct answer_head head = {.place = (uint32_t)tag, .outcome = outcome, .status = status};
    remote->answered++;
    if (remote->generation == 0) {
        return;
    }
    size_t size = remote->answers.size - remote->at;
    ASSERT(size - ANSWER_HEAD_BYTES <= FORWARD_REPLY_BYTES); /* the machine makes no larger replies */
    head.size = (uint32_t)(size - ANSWER_HEAD_BYTES);
    answer_head_put(remote->answers.data + remote->at, &head);
    remote->peer->owed_bytes += size;
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
    remote->writer = resp_writer_to(&remote->answers, remote->protocols[tag]);
    return &remote->writer;
}

static void answer(struct remote *remote, uint64_t tag, enum forward_outcome outcome, enum status status)
{
    if (remote->generation != 0) {
        begin_answer(remote);
    }
    end_answer(remote, tag, outcome, status);
}

static void remote_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct remote *remote = (struct remote *)requester;
    if (remote->generation == 0 || !overwhelmed(remote)) {
        end_answer(remote, tag, FORWARD_REPLIED, STATUS_OK);
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

/* Decodes all of it before anything is taken: what is not logged must be read-only. */
static enum status check(struct cluster *cluster, const struct forward_head *head, struct slice payload,
                         uint8_t *ret_protocols)
{
    uint32_t logged = 0;
    for (uint32_t i = 0; i < head->count; i++) {
        if (payload.size == 0 || payload.data[0] > 1) {
            return STATUS_CORRUPT;
        }
        bool reads = payload.data[0] == 0;
        logged += payload.data[0];
        payload = slice_of(payload.data + 1, payload.size - 1);
        struct command command;
        enum status status = command_decode(&payload, &cluster->arguments, &command);
        if (status != STATUS_OK) {
            return status;
        }
        if (reads && (command.spec->flags & COMMAND_READONLY) == 0) {
            return STATUS_CORRUPT;
        }
        ret_protocols[i] = command.protocol;
    }
    return payload.size == 0 && logged == head->logged ? STATUS_OK : STATUS_CORRUPT;
}

/* The parcel as a whole: may its requests go to the shard? */
static enum status admit(const struct lane *lane, const struct forward_head *head, uint64_t node, size_t bytes)
{
    if (!lane_leads(lane) || lane->term != head->term) {
        return STATUS_NOT_LEADER;
    }
    if (head->logged == 0) {
        return STATUS_OK;
    }
    struct shard_origin origin = {node, head->start, head->sequence, head->settled_below};
    return shard_forwarded(lane->local, &origin, head->logged, bytes);
}

static void submit(struct lane *lane, struct remote *remote, struct slice payload)
{
    for (uint32_t i = 0; i < remote->count; i++) {
        bool logged = payload.data[0] == 1;
        payload = slice_of(payload.data + 1, payload.size - 1);
        struct command command;
        ASSERT(command_decode(&payload, &lane->cluster->arguments, &command) == STATUS_OK);
        enum status status = logged ? shard_submit_logged(lane->local, &command, remote, i)
                                    : shard_submit(lane->local, &command, remote, i);
        if (status == STATUS_NOT_LEADER) {
            answer(remote, i, FORWARD_RETURNED, STATUS_OK);
        } else if (status != STATUS_OK) {
            answer(remote, i, FORWARD_REFUSED, status);
        }
    }
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
    bool elsewhere = status == STATUS_NOT_LEADER;
    for (uint32_t i = 0; i < remote->count; i++) {
        answer(remote, i, elsewhere ? FORWARD_RETURNED : FORWARD_REFUSED, elsewhere ? STATUS_OK : status);
    }
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
    struct remote *remote = remote_create(cluster, peer, generation, &head);
    enum status sense = check(cluster, &head, payload, remote->protocols);
    struct lane *lane = lane_of(cluster, head.shard);
    status = sense == STATUS_OK ? admit(lane, &head, peer->node, payload.size) : sense;
    if (status == STATUS_OK) {
        submit(lane, remote, payload);
    } else {
        answer_all(remote, status);
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
        bool due = complete || remote->answers.size - remote->sent >= ANSWERS_PIECE_BYTES;
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
        }
    }
}

void remotes_destroy(struct cluster *cluster)
{
    while (!list_empty(&cluster->remotes)) {
        remote_destroy(CONTAINER_OF(cluster->remotes.next, struct remote, node));
    }
}
