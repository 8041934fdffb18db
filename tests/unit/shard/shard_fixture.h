/* A shard on a simulated machine: requests as words, replies as text, in the order in which they came. */
#pragma once

#include "shard/shard.h"
#include "sim.h"

enum { FIXTURE_REPLIES = 200000, FIXTURE_TEXT_BYTES = 32, FIXTURE_SEGMENT_BYTES = 64 * 1024 };

#define FIXTURE_FOLDER ((struct folder_name){{{7}}, 0})

#define MS 1000000LL
#define SECOND 1000000000LL

struct fixture_reply {
    uint64_t tag;
    uint64_t order; /* the how-manieth reply this was */
    uint64_t syncs; /* of the log by then */
    int64_t at_ns;
    enum status refused;           /* OK: there is a text */
    char text[FIXTURE_TEXT_BYTES]; /* RESP with spaces for line ends; cut when longer */
};

struct fixture {
    struct sim *sim;
    struct env *env;
    struct store *store;
    uint64_t segment_bytes;
    uint32_t turn_steps; /* as store_options.turn_steps */
    struct shard *shard; /* NULL: not open */
    struct shard_options options;
    struct fixture_reply *replies; /* by tag */
    uint64_t tags, reply_count;
    struct buffer text;
    struct resp_writer writer;
    uint64_t snapshot_at; /* the tag whose reply asks for a snapshot; 0: none */
    int failures;
    enum status failure;
    char message[512]; /* why the shard does not open, or what failed */
};

/* With an empty folder "/data", not open. */
struct fixture *fixture_create(uint64_t seed);
void fixture_destroy(struct fixture *fixture);
enum status fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
/* The process or the machine ends, and another process starts; the shard is not open then. */
void fixture_crash(struct fixture *fixture, enum sim_crash how);
/* A crash, then open again, which must succeed. */
void fixture_restart(struct fixture *fixture, enum sim_crash how);

/* Words separated by spaces; "~n" stands for n bytes, "=NAME" for the command of that name inside another. The tag,
 * from 1, or the refusal. */
enum status fixture_try(struct fixture *fixture, const char *words, uint64_t *ret_tag);
uint64_t fixture_submit(struct fixture *fixture, const char *words);
/* As one whose requests keep their order. */
uint64_t fixture_submit_as(struct fixture *fixture, uint64_t who, const char *text);
uint64_t fixture_submit_logged(struct fixture *fixture, const char *words);
/* A read now; NULL when it has to go through the log. */
const char *fixture_read(struct fixture *fixture, const char *text);
/* Submits, runs until it is answered, and gives the answer. */
const char *fixture_call(struct fixture *fixture, const char *words);
/* Runs until nothing waits. */
void fixture_settle(struct fixture *fixture);
/* NULL: not answered (or refused). */
const char *fixture_reply(const struct fixture *fixture, uint64_t tag);
struct shard_stats fixture_stats(const struct fixture *fixture);
/* Files in the folder with this in their name. */
int fixture_files(struct fixture *fixture, const char *part);
struct sim_disk *fixture_disk(struct fixture *fixture);
