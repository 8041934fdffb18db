/* That a shard is tied to a session before anything there is given to it. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/number.h"
#include "machine/session/session_words.h"
#include "server/route_refuse.h"
#include "server/route_submit.h"
#include "server/server_state.h"
#include "server/session_state.h"

#include <stdio.h>
#include <stdlib.h>

enum tying_state { TYING_LOOKS, TYING_TIES, TYING_JOINS, TYING_CONFIRMS, TYING_OVER };

enum { PROBLEM_BYTES = SESSION_TEXT_BYTES };

struct session_tying {
    struct requester requester; /* first */
    struct list node;           /* of session_clients.tyings, while it is under way */
    struct server *server;
    struct connection *connection; /* NULL: it is gone */
    struct session_id id;
    uint32_t shard; /* of the key; of several, that which is looked after now, … */
    uint32_t *more; /* … and the others behind it */
    uint32_t more_count;
    enum tying_state state;
    int tries;
    int64_t ordinal, left_ms;
    char problem[PROBLEM_BYTES]; /* empty: none */
    char name[SESSION_ID_BYTES];
    struct buffer reply;
    struct resp_writer writer;
};

/* ---- ties that are known to live as long as their sessions ---- */

static struct session_known *known_at(struct server *server, struct session_id id, uint32_t shard)
{
    struct session_clients *clients = server->session_clients;
    if (clients->known == NULL) {
        clients->known = memory_allocate_zeroed(SESSION_KNOWN_TIES, sizeof(*clients->known));
    }
    const uint64_t key[] = {id.number, id.shard, shard};
    return &clients->known[hash_bytes(0, key, sizeof(key)) % SESSION_KNOWN_TIES];
}

static bool is_known(struct server *server, struct session_id id, uint32_t shard)
{
    const struct session_known *known = known_at(server, id, shard);
    return known->number == id.number && known->session_shard == id.shard && known->shard == shard;
}

/* ---- life ---- */

static void tying_free(struct session_tying *tying)
{
    list_remove(&tying->node);
    buffer_deinit(&tying->reply);
    free(tying->more);
    free(tying);
}

void session_tyings_destroy(struct server *server)
{
    while (!list_empty(&server->session_clients->tyings)) {
        tying_free(CONTAINER_OF(server->session_clients->tyings.next, struct session_tying, node));
    }
}

void session_client_forget(struct connection *connection)
{
    struct session_tying *tying = connection->tying;
    connection->tying = NULL;
    if (tying != NULL && tying->state == TYING_OVER) {
        tying_free(tying);
    } else if (tying != NULL) {
        tying->connection = NULL;
    }
}

bool session_tying_pending(const struct connection *connection)
{
    return connection->tying != NULL && connection->tying->state != TYING_OVER;
}

/* ---- steps ---- */

static void over(struct session_tying *tying, const char *problem)
{
    if (tying->connection == NULL) {
        tying_free(tying);
        return;
    }
    (void)snprintf(tying->problem, sizeof(tying->problem), "%s", problem == NULL ? "" : problem);
    tying->state = TYING_OVER;
    list_remove(&tying->node);
    connection_mark_resume(tying->connection);
    env_wake(tying->server->env);
}

static enum status submit(struct session_tying *tying, uint32_t shard, uint16_t id, const struct slice *argv,
                          uint32_t argc)
{
    const struct command command = {command_by_id(id), argv, argc, RESP2};
    return cluster_submit(tying->server->cluster, shard, &command, CLUSTER_PLAIN, &tying->requester, 0);
}

