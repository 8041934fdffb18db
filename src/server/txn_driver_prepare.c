/* OPEN and the PREPAREs of an attempt, and the votes. */
#include "cluster/cluster_mutation.h"
#include "server/txn_driver_internal.h"

void driver_ask_prepare(struct txn_driver *driver, uint32_t part)
{
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_prepare(&driver->arguments, &attempt, &driver->plan, part);
    txn_round_ask(&driver->round, part, driver->plan.parts[part].shard, &command);
}

static void make_attempt(struct txn_driver *driver)
{
    uint64_t term = driver->host->term(driver, driver->home);
    driver->epoch = term > driver->known_epoch ? term : driver->known_epoch;
    driver->id_size = driver->host->new_id(driver, driver->home, driver->id);
    driver->last = driver->state == DRIVER_PREPARE && driver->protocol == TXN_2PC && !driver_in_order(driver) &&
                   driver->attempt == 0 && !txn_plan_is_wide(&driver->plan) &&
                   !CLUSTER_MUTATED(TOLD_EARLY); /* LAST brings replies: none are there before */
    driver->opened = false;
    driver->why[0] = '\0';
    driver->again = false;
    driver->changed = false;
}

static bool votes_last(const struct txn_driver *driver, uint32_t part)
{
    return driver->last && driver->plan.parts[part].shard == driver->home;
}

static void ask_votes(struct txn_driver *driver)
{
    uint32_t at_once = driver_in_order(driver) ? 1 : driver->plan.part_count;
    for (uint32_t i = 0; i < at_once; i++) {
        if (!votes_last(driver, i)) {
            driver_ask_prepare(driver, i);
        }
    }
}

void driver_start_prepare(struct txn_driver *driver)
{
    bool holds = driver->plan.of_values && driver->attempt > 0;
    driver_go(driver, holds ? DRIVER_HOLD : DRIVER_PREPARE);
    txn_round_begin(&driver->round);
    if (holds) {
        txn_values_clear(&driver->plan.values);
    }
    make_attempt(driver);
    if (!driver->last) {
        const struct say_attempt attempt = driver_attempt_of(driver);
        const struct command open = txn_say_open(&driver->arguments, &attempt, &driver->plan);
        driver_ask_home(driver, &open);
    }
    if (!txn_plan_is_wide(&driver->plan)) {
        ask_votes(driver);
    }
    txn_round_asked(&driver->round);
}

/* Whose is the id that has the keys; empty when that is not known. */
static void note_locked(struct txn_driver *driver, struct slice whose)
{
    char text[DRIVER_WHY_BYTES];
    (void)snprintf(text, sizeof(text),
                   "BUSY keys of the transaction are held by %s%.*s; it was not executed, try again%s",
                   whose.size == 0 ? "another one" : "", (int)whose.size, (const char *)whose.data,
                   whose.size == 0 ? "" : ", or ask TXN.STATUS about that one");
    driver_note_why(driver, text, true);
}

void driver_note_no(struct txn_driver *driver, struct slice answer)
{
    static const struct {
        const char *word;
        bool again;
        const char *text;
    } reasons[] = {
        {"EPOCH", true, "CLUSTERDOWN a shard's leader has just changed; the transaction was not executed, try again"},
        {"OLD", true, "CLUSTERDOWN the transaction was begun too long ago; it was not executed, try again"},
        {"REFUSED", true, "CLUSTERDOWN the transaction was given up meanwhile; it was not executed, try again"},
        {"FULL", false, "BUSY a shard has no room for one more transaction; it was not executed, try again later"},
        {"LARGE", false, DRIVER_LARGE},
        {"READS", false, TXN_READS_TOO_MUCH},
        {"SESSION", true, TXN_TIE_OVER},
        {"BONDS", false, TXN_BONDS_FULL},
    };
    struct slice rest = answer;
    uint64_t count = 0;
    struct slice word;
    struct slice why;
    struct slice whose;
    if (!answer_array(&rest, &count) || count != 3 || !answer_text(&rest, &word) || !slice_is_word(word, "NO") ||
        !answer_text(&rest, &why)) {
        driver_note_error(driver, answer);
        return;
    }
    if (slice_is_word(why, "CHANGED") && answer_text(&rest, &whose) && txn_plan_reads(&driver->plan, whose)) {
        driver_note_why(driver,
                        "BUSY others write the keys of this transaction all the time; it was not executed, try again",
                        true);
    } else if (slice_is_word(why, "CHANGED")) {
        driver->changed = true;
    } else if (slice_is_word(why, "LOCKED")) {
        (void)answer_text(&rest, &whose);
        note_locked(driver, whose);
    }
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (slice_is_word(why, reasons[i].word)) {
            driver_note_why(driver, reasons[i].text, reasons[i].again);
        }
    }
}

