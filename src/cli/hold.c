#include "cli/hold.h"

#include "base/printable.h"
#include "cli/cohort_call.h"
#include "cli/descendants.h"
#include "cli/guardian.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    OWNER_BYTES = 128,
    HOST_BYTES = 64,
    SHOWN_BYTES = 160,
    PROBLEM_BYTES = 256,
    NOTE_BYTES = 512,    /* the server's limit */
    MARGIN_DIVISOR = 10, /* of the time to live: SIGKILL is so long before its end, */
    MARGIN_MAXIMUM_MS = 1000,
    GRACE_DIVISOR = 5, /* of the time to live */
    GRACE_MAXIMUM_MS = 5000,
    EXIT_SIGNALLED = 128,
};

struct hold {
    const struct cli_command *command;
    const struct hold_options *options;
    struct cohort *cohort;
    struct cohort_lock *lock;
    struct cohort_keeper *keeper;
    struct guardian guardian;
    bool is_running;
    int signals;
    sigset_t mask; /* from before */
    int leave;     /* the signal that ended the wait; 0: none */
    bool hurries;  /* there was another one after it */
    bool has_answer;
    bool is_open; /* nobody knows whether it was granted */
    enum cohort_status status;
    enum cohort_status lost; /* why; COHORT_OK: it is not */
    char owner[OWNER_BYTES];
    char name[SHOWN_BYTES]; /* fit for a terminal */
    char problem[PROBLEM_BYTES];
};

/* ---- signals ---- */

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};

/* Those that somebody has ignored (nohup) stay so, also for the command. */
static bool open_signals(struct hold *hold)
{
    sigset_t wanted;
    (void)sigemptyset(&wanted);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++) {
        struct sigaction action;
        if (sigaction(forwarded[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
            (void)sigaddset(&wanted, forwarded[i]);
        }
    }
    (void)sigprocmask(SIG_BLOCK, &wanted, &hold->mask);
    hold->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    return hold->signals >= 0;
}

/* As SIGTSTP does when nobody blocks it: not at all where no shell could continue it. */
static void stop_self(void)
{
    sigset_t stop;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTSTP);
    (void)raise(SIGTSTP);
    (void)sigprocmask(SIG_UNBLOCK, &stop, NULL);
    (void)sigprocmask(SIG_BLOCK, &stop, NULL);
}

static void take_signal(struct hold *hold, const struct signalfd_siginfo *information)
{
    int number = (int)information->ssi_signo;
    bool is_told = information->ssi_code == SI_KERNEL; /* by the terminal: the command as well */
    if (hold->is_running && !is_told) {
        guardian_signal(&hold->guardian, number);
    }
    if (number == SIGTSTP) {
        stop_self();
    } else if (!hold->is_running && number != SIGCONT && number != SIGUSR1 && number != SIGUSR2) {
        hold->hurries = hold->leave != 0;
        hold->leave = number;
    }
}

static void take_signals(struct hold *hold)
{
    struct signalfd_siginfo information;
    while (read(hold->signals, &information, sizeof(information)) == (ssize_t)sizeof(information)) {
        take_signal(hold, &information);
    }
}

/* ---- one turn ---- */

/* How long libcohort, and the guardian, may be waited for. */
static int patience_ms(const struct hold *hold)
{
    int timeout_ms = cohort_timeout(hold->cohort);
    int guardian_ms = hold->is_running ? guardian_patience_ms(&hold->guardian) : -1;
    return timeout_ms < 0 || (guardian_ms >= 0 && guardian_ms < timeout_ms) ? guardian_ms : timeout_ms;
}

