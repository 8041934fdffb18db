#include "resource/work.h"

#include <stdarg.h>
#include <stdio.h>

enum { NS_PER_MS = 1000000, FINISH_LEAST_MS = 1000, FINISH_MOST_MS = 10000, ASK_AGAIN_MS = 50 };

__attribute__((format(printf, 2, 3))) static bool fail(struct work *work, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(work->problem, sizeof(work->problem), format, arguments);
    va_end(arguments);
    return false;
}

/* In home's words; frees the reply. */
static bool fail_at_home(struct work *work, enum cohort_status status, struct cohort_reply *reply)
{
    const char *words = cohort_reply_type(reply) == COHORT_REPLY_ERROR ? cohort_reply_text(reply) : "";
    work->status = status;
    (void)fail(work, "cohort: %s", words[0] != '\0' ? words : cohort_status_text(status));
    cohort_reply_free(reply);
    return false;
}

static bool fail_at(struct work *work, const struct work_part *part, enum resource_code code)
{
    work->unreachable = code != RESOURCE_REFUSED;
    return fail(work, "%s: %s", part->label, part->resource->problem);
}

/* ---- beginning ---- */

bool work_add(struct work *work, const char *label, const char *url)
{
    for (uint32_t i = 0; i < work->count; i++) {
        if (strcmp(work->parts[i].label, label) == 0) {
            return fail(work, "'%s' stands for two participants: give each a name of its own", label);
        }
    }
    if (work->count == WORK_PARTS) {
        return fail(work, "a transaction has %d participants beside cohort at most", WORK_PARTS);
    }
    work->parts[work->count++] = (struct work_part){.label = label, .url = url};
    return true;
}

static bool open_part(struct work *work, struct work_part *part)
{
    char problem[RESOURCE_PROBLEM_BYTES];
    if (resource_open(part->url, &part->resource, problem) != STATUS_OK) {
        part->resource = NULL;
        return fail(work, "%s: %s", part->label, problem);
    }
    part->resource->deadline_ns = work->deadline_ns;
    return true;
}

static bool join_part(struct work *work, struct work_part *part)
{
    struct cohort_reply *reply = NULL;
    char url[RESOURCE_PROBLEM_BYTES];
    resource_url_public(part->url, url, sizeof(url));
    enum cohort_status status = decision_join(work->txn, url, part->label, part->evidence, part->name, &reply);
    if (status != COHORT_OK) {
        return fail_at_home(work, status, reply);
    }
    cohort_reply_free(reply);
    return true;
}

/* Joined first, so that home knows of the branch; and again with its evidence, before it can be prepared. */
static bool begin_part(struct work *work, struct work_part *part)
{
    if (!join_part(work, part)) {
        return false;
    }
    part->state = WORK_WORKING;
    enum resource_code code = part->resource->ops->begin(part->resource, part->name, part->evidence);
    if (code != RESOURCE_OK) {
        return fail_at(work, part, code);
    }
    return part->evidence[0] == '\0' || join_part(work, part);
}

bool work_begin(struct work *work, struct cohort *cohort, const struct work_options *options)
{
    /* External participants are of two-phase commit alone, whatever the server's own transactions are. */
    bool is_two = work->count > 0 && options->protocol == COHORT_TXN_DEFAULT;
    const struct cohort_txn_options begun = {.size = sizeof(begun),
                                             .id = options->id,
                                             .protocol = is_two ? COHORT_TXN_2PC : options->protocol,
                                             .timeout_ms = options->timeout_ms};
    struct cohort_reply *reply = NULL;
    work->cohort = cohort;
    work->status = COHORT_OK;
    work->timeout_ms = options->timeout_ms;
    work->deadline_ns = resource_clock_ns() + options->timeout_ms * NS_PER_MS;
    for (uint32_t i = 0; i < work->count; i++) {
        if (!open_part(work, &work->parts[i])) {
            return false;
        }
    }
    enum cohort_status status = cohort_txn_begin(cohort, &begun, &work->txn, &reply);
    if (status != COHORT_OK) {
        return fail_at_home(work, status, reply);
    }
    cohort_reply_free(reply);
    (void)snprintf(work->id, sizeof(work->id), "%s", cohort_txn_id(work->txn));
    for (uint32_t i = 0; i < work->count; i++) {
        if (!begin_part(work, &work->parts[i])) {
            return false;
        }
    }
    return true;
}

/* ---- the work ---- */

bool work_run(struct work *work, uint32_t part, const char *statement, int64_t *ret_changed)
{
    struct work_part *at = &work->parts[part];
    enum resource_code code = at->resource->ops->run(at->resource, statement, ret_changed);
    return code == RESOURCE_OK || fail_at(work, at, code);
}

bool work_command(struct work *work, size_t argc, const struct cohort_bytes *argv, struct cohort_reply **ret_reply)
{
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_txn_command(work->txn, argc, argv, &reply);
    if (cohort_reply_type(reply) == COHORT_REPLY_ERROR || (status != COHORT_OK && status != COHORT_NOTFOUND)) {
        return fail_at_home(work, status, reply);
    }
    *ret_reply = reply;
    return true;
}

/* ---- the end ---- */

