#include "cluster/txn_finisher.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/number.h"
#include "cluster/cluster_mutation.h"
#include "cluster/txn_rules.h"

#include <stdlib.h>

#define NS_PER_MS INT64_C(1000000)

enum role { HOME_DECIDED, HOME_OVERDUE, PART_PREPARED, PART_FINISHED };

/* What a command to one shard came to. */
struct answer {
    uint32_t shard;
    bool asked, good; /* good: the reply was an array that begins with this word */
    char word[12];
    int64_t number, last; /* the elements behind it, when they are integers */
};

struct task {
    struct requester requester; /* first */
    struct finisher *finisher;
    struct list node;
    enum role role;
    uint32_t shard;                                           /* whose record it is */
    void (*then)(struct task *task, const struct txns *txns); /* when all have answered; NULL: pause */
    struct answer *answers;
    uint32_t answer_count, pending;
    int64_t next_ns, pause_ms;
    uint64_t seen; /* the last turn in which its shard was looked at */
    struct buffer reply;
    struct resp_writer writer;
    struct slice id;   /* points into `key`, behind role and shard */
    uint32_t key_size; /* first of struct table_item, which begins here */
    uint8_t key[];
};

struct finisher {
    struct env *env;
    struct finisher_events events;
    void *owner;
    struct table table; /* of struct task, from key_size on */
    struct list tasks;
    uint64_t count, turn;
    bool gathering;  /* the shard that is looked at */
    int64_t next_ns; /* when something is due; INT64_MAX: nothing is */
    struct env_timer timer;
};

static struct task *task_of(void *item) { return CONTAINER_OF(item, struct task, key_size); }

enum { KEY_HEAD = 5 };

/* ---- what comes back ---- */

static bool take_line(struct slice *from, char type, int64_t *ret_number)
{
    const uint8_t *end = from->size == 0 ? NULL : memchr(from->data, '\n', from->size);
    size_t size = end == NULL ? 0 : (size_t)(end - from->data) + 1;
    if (size < 4 || from->data[0] != (uint8_t)type ||
        !number_parse_int64(slice_of(from->data + 1, size - 3), ret_number)) {
        return false;
    }
    *from = slice_of(from->data + size, from->size - size);
    return true;
}

static void take_reply(struct answer *answer, struct slice reply)
{
    int64_t count;
    int64_t size;
    if (!take_line(&reply, '*', &count) || count < 1 || !take_line(&reply, '$', &size) || size < 0 ||
        size >= (int64_t)sizeof(answer->word) || reply.size < (size_t)size + 2) {
        return;
    }
    memcpy(answer->word, reply.data, (size_t)size);
    answer->word[size] = '\0';
    answer->good = true;
    reply = slice_of(reply.data + size + 2, reply.size - (size_t)size - 2);
    if (take_line(&reply, ':', &answer->number)) {
        (void)take_line(&reply, ':', &answer->last);
    }
}

static struct resp_writer *begin(struct requester *requester, uint64_t tag)
{
    struct task *task = (struct task *)requester;
    (void)tag;
    buffer_clear(&task->reply);
    task->writer = resp_writer_to(&task->reply, RESP2);
    return &task->writer;
}

static void answered(struct task *task)
{
    ASSERT(task->pending > 0);
    task->pending--;
    if (task->pending == 0) {
        env_wake(task->finisher->env);
    }
}

static void end(struct requester *requester, uint64_t tag, const struct command *command)
{
    struct task *task = (struct task *)requester;
    (void)command;
    take_reply(&task->answers[tag], buffer_slice(&task->reply));
    buffer_deinit(&task->reply);
    answered(task);
}

static void failed(struct requester *requester, uint64_t tag, enum status status)
{
    (void)tag;
    (void)status;
    answered((struct task *)requester);
}

static const struct requester_events task_events = {begin, end, failed, NULL};

/* ---- tasks ---- */

static void timer_fire(struct env_timer *timer) { env_wake(CONTAINER_OF(timer, struct finisher, timer)->env); }

