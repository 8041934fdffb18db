/* COHORT.FEED and COHORT.UNFEED: the words, and what the shards say before a feed begins.
 *
 * Each shard is asked, strongly, how the position stands in its history and where that ends; one that this worker has
 * not told to keep it for a while is told so, by the same question. So what was acknowledged before COHORT.FEED is
 * before the position that it answers, and a position that some node has told is never ahead of what the shards say. */
#include "base/hash.h"
#include "base/number.h"
#include "server/feeds_internal.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/txn_answer.h"

enum { ASK_ARGUMENTS = 5 };

struct feed_start {
    struct connection *connection;
    struct buffer prefix;
    bool from;
    uint64_t asked_whose;
    struct feed_mark *asked, *floors, *lasts; /* by shard − 1 */
    uint64_t *whose;
    bool gone, unknown, off;
    uint32_t waiting; /* answers to come, and one more while they are being asked for */
    enum status failure;
    struct buffer part;
};

bool feeds_take(const struct command_spec *spec)
{
    return spec->id == COMMAND_COHORT_FEED || spec->id == COMMAND_COHORT_UNFEED;
}

bool feeds_refuse(const struct connection *connection, const struct command_spec *spec)
{
    if (!feeds_of(connection) || connection->protocol == RESP3 || feeds_take(spec)) {
        return false;
    }
    switch (spec->id) {
    case COMMAND_PING:
    case COMMAND_QUIT:
    case COMMAND_RESET:
    case COMMAND_HELLO: return false;
    default: return true;
    }
}

/* ---- asking ---- */

static struct feed_start *start_create(struct connection *connection, struct slice prefix)
{
    uint32_t shards = connection->server->shards;
    struct feed_start *start = memory_allocate_zeroed(1, sizeof(*start));
    start->connection = connection;
    connection->server->feeds->starting++;
    buffer_append_slice(&start->prefix, prefix);
    start->asked = memory_allocate_zeroed(shards, sizeof(*start->asked));
    start->floors = memory_allocate_zeroed(shards, sizeof(*start->floors));
    start->lasts = memory_allocate_zeroed(shards, sizeof(*start->lasts));
    start->whose = memory_allocate_zeroed(shards, sizeof(*start->whose));
    return start;
}

void feed_start_destroy(struct feed_start *start)
{
    start->connection->feed_start = NULL;
    start->connection->server->feeds->starting--;
    buffer_deinit(&start->prefix);
    buffer_deinit(&start->part);
    free(start->asked);
    free(start->floors);
    free(start->lasts);
    free(start->whose);
    free(start);
}

static bool was_kept(const struct feeds *feeds, uint32_t shard)
{
    const struct feed_source *source = &feeds->sources[shard - 1];
    int64_t half_ns = feeds->server->config.feed_history_ms * FEED_MS_NS / 2;
    return source->kept && server_now_ns(feeds->server) - source->kept_ns < half_ns;
}

static enum status ask(struct feed_start *start, uint32_t shard, uint64_t slot)
{
    struct connection *connection = start->connection;
    struct server *server = connection->server;
    bool kept = was_kept(server->feeds, shard);
    const struct feed_mark *mark = &start->asked[shard - 1];
    const uint64_t numbers[] = {(uint64_t)server->config.feed_history_bytes, (uint64_t)server->config.feed_history_ms,
                                mark->position, mark->sub};
    char digits[4][NUMBER_INT64_BYTES];
    struct slice argv[ASK_ARGUMENTS];
    uint32_t argc = 0;
    argv[argc++] = kept ? SLICE_LITERAL("COHORT.FEED.STATE") : SLICE_LITERAL("COHORT.FEED.KEEP");
    for (uint32_t i = kept ? 2 : 0; i < 4; i++) {
        argv[argc++] = slice_of(digits[i], number_format_uint64(digits[i], numbers[i]));
    }
    const struct command command = {command_by_id(kept ? COMMAND_COHORT_FEED_STATE : COMMAND_COHORT_FEED_KEEP), argv,
                                    argc, RESP2};
    return cluster_submit(server->cluster, shard, &command, CLUSTER_PLAIN, &connection->requester,
                          slot_tag(slot, shard));
}

