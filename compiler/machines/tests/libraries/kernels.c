/* Calls two functions that execute 2 n + 1 instructions on every machine, and whose first instruction is a loop's head. */
#include <stdint.h>

#if defined(__arm__)
#define LOOP(name) name ": subs r0, #1\nbne " name "\nbx lr\n"
#define ENTRY(name) ".thumb_func\n.type " name ", %function\n"
#define START ".syntax unified\n"
#elif defined(__aarch64__)
#define LOOP(name) name ": subs w0, w0, #1\nb.ne " name "\nret\n"
#elif defined(__riscv)
#define LOOP(name) name ": addi a0, a0, -1\nbnez a0, " name "\nret\n"
#else
#define LOOP(name) name ": subl $1, %edi\njne " name "\nret\n"
#endif
#ifndef ENTRY
#define ENTRY(name) ".type " name ", %function\n"
#define START
#endif

__asm__(START ".text\n.balign 4\n" ENTRY("kernels_a") LOOP("kernels_a") ".balign 4\n" ENTRY("kernels_b") LOOP("kernels_b"));
extern void kernels_a(int n) __attribute__((visibility("hidden")));
extern void kernels_b(int n) __attribute__((visibility("hidden")));

int32_t kernels_run(const void *const *in, void *const *out, void *arena) {
    (void)in, (void)out, (void)arena;
    kernels_a(100);
    kernels_b(200);
    kernels_a(100);
    return 0;
}
