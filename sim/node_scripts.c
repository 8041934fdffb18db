/* Scripts: clients count by them, by text and by name, while others forget all names; and in the end every node finds
 * by name what any of them was told, until it is forgotten everywhere. */
#include "node_world.h"

#include "script/script.h"

#include <stdio.h>

enum {
    BY_SCRIPT = 2, /* of so many counts, one */
    STOPPED = 64,  /* of those, one */
    FORGOTTEN = 40,
    TEXTS = 3,
    TEXT_BYTES = 80,
};

static void put_word(struct node_client *client, const char *word)
{
    buffer_append_format(&client->out, "$%zu\r\n%s\r\n", strlen(word), word);
}

static void name_of(const char *text, char ret_name[static SCRIPT_SHA_BYTES + 1])
{
    script_sha(slice_from_string(text), ret_name);
    ret_name[SCRIPT_SHA_BYTES] = '\0';
}

static void counting_text(size_t number, char ret_text[static TEXT_BYTES])
{
    (void)snprintf(ret_text, TEXT_BYTES, "return redis.call('incrby', KEYS[1], ARGV[1]) -- %d", (int)(number % TEXTS));
}

/* By its text, by its name, or by one that is stopped behind the count, so that nothing of it may stay. */
static void put_script(struct node_client *client, size_t number)
{
    char text[TEXT_BYTES], name[SCRIPT_SHA_BYTES + 1];
    counting_text(number / 3, text);
    if (number % STOPPED == 0) {
        put_word(client, "EVAL");
        put_word(client, "redis.call('incrby', KEYS[1], ARGV[1]) while true do end");
    } else if (number % 3 == 0) {
        put_word(client, "EVAL");
        put_word(client, text);
    } else {
        name_of(text, name);
        put_word(client, "EVALSHA");
        put_word(client, name);
    }
}

bool node_scripts_count(struct node_client *client, const char *key)
{
    size_t number = client->world->history.count;
    if (!client->world->profile.scripts || number % BY_SCRIPT != 0) {
        return false;
    }
    number /= BY_SCRIPT;
    if (number % FORGOTTEN == 1) {
        node_ask_prepare(client, "SCRIPT FLUSH");
    }
    buffer_append_string(&client->out, "*5\r\n");
    put_script(client, number);
    put_word(client, "1");
    put_word(client, key);
    put_word(client, "3");
    return true;
}

/* ---- in the end ---- */

static void final_text(int client, char ret_text[static TEXT_BYTES])
{
    (void)snprintf(ret_text, TEXT_BYTES, "return %d", client);
}

static int final_names(const struct node_world *world)
{
    return world->profile.clients < NODE_ELEMENTS ? world->profile.clients : NODE_ELEMENTS;
}

static void ask_exists(struct node_client *client)
{
    int count = final_names(client->world);
    buffer_append_format(&client->out, "*%d\r\n", count + 2);
    put_word(client, "SCRIPT");
    put_word(client, "EXISTS");
    for (int i = 0; i < count; i++) {
        char text[TEXT_BYTES], name[SCRIPT_SHA_BYTES + 1];
        final_text(i, text);
        name_of(text, name);
        put_word(client, name);
    }
}

void node_scripts_ask_finally(struct node_client *client)
{
    char text[TEXT_BYTES];
    final_text(client->number, text);
    switch (client->final_scripts) {
    case NODE_SCRIPTS_TELL: /* some by each of the ways */
        buffer_append_string(&client->out, client->number % 2 == 0 ? "*3\r\n" : "*3\r\n$4\r\nEVAL\r\n");
        if (client->number % 2 == 0) {
            put_word(client, "SCRIPT");
            put_word(client, "LOAD");
            put_word(client, text);
        } else {
            put_word(client, text);
            put_word(client, "0");
        }
        break;
    case NODE_SCRIPTS_FLUSH: node_request(client, "SCRIPT FLUSH"); break;
    default: ask_exists(client); break;
    }
    (void)node_expect(client, NODE_ASK_SCRIPTS);
}

void node_scripts_answered(struct node_client *client)
{
    const struct node_reply *reply = &client->reply;
    bool known = client->final_scripts == NODE_SCRIPTS_KNOWN, unknown = client->final_scripts == NODE_SCRIPTS_UNKNOWN;
    client->final_scripts = NODE_SCRIPTS_NOTHING;
    if (!known && !unknown) {
        return;
    }
    for (int i = 0; i < final_names(client->world); i++) {
        bool is = reply->type == RESP_ARRAY && reply->elements[i].integer == 1;
        if (is != known) {
            node_fail(client->world, "in the end node %d says that script %d is %s", client->node + 1, i + 1,
                      is ? "there, and all were forgotten" : "unknown, and a node was told it");
            return;
        }
    }
    node_reach(client->world, NODE_MARK_SCRIPTS_KNOWN, known);
}