struct finisher *finisher_create(struct env *env, const struct finisher_events *events, void *owner)
{
    struct finisher *finisher = memory_allocate_zeroed(1, sizeof(*finisher));
    *finisher = (struct finisher){.env = env, .events = *events, .owner = owner, .next_ns = INT64_MAX};
    table_init(&finisher->table, 0, offsetof(struct task, key) - offsetof(struct task, key_size));
    list_init(&finisher->tasks);
    env_timer_init(&finisher->timer, timer_fire);
    return finisher;
}

static void task_free(struct task *task)
{
    struct slice key = slice_of(task->key, task->key_size);
    ASSERT(task->pending == 0);
    table_remove(&task->finisher->table, table_hash(&task->finisher->table, key), &task->key_size);
    list_remove(&task->node);
    task->finisher->count--;
    buffer_deinit(&task->reply);
    free(task->answers);
    free(task);
}

static void release_nothing(void *owner, void *item)
{
    (void)owner;
    (void)item;
}

void finisher_destroy(struct finisher *finisher)
{
    if (finisher == NULL) {
        return;
    }
    env_timer_stop(finisher->env, &finisher->timer);
    while (!list_empty(&finisher->tasks)) {
        struct task *task = CONTAINER_OF(finisher->tasks.next, struct task, node);
        task->pending = 0;
        task_free(task);
    }
    while (table_release(&finisher->table, 1024, release_nothing, NULL)) {
    }
    free(finisher);
}

static void want_at(struct finisher *finisher, int64_t at_ns)
{
    finisher->next_ns = at_ns < finisher->next_ns ? at_ns : finisher->next_ns;
}

static size_t make_key(uint8_t at[static KEY_HEAD + TXN_ID_BYTES], enum role role, uint32_t shard, struct slice id)
{
    at[0] = (uint8_t)role;
    memcpy(at + 1, &shard, sizeof(shard));
    memcpy(at + KEY_HEAD, id.data, id.size);
    return KEY_HEAD + id.size;
}

/* The task for this record; NULL when there are too many. */
static struct task *task_for(struct finisher *finisher, enum role role, uint32_t shard, struct slice id)
{
    uint8_t bytes[KEY_HEAD + TXN_ID_BYTES];
    struct slice key = slice_of(bytes, make_key(bytes, role, shard, id));
    void *item = table_find(&finisher->table, table_hash(&finisher->table, key), key);
    if (item != NULL) {
        return task_of(item);
    }
    if (finisher->count >= FINISHER_TASKS) {
        want_at(finisher, env_monotonic_ns(finisher->env) + FINISHER_PAUSE_MS * NS_PER_MS);
        return NULL;
    }
    struct task *task = memory_allocate_zeroed(1, sizeof(*task) + key.size);
    task->requester.events = &task_events;
    task->finisher = finisher;
    task->role = role;
    task->shard = shard;
    task->pause_ms = FINISHER_PAUSE_MS;
    task->seen = finisher->turn;
    task->key_size = (uint32_t)key.size;
    memcpy(task->key, key.data, key.size);
    task->id = slice_of(task->key + KEY_HEAD, id.size);
    list_append(&finisher->tasks, &task->node);
    table_insert(&finisher->table, table_hash(&finisher->table, key), &task->key_size);
    finisher->count++;
    return task;
}

/* ---- commands ---- */

enum { WORDS = 3, DIGITS = NUMBER_INT64_BYTES };

struct words {
    struct slice *argv;
    char (*digits)[DIGITS];
    uint32_t count;
};

static void words_init(struct words *words, uint16_t id, const struct task *task, uint32_t more)
{
    *words = (struct words){.argv = memory_allocate_zeroed(WORDS + more, sizeof(*words->argv)),
                            .digits = memory_allocate_zeroed(WORDS + more, sizeof(*words->digits))};
    words->argv[words->count++] = slice_from_string(command_by_id(id)->shown);
    words->argv[words->count++] = task->id;
}

static void words_deinit(struct words *words)
{
    free(words->argv);
    free(words->digits);
}

