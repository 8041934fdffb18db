#include "cluster/founding_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { TELL_FIRST_S = 2, REFUSES_S = 15, REFUSES_PAUSE_S = 5 };

void founding_set(const struct founding *founding, struct id128 ret_set[static PLACEMENT_MAXIMUM_NODES])
{
    for (uint32_t i = 0; i < founding->record.count; i++) {
        ret_set[i] = founding->state != FOUNDING_FRESH ? founding->record.nodes[i].incarnation
                     : i == founding->self             ? founding->incarnation
                                                       : founding->peers[i].incarnation;
    }
}

struct id128 founding_own_name(const struct founding *founding)
{
    struct id128 set[PLACEMENT_MAXIMUM_NODES];
    founding_set(founding, set);
    return founding_set_name(set, founding->record.count);
}

static struct founding_peer *find(struct founding *founding, uint64_t node)
{
    for (uint32_t i = 0; i < founding->record.count; i++) {
        if (founding->record.nodes[i].id == node && i != founding->self) {
            return &founding->peers[i];
        }
    }
    return NULL;
}

static uint64_t id_of(const struct founding *founding, const struct founding_peer *peer)
{
    return founding->record.nodes[peer - founding->peers].id;
}

/* ---- saying ---- */

static void tell_state(struct founding *founding, const struct founding_peer *peer)
{
    struct buffer payload;
    buffer_init(&payload);
    founding_message_encode(&founding->record, founding->state, &payload);
    founding->events.send(founding->owner, id_of(founding, peer), buffer_slice(&payload));
    buffer_deinit(&payload);
}

void founding_tell_all(struct founding *founding)
{
    for (uint32_t i = 0; i < founding->record.count; i++) {
        if (founding->peers[i].up) {
            tell_state(founding, &founding->peers[i]);
        }
    }
}

static void refuse(struct founding *founding, enum status status, const char *line)
{
    founding->refused = true;
    env_timer_stop(founding->env, &founding->tell);
    founding->events.refused(founding->owner, status, line);
}

static void refuse_folder(struct founding *founding, uint64_t by, bool founded)
{
    char line[FOUNDING_MESSAGE_BYTES];
    founding_explain_folder(founding, by, founded, line);
    refuse(founding, STATUS_INVALID, line);
}

/* ---- steps ---- */

/* Stores the record with this state; false when the disk did not take it. */
static bool store(struct founding *founding, enum founding_state state, const struct founding_record *record)
{
    char message[FOUNDING_MESSAGE_BYTES];
    enum status status = founding_record_write(founding->env, founding->directory, state, record, message);
    if (status != STATUS_OK) {
        refuse(founding, status, message);
        return false;
    }
    founding->record = *record;
    founding->state = state;
    return true;
}

static void found(struct founding *founding, const struct founding_record *record)
{
    if (!store(founding, FOUNDING_FOUNDED, record)) {
        return;
    }
    env_timer_stop(founding->env, &founding->tell);
    env_log(founding->env, ENV_LOG_INFO, "the cluster is founded: %u nodes, %u shards, %u replicas", record->count,
            record->shards, record->replicas);
    founding_tell_all(founding);
    founding->events.founded(founding->owner, &founding->record);
}

static bool all_agreed(const struct founding *founding)
{
    for (uint32_t i = 0; i < founding->record.count; i++) {
        if (i != founding->self && !founding->peers[i].agreed) {
            return false;
        }
    }
    return true;
}

/* Everybody is up, has spoken, and may still agree to the set that is up, or has. */
static bool may_agree(const struct founding *founding)
{
    struct id128 name = founding_own_name(founding);
    for (uint32_t i = 0; i < founding->record.count; i++) {
        const struct founding_peer *peer = &founding->peers[i];
        if (i != founding->self &&
            (!peer->up || !peer->heard || (!id128_is_zero(&peer->set) && !id128_equal(&peer->set, &name)))) {
            return false;
        }
    }
    return true;
}

