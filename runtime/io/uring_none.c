/* uring_none.c: stands for the io_uring backend where that is not built. */
#include "io/backend.h"

const np_backend np_backend_uring = {.name = NULL};
