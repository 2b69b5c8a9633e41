/* Running a program to its end: the clean-up order, deadlocks, holds. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

/* ---- The whole of a run: new loop, run until, shut down, close ------------------------------- */

static void R1_a_run_makes_a_loop_runs_the_main_task_and_leaves_nothing(void **state) {
    (void)state;
    nt_script main_script, helper;
    neap_loop *loop = nt_loop_new(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_task *task =
        nt_spawn_on(loop, &main_script, "main", NT_ACTS(NT_SLEEP(NT_SEC), NT_RETURN(42)));
    neap_task_unref(
        nt_spawn_on(loop, &helper, "helper", NT_ACTS(NT_SLEEP(9 * NT_SEC), NT_NOTE("never"))));
    assert_ok(neap_loop_run_until(loop, neap_task_future(task)));
    assert_int_equal(nt_int(neap_task_future(task)), 42);
    assert_int_equal(neap_loop_shutdown(loop, NT_SEC), 0);
    assert_int_equal(helper.cancels, 1);
    assert_int_equal(helper.destroyed, 1);
    assert_ok(neap_loop_close(loop, 0));
    neap_task_unref(task);
    neap_loop_unref(loop);
    assert_notes("");
    assert_int_equal(nt_fd_count(), nt.fds);
}

static void try_to_run_again(void *user) {
    (void)user;
    neap_future *future = nt_future();
    nt_note("%s", neap_err_name(neap_loop_run_until(nt.loop, future)));
    neap_future_unref(future);
}

static void R2_a_run_inside_a_run_is_refused_and_the_outer_goes_on(void **state) {
    (void)state;
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(try_to_run_again, NULL), NT_YIELD, NT_RETURN(1)));
    nt_until_task(task);
    assert_notes("EREENTRANT");
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
}

static void R4_the_clean_up_goes_on_when_a_part_of_it_fails(void **state) {
    (void)state;
    nt_script good, bad, stubborn;
    neap_loop *loop = nt_loop_new(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_task_unref(
        nt_spawn_on(loop, &bad, "bad",
                    NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_NOTE("bad"), NT_FAIL(NEAP_EPIPE))));
    neap_task_unref(
        nt_spawn_on(loop, &stubborn, "stubborn", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_AGAIN)));
    neap_task_unref(
        nt_spawn_on(loop, &good, "good", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_NOTE("good"))));
    assert_int_equal(neap_loop_run_once(loop, 0), 3);
    assert_int_equal(neap_loop_shutdown(loop, NT_SEC), 1);
    assert_notes("bad good");
    assert_int_equal(stubborn.destroyed, 1);
    assert_int_equal(nt_reports_of(NEAP_REPORT_UNHANDLED), 1);
    assert_int_equal(nt_reports_of(NEAP_REPORT_ABORTED), 1);
    assert_int_equal(nt.n_reports, 2);
    nt_claim_all();
    assert_ok(neap_loop_close(loop, 0));
    nt_no_reports();
    neap_loop_unref(loop);
}

static void a_shutdown_of_an_idle_loop_does_nothing(void **state) {
    (void)state;
    assert_int_equal(neap_loop_shutdown(nt.loop, 5 * NT_SEC), 0);
    assert_true(neap_loop_time(nt.loop) == 0);
    nt_soon("still usable");
    nt_turn();
    assert_notes("still usable");
}

static void a_shutdown_waits_no_longer_than_its_grace_and_names_what_it_aborts(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "stubborn", NT_ACTS(NT_SLEEP_CATCH(100 * NT_SEC), NT_AGAIN));
    nt_on_done(neap_task_future(task), "ended");
    nt_turn();
    assert_int_equal(neap_loop_shutdown(nt.loop, 3 * NT_SEC), 1);
    assert_true(neap_loop_time(nt.loop) >= 3 * NT_SEC && neap_loop_time(nt.loop) < 100 * NT_SEC);
    const nt_report *report = nt_claim(NEAP_REPORT_ABORTED);
    assert_string_equal(report->name, "stubborn");
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(nt_metrics().timers, 0);
    nt_turns(2);
    assert_notes("ended");
    neap_task_unref(task);
}

static void a_shutdown_without_grace_still_delivers_the_cancel(void **state) {
    (void)state;
    nt_script polite, stubborn;
    neap_task_unref(nt_spawn(&polite, "polite", NT_ACTS(NT_SLEEP(9 * NT_SEC))));
    neap_task_unref(nt_spawn(&stubborn, "stubborn", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_AGAIN)));
    nt_turn();
    int32_t aborted = neap_loop_shutdown(nt.loop, 0);
    assert_true(aborted == 1 || aborted == 2);
    assert_int_equal(nt_reports_of(NEAP_REPORT_ABORTED), aborted);
    nt_claim_all();
    assert_int_equal(polite.destroyed, 1);
    assert_int_equal(stubborn.destroyed, 1);
    assert_int_equal(nt_metrics().tasks, 0);
}

