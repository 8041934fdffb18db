#include "server/config.h"

#include "base/glob.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/units.h"
#include "cluster/workers.h"
#include "env/env.h"
#include "machine/feed/feed_log.h"
#include "machine/txn/txn_limits.h"
#include "server/notify.h"

#include <ctype.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

enum setting_kind {
    SETTING_INTEGER,
    SETTING_SIZE,
    SETTING_CHOICE,
    SETTING_STRING,
    SETTING_LIMITS,
    SETTING_NOTIFY,
    SETTING_FIXED
};

struct setting {
    const char *name;
    enum setting_kind kind;
    bool immutable;
    size_t offset;
    int64_t minimum, maximum, standard;
    const char *const *choices; /* NULL-terminated; the value is the place in it */
    const char *text;           /* of a fixed setting, or the standard of a string */
    const char *help;           /* for --help; of all but fixed ones */
};

static const char *const yes_no[] = {"no", "yes", NULL};
static const char *const debug_choices[] = {"no", "yes", "local", NULL};
static const char *const level_choices[] = {"debug", "notice", "warning", "error", NULL};
static const char *const protocol_choices[] = {"2pc", "3pc", NULL};
static const char *const format_choices[] = {"text", "json", NULL};

#define AT(member) offsetof(struct config, member)
#define MEGABYTE (INT64_C(1) << 20)

