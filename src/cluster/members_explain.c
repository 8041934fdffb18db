#include "cluster/members.h"

#include <inttypes.h>
#include <stdio.h>

static void explain_incarnation(const struct members *members, const struct members_change *change,
                                char ret_text[static MEMBERS_EXPLAIN_BYTES])
{
    char known[ID128_DIGITS + 1];
    char given[ID128_DIGITS + 1];
    id128_format(&members_find(members, change->node)->incarnation, known);
    id128_format(&change->incarnation, given);
    (void)snprintf(ret_text, MEMBERS_EXPLAIN_BYTES,
                   "node %" PRIu64 " joined this cluster with another data folder (incarnation %s, this one is %s); "
                   "start it with that folder, or, when that is lost, add it anew: `cohort node remove %" PRIu64
                   "`, `cohort node add %" PRIu64 "=%.100s:%u`, then start it with --id %" PRIu64
                   " and an empty data folder",
                   change->node, known, given, change->node, members->last_id + 1, change->client.host,
                   (unsigned)change->client.port, members->last_id + 1);
}

static const char *plain_text(enum members_verdict verdict)
{
    switch (verdict) {
    case MEMBERS_CHANGED:
    case MEMBERS_UNCHANGED: return "ok";
    case MEMBERS_NO_CLUSTER: return "the cluster is not made yet; wait until most of its nodes are up";
    case MEMBERS_HAS_CLUSTER: return "the cluster is made already";
    case MEMBERS_FULL: return "the cluster has as many nodes as it can have; remove one first";
    case MEMBERS_LAST_NODE: return "this is the last node; add another one first";
    case MEMBERS_BAD_PLACE: return "voters must be nodes that may vote there, the leader one of them";
    default: return NULL;
    }
}

void members_explain(const struct members *members, const struct members_change *change, enum members_verdict verdict,
                     char ret_text[static MEMBERS_EXPLAIN_BYTES])
{
    const char *rest = NULL;
    switch (verdict) {
    case MEMBERS_OTHER_INCARNATION: explain_incarnation(members, change, ret_text); return;
    case MEMBERS_COPY:
        (void)snprintf(ret_text, MEMBERS_EXPLAIN_BYTES, MEMBERS_COPY_FORMAT, change->node, change->node, change->node);
        return;
    case MEMBERS_UNKNOWN_NODE: rest = "is not a node of this cluster; add it with `cohort node add`"; break;
    case MEMBERS_ADDRESS_TAKEN: rest = "cannot have an address that another node has; give it its own"; break;
    case MEMBERS_NOT_SEEN: rest = "was never up; start it first"; break;
    case MEMBERS_STILL_VOTES: rest = "still votes in shards; wait until they have moved"; break;
    case MEMBERS_WRONG_STATE: rest = "is not in a state for that; `cohort status` shows it"; break;
    case MEMBERS_OLD_BINARY: break;
    case MEMBERS_ID_USED: break;
    default: (void)snprintf(ret_text, MEMBERS_EXPLAIN_BYTES, "%s", plain_text(verdict)); return;
    }
    if (rest != NULL) {
        (void)snprintf(ret_text, MEMBERS_EXPLAIN_BYTES, "node %" PRIu64 " %s", change->node, rest);
    } else if (verdict == MEMBERS_ID_USED) {
        (void)snprintf(ret_text, MEMBERS_EXPLAIN_BYTES,
                       "the number %" PRIu64 " was used already; the next free one is %" PRIu64, change->node,
                       members->last_id + 1);
    } else {
        (void)snprintf(ret_text, MEMBERS_EXPLAIN_BYTES,
                       "format %" PRIu32 " is not known to the binary of every node; upgrade the older ones",
                       change->kind == MEMBERS_RAISE ? change->format : members->format);
    }
}
