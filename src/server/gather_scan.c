#include "server/gather_scan.h"

#include "base/number.h"
#include "machine/lock/lock_limits.h"
#include "machine/txn/branch.h"
#include "machine/txn/home.h"

/* An option of this command: TXN.LIST, TXN.BRANCHES or LOCK.LIST. NULL, or what is wrong. */
static const char *take_option(struct slice word, struct slice value, uint16_t command, struct scan *scan)
{
    int64_t number = 0;
    enum home_state state;
    _Static_assert((int)LOCK_LIST_COUNT == (int)TXN_LIST_COUNT, "the error says both");
    bool valid = number_parse_int64(value, &number);
    if (slice_is_word(word, "CURSOR")) {
        return number_parse_cursor(value, &scan->cursor) ? NULL : "ERR invalid cursor";
    }
    if (slice_is_word(word, "COUNT")) {
        scan->count = value;
        return valid && number >= 1 && number <= TXN_LIST_COUNT ? NULL : "ERR COUNT is 1 to 1000";
    }
    if (command == COMMAND_TXN_BRANCHES) {
        scan->resource = value;
        return !slice_is_word(word, "RESOURCE") ? "ERR syntax error" : branch_url_problem(value);
    }
    if (command == COMMAND_LOCK_LIST) {
        scan->pattern = value;
        return slice_is_word(word, "MATCH") ? NULL : "ERR syntax error";
    }
    if (slice_is_word(word, "OLDER")) {
        scan->older = value;
        return valid && number >= 0 ? NULL : "ERR OLDER is a time in ms, 0 or more";
    }
    if (slice_is_word(word, "STATE")) {
        scan->state = value;
        return home_state_parse(value, &state) ? NULL : "ERR STATE is BEGUN, OPEN, COMMIT, ABORT or DONE";
    }
    return "ERR syntax error";
}

/* NULL, or that this option came before. */
static const char *once(struct slice word, unsigned *given)
{
    static const char *const words[] = {"CURSOR", "COUNT", "MATCH", "OLDER", "STATE", "RESOURCE"};
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_is_word(word, words[i])) {
            bool again = (*given >> i & 1) != 0;
            *given |= 1U << i;
            return again ? "ERR syntax error: an option is given twice" : NULL;
        }
    }
    return NULL;
}

const char *gather_scan_options(const struct command *command, struct scan *scan)
{
    *scan = (struct scan){
        0, SLICE_LITERAL("10"), SLICE_LITERAL("ANY"), SLICE_LITERAL("0"), SLICE_LITERAL("*"), SLICE_LITERAL("")};
    if (command->spec->id == COMMAND_SCAN) {
        return number_parse_cursor(command->argv[1], &scan->cursor) ? NULL : "ERR invalid cursor";
    }
    uint16_t id = command->spec->id;
    bool lists = id == COMMAND_LOCK_LIST || id == COMMAND_TXN_LIST || id == COMMAND_TXN_BRANCHES;
    unsigned given = 0;
    for (uint32_t i = 1; lists && i < command->argc; i += 2) {
        const char *problem = i + 1 == command->argc ? "ERR syntax error" : once(command->argv[i], &given);
        if (problem == NULL) {
            problem = take_option(command->argv[i], command->argv[i + 1], id, scan);
        }
        if (problem != NULL) {
            return problem;
        }
    }
    return NULL;
}
