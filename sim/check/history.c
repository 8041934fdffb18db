#include "check/history.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

/*                  name       field  value  expected by     flag   result */
static const struct history_kind_facts kinds[HISTORY_KINDS] = {
    [HISTORY_GET] = {"get", false, false, false, false, false, HISTORY_RESULT_TEXT},
    [HISTORY_SET] = {"set", false, true, false, false, false, HISTORY_RESULT_NONE},
    [HISTORY_SETNX] = {"setnx", false, true, false, false, true, HISTORY_RESULT_NUMBER},
    [HISTORY_GETSET] = {"getset", false, true, false, false, false, HISTORY_RESULT_TEXT},
    [HISTORY_GETDEL] = {"getdel", false, false, false, false, false, HISTORY_RESULT_TEXT},
    [HISTORY_DEL] = {"del", false, false, false, false, true, HISTORY_RESULT_NUMBER},
    [HISTORY_IFEQ] = {"ifeq", false, true, true, false, true, HISTORY_RESULT_NUMBER},
    [HISTORY_APPEND] = {"append", false, true, false, false, false, HISTORY_RESULT_NUMBER},
    [HISTORY_INCR] = {"incr", false, false, false, true, false, HISTORY_RESULT_NUMBER},
    [HISTORY_CLEAR] = {"clear", false, false, false, false, false, HISTORY_RESULT_NONE},
    [HISTORY_HGET] = {"hget", true, false, false, false, false, HISTORY_RESULT_TEXT},
    [HISTORY_HSET] = {"hset", true, true, false, false, true, HISTORY_RESULT_NUMBER},
    [HISTORY_HSETNX] = {"hsetnx", true, true, false, false, true, HISTORY_RESULT_NUMBER},
    [HISTORY_HDEL] = {"hdel", true, false, false, false, true, HISTORY_RESULT_NUMBER},
    [HISTORY_HINCRBY] = {"hincrby", true, false, false, true, false, HISTORY_RESULT_NUMBER},
};

static const char *const outcomes[HISTORY_OUTCOMES] = {"ok", "failed", "unknown"};

const struct history_kind_facts *history_kind_facts(enum history_kind kind)
{
    ASSERT((unsigned)kind < HISTORY_KINDS);
    return &kinds[kind];
}

const char *history_outcome_name(enum history_outcome outcome)
{
    ASSERT((unsigned)outcome < HISTORY_OUTCOMES);
    return outcomes[outcome];
}

void history_deinit(struct history *history)
{
    holds_deinit(&history->holds);
    texts_deinit(&history->texts);
    free(history->operations);
    history_init(history);
}

static bool result_fits(const struct history_kind_facts *facts, const struct history_result *result)
{
    bool null_instead = facts->shape == HISTORY_RESULT_TEXT && result->shape == HISTORY_RESULT_NULL;
    if (result->shape != facts->shape && !null_instead) {
        return false;
    }
    return !facts->is_flag || result->number == 0 || result->number == 1;
}

static void set_result(struct history *history, struct history_operation *operation,
                       const struct history_result *result)
{
    operation->shape = (uint8_t)result->shape;
    operation->result_number = result->shape == HISTORY_RESULT_NUMBER ? result->number : 0;
    if (result->shape == HISTORY_RESULT_TEXT) {
        operation->result_text = texts_add(&history->texts, result->text);
    }
}

static struct history_operation *append(struct history *history)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity == 0 ? 64 : history->capacity * 2;
        history->operations = memory_resize(history->operations, history->capacity * sizeof(*history->operations));
    }
    return &history->operations[history->count++];
}

static enum status add_call(struct history *history, const struct history_call *call, uint64_t start)
{
    if (history->count >= HISTORY_OPERATIONS_MAXIMUM || history->texts.bytes >= HISTORY_BYTES_MAXIMUM) {
        return STATUS_FULL;
    }
    const struct history_kind_facts *facts = history_kind_facts(call->kind);
    struct texts *texts = &history->texts;
    *append(history) = (struct history_operation){
        .start = start,
        .end = HISTORY_NEVER,
        .by = facts->has_by ? call->by : 0,
        .result_text = TEXTS_NONE,
        .key = texts_add(texts, call->key),
        .field = facts->has_field ? texts_add(texts, call->field) : TEXTS_NONE,
        .value = facts->has_value ? texts_add(texts, call->value) : TEXTS_NONE,
        .expected = facts->has_expected ? texts_add(texts, call->expected) : TEXTS_NONE,
        .process = call->process,
        .transaction = HISTORY_ALONE,
        .kind = (uint8_t)call->kind,
        .outcome = HISTORY_UNKNOWN,
    };
    return STATUS_OK;
}

/* The next event's time. */
static uint64_t tick(struct history *history, uint64_t time)
{
    history->now = time > history->now ? time : history->now + 1;
    ASSERT(history->now <= HISTORY_TIME_MAXIMUM);
    return history->now;
}

enum status history_invoke(struct history *history, const struct history_call *call, uint64_t time,
                           uint32_t *ret_operation)
{
    enum status status = add_call(history, call, tick(history, time));
    if (status == STATUS_OK) {
        *ret_operation = history->count - 1;
    }
    return status;
}

enum status history_complete(struct history *history, uint32_t at, const struct history_result *result, uint64_t time)
{
    ASSERT(at < history->count && history->operations[at].outcome == HISTORY_UNKNOWN);
    struct history_operation *operation = &history->operations[at];
    if (!result_fits(history_kind_facts(operation->kind), result)) {
        return STATUS_INVALID;
    }
    operation->end = tick(history, time);
    operation->outcome = HISTORY_OK;
    set_result(history, operation, result);
    return STATUS_OK;
}

