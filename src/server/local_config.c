#include "server/figures.h"
#include "server/local.h"

#include <stdio.h>

static void count_setting(void *owner, const char *name, const char *value)
{
    (void)name;
    (void)value;
    (*(size_t *)owner)++;
}

static void write_setting(void *owner, const char *name, const char *value)
{
    struct resp_writer *reply = owner;
    resp_bulk_string(reply, name);
    resp_bulk_string(reply, value);
}

void local_config_get(struct local_call *call)
{
    const struct config *config = &call->server->config;
    size_t count = 0;
    config_each(config, call->argv + 2, call->argc - 2, count_setting, &count);
    resp_map(call->reply, count);
    config_each(config, call->argv + 2, call->argc - 2, write_setting, call->reply);
}

static void refuse_setting(struct local_call *call, const char *name, const char *why)
{
    resp_error_format(call->reply, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, why);
}

static bool named_before(const struct local_call *call, uint32_t at, const char *name)
{
    for (uint32_t i = 2; i < at; i += 2) {
        if (slice_is_word(call->argv[i], name)) {
            return true;
        }
    }
    return false;
}

/* The names are looked at before any value, as in Redis. */
static bool names_hold(struct local_call *call)
{
    for (uint32_t i = 2; i < call->argc; i += 2) {
        struct slice given = call->argv[i];
        const char *name = NULL;
        enum config_result result = config_find(given, true, &name);
        if (result == CONFIG_UNKNOWN) {
            resp_error_format(call->reply, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                              (int)(given.size < 128 ? given.size : 128), (const char *)given.data);
            return false;
        }
        if (result == CONFIG_IMMUTABLE) {
            refuse_setting(call, name, "can't set immutable config");
            return false;
        }
        if (named_before(call, i, name)) {
            refuse_setting(call, name, "duplicate parameter");
            return false;
        }
    }
    return true;
}

/* All or nothing: a copy takes the values first. */
void local_config_set(struct local_call *call)
{
    if (call->argc % 2 != 0) {
        resp_error(call->reply, "ERR syntax error");
        return;
    }
    if (!names_hold(call)) {
        return;
    }
    struct config trial;
    char why[CONFIG_MESSAGE_BYTES] = "";
    config_copy(&trial, &call->server->config);
    for (uint32_t i = 2; i < call->argc; i += 2) {
        if (config_set(&trial, call->argv[i], call->argv[i + 1], true, why) != CONFIG_SET) {
            const char *name = NULL;
            (void)config_find(call->argv[i], true, &name);
            config_deinit(&trial);
            refuse_setting(call, name, why);
            return;
        }
    }
    int64_t clients = call->server->options.maxclients;
    if (clients != 0 && trial.maxclients > clients) {
        config_deinit(&trial);
        (void)snprintf(why, sizeof(why),
                       "The operating system is not able to handle the specified number of clients, try with %lld",
                       (long long)clients);
        refuse_setting(call, "maxclients", why);
        return;
    }
    config_deinit(&call->server->config);
    call->server->config = trial;
    server_apply_config(call->server);
    resp_status(call->reply, "OK");
}

void local_config_resetstat(struct local_call *call)
{
    figures_reset(call->server);
    resp_status(call->reply, "OK");
}

void local_config_rewrite(struct local_call *call)
{
    struct server *server = call->server;
    if (server->config.path[0] == '\0') {
        resp_error(call->reply, "ERR The server is running without a config file");
        return;
    }
    enum status status = server_rewrite_config(server);
    if (status != STATUS_OK) {
        resp_error_format(call->reply, "ERR Rewriting config file: %s", status_text(status));
        return;
    }
    env_log(server->env, ENV_LOG_INFO, "settings written to %s", server->config.path);
    resp_status(call->reply, "OK");
}
