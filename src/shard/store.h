/* What the shards of one worker share: one log, so that a turn of the loop costs one sync however many shards it
 * touched, and one timer for consensus.
 *
 * A turn: every shard hears the time, takes what arrived, and hands its entries to the log → one flush → what is
 * durable is told to every shard → what others wait for leaves → what is committed is applied. So members work at the
 * next entry while the leader executes the last one, and their own execution makes nobody wait.
 *
 * Between two turns nobody hears this node, so a turn applies STORE_TURN_STEPS of work and one command beyond at most,
 * of all shards together, and no further script STORE_TURN_MS after the first; what is left of an entry is applied in
 * the turns that follow. The shard that used it up comes last in them.
 *
 * One command may be a script, and where many processes want the processor its few milliseconds take a second. So do
 * the copies of a value of 30 MB: into the batch, the log, one queue for each peer, and the keyspace. While a script
 * runs, or waits for the engine that other workers have, and between and within such copies, every shard says now and
 * then that its member lives: what leads sends heartbeats, what follows answers its leader once more (shard_sink.beat,
 * raft_take_beat). Nothing else happens meanwhile. */
#pragma once

#include "env/env.h"
#include "log/log.h"

struct shard;
struct store;

/* A step is some 2 to 20 ns of a script (script/README.md); a command, and an entry, counts as
 * STORE_COMMAND_STEPS, and 16 bytes of an entry as one. A turn's clients (SERVER_COMMANDS_PER_TURN) have room in it. */
enum { STORE_TURN_STEPS = 1000 * 1000, STORE_COMMAND_STEPS = 50, STORE_TURN_MS = 50, STORE_BEAT_MS = 20 };

struct store_options {
    const char *directory;                 /* of log and snapshots; exists */
    uint64_t log_segment_bytes;            /* as log_options.segment_bytes */
    struct folder_name folder;             /* of `directory`: what belongs to another one is refused */
    const struct machine_scripts *scripts; /* as machine_options.scripts; borrowed */
    uint32_t turn_steps;                   /* 0: STORE_TURN_STEPS */
};

struct store_events {
    /* The log failed, or an entry could not be applied: the node must stop. Called once. */
    void (*failed)(void *owner, enum status status, const char *what);
    /* The turn's messages are with the sinks, and a sync may follow, which others need not wait for. May be NULL. */
    void (*before_sync)(void *owner);
    /* Sinks were given beats, in the middle of a turn. May be NULL. */
    void (*beat)(void *owner);
    /* What is committed is about to be executed, and reads are to be answered, which takes its time. `entries`: there
     * is something committed, and what the sync of this turn has brought for others is with the sinks. May be NULL. */
    void (*before_apply)(void *owner, bool entries);
};

/* Opens and recovers the log; the shards come with shard_open. */
MUST_USE enum status store_open(struct env *env, const struct store_options *options, const struct store_events *events,
                                void *owner, struct store **ret_store, char *ret_message, size_t message_capacity);
/* After all its shards are closed. Takes NULL. */
void store_close(struct store *store);
/* Once per turn. True when there is more to do without waiting for an event. */
bool store_turn(struct store *store);
/* Those of the options, and beats meanwhile; NULL: none. */
const struct machine_scripts *store_scripts(const struct store *store);
/* Beside anything else that takes its time: says that the members live, if that is due. */
void store_beat(struct store *store);
/* Nothing is on the way to the disk. */
bool store_idle(const struct store *store);
