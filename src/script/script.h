/* Lua scripts: text, keys and arguments in; one reply out; commands go to the host's callback.
 *
 * Pure: the same run (source, keys, arguments, seed, protocol, limits, and the same answers of the host) gives the same
 * reply, the same calls and the same use of the budget, on every node. README.md says how.
 *
 * Invariants
 * 1. Nothing of a run is seen by the next: each begins with the image that script_engine_open made.
 * 2. Lua's memory is the engine's region, always at SCRIPT_ADDRESS: tables that have tables as keys hash addresses, and
 *    the order of pairs follows. So there is one engine in a process; its user runs one script at a time.
 * 3. A run that used up its budget or its memory ends there, whatever the script does to catch that. */
#pragma once

#include "base/status.h"
#include "wire/resp_writer.h"

/* Free in every process, also in one that is not ours (src/embedded): the heap of a program with a fixed address may
 * begin anywhere in the first gigabyte, programs without one begin at 0x555555554000, and the sanitizers leave what
 * lies below that to programs. Of an address Lua hashes the low 32 bits alone: so these are the same everywhere, for
 * ever. */
#if defined(__x86_64__)
#define SCRIPT_ADDRESS ((uintptr_t)0x550020000000)
#else
#define SCRIPT_ADDRESS ((uintptr_t)0x20000000)
#endif
enum {
    SCRIPT_REGION_BYTES = 256 << 20,
    SCRIPT_SOURCE_BYTES = 256 << 10, /* of one text */
    SCRIPT_BUDGET = 5 * 1000 * 1000, /* the worst that we know takes a fifth of the time until others elect a leader */
    SCRIPT_BEAT_STEPS = 100 * 1000,
    SCRIPT_MEMORY_BYTES = 64 << 20,
    SCRIPT_SHA_BYTES = 40,
};

struct script_engine;

struct script_place {
    void *region;                           /* SCRIPT_REGION_BYTES, zeroed, at SCRIPT_ADDRESS */
    void (*release)(void *at, size_t size); /* gives pages back to the system after a run that took many; may be NULL */
    bool verify;                            /* compares the whole region before each run: for tests */
};

/* Makes Lua's state in the region. One open engine at a time. */
struct script_engine *script_engine_open(const struct script_place *place);
void script_engine_close(struct script_engine *engine);

/* What carries out the commands of a script. */
struct script_host {
    void *context;
    /* Executes a command and appends its reply, in RESP of that version; an error reply says what was refused, and why.
     * Returns what it costs, in steps of the budget. */
    uint64_t (*call)(void *context, const struct slice *argv, uint32_t argc, int protocol, struct buffer *reply);
    /* Bytes that are kept for the run, to take back what it wrote: they count as its memory, and are asked for after
     * each call. A host may refuse to execute and name what it would have had to keep, past the limit. NULL: nothing.
     */
    size_t (*held)(void *context);
    /* Whether there is such a command. */
    bool (*knows)(void *context, struct slice name);
    /* Called every SCRIPT_BEAT_STEPS or so, from anywhere in a run: whoever waits for its end may say to others that it
     * lives. It leaves the run and the engine alone. NULL: nothing. */
    void (*beat)(void *context);
};

enum script_flag {
    SCRIPT_NO_WRITES = 1 << 0,
    SCRIPT_ALLOW_OOM = 1 << 1,
    SCRIPT_ALLOW_STALE = 1 << 2,
    SCRIPT_NO_CLUSTER = 1 << 3,
    SCRIPT_CROSS_SLOT = 1 << 4,
};

/* Reads "#!lua flags=…" in the first line, when it is there. *ret_body is where Lua begins: with the end of that line,
 * so that lines count from the whole text. False: the reply is Redis's error. */
bool script_shebang(struct slice source, uint32_t *ret_flags, struct slice *ret_body, struct resp_writer *reply);

/* 40 hexadecimal digits of SHA-1. */
void script_sha(struct slice source, char ret_hex[static SCRIPT_SHA_BYTES]);

/* Whether the text is a script; else the reply is Redis's error. */
bool script_check(struct script_engine *engine, struct slice source, struct resp_writer *reply);

struct script_run {
    struct slice source;
    const struct slice *keys;
    const struct slice *args;
    uint32_t key_count;
    uint32_t arg_count;
    uint64_t seed; /* of math.random */
    uint64_t budget;
    size_t memory_bytes;
};

enum script_end {
    SCRIPT_RETURNED,    /* the reply is its value */
    SCRIPT_FAILED,      /* the reply is its error; as in Redis, what it wrote stays */
    SCRIPT_OVER_BUDGET, /* the reply says so; nothing of it may stay */
    SCRIPT_OVER_MEMORY,
};

/* Runs a script and writes one reply. ret_used: steps, at most a little more than the budget. */
enum script_end script_run(struct script_engine *engine, const struct script_run *run, const struct script_host *host,
                           struct resp_writer *reply, uint64_t *ret_used);
/* Of the last run's steps, those that went into compiling its text: a run of the same text soon after it takes no time
 * for that. */
uint64_t script_compiled(const struct script_engine *engine);