static void add_number(struct words *words, uint64_t number)
{
    char *at = words->digits[words->count];
    words->argv[words->count++] = slice_of(at, number_format_uint64(at, number));
}

static void add_word(struct words *words, const char *word) { words->argv[words->count++] = slice_from_string(word); }

static void send(struct task *task, uint32_t place, uint16_t id, const struct words *words)
{
    struct finisher *finisher = task->finisher;
    struct command command = {command_by_id(id), words->argv, words->count, RESP2};
    struct answer *answer = &task->answers[place];
    answer->asked = true;
    answer->good = false;
    answer->number = 0;
    answer->last = 0;
    task->pending++;
    if (finisher->events.submit(finisher->owner, answer->shard, &command, &task->requester, place) != STATUS_OK) {
        task->pending--;
    }
}

/* A round of so many answers begins. */
static void begin_round(struct task *task, uint32_t count, void (*then)(struct task *, const struct txns *))
{
    ASSERT(task->pending == 0);
    free(task->answers);
    task->answers = memory_allocate_zeroed(count, sizeof(*task->answers));
    task->answer_count = count;
    task->then = then;
}

/* To one shard. */
static void send_one(struct task *task, uint32_t shard, uint16_t id, const struct words *words,
                     void (*then)(struct task *, const struct txns *))
{
    begin_round(task, 1, then);
    task->answers[0].shard = shard;
    send(task, 0, id, words);
}

/* ---- home: what is decided is told ---- */

static void finish_at(struct task *task, uint32_t place, uint64_t epoch, bool commit)
{
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_FINISH, task, 2);
    add_number(&words, epoch);
    commit = commit && !(CLUSTER_MUTATED(HALF_DONE) && place > 0);
    add_word(&words, commit ? "COMMIT" : "ABORT");
    send(task, place, COMMAND_COHORT_TXN_FINISH, &words);
    words_deinit(&words);
}

/* A part that stays prepared is of another attempt: it asks home itself, and is gone then. */
static bool has_acknowledged(const struct answer *answer)
{
    return answer->good && (strcmp(answer->word, "NONE") == 0 || strcmp(answer->word, "COMMITTED") == 0 ||
                            strcmp(answer->word, "ABORTED") == 0);
}

static void note_done(struct task *task, const struct txns *txns)
{
    struct words words;
    (void)txns;
    if (!task->finisher->gathering && env_monotonic_ns(task->finisher->env) < task->next_ns) {
        want_at(task->finisher, task->next_ns);
        return; /* until a later turn */
    }
    words_init(&words, COMMAND_COHORT_TXN_DONE, task, task->answer_count);
    for (uint32_t i = 0; i < task->answer_count; i++) {
        if (has_acknowledged(&task->answers[i])) {
            add_number(&words, task->answers[i].shard);
        }
    }
    if (words.count > 2) {
        send_one(task, task->shard, COMMAND_COHORT_TXN_DONE, &words, NULL);
    } else {
        task->then = NULL;
    }
    words_deinit(&words);
}

static void tell_participants(struct task *task, const struct home *home)
{
    begin_round(task, home->participant_count - home->done_count, note_done);
    uint32_t place = 0;
    for (uint32_t i = 0; i < home->participant_count; i++) {
        if (!home->participants[i].done) {
            task->answers[place++].shard = home->participants[i].shard;
        }
    }
    for (uint32_t i = 0; i < place; i++) {
        finish_at(task, i, home->epoch, home->outcome == HOME_COMMIT);
    }
}

static void abort_home(struct task *task, uint64_t epoch, const char *reason)
{
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_DECIDE, task, 3);
    add_number(&words, epoch);
    add_word(&words, "ABORT");
    add_word(&words, reason);
    send_one(task, task->shard, COMMAND_COHORT_TXN_DECIDE, &words, NULL);
    words_deinit(&words);
}

/* ---- three-phase commit: termination ---- */

