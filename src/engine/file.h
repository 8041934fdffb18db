/* file:///folder: locks of the processes of one machine, in files. */
#pragma once

#include "engine/engine.h"

extern const struct engine_ops engine_file;