static enum status submit_step(struct session_tying *tying)
{
    char number[NUMBER_INT64_BYTES];
    char shard[NUMBER_INT64_BYTES];
    char ordinal[NUMBER_INT64_BYTES];
    char name[SESSION_ID_BYTES];
    struct slice number_text = slice_of(number, number_format_uint64(number, tying->id.number));
    struct slice id = slice_of(name, session_id_format(name, tying->id));
    const struct slice look[] = {SLICE_LITERAL("COHORT.SESSION.LOOK"), number_text};
    const struct slice join[] = {SLICE_LITERAL("COHORT.SESSION.SHARD"), SLICE_LITERAL("JOIN"),
                                 slice_of(shard, number_format_uint64(shard, tying->shard)), number_text};
    const struct slice tie[] = {SLICE_LITERAL("COHORT.SESSION.TIE"), id,
                                slice_of(ordinal, number_format_int64(ordinal, tying->ordinal))};
    switch (tying->state) {
    case TYING_LOOKS: return submit(tying, tying->id.shard, COMMAND_COHORT_SESSION_LOOK, look, 2);
    case TYING_JOINS: return submit(tying, tying->id.shard, COMMAND_COHORT_SESSION_SHARD, join, 4);
    case TYING_TIES: return submit(tying, tying->shard, COMMAND_COHORT_SESSION_TIE, tie, 2);
    case TYING_CONFIRMS: return submit(tying, tying->shard, COMMAND_COHORT_SESSION_TIE, tie, 3);
    case TYING_OVER: break;
    }
    UNREACHABLE();
}

static void step(struct session_tying *tying, enum tying_state state)
{
    tying->state = state;
    enum status status = submit_step(tying);
    if (status != STATUS_OK) {
        over(tying, route_refusal(status, true));
    }
}

/* This shard is; then the next one that is not known to be. */
static void ready(struct session_tying *tying)
{
    *known_at(tying->server, tying->id, tying->shard) =
        (struct session_known){tying->id.number, tying->id.shard, tying->shard};
    while (tying->more_count > 0) {
        tying->shard = tying->more[--tying->more_count];
        if (!is_known(tying->server, tying->id, tying->shard)) {
            tying->ordinal = 0;
            tying->tries = 0;
            step(tying, TYING_TIES);
            return;
        }
    }
    over(tying, NULL);
}

/* ---- what the shards say ---- */

static struct resp_writer *tying_begin(struct requester *requester, uint64_t tag)
{
    struct session_tying *tying = (struct session_tying *)requester;
    (void)tag;
    buffer_clear(&tying->reply);
    tying->writer = resp_writer_to(&tying->reply, RESP2);
    return &tying->writer;
}

static void take(struct session_tying *tying, int64_t value)
{
    switch (tying->state) {
    case TYING_LOOKS:
        tying->left_ms = value;
        if (value == 0) {
            over(tying, SESSION_IS_OVER);
        } else if (value > 0) {
            ready(tying);
        } else {
            step(tying, TYING_JOINS); /* through the log, which decides it */
        }
        return;
    case TYING_TIES:
        tying->ordinal = value;
        if (value < 0) {
            over(tying, SESSION_IS_OVER);
        } else {
            step(tying, value == 0 ? TYING_LOOKS : TYING_JOINS);
        }
        return;
    case TYING_JOINS:
        tying->left_ms = value;
        if (value <= 0) {
            over(tying, SESSION_IS_OVER);
        } else if (tying->ordinal == 0) {
            ready(tying); /* it was tied before */
        } else {
            step(tying, TYING_CONFIRMS);
        }
        return;
    case TYING_CONFIRMS:
        if (value == 1) {
            ready(tying);
        } else if (++tying->tries < SESSION_TIE_TRIES) {
            step(tying, TYING_TIES);
        } else {
            over(tying, "CLUSTERDOWN the shard of this key is too slow for the session; the command was not executed, "
                        "try again");
        }
        return;
    case TYING_OVER: break;
    }
    UNREACHABLE();
}

static void tying_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct session_tying *tying = (struct session_tying *)requester;
    struct slice reply = buffer_slice(&tying->reply);
    int64_t value;
    (void)tag;
    (void)command;
    bool line = reply.size > 3;
    struct slice text = line ? slice_of(reply.data + 1, reply.size - 3) : slice_of(NULL, 0);
    if (line && reply.data[0] == ':' && number_parse_int64(text, &value)) {
        take(tying, value);
        return;
    }
    char problem[PROBLEM_BYTES];
    (void)snprintf(problem, sizeof(problem), "%.*s", (int)text.size, (const char *)text.data);
    over(tying, problem);
}

