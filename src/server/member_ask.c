#include "server/member_ask.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "wire/resp_reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum ask_state { ASK_READS, ASK_WRITES, ASK_IS_OVER };

struct member_ask {
    uint32_t shard;
    uint64_t node;
    enum ask_state state;
    uint32_t reads; /* that were asked for */
    uint64_t version;
    char digits[NUMBER_INT64_BYTES]; /* of the version */
    struct buffer written;
    char problem[MEMBER_ASK_PROBLEM_BYTES]; /* "": none */
};

bool member_ask_takes(const struct command_spec *spec) { return spec->id == COMMAND_COHORT_TRANSFER; }

/* ---- beginning and end ---- */

struct member_ask *member_ask_create(const struct command *command, const char **ret_problem)
{
    int64_t shard = 0;
    int64_t node = 0;
    if (!number_parse_int64(command->argv[1], &shard) || shard < 1 || shard > SLOT_MAXIMUM_SHARDS) {
        *ret_problem = "ERR the shard is a number from 1 on; `cohort status` shows them";
        return NULL;
    }
    if (!number_parse_int64(command->argv[2], &node) || node < 1 || node > MEMBERS_MAXIMUM_ID) {
        *ret_problem = "ERR the node is a number from 1 on; `cohort status` shows them";
        return NULL;
    }
    struct member_ask *ask = memory_allocate_zeroed(1, sizeof(*ask));
    ask->shard = (uint32_t)shard;
    ask->node = (uint64_t)node;
    buffer_init(&ask->written);
    return ask;
}

void member_ask_destroy(struct member_ask *ask)
{
    if (ask != NULL) {
        buffer_deinit(&ask->written);
        free(ask);
    }
}

/* ---- what is asked ---- */

bool member_ask_next(struct member_ask *ask, struct slice ret_argv[static MEMBER_ASK_ARGUMENTS],
                     struct command *ret_command)
{
    if (ask->state == ASK_IS_OVER) {
        return false;
    }
    bool writes = ask->state == ASK_WRITES;
    ask->reads += writes ? 0 : 1;
    ret_argv[0] = writes ? SLICE_LITERAL("COHORT.SETV") : SLICE_LITERAL("COHORT.GETV");
    ret_argv[1] = SLICE_LITERAL("members");
    ret_argv[2] = buffer_slice(&ask->written);
    ret_argv[3] = slice_of(ask->digits, number_format_uint64(ask->digits, ask->version));
    *ret_command = (struct command){.argv = ret_argv, .argc = writes ? 4 : 2, .protocol = RESP2};
    enum command_lookup found = command_lookup(ret_argv, ret_command->argc, &ret_command->spec);
    ASSERT(found == COMMAND_FOUND);
    return true;
}

/* ---- judging ---- */

__attribute__((format(printf, 2, 3))) static void refuse(struct member_ask *ask, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ask->problem, sizeof(ask->problem), format, arguments);
    va_end(arguments);
    ask->state = ASK_IS_OVER;
}

static bool is_up(const struct cluster_view *view, uint64_t node)
{
    for (uint32_t i = 0; i < view->members->count; i++) {
        if (view->members->nodes[i].id == node) {
            return node == view->self || view->up[i];
        }
    }
    return false;
}

static void list_voters(const struct placement_shard *place, char ret_text[static 96])
{
    size_t size = 0;
    for (size_t i = 0; i < place->voter_count; i++) {
        const char *between = i == 0 ? "" : i + 1 == place->voter_count ? " and " : ", ";
        size += (size_t)snprintf(ret_text + size, 96 - size, "%s%" PRIu64, between, place->voters[i]);
    }
}

/* Says why not, unless that node may lead that shard. */
static bool may_lead(struct member_ask *ask, const struct members *members, const struct cluster_view *view)
{
    const struct member *node = members_find(members, ask->node);
    if (ask->shard > members->placement.shard_count) {
        refuse(ask, "ERR there is no shard %" PRIu32 "; the last one is %" PRIu32, ask->shard,
               members->placement.shard_count);
        return false;
    }
    if (node == NULL) {
        refuse(ask, "ERR node %" PRIu64 " is not a node of this cluster; `cohort status` shows them", ask->node);
        return false;
    }
    const struct placement_shard *place = &members->placement.shards[ask->shard - 1];
    char voters[96] = "";
    list_voters(place, voters);
    if (!placement_votes(place, ask->node)) {
        refuse(ask, "ERR node %" PRIu64 " does not vote in shard %" PRIu32 "; nodes %s do", ask->node, ask->shard,
               voters);
        return false;
    }
    if (!is_up(view, ask->node)) {
        refuse(ask,
               "ERR node %" PRIu64 " cannot be reached from node %" PRIu64 ", and gets nothing to lead; start it, or "
               "ask a node that reaches it",
               ask->node, view->self);
        return false;
    }
    return true;
}

