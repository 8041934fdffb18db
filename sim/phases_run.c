#include "phases_run.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/prng.h"
#include "cluster/txn_rules.h"
#include "machine/txn/txn.h"

#include <stdio.h>
#include <string.h>

#define MS INT64_C(1000000)

enum {
    EVENTS = 2048,
    COORDINATOR = SIM_MEMBERS, /* sends as this */
    ROUND_MS = 150,            /* so long a participant waits for answers */
    WHOLE_MS = 8000,           /* from then on nothing is split or paused */
    END_MS = 40000,
};

enum kind {
    MOVE,   /* argument: the state */
    FINISH, /* … */
    ASK,
    ANSWER, /* the state */
    WAKE,   /* to itself: look whether the transaction is still open */
    WEIGH,  /* to itself: the answers that have come are all that there are */
};

struct event {
    int64_t at_ns;
    enum kind kind;
    int from, to;
    enum part_state state;
    size_t arrow, line; /* in the diagram, in the sequence */
};

struct participant {
    struct parts parts;
    enum part_state known[SIM_MEMBERS]; /* of a round; NONE: no answer */
    int64_t paused_until_ns;
};

struct phases {
    struct prng prng;
    const struct sim_record *record;
    struct sim_result *result;
    struct participant participants[SIM_MEMBERS];
    int count;
    uint32_t quorum_commit, quorum_abort;
    struct event events[EVENTS];
    int event_count;
    int64_t now_ns, split_from_ns, split_until_ns, lost_ns;
    bool split_noted, lost_noted;
    unsigned side; /* participants on one side of the split; the coordinator is on the other */
    int acknowledged;
};

static const struct slice id = {(const uint8_t *)"t", 1};

static struct part *part_of(struct phases *phases, int number)
{
    return parts_find(&phases->participants[number].parts, id);
}

static enum part_state state_of(struct phases *phases, int number)
{
    return (enum part_state)part_of(phases, number)->state;
}

static int64_t draw_ms(struct phases *phases, int64_t from_ms, int64_t to_ms)
{
    return from_ms + (int64_t)prng_below(&phases->prng, (uint64_t)(to_ms - from_ms + 1));
}

static bool is_finished(enum part_state state) { return state == PART_COMMITTED || state == PART_ABORTED; }

/* What is recorded as a sequence; NULL: nothing is. The coordinator is its first column. */
static struct sequence *sequence_of(const struct phases *phases)
{
    return phases->record == NULL ? NULL : phases->record->sequence;
}

static int column_of(int number) { return number == COORDINATOR ? 0 : number + 1; }

static void mark(struct phases *phases, int number, enum diagram_mark kind, const char *text)
{
    if (phases->record == NULL) {
        return;
    }
    diagram_mark(phases->record->diagram, phases->now_ns, number, 0, kind, text);
    if (phases->record->line != NULL) {
        phases->record->line(phases->record->owner, phases->now_ns, number, text);
    }
}

/* ---- messages ---- */

static const char *name_of(enum kind kind, enum part_state state)
{
    return kind == ASK                                 ? "ASK"
           : kind == FINISH && state == PART_COMMITTED ? "COMMIT"
           : kind == FINISH                            ? "ABORT"
                                                       : part_state_name(state);
}

static bool is_cut(const struct phases *phases, int one, int other)
{
    bool split = phases->now_ns >= phases->split_from_ns && phases->now_ns < phases->split_until_ns;
    return split && (phases->side >> one & 1) != (phases->side >> other & 1);
}

static void put(struct phases *phases, const struct event *event)
{
    if (phases->event_count < EVENTS) {
        phases->events[phases->event_count++] = *event;
    }
}

