#include "cluster/cluster_mutation.h"
#include "server/route_refuse.h"
#include "server/txn_driver_internal.h"

#include "machine/txn/txn.h"

enum {
    PAUSE_MS = 2, /* before the second attempt; doubled at each, up to … */
    PAUSE_MAXIMUM_MS = 256,
};

#define MAY(state) (1U << (state))

void driver_go(struct txn_driver *driver, enum txn_driver_state to)
{
    static const unsigned moves[DRIVER_STATES] = {
        [DRIVER_NEW] = MAY(DRIVER_READ) | MAY(DRIVER_DUMP) | MAY(DRIVER_PREPARE),
        [DRIVER_HOLD] = MAY(DRIVER_TIE) | MAY(DRIVER_PREPARE) | MAY(DRIVER_ABORT) | MAY(DRIVER_ENDED),
        [DRIVER_DUMP] = MAY(DRIVER_TIE) | MAY(DRIVER_PREPARE) | MAY(DRIVER_PAUSE) | MAY(DRIVER_ENDED),
        [DRIVER_TIE] =
            MAY(DRIVER_TIE) | MAY(DRIVER_PREPARE) | MAY(DRIVER_ABORT) | MAY(DRIVER_PAUSE) | MAY(DRIVER_ENDED),
        [DRIVER_READ] = MAY(DRIVER_CONFIRM) | MAY(DRIVER_PREPARE) | MAY(DRIVER_ENDED),
        [DRIVER_CONFIRM] = MAY(DRIVER_CONFIRM) | MAY(DRIVER_PREPARE) | MAY(DRIVER_ENDED),
        [DRIVER_PREPARE] = MAY(DRIVER_MOVE) | MAY(DRIVER_DECIDE) | MAY(DRIVER_ABORT) | MAY(DRIVER_ENDED),
        [DRIVER_MOVE] = MAY(DRIVER_ENDED),
        [DRIVER_DECIDE] = MAY(DRIVER_ABORT) | MAY(DRIVER_PAUSE) | MAY(DRIVER_ENDED),
        [DRIVER_ABORT] = MAY(DRIVER_PAUSE) | MAY(DRIVER_ENDED),
        [DRIVER_PAUSE] =
            MAY(DRIVER_DUMP) | MAY(DRIVER_HOLD) | MAY(DRIVER_PREPARE) | MAY(DRIVER_DECIDE) | MAY(DRIVER_ENDED),
    };
    ASSERT((moves[driver->state] & MAY(to)) != 0);
    driver->state = to;
}

/* ---- questions ---- */

uint32_t driver_home_question(const struct txn_driver *driver) { return driver->plan.part_count; }

/* A later attempt waits for locks, and so does the first of one that has only read so far: it wants many keys. */
static bool waits(const struct txn_driver *driver) { return driver->attempt > 0 || driver->plan.readonly; }

/* Who waits asks one shard after the other. A plan of values has its locks already when it comes to PREPARE. */
bool driver_in_order(const struct txn_driver *driver)
{
    return driver->state == DRIVER_HOLD ||
           (driver->state == DRIVER_PREPARE && waits(driver) && !driver->plan.of_values);
}

static enum txn_prepare_mode mode_of(const struct txn_driver *driver)
{
    return driver->state == DRIVER_HOLD ? PREPARE_HOLD : driver_in_order(driver) ? PREPARE_WAIT : PREPARE_NOW;
}

struct say_attempt driver_attempt_of(const struct txn_driver *driver)
{
    return (struct say_attempt){
        .id = slice_of(driver->id, driver->id_size),
        .home = driver->home,
        .epoch = driver->epoch,
        .protocol = driver->protocol,
        .timeout_ms = txn_plan_open_ms(&driver->plan),
        .mode = mode_of(driver),
    };
}

void driver_ask_home(struct txn_driver *driver, const struct command *command)
{
    txn_round_ask(&driver->round, driver_home_question(driver), driver->home, command);
}

void driver_say_abort(struct txn_driver *driver, const char *reason)
{
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_abort(&driver->arguments, &attempt, reason);
    driver_ask_home(driver, &command);
}

