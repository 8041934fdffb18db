#include "server/txn_status.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "machine/txn/branch.h"
#include "machine/txn/txn_limits.h"
#include "server/txn_answer.h"

#include <stdlib.h>

struct participant {
    int64_t shard, vote, done;
    struct buffer answer; /* to COHORT.TXN.PART */
};

struct txn_status {
    struct buffer id, home; /* home: its answer; empty: it knows nothing */
    bool decided, committed;
    struct participant *participants;
    uint32_t count;
    size_t branches; /* where in home's answer their array stands; 0: there are none */
    uint32_t fields; /* before the participants */
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
};

struct txn_status *txn_status_create(struct slice id, const char *cluster)
{
    struct txn_status *status = memory_allocate_zeroed(1, sizeof(*status));
    buffer_append_slice(&status->id, id);
    memcpy(status->cluster, cluster, sizeof(status->cluster));
    return status;
}

void txn_status_destroy(struct txn_status *status)
{
    if (status == NULL) {
        return;
    }
    for (uint32_t i = 0; i < status->count; i++) {
        buffer_deinit(&status->participants[i].answer);
    }
    buffer_deinit(&status->id);
    buffer_deinit(&status->home);
    free(status->participants);
    free(status);
}

struct slice txn_status_id(const struct txn_status *status) { return buffer_slice(&status->id); }

/* ---- home ---- */

static bool take_participants(struct txn_status *status, struct slice *from)
{
    uint64_t count;
    if (!answer_array(from, &count) || count > TXN_PARTICIPANTS || status->participants != NULL) {
        return false;
    }
    status->participants = memory_allocate_zeroed(count + 1, sizeof(*status->participants));
    for (; status->count < count; status->count++) {
        struct participant *each = &status->participants[status->count];
        uint64_t three;
        if (!answer_array(from, &three) || three != 3 || !answer_integer(from, &each->shard) || each->shard < 1 ||
            each->shard > TXN_PARTICIPANTS || !answer_integer(from, &each->vote) ||
            !answer_integer(from, &each->done)) {
            return false;
        }
    }
    return true;
}

/* Behind the participants, and the last one. */
static bool take_branches(struct txn_status *status, struct slice from, size_t size)
{
    struct slice name;
    if (!answer_text(&from, &name) || !slice_is_word(name, "branches")) {
        return false;
    }
    status->branches = size - from.size;
    return true;
}

bool txn_status_take_home(struct txn_status *status, struct slice answer)
{
    struct slice from = answer;
    struct resp_token token;
    if (!answer_token(&from, &token) || (token.type != RESP_NULL && token.type != RESP_ARRAY)) {
        return false;
    }
    if (token.type == RESP_NULL) {
        return true;
    }
    buffer_append_slice(&status->home, answer);
    for (uint64_t left = token.count / 2; left > 0; left--) {
        struct slice name;
        if (!answer_text(&from, &name)) {
            return false;
        }
        if (slice_is_word(name, "participants")) {
            return take_participants(status, &from) && (left == 1 || take_branches(status, from, answer.size));
        }
        status->fields++;
        if (!answer_token(&from, &token)) {
            return false;
        }
        if (slice_is_word(name, "outcome")) {
            status->decided = token.text.size != 0;
            status->committed = slice_is_word(token.text, "COMMIT");
        }
    }
    return false;
}

/* Of the others it is known what they have: the outcome. */
uint32_t txn_status_asks(const struct txn_status *status, uint32_t at)
{
    for (uint32_t i = 0; i < status->count; i++) {
        if (status->participants[i].done == 0 && at-- == 0) {
            return (uint32_t)status->participants[i].shard;
        }
    }
    return 0;
}

bool txn_status_take_part(struct txn_status *status, uint32_t shard, struct slice answer)
{
    struct slice from = answer;
    uint64_t three;
    bool good = answer_array(&from, &three) && three == 3;
    for (uint32_t i = 0; i < status->count && good; i++) {
        if (status->participants[i].shard == shard && status->participants[i].answer.size == 0) {
            buffer_append_slice(&status->participants[i].answer, answer);
        }
    }
    return good;
}

/* ---- the reply ---- */

static void put_token(const struct resp_token *token, struct resp_writer *reply)
{
    switch (token->type) {
    case RESP_INTEGER: resp_integer(reply, token->integer); return;
    case RESP_BULK: resp_bulk(reply, token->text); return;
    case RESP_ARRAY: resp_array(reply, token->count); return;
    default: resp_null(reply); return;
    }
}

/* What the participant has: state, age_ms and keys from its map; nil is no vote, or none any more. */
struct record {
    struct slice state;
    int64_t age_ms, keys;
};

