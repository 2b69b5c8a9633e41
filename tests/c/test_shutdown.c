/* The shutdown: its steps and their order, who is told, graces, and that it ends. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support.h"

/* Notes each step and how many tasks are alive. */
static void note_step(neap_loop *loop, const neap_shutdown_step *step, void *user) {
    static const char *const words[] = {"?", "stop", "cancel", "abort", "done", "waiting"};
    (void)loop;
    (void)user;
    nt_note("%s:%d", words[step->step], (int)step->tasks);
}

/* Without the repeated one. */
static void note_main_steps(neap_loop *loop, const neap_shutdown_step *step, void *user) {
    if (step->step != NEAP_SHUTDOWN_WAITING)
        note_step(loop, step, user);
}

static int32_t end(int64_t stop_grace_ns, int64_t grace_ns, neap_shutdown_fn fn) {
    const neap_shutdown_options o = {
        .size = sizeof o, .stop_grace_ns = stop_grace_ns, .grace_ns = grace_ns, .fn = fn};
    return neap_loop_shutdown_with(nt.loop, &o);
}

static void on_shutdown(const char *word) {
    assert_ok(neap_loop_on_shutdown(nt.loop, nt_note_fn, NT_WORD(word), NULL, NULL));
}

/* ---- The steps -------------------------------------------------------------------------------- */

static void D16_intake_stops_then_grace_then_cancel_then_grace_then_abort(void **state) {
    (void)state;
    nt_script quick, polite, stubborn;
    neap_task_unref(
        nt_spawn(&quick, "quick", NT_ACTS(NT_SLEEP(2 * NT_SEC), NT_NOTE("quick-ends"))));
    neap_task_unref(nt_spawn(&polite, "polite",
                             NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_NOTE("polite-cleans-up"))));
    neap_task_unref(
        nt_spawn(&stubborn, "stubborn", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_AGAIN)));
    on_shutdown("hook");
    nt_turn();
    assert_int_equal(end(3 * NT_SEC, 4 * NT_SEC, note_main_steps), 1);
    assert_notes("stop:3 hook quick-ends cancel:2 polite-cleans-up abort:1 done:0");
    assert_string_equal(nt_claim(NEAP_REPORT_ABORTED)->name, "stubborn");
    assert_true(neap_loop_time(nt.loop) == 7 * NT_SEC);
    assert_int_equal(polite.cancels, 1);
    assert_int_equal(quick.cancels, 0);
    assert_int_equal(quick.destroyed + polite.destroyed + stubborn.destroyed, 3);
}

static void D16_without_listeners_tasks_are_cancelled_at_once(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_SEC), NT_NOTE("never"))));
    nt_turn();
    assert_int_equal(neap_loop_shutdown_with(nt.loop, NULL), 0);
    assert_notes("");
    assert_true(neap_loop_time(nt.loop) == 0);
    assert_int_equal(s.cancels, 1);
}

static void D16_with_a_listener_tasks_have_ten_seconds_to_end_by_themselves(void **state) {
    (void)state;
    nt_script quick, slow;
    neap_task_unref(nt_spawn(&quick, "quick", NT_ACTS(NT_SLEEP(9 * NT_SEC), NT_NOTE("quick"))));
    neap_task_unref(nt_spawn(&slow, "slow", NT_ACTS(NT_SLEEP(11 * NT_SEC), NT_NOTE("slow"))));
    on_shutdown("hook");
    nt_turn();
    assert_int_equal(neap_loop_shutdown_with(nt.loop, NULL), 0);
    assert_notes("hook quick");
    assert_true(neap_loop_time(nt.loop) == 10 * NT_SEC);
    assert_int_equal(slow.cancels, 1);
}

static void D16_a_grace_ends_with_the_last_task(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(2 * NT_SEC))));
    nt_turn();
    assert_int_equal(end(60 * NT_SEC, 60 * NT_SEC, note_main_steps), 0);
    assert_notes("stop:1 done:0");
    assert_true(neap_loop_time(nt.loop) == 2 * NT_SEC);
}

