#include "cli/cli.h"

#include "base/assert.h"
#include "cli/metrics_http.h"
#include "cli/serve_cluster.h"
#include "env_uv/threads.h"
#include "server/server.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    SERVE_MAXIMUM_OPTIONS = 64,
    SERVE_OWN_OPTIONS = 9,
    HELP_BYTES = 128,
    HELP_WIDTH = 66, /* of the words and the default, so that a line fits a wide terminal */
    DESCRIPTORS_KEPT = 46,
    DESCRIPTORS_OF_WORKER = 12,
    SHARDS_IN_SNAPSHOTS = 16,
    POOL_THREADS = 4, /* of libuv, for syncs and snapshots, unless there are more workers */
};

struct serve {
    struct env *env;
    struct server *server;
    struct env_uv_threads *workers; /* one for each but the first, which has the main thread */
    struct metrics_http *metrics;
    struct config config;
    struct server_options options;
    struct serve_cluster cluster;
    enum status stopped;
};

/* Its own options, then one for each setting. */
struct serve_options {
    struct serve_cluster *cluster;
    const char *data, *config;
    struct cli_option items[SERVE_MAXIMUM_OPTIONS];
    const char *values[SERVE_MAXIMUM_OPTIONS];
    char help[SERVE_MAXIMUM_OPTIONS][HELP_BYTES];
    size_t count;
};

static void add_setting(void *owner, const char *name, const char *value, const char *help)
{
    struct serve_options *options = owner;
    size_t at = options->count;
    ASSERT(at + 1 < SERVE_MAXIMUM_OPTIONS);
    const char *given = value[0] == '\0' ? "empty" : value;
    bool fits = strlen(help) + strlen(given) < HELP_WIDTH; /* else the manual page has it */
    int size = fits ? snprintf(options->help[at], HELP_BYTES, "%s (default %s)", help, given)
                    : snprintf(options->help[at], HELP_BYTES, "%s", help);
    ASSERT(size < HELP_BYTES);
    options->items[at] = (struct cli_option){name, CLI_TEXT, &options->values[at], "VALUE", options->help[at], 0, 0};
    options->count++;
}

static void list_options(struct serve_options *options, const struct config *config)
{
    struct serve_cluster *cluster = options->cluster;
    const struct cli_option own[SERVE_OWN_OPTIONS] = {
        {"data", CLI_TEXT, &options->data, "DIR", "folder of log and snapshots, made when missing (needed)", 0, 0},
        {"id", CLI_NUMBER, &cluster->id, "N", "this node's number (default 1; needed with --peers)", 1,
         MEMBERS_MAXIMUM_ID},
        {"listen", CLI_TEXT, &cluster->listen, "HOST:PORT",
         "for clients; port 0: any (default: as in --peers, or 127.0.0.1:6379)", 0, 0},
        {"peers", CLI_TEXT, &cluster->peers, "LIST",
         "all nodes, this one too: N=HOST:PORT[@PEERPORT],… (default: alone)", 0, 0},
        {"peer-listen", CLI_TEXT, &cluster->peer_listen, "HOST:PORT",
         "for the other nodes (default: as in --peers, port + 10000 or PEERPORT)", 0, 0},
        {"shards", CLI_NUMBER, &cluster->shards, "N", "parts of the data, fixed at the beginning (default 8; alone 1)",
         1, SLOT_MAXIMUM_SHARDS},
        {"replicas", CLI_NUMBER, &cluster->replicas, "N", "nodes that keep each shard (default 3)", 1,
         PLACEMENT_MAXIMUM_REPLICAS},
        {"reads", CLI_TEXT, &cluster->reads, "HOW",
         "majority, lease; lease trusts clocks' rates, faster (default majority)", 0, 0},
        {"config", CLI_TEXT, &options->config, "FILE", "`name = value` lines of the settings; options win over it", 0,
         0},
    };
    memcpy(options->items, own, sizeof(own));
    options->count = SERVE_OWN_OPTIONS;
    config_each_settable(config, add_setting, options);
}

