/* The runner's files on bare metal: Arm and RISC-V semihosting, which the emulator (or a debug probe) serves.
 * Operation numbers and argument blocks: "Semihosting for AArch32 and AArch64", Arm document ARM-software/abi-aa. */
#include "semihosting.h"

#include "host.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ = 1, OPEN_WRITE = 5 }; /* "rb" and "wb" of fopen */
enum { APPLICATION_EXIT = 0x20026 };

#if defined(__riscv)
/* The three instructions must be uncompressed and lie in one page. */
__attribute__((noinline)) static intptr_t call(intptr_t operation, const void *arguments) {
    register intptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = arguments;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\n"
                     "slli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}
#else
static intptr_t call(intptr_t operation, const void *arguments) {
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
#endif

void semihosting_print(const char *text) {
    call(SYS_WRITE0, text);
}

void semihosting_exit(int status) {
    const uintptr_t arguments[2] = {APPLICATION_EXIT, (uintptr_t)status};
    for (;;) call(SYS_EXIT_EXTENDED, arguments);
}

static void leave(const char *name, const char *reason) {
    semihosting_print(name);
    semihosting_print(reason);
    semihosting_exit(3);
}

static uintptr_t open_or_leave(const char *name, uintptr_t mode) {
    uintptr_t length = 0;
    while (name[length]) length++;
    const uintptr_t arguments[3] = {(uintptr_t)name, mode, length};
    const intptr_t file = call(SYS_OPEN, arguments);
    if (file == -1) leave(name, ": cannot be opened\n");
    return (uintptr_t)file;
}

/* Reads or writes all of it: both return how many bytes are left to do. */
static void transfer(const char *name, uintptr_t mode, intptr_t operation, uintptr_t data, size_t bytes) {
    const uintptr_t file = open_or_leave(name, mode);
    const uintptr_t arguments[3] = {file, data, bytes};
    if (bytes && call(operation, arguments) != 0) leave(name, ": not all of it could be transferred\n");
    call(SYS_CLOSE, &file);
}

void host_read(const char *name, void *data, size_t bytes) {
    transfer(name, OPEN_READ, SYS_READ, (uintptr_t)data, bytes);
}

void host_write(const char *name, const void *data, size_t bytes) {
    transfer(name, OPEN_WRITE, SYS_WRITE, (uintptr_t)data, bytes);
}

void semihosting_fault(uintptr_t pc, uintptr_t cause) {
    static char text[] = "fault at 0x................ cause 0x................\n";
    static const char digits[] = "0123456789abcdef";
    for (int digit = 15; digit >= 0; digit--, pc >>= 4, cause >>= 4) {
        text[11 + digit] = digits[pc & 15];
        text[36 + digit] = digits[cause & 15];
    }
    semihosting_print(text);
    semihosting_exit(4);
}
