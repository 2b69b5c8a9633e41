/* Who hears of what went wrong: reports, logs, traces, slow steps. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

/* ---- Callbacks that fail --------------------------------------------------------------------- */

static void fail_callback(void *user) {
    (void)user;
    assert_ok(neap_loop_fail(nt.loop, NEAP_EPIPE, "the pipe broke", NULL, NULL));
}

static void
L11_X2_a_failing_callback_is_reported_with_its_handle_and_the_batch_goes_on(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    assert_ok(neap_call_soon(nt.loop, fail_callback, NULL, NULL, &handle));
    nt_soon("good");
    nt_turn();
    assert_notes("good");
    const nt_report *report = nt_claim(NEAP_REPORT_CALLBACK);
    assert_int_equal(report->code, NEAP_EPIPE);
    assert_string_equal(report->message, "the pipe broke");
    assert_ptr_equal(report->handle, handle);
    assert_null(report->task);
    neap_handle_unref(handle);
}

static void L11_X2_each_report_names_the_callback_that_is_running(void **state) {
    (void)state;
    neap_handle *first = NULL;
    neap_handle *second = NULL;
    assert_ok(neap_call_soon(nt.loop, fail_callback, NULL, NULL, &first));
    assert_ok(neap_call_later(nt.loop, 0, fail_callback, NULL, NULL, &second));
    nt_turns(2);
    assert_int_equal(nt.n_reports, 2);
    assert_ptr_equal(nt.reports[0].handle, first);
    assert_ptr_equal(nt.reports[1].handle, second);
    nt_claim_all();
    neap_handle_unref(first);
    neap_handle_unref(second);
}

static const char exception_tag;

static void fail_with_exception(void *user) {
    assert_ok(neap_loop_fail(nt.loop, NEAP_EFOREIGN, NULL, &exception_tag, user));
}

static void keep_exception(neap_loop *loop, const neap_report *report, void *user) {
    (void)loop;
    assert_true(report->size >= sizeof(neap_report));
    assert_ptr_equal(report->exception_tag, &exception_tag);
    assert_non_null(report->message);
    *(void **)user = report->exception;
}

static void a_foreign_exception_reaches_the_error_hook(void **state) {
    (void)state;
    int exception = 0;
    void *seen = NULL;
    assert_ok(neap_loop_set_error_hook(nt.loop, keep_exception, &seen, NULL));
    assert_ok(neap_call_soon(nt.loop, fail_with_exception, &exception, NULL, NULL));
    nt_turn();
    assert_ptr_equal(seen, &exception);
}

static void without_an_error_hook_nobody_hears_and_nothing_breaks(void **state) {
    (void)state;
    nt_script s;
    assert_ok(neap_loop_set_error_hook(nt.loop, NULL, NULL, NULL));
    assert_ok(neap_call_soon(nt.loop, fail_callback, NULL, NULL, NULL));
    neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_FAIL(NEAP_EPERM))));
    nt_soon("good");
    nt_turns(2);
    assert_notes("good");
    nt_no_reports();
}

static void hooks_are_destroyed_when_they_are_replaced_and_with_the_loop(void **state) {
    (void)state;
    int counts[5] = {0};
    neap_loop *loop = nt_loop_new(0);
    for (int round = 1; round <= 2; round++) {
        assert_ok(neap_loop_set_error_hook(loop, keep_exception, &counts[0], nt_count_fn));
        assert_ok(neap_loop_set_log_hook(loop, NULL, &counts[1], nt_count_fn));
        assert_ok(neap_loop_set_fatal_hook(loop, NULL, &counts[2], nt_count_fn));
        assert_ok(neap_loop_set_trace_hook(loop, NULL, &counts[3], nt_count_fn));
        assert_ok(neap_loop_set_idle_hook(loop, NULL, &counts[4], nt_count_fn));
        if (round == 1)
            assert_int_equal(counts[0], 0);
    }
    nt_loop_end(loop);
    for (int i = 0; i < 5; i++)
        assert_int_equal(counts[i], 2);
}

/* ---- Failures that nobody awaits ------------------------------------------------------------- */

static void X8_a_failure_that_nobody_awaits_is_reported_at_the_end_of_its_tick(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "lonely", NT_ACTS(NT_YIELD, NT_FAIL(NEAP_EPIPE)));
    nt_turn();
    nt_no_reports();
    nt_turn();
    const nt_report *report = nt_claim(NEAP_REPORT_UNHANDLED);
    assert_string_equal(report->name, "lonely");
    assert_int_equal(report->code, NEAP_EPIPE);
    assert_ptr_equal(report->task, task);
    assert_ptr_equal(report->future, neap_task_future(task));
    /* Once: neither later nor at the end of the last reference; and it can still be read. */
    nt_turns(2);
    assert_code(neap_future_error(neap_task_future(task)), NEAP_EPIPE);
    neap_task_unref(task);
    nt_turns(2);
    nt_no_reports();
}

