/* file:///folder: each lock is a file of the folder, for the processes of one machine.
 *
 * A file has two places for a state (lock_state.h), each with a header; the valid one with the larger sequence counts,
 * and the other one is written. So a process that ends in the middle of writing leaves the state as it was. Whoever
 * reads or writes has the file's record lock (F_OFD_SETLK) meanwhile, some microseconds long.
 *
 * Times are the machine's (machine_time.h). Nobody who held or waited is alive after another boot, so a state of one is
 * emptied.
 *
 * Tokens grow for ever, also when the machine lost power: they are on disk ahead of their use, TOKENS_AHEAD at a time
 * (one sync for so many grants), and after another boot what was set aside is skipped. The first token of a file is the
 * wall clock's second times 2^20, so they also grow when somebody removes the file. */
#include "engine/file_internal.h"

#include "base/hash.h"
#include "engine/local_place.h"
#include "engine/notice.h"

#include <cohort/engine.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FORM = 1,
    PLACE_BYTES = 1 << 20, /* more than any state takes; what is not written takes no disk */
    TOKENS_AHEAD = 4096,
    WALL_SHIFT = 20,
};

static const char magic[8] = {'C', 'o', 'h', 'L', 'o', 'c', 'k', '\n'};

static struct file_engine *file_of(struct engine *engine) { return (struct file_engine *)engine; }

static enum engine_code damaged(struct file_engine *file)
{
    return engine_problem(
        &file->stored.engine, ENGINE_REFUSED,
        "ERR %s is damaged, or no lock of Cohort's: look at it, and remove it when nobody holds the lock", file->path);
}

/* ---- a place ---- */

static uint64_t checksum_of(const struct buffer *bytes)
{
    size_t start = offsetof(struct file_header, checksum) + sizeof(uint64_t);
    return hash_bytes(0, bytes->data + start, bytes->size - start);
}

static bool header_is_sound(const struct file_header *header)
{
    return memcmp(header->magic, magic, sizeof(magic)) == 0 && header->key_bytes <= LOCK_STATE_KEY_BYTES &&
           header->state_bytes <= PLACE_BYTES - sizeof(*header) - LOCK_STATE_KEY_BYTES;
}

/* Reads a place into `bytes`. ENGINE_NOT: nothing valid stands there. */
static enum engine_code read_place(struct file_engine *file, uint64_t place, struct file_header *ret_header)
{
    off_t at = (off_t)(place * PLACE_BYTES);
    ssize_t size = pread(file->fd, ret_header, sizeof(*ret_header), at);
    if (size < 0) {
        return file_trouble(file, "read it");
    }
    if (size != sizeof(*ret_header) || !header_is_sound(ret_header)) {
        return ENGINE_NOT;
    }
    size_t whole = sizeof(*ret_header) + ret_header->key_bytes + ret_header->state_bytes;
    buffer_clear(&file->bytes);
    if (!buffer_try_reserve(&file->bytes, whole)) {
        errno = ENOMEM;
        return file_trouble(file, "read it");
    }
    size = pread(file->fd, file->bytes.data, whole, at);
    if (size < 0) {
        return file_trouble(file, "read it");
    }
    file->bytes.size = (size_t)size;
    bool is_valid = (size_t)size == whole && checksum_of(&file->bytes) == ret_header->checksum;
    return is_valid ? ENGINE_OK : ENGINE_NOT;
}

/* The place that counts is in `bytes`, its header in `header`. ENGINE_NOT: there is none. */
static enum engine_code read_places(struct file_engine *file)
{
    struct file_header headers[2] = {0};
    enum engine_code codes[2];
    for (uint64_t place = 0; place < 2; place++) {
        codes[place] = read_place(file, place, &headers[place]);
        if (codes[place] != ENGINE_OK && codes[place] != ENGINE_NOT) {
            return codes[place];
        }
    }
    if (codes[0] != ENGINE_OK && codes[1] != ENGINE_OK) {
        return ENGINE_NOT;
    }
    bool second = codes[1] == ENGINE_OK && (codes[0] != ENGINE_OK || headers[1].sequence > headers[0].sequence);
    file->header = headers[second];
    if (second) {
        return ENGINE_OK; /* it was read last */
    }
    return read_place(file, 0, &headers[0]);
}

static uint64_t wall_token(void) { return (uint64_t)time(NULL) << WALL_SHIFT; }

/* No place is valid: the file is new, or is none of ours. */
static enum engine_code begin_file(struct file_engine *file, struct slice key, struct lock_state *ret_state)
{
    struct stat found;
    if (fstat(file->fd, &found) != 0) {
        return file_trouble(file, "read it");
    }
    if (found.st_size != 0) {
        return damaged(file);
    }
    file->header = (struct file_header){.form = FORM, .key_bytes = (uint32_t)key.size};
    memcpy(file->header.magic, magic, sizeof(magic));
    memcpy(file->header.boot, file->boot, sizeof(file->boot));
    ret_state->token = wall_token();
    return ENGINE_OK;
}