/* What is decided is decided: who waits for it to be done everywhere waits as long as for the decision, but not for
 * ever. */
static int64_t finish_until_ns(const struct work *work)
{
    int64_t most_ms = work->timeout_ms < FINISH_LEAST_MS  ? FINISH_LEAST_MS
                      : work->timeout_ms > FINISH_MOST_MS ? FINISH_MOST_MS
                                                          : work->timeout_ms;
    return resource_clock_ns() + most_ms * NS_PER_MS;
}

/* Every part that may have something prepared hears the outcome; who does not is left to whoever resolves. */
static void finish_parts(struct work *work, bool commits)
{
    int64_t until_ns = finish_until_ns(work);
    work->unfinished = work->refused = 0;
    for (uint32_t i = 0; i < work->count; i++) {
        struct work_part *part = &work->parts[i];
        if (part->resource == NULL || !part->may_be_prepared) {
            continue;
        }
        struct cohort_reply *reply = NULL;
        struct resource *resource = part->resource;
        int64_t now_ns = resource_clock_ns(); /* each has a part of the time that is left: one may not answer at all */
        resource->deadline_ns = now_ns + (until_ns - now_ns) / (work->count - i);
        enum resource_code code = resource->ops->finish(resource, part->name, part->evidence, commits);
        work->refused += code == RESOURCE_REFUSED;
        work->unfinished += code != RESOURCE_OK;
        if (code == RESOURCE_OK && commits) { /* an abort is not remembered for its branches */
            (void)cohort_txn_done(work->cohort, work->id, part->name, COHORT_BRANCH_COMMITTED, &reply);
        } else if (commits) {
            (void)fail_at(work, part, code);
        }
        cohort_reply_free(reply);
    }
}

static void roll_back_work(struct work *work)
{
    for (uint32_t i = 0; i < work->count; i++) {
        struct work_part *part = &work->parts[i];
        if (part->resource != NULL && part->state == WORK_WORKING) {
            part->resource->ops->roll_back(part->resource);
        }
    }
}

/* Until home says, or the time for finishing is over. Without external participants there is no branch to ask about,
 * and libcohort has asked. */
static enum decision_state ask_home(struct work *work)
{
    struct resource clock = {.deadline_ns = finish_until_ns(work)};
    enum decision_state state = DECISION_UNDER_WAY;
    if (work->count == 0) {
        return DECISION_UNDER_WAY;
    }
    do {
        struct cohort_reply *reply = NULL;
        enum cohort_status status = decision_ask(work->cohort, work->id, work->parts[0].name, &state, &reply);
        cohort_reply_free(reply);
        if (status == COHORT_OK && (state == DECISION_COMMITTED || state == DECISION_ABORTED)) {
            return state;
        }
    } while (resource_pause(&clock, ASK_AGAIN_MS));
    return DECISION_UNDER_WAY;
}

/* With the words of what failed. */
static enum work_end aborted(struct work *work)
{
    char problem[WORK_PROBLEM_BYTES];
    bool unreachable = work->unreachable;
    memcpy(problem, work->problem, sizeof(problem));
    finish_parts(work, false);
    memcpy(work->problem, problem, sizeof(problem));
    work->unreachable = unreachable;
    return WORK_ROLLED_BACK;
}

/* Something before the decision has failed: nothing may commit, and nothing does, since nobody has said so to home and
 * nobody will. That home forgets it now is for those who wait for cohort's own keys. */
static enum work_end abort_work(struct work *work)
{
    struct cohort_reply *reply = NULL;
    roll_back_work(work);
    (void)cohort_txn_rollback(work->txn, &reply);
    cohort_reply_free(reply);
    return aborted(work);
}

static bool prepare_part(struct work *work, struct work_part *part)
{
    enum resource_code code = part->resource->ops->prepare(part->resource);
    part->may_be_prepared = code == RESOURCE_OK || code == RESOURCE_UNKNOWN;
    if (code != RESOURCE_OK) {
        return fail_at(work, part, code);
    }
    part->state = WORK_PREPARED;
    return true;
}

enum work_end work_commit(struct work *work)
{
    for (uint32_t i = 0; i < work->count; i++) {
        if (!prepare_part(work, &work->parts[i])) {
            return abort_work(work);
        }
    }
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_txn_commit(work->txn, &reply);
    enum decision_state state = status == COHORT_OK         ? DECISION_COMMITTED
                                : status == COHORT_TXNABORT ? DECISION_ABORTED
                                                            : ask_home(work);
    if (state == DECISION_COMMITTED) {
        cohort_reply_free(reply);
        finish_parts(work, true);
        return WORK_COMMITTED;
    }
    (void)fail_at_home(work, status, reply);
    return state == DECISION_ABORTED ? aborted(work) : WORK_UNCERTAIN;
}

void work_roll_back(struct work *work)
{
    struct cohort_reply *reply = NULL;
    roll_back_work(work);
    if (work->txn != NULL) {
        (void)cohort_txn_rollback(work->txn, &reply);
    }
    cohort_reply_free(reply);
}

void work_deinit(struct work *work)
{
    for (uint32_t i = 0; i < work->count; i++) {
        resource_close(work->parts[i].resource);
    }
    cohort_txn_free(work->txn);
}