static void send(struct phases *phases, enum kind kind, int from, int to, enum part_state state)
{
    struct event event = {phases->now_ns + draw_ms(phases, 1, 40) * MS, kind, from, to, state, 0, SIZE_MAX};
    if (from != to) {
        event.line = sequence_sent(sequence_of(phases), phases->now_ns, column_of(from), column_of(to),
                                   SEQUENCE_MESSAGE, name_of(kind, state));
    }
    if (is_cut(phases, from, to)) {
        return;
    }
    phases->result->messages++;
    if (phases->record != NULL && from < phases->count && to < phases->count) {
        event.arrow = diagram_sent(phases->record->diagram, phases->now_ns, from, to, 0, DIAGRAM_BETWEEN_NODES);
    }
    put(phases, &event);
}

static void later(struct phases *phases, enum kind kind, int number, int64_t ms)
{
    put(phases, &(struct event){phases->now_ns + ms * MS, kind, number, number, PART_NONE, 0, SIZE_MAX});
}

static bool take(struct phases *phases, struct event *ret_event)
{
    int first = -1;
    for (int i = 0; i < phases->event_count; i++) {
        first = first < 0 || phases->events[i].at_ns < phases->events[first].at_ns ? i : first;
    }
    if (first < 0) {
        return false;
    }
    *ret_event = phases->events[first];
    phases->events[first] = phases->events[--phases->event_count];
    return true;
}

/* ---- a participant ---- */

static void note_state(struct phases *phases, int number)
{
    enum part_state state = state_of(phases, number);
    mark(phases, number, is_finished(state) ? DIAGRAM_COMMIT : DIAGRAM_FOLLOWS, part_state_name(state));
    sequence_note(sequence_of(phases), phases->now_ns, column_of(number),
                  state == PART_COMMITTED ? SEQUENCE_COMMITTED
                  : state == PART_ABORTED ? SEQUENCE_ABORTED
                                          : SEQUENCE_STATE,
                  part_state_name(state));
}

static void finish(struct phases *phases, int number, bool commit)
{
    struct keyspace_time time = {0};
    if (!is_finished(state_of(phases, number))) {
        part_finish(&phases->participants[number].parts, part_of(phases, number), commit, NULL, &time, 1);
        note_state(phases, number);
    }
}

static void begin_round(struct phases *phases, int number)
{
    if (is_finished(state_of(phases, number))) {
        return;
    }
    memset(phases->participants[number].known, 0, sizeof(phases->participants[number].known));
    for (int i = 0; i < phases->count; i++) {
        send(phases, ASK, number, i, PART_NONE);
    }
    later(phases, WEIGH, number, ROUND_MS);
    later(phases, WAKE, number, draw_ms(phases, 3 * ROUND_MS, 2000));
}

static void weigh(struct phases *phases, int number)
{
    struct participant *self = &phases->participants[number];
    struct txn_census census = {(uint32_t)phases->count, phases->quorum_commit, phases->quorum_abort, {0}};
    for (int i = 0; i < phases->count; i++) {
        census.in[self->known[i]] += self->known[i] != PART_NONE ? 1 : 0;
    }
    enum txn_verdict verdict = txn_terminate(&census);
    bool moves = verdict == TXN_MOVE_COMMIT || verdict == TXN_MOVE_ABORT;
    for (int i = 0; i < phases->count; i++) {
        if (verdict == TXN_COMMIT || verdict == TXN_ABORT) {
            send(phases, FINISH, number, i, verdict == TXN_COMMIT ? PART_COMMITTED : PART_ABORTED);
        } else if (moves && self->known[i] == PART_WAIT) {
            self->known[i] = PART_NONE;
            send(phases, MOVE, number, i, verdict == TXN_MOVE_COMMIT ? PART_PRECOMMIT : PART_PREABORT);
        }
    }
    if (moves) {
        later(phases, WEIGH, number, ROUND_MS);
    }
}

