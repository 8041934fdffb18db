/* What a COHORT.TXN.PREPARE or a COHORT.TXN.LAST says, taken apart. */
#pragma once

#include "command/command.h"
#include "machine/txn/txn_id.h"

enum txn_protocol { TXN_2PC = 2, TXN_3PC = 3 };

enum txn_prepare_mode {
    PREPARE_NOW,  /* a lock is a no vote */
    PREPARE_WAIT, /* at the gate, for locks: not a first attempt */
    PREPARE_HOLD, /* waits, too, and takes the locks alone: it tells the values; the writes come with another */
    PREPARE_LAST, /* as NOW, at home, when all others have voted yes: it opens and commits, too */
};

struct txn_prepare {
    struct slice id;
    uint32_t home;
    uint64_t epoch;
    enum txn_protocol protocol;
    enum txn_prepare_mode mode;
    struct txn_runner runner; /* who will end it: as a made id tells, or BY; nobody when neither does */
    /* Shards. Of PREPARE: those that three-phase commit asks when home is away, as numbers and ranges ("3-7"); of two
     * phases none, for home alone is asked. Of LAST: each. */
    const struct slice *participants;
    uint32_t participant_count; /* of these texts */
    uint32_t shard_count;       /* that they come to */
    const struct slice *votes;  /* LAST: of each participant; "0" of home itself */
    uint64_t begun;             /* LAST: position of the record that TXN.BEGIN made; 0: there is none */
    const struct slice *checks; /* 2 × check_count: key, version as it was read */
    uint32_t check_count;
    const struct slice *writes; /* 2 × write_count: key, value as entry_dump makes it, or empty; HOLD: not looked at */
    uint32_t write_count;
    const struct slice *commands; /* encoded; they come before the values. HOLD: for its lock of all keys */
    uint32_t command_count;
};

/* False when no node of ours can have said so; values and inner commands are not looked into. */
bool txn_prepare_parse(const struct command *command, struct txn_prepare *ret_prepare);
/* Its keys are claimed and locked for a transaction. */
static inline bool txn_prepares(const struct command_spec *spec)
{
    return spec->id == COMMAND_COHORT_TXN_PREPARE || spec->id == COMMAND_COHORT_TXN_LAST;
}
/* It tells an outcome: said again it changes nothing. */
static inline bool txn_ends(const struct command_spec *spec) { return spec->id == COMMAND_COHORT_TXN_FINISH; }
/* A shard's number. */
bool txn_shard_parse(struct slice text, uint32_t *ret_shard);
/* The same, or two of them: "3-7". */
bool txn_shards_parse(struct slice text, uint32_t *ret_first, uint32_t *ret_last);
