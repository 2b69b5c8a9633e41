/* Scopes: regions that are cancelled as a whole, and their members. */
#include <string.h>

#include "support.h"

/* What the callbacks of a scripted task work with. */
typedef struct stage {
    neap_scope *scope;
    neap_task *task;    /* once it has entered, for comparing and asking */
    uint32_t flags;     /* of the scope */
    int64_t deadline;   /* from now; 0: none */
    neap_scope *cause;  /* of the last cancellation, for comparing */
    nt_script *child;   /* spawned by spawn_child */
    const nt_act *acts; /* its acts */
    int32_t code;
} stage;

static neap_task *me(void) {
    neap_task *task = neap_task_current(nt.loop);
    assert_non_null(task);
    return task;
}

static void enter(void *user) {
    stage *g = user;
    g->task = me();
    assert_ok(neap_scope_new(nt.loop, NULL, g->flags, &g->scope));
    if (g->deadline != 0)
        assert_ok(neap_scope_set_deadline(g->scope, neap_loop_time(nt.loop) + g->deadline));
    assert_ok(neap_scope_enter(g->scope, me()));
}

static void leave(void *user) {
    stage *g = user;
    assert_ok(neap_scope_leave(g->scope, me()));
}

static void try_to_leave(void *user) {
    stage *g = user;
    g->code = neap_scope_leave(g->scope, me());
}

static void cancel(void *user) {
    stage *g = user;
    assert_int_equal(neap_scope_cancel(g->scope, "enough"), 1);
}

static void note_cause(void *user) {
    stage *g = user;
    g->cause = neap_task_cancelled_by(me());
}

static void spawn_child(void *user) {
    stage *g = user;
    neap_task_unref(nt_spawn(g->child, "child", g->acts));
}

static void end(stage *g) {
    neap_scope_unref(g->scope);
}

/* ---- Cancelling */

static void a_cancelled_scope_ends_the_wait_inside(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(enter, &g), NT_SLEEP(NT_SEC), NT_NOTE("no")));
    nt_turns(2);
    assert_int_equal(neap_scope_cancelled(g.scope), 0);
    assert_int_equal(neap_scope_cancel(g.scope, "enough"), 1);
    assert_int_equal(neap_scope_cancel(g.scope, "again"), 0);
    assert_int_equal(neap_scope_cancelled(g.scope), 1);
    assert_int_equal(neap_scope_state(g.scope), NEAP_SCOPE_CANCELLED);
    assert_string_equal(neap_scope_message(g.scope), "enough");
    nt_settle();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_notes("");
    neap_task_unref(task);
    end(&g);
}

static void D1_every_further_wait_inside_is_cancelled_until_the_scope_is_left(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(enter, &g), NT_CALL(cancel, &g), NT_SLEEP_CATCH(NT_SEC),
                         NT_YIELD_CATCH, NT_SLEEP_CATCH(0), NT_CALL(note_cause, &g),
                         NT_CALL(leave, &g), NT_YIELD, NT_SLEEP(0), NT_RETURN(1)));
    nt_settle();
    assert_int_equal(s.cancels, 3);
    assert_ptr_equal(g.cause, g.scope);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    neap_task_unref(task);
    end(&g);
}

static void a_task_that_only_yields_is_cancelled_too(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_CALL(enter, &g), NT_YIELD, NT_CALL(cancel, &g), NT_YIELD, NT_NOTE("no")));
    nt_settle();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_notes("");
    neap_task_unref(task);
    end(&g);
}

static void a_cancellation_names_the_outermost_cancelled_scope(void **state) {
    (void)state;
    stage outer = {0}, inner = {0}, seen = {0};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &inner), NT_CALL(cancel, &inner),
                         NT_YIELD_CATCH, NT_CALL(note_cause, &inner), NT_CALL(cancel, &outer),
                         NT_YIELD_CATCH, NT_CALL(note_cause, &seen)));
    nt_settle();
    assert_ptr_equal(inner.cause, inner.scope);
    assert_ptr_equal(seen.cause, outer.scope);
    assert_int_equal(s.cancels, 2);
    neap_task_unref(task);
    end(&inner);
    end(&outer);
}

