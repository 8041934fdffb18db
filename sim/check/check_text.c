/* What a check found, as text for people. */
#include "base/assert.h"
#include "check/check_words.h"

#include <stdio.h>

enum { SHOWN_PLACED = 12, SHOWN_STUCK = 20, CELL_BYTES = 192, COLUMNS = 6, KEY_COLUMN = 40 };

/* ---- words ---- */

static void write_state(const struct states *states, uint32_t state, struct buffer *out)
{
    if (state == STATE_ABSENT) {
        buffer_append_string(out, "nil");
    } else {
        words_text(states_text(states, state), out);
    }
}

static void write_demand(const struct states *states, const struct rule *rule, struct buffer *out)
{
    switch ((enum rule_condition)rule->condition) {
    case RULE_ANY: buffer_append_string(out, "fits, but does not help"); break;
    case RULE_ABSENT: buffer_append_string(out, "needs nil"); break;
    case RULE_PRESENT: buffer_append_string(out, "needs a value"); break;
    case RULE_DIFFERS:
    case RULE_EQUALS:
        buffer_append_string(out, rule->condition == RULE_EQUALS ? "needs " : "needs other than ");
        write_state(states, rule->expected, out);
        break;
    case RULE_ZERO: buffer_append_string(out, "needs nil or \"0\""); break;
    case RULE_LENGTH: buffer_append_format(out, "needs a length of %lld", (long long)rule->number); break;
    case RULE_NEVER: buffer_append_string(out, "can never be"); break;
    }
}

/* ---- the table ---- */

struct table {
    const struct history *history;
    uint64_t first; /* times are shown since then */
    struct states states;
    struct buffer cells; /* NUL-terminated, row by row */
    size_t widths[COLUMNS];
    uint32_t column;
};

/* The width on a screen: bytes that continue a UTF-8 character have none. */
static size_t width_of(const uint8_t *text, size_t size)
{
    size_t width = 0;
    for (size_t i = 0; i < size; i++) {
        width += (text[i] & 0xc0) != 0x80;
    }
    return width;
}

/* Ends the cell that began at `start`. */
static void end_cell(struct table *table, size_t start)
{
    size_t width = width_of(table->cells.data + start, table->cells.size - start);
    table->widths[table->column] = width > table->widths[table->column] ? width : table->widths[table->column];
    buffer_append_byte(&table->cells, '\0');
    table->column = (table->column + 1) % COLUMNS;
}

static void add_cell(struct table *table, const char *text)
{
    size_t start = table->cells.size;
    buffer_append_string(&table->cells, text);
    end_cell(table, start);
}

static void add_row(struct table *table, uint32_t number, const struct rule *rule, uint32_t state)
{
    const struct history_operation *operation = &table->history->operations[number];
    struct buffer *cells = &table->cells;
    size_t start = cells->size;
    words_time(table->first, operation->start, cells);
    end_cell(table, start);
    start = cells->size;
    words_time(table->first, operation->end, cells);
    end_cell(table, start);
    start = cells->size;
    buffer_append_format(cells, "%u", operation->process);
    end_cell(table, start);
    start = cells->size;
    words_call(table->history, operation, cells);
    end_cell(table, start);
    start = cells->size;
    words_result(table->history, operation, cells);
    end_cell(table, start);
    start = cells->size;
    if (rule == NULL) {
        write_state(&table->states, state, cells);
    } else {
        write_demand(&table->states, rule, cells);
    }
    end_cell(table, start);
}

static void flush_table(struct table *table, struct buffer *out)
{
    const uint8_t *at = table->cells.data;
    const uint8_t *end = at + table->cells.size;
    for (uint32_t column = 0; at < end; column = (column + 1) % COLUMNS) {
        size_t size = strlen((const char *)at);
        buffer_append_string(out, "  ");
        buffer_append(out, at, size);
        for (size_t pad = width_of(at, size); column + 1 < COLUMNS && pad < table->widths[column]; pad++) {
            buffer_append_byte(out, ' ');
        }
        if (column + 1 == COLUMNS) {
            buffer_append_byte(out, '\n');
        }
        at += size + 1;
    }
    buffer_clear(&table->cells);
}

static void add_titles(struct table *table, const char *last)
{
    static const char *const titles[] = {"START ms", "END ms", "PROCESS", "OPERATION", "RESULT"};
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        add_cell(table, titles[i]);
    }
    add_cell(table, last);
}

/* ---- the explanation ---- */

static void write_operation(const struct table *table, uint32_t number, struct buffer *out)
{
    const struct history_operation *operation = &table->history->operations[number];
    buffer_append_format(out, "process %u's ", operation->process);
    words_call(table->history, operation, out);
    buffer_append_string(out, " → ");
    words_result(table->history, operation, out);
    buffer_append_string(out, " (");
    words_time(table->first, operation->start, out);
    buffer_append_string(out, " to ");
    words_time(table->first, operation->end, out);
    buffer_append_string(out, " ms)");
}

static void write_anomaly(const struct table *table, const struct anomaly *anomaly, struct buffer *out)
{
    static const char *const relations[ANOMALY_KINDS] = {
        [ANOMALY_STALE_READ] = " does not see, though that had ended before it began, ",
        [ANOMALY_LOST_WRITE] = " does not see, and nobody else ever saw, though that had ended before it began, ",
        [ANOMALY_NEVER_WRITTEN] = " saw what nobody wrote",
        [ANOMALY_FROM_THE_FUTURE] = " saw what was written only after it had ended by ",
        [ANOMALY_APPLIED_TWICE] = " saw more than was asked for",
        [ANOMALY_WENT_BACK] = " saw less than there was, before it began, after ",
        [ANOMALY_SAME_NUMBER_TWICE] = " counted up to the same number as ",
    };
    if (anomaly->kind == ANOMALY_NONE) {
        return;
    }
    buffer_append_string(out, "  ");
    write_operation(table, anomaly->operation, out);
    buffer_append_string(out, relations[anomaly->kind]);
    if (anomaly->other != TEXTS_NONE) {
        buffer_append_string(out, anomaly->kind == ANOMALY_APPLIED_TWICE ? ", more than once the effect of " : "");
        write_operation(table, anomaly->other, out);
    }
    buffer_append_string(out, "\n");
}

