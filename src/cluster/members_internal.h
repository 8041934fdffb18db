/* What the files of members share. */
#pragma once

#include "cluster/members.h"

/* All invariants hold. */
bool members_valid(const struct members *members);
/* Voters ascending and at least one, the leader among them. */
bool members_place_sound(const struct placement_shard *place);
/* Invariant 5. */
bool members_place_valid(const struct members *members, const struct placement_shard *place);
bool members_address_equal(const struct member_address *a, const struct member_address *b);
/* Whether a node other than `id` has one of the addresses. */
bool members_address_taken(const struct members *members, uint64_t id, const struct member_address *client,
                           const struct member_address *peer);
struct member *members_find_mutable(struct members *members, uint64_t id);
