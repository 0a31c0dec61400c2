/* The three functions that compilers call on their own, for programs without a C library. */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    unsigned char *out = to;
    const unsigned char *in = from;
    while (bytes--) *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
    unsigned char *out = to;
    const unsigned char *in = from;
    if (out < in) return memcpy(to, from, bytes);
    while (bytes--) out[bytes] = in[bytes];
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    unsigned char *out = to;
    while (bytes--) *out++ = (unsigned char)value;
    return to;
}
