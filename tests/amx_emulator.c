// Runs machine code that uses Intel AMX tiles on a CPU that has none, so that the tests can
// execute what the compiler generated for one that has.
//
//     cc -O2 -shared -fPIC -o libamx_emulator.so amx_emulator.c
//     LD_PRELOAD=$PWD/libamx_emulator.so ./program
//
// Every AMX instruction is undefined on such a CPU, so it raises SIGILL: the handler decodes it,
// does its work on tiles kept in memory, and continues behind it. Linux lets a process touch tiles
// only after arch_prctl(ARCH_REQ_XCOMP_PERM, 18), which fails on such a CPU: a seccomp filter turns
// that one call into SIGSYS, and a second handler answers it.
//
//     AMX_EMULATOR_REFUSE=1      answer the request with EPERM, as a system without AMX would
//     AMX_EMULATOR_REPORT=FILE   append a line with what was emulated to FILE at exit
//
// Code that breaks a rule of the hardware dies with a message that names the rule. Being for tests,
// this is stricter than the hardware in three places: palette 0 is refused in ldtilecfg (there it
// is most likely a configuration that was never filled in), a start row other than 0 is refused
// (only resuming an interrupted load needs it), and colsb must be a multiple of 4 for loads,
// stores and tilezero too.
//
// Limits: a program that installs its own SIGILL or SIGSYS handler, or starts another program
// without LD_PRELOAD (the filter survives exec, the handlers do not), is on its own. Memory more
// than 128 bytes below rsp, where the kernel puts the signal's frame, is no operand that works.
// Prefixes before VEX (segment, address size) are not decoded.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64, ROW_DWORDS = ROW_BYTES / 4 };
// ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA and SYS_SECCOMP, which libc's headers do not have.
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, BY_SECCOMP = 1 };

// The 64 bytes in memory that ldtilecfg reads and sttilecfg writes.
struct configuration {
    uint8_t palette, start_row, reserved_2[14];
    uint16_t colsb[TILES], reserved_32[8];
    uint8_t rows[TILES], reserved_56[8];
};
_Static_assert(sizeof(struct configuration) == 64, "the layout is the hardware's");

// The tiles are registers, so each thread has its own. initial-exec keeps the accesses free of
// __tls_get_addr, which may allocate memory and must not be called from a signal handler.
#define PER_THREAD static __thread __attribute__((tls_model("initial-exec")))

// Palette 0 means "not configured", the state a thread starts in. Bytes outside a tile's shape are
// always zero: configuring zeroes everything and no instruction sets them.
PER_THREAD struct configuration config;
PER_THREAD uint32_t tiles[TILES][ROWS][ROW_DWORDS];
PER_THREAD uint64_t current_rip; // of the instruction being emulated, for messages

static bool refuse;
static const char *report_file;
static atomic_bool permitted;
static atomic_ulong products, loads, requests;

