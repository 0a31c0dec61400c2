/* A TCG plugin for QEMU: counts the guest's instructions of one function call.
 *
 * Arguments: begin=ADDRESS (first instruction of the function), end=ADDRESS (where it returns to), out=FILE, to which
 * a line per call is appended, whose last decimal number is the count. All addresses are only ever reached by a
 * branch, so each starts a translation block; a block always runs to its end, since nothing inside the region traps.
 * Counting by block is therefore exact, and several times faster than counting by instruction.
 *
 * kernel=ADDRESS, repeated, are functions that this one calls, and size=BYTES is its own size: before the count the
 * line then has a number for each such call, the instructions before it. What these functions call in turn is theirs.
 *
 * Debian ships no qemu-plugin.h; the declarations below are the parts of plugin API version 1 (QEMU 6 to 8) that are
 * used: https://www.qemu.org/docs/master/devel/tcg-plugins.html */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
typedef uint64_t qemu_plugin_id_t;
typedef void (*translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*executed)(unsigned int cpu, void *data);
enum { INLINE_ADD_U64 = 0 };
enum { CALLBACK_NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translated callback);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, executed callback, int flags, void *data);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int op, void *counter, uint64_t by);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);

EXPORT int qemu_plugin_version = 1;

enum { MOST_KERNELS = 1 << 14 };
static uint64_t begin, end, size, kernels[MOST_KERNELS], total, at_begin;
static int kernel_count, running;
/* Whether the function's own code ran last: a kernel's first block, too, may be the head of a loop. */
static int at_caller;
static FILE *out;

/* The function's first block may also be the head of a loop. */
static void began(unsigned int cpu, void *instructions) {
    (void)cpu;
    if (!running) at_begin = total;
    running = at_caller = 1;
    total += (uintptr_t)instructions;
}

static void went_on(unsigned int cpu, void *instructions) {
    (void)cpu;
    at_caller = 1;
    total += (uintptr_t)instructions;
}

static void kernel_began(unsigned int cpu, void *instructions) {
    (void)cpu;
    if (running && at_caller) fprintf(out, "%" PRIu64 " ", total - at_begin);
    at_caller = 0;
    total += (uintptr_t)instructions;
}

static void ended(unsigned int cpu, void *instructions) {
    (void)cpu;
    running = 0;
    fprintf(out, "%" PRIu64 "\n", total - at_begin);
    fflush(out);
    total += (uintptr_t)instructions;
}

static int is_kernel(uint64_t address) {
    for (int k = 0; k < kernel_count; k++)
        if (kernels[k] == address) return 1;
    return 0;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    const uint64_t address = qemu_plugin_tb_vaddr(block);
    const size_t instructions = qemu_plugin_tb_n_insns(block);
    executed callback = NULL;
    if (address == begin) callback = began;
    else if (address == end) callback = ended;
    else if (address > begin && address < begin + size) callback = went_on;
    else if (is_kernel(address)) callback = kernel_began;
    if (callback)
        qemu_plugin_register_vcpu_tb_exec_cb(block, callback, CALLBACK_NO_REGISTERS, (void *)(uintptr_t)instructions);
    else
        qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &total, instructions);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "begin=", 6)) begin = strtoull(argv[i] + 6, NULL, 0);
        if (!strncmp(argv[i], "end=", 4)) end = strtoull(argv[i] + 4, NULL, 0);
        if (!strncmp(argv[i], "size=", 5)) size = strtoull(argv[i] + 5, NULL, 0);
        if (!strncmp(argv[i], "kernel=", 7) && kernel_count < MOST_KERNELS)
            kernels[kernel_count++] = strtoull(argv[i] + 7, NULL, 0);
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
    }
    if (!begin || !end || !out) {
        fprintf(stderr, "count: begin=ADDRESS, end=ADDRESS and out=FILE are needed\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
