/* What the errors of a Redis server mean for an engine. */
#pragma once

#include "engine/engine.h"

/* What an error reply means; `ret_problem` has words, which begin with a code when it is ENGINE_REFUSED. */
enum engine_code redis_error(const char *scheme, const char *text, char *ret_problem, size_t size);