/* In order of name. */
static const struct setting settings[] = {
    {"appendfsync", SETTING_FIXED, .text = "always"},
    {"appendonly", SETTING_FIXED, .text = "yes"},
    {"client-output-buffer-limit", SETTING_LIMITS, false, AT(client_output),
     .help = "CLASS HARD SOFT S; more unread: closed"},
    {"client-query-buffer-limit", SETTING_SIZE, false, AT(client_query_buffer_bytes), MEGABYTE, INT64_C(1) << 40,
     1024 * MEGABYTE, .help = "size; a client with a larger request is closed"},
    {"command-timeout", SETTING_INTEGER, false, AT(command_timeout_ms), 100, 3600000, 10000,
     .help = "ms; what takes longer is answered -UNCERTAIN"},
    {"databases", SETTING_FIXED, .text = "1"},
    {"enable-debug-command", SETTING_CHOICE, true, AT(debug_command), 0, 2, CONFIG_DEBUG_NO, debug_choices,
     .help = "no, yes, local; whether DEBUG SLEEP may be used"},
    {"feed-history-bytes", SETTING_SIZE, false, AT(feed_history_bytes), 65536, 1024 * MEGABYTE, 4 * MEGABYTE,
     .help = "kept by each shard for feeds, and eight times that for two seconds"},
    {"feed-history-ms", SETTING_INTEGER, false, AT(feed_history_ms), 1000, FEED_KEPT_MAXIMUM_MS, 600000,
     .help = "ms; how long they are kept when nobody follows"},
    {"feed-max", SETTING_INTEGER, false, AT(feeds_maximum), 1, 1000000, 100000,
     .help = "feeds at one time; more are refused"},
    {"feed-output-bytes", SETTING_SIZE, false, AT(feed_output_bytes), 4096, 64 * MEGABYTE, 65536,
     .help = "what a client has unread beyond which its feeds wait"},
    {"hash-max-listpack-entries", SETTING_FIXED, .text = "128"},
    {"hash-max-listpack-value", SETTING_FIXED, .text = "64"},
    {"log-format", SETTING_CHOICE, true, AT(log_format), 0, 1, 0, format_choices,
     .help = "text, json; of the lines on standard error"},
    {"log-segment-size", SETTING_SIZE, true, AT(log_segment_bytes), 65536, 1024 * MEGABYTE, 16 * MEGABYTE,
     .help = "size of one file of the log"},
    {"loglevel", SETTING_CHOICE, false, AT(log_level), 0, 3, ENV_LOG_INFO, level_choices,
     .help = "debug, notice, warning, error"},
    {"max-client-subscriptions", SETTING_INTEGER, false, AT(max_client_subscriptions), 0, 100000000, 65536,
     .help = "to channels and patterns, of one client"},
    {"max-patterns", SETTING_INTEGER, false, AT(max_patterns), 0, 1000000, 10000,
     .help = "of all clients; each message is matched with all"},
    {"max-subscriptions", SETTING_INTEGER, false, AT(max_subscriptions), 0, 100000000, 1000000,
     .help = "to channels and patterns, of all clients"},
    {"maxclients", SETTING_INTEGER, false, AT(maxclients), 1, 1000000, 10000,
     .help = "clients at one time; more are refused"},
    {"maxmemory", SETTING_SIZE, false, AT(maxmemory_bytes), 0, INT64_MAX, 0,
     .help = "size of all data; beyond it writes get -OOM; 0: no limit"},
    {"maxmemory-clients", SETTING_SIZE, false, AT(maxmemory_clients_bytes), 16 * MEGABYTE, INT64_C(1) << 44,
     2048 * MEGABYTE, .help = "all clients' buffers; beyond it the largest goes"},
    {"maxmemory-policy", SETTING_FIXED, .text = "noeviction"},
    {"metrics", SETTING_STRING, true, AT(metrics), .text = "",
     .help = "HOST:PORT for GET /metrics, Prometheus text; empty: none"},
    {"notify-keyspace-events", SETTING_NOTIFY, false, AT(notify_keyspace_events),
     .help = "events that clients here can hear of: KEA"},
    {"proto-max-bulk-len", SETTING_SIZE, false, AT(proto_max_bulk_bytes), 1024, 512 * MEGABYTE, 512 * MEGABYTE,
     .help = "size of the largest argument"},
    {"protected-mode", SETTING_CHOICE, false, AT(protected_mode), 0, 1, 1, yes_no,
     .help = "no, yes; without a password serve loopback only"},
    {"requirepass", SETTING_STRING, false, AT(requirepass), .text = "",
     .help = "password that AUTH and HELLO ask for; empty: none"},
    {"save", SETTING_FIXED, .text = ""},
    {"shutdown-timeout", SETTING_INTEGER, false, AT(shutdown_timeout_s), 0, 3600, 10,
     .help = "s; how long a stop waits for answers to be sent"},
    {"slowlog-log-slower-than", SETTING_INTEGER, false, AT(slowlog_log_slower_than_us), -1, INT64_MAX, 10000,
     .help = "microseconds; slower commands go to SLOWLOG; -1: none"},
    {"slowlog-max-len", SETTING_INTEGER, false, AT(slowlog_max_len), 0, 100000, 128,
     .help = "entries that SLOWLOG keeps"},
    {"snapshot-log-size", SETTING_SIZE, true, AT(snapshot_log_bytes), MEGABYTE, INT64_C(1) << 40, 64 * MEGABYTE,
     .help = "size of new log after which a snapshot is written"},
    {"timeout", SETTING_INTEGER, false, AT(timeout_s), 0, INT32_MAX, 0,
     .help = "s; idle clients are closed after it; 0: never"},
    {"txn-id-kept", SETTING_INTEGER, false, AT(txn_id_kept_ms), TXN_ID_KEPT_MINIMUM_MS, TXN_ID_KEPT_MAXIMUM_MS,
     TXN_ID_KEPT_MS, .help = "ms; how long the ids of TXN.BEGIN ID are remembered"},
    {"txn-protocol", SETTING_CHOICE, false, AT(txn_protocol), 0, 1, 0, protocol_choices,
     .help = "2pc, 3pc; of transactions over several shards"},
    {"workers", SETTING_INTEGER, true, AT(workers), 0, WORKERS_MAXIMUM, 0,
     .help = "threads; 0: as the folder was made, or 1"},
};

enum { SETTING_COUNT = sizeof(settings) / sizeof(settings[0]), VALUE_BYTES = 512 };
enum { LINE_BYTES = 198 /* the parser's longest */, TEXT_BYTES = 160 };

static int64_t *number_at(const struct config *config, const struct setting *setting)
{
    return (int64_t *)((char *)(uintptr_t)config + setting->offset);
}

