/* TXN.STATUS: what home says of a transaction, and what its participants say while it is not decided. One that does not
 * answer is UNKNOWN, and the rest is told without it. */
#pragma once

#include "base/slice.h"
#include "wire/resp_writer.h"

#include <stdint.h>

struct txn_status;

/* `cluster`: what names of branches have of it. */
struct txn_status *txn_status_create(struct slice id, const char *cluster);
void txn_status_destroy(struct txn_status *status); /* takes NULL */
struct slice txn_status_id(const struct txn_status *status);

/* Takes home's answer to COHORT.TXN.STATUS; false when it is none. */
bool txn_status_take_home(struct txn_status *status, struct slice answer);
/* The participants that are to be asked COHORT.TXN.PART, from 0 on; 0 behind the last one. */
uint32_t txn_status_asks(const struct txn_status *status, uint32_t at);
/* A participant's answer; false when it is none. */
bool txn_status_take_part(struct txn_status *status, uint32_t shard, struct slice answer);
/* A map, or nil when home knows nothing. */
void txn_status_reply(const struct txn_status *status, struct resp_writer *reply);
