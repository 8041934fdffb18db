#include "check/check_groups.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

static void *allocate(size_t count, size_t size) { return memory_allocate_zeroed(count + 1, size); }

/* ---- which keys belong together ---- */

struct finder {
    struct check *check;
    uint32_t *key_of; /* of operations */
    uint32_t *parent; /* of keys: a forest, a tree for each group */
    bool *touched;    /* keys, by a transaction */
    uint32_t *group;  /* of roots */
};

static uint32_t root_of(struct finder *finder, uint32_t key)
{
    while (finder->parent[key] != key) {
        finder->parent[key] = finder->parent[finder->parent[key]];
        key = finder->parent[key];
    }
    return key;
}

static uint32_t operations_of(const struct check_key *key) { return key->ok + key->unknown; }

static void find_keys(struct finder *finder)
{
    struct check *check = finder->check;
    for (uint32_t k = 0; k < check->key_count; k++) {
        finder->parent[k] = k;
        finder->group[k] = CHECK_ALONE;
        for (uint32_t i = 0; i < operations_of(&check->keys[k]); i++) {
            finder->key_of[check->order[check->keys[k].first + i]] = k;
        }
    }
}

/* Transactions that failed connect nothing. */
static void connect(struct finder *finder)
{
    const struct history *history = finder->check->history;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct history_operation *operation = &history->operations[i];
        if (operation->transaction != HISTORY_ALONE && operation->outcome != HISTORY_FAILED) {
            finder->touched[finder->key_of[i]] = true;
            finder->parent[root_of(finder, finder->key_of[i])] =
                root_of(finder, finder->key_of[operation->transaction]);
        }
    }
}

static void number_groups(struct finder *finder)
{
    struct check *check = finder->check;
    for (uint32_t k = 0; k < check->key_count; k++) {
        if (!finder->touched[k]) {
            continue;
        }
        uint32_t *group = &finder->group[root_of(finder, k)];
        if (*group == CHECK_ALONE) {
            *group = check->group_count++;
        }
        check->keys[k].group = *group;
        check->groups[*group].key_count++;
    }
    for (uint32_t g = 0; g < check->group_count; g++) {
        check->groups[g].keys = allocate(check->groups[g].key_count, sizeof(uint32_t));
        check->groups[g].key_count = 0;
    }
    for (uint32_t k = 0; k < check->key_count; k++) {
        if (check->keys[k].group != CHECK_ALONE) {
            struct check_group *group = &check->groups[check->keys[k].group];
            ASSERT(group->keys != NULL);
            group->keys[group->key_count++] = k;
        }
    }
}

static void count_transactions(struct finder *finder)
{
    const struct history *history = finder->check->history;
    for (uint32_t i = 0; i < history->count; i++) {
        if (history->operations[i].transaction == i && history->operations[i].outcome != HISTORY_FAILED) {
            finder->check->groups[finder->check->keys[finder->key_of[i]].group].transactions++;
        }
    }
}

static void find_groups(struct check *check)
{
    struct finder finder = {
        .check = check,
        .key_of = allocate(check->history->count, sizeof(uint32_t)),
        .parent = allocate(check->key_count, sizeof(uint32_t)),
        .touched = allocate(check->key_count, sizeof(bool)),
        .group = allocate(check->key_count, sizeof(uint32_t)),
    };
    check->groups = allocate(check->key_count, sizeof(*check->groups));
    find_keys(&finder);
    connect(&finder);
    number_groups(&finder);
    count_transactions(&finder);
    free(finder.key_of);
    free(finder.parent);
    free(finder.touched);
    free(finder.group);
}

/* ---- their verdict ---- */

static void judge(struct check *check, struct check_group *group, uint32_t *scratch)
{
    static const enum check_verdict verdicts[] = {
        [SEARCH_LINEARIZABLE] = CHECK_LINEARIZABLE,
        [SEARCH_NOT_LINEARIZABLE] = CHECK_NOT_LINEARIZABLE,
        [SEARCH_GAVE_UP] = CHECK_GAVE_UP,
    };
    struct serial_object *objects = allocate(group->key_count, sizeof(*objects));
    for (uint32_t i = 0; i < group->key_count; i++) {
        const struct check_key *key = &check->keys[group->keys[i]];
        objects[i] = (struct serial_object){check->order + key->first, operations_of(key), key->failed};
    }
    group->verdict =
        verdicts[serial_run(check->history, objects, group->key_count, check->memory_bytes, scratch, &group->finding)];
    free(objects);
    for (uint32_t i = 0; i < group->key_count; i++) {
        check->keys[group->keys[i]].verdict = group->verdict;
    }
}

void check_judge_groups(struct check *check)
{
    find_groups(check);
    if (check->group_count == 0) {
        return;
    }
    uint32_t *scratch = allocate(check->history->count, sizeof(*scratch));
    memset(scratch, 0xff, check->history->count * sizeof(*scratch));
    for (uint32_t g = 0; g < check->group_count; g++) {
        judge(check, &check->groups[g], scratch);
    }
    free(scratch);
}

void check_groups_deinit(struct check *check)
{
    for (uint32_t g = 0; g < check->group_count; g++) {
        free(check->groups[g].keys);
        serial_finding_deinit(&check->groups[g].finding);
    }
    free(check->groups);
    check->groups = NULL;
    check->group_count = 0;
}
