/* Runs a model twice on the tensors in the files input_000, input_001, ... and writes what came out, and what it took.
 *
 * Both runs start from memory painted in a colour of their own: the arena, the outputs and the stack below. What no
 * run repaints was never used, and outputs that differ between the runs (first_000, second_000, ...) were not wholly written
 * or depend on what the arena held before. `model.h` is generated: MODEL_RUN, MODEL_ARENA_BYTES, MODEL_ARENA_ALIGN,
 * MODEL_STACK_BYTES (how far down to paint), and MODEL_INPUTS(X) and MODEL_OUTPUTS(X), lists of
 * X(index, bytes, align). */
#include <stdint.h>

#include "call.h"
#include "host.h"
#include "model.h"

enum { GUARD = 64 };

/* Tensors lie at addresses that are multiples of their element's size and of no more, so that code that relies on
 * more stops here. */
#define BUFFER(direction, index, bytes, align) \
    static unsigned char direction##_##index[(bytes) + (align)] __attribute__((aligned(64)));
#define INPUT_BUFFER(index, bytes, align) BUFFER(input, index, bytes, align)
#define OUTPUT_BUFFER(index, bytes, align) BUFFER(output, index, bytes, align)
MODEL_INPUTS(INPUT_BUFFER)
MODEL_OUTPUTS(OUTPUT_BUFFER)

struct tensor {
    unsigned char *data;
    size_t bytes;
};

#define INPUT(index, bytes, align) {input_##index + (align), bytes},
#define OUTPUT(index, bytes, align) {output_##index + (align), bytes},
static const struct tensor inputs[] = {MODEL_INPUTS(INPUT){0, 0}};
static const struct tensor outputs[] = {MODEL_OUTPUTS(OUTPUT){0, 0}};

/* The header's structs are these arrays: one pointer per tensor, in order. */
#define INPUT_POINTER(index, bytes, align) input_##index + (align),
#define OUTPUT_POINTER(index, bytes, align) output_##index + (align),
static const void *const input_pointers[] = {MODEL_INPUTS(INPUT_POINTER) 0};
static void *const output_pointers[] = {MODEL_OUTPUTS(OUTPUT_POINTER) 0};

static unsigned char arena[MODEL_ARENA_BYTES + GUARD] __attribute__((aligned(MODEL_ARENA_ALIGN)));

/* Read by the host as little-endian words, in this order. */
static struct {
    uint32_t status;       /* what the model returned; the first that is not 0 */
    uint32_t arena_used;   /* bytes up to the last that a run wrote */
    uint32_t stack_used;   /* bytes below the caller's stack pointer that a run wrote */
    uint32_t arena_passed; /* 1: a run wrote behind the arena */
    uint32_t input_written; /* 1: a run wrote to its inputs */
} report;

int32_t call_model(const void *inputs, const void *outputs, void *arena);

static void paint(unsigned char *data, size_t bytes, unsigned char colour) {
    for (size_t byte = 0; byte < bytes; byte++) data[byte] = colour;
}

/* Bytes up to the last that is not of `colour`. */
static size_t painted_over(const unsigned char *data, size_t bytes, unsigned char colour) {
    while (bytes && data[bytes - 1] == colour) bytes--;
    return bytes;
}

/* FNV-1a over all inputs. */
static uint32_t hash_of_inputs(void) {
    uint32_t hash = 2166136261u;
    for (const struct tensor *tensor = inputs; tensor->data; tensor++)
        for (size_t byte = 0; byte < tensor->bytes; byte++) hash = (hash ^ tensor->data[byte]) * 16777619u;
    return hash;
}

static void raise(uint32_t *mark, uint32_t value) {
    if (value > *mark) *mark = value;
}

#if defined(__x86_64__)
#define READ_STACK_POINTER "movq %%rsp, %0"
#elif defined(__riscv)
#define READ_STACK_POINTER "mv %0, sp"
#else
#define READ_STACK_POINTER "mov %0, sp"
#endif

/* Runs the model over a painted stack. Between painting and looking nothing else may use the stack below `sp`, so
 * both are written out here and not called. */
__attribute__((noinline)) static int32_t run_on_painted_stack(unsigned char colour) {
    uintptr_t sp;
    __asm__ volatile(READ_STACK_POINTER : "=r"(sp));
    volatile unsigned char *const bottom = (volatile unsigned char *)(sp - MODEL_STACK_BYTES);
    for (volatile unsigned char *byte = bottom; (uintptr_t)byte < sp; byte++) *byte = colour;
    const int32_t status = call_model(input_pointers, output_pointers, arena);
    const volatile unsigned char *lowest = bottom;
    while ((uintptr_t)lowest < sp && *lowest == colour) lowest++;
    raise(&report.stack_used, (uint32_t)(sp - (uintptr_t)lowest) - CALL_FRAME);
    return status;
}

static void run_painted(unsigned char colour) {
    paint(arena, sizeof arena, colour);
    for (const struct tensor *output = outputs; output->data; output++) paint(output->data, output->bytes, colour);
    const int32_t status = run_on_painted_stack(colour);
    if (!report.status) report.status = (uint32_t)status;
    raise(&report.arena_used, (uint32_t)painted_over(arena, MODEL_ARENA_BYTES, colour));
    if (painted_over(arena + MODEL_ARENA_BYTES, GUARD, colour)) report.arena_passed = 1;
}

/* Writes `index` as three digits. */
static void number(char *digits, unsigned index) {
    digits[0] = (char)('0' + index / 100 % 10);
    digits[1] = (char)('0' + index / 10 % 10);
    digits[2] = (char)('0' + index % 10);
}

static void read_inputs(void) {
    static char name[] = "input_000";
    for (unsigned index = 0; inputs[index].data; index++) {
        number(name + 6, index);
        host_read(name, inputs[index].data, inputs[index].bytes);
    }
}

static void write_outputs(char *name, char *digits) {
    for (unsigned index = 0; outputs[index].data; index++) {
        number(digits, index);
        host_write(name, outputs[index].data, outputs[index].bytes);
    }
}

int main(void) {
    static char first[] = "first_000", second[] = "second_000";
    read_inputs();
    const uint32_t hash = hash_of_inputs();
    run_painted(0xa5);
    write_outputs(first, first + 6);
    run_painted(0x5a);
    write_outputs(second, second + 7);
    report.input_written = hash_of_inputs() != hash;
    host_write("report", &report, sizeof report);
    return 0;
}
