#include "check/anomaly.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

const char *anomaly_name(enum anomaly_kind kind)
{
    static const char *const names[ANOMALY_KINDS] = {
        [ANOMALY_NONE] = "no order",
        [ANOMALY_STALE_READ] = "stale read",
        [ANOMALY_LOST_WRITE] = "lost write",
        [ANOMALY_NEVER_WRITTEN] = "value never written",
        [ANOMALY_FROM_THE_FUTURE] = "value from the future",
        [ANOMALY_APPLIED_TWICE] = "applied twice",
        [ANOMALY_WENT_BACK] = "counter went back",
        [ANOMALY_SAME_NUMBER_TWICE] = "same number twice",
    };
    ASSERT((unsigned)kind < ANOMALY_KINDS);
    return names[kind];
}

static void found(struct anomalies *anomalies, enum anomaly_kind kind, uint32_t operation, uint32_t other)
{
    if (anomalies->kept < ANOMALIES_KEPT) {
        anomalies->items[anomalies->kept++] = (struct anomaly){kind, operation, other};
    }
    anomalies->counts[kind]++;
}

/* ---- who wrote and who saw a value ---- */

struct value {
    uint32_t writers;
    uint32_t writer; /* one of them */
    uint64_t first_start;
    bool seen;
};

struct scan {
    const struct partition *partition;
    struct anomalies *anomalies;
    struct states states;
    struct rule *rules; /* by place in the partition; of failed ones none */
    struct value *values;
    bool appends;
    bool adds;
};

static const struct history_operation *operation_at(const struct partition *partition, uint32_t at)
{
    return &partition->history->operations[partition->operations[at]];
}

static void *allocate(size_t count, size_t size) { return memory_allocate_zeroed(count + 1, size); }

static void scan_init(struct scan *scan, const struct partition *partition, struct anomalies *anomalies)
{
    *scan = (struct scan){.partition = partition, .anomalies = anomalies};
    states_init(&scan->states);
    scan->rules = allocate(partition->count, sizeof(*scan->rules));
    for (uint32_t i = 0; i < partition->count; i++) {
        scan->rules[i] = rule_of(partition->history, operation_at(partition, i), &scan->states);
    }
    scan->values = allocate(scan->states.texts.count + STATE_TEXTS, sizeof(*scan->values));
    for (uint32_t i = 0; i < partition->count; i++) {
        const struct rule *rule = &scan->rules[i];
        uint64_t start = operation_at(partition, i)->start;
        scan->appends |= rule->effect == RULE_APPEND;
        scan->adds |= rule->effect == RULE_ADD;
        if (rule->effect == RULE_WRITE || rule->effect == RULE_DELETE) {
            struct value *value = &scan->values[rule->value];
            value->first_start = value->writers == 0 || start < value->first_start ? start : value->first_start;
            value->writer = value->writers == 0 || start == value->first_start ? i : value->writer;
            value->writers++;
        }
        if (!rule->optional && (rule->condition == RULE_EQUALS || rule->condition == RULE_ABSENT)) {
            scan->values[rule->expected].seen = true;
        }
    }
}

static void scan_deinit(struct scan *scan)
{
    states_deinit(&scan->states);
    free(scan->rules);
    free(scan->values);
}

/* True when other than writes may have made the value. */
static bool may_be_made(const struct scan *scan, uint32_t state)
{
    int64_t number;
    return scan->appends || (scan->adds && states_number(&scan->states, state, &number));
}

static void find_unwritten(struct scan *scan)
{
    for (uint32_t i = 0; i < scan->partition->count; i++) {
        const struct rule *rule = &scan->rules[i];
        if (rule->optional || rule->condition != RULE_EQUALS || may_be_made(scan, rule->expected)) {
            continue;
        }
        const struct value *value = &scan->values[rule->expected];
        uint32_t operation = scan->partition->operations[i];
        if (value->writers == 0 || (value->writers == 1 && value->writer == i)) {
            found(scan->anomalies, ANOMALY_NEVER_WRITTEN, operation, TEXTS_NONE);
        } else if (value->first_start > operation_at(scan->partition, i)->end) {
            found(scan->anomalies, ANOMALY_FROM_THE_FUTURE, operation, scan->partition->operations[value->writer]);
        }
    }
}

/* ---- stale reads ---- */

static int compare_starts(const void *left, const void *right, void *owner)
{
    const struct partition *partition = owner;
    const struct history_operation *a = operation_at(partition, *(const uint32_t *)left);
    const struct history_operation *b = operation_at(partition, *(const uint32_t *)right);
    return a->start < b->start ? -1 : a->start > b->start;
}

