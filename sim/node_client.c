/* Clients: connections to any node. What they ask is in node_asks.c, what replies mean in node_replies.c. */
#include "node_world.h"

#include "base/assert.h"

enum { THINK_MS = 100, READ_BYTES = 16384, CONNECT_MS = 1500 };

static uint64_t draw(struct node_client *client, uint64_t bound)
{
    return node_draw(client->world, SIM_DRAW_CLIENT, bound);
}

static void rest(struct node_client *client, int64_t duration_ns)
{
    env_timer_start(client->env, &client->timer, env_monotonic_ns(client->env) + duration_ns);
}

/* ---- connections ---- */

static void flush(struct node_client *client)
{
    while (client->out.size > 0) {
        struct iovec part = {client->out.data, client->out.size};
        size_t taken = 0;
        if (env_stream_write(client->env, client->stream, &part, 1, &taken) != STATUS_OK) {
            break; /* not now; or reading will tell */
        }
        buffer_consume(&client->out, taken);
    }
    env_stream_want_write(client->env, client->stream, client->out.size > 0);
}

static void disconnect(struct node_client *client)
{
    if (client->stream != NULL) {
        env_stream_close(client->env, client->stream);
        client->stream = NULL;
    }
    while (client->pending_count > 0) {
        struct node_pending pending = client->pending[client->pending_at];
        client->pending_at = (client->pending_at + 1) % NODE_PENDING;
        client->pending_count--;
        node_client_unanswered(client, &pending);
    }
    buffer_clear(&client->in);
    buffer_clear(&client->out);
    buffer_clear(&client->text);
    resp_reader_init(&client->reader);
    client->reply = (struct node_reply){0};
    client->next = NODE_ASK_PREPARE;
    node_txn_disconnected(client);
}

/* The next request follows at once, or after a while. */
static void go_on(struct node_client *client)
{
    bool in_end = client->final_shard > 0;
    int64_t pause_ms = draw(client, 3) == 0 ? 0 : (int64_t)draw(client, THINK_MS);
    if (!in_end && !client->world->clients_stopped && draw(client, 25) == 0) {
        disconnect(client); /* another node next time */
    }
    rest(client, in_end ? MS : pause_ms * MS + MS / 4);
}

static void take_token(struct node_client *client, const struct resp_token *token)
{
    struct node_reply *reply = &client->reply;
    size_t offset = client->text.size;
    buffer_append_slice(&client->text, token->text);
    if (token->depth == 0) {
        *reply = (struct node_reply){
            .type = token->type, .integer = token->integer, .offset = offset, .size = token->text.size};
        client->element = 0;
        reply->count = token->type == RESP_ARRAY ? (size_t)token->count : 0;
    } else if (client->element < NODE_ELEMENTS) {
        reply->elements[client->element++] = (struct node_element){
            .type = token->type, .integer = token->integer, .offset = offset, .size = token->text.size};
    }
    if (!token->last) {
        return;
    }
    reply->text = slice_of(client->text.data + reply->offset, reply->size);
    for (size_t i = 0; i < client->element; i++) {
        reply->elements[i].text = slice_of(client->text.data + reply->elements[i].offset, reply->elements[i].size);
    }
    if (client->pending_count == 0) {
        node_fail(client->world, "client %d: node %d answers what was not asked", client->number + 1, client->node + 1);
        return;
    }
    struct node_pending pending = client->pending[client->pending_at];
    client->pending_at = (client->pending_at + 1) % NODE_PENDING;
    client->pending_count--;
    node_client_answered(client, &pending);
    buffer_clear(&client->text);
}

static void take_replies(struct node_client *client)
{
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    struct resp_token token;
    enum resp_reply_result result = RESP_REPLY_READY;
    while (result == RESP_REPLY_READY) {
        result = resp_reader_next(&client->reader, &limits, client->in.data, client->in.size, &token);
        if (result == RESP_REPLY_INVALID) {
            node_fail(client->world, "client %d: node %d answers garbage: %s", client->number + 1, client->node + 1,
                      client->reader.problem);
        } else if (result == RESP_REPLY_READY) {
            take_token(client, &token);
        }
        buffer_consume(&client->in, client->reader.consumed);
    }
}

