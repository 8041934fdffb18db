/* The model: what a string or a hash field can be, and what an operation demands of it and does to it.
 *
 * Every operation is a condition on the state and an effect. An operation that is known to have happened must find its
 * condition true; one of unknown outcome is the same with the condition under which it would change anything (a SETNX
 * that found the key there did nothing, so it never happened), and may be left out.
 *
 * Invariants: states are numbers, equal exactly when they are equal; STATE_OTHER stands for every text that nothing in
 * the rest of a history can tell from another (search.c decides when). */
#pragma once

#include "check/history.h"

enum { STATE_ABSENT, STATE_OTHER, STATE_TEXTS };

#define STATE_NONE UINT32_MAX

enum rule_condition {
    RULE_ANY,
    RULE_ABSENT, /* expected is STATE_ABSENT */
    RULE_PRESENT,
    RULE_EQUALS,  /* expected */
    RULE_DIFFERS, /* from expected; what is absent differs */
    RULE_ZERO,    /* "0" (expected) or absent, where an increment begins */
    RULE_LENGTH,  /* number; what is absent has none */
    RULE_NEVER,
};

enum rule_effect {
    RULE_KEEP,
    RULE_WRITE,  /* value */
    RULE_DELETE, /* value is STATE_ABSENT */
    RULE_ADD,    /* number; only of unknown outcome, else it is a write */
    RULE_APPEND, /* value */
};

struct rule {
    uint8_t condition;
    uint8_t effect;
    bool optional; /* its outcome is unknown */
    uint32_t expected;
    uint32_t value;
    int64_t number;
};

/* The texts of states. */
struct states {
    struct texts texts;
};

static inline void states_init(struct states *states) { texts_init(&states->texts); }
static inline void states_deinit(struct states *states) { texts_deinit(&states->texts); }

static inline uint32_t states_add(struct states *states, struct slice text)
{
    return texts_add(&states->texts, text) + STATE_TEXTS;
}

/* The text of a state that has one (state >= STATE_TEXTS). */
static inline struct slice states_text(const struct states *states, uint32_t state)
{
    return texts_get(&states->texts, state - STATE_TEXTS);
}

/* True when the state is a number that INCR takes. */
bool states_number(const struct states *states, uint32_t state, int64_t *ret_number);

/* The rule of an operation that did not fail. */
struct rule rule_of(const struct history *history, const struct history_operation *operation, struct states *states);

/* False when the rule's condition does not hold in the state; else the state after it. */
bool rule_step(const struct rule *rule, struct states *states, uint32_t state, uint32_t *ret_state);
