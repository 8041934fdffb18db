/* The clock of engines whose locks are for one machine: CLOCK_BOOTTIME, which nobody sets and which goes on while the
 * machine sleeps, and the id of the boot that it counts from. After another boot nobody lives who held anything. */
#pragma once

#include "base/status.h"

#include <stdint.h>

enum { MACHINE_BOOT_BYTES = 16 };

int64_t machine_time_ms(void);

/* STATUS_IO: /proc is not there, or the machine says nothing. */
MUST_USE enum status machine_boot(uint8_t ret_boot[static MACHINE_BOOT_BYTES]);
