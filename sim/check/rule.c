#include "check/rule.h"

#include "base/assert.h"
#include "base/buffer.h"
#include "base/number.h"

bool states_number(const struct states *states, uint32_t state, int64_t *ret_number)
{
    return state >= STATE_TEXTS && state != STATE_NONE && number_parse_int64(states_text(states, state), ret_number);
}

static uint32_t add_number(struct states *states, int64_t number)
{
    char text[NUMBER_INT64_BYTES];
    return states_add(states, slice_of(text, number_format_int64(text, number)));
}

/* ---- the rules of the kinds ---- */

struct operands {
    const struct history *history;
    const struct history_operation *operation;
    struct states *states;
    bool known; /* the outcome is */
    bool done;  /* a flag's result is 1, or not known */
};

static uint32_t value_of(const struct operands *o)
{
    return states_add(o->states, history_text(o->history, o->operation->value));
}

static struct rule write_rule(enum rule_condition condition, uint32_t value)
{
    return (struct rule){.condition = (uint8_t)condition, .effect = RULE_WRITE, .value = value};
}

/* What a reply that tells the value demands; ANY when the reply is not known. */
static void demand_result(const struct operands *o, struct rule *rule)
{
    if (o->known && o->operation->shape == HISTORY_RESULT_NULL) {
        rule->condition = RULE_ABSENT;
    } else if (o->known) {
        rule->condition = RULE_EQUALS;
        rule->expected = states_add(o->states, history_text(o->history, o->operation->result_text));
    }
}

static struct rule get_rule(const struct operands *o)
{
    struct rule rule = {.effect = RULE_KEEP};
    demand_result(o, &rule);
    return rule;
}

static struct rule getset_rule(const struct operands *o)
{
    struct rule rule = write_rule(RULE_ANY, value_of(o));
    demand_result(o, &rule);
    return rule;
}

/* A GETDEL that found nothing, or that may have, did nothing. */
static struct rule getdel_rule(const struct operands *o)
{
    struct rule rule = {.condition = RULE_PRESENT, .effect = RULE_DELETE};
    demand_result(o, &rule);
    if (rule.condition == RULE_ABSENT) {
        rule.effect = RULE_KEEP;
    }
    return rule;
}

static struct rule del_rule(const struct operands *o)
{
    return o->done ? (struct rule){.condition = RULE_PRESENT, .effect = RULE_DELETE}
                   : (struct rule){.condition = RULE_ABSENT, .effect = RULE_KEEP};
}

static struct rule clear_rule(const struct operands *o)
{
    (void)o;
    return (struct rule){.condition = RULE_ANY, .effect = RULE_DELETE};
}

static struct rule setnx_rule(const struct operands *o)
{
    return o->done ? write_rule(RULE_ABSENT, value_of(o))
                   : (struct rule){.condition = RULE_PRESENT, .effect = RULE_KEEP};
}

/* HSET tells whether the field is new. */
static struct rule hset_rule(const struct operands *o)
{
    return write_rule(!o->known ? RULE_ANY : o->done ? RULE_ABSENT : RULE_PRESENT, value_of(o));
}

static struct rule ifeq_rule(const struct operands *o)
{
    struct rule rule =
        o->done ? write_rule(RULE_EQUALS, value_of(o)) : (struct rule){.condition = RULE_DIFFERS, .effect = RULE_KEEP};
    rule.expected = states_add(o->states, history_text(o->history, o->operation->expected));
    return rule;
}

static struct rule append_rule(const struct operands *o)
{
    struct rule rule = {.condition = RULE_ANY, .effect = RULE_APPEND, .value = value_of(o)};
    if (o->known) {
        struct slice added = history_text(o->history, o->operation->value);
        rule.condition = o->operation->result_number < (int64_t)added.size ? RULE_NEVER : RULE_LENGTH;
        rule.number = o->operation->result_number - (int64_t)added.size;
    }
    return rule;
}

