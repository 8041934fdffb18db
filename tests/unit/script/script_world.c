#include "script_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "env/fixed_memory.h"

static uint64_t answer(void *context, const struct slice *argv, uint32_t argc, int protocol, struct buffer *reply)
{
    struct script_world *world = context;
    struct resp_writer writer = resp_writer_to(reply, protocol);
    for (uint32_t i = 0; i < argc; i++) {
        buffer_append_slice(&world->calls, argv[i]);
        buffer_append_byte(&world->calls, i + 1 < argc ? ' ' : '\n');
    }
    if (slice_is_word(argv[0], "echo") && argc == 2) {
        resp_bulk(&writer, argv[1]);
    } else if (slice_is_word(argv[0], "ping")) {
        resp_status(&writer, "PONG");
    } else if (slice_is_word(argv[0], "answer")) {
        buffer_append_string(reply, world->answer);
    } else {
        resp_error(&writer, "ERR Unknown Redis command called from script");
    }
    return 1;
}

static bool knows(void *context, struct slice name) { return slice_is_word(name, "echo"); }

int script_world_setup(void **state)
{
    static struct script_world world;
    world = (struct script_world){.protocol = RESP2, .budget = SCRIPT_BUDGET, .memory_bytes = SCRIPT_MEMORY_BYTES};
    assert_int_equal(fixed_memory_map(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES), STATUS_OK);
    struct script_place place = {.region = (void *)SCRIPT_ADDRESS, .release = fixed_memory_release, .verify = true};
    world.engine = script_engine_open(&place);
    *state = &world;
    return 0;
}

int script_world_teardown(void **state)
{
    struct script_world *world = *state;
    int mistakes = world->mistakes;
    script_engine_close(world->engine);
    fixed_memory_unmap(SCRIPT_ADDRESS, SCRIPT_REGION_BYTES);
    buffer_deinit(&world->reply);
    buffer_deinit(&world->calls);
    return mistakes == 0 ? 0 : -1;
}

/* Another run behind it: verify compares the memory that it finds with its image. */
static void follow(struct script_engine *engine, const struct script_host *host)
{
    struct script_run run = {
        .source = SLICE_LITERAL("return 1"), .budget = SCRIPT_BUDGET, .memory_bytes = SCRIPT_MEMORY_BYTES};
    struct resp_writer nowhere = resp_writer_to(NULL, RESP2);
    uint64_t used;
    assert_int_equal(script_run(engine, &run, host, &nowhere, &used), SCRIPT_RETURNED);
}

const char *script_world_run_bytes(struct script_world *world, struct slice source)
{
    const struct slice keys[] = {SLICE_LITERAL("k1"), SLICE_LITERAL("k2")}, args[] = {SLICE_LITERAL("a1")};
    struct script_run run = {.source = source,
                             .keys = keys,
                             .args = args,
                             .key_count = 2,
                             .arg_count = 1,
                             .seed = world->seed,
                             .budget = world->budget,
                             .memory_bytes = world->memory_bytes};
    struct script_host host = {.context = world, .call = answer, .knows = knows};
    buffer_clear(&world->reply);
    buffer_clear(&world->calls);
    struct resp_writer writer = resp_writer_to(&world->reply, world->protocol);
    world->end = script_run(world->engine, &run, &host, &writer, &world->used);
    follow(world->engine, &host);
    for (size_t i = 0; i + 1 < world->reply.size; i++) {
        if (world->reply.data[i] == '\r') {
            world->reply.data[i] = '~';
            memmove(world->reply.data + i + 1, world->reply.data + i + 2, world->reply.size - i - 2);
            world->reply.size--;
        }
    }
    buffer_append_byte(&world->reply, '\0');
    return (const char *)world->reply.data;
}

const char *script_world_run(struct script_world *world, const char *source)
{
    return script_world_run_bytes(world, slice_from_string(source));
}

/* The reply with "<sha>" in the place of the script's. */
static void hide_sha(char *reply)
{
    static const char before[] = " script: ";
    char *at = strstr(reply, before);
    if (at != NULL && strspn(at + sizeof(before) - 1, "0123456789abcdef") == SCRIPT_SHA_BYTES) {
        char *sha = at + sizeof(before) - 1;
        memcpy(sha, "<sha>", 5);
        memmove(sha + 5, sha + SCRIPT_SHA_BYTES, strlen(sha + SCRIPT_SHA_BYTES) + 1);
    }
}

void expect_reply(struct script_world *world, const char *source, const char *reply)
{
    (void)script_world_run(world, source);
    hide_sha((char *)world->reply.data);
    if (strcmp((char *)world->reply.data, reply) != 0) {
        print_error("%s\n  gives   %.300s\n  and not %.300s\n", source, (char *)world->reply.data, reply);
        world->mistakes++;
    }
}

void expect_text(struct script_world *world, const char *expression, const char *text)
{
    char source[4096], reply[4096];
    (void)snprintf(source, sizeof(source), "return tostring(%s)", expression);
    (void)snprintf(reply, sizeof(reply), "$%zu~%s~", strlen(text), text);
    expect_reply(world, source, reply);
}
