/* cohort/script.h: SCRIPT LOAD tells the digest once, then EVALSHA, and EVAL where that is not known. */
#include "client/handle.h"

#include "base/assert.h"
#include "base/number.h"

#include <cohort/script.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SHA_BYTES = 41, SCRIPT_WORDS_MAXIMUM = 1 << 20 };

struct cohort_script {
    atomic_int references; /* the program's, and one of each call under way */
    atomic_bool is_loaded; /* `sha` is there */
    pthread_mutex_t mutex; /* while it is written */
    unsigned flags;
    char sha[SHA_BYTES];
    size_t text_bytes;
    char text[]; /* with a NUL */
};

enum cohort_status cohort_script_create(const char *text, unsigned flags, struct cohort_script **ret_script)
{
    size_t bytes = strlen(text);
    struct cohort_script *script = malloc(sizeof(*script) + bytes + 1);
    if (script == NULL) {
        return COHORT_NOMEM;
    }
    memset(script, 0, sizeof(*script));
    atomic_init(&script->references, 1);
    (void)pthread_mutex_init(&script->mutex, NULL);
    script->flags = flags;
    script->text_bytes = bytes;
    memcpy(script->text, text, bytes + 1);
    *ret_script = script;
    return COHORT_OK;
}

void cohort_script_free(struct cohort_script *script)
{
    if (script != NULL && atomic_fetch_sub(&script->references, 1) == 1) {
        (void)pthread_mutex_destroy(&script->mutex);
        free(script);
    }
}

/* ---- a call ---- */

enum script_stage { STAGE_LOAD, STAGE_SHA, STAGE_TEXT };

/* The operation's context; the words of the command stand behind it, their bytes behind them. */
struct script_call {
    struct cohort_script *script;
    size_t argc;
    struct cohort_bytes argv[];
};

static void release_call(void *context)
{
    struct script_call *call = context;
    cohort_script_free(call->script);
    free(call);
}

static char *copy_bytes(struct cohort_bytes *ret_bytes, char *at, struct cohort_bytes from)
{
    if (from.size > 0) {
        memcpy(at, from.data, from.size);
    }
    *ret_bytes = cohort_bytes_of(at, from.size);
    return at + from.size;
}

/* Words 0 and 1 are filled in by each stage. */
static struct script_call *make_call(struct cohort_script *script, size_t key_count, const struct cohort_bytes *keys,
                                     size_t argument_count, const struct cohort_bytes *arguments)
{
    size_t argc = 3 + key_count + argument_count;
    size_t bytes = NUMBER_INT64_BYTES;
    for (size_t i = 0; i < key_count; i++) {
        bytes += keys[i].size;
    }
    for (size_t i = 0; i < argument_count; i++) {
        bytes += arguments[i].size;
    }
    struct script_call *call = malloc(sizeof(*call) + argc * sizeof(call->argv[0]) + bytes);
    if (call == NULL) {
        return NULL;
    }
    call->script = script;
    call->argc = argc;
    atomic_fetch_add(&script->references, 1);
    char *at = (char *)&call->argv[argc];
    call->argv[2] = cohort_bytes_of(at, number_format_int64(at, (int64_t)key_count));
    at += call->argv[2].size;
    for (size_t i = 0; i < key_count; i++) {
        at = copy_bytes(&call->argv[3 + i], at, keys[i]);
    }
    for (size_t i = 0; i < argument_count; i++) {
        at = copy_bytes(&call->argv[3 + key_count + i], at, arguments[i]);
    }
    return call;
}

static void fill_words(struct script_call *call, enum script_stage stage)
{
    const struct cohort_script *script = call->script;
    bool read_only = (script->flags & COHORT_SCRIPT_READ_ONLY) != 0;
    if (stage == STAGE_SHA) {
        call->argv[0] = cohort_text(read_only ? "EVALSHA_RO" : "EVALSHA");
        call->argv[1] = cohort_bytes_of(script->sha, SHA_BYTES - 1);
    } else {
        call->argv[0] = cohort_text(read_only ? "EVAL_RO" : "EVAL");
        call->argv[1] = cohort_bytes_of(script->text, script->text_bytes);
    }
}

