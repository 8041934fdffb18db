#include "tests/unit/raft/random_run.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>

enum { MEMBERS = 6, HEAL_STEPS = 600 };

struct profile { /* chances in a thousand, per step or per packet */
    unsigned loss, duplicate, reorder;
    unsigned tick, sync, propose, read, crash, restart, cut, heal, pause, change, transfer, snapshot, breaks, gone;
    unsigned members;
    unsigned append_bytes, inflight, text_bytes, steps;
    bool drift, leases, only_leases;
};

struct run {
    struct lab lab;
    struct prng network, disk, fault, work; /* independent: a new draw in one leaves the others as they were */
    struct profile profile;
    uint64_t digest;
};

static unsigned maybe(struct prng *prng, unsigned value) { return prng_chance(prng, 1, 2) ? value : 0; }

/* Each class of faults is there in about half of the seeds. */
static void choose_profile(struct profile *p, struct prng *prng)
{
    *p = (struct profile){
        .loss = maybe(prng, 60),
        .duplicate = maybe(prng, 60),
        .reorder = maybe(prng, 300),
        .tick = 10 + (unsigned)prng_below(prng, 130),
        .sync = 60 + (unsigned)prng_below(prng, 300),
        .propose = 20 + (unsigned)prng_below(prng, 60),
        .read = 10 + (unsigned)prng_below(prng, 30),
        .crash = maybe(prng, 6),
        .restart = 12,
        .cut = maybe(prng, 8),
        .heal = 6,
        .pause = maybe(prng, 6),
        .change = maybe(prng, 10),
        .transfer = maybe(prng, 8),
        .snapshot = maybe(prng, 12),
        .breaks = maybe(prng, 10),
        .members = prng_chance(prng, 1, 10)  ? 1
                   : prng_chance(prng, 1, 3) ? 5
                                             : 3,
        .append_bytes = prng_chance(prng, 1, 2) ? 16 : 120,
        .inflight = 4,
        .text_bytes = prng_chance(prng, 1, 2) ? 4 : 24,
        .steps = 2500,
        .drift = prng_chance(prng, 1, 2),
        .leases = prng_chance(prng, 1, 2),
        .gone = maybe(prng, 10),
    };
    uint64_t kind = prng_below(prng, 5);
    if (kind == 0) { /* leaders come and go, each with entries that only some have */
        p->members = prng_chance(prng, 1, 3) ? 5 : 3;
        p->inflight = 1; /* entries of different terms go in different messages */
        p->append_bytes = 16;
        p->text_bytes = 24;
        p->tick = 100;
        p->sync = 300;
        p->propose = 60;
        p->crash = 12;
        p->restart = 60;
        p->cut = 12;
        p->heal = 12;
        p->steps = 6000;
        p->loss = p->change = p->snapshot = p->pause = p->transfer = p->breaks = 0;
    } else if (kind == 1) { /* a fast network and fast disks, so that an election fits into a lease */
        p->members = 3;
        p->leases = true;
        p->tick = 30;
        p->sync = 300;
        p->cut = 8;
        p->heal = 3;
        p->propose = 6;
        p->read = 60;
        p->only_leases = prng_chance(prng, 1, 2);
        p->crash = p->pause = p->change = p->loss = 0;
        p->steps = 4000;
    }
}

static void make_members(struct run *run, uint64_t seed)
{
    uint64_t ids[MEMBERS];
    for (unsigned i = 0; i < run->profile.members; i++) {
        ids[i] = i + 1;
    }
    struct raft_configuration first;
    enum status status = raft_configuration_make(ids, run->profile.members, NULL, 0, &first);
    ASSERT(status == STATUS_OK);
    for (uint64_t id = 1; id <= MEMBERS; id++) {
        struct raft_options options = lab_options(id, seed);
        options.lease_reads = run->profile.leases && (seed % 2 == 0 || id % 2 == 0); /* members need not be alike */
        options.append_bytes = run->profile.append_bytes;
        options.inflight_messages = run->profile.inflight;
        lab_add(&run->lab, &options, id <= run->profile.members ? &first : NULL);
        if (run->profile.drift) { /* within the bound that the leases assume */
            run->lab.nodes[id].clock_rate = 0.91 + (double)prng_below(&run->fault, 180) / 1000;
        }
    }
}

static uint64_t any_node(struct prng *prng) { return 1 + prng_below(prng, MEMBERS); }