static void a_request_to_the_task_itself_names_no_scope(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(enter, &g), NT_SLEEP_CATCH(NT_SEC),
                                       NT_CALL(note_cause, &g), NT_YIELD, NT_RETURN(3)));
    nt_turns(2);
    g.cause = g.scope;
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_null(g.cause);
    assert_int_equal(nt_int(neap_task_future(task)), 3);
    neap_task_unref(task);
    end(&g);
}

static void a_future_that_others_may_want_is_left_alone(void **state) {
    (void)state;
    stage g = {0};
    nt_script s, other;
    neap_future *future = nt_future();
    neap_task *inner = nt_spawn(&other, "other", NT_ACTS(NT_AWAIT(future), NT_PASS));
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(enter, &g), NT_AWAIT_CATCH(future), NT_CALL(note_cause, &g),
                         NT_AWAIT_CATCH(neap_task_future(inner)), NT_RETURN(2)));
    nt_turns(2);
    cancel(&g);
    nt_settle();
    assert_ptr_equal(g.cause, g.scope);
    assert_int_equal(nt_int(neap_task_future(task)), 2);
    assert_state(future, NEAP_STATE_PENDING);
    assert_int_equal(neap_future_waiters(future), 1);
    assert_ok(neap_future_set_int(future, 9));
    nt_settle();
    assert_int_equal(nt_int(neap_task_future(inner)), 9);
    neap_task_unref(inner);
    neap_task_unref(task);
    neap_future_unref(future);
    end(&g);
}

static void an_operation_is_cancelled(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_future *sleep = nt_sleep(NT_SEC);
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_CALL(enter, &g), NT_AWAIT_CATCH(sleep), NT_CALL(note_cause, &g), NT_RETURN(1)));
    nt_turns(2);
    cancel(&g);
    nt_settle();
    assert_state(sleep, NEAP_STATE_CANCELLED);
    assert_ptr_equal(g.cause, g.scope);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
    neap_future_unref(sleep);
    end(&g);
}

static void
what_came_before_the_cancellation_is_delivered_and_the_next_wait_is_cancelled(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(enter, &g), NT_AWAIT(future), NT_NOTE("got it"),
                                       NT_YIELD_CATCH, NT_NOTE("cancelled"), NT_PASS));
    nt_turns(2);
    assert_ok(neap_future_set_int(future, 5));
    cancel(&g);
    nt_settle();
    assert_notes("got it cancelled");
    assert_int_equal(s.seen_int, 5);
    assert_int_equal(s.cancels, 1);
    neap_task_unref(task);
    neap_future_unref(future);
    end(&g);
}

static void a_scope_of_another_task_can_be_cancelled_twice_and_before_its_wait(void **state) {
    (void)state;
    stage g = {0};
    nt_script s;
    neap_task *task = nt_spawn(
        &s, "t", NT_ACTS(NT_CALL(enter, &g), NT_YIELD_CATCH, NT_YIELD_CATCH, NT_RETURN(4)));
    nt_turn();
    cancel(&g);
    assert_int_equal(neap_scope_cancel(g.scope, NULL), 0);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_int_equal(s.cancels, 2);
    assert_int_equal(nt_int(neap_task_future(task)), 4);
    neap_task_unref(task);
    end(&g);
}

/* ---- Deadlines */

static intptr_t cancel_from_here(void *user) {
    return neap_scope_post_cancel(user);
}

static void a_scope_can_be_cancelled_from_another_thread(void **state) {
    (void)state;
    stage g = {.deadline = 60 * NT_SEC};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(enter, &g), NT_SLEEP_CATCH(3 * NT_SEC), NT_RETURN(1)));
    nt_turn();
    assert_int_equal(nt_in_thread(cancel_from_here, g.scope), 0);
    nt_until_task(task);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    assert_int_equal(neap_scope_state(g.scope), NEAP_SCOPE_CANCELLED);
    assert_int_equal(s.cancels, 1);
    assert_code(neap_scope_post_cancel(NULL), NEAP_EINVAL);
    neap_task_unref(task);
    end(&g);
}