static char **string_at(const struct config *config, const struct setting *setting)
{
    return (char **)((char *)(uintptr_t)config + setting->offset);
}

static struct output_limits *limits_at(const struct config *config, const struct setting *setting)
{
    return (struct output_limits *)((char *)(uintptr_t)config + setting->offset);
}

void config_init(struct config *config)
{
    *config = (struct config){0};
    config->path = memory_copy_text("");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        if (setting->kind == SETTING_STRING) {
            *string_at(config, setting) = memory_copy_text(setting->text);
        } else if (setting->kind == SETTING_LIMITS) {
            *limits_at(config, setting) = OUTPUT_LIMITS_STANDARD;
        } else if (setting->kind != SETTING_FIXED) {
            *number_at(config, setting) = setting->standard;
        }
    }
}

void config_deinit(struct config *config)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (settings[i].kind == SETTING_STRING) {
            free(*string_at(config, &settings[i]));
        }
    }
    free(config->path);
    *config = (struct config){0};
}

void config_copy(struct config *config, const struct config *from)
{
    *config = *from;
    config->path = memory_copy_text(from->path);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (settings[i].kind == SETTING_STRING) {
            *string_at(config, &settings[i]) = memory_copy_text(*string_at(from, &settings[i]));
        }
    }
}

static const struct setting *setting_find(struct slice name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (slice_is_word(name, settings[i].name)) {
            return &settings[i];
        }
    }
    return NULL;
}

static enum config_result set_number(const struct config *config, const struct setting *setting, bool parsed,
                                     int64_t value, char ret_message[static CONFIG_MESSAGE_BYTES])
{
    if (!parsed) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "argument %s",
                       setting->kind == SETTING_SIZE ? "must be a memory value" : "couldn't be parsed into an integer");
        return CONFIG_INVALID;
    }
    if (value < setting->minimum || value > setting->maximum) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "argument must be between %lld and %lld inclusive",
                       (long long)setting->minimum, (long long)setting->maximum);
        return CONFIG_INVALID;
    }
    *number_at(config, setting) = value;
    return CONFIG_SET;
}

static enum config_result set_choice(const struct config *config, const struct setting *setting, struct slice value,
                                     char ret_message[static CONFIG_MESSAGE_BYTES])
{
    size_t size = (size_t)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "argument(s) must be one of the following: ");
    for (int64_t i = 0; setting->choices[i] != NULL; i++) {
        if (slice_is_word(value, setting->choices[i])) {
            *number_at(config, setting) = i;
            return CONFIG_SET;
        }
        size += (size_t)snprintf(ret_message + size, CONFIG_MESSAGE_BYTES - size, "%s%s", i == 0 ? "" : ", ",
                                 setting->choices[i]);
    }
    return CONFIG_INVALID;
}

/* A text that a line of the file can hold: it must come back as it is from CONFIG REWRITE and a restart, so no control
 * characters, no blanks around it, and nothing that the file's parser takes for the start of a comment. */
static bool is_line_text(struct slice text)
{
    if (text.size >= TEXT_BYTES || (text.size != 0 && (text.data[0] == ' ' || text.data[text.size - 1] == ' '))) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        bool comment = text.data[i] == ';' && (i == 0 || text.data[i - 1] == ' ');
        if (comment || text.data[i] < ' ' || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum config_result set_limits(const struct config *config, const struct setting *setting, struct slice value,
                                     char ret_message[static CONFIG_MESSAGE_BYTES])
{
    const char *wrong = output_limits_parse(value, limits_at(config, setting));
    if (wrong != NULL) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "%s", wrong);
    }
    return wrong == NULL ? CONFIG_SET : CONFIG_INVALID;
}

static enum config_result set_notify(const struct config *config, const struct setting *setting, struct slice value,
                                     char ret_message[static CONFIG_MESSAGE_BYTES])
{
    bool parsed = notify_parse(value, number_at(config, setting));
    if (!parsed) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }
    return parsed ? CONFIG_SET : CONFIG_INVALID;
}

