/* Frames of another node: whatever they say, a node goes on, and each of its own requests is heard at most once.
 *
 * Two nodes found a cluster of two shards with one voter each. Then the second is mute, and the input speaks in its
 * place: whole frames, or the parts of frames that make sense so far, between requests, time and broken connections. */
#include "base/varint.h"
#include "cluster/cluster_internal.h"
#include "cluster/transport_internal.h"
#include "fuzz.h"
#include "sim.h"
#include "sim_net.h"

#include <stdlib.h>

#define MS INT64_C(1000000)

enum { NODES = 2, SHARDS = 2, PORT = 17000, REQUESTS = 256, FOUNDING_MS = 20000 };

struct node {
    struct env *env;
    struct cluster *cluster;
    bool failed;
};

struct asker {
    struct requester requester; /* first */
    bool heard[REQUESTS];
    int count;
    struct buffer reply;
    struct resp_writer writer;
};

struct run {
    struct sim *sim;
    struct node nodes[NODES];
    struct asker asker;
};

/* ---- the node's own requests ---- */

static struct resp_writer *asker_begin(struct requester *requester, uint64_t tag)
{
    struct asker *asker = (struct asker *)requester;
    ASSERT(tag < (uint64_t)asker->count && !asker->heard[tag]);
    buffer_clear(&asker->reply);
    asker->writer = resp_writer_to(&asker->reply, RESP2);
    return &asker->writer;
}

static void hear(struct asker *asker, uint64_t tag)
{
    ASSERT(tag < (uint64_t)asker->count && !asker->heard[tag]);
    asker->heard[tag] = true;
}

static void asker_end(struct requester *requester, uint64_t tag, const struct command *command)
{
    hear((struct asker *)requester, tag);
}

static void asker_failed(struct requester *requester, uint64_t tag, enum status status)
{
    ASSERT(status != STATUS_OK);
    hear((struct asker *)requester, tag);
}

static const struct requester_events asker_events = {asker_begin, asker_end, asker_failed, NULL};

static void command_of(uint8_t choice, struct slice argv[static 3], struct command *ret_command)
{
    argv[0] = choice % 2 == 0 ? SLICE_LITERAL("append") : SLICE_LITERAL("get");
    argv[1] = SLICE_LITERAL("key");
    argv[2] = SLICE_LITERAL("word");
    *ret_command = (struct command){.argv = argv, .argc = choice % 2 == 0 ? 3 : 2, .protocol = RESP2};
    ret_command->spec = command_by_id(choice % 2 == 0 ? COMMAND_APPEND : COMMAND_GET);
}

static void submit(struct run *run, uint8_t choice)
{
    struct asker *asker = &run->asker;
    struct slice argv[3];
    struct command command;
    command_of(choice, argv, &command);
    if (asker->count == REQUESTS) {
        return;
    }
    int tag = asker->count++;
    if (cluster_submit(run->nodes[0].cluster, 1 + choice / 2 % SHARDS, &command, CLUSTER_PLAIN, &asker->requester,
                       (uint64_t)tag) != STATUS_OK) {
        hear(asker, (uint64_t)tag);
    }
}

/* ---- what the other says ---- */

static void say(struct run *run, uint8_t type, struct slice payload)
{
    struct cluster *cluster = run->nodes[0].cluster;
    struct transport *transport = cluster->transport;
    struct peer *peer = peer_find(cluster, 2);
    if (peer->generation != 0) {
        transport->options.events->frame(cluster, 2, peer->generation, type, payload);
    }
}

static struct slice take(struct slice *from, size_t size)
{
    size = size < from->size ? size : from->size;
    struct slice taken = slice_of(from->data, size);
    *from = slice_of(from->data + size, from->size - size);
    return taken;
}

