/* What only reads, and what a plan of values reads before it writes. */
#include "server/route_refuse.h"
#include "server/txn_driver_internal.h"

enum { READS_MAXIMUM = 3 };

/* ---- reading ---- */

void driver_ask_reads(struct txn_driver *driver)
{
    txn_round_begin(&driver->round);
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        const struct command command = txn_say_read(&driver->arguments, &driver->plan, i);
        txn_round_ask(&driver->round, i, driver->plan.parts[i].shard, &command);
    }
}

/* The versions' bytes, and the replies behind them. */
static bool take_read(struct slice answer, struct slice *ret_versions, struct slice *ret_replies)
{
    uint64_t count = 0;
    if (!answer_array(&answer, &count) || count != 2) {
        return false;
    }
    const uint8_t *start = answer.data;
    int64_t version;
    bool good = answer_array(&answer, &count);
    for (uint64_t i = 0; i < count && good; i++) {
        good = answer_integer(&answer, &version);
    }
    *ret_versions = slice_of(start, (size_t)(answer.data - start));
    good = good && answer_array(&answer, &count);
    *ret_replies = answer;
    return good;
}

/* Takes one part's answer; false when it differs from the round before, or cannot be taken. */
static bool take_part_read(struct txn_driver *driver, uint32_t part)
{
    struct round_question *question = &driver->round.questions[part];
    struct slice versions;
    struct slice replies;
    if (!take_read(buffer_slice(&question->answer), &versions, &replies)) {
        driver_note_error(driver, buffer_slice(&question->answer));
        return false;
    }
    bool same = slice_equal(versions, buffer_slice(&driver->versions[part]));
    buffer_clear(&driver->versions[part]);
    buffer_append_slice(&driver->versions[part], versions);
    struct buffer kept = driver->plan.parts[part].answer;
    driver->plan.parts[part].answer = question->answer;
    question->answer = kept;
    return txn_plan_take(&driver->plan, part, replies) && same;
}

/* A shard did not take the question, or answered that it waited for too long. */
static bool is_refused(struct txn_driver *driver, uint32_t part)
{
    enum status status = driver->round.questions[part].status;
    struct slice answer = txn_round_answer(&driver->round, part);
    struct slice said;
    if (status != STATUS_OK) {
        (void)snprintf(driver->why, sizeof(driver->why), "%s", route_refusal(status, true));
    } else if (answer_error_text(answer, &said)) {
        driver->why[0] = '\0';
        driver_note_error(driver, answer);
    } else {
        return false;
    }
    return true;
}

void driver_reads_over(struct txn_driver *driver)
{
    bool first = driver->state == DRIVER_READ;
    bool same = true;
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        if (is_refused(driver, i)) {
            driver_end(driver, TXN_END_REFUSED);
            return;
        }
        same = take_part_read(driver, i) && same;
    }
    if (!first && same) {
        driver_end(driver, TXN_END_DONE);
        return;
    }
    driver->why[0] = '\0';
    if (++driver->reads > READS_MAXIMUM) {
        driver_start_prepare(driver);
        return;
    }
    driver_go(driver, DRIVER_CONFIRM);
    driver_ask_reads(driver);
    txn_round_asked(&driver->round);
}

/* ---- a plan of values ---- */

static void ask_dumps(struct txn_driver *driver)
{
    driver_go(driver, DRIVER_DUMP);
    txn_round_begin(&driver->round);
    driver->why[0] = '\0';
    txn_values_clear(&driver->plan.values);
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        const struct command command = txn_say_dump(&driver->arguments, &driver->plan, i);
        if (command.argc > 1) { /* else the shard has only watched keys */
            txn_round_ask(&driver->round, i, driver->plan.parts[i].shard, &command);
        }
    }
    txn_round_asked(&driver->round);
}

static void run_values(struct txn_driver *driver)
{
    const char *why = NULL;
    switch (txn_plan_run(&driver->plan, &why)) {
    case PLAN_RAN: driver_tie(driver); return;
    case PLAN_CHANGED: driver_end(driver, TXN_END_CHANGED); return;
    case PLAN_LARGE:
        driver_note_why(driver, why, false);
        driver_end(driver, TXN_END_REFUSED);
        return;
    }
    UNREACHABLE();
}

void driver_dumps_over(struct txn_driver *driver)
{
    for (uint32_t i = 0; i < driver->plan.part_count; i++) {
        const struct round_question *question = &driver->round.questions[i];
        if (question->asked && question->status != STATUS_OK) {
            driver_note_failure(driver, question->status);
        } else if (question->asked && !txn_plan_take_dump(&driver->plan, i, buffer_slice(&question->answer))) {
            driver_note_error(driver, buffer_slice(&question->answer));
        }
    }
    if (driver->why[0] != '\0') {
        if (driver->again && !driver_late(driver)) {
            driver_pause_for(driver, false);
        } else {
            driver_end(driver, TXN_END_REFUSED);
        }
    } else {
        run_values(driver);
    }
}

void driver_start_attempt(struct txn_driver *driver)
{
    if (driver->plan.of_values && driver->attempt == 0) {
        ask_dumps(driver);
    } else {
        driver_start_prepare(driver);
    }
}
