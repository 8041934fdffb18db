#include "check/holds.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/printable.h"

#include <stdlib.h>

enum { NAME_BYTES = 120 };

const char *hold_problem_name(enum hold_problem problem)
{
    static const char *const names[HOLD_PROBLEMS] = {
        [HOLD_FINE] = "fine",
        [HOLD_TOGETHER] = "two holders",
        [HOLD_TOO_MANY] = "more permits than the limit",
        [HOLD_TOKEN_TWICE] = "a token granted twice",
        [HOLD_TOKEN_BACK] = "a token that went back",
        [HOLD_OLD_USE_PASSED] = "an old token passed",
        [HOLD_USE_REFUSED] = "a holder was refused",
    };
    return names[problem];
}

void holds_deinit(struct holds *holds)
{
    free(holds->items);
    *holds = (struct holds){0};
}

void holds_add(struct holds *holds, const struct hold *hold)
{
    if (holds->count == holds->capacity) {
        holds->capacity = holds->capacity == 0 ? 64 : 2 * holds->capacity;
        holds->items = memory_resize(holds->items, holds->capacity * sizeof(*holds->items));
    }
    holds->items[holds->count++] = *hold;
}

/* ---- one key after the other: events in the order of time ---- */

/* Those of one time are concurrent: what ends comes first, and who asks knows nothing of what is told then. */
enum event_kind { EVENT_BELIEVED_NO_MORE, EVENT_ASKED, EVENT_TOLD };

struct event {
    uint32_t key;
    uint64_t time;
    uint8_t kind;
    uint32_t hold;
};

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int compare_events(const void *left, const void *right)
{
    const struct event *a = left;
    const struct event *b = right;
    int order = compare(a->key, b->key);
    order = order != 0 ? order : compare(a->time, b->time);
    order = order != 0 ? order : compare(a->kind, b->kind);
    return order != 0 ? order : compare(a->hold, b->hold);
}

struct newest {
    int64_t token; /* 0: none yet */
    uint32_t hold;
};

struct sweep {
    const struct holds *holds;
    struct hold_finding *finding;
    struct newest *floors; /* of each: the newest that was told, or passed, when it was asked for */
    uint32_t *believed;    /* holds that are, now */
    uint32_t *places;      /* of holds among them */
    uint32_t believed_count;
    uint32_t counts[HOLD_MODES]; /* of these, by mode */
    uint64_t permits;            /* of these */
    struct newest told, passed;
};

static void find(struct sweep *sweep, enum hold_problem problem, uint32_t first, uint32_t second)
{
    if (sweep->finding->problem == HOLD_FINE) {
        *sweep->finding = (struct hold_finding){problem, first, second};
    }
}

/* How many of those that are believed may not be together with one of the mode. */
static uint32_t opposed(const struct sweep *sweep, uint8_t mode)
{
    return sweep->believed_count - (mode == HOLD_EXCLUSIVE ? 0 : sweep->counts[mode]);
}

/* The sweep ends with the first thing that is wrong, so this is looked for once. */
static uint32_t first_opposed(const struct sweep *sweep, uint8_t mode)
{
    uint32_t i = 0;
    while (mode != HOLD_EXCLUSIVE && sweep->holds->items[sweep->believed[i]].mode == mode) {
        i++;
    }
    return sweep->believed[i];
}

static void believe(struct sweep *sweep, uint32_t at)
{
    const struct hold *hold = &sweep->holds->items[at];
    if (hold->until <= hold->end) {
        return;
    }
    if (opposed(sweep, hold->mode) > 0) {
        find(sweep, HOLD_TOGETHER, first_opposed(sweep, hold->mode), at);
    } else if (hold->mode == HOLD_PERMITS && sweep->believed_count > 0 &&
               sweep->permits + hold->permits > hold->limit) {
        find(sweep, HOLD_TOO_MANY, sweep->believed[0], at);
    }
    sweep->places[at] = sweep->believed_count;
    sweep->believed[sweep->believed_count++] = at;
    sweep->counts[hold->mode]++;
    sweep->permits += hold->permits;
}

static void believe_no_more(struct sweep *sweep, uint32_t at)
{
    const struct hold *hold = &sweep->holds->items[at];
    uint32_t place = sweep->places[at];
    ASSERT(place < sweep->believed_count && sweep->believed[place] == at);
    uint32_t last = sweep->believed[--sweep->believed_count];
    sweep->believed[place] = last;
    sweep->places[last] = place;
    sweep->counts[hold->mode]--;
    sweep->permits -= hold->permits;
}

static void be_newest(struct newest *newest, int64_t token, uint32_t at)
{
    if (token > newest->token) {
        *newest = (struct newest){token, at};
    }
}

static void use_told(struct sweep *sweep, uint32_t at)
{
    const struct hold *use = &sweep->holds->items[at];
    if (!use->passed) {
        return;
    }
    if (use->mode == HOLD_EXCLUSIVE && use->token < sweep->floors[at].token) {
        find(sweep, HOLD_OLD_USE_PASSED, sweep->floors[at].hold, at);
    }
    be_newest(&sweep->passed, use->token, at);
}

static void hold_told(struct sweep *sweep, uint32_t at)
{
    const struct hold *hold = &sweep->holds->items[at];
    if (hold->token != 0 && hold->token < sweep->floors[at].token) {
        find(sweep, HOLD_TOKEN_BACK, sweep->floors[at].hold, at);
    }
    be_newest(&sweep->told, hold->token, at);
    believe(sweep, at);
}