static void a_deadline_cancels_and_says_so(void **state) {
    (void)state;
    stage g = {.deadline = NT_SEC};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(enter, &g), NT_SLEEP_CATCH(3 * NT_SEC), NT_RETURN(1)));
    int64_t when = 0;
    nt_until_task(task);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    assert_int_equal(neap_scope_state(g.scope), NEAP_SCOPE_TIMED_OUT);
    assert_int_equal(neap_scope_deadline(g.scope, &when), 1);
    assert_int_equal(when, NT_SEC);
    assert_int_equal(s.cancels, 1);
    neap_task_unref(task);
    end(&g);
}

static void D15_an_inner_deadline_does_not_reach_beyond_the_outer(void **state) {
    (void)state;
    stage outer = {.deadline = NT_SEC}, inner = {.deadline = 5 * NT_SEC};
    nt_script s;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &inner),
                                       NT_SLEEP_CATCH(9 * NT_SEC), NT_CALL(note_cause, &inner)));
    nt_until_task(task);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    assert_ptr_equal(inner.cause, outer.scope);
    assert_int_equal(neap_scope_state(inner.scope), NEAP_SCOPE_OPEN);
    neap_task_unref(task);
    end(&inner);
    end(&outer);
}

static void move_deadline(void *user) {
    stage *g = user;
    assert_ok(neap_scope_set_deadline(g->scope, g->deadline));
}

static void a_deadline_can_be_moved_and_taken_away(void **state) {
    (void)state;
    stage g = {.deadline = NT_SEC};
    nt_script s;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(enter, &g), NT_SLEEP(2 * NT_SEC),
                                       NT_CALL(move_deadline, &g), NT_SLEEP(9 * NT_SEC)));
    nt_turns(2);
    assert_ok(neap_scope_set_deadline(g.scope, 3 * NT_SEC));
    g.deadline = -1;
    nt_until_task(task);
    assert_int_equal(neap_loop_time(nt.loop), 11 * NT_SEC);
    assert_int_equal(neap_scope_state(g.scope), NEAP_SCOPE_OPEN);
    neap_task_unref(task);
    end(&g);
}

/* ---- Shields */

static void D18_a_shield_keeps_scopes_and_requests_out_until_its_end(void **state) {
    (void)state;
    stage outer = {0}, shield = {.flags = NEAP_SCOPE_SHIELD, .deadline = 9 * NT_SEC};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &shield), NT_SLEEP(NT_SEC),
                         NT_NOTE("shielded"), NT_CALL(leave, &shield), NT_YIELD_CATCH,
                         NT_YIELD_CATCH, NT_CALL(leave, &outer), NT_YIELD, NT_RETURN(1)));
    nt_turns(2);
    cancel(&outer);
    assert_int_equal(neap_task_cancel(task, "please"), 1);
    assert_int_equal(neap_scope_cancelled(shield.scope), 0);
    nt_until_task(task);
    assert_notes("shielded");
    assert_int_equal(s.cancels, 2);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
    end(&shield);
    end(&outer);
}

static void D18_what_waits_outside_comes_in_when_the_shields_time_is_over(void **state) {
    (void)state;
    for (int by_scope = 0; by_scope <= 1; by_scope++) {
        stage outer = {0}, shield = {.flags = NEAP_SCOPE_SHIELD, .deadline = 2 * NT_SEC};
        nt_script s;
        int64_t begun = neap_loop_time(nt.loop);
        neap_task *task = nt_spawn(&s, "t",
                                   NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &shield),
                                           NT_SLEEP(9 * NT_SEC), NT_NOTE("no")));
        nt_turns(2);
        if (by_scope)
            cancel(&outer);
        else
            assert_int_equal(neap_task_cancel(task, NULL), 1);
        (void)neap_loop_run_until(nt.loop, neap_task_future(task));
        assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
        assert_int_equal(neap_loop_time(nt.loop) - begun, 2 * NT_SEC);
        neap_task_unref(task);
        end(&shield);
        end(&outer);
    }
    assert_notes("");
}

static void D1_a_shielded_sleeper_in_a_cancelled_scope_costs_no_turn(void **state) {
    (void)state;
    stage outer = {0}, shield = {.flags = NEAP_SCOPE_SHIELD, .deadline = 9 * NT_SEC};
    nt_script s;
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &shield), NT_SLEEP(NT_SEC), NT_RETURN(1)));
    nt_turns(2);
    cancel(&outer);
    neap_metrics before = nt_metrics();
    nt_until_task(task);
    assert_int_equal(nt_metrics().ticks - before.ticks, 1);
    assert_int_equal(s.n_wakes, 2);
    neap_task_unref(task);
    end(&shield);
    end(&outer);
}

