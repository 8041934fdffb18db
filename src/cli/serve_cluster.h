/* The options of `cohort serve` that are about the cluster: what was given becomes what the server takes. */
#pragma once

#include "cli/host_port.h"
#include "cli/peers.h"
#include "server/server.h"

enum { SERVE_CLUSTER_MESSAGE_BYTES = PEERS_MESSAGE_BYTES + 32 };

struct serve_cluster {
    /* As given; 0 and NULL: not. Numbers are within the limits of the options. */
    int64_t id, shards, replicas;
    const char *listen, *peers, *peer_listen, *reads;

    /* Filled; the server's options point into these. */
    struct peers founders;
    struct host_port listen_at, peer_at;
};

/* Sets in *options everything that these options say, with defaults for what was not given. CLI_CONTINUE, or an exit
 * code with one line for a person in ret_message. protected_mode: nodes
 * must be on this machine, for they speak without password and encryption. */
int serve_cluster_take(struct serve_cluster *cluster, bool protected_mode, struct server_options *options,
                       char ret_message[static SERVE_CLUSTER_MESSAGE_BYTES]);
