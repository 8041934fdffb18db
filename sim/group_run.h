/* Replicated groups under faults, from one seed: 3 or 5 members, each with one store and a shard of every group.
 *
 * Clients append words that are never used twice to one key of a group, read it, and set keys that expire. A run has a
 * safety phase, in which the profile's faults happen, then everything heals and must converge.
 *
 * What is checked all the time
 *  1. One leader per term. 2. Equal state digests at equal applied index, at all members, after restarts too.
 *  3. Linearizability of the key: a reply (the text, or its length after an append) is never behind one that was given
 *     before the request was asked, and every text is a beginning of every longer one.
 *  4. A key with a time to live is there until its time has passed, and once gone stays gone.
 *  5. No message of a member is refused as corrupt, and no start fails but by an error of the disk.
 * and in the end
 *  6. Each group has a leader, all members have applied the same and have equal digests, no request is open but at
 *     members that crashed, and what was to expire is gone.
 *  7. Each acknowledged word stands once, where its reply said; each returned one ("definitely not executed") not at
 *     all; each uncertain one at most once; nothing else is there. */
#pragma once

#include "diagram.h"
#include "profile.h"

#include "base/slice.h"

/* What a long run must have reached at least once. */
enum group_mark {
    GROUP_MARK_SNAPSHOT_INSTALLED,
    GROUP_MARK_TRUNCATION,       /* entries were replaced after a conflict */
    GROUP_MARK_ORPHAN_RETURNED,  /* a request of a lost leadership was found not executed */
    GROUP_MARK_ORPHAN_EXECUTED,  /* … and executed after all */
    GROUP_MARK_WAITING_RETURNED, /* leadership went while a write waited for its place in the log */
    GROUP_MARK_READ_VOID,        /* leadership went while a read waited for its round */
    GROUP_MARK_UNCERTAIN,        /* a client will never know */
    GROUP_MARK_SNAPSHOT_RESTART, /* a member started from a snapshot */
    GROUP_MARK_GENESIS_AGAIN,    /* a second leader proposed a group's first entry */
    GROUP_MARK_CRASH_POINT,      /* power went between two operations of the disk */
    GROUP_MARK_STORE_FAILED,     /* a disk error stopped a member */
    GROUP_MARK_EXPIRED,          /* a key was seen to be gone after its time */
    GROUP_MARK_ALL_DOWN,         /* all members were without power at once */
    GROUP_MARK_TWO_LEADERS,      /* two members believed to lead a group at once */
    GROUP_MARKS,
};
const char *group_mark_name(enum group_mark mark);

/* Known bugs, to prove that they would be seen. Those of consensus and of the shard need libraries built with
 * COHORT_MUTATIONS. */
struct group_mutation {
    bool no_sync;    /* syncs of the disk do nothing */
    int raft, shard; /* enum raft_mutation, enum shard_mutation */
};

struct group_result {
    bool failed;
    char failure[240];
    int64_t virtual_ns; /* how long the run was; when it failed */
    uint64_t trace;     /* hash over all that happened */
    uint64_t marks[GROUP_MARKS];
    uint64_t acknowledged, returned, uncertain, reads;
    uint64_t leaders, messages;
};

/* mutation and diagram may be NULL. A broken assertion aborts: see group_hunt.h. */
void group_run(uint64_t seed, const struct sim_profile *profile, const struct group_mutation *mutation,
               struct diagram *diagram, struct group_result *ret_result);
