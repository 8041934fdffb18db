/* A log on a simulated disk beside a model of what it must hold.
 *
 * The model is the list of records appended, in order. Whatever happens, the log's state must be that after some first
 * `p` of them, and never fewer than were reported durable. */
#pragma once

#include "disk_env.h"
#include "log/log.h"

enum { FIXTURE_RECORDS = 4096, FIXTURE_GROUPS = 8, FIXTURE_SEGMENT_BYTES = 64 * 1024 };

enum fixture_kind { FIXTURE_ENTRY, FIXTURE_HARD_STATE, FIXTURE_TRIM };

struct fixture_record {
    enum fixture_kind kind;
    uint32_t group;
    uint64_t a, b; /* index and term, term and vote, index and term */
    size_t size;   /* of an entry's payload, which is made from `seed` */
    uint64_t seed;
    uint64_t ticket;
};

struct fixture {
    struct sim_disk *disk;
    struct disk_env env;
    struct log *log;
    uint64_t segment_bytes;
    struct folder_name folder;
    struct fixture_record records[FIXTURE_RECORDS];
    size_t count;
    size_t durable; /* records reported durable, or found by a recovery */
    uint64_t next_seed;
    int failures;
    enum status failure;
    char what[1200];
    char message[512];
};

/* With an empty folder "log" on the disk. */
struct fixture *fixture_create(uint64_t seed);
void fixture_destroy(struct fixture *fixture);

/* A new process opens the log; message says why not. */
enum status fixture_open(struct fixture *fixture);
/* As the process would; all background work ends. */
void fixture_close(struct fixture *fixture);
/* Power is lost (or the process killed), then the dead process's memory is given back. */
void fixture_crash(struct fixture *fixture, bool power);

/* Appends to the log and the model. An entry's term is the model's business alone. */
uint64_t fixture_entry(struct fixture *fixture, uint32_t group, uint64_t index, uint64_t term, size_t size);
/* At last + 1. */
uint64_t fixture_next(struct fixture *fixture, uint32_t group, size_t size);
uint64_t fixture_hard_state(struct fixture *fixture, uint32_t group, uint64_t term, uint64_t vote);
uint64_t fixture_trim(struct fixture *fixture, uint32_t group, uint64_t index, uint64_t term);

/* Opens after a crash and asserts that the log is a legal one; the model then has what was found. */
void fixture_recover(struct fixture *fixture);
/* Asserts that the log shows all records of the model. */
void fixture_check(struct fixture *fixture);
/* True when the log shows the state after the first `count` records; else says (in message) what is different. */
bool fixture_matches(struct fixture *fixture, size_t count);

uint64_t fixture_last(struct fixture *fixture, uint32_t group);
uint64_t fixture_trimmed(struct fixture *fixture, uint32_t group);
/* Number of segment files in the folder. */
int fixture_files(struct fixture *fixture);
