/* The front: what is new in a shard, handed on to all feeds that are there. */
#include "cluster/cluster_mutation.h"
#include "server/feeds_internal.h"

struct handing {
    struct feeds *feeds;
    uint32_t shard;
    const struct feed_change *change;
    size_t bytes; /* what the changes so far come to, for all feeds that they belong to */
};

static void add_change(void *owner, struct feed_prefix *prefix)
{
    struct handing *handing = owner;
    struct feed_group *group = prefix->owner;
    size_t before = group->body.size;
    if (group->changes == 0) {
        list_append(&handing->feeds->touched, &group->touched_node);
    }
    feed_put_change(handing->feeds, handing->shard, handing->change, &group->body);
    group->changes++;
    handing->bytes += (group->body.size - before) * group->count;
}

/* Into the groups, as many records as a turn may hand on; the front goes with them. */
static void gather_changes(struct handing *handing, struct slice records)
{
    struct feeds *feeds = handing->feeds;
    struct feed_source *source = &feeds->sources[handing->shard - 1];
    while (records.size > 0 && handing->bytes < FEED_TURN_BYTES) {
        size_t before = records.size;
        struct feed_change change;
        if (!feed_take(&records, &change) || feed_mark_compare(change.mark, source->mark) <= 0) {
            return; /* no node of ours answers so */
        }
        handing->change = &change;
        if (feed_kind_is_of_all(change.kind)) {
            feed_prefixes_each(&feeds->prefixes, add_change, handing);
        } else {
            feed_prefixes_match(&feeds->prefixes, change.key, add_change, handing);
        }
        source->mark = change.mark;
        feeds->passed_bytes += before - records.size;
    }
}

static void push_group(struct feeds *feeds, struct feed_group *group, uint32_t shard, struct feed_mark before,
                       size_t *bytes)
{
    LIST_FOR_EACH (at, &group->feeds) {
        struct feed *feed = CONTAINER_OF(at, struct feed, of_group);
        if (feed->places != NULL && feed->places[shard - 1].behind) {
            continue;
        }
        if (feed_may_push(feed) && *bytes < 2 * FEED_TURN_BYTES) {
            feed_push(feed, buffer_slice(&group->body), group->changes);
            *bytes += group->body.size;
            continue;
        }
        if (CLUSTER_MUTATED(FEED_DROPPED)) {
            continue;
        }
        bool listed = feed->behind != 0;
        feed_fall_behind(feed, shard, before);
        if (!listed) {
            feed_make_ready(feed); /* it finds out what it waits for */
        }
    }
    buffer_clear(&group->body);
    buffer_shrink(&group->body, FEED_READ_BYTES);
    group->changes = 0;
}

/* `bytes`: what was handed on already, and now. True when not all of the records were handed on. */
static bool hand_on(struct feeds *feeds, uint32_t shard, struct slice records, size_t *bytes)
{
    struct handing handing = {.feeds = feeds, .shard = shard, .bytes = *bytes};
    struct feed_mark before = feeds->sources[shard - 1].mark;
    gather_changes(&handing, records);
    if (!CLUSTER_MUTATED(FEED_STALE)) {
        buffer_clear(&feeds->position);
    }
    size_t pushed = 0;
    while (!list_empty(&feeds->touched)) {
        struct feed_group *group = CONTAINER_OF(feeds->touched.next, struct feed_group, touched_node);
        list_remove(&group->touched_node);
        push_group(feeds, group, shard, before, &pushed);
    }
    *bytes = handing.bytes;
    return handing.bytes >= FEED_TURN_BYTES;
}

/* What comes behind the front was forgotten before it was read, or never was: no feed that is there can go on, and each
 * finds that out by itself. */
static void lose_front(struct feeds *feeds, uint32_t shard, struct feed_mark mark)
{
    struct feed_source *source = &feeds->sources[shard - 1];
    LIST_FOR_EACH (at, &feeds->told) {
        struct feed *feed = CONTAINER_OF(at, struct feed, told_node);
        if (feed->places == NULL || !feed->places[shard - 1].behind) {
            feed_fall_behind(feed, shard, source->mark);
            feed_make_ready(feed);
        }
    }
    source->mark = mark;
    buffer_clear(&feeds->position);
}

