#include "cli/serve.h"

#include "base/assert.h"
#include "base/number.h"
#include "cli/host_port.h"
#include "cli/metrics_http.h"
#include "env_uv/env_uv.h"
#include "server/node_file.h"
#include "server/server.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sysexits.h>

enum {
    SERVE_MAXIMUM_OPTIONS = 64,
    OPTION_SETTING = 1,
    OPTION_ID,
    OPTION_DATA,
    OPTION_LISTEN,
    OPTION_CONFIG,
    OPTION_HELP
};

struct serve {
    struct env *env;
    struct server *server;
    struct metrics_http *metrics;
    struct config config;
    struct server_options options;
    struct host_port listen;
    const char *config_path;
    enum status stopped;
};

struct option_list {
    struct option items[SERVE_MAXIMUM_OPTIONS];
    size_t count;
};

static void add_setting(void *owner, const char *name, const char *value)
{
    (void)value;
    struct option_list *options = owner;
    ASSERT(options->count + 1 < SERVE_MAXIMUM_OPTIONS);
    options->items[options->count++] = (struct option){name, required_argument, NULL, OPTION_SETTING};
}

static void print_setting(void *owner, const char *name, const char *value)
{
    (void)owner;
    printf("      --%-28s %s\n", name, value[0] == '\0' ? "\"\"" : value);
}

static void each_setting(const struct config *config, void (*each)(void *owner, const char *name, const char *value),
                         void *owner)
{
    struct slice all = SLICE_LITERAL("*");
    config_each(config, &all, 1, each, owner);
}

static int help(const struct config *config)
{
    printf("Usage: cohort serve --data DIR [OPTION]...\n"
           "\n"
           "Runs one node in the foreground until SIGTERM or SIGINT, after which it answers what it has received and\n"
           "ends; a second signal ends it at once.\n"
           "\n"
           "      --data DIR          where log and snapshots live; made when missing\n"
           "      --id N              this node's number, from 1 (default 1)\n"
           "      --listen HOST:PORT  for clients (default 127.0.0.1:6379); port 0 takes a free one\n"
           "      --config FILE       `name = value` lines of the settings below; options win over it\n"
           "      --help              this text\n"
           "\n"
           "Settings (CONFIG GET and SET use the same names), with their defaults:\n");
    each_setting(config, print_setting, NULL);
    printf(
        "\n"
        "Examples:\n"
        "  cohort serve --data /var/lib/cohort\n"
        "  cohort serve --data ./n1 --listen 127.0.0.1:7001 --maxmemory 2gb --metrics 127.0.0.1:9100\n"
        "  cohort serve --data ./n1 --config cohort.conf --log-format json\n"
        "\n"
        "Exit status: 0 after a clean stop; 64 wrong usage; 69 port or folder in use; 74 the disk failed; 78 a wrong\n"
        "setting.\n");
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

__attribute__((format(printf, 2, 3))) static int complain(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "cohort serve: ");
    (void)vfprintf(stderr, format, arguments);
    (void)fprintf(stderr, "\n");
    va_end(arguments);
    return code;
}

static int set_option(struct serve *serve, const char *name, const char *value)
{
    char why[CONFIG_MESSAGE_BYTES] = "";
    switch (config_set(&serve->config, slice_from_string(name), slice_from_string(value), false, why)) {
    case CONFIG_SET: return EX_OK;
    case CONFIG_INVALID: return complain(EX_CONFIG, "--%s %s: %s", name, value, why);
    case CONFIG_IMMUTABLE: return complain(EX_CONFIG, "--%s is fixed and cannot be set", name);
    case CONFIG_UNKNOWN: break;
    }
    return complain(EX_USAGE, "--%s is not a setting", name);
}

static int take_option(struct serve *serve, int option, const char *name)
{
    int64_t id = 0;
    switch (option) {
    case OPTION_ID:
        if (!number_parse_int64(slice_from_string(optarg), &id) || id < 1 || id > UINT32_MAX) {
            return complain(EX_USAGE, "--id %s: a number from 1 to %u is needed", optarg, UINT32_MAX);
        }
        serve->options.node_id = (uint64_t)id;
        return EX_OK;
    case OPTION_DATA: serve->options.directory = optarg; return EX_OK;
    case OPTION_LISTEN:
        if (!host_port_parse(optarg, &serve->listen)) {
            return complain(EX_USAGE, "--listen %s: HOST:PORT is needed, such as 127.0.0.1:6379 or [::1]:6379", optarg);
        }
        return EX_OK;
    case OPTION_CONFIG: return EX_OK; /* read before all others */
    case OPTION_SETTING: return set_option(serve, name, optarg);
    case ':': return complain(EX_USAGE, "%s needs a value; see `cohort serve --help`", name);
    default: return complain(EX_USAGE, "%s is not an option; see `cohort serve --help`", name);
    }
}

static int read_config(struct serve *serve, const char *path)
{
    struct buffer text;
    buffer_init(&text);
    char why[CONFIG_MESSAGE_BYTES] = "";
    int code = EX_OK;
    enum status status = file_read(serve->env, path, CONFIG_FILE_BYTES, &text);
    if (status != STATUS_OK) {
        code = complain(EX_NOINPUT, "cannot read the configuration file %s: %s", path, status_text(status));
    } else if (config_parse(&serve->config, buffer_slice(&text), path, why) != STATUS_OK) {
        code = complain(EX_CONFIG, "%s", why);
    }
    buffer_deinit(&text);
    return code;
}

