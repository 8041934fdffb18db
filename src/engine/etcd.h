/* etcd://host[:port],…[/prefix]: locks in an etcd cluster, laid out as etcd's own. */
#pragma once

#include "engine/engine.h"

extern const struct engine_ops engine_etcd;
