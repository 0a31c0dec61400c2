/* How a generated library runs its parallel loops on more than one core.
 *
 * <name>_run() needs nothing of this: it stays on the caller's thread. <name>_run_threads() hands every parallel loop
 * to parallel_for(), which the application supplies (its own scheduler), or takes from the pool in
 * runtime/threads/onnxc_pool.h. */
#ifndef ONNXC_THREADS_H
#define ONNXC_THREADS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct onnxc_threads {
    /* Must run body(context, first, last) over ranges that cover 0..count exactly once, in any order and on any
     * threads, and return when all of them are done. Ranges are first <= i < last. count may be 0. It is not called
     * from within a body. */
    void (*parallel_for)(void *pool, void (*body)(void *context, int32_t first, int32_t last), void *context,
                         int32_t count);
    /* Passed through as the first argument. */
    void *pool;
};

#ifdef __cplusplus
}
#endif

#endif