static enum part_state state_of(const struct answer *answer)
{
    for (enum part_state state = PART_WAIT; state < PART_STATES; state++) {
        if (answer->good && strcmp(answer->word, part_state_name(state)) == 0) {
            return state;
        }
    }
    return PART_NONE; /* it did not answer */
}

/* Home reports what the participants came to: a commit once it can name every vote. */
static void report(struct task *task, const struct home *home, bool commit)
{
    if (!commit) {
        abort_home(task, home->epoch, "its participants have aborted it");
        return;
    }
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_DECIDE, task, 2 + 2 * task->answer_count);
    add_number(&words, home->epoch);
    add_word(&words, "COMMIT");
    bool all = true;
    for (uint32_t i = 0; i < task->answer_count; i++) {
        all = all && state_of(&task->answers[i]) != PART_NONE;
        add_number(&words, task->answers[i].shard);
        add_number(&words, (uint64_t)task->answers[i].number);
    }
    task->then = NULL;
    if (all) {
        send_one(task, task->shard, COMMAND_COHORT_TXN_DECIDE, &words, NULL);
    }
    words_deinit(&words);
}

static void outcome_to_all(struct task *task, uint64_t epoch, bool commit)
{
    task->then = NULL;
    for (uint32_t i = 0; i < task->answer_count; i++) {
        finish_at(task, i, epoch, commit);
    }
}

static void look_at_states(struct task *task, const struct txns *txns);

static void move_waiting(struct task *task, const char *to)
{
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_MOVE, task, 1);
    add_word(&words, to);
    task->then = look_at_states;
    for (uint32_t i = 0; i < task->answer_count; i++) {
        if (state_of(&task->answers[i]) == PART_WAIT) {
            send(task, i, COMMAND_COHORT_TXN_MOVE, &words);
        }
    }
    words_deinit(&words);
}

static enum txn_verdict verdict(const struct task *task)
{
    struct txn_census census = {
        .participants = task->answer_count,
        .quorum_commit = txn_quorum_commit(task->answer_count),
        .quorum_abort = txn_quorum_abort(task->answer_count),
    };
    for (uint32_t i = 0; i < task->answer_count; i++) {
        enum part_state state = state_of(&task->answers[i]);
        census.in[state] += state != PART_NONE ? 1 : 0;
    }
    return txn_terminate(&census);
}

static void look_at_states(struct task *task, const struct txns *txns)
{
    const struct home *home = task->role == HOME_OVERDUE ? homes_find(&txns->homes, task->id) : NULL;
    const struct part *part = task->role == PART_PREPARED ? parts_find(&txns->parts, task->id) : NULL;
    task->then = NULL;
    enum txn_verdict what = verdict(task);
    bool ended = what == TXN_COMMIT || what == TXN_ABORT;
    if (what == TXN_MOVE_COMMIT || what == TXN_MOVE_ABORT) {
        move_waiting(task, what == TXN_MOVE_COMMIT ? "PRECOMMIT" : "PREABORT");
    } else if (ended && home != NULL && home->state == HOME_OPEN) {
        report(task, home, what == TXN_COMMIT);
    } else if (ended && part != NULL) {
        outcome_to_all(task, part->epoch, what == TXN_COMMIT);
    }
}

