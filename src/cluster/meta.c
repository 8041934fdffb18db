#include "cluster/meta.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "wire/resp_reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MS_NS 1000000LL

enum { ARGUMENTS = 4 };

/* What the reply under way is to. */
enum asked { ASKED_NOTHING, ASKED_READ, ASKED_WRITE };

struct meta {
    struct requester requester; /* first: see requester.h */
    struct env *env;
    struct meta_events events;
    void *owner;
    uint64_t node;
    struct id128 incarnation;
    struct lineage lineage;
    struct id128 cluster;
    uint32_t shard_count;

    struct members *members, *spare; /* known; for computing and decoding */
    uint64_t version;
    bool leading, look, refused, settled;
    bool empty; /* as far as is known, nothing is written yet */

    enum asked asked;
    uint64_t tag;
    struct buffer reply, local, written; /* of a request; of a look at the replica here; what a write writes */
    struct resp_writer writer;
    bool heard, stale;     /* by asking: anything yet; the group may have a newer version than what was heard */
    int64_t heard_ns;      /* when, last */
    int64_t not_before_ns; /* no request earlier */
    uint32_t pause_ms;
    struct env_timer again;
};

static void refuse(struct meta *meta, enum status status, const char *line)
{
    if (!meta->refused) {
        meta->refused = true;
        env_timer_stop(meta->env, &meta->again);
        meta->events.refused(meta->owner, status, line);
    }
}

/* ---- when ---- */

static void again(struct env_timer *timer)
{
    CONTAINER_OF(timer, struct meta, again)->look = true; /* in the turn that this ends with */
}

/* It did not work: not at once again, and not when the others try again. */
static void pause(struct meta *meta)
{
    uint32_t draw = 0;
    env_random(meta->env, &draw, sizeof(draw));
    meta->pause_ms = meta->pause_ms == 0 ? META_PAUSE_FIRST_MS : 2 * meta->pause_ms;
    meta->pause_ms = meta->pause_ms < META_PAUSE_MAXIMUM_MS ? meta->pause_ms : META_PAUSE_MAXIMUM_MS;
    int64_t pause_ms = meta->pause_ms / 2 + draw % (meta->pause_ms / 2 + 1);
    meta->not_before_ns = env_monotonic_ns(meta->env) + pause_ms * MS_NS;
    env_timer_start(meta->env, &meta->again, meta->not_before_ns);
}

/* ---- what is known ---- */

static void take_members(struct meta *meta, struct slice bytes, uint64_t version)
{
    if (version <= meta->version) {
        return; /* invariant 1 */
    }
    enum status status = members_decode(bytes, meta->spare);
    bool ours = status == STATUS_OK && id128_equal(&meta->spare->cluster, &meta->cluster) &&
                meta->spare->placement.shard_count == meta->shard_count;
    if (!ours) {
        refuse(
            meta, status == STATUS_VERSION ? STATUS_VERSION : STATUS_CORRUPT,
            status == STATUS_VERSION
                ? "the members of this cluster were written by a newer version of cohort; start that version"
                : "what this node knows of the members of its cluster cannot be read, or is of another cluster; "
                  "go on with its data folder as it left it last, or remove the node and add it anew under another id");
        return;
    }
    struct members *old = meta->members;
    meta->members = meta->spare;
    meta->spare = old;
    meta->version = version;
    meta->empty = false;
    meta->settled = false;
    meta->pause_ms = 0;
    meta->events.changed(meta->owner, meta->members);
}

/* Up to three tokens of a reply; how many it has, or 0 when it is not whole or has more. */
static size_t take_tokens(struct slice reply, struct resp_token ret_tokens[static 3])
{
    const struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    for (size_t count = 0; count < 3; count++) {
        if (reply.size == 0 ||
            resp_reader_next(&reader, &limits, reply.data, reply.size, &ret_tokens[count]) != RESP_REPLY_READY) {
            return 0;
        }
        if (ret_tokens[count].last) {
            return count + 1;
        }
        reply = slice_of(reply.data + reader.consumed, reply.size - reader.consumed);
    }
    return 0;
}

/* The reply of COHORT.GETV. False when it is an error. */
static bool take_read(struct meta *meta, struct slice reply)
{
    struct resp_token tokens[3];
    size_t count = take_tokens(reply, tokens);
    if (count == 1 && (tokens[0].type == RESP_NULL)) {
        meta->empty = meta->version == 0;
        return true;
    }
    if (count != 3 || tokens[1].type != RESP_BULK || tokens[2].type != RESP_INTEGER) {
        return false;
    }
    take_members(meta, tokens[1].text, (uint64_t)tokens[2].integer);
    return true;
}

