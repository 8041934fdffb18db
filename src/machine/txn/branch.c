#include "machine/txn/branch.h"

#include "base/assert.h"
#include "machine/txn/txn_limits.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const names[BRANCH_STATES] = {"JOINED", "COMMITTED", "ABORTED", "ABANDONED"};

const char *branch_state_name(enum branch_state state) { return names[state]; }

bool branch_state_parse(struct slice word, enum branch_state *ret_state)
{
    for (enum branch_state state = BRANCH_COMMITTED; state < BRANCH_STATES; state++) {
        if (slice_is_word(word, names[state])) {
            *ret_state = state;
            return true;
        }
    }
    return false;
}

void branch_deinit(struct branch *branch)
{
    free(branch->label);
    free(branch->resource);
    free(branch->evidence);
}

static bool is_plain(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '.' || byte == '_' || byte == '-';
}

bool branch_label_valid(struct slice label)
{
    bool valid = label.size > 0 && label.size <= TXN_LABEL_BYTES;
    for (size_t i = 0; i < label.size && valid; i++) {
        valid = is_plain(label.data[i]);
    }
    return valid;
}

bool branch_text_valid(struct slice text, size_t most)
{
    bool valid = text.size > 0 && text.size <= most;
    for (size_t i = 0; i < text.size && valid; i++) {
        valid = text.data[i] > ' ' && text.data[i] < 0x7f;
    }
    return valid;
}

/* ---- URLs ---- */

static size_t find(struct slice text, size_t from, const char *any)
{
    while (from < text.size && strchr(any, text.data[from]) == NULL) {
        from++;
    }
    return from;
}

/* user:password@ before the first '/', '?' or '#'; as a host cannot have an '@', the last one counts. */
static bool user_has_password(struct slice url, size_t start)
{
    size_t end = find(url, start, "/?#");
    size_t at = end;
    for (size_t i = start; i < end; i++) {
        at = url.data[i] == '@' ? i : at;
    }
    return at < end && find(url, start, ":") < at;
}

/* An option whose name ends so: password, sslpassword. Names may be written with %XX: one of those is none that is
 * known, and is refused too. */
static bool option_is_password(struct slice name)
{
    static const char word[] = "password";
    const size_t size = sizeof(word) - 1;
    bool encoded = find(name, 0, "%") < name.size;
    return encoded || (name.size >= size && slice_is_word(slice_of(name.data + name.size - size, size), word));
}

static bool options_have_password(struct slice url, size_t start)
{
    for (size_t at = find(url, start, "?#"); at < url.size; at = find(url, at + 1, "&;?#")) {
        size_t end = find(url, at + 1, "=&;?#");
        if (option_is_password(slice_of(url.data + at + 1, end - at - 1))) {
            return true;
        }
    }
    return false;
}

const char *branch_url_problem(struct slice url)
{
    size_t scheme = find(url, 0, ":");
    bool valid = branch_text_valid(url, TXN_URL_BYTES) && scheme > 0 && url.size > scheme + 3 &&
                 memcmp(url.data + scheme, "://", 3) == 0;
    if (!valid) {
        return "ERR the URL of a resource is scheme://…, at most 255 printable bytes";
    }
    if (user_has_password(url, scheme + 3) || options_have_password(url, scheme + 3)) {
        return "ERR the URL of a resource is shown to others, so it must not have a password; leave that out, and give "
               "it to the driver alone";
    }
    return NULL;
}

/* ---- names ---- */

static const char digits[] = "0123456789ABCDEF";

static size_t encode(struct slice id, char at[static BRANCH_PART_BYTES + 1])
{
    size_t size = 0;
    for (size_t i = 0; i < id.size && size + 3 <= BRANCH_PART_BYTES + 1; i++) {
        uint8_t byte = id.data[i];
        if (is_plain(byte) || byte == '~') {
            at[size++] = (char)byte;
        } else {
            at[size++] = '%';
            at[size++] = digits[byte >> 4];
            at[size++] = digits[byte & 15];
        }
    }
    at[size] = '\0';
    return size;
}

bool branch_name_fits(struct slice id, struct slice label)
{
    size_t size = label.size + 1;
    for (size_t i = 0; i < id.size; i++) {
        size += is_plain(id.data[i]) || id.data[i] == '~' ? 1 : 3;
    }
    return branch_label_valid(label) && size <= BRANCH_PART_BYTES;
}

size_t branch_name_make(char at[static BRANCH_NAME_BYTES], const struct branch_name *name)
{
    char id[BRANCH_PART_BYTES + 1];
    ASSERT(branch_name_fits(name->id, name->label));
    (void)encode(name->id, id);
    int size = snprintf(at, BRANCH_NAME_BYTES, "cohort:%s:%llu.%llx:%s:%.*s", name->cluster,
                        (unsigned long long)name->restores, (unsigned long long)name->position, id,
                        (int)name->label.size, (const char *)name->label.data);
    ASSERT(size > 0 && size < BRANCH_NAME_BYTES);
    return (size_t)size;
}

static bool take_digits(struct slice *from, uint64_t base, char end, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t size = 0;
    for (; size < from->size && from->data[size] != (uint8_t)end; size++) {
        uint8_t byte = from->data[size];
        uint64_t digit = byte >= '0' && byte <= '9'   ? (uint64_t)(byte - '0')
                         : byte >= 'a' && byte <= 'f' ? (uint64_t)(byte - 'a' + 10)
                                                      : UINT64_MAX;
        if (digit >= base || size == 15) {
            return false;
        }
        number = number * base + digit;
    }
    if (size == 0 || size == from->size) {
        return false;
    }
    *from = slice_of(from->data + size + 1, from->size - size - 1);
    *ret_number = number;
    return true;
}

/* There is one way to write a name: what is parsed is made again, and must be the same. */
bool branch_name_parse(struct slice text, struct slice cluster, struct slice id, struct branch_name *ret_name)
{
    static const char head[] = "cohort:";
    struct branch_name name = {.id = id};
    size_t before = sizeof(head) - 1 + BRANCH_CLUSTER_DIGITS + 1;
    if (cluster.size != BRANCH_CLUSTER_DIGITS || text.size <= before || text.size >= BRANCH_NAME_BYTES) {
        return false;
    }
    memcpy(name.cluster, cluster.data, BRANCH_CLUSTER_DIGITS);
    struct slice rest = slice_of(text.data + before, text.size - before);
    size_t label = text.size;
    while (label > 0 && text.data[label - 1] != ':') {
        label--;
    }
    name.label = slice_of(text.data + label, text.size - label);
    if (!take_digits(&rest, 10, '.', &name.restores) || !take_digits(&rest, 16, ':', &name.position) ||
        !branch_name_fits(id, name.label)) {
        return false;
    }
    char made[BRANCH_NAME_BYTES];
    size_t size = branch_name_make(made, &name);
    *ret_name = name;
    return slice_equal(text, slice_of(made, size));
}
