/* Cancellation: one delivery at the wait, which may be caught and may be repeated. */
#include <string.h>

#include "support.h"

static void C1_cancelling_a_finished_task_answers_0_and_changes_nothing(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_RETURN(1)));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, "late"), 0);
    assert_int_equal(neap_future_cancel(neap_task_future(task), "late"), 0);
    nt_turns(2);
    assert_int_equal(s.n_wakes, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    nt_no_reports();
    neap_task_unref(task);
}

static void
C2_C13_a_sleeping_task_sees_the_cancel_in_the_next_tick_and_its_timer_goes_at_once(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(10 * NT_SEC)));
    nt_turn();
    assert_int_equal(nt_metrics().timers, 1);
    assert_int_equal(neap_task_cancel(task, "stop"), 1);
    assert_int_equal(nt_metrics().timers, 0);
    assert_int_equal(s.n_wakes, 1);
    assert_state(neap_task_future(task), NEAP_STATE_PENDING);
    nt_turn();
    assert_int_equal(s.wakes[1], NEAP_WAKE_READY);
    assert_int_equal(s.seen_state, NEAP_STATE_CANCELLED);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_true(neap_loop_time(nt.loop) == 0);
    nt_no_reports();
    neap_task_unref(task);
}

static void C2_cancelling_the_future_of_a_task_cancels_the_task(void **state) {
    (void)state;
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(10 * NT_SEC), NT_NOTE("clean"), NT_RETURN(3)));
    nt_turn();
    assert_int_equal(neap_future_cancel(neap_task_future(task), "stop"), 1);
    assert_state(neap_task_future(task), NEAP_STATE_PENDING);
    nt_turn();
    assert_notes("clean");
    assert_int_equal(nt_int(neap_task_future(task)), 3);
    neap_task_unref(task);
}

static void the_text_of_a_cancel_is_kept(void **state) {
    (void)state;
    nt_script s;
    char text[] = "too slow";
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_SEC)));
    assert_string_equal(neap_task_cancel_message(task), "");
    nt_turn();
    assert_int_equal(neap_task_cancel(task, text), 1);
    text[0] = 'X';
    assert_string_equal(neap_task_cancel_message(task), "too slow");
    nt_turn();
    assert_string_equal(neap_future_message(neap_task_future(task)), "too slow");
    neap_task_unref(task);
}

static void C3_the_inner_task_is_cancelled_before_the_outer_sees_it(void **state) {
    (void)state;
    nt_script outer, inner;
    neap_task *b =
        nt_spawn(&inner, "b", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_NOTE("B"), NT_CANCEL_SELF));
    neap_task *a =
        nt_spawn(&outer, "a", NT_ACTS(NT_AWAIT_CATCH(neap_task_future(b)), NT_NOTE("A")));
    nt_turn();
    assert_int_equal(neap_task_cancel(a, NULL), 1);
    nt_settle();
    assert_notes("B A");
    assert_state(neap_task_future(b), NEAP_STATE_CANCELLED);
    assert_int_equal(outer.wakes[1], NEAP_WAKE_READY);
    assert_int_equal(outer.seen_state, NEAP_STATE_CANCELLED);
    assert_int_equal(outer.n_wakes, 2);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void
C4_a_task_that_cancels_itself_and_returns_is_cancelled_and_its_value_dropped(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_CANCEL_SELF, NT_RETURN(5)));
    nt_turn();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_code(neap_future_error(neap_task_future(task)), NEAP_ECANCELED);
    nt_no_reports();
    neap_task_unref(task);
}

