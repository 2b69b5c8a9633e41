/* Tasks: futures driven by a step function. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/* ---- Life of a task -------------------------------------------------------------------------- */

static void T1_spawning_only_queues_the_first_step(void **state) {
    (void)state;
    nt_script a, b;
    neap_task *first = nt_spawn(&a, "first", NT_ACTS(NT_NOTE("first")));
    neap_task *second = nt_spawn(&b, "second", NT_ACTS(NT_NOTE("second")));
    assert_notes("");
    assert_int_equal(a.n_wakes, 0);
    nt_turn();
    assert_notes("first second");
    assert_int_equal(a.wakes[0], NEAP_WAKE_START);
    neap_task_unref(first);
    neap_task_unref(second);
}

static void G1_a_task_runs_to_its_suspension_and_goes_on_from_there(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_NOTE("1"), NT_YIELD, NT_NOTE("2")));
    nt_turn();
    assert_notes("1");
    assert_state(neap_task_future(task), NEAP_STATE_PENDING);
    nt_turn();
    assert_notes("1 2");
    assert_state(neap_task_future(task), NEAP_STATE_RESULT);
    nt_turns(3);
    assert_int_equal(s.n_wakes, 2);
    assert_int_equal(neap_task_steps(task), 2);
    neap_task_unref(task);
}

static void G1_a_finished_task_cannot_be_stepped(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_RETURN(1)));
    nt_turn();
    assert_code(neap_task_answer(task, NEAP_STEP_DONE), NEAP_EINVALID_STATE);
    assert_code(neap_task_answer(task, NEAP_STEP_YIELD), NEAP_EINVALID_STATE);
    assert_code(neap_task_await(task, future), NEAP_EINVALID_STATE);
    nt_turns(2);
    assert_int_equal(s.n_wakes, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
    neap_future_unref(future);
}

static void G4_a_task_returns_its_value_as_its_result(void **state) {
    (void)state;
    nt_script with, without;
    neap_task *a = nt_spawn(&with, "a", NT_ACTS(NT_RETURN(41)));
    neap_task *b = nt_spawn(&without, "b", NT_ACTS(NT_NOTE("nothing to say")));
    nt_turn();
    assert_int_equal(nt_int(neap_task_future(a)), 41);
    assert_int_equal(neap_future_kind(neap_task_future(b)), NEAP_KIND_NONE);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void T2_a_task_is_a_future(void **state) {
    (void)state;
    nt_script s, waiter;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_RETURN(5)));
    neap_future *future = neap_task_future(task);
    neap_future *waited = NULL;
    neap_future *gathered = NULL;
    neap_task *other = nt_spawn(&waiter, "w", NT_ACTS(NT_AWAIT(future), NT_PASS));
    assert_ptr_equal(neap_future_task(future), task);
    nt_on_done(future, "done");
    assert_ok(neap_wait(nt.loop, &future, 1, NEAP_WAIT_ALL, -1, &waited));
    assert_ok(neap_gather(nt.loop, &future, 1, 0, &gathered));
    nt_until(waited);
    nt_until(gathered);
    nt_until_task(other);
    assert_notes("done");
    assert_int_equal(nt_int(future), 5);
    assert_int_equal(nt_int(neap_task_future(other)), 5);
    neap_future_unref(waited);
    neap_future_unref(gathered);
    neap_task_unref(task);
    neap_task_unref(other);
}

static void T2_a_reference_to_the_future_keeps_the_task(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_RETURN(5)));
    neap_future *future = neap_future_ref(neap_task_future(task));
    neap_task_unref(task);
    nt_turn();
    assert_int_equal(nt_int(future), 5);
    assert_ptr_equal(neap_future_task(future), task);
    assert_string_equal(neap_task_name(task), "t");
    neap_future_unref(future);
}

/* The trace of one task as words. */
static void note_trace_of(neap_task *task) {
    for (size_t i = 0; i < nt.n_traces; i++) {
        const nt_trace *t = &nt.traces[i];
        if (t->task == task && t->kind != NEAP_TRACE_SETTLE)
            nt_note("%s", nt_trace_word(t->kind));
    }
}

