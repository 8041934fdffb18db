/* A whole node with three shards in the simulator, and three clients: lines of words are commands, '0', '1' or '2'
 * before them says who sends it, and '+' lets as many tenths of a second pass as it has bytes. Transactions are what
 * this is about: MULTI, EXEC, WATCH, TXN.* and commands with keys of several shards, in any order. Each command gives
 * exactly one well-formed reply, and when all clients are gone and every time limit is over, nothing is locked. */
#include "cluster/cluster.h"
#include "fuzz.h"
#include "machine/txn/txn.h"
#include "server/server.h"
#include "sim_net.h"
#include "wire/resp_reply.h"

#define MS INT64_C(1000000)

enum {
    NODE = 0,
    CLIENT = 1,
    CLIENTS = 3,
    PORT = 6379,
    SHARDS = 3,
    WORDS_MAXIMUM = 16,
    COMMANDS_MAXIMUM = 64,
    SEGMENT_BYTES = 64 << 10,
    REPLY_MS = 30000, /* longer than any command takes */
    END_MS = 3000,
    FORGET_MS = 70000, /* longer than the time limit of a transaction that names none */
    READ_BYTES = 16384,
};

struct client {
    struct env *env;
    struct env_stream *stream;
    struct buffer out, in;
    uint32_t asked;
};

struct run {
    struct sim *sim;
    struct server *server;
    struct client clients[CLIENTS];
    uint32_t commands;
    bool limited;  /* somebody named a time limit of his own */
    bool prepares; /* what is prepared outlives its client */
};

static void stopped(void *owner, enum status status)
{
    (void)owner;
    (void)status;
    ASSERT(!"the node stops");
}

static void configured(void *owner, struct env *env, const struct config *config)
{
    (void)owner;
    (void)env;
    (void)config;
}

static void readable(void *owner)
{
    struct client *client = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&client->in, READ_BYTES);
    enum status status = env_stream_read(client->env, client->stream, at, READ_BYTES, &size);
    ASSERT(status == STATUS_OK || status == STATUS_AGAIN); /* nobody asked it to close */
    client->in.size += size;
}

static void writable(void *owner)
{
    struct client *client = owner;
    struct iovec part = {client->out.data, client->out.size};
    size_t taken = 0;
    if (client->out.size > 0 && env_stream_write(client->env, client->stream, &part, 1, &taken) == STATUS_OK) {
        buffer_consume(&client->out, taken);
    }
    env_stream_want_write(client->env, client->stream, client->out.size > 0);
}

static void begin(struct run *run)
{
    static const struct server_events events = {.stopped = stopped, .configured = configured};
    static const struct env_stream_events stream_events = {readable, writable};
    struct config config;
    char message[SERVER_MESSAGE_BYTES] = "";
    *run = (struct run){.sim = sim_create(7)};
    config_init(&config);
    config.log_segment_bytes = SEGMENT_BYTES;
    config.protected_mode = 0;
    const char *host = sim_node_address(run->sim, NODE);
    struct server_options options = {
        .node_id = 1, .directory = "/data", .host = host, .port = PORT, .version = "fuzzed", .shards = SHARDS};
    struct env *env = sim_node_start(run->sim, NODE);
    ASSERT(server_create(env, &options, &config, &events, run, &run->server, message) == STATUS_OK);
    struct env *clients = sim_node_start(run->sim, CLIENT);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &run->clients[i];
        client->env = clients;
        ASSERT(env_connect(clients, host, PORT, &client->stream) == STATUS_OK);
        env_stream_attach(clients, client->stream, &stream_events, client);
    }
    sim_run_for(run->sim, 100 * MS);
}

