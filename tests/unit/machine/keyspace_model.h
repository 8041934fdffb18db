/* A keyspace and a plain model of it, changed side by side by random operations and compared. */
#pragma once

#include "base/buffer.h"
#include "base/prng.h"
#include "machine/keys/keyspace.h"

enum { MODEL_KEYS = 220, MODEL_FIELDS = 900 };

struct model_key {
    char name[40];
    size_t name_size;
    bool present; /* in the keyspace, though it may be due */
    enum entry_type type;
    enum entry_encoding encoding;
    struct buffer string;
    uint32_t fields[MODEL_FIELDS]; /* 0: not there; else 1 + seed of the value */
    size_t field_count;
    enum due_kind due_kind;
    int64_t due_ms;
    uint64_t version;
    /* For WATCH: what keyspace_version said at the last look, whether the key was there, whether it changed since. */
    uint64_t watched;
    bool watched_live;
    bool changed;
};

struct model {
    struct keyspace *keyspace;
    struct prng prng;
    struct keyspace_time time;
    uint64_t position;
    struct model_key keys[MODEL_KEYS];
    /* the running snapshot */
    bool snapshot_runs;
    struct buffer records;
    uint64_t digest, memory_bytes, count;
    unsigned snapshots; /* checked so far */
};

struct model *model_create(uint64_t seed);
void model_destroy(struct model *model);
/* One random operation on both; checks what it returns. `large` allows strings of up to 300 KiB. */
void model_operate(struct model *model, bool large);
/* Compares everything that can be seen. */
void model_check(struct model *model);
/* Starts a snapshot, moves it on, or ends one and compares what it holds with the state at its begin. */
void model_snapshot(struct model *model, size_t budget_bytes);

/* Loads framed records into a new keyspace; asserts that each is taken. */
struct keyspace *load_records(uint64_t seed, struct slice records);

enum { MODEL_SEED = 7 };