static void T3_one_await_is_step_suspend_wake_step_done(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    nt_trace_start();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_ok(neap_future_set_int(future, 3));
    nt_turn();
    nt_trace_stop();
    note_trace_of(task);
    assert_notes("spawn step suspend wake step done");
    assert_ptr_equal(nt_trace_get(NEAP_TRACE_SUSPEND, 0)->future, future);
    assert_int_equal(nt_trace_get(NEAP_TRACE_STEP, 0)->value, NEAP_WAKE_START);
    assert_int_equal(nt_trace_get(NEAP_TRACE_STEP, 1)->value, NEAP_WAKE_READY);
    assert_int_equal(nt_trace_get(NEAP_TRACE_DONE, 0)->value, NEAP_STATE_RESULT);
    neap_task_unref(task);
    neap_future_unref(future);
}

static void T4_G2_the_awaited_value_comes_back_in(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_ptr_equal(neap_task_awaiting(task), future);
    assert_int_equal(neap_future_waiters(future), 1);
    assert_ok(neap_future_set_int(future, 33));
    assert_int_equal(s.n_wakes, 1);
    nt_turn();
    assert_null(neap_task_awaiting(task));
    assert_int_equal(s.wakes[1], NEAP_WAKE_READY);
    assert_int_equal(nt_int(neap_task_future(task)), 33);
    neap_task_unref(task);
    neap_future_unref(future);
}

static void T4_G3_the_awaited_failure_comes_back_in_and_counts_as_retrieved(void **state) {
    (void)state;
    nt_script caught, uncaught;
    neap_future *future = nt_future();
    neap_task *a = nt_spawn(&caught, "a", NT_ACTS(NT_AWAIT_CATCH(future), NT_RETURN(1)));
    neap_task *b = nt_spawn(&uncaught, "b", NT_ACTS(NT_AWAIT(future)));
    nt_on_done(neap_task_future(b), "failed");
    nt_turn();
    assert_ok(neap_future_set_error(future, NEAP_EPIPE, "broken"));
    neap_future_unref(future);
    nt_turns(2);
    assert_int_equal(caught.seen_state, NEAP_STATE_ERROR);
    assert_int_equal(nt_int(neap_task_future(a)), 1);
    assert_code(neap_future_error(neap_task_future(b)), NEAP_EPIPE);
    assert_string_equal(neap_future_message(neap_task_future(b)), "broken");
    nt_no_reports();
    neap_task_unref(a);
    neap_task_unref(b);
}

static void T5_a_bare_yield_goes_to_the_back_of_the_next_batch(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_task *a =
        nt_spawn(&sa, "a", NT_ACTS(NT_NOTE("A"), NT_YIELD, NT_NOTE("A"), NT_YIELD, NT_NOTE("A")));
    neap_task *b =
        nt_spawn(&sb, "b", NT_ACTS(NT_NOTE("B"), NT_YIELD, NT_NOTE("B"), NT_YIELD, NT_NOTE("B")));
    nt_turn();
    assert_notes("A B");
    nt_turn();
    assert_notes("A B A B");
    nt_turn();
    assert_notes("A B A B A B");
    assert_int_equal(sa.wakes[1], NEAP_WAKE_RESUME);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void F9_awaiting_a_done_future_wakes_in_the_next_batch(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_int(future, 8));
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_int_equal(s.n_wakes, 1);
    nt_turn();
    assert_int_equal(s.wakes[1], NEAP_WAKE_READY);
    assert_int_equal(nt_int(neap_task_future(task)), 8);
    neap_task_unref(task);
    neap_future_unref(future);
}

/* ---- What a step may not do ------------------------------------------------------------------ */

struct refusal {
    neap_future *future;
    int32_t code;
};

/* Awaits, keeps the answer, ends. */
static int32_t try_to_await(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    struct refusal *r = user;
    (void)awaited;
    (void)wake;
    r->code = neap_task_await(task, r->future != NULL ? r->future : neap_task_future(task));
    return NEAP_STEP_DONE;
}

static const neap_task_ops refusal_ops = {.size = sizeof(neap_task_ops), .step = try_to_await};

static void T9_a_task_cannot_await_itself(void **state) {
    (void)state;
    struct refusal r = {NULL, 0};
    assert_ok(neap_task_spawn(nt.loop, &refusal_ops, &r, NULL, NULL));
    nt_turn();
    assert_code(r.code, NEAP_EAWAIT_SELF);
}

