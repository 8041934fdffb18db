/* cohort balance: a TCP balancer in the foreground, over backends that the command line or a file names. */
#include "balance/balancer.h"
#include "base/memory.h"
#include "cli/balance_list.h"
#include "cli/cli.h"
#include "cli/host_port.h"
#include "cli/metrics_http.h"
#include "cli/table.h"
#include "env_uv/env_uv.h"
#include "proxy/proxy.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    DESCRIPTORS_KEPT = 64,
    DESCRIPTORS_OF_WORKER = 256, /* epoll, event, listener, pipes, checks under way */
    DEFAULT_CONNECTIONS = 10000,
    DRAIN_LOOK_MS = 50,
    ID_CELL_BYTES = 40,
};

struct balance {
    /* options */
    const char *listen, *policy, *metrics_at, *zone, *send_header, *check;
    struct balance_sources sources;
    int64_t workers, connections, rate, connect_timeout_ms, idle_timeout_ms, check_interval_ms, rise, fall, retries;
    int64_t retry_budget, eject_errors, slow_start_ms, drain_ms;
    bool accept_header;

    struct proxy_options options;
    struct balance_list *list; /* in force */
    struct env *env;
    struct proxy *proxy;
    struct metrics_http *metrics;
    struct env_timer draining; /* looks whether connections have ended */
    int64_t drain_until_ns;    /* 0: not draining */
};

static const char *const HEADERS[] = {"none", "v1", "v2"};

static int take_backend(const struct cli_command *command, void *data, const char *text)
{
    struct balance_sources *sources = data;
    if (sources->given_count == PROXY_MAXIMUM_BACKENDS) {
        return cli_error(command, EX_USAGE, "--backend: given more than %d times", PROXY_MAXIMUM_BACKENDS);
    }
    sources->given[sources->given_count++] = text;
    return CLI_CONTINUE;
}

/* ---- options ---- */

static int parse_words(struct balance *balance)
{
    struct proxy_options *options = &balance->options;
    struct host_port at;
    if (balance->listen == NULL) {
        (void)cli_error(&cli_balance, EX_USAGE, "where to listen is missing: --listen HOST:PORT");
        return cli_usage_hint(&cli_balance);
    }
    if (!host_port_parse(slice_from_string(balance->listen), &at)) {
        return cli_error(&cli_balance, EX_USAGE, "--listen: '%s' is not HOST:PORT", balance->listen);
    }
    if (!proxy_resolve(at.host, at.port, &options->listen)) {
        return cli_error(&cli_balance, EX_NOHOST, "--listen: no address is known of '%s'", at.host);
    }
    if (!balancer_policy_parse(slice_from_string(balance->policy), &options->balancing.policy)) {
        const char *names[BALANCER_POLICIES + 1] = {NULL};
        for (int i = 0; i < BALANCER_POLICIES; i++) {
            names[i] = balancer_policy_name((enum balancer_policy)i);
        }
        const char *meant = cli_suggest(balance->policy, names);
        (void)cli_error(&cli_balance, EX_USAGE, "--policy: there is no '%s'%s%s%s", balance->policy,
                        meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant, meant == NULL ? "" : "'?");
        return cli_usage_hint(&cli_balance);
    }
    if (!proxy_check_parse(slice_from_string(balance->check), &options->check, &options->check_path)) {
        return cli_error(&cli_balance, EX_USAGE, "--check: '%s' is not tcp, resp or http:/PATH", balance->check);
    }
    for (options->send_header = 0; strcmp(balance->send_header, HEADERS[options->send_header]) != 0;) {
        if (++options->send_header == 3) {
            return cli_error(&cli_balance, EX_USAGE, "--send-proxy: '%s' is not none, v1 or v2", balance->send_header);
        }
    }
    return CLI_CONTINUE;
}