/* The coordinator's own part: once enough have moved, it tells all. */
static void coordinator_hears(struct phases *phases, enum part_state state)
{
    phases->acknowledged += state == PART_PRECOMMIT ? 1 : 0;
    bool enough = phases->acknowledged == (phases->quorum_commit == 1 ? phases->count : (int)phases->quorum_commit);
    for (int i = 0; i < phases->count && enough && phases->now_ns < phases->lost_ns; i++) {
        send(phases, FINISH, COORDINATOR, i, PART_COMMITTED);
    }
}

static void happen(struct phases *phases, const struct event *event)
{
    if (event->kind == ANSWER && event->to == COORDINATOR) {
        coordinator_hears(phases, event->state);
        return;
    }
    struct part *part = part_of(phases, event->to);
    switch (event->kind) {
    case MOVE:
        if (part_move(part, event->state, 0)) {
            note_state(phases, event->to);
        }
        send(phases, ANSWER, event->to, event->from, (enum part_state)part->state);
        break;
    case FINISH: finish(phases, event->to, event->state == PART_COMMITTED); break;
    case ASK: send(phases, ANSWER, event->to, event->from, (enum part_state)part->state); break;
    case ANSWER: phases->participants[event->to].known[event->from] = event->state; break;
    case WAKE: begin_round(phases, event->to); break;
    case WEIGH: weigh(phases, event->to); break;
    }
}

/* ---- the run ---- */

static void fail(struct phases *phases, const char *what)
{
    phases->result->failed = true;
    (void)snprintf(phases->result->failure, sizeof(phases->result->failure), "%s", what);
    mark(phases, -1, DIAGRAM_FAILURE, what);
    sequence_note(sequence_of(phases), phases->now_ns + 1, -1, SEQUENCE_FAULT, what);
}

static void check(struct phases *phases)
{
    int committed = -1;
    int aborted = -1;
    for (int i = 0; i < phases->count; i++) {
        committed = state_of(phases, i) == PART_COMMITTED ? i : committed;
        aborted = state_of(phases, i) == PART_ABORTED ? i : aborted;
    }
    if (committed >= 0 && aborted >= 0) {
        char text[96];
        (void)snprintf(text, sizeof(text), "the transaction is split: %d has committed, %d has aborted", committed + 1,
                       aborted + 1);
        fail(phases, text);
    }
}

/* Who is on whose side of the split, and when the coordinator is lost: told to the sequence when their time has come.
 */
static void note_faults(struct phases *phases)
{
    struct sequence *sequence = sequence_of(phases);
    char text[96] = "the network splits: coordinator";
    if (!phases->lost_noted && phases->now_ns >= phases->lost_ns) {
        phases->lost_noted = true;
        sequence_note(sequence, phases->lost_ns, column_of(COORDINATOR), SEQUENCE_FAULT, "lost");
        sequence_life(sequence, phases->lost_ns, column_of(COORDINATOR), false);
    }
    if (!phases->split_noted && phases->now_ns >= phases->split_from_ns) {
        phases->split_noted = true;
        for (int side = 0; side < 2; side++) {
            for (int i = 0; i < phases->count; i++) {
                size_t size = strlen(text);
                if ((int)(phases->side >> i & 1) == side) {
                    (void)snprintf(text + size, sizeof(text) - size, ", %d" + (text[size - 1] == '|'), i + 1);
                }
            }
            size_t size = strlen(text);
            (void)snprintf(text + size, sizeof(text) - size, "%s", side == 0 ? " |" : "");
        }
        sequence_note(sequence, phases->split_from_ns, -1, SEQUENCE_REMARK, text);
    }
}

static void entitle(const struct phases *phases, const struct sim_profile *profile)
{
    char name[24];
    sequence_entitle(sequence_of(phases), profile->level == SIM_LEVEL_TEXTBOOK
                                              ? "Three-phase commit as in the textbook, without quorums"
                                              : "Three-phase commit with quorums, by itself");
    sequence_column(sequence_of(phases), "coordinator", "");
    for (int i = 0; i < phases->count; i++) {
        (void)snprintf(name, sizeof(name), "participant %d", i + 1);
        sequence_column(sequence_of(phases), name, "");
    }
}