static void C4_a_task_that_cancels_itself_sees_it_at_its_next_wait(void **state) {
    (void)state;
    nt_script yields, waits;
    neap_future *future = nt_future();
    neap_task *a = nt_spawn(&yields, "a", NT_ACTS(NT_CANCEL_SELF, NT_YIELD_CATCH, NT_RETURN(5)));
    neap_task *b =
        nt_spawn(&waits, "b", NT_ACTS(NT_CANCEL_SELF, NT_AWAIT_CATCH(future), NT_RETURN(6)));
    nt_turns(3);
    assert_int_equal(yields.wakes[1], NEAP_WAKE_CANCEL);
    assert_int_equal(yields.cancels, 1);
    assert_int_equal(waits.cancels, 1);
    assert_int_equal(nt_int(neap_task_future(a)), 5);
    assert_int_equal(nt_int(neap_task_future(b)), 6);
    neap_future_unref(future);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void C5_a_task_cancelled_before_its_first_step_is_never_entered(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_NOTE("never")));
    nt_on_done(neap_task_future(task), "ended");
    assert_int_equal(neap_task_cancel(task, "early"), 1);
    nt_turns(3);
    assert_notes("ended");
    assert_int_equal(s.n_wakes, 0);
    assert_int_equal(s.destroyed, 1);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_string_equal(neap_future_message(neap_task_future(task)), "early");
    nt_no_reports();
    neap_task_unref(task);
}

static void C6_a_caught_cancel_is_over_and_a_second_one_is_delivered_afresh(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_NOTE("caught"), NT_SLEEP(NT_SEC), NT_NOTE("never")));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, "first"), 1);
    nt_turns(3);
    assert_notes("caught");
    assert_int_equal(s.cancels, 1);
    assert_state(neap_task_future(task), NEAP_STATE_PENDING);
    assert_int_equal(neap_task_cancel(task, "second"), 1);
    nt_turns(3);
    assert_int_equal(s.cancels, 2);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_string_equal(neap_future_message(neap_task_future(task)), "second");
    nt_no_reports();
    neap_task_unref(task);
}

static void C6_a_swallowed_cancel_is_reported_in_debug_mode(void **state) {
    (void)state;
    nt_script s;
    assert_int_equal(neap_loop_debug(nt.loop, 1), 0);
    neap_task *task = nt_spawn(&s, "deaf", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_YIELD, NT_RETURN(1)));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    const nt_report *report = nt_claim(NEAP_REPORT_SWALLOWED);
    assert_string_equal(report->name, "deaf");
    assert_ptr_equal(report->task, task);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
}

static void C6_a_cancel_that_is_let_out_is_not_reported_in_debug_mode(void **state) {
    (void)state;
    nt_script s;
    assert_int_equal(neap_loop_debug(nt.loop, 1), 0);
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_SEC)));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    nt_no_reports();
    neap_task_unref(task);
}

static void cancel_task(void *user) {
    nt_note("%d", (int)neap_task_cancel(*(neap_task **)user, "sibling"));
}

static void C7_a_cancel_from_a_sibling_before_the_last_step_wins(void **state) {
    (void)state;
    nt_script killer, victim;
    neap_task *v = NULL;
    /* Both step in one batch, the killer first; the victim would return there. */
    neap_task *k = nt_spawn(&killer, "k", NT_ACTS(NT_YIELD, NT_CALL(cancel_task, &v)));
    v = nt_spawn(&victim, "v", NT_ACTS(NT_YIELD, NT_RETURN(5)));
    nt_turns(2);
    assert_notes("1");
    assert_int_equal(victim.wakes[1], NEAP_WAKE_CANCEL);
    assert_state(neap_task_future(v), NEAP_STATE_CANCELLED);
    neap_task_unref(k);
    neap_task_unref(v);
}

static void
C7_a_cancel_by_a_callee_in_the_last_step_turns_the_value_into_a_cancellation(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = NULL;
    task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_CALL(cancel_task, &task), NT_RETURN(5)));
    nt_turns(2);
    assert_notes("1");
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void a_task_that_cancels_itself_and_fails_has_failed(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_CANCEL_SELF, NT_FAIL(NEAP_EPIPE)));
    nt_on_done(neap_task_future(task), "x");
    nt_turns(2);
    assert_code(neap_future_error(neap_task_future(task)), NEAP_EPIPE);
    neap_task_unref(task);
}

