/* The meta group's state: any bytes are refused or mean a state, or a change, that has exactly these bytes; and any
 * changes, one after the other, leave a state that survives its own bytes.
 *
 * The first byte chooses: a state, or changes, each after a byte with its size. */
#include "cluster/members.h"
#include "fuzz.h"

static void check_state(struct slice input, struct members *members)
{
    struct buffer bytes;
    buffer_init(&bytes);
    if (members_decode(input, members) == STATUS_OK) {
        members_encode(members, &bytes);
        ASSERT(slice_equal(buffer_slice(&bytes), input));
    }
    buffer_deinit(&bytes);
}

static void start(struct members *members)
{
    struct member nodes[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        nodes[i].id = i + 1;
        ASSERT(member_address_make(&nodes[i].client, SLICE_LITERAL("h"), (int64_t)i + 1));
        ASSERT(member_address_make(&nodes[i].peer, SLICE_LITERAL("p"), (int64_t)i + 1));
    }
    struct id128 cluster = {{1}};
    ASSERT(members_make(members, &cluster, 2, 3, nodes, 3) == STATUS_OK);
}

static void take_change(struct slice input, struct members *members)
{
    struct members_change change;
    if (members_change_decode(input, &change) != STATUS_OK) {
        return;
    }
    struct buffer bytes;
    buffer_init(&bytes);
    members_change_encode(&change, &bytes);
    ASSERT(slice_equal(buffer_slice(&bytes), input));
    buffer_clear(&bytes);
    enum members_verdict judged = members_judge(members, &change);
    enum members_verdict verdict;
    if (members_apply(members, &change, &verdict) == STATUS_OK) {
        ASSERT(verdict == judged);
        char text[MEMBERS_EXPLAIN_BYTES];
        members_explain(members, &change, verdict, text);
        members_encode(members, &bytes);
        ASSERT(members_decode(buffer_slice(&bytes), members) == STATUS_OK);
    }
    buffer_deinit(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of(data, size);
    struct members *members = members_create();
    uint8_t how = fuzz_take_byte(&input);
    if (how % 3 == 0) {
        check_state(input, members);
    } else if (how % 3 == 1) {
        start(members);
    }
    while (how % 3 != 0 && input.size > 0) {
        size_t piece = fuzz_take_byte(&input);
        piece = piece < input.size ? piece : input.size;
        take_change(slice_of(input.data, piece), members);
        input = slice_of(input.data + piece, input.size - piece);
    }
    members_destroy(members);
    return 0;
}
