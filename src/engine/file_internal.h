/* For file*.c. */
#pragma once

#include "engine/file.h"
#include "engine/machine_time.h"
#include "engine/stored.h"

#include <limits.h>

#define FILE_SUFFIX ".lock"

/* At the beginning of each of a file's two places; behind it the lock's name and its state. */
struct file_header {
    char magic[8];
    uint32_t form;
    uint32_t zero;
    uint64_t checksum; /* XXH3 of all behind it: header, key, state */
    uint64_t sequence;
    uint8_t boot[MACHINE_BOOT_BYTES];
    uint64_t tokens_until; /* on disk: no larger token was given */
    uint32_t key_bytes;
    uint32_t state_bytes;
};

struct file_engine {
    struct stored stored;
    uint8_t boot[MACHINE_BOOT_BYTES];
    int notices;
    int fd; /* of the lock that was entered; −1: none */
    struct file_header header;
    struct buffer bytes; /* a place: header, key, state */
    char path[PATH_MAX];
    char folder[];
};

/* ---- file_open.c: which file a lock is, and who may look at it ---- */

/* What errno says. */
enum engine_code file_trouble(struct file_engine *file, const char *what);

/* Sets `path`. */
enum engine_code file_set_path(struct file_engine *file, struct slice key);

/* Opens it and takes its record lock. ENGINE_NOT: there is none, and `looks`. */
enum engine_code file_open(struct file_engine *file, bool looks);

/* Closes it, if it is open, which gives the record lock back. */
void file_close(struct file_engine *file);
