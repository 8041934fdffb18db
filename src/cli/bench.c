/* cohort bench: makes load and measures. */
#include "base/assert.h"
#include "base/memory.h"
#include "base/units.h"
#include "cli/bench_load.h"
#include "cli/bench_report.h"
#include "cli/bench_txn.h"
#include "cli/cli.h"
#include "cli/node.h"
#include "cli/password.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    DEFAULT_REQUESTS = 100000,
    PREPARE_PIPELINE = 64,
    PROGRESS_MS = 250,
    SPARE_DESCRIPTORS = 32, /* beside the clients' */
    CLIENTS_MAXIMUM = 100000,
    THREADS_MAXIMUM = 256,
    PIPELINE_MAXIMUM = 100000,
};

struct bench_options {
    const char *url;
    const char *mode;
    const char *ratio;
    const char *consistency; /* NULL: as it is */
    int64_t clients;
    int64_t pipeline;
    int64_t requests;
    int64_t duration_ms;
    int64_t keys;
    int64_t value_bytes;
    int64_t threads;
    int64_t seed;
    int64_t ttl_ms; /* −1: not given, as the next */
    int64_t wait_ms;
    bool prepare;
    bool json;
    struct bench_txn_options txn;
};

static atomic_bool stop;

static void handle_interrupt(int number)
{
    (void)number;
    atomic_store_explicit(&stop, true, memory_order_relaxed);
}

/* Ctrl-C ends the load and shows what was measured; a second one ends the program. */
static void catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = handle_interrupt, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
}

static bool allow_descriptors(uint32_t clients)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)clients + SPARE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return true;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Keeps one line on a terminal up to date until all workers are done. */
static void show_progress(const struct bench_plan *plan, const struct bench_worker *workers, const char *what)
{
    if (isatty(STDERR_FILENO) == 0) {
        return;
    }
    uint64_t before = 0;
    for (bool running = true; running;) {
        struct timespec pause = {.tv_nsec = PROGRESS_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        uint64_t now = 0;
        running = false;
        for (uint32_t i = 0; i < plan->threads; i++) {
            now += atomic_load_explicit(&workers[i].answered, memory_order_relaxed);
            running = running || !atomic_load_explicit(&workers[i].finished, memory_order_acquire);
        }
        (void)fprintf(stderr, "\r%s: %" PRIu64 " requests, %" PRIu64 " per second \033[K", what, now,
                      (now - before) * 1000 / PROGRESS_MS);
        before = now;
    }
    (void)fprintf(stderr, "\r\033[K");
}

static void run_workers(const struct bench_plan *plan, struct bench_worker *workers, const char *what)
{
    for (uint32_t i = 0; i < plan->threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, bench_worker_run, &workers[i]) != 0) {
            (void)cli_error(&cli_bench, EX_OSERR, "could not start a thread");
            exit(EX_OSERR); /* the others wait at the barrier */
        }
    }
    show_progress(plan, workers, what);
    for (uint32_t i = 0; i < plan->threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
    }
}

/* Connects, makes the load, adds up. Returns CLI_CONTINUE, or an exit code after an error that it has reported. */
static int make_load(const struct bench_plan *plan, const char *what, struct bench_counts *ret_counts)
{
    struct bench_worker *workers = memory_allocate_zeroed(plan->threads, sizeof(*workers));
    pthread_barrier_t barrier;
    ASSERT(pthread_barrier_init(&barrier, NULL, plan->threads) == 0);
    int code = CLI_CONTINUE;
    uint32_t ready = 0;
    while (ready < plan->threads && code == CLI_CONTINUE) {
        enum status status = bench_worker_init(&workers[ready], plan, ready, &barrier, &stop);
        ready++;
        if (status != STATUS_OK) {
            code = cli_error(&cli_bench, EX_UNAVAILABLE, "could not connect %" PRIu32 " clients: %s", plan->clients,
                             status_text(status));
        }
    }
    if (code == CLI_CONTINUE) {
        run_workers(plan, workers, what);
    }
    for (uint32_t i = 0; i < ready; i++) {
        if (code == CLI_CONTINUE) {
            bench_counts_merge(ret_counts, workers[i].counts);
        }
        bench_worker_deinit(&workers[i]);
    }
    (void)pthread_barrier_destroy(&barrier);
    free(workers);
    return code;
}

/* Asks each endpoint, so that a wrong URL or a missing password is told once, clearly. */
static int check_nodes(const struct client_url *url)
{
    for (uint32_t i = 0; i < url->endpoint_count; i++) {
        struct client_connection connection;
        struct slice reply;
        char problem[NODE_PROBLEM_BYTES];
        client_connection_init(&connection);
        bool ok = node_ask(&connection, &url->endpoints[i], url->timeout_ms, "PING", &reply, problem);
        client_connection_deinit(&connection);
        if (!ok) {
            return cli_error(&cli_bench, EX_UNAVAILABLE, "%s", problem);
        }
    }
    return CLI_CONTINUE;
}

