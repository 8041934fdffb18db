#include "resource/resource_name.h"

#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>

static const char prefix[] = "cohort:";
static const char digits[] = "0123456789ABCDEF";

static bool is_plain(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '.' || byte == '_' || byte == '-';
}

static bool is_plain_in_txid(uint8_t byte) { return is_plain(byte) || byte == '~'; }

bool resource_label_is_good(struct slice label)
{
    bool good = label.size > 0 && label.size < BRANCH_LABEL_BYTES;
    for (size_t i = 0; good && i < label.size; i++) {
        good = is_plain(label.data[i]);
    }
    return good;
}

bool resource_cluster_is_good(struct slice cluster)
{
    bool good = cluster.size == BRANCH_CLUSTER_DIGITS;
    bool zero = true;
    for (size_t i = 0; good && i < cluster.size; i++) {
        uint8_t byte = cluster.data[i];
        good = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
        zero = zero && byte == '0';
    }
    return good && !zero;
}

/* ---- to text ---- */

struct writer {
    char *text;
    size_t size;
    bool fits;
};

static void put(struct writer *writer, char byte)
{
    if (writer->size + 1 >= BRANCH_NAME_BYTES) {
        writer->fits = false;
        return;
    }
    writer->text[writer->size++] = byte;
}

static void put_text(struct writer *writer, const char *text)
{
    for (; *text != '\0'; text++) {
        put(writer, *text);
    }
}

bool resource_name_format(const struct resource_name *name, char ret_text[static BRANCH_NAME_BYTES])
{
    char epoch[2 * NUMBER_INT64_BYTES + 2];
    (void)snprintf(epoch, sizeof(epoch), "%" PRIu64 ".%" PRIx64, name->restores, name->position);
    struct writer writer = {.text = ret_text, .fits = true};
    put_text(&writer, prefix);
    put_text(&writer, name->cluster);
    put(&writer, ':');
    put_text(&writer, epoch);
    put(&writer, ':');
    for (const char *at = name->txid; *at != '\0'; at++) {
        uint8_t byte = (uint8_t)*at;
        if (is_plain_in_txid(byte)) {
            put(&writer, *at);
        } else {
            put(&writer, '%');
            put(&writer, digits[byte >> 4]);
            put(&writer, digits[byte & 15]);
        }
    }
    put(&writer, ':');
    put_text(&writer, name->label);
    ret_text[writer.size] = '\0';
    return writer.fits && resource_cluster_is_good(slice_from_string(name->cluster)) && name->txid[0] != '\0' &&
           resource_label_is_good(slice_from_string(name->label));
}

/* ---- from text ---- */

/* Up to the next colon, which is taken, too. */
static struct slice take_field(struct slice *text)
{
    const uint8_t *colon = text->size == 0 ? NULL : memchr(text->data, ':', text->size);
    size_t size = colon == NULL ? text->size : (size_t)(colon - text->data);
    struct slice field = slice_of(text->data, size);
    size_t taken = colon == NULL ? size : size + 1;
    *text = slice_of(text->data + taken, text->size - taken);
    return field;
}

static int hex_of(uint8_t byte)
{
    const char *found = byte == '\0' ? NULL : strchr(digits, byte);
    return found == NULL ? -1 : (int)(found - digits);
}

static bool take_txid(struct slice field, char txid[static BRANCH_TXID_BYTES])
{
    size_t size = 0;
    for (size_t i = 0; i < field.size; i++) {
        uint8_t byte = field.data[i];
        if (byte == '%') {
            int high = i + 2 < field.size ? hex_of(field.data[i + 1]) : -1;
            int low = high < 0 ? -1 : hex_of(field.data[i + 2]);
            if (low < 0) {
                return false;
            }
            byte = (uint8_t)(high << 4 | low);
            i += 2;
            if (byte == 0 || is_plain_in_txid(byte)) { /* there is one way to write it */
                return false;
            }
        } else if (!is_plain_in_txid(byte)) {
            return false;
        }
        if (size + 1 == BRANCH_TXID_BYTES) {
            return false;
        }
        txid[size++] = (char)byte;
    }
    txid[size] = '\0';
    return size > 0;
}

/* R.P, without zeros in front of either. */
static bool take_epoch(struct slice field, struct resource_name *name)
{
    const uint8_t *dot = field.size == 0 ? NULL : memchr(field.data, '.', field.size);
    int64_t restores = 0;
    if (dot == NULL || !number_parse_int64(slice_of(field.data, (size_t)(dot - field.data)), &restores) ||
        restores < 0) {
        return false;
    }
    size_t digits_count = field.size - (size_t)(dot + 1 - field.data);
    bool good = digits_count >= 1 && digits_count <= 16 && (dot[1] != '0' || digits_count == 1);
    for (size_t i = 1; good && i <= digits_count; i++) {
        int digit = dot[i] >= 'a' ? hex_of((uint8_t)(dot[i] - 32)) : dot[i] <= '9' ? hex_of(dot[i]) : -1;
        good = digit >= 0;
        name->position = name->position << 4 | (uint64_t)(digit & 15);
    }
    name->restores = (uint64_t)restores;
    return good;
}

bool resource_name_parse(struct slice text, struct resource_name *ret_name)
{
    struct resource_name name = {0};
    if (text.size >= BRANCH_NAME_BYTES || !slice_starts_with(text, slice_from_string(prefix))) {
        return false;
    }
    struct slice rest = slice_of(text.data + strlen(prefix), text.size - strlen(prefix));
    struct slice cluster = take_field(&rest);
    struct slice epoch = take_field(&rest);
    struct slice txid = take_field(&rest);
    struct slice label = rest;
    if (!resource_cluster_is_good(cluster) || !take_epoch(epoch, &name) || !take_txid(txid, name.txid) ||
        !resource_label_is_good(label)) {
        return false;
    }
    memcpy(name.cluster, cluster.data, cluster.size);
    memcpy(name.label, label.data, label.size);
    *ret_name = name;
    return true;
}

size_t resource_name_xa_split(struct slice text)
{
    size_t colons = 0;
    for (size_t i = 0; i < text.size; i++) {
        colons += text.data[i] == ':';
        if (colons == 3) {
            return i <= BRANCH_XA_PART_BYTES && text.size - i - 1 <= BRANCH_XA_PART_BYTES ? i + 1 : 0;
        }
    }
    return 0;
}
