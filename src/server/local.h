/* Commands about the connection and the node. Each writes exactly one reply. */
#pragma once

#include "server/round.h"
#include "server/server_state.h"

struct local_call {
    struct server *server;
    struct connection *connection;
    const struct command *command;
    const struct slice *argv;
    uint32_t argc;
    struct resp_writer *reply;
    const struct round *round; /* the parts of other workers (round.h); NULL: there are none */
    bool is_local;             /* the client is on this machine */
};

/* local_connection.c */
void local_hello(struct local_call *call);
void local_auth(struct local_call *call);
void local_ping(struct local_call *call);
void local_echo(struct local_call *call);
void local_select(struct local_call *call);
void local_quit(struct local_call *call);
void local_reset(struct local_call *call);
void local_unwatch(struct local_call *call);
/* local_client.c */
void local_client_id(struct local_call *call);
void local_client_info(struct local_call *call);
void local_client_list(struct local_call *call);
void local_client_getname(struct local_call *call);
void local_client_setname(struct local_call *call);
void local_client_kill(struct local_call *call);
void local_client_no_evict(struct local_call *call);
void local_client_pause(struct local_call *call);
void local_client_unpause(struct local_call *call);
void local_client_reply(struct local_call *call);
void local_client_unblock(struct local_call *call);
void local_client_getredir(struct local_call *call);
/* local_cluster.c */
void local_cluster_slots(struct local_call *call);
void local_cluster_shards(struct local_call *call);
void local_cluster_nodes(struct local_call *call);
void local_cluster_info(struct local_call *call);
void local_cluster_myid(struct local_call *call);
void local_cluster_keyslot(struct local_call *call);
void local_cluster_countkeysinslot(struct local_call *call);
/* consistency.c */
void local_consistency(struct local_call *call);
void local_position(struct local_call *call);
void local_readonly(struct local_call *call);
void local_readwrite(struct local_call *call);
/* local_config.c */
void local_config_get(struct local_call *call);
void local_config_set(struct local_call *call);
void local_config_resetstat(struct local_call *call);
void local_config_rewrite(struct local_call *call);
/* local_info.c */
void local_info(struct local_call *call);
/* local_status.c */
void local_status(struct local_call *call);
/* local_node.c */
void local_time(struct local_call *call);
void local_wait(struct local_call *call);
void local_monitor(struct local_call *call);
void local_slowlog_get(struct local_call *call);
void local_slowlog_len(struct local_call *call);
void local_slowlog_reset(struct local_call *call);
void local_debug(struct local_call *call);
void local_shutdown(struct local_call *call);

/* ---- what another worker than the client's has to do for a command (round.h) ---- */
void local_client_list_part(const struct local_call *call, struct buffer *out);
void local_client_kill_part(const struct local_call *call, struct buffer *out);
void local_client_pause_part(const struct local_call *call);
void local_client_unblock_part(const struct local_call *call, struct buffer *out);
void local_client_unpause_part(const struct local_call *call);
void local_cluster_countkeysinslot_part(const struct local_call *call, struct buffer *out);
void local_debug_part(const struct local_call *call, struct buffer *out);
/* For a client of another worker. */
void local_execute_for(struct server *server, const struct command *command, struct resp_writer *reply);

/* Answers a command of place COMMAND_AT_SERVER other than those of MULTI; `reply` is where. */
void local_execute(struct connection *connection, const struct command *command, struct resp_writer *reply);
/* The protocol that a HELLO will set, when it is one that will succeed; else *protocol stays. */
void local_hello_protocol(struct connection *connection, const struct command *command, uint8_t *protocol);
/* How long DEBUG SLEEP asks to sleep; 0 for all else, negative when malformed. */
int64_t local_sleep_ns(const struct command *command);
/* True when the command looks at, or waits for, what earlier commands of its client do: it is held back while any is
 * pending. */
bool local_needs_quiet(const struct command_spec *spec);

static inline bool local_word(const struct local_call *call, uint32_t at, const char *word)
{
    return at < call->argc && slice_is_word(call->argv[at], word);
}
/* Compares with the password in a time that does not depend on where they differ. */
bool local_password_ok(const struct server *server, struct slice password);