static void D16_a_grace_ends_when_nothing_can_wake_who_is_left(void **state) {
    (void)state;
    nt_script s;
    neap_future *never = nt_future();
    neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_AWAIT_CATCH(never), NT_AWAIT_CATCH(never))));
    nt_turn();
    assert_int_equal(end(60 * NT_SEC, 60 * NT_SEC, note_main_steps), 0);
    assert_notes("stop:1 cancel:1 done:0");
    assert_true(neap_loop_time(nt.loop) == 0);
    neap_future_unref(never);
}

static void D16_the_stop_grace_counts_from_the_beginning(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC)));
    nt_turn();
    assert_int_equal(neap_loop_begin_shutdown(nt.loop, "enough"), 1);
    assert_ok(neap_loop_advance(nt.loop, 4 * NT_SEC));
    assert_int_equal(end(5 * NT_SEC, -1, NULL), 0);
    assert_true(neap_loop_time(nt.loop) == 5 * NT_SEC);
    assert_string_equal(neap_task_cancel_message(task), "enough");
    neap_task_unref(task);
}

static void D16_the_first_task_has_ended_before_the_others_are_cancelled(void **state) {
    (void)state;
    nt_script first, other;
    neap_task *task = nt_spawn(
        &first, "main", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_SLEEP(NT_SEC), NT_NOTE("main")));
    neap_task_unref(
        nt_spawn(&other, "other", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_NOTE("other"))));
    nt_turn();
    const neap_shutdown_options o = {.size = sizeof o, .first = task};
    assert_int_equal(neap_loop_shutdown_with(nt.loop, &o), 0);
    assert_notes("main other");
    assert_true(neap_loop_time(nt.loop) == NT_SEC);
    neap_task_unref(task);
}

static void D16_a_first_task_that_does_not_end_leaves_the_others_their_cancellation(void **state) {
    (void)state;
    nt_script first, other;
    neap_task *task =
        nt_spawn(&first, "main", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_SLEEP(90 * NT_SEC)));
    neap_task_unref(
        nt_spawn(&other, "other", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_NOTE("other"))));
    nt_turn();
    const neap_shutdown_options o = {.size = sizeof o, .first = task, .grace_ns = 2 * NT_SEC};
    assert_int_equal(neap_loop_shutdown_with(nt.loop, &o), 1);
    assert_string_equal(nt_claim(NEAP_REPORT_ABORTED)->name, "main");
    assert_notes("other");
    assert_true(neap_loop_time(nt.loop) == 2 * NT_SEC);
    neap_task_unref(task);
}

static void complete(void *user) {
    assert_ok(neap_future_set_none(user));
}

static void
D16_others_are_cancelled_when_the_first_waits_for_what_only_they_can_give(void **state) {
    (void)state;
    nt_script first, other;
    neap_future *future = nt_future(), *never = nt_future();
    neap_task *task = nt_spawn(
        &first, "main", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_AWAIT(future), NT_NOTE("main")));
    neap_task_unref(
        nt_spawn(&other, "other",
                 NT_ACTS(NT_AWAIT_CATCH(never), NT_NOTE("other"), NT_CALL(complete, future))));
    nt_turn();
    const neap_shutdown_options o = {.size = sizeof o, .first = task};
    assert_int_equal(neap_loop_shutdown_with(nt.loop, &o), 0);
    assert_notes("other main");
    neap_future_unref(never);
    neap_future_unref(future);
    neap_task_unref(task);
}

static void raise_soon(void *user) {
    (void)user;
    nt_note("raise");
    assert_ok(neap_loop_raise(nt.loop, 1));
}

