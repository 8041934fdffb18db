/* Names of branches as xids: `cohort:CLUSTER:R.P` and `TXID:BRANCH`, in hexadecimal digits, and a format of its own. */
#pragma once

#include "resource/resource_name.h"

enum { MARIA_XID_FORMAT = 0x436f686f /* "Coho" */, MARIA_XID_BYTES = 4 * BRANCH_XA_PART_BYTES + 64 };

/* "X'…',X'…',1131374703". False: one of its parts is too long. */
__attribute__((warn_unused_result)) bool maria_xid_format(const char *name, char ret_xid[static MARIA_XID_BYTES]);

/* The name of a row of XA RECOVER: format, sizes of both parts, both parts, as they are told (names are ASCII, so the
 * sizes tell them apart). NULLs are fine. False: foreign. */
__attribute__((warn_unused_result)) bool maria_xid_parse(const char *format, const char *first, const char *second,
                                                         struct slice data, char ret_name[static BRANCH_NAME_BYTES]);
