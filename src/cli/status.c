/* cohort status: how the nodes are, from their own INFO. */
#include "base/assert.h"
#include "base/number.h"
#include "base/units.h"
#include "cli/node.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FIELD_BYTES = 64, FIELD_NAMES = 3, CELL_BYTES = 64 };

enum field_kind { FIELD_TEXT, FIELD_COUNT, FIELD_BYTES_SIZE, FIELD_SECONDS, FIELD_UNIX_TIME };

/* One column: a field of INFO, or the first of several names that is there. */
static const struct field {
    const char *title;
    const char *json;
    enum field_kind kind;
    const char *names[FIELD_NAMES];
} fields[] = {
    {"NODE", "id", FIELD_TEXT, {"node_id"}},
    {"ROLE", "role", FIELD_TEXT, {"role"}},
    {"VERSION", "version", FIELD_TEXT, {"cohort_version", "redis_version"}},
    {"UPTIME", "uptime_seconds", FIELD_SECONDS, {"uptime_in_seconds"}},
    {"KEYS", "keys", FIELD_COUNT, {"db0"}},
    {"MEMORY", "memory_bytes", FIELD_BYTES_SIZE, {"used_memory"}},
    {"CLIENTS", "clients", FIELD_COUNT, {"connected_clients"}},
    {"LOG", "log_bytes", FIELD_BYTES_SIZE, {"log_bytes_on_disk", "aof_current_size"}},
    {"SNAPSHOT", "last_snapshot_unix_seconds", FIELD_UNIX_TIME, {"snapshot_last_time", "rdb_last_save_time"}},
};

enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

struct node_row {
    char address[CLIENT_ENDPOINT_TEXT_BYTES];
    bool up;
    char problem[NODE_PROBLEM_BYTES];
    char values[FIELDS][FIELD_BYTES]; /* as INFO has them; empty when it has not */
};

/* Finds "name:value" in INFO's lines. */
static bool find_in_info(struct slice info, const char *name, struct slice *ret_value)
{
    size_t name_size = strlen(name);
    while (info.size > 0) {
        const uint8_t *end = memchr(info.data, '\n', info.size);
        size_t line = end == NULL ? info.size : (size_t)(end - info.data);
        if (line > name_size && memcmp(info.data, name, name_size) == 0 && info.data[name_size] == ':') {
            size_t size = line - name_size - 1;
            size -= size > 0 && info.data[line - 1] == '\r';
            *ret_value = slice_of(info.data + name_size + 1, size);
            return true;
        }
        size_t step = end == NULL ? line : line + 1;
        info = slice_of(info.data + step, info.size - step);
    }
    return false;
}

/* db0's value is "keys=N,expires=…"; a server without keys leaves the line out. */
static void take_field(struct slice info, const struct field *field, char ret_value[static FIELD_BYTES])
{
    struct slice value = {0};
    for (size_t i = 0; i < FIELD_NAMES && field->names[i] != NULL; i++) {
        if (find_in_info(info, field->names[i], &value)) {
            break;
        }
    }
    if (strcmp(field->json, "keys") == 0) {
        if (value.size == 0) {
            value = SLICE_LITERAL("0");
        } else if (value.size > 5 && memcmp(value.data, "keys=", 5) == 0) {
            const uint8_t *comma = memchr(value.data, ',', value.size);
            value = slice_of(value.data + 5, (comma == NULL ? value.size : (size_t)(comma - value.data)) - 5);
        }
    }
    (void)snprintf(ret_value, FIELD_BYTES, "%.*s", (int)value.size, (const char *)value.data);
}

static void ask_node(const struct client_endpoint *endpoint, int64_t timeout_ms, struct node_row *row)
{
    struct client_connection connection;
    client_connection_init(&connection);
    client_endpoint_format(endpoint, row->address);
    struct slice reply;
    row->up = node_ask(&connection, endpoint, timeout_ms, "INFO", &reply, row->problem);
    for (size_t i = 0; row->up && i < FIELDS; i++) {
        take_field(reply, &fields[i], row->values[i]);
    }
    client_connection_deinit(&connection);
}

static bool as_number(const char *value, int64_t *ret_number)
{
    return number_parse_int64(slice_from_string(value), ret_number);
}

/* A value as a person reads it; "-" when it is not known. */
static void format_cell(const struct field *field, const char *value, char ret_cell[static CELL_BYTES])
{
    int64_t number;
    char text[UNITS_TEXT_BYTES];
    if (value[0] == '\0') {
        (void)snprintf(ret_cell, CELL_BYTES, "-");
        return;
    }
    (void)snprintf(ret_cell, CELL_BYTES, "%s", value);
    if (!as_number(value, &number) || number < 0) {
        return;
    }
    switch (field->kind) {
    case FIELD_TEXT:
    case FIELD_COUNT: break;
    case FIELD_BYTES_SIZE:
        units_format_size(text, (uint64_t)number);
        (void)snprintf(ret_cell, CELL_BYTES, "%s", text);
        break;
    case FIELD_SECONDS:
        units_format_duration(text, (uint64_t)number);
        (void)snprintf(ret_cell, CELL_BYTES, "%s", text);
        break;
    case FIELD_UNIX_TIME:
        if (number == 0) {
            (void)snprintf(ret_cell, CELL_BYTES, "never");
        } else {
            int64_t age = (int64_t)time(NULL) - number;
            units_format_duration(text, age > 0 ? (uint64_t)age : 0);
            (void)snprintf(ret_cell, CELL_BYTES, "%s ago", text);
        }
    }
}