static void D16_a_raise_ends_the_graces_and_all_are_cancelled_and_aborted(void **state) {
    (void)state;
    nt_script polite, stubborn;
    neap_task_unref(
        nt_spawn(&polite, "polite", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_NOTE("polite"))));
    neap_task_unref(
        nt_spawn(&stubborn, "stubborn", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_AGAIN)));
    assert_ok(neap_call_later(nt.loop, 2 * NT_SEC, raise_soon, NULL, NULL, NULL));
    nt_turn();
    assert_int_equal(end(60 * NT_SEC, 60 * NT_SEC, note_main_steps), 1);
    assert_notes("stop:2 raise cancel:2 polite abort:1 done:0");
    assert_true(neap_loop_time(nt.loop) == 2 * NT_SEC);
    (void)nt_claim(NEAP_REPORT_ABORTED);
}

static void D16_tasks_that_never_wait_end_on_a_clock_that_stands(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "busy", NT_ACTS(NT_YIELD_CATCH, NT_AGAIN)));
    nt_turn();
    assert_int_equal(end(NT_SEC, NT_SEC, NULL), 1);
    assert_string_equal(nt_claim(NEAP_REPORT_ABORTED)->name, "busy");
}

/* ---- Who is told ------------------------------------------------------------------------------ */

static char told[8192];

static void keep_text(neap_loop *loop, const neap_shutdown_step *step, void *user) {
    (void)loop;
    (void)user;
    assert_int_equal(step->size, sizeof *step);
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", step->text);
}

static void note_log(neap_loop *loop, int32_t level, const char *text, void *user) {
    (void)loop;
    (void)user;
    if (level == NEAP_LOG_INFO && strncmp(text, "shutdown", 8) == 0)
        nt_note("%s", text);
}

static void D16_each_step_is_logged_with_the_names_of_those_who_are_alive(void **state) {
    (void)state;
    nt_script a, b;
    assert_ok(neap_loop_set_log_hook(nt.loop, note_log, NULL, NULL));
    neap_task_unref(nt_spawn(&a, "alpha", NT_ACTS(NT_SLEEP(NT_SEC))));
    neap_task_unref(nt_spawn(&b, "beta", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_AGAIN)));
    nt_turn();
    assert_int_equal(neap_loop_begin_shutdown(nt.loop, "terminated"), 1);
    assert_int_equal(end(-1, NT_SEC / 2, NULL), 1);
    assert_notes("shutdown (terminated) begins with 2 tasks after 0.000 s: alpha, beta "
                 "shutdown cancels 2 tasks after 0.000 s: alpha, beta "
                 "shutdown aborts 1 task after 0.500 s: beta "
                 "shutdown is over after 0.500 s");
    nt_claim_all();
}

static void D16_while_it_waits_it_tells_so_once_a_second(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(
        nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_SLEEP(3500 * NT_MS))));
    nt_turn();
    assert_int_equal(end(-1, 10 * NT_SEC, note_step), 0);
    assert_notes("stop:1 cancel:1 waiting:1 waiting:1 waiting:1 done:0");
}

static void D16_ten_are_named_and_the_others_counted(void **state) {
    (void)state;
    static nt_script scripts[13];
    static const nt_act acts[] = {NT_SLEEP(NT_SEC), {.what = NT_DO_END}};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        neap_task_unref(nt_spawn(&scripts[i], "worker", acts));
    nt_turn();
    told[0] = '\0';
    assert_int_equal(end(-1, NT_SEC, keep_text), 0);
    assert_non_null(strstr(told, "cancels 13 tasks after 0.000 s: worker, worker"));
    assert_non_null(strstr(told, "worker and 3 more\n"));
}

