/* The loop: order, ticks, runs, stops, polls, handles. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

/* ---- call_soon ------------------------------------------------------------------------------- */

static int next_index;

static void expect_index(void *user) {
    assert_int_equal((intptr_t)user, next_index);
    next_index++;
}

static void L1_callbacks_run_in_the_order_of_queueing_each_once(void **state) {
    (void)state;
    next_index = 0;
    for (intptr_t i = 0; i < 1000; i++)
        assert_ok(neap_call_soon(nt.loop, expect_index, (void *)i, NULL, NULL));
    assert_int_equal(next_index, 0);
    assert_int_equal(nt_metrics().ready, 1000);
    assert_int_equal(nt_turn(), 1000);
    assert_int_equal(next_index, 1000);
    nt_turns(2);
    assert_int_equal(next_index, 1000);
}

static void cancel_handle(void *user) {
    nt_note("cancel:%d", (int)neap_handle_cancel(*(neap_handle **)user));
}

static void L1_a_callback_is_prevented_also_by_an_earlier_one_of_its_batch(void **state) {
    (void)state;
    neap_handle *victim = NULL;
    neap_handle *early = nt_soon_handle("early");
    assert_int_equal(neap_handle_cancel(early), 1);
    assert_int_equal(neap_handle_cancelled(early), 1);
    assert_int_equal(neap_handle_cancel(early), 0);
    assert_ok(neap_call_soon(nt.loop, cancel_handle, &victim, NULL, NULL));
    victim = nt_soon_handle("victim");
    nt_soon("other");
    nt_turn();
    assert_notes("cancel:1 other");
    assert_int_equal(neap_handle_cancelled(victim), 1);
    neap_handle_unref(early);
    neap_handle_unref(victim);
}

static void L1_cancelling_what_ran_answers_0(void **state) {
    (void)state;
    neap_handle *handle = nt_soon_handle("ran");
    nt_turn();
    assert_int_equal(neap_handle_cancel(handle), 0);
    assert_int_equal(neap_handle_cancelled(handle), 0);
    neap_handle_unref(handle);
}

static void L1_a_callback_may_cancel_itself_and_learns_that_it_runs(void **state) {
    (void)state;
    neap_handle *self = NULL;
    assert_ok(neap_call_soon(nt.loop, cancel_handle, &self, NULL, &self));
    nt_turn();
    assert_notes("cancel:0");
    neap_handle_unref(self);
}

static void ending_the_reference_to_a_handle_does_not_prevent_the_call(void **state) {
    (void)state;
    neap_handle_unref(nt_soon_handle("ran"));
    nt_turn();
    assert_notes("ran");
    neap_handle_unref(NULL);
}

static void destroy_runs_once_after_the_callback_or_at_its_cancel(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, NT_WORD("a"), nt_note_destroy, NULL));
    nt_soon("b");
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, NT_WORD("c"), nt_note_destroy, &handle));
    assert_int_equal(neap_handle_cancel(handle), 1);
    assert_notes("~c");
    nt_turn();
    assert_notes("~c a ~a b");
    neap_handle_unref(handle);
    assert_notes("~c a ~a b");
}

static void destroy_runs_also_when_the_call_is_refused(void **state) {
    (void)state;
    int destroyed = 0;
    assert_code(neap_call_soon(NULL, nt_note_fn, &destroyed, nt_count_fn, NULL), NEAP_EINVAL);
    assert_int_equal(destroyed, 1);
    assert_code(neap_call_every(nt.loop, 0, 0, nt_note_fn, &destroyed, nt_count_fn, NULL),
                NEAP_EINVAL);
    assert_int_equal(destroyed, 2);
    assert_code(neap_call_every(nt.loop, 0, -5, nt_note_fn, &destroyed, nt_count_fn, NULL),
                NEAP_EINVAL);
    assert_int_equal(destroyed, 3);
    assert_int_equal(nt_metrics().timers, 0);
}

/* ---- Ticks ----------------------------------------------------------------------------------- */

static void queue_another(void *user) {
    nt_note("%s", (const char *)user);
    nt_soon("queued");
}