static void a_shutdown_also_ends_tasks_that_never_started_or_are_ready(void **state) {
    (void)state;
    nt_script fresh, ready, awaiting;
    neap_future *future = nt_future();
    neap_task_unref(nt_spawn(&ready, "ready", NT_ACTS(NT_YIELD, NT_NOTE("never"))));
    neap_task_unref(nt_spawn(&awaiting, "awaiting", NT_ACTS(NT_AWAIT(future), NT_NOTE("never"))));
    nt_turn();
    neap_task_unref(nt_spawn(&fresh, "fresh", NT_ACTS(NT_NOTE("never"))));
    assert_int_equal(neap_loop_shutdown(nt.loop, NT_SEC), 0);
    assert_notes("");
    assert_int_equal(fresh.destroyed + ready.destroyed + awaiting.destroyed, 3);
    assert_int_equal(nt_metrics().tasks, 0);
    neap_future_unref(future);
}

static nt_script late_script;

static void spawn_late(void *user) {
    static const nt_act acts[] = {NT_SLEEP(9 * NT_SEC), NT_NOTE("never"), {.what = NT_DO_END}};
    (void)user;
    neap_task_unref(nt_spawn(&late_script, "late", acts));
}

static void tasks_spawned_during_the_shutdown_end_too(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(
        nt_spawn(&s, "parent", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_CALL(spawn_late, NULL))));
    nt_turn();
    int32_t aborted = neap_loop_shutdown(nt.loop, NT_SEC);
    assert_true(aborted >= 0);
    assert_int_equal(nt_reports_of(NEAP_REPORT_ABORTED), aborted);
    nt_claim_all();
    assert_int_equal(nt_metrics().tasks, 0);
    assert_int_equal(late_script.destroyed, 1);
    assert_notes("");
}

/* ---- Deadlock -------------------------------------------------------------------------------- */

static void a_run_that_nothing_can_wake_ends_with_a_deadlock(void **state) {
    (void)state;
    nt_script s;
    neap_future *never = nt_future();
    neap_task *task = nt_spawn(&s, "main", NT_ACTS(NT_AWAIT(never), NT_RETURN(1)));
    assert_code(neap_loop_run_until(nt.loop, neap_task_future(task)), NEAP_EDEADLOCK);
    const nt_report *report = nt_claim(NEAP_REPORT_DEADLOCK);
    assert_int_equal(report->code, NEAP_EDEADLOCK);
    assert_true(strlen(report->message) > 0);
    assert_state(neap_task_future(task), NEAP_STATE_PENDING);
    assert_int_equal(neap_future_waiters(neap_task_future(task)), 0);
    /* Nothing is lost: a later run ends it. */
    assert_ok(neap_future_set_none(never));
    nt_until_task(task);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_future_unref(never);
    neap_task_unref(task);
}

static void T9_two_tasks_that_await_each_other_are_a_deadlock(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_future *fa = NULL;
    neap_future *fb = NULL;
    neap_task *a = nt_spawn(&sa, "alpha", NT_ACTS(NT_AWAIT_LATE(&fb)));
    neap_task *b = nt_spawn(&sb, "beta", NT_ACTS(NT_AWAIT_LATE(&fa)));
    fa = neap_task_future(a);
    fb = neap_task_future(b);
    assert_code(neap_loop_run_until(nt.loop, fa), NEAP_EDEADLOCK);
    const nt_report *report = nt_claim(NEAP_REPORT_DEADLOCK);
    assert_non_null(strstr(report->message, "alpha"));
    assert_non_null(strstr(report->message, "beta"));
    int32_t aborted = neap_loop_shutdown(nt.loop, 0);
    assert_true(aborted >= 0);
    assert_int_equal(nt_reports_of(NEAP_REPORT_ABORTED), aborted);
    assert_int_equal(nt_metrics().tasks, 0);
    nt_claim_all();
    neap_task_unref(a);
    neap_task_unref(b);
}

static void a_pending_timer_is_no_deadlock(void **state) {
    (void)state;
    neap_future *sleep = nt_sleep(NT_MS);
    nt_until(sleep);
    neap_future_unref(sleep);
    nt_no_reports();
}

