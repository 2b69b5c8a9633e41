/* The installed header for tests with cmocka, as its users have it: without the support of the other suites. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "neap_cmocka.h"

#define SECOND INT64_C(1000000000)

static void nothing(void *user) {
    (void)user;
}

static void break_down(void *user) {
    neap_loop_fail(user, NEAP_EPIPE, "the callback has failed", NULL, NULL);
}

static void count(void *user) {
    ++*(int *)user;
}

static int32_t yield_for_ever(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    (void)task;
    (void)awaited;
    (void)user;
    return wake == NEAP_WAKE_CANCEL ? NEAP_STEP_CANCELLED : NEAP_STEP_YIELD;
}

/* Sleeps an hour each time. */
static int32_t sleep_on(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    (void)awaited;
    (void)user;
    if (wake == NEAP_WAKE_CANCEL)
        return NEAP_STEP_CANCELLED;
    return neap_task_sleep(task, 3600 * SECOND) == 0 ? NEAP_STEP_AWAIT : NEAP_STEP_DONE;
}

static neap_task *spawn(void **state, const char *name,
                        int32_t (*step)(neap_task *, neap_future *, int32_t, void *)) {
    static neap_task_ops ops;
    neap_task_options options;
    neap_task *task = NULL;
    memset(&options, 0, sizeof options);
    ops.size = sizeof ops;
    ops.step = step;
    options.size = sizeof options;
    options.name = name;
    assert_int_equal(neap_task_spawn(neap_test_loop(state), &ops, NULL, &options, &task), 0);
    return task;
}

/* ---- A loop, and running it ------------------------------------------------------------------ */

static void an_hour_passes_at_once(void **state) {
    neap_future *sleep = NULL;
    neap_test_of(state)->limits.time_ns = 3600 * SECOND;
    assert_int_equal(neap_loop_time(neap_test_loop(state)), 0);
    assert_int_equal(neap_sleep(neap_test_loop(state), 3599 * SECOND, &sleep), 0);
    neap_test_run(state, sleep);
    assert_int_equal(neap_loop_time(neap_test_loop(state)), 3599 * SECOND);
    neap_future_unref(sleep);
}

static void the_real_clock_is_there_if_it_is_asked_for(void **state) {
    neap_future *sleep = NULL;
    int64_t before = neap_loop_time(neap_test_loop(state));
    assert_true(before > 0);
    assert_int_equal(neap_sleep(neap_test_loop(state), 1000000, &sleep), 0);
    neap_test_run(state, sleep);
    assert_true(neap_loop_time(neap_test_loop(state)) - before >= 1000000);
    neap_future_unref(sleep);
}

static void a_run_that_takes_too_long_tells_who_waits_for_what(void **state) {
    neap_task *task = spawn(state, "sleeper", sleep_on);
    neap_future *never = NULL;
    assert_int_equal(neap_future_new(neap_test_loop(state), &never), 0);
    assert_int_equal(neap_test_try_run(state, never), NEAP_ETIMEOUT);
    assert_non_null(strstr(neap_test_of(state)->wrong, "sleeper sleeps for another "));
    assert_int_equal(neap_loop_time(neap_test_loop(state)), 60 * SECOND);
    neap_task_cancel(task, NULL);
    neap_task_unref(task);
    neap_future_unref(never);
}

static void a_run_that_nothing_can_end_is_told_at_once(void **state) {
    neap_future *never = NULL;
    assert_int_equal(neap_future_new(neap_test_loop(state), &never), 0);
    assert_int_equal(neap_test_try_run(state, never), NEAP_EDEADLOCK);
    assert_string_equal(neap_test_of(state)->wrong, "nothing can ever wake what is waited for\n");
    assert_non_null(strstr(neap_test_take_reports(state), "nothing can ever wake"));
    neap_future_unref(never);
}

static void what_can_run_runs_until_all_is_blocked(void **state) {
    int calls = 0;
    neap_handle *late = NULL;
    assert_int_equal(neap_call_soon(neap_test_loop(state), count, &calls, NULL, NULL), 0);
    assert_int_equal(neap_call_later(neap_test_loop(state), 1, count, &calls, NULL, &late), 0);
    neap_test_blocked(state);
    assert_int_equal(calls, 1);
    assert_int_equal(neap_loop_time(neap_test_loop(state)), 0);
    assert_int_equal(neap_handle_cancel(late), 1);
    neap_handle_unref(late);
}

static void what_never_blocks_is_told(void **state) {
    neap_task *task = spawn(state, "busy", yield_for_ever);
    neap_test_of(state)->limits.ticks = 100;
    assert_int_equal(neap_test_try_blocked(state), NEAP_ETIMEOUT);
    neap_task_cancel(task, NULL);
    neap_task_unref(task);
    neap_test_blocked(state);
}

static void an_allocation_can_be_made_to_fail(void **state) {
    neap_loop *loop = neap_test_loop(state);
    neap_buf *a = NULL, *b = NULL;
    neap_test_fail_allocation(state, 2);
    assert_int_equal(neap_buf_new(loop, "a", 1, &a), 0);
    assert_int_equal(neap_buf_new(loop, "b", 1, &b), NEAP_ENOMEM);
    assert_int_equal(neap_buf_new(loop, "b", 1, &b), 0);
    neap_buf_unref(a);
    neap_buf_unref(b);
}

static void reports_can_be_taken(void **state) {
    assert_string_equal(neap_test_take_reports(state), "");
    assert_int_equal(
        neap_call_soon(neap_test_loop(state), break_down, neap_test_loop(state), NULL, NULL), 0);
    neap_test_blocked(state);
    assert_string_equal(neap_test_take_reports(state), "the callback has failed\n");
    assert_string_equal(neap_test_take_reports(state), "");
}