static void C8_a_cancel_between_two_waits_is_delivered_once(void **state) {
    (void)state;
    nt_script s;
    neap_future *first = nt_future();
    neap_future *second = nt_future();
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_AWAIT_CATCH(first), NT_NOTE("one"),
                                       NT_AWAIT_CATCH(second), NT_NOTE("two"), NT_RETURN(1)));
    nt_turn();
    assert_ok(neap_future_set_int(first, 1));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_turn();
    assert_notes("one");
    assert_int_equal(s.cancels, 1);
    nt_turns(2);
    assert_state(second, NEAP_STATE_PENDING);
    assert_ok(neap_future_set_int(second, 2));
    nt_turn();
    assert_notes("one two");
    assert_int_equal(s.cancels, 1);
    assert_int_equal(s.wakes[2], NEAP_WAKE_READY);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_future_unref(first);
    neap_future_unref(second);
    neap_task_unref(task);
}

static void C8_a_cancel_while_a_new_wait_is_set_up_cancels_what_is_waited_for(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_future *later = nt_future();
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_CANCEL_SELF, NT_AWAIT_CATCH(future), NT_AWAIT_CATCH(later), NT_RETURN(1)));
    nt_turn();
    assert_state(future, NEAP_STATE_CANCELLED);
    nt_turns(3);
    assert_int_equal(s.cancels, 1);
    assert_state(later, NEAP_STATE_PENDING);
    assert_ok(neap_future_set_none(later));
    nt_turn();
    assert_int_equal(s.cancels, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_future_unref(future);
    neap_future_unref(later);
    neap_task_unref(task);
}

static void C9_two_cancels_in_one_tick_are_one_delivery(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_YIELD_CATCH, NT_SLEEP_CATCH(NT_SEC), NT_RETURN(1)));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, "a"), 1);
    assert_int_equal(neap_task_cancel(task, "b"), 1);
    nt_turns(4);
    assert_int_equal(s.cancels, 1);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_settle();
    assert_int_equal(s.cancels, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
}

static void C9_two_cancels_before_the_first_step_are_one(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_RETURN(1)));
    assert_int_equal(neap_task_cancel(task, "a"), 1);
    assert_int_equal(neap_task_cancel(task, "b"), 1);
    nt_turn();
    assert_int_equal(s.n_wakes, 0);
    assert_int_equal(s.destroyed, 1);
    neap_task_unref(task);
}

static void C10_a_cancel_in_the_tick_of_the_completion_wins_and_the_value_stays(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_ok(neap_future_set_int(future, 7));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_turn();
    assert_int_equal(s.wakes[1], NEAP_WAKE_CANCEL);
    assert_int_equal(s.seen_state, NEAP_STATE_RESULT);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_int_equal(nt_int(future), 7);
    neap_future_unref(future);
    neap_task_unref(task);
}

static void C10_a_cancel_and_then_a_completion_is_a_cancel(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_code(neap_future_set_int(future, 7), NEAP_EINVALID_STATE);
    nt_turn();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_future_unref(future);
    neap_task_unref(task);
}

static void C10_the_failure_that_lost_to_a_cancel_is_still_reported_to_nobody_twice(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_ok(neap_future_set_error(future, NEAP_EPIPE, NULL));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_turns(3);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_true(nt.n_reports <= 1);
    nt_claim_all();
    neap_future_unref(future);
    nt_turns(2);
    nt_no_reports();
    neap_task_unref(task);
}

