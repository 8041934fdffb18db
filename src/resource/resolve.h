/* Finishing what clients left prepared, at one resource.
 *
 * The order is what makes it safe: first the list of what is prepared, THEN of each what home decided, THEN the act. A
 * branch that is listed was joined and opened at home before it was prepared; so home knows it, or has forgotten only
 * what was finished everywhere, or its opening was lost, and that it is asked makes it an abort for ever. Asked first
 * and listed then, an id that was unknown when it was asked could be opened, prepared and committed in between.
 *
 * Branches of this cluster's earlier epochs (before it was restored from a backup) are told and left alone, and so is
 * everything foreign. Several may resolve at once: each knows the same decisions. */
#pragma once

#include "resource/decision.h"
#include "resource/resource.h"

enum resolve_end {
    RESOLVE_COMMITTED,
    RESOLVE_ROLLED_BACK,
    RESOLVE_UNDER_WAY, /* home has not decided, and will by the transaction's own deadline */
    RESOLVE_FAILED,    /* cohort or the resource did not answer: once more */
    RESOLVE_PERSON,    /* an earlier epoch, or the resource proves the opposite of the decision */
};

struct resolve_event {
    const char *label;   /* of the resource */
    struct slice branch; /* its name */
    const char *txid;    /* decoded */
    int64_t age_ms;      /* −1: unknown */
    enum resolve_end end;
    const char *problem; /* "": none */
};

typedef void (*resolve_told)(void *data, const struct resolve_event *event);

struct resolve_target {
    const char *label; /* borrowed */
    struct resource *resource;
};

/* One round: every branch that is listed gets an event. OK, or why the resource could not be listed (its `problem`). */
enum resource_code resolve_round(struct cohort *cohort, const struct branch_name *self,
                                 const struct resolve_target *target, int64_t timeout_ms, resolve_told told,
                                 void *data);