/* False: the guardian has ended. */
static bool turn(struct hold *hold)
{
    struct pollfd events[] = {{.fd = cohort_fd(hold->cohort), .events = POLLIN},
                              {.fd = hold->signals, .events = POLLIN},
                              {.fd = hold->is_running ? hold->guardian.channel : -1, .events = POLLIN}};
    if (poll(events, 3, patience_ms(hold)) < 0 && errno != EINTR) {
        return true;
    }
    cohort_process(hold->cohort);
    if (hold->is_running) {
        int64_t until_ns = cohort_lock_valid_until(hold->lock);
        if (until_ns > 0) {
            guardian_extend(&hold->guardian, until_ns);
        }
        if (events[2].revents == 0) {
            guardian_watch(&hold->guardian);
        }
    }
    take_signals(hold);
    return events[2].revents == 0;
}

/* ---- the lock ---- */

/* It may have been granted, though no answer says so. */
static bool is_unknown(enum cohort_status status) { return status == COHORT_UNCERTAIN || status == COHORT_TIMEOUT; }

static void answered(void *data, enum cohort_status status, struct cohort_lock *lock, const struct cohort_reply *reply)
{
    struct hold *hold = data;
    hold->has_answer = true;
    hold->status = status;
    hold->lock = lock;
    cohort_call_problem(status, reply, hold->problem, sizeof(hold->problem));
}

static enum cohort_status campaign(struct hold *hold, int64_t wait_ms)
{
    const struct hold_options *options = hold->options;
    const struct cohort_campaign how = {.ttl_ms = options->ttl_ms,
                                        .wait_ms = wait_ms,
                                        .candidate = cohort_text(hold->owner),
                                        .value = options->value == NULL ? cohort_bytes_of(NULL, 0)
                                                                        : cohort_text(options->value)};
    return cohort_elect_campaign_start(hold->cohort, cohort_text(options->name), &how, answered, hold);
}

static enum cohort_status acquire_lock(struct hold *hold, int64_t wait_ms)
{
    const struct hold_options *options = hold->options;
    const struct cohort_lock_options how = {.ttl_ms = options->ttl_ms,
                                            .wait_ms = wait_ms,
                                            .mode = options->mode,
                                            .permits = options->permits,
                                            .limit = options->limit,
                                            .owner = cohort_text(hold->owner),
                                            .note = cohort_text(options->note)};
    return cohort_lock_acquire_start(hold->cohort, cohort_text(options->name), &how, answered, hold);
}

/* A signal ends a wait: who goes away is taken out of the lock's queue. A question without a wait has its answer in a
 * moment, within the library's time limit if at all, and what it may have been granted is to be given back: a signal
 * lets it come, a second one does not. */
static bool goes_on(const struct hold *hold, int64_t wait_ms)
{
    return !hold->has_answer && (hold->leave == 0 || (wait_ms == 0 && !hold->hurries));
}