static void C11_a_future_cancelled_by_somebody_else_raises_in_the_waiter(void **state) {
    (void)state;
    nt_script out, caught;
    neap_future *future = nt_future();
    neap_task *a = nt_spawn(&out, "a", NT_ACTS(NT_AWAIT(future), NT_RETURN(1)));
    neap_task *b = nt_spawn(&caught, "b", NT_ACTS(NT_AWAIT_CATCH(future), NT_RETURN(2)));
    nt_turn();
    assert_int_equal(neap_future_cancel(future, "somebody"), 1);
    nt_turn();
    assert_int_equal(out.wakes[1], NEAP_WAKE_READY);
    assert_state(neap_task_future(a), NEAP_STATE_CANCELLED);
    assert_int_equal(nt_int(neap_task_future(b)), 2);
    neap_future_unref(future);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void C12_the_shutdown_cancels_all_tasks_and_lets_them_clean_up(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_YIELD, NT_NOTE("A")));
    neap_task *b =
        nt_spawn(&sb, "b", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_SLEEP(NT_MS), NT_NOTE("B")));
    nt_turn();
    assert_int_equal(neap_loop_shutdown(nt.loop, 10 * NT_SEC), 0);
    assert_notes("A B");
    assert_int_equal(nt_metrics().tasks, 0);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void C12_a_failing_cleanup_is_reported_once_with_the_name_of_the_task(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(
        nt_spawn(&s, "bad cleaner", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_FAIL(NEAP_EPIPE))));
    nt_turn();
    assert_int_equal(neap_loop_shutdown(nt.loop, NT_SEC), 0);
    const nt_report *report = nt_claim(NEAP_REPORT_UNHANDLED);
    assert_string_equal(report->name, "bad cleaner");
    assert_int_equal(report->code, NEAP_EPIPE);
}

static void several_waiters_of_one_future_are_cancelled_with_it(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_future *future = nt_future();
    neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_AWAIT(future)));
    neap_task *b = nt_spawn(&sb, "b", NT_ACTS(NT_AWAIT(future)));
    nt_turn();
    /* As in asyncio: cancelling a task cancels what it awaits, for all who wait for it. */
    assert_int_equal(neap_task_cancel(a, NULL), 1);
    nt_turn();
    assert_state(future, NEAP_STATE_CANCELLED);
    assert_state(neap_task_future(a), NEAP_STATE_CANCELLED);
    assert_state(neap_task_future(b), NEAP_STATE_CANCELLED);
    neap_future_unref(future);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void a_cycle_of_awaiting_tasks_can_be_cancelled(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_future *fa = NULL;
    neap_future *fb = NULL;
    neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_AWAIT_LATE(&fb)));
    neap_task *b = nt_spawn(&sb, "b", NT_ACTS(NT_AWAIT_LATE(&fa)));
    fa = neap_task_future(a);
    fb = neap_task_future(b);
    nt_turns(2);
    (void)neap_task_cancel(a, NULL);
    nt_turns(4);
    if (!neap_future_done(fa) || !neap_future_done(fb)) {
        /* Nobody in the ring can be first: the shutdown still ends it. */
        assert_int_equal(neap_loop_shutdown(nt.loop, NT_SEC), 2);
        assert_int_equal(nt_reports_of(NEAP_REPORT_ABORTED), 2);
        nt_claim_all();
    }
    assert_state(fa, NEAP_STATE_CANCELLED);
    assert_state(fb, NEAP_STATE_CANCELLED);
    neap_task_unref(a);
    neap_task_unref(b);
}

/* A future through which one task waits for another. */
static neap_future *link_to(neap_future *future, int kind) {
    neap_future *made = NULL;
    switch (kind) {
    case 0:
        return neap_future_ref(future);
    case 1:
        assert_ok(neap_wait_for(future, NT_SEC, &made));
        break;
    case 2:
        assert_ok(neap_gather(nt.loop, &future, 1, 0, &made));
        break;
    case 3:
        assert_ok(neap_shield(future, &made));
        break;
    default:
        assert_ok(neap_wait(nt.loop, &future, 1, NEAP_WAIT_ALL, -1, &made));
        break;
    }
    return made;
}

