/* Reading what changed: from this worker's state, or by asking whoever has it. */
#include "base/assert.h"
#include "base/number.h"
#include "server/service_watch_internal.h"

/* ---- questions ---- */

static void add(struct service_watches *watches, size_t *argc, struct slice text)
{
    command_arguments_reserve(&watches->arguments, (uint32_t)*argc + 1);
    watches->arguments.items[(*argc)++] = text;
}

static void add_number(struct service_watches *watches, size_t *argc, int64_t number)
{
    size_t at = watches->digits.size;
    char *digits = (char *)watches->digits.data + at; /* it has room for all of them */
    size_t size = number_format_int64(digits, number);
    watches->digits.size += NUMBER_INT64_BYTES;
    add(watches, argc, slice_of(digits, size));
}

static void begin_question(struct service_watches *watches, size_t *argc, size_t numbers, int64_t known)
{
    buffer_clear(&watches->digits);
    (void)buffer_reserve(&watches->digits, (numbers + 2) * NUMBER_INT64_BYTES);
    *argc = 0;
    add(watches, argc, SLICE_LITERAL("COHORT.SERVICE.READ"));
    add_number(watches, argc, known);
    add_number(watches, argc, SERVICE_READ_BYTES);
}

static struct command end_question(const struct service_watches *watches, size_t argc)
{
    return (struct command){command_by_id(COMMAND_COHORT_SERVICE_READ), watches->arguments.items, (uint32_t)argc,
                            RESP2};
}

/* Of the groups that are next. When all were as new as `known`, the answer is short unless the shard has moved. */
static struct command ask_groups(struct service_watches *watches, const struct service_source *source)
{
    size_t argc;
    size_t groups = 0;
    begin_question(watches, &argc, SERVICE_READ_GROUPS, source->left == 0 ? source->known : -1);
    LIST_FOR_EACH (at, &source->groups) {
        const struct service_group *group = CONTAINER_OF(at, struct service_group, node);
        if (groups++ == SERVICE_READ_GROUPS || (source->left != 0 && groups > source->left)) {
            break;
        }
        add(watches, &argc, service_group_name(group));
        add_number(watches, &argc, group->revision);
    }
    return end_question(watches, argc);
}

static struct command ask_one(struct service_watches *watches, const struct service_watch *watch)
{
    size_t argc;
    begin_question(watches, &argc, 1, -1);
    add(watches, &argc, service_group_name(watch->group));
    add_number(watches, &argc, watch->revision);
    return end_question(watches, argc);
}

/* ---- asking ---- */

static struct resp_writer *fetch_begin(struct requester *requester, uint64_t tag)
{
    struct service_fetch *fetch = (struct service_fetch *)requester;
    (void)tag;
    fetch->writer = resp_writer_to(&fetch->reply, RESP2);
    return &fetch->writer;
}

static void take_groups(struct service_fetch *fetch, bool failed)
{
    struct service_watches *watches = fetch->watches;
    struct service_source *source = service_source_of(watches, fetch->shard);
    int64_t before = source->known;
    source->asked = false;
    failed = failed || !service_watches_tell(watches, fetch->shard, buffer_slice(&fetch->reply));
    bool news = !failed && (source->known != before || source->left != 0);
    int64_t doubled_ms = source->pause_ms * 2 < SERVICE_POLL_IDLE_MS ? source->pause_ms * 2 : SERVICE_POLL_IDLE_MS;
    source->pause_ms = news ? SERVICE_POLL_MS : failed ? SERVICE_POLL_IDLE_MS : doubled_ms;
    source->poll_ns =
        source->left != 0 && !failed ? 0 : server_now_ns(watches->server) + source->pause_ms * SERVICE_MS_NS;
    service_watches_want_at(watches, source->poll_ns);
}