static void T10_a_task_cannot_await_the_future_of_another_loop(void **state) {
    (void)state;
    neap_loop *other = nt_loop_named(0, "other");
    struct refusal r = {nt_future_on(other), 0};
    assert_ok(neap_task_spawn(nt.loop, &refusal_ops, &r, NULL, NULL));
    nt_turn();
    assert_code(r.code, NEAP_EOTHER_LOOP);
    /* Neither loop is harmed, and the future can still complete. */
    assert_int_equal(neap_future_waiters(r.future), 0);
    nt_on_done(r.future, "there");
    assert_ok(neap_future_set_none(r.future));
    assert_int_equal(neap_loop_run_once(other, 0), 1);
    nt_soon("here");
    nt_turn();
    assert_notes("there here");
    assert_string_equal(neap_loop_name(neap_future_loop(r.future)), "other");
    neap_future_unref(r.future);
    nt_loop_end(other);
}

static int32_t await_twice(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    struct refusal *r = user;
    (void)awaited;
    if (wake != NEAP_WAKE_START)
        return NEAP_STEP_DONE;
    int32_t first = neap_task_await(task, r->future);
    r->code = neap_task_await(task, r->future);
    return first == 0 ? NEAP_STEP_AWAIT : NEAP_STEP_DONE;
}

static void a_step_can_await_one_future_only(void **state) {
    (void)state;
    static const neap_task_ops ops = {.size = sizeof(neap_task_ops), .step = await_twice};
    struct refusal r = {nt_future(), 0};
    assert_ok(neap_task_spawn(nt.loop, &ops, &r, NULL, NULL));
    nt_turn();
    assert_code(r.code, NEAP_EBUSY);
    assert_int_equal(neap_future_waiters(r.future), 1);
    assert_ok(neap_future_set_none(r.future));
    nt_turn();
    neap_future_unref(r.future);
}

static void awaiting_outside_a_step_is_refused(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_RETURN(1)));
    assert_code(neap_task_await(task, future), NEAP_EINVALID_STATE);
    nt_turn();
    assert_code(neap_task_await(task, future), NEAP_EINVALID_STATE);
    nt_turn();
    assert_int_equal(neap_future_waiters(future), 0);
    neap_task_unref(task);
    neap_future_unref(future);
}

static void T12_only_the_task_settles_its_future(void **state) {
    (void)state;
    static const char tag;
    nt_script s;
    int destroyed = 0;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_RETURN(1)));
    neap_future *future = neap_task_future(task);
    for (int i = 0; i < 2; i++) {
        assert_code(neap_future_set_none(future), NEAP_ETASK_OWNED);
        assert_code(neap_future_set_int(future, 9), NEAP_ETASK_OWNED);
        assert_code(neap_future_set_double(future, 9), NEAP_ETASK_OWNED);
        assert_code(neap_future_set_bool(future, 1), NEAP_ETASK_OWNED);
        assert_code(neap_future_set_bytes(future, "9", 1), NEAP_ETASK_OWNED);
        assert_code(neap_future_set_ptr(future, &tag, &destroyed, nt_count_fn), NEAP_ETASK_OWNED);
        assert_code(neap_future_set_error(future, NEAP_EPIPE, NULL), NEAP_ETASK_OWNED);
        assert_code(
            neap_future_set_exception(future, NEAP_EFOREIGN, NULL, &tag, &destroyed, nt_count_fn),
            NEAP_ETASK_OWNED);
        assert_int_equal(destroyed, 2 * (i + 1));
        assert_state(future, NEAP_STATE_PENDING);
        nt_turn();
    }
    assert_int_equal(nt_int(future), 1);
    neap_task_unref(task);
}

static void set_int_of_user(void *user) {
    neap_task *task = *(neap_task **)user;
    nt_note("%d", (int)neap_future_set_int(neap_task_future(task), 9));
}

static void T12_the_step_of_one_task_does_not_settle_another(void **state) {
    (void)state;
    nt_script sa, sb;
    neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_YIELD, NT_RETURN(1)));
    neap_task *b = nt_spawn(&sb, "b", NT_ACTS(NT_CALL(set_int_of_user, &a)));
    nt_turns(2);
    assert_notes("-4015");
    assert_int_equal(nt_int(neap_task_future(a)), 1);
    neap_task_unref(a);
    neap_task_unref(b);
}

