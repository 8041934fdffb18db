#include "server/script_asks.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/varint.h"
#include "cluster/cluster_mutation.h"
#include "server/script_texts.h"
#include "server/server_state.h"

#include <stdlib.h>

enum { NOTE_BYTES = 17 };

struct script_ask {
    struct list node; /* in server.script_asks */
    uint64_t id;      /* in notes */
    uint32_t worker;  /* who asks, and what it calls it */
    uint64_t number;
    int64_t deadline_ns;
    enum script_note kind;
    struct buffer names; /* FIND: those that are not known yet */
    uint64_t peers[PLACEMENT_MAXIMUM_NODES];
    size_t peer_count; /* that have not answered */
};

/* ---- out ---- */

static enum status say(struct server *server, uint64_t node, enum script_note kind, uint64_t number, struct slice bytes)
{
    uint8_t head[NOTE_BYTES] = {(uint8_t)kind};
    put_u64(head + 1, script_texts_epoch(server->script_texts));
    put_u64(head + 9, number);
    const struct slice parts[2] = {slice_of(head, sizeof(head)), bytes};
    return cluster_note(server->cluster, node, parts, 2);
}

static void ask_free(struct server *server, struct script_ask *ask)
{
    server->script_ask_count--;
    list_remove(&ask->node);
    buffer_deinit(&ask->names);
    free(ask);
}

static bool over(const struct script_ask *ask)
{
    return ask->peer_count == 0 || (ask->kind == SCRIPT_NOTE_FIND && ask->names.size == 0);
}

static void end(struct server *server, struct script_ask *ask)
{
    uint32_t worker = ask->worker;
    uint64_t number = ask->number;
    ask_free(server, ask);
    script_peers_done(server, worker, number);
}

/* What this node knows itself goes to the worker; the rest must be asked for. */
static void look_here(struct server *server, struct script_ask *ask, struct slice names)
{
    for (size_t at = 0; at + SCRIPT_SHA_BYTES <= names.size; at += SCRIPT_SHA_BYTES) {
        struct slice name = slice_of(names.data + at, SCRIPT_SHA_BYTES);
        struct slice text;
        if (script_texts_find(server->script_texts, name, &text)) {
            script_peers_give(server, ask->worker, text);
        } else {
            buffer_append_slice(&ask->names, name);
        }
    }
}

/* Forgets here first, so that what others still tell is of an epoch that is over. */
static void flush_here(struct server *server, uint64_t told)
{
    uint64_t next = script_texts_epoch(server->script_texts) + 1;
    script_peers_enter(server, told > next ? told : next, true);
}

/* A flush that was heard late, by a node that knew its epoch from others, has made one of its own. The others must know
 * at once: else they would meet it whenever the node says something next, and forget what they were told until then. */
static void tell_epoch(struct server *server)
{
    uint64_t nodes[PLACEMENT_MAXIMUM_NODES];
    size_t count = cluster_connected(server->cluster, nodes);
    for (size_t i = 0; i < count; i++) {
        (void)!say(server, nodes[i], SCRIPT_NOTE_MET, 0, (struct slice){0});
    }
}

void script_asks_begin(struct server *server, uint32_t worker, uint64_t number, enum script_note kind,
                       struct slice bytes)
{
    struct script_ask *ask = memory_allocate_zeroed(1, sizeof(*ask));
    *ask = (struct script_ask){.id = ++server->last_script_ask, .worker = worker, .number = number, .kind = kind};
    ask->deadline_ns = server_now_ns(server) + (int64_t)SCRIPT_ASK_MS * 1000000;
    list_init(&ask->node);
    buffer_init(&ask->names);
    bool full = server->script_ask_count >= SCRIPT_ASKS;
    if (kind == SCRIPT_NOTE_FIND) {
        look_here(server, ask, bytes);
        bytes = buffer_slice(&ask->names);
    } else if (kind == SCRIPT_NOTE_FLUSH) {
        flush_here(server, 0);
        full = false; /* it must be told; nobody makes many of them wait */
    }
    uint64_t nodes[PLACEMENT_MAXIMUM_NODES];
    size_t count =
        full || (kind == SCRIPT_NOTE_FIND && bytes.size == 0) ? 0 : cluster_connected(server->cluster, nodes);
    for (size_t i = 0; i < count; i++) {
        bool left_out = (kind == SCRIPT_NOTE_FLUSH && CLUSTER_MUTATED(SCRIPT_FLUSH_HERE)) ||
                        (kind != SCRIPT_NOTE_FLUSH && CLUSTER_MUTATED(SCRIPT_UNASKED));
        if (!left_out && say(server, nodes[i], kind, ask->id, bytes) == STATUS_OK) {
            ask->peers[ask->peer_count++] = nodes[i];
        }
    }
    list_append(&server->script_asks, &ask->node);
    server->script_ask_count++;
    if (over(ask)) {
        end(server, ask);
    }
}

/* ---- in ---- */

