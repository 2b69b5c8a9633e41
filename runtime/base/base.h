/* base.h: what every file of the runtime may use: forward typedefs, container access, checks that stay on. */
#ifndef NP_BASE_H
#define NP_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "neap.h"

#define np_container(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define np_likely(x) __builtin_expect(!!(x), 1)
#define np_unlikely(x) __builtin_expect(!!(x), 0)

/* Of functions for failures and the like: what leads there is laid out beside what usually runs. */
#define NP_COLD __attribute__((cold))

#define NP_NS_PER_S INT64_C(1000000000)
#define NP_NEVER INT64_MAX /* a deadline that does not come */

typedef struct np_alloc np_alloc;

#endif
