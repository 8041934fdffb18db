/* The node's settings: one table says name, kind, limits, default and whether it can change while running. They come
 * from a file (`name = value` lines), then from the command line, then from CONFIG SET.
 *
 * Sizes take 64, 64b, 64kb, 64mb, 64gb (powers of 1024; k m g: powers of 1000, as Redis). */
#pragma once

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"
#include "server/output_limit.h"

enum config_choice_debug { CONFIG_DEBUG_NO, CONFIG_DEBUG_YES, CONFIG_DEBUG_LOCAL };

struct config {
    int64_t maxmemory_bytes; /* 0: no limit */
    int64_t maxclients;
    int64_t timeout_s; /* idle clients are closed after this; 0: never */
    int64_t proto_max_bulk_bytes;
    int64_t client_query_buffer_bytes;
    struct output_limits client_output; /* a client with more unread than this is closed */
    int64_t maxmemory_clients_bytes;    /* all clients' buffers together; above it the largest is closed */
    int64_t command_timeout_ms;
    int64_t shutdown_timeout_s;
    int64_t slowlog_log_slower_than_us; /* negative: off */
    int64_t slowlog_max_len;
    int64_t snapshot_log_bytes;
    int64_t log_segment_bytes;
    uint32_t turn_steps; /* as store_options.turn_steps; no setting: for the simulator */
    int64_t protected_mode;
    int64_t debug_command;          /* enum config_choice_debug */
    int64_t log_level;              /* enum env_log_level */
    int64_t log_format;             /* 0 text, 1 json */
    int64_t notify_keyspace_events; /* notify.h */
    int64_t max_subscriptions, max_client_subscriptions, max_patterns;
    int64_t txn_protocol; /* 0 2pc, 1 3pc */
    int64_t txn_id_kept_ms;
    int64_t feeds_maximum;      /* at one time */
    int64_t feed_output_bytes;  /* unread of a client, beyond which its feeds wait */
    int64_t feed_history_bytes; /* that each shard keeps for feeds */
    int64_t feed_history_ms;    /* since they were wanted last */
    int64_t workers;            /* as asked for; 0: as many as the data folder was made with, or 1 */
    char *requirepass;          /* never NULL */
    char *metrics;              /* HOST:PORT or "" */
    char *path;                 /* of the file that was read, "" when none */
};

void config_init(struct config *config);
void config_deinit(struct config *config);
/* Makes *config (not initialised) an independent copy. */
void config_copy(struct config *config, const struct config *from);
enum { CONFIG_FILE_BYTES = 1 << 20 }; /* the largest file that is read */

enum config_result {
    CONFIG_SET,
    CONFIG_UNKNOWN,
    CONFIG_IMMUTABLE,
    CONFIG_INVALID, /* the message says what it takes */
};

enum { CONFIG_MESSAGE_BYTES = 256 };

/* Whether a setting may be set; *ret_name is its own name (static storage), untouched when there is none. */
enum config_result config_find(struct slice name, bool running, const char **ret_name);
/* Sets one setting. `running` refuses what cannot change while the node runs. On CONFIG_INVALID ret_message says why.
 */
enum config_result config_set(struct config *config, struct slice name, struct slice value, bool running,
                              char ret_message[static CONFIG_MESSAGE_BYTES]);
/* Calls for each setting whose name matches one of the glob patterns. */
void config_each(const struct config *config, const struct slice *patterns, size_t pattern_count,
                 void (*each)(void *owner, const char *name, const char *value), void *owner);

/* As config_each, for the settings that can be given at start; `help` says in some words what each takes and does. */
void config_each_settable(const struct config *config,
                          void (*each)(void *owner, const char *name, const char *value, const char *help),
                          void *owner);

/* Takes the text of a configuration file. STATUS_INVALID with a message that names line and setting. */
MUST_USE enum status config_parse(struct config *config, struct slice text, const char *path,
                                  char ret_message[static CONFIG_MESSAGE_BYTES]);
/* The text of a file that gives these settings: lines of `text` kept, changed values replaced, missing ones appended.
 */
void config_rewrite(const struct config *config, struct slice text, struct buffer *out);