/* Asks every participant; one that has not voted refuses from then on. */
static void ask_all(struct task *task, const uint32_t *shards, uint32_t count, uint32_t home, uint64_t epoch)
{
    struct words words;
    begin_round(task, count, look_at_states);
    words_init(&words, COMMAND_COHORT_TXN_ASK, task, 3 + count);
    add_number(&words, home);
    add_number(&words, epoch);
    add_number(&words, count);
    for (uint32_t i = 0; i < count; i++) {
        add_number(&words, shards[i]);
        task->answers[i].shard = shards[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        send(task, i, COMMAND_COHORT_TXN_ASK, &words);
    }
    words_deinit(&words);
}

static void terminate_home(struct task *task, const struct home *home)
{
    uint32_t *shards = memory_allocate(home->participant_count * sizeof(*shards));
    for (uint32_t i = 0; i < home->participant_count; i++) {
        shards[i] = home->participants[i].shard;
    }
    ask_all(task, shards, home->participant_count, task->shard, home->epoch);
    free(shards);
}

/* ---- a part that waits for its outcome ---- */

static void told_by_home(struct task *task, const struct txns *txns)
{
    const struct answer *answer = &task->answers[0];
    const struct part *part = parts_find(&txns->parts, task->id);
    task->then = NULL;
    if (!answer->good || part == NULL) {
        return;
    }
    bool same = answer->number == (int64_t)part->epoch;
    bool commit = strcmp(answer->word, "COMMIT") == 0 && same;
    bool open = strcmp(answer->word, "OPEN") == 0 || strcmp(answer->word, "BEGUN") == 0;
    if (strcmp(answer->word, "FULL") == 0 || (open && same) || (open && answer->number < (int64_t)part->epoch)) {
        return; /* it is asked again */
    }
    uint64_t epoch = part->epoch;
    begin_round(task, 1, NULL);
    task->answers[0].shard = task->shard;
    finish_at(task, 0, epoch, commit);
}

static void told_whether_done(struct task *task, const struct txns *txns)
{
    const struct answer *answer = &task->answers[0];
    (void)txns;
    task->then = NULL;
    if (!answer->good || (strcmp(answer->word, "OLD") != 0 && answer->last != 1)) {
        return;
    }
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_FORGET, task, 0);
    send_one(task, task->shard, COMMAND_COHORT_TXN_FORGET, &words, NULL);
    words_deinit(&words);
}

static void ask_home(struct task *task, uint32_t home, void (*then)(struct task *, const struct txns *))
{
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_RESOLVE, task, 0);
    send_one(task, home, COMMAND_COHORT_TXN_RESOLVE, &words, then);
    words_deinit(&words);
}

/* ---- looking ---- */

/* Begins what its record asks for; the record is there. */
static void act(struct task *task, const struct txns *txns)
{
    const struct home *home = task->role <= HOME_OVERDUE ? homes_find(&txns->homes, task->id) : NULL;
    const struct part *part = task->role <= HOME_OVERDUE ? NULL : parts_find(&txns->parts, task->id);
    switch (task->role) {
    case HOME_DECIDED: tell_participants(task, home); break;
    case HOME_OVERDUE:
        if (home->protocol == TXN_3PC && home->state == HOME_OPEN) {
            terminate_home(task, home);
        } else {
            abort_home(task, home->epoch, "its time was over");
        }
        break;
    case PART_PREPARED:
        if (part->protocol == TXN_3PC) {
            ask_all(task, part->participants, part->participant_count, part->home, part->epoch);
        } else {
            ask_home(task, part->home, told_by_home);
        }
        break;
    case PART_FINISHED: ask_home(task, part->home, told_whether_done); break;
    }
}

static void run(struct finisher *finisher, enum role role, uint32_t shard, struct slice id, const struct txns *txns)
{
    struct task *task = task_for(finisher, role, shard, id);
    int64_t now_ns = env_monotonic_ns(finisher->env);
    if (task == NULL || task->pending != 0 || task->then != NULL) {
        return;
    }
    if (now_ns < task->next_ns) {
        want_at(finisher, task->next_ns);
        return;
    }
    task->next_ns = now_ns + task->pause_ms * NS_PER_MS;
    task->pause_ms = 2 * task->pause_ms < FINISHER_PAUSE_MAXIMUM_MS ? 2 * task->pause_ms : FINISHER_PAUSE_MAXIMUM_MS;
    want_at(finisher, task->next_ns);
    act(task, txns);
}

/* Whether the task's record still asks for it. */
static bool is_wanted(const struct task *task, const struct txns *txns)
{
    const struct home *home = homes_find(&txns->homes, task->id);
    const struct part *part = parts_find(&txns->parts, task->id);
    bool finished = part != NULL && (part->state == PART_COMMITTED || part->state == PART_ABORTED);
    switch (task->role) {
    case HOME_DECIDED: return home != NULL && (home->state == HOME_COMMIT || home->state == HOME_ABORT);
    case HOME_OVERDUE: return home != NULL && (home->state == HOME_OPEN || home->state == HOME_BEGUN);
    case PART_PREPARED: return part != NULL && !finished;
    case PART_FINISHED: return finished;
    }
    return false;
}