/* ---- Inside and outside */

static void scopes_are_left_in_order_and_entered_once(void **state) {
    (void)state;
    stage outer = {0}, inner = {0};
    nt_script s, other;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &inner),
                                       NT_CALL(try_to_leave, &outer), NT_CALL(leave, &inner),
                                       NT_CALL(leave, &outer), NT_CALL(try_to_leave, &outer)));
    nt_turn();
    assert_code(outer.code, NEAP_EINVALID_STATE);
    nt_settle();
    neap_task *late = nt_spawn(&other, "late", NT_ACTS(NT_YIELD));
    assert_code(neap_scope_enter(outer.scope, late), NEAP_EINVALID_STATE);
    assert_int_equal(neap_scope_cancel(outer.scope, NULL), 0);
    nt_settle();
    neap_task_unref(late);
    neap_task_unref(task);
    end(&inner);
    end(&outer);
}

static void a_task_that_ends_leaves_its_scopes(void **state) {
    (void)state;
    stage outer = {.deadline = NT_SEC}, inner = {.deadline = NT_SEC};
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(enter, &outer), NT_CALL(enter, &inner), NT_RETURN(1)));
    nt_settle();
    assert_int_equal(nt_metrics().timers, 0);
    assert_int_equal(neap_scope_cancel(outer.scope, NULL), 0);
    neap_task_unref(task);
    end(&inner);
    end(&outer);
}

static void a_new_scope_inside_a_cancelled_one_is_cancelled_at_once(void **state) {
    (void)state;
    stage outer = {0}, inner = {0};
    nt_script s;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_CALL(enter, &outer), NT_CALL(cancel, &outer),
                                       NT_CALL(enter, &inner), NT_YIELD, NT_NOTE("no")));
    nt_settle();
    assert_int_equal(neap_scope_cancelled(inner.scope), 1);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_notes("");
    neap_task_unref(task);
    end(&inner);
    end(&outer);
}

/* ---- Members */

static const uint32_t all = NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP | NEAP_SCOPE_FAIL_FAST;

static neap_task *spawn_into(neap_scope *scope, nt_script *s, const nt_act *acts) {
    neap_task_options options = {.size = sizeof options, .scope = scope};
    neap_task *task;
    memset(s, 0, sizeof *s);
    s->acts = acts;
    s->seen_state = -1;
    assert_ok(neap_task_spawn(nt.loop, &nt_script_ops, s, &options, &task));
    return task;
}

static neap_scope *new_group(uint32_t flags) {
    neap_scope *scope;
    assert_ok(neap_scope_new(nt.loop, NULL, flags, &scope));
    return scope;
}

static void a_group_ends_when_its_members_have(void **state) {
    (void)state;
    nt_script a, b;
    neap_scope *group = new_group(all);
    neap_future *joined, *at_once;
    neap_task_unref(spawn_into(group, &a, NT_ACTS(NT_SLEEP(NT_SEC), NT_RETURN(1))));
    neap_task_unref(spawn_into(group, &b, NT_ACTS(NT_SLEEP(2 * NT_SEC), NT_RETURN(1))));
    assert_int_equal(neap_scope_members(group), 2);
    assert_ok(neap_scope_join(group, &joined));
    nt_until(joined);
    assert_int_equal(neap_loop_time(nt.loop), 2 * NT_SEC);
    assert_int_equal(neap_scope_members(group), 0);
    assert_ok(neap_scope_join(group, &at_once));
    assert_state(at_once, NEAP_STATE_RESULT);
    neap_future_unref(at_once);
    neap_future_unref(joined);
    neap_scope_unref(group);
}

static void D4_what_a_member_spawns_becomes_a_member(void **state) {
    (void)state;
    nt_script parent, child;
    stage g = {.child = &child, .acts = NT_ACTS(NT_SLEEP(NT_SEC))};
    neap_scope *group = new_group(all);
    neap_task_unref(spawn_into(group, &parent, NT_ACTS(NT_CALL(spawn_child, &g))));
    nt_turns(2);
    assert_int_equal(parent.destroyed, 1);
    assert_int_equal(neap_scope_members(group), 1);
    assert_int_equal(neap_scope_cancel(group, NULL), 1);
    nt_settle();
    assert_int_equal(child.cancels, 1);
    neap_scope_unref(group);
}

