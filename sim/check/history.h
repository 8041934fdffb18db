/* A history: what clients asked of strings and hash fields, when, and what they were told, in operations and in
 * transactions of several.
 *
 * An operation is a call (process, kind, key, arguments, start) and its end:
 *   ok       it took effect once, at some moment between start and end, and gave this result;
 *   failed   it never took effect (a definite refusal);
 *   unknown  nobody knows: it took effect at some moment after start, however late, or never.
 *
 * A transaction is several operations that stand behind each other here, with one start, end and outcome: all took
 * effect at one moment, in their order, or none did. One of unknown outcome may know what some of its operations found
 * (under WATCH, say): if it took effect at all, it found exactly that.
 *
 * Invariants: start <= end; an operation precedes another when its end is *less* than the other's start, so events at
 * the same time are concurrent. history_invoke and history_complete keep the order in which they are called by moving
 * times that are not yet past forward by a nanosecond each: in a history made with them no two events share a time.
 * A key is a string or a hash, not both: strings are judged key by key and hashes field by field, and an operation on
 * a whole hash could not be judged with either.
 *
 * The file format is in docs/history.md; history_reader.h and history_writer.h speak it. */
#pragma once

#include "base/status.h"
#include "check/holds.h"
#include "check/texts.h"

enum history_kind {
    HISTORY_GET,
    HISTORY_SET,
    HISTORY_SETNX,
    HISTORY_GETSET,
    HISTORY_GETDEL,
    HISTORY_DEL,
    HISTORY_IFEQ, /* SET key value IFEQ expected */
    HISTORY_APPEND,
    HISTORY_INCR,  /* INCRBY */
    HISTORY_CLEAR, /* what FLUSHALL does to each string: it is gone, whether it was there or not */
    HISTORY_HGET,
    HISTORY_HSET,
    HISTORY_HSETNX,
    HISTORY_HDEL,
    HISTORY_HINCRBY,
    HISTORY_KINDS,
};

enum history_outcome { HISTORY_OK, HISTORY_FAILED, HISTORY_UNKNOWN, HISTORY_OUTCOMES };

enum history_shape {
    HISTORY_RESULT_NONE,   /* not known, or nothing more than "OK" */
    HISTORY_RESULT_NULL,   /* it was not there */
    HISTORY_RESULT_TEXT,   /* .text */
    HISTORY_RESULT_NUMBER, /* .number; 1 for done and 0 for not done where Redis says OK and nil */
};

enum { HISTORY_OPERATIONS_MAXIMUM = 20 * 1000 * 1000, HISTORY_TRANSACTION_MAXIMUM = 65536 };
#define HISTORY_BYTES_MAXIMUM ((size_t)4 << 30)
#define HISTORY_NEVER UINT64_MAX
#define HISTORY_ALONE UINT32_MAX
#define HISTORY_TIME_MAXIMUM ((uint64_t)INT64_MAX)

/* What a kind of operation takes and gives. */
struct history_kind_facts {
    const char *name; /* in files: "get" */
    bool has_field;
    bool has_value;
    bool has_expected;
    bool has_by;
    bool is_flag; /* the result is 0 or 1 */
    enum history_shape shape;
};

const struct history_kind_facts *history_kind_facts(enum history_kind kind);
const char *history_outcome_name(enum history_outcome outcome);

struct history_call {
    enum history_kind kind;
    uint32_t process; /* whoever it was: only for people */
    struct slice key;
    struct slice field;    /* of a hash kind */
    struct slice value;    /* where the kind has one */
    struct slice expected; /* ifeq */
    int64_t by;            /* incr, hincrby */
};

struct history_result {
    enum history_shape shape;
    struct slice text;
    int64_t number;
};

struct history_operation {
    uint64_t start;
    uint64_t end; /* HISTORY_NEVER unless ok */
    int64_t by;
    int64_t result_number;
    uint32_t result_text;
    uint32_t key;
    uint32_t field; /* TEXTS_NONE, of a string kind */
    uint32_t value;
    uint32_t expected;
    uint32_t process;
    uint32_t transaction; /* the first operation of it, or HISTORY_ALONE */
    uint8_t kind;
    uint8_t outcome;
    uint8_t shape; /* of the result */
};

struct history {
    struct texts texts;
    struct history_operation *operations;
    uint32_t count;
    uint32_t capacity;
    struct holds holds; /* of locks, judged by themselves */
    uint64_t now;       /* the time of the last event that history_invoke and history_complete noted */
};

static inline void history_init(struct history *history) { *history = (struct history){0}; }
void history_deinit(struct history *history);

/* Notes a call at a time (nanoseconds of one clock). Until it is completed or failed its outcome is unknown.
 * STATUS_FULL at the limits above. */
MUST_USE enum status history_invoke(struct history *history, const struct history_call *call, uint64_t time,
                                    uint32_t *ret_operation);

/* The end of the operation with the number `at`. STATUS_INVALID when the kind gives no such result; the operation's
 * outcome is then still unknown. */
MUST_USE enum status history_complete(struct history *history, uint32_t at, const struct history_result *result,
                                      uint64_t time);
void history_fail(struct history *history, uint32_t at);

/* A whole operation with times as they are; `result` may be NULL unless the outcome is ok. STATUS_INVALID when the
 * end is before the start, a time is too large or the kind gives no such result. */
MUST_USE enum status history_add(struct history *history, const struct history_call *call, uint64_t start, uint64_t end,
                                 enum history_outcome outcome, const struct history_result *result);

/* The same for a transaction of 1 to HISTORY_TRANSACTION_MAXIMUM operations, which stands for its first one. Of the
 * calls the first one's process counts. While the outcome is unknown, what an operation found may be told alone. */
MUST_USE enum status history_invoke_transaction(struct history *history, const struct history_call *calls,
                                                uint32_t count, uint64_t time, uint32_t *ret_first);
MUST_USE enum status history_found(struct history *history, uint32_t at, const struct history_result *result);
MUST_USE enum status history_complete_transaction(struct history *history, uint32_t first,
                                                  const struct history_result *results, uint64_t time);
void history_fail_transaction(struct history *history, uint32_t first);

/* A whole one; a result of an unknown one may have the shape HISTORY_RESULT_NONE: not known. */
MUST_USE enum status history_add_transaction(struct history *history, const struct history_call *calls, uint32_t count,
                                             uint64_t start, uint64_t end, enum history_outcome outcome,
                                             const struct history_result *results);

/* The operation behind the last one of what the operation belongs to: the next one, when it is alone. */
uint32_t history_unit_end(const struct history *history, uint32_t first);

/* The text, or an empty one for TEXTS_NONE. */
static inline struct slice history_text(const struct history *history, uint32_t number)
{
    return number == TEXTS_NONE ? slice_of(NULL, 0) : texts_get(&history->texts, number);
}
