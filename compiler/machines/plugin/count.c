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
 * call=NUMBER stands for begin and end in a Linux program: what is counted goes from one system call of that number to
 * the next.
 *
 * blocks=FILE takes the blocks that were executed. Lines `begin` and `end` stand around what is counted, `call` starts
 * each call of a kernel in it, and `count BLOCK TIMES` says how often a block was executed in such a part. Once, before
 * its first count, `block BLOCK ADDRESS TYPE BYTES ...` has each instruction's bytes in hexadecimal; TYPE is what RISC-V's
 * vtype holds when the block begins, or - where that is not known. QEMU translates a block again for each vtype, and
 * right before the first execution, so that the type at its translation is its type always.
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
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;
typedef void (*translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*executed)(unsigned int cpu, void *data);
typedef void (*called)(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t, uint64_t);
enum { INLINE_ADD_U64 = 0 };
enum { CALLBACK_NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translated callback);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, executed callback, int flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, called callback);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int op, void *counter, uint64_t by);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);

EXPORT int qemu_plugin_version = 1;

enum { MOST_KERNELS = 1 << 14 };
static uint64_t begin, end, size, kernels[MOST_KERNELS], total, at_begin;
static int64_t call = -1;
static int kernel_count, running;
/* Whether the function's own code ran last: a kernel's first block, too, may be the head of a loop. */
static int at_caller;
static FILE *out, *blocks;

/* A translated block. */
struct block {
    struct block *before;
    uint64_t number, address, instructions;
    /* Since the last line `begin` or `call`. */
    uint64_t executions;
    /* As they stand in its line, until that is written. */
    char *bytes;
    long type, type_after;
};
static struct block *last_block;

/* RISC-V's vtype, where there is one and it is known. */
enum { UNKNOWN = -1 };
static long vector_type = UNKNOWN;
static int is_riscv;

static void execute(struct block *block) {
    total += block->instructions;
    block->executions++;
}

/* Writes what was executed since the last time, if anyone asked. */
static void write_counts(void) {
    for (struct block *block = last_block; blocks && block; block = block->before) {
        if (!block->executions) continue;
        if (block->bytes) {
            fprintf(blocks, "block %" PRIu64 " %#" PRIx64, block->number, block->address);
            if (block->type == UNKNOWN) fprintf(blocks, " -%s\n", block->bytes);
            else fprintf(blocks, " %ld%s\n", block->type, block->bytes);
            free(block->bytes);
            block->bytes = NULL;
        }
        fprintf(blocks, "count %" PRIu64 " %" PRIu64 "\n", block->number, block->executions);
        block->executions = 0;
    }
}

static void begin_counting(void) {
    running = 1;
    at_begin = total;
    for (struct block *block = last_block; block; block = block->before) block->executions = 0;
    if (blocks) fprintf(blocks, "begin\n");
}

static void end_counting(void) {
    running = 0;
    fprintf(out, "%" PRIu64 "\n", total - at_begin);
    fflush(out);
    write_counts();
    if (!blocks) return;
    fprintf(blocks, "end\n");
    fflush(blocks);
}

/* The function's first block may also be the head of a loop. */
static void began(unsigned int cpu, void *block) {
    (void)cpu;
    if (!running) begin_counting();
    at_caller = 1;
    execute(block);
}

static void went_on(unsigned int cpu, void *block) {
    (void)cpu;
    at_caller = 1;
    execute(block);
}

static void kernel_began(unsigned int cpu, void *block) {
    (void)cpu;
    if (running && at_caller) {
        fprintf(out, "%" PRIu64 " ", total - at_begin);
        write_counts();
        if (blocks) fprintf(blocks, "call\n");
    }
    at_caller = 0;
    execute(block);
}

static void ended(unsigned int cpu, void *block) {
    (void)cpu;
    end_counting();
    execute(block);
}

static void on_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                    uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != call) return;
    if (running) end_counting();
    begin_counting();
}

static void changed_type(unsigned int cpu, void *block) {
    (void)cpu;
    vector_type = ((struct block *)block)->type_after;
}

