/* Configuration files: any bytes give settings or a message. What is read survives CONFIG REWRITE: the rewritten file
 * gives the same settings, and rewriting it again changes nothing. */
#include "fuzz.h"
#include "server/config.h"

static void add_setting(void *owner, const char *name, const char *value)
{
    buffer_append_format(owner, "%s=%s\n", name, value);
}

static struct buffer dump(const struct config *config)
{
    struct buffer out;
    buffer_init(&out);
    struct slice all = SLICE_LITERAL("*");
    config_each(config, &all, 1, add_setting, &out);
    return out;
}

static struct buffer rewrite(const struct config *config, struct slice text)
{
    struct buffer out;
    buffer_init(&out);
    config_rewrite(config, text, &out);
    return out;
}

static void check_rewrite(const struct config *config, struct slice text)
{
    struct buffer rewritten = rewrite(config, text);
    struct config again;
    char message[CONFIG_MESSAGE_BYTES];
    config_init(&again);
    ASSERT(config_parse(&again, buffer_slice(&rewritten), "again", message) == STATUS_OK);
    struct buffer before = dump(config);
    struct buffer after = dump(&again);
    ASSERT(slice_equal(buffer_slice(&before), buffer_slice(&after)));
    struct buffer twice = rewrite(&again, buffer_slice(&rewritten));
    ASSERT(slice_equal(buffer_slice(&rewritten), buffer_slice(&twice)));
    buffer_deinit(&before);
    buffer_deinit(&after);
    buffer_deinit(&rewritten);
    buffer_deinit(&twice);
    config_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct config config;
    char message[CONFIG_MESSAGE_BYTES];
    memset(message, 'x', sizeof(message));
    config_init(&config);
    if (config_parse(&config, text, "file", message) == STATUS_OK) {
        check_rewrite(&config, text);
    } else {
        ASSERT(memchr(message, '\0', sizeof(message)) != NULL);
    }
    config_deinit(&config);
    return 0;
}