/* Those of this shard that have all answers go on; those that nobody wants any more end. */
static void go_on(struct finisher *finisher, uint32_t shard, const struct txns *txns)
{
    LIST_FOR_EACH_SAFE (at, after, &finisher->tasks) {
        struct task *task = CONTAINER_OF(at, struct task, node);
        if (task->shard != shard) {
            continue;
        }
        task->seen = finisher->turn;
        if (task->pending != 0) {
            continue;
        }
        if (!is_wanted(task, txns)) {
            task_free(task);
        } else if (task->then != NULL) {
            task->then(task, txns);
        }
    }
}

static void look_at_homes(struct finisher *finisher, uint32_t shard, const struct txns *txns, int64_t time_ms)
{
    LIST_FOR_EACH (at, &txns->homes.decided) {
        run(finisher, HOME_DECIDED, shard, home_id(CONTAINER_OF(at, struct home, node)), txns);
    }
    int64_t now_ns = env_monotonic_ns(finisher->env);
    LIST_FOR_EACH (at, &txns->homes.open) {
        const struct home *home = CONTAINER_OF(at, struct home, node);
        if (home->deadline_ms > time_ms) {
            want_at(finisher, now_ns + (home->deadline_ms - time_ms) * NS_PER_MS);
        } else {
            run(finisher, HOME_OVERDUE, shard, home_id(home), txns);
        }
    }
}

/* How long it is prepared before this shard does something about it. */
static int64_t patience_ms(const struct part *part, uint32_t shard)
{
    if (part->protocol != TXN_3PC) {
        return FINISHER_ASK_MS;
    }
    int64_t rank = 0;
    for (uint32_t i = 0; i < part->participant_count; i++) {
        rank += part->participants[i] < shard ? 1 : 0;
    }
    return FINISHER_TERMINATE_MS + rank * FINISHER_RANK_MS;
}

static void look_at_part(struct finisher *finisher, const struct part *part, enum role role, uint32_t shard,
                         const struct txns *txns, int64_t time_ms)
{
    int64_t due_ms = part->since_ms + (role == PART_PREPARED ? patience_ms(part, shard) : FINISHER_ASK_MS);
    if (due_ms > time_ms) {
        want_at(finisher, env_monotonic_ns(finisher->env) + (due_ms - time_ms) * NS_PER_MS);
    } else {
        run(finisher, role, shard, part_id(part), txns);
    }
}

static void look_at_parts(struct finisher *finisher, uint32_t shard, const struct txns *txns, int64_t time_ms)
{
    LIST_FOR_EACH (at, &txns->parts.prepared) {
        look_at_part(finisher, CONTAINER_OF(at, struct part, node), PART_PREPARED, shard, txns, time_ms);
    }
    int left = FINISHER_LOOK;
    LIST_FOR_EACH (at, &txns->parts.finished) {
        if (left-- == 0) {
            break;
        }
        look_at_part(finisher, CONTAINER_OF(at, struct part, node), PART_FINISHED, shard, txns, time_ms);
    }
}

void finisher_begin_turn(struct finisher *finisher)
{
    finisher->turn++;
    finisher->next_ns = INT64_MAX;
}

void finisher_end_turn(struct finisher *finisher)
{
    LIST_FOR_EACH_SAFE (at, after, &finisher->tasks) {
        struct task *task = CONTAINER_OF(at, struct task, node);
        if (task->seen != finisher->turn && task->pending == 0) {
            task_free(task); /* led elsewhere now */
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
    finisher->gathering = shard->gathering;
    go_on(finisher, shard->number, shard->txns);
    look_at_homes(finisher, shard->number, shard->txns, shard->time_ms);
    look_at_parts(finisher, shard->number, shard->txns, shard->time_ms);
}
