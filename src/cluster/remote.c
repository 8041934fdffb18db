/* Parcels of other nodes, executed by a shard that is led here. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"

#include <stdlib.h>

enum { ANSWERS_BYTES = 1 << 20 }; /* sent before the rest is there */

struct remote {
    struct requester requester; /* first */
    struct list node;           /* in cluster.remotes */
    struct cluster *cluster;
    uint64_t peer, generation; /* generation 0: nobody waits any more */
    uint32_t shard, count, answered;
    uint64_t parcel;
    uint8_t *protocols;    /* of each request */
    struct buffer answers; /* frame payload: head, then answers; empty: nothing yet */
    size_t at;             /* of the answer being written */
    struct resp_writer writer;
};

static void remote_destroy(struct remote *remote)
{
    list_remove(&remote->node);
    buffer_deinit(&remote->answers);
    free(remote->protocols);
    free(remote);
}

static void begin_answer(struct remote *remote)
{
    if (remote->answers.size == 0) {
        answers_head_put(buffer_reserve(&remote->answers, ANSWERS_HEAD_BYTES), remote->shard, remote->parcel);
        remote->answers.size = ANSWERS_HEAD_BYTES;
    }
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
    head.size = (uint32_t)(remote->answers.size - remote->at - ANSWER_HEAD_BYTES);
    answer_head_put(remote->answers.data + remote->at, &head);
    env_wake(remote->cluster->env);
}

static struct resp_writer *remote_begin(struct requester *requester, uint64_t tag)
{
    struct remote *remote = (struct remote *)requester;
    if (remote->generation == 0) {
        return NULL;
    }
    begin_answer(remote);
    remote->writer = resp_writer_to(&remote->answers, remote->protocols[tag]);
    return &remote->writer;
}

static void remote_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)command;
    end_answer((struct remote *)requester, tag, FORWARD_REPLIED, STATUS_OK);
}

static void answer(struct remote *remote, uint64_t tag, enum forward_outcome outcome, enum status status)
{
    if (remote->generation != 0) {
        begin_answer(remote);
    }
    end_answer(remote, tag, outcome, status);
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

/* Decodes all of it before anything is taken. */
static enum status check(struct cluster *cluster, const struct forward_head *head, struct slice payload,
                         uint8_t *ret_protocols)
{
    uint32_t logged = 0;
    for (uint32_t i = 0; i < head->count; i++) {
        if (payload.size == 0 || payload.data[0] > 1) {
            return STATUS_CORRUPT;
        }
        logged += payload.data[0];
        payload = slice_of(payload.data + 1, payload.size - 1);
        struct command command;
        enum status status = command_decode(&payload, &cluster->arguments, &command);
        if (status != STATUS_OK) {
            return status;
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

enum status remote_receive(struct cluster *cluster, uint64_t node, uint64_t generation, struct slice payload)
{
    struct forward_head head;
    enum status status = forward_head_take(&payload, &head);
    if (status != STATUS_OK || head.shard > cluster->shard_count) {
        return STATUS_CORRUPT;
    }
    uint8_t *protocols = malloc(head.count);
    ASSERT(protocols != NULL);
    status = check(cluster, &head, payload, protocols);
    if (status != STATUS_OK) {
        free(protocols);
        return status;
    }
    struct remote *remote = calloc(1, sizeof(*remote));
    ASSERT(remote != NULL);
    *remote = (struct remote){
        .requester = {&remote_events, 0},
        .cluster = cluster,
        .peer = node,
        .generation = generation,
        .shard = head.shard,
        .count = head.count,
        .parcel = head.parcel,
        .protocols = protocols,
    };
    list_init(&remote->node);
    list_append(&cluster->remotes, &remote->node);
    cluster->counters.received_parcels++;
    struct lane *lane = lane_of(cluster, head.shard);
    status = admit(lane, &head, node, payload.size);
    if (status == STATUS_OK) {
        submit(lane, remote, payload);
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < remote->count; i++) {
        answer(remote, i, status == STATUS_NOT_LEADER ? FORWARD_RETURNED : FORWARD_REFUSED,
               status == STATUS_NOT_LEADER ? STATUS_OK : status);
    }
    return STATUS_OK;
}

/* ---- out ---- */

/* False when it must be tried again. */
static bool send_answers(struct remote *remote)
{
    struct slice part = buffer_slice(&remote->answers);
    if (part.size == 0 || remote->generation == 0) {
        return true;
    }
    enum status status = transport_send(remote->cluster->transport, remote->peer, remote->generation, TRANSPORT_URGENT,
                                        NODE_ANSWERS, &part, 1);
    if (status == STATUS_FULL) {
        return false;
    }
    buffer_clear(&remote->answers);
    return true;
}

void remotes_turn(struct cluster *cluster)
{
    LIST_FOR_EACH_SAFE (at, after, &cluster->remotes) {
        struct remote *remote = CONTAINER_OF(at, struct remote, node);
        bool complete = remote->answered == remote->count;
        if ((complete || remote->answers.size >= ANSWERS_BYTES) && send_answers(remote) && complete) {
            remote_destroy(remote);
        }
    }
}

void remotes_lost(struct cluster *cluster, uint64_t node, uint64_t generation)
{
    LIST_FOR_EACH (at, &cluster->remotes) {
        struct remote *remote = CONTAINER_OF(at, struct remote, node);
        if (remote->peer == node && remote->generation == generation) {
            remote->generation = 0;
            buffer_deinit(&remote->answers);
        }
    }
}

void remotes_destroy(struct cluster *cluster)
{
    while (!list_empty(&cluster->remotes)) {
        remote_destroy(CONTAINER_OF(cluster->remotes.next, struct remote, node));
    }
}