static void T12_a_posted_outcome_does_not_settle_a_task(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_YIELD, NT_YIELD, NT_RETURN(1)));
    (void)neap_future_post_int(neap_task_future(task), 9);
    nt_settle();
    assert_int_equal(nt_int(neap_task_future(task)), 1);
    neap_task_unref(task);
}

/* ---- Who runs -------------------------------------------------------------------------------- */

static void note_current(void *user) {
    neap_task *task = neap_task_current(nt.loop);
    (void)user;
    nt_note("%s", task != NULL ? neap_task_name(task) : "nobody");
}

static void T14_the_current_task_is_set_while_it_steps_and_cleared_after(void **state) {
    (void)state;
    nt_script sa, sb;
    assert_null(neap_task_current(nt.loop));
    neap_task *a = nt_spawn(&sa, "a", NT_ACTS(NT_CALL(note_current, NULL), NT_FAIL(NEAP_EPIPE)));
    assert_ok(neap_future_ignore(neap_task_future(a)));
    assert_ok(neap_call_soon(nt.loop, note_current, NULL, NULL, NULL));
    neap_task *b = nt_spawn(&sb, "b", NT_ACTS(NT_CALL(note_current, NULL)));
    nt_turn();
    assert_notes("a nobody b");
    assert_null(neap_task_current(nt.loop));
    neap_task_unref(a);
    neap_task_unref(b);
}

static void try_to_run(void *user) {
    (void)user;
    nt_note("%d", neap_loop_run(nt.loop) == NEAP_EREENTRANT);
    nt_note("%d", neap_loop_run_once(nt.loop, 0) == NEAP_EREENTRANT);
}

static void T14_a_run_inside_a_step_is_refused(void **state) {
    (void)state;
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_CALL(try_to_run, NULL), NT_CALL(note_current, NULL)));
    nt_turn();
    assert_notes("1 1 t");
    neap_task_unref(task);
}

static int32_t walk_note(neap_task *task, void *user) {
    (void)user;
    nt_note("%s", neap_task_name(task));
    return 0;
}

static int32_t walk_stop(neap_task *task, void *user) {
    nt_note("%s", neap_task_name(task));
    return --*(int32_t *)user == 0 ? 7 : 0;
}

static int32_t walk_cancel(neap_task *task, void *user) {
    (void)user;
    return neap_task_cancel(task, NULL) == 1 ? 0 : -1;
}

static void T15_the_walk_visits_live_tasks_in_order_of_creation(void **state) {
    (void)state;
    nt_script s[4];
    neap_task *tasks[4];
    int32_t left = 2;
    tasks[0] = nt_spawn(&s[0], "a", NT_ACTS(NT_SLEEP(NT_SEC)));
    tasks[1] = nt_spawn(&s[1], "b", NT_ACTS(NT_RETURN(1)));
    tasks[2] = nt_spawn(&s[2], "c", NT_ACTS(NT_SLEEP(NT_SEC)));
    assert_int_equal(neap_task_walk(nt.loop, walk_note, NULL), 0);
    assert_notes("a b c");
    nt_turn();
    tasks[3] = nt_spawn(&s[3], "d", NT_ACTS(NT_SLEEP(NT_SEC)));
    nt_note_clear();
    assert_int_equal(neap_task_walk(nt.loop, walk_note, NULL), 0);
    assert_notes("a c d");
    assert_int_equal(nt_metrics().tasks, 3);
    nt_note_clear();
    assert_int_equal(neap_task_walk(nt.loop, walk_stop, &left), 7);
    assert_notes("a c");
    assert_int_equal(neap_task_walk(nt.loop, walk_cancel, NULL), 0);
    nt_settle();
    assert_int_equal(nt_metrics().tasks, 0);
    for (int i = 0; i < 4; i++)
        neap_task_unref(tasks[i]);
}

static int32_t walk_spawn(neap_task *task, void *user) {
    static const nt_act acts[] = {NT_NOTE("new"), {.what = NT_DO_END}};
    (void)task;
    nt_script **script = user;
    neap_task_unref(nt_spawn((*script)++, "new", acts));
    return 0;
}

static void T15_tasks_spawned_in_the_walk_are_not_visited(void **state) {
    (void)state;
    nt_script s, more[4];
    nt_script *next = more;
    neap_task *task = nt_spawn(&s, "a", NT_ACTS(NT_YIELD));
    assert_int_equal(neap_task_walk(nt.loop, walk_spawn, &next), 0);
    assert_int_equal(next - more, 1);
    assert_int_equal(nt_metrics().tasks, 2);
    nt_settle();
    assert_notes("new");
    neap_task_unref(task);
}

