/* DIR/cluster: what is written is read; everything else is refused with the line where it is wrong. */
#include "cluster/founding_record.h"

#include "base/crc32c.h"
#include "disk_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct sim_disk *disk;
    struct disk_env env;
    struct founding_record record, other;
    enum founding_state state;
    char message[FOUNDING_MESSAGE_BYTES];
};

static struct member member(uint64_t id)
{
    struct member node = {.id = id, .incarnation = {{(uint8_t)id, 0xee}}};
    assert_true(member_address_make(&node.client, SLICE_LITERAL("127.0.0.1"), 7000 + (int64_t)id));
    assert_true(member_address_make(&node.peer, SLICE_LITERAL("::1"), 17000 + (int64_t)id));
    return node;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    const struct member founders[3] = {member(3), member(1), member(20)};
    fixture->disk = sim_disk_create(1);
    disk_env_init(&fixture->env, fixture->disk);
    assert_int_equal(founding_record_make(&fixture->record, founders, 3, 8, 3), STATUS_OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(id128_is_zero(&fixture->record.nodes[i].incarnation));
        fixture->record.nodes[i].incarnation = member(fixture->record.nodes[i].id).incarnation;
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    sim_disk_destroy(fixture->disk);
    free(fixture);
    return 0;
}

static enum status read_record(struct fixture *fixture)
{
    fixture->state = (enum founding_state)99;
    fixture->message[0] = '\0';
    return founding_record_read(&fixture->env.env, "/d", &fixture->state, &fixture->other, fixture->message);
}

static void write_record(struct fixture *fixture, enum founding_state state)
{
    assert_int_equal(sim_disk_make_directory(fixture->disk, "/d"), STATUS_OK);
    assert_int_equal(sim_disk_sync_directory(fixture->disk, "/"), STATUS_OK);
    assert_int_equal(founding_record_write(&fixture->env.env, "/d", state, &fixture->record, fixture->message),
                     STATUS_OK);
}

static void put(struct fixture *fixture, struct slice text)
{
    struct env_file *file = NULL;
    struct iovec part = {(void *)(uintptr_t)text.data, text.size};
    assert_int_equal(
        sim_disk_open(fixture->disk, "/d/cluster", ENV_OPEN_WRITE | ENV_OPEN_CREATE | ENV_OPEN_TRUNCATE, &file),
        STATUS_OK);
    assert_int_equal(sim_disk_write(fixture->disk, file, 0, &part, 1), STATUS_OK);
    sim_disk_close(fixture->disk, file);
}

static void what_is_written_is_read(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_record(fixture), STATUS_OK);
    assert_int_equal(fixture->state, FOUNDING_FRESH);
    for (enum founding_state how = FOUNDING_AGREED; how <= FOUNDING_FOUNDED; how++) {
        write_record(fixture, how);
        sim_disk_crash(fixture->disk);
        assert_int_equal(read_record(fixture), STATUS_OK);
        assert_int_equal(fixture->state, how);
        assert_memory_equal(&fixture->other, &fixture->record, sizeof(fixture->record));
    }
}

static void the_text_is_for_people(void **state)
{
    struct fixture *fixture = *state;
    struct slice text;
    write_record(fixture, FOUNDING_FOUNDED);
    assert_int_equal(sim_disk_peek(fixture->disk, "/d/cluster", &text), STATUS_OK);
    static const char expected[] =
        "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 8\nreplicas = 3\n"
        "node = 1 01ee0000000000000000000000000000 127.0.0.1:7001 ::1:17001\n"
        "node = 3 03ee0000000000000000000000000000 127.0.0.1:7003 ::1:17003\n"
        "node = 20 14ee0000000000000000000000000000 127.0.0.1:7020 ::1:17020\n"
        "checksum = ";
    char line[20];
    (void)snprintf(line, sizeof(line), "%08x\n", crc32c(0, expected, strlen(expected) - strlen("checksum = ")));
    assert_int_equal(text.size, strlen(expected) + strlen(line));
    assert_memory_equal(text.data, expected, strlen(expected));
    assert_memory_equal(text.data + strlen(expected), line, strlen(line));
}

static void the_name_is_that_of_what_nodes_are_started_with(void **state)
{
    struct fixture *fixture = *state;
    struct member founders[3] = {member(1), member(3), member(20)};
    assert_int_equal(founding_record_make(&fixture->other, founders, 3, 8, 3), STATUS_OK);
    assert_true(id128_equal(&fixture->other.cluster, &fixture->record.cluster)); /* in any order */
    for (int i = 0; i < 6; i++) {
        struct member changed[3] = {member(1), member(3), member(20)};
        changed[1].id += i == 0;
        changed[1].client.port = (uint16_t)(changed[1].client.port + (i == 1));
        changed[1].peer.port = (uint16_t)(changed[1].peer.port + (i == 2));
        changed[1].client.host[0] = (char)(changed[1].client.host[0] + (i == 3));
        assert_int_equal(founding_record_make(&fixture->other, changed, 3, 8 + (i == 4), 3 - (i == 5)), STATUS_OK);
        assert_false(id128_equal(&fixture->other.cluster, &fixture->record.cluster));
    }
}

