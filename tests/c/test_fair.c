/* Fairness: budgets of steps and turns, steps that are taken off in the middle, tasks that only yield, and asking for a
   cancellation without waiting. */
#include <string.h>

#include "support.h"

/* ---- Budgets ---------------------------------------------------------------------------------- */

/* A task that starts operations until it is told to yield, and does so for a number of steps. */
typedef struct worker {
    int steps; /* to do */
    int done;
    int spent[64]; /* in each step */
} worker;

static int32_t work(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    worker *w = user;
    int n = 0;
    (void)task;
    (void)awaited;
    (void)wake;
    while (n < 100000 && neap_loop_spend(nt.loop, 1) == 1)
        n++;
    w->spent[w->done++] = n;
    return w->done < w->steps ? NEAP_STEP_YIELD : NEAP_STEP_DONE;
}

static const neap_task_ops worker_ops = {.size = sizeof worker_ops, .step = work};

static void D7_a_step_may_start_128_operations(void **state) {
    (void)state;
    worker w = {.steps = 3};
    assert_ok(neap_task_spawn(nt.loop, &worker_ops, &w, NULL, NULL));
    nt_turns(4);
    assert_int_equal(w.done, 3);
    for (int i = 0; i < w.done; i++)
        assert_int_equal(w.spent[i], 127); /* the one that spends the budget is the last */
}

static void D7_a_turn_of_many_tasks_is_bounded_and_each_has_a_share(void **state) {
    (void)state;
    static worker workers[100];
    int total = 0;
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < 100; i++) {
        workers[i].steps = 2;
        assert_ok(neap_task_spawn(nt.loop, &worker_ops, &workers[i], NULL, NULL));
    }
    nt_turn();
    for (int i = 0; i < 100; i++) {
        total += workers[i].spent[0];
        assert_true(workers[i].spent[0] >= 7);
    }
    assert_true(total <= 4096 + 100 * 8);
    assert_int_equal(workers[99].spent[0], 7);
    nt_turn(); /* a new turn, a new budget */
    assert_int_equal(workers[0].spent[1], 127);
}

/* ---- Steps that are taken off in the middle --------------------------------------------------- */

typedef struct sliced {
    int32_t answers[4];
    int done;
} sliced;

static int32_t slice(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    static const char *const words[] = {"start", "ready", "cancel", "resume"};
    sliced *s = user;
    (void)task;
    (void)awaited;
    nt_note("%s", words[wake]);
    return wake == NEAP_WAKE_CANCEL ? NEAP_STEP_CANCELLED : s->answers[s->done++];
}

static const neap_task_ops slice_ops = {.size = sizeof slice_ops, .step = slice};

static neap_task *spawn_sliced(sliced *s) {
    neap_task *task;
    assert_ok(neap_task_spawn(nt.loop, &slice_ops, s, NULL, &task));
    return task;
}

static void D7_a_task_that_is_taken_off_goes_on_in_the_next_turn(void **state) {
    (void)state;
    sliced s = {.answers = {NEAP_STEP_PREEMPT, NEAP_STEP_PREEMPT, NEAP_STEP_DONE}};
    neap_task *task = spawn_sliced(&s);
    nt_soon("callback");
    nt_turn();
    assert_notes("start callback");
    nt_turns(2);
    assert_notes("start callback resume resume");
    assert_state(neap_task_future(task), NEAP_STATE_RESULT);
    neap_task_unref(task);
}

static void D7_no_cancellation_comes_in_where_a_task_was_taken_off(void **state) {
    (void)state;
    sliced s = {.answers = {NEAP_STEP_PREEMPT, NEAP_STEP_YIELD}};
    neap_task *task = spawn_sliced(&s);
    nt_turn();
    assert_int_equal(neap_task_cancel(task, "enough"), 1);
    nt_turn();
    assert_notes("start resume");
    nt_turn(); /* after the yield it does */
    assert_notes("start resume cancel");
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void D7_a_cancelled_scope_waits_likewise(void **state) {
    (void)state;
    sliced s = {.answers = {NEAP_STEP_PREEMPT, NEAP_STEP_YIELD}};
    neap_scope *scope;
    assert_ok(neap_scope_new(nt.loop, NULL, NEAP_SCOPE_GROUP, &scope));
    const neap_task_options o = {.size = sizeof o, .scope = scope};
    assert_ok(neap_task_spawn(nt.loop, &slice_ops, &s, &o, NULL));
    nt_turn();
    assert_int_equal(neap_scope_cancel(scope, NULL), 1);
    nt_turns(2);
    assert_notes("start resume cancel");
    neap_scope_unref(scope);
}

/* ---- Asking for a cancellation ---------------------------------------------------------------- */

static void check(void *user) {
    (void)user;
    nt_note("%d", (int)neap_task_check(neap_task_current(nt.loop)));
}

static void cancel_current(void *user) {
    (void)user;
    assert_int_equal(neap_task_cancel(neap_task_current(nt.loop), "enough"), 1);
}

static void D7_a_step_can_take_a_cancellation_without_waiting(void **state) {
    (void)state;
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(check, NULL), NT_CALL(cancel_current, NULL), NT_CALL(check, NULL),
                         NT_CALL(check, NULL), NT_YIELD, NT_NOTE("goes-on")));
    assert_code(neap_task_check(task), NEAP_EINVALID_STATE);
    nt_turns(2);
    assert_notes("0 1 0 goes-on"); /* it was taken once */
    assert_state(neap_task_future(task), NEAP_STATE_RESULT);
    neap_task_unref(task);
}