/* About data or transactions; the others act on connections and the node. */
static bool may_be_asked(const struct slice *words, uint32_t count)
{
    const struct command_spec *spec;
    if (command_lookup(words, count, &spec) == COMMAND_UNKNOWN) {
        return true;
    }
    static const uint16_t ours[] = {COMMAND_MULTI,      COMMAND_EXEC,      COMMAND_DISCARD,     COMMAND_WATCH,
                                    COMMAND_UNWATCH,    COMMAND_TXN_BEGIN, COMMAND_TXN_PREPARE, COMMAND_TXN_COMMIT,
                                    COMMAND_TXN_STATUS, COMMAND_TXN_LIST,  COMMAND_TXN_ROLLBACK};
    bool found = spec->place == COMMAND_AT_MACHINE && spec->id != COMMAND_SETRANGE; /* too much memory */
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        found = found || spec->id == ours[i];
    }
    return found;
}

static void say(struct run *run, struct client *client, struct slice line)
{
    struct slice words[WORDS_MAXIMUM];
    uint32_t count = 0;
    while (line.size > 0 && count < WORDS_MAXIMUM) {
        const uint8_t *space = memchr(line.data, ' ', line.size);
        size_t size = space == NULL ? line.size : (size_t)(space - line.data);
        words[count++] = slice_of(line.data, size);
        size_t taken = space == NULL ? size : size + 1;
        line = slice_of(line.data + taken, line.size - taken);
    }
    if (count == 0 || run->commands >= COMMANDS_MAXIMUM || !may_be_asked(words, count)) {
        return;
    }
    run->commands++;
    client->asked++;
    buffer_append_format(&client->out, "*%u\r\n", count);
    for (uint32_t i = 0; i < count; i++) {
        run->prepares =
            run->prepares || (words[i].size == 11 && strncasecmp((const char *)words[i].data, "TXN.PREPARE", 11) == 0);
        run->limited =
            run->limited || (words[i].size == 7 && strncasecmp((const char *)words[i].data, "TIMEOUT", 7) == 0);
        buffer_append_format(&client->out, "$%zu\r\n", words[i].size);
        buffer_append_slice(&client->out, words[i]);
        buffer_append_string(&client->out, "\r\n");
    }
    env_stream_want_write(client->env, client->stream, true);
}

static uint32_t heard(const struct client *client)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct slice rest = buffer_slice(&client->in);
    for (uint32_t count = 0;; count++) {
        struct resp_reader reader;
        enum resp_type root;
        resp_reader_init(&reader);
        enum resp_reply_result result = resp_reader_skip(&reader, &limits, rest.data, rest.size, &root);
        ASSERT(result != RESP_REPLY_INVALID);
        if (result != RESP_REPLY_READY) {
            return count;
        }
        rest = slice_of(rest.data + reader.consumed, rest.size - reader.consumed);
    }
}

static void check_replies(struct run *run)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &run->clients[i];
        for (int ms = 0; ms < REPLY_MS && heard(client) < client->asked; ms += 100) {
            sim_run_for(run->sim, 100 * MS);
        }
        ASSERT(heard(client) == client->asked);
    }
}

static void check_locks(struct run *run)
{
    sim_run_for(run->sim, (run->prepares ? FORGET_MS : END_MS) * MS);
    for (uint32_t shard = 1; shard <= SHARDS && !run->limited; shard++) {
        int64_t time_ms;
        const struct txns *txns = cluster_txns(server_cluster_of(run->server, shard), shard, &time_ms);
        ASSERT(txns == NULL || (txns->parts.prepared_count == 0 && txns->homes.open_count == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    begin(&run);
    while (size > 0) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t line = end == NULL ? size : (size_t)(end - data);
        if (line > 1 && data[0] >= '0' && data[0] < '0' + CLIENTS) {
            say(&run, &run.clients[data[0] - '0'], slice_of(data + 1, line - 1));
        } else if (line > 0 && data[0] == '+') {
            sim_run_for(run.sim, (int64_t)(line < 100 ? line : 100) * 100 * MS);
        }
        size_t taken = end == NULL ? line : line + 1;
        data += taken;
        size -= taken;
    }
    check_replies(&run);
    for (int i = 0; i < CLIENTS; i++) {
        env_stream_close(run.clients[i].env, run.clients[i].stream);
        buffer_deinit(&run.clients[i].out);
        buffer_deinit(&run.clients[i].in);
    }
    check_locks(&run);
    server_destroy(run.server);
    sim_destroy(run.sim);
    return 0;
}
