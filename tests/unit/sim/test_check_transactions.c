/* Histories of transactions with a known verdict, written as transcripts: a line for each,
 *
 *     START-END operation key arguments = result, operation …
 *
 * with END "?" where the outcome is unknown and "!" where it failed, and no result where there is none or none is
 * known; then the same without a known verdict: random ones, against brute force. */
#include "base/assert.h"
#include "check/history_reader.h"
#include "check/history_writer.h"
#include "check_random.h"

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

enum { OPERATIONS = 16 };

/* ---- transcripts ---- */

/* "get x = 1" → the call and its result; false when none is told. */
static bool parse_operation(char *text, struct history_call *ret_call, struct history_result *ret_result)
{
    char *rest = NULL;
    const char *name = strtok_r(text, " ", &rest);
    struct history_call call = {.process = 1};
    while (strcmp(history_kind_facts(call.kind)->name, name) != 0) {
        call.kind++;
    }
    const struct history_kind_facts *facts = history_kind_facts(call.kind);
    call.key = slice_from_string(strtok_r(NULL, " ", &rest));
    if (facts->has_value) {
        call.value = slice_from_string(strtok_r(NULL, " ", &rest));
    }
    if (facts->has_by) {
        call.by = strtoll(strtok_r(NULL, " ", &rest), NULL, 10);
    }
    *ret_call = call;
    *ret_result = (struct history_result){0};
    const char *equals = strtok_r(NULL, " ", &rest);
    if (equals == NULL) {
        return false;
    }
    const char *word = strtok_r(NULL, " ", &rest);
    *ret_result = facts->shape == HISTORY_RESULT_TEXT && strcmp(word, "nil") == 0
                      ? model_null()
                      : (struct history_result){facts->shape, slice_from_string(word), strtoll(word, NULL, 10)};
    return true;
}

static void add_line(struct history *history, char *line)
{
    struct history_call calls[OPERATIONS];
    struct history_result results[OPERATIONS];
    uint32_t count = 0;
    char *rest = line;
    const char *times = strsep(&rest, " ");
    for (char *part = strsep(&rest, ","); part != NULL; part = strsep(&rest, ",")) {
        (void)parse_operation(part, &calls[count], &results[count]);
        count++;
    }
    const char *end = strchr(times, '-') + 1;
    enum history_outcome outcome = *end == '?' ? HISTORY_UNKNOWN : *end == '!' ? HISTORY_FAILED : HISTORY_OK;
    assert_int_equal(history_add_transaction(history, calls, count, strtoull(times, NULL, 10), strtoull(end, NULL, 10),
                                             outcome, results),
                     STATUS_OK);
}

static enum check_verdict judge(const char *transcript, struct history *history, struct check *check)
{
    char *copy = strdup(transcript);
    char *rest = NULL;
    history_init(history);
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        add_line(history, line);
    }
    free(copy);
    assert_int_equal(check_run(check, history, CHECK_MEMORY_DEFAULT), STATUS_OK);
    return check->verdict;
}

static void expect(enum check_verdict verdict, const char *transcript)
{
    struct history history;
    struct check check;
    if (judge(transcript, &history, &check) != verdict) {
        fail_msg("%s instead of %s:\n%s", check_verdict_name(check.verdict), check_verdict_name(verdict), transcript);
    }
    check_deinit(&check);
    history_deinit(&history);
}

static void good(const char *transcript) { expect(CHECK_LINEARIZABLE, transcript); }
static void undecided(const char *transcript) { expect(CHECK_GAVE_UP, transcript); }

static void bad(enum serial_kind kind, const char *transcript)
{
    struct history history;
    struct check check;
    enum check_verdict verdict = judge(transcript, &history, &check);
    const struct check_group *group = &check.groups[0];
    if (verdict != CHECK_NOT_LINEARIZABLE || group->finding.kind != kind) {
        fail_msg("%s, %s instead of %s:\n%s", check_verdict_name(verdict), serial_name(group->finding.kind),
                 serial_name(kind), transcript);
    }
    struct buffer out;
    buffer_init(&out);
    check_write_group(&check, group, &out);
    buffer_append_byte(&out, '\0');
    assert_non_null(strstr((const char *)out.data, serial_name(kind)));
    assert_non_null(strstr((const char *)out.data, "T1"));
    buffer_deinit(&out);
    check_deinit(&check);
    history_deinit(&history);
}

