#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

void semihosting_print(const char *text);
void semihosting_exit(int status);

/* Prints where and why the processor stopped and leaves with status 4. */
void semihosting_fault(uintptr_t pc, uintptr_t cause);

#endif
