/* What shards answer, told to those who watch. An answer: [newest, done, [name, look, from, revision, more, [one …]] …]
 * (machine/service/service_show.c). Pushes: [service, name, change]; over RESP2 an array, whose inside is the same. */
#include "cluster/cluster_mutation.h"
#include "server/service_watch_internal.h"

struct answer {
    struct slice name, look;
    int64_t from, revision;
    uint64_t count;
    struct slice ones; /* so many, one behind the other, and what follows them */
};

/* The bytes of one value from the front. */
static bool take_raw(struct slice *from, struct slice *ret_raw)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    enum resp_type root;
    resp_reader_init(&reader);
    if (resp_reader_skip(&reader, &limits, from->data, from->size, &root) != RESP_REPLY_READY) {
        return false;
    }
    *ret_raw = slice_of(from->data, reader.consumed);
    *from = slice_of(from->data + reader.consumed, from->size - reader.consumed);
    return true;
}

static bool take_answer(struct slice *from, struct answer *ret_answer)
{
    uint64_t elements;
    struct slice raw;
    if (!answer_array(from, &elements) || elements != 5 || !answer_text(from, &ret_answer->name) ||
        !answer_text(from, &ret_answer->look) || !answer_integer(from, &ret_answer->from) ||
        !answer_integer(from, &ret_answer->revision) || !answer_array(from, &ret_answer->count)) {
        return false;
    }
    ret_answer->ones = *from;
    for (uint64_t i = 0; i < ret_answer->count; i++) {
        if (!take_raw(from, &raw)) {
            return false;
        }
    }
    return true;
}

/* ---- pushes ---- */

static struct resp_writer begin_push(struct service_watch *watch)
{
    struct connection *connection = watch->connection;
    struct resp_writer writer = resp_writer_to(connection_output(connection), connection->protocol);
    resp_push(&writer, 3);
    resp_bulk_string(&writer, "service");
    resp_bulk(&writer, service_group_name(watch->group));
    return writer;
}

static void told(struct service_watch *watch)
{
    struct service_watches *watches = watch->connection->server->service_watches;
    watch->told_ns = server_now_ns(watches->server);
    list_remove(&watch->told_node);
    list_append(&watches->told, &watch->told_node);
    connection_mark_dirty(watch->connection);
}

void service_watch_tell_alive(struct service_watch *watch)
{
    struct resp_writer writer = begin_push(watch);
    resp_array(&writer, 2);
    resp_integer(&writer, watch->revision);
    resp_bulk_string(&writer, "alive");
    told(watch);
}

static void tell_list(struct service_watch *watch, const struct answer *answer)
{
    struct resp_writer writer = begin_push(watch);
    struct slice rest = answer->ones;
    struct slice raw;
    resp_array(&writer, 3);
    resp_integer(&writer, answer->revision);
    resp_bulk_string(&writer, "list");
    resp_array(&writer, answer->count);
    for (uint64_t i = 0; i < answer->count && take_raw(&rest, &raw); i++) {
        resp_raw(&writer, raw);
    }
    watch->revision = answer->revision;
    told(watch);
    watch->connection->server->figures.service_pushes++;
}

/* Those behind its own revision. */
static void tell_changes(struct service_watch *watch, const struct answer *answer)
{
    struct slice rest = answer->ones;
    struct slice raw;
    for (uint64_t i = 0; i < answer->count && take_raw(&rest, &raw); i++) {
        struct slice inside = raw;
        uint64_t elements;
        int64_t revision;
        if (CLUSTER_MUTATED(WATCH_SKIPS) && i + 1 < answer->count) {
            continue;
        }
        if (answer_array(&inside, &elements) && answer_integer(&inside, &revision) && revision > watch->revision) {
            struct resp_writer writer = begin_push(watch);
            resp_raw(&writer, raw);
            watch->revision = revision;
            watch->connection->server->figures.service_pushes++;
        }
    }
    told(watch);
}

/* ---- to whom ---- */

