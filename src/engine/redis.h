/* redis://[[user]:password@]host[:port][/db]: locks at one Redis server. */
#pragma once

#include "engine/engine.h"

extern const struct engine_ops engine_redis;