static void X8_a_failure_is_reported_also_if_nobody_holds_the_task(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "lonely", NT_ACTS(NT_FAIL(NEAP_EPIPE))));
    nt_turn();
    assert_string_equal(nt_claim(NEAP_REPORT_UNHANDLED)->name, "lonely");
}

static void X8_a_failure_that_somebody_takes_note_of_is_not_reported(void **state) {
    (void)state;
    nt_script s[5];
    neap_task *t[5];
    t[0] = nt_spawn(&s[0], "awaited", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    t[1] = nt_spawn(&s[1], "waiter", NT_ACTS(NT_AWAIT_CATCH(neap_task_future(t[0]))));
    t[2] = nt_spawn(&s[2], "with a callback", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    nt_on_done(neap_task_future(t[2]), "x");
    t[3] = nt_spawn(&s[3], "ignored", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    assert_ok(neap_future_ignore(neap_task_future(t[3])));
    t[4] = nt_spawn(&s[4], "yielder", NT_ACTS(NT_YIELD));
    nt_turns(3);
    for (int i = 0; i < 5; i++)
        neap_task_unref(t[i]);
    nt_turns(2);
    nt_no_reports();
}

static void await_in_same_tick(void *user) {
    nt_on_done(*(neap_future **)user, "caught");
}

static void X8_a_callback_added_later_in_the_same_tick_prevents_the_report(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    neap_future *future = neap_task_future(task);
    assert_ok(neap_call_soon(nt.loop, await_in_same_tick, &future, NULL, NULL));
    nt_turns(2);
    assert_notes("caught");
    nt_no_reports();
    neap_task_unref(task);
}

static void read_error(void *user) {
    (void)neap_future_error(*(neap_future **)user);
}

static void X8_a_failure_that_was_read_in_its_tick_is_not_reported(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    neap_future *future = neap_task_future(task);
    assert_ok(neap_call_soon(nt.loop, read_error, &future, NULL, NULL));
    nt_turns(2);
    nt_no_reports();
    neap_task_unref(task);
}

static void X8_a_plain_future_that_failed_unseen_is_reported_with_its_site(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_site(future, "main.lua:3"));
    assert_ok(neap_future_set_error(future, NEAP_EPIPE, "nobody looked"));
    nt_turn();
    const nt_report *report = nt_claim(NEAP_REPORT_UNHANDLED);
    assert_ptr_equal(report->future, future);
    assert_null(report->task);
    assert_int_equal(report->code, NEAP_EPIPE);
    assert_non_null(strstr(report->message, "nobody looked"));
    assert_string_equal(report->site, "main.lua:3");
    neap_future_unref(future);
    nt_turns(2);
    nt_no_reports();
}

static void a_report_of_a_task_tells_where_it_was_spawned(void **state) {
    (void)state;
    nt_script s = {.acts = NT_ACTS(NT_FAIL(NEAP_EPIPE))};
    neap_task_options options = {sizeof options, "named", "main.lua:99", NULL, 0};
    assert_ok(neap_task_spawn(nt.loop, &nt_script_ops, &s, &options, NULL));
    nt_turn();
    const nt_report *report = nt_claim(NEAP_REPORT_UNHANDLED);
    assert_string_equal(report->name, "named");
    assert_string_equal(report->site, "main.lua:99");
}

static void write_site(neap_task *task, void *user, char *buf, size_t cap) {
    (void)task;
    (void)user;
    snprintf(buf, cap, "main.lua:%d", 98);
}

static void a_report_tells_the_site_that_only_the_ops_knew(void **state) {
    (void)state;
    nt_script s = {.acts = NT_ACTS(NT_FAIL(NEAP_EPIPE))};
    neap_task_ops ops = nt_script_ops;
    ops.site = write_site;
    assert_ok(neap_task_spawn(nt.loop, &ops, &s, NULL, NULL));
    nt_turn();
    assert_string_equal(nt_claim(NEAP_REPORT_UNHANDLED)->site, "main.lua:98");
}

static void T22_closing_with_a_suspended_task_reports_it_once_with_its_name(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "sleeper", NT_ACTS(NT_SLEEP(9 * NT_SEC))));
    nt_turn();
    assert_ok(neap_loop_close(nt.loop, 0));
    const nt_report *report = nt_claim(NEAP_REPORT_PENDING);
    assert_string_equal(report->name, "sleeper");
    assert_int_equal(s.destroyed, 1);
}