/* The operations are applied again, all of them, to show the states. */
static void write_placed(struct table *table, const struct check_explanation *explanation, struct buffer *out)
{
    uint32_t count = explanation->placed_count;
    uint32_t first_shown = count > SHOWN_PLACED ? count - SHOWN_PLACED : 0;
    uint32_t state = STATE_ABSENT;
    buffer_append_format(out, "  The longest part that has an order: %u operations, of which the last %u.\n", count,
                         count - first_shown);
    add_titles(table, "STATE AFTER");
    for (uint32_t i = 0; i < count; i++) {
        const struct history_operation *operation = &table->history->operations[explanation->placed[i]];
        struct rule rule = rule_of(table->history, operation, &table->states);
        bool fits = rule_step(&rule, &table->states, state, &state);
        ASSERT(fits);
        if (i >= first_shown) {
            add_row(table, explanation->placed[i], NULL, state);
        }
    }
    flush_table(table, out);
}

static void write_stuck(struct table *table, const struct check_explanation *explanation, struct buffer *out)
{
    buffer_append_string(out, "  With the end of the first of these there is none; the others were open then.\n");
    add_titles(table, "IN THE STATE ABOVE");
    for (uint32_t i = 0; i < explanation->stuck_count && i < SHOWN_STUCK; i++) {
        const struct history_operation *operation = &table->history->operations[explanation->stuck[i]];
        struct rule rule = rule_of(table->history, operation, &table->states);
        add_row(table, explanation->stuck[i], &rule, STATE_ABSENT);
    }
    flush_table(table, out);
    if (explanation->stuck_count > SHOWN_STUCK) {
        buffer_append_format(out, "  … and %u more\n", explanation->stuck_count - SHOWN_STUCK);
    }
    if (explanation->unknown > 0) {
        buffer_append_format(out, "  Nor does any of the open operations of unknown outcome help (%u).\n",
                             explanation->unknown);
    }
}

static void write_findings(const struct check_explanation *explanation, struct buffer *out)
{
    const char *separator = "  In all operations of this key: ";
    for (int kind = ANOMALY_NONE + 1; kind < ANOMALY_KINDS; kind++) {
        if (explanation->anomalies->counts[kind] > 0) {
            buffer_append_format(out, "%s%s × %u", separator, anomaly_name((enum anomaly_kind)kind),
                                 explanation->anomalies->counts[kind]);
            separator = ", ";
        }
    }
    buffer_append_string(out, separator[0] == ',' ? "\n" : "");
}

void check_write_explanation(const struct check *check, const struct check_explanation *explanation, struct buffer *out)
{
    struct table table = {.history = check->history, .first = words_first_start(check->history)};
    states_init(&table.states);
    buffer_init(&table.cells);
    words_key(check, explanation->key, out);
    buffer_append_format(out, ": %s\n", anomaly_name(explanation->anomaly.kind));
    write_anomaly(&table, &explanation->anomaly, out);
    write_placed(&table, explanation, out);
    write_stuck(&table, explanation, out);
    write_findings(explanation, out);
    buffer_deinit(&table.cells);
    states_deinit(&table.states);
}

/* ---- the summary ---- */

static void write_line(const struct check *check, const struct check_key *key, struct buffer *out)
{
    size_t start = out->size;
    buffer_append_string(out, "  ");
    words_key(check, key, out);
    for (size_t width = width_of(out->data + start, out->size - start); width < KEY_COLUMN; width++) {
        buffer_append_byte(out, ' ');
    }
    buffer_append_format(out, "  %8u ok  %6u failed  %6u unknown  %s\n", key->ok, key->failed, key->unknown,
                         check_verdict_name(key->verdict));
}

void check_write_summary(const struct check *check, uint32_t lines, struct buffer *out)
{
    uint64_t ok = 0;
    uint64_t failed = 0;
    uint64_t unknown = 0;
    uint32_t written = 0;
    for (int good = 0; good <= 1; good++) {
        for (uint32_t i = 0; i < check->key_count; i++) {
            const struct check_key *key = &check->keys[i];
            if ((key->verdict == CHECK_LINEARIZABLE) == good && written < lines) {
                write_line(check, key, out);
                written++;
            }
        }
    }
    for (uint32_t i = 0; i < check->key_count; i++) {
        ok += check->keys[i].ok;
        failed += check->keys[i].failed;
        unknown += check->keys[i].unknown;
    }
    if (written < check->key_count) {
        buffer_append_format(out, "  … and %u more\n", check->key_count - written);
    }
    if (check->history->holds.count > 0) {
        buffer_append_format(out, "  %u holds and uses of locks: %s\n", check->history->holds.count,
                             hold_problem_name(check->holds.problem));
    }
    buffer_append_format(out, "%s: %u keys and fields, %llu operations ok, %llu failed, %llu unknown\n",
                         check_verdict_name(check->verdict), check->key_count, (unsigned long long)ok,
                         (unsigned long long)failed, (unsigned long long)unknown);
}
