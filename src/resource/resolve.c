#include "resource/resolve.h"

#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };

/* What was listed, kept until the list is whole: no decision is asked for before that. */
struct listed {
    struct branch_name name;
    char text[BRANCH_NAME_BYTES];
    char evidence[RESOURCE_EVIDENCE_BYTES];
    int64_t age_ms;
    enum branch_owner owner;
};

struct round {
    struct cohort *cohort;
    const struct branch_name *self;
    const struct resolve_target *target;
    int64_t timeout_ms;
    resolve_told told;
    void *data;
    struct listed *listed;
    size_t count, capacity;
    bool short_of_memory;
};

/* ---- the list ---- */

static void take(void *data, const struct resource_branch *branch)
{
    struct round *round = data;
    struct branch_name name;
    if (!branch_name_parse(branch->name, &name) || branch_owner_of(&name, round->self) == BRANCH_FOREIGN) {
        return;
    }
    if (round->count == round->capacity) {
        size_t capacity = round->capacity == 0 ? 16 : 2 * round->capacity;
        struct listed *grown = realloc(round->listed, capacity * sizeof(*grown));
        if (grown == NULL) {
            round->short_of_memory = true; /* the others come in the next round */
            return;
        }
        round->listed = grown;
        round->capacity = capacity;
    }
    struct listed *listed = &round->listed[round->count++];
    *listed = (struct listed){.name = name, .age_ms = branch->age_ms, .owner = branch_owner_of(&name, round->self)};
    memcpy(listed->text, branch->name.data, branch->name.size);
    (void)snprintf(listed->evidence, sizeof(listed->evidence), "%s", branch->evidence);
}

/* ---- one branch ---- */

static void tell(struct round *round, const struct listed *listed, enum resolve_end end, const char *problem)
{
    const struct resolve_event event = {.label = round->target->label,
                                        .branch = slice_from_string(listed->text),
                                        .txid = listed->name.txid,
                                        .age_ms = listed->age_ms,
                                        .end = end,
                                        .problem = problem};
    round->told(round->data, &event);
}

static void act(struct round *round, const struct listed *listed, bool commits)
{
    struct resource *resource = round->target->resource;
    resource->deadline_ns = resource_clock_ns() + round->timeout_ms * NS_PER_MS;
    enum resource_code code = resource->ops->finish(resource, listed->text, listed->evidence, commits);
    if (code == RESOURCE_OK) {
        (void)decision_acknowledge(round->cohort, listed->name.txid, listed->name.label);
        tell(round, listed, commits ? RESOLVE_COMMITTED : RESOLVE_ROLLED_BACK, "");
        return;
    }
    tell(round, listed, code == RESOURCE_REFUSED ? RESOLVE_PERSON : RESOLVE_FAILED, resource->problem);
}

static void resolve_one(struct round *round, const struct listed *listed)
{
    if (listed->owner != BRANCH_OURS) {
        tell(
            round, listed, RESOLVE_PERSON,
            listed->owner == BRANCH_EARLIER
                ? "prepared before the cluster was restored from a backup: what was decided after that backup is lost, "
                  "so decide by hand"
                : "prepared in a later life of the cluster than this one: is this an old copy of it?");
        return;
    }
    enum decision_state state = DECISION_UNDER_WAY;
    struct cohort_reply *reply = NULL;
    enum cohort_status status = decision_outcome(round->cohort, listed->name.txid, &state, &reply);
    if (status != COHORT_OK) {
        const char *words = cohort_reply_type(reply) == COHORT_REPLY_ERROR ? cohort_reply_text(reply) : "";
        tell(round, listed, RESOLVE_FAILED, words[0] != '\0' ? words : cohort_status_text(status));
    } else if (state == DECISION_UNDER_WAY) {
        tell(round, listed, RESOLVE_UNDER_WAY, "");
    } else {
        act(round, listed, state == DECISION_COMMITTED);
    }
    cohort_reply_free(reply);
}

enum resource_code resolve_round(struct cohort *cohort, const struct branch_name *self,
                                 const struct resolve_target *target, int64_t timeout_ms, resolve_told told, void *data)
{
    struct round round = {
        .cohort = cohort, .self = self, .target = target, .timeout_ms = timeout_ms, .told = told, .data = data};
    struct resource *resource = target->resource;
    resource->deadline_ns = resource_clock_ns() + timeout_ms * NS_PER_MS;
    enum resource_code code = resource->ops->list(resource, take, &round);
    for (size_t i = 0; code == RESOURCE_OK && i < round.count; i++) {
        resolve_one(&round, &round.listed[i]);
    }
    if (code == RESOURCE_OK && round.short_of_memory) {
        code = resource_problem(resource, RESOURCE_DOWN, "memory was refused for the whole list");
    }
    free(round.listed);
    return code;
}