/* Those whose agreement was heard before ours. */
static void count_agreed(struct founding *founding)
{
    struct id128 name = founding_own_name(founding);
    for (uint32_t i = 0; i < founding->record.count; i++) {
        struct founding_peer *peer = &founding->peers[i];
        peer->agreed = peer->agreed || id128_equal(&peer->set, &name);
    }
}

static void with_set(struct founding_record *record, const struct id128 *set)
{
    for (uint32_t i = 0; i < record->count; i++) {
        record->nodes[i].incarnation = set[i];
    }
}

static void step(struct founding *founding)
{
    if (founding->state == FOUNDING_FRESH && may_agree(founding)) {
        struct id128 set[PLACEMENT_MAXIMUM_NODES];
        struct founding_record record = founding->record;
        founding_set(founding, set);
        with_set(&record, set);
        if (!store(founding, FOUNDING_AGREED, &record)) {
            return;
        }
        count_agreed(founding);
        founding_tell_all(founding);
    }
    if (founding->state == FOUNDING_AGREED && all_agreed(founding)) {
        struct founding_record record = founding->record;
        found(founding, &record);
    }
}

/* ---- inputs ---- */

void founding_peer_up(struct founding *founding, uint64_t node, const struct id128 *incarnation)
{
    struct founding_peer *peer = find(founding, node);
    if (peer == NULL || founding->refused) {
        return;
    }
    peer->up = true;
    peer->heard = false;
    peer->incarnation = *incarnation;
    peer->set = (struct id128){0};
    peer->refuses_ns = 0;
    tell_state(founding, peer);
}

void founding_peer_down(struct founding *founding, uint64_t node)
{
    struct founding_peer *peer = find(founding, node);
    if (peer != NULL) {
        peer->up = false;
        peer->heard = false;
    }
}

/* A peer that has agreed to a set, or founded with it. */
static void heard_set(struct founding *founding, struct founding_peer *peer, const struct founding_message *message)
{
    if (!id128_equal(&message->set[founding->self], &founding->incarnation)) {
        refuse_folder(founding, id_of(founding, peer), message->state == FOUNDING_FOUNDED);
        return;
    }
    struct id128 name = founding_own_name(founding);
    bool ours = id128_equal(&peer->set, &name);
    if (message->state == FOUNDING_FOUNDED && (founding->state == FOUNDING_FRESH || ours)) {
        struct founding_record record = founding->record;
        with_set(&record, message->set);
        found(founding, &record);
    } else if (founding->state == FOUNDING_AGREED && ours) {
        peer->agreed = true;
    }
}

enum status founding_receive(struct founding *founding, uint64_t node, struct slice payload)
{
    struct founding_peer *peer = find(founding, node);
    if (peer == NULL || !peer->up || founding->refused) {
        return STATUS_OK;
    }
    struct founding_message message;
    enum status status = founding_message_decode(&founding->record, payload, &message);
    if (status != STATUS_OK) {
        return status;
    }
    bool has_set = message.state != FOUNDING_FRESH;
    if (has_set && !id128_equal(&message.set[peer - founding->peers], &peer->incarnation)) {
        return STATUS_CORRUPT;
    }
    peer->heard = true;
    peer->set = has_set ? founding_set_name(message.set, founding->record.count) : (struct id128){0};
    if (founding->state == FOUNDING_FOUNDED) {
        return STATUS_OK;
    }
    if (has_set) {
        heard_set(founding, peer, &message);
    }
    if (!founding->refused) {
        step(founding);
    }
    return STATUS_OK;
}

void founding_peer_refuses(struct founding *founding, uint64_t node)
{
    struct founding_peer *peer = find(founding, node);
    if (peer == NULL || peer->up || founding->refused || founding->state == FOUNDING_FOUNDED) {
        return;
    }
    int64_t now_ns = env_monotonic_ns(founding->env);
    if (peer->refuses_ns == 0 || now_ns - peer->refused_ns > REFUSES_PAUSE_S * FOUNDING_SECOND_NS) {
        peer->refuses_ns = now_ns;
    }
    peer->refused_ns = now_ns;
    if (now_ns - peer->refuses_ns >= REFUSES_S * FOUNDING_SECOND_NS) {
        refuse_folder(founding, node, true);
    }
}