static void L2_what_the_batch_makes_ready_runs_in_the_next_tick(void **state) {
    (void)state;
    assert_ok(neap_call_soon(nt.loop, queue_another, NT_WORD("first"), NULL, NULL));
    nt_soon("second");
    assert_int_equal(nt_turn(), 2);
    assert_notes("first second");
    assert_int_equal(nt_turn(), 1);
    assert_notes("first second queued");
    assert_int_equal(nt_turn(), 0);
}

static int respawned;

static void respawn(void *user) {
    respawned++;
    assert_ok(neap_call_soon(nt.loop, respawn, user, NULL, NULL));
}

static void drain_and_note(void *user) {
    char byte;
    assert_int_equal(read(*(int *)user, &byte, 1), 1);
    nt_note("readable@%d", respawned);
}

static void L2_a_callback_that_requeues_itself_cannot_starve_a_descriptor(void **state) {
    (void)state;
    int ends[2];
    respawned = 0;
    assert_int_equal(pipe(ends), 0);
    assert_ok(neap_add_reader(nt.loop, ends[0], drain_and_note, &ends[0], NULL));
    assert_ok(neap_call_soon(nt.loop, respawn, NULL, NULL, NULL));
    nt_turns(3);
    assert_int_equal(respawned, 3);
    assert_int_equal(write(ends[1], "x", 1), 1);
    nt_turn();
    assert_notes("readable@4");
    assert_int_equal(neap_remove_reader(nt.loop, ends[0]), 1);
    close(ends[0]);
    close(ends[1]);
    assert_ok(neap_loop_close(nt.loop, 0));
}

/* A reader that the loop already watches, and then a byte for it. */
static void make_readable(int ends[2]) {
    respawned = 0;
    assert_int_equal(pipe(ends), 0);
    assert_ok(neap_add_reader(nt.loop, ends[0], drain_and_note, &ends[0], NULL));
    nt_turns(2);
    assert_int_equal(write(ends[1], "x", 1), 1);
}

static void L3_one_tick_runs_what_was_queued_then_io_then_timers(void **state) {
    (void)state;
    int ends[2];
    make_readable(ends);
    nt_later(0, "timer");
    nt_soon("soon");
    nt_turn();
    assert_notes("soon readable@0 timer");
    assert_int_equal(neap_remove_reader(nt.loop, ends[0]), 1);
    close(ends[0]);
    close(ends[1]);
}

static void L3_posted_work_is_taken_before_the_poll(void **state) {
    (void)state;
    int ends[2];
    make_readable(ends);
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, NT_WORD("posted"), NULL));
    nt_soon("soon");
    nt_turn();
    assert_notes("soon posted readable@0");
    assert_int_equal(neap_remove_reader(nt.loop, ends[0]), 1);
    close(ends[0]);
    close(ends[1]);
}

/* ---- The timeout of the poll ----------------------------------------------------------------- */

static void nothing(void *user) {
    (void)user;
}

/* A descriptor that never becomes readable keeps the loop polling. */
static void watch_silent_pipe(int ends[2]) {
    assert_int_equal(pipe(ends), 0);
    assert_ok(neap_add_reader(nt.loop, ends[0], nothing, NULL, NULL));
}

static void unwatch_pipe(int ends[2]) {
    assert_int_equal(neap_remove_reader(nt.loop, ends[0]), 1);
    close(ends[0]);
    close(ends[1]);
}

static void stop_loop(void *user) {
    (void)user;
    assert_ok(neap_loop_stop(nt.loop));
}

