#include "server/local.h"

#include "command/command_reply.h"
#include "server/pubsub.h"
#include "server/scripts.h"

#include "base/assert.h"

static void local_command(struct local_call *call) { command_reply(call->command, call->reply); }

static void (*const handlers[COMMAND_MAXIMUM])(struct local_call *call) = {
    [COMMAND_HELLO] = local_hello,
    [COMMAND_AUTH] = local_auth,
    [COMMAND_PING] = local_ping,
    [COMMAND_ECHO] = local_echo,
    [COMMAND_SELECT] = local_select,
    [COMMAND_QUIT] = local_quit,
    [COMMAND_RESET] = local_reset,
    [COMMAND_UNWATCH] = local_unwatch,
    [COMMAND_CLIENT_ID] = local_client_id,
    [COMMAND_CLIENT_INFO] = local_client_info,
    [COMMAND_CLIENT_LIST] = local_client_list,
    [COMMAND_CLIENT_GETNAME] = local_client_getname,
    [COMMAND_CLIENT_SETNAME] = local_client_setname,
    [COMMAND_CLIENT_KILL] = local_client_kill,
    [COMMAND_CLIENT_NO_EVICT] = local_client_no_evict,
    [COMMAND_CLIENT_PAUSE] = local_client_pause,
    [COMMAND_CLIENT_UNPAUSE] = local_client_unpause,
    [COMMAND_CLIENT_REPLY] = local_client_reply,
    [COMMAND_CLIENT_UNBLOCK] = local_client_unblock,
    [COMMAND_CLIENT_GETREDIR] = local_client_getredir,
    [COMMAND_CLUSTER_SLOTS] = local_cluster_slots,
    [COMMAND_CLUSTER_SHARDS] = local_cluster_shards,
    [COMMAND_CLUSTER_NODES] = local_cluster_nodes,
    [COMMAND_CLUSTER_INFO] = local_cluster_info,
    [COMMAND_CLUSTER_MYID] = local_cluster_myid,
    [COMMAND_CLUSTER_KEYSLOT] = local_cluster_keyslot,
    [COMMAND_CLUSTER_COUNTKEYSINSLOT] = local_cluster_countkeysinslot,
    [COMMAND_READONLY_COMMAND] = local_readonly,
    [COMMAND_READWRITE] = local_readwrite,
    [COMMAND_COMMAND] = local_command,
    [COMMAND_COMMAND_COUNT] = local_command,
    [COMMAND_COMMAND_DOCS] = local_command,
    [COMMAND_COMMAND_INFO] = local_command,
    [COMMAND_COMMAND_LIST] = local_command,
    [COMMAND_COMMAND_GETKEYS] = local_command,
    [COMMAND_COMMAND_GETKEYSANDFLAGS] = local_command,
    [COMMAND_CLIENT_HELP] = local_command,
    [COMMAND_CLUSTER_HELP] = local_command,
    [COMMAND_COMMAND_HELP] = local_command,
    [COMMAND_CONFIG_HELP] = local_command,
    [COMMAND_SLOWLOG_HELP] = local_command,
    [COMMAND_OBJECT_HELP] = local_command,
    [COMMAND_SCRIPT_HELP] = local_command,
    [COMMAND_SCRIPT_LOAD] = local_script_load,
    [COMMAND_SCRIPT_EXISTS] = local_script_exists,
    [COMMAND_SCRIPT_FLUSH] = local_script_flush,
    [COMMAND_SUBSCRIBE] = local_subscribe,
    [COMMAND_UNSUBSCRIBE] = local_unsubscribe,
    [COMMAND_PSUBSCRIBE] = local_psubscribe,
    [COMMAND_PUNSUBSCRIBE] = local_punsubscribe,
    [COMMAND_SSUBSCRIBE] = local_ssubscribe,
    [COMMAND_SUNSUBSCRIBE] = local_sunsubscribe,
    [COMMAND_PUBLISH] = local_publish,
    [COMMAND_SPUBLISH] = local_spublish,
    [COMMAND_PUBSUB_CHANNELS] = local_pubsub_channels,
    [COMMAND_PUBSUB_NUMSUB] = local_pubsub_numsub,
    [COMMAND_PUBSUB_NUMPAT] = local_pubsub_numpat,
    [COMMAND_PUBSUB_SHARDCHANNELS] = local_pubsub_shardchannels,
    [COMMAND_PUBSUB_SHARDNUMSUB] = local_pubsub_shardnumsub,
    [COMMAND_PUBSUB_HELP] = local_command,
    [COMMAND_INFO] = local_info,
    [COMMAND_CONFIG_GET] = local_config_get,
    [COMMAND_CONFIG_SET] = local_config_set,
    [COMMAND_CONFIG_RESETSTAT] = local_config_resetstat,
    [COMMAND_CONFIG_REWRITE] = local_config_rewrite,
    [COMMAND_TIME] = local_time,
    [COMMAND_WAIT] = local_wait,
    [COMMAND_MONITOR] = local_monitor,
    [COMMAND_SLOWLOG_GET] = local_slowlog_get,
    [COMMAND_SLOWLOG_LEN] = local_slowlog_len,
    [COMMAND_SLOWLOG_RESET] = local_slowlog_reset,
    [COMMAND_DEBUG] = local_debug,
    [COMMAND_SHUTDOWN] = local_shutdown,
    [COMMAND_COHORT_STATUS] = local_status,
    [COMMAND_COHORT_CONSISTENCY] = local_consistency,
    [COMMAND_COHORT_POSITION] = local_position,
};

static void execute(struct local_call *call)
{
    uint16_t id = call->command->spec->id;
    ASSERT(id < COMMAND_MAXIMUM && handlers[id] != NULL);
    handlers[id](call);
}

static void copy_part(void *owner, struct slice part) { resp_raw(owner, part); }

void local_execute(struct connection *connection, const struct command *command, struct resp_writer *reply)
{
    struct local_call call = {
        .server = connection->server,
        .connection = connection,
        .command = command,
        .argv = command->argv,
        .argc = command->argc,
        .reply = reply,
        .round = connection->round,
        .is_local = connection_is_local(connection),
    };
    if (call.round != NULL && round_takes_first(command->spec)) {
        round_each(call.round, copy_part, reply); /* it was executed there */
    } else {
        execute(&call);
    }
}

void local_execute_for(struct server *server, const struct command *command, struct resp_writer *reply)
{
    struct local_call call = {
        .server = server, .command = command, .argv = command->argv, .argc = command->argc, .reply = reply};
    execute(&call);
}

bool local_needs_quiet(const struct command_spec *spec)
{
    switch (spec->id) {
    case COMMAND_WAIT:
    case COMMAND_MONITOR:
    case COMMAND_DEBUG:
    case COMMAND_SHUTDOWN:
    case COMMAND_CLUSTER_COUNTKEYSINSLOT:
    case COMMAND_COHORT_CONSISTENCY:
    case COMMAND_COHORT_POSITION:
    case COMMAND_INFO:
    case COMMAND_COHORT_STATUS:
    case COMMAND_CONFIG_SET:
    case COMMAND_CLIENT_PAUSE:
    case COMMAND_CLIENT_KILL: return true;
    default: return pubsub_takes(spec);
    }
}