/* ---- beginning ---- */

/* What there is on the disk, if it is of this cluster and this data folder. */
static enum status take_record(struct founding *founding, uint64_t node,
                               char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    struct founding_record stored;
    enum status status =
        founding_record_read(founding->env, founding->directory, &founding->state, &stored, ret_message);
    if (status != STATUS_OK || founding->state == FOUNDING_FRESH) {
        return status;
    }
    if (!founding_record_matches(&stored, &founding->record, founding->directory, ret_message)) {
        return STATUS_INVALID;
    }
    if (!id128_equal(&stored.nodes[founding->self].incarnation, &founding->incarnation)) {
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES,
                       "%.256s/cluster is of another data folder of node %" PRIu64
                       "; start this node with that folder, or, when that is lost, remove the node and add it anew "
                       "under another id, with an empty data folder",
                       founding->directory, node);
        return STATUS_INVALID;
    }
    founding->record = stored;
    return STATUS_OK;
}

static enum status begin(struct founding *founding, const struct founding_options *options,
                         char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    enum status status = founding_record_make(&founding->record, options->founders, options->founder_count,
                                              options->shards, options->replicas);
    founding->self = founding->record.count;
    for (uint32_t i = 0; i < founding->record.count; i++) {
        founding->self = founding->record.nodes[i].id == options->node ? i : founding->self;
    }
    if (status != STATUS_OK || founding->self == founding->record.count) {
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES, "%s",
                       status == STATUS_OK ? "this node is not one of --peers; correct --id or --peers"
                                           : "--peers, --shards and --replicas make no cluster: every node has an id "
                                             "and an address of its own; correct them");
        return STATUS_INVALID;
    }
    status = take_record(founding, options->node, ret_message);
    if (status == STATUS_OK && founding->record.count == 1 && founding->state != FOUNDING_FOUNDED) {
        founding->record.nodes[0].incarnation = founding->incarnation;
        founding->record.cluster = founding->incarnation;
        founding->state = FOUNDING_FOUNDED;
        status =
            founding_record_write(founding->env, founding->directory, FOUNDING_FOUNDED, &founding->record, ret_message);
    }
    return status;
}

enum status founding_create(struct env *env, const struct founding_options *options,
                            const struct founding_events *events, void *owner, struct founding **ret_founding,
                            char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    struct founding *founding = memory_allocate_zeroed(1, sizeof(*founding));
    founding->env = env;
    founding->events = *events;
    founding->owner = owner;
    founding->incarnation = options->incarnation;
    founding->directory = memory_copy_text(options->directory);
    env_timer_init(&founding->tell, founding_tell);
    enum status status = begin(founding, options, ret_message);
    if (status != STATUS_OK) {
        founding_destroy(founding);
        return status;
    }
    if (founding->state != FOUNDING_FOUNDED) {
        founding_timer_start(founding, TELL_FIRST_S * FOUNDING_SECOND_NS);
    }
    *ret_founding = founding;
    return STATUS_OK;
}

void founding_destroy(struct founding *founding)
{
    if (founding != NULL) {
        env_timer_stop(founding->env, &founding->tell);
        free(founding->directory);
        free(founding);
    }
}

/* ---- looking ---- */

enum founding_state founding_state(const struct founding *founding) { return founding->state; }

const struct founding_record *founding_record(const struct founding *founding) { return &founding->record; }

const struct id128 *founding_expected(const struct founding *founding, uint64_t node)
{
    const struct founding_peer *peer = find((struct founding *)founding, node);
    return peer == NULL || founding->state != FOUNDING_FOUNDED
               ? NULL
               : &founding->record.nodes[peer - founding->peers].incarnation;
}