static bool take_record(struct slice *from, struct record *record)
{
    struct resp_token token;
    if (!answer_token(from, &token) || (token.type != RESP_NULL && token.type != RESP_ARRAY)) {
        return false;
    }
    for (uint64_t left = token.type == RESP_ARRAY ? token.count / 2 : 0; left > 0; left--) {
        struct slice name;
        if (!answer_text(from, &name) || !answer_token(from, &token)) {
            return false;
        }
        record->state = slice_is_word(name, "state") ? token.text : record->state;
        record->age_ms = slice_is_word(name, "age_ms") ? token.integer : record->age_ms;
        record->keys = slice_is_word(name, "keys") ? token.integer : record->keys;
    }
    return true;
}

static void put_participant(const struct txn_status *status, const struct participant *each, struct resp_writer *reply)
{
    const char *outcome = !status->decided ? "NONE" : status->committed ? "COMMITTED" : "ABORTED";
    struct record record = {slice_from_string(each->done != 0 ? outcome : "UNKNOWN"), 0, 0};
    struct slice rest = buffer_slice(&each->answer);
    struct resp_token token;
    uint64_t three = 0;
    bool asked = answer_array(&rest, &three);
    if (asked) {
        record.state = slice_from_string(outcome); /* when it has no record any more */
        asked = take_record(&rest, &record);
    }
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"shard", each->shard},
                   {"vote", each->vote},
                   {"acknowledged", each->done},
                   {"age_ms", record.age_ms},
                   {"keys", record.keys}};
    resp_map(reply, asked ? 8 : 6);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        resp_bulk_string(reply, numbers[i].name);
        resp_integer(reply, numbers[i].value);
    }
    resp_bulk_string(reply, "state");
    resp_bulk(reply, record.state);
    for (int list = 0; list < 2 && asked; list++) {
        resp_bulk_string(reply, list == 0 ? "waits_for" : "waited_for_by");
        uint64_t left = 1; /* tokens that belong to it */
        while (left > 0 && answer_token(&rest, &token)) {
            left += token.type == RESP_ARRAY ? token.count : 0;
            left--;
            put_token(&token, reply);
        }
    }
}

/* One that stands at the front of *from. */
static bool put_branch(const struct txn_status *status, struct slice *from, struct resp_writer *reply)
{
    struct slice texts[4]; /* label, resource, evidence, state */
    int64_t numbers[3];    /* restores, position, age_ms */
    uint64_t count;
    struct slice id = txn_status_id(status);
    bool good = answer_array(from, &count) && count == 7;
    for (int i = 0; i < 4; i++) {
        good = good && answer_text(from, &texts[i]);
    }
    for (int i = 0; i < 3; i++) {
        good = good && answer_integer(from, &numbers[i]);
    }
    if (!good || !branch_name_fits(id, texts[0])) {
        return false;
    }
    struct branch_name name = {
        .restores = (uint64_t)numbers[0], .position = (uint64_t)numbers[1], .id = id, .label = texts[0]};
    memcpy(name.cluster, status->cluster, sizeof(name.cluster));
    char text[BRANCH_NAME_BYTES];
    const struct {
        const char *field;
        struct slice value;
    } fields[] = {{"branch", texts[0]},
                  {"name", slice_of(text, branch_name_make(text, &name))},
                  {"resource", texts[1]},
                  {"evidence", texts[2]},
                  {"state", texts[3]}};
    resp_map(reply, 6);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        resp_bulk_string(reply, fields[i].field);
        resp_bulk(reply, fields[i].value);
    }
    resp_bulk_string(reply, "age_ms");
    resp_integer(reply, numbers[2]);
    return true;
}

void txn_status_reply(const struct txn_status *status, struct resp_writer *reply)
{
    struct slice from = buffer_slice(&status->home);
    struct slice branches = slice_of(from.data + status->branches, from.size - status->branches);
    uint64_t branch_count = 0;
    struct resp_token token;
    if (!answer_token(&from, &token)) {
        resp_null(reply);
        return;
    }
    if (status->branches != 0 && !answer_array(&branches, &branch_count)) {
        branch_count = 0;
    }
    resp_map(reply, status->fields + 1);
    for (uint32_t left = status->fields; left > 0 && answer_token(&from, &token); left--) {
        put_token(&token, reply);
        if (answer_token(&from, &token)) {
            put_token(&token, reply);
        }
    }
    resp_bulk_string(reply, "participants");
    resp_array(reply, status->count + branch_count);
    for (uint32_t i = 0; i < status->count; i++) {
        put_participant(status, &status->participants[i], reply);
    }
    while (branch_count-- > 0) {
        if (!put_branch(status, &branches, reply)) {
            resp_null(reply); /* of a newer node */
        }
    }
}
