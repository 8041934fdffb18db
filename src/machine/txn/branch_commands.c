/* The internal commands about external participants, at the home shard; README.md has their forms and replies. */
#include "base/assert.h"
#include "command/machine_handlers.h"
#include "machine/call.h"
#include "machine/lock/locks.h"
#include "machine/machine_mutation.h"
#include "machine/txn/home_commands.h"
#include "machine/txn/txn.h"

static void malformed(struct call *call) { resp_error(&call->reply, "ERR malformed command of a transaction"); }

static bool take_number(struct slice text, uint64_t *ret_number)
{
    int64_t number;
    bool valid = number_parse_int64(text, &number) && number >= 0;
    *ret_number = valid ? (uint64_t)number : 0;
    return valid;
}

static bool id_valid(struct slice text)
{
    struct txn_id id;
    return txn_id_parse(text, &id);
}

/* Label, restores and position, which a name has. */
struct named {
    struct slice label;
    uint64_t restores, position;
};

static bool take_named(const struct slice *argv, struct named *named)
{
    named->label = argv[0];
    return branch_label_valid(argv[0]) && take_number(argv[1], &named->restores) &&
           take_number(argv[2], &named->position);
}

/* ---- JOIN ---- */

void txn_join(struct call *call)
{
    static const char *const words[] = {"JOINED", "NONE", "LATE", "3PC", "OTHER", "MANY", "FULL"};
    struct home_joining joining = {.resource = call->argv[3],
                                   .label = call->argv[4],
                                   .evidence = call->argc == 6 ? call->argv[5] : slice_of(NULL, 0),
                                   .restores = call->locks->restores,
                                   .position = call->position,
                                   .time_ms = call->time.applied_time_ms};
    struct slice id = call->argv[1];
    if (call->argc > 6 || !id_valid(id) || !take_number(call->argv[2], &joining.begun) ||
        branch_url_problem(joining.resource) != NULL || !branch_name_fits(id, joining.label) ||
        (call->argc == 6 && !branch_text_valid(joining.evidence, TXN_EVIDENCE_BYTES))) {
        malformed(call);
        return;
    }
    struct homes *homes = &call->txns->homes;
    enum home_join why;
    const struct branch *branch = home_join(homes, homes_find(homes, id), &joining, &why);
    resp_array(&call->reply, 3);
    resp_bulk_string(&call->reply, words[why]);
    resp_integer(&call->reply, branch == NULL ? 0 : (int64_t)branch->restores);
    resp_integer(&call->reply, branch == NULL ? 0 : (int64_t)branch->position);
}

/* ---- OUTCOME ---- */

static void tell(struct call *call, const char *outcome, int64_t left_ms)
{
    resp_array(&call->reply, 2);
    resp_bulk_string(&call->reply, outcome);
    resp_integer(&call->reply, left_ms);
}

/* A branch without a record: it was aborted, as a commit is remembered until all its branches are finished; but for
 * those that a person has abandoned. */
static bool may_presume(const struct call *call, const struct named *named)
{
    return named->position > call->txns->homes.abandoned && named->position < call->position;
}

/* Of a record that is not decided: once its time is over nobody need wait for whoever began it. */
static void tell_open(struct call *call, struct home *home)
{
    int64_t left_ms = home->deadline_ms - call->time.applied_time_ms;
    if (MACHINE_MUTATED(OUTCOME_GUESSED) || MACHINE_MUTATED(OUTCOME_EARLY)) {
        tell(call, MACHINE_MUTATED(OUTCOME_EARLY) ? "COMMIT" : "ABORT", 0);
    } else if (left_ms > 0 || home->protocol == TXN_3PC) {
        tell(call, "OPEN", left_ms > 0 ? left_ms : 0);
    } else {
        ASSERT(home_abort(&call->txns->homes, home, SLICE_LITERAL("its time was over"), call->position,
                          call->time.applied_time_ms));
        tell(call, "ABORT", 0);
        if (home->state != HOME_DONE) {
            home_finish_own_part(call, home);
        }
    }
}

static void tell_absent(struct call *call, struct slice id, const struct named *named)
{
    bool full = false;
    const struct home *home = homes_resolve(&call->txns->homes, id, call->position, call->time.applied_time_ms, &full);
    if (full) {
        resp_error(&call->reply, "BUSY the shard has no room to remember one more id; ask again later");
    } else if (named == NULL) {
        tell(call, home == NULL ? "FORGOTTEN" : "ABORT", 0);
    } else {
        tell(call, may_presume(call, named) ? "ABORT" : "FORGOTTEN", 0);
    }
}

void txn_outcome(struct call *call)
{
    struct named named;
    struct slice id = call->argv[1];
    bool has_name = call->argc == 5;
    if ((call->argc != 2 && !has_name) || !id_valid(id) || (has_name && !take_named(call->argv + 2, &named))) {
        malformed(call);
        return;
    }
    struct home *home = homes_find(&call->txns->homes, id);
    bool lost = MACHINE_MUTATED(BRANCHES_FORGOTTEN) && home != NULL && home->state == HOME_DONE && has_name;
    if (lost) {
        tell(call, may_presume(call, &named) ? "ABORT" : "FORGOTTEN", 0);
    } else if (has_name && named.restores != call->locks->restores) {
        tell(call, "FORGOTTEN", 0); /* what was decided behind the backup is lost */
    } else if (home == NULL) {
        tell_absent(call, id, has_name ? &named : NULL);
    } else if (has_name && home_branch(home, named.label, named.restores, named.position) == NULL) {
        tell(call, may_presume(call, &named) ? "ABORT" : "FORGOTTEN", 0); /* the id has come again */
    } else if (home->outcome == HOME_ABSENT) {
        tell_open(call, home);
    } else {
        tell(call, home_state_name((enum home_state)home->outcome), 0);
    }
}