/* The limit of open files is raised as far as it goes; what does not fit is refused, or less when nobody asked. */
static int fit_descriptors(struct balance *balance)
{
    struct rlimit limit;
    bool asked = balance->connections > 0;
    int64_t wanted = asked ? balance->connections : DEFAULT_CONNECTIONS;
    int64_t kept = DESCRIPTORS_KEPT + DESCRIPTORS_OF_WORKER * balance->workers;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return cli_error(&cli_balance, EX_OSERR, "the limit of open files cannot be read");
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (before < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = before;
    }
    int64_t room = limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
    int64_t needed = 2 * wanted + kept;
    int64_t most = room <= kept ? 0 : (room - kept) / 2;
    if (most == 0 || (asked && most < wanted)) {
        return cli_error(&cli_balance, EX_OSERR,
                         "the limit of open files (ulimit -n) is %lld; %lld connections and %lld workers need %lld",
                         (long long)room, (long long)wanted, (long long)balance->workers, (long long)needed);
    }
    balance->options.connections = (uint32_t)(most < wanted ? most : wanted);
    return CLI_CONTINUE;
}

static void set_numbers(struct balance *balance)
{
    static const int64_t MS = 1000000;
    struct proxy_options *options = &balance->options;
    options->backends = balance->list->backends;
    options->backend_count = balance->list->count;
    options->workers = (uint32_t)balance->workers;
    options->rate = (uint32_t)balance->rate;
    options->connect_timeout_ns = balance->connect_timeout_ms * MS;
    options->idle_timeout_ns = balance->idle_timeout_ms * MS;
    options->check_interval_ns = balance->check_interval_ms * MS;
    options->retries = (uint32_t)balance->retries;
    options->retry_budget_percent = (uint32_t)balance->retry_budget;
    options->accept_header = balance->accept_header;
    options->balancing.rise = (uint32_t)balance->rise;
    options->balancing.fall = (uint32_t)balance->fall;
    options->balancing.eject_errors = (uint32_t)balance->eject_errors;
    options->balancing.slow_start_ns = balance->slow_start_ms * MS;
    options->balancing.zone = balance->zone == NULL ? slice_of(NULL, 0) : slice_from_string(balance->zone);
}

