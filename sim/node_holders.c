#include "node_holders_internal.h"

#include "node_feeds.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

enum { READ_BYTES = 4096, LATE_MS = 4000, TTL_MS = 100, WAY_MS = 20, TAKES = 12 };

static uint64_t draw(struct holder *holder, uint64_t bound)
{
    return node_draw(holder->all->world, SIM_DRAW_CLIENT, bound);
}

static void rest(struct holder *holder, int64_t duration_ms)
{
    env_timer_start(holder->env, &holder->timer, env_monotonic_ns(holder->env) + duration_ms * MS + MS / 8);
}

/* Clocks are off by a hundredth at most. */
static int64_t believed_ns(int64_t asked_ns, int64_t ttl_ms) { return asked_ns + (ttl_ms * 97 / 100 - 10) * MS; }

static bool believes(const struct holder *holder)
{
    return holder->token != 0 && holder_now(holder) < holder->until_ns;
}

/* ---- asking ---- */

static void disconnect(struct holder *holder)
{
    if (holder->stream != NULL) {
        env_stream_close(holder->env, holder->stream);
        holder->stream = NULL;
    }
    buffer_clear(&holder->in);
    buffer_clear(&holder->out);
    holder->again = holder->step == STEP_ACQUIRE;
    resp_reader_init(&holder->reader);
    holder->reply = (struct reply){0};
    holder->step = STEP_NOTHING;
    holder->late = false;
}

static void flush(struct holder *holder)
{
    while (holder->out.size > 0) {
        struct iovec part = {holder->out.data, holder->out.size};
        size_t taken = 0;
        if (env_stream_write(holder->env, holder->stream, &part, 1, &taken) != STATUS_OK) {
            break;
        }
        buffer_consume(&holder->out, taken);
    }
    env_stream_want_write(holder->env, holder->stream, holder->out.size > 0);
}

static void acquire(struct holder *holder)
{
    holder->serial += holder->again ? 0 : 1;
    holder->again = false;
    holder->ttl_ms = TTL_MS + (int64_t)draw(holder, 1500);
    holder->wait_ms = draw(holder, 2) == 0 ? 0 : (int64_t)draw(holder, 1400);
    holder->asked_ns = holder_now(holder);
    buffer_append_format(&holder->out, "LOCK.ACQUIRE %s h%d.%u PX %lld WAIT %lld\r\n", holder->all->key, holder->number,
                         holder->serial, (long long)holder->ttl_ms, (long long)holder->wait_ms);
}

static void ask(struct holder *holder, enum step step)
{
    const char *key = holder->all->key;
    long long token = holder->token;
    holder->step = step;
    holder->start_ns = holder_now(holder);
    switch (step) {
    case STEP_ACQUIRE: acquire(holder); break;
    case STEP_RENEW:
        buffer_append_format(&holder->out, "LOCK.RENEW %s h%d.%u %lld PX %lld\r\n", key, holder->number, holder->serial,
                             token, (long long)holder->ttl_ms);
        break;
    case STEP_RELEASE:
        holder->until_ns = holder->until_ns < holder->start_ns ? holder->until_ns : holder->start_ns;
        buffer_append_format(&holder->out, "LOCK.RELEASE %s h%d.%u %lld\r\n", key, holder->number, holder->serial,
                             token);
        break;
    case STEP_TAKE:
        buffer_append_format(&holder->out, "LOCK.RELEASE %s h%d.%u %lld FORCE\r\n", key, holder->victim->number,
                             holder->victim->serial, (long long)holder->victim_token);
        break;
    case STEP_CHECK: buffer_append_format(&holder->out, "FENCE.CHECK %s %lld\r\n", key, token); break;
    default: buffer_append_format(&holder->out, "LOCK.GUARD %s %lld GET %s\r\n", key, token, key); break;
    }
    flush(holder);
    bool impatient = step == STEP_ACQUIRE && holder->wait_ms != 0 && draw(holder, 3) == 0;
    rest(holder, impatient ? (int64_t)draw(holder, (uint64_t)holder->wait_ms) : LATE_MS + holder->wait_ms);
}

/* Takes away what another one holds, or held last, if there is one. */
static bool take_away(struct holder *holder)
{
    struct holder *victim = NULL;
    for (int i = 0; i < NODE_HOLDERS; i++) {
        struct holder *other = &holder->all->holders[i];
        victim = other->token > (victim == NULL ? 0 : victim->token) ? other : victim;
    }
    if (victim == NULL || draw(holder, TAKES) != 0) {
        return false;
    }
    holder->victim = victim;
    holder->victim_token = victim->token;
    victim->wanted = true;
    victim->until_ns = victim->until_ns < holder_now(holder) ? victim->until_ns : holder_now(holder);
    ask(holder, STEP_TAKE);
    return true;
}

