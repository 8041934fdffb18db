#include "base/status.h"

const char *status_text(enum status status)
{
    switch (status) {
    case STATUS_OK: return "ok";
    case STATUS_AGAIN: return "not ready";
    case STATUS_NOMEM: return "out of memory";
    case STATUS_IO: return "input/output error";
    case STATUS_NOSPACE: return "disk full";
    case STATUS_READONLY: return "read-only file system";
    case STATUS_NOTFOUND: return "not found";
    case STATUS_EXISTS: return "already exists";
    case STATUS_CORRUPT: return "data is damaged";
    case STATUS_VERSION: return "written by a newer version";
    case STATUS_INVALID: return "malformed";
    case STATUS_TOO_LARGE: return "over the limit";
    case STATUS_FULL: return "queue full";
    case STATUS_CLOSED: return "closed";
    case STATUS_TIMEOUT: return "timed out";
    case STATUS_BUSY: return "in use";
    case STATUS_REFUSED: return "connection refused";
    case STATUS_DENIED: return "permission denied";
    case STATUS_CANCELLED: return "cancelled";
    case STATUS_UNSUPPORTED: return "not supported";
    case STATUS_NOT_LEADER: return "not the leader";
    case STATUS_NO_LEADER: return "no leader";
    case STATUS_UNCERTAIN: return "outcome unknown";
    case STATUS_EXECUTED: return "done, but its result is lost";
    case STATUS_STALE: return "what is here is too old";
    }
    return "unknown status";
}
