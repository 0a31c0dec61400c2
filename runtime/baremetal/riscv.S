/* Start-up of a RISC-V image that an emulator loads whole, in machine mode on the first hart. */
        .option arch, +zicsr
        .section .text.start, "ax", %progbits
        .globl _start
_start:
        csrr t0, mhartid
        bnez t0, park
        la sp, stack_top
        li t0, 0x2200           /* mstatus: FS and VS from "off" to "initial" */
        csrs mstatus, t0
        la t0, trap
        csrw mtvec, t0
        call main
        call semihosting_exit
park:
        wfi
        j park

        .balign 4
trap:
        la sp, stack_top
        csrr a0, mepc
        csrr a1, mcause
        call semihosting_fault
        .section .note.GNU-stack, "", %progbits
