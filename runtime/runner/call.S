/* int32_t call_model(const void *inputs, const void *outputs, void *arena)
 *
 * Calls MODEL_RUN. What executes from MODEL_RUN's first instruction to `model_returned` is exactly the inference, so
 * that a counter of instructions needs no allowance for the caller. */
#include "call.h"
#include "model.h"

        .text
        .globl call_model, model_returned
        .type call_model, %function
#if defined(__arm__)
        .syntax unified
        .thumb
        .thumb_func
call_model:
        push {r4, lr}
        bl MODEL_RUN
        .type model_returned, %function
        .thumb_func
model_returned:
        pop {r4, pc}
#elif defined(__aarch64__)
call_model:
        stp x29, x30, [sp, #-16]!
        bl MODEL_RUN
model_returned:
        ldp x29, x30, [sp], #16
        ret
#elif defined(__riscv)
call_model:
        addi sp, sp, -16
#if __riscv_xlen == 64
        sd ra, 0(sp)
        call MODEL_RUN
model_returned:
        ld ra, 0(sp)
#else
        sw ra, 0(sp)
        call MODEL_RUN
model_returned:
        lw ra, 0(sp)
#endif
        addi sp, sp, 16
        ret
#elif defined(__x86_64__)
call_model:
        subq $8, %rsp
        call MODEL_RUN
model_returned:
        addq $8, %rsp
        ret
#else
#error "call_model is written for Arm, AArch64, RISC-V and x86-64"
#endif
        .section .note.GNU-stack, "", %progbits
