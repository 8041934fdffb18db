#include "resource/resolve.h"

#include <stdio.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };

/* What was listed, kept until the list is whole: no decision is asked for before that. */
struct listed {
    char txid[BRANCH_TXID_BYTES];
    char name[BRANCH_NAME_BYTES];
    char evidence[RESOURCE_EVIDENCE_BYTES];
    int64_t age_ms;
};

struct look {
    const struct resolve *resolve;
    struct listed *listed;
    size_t count, capacity;
    bool short_of_memory;
};

static void tell(const struct resolve *resolve, const char *label, const struct listed *listed, enum resolve_end end,
                 const char *problem)
{
    const struct resolve_event event = {.label = label,
                                        .branch = listed->name,
                                        .txid = listed->txid,
                                        .age_ms = listed->age_ms,
                                        .end = end,
                                        .problem = problem};
    resolve->told(resolve->data, &event);
}

/* ---- the list ---- */

static void take(void *data, const struct resource_branch *branch)
{
    struct look *look = data;
    struct resource_name name;
    if (!resource_name_parse(branch->name, &name) || strcmp(name.cluster, look->resolve->cluster) != 0) {
        return; /* foreign */
    }
    if (look->count == look->capacity) {
        size_t capacity = look->capacity == 0 ? 16 : 2 * look->capacity;
        struct listed *grown = realloc(look->listed, capacity * sizeof(*grown));
        if (grown == NULL) {
            look->short_of_memory = true; /* the others come in the next round */
            return;
        }
        look->listed = grown;
        look->capacity = capacity;
    }
    struct listed *listed = &look->listed[look->count++];
    *listed = (struct listed){.age_ms = branch->age_ms};
    memcpy(listed->name, branch->name.data, branch->name.size);
    (void)snprintf(listed->txid, sizeof(listed->txid), "%s", name.txid);
    (void)snprintf(listed->evidence, sizeof(listed->evidence), "%s", branch->evidence);
}

/* ---- one branch ---- */

static void act(const struct resolve *resolve, struct resolve_target *target, const struct listed *listed, bool commits)
{
    struct cohort_reply *reply = NULL;
    struct resource *resource = target->resource;
    resource->deadline_ns = resource_clock_ns() + resolve->timeout_ms * NS_PER_MS;
    enum resource_code code = resource->ops->finish(resource, listed->name, listed->evidence, commits);
    if (code == RESOURCE_OK) {
        (void)cohort_txn_done(resolve->cohort, listed->txid, listed->name,
                              commits ? COHORT_BRANCH_COMMITTED : COHORT_BRANCH_ABORTED, &reply);
        cohort_reply_free(reply);
        tell(resolve, target->label, listed, commits ? RESOLVE_COMMITTED : RESOLVE_ROLLED_BACK, "");
        return;
    }
    tell(resolve, target->label, listed, code == RESOURCE_DOWN ? RESOLVE_FAILED : RESOLVE_PERSON, resource->problem);
}

static void resolve_one(const struct resolve *resolve, struct resolve_target *target, const struct listed *listed)
{
    enum decision_state state = DECISION_UNDER_WAY;
    struct cohort_reply *reply = NULL;
    enum cohort_status status = decision_ask(resolve->cohort, listed->txid, listed->name, &state, &reply);
    if (status != COHORT_OK) {
        const char *words = cohort_reply_type(reply) == COHORT_REPLY_ERROR ? cohort_reply_text(reply) : "";
        tell(resolve, target->label, listed, RESOLVE_FAILED, words[0] != '\0' ? words : cohort_status_text(status));
    } else if (state == DECISION_UNDER_WAY) {
        tell(resolve, target->label, listed, RESOLVE_UNDER_WAY, "");
    } else if (state == DECISION_FORGOTTEN) {
        tell(resolve, target->label, listed, RESOLVE_PERSON,
             "what was decided is no longer known: a person has given it up, or the cluster was restored from a backup "
             "since; decide by hand");
    } else {
        act(resolve, target, listed, state == DECISION_COMMITTED);
    }
    cohort_reply_free(reply);
}

void resolve_listed(struct resolve *resolve, struct resolve_target *target)
{
    struct look look = {.resolve = resolve};
    struct resource *resource = target->resource;
    resource->deadline_ns = resource_clock_ns() + resolve->timeout_ms * NS_PER_MS;
    enum resource_code code = resource->ops->list(resource, take, &look);
    if (code == RESOURCE_OK && look.short_of_memory) {
        code = resource_problem(resource, RESOURCE_DOWN, "memory was refused for the whole list");
    }
    target->is_down = code != RESOURCE_OK;
    (void)snprintf(target->problem, sizeof(target->problem), "%s", code == RESOURCE_OK ? "" : resource->problem);
    for (size_t i = 0; i < look.count && !target->is_down && *resolve->ended == 0; i++) {
        resolve_one(resolve, target, &look.listed[i]);
    }
    free(look.listed);
}

/* ---- what home waits for ---- */

static struct resolve_target *target_of(const struct resolve *resolve, const char *url)
{
    for (uint32_t i = 0; i < resolve->count; i++) {
        if (strcmp(resolve->targets[i].url, url) == 0) {
            return &resolve->targets[i];
        }
    }
    return NULL;
}

static void take_unfinished(const struct resolve *resolve, const struct cohort_reply *map)
{
    struct listed listed = {.age_ms = cohort_reply_integer(cohort_reply_get(map, "age_ms"))};
    const char *url = cohort_reply_text(cohort_reply_get(map, "resource"));
    const char *state = cohort_reply_text(cohort_reply_get(map, "state"));
    struct resolve_target *target = target_of(resolve, url);
    bool commits = strcmp(state, "COMMIT") == 0;
    bool cancels = strcmp(state, "ABORT") == 0 && target != NULL && target->resource->ops->cancels_unseen;
    if ((!commits && !cancels) || (target != NULL && target->is_down)) {
        return;
    }
    (void)snprintf(listed.txid, sizeof(listed.txid), "%s", cohort_reply_text(cohort_reply_get(map, "id")));
    (void)snprintf(listed.name, sizeof(listed.name), "%s", cohort_reply_text(cohort_reply_get(map, "name")));
    (void)snprintf(listed.evidence, sizeof(listed.evidence), "%s",
                   cohort_reply_text(cohort_reply_get(map, "evidence")));
    if (target == NULL) {
        tell(resolve, url, &listed, RESOLVE_ELSEWHERE, "");
    } else {
        act(resolve, target, &listed, commits);
    }
}

enum cohort_status resolve_unfinished(struct resolve *resolve, struct cohort_reply **ret_reply)
{
    char cursor[DECISION_CURSOR_BYTES] = "0";
    for (;;) {
        struct cohort_reply *reply = NULL;
        enum cohort_status status = decision_unfinished(resolve->cohort, cursor, &reply);
        if (status != COHORT_OK) {
            *ret_reply = reply;
            return status;
        }
        const struct cohort_reply *page = cohort_reply_at(reply, 1);
        for (size_t i = 0; i < cohort_reply_count(page) && *resolve->ended == 0; i++) {
            take_unfinished(resolve, cohort_reply_at(page, i));
        }
        cohort_reply_free(reply);
        if (strcmp(cursor, "0") == 0 || *resolve->ended != 0) {
            return COHORT_OK;
        }
    }
}
