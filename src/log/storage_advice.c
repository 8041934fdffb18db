#include "log/storage_advice.h"

const char *storage_advice(enum status status)
{
    switch (status) {
    case STATUS_IO: return "the disk failed; look at the kernel's messages (dmesg) and replace it";
    case STATUS_NOSPACE: return "free some space on this disk, then start again";
    case STATUS_READONLY:
        return "the file system is read-only; look at the kernel's messages (dmesg) for the reason, then mount it "
               "writable";
    case STATUS_DENIED:
        return "give the user that runs cohort read and write permission for the data folder and its files";
    case STATUS_NOTFOUND: return "the folder is not there; make it or correct the path";
    case STATUS_VERSION: return "another version of cohort wrote it; start that one";
    case STATUS_CORRUPT: return "nothing was changed"; /* the way out depends on the cluster: server/data_folder.h */
    case STATUS_FULL: return "raise the limit of open files (ulimit -n), then start again";
    case STATUS_NOMEM: return "give this machine or process more memory, then start again";
    default: return "move away what does not belong here, and bring back what does";
    }
}