static void D16_hooks_run_once_in_order_of_registration(void **state) {
    (void)state;
    neap_handle *cancelled = NULL;
    int destroyed = 0;
    on_shutdown("a");
    assert_ok(neap_loop_on_shutdown(nt.loop, nt_note_fn, NT_WORD("b"), NULL, &cancelled));
    assert_ok(neap_loop_on_shutdown(nt.loop, nt_count_fn, &destroyed, nt_count_fn, NULL));
    on_shutdown("c");
    assert_int_equal(neap_handle_cancel(cancelled), 1);
    assert_int_equal(neap_handle_cancel(cancelled), 0);
    neap_handle_unref(cancelled);
    assert_int_equal(neap_loop_begin_shutdown(nt.loop, NULL), 1);
    assert_notes(""); /* the batch calls them */
    assert_int_equal(neap_loop_begin_shutdown(nt.loop, NULL), 0);
    nt_turns(2);
    assert_notes("a c");
    assert_int_equal(destroyed, 2); /* called, then let go */
    assert_int_equal(neap_loop_shutting_down(nt.loop), 1);
    on_shutdown("late");
    nt_turn();
    assert_notes("a c late");
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    assert_int_equal(neap_loop_shutting_down(nt.loop), 0);
}

static void D16_hooks_have_run_before_anybody_is_cancelled(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(90 * NT_SEC), NT_NOTE("cancelled"))));
    on_shutdown("hook");
    nt_turn();
    assert_int_equal(neap_loop_shutdown(nt.loop, NT_SEC), 0);
    assert_notes("hook cancelled");
}

static void D16_futures_complete_when_a_shutdown_begins(void **state) {
    (void)state;
    neap_future *awaited, *unwanted, *forgotten, *none = NULL;
    assert_code(neap_loop_shutdown_begun(nt.loop, &awaited), NEAP_PENDING);
    assert_code(neap_loop_shutdown_begun(nt.loop, &unwanted), NEAP_PENDING);
    assert_code(neap_loop_shutdown_begun(nt.loop, &forgotten), NEAP_PENDING);
    nt_on_done(awaited, "begun");
    assert_int_equal(neap_future_cancel(unwanted, "no"), 1);
    neap_future_unref(forgotten);
    assert_int_equal(neap_loop_begin_shutdown(nt.loop, NULL), 1);
    assert_state(awaited, NEAP_STATE_RESULT);
    assert_state(unwanted, NEAP_STATE_CANCELLED);
    assert_code(neap_loop_shutdown_begun(nt.loop, &none), 0);
    assert_null(none);
    nt_turn();
    assert_notes("begun");
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    neap_future_unref(awaited);
    neap_future_unref(unwanted);
}

static void D16_a_loop_that_closes_ends_hooks_and_futures(void **state) {
    (void)state;
    int destroyed = 0;
    neap_future *future;
    neap_loop *loop = nt_loop_new(0);
    assert_ok(neap_loop_on_shutdown(loop, nt_note_fn, &destroyed, nt_count_fn, NULL));
    assert_code(neap_loop_shutdown_begun(loop, &future), NEAP_PENDING);
    assert_ok(neap_loop_close(loop, 0));
    assert_int_equal(destroyed, 1);
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    neap_loop_unref(loop);
    assert_notes("");
}

static void no_signal(int32_t signo, void *user) {
    (void)signo;
    (void)user;
}

static void begin(void *user) {
    assert_int_equal(neap_loop_begin_shutdown(user, NULL), 1);
}

static void D16_who_waits_for_a_shutdown_is_deadlocked_unless_a_signal_is_watched(void **state) {
    (void)state;
    neap_future *future;
    neap_handle *watch;
    assert_code(neap_loop_shutdown_begun(nt.loop, &future), NEAP_PENDING);
    assert_code(neap_loop_run_until(nt.loop, future), NEAP_EDEADLOCK);
    assert_non_null(strstr(nt_claim(NEAP_REPORT_DEADLOCK)->message, "nothing can ever wake"));
    assert_ok(neap_signal_watch(nt.loop, SIGUSR1, 0, no_signal, NULL, NULL, &watch));
    assert_ok(neap_loop_post(nt.loop, begin, nt.loop, NULL));
    nt_until(future);
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    assert_int_equal(neap_handle_cancel(watch), 1);
    neap_handle_unref(watch);
    neap_future_unref(future);
}