static void L4_the_poll_does_not_wait_while_something_is_ready(void **state) {
    (void)state;
    int ends[2];
    watch_silent_pipe(ends);
    nt_soon("ready");
    nt_later(3600 * NT_SEC, "never");
    nt_trace_start();
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    nt_trace_stop();
    assert_true(nt_trace_get(NEAP_TRACE_POLL, 0)->value == 0);
    assert_int_equal(nt_trace_count(NEAP_TRACE_POLL), 1);
    unwatch_pipe(ends);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void L4_the_poll_does_not_wait_while_a_stop_is_asked_for(void **state) {
    (void)state;
    int ends[2];
    watch_silent_pipe(ends);
    assert_ok(neap_loop_stop(nt.loop));
    nt_trace_start();
    assert_ok(neap_loop_run(nt.loop));
    nt_trace_stop();
    assert_int_equal(nt_trace_count(NEAP_TRACE_POLL), 1);
    assert_true(nt_trace_get(NEAP_TRACE_POLL, 0)->value == 0);
    unwatch_pipe(ends);
}

static void L4_the_poll_waits_until_the_first_timer(void **state) {
    (void)state;
    int ends[2];
    watch_silent_pipe(ends);
    nt_later(20 * NT_MS, "timer");
    nt_later(3600 * NT_SEC, "never");
    nt_trace_start();
    while (neap_loop_run_once(nt.loop, -1) == 0)
        ;
    nt_trace_stop();
    assert_notes("timer");
    int64_t timeout = nt_trace_get(NEAP_TRACE_POLL, 0)->value;
    assert_true(timeout > 0 && timeout <= 20 * NT_MS);
    unwatch_pipe(ends);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void L4_the_poll_does_not_wait_for_an_overdue_timer(void **state) {
    (void)state;
    int ends[2];
    watch_silent_pipe(ends);
    assert_ok(neap_call_at(nt.loop, neap_loop_time(nt.loop) - NT_SEC, nt_note_fn,
                           NT_WORD("overdue"), NULL, NULL));
    nt_trace_start();
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    nt_trace_stop();
    assert_notes("overdue");
    assert_true(nt_trace_get(NEAP_TRACE_POLL, 0)->value == 0);
    unwatch_pipe(ends);
}

struct idle {
    int fd;          /* written to once the poll begins */
    int64_t timeout; /* of that poll */
};

static void write_when_polling(neap_loop *loop, const neap_trace *trace, void *user) {
    struct idle *idle = user;
    (void)loop;
    if (trace->kind != NEAP_TRACE_POLL)
        return;
    idle->timeout = trace->value;
    assert_int_equal(write(idle->fd, "x", 1), 1);
}

static void L4_an_idle_loop_waits_for_ever(void **state) {
    (void)state;
    int ends[2];
    struct idle idle = {-1, 0};
    watch_silent_pipe(ends);
    idle.fd = ends[1];
    assert_ok(neap_loop_set_trace_hook(nt.loop, write_when_polling, &idle, NULL));
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_ok(neap_loop_set_trace_hook(nt.loop, NULL, NULL, NULL));
    assert_true(idle.timeout == -1);
    unwatch_pipe(ends);
}

static void L4_the_callers_limit_bounds_the_wait(void **state) {
    (void)state;
    int ends[2];
    watch_silent_pipe(ends);
    nt_later(3600 * NT_SEC, "never");
    nt_trace_start();
    assert_int_equal(neap_loop_run_once(nt.loop, 5 * NT_MS), 0);
    nt_trace_stop();
    assert_true(nt_trace_get(NEAP_TRACE_POLL, 0)->value <= 5 * NT_MS);
    unwatch_pipe(ends);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void L4_an_idle_second_costs_no_more_than_two_wakeups(void **state) {
    (void)state;
    int ends[2];
    watch_silent_pipe(ends);
    neap_metrics before = nt_metrics();
    assert_ok(neap_call_later(nt.loop, NT_SEC, stop_loop, NULL, NULL, NULL));
    assert_ok(neap_loop_run(nt.loop));
    neap_metrics after = nt_metrics();
    assert_true(after.polls - before.polls <= 2);
    assert_true(after.ticks - before.ticks <= 2);
    unwatch_pipe(ends);
}

/* ---- Run and stop ---------------------------------------------------------------------------- */

static void L5_a_stop_lets_the_batch_finish_and_is_forgotten_afterwards(void **state) {
    (void)state;
    nt_soon("1");
    assert_ok(neap_call_soon(nt.loop, stop_loop, NULL, NULL, NULL));
    assert_ok(neap_call_soon(nt.loop, queue_another, NT_WORD("2"), NULL, NULL));
    assert_ok(neap_loop_run(nt.loop));
    assert_notes("1 2");
    assert_ok(neap_call_soon(nt.loop, stop_loop, NULL, NULL, NULL));
    assert_ok(neap_loop_run(nt.loop));
    assert_notes("1 2 queued");
}

static void L5_a_stop_before_the_run_gives_exactly_one_tick(void **state) {
    (void)state;
    assert_ok(neap_call_soon(nt.loop, queue_another, NT_WORD("1"), NULL, NULL));
    nt_later(3600 * NT_SEC, "never");
    uint64_t ticks = nt_metrics().ticks;
    assert_ok(neap_loop_stop(nt.loop));
    assert_ok(neap_loop_run(nt.loop));
    assert_notes("1");
    assert_int_equal(nt_metrics().ticks, ticks + 1);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void run_inside(void *user) {
    (void)user;
    neap_future *future = nt_future();
    int64_t timeout;
    neap_completion event;
    assert_code(neap_loop_run(nt.loop), NEAP_EREENTRANT);
    assert_code(neap_loop_run_until(nt.loop, future), NEAP_EREENTRANT);
    assert_code(neap_loop_run_once(nt.loop, 0), NEAP_EREENTRANT);
    assert_code(neap_loop_shutdown(nt.loop, 0), NEAP_EREENTRANT);
    assert_code(neap_loop_prepare(nt.loop, &timeout), NEAP_EREENTRANT);
    assert_code(neap_loop_wait(nt.loop, 0), NEAP_EREENTRANT);
    assert_code(neap_loop_dispatch(nt.loop, 0), NEAP_EREENTRANT);
    assert_code(neap_loop_poll_completions(nt.loop, &event, sizeof event, 1, 0), NEAP_EREENTRANT);
    assert_code(neap_loop_close(nt.loop, 0), NEAP_ELOOP_RUNNING);
    assert_code(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT), NEAP_ELOOP_RUNNING);
    neap_future_unref(future);
    nt_note("refused");
}

static void L6_a_run_inside_a_callback_is_refused_and_nothing_changes(void **state) {
    (void)state;
    assert_ok(neap_call_soon(nt.loop, run_inside, NULL, NULL, NULL));
    nt_soon("after");
    assert_int_equal(nt_turn(), 2);
    assert_notes("refused after");
    nt_soon("still alive");
    nt_turn();
    assert_notes("refused after still alive");
}

static void L6_a_closed_loop_does_not_run(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_future *future = nt_future_on(loop);
    assert_ok(neap_loop_close(loop, 0));
    assert_code(neap_loop_run(loop), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_run_once(loop, 0), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_run_until(loop, future), NEAP_ELOOP_CLOSED);
    neap_future_unref(future);
    neap_loop_unref(loop);
}

static void run_other(void *user) {
    neap_loop *other = user;
    assert_int_equal(neap_loop_is_running(nt.loop), 1);
    assert_int_equal(neap_loop_is_running(other), 0);
    assert_int_equal(neap_loop_run_once(other, 0), 1);
    assert_int_equal(neap_loop_is_running(nt.loop), 1);
}

static void L6_the_core_lets_one_loop_run_inside_another(void **state) {
    (void)state;
    /* The core has no current loop: one per thread is a rule of the scripting states. */
    neap_loop *other = nt_loop_new(0);
    assert_ok(neap_call_soon(other, nt_note_fn, NT_WORD("inner"), NULL, NULL));
    assert_ok(neap_call_soon(nt.loop, run_other, other, NULL, NULL));
    nt_soon("outer");
    nt_turn();
    assert_notes("inner outer");
    nt_loop_end(other);
}

static void L7_run_until_brings_a_value_a_failure_and_a_cancellation(void **state) {
    (void)state;
    nt_script s[3];
    neap_task *tasks[3];
    tasks[0] = nt_spawn(&s[0], "value", NT_ACTS(NT_YIELD, NT_RETURN(3)));
    assert_ok(neap_loop_run_until(nt.loop, neap_task_future(tasks[0])));
    assert_int_equal(nt_int(neap_task_future(tasks[0])), 3);
    tasks[1] = nt_spawn(&s[1], "failure", NT_ACTS(NT_YIELD, NT_FAIL(NEAP_EPIPE)));
    assert_ok(neap_loop_run_until(nt.loop, neap_task_future(tasks[1])));
    assert_code(neap_future_error(neap_task_future(tasks[1])), NEAP_EPIPE);
    tasks[2] = nt_spawn(&s[2], "cancelled", NT_ACTS(NT_CANCEL_SELF, NT_YIELD));
    assert_ok(neap_loop_run_until(nt.loop, neap_task_future(tasks[2])));
    assert_state(neap_task_future(tasks[2]), NEAP_STATE_CANCELLED);
    nt_no_reports();
    for (int i = 0; i < 3; i++)
        neap_task_unref(tasks[i]);
}

static void L7_nothing_of_run_until_is_left_on_the_future(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_call_soon(nt.loop, stop_loop, NULL, NULL, NULL));
    assert_code(neap_loop_run_until(nt.loop, future), NEAP_ESTOPPED_EARLY);
    assert_int_equal(neap_future_waiters(future), 0);
    /* A later completion stops no later run. */
    assert_ok(neap_future_set_none(future));
    neap_future_unref(future);
    neap_future *other = nt_sleep(NT_MS);
    nt_until(other);
    neap_future_unref(other);
}

static void L7_a_future_that_is_done_returns_after_one_tick(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_none(future));
    assert_ok(neap_call_soon(nt.loop, queue_another, NT_WORD("once"), NULL, NULL));
    uint64_t ticks = nt_metrics().ticks;
    nt_until(future);
    assert_int_equal(nt_metrics().ticks, ticks + 1);
    assert_notes("once");
    nt_turn();
    neap_future_unref(future);
}

static void L8_a_stop_before_the_future_is_done_is_told_and_the_future_stays_pending(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_MS), NT_RETURN(2)));
    assert_ok(neap_call_soon(nt.loop, stop_loop, NULL, NULL, NULL));
    assert_code(neap_loop_run_until(nt.loop, neap_task_future(task)), NEAP_ESTOPPED_EARLY);
    assert_state(neap_task_future(task), NEAP_STATE_PENDING);
    nt_until_task(task);
    assert_int_equal(nt_int(neap_task_future(task)), 2);
    neap_task_unref(task);
}

