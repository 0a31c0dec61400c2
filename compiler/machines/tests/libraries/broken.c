/* Breaks the contract in the way that the input asks for; otherwise y = x. */
#include <stdint.h>

struct inputs { const int32_t *x; };
struct outputs { int32_t *y; };

int32_t broken_run(const struct inputs *in, const struct outputs *out, void *arena) {
    volatile unsigned char *bytes = arena;
    switch (*in->x) {
    case 1: bytes[16] = 1; break;
    case 2: *(int32_t *)in->x = 0; break;
    case 3: return 0; /* y stays unwritten */
    case 4: *out->y = bytes[3]; return 0;
    case 5: return 7;
    case 6: __builtin_trap();
    case 7: for (;;) *(volatile int32_t *)bytes = 0, bytes += 4096;
    default: break;
    }
    *out->y = *in->x;
    return 0;
}
