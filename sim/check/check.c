#include "check/check.h"

#include "base/assert.h"
#include "base/memory.h"
#include "check/check_groups.h"

#include <stdlib.h>

const char *check_verdict_name(enum check_verdict verdict)
{
    static const char *const names[] = {"linearizable", "NOT linearizable", "undecided"};
    return names[verdict];
}

static void *allocate(size_t count, size_t size) { return memory_allocate_zeroed(count + 1, size); }

static int compare(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

static int compare_operations(const void *left, const void *right, void *owner)
{
    const struct history *history = owner;
    uint32_t l = *(const uint32_t *)left;
    uint32_t r = *(const uint32_t *)right;
    const struct history_operation *a = &history->operations[l];
    const struct history_operation *b = &history->operations[r];
    int order = compare(a->key, b->key);
    order = order != 0 ? order : compare(a->field, b->field);
    order = order != 0 ? order : compare(a->outcome == HISTORY_FAILED, b->outcome == HISTORY_FAILED);
    return order != 0 ? order : compare(l, r);
}

/* Finds the runs of equal key and field. A string's field is TEXTS_NONE, after all fields of a hash. */
static enum status find_keys(struct check *check)
{
    const struct history *history = check->history;
    for (uint32_t i = 0; i < history->count; i++) {
        check->order[i] = i;
    }
    qsort_r(check->order, history->count, sizeof(*check->order), compare_operations, (void *)history);
    struct check_key *key = NULL;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct history_operation *operation = &history->operations[check->order[i]];
        if (key == NULL || key->key != operation->key || key->field != operation->field) {
            if (key != NULL && key->key == operation->key && operation->field == TEXTS_NONE) {
                check->mixed_key = key->key;
                return STATUS_INVALID;
            }
            key = &check->keys[check->key_count++];
            *key =
                (struct check_key){.key = operation->key, .field = operation->field, .first = i, .group = CHECK_ALONE};
        }
        key->ok += operation->outcome == HISTORY_OK;
        key->unknown += operation->outcome == HISTORY_UNKNOWN;
        key->failed += operation->outcome == HISTORY_FAILED;
    }
    return STATUS_OK;
}

static struct partition partition_of(const struct check *check, const struct check_key *key)
{
    return (struct partition){check->history, check->order + key->first, key->ok + key->unknown, HISTORY_NEVER};
}

/* What the search could not decide may be wrong on its face. */
static bool is_wrong_on_its_face(const struct partition *partition)
{
    struct anomalies *anomalies = allocate(1, sizeof(*anomalies));
    anomalies_find(partition, anomalies);
    bool wrong = anomalies->kept > 0;
    free(anomalies);
    return wrong;
}

static void judge(const struct check *check, struct check_key *key)
{
    struct partition partition = partition_of(check, key);
    struct search *search = search_create(&partition, check->memory_bytes);
    uint64_t steps = search_steps_maximum(&partition);
    enum search_result result = search_run(search, &steps);
    key->configurations = search_configurations(search);
    key->reached = result == SEARCH_LINEARIZABLE ? HISTORY_NEVER : search_reached(search);
    search_destroy(search);
    if (result == SEARCH_NOT_LINEARIZABLE || (result == SEARCH_GAVE_UP && is_wrong_on_its_face(&partition))) {
        key->verdict = CHECK_NOT_LINEARIZABLE;
    } else if (result == SEARCH_GAVE_UP) {
        key->verdict = CHECK_GAVE_UP;
    }
}

enum status check_run(struct check *ret_check, const struct history *history, size_t memory_bytes)
{
    *ret_check = (struct check){.history = history, .memory_bytes = memory_bytes, .mixed_key = TEXTS_NONE};
    ret_check->order = allocate(history->count, sizeof(*ret_check->order));
    ret_check->keys = allocate(history->count, sizeof(*ret_check->keys));
    if (find_keys(ret_check) != STATUS_OK) {
        return STATUS_INVALID;
    }
    check_judge_groups(ret_check);
    for (uint32_t i = 0; i < ret_check->key_count; i++) {
        struct check_key *key = &ret_check->keys[i];
        if (key->group == CHECK_ALONE) {
            judge(ret_check, key);
        }
        if (key->verdict == CHECK_NOT_LINEARIZABLE || ret_check->verdict == CHECK_LINEARIZABLE) {
            ret_check->verdict = key->verdict;
        }
    }
    holds_check(&history->holds, &ret_check->holds);
    if (ret_check->holds.problem != HOLD_FINE) {
        ret_check->verdict = CHECK_NOT_LINEARIZABLE;
    }
    return STATUS_OK;
}

void check_deinit(struct check *check)
{
    check_groups_deinit(check);
    free(check->order);
    free(check->keys);
    *check = (struct check){0};
}

/* ---- explanations ---- */

static int compare_times(const void *left, const void *right)
{
    return compare(*(const uint64_t *)left, *(const uint64_t *)right);
}

