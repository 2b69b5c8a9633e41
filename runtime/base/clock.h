/* clock.h: time: the monotonic clock in ns, and a cheap cycle counter for step times. */
#ifndef NP_CLOCK_H
#define NP_CLOCK_H

#include "base.h"

int64_t np_clock_ns(void);

/* A counter that is cheap to read where np_cycles_steady(), else the clock in ns. */
uint64_t np_cycles(void);
bool np_cycles_steady(void);

/* a + b, at the ends of the range instead of past them. */
static inline int64_t np_time_add(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return b > 0 ? NP_NEVER : INT64_MIN;
    return sum;
}

#endif
