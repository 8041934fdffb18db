/* Home votes last: its entry opens the transaction, prepares home's part and commits it, or changes nothing. It is said
 * in the round of the other votes, so that all replies are there when it is answered. */
#include "server/txn_driver_internal.h"

#include "base/number.h"

static uint32_t own_part(const struct txn_driver *driver)
{
    uint32_t part = 0;
    while (driver->plan.parts[part].shard != driver->home) {
        part++;
    }
    return part;
}

void driver_say_last(struct txn_driver *driver)
{
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_last(&driver->arguments, &attempt, &driver->plan, driver->votes);
    txn_round_ask(&driver->round, own_part(driver), driver->home, &command);
    txn_round_asked(&driver->round);
}

void driver_say_resolve(struct txn_driver *driver)
{
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_resolve(&driver->arguments, &attempt, true);
    driver_ask_home(driver, &command);
    txn_round_asked(&driver->round);
}

void driver_drop_parts(struct txn_driver *driver, bool all)
{
    uint32_t count = driver->plan.part_count;
    bool *prepared = memory_allocate_zeroed(count, sizeof(*prepared));
    const struct say_attempt attempt = driver_attempt_of(driver);
    const struct command command = txn_say_drop(&driver->arguments, &attempt);
    for (uint32_t i = 0; i < count; i++) {
        bool own = driver->last && driver->plan.parts[i].shard == driver->home;
        prepared[i] = !own && (all || round_question_may_be_yes(&driver->round.questions[i]));
    }
    txn_round_begin(&driver->round);
    for (uint32_t i = 0; i < count; i++) {
        if (prepared[i]) {
            txn_round_ask(&driver->round, i, driver->plan.parts[i].shard, &command);
        }
    }
    free(prepared);
}

/* Home's no: with an epoch or a position when those are why. */
static void note_home(struct txn_driver *driver, struct slice answer)
{
    uint64_t count = 0;
    struct slice no;
    struct slice why;
    struct slice now;
    int64_t number;
    driver_note_no(driver, answer);
    if (!answer_array(&answer, &count) || !answer_text(&answer, &no) || !answer_text(&answer, &why) ||
        !answer_text(&answer, &now) || !number_parse_int64(now, &number) || number < 0) {
        return;
    }
    if (slice_is_word(why, "EPOCH")) {
        driver->known_epoch = (uint64_t)number;
    } else if (slice_is_word(why, "OLD")) {
        driver->host->told_position(driver, driver->home, (uint64_t)number);
    }
}

/* The answers of all but home, for when it tells its own. */
static void keep_others(struct txn_driver *driver)
{
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        if (i != own_part(driver)) {
            driver_keep_answer(driver, i);
        }
    }
}

/* Of the answer to LAST. */
static void take_last(struct txn_driver *driver, const struct round_question *question)
{
    uint64_t vote;
    struct slice answer = buffer_slice(&question->answer);
    bool perhaps = question->status == STATUS_UNCERTAIN || question->status == STATUS_EXECUTED;
    if (question->status == STATUS_OK && answer_yes(answer, &vote)) {
        driver->host->told_position(driver, driver->home, vote);
        driver_end(driver, driver_keep_replies(driver) ? TXN_END_DONE : TXN_END_LOST);
        return;
    }
    if (perhaps && driver_late(driver)) {
        driver_end(driver, TXN_END_UNKNOWN);
        return;
    }
    if (perhaps) {
        driver->decided_commit = true;
        keep_others(driver);
        driver_pause_for(driver, true); /* then home is asked what it was */
        return;
    }
    if (question->status == STATUS_OK) {
        note_home(driver, answer);
    } else {
        driver_note_failure(driver, question->status);
    }
    driver_abort_attempt(driver, true);
}

/* What home has kept of its replies, behind the state, the epoch and whether it is DONE; and those of all others. */
static bool take_all_replies(struct txn_driver *driver, struct slice answer)
{
    struct txn_plan *plan = &driver->plan;
    uint32_t own = own_part(driver);
    uint64_t count = 0;
    struct slice word;
    struct slice replies;
    int64_t number;
    if (plan->of_values && !plan->looks) {
        return true; /* they were made here */
    }
    if (!answer_array(&answer, &count) || count != 4 || !answer_text(&answer, &word) ||
        !answer_integer(&answer, &number) || !answer_integer(&answer, &number) || !answer_text(&answer, &replies)) {
        return false;
    }
    buffer_clear(&plan->parts[own].answer);
    buffer_append_slice(&plan->parts[own].answer, replies);
    bool taken = txn_plan_take(plan, own, buffer_slice(&plan->parts[own].answer));
    for (uint32_t i = 0; i < plan->part_count && taken; i++) {
        taken = i == own || driver_take_replies(driver, i);
    }
    return taken;
}

/* Of the answer to RESOLVE. */
static void take_resolved(struct txn_driver *driver, const struct round_question *question)
{
    struct slice word;
    bool told = question->status == STATUS_OK && answer_word(buffer_slice(&question->answer), &word);
    if (told && slice_is_word(word, "COMMIT")) {
        bool known = take_all_replies(driver, buffer_slice(&question->answer));
        driver_end(driver, known ? TXN_END_DONE : TXN_END_LOST);
    } else if (told && slice_is_word(word, "ABORT")) {
        driver->decided_commit = false;
        driver_note_why(driver,
                        "CLUSTERDOWN a node that takes part in the transaction was lost; it was not executed, "
                        "try again",
                        true);
        driver_go(driver, DRIVER_ABORT);
        driver_drop_parts(driver, true);
        txn_round_asked(&driver->round);
    } else if (!driver_late(driver)) {
        driver_pause_for(driver, true);
    } else {
        driver_end(driver, TXN_END_UNKNOWN);
    }
}

void driver_last_over(struct txn_driver *driver)
{
    const struct round_question *last = &driver->round.questions[own_part(driver)];
    if (last->asked) {
        take_last(driver, last);
    } else {
        take_resolved(driver, &driver->round.questions[driver_home_question(driver)]);
    }
}
