/* cohort lock run: a command under a lock. */
#include "cli/hold.h"
#include "cli/lock.h"

enum { WAIT_DEFAULT_MS = 30000 };

/* What belongs together. */
static int check(const struct cli_command *command, bool shared, int64_t permits, int64_t limit)
{
    if ((permits > 0) != (limit > 0)) {
        return cli_error(command, EX_USAGE, "--permits and --limit are given together: --permits 1 --limit 3");
    }
    if (permits > limit) {
        return cli_error(command, EX_USAGE, "--permits must not be more than --limit");
    }
    if (shared && permits > 0) {
        return cli_error(command, EX_USAGE, "a lock is --shared or has --permits, not both");
    }
    return CLI_CONTINUE;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct hold_options given = {
        .ttl_ms = HOLD_TTL_MS, .wait_ms = -1, .wait_default_ms = WAIT_DEFAULT_MS, .grace_ms = -1};
    bool shared = false;
    int64_t permits = 0;
    int64_t limit = 0;
    const struct cli_option options[] = {
        {"ttl", CLI_DURATION, &given.ttl_ms, "DURATION", "time to live, renewed meanwhile (default 10s)",
         HOLD_TTL_MINIMUM_MS, HOLD_TTL_MAXIMUM_MS},
        {"wait", CLI_DURATION, &given.wait_ms, "DURATION",
         "for the lock, 0 not at all (default 30s); given, also for a node to come", 0, HOLD_WAIT_MAXIMUM_MS},
        {"shared", CLI_FLAG, &shared, NULL, "with others that are shared, and no exclusive one"},
        {"permits", CLI_NUMBER, &permits, "N", "as a semaphore: take so many of --limit", 1, 1 << 30},
        {"limit", CLI_NUMBER, &limit, "N", "permits of the semaphore; all who use it say the same", 1, 1 << 30},
        {"grace", CLI_DURATION, &given.grace_ms, "DURATION",
         "between SIGTERM and SIGKILL (default a fifth of --ttl, 5s at most)", 0, HOLD_TTL_MAXIMUM_MS},
        {"note", CLI_TEXT, &given.note, "TEXT", "for who looks at the lock (default the command's name)"},
        {"url", CLI_TEXT, &given.url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    code = code == CLI_CONTINUE ? hold_take_words(command, &arguments, &given) : code;
    code = code == CLI_CONTINUE ? check(command, shared, permits, limit) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    given.mode = permits > 0 ? COHORT_LOCK_PERMITS : shared ? COHORT_LOCK_SHARED : COHORT_LOCK_EXCLUSIVE;
    given.permits = (uint32_t)permits;
    given.limit = (uint32_t)limit;
    return hold_run(command, &given);
}

const struct cli_command cli_lock_run = {
    .name = "lock run",
    .arguments = "NAME -- COMMAND …",
    .arguments_maximum = 1,
    .summary = "run a command while a lock is held",
    .details = "Waits for the lock, runs the command with the lock's fencing token in\n"
               "COHORT_TOKEN, renews the lock meanwhile, and releases it when the command has\n"
               "ended. What that leaves in the background gets SIGTERM, then SIGKILL, before.\n"
               "\n"
               "When the lock cannot be renewed, the command and all that it started get\n"
               "SIGTERM, and SIGKILL a tenth of --ttl (1s at most) before anybody else can get\n"
               "the lock. When it is another's already, they get SIGTERM at once and SIGKILL\n"
               "250 ms later. When this process is killed, so are they; when it is stopped, it\n"
               "renews nothing. `man cohort-lock` tells more.\n"
               "\n"
               "Where nobody listens it ends at once; when --wait is given, after that time.\n"
               "\n"
               "Exit status: the command's own; 128 + n when signal n ended it; 126 or 127 when\n"
               "it cannot be run or found; 75 the lock was not granted in time, 76 it was lost\n"
               "while the command ran, 69 no answer, 64 wrong usage.",
    .examples = "  cohort lock run nightly -- ./job.sh\n"
                "  cohort lock run nightly --wait 0 -- ./job.sh || echo somebody else runs it\n"
                "  cohort lock run gpus --permits 1 --limit 4 -- ./train.sh\n"
                "  cohort lock run config --shared --ttl 1m -- sh -c 'redis-cli set seen $COHORT_TOKEN'\n",
    .run = run,
};