static neap_scope *region;

static void enter_region(void *user) {
    assert_ok(neap_scope_new(nt.loop, NULL, *(uint32_t *)user, &region));
    assert_ok(neap_scope_set_deadline(region, neap_loop_time(nt.loop) + NT_SEC));
    assert_ok(neap_scope_enter(region, neap_task_current(nt.loop)));
}

static void leave_region(void *user) {
    (void)user;
    neap_scope *cause = neap_task_cancelled_by(neap_task_current(nt.loop));
    nt_note("%s", cause == region ? "by-region" : "by-request");
    assert_ok(neap_scope_leave(region, neap_task_current(nt.loop)));
    neap_scope_unref(region);
}

static void pass_time(void *user) {
    (void)user;
    assert_ok(neap_loop_set_slow(nt.loop, -1)); /* the step takes as long */
    assert_ok(neap_loop_advance(nt.loop, 2 * NT_SEC));
}

static void D7_a_deadline_that_passes_while_a_step_computes_is_seen_by_asking(void **state) {
    (void)state;
    nt_script s;
    uint32_t flags = 0;
    neap_task_unref(nt_spawn(&s, "t",
                             NT_ACTS(NT_CALL(enter_region, &flags), NT_CALL(check, NULL),
                                     NT_CALL(pass_time, NULL), NT_CALL(check, NULL),
                                     NT_CALL(check, NULL), NT_CALL(leave_region, NULL))));
    nt_turn();
    assert_notes("0 1 1 by-region");
    assert_int_equal(nt_metrics().timers, 0);
}

static void D7_inside_a_shield_asking_answers_no_until_its_deadline(void **state) {
    (void)state;
    nt_script s;
    uint32_t flags = NEAP_SCOPE_SHIELD;
    neap_task_unref(nt_spawn(&s, "t",
                             NT_ACTS(NT_CALL(enter_region, &flags), NT_CALL(cancel_current, NULL),
                                     NT_CALL(check, NULL), NT_CALL(pass_time, NULL),
                                     NT_CALL(check, NULL), NT_CALL(leave_region, NULL))));
    nt_turn();
    assert_notes("0 1 by-request");
}

/* ---- Tasks that only yield -------------------------------------------------------------------- */

static int logged;

static void count_log(neap_loop *loop, int32_t level, const char *text, void *user) {
    (void)loop;
    (void)user;
    if (level == NEAP_LOG_INFO && strstr(text, "it spins") != NULL) {
        assert_non_null(strstr(text, "spinner"));
        logged++;
    }
}

static void D7_a_task_that_yields_10000_times_in_a_row_is_told_of_once(void **state) {
    (void)state;
    nt_script s, other;
    logged = 0;
    assert_ok(neap_loop_set_log_hook(nt.loop, count_log, NULL, NULL));
    neap_task *task = nt_spawn(&s, "spinner", NT_ACTS(NT_YIELD, NT_AGAIN));
    neap_task *fair = nt_spawn(&other, "fair", NT_ACTS(NT_YIELD, NT_SLEEP(0), NT_AGAIN));
    nt_turns(9999);
    assert_int_equal(logged, 0);
    nt_turn();
    assert_int_equal(logged, 1);
    nt_turns(10001);
    assert_int_equal(logged, 1);
    assert_int_equal(neap_task_abort(task), 1);
    assert_int_equal(neap_task_abort(fair), 1);
    neap_task_unref(task);
    neap_task_unref(fair);
}

static int32_t work_and_yield(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    int *left = user;
    (void)task;
    (void)awaited;
    (void)wake;
    assert_int_equal(neap_loop_spend(nt.loop, 1), 1);
    return --*left > 0 ? NEAP_STEP_YIELD : NEAP_STEP_DONE;
}

static void D7_who_works_between_yields_is_not_told_of(void **state) {
    (void)state;
    static const neap_task_ops ops = {.size = sizeof ops, .step = work_and_yield};
    int left = 10100;
    logged = 0;
    assert_ok(neap_loop_set_log_hook(nt.loop, count_log, NULL, NULL));
    assert_ok(neap_task_spawn(nt.loop, &ops, &left, NULL, NULL));
    nt_turns(10100);
    assert_int_equal(left, 0);
    assert_int_equal(logged, 0);
}

NT_MAIN(NT_TEST(D7_a_step_may_start_128_operations),
        NT_TEST(D7_a_turn_of_many_tasks_is_bounded_and_each_has_a_share),
        NT_TEST(D7_a_task_that_is_taken_off_goes_on_in_the_next_turn),
        NT_TEST(D7_no_cancellation_comes_in_where_a_task_was_taken_off),
        NT_TEST(D7_a_cancelled_scope_waits_likewise),
        NT_TEST(D7_a_step_can_take_a_cancellation_without_waiting),
        NT_TEST_VIRTUAL(D7_a_deadline_that_passes_while_a_step_computes_is_seen_by_asking),
        NT_TEST_VIRTUAL(D7_inside_a_shield_asking_answers_no_until_its_deadline),
        NT_TEST(D7_a_task_that_yields_10000_times_in_a_row_is_told_of_once),
        NT_TEST(D7_who_works_between_yields_is_not_told_of))
