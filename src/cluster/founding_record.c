#include "cluster/founding_record.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "base/number.h"
#include "cluster/members_internal.h"
#include "env/whole_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 4096, FILE_BYTES = 64 << 10, VERSION = 1 };

static void make_path(const char *directory, char path[static PATH_BYTES])
{
    (void)snprintf(path, PATH_BYTES, "%s/cluster", directory); /* one that is cut off is not there */
}

/* ---- making ---- */

static int by_id(const void *a, const void *b)
{
    const struct member *one = a;
    const struct member *other = b;
    return (one->id > other->id) - (one->id < other->id);
}

static bool makes_a_cluster(const struct founding_record *record)
{
    static const struct id128 any = {{1}};
    struct members *members = members_create();
    enum status status = members_make(members, &any, record->shards, record->replicas, record->nodes, record->count);
    members_destroy(members);
    return status == STATUS_OK;
}

static struct id128 name_of(const struct founding_record *record)
{
    if (record->count == 1) {
        return record->nodes[0].incarnation;
    }
    struct buffer text;
    buffer_init(&text);
    buffer_append_format(&text, "shards %u replicas %u\n", record->shards, record->replicas);
    for (uint32_t i = 0; i < record->count; i++) {
        const struct member *node = &record->nodes[i];
        buffer_append_format(&text, "node %" PRIu64 " %s:%u %s:%u\n", node->id, node->client.host, node->client.port,
                             node->peer.host, node->peer.port);
    }
    struct id128 name = hash_name(text.data, text.size);
    buffer_deinit(&text);
    return name;
}

enum status founding_record_make(struct founding_record *ret_record, const struct member *founders,
                                 size_t founder_count, uint32_t shards, uint32_t replicas)
{
    if (founder_count == 0 || founder_count > PLACEMENT_MAXIMUM_NODES) {
        return STATUS_INVALID;
    }
    struct founding_record record = {.shards = shards, .replicas = replicas, .count = (uint32_t)founder_count};
    for (size_t i = 0; i < founder_count; i++) {
        record.nodes[i].id = founders[i].id;
        if (founder_count > 1) {
            record.nodes[i].client = founders[i].client;
            record.nodes[i].peer = founders[i].peer;
        }
    }
    qsort(record.nodes, record.count, sizeof(record.nodes[0]), by_id);
    bool valid = founder_count > 1
                     ? makes_a_cluster(&record)
                     : record.nodes[0].id >= 1 && record.nodes[0].id <= MEMBERS_MAXIMUM_ID && shards >= 1 &&
                           shards <= SLOT_MAXIMUM_SHARDS && replicas >= 1 && replicas <= PLACEMENT_MAXIMUM_REPLICAS;
    if (!valid) {
        return STATUS_INVALID;
    }
    record.cluster = name_of(&record);
    *ret_record = record;
    return STATUS_OK;
}

/* ---- text ---- */

static void render(const struct founding_record *record, enum founding_state state, struct buffer *out)
{
    char digits[ID128_DIGITS + 1];
    id128_format(&record->cluster, digits);
    buffer_append_format(out, "cohort-cluster %d\nstate = %s\ncluster = %s\nshards = %u\nreplicas = %u\n", VERSION,
                         state == FOUNDING_FOUNDED ? "founded" : "agreed", digits, record->shards, record->replicas);
    for (uint32_t i = 0; i < record->count; i++) {
        const struct member *node = &record->nodes[i];
        id128_format(&node->incarnation, digits);
        buffer_append_format(out, "node = %" PRIu64 " %s", node->id, digits);
        if (record->count > 1) {
            buffer_append_format(out, " %s:%u %s:%u", node->client.host, node->client.port, node->peer.host,
                                 node->peer.port);
        }
        buffer_append_byte(out, '\n');
    }
    buffer_append_format(out, "checksum = %08" PRIx32 "\n", crc32c(0, out->data, out->size));
}

struct reader {
    struct slice rest;
    unsigned taken, tried; /* lines */
};

/* The front of *from up to the separator, which is dropped; all of it when there is none. */
static struct slice take_until(struct slice *from, char separator)
{
    const uint8_t *at = from->size == 0 ? NULL : memchr(from->data, separator, from->size);
    struct slice taken = {from->data, at == NULL ? from->size : (size_t)(at - from->data)};
    size_t used = taken.size + (at != NULL);
    *from = slice_of(from->data + used, from->size - used);
    return taken;
}

static bool starts_with(struct slice text, const char *name)
{
    size_t size = strlen(name);
    return text.size >= size && memcmp(text.data, name, size) == 0;
}

/* The value of the line that comes, when it is `NAME = VALUE` with this name. */
static bool take_field(struct reader *reader, const char *name, struct slice *ret_value)
{
    struct slice rest = reader->rest;
    struct slice line = take_until(&rest, '\n');
    reader->tried = reader->taken + 1;
    if (!starts_with(line, name)) {
        return false;
    }
    reader->rest = rest;
    reader->taken++;
    size_t size = strlen(name);
    *ret_value = slice_of(line.data + size, line.size - size);
    return true;
}

