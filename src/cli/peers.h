/* The nodes of a cluster, as `cohort serve --peers` names them:
 *
 *   peers   = peer *( "," peer )
 *   peer    = id "=" address [ "@" peer-port ]
 *   address = host ":" port        a numeric address, IPv6 in brackets: where clients find the node
 *
 * Other nodes find it at the same host and at peer-port, which is port + PEERS_PORT_DISTANCE when it is left out.
 *
 * What peers_parse gives is
 * 1. the same for all spellings of one list: nodes ascend by id, addresses are in their shortest form;
 * 2. free of doubt: no id, no client address and no peer address stands twice, in whatever roles. */
#pragma once

#include "cluster/members.h"

enum { PEERS_PORT_DISTANCE = 10000, PEERS_MESSAGE_BYTES = 512 };

struct peers {
    size_t count; /* at least 1 */
    struct member nodes[PLACEMENT_MAXIMUM_NODES];
};

/* STATUS_INVALID with one line for a person. */
MUST_USE enum status peers_parse(struct slice text, struct peers *ret_peers,
                                 char ret_message[static PEERS_MESSAGE_BYTES]);
/* Borrowed; NULL when there is none. */
const struct member *peers_find(const struct peers *peers, uint64_t id);

/* Brings a numeric address into its shortest form, in place. False when it is none. */
bool peers_normalize_host(char host[static MEMBERS_HOST_BYTES]);
/* Of an address in that form: only this machine can reach it. */
bool peers_is_loopback(const char *host);
/* Of an address in that form: any address of the machine, and so nothing that others can call. */
bool peers_is_wildcard(const char *host);
