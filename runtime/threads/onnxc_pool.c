#include "onnxc_pool.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

/* Rounds of an empty loop before a waiting worker sleeps: some tens of microseconds, as long as a short kernel. */
enum { SPINS = 20000 };

/* Pieces of a thread's share of a loop: what others can take off a thread that is late. */
enum { PIECES = 4 };

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__ARM_ARCH)
    __asm__ volatile("yield");
#endif
}

/* Runs a piece; pieces are as even as whole iterations allow. */
static void run(struct onnxc_pool *pool, int64_t piece)
{
    int32_t first = (int32_t)(piece * pool->count / pool->pieces);
    int32_t last = (int32_t)((piece + 1) * pool->count / pool->pieces);
    if (first < last)
        pool->body(pool->context, first, last);
    __atomic_fetch_sub(&pool->unfinished, 1, __ATOMIC_RELEASE);
}

/* Takes pieces until none is left: its own, which in most loops lie where the thread worked in the loop before, then
 * those of the others. The loop's fields are read only while a piece of it is held: they do not change before it is
 * done. */
static void work(struct onnxc_pool *pool, int32_t own)
{
    int32_t threads = pool->worker_count + 1;
    for (int32_t k = 0; k < threads; k++) {
        int32_t of = own + k < threads ? own + k : own + k - threads;
        uint64_t *left = &pool->shares[of].left;
        uint64_t seen = __atomic_load_n(left, __ATOMIC_RELAXED);
        while ((uint32_t)seen != 0) {
            if (!__atomic_compare_exchange_n(left, &seen, seen - 1, 1, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                continue;
            int32_t each = pool->pieces / threads;
            run(pool, (int64_t)of * each + (each - (int32_t)(uint32_t)seen));
            seen = __atomic_load_n(left, __ATOMIC_RELAXED);
        }
    }
}

/* Waits until `round` differs from `seen`: spinning first, then asleep. */
static uint32_t next_round(struct onnxc_pool *pool, uint32_t seen)
{
    uint32_t round;
    for (int spin = 0; spin < SPINS; spin++) {
        round = __atomic_load_n(&pool->round, __ATOMIC_ACQUIRE);
        if (round != seen)
            return round;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    __atomic_fetch_add(&pool->asleep, 1, __ATOMIC_SEQ_CST);
    while ((round = __atomic_load_n(&pool->round, __ATOMIC_SEQ_CST)) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    __atomic_fetch_sub(&pool->asleep, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&pool->lock);
    return round;
}

/* Begins a round. Whoever is not counted as asleep by now will look at `round` once more before it sleeps. */
static void announce(struct onnxc_pool *pool)
{
    __atomic_fetch_add(&pool->round, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker(void *argument)
{
    struct onnxc_pool *pool = argument;
    int32_t own = __atomic_fetch_add(&pool->started, 1, __ATOMIC_RELAXED) + 1;
    for (uint32_t round = 0;;) {
        round = next_round(pool, round);
        if (__atomic_load_n(&pool->stopped, __ATOMIC_RELAXED))
            return NULL;
        work(pool, own);
    }
}

static void parallel_for(void *argument, void (*body)(void *context, int32_t first, int32_t last), void *context,
                         int32_t count)
{
    struct onnxc_pool *pool = argument;
    if (pool->worker_count == 0 || count <= 1) {
        if (count > 0)
            body(context, 0, count);
        return;
    }
    int32_t threads = pool->worker_count + 1;
    int32_t each = count > threads ? PIECES : 1;
    pool->body = body;
    pool->context = context;
    pool->count = count;
    pool->pieces = each * threads;
    __atomic_store_n(&pool->unfinished, each * threads, __ATOMIC_RELAXED);
    uint64_t loop = (uint64_t)(pool->round + 1) << 32;
    for (int32_t k = 0; k < threads; k++)
        __atomic_store_n(&pool->shares[k].left, loop | (uint32_t)each, __ATOMIC_RELEASE);
    announce(pool);
    work(pool, 0);
    for (int spin = 0; __atomic_load_n(&pool->unfinished, __ATOMIC_ACQUIRE) > 0; spin += spin < SPINS) {
        relax();
        if (spin == SPINS)
            sched_yield();
    }
}

int onnxc_pool_start(struct onnxc_pool *pool, int32_t threads)
{
    if (threads < 1 || threads > ONNXC_POOL_MAX_WORKERS + 1)
        return EINVAL;
    pool->worker_count = 0;
    for (int32_t k = 0; k < threads; k++)
        pool->shares[k].left = 0;
    pool->started = 0;
    pool->unfinished = 0;
    pool->round = 0;
    pool->asleep = 0;
    pool->stopped = 0;
    int error = pthread_mutex_init(&pool->lock, NULL);
    if (error)
        return error;
    error = pthread_cond_init(&pool->wake, NULL);
    if (error) {
        pthread_mutex_destroy(&pool->lock);
        return error;
    }
    while (pool->worker_count < threads - 1) {
        error = pthread_create(&pool->workers[pool->worker_count], NULL, worker, pool);
        if (error) {
            onnxc_pool_stop(pool);
            return error;
        }
        pool->worker_count++;
    }
    return 0;
}

void onnxc_pool_stop(struct onnxc_pool *pool)
{
    __atomic_store_n(&pool->stopped, 1, __ATOMIC_RELAXED);
    announce(pool);
    for (int32_t k = 0; k < pool->worker_count; k++)
        pthread_join(pool->workers[k], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
}

struct onnxc_threads onnxc_pool_threads(struct onnxc_pool *pool)
{
    struct onnxc_threads threads = { parallel_for, pool };
    return threads;
}
