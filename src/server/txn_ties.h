/* Sessions that a transaction takes to other shards: a key that ends with one is renamed or copied there, or SET there
 * in its name. Before anything is prepared, each such shard is tied to the session (machine/session/ties.h), one after
 * the other, by whoever runs the transaction, in rounds of one question:
 *
 *   TIE ─▶ 0: tied
 *     ├──▶ −1: it is over
 *     └──▶ ordinal ─▶ JOIN, at the session's shard ─▶ 0: it is over
 *                      └──▶ what remains of it ─▶ TIE with the ordinal ─▶ 1: tied; 0: TIE, again
 *
 * A tie without keys harms nobody, so nothing is taken back when the transaction comes to nothing. What becomes of the
 * session between that and the commit is the shards' (machine/txn/part.h). */
#pragma once

#include "base/number.h"
#include "server/txn_round.h"
#include "server/txn_values.h"

enum {
    TXN_TIES = 64, /* that one transaction brings about; one more is refused */
    TXN_TIE_TRIES = 3,
    TXN_OVER_TRIES = 7, /* attempts, while keys of a session that has ended are still there: half a second */
};

#define TXN_TOO_MANY_TIES                                                                                              \
    "ERR the transaction would take keys of more than 64 sessions to other shards; it was not executed, send it in "   \
    "parts"
/* Of one that is over. */
#define TXN_TIE_OVER                                                                                                   \
    "NOSESSION a session that a key of the transaction ends with has ended; it was not executed, look at the key, "    \
    "then try again"
#define TXN_TIE_SLOW "CLUSTERDOWN a shard is too slow for a session of the transaction; it was not executed, try again"
/* The shard's own word for a session that has ended between its tie and its vote; and of too many keys of one. */
#define TXN_BONDS_FULL                                                                                                 \
    "BUSY a session of the transaction would have more than 16384 keys in a shard, which is the most; it was not "     \
    "executed, delete some, or open another one"

enum txn_tie_state { TXN_TIE_NONE, TXN_TIE_ASKS, TXN_TIE_JOINS, TXN_TIE_CONFIRMS };

struct txn_tie {
    enum txn_tie_state state;
    uint32_t shard; /* that is to be tied */
    struct session_id id;
    int64_t ordinal;
    uint32_t tries, made; /* made: since the transaction began anew */
    char number[NUMBER_INT64_BYTES], shard_text[NUMBER_INT64_BYTES], ordinal_text[NUMBER_INT64_BYTES];
    char name[SESSION_ID_BYTES];
    struct slice argv[4];
};

enum txn_tie_end { TXN_TIE_MORE, TXN_TIE_DONE, TXN_TIE_ENDED, TXN_TIE_FAILED, TXN_TIE_MANY };

/* None is made yet. */
static inline void txn_tie_begin(struct txn_tie *tie) { *tie = (struct txn_tie){0}; }
/* MORE: ask this as question 0 of a round of its own. DONE: there is none to be made. MANY: more than TXN_TIES. */
enum txn_tie_end txn_tie_next(struct txn_tie *tie, const struct txn_values *values, struct command *ret_command,
                              uint32_t *ret_shard);
/* Its answer: MORE: go on with txn_tie_next. ENDED: the session is over. FAILED: the round says why, or it is slow. */
enum txn_tie_end txn_tie_take(struct txn_tie *tie, struct txn_values *values, const struct txn_round *round);
