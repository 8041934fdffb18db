/* OBJECT: what Redis would say about how a value is kept. */
#include "command/machine_handlers.h"
#include "machine/call.h"

static const struct entry *find_object(struct call *call)
{
    const struct entry *entry = call_look(call, call->argv[2]);
    if (entry == NULL) {
        resp_null(&call->reply);
    }
    return entry;
}

void keys_object_encoding(struct call *call)
{
    static const char *const names[] = {
        [ENCODING_INT] = "int",           [ENCODING_EMBSTR] = "embstr",       [ENCODING_RAW] = "raw",
        [ENCODING_LISTPACK] = "listpack", [ENCODING_HASHTABLE] = "hashtable",
    };
    const struct entry *entry = find_object(call);
    if (entry != NULL) {
        resp_bulk_string(&call->reply, names[entry_encoding(entry)]);
    }
}

/* Redis shares the integers below 10000 among all keys and tells so by a count that cannot be. */
void keys_object_refcount(struct call *call)
{
    const struct entry *entry = find_object(call);
    if (entry != NULL) {
        int64_t value;
        bool shared = entry_type(entry) == ENTRY_STRING && entry_integer(entry, &value) && value >= 0 && value < 10000;
        resp_integer(&call->reply, shared ? INT32_MAX : 1);
    }
}

/* Reads leave no trace in the state (machine.h, invariant 4), so a key is never idle. */
void keys_object_idletime(struct call *call)
{
    if (find_object(call) != NULL) {
        resp_integer(&call->reply, 0);
    }
}

void keys_object_freq(struct call *call)
{
    if (find_object(call) != NULL) {
        resp_error(&call->reply,
                   "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when "
                   "switching between policies at runtime LRU and LFU data will take some time to adjust.");
    }
}
