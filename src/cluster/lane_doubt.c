/* What became of parcels whose leader was lost.
 *
 * The question is a read like any other, COHORT.OUTCOME, put to a leader of the same or a later term: it takes its
 * place behind whatever that leader has taken, and is confirmed by a round. Of the same term: frames of the lost
 * connection come no more, so what is not there by then was never taken. Of a later term: what an earlier term left is
 * decided. So absence is final, and the parcel may be sent again. */
#include "cluster/cluster_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "wire/resp_reply.h"

#include <stdlib.h>

static void doubt(struct lane *lane, struct parcel *parcel)
{
    lane->sent_count--;
    lane->sent_bytes -= parcel->bytes.size;
    if (parcel->question) {
        lane->asked = 0;
        lane_take_back(lane, parcel);
    } else {
        list_remove(&parcel->node);
        list_append(&lane->doubtful, &parcel->node);
        lane->cluster->counters.doubted_parcels += parcel->logged != 0 ? 1 : 0;
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
        if (!parcel->requests[place].settled && parcel_logged(parcel, place)) {
            lane_note_executed(lane, &parcel->requests[place]);
            parcel_fail(parcel, place, status);
        }
    }
}

/* Takes a number between its type and CR LF from the front; false when there is none. */
static bool take_number(struct slice *from, uint8_t type, int64_t *ret_number)
{
    const uint8_t *end = from->size == 0 ? NULL : memchr(from->data, '\n', from->size);
    size_t size = end == NULL ? 0 : (size_t)(end - from->data) + 1;
    if (size < 3 || from->data[0] != type || !number_parse_int64(slice_of(from->data + 1, size - 3), ret_number)) {
        return false;
    }
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

/* What became of each parcel that was asked about; false when that is no answer to the question. */
static bool take_outcomes(const struct lane *lane, uint64_t asked, int64_t *ret_outcomes)
{
    struct slice rest = buffer_slice(&lane->answer);
    int64_t count = 0;
    uint64_t taken = 0;
    bool good = take_number(&rest, '*', &count);
    LIST_FOR_EACH (at, &lane->doubtful) {
        const struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        if (taken == asked || !good) {
            break;
        }
        ret_outcomes[taken] = 0;
        good = parcel->sequence == 0 || take_number(&rest, ':', &ret_outcomes[taken]);
        count -= parcel->sequence != 0 ? 1 : 0;
        taken++;
    }
    ASSERT(taken == asked || !good);
    return good && count == 0 && rest.size == 0;
}

static void settle_doubts(struct lane *lane, uint64_t asked, const int64_t *outcomes)
{
    for (uint64_t i = 0; i < asked; i++) {
        struct parcel *parcel = CONTAINER_OF(lane->doubtful.next, struct parcel, node);
        if (outcomes[i] != 0) {
            lane->cluster->counters.doubts_executed++;
            settle_logged(lane, parcel, outcomes[i] == 1 ? STATUS_EXECUTED : STATUS_UNCERTAIN); /* 2: not all */
        } else {
            lane->cluster->counters.doubts_absent += parcel->sequence != 0 ? 1 : 0;
        }
        lane_take_back(lane, parcel);
    }
}

static void asker_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct lane *lane = lane_asking(requester);
    uint64_t asked = tag == lane->question ? lane->asked : 0;
    (void)command;
    if (asked == 0) {
        return;
    }
    lane->asked = 0;
    env_wake(lane->cluster->env);
    int64_t *outcomes = memory_allocate_zeroed(asked, sizeof(*outcomes));
    if (take_outcomes(lane, asked, outcomes)) {
        settle_doubts(lane, asked, outcomes);
    } /* else it is asked again */
    free(outcomes);
    buffer_deinit(&lane->answer);
}

static void asker_failed(struct requester *requester, uint64_t tag, enum status status)
{
    struct lane *lane = lane_asking(requester);
    (void)status;
    if (tag == lane->question) {
        lane->asked = 0;
        env_wake(lane->cluster->env);
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

struct question {
    struct slice *argv;
    char (*texts)[NUMBER_BYTES];
    uint32_t argc;
};

static void add_number(struct question *question, uint64_t number)
{
    char *text = question->texts[question->argc];
    question->argv[question->argc++] = slice_of(text, number_format_uint64(text, number));
}

/* About all that is doubtful, `parcels` of them; reads alone are not asked about. */
static void question_init(struct question *question, const struct lane *lane, uint64_t parcels)
{
    *question = (struct question){
        .argv = memory_allocate_zeroed(QUESTION_WORDS + parcels, sizeof(*question->argv)),
        .texts = memory_allocate_zeroed(QUESTION_WORDS + parcels, sizeof(*question->texts)),
    };
    question->argv[question->argc++] = SLICE_LITERAL("COHORT.OUTCOME");
    add_number(question, lane->cluster->options.node);
    add_number(question, lane->cluster->options.lineage.start);
    LIST_FOR_EACH (at, &lane->doubtful) {
        const struct parcel *parcel = CONTAINER_OF(at, struct parcel, node);
        if (parcel->sequence != 0) {
            add_number(question, parcel->sequence);
        }
    }
}

static void question_deinit(struct question *question)
{
    free(question->texts);
    free(question->argv);
}

static enum status put_question(struct lane *lane, const struct question *question)
{
    struct command command = {.spec = command_by_id(COMMAND_COHORT_OUTCOME),
                              .argv = question->argv,
                              .argc = question->argc,
                              .protocol = RESP2};
    if (lane_leads(lane)) {
        return shard_submit(lane->local, &command, &lane->asker, lane->question);
    }
    struct parcel *parcel = parcel_create();
    parcel_add(parcel, &command, false, &lane->asker, lane->question, env_monotonic_ns(lane->cluster->env));
    parcel->question = true;
    lane_weigh(lane, parcel);
    enum status status = lane_send_parcel(lane, parcel);
    if (status != STATUS_OK) {
        lane_forget_parcel(lane, parcel);
    }
    return status;
}

void lane_ask(struct lane *lane)
{
    uint64_t parcels = 0;
    bool logged = false;
    LIST_FOR_EACH (at, &lane->doubtful) {
        parcels++;
        logged = logged || CONTAINER_OF(at, struct parcel, node)->sequence != 0;
    }
    if (!logged) {
        while (!list_empty(&lane->doubtful)) { /* reads alone: they may be read again */
            lane_take_back(lane, CONTAINER_OF(lane->doubtful.next, struct parcel, node));
        }
        return;
    }
    bool nobody = lane->leader == 0 || (lane->leader == lane->cluster->options.node && !lane_leads(lane));
    if (nobody || lane->asked != 0) {
        return;
    }
    struct question question;
    question_init(&question, lane, parcels);
    lane->question++;
    lane->asked = parcels;
    if (put_question(lane, &question) == STATUS_OK) {
        lane->cluster->counters.questions++;
    } else {
        lane->asked = 0; /* the next turn tries again */
    }
    question_deinit(&question);
}
