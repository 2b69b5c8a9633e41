/* A wake-up is one: the ways in which runtimes have resumed a cancelled task a second time, or woken it in its next wait by
   what the former one left.  Each ends with a task that then waits for something else, undisturbed. */
#include "support.h"

/* What the victim does after its first wait: three more turns in a wait that nobody touches. */
#define THEN_WAITS(quiet) NT_AWAIT_CATCH(quiet), NT_RETURN(7)

/* The second wait was not disturbed; it ends now, and the task with it. */
static void assert_undisturbed(nt_script *s, neap_task *task, neap_future *quiet) {
    int wakes = s->n_wakes;
    nt_turns(5);
    assert_int_equal(s->n_wakes, wakes);
    assert_ok(neap_future_set_none(quiet));
    nt_settle();
    assert_int_equal(s->n_wakes, wakes + 1);
    assert_int_equal(nt_int(neap_task_future(task)), 7);
    assert_int_equal(s->destroyed, 1);
    assert_int_equal(s->overlapped, 0);
    neap_future_unref(quiet);
    neap_task_unref(task);
}

static void C5_cancelled_before_its_start_it_is_never_resumed(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_NOTE("never")));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_int_equal(neap_task_cancel(task, NULL), 0);
    nt_turns(3);
    assert_int_equal(s.n_wakes, 0);
    assert_int_equal(s.destroyed, 1);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void C10_cancelled_while_an_item_is_handed_over_it_is_resumed_once(void **state) {
    (void)state;
    neap_chan *chan;
    neap_value value;
    neap_future *receives, *quiet = nt_future();
    nt_script s;
    assert_ok(neap_chan_new(nt.loop, 0, &chan));
    assert_code(neap_chan_recv(chan, &value, sizeof value, &receives), NEAP_PENDING);
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(receives), NT_YIELD_CATCH, THEN_WAITS(quiet)));
    nt_turn();
    assert_ok(neap_chan_send_int(chan, 5, NULL));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_turn();
    assert_int_equal(s.seen_int, 5);
    nt_turns(2);
    assert_int_equal(s.cancels, 1);
    assert_code(neap_chan_send_int(chan, 6, NULL), NEAP_EAGAIN);
    assert_undisturbed(&s, task, quiet);
    neap_future_unref(receives);
    neap_chan_unref(chan);
}

static void C10_cancelled_and_then_completed_it_is_resumed_once(void **state) {
    (void)state;
    neap_future *first = nt_future(), *quiet = nt_future();
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT_CATCH(first), THEN_WAITS(quiet)));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_code(neap_future_set_int(first, 1), NEAP_EINVALID_STATE);
    nt_turn();
    assert_int_equal(s.cancels, 1);
    assert_undisturbed(&s, task, quiet);
    neap_future_unref(first);
}

static void C10_completed_and_then_cancelled_it_is_resumed_once(void **state) {
    (void)state;
    neap_future *first = nt_future(), *quiet = nt_future();
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT_CATCH(first), THEN_WAITS(quiet)));
    nt_turn();
    assert_ok(neap_future_set_int(first, 1));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_turn();
    assert_int_equal(s.cancels, 1);
    assert_undisturbed(&s, task, quiet);
    assert_int_equal(nt_int(first), 1);
    neap_future_unref(first);
}

static void C9_cancelled_twice_it_is_resumed_once(void **state) {
    (void)state;
    neap_future *quiet = nt_future();
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), THEN_WAITS(quiet)));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, "a"), 1);
    assert_int_equal(neap_task_cancel(task, "b"), 1);
    nt_turn();
    assert_ok(neap_loop_advance(nt.loop, 2 * NT_SEC));
    assert_int_equal(s.cancels, 1);
    assert_undisturbed(&s, task, quiet);
}

#define V NT_TEST_VIRTUAL

NT_MAIN(V(C5_cancelled_before_its_start_it_is_never_resumed),
        V(C10_cancelled_while_an_item_is_handed_over_it_is_resumed_once),
        V(C10_cancelled_and_then_completed_it_is_resumed_once),
        V(C10_completed_and_then_cancelled_it_is_resumed_once),
        V(C9_cancelled_twice_it_is_resumed_once))