void driver_say_commit(struct txn_driver *driver)
{
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_commit(&driver->arguments, &attempt, &driver->plan, driver->votes);
    driver_ask_home(driver, &command);
}

/* ---- the end ---- */

void driver_end(struct txn_driver *driver, enum txn_end how)
{
    driver_go(driver, DRIVER_ENDED);
    txn_round_begin(&driver->round); /* what comes yet is nobody's */
    driver->host->ended(driver, how);
    if (driver->round.owed == 0) {
        driver->host->settled(driver);
    }
}

void driver_note_why(struct txn_driver *driver, const char *text, bool again)
{
    if (driver->why[0] == '\0' || (driver->again && !again)) {
        (void)snprintf(driver->why, sizeof(driver->why), "%s", text);
        driver->again = again;
    }
}

/* A shard did not take a question, or nobody knows whether it did: as no decision is out yet, nothing was executed. */
void driver_note_failure(struct txn_driver *driver, enum status status)
{
    if (status == STATUS_UNCERTAIN || status == STATUS_EXECUTED || status == STATUS_NOT_LEADER) {
        driver_note_why(
            driver, "CLUSTERDOWN a node that takes part in the transaction was lost; it was not executed, try again",
            true);
    } else if (status == STATUS_TOO_LARGE) {
        driver_note_why(driver, DRIVER_LARGE, false);
    } else {
        driver_note_why(driver, route_refusal(status, false), false);
    }
}

/* ---- what is answered ---- */

/* An error instead of the reply. */
void driver_note_error(struct txn_driver *driver, struct slice answer)
{
    struct slice said;
    if (!answer_error_text(answer, &said)) {
        driver_note_why(
            driver, "ERR a shard gave an answer that cannot be understood; the transaction was not executed", false);
        return;
    }
    char text[DRIVER_WHY_BYTES];
    (void)snprintf(text, sizeof(text), "%.*s", (int)(said.size < sizeof(text) ? said.size : sizeof(text) - 1),
                   (const char *)said.data);
    driver_note_why(driver, text, false);
}

/* ---- pausing, and what comes then ---- */

void driver_pause_for(struct txn_driver *driver, bool deciding)
{
    driver_go(driver, DRIVER_PAUSE);
    driver->deciding = deciding;
    int64_t pause_ms = PAUSE_MS << (driver->attempt < 7 ? driver->attempt : 7);
    pause_ms = pause_ms < PAUSE_MAXIMUM_MS ? pause_ms : PAUSE_MAXIMUM_MS;
    int64_t pause_ns =
        pause_ms * 1000000 / 2 + (int64_t)(driver->host->random(driver) % (uint64_t)(pause_ms * 1000000));
    driver->host->wake_at(driver, driver->host->now_ns(driver) + pause_ns);
}

void txn_driver_wake(struct txn_driver *driver)
{
    if (driver->state != DRIVER_PAUSE) {
        return;
    }
    driver->attempt++;
    if (driver->deciding) {
        driver_decide(driver);
    } else {
        driver_start_attempt(driver);
    }
}

bool driver_late(struct txn_driver *driver) { return driver->host->now_ns(driver) >= driver->deadline_ns; }

void driver_abort_over(struct txn_driver *driver)
{
    if (driver->changed) {
        driver_end(driver, TXN_END_CHANGED);
    } else if (driver->again && !driver_late(driver)) {
        driver_pause_for(driver, false);
    } else {
        driver_end(driver, TXN_END_REFUSED);
    }
}

/* ---- the decision ---- */

void driver_decide(struct txn_driver *driver)
{
    bool again = driver->state == DRIVER_PAUSE;
    driver_go(driver, DRIVER_DECIDE);
    if (driver->last && !again) {
        driver_say_last(driver);
        return;
    }
    txn_round_begin(&driver->round);
    if (driver->last) {
        driver_say_resolve(driver);
        return;
    }
    driver_say_commit(driver);
    if (CLUSTER_MUTATED(TOLD_EARLY)) {
        driver_end(driver, TXN_END_DONE);
        return;
    }
    txn_round_asked(&driver->round);
}

