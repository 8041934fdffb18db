#include "client/lock.h"
#include "client/keeper.h"
#include "client/session.h"

#include "base/assert.h"
#include "base/number.h"

#include <stdlib.h>

const struct lock_words client_lock_words = {
    .acquire = "LOCK.ACQUIRE", .renew = "LOCK.RENEW", .release = "LOCK.RELEASE", .lost = "lock-lost"};

static struct cohort_bytes bytes_of(struct slice slice) { return cohort_bytes_of(slice.data, slice.size); }

static struct operation *renewal_of_lease(struct lease *lease, int64_t timeout_ms);
static bool is_lost_by(const struct lease *lease, const struct cohort_reply *push);

static const struct lease_kind lock_kind = {
    .renewal = renewal_of_lease, .is_lost_by = is_lost_by, .over = COHORT_LOCKLOST};

/* ---- a lock in memory ---- */

static struct slice put(uint8_t **at, const void *data, size_t size)
{
    uint8_t *start = *at;
    if (size > 0) {
        memcpy(start, data, size);
    }
    *at += size;
    return slice_of(start, size);
}

struct cohort_lock *client_lock_create(struct cohort *cohort, struct cohort_bytes key, const struct lock_wanted *wanted)
{
    char random[LEASE_NAME_BYTES];
    struct cohort_bytes owner = wanted->options.owner;
    if (owner.data == NULL) {
        if (!lease_make_name(random)) {
            return NULL;
        }
        owner = cohort_text(random);
    }
    bool fits = key.size < SIZE_MAX / 4 && owner.size < SIZE_MAX / 4; /* else a caller has given −1 for a size */
    struct cohort_lock *lock = fits ? malloc(sizeof(*lock) + key.size + owner.size) : NULL;
    if (lock != NULL) {
        *lock = (struct cohort_lock){.lease = {.kind = &lock_kind, .cohort = cohort, .ttl_ms = wanted->options.ttl_ms},
                                     .words = wanted->words,
                                     .session = wanted->options.session};
        uint8_t *at = (uint8_t *)(lock + 1);
        lock->key = put(&at, key.data, key.size);
        lock->owner = put(&at, owner.data, owner.size);
    }
    return lock;
}

void cohort_lock_free(struct cohort_lock *lock)
{
    ASSERT(lock == NULL || lock->lease.keeper == NULL || handle_is_inherited(lock->lease.cohort));
    free(lock);
}

uint64_t cohort_lock_token(const struct cohort_lock *lock) { return lock->token; }

int64_t cohort_lock_valid_until(const struct cohort_lock *lock)
{
    if (lock->session == NULL || handle_is_inherited(lock->lease.cohort)) {
        return lease_valid_until(&lock->lease);
    }
    handle_lock(lock->lease.cohort);
    int64_t until_ns = lock->lease.is_over ? 0 : lock->session->lease.valid_until_ns;
    handle_unlock(lock->lease.cohort);
    return until_ns;
}

/* ---- renew ---- */

static bool is_same(struct slice slice, const struct cohort_reply *text)
{
    struct cohort_bytes bytes = cohort_reply_bytes(text);
    return slice_equal(slice, slice_of(bytes.data, bytes.size));
}

/* ["lock-lost", lock, owner, token] */
static bool is_lost_by(const struct lease *lease, const struct cohort_reply *push)
{
    const struct cohort_lock *lock = CONTAINER_OF(lease, const struct cohort_lock, lease);
    return strcmp(cohort_reply_text(cohort_reply_at(push, 0)), lock->words->lost) == 0 &&
           is_same(lock->key, cohort_reply_at(push, 1)) && is_same(lock->owner, cohort_reply_at(push, 2)) &&
           lock->token == (uint64_t)cohort_reply_integer(cohort_reply_at(push, 3));
}

size_t client_lock_renew_words(const struct cohort_lock *lock, char ttl[static NUMBER_INT64_BYTES],
                               struct cohort_bytes argv[static LOCK_RENEW_WORDS])
{
    size_t argc = 0;
    argv[argc++] = cohort_text(lock->words->asks_again ? lock->words->acquire : lock->words->renew);
    argv[argc++] = bytes_of(lock->key);
    argv[argc++] = bytes_of(lock->owner);
    if (!lock->words->asks_again) {
        argv[argc++] = cohort_text(lock->token_text);
    }
    argv[argc++] = cohort_text("PX");
    argv[argc++] = cohort_bytes_of(ttl, number_format_int64(ttl, lock->lease.ttl_ms));
    return argc;
}

/* It was lost, and asking again has won it anew: that is another's business, so it is given back. */
static bool give_back(struct operation *operation, struct cohort_lock *lock, const struct cohort_reply *token)
{
    char digits[NUMBER_INT64_BYTES];
    struct cohort_bytes argv[] = {cohort_text(lock->words->release), bytes_of(lock->key), bytes_of(lock->owner),
                                  cohort_bytes_of(digits, number_format_int64(digits, cohort_reply_integer(token)))};
    return operation_ask(operation, argv, 4) == STATUS_OK;
}