static int parse(struct balance *balance, int argc, char **argv)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    balance->workers = processors < 1 ? 1 : processors > PROXY_MAXIMUM_WORKERS ? PROXY_MAXIMUM_WORKERS : processors;
    const int64_t day = INT64_C(86400000);
    struct cli_each each_backend = {take_backend, &balance->sources};
    const struct cli_option options[] = {
        {"listen", CLI_TEXT, &balance->listen, "HOST:PORT", "where clients connect; port 0 takes a free one", 0, 0},
        {"backend", CLI_EACH, &each_backend, "BACKEND",
         "HOST:PORT[,weight=N][,zone=Z][,drain]; once for each, up to 256", 0, 0},
        {"backends", CLI_TEXT, &balance->sources.path, "FILE", "a line for each; read again on SIGHUP", 0, 0},
        {"policy", CLI_TEXT, &balance->policy, "POLICY", "one of those above (two-choices)", 0, 0},
        {"workers", CLI_NUMBER, &balance->workers, "N", "threads (one for each processor)", 1, PROXY_MAXIMUM_WORKERS},
        {"max-connections", CLI_NUMBER, &balance->connections, "N", "at the same time; more are closed at once (10000)",
         1, PROXY_MAXIMUM_CONNECTIONS},
        {"max-rate", CLI_NUMBER, &balance->rate, "N", "new connections in a second; more wait; 0: no limit (0)", 0,
         PROXY_MAXIMUM_RATE},
        {"connect-timeout", CLI_DURATION, &balance->connect_timeout_ms, "TIME", "of an attempt, and for a header (3s)",
         1, day},
        {"idle-timeout", CLI_DURATION, &balance->idle_timeout_ms, "TIME", "without a byte either way; 0: never (10m)",
         0, 30 * day},
        {"check-interval", CLI_DURATION, &balance->check_interval_ms, "TIME",
         "between checks of a backend; 0: none (2s)", 0, day},
        {"check", CLI_TEXT, &balance->check, "KIND", "tcp, resp (PING), or http:/PATH (a status below 400) (tcp)", 0,
         0},
        {"rise", CLI_NUMBER, &balance->rise, "N", "checks passed in a row that make it healthy (2)", 1, 1000},
        {"fall", CLI_NUMBER, &balance->fall, "N", "checks failed in a row that make it unhealthy (3)", 1, 1000},
        {"eject-errors", CLI_NUMBER, &balance->eject_errors, "N", "errors in a row that eject it; 0: never (5)", 0,
         1000},
        {"slow-start", CLI_DURATION, &balance->slow_start_ms, "TIME", "until a backend that is back has its part (10s)",
         0, day},
        {"retries", CLI_NUMBER, &balance->retries, "N", "other backends tried for a client (2)", 0,
         PROXY_MAXIMUM_RETRIES},
        {"retry-budget", CLI_NUMBER, &balance->retry_budget, "PERCENT", "of clients that may be retried (20)", 0, 100},
        {"zone", CLI_TEXT, &balance->zone, "ZONE", "the own one, preferred while it has its share", 0, 0},
        {"send-proxy", CLI_TEXT, &balance->send_header, "VERSION", "none, v1, v2; tells backends the client's address",
         0, 0},
        {"accept-proxy", CLI_FLAG, &balance->accept_header, NULL, "clients begin with a PROXY header, v1 or v2", 0, 0},
        {"drain", CLI_DURATION, &balance->drain_ms, "TIME", "for open connections after SIGTERM (30s)", 0, day},
        {"metrics", CLI_TEXT, &balance->metrics_at, "HOST:PORT", "Prometheus text at http://HOST:PORT/metrics", 0, 0},
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    struct cli_arguments arguments;
    int code = cli_parse(&cli_balance, options, argc, argv, &arguments);
    code = code == CLI_CONTINUE ? parse_words(balance) : code;
    code = code == CLI_CONTINUE ? balance_list_make(&balance->sources, &balance->list) : code;
    code = code == CLI_CONTINUE ? fit_descriptors(balance) : code;
    if (code == CLI_CONTINUE) {
        set_numbers(balance);
    }
    return code;
}

/* ---- figures ---- */

static void render_metrics(void *owner, struct buffer *out)
{
    struct balance *balance = owner;
    struct proxy_figures *figures = memory_allocate(sizeof(*figures));
    if (proxy_figures(balance->proxy, figures)) {
        proxy_figures_render(figures, out);
    }
    free(figures);
}

static void add_backend_row(struct table *table, const struct proxy_backend_figures *of)
{
    const struct balancer_statistics *figures = &of->balancing;
    struct table_cell *cells = table_add_row(table);
    bool up = of->healthy_workers > 0;
    const char *state = figures->draining   ? "draining"
                        : !figures->healthy ? "unhealthy"
                        : figures->ejected  ? "ejected"
                                            : "up";
    table_set_text(&cells[0], figures->id, ID_CELL_BYTES);
    table_set_text(&cells[1], slice_from_string(state), ID_CELL_BYTES);
    cells[1].colour = !up ? TABLE_BAD : figures->healthy && !figures->ejected ? TABLE_GOOD : TABLE_WARN;
    table_set_number(&cells[2], figures->weight);
    table_set_number(&cells[3], figures->in_flight);
    table_set_number(&cells[4], (int64_t)figures->picked);
    table_set_number(&cells[5], (int64_t)figures->failed);
    table_set_number(&cells[6], (int64_t)figures->checks_failed);
    table_set_number(&cells[7], (int64_t)figures->ejections);
}

static void print_table(struct balance *balance)
{
    static const char *const titles[] = {"BACKEND", "STATE",         "WEIGHT",    "OPEN", "PICKED",
                                         "ERRORS",  "FAILED CHECKS", "EJECTIONS", NULL};
    struct table table = {.titles = titles};
    struct proxy_figures *figures = memory_allocate(sizeof(*figures));
    if (proxy_figures(balance->proxy, figures)) {
        for (uint32_t i = 0; i < figures->backends; i++) {
            add_backend_row(&table, &figures->of[i]);
        }
        table_print(&table);
        (void)fflush(stdout);
    }
    table_deinit(&table);
    free(figures);
}

