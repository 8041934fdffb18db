/* Commands that look: LOCK.INFO, LOCK.HISTORY, LOCK.LIST, ELECT.LEADER. */
#include "engine/commands_internal.h"

#include "base/glob.h"
#include "base/number.h"

#include <cohort/engine.h>

static void put_text(struct resp_writer *reply, const char *name, struct slice value)
{
    resp_bulk_string(reply, name);
    resp_bulk(reply, value);
}

static void put_number(struct resp_writer *reply, const char *name, int64_t value)
{
    resp_bulk_string(reply, name);
    resp_integer(reply, value);
}

static void put_holder(struct resp_writer *reply, const struct lock_claim *claim, int64_t now_ms)
{
    resp_map(reply, 7);
    put_text(reply, "owner", claim->owner);
    put_number(reply, "token", (int64_t)claim->token);
    put_number(reply, "permits", claim->permits);
    put_number(reply, "held_ms", now_ms - claim->since_ms);
    put_number(reply, "ttl_ms", claim->due_ms - now_ms);
    put_text(reply, "note", claim->note);
    resp_bulk_string(reply, "client");
    resp_null(reply);
}

static void put_waiter(struct resp_writer *reply, const struct lock_claim *claim, int64_t now_ms)
{
    resp_map(reply, 4);
    put_text(reply, "owner", claim->owner);
    put_text(reply, "mode", slice_from_string(lock_kind_text(claim->kind)));
    put_number(reply, "permits", claim->permits);
    put_number(reply, "waited_ms", now_ms - claim->since_ms);
}

static void put_info(struct call *call, const struct lock_state *state, int64_t now_ms)
{
    const char *mode = state->holder_count == 0 ? "free" : lock_kind_text(state->holders[0].kind);
    resp_map(call->reply, 4);
    put_text(call->reply, "mode", slice_from_string(mode));
    put_number(call->reply, "limit", state->limit);
    resp_bulk_string(call->reply, "holders");
    resp_array(call->reply, state->holder_count);
    for (uint32_t i = 0; i < state->holder_count; i++) {
        put_holder(call->reply, &state->holders[i], now_ms);
    }
    resp_bulk_string(call->reply, "waiters");
    resp_array(call->reply, state->waiter_count);
    for (uint32_t i = 0; i < state->waiter_count; i++) {
        put_waiter(call->reply, &state->waiters[i], now_ms);
    }
}

static void put_history(struct call *call, const struct lock_state *state, int64_t count)
{
    uint32_t shown = count < (int64_t)state->past_count ? (uint32_t)count : state->past_count;
    resp_array(call->reply, shown);
    for (uint32_t i = 0; i < shown; i++) {
        const struct lock_past *past = &state->past[i];
        resp_map(call->reply, 5);
        put_text(call->reply, "owner", past->owner);
        put_number(call->reply, "token", (int64_t)past->token);
        put_number(call->reply, "from", past->from_ms);
        put_number(call->reply, "to", past->to_ms);
        put_text(call->reply, "why", slice_from_string(lock_why_text(past->why)));
    }
}

static void put_leader(struct call *call, const struct lock_state *state, int64_t now_ms)
{
    if (state->holder_count == 0) {
        resp_null(call->reply);
        return;
    }
    const struct lock_claim *leader = &state->holders[0];
    resp_map(call->reply, 4);
    put_text(call->reply, "candidate", leader->owner);
    put_number(call->reply, "token", (int64_t)leader->token);
    put_number(call->reply, "ttl_ms", leader->due_ms - now_ms);
    put_text(call->reply, "value", leader->note);
}

/* More than a reply takes, and than a claim of it does. */
enum { LOOK_BYTES = 16 * 1024, CLAIM_BYTES = LOCK_STATE_OWNER_BYTES + LOCK_STATE_NOTE_BYTES + 256 };

enum look { LOOK_INFO, LOOK_HISTORY, LOOK_LEADER };