static void test_serial(void **state)
{
    (void)state;
    good("1-2 set x 1, set y 1\n"
         "3-4 get x = 1, get y = 1");
    good("1-9 set x 1, set y 1\n" /* at the same time: the reader came first */
         "2-3 get x = nil, get y = nil");
    good("1-2 get x = nil, set x 1, get x = 1, set x 2\n" /* it sees what it wrote */
         "3-4 get x = 2");
    good("1-2 set x 1\n" /* blind writes, in the order that the reads tell */
         "3-20 set x 2\n3-21 set x 3, set y 3\n3-22 set x 4\n"
         "23-24 get x = 2, get y = 3\n");
    good("1-2 incr x 1 = 1, incr y 1 = 1\n3-4 incr x 1 = 2, incr y -1 = 0\n5-6 get x = 2, get y = 0");
}

static void test_own_writes(void **state)
{
    (void)state;
    bad(SERIAL_OWN_WRITE, "1-2 set x 1, get x = nil");
    bad(SERIAL_OWN_WRITE, "1-2 set x 1\n3-4 get x = 1, get x = nil");
    bad(SERIAL_OWN_WRITE, "1-2 append x a = 1, get x = nil");
    bad(SERIAL_OWN_WRITE, "1-2 append x a = 1, append x b = 1\n3-4 get x = ab");
}

static void test_values(void **state)
{
    (void)state;
    bad(SERIAL_NEVER_WRITTEN, "1-2 set x 1\n3-4 get x = 2");
    bad(SERIAL_NEVER_WRITTEN, "1-2 append x a = 1\n3-4 get x = ab");
    bad(SERIAL_ABORTED, "1-! set x 1\n3-4 get x = 1, get y = nil");
    bad(SERIAL_ABORTED, "1-! append x a\n2-3 append x b = 2\n3-4 get x = ab");
    bad(SERIAL_INTERMEDIATE, "1-2 set x 1, set x 2\n1-4 get x = 1");
    bad(SERIAL_INTERMEDIATE, "1-2 append x a = 1, append x b = 2\n1-4 get x = a\n5-6 get x = ab");
    bad(SERIAL_TWICE, "1-2 append x a = 1\n3-4 get x = aa");
    bad(SERIAL_LISTS_DIFFER, "1-? append x a\n1-? append x b\n1-9 get x = ab\n1-9 get x = ba");
}

static void test_lost_update(void **state)
{
    (void)state;
    bad(SERIAL_LOST_UPDATE, "1-2 set x 1\n3-9 get x = 1, set x 2\n3-9 get x = 1, set x 3");
    bad(SERIAL_LOST_UPDATE, "1-9 get x = nil, set x 2\n1-9 get x = nil, set x 3");
    bad(SERIAL_LOST_UPDATE, "1-9 append x a = 1\n1-9 append x b = 1");
    good("1-2 set x 1\n3-9 get x = 1, set x 2\n3-9 get x = 2, set x 3");
}

static void test_write_skew(void **state)
{
    (void)state;
    bad(SERIAL_WRITE_SKEW, "1-2 set x 1, set y 1\n"
                           "3-9 get x = 1, get y = 1, set x 2\n"
                           "3-9 get x = 1, get y = 1, set y 2");
    good("1-2 set x 1, set y 1\n"
         "3-9 get x = 1, get y = 1, set x 2\n"
         "3-9 get x = 2, get y = 1, set y 2");
}

static void test_fractured_read(void **state)
{
    (void)state;
    bad(SERIAL_FRACTURED, "1-9 get x = nil, set x 1, get y = nil, set y 1\n2-8 get x = 1, get y = nil");
    bad(SERIAL_FRACTURED, "1-9 append x a = 1, append y a = 1\n2-8 get x = a, get y = nil\n20-21 get x = a, get y = a");
    bad(SERIAL_FRACTURED, "1-9 set x 1, set y 1\n2-8 get x = 1, get y = nil"); /* of blind writes, too */
}

static void test_long_fork(void **state)
{
    (void)state;
    bad(SERIAL_LONG_FORK, "1-? append x a\n1-? append y b\n"
                          "1-9 get x = a, get y = nil\n"
                          "1-9 get x = nil, get y = b");
}

