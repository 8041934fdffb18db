/* cohort lock release: takes a lock away from who holds it. */
#include "base/printable.h"
#include "cli/cohort_call.h"
#include "cli/lock.h"

#include <inttypes.h>
#include <stdio.h>

enum { SHOWN_BYTES = 160, EXIT_NOT_HELD = 1 };

struct taking {
    const struct cli_command *command;
    struct cohort *cohort;
    const char *lock;
    const char *owner;       /* NULL: the only one */
    char name[SHOWN_BYTES];  /* fit for a terminal, as the next */
    char whose[SHOWN_BYTES]; /* of `holder` */
};

/* The holder that is meant; NULL after an error that it has told, with the exit code. */
static const struct cohort_reply *choose(struct taking *taking, const struct cohort_reply *info, int *ret_code)
{
    const struct cohort_reply *holders = cohort_reply_get(info, "holders");
    const struct cohort_reply *chosen = NULL;
    size_t count = cohort_reply_count(holders);
    for (size_t i = 0; i < count; i++) {
        const struct cohort_reply *holder = cohort_reply_at(holders, i);
        struct cohort_bytes owner = cohort_reply_bytes(cohort_reply_get(holder, "owner"));
        struct slice wanted = slice_from_string(taking->owner == NULL ? "" : taking->owner);
        if (taking->owner == NULL || slice_equal(wanted, slice_of(owner.data, owner.size))) {
            chosen = holder;
        }
    }
    if (count == 0 || chosen == NULL) {
        *ret_code = count == 0
                        ? cli_error(taking->command, EXIT_NOT_HELD, "nobody holds '%s'", taking->name)
                        : cli_error(taking->command, EXIT_NOT_HELD,
                                    "that owner does not hold '%s'; `cohort lock info` tells who does", taking->name);
        return NULL;
    }
    if (count > 1 && taking->owner == NULL) {
        *ret_code = cli_error(taking->command, EX_USAGE,
                              "%zu hold '%s'; say whose it is to be with --owner, as `cohort lock info` shows them",
                              count, taking->name);
        return NULL;
    }
    return chosen;
}

static int take(struct taking *taking, const struct cohort_reply *holder)
{
    char token[24];
    int64_t number = cohort_reply_integer(cohort_reply_get(holder, "token"));
    struct cohort_bytes owner = cohort_reply_bytes(cohort_reply_get(holder, "owner"));
    (void)snprintf(token, sizeof(token), "%" PRId64, number);
    (void)printable_copy(slice_of(owner.data, owner.size), taking->whose, sizeof(taking->whose));
    const struct cohort_bytes argv[] = {cohort_text("LOCK.RELEASE"), cohort_text(taking->lock), owner,
                                        cohort_text(token), cohort_text("FORCE")};
    const struct cohort_call call = {.flags = COHORT_AGAIN};
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_command(taking->cohort, sizeof(argv) / sizeof(argv[0]), argv, &call, &reply);
    int code = EX_OK;
    if (status != COHORT_OK) {
        code = cohort_call_failed(taking->command, status, reply);
    } else if (cohort_reply_integer(reply) == 0) { /* by an earlier attempt without an answer, or by its owner */
        printf("%s: %s holds it no more\n", taking->name, taking->whose);
    } else {
        printf("%s: taken from %s, token %s\n", taking->name, taking->whose, token);
    }
    cohort_reply_free(reply);
    return code;
}

static int look_and_take(struct taking *taking)
{
    struct cohort_reply *info = NULL;
    enum cohort_status status = cohort_lock_info(taking->cohort, cohort_text(taking->lock), &info);
    int code = EX_OK;
    if (status != COHORT_OK && status != COHORT_NOTFOUND) {
        code = cohort_call_failed(taking->command, status, info);
    } else {
        const struct cohort_reply *holder = choose(taking, info, &code);
        code = holder == NULL ? code : take(taking, holder);
    }
    cohort_reply_free(info);
    return code;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct taking taking = {.command = command};
    const char *url = NULL;
    const struct cli_option options[] = {
        {"owner", CLI_TEXT, &taking.owner, "OWNER", "from whom (default the only one who holds it)"},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count == 0) {
        (void)cli_error(command, EX_USAGE, "the name of the lock is missing");
        return cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? cohort_call_open(command, url, &taking.cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    taking.lock = arguments.items[0];
    (void)printable_copy(slice_from_string(taking.lock), taking.name, sizeof(taking.name));
    code = look_and_take(&taking);
    cohort_close(taking.cohort);
    return code;
}

const struct cli_command cli_lock_release = {
    .name = "lock release",
    .arguments = "NAME",
    .arguments_maximum = 1,
    .summary = "take a lock away from who holds it",
    .details = "For administrators: whoever waits longest gets the lock at once. Who held it is told,\n"
               "if it can be; `cohort lock run` ends its command. Until then both may work on what\n"
               "the lock guards, unless that refuses older tokens.\n"
               "\n"
               "Exit status: 0 it was taken, 1 it was not held, 69 no answer, 64 wrong usage.",
    .examples = "  cohort lock release nightly\n"
                "  cohort lock release gpus --owner host:4711:0badcafe\n",
    .run = run,
};
