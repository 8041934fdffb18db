/* What the files of txn_driver*.c share: the moves between states, the ends of rounds, and what went wrong. */
#pragma once

#include "base/assert.h"
#include "base/memory.h"
#include "server/txn_answer.h"
#include "server/txn_driver.h"
#include "server/txn_say.h"

#include <stdio.h>
#include <stdlib.h>

#define DRIVER_LARGE                                                                                                   \
    "ERR the transaction is larger than one may be in a shard (32 MiB, 65536 keys); it was not executed, send less"

void driver_go(struct txn_driver *driver, enum txn_driver_state to);
uint32_t driver_home_question(const struct txn_driver *driver);
bool driver_in_order(const struct txn_driver *driver);
struct say_attempt driver_attempt_of(const struct txn_driver *driver);
void driver_ask_home(struct txn_driver *driver, const struct command *command);
void driver_say_abort(struct txn_driver *driver, const char *reason);
void driver_say_commit(struct txn_driver *driver);
void driver_end(struct txn_driver *driver, enum txn_end how);
void driver_note_why(struct txn_driver *driver, const char *text, bool again);
void driver_note_failure(struct txn_driver *driver, enum status status);
void driver_note_error(struct txn_driver *driver, struct slice answer);
void driver_pause_for(struct txn_driver *driver, bool deciding);
bool driver_late(struct txn_driver *driver);
void driver_abort_over(struct txn_driver *driver);
void driver_decide(struct txn_driver *driver);
void driver_decide_over(struct txn_driver *driver);
/* All but home have voted yes. */
void driver_say_last(struct txn_driver *driver);
void driver_say_resolve(struct txn_driver *driver);
void driver_last_over(struct txn_driver *driver);
/* Nobody will say COMMIT: a round that ends the parts that home would not tell; those that this round has asked and
 * that may be prepared, or `all`. Home's own is none of them when it was to vote last. */
void driver_drop_parts(struct txn_driver *driver, bool all);
bool driver_keep_replies(struct txn_driver *driver);
/* The same of one part's answer, which stays with the plan: first one, then the other. */
void driver_keep_answer(struct txn_driver *driver, uint32_t part);
bool driver_take_replies(struct txn_driver *driver, uint32_t part);
void driver_note_no(struct txn_driver *driver, struct slice answer);
/* `any`: a part may be prepared. */
void driver_abort_attempt(struct txn_driver *driver, bool any);
void driver_move(struct txn_driver *driver);
void driver_move_over(struct txn_driver *driver);
void driver_over(struct txn_driver *driver);
void driver_ask_reads(struct txn_driver *driver);
void driver_reads_over(struct txn_driver *driver);
void driver_ask_prepare(struct txn_driver *driver, uint32_t part);
void driver_start_prepare(struct txn_driver *driver);
void driver_open_answered(struct txn_driver *driver);
void driver_prepare_over(struct txn_driver *driver);
void driver_hold_over(struct txn_driver *driver);
/* The values are there: sessions that they take along are tied to their shards, then it is prepared. */
void driver_tie(struct txn_driver *driver);
void driver_tie_over(struct txn_driver *driver);
void driver_dumps_over(struct txn_driver *driver);
void driver_start_attempt(struct txn_driver *driver);