/* ---- What the end of a test finds ------------------------------------------------------------ */

/* Begins and ends a test around `leave`; what the end says. */
static const char *end_after(void (*leave)(void **state)) {
    static char text[8192];
    void *inner = NULL;
    assert_int_equal(neap_test_setup(&inner), 0);
    leave(&inner);
    neap_test_end(&inner, text, sizeof text);
    assert_null(inner);
    return text;
}

static void leave_nothing(void **state) {
    neap_task *task = spawn(state, "cancelled", sleep_on);
    neap_test_blocked(state);
    neap_task_cancel(task, NULL);
    neap_task_unref(task);
}

static void leave_a_task(void **state) {
    neap_task_unref(spawn(state, "worker", sleep_on));
}

static void leave_a_task_that_never_waits(void **state) {
    neap_task_unref(spawn(state, "busy", yield_for_ever));
}

static void leave_a_timer(void **state) {
    assert_int_equal(neap_call_later(neap_test_loop(state), 1, nothing, NULL, NULL, NULL), 0);
}

static void leave_a_socket(void **state) {
    neap_sock *a = NULL, *b = NULL;
    assert_int_equal(neap_sock_pair(neap_test_loop(state), NEAP_UNIX, &a, &b), 0);
    neap_sock_unref(a);
    neap_sock_close(b);
    neap_sock_unref(b);
    assert_int_equal(neap_sock_new(neap_test_loop(state), NEAP_TCP, NEAP_AF_UNSPEC, &a), 0);
    neap_test_of(state)->user = a;
}

static void leave_a_report(void **state) {
    assert_int_equal(
        neap_call_soon(neap_test_loop(state), break_down, neap_test_loop(state), NULL, NULL), 0);
}

static void a_test_that_leaves_nothing_passes(void **state) {
    (void)state;
    assert_string_equal(end_after(leave_nothing), "");
}

static void a_live_task_is_a_leak(void **state) {
    (void)state;
    assert_string_equal(end_after(leave_a_task),
                        "left: tasks: 1\nworker sleeps for another 3600 s\nleft: timers: 1\n");
    assert_non_null(
        strstr(end_after(leave_a_task_that_never_waits), "left: tasks: 1\nbusy is ready\n"));
}

static void a_timer_is_a_leak(void **state) {
    (void)state;
    assert_string_equal(end_after(leave_a_timer), "left: timers: 1\n");
}

static void a_report_that_nobody_takes_is_a_leak(void **state) {
    (void)state;
    assert_string_equal(end_after(leave_a_report), "reported: the callback has failed\n");
}

/* The memory of the test stays until the reference that was forgotten is ended all the same. */
static void an_open_socket_and_memory_are_leaks(void **state) {
    (void)state;
    char text[1024];
    void *inner = NULL;
    assert_int_equal(neap_test_setup(&inner), 0);
    neap_test *test = neap_test_of(&inner);
    leave_a_socket(&inner);
    neap_test_end(&inner, text, sizeof text);
    assert_non_null(strstr(text, "left: open sockets: 1\n"));
    assert_non_null(strstr(text, "left: bytes: "));
    assert_non_null(strstr(text, "left: blocks: "));
    neap_sock_unref(test->user);
    assert_int_equal(test->blocks, 0);
    assert_int_equal(test->bytes, 0);
    free(test);
}

static void a_loop_that_was_closed_by_the_test_is_fine(void **state) {
    (void)state;
    char text[1024];
    void *inner = NULL;
    assert_int_equal(neap_test_setup(&inner), 0);
    assert_int_equal(neap_loop_close(neap_test_loop(&inner), 0), 0);
    neap_test_end(&inner, text, sizeof text);
    assert_string_equal(text, "");
}

static void options_of_your_own_are_taken(void **state) {
    (void)state;
    char text[1024];
    void *inner = NULL;
    neap_loop_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.name = "mine";
    options.backend = "no such thing";
    assert_int_equal(neap_test_begin(&inner, &options), -1);
    assert_null(inner);
    options.backend = "poll";
    assert_int_equal(neap_test_begin(&inner, &options), 0);
    assert_string_equal(neap_loop_name(neap_test_loop(&inner)), "mine");
    assert_string_equal(neap_loop_backend(neap_test_loop(&inner)), "poll");
    neap_test_end(&inner, text, sizeof text);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        neap_test_unit(an_hour_passes_at_once),
        neap_test_unit_real(the_real_clock_is_there_if_it_is_asked_for),
        neap_test_unit(a_run_that_takes_too_long_tells_who_waits_for_what),
        neap_test_unit(a_run_that_nothing_can_end_is_told_at_once),
        neap_test_unit(what_can_run_runs_until_all_is_blocked),
        neap_test_unit(what_never_blocks_is_told),
        neap_test_unit(an_allocation_can_be_made_to_fail),
        neap_test_unit(reports_can_be_taken),
        cmocka_unit_test(a_test_that_leaves_nothing_passes),
        cmocka_unit_test(a_live_task_is_a_leak),
        cmocka_unit_test(a_timer_is_a_leak),
        cmocka_unit_test(a_report_that_nobody_takes_is_a_leak),
        cmocka_unit_test(an_open_socket_and_memory_are_leaks),
        cmocka_unit_test(a_loop_that_was_closed_by_the_test_is_fine),
        cmocka_unit_test(options_of_your_own_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