/* ---- life ---- */

static void look_at_drain(struct env_timer *timer)
{
    struct balance *balance = CONTAINER_OF(timer, struct balance, draining);
    int64_t now_ns = env_monotonic_ns(balance->env);
    if (proxy_has_ended(balance->proxy) || now_ns >= balance->drain_until_ns) {
        env_uv_stop(balance->env);
        return;
    }
    env_timer_start(balance->env, timer, now_ns + INT64_C(1000000) * DRAIN_LOOK_MS);
}

static void list_refused(const struct balance_list *list, const struct balancer_refused *refused)
{
    bool of_one = refused->why != BALANCER_REFUSED_RING_POINTS; /* the others cannot be: COUNT, IN_FLIGHT */
    struct slice id = of_one ? list->backends[refused->at].listing.id : slice_of(NULL, 0);
    (void)fprintf(stderr, "cohort balance: %.*s%s%s; the list of backends stays as it was\n", (int)id.size,
                  id.size == 0 ? "" : (const char *)id.data, of_one ? ": " : "", balancer_refusal_text(refused->why));
}

/* Another list, or the old one when there is anything wrong with the new one. */
static void reload(struct balance *balance)
{
    struct balance_list *list = NULL;
    struct balancer_refused refused;
    if (balance_list_make(&balance->sources, &list) != CLI_CONTINUE) {
        (void)fprintf(stderr, "cohort balance: the list of backends stays as it was\n");
        return;
    }
    if (proxy_update(balance->proxy, list->backends, list->count, &refused) != STATUS_OK) {
        list_refused(list, &refused);
        balance_list_destroy(list);
        return;
    }
    (void)fprintf(stderr, "cohort balance: %u backends, %u of them new, %u left\n", (unsigned)list->count,
                  (unsigned)balance_list_count_besides(list, balance->list),
                  (unsigned)balance_list_count_besides(balance->list, list));
    balance_list_destroy(balance->list);
    balance->list = list;
}

static void signal_arrived(void *owner, int signum)
{
    struct balance *balance = owner;
    if (signum == SIGUSR1) {
        print_table(balance);
        return;
    }
    if (signum == SIGHUP) {
        reload(balance);
        return;
    }
    if (balance->drain_until_ns != 0) {
        env_uv_stop(balance->env); /* the second one does not wait */
        return;
    }
    proxy_stop(balance->proxy);
    balance->drain_until_ns = env_monotonic_ns(balance->env) + balance->drain_ms * 1000000;
    (void)fprintf(stderr, "cohort balance: no new connections; %u open ones have %lld s to end\n",
                  (unsigned)proxy_open(balance->proxy), (long long)(balance->drain_ms / 1000));
    look_at_drain(&balance->draining);
}

static int start_proxy(struct balance *balance)
{
    const char *why = NULL;
    env_random(balance->env, &balance->options.balancing.seed, sizeof(balance->options.balancing.seed));
    enum status status = proxy_create(&balance->options, &balance->proxy, &why);
    switch (status) {
    case STATUS_OK: return EX_OK;
    case STATUS_INVALID: return cli_error(&cli_balance, EX_USAGE, "%s", why);
    case STATUS_BUSY:
        return cli_error(&cli_balance, EX_UNAVAILABLE, "%s is in use; give another --listen", balance->listen);
    case STATUS_NOTFOUND:
        return cli_error(&cli_balance, EX_NOHOST, "%s is no address of this machine", balance->listen);
    case STATUS_DENIED: return cli_error(&cli_balance, EX_NOPERM, "no permission to listen on %s", balance->listen);
    default: return cli_error(&cli_balance, EX_OSERR, "cannot listen on %s: %s", balance->listen, status_text(status));
    }
}