static void what_makes_no_cluster(void **state)
{
    struct fixture *fixture = *state;
    struct member founders[2] = {member(1), member(2)};
    assert_int_equal(founding_record_make(&fixture->other, founders, 2, 0, 3), STATUS_INVALID);
    assert_int_equal(founding_record_make(&fixture->other, founders, 2, SLOT_MAXIMUM_SHARDS + 1, 3), STATUS_INVALID);
    assert_int_equal(founding_record_make(&fixture->other, founders, 2, 1, 0), STATUS_INVALID);
    assert_int_equal(founding_record_make(&fixture->other, founders, 2, 1, 8), STATUS_INVALID);
    assert_int_equal(founding_record_make(&fixture->other, founders, 0, 1, 1), STATUS_INVALID);
    assert_int_equal(founding_record_make(&fixture->other, founders, PLACEMENT_MAXIMUM_NODES + 1, 1, 1),
                     STATUS_INVALID);
    assert_int_equal(founding_record_make(&fixture->other, founders, 1, 0, 1), STATUS_INVALID);
    founders[1].client = founders[0].client;
    assert_int_equal(founding_record_make(&fixture->other, founders, 2, 1, 1), STATUS_INVALID);
    founders[1] = member(1);
    assert_int_equal(founding_record_make(&fixture->other, founders, 2, 1, 1), STATUS_INVALID);
    founders[0].id = 0;
    assert_int_equal(founding_record_make(&fixture->other, founders, 1, 1, 1), STATUS_INVALID);
}

static void one_node_has_no_addresses(void **state)
{
    struct fixture *fixture = *state;
    const struct member one = member(7);
    struct member elsewhere = {.id = 7};
    assert_int_equal(founding_record_make(&fixture->record, &one, 1, 2, 1), STATUS_OK);
    fixture->record.nodes[0].incarnation = one.incarnation;
    fixture->record.cluster = one.incarnation;
    write_record(fixture, FOUNDING_FOUNDED);
    assert_int_equal(read_record(fixture), STATUS_OK);
    assert_memory_equal(&fixture->other, &fixture->record, sizeof(fixture->record));
    assert_int_equal(founding_record_make(&fixture->record, &elsewhere, 1, 2, 1), STATUS_OK);
    assert_true(founding_record_matches(&fixture->other, &fixture->record, "/d", fixture->message));
}

/* Every byte of the file, changed or the last one: never taken, and the right line is named. */
static void damage_is_found_everywhere(void **state)
{
    struct fixture *fixture = *state;
    struct slice text;
    write_record(fixture, FOUNDING_FOUNDED);
    assert_int_equal(sim_disk_peek(fixture->disk, "/d/cluster", &text), STATUS_OK);
    uint8_t bytes[2000];
    size_t size = text.size;
    assert_true(size < sizeof(bytes));
    memcpy(bytes, text.data, size);
    int line = 1;
    for (size_t i = 0; i < size; i++) {
        uint8_t good = bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (uint8_t)(good ^ 1 << bit);
            put(fixture, slice_of(bytes, size));
            enum status status = read_record(fixture);
            assert_true(status == STATUS_CORRUPT || (status == STATUS_VERSION && line == 1));
            int named = 0;
            assert_int_equal(sscanf(fixture->message, "/d/cluster:%d:", &named), 1);
            /* a change that could be meant shows in the checksum, or the cluster's name, alone */
            assert_true(named == line || named == 9 || named == 3 || named == line + 1);
            assert_int_equal(fixture->state, 99);
        }
        bytes[i] = good;
        line += good == '\n';
        put(fixture, slice_of(bytes, i));
        assert_int_equal(read_record(fixture), i < 15 || line > 1 ? STATUS_CORRUPT : read_record(fixture));
        assert_int_not_equal(read_record(fixture), STATUS_OK);
    }
    bytes[size] = '\n';
    put(fixture, slice_of(bytes, size + 1));
    assert_int_equal(read_record(fixture), STATUS_CORRUPT);
    put(fixture, slice_of(bytes, size));
    assert_int_equal(read_record(fixture), STATUS_OK);
}

