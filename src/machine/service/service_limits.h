/* What users can grow of services, and how far. Beyond, they are refused in words; of what is only remembered, the
 * oldest is forgotten. */
#pragma once

#include <stdint.h>

enum {
    SERVICE_NAME_BYTES = 512,
    SERVICE_ID_BYTES = 255,
    SERVICE_ADDRESS_BYTES = 280, /* of a host 255, and a port */
    SERVICE_ZONE_BYTES = 63,
    SERVICE_META_FIELDS = 32,  /* of an endpoint, … */
    SERVICE_META_BYTES = 4096, /* … and their names and values together */
    SERVICE_WEIGHT = 65535,    /* as balance/balancer.h has them */
    SERVICE_WEIGHT_DEFAULT = 100,
    SERVICE_ENDPOINTS = 4096,        /* of a service, … */
    SERVICES_ENDPOINTS = 128 << 10,  /* … of a shard, … */
    SERVICES_MAXIMUM = 64 << 10,     /* … and services that have some */
    SERVICES_IDLE = 16 << 10,        /* without any, of which the last changes are known: those that were left last */
    SERVICE_CHANGES = 1024,          /* that are known of a service: the last ones, … */
    SERVICES_CHANGE_BYTES = 32 << 20 /* … and of all in a shard together */
};
