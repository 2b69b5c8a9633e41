/* Completions taken in batches, turns in phases, and a host that keeps the ready queue itself. */
#include <string.h>

#include "support.h"

/* ---- poll_events ----------------------------------------------------------------------------- */

static int32_t pull(neap_completion *events, size_t cap) {
    return neap_loop_poll_completions(nt.loop, events, sizeof *events, cap, 0);
}

static void a_callback_without_a_function_becomes_an_event(void **state) {
    (void)state;
    neap_completion events[4];
    assert_ok(neap_call_soon(nt.loop, NULL, (void *)(uintptr_t)77, NULL, NULL));
    nt_soon("pushed");
    assert_int_equal(pull(events, 4), 1);
    assert_notes("pushed");
    assert_int_equal(events[0].kind, NEAP_COMPLETION_CALL);
    assert_int_equal(events[0].cookie, 77);
    assert_int_equal(pull(events, 4), 0);
}

static void a_timer_without_a_function_becomes_an_event(void **state) {
    (void)state;
    neap_completion events[4];
    assert_ok(neap_call_later(nt.loop, NT_SEC, NULL, (void *)(uintptr_t)78, NULL, NULL));
    assert_int_equal(pull(events, 4), 0);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    assert_int_equal(pull(events, 4), 1);
    assert_int_equal(events[0].kind, NEAP_COMPLETION_CALL);
    assert_int_equal(events[0].cookie, 78);
}

static void a_reset_takes_back_the_event_of_a_timer(void **state) {
    (void)state;
    neap_completion events[4];
    neap_handle *timer;
    assert_ok(neap_call_later(nt.loop, 0, NULL, (void *)(uintptr_t)78, NULL, &timer));
    nt_turn(); /* the event is there, nobody has taken it */
    assert_ok(neap_handle_reset(timer, NT_SEC));
    assert_int_equal(pull(events, 4), 0);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    assert_int_equal(pull(events, 4), 1);
    assert_int_equal(events[0].cookie, 78);
    assert_int_equal(pull(events, 4), 0);
    neap_handle_unref(timer);
}

static void a_completion_without_a_function_becomes_an_event(void **state) {
    (void)state;
    neap_completion events[4];
    neap_future *future = nt_future();
    assert_ok(neap_future_on_done(future, NULL, (void *)(uintptr_t)5, NULL, NULL));
    assert_int_equal(pull(events, 4), 0);
    assert_ok(neap_future_set_int(future, 9));
    assert_int_equal(pull(events, 4), 1);
    assert_int_equal(events[0].kind, NEAP_COMPLETION_FUTURE);
    assert_int_equal(events[0].cookie, 5);
    assert_ptr_equal(events[0].object, future);
    assert_int_equal(nt_int(events[0].object), 9);
    neap_future_unref(future);
}

static void the_object_of_an_event_lives_until_the_next_pull(void **state) {
    (void)state;
    neap_completion events[4];
    neap_future *future = nt_future();
    assert_ok(neap_future_on_done(future, NULL, NULL, NULL, NULL));
    assert_ok(neap_future_set_int(future, 9));
    neap_future_unref(future);
    assert_int_equal(pull(events, 4), 1);
    assert_int_equal(nt_int(events[0].object), 9);
    assert_int_equal(pull(events, 4), 0);
    assert_int_equal(nt_metrics().objects, nt.objects);
}

static void events_come_in_order_and_what_has_no_room_stays(void **state) {
    (void)state;
    neap_completion events[3];
    for (uintptr_t i = 0; i < 8; i++)
        assert_ok(neap_call_soon(nt.loop, NULL, (void *)i, NULL, NULL));
    uint64_t next = 0;
    while (next < 8) {
        /* -1: what is left over does not wait. */
        int32_t n = neap_loop_poll_completions(nt.loop, events, sizeof events[0], 3, -1);
        assert_true(n > 0 && n <= 3);
        for (int32_t i = 0; i < n; i++)
            assert_int_equal(events[i].cookie, next++);
    }
    assert_int_equal(pull(events, 3), 0);
}

