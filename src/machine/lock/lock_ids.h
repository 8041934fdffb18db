/* REENTRANT: a claim that counts has an id for each logical acquire of its owner, and is released with the last of
 * them. Ids stand in the order in which they came; none is there twice. For the files of this folder alone. */
#pragma once

#include "machine/lock/lock.h"

bool claim_has_id(const struct claim *claim, struct slice id);
void claim_add_id(struct locks *locks, struct claim *claim, struct slice id);
/* Takes one away, the last one when `id` is empty. False: it has not this one. */
bool claim_take_id(struct locks *locks, struct claim *claim, struct slice id);
/* It has this one alone from now on, or none when `id` is empty. */
void claim_set_id(struct locks *locks, struct claim *claim, struct slice id);
