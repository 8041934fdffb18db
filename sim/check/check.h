/* The judge: is a history linearizable? Each string key and each hash field is searched on its own, which is enough
 * (Herlihy and Wing, 1990: a history is linearizable when each object's part is). Those that transactions connect are
 * one object, a group, and judged together: is it strictly serializable (serial.h)?
 *
 * Every key is absent at the beginning. "Linearizable" is said only when an order was found for every key and field. */
#pragma once

#include "base/buffer.h"
#include "check/anomaly.h"
#include "check/serial.h"

enum check_verdict { CHECK_LINEARIZABLE, CHECK_NOT_LINEARIZABLE, CHECK_GAVE_UP };

#define CHECK_ALONE UINT32_MAX
#define CHECK_MEMORY_DEFAULT ((size_t)1 << 30)

/* A string key or a hash field. */
struct check_key {
    uint32_t key; /* texts of the history */
    uint32_t field;
    uint32_t first; /* in the check's order */
    uint32_t ok;    /* operations by outcome */
    uint32_t unknown;
    uint32_t failed;
    enum check_verdict verdict;
    uint64_t reached; /* unless linearizable: everything that ended before this time has an order */
    size_t configurations;
    uint32_t group; /* whose verdict it has, or CHECK_ALONE */
};

/* Keys and fields that transactions connect. */
struct check_group {
    enum check_verdict verdict;
    uint32_t *keys; /* of the check; the objects of the finding */
    uint32_t key_count;
    uint32_t transactions;
    struct serial_finding finding;
};

struct check {
    const struct history *history; /* borrowed */
    size_t memory_bytes;
    enum check_verdict verdict;
    uint32_t *order; /* operations by key and field; within one those that failed come last */
    struct check_key *keys;
    uint32_t key_count;
    struct check_group *groups;
    uint32_t group_count;
    struct hold_finding holds; /* what is wrong with locks */
    uint32_t mixed_key;        /* after STATUS_INVALID: used as a string and as a hash */
};

/* Judges all keys. memory_bytes bounds what the search of one key may remember; past it the key's verdict is
 * CHECK_GAVE_UP, unless something is wrong with it that shows without a search. STATUS_INVALID when a key is used as a
 * string and as a hash. Deinit in any case. */
MUST_USE enum status check_run(struct check *ret_check, const struct history *history, size_t memory_bytes);
void check_deinit(struct check *check);

/* Why a key is not linearizable: up to a moment its operations have an order, up to the next end they have none. */
struct check_explanation {
    const struct check_key *key;
    uint32_t *placed; /* an order of what ended before, with what was needed of operations that were still open */
    uint32_t placed_count;
    uint32_t *stuck; /* the operation whose end is the next one, then others that were open then and are not placed */
    uint32_t stuck_count;
    uint32_t unknown; /* operations of unknown outcome that were open then and are not placed: they do not help */
    struct anomaly anomaly;
    struct anomalies *anomalies; /* of the whole key */
};

/* For a key alone whose verdict is CHECK_NOT_LINEARIZABLE; searches a few more times. */
void check_explain(const struct check *check, const struct check_key *key, struct check_explanation *ret_explanation);
void check_explanation_deinit(struct check_explanation *explanation);

/* Text for people. The summary: a line for each key (at most `lines`), those not linearizable first, and one for all.
 * The explanation: a table of the last operations that could be ordered and of those that cannot follow. */
void check_write_summary(const struct check *check, uint32_t lines, struct buffer *out);
void check_write_explanation(const struct check *check, const struct check_explanation *explanation,
                             struct buffer *out);

/* Why a group whose verdict is CHECK_NOT_LINEARIZABLE has no order: the circle, or what a read should not have seen. */
void check_write_group(const struct check *check, const struct check_group *group, struct buffer *out);

const char *check_verdict_name(enum check_verdict verdict);