static void remember_sha(struct cohort_script *script, const struct cohort_reply *reply)
{
    struct slice sha = reply_slice(reply);
    if (sha.size == SHA_BYTES - 1) {
        (void)pthread_mutex_lock(&script->mutex);
        if (!atomic_load(&script->is_loaded)) {
            memcpy(script->sha, sha.data, sha.size);
            atomic_store(&script->is_loaded, true);
        }
        (void)pthread_mutex_unlock(&script->mutex);
    }
}

static bool ask(struct operation *operation, enum script_stage stage)
{
    struct script_call *call = operation->context;
    operation->stage = stage;
    if ((call->script->flags & COHORT_SCRIPT_READ_ONLY) == 0) {
        operation->flags &= ~(unsigned)COHORT_AGAIN;
    }
    operation->was_lost = false; /* what was lost so far changed nothing */
    fill_words(call, stage);
    return operation_ask(operation, call->argv, call->argc) == STATUS_OK;
}

static bool take_script(struct operation *operation, bool may_go_on)
{
    struct script_call *call = operation->context;
    bool go_on = false;
    if (operation->stage == STAGE_LOAD && operation->status == COHORT_OK) {
        remember_sha(call->script, operation->reply);
        go_on = may_go_on && ask(operation, atomic_load(&call->script->is_loaded) ? STAGE_SHA : STAGE_TEXT);
    } else if (operation->stage == STAGE_SHA &&
               strcmp(cohort_reply_text(operation->reply), "NOSCRIPT No matching script. Please use EVAL.") == 0) {
        go_on = may_go_on && ask(operation, STAGE_TEXT);
    } else {
        return false;
    }
    if (!go_on) {
        operation_answer(operation, COHORT_CANCELLED, reply_error("the script was not run"));
    }
    return go_on;
}

static struct operation *make_operation(struct cohort *cohort, struct script_call *call, const struct cohort_bytes *key)
{
    struct cohort_script *script = call->script;
    struct cohort_bytes load[] = {cohort_text("SCRIPT"), cohort_text("LOAD"),
                                  cohort_bytes_of(script->text, script->text_bytes)};
    bool is_loaded = atomic_load(&script->is_loaded);
    fill_words(call, STAGE_SHA);
    bool again = !is_loaded || (script->flags & COHORT_SCRIPT_READ_ONLY) != 0;
    struct client_request request = {.argv = is_loaded ? call->argv : load,
                                     .argc = is_loaded ? call->argc : 3,
                                     .flags = OPERATION_NO_RETRY | (again ? COHORT_AGAIN : 0),
                                     .key = key,
                                     .step = take_script,
                                     .context = call,
                                     .release = release_call};
    struct operation *operation = NULL;
    if (operation_create(cohort, &request, &operation) != STATUS_OK) {
        release_call(call);
        return NULL;
    }
    operation->stage = is_loaded ? STAGE_SHA : STAGE_LOAD;
    return operation;
}

enum cohort_status cohort_script_run(struct cohort *cohort, struct cohort_script *script, size_t key_count,
                                     const struct cohort_bytes *keys, size_t argument_count,
                                     const struct cohort_bytes *arguments, struct cohort_reply **ret_reply)
{
    if (key_count > SCRIPT_WORDS_MAXIMUM || argument_count > SCRIPT_WORDS_MAXIMUM) {
        return client_refuse(COHORT_INVALID, ret_reply, "a script takes at most 1,048,576 keys and arguments");
    }
    struct script_call *call = make_call(script, key_count, keys, argument_count, arguments);
    struct operation *operation = call == NULL ? NULL : make_operation(cohort, call, key_count > 0 ? keys : NULL);
    return client_run(cohort, operation, ret_reply);
}

enum cohort_status cohort_script_run_start(struct cohort *cohort, struct cohort_script *script, size_t key_count,
                                           const struct cohort_bytes *keys, size_t argument_count,
                                           const struct cohort_bytes *arguments, cohort_callback callback, void *data)
{
    if (key_count > SCRIPT_WORDS_MAXIMUM || argument_count > SCRIPT_WORDS_MAXIMUM) {
        return COHORT_INVALID;
    }
    struct script_call *call = make_call(script, key_count, keys, argument_count, arguments);
    struct operation *operation = call == NULL ? NULL : make_operation(cohort, call, key_count > 0 ? keys : NULL);
    return client_submit(cohort, operation, callback, data);
}
