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

/* All or nothing: a copy takes the values first. */
void local_config_set(struct local_call *call)
{
    if (call->argc % 2 != 0) {
        resp_error(call->reply, "ERR wrong number of arguments for 'config|set' command");
        return;
    }
    struct config trial;
    char why[CONFIG_MESSAGE_BYTES] = "";
    config_copy(&trial, &call->server->config);
    for (uint32_t i = 2; i < call->argc; i += 2) {
        struct slice name = call->argv[i];
        enum config_result result = config_set(&trial, name, call->argv[i + 1], true, why);
        if (result == CONFIG_SET) {
            continue;
        }
        config_deinit(&trial);
        if (result == CONFIG_UNKNOWN) {
            resp_error_format(call->reply, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                              (int)(name.size < 128 ? name.size : 128), (const char *)name.data);
        } else {
            resp_error_format(call->reply, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
                              (int)name.size, (const char *)name.data,
                              result == CONFIG_IMMUTABLE ? "can't set immutable config" : why);
        }
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
