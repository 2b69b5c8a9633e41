/* micro.h - clocks and output of the micro benchmarks in C.
 *
 * A micro benchmark is run as `program CASE [SCALE]` and prints one flat JSON object of figures;
 * the scale (default 1) multiplies the counts. Processor time, not wall time: other programs on
 * the machine then disturb the caches only. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t micro_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t micro_rss_bytes(void) {
    unsigned long size = 0;
    unsigned long resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%lu %lu", &size, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static inline size_t micro_scaled(int argc, char **argv, size_t count) {
    double scale = argc > 2 ? atof(argv[2]) : 1.0;
    double n = (double)count * (scale > 0 ? scale : 1.0);
    return n < 1 ? 1 : (size_t)n;
}

/* The longest delay of the timers: a second, less when the counts are small. */
static inline uint32_t micro_delay_max_ms(int argc, char **argv) {
    size_t max = micro_scaled(argc, argv, 1000);
    return max > 1000 ? 1000 : max < 50 ? 50 : (uint32_t)max;
}

static inline int micro_case(int argc, char **argv, const char *name) {
    return argc > 1 && strcmp(argv[1], name) == 0;
}

__attribute__((noreturn)) static inline void micro_unknown_case(const char *program) {
    fprintf(stderr, "%s: no such case\n", program);
    exit(2);
}

static int micro_figures;

static inline void micro_print(const char *name, double value) {
    printf("%s\"%s\": %.3f", micro_figures++ == 0 ? "{" : ", ", name, value);
}

static inline void micro_end(void) {
    puts(micro_figures == 0 ? "{}" : "}");
}

/* The same pseudo-random delays for every timer benchmark in C. */
static inline uint32_t micro_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

#endif