/* At each node, so that its name is known there. */
static int load_script(const struct client_url *url, struct bench_mix *mix)
{
    const struct slice argv[] = {SLICE_LITERAL("SCRIPT"), SLICE_LITERAL("LOAD"), SLICE_LITERAL(BENCH_SCRIPT)};
    script_sha(argv[2], mix->script_name);
    for (uint32_t i = 0; i < url->endpoint_count && mix->script == BENCH_BY_NAME; i++) {
        int64_t deadline_ns = client_clock_ns() + url->timeout_ms * 1000000;
        struct client_connection connection;
        struct slice reply = SLICE_LITERAL("-");
        client_connection_init(&connection);
        bool ok = client_connection_open(&connection, &url->endpoints[i], deadline_ns) == STATUS_OK &&
                  password_say(&connection, deadline_ns, &reply) == STATUS_OK &&
                  client_connection_call(&connection, argv, 3, deadline_ns, &reply) == STATUS_OK &&
                  reply.data[0] == '$';
        client_connection_deinit(&connection);
        if (!ok) {
            return cli_error(&cli_bench, EX_UNAVAILABLE, "the server takes no SCRIPT LOAD");
        }
    }
    return CLI_CONTINUE;
}

static bool parse_ratio(const char *text, uint32_t *ret_sets, uint32_t *ret_gets)
{
    char end;
    return sscanf(text, "%9" SCNu32 ":%9" SCNu32 "%c", ret_sets, ret_gets, &end) == 2 && *ret_sets + *ret_gets > 0;
}

/* Of --mode lock. */
static int choose_lock(struct bench_options *options, struct bench_lock *ret_lock)
{
    bool contended = options->keys < options->clients;
    *ret_lock = (struct bench_lock){
        .wanted = strcmp(options->mode, "lock") == 0, .ttl_ms = 10000, .wait_ms = contended ? 1000 : 0};
    if (!ret_lock->wanted) {
        return options->ttl_ms != -1 || options->wait_ms != -1
                   ? cli_error(&cli_bench, EX_USAGE, "--ttl and --wait are of --mode lock")
                   : CLI_CONTINUE;
    }
    ret_lock->by_set = options->txn.form != NULL && strcmp(options->txn.form, "set") == 0;
    if (options->txn.form != NULL && !ret_lock->by_set && strcmp(options->txn.form, "lock") != 0) {
        return cli_error(&cli_bench, EX_USAGE, "--form: '%s' is none of lock, set", options->txn.form);
    }
    options->txn.form = NULL;
    ret_lock->ttl_ms = options->ttl_ms == -1 ? ret_lock->ttl_ms : options->ttl_ms;
    ret_lock->wait_ms = options->wait_ms == -1 ? ret_lock->wait_ms : options->wait_ms;
    if (options->pipeline > 1 && options->keys < options->clients * options->pipeline) {
        return cli_error(&cli_bench, EX_USAGE,
                         "--keys: %" PRIi64 " locks are fewer than are under way (%" PRIi64
                         " clients × --pipeline %" PRIi64 "): a client would wait for itself; give it --pipeline 1",
                         options->keys, options->clients, options->pipeline);
    }
    return CLI_CONTINUE;
}

/* What the mode says of the requests. */
static int choose_mix(struct bench_options *options, struct bench_mix *mix)
{
    bool txn = strcmp(options->mode, "txn") == 0;
    bool named = strcmp(options->mode, "evalsha") == 0;
    bool script = named || strcmp(options->mode, "eval") == 0;
    int code = choose_lock(options, &mix->lock);
    if (code != CLI_CONTINUE) {
        return code;
    }
    mix->sets = 1;
    mix->script = !script ? BENCH_NO_SCRIPT : named ? BENCH_BY_NAME : BENCH_BY_TEXT;
    if (script) {
        mix->gets = 1;
    } else if (strcmp(options->mode, "get") == 0) {
        mix->sets = 0;
        mix->gets = 1;
    } else if (strcmp(options->mode, "mixed") == 0) {
        if (!parse_ratio(options->ratio, &mix->sets, &mix->gets)) {
            return cli_error(&cli_bench, EX_USAGE, "--ratio: '%s' is not SETS:GETS, like 1:9", options->ratio);
        }
    } else if (strcmp(options->mode, "set") != 0 && !txn && !mix->lock.wanted) {
        return cli_error(&cli_bench, EX_USAGE, "--mode: '%s' is none of set, get, mixed, txn, eval, evalsha, lock",
                         options->mode);
    }
    return bench_txn_choose(&options->txn, txn, &mix->txn);
}

