/* ring.h - the floor under a runtime in Lua: a ring of ready coroutines, futures as userdata, one
 * timer. Runs the benchmark scripts that neap runs. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <stddef.h>

/* Runs the script (which answers a function) with the ring's functions and the count. */
void ring_run(const char *folder, const char *script, size_t count, char **argv);

#endif
