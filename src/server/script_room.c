#include "server/script_room.h"

#include "base/assert.h"
#include "server/connection.h"
#include "server/route_park.h"
#include "server/server_state.h"

static struct connection *connection_of(struct list *node)
{
    return CONTAINER_OF(node, struct connection, script_places.node);
}

void script_room_init(struct script_room *room)
{
    *room = (struct script_room){.size = SCRIPT_ROOM_FIRST};
    list_init(&room->waiting);
}

void script_places_init(struct script_places *places)
{
    *places = (struct script_places){0};
    list_init(&places->node);
}

static bool is_script(struct slice name) { return slice_is_word(name, "EVAL") || slice_is_word(name, "EVAL_RO"); }

bool script_room_takes(const struct connection *connection, const struct command *command)
{
    switch (command->spec->id) {
    case COMMAND_EXEC: return connection->queued_scripts;
    case COMMAND_LOCK_GUARD: return is_script(command->argv[3]);
    default: return command->spec->key_count != 0;
    }
}

/* ---- in ---- */

/* Who waits gets what is free. */
static void give(struct script_room *room)
{
    while (room->taken < room->size && !list_empty(&room->waiting)) {
        struct connection *connection = connection_of(room->waiting.next);
        list_remove(&connection->script_places.node);
        connection->script_places.given = true;
        room->taken++;
        connection_mark_resume(connection);
    }
}

bool script_room_enter(struct connection *connection)
{
    struct script_room *room = &connection->server->script_room;
    struct script_places *places = &connection->script_places;
    ASSERT(!places->entering);
    if (places->given) {
        places->given = false;
        places->entering = true;
        return true;
    }
    room->used = true;
    if (room->taken < room->size && list_empty(&room->waiting)) {
        room->taken++;
        places->entering = true;
        return true;
    }
    if (list_empty(&places->node)) {
        list_append(&room->waiting, &places->node);
        places->since_ns = server_now_ns(connection->server);
    }
    return false;
}

bool script_room_waits(const struct connection *connection) { return !list_empty(&connection->script_places.node); }

/* ---- out ---- */

static void free_places(struct server *server, uint32_t count)
{
    ASSERT(server->script_room.taken >= count);
    server->script_room.taken -= count;
    give(&server->script_room);
}

void script_room_dispatched(struct connection *connection)
{
    connection->script_places.entering = false;
    free_places(connection->server, 1);
}

void script_room_leave(struct connection *connection, bool took_long)
{
    struct script_room *room = &connection->server->script_room;
    if (took_long) {
        room->size = room->size > 1 ? room->size / 2 : 1;
    } else if (room->size < SCRIPT_ROOM_MOST) {
        room->size++;
    }
    free_places(connection->server, 1);
}

void script_room_lose(struct connection *connection)
{
    connection->script_places.lost++;
    if (connection->owed == 0) {
        script_room_settle(connection);
    }
}

void script_room_settle(struct connection *connection)
{
    uint32_t lost = connection->script_places.lost;
    connection->script_places.lost = 0;
    free_places(connection->server, lost);
}

void script_room_forget(struct connection *connection)
{
    struct script_places *places = &connection->script_places;
    list_remove(&places->node);
    if (places->given) {
        places->given = false;
        free_places(connection->server, 1);
    }
}

/* ---- time ---- */

void script_room_tick(struct server *server, int64_t before_ns)
{
    struct script_room *room = &server->script_room;
    while (!list_empty(&room->waiting) && connection_of(room->waiting.next)->script_places.since_ns < before_ns) {
        struct connection *connection = connection_of(room->waiting.next);
        list_remove(&connection->script_places.node);
        route_refuse_parked(connection,
                            "BUSY other scripts take long at this node; this one was not executed, try again in a "
                            "moment");
    }
    if (!room->used && room->taken == 0) {
        room->size = SCRIPT_ROOM_FIRST;
    }
    room->used = false;
}