static void test_circular_information(void **state)
{
    (void)state;
    bad(SERIAL_CIRCULAR, "1-9 set x 1, get y = 1\n1-9 set y 1, get x = 1");
}

static void test_real_time(void **state)
{
    (void)state;
    bad(SERIAL_STALE, "1-2 get x = nil, set x 1, set z 1\n3-4 get x = nil, get y = nil");
    bad(SERIAL_STALE, "1-2 append x a = 1, append y a = 1\n3-4 get x = nil, get y = nil\n5-6 get x = a, get y = a");
    bad(SERIAL_REAL_TIME, "1-2 get x = 1, get y = nil\n3-4 set x 1");
    good("1-3 append x a = 1, append y a = 1\n3-4 get x = nil, get y = nil\n5-6 get x = a, get y = a");
}

static void test_unknown_outcomes(void **state)
{
    (void)state;
    good("1-? set x 1, set y 1\n3-4 get x = nil, get y = nil\n5-6 get x = 1, get y = 1");
    good("1-? set x 1, set y 1\n3-4 get x = nil, get y = nil");
    bad(SERIAL_FRACTURED, "1-? set x 1, set y 1\n3-4 get x = 1, get y = nil"); /* all of it, or nothing */
    bad(SERIAL_REAL_TIME, "3-? set x 1, set y 1\n1-2 get x = 1, get y = 1");
    good("1-? append x a, append y a\n3-4 append x b = 2\n5-6 get x = ab, get y = a");
    bad(SERIAL_FRACTURED, "1-? append x a, append y a\n3-4 append x b = 2\n5-6 get x = ab, get y = nil");
    /* what it found counts when it took effect, and only then */
    bad(SERIAL_LOST_UPDATE, "1-2 set x 1\n3-? get x = 1, set x 2\n3-9 get x = 1, set x 3\n5-9 get x = 2");
    good("1-2 set x 1\n3-? get x = 1, set x 2\n3-9 get x = 1, set x 3\n10-11 get x = 3");
}

static void test_undecided(void **state)
{
    (void)state;
    undecided("1-? setnx x 1, set y 1\n2-3 get y = 1, get x = nil"); /* did it find x there? nobody can tell here */
    undecided("1-? incr x 1, set y 1\n2-3 get x = 1, get y = nil");
}

/* Keys that no transaction connects are judged by themselves, and one bad group does not stain another. */
static void test_groups(void **state)
{
    (void)state;
    struct history history;
    struct check check;
    assert_int_equal(
        judge("1-2 set a 1, set b 1\n3-4 set b 2, set c 1\n1-2 set x 1, set y 1\n3-4 get x = 1, get y = nil", &history,
              &check),
        CHECK_NOT_LINEARIZABLE);
    assert_int_equal(check.group_count, 2);
    assert_int_equal(check.groups[0].key_count, 3);
    assert_int_equal(check.groups[0].transactions, 2);
    assert_int_equal(check.groups[0].verdict, CHECK_LINEARIZABLE);
    assert_int_equal(check.groups[1].verdict, CHECK_NOT_LINEARIZABLE);
    check_deinit(&check);
    history_deinit(&history);
}

/* ---- files ---- */

static enum status read_text(const char *text, struct history *history, struct history_reader *reader)
{
    history_init(history);
    history_reader_init(reader, history);
    if (history_reader_feed(reader, slice_from_string(text)) != STATUS_OK) {
        return reader->status;
    }
    return history_reader_end(reader);
}

