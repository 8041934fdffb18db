#include "cluster/txn_finisher_internal.h"

/* ---- tasks ---- */

void finisher_want_at(struct finisher *finisher, int64_t at_ns)
{
    finisher->next_ns = at_ns < finisher->next_ns ? at_ns : finisher->next_ns;
}

static void timer_fire(struct env_timer *timer) { env_wake(CONTAINER_OF(timer, struct finisher, timer)->env); }

struct finisher *finisher_create(struct env *env, const struct finisher_events *events, void *owner)
{
    struct finisher *finisher = memory_allocate_zeroed(1, sizeof(*finisher));
    *finisher = (struct finisher){.env = env, .events = *events, .owner = owner, .next_ns = INT64_MAX};
    table_init(&finisher->table, 0, offsetof(struct task, key) - offsetof(struct task, key_size));
    env_timer_init(&finisher->timer, timer_fire);
    return finisher;
}

static void release_nothing(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

static void free_tasks(struct list *tasks, bool waiting_too)
{
    LIST_FOR_EACH_SAFE (at, after, tasks) {
        struct task *task = CONTAINER_OF(at, struct task, node);
        task->owed = waiting_too ? 0 : task->owed;
        if (task->owed == 0) {
            finisher_task_free(task);
        }
    }
}

void finisher_destroy(struct finisher *finisher)
{
    if (finisher == NULL) {
        return;
    }
    env_timer_stop(finisher->env, &finisher->timer);
    for (uint32_t i = 0; i < finisher->watch_count; i++) {
        if (finisher->watches[i] != NULL) {
            free_tasks(&finisher->watches[i]->homes, true);
            free_tasks(&finisher->watches[i]->parts, true);
            free(finisher->watches[i]);
        }
    }
    free(finisher->watches);
    while (table_release(&finisher->table, 1024, release_nothing, NULL)) {
    }
    free(finisher);
}

/* It knows nothing, so that it looks at everything. */
static void watch_reset(struct watch *watch)
{
    watch->opened = 0;
    watch->decided = 0;
    watch->soonest_ms = INT64_MAX;
    watch->prepared_ms = INT64_MIN;
    watch->lost_ms = INT64_MIN;
    watch->finished_size = 0;
}

struct watch *finisher_watch(struct finisher *finisher, uint32_t shard)
{
    if (shard > finisher->watch_count) {
        finisher->watches = memory_resize(finisher->watches, shard * sizeof(*finisher->watches));
        for (uint32_t i = finisher->watch_count; i < shard; i++) {
            finisher->watches[i] = NULL;
        }
        finisher->watch_count = shard;
    }
    struct watch **watch = &finisher->watches[shard - 1];
    if (*watch == NULL) {
        *watch = memory_allocate_zeroed(1, sizeof(**watch));
        list_init(&(*watch)->homes);
        list_init(&(*watch)->parts);
        list_init(&(*watch)->ready);
        (*watch)->scan_ns = INT64_MAX;
        watch_reset(*watch);
    }
    return *watch;
}

/* ---- looking ---- */

struct task *finisher_run(struct finisher *finisher, enum role role, uint32_t shard, struct slice id,
                          const struct txns *txns)
{
    struct task *task = finisher_task(finisher, role, shard, id);
    finisher_advance(task, txns);
    return task;
}

/* It is decided, and a participant has not acknowledged. (Branches may be left: those are finished by others.) */
static bool tells(const struct home *home)
{
    return (home->state == HOME_COMMIT || home->state == HOME_ABORT) && home->done_count < home->participant_count;
}

/* Whether the task's record still asks for it. */
static bool is_wanted(const struct task *task, const struct txns *txns, int64_t time_ms)
{
    const struct home *home = homes_find(&txns->homes, task->id);
    const struct part *part = parts_find(&txns->parts, task->id);
    bool finished = part != NULL && (part->state == PART_COMMITTED || part->state == PART_ABORTED);
    switch (task->role) {
    case HOME_DECIDED: return home != NULL && tells(home);
    case HOME_OVERDUE:
        return home != NULL && (home->state == HOME_OPEN || home->state == HOME_BEGUN) &&
               (home->deadline_ms <= time_ms || finisher_forsaken(task->finisher, home));
    case PART_PREPARED: return part != NULL && !finished;
    case PART_FINISHED: return finished;
    }
    return false;
}

/* Whether its round is over; if it is judged without some answers, those are nobody's. */
static bool round_over(struct task *task)
{
    struct finisher *finisher = task->finisher;
    if (task->pending != 0 && env_monotonic_ns(finisher->env) >= task->over_ns) {
        task->round++;
        task->pending = 0;
    } else if (task->pending != 0) {
        finisher_want_at(finisher, task->over_ns);
    }
    return task->pending == 0;
}

/* Its round goes on, or its pause: until then there is nothing to do for it. */
static bool rests(const struct task *task, int64_t now_ns, int64_t *ret_until_ns)
{
    bool asks = task->pending != 0;
    *ret_until_ns = asks ? task->over_ns : task->next_ns;
    return (asks || (task->then == NULL && task->role > HOME_OVERDUE)) && now_ns < *ret_until_ns;
}

/* One whose round is over goes on, one of home also when its pause is over; one that nobody wants any more ends. */
static void go_on(struct task *task, const struct txns *txns, int64_t time_ms)
{
    bool wanted = is_wanted(task, txns, time_ms);
    if (!wanted && task->owed == 0) {
        finisher_task_free(task);
    }
    if (!wanted || !round_over(task)) {
        return;
    }
    if (task->then != NULL) {
        task->then(task, txns);
    }
    if (task->role <= HOME_OVERDUE) {
        finisher_advance(task, txns);
    }
}

/* Those whose rounds are over by now. */
static void go_on_ready(struct watch *watch, const struct txns *txns, int64_t time_ms)
{
    const struct list *last = watch->ready.prev;
    for (bool more = !list_empty(&watch->ready); more;) {
        struct list *at = watch->ready.next;
        more = at != last;
        list_remove(at);
        go_on(CONTAINER_OF(at, struct task, ready_node), txns, time_ms);
    }
}

static void go_on_homes(struct finisher *finisher, struct watch *watch, const struct txns *txns, int64_t time_ms)
{
    LIST_FOR_EACH_SAFE (at, after, &watch->homes) {
        struct task *task = CONTAINER_OF(at, struct task, node);
        int64_t until_ns;
        if (rests(task, env_monotonic_ns(finisher->env), &until_ns)) {
            finisher_want_at(finisher, until_ns);
        } else {
            go_on(task, txns, time_ms);
        }
    }
}

/* There may be thousands, most of which pause. */
static void go_on_parts(struct finisher *finisher, struct watch *watch, const struct txns *txns, int64_t time_ms)
{
    int64_t now_ns = env_monotonic_ns(finisher->env);
    int64_t next_ns = INT64_MAX;
    if (now_ns < watch->scan_ns) {
        finisher_want_at(finisher, watch->scan_ns);
        return;
    }
    watch->scan_ns = INT64_MAX;
    LIST_FOR_EACH_SAFE (at, after, &watch->parts) {
        struct task *task = CONTAINER_OF(at, struct task, node);
        int64_t until_ns;
        if (!rests(task, now_ns, &until_ns)) {
            until_ns = now_ns + FINISHER_PAUSE_MS * NS_PER_MS;
            go_on(task, txns, time_ms);
        }
        next_ns = until_ns < next_ns ? until_ns : next_ns;
    }
    watch->scan_ns = next_ns < watch->scan_ns ? next_ns : watch->scan_ns;
    finisher_want_at(finisher, watch->scan_ns);
}

/* Those that were decided since the last look; the list is in order of decision. */
static void look_at_decided(struct finisher *finisher, struct watch *watch, uint32_t shard, const struct txns *txns)
{
    uint64_t newest = watch->decided;
    for (const struct list *at = txns->homes.decided.prev; at != &txns->homes.decided; at = at->prev) {
        const struct home *home = CONTAINER_OF(at, struct home, node);
        if (home->decided <= watch->decided) {
            break;
        }
        newest = home->decided > newest ? home->decided : newest;
        finisher->looked++;
        if (tells(home)) {
            (void)finisher_run(finisher, HOME_DECIDED, shard, home_id(home), txns);
        }
    }
    watch->decided = newest;
}

/* Those that were opened since the last look; the list is in order of opening. */
static void note_deadlines(struct finisher *finisher, struct watch *watch, const struct homes *homes)
{
    uint64_t newest = watch->opened;
    for (const struct list *at = homes->open.prev; at != &homes->open; at = at->prev) {
        const struct home *home = CONTAINER_OF(at, struct home, node);
        if (home->opened <= watch->opened) {
            break;
        }
        newest = home->opened > newest ? home->opened : newest;
        finisher->looked++;
        watch->soonest_ms = home->deadline_ms < watch->soonest_ms ? home->deadline_ms : watch->soonest_ms;
    }
    watch->opened = newest;
}

static void look_at_open(struct finisher *finisher, struct watch *watch, uint32_t shard, const struct txns *txns,
                         int64_t time_ms)
{
    note_deadlines(finisher, watch, &txns->homes);
    if (watch->soonest_ms <= time_ms) {
        watch->soonest_ms = INT64_MAX;
        LIST_FOR_EACH (at, &txns->homes.open) {
            const struct home *home = CONTAINER_OF(at, struct home, node);
            finisher->looked++;
            if (home->deadline_ms <= time_ms) {
                (void)finisher_run(finisher, HOME_OVERDUE, shard, home_id(home), txns);
            } else if (home->deadline_ms < watch->soonest_ms) {
                watch->soonest_ms = home->deadline_ms;
            }
        }
    }
    if (watch->soonest_ms != INT64_MAX) {
        finisher_want_at(finisher, env_monotonic_ns(finisher->env) + (watch->soonest_ms - time_ms) * NS_PER_MS);
    }
}

/* How long it is as it is before this shard does something about it: the longer, the more take part. */
static int64_t patience_ms(const struct part *part, uint32_t shard)
{
    if (part->protocol != TXN_3PC) {
        return FINISHER_ASK_2PC_MS;
    }
    int64_t rank = 0;
    for (uint32_t i = 0; i < part->participant_count; i++) {
        rank += part->participants[i] < shard ? 1 : 0;
    }
    int64_t times = 1 + part->participant_count / FINISHER_WIDE;
    return times * (FINISHER_ASK_MS + FINISHER_RANKS_MS * rank / part->participant_count);
}

/* When it is due to be looked at again, in the shard's time; what waits for answers is not. */
static int64_t look_at_part(struct finisher *finisher, const struct part *part, enum role role, uint32_t shard,
                            const struct txns *txns, int64_t time_ms)
{
    int64_t due_ms = part->since_ms + (role == PART_PREPARED ? patience_ms(part, shard) : FINISHER_ASK_MS);
    finisher->looked++;
    if (due_ms > time_ms) {
        finisher_want_at(finisher, env_monotonic_ns(finisher->env) + (due_ms - time_ms) * NS_PER_MS);
        return due_ms;
    }
    const struct task *task = finisher_run(finisher, role, shard, part_id(part), txns);
    int64_t pause_ns = task->next_ns - env_monotonic_ns(finisher->env);
    return pause_ns > 0 ? time_ms + (pause_ns + NS_PER_MS - 1) / NS_PER_MS : INT64_MAX;
}

/* It came to its state less than FINISHER_ASK_MS ago, and so did all behind it in its list: nothing is due yet. */
static bool is_young(struct finisher *finisher, const struct part *part, int64_t time_ms)
{
    int64_t left_ms = part->since_ms + FINISHER_ASK_MS - time_ms;
    if (left_ms <= 0 || part->state == PART_PRECOMMIT || part->state == PART_PREABORT) {
        return false;
    }
    finisher_want_at(finisher, env_monotonic_ns(finisher->env) + left_ms * NS_PER_MS);
    return true;
}

/* All of them, when one is due: what is prepared from now on is not before FINISHER_ASK_MS have passed. */
static void look_at_prepared(struct finisher *finisher, struct watch *watch, uint32_t shard, const struct txns *txns,
                             int64_t time_ms)
{
    if (list_empty(&txns->parts.prepared)) {
        watch->prepared_ms = INT64_MIN;
        return;
    }
    int64_t next_ms = time_ms + FINISHER_ASK_MS;
    if (time_ms < watch->prepared_ms) {
        finisher_want_at(finisher, env_monotonic_ns(finisher->env) + (watch->prepared_ms - time_ms) * NS_PER_MS);
        return;
    }
    LIST_FOR_EACH (at, &txns->parts.prepared) {
        const struct part *part = CONTAINER_OF(at, struct part, node);
        if (is_young(finisher, part, time_ms)) {
            int64_t due_ms = part->since_ms + FINISHER_ASK_MS;
            next_ms = due_ms < next_ms ? due_ms : next_ms;
            break;
        }
        int64_t due_ms = look_at_part(finisher, part, PART_PREPARED, shard, txns, time_ms);
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    watch->prepared_ms = next_ms;
    finisher_want_at(finisher, env_monotonic_ns(finisher->env) + (next_ms - time_ms) * NS_PER_MS);
}

/* Where the last turn ended; the whole list's beginning when that one has been forgotten. */
static const struct list *finished_from(const struct watch *watch, const struct parts *parts)
{
    const struct part *last = parts_find(parts, slice_of(watch->finished, watch->finished_size));
    bool there =
        watch->finished_size != 0 && last != NULL && (last->state == PART_COMMITTED || last->state == PART_ABORTED);
    return there ? &last->node : &parts->finished;
}

/* Some of them, others in the next turn: those whose home is lost stay for as long as it is, and others come behind. */
static void look_at_finished(struct finisher *finisher, struct watch *watch, uint32_t shard, const struct txns *txns,
                             int64_t time_ms)
{
    const struct parts *parts = &txns->parts;
    const struct list *at = finished_from(watch, parts)->next;
    watch->finished_size = 0;
    for (int left = FINISHER_LOOK; at != &parts->finished; at = at->next, left--) {
        const struct part *part = CONTAINER_OF(at, struct part, node);
        if (is_young(finisher, part, time_ms)) {
            return;
        }
        if (left == 0) {
            const struct slice id = part_id(CONTAINER_OF(at->prev, struct part, node));
            memcpy(watch->finished, id.data, id.size);
            watch->finished_size = id.size;
            finisher_want_at(finisher, env_monotonic_ns(finisher->env) + FINISHER_PAUSE_MS * NS_PER_MS);
            return;
        }
        (void)look_at_part(finisher, part, PART_FINISHED, shard, txns, time_ms);
    }
}

void finisher_begin_turn(struct finisher *finisher)
{
    finisher->turn++;
    finisher->next_ns = INT64_MAX;
}

void finisher_end_turn(struct finisher *finisher)
{
    for (uint32_t i = 0; i < finisher->watch_count; i++) {
        struct watch *watch = finisher->watches[i];
        if (watch != NULL && watch->seen != finisher->turn) { /* led elsewhere now */
            free_tasks(&watch->homes, false);
            free_tasks(&watch->parts, false);
            watch->scan_ns = INT64_MIN; /* those that are owed answers */
            watch_reset(watch);
        }
    }
    if (finisher->next_ns == INT64_MAX) {
        env_timer_stop(finisher->env, &finisher->timer);
    } else {
        env_timer_start(finisher->env, &finisher->timer, finisher->next_ns);
    }
}

void finisher_look(struct finisher *finisher, const struct finisher_shard *shard)
{
    struct watch *watch = finisher_watch(finisher, shard->number);
    finisher->gathering = shard->gathering;
    watch->seen = finisher->turn;
    go_on_ready(watch, shard->txns, shard->time_ms);
    go_on_homes(finisher, watch, shard->txns, shard->time_ms);
    go_on_parts(finisher, watch, shard->txns, shard->time_ms);
    look_at_decided(finisher, watch, shard->number, shard->txns);
    look_at_open(finisher, watch, shard->number, shard->txns, shard->time_ms);
    look_at_prepared(finisher, watch, shard->number, shard->txns, shard->time_ms);
    finisher_look_at_lost(finisher, watch, shard->number, shard->txns, shard->time_ms);
    look_at_finished(finisher, watch, shard->number, shard->txns, shard->time_ms);
}

uint64_t finisher_looked(const struct finisher *finisher) { return finisher->looked; }

uint64_t finisher_early(const struct finisher *finisher) { return finisher->early; }
