/* Objects that are made by appends alone: the longest text that anybody saw, and the lengths that the appends told,
 * give the order of all of them. */
#include "check/serial_state.h"

#include "base/assert.h"

struct filling {
    struct serial *serial;
    struct object *object;
    struct slice longest; /* text that was seen */
    uint32_t seen_by;     /* the operation */
    int64_t at;           /* so much of it has its appends */
    uint32_t *told;       /* touches that append and told where, by place */
    uint32_t told_count;
    uint32_t *open; /* those that did not, and are not placed */
    uint32_t open_count;
    bool broken; /* what was seen cannot be put together */
};

static struct slice appended(const struct filling *filling, const struct touch *touch, uint32_t at)
{
    const struct history_operation *operation = serial_operation(filling->serial, filling->object, touch->first + at);
    bool appends = operation->kind == HISTORY_APPEND;
    return appends ? history_text(filling->serial->history, operation->value) : slice_of(NULL, 0);
}

static int64_t appended_bytes(const struct filling *filling, const struct touch *touch)
{
    int64_t size = 0;
    for (uint32_t i = 0; i < touch->count; i++) {
        size += (int64_t)appended(filling, touch, i).size;
    }
    return size;
}

/* Where a touch says that it began, or -1. */
static int64_t told_place(const struct object *object, const struct touch *touch)
{
    switch ((enum touch_read)touch->read) {
    case READ_ABSENT: return 0;
    case READ_VALUE: return (int64_t)states_text(&object->states, touch->read_value).size;
    case READ_LENGTH: return touch->length;
    case READ_NOTHING:
    case READ_SOMETHING: break;
    }
    return -1;
}

/* True when what it appended stands there in the longest text, as far as that goes. */
static bool stands_at(const struct filling *filling, const struct touch *touch, int64_t at)
{
    for (uint32_t i = 0; i < touch->count; i++) {
        struct slice text = appended(filling, touch, i);
        int64_t left = (int64_t)filling->longest.size - at;
        size_t compared = left <= 0 ? 0 : (size_t)left < text.size ? (size_t)left : text.size;
        ASSERT(compared == 0 || filling->longest.data != NULL);
        if (compared > 0 &&
            !slice_equal(slice_of(filling->longest.data + at, compared), slice_of(text.data, compared))) {
            return false;
        }
        at += (int64_t)text.size;
    }
    return true;
}

static uint32_t operation_of(const struct filling *filling, const struct touch *touch)
{
    return filling->object->of.operations[touch->first];
}

static void place(struct filling *filling, uint32_t t)
{
    struct object *object = filling->object;
    object->touches[t].place = object->list_count;
    object->list[object->list_count++] = t;
    filling->at += appended_bytes(filling, &object->touches[t]);
    filling->serial->units[object->touches[t].unit].needed = true;
}

/* An append of unknown outcome that stands where the next one is missing; `gap` bytes are, at most. Where nobody looked
 * it is known only when no other could have been there. */
static bool place_open(struct filling *filling, int64_t gap)
{
    bool seen = filling->at < (int64_t)filling->longest.size;
    uint32_t fitting = TEXTS_NONE;
    uint32_t fits = 0;
    for (uint32_t i = 0; i < filling->open_count; i++) {
        const struct touch *touch = &filling->object->touches[filling->open[i]];
        int64_t size = appended_bytes(filling, touch);
        bool told = told_place(filling->object, touch) < 0 || told_place(filling->object, touch) == filling->at;
        if (told && size > 0 && size <= gap && (!seen || stands_at(filling, touch, filling->at))) {
            fitting = i;
            fits++;
        }
    }
    if (fits != 1 || (!seen && appended_bytes(filling, &filling->object->touches[filling->open[fitting]]) != gap)) {
        filling->serial->unsure = filling->serial->unsure || fits > 0;
        filling->broken = fits > 0;
        return false;
    }
    uint32_t t = filling->open[fitting];
    filling->open[fitting] = filling->open[--filling->open_count];
    place(filling, t);
    return true;
}

/* What stands at the place in the longest text was appended by nobody that is left. */
static void explain_gap(struct filling *filling)
{
    filling->broken = true;
    const struct object *object = filling->object;
    struct slice rest = slice_of(filling->longest.data + filling->at, filling->longest.size - (size_t)filling->at);
    for (uint32_t i = 0; i < object->of.count + object->of.failed; i++) {
        const struct history_operation *operation = serial_operation(filling->serial, object, i);
        struct slice text = operation->kind == HISTORY_APPEND ? history_text(filling->serial->history, operation->value)
                                                              : slice_of(NULL, 0);
        if (text.size > 0 && text.size <= rest.size && memcmp(text.data, rest.data, text.size) == 0) {
            serial_found(filling->serial, i < object->of.count ? SERIAL_TWICE : SERIAL_ABORTED, filling->seen_by,
                         object->of.operations[i]);
            return;
        }
    }
    serial_found(filling->serial, SERIAL_NEVER_WRITTEN, filling->seen_by, TEXTS_NONE);
}