static void say_answers(struct run *run, struct slice *input)
{
    uint32_t shard = fuzz_take_byte(input) % (SHARDS + 1);
    struct lane *lane = lane_of(run->nodes[0].cluster, shard);
    uint64_t parcel = lane->next_parcel - 1 - fuzz_take_byte(input) % 4;
    struct buffer payload = {0};
    answers_head_put(buffer_reserve(&payload, ANSWERS_HEAD_BYTES), shard, parcel);
    payload.size = ANSWERS_HEAD_BYTES;
    for (uint8_t count = fuzz_take_byte(input) % 8; count > 0; count--) {
        struct answer_head head = {.place = fuzz_take_byte(input) % 8};
        uint8_t outcome = fuzz_take_byte(input);
        head.outcome = (enum forward_outcome)(outcome % 128 % (FORWARD_OUTCOMES + 1));
        head.slow = outcome >= 128;
        head.status = (enum status)(int8_t)fuzz_take_byte(input);
        head.size = fuzz_take_byte(input);
        struct slice reply = take(input, head.size);
        answer_head_put(buffer_reserve(&payload, ANSWER_HEAD_BYTES), &head);
        payload.size += ANSWER_HEAD_BYTES;
        buffer_append_slice(&payload, reply);
        buffer_append_slice(&payload, take(input, head.slow ? ANSWER_TOOK_BYTES : 0));
    }
    say(run, NODE_ANSWERS, buffer_slice(&payload));
    buffer_deinit(&payload);
}

static void take_head(struct run *run, struct slice *input, struct forward_head *ret_head)
{
    *ret_head = (struct forward_head){.shard = fuzz_take_byte(input) % (SHARDS + 1)};
    ret_head->count = 1 + fuzz_take_byte(input) % 8;
    ret_head->parcel = fuzz_take_byte(input);
    ret_head->term = lane_of(run->nodes[0].cluster, ret_head->shard)->term + (fuzz_take_byte(input) % 8 == 0 ? 1 : 0);
    ret_head->start = fuzz_take_byte(input);
    ret_head->sequence = fuzz_take_byte(input);
    ret_head->sequence <<= fuzz_take_byte(input) % 60;
    ret_head->settled_below = ret_head->sequence - (ret_head->sequence == 0 ? 0 : fuzz_take_byte(input));
    ret_head->slow_us = ret_head->parcel % 2 == 0 ? 0 : FORWARD_NEVER_SLOW;
}

static void say_forward(struct run *run, struct slice *input)
{
    struct buffer payload = {0};
    struct forward_head head;
    take_head(run, input, &head);
    (void)buffer_reserve(&payload, FORWARD_HEAD_BYTES);
    payload.size = FORWARD_HEAD_BYTES;
    uint8_t lie = fuzz_take_byte(input);
    for (uint32_t i = 0; i < head.count; i++) {
        uint8_t choice = fuzz_take_byte(input);
        struct slice argv[3];
        struct command command;
        command_of(choice, argv, &command);
        bool logged = choice % 2 == 0 || choice / 4 % 4 == 0;
        logged = lie % 8 == i ? !logged : logged;
        head.logged += logged ? 1 : 0;
        buffer_append_byte(&payload, logged ? 1 : 0);
        command_encode(&payload, &command);
    }
    head.sequence = head.logged == 0 ? 0 : head.sequence;
    forward_head_put(payload.data, &head);
    say(run, NODE_FORWARD, buffer_slice(&payload));
    buffer_deinit(&payload);
}

static void say_leads(struct run *run, struct slice *input)
{
    uint8_t payload[12];
    uint32_t shard = fuzz_take_byte(input) % (SHARDS + 1);
    put_u32(payload, shard);
    put_u64(payload + 4, lane_of(run->nodes[0].cluster, shard)->term + fuzz_take_byte(input) % 3);
    say(run, NODE_LEADS, slice_of(payload, sizeof(payload)));
}

static void say_raft(struct run *run, struct slice *input)
{
    struct buffer payload = {0};
    for (uint8_t count = fuzz_take_byte(input) % 4; count > 0; count--) {
        uint8_t group = fuzz_take_byte(input) % (SHARDS + 2);
        struct slice message = take(input, fuzz_take_byte(input));
        uint8_t head[8];
        put_u32(head, group);
        put_u32(head + 4, (uint32_t)message.size);
        buffer_append(&payload, head, sizeof(head));
        buffer_append_slice(&payload, message);
        if (message.size > 1 && group % 2 == 0) {
            payload.data[payload.size - message.size + 1] = 2; /* from whom */
        }
    }
    say(run, NODE_RAFT, buffer_slice(&payload));
    buffer_deinit(&payload);
}

