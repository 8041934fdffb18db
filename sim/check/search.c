#include "base/assert.h"
#include "base/prng.h"
#include "check/search_state.h"

enum { PLACE_STEPS = 16, STEP_BYTES = 64 }; /* what takes about as long as a look at an operation */

/* ---- steps ---- */

/* Rule 3. While appends remain every text may matter, and every number while unknown increments do. */
static uint32_t canonical(struct search *search, uint32_t state)
{
    int64_t number;
    if (state < STATE_TEXTS || state == STATE_NONE || search_tally_of(search, state)->mentioned > 0 ||
        search->appends > 0 || (search->adds > 0 && states_number(&search->states, state, &number))) {
        return state;
    }
    return STATE_OTHER;
}

static bool step(struct search *search, const struct item *item, uint32_t state, uint32_t *ret_state)
{
    uint32_t after;
    if (!rule_step(&item->rule, &search->states, state, &after)) {
        return false;
    }
    search->steps += item->rule.effect == RULE_APPEND ? states_text(&search->states, after).size / STEP_BYTES : 0;
    *ret_state = canonical(search, after);
    return true;
}

/* True when the item can come after `state`, and could not as well have come after `without`. */
static bool distinguishes(struct search *search, const struct item *item, uint32_t without, uint32_t state)
{
    uint32_t after;
    uint32_t after_without;
    return step(search, item, state, &after) &&
           !(step(search, item, without, &after_without) && after == after_without);
}

/* True when the last step was an optional one and `item` could do without it (rule 2). */
static bool makes_last_useless(struct search *search, const struct item *item)
{
    return search->before != STATE_NONE && !distinguishes(search, item, search->before, search->state);
}

/* True when steps that are no writes may lead from one state to the other. */
static bool may_become(const struct search *search, uint32_t from, uint32_t to)
{
    int64_t number;
    int64_t target;
    if (to == STATE_ABSENT) {
        return false;
    }
    if (search->appends > 0) {
        return true;
    }
    if (search->adds == 0 || !states_number(&search->states, to, &target)) {
        return false;
    }
    bool fell = search->falls == 0 && states_number(&search->states, from, &number) && number > target;
    return !fell;
}

