/* Registrants and watchers of services in a run of nodes, and the account of what they were told. For node_*.c only.
 *
 * A registrant has one endpoint at a time, with a lease or a session; it registers, says it again, with another weight,
 * renews, drains, removes it, forgets it, and lists the service. A watcher follows one service over connections that
 * end, from where it was or from the list.
 *
 * Always true
 * 1. Whoever holds a lease by his own clock, less what clocks are off, is listed, as draining once that was answered;
 * no renewal of his is refused. Who was removed, or told that his lease has ended, is listed no more.
 * 2. A watcher is told every change, in order, none twice: each is the next one of the service's history, which is put
 *    together from what the machines have whenever an entry is applied anywhere; and the endpoints that it has by then,
 *    states and weights, are those of the history at that revision, also when it is told a list.
 * 3. In the end nobody is listed, and each watcher has come to the end of the history. */
#pragma once

#include "node_world.h"

struct node_services;

/* NULL when the profile has none. */
struct node_services *node_services_create(struct node_world *world);
void node_services_destroy(struct node_services *services);
/* A node has applied something of a shard. */
void node_services_look(struct node_services *services, const struct node *node, int shard);
/* Everything is healed: runs until nobody is registered, then takes the account. */
void node_services_finish(struct node_services *services);
