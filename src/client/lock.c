#include "client/lock.h"

#include "base/assert.h"
#include "base/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static struct cohort_bytes bytes_of(struct slice slice) { return cohort_bytes_of(slice.data, slice.size); }

void lock_was_confirmed(struct cohort_lock *lock, int64_t sent_boottime_ns, int64_t left_ms)
{
    int64_t allowance_ns = (int64_t)LOCK_DRIFT_MS * 1000000 + left_ms * 1000000 / LOCK_DRIFT_DIVISOR;
    int64_t until_ns = sent_boottime_ns + left_ms * 1000000 - allowance_ns;
    if (!lock->is_over && until_ns > lock->valid_until_ns) {
        lock->valid_until_ns = until_ns;
    }
}

void lock_is_over(struct cohort_lock *lock)
{
    lock->is_over = true;
    lock->valid_until_ns = 0;
}

/* ---- a lock in memory ---- */

static bool make_owner(char text[static LOCK_OWNER_BYTES])
{
    uint8_t random[16];
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", random[i]);
    }
    return true;
}

static struct slice put(uint8_t **at, const void *data, size_t size)
{
    uint8_t *start = *at;
    if (size > 0) {
        memcpy(start, data, size);
    }
    *at += size;
    return slice_of(start, size);
}

static struct cohort_lock *create(struct cohort *cohort, struct cohort_bytes key,
                                  const struct cohort_lock_options *options)
{
    char random[LOCK_OWNER_BYTES];
    struct cohort_bytes owner = options->owner;
    if (owner.data == NULL) {
        if (!make_owner(random)) {
            return NULL;
        }
        owner = cohort_text(random);
    }
    struct cohort_lock *lock = malloc(sizeof(*lock) + key.size + owner.size);
    if (lock != NULL) {
        *lock = (struct cohort_lock){.cohort = cohort, .ttl_ms = options->ttl_ms};
        uint8_t *at = (uint8_t *)(lock + 1);
        lock->key = put(&at, key.data, key.size);
        lock->owner = put(&at, owner.data, owner.size);
    }
    return lock;
}

void cohort_lock_free(struct cohort_lock *lock)
{
    ASSERT(lock == NULL || lock->keeper == NULL);
    free(lock);
}

uint64_t cohort_lock_token(const struct cohort_lock *lock) { return lock->token; }

int64_t cohort_lock_valid_until(const struct cohort_lock *lock)
{
    handle_lock(lock->cohort);
    int64_t until_ns = lock->valid_until_ns;
    handle_unlock(lock->cohort);
    return until_ns;
}

/* ---- renew ---- */

/* The reply to LOCK.RENEW is the time that is left. */
static bool take_renewal(struct operation *operation, bool may_go_on)
{
    struct cohort_lock *lock = operation->context;
    if (operation->status == COHORT_OK) {
        lock_was_confirmed(lock, operation->sent_boottime_ns, cohort_reply_integer(operation->reply));
    } else if (operation->status == COHORT_LOCKLOST) {
        lock_is_over(lock);
    }
    return false;
}

/* LOCK.RENEW key owner token PX ttl */
static size_t renew_words(const struct cohort_lock *lock, char ttl[static NUMBER_INT64_BYTES],
                          struct cohort_bytes argv[static 6])
{
    argv[0] = cohort_text("LOCK.RENEW");
    argv[1] = bytes_of(lock->key);
    argv[2] = bytes_of(lock->owner);
    argv[3] = cohort_text(lock->token_text);
    argv[4] = cohort_text("PX");
    argv[5] = cohort_bytes_of(ttl, number_format_int64(ttl, lock->ttl_ms));
    return 6;
}

struct operation *lock_renewal(struct cohort_lock *lock, int64_t timeout_ms)
{
    char ttl[NUMBER_INT64_BYTES];
    struct cohort_bytes argv[6];
    struct client_request request = {.argv = argv,
                                     .argc = renew_words(lock, ttl, argv),
                                     .flags = COHORT_AGAIN,
                                     .timeout_ms = timeout_ms,
                                     .key = &argv[1],
                                     .step = take_renewal,
                                     .context = lock};
    struct operation *operation = NULL;
    return operation_create(lock->cohort, &request, &operation) == STATUS_OK ? operation : NULL;
}

enum cohort_status cohort_lock_renew(struct cohort_lock *lock, struct cohort_reply **ret_reply)
{
    return client_run(lock->cohort, lock_renewal(lock, 0), ret_reply);
}

enum cohort_status cohort_lock_renew_start(struct cohort_lock *lock, cohort_callback callback, void *data)
{
    return client_submit(lock->cohort, lock_renewal(lock, 0), callback, data);
}

/* ---- release ---- */

/* 0 means that it was not held: an earlier attempt may have released it. */
static bool take_release(struct operation *operation, bool may_go_on)
{
    if (operation->status == COHORT_OK && cohort_reply_integer(operation->reply) == 0 && !operation->was_lost) {
        operation->status = COHORT_LOCKLOST;
    }
    return false;
}