static void ask(struct hold *hold, int64_t wait_ms)
{
    hold->has_answer = false;
    hold->status = (hold->options->is_office ? campaign : acquire_lock)(hold, wait_ms);
    if (hold->status != COHORT_OK) {
        cohort_call_problem(hold->status, NULL, hold->problem, sizeof(hold->problem));
        return;
    }
    while (goes_on(hold, wait_ms)) {
        (void)turn(hold);
    }
    hold->is_open = wait_ms == 0 && (!hold->has_answer || is_unknown(hold->status));
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_watched(void) { return isatty(STDERR_FILENO) == 1; }

/* Nobody is there, or no majority, and nothing was asked for. */
static bool is_away(enum cohort_status status) { return status == COHORT_UNREACHABLE || status == COHORT_CLUSTERDOWN; }

/* libcohort pauses between attempts. */
static void ask_until_there(struct hold *hold, int64_t until_ms)
{
    ask(hold, 0);
    if (is_away(hold->status) && hold->leave == 0 && now_ms() < until_ms && is_watched()) {
        (void)cli_error(hold->command, 0, "waiting for a node to come: %s", hold->problem);
    }
    while (is_away(hold->status) && hold->leave == 0 && now_ms() < until_ms) {
        ask(hold, 0);
    }
}

/* Asks without waiting first, which needs no connection of its own, and tells soon when nobody is there. */
static void acquire(struct hold *hold)
{
    const struct hold_options *options = hold->options;
    int64_t wait_ms = options->wait_ms < 0 ? options->wait_default_ms : options->wait_ms;
    int64_t until_ms = now_ms() + wait_ms;
    ask_until_there(hold, options->wait_ms < 0 ? 0 : until_ms);
    int64_t left_ms = until_ms - now_ms();
    if (hold->status != COHORT_NOT_GRANTED || hold->leave != 0 || left_ms <= 0) {
        return;
    }
    if (is_watched()) {
        (void)cli_error(hold->command, 0, "waiting for '%s', which others have", hold->name);
    }
    ask(hold, left_ms);
}

static int not_granted(struct hold *hold)
{
    if (hold->leave != 0) {
        if (hold->is_open) {
            (void)cli_error(hold->command, 0, "no answer came; '%s' may be held in vain until its time to live is over",
                            hold->name);
        }
        return EXIT_SIGNALLED + hold->leave;
    }
    if (hold->status == COHORT_NOT_GRANTED) {
        return cli_error(hold->command, HOLD_NOT_GRANTED, "'%s' was not granted in time; `cohort %s` tells who has it",
                         hold->name, hold->options->is_office ? "elect leader" : "lock info");
    }
    if (is_unknown(hold->status)) {
        return cli_error(hold->command, cohort_call_code(hold->status),
                         "no answer (%s); '%s' may be held in vain until its time to live is over", hold->problem,
                         hold->name);
    }
    return cli_error(hold->command, cohort_call_code(hold->status), "'%s': %s", hold->name, hold->problem);
}

static void lost(void *data, struct cohort_lock *lock, enum cohort_status why)
{
    struct hold *hold = data;
    hold->lost = why;
    guardian_lost(&hold->guardian);
}

static void release(struct hold *hold)
{
    struct cohort_reply *reply = NULL;
    enum cohort_status status = cohort_lock_release(hold->lock, &reply);
    if (status == COHORT_LOCKLOST) {
        hold->lost = status;
    } else if (status != COHORT_OK) {
        cohort_call_problem(status, reply, hold->problem, sizeof(hold->problem));
        (void)cli_error(hold->command, 0, "'%s' could not be released (%s); it is free when its time to live is over",
                        hold->name, hold->problem);
    }
    cohort_reply_free(reply);
}

/* ---- the command ---- */

static bool start(struct hold *hold)
{
    const struct hold_options *options = hold->options;
    char token[24];
    (void)snprintf(token, sizeof(token), "%llu", (unsigned long long)cohort_lock_token(hold->lock));
    (void)setenv("COHORT_TOKEN", token, 1);
    int64_t margin_ms = options->ttl_ms / MARGIN_DIVISOR;
    const struct guardian_options how = {.argv = options->argv,
                                         .mask = &hold->mask,
                                         .valid_until_ns = cohort_lock_valid_until(hold->lock),
                                         .grace_ms = options->grace_ms,
                                         .margin_ms = margin_ms < MARGIN_MAXIMUM_MS ? margin_ms : MARGIN_MAXIMUM_MS};
    if (!guardian_start(&hold->guardian, &how)) {
        return false;
    }
    hold->is_running = true;
    return true;
}

static int tell_end(const struct hold *hold, const struct guardian_end *end)
{
    const struct cli_command *command = hold->command;
    if (end->refused_pid != 0) {
        (void)cli_error(command, 0, "process %d goes on without the lock: it belongs to another user",
                        end->refused_pid);
    }
    if (end->exec_errno != 0) {
        return cli_error(command, end->code, "cannot run %s: %s", hold->options->argv[0], strerror(end->exec_errno));
    }
    if (end->is_late) {
        return cli_error(command, HOLD_LOST,
                         "'%s' could not be renewed in time: the command was ended before another could get it",
                         hold->name);
    }
    if (hold->lost != COHORT_OK) {
        return cli_error(command, HOLD_LOST, "'%s' was lost while the command ran: somebody else may hold it already",
                         hold->name);
    }
    if (end->was_killed) {
        (void)cli_error(command, 0, "its guardian was killed, and the command with it");
    }
    return end->code;
}

/* The lock is held. */
static int run_command(struct hold *hold)
{
    if (!start(hold)) {
        int code = cli_error(hold->command, EX_OSERR, "cannot start a process: %s", strerror(errno));
        release(hold);
        return code;
    }
    if (cohort_keeper_start(hold->lock, COHORT_KEEPER_ON_LOOP, lost, hold, &hold->keeper) != COHORT_OK) {
        guardian_lost(&hold->guardian); /* it was lost already, or memory is refused */
        hold->lost = COHORT_LOCKLOST;
    }
    while (turn(hold)) {
    }
    struct guardian_end end = guardian_finish(&hold->guardian);
    hold->is_running = false;
    cohort_keeper_stop(hold->keeper);
    if (hold->lost == COHORT_OK) {
        release(hold);
    }
    return tell_end(hold, &end);
}

static bool make_owner(char owner[static OWNER_BYTES])
{
    char host[HOST_BYTES + 1] = "";
    uint32_t random;
    (void)gethostname(host, HOST_BYTES);
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return false;
    }
    (void)snprintf(owner, OWNER_BYTES, "%s:%d:%08x", host, (int)getpid(), random);
    return true;
}

