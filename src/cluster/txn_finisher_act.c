/* What is asked of home and participants for each kind of record, and what is made of the answers. */
#include "base/number.h"
#include "cluster/cluster_mutation.h"
#include "cluster/txn_finisher_internal.h"
#include "cluster/txn_rules.h"

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
    answer->status = id == COMMAND_COHORT_TXN_STATUS;
    answer->good = false;
    answer->number = 0;
    answer->last = 0;
    uint64_t tag = task->round * FINISHER_TAG_ROUND + place;
    task->pending++;
    task->owed++;
    if (finisher->events.submit(finisher->owner, answer->shard, &command, &task->requester, tag) != STATUS_OK) {
        task->pending--;
        task->owed--;
        finisher_ready(task);
    }
}

/* More questions to those who were asked last. */
static void go_round(struct task *task, void (*then)(struct task *, const struct txns *))
{
    ASSERT(task->pending == 0);
    task->round++;
    task->over_ns = INT64_MAX;
    task->then = then;
}

/* The round that has begun is judged soon, by whatever has come: three-phase commit is there for shards that do not
 * answer, and what waits for their leader waits for a long time. */
static void hurry(struct task *task)
{
    task->over_ns = env_monotonic_ns(task->finisher->env) + FINISHER_ROUND_MS * NS_PER_MS;
    finisher_scan_at(task, task->over_ns);
}

/* A round of so many answers begins. */
static void begin_round(struct task *task, uint32_t count, void (*then)(struct task *, const struct txns *))
{
    go_round(task, then);
    free(task->answers);
    task->answers = memory_allocate_zeroed(count, sizeof(*task->answers));
    task->answer_count = count;
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
        finisher_want_at(task->finisher, task->next_ns);
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

static void abort_at(struct task *task, uint32_t home, uint64_t epoch, const char *reason)
{
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_DECIDE, task, 3);
    add_number(&words, epoch);
    add_word(&words, "ABORT");
    add_word(&words, reason);
    send_one(task, home, COMMAND_COHORT_TXN_DECIDE, &words, NULL);
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

/* What the participants came to is reported at home: a commit once every vote can be named. */
static void report(struct task *task, uint32_t home, uint64_t epoch, bool commit)
{
    if (!commit) {
        abort_at(task, home, epoch, "its participants have aborted it");
        return;
    }
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_DECIDE, task, 2 + 2 * task->answer_count);
    add_number(&words, epoch);
    add_word(&words, "COMMIT");
    bool all = true;
    for (uint32_t i = 0; i < task->answer_count; i++) {
        enum part_state state = state_of(&task->answers[i]);
        all = all && state != PART_NONE &&
              state != PART_ABORTED; /* that one was done and forgotten before it was asked */
        add_number(&words, task->answers[i].shard);
        add_number(&words, (uint64_t)task->answers[i].number);
    }
    task->then = NULL;
    if (all) {
        send_one(task, home, COMMAND_COHORT_TXN_DECIDE, &words, NULL);
    }
    words_deinit(&words);
}

static void outcome_to_all(struct task *task, uint64_t epoch, bool commit)
{
    go_round(task, NULL);
    hurry(task);
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
    go_round(task, look_at_states);
    hurry(task);
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
        report(task, task->shard, home->epoch, what == TXN_COMMIT);
    } else if (ended && part != NULL) {
        outcome_to_all(task, part->epoch, what == TXN_COMMIT);
    }
}

/* Asks every participant; one that has not voted refuses from then on. */
static void ask_all(struct task *task, const uint32_t *shards, uint32_t count, uint32_t home, uint64_t epoch,
                    void (*then)(struct task *, const struct txns *))
{
    struct words words;
    begin_round(task, count, then);
    hurry(task);
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
    ask_all(task, shards, home->participant_count, task->shard, home->epoch, look_at_states);
    free(shards);
}

/* A part that three-phase commit may end without its home. */
static bool is_hurried(const struct task *task, const struct txns *txns)
{
    const struct part *part = parts_find(&txns->parts, task->id);
    return task->role == PART_PREPARED && part != NULL && part->protocol == TXN_3PC;
}

static void ask_participants(struct task *task, const struct part *part,
                             void (*then)(struct task *, const struct txns *))
{
    ask_all(task, part->participants, part->participant_count, part->home, part->epoch, then);
}

/* ---- a part that waits for its outcome ---- */

