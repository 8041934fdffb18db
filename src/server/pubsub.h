/* Messages: who subscribes, what is published, and what happens to keys, on its way to those who hear of it.
 *
 * Invariants
 * 1. At most once, and to each subscriber in the order of each publisher. A message may be lost: with a connection
 *    between nodes, at the limit of a slow peer or worker (cluster/messages.c). A client for which there is no room is
 *    closed, so that it knows that it missed something.
 * 2. Who has been told that it subscribes hears whatever is published afterwards at any node: the workers of a node
 *    know of each other's subscriptions before the client hears of it, and other nodes send everything.
 * 3. A message takes effect when what its client asked for before is done: who hears of it sees that (route.c lets
 *    these commands wait until nothing is pending). In a MULTI it takes effect with the EXEC, if that was executed.
 * 4. One message is encoded once for each protocol, whatever number of clients hear it.
 * 5. Memory is bounded: max-subscriptions and max-client-subscriptions, max-patterns, PUBSUB_NAME_BYTES of each
 *    name, and the output limit of each subscriber. */
#pragma once

#include "command/command.h"
#include "server/local.h"
#include "wire/message.h"

enum { PUBSUB_NAME_BYTES = 64 << 10 };

/* One of the commands that subscribe, unsubscribe or publish. */
bool pubsub_takes(const struct command_spec *spec);
/* A RESP2 client that subscribes gets messages between its replies, so it may say only what has such a reply. */
bool pubsub_forbids(const struct connection *connection, const struct command_spec *spec);
/* The client has no subscriptions any more. */
void pubsub_leave(struct connection *connection);

void local_subscribe(struct local_call *call);
void local_unsubscribe(struct local_call *call);
void local_psubscribe(struct local_call *call);
void local_punsubscribe(struct local_call *call);
void local_ssubscribe(struct local_call *call);
void local_sunsubscribe(struct local_call *call);
void local_publish(struct local_call *call);
void local_spublish(struct local_call *call);
void local_pubsub_channels(struct local_call *call);
void local_pubsub_numsub(struct local_call *call);
void local_pubsub_numpat(struct local_call *call);
void local_pubsub_shardchannels(struct local_call *call);
void local_pubsub_shardnumsub(struct local_call *call);

/* Another worker has one more subscription, or one less. */
void pubsub_told_interest(struct server *server, struct slice body);
/* The settings have changed, or are known. */
void pubsub_configured(struct server *server);

/* ---- pubsub_deliver.c ---- */

/* To everybody: subscribers here, at the other workers, at the other nodes. Returns how many at this node. */
uint64_t pubsub_publish(struct server *server, const struct message *message);
/* The same for what a transaction has published (machine/events.h), now that it is committed. */
void pubsub_publish_all(struct server *server, struct slice messages);
/* From a shard, another worker or another node. */
void pubsub_take(struct server *server, const struct message *message, enum cluster_source source);