void history_fail(struct history *history, uint32_t at)
{
    ASSERT(at < history->count && history->operations[at].outcome == HISTORY_UNKNOWN);
    history->operations[at].outcome = HISTORY_FAILED;
}

enum status history_add(struct history *history, const struct history_call *call, uint64_t start, uint64_t end,
                        enum history_outcome outcome, const struct history_result *result)
{
    bool ok = outcome == HISTORY_OK;
    if (start > HISTORY_TIME_MAXIMUM) {
        return STATUS_INVALID;
    }
    if (ok && (end > HISTORY_TIME_MAXIMUM || end < start || !result_fits(history_kind_facts(call->kind), result))) {
        return STATUS_INVALID;
    }
    enum status status = add_call(history, call, start);
    if (status != STATUS_OK) {
        return status;
    }
    struct history_operation *operation = &history->operations[history->count - 1];
    operation->outcome = (uint8_t)outcome;
    if (ok) {
        operation->end = end;
        set_result(history, operation, result);
    }
    return STATUS_OK;
}

/* ---- transactions ---- */

uint32_t history_unit_end(const struct history *history, uint32_t first)
{
    ASSERT(first < history->count);
    uint32_t end = first + 1;
    if (history->operations[first].transaction != HISTORY_ALONE) {
        ASSERT(history->operations[first].transaction == first);
        while (end < history->count && history->operations[end].transaction == first) {
            end++;
        }
    }
    return end;
}

static enum status add_transaction(struct history *history, const struct history_call *calls, uint32_t count,
                                   uint64_t start)
{
    if (count == 0) {
        return STATUS_INVALID;
    }
    if (count > HISTORY_TRANSACTION_MAXIMUM || history->count + count > HISTORY_OPERATIONS_MAXIMUM) {
        return STATUS_FULL;
    }
    uint32_t first = history->count;
    for (uint32_t i = 0; i < count; i++) {
        enum status status = add_call(history, &calls[i], start);
        if (status != STATUS_OK) {
            history->count = first;
            return status;
        }
        history->operations[first + i].process = calls[0].process;
        history->operations[first + i].transaction = first;
    }
    return STATUS_OK;
}

enum status history_invoke_transaction(struct history *history, const struct history_call *calls, uint32_t count,
                                       uint64_t time, uint32_t *ret_first)
{
    uint32_t first = history->count;
    enum status status = add_transaction(history, calls, count, tick(history, time));
    if (status == STATUS_OK) {
        *ret_first = first;
    }
    return status;
}

enum status history_found(struct history *history, uint32_t at, const struct history_result *result)
{
    ASSERT(at < history->count && history->operations[at].outcome == HISTORY_UNKNOWN &&
           history->operations[at].transaction != HISTORY_ALONE);
    struct history_operation *operation = &history->operations[at];
    if (!result_fits(history_kind_facts(operation->kind), result)) {
        return STATUS_INVALID;
    }
    set_result(history, operation, result);
    return STATUS_OK;
}

static bool results_fit(const struct history_call *calls, const struct history_result *results, uint32_t count,
                        bool known)
{
    for (uint32_t i = 0; i < count; i++) {
        bool untold = !known && results[i].shape == HISTORY_RESULT_NONE;
        if (!untold && !result_fits(history_kind_facts(calls[i].kind), &results[i])) {
            return false;
        }
    }
    return true;
}

enum status history_complete_transaction(struct history *history, uint32_t first, const struct history_result *results,
                                         uint64_t time)
{
    ASSERT(first < history->count && history->operations[first].outcome == HISTORY_UNKNOWN);
    uint32_t end = history_unit_end(history, first);
    for (uint32_t i = first; i < end; i++) {
        if (!result_fits(history_kind_facts(history->operations[i].kind), &results[i - first])) {
            return STATUS_INVALID;
        }
    }
    uint64_t now = tick(history, time);
    for (uint32_t i = first; i < end; i++) {
        history->operations[i].end = now;
        history->operations[i].outcome = HISTORY_OK;
        set_result(history, &history->operations[i], &results[i - first]);
    }
    return STATUS_OK;
}

void history_fail_transaction(struct history *history, uint32_t first)
{
    for (uint32_t i = first, end = history_unit_end(history, first); i < end; i++) {
        history_fail(history, i);
    }
}

enum status history_add_transaction(struct history *history, const struct history_call *calls, uint32_t count,
                                    uint64_t start, uint64_t end, enum history_outcome outcome,
                                    const struct history_result *results)
{
    bool ok = outcome == HISTORY_OK;
    bool told = ok || (outcome == HISTORY_UNKNOWN && results != NULL);
    if (start > HISTORY_TIME_MAXIMUM || (ok && (end > HISTORY_TIME_MAXIMUM || end < start)) ||
        (told && !results_fit(calls, results, count, ok))) {
        return STATUS_INVALID;
    }
    uint32_t first = history->count;
    enum status status = add_transaction(history, calls, count, start);
    for (uint32_t i = 0; status == STATUS_OK && i < count; i++) {
        struct history_operation *operation = &history->operations[first + i];
        operation->outcome = (uint8_t)outcome;
        operation->end = ok ? end : HISTORY_NEVER;
        if (ok || (told && results[i].shape != HISTORY_RESULT_NONE)) {
            set_result(history, operation, &results[i]);
        }
    }
    return status;
}