void driver_decide_over(struct txn_driver *driver)
{
    const struct round_question *question = &driver->round.questions[driver_home_question(driver)];
    struct slice rest = buffer_slice(&question->answer);
    uint64_t count = 0;
    struct slice word = slice_of(NULL, 0);
    bool told = question->status == STATUS_OK && answer_array(&rest, &count) && answer_text(&rest, &word);
    if (told && slice_is_word(word, "COMMIT")) {
        driver_end(driver, TXN_END_DONE);
        return;
    }
    if (told && slice_is_word(word, "ABORT")) {
        driver->decided_commit = false;
        driver_note_why(driver, "CLUSTERDOWN the transaction took longer than its time; it was not executed, try again",
                        true);
        if (driver_late(driver)) {
            driver_end(driver, TXN_END_REFUSED);
        } else {
            driver_pause_for(driver, false);
        }
        return;
    }
    bool refused = !told && question->status != STATUS_OK && question->status != STATUS_UNCERTAIN &&
                   question->status != STATUS_EXECUTED;
    driver->decided_commit = driver->decided_commit || !refused;
    if (!driver_late(driver)) {
        driver_pause_for(driver, true); /* the same decision again: home says which it is */
    } else if (driver->decided_commit) {
        driver_end(driver, TXN_END_UNKNOWN);
    } else {
        (void)snprintf(driver->why, sizeof(driver->why), "%s", route_refusal(question->status, false));
        driver_end(driver, TXN_END_REFUSED);
    }
}

/* ---- three phases ---- */

void driver_move(struct txn_driver *driver)
{
    driver_go(driver, DRIVER_MOVE);
    txn_round_begin(&driver->round);
    driver->decided_commit = true; /* from here on the participants may commit without us */
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_move(&driver->arguments, &attempt, true);
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        txn_round_ask(&driver->round, i, driver->plan.parts[i].shard, &command);
    }
    txn_round_asked(&driver->round);
}

void driver_move_over(struct txn_driver *driver)
{
    uint32_t moved = 0;
    uint32_t aborted = 0;
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        struct slice rest = buffer_slice(&driver->round.questions[i].answer);
        uint64_t count = 0;
        struct slice word;
        bool told =
            driver->round.questions[i].status == STATUS_OK && answer_array(&rest, &count) && answer_text(&rest, &word);
        moved += told && (slice_is_word(word, "PRECOMMIT") || slice_is_word(word, "COMMITTED"));
        aborted += told && slice_is_word(word, "ABORTED");
    }
    if (moved >= txn_quorum_commit(driver->plan.part_count)) {
        driver_say_commit(driver); /* a report: the outcome is the quorum's */
        driver_end(driver, TXN_END_DONE);
        return;
    }
    driver_note_why(driver, "CLUSTERDOWN the transaction took longer than its time; it was not executed, try again",
                    false);
    driver_end(driver, aborted > 0 ? TXN_END_REFUSED : TXN_END_UNKNOWN);
}

/* ---- events ---- */

void driver_over(struct txn_driver *driver)
{
    switch (driver->state) {
    case DRIVER_READ:
    case DRIVER_CONFIRM: driver_reads_over(driver); return;
    case DRIVER_DUMP: driver_dumps_over(driver); return;
    case DRIVER_HOLD: driver_hold_over(driver); return;
    case DRIVER_TIE: driver_tie_over(driver); return;
    case DRIVER_PREPARE: driver_prepare_over(driver); return;
    case DRIVER_MOVE: driver_move_over(driver); return;
    case DRIVER_DECIDE:
        if (driver->last) {
            driver_last_over(driver);
        } else {
            driver_decide_over(driver);
        }
        return;
    case DRIVER_ABORT: driver_abort_over(driver); return;
    case DRIVER_NEW:
    case DRIVER_PAUSE:
    case DRIVER_ENDED:
    case DRIVER_STATES: break;
    }
    UNREACHABLE();
}

static struct txn_driver *of(struct txn_round *round) { return (struct txn_driver *)round; }

static enum status on_submit(struct txn_round *round, uint32_t shard, const struct command *command, uint64_t tag)
{
    return of(round)->host->submit(of(round), shard, command, tag);
}