/* A member that is up and believes to lead; 0 when the draw hits none. */
static uint64_t any_leader(struct run *run)
{
    uint64_t from = prng_below(&run->work, MEMBERS);
    for (uint64_t i = 0; i < MEMBERS; i++) {
        uint64_t id = 1 + (from + i) % MEMBERS;
        const struct lab_node *node = &run->lab.nodes[id];
        struct raft_status status;
        if (node->raft == NULL || node->paused) {
            continue;
        }
        raft_status(node->raft, &status);
        if (status.role == RAFT_LEADER) {
            return id;
        }
    }
    return 0;
}

static void step_deliver(struct run *run)
{
    struct lab *lab = &run->lab;
    if (lab->packet_count == 0) {
        return;
    }
    size_t at = prng_below(&run->network, lab->packet_count);
    if (!prng_chance(&run->network, run->profile.reorder, 1000)) {
        size_t first = 0; /* in the order of its link */
        while (lab->packets[first].from != lab->packets[at].from || lab->packets[first].to != lab->packets[at].to) {
            first++;
        }
        at = first;
    }
    if (prng_chance(&run->network, run->profile.loss, 1000) || lab->packet_count > 2000) {
        lab_drop(lab, at);
        return;
    }
    if (lab->nodes[lab->packets[at].to].paused) {
        return;
    }
    if (prng_chance(&run->network, run->profile.duplicate, 1000)) {
        lab_duplicate(lab, at);
    }
    const struct lab_packet *packet = &lab->packets[at];
    run->digest = hash_bytes(run->digest, packet->bytes->data, packet->bytes->size);
    lab_deliver(lab, at);
}

static void step_tick(struct run *run)
{
    double ms = (double)(1 + prng_below(&run->work, run->profile.members > 3 ? 5 : 10));
    for (uint64_t id = 1; id <= MEMBERS && !run->lab.failed; id++) {
        lab_tick(&run->lab, id, ms);
        if (run->lab.nodes[id].paused && id % 2 != 0) { /* it is in a long turn: else it is stopped */
            lab_beat(&run->lab, id);
        }
    }
}

static void step_sync(struct run *run)
{
    uint64_t id = any_node(&run->disk);
    struct lab_node *node = &run->lab.nodes[id];
    if (node->raft != NULL && node->op_count > 0) {
        size_t part = prng_chance(&run->disk, 3, 4) ? node->op_count : prng_below(&run->disk, node->op_count + 1);
        lab_sync(&run->lab, id, part);
    }
}

/* Whom a fault hits: leaders more often than their share. */
static uint64_t any_victim(struct run *run)
{
    uint64_t leader = prng_chance(&run->fault, 1, 2) ? any_leader(run) : 0;
    return leader != 0 ? leader : any_node(&run->fault);
}

static void step_crash(struct run *run)
{
    uint64_t id = any_victim(run);
    struct lab_node *node = &run->lab.nodes[id];
    if (node->raft == NULL) {
        return;
    }
    size_t keep = prng_chance(&run->disk, 1, 2) ? 0 : prng_below(&run->disk, node->op_count + 1);
    lab_crash(&run->lab, id, keep);
    node->paused = false;
    if (prng_chance(&run->fault, 1, 3)) {
        lab_restart(&run->lab, id);
    }
}

static void step_restart(struct run *run)
{
    struct lab_node *node = &run->lab.nodes[any_node(&run->fault)];
    if (node->raft == NULL) {
        lab_restart(&run->lab, node->id);
    }
    node->paused = false;
}

static void step_cut(struct run *run)
{
    uint64_t id = any_victim(run);
    uint64_t kind = prng_below(&run->fault, 4);
    uint64_t pair = 1 + prng_below(&run->fault, run->profile.members);
    for (uint64_t other = 1; other <= MEMBERS; other++) {
        bool side = prng_chance(&run->fault, 1, 2);
        if (kind == 0) { /* one member alone */
            run->lab.cut[id][other] = run->lab.cut[other][id] = true;
        } else if (kind == 1) { /* one direction */
            run->lab.cut[id][other] = run->lab.cut[id][other] || side;
        } else if (kind == 2) { /* one pair */
            run->lab.cut[id][pair] = run->lab.cut[pair][id] = true;
        } else { /* two halves */
            for (uint64_t third = 1; third <= MEMBERS && side; third++) {
                bool cut = prng_chance(&run->fault, 1, 2);
                run->lab.cut[other][third] = cut;
                run->lab.cut[third][other] = cut;
            }
        }
    }
    if (kind == 0) {
        for (size_t at = run->lab.packet_count; at > 0; at--) {
            if (run->lab.packets[at - 1].to == id) {
                lab_drop(&run->lab, at - 1);
            }
        }
        run->lab.nodes[id].received_since_quiet = 0;
    }
}