/* A path that is too long for a note is told by its end. */
static const char *name_of(const char *path)
{
    size_t size = strlen(path);
    const char *slash = strrchr(path, '/');
    if (size <= NOTE_BYTES) {
        return path;
    }
    return slash != NULL && strlen(slash + 1) <= NOTE_BYTES ? slash + 1 : path + size - NOTE_BYTES;
}

int hold_take_words(const struct cli_command *command, const struct cli_arguments *arguments,
                    struct hold_options *options)
{
    if (arguments->count == 0 || arguments->items[0][0] == '\0') {
        (void)cli_error(command, EX_USAGE, "the name is missing: cohort %s NAME -- COMMAND …", command->name);
        return cli_usage_hint(command);
    }
    if (arguments->rest_count == 0) {
        (void)cli_error(command, EX_USAGE, "the command is missing: cohort %s NAME -- COMMAND …", command->name);
        return cli_usage_hint(command);
    }
    if (options->grace_ms > options->ttl_ms / 2) {
        return cli_error(command, EX_USAGE, "--grace must not be more than half of --ttl");
    }
    options->name = arguments->items[0];
    options->argv = arguments->rest;
    options->note = options->note == NULL ? name_of(arguments->rest[0]) : options->note;
    if (options->grace_ms < 0) {
        int64_t part_ms = options->ttl_ms / GRACE_DIVISOR;
        options->grace_ms = part_ms < GRACE_MAXIMUM_MS ? part_ms : GRACE_MAXIMUM_MS;
    }
    return CLI_CONTINUE;
}

int hold_run(const struct cli_command *command, const struct hold_options *options)
{
    struct hold hold = {.command = command, .options = options};
    (void)printable_copy(slice_from_string(options->name), hold.name, sizeof(hold.name));
    if (!descendants_visible()) {
        return cli_error(command, EX_OSERR, "what the command starts could not be ended in time: mount /proc");
    }
    if (!make_owner(hold.owner) || !open_signals(&hold)) {
        return cli_error(command, EX_OSERR, "the system refuses a descriptor: %s", strerror(errno));
    }
    int code = cohort_call_shared(command, options->url);
    code = code == CLI_CONTINUE ? cohort_call_open(command, options->url, &hold.cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    acquire(&hold);
    if (hold.lock == NULL) {
        code = not_granted(&hold);
    } else if (hold.leave != 0) { /* the signal came with the grant */
        release(&hold);
        code = EXIT_SIGNALLED + hold.leave;
    } else {
        code = run_command(&hold);
    }
    cohort_close(hold.cohort);
    cohort_lock_free(hold.lock);
    (void)close(hold.signals);
    return code;
}