static size_t wider(size_t width, const char *text) { return strlen(text) > width ? strlen(text) : width; }

static void print_table(const struct node_row *rows, uint32_t count)
{
    size_t widths[FIELDS];
    size_t address_width = strlen("ADDRESS");
    char cell[CELL_BYTES];
    for (uint32_t r = 0; r < count; r++) {
        address_width = wider(address_width, rows[r].address);
    }
    for (size_t i = 0; i < FIELDS; i++) {
        widths[i] = strlen(fields[i].title);
        for (uint32_t r = 0; r < count; r++) {
            format_cell(&fields[i], rows[r].values[i], cell);
            widths[i] = wider(widths[i], cell);
        }
    }
    printf("%-*s", (int)address_width, "ADDRESS");
    for (size_t i = 0; i < FIELDS; i++) {
        printf("  %-*s", i + 1 == FIELDS ? 0 : (int)widths[i], fields[i].title);
    }
    printf("\n");
    for (uint32_t r = 0; r < count; r++) {
        printf("%-*s", (int)address_width, rows[r].address);
        for (size_t i = 0; rows[r].up && i < FIELDS; i++) {
            format_cell(&fields[i], rows[r].values[i], cell);
            printf("  %-*s", i + 1 == FIELDS ? 0 : (int)widths[i], cell);
        }
        printf("%s\n", rows[r].up ? "" : "  down");
    }
}

static json_t *row_json(const struct node_row *row)
{
    json_t *json = json_object();
    (void)json_object_set_new(json, "address", json_string(row->address));
    (void)json_object_set_new(json, "up", json_boolean(row->up));
    if (!row->up) {
        (void)json_object_set_new(json, "problem", json_string(row->problem));
        return json;
    }
    for (size_t i = 0; i < FIELDS; i++) {
        int64_t number;
        json_t *value = fields[i].kind == FIELD_TEXT         ? json_string(row->values[i])
                        : as_number(row->values[i], &number) ? json_integer(number)
                                                             : NULL;
        bool known = value != NULL && row->values[i][0] != '\0';
        if (!known) {
            json_decref(value);
            value = json_null();
        }
        (void)json_object_set_new(json, fields[i].json, value);
    }
    return json;
}

static void print_json(const struct node_row *rows, uint32_t count)
{
    json_t *nodes = json_array();
    for (uint32_t r = 0; r < count; r++) {
        (void)json_array_append_new(nodes, row_json(&rows[r]));
    }
    json_t *json = json_pack("{s:o}", "nodes", nodes);
    (void)json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(json);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    bool json = false;
    int64_t timeout_ms = 0;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &json, NULL, "print JSON; null stands for what a node does not tell"},
        {"timeout", CLI_DURATION, &timeout_ms, "DURATION", "to wait for each node (default 5s)", 1, 0},
        {0},
    };
    struct cli_arguments arguments;
    struct client_url url;
    int code = cli_parse(command, options, argc, argv, &arguments);
    if (code == CLI_CONTINUE) {
        code = node_parse_url(command, arguments.count > 0 ? arguments.items[0] : CLIENT_URL_DEFAULT, &url);
    }
    if (code != CLI_CONTINUE) {
        return code;
    }
    struct node_row *rows = calloc(url.endpoint_count, sizeof(*rows));
    ASSERT(rows != NULL);
    uint32_t up = 0;
    for (uint32_t r = 0; r < url.endpoint_count; r++) {
        ask_node(&url.endpoints[r], timeout_ms > 0 ? timeout_ms : url.timeout_ms, &rows[r]);
        up += rows[r].up;
    }
    if (json) {
        print_json(rows, url.endpoint_count);
    } else if (up > 0) {
        print_table(rows, url.endpoint_count);
    }
    for (uint32_t r = 0; r < url.endpoint_count; r++) {
        if (!rows[r].up) {
            (void)cli_error(command, EX_UNAVAILABLE, "%s", rows[r].problem);
        }
    }
    free(rows);
    return up == url.endpoint_count ? EX_OK : EX_UNAVAILABLE;
}

const struct cli_command cli_status = {
    .name = "status",
    .arguments = "[URL]",
    .arguments_maximum = 1,
    .summary = "show how the nodes are",
    .details = "Asks each node of the URL (default " CLIENT_URL_DEFAULT ") and shows a row for it.\n"
               "The exit code is 69 when a node does not answer.",
    .examples = "  cohort status\n"
                "  cohort status cohort://10.0.0.1:6379,10.0.0.2:6379\n"
                "  cohort status --json --timeout 500ms 127.0.0.1:6380",
    .run = run,
};
