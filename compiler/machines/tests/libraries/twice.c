/* A library as the compiler writes them, by hand: y[i] = 2 * x[i] by way of the arena, sign[i] = x[i] < 0. */
#include <stdint.h>

struct inputs { const float *x; };
struct outputs { float *y; int8_t *sign; };

int32_t twice_run(const struct inputs *in, const struct outputs *out, void *arena) {
    volatile float *scratch = arena;
    volatile char stack[200];
    for (int byte = 0; byte < 200; byte++) stack[byte] = 1;
    for (int i = 0; i < 10; i++) scratch[i] = in->x[i] * 2.0f;
    for (int i = 0; i < 10; i++) {
        out->y[i] = scratch[i];
        out->sign[i] = in->x[i] < 0.0f;
    }
    return stack[7] - 1;
}
