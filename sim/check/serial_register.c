/* Objects that are written whole: who wrote what was read follows from the value, when it was written once. */
#include "check/serial_state.h"

struct version {
    uint32_t writers;
    uint32_t writer;      /* a touch that left it */
    uint32_t overwritten; /* operation that wrote it, though its unit left something else */
    uint32_t failed;      /* operation that wrote it and failed */
    uint32_t reader;      /* lists of touches that read it: the last one */
};

struct versions {
    struct version *items; /* by state */
    uint32_t *previous;    /* readers, by touch */
    bool loose;            /* something may have left anything */
};

/* The values that operations wrote, whatever became of them. */
static uint32_t value_written(const struct history_operation *operation)
{
    const struct history_kind_facts *facts = history_kind_facts(operation->kind);
    return facts->has_value && operation->kind != HISTORY_APPEND ? operation->value : TEXTS_NONE;
}

static struct version *version_of_text(const struct serial *serial, struct versions *versions,
                                       const struct object *object, uint32_t text)
{
    uint32_t state = texts_find(&object->states.texts, history_text(serial->history, text));
    return state == TEXTS_NONE ? NULL : &versions->items[state + STATE_TEXTS];
}

static void note_operations(struct serial *serial, const struct object *object, struct versions *versions)
{
    for (uint32_t i = 0; i < object->of.count + object->of.failed; i++) {
        uint32_t text = value_written(serial_operation(serial, object, i));
        struct version *version = text == TEXTS_NONE ? NULL : version_of_text(serial, versions, object, text);
        if (version != NULL) {
            *(i < object->of.count ? &version->overwritten : &version->failed) = object->of.operations[i];
        }
    }
}

static struct versions versions_of(struct serial *serial, const struct object *object)
{
    uint32_t states = object->states.texts.count + STATE_TEXTS;
    struct versions versions = {
        .items = serial_allocate(states, sizeof(*versions.items)),
        .previous = serial_allocate(object->count, sizeof(*versions.previous)),
    };
    for (uint32_t s = 0; s < states; s++) {
        versions.items[s] = (struct version){0, SERIAL_NOBODY, TEXTS_NONE, TEXTS_NONE, SERIAL_NOBODY};
    }
    for (uint32_t t = 0; t < object->count; t++) {
        const struct touch *touch = &object->touches[t];
        versions.loose = versions.loose || touch->write == WRITE_ANYTHING;
        if (touch->write == WRITE_VALUE) {
            versions.items[touch->write_value].writers++;
            versions.items[touch->write_value].writer = t;
        }
    }
    note_operations(serial, object, &versions);
    return versions;
}

static void versions_deinit(struct versions *versions)
{
    free(versions->items);
    free(versions->previous);
}

/* A value that no unit left. */
static void find_source(struct serial *serial, const struct object *object, const struct touch *touch,
                        const struct version *version)
{
    uint32_t number = object->of.operations[touch->first];
    bool own = version->overwritten >= number &&
               version->overwritten <= object->of.operations[touch->first + touch->count - 1];
    if (version->overwritten != TEXTS_NONE && version->writers == 0 && !own) {
        serial_found(serial, SERIAL_INTERMEDIATE, number, version->overwritten);
    } else if (version->failed != TEXTS_NONE) {
        serial_found(serial, SERIAL_ABORTED, number, version->failed);
    } else {
        serial_found(serial, SERIAL_NEVER_WRITTEN, number, TEXTS_NONE);
    }
}

void serial_register_writers(struct serial *serial, struct object *object)
{
    struct versions versions = versions_of(serial, object);
    for (uint32_t t = 0; t < object->count; t++) {
        struct touch *touch = &object->touches[t];
        bool known = serial->units[touch->unit].needed;
        const struct version *absent = &versions.items[STATE_ABSENT];
        if (versions.loose && touch->read != READ_NOTHING) {
            continue;
        }
        if (touch->read == READ_ABSENT && absent->writers == 0) {
            touch->writer = SERIAL_START;
        } else if (touch->read == READ_VALUE) {
            const struct version *version = &versions.items[touch->read_value];
            bool own = version->writers == 1 && version->writer == t;
            if ((version->writers == 0 || own) && known) {
                find_source(serial, object, touch, version);
            } else if (version->writers == 1 && !own) {
                touch->writer = version->writer;
            }
        }
    }
    versions_deinit(&versions);
}

/* ---- arcs ---- */

static void add(struct serial *serial, uint32_t number, uint32_t from, uint32_t to, enum serial_reason reason)
{
    if (from != to) {
        serial_add_arc(serial, &(struct arc){.from = from, .to = to, .object = number, .reason = (uint8_t)reason});
    }
}

/* The needed readers of each version in a list; STATE_ABSENT's are those of the beginning. */
static void list_readers(const struct serial *serial, const struct object *object, struct versions *versions)
{
    for (uint32_t t = 0; t < object->count; t++) {
        const struct touch *touch = &object->touches[t];
        if (touch->writer != SERIAL_NOBODY && serial_needed(serial, touch)) {
            struct version *version =
                &versions->items[touch->writer == SERIAL_START ? STATE_ABSENT : touch->read_value];
            versions->previous[t] = version->reader;
            version->reader = t;
        }
    }
}

/* Those who saw a version come before whoever saw and replaced it. Two that did are a circle; more add nothing. */
static void readers_before(struct serial *serial, const struct object *object, const struct versions *versions,
                           uint32_t number, const struct version *version)
{
    uint32_t replaced = 0;
    for (uint32_t s = version->reader; s != SERIAL_NOBODY && replaced < 2; s = versions->previous[s]) {
        if (object->touches[s].write == WRITE_NOTHING) {
            continue;
        }
        replaced++;
        for (uint32_t r = version->reader; r != SERIAL_NOBODY; r = versions->previous[r]) {
            add(serial, number, object->touches[r].unit, object->touches[s].unit, SERIAL_SAW_BEFORE);
        }
    }
}

/* Who saw that nothing was there yet comes before all who wrote. */
static void readers_of_nothing(struct serial *serial, const struct object *object, const struct versions *versions,
                               uint32_t number)
{
    for (uint32_t w = 0; w < object->count; w++) {
        const struct touch *touch = &object->touches[w];
        if (touch->write == WRITE_NOTHING || !serial_needed(serial, touch) || touch->writer == SERIAL_START) {
            continue;
        }
        /* One reader is enough for each blind writer, the last to begin; the replay finds what else must be. */
        uint32_t r = versions->items[STATE_ABSENT].reader;
        if (r != SERIAL_NOBODY) {
            add(serial, number, object->touches[r].unit, touch->unit, SERIAL_SAW_BEFORE);
        }
    }
}

void serial_register_arcs(struct serial *serial, struct object *object, uint32_t number)
{
    struct versions versions = versions_of(serial, object);
    list_readers(serial, object, &versions);
    for (uint32_t t = 0; t < object->count; t++) {
        const struct touch *touch = &object->touches[t];
        if (touch->writer < object->count && serial_needed(serial, touch)) {
            add(serial, number, object->touches[touch->writer].unit, touch->unit, SERIAL_WAS_SEEN);
        }
    }
    for (uint32_t s = 0; s < object->states.texts.count + STATE_TEXTS; s++) {
        readers_before(serial, object, &versions, number, &versions.items[s]);
    }
    readers_of_nothing(serial, object, &versions, number);
    versions_deinit(&versions);
}
