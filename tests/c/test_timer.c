/* Timers and the clock. */
#include <stdlib.h>
#include <string.h>

#include "support.h"

static void M1_sleepers_wake_in_the_order_of_their_deadlines(void **state) {
    (void)state;
    nt_script s[3];
    neap_task *tasks[3];
    tasks[0] = nt_spawn(&s[0], "c", NT_ACTS(NT_SLEEP(3 * NT_SEC), NT_NOTE("3")));
    tasks[1] = nt_spawn(&s[1], "a", NT_ACTS(NT_SLEEP(1 * NT_SEC), NT_NOTE("1")));
    tasks[2] = nt_spawn(&s[2], "b", NT_ACTS(NT_SLEEP(2 * NT_SEC), NT_NOTE("2")));
    for (int i = 0; i < 3; i++)
        nt_until_task(tasks[i]);
    assert_notes("1 2 3");
    assert_true(neap_loop_time(nt.loop) == 3 * NT_SEC);
    for (int i = 0; i < 3; i++)
        neap_task_unref(tasks[i]);
}

static void M1_a_sleep_of_zero_or_less_is_one_bare_yield(void **state) {
    (void)state;
    nt_script zero, negative, yields;
    neap_task *a = nt_spawn(&zero, "a", NT_ACTS(NT_SLEEP(0), NT_NOTE("zero")));
    neap_task *b = nt_spawn(&negative, "b", NT_ACTS(NT_SLEEP(-5 * NT_SEC), NT_NOTE("negative")));
    neap_task *c = nt_spawn(&yields, "c", NT_ACTS(NT_YIELD, NT_NOTE("yield")));
    nt_turn();
    assert_notes("");
    nt_turn();
    assert_int_equal(zero.n_wakes, 2);
    assert_int_equal(negative.n_wakes, 2);
    assert_int_equal(yields.n_wakes, 2);
    assert_true(neap_loop_time(nt.loop) == 0);
    neap_task_unref(a);
    neap_task_unref(b);
    neap_task_unref(c);
}

static void M2_a_timer_fires_when_it_is_due_and_not_before(void **state) {
    (void)state;
    nt_later(NT_SEC, "due");
    nt_later(NT_SEC / 2, "overdue");
    nt_later(NT_SEC + NT_MS, "later");
    assert_ok(neap_loop_advance(nt.loop, NT_SEC - NT_MS));
    nt_turn();
    assert_notes("overdue");
    assert_ok(neap_loop_advance(nt.loop, NT_MS));
    nt_turn();
    assert_notes("overdue due");
    nt_turns(3);
    assert_notes("overdue due");
    assert_ok(neap_loop_advance(nt.loop, NT_MS));
    nt_turn();
    assert_notes("overdue due later");
}

static void cancel_other(void *user) {
    nt_note("cancel:%d", (int)neap_handle_cancel(*(neap_handle **)user));
}

static void M3_a_timer_may_cancel_another_that_is_due_in_the_same_tick(void **state) {
    (void)state;
    neap_handle *victim = NULL;
    assert_ok(neap_call_later(nt.loop, NT_SEC, cancel_other, &victim, NULL, NULL));
    victim = nt_later_handle(NT_SEC, "victim");
    nt_later(NT_SEC, "other");
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_notes("cancel:1 other");
    neap_handle_unref(victim);
}

static void M4_the_heap_holds_the_live_timers_and_no_others(void **state) {
    (void)state;
    neap_handle *handles[200];
    neap_handle *head = nt_later_handle(NT_SEC, "head");
    for (int i = 0; i < 200; i++)
        handles[i] = nt_later_handle((2 + i) * NT_SEC, "tail");
    assert_int_equal(nt_metrics().timers, 201);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(neap_handle_cancel(handles[2 * i]), 1);
        assert_int_equal(nt_metrics().timers, 200 - i);
    }
    nt_turn();
    assert_int_equal(nt_metrics().timers, 101);
    assert_int_equal(neap_handle_cancel(handles[1]), 1);
    assert_int_equal(nt_metrics().timers, 100);
    for (int i = 0; i < 200; i++) {
        neap_handle_cancel(handles[i]);
        neap_handle_unref(handles[i]);
    }
    assert_int_equal(nt_metrics().timers, 1);
    neap_handle_cancel(head);
    neap_handle_unref(head);
    assert_int_equal(nt_metrics().timers, 0);
}

