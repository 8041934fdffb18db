/* Acquiring: one request, and a renewal when it has waited (lock.h). */
#include "base/number.h"
#include "client/lock.h"
#include "client/session.h"
#include "wire/resp_command.h"

#include <stdio.h>
#include <stdlib.h>

/* What an acquire in the making has; it is the operation's context. */
struct acquire {
    struct cohort_lock *lock; /* NULL once it was handed out */
    int64_t wait_until_ns;    /* CLOCK_MONOTONIC; 0: it does not wait */
    size_t wait_at;           /* where in the request the time of WAIT stands, the last word */
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
    struct cohort_bytes argv[LOCK_RENEW_WORDS];
    operation->stage = STAGE_RENEW;
    return operation_ask(operation, argv, client_lock_renew_words(lock, ttl, argv)) == STATUS_OK;
}

/* Granted. One that waited counts from its grant, which nobody here saw: a renewal does. */
static bool granted(struct operation *operation, struct cohort_lock *lock, bool may_go_on)
{
    const struct cohort_reply *token = cohort_reply_at(operation->reply, 0);
    int64_t left_ms = cohort_reply_integer(cohort_reply_at(operation->reply, 1));
    lock->token = (uint64_t)cohort_reply_integer(token);
    (void)snprintf(lock->token_text, sizeof(lock->token_text), "%llu", (unsigned long long)lock->token);
    if (lock->session != NULL) {
        return false; /* it is valid as long as that */
    }
    lease_confirm(&lock->lease, operation->sent_boottime_ns, left_ms);
    int64_t waited_ns = handle_boottime_ns() - operation->sent_boottime_ns;
    bool waited = waited_ns / 1000000 > left_ms / 8;
    return waited && may_go_on && renew_at_once(operation, lock);
}

