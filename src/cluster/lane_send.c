/* Parcels on their way to the leader, and what it answers. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"

enum { NS_PER_US = 1000 };

/* Below it everything is settled: the leader's machine may forget it. */
static uint64_t settled_below(const struct lane *lane)
{
    uint64_t below = lane->next_sequence;
    const struct list *lists[] = {&lane->sent, &lane->doubtful};
    for (size_t i = 0; i < 2; i++) {
        LIST_FOR_EACH (at, lists[i]) {
            uint64_t sequence = CONTAINER_OF(at, struct parcel, node)->sequence;
            if (sequence != 0 && sequence < below) {
                below = sequence;
            }
        }
    }
    return below;
}

enum status lane_send_parcel(struct lane *lane, struct parcel *parcel)
{
    struct cluster *cluster = lane->cluster;
    struct peer *peer = peer_find(cluster, lane->leader);
    if (peer == NULL || peer->generation == 0) {
        return STATUS_CLOSED;
    }
    struct forward_head head = {
        .shard = lane->shard,
        .count = parcel->count,
        .logged = parcel->logged,
        .parcel = lane->next_parcel,
        .term = lane->term,
        .start = cluster->options.lineage.start,
        .sequence = parcel->logged != 0 ? lane->next_sequence : 0,
        .settled_below = parcel->logged != 0 ? settled_below(lane) : 0,
        .slow_us = cluster->events.slow_us == NULL ? FORWARD_NEVER_SLOW : cluster->events.slow_us(cluster->owner),
    };
    uint8_t bytes[FORWARD_HEAD_BYTES];
    forward_head_put(bytes, &head);
    struct slice parts[2] = {slice_of(bytes, sizeof(bytes)), buffer_slice(&parcel->bytes)};
    enum status status = peers_send_request(cluster, peer, peer->generation, NODE_FORWARD, parts);
    if (status != STATUS_OK) {
        return status;
    }
    parcel->number = lane->next_parcel++;
    parcel->sequence = head.sequence;
    lane->next_sequence += head.sequence != 0 ? 1 : 0;
    parcel->leader = peer->node;
    parcel->generation = peer->generation;
    parcel->term = lane->term;
    list_remove(&parcel->node);
    list_append(&lane->sent, &parcel->node);
    lane->sent_count++;
    lane->sent_bytes += parcel->bytes.size;
    cluster->counters.forwarded_parcels++;
    cluster->counters.forwarded_requests += parcel->count;
    return STATUS_OK;
}

/* The leader's machine remembers only so many sequences from the oldest that is not settled. */
static bool window_open(const struct lane *lane)
{
    return lane->sent_count < LANE_PARCELS && lane->sent_bytes < LANE_SENT_BYTES &&
           lane->next_sequence - settled_below(lane) < MACHINE_ORIGIN_WINDOW;
}

void lane_send(struct lane *lane)
{
    while (!list_empty(&lane->waiting) && lane->leader != 0 && window_open(lane)) {
        struct parcel *parcel = CONTAINER_OF(lane->waiting.next, struct parcel, node);
        ASSERT(parcel->settled == 0); /* it was put in order */
        if (lane_send_parcel(lane, parcel) != STATUS_OK) {
            break;
        }
    }
}

/* ---- answers ---- */

static struct parcel *find_sent(struct lane *lane, uint64_t number)
{
    LIST_FOR_EACH (at, &lane->sent) {
        struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        if (parcel->number == number) {
            return parcel;
        }
    }
    return NULL;
}

static void deliver(struct cluster *cluster, const struct parcel_request *request, const struct answer_head *head,
                    struct slice reply)
{
    struct requester *requester = request->requester;
    struct resp_writer *writer = requester->events->begin(requester, request->tag);
    if (writer != NULL) {
        resp_raw(writer, reply);
    }
    cluster->took_long = head->outcome == FORWARD_REPLIED_LONG;
    cluster->told_index = head->index;
    requester->events->end(requester, request->tag, NULL);
}

