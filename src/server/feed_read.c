/* Reading histories: from this worker's state, or by asking whoever has it. */
#include "base/number.h"
#include "server/feeds_internal.h"
#include "server/txn_answer.h"

enum { FETCHES = 256, KEEP_ARGUMENTS = 5, READ_ARGUMENTS = 4 };

/* ---- answers ---- */

static enum feed_answer_look look_of(struct slice word)
{
    static const char *const words[] = {"HERE", "GONE", "UNKNOWN", "AHEAD"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_is_word(word, words[i])) {
            return (enum feed_answer_look)i;
        }
    }
    return FEED_ANSWER_BAD;
}

struct feed_answer feed_answer_take(struct slice reply)
{
    struct feed_answer answer = {.look = FEED_ANSWER_BAD};
    uint64_t count;
    struct slice word;
    int64_t position;
    int64_t sub;
    int64_t more;
    if (!answer_array(&reply, &count) || count != 5 || !answer_text(&reply, &word) ||
        !answer_integer(&reply, &position) || !answer_integer(&reply, &sub) || !answer_text(&reply, &answer.records) ||
        !answer_integer(&reply, &more) || position < 0 || sub < 0 || sub > UINT32_MAX) {
        return answer;
    }
    answer.look = look_of(word);
    answer.mark = (struct feed_mark){(uint64_t)position, (uint32_t)sub};
    answer.more = more != 0;
    return answer;
}

/* ---- questions ---- */

struct question {
    char digits[3][NUMBER_INT64_BYTES];
    struct slice argv[READ_ARGUMENTS];
    struct command command;
};

static void make_read(struct question *question, struct feed_mark mark)
{
    const uint64_t numbers[] = {mark.position, mark.sub, FEED_READ_BYTES};
    question->argv[0] = SLICE_LITERAL("COHORT.FEED.READ");
    for (int i = 0; i < 3; i++) {
        question->argv[i + 1] = slice_of(question->digits[i], number_format_uint64(question->digits[i], numbers[i]));
    }
    question->command =
        (struct command){command_by_id(COMMAND_COHORT_FEED_READ), question->argv, READ_ARGUMENTS, RESP2};
}

bool feed_read_here(struct feeds *feeds, uint32_t shard, struct feed_mark mark, struct feed_answer *ret_answer)
{
    struct question question;
    make_read(&question, mark);
    buffer_clear(&feeds->records);
    struct resp_writer writer = resp_writer_to(&feeds->records, RESP2);
    if (!cluster_read_here(feeds->server->cluster, shard, &question.command, &writer)) {
        return false;
    }
    *ret_answer = feed_answer_take(buffer_slice(&feeds->records));
    return true;
}

/* ---- asking ---- */

static struct resp_writer *fetch_begin(struct requester *requester, uint64_t tag)
{
    struct feed_fetch *fetch = (struct feed_fetch *)requester;
    (void)tag;
    fetch->writer = resp_writer_to(&fetch->reply, RESP2);
    return &fetch->writer;
}

static void fetch_free(struct feed_fetch *fetch)
{
    list_remove(&fetch->node);
    buffer_deinit(&fetch->reply);
    free(fetch);
}

static void take_kept(struct feed_fetch *fetch, bool failed)
{
    struct feed_source *source = &fetch->feeds->sources[fetch->shard - 1];
    source->keeping = false;
    if (!failed && fetch->reply.size > 0 && fetch->reply.data[0] == '*') {
        source->kept = true;
        source->kept_ns = server_now_ns(fetch->feeds->server);
    }
}

/* Since it was asked, the shard may have been opened here, and read. */
static void take_front(struct feed_fetch *fetch, bool failed, const struct feed_answer *answer)
{
    struct feed_source *source = &fetch->feeds->sources[fetch->shard - 1];
    source->asked = false;
    if (failed || !source->known || feed_mark_compare(source->mark, fetch->mark) != 0) {
        feed_front_failed(fetch->feeds, fetch->shard);
    } else {
        feed_front_answered(fetch->feeds, fetch->shard, answer);
    }
}

static void take_read(struct feed_fetch *fetch, bool failed)
{
    struct feed_answer answer = feed_answer_take(buffer_slice(&fetch->reply));
    struct feed *feed = fetch->feed;
    failed = failed || answer.look == FEED_ANSWER_BAD;
    if (fetch->front) {
        take_front(fetch, failed, &answer);
        return;
    }
    if (feed == NULL) {
        return;
    }
    feed->fetch = NULL;
    if (failed || feed_mark_compare(feed_mark_of(feed, fetch->shard), fetch->mark) != 0) {
        feed_look_later(feed);
    } else {
        feed_behind_answered(feed, fetch->shard, &answer);
    }
}

static void fetch_over(struct feed_fetch *fetch, bool failed)
{
    if (fetch->keep) {
        take_kept(fetch, failed);
    } else {
        take_read(fetch, failed);
    }
    fetch_free(fetch);
}

static void fetch_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    (void)tag;
    (void)command;
    fetch_over((struct feed_fetch *)requester, false);
}

static void fetch_failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    (void)status;
    fetch_over((struct feed_fetch *)requester, true);
}

static const struct requester_events fetch_events = {fetch_begin, fetch_end, fetch_failed, NULL, NULL};

static struct feed_fetch *submit(struct feeds *feeds, uint32_t shard, const struct command *command,
                                 enum cluster_way way)
{
    struct feed_fetch *fetch = memory_allocate_zeroed(1, sizeof(*fetch));
    *fetch = (struct feed_fetch){.requester = {.events = &fetch_events}, .feeds = feeds, .shard = shard};
    list_init(&fetch->node);
    list_append(&feeds->fetches, &fetch->node);
    if (cluster_submit(feeds->server->cluster, shard, command, way, &fetch->requester, 0) != STATUS_OK) {
        fetch_free(fetch);
        return NULL;
    }
    return fetch;
}

static size_t fetches_of(const struct feeds *feeds)
{
    size_t count = 0;
    LIST_FOR_EACH (at, &feeds->fetches) {
        count++;
    }
    return count;
}

bool feed_ask(struct feeds *feeds, uint32_t shard, struct feed_mark mark, struct feed *feed)
{
    struct question question;
    make_read(&question, mark);
    if (feed != NULL && fetches_of(feeds) >= FETCHES) {
        return false;
    }
    struct feed_fetch *fetch = submit(feeds, shard, &question.command, CLUSTER_WEAK);
    if (fetch == NULL) {
        return false;
    }
    fetch->mark = mark;
    fetch->front = feed == NULL;
    fetch->feed = feed;
    if (feed != NULL) {
        feed->fetch = fetch;
    }
    return true;
}

void feed_ask_keep(struct feeds *feeds, uint32_t shard)
{
    const struct config *config = &feeds->server->config;
    char digits[2][NUMBER_INT64_BYTES];
    const struct slice argv[KEEP_ARGUMENTS] = {
        SLICE_LITERAL("COHORT.FEED.KEEP"),
        slice_of(digits[0], number_format_int64(digits[0], config->feed_history_bytes)),
        slice_of(digits[1], number_format_int64(digits[1], config->feed_history_ms)),
        SLICE_LITERAL("0"),
        SLICE_LITERAL("0"),
    };
    const struct command keep = {command_by_id(COMMAND_COHORT_FEED_KEEP), argv, KEEP_ARGUMENTS, RESP2};
    struct feed_fetch *fetch = submit(feeds, shard, &keep, CLUSTER_PLAIN);
    if (fetch != NULL) {
        fetch->keep = true;
        feeds->sources[shard - 1].keeping = true;
    }
}