static struct operation *release_operation(struct cohort_lock *lock)
{
    struct cohort_bytes argv[] = {cohort_text("LOCK.RELEASE"), bytes_of(lock->key), bytes_of(lock->owner),
                                  cohort_text(lock->token_text)};
    struct client_request request = {
        .argv = argv, .argc = 4, .flags = COHORT_AGAIN, .key = &argv[1], .step = take_release};
    handle_lock(lock->cohort);
    lock_is_over(lock);
    handle_unlock(lock->cohort);
    struct operation *operation = NULL;
    return operation_create(lock->cohort, &request, &operation) == STATUS_OK ? operation : NULL;
}

enum cohort_status cohort_lock_release(struct cohort_lock *lock, struct cohort_reply **ret_reply)
{
    return client_run(lock->cohort, release_operation(lock), ret_reply);
}

enum cohort_status cohort_lock_release_start(struct cohort_lock *lock, cohort_callback callback, void *data)
{
    return client_submit(lock->cohort, release_operation(lock), callback, data);
}

/* ---- info ---- */

static struct client_request info_request(struct cohort_bytes argv[static 2], struct cohort_bytes key)
{
    argv[0] = cohort_text("LOCK.INFO");
    argv[1] = key;
    return (struct client_request){
        .argv = argv, .argc = 2, .flags = COHORT_READ, .key = &argv[1], .step = step_nil_is_not_found};
}

