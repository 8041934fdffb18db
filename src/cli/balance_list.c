#include "cli/balance_list.h"

#include "base/memory.h"
#include "base/number.h"
#include "cli/cli.h"
#include "cli/host_port.h"

#include <errno.h>
#include <stdio.h>

static bool take_field(struct balancer_listing *listing, struct slice field)
{
    struct slice weight = SLICE_LITERAL("weight=");
    struct slice zone = SLICE_LITERAL("zone=");
    if (slice_starts_with(field, weight)) {
        int64_t value = 0;
        struct slice digits = slice_of(field.data + weight.size, field.size - weight.size);
        if (!number_parse_int64(digits, &value) || value < 1 || value > BALANCER_MAXIMUM_WEIGHT) {
            return false;
        }
        listing->weight = (uint32_t)value;
        return true;
    }
    if (slice_starts_with(field, zone) && field.size > zone.size) {
        listing->zone = slice_of(field.data + zone.size, field.size - zone.size);
        return true;
    }
    if (slice_equal(field, SLICE_LITERAL("drain"))) {
        listing->draining = true;
        return true;
    }
    return false;
}

/* `where` is "--backend", or a file and a line. */
static int parse_backend(const char *where, struct slice text, struct proxy_backend *ret_backend)
{
    int shown = text.size > 300 ? 300 : (int)text.size;
    const uint8_t *comma = memchr(text.data, ',', text.size);
    struct slice address = slice_of(text.data, comma == NULL ? text.size : (size_t)(comma - text.data));
    struct host_port at;
    if (!host_port_parse(address, &at) || at.port == 0) {
        return cli_error(&cli_balance, EX_USAGE, "%s: '%.*s' is not HOST:PORT[,weight=N][,zone=ZONE][,drain]", where,
                         shown, (const char *)text.data);
    }
    *ret_backend = (struct proxy_backend){.listing = {.id = address, .address = address, .weight = 1}};
    while (comma != NULL) {
        const uint8_t *from = comma + 1;
        size_t left = text.size - (size_t)(from - text.data);
        comma = memchr(from, ',', left);
        if (!take_field(&ret_backend->listing, slice_of(from, comma == NULL ? left : (size_t)(comma - from)))) {
            return cli_error(&cli_balance, EX_USAGE,
                             "%s: '%.*s': after the address come weight=1 to weight=65535, zone=ZONE, drain", where,
                             shown, (const char *)text.data);
        }
    }
    if (!proxy_resolve(at.host, at.port, &ret_backend->at)) {
        return cli_error(&cli_balance, EX_NOHOST, "%s: no address is known of '%s'", where, at.host);
    }
    return CLI_CONTINUE;
}

static int add(struct balance_list *list, const char *where, struct slice text)
{
    if (list->count == PROXY_MAXIMUM_BACKENDS) {
        return cli_error(&cli_balance, EX_USAGE, "%s: more than %d backends", where, PROXY_MAXIMUM_BACKENDS);
    }
    return parse_backend(where, text, &list->backends[list->count++]);
}

/* ---- the file ---- */

static int read_text(const char *path, char **ret_text, size_t *ret_size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return cli_error(&cli_balance, EX_NOINPUT, "--backends %s: %s", path, strerror(errno));
    }
    char *text = memory_allocate(BALANCE_FILE_MAXIMUM_BYTES + 1);
    size_t size = fread(text, 1, BALANCE_FILE_MAXIMUM_BYTES + 1, file);
    bool failed = ferror(file) != 0;
    (void)fclose(file);
    if (failed || size > BALANCE_FILE_MAXIMUM_BYTES) {
        free(text);
        return cli_error(&cli_balance, EX_NOINPUT, "--backends %s: %s", path,
                         failed ? "it cannot be read" : "a list is at most 1 MB");
    }
    *ret_text = text;
    *ret_size = size;
    return CLI_CONTINUE;
}

static bool is_blank(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r'; }

/* Without the comment, and without blanks around it. */
static struct slice bare(struct slice line)
{
    const uint8_t *comment = line.size == 0 ? NULL : memchr(line.data, '#', line.size);
    size_t size = comment == NULL ? line.size : (size_t)(comment - line.data);
    const uint8_t *from = line.data;
    while (size > 0 && is_blank(from[size - 1])) {
        size--;
    }
    while (size > 0 && is_blank(*from)) {
        from++;
        size--;
    }
    return slice_of(from, size);
}

static int add_lines(struct balance_list *list, const char *path, size_t size)
{
    char where[512];
    struct slice rest = slice_of(list->text, size);
    int code = CLI_CONTINUE;
    for (unsigned number = 1; rest.size > 0 && code == CLI_CONTINUE; number++) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        size_t length = end == NULL ? rest.size : (size_t)(end - rest.data);
        struct slice line = bare(slice_of(rest.data, length));
        size_t used = length + (end != NULL);
        rest = slice_of(rest.data + used, rest.size - used);
        (void)snprintf(where, sizeof(where), "%s:%u", path, number);
        code = line.size == 0 ? CLI_CONTINUE : add(list, where, line);
    }
    return code;
}

/* ---- all ---- */

int balance_list_make(const struct balance_sources *sources, struct balance_list **ret_list)
{
    struct balance_list *list = memory_allocate_zeroed(1, sizeof(*list));
    int code = CLI_CONTINUE;
    for (uint32_t i = 0; i < sources->given_count && code == CLI_CONTINUE; i++) {
        code = add(list, "--backend", slice_from_string(sources->given[i]));
    }
    size_t size = 0;
    if (code == CLI_CONTINUE && sources->path != NULL) {
        code = read_text(sources->path, &list->text, &size);
        code = code == CLI_CONTINUE ? add_lines(list, sources->path, size) : code;
    }
    if (code == CLI_CONTINUE && list->count == 0) {
        code =
            sources->path != NULL
                ? cli_error(&cli_balance, EX_USAGE, "--backends %s: names no backend; a line is HOST:PORT",
                            sources->path)
                : cli_error(&cli_balance, EX_USAGE,
                            "nobody to send to: name at least one --backend HOST:PORT, or a file of them (--backends)");
        code = sources->path == NULL ? cli_usage_hint(&cli_balance) : code;
    }
    if (code != CLI_CONTINUE) {
        balance_list_destroy(list);
        return code;
    }
    *ret_list = list;
    return CLI_CONTINUE;
}

void balance_list_destroy(struct balance_list *list)
{
    if (list != NULL) {
        free(list->text);
        free(list);
    }
}

static bool has(const struct balance_list *list, struct slice id)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (slice_equal(list->backends[i].listing.id, id)) {
            return true;
        }
    }
    return false;
}

uint32_t balance_list_count_besides(const struct balance_list *list, const struct balance_list *other)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        count += !has(other, list->backends[i].listing.id);
    }
    return count;
}