static void E2_run_until_refuses_the_future_of_another_loop(void **state) {
    (void)state;
    neap_loop *other = nt_loop_new(0);
    neap_future *future = nt_future_on(other);
    assert_code(neap_loop_run_until(nt.loop, future), NEAP_EOTHER_LOOP);
    assert_int_equal(neap_future_waiters(future), 0);
    neap_future_unref(future);
    nt_loop_end(other);
}

static void fail_and_raise(void *user) {
    (void)user;
    assert_ok(neap_loop_fail(nt.loop, NEAP_EPERM, "fatal", NULL, NULL));
    assert_ok(neap_loop_raise(nt.loop, 1234));
}

static void L9_a_run_that_dies_with_its_task_done_reports_once(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "main", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    assert_ok(neap_call_soon(nt.loop, fail_and_raise, NULL, NULL, NULL));
    assert_int_equal(neap_loop_run_until(nt.loop, neap_task_future(task)), 1234);
    nt_turns(2);
    const nt_report *report = nt_claim(NEAP_REPORT_CALLBACK);
    assert_int_equal(report->code, NEAP_EPERM);
    assert_code(neap_future_error(neap_task_future(task)), NEAP_EPIPE);
    neap_task_unref(task);
    nt_turns(2);
    nt_no_reports();
}

