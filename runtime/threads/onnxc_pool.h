/* A small thread pool for onnxc_threads.h: POSIX threads, nothing allocated, no globals. */
#ifndef ONNXC_POOL_H
#define ONNXC_POOL_H

#include <pthread.h>
#include <stdint.h>

#include "onnxc_threads.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ONNXC_POOL_MAX_WORKERS 63

/* What is left of a thread's share of the loop at hand, on a cache line of its own: the loop's round in the upper half,
 * so that no piece is taken for one of another loop, and the number of pieces. */
struct onnxc_pool_share {
    uint64_t left;
    uint64_t line[7];
};

/* Its memory is the application's; the fields are the pool's. It must not move while it runs. */
struct onnxc_pool {
    struct onnxc_pool_share shares[ONNXC_POOL_MAX_WORKERS + 1];
    pthread_t workers[ONNXC_POOL_MAX_WORKERS];
    int32_t worker_count;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* The loop at hand; written before its pieces are. */
    void (*body)(void *context, int32_t first, int32_t last);
    void *context;
    int32_t count;
    int32_t pieces;
    /* From here on accessed atomically while workers run. */
    int32_t unfinished; /* Pieces. */
    uint32_t round;     /* Grows with every loop. */
    int32_t asleep;     /* Workers that wait to be woken. */
    int32_t started;    /* Workers that have got their number. */
    int32_t stopped;
};

/* Starts `threads` - 1 workers: the caller of a loop is the last thread. Returns 0, or an errno value; on failure no
 * thread is left behind. */
int onnxc_pool_start(struct onnxc_pool *pool, int32_t threads);

/* Ends the workers; no loop may be running. */
void onnxc_pool_stop(struct onnxc_pool *pool);

/* What <name>_run_threads() takes. One loop at a time: callers on several threads need a pool each. */
struct onnxc_threads onnxc_pool_threads(struct onnxc_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