static void test_file(void **state)
{
    (void)state;
    static const char text[] =
        "{\"history\":1}\n"
        "{\"process\":3,\"op\":\"txn\",\"ops\":[{\"op\":\"get\",\"key\":\"x\",\"result\":null},"
        "{\"op\":\"set\",\"key\":\"x\",\"value\":\"1\"}],\"outcome\":\"ok\",\"start\":1,\"end\":2}\n"
        "{\"process\":4,\"op\":\"txn\",\"ops\":[{\"op\":\"get\",\"key\":\"x\",\"result\":\"1\"},"
        "{\"op\":\"append\",\"key\":\"y\",\"value\":\"a\"}],\"outcome\":\"unknown\",\"start\":3}\n"
        "{\"process\":5,\"op\":\"get\",\"key\":\"x\",\"outcome\":\"ok\",\"start\":4,\"end\":5,\"result\":\"1\"}\n";
    struct history history;
    struct history_reader reader;
    assert_int_equal(read_text(text, &history, &reader), STATUS_OK);
    assert_int_equal(history.count, 5);
    assert_int_equal(history.operations[2].shape, HISTORY_RESULT_TEXT);
    assert_int_equal(history.operations[3].transaction, 2);
    assert_int_equal(history.operations[4].transaction, HISTORY_ALONE);
    struct buffer out;
    buffer_init(&out);
    history_write_header(NULL, &out);
    for (uint32_t i = 0; i < history.count; i++) {
        history_write_operation(&history, i, &out);
    }
    assert_true(slice_equal(buffer_slice(&out), slice_from_string(text)));
    buffer_deinit(&out);
    history_reader_deinit(&reader);
    history_deinit(&history);
}

static void test_bad_file(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "{\"process\":3,\"op\":\"txn\",\"ops\":[],\"outcome\":\"unknown\",\"start\":1}",
        "{\"process\":3,\"op\":\"txn\",\"ops\":7,\"outcome\":\"unknown\",\"start\":1}",
        "{\"process\":3,\"op\":\"txn\",\"ops\":[7],\"outcome\":\"unknown\",\"start\":1}",
        "{\"process\":3,\"op\":\"txn\",\"ops\":[{\"op\":\"txn\",\"key\":\"x\"}],\"outcome\":\"unknown\",\"start\":1}",
        "{\"process\":3,\"op\":\"txn\",\"ops\":[{\"op\":\"get\",\"key\":\"x\"}],\"outcome\":\"ok\",\"start\":1,\"end\":"
        "2}",
        "{\"process\":3,\"op\":\"txn\",\"ops\":[{\"op\":\"get\",\"key\":\"x\",\"result\":1}],\"outcome\":\"unknown\","
        "\"start\":1}",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct history history;
        struct history_reader reader;
        assert_int_equal(read_text("{\"history\":1}\n", &history, &reader), STATUS_OK);
        assert_int_equal(history_reader_feed(&reader, slice_from_string(lines[i])), STATUS_OK);
        assert_int_equal(history_reader_end(&reader), STATUS_INVALID);
        history_reader_deinit(&reader);
        history_deinit(&history);
    }
}

/* ---- random ones, against brute force ---- */

enum { KEYS = 3, UNITS = 6, TIMES = 12, HISTORIES = 40000 };

static const char *const keys[KEYS] = {"x", "y", "z"};

/* The last key is a list, the others are registers. */
static struct history_call random_call(struct prng *prng, uint32_t serial, char *value)
{
    uint32_t key = (uint32_t)prng_below(prng, KEYS);
    bool read = prng_chance(prng, 1, 2);
    (void)snprintf(value, 8, "%c", 'a' + (int)serial);
    return (struct history_call){
        .kind = read              ? HISTORY_GET
                : key == KEYS - 1 ? HISTORY_APPEND
                                  : HISTORY_SET,
        .key = slice_from_string(keys[key]),
        .value = slice_from_string(value),
    };
}

static uint32_t key_number(struct slice key)
{
    ASSERT(key.size == 1);
    return (uint32_t)(key.data[0] - 'x');
}