/* From a file or a pipe, to its end. */
static int read_text(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return cli_error(&cli_serve, EX_NOINPUT, "cannot read the configuration file %s: %s; correct --config", path,
                         strerror(errno));
    }
    uint8_t *at = buffer_reserve(out, CONFIG_FILE_BYTES + 1);
    size_t size = fread(at, 1, CONFIG_FILE_BYTES + 1, file);
    bool good = ferror(file) == 0 && size <= CONFIG_FILE_BYTES;
    (void)fclose(file);
    if (!good) {
        return cli_error(&cli_serve, EX_NOINPUT,
                         "cannot read the configuration file %s: a text of at most %d MB is needed; correct --config",
                         path, CONFIG_FILE_BYTES >> 20);
    }
    out->size += size;
    return CLI_CONTINUE;
}

static int read_config(struct serve *serve, const char *path)
{
    struct buffer text;
    buffer_init(&text);
    char why[CONFIG_MESSAGE_BYTES] = "";
    int code = read_text(path, &text);
    if (code == CLI_CONTINUE && config_parse(&serve->config, buffer_slice(&text), path, why) != STATUS_OK) {
        code = cli_error(&cli_serve, EX_CONFIG, "%s", why);
    }
    buffer_deinit(&text);
    return code;
}

static int take_settings(struct serve *serve, const struct serve_options *options)
{
    char why[CONFIG_MESSAGE_BYTES] = "";
    for (size_t i = SERVE_OWN_OPTIONS; i < options->count; i++) {
        const char *value = options->values[i];
        if (value != NULL && config_set(&serve->config, slice_from_string(options->items[i].name),
                                        slice_from_string(value), false, why) != CONFIG_SET) {
            return cli_error(&cli_serve, EX_CONFIG, "--%s %s: %s", options->items[i].name, value, why);
        }
    }
    return CLI_CONTINUE;
}

static void take_workers(struct serve *serve)
{
    uint32_t recorded = server_recorded_workers(serve->env, serve->options.directory, serve->options.node_id);
    uint32_t unsaid = recorded != 0 ? recorded : 1;
    serve->options.worker_count = serve->config.workers != 0 ? (uint32_t)serve->config.workers : unsaid;
}

/* The configuration file first, then the options over it. */
static int take_options(struct serve *serve, int argc, char **argv)
{
    struct serve_options options = {.cluster = &serve->cluster};
    char message[SERVE_CLUSTER_MESSAGE_BYTES];
    list_options(&options, &serve->config);
    struct cli_arguments arguments;
    int code = cli_parse(&cli_serve, options.items, argc, argv, &arguments);
    if (code == CLI_CONTINUE && options.config != NULL) {
        code = read_config(serve, options.config);
    }
    if (code == CLI_CONTINUE) {
        code = take_settings(serve, &options);
    }
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (options.data == NULL || options.data[0] == '\0') {
        (void)cli_error(&cli_serve, EX_USAGE,
                        "--data DIR is needed: the folder for log and snapshots, made when missing");
        return cli_usage_hint(&cli_serve);
    }
    serve->options = (struct server_options){.directory = options.data, .version = COHORT_VERSION};
    code = serve_cluster_take(&serve->cluster, serve->config.protected_mode != 0, &serve->options, message);
    if (code != CLI_CONTINUE) {
        return cli_error(&cli_serve, code, "%s", message);
    }
    take_workers(serve);
    return CLI_CONTINUE;
}

static void server_stopped(void *owner, enum status status)
{
    struct serve *serve = owner;
    serve->stopped = status;
    env_uv_stop(serve->env);
}

static void server_configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    env_uv_set_log_level(env, (enum env_log_level)config->log_level);
}

static void worker_stopped(void *owner, struct env *env)
{
    (void)owner;
    env_uv_stop(env);
}

static void server_is_ready(void *owner)
{
    struct serve *serve = owner;
    bool v6 = strchr(serve->options.host, ':') != NULL;
    env_log(serve->env, ENV_LOG_INFO, "cohort %s, node %llu: ready for clients on %s%s%s:%d, data in %s",
            COHORT_VERSION, (unsigned long long)serve->options.node_id, v6 ? "[" : "", serve->options.host,
            v6 ? "]" : "", server_port(serve->server), serve->options.directory);
}