static void entries_lie_a_stride_apart(void **state) {
    (void)state;
    struct {
        neap_completion event;
        uint64_t more[3];
    } events[4];
    memset(events, 0x77, sizeof events);
    for (uintptr_t i = 0; i < 4; i++)
        assert_ok(neap_call_soon(nt.loop, NULL, (void *)i, NULL, NULL));
    assert_int_equal(neap_loop_poll_completions(nt.loop, &events[0].event, sizeof events[0], 4, 0),
                     4);
    for (uintptr_t i = 0; i < 4; i++) {
        assert_int_equal(events[i].event.cookie, i);
        assert_true(events[i].more[0] == UINT64_C(0x7777777777777777));
    }
    neap_completion small;
    assert_code(neap_loop_poll_completions(nt.loop, &small, 8, 1, 0), NEAP_EINVAL);
    assert_code(neap_loop_poll_completions(nt.loop, NULL, sizeof small, 1, 0), NEAP_EINVAL);
}

static void an_event_that_was_cancelled_does_not_come(void **state) {
    (void)state;
    neap_completion events[4];
    neap_handle *handle = NULL;
    int destroyed = 0;
    assert_ok(neap_call_soon(nt.loop, NULL, &destroyed, nt_count_fn, &handle));
    assert_int_equal(neap_handle_cancel(handle), 1);
    assert_int_equal(destroyed, 1);
    assert_int_equal(pull(events, 4), 0);
    neap_handle_unref(handle);
}

/* ---- Tasks without a step -------------------------------------------------------------------- */

static const neap_task_ops pull_ops = {.size = sizeof(neap_task_ops), .destroy = nt_count_fn};

static neap_task *pull_spawn(int *destroyed) {
    neap_task *task = NULL;
    assert_ok(neap_task_spawn(nt.loop, &pull_ops, destroyed, NULL, &task));
    return task;
}

/* The next event, which must be of this task. */
static int32_t next_wake(neap_task *task, void *cookie) {
    neap_completion event;
    assert_int_equal(pull(&event, 1), 1);
    assert_int_equal(event.kind, NEAP_COMPLETION_TASK);
    assert_ptr_equal(event.object, task);
    assert_int_equal(event.cookie, (uintptr_t)cookie);
    return event.wake;
}

static void a_task_without_a_step_is_driven_by_events_and_answers(void **state) {
    (void)state;
    int destroyed = 0;
    neap_completion event;
    neap_future *future = nt_future();
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_ok(neap_task_answer(task, NEAP_STEP_YIELD));
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_RESUME);
    assert_ok(neap_task_await(task, future));
    assert_ok(neap_task_answer(task, NEAP_STEP_AWAIT));
    assert_int_equal(pull(&event, 1), 0);
    assert_ptr_equal(neap_task_awaiting(task), future);
    assert_ok(neap_future_set_int(future, 4));
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_READY);
    assert_ok(neap_future_set_int(neap_task_future(task), 5));
    assert_int_equal(destroyed, 0);
    assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
    assert_int_equal(destroyed, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 5);
    assert_int_equal(neap_task_steps(task), 3);
    neap_future_unref(future);
    neap_task_unref(task);
}

static void G1_an_answer_without_an_open_event_is_refused(void **state) {
    (void)state;
    int destroyed = 0;
    neap_task *task = pull_spawn(&destroyed);
    assert_code(neap_task_answer(task, NEAP_STEP_DONE), NEAP_EINVALID_STATE);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_code(neap_task_answer(task, 99), NEAP_EINVAL);
    assert_ok(neap_task_answer(task, NEAP_STEP_YIELD));
    assert_code(neap_task_answer(task, NEAP_STEP_DONE), NEAP_EINVALID_STATE);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_RESUME);
    assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
    /* A finished task is not stepped again. */
    assert_code(neap_task_answer(task, NEAP_STEP_DONE), NEAP_EINVALID_STATE);
    assert_code(neap_task_answer(task, NEAP_STEP_YIELD), NEAP_EINVALID_STATE);
    assert_int_equal(neap_future_kind(neap_task_future(task)), NEAP_KIND_NONE);
    neap_task_unref(task);
}

