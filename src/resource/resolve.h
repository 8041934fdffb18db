/* Finishing what clients have left prepared.
 *
 * The order is what makes it safe: first the list of what a resource has prepared, THEN of each what home decided, THEN
 * the act. A branch that is listed was joined at home before it was prepared; so home knows it, or has forgotten an
 * abort, and that it is asked makes it an abort for ever. Asked first and listed then, an id that was unknown when it
 * was asked could be begun, prepared and committed in between.
 *
 * Behind that comes what home still waits for: branches that are committed, and that nobody has said to be finished.
 * Where the resource proves that they are (or lists them only now), that is noted; where it cannot, it is told.
 *
 * What is foreign is not touched; what home has FORGOTTEN (given up by a person, or prepared before the cluster was
 * restored from a backup) is told and left alone. Several may resolve at once: each hears the same decisions. */
#pragma once

#include "resource/decision.h"
#include "resource/resource.h"

#include <signal.h>

enum resolve_end {
    RESOLVE_COMMITTED,
    RESOLVE_ROLLED_BACK,
    RESOLVE_UNDER_WAY, /* home has not decided, and will by the transaction's own deadline */
    RESOLVE_FAILED,    /* cohort or the resource did not answer: once more */
    RESOLVE_PERSON,    /* forgotten, or the resource proves the opposite of the decision */
    RESOLVE_ELSEWHERE, /* committed, and at a resource that is none of the targets */
};

struct resolve_event {
    const char *label;  /* of the target; of ELSEWHERE the resource's URL */
    const char *branch; /* its name */
    const char *txid;   /* decoded */
    int64_t age_ms;     /* −1: unknown */
    enum resolve_end end;
    const char *problem; /* "": none */
};

typedef void (*resolve_told)(void *data, const struct resolve_event *event);

enum { RESOLVE_URL_BYTES = 256 };

struct resolve_target {
    const char *label;           /* borrowed */
    char url[RESOLVE_URL_BYTES]; /* as home has it: resource_url_public */
    struct resource *resource;   /* borrowed */
    bool is_down;                /* in this round */
    char problem[RESOURCE_PROBLEM_BYTES];
};

struct resolve {
    struct cohort *cohort;
    char cluster[BRANCH_CLUSTER_DIGITS + 1];
    struct resolve_target *targets;
    uint32_t count;
    int64_t timeout_ms;                 /* of each question to a resource */
    const volatile sig_atomic_t *ended; /* once it is not 0, no branch is begun with any more; the caller's */
    resolve_told told;
    void *data;
};

/* Every branch that a target lists gets an event; a target that did not answer `is_down`, with words. */
void resolve_listed(struct resolve *resolve, struct resolve_target *target);

/* What home waits for, at all targets. The status of what home answered. */
enum cohort_status resolve_unfinished(struct resolve *resolve, struct cohort_reply **ret_reply);