/* True when there is more to be read at once. */
static bool take_answer(struct feeds *feeds, uint32_t shard, const struct feed_answer *answer, size_t *bytes)
{
    switch (answer->look) {
    case FEED_ANSWER_HERE: return hand_on(feeds, shard, answer->records, bytes) || answer->more;
    case FEED_ANSWER_GONE:
    case FEED_ANSWER_UNKNOWN: lose_front(feeds, shard, answer->mark); return true;
    default: break; /* it is not applied there yet */
    }
    return false;
}

void feed_front_answered(struct feeds *feeds, uint32_t shard, const struct feed_answer *answer)
{
    struct feed_source *source = &feeds->sources[shard - 1];
    bool found = answer->records.size > 0;
    size_t bytes = 0;
    bool more = take_answer(feeds, shard, answer, &bytes);
    int64_t doubled_ms = source->pause_ms * 2 < FEED_POLL_IDLE_MS ? source->pause_ms * 2 : FEED_POLL_IDLE_MS;
    source->pause_ms = found ? FEED_POLL_MS : doubled_ms;
    if (answer->look == FEED_ANSWER_HERE && !more && cluster_heard_leader(feeds->server->cluster, shard) != 0) {
        source->current_ns = server_now_ns(feeds->server);
    }
    source->poll_ns = more ? 0 : server_now_ns(feeds->server) + source->pause_ms * FEED_MS_NS;
    feeds_want_at(feeds, source->poll_ns);
}

void feed_front_failed(struct feeds *feeds, uint32_t shard)
{
    struct feed_source *source = &feeds->sources[shard - 1];
    source->pause_ms = FEED_POLL_IDLE_MS;
    source->poll_ns = server_now_ns(feeds->server) + source->pause_ms * FEED_MS_NS;
    feeds_want_at(feeds, source->poll_ns);
}

/* One that is not here. */
static void poll(struct feeds *feeds, uint32_t shard)
{
    struct feed_source *source = &feeds->sources[shard - 1];
    if (source->asked) {
        return;
    }
    if (server_now_ns(feeds->server) < source->poll_ns) {
        feeds_want_at(feeds, source->poll_ns);
        return;
    }
    source->asked = feed_ask(feeds, shard, source->mark, NULL);
    if (!source->asked) {
        feed_front_failed(feeds, shard);
    }
}

/* One that is here, as far as the turn may go: there may be more than one read of it. `left`: not all of it was read.
 * False: it is not here. */
static bool read_on(struct feeds *feeds, uint32_t shard, size_t *bytes, bool *ret_left)
{
    size_t read = 0;
    bool left = true;
    while (left && read < FEED_FRONT_BYTES && *bytes < FEED_TURN_BYTES) {
        struct feed_answer answer;
        if (!feed_read_here(feeds, shard, feeds->sources[shard - 1].mark, &answer)) {
            return false;
        }
        left = take_answer(feeds, shard, &answer, bytes);
        read += answer.records.size + 1;
    }
    *ret_left = left;
    return true;
}

bool feed_front_turn(struct feeds *feeds)
{
    bool more = false;
    size_t bytes = 0;
    uint32_t shards = feeds->server->shards;
    feeds->first = (feeds->first + 1) % shards;
    for (uint32_t i = 0; i < shards; i++) {
        uint32_t shard = (feeds->first + i) % shards + 1;
        struct feed_source *source = &feeds->sources[shard - 1];
        uint64_t applied = cluster_applied_here(feeds->server->cluster, shard);
        bool left;
        if (!source->known || (applied != 0 && applied == source->applied)) {
            continue;
        }
        if (read_on(feeds, shard, &bytes, &left)) {
            source->applied = left ? 0 : applied;
            more = left || more;
        } else {
            poll(feeds, shard);
        }
    }
    return more;
}
