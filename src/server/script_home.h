/* The process's one script engine: its memory is at one address (script/script.h), so the workers of a node, and the
 * nodes of a simulation, share it. Opened when first asked for, and there until the process ends. */
#pragma once

#include "machine/scripts.h"

/* NULL when something else lies at that address. Any thread. */
const struct machine_scripts *script_home(void);