static void T12_outside_an_open_event_the_outcome_is_the_tasks_alone(void **state) {
    (void)state;
    int destroyed = 0;
    neap_task *task = pull_spawn(&destroyed);
    assert_code(neap_future_set_int(neap_task_future(task), 1), NEAP_ETASK_OWNED);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_ok(neap_task_answer(task, NEAP_STEP_YIELD));
    assert_code(neap_future_set_int(neap_task_future(task), 1), NEAP_ETASK_OWNED);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_RESUME);
    assert_ok(neap_future_set_error(neap_task_future(task), NEAP_EPIPE, "mine"));
    assert_ok(neap_future_ignore(neap_task_future(task)));
    assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
    assert_code(neap_future_error(neap_task_future(task)), NEAP_EPIPE);
    neap_task_unref(task);
}

static void a_task_without_a_step_sleeps_from_its_answer_on(void **state) {
    (void)state;
    int destroyed = 0;
    neap_completion event;
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_ok(neap_task_sleep(task, NT_SEC));
    assert_ok(neap_task_answer(task, NEAP_STEP_AWAIT));
    assert_int_equal(pull(&event, 1), 0);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_RESUME);
    assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
    assert_int_equal(destroyed, 1);
    neap_task_unref(task);
}

static void a_sleep_that_is_over_before_the_answer_wakes_after_it(void **state) {
    (void)state;
    int destroyed = 0;
    neap_completion event;
    neap_task *task = pull_spawn(&destroyed);
    nt_turn(); /* the event is there, nobody has taken it */
    assert_ok(neap_task_sleep(task, NT_SEC));
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turn();
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_int_equal(pull(&event, 1), 0);
    assert_ok(neap_task_answer(task, NEAP_STEP_AWAIT));
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_RESUME);
    assert_ok(neap_task_sleep(task, NT_SEC)); /* the next one is whole again */
    assert_ok(neap_task_answer(task, NEAP_STEP_AWAIT));
    assert_int_equal(pull(&event, 1), 0);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_CANCEL);
    assert_ok(neap_task_answer(task, NEAP_STEP_CANCELLED));
    assert_int_equal(destroyed, 1);
    neap_task_unref(task);
}

static void a_cancel_reaches_a_task_without_a_step(void **state) {
    (void)state;
    int destroyed = 0;
    neap_future *future = nt_future();
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_ok(neap_task_await(task, future));
    assert_ok(neap_task_answer(task, NEAP_STEP_AWAIT));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_READY);
    assert_state(future, NEAP_STATE_CANCELLED);
    assert_ok(neap_task_answer(task, NEAP_STEP_CANCELLED));
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_int_equal(destroyed, 1);
    neap_future_unref(future);
    neap_task_unref(task);
}

static void C5_a_task_without_a_step_cancelled_before_its_start_gets_no_event(void **state) {
    (void)state;
    int destroyed = 0;
    neap_completion event;
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_int_equal(pull(&event, 1), 0);
    assert_int_equal(destroyed, 1);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void C4_a_cancel_during_an_open_event_meets_the_answer(void **state) {
    (void)state;
    int destroyed = 0;
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_ok(neap_future_set_int(neap_task_future(task), 5));
    assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void an_await_answer_without_a_future_is_refused(void **state) {
    (void)state;
    int destroyed = 0;
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_true(neap_task_answer(task, NEAP_STEP_AWAIT) < 0);
    assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
    neap_task_unref(task);
}

static void tasks_with_and_without_a_step_wait_for_each_other(void **state) {
    (void)state;
    int destroyed = 0;
    nt_script s;
    neap_task *puller = pull_spawn(&destroyed);
    neap_task *pusher =
        nt_spawn(&s, "pusher", NT_ACTS(NT_AWAIT(neap_task_future(puller)), NT_PASS));
    assert_int_equal(next_wake(puller, &destroyed), NEAP_WAKE_START);
    assert_ok(neap_future_set_int(neap_task_future(puller), 12));
    assert_ok(neap_task_answer(puller, NEAP_STEP_DONE));
    nt_until_task(pusher);
    assert_int_equal(nt_int(neap_task_future(pusher)), 12);
    neap_task_unref(puller);
    neap_task_unref(pusher);
}

static void closing_with_an_open_event_ends_the_task(void **state) {
    (void)state;
    int destroyed = 0;
    neap_task *task = pull_spawn(&destroyed);
    assert_int_equal(next_wake(task, &destroyed), NEAP_WAKE_START);
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_int_equal(destroyed, 1);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void closing_with_events_left_over_drops_them(void **state) {
    (void)state;
    int destroyed = 0;
    neap_completion event;
    for (int i = 0; i < 5; i++)
        assert_ok(neap_call_soon(nt.loop, NULL, &destroyed, nt_count_fn, NULL));
    assert_int_equal(pull(&event, 1), 1);
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(destroyed, 5);
}

/* ---- Phases ---------------------------------------------------------------------------------- */

static void a_turn_in_three_phases_is_a_turn(void **state) {
    (void)state;
    int64_t timeout = 0;
    nt_soon("soon");
    nt_later(0, "timer");
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, NT_WORD("posted"), NULL));
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 1);
    assert_true(timeout == 0);
    assert_notes("");
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_notes("");
    assert_int_equal(neap_loop_dispatch(nt.loop, 0), 3);
    assert_notes("soon posted timer");
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_true(timeout == -1);
}