static void raise_code(void *user) {
    nt_note("raise");
    assert_ok(neap_loop_raise(nt.loop, (int32_t)(intptr_t)user));
}

static void a_raise_leaves_the_rest_of_the_batch_for_the_next_run(void **state) {
    (void)state;
    nt_soon("before");
    assert_ok(neap_call_soon(nt.loop, raise_code, (void *)(intptr_t)77, NULL, NULL));
    nt_soon("after");
    assert_int_equal(neap_loop_run(nt.loop), 77);
    assert_notes("before raise");
    assert_int_equal(neap_loop_is_running(nt.loop), 0);
    assert_ok(neap_call_soon(nt.loop, queue_another, NT_WORD("new"), NULL, NULL));
    assert_ok(neap_loop_stop(nt.loop));
    assert_ok(neap_loop_run(nt.loop));
    assert_notes("before raise after new");
    nt_turn();
}

static void a_raise_inside_a_step_ends_the_run_after_the_step(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(raise_code, (void *)(intptr_t)-9), NT_NOTE("rest"),
                                       NT_YIELD, NT_RETURN(1)));
    nt_soon("after");
    assert_int_equal(neap_loop_run_until(nt.loop, neap_task_future(task)), -9);
    assert_notes("raise rest");
    nt_until_task(task);
    assert_notes("raise rest after");
    neap_task_unref(task);
}

