/* The task of one record: its questions under way, and its pauses. */
#include "cluster/txn_finisher_internal.h"

static struct task *task_of(void *item) { return CONTAINER_OF(item, struct task, key_size); }

enum { KEY_HEAD = 5 };

/* ---- what comes back ---- */

static struct resp_writer *begin(struct requester *requester, uint64_t tag)
{
    struct task *task = (struct task *)requester;
    (void)tag;
    buffer_clear(&task->reply);
    task->writer = resp_writer_to(&task->reply, RESP2);
    return &task->writer;
}

/* What comes of a round that was judged without it is nobody's. */
static bool is_of_round(const struct task *task, uint64_t tag) { return tag / FINISHER_TAG_ROUND == task->round; }

static void answered(struct task *task, uint64_t tag)
{
    ASSERT(task->owed > 0);
    task->owed--;
    if (is_of_round(task, tag)) {
        ASSERT(task->pending > 0);
        task->pending--;
    }
    if (task->pending == 0) {
        finisher_ready(task);
        env_wake(task->finisher->env);
    }
}

static void end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct task *task = (struct task *)requester;
    (void)command;
    if (is_of_round(task, tag)) {
        finisher_take(&task->answers[tag % FINISHER_TAG_ROUND], buffer_slice(&task->reply));
    }
    buffer_deinit(&task->reply);
    answered(task, tag);
}

static void failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)status;
    answered((struct task *)requester, tag);
}

static const struct requester_events task_events = {begin, end, failed, NULL};

void finisher_ready(struct task *task)
{
    if (task->role > HOME_OVERDUE && list_empty(&task->ready_node)) {
        list_append(&task->watch->ready, &task->ready_node);
    }
}

void finisher_scan_at(struct task *task, int64_t at_ns)
{
    task->watch->scan_ns = at_ns < task->watch->scan_ns ? at_ns : task->watch->scan_ns;
    finisher_want_at(task->finisher, at_ns);
}

/* ---- life ---- */

void finisher_task_free(struct task *task)
{
    struct slice key = slice_of(task->key, task->key_size);
    ASSERT(task->owed == 0);
    table_remove(&task->finisher->table, table_hash(&task->finisher->table, key), &task->key_size);
    list_remove(&task->node);
    list_remove(&task->ready_node);
    buffer_deinit(&task->reply);
    free(task->answers);
    free(task);
}

static size_t make_key(uint8_t at[static KEY_HEAD + TXN_ID_BYTES], enum role role, uint32_t shard, struct slice id)
{
    at[0] = (uint8_t)role;
    memcpy(at + 1, &shard, sizeof(shard));
    memcpy(at + KEY_HEAD, id.data, id.size);
    return KEY_HEAD + id.size;
}

struct task *finisher_task_find(struct finisher *finisher, enum role role, uint32_t shard, struct slice id)
{
    uint8_t bytes[KEY_HEAD + TXN_ID_BYTES];
    struct slice key = slice_of(bytes, make_key(bytes, role, shard, id));
    void *item = table_find(&finisher->table, table_hash(&finisher->table, key), key);
    return item == NULL ? NULL : task_of(item);
}

struct task *finisher_task(struct finisher *finisher, enum role role, uint32_t shard, struct slice id)
{
    struct task *task = finisher_task_find(finisher, role, shard, id);
    if (task != NULL) {
        return task;
    }
    uint8_t bytes[KEY_HEAD + TXN_ID_BYTES];
    struct slice key = slice_of(bytes, make_key(bytes, role, shard, id));
    task = memory_allocate_zeroed(1, sizeof(*task) + key.size);
    task->requester.events = &task_events;
    task->finisher = finisher;
    task->role = role;
    task->shard = shard;
    task->pause_ms = FINISHER_PAUSE_MS;
    task->key_size = (uint32_t)key.size;
    memcpy(task->key, key.data, key.size);
    task->id = slice_of(task->key + KEY_HEAD, id.size);
    task->watch = finisher_watch(finisher, shard);
    list_append(role <= HOME_OVERDUE ? &task->watch->homes : &task->watch->parts, &task->node);
    list_init(&task->ready_node);
    table_insert(&finisher->table, table_hash(&finisher->table, key), &task->key_size);
    return task;
}

/* ---- steps ---- */

/* When it is due again. Long pauses differ from task to task, so that thousands that began together do not ask
 * together for ever; and end at whole multiples, so that it is looked after them few times a second. */
static int64_t end_of_pause(const struct task *task, int64_t now_ns)
{
    int64_t pause_ns = task->pause_ms * NS_PER_MS;
    if (task->pause_ms < FINISHER_ASK_MS) {
        return now_ns + pause_ns;
    }
    struct slice key = slice_of(task->key, task->key_size);
    pause_ns -= (int64_t)(table_hash(&task->finisher->table, key) % (uint64_t)(pause_ns / 4));
    int64_t step_ns = FINISHER_PAUSE_MS * NS_PER_MS;
    return (now_ns + pause_ns + step_ns - 1) / step_ns * step_ns;
}

void finisher_advance(struct task *task, const struct txns *txns)
{
    struct finisher *finisher = task->finisher;
    int64_t now_ns = env_monotonic_ns(finisher->env);
    if (task->pending != 0 || task->then != NULL || task->owed > FINISHER_OWED * task->answer_count) {
        return;
    }
    if (now_ns < task->next_ns) {
        finisher_want_at(finisher, task->next_ns);
        return;
    }
    task->next_ns = end_of_pause(task, now_ns);
    task->pause_ms = 2 * task->pause_ms < FINISHER_PAUSE_MAXIMUM_MS ? 2 * task->pause_ms : FINISHER_PAUSE_MAXIMUM_MS;
    finisher_scan_at(task, task->next_ns);
    finisher_act(task, txns);
}