static void prepare_tells_how_long_a_wait_may_last(void **state) {
    (void)state;
    int64_t timeout = 0;
    nt_later(3600 * NT_SEC, "timer");
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_true(timeout > 0 && timeout <= 3600 * NT_SEC);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void a_dispatch_runs_no_more_than_it_is_told(void **state) {
    (void)state;
    int64_t timeout = 0;
    static const char *const words[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++)
        nt_soon(words[i]);
    assert_int_equal(neap_loop_dispatch(nt.loop, 2), 2);
    assert_notes("a b");
    nt_soon("f");
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 1);
    assert_int_equal(neap_loop_dispatch(nt.loop, 2), 2);
    assert_notes("a b c d");
    assert_int_equal(neap_loop_dispatch(nt.loop, 0), 2);
    assert_notes("a b c d e f");
}

/* ---- L12: the queue is the host's ------------------------------------------------------------ */

/* The seed's minimal loop: a queue of handles, run until told to stop. */
struct host_loop {
    neap_handle *queue[64];
    int head, tail;
    int stopped;
};

static void host_take(struct host_loop *host) {
    neap_handle *handle = NULL;
    while (neap_loop_next_ready(nt.loop, &handle) == 1) {
        assert_true(host->tail < 64);
        host->queue[host->tail++] = handle;
    }
}

static void host_stop(neap_future *future, void *user) {
    struct host_loop *host = user;
    (void)future;
    host->stopped = 1;
}

static void host_run(struct host_loop *host) {
    while (!host->stopped) {
        host_take(host);
        assert_true(host->head < host->tail);
        assert_ok(neap_handle_run(host->queue[host->head++]));
    }
}

static void L12_a_hosts_own_queue_drives_tasks_and_wait(void **state) {
    (void)state;
    nt_script sa, sb;
    struct host_loop host = {0};
    neap_future *waited = NULL;
    neap_task *foo = nt_spawn(&sa, "foo", NT_ACTS(NT_YIELD, NT_NOTE("Foo"), NT_RETURN(1)));
    neap_task *bar = nt_spawn(&sb, "bar", NT_ACTS(NT_YIELD, NT_NOTE("Bar"), NT_RETURN(2)));
    neap_future *both[2] = {neap_task_future(foo), neap_task_future(bar)};
    assert_ok(neap_wait(nt.loop, both, 2, NEAP_WAIT_ALL, -1, &waited));
    assert_ok(neap_future_on_done(waited, host_stop, &host, NULL, NULL));
    host_run(&host);
    assert_notes("Foo Bar");
    assert_int_equal(neap_future_list_count(waited), 2);
    assert_int_equal(nt_int(both[0]), 1);
    assert_int_equal(nt_int(both[1]), 2);
    assert_int_equal(nt_metrics().ticks, 0);
    neap_future_unref(waited);
    neap_task_unref(foo);
    neap_task_unref(bar);
}

static void L12_a_failing_callback_reaches_the_hosts_error_hook(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    assert_int_equal(neap_loop_next_ready(nt.loop, &handle), 1);
    assert_ok(neap_handle_run(handle));
    /* The end of a tick is the end of the batch: here the host's next turn. */
    nt_turn();
    assert_ptr_equal(nt_claim(NEAP_REPORT_UNHANDLED)->task, task);
    neap_task_unref(task);
}