static void D3_the_first_failure_cancels_the_siblings_and_all_failures_are_kept(void **state) {
    (void)state;
    nt_script a, b, c;
    neap_scope *group = new_group(all);
    neap_future *failure;
    neap_task_unref(spawn_into(group, &a, NT_ACTS(NT_SLEEP(NT_SEC), NT_FAIL(NEAP_EPIPE))));
    neap_task_unref(
        spawn_into(group, &b, NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_FAIL(NEAP_EPERM))));
    neap_task_unref(spawn_into(group, &c, NT_ACTS(NT_SLEEP(9 * NT_SEC), NT_RETURN(1))));
    neap_future *joined;
    assert_ok(neap_scope_join(group, &joined));
    nt_until(joined);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    assert_int_equal(neap_scope_next_failure(group, &failure), 1);
    assert_code(neap_future_error(failure), NEAP_EPIPE);
    neap_future_unref(failure);
    assert_int_equal(neap_scope_next_failure(group, &failure), 1);
    assert_code(neap_future_error(failure), NEAP_EPERM);
    neap_future_unref(failure);
    assert_int_equal(neap_scope_next_failure(group, &failure), 0);
    assert_int_equal(b.cancels, 1);
    assert_int_equal(c.cancels, 1);
    nt_no_reports();
    neap_future_unref(joined);
    neap_scope_unref(group);
}

static void a_failure_that_somebody_awaits_is_not_the_groups(void **state) {
    (void)state;
    nt_script a, b;
    neap_scope *group = new_group(all);
    neap_future *failure;
    neap_task *task = spawn_into(group, &a, NT_ACTS(NT_YIELD, NT_YIELD, NT_FAIL(NEAP_EPIPE)));
    neap_task_unref(spawn_into(
        group, &b, NT_ACTS(NT_AWAIT_CATCH(neap_task_future(task)), NT_YIELD, NT_RETURN(1))));
    nt_settle();
    assert_int_equal(neap_scope_state(group), NEAP_SCOPE_OPEN);
    assert_int_equal(neap_scope_next_failure(group, &failure), 0);
    nt_no_reports();
    neap_task_unref(task);
    neap_scope_unref(group);
}

static void without_fail_fast_the_siblings_go_on(void **state) {
    (void)state;
    nt_script a, b;
    neap_scope *group = new_group(NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP);
    neap_future *failure;
    neap_task_unref(spawn_into(group, &a, NT_ACTS(NT_FAIL(NEAP_EPIPE))));
    neap_task_unref(spawn_into(group, &b, NT_ACTS(NT_YIELD, NT_YIELD, NT_NOTE("on"))));
    nt_settle();
    assert_notes("on");
    assert_int_equal(neap_scope_next_failure(group, &failure), 1);
    neap_future_unref(failure);
    neap_scope_unref(group);
}

static void failures_that_nobody_takes_are_reported(void **state) {
    (void)state;
    nt_script a;
    neap_scope *group = new_group(all);
    neap_task_unref(spawn_into(group, &a, NT_ACTS(NT_FAIL(NEAP_EPIPE))));
    nt_settle();
    nt_no_reports();
    neap_scope_unref(group);
    nt_turn();
    assert_code(nt_claim(NEAP_REPORT_UNHANDLED)->code, NEAP_EPIPE);
}

static void a_group_that_keeps_nothing_has_its_failures_reported(void **state) {
    (void)state;
    nt_script a, b;
    neap_scope *group = new_group(NEAP_SCOPE_GROUP);
    neap_task_unref(spawn_into(group, &a, NT_ACTS(NT_FAIL(NEAP_EPIPE))));
    neap_task_unref(spawn_into(group, &b, NT_ACTS(NT_YIELD, NT_NOTE("on"))));
    nt_settle();
    nt_claim(NEAP_REPORT_UNHANDLED);
    assert_notes("on");
    neap_scope_unref(group);
}