static void rings_of_all_kinds_of_waits_can_be_cancelled(void **state) {
    (void)state;
    /* Two tasks that wait for each other, each in one of five ways; then up to three cancels,
       with or without a tick in between; then a shutdown. */
    for (int code = 0; code < 5 * 5 * 3 * 3 * 3 * 8; code++) {
        int rest = code;
        nt_script sa, sb;
        neap_future *to_a = NULL, *to_b = NULL;
        neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_AWAIT_LATE(&to_b)));
        neap_task *b = nt_spawn(&sb, "b", NT_ACTS(NT_AWAIT_LATE(&to_a)));
        to_a = link_to(neap_task_future(a), rest % 5);
        rest /= 5;
        to_b = link_to(neap_task_future(b), rest % 5);
        rest /= 5;
        int ticks = rest % 8;
        rest /= 8;
        nt_turn();
        for (int i = 0; i < 3; i++, rest /= 3) {
            if (rest % 3 == 1)
                neap_task_cancel(a, "a");
            else if (rest % 3 == 2)
                neap_task_cancel(b, "b");
            if (ticks & (1 << i))
                nt_turn();
        }
        nt_settle();
        assert_true(neap_loop_shutdown(nt.loop, 0) >= 0);
        nt_claim_all();
        /* Cancelled, or with what the other's end gave it. */
        assert_int_equal(neap_future_done(neap_task_future(a)), 1);
        assert_int_equal(neap_future_done(neap_task_future(b)), 1);
        assert_int_equal(sa.destroyed, 1);
        assert_int_equal(sb.destroyed, 1);
        neap_future_unref(to_a);
        neap_future_unref(to_b);
        neap_task_unref(a);
        neap_task_unref(b);
        nt_turn();
    }
}

static void a_task_that_cancels_itself_and_then_closes_a_ring_ends(void **state) {
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        nt_script sa, sb;
        neap_future *to_a = NULL, *to_b = NULL;
        neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_YIELD, NT_CANCEL_SELF, NT_AWAIT_LATE(&to_b)));
        neap_task *b = nt_spawn(&sb, "b", NT_ACTS(NT_AWAIT_LATE(&to_a)));
        to_a = link_to(neap_task_future(a), kind);
        to_b = link_to(neap_task_future(b), kind);
        nt_settle();
        assert_int_equal(neap_future_done(neap_task_future(a)), 1);
        assert_int_equal(neap_future_done(neap_task_future(b)), 1);
        neap_future_unref(to_a);
        neap_future_unref(to_b);
        neap_task_unref(a);
        neap_task_unref(b);
        nt_turn();
    }
}

static void a_cancel_of_a_deep_chain_of_tasks_needs_no_deep_stack(void **state) {
    (void)state;
    enum {
        N = 20000
    };
    static nt_script scripts[N];
    static nt_act acts[N][2];
    static neap_task *tasks[N];
    neap_future *future = nt_future();
    for (int i = 0; i < N; i++) {
        acts[i][0] = (nt_act)NT_AWAIT(i == 0 ? future : neap_task_future(tasks[i - 1]));
        acts[i][1] = (nt_act){.what = NT_DO_END};
        tasks[i] = nt_spawn(&scripts[i], NULL, acts[i]);
    }
    nt_turn();
    assert_int_equal(neap_task_cancel(tasks[N - 1], NULL), 1);
    nt_until_task(tasks[N - 1]);
    assert_state(future, NEAP_STATE_CANCELLED);
    for (int i = 0; i < N; i++) {
        assert_state(neap_task_future(tasks[i]), NEAP_STATE_CANCELLED);
        neap_task_unref(tasks[i]);
    }
    neap_future_unref(future);
}

/* ---- Abort: the end without another step ----------------------------------------------------- */

