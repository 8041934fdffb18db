#include <openssl/sha.h>

#include "script/script.h"

void script_sha(struct slice source, char ret_hex[static SCRIPT_SHA_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA_DIGEST_LENGTH];
    (void)SHA1(source.data, source.size, digest);
    for (size_t i = 0; i < sizeof(digest); i++) {
        ret_hex[2 * i] = digits[digest[i] >> 4];
        ret_hex[2 * i + 1] = digits[digest[i] & 15];
    }
}
