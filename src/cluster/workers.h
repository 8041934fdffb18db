/* The workers of a node, as one of them sees the others. What it wants to tell another gathers in a turn, and goes as
 * one message (env_post) at its end, so a turn costs one message for each worker that is told something.
 *
 * A record is: room u8 · kind u8 · size u32 · body. Records never leave the process: bodies hold numbers as the machine
 * has them, and pointers that only go back to where they came from.
 *
 * Invariants
 * 1. What one worker tells another arrives in order, each record once; but workers_tell_at_once.
 * 2. A worker touches nothing of another: this struct's pointers to others are addresses to post to.
 * 3. What gathers is bounded by who tells: requests, answers and frames have limits of their own (errand.c, relay.c),
 *    all else is small and bounded by what it tells of. */
#pragma once

#include "base/buffer.h"
#include "env/env.h"

enum { WORKERS_MAXIMUM = 64 };

struct workers;

/* Who in a worker hears of a record; the kinds are that room's own. */
enum workers_room { WORKERS_CLUSTER, WORKERS_SERVER, WORKERS_ROOMS };

/* One for each env; the first is the node's first worker. All are destroyed, by one thread, when no env runs any more.
 */
void workers_create(struct env *const *envs, uint32_t count, struct workers **ret_workers);
/* Takes NULL. */
void workers_destroy(struct workers *workers);

uint32_t workers_self(const struct workers *workers);
uint32_t workers_count(const struct workers *workers);
struct env *workers_env(const struct workers *workers);

/* From now on, in the worker's own thread, or before it runs. NULL: nobody. The body is valid during the call. */
void workers_listen(struct workers *workers, enum workers_room room,
                    void (*arrived)(void *owner, uint32_t from, uint8_t kind, struct slice body), void *owner);

void workers_tell(struct workers *workers, uint32_t to, enum workers_room room, uint8_t kind, const struct slice *parts,
                  size_t count);
/* All but itself. */
void workers_tell_all(struct workers *workers, enum workers_room room, uint8_t kind, const struct slice *parts,
                      size_t count);
/* The same without a copy: the caller appends the body to the buffer; one at a time for each `to`. */
struct buffer *workers_begin(struct workers *workers, uint32_t to, enum workers_room room, uint8_t kind);
/* Returns the body's size. */
size_t workers_end(struct workers *workers, uint32_t to);
/* Overtakes what has gathered, and may come while a record is being written. */
void workers_tell_at_once(struct workers *workers, uint32_t to, enum workers_room room, uint8_t kind,
                          const struct slice *parts, size_t count);
/* Sends what has gathered. Takes NULL. */
void workers_post(struct workers *workers);
