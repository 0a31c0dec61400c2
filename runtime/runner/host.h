/* What the runner asks of the machine that it runs on: files by name, in the working directory of the program or of
 * the emulator. Two implementations: stdio.c (an operating system) and semihosting.c (bare metal). */
#ifndef HOST_H
#define HOST_H

#include <stddef.h>

/* Fills `data` with exactly `bytes` bytes of the file; leaves the program with status 3 if it cannot. */
void host_read(const char *name, void *data, size_t bytes);

/* Makes the file anew from `bytes` bytes of `data`; leaves the program with status 3 if it cannot. */
void host_write(const char *name, const void *data, size_t bytes);

#endif
