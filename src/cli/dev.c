/* cohort dev: a cluster on this machine, each node a child process.
 *
 *     STARTING ──all nodes serve──▶ UP ──signal, or no node is left──▶ STOPPING ──all have ended──▶ the end
 *         └──a node dies, it takes too long, or a signal────────────────▲
 */
#include "cli/cli.h"

#include "base/assert.h"
#include "cli/dev_child.h"
#include "cli/dev_ready.h"
#include "cli/dev_setup.h"
#include "cli/peers.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    DEV_NODES = 9,
    DEV_REPLICAS = 3,
    DEV_REST = 32,       /* options for serve behind "--" */
    LOOK_MS = 50,        /* between looks whether nodes serve */
    PATIENCE_MS = 10000, /* then a person is told what is waited for … */
    GIVE_UP_MS = 120000, /* … and then it has failed */
    RESTART_FIRST_MS = 100,
    RESTART_MAXIMUM_MS = 5000,
    RESTART_CALM_MS = 10000, /* after such a life the delay begins anew */
    PEERS_BYTES = DEV_NODES * 32,
};

enum dev_phase { DEV_STARTING, DEV_UP, DEV_STOPPING };

struct dev {
    int64_t node_count, shards, port;
    const char *data;
    bool restart;
    struct cli_arguments arguments;
    char directory[PATH_MAX]; /* of all nodes, absolute */
    char peers[PEERS_BYTES];
    struct dev_child children[DEV_NODES];
    enum dev_phase phase;
    int signals; /* a signalfd */
    int asked;   /* how often somebody asked for the end */
    int64_t began_ms, looked_ms;
    bool told; /* that it takes long */
    int exit_code;
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- before anything is started ---- */

static int take_options(struct dev *dev, int argc, char **argv)
{
    dev->node_count = 3;
    dev->shards = 4;
    dev->port = 6379;
    dev->data = "cohort-data";
    const struct cli_option options[] = {
        {"nodes", CLI_NUMBER, &dev->node_count, "N", "how many (default 3)", 1, DEV_NODES},
        {"shards", CLI_NUMBER, &dev->shards, "N", "of a cluster that is made (default 4)", 1, SLOT_MAXIMUM_SHARDS},
        {"port", CLI_NUMBER, &dev->port, "N", "of the first node; the others count up (default 6379)", 1, 65535},
        {"data", CLI_TEXT, &dev->data, "DIR", "folder of all nodes' data, made when missing (default cohort-data)", 0,
         0},
        {"restart", CLI_FLAG, &dev->restart, NULL, "start a node again when it dies, unless that is in vain", 0, 0},
        {0},
    };
    int code = cli_parse(&cli_dev, options, argc, argv, &dev->arguments);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (dev->arguments.rest_count > DEV_REST) {
        return cli_error(&cli_dev, EX_USAGE, "at most %d words may follow --", DEV_REST);
    }
    int64_t highest = dev->port + dev->node_count - 1 + (dev->node_count > 1 ? PEERS_PORT_DISTANCE : 0);
    if (highest > UINT16_MAX) {
        return cli_error(&cli_dev, EX_USAGE, "--port %lld is too high: the nodes need ports up to %lld",
                         (long long)dev->port, (long long)highest);
    }
    return CLI_CONTINUE;
}

static int prepare(struct dev *dev)
{
    for (int i = 0; i < dev->node_count; i++) {
        int code = dev_check_port((int)dev->port + i);
        if (code == CLI_CONTINUE && dev->node_count > 1) {
            code = dev_check_port((int)dev->port + i + PEERS_PORT_DISTANCE);
        }
        if (code != CLI_CONTINUE) {
            return code;
        }
    }
    return dev_make_folder(dev->data, dev->directory);
}

/* ---- nodes ---- */

static bool start_child(struct dev *dev, struct dev_child *child)
{
    char id[16], listen[32], shards[16], replicas[16], data[PATH_MAX + 32];
    (void)snprintf(id, sizeof(id), "%d", child->number);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%d", child->port);
    (void)snprintf(shards, sizeof(shards), "%d", (int)dev->shards);
    (void)snprintf(replicas, sizeof(replicas), "%d", DEV_REPLICAS);
    (void)snprintf(data, sizeof(data), "%s/node-%d", dev->directory, child->number);
    const char *argv[16 + DEV_REST] = {"cohort", "serve",    "--id", id,         "--data",
                                       data,     "--listen", listen, "--shards", shards};
    size_t argc = 10;
    if (dev->node_count > 1) {
        const char *cluster[] = {"--peers", dev->peers, "--replicas", replicas};
        memcpy(argv + argc, cluster, sizeof(cluster));
        argc += sizeof(cluster) / sizeof(cluster[0]);
    }
    for (int i = 0; i < dev->arguments.rest_count; i++) {
        argv[argc++] = dev->arguments.rest[i];
    }
    ASSERT(argc < sizeof(argv) / sizeof(argv[0]));
    if (!dev_child_start(child, (char *const *)argv, now_ms())) {
        dev->exit_code = cli_error(&cli_dev, EX_OSERR, "cannot start node %d: %s", child->number, strerror(errno));
        return false;
    }
    return true;
}

static bool start_all(struct dev *dev)
{
    size_t size = 0;
    for (int i = 0; i < dev->node_count; i++) {
        dev_child_init(&dev->children[i], i + 1, (int)dev->port + i);
        size += (size_t)snprintf(dev->peers + size, sizeof(dev->peers) - size, "%s%d=127.0.0.1:%d", i == 0 ? "" : ",",
                                 i + 1, (int)dev->port + i);
    }
    for (int i = 0; i < dev->node_count; i++) {
        if (!start_child(dev, &dev->children[i])) {
            return false;
        }
    }
    return true;
}

static int count_running(const struct dev *dev)
{
    int count = 0;
    for (int i = 0; i < dev->node_count; i++) {
        count += dev->children[i].pid != 0 || dev->children[i].restart_ms != 0;
    }
    return count;
}

/* Tells all nodes to end: politely, then at once, then without asking. */
static void stop_all(struct dev *dev)
{
    dev->phase = DEV_STOPPING;
    dev->asked++;
    for (int i = 0; i < dev->node_count; i++) {
        dev->children[i].restart_ms = 0;
        if (dev->children[i].pid != 0) {
            (void)kill(dev->children[i].pid, dev->asked > 2 ? SIGKILL : SIGTERM);
        }
    }
}

static void say_up(const struct dev *dev)
{
    char program[PATH_MAX];
    dev_find_program(program);
    printf("\nCohort is up: %d node%s, %d shard%s.\n  talk to it:  redis-cli -p %d set greeting hello\n",
           (int)dev->node_count, dev->node_count == 1 ? "" : "s", (int)dev->shards, dev->shards == 1 ? "" : "s",
           (int)dev->port);
    for (int i = 1; i < dev->node_count; i++) {
        printf("               redis-cli -p %d get greeting\n", (int)dev->port + i);
    }
    printf("  look at it:  %s status 127.0.0.1:%d\n  its data:    %s\n  stop it:     Ctrl-C\n\n", program,
           (int)dev->port, dev->directory);
    (void)fflush(stdout);
}

/* Told once in the middle, and at the end. */
static void look_at_the_clock(struct dev *dev, const struct dev_child *waited_for, const char *why)
{
    int64_t waited_ms = now_ms() - dev->began_ms;
    if (waited_ms >= GIVE_UP_MS) {
        dev->exit_code = cli_error(&cli_dev, EX_UNAVAILABLE, "it does not serve after %d s: node %d: %s",
                                   (int)(waited_ms / 1000), waited_for->number, why);
        stop_all(dev);
    } else if (waited_ms >= PATIENCE_MS && !dev->told) {
        dev->told = true;
        (void)cli_error(&cli_dev, EX_OK, "it takes long: waiting for node %d: %s", waited_for->number, why);
    }
}

static bool is_awaited(const struct dev_child *child) { return child->pid != 0 && !child->serves; }

/* Looks at those that did not serve when it looked last. */
static void look_at_nodes(struct dev *dev)
{
    const struct dev_child *waited_for = NULL;
    char why[NODE_PROBLEM_BYTES];
    if (now_ms() - dev->looked_ms < LOOK_MS) {
        return;
    }
    for (int i = 0; i < dev->node_count && dev->phase != DEV_STOPPING; i++) {
        struct dev_child *child = &dev->children[i];
        if (!is_awaited(child)) {
            continue;
        }
        child->serves = dev_ready(child->port, why);
        if (!child->serves) {
            waited_for = child;
            break; /* the others are asked when this one serves: each look may take a moment */
        }
        if (dev->phase == DEV_UP) {
            (void)cli_error(&cli_dev, EX_OK, "node %d (port %d) serves again", child->number, child->port);
        }
    }
    dev->looked_ms = now_ms();
    if (dev->phase == DEV_STARTING && waited_for != NULL) {
        look_at_the_clock(dev, waited_for, why);
    } else if (dev->phase == DEV_STARTING) {
        dev->phase = DEV_UP;
        say_up(dev);
    }
}

static void plan_restart(struct dev_child *child)
{
    bool calm = child->delay_ms == 0 || now_ms() - child->began_ms >= RESTART_CALM_MS;
    child->delay_ms = calm ? RESTART_FIRST_MS : 2 * child->delay_ms;
    child->delay_ms = child->delay_ms > RESTART_MAXIMUM_MS ? RESTART_MAXIMUM_MS : child->delay_ms;
    child->restart_ms = now_ms() + child->delay_ms;
}

/* It ended in a way that the same command and the same data will end in again. */
static bool will_repeat(int status)
{
    if (!WIFEXITED(status)) {
        return false;
    }
    switch (WEXITSTATUS(status)) {
    case EX_USAGE:
    case EX_DATAERR:
    case EX_NOPERM:
    case EX_CONFIG: return true;
    default: return false;
    }
}

static const char *what_next(const struct dev *dev, bool again)
{
    if (again) {
        return "it is started again";
    }
    if (count_running(dev) == 0) {
        return "no node is left";
    }
    return dev->restart ? "it would not start again, as it says above; the others go on"
                        : "the others go on (--restart would start it again)";
}

static void child_died(struct dev *dev, struct dev_child *child, int status)
{
    char ended[DEV_ENDED_BYTES];
    dev_child_describe_end(status, ended);
    dev_child_read(child, true);
    child->pid = 0;
    if (dev->phase == DEV_STOPPING) {
        return;
    }
    int code = WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EX_SOFTWARE;
    if (dev->phase == DEV_STARTING) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) == EX_OK) { /* else it has said why */
            (void)cli_error(&cli_dev, code, "node %d died while it started: %s", child->number, ended);
        }
        dev->exit_code = code;
        stop_all(dev);
        return;
    }
    bool again = dev->restart && !will_repeat(status);
    if (again) {
        plan_restart(child);
    }
    (void)cli_error(&cli_dev, code, "node %d (port %d) died: %s; %s", child->number, child->port, ended,
                    what_next(dev, again));
    if (count_running(dev) == 0) {
        dev->exit_code = code;
        stop_all(dev);
    }
}