enum config_result config_find(struct slice name, bool running, const char **ret_name)
{
    const struct setting *setting = setting_find(name);
    if (setting == NULL) {
        return CONFIG_UNKNOWN;
    }
    *ret_name = setting->name;
    return setting->kind == SETTING_FIXED || (running && setting->immutable) ? CONFIG_IMMUTABLE : CONFIG_SET;
}

enum config_result config_set(struct config *config, struct slice name, struct slice value, bool running,
                              char ret_message[static CONFIG_MESSAGE_BYTES])
{
    const char *own_name = NULL;
    enum config_result found = config_find(name, running, &own_name);
    if (found != CONFIG_SET) {
        return found;
    }
    const struct setting *setting = setting_find(name);
    int64_t number = 0;
    bool parsed = false;
    switch (setting->kind) {
    case SETTING_INTEGER:
        parsed = number_parse_int64(value, &number);
        return set_number(config, setting, parsed, number, ret_message);
    case SETTING_SIZE:
        parsed = units_parse_size(value, &number);
        return set_number(config, setting, parsed, number, ret_message);
    case SETTING_CHOICE: return set_choice(config, setting, value, ret_message);
    case SETTING_LIMITS: return set_limits(config, setting, value, ret_message);
    case SETTING_NOTIFY: return set_notify(config, setting, value, ret_message);
    case SETTING_STRING:
    case SETTING_FIXED: break;
    }
    if (!is_line_text(value)) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES,
                       "argument must be one line of at most %d bytes, without blanks around it and without ' ;'",
                       TEXT_BYTES - 1);
        return CONFIG_INVALID;
    }
    char *copy = memory_make_text(value.data, value.size);
    free(*string_at(config, setting));
    *string_at(config, setting) = copy;
    return CONFIG_SET;
}

static const char *value_text(const struct config *config, const struct setting *setting, char text[static VALUE_BYTES])
{
    switch (setting->kind) {
    case SETTING_FIXED: return setting->text;
    case SETTING_STRING: return *string_at(config, setting);
    case SETTING_CHOICE: return setting->choices[*number_at(config, setting)];
    case SETTING_LIMITS: output_limits_format(limits_at(config, setting), text); return text;
    case SETTING_NOTIFY: notify_format(*number_at(config, setting), text); return text;
    case SETTING_INTEGER:
    case SETTING_SIZE: break;
    }
    (void)snprintf(text, VALUE_BYTES, "%lld", (long long)*number_at(config, setting));
    return text;
}

void config_each(const struct config *config, const struct slice *patterns, size_t pattern_count,
                 void (*each)(void *owner, const char *name, const char *value), void *owner)
{
    char text[VALUE_BYTES];
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        for (size_t p = 0; p < pattern_count; p++) {
            if (glob_match(patterns[p], slice_from_string(settings[i].name), true)) {
                each(owner, settings[i].name, value_text(config, &settings[i], text));
                break;
            }
        }
    }
}

void config_each_settable(const struct config *config,
                          void (*each)(void *owner, const char *name, const char *value, const char *help), void *owner)
{
    char text[VALUE_BYTES];
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (settings[i].kind != SETTING_FIXED) {
            each(owner, settings[i].name, value_text(config, &settings[i], text), settings[i].help);
        }
    }
}

/* ---- the file, read by inih ---- */

struct file_reading {
    struct config *config;
    char *message;
};

static int take_line(void *user, const char *section, const char *name, const char *value)
{
    struct file_reading *reading = user;
    char why[CONFIG_MESSAGE_BYTES] = "";
    if (section[0] != '\0') {
        (void)snprintf(reading->message, CONFIG_MESSAGE_BYTES, "[%.40s]: sections are not used here; remove that line",
                       section);
        return 0;
    }
    switch (config_set(reading->config, slice_from_string(name), slice_from_string(value), false, why)) {
    case CONFIG_SET: return 1;
    case CONFIG_UNKNOWN:
        (void)snprintf(reading->message, CONFIG_MESSAGE_BYTES,
                       "'%.40s' is not a setting; `cohort serve --help` lists them", name);
        return 0;
    case CONFIG_IMMUTABLE:
        (void)snprintf(reading->message, CONFIG_MESSAGE_BYTES, "'%.40s' is fixed and cannot be set; remove that line",
                       name);
        return 0;
    case CONFIG_INVALID: break;
    }
    (void)snprintf(reading->message, CONFIG_MESSAGE_BYTES, "'%.40s': %.180s", name, why);
    return 0;
}

