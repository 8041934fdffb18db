/* Texts of scripts, by name (SHA-1) and by themselves: what one worker knows for EVALSHA.
 *
 * SCRIPT FLUSH must not be undone by a text that was on its way meanwhile. So texts have an age: the epoch of whoever
 * told of them. Each flush makes a new epoch, and whoever hears of a later one forgets what it has. Who hears a flush
 * late, because it was stopped, and was told of its epoch before by others, cannot tell it from another flush of that
 * moment: it makes one more epoch, so all nodes forget what was told since.
 *
 * Invariants
 * 1. No text is here that was told in an epoch before `floor`, the last one in which all were forgotten.
 * 2. Bounded: SCRIPTS_COUNT texts, SCRIPTS_BYTES together; the one that was not asked for longest goes first. */
#pragma once

#include "base/slice.h"
#include "script/script.h"

#include <stdbool.h>

enum { SCRIPTS_COUNT = 1024, SCRIPTS_BYTES = 8 << 20, SCRIPT_TEXTS_FIRST = 1 /* epoch */ };

struct script_texts;

struct script_texts *script_texts_create(void);
void script_texts_destroy(struct script_texts *texts);

/* The text of this name, in any case of its letters; it is now the last used. False: unknown. */
bool script_texts_find(struct script_texts *texts, struct slice name, struct slice *ret_text);
/* Gives the name, and keeps the text if a script may be that large. True: it was not there. */
bool script_texts_keep(struct script_texts *texts, struct slice text, char ret_sha[static SCRIPT_SHA_BYTES]);

uint64_t script_texts_epoch(const struct script_texts *texts);
/* A text that was told in that epoch may be kept. */
bool script_texts_welcome(const struct script_texts *texts, uint64_t epoch);
/* It is that epoch now; nothing if it was. `forget`: what was told before is forgotten. */
void script_texts_enter(struct script_texts *texts, uint64_t epoch, bool forget);