static void M5_a_cancelled_head_does_not_bound_the_wait(void **state) {
    (void)state;
    int64_t when = 0;
    int64_t timeout = 0;
    neap_handle *head = nt_later_handle(5 * NT_SEC, "head");
    neap_handle *next = nt_later_handle(3600 * NT_SEC, "next");
    assert_int_equal(neap_loop_next_deadline(nt.loop, &when), 1);
    assert_true(when == neap_handle_when(head));
    neap_handle_cancel(head);
    assert_int_equal(neap_loop_next_deadline(nt.loop, &when), 1);
    assert_true(when == neap_handle_when(next));
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_true(timeout > 5 * NT_SEC && timeout <= 3600 * NT_SEC);
    neap_handle_cancel(next);
    assert_int_equal(neap_loop_next_deadline(nt.loop, &when), 0);
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_true(timeout == -1);
    neap_handle_unref(head);
    neap_handle_unref(next);
}

static void M5_a_cancelled_head_never_fires(void **state) {
    (void)state;
    neap_handle *head = nt_later_handle(NT_SEC, "head");
    nt_later(10 * NT_SEC, "next");
    neap_handle_cancel(head);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_notes("next");
    assert_true(neap_loop_time(nt.loop) == 10 * NT_SEC);
    neap_handle_unref(head);
}

static void
M6_a_timer_knows_its_deadline_and_cancelling_it_after_it_fired_does_nothing(void **state) {
    (void)state;
    assert_ok(neap_loop_advance(nt.loop, 3 * NT_SEC));
    neap_handle *later = nt_later_handle(NT_SEC, "later");
    neap_handle *at = NULL;
    neap_handle *soon = nt_soon_handle("soon");
    assert_ok(neap_call_at(nt.loop, 7 * NT_SEC, nt_note_fn, NT_WORD("at"), NULL, &at));
    assert_true(neap_handle_when(later) == 4 * NT_SEC);
    assert_true(neap_handle_when(at) == 7 * NT_SEC);
    assert_true(neap_handle_when(soon) == NEAP_EINVAL);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_notes("soon later");
    assert_int_equal(neap_handle_cancel(later), 0);
    assert_int_equal(neap_handle_cancel(later), 0);
    assert_int_equal(neap_handle_cancelled(later), 0);
    assert_int_equal(nt_metrics().timers, 1);
    assert_int_equal(neap_handle_cancel(at), 1);
    assert_int_equal(nt_metrics().timers, 0);
    neap_handle_unref(later);
    neap_handle_unref(at);
    neap_handle_unref(soon);
}

static void M7_timers_open_no_descriptors(void **state) {
    (void)state;
    int fds = nt_fd_count();
    for (int i = 0; i < 10000; i++)
        nt_later((1 + i % 100) * NT_SEC, "never");
    nt_turn();
    assert_int_equal(nt_fd_count(), fds);
    assert_int_equal(nt_metrics().timers, 10000);
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(nt_metrics_of(nt.loop).timers, 0);
}

/* ---- Equal deadlines ------------------------------------------------------------------------- */

static int64_t last_when;
static intptr_t last_index;
static int64_t deadlines[64];
static int fired;

static void expect_after_last(void *user) {
    intptr_t i = (intptr_t)user;
    if (last_index >= 0)
        assert_true(deadlines[i] > last_when || (deadlines[i] == last_when && i > last_index));
    last_when = deadlines[i];
    last_index = i;
    fired++;
}

static uint32_t random_state = 1;

static uint32_t rnd(uint32_t below) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