static void L12_an_entry_taken_out_can_still_be_cancelled(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    neap_handle *mine = nt_soon_handle("never");
    nt_soon("second");
    assert_int_equal(neap_loop_next_ready(nt.loop, &handle), 1);
    assert_int_equal(neap_handle_cancel(mine), 1);
    assert_ok(neap_handle_run(handle));
    assert_notes("");
    nt_turn();
    assert_notes("second");
    neap_handle_unref(mine);
}

static void L12_a_timer_that_was_taken_out_and_reset_runs_when_it_is_brought_back(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    neap_handle *mine = nt_later_handle(0, "timer");
    nt_soon("first");
    assert_int_equal(neap_loop_dispatch(nt.loop, 1), 1);
    assert_int_equal(neap_loop_next_ready(nt.loop, &handle), 1);
    assert_ok(neap_handle_reset(mine, 0));
    nt_turn();
    assert_notes("first");
    assert_ok(neap_handle_run(handle));
    assert_notes("first timer");
    nt_turn();
    assert_notes("first timer");
    neap_handle_unref(mine);
}

static void L12_only_what_was_taken_out_can_be_run_by_hand(void **state) {
    (void)state;
    neap_handle *mine = nt_soon_handle("x");
    neap_handle *none = NULL;
    assert_code(neap_handle_run(mine), NEAP_EINVALID_STATE);
    nt_turn();
    assert_notes("x");
    assert_int_equal(neap_loop_next_ready(nt.loop, &none), 0);
    assert_null(none);
    neap_handle_unref(mine);
}

static void L12_closing_with_an_entry_taken_out_leaves_it_harmless(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    int destroyed = 0;
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, &destroyed, nt_count_fn, NULL));
    assert_int_equal(neap_loop_next_ready(nt.loop, &handle), 1);
    assert_ok(neap_loop_close(nt.loop, 0));
    (void)neap_handle_run(handle);
    assert_notes("");
    assert_int_equal(destroyed, 1);
}

NT_MAIN(NT_TEST(a_callback_without_a_function_becomes_an_event),
        NT_TEST_VIRTUAL(a_timer_without_a_function_becomes_an_event),
        NT_TEST_VIRTUAL(a_reset_takes_back_the_event_of_a_timer),
        NT_TEST(a_completion_without_a_function_becomes_an_event),
        NT_TEST(the_object_of_an_event_lives_until_the_next_pull),
        NT_TEST(events_come_in_order_and_what_has_no_room_stays),
        NT_TEST(entries_lie_a_stride_apart), NT_TEST(an_event_that_was_cancelled_does_not_come),
        NT_TEST(a_task_without_a_step_is_driven_by_events_and_answers),
        NT_TEST(G1_an_answer_without_an_open_event_is_refused),
        NT_TEST(T12_outside_an_open_event_the_outcome_is_the_tasks_alone),
        NT_TEST_VIRTUAL(a_task_without_a_step_sleeps_from_its_answer_on),
        NT_TEST_VIRTUAL(a_sleep_that_is_over_before_the_answer_wakes_after_it),
        NT_TEST(a_cancel_reaches_a_task_without_a_step),
        NT_TEST(C5_a_task_without_a_step_cancelled_before_its_start_gets_no_event),
        NT_TEST(C4_a_cancel_during_an_open_event_meets_the_answer),
        NT_TEST(an_await_answer_without_a_future_is_refused),
        NT_TEST(tasks_with_and_without_a_step_wait_for_each_other),
        NT_TEST(closing_with_an_open_event_ends_the_task),
        NT_TEST(closing_with_events_left_over_drops_them),
        NT_TEST(a_turn_in_three_phases_is_a_turn), NT_TEST(prepare_tells_how_long_a_wait_may_last),
        NT_TEST(a_dispatch_runs_no_more_than_it_is_told),
        NT_TEST(L12_a_hosts_own_queue_drives_tasks_and_wait),
        NT_TEST(L12_a_failing_callback_reaches_the_hosts_error_hook),
        NT_TEST(L12_an_entry_taken_out_can_still_be_cancelled),
        NT_TEST_VIRTUAL(L12_a_timer_that_was_taken_out_and_reset_runs_when_it_is_brought_back),
        NT_TEST(L12_only_what_was_taken_out_can_be_run_by_hand),
        NT_TEST(L12_closing_with_an_entry_taken_out_leaves_it_harmless))