static void prepare_all(struct phases *phases)
{
    struct slice shard = SLICE_LITERAL("1");
    struct txn_prepare said = {
        .id = id, .home = 1, .protocol = TXN_3PC, .participants = &shard, .participant_count = 1, .shard_count = 1};
    for (int i = 0; i < phases->count; i++) {
        struct buffer body = {0};
        parts_init(&phases->participants[i].parts, 0);
        (void)parts_prepare(&phases->participants[i].parts, &(struct part_prepare){&said, 1, 0, 0}, &body);
        note_state(phases, i);
        phases->participants[i].paused_until_ns =
            prng_chance(&phases->prng, 1, 4) ? draw_ms(phases, 100, WHOLE_MS) * MS : 0;
        later(phases, WAKE, i, draw_ms(phases, 200, 3000));
    }
}

static void begin(struct phases *phases, uint64_t seed, const struct sim_profile *profile)
{
    prng_seed(&phases->prng, seed);
    phases->count = profile->members;
    bool textbook = profile->level == SIM_LEVEL_TEXTBOOK;
    phases->quorum_commit = textbook ? 1 : txn_quorum_commit((uint32_t)phases->count);
    phases->quorum_abort = textbook ? 1 : txn_quorum_abort((uint32_t)phases->count);
    phases->lost_ns = draw_ms(phases, 1, 100) * MS;
    phases->split_from_ns = draw_ms(phases, 1, 200) * MS;
    phases->split_until_ns = phases->split_from_ns + draw_ms(phases, 500, WHOLE_MS - 500) * MS;
    phases->side = (unsigned)prng_below(&phases->prng, 1U << phases->count);
    prepare_all(phases);
    /* It may be lost when it has told only some. */
    int told =
        prng_chance(&phases->prng, 1, 2) ? phases->count : (int)prng_below(&phases->prng, (uint64_t)phases->count);
    int first = (int)prng_below(&phases->prng, (uint64_t)phases->count);
    for (int i = 0; i < told; i++) {
        send(phases, MOVE, COORDINATOR, (first + i) % phases->count, PART_PRECOMMIT);
    }
}

void phases_run(uint64_t seed, const struct sim_profile *profile, const struct sim_mutation *mutation,
                const struct sim_record *record, struct sim_result *ret_result)
{
    (void)mutation;
    *ret_result = (struct sim_result){0};
    struct phases phases = {.record = record, .result = ret_result};
    struct event event;
    begin(&phases, seed, profile);
    entitle(&phases, profile);
    while (!ret_result->failed && take(&phases, &event) && event.at_ns < END_MS * MS) {
        phases.now_ns = event.at_ns;
        struct participant *to = event.to < phases.count ? &phases.participants[event.to] : NULL;
        if (to != NULL && to->paused_until_ns > event.at_ns) { /* it happens when the pause is over */
            event.at_ns = to->paused_until_ns + 1 + (event.at_ns & 0xffff);
            put(&phases, &event);
            continue;
        }
        if (event.arrow != 0) {
            diagram_arrived(record->diagram, event.arrow, event.at_ns);
        }
        note_faults(&phases);
        sequence_arrived(sequence_of(&phases), event.line, event.at_ns);
        uint64_t parts[] = {(uint64_t)event.at_ns, (uint64_t)event.kind << 8 | (uint64_t)event.to, event.state};
        ret_result->trace = hash_bytes(ret_result->trace, parts, sizeof(parts));
        happen(&phases, &event);
        check(&phases);
    }
    ret_result->virtual_ns = phases.now_ns;
    for (int i = 0; i < phases.count; i++) {
        if (!ret_result->failed && !is_finished(state_of(&phases, i))) {
            fail(&phases, "the network is whole, and a participant has not ended");
        }
        parts_deinit(&phases.participants[i].parts);
    }
}