// These print from signal handlers, but only where the signal came from an instruction of generated
// code. That is never in the middle of a C library function, whose locks might be held.
#define WARN(format, ...) dprintf(STDERR_FILENO, "amx_emulator: " format "\n", ##__VA_ARGS__)
#define DIE(format, ...) (WARN(format, ##__VA_ARGS__), abort())
#define REQUIRE(rule, format, ...)                                                                 \
    ((rule) ? (void)0 : DIE("at %#lx: " format, (unsigned long)current_rip, ##__VA_ARGS__))

// --- Decoding ---

enum operation {
    NOT_AMX,
    LDTILECFG, STTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILESTORED,
    TDPBF16PS, TDPBSSD, TDPBSUD, TDPBUSD, TDPBUUD,
};

struct instruction {
    unsigned opcode, prefix; // the byte behind the VEX prefix, and the prefix' pp field
    unsigned reg, rm, vvvv;  // with their VEX extension bits
    bool memory, sib;
    uint64_t base, index;    // base + displacement, and the scaled index (0 without one)
    uint64_t next;           // address of the following instruction
};

static uint64_t register_value(const greg_t *regs, unsigned number) {
    static const uint8_t place[16] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    };
    return (uint64_t)regs[place[number]];
}

// Takes apart an instruction with a three-byte VEX prefix for opcode map 0F38 with W and L clear,
// which all AMX instructions have; returns false for others. No byte is read before it is known to
// belong to the instruction, which may be the last thing on a mapped page.
static bool decode(const greg_t *regs, struct instruction *out) {
    const uint8_t *at = (const uint8_t *)regs[REG_RIP];
    if (*at++ != 0xc4) return false;
    // R X B mmmmm and W vvvv L pp; R, X, B and vvvv are inverted.
    uint8_t first = *at++, second = *at++;
    if ((first & 0x1f) != 2 || (second & 0x84) != 0) return false;
    unsigned r = ~first >> 4 & 8, x = ~first >> 3 & 8, b = ~first >> 2 & 8;
    *out = (struct instruction){.prefix = second & 3, .vvvv = ~second >> 3 & 15, .opcode = *at++};

    uint8_t modrm = *at++;
    unsigned mod = modrm >> 6, rm = modrm & 7;
    out->reg = (modrm >> 3 & 7) | r;
    out->rm = rm | b;
    out->memory = mod != 3;
    if (out->memory) {
        unsigned base = rm;
        if (rm == 4) {
            uint8_t sib = *at++;
            out->sib = true;
            base = sib & 7;
            unsigned index = (sib >> 3 & 7) | x;
            // Only number 4 itself means "no index": r12 is a proper one.
            if (index != 4) out->index = register_value(regs, index) << (sib >> 6);
        }
        // Base number 5 with mod 0 (rbp or r13: B does not matter) means disp32 without a base
        // register, relative to the next instruction unless there is a SIB byte.
        bool no_base = base == 5 && mod == 0;
        if (!no_base) out->base = register_value(regs, base | b);
        if (no_base || mod == 2) {
            int32_t displacement;
            memcpy(&displacement, at, sizeof displacement);
            out->base += (uint64_t)(int64_t)displacement;
            at += sizeof displacement;
        } else if (mod == 1) {
            out->base += (uint64_t)(int8_t)*at++;
        }
        if (no_base && !out->sib) out->base += (uint64_t)at; // no AMX instruction has an immediate
    }
    out->next = (uint64_t)at;
    return true;
}

static enum operation operation(const struct instruction *i) {
    enum { NP, P66, PF3, PF2 }; // the values of pp
    enum { TILE, MEMORY };      // what ModRM's r/m names
#define FORM(opcode, prefix, operand) ((opcode) << 3 | (prefix) << 1 | (operand))
    if (i->reg >= TILES || (!i->memory && i->rm >= TILES)) return NOT_AMX;
    bool two = i->vvvv == 0; // no third operand, which the encoding has to say
    bool three = i->vvvv < TILES;
    switch (FORM(i->opcode, i->prefix, i->memory ? MEMORY : TILE)) {
    case FORM(0x49, NP, MEMORY): return two && i->reg == 0 ? LDTILECFG : NOT_AMX;
    case FORM(0x49, P66, MEMORY): return two && i->reg == 0 ? STTILECFG : NOT_AMX;
    case FORM(0x49, NP, TILE): return two && i->reg == 0 && i->rm == 0 ? TILERELEASE : NOT_AMX;
    case FORM(0x49, PF2, TILE): return two && i->rm == 0 ? TILEZERO : NOT_AMX;
    case FORM(0x4b, P66, MEMORY): // tileloaddt1: the same with a hint for the caches
    case FORM(0x4b, PF2, MEMORY): return two && i->sib ? TILELOADD : NOT_AMX;
    case FORM(0x4b, PF3, MEMORY): return two && i->sib ? TILESTORED : NOT_AMX;
    case FORM(0x5c, PF3, TILE): return three ? TDPBF16PS : NOT_AMX;
    case FORM(0x5e, NP, TILE): return three ? TDPBUUD : NOT_AMX;
    case FORM(0x5e, P66, TILE): return three ? TDPBUSD : NOT_AMX;
    case FORM(0x5e, PF3, TILE): return three ? TDPBSUD : NOT_AMX;
    case FORM(0x5e, PF2, TILE): return three ? TDPBSSD : NOT_AMX;
    default: return NOT_AMX;
    }
#undef FORM
}

// --- Executing ---

static void load_configuration(const void *memory) {
    static const uint8_t zeros[16];
    struct configuration new;
    memcpy(&new, memory, sizeof new);
    REQUIRE(new.palette == 1, "ldtilecfg: the palette is %d, not 1", new.palette);
    REQUIRE(new.start_row == 0, "ldtilecfg: the start row is %d, not 0", new.start_row);
    REQUIRE(memcmp(new.reserved_2, zeros, sizeof new.reserved_2) == 0 &&
                memcmp(new.reserved_32, zeros, sizeof new.reserved_32) == 0 &&
                memcmp(new.reserved_56, zeros, sizeof new.reserved_56) == 0,
            "ldtilecfg: reserved bytes (2-15, 32-47, 56-63) are not all zero");
    for (int t = 0; t < TILES; t++) {
        int rows = new.rows[t], colsb = new.colsb[t];
        REQUIRE(rows <= ROWS, "ldtilecfg: tile %d has %d rows, more than 16", t, rows);
        REQUIRE(colsb <= ROW_BYTES, "ldtilecfg: tile %d has colsb %d, more than 64", t, colsb);
        REQUIRE((rows == 0) == (colsb == 0),
                "ldtilecfg: tile %d has %d rows and colsb %d, only one of them 0", t, rows, colsb);
    }
    config = new;
    memset(tiles, 0, sizeof tiles);
}

static void require_usable(unsigned tile) {
    REQUIRE(config.palette != 0, "tile %u is used while the tiles are not configured", tile);
    REQUIRE(config.rows[tile] != 0, "tile %u is used but configured with rows and colsb 0", tile);
    REQUIRE(config.colsb[tile] % 4 == 0, "tile %u is used with colsb %d, not a multiple of 4", tile,
            config.colsb[tile]);
}

static void load_tile(unsigned tile, const uint8_t *memory, uint64_t stride) {
    require_usable(tile);
    memset(tiles[tile], 0, sizeof tiles[tile]);
    for (unsigned row = 0; row < config.rows[tile]; row++)
        memcpy(tiles[tile][row], memory + row * stride, config.colsb[tile]);
}

static void store_tile(unsigned tile, uint8_t *memory, uint64_t stride) {
    require_usable(tile);
    for (unsigned row = 0; row < config.rows[tile]; row++)
        memcpy(memory + row * stride, tiles[tile][row], config.colsb[tile]);
}

// The float32 of these bits, with a denormal taken for zero.
static float as_float(uint32_t bits) {
    if ((bits & 0x7f800000) == 0) bits &= 0x80000000;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float flush(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return as_float(bits);
}

// One element of tdpbf16ps: a dword holds two bf16 (the upper halves of float32), and the products
// of lower and of upper halves are summed up on their own before both are added to C. The hardware
// uses fused multiply-adds; multiplying and adding gives the same, because a product of two bf16
// has 16 bits and fits a float exactly (unless it over- or underflows). Rounding is to nearest even
// whatever the program's MXCSR says: the kernel starts signal handlers with the default one.
static uint32_t add_bf16_products(uint32_t c, const uint32_t *a, const uint32_t *b, int count) {
    float even = 0, odd = 0;
    for (int k = 0; k < count; k++) {
        even = flush(even + as_float(a[k] << 16) * as_float(b[k] << 16));
        odd = flush(odd + as_float(a[k] & 0xffff0000) * as_float(b[k] & 0xffff0000));
    }
    float sum = flush(as_float(c) + flush(even + odd));
    memcpy(&c, &sum, sizeof c);
    return c;
}

// One element of tdpb??d: a dword holds four bytes, and the sum wraps around.
static uint32_t add_byte_products(uint32_t c, const uint32_t *a, const uint32_t *b, int count,
                                  bool signed_a, bool signed_b) {
    for (int k = 0; k < count; k++)
        for (int shift = 0; shift < 32; shift += 8) {
            uint8_t byte_a = (uint8_t)(a[k] >> shift), byte_b = (uint8_t)(b[k] >> shift);
            int value_a = signed_a ? (int8_t)byte_a : byte_a;
            int value_b = signed_b ? (int8_t)byte_b : byte_b;
            c += (uint32_t)(value_a * value_b);
        }
    return c;
}

static void multiply(enum operation op, unsigned c, unsigned a, unsigned b) {
    REQUIRE(a != b && a != c && b != c, "product: tiles %u, %u, %u are not distinct", c, a, b);
    require_usable(c);
    require_usable(a);
    require_usable(b);
    REQUIRE(config.rows[c] == config.rows[a], "product: C has %d rows but A has %d",
            config.rows[c], config.rows[a]);
    REQUIRE(config.colsb[c] == config.colsb[b], "product: C has colsb %d but B has %d",
            config.colsb[c], config.colsb[b]);
    REQUIRE(config.colsb[a] / 4 == config.rows[b], "product: A has colsb %d but B %d rows",
            config.colsb[a], config.rows[b]);
    bool signed_a = op == TDPBSSD || op == TDPBSUD, signed_b = op == TDPBSSD || op == TDPBUSD;
    int count = config.rows[b];
    for (int n = 0; n < config.colsb[c] / 4; n++) {
        uint32_t column[ROWS];
        for (int k = 0; k < count; k++) column[k] = tiles[b][k][n];
        for (int m = 0; m < config.rows[c]; m++) {
            uint32_t *element = &tiles[c][m][n], *row = tiles[a][m];
            *element = op == TDPBF16PS
                           ? add_bf16_products(*element, row, column, count)
                           : add_byte_products(*element, row, column, count, signed_a, signed_b);
        }
    }
}

static void execute(enum operation op, const struct instruction *i) {
    // Tile accesses take the scaled index as the distance between rows, not as part of the address.
    void *rows = (void *)i->base, *address = (void *)(i->base + i->index);
    switch (op) {
    case NOT_AMX: break;
    case LDTILECFG: load_configuration(address); break;
    case STTILECFG: memcpy(address, &config, sizeof config); break;
    case TILERELEASE:
        memset(&config, 0, sizeof config);
        memset(tiles, 0, sizeof tiles);
        break;
    case TILEZERO:
        require_usable(i->reg);
        memset(tiles[i->reg], 0, sizeof tiles[i->reg]);
        break;
    case TILELOADD:
        load_tile(i->reg, rows, i->index);
        atomic_fetch_add(&loads, 1);
        break;
    case TILESTORED: store_tile(i->reg, rows, i->index); break;
    case TDPBF16PS: case TDPBSSD: case TDPBSUD: case TDPBUSD: case TDPBUUD:
        multiply(op, i->reg, i->rm, i->vvvv);
        atomic_fetch_add(&products, 1);
        break;
    }
}

// --- The signals ---

static void on_illegal_instruction(int number, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct instruction i;
    if (info->si_code <= 0) { // sent by kill() or raise(): no instruction, so it has to be repeated
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    current_rip = (uint64_t)regs[REG_RIP];
    enum operation op = decode(regs, &i) ? operation(&i) : NOT_AMX;
    if (op == NOT_AMX) { // it faults again, and the process dies as it would have
        WARN("SIGILL at %#lx, not by an emulated instruction", (unsigned long)current_rip);
        signal(number, SIG_DFL);
        return;
    }
    REQUIRE(permitted, "code uses tiles without permission (%s)",
            refuse ? "AMX_EMULATOR_REFUSE is set" : "it made no successful request for it");
    execute(op, &i);
    regs[REG_RIP] = (greg_t)i.next;
}

static void on_trapped_system_call(int number, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (info->si_code != BY_SECCOMP || info->si_syscall != SYS_arch_prctl ||
        (uint32_t)regs[REG_RDI] != REQUEST_PERMISSION) {
        signal(number, SIG_DFL); // another filter's: die of it
        raise(number);
        return;
    }
    // RIP is behind the system call already.
    if (regs[REG_RSI] != TILE_DATA) {
        regs[REG_RAX] = -EOPNOTSUPP; // what Linux says about features that need no permission
        return;
    }
    atomic_fetch_add(&requests, 1);
    if (!refuse) permitted = true; // for all threads, and inherited by fork, as in Linux
    regs[REG_RAX] = refuse ? -EPERM : 0;
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *)) {
    // SA_NODEFER, since the program may leave the handler for good: a tile load from a bad address
    // faults in here, and a program that handles SIGSEGV may longjmp out.
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) != 0) DIE("sigaction: %s", strerror(errno));
}