static void stop_soon(void *user) {
    (void)user;
    nt_note("readable");
    assert_ok(neap_loop_stop(nt.loop));
}

static void a_parked_watch_is_no_deadlock(void **state) {
    (void)state;
    int ends[2];
    neap_future *never = nt_future();
    assert_int_equal(pipe(ends), 0);
    assert_ok(neap_add_reader(nt.loop, ends[0], stop_soon, NULL, NULL));
    nt_turns(2);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_code(neap_loop_run_until(nt.loop, never), NEAP_ESTOPPED_EARLY);
    assert_notes("readable");
    assert_int_equal(neap_remove_reader(nt.loop, ends[0]), 1);
    assert_code(neap_loop_run_until(nt.loop, never), NEAP_EDEADLOCK);
    (void)nt_claim(NEAP_REPORT_DEADLOCK);
    neap_future_unref(never);
    assert_int_equal(write(ends[1], "x", 1), 1);
    close(ends[0]);
    close(ends[1]);
}

static void no_signal(int32_t signo, void *user) {
    (void)signo;
    (void)user;
}

static void a_watched_signal_does_not_count_as_a_waker(void **state) {
    (void)state;
    neap_handle *watch = NULL;
    neap_future *never = nt_future();
    assert_ok(neap_signal_watch(nt.loop, SIGUSR1, 0, no_signal, NULL, NULL, &watch));
    assert_code(neap_loop_run_until(nt.loop, never), NEAP_EDEADLOCK);
    (void)nt_claim(NEAP_REPORT_DEADLOCK);
    assert_int_equal(neap_handle_cancel(watch), 1);
    neap_handle_unref(watch);
    neap_future_unref(never);
}

static void a_post_in_the_box_is_taken_before_a_deadlock_is_told(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_post_int(future, 5));
    nt_until(future);
    assert_int_equal(nt_int(future), 5);
    neap_future_unref(future);
}

struct poster {
    neap_future *future;
    int32_t code;
};

static void *post_from_thread(void *user) {
    struct poster *p = user;
    usleep(20000); /* only so that the loop is likely to wait already */
    p->code = neap_future_post_int(p->future, 8);
    return NULL;
}

static void a_hold_prevents_the_deadlock_while_another_thread_works(void **state) {
    (void)state;
    pthread_t thread;
    struct poster p = {nt_future(), 1};
    assert_ok(neap_loop_hold(nt.loop));
    assert_int_equal(pthread_create(&thread, NULL, post_from_thread, &p), 0);
    assert_ok(neap_loop_run_until(nt.loop, p.future));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_ok(p.code);
    assert_int_equal(nt_int(p.future), 8);
    assert_ok(neap_loop_release(nt.loop));
    nt_no_reports();
    neap_future_unref(p.future);
}

static void release_hold(void *user) {
    (void)user;
    assert_ok(neap_loop_release(nt.loop));
}

static void a_hold_given_back_during_the_run_uncovers_the_deadlock(void **state) {
    (void)state;
    neap_future *never = nt_future();
    assert_ok(neap_loop_hold(nt.loop));
    assert_ok(neap_call_later(nt.loop, NT_SEC, release_hold, NULL, NULL, NULL));
    assert_code(neap_loop_run_until(nt.loop, never), NEAP_EDEADLOCK);
    (void)nt_claim(NEAP_REPORT_DEADLOCK);
    neap_future_unref(never);
}

/* ---- Runs within limits ---------------------------------------------------------------------- */

static void a_run_ends_at_its_limit_of_time(void **state) {
    (void)state;
    neap_future *late = nt_sleep(11 * NT_SEC), *in_time = nt_sleep(5 * NT_SEC);
    const neap_limits limits = {.size = sizeof limits, .time_ns = 10 * NT_SEC};
    assert_ok(neap_loop_run_within(nt.loop, in_time, &limits));
    assert_int_equal(neap_loop_time(nt.loop), 5 * NT_SEC);
    const neap_limits less = {.size = sizeof less, .time_ns = 5 * NT_SEC};
    assert_code(neap_loop_run_within(nt.loop, late, &less), NEAP_ETIMEOUT);
    assert_int_equal(neap_loop_time(nt.loop), 10 * NT_SEC);
    assert_state(late, NEAP_STATE_PENDING);
    assert_ok(neap_loop_run_until(nt.loop, late));
    neap_future_unref(late);
    neap_future_unref(in_time);
}

