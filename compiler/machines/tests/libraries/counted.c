/* Executes 202 instructions on every machine: one, a hundred times two, one. */
#if defined(__arm__)
#define LOOP ".syntax unified\nmovs r0, #100\n1: subs r0, #1\nbne 1b\nbx lr"
#elif defined(__aarch64__)
#define LOOP "mov w0, #100\n1: subs w0, w0, #1\nb.ne 1b\nret"
#elif defined(__riscv)
#define LOOP "li a0, 100\n1: addi a0, a0, -1\nbnez a0, 1b\nret"
#else
#define LOOP "movl $100, %eax\n1: subl $1, %eax\njne 1b\nret"
#endif

#if defined(__arm__)
#define ENTRY ".thumb_func\n.type counted_run, %function\n"
#else
#define ENTRY ".type counted_run, %function\n"
#endif
__asm__(".text\n.balign 4\n.globl counted_run\n" ENTRY "counted_run:\n" LOOP "\n.section .note.GNU-stack, \"\", %progbits");
