#include "base/memory.h"
#include "check/search_state.h"

#include <stdlib.h>

/* ---- events ---- */

struct event {
    uint64_t time;
    uint32_t item;
    bool is_end;
};

/* At the same time calls come first, so that the operations are concurrent. */
static int compare_events(const void *left, const void *right)
{
    const struct event *a = left;
    const struct event *b = right;
    if (a->time != b->time) {
        return a->time < b->time ? -1 : 1;
    }
    if (a->is_end != b->is_end) {
        return a->is_end ? 1 : -1;
    }
    return a->item < b->item ? -1 : a->item > b->item;
}

static void *allocate(size_t count, size_t size) { return memory_allocate_zeroed(count + 1, size); }

/* Numbers the events and links those of known operations; `optionals` fills in the order of calls. */
static void link_events(struct search *search)
{
    struct event *events = allocate(2 * (size_t)search->count, sizeof(*events));
    uint32_t event_count = 0;
    for (uint32_t i = 0; i < search->count; i++) {
        const struct history_operation *operation = &search->history->operations[search->items[i].source];
        events[event_count++] = (struct event){operation->start, i, false};
        if (!search->items[i].rule.optional) {
            events[event_count++] = (struct event){operation->end, i, true};
        }
    }
    qsort(events, event_count, sizeof(*events), compare_events);
    search->links = allocate((size_t)event_count + 1, sizeof(*search->links));
    uint32_t last = 0;
    for (uint32_t e = 1; e <= event_count; e++) {
        uint32_t i = events[e - 1].item;
        struct item *item = &search->items[i];
        *(events[e - 1].is_end ? &item->end : &item->call) = e;
        if (item->rule.optional) {
            item->position = search->optional_count;
            search->optionals[search->optional_count++] = i;
            if (!is_blind(&item->rule)) {
                search->guarded[search->guarded_count++] = i;
            }
            continue;
        }
        search->links[e] = (struct link){.item = i, .previous = last};
        search->links[last].next = e;
        last = e;
    }
    search->links[last].next = 0;
    search->links[0].previous = last;
    free(events);
}

static int compare_rules(const struct rule *a, const struct rule *b)
{
    const int64_t differences[] = {
        (int64_t)a->condition - b->condition,
        (int64_t)a->effect - b->effect,
        (int64_t)a->expected - b->expected,
        (int64_t)a->value - b->value,
        (a->number > b->number) - (a->number < b->number),
    };
    for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
        if (differences[i] != 0) {
            return differences[i] < 0 ? -1 : 1;
        }
    }
    return 0;
}

static int compare_twins(const void *left, const void *right, void *owner)
{
    const struct search *search = owner;
    const struct item *a = &search->items[*(const uint32_t *)left];
    const struct item *b = &search->items[*(const uint32_t *)right];
    int order = compare_rules(&a->rule, &b->rule);
    return order != 0 ? order : a->call < b->call ? -1 : a->call > b->call;
}

static void find_twins(struct search *search)
{
    uint32_t *sorted = allocate(search->optional_count, sizeof(*sorted));
    memcpy(sorted, search->optionals, search->optional_count * sizeof(*sorted));
    qsort_r(sorted, search->optional_count, sizeof(*sorted), compare_twins, search);
    for (uint32_t i = 0; i < search->optional_count; i++) {
        struct item *item = &search->items[sorted[i]];
        bool twin = i > 0 && compare_rules(&search->items[sorted[i - 1]].rule, &item->rule) == 0;
        item->twin = twin ? sorted[i - 1] : ITEM_NONE;
    }
    free(sorted);
}

static int compare_targets(const void *left, const void *right, void *owner)
{
    const struct search *search = owner;
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    size_t a_size = states_text(&search->states, search->items[a].rule.expected).size;
    size_t b_size = states_text(&search->states, search->items[b].rule.expected).size;
    return a_size != b_size ? (a_size < b_size ? -1 : 1) : a < b ? -1 : a > b;
}

static void find_targets(struct search *search)
{
    search->targets = allocate(search->count, sizeof(*search->targets));
    for (uint32_t i = 0; i < search->count; i++) {
        const struct rule *rule = &search->items[i].rule;
        if (rule->condition == RULE_EQUALS && !rule->optional) {
            search->targets[search->target_count++] = i;
        }
    }
    qsort_r(search->targets, search->target_count, sizeof(*search->targets), compare_targets, search);
    for (uint32_t t = 0; t < search->target_count; t++) {
        search->items[search->targets[t]].rank = t;
    }
}