/* The members with the change, to be written; or it is over. */
static void judge(struct member_ask *ask, struct members *members, const struct cluster_view *view)
{
    if (!may_lead(ask, members, view)) {
        return;
    }
    struct members_change change = {.kind = MEMBERS_PLACE, .shard = ask->shard};
    change.place = members->placement.shards[ask->shard - 1];
    change.place.leader = ask->node;
    enum members_verdict verdict;
    enum status status = members_apply(members, &change, &verdict);
    ASSERT(status == STATUS_OK);
    if (verdict == MEMBERS_CHANGED) {
        buffer_clear(&ask->written);
        members_encode(members, &ask->written);
        ask->state = ASK_WRITES;
    } else if (verdict == MEMBERS_UNCHANGED) {
        ask->state = ASK_IS_OVER;
    } else {
        char text[MEMBERS_EXPLAIN_BYTES];
        members_explain(members, &change, verdict, text);
        refuse(ask, "ERR %.200s", text);
    }
}

/* ---- answers ---- */

/* Up to three tokens; how many there are, or 0 when it is not whole or has more. */
static size_t take_tokens(struct slice answer, struct resp_token ret_tokens[static 3])
{
    const struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    resp_reader_init(&reader);
    for (size_t count = 0; count < 3; count++) {
        if (answer.size == 0 ||
            resp_reader_next(&reader, &limits, answer.data, answer.size, &ret_tokens[count]) != RESP_REPLY_READY) {
            return 0;
        }
        if (ret_tokens[count].last) {
            return count + 1;
        }
        answer = slice_of(answer.data + reader.consumed, answer.size - reader.consumed);
    }
    return 0;
}

static bool take_read(struct member_ask *ask, const struct resp_token *tokens, size_t count,
                      const struct cluster_view *view)
{
    if (count == 1 && tokens[0].type == RESP_NULL) {
        refuse(ask, "CLUSTERDOWN the cluster's nodes are not written down yet; nothing was changed, try again in a "
                    "moment");
        return true;
    }
    if (count != 3 || tokens[1].type != RESP_BULK || tokens[2].type != RESP_INTEGER) {
        return false;
    }
    struct members *members = members_create();
    enum status status = members_decode(tokens[1].text, members);
    ask->version = (uint64_t)tokens[2].integer;
    if (status == STATUS_OK && members_bootstrapped(members)) {
        judge(ask, members, view);
    } else {
        refuse(ask,
               "ERR the cluster's nodes were written by another version of cohort; bring all nodes to one version");
    }
    members_destroy(members);
    return true;
}

static bool take_written(struct member_ask *ask, const struct resp_token *tokens, size_t count)
{
    if (count != 1 || (tokens[0].type != RESP_INTEGER && tokens[0].type != RESP_NULL)) {
        return false;
    }
    if (tokens[0].type == RESP_INTEGER) {
        ask->state = ASK_IS_OVER;
    } else if (ask->reads == MEMBER_ASK_TRIES) {
        refuse(ask, "BUSY the cluster's nodes change all the time; nothing was changed, try again in a moment");
    } else {
        ask->state = ASK_READS;
    }
    return true;
}

bool member_ask_take(struct member_ask *ask, struct slice answer, const struct cluster_view *view)
{
    struct resp_token tokens[3];
    size_t count = take_tokens(answer, tokens);
    ASSERT(ask->state != ASK_IS_OVER);
    return ask->state == ASK_READS ? take_read(ask, tokens, count, view) : take_written(ask, tokens, count);
}

void member_ask_reply(const struct member_ask *ask, struct resp_writer *reply)
{
    if (ask->problem[0] != '\0') {
        resp_error(reply, ask->problem);
    } else {
        resp_status(reply, "OK");
    }
}
