/* The inside of a search, shared by search_setup.c and search.c. */
#pragma once

#include "check/search.h"

#define ITEM_NONE UINT32_MAX

/* An operation. Events are numbered from 1 in the order of time; 0 is the head of the list of what is not placed. */
struct item {
    struct rule rule;
    uint32_t source;   /* its number in the history */
    uint32_t call;     /* events */
    uint32_t end;      /* 0 when optional */
    uint32_t twin;     /* an optional one's elder that asks the same, or ITEM_NONE */
    uint32_t position; /* of an optional one among those */
    uint32_t rank;     /* among the targets; ITEM_NONE of others */
    bool placed;
};

/* Calls and ends of operations that are known and not placed, in order. */
struct link {
    uint32_t item;
    uint32_t next;
    uint32_t previous;
};

/* What the remaining operations want with a state. */
struct tally {
    uint32_t needed;    /* known ones that fit in no other */
    uint32_t mentioned; /* any that can tell it from others */
    uint32_t produced;  /* any that can lead to it, appends and unknown increments aside */
};

/* A step that can be taken back. */
struct frame {
    uint32_t item;
    uint32_t state;
    uint32_t before;
    bool forced; /* there is no alternative to it */
};

struct search {
    const struct history *history;
    struct states states;
    struct memo memo;
    size_t memory_bytes;
    struct item *items;
    uint32_t count;
    uint32_t *optionals; /* items, by call */
    uint32_t optional_count;
    uint32_t *guarded; /* of these, the ones that are not plain writes, by call */
    uint32_t guarded_count;
    uint32_t *targets; /* known items that demand a text, the shortest text first */
    uint32_t target_count;
    uint32_t target; /* the first of them that is not placed */
    struct link *links;
    struct tally *tallies; /* by state */
    uint32_t tally_count;
    uint32_t appends; /* remaining */
    uint32_t adds;    /* remaining */
    uint32_t resets;  /* remaining, any that change a text other than by appending */
    uint32_t falls;   /* remaining, any that may make a number of what is no number or a greater one */
    uint32_t vague;   /* remaining, any that demand a value but not a certain one */
    uint32_t known;   /* remaining */
    struct frame *frames;
    uint32_t depth;
    uint64_t placed[2]; /* hash of the set */
    uint32_t state;
    uint32_t before; /* the state before the last step when that was an optional one, else STATE_NONE */
    uint64_t steps_maximum;
    uint64_t steps;    /* looks at an item, about */
    uint32_t furthest; /* the last event that everything waited for */
    uint32_t *listing; /* what search_placed returns */
};

/* A write that can follow anything. */
static inline bool is_blind(const struct rule *rule)
{
    return rule->condition == RULE_ANY && rule->effect == RULE_WRITE;
}

/* The tally of any state. */
struct tally *search_tally_of(struct search *search, uint32_t state);

/* Counts an operation among the remaining ones (by = 1) or no longer (by = -1). */
void search_tally(struct search *search, const struct rule *rule, int by);