/* ---- ENDED ---- */

void txn_ended(struct call *call)
{
    struct named named;
    enum branch_state state;
    if (!id_valid(call->argv[1]) || !take_named(call->argv + 2, &named) || !branch_state_parse(call->argv[5], &state)) {
        malformed(call);
        return;
    }
    struct homes *homes = &call->txns->homes;
    struct home *home = homes_find(homes, call->argv[1]);
    struct branch *branch = home == NULL ? NULL : home_branch(home, named.label, named.restores, named.position);
    bool commits = state == BRANCH_COMMITTED;
    if (branch == NULL) {
        resp_error(&call->reply, "ERR no such branch is known; it was finished and forgotten, or never joined");
    } else if (home->outcome == HOME_ABSENT) {
        resp_error(&call->reply, "ERR the transaction is not decided yet, so no branch of it may be finished; ask "
                                 "TXN.OUTCOME first");
    } else if (state != BRANCH_ABANDONED && commits != (home->outcome == HOME_COMMIT)) {
        resp_error(&call->reply, commits ? "ERR the transaction is aborted, so its branch must not be committed; if "
                                           "it is, set it right by hand and say ABANDONED"
                                         : "ERR the transaction is committed, so its branch must not be aborted; if "
                                           "it is, set it right by hand and say ABANDONED");
    } else {
        uint32_t left = home->branches_left - (branch->state == BRANCH_JOINED ? 1 : 0);
        home_end_branch(homes, home, branch, state, call->position, call->time.applied_time_ms);
        resp_integer(&call->reply, left);
    }
}

/* ---- looking ---- */

static const char *told_state(const struct home *home, const struct branch *branch)
{
    bool decided = branch->state == BRANCH_JOINED && home->outcome != HOME_ABSENT;
    return decided ? home_state_name((enum home_state)home->outcome)
                   : branch_state_name((enum branch_state)branch->state);
}

void home_put_branches(struct call *call, const struct home *home)
{
    resp_array(&call->reply, home->branch_count);
    for (uint32_t i = 0; i < home->branch_count; i++) {
        const struct branch *branch = &home->branches[i];
        resp_array(&call->reply, 7);
        resp_bulk_string(&call->reply, branch->label);
        resp_bulk_string(&call->reply, branch->resource);
        resp_bulk_string(&call->reply, branch->evidence == NULL ? "" : branch->evidence);
        resp_bulk_string(&call->reply, told_state(home, branch));
        resp_integer(&call->reply, (int64_t)branch->restores);
        resp_integer(&call->reply, (int64_t)branch->position);
        resp_integer(&call->reply, call->time.present_time_ms - branch->joined_ms);
    }
}

struct listing {
    struct call *call;
    struct slice resource; /* empty: any */
    uint64_t listed, seen;
};

static void put_branch(struct call *call, const struct home *home, const struct branch *branch)
{
    struct resp_writer *reply = &call->reply;
    struct branch_name name = {.restores = branch->restores,
                               .position = branch->position,
                               .id = home_id(home),
                               .label = slice_from_string(branch->label)};
    memcpy(name.cluster, call->argv[4].data, BRANCH_CLUSTER_DIGITS);
    char text[BRANCH_NAME_BYTES];
    size_t size = branch_name_make(text, &name);
    resp_map(reply, 7);
    resp_bulk_string(reply, "id");
    resp_bulk(reply, name.id);
    resp_bulk_string(reply, "branch");
    resp_bulk(reply, name.label);
    resp_bulk_string(reply, "name");
    resp_bulk(reply, slice_of(text, size));
    resp_bulk_string(reply, "resource");
    resp_bulk_string(reply, branch->resource);
    resp_bulk_string(reply, "evidence");
    resp_bulk_string(reply, branch->evidence == NULL ? "" : branch->evidence);
    resp_bulk_string(reply, "state");
    resp_bulk_string(reply, told_state(home, branch));
    resp_bulk_string(reply, "age_ms");
    resp_integer(reply, call->time.present_time_ms - branch->joined_ms);
}

static void list_home(void *owner, void *item)
{
    struct listing *listing = owner;
    const struct home *home = item;
    listing->seen++;
    for (uint32_t i = 0; i < home->branch_count; i++) {
        const struct branch *branch = &home->branches[i];
        bool wanted =
            listing->resource.size == 0 || slice_equal(listing->resource, slice_from_string(branch->resource));
        if (wanted && branch->state == BRANCH_JOINED) {
            put_branch(listing->call, home, branch);
            listing->listed++;
        }
    }
}

void txn_branches(struct call *call)
{
    uint64_t cursor;
    uint64_t count;
    struct listing listing = {.call = call, .resource = call->argv[3]};
    if (!number_parse_cursor(call->argv[1], &cursor) || !take_number(call->argv[2], &count) || count > TXN_LIST_COUNT ||
        call->argv[4].size != BRANCH_CLUSTER_DIGITS) {
        malformed(call);
        return;
    }
    size_t begin = call_array_begin(call);
    do {
        cursor = table_walk(&call->txns->homes.table, cursor, list_home, &listing);
    } while (cursor != 0 && listing.listed < count && listing.seen < TXN_LIST_SEEN);
    call_cursor_end(call, begin, listing.listed, cursor);
}
