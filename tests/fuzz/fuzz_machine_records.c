/* Records of a snapshot: any bytes are taken or refused, and what was taken can be let go of. */
#include "base/varint.h"
#include "fuzz.h"
#include "machine/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *machine = machine_create(&(struct machine_options){7});
    struct slice rest = slice_of(data, size);
    uint64_t record;
    while (rest.size > 0 && varint_take(&rest, &record) && record <= rest.size) {
        enum status status = machine_load_record(machine, slice_of(rest.data, record));
        ASSERT(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_VERSION);
        if (status != STATUS_OK) {
            break;
        }
        rest = slice_of(rest.data + record, rest.size - record);
    }
    machine_destroy(machine);
    return 0;
}