/* True when home opened the record of this attempt, in this round or in the one before. */
static bool take_open(struct txn_driver *driver)
{
    if (driver->opened) {
        return true;
    }
    const struct round_question *question = &driver->round.questions[driver_home_question(driver)];
    struct slice rest = buffer_slice(&question->answer);
    uint64_t count = 0;
    struct slice word;
    int64_t term;
    int64_t position;
    if (question->status != STATUS_OK) {
        driver_note_failure(driver, question->status);
        return false;
    }
    if (!answer_array(&rest, &count) || count != 3 || !answer_text(&rest, &word) || !answer_integer(&rest, &term) ||
        !answer_integer(&rest, &position)) {
        driver_note_error(driver, buffer_slice(&question->answer));
        return false;
    }
    driver->known_epoch = (uint64_t)term;
    driver->host->told_position(driver, driver->home, (uint64_t)position);
    if (slice_is_word(word, "OK")) {
        return true;
    }
    bool full = slice_is_word(word, "FULL");
    driver_note_why(
        driver,
        full ? "BUSY the shard has no room for one more transaction; it was not executed, try again later"
             : "CLUSTERDOWN the shard's leader has just changed; the transaction was not executed, try again",
        !full);
    return false;
}

/* All votes are yes. */
static bool take_votes(struct txn_driver *driver, bool *ret_any)
{
    bool all = true;
    *ret_any = false;
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        struct round_question *question = &driver->round.questions[i];
        struct slice answer = buffer_slice(&question->answer);
        if (votes_last(driver, i)) {
            continue;
        }
        if (question->status == STATUS_OK && question->asked && answer_yes(answer, &driver->votes[i])) {
            *ret_any = true;
            continue;
        }
        if (driver->last && CLUSTER_MUTATED(HOME_ALONE)) {
            driver->votes[i] = 1;
            continue;
        }
        all = false;
        if (question->status != STATUS_OK) {
            *ret_any = true; /* maybe */
            driver_note_failure(driver, question->status);
        } else if (question->asked) {
            driver_note_no(driver, answer);
        }
    }
    return all;
}

void driver_keep_answer(struct txn_driver *driver, uint32_t part)
{
    struct buffer kept = driver->plan.parts[part].answer;
    driver->plan.parts[part].answer = driver->round.questions[part].answer;
    driver->round.questions[part].answer = kept;
}

bool driver_take_replies(struct txn_driver *driver, uint32_t part)
{
    bool of_shards = !driver->plan.of_values || driver->plan.looks;
    struct slice rest = buffer_slice(&driver->plan.parts[part].answer);
    uint64_t count = 0;
    struct slice word;
    int64_t vote;
    return answer_array(&rest, &count) && answer_text(&rest, &word) && answer_integer(&rest, &vote) &&
           answer_array(&rest, &count) && (!of_shards || txn_plan_take(&driver->plan, part, rest));
}

/* The replies of a yes vote. */
bool driver_keep_replies(struct txn_driver *driver)
{
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        driver_keep_answer(driver, i);
        if (!driver_take_replies(driver, i)) {
            return false;
        }
    }
    return true;
}

static void note_nonsense(struct txn_driver *driver)
{
    driver_note_why(driver, "ERR a shard gave an answer that cannot be understood; the transaction was not executed",
                    false);
}

void driver_abort_attempt(struct txn_driver *driver, bool any)
{
    bool unknown = driver->round.questions[driver_home_question(driver)].status != STATUS_OK;
    driver_go(driver, DRIVER_ABORT);
    if (driver->opened || driver->protocol == TXN_3PC) {
        txn_round_begin(&driver->round); /* home tells its participants, or they ask each other */
    } else {
        driver_drop_parts(driver, false);
    }
    if (!driver->last && (driver->opened || any || unknown)) {
        driver_say_abort(driver, driver->changed ? "a watched key was changed" : driver->why);
    }
    txn_round_asked(&driver->round);
}

void driver_open_answered(struct txn_driver *driver)
{
    if (txn_plan_is_wide(&driver->plan) && take_open(driver)) {
        driver->opened = true;
        ask_votes(driver);
    }
}