static void a_limit_of_time_also_bounds_a_wait_on_the_real_clock(void **state) {
    (void)state;
    neap_future *hour = nt_sleep(3600 * NT_SEC);
    const neap_limits limits = {.size = sizeof limits, .time_ns = NT_MS};
    const neap_limits real = {.size = sizeof limits, .real_ns = NT_MS};
    assert_code(neap_loop_run_within(nt.loop, hour, &limits), NEAP_ETIMEOUT);
    assert_code(neap_loop_run_within(nt.loop, hour, &real), NEAP_ETIMEOUT);
    assert_int_equal(neap_future_cancel(hour, NULL), 1);
    neap_future_unref(hour);
}

static void ticks_and_real_time_end_a_run_that_never_waits(void **state) {
    (void)state;
    nt_script s;
    neap_task *t = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_AGAIN));
    const neap_limits ticks = {.size = sizeof ticks, .ticks = 100};
    const neap_limits real = {.size = sizeof real, .real_ns = NT_MS};
    uint64_t before = nt_metrics().ticks;
    assert_code(neap_loop_run_within(nt.loop, neap_task_future(t), &ticks), NEAP_ETIMEOUT);
    assert_int_equal(nt_metrics().ticks - before, 100);
    assert_code(neap_loop_run_within(nt.loop, neap_task_future(t), &real), NEAP_ETIMEOUT);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    neap_task_cancel(t, NULL);
    nt_until_task(t);
    neap_task_unref(t);
}

static void a_deadlock_is_told_before_a_limit_is_reached(void **state) {
    (void)state;
    neap_future *never = nt_future();
    const neap_limits limits = {.size = sizeof limits, .time_ns = NT_SEC, .real_ns = NT_SEC};
    assert_code(neap_loop_run_within(nt.loop, never, &limits), NEAP_EDEADLOCK);
    nt_claim(NEAP_REPORT_DEADLOCK);
    neap_future_unref(never);
}

static void limits_that_make_no_sense_are_refused(void **state) {
    (void)state;
    struct {
        neap_limits known;
        int64_t later;
    } grown = {.known = {.size = sizeof grown}, .later = 1};
    neap_limits limits = {.size = sizeof limits, .time_ns = -1};
    neap_future *f = nt_future();
    assert_code(neap_loop_run_within(nt.loop, f, NULL), NEAP_EINVAL);
    assert_code(neap_loop_run_within(nt.loop, f, &limits), NEAP_EINVAL);
    limits.time_ns = 0;
    assert_code(neap_loop_run_within(nt.loop, NULL, &limits), NEAP_EINVAL);
    limits.size = 4;
    assert_code(neap_loop_run_within(nt.loop, f, &limits), NEAP_EINVAL);
    assert_code(neap_loop_run_within(nt.loop, f, &grown.known), NEAP_E2BIG);
    neap_future_unref(f);
}

static void turns_that_a_host_drives_know_no_deadlock(void **state) {
    (void)state;
    nt_script s;
    neap_future *never = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT_CATCH(never)));
    int64_t timeout = 0;
    nt_turns(3);
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_true(timeout == -1);
    assert_int_equal(neap_loop_wait(nt.loop, 0), 0);
    assert_int_equal(neap_loop_dispatch(nt.loop, 0), 0);
    nt_no_reports();
    assert_ok(neap_future_set_none(never));
    nt_turn();
    neap_future_unref(never);
    neap_task_unref(task);
}

/* ---- Interrupted waits ----------------------------------------------------------------------- */

static void interrupted(int signo) {
    (void)signo;
}

static void *interrupt(void *user) {
    atomic_int *done = user;
    while (!atomic_load(done)) {
        kill(getpid(), SIGUSR1);
        usleep(5000);
    }
    return NULL;
}

/* Runs the loop until `future` under signals; what the run answered first. */
static int32_t run_under_signals(neap_loop *loop, neap_future *future) {
    struct sigaction action, before;
    sigset_t mask, old;
    pthread_t thread;
    atomic_int done;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupted;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    atomic_init(&done, 0);
    /* The signals are for this thread. */
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &mask, &old);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &done), 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    int32_t code = neap_loop_run_until(loop, future);
    while (!neap_future_done(future))
        neap_loop_run_until(loop, future);
    atomic_store(&done, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    return code;
}

static void an_interrupted_wait_goes_on(void **state) {
    (void)state;
    neap_future *sleep = nt_sleep(100 * NT_MS);
    assert_ok(run_under_signals(nt.loop, sleep));
    neap_future_unref(sleep);
}