/* ---- What a task tells ----------------------------------------------------------------------- */

static void a_task_has_a_name_and_a_site(void **state) {
    (void)state;
    nt_script s;
    char name[] = "worker";
    neap_task_options options = {sizeof options, name, "main.lua:7", NULL, 0};
    neap_task *task = NULL;
    neap_task *nameless = NULL;
    memset(&s, 0, sizeof s);
    s.acts = NT_ACTS(NT_YIELD);
    assert_ok(neap_task_spawn(nt.loop, &nt_script_ops, &s, &options, &task));
    name[0] = 'X';
    assert_string_equal(neap_task_name(task), "worker");
    assert_string_equal(neap_task_site(task), "main.lua:7");
    assert_ok(neap_task_set_name(task, "renamed"));
    assert_string_equal(neap_task_name(task), "renamed");
    assert_ptr_equal(neap_task_user(task), &s);
    assert_ptr_equal(neap_task_get_ops(task), &nt_script_ops);
    nt_script t = {.acts = NT_ACTS(NT_YIELD)};
    assert_ok(neap_task_spawn(nt.loop, &nt_script_ops, &t, NULL, &nameless));
    assert_memory_equal(neap_task_name(nameless), "task-", 5);
    assert_string_equal(neap_task_site(nameless), "");
    nt_turns(3);
    assert_string_equal(neap_task_name(task), "renamed");
    neap_task_unref(task);
    neap_task_unref(nameless);
}

static void write_site(neap_task *task, void *user, char *buf, size_t cap) {
    (void)task;
    (void)user;
    nt_note("site");
    snprintf(buf, cap, "there.lua:9");
}

static void the_site_that_only_the_ops_know_is_asked_for_when_it_is_wanted(void **state) {
    (void)state;
    neap_task_ops ops = nt_script_ops;
    neap_task *asked = NULL, *silent = NULL;
    nt_script s = {.acts = NT_ACTS(NT_YIELD)}, t = {.acts = NT_ACTS(NT_YIELD)};
    ops.site = write_site;
    assert_ok(neap_task_spawn(nt.loop, &ops, &s, NULL, &asked));
    assert_ok(neap_task_spawn(nt.loop, &ops, &t, NULL, &silent));
    assert_string_equal(neap_task_site(asked), "there.lua:9");
    assert_string_equal(neap_task_site(asked), "there.lua:9");
    nt_turns(3);
    assert_string_equal(neap_task_site(asked), "there.lua:9");
    assert_string_equal(neap_task_site(silent), "");
    assert_notes("site");
    neap_task_unref(asked);
    neap_task_unref(silent);
}

static void a_table_of_ops_from_before_the_site_is_taken(void **state) {
    (void)state;
    neap_task_ops ops = nt_script_ops;
    neap_task *task = NULL;
    nt_script s = {.acts = NT_ACTS(NT_YIELD)};
    ops.size = offsetof(neap_task_ops, site);
    ops.site = write_site; /* lies behind the end */
    assert_ok(neap_task_spawn(nt.loop, &ops, &s, NULL, &task));
    assert_string_equal(neap_task_site(task), "");
    nt_turns(3);
    assert_notes("");
    neap_task_unref(task);
}

static void a_task_tells_what_it_waits_for_and_since_when(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    assert_true(neap_task_waiting_since(task) == -1);
    assert_ok(neap_loop_advance(nt.loop, 5 * NT_SEC));
    nt_turn();
    assert_ok(neap_loop_advance(nt.loop, 2 * NT_SEC));
    nt_turn();
    assert_true(neap_task_waiting_since(task) == 5 * NT_SEC);
    assert_ptr_equal(neap_task_awaiting(task), future);
    assert_int_equal(neap_task_steps(task), 1);
    assert_ok(neap_future_set_int(future, 1));
    nt_turn();
    assert_true(neap_task_waiting_since(task) == -1);
    assert_null(neap_task_awaiting(task));
    assert_int_equal(neap_task_steps(task), 2);
    assert_true(neap_task_step_time(task) >= 0);
    neap_task_unref(task);
    neap_future_unref(future);
}