/* An increment that told its result says what was there before. */
static struct rule incr_rule(const struct operands *o)
{
    int64_t before;
    if (!o->known) {
        return (struct rule){.condition = RULE_ANY, .effect = RULE_ADD, .number = o->operation->by};
    }
    if (__builtin_sub_overflow(o->operation->result_number, o->operation->by, &before)) {
        return (struct rule){.condition = RULE_NEVER, .effect = RULE_KEEP};
    }
    struct rule rule =
        write_rule(before == 0 ? RULE_ZERO : RULE_EQUALS, add_number(o->states, o->operation->result_number));
    rule.expected = add_number(o->states, before);
    return rule;
}

struct rule rule_of(const struct history *history, const struct history_operation *operation, struct states *states)
{
    static struct rule (*const rules[HISTORY_KINDS])(const struct operands *) = {
        [HISTORY_GET] = get_rule,       [HISTORY_SETNX] = setnx_rule,  [HISTORY_GETSET] = getset_rule,
        [HISTORY_GETDEL] = getdel_rule, [HISTORY_DEL] = del_rule,      [HISTORY_IFEQ] = ifeq_rule,
        [HISTORY_APPEND] = append_rule, [HISTORY_INCR] = incr_rule,    [HISTORY_HGET] = get_rule,
        [HISTORY_HSET] = hset_rule,     [HISTORY_HSETNX] = setnx_rule, [HISTORY_HDEL] = del_rule,
        [HISTORY_HINCRBY] = incr_rule,  [HISTORY_CLEAR] = clear_rule,
    };
    ASSERT(operation->outcome != HISTORY_FAILED);
    /* What an operation of an open transaction found holds if that took effect; a plain reply tells nothing more. */
    bool told = operation->transaction != HISTORY_ALONE && operation->shape != HISTORY_RESULT_NONE;
    bool known = operation->outcome == HISTORY_OK || told;
    const struct operands operands = {
        .history = history,
        .operation = operation,
        .states = states,
        .known = known,
        .done = !known || operation->result_number == 1,
    };
    struct rule rule =
        operation->kind == HISTORY_SET ? write_rule(RULE_ANY, value_of(&operands)) : rules[operation->kind](&operands);
    rule.optional = operation->outcome != HISTORY_OK;
    return rule;
}

/* ---- steps ---- */

static bool holds(const struct rule *rule, const struct states *states, uint32_t state)
{
    switch ((enum rule_condition)rule->condition) {
    case RULE_ANY: return true;
    case RULE_PRESENT: return state != STATE_ABSENT;
    case RULE_ABSENT:
    case RULE_EQUALS: return state == rule->expected;
    case RULE_DIFFERS: return state != rule->expected;
    case RULE_ZERO: return state == STATE_ABSENT || state == rule->expected;
    case RULE_LENGTH: return (state == STATE_ABSENT ? 0 : (int64_t)states_text(states, state).size) == rule->number;
    case RULE_NEVER: return false;
    }
    UNREACHABLE();
}

static bool add(const struct rule *rule, struct states *states, uint32_t state, uint32_t *ret_state)
{
    int64_t number = 0;
    if ((state != STATE_ABSENT && !states_number(states, state, &number)) ||
        __builtin_add_overflow(number, rule->number, &number)) {
        return false;
    }
    *ret_state = add_number(states, number);
    return true;
}

static uint32_t append(const struct rule *rule, struct states *states, uint32_t state)
{
    if (state == STATE_ABSENT) {
        return rule->value;
    }
    struct buffer joined;
    buffer_init(&joined);
    buffer_append_slice(&joined, states_text(states, state));
    buffer_append_slice(&joined, states_text(states, rule->value));
    uint32_t after = states_add(states, buffer_slice(&joined));
    buffer_deinit(&joined);
    return after;
}

bool rule_step(const struct rule *rule, struct states *states, uint32_t state, uint32_t *ret_state)
{
    if (!holds(rule, states, state)) {
        return false;
    }
    switch ((enum rule_effect)rule->effect) {
    case RULE_KEEP: *ret_state = state; return true;
    case RULE_WRITE:
    case RULE_DELETE: *ret_state = rule->value; return true;
    case RULE_ADD: return add(rule, states, state, ret_state);
    case RULE_APPEND: *ret_state = append(rule, states, state); return true;
    }
    UNREACHABLE();
}