static void told_by_home(struct task *task, const struct txns *txns)
{
    const struct answer *answer = &task->answers[0];
    const struct part *part = parts_find(&txns->parts, task->id);
    task->then = NULL;
    if (part == NULL) {
        return;
    }
    if (!answer->good) {
        if (part->protocol == TXN_3PC && !task->silent) {
            task->silent = true; /* it may be electing */
            task->next_ns = env_monotonic_ns(task->finisher->env);
        } else if (part->protocol == TXN_3PC) {
            ask_participants(task, part, look_at_states);
        }
        return;
    }
    task->silent = false;
    bool same = answer->number == (int64_t)part->epoch;
    bool commit = strcmp(answer->word, "COMMIT") == 0 && same;
    bool open = strcmp(answer->word, "OPEN") == 0 || strcmp(answer->word, "BEGUN") == 0;
    if (open && same) {
        task->pause_ms = FINISHER_PAUSE_MAXIMUM_MS; /* home knows when its time is over, and tells */
        return;
    }
    if (strcmp(answer->word, "FULL") == 0 || (open && answer->number < (int64_t)part->epoch)) {
        return; /* it is asked again */
    }
    uint64_t epoch = part->epoch;
    begin_round(task, 1, NULL);
    task->answers[0].shard = task->shard;
    finish_at(task, 0, epoch, commit);
}

static void votes_told(struct task *task, const struct txns *txns)
{
    const struct part *part = parts_find(&txns->parts, task->id);
    task->then = NULL;
    if (part != NULL) {
        report(task, part->home, part->epoch, true);
    }
}

/* Home was away while the participants ended it. */
static void tell_home(struct task *task, const struct part *part)
{
    if (part->state == PART_COMMITTED) {
        ask_participants(task, part, votes_told);
    } else {
        report(task, part->home, part->epoch, false);
    }
}

static void told_whether_done(struct task *task, const struct txns *txns)
{
    const struct answer *answer = &task->answers[0];
    const struct part *part = parts_find(&txns->parts, task->id);
    task->then = NULL;
    if (part != NULL && answer->good && strcmp(answer->word, "OPEN") == 0 && answer->number == (int64_t)part->epoch) {
        tell_home(task, part);
        return;
    }
    if (!answer->good || (strcmp(answer->word, "OLD") != 0 && answer->last != 1)) {
        return;
    }
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_FORGET, task, 0);
    send_one(task, task->shard, COMMAND_COHORT_TXN_FORGET, &words, NULL);
    words_deinit(&words);
}

/* An entry at home: one that is not OPEN is aborted. */
static void resolve(struct task *task, uint32_t home, void (*then)(struct task *, const struct txns *))
{
    struct words words;
    words_init(&words, COMMAND_COHORT_TXN_RESOLVE, task, 0);
    send_one(task, home, COMMAND_COHORT_TXN_RESOLVE, &words, then);
    words_deinit(&words);
}

/* What a read cannot tell is asked by an entry: nobody knows the id there, or nobody has opened it. */
static void status_told(struct task *task, const struct txns *txns)
{
    const struct answer *answer = &task->answers[0];
    bool unknown = answer->good && (strcmp(answer->word, "ABSENT") == 0 || strcmp(answer->word, "BEGUN") == 0);
    if (!unknown) {
        task->told(task, txns);
        return;
    }
    resolve(task, answer->shard, task->told);
    if (is_hurried(task, txns)) {
        hurry(task);
    }
}

static void ask_home(struct task *task, uint32_t home, void (*told)(struct task *, const struct txns *))
{
    struct words words;
    task->told = told;
    words_init(&words, COMMAND_COHORT_TXN_STATUS, task, 1);
    add_word(&words, "BRIEF"); /* each of a thousand participants may ask, and none needs to hear of all others */
    send_one(task, home, COMMAND_COHORT_TXN_STATUS, &words, status_told);
    words_deinit(&words);
}

void finisher_act(struct task *task, const struct txns *txns)
{
    const struct home *home = task->role <= HOME_OVERDUE ? homes_find(&txns->homes, task->id) : NULL;
    const struct part *part = task->role <= HOME_OVERDUE ? NULL : parts_find(&txns->parts, task->id);
    switch (task->role) {
    case HOME_DECIDED: tell_participants(task, home); break;
    case HOME_OVERDUE:
        if (home->protocol == TXN_3PC && home->state == HOME_BEGUN) {
            resolve(task, task->shard, NULL); /* OPEN may be on its way, and then it is the participants' */
        } else if (home->protocol == TXN_3PC) {
            terminate_home(task, home);
        } else {
            abort_at(task, task->shard, home->epoch, "its time was over");
        }
        break;
    case PART_PREPARED:
        if (part->state == PART_PRECOMMIT || part->state == PART_PREABORT) {
            ask_participants(task, part, look_at_states);
            break;
        }
        ask_home(task, part->home, told_by_home);
        if (is_hurried(task, txns)) {
            hurry(task);
        }
        break;
    case PART_FINISHED: ask_home(task, part->home, told_whether_done); break;
    }
}
