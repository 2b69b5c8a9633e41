/* uv_timers.c - libuv's timers: a million with random delays of up to a second, added and fired,
 * and added and all stopped.
 *
 * The handles are there beforehand and each case has run once before it is measured, so no page
 * fault is counted. Between adding and firing the program sleeps until all are due: what is
 * measured is the timer store, not how often a loop wakes up meanwhile. */
#include "micro.h"

#include <uv.h>

static size_t fired;
static uint32_t delay_max_ms;

static void on_timer(uv_timer_t *timer) {
    (void)timer;
    fired++;
}

static void add_all(uv_timer_t *timers, size_t count) {
    uint32_t seed = 2463534242u;
    for (size_t i = 0; i < count; i++)
        uv_timer_start(&timers[i], on_timer, 1 + micro_random(&seed) % delay_max_ms, 0);
}

static double add_and_fire(uv_loop_t *loop, uv_timer_t *timers, size_t count) {
    fired = 0;
    uv_update_time(loop);
    uint64_t start = micro_cpu_ns();
    add_all(timers, count);
    uint64_t added = micro_cpu_ns() - start;
    usleep((delay_max_ms + 100) * 1000);
    start = micro_cpu_ns();
    while (fired < count)
        uv_run(loop, UV_RUN_ONCE);
    return (double)(added + micro_cpu_ns() - start) / (double)count;
}

static double add_and_stop(uv_loop_t *loop, uv_timer_t *timers, size_t count) {
    uv_update_time(loop);
    uint64_t start = micro_cpu_ns();
    add_all(timers, count);
    for (size_t i = 0; i < count; i++)
        uv_timer_stop(&timers[i]);
    return (double)(micro_cpu_ns() - start) / (double)count;
}

int main(int argc, char **argv) {
    size_t count = micro_scaled(argc, argv, 1000000);
    delay_max_ms = micro_delay_max_ms(argc, argv);
    if (!micro_case(argc, argv, "timers"))
        micro_unknown_case(argv[0]);
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t *timers = calloc(count, sizeof(*timers));
    if (timers == NULL)
        return 1;
    for (size_t i = 0; i < count; i++)
        uv_timer_init(loop, &timers[i]);
    add_and_fire(loop, timers, count);
    micro_print("add_fire_ns", add_and_fire(loop, timers, count));
    add_and_stop(loop, timers, count);
    micro_print("add_cancel_ns", add_and_stop(loop, timers, count));
    micro_end();
    return 0;
}