/* The connection breaks, or comes up again. */
static void break_connection(struct run *run)
{
    struct cluster *cluster = run->nodes[0].cluster;
    struct peer *peer = peer_find(cluster, 2);
    const struct transport_events *events = cluster->transport->options.events;
    struct transport_peer_statistics statistics;
    ASSERT(transport_peer_statistics(cluster->transport, 2, &statistics) == STATUS_OK);
    if (peer->generation != 0) {
        events->down(cluster, 2, peer->generation);
    } else if (statistics.up) {
        events->up(cluster, 2, statistics.generation, &statistics.incarnation);
    }
}

static void act(struct run *run, struct slice *input)
{
    struct node *node = &run->nodes[0];
    uint8_t what = fuzz_take_byte(input);
    switch (what % 10) {
    case 0: sim_run_for(run->sim, (1 + what / 10) * MS); break;
    case 1:
    case 2: submit(run, fuzz_take_byte(input)); break;
    case 3: {
        uint8_t type = TRANSPORT_FIRST_TYPE + fuzz_take_byte(input) % (NODE_MESSAGES - NODE_RAFT + 2);
        say(run, type, take(input, (size_t)fuzz_take_byte(input) * 2));
        break;
    }
    case 4:
    case 5: say_answers(run, input); break;
    case 6: say_forward(run, input); break;
    case 7: say_leads(run, input); break;
    case 8: say_raft(run, input); break;
    default:
        if (what / 10 % 2 == 0) {
            break_connection(run);
        } else {
            cluster_look_after(node->cluster, env_monotonic_ns(node->env) - 5 * MS);
        }
        break;
    }
    sim_run_for(run->sim, what / 10 % 2 * MS);
}

/* ---- the nodes ---- */

static void hook(void *owner)
{
    struct node *node = owner;
    if (!node->failed && cluster_turn(node->cluster)) {
        env_wake(node->env);
    }
}

static void failed(void *owner, enum status status, const char *what) { ((struct node *)owner)->failed = true; }

static void start(struct run *run, const struct member *founders, int i)
{
    static const struct cluster_events events = {failed};
    struct node *node = &run->nodes[i];
    node->env = sim_node_start(run->sim, i);
    ASSERT(env_make_directory(node->env, "/data") == STATUS_OK);
    struct cluster_options options = {
        .node = (uint64_t)i + 1,
        .incarnation = {{0xaa, (uint8_t)(i + 1)}},
        .lineage = {.start = 1},
        .directory = "/data",
        .worker_directory = "/data",
        .founders = founders,
        .founder_count = NODES,
        .shards = SHARDS,
        .replicas = 1,
        .peer_host = sim_node_address(run->sim, i),
        .peer_port = PORT,
        .log_segment_bytes = 1 << 16,
    };
    char message[CLUSTER_MESSAGE_BYTES];
    ASSERT(cluster_create(node->env, &options, &events, node, &node->cluster, message) == STATUS_OK);
    env_set_turn_hook(node->env, hook, node);
}

static bool ready(struct run *run)
{
    return run->nodes[0].cluster->opened && lane_of(run->nodes[0].cluster, 1)->leader != 0 &&
           lane_of(run->nodes[0].cluster, 2)->leader != 0;
}

static void begin(struct run *run)
{
    struct member founders[NODES] = {0};
    *run = (struct run){.sim = sim_create(1), .asker = {.requester = {&asker_events, 1}}};
    for (int i = 0; i < NODES; i++) {
        struct slice host = slice_from_string(sim_node_address(run->sim, i));
        founders[i].id = (uint64_t)i + 1;
        ASSERT(member_address_make(&founders[i].client, host, PORT - 1));
        ASSERT(member_address_make(&founders[i].peer, host, PORT));
    }
    for (int i = 0; i < NODES; i++) {
        start(run, founders, i);
    }
    while (!ready(run)) {
        ASSERT(sim_step(run->sim) && sim_now_ns(run->sim) < FOUNDING_MS * MS);
    }
    sim_network_block(run->sim, 1, 0, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size);
    static struct run run;
    begin(&run);
    while (input.size > 0 && !run.nodes[0].failed) {
        act(&run, &input);
    }
    struct peer *peer = peer_find(run.nodes[0].cluster, 2);
    ASSERT(peer->owed_bytes <= REMOTE_OWED_BYTES && peer->parcels <= (SHARDS + 1) * (LANE_PARCELS + 1));
    for (int i = 0; i < NODES; i++) {
        cluster_destroy(run.nodes[i].cluster);
    }
    sim_destroy(run.sim);
    buffer_deinit(&run.asker.reply);
    return 0;
}
