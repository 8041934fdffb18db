/* What BARRIER.ENTER and LATCH.WAIT say. */
#pragma once

#include "machine/meet/meets.h"

/* Each parses what stands behind the command's name (and the origin). NULL, or what is wrong, as a reply's error; the
 * origin is not touched, nor the owner of a latch's. */
const char *barrier_request_parse(const struct slice *argv, uint32_t argc, struct meet_request *ret_request);
const char *latch_request_parse(const struct slice *argv, uint32_t argc, struct meet_request *ret_request);
const char *latch_name_fits(struct slice name);
/* "barrier" or "latch": in what nodes say about those who wait. */
bool meet_kind_parse(struct slice word, enum meet_kind *ret_kind);
