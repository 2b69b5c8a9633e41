/* timers.c - a million timers, as uv_timers.c has them: the same delays, each case run once before
 * it is measured, a sleep between adding and firing. */
#include "../micro/micro.h"

#include <neap.h>

static size_t fired;
static uint32_t delay_max_ms;

static void on_timer(void *user) {
    (void)user;
    fired++;
}

static void expect_timers(neap_loop *loop, size_t expected) {
    neap_metrics m = {.size = sizeof(m)};
    neap_loop_metrics(loop, &m, sizeof(m));
    if (m.timers != expected) {
        fprintf(stderr, "%llu timers pending, not %zu\n", (unsigned long long)m.timers, expected);
        exit(1);
    }
}

static void add_all(neap_loop *loop, neap_handle **handles, size_t count) {
    uint32_t seed = 2463534242u;
    for (size_t i = 0; i < count; i++) {
        int64_t delay_ns = (int64_t)(1 + micro_random(&seed) % delay_max_ms) * 1000000;
        if (neap_call_later(loop, delay_ns, on_timer, NULL, NULL,
                            handles != NULL ? &handles[i] : NULL) < 0)
            exit(1);
    }
}

static double add_and_fire(neap_loop *loop, size_t count) {
    fired = 0;
    neap_loop_update_time(loop);
    uint64_t start = micro_cpu_ns();
    add_all(loop, NULL, count);
    uint64_t added = micro_cpu_ns() - start;
    expect_timers(loop, count);
    usleep((delay_max_ms + 100) * 1000);
    start = micro_cpu_ns();
    while (fired < count)
        neap_loop_run_once(loop, -1);
    return (double)(added + micro_cpu_ns() - start) / (double)count;
}

static double add_and_cancel(neap_loop *loop, neap_handle **handles, size_t count) {
    neap_loop_update_time(loop);
    uint64_t start = micro_cpu_ns();
    add_all(loop, handles, count);
    for (size_t i = 0; i < count; i++) {
        neap_handle_cancel(handles[i]);
        neap_handle_unref(handles[i]);
    }
    uint64_t spent = micro_cpu_ns() - start;
    expect_timers(loop, 0);
    return (double)spent / (double)count;
}

int main(int argc, char **argv) {
    size_t count = micro_scaled(argc, argv, 1000000);
    delay_max_ms = micro_delay_max_ms(argc, argv);
    if (!micro_case(argc, argv, "timers"))
        micro_unknown_case(argv[0]);
    neap_loop *loop;
    neap_handle **handles = calloc(count, sizeof(neap_handle *));
    if (handles == NULL || neap_loop_new(NULL, &loop) < 0)
        return 1;
    add_and_fire(loop, count);
    micro_print("add_fire_ns", add_and_fire(loop, count));
    add_and_cancel(loop, handles, count);
    micro_print("add_cancel_ns", add_and_cancel(loop, handles, count));
    micro_end();
    free(handles);
    neap_loop_close(loop, 0);
    neap_loop_unref(loop);
    return 0;
}