static bool take_acquire(struct operation *operation, bool may_go_on)
{
    struct acquire *acquire = operation->context;
    if (operation->stage == STAGE_RENEW) {
        if (client_lock_take_renewal(operation, acquire->lock, may_go_on)) {
            return true;
        }
        bool is_valid = acquire->lock->lease.valid_until_ns > handle_boottime_ns();
        if (operation->status != COHORT_LOCKLOST && is_valid) {
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

/* Sent again, it waits for the rest of its time alone. */
static void shorten_wait(struct operation *operation)
{
    const struct acquire *acquire = operation->context;
    if (operation->stage != STAGE_ASK || acquire->wait_until_ns == 0) {
        return;
    }
    int64_t left_ms = (acquire->wait_until_ns - client_clock_ns()) / 1000000;
    char digits[NUMBER_INT64_BYTES];
    size_t size = number_format_int64(digits, left_ms > 0 ? left_ms : 0);
    operation->request.size = acquire->wait_at;
    struct resp_writer writer = resp_writer_to(&operation->request, RESP2);
    resp_bulk(&writer, slice_of(digits, size));
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

static void add_pair(struct acquire_words *words, const char *name, struct cohort_bytes value)
{
    add(words, cohort_text(name));
    add(words, value);
}

static void acquire_words(struct acquire_words *words, const struct cohort_lock *lock, const struct lock_wanted *wanted)
{
    const struct cohort_lock_options *options = &wanted->options;
    words->argc = 0;
    words->numbers = 0;
    add_pair(words, wanted->words->acquire, cohort_bytes_of(lock->key.data, lock->key.size));
    add(words, cohort_bytes_of(lock->owner.data, lock->owner.size));
    if (options->session != NULL) {
        add_pair(words, "SESSION", cohort_text(cohort_session_id(options->session)));
    } else {
        add_option(words, "PX", options->ttl_ms);
    }
    if (options->mode == COHORT_LOCK_PERMITS) {
        add_option(words, "PERMITS", options->permits);
        add_option(words, "LIMIT", options->limit);
    } else if (options->mode == COHORT_LOCK_SHARED) {
        add_pair(words, "MODE", cohort_text("SHARED"));
    }
    if (options->note.data != NULL) {
        add_pair(words, "NOTE", options->note);
    }
    if (wanted->value.data != NULL) {
        add_pair(words, "VALUE", wanted->value);
    }
    if (options->wait_ms > 0) { /* the last: shorten_wait */
        add_option(words, "WAIT", options->wait_ms);
    }
}

/* What the last word takes: its length, itself, two line ends. */
static size_t last_word_bytes(const struct acquire_words *words)
{
    char digits[NUMBER_INT64_BYTES];
    size_t size = words->argv[words->argc - 1].size;
    return strlen("$\r\n\r\n") + number_format_int64(digits, (int64_t)size) + size;
}

static const char *problem_of(const struct cohort *cohort, const struct cohort_lock_options *options)
{
    if (options->session != NULL && options->session->lease.cohort != cohort) {
        return "the session is of another handle; open one with this handle";
    }
    if (options->owner.data != NULL && options->owner.size == 0) {
        return "the owner is empty, and whoever else has an empty one would hold the same lock; leave it out for a "
               "random one";
    }
    bool has_time = options->ttl_ms >= LEASE_TTL_MINIMUM_MS && options->ttl_ms <= LEASE_TTL_MAXIMUM_MS;
    if (options->session == NULL && !has_time) {
        return "ttl_ms must be from 100 ms to 24 hours";
    }
    if (options->wait_ms < 0 || options->wait_ms > LEASE_WAIT_MAXIMUM_MS) {
        return "wait_ms must be from 0 to a year";
    }
    if ((unsigned)options->mode > COHORT_LOCK_PERMITS) {
        return "there is no such mode";
    }
    bool counts = options->mode == COHORT_LOCK_PERMITS;
    if (counts && (options->permits == 0 || options->limit < options->permits)) {
        return "permits must be from 1 to limit";
    }
    if (!counts && (options->permits != 0 || options->limit != 0)) {
        return "permits and limit are of the mode COHORT_LOCK_PERMITS";
    }
    return NULL;
}

/* NULL: memory was refused. */
static struct operation *acquire_operation(struct cohort *cohort, struct cohort_bytes key,
                                           const struct lock_wanted *wanted, struct acquire **ret_acquire)
{
    struct acquire *acquire = calloc(1, sizeof(*acquire));
    if (acquire == NULL || (acquire->lock = client_lock_create(cohort, key, wanted)) == NULL) {
        free(acquire);
        return NULL;
    }
    struct acquire_words words;
    acquire_words(&words, acquire->lock, wanted);
    int64_t wait_ms = wanted->options.wait_ms;
    struct client_request request = {
        .argv = words.argv,
        .argc = words.argc,
        .flags = COHORT_AGAIN | (wait_ms > 0 ? OPERATION_PRIVATE | OPERATION_UNHURRIED | OPERATION_PROBED : 0),
        .timeout_ms = wait_ms > 0 ? wait_ms + cohort->settings.timeout_ms : 0,
        .key = &words.argv[1],
        .step = take_acquire,
        .context = acquire,
        .release = release_acquire};
    struct operation *operation = NULL;
    if (operation_create(cohort, &request, &operation) != STATUS_OK) {
        release_acquire(acquire);
        return NULL;
    }
    if (wait_ms > 0) {
        acquire->wait_until_ns = client_clock_ns() + wait_ms * 1000000;
        acquire->wait_at = operation->request.size - last_word_bytes(&words);
        operation->again = shorten_wait;
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

enum cohort_status client_lock_acquire(struct cohort *cohort, struct cohort_bytes key, const struct lock_wanted *wanted,
                                       struct cohort_lock **ret_lock, struct cohort_reply **ret_reply)
{
    const char *problem = problem_of(cohort, &wanted->options);
    if (problem != NULL) {
        return client_refuse(COHORT_INVALID, ret_reply, problem);
    }
    struct acquire *acquire;
    struct operation *operation = acquire_operation(cohort, key, wanted, &acquire);
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

enum cohort_status client_lock_acquire_start(struct cohort *cohort, struct cohort_bytes key,
                                             const struct lock_wanted *wanted, cohort_lock_callback callback,
                                             void *data)
{
    if (problem_of(cohort, &wanted->options) != NULL || callback == NULL) {
        return COHORT_INVALID;
    }
    struct acquire *acquire;
    struct operation *operation = acquire_operation(cohort, key, wanted, &acquire);
    if (operation != NULL) {
        acquire->callback = callback;
        acquire->data = data;
        operation->call_back = call_back;
    }
    return client_submit(cohort, operation, NULL, NULL);
}

enum cohort_status cohort_lock_acquire(struct cohort *cohort, struct cohort_bytes key,
                                       const struct cohort_lock_options *options, struct cohort_lock **ret_lock,
                                       struct cohort_reply **ret_reply)
{
    struct lock_wanted wanted = {.words = &client_lock_words};
    client_take_options(&wanted.options, sizeof(wanted.options), options);
    return client_lock_acquire(cohort, key, &wanted, ret_lock, ret_reply);
}

enum cohort_status cohort_lock_acquire_start(struct cohort *cohort, struct cohort_bytes key,
                                             const struct cohort_lock_options *options, cohort_lock_callback callback,
                                             void *data)
{
    struct lock_wanted wanted = {.words = &client_lock_words};
    client_take_options(&wanted.options, sizeof(wanted.options), options);
    return client_lock_acquire_start(cohort, key, &wanted, callback, data);
}