/* ---- Ownership ------------------------------------------------------------------------------- */

static void the_loop_owns_a_task_that_nobody_holds(void **state) {
    (void)state;
    nt_script s;
    neap_task_unref(nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_SEC), NT_NOTE("done"))));
    nt_turn();
    assert_int_equal(nt_metrics().tasks, 1);
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_turns(2);
    assert_notes("done");
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(nt_metrics().tasks, 0);
}

static void destroy_runs_once_after_the_last_step(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_RETURN(2)));
    nt_turn();
    assert_int_equal(s.destroyed, 0);
    nt_turn();
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 2);
    neap_task_unref(task);
    assert_int_equal(s.destroyed, 1);
}

static void destroy_runs_also_when_the_spawn_fails(void **state) {
    (void)state;
    nt_script s = {.acts = NT_ACTS(NT_YIELD)};
    neap_task_ops ops = nt_script_ops;
    neap_task *task = NULL;
    ops.size = 0;
    assert_code(neap_task_spawn(nt.loop, &ops, &s, NULL, &task), NEAP_EINVAL);
    assert_null(task);
    neap_task_options options = {.size = 1};
    assert_code(neap_task_spawn(nt.loop, &nt_script_ops, &s, &options, &task), NEAP_EINVAL);
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(nt_metrics().tasks, 0);
}

static void T21_nothing_is_left_of_a_failed_task_that_was_released(void **state) {
    (void)state;
    uint64_t objects = nt_metrics().objects;
    for (int i = 0; i < 100; i++) {
        nt_script s;
        neap_future *future = nt_future();
        neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
        nt_on_done(neap_task_future(task), "x");
        nt_turn();
        assert_ok(neap_future_set_error(future, NEAP_EPIPE, "broken"));
        neap_future_unref(future);
        nt_turns(2);
        assert_code(neap_future_error(neap_task_future(task)), NEAP_EPIPE);
        /* The failed future is not kept by the task. */
        assert_int_equal(nt_metrics().objects, objects + 1);
        neap_task_unref(task);
        assert_int_equal(nt_metrics().objects, objects);
    }
}

static void G6_100000_suspended_tasks_keep_their_own_state(void **state) {
    (void)state;
    int n = nt_slow_machine() ? 10000 : 100000;
    nt_script *scripts = calloc((size_t)n, sizeof *scripts);
    nt_act *acts = calloc((size_t)n * 3, sizeof *acts);
    neap_task **tasks = calloc((size_t)n, sizeof *tasks);
    neap_future *gate = nt_future();
    assert_true(scripts != NULL && acts != NULL && tasks != NULL);
    nt_turn();
    uint64_t before = nt_metrics().bytes;
    for (int i = 0; i < n; i++) {
        acts[3 * i] = (nt_act)NT_AWAIT(gate);
        acts[3 * i + 1] = (nt_act)NT_RETURN(i);
        tasks[i] = nt_spawn(&scripts[i], NULL, &acts[3 * i]);
    }
    nt_turn();
    uint64_t each = (nt_metrics().bytes - before) / (uint64_t)n;
    print_message("%d suspended tasks, %d bytes each\n", n, (int)each);
    assert_true(each <= 512);
    assert_int_equal(neap_future_waiters(gate), n);
    assert_ok(neap_future_set_none(gate));
    nt_turn();
    for (int i = 0; i < n; i++) {
        assert_int_equal(nt_int(neap_task_future(tasks[i])), i);
        neap_task_unref(tasks[i]);
    }
    neap_future_unref(gate);
    free(tasks);
    free(acts);
    free(scripts);
}

/* ---- The factory ----------------------------------------------------------------------------- */

struct factory {
    int calls;
    int32_t refuse; /* a code to answer */
};

static int32_t factory_fn(neap_loop *loop, const neap_task_ops *task_ops, void *task_user,
                          const neap_task_options *options, neap_task **ret_task, void *user) {
    struct factory *f = user;
    f->calls++;
    if (f->refuse != 0)
        return f->refuse;
    neap_task_options mine = {.size = sizeof mine, .name = "made"};
    (void)options;
    return neap_task_new(loop, task_ops, task_user, &mine, ret_task);
}