static void the_first_result_cancels_the_others_where_that_was_asked_for(void **state) {
    (void)state;
    nt_script a, b, c;
    neap_scope *group = new_group(NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP | NEAP_SCOPE_ANY);
    neap_future *failure;
    neap_task_unref(spawn_into(group, &a, NT_ACTS(NT_FAIL(NEAP_EPIPE))));
    neap_task_unref(spawn_into(group, &b, NT_ACTS(NT_SLEEP(NT_SEC), NT_RETURN(2))));
    neap_task_unref(spawn_into(group, &c, NT_ACTS(NT_SLEEP(2 * NT_SEC), NT_RETURN(3))));
    neap_future *joined;
    assert_ok(neap_scope_join(group, &joined));
    nt_until(joined);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    assert_int_equal(nt_int(neap_scope_winner(group)), 2);
    assert_int_equal(c.cancels, 1);
    assert_int_equal(neap_scope_next_failure(group, &failure), 1);
    neap_future_unref(failure);
    neap_future_unref(joined);
    neap_scope_unref(group);
}

static void D19_a_member_that_is_cancelled_before_its_start_is_never_entered(void **state) {
    (void)state;
    nt_script a;
    neap_scope *group = new_group(all);
    neap_task *task = spawn_into(group, &a, NT_ACTS(NT_NOTE("no")));
    assert_int_equal(neap_scope_cancel(group, NULL), 1);
    nt_settle();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_int_equal(a.n_wakes, 0);
    assert_int_equal(a.destroyed, 1);
    assert_notes("");
    neap_task_unref(task);
    neap_scope_unref(group);
}

static void a_group_with_members_is_not_left_and_one_that_was_left_takes_none(void **state) {
    (void)state;
    nt_script s, child, late;
    stage g = {.flags = all, .child = &child, .acts = NT_ACTS(NT_SLEEP(NT_SEC))};
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(enter, &g), NT_CALL(spawn_child, &g), NT_CALL(try_to_leave, &g),
                         NT_SLEEP(2 * NT_SEC), NT_CALL(leave, &g), NT_YIELD));
    nt_turn();
    assert_code(g.code, NEAP_EBUSY);
    nt_until_task(task);
    neap_task_options options = {.size = sizeof options, .scope = g.scope};
    neap_task *none = NULL;
    memset(&late, 0, sizeof late);
    assert_code(neap_task_spawn(nt.loop, &nt_script_ops, &late, &options, &none), NEAP_ECLOSED);
    assert_int_equal(late.destroyed, 1);
    assert_null(none);
    neap_task_unref(task);
    end(&g);
}

static void a_group_whose_task_ends_is_cancelled(void **state) {
    (void)state;
    nt_script s, child;
    stage g = {.flags = all, .child = &child, .acts = NT_ACTS(NT_SLEEP(NT_SEC))};
    neap_task *task = nt_spawn(
        &s, "t", NT_ACTS(NT_CALL(enter, &g), NT_CALL(spawn_child, &g), NT_SLEEP(9 * NT_SEC)));
    nt_turns(2);
    assert_int_equal(neap_task_abort(task), 1);
    nt_settle();
    assert_int_equal(child.cancels, 1);
    assert_int_equal(neap_scope_members(g.scope), 0);
    neap_task_unref(task);
    end(&g);
}

static void a_wait_for_the_members_is_ended_by_no_scope(void **state) {
    (void)state;
    nt_script s, child;
    stage outer = {0};
    neap_future *joined;
    neap_scope *group = new_group(all);
    neap_task_unref(spawn_into(group, &child, NT_ACTS(NT_SLEEP(NT_SEC))));
    assert_ok(neap_scope_join(group, &joined));
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_CALL(enter, &outer), NT_CALL(cancel, &outer), NT_AWAIT(joined), NT_RETURN(1)));
    neap_metrics before = nt_metrics();
    nt_until_task(task);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    assert_true(nt_metrics().ticks - before.ticks <= 4);
    neap_task_unref(task);
    neap_future_unref(joined);
    neap_scope_unref(group);
    end(&outer);
}

static void a_request_to_the_task_ends_its_wait_for_the_members(void **state) {
    (void)state;
    nt_script s, child;
    neap_future *joined;
    neap_scope *group = new_group(all);
    neap_task_unref(spawn_into(group, &child, NT_ACTS(NT_SLEEP(NT_SEC))));
    assert_ok(neap_scope_join(group, &joined));
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_AWAIT_CATCH(joined), NT_AWAIT(joined), NT_RETURN(1)));
    nt_turns(2);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_until_task(task);
    assert_int_equal(s.cancels, 1);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    neap_task_unref(task);
    neap_future_unref(joined);
    neap_scope_unref(group);
}

