#include "resource/mariadb_xid.h"

#include <stdio.h>
#include <stdlib.h>

static size_t put_hex(char *text, size_t size, struct slice bytes)
{
    text[size++] = 'X';
    text[size++] = '\'';
    for (size_t i = 0; i < bytes.size; i++) {
        size += (size_t)snprintf(&text[size], 3, "%02x", bytes.data[i]);
    }
    text[size++] = '\'';
    text[size++] = ',';
    return size;
}

bool maria_xid_format(const char *name, char ret_xid[static MARIA_XID_BYTES])
{
    size_t split = resource_name_xa_split(slice_from_string(name));
    if (split == 0) {
        return false;
    }
    size_t size = put_hex(ret_xid, 0, slice_of(name, split - 1));
    size = put_hex(ret_xid, size, slice_from_string(name + split));
    (void)snprintf(&ret_xid[size], MARIA_XID_BYTES - size, "%d", MARIA_XID_FORMAT);
    return true;
}

bool maria_xid_parse(const char *format, const char *first, const char *second, struct slice data,
                     char ret_name[static BRANCH_NAME_BYTES])
{
    if (format == NULL || first == NULL || second == NULL || data.data == NULL ||
        strtol(format, NULL, 10) != MARIA_XID_FORMAT) {
        return false;
    }
    unsigned long before = strtoul(first, NULL, 10);
    unsigned long behind = strtoul(second, NULL, 10);
    if (before > BRANCH_XA_PART_BYTES || behind > BRANCH_XA_PART_BYTES || before + behind != data.size ||
        memchr(data.data, '\0', data.size) != NULL) {
        return false;
    }
    (void)snprintf(ret_name, BRANCH_NAME_BYTES, "%.*s:%.*s", (int)before, (const char *)data.data, (int)behind,
                   (const char *)data.data + before);
    return true;
}