static void D10_an_aborted_task_takes_no_further_step_and_its_wait_ends(void **state) {
    (void)state;
    nt_script waits, fresh, ready;
    neap_task *a = nt_spawn(&waits, "a", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_NOTE("never")));
    neap_task *b = nt_spawn(&ready, "b", NT_ACTS(NT_YIELD, NT_NOTE("never")));
    nt_turn();
    neap_task *c = nt_spawn(&fresh, "c", NT_ACTS(NT_NOTE("never")));
    nt_on_done(neap_task_future(a), "ended");
    neap_task *tasks[3] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(neap_task_abort(tasks[i]), 1);
        assert_state(neap_task_future(tasks[i]), NEAP_STATE_CANCELLED);
        assert_int_equal(neap_task_abort(tasks[i]), 0);
    }
    assert_int_equal(waits.destroyed + ready.destroyed + fresh.destroyed, 3);
    assert_int_equal(nt_metrics().timers, 0);
    assert_int_equal(nt_metrics().tasks, 0);
    nt_settle();
    assert_notes("ended");
    nt_no_reports();
    for (int i = 0; i < 3; i++)
        neap_task_unref(tasks[i]);
}

static void abort_task(void *user) {
    nt_note("%s", neap_err_name(neap_task_abort(*(neap_task **)user)));
}

static void a_task_cannot_abort_itself(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = NULL;
    task = nt_spawn(&s, "t", NT_ACTS(NT_CALL(abort_task, &task), NT_RETURN(1)));
    nt_turn();
    assert_notes("EINVALID_STATE");
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
}

static void abort_quietly(void *user) {
    nt_note("%d", (int)neap_task_abort(*(neap_task **)user));
}

static void a_task_aborts_another_that_waits_for_it(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_task *b = NULL;
    neap_task *a =
        nt_spawn(&sa, "a", NT_ACTS(NT_YIELD, NT_CALL(abort_quietly, &b), NT_YIELD, NT_RETURN(1)));
    b = nt_spawn(&sb, "b", NT_ACTS(NT_AWAIT(neap_task_future(a)), NT_NOTE("never")));
    nt_settle();
    assert_notes("1");
    assert_state(neap_task_future(b), NEAP_STATE_CANCELLED);
    assert_int_equal(sb.destroyed, 1);
    /* What it awaited was cancelled: that is the first one. */
    assert_state(neap_task_future(a), NEAP_STATE_CANCELLED);
    neap_task_unref(a);
    neap_task_unref(b);
}

/* ---- Every schedule of a completion, a cancel and another cancel ----------------------------- */

struct schedule {
    neap_future *future;
    neap_task *task;
    int completed;
};

static void do_complete(void *user) {
    struct schedule *s = user;
    s->completed += neap_future_set_int(s->future, 1) == 0;
}

static void do_cancel(void *user) {
    struct schedule *s = user;
    neap_task_cancel(s->task, NULL);
}

static void do_cancel_future(void *user) {
    struct schedule *s = user;
    neap_future_cancel(s->future, NULL);
}

static void every_order_of_completion_and_cancels_ends_the_task_once(void **state) {
    (void)state;
    static neap_fn const moves[] = {NULL, do_complete, do_cancel, do_cancel_future};
    for (int code = 0; code < 4 * 4 * 4 * 4 * 2; code++) {
        nt_script script;
        struct schedule s = {nt_future(), NULL, 0};
        s.task = nt_spawn(&script, "t", NT_ACTS(NT_AWAIT(s.future), NT_PASS));
        int rest = code;
        if (rest % 2)
            nt_turn();
        rest /= 2;
        for (int i = 0; i < 4; i++, rest /= 4) {
            if (moves[rest % 4] != NULL)
                assert_ok(neap_call_soon(nt.loop, moves[rest % 4], &s, NULL, NULL));
            if (i == 1)
                nt_turn();
        }
        nt_settle();
        do_cancel(&s);
        nt_settle();
        int32_t ended = neap_future_state(neap_task_future(s.task));
        assert_true(ended == NEAP_STATE_RESULT || ended == NEAP_STATE_CANCELLED);
        /* A value that was set is in the task or still in the future. */
        if (s.completed)
            assert_int_equal(nt_int(s.future), 1);
        assert_int_equal(script.destroyed, 1);
        assert_true(script.n_wakes <= 2);
        assert_int_equal(script.overlapped, 0);
        neap_task_unref(s.task);
        neap_future_unref(s.future);
    }
}