static void deep_nests_are_cancelled_without_recursion(void **state) {
    (void)state;
    enum {
        DEPTH = 50000
    };
    neap_scope *top = new_group(0), *at = neap_scope_ref(top);
    nt_script s;
    for (int i = 0; i < DEPTH; i++) {
        neap_scope *below;
        assert_ok(neap_scope_new(nt.loop, at, NEAP_SCOPE_GROUP, &below));
        neap_scope_unref(at);
        at = below;
    }
    neap_task *task = spawn_into(at, &s, NT_ACTS(NT_SLEEP(NT_SEC)));
    nt_turn();
    assert_int_equal(neap_scope_cancel(top, NULL), 1);
    assert_int_equal(neap_scope_cancelled(at), 1);
    nt_settle();
    assert_int_equal(s.cancels, 1);
    neap_task_unref(task);
    neap_scope_unref(at);
    neap_scope_unref(top);
}

static void a_loop_that_closes_ends_what_stands_in_scopes(void **state) {
    (void)state;
    stage g = {.flags = all, .deadline = NT_SEC};
    nt_script s, child;
    g.child = &child;
    g.acts = NT_ACTS(NT_SLEEP(NT_SEC));
    neap_task_unref(
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(enter, &g), NT_CALL(spawn_child, &g), NT_SLEEP(NT_SEC))));
    nt_turns(3);
    assert_ok(neap_loop_close(nt.loop, 0));
    nt_claim_all();
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(child.destroyed, 1);
    assert_code(neap_scope_cancel(g.scope, NULL), NEAP_ELOOP_CLOSED);
    end(&g);
}

#define V NT_TEST_VIRTUAL

NT_MAIN(V(a_cancelled_scope_ends_the_wait_inside),
        V(D1_every_further_wait_inside_is_cancelled_until_the_scope_is_left),
        V(a_task_that_only_yields_is_cancelled_too),
        V(a_cancellation_names_the_outermost_cancelled_scope),
        V(a_request_to_the_task_itself_names_no_scope),
        V(a_future_that_others_may_want_is_left_alone), V(an_operation_is_cancelled),
        V(what_came_before_the_cancellation_is_delivered_and_the_next_wait_is_cancelled),
        V(a_scope_of_another_task_can_be_cancelled_twice_and_before_its_wait),
        V(a_scope_can_be_cancelled_from_another_thread), V(a_deadline_cancels_and_says_so),
        V(D15_an_inner_deadline_does_not_reach_beyond_the_outer),
        V(a_deadline_can_be_moved_and_taken_away),
        V(D18_a_shield_keeps_scopes_and_requests_out_until_its_end),
        V(D18_what_waits_outside_comes_in_when_the_shields_time_is_over),
        V(D1_a_shielded_sleeper_in_a_cancelled_scope_costs_no_turn),
        V(scopes_are_left_in_order_and_entered_once), V(a_task_that_ends_leaves_its_scopes),
        V(a_new_scope_inside_a_cancelled_one_is_cancelled_at_once),
        V(a_group_ends_when_its_members_have), V(D4_what_a_member_spawns_becomes_a_member),
        V(D3_the_first_failure_cancels_the_siblings_and_all_failures_are_kept),
        V(a_failure_that_somebody_awaits_is_not_the_groups),
        V(without_fail_fast_the_siblings_go_on), V(failures_that_nobody_takes_are_reported),
        V(a_group_that_keeps_nothing_has_its_failures_reported),
        V(the_first_result_cancels_the_others_where_that_was_asked_for),
        V(D19_a_member_that_is_cancelled_before_its_start_is_never_entered),
        V(a_group_with_members_is_not_left_and_one_that_was_left_takes_none),
        V(a_group_whose_task_ends_is_cancelled), V(a_wait_for_the_members_is_ended_by_no_scope),
        V(a_request_to_the_task_ends_its_wait_for_the_members),
        V(deep_nests_are_cancelled_without_recursion),
        V(a_loop_that_closes_ends_what_stands_in_scopes))