enum cohort_status cohort_lock_info(struct cohort *cohort, struct cohort_bytes key, struct cohort_reply **ret_reply)
{
    struct cohort_bytes argv[2];
    struct client_request request = info_request(argv, key);
    return client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_lock_info_start(struct cohort *cohort, struct cohort_bytes key, cohort_callback callback,
                                          void *data)
{
    struct cohort_bytes argv[2];
    struct client_request request = info_request(argv, key);
    return client_start(cohort, &request, callback, data);
}

/* ---- acquire ---- */

/* What an acquire in the making has; it is the operation's context. */
struct acquire {
    struct cohort_lock *lock; /* NULL once it was handed out */
    cohort_lock_callback callback;
    void *data;
};

enum acquire_stage { STAGE_ASK, STAGE_RENEW };

static void release_acquire(void *context)
{
    struct acquire *acquire = context;
    cohort_lock_free(acquire->lock);
    free(acquire);
}

static bool renew_at_once(struct operation *operation, struct cohort_lock *lock)
{
    char ttl[NUMBER_INT64_BYTES];
    struct cohort_bytes argv[6];
    operation->stage = STAGE_RENEW;
    return operation_ask(operation, argv, renew_words(lock, ttl, argv)) == STATUS_OK;
}

/* Granted. One that waited counts from its grant, which nobody here saw: a renewal does. */
static bool granted(struct operation *operation, struct cohort_lock *lock, bool may_go_on)
{
    const struct cohort_reply *token = cohort_reply_at(operation->reply, 0);
    int64_t left_ms = cohort_reply_integer(cohort_reply_at(operation->reply, 1));
    lock->token = (uint64_t)cohort_reply_integer(token);
    (void)snprintf(lock->token_text, sizeof(lock->token_text), "%llu", (unsigned long long)lock->token);
    lock_was_confirmed(lock, operation->sent_boottime_ns, left_ms);
    int64_t waited_ns = handle_boottime_ns() - operation->sent_boottime_ns;
    bool waited = waited_ns > left_ms * 1000000 / 8;
    return waited && may_go_on && renew_at_once(operation, lock);
}

static bool take_acquire(struct operation *operation, bool may_go_on)
{
    struct acquire *acquire = operation->context;
    if (operation->stage == STAGE_RENEW) {
        if (operation->status == COHORT_OK) {
            lock_was_confirmed(acquire->lock, operation->sent_boottime_ns, cohort_reply_integer(operation->reply));
        } else if (operation->status != COHORT_LOCKLOST && acquire->lock->valid_until_ns > handle_boottime_ns()) {
            operation->status = COHORT_OK; /* as far as the grant itself says */
        }
        return false;
    }
    if (operation->status != COHORT_OK) {
        return false;
    }
    if (cohort_reply_count(operation->reply) < 2) {
        operation->status = COHORT_NOT_GRANTED;
        return false;
    }
    return granted(operation, acquire->lock, may_go_on);
}

enum { ACQUIRE_WORDS = 16 };

struct acquire_words {
    struct cohort_bytes argv[ACQUIRE_WORDS];
    size_t argc;
    char digits[4][NUMBER_INT64_BYTES];
    size_t numbers;
};

static void add(struct acquire_words *words, struct cohort_bytes word) { words->argv[words->argc++] = word; }

static void add_option(struct acquire_words *words, const char *name, int64_t number)
{
    char *digits = words->digits[words->numbers++];
    add(words, cohort_text(name));
    add(words, cohort_bytes_of(digits, number_format_int64(digits, number)));
}

static void acquire_words(struct acquire_words *words, const struct cohort_lock *lock,
                          const struct cohort_lock_options *options)
{
    words->argc = 0;
    words->numbers = 0;
    add(words, cohort_text("LOCK.ACQUIRE"));
    add(words, bytes_of(lock->key));
    add(words, bytes_of(lock->owner));
    add_option(words, "PX", options->ttl_ms);
    if (options->wait_ms > 0) {
        add_option(words, "WAIT", options->wait_ms);
    }
    if (options->mode == COHORT_LOCK_PERMITS) {
        add_option(words, "PERMITS", options->permits);
        add_option(words, "LIMIT", options->limit);
    } else if (options->mode == COHORT_LOCK_SHARED) {
        add(words, cohort_text("MODE"));
        add(words, cohort_text("SHARED"));
    }
    if (options->note.data != NULL) {
        add(words, cohort_text("NOTE"));
        add(words, options->note);
    }
}

static const char *problem_of(const struct cohort_lock_options *options)
{
    if (options->ttl_ms < LOCK_TTL_MINIMUM_MS || options->ttl_ms > LOCK_TTL_MAXIMUM_MS) {
        return "ttl_ms must be from 100 ms to 24 hours";
    }
    if (options->wait_ms < 0) {
        return "wait_ms must not be negative";
    }
    bool counts = options->mode == COHORT_LOCK_PERMITS;
    if (counts && (options->permits == 0 || options->limit < options->permits)) {
        return "permits must be from 1 to limit";
    }
    return NULL;
}

/* NULL: memory was refused. */
static struct operation *acquire_operation(struct cohort *cohort, struct cohort_bytes key,
                                           const struct cohort_lock_options *options, struct acquire **ret_acquire)
{
    struct acquire *acquire = calloc(1, sizeof(*acquire));
    if (acquire == NULL || (acquire->lock = create(cohort, key, options)) == NULL) {
        free(acquire);
        return NULL;
    }
    struct acquire_words words;
    acquire_words(&words, acquire->lock, options);
    bool waits = options->wait_ms > 0;
    struct client_request request = {.argv = words.argv,
                                     .argc = words.argc,
                                     .flags = COHORT_AGAIN | (waits ? OPERATION_PRIVATE | OPERATION_UNHURRIED : 0),
                                     .timeout_ms = waits ? options->wait_ms + cohort->settings.timeout_ms : 0,
                                     .key = &words.argv[1],
                                     .step = take_acquire,
                                     .context = acquire,
                                     .release = release_acquire};
    struct operation *operation = NULL;
    if (operation_create(cohort, &request, &operation) != STATUS_OK) {
        release_acquire(acquire);
        return NULL;
    }
    *ret_acquire = acquire;
    return operation;
}

/* The callback of an acquire without one of its own is a blocking one: the lock is taken out before the operation goes.
 */
static void hand_out(void *data, struct cohort_lock *lock) { *(struct cohort_lock **)data = lock; }

static bool take_for_caller(struct operation *operation, bool may_go_on)
{
    if (take_acquire(operation, may_go_on)) {
        return true;
    }
    struct acquire *acquire = operation->context;
    if (operation->status == COHORT_OK) {
        hand_out(acquire->data, acquire->lock);
        acquire->lock = NULL;
    }
    return false;
}

enum cohort_status cohort_lock_acquire(struct cohort *cohort, struct cohort_bytes key,
                                       const struct cohort_lock_options *options, struct cohort_lock **ret_lock,
                                       struct cohort_reply **ret_reply)
{
    struct cohort_lock_options given;
    client_take_options(&given, sizeof(given), options);
    const char *problem = problem_of(&given);
    if (problem != NULL) {
        return client_refuse(COHORT_INVALID, ret_reply, problem);
    }
    struct acquire *acquire;
    struct operation *operation = acquire_operation(cohort, key, &given, &acquire);
    if (operation != NULL) {
        operation->step = take_for_caller;
        acquire->data = ret_lock;
    }
    return client_run(cohort, operation, ret_reply);
}

static void call_back(struct operation *operation)
{
    struct acquire *acquire = operation->context;
    struct cohort_lock *lock = operation->status == COHORT_OK ? acquire->lock : NULL;
    if (lock != NULL) {
        acquire->lock = NULL;
    }
    acquire->callback(acquire->data, operation->status, lock, operation->reply);
}

enum cohort_status cohort_lock_acquire_start(struct cohort *cohort, struct cohort_bytes key,
                                             const struct cohort_lock_options *options, cohort_lock_callback callback,
                                             void *data)
{
    struct cohort_lock_options given;
    client_take_options(&given, sizeof(given), options);
    if (problem_of(&given) != NULL || callback == NULL) {
        return COHORT_INVALID;
    }
    struct acquire *acquire;
    struct operation *operation = acquire_operation(cohort, key, &given, &acquire);
    if (operation != NULL) {
        acquire->callback = callback;
        acquire->data = data;
        operation->call_back = call_back;
    }
    return client_submit(cohort, operation, NULL, NULL);
}