static void describe_waiting(neap_task *task, void *user, char *buf, size_t cap) {
    (void)task;
    (void)user;
    snprintf(buf, cap, "in wait_for_godot at play.lua:7");
}

static void T22_the_report_tells_where_the_task_waits(void **state) {
    (void)state;
    neap_task_ops ops = nt_script_ops;
    nt_script s = {.acts = NT_ACTS(NT_SLEEP(9 * NT_SEC))};
    ops.describe = describe_waiting;
    assert_ok(neap_task_spawn(nt.loop, &ops, &s, NULL, NULL));
    nt_turn();
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_non_null(strstr(nt_claim(NEAP_REPORT_PENDING)->message, "play.lua:7"));
}

static void T22_a_silent_close_reports_nothing(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "sleeper", NT_ACTS(NT_SLEEP(9 * NT_SEC))));
    nt_turn();
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_int_equal(s.destroyed, 1);
    nt_no_reports();
}

/* ---- Slow steps ------------------------------------------------------------------------------ */

static void advance_by(void *user) {
    assert_ok(neap_loop_advance(nt.loop, *(int64_t *)user));
}

static void X1_a_slow_callback_is_reported_with_its_exact_time(void **state) {
    (void)state;
    int64_t slow = 120 * NT_MS;
    int64_t quick = 90 * NT_MS;
    neap_handle *handle = NULL;
    assert_ok(neap_call_soon(nt.loop, advance_by, &quick, NULL, NULL));
    nt_turn();
    nt_no_reports();
    assert_ok(neap_call_soon(nt.loop, advance_by, &slow, NULL, &handle));
    assert_ok(neap_handle_set_name(handle, "crunch"));
    nt_turn();
    const nt_report *report = nt_claim(NEAP_REPORT_SLOW);
    assert_true(report->elapsed_ns == 120 * NT_MS);
    assert_ptr_equal(report->handle, handle);
    assert_null(report->task);
    assert_non_null(strstr(report->what, "crunch"));
    neap_handle_unref(handle);
}

static void X1_a_slow_step_is_reported_with_its_task(void **state) {
    (void)state;
    nt_script s;
    int64_t slow = 120 * NT_MS;
    int64_t quick = 90 * NT_MS;
    neap_task *task = nt_spawn(
        &s, "thinker", NT_ACTS(NT_CALL(advance_by, &quick), NT_YIELD, NT_CALL(advance_by, &slow)));
    nt_turn();
    nt_no_reports();
    nt_turn();
    const nt_report *report = nt_claim(NEAP_REPORT_SLOW);
    assert_true(report->elapsed_ns == 120 * NT_MS);
    assert_ptr_equal(report->task, task);
    assert_string_equal(report->name, "thinker");
    neap_task_unref(task);
}

static void X1_the_limit_can_be_set_and_switched_off(void **state) {
    (void)state;
    int64_t ns = 120 * NT_MS;
    assert_ok(neap_loop_set_slow(nt.loop, 200 * NT_MS));
    assert_ok(neap_call_soon(nt.loop, advance_by, &ns, NULL, NULL));
    nt_turn();
    nt_no_reports();
    assert_ok(neap_loop_set_slow(nt.loop, 100 * NT_MS));
    assert_ok(neap_call_soon(nt.loop, advance_by, &ns, NULL, NULL));
    nt_turn();
    (void)nt_claim(NEAP_REPORT_SLOW);
    assert_ok(neap_loop_set_slow(nt.loop, -1));
    assert_ok(neap_call_soon(nt.loop, advance_by, &ns, NULL, NULL));
    nt_turn();
    nt_no_reports();
}

static void steps_and_their_time_are_counted(void **state) {
    (void)state;
    nt_script s;
    int64_t ns = 30 * NT_MS;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(advance_by, &ns), NT_YIELD, NT_CALL(advance_by, &ns)));
    nt_turns(2);
    assert_int_equal(neap_task_steps(task), 2);
    assert_true(neap_task_step_time(task) == 60 * NT_MS);
    neap_task_unref(task);
}

/* ---- Debug, log, trace ----------------------------------------------------------------------- */