static void step_change(struct run *run)
{
    uint64_t leader = any_leader(run);
    if (leader == 0) {
        return;
    }
    uint64_t voters[MEMBERS], learners[MEMBERS];
    size_t voter_count = 0, learner_count = 0;
    uint64_t wanted = 1 + prng_below(&run->work, 5);
    for (uint64_t id = 1; id <= MEMBERS; id++) {
        if (prng_chance(&run->work, wanted, MEMBERS)) {
            voters[voter_count++] = id;
        } else if (prng_chance(&run->work, 1, 3)) {
            learners[learner_count++] = id;
        }
    }
    struct raft_configuration target;
    if (raft_configuration_make(voters, voter_count, learners, learner_count, &target) == STATUS_OK) {
        enum status status = raft_change(run->lab.nodes[leader].raft, &target);
        ASSERT(status == STATUS_OK || status == STATUS_BUSY || status == STATUS_EXISTS);
        lab_turn(&run->lab, leader);
    }
}

static void step_transfer(struct run *run)
{
    uint64_t leader = any_leader(run);
    if (leader != 0) {
        enum status status = raft_transfer(run->lab.nodes[leader].raft, any_node(&run->work));
        ASSERT(status != STATUS_NOT_LEADER);
        lab_turn(&run->lab, leader);
    }
}

static void step_snapshot(struct run *run)
{
    uint64_t id = any_node(&run->work);
    if (run->lab.nodes[id].raft != NULL && !run->lab.nodes[id].paused) {
        lab_snapshot(&run->lab, id, prng_below(&run->work, 12));
    }
}

static void step_propose(struct run *run)
{
    uint64_t leader = any_leader(run);
    char text[32];
    (void)snprintf(text, sizeof text, "%0*d", (int)run->profile.text_bytes, (int)run->lab.proposals);
    if (leader != 0) {
        (void)!lab_propose(&run->lab, leader, text);
    }
}

static void step_read(struct run *run)
{
    uint64_t leader = any_leader(run);
    uint64_t index;
    if (leader != 0 && run->profile.leases && (run->profile.only_leases || prng_chance(&run->work, 1, 2))) {
        (void)!lab_lease_read(&run->lab, leader, &index);
    } else if (leader != 0) {
        (void)!lab_read(&run->lab, leader);
    }
}

/* The host's slow work: applying, installing. */
static void step_host(struct run *run)
{
    uint64_t id = any_node(&run->work);
    struct lab_node *node = &run->lab.nodes[id];
    if (node->raft == NULL || node->paused) {
        return;
    }
    if (node->installing) {
        lab_install(&run->lab, id, prng_chance(&run->work, 4, 5));
        lab_turn(&run->lab, id);
    } else {
        lab_apply(&run->lab, id, 1 + prng_below(&run->work, 8));
    }
}

static void break_connection(struct run *run, uint64_t from, uint64_t to)
{
    for (size_t at = run->lab.packet_count; at > 0; at--) {
        if (run->lab.packets[at - 1].from == from && run->lab.packets[at - 1].to == to) {
            lab_drop(&run->lab, at - 1);
        }
    }
}

/* A connection breaks: what was in flight on it is gone, and the sender hears so. */
static void step_break(struct run *run)
{
    uint64_t from = any_node(&run->fault);
    uint64_t to = any_node(&run->fault);
    break_connection(run, from, to);
    if (run->lab.nodes[from].raft != NULL && !run->lab.nodes[from].paused) {
        raft_peer_lost(run->lab.nodes[from].raft, to);
        lab_turn(&run->lab, from);
    }
}

/* The news that a process has ended, true or not: its connection broke, too. */
static void step_gone(struct run *run)
{
    uint64_t gone = any_victim(run);
    uint64_t at = any_node(&run->fault);
    break_connection(run, gone, at);
    if (at != gone && run->lab.nodes[at].raft != NULL && !run->lab.nodes[at].paused) {
        run->lab.nodes[at].led_ms = 0;
        raft_peer_gone(run->lab.nodes[at].raft, gone);
        lab_turn(&run->lab, at);
    }
}

static void step_heal(struct run *run) { memset(run->lab.cut, 0, sizeof run->lab.cut); }

static void step_pause(struct run *run) { run->lab.nodes[any_victim(run)].paused = true; }