static void begin(struct connection *connection, const struct command *command, struct feed_start *start)
{
    uint64_t number = slot_open(connection, command->spec);
    struct slot *slot = slot_at(connection, number);
    slot->kind = SLOT_FEED;
    slot->feed_start = start;
    connection->feed_start = start;
    start->waiting = 1;
    for (uint32_t shard = 1; shard <= connection->server->shards; shard++) {
        start->waiting++;
        enum status status = ask(start, shard, number);
        if (status == STATUS_OK) {
            connection->owed++;
        } else {
            (void)feed_start_failed(start, status);
        }
    }
    if (--start->waiting == 0) {
        slot_finish(connection, number);
    }
}

/* ---- the words ---- */

/* NULL, or why the position cannot be one of this cluster. */
static const char *take_position(struct feed_start *start, struct slice text)
{
    start->from = true;
    switch (feed_position_take(text, start->connection->server->shards, &start->asked_whose, start->asked)) {
    case FEED_POSITION_OK: return NULL;
    case FEED_POSITION_VERSION:
        return "ERR the position is of a newer version of this server; begin without FROM, or bring all nodes to one "
               "version";
    case FEED_POSITION_SHARDS:
        return "ERR the position is of a cluster with another number of shards; read the keys, and begin without FROM";
    case FEED_POSITION_MALFORMED: break;
    }
    return "ERR invalid position; give one as a feed has told it, or begin without FROM";
}

/* Also those count that are about to begin: however many ask at once, no more begin. */
static bool is_full(const struct server *server)
{
    size_t feeds = server->feeds == NULL ? 0 : server->feeds->count + server->feeds->starting;
    return feeds >= (size_t)server->config.feeds_maximum / server->worker_count;
}

static const char *refusal(struct connection *connection, struct slice prefix)
{
    struct server *server = connection->server;
    if (prefix.size > FEED_PREFIX_BYTES) {
        return "ERR the prefix of a feed has at most 512 bytes";
    }
    if (connection->feed_count >= FEEDS_PER_CLIENT) {
        return "ERR this connection has 1024 feeds, which is the most; end some with COHORT.UNFEED, or open another";
    }
    if (is_full(server)) {
        return "ERR this node has as many feeds as feed-max allows; end some, ask another node, or raise it";
    }
    LIST_FOR_EACH (at, &connection->feeds) {
        const struct feed_prefix *one = CONTAINER_OF(at, struct feed, of_connection)->group->prefix;
        if (slice_equal(slice_of(one->bytes, one->size), prefix)) {
            return "ERR this connection has a feed of this prefix already; end it first with COHORT.UNFEED PREFIX";
        }
    }
    return NULL;
}

static void feed_command(struct connection *connection, const struct command *command)
{
    bool from = command->argc == 5;
    if (!slice_is_word(command->argv[1], "PREFIX") || (!from && command->argc != 3) ||
        (from && !slice_is_word(command->argv[3], "FROM"))) {
        reply_with_error(connection, "ERR syntax error");
        return;
    }
    const char *problem = refusal(connection, command->argv[2]);
    if (problem != NULL) {
        reply_with_error(connection, problem);
        return;
    }
    (void)feeds_make(connection->server);
    struct feed_start *start = start_create(connection, command->argv[2]);
    problem = from ? take_position(start, command->argv[4]) : NULL;
    if (problem != NULL) {
        feed_start_destroy(start);
        reply_with_error(connection, problem);
        return;
    }
    begin(connection, command, start);
}

static void unfeed_command(struct connection *connection, const struct command *command)
{
    bool one = command->argc == 3;
    if ((!one && command->argc != 1) || (one && !slice_is_word(command->argv[1], "PREFIX"))) {
        reply_with_error(connection, "ERR syntax error");
        return;
    }
    int64_t ended = 0;
    LIST_FOR_EACH_SAFE (at, after, &connection->feeds) {
        struct feed *feed = CONTAINER_OF(at, struct feed, of_connection);
        const struct feed_prefix *prefix = feed->group->prefix;
        if (!one || slice_equal(slice_of(prefix->bytes, prefix->size), command->argv[2])) {
            feed_end(feed);
            ended++;
        }
    }
    struct resp_writer *reply = reply_begin(connection);
    resp_integer(reply, ended);
    reply_end(connection);
}

void feeds_command(struct connection *connection, const struct command *command)
{
    if (command->spec->id == COMMAND_COHORT_UNFEED) {
        unfeed_command(connection, command);
        route_measure(connection, command);
    } else {
        feed_command(connection, command);
    }
}

/* ---- answers ---- */

