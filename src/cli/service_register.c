/* cohort service register: an endpoint that stays registered while a command runs, or until a signal comes.
 *
 *    registering ──answered──▶ serving ──SIGTERM, SIGINT, SIGHUP──▶ draining ──answered, or a second──▶ ending
 *         └──not in time──▶ over          └──the command has ended──▶ removing ──answered, or not in time──▶ over
 *
 * In serving it registers the same anew at a third of the time to live: that renews, and brings the endpoint back if
 * its lease has ended meanwhile. In ending the command has the signal, and its endpoint drains until it is gone. */
#include "cli/cohort_call.h"
#include "cli/service.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TTL_MINIMUM_MS = 1000,
    TTL_MAXIMUM_MS = 24 * 3600 * 1000,
    TTL_MS = 5000,
    WAIT_MS = 30000, /* for the first answer */
    DRAIN_MS = 1000,
    REMOVE_MS = 2000,
    ID_BYTES = 128,
    HOST_BYTES = 64,
    SIGNALLED = 128,
    NOT_FOUND = 127,
    NOT_RUN = 126,
};

struct registration {
    const struct cli_command *command;
    struct cohort *cohort;
    const char *name, *address, *id, *zone;
    char weight[24], ttl[24];
    int64_t ttl_ms;
    char *const *argv; /* NULL: there is no command */
    pid_t child;       /* 0: it does not run */
    int child_status;
    int signals;
    sigset_t mask; /* from before */
    int leave;     /* the signal that ends it; 0: none */
    bool asking;
    bool renewing; /* the question that is, or was just, asked is of serve() */
    bool troubled; /* the last answer was none, and was told of */
    enum cohort_status status;
    char problem[256];
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- asking ---- */

static void answered(void *data, enum cohort_status status, const struct cohort_reply *reply)
{
    struct registration *given = data;
    given->asking = false;
    given->status = status;
    cohort_call_problem(status, reply, given->problem, sizeof(given->problem));
}

static void ask(struct registration *given, const struct cohort_bytes *words, size_t count, int64_t timeout_ms)
{
    const struct cohort_call call = {.size = sizeof(call), .flags = COHORT_AGAIN, .timeout_ms = timeout_ms};
    given->asking = true;
    given->renewing = false;
    enum cohort_status status = cohort_command_start(given->cohort, count, words, &call, answered, given);
    if (status != COHORT_OK) {
        answered(given, status, NULL);
    }
}

static void ask_register(struct registration *given, int64_t timeout_ms)
{
    const struct cohort_bytes words[] = {
        cohort_text("SERVICE.REGISTER"), cohort_text(given->name),   cohort_text(given->id),
        cohort_text(given->address),     cohort_text("PX"),          cohort_text(given->ttl),
        cohort_text("WEIGHT"),           cohort_text(given->weight), cohort_text("ZONE"),
        cohort_text(given->zone),
    };
    ask(given, words, sizeof(words) / sizeof(words[0]), timeout_ms);
}

static void ask_about(struct registration *given, const char *verb, int64_t timeout_ms)
{
    const struct cohort_bytes words[] = {cohort_text(verb), cohort_text(given->name), cohort_text(given->id)};
    ask(given, words, 3, timeout_ms);
}

/* ---- signals and the command ---- */

static bool open_signals(struct registration *given)
{
    static const int taken[] = {SIGHUP, SIGINT, SIGTERM, SIGCHLD};
    sigset_t wanted;
    (void)sigemptyset(&wanted);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct sigaction action;
        if (sigaction(taken[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
            (void)sigaddset(&wanted, taken[i]);
        }
    }
    (void)sigaddset(&wanted, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &wanted, &given->mask);
    given->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    return given->signals >= 0;
}

static void take_signals(struct registration *given)
{
    struct signalfd_siginfo information;
    while (read(given->signals, &information, sizeof(information)) == (ssize_t)sizeof(information)) {
        int number = (int)information.ssi_signo;
        if (number != SIGCHLD) {
            given->leave = number;
        }
    }
    if (given->child != 0 && waitpid(given->child, &given->child_status, WNOHANG) == given->child) {
        given->child = 0;
    }
}

/* In this process's group, so that a terminal's signals reach it, too; it goes when this process is killed. */
static bool start_command(struct registration *given)
{
    pid_t parent = getpid();
    given->child = fork();
    if (given->child != 0) {
        bool started = given->child > 0;
        given->child = started ? given->child : 0;
        return started;
    }
    (void)sigprocmask(SIG_SETMASK, &given->mask, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent) {
        (void)setenv("COHORT_SERVICE", given->name, 1);
        (void)setenv("COHORT_ENDPOINT", given->id, 1);
        (void)execvp(given->argv[0], given->argv);
        (void)fprintf(stderr, "cohort service register: cannot run '%s': %s\n", given->argv[0], strerror(errno));
    }
    _exit(errno == ENOENT ? NOT_FOUND : NOT_RUN);
}

/* ---- one turn ---- */

/* Waits until then at most for an answer, a signal, or the command's end. */
static void turn(struct registration *given, int64_t until_ms)
{
    int64_t left_ms = until_ms - now_ms();
    int library_ms = cohort_timeout(given->cohort);
    int wait_ms = left_ms < 0 ? 0 : left_ms > 60000 ? 60000 : (int)left_ms;
    struct pollfd events[] = {{.fd = cohort_fd(given->cohort), .events = POLLIN},
                              {.fd = given->signals, .events = POLLIN}};
    (void)poll(events, 2, library_ms >= 0 && library_ms < wait_ms ? library_ms : wait_ms);
    cohort_process(given->cohort);
    take_signals(given);
}

static void wait_for_answer(struct registration *given, int64_t until_ms)
{
    while (given->asking && now_ms() < until_ms) {
        turn(given, until_ms);
    }
}

static void tell_trouble(struct registration *given)
{
    bool troubled = given->status != COHORT_OK;
    given->renewing = false;
    if (troubled && !given->troubled) {
        (void)cli_error(given->command, 0, "'%s' cannot be renewed, and is tried again: %s", given->id, given->problem);
    } else if (!troubled && given->troubled) {
        (void)cli_error(given->command, 0, "'%s' is registered again", given->id);
    }
    given->troubled = troubled;
}

static bool goes_on(const struct registration *given)
{
    return given->leave == 0 && (given->argv == NULL || given->child != 0);
}

static void serve(struct registration *given)
{
    int64_t next_ms = now_ms() + given->ttl_ms / 3;
    while (goes_on(given)) {
        if (!given->asking && now_ms() >= next_ms) {
            next_ms = now_ms() + given->ttl_ms / 3;
            ask_register(given, given->ttl_ms / 2);
            given->renewing = true;
        }
        turn(given, given->asking && next_ms < now_ms() ? now_ms() + given->ttl_ms / 3 : next_ms);
        if (given->renewing && !given->asking) {
            tell_trouble(given);
        }
    }
}

/* Drains first, so that no new work comes; then the command hears of the signal, and its endpoint is renewed until it
 * has ended. */
static void leave(struct registration *given)
{
    wait_for_answer(given, now_ms() + DRAIN_MS);
    ask_about(given, "SERVICE.DRAIN", DRAIN_MS);
    wait_for_answer(given, now_ms() + DRAIN_MS);
    while (given->child != 0) {
        (void)kill(given->child, given->leave);
        given->leave = 0;
        serve(given);
    }
}

/* ---- the whole ---- */

static int exit_code(const struct registration *given, int signal_number)
{
    if (given->argv == NULL) {
        return signal_number == 0 ? EX_OK : SIGNALLED + signal_number;
    }
    return WIFSIGNALED(given->child_status) ? SIGNALLED + WTERMSIG(given->child_status)
                                            : WEXITSTATUS(given->child_status);
}

static int run_registered(struct registration *given)
{
    ask_register(given, WAIT_MS);
    wait_for_answer(given, now_ms() + 2 * WAIT_MS);
    if (given->status != COHORT_OK) {
        return cli_error(given->command, cohort_call_code(given->status), "'%s': %s", given->name, given->problem);
    }
    if (given->argv != NULL && given->leave == 0 && !start_command(given)) {
        return cli_error(given->command, EX_OSERR, "cannot start a process: %s", strerror(errno));
    }
    if (given->argv == NULL && isatty(STDERR_FILENO) == 1) {
        (void)cli_error(given->command, 0, "'%s' is registered as '%s'; Ctrl-C ends that", given->address, given->id);
    }
    serve(given);
    int signal_number = given->leave;
    if (signal_number != 0) {
        leave(given);
    }
    wait_for_answer(given, now_ms() + REMOVE_MS);
    ask_about(given, "SERVICE.REMOVE", REMOVE_MS);
    wait_for_answer(given, now_ms() + REMOVE_MS);
    return exit_code(given, signal_number);
}

/* Another one for each process: what was drained, or is still registered by one that died, is not taken over. */
static void make_id(char text[static ID_BYTES])
{
    char host[HOST_BYTES] = "";
    uint32_t noise = 0;
    (void)gethostname(host, sizeof(host) - 1);
    (void)getrandom(&noise, sizeof(noise), 0);
    (void)snprintf(text, ID_BYTES, "%s-%d-%08x", host[0] == '\0' ? "host" : host, (int)getpid(), (unsigned)noise);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct registration given = {.command = command, .ttl_ms = TTL_MS, .zone = "", .signals = -1};
    const char *url = NULL;
    int64_t weight = 100;
    char id[ID_BYTES];
    const struct cli_option options[] = {
        {"ttl", CLI_DURATION, &given.ttl_ms, "DURATION", "time to live, renewed meanwhile (default 5s)", TTL_MINIMUM_MS,
         TTL_MAXIMUM_MS},
        {"weight", CLI_NUMBER, &weight, "N", "share of the work (default 100)", 1, 65535},
        {"zone", CLI_TEXT, &given.zone, "TEXT", "where it is, for those who prefer what is near"},
        {"id", CLI_TEXT, &given.id, "TEXT", "of the endpoint (default one that no other process has)"},
        {"url", CLI_TEXT, &url, "URL", "of the cohort (default cohort://127.0.0.1:6379)"},
        {0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE && arguments.count < 2) {
        (void)cli_error(command, EX_USAGE,
                        arguments.count == 0 ? "the name of the service is missing" : "the address is missing");
        code = cli_usage_hint(command);
    }
    if (code == CLI_CONTINUE && arguments.rest != NULL && arguments.rest_count == 0) {
        (void)cli_error(command, EX_USAGE, "the command behind -- is missing");
        code = cli_usage_hint(command);
    }
    code = code == CLI_CONTINUE ? cohort_call_open(command, url, &given.cohort) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    make_id(id);
    given.name = arguments.items[0];
    given.address = arguments.items[1];
    given.id = given.id == NULL ? id : given.id;
    given.argv = arguments.rest;
    (void)snprintf(given.weight, sizeof(given.weight), "%lld", (long long)weight);
    (void)snprintf(given.ttl, sizeof(given.ttl), "%lld", (long long)given.ttl_ms);
    code = open_signals(&given) ? run_registered(&given) : cli_error(command, EX_OSERR, "%s", strerror(errno));
    cohort_close(given.cohort);
    (void)close(given.signals);
    return code;
}

const struct cli_command cli_service_register = {
    .name = "service register",
    .arguments = "NAME ADDR [-- COMMAND …]",
    .arguments_maximum = 2,
    .summary = "keep an endpoint registered while a command runs",
    .details = "Registers ADDR (host:port) under NAME, runs the command with COHORT_SERVICE and\n"
               "COHORT_ENDPOINT (the id) in its environment, renews the lease meanwhile, and\n"
               "removes the endpoint when the command has ended. On SIGTERM, SIGINT or SIGHUP\n"
               "the endpoint is drained first, then the command gets the signal. While no node\n"
               "answers, the command goes on and renewing is tried again. Without a command it\n"
               "stays registered until a signal comes.\n"
               "\n"
               "Exit status: the command's own; 128 + n when signal n ended it, or without a\n"
               "command this process; 126 or 127 when it cannot be run or found; 69 no answer,\n"
               "64 wrong usage.",
    .examples = "  cohort service register web 10.0.0.1:8080 -- ./serve.sh\n"
                "  cohort service register web 10.0.0.2:8080 --weight 200 --zone north -- ./serve.sh\n",
    .run = run,
};