/* ---- what remains ---- */

struct tally *search_tally_of(struct search *search, uint32_t state)
{
    if (state >= search->tally_count) {
        uint32_t count = 2 * state + 16;
        search->tallies = memory_resize(search->tallies, count * sizeof(*search->tallies));
        memset(search->tallies + search->tally_count, 0, (count - search->tally_count) * sizeof(*search->tallies));
        search->tally_count = count;
    }
    return &search->tallies[state];
}

/* True when the rule may lead to a number other than from a smaller one. */
static bool falls(const struct search *search, const struct rule *rule)
{
    int64_t before;
    int64_t after;
    switch ((enum rule_effect)rule->effect) {
    case RULE_KEEP: return false;
    case RULE_APPEND:
    case RULE_DELETE: return true; /* an increment may follow */
    case RULE_ADD: return rule->number <= 0;
    case RULE_WRITE: break;
    }
    bool counts = rule->condition == RULE_EQUALS || rule->condition == RULE_ZERO;
    return states_number(&search->states, rule->value, &after) &&
           !(counts && states_number(&search->states, rule->expected, &before) && before < after);
}

void search_tally(struct search *search, const struct rule *rule, int by)
{
    bool exact = rule->condition == RULE_EQUALS || rule->condition == RULE_ABSENT;
    uint32_t change = (uint32_t)by;
    if (exact || rule->condition == RULE_DIFFERS || rule->condition == RULE_ZERO) {
        struct tally *expected = search_tally_of(search, rule->expected);
        expected->mentioned += change;
        expected->needed += exact && !rule->optional ? change : 0;
    }
    if (rule->effect == RULE_WRITE || rule->effect == RULE_DELETE) {
        search_tally_of(search, rule->value)->produced += change;
    }
    search->appends += rule->effect == RULE_APPEND ? change : 0;
    search->adds += rule->effect == RULE_ADD ? change : 0;
    search->resets += rule->effect != RULE_KEEP && rule->effect != RULE_APPEND ? change : 0;
    search->falls += falls(search, rule) ? change : 0;
    search->vague += rule->condition == RULE_PRESENT || rule->condition == RULE_DIFFERS ? change : 0;
    search->known += rule->optional ? 0 : change;
}

/* ---- life ---- */

struct search *search_create(const struct partition *partition, size_t memory_bytes)
{
    struct search *search = allocate(1, sizeof(*search));
    search->history = partition->history;
    search->memory_bytes = memory_bytes;
    states_init(&search->states);
    memo_init(&search->memo, memory_bytes);
    search->items = allocate(partition->count, sizeof(*search->items));
    search->optionals = allocate(partition->count, sizeof(*search->optionals));
    search->guarded = allocate(partition->count, sizeof(*search->guarded));
    search->frames = allocate(partition->count, sizeof(*search->frames));
    search->listing = allocate(partition->count, sizeof(*search->listing));
    for (uint32_t i = 0; i < partition->count; i++) {
        uint32_t source = partition->operations[i];
        const struct history_operation *operation = &partition->history->operations[source];
        struct rule rule = rule_of(partition->history, operation, &search->states);
        rule.optional |= operation->end > partition->horizon;
        if (operation->start > partition->horizon || (rule.optional && rule.effect == RULE_KEEP)) {
            continue; /* too late, or a read that nobody saw */
        }
        search->items[search->count++] =
            (struct item){.rule = rule, .source = source, .twin = ITEM_NONE, .rank = ITEM_NONE};
        search_tally(search, &rule, 1);
    }
    link_events(search);
    find_twins(search);
    find_targets(search);
    search->placed[0] = 1; /* the empty set's hash must not be zero */
    search->state = STATE_ABSENT;
    search->before = STATE_NONE;
    return search;
}

void search_destroy(struct search *search)
{
    if (search == NULL) {
        return;
    }
    states_deinit(&search->states);
    memo_deinit(&search->memo);
    free(search->items);
    free(search->optionals);
    free(search->guarded);
    free(search->targets);
    free(search->links);
    free(search->tallies);
    free(search->frames);
    free(search->listing);
    free(search);
}
