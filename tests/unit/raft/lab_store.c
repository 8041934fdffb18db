/* What a member of the laboratory keeps: bytes, logs, operations that are not durable yet, snapshot files. */
#include "tests/unit/raft/lab.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/varint.h"

#include <stdlib.h>

struct lab_bytes *lab_bytes_make(const void *data, size_t size)
{
    struct lab_bytes *bytes = malloc(sizeof *bytes + size);
    ASSERT(bytes != NULL);
    bytes->refs = 1;
    bytes->size = (uint32_t)size;
    if (size > 0) {
        memcpy(bytes->data, data, size);
    }
    return bytes;
}

struct lab_bytes *lab_bytes_share(struct lab_bytes *bytes)
{
    bytes->refs++;
    return bytes;
}

void lab_bytes_release(struct lab_bytes *bytes)
{
    if (bytes != NULL && --bytes->refs == 0) {
        free(bytes);
    }
}

uint64_t lab_last(const struct lab_log *log) { return log->trimmed + log->count; }

const struct lab_entry *lab_entry(const struct lab_log *log, uint64_t index)
{
    return index > log->trimmed && index <= lab_last(log) ? &log->entries[index - log->trimmed - 1] : NULL;
}

void lab_log_drop_from(struct lab_log *log, uint64_t index)
{
    while (lab_last(log) >= index && log->count > 0) {
        lab_bytes_release(log->entries[--log->count].payload);
    }
}

static void log_append(struct lab_log *log, const struct lab_entry *entry)
{
    ASSERT(entry->index > log->trimmed && entry->index <= lab_last(log) + 1);
    lab_log_drop_from(log, entry->index);
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? 16 : log->capacity * 2;
        log->entries = realloc(log->entries, log->capacity * sizeof *log->entries);
        ASSERT(log->entries != NULL);
    }
    log->entries[log->count] = *entry;
    lab_bytes_share(entry->payload);
    log->count++;
}

static void log_trim(struct lab_log *log, uint64_t index, uint64_t term, bool all)
{
    if (all) {
        lab_log_drop_from(log, 0);
    }
    size_t gone = 0;
    while (gone < log->count && log->entries[gone].index <= index) {
        lab_bytes_release(log->entries[gone].payload);
        gone++;
    }
    memmove(log->entries, log->entries + gone, (log->count - gone) * sizeof *log->entries);
    log->count -= gone;
    log->trimmed = index;
    log->trimmed_term = term;
}

static void log_apply(struct lab_log *log, const struct lab_op *op)
{
    switch (op->kind) {
    case LAB_OP_HARD_STATE: log->hard_state = op->hard_state; break;
    case LAB_OP_TRIM: log_trim(log, op->entry.index, op->entry.term, false); break;
    case LAB_OP_TRIM_ALL: log_trim(log, op->entry.index, op->entry.term, true); break;
    case LAB_OP_ENTRY: log_append(log, &op->entry); break;
    case LAB_OP_END: break;
    }
}

void lab_log_copy(struct lab_log *to, const struct lab_log *from)
{
    lab_log_drop_from(to, 0);
    to->hard_state = from->hard_state;
    to->trimmed = from->trimmed;
    to->trimmed_term = from->trimmed_term;
    for (size_t i = 0; i < from->count; i++) {
        log_append(to, &from->entries[i]);
    }
}

void lab_op_push(struct lab_node *node, const struct lab_op *op)
{
    if (node->op_count == node->op_capacity) {
        node->op_capacity = node->op_capacity == 0 ? 16 : node->op_capacity * 2;
        node->ops = realloc(node->ops, node->op_capacity * sizeof *node->ops);
        ASSERT(node->ops != NULL);
    }
    node->ops[node->op_count++] = *op;
    log_apply(&node->latest, op);
}

/* The first `count` operations reach the disk; returns the number of the last ready among them that is complete. */
uint64_t lab_ops_settle(struct lab_node *node, size_t count)
{
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++) {
        struct lab_op *op = &node->ops[i];
        log_apply(&node->stable, op);
        if (op->kind == LAB_OP_ENTRY) {
            lab_bytes_release(op->entry.payload);
        }
        number = op->kind == LAB_OP_END ? op->number : number;
    }
    memmove(node->ops, node->ops + count, (node->op_count - count) * sizeof *node->ops);
    node->op_count -= count;
    return number;
}

/* A snapshot's bytes: state, configuration, filler, its maker, and a checksum over all that. */
void lab_file_make(struct lab_file *file, uint64_t index, uint64_t term, uint64_t maker, uint64_t state,
                   struct slice configuration)
{
    memset(file, 0, sizeof *file);
    uint64_t size = LAB_STATE_BYTES + 2 + configuration.size + 60 + index % 50 + 8;
    ASSERT(size + 8 <= LAB_FILE_BYTES);
    put_u64(file->bytes, state);
    put_u16(file->bytes + LAB_STATE_BYTES, (uint16_t)configuration.size);
    memcpy(file->bytes + LAB_STATE_BYTES + 2, configuration.data, configuration.size);
    put_u64(file->bytes + size - 8, maker);
    put_u64(file->bytes + size, hash_bytes(0, file->bytes, size));
    file->ident = (struct raft_snapshot_ident){
        .index = index, .term = term, .id = get_u64(file->bytes + size), .size_bytes = size + 8};
}

bool lab_file_read(const struct lab_file *file, uint64_t *ret_state, struct slice *ret_configuration)
{
    uint64_t size = file->ident.size_bytes - 8;
    if (get_u64(file->bytes + size) != hash_bytes(0, file->bytes, size)) {
        return false;
    }
    *ret_state = get_u64(file->bytes);
    *ret_configuration = slice_of(file->bytes + LAB_STATE_BYTES + 2, get_u16(file->bytes + LAB_STATE_BYTES));
    return true;
}
