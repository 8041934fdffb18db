/* One command that changes more than a history keeps, by up to fourteen times. Nobody else has such keys. */
#include "node_feeds.h"

#include <stdio.h>

enum { VALUE_BYTES = 120, HISTORIES = 14 };

static uint64_t draw(struct node_world *world, uint64_t bound) { return node_draw(world, SIM_DRAW_CLIENT, bound); }

void node_put_large_change(struct node_world *world, struct buffer *out)
{
    const char *tag = world->shards[1 + (int)draw(world, (uint64_t)world->profile.groups)].tag;
    size_t size = (size_t)draw(world, VALUE_BYTES);
    size_t total = (1 + (size_t)draw(world, HISTORIES)) * (size_t)world->feed_history_bytes;
    int count = (int)(total / (FEED_HEAD_BYTES + 9 + size)) + 1;
    buffer_append_format(out, "*%d\r\n$4\r\nMSET\r\n", 1 + 2 * count);
    for (int i = 0; i < count; i++) {
        char key[64];
        int key_size = snprintf(key, sizeof(key), "{%s}z%d", tag, i);
        buffer_append_format(out, "$%d\r\n%s\r\n$%zu\r\n%0*d\r\n", key_size, key, size + 1, (int)size + 1, 7);
    }
}