static void tying_failed(struct requester *requester, uint64_t tag, enum status status)
{
    struct session_tying *tying = (struct session_tying *)requester;
    (void)tag;
    over(tying, route_refusal(status, true)); /* whatever became of it can be done again */
}

static const struct requester_events tying_events = {tying_begin, tying_end, tying_failed, NULL, NULL};

/* ---- beginning ---- */

uint32_t session_named_at(const struct command *command)
{
    uint32_t first = 3;
    int64_t keys;
    if (command->spec->id == COMMAND_LOCK_MACQUIRE) {
        bool counted = number_parse_int64(command->argv[1], &keys) && keys > 0 && keys < command->argc;
        first = counted ? 3 + (uint32_t)keys : command->argc;
    }
    bool registers = command->spec->id == COMMAND_SERVICE_REGISTER;
    uint32_t step = command->spec->id == COMMAND_SET ? 1 : 2;
    first = registers ? 4 : first;
    for (uint32_t i = first; i + 1 < command->argc; i += step) {
        if (slice_is_word(command->argv[i], "SESSION")) {
            return i + 1;
        }
        if (registers && slice_is_word(command->argv[i], "META")) {
            return 0; /* what follows is the client's own */
        }
        bool value = step == 1 && slice_is_word(command->argv[i], "IFEQ");
        i += value ? 1 : 0;
    }
    return 0;
}

struct shards {
    struct session_tying *tying;
    const struct command *command;
};

static void add_shard(void *owner, uint32_t position)
{
    struct shards *shards = owner;
    struct session_tying *tying = shards->tying;
    uint32_t shard = slot_shard(key_slot(shards->command->argv[position]), tying->server->shards);
    bool known = shard == tying->shard;
    for (uint32_t i = 0; i < tying->more_count; i++) {
        known = known || tying->more[i] == shard;
    }
    if (tying->shard == 0) {
        tying->shard = shard;
    } else if (!known) {
        tying->more[tying->more_count++] = shard;
    }
}

/* All shards of the keys. */
static void take_shards(struct session_tying *tying, const struct command *command)
{
    struct shards shards = {tying, command};
    tying->shard = 0;
    tying->more = memory_allocate(command->argc * sizeof(*tying->more));
    (void)command_keys(command->spec, command->argv, command->argc, add_shard, &shards);
}

bool session_client_waits(struct connection *connection, uint32_t shard, const struct command *command, uint32_t at)
{
    struct server *server = connection->server;
    struct session_id id;
    if (connection->tying != NULL || !session_of(server, command->argv[at], &id)) {
        return false;
    }
    struct session_tying *tying = memory_allocate_zeroed(1, sizeof(*tying));
    tying->requester.events = &tying_events;
    tying->server = server;
    tying->connection = connection;
    tying->id = id;
    tying->shard = shard;
    if (shard == ROUTE_SEVERAL) {
        take_shards(tying, command);
    }
    buffer_init(&tying->reply);
    list_init(&tying->node);
    list_append(&server->session_clients->tyings, &tying->node);
    connection->tying = tying;
    step(tying, is_known(server, id, tying->shard) ? TYING_LOOKS : TYING_TIES);
    return true;
}

const char *session_client_take(struct connection *connection, struct slice *ret_name)
{
    struct session_tying *tying = connection->tying;
    char *text = connection->server->session_clients->text;
    if (tying == NULL) {
        return "ERR SESSION is followed by the id that SESSION.OPEN gave";
    }
    bool refused = tying->problem[0] != '\0';
    if (refused) {
        memcpy(text, tying->problem, sizeof(tying->problem));
    } else {
        *ret_name = slice_of(text, session_name_format(text, tying->id, tying->left_ms));
    }
    connection->tying = NULL;
    tying_free(tying);
    return refused ? text : NULL;
}