/* The reply of COHORT.SETV. False when there is another version, or it is an error. */
static bool take_written(struct meta *meta, struct slice reply)
{
    struct resp_token tokens[3];
    if (take_tokens(reply, tokens) != 1 || tokens[0].type != RESP_INTEGER) {
        return false;
    }
    take_members(meta, buffer_slice(&meta->written), (uint64_t)tokens[0].integer);
    return true;
}

/* ---- requests ---- */

static bool read_command(struct slice argv[static ARGUMENTS], struct command *ret_command)
{
    argv[0] = SLICE_LITERAL("COHORT.GETV");
    argv[1] = SLICE_LITERAL("members");
    *ret_command = (struct command){.argv = argv, .argc = 2, .protocol = RESP2};
    return command_lookup(argv, 2, &ret_command->spec) == COMMAND_FOUND;
}

static void submit(struct meta *meta, const struct command *command, enum asked asked)
{
    meta->asked = asked;
    enum status status = meta->events.submit(meta->owner, command, &meta->requester, ++meta->tag);
    if (status != STATUS_OK) {
        meta->asked = ASKED_NOTHING;
        pause(meta);
    }
}

static void submit_read(struct meta *meta)
{
    struct slice argv[ARGUMENTS];
    struct command command;
    bool found = read_command(argv, &command);
    ASSERT(found);
    submit(meta, &command, ASKED_READ);
}

/* Writes these members if the version is still the known one. */
static void submit_write(struct meta *meta, const struct members *members)
{
    char version[NUMBER_INT64_BYTES];
    buffer_clear(&meta->written);
    members_encode(members, &meta->written);
    const struct slice argv[ARGUMENTS] = {SLICE_LITERAL("COHORT.SETV"), SLICE_LITERAL("members"),
                                          buffer_slice(&meta->written),
                                          slice_of(version, number_format_uint64(version, meta->version))};
    struct command command = {.argv = argv, .argc = ARGUMENTS, .protocol = RESP2};
    bool found = command_lookup(argv, ARGUMENTS, &command.spec) == COMMAND_FOUND;
    ASSERT(found);
    submit(meta, &command, ASKED_WRITE);
}

static struct resp_writer *reply_begin(struct requester *requester, uint64_t tag)
{
    struct meta *meta = CONTAINER_OF(requester, struct meta, requester);
    ASSERT(tag == meta->tag && meta->asked != ASKED_NOTHING);
    buffer_clear(&meta->reply);
    meta->writer = resp_writer_to(&meta->reply, RESP2);
    return &meta->writer;
}

static void reply_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct meta *meta = CONTAINER_OF(requester, struct meta, requester);
    enum asked asked = meta->asked;
    ASSERT(tag == meta->tag && asked != ASKED_NOTHING);
    (void)command;
    meta->asked = ASKED_NOTHING;
    meta->look = true;
    if (meta->refused) {
        return;
    }
    bool good = asked == ASKED_READ ? take_read(meta, buffer_slice(&meta->reply))
                                    : take_written(meta, buffer_slice(&meta->reply));
    meta->stale = !good;
    if (good) {
        meta->heard = true;
        meta->heard_ns = env_monotonic_ns(meta->env);
    } else {
        pause(meta);
    }
}

static void reply_failed(struct requester *requester, uint64_t tag, enum status status)
{
    struct meta *meta = CONTAINER_OF(requester, struct meta, requester);
    ASSERT(tag == meta->tag && meta->asked != ASKED_NOTHING);
    (void)status; /* whatever became of it, the next look tells */
    meta->asked = ASKED_NOTHING;
    meta->stale = true;
    if (!meta->refused) {
        pause(meta);
    }
}

static const struct requester_events requester_events = {reply_begin, reply_end, reply_failed};

/* ---- what is to be done ---- */

/* How this node's line in the members should be. */
static struct members_change own_line(const struct meta *meta)
{
    struct members_change change = {.kind = MEMBERS_SEEN,
                                    .node = meta->node,
                                    .incarnation = meta->incarnation,
                                    .format = MEMBERS_FORMAT,
                                    .start = meta->lineage.start};
    const struct member *self = members_find(meta->members, meta->node);
    if (self != NULL) {
        change.client = self->client;
        change.peer = self->peer;
    }
    return change;
}

static bool all_seen(const struct members *members)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->nodes[i].format == 0) {
            return false;
        }
    }
    return true;
}