static void M8_equal_deadlines_fire_in_the_order_of_creation(void **state) {
    (void)state;
    int rounds = nt_slow_machine() ? 5000 : 100000;
    for (int round = 0; round < rounds; round++) {
        neap_handle *handles[24];
        int n = 1 + (int)rnd(24);
        int cancelled = 0;
        int64_t now = neap_loop_time(nt.loop);
        for (intptr_t i = 0; i < n; i++) {
            deadlines[i] = now + rnd(4);
            assert_ok(neap_call_at(nt.loop, deadlines[i], expect_after_last, (void *)i, NULL,
                                   &handles[i]));
        }
        for (int i = 0; i < n; i++) {
            if (rnd(4) == 0)
                cancelled += neap_handle_cancel(handles[i]);
            neap_handle_unref(handles[i]);
        }
        last_index = -1;
        fired = 0;
        assert_ok(neap_loop_advance(nt.loop, 4));
        nt_turn();
        assert_int_equal(fired, n - cancelled);
    }
}

static void M8_eight_timers_with_one_deadline_fire_in_their_order(void **state) {
    (void)state;
    static const char *const words[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    for (int i = 0; i < 8; i++)
        nt_later(NT_SEC, words[i]);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_notes("0 1 2 3 4 5 6 7");
}

static void many_timers_in_random_order_fire_sorted(void **state) {
    (void)state;
    enum {
        N = 20000
    };
    static int64_t times[N];
    static neap_handle *handles[N];
    int live = 0;
    for (int i = 0; i < N; i++) {
        times[i] = (int64_t)rnd(1000) * NT_MS;
        handles[i] = nt_later_handle(times[i], "");
    }
    for (int i = 0; i < N; i++) {
        if (rnd(3) == 0)
            neap_handle_cancel(handles[i]);
        else if (rnd(3) == 0)
            assert_ok(neap_handle_reset(handles[i], (int64_t)rnd(1000) * NT_MS));
        live += !neap_handle_cancelled(handles[i]);
    }
    assert_int_equal(nt_metrics().timers, live);
    int64_t before = 0;
    while (live > 0) {
        int64_t when = 0;
        assert_int_equal(neap_loop_next_deadline(nt.loop, &when), 1);
        assert_true(when >= before);
        before = when;
        int32_t n = neap_loop_run_once(nt.loop, -1);
        assert_true(n > 0);
        assert_true(neap_loop_time(nt.loop) == when);
        live -= n;
        nt_note_clear();
    }
    assert_int_equal(live, 0);
    for (int i = 0; i < N; i++)
        neap_handle_unref(handles[i]);
}

/* ---- Repeating timers, moved timers ---------------------------------------------------------- */

static void a_repeating_timer_does_not_drift(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    int destroyed = 0;
    assert_ok(neap_call_every(nt.loop, 0, 10 * NT_MS, nt_count_fn, &fired, NULL, &handle));
    fired = 0;
    nt_turn();
    assert_int_equal(fired, 1);
    for (int i = 1; i <= 10; i++) {
        assert_true(neap_handle_when(handle) == i * 10 * NT_MS);
        /* Late by a little each time. */
        assert_ok(
            neap_loop_advance(nt.loop, neap_handle_when(handle) + NT_MS - neap_loop_time(nt.loop)));
        nt_turn();
        assert_int_equal(fired, 1 + i);
    }
    assert_int_equal(neap_handle_cancel(handle), 1);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_int_equal(fired, 11);
    neap_handle_unref(handle);
    assert_ok(
        neap_call_every(nt.loop, NT_SEC, NT_SEC, nt_note_fn, &destroyed, nt_count_fn, &handle));
    assert_int_equal(neap_handle_cancel(handle), 1);
    assert_int_equal(destroyed, 1);
    neap_handle_unref(handle);
}

static void a_repeating_timer_skips_what_it_missed(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    fired = 0;
    assert_ok(neap_call_every(nt.loop, 10 * NT_MS, 10 * NT_MS, nt_count_fn, &fired, NULL, &handle));
    assert_ok(neap_loop_advance(nt.loop, 95 * NT_MS));
    nt_turns(3);
    assert_int_equal(fired, 1);
    assert_true(neap_handle_when(handle) == 100 * NT_MS);
    neap_handle_cancel(handle);
    neap_handle_unref(handle);
}

static void cancel_in_third(void *user) {
    if (++fired == 3)
        assert_int_equal(neap_handle_cancel(*(neap_handle **)user), 1);
}

static void a_repeating_timer_may_cancel_itself(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    fired = 0;
    assert_ok(neap_call_every(nt.loop, 0, NT_MS, cancel_in_third, &handle, NULL, &handle));
    for (int i = 0; i < 10; i++) {
        assert_ok(neap_loop_advance(nt.loop, NT_MS));
        nt_turn();
    }
    assert_int_equal(fired, 3);
    assert_int_equal(neap_handle_cancelled(handle), 1);
    neap_handle_unref(handle);
}

static void a_timer_can_be_moved_until_it_fires(void **state) {
    (void)state;
    neap_handle *handle = nt_later_handle(NT_SEC, "x");
    assert_ok(neap_handle_reset(handle, 5 * NT_SEC));
    assert_true(neap_handle_when(handle) == 5 * NT_SEC);
    assert_int_equal(nt_metrics().timers, 1);
    assert_ok(neap_loop_advance(nt.loop, 2 * NT_SEC));
    nt_turn();
    assert_notes("");
    assert_ok(neap_handle_reset(handle, NT_SEC));
    assert_true(neap_handle_when(handle) == 3 * NT_SEC);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_notes("x");
    assert_code(neap_handle_reset(handle, NT_SEC), NEAP_EINVALID_STATE);
    assert_int_equal(nt_metrics().timers, 0);
    neap_handle_unref(handle);
}

struct again {
    neap_handle *handle;
    int calls;
    int destroyed;
};

static void fire_thrice(void *user) {
    struct again *a = user;
    if (++a->calls < 3)
        assert_ok(neap_handle_reset(a->handle, NT_SEC));
}

static void count_again_destroyed(void *user) {
    ((struct again *)user)->destroyed++;
}

static void a_timer_moved_by_its_own_callback_fires_again(void **state) {
    (void)state;
    struct again a = {0};
    assert_ok(neap_call_later(nt.loop, NT_SEC, fire_thrice, &a, count_again_destroyed, &a.handle));
    for (int i = 1; i <= 5; i++) {
        assert_ok(neap_loop_advance(nt.loop, NT_SEC));
        nt_turn();
        assert_int_equal(a.calls, i < 3 ? i : 3);
        assert_int_equal(a.destroyed, i >= 3);
    }
    neap_handle_unref(a.handle);
}

static void move_other(void *user) {
    assert_ok(neap_handle_reset(*(neap_handle **)user, NT_SEC));
}

static void a_timer_that_is_due_already_can_still_be_moved_by_another(void **state) {
    (void)state;
    neap_handle *victim = NULL;
    assert_ok(neap_call_later(nt.loop, NT_SEC, move_other, &victim, NULL, NULL));
    victim = nt_later_handle(NT_SEC, "moved");
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turns(2);
    assert_notes("");
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_notes("moved");
    neap_handle_unref(victim);
}

static void a_moved_timer_comes_after_its_new_equals(void **state) {
    (void)state;
    neap_handle *handle = nt_later_handle(NT_SEC, "moved");
    nt_later(NT_SEC, "other");
    assert_ok(neap_handle_reset(handle, NT_SEC));
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_notes("other moved");
    neap_handle_unref(handle);
}

static void what_is_cancelled_or_no_timer_cannot_be_moved(void **state) {
    (void)state;
    neap_handle *timer = nt_later_handle(NT_SEC, "x");
    neap_handle *soon = nt_soon_handle("soon");
    neap_handle_cancel(timer);
    assert_code(neap_handle_reset(timer, NT_SEC), NEAP_EINVALID_STATE);
    assert_code(neap_handle_reset(soon, NT_SEC), NEAP_EINVALID_STATE);
    nt_turn();
    assert_notes("soon");
    assert_int_equal(nt_metrics().timers, 0);
    neap_handle_unref(timer);
    neap_handle_unref(soon);
}

static void a_timer_that_nobody_holds_fires_and_is_gone(void **state) {
    (void)state;
    uint64_t objects = nt_metrics().objects;
    fired = 0;
    assert_ok(neap_call_later(nt.loop, NT_SEC, nt_count_fn, &fired, nt_count_fn, NULL));
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_int_equal(fired, 2); /* the call and its destroy */
    assert_int_equal(nt_metrics().objects, objects);
}

/* ---- Sleep ----------------------------------------------------------------------------------- */

static void a_cancelled_sleep_removes_its_timer_at_once(void **state) {
    (void)state;
    neap_future *sleep = nt_sleep(NT_SEC);
    assert_int_equal(nt_metrics().timers, 1);
    assert_int_equal(neap_future_cancel(sleep, NULL), 1);
    assert_state(sleep, NEAP_STATE_CANCELLED);
    assert_int_equal(nt_metrics().timers, 0);
    neap_future_unref(sleep);
}

static void a_sleep_that_nobody_holds_still_calls_back(void **state) {
    (void)state;
    neap_future *sleep = nt_sleep(NT_SEC);
    nt_on_done(sleep, "woke");
    neap_future_unref(sleep);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turns(2);
    assert_notes("woke");
    assert_int_equal(nt_metrics().timers, 0);
}

static void a_sleep_completes_without_a_value(void **state) {
    (void)state;
    neap_future *sleep = nt_sleep(NT_SEC);
    nt_until(sleep);
    assert_int_equal(neap_future_kind(sleep), NEAP_KIND_NONE);
    assert_true(neap_loop_time(nt.loop) == NT_SEC);
    neap_future_unref(sleep);
}

/* ---- Clocks ---------------------------------------------------------------------------------- */

static void the_time_stands_still_within_a_tick(void **state) {
    (void)state;
    int64_t first = neap_loop_time(nt.loop);
    for (int i = 0; i < 1000; i++)
        assert_true(neap_loop_time(nt.loop) == first);
    assert_true(neap_loop_update_time(nt.loop) >= first);
    assert_true(neap_loop_time(nt.loop) >= first);
}

static void a_real_clock_cannot_be_moved(void **state) {
    (void)state;
    assert_code(neap_loop_advance(nt.loop, NT_SEC), NEAP_ENOTSUP);
}

static void a_virtual_clock_starts_at_0_and_moves_when_told(void **state) {
    (void)state;
    assert_true(neap_loop_time(nt.loop) == 0);
    nt_turns(10);
    assert_true(neap_loop_time(nt.loop) == 0);
    assert_ok(neap_loop_advance(nt.loop, 123));
    assert_true(neap_loop_time(nt.loop) == 123);
    assert_true(neap_loop_update_time(nt.loop) == 123);
    assert_code(neap_loop_advance(nt.loop, -1), NEAP_EINVAL);
    assert_true(neap_loop_time(nt.loop) == 123);
}

static void a_virtual_clock_jumps_to_the_next_deadline(void **state) {
    (void)state;
    nt_later(3600 * NT_SEC, "hour");
    nt_later(24 * 3600 * NT_SEC, "day");
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_notes("hour");
    assert_true(neap_loop_time(nt.loop) == 3600 * NT_SEC);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_notes("hour day");
    assert_true(neap_loop_time(nt.loop) == 24 * 3600 * NT_SEC);
}

static void a_virtual_clock_jumps_no_further_than_the_caller_waits(void **state) {
    (void)state;
    nt_later(NT_SEC, "timer");
    assert_int_equal(neap_loop_run_once(nt.loop, NT_SEC / 4), 0);
    assert_true(neap_loop_time(nt.loop) == NT_SEC / 4);
    assert_int_equal(neap_loop_run_once(nt.loop, 0), 0);
    assert_true(neap_loop_time(nt.loop) == NT_SEC / 4);
    assert_int_equal(neap_loop_run_once(nt.loop, 10 * NT_SEC), 1);
    assert_true(neap_loop_time(nt.loop) == NT_SEC);
    assert_notes("timer");
}

static void a_virtual_clock_does_not_jump_while_something_is_ready(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_YIELD, NT_YIELD, NT_NOTE("yielded")));
    nt_later(NT_SEC, "timer");
    neap_future *sleep = nt_sleep(NT_SEC);
    nt_until(sleep);
    assert_notes("yielded timer");
    neap_future_unref(sleep);
    neap_task_unref(task);
}

