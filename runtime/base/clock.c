#include "base/clock.h"

#include <time.h>

int64_t np_clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NP_NS_PER_S + ts.tv_nsec;
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

uint64_t np_cycles(void) {
    return __rdtsc();
}

bool np_cycles_steady(void) {
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1u << 8)) != 0; /* "invariant TSC" */
}

#else

uint64_t np_cycles(void) {
    return (uint64_t)np_clock_ns();
}

bool np_cycles_steady(void) {
    return false;
}

#endif