/* With a good checksum, by hand. */
static void lines_that_cannot_be(void **state)
{
    static const struct {
        int line;
        const char *text;
    } cases[] = {
        {2, "cohort-cluster 1\nstate = fresh\n"},
        {3, "cohort-cluster 1\nstate = founded\nname = x\n"},
        {4, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 0\n"},
        {4, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 99999\n"},
        {5,
         "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = x\n"},
        {6, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = 1\n"
            "node = 1 00000000000000000000000000000000\n"},
        {6, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = 1\n"
            "node = 1 01ee0000000000000000000000000000 1.1.1.1 1.1.1.1:1\n"},
        {6, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = 1\n"
            "node = 1 01ee0000000000000000000000000000 1.1.1.1:1 1.1.1.1:2\n"},
        {3, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = 1\n"
            "node = 1 01ee0000000000000000000000000000\n"},
        {6, "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = 1\n"
            "node = 1 01ee0000000000000000000000000000 a:1 a:2\nnode = 1 02ee0000000000000000000000000000 b:1 b:2\n"},
        {6,
         "cohort-cluster 1\nstate = founded\ncluster = 88ab1a5bedf39c392b162e2cfcbea8ec\nshards = 1\nreplicas = 1\n"},
    };
    struct fixture *fixture = *state;
    assert_int_equal(sim_disk_make_directory(fixture->disk, "/d"), STATUS_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer text;
        buffer_init(&text);
        buffer_append_string(&text, cases[i].text);
        buffer_append_format(&text, "checksum = %08x\n", crc32c(0, text.data, text.size));
        put(fixture, buffer_slice(&text));
        buffer_deinit(&text);
        assert_int_equal(read_record(fixture), STATUS_CORRUPT);
        char expected[FOUNDING_MESSAGE_BYTES];
        (void)snprintf(expected, sizeof(expected),
                       "/d/cluster:%d: this is not as cohort wrote it; copy the file from another node of the same "
                       "cluster, where it is the same",
                       cases[i].line);
        assert_string_equal(fixture->message, expected);
    }
    put(fixture, SLICE_LITERAL("cohort-cluster 2\n"));
    assert_int_equal(read_record(fixture), STATUS_VERSION);
    struct buffer large;
    buffer_init(&large);
    memset(buffer_reserve(&large, 1 << 20), 'x', 1 << 20);
    put(fixture, slice_of(large.data, 1 << 20));
    assert_int_equal(read_record(fixture), STATUS_CORRUPT);
    buffer_deinit(&large);
}

static void differences_are_shown(void **state)
{
    struct fixture *fixture = *state;
    struct founding_record *now = &fixture->other;
    *now = fixture->record;
    now->nodes[0].incarnation = (struct id128){0}; /* of no interest */
    assert_true(founding_record_matches(&fixture->record, now, "/d", fixture->message));
    now->shards = 4;
    now->replicas = 1;
    now->nodes[0].client.port = 7;
    now->nodes[2].id = 21;
    assert_false(founding_record_matches(&fixture->record, now, "/d", fixture->message));
    assert_string_equal(
        fixture->message,
        "/d/cluster: the cluster was founded with --shards 8 (now 4), with --replicas 3 (now 1), with node 1 at "
        "127.0.0.1:7001@17001 (peer host ::1) (now 127.0.0.1:7@17001 (peer host ::1)), with node 20 at "
        "127.0.0.1:7020@17020 (peer host ::1) (now without), without node 21 (now at 127.0.0.1:7020@17020 (peer host "
        "::1)); start this node as it was founded, or give another --data");
    now->count = 1;
    now->shards = 8;
    now->replicas = 3;
    assert_false(founding_record_matches(&fixture->record, now, "/d", fixture->message));
    assert_string_equal(fixture->message, "/d/cluster: the cluster was founded with --peers (now alone); start this "
                                          "node as it was founded, or give another --data");
    assert_false(founding_record_matches(now, &fixture->record, "/d", fixture->message));
    assert_non_null(strstr(fixture->message, "alone (now with --peers)"));
}

static void many_differences_fit_the_line(void **state)
{
    struct fixture *fixture = *state;
    struct member founders[PLACEMENT_MAXIMUM_NODES];
    for (uint64_t i = 0; i < PLACEMENT_MAXIMUM_NODES; i++) {
        founders[i] = member(i + 1);
    }
    assert_int_equal(founding_record_make(&fixture->record, founders, PLACEMENT_MAXIMUM_NODES, 1, 1), STATUS_OK);
    fixture->other = fixture->record;
    for (uint64_t i = 0; i < PLACEMENT_MAXIMUM_NODES; i++) {
        fixture->record.nodes[i].incarnation = (struct id128){{1}};
        fixture->other.nodes[i].client.port++;
    }
    assert_false(founding_record_matches(&fixture->record, &fixture->other, "/d", fixture->message));
    assert_non_null(strstr(fixture->message, " …; start this node as it was founded"));
    write_record(fixture, FOUNDING_FOUNDED);
    assert_int_equal(read_record(fixture), STATUS_OK);
    assert_memory_equal(&fixture->other, &fixture->record, sizeof(fixture->record));
}

int main(void)
{
#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(what_is_written_is_read),
        WITH_FIXTURE(the_text_is_for_people),
        WITH_FIXTURE(the_name_is_that_of_what_nodes_are_started_with),
        WITH_FIXTURE(what_makes_no_cluster),
        WITH_FIXTURE(one_node_has_no_addresses),
        WITH_FIXTURE(damage_is_found_everywhere),
        WITH_FIXTURE(lines_that_cannot_be),
        WITH_FIXTURE(differences_are_shown),
        WITH_FIXTURE(many_differences_fit_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