static enum engine_code take_state(struct file_engine *file, struct slice key, struct lock_state *ret_state)
{
    const struct file_header *header = &file->header;
    struct slice kept = slice_of(file->bytes.data + sizeof(*header), header->key_bytes);
    if (header->form != FORM) {
        return engine_problem(&file->stored.engine, ENGINE_REFUSED,
                              "ERR %s was written by a newer Cohort: use that one", file->path);
    }
    if (!slice_equal(kept, key)) {
        return damaged(file);
    }
    enum status status = lock_state_read(ret_state, slice_of(kept.data + kept.size, header->state_bytes));
    if (status == STATUS_NOMEM) {
        errno = ENOMEM;
        return file_trouble(file, "read it");
    }
    if (status != STATUS_OK) {
        return damaged(file);
    }
    if (memcmp(header->boot, file->boot, sizeof(file->boot)) != 0) {
        uint64_t wall = wall_token();
        ret_state->token = ret_state->token > header->tokens_until ? ret_state->token : header->tokens_until;
        ret_state->token = ret_state->token > wall ? ret_state->token : wall;
        lock_state_end_all(ret_state, machine_time_ms());
        memcpy(file->header.boot, file->boot, sizeof(file->boot));
    }
    return ENGINE_OK;
}

static enum engine_code enter(struct stored *stored, struct slice key, bool looks, struct lock_state *ret_state,
                              int64_t *ret_now_ms)
{
    struct file_engine *file = file_of(&stored->engine);
    enum engine_code code = file_set_path(file, key);
    code = code == ENGINE_OK ? file_open(file, looks) : code;
    if (code != ENGINE_OK) {
        *ret_now_ms = machine_time_ms();
        return code == ENGINE_NOT ? ENGINE_OK : code; /* nobody ever had it */
    }
    code = read_places(file);
    code = code == ENGINE_NOT  ? begin_file(file, key, ret_state)
           : code == ENGINE_OK ? take_state(file, key, ret_state)
                               : code;
    if (code != ENGINE_OK) {
        file_close(file);
    }
    *ret_now_ms = machine_time_ms(); /* now that nobody else writes */
    return code;
}

/* ---- writing ---- */

static bool fill_bytes(struct file_engine *file, struct slice key, const struct lock_state *state)
{
    buffer_clear(&file->bytes);
    if (!buffer_try_reserve(&file->bytes, sizeof(file->header) + key.size)) {
        return false;
    }
    file->bytes.size = sizeof(file->header);
    buffer_append_slice(&file->bytes, key);
    if (!lock_state_write(state, &file->bytes)) {
        return false;
    }
    file->header.state_bytes = (uint32_t)(file->bytes.size - sizeof(file->header) - key.size);
    memcpy(file->bytes.data, &file->header, sizeof(file->header));
    file->header.checksum = checksum_of(&file->bytes);
    memcpy(file->bytes.data, &file->header, sizeof(file->header));
    return true;
}

static enum engine_code write_place(struct file_engine *file)
{
    off_t at = (off_t)(file->header.sequence % 2 * PLACE_BYTES);
    size_t done = 0;
    while (done < file->bytes.size) {
        ssize_t size = pwrite(file->fd, file->bytes.data + done, file->bytes.size - done, at + (off_t)done);
        if (size < 0 && errno != EINTR) {
            return file_trouble(file, "write it");
        }
        done += size < 0 ? 0 : (size_t)size;
    }
    return ENGINE_OK;
}

static enum engine_code write_state(struct file_engine *file, struct slice key, const struct lock_state *state)
{
    bool set_aside = state->token > file->header.tokens_until || state->fence > state->token;
    if (state->token > file->header.tokens_until) {
        file->header.tokens_until = state->token + TOKENS_AHEAD;
    }
    file->header.sequence++;
    file->header.key_bytes = (uint32_t)key.size;
    if (!fill_bytes(file, key, state)) {
        errno = ENOMEM;
        return file_trouble(file, "write it");
    }
    enum engine_code code = write_place(file);
    if (code == ENGINE_OK && set_aside && fdatasync(file->fd) != 0) {
        return engine_problem(&file->stored.engine, ENGINE_UNCERTAIN, "%s: cannot sync it: %s", file->path,
                              strerror(errno));
    }
    return code;
}

static enum engine_code leave(struct stored *stored, struct slice key, const struct lock_state *state, bool changed)
{
    struct file_engine *file = file_of(&stored->engine);
    enum engine_code code = changed ? write_state(file, key, state) : ENGINE_OK;
    file_close(file);
    return code;
}

static const struct stored_ops file_store = {enter, leave};

/* ---- listing ---- */

static bool has_suffix(const char *name)
{
    size_t size = strlen(name);
    return size > strlen(FILE_SUFFIX) && strcmp(name + size - strlen(FILE_SUFFIX), FILE_SUFFIX) == 0;
}

