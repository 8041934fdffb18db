/* Why a group of keys has no order, as text for people. */
#include "base/assert.h"
#include "check/check_words.h"

enum { SHOWN_OPERATIONS = 8, SHOWN_UNITS = 16 };

struct group_text {
    const struct check *check;
    const struct check_group *group;
    uint64_t first;
    struct buffer *out;
};

static void write_operation(const struct group_text *text, uint32_t number)
{
    const struct history *history = text->check->history;
    const struct history_operation *operation = &history->operations[number];
    const struct history_kind_facts *facts = history_kind_facts(operation->kind);
    words_text(history_text(history, operation->key), text->out);
    if (facts->has_field) {
        buffer_append_string(text->out, " field ");
        words_text(history_text(history, operation->field), text->out);
    }
    buffer_append_byte(text->out, ' ');
    words_call(history, operation, text->out);
    buffer_append_string(text->out, " → ");
    if (operation->outcome == HISTORY_UNKNOWN && operation->shape != HISTORY_RESULT_NONE) {
        struct history_operation found = *operation;
        found.outcome = HISTORY_OK;
        words_result(history, &found, text->out);
    } else {
        words_result(history, operation, text->out);
    }
}

/* True when the operation is about a key that the circle is about, or about none of few. */
static bool is_shown(const struct group_text *text, uint32_t number)
{
    const struct history_operation *operation = &text->check->history->operations[number];
    const struct serial_finding *finding = &text->group->finding;
    for (uint32_t i = 0; i < finding->edge_count; i++) {
        const struct check_key *key = &text->check->keys[text->group->keys[finding->edges[i].object]];
        if (finding->edges[i].reason != SERIAL_ENDED_BEFORE && key->key == operation->key &&
            key->field == operation->field) {
            return true;
        }
    }
    return finding->edge_count == 0 && (number == finding->operation || number == finding->other);
}

static void write_unit(const struct group_text *text, uint32_t name, uint32_t first)
{
    const struct history *history = text->check->history;
    const struct history_operation *operation = &history->operations[first];
    uint32_t end = history_unit_end(history, first);
    uint32_t shown = 0;
    uint32_t left_out = 0;
    buffer_append_format(text->out, "  T%u: process %u, ", name, operation->process);
    words_time(text->first, operation->start, text->out);
    buffer_append_string(text->out, " to ");
    words_time(text->first, operation->end, text->out);
    buffer_append_format(text->out, " ms, %s\n", history_outcome_name((enum history_outcome)operation->outcome));
    for (uint32_t i = first; i < end; i++) {
        if (shown == SHOWN_OPERATIONS || !is_shown(text, i)) {
            left_out++;
            continue;
        }
        buffer_append_string(text->out, "      ");
        write_operation(text, i);
        buffer_append_byte(text->out, '\n');
        shown++;
    }
    if (left_out > 0) {
        buffer_append_format(text->out, "      … and %u more\n", left_out);
    }
}

static void write_edge(const struct group_text *text, uint32_t at)
{
    static const char *const middles[] = {
        [SERIAL_OVERWROTE] = " wrote what was there before T",
        [SERIAL_WAS_SEEN] = " wrote what was seen by T",
        [SERIAL_SAW_BEFORE] = " did not see the write of T",
        [SERIAL_ENDED_BEFORE] = " had ended before the start of T",
    };
    const struct serial_finding *finding = &text->group->finding;
    const struct serial_edge *edge = &finding->edges[at];
    buffer_append_format(text->out, "  T%u is before T%u: T%u%s%u", at + 1, (at + 1) % finding->edge_count + 1, at + 1,
                         middles[edge->reason], (at + 1) % finding->edge_count + 1);
    if (edge->reason != SERIAL_ENDED_BEFORE) {
        buffer_append_string(text->out, ", of ");
        words_key(text->check, &text->check->keys[text->group->keys[edge->object]], text->out);
    }
    buffer_append_byte(text->out, '\n');
}

static uint32_t first_of(const struct history *history, uint32_t number)
{
    uint32_t transaction = history->operations[number].transaction;
    return transaction == HISTORY_ALONE ? number : transaction;
}

/* What one transaction saw that it cannot have seen. */
static void write_sight(const struct group_text *text)
{
    static const char *const words[SERIAL_KINDS] = {
        [SERIAL_OWN_WRITE] = "T1 did not find what it had found or written itself",
        [SERIAL_NEVER_WRITTEN] = "T1 saw what nobody wrote",
        [SERIAL_ABORTED] = "T1 saw what T2 wrote, which failed",
        [SERIAL_INTERMEDIATE] = "T1 saw what T2 had not finished",
        [SERIAL_TWICE] = "T1 saw the append of T2 where it cannot be, or again",
        [SERIAL_LISTS_DIFFER] = "T1 and T2 saw appends in different orders",
        [SERIAL_NO_ORDER] = "T1 was told what cannot be",
    };
    const struct serial_finding *finding = &text->group->finding;
    const struct history *history = text->check->history;
    ASSERT(words[finding->kind] != NULL);
    write_unit(text, 1, first_of(history, finding->operation));
    if (finding->other != TEXTS_NONE) {
        write_unit(text, 2, first_of(history, finding->other));
    }
    buffer_append_format(text->out, "  %s.\n", words[finding->kind]);
}

void check_write_group(const struct check *check, const struct check_group *group, struct buffer *out)
{
    ASSERT(group->verdict == CHECK_NOT_LINEARIZABLE);
    const struct group_text text = {check, group, words_first_start(check->history), out};
    const struct serial_finding *finding = &group->finding;
    buffer_append_format(out, "%u transactions over %u keys and fields: %s\n", group->transactions, group->key_count,
                         serial_name(finding->kind));
    if (finding->edge_count == 0) {
        write_sight(&text);
        return;
    }
    for (uint32_t i = 0; i < finding->edge_count && i < SHOWN_UNITS; i++) {
        write_unit(&text, i + 1, finding->edges[i].from);
    }
    for (uint32_t i = 0; i < finding->edge_count; i++) {
        write_edge(&text, i);
    }
    buffer_append_string(out, "  So there is no first one of them.\n");
}
