/* The inside of a run of groups; for group_*.c only. */
#pragma once

#include "base/buffer.h"
#include "cluster/group_move.h"
#include "env/timer_heap.h"
#include "group_run.h"
#include "shard/shard.h"
#include "sim.h"
#include "wire/resp_writer.h"

#define MS INT64_C(1000000)

enum { WORD_BYTES = 6, FINAL_OPERATIONS = 20 };

enum operation_kind {
    OPERATION_APPEND,
    OPERATION_READ,
    OPERATION_SET_EXPIRING,
    OPERATION_READ_EXPIRING,
    OPERATION_SET_LARGE, /* larger than a message of consensus aims to be */
};
enum operation_state { OPERATION_OPEN, OPERATION_ACKNOWLEDGED, OPERATION_RETURNED, OPERATION_UNCERTAIN };

/* A request; its number is its tag, and an append's is its word. */
struct operation {
    enum operation_kind kind;
    enum operation_state state;
    int group, member; /* the member that was asked */
    int64_t asked_ns;
    size_t floor;    /* the longest text known to be there when it was asked */
    size_t position; /* append: where its word ends, by its reply */
    int64_t ttl_ms;
    int64_t gone_ns; /* set: when it was first seen to be gone; 0: not yet */
    size_t subject;  /* read of a key that expires: the operation that set it */
};

struct world;

struct group_state {
    struct buffer known;   /* the longest text seen */
    size_t floor;          /* of replies given */
    struct buffer leaders; /* int by term: member + 1; 0: none */
    struct buffer digests; /* uint64_t by applied index; 0: not seen */
    uint64_t geneses;      /* proposals of the first entry */
};

struct replica {
    struct member *member;
    uint32_t group; /* from 1 */
    struct shard *shard;
    uint64_t applied_index; /* when last looked */
    bool leading;
    struct group_move move;
};

struct member {
    struct world *world;
    int number;
    struct env *env;
    struct store *store; /* NULL while it is down */
    struct replica replicas[SIM_GROUPS];
    bool failed;  /* its store */
    bool crashed; /* by a crash point; to be closed */
    bool doomed;  /* it loses power after this step, for a moment */
    struct env_timer restart;
    struct flight *inbox; /* arrived, for its next turn; in order */
    struct flight **inbox_end;
    struct buffer reply;
    struct resp_writer writer;
};

struct flight {
    struct flight *next; /* in the inbox */
    struct env_timer timer;
    struct world *world;
    int from, to;
    uint32_t group;
    size_t drawn; /* in the diagram */
    struct buffer bytes;
};

struct client {
    struct env_timer timer;
    struct world *world;
};

/* Who is to vote in a group, as a bit for each member. */
struct group_wish {
    uint32_t voters;
    uint32_t known[SIM_MEMBERS]; /* what each member has heard of it */
};

struct group_plan {
    int kind; /* a class of the profile; 0: none runs */
    int stage, group;
    int first, second; /* members: who led when it began, who led next (−1: nobody yet) */
    int64_t until_ns;
    int64_t cut_at_ns[SIM_MEMBERS];
    uint64_t applied;
    bool acknowledged; /* since it began */
};

struct world {
    struct sim *sim;
    struct sim_profile profile;
    struct sim_mutation mutation;
    struct sim_record record;
    struct sim_result *result;
    struct timer_heap events; /* messages, clients, faults, restarts */
    struct member members[SIM_MEMBERS];
    struct group_state groups[SIM_GROUPS];
    struct client clients[SIM_CLIENTS];
    struct group_wish wishes[SIM_GROUPS];
    struct env_timer change;
    struct buffer operations; /* of struct operation */
    struct env_timer fault, plan_timer;
    struct group_plan plan;
    int faults_left;
    int hasty_faults; /* so many follow each other quickly */
    bool healed, clients_stopped;
    uint64_t snapshot_log_bytes;
    uint32_t turn_steps; /* as store_options.turn_steps */

    bool cut[SIM_MEMBERS][SIM_MEMBERS];
    uint32_t lose_one_in, repeat_one_in, slow_one_in;
    int64_t delay_ns;
    int64_t way_delay_ns[SIM_MEMBERS][SIM_MEMBERS]; /* up to so much more */
    bool way_closed[SIM_MEMBERS][SIM_MEMBERS];      /* as a cut, but what is on its way arrives */
};

/* ---- group_world.c ---- */
uint64_t world_draw(struct world *world, enum sim_draw stream, uint64_t bound);
/* The first failure counts; the run ends. */
__attribute__((format(printf, 2, 3))) void world_fail(struct world *world, const char *format, ...);
/* A line in the diagram; member -1: all. */
__attribute__((format(printf, 4, 5))) void world_note(struct world *world, int member, enum diagram_mark mark,
                                                      const char *format, ...);
void world_reach(struct world *world, enum sim_mark mark, uint64_t times);
void world_run_for(struct world *world, int64_t duration_ns);
void world_look(struct world *world);
void member_start(struct member *member);
/* Ends the process, or what a crash point left of it. */
void member_stop(struct member *member, enum sim_crash how);
void member_restart_after(struct member *member, int64_t delay_ms);
/* True when nothing that it says is heard any more. */
bool member_mute(const struct member *member);
/* One that believes to lead; drawn when there are several; NULL. */
struct replica *world_leader(struct world *world, int group, enum sim_draw stream);

/* ---- group_client.c ---- */
struct operation *world_operation(struct world *world, uint64_t number);
size_t world_operation_count(const struct world *world);
void client_fire(struct env_timer *timer);
/* Asks; returns the operation's number. */
uint64_t client_ask(struct replica *replica, enum operation_kind kind, size_t subject);
void client_answered(struct member *member, uint64_t number, struct slice reply);
void client_settled(struct world *world, uint64_t number, enum operation_state state);
/* What was asked of it will never be answered. */
void client_forget(struct world *world, int member);
/* The final text against every operation. */
void client_check_final(struct world *world, int group);

/* ---- group_plans.c ---- */
void group_plan_fire(struct env_timer *timer);
/* After each step of the world. */
void group_plan_step(struct world *world);
/* False: to this one only reads are sent, so that none waits behind a write that must wait. */
bool group_plan_lets_write(const struct replica *replica);
void group_plan_sent(struct replica *replica, int kind);

/* ---- group_changes.c ---- */
/* How many members vote in the beginning: the first ones. */
size_t changes_first_voters(const struct world *world);
void changes_start(struct world *world);
/* From now on every member knows who is to vote. */
void changes_end(struct world *world);
/* It votes in the group, as its leader knows: it must have all, in the end. */
bool changes_belongs(struct replica *leader, const struct member *member);
/* The group has the members that it was to have. */
bool changes_done(struct replica *leader);

/* ---- group_faults.c ---- */
void fault_fire(struct env_timer *timer);
void faults_heal(struct world *world);