static void T19_every_spawn_goes_through_the_factory(void **state) {
    (void)state;
    struct factory f = {0, 0};
    int destroyed = 0;
    nt_script a, b;
    assert_ok(neap_loop_set_task_factory(nt.loop, factory_fn, &f, NULL));
    neap_task *task = nt_spawn(&a, "asked", NT_ACTS(NT_RETURN(4)));
    assert_int_equal(f.calls, 1);
    assert_string_equal(neap_task_name(task), "made");
    nt_turn();
    assert_int_equal(nt_int(neap_task_future(task)), 4);
    neap_task_unref(task);
    /* The default again; the destroy of a replaced factory runs. */
    assert_ok(neap_loop_set_task_factory(nt.loop, factory_fn, &destroyed, nt_count_fn));
    assert_ok(neap_loop_set_task_factory(nt.loop, NULL, NULL, NULL));
    assert_int_equal(destroyed, 1);
    task = nt_spawn(&b, "asked", NT_ACTS(NT_RETURN(4)));
    assert_string_equal(neap_task_name(task), "asked");
    nt_turn();
    neap_task_unref(task);
}

static void T19_neap_task_new_passes_the_factory_by(void **state) {
    (void)state;
    struct factory f = {0, NEAP_EPERM};
    nt_script s = {.acts = NT_ACTS(NT_NOTE("ran"))};
    assert_ok(neap_loop_set_task_factory(nt.loop, factory_fn, &f, NULL));
    assert_ok(neap_task_new(nt.loop, &nt_script_ops, &s, NULL, NULL));
    nt_turn();
    assert_notes("ran");
    assert_int_equal(f.calls, 0);
    assert_int_equal(s.destroyed, 1);
}

static void T19_a_failing_factory_surfaces_to_the_spawner_and_leaks_nothing(void **state) {
    (void)state;
    struct factory f = {0, NEAP_EPERM};
    nt_script s = {.acts = NT_ACTS(NT_NOTE("never"))};
    neap_task *task = NULL;
    uint64_t objects = nt_metrics().objects;
    assert_ok(neap_loop_set_task_factory(nt.loop, factory_fn, &f, NULL));
    assert_code(neap_task_spawn(nt.loop, &nt_script_ops, &s, NULL, &task), NEAP_EPERM);
    assert_null(task);
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(nt_metrics().tasks, 0);
    assert_int_equal(nt_metrics().objects, objects);
    nt_turns(2);
    assert_notes("");
}

static void T19_the_factory_is_destroyed_with_the_loop(void **state) {
    (void)state;
    int destroyed = 0;
    neap_loop *loop = nt_loop_new(0);
    assert_ok(neap_loop_set_task_factory(loop, factory_fn, &destroyed, nt_count_fn));
    nt_loop_end(loop);
    assert_int_equal(destroyed, 1);
}

/* ---- A task of the host's own, of public functions alone ------------------------------------- */

typedef struct host_task {
    neap_future *outcome; /* what others wait for */
    int64_t delay_ns;
    const char *text;
} host_task;

static void host_wakeup(neap_future *future, void *user) {
    host_task *t = user;
    int32_t code = neap_future_error(future);
    if (code == 0) {
        nt_note("%s@%d", t->text, (int)(neap_loop_time(nt.loop) / NT_SEC));
        neap_future_set_none(t->outcome);
    } else {
        neap_future_set_error(t->outcome, code, neap_future_message(future));
    }
}

static void host_step(void *user) {
    host_task *t = user;
    neap_future *sleep = nt_sleep(t->delay_ns);
    assert_ok(neap_future_on_done(sleep, host_wakeup, t, NULL, NULL));
    neap_future_unref(sleep);
}

static void host_spawn(host_task *t, int64_t delay_ns, const char *text) {
    t->outcome = nt_future();
    t->delay_ns = delay_ns;
    t->text = text;
    assert_ok(neap_call_soon(nt.loop, host_step, t, NULL, NULL));
}

static void note_hello(void *user) {
    nt_note("%s@%d", (const char *)user, (int)(neap_loop_time(nt.loop) / NT_SEC));
}

