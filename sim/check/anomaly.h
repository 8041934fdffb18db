/* Names for what is wrong with the operations of one key or field, found without a search.
 *
 * Each finding is a fact that no order can explain, so it also judges a history whose search gave up; the other way
 * round, a history without findings may still be bad. */
#pragma once

#include "check/search.h"

enum anomaly_kind {
    ANOMALY_NONE,
    ANOMALY_STALE_READ,        /* it saw what `other` had overwritten before it began */
    ANOMALY_LOST_WRITE,        /* the same, and nobody ever saw what `other` wrote */
    ANOMALY_NEVER_WRITTEN,     /* it saw what nobody wrote */
    ANOMALY_FROM_THE_FUTURE,   /* it saw what `other` wrote after it had ended */
    ANOMALY_APPLIED_TWICE,     /* more was counted, or appended, than anybody asked for; of an append it is `other` */
    ANOMALY_WENT_BACK,         /* it saw less than `other` had counted up to before it began */
    ANOMALY_SAME_NUMBER_TWICE, /* it and `other` both counted up to the same number */
    ANOMALY_KINDS,
};

struct anomaly {
    enum anomaly_kind kind;
    uint32_t operation; /* numbers in the history */
    uint32_t other;     /* or TEXTS_NONE */
};

enum { ANOMALIES_KEPT = 1000 };

struct anomalies {
    struct anomaly items[ANOMALIES_KEPT]; /* the first ones found */
    uint32_t kept;
    uint32_t counts[ANOMALY_KINDS]; /* all */
};

/* A word or two for people: "stale read". */
const char *anomaly_name(enum anomaly_kind kind);

/* Time grows as n log n. */
void anomalies_find(const struct partition *partition, struct anomalies *ret_anomalies);

/* Looks at what a read saw of a text made by appends alone: whether something in it was appended more often than asked
 * for, or by nobody, or is missing. For the operation that a search ended at; takes time in proportion to all of them.
 * This reads the text as a list of the appended texts, so it is a hint where one is the beginning of another. */
struct anomaly anomaly_of_append(const struct partition *partition, uint32_t operation);
