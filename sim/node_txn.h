/* What the files about transactions of clients share: node_txn.c asks, node_txn_told.c takes the replies,
 * node_txn_move.c is one kind of them. */
#pragma once

#include "node_world.h"

/* Checked by numbers, here, and not by the history. */
bool node_txn_of_bank(const struct node_txn *txn);
void node_txn_clear(struct node_txn *txn);
/* It goes to the history, before the request that may commit it. */
void node_txn_note(struct node_client *client);
/* Asks for the end of one of TXN.*. */
void node_txn_end(struct node_client *client, const char *word, enum node_ask ask, bool by_id);

/* Each ends it. */
void node_txn_committed(struct node_client *client);
void node_txn_aborted(struct node_client *client);
/* Nobody will ever know; what it read counts if it was committed. */
void node_txn_unknown(struct node_client *client);

/* ---- node_txn_move.c ---- */

bool node_move_fits(const struct node_world *world);
void node_move_make(struct node_client *client, int shard, bool in_multi);
void node_move_say(struct node_client *client, int step);
void node_claim_make(struct node_client *client, int shard);
void node_claim_say(struct node_client *client, int step);
void node_claim_check(struct node_client *client);
/* A reply with what KEYS has found. */
void node_move_take_keys(struct node_client *client);
void node_move_check(struct node_client *client);
