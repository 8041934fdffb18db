/* All that a machine keeps of transactions. */
#pragma once

#include "machine/txn/home.h"
#include "machine/txn/overlay.h"
#include "machine/txn/part.h"

struct txns {
    struct homes homes;
    struct parts parts;
    struct overlay *overlay; /* where PREPAREs are executed; empty in between, made at the first */
    uint64_t hash_seed;
};

enum { TXN_RECORD_HOME = 'H', TXN_RECORD_PART = 'P', TXN_RECORD_MARKS = 'W' };

void txns_init(struct txns *txns, uint64_t hash_seed);
void txns_deinit(struct txns *txns);

/* Whether an ordinary command has to wait for a transaction that is prepared here: it would write what is locked, or
 * read what is going to be written. `scratch` is for inner commands. */
bool txns_block(const struct txns *txns, const struct command *command, struct command_arguments *scratch);

/* Appends all records, each behind its size as a varint. */
void txns_emit(const struct txns *txns, struct buffer *out);
/* Whether the record is one of these. */
static inline bool txns_record(struct slice record)
{
    return record.size > 0 && (record.data[0] == TXN_RECORD_HOME || record.data[0] == TXN_RECORD_PART ||
                               record.data[0] == TXN_RECORD_MARKS);
}
MUST_USE enum status txns_load(struct txns *txns, struct slice record);
uint64_t txns_digest(const struct txns *txns);

/* How many participants in pre-commit commit a three-phase transaction of so many, and how many in pre-abort abort it:
 * Vc + Va = V + 1, so never both (Skeen 1982). */
static inline uint32_t txn_quorum_commit(uint32_t participants) { return participants / 2 + 1; }
static inline uint32_t txn_quorum_abort(uint32_t participants)
{
    return participants + 1 - txn_quorum_commit(participants);
}