/* What it was stands in the parcel; who asked is told before the reply, as a visitor is gone behind it. */
static __attribute__((noinline)) void tell_slow(struct cluster *cluster, const struct parcel *parcel, uint32_t place,
                                                uint32_t took_us)
{
    struct requester *requester = parcel->requests[place].requester;
    struct command command;
    if (requester->events->slow != NULL) {
        (void)parcel_command(parcel, place, &cluster->arguments, &command);
        requester->events->slow(requester, &command, (int64_t)took_us * NS_PER_US);
    }
}

/* A request that was returned stays unsettled, until all of the parcel is known. */
static enum status take_answer(struct cluster *cluster, struct parcel *parcel, const struct answer_head *head,
                               struct slice reply)
{
    if (head->place >= parcel->count) {
        return STATUS_CORRUPT;
    }
    struct parcel_request request = parcel->requests[head->place];
    if (request.settled || request.returned) {
        return STATUS_CORRUPT;
    }
    switch (head->outcome) {
    case FORWARD_REPLIED:
    case FORWARD_REPLIED_LONG:
        if (__builtin_expect(head->slow, 0)) {
            tell_slow(cluster, parcel, head->place, head->took_us);
        }
        parcel_settle(parcel, head->place);
        deliver(cluster, &request, head, reply);
        break;
    case FORWARD_RETURNED:
        parcel->requests[head->place].returned = true;
        parcel->returned++;
        break;
    case FORWARD_REFUSED: parcel_fail(parcel, head->place, head->status); break;
    case FORWARD_EXECUTED: parcel_fail(parcel, head->place, STATUS_EXECUTED); break;
    default: parcel_fail(parcel, head->place, STATUS_UNCERTAIN); break;
    }
    return STATUS_OK;
}

/* Takes the answers that are complete, and keeps the rest for the next frame. */
static enum status take_answers(struct cluster *cluster, struct parcel *parcel, struct slice piece)
{
    bool kept = parcel->answers.size != 0;
    struct slice rest = piece;
    if (kept) {
        buffer_append_slice(&parcel->answers, piece);
        rest = buffer_slice(&parcel->answers);
    }
    enum status status = STATUS_OK;
    while (status == STATUS_OK && rest.size != 0) {
        struct answer_head head;
        struct slice reply;
        status = answer_take(&rest, &head, &reply);
        if (status == STATUS_OK) {
            status = take_answer(cluster, parcel, &head, reply);
        }
    }
    if (status != STATUS_OK && status != STATUS_AGAIN) {
        return status;
    }
    if (kept) {
        buffer_consume(&parcel->answers, parcel->answers.size - rest.size);
    } else {
        buffer_append_slice(&parcel->answers, rest);
    }
    return STATUS_OK;
}

enum status lane_receive_answers(struct cluster *cluster, const struct peer *peer, struct slice payload)
{
    uint32_t shard = 0;
    uint64_t number = 0;
    enum status status = answers_head_take(&payload, &shard, &number);
    if (status != STATUS_OK || shard > cluster->shard_count) {
        return STATUS_CORRUPT;
    }
    struct lane *lane = lane_of(cluster, shard);
    struct parcel *parcel = find_sent(lane, number);
    if (parcel == NULL || parcel->leader != peer->node || parcel->generation != peer->generation) {
        return STATUS_OK; /* of one that is in doubt; a later leader has the word */
    }
    status = take_answers(cluster, parcel, payload);
    if (status != STATUS_OK) {
        lane_doubt_connection(lane, peer->node, peer->generation);
        return status;
    }
    if (parcel->settled + parcel->returned < parcel->count) {
        return STATUS_OK; /* the rest follows */
    }
    lane->sent_count--;
    lane->sent_bytes -= parcel->bytes.size;
    if (parcel->returned != 0 && lane->leader == parcel->leader && lane->term == parcel->term) {
        lane->leader = 0; /* it leads no longer, or not in that term */
    }
    lane->asked = parcel->question ? 0 : lane->asked;
    lane_take_back(lane, parcel);
    return STATUS_OK;
}