/* Executes transactions one after the other; now and then one on a state of before, in part, or not at all. */
static void make_history(struct prng *prng, struct history *history)
{
    struct model now[KEYS] = {0};
    struct model before[KEYS] = {0};
    uint32_t units = 2 + (uint32_t)prng_below(prng, UNITS - 1);
    uint32_t serial = 0;
    bool faulty = prng_chance(prng, 2, 3);
    for (uint32_t u = 0; u < units; u++) {
        struct history_call calls[4];
        struct history_result results[4] = {0};
        char values[4][8];
        char copies[4][MODEL_TEXT_BYTES];
        uint32_t count = 1 + (uint32_t)prng_below(prng, 4);
        bool unknown = prng_chance(prng, 1, 4);
        bool stale = faulty && prng_chance(prng, 1, 3);
        bool executed = !unknown || prng_chance(prng, 1, 2);
        struct model after[KEYS];
        memcpy(after, stale ? before : now, sizeof(after));
        memcpy(before, now, sizeof(before));
        for (uint32_t i = 0; i < count; i++) {
            calls[i] = random_call(prng, serial++, values[i]);
            assert_true(model_execute(&after[key_number(calls[i].key)], &calls[i], copies[i], &results[i]));
            bool torn = faulty && prng_chance(prng, 1, 8);
            if (executed && !torn && calls[i].kind != HISTORY_GET) {
                now[key_number(calls[i].key)] = after[key_number(calls[i].key)];
            }
            if (unknown && prng_chance(prng, 1, 2)) {
                results[i] = (struct history_result){0};
            }
        }
        uint64_t moment = TIMES + 2 * (uint64_t)u;
        assert_int_equal(history_add_transaction(history, calls, count, moment - prng_below(prng, TIMES),
                                                 moment + prng_below(prng, TIMES),
                                                 unknown ? HISTORY_UNKNOWN : HISTORY_OK, results),
                         STATUS_OK);
    }
}

static bool fits(const struct history *history, uint32_t first, struct model *models)
{
    for (uint32_t i = first, end = history_unit_end(history, first); i < end; i++) {
        const struct history_operation *operation = &history->operations[i];
        struct history_call call = {.kind = operation->kind, .value = history_text(history, operation->value)};
        struct history_result result;
        char copy[MODEL_TEXT_BYTES];
        struct model *model = &models[key_number(history_text(history, operation->key))];
        assert_true(model_execute(model, &call, copy, &result));
        bool told = operation->outcome == HISTORY_OK || operation->shape != HISTORY_RESULT_NONE;
        bool same = operation->shape == (uint8_t)result.shape &&
                    (result.shape != HISTORY_RESULT_TEXT ||
                     slice_equal(history_text(history, operation->result_text), result.text)) &&
                    (result.shape != HISTORY_RESULT_NUMBER || operation->result_number == result.number);
        if (told && !same) {
            return false;
        }
    }
    return true;
}

static bool may_come_next(const struct history *history, uint64_t done, uint32_t next)
{
    for (uint32_t i = 0; i < history->count; i++) {
        if ((done & (1ULL << history->operations[i].transaction)) == 0 &&
            history->operations[i].end < history->operations[next].start) {
            return false;
        }
    }
    return (done & (1ULL << next)) == 0;
}

static bool has_order(const struct history *history, uint64_t done, const struct model *models)
{
    bool all = true;
    for (uint32_t i = 0; i < history->count; i = history_unit_end(history, i)) {
        all = all && ((done & (1ULL << i)) != 0 || history->operations[i].outcome == HISTORY_UNKNOWN);
        struct model after[KEYS];
        memcpy(after, models, sizeof(after));
        if (may_come_next(history, done, i) && fits(history, i, after) && has_order(history, done | 1ULL << i, after)) {
            return true;
        }
    }
    return all;
}

static void disagree(const struct history *history, const struct check *check, uint32_t number)
{
    struct buffer text;
    buffer_init(&text);
    for (uint32_t i = 0; i < history->count; i++) {
        history_write_operation(history, i, &text);
    }
    for (uint32_t i = 0; i < check->group_count; i++) {
        if (check->groups[i].verdict == CHECK_NOT_LINEARIZABLE) {
            check_write_group(check, &check->groups[i], &text);
        }
    }
    buffer_append_byte(&text, '\0');
    print_error("%s", (const char *)text.data);
    buffer_deinit(&text);
    fail_msg("history %u: brute force does not say %s", number, check_verdict_name(check->verdict));
}

static void test_random(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 5);
    uint32_t verdicts[3] = {0};
    for (uint32_t h = 0; h < HISTORIES; h++) {
        struct history history;
        struct check check;
        struct model nothing[KEYS] = {0};
        history_init(&history);
        make_history(&prng, &history);
        assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
        bool good_one = has_order(&history, 0, nothing);
        if ((check.verdict == CHECK_LINEARIZABLE && !good_one) ||
            (check.verdict == CHECK_NOT_LINEARIZABLE && good_one)) {
            disagree(&history, &check, h);
        }
        verdicts[check.verdict]++;
        check_deinit(&check);
        history_deinit(&history);
    }
    print_message("# %u good, %u bad, %u undecided\n", verdicts[CHECK_LINEARIZABLE], verdicts[CHECK_NOT_LINEARIZABLE],
                  verdicts[CHECK_GAVE_UP]);
    assert_true(verdicts[CHECK_LINEARIZABLE] > HISTORIES / 10 && verdicts[CHECK_NOT_LINEARIZABLE] > HISTORIES / 10);
    assert_true(verdicts[CHECK_GAVE_UP] < HISTORIES / 50);
}