static void signal_arrived(void *owner, int signum)
{
    struct serve *serve = owner;
    env_log(serve->env, ENV_LOG_INFO, "%s received",
            signum == SIGTERM  ? "SIGTERM"
            : signum == SIGHUP ? "SIGHUP"
                               : "SIGINT");
    server_shutdown(serve->server);
}

/* SIGHUP says that the terminal is gone. Under nohup it is ignored, and stays so. */
static bool hangup_is_ignored(void)
{
    struct sigaction action;
    return sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static enum status catch_signals(struct serve *serve)
{
    static const int caught[] = {SIGTERM, SIGINT, SIGHUP};
    size_t count = sizeof(caught) / sizeof(caught[0]) - (hangup_is_ignored() ? 1 : 0);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = env_uv_on_signal(serve->env, caught[i], signal_arrived, serve);
    }
    return status;
}

static void render_metrics(void *owner, struct buffer *out)
{
    struct serve *serve = owner;
    server_metrics(serve->server, out);
}

/* glibc puts small blocks that are freed on a list, and joins all of them at once at some later large call: 100 ms
 * after a million keys are removed. Without that list each free joins its own block. */
static void join_freed_memory_at_once(void)
{
#ifdef M_MXFAST
    (void)mallopt(M_MXFAST, 0);
#endif
}

/* What clients must leave: for log, metrics and the loop, a snapshot written and one received of each shard (of so many
 * at one time), and connections to and from each node, old ones among them. Or writes would be refused for want of a
 * file. */
static int64_t kept_descriptors(const struct server_options *options)
{
    int64_t shards = options->shards < SHARDS_IN_SNAPSHOTS ? options->shards : SHARDS_IN_SNAPSHOTS;
    int64_t others = (int64_t)options->worker_count - 1;
    return DESCRIPTORS_KEPT + 2 * shards + 4 * (int64_t)options->founder_count + DESCRIPTORS_OF_WORKER * others;
}

/* As many descriptors as the system lets us have. */
static int arrange_descriptors(struct serve *serve)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return CLI_CONTINUE;
    }
    rlim_t asked = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (asked < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = asked;
    }
    int64_t kept = kept_descriptors(&serve->options);
    if (limit.rlim_cur <= (rlim_t)kept) {
        return cli_error(&cli_serve, EX_OSERR, "the limit of open files (ulimit -n) is %llu; at least %lld are needed",
                         (unsigned long long)limit.rlim_cur, (long long)kept + 1);
    }
    int64_t clients = limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur - kept;
    serve->options.maxclients = clients;
    if (serve->config.maxclients > clients) {
        env_log(serve->env, ENV_LOG_WARNING,
                "maxclients is %lld instead of %lld: the limit of open files (ulimit -n) does not allow more",
                (long long)clients, (long long)serve->config.maxclients);
        serve->config.maxclients = clients;
    }
    return CLI_CONTINUE;
}

static int exit_code(enum status status)
{
    switch (status) {
    case STATUS_OK: return EX_OK;
    case STATUS_BUSY: return EX_UNAVAILABLE;
    case STATUS_INVALID: return EX_CONFIG;
    case STATUS_DENIED:
    case STATUS_READONLY: return EX_NOPERM;
    case STATUS_CORRUPT:
    case STATUS_VERSION: return EX_DATAERR;
    default: return EX_IOERR;
    }
}

static const char *metrics_advice(enum status status)
{
    switch (status) {
    case STATUS_INVALID: return "an address of this machine is needed, such as 127.0.0.1:9100 or [::1]:9100";
    case STATUS_BUSY: return "in use; another program has this port, stop it or give another";
    default: return status_text(status);
    }
}

/* So that each worker's sync finds a thread. Before libuv starts any. */
static void widen_pool(uint32_t count)
{
    char text[16];
    if (count > POOL_THREADS) {
        (void)snprintf(text, sizeof(text), "%u", (unsigned)count);
        (void)setenv("UV_THREADPOOL_SIZE", text, 0);
    }
}