/* Of those that other nodes told: whoever asked for it. */
static void found(struct server *server, const char *sha)
{
    LIST_FOR_EACH_SAFE (at, after, &server->script_asks) {
        struct script_ask *ask = CONTAINER_OF(at, struct script_ask, node);
        for (size_t i = 0; i + SCRIPT_SHA_BYTES <= ask->names.size; i += SCRIPT_SHA_BYTES) {
            if (memcmp(ask->names.data + i, sha, SCRIPT_SHA_BYTES) == 0) {
                size_t behind = ask->names.size - i - SCRIPT_SHA_BYTES;
                memmove(ask->names.data + i, ask->names.data + i + SCRIPT_SHA_BYTES, behind);
                ask->names.size -= SCRIPT_SHA_BYTES;
                break;
            }
        }
        if (over(ask)) {
            end(server, ask);
        }
    }
}

static enum status take_text(struct server *server, uint64_t epoch, struct slice text)
{
    if (text.size > SCRIPT_SOURCE_BYTES) {
        return STATUS_CORRUPT;
    }
    if (script_texts_welcome(server->script_texts, epoch)) {
        char sha[SCRIPT_SHA_BYTES];
        script_peers_keep(server, text, sha);
        found(server, sha);
    }
    return STATUS_OK;
}

/* What does not leave for want of room is not found; who asks hears of the end, or waits its time. */
static enum status answer(struct server *server, uint64_t node, uint64_t number, struct slice names)
{
    if (names.size % SCRIPT_SHA_BYTES != 0 || names.size / SCRIPT_SHA_BYTES > SCRIPT_NAMES) {
        return STATUS_CORRUPT;
    }
    for (size_t at = 0; at < names.size; at += SCRIPT_SHA_BYTES) {
        struct slice text;
        if (script_texts_find(server->script_texts, slice_of(names.data + at, SCRIPT_SHA_BYTES), &text)) {
            (void)!say(server, node, SCRIPT_NOTE_TEXT, number, text);
        }
    }
    return STATUS_OK;
}

/* The node answers this question no more; every one, when it is lost (0). */
static void answered(struct server *server, uint64_t node, uint64_t id)
{
    LIST_FOR_EACH_SAFE (at, after, &server->script_asks) {
        struct script_ask *ask = CONTAINER_OF(at, struct script_ask, node);
        for (size_t i = 0; i < ask->peer_count && (id == 0 || id == ask->id); i++) {
            if (ask->peers[i] == node) {
                ask->peers[i] = ask->peers[--ask->peer_count];
                break;
            }
        }
        if (over(ask)) {
            end(server, ask);
        }
    }
}

/* Of a node that missed a flush, or made one that was missed here. What was told to a process that has just met the
 * first other node is as new as the process. */
static void meet_epoch(struct server *server, uint64_t epoch)
{
    int64_t met_ns = server->scripts_met_ns;
    bool is_new = met_ns == 0 || server_now_ns(server) < met_ns + (int64_t)SCRIPT_ASK_MS * 1000000;
    script_peers_enter(server, epoch, !is_new);
}

enum status script_peers_noted(struct server *server, uint64_t node, struct slice note)
{
    if (note.size < NOTE_BYTES) {
        return STATUS_CORRUPT;
    }
    uint64_t epoch = get_u64(note.data + 1), number = get_u64(note.data + 9);
    struct slice bytes = slice_of(note.data + NOTE_BYTES, note.size - NOTE_BYTES);
    if (epoch > INT64_MAX) {
        return STATUS_CORRUPT;
    }
    enum script_note kind = (enum script_note)note.data[0];
    if (kind != SCRIPT_NOTE_FLUSH) {
        meet_epoch(server, epoch);
    }
    enum status status = STATUS_OK;
    switch (kind) {
    case SCRIPT_NOTE_MET: return STATUS_OK;
    case SCRIPT_NOTE_TEXT: return take_text(server, epoch, bytes);
    case SCRIPT_NOTE_DONE: answered(server, node, number == 0 ? UINT64_MAX : number); return STATUS_OK;
    case SCRIPT_NOTE_FIND: status = answer(server, node, number, bytes); break;
    case SCRIPT_NOTE_GIVE: status = take_text(server, epoch, bytes); break;
    case SCRIPT_NOTE_FLUSH:
        flush_here(server, epoch);
        if (script_texts_epoch(server->script_texts) > epoch) {
            tell_epoch(server);
        }
        break;
    default: return STATUS_CORRUPT;
    }
    (void)!say(server, node, SCRIPT_NOTE_DONE, number, (struct slice){0});
    return status;
}

void script_peers_met(struct server *server, uint64_t node, bool up)
{
    if (up) {
        server->scripts_met_ns = server->scripts_met_ns == 0 ? server_now_ns(server) : server->scripts_met_ns;
        if (script_texts_epoch(server->script_texts) > SCRIPT_TEXTS_FIRST) {
            (void)!say(server, node, SCRIPT_NOTE_MET, 0, (struct slice){0});
        }
    } else {
        answered(server, node, 0);
    }
}

void script_peers_tick(struct server *server)
{
    int64_t now_ns = server_now_ns(server);
    LIST_FOR_EACH_SAFE (at, after, &server->script_asks) {
        struct script_ask *ask = CONTAINER_OF(at, struct script_ask, node);
        if (now_ns >= ask->deadline_ns) {
            end(server, ask);
        }
    }
}

void script_asks_destroy(struct server *server)
{
    while (!list_empty(&server->script_asks)) {
        ask_free(server, CONTAINER_OF(server->script_asks.next, struct script_ask, node));
    }
}