static void a_loop_that_wants_to_know_is_told_of_an_interrupted_wait(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(NEAP_LOOP_EINTR);
    neap_future *sleep = NULL;
    assert_ok(neap_sleep(loop, 100 * NT_MS, &sleep));
    assert_code(run_under_signals(loop, sleep), NEAP_EINTR);
    assert_int_equal(neap_loop_is_running(loop), 0);
    neap_future_unref(sleep);
    nt_loop_end(loop);
}

/* ---- Posts and wakes from the loop's own thread ---------------------------------------------- */

static void posted_work_runs_in_the_order_of_posting(void **state) {
    (void)state;
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, NT_WORD("a"), nt_note_destroy));
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, NT_WORD("b"), NULL));
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, NT_WORD("c"), NULL));
    assert_notes("");
    assert_int_equal(nt_turn(), 3);
    assert_notes("a ~a b c");
}

static void post_again(void *user) {
    nt_note("%s", (const char *)user);
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, NT_WORD("again"), NULL));
}

static void work_posted_by_posted_work_runs_in_the_next_tick(void **state) {
    (void)state;
    assert_ok(neap_loop_post(nt.loop, post_again, NT_WORD("first"), NULL));
    nt_turn();
    assert_notes("first");
    nt_turn();
    assert_notes("first again");
}

static void a_wake_ends_a_wait_without_running_anything(void **state) {
    (void)state;
    neap_metrics before = nt_metrics();
    assert_ok(neap_loop_wake(nt.loop));
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 0);
    assert_int_equal(nt_metrics().ticks - before.ticks, 1);
    /* A wake is one turn: the next wait with a limit is not shortened for ever. */
    nt_turn();
    nt_later(5 * NT_MS, "timer");
    for (int i = 0; i < 5 && nt.notes_len == 0; i++)
        neap_loop_run_once(nt.loop, -1);
    assert_notes("timer");
}

static void many_wakes_are_one(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_ok(neap_loop_wake(nt.loop));
    neap_metrics before = nt_metrics();
    nt_later(5 * NT_MS, "timer");
    while (nt.notes_len == 0)
        neap_loop_run_once(nt.loop, -1);
    assert_true(nt_metrics().ticks - before.ticks <= 4);
}

NT_MAIN(NT_TEST_BARE(R1_a_run_makes_a_loop_runs_the_main_task_and_leaves_nothing),
        NT_TEST(R2_a_run_inside_a_run_is_refused_and_the_outer_goes_on),
        NT_TEST_BARE(R4_the_clean_up_goes_on_when_a_part_of_it_fails),
        NT_TEST_VIRTUAL(a_shutdown_of_an_idle_loop_does_nothing),
        NT_TEST_VIRTUAL(a_shutdown_waits_no_longer_than_its_grace_and_names_what_it_aborts),
        NT_TEST_VIRTUAL(a_shutdown_without_grace_still_delivers_the_cancel),
        NT_TEST_VIRTUAL(a_shutdown_also_ends_tasks_that_never_started_or_are_ready),
        NT_TEST_VIRTUAL(tasks_spawned_during_the_shutdown_end_too),
        NT_TEST(a_run_that_nothing_can_wake_ends_with_a_deadlock),
        NT_TEST_VIRTUAL(T9_two_tasks_that_await_each_other_are_a_deadlock),
        NT_TEST(a_pending_timer_is_no_deadlock), NT_TEST(a_parked_watch_is_no_deadlock),
        NT_TEST(a_watched_signal_does_not_count_as_a_waker),
        NT_TEST(a_post_in_the_box_is_taken_before_a_deadlock_is_told),
        NT_TEST(a_hold_prevents_the_deadlock_while_another_thread_works),
        NT_TEST_VIRTUAL(a_hold_given_back_during_the_run_uncovers_the_deadlock),
        NT_TEST_VIRTUAL(a_run_ends_at_its_limit_of_time),
        NT_TEST(a_limit_of_time_also_bounds_a_wait_on_the_real_clock),
        NT_TEST_VIRTUAL(ticks_and_real_time_end_a_run_that_never_waits),
        NT_TEST_VIRTUAL(a_deadlock_is_told_before_a_limit_is_reached),
        NT_TEST_VIRTUAL(limits_that_make_no_sense_are_refused),
        NT_TEST(turns_that_a_host_drives_know_no_deadlock), NT_TEST(an_interrupted_wait_goes_on),
        NT_TEST(a_loop_that_wants_to_know_is_told_of_an_interrupted_wait),
        NT_TEST(posted_work_runs_in_the_order_of_posting),
        NT_TEST(work_posted_by_posted_work_runs_in_the_next_tick),
        NT_TEST(a_wake_ends_a_wait_without_running_anything), NT_TEST(many_wakes_are_one))