/* Two that began at the same length each saw the list without the other. */
static void clash(struct filling *filling, uint32_t t)
{
    struct object *object = filling->object;
    const struct touch *touch = &object->touches[t];
    const struct touch *before = &object->touches[object->list[object->list_count - 1]];
    filling->broken = true;
    uint32_t number = (uint32_t)(object - filling->serial->objects);
    if (told_place(object, touch) != told_place(object, before) || touch->unit == before->unit) {
        serial_found(filling->serial, SERIAL_LISTS_DIFFER, operation_of(filling, touch), operation_of(filling, before));
        return;
    }
    for (int way = 0; way < 2; way++) {
        serial_add_arc(filling->serial, &(struct arc){.from = way == 0 ? touch->unit : before->unit,
                                                      .to = way == 0 ? before->unit : touch->unit,
                                                      .object = number,
                                                      .reason = SERIAL_SAW_BEFORE});
    }
}

static void fill(struct filling *filling)
{
    for (uint32_t i = 0; i < filling->told_count && !filling->broken; i++) {
        const struct touch *touch = &filling->object->touches[filling->told[i]];
        int64_t begin = told_place(filling->object, touch);
        while (begin > filling->at && !filling->broken && place_open(filling, begin - filling->at)) {
        }
        if (filling->broken) {
            break;
        }
        if (begin > filling->at && filling->at < (int64_t)filling->longest.size) {
            explain_gap(filling);
        } else if (begin > filling->at) { /* nobody looked, and which of them it was nobody knows */
            filling->serial->unsure = true;
            filling->broken = true;
        } else if (begin < filling->at) {
            clash(filling, filling->told[i]);
        } else if (!stands_at(filling, touch, begin)) {
            serial_found(filling->serial, SERIAL_LISTS_DIFFER, filling->seen_by, operation_of(filling, touch));
            filling->broken = true;
        } else {
            place(filling, filling->told[i]);
        }
    }
    while (!filling->broken && filling->at < (int64_t)filling->longest.size) {
        if (!place_open(filling, (int64_t)filling->longest.size - filling->at) && !filling->broken) {
            explain_gap(filling);
        }
    }
}

static void find_longest(struct filling *filling)
{
    for (uint32_t i = 0; i < filling->object->of.count; i++) {
        const struct history_operation *operation = serial_operation(filling->serial, filling->object, i);
        if (operation->kind == HISTORY_GET && operation->outcome == HISTORY_OK &&
            operation->shape == HISTORY_RESULT_TEXT) {
            struct slice text = history_text(filling->serial->history, operation->result_text);
            if (text.size > filling->longest.size) {
                filling->longest = text;
                filling->seen_by = filling->object->of.operations[i];
            }
        }
    }
}

static int compare_places(const void *left, const void *right, void *owner)
{
    const struct object *object = owner;
    int64_t a = told_place(object, &object->touches[*(const uint32_t *)left]);
    int64_t b = told_place(object, &object->touches[*(const uint32_t *)right]);
    return a < b ? -1 : a > b;
}

/* ---- what was seen of the list ---- */

/* How many touches of the list make so many bytes; SERIAL_NOBODY when it is not a whole number of them. */
static uint32_t touches_in(const struct filling *filling, const int64_t *ends, int64_t bytes, uint32_t *ret_inside)
{
    uint32_t low = 0;
    uint32_t high = filling->object->list_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ends[middle] < bytes) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_inside = low;
    if (bytes == 0) {
        return 0;
    }
    return low < filling->object->list_count && ends[low] == bytes ? low + 1 : SERIAL_NOBODY;
}

static bool is_beginning(const struct filling *filling, struct slice text)
{
    return slice_starts_with(filling->longest, text);
}

/* What a touch saw of the list before it added to it. */
static void look(struct filling *filling, struct touch *touch, const int64_t *ends)
{
    uint32_t number = operation_of(filling, touch);
    if (touch->read == READ_ABSENT) {
        touch->seen = 0;
    } else if (touch->read == READ_VALUE) {
        struct slice text = states_text(&filling->object->states, touch->read_value);
        uint32_t inside;
        touch->seen = touches_in(filling, ends, (int64_t)text.size, &inside);
        bool known = serial_needed(filling->serial, touch) && text.size <= filling->longest.size;
        if (!is_beginning(filling, text)) {
            touch->seen = SERIAL_NOBODY;
            if (known) {
                serial_found(filling->serial, SERIAL_LISTS_DIFFER, number, filling->seen_by);
            }
        } else if (touch->seen == SERIAL_NOBODY && known) {
            const struct touch *half = &filling->object->touches[filling->object->list[inside]];
            serial_found(filling->serial, SERIAL_INTERMEDIATE, number, operation_of(filling, half));
        }
    }
}