/* strong, session, bounded:250ms, eventual: as the server takes it. */
static int choose_level(const struct bench_options *options, char ret_level[static 32])
{
    static const char *const plain[] = {"strong", "session", "eventual"};
    const char *text = options->consistency;
    int64_t bound_ms = 0;
    for (size_t i = 0; text != NULL && i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (strcmp(text, plain[i]) == 0) {
            (void)snprintf(ret_level, 32, "%s", text);
            return CLI_CONTINUE;
        }
    }
    if (text == NULL) {
        return CLI_CONTINUE;
    }
    if (strncmp(text, "bounded:", 8) != 0 || !units_parse_duration(slice_from_string(text + 8), &bound_ms)) {
        return cli_error(&cli_bench, EX_USAGE,
                         "--consistency: '%s' is none of strong, session, bounded:DURATION, eventual", text);
    }
    (void)snprintf(ret_level, 32, "bounded %" PRIi64, bound_ms);
    return CLI_CONTINUE;
}

static int make_plan(struct bench_options *options, const struct client_url *url, struct bench_plan *ret_plan)
{
    struct bench_mix mix = {
        .keys = (uint64_t)options->keys, .value_bytes = (size_t)options->value_bytes, .seed = (uint64_t)options->seed};
    int code = choose_mix(options, &mix);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (options->requests > 0 && options->duration_ms > 0) {
        return cli_error(&cli_bench, EX_USAGE, "--requests and --duration exclude each other");
    }
    bool endless = options->requests == 0 && options->duration_ms == 0;
    *ret_plan = (struct bench_plan){
        .url = url,
        .threads = (uint32_t)(options->threads < options->clients ? options->threads : options->clients),
        .clients = (uint32_t)options->clients,
        .pipeline = (uint32_t)options->pipeline,
        .requests = endless ? DEFAULT_REQUESTS : (uint64_t)options->requests,
        .duration_ms = options->duration_ms,
        .mix = mix,
    };
    return choose_level(options, ret_plan->level);
}

static int prepare(const struct bench_plan *plan)
{
    struct bench_plan fill = *plan;
    fill.requests = plan->mix.keys;
    fill.duration_ms = 0;
    fill.pipeline = plan->pipeline > PREPARE_PIPELINE ? plan->pipeline : PREPARE_PIPELINE;
    fill.mix.sets = 1;
    fill.mix.gets = 0;
    fill.mix.txn.keys = 0;
    fill.mix.script = BENCH_NO_SCRIPT;
    fill.mix.lock.wanted = false;
    fill.mix.in_order = true;
    struct bench_counts *counts = memory_allocate_zeroed(1, sizeof(*counts));
    int code = make_load(&fill, "prepare", counts);
    if (code == CLI_CONTINUE && counts->errors > 0) {
        code = cli_error(&cli_bench, EX_UNAVAILABLE, "could not write the keys: %" PRIu64 " errors: %s", counts->errors,
                         counts->problems[0].text);
    }
    free(counts);
    return code;
}