/* On its way to the resource, for a while. */
static void show(struct holder *holder, enum step step)
{
    holder->step = step;
    holder->start_ns = holder_now(holder);
    rest(holder, (int64_t)draw(holder, WAY_MS));
}

static void do_step(struct holder *holder, enum step step)
{
    if (step == STEP_READ || step == STEP_WRITE) {
        show(holder, step);
    } else {
        ask(holder, step);
    }
}

/* It has looked at its clock. In a third of the cases it is stopped now, and comes to it later. */
static void use(struct holder *holder)
{
    static const enum step steps[] = {STEP_RENEW, STEP_CHECK, STEP_GUARD, STEP_READ, STEP_READ};
    holder->late = draw(holder, 3) == 0;
    if (holder->late) {
        holder->dozing_to = STEP_CHECK;
        rest(holder, (int64_t)draw(holder, 3 * (uint64_t)holder->ttl_ms));
    } else {
        do_step(holder, steps[draw(holder, sizeof(steps) / sizeof(steps[0]))]);
    }
}

static void leave(struct holder *holder)
{
    if (draw(holder, 5) == 0) {
        holder_note_hold(holder); /* and says nothing */
        rest(holder, (int64_t)draw(holder, 100));
    } else {
        ask(holder, STEP_RELEASE);
    }
}

/* ---- answers ---- */

static void told(struct holder *holder)
{
    const struct reply *reply = &holder->reply;
    bool refused = reply->type == RESP_ERROR &&
                   (strncmp(reply->text, "FENCED", 6) == 0 || strncmp(reply->text, "LOCKLOST", 8) == 0);
    bool answered = reply->type != RESP_ERROR;
    switch (holder->step) {
    case STEP_ACQUIRE:
        if (reply->type == RESP_ARRAY && reply->count == 2) {
            holder->token = reply->integers[0];
            holder->told_ns = holder_now(holder);
            holder->until_ns = holder->wait_ms == 0 ? believed_ns(holder->asked_ns, reply->integers[1]) : 0;
        }
        break;
    case STEP_RENEW:
        if (refused) {
            holder_note_use(holder, JUDGE_FENCE, false);
            holder_note_hold(holder);
        } else if (answered && holder->wanted) {
            holder_note_passed(holder, "LOCK.RENEW"); /* no use: a later one of an older token may pass, too */
        } else if (answered) {
            int64_t until_ns = believed_ns(holder->start_ns, reply->integers[0]);
            holder->until_ns = until_ns > holder->until_ns ? until_ns : holder->until_ns;
        }
        break;
    case STEP_RELEASE: holder_note_hold(holder); break;
    case STEP_TAKE:
        if (answered && reply->integers[0] == 1) {
            holder_taken(holder->victim, holder->victim_token);
        }
        break;
    case STEP_CHECK:
        if (answered) {
            holder_note_use(holder, JUDGE_FENCE, reply->integers[0] == 1);
        }
        break;
    case STEP_GUARD:
        if (answered || refused) {
            holder_note_use(holder, JUDGE_GUARD, answered);
        }
        break;
    default: node_fail(holder->all->world, "holder %d is answered what it did not ask", holder->number + 1); break;
    }
    if (holder->late) {
        holder->dozing_to = holder->step == STEP_CHECK ? STEP_GUARD : STEP_READ;
        holder->late = holder->step == STEP_CHECK;
    }
    holder->step = STEP_NOTHING;
    rest(holder, (int64_t)draw(holder, 40));
}

static void take_token(struct holder *holder, const struct resp_token *token)
{
    struct reply *reply = &holder->reply;
    if (token->depth == 0) {
        *reply = (struct reply){.type = token->type};
        size_t size = token->text.size < HOLDER_REPLY_TEXT - 1 ? token->text.size : HOLDER_REPLY_TEXT - 1;
        if (size > 0) {
            memcpy(reply->text, token->text.data, size);
        }
    }
    if (token->type == RESP_INTEGER && reply->count < 2) {
        reply->integers[reply->count++] = token->integer;
    }
    if (token->last) {
        told(holder);
    }
}