/* What a touch that adds to the list found of it afterwards. */
static void look_at_own(struct filling *filling, const struct touch *touch, int64_t at)
{
    for (uint32_t i = 0; i < touch->count; i++) {
        const struct history_operation *operation =
            serial_operation(filling->serial, filling->object, touch->first + i);
        at += (int64_t)appended(filling, touch, i).size;
        if (operation->shape == HISTORY_RESULT_NONE) {
            continue;
        }
        struct slice text = operation->shape == HISTORY_RESULT_TEXT
                                ? history_text(filling->serial->history, operation->result_text)
                                : slice_of(NULL, 0);
        bool fits = operation->kind == HISTORY_APPEND ? operation->result_number == at
                                                      : (int64_t)text.size == at && is_beginning(filling, text);
        if (text.size > filling->longest.size) { /* only of unknown outcome: nobody else can say */
            filling->serial->unsure = true;
        } else if (!fits && i > 0) {
            serial_found(filling->serial, SERIAL_OWN_WRITE, filling->object->of.operations[touch->first + i],
                         TEXTS_NONE);
        }
    }
}

static void look_all(struct filling *filling)
{
    struct object *object = filling->object;
    int64_t *ends = serial_allocate(object->list_count, sizeof(*ends));
    int64_t at = 0;
    for (uint32_t i = 0; i < object->list_count; i++) {
        const struct touch *touch = &object->touches[object->list[i]];
        look_at_own(filling, touch, at);
        at += appended_bytes(filling, touch);
        ends[i] = at;
    }
    for (uint32_t t = 0; t < object->count; t++) {
        look(filling, &object->touches[t], ends);
        struct touch *touch = &object->touches[t];
        if (touch->seen != SERIAL_NOBODY) {
            touch->writer = touch->seen == 0 ? SERIAL_START : object->list[touch->seen - 1];
        }
    }
    free(ends);
}

void serial_list_writers(struct serial *serial, struct object *object)
{
    struct filling filling = {
        .serial = serial,
        .object = object,
        .seen_by = TEXTS_NONE,
        .told = serial_allocate(object->count, sizeof(uint32_t)),
        .open = serial_allocate(object->count, sizeof(uint32_t)),
    };
    object->list = serial_allocate(object->count, sizeof(*object->list));
    for (uint32_t t = 0; t < object->count; t++) {
        const struct touch *touch = &object->touches[t];
        if (touch->write == WRITE_APPEND && serial_needed(serial, touch) && told_place(object, touch) >= 0) {
            filling.told[filling.told_count++] = t;
        } else if (touch->write == WRITE_APPEND) {
            filling.open[filling.open_count++] = t;
        }
    }
    qsort_r(filling.told, filling.told_count, sizeof(*filling.told), compare_places, object);
    find_longest(&filling);
    fill(&filling);
    if (!filling.broken) {
        look_all(&filling);
    }
    free(filling.told);
    free(filling.open);
}

/* ---- arcs ---- */

static void add(struct serial *serial, uint32_t number, uint32_t from, uint32_t to, enum serial_reason reason)
{
    if (from != to) {
        serial_add_arc(serial, &(struct arc){.from = from, .to = to, .object = number, .reason = (uint8_t)reason});
    }
}

/* One that took effect, as something else of its transaction was seen, and stands in no text: behind the list. */
static void add_behind(struct serial *serial, const struct object *object, uint32_t number, const struct touch *behind)
{
    if (object->list_count > 0) {
        const struct touch *last = &object->touches[object->list[object->list_count - 1]];
        add(serial, number, last->unit, behind->unit, SERIAL_OVERWROTE);
    }
    for (uint32_t t = 0; t < object->count; t++) {
        const struct touch *touch = &object->touches[t];
        if (touch->seen == object->list_count && serial_needed(serial, touch)) {
            add(serial, number, touch->unit, behind->unit, SERIAL_SAW_BEFORE);
        }
    }
}

void serial_list_arcs(struct serial *serial, struct object *object, uint32_t number)
{
    for (uint32_t i = 1; i < object->list_count; i++) {
        add(serial, number, object->touches[object->list[i - 1]].unit, object->touches[object->list[i]].unit,
            SERIAL_OVERWROTE);
    }
    for (uint32_t t = 0; t < object->count; t++) {
        const struct touch *touch = &object->touches[t];
        if (!serial_needed(serial, touch)) {
            continue;
        }
        if (touch->seen != SERIAL_NOBODY && touch->seen > 0) {
            add(serial, number, object->touches[object->list[touch->seen - 1]].unit, touch->unit, SERIAL_WAS_SEEN);
        }
        if (touch->seen != SERIAL_NOBODY && touch->seen < object->list_count) {
            add(serial, number, touch->unit, object->touches[object->list[touch->seen]].unit, SERIAL_SAW_BEFORE);
        }
        bool behind = touch->write == WRITE_APPEND && touch->place == SERIAL_NOBODY;
        if ((touch->read == READ_VALUE && touch->seen == SERIAL_NOBODY) ||
            (behind && (touch->count > 1 || touch->read == READ_LENGTH))) {
            serial->unsure = true; /* what it found was not compared */
        }
        if (behind) {
            add_behind(serial, object, number, touch);
        }
    }
}