static void readable(void *owner)
{
    struct node_client *client = owner;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&client->in, READ_BYTES);
    enum status status = env_stream_read(client->env, client->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        node_reach(client->world, NODE_MARK_CUT_OFF, client->pending_count > 0);
        disconnect(client);
        rest(client, (int64_t)draw(client, 200) * MS);
        return;
    }
    client->in.size += size;
    bool waited = client->pending_count > 0;
    take_replies(client);
    if (waited && client->pending_count == 0) {
        go_on(client);
    }
}

static void writable(void *owner)
{
    struct node_client *client = owner;
    if (client->out.size > 0) {
        flush(client);
    }
}

static const struct env_stream_events stream_events = {readable, writable};

/* The first request on a connection shows that it is up. */
static void connect_to(struct node_client *client, int node, bool weak)
{
    struct node_world *world = client->world;
    client->node = node;
    client->weak = weak;
    if (env_connect(client->env, sim_node_address(world->sim, node), NODE_PORT, &client->stream) != STATUS_OK) {
        client->stream = NULL;
        rest(client, CONNECT_MS * MS);
        return;
    }
    env_stream_attach(client->env, client->stream, &stream_events, client);
    node_ask_prepare(client, weak ? "READONLY" : "READWRITE");
    env_stream_want_write(client->env, client->stream, true);
    rest(client, CONNECT_MS * MS);
}

/* Time for the next request, or the replies are late. */
static void fire(struct env_timer *timer)
{
    struct node_client *client = CONTAINER_OF(timer, struct node_client, timer);
    struct node_world *world = client->world;
    if (client->pending_count > 0) {
        node_reach(world, NODE_MARK_TIMED_OUT, 1);
        node_many_leave(client);
        disconnect(client);
        rest(client, MS);
        return;
    }
    bool finished = client->final_shard > world->profile.groups && client->final_scripts == NODE_SCRIPTS_NOTHING;
    if (client->final_shard == 0 ? world->clients_stopped : finished) {
        return;
    }
    if (client->stream == NULL) {
        int node = client->final_shard > 0 ? client->final_node : (int)draw(client, (uint64_t)world->profile.members);
        connect_to(client, node, client->final_shard == 0 && draw(client, 6) == 0);
        return;
    }
    if (node_plan_wish(client) == NODE_PLAN_NOTHING) {
        rest(client, 5 * MS);
        return;
    }
    if (client->final_shard > world->profile.groups) {
        node_scripts_ask_finally(client);
    } else if (client->final_shard > 0) {
        node_ask_finally(client);
    } else {
        node_ask_something(client);
    }
    flush(client);
    bool in_end = client->final_shard > 0; /* whoever is not answered then is waited for */
    if (!in_end && client->many.pending > 0 && client->many.hasty) {
        rest(client, (int64_t)draw(client, 16) * MS / 2);
        return;
    }
    rest(client, (int64_t)((in_end ? 25000 : 1500) + draw(client, 6000)) * MS);
}

void node_client_start(struct node_client *client)
{
    client->env = sim_node_start(client->world->sim, NODE_CLIENT_MACHINE + client->number);
    client->final_shard = 0;
    env_timer_init(&client->timer, fire);
    resp_reader_init(&client->reader);
    rest(client, (int64_t)draw(client, 300) * MS);
}

void node_client_finish(struct node_client *client, int node)
{
    disconnect(client);
    client->final_node = node;
    client->final_shard = 1;
    client->final_generation = 0;
    rest(client, MS);
}

void node_client_finish_scripts(struct node_client *client, enum node_scripts_stage stage)
{
    client->final_scripts = stage;
    rest(client, MS);
}

void node_client_deinit(struct node_client *client)
{
    if (client->env != NULL) {
        env_timer_stop(client->env, &client->timer);
        if (client->stream != NULL) {
            env_stream_close(client->env, client->stream);
        }
    }
    buffer_deinit(&client->in);
    buffer_deinit(&client->out);
    buffer_deinit(&client->text);
    buffer_deinit(&client->seen);
    buffer_deinit(&client->txn.texts);
}