/* What follows `from` is for whoever has been told all up to there; the list, for who is exactly there. */
static bool is_for(const struct service_watch *watch, const struct answer *answer, bool list)
{
    return !watch->begins && !watch->stuck &&
           (list ? watch->revision == answer->from
                 : watch->revision >= answer->from && watch->revision < answer->revision);
}

static void tell_group(struct service_watches *watches, struct service_group *group, const struct answer *answer)
{
    bool list = slice_is_word(answer->look, "LIST");
    LIST_FOR_EACH (at, &group->watches) {
        struct service_watch *watch = CONTAINER_OF(at, struct service_watch, of_group);
        if (!is_for(watch, answer, list)) {
            continue;
        }
        if (!service_watch_may_push(watch)) {
            watch->stuck = true;
        } else if (list) {
            tell_list(watch, answer);
        } else {
            tell_changes(watch, answer);
        }
    }
    service_group_place(watches, group);
}

/* ---- answers ---- */

/* So many of the groups that were asked for, the first ones, are read: they come last now. */
static void pass(struct service_source *source, size_t done)
{
    for (size_t i = 0; i < done && !list_empty(&source->groups); i++) {
        struct list *first = source->groups.next;
        list_remove(first);
        list_append(&source->groups, first);
    }
    source->left = source->left > done ? source->left - done : 0;
}

/* A round goes through all groups once; if none had more to say than was told, all are as new as the shard was when it
 * began. */
static void count_done(struct service_source *source, int64_t newest, uint64_t done)
{
    if (source->left == 0 && newest == source->known) {
        return;
    }
    if (source->left == 0) {
        source->left = source->count;
        source->newest = newest;
    }
    pass(source, done);
    if (source->left == 0) {
        source->known = source->spoiled ? -1 : source->newest;
        source->forced = source->forced || source->spoiled;
        source->spoiled = false;
    }
}

bool service_watches_tell(struct service_watches *watches, uint32_t shard, struct slice reply)
{
    struct service_source *source = service_source_of(watches, shard);
    uint64_t elements;
    int64_t newest;
    int64_t done;
    if (!answer_array(&reply, &elements) || elements < 2 || !answer_integer(&reply, &newest) ||
        !answer_integer(&reply, &done) || done < 0) {
        return false;
    }
    count_done(source, newest, (uint64_t)done);
    for (uint64_t i = 2; i < elements; i++) {
        struct answer answer;
        if (!take_answer(&reply, &answer)) {
            return false;
        }
        struct service_group *group =
            table_find(&watches->groups, table_hash(&watches->groups, answer.name), answer.name);
        if (group == NULL || group->revision == INT64_MAX) {
            continue;
        }
        if (slice_is_word(answer.look, "AHEAD")) {
            source->known = -1; /* until more is applied there */
            continue;
        }
        tell_group(watches, group, &answer);
        if (!slice_is_word(answer.look, "CHANGES")) {
            service_source_spoil(watches, source); /* there may be more to tell */
        }
    }
    return true;
}

/* FROM a revision that no state of this cluster has had: it begins with the list. */
void service_watch_told_first(struct service_watch *watch, struct slice reply)
{
    struct service_watches *watches = watch->connection->server->service_watches;
    uint64_t elements;
    int64_t ignored;
    struct answer answer = {.look = slice_of(NULL, 0)};
    bool taken = answer_array(&reply, &elements) && elements >= 2 && answer_integer(&reply, &ignored) &&
                 answer_integer(&reply, &ignored) && (elements == 2 || take_answer(&reply, &answer));
    if (!taken || slice_is_word(answer.look, "AHEAD")) {
        watch->revision = SERVICE_FROM_LIST;
        return;
    }
    if (slice_is_word(answer.look, "LIST")) {
        tell_list(watch, &answer);
    }
    watch->begins = false;
    service_group_place(watches, watch->group);
    service_source_spoil(watches, service_source_of(watches, watch->group->shard));
}