/* The answer to being acquired again is [token, ms left], or nil. True: the operation goes on. */
static bool take_again(struct operation *operation, struct cohort_lock *lock, bool may_go_on)
{
    const struct cohort_reply *token = cohort_reply_at(operation->reply, 0);
    bool is_held = cohort_reply_count(operation->reply) >= 2;
    if (is_held && !lock->lease.is_over && (uint64_t)cohort_reply_integer(token) == lock->token) {
        int64_t left_ms = cohort_reply_integer(cohort_reply_at(operation->reply, 1));
        lease_confirm(&lock->lease, operation->sent_boottime_ns, left_ms);
        return false;
    }
    lease_end(&lock->lease);
    if (is_held && may_go_on && give_back(operation, lock, token)) {
        return true;
    }
    operation->status = COHORT_LOCKLOST;
    return false;
}

bool client_lock_take_renewal(struct operation *operation, struct cohort_lock *lock, bool may_go_on)
{
    if (operation->status == COHORT_LOCKLOST) {
        lease_end(&lock->lease);
    } else if (operation->status == COHORT_OK && lock->words->asks_again) {
        return take_again(operation, lock, may_go_on);
    } else if (operation->status == COHORT_OK && lock->lease.is_over) {
        operation->status = COHORT_LOCKLOST; /* its loss was told, or it was given back: it stays so */
    } else if (operation->status == COHORT_OK) {
        lease_confirm(&lock->lease, operation->sent_boottime_ns, cohort_reply_integer(operation->reply));
    }
    return false;
}

static bool take_renewal(struct operation *operation, bool may_go_on)
{
    return client_lock_take_renewal(operation, operation->context, may_go_on);
}

static struct operation *renewal_of(struct cohort_lock *lock, int64_t timeout_ms)
{
    char ttl[NUMBER_INT64_BYTES];
    struct cohort_bytes argv[LOCK_RENEW_WORDS];
    struct client_request request = {.argv = argv,
                                     .argc = client_lock_renew_words(lock, ttl, argv),
                                     .flags = COHORT_AGAIN,
                                     .timeout_ms = timeout_ms,
                                     .key = &argv[1],
                                     .step = take_renewal,
                                     .context = lock};
    struct operation *operation = NULL;
    return operation_create(lock->lease.cohort, &request, &operation) == STATUS_OK ? operation : NULL;
}

static struct operation *renewal_of_lease(struct lease *lease, int64_t timeout_ms)
{
    return renewal_of(CONTAINER_OF(lease, struct cohort_lock, lease), timeout_ms);
}

enum cohort_status cohort_lock_renew(struct cohort_lock *lock, struct cohort_reply **ret_reply)
{
    if (lock->session != NULL) {
        return cohort_session_keepalive(lock->session, ret_reply);
    }
    return client_run(lock->lease.cohort, renewal_of(lock, 0), ret_reply);
}

enum cohort_status cohort_lock_renew_start(struct cohort_lock *lock, cohort_callback callback, void *data)
{
    if (lock->session != NULL) {
        return cohort_session_keepalive_start(lock->session, callback, data);
    }
    return client_submit(lock->lease.cohort, renewal_of(lock, 0), callback, data);
}

/* ---- its keeper ---- */

static void tell(struct cohort_keeper *keeper)
{
    struct cohort_lock *lock = CONTAINER_OF(keeper->lease, struct cohort_lock, lease);
    ((cohort_lost_callback)keeper->lost)(keeper->data, lock, keeper->why);
}

enum cohort_status cohort_keeper_start(struct cohort_lock *lock, unsigned flags, cohort_lost_callback lost, void *data,
                                       struct cohort_keeper **ret_keeper)
{
    if (lock->session != NULL) {
        return COHORT_INVALID; /* the session is what is kept */
    }
    struct cohort_keeper *keeper = keeper_create(&lock->lease, flags, data);
    if (keeper != NULL && lost != NULL) {
        keeper->tell = tell;
        keeper->lost = (void (*)(void))lost;
    }
    return keeper_start(keeper, ret_keeper);
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
    struct cohort_bytes argv[] = {cohort_text(lock->words->release), bytes_of(lock->key), bytes_of(lock->owner),
                                  cohort_text(lock->token_text)};
    struct client_request request = {
        .argv = argv, .argc = 4, .flags = COHORT_AGAIN, .key = &argv[1], .step = take_release};
    lease_give_up(&lock->lease);
    struct operation *operation = NULL;
    return operation_create(lock->lease.cohort, &request, &operation) == STATUS_OK ? operation : NULL;
}

enum cohort_status cohort_lock_release(struct cohort_lock *lock, struct cohort_reply **ret_reply)
{
    return client_run(lock->lease.cohort, release_operation(lock), ret_reply);
}

enum cohort_status cohort_lock_release_start(struct cohort_lock *lock, cohort_callback callback, void *data)
{
    return client_submit(lock->lease.cohort, release_operation(lock), callback, data);
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