static void D16_a_shutdown_can_follow_a_shutdown(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        nt_script s;
        on_shutdown("hook");
        neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(20 * NT_SEC))));
        nt_turn();
        assert_int_equal(neap_loop_shutdown(nt.loop, NT_SEC), 0);
        assert_int_equal(s.cancels, 1);
    }
    assert_notes("hook hook");
}

static void shut_down_inside(void *user) {
    (void)user;
    assert_code(neap_loop_shutdown_with(nt.loop, NULL), NEAP_EREENTRANT);
    nt_note("refused");
}

static void D16_wrong_options_and_places_are_refused(void **state) {
    (void)state;
    struct {
        neap_shutdown_options o;
        char more[8];
    } future = {.o = {.size = sizeof future}};
    neap_shutdown_options small = {.size = 1};
    nt_script s;
    neap_loop *other = nt_loop_new(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_task *task = nt_spawn_on(other, &s, "t", NT_ACTS(NT_YIELD));
    const neap_shutdown_options foreign = {.size = sizeof foreign, .first = task};
    assert_code(neap_loop_shutdown_with(nt.loop, &small), NEAP_EINVAL);
    assert_code(neap_loop_shutdown_with(nt.loop, &foreign), NEAP_EOTHER_LOOP);
    assert_int_equal(neap_loop_shutdown_with(nt.loop, &future.o), 0);
    future.more[0] = 1;
    assert_code(neap_loop_shutdown_with(nt.loop, &future.o), NEAP_E2BIG);
    assert_int_equal(neap_loop_shutting_down(nt.loop), 0);
    assert_ok(neap_call_soon(nt.loop, shut_down_inside, NULL, NULL, NULL));
    nt_turn();
    assert_notes("refused");
    assert_int_equal(neap_loop_shutdown(other, NT_SEC), 0);
    neap_task_unref(task);
    nt_loop_end(other);
}

NT_MAIN(NT_TEST_VIRTUAL(D16_intake_stops_then_grace_then_cancel_then_grace_then_abort),
        NT_TEST_VIRTUAL(D16_without_listeners_tasks_are_cancelled_at_once),
        NT_TEST_VIRTUAL(D16_with_a_listener_tasks_have_ten_seconds_to_end_by_themselves),
        NT_TEST_VIRTUAL(D16_a_grace_ends_with_the_last_task),
        NT_TEST_VIRTUAL(D16_a_grace_ends_when_nothing_can_wake_who_is_left),
        NT_TEST_VIRTUAL(D16_the_stop_grace_counts_from_the_beginning),
        NT_TEST_VIRTUAL(D16_the_first_task_has_ended_before_the_others_are_cancelled),
        NT_TEST_VIRTUAL(D16_a_first_task_that_does_not_end_leaves_the_others_their_cancellation),
        NT_TEST_VIRTUAL(D16_others_are_cancelled_when_the_first_waits_for_what_only_they_can_give),
        NT_TEST_VIRTUAL(D16_a_raise_ends_the_graces_and_all_are_cancelled_and_aborted),
        NT_TEST_VIRTUAL(D16_tasks_that_never_wait_end_on_a_clock_that_stands),
        NT_TEST_VIRTUAL(D16_each_step_is_logged_with_the_names_of_those_who_are_alive),
        NT_TEST_VIRTUAL(D16_while_it_waits_it_tells_so_once_a_second),
        NT_TEST_VIRTUAL(D16_ten_are_named_and_the_others_counted),
        NT_TEST(D16_hooks_run_once_in_order_of_registration),
        NT_TEST_VIRTUAL(D16_hooks_have_run_before_anybody_is_cancelled),
        NT_TEST(D16_futures_complete_when_a_shutdown_begins),
        NT_TEST_BARE(D16_a_loop_that_closes_ends_hooks_and_futures),
        NT_TEST(D16_who_waits_for_a_shutdown_is_deadlocked_unless_a_signal_is_watched),
        NT_TEST_VIRTUAL(D16_a_shutdown_can_follow_a_shutdown),
        NT_TEST_VIRTUAL(D16_wrong_options_and_places_are_refused))
