/* The runner's files under an operating system. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>

static FILE *open_or_leave(const char *name, const char *mode) {
    FILE *file = fopen(name, mode);
    if (!file) {
        perror(name);
        exit(3);
    }
    return file;
}

void host_read(const char *name, void *data, size_t bytes) {
    FILE *file = open_or_leave(name, "rb");
    if (fread(data, 1, bytes, file) != bytes) {
        fprintf(stderr, "%s: shorter than %zu bytes\n", name, bytes);
        exit(3);
    }
    fclose(file);
}

void host_write(const char *name, const void *data, size_t bytes) {
    FILE *file = open_or_leave(name, "wb");
    if (fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
        perror(name);
        exit(3);
    }
}
