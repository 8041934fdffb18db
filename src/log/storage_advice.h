/* What a person can do when storage fails, in words that fit after "…: ". */
#pragma once

#include "base/status.h"

const char *storage_advice(enum status status);