static void deadlines_far_away_do_not_overflow(void **state) {
    (void)state;
    assert_ok(neap_loop_advance(nt.loop, 5 * NT_SEC));
    neap_handle *far = nt_later_handle(INT64_MAX, "far");
    neap_handle *at = NULL;
    assert_ok(neap_call_at(nt.loop, INT64_MAX, nt_note_fn, NT_WORD("at"), NULL, &at));
    assert_true(neap_handle_when(far) > 0);
    nt_turns(2);
    assert_notes("");
    neap_handle_cancel(far);
    neap_handle_cancel(at);
    neap_handle_unref(far);
    neap_handle_unref(at);
}

static void a_negative_delay_counts_as_zero(void **state) {
    (void)state;
    assert_ok(neap_loop_advance(nt.loop, 5 * NT_SEC));
    neap_handle *handle = nt_later_handle(-3 * NT_SEC, "x");
    assert_true(neap_handle_when(handle) == 5 * NT_SEC);
    nt_turn();
    assert_notes("x");
    neap_handle_unref(handle);
}

NT_MAIN(
    NT_TEST_VIRTUAL(M1_sleepers_wake_in_the_order_of_their_deadlines),
    NT_TEST_VIRTUAL(M1_a_sleep_of_zero_or_less_is_one_bare_yield),
    NT_TEST_VIRTUAL(M2_a_timer_fires_when_it_is_due_and_not_before),
    NT_TEST_VIRTUAL(M3_a_timer_may_cancel_another_that_is_due_in_the_same_tick),
    NT_TEST_VIRTUAL(M4_the_heap_holds_the_live_timers_and_no_others),
    NT_TEST(M5_a_cancelled_head_does_not_bound_the_wait),
    NT_TEST_VIRTUAL(M5_a_cancelled_head_never_fires),
    NT_TEST_VIRTUAL(M6_a_timer_knows_its_deadline_and_cancelling_it_after_it_fired_does_nothing),
    NT_TEST(M7_timers_open_no_descriptors),
    NT_TEST_VIRTUAL(M8_equal_deadlines_fire_in_the_order_of_creation),
    NT_TEST_VIRTUAL(M8_eight_timers_with_one_deadline_fire_in_their_order),
    NT_TEST_VIRTUAL(many_timers_in_random_order_fire_sorted),
    NT_TEST_VIRTUAL(a_repeating_timer_does_not_drift),
    NT_TEST_VIRTUAL(a_repeating_timer_skips_what_it_missed),
    NT_TEST_VIRTUAL(a_repeating_timer_may_cancel_itself),
    NT_TEST_VIRTUAL(a_timer_can_be_moved_until_it_fires),
    NT_TEST_VIRTUAL(a_timer_moved_by_its_own_callback_fires_again),
    NT_TEST_VIRTUAL(a_timer_that_is_due_already_can_still_be_moved_by_another),
    NT_TEST_VIRTUAL(a_moved_timer_comes_after_its_new_equals),
    NT_TEST_VIRTUAL(what_is_cancelled_or_no_timer_cannot_be_moved),
    NT_TEST_VIRTUAL(a_timer_that_nobody_holds_fires_and_is_gone),
    NT_TEST_VIRTUAL(a_cancelled_sleep_removes_its_timer_at_once),
    NT_TEST_VIRTUAL(a_sleep_that_nobody_holds_still_calls_back),
    NT_TEST_VIRTUAL(a_sleep_completes_without_a_value),
    NT_TEST(the_time_stands_still_within_a_tick), NT_TEST(a_real_clock_cannot_be_moved),
    NT_TEST_VIRTUAL(a_virtual_clock_starts_at_0_and_moves_when_told),
    NT_TEST_VIRTUAL(a_virtual_clock_jumps_to_the_next_deadline),
    NT_TEST_VIRTUAL(a_virtual_clock_jumps_no_further_than_the_caller_waits),
    NT_TEST_VIRTUAL(a_virtual_clock_does_not_jump_while_something_is_ready),
    NT_TEST_VIRTUAL(deadlines_far_away_do_not_overflow),
    NT_TEST_VIRTUAL(a_negative_delay_counts_as_zero))