static void debug_mode_is_asked_for_and_switched(void **state) {
    (void)state;
    assert_int_equal(neap_loop_debug(nt.loop, -1), 0);
    assert_int_equal(neap_loop_debug(nt.loop, 1), 0);
    assert_int_equal(neap_loop_debug(nt.loop, -1), 1);
    assert_int_equal(neap_loop_debug(nt.loop, 0), 1);
    assert_int_equal(neap_loop_debug(nt.loop, -1), 0);
    neap_loop *loop = nt_loop_new(NEAP_LOOP_DEBUG);
    assert_int_equal(neap_loop_debug(loop, -1), 1);
    nt_loop_end(loop);
}

static void drain(void *user) {
    char byte;
    assert_int_equal(read(*(int *)user, &byte, 1), 1);
}

struct log {
    int count;
    int32_t level;
    char text[256];
};

static void log_fn(neap_loop *loop, int32_t level, const char *text, void *user) {
    struct log *log = user;
    (void)loop;
    if (strstr(text, "poll") == NULL)
        return;
    log->count++;
    log->level = level;
    snprintf(log->text, sizeof log->text, "%s", text);
}

/* A loop that logs, and a descriptor to make its polls end. */
static void log_start(struct log *log, int ends[2]) {
    memset(log, 0, sizeof *log);
    assert_int_equal(neap_loop_debug(nt.loop, 1), 0);
    assert_int_equal(pipe(ends), 0);
    assert_ok(neap_add_reader(nt.loop, ends[0], drain, &ends[0], NULL));
    nt_turns(2);
    assert_ok(neap_loop_set_log_hook(nt.loop, log_fn, log, NULL));
}

static void log_stop(int ends[2]) {
    assert_ok(neap_loop_set_log_hook(nt.loop, NULL, NULL, NULL));
    assert_int_equal(neap_remove_reader(nt.loop, ends[0]), 1);
    close(ends[0]);
    close(ends[1]);
}

static void X3_the_log_tells_of_a_poll_that_only_timed_out(void **state) {
    (void)state;
    struct log log;
    int ends[2];
    log_start(&log, ends);
    nt_later(5 * NT_MS, "timer");
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_int_equal(log.count, 1);
    assert_int_equal(log.level, NEAP_LOG_DEBUG);
    assert_non_null(strstr(log.text, "timeout"));
    log_stop(ends);
}

static void X3_the_log_tells_of_a_poll_that_brought_events_before_its_limit(void **state) {
    (void)state;
    struct log log;
    int ends[2];
    log_start(&log, ends);
    neap_handle *never = nt_later_handle(3600 * NT_SEC, "never");
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_int_equal(log.count, 1);
    assert_int_equal(log.level, NEAP_LOG_DEBUG);
    assert_non_null(strstr(log.text, "1 event"));
    assert_null(strstr(log.text, "timeout"));
    /* The limit stands there, too: an hour, in ms. */
    assert_non_null(strstr(log.text, "poll 3"));
    neap_handle_cancel(never);
    neap_handle_unref(never);
    log_stop(ends);
}

static void X3_the_log_tells_of_a_poll_without_a_limit(void **state) {
    (void)state;
    struct log log;
    int ends[2];
    log_start(&log, ends);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_int_equal(log.count, 1);
    assert_non_null(strstr(log.text, "poll took"));
    assert_non_null(strstr(log.text, "1 event"));
    log_stop(ends);
}

static void X3_a_poll_that_does_not_wait_is_not_logged(void **state) {
    (void)state;
    struct log log;
    int ends[2];
    log_start(&log, ends);
    nt_soon("x");
    nt_turns(3);
    assert_int_equal(log.count, 0);
    log_stop(ends);
}

static void X3_a_poll_of_a_second_or_more_is_told_at_a_higher_level(void **state) {
    (void)state;
    struct log log = {0};
    assert_int_equal(neap_loop_debug(nt.loop, 1), 0);
    assert_ok(neap_loop_set_log_hook(nt.loop, log_fn, &log, NULL));
    nt_later(1010 * NT_MS, "timer");
    int saw_info = 0;
    while (nt.notes_len == 0) {
        neap_loop_run_once(nt.loop, -1);
        saw_info |= log.level == NEAP_LOG_INFO;
    }
    assert_true(saw_info);
}

static void the_trace_hook_sees_callbacks_and_the_end_of_a_run(void **state) {
    (void)state;
    neap_handle *handle = nt_soon_handle("x");
    nt_trace_start();
    nt_turn();
    nt_trace_stop();
    assert_int_equal(nt_trace_count(NEAP_TRACE_CALL), 1);
    assert_ptr_equal(nt_trace_get(NEAP_TRACE_CALL, 0)->handle, handle);
    assert_int_equal(nt_trace_count(NEAP_TRACE_RUN_END), 1);
    neap_handle_unref(handle);
}