struct buffer *feed_start_part(struct feed_start *start)
{
    buffer_clear(&start->part);
    return &start->part;
}

bool feed_start_failed(struct feed_start *start, enum status status)
{
    if (start->failure == STATUS_OK || status == STATUS_UNCERTAIN) {
        start->failure = status;
    }
    return --start->waiting == 0;
}

static bool take_mark(struct slice *from, struct feed_mark *ret_mark)
{
    int64_t position;
    int64_t sub;
    bool taken =
        answer_integer(from, &position) && answer_integer(from, &sub) && position >= 0 && sub >= 0 && sub <= UINT32_MAX;
    *ret_mark = taken ? (struct feed_mark){(uint64_t)position, (uint32_t)sub} : (struct feed_mark){0, 0};
    return taken;
}

static bool take_part(struct feed_start *start, uint32_t shard, struct slice part)
{
    uint64_t count;
    int64_t whose;
    struct slice look;
    uint32_t i = shard - 1;
    if (!answer_array(&part, &count) || count != 6 || !answer_integer(&part, &whose) || !answer_text(&part, &look) ||
        !take_mark(&part, &start->floors[i]) || !take_mark(&part, &start->lasts[i])) {
        return false;
    }
    start->whose[i] = (uint64_t)whose;
    start->gone = start->gone || slice_is_word(look, "GONE");
    start->unknown = start->unknown || slice_is_word(look, "UNKNOWN") || slice_is_word(look, "AHEAD");
    start->off = start->off || start->floors[i].position == 0;
    return true;
}

bool feed_start_take(struct feed_start *start, uint32_t shard)
{
    struct feeds *feeds = start->connection->server->feeds;
    if (!take_part(start, shard, buffer_slice(&start->part))) {
        return feed_start_failed(start, STATUS_UNCERTAIN);
    }
    struct feed_source *source = &feeds->sources[shard - 1];
    if (start->floors[shard - 1].position == 0) {
        source->kept = false; /* it is not, whatever we were told */
    } else if (!was_kept(feeds, shard)) {
        source->kept = true; /* so it was KEEP that was asked */
        source->kept_ns = server_now_ns(start->connection->server);
    }
    return --start->waiting == 0;
}

/* ---- the reply ---- */

static void reply_compacted(struct feed_start *start, uint64_t whose, struct resp_writer *reply)
{
    struct buffer text = {0};
    uint32_t shards = start->connection->server->shards;
    for (uint32_t i = 0; i < shards; i++) {
        bool gone = feed_mark_compare(start->asked[i], start->floors[i]) < 0;
        start->asked[i] = gone ? start->floors[i] : start->asked[i];
    }
    feed_position_put(&text, whose, start->asked, shards);
    resp_error_format(reply,
                      "COMPACTED %.*s is the oldest position left; changes before it are forgotten: read the keys, and "
                      "go on from there",
                      (int)text.size, (const char *)text.data);
    buffer_deinit(&text);
}

static void reply_ok(struct feed_start *start, uint64_t whose, struct resp_writer *reply)
{
    struct server *server = start->connection->server;
    const struct feed_mark *marks = start->from ? start->asked : start->lasts;
    struct buffer text = {0};
    feed_position_put(&text, whose, marks, server->shards);
    resp_array(reply, 2);
    resp_status(reply, "OK");
    resp_bulk(reply, buffer_slice(&text));
    buffer_deinit(&text);
    server->feeds->whose = whose;
    feed_add(server->feeds, start->connection, buffer_slice(&start->prefix), marks);
}

void feed_start_reply(struct connection *connection, struct feed_start *start, struct resp_writer *reply)
{
    uint64_t whose = hash_bytes(0, start->whose, connection->server->shards * sizeof(*start->whose));
    if (start->failure != STATUS_OK) {
        resp_error(reply, route_refusal(start->failure, true));
    } else if (start->off) {
        resp_error(reply, "CLUSTERDOWN a shard has just stopped to keep its changes; no feed has begun, try again");
    } else if (start->from && whose != start->asked_whose) {
        resp_error(reply, "ERR the position is of another cluster; read the keys, and begin without FROM");
    } else if (start->from && start->unknown) {
        resp_error(reply, "ERR the position is not in the history of this cluster: it is of a state that was lost or "
                          "rolled back; read the keys, and begin without FROM");
    } else if (start->from && start->gone) {
        reply_compacted(start, whose, reply);
    } else {
        reply_ok(start, whose, reply);
    }
}