static void trap_permission_requests(void) {
#define FIELD(name) (uint32_t)offsetof(struct seccomp_data, name)
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args)), // the lower half: the argument is an int
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REQUEST_PERMISSION, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
#undef FIELD
    struct sock_fprog filter = {.len = sizeof code / sizeof code[0], .filter = code};
    // The kernel takes filters only from processes that cannot gain privileges any more.
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
        DIE("cannot install the seccomp filter: %s", strerror(errno));
}

// --- Set-up and report ---

// A forked child reports its own work only, so that the lines of a report add up.
static void forget_counts(void) { products = loads = requests = 0; }

__attribute__((constructor)) static void set_up(void) {
    const char *value = getenv("AMX_EMULATOR_REFUSE");
    refuse = value != NULL && *value != '\0';
    report_file = getenv("AMX_EMULATOR_REPORT");
    pthread_atfork(NULL, NULL, forget_counts);
    handle(SIGILL, on_illegal_instruction);
    handle(SIGSYS, on_trapped_system_call);
    trap_permission_requests(); // last: from here on SIGSYS has to be handled
}

__attribute__((destructor)) static void report(void) {
    if (report_file == NULL || *report_file == '\0') return;
    char line[128];
    int length = snprintf(line, sizeof line, "products=%lu loads=%lu requests=%lu\n",
                          atomic_load(&products), atomic_load(&loads), atomic_load(&requests));
    int file = open(report_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0 || write(file, line, (size_t)length) != length) // one write: processes may overlap
        WARN("cannot write %s: %s", report_file, strerror(errno));
    if (file >= 0) close(file);
}