static void a_raise_needs_a_run_and_a_code(void **state) {
    (void)state;
    assert_code(neap_loop_raise(nt.loop, 5), NEAP_EINVALID_STATE);
    assert_code(neap_loop_raise(nt.loop, 0), NEAP_EINVAL);
    nt_soon("x");
    nt_turn();
    assert_notes("x");
}

/* ---- Closing, in short (test_close.c has the rest) ------------------------------------------- */

static void L10_a_closed_loop_refuses_new_work_and_closing_twice_is_fine(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    nt_script s = {.acts = NT_ACTS(NT_YIELD)};
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    assert_ok(neap_loop_close(loop, 0));
    assert_ok(neap_loop_close(loop, 0));
    assert_int_equal(neap_loop_is_closed(loop), 1);
    assert_code(neap_call_soon(loop, nothing, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_call_later(loop, 1, nothing, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_call_at(loop, 1, nothing, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_call_every(loop, 1, 1, nothing, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_future_new(loop, &future), NEAP_ELOOP_CLOSED);
    assert_code(neap_sleep(loop, 1, &future), NEAP_ELOOP_CLOSED);
    assert_code(neap_task_spawn(loop, &nt_script_ops, &s, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_int_equal(s.destroyed, 1);
    assert_code(neap_gather(loop, NULL, 0, 0, &future), NEAP_ELOOP_CLOSED);
    assert_code(neap_sock_new(loop, NEAP_TCP, NEAP_AF_INET, &sock), NEAP_ELOOP_CLOSED);
    assert_code(neap_add_reader(loop, 0, nothing, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_post(loop, nothing, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_null(future);
    neap_loop_unref(loop);
}

/* ---- Handles --------------------------------------------------------------------------------- */

static void L13_a_handle_describes_itself_and_its_state(void **state) {
    (void)state;
    char text[128];
    char name[] = "flush_logs";
    neap_handle *handle = nt_soon_handle("x");
    assert_ok(neap_handle_set_name(handle, name));
    name[0] = 'X';
    assert_true(neap_handle_describe(handle, text, sizeof text) > 0);
    assert_non_null(strstr(text, "flush_logs"));
    assert_int_equal(neap_handle_cancelled(handle), 0);
    char before[128];
    strcpy(before, text);
    neap_handle_cancel(handle);
    assert_true(neap_handle_describe(handle, text, sizeof text) > 0);
    assert_non_null(strstr(text, "flush_logs"));
    assert_string_not_equal(text, before);
    assert_non_null(strstr(text, "cancelled"));
    neap_handle_unref(handle);
    nt_turn();
}

static void L13_a_description_is_cut_but_tells_its_length(void **state) {
    (void)state;
    char text[128];
    char cut[8] = "#######";
    neap_handle *handle = nt_later_handle(NT_SEC, "x");
    assert_ok(neap_handle_set_name(handle, "a rather long name of a timer"));
    int32_t whole = neap_handle_describe(handle, text, sizeof text);
    assert_int_equal(whole, strlen(text));
    assert_int_equal(neap_handle_describe(handle, cut, sizeof cut), whole);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    assert_memory_equal(cut, text, sizeof cut - 1);
    assert_int_equal(neap_handle_describe(handle, NULL, 0), whole);
    neap_handle_cancel(handle);
    neap_handle_unref(handle);
}

static void note_running(void *user) {
    (void)user;
    nt_note("%d%d", (int)neap_loop_is_running(nt.loop), (int)neap_loop_in_thread(nt.loop));
}

static void L14_a_loop_knows_whether_it_runs_also_after_a_failure(void **state) {
    (void)state;
    assert_int_equal(neap_loop_is_running(nt.loop), 0);
    assert_int_equal(neap_loop_in_thread(nt.loop), 1);
    assert_ok(neap_call_soon(nt.loop, note_running, NULL, NULL, NULL));
    assert_ok(neap_call_soon(nt.loop, raise_code, (void *)(intptr_t)-3, NULL, NULL));
    assert_int_equal(neap_loop_run(nt.loop), -3);
    assert_notes("11 raise");
    assert_int_equal(neap_loop_is_running(nt.loop), 0);
}

static void L17_one_turn_stepped_from_outside_shows_the_queue_before_and_after(void **state) {
    (void)state;
    assert_int_equal(nt_metrics().ready, 0);
    assert_ok(neap_call_soon(nt.loop, queue_another, NT_WORD("a"), NULL, NULL));
    nt_soon("b");
    assert_int_equal(nt_metrics().ready, 2);
    assert_int_equal(neap_loop_run_once(nt.loop, 0), 2);
    assert_int_equal(nt_metrics().ready, 1);
    assert_int_equal(neap_loop_run_once(nt.loop, 0), 1);
    assert_int_equal(nt_metrics().ready, 0);
    assert_notes("a b queued");
}

/* ---- Names, figures, what is alive ----------------------------------------------------------- */

static void P3_the_backend_is_chosen_by_name_and_tells_its_name(void **state) {
    (void)state;
    static const char *const names[] = {"epoll", "poll"};
    for (int i = 0; i < 2; i++) {
        neap_loop_options options = nt_options(0);
        neap_loop *loop = NULL;
        options.backend = names[i];
        assert_ok(neap_loop_new(&options, &loop));
        assert_string_equal(neap_loop_backend(loop), names[i]);
        nt_loop_end(loop);
    }
    if (nt.backend != NULL)
        assert_string_equal(neap_loop_backend(nt.loop), nt.backend);
}

static void P3_an_unknown_backend_is_refused(void **state) {
    (void)state;
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    options.backend = "telepathy";
    assert_code(neap_loop_new(&options, &loop), NEAP_ENOTSUP);
    assert_null(loop);
}

static void a_loop_has_a_name(void **state) {
    (void)state;
    char name[] = "mine";
    neap_loop *named = nt_loop_named(0, name);
    neap_loop *unnamed = nt_loop_named(0, NULL);
    name[0] = 'X';
    assert_string_equal(neap_loop_name(named), "mine");
    assert_string_equal(neap_loop_name(unnamed), "loop");
    nt_loop_end(named);
    nt_loop_end(unnamed);
}

static void a_loop_is_alive_while_anything_can_happen(void **state) {
    (void)state;
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    nt_soon("x");
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    nt_turn();
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    neap_handle *timer = nt_later_handle(NT_SEC, "never");
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    neap_handle_cancel(timer);
    neap_handle_unref(timer);
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    assert_ok(neap_loop_hold(nt.loop));
    assert_ok(neap_loop_hold(nt.loop));
    assert_ok(neap_loop_release(nt.loop));
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    assert_ok(neap_loop_release(nt.loop));
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    assert_code(neap_loop_release(nt.loop), NEAP_EINVALID_STATE);
    int ends[2];
    watch_silent_pipe(ends);
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    unwatch_pipe(ends);
    assert_int_equal(neap_loop_alive(nt.loop), 0);
}

static void metrics_fill_what_the_caller_has_room_for(void **state) {
    (void)state;
    neap_metrics m;
    memset(&m, 0x77, sizeof m);
    int32_t n = neap_loop_metrics(nt.loop, &m, offsetof(neap_metrics, polls));
    assert_int_equal(n, offsetof(neap_metrics, polls));
    assert_true(m.polls == UINT64_C(0x7777777777777777));
    char big[sizeof m + 64];
    assert_int_equal(neap_loop_metrics(nt.loop, (neap_metrics *)(void *)big, sizeof big), sizeof m);
    assert_code(neap_loop_metrics(nt.loop, NULL, sizeof m), NEAP_EINVAL);
}

static void metrics_count_ticks_and_runs(void **state) {
    (void)state;
    neap_metrics before = nt_metrics();
    nt_soon("a");
    nt_soon("b");
    nt_turns(3);
    neap_metrics after = nt_metrics();
    assert_int_equal(after.ticks - before.ticks, 3);
    assert_int_equal(after.runs - before.runs, 2);
}

static void a_loop_with_nothing_parked_makes_no_poll(void **state) {
    (void)state;
    respawned = 0;
    assert_ok(neap_call_soon(nt.loop, respawn, NULL, NULL, NULL));
    uint64_t polls = nt_metrics().polls;
    nt_turns(100);
    assert_int_equal(respawned, 100);
    assert_int_equal(nt_metrics().polls, polls);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void the_descriptor_is_there_where_the_backend_has_one(void **state) {
    (void)state;
    int32_t fd = neap_loop_fd(nt.loop);
    if (strcmp(neap_loop_backend(nt.loop), "poll") == 0)
        assert_code(fd, NEAP_ENOTSUP);
    else
        assert_true(fd >= 0);
}

static void references_to_a_loop_are_counted(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    assert_ptr_equal(neap_loop_ref(loop), loop);
    neap_loop_unref(loop);
    assert_int_equal(neap_loop_is_closed(loop), 0);
    int destroyed = 0;
    assert_ok(neap_call_soon(loop, nothing, &destroyed, nt_count_fn, NULL));
    neap_loop_unref(loop); /* open still: closes silently */
    assert_int_equal(destroyed, 1);
    neap_loop_unref(NULL);
}

NT_MAIN(NT_TEST(L1_callbacks_run_in_the_order_of_queueing_each_once),
        NT_TEST(L1_a_callback_is_prevented_also_by_an_earlier_one_of_its_batch),
        NT_TEST(L1_cancelling_what_ran_answers_0),
        NT_TEST(L1_a_callback_may_cancel_itself_and_learns_that_it_runs),
        NT_TEST(ending_the_reference_to_a_handle_does_not_prevent_the_call),
        NT_TEST(destroy_runs_once_after_the_callback_or_at_its_cancel),
        NT_TEST(destroy_runs_also_when_the_call_is_refused),
        NT_TEST(L2_what_the_batch_makes_ready_runs_in_the_next_tick),
        NT_TEST(L2_a_callback_that_requeues_itself_cannot_starve_a_descriptor),
        NT_TEST(L3_one_tick_runs_what_was_queued_then_io_then_timers),
        NT_TEST(L3_posted_work_is_taken_before_the_poll),
        NT_TEST(L4_the_poll_does_not_wait_while_something_is_ready),
        NT_TEST(L4_the_poll_does_not_wait_while_a_stop_is_asked_for),
        NT_TEST(L4_the_poll_waits_until_the_first_timer),
        NT_TEST(L4_the_poll_does_not_wait_for_an_overdue_timer),
        NT_TEST(L4_an_idle_loop_waits_for_ever), NT_TEST(L4_the_callers_limit_bounds_the_wait),
        NT_TEST(L4_an_idle_second_costs_no_more_than_two_wakeups),
        NT_TEST(L5_a_stop_lets_the_batch_finish_and_is_forgotten_afterwards),
        NT_TEST(L5_a_stop_before_the_run_gives_exactly_one_tick),
        NT_TEST(L6_a_run_inside_a_callback_is_refused_and_nothing_changes),
        NT_TEST(L6_a_closed_loop_does_not_run),
        NT_TEST(L6_the_core_lets_one_loop_run_inside_another),
        NT_TEST(L7_run_until_brings_a_value_a_failure_and_a_cancellation),
        NT_TEST(L7_nothing_of_run_until_is_left_on_the_future),
        NT_TEST(L7_a_future_that_is_done_returns_after_one_tick),
        NT_TEST(L8_a_stop_before_the_future_is_done_is_told_and_the_future_stays_pending),
        NT_TEST(E2_run_until_refuses_the_future_of_another_loop),
        NT_TEST(L9_a_run_that_dies_with_its_task_done_reports_once),
        NT_TEST(a_raise_leaves_the_rest_of_the_batch_for_the_next_run),
        NT_TEST(a_raise_inside_a_step_ends_the_run_after_the_step),
        NT_TEST(a_raise_needs_a_run_and_a_code),
        NT_TEST(L10_a_closed_loop_refuses_new_work_and_closing_twice_is_fine),
        NT_TEST(L13_a_handle_describes_itself_and_its_state),
        NT_TEST(L13_a_description_is_cut_but_tells_its_length),
        NT_TEST(L14_a_loop_knows_whether_it_runs_also_after_a_failure),
        NT_TEST(L17_one_turn_stepped_from_outside_shows_the_queue_before_and_after),
        NT_TEST(P3_the_backend_is_chosen_by_name_and_tells_its_name),
        NT_TEST(P3_an_unknown_backend_is_refused), NT_TEST(a_loop_has_a_name),
        NT_TEST(a_loop_is_alive_while_anything_can_happen),
        NT_TEST(metrics_fill_what_the_caller_has_room_for), NT_TEST(metrics_count_ticks_and_runs),
        NT_TEST(a_loop_with_nothing_parked_makes_no_poll),
        NT_TEST(the_descriptor_is_there_where_the_backend_has_one),
        NT_TEST(references_to_a_loop_are_counted))
