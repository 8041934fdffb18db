/* What a person can do when an address cannot be listened at. */
#pragma once

#include "base/status.h"

enum { LISTEN_ADVICE_BYTES = 128 };

/* Words that fit after "…: "; `option` is the one that gives the address, as "--listen". */
void listen_advice(enum status status, const char *option, char ret_text[static LISTEN_ADVICE_BYTES]);
