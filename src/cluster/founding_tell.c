/* What a founding tells people: whom it waits for, and why a node cannot take part. */
#include "cluster/founding_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { TELL_S = 10 };

void founding_explain_folder(const struct founding *founding, uint64_t by, bool founded,
                             char ret_line[static FOUNDING_MESSAGE_BYTES])
{
    uint64_t id = founding->record.nodes[founding->self].id;
    (void)snprintf(ret_line, FOUNDING_MESSAGE_BYTES,
                   "node %" PRIu64 " %s with another data folder of node %" PRIu64
                   " than %.256s; start this node with that folder, or, when that is lost, remove the node and add it "
                   "anew under another id%s",
                   by, founded ? "knows this cluster" : "began to found this cluster", id, founding->directory,
                   founded ? "" : "; when no node of it has served yet, empty the data folders of all instead");
}

void founding_timer_start(struct founding *founding, int64_t after_ns)
{
    env_timer_start(founding->env, &founding->tell, env_monotonic_ns(founding->env) + after_ns);
}

static void append_waited(struct founding *founding, const char *word, uint32_t at, struct buffer *out)
{
    const struct member *node = &founding->record.nodes[at];
    buffer_append_format(out, "%snode %" PRIu64 " at %s:%u", word, node->id, node->peer.host, node->peer.port);
}

static bool is_waited_for(const struct founding *founding, uint32_t at)
{
    const struct founding_peer *peer = &founding->peers[at];
    if (at == founding->self) {
        return false;
    }
    return founding->state == FOUNDING_AGREED ? !peer->agreed : !peer->up || !peer->heard;
}

/* A founder that agreed to a set that is not up: one of its data folders was emptied meanwhile, and will be refused. */
static bool find_other_set(struct founding *founding, uint64_t *ret_node)
{
    struct id128 name = founding_own_name(founding);
    for (uint32_t i = 0; i < founding->record.count; i++) {
        const struct founding_peer *peer = &founding->peers[i];
        if (peer->up && !id128_is_zero(&peer->set) && !id128_equal(&peer->set, &name)) {
            *ret_node = founding->record.nodes[i].id;
            return true;
        }
    }
    return false;
}

void founding_tell(struct env_timer *timer)
{
    struct founding *founding = CONTAINER_OF(timer, struct founding, tell);
    struct buffer waited;
    buffer_init(&waited);
    uint64_t other = 0;
    for (uint32_t i = 0; i < founding->record.count; i++) {
        if (is_waited_for(founding, i)) {
            append_waited(founding, waited.size == 0 ? "" : " and ", i, &waited);
        }
    }
    bool all_here = founding->state == FOUNDING_AGREED || waited.size == 0;
    if (all_here && find_other_set(founding, &other)) {
        env_log(founding->env, ENV_LOG_WARNING,
                "the cluster cannot be founded: node %" PRIu64
                " agreed to other data folders than those that are here; give the nodes the folders that they began "
                "with, or, when no node has served yet, empty the data folders of all",
                other);
    } else if (waited.size > 0) {
        env_log(founding->env, ENV_LOG_INFO, "waiting for %.*s to found the cluster", (int)waited.size,
                (const char *)waited.data);
    }
    buffer_deinit(&waited);
    founding_tell_all(founding); /* a message that the owner had no room for */
    founding_timer_start(founding, TELL_S * FOUNDING_SECOND_NS);
}