static int measure(const struct bench_plan *plan, const struct bench_options *options)
{
    struct bench_counts *counts = memory_allocate_zeroed(1, sizeof(*counts));
    double cpu_before = cpu_seconds();
    int code = make_load(plan, options->mode, counts);
    if (code == CLI_CONTINUE) {
        struct bench_report report = {
            .plan = plan, .mode = options->mode, .counts = counts, .client_cpu_seconds = cpu_seconds() - cpu_before};
        if (options->json) {
            bench_report_json(&report);
        } else {
            bench_report_table(&report);
        }
        code = counts->errors > 0 ? EX_UNAVAILABLE : EX_OK;
    }
    free(counts);
    return code;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct bench_options options = {.url = CLIENT_URL_DEFAULT,
                                    .mode = "set",
                                    .ratio = "1:9",
                                    .clients = 50,
                                    .pipeline = 1,
                                    .keys = 100000,
                                    .value_bytes = 64,
                                    .threads = 1,
                                    .seed = 1,
                                    .ttl_ms = -1,
                                    .wait_ms = -1,
                                    .txn = BENCH_TXN_OPTIONS_DEFAULT};
    const struct cli_option table[] = {
        {"url", CLI_TEXT, &options.url, "URL", "where to send it (default " CLIENT_URL_DEFAULT ")"},
        {"mode", CLI_TEXT, &options.mode, "MODE",
         "set, get, mixed, txn, eval, evalsha, lock; what is sent (default set)"},
        {"ratio", CLI_TEXT, &options.ratio, "SETS:GETS", "of --mode mixed (default 1:9)"},
        {"consistency", CLI_TEXT, &options.consistency, "LEVEL",
         "of reads: strong, session, bounded:DURATION, eventual (default: the server's, strong)"},
        {"shards", CLI_NUMBER, &options.txn.keys, "N", "that a transaction writes, a key in each (default 2)", 1,
         BENCH_TXN_KEYS_MAXIMUM},
        {"hot", CLI_NUMBER, &options.txn.hot_percent, "PERCENT",
         "of transactions write one and the same key (default 0)", 0, 100},
        {"form", CLI_TEXT, &options.txn.form, "FORM",
         "multi, txn, mset; how a transaction is said (default multi); or a lock: lock, set"},
        {"ttl", CLI_DURATION, &options.ttl_ms, "DURATION", "of locks (default 10s)", 1, 0},
        {"wait", CLI_DURATION, &options.wait_ms, "DURATION",
         "for a lock that is held (default 1s when there are fewer keys than clients, else 0ms)", 0, 0},
        {"protocol", CLI_TEXT, &options.txn.protocol, "P", "2pc or 3pc, of --form txn (default: the server's)"},
        {"clients", CLI_NUMBER, &options.clients, "N", "connections (default 50)", 1, CLIENTS_MAXIMUM},
        {"pipeline", CLI_NUMBER, &options.pipeline, "N", "requests that a client sends at once (default 1)", 1,
         PIPELINE_MAXIMUM},
        {"requests", CLI_NUMBER, &options.requests, "N", "in all (default 100000)", 1, INT64_MAX},
        {"duration", CLI_DURATION, &options.duration_ms, "DURATION", "run for so long, instead of --requests", 1, 0},
        {"keys", CLI_NUMBER, &options.keys, "N", "random keys out of so many (default 100000)", 1, 1000000000000},
        {"value-size", CLI_SIZE, &options.value_bytes, "SIZE", "of each value (default 64)", 0, 512 << 20},
        {"threads", CLI_NUMBER, &options.threads, "N", "that make the load (default 1)", 1, THREADS_MAXIMUM},
        {"prepare", CLI_FLAG, &options.prepare, NULL, "write every key once, before measuring"},
        {"seed", CLI_NUMBER, &options.seed, "N", "of keys and values (default 1)", 0, 0},
        {"json", CLI_FLAG, &options.json, NULL, "print the result as JSON; latencies are in microseconds"},
        {0},
    };
    struct cli_arguments arguments;
    struct client_url url;
    struct bench_plan plan = {0};
    int code = cli_parse(command, table, argc, argv, &arguments);
    code = code == CLI_CONTINUE ? node_parse_url(command, options.url, &url) : code;
    code = code == CLI_CONTINUE ? make_plan(&options, &url, &plan) : code;
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (!allow_descriptors(plan.clients)) {
        return cli_error(command, EX_OSERR, "%" PRIu32 " clients need more open files than allowed; see ulimit -n",
                         plan.clients);
    }
    code = check_nodes(&url);
    code = code == CLI_CONTINUE ? bench_txn_ask_shards(&url, &plan.mix) : code;
    code = code == CLI_CONTINUE ? load_script(&url, &plan.mix) : code;
    catch_interrupt();
    code = code == CLI_CONTINUE && options.prepare ? prepare(&plan) : code;
    return code == CLI_CONTINUE ? measure(&plan, &options) : code;
}

const struct cli_command cli_bench = {
    .name = "bench",
    .arguments = "",
    .summary = "make load and measure throughput and latency",
    .details = "Clients send a batch of requests, wait for all replies, and send the next. Latency is\n"
               "from the sending of the batch to each reply. Works with any server that speaks the\n"
               "Redis protocol. Writes keys key:000000000000 and up. The exit code is 69 when a\n"
               "request failed.\n"
               "\n"
               "A transaction writes keys of different shards and is said as MULTI … EXEC, as\n"
               "TXN.BEGIN … TXN.COMMIT (--form txn), or as one MSET (--form mset), in one batch;\n"
               "it is one request, answered with its last reply.\n"
               "\n"
               "--mode eval sends as many SETs as scripts that compare and delete, as locks are\n"
               "released; evalsha sends those by their name.\n"
               "\n"
               "--mode lock acquires and then releases lock:000000000000 and up, which is one request.\n"
               "With fewer --keys than clients they contend. --form set takes them as in Redis, by SET NX\n"
               "PX and an EVAL that compares and deletes, and tries again at once when one is held.",
    .examples = "  cohort bench\n"
                "  cohort bench --mode mixed --ratio 1:9 --prepare --clients 64 --pipeline 32 --duration 10s\n"
                "  cohort bench --mode get --prepare --consistency bounded:250ms --url cohort://10.0.0.2:6379\n"
                "  cohort bench --mode txn --shards 2 --hot 10 --form txn --protocol 3pc\n"
                "  cohort bench --mode lock --clients 64 --keys 1 --duration 5s\n"
                "  cohort bench --url cohort://10.0.0.1:6379,10.0.0.2:6379 --value-size 1kb --json",
    .run = run,
};
