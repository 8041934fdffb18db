/* Clients that hold a lock and wait for another one as the same owner, so that they come to wait for each other. Who is
 * told DEADLOCK is told of a circle: each link is a client that asks for this lock while it may hold another, the next
 * one is whom it waits for, and the circle begins and ends with who is told. */
#include "node_world.h"

#include <stdio.h>
#include <string.h>

struct link {
    char waits[NODE_KEY_BYTES], lock[NODE_KEY_BYTES], behind[NODE_KEY_BYTES];
};

/* Takes "A waits for lock L held by B" or "… behind B" from the front of the text. */
static bool take_link(const char **text, struct link *ret_link)
{
    int used = 0;
    if (sscanf(*text, "%31s waits for lock %31s held by %31[^,;]%n", ret_link->waits, ret_link->lock, ret_link->behind,
               &used) != 3 &&
        sscanf(*text, "%31s waits for lock %31s behind %31[^,;]%n", ret_link->waits, ret_link->lock, ret_link->behind,
               &used) != 3) {
        return false;
    }
    *text += used;
    return true;
}

/* The client asks for this lock as this owner, and holds another; or has gone on meanwhile. */
static bool may_wait(struct node_world *world, const struct link *link)
{
    int number = -1;
    unsigned serial = 0;
    if (sscanf(link->waits, "o%d.%u", &number, &serial) != 2 || number < 0 || number >= world->profile.clients) {
        return false;
    }
    struct node_client *client = &world->clients[number];
    char key[NODE_KEY_BYTES];
    return client->lock.serial > serial || (client->lock.serial == serial && client->lock.further &&
                                            strcmp(node_lock_key(client, key), link->lock) == 0);
}

void node_circle_told(struct node_client *client)
{
    struct link first, link;
    char owner[NODE_KEY_BYTES];
    char text[1024] = "";
    const char *at = text + sizeof("DEADLOCK ") - 1;
    const struct slice told = client->reply.text;
    memcpy(text, told.data, told.size < sizeof(text) ? told.size : sizeof(text) - 1);
    bool good = take_link(&at, &first) && may_wait(client->world, &first) &&
                strcmp(first.waits, node_lock_owner(client, owner)) == 0;
    for (link = first; good && *at == ',';) {
        char behind[NODE_KEY_BYTES];
        memcpy(behind, link.behind, sizeof(behind));
        at += 2;
        good = take_link(&at, &link) && strcmp(behind, link.waits) == 0 && may_wait(client->world, &link);
    }
    if (!good || *at != ';' || strcmp(link.behind, first.waits) != 0) {
        node_fail(client->world, "client %d is told of no circle: %s", client->number + 1, text);
    }
    node_reach(client->world, NODE_MARK_DEADLOCK, 1);
}
