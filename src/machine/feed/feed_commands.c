/* The internal commands of feeds. Numbers are decimal; a mark is two of them, 0 0 for none.
 *
 *   COHORT.FEED.KEEP bytes ms mark    (write)  begins the history, or keeps it; then as STATE
 *   COHORT.FEED.STATE mark            (read)   [whose, look, floor mark, last mark]
 *   COHORT.FEED.READ mark bytes       (read)   [look, mark, records, 1 when there are more]
 *
 * `whose`: a number that no other shard, and no other cluster's, has. `look` is about the mark that was given: HERE;
 * GONE; UNKNOWN; AHEAD, when it is not applied yet. READ's mark is where to go on; when it is GONE, the floor, and when
 * it is UNKNOWN, the last. */
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/feed/feed_log.h"

enum { READ_BYTES_MAXIMUM = 16 << 20 };

static bool take_number(struct slice text, int64_t most, int64_t *ret_number)
{
    return number_parse_int64(text, ret_number) && *ret_number >= 0 && *ret_number <= most;
}

static bool take_mark(const struct slice *argv, struct feed_mark *ret_mark)
{
    int64_t position;
    int64_t sub;
    if (!take_number(argv[0], INT64_MAX, &position) || !take_number(argv[1], UINT32_MAX, &sub)) {
        return false;
    }
    *ret_mark = (struct feed_mark){(uint64_t)position, (uint32_t)sub};
    return true;
}

static void malformed(struct call *call) { resp_error(&call->reply, "ERR malformed command of a feed"); }

static const char *look_at(const struct call *call, struct feed_mark mark)
{
    if (mark.position > call->applied_position) {
        return "AHEAD";
    }
    switch (feed_log_find(call->history, mark)) {
    case FEED_HERE: return "HERE";
    case FEED_GONE: return "GONE";
    case FEED_UNKNOWN: break;
    }
    return "UNKNOWN";
}

static void put_mark(struct call *call, struct feed_mark mark)
{
    resp_integer(&call->reply, (int64_t)mark.position);
    resp_integer(&call->reply, mark.sub);
}

static void tell(struct call *call, const char *look)
{
    resp_array(&call->reply, 6);
    resp_integer(&call->reply, (int64_t)(keyspace_hash(call->keyspace, SLICE_LITERAL("whose")) >> 1));
    resp_bulk_string(&call->reply, look);
    put_mark(call, call->history->floor);
    put_mark(call, call->history->last);
}

void feed_state(struct call *call)
{
    struct feed_mark mark;
    if (take_mark(call->argv + 1, &mark)) {
        tell(call, look_at(call, mark));
    } else {
        malformed(call);
    }
}

void feed_keep(struct call *call)
{
    int64_t limit_bytes;
    int64_t kept_ms;
    struct feed_mark mark;
    if (!take_number(call->argv[1], FEED_LIMIT_MAXIMUM_BYTES, &limit_bytes) || limit_bytes < FEED_LIMIT_MINIMUM_BYTES ||
        !take_number(call->argv[2], FEED_KEPT_MAXIMUM_MS, &kept_ms) || !take_mark(call->argv + 3, &mark)) {
        malformed(call);
        return;
    }
    const char *look = look_at(call, mark); /* a history that begins now has none of what was before */
    feed_log_at(call->history, call->position, call->time.applied_time_ms, call->time.applied_wall_ms);
    feed_log_keep(call->history, (uint64_t)limit_bytes, kept_ms);
    keyspace_record_to(call->keyspace, call->history);
    tell(call, look);
}

void feed_read(struct call *call)
{
    struct feed_mark mark;
    int64_t most_bytes;
    if (!take_mark(call->argv + 1, &mark) || !take_number(call->argv[3], READ_BYTES_MAXIMUM, &most_bytes)) {
        malformed(call);
        return;
    }
    const char *look = look_at(call, mark);
    resp_array(&call->reply, 5);
    resp_bulk_string(&call->reply, look);
    bool here = strcmp(look, "HERE") == 0;
    struct buffer records = {0};
    if (here) {
        feed_log_read(call->history, &mark, (size_t)most_bytes, &records);
    } else if (strcmp(look, "GONE") == 0) {
        mark = call->history->floor;
    } else if (strcmp(look, "UNKNOWN") == 0) {
        mark = call->history->last;
    }
    put_mark(call, mark);
    resp_bulk(&call->reply, buffer_slice(&records));
    resp_integer(&call->reply, here && feed_mark_compare(mark, call->history->last) < 0);
    buffer_deinit(&records);
}
