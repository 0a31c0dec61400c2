//! The library as an application links it: an archive, the pool of `runtime/threads`, the system's C compiler.

mod support;

use std::path::Path;
use std::process::Command;

use ir::DType::F32;
use loops::{Expr, LoopVar, Stmt};
use support::*;

const MAIN: &str = r#"
#include <stdio.h>
#include <time.h>
#include "onnxc_pool.h"

static int32_t runs[40];

static void count_runs(void *context, int32_t first, int32_t last)
{
    (void)context;
    for (int32_t k = first; k < last; k++)
        runs[k]++;
}

/* Every iteration of loops of any length once. */
static int covers(struct onnxc_threads threads)
{
    for (int32_t count = 0; count <= 40; count++) {
        for (int k = 0; k < 40; k++)
            runs[k] = 0;
        threads.parallel_for(threads.pool, count_runs, 0, count);
        for (int k = 0; k < 40; k++)
            if (runs[k] != (k < count))
                return 0;
    }
    return 1;
}

/* The first iteration goes on until all others are done, those of its own thread's share, too: somebody else must take
 * them. */
enum { ITERATIONS = 8, MOST_WAITS = 20000 };
static int32_t done;
static int32_t done_before_the_first;

static void first_is_last(void *context, int32_t first, int32_t last)
{
    const struct timespec a_millisecond = { 0, 1000000 };
    (void)context;
    for (int32_t k = first; k < last; k++) {
        if (k == 0) {
            for (int wait = 0; wait < MOST_WAITS; wait++) {
                if (__atomic_load_n(&done, __ATOMIC_RELAXED) == ITERATIONS - 1)
                    break;
                nanosleep(&a_millisecond, 0);
            }
            done_before_the_first = __atomic_load_n(&done, __ATOMIC_RELAXED);
        }
        __atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
    }
}

static int takes_what_a_late_thread_has_left(struct onnxc_threads threads)
{
    done = 0;
    threads.parallel_for(threads.pool, first_is_last, 0, ITERATIONS);
    return done_before_the_first == ITERATIONS - 1;
}

struct inputs { const float *x; };
struct outputs { float *y; };
int32_t net_run(const struct inputs *in, const struct outputs *out, void *arena);
int32_t net_run_threads(const struct inputs *in, const struct outputs *out, void *arena,
                        const struct onnxc_threads *threads);

int main(void)
{
    static float x[1000], serial[1000], threaded[1000];
    static struct onnxc_pool pool;
    for (int k = 0; k < 1000; k++)
        x[k] = (float)k;
    struct inputs in = { x };
    struct outputs out = { serial };
    if (net_run(&in, &out, 0))
        return 1;
    for (int32_t count = 1; count <= 3; count++) {
        if (onnxc_pool_start(&pool, count))
            return 2;
        struct onnxc_threads threads = onnxc_pool_threads(&pool);
        if (!covers(threads))
            return 5;
        if (count > 1 && !takes_what_a_late_thread_has_left(threads))
            return 6;
        out.y = threaded;
        for (int round = 0; round < 500; round++) {
            for (int k = 0; k < 1000; k++)
                threaded[k] = -1.0f;
            if (net_run_threads(&in, &out, 0, &threads))
                return 3;
            for (int k = 0; k < 1000; k++)
                if (threaded[k] != serial[k] || serial[k] != 2.0f * x[k])
                    return 4;
        }
        onnxc_pool_stop(&pool);
    }
    puts("same");
    return 0;
}
"#;

#[test]
fn an_application_runs_parallel_loops_on_the_pool() {
    let body = vec![for_(
        1,
        8,
        1,
        vec![{
            let at = var(0) * Expr::int(8) + var(1);
            store(1, at.clone(), load(0, at.clone()) + load(0, at), 1)
        }],
    )];
    let parallel =
        Stmt::For { var: LoopVar(0), from: Expr::int(0), to: Expr::int(125), step: 1, parallel: true, body };
    let nest = nest("double", [read("x", F32, 1000), write("y", F32, 1000)], vec![parallel]);
    let target = host();
    let mut module = module(&nest, &target);
    module.name = "net".into();
    let library = codegen::archive("net", &codegen::emit(&module).unwrap()).unwrap();

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threads");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("libnet.a"), library).unwrap();
    std::fs::write(folder.join("main.c"), MAIN).unwrap();
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtime");
    let built = Command::new("cc")
        .args([
            "-std=c11",
            "-D_POSIX_C_SOURCE=200809L",
            "-O2",
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-pthread",
        ])
        .arg("-I")
        .arg(runtime.join("include"))
        .arg("-I")
        .arg(runtime.join("threads"))
        .arg(folder.join("main.c"))
        .arg(runtime.join("threads/onnxc_pool.c"))
        .arg(folder.join("libnet.a"))
        .args(["-Wl,--fatal-warnings", "-o"])
        .arg(folder.join("main"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(folder.join("main")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "same\n", "{:?}", ran.status);
}
