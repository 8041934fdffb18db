#include "base/memory.h"
#include "check/anomaly.h"

#include <stdlib.h>

/* What was appended, as texts by number: how often asked for, how often seen. */
struct pieces {
    const struct partition *partition;
    struct texts texts;
    uint32_t *asked;
    uint32_t *seen;
    size_t longest;
};

static const struct history_operation *operation_at(const struct partition *partition, uint32_t at)
{
    return &partition->history->operations[partition->operations[at]];
}

static struct slice piece_of(const struct pieces *pieces, uint32_t at)
{
    return history_text(pieces->partition->history, operation_at(pieces->partition, at)->value);
}

/* False when something else than appends changes the value. */
static bool pieces_init(struct pieces *pieces, const struct partition *partition)
{
    *pieces = (struct pieces){.partition = partition};
    texts_init(&pieces->texts);
    pieces->asked = memory_allocate_zeroed(partition->count + (size_t)1, sizeof(*pieces->asked));
    pieces->seen = memory_allocate_zeroed(partition->count + (size_t)1, sizeof(*pieces->seen));
    for (uint32_t i = 0; i < partition->count; i++) {
        if (operation_at(partition, i)->kind == HISTORY_APPEND) {
            struct slice piece = piece_of(pieces, i);
            pieces->longest = piece.size > pieces->longest ? piece.size : pieces->longest;
            pieces->asked[texts_add(&pieces->texts, piece)]++;
        } else if (operation_at(partition, i)->kind != HISTORY_GET) {
            return false;
        }
    }
    return true;
}

static void pieces_deinit(struct pieces *pieces)
{
    texts_deinit(&pieces->texts);
    free(pieces->asked);
    free(pieces->seen);
}

/* The longest piece at the front of the text, or TEXTS_NONE. */
static uint32_t front_piece(const struct pieces *pieces, struct slice text)
{
    for (size_t size = text.size < pieces->longest ? text.size : pieces->longest; size > 0; size--) {
        uint32_t piece = texts_find(&pieces->texts, slice_of(text.data, size));
        if (piece != TEXTS_NONE) {
            return piece;
        }
    }
    return TEXTS_NONE;
}

static struct anomaly judge(struct pieces *pieces, uint32_t operation)
{
    const struct partition *partition = pieces->partition;
    const struct history_operation *read = &partition->history->operations[operation];
    struct slice rest = history_text(partition->history, read->result_text);
    while (rest.size > 0) {
        uint32_t piece = front_piece(pieces, rest);
        if (piece == TEXTS_NONE) {
            return (struct anomaly){ANOMALY_NEVER_WRITTEN, operation, TEXTS_NONE};
        }
        size_t size = texts_get(&pieces->texts, piece).size;
        rest = slice_of(rest.data + size, rest.size - size);
        pieces->seen[piece]++;
    }
    for (uint32_t i = 0; i < partition->count; i++) {
        const struct history_operation *append = operation_at(partition, i);
        if (append->kind != HISTORY_APPEND || piece_of(pieces, i).size == 0) {
            continue;
        }
        uint32_t piece = texts_find(&pieces->texts, piece_of(pieces, i));
        if (pieces->seen[piece] > pieces->asked[piece]) {
            return (struct anomaly){ANOMALY_APPLIED_TWICE, operation, partition->operations[i]};
        }
        if (pieces->seen[piece] > 0 && append->start > read->end) {
            return (struct anomaly){ANOMALY_FROM_THE_FUTURE, operation, partition->operations[i]};
        }
        if (pieces->seen[piece] == 0 && append->end < read->start) {
            return (struct anomaly){ANOMALY_STALE_READ, operation, partition->operations[i]};
        }
    }
    return (struct anomaly){ANOMALY_NONE, operation, TEXTS_NONE};
}

struct anomaly anomaly_of_append(const struct partition *partition, uint32_t operation)
{
    struct pieces pieces;
    struct anomaly anomaly = {ANOMALY_NONE, operation, TEXTS_NONE};
    const struct history_operation *read = &partition->history->operations[operation];
    if (pieces_init(&pieces, partition) && read->kind == HISTORY_GET && read->outcome == HISTORY_OK) {
        anomaly = judge(&pieces, operation);
    }
    pieces_deinit(&pieces);
    return anomaly;
}
