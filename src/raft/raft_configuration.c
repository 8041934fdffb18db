#include "raft/raft_configuration.h"

#include "base/assert.h"
#include "base/record.h"

static bool set_has(const uint64_t *set, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (set[i] == id) {
            return true;
        }
    }
    return false;
}

static bool set_valid(const uint64_t *set, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (set[i] == 0 || (i > 0 && set[i] <= set[i - 1])) {
            return false;
        }
    }
    return true;
}

static void set_copy_sorted(uint64_t *to, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && to[at - 1] > from[i]; at--) {
            to[at] = to[at - 1];
        }
        to[at] = from[i];
    }
}

enum status raft_configuration_make(const uint64_t *voters, size_t voter_count, const uint64_t *learners,
                                    size_t learner_count, struct raft_configuration *ret_configuration)
{
    if (voter_count == 0 || voter_count > RAFT_MAXIMUM_VOTERS || learner_count > RAFT_MAXIMUM_LEARNERS) {
        return STATUS_INVALID;
    }
    struct raft_configuration made = {.voter_count = (uint8_t)voter_count, .learner_count = (uint8_t)learner_count};
    set_copy_sorted(made.voters, voters, voter_count);
    set_copy_sorted(made.learners, learners, learner_count);
    if (!raft_configuration_valid(&made)) {
        return STATUS_INVALID;
    }
    *ret_configuration = made;
    return STATUS_OK;
}

bool raft_configuration_valid(const struct raft_configuration *c)
{
    if (c->voter_count > RAFT_MAXIMUM_VOTERS || c->outgoing_count > RAFT_MAXIMUM_VOTERS ||
        c->learner_count > RAFT_MAXIMUM_LEARNERS) {
        return false;
    }
    if (c->voter_count == 0 && c->outgoing_count + c->learner_count > 0) {
        return false;
    }
    for (size_t i = 0; i < c->learner_count; i++) {
        if (set_has(c->voters, c->voter_count, c->learners[i])) {
            return false;
        }
    }
    return set_valid(c->voters, c->voter_count) && set_valid(c->outgoing, c->outgoing_count) &&
           set_valid(c->learners, c->learner_count);
}

static void set_encode(const uint64_t *set, size_t count, struct buffer *out)
{
    buffer_append_byte(out, (uint8_t)count);
    record_put_numbers(out, set, count);
}

void raft_configuration_encode(const struct raft_configuration *c, struct buffer *out)
{
    ASSERT(raft_configuration_valid(c));
    buffer_append_byte(out, RAFT_CONFIGURATION_VERSION);
    set_encode(c->voters, c->voter_count, out);
    set_encode(c->outgoing, c->outgoing_count, out);
    set_encode(c->learners, c->learner_count, out);
}

static bool set_decode(struct slice *from, uint64_t *set, size_t capacity, uint8_t *ret_count)
{
    if (from->size == 0 || from->data[0] > capacity) {
        return false;
    }
    *ret_count = from->data[0];
    *from = slice_of(from->data + 1, from->size - 1);
    for (size_t i = 0; i < *ret_count; i++) {
        if (!varint_take(from, &set[i])) {
            return false;
        }
    }
    return true;
}

enum status raft_configuration_decode(struct slice bytes, struct raft_configuration *ret_configuration)
{
    if (bytes.size == 0) {
        return STATUS_INVALID;
    }
    if (bytes.data[0] != RAFT_CONFIGURATION_VERSION) {
        return bytes.data[0] > RAFT_CONFIGURATION_VERSION ? STATUS_VERSION : STATUS_INVALID;
    }
    struct slice rest = slice_of(bytes.data + 1, bytes.size - 1);
    struct raft_configuration c = {0};
    if (!set_decode(&rest, c.voters, RAFT_MAXIMUM_VOTERS, &c.voter_count) ||
        !set_decode(&rest, c.outgoing, RAFT_MAXIMUM_VOTERS, &c.outgoing_count) ||
        !set_decode(&rest, c.learners, RAFT_MAXIMUM_LEARNERS, &c.learner_count) || rest.size != 0 ||
        !raft_configuration_valid(&c)) {
        return STATUS_INVALID;
    }
    *ret_configuration = c;
    return STATUS_OK;
}

static bool set_equal(const uint64_t *a, size_t a_count, const uint64_t *b, size_t b_count)
{
    return a_count == b_count && memcmp(a, b, a_count * sizeof *a) == 0;
}

bool raft_configuration_equal(const struct raft_configuration *a, const struct raft_configuration *b)
{
    return set_equal(a->voters, a->voter_count, b->voters, b->voter_count) &&
           set_equal(a->outgoing, a->outgoing_count, b->outgoing, b->outgoing_count) &&
           set_equal(a->learners, a->learner_count, b->learners, b->learner_count);
}

bool raft_configuration_is_voter(const struct raft_configuration *c, uint64_t id)
{
    ASSERT(id != 0);
    return set_has(c->voters, c->voter_count, id) || set_has(c->outgoing, c->outgoing_count, id);
}

bool raft_configuration_has(const struct raft_configuration *c, uint64_t id)
{
    return raft_configuration_is_voter(c, id) || set_has(c->learners, c->learner_count, id);
}
