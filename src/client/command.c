/* cohort_command: any command, but for those that would change the connection that all share. */
#include "client/command.h"

#include "client/handle.h"

enum use {
    USE_SHARED,
    USE_PRIVATE, /* may wait at the server, and would hold back what others sent */
    USE_REFUSED, /* changes the connection */
    USE_WITH_ID, /* about the connection's transaction, unless it names one */
};

static enum use use_of(struct slice name)
{
    static const struct {
        const char *name;
        enum use use;
    } table[] = {
        {"AUTH", USE_REFUSED},
        {"DISCARD", USE_REFUSED},
        {"EXEC", USE_REFUSED},
        {"HELLO", USE_REFUSED},
        {"MONITOR", USE_REFUSED},
        {"MULTI", USE_REFUSED},
        {"PSUBSCRIBE", USE_REFUSED},
        {"PUNSUBSCRIBE", USE_REFUSED},
        {"QUIT", USE_REFUSED},
        {"READONLY", USE_REFUSED},
        {"READWRITE", USE_REFUSED},
        {"RESET", USE_REFUSED},
        {"SELECT", USE_REFUSED},
        {"SUBSCRIBE", USE_REFUSED},
        {"SSUBSCRIBE", USE_REFUSED},
        {"TXN.BEGIN", USE_REFUSED},
        {"TXN.JOIN", USE_REFUSED},
        {"UNSUBSCRIBE", USE_REFUSED},
        {"UNWATCH", USE_REFUSED},
        {"WATCH", USE_REFUSED},
        {"COHORT.FEED", USE_REFUSED},
        {"COHORT.UNFEED", USE_REFUSED},
        {"CLIENT", USE_REFUSED},
        {"COHORT.CONSISTENCY", USE_REFUSED},
        {"COHORT.POSITION", USE_REFUSED},
        {"SERVICE.WATCH", USE_REFUSED},
        {"TXN.COMMIT", USE_WITH_ID},
        {"TXN.PREPARE", USE_WITH_ID},
        {"TXN.ROLLBACK", USE_WITH_ID},
        {"LOCK.ACQUIRE", USE_PRIVATE},
        {"LOCK.MACQUIRE", USE_PRIVATE},
        {"ELECT.CAMPAIGN", USE_PRIVATE},
        {"BARRIER.ENTER", USE_PRIVATE},
        {"LATCH.WAIT", USE_PRIVATE},
        {"DEBUG", USE_PRIVATE},
        {"WAIT", USE_PRIVATE},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (slice_is_word(name, table[i].name)) {
            return table[i].use;
        }
    }
    return USE_SHARED;
}

bool command_may_be_queued(struct cohort_bytes name)
{
    struct slice word = slice_of(name.data, name.size);
    bool ends_node = slice_is_word(word, "SHUTDOWN"); /* whatever becomes of the transaction */
    return use_of(word) == USE_SHARED && !ends_node;
}

static bool may_run_scripts(struct slice name)
{
    return slice_is_word(name, "EVAL") || slice_is_word(name, "EVALSHA") || slice_is_word(name, "EVAL_RO") ||
           slice_is_word(name, "EVALSHA_RO") || slice_is_word(name, "FCALL");
}

/* NULL, or why not. */
static const char *describe(size_t argc, const struct cohort_bytes *argv, const struct cohort_call *call,
                            struct client_request *ret_request)
{
    if (argc < 1 || argc > COMMAND_WORDS_MAXIMUM) {
        return "a command has 1 to 1,048,576 words";
    }
    struct slice name = slice_of(argv[0].data, argv[0].size);
    enum use use = use_of(name);
    if (use == USE_REFUSED || (use == USE_WITH_ID && argc < 2)) {
        return "this command changes the connection, which is shared; there is another call for what it does";
    }
    unsigned flags = call->flags & (COHORT_READ | COHORT_AGAIN);
    flags |= use == USE_PRIVATE ? OPERATION_PRIVATE | OPERATION_UNHURRIED : 0;
    flags |= may_run_scripts(name) ? OPERATION_NO_RETRY : 0;
    const struct cohort_bytes *key = call->key.data != NULL ? &call->key : argc > 1 ? &argv[1] : NULL;
    if (call->key.data == NULL && may_run_scripts(name)) {
        key = argc > 3 ? &argv[3] : NULL;
    }
    *ret_request =
        (struct client_request){.argv = argv, .argc = argc, .flags = flags, .timeout_ms = call->timeout_ms, .key = key};
    return NULL;
}

enum cohort_status cohort_command(struct cohort *cohort, size_t argc, const struct cohort_bytes *argv,
                                  const struct cohort_call *call, struct cohort_reply **ret_reply)
{
    struct cohort_call given;
    client_take_options(&given, sizeof(given), call);
    struct client_request request;
    const char *problem = describe(argc, argv, &given, &request);
    return problem != NULL ? client_refuse(COHORT_INVALID, ret_reply, problem)
                           : client_call(cohort, &request, ret_reply);
}

enum cohort_status cohort_command_start(struct cohort *cohort, size_t argc, const struct cohort_bytes *argv,
                                        const struct cohort_call *call, cohort_callback callback, void *data)
{
    struct cohort_call given;
    client_take_options(&given, sizeof(given), call);
    struct client_request request;
    return describe(argc, argv, &given, &request) != NULL ? COHORT_INVALID
                                                          : client_start(cohort, &request, callback, data);
}
