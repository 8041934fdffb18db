#include "check/serial_state.h"

/* What is known of the object while a unit's operations pass. */
#define UNKNOWN STATE_NONE

static void note_read(struct touch *touch, const struct rule *rule)
{
    if (touch->read != READ_NOTHING) {
        return;
    }
    switch ((enum rule_condition)rule->condition) {
    case RULE_ANY: break;
    case RULE_ABSENT: touch->read = READ_ABSENT; break;
    case RULE_EQUALS:
        touch->read = READ_VALUE;
        touch->read_value = rule->expected;
        break;
    case RULE_LENGTH:
        touch->read = READ_LENGTH;
        touch->length = rule->number;
        break;
    case RULE_PRESENT:
    case RULE_DIFFERS:
    case RULE_ZERO:
    case RULE_NEVER: touch->read = READ_SOMETHING; break;
    }
}

/* What the first operations of a unit tell of what it found; the state after this one, or UNKNOWN. */
static uint32_t from_unknown(struct object *object, struct touch *touch, const struct rule *rule)
{
    if (touch->write == WRITE_NOTHING) {
        note_read(touch, rule);
    }
    bool found = touch->write == WRITE_NOTHING && (rule->condition == RULE_EQUALS || rule->condition == RULE_ABSENT);
    uint32_t state = found ? (rule->condition == RULE_ABSENT ? STATE_ABSENT : rule->expected) : UNKNOWN;
    switch ((enum rule_effect)rule->effect) {
    case RULE_KEEP: return state;
    case RULE_WRITE:
    case RULE_DELETE: return rule->value;
    case RULE_ADD: return UNKNOWN;
    case RULE_APPEND:
        if (state == UNKNOWN || object->is_list) {
            return UNKNOWN;
        }
        return rule_step(rule, &object->states, state, &state) ? state : UNKNOWN;
    }
    UNREACHABLE();
}

/* An operation of a transaction of unknown outcome may have found its condition false, and changed nothing. */
static bool is_vague(const struct history_operation *operation, const struct rule *rule)
{
    return rule->optional && operation->transaction != HISTORY_ALONE && operation->shape == HISTORY_RESULT_NONE &&
           rule->condition != RULE_ANY;
}

/* False when the operation did not find what the unit itself had found or written before. */
static bool pass(struct object *object, struct touch *touch, const struct rule *rule, uint32_t *state)
{
    uint32_t next = UNKNOWN;
    bool is_write = rule->effect != RULE_KEEP;
    if (object->is_list && is_write) { /* its text would grow with the list's; the lengths tell the same */
        if (touch->write == WRITE_NOTHING) {
            note_read(touch, rule);
        }
    } else if (*state == UNKNOWN) {
        next = from_unknown(object, touch, rule);
    } else if (!rule_step(rule, &object->states, *state, &next)) {
        return false;
    }
    if (is_write) {
        touch->write = object->is_list ? WRITE_APPEND : next == UNKNOWN ? WRITE_ANYTHING : WRITE_VALUE;
        touch->write_value = next;
    }
    *state = next;
    return true;
}

static bool only_appends(const struct serial *serial, const struct object *object)
{
    bool appends = false;
    for (uint32_t i = 0; i < object->of.count; i++) {
        enum history_kind kind = serial_operation(serial, object, i)->kind;
        if (kind != HISTORY_APPEND && kind != HISTORY_GET) {
            return false;
        }
        appends = appends || kind == HISTORY_APPEND;
    }
    return appends;
}

void serial_touches(struct serial *serial, struct object *object, const uint32_t *unit_of)
{
    object->touches = serial_allocate(object->of.count, sizeof(*object->touches));
    object->is_list = only_appends(serial, object);
    struct touch *touch = NULL;
    uint32_t state = UNKNOWN;
    for (uint32_t i = 0; i < object->of.count; i++) {
        const struct history_operation *operation = serial_operation(serial, object, i);
        uint32_t number = object->of.operations[i];
        uint32_t unit = unit_of[operation->transaction == HISTORY_ALONE ? number : operation->transaction];
        if (touch == NULL || touch->unit != unit) {
            touch = &object->touches[object->count++];
            *touch = (struct touch){
                .unit = unit,
                .first = i,
                .writer = SERIAL_NOBODY,
                .seen = SERIAL_NOBODY,
                .place = SERIAL_NOBODY,
            };
            state = UNKNOWN;
        }
        touch->count++;
        struct rule rule = rule_of(serial->history, operation, &object->states);
        if (is_vague(operation, &rule)) {
            serial->units[unit].vague = true;
            touch->write = WRITE_ANYTHING;
            state = UNKNOWN;
        } else if ((rule.condition == RULE_NEVER || !pass(object, touch, &rule, &state)) &&
                   serial->units[unit].needed) {
            serial_found(serial, rule.condition == RULE_NEVER ? SERIAL_NO_ORDER : SERIAL_OWN_WRITE, number, TEXTS_NONE);
        }
    }
}
