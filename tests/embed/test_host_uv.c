/* A libuv program: the loop's descriptor is a poll handle of its loop. */
#include "scene.h"

#include <uv.h>

typedef struct host {
    uv_loop_t loop;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_timer_t pulse; /* the host's own work goes on */
    int turns;
    int pulses;
} host;

static void on_readable(uv_poll_t *poll, int status, int events) {
    host *h = poll->data;
    assert_int_equal(status, 0);
    assert_int_equal(events, UV_READABLE);
    h->turns++;
    assert_true(neap_loop_run_once(nt.loop, 0) >= 0);
}

static void on_pulse(uv_timer_t *timer) {
    ((host *)timer->data)->pulses++;
}

static void host_begin(host *h) {
    h->turns = h->pulses = 0;
    assert_int_equal(uv_loop_init(&h->loop), 0);
    assert_int_equal(uv_poll_init(&h->loop, &h->poll, neap_loop_fd(nt.loop)), 0);
    assert_int_equal(uv_timer_init(&h->loop, &h->timer), 0);
    assert_int_equal(uv_timer_init(&h->loop, &h->pulse), 0);
    h->poll.data = h->timer.data = h->pulse.data = h;
    assert_int_equal(uv_poll_start(&h->poll, UV_READABLE, on_readable), 0);
    assert_int_equal(uv_timer_start(&h->pulse, on_pulse, 1, 5), 0);
}

static void host_stop(void *user) {
    uv_stop(&((host *)user)->loop);
}

static void on_timeout(uv_timer_t *timer) {
    host_stop(timer->data);
}

static void host_end(host *h) {
    uv_close((uv_handle_t *)&h->poll, NULL);
    uv_close((uv_handle_t *)&h->timer, NULL);
    uv_close((uv_handle_t *)&h->pulse, NULL);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
}

static void a_libuv_loop_drives_everything_through_the_descriptor(void **state) {
    (void)state;
    scene s;
    host h;
    host_begin(&h);
    scene_begin(&s, nt.loop, host_stop, &h);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    assert_int_equal(s.done, 1);
    assert_true(h.pulses > 0);
    host_end(&h);
    scene_end(&s);
}

static void a_libuv_loop_takes_no_turn_while_the_loop_is_idle(void **state) {
    (void)state;
    idle_scene s;
    host h;
    host_begin(&h);
    idle_begin(&s, nt.loop);
    assert_int_equal(uv_timer_start(&h.timer, on_timeout, 20, 0), 0);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    assert_true(h.turns < 10);
    h.turns = 0;
    h.pulses = 0;
    assert_int_equal(uv_timer_start(&h.timer, on_timeout, 200, 0), 0);
    uv_run(&h.loop, UV_RUN_DEFAULT);
    assert_int_equal(h.turns, 0);
    assert_true(h.pulses > 0);
    host_end(&h);
    idle_end(&s);
}

/* libuv keeps the descriptors of its signal pipe for the whole process: they are made here. */
static int setup(void **state) {
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0 || uv_loop_close(&loop) != 0)
        return -1;
    return scene_setup(state);
}

#define HOST_TEST(f) cmocka_unit_test_setup_teardown(f, setup, nt_teardown)

NT_MAIN(HOST_TEST(a_libuv_loop_drives_everything_through_the_descriptor),
        HOST_TEST(a_libuv_loop_takes_no_turn_while_the_loop_is_idle))