/* ---- long ones ---- */

enum { ACCOUNTS = 200, TRANSFERS = 40000, CLIENTS = 64 };

/* Transfers between accounts, each with a text of its own, and readers of all; times overlap by many clients. */
static void make_bank(struct history *history, uint32_t transfers, bool faulty)
{
    struct prng prng;
    prng_seed(&prng, 7);
    static char accounts[ACCOUNTS][32];
    static char names[ACCOUNTS][8];
    static struct history_call calls[ACCOUNTS];
    static struct history_result results[ACCOUNTS];
    for (uint32_t a = 0; a < ACCOUNTS; a++) {
        (void)snprintf(names[a], sizeof(names[a]), "a%u", a);
        accounts[a][0] = '\0';
    }
    for (uint32_t t = 0; t < transfers; t++) {
        uint32_t count = t % 200 == 199 ? ACCOUNTS : 2;
        uint32_t from = (uint32_t)prng_below(&prng, ACCOUNTS - 2);
        char values[2][32];
        for (uint32_t i = 0; i < count; i++) {
            uint32_t account = count == 2 ? from + i : i;
            bool nothing = accounts[account][0] == '\0';
            calls[i] = (struct history_call){.kind = HISTORY_GET, .key = slice_from_string(names[account])};
            results[i] = nothing
                             ? model_null()
                             : (struct history_result){HISTORY_RESULT_TEXT, slice_from_string(accounts[account]), 0};
        }
        for (uint32_t i = 0; i < 2 && count == 2; i++) {
            (void)snprintf(values[i], sizeof(values[i]), "%u.%u", t, i);
            calls[2 + i] =
                (struct history_call){.kind = HISTORY_SET, .key = calls[i].key, .value = slice_from_string(values[i])};
            results[2 + i] = (struct history_result){0};
        }
        uint64_t moment = 1000 + 10 * (uint64_t)t;
        bool unknown = prng_chance(&prng, 1, 50);
        assert_int_equal(history_add_transaction(
                             history, calls, count == 2 ? 4 : count, moment - prng_below(&prng, CLIENTS * 10),
                             moment + prng_below(&prng, CLIENTS * 10), unknown ? HISTORY_UNKNOWN : HISTORY_OK, results),
                         STATUS_OK);
        for (uint32_t i = 0; i < 2 && count == 2 && !(faulty && t == transfers / 2 && i == 1); i++) {
            strcpy(accounts[from + i], values[i]);
        }
    }
}

static void test_bank(void **state)
{
    (void)state;
    for (int faulty = 0; faulty <= 1; faulty++) {
        struct history history;
        struct check check;
        history_init(&history);
        make_bank(&history, TRANSFERS, faulty == 1);
        assert_int_equal(check_run(&check, &history, CHECK_MEMORY_DEFAULT), STATUS_OK);
        assert_int_equal(check.verdict, faulty ? CHECK_NOT_LINEARIZABLE : CHECK_LINEARIZABLE);
        assert_int_equal(check.group_count, 1);
        check_deinit(&check);
        history_deinit(&history);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial),     cmocka_unit_test(test_own_writes),
        cmocka_unit_test(test_values),     cmocka_unit_test(test_lost_update),
        cmocka_unit_test(test_write_skew), cmocka_unit_test(test_fractured_read),
        cmocka_unit_test(test_long_fork),  cmocka_unit_test(test_circular_information),
        cmocka_unit_test(test_real_time),  cmocka_unit_test(test_unknown_outcomes),
        cmocka_unit_test(test_undecided),  cmocka_unit_test(test_groups),
        cmocka_unit_test(test_file),       cmocka_unit_test(test_bad_file),
        cmocka_unit_test(test_random),     cmocka_unit_test(test_bank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