NT_MAIN(NT_TEST(C1_cancelling_a_finished_task_answers_0_and_changes_nothing),
        NT_TEST_VIRTUAL(
            C2_C13_a_sleeping_task_sees_the_cancel_in_the_next_tick_and_its_timer_goes_at_once),
        NT_TEST_VIRTUAL(C2_cancelling_the_future_of_a_task_cancels_the_task),
        NT_TEST_VIRTUAL(the_text_of_a_cancel_is_kept),
        NT_TEST_VIRTUAL(C3_the_inner_task_is_cancelled_before_the_outer_sees_it),
        NT_TEST(C4_a_task_that_cancels_itself_and_returns_is_cancelled_and_its_value_dropped),
        NT_TEST(C4_a_task_that_cancels_itself_sees_it_at_its_next_wait),
        NT_TEST(C5_a_task_cancelled_before_its_first_step_is_never_entered),
        NT_TEST_VIRTUAL(C6_a_caught_cancel_is_over_and_a_second_one_is_delivered_afresh),
        NT_TEST_VIRTUAL(C6_a_swallowed_cancel_is_reported_in_debug_mode),
        NT_TEST_VIRTUAL(C6_a_cancel_that_is_let_out_is_not_reported_in_debug_mode),
        NT_TEST(C7_a_cancel_from_a_sibling_before_the_last_step_wins),
        NT_TEST(C7_a_cancel_by_a_callee_in_the_last_step_turns_the_value_into_a_cancellation),
        NT_TEST(a_task_that_cancels_itself_and_fails_has_failed),
        NT_TEST(C8_a_cancel_between_two_waits_is_delivered_once),
        NT_TEST(C8_a_cancel_while_a_new_wait_is_set_up_cancels_what_is_waited_for),
        NT_TEST_VIRTUAL(C9_two_cancels_in_one_tick_are_one_delivery),
        NT_TEST(C9_two_cancels_before_the_first_step_are_one),
        NT_TEST(C10_a_cancel_in_the_tick_of_the_completion_wins_and_the_value_stays),
        NT_TEST(C10_a_cancel_and_then_a_completion_is_a_cancel),
        NT_TEST(C10_the_failure_that_lost_to_a_cancel_is_still_reported_to_nobody_twice),
        NT_TEST(C11_a_future_cancelled_by_somebody_else_raises_in_the_waiter),
        NT_TEST_VIRTUAL(C12_the_shutdown_cancels_all_tasks_and_lets_them_clean_up),
        NT_TEST_VIRTUAL(C12_a_failing_cleanup_is_reported_once_with_the_name_of_the_task),
        NT_TEST(several_waiters_of_one_future_are_cancelled_with_it),
        NT_TEST_VIRTUAL(a_cycle_of_awaiting_tasks_can_be_cancelled),
        NT_TEST_VIRTUAL(rings_of_all_kinds_of_waits_can_be_cancelled),
        NT_TEST_VIRTUAL(a_task_that_cancels_itself_and_then_closes_a_ring_ends),
        NT_TEST(a_cancel_of_a_deep_chain_of_tasks_needs_no_deep_stack),
        NT_TEST_VIRTUAL(D10_an_aborted_task_takes_no_further_step_and_its_wait_ends),
        NT_TEST(a_task_cannot_abort_itself), NT_TEST(a_task_aborts_another_that_waits_for_it),
        NT_TEST(every_order_of_completion_and_cancels_ends_the_task_once))
