/* What a run of the simulator consists of: whole nodes or groups alone, which classes of faults, how many, and how
 * large the world is. A profile is drawn from the seed; text can change parts of it, so that a failing run can be made
 * smaller and still be replayed. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum sim_level {
    SIM_LEVEL_GROUPS, /* group_run.h */
    SIM_LEVEL_NODES,  /* node_run.h */
    SIM_LEVEL_PHASES, /* phases_run.h; only when it is named */
    SIM_LEVEL_TEXTBOOK,
    SIM_LEVEL_TXN_2PC, /* txn_run.h; only when it is named */
    SIM_LEVEL_TXN_3PC,
    SIM_LEVEL_EXTERNAL, /* external_run.h; the same */
    SIM_LEVELS,
};
const char *sim_level_name(enum sim_level level);

enum sim_fault_class {
    SIM_FAULT_NETWORK = 1 << 0, /* loss, repetition, delay, one-way and full partitions */
    SIM_FAULT_DISK = 1 << 1,    /* errors, a full disk, slow syncs, large sectors */
    SIM_FAULT_CRASH = 1 << 2,   /* kill, power loss of one or all, crash points between disk operations */
    SIM_FAULT_TIMING = 1 << 3,  /* pauses, clocks that run fast or slow, wall clocks that jump */
    SIM_FAULT_CLASSES = 4,
    /* Plans: several faults in an order that a known kind of bug would not survive (group_plans.c, node_plans.c). */
    SIM_FAULT_SPLIT = 1 << 4,    /* a leader hears late answers while others elect another; clients at both */
    SIM_FAULT_BLACKOUT = 1 << 5, /* power goes right after an acknowledgement, and a bare majority comes back first */
    SIM_FAULT_VOTES = 1 << 6,    /* who has just voted loses power, and is back while others still stand */
    SIM_FAULT_COMEBACK = 1 << 7, /* a leader comes back with what it could not commit, and goes again */
    SIM_PLANS_END = 8,
    SIM_FAULT_PLANS = (1 << SIM_PLANS_END) - (1 << SIM_FAULT_CLASSES),
    /* Of nodes only, and in addition to those above. */
    SIM_FAULT_ROT = 1 << 8,    /* a byte changes on the disk of a node that is down; of one node in a run */
    SIM_FAULT_MEMORY = 1 << 9, /* an allocation fails, and the process ends */
    SIM_FAULT_ALL = (1 << 10) - 1,
};

enum {
    SIM_PROFILE_TEXT_BYTES = 240,
    SIM_MEMBERS = 5,
    SIM_GROUPS = 16,
    SIM_CLIENTS = 16,
    SIM_FAULTS = 500,
    SIM_NODE_WORKERS = 3
};

struct sim_profile {
    enum sim_level level;
    uint32_t classes;
    int members;  /* 3 or 5 */
    int groups;   /* with a member on every node; of nodes: shards */
    int replicas; /* of nodes: voters of a shard */
    int clients;  /* of groups, each has at most one request at a time */
    int faults;   /* then everything heals */
    int workers;  /* of nodes: most have so many, one may have one less */
    int flush;    /* of nodes: 1: clients say FLUSHALL, and of the rest what it may meet */
    int feeds;    /* of nodes: 1: followers, with COHORT.FEED */
    int sessions; /* of nodes: 1: clients have sessions, too; not together with flush */
    int scripts;  /* of nodes: 1: clients count by scripts, too */
    int messages; /* of nodes: 1: some clients subscribe and publish */
    int locks;    /* of nodes: 1: clients take locks, too */
    int holders;  /* of nodes: 1: some clients hold a lock for longer than they may, and show tokens to a resource */
    int services; /* of nodes: 1: registrants and watchers of services */
    int meets;    /* of nodes: 1: they campaign in elections, and meet at barriers and latches */
    int moves;    /* of nodes: 1: somebody says who is to lead */
    int levels;   /* of nodes: 1: some clients read at levels of consistency; not together with flush */
    int changes;  /* of groups: 1: members come and go */
};

/* Changes are words and sizes separated by commas: "groups,network,crash,members=5,groups=1,clients=4,faults=20".
 * Classes that are named (or "all", "none") replace those drawn. Empty text or "random": as drawn. STATUS_INVALID. */
MUST_USE enum status sim_profile_draw(uint64_t seed, const char *changes, struct sim_profile *ret_profile);
/* A text that sim_profile_draw takes, and that says all. */
void sim_profile_text(const struct sim_profile *profile, char ret_text[SIM_PROFILE_TEXT_BYTES]);