static int start_metrics(struct balance *balance)
{
    if (balance->metrics_at == NULL) {
        return EX_OK;
    }
    enum status status =
        metrics_http_start(balance->env, balance->metrics_at, render_metrics, balance, &balance->metrics);
    if (status == STATUS_OK) {
        return EX_OK;
    }
    return cli_error(&cli_balance, status == STATUS_INVALID ? EX_USAGE : EX_UNAVAILABLE, "--metrics %s: %s",
                     balance->metrics_at,
                     status == STATUS_INVALID       ? "not a numeric HOST:PORT"
                     : status == STATUS_UNSUPPORTED ? "built without libmicrohttpd"
                                                    : status_text(status));
}

static int serve(struct balance *balance)
{
    static const int caught[] = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
        if (env_uv_on_signal(balance->env, caught[i], signal_arrived, balance) != STATUS_OK) {
            return cli_error(&cli_balance, EX_OSERR, "cannot catch signals");
        }
    }
    int code = start_proxy(balance);
    code = code == EX_OK ? start_metrics(balance) : code;
    if (code != EX_OK) {
        return code;
    }
    (void)fprintf(stderr, "cohort balance: port %d, %u backends, policy %s, %u workers, %u connections at most\n",
                  proxy_port(balance->proxy), (unsigned)balance->options.backend_count, balance->policy,
                  (unsigned)balance->options.workers, (unsigned)balance->options.connections);
    env_uv_run(balance->env);
    return EX_OK;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    (void)command;
    static struct balance balance; /* large, and once */
    balance = (struct balance){.policy = "two-choices",
                               .send_header = "none",
                               .check = "tcp",
                               .connect_timeout_ms = 3000,
                               .idle_timeout_ms = 600000,
                               .check_interval_ms = 2000,
                               .rise = 2,
                               .fall = 3,
                               .eject_errors = 5,
                               .slow_start_ms = 10000,
                               .retries = 2,
                               .retry_budget = 20,
                               .drain_ms = 30000};
    balancer_options_init(&balance.options.balancing);
    int code = parse(&balance, argc, argv);
    if (code != CLI_CONTINUE) {
        balance_list_destroy(balance.list);
        return code;
    }
    if (env_uv_create(NULL, &balance.env) != STATUS_OK) {
        balance_list_destroy(balance.list);
        return cli_error(&cli_balance, EX_OSERR, "the system refuses an event loop: too few descriptors or memory");
    }
    env_timer_init(&balance.draining, look_at_drain);
    code = serve(&balance);
    env_timer_stop(balance.env, &balance.draining);
    metrics_http_stop(balance.metrics);
    proxy_destroy(balance.proxy);
    env_uv_destroy(balance.env);
    balance_list_destroy(balance.list);
    return code;
}

const struct cli_command cli_balance = {
    .name = "balance",
    .arguments = "",
    .arguments_maximum = 0,
    .summary = "spread TCP connections over backends",
    .details = "Accepts connections and hands each to a backend, another one when that cannot be\n"
               "connected to, and moves bytes both ways until both sides have ended.\n"
               "\n"
               "Policies: two-choices, peak-ewma, least (in flight), weighted, round-robin, random;\n"
               "ring and maglev keep a client's address at its backend.\n"
               "\n"
               "SIGTERM and SIGINT stop accepting and wait for open connections (--drain); a second\n"
               "one does not wait. SIGUSR1 prints a table of backends. SIGHUP reads --backends and\n"
               "resolves host names again: connections go on, also those to backends that left.\n"
               "\n"
               "--accept-proxy believes what clients say of themselves: only behind another balancer.\n"
               "\n"
               "Exit status: 0 after a stop, 64 wrong usage, 68 no such host, 69 port in use, 71 too\n"
               "few descriptors, 77 no permission.",
    .examples = "  cohort balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080\n"
                "  cohort balance --listen 127.0.0.1:6390 --policy least --metrics 127.0.0.1:9100 \\\n"
                "      --backend 127.0.0.1:6379,weight=2 --backend 127.0.0.1:6380",
    .run = run,
};