/* Number of the first line that the parser would cut in two, or 0. */
static int find_long_line(struct slice text)
{
    int number = 1;
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\n') {
            number++;
            size = 0;
        } else if (++size > LINE_BYTES) {
            return number;
        }
    }
    return 0;
}

enum status config_parse(struct config *config, struct slice text, const char *path,
                         char ret_message[static CONFIG_MESSAGE_BYTES])
{
    if (text.size != 0 && memchr(text.data, '\0', text.size) != NULL) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "%.100s is not a text file", path);
        return STATUS_INVALID;
    }
    int long_line = find_long_line(text);
    if (long_line != 0) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "%.60s, line %d: longer than %d bytes", path, long_line,
                       LINE_BYTES);
        return STATUS_INVALID;
    }
    char *copy = memory_make_text(text.data, text.size);
    char why[CONFIG_MESSAGE_BYTES] = "not a `name = value` line";
    struct file_reading reading = {config, why};
    int line = ini_parse_string(copy, take_line, &reading);
    free(copy);
    if (line != 0) {
        (void)snprintf(ret_message, CONFIG_MESSAGE_BYTES, "%.60s, line %d: %.180s", path, line, why);
        return STATUS_INVALID;
    }
    char *kept = memory_copy_text(path);
    free(config->path);
    config->path = kept;
    return STATUS_OK;
}

/* A line that begins with a blank goes on with the setting before it. */
static bool is_continuation(struct slice line)
{
    size_t start = 0;
    while (start < line.size && isspace(line.data[start])) {
        start++;
    }
    return start > 0 && start < line.size && line.data[start] != '#' && line.data[start] != ';';
}

static struct slice take_word(struct slice line)
{
    size_t start = 0;
    while (start < line.size && isspace(line.data[start])) {
        start++;
    }
    size_t end = start;
    while (end < line.size && !isspace(line.data[end]) && line.data[end] != '=' && line.data[end] != ':') {
        end++;
    }
    return slice_of(line.data + start, end - start);
}

/* A setting's first line gets its value, a further one is dropped, everything else stays. */
static void rewrite_line(const struct config *config, struct slice line, bool *written, struct buffer *out)
{
    char value[VALUE_BYTES];
    const struct setting *setting = setting_find(take_word(line));
    if (setting == NULL) {
        buffer_append_slice(out, line);
        buffer_append_byte(out, '\n');
    } else if (!written[setting - settings]) {
        written[setting - settings] = true;
        buffer_append_format(out, "%s = %s\n", setting->name, value_text(config, setting, value));
    }
}

void config_rewrite(const struct config *config, struct slice text, struct buffer *out)
{
    struct config standard;
    config_init(&standard);
    bool written[SETTING_COUNT] = {false};
    char value[VALUE_BYTES];
    while (text.size != 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end == NULL ? text.size : (size_t)(end - text.data);
        struct slice line = slice_of(text.data, size);
        if (!is_continuation(line)) { /* what it adds is in the setting's value */
            rewrite_line(config, line, written, out);
        }
        size += end == NULL ? 0 : 1;
        text = slice_of(text.data + size, text.size - size);
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char other[VALUE_BYTES];
        if (settings[i].kind != SETTING_FIXED && !written[i] &&
            strcmp(value_text(config, &settings[i], value), value_text(&standard, &settings[i], other)) != 0) {
            buffer_append_format(out, "%s = %s\n", settings[i].name, value_text(config, &settings[i], value));
        }
    }
    config_deinit(&standard);
}
