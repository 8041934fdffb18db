#include "env_uv/internal.h"

#include <errno.h>

enum status env_uv_status(int error)
{
    switch (error < 0 ? -error : error) {
    case EAGAIN: return STATUS_AGAIN;
    case ENOMEM:
    case ENOBUFS: return STATUS_NOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return STATUS_NOSPACE;
    case EROFS: return STATUS_READONLY;
    case ENOENT:
    case ENOTDIR: return STATUS_NOTFOUND;
    case EEXIST:
    case ENOTEMPTY: return STATUS_EXISTS;
    case EINVAL:
    case EISDIR:
    case ENAMETOOLONG:
    case EADDRNOTAVAIL: return STATUS_INVALID;
    case EMFILE:
    case ENFILE: return STATUS_FULL;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN: return STATUS_CLOSED;
    case ETIMEDOUT: return STATUS_TIMEOUT;
    case EBUSY:
    case EADDRINUSE: return STATUS_BUSY;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN: return STATUS_REFUSED;
    case EACCES:
    case EPERM: return STATUS_DENIED;
    case ECANCELED: return STATUS_CANCELLED;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT: return STATUS_UNSUPPORTED;
    default: return STATUS_IO;
    }
}
