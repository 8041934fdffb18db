/* A node's disk in memory: a folder tree that outlives a crash of its node, and that loses what a real one may lose.
 *
 * What is guaranteed after sim_disk_crash (POSIX, and ext4 where POSIX is silent):
 * 1. Synced content stays: everything written and every change of size before a sync of that file that returned OK.
 * 2. Synced names stay: what was made, renamed or removed in a folder before a sync of that folder that returned OK.
 * Syncing a file says nothing about its name, and syncing a name nothing about the file's content.
 * 3. A rename is atomic: the crash leaves the old names or the new one, never both halves.
 * 4. Everything else is drawn from the seed. For each sector of a file, a prefix of the unsynced writes to it has
 *    happened, possibly with the next one torn within the sector; a size is one that the file had since the last sync;
 *    name changes are lost or kept, some in order and some each for itself.
 * 5. After a failed sync each unsynced sector is lost or kept *now*, though reads still see it; no later sync brings it
 *    to the disk (what Linux does).
 *
 * Not thread-safe; the simulator runs background work on its one thread. */
#pragma once

#include "env/env.h"

struct sim_disk;

/* Kinds of operations, for faults and crash points. */
enum sim_disk_kind {
    SIM_DISK_OPEN = 1 << 0, /* of a file that is there */
    SIM_DISK_CREATE = 1 << 1,
    SIM_DISK_READ = 1 << 2,
    SIM_DISK_WRITE = 1 << 3,
    SIM_DISK_SYNC = 1 << 4,
    SIM_DISK_SIZE = 1 << 5,
    SIM_DISK_TRUNCATE = 1 << 6,
    SIM_DISK_RENAME = 1 << 7,
    SIM_DISK_UNLINK = 1 << 8,
    SIM_DISK_MAKE_DIRECTORY = 1 << 9,
    SIM_DISK_SYNC_DIRECTORY = 1 << 10,
    SIM_DISK_LIST_DIRECTORY = 1 << 11,
    SIM_DISK_LOCK = 1 << 12,

    SIM_DISK_CHANGES = SIM_DISK_CREATE | SIM_DISK_WRITE | SIM_DISK_SYNC | SIM_DISK_TRUNCATE | SIM_DISK_RENAME |
                       SIM_DISK_UNLINK | SIM_DISK_MAKE_DIRECTORY | SIM_DISK_SYNC_DIRECTORY,
    SIM_DISK_ALL = (1 << 13) - 1,
};

/* The seed decides outcomes of crashes and faults. The root folder is there; "/a/b", "a/b", "./a//b" and "a/c/../b" are
 * one path.
 */
struct sim_disk *sim_disk_create(uint64_t seed);
/* Also frees files that are still open. */
void sim_disk_destroy(struct sim_disk *disk);

/* ---- settings ---- */

/* What is written atomically: 512 (the default) or 4096. */
void sim_disk_set_sector(struct sim_disk *disk, size_t sector_bytes);
/* Writes that would make all files together larger fail with STATUS_NOSPACE; 0: no limit. */
void sim_disk_set_quota(struct sim_disk *disk, uint64_t quota_bytes);

/* ---- the env's file operations ---- */
enum status sim_disk_open(struct sim_disk *disk, const char *path, int flags, struct env_file **ret_file);
void sim_disk_close(struct sim_disk *disk, struct env_file *file);
enum status sim_disk_read(struct sim_disk *disk, struct env_file *file, uint64_t offset, void *data, size_t size,
                          size_t *ret_size);
enum status sim_disk_write(struct sim_disk *disk, struct env_file *file, uint64_t offset, const struct iovec *parts,
                           int count);
enum status sim_disk_sync(struct sim_disk *disk, struct env_file *file);
enum status sim_disk_size(struct sim_disk *disk, struct env_file *file, uint64_t *ret_size);
enum status sim_disk_truncate(struct sim_disk *disk, struct env_file *file, uint64_t size);
/* Of files; a folder cannot be renamed (STATUS_UNSUPPORTED). */
enum status sim_disk_rename(struct sim_disk *disk, const char *from, const char *to);
enum status sim_disk_unlink(struct sim_disk *disk, const char *path);
enum status sim_disk_make_directory(struct sim_disk *disk, const char *path);
enum status sim_disk_sync_directory(struct sim_disk *disk, const char *path);
enum status sim_disk_list_directory(struct sim_disk *disk, const char *path,
                                    void (*entry)(void *owner, const char *name), void *owner);
enum status sim_disk_lock_file(struct sim_disk *disk, const char *path, struct env_file **ret_file);

/* ---- crashes ---- */

/* The node loses power: unsynced changes are settled as above, locks are gone, and files still open are dead (every
 * operation on them but close fails with STATUS_IO). Afterwards the disk serves the next start of the node. */
void sim_disk_crash(struct sim_disk *disk);

/* The process is killed but the machine lives: locks go and open files are dead, nothing else is lost. */
void sim_disk_kill(struct sim_disk *disk);

/* Operation number `skip` (0: the next) from now of these kinds takes effect and returns; then `crashed` is called, and
 * every later operation fails with STATUS_IO and has no effect until sim_disk_crash or sim_disk_kill. The callback must
 * not call into the disk or the node. NULL is allowed. */
void sim_disk_crash_after(struct sim_disk *disk, int kinds, uint64_t skip, void (*crashed)(void *owner), void *owner);
/* True between that moment and sim_disk_crash or sim_disk_kill. */
bool sim_disk_down(const struct sim_disk *disk);

/* ---- faults ---- */
struct sim_disk_fault {
    int kinds;
    enum status status; /* STATUS_IO, STATUS_NOSPACE, STATUS_READONLY, … */
    uint64_t skip;      /* so many operations of these kinds pass first */
    uint64_t times;     /* then so many fail; UINT64_MAX for ever */
    uint32_t one_in;    /* each of those fails with this chance; 0 and 1: always */
};
enum { SIM_DISK_MAXIMUM_FAULTS = 16 };
/* A failing write may have written a part; a failing sync settles what was unsynced; the others do nothing. */
void sim_disk_add_fault(struct sim_disk *disk, const struct sim_disk_fault *fault);
void sim_disk_clear_faults(struct sim_disk *disk);

/* ---- looking, and damage ---- */

/* Operations of these kinds since creation, failed ones included. */
uint64_t sim_disk_operations(const struct sim_disk *disk, int kinds);
/* The content as a read would see it (borrowed until the next operation); STATUS_NOTFOUND. */
enum status sim_disk_peek(struct sim_disk *disk, const char *path, struct slice *ret_content);
/* Each file, in the order in which they were made. */
void sim_disk_each_file(const struct sim_disk *disk, void (*file)(void *owner, const char *path, uint64_t size),
                        void *owner);
/* Bit rot: flips a bit of a byte inside the file, on the disk and in the cache. */
enum status sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, int bit);
/* From now on syncs answer OK and do nothing: a program without fsync, or a disk that lies. */
void sim_disk_set_lying(struct sim_disk *disk, bool lying);
/* Bytes of all files. */
uint64_t sim_disk_used(const struct sim_disk *disk);