static enum engine_execution look(struct call *call, struct slice key, enum look what, int64_t count)
{
    if ((call->engine->ops->can & COHORT_CAN_LOOK) == 0) {
        return engine_answer_unsupported(call, "way to look at locks");
    }
    struct lock_state state;
    int64_t now_ms = 0;
    lock_state_init(&state);
    enum engine_code code = call->engine->ops->look(call->engine, key, &state, &now_ms);
    size_t claims = (size_t)state.holder_count + state.waiter_count;
    if (code == ENGINE_OK && !buffer_try_reserve(call->reply->out, LOOK_BYTES + claims * CLAIM_BYTES)) {
        resp_error(call->reply, "BUSY memory was refused");
    } else if (code != ENGINE_OK) {
        engine_answer_code(call->reply, call->engine, code);
    } else if (what == LOOK_INFO) {
        put_info(call, &state, now_ms);
    } else if (what == LOOK_HISTORY) {
        put_history(call, &state, count);
    } else {
        put_leader(call, &state, now_ms);
    }
    lock_state_deinit(&state);
    return ENGINE_ANSWERED;
}

enum engine_execution engine_lock_info(struct call *call)
{
    return engine_key_problem(call, call->argv[1]) ? ENGINE_ANSWERED : look(call, call->argv[1], LOOK_INFO, 0);
}

enum engine_execution engine_lock_history(struct call *call)
{
    int64_t count = LOCK_STATE_PAST;
    if (engine_key_problem(call, call->argv[1])) {
        return ENGINE_ANSWERED;
    }
    if (call->argc != 2 && (call->argc != 4 || !slice_is_word(call->argv[2], "COUNT"))) {
        return engine_answer_error(call, "ERR syntax error");
    }
    if (call->argc == 4 && (!number_parse_int64(call->argv[3], &count) || count < 1)) {
        return engine_answer_error(call, "ERR COUNT is a positive integer");
    }
    return look(call, call->argv[1], LOOK_HISTORY, count);
}

/* ---- list ---- */

struct listing {
    struct slice pattern;
    struct buffer names; /* as RESP */
    size_t count;
    bool no_memory;
};

static void list_one(void *data, struct slice key)
{
    struct listing *listing = data;
    bool is_election = key.size > 0 && key.data[0] == 0;
    if (is_election || listing->no_memory || !glob_match(listing->pattern, key, false)) {
        return;
    }
    if (!buffer_try_reserve(&listing->names, key.size + 32)) {
        listing->no_memory = true;
        return;
    }
    struct resp_writer writer = resp_writer_to(&listing->names, RESP2);
    resp_bulk(&writer, key);
    listing->count++;
}

/* LOCK.LIST [MATCH pattern] [COUNT n] [CURSOR c]: all of them at once, so the cursor is 0. */
enum engine_execution engine_lock_list(struct call *call)
{
    struct listing listing = {.pattern = SLICE_LITERAL("*")};
    for (size_t i = 1; i < call->argc; i += 2) {
        if (i + 1 < call->argc && slice_is_word(call->argv[i], "MATCH")) {
            listing.pattern = call->argv[i + 1];
        } else if (i + 1 == call->argc ||
                   (!slice_is_word(call->argv[i], "COUNT") && !slice_is_word(call->argv[i], "CURSOR"))) {
            return engine_answer_error(call, "ERR syntax error");
        }
    }
    if ((call->engine->ops->can & COHORT_CAN_LOOK) == 0) {
        return engine_answer_unsupported(call, "way to list locks");
    }
    enum engine_code code = call->engine->ops->list(call->engine, list_one, &listing);
    if (code == ENGINE_OK && !listing.no_memory && buffer_try_reserve(call->reply->out, listing.names.size + 64)) {
        resp_array(call->reply, 2);
        resp_bulk_string(call->reply, "0");
        resp_array(call->reply, listing.count);
        resp_raw(call->reply, buffer_slice(&listing.names));
    } else if (code == ENGINE_OK) {
        resp_error(call->reply, "BUSY memory was refused");
    } else {
        engine_answer_code(call->reply, call->engine, code);
    }
    buffer_deinit(&listing.names);
    return ENGINE_ANSWERED;
}

enum engine_execution engine_leader(struct call *call, struct slice key) { return look(call, key, LOOK_LEADER, 0); }
