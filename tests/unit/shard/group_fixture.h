/* One group of three members in the simulator: loss, repetition, delay and reordering of messages, partitions, crashes
 * that lose what was not synced, pauses and slow syncs. The test is its client. */
#pragma once

#include "shard/shard.h"
#include "sim.h"

#define MS INT64_C(1000000)

enum { GROUP_MEMBERS = 3, GROUP_FLYING = 20000, GROUP_ID = 7 };

struct group;

struct group_member {
    struct group *group;
    int number;
    struct env *env;
    struct store *store; /* NULL while it is down */
    struct shard *shard;
    bool failed;
    char failure[512];       /* when failed: what the store said */
    int64_t paused_until_ns; /* what is sent to it arrives when it goes on; asked by a client it answers at once: as if
                              * it had just woken up */
    struct buffer reply;     /* of group_begin */
    struct resp_writer writer;
};

struct group_flight {
    int64_t at_ns;
    int from, to;
    struct buffer bytes;
};

struct group {
    struct sim *sim;
    struct group_member members[GROUP_MEMBERS];
    struct group_flight *flights;
    int flight_count;
    bool cut[GROUP_MEMBERS][GROUP_MEMBERS];
    bool lease_reads;
    uint32_t lose_one_in, repeat_one_in;
    int64_t delay_ns;
    struct shard_sink sink; /* owner: the member */
    /* Each half of a millisecond, while the clients are awake. */
    void (*client)(struct group *group);
    /* A member went down: what its clients were waiting for they will never learn. May be NULL. */
    void (*stopped)(struct group *group, int number);
    uint64_t leaders, transfers;
    uint64_t installs, repeated; /* of members that went down, all of them after group_check_agreed */
};

/* Starts the members; `send` and `led` of the sink are the fixture's, callbacks are set before. */
void group_start(struct group *group, uint64_t seed);
/* Ends everything; the hash of all that happened. */
uint64_t group_end(struct group *group);

/* The sink's begin: into member->reply. */
struct resp_writer *group_begin(void *owner, void *origin, uint64_t tag);
uint64_t group_draw(struct group *group, uint64_t bound);
/* One that believes to lead, any of them; or NULL. */
struct group_member *group_leader(struct group *group);
void group_member_start(struct group_member *member);
void group_member_stop(struct group_member *member, enum sim_crash how);
void group_member_pause(struct group_member *member, int64_t duration_ns);
void group_run_for(struct group *group, int64_t duration_ns, bool clients);
void group_fault(struct group *group);
/* Ends all faults; every member is up. */
void group_heal(struct group *group);
/* After quiet time: all members tell the same state and the same leader, which is returned. */
struct group_member *group_check_agreed(struct group *group);