/* Two passes: the configuration file first, wherever it stands, then the options over it. *ret_help is set when only
 * help is wanted. */
static int take_options(struct serve *serve, int argc, char **argv, bool *ret_help)
{
    struct option_list options = {.items = {{"id", required_argument, NULL, OPTION_ID},
                                            {"data", required_argument, NULL, OPTION_DATA},
                                            {"listen", required_argument, NULL, OPTION_LISTEN},
                                            {"config", required_argument, NULL, OPTION_CONFIG},
                                            {"help", no_argument, NULL, OPTION_HELP}},
                                  .count = 5};
    each_setting(&serve->config, add_setting, &options);
    for (int pass = 0; pass < 2; pass++) {
        int which = 0;
        int option = 0;
        opterr = 0;
        optind = 1;
        while ((option = getopt_long(argc, argv, "+:", options.items, &which)) != -1) {
            int code = EX_OK;
            if (option == OPTION_HELP) {
                *ret_help = true;
                return EX_OK;
            }
            if (pass == 0) {
                code = option == OPTION_CONFIG ? read_config(serve, optarg) : EX_OK;
            } else {
                bool wrong = option == '?' || option == ':';
                code = take_option(serve, option, wrong ? argv[optind - 1] : options.items[which].name);
            }
            if (code != EX_OK) {
                return code;
            }
        }
    }
    if (optind < argc) {
        return complain(EX_USAGE, "'%s' is not understood here; see `cohort serve --help`", argv[optind]);
    }
    if (serve->options.directory == NULL) {
        return complain(EX_USAGE, "--data DIR is needed: the folder for log and snapshots, made when missing");
    }
    return EX_OK;
}

static void server_stopped(void *owner, enum status status)
{
    struct serve *serve = owner;
    serve->stopped = status;
    env_uv_stop(serve->env);
}

static void server_configured(void *owner, const struct config *config)
{
    struct serve *serve = owner;
    env_uv_set_log_level(serve->env, (enum env_log_level)config->log_level);
}

static void signal_arrived(void *owner, int signum)
{
    struct serve *serve = owner;
    env_log(serve->env, ENV_LOG_INFO, "%s received", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    server_shutdown(serve->server);
}

static void render_metrics(void *owner, struct buffer *out)
{
    struct serve *serve = owner;
    server_metrics(serve->server, out);
}

/* As many descriptors as the system lets us have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
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

static int start(struct serve *serve)
{
    char message[SERVER_MESSAGE_BYTES] = "";
    char metrics[HOST_BYTES];
    (void)snprintf(metrics, sizeof(metrics), "%s", serve->config.metrics);
    struct server_events events = {server_stopped, server_configured};
    enum status status =
        server_create(serve->env, &serve->options, &serve->config, &events, serve, &serve->server, message);
    if (status != STATUS_OK) {
        return complain(exit_code(status), "%s", message);
    }
    if (metrics[0] != '\0') {
        status = metrics_http_start(serve->env, metrics, render_metrics, serve, &serve->metrics);
        if (status != STATUS_OK) {
            return complain(exit_code(status), "--metrics %s: %s", metrics, status_text(status));
        }
    }
    if (env_uv_on_signal(serve->env, SIGTERM, signal_arrived, serve) != STATUS_OK ||
        env_uv_on_signal(serve->env, SIGINT, signal_arrived, serve) != STATUS_OK) {
        return complain(EX_OSERR, "cannot catch signals");
    }
    env_log(serve->env, ENV_LOG_INFO, "cohort %s, node %llu: ready for clients on %s:%d, data in %s", COHORT_VERSION,
            (unsigned long long)serve->options.node_id, serve->options.host, server_port(serve->server),
            serve->options.directory);
    return EX_OK;
}

int cli_serve(int argc, char **argv)
{
    struct serve serve = {.options = {.node_id = 1, .version = COHORT_VERSION},
                          .listen = {.host = "127.0.0.1", .port = 6379}};
    config_init(&serve.config);
    if (env_uv_create(NULL, &serve.env) != STATUS_OK) {
        config_deinit(&serve.config);
        return complain(EX_OSERR, "cannot start the event loop");
    }
    raise_descriptor_limit();
    bool only_help = false;
    int code = take_options(&serve, argc, argv, &only_help);
    if (only_help) {
        code = help(&serve.config);
    } else if (code == EX_OK) {
        env_uv_set_log_level(serve.env, (enum env_log_level)serve.config.log_level);
        env_uv_set_log_json(serve.env, serve.config.log_format != 0);
        serve.options.host = serve.listen.host;
        serve.options.port = serve.listen.port;
        code = start(&serve);
        if (code == EX_OK) {
            env_uv_run(serve.env);
            env_log(serve.env, ENV_LOG_INFO, "stopped");
            code = exit_code(serve.stopped);
        }
    }
    metrics_http_stop(serve.metrics);
    server_destroy(serve.server);
    config_deinit(&serve.config);
    env_uv_destroy(serve.env);
    return code;
}