static void the_trace_tells_yields_apart_from_waits(void **state) {
    (void)state;
    nt_script s;
    nt_trace_start();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_SLEEP(0)));
    nt_turns(3);
    nt_trace_stop();
    assert_int_equal(nt_trace_count(NEAP_TRACE_YIELD), 1);
    assert_int_equal(nt_trace_count(NEAP_TRACE_SUSPEND), 1);
    assert_int_equal(nt_trace_count(NEAP_TRACE_STEP), 3);
    assert_int_equal(nt_trace_count(NEAP_TRACE_DONE), 1);
    neap_task_unref(task);
}

/* ---- Describing a task ------------------------------------------------------------------------- */

static neap_task *described;
static char own_line[64];

static void describe_own(void *user) {
    (void)user;
    neap_task_describe(described, own_line, sizeof own_line);
}

static void a_task_can_be_described(void **state) {
    (void)state;
    nt_script s;
    char line[64];
    described = nt_spawn(&s, "t", NT_ACTS(NT_CALL(describe_own, NULL), NT_SLEEP(NT_SEC)));
    assert_int_equal(neap_task_describe(described, line, sizeof line), 19);
    assert_string_equal(line, "t is ready to start");
    nt_turn();
    assert_string_equal(own_line, "t runs");
    neap_task_describe(described, line, sizeof line);
    assert_string_equal(line, "t waits for a sleep");
    assert_int_equal(neap_task_describe(described, line, 4), 19);
    assert_string_equal(line, "t w");
    nt_until_task(described);
    neap_task_describe(described, line, sizeof line);
    assert_string_equal(line, "t has ended");
    assert_code(neap_task_describe(described, NULL, 1), NEAP_EINVAL);
    assert_code(neap_task_describe(NULL, line, 1), NEAP_EINVAL);
    neap_task_unref(described);
}

NT_MAIN(NT_TEST(L11_X2_a_failing_callback_is_reported_with_its_handle_and_the_batch_goes_on),
        NT_TEST(L11_X2_each_report_names_the_callback_that_is_running),
        NT_TEST(a_foreign_exception_reaches_the_error_hook),
        NT_TEST(without_an_error_hook_nobody_hears_and_nothing_breaks),
        NT_TEST_BARE(hooks_are_destroyed_when_they_are_replaced_and_with_the_loop),
        NT_TEST(X8_a_failure_that_nobody_awaits_is_reported_at_the_end_of_its_tick),
        NT_TEST(X8_a_failure_is_reported_also_if_nobody_holds_the_task),
        NT_TEST(X8_a_failure_that_somebody_takes_note_of_is_not_reported),
        NT_TEST(X8_a_callback_added_later_in_the_same_tick_prevents_the_report),
        NT_TEST(X8_a_failure_that_was_read_in_its_tick_is_not_reported),
        NT_TEST(X8_a_plain_future_that_failed_unseen_is_reported_with_its_site),
        NT_TEST(a_report_of_a_task_tells_where_it_was_spawned),
        NT_TEST(a_report_tells_the_site_that_only_the_ops_knew),
        NT_TEST(T22_closing_with_a_suspended_task_reports_it_once_with_its_name),
        NT_TEST(T22_the_report_tells_where_the_task_waits),
        NT_TEST(T22_a_silent_close_reports_nothing),
        NT_TEST_VIRTUAL(X1_a_slow_callback_is_reported_with_its_exact_time),
        NT_TEST_VIRTUAL(X1_a_slow_step_is_reported_with_its_task),
        NT_TEST_VIRTUAL(X1_the_limit_can_be_set_and_switched_off),
        NT_TEST_VIRTUAL(steps_and_their_time_are_counted),
        NT_TEST(debug_mode_is_asked_for_and_switched),
        NT_TEST(X3_the_log_tells_of_a_poll_that_only_timed_out),
        NT_TEST(X3_the_log_tells_of_a_poll_that_brought_events_before_its_limit),
        NT_TEST(X3_the_log_tells_of_a_poll_without_a_limit),
        NT_TEST(X3_a_poll_that_does_not_wait_is_not_logged),
        NT_TEST(X3_a_poll_of_a_second_or_more_is_told_at_a_higher_level),
        NT_TEST(the_trace_hook_sees_callbacks_and_the_end_of_a_run),
        NT_TEST_VIRTUAL(the_trace_tells_yields_apart_from_waits),
        NT_TEST_VIRTUAL(a_task_can_be_described))