static void T20_a_task_written_by_the_host_runs_next_to_ours_and_in_wait(void **state) {
    (void)state;
    host_task foo;
    nt_script s;
    neap_future *waited = NULL;
    host_spawn(&foo, 3 * NT_SEC, "Foo");
    neap_task *bar =
        nt_spawn(&s, "bar", NT_ACTS(NT_SLEEP(NT_SEC), NT_CALL(note_hello, NT_WORD("Bar"))));
    neap_future *both[2] = {foo.outcome, neap_task_future(bar)};
    assert_ok(neap_wait(nt.loop, both, 2, NEAP_WAIT_ALL, -1, &waited));
    nt_until(waited);
    assert_notes("Bar@1 Foo@3");
    assert_true(neap_loop_time(nt.loop) == 3 * NT_SEC);
    neap_future_unref(waited);
    neap_future_unref(foo.outcome);
    neap_task_unref(bar);
}

static void T20_our_task_awaits_the_hosts_and_sees_its_failure(void **state) {
    (void)state;
    host_task foo;
    nt_script s;
    host_spawn(&foo, 3 * NT_SEC, "Foo");
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(foo.outcome), NT_NOTE("never")));
    nt_turn();
    assert_ok(neap_future_set_error(foo.outcome, NEAP_EPIPE, "early"));
    nt_until_task(task);
    assert_code(neap_future_error(neap_task_future(task)), NEAP_EPIPE);
    assert_ok(neap_loop_advance(nt.loop, 3 * NT_SEC));
    nt_turns(2);
    assert_notes("Foo@3");
    neap_future_unref(foo.outcome);
    neap_task_unref(task);
}

NT_MAIN(NT_TEST(T1_spawning_only_queues_the_first_step),
        NT_TEST(G1_a_task_runs_to_its_suspension_and_goes_on_from_there),
        NT_TEST(G1_a_finished_task_cannot_be_stepped),
        NT_TEST(G4_a_task_returns_its_value_as_its_result), NT_TEST(T2_a_task_is_a_future),
        NT_TEST(T2_a_reference_to_the_future_keeps_the_task),
        NT_TEST(T3_one_await_is_step_suspend_wake_step_done),
        NT_TEST(T4_G2_the_awaited_value_comes_back_in),
        NT_TEST(T4_G3_the_awaited_failure_comes_back_in_and_counts_as_retrieved),
        NT_TEST(T5_a_bare_yield_goes_to_the_back_of_the_next_batch),
        NT_TEST(F9_awaiting_a_done_future_wakes_in_the_next_batch),
        NT_TEST(T9_a_task_cannot_await_itself),
        NT_TEST(T10_a_task_cannot_await_the_future_of_another_loop),
        NT_TEST(a_step_can_await_one_future_only), NT_TEST(awaiting_outside_a_step_is_refused),
        NT_TEST(T12_only_the_task_settles_its_future),
        NT_TEST(T12_the_step_of_one_task_does_not_settle_another),
        NT_TEST(T12_a_posted_outcome_does_not_settle_a_task),
        NT_TEST(T14_the_current_task_is_set_while_it_steps_and_cleared_after),
        NT_TEST(T14_a_run_inside_a_step_is_refused),
        NT_TEST(T15_the_walk_visits_live_tasks_in_order_of_creation),
        NT_TEST(T15_tasks_spawned_in_the_walk_are_not_visited),
        NT_TEST(a_task_has_a_name_and_a_site),
        NT_TEST(the_site_that_only_the_ops_know_is_asked_for_when_it_is_wanted),
        NT_TEST(a_table_of_ops_from_before_the_site_is_taken),
        NT_TEST_VIRTUAL(a_task_tells_what_it_waits_for_and_since_when),
        NT_TEST_VIRTUAL(the_loop_owns_a_task_that_nobody_holds),
        NT_TEST(destroy_runs_once_after_the_last_step),
        NT_TEST(destroy_runs_also_when_the_spawn_fails),
        NT_TEST(T21_nothing_is_left_of_a_failed_task_that_was_released),
        NT_TEST(G6_100000_suspended_tasks_keep_their_own_state),
        NT_TEST(T19_every_spawn_goes_through_the_factory),
        NT_TEST(T19_neap_task_new_passes_the_factory_by),
        NT_TEST(T19_a_failing_factory_surfaces_to_the_spawner_and_leaks_nothing),
        NT_TEST(T19_the_factory_is_destroyed_with_the_loop),
        NT_TEST_VIRTUAL(T20_a_task_written_by_the_host_runs_next_to_ours_and_in_wait),
        NT_TEST_VIRTUAL(T20_our_task_awaits_the_hosts_and_sees_its_failure))