static int start_workers(struct serve *serve)
{
    const struct env_uv_options how = {.log_level = (enum env_log_level)serve->config.log_level,
                                       .log_json = serve->config.log_format != 0};
    uint32_t count = serve->options.worker_count;
    widen_pool(count);
    enum status status = env_uv_threads_start(serve->env, count, &how, &serve->workers);
    if (status != STATUS_OK) {
        return cli_error(&cli_serve, EX_OSERR, "cannot start %u workers: %s", (unsigned)count, status_text(status));
    }
    serve->options.workers = env_uv_threads_envs(serve->workers);
    return CLI_CONTINUE;
}

static int start(struct serve *serve)
{
    char message[SERVER_MESSAGE_BYTES] = "";
    char metrics[HOST_BYTES];
    (void)snprintf(metrics, sizeof(metrics), "%s", serve->config.metrics);
    struct server_events events = {server_stopped, server_configured, server_is_ready, worker_stopped};
    enum status status =
        server_create(serve->env, &serve->options, &serve->config, &events, serve, &serve->server, message);
    if (status != STATUS_OK) {
        return cli_error(&cli_serve, exit_code(status), "%s", message);
    }
    if (metrics[0] != '\0') {
        status = metrics_http_start(serve->env, metrics, render_metrics, serve, &serve->metrics);
        if (status != STATUS_OK) {
            return cli_error(&cli_serve, exit_code(status), "--metrics %s: %s", metrics, metrics_advice(status));
        }
    }
    return catch_signals(serve) == STATUS_OK ? EX_OK : cli_error(&cli_serve, EX_OSERR, "cannot catch signals");
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct serve serve = {0};
    join_freed_memory_at_once();
    config_init(&serve.config);
    if (env_uv_create(NULL, &serve.env) != STATUS_OK) {
        config_deinit(&serve.config);
        return cli_error(command, EX_OSERR, "cannot start the event loop");
    }
    int code = take_options(&serve, argc, argv);
    if (code == CLI_CONTINUE) {
        env_uv_set_log_level(serve.env, (enum env_log_level)serve.config.log_level);
        env_uv_set_log_json(serve.env, serve.config.log_format != 0);
        code = arrange_descriptors(&serve);
        code = code == CLI_CONTINUE ? start_workers(&serve) : code;
        code = code == CLI_CONTINUE ? start(&serve) : code;
        if (code == EX_OK) {
            env_uv_run(serve.env);
            env_log(serve.env, ENV_LOG_INFO, "stopped");
            code = exit_code(serve.stopped);
        }
    }
    metrics_http_stop(serve.metrics);
    env_uv_threads_end(serve.workers);
    server_destroy(serve.server);
    env_uv_threads_destroy(serve.workers);
    config_deinit(&serve.config);
    env_uv_destroy(serve.env);
    return code;
}

const struct cli_command cli_serve = {
    .name = "serve",
    .arguments = "",
    .arguments_maximum = 0,
    .summary = "run one node in the foreground",
    .details = "Serves until SIGTERM, SIGINT or SIGHUP, answers what it has received, and ends; a second\n"
               "signal ends it at once. Under nohup it ignores SIGHUP. Settings have the names of\n"
               "CONFIG GET and SET.\n"
               "\n"
               "With --peers it is a node of a cluster, whose nodes all have the same --peers, --shards\n"
               "and --replicas; these are fixed when all of them have come up for the first time.\n"
               "\n"
               "Exit status: 0 after a clean stop, 64 wrong usage, 65 damaged data, 66 no such\n"
               "configuration file, 69 port or folder in use, 71 the system refused memory or\n"
               "descriptors, 74 the disk failed or the folder cannot be made, 77 no permission, 78 a\n"
               "wrong setting, or one that does not fit the folder.",
    .examples = "  cohort serve --data /var/lib/cohort\n"
                "  cohort serve --data ./n1 --listen 127.0.0.1:7001 --maxmemory 2gb --metrics 127.0.0.1:9100\n"
                "  cohort serve --data ./n1 --id 1 \\\n"
                "      --peers 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003\n"
                "  cohort serve --data ./n1 --config cohort.conf --log-format json\n",
    .run = run,
};