static void list_file(struct file_engine *file, const char *name, engine_listed listed, void *data)
{
    int length = snprintf(file->path, sizeof(file->path), "%s/%s", file->folder, name);
    if (length < 0 || (size_t)length >= sizeof(file->path) || file_open(file, true) != ENGINE_OK) {
        return; /* gone meanwhile */
    }
    struct lock_state state;
    lock_state_init(&state);
    if (read_places(file) == ENGINE_OK) {
        struct slice key = slice_of(file->bytes.data + sizeof(file->header), file->header.key_bytes);
        if (take_state(file, key, &state) == ENGINE_OK) {
            (void)lock_state_expire(&state, machine_time_ms());
            if (state.holder_count + state.waiter_count > 0) {
                listed(data, key);
            }
        }
    }
    lock_state_deinit(&state);
    file_close(file);
}

static enum engine_code list(struct engine *engine, engine_listed listed, void *data)
{
    struct file_engine *file = file_of(engine);
    DIR *folder = opendir(file->folder);
    (void)snprintf(file->path, sizeof(file->path), "%s", file->folder);
    if (folder == NULL) {
        return file_trouble(file, "read it");
    }
    for (const struct dirent *at = readdir(folder); at != NULL; at = readdir(folder)) {
        if (has_suffix(at->d_name)) {
            list_file(file, at->d_name, listed, data);
        }
    }
    (void)closedir(folder);
    return ENGINE_OK;
}

/* ---- opening ---- */

static void close_engine(struct engine *engine)
{
    struct file_engine *file = file_of(engine);
    if (file->notices >= 0) {
        (void)close(file->notices);
    }
    buffer_deinit(&file->bytes);
    free(file);
}

static int fd_of(const struct engine *engine) { return ((const struct file_engine *)engine)->notices; }
static void heard(struct engine *engine) { notice_take(file_of(engine)->notices); }

static enum engine_code acquire(struct engine *engine, const struct lock_wanted *wanted,
                                struct lock_granted *ret_granted)
{
    enum engine_code code = stored_acquire(engine, wanted, ret_granted);
    if (file_of(engine)->notices < 0 && ret_granted->again_ms > NOTICE_POLL_MS) {
        ret_granted->again_ms = NOTICE_POLL_MS;
    }
    return code;
}

static enum status open_folder(const struct engine_url *url, char problem[static ENGINE_PROBLEM_BYTES])
{
    const char *folder = (const char *)url->place.data;
    struct stat found;
    if (folder[0] != '/') {
        (void)snprintf(problem, ENGINE_PROBLEM_BYTES,
                       "file:// wants the whole path of a folder: file:///var/lib/locks");
        return STATUS_INVALID;
    }
    bool is_local = false;
    for (uint32_t i = 0; i < url->option_count; i++) {
        is_local = slice_equal(url->options[i].name, SLICE_LITERAL("local")) &&
                   slice_equal(url->options[i].value, SLICE_LITERAL("yes"));
        if (!is_local) {
            (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "unknown option; there are: timeout=DURATION, local=yes");
            return STATUS_INVALID;
        }
    }
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%s: cannot make the folder: %s", folder, strerror(errno));
        return STATUS_INVALID;
    }
    if (stat(folder, &found) != 0 || !S_ISDIR(found.st_mode)) {
        (void)snprintf(problem, ENGINE_PROBLEM_BYTES, "%s is no folder", folder);
        return STATUS_INVALID;
    }
    const char *remote = is_local ? NULL : local_place_problem(folder);
    if (remote != NULL) {
        (void)snprintf(problem, ENGINE_PROBLEM_BYTES,
                       "%.150s is on a file system of other machines, too (%s), and file:// is for one: choose another "
                       "folder, or say local=yes when only this machine has it",
                       folder, remote);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static enum status open_engine(const struct engine_url *url, struct engine **ret_engine,
                               char ret_problem[static ENGINE_PROBLEM_BYTES])
{
    enum status status = open_folder(url, ret_problem);
    if (status != STATUS_OK) {
        return status;
    }
    struct file_engine *file = malloc(sizeof(*file) + url->place.size + 1);
    if (file == NULL) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES, "memory was refused");
        return STATUS_NOMEM;
    }
    *file = (struct file_engine){
        .stored = {.engine = {.ops = &engine_file}, .store = &file_store}, .notices = -1, .fd = -1};
    memcpy(file->folder, url->place.data, url->place.size + 1);
    if (machine_boot(file->boot) != STATUS_OK) {
        (void)snprintf(ret_problem, ENGINE_PROBLEM_BYTES,
                       "file:// needs /proc/sys/kernel/random/boot_id, which cannot be read");
        close_engine(&file->stored.engine);
        return STATUS_IO;
    }
    file->notices = notice_open(file->folder);
    *ret_engine = &file->stored.engine;
    return STATUS_OK;
}

const struct engine_ops engine_file = {
    .scheme = "file",
    .can = COHORT_CAN_PROCESSES | COHORT_CAN_LOCK | COHORT_CAN_SHARE | COHORT_CAN_PERMITS | COHORT_CAN_QUEUE |
           COHORT_CAN_FENCE | COHORT_CAN_ELECT | COHORT_CAN_LOOK,
    .open = open_engine,
    .close = close_engine,
    .fd = fd_of,
    .heard = heard,
    .acquire = acquire,
    .renew = stored_renew,
    .release = stored_release,
    .leave = stored_leave,
    .look = stored_look,
    .fence = stored_fence,
    .list = list,
};
