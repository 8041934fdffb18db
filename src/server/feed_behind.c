/* Feeds that are behind the front read by themselves, one piece at a time, in turn. */
#include "server/feeds_internal.h"

void feed_look_later(struct feed *feed)
{
    struct feeds *feeds = feed->connection->server->feeds;
    feed->due_ns = server_now_ns(feeds->server) + (int64_t)FEED_LATER_MS * FEED_MS_NS;
    list_remove(&feed->behind_node);
    list_append(&feeds->later, &feed->behind_node); /* all wait equally long: the first is due first */
    feeds_want_at(feeds, feed->due_ns);
}

/* Records up to the front, those of its prefix into `body`. */
static size_t take_records(struct feed *feed, uint32_t shard, struct slice records, struct buffer *body)
{
    struct feeds *feeds = feed->connection->server->feeds;
    struct feed_place *place = &feed->places[shard - 1];
    struct feed_mark front = feeds->sources[shard - 1].mark;
    struct slice prefix = slice_of(feed->group->prefix->bytes, feed->group->prefix->size);
    size_t changes = 0;
    struct feed_change change;
    while (records.size > 0 && feed_take(&records, &change) && feed_mark_compare(change.mark, front) <= 0 &&
           feed_mark_compare(change.mark, place->mark) > 0) {
        place->mark = change.mark;
        if (feed_kind_is_of_all(change.kind) || slice_starts_with(change.key, prefix)) {
            feed_put_change(feeds, shard, &change, body);
            changes++;
        }
    }
    return changes;
}

static void take_here(struct feed *feed, uint32_t shard, const struct feed_answer *answer)
{
    struct feeds *feeds = feed->connection->server->feeds;
    struct feed_mark before = feed->places[shard - 1].mark;
    struct buffer body = {0};
    size_t changes = take_records(feed, shard, answer->records, &body);
    struct feed_mark mark = feed->places[shard - 1].mark;
    if (feed_mark_compare(mark, feeds->sources[shard - 1].mark) == 0) {
        feed_caught_up(feed, shard);
    }
    if (changes > 0) {
        feed_push(feed, buffer_slice(&body), changes);
    }
    buffer_deinit(&body);
    if (feed->behind != 0 && feed_mark_compare(mark, before) == 0) {
        feed_look_later(feed);
    } else if (feed->behind != 0) {
        feed_make_ready(feed);
    }
}

void feed_behind_answered(struct feed *feed, uint32_t shard, const struct feed_answer *answer)
{
    if (feed->places == NULL || !feed->places[shard - 1].behind) {
        feed_make_ready(feed);
        return;
    }
    switch (answer->look) {
    case FEED_ANSWER_HERE: take_here(feed, shard, answer); return;
    case FEED_ANSWER_GONE:
        feed_push_end(feed, "COMPACTED",
                      "is where this feed was; changes behind it are forgotten: read the keys, and begin without FROM");
        return;
    case FEED_ANSWER_UNKNOWN:
        feed_push_end(feed, "ERR",
                      "is where this feed was, and not in the history of this cluster: it was rolled back; read the "
                      "keys, and begin without FROM");
        return;
    default: feed_look_later(feed);
    }
}

/* The next shard in which it is not at the front; also before it: then its mark is looked at. 0: none. */
static uint32_t next_shard(struct feed *feed)
{
    struct feeds *feeds = feed->connection->server->feeds;
    uint32_t shards = feeds->server->shards;
    for (uint32_t i = 0; i < shards && feed->behind != 0; i++) {
        uint32_t shard = (feed->next + i) % shards + 1;
        const struct feed_place *place = &feed->places[shard - 1];
        if (place->behind && feed_mark_compare(place->mark, feeds->sources[shard - 1].mark) == 0) {
            feed_caught_up(feed, shard);
        } else if (place->behind) {
            feed->next = shard % shards;
            return shard;
        }
    }
    return 0;
}

/* The feed is in no list. */
static void go_on(struct feed *feed)
{
    struct feeds *feeds = feed->connection->server->feeds;
    if (feed->fetch != NULL) {
        return;
    }
    if (!feed_may_push(feed)) {
        feed_stick(feed);
        return;
    }
    uint32_t shard = next_shard(feed);
    struct feed_answer answer;
    if (shard == 0) {
        return;
    }
    if (feed_read_here(feeds, shard, feed->places[shard - 1].mark, &answer)) {
        feed_behind_answered(feed, shard, &answer);
    } else if (!feed_ask(feeds, shard, feed->places[shard - 1].mark, feed)) {
        feed_look_later(feed);
    }
}

bool feed_behind_turn(struct feeds *feeds)
{
    int64_t now_ns = server_now_ns(feeds->server);
    while (!list_empty(&feeds->later)) {
        struct feed *feed = CONTAINER_OF(feeds->later.next, struct feed, behind_node);
        if (feed->due_ns > now_ns) {
            feeds_want_at(feeds, feed->due_ns);
            break;
        }
        feed_make_ready(feed);
    }
    for (int i = 0; i < FEED_BEHIND && !list_empty(&feeds->ready); i++) {
        struct feed *feed = CONTAINER_OF(feeds->ready.next, struct feed, behind_node);
        list_remove(&feed->behind_node);
        go_on(feed);
    }
    return !list_empty(&feeds->ready);
}
