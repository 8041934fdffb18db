/* DIR/cluster and the messages of a founding: any bytes are refused with a reason, or mean a record, or a message, that
 * has exactly these bytes.
 *
 * The first byte chooses: a message; the file as it is; or its lines, with the checksum that they need. */
#include "base/crc32c.h"
#include "cluster/founding_internal.h"
#include "disk_env.h"
#include "fuzz.h"

static void start(struct founding_record *record)
{
    struct member nodes[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        nodes[i].id = i + 1;
        ASSERT(member_address_make(&nodes[i].client, SLICE_LITERAL("h"), (int64_t)i + 1));
        ASSERT(member_address_make(&nodes[i].peer, SLICE_LITERAL("p"), (int64_t)i + 1));
    }
    ASSERT(founding_record_make(record, nodes, 3, 2, 3) == STATUS_OK);
}

static void check_message(struct slice input)
{
    struct founding_record record;
    struct founding_message message;
    struct buffer bytes;
    buffer_init(&bytes);
    start(&record);
    if (input.size >= 16) { /* else no input would ever come past the cluster's name */
        memcpy(&record.cluster, input.data + (input.size >= 18 ? 2 : 0), sizeof(record.cluster));
    }
    if (founding_message_decode(&record, input, &message) == STATUS_OK) {
        for (uint32_t i = 0; message.state != FOUNDING_FRESH && i < record.count; i++) {
            record.nodes[i].incarnation = message.set[i];
        }
        founding_message_encode(&record, message.state, &bytes);
        ASSERT(slice_equal(buffer_slice(&bytes), input));
    }
    buffer_deinit(&bytes);
}

static void check_file(struct slice input)
{
    struct sim_disk *disk = sim_disk_create(1);
    struct disk_env env;
    struct env_file *file = NULL;
    struct iovec part = {(void *)(uintptr_t)input.data, input.size};
    disk_env_init(&env, disk);
    ASSERT(sim_disk_open(disk, "/cluster", ENV_OPEN_WRITE | ENV_OPEN_CREATE, &file) == STATUS_OK);
    ASSERT(sim_disk_write(disk, file, 0, &part, 1) == STATUS_OK);
    sim_disk_close(disk, file);
    struct founding_record record;
    enum founding_state state = FOUNDING_FRESH;
    char message[FOUNDING_MESSAGE_BYTES] = "";
    struct slice again;
    if (founding_record_read(&env.env, "", &state, &record, message) == STATUS_OK) {
        ASSERT(founding_record_write(&env.env, "", state, &record, message) == STATUS_OK);
        ASSERT(sim_disk_peek(disk, "/cluster", &again) == STATUS_OK && slice_equal(again, input));
        ASSERT(founding_record_matches(&record, &record, "", message));
    } else {
        ASSERT(strstr(message, "; ") != NULL); /* says what to do */
    }
    sim_disk_destroy(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size);
    uint8_t how = fuzz_take_byte(&input);
    if (how % 3 == 0) {
        check_message(input);
    } else if (how % 3 == 1) {
        check_file(input);
    } else {
        struct buffer text;
        buffer_init(&text);
        buffer_append_slice(&text, input);
        buffer_append_format(&text, "checksum = %08x\n", crc32c(0, text.data, text.size));
        check_file(buffer_slice(&text));
        buffer_deinit(&text);
    }
    return 0;
}
