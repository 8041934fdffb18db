/* Whether this build is one for the address sanitizer, whose memory behaves otherwise; gcc and clang say it in their
 * own ways. */
#pragma once

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED_ADDRESS 1
#endif
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED_ADDRESS 1
#endif
#endif
#ifndef SANITIZED_ADDRESS
#define SANITIZED_ADDRESS 0
#endif
