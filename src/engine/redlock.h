/* redlock://[[user]:password@]host1[:port],host2[:port],…[/db]: locks at most of several Redis servers. */
#pragma once

#include "engine/engine.h"

extern const struct engine_ops engine_redlock;
