#include "engine/machine_time.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t machine_time_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int digit_of(char letter)
{
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

enum status machine_boot(uint8_t ret_boot[static MACHINE_BOOT_BYTES])
{
    char text[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (fd >= 0) {
        (void)close(fd);
    }
    uint8_t boot[MACHINE_BOOT_BYTES] = {0};
    size_t digits = 0;
    for (ssize_t i = 0; i < size && digits < 2 * sizeof(boot); i++) {
        int digit = digit_of(text[i]);
        if (digit >= 0) {
            boot[digits / 2] = (uint8_t)(16 * boot[digits / 2] + digit);
            digits++;
        }
    }
    if (digits != 2 * sizeof(boot)) {
        return STATUS_IO;
    }
    memcpy(ret_boot, boot, sizeof(boot));
    return STATUS_OK;
}