static void reap(struct dev *dev)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < dev->node_count; i++) {
            if (dev->children[i].pid == pid) {
                child_died(dev, &dev->children[i], status);
                break;
            }
        }
    }
}

static void restart_due(struct dev *dev)
{
    for (int i = 0; i < dev->node_count; i++) {
        struct dev_child *child = &dev->children[i];
        if (child->restart_ms != 0 && child->restart_ms <= now_ms() && !start_child(dev, child)) {
            stop_all(dev);
        }
    }
}

/* ---- the loop ---- */

static int open_signals(struct dev *dev)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)signal(SIGPIPE, SIG_IGN); /* nodes go on when nobody reads what they print */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    dev->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return dev->signals < 0 ? cli_error(&cli_dev, EX_OSERR, "cannot catch signals: %s", strerror(errno)) : CLI_CONTINUE;
}

static void take_signals(struct dev *dev)
{
    struct signalfd_siginfo signal;
    while (read(dev->signals, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
        if (signal.ssi_signo == SIGCHLD) {
            reap(dev);
        } else {
            stop_all(dev);
        }
    }
}

static int next_timeout_ms(const struct dev *dev)
{
    int64_t next = INT_MAX;
    for (int i = 0; i < dev->node_count; i++) {
        if (is_awaited(&dev->children[i]) && dev->phase != DEV_STOPPING) {
            next = LOOK_MS < next ? LOOK_MS : next;
        }
        int64_t left = dev->children[i].restart_ms - now_ms();
        if (dev->children[i].restart_ms != 0 && left < next) {
            next = left < 0 ? 0 : left;
        }
    }
    return next == INT_MAX ? -1 : (int)next;
}

static void wait_for_events(struct dev *dev)
{
    struct pollfd events[1 + DEV_NODES] = {{.fd = dev->signals, .events = POLLIN}};
    for (int i = 0; i < dev->node_count; i++) {
        events[1 + i] = (struct pollfd){.fd = dev->children[i].output, .events = POLLIN};
    }
    if (poll(events, 1 + (nfds_t)dev->node_count, next_timeout_ms(dev)) < 0) {
        return; /* EINTR: after a stop by job control */
    }
    for (int i = 0; i < dev->node_count; i++) {
        if (events[1 + i].revents != 0) {
            dev_child_read(&dev->children[i], false);
        }
    }
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    (void)command;
    struct dev dev = {.exit_code = EX_OK};
    int code = take_options(&dev, argc, argv);
    code = code == CLI_CONTINUE ? prepare(&dev) : code;
    code = code == CLI_CONTINUE ? open_signals(&dev) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    dev.began_ms = now_ms();
    if (!start_all(&dev)) {
        stop_all(&dev);
    }
    while (count_running(&dev) != 0) {
        wait_for_events(&dev);
        take_signals(&dev);
        restart_due(&dev);
        look_at_nodes(&dev);
    }
    (void)close(dev.signals);
    return dev.exit_code;
}

const struct cli_command cli_dev = {
    .name = "dev",
    .arguments = "[-- OPTION …]",
    .arguments_maximum = 0,
    .summary = "run a cluster on this machine, in the foreground",
    .details = "Each node is a child process `cohort serve`; the options behind -- go to all of them.\n"
               "What they print is passed on, with the node's number in front. Ctrl-C stops all of\n"
               "them cleanly; a second one does not wait.\n"
               "\n"
               "The data folder keeps the cluster that was made in it: its number of nodes and shards.\n"
               "Nodes use their ports + 10000 among themselves.\n"
               "\n"
               "Exit status: 0 after a clean stop, 64 wrong usage, 69 a port or the data folder in use,\n"
               "or no cluster within 2 minutes, 73 the data folder cannot be made; when the nodes end\n"
               "by themselves, theirs.",
    .examples = "  cohort dev\n"
                "  cohort dev --nodes 5 --shards 16 --port 7000 --data ./data --restart\n"
                "  cohort dev -- --maxmemory 100mb --loglevel debug\n",
    .run = run,
};