static void readable(void *owner)
{
    struct holder *holder = owner;
    struct resp_reply_limits limits = RESP_REPLY_DEFAULT_LIMITS;
    size_t size = 0;
    uint8_t *at = buffer_reserve(&holder->in, READ_BYTES);
    enum status status = env_stream_read(holder->env, holder->stream, at, READ_BYTES, &size);
    if (status == STATUS_AGAIN) {
        return;
    }
    if (status != STATUS_OK) {
        bool waits = holder->step != STEP_NOTHING && holder->step < STEP_READ;
        enum step step = holder->step;
        disconnect(holder);
        holder->step = waits ? STEP_NOTHING : step; /* the way to the resource is another one */
        if (waits) {
            rest(holder, (int64_t)draw(holder, 200));
        }
        return;
    }
    holder->in.size += size;
    enum resp_reply_result result = RESP_REPLY_READY;
    while (result == RESP_REPLY_READY) {
        struct resp_token token;
        result = resp_reader_next(&holder->reader, &limits, holder->in.data, holder->in.size, &token);
        if (result == RESP_REPLY_INVALID) {
            node_fail(holder->all->world, "holder %d: garbage: %s", holder->number + 1, holder->reader.problem);
        } else if (result == RESP_REPLY_READY) {
            take_token(holder, &token);
        }
        buffer_consume(&holder->in, holder->reader.consumed);
    }
}

static void writable(void *owner)
{
    struct holder *holder = owner;
    if (holder->out.size > 0) {
        flush(holder);
    }
}

static const struct env_stream_events stream_events = {readable, writable};

/* ---- life ---- */

static bool connect_somewhere(struct holder *holder)
{
    struct node_world *world = holder->all->world;
    const char *address = sim_node_address(world->sim, (int)draw(holder, (uint64_t)world->profile.members));
    if (env_connect(holder->env, address, NODE_PORT, &holder->stream) != STATUS_OK) {
        holder->stream = NULL;
        rest(holder, 100);
        return false;
    }
    env_stream_attach(holder->env, holder->stream, &stream_events, holder);
    return true;
}

/* What was on its way to the resource is there. */
static void arrive(struct holder *holder)
{
    bool written = holder->step == STEP_WRITE;
    bool taken = holder_resource_takes(holder);
    holder->step = STEP_NOTHING;
    if (written || !taken) {
        rest(holder, (int64_t)draw(holder, 40));
    } else {
        holder->dozing_to = STEP_WRITE;
        rest(holder, draw(holder, 3) == 0 ? (int64_t)draw(holder, 2 * (uint64_t)holder->ttl_ms) : 1);
    }
}

static void fire(struct env_timer *timer)
{
    struct holder *holder = CONTAINER_OF(timer, struct holder, timer);
    enum step next = holder->dozing_to;
    if (holder->all->world->clients_stopped) {
        return;
    }
    if (holder->step == STEP_READ || holder->step == STEP_WRITE) {
        arrive(holder);
        return;
    }
    if (holder->step != STEP_NOTHING) { /* the reply is late */
        disconnect(holder);
    }
    if (holder->stream == NULL && !connect_somewhere(holder)) {
        return;
    }
    holder->dozing_to = STEP_NOTHING;
    if (next != STEP_NOTHING && holder->token != 0) {
        do_step(holder, next);
    } else if (holder->token == 0) {
        if (!take_away(holder)) {
            ask(holder, STEP_ACQUIRE);
        }
    } else if (holder->until_ns == 0 && !holder->wanted) {
        ask(holder, STEP_RENEW); /* after a wait, it tells until when it is believed */
    } else if ((believes(holder) || holder->wanted) && draw(holder, 6) != 0) {
        use(holder);
    } else {
        leave(holder);
    }
}

struct node_holders *node_holders_create(struct node_world *world)
{
    if (!world->profile.holders) {
        return NULL;
    }
    struct node_holders *all = calloc(1, sizeof(*all));
    ASSERT(all != NULL);
    all->world = world;
    (void)snprintf(all->key, sizeof(all->key), "{%s}H", world->shards[1].tag);
    for (int i = 0; i < NODE_HOLDERS; i++) {
        struct holder *holder = &all->holders[i];
        holder->all = all;
        holder->number = i;
        holder->env = sim_node_start(world->sim, NODE_FOLLOWER_MACHINE + NODE_FOLLOWERS + NODE_TALKERS + i);
        env_timer_init(&holder->timer, fire);
        resp_reader_init(&holder->reader);
        rest(holder, (int64_t)draw(holder, 300));
    }
    return all;
}

void node_holders_finish(struct node_holders *all)
{
    for (int i = 0; all != NULL && i < NODE_HOLDERS; i++) {
        holder_note_hold(&all->holders[i]);
    }
}

void node_holders_destroy(struct node_holders *all)
{
    for (int i = 0; all != NULL && i < NODE_HOLDERS; i++) {
        struct holder *holder = &all->holders[i];
        env_timer_stop(holder->env, &holder->timer);
        disconnect(holder);
        buffer_deinit(&holder->in);
        buffer_deinit(&holder->out);
    }
    free(all);
}
