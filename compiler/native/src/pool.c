/* What Rust needs to know to give a pool its memory. */
#include <stddef.h>

#include "onnxc_pool.h"

const size_t onnxc_pool_bytes = sizeof(struct onnxc_pool);