/* The ends of the known operations, in order, preceded by 0: as many as there are known operations, and one. */
static uint64_t *sorted_ends(const struct partition *partition, uint32_t *ret_count)
{
    uint64_t *ends = allocate(partition->count + (size_t)1, sizeof(*ends));
    uint32_t count = 1;
    for (uint32_t i = 0; i < partition->count; i++) {
        const struct history_operation *operation = &partition->history->operations[partition->operations[i]];
        if (operation->outcome == HISTORY_OK) {
            ends[count++] = operation->end;
        }
    }
    qsort(ends, count, sizeof(*ends), compare_times);
    *ret_count = count;
    return ends;
}

static enum search_result search_until(struct partition partition, uint64_t horizon, size_t memory_bytes,
                                       uint64_t *steps_left, struct search **ret_search)
{
    partition.horizon = horizon;
    *ret_search = search_create(&partition, memory_bytes);
    return search_run(*ret_search, steps_left);
}

/* The last end up to which there is an order (ret_good) and the next one (ret_bad): what holds up to a time holds up
 * to every earlier one, so this is a bisection, that first looks in wider and wider steps from where the search of
 * everything came to. ret_bad need not be proven when a search gives up on the way; all together they take as long as
 * one may. */
static void find_break(const struct partition *partition, const struct check *check, uint64_t reached,
                       uint64_t *ret_good, uint64_t *ret_bad)
{
    uint32_t count;
    uint64_t *ends = sorted_ends(partition, &count);
    uint32_t good = 0;
    uint32_t bad = count - 1;
    uint64_t steps = search_steps_maximum(partition);
    while (good < bad && ends[good + 1] < reached) {
        good++;
    }
    for (uint32_t step = 1; bad - good > 1; step *= 2) {
        uint32_t middle = good + (step < (bad - good) / 2 ? step : (bad - good) / 2);
        struct search *search;
        if (search_until(*partition, ends[middle], check->memory_bytes, &steps, &search) == SEARCH_LINEARIZABLE) {
            good = middle;
        } else {
            bad = middle;
        }
        search_destroy(search);
    }
    *ret_good = ends[good];
    *ret_bad = ends[bad];
    free(ends);
}

/* Fills in what is not placed and was open at the time, what ended then first. */
static void list_stuck(struct check_explanation *explanation, const struct partition *partition, uint64_t time)
{
    bool *placed = allocate(partition->history->count, sizeof(*placed));
    for (uint32_t i = 0; i < explanation->placed_count; i++) {
        placed[explanation->placed[i]] = true;
    }
    explanation->stuck = allocate(partition->count, sizeof(*explanation->stuck));
    for (uint32_t i = 0; i < partition->count; i++) {
        uint32_t number = partition->operations[i];
        const struct history_operation *operation = &partition->history->operations[number];
        if (placed[number] || operation->start > time) {
            continue;
        }
        if (operation->outcome == HISTORY_UNKNOWN) {
            explanation->unknown++;
            continue;
        }
        uint32_t *at = &explanation->stuck[explanation->stuck_count++];
        *at = number;
        if (operation->end == time) {
            *at = explanation->stuck[0];
            explanation->stuck[0] = number;
        }
    }
    free(placed);
}

/* The finding about an operation, else what its appends tell, else the first of any. */
static struct anomaly choose_anomaly(const struct partition *partition, const struct anomalies *anomalies,
                                     uint32_t operation)
{
    for (uint32_t i = 0; i < anomalies->kept; i++) {
        if (anomalies->items[i].operation == operation) {
            return anomalies->items[i];
        }
    }
    struct anomaly anomaly = {ANOMALY_NONE, operation, TEXTS_NONE};
    if (operation != TEXTS_NONE) {
        anomaly = anomaly_of_append(partition, operation);
    }
    return anomaly.kind != ANOMALY_NONE || anomalies->kept == 0 ? anomaly : anomalies->items[0];
}

void check_explain(const struct check *check, const struct check_key *key, struct check_explanation *ret_explanation)
{
    ASSERT(key->verdict == CHECK_NOT_LINEARIZABLE && key->ok > 0 && key->group == CHECK_ALONE);
    struct partition partition = partition_of(check, key);
    struct check_explanation explanation = {.key = key, .anomalies = allocate(1, sizeof(struct anomalies))};
    uint64_t good;
    uint64_t bad;
    find_break(&partition, check, key->reached, &good, &bad);
    struct search *search;
    uint64_t steps = search_steps_maximum(&partition);
    if (search_until(partition, good, check->memory_bytes, &steps, &search) == SEARCH_LINEARIZABLE) {
        const uint32_t *placed = search_placed(search, &explanation.placed_count);
        explanation.placed = allocate(explanation.placed_count, sizeof(*placed));
        memcpy(explanation.placed, placed, explanation.placed_count * sizeof(*placed));
    }
    search_destroy(search);
    list_stuck(&explanation, &partition, bad);
    anomalies_find(&partition, explanation.anomalies);
    explanation.anomaly = choose_anomaly(&partition, explanation.anomalies,
                                         explanation.stuck_count > 0 ? explanation.stuck[0] : TEXTS_NONE);
    *ret_explanation = explanation;
}

void check_explanation_deinit(struct check_explanation *explanation)
{
    free(explanation->placed);
    free(explanation->stuck);
    free(explanation->anomalies);
    *explanation = (struct check_explanation){0};
}