void driver_prepare_over(struct txn_driver *driver)
{
    bool any = false;
    driver->opened = !driver->last && take_open(driver);
    bool all = take_votes(driver, &any);
    if (driver->opened && all && !driver_keep_replies(driver)) {
        note_nonsense(driver);
        all = false;
    }
    if ((!driver->opened && !driver->last) || !all) {
        driver_abort_attempt(driver, any);
    } else if (driver->protocol == TXN_3PC) {
        driver_move(driver);
    } else {
        driver_decide(driver);
    }
}

/* The values that came with the locks; nobody changes them now. */
static bool take_held(struct txn_driver *driver)
{
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        struct slice rest = txn_round_answer(&driver->round, i);
        uint64_t count = 0;
        struct slice word;
        int64_t vote;
        if (!answer_array(&rest, &count) || !answer_text(&rest, &word) || !answer_integer(&rest, &vote) ||
            !answer_array(&rest, &count) || count != 1 || !txn_plan_take_dump(&driver->plan, i, rest)) {
            return false;
        }
    }
    return true;
}

void driver_hold_over(struct txn_driver *driver)
{
    bool any = false;
    driver->opened = take_open(driver);
    bool all = take_votes(driver, &any);
    const char *why = NULL;
    enum plan_run run = PLAN_LARGE;
    if (driver->opened && all && !take_held(driver)) {
        note_nonsense(driver);
    } else if (driver->opened && all) {
        run = txn_plan_run(&driver->plan, &why);
        driver->changed = run == PLAN_CHANGED;
    }
    if (why != NULL) {
        driver_note_why(driver, why, false);
    }
    if (run != PLAN_RAN) {
        driver_abort_attempt(driver, any);
        return;
    }
    driver_tie(driver);
}

/* ---- sessions that keys take along ---- */

static void prepare_values(struct txn_driver *driver)
{
    if (driver->attempt == 0) {
        driver_start_prepare(driver);
        return;
    }
    driver_go(driver, DRIVER_PREPARE);
    txn_round_begin(&driver->round);
    ask_votes(driver);
    txn_round_asked(&driver->round);
}

/* It is noted why: with locks held the attempt is to be ended, else nobody knows of it. */
static void values_failed(struct txn_driver *driver)
{
    if (driver->attempt > 0) {
        driver_abort_attempt(driver, true);
    } else if (driver->again && !driver_late(driver)) {
        driver_pause_for(driver, false);
    } else {
        driver_end(driver, TXN_END_REFUSED);
    }
}

static void ask_tie(struct txn_driver *driver)
{
    struct command command;
    uint32_t shard = 0;
    switch (txn_tie_next(&driver->tie, &driver->plan.values, &command, &shard)) {
    case TXN_TIE_MORE:
        driver_go(driver, DRIVER_TIE);
        txn_round_begin(&driver->round);
        txn_round_ask(&driver->round, 0, shard, &command);
        txn_round_asked(&driver->round);
        return;
    case TXN_TIE_DONE: prepare_values(driver); return;
    case TXN_TIE_MANY: driver_note_why(driver, TXN_TOO_MANY_TIES, false); break;
    case TXN_TIE_ENDED: driver_note_why(driver, TXN_TIE_OVER, false); break;
    case TXN_TIE_FAILED: UNREACHABLE();
    }
    values_failed(driver);
}

void driver_tie(struct txn_driver *driver)
{
    txn_tie_begin(&driver->tie);
    ask_tie(driver);
}

void driver_tie_over(struct txn_driver *driver)
{
    const struct round_question *question = &driver->round.questions[0];
    struct slice said;
    switch (txn_tie_take(&driver->tie, &driver->plan.values, &driver->round)) {
    case TXN_TIE_MORE: ask_tie(driver); return;
    case TXN_TIE_ENDED: /* its keys are about to go; what names it goes on doing so */
        driver_note_why(driver, TXN_TIE_OVER, driver->attempt < TXN_OVER_TRIES);
        break;
    case TXN_TIE_FAILED:
        if (question->status != STATUS_OK) {
            driver_note_failure(driver, question->status);
        } else if (answer_error_text(buffer_slice(&question->answer), &said)) {
            driver_note_error(driver, buffer_slice(&question->answer));
        } else {
            driver_note_why(driver, TXN_TIE_SLOW, true);
        }
        break;
    case TXN_TIE_DONE:
    case TXN_TIE_MANY: UNREACHABLE();
    }
    values_failed(driver);
}
