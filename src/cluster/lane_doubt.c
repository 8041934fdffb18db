/* What became of parcels whose leader was lost.
 *
 * The question is a read like any other, COHORT.OUTCOME, put to a leader of the same or a later term: it takes its
 * place behind whatever that leader has taken, and is confirmed by a round. Of the same term: frames of the lost
 * connection come no more, so what is not there by then was never taken. Of a later term: what an earlier term left is
 * decided. So absence is final, and the parcel may be sent again. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/number.h"
#include "wire/resp_reply.h"

#include <stdlib.h>

static void doubt(struct lane *lane, struct parcel *parcel)
{
    lane->sent_count--;
    if (parcel->question) {
        lane->asked = 0;
        lane_take_back(lane, parcel);
    } else if (parcel->logged == 0) {
        lane_take_back(lane, parcel); /* reads may be read again */
    } else {
        list_remove(&parcel->node);
        list_append(&lane->doubtful, &parcel->node);
        lane->cluster->counters.doubted_parcels++;
    }
    lane_mark_busy(lane);
}

void lane_doubt_other_terms(struct lane *lane)
{
    LIST_FOR_EACH_SAFE (at, after, &lane->sent) {
        struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        if (parcel->term != lane->term) {
            doubt(lane, parcel);
        }
    }
}

void lane_doubt_connection(struct lane *lane, uint64_t node, uint64_t generation)
{
    LIST_FOR_EACH_SAFE (at, after, &lane->sent) {
        struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        if (parcel->leader == node && parcel->generation == generation) {
            doubt(lane, parcel);
        }
    }
}

/* ---- the answer ---- */

static struct lane *lane_asking(struct requester *requester) { return CONTAINER_OF(requester, struct lane, asker); }

static struct resp_writer *asker_begin(struct requester *requester, uint64_t tag)
{
    struct lane *lane = lane_asking(requester);
    (void)tag;
    buffer_clear(&lane->answer);
    lane->answer_writer = resp_writer_to(&lane->answer, RESP2);
    return &lane->answer_writer;
}

/* The replies are lost; of reads there will be others. */
static void settle_logged(struct lane *lane, struct parcel *parcel, enum status status)
{
    for (uint32_t place = 0; place < parcel->count; place++) {
        struct parcel_request request = parcel->requests[place];
        struct command command;
        if (!request.settled && parcel_command(parcel, place, &lane->cluster->arguments, &command)) {
            parcel_settle(parcel, place);
            request.requester->events->failed(request.requester, request.tag, status);
        }
    }
}

/* Takes ":N\r\n" from the front. */
static int64_t take_integer(struct slice *from)
{
    const uint8_t *end = memchr(from->data, '\n', from->size);
    ASSERT(end != NULL && from->data[0] == ':');
    size_t size = (size_t)(end - from->data) + 1;
    int64_t value = 0;
    ASSERT(number_parse_int64(slice_of(from->data + 1, size - 3), &value));
    *from = slice_of(from->data + size, from->size - size);
    return value;
}

static void asker_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct lane *lane = lane_asking(requester);
    struct slice rest = buffer_slice(&lane->answer);
    uint64_t asked = lane->asked;
    (void)command;
    lane->asked = 0;
    lane_mark_busy(lane);
    if (asked == 0 || tag != lane->question || rest.size == 0 || rest.data[0] != '*') {
        return; /* an error: it is asked again */
    }
    const uint8_t *end = memchr(rest.data, '\n', rest.size);
    rest = slice_of(end + 1, rest.size - (size_t)(end + 1 - rest.data));
    while (asked-- != 0) {
        struct parcel *parcel = CONTAINER_OF(lane->doubtful.next, struct parcel, node);
        ASSERT(!list_empty(&lane->doubtful));
        int64_t outcome = take_integer(&rest);
        if (outcome == 0) {
            lane->cluster->counters.doubts_absent++;
        } else {
            lane->cluster->counters.doubts_executed++;
            settle_logged(lane, parcel, outcome > 0 ? STATUS_EXECUTED : STATUS_UNCERTAIN);
        }
        lane_take_back(lane, parcel);
    }
}

static void asker_failed(struct requester *requester, uint64_t tag, enum status status)
{
    struct lane *lane = lane_asking(requester);
    (void)status;
    if (tag == lane->question) {
        lane->asked = 0;
        lane_mark_busy(lane);
    }
}

static void asker_returned(struct requester *requester, uint64_t tag)
{
    asker_failed(requester, tag, STATUS_NO_LEADER);
}

static const struct requester_events asker_events = {asker_begin, asker_end, asker_failed, asker_returned};

void lane_doubt_init(struct lane *lane) { lane->asker.events = &asker_events; }

/* ---- the question ---- */

enum { NUMBER_BYTES = 24, QUESTION_WORDS = 3 };

static uint32_t write_question(struct lane *lane, char (*texts)[NUMBER_BYTES], struct slice *argv)
{
    uint32_t argc = 0;
    argv[argc++] = SLICE_LITERAL("COHORT.OUTCOME");
    argv[argc] = slice_of(texts[0], number_format_uint64(texts[0], lane->cluster->options.node));
    argc++;
    argv[argc] = slice_of(texts[1], number_format_uint64(texts[1], lane->cluster->options.start));
    argc++;
    LIST_FOR_EACH (at, &lane->doubtful) {
        const struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        char *text = texts[argc - 1];
        argv[argc] = slice_of(text, number_format_uint64(text, parcel->sequence));
        argc++;
    }
    return argc;
}

void lane_ask(struct lane *lane)
{
    bool here = lane_leads(lane);
    if (lane->asked != 0 || lane->leader == 0 || (!here && lane->leader == lane->cluster->options.node)) {
        return;
    }
    uint32_t doubtful = 0;
    LIST_FOR_EACH (at, &lane->doubtful) {
        doubtful++;
    }
    char(*texts)[NUMBER_BYTES] = calloc(doubtful + QUESTION_WORDS, NUMBER_BYTES);
    struct slice *argv = calloc(doubtful + QUESTION_WORDS, sizeof(*argv));
    ASSERT(texts != NULL && argv != NULL);
    struct command command = {.spec = command_by_id(COMMAND_COHORT_OUTCOME), .argv = argv, .protocol = RESP2};
    command.argc = write_question(lane, texts, argv);
    lane->question++;
    lane->asked = doubtful;
    enum status status = STATUS_OK;
    if (here) {
        status = shard_submit(lane->local, &command, &lane->asker, lane->question);
    } else {
        struct parcel *parcel = parcel_create();
        parcel_add(parcel, &command, false, &lane->asker, lane->question, env_monotonic_ns(lane->cluster->env));
        parcel->question = true;
        lane->pending_bytes += parcel->bytes.size;
        status = lane_send_parcel(lane, parcel);
        if (status != STATUS_OK) {
            lane_forget_parcel(lane, parcel);
        }
    }
    if (status != STATUS_OK) {
        lane->asked = 0;
    } else {
        lane->cluster->counters.questions++;
    }
    free(texts);
    free(argv);
}
