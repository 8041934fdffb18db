/* The client of one transaction. */
#include "txn_world.h"

#include "base/assert.h"

enum { READ_BYTES = 4096 };

static void close_it(struct txn_client *client)
{
    if (client->stream != NULL) {
        env_stream_close(client->env, client->stream);
        client->stream = NULL;
    }
}

static void readable(void *owner)
{
    struct txn_client *client = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&client->in, READ_BYTES);
    enum status status = env_stream_read(client->env, client->stream, at, READ_BYTES, &size);
    if (status == STATUS_OK) {
        client->in.size += size;
    } else if (status != STATUS_AGAIN) {
        close_it(client);
    }
}

static void writable(void *owner)
{
    struct txn_client *client = owner;
    struct iovec part = {client->out.data, client->out.size};
    size_t taken = 0;
    if (client->out.size > 0 && env_stream_write(client->env, client->stream, &part, 1, &taken) == STATUS_OK) {
        buffer_consume(&client->out, taken);
    }
    env_stream_want_write(client->env, client->stream, client->out.size > 0);
}

static const struct env_stream_events events = {readable, writable};

void txn_client_begin(struct txn_client *client, struct node_world *world, int machine)
{
    *client = (struct txn_client){.world = world, .env = sim_node_start(world->sim, machine)};
}

void txn_client_end(struct txn_client *client)
{
    close_it(client);
    buffer_deinit(&client->out);
    buffer_deinit(&client->in);
}

void txn_client_say(struct txn_client *client, int node, struct slice words)
{
    close_it(client);
    buffer_clear(&client->in);
    buffer_clear(&client->out);
    buffer_append_slice(&client->out, words);
    ASSERT(env_connect(client->env, sim_node_address(client->world->sim, node), NODE_PORT, &client->stream) ==
           STATUS_OK);
    env_stream_attach(client->env, client->stream, &events, client);
    env_stream_want_write(client->env, client->stream, true);
}

void txn_client_go_on(struct txn_client *client, struct slice words)
{
    buffer_clear(&client->in);
    if (client->stream != NULL) {
        buffer_append_slice(&client->out, words);
        env_stream_want_write(client->env, client->stream, true);
    }
}

bool txn_client_heard(const struct txn_client *client, int replies)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_reader reader;
    struct resp_token token;
    struct slice rest = buffer_slice(&client->in);
    int found = 0;
    resp_reader_init(&reader);
    while (found < replies && resp_reader_next(&reader, &limits, rest.data, rest.size, &token) == RESP_REPLY_READY) {
        found += token.last ? 1 : 0;
        rest = slice_of(rest.data + reader.consumed, rest.size - reader.consumed);
    }
    return found == replies;
}
