/* The virtual network: byte streams like TCP's.
 *
 * A connection has two ways. What one end sends (opening, data, room given back, end, reset) travels its way in order,
 * each part with a drawn delay; what cannot arrive (partition, machine without power) is sent again, ever more seldom,
 * until the sender gives up with STATUS_TIMEOUT. Bytes are neither lost nor reordered within a connection, as TCP
 * promises; connections overtake each other freely.
 *
 * Of TCP's meaner habits: writes are taken in part, reads return in other pieces than were written; closing with unread
 * bytes resets, and so may destroy what was sent before; a reset can come at any time; an end may live on for long
 * after the other is gone. */
#pragma once

#include "sim.h"

struct sim_network {
    int64_t delay_minimum_ns, delay_maximum_ns; /* between nodes */
    int64_t local_delay_maximum_ns;             /* within a node */
    uint32_t slow_one_in;                       /* a part is slow; 0: never */
    int64_t slow_ns;                            /* by at most this */
    uint32_t lose_one_in;                       /* a part has to be sent again */
    uint32_t split_one_in;                      /* a write or read is cut short, a sending travels in pieces */
    uint32_t reset_one_in;                      /* a part of data meets a reset instead */
    size_t buffer_bytes;                        /* sent and not yet read; beyond it AGAIN */
    int64_t resend_ns, resend_maximum_ns;       /* first and longest interval of sending again */
    int64_t give_up_ns;                         /* since the first attempt */
    int descriptors;                            /* streams per process; beyond it STATUS_FULL; at most 4096 */
};
/* May be changed at any time. */
struct sim_network *sim_network(struct sim *sim);

/* Looks at what travels, and changes nothing: data that is sent (returns what arrived takes), and its arrival. */
struct sim_network_watcher {
    size_t (*sent)(void *owner, int64_t at_ns, int from, int to, struct slice data);
    void (*arrived)(void *owner, size_t sent);
};
void sim_network_watch(struct sim *sim, const struct sim_network_watcher *watcher, void *owner);

/* Nothing passes from one node to the other, in this direction (a partition is two of these per pair). */
void sim_network_block(struct sim *sim, int from, int to, bool blocked);
/* Nothing is blocked any more, in any direction. */
void sim_network_heal(struct sim *sim);
/* What is sent in this direction before then arrives after it. */
void sim_network_clog(struct sim *sim, int from, int to, int64_t until_ns);
/* Resets the open connections between two nodes, each end after a delay of its own; returns how many. */
int sim_network_reset(struct sim *sim, int one, int other);