static void fetch_over(struct service_fetch *fetch, bool failed)
{
    struct service_watch *watch = fetch->watch;
    if (fetch->of_shard) {
        take_groups(fetch, failed);
    } else if (watch != NULL) {
        watch->fetch = NULL;
        if (!failed) {
            service_watch_told_first(watch, buffer_slice(&fetch->reply));
        } /* else it asks again, ten times a second */
    }
    list_remove(&fetch->node);
    buffer_deinit(&fetch->reply);
    free(fetch);
}

static void fetch_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)tag;
    (void)command;
    fetch_over((struct service_fetch *)requester, false);
}

static void fetch_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    (void)status;
    fetch_over((struct service_fetch *)requester, true);
}

static const struct requester_events fetch_events = {fetch_begin, fetch_end, fetch_failed, NULL, NULL};

/* NULL: it is not taken now. */
static struct service_fetch *submit(struct service_watches *watches, uint32_t shard, const struct command *command,
                                    enum cluster_way way)
{
    struct service_fetch *fetch = memory_allocate_zeroed(1, sizeof(*fetch));
    *fetch = (struct service_fetch){.requester = {.events = &fetch_events}, .watches = watches, .shard = shard};
    list_init(&fetch->node);
    list_append(&watches->fetches, &fetch->node);
    if (cluster_submit(watches->server->cluster, shard, command, way, &fetch->requester, 0) != STATUS_OK) {
        list_remove(&fetch->node);
        free(fetch);
        return NULL;
    }
    return fetch;
}

void service_watch_begin(struct service_watch *watch)
{
    struct service_watches *watches = watch->connection->server->service_watches;
    if (watch->fetch == NULL && service_watch_may_push(watch)) {
        struct command command = ask_one(watches, watch);
        watch->fetch = submit(watches, watch->group->shard, &command, CLUSTER_PLAIN);
        if (watch->fetch != NULL) {
            watch->fetch->watch = watch;
        }
    }
}

/* ---- a shard in its turn ---- */

static void poll(struct service_watches *watches, struct service_source *source, uint32_t shard)
{
    if (source->asked) {
        return;
    }
    if (!source->forced && server_now_ns(watches->server) < source->poll_ns) {
        service_watches_want_at(watches, source->poll_ns);
        return;
    }
    source->forced = false;
    struct command command = ask_groups(watches, source);
    struct service_fetch *fetch = submit(watches, shard, &command, CLUSTER_WEAK);
    if (fetch == NULL) {
        source->pause_ms = SERVICE_POLL_IDLE_MS;
        source->poll_ns = server_now_ns(watches->server) + source->pause_ms * SERVICE_MS_NS;
        service_watches_want_at(watches, source->poll_ns);
        return;
    }
    fetch->of_shard = true;
    source->asked = true;
}

/* False: it is not here. */
static bool read_here(struct service_watches *watches, struct service_source *source, uint32_t shard)
{
    struct command command = ask_groups(watches, source);
    struct buffer *reply = &watches->scratch;
    buffer_clear(reply);
    struct resp_writer writer = resp_writer_to(reply, RESP2);
    if (!cluster_read_here(watches->server->cluster, shard, &command, &writer)) {
        return false;
    }
    bool sound = service_watches_tell(watches, shard, buffer_slice(reply));
    ASSERT(sound); /* it is this node's own */
    buffer_shrink(reply, SERVICE_READ_BYTES);
    return true;
}

bool service_source_turn(struct service_watches *watches, uint32_t shard)
{
    struct service_source *source = service_source_of(watches, shard);
    if (source->count == 0) {
        return false;
    }
    uint64_t applied = cluster_applied_here(watches->server->cluster, shard);
    if (applied != 0 && applied == source->applied && source->left == 0 && !source->forced) {
        return false;
    }
    if (applied == 0 || source->asked) { /* one question at a time: answers are told in order */
        poll(watches, source, shard);
        return false;
    }
    bool forced = source->forced;
    source->forced = false;
    if (!read_here(watches, source, shard)) {
        source->forced = forced;
        poll(watches, source, shard);
        return false;
    }
    source->applied = applied;
    return source->left != 0 || source->forced;
}