static bool take_number(struct reader *reader, const char *name, int64_t maximum, uint32_t *ret_value)
{
    struct slice text;
    int64_t value = 0;
    if (!take_field(reader, name, &text) || !number_parse_int64(text, &value) || value < 1 || value > maximum) {
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

static bool parse_id(struct slice text, struct id128 *ret_id)
{
    char digits[ID128_DIGITS + 1] = "";
    if (text.size != ID128_DIGITS) {
        return false;
    }
    memcpy(digits, text.data, text.size);
    return id128_parse(digits, ret_id);
}

static bool parse_address(struct slice text, struct member_address *ret_address)
{
    size_t colon = text.size;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    int64_t port = 0;
    return colon > 0 && number_parse_int64(slice_of(text.data + colon, text.size - colon), &port) &&
           member_address_make(ret_address, slice_of(text.data, colon - 1), port);
}

static bool parse_node(struct slice text, struct member *ret_node)
{
    int64_t id = 0;
    *ret_node = (struct member){0};
    if (!number_parse_int64(take_until(&text, ' '), &id) || id < 1 || id > MEMBERS_MAXIMUM_ID ||
        !parse_id(take_until(&text, ' '), &ret_node->incarnation) || id128_is_zero(&ret_node->incarnation)) {
        return false;
    }
    ret_node->id = (uint64_t)id;
    return text.size == 0 || (parse_address(take_until(&text, ' '), &ret_node->client) &&
                              parse_address(take_until(&text, ' '), &ret_node->peer) && text.size == 0);
}

static bool parse_state(struct slice text, enum founding_state *ret_state)
{
    *ret_state = slice_is_word(text, "founded") ? FOUNDING_FOUNDED : FOUNDING_AGREED;
    return *ret_state == FOUNDING_FOUNDED || slice_is_word(text, "agreed");
}

static bool parse_lines(struct reader *reader, enum founding_state *ret_state, struct founding_record *record)
{
    struct slice text;
    if (!take_field(reader, "cohort-cluster 1", &text) || !take_field(reader, "state = ", &text) ||
        !parse_state(text, ret_state) || !take_field(reader, "cluster = ", &text) ||
        !parse_id(text, &record->cluster) || !take_number(reader, "shards = ", SLOT_MAXIMUM_SHARDS, &record->shards) ||
        !take_number(reader, "replicas = ", PLACEMENT_MAXIMUM_REPLICAS, &record->replicas)) {
        return false;
    }
    while (record->count < PLACEMENT_MAXIMUM_NODES && take_field(reader, "node = ", &text)) {
        if (!parse_node(text, &record->nodes[record->count++])) {
            return false;
        }
    }
    return take_field(reader, "checksum = ", &text);
}

/* The number of the first line in which they differ. */
static unsigned first_difference(struct slice a, struct slice b)
{
    unsigned line = 1;
    for (size_t i = 0; i < a.size && i < b.size && a.data[i] == b.data[i]; i++) {
        line += a.data[i] == '\n';
    }
    return line;
}

/* Whether this is, byte for byte, what render makes of a sound record; if not, *ret_line is where it begins to differ.
 */
static bool parse(struct slice text, enum founding_state *ret_state, struct founding_record *record, unsigned *ret_line)
{
    struct reader reader = {.rest = text};
    *record = (struct founding_record){0};
    if (!parse_lines(&reader, ret_state, record)) {
        *ret_line = reader.tried;
        return false;
    }
    struct buffer again;
    buffer_init(&again);
    render(record, *ret_state, &again);
    bool same = slice_equal(buffer_slice(&again), text);
    *ret_line = first_difference(buffer_slice(&again), text);
    buffer_deinit(&again);
    if (!same) {
        return false;
    }
    enum { CLUSTER_LINE = 3, NODE_LINE = 6 };
    struct founding_record made;
    *ret_line = NODE_LINE;
    if (founding_record_make(&made, record->nodes, record->count, record->shards, record->replicas) != STATUS_OK) {
        return false; /* one node twice */
    }
    struct id128 name = name_of(record);
    *ret_line = CLUSTER_LINE;
    return id128_equal(&name, &record->cluster);
}

static enum status check(const char *path, struct slice text, enum founding_state *ret_state,
                         struct founding_record *ret_record, char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    struct slice rest = text;
    struct slice first = take_until(&rest, '\n');
    unsigned line = 1;
    enum founding_state state = FOUNDING_FRESH;
    struct founding_record record;
    if (starts_with(first, "cohort-cluster ") && !slice_is_word(first, "cohort-cluster 1")) {
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES,
                       "%.512s:1: not written by this version of cohort; start the version that wrote it", path);
        return STATUS_VERSION;
    }
    if (!parse(text, &state, &record, &line)) {
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES,
                       "%.512s:%u: this is not as cohort wrote it; copy the file from another node of the same "
                       "cluster, where it is the same",
                       path, line);
        return STATUS_CORRUPT;
    }
    *ret_state = state;
    *ret_record = record;
    return STATUS_OK;
}