static void take_event(struct sweep *sweep, const struct event *event)
{
    bool use = sweep->holds->items[event->hold].use;
    switch ((enum event_kind)event->kind) {
    case EVENT_BELIEVED_NO_MORE: believe_no_more(sweep, event->hold); break;
    case EVENT_ASKED: sweep->floors[event->hold] = use ? sweep->passed : sweep->told; break;
    case EVENT_TOLD: (use ? use_told : hold_told)(sweep, event->hold); break;
    }
}

static struct event *make_events(const struct holds *holds, size_t *ret_count)
{
    struct event *events = memory_allocate(((size_t)holds->count * 3 + 1) * sizeof(*events));
    size_t count = 0;
    for (uint32_t i = 0; i < holds->count; i++) {
        const struct hold *hold = &holds->items[i];
        events[count++] = (struct event){hold->key, hold->start, EVENT_ASKED, i};
        events[count++] = (struct event){hold->key, hold->end, EVENT_TOLD, i};
        if (!hold->use && hold->until > hold->end) {
            events[count++] = (struct event){hold->key, hold->until, EVENT_BELIEVED_NO_MORE, i};
        }
    }
    qsort(events, count, sizeof(*events), compare_events);
    *ret_count = count;
    return events;
}

/* ---- tokens, also of grants that were asked for at the same time ---- */

/* By key and token; grants before uses. */
static int compare_tokens(const void *left, const void *right)
{
    const struct hold *const *a = left;
    const struct hold *const *b = right;
    int order = compare((*a)->key, (*b)->key);
    order = order != 0 ? order : compare((uint64_t)(*a)->token, (uint64_t)(*b)->token);
    order = order != 0 ? order : compare((*a)->use, (*b)->use);
    return order != 0 ? order : compare((*a)->start, (*b)->start);
}

static void check_token(struct sweep *sweep, const struct hold *grant, const struct hold *other)
{
    uint32_t first = (uint32_t)(grant - sweep->holds->items);
    uint32_t second = (uint32_t)(other - sweep->holds->items);
    if (!other->use) {
        find(sweep, HOLD_TOKEN_TWICE, first, second);
    } else if (!other->passed && grant->end <= other->start && other->end <= grant->until) {
        find(sweep, HOLD_USE_REFUSED, first, second);
    }
}

static void check_tokens(struct sweep *sweep)
{
    const struct holds *holds = sweep->holds;
    const struct hold **sorted = memory_allocate((holds->count + (size_t)1) * sizeof(*sorted));
    size_t count = 0;
    for (uint32_t i = 0; i < holds->count; i++) {
        if (holds->items[i].token != 0) {
            sorted[count++] = &holds->items[i];
        }
    }
    qsort(sorted, count, sizeof(*sorted), compare_tokens);
    const struct hold *grant = NULL;
    for (size_t i = 0; i < count; i++) {
        if (grant != NULL && sorted[i]->key == grant->key && sorted[i]->token == grant->token) {
            check_token(sweep, grant, sorted[i]);
        } else {
            grant = sorted[i]->use ? NULL : sorted[i];
        }
    }
    free(sorted);
}

/* Every hold that is believed is believed no more later on, so each key begins with none. */
static void sweep_events(struct sweep *sweep, const struct event *events, size_t count)
{
    for (size_t i = 0; i < count && sweep->finding->problem == HOLD_FINE; i++) {
        if (i > 0 && events[i].key != events[i - 1].key) {
            ASSERT(sweep->believed_count == 0 && sweep->permits == 0);
            sweep->told = (struct newest){0};
            sweep->passed = (struct newest){0};
        }
        take_event(sweep, &events[i]);
    }
}

void holds_check(const struct holds *holds, struct hold_finding *ret_finding)
{
    *ret_finding = (struct hold_finding){0};
    size_t count;
    struct event *events = make_events(holds, &count);
    struct sweep sweep = {.holds = holds, .finding = ret_finding};
    sweep.floors = memory_allocate_zeroed(holds->count + (size_t)1, sizeof(*sweep.floors));
    sweep.believed = memory_allocate((holds->count + (size_t)1) * sizeof(*sweep.believed));
    sweep.places = memory_allocate((holds->count + (size_t)1) * sizeof(*sweep.places));
    sweep_events(&sweep, events, count);
    if (ret_finding->problem == HOLD_FINE) {
        check_tokens(&sweep);
    }
    free(sweep.floors);
    free(sweep.believed);
    free(sweep.places);
    free(events);
}

/* ---- text ---- */

static void write_one(const struct hold *hold, struct buffer *out)
{
    static const char *const modes[HOLD_MODES] = {"exclusive", "shared", "permits"};
    buffer_append_format(out, "    process %u, token %lld, asked %llu, told %llu", hold->process,
                         (long long)hold->token, (unsigned long long)hold->start, (unsigned long long)hold->end);
    if (hold->use) {
        buffer_append_format(out, ": %s\n", hold->passed ? "passed" : "refused");
        return;
    }
    buffer_append_format(out, ", believed until %llu, %s", (unsigned long long)hold->until, modes[hold->mode]);
    if (hold->mode == HOLD_PERMITS) {
        buffer_append_format(out, " %u of %u", hold->permits, hold->limit);
    }
    buffer_append_byte(out, '\n');
}

void holds_write(const struct holds *holds, const struct texts *texts, const struct hold_finding *finding,
                 struct buffer *out)
{
    ASSERT(finding->problem != HOLD_FINE);
    char name[NAME_BYTES];
    (void)printable_copy(texts_get(texts, holds->items[finding->first].key), name, sizeof(name));
    buffer_append_format(out, "lock %s: %s\n", name, hold_problem_name(finding->problem));
    write_one(&holds->items[finding->first], out);
    write_one(&holds->items[finding->second], out);
}