static void step(struct run *run)
{
    const struct profile *p = &run->profile;
    const struct {
        unsigned chance;
        void (*act)(struct run *run);
    } actions[] = {
        {p->tick, step_tick},
        {p->sync, step_sync},
        {p->propose, step_propose},
        {p->read, step_read},
        {p->crash, step_crash},
        {p->restart, step_restart},
        {p->cut, step_cut},
        {p->heal, step_heal},
        {p->pause, step_pause},
        {p->change, step_change},
        {p->transfer, step_transfer},
        {p->snapshot, step_snapshot},
        {p->breaks, step_break},
        {p->gone, step_gone},
        {run->lab.lazy_apply || run->lab.lazy_install ? 60 : 0, step_host},
    };
    unsigned draw = (unsigned)prng_below(&run->work, 1000);
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (draw < actions[i].chance) {
            actions[i].act(run);
            return;
        }
        draw -= actions[i].chance;
    }
    if (run->lab.packet_count > 0) {
        step_deliver(run);
    } else if (prng_chance(&run->work, 1, 4)) {
        step_tick(run);
    }
}

/* ---- after the faults ---- */

static void calm_turn(struct run *run)
{
    struct lab *lab = &run->lab;
    for (uint64_t id = 1; id <= MEMBERS && !lab->failed; id++) {
        lab_tick(lab, id, 5);
    }
    for (int round = 0; round < 4; round++) {
        for (uint64_t id = 1; id <= MEMBERS && !lab->failed; id++) {
            lab_sync(lab, id, lab->nodes[id].op_count);
        }
        for (size_t count = lab->packet_count; count > 0 && !lab->failed; count--) {
            lab_deliver(lab, 0);
        }
    }
}

/* All members of the leader's configuration have the last entry, applied, in equal states, and reads are answered. */
static bool has_converged(struct lab *lab, uint64_t leader, uint64_t last, uint64_t reads)
{
    struct raft_status status;
    raft_status(lab->nodes[leader].raft, &status);
    if (status.applied < last || lab->marks.reads == reads || raft_configuration_is_joint(&status.configuration)) {
        return false;
    }
    for (uint64_t id = 1; id <= MEMBERS; id++) {
        const struct lab_node *node = &lab->nodes[id];
        if (raft_configuration_has(&status.configuration, id) &&
            (node->applied != lab->nodes[leader].applied || node->state != lab->nodes[leader].state)) {
            return false;
        }
    }
    return true;
}

static void heal(struct run *run)
{
    struct lab *lab = &run->lab;
    memset(lab->cut, 0, sizeof lab->cut);
    lab->lazy_apply = lab->lazy_install = false;
    for (uint64_t id = 1; id <= MEMBERS && !lab->failed; id++) {
        struct lab_node *node = &lab->nodes[id];
        node->paused = false;
        if (node->raft == NULL) {
            lab_restart(lab, id);
        } else if (node->installing) {
            lab_install(lab, id, true);
        }
    }
    uint64_t last = 0;
    uint64_t asked_term = 0;
    uint64_t reads = 0;
    for (int i = 0; i < HEAL_STEPS && !lab->failed; i++) {
        calm_turn(run);
        uint64_t leader = lab->failed ? 0 : lab_leader(lab);
        if (leader == 0) {
            continue;
        }
        if (lab->nodes[leader].seen_term != asked_term) {
            reads = lab->marks.reads;
            if (lab_propose(lab, leader, "last") != STATUS_OK || lab_read(lab, leader) != STATUS_OK) {
                continue;
            }
            asked_term = lab->nodes[leader].seen_term;
            last = lab_last(&lab->nodes[leader].latest);
        } else if (has_converged(lab, leader, last, reads)) {
            return;
        }
    }
    lab_fail(lab, "no convergence after all was healed");
}

void random_run(uint64_t seed, enum raft_mutation mutation, struct buffer *trace, struct random_result *ret_result)
{
    struct run *run = calloc(1, sizeof *run);
    ASSERT(run != NULL);
    struct prng streams;
    prng_seed(&streams, seed);
    prng_seed(&run->network, prng_next(&streams));
    prng_seed(&run->disk, prng_next(&streams));
    prng_seed(&run->fault, prng_next(&streams));
    prng_seed(&run->work, prng_next(&streams));
    choose_profile(&run->profile, &streams);
    lab_init(&run->lab);
    run->lab.mutation = mutation;
    run->lab.trace = trace;
    run->lab.trace_packets = true;
    make_members(run, seed);
    run->lab.lazy_apply = prng_chance(&streams, 1, 3);
    run->lab.lazy_install = prng_chance(&streams, 1, 2);
    for (int i = 0; i < (int)run->profile.steps && !run->lab.failed; i++) {
        step(run);
    }
    if (!run->lab.failed) {
        heal(run);
    }
    *ret_result = (struct random_result){
        .failed = run->lab.failed, .marks = run->lab.marks, .proposals = run->lab.proposals, .digest = run->digest};
    memcpy(ret_result->failure, run->lab.failure, sizeof ret_result->failure);
    lab_deinit(&run->lab);
    free(run);
}