/* The known writes by start, each replaced by the one of it and those after it that ended first. */
static uint32_t *earliest_ends(const struct scan *scan, uint64_t **ret_starts, uint32_t *ret_count)
{
    const struct partition *partition = scan->partition;
    uint32_t *writes = allocate(partition->count, sizeof(*writes));
    uint64_t *starts = allocate(partition->count, sizeof(*starts));
    uint32_t count = 0;
    for (uint32_t i = 0; i < partition->count; i++) {
        if (!scan->rules[i].optional && scan->rules[i].effect != RULE_KEEP) {
            writes[count++] = i;
        }
    }
    qsort_r(writes, count, sizeof(*writes), compare_starts, (void *)partition);
    for (uint32_t i = count; i-- > 0;) {
        starts[i] = operation_at(partition, writes[i])->start;
        if (i + 1 < count && operation_at(partition, writes[i + 1])->end < operation_at(partition, writes[i])->end) {
            writes[i] = writes[i + 1];
        }
    }
    *ret_starts = starts;
    *ret_count = count;
    return writes;
}

/* The first place whose start is after the time. */
static uint32_t place_after(const uint64_t *starts, uint32_t count, uint64_t time)
{
    uint32_t low = 0;
    while (low < count) {
        uint32_t middle = low + (count - low) / 2;
        if (starts[middle] > time) {
            count = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* True when the value seen was made once, by a time that is known: what is overwritten after it does not come back. */
static bool made_once(const struct scan *scan, const struct rule *rule, uint64_t *ret_end)
{
    const struct value *value = &scan->values[rule->expected];
    *ret_end = 0;
    if (rule->optional) {
        return false;
    }
    if (rule->condition == RULE_ABSENT) {
        return value->writers == 0;
    }
    if (rule->condition != RULE_EQUALS || value->writers != 1 || may_be_made(scan, rule->expected)) {
        return false;
    }
    *ret_end = operation_at(scan->partition, value->writer)->end;
    return *ret_end != HISTORY_NEVER;
}

static void find_stale(struct scan *scan)
{
    const struct partition *partition = scan->partition;
    uint64_t *starts;
    uint32_t count;
    uint32_t *writes = earliest_ends(scan, &starts, &count);
    for (uint32_t i = 0; i < partition->count; i++) {
        const struct rule *rule = &scan->rules[i];
        uint64_t end;
        if (!made_once(scan, rule, &end)) {
            continue;
        }
        uint32_t at = rule->condition == RULE_ABSENT ? 0 : place_after(starts, count, end);
        if (at < count && operation_at(partition, writes[at])->end < operation_at(partition, i)->start) {
            bool seen =
                scan->rules[writes[at]].effect == RULE_APPEND || scan->values[scan->rules[writes[at]].value].seen;
            found(scan->anomalies, seen ? ANOMALY_STALE_READ : ANOMALY_LOST_WRITE, partition->operations[i],
                  partition->operations[writes[at]]);
        }
    }
    free(writes);
    free(starts);
}

/* ---- counters ---- */

static bool is_increment(const struct history_operation *operation)
{
    return operation->kind == HISTORY_INCR || operation->kind == HISTORY_HINCRBY;
}

/* The number that a known operation of a counter saw or made; an absent one is 0. False when it is no number. */
static bool number_seen(const struct scan *scan, uint32_t at, int64_t *ret_number)
{
    const struct history_operation *operation = operation_at(scan->partition, at);
    *ret_number = operation->result_number;
    return operation->outcome == HISTORY_OK && (is_increment(operation) || operation->shape == HISTORY_RESULT_NULL ||
                                                states_number(&scan->states, scan->rules[at].expected, ret_number));
}

/* True when nothing but increments by positive numbers changes the value. */
static bool only_counts_up(const struct partition *partition)
{
    for (uint32_t i = 0; i < partition->count; i++) {
        const struct history_operation *operation = operation_at(partition, i);
        bool read = operation->kind == HISTORY_GET || operation->kind == HISTORY_HGET;
        if (!read && !(is_increment(operation) && operation->by > 0)) {
            return false;
        }
    }
    return true;
}

static int compare_results(const void *left, const void *right, void *owner)
{
    const struct partition *partition = owner;
    const struct history_operation *a = operation_at(partition, *(const uint32_t *)left);
    const struct history_operation *b = operation_at(partition, *(const uint32_t *)right);
    if (a->result_number != b->result_number) {
        return a->result_number < b->result_number ? -1 : 1;
    }
    return a->start < b->start ? -1 : a->start > b->start;
}

static void find_same_numbers(struct scan *scan, uint32_t *scratch)
{
    const struct partition *partition = scan->partition;
    uint32_t count = 0;
    for (uint32_t i = 0; i < partition->count; i++) {
        if (is_increment(operation_at(partition, i)) && !scan->rules[i].optional) {
            scratch[count++] = i;
        }
    }
    qsort_r(scratch, count, sizeof(*scratch), compare_results, (void *)partition);
    for (uint32_t i = 1; i < count; i++) {
        if (operation_at(partition, scratch[i - 1])->result_number ==
            operation_at(partition, scratch[i])->result_number) {
            found(scan->anomalies, ANOMALY_SAME_NUMBER_TWICE, partition->operations[scratch[i]],
                  partition->operations[scratch[i - 1]]);
        }
    }
}

/* No count can exceed the sum of all increments that began before it was seen. */
static void find_counted_twice(struct scan *scan, uint32_t *scratch)
{
    const struct partition *partition = scan->partition;
    uint64_t *starts = allocate(partition->count, sizeof(*starts));
    int64_t *sums = allocate(partition->count, sizeof(*sums));
    uint32_t count = 0;
    for (uint32_t i = 0; i < partition->count; i++) {
        if (is_increment(operation_at(partition, i))) {
            scratch[count++] = i;
        }
    }
    qsort_r(scratch, count, sizeof(*scratch), compare_starts, (void *)partition);
    for (uint32_t i = 0; i < count; i++) {
        starts[i] = operation_at(partition, scratch[i])->start;
        if (__builtin_add_overflow(sums[i], operation_at(partition, scratch[i])->by, &sums[i + 1])) {
            sums[i + 1] = INT64_MAX;
        }
    }
    for (uint32_t i = 0; i < partition->count; i++) {
        int64_t number;
        if (number_seen(scan, i, &number) &&
            number > sums[place_after(starts, count, operation_at(partition, i)->end)]) {
            found(scan->anomalies, ANOMALY_APPLIED_TWICE, partition->operations[i], TEXTS_NONE);
        }
    }
    free(starts);
    free(sums);
}

static int compare_ends(const void *left, const void *right, void *owner)
{
    const struct partition *partition = owner;
    const struct history_operation *a = operation_at(partition, *(const uint32_t *)left);
    const struct history_operation *b = operation_at(partition, *(const uint32_t *)right);
    return a->end < b->end ? -1 : a->end > b->end;
}

/* A count never goes back: each operation is compared with the greatest number seen by one that ended before it began,
 * in one pass over the starts and the ends. */
static void find_gone_back(struct scan *scan, uint32_t *by_start)
{
    const struct partition *partition = scan->partition;
    uint32_t *by_end = allocate(partition->count, sizeof(*by_end));
    for (uint32_t i = 0; i < partition->count; i++) {
        by_start[i] = by_end[i] = i;
    }
    qsort_r(by_start, partition->count, sizeof(*by_start), compare_starts, (void *)partition);
    qsort_r(by_end, partition->count, sizeof(*by_end), compare_ends, (void *)partition);
    uint32_t ended = 0;
    uint32_t greatest_at = TEXTS_NONE;
    int64_t greatest = 0;
    for (uint32_t i = 0; i < partition->count; i++) {
        const struct history_operation *operation = operation_at(partition, by_start[i]);
        int64_t number;
        for (; operation_at(partition, by_end[ended])->end < operation->start; ended++) {
            if (number_seen(scan, by_end[ended], &number) && number > greatest) {
                greatest = number;
                greatest_at = by_end[ended];
            }
        }
        if (greatest_at != TEXTS_NONE && number_seen(scan, by_start[i], &number) &&
            (number < greatest || (number == greatest && is_increment(operation)))) {
            found(scan->anomalies, ANOMALY_WENT_BACK, partition->operations[by_start[i]],
                  partition->operations[greatest_at]);
        }
    }
    free(by_end);
}

void anomalies_find(const struct partition *partition, struct anomalies *ret_anomalies)
{
    ret_anomalies->kept = 0;
    memset(ret_anomalies->counts, 0, sizeof(ret_anomalies->counts));
    struct scan scan;
    scan_init(&scan, partition, ret_anomalies);
    if (only_counts_up(partition)) { /* first, as it says most */
        uint32_t *scratch = allocate(partition->count, sizeof(*scratch));
        find_counted_twice(&scan, scratch);
        find_gone_back(&scan, scratch);
        find_same_numbers(&scan, scratch);
        free(scratch);
    }
    find_unwritten(&scan);
    find_stale(&scan);
    scan_deinit(&scan);
}