static int is_kernel(uint64_t address) {
    for (int k = 0; k < kernel_count; k++)
        if (kernels[k] == address) return 1;
    return 0;
}

/* The vtype after an instruction, given the one before: what vsetvli and vsetivli say, what vsetvl has in a register. */
static long type_after(const uint8_t *bytes, size_t length, long type) {
    enum { OP_V = 0x57, CONFIGURATION = 7 };
    if (!is_riscv || length != 4) return type;
    const uint32_t word = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    if ((word & 0x7f) != OP_V || (word >> 12 & 7) != CONFIGURATION) return type;
    if (!(word >> 31)) return word >> 20 & 0x7ff;
    return word >> 30 == 3 ? (long)(word >> 20 & 0x3ff) : UNKNOWN;
}

/* Notes a block's instructions and what they leave as vtype. Fails where memory runs out. */
static int note(struct block *block, const struct qemu_plugin_tb *translated) {
    size_t length = 0;
    for (uint64_t i = 0; i < block->instructions; i++)
        length += 1 + 2 * qemu_plugin_insn_size(qemu_plugin_tb_get_insn(translated, i));
    char *text = block->bytes = malloc(length + 1);
    if (!text) return 0;
    *text = 0;
    for (uint64_t i = 0; i < block->instructions; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(translated, i);
        const uint8_t *bytes = qemu_plugin_insn_data(instruction);
        const size_t size = qemu_plugin_insn_size(instruction);
        block->type_after = type_after(bytes, size, block->type_after);
        *text++ = ' ';
        for (size_t b = 0; b < size; b++) text += sprintf(text, "%02x", bytes[b]);
    }
    return 1;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *translated) {
    (void)id;
    const uint64_t address = qemu_plugin_tb_vaddr(translated);
    struct block *block = calloc(1, sizeof *block);
    if (!block) abort();
    block->address = address;
    block->instructions = qemu_plugin_tb_n_insns(translated);
    executed callback = NULL;
    if (begin && address == begin) callback = began;
    else if (end && address == end) callback = ended;
    else if (address > begin && address < begin + size) callback = went_on;
    else if (is_kernel(address)) callback = kernel_began;
    if (callback)
        qemu_plugin_register_vcpu_tb_exec_cb(translated, callback, CALLBACK_NO_REGISTERS, block);
    else
        qemu_plugin_register_vcpu_tb_exec_inline(translated, INLINE_ADD_U64, &total, block->instructions);
    if (!blocks) return;
    block->type = block->type_after = vector_type;
    if (!note(block, translated)) abort();
    block->number = last_block ? last_block->number + 1 : 0;
    block->before = last_block;
    last_block = block;
    if (!callback) qemu_plugin_register_vcpu_tb_exec_inline(translated, INLINE_ADD_U64, &block->executions, 1);
    if (block->type_after != block->type)
        qemu_plugin_register_vcpu_tb_exec_cb(translated, changed_type, CALLBACK_NO_REGISTERS, block);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    /* The first member of qemu_info_t is the name of the guest's architecture. */
    is_riscv = !strncmp(*(const char *const *)info, "riscv", 5);
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "begin=", 6)) begin = strtoull(argv[i] + 6, NULL, 0);
        if (!strncmp(argv[i], "end=", 4)) end = strtoull(argv[i] + 4, NULL, 0);
        if (!strncmp(argv[i], "size=", 5)) size = strtoull(argv[i] + 5, NULL, 0);
        if (!strncmp(argv[i], "call=", 5)) call = strtoll(argv[i] + 5, NULL, 0);
        if (!strncmp(argv[i], "kernel=", 7) && kernel_count < MOST_KERNELS)
            kernels[kernel_count++] = strtoull(argv[i] + 7, NULL, 0);
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
        if (!strncmp(argv[i], "blocks=", 7) && !(blocks = fopen(argv[i] + 7, "w"))) {
            perror(argv[i]);
            return 1;
        }
    }
    if (((!begin || !end) && call < 0) || !out) {
        fprintf(stderr, "count: begin=ADDRESS and end=ADDRESS or call=NUMBER, and out=FILE are needed\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    if (call >= 0) qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