static bool is_prefix(struct search *search, uint32_t state, uint32_t whole)
{
    struct slice a = states_text(&search->states, state);
    struct slice b = states_text(&search->states, whole);
    search->steps += a.size / STEP_BYTES;
    return a.size <= b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* Rule 4, for an item no longer counted among the remaining ones. While nothing but appends remains, that says that the
 * text must be the beginning of the shortest one that is still needed. */
static bool strands(struct search *search, uint32_t from, uint32_t to)
{
    if (from == to || from == STATE_OTHER) {
        return false;
    }
    if (search->resets == 0 && search->target < search->target_count) {
        uint32_t target = search->items[search->targets[search->target]].rule.expected;
        return to == STATE_OTHER || (to != STATE_ABSENT && !is_prefix(search, to, target));
    }
    const struct tally *left = search_tally_of(search, from);
    return left->needed > 0 && left->produced == 0 && !may_become(search, to, from);
}

static void unlink_event(struct search *search, uint32_t event)
{
    const struct link *link = &search->links[event];
    search->links[link->previous].next = link->next;
    search->links[link->next].previous = link->previous;
}

static void relink_event(struct search *search, uint32_t event)
{
    const struct link *link = &search->links[event];
    search->links[link->previous].next = event;
    search->links[link->next].previous = event;
}

/* The set's hash is the exclusive or of its members' random words. */
static void flip_placed(struct search *search, uint32_t i)
{
    uint64_t seed = ((uint64_t)i + 1) * 0xd1342543de82ef95ULL;
    search->placed[0] ^= prng_splitmix(&seed);
    search->placed[1] ^= prng_splitmix(&seed);
    search->items[i].placed = !search->items[i].placed;
}

/* Takes an item from the remaining ones. */
static void count_out(struct search *search, uint32_t i)
{
    search_tally(search, &search->items[i].rule, -1);
    flip_placed(search, i);
    while (search->target < search->target_count && search->items[search->targets[search->target]].placed) {
        search->target++;
    }
}

/* Puts it back among them. */
static void count_in(struct search *search, uint32_t i)
{
    const struct item *item = &search->items[i];
    search_tally(search, &item->rule, 1);
    flip_placed(search, i);
    if (item->rank < search->target) {
        search->target = item->rank;
    }
}

/* Places an item; false, and nothing has changed, when rule 4 forbids it. */
static bool place(struct search *search, uint32_t i, uint32_t after, bool forced)
{
    const struct item *item = &search->items[i];
    search->steps += PLACE_STEPS;
    count_out(search, i);
    if (strands(search, search->state, after)) {
        count_in(search, i);
        return false;
    }
    if (!item->rule.optional) {
        unlink_event(search, item->call);
        unlink_event(search, item->end);
    }
    search->frames[search->depth++] = (struct frame){i, search->state, search->before, forced};
    search->before = item->rule.optional ? search->state : STATE_NONE;
    search->state = after;
    return true;
}

static struct frame take_back(struct search *search)
{
    struct frame frame = search->frames[--search->depth];
    const struct item *item = &search->items[frame.item];
    if (!item->rule.optional) {
        relink_event(search, item->end);
        relink_event(search, item->call);
    }
    count_in(search, frame.item);
    search->state = frame.state;
    search->before = frame.before;
    return frame;
}

/* ---- what may come next ---- */

/* It has looked for long enough: what it finds from then on tells nothing. */
static bool is_exhausted(const struct search *search) { return search->steps > search->steps_maximum; }

/* The first end in the list: what begins after it is not open yet. */
static uint32_t first_end(const struct search *search)
{
    uint32_t event = search->links[0].next;
    while (search->items[search->links[event].item].end != event) {
        event = search->links[event].next;
    }
    return event;
}

/* A known write that can come any time and whose value nobody tells from others, where nothing needs just any value:
 * it is good for nothing, and rule 5 disposes of it. */
static bool is_dull(struct search *search, const struct item *item)
{
    return search->vague == 0 && !item->rule.optional && is_blind(&item->rule) &&
           canonical(search, item->rule.value) == STATE_OTHER;
}

/* An open item that may be placed at once (rules 1 and 5), or ITEM_NONE. */
static uint32_t find_idle(struct search *search, uint32_t end)
{
    for (uint32_t event = search->links[0].next; event != end; event = search->links[event].next, search->steps++) {
        uint32_t i = search->links[event].item;
        const struct item *item = &search->items[i];
        uint32_t after;
        if (item->rule.effect == RULE_KEEP ? rule_step(&item->rule, &search->states, search->state, &after)
                                           : search->state == STATE_OTHER && is_dull(search, item)) {
            return i;
        }
    }
    return ITEM_NONE;
}

static uint32_t find_dull(struct search *search, uint32_t end)
{
    for (uint32_t event = search->links[0].next; event != end; event = search->links[event].next) {
        if (is_dull(search, &search->items[search->links[event].item])) {
            return search->links[event].item;
        }
    }
    return ITEM_NONE;
}

/* True unless appends alone cannot lead from the text to where the item makes use of them. */
static bool in_sight(struct search *search, uint32_t text, const struct item *item)
{
    switch ((enum rule_condition)item->rule.condition) {
    case RULE_EQUALS:
    case RULE_ZERO: return is_prefix(search, text, item->rule.expected);
    case RULE_LENGTH: return (int64_t)states_text(&search->states, text).size <= item->rule.number;
    case RULE_ANY: return item->rule.effect == RULE_ADD;
    case RULE_PRESENT: return search->state == STATE_ABSENT;
    case RULE_DIFFERS: return true;
    case RULE_ABSENT:
    case RULE_NEVER: return false;
    }
    UNREACHABLE();
}

/* True when some open item may make use of an optional item's step from the state to `after` (rule 2, looking ahead).
 * For an append that item may come after further appends. */
static bool is_useful(struct search *search, uint32_t optional, uint32_t after, uint32_t end)
{
    bool append = search->items[optional].rule.effect == RULE_APPEND;
    for (uint32_t event = search->links[0].next; event != end; event = search->links[event].next, search->steps++) {
        const struct item *item = &search->items[search->links[event].item];
        if (append ? in_sight(search, after, item) : distinguishes(search, item, search->state, after)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < search->guarded_count && search->items[search->guarded[i]].call < end; i++) {
        const struct item *item = &search->items[search->guarded[i]];
        search->steps++;
        if (!item->placed && search->guarded[i] != optional &&
            (append ? in_sight(search, after, item) : distinguishes(search, item, search->state, after))) {
            return true;
        }
    }
    return false;
}

/* What open items could make of an optional write whose value no remaining item mentions. */
static bool wants_any_write(const struct search *search, const struct item *item)
{
    switch ((enum rule_condition)item->rule.condition) {
    case RULE_PRESENT: return search->state == STATE_ABSENT;
    case RULE_DIFFERS: return search->state == item->rule.expected;
    case RULE_LENGTH: return true;
    case RULE_ANY: return item->rule.effect == RULE_ADD || item->rule.effect == RULE_APPEND;
    default: return false;
    }
}

/* True when is_useful is worth asking about optional writes of values that are not mentioned: a quick answer for all
 * of them, as there may be many. */
static bool unmentioned_are_useful(const struct search *search, uint32_t end)
{
    for (uint32_t event = search->links[0].next; event != end; event = search->links[event].next) {
        if (wants_any_write(search, &search->items[search->links[event].item])) {
            return true;
        }
    }
    for (uint32_t i = 0; i < search->guarded_count && search->items[search->guarded[i]].call < end; i++) {
        const struct item *item = &search->items[search->guarded[i]];
        if (!item->placed && wants_any_write(search, item)) {
            return true;
        }
    }
    return false;
}

/* `dull` is an open item that can be placed just as well before a write that anything may precede (rule 5). */
static bool try_known(struct search *search, uint32_t i, uint32_t dull)
{
    uint32_t after;
    const struct item *item = &search->items[i];
    bool after_dull = dull != ITEM_NONE && dull != i && is_blind(&item->rule);
    return !after_dull && step(search, item, search->state, &after) && !makes_last_useless(search, item) &&
           place(search, i, after, false);
}

/* True when an elder optional item, not placed, leads from the same states to the same one: what is STATE_OTHER now
 * stays so. */
static bool has_elder(struct search *search, const struct item *item)
{
    if (item->rule.effect != RULE_WRITE || canonical(search, item->rule.value) != STATE_OTHER) {
        return item->twin != ITEM_NONE && !search->items[item->twin].placed;
    }
    for (uint32_t i = 0; i < item->position; i++, search->steps++) {
        const struct item *elder = &search->items[search->optionals[i]];
        if (!elder->placed && elder->rule.effect == RULE_WRITE && elder->rule.condition == item->rule.condition &&
            elder->rule.expected == item->rule.expected && canonical(search, elder->rule.value) == STATE_OTHER) {
            return true;
        }
    }
    return false;
}

static bool try_optional(struct search *search, uint32_t i, uint32_t dull, uint32_t end)
{
    uint32_t after;
    const struct item *item = &search->items[i];
    bool later = item->placed || (dull != ITEM_NONE && is_blind(&item->rule));
    return !later && step(search, item, search->state, &after) && after != search->state && !has_elder(search, item) &&
           !makes_last_useless(search, item) && is_useful(search, i, after, end) && place(search, i, after, false);
}

/* Tries the known items after `last` (ITEM_NONE: from the beginning), the one that everything waits for first. */
static bool place_known(struct search *search, uint32_t last, uint32_t dull, uint32_t end)
{
    uint32_t urgent = search->links[end].item;
    if (last == ITEM_NONE && try_known(search, urgent, dull)) {
        return true;
    }
    uint32_t event = last == ITEM_NONE || last == urgent ? 0 : search->items[last].call;
    while ((event = search->links[event].next) != end) {
        uint32_t i = search->links[event].item;
        search->steps++;
        if (i != urgent && try_known(search, i, dull)) {
            return true;
        }
    }
    return false;
}

/* The same for optional items; `last` is an optional one or ITEM_NONE. */
static bool place_optional(struct search *search, uint32_t last, uint32_t dull, uint32_t end)
{
    bool unmentioned = unmentioned_are_useful(search, end);
    uint32_t position = last == ITEM_NONE ? 0 : search->items[last].position + 1;
    for (; position < search->optional_count && search->items[search->optionals[position]].call < end; position++) {
        if (is_exhausted(search)) {
            return false;
        }
        const struct item *item = &search->items[search->optionals[position]];
        search->steps++;
        bool useless =
            !unmentioned && is_blind(&item->rule) && search_tally_of(search, item->rule.value)->mentioned == 0;
        if (!useless && try_optional(search, search->optionals[position], dull, end)) {
            return true;
        }
    }
    return false;
}

/* Places the first candidate after `last` (ITEM_NONE: from the beginning), if there is one: known ones first. */
static bool place_next(struct search *search, uint32_t last, uint32_t end)
{
    uint32_t dull = find_dull(search, end);
    if (last != ITEM_NONE && search->items[last].rule.optional) {
        return place_optional(search, last, dull, end);
    }
    return place_known(search, last, dull, end) || place_optional(search, ITEM_NONE, dull, end);
}

/* ---- the search ---- */

static bool backtrack(struct search *search)
{
    while (search->depth > 0 && !is_exhausted(search)) {
        struct frame frame = take_back(search);
        if (!frame.forced && place_next(search, frame.item, first_end(search))) {
            return true;
        }
    }
    return false;
}

enum advance { ADVANCED, DEAD, OUT_OF_MEMORY };

static enum advance advance(struct search *search, uint32_t end)
{
    search->state = canonical(search, search->state);
    search->before = canonical(search, search->before);
    uint32_t idle = find_idle(search, end);
    if (idle != ITEM_NONE) {
        bool placed = !makes_last_useless(search, &search->items[idle]) && place(search, idle, search->state, true);
        return placed ? ADVANCED : DEAD;
    }
    struct memo_entry entry = {{search->placed[0], search->placed[1]}, search->state, search->before};
    enum memo_result result = memo_add(&search->memo, &entry);
    if (result == MEMO_FULL || search->states.texts.bytes > search->memory_bytes) {
        return OUT_OF_MEMORY;
    }
    return result == MEMO_ADDED && place_next(search, ITEM_NONE, end) ? ADVANCED : DEAD;
}

static enum search_result run(struct search *search)
{
    while (search->known > 0) {
        if (is_exhausted(search)) {
            return SEARCH_GAVE_UP;
        }
        uint32_t end = first_end(search);
        search->furthest = end > search->furthest ? end : search->furthest;
        enum advance result = advance(search, end);
        if (result == OUT_OF_MEMORY) {
            return SEARCH_GAVE_UP;
        }
        if (result == DEAD && !backtrack(search)) {
            return is_exhausted(search) ? SEARCH_GAVE_UP : SEARCH_NOT_LINEARIZABLE;
        }
    }
    return SEARCH_LINEARIZABLE;
}

enum search_result search_run(struct search *search, uint64_t *steps_left)
{
    search->steps_maximum = *steps_left;
    enum search_result result = run(search);
    *steps_left -= search->steps < *steps_left ? search->steps : *steps_left;
    return result;
}

const uint32_t *search_placed(struct search *search, uint32_t *ret_count)
{
    for (uint32_t i = 0; i < search->depth; i++) {
        search->listing[i] = search->items[search->frames[i].item].source;
    }
    *ret_count = search->depth;
    return search->listing;
}

uint64_t search_reached(const struct search *search)
{
    return search->history->operations[search->items[search->links[search->furthest].item].source].end;
}

size_t search_configurations(const struct search *search) { return search->memo.count; }