/* Who waits asks one participant after the other, as long as they say yes; what is wide, all after home. */
static void on_answered(struct txn_round *round, uint32_t q)
{
    struct txn_driver *driver = of(round);
    uint64_t vote;
    if (q == driver_home_question(driver) && (driver->state == DRIVER_PREPARE || driver->state == DRIVER_HOLD)) {
        driver_open_answered(driver);
        return;
    }
    bool more = driver_in_order(driver) && q + 1 < driver->plan.part_count && !round->questions[q + 1].asked &&
                round->questions[q].status == STATUS_OK;
    if (more && answer_yes(txn_round_answer(round, q), &vote)) {
        driver_ask_prepare(driver, q + 1);
    }
}

static void on_over(struct txn_round *round) { driver_over(of(round)); }

static void on_settled(struct txn_round *round)
{
    if (of(round)->state == DRIVER_ENDED) {
        of(round)->host->settled(of(round));
    }
}

static void on_told(struct txn_round *round, uint32_t shard)
{
    if (of(round)->host->told != NULL) {
        of(round)->host->told(of(round), shard);
    }
}

static const struct txn_round_events round_events = {on_submit, on_answered, on_over, on_settled, on_told};

/* ---- life ---- */

void txn_driver_init(struct txn_driver *driver, const struct txn_driver_host *host, struct txn_plan *plan,
                     enum txn_protocol protocol, int64_t deadline_ns)
{
    ASSERT(plan->part_count > 0);
    *driver = (struct txn_driver){
        .host = host,
        .plan = *plan,
        .protocol = protocol,
        .deadline_ns = deadline_ns,
        .votes = memory_allocate_zeroed(plan->part_count, sizeof(uint64_t)),
        .versions = memory_allocate_zeroed(plan->part_count, sizeof(struct buffer)),
    };
    *plan = (struct txn_plan){0};
    txn_round_init(&driver->round, &round_events, driver->plan.part_count + 1);
    say_arguments_init(&driver->arguments);
}

void txn_driver_deinit(struct txn_driver *driver)
{
    txn_round_deinit(&driver->round);
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        buffer_deinit(&driver->versions[i]);
    }
    free(driver->votes);
    free(driver->versions);
    say_arguments_deinit(&driver->arguments);
    txn_plan_deinit(&driver->plan);
}

/* One of the participants, so that OPEN and its PREPARE are one entry; one that is led here, if any is, so that what
 * home answers is here at once. */
static uint32_t choose_home(struct txn_driver *driver)
{
    uint32_t count = driver->plan.part_count;
    uint32_t first = (uint32_t)(driver->host->random(driver) % count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t shard = driver->plan.parts[(first + i) % count].shard;
        if (driver->host->leads(driver, shard)) {
            return shard;
        }
    }
    return driver->plan.parts[first].shard;
}

void txn_driver_start(struct txn_driver *driver)
{
    driver->home = choose_home(driver);
    if (!driver->plan.readonly) {
        driver_start_attempt(driver);
        return;
    }
    driver_go(driver, DRIVER_READ);
    driver_ask_reads(driver);
    txn_round_asked(&driver->round);
}

void txn_driver_give_up(struct txn_driver *driver)
{
    static const char text[] =
        "CLUSTERDOWN the shards of the transaction did not answer in time; it was not executed, try "
        "again";
    bool unknown = driver->state == DRIVER_MOVE || driver->state == DRIVER_DECIDE ||
                   (driver->state == DRIVER_PAUSE && driver->deciding && driver->decided_commit);
    if (driver->state == DRIVER_ENDED) {
        return;
    }
    (void)snprintf(driver->why, sizeof(driver->why), "%s", text);
    if (driver->state == DRIVER_PREPARE && driver->last) {
        driver_drop_parts(driver, false);
    } else if (driver->state == DRIVER_PREPARE || driver->state == DRIVER_HOLD ||
               (driver->state == DRIVER_TIE && driver->attempt > 0)) {
        txn_round_begin(&driver->round);
        driver_say_abort(driver, "its client waits no longer");
    }
    driver_end(driver, unknown ? TXN_END_UNKNOWN : TXN_END_REFUSED);
}