/* ---- the file ---- */

enum status founding_record_read(struct env *env, const char *directory, enum founding_state *ret_state,
                                 struct founding_record *ret_record, char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    char path[PATH_BYTES];
    make_path(directory, path);
    struct buffer text;
    buffer_init(&text);
    enum status status = whole_file_read(env, path, FILE_BYTES, &text);
    if (status == STATUS_OK || status == STATUS_TOO_LARGE) {
        status = check(path, buffer_slice(&text), ret_state, ret_record, ret_message);
    } else if (status == STATUS_NOTFOUND) {
        *ret_state = FOUNDING_FRESH;
        status = STATUS_OK;
    } else {
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES, "cannot read %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}

enum status founding_record_write(struct env *env, const char *directory, enum founding_state state,
                                  const struct founding_record *record, char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    ASSERT(state != FOUNDING_FRESH);
    char path[PATH_BYTES];
    make_path(directory, path);
    struct buffer text;
    buffer_init(&text);
    render(record, state, &text);
    enum status status = whole_file_replace(env, path, buffer_slice(&text));
    if (status != STATUS_OK) {
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES, "cannot write %.512s: %s", path, status_text(status));
    }
    buffer_deinit(&text);
    return status;
}

/* ---- what differs ---- */

static void append_address(struct buffer *out, const struct member *node)
{
    buffer_append_format(out, "%s:%u@%u", node->client.host, node->client.port, node->peer.port);
    if (strcmp(node->client.host, node->peer.host) != 0) {
        buffer_append_format(out, " (peer host %s)", node->peer.host);
    }
}

static const struct member *find(const struct founding_record *record, uint64_t id)
{
    for (uint32_t i = 0; i < record->count; i++) {
        if (record->nodes[i].id == id) {
            return &record->nodes[i];
        }
    }
    return NULL;
}

static void append_node_difference(struct buffer *out, const struct member *was, const struct member *now)
{
    if (was == NULL) {
        buffer_append_format(out, ", without node %" PRIu64 " (now at ", now->id);
        append_address(out, now);
        buffer_append_string(out, ")");
    } else if (now == NULL) {
        buffer_append_format(out, ", with node %" PRIu64 " at ", was->id);
        append_address(out, was);
        buffer_append_string(out, " (now without)");
    } else if (!members_address_equal(&was->client, &now->client) || !members_address_equal(&was->peer, &now->peer)) {
        buffer_append_format(out, ", with node %" PRIu64 " at ", was->id);
        append_address(out, was);
        buffer_append_string(out, " (now ");
        append_address(out, now);
        buffer_append_string(out, ")");
    }
}

static void append_differences(struct buffer *out, const struct founding_record *was, const struct founding_record *now)
{
    if (was->shards != now->shards) {
        buffer_append_format(out, ", with --shards %u (now %u)", was->shards, now->shards);
    }
    if (was->replicas != now->replicas) {
        buffer_append_format(out, ", with --replicas %u (now %u)", was->replicas, now->replicas);
    }
    if ((was->count == 1) != (now->count == 1)) {
        bool one = was->count == 1;
        buffer_append_format(out, ", %s (now %s)", one ? "alone" : "with --peers", one ? "with --peers" : "alone");
        return;
    }
    for (uint32_t i = 0; i < was->count; i++) {
        append_node_difference(out, &was->nodes[i], find(now, was->nodes[i].id));
    }
    for (uint32_t i = 0; i < now->count; i++) {
        if (find(was, now->nodes[i].id) == NULL) {
            append_node_difference(out, NULL, &now->nodes[i]);
        }
    }
}

bool founding_record_matches(const struct founding_record *record, const struct founding_record *started,
                             const char *directory, char ret_message[static FOUNDING_MESSAGE_BYTES])
{
    struct buffer text;
    buffer_init(&text);
    append_differences(&text, record, started);
    bool same = text.size == 0;
    if (!same) {
        enum { SHOWN_BYTES = 600 };
        (void)snprintf(ret_message, FOUNDING_MESSAGE_BYTES,
                       "%.256s/cluster: the cluster was founded%.*s%s; start this node as it was founded, or give "
                       "another --data",
                       directory, (int)(text.size < SHOWN_BYTES ? text.size : SHOWN_BYTES) - 1,
                       (const char *)text.data + 1, text.size < SHOWN_BYTES ? "" : " …");
    }
    buffer_deinit(&text);
    return same;
}
