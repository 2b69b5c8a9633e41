/* hist.h - a latency histogram of fixed size.
 *
 * Log-linear: 64 buckets per power of two, so a percentile is known within 1.6 % over the whole
 * range and recording is two shifts and an increment. A table of samples would grow with the run
 * and its page faults would be part of what it measures. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>
#include <string.h>

enum {
    HIST_SUB_BITS = 6,
    HIST_SUB = 1 << HIST_SUB_BITS,
    HIST_LEN = (65 - HIST_SUB_BITS) * HIST_SUB
};

struct hist {
    uint64_t count;
    uint64_t max;
    double sum;
    uint64_t bucket[HIST_LEN];
};

static inline void hist_clear(struct hist *h) {
    memset(h, 0, sizeof(*h));
}

static inline unsigned hist_index(uint64_t value) {
    if (value < HIST_SUB)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HIST_SUB_BITS;
    /* value >> shift lies in [64, 127]; the row above it is chosen by the shift. */
    return (shift << HIST_SUB_BITS) + (unsigned)(value >> shift);
}

/* The middle of the bucket's range. */
static inline uint64_t hist_value(unsigned index) {
    if (index < HIST_SUB)
        return index;
    unsigned shift = (index >> HIST_SUB_BITS) - 1;
    uint64_t low = (uint64_t)(index - (shift << HIST_SUB_BITS)) << shift;
    return low + ((1ull << shift) >> 1);
}

static inline void hist_add(struct hist *h, uint64_t value) {
    h->count++;
    h->sum += (double)value;
    if (value > h->max)
        h->max = value;
    h->bucket[hist_index(value)]++;
}

static inline uint64_t hist_percentile(const struct hist *h, double percent) {
    double want = (double)h->count * percent / 100.0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_LEN; i++) {
        seen += h->bucket[i];
        if (seen > 0 && (double)seen >= want)
            return hist_value(i) < h->max ? hist_value(i) : h->max;
    }
    return h->max;
}

#endif
