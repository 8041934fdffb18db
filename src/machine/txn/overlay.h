/* A few keys of one shard copied aside, commands run over them, and what they would write.
 *
 * The machine makes one at each PREPARE; a node that runs a transaction for a client makes one for each shard that the
 * transaction touches, from the answers of COHORT.DUMP, and takes from it the checks and writes of its PREPAREs.
 *
 * Invariants
 * 1. Only keys that were loaded may be touched by commands that are run (the caller's part, asserted nowhere: a key
 *    that was not loaded looks absent, and its change would be lost). But FLUSHALL: it removes what was loaded, and
 *    overlay_flushed tells the caller about all others.
 * 2. The overlay's time is that of its shard, as the caller sets it; it never goes back. A key due by it is absent.
 * 3. Replies are those that the commands would give in the keyspace itself, but COHORT.GETV of a key that was changed
 * here tells a version that no key has. */
#pragma once

#include "base/prng.h"
#include "command/command.h"
#include "machine/keys/keyspace.h"
#include "machine/session/session_id.h"
#include "wire/resp_writer.h"

struct machine_scripts;
struct scripts_spent;
struct machine_events;
struct overlay;
struct ties;

/* `hash_seed`: any; iteration order of large hashes follows it, so the shard's own gives the shard's order. */
struct overlay *overlay_create(uint64_t hash_seed);
void overlay_destroy(struct overlay *overlay);
/* EVAL runs with these, and counts there what it uses (both borrowed); without, it answers an error. */
void overlay_use_scripts(struct overlay *overlay, const struct machine_scripts *scripts, struct scripts_spent *spent);
/* What they publish goes there (borrowed); without, nowhere. */
void overlay_listen(struct overlay *overlay, struct machine_events *events);
/* The sessions of its keys are those that are tied to the machine's shard (borrowed; NULL: no longer). Without, it has
 * ties of its own, which are open (machine/session/ties.h): what is loaded names sessions that its shard is tied to. */
void overlay_use_ties(struct overlay *overlay, struct ties *ties);
/* Of ties of its own: a session that was named here, and that its shard may not be tied to. False: there is none. */
bool overlay_untied(const struct overlay *overlay, struct session_id *ret_id);
/* It is tied now. */
void overlay_tied(struct overlay *overlay, struct session_id id);
/* Empty again; what it has allocated is kept. */
void overlay_clear(struct overlay *overlay);

void overlay_set_time(struct overlay *overlay, int64_t time_ms, int64_t wall_ms);

/* Brings a key in, once: its version, and its value as entry_dump makes it, or an empty slice when it is not there.
 * CORRUPT: these bytes are no value; the key is not loaded. */
MUST_USE enum status overlay_load(struct overlay *overlay, struct slice key, uint64_t version, struct slice value);
bool overlay_has(const struct overlay *overlay, struct slice key);
/* The version with which it was loaded; false when it was not. */
bool overlay_version(const struct overlay *overlay, struct slice key, uint64_t *ret_version);
/* Gives the key (loaded before) this value, or none: a change as by a command. */
MUST_USE enum status overlay_put(struct overlay *overlay, struct slice key, struct slice value);
/* The entry of a key that was loaded, or NULL when it is absent now. */
const struct entry *overlay_look(const struct overlay *overlay, struct slice key);
/* Appends its value as it is now; nothing when it is absent. */
void overlay_dump(const struct overlay *overlay, struct slice key, struct buffer *out);

/* True for commands that can be run: at the machine, with keys of their own (not EXEC, KEYS, FLUSHALL …). */
bool overlay_takes(const struct command *command);
/* Runs it, or one that overlay_flushes, and writes its reply. */
void overlay_run(struct overlay *overlay, const struct command *command, struct resp_writer *reply);
/* FLUSHALL or FLUSHDB: to be run, too. */
bool overlay_flushes(const struct command *command);
/* One was run, and its arguments were right: every key that is not loaded is gone. */
bool overlay_flushed(const struct overlay *overlay);

/* What looks at all keys see of one. */
enum overlay_shape { SHAPE_NONE, SHAPE_STRING, SHAPE_HASH, SHAPES };

struct overlay_key {
    struct slice key; /* borrowed until the overlay is changed */
    uint64_t version; /* as loaded */
    bool changed;     /* a watcher of the key would see it */
    bool present;     /* now */
    enum overlay_shape shape;
};
size_t overlay_count(const struct overlay *overlay);
/* In the order in which they were loaded. */
void overlay_at(const struct overlay *overlay, size_t at, struct overlay_key *ret_key);
/* False when the key was not loaded. */
bool overlay_shape(const struct overlay *overlay, struct slice key, enum overlay_shape *ret_shape);
/* From now on looks see it so: what a transaction has made of it by then is known elsewhere, and its value is put
 * later. Nothing but `shape` is touched. False when the key was not loaded. */
bool overlay_seem(struct overlay *overlay, struct slice key, enum overlay_shape shape);
/* To looks no other key is there, as behind a FLUSHALL. */
void overlay_seem_flushed(struct overlay *overlay);
/* Its keys and values as they are now: alike on every replica. */
size_t overlay_value_bytes(const struct overlay *overlay);
/* What it holds. */
size_t overlay_memory_bytes(const struct overlay *overlay);
/* A little of freeing what is large; true when more is left. */
bool overlay_work(struct overlay *overlay);
