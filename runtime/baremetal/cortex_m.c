/* Start-up of a Cortex-M image that an emulator loads whole: nothing to copy, nothing to clear. */
#include <stdint.h>

#include "semihosting.h"

extern uint32_t stack_top[];
int main(void);
void reset(void);

#define CFSR (*(volatile uint32_t *)0xe000ed28)
#define CPACR (*(volatile uint32_t *)0xe000ed88)
#define CCR (*(volatile uint32_t *)0xe000ed14)

__attribute__((noreturn)) void reset(void) {
#if defined(__ARM_FP)
    CPACR |= 0xfu << 20; /* coprocessors 10 and 11: floats and MVE, full access */
    __asm__ volatile("dsb\nisb");
#endif
#if defined(__ARM_FEATURE_MVE)
    /* FPSCR.LTPSIZE = 4: no tail predication outside of loops. The architecture starts so, QEMU 7.2 does not. */
    __asm__ volatile("vmsr fpscr, %0" : : "r"(4u << 16));
#endif
#if defined(__ARM_ARCH_6M__)
    /* Armv6-M has no unaligned access; on a larger core that runs its code they must trap, too. */
    CCR |= 1u << 3;
#endif
    semihosting_exit(main());
    for (;;) {}
}

static void stopped(const uint32_t *frame) {
    semihosting_fault(frame[6], CFSR);
}

/* The processor has pushed r0-r3, r12, lr, pc, xpsr. */
__attribute__((naked)) static void fault(void) {
    __asm__ volatile("mov r0, sp\nldr r1, =%c0\nbx r1" : : "i"(stopped));
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};
