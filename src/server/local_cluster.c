/* CLUSTER, READONLY and READWRITE. */
#include "base/assert.h"
#include "base/number.h"
#include "cluster/cluster_reply.h"
#include "server/local.h"

/* Calls `write` with what this node knows. */
static void answer(struct local_call *call, void (*write)(const struct cluster_view *view, struct resp_writer *reply))
{
    struct cluster_view view;
    if (cluster_look(call->server->cluster, &view)) {
        write(&view, call->reply);
    } else {
        resp_error(call->reply, "CLUSTERDOWN the cluster is not founded yet; start the other nodes");
    }
}

void local_cluster_slots(struct local_call *call) { answer(call, cluster_reply_slots); }
void local_cluster_shards(struct local_call *call) { answer(call, cluster_reply_shards); }
void local_cluster_nodes(struct local_call *call) { answer(call, cluster_reply_nodes); }
void local_cluster_info(struct local_call *call) { answer(call, cluster_reply_info); }
void local_cluster_myid(struct local_call *call) { answer(call, cluster_reply_myid); }

void local_cluster_keyslot(struct local_call *call) { resp_integer(call->reply, key_slot(call->argv[2])); }

static void add_count(void *owner, struct slice part)
{
    uint64_t count = 0;
    memcpy(&count, part.data, sizeof(count));
    *(uint64_t *)owner += count;
}

void local_cluster_countkeysinslot(struct local_call *call)
{
    int64_t slot = 0;
    if (!number_parse_int64(call->argv[2], &slot)) {
        resp_error(call->reply, "ERR value is not an integer or out of range");
    } else if (slot < 0 || slot >= KEY_SLOTS) {
        resp_error(call->reply, "ERR Invalid slot");
    } else {
        uint64_t count = cluster_count_in_slot(call->server->cluster, (uint16_t)slot);
        round_each(call->round, add_count, &count); /* one of the workers has its shard */
        resp_integer(call->reply, (int64_t)count);
    }
}

void local_cluster_countkeysinslot_part(const struct local_call *call, struct buffer *out)
{
    int64_t slot = 0;
    uint64_t count = 0;
    if (number_parse_int64(call->argv[2], &slot) && slot >= 0 && slot < KEY_SLOTS) {
        count = cluster_count_in_slot(call->server->cluster, (uint16_t)slot);
    }
    buffer_append(out, &count, sizeof(count));
}