/* Whether this node's line is right; if not, *meta->spare has the members with it. */
static bool is_settled(struct meta *meta)
{
    struct members_change change = own_line(meta);
    enum members_verdict verdict;
    *meta->spare = *meta->members;
    enum status status = members_apply(meta->spare, &change, &verdict);
    ASSERT(status == STATUS_OK);
    const struct member *self = members_find(meta->members, meta->node);
    if (verdict == MEMBERS_CHANGED && !lineage_knows(&meta->lineage, self->start)) {
        verdict = MEMBERS_COPY;
    }
    if (verdict != MEMBERS_CHANGED && verdict != MEMBERS_UNCHANGED) {
        char line[MEMBERS_EXPLAIN_BYTES];
        members_explain(meta->members, &change, verdict, line);
        refuse(meta, STATUS_INVALID, line);
    }
    return verdict == MEMBERS_UNCHANGED;
}

/* Something is to be written, as far as is known; it is in meta->spare, or the first members themselves. */
static bool needs_write(struct meta *meta)
{
    if (meta->version == 0) {
        return meta->leading && meta->empty;
    }
    meta->settled = meta->settled || is_settled(meta);
    return !meta->settled && !meta->refused;
}

/* When a node without a replica of the group asks it. */
static int64_t ask_ns(const struct meta *meta)
{
    bool calm = meta->settled && all_seen(meta->members);
    return meta->heard && !meta->stale ? meta->heard_ns + (calm ? META_REFRESH_MS : META_ASK_MS) * MS_NS : 0;
}

static bool look_here(struct meta *meta)
{
    struct slice argv[ARGUMENTS];
    struct command command;
    bool found = read_command(argv, &command);
    ASSERT(found);
    buffer_clear(&meta->local);
    struct resp_writer writer = resp_writer_to(&meta->local, RESP2);
    return meta->events.read_here(meta->owner, &command, &writer) && take_read(meta, buffer_slice(&meta->local));
}

void meta_turn(struct meta *meta)
{
    if (!meta->look || meta->refused) {
        return;
    }
    meta->look = false;
    bool here = look_here(meta);
    if (meta->refused || meta->asked != ASKED_NOTHING) {
        return; /* its answer brings the next look */
    }
    int64_t now_ns = env_monotonic_ns(meta->env);
    bool writes = (here || (meta->heard && !meta->stale)) && needs_write(meta);
    int64_t due_ns = writes || meta->refused ? 0 : here ? INT64_MAX : ask_ns(meta);
    due_ns = due_ns > meta->not_before_ns ? due_ns : meta->not_before_ns;
    if (meta->refused || due_ns == INT64_MAX) {
        return;
    }
    if (now_ns < due_ns) {
        env_timer_start(meta->env, &meta->again, due_ns);
    } else if (writes) {
        submit_write(meta, meta->version == 0 ? meta->members : meta->spare);
    } else {
        submit_read(meta);
    }
}

void meta_applied(struct meta *meta) { meta->look = true; }

void meta_leading(struct meta *meta, bool leading)
{
    meta->leading = leading;
    meta->look = true;
}

/* ---- life ---- */

struct meta *meta_create(struct env *env, const struct meta_options *options, const struct meta_events *events,
                         void *owner)
{
    const struct founding_record *record = options->record;
    struct meta *meta = memory_allocate_zeroed(1, sizeof(*meta));
    meta->requester.events = &requester_events;
    meta->env = env;
    meta->events = *events;
    meta->owner = owner;
    meta->node = options->node;
    meta->incarnation = options->incarnation;
    meta->lineage = options->lineage;
    meta->cluster = record->cluster;
    meta->shard_count = record->shards;
    meta->members = members_create();
    meta->spare = members_create();
    meta->look = true;
    env_timer_init(&meta->again, again);
    enum status status =
        members_make(meta->members, &record->cluster, record->shards, record->replicas, record->nodes, record->count);
    ASSERT(status == STATUS_OK); /* founding_record.h */
    return meta;
}

void meta_destroy(struct meta *meta)
{
    if (meta == NULL) {
        return;
    }
    env_timer_stop(meta->env, &meta->again);
    members_destroy(meta->members);
    members_destroy(meta->spare);
    buffer_deinit(&meta->reply);
    buffer_deinit(&meta->local);
    buffer_deinit(&meta->written);
    free(meta);
}

const struct members *meta_members(const struct meta *meta) { return meta->members; }

uint64_t meta_version(const struct meta *meta) { return meta->version; }

bool meta_settled(const struct meta *meta) { return meta->settled; }
