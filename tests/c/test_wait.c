/* Waiting for several: wait, gather, wait_for, shield. */
#include <string.h>

#include "support.h"

static neap_future *start_wait(neap_future *const *futures, size_t n, int32_t when,
                               int64_t timeout) {
    neap_future *waited = NULL;
    assert_ok(neap_wait(nt.loop, futures, n, when, timeout, &waited));
    assert_non_null(waited);
    return waited;
}

static neap_future *start_gather(neap_future *const *futures, size_t n, uint32_t flags) {
    neap_future *gathered = NULL;
    assert_ok(neap_gather(nt.loop, futures, n, flags, &gathered));
    assert_non_null(gathered);
    return gathered;
}

static void make(neap_future **futures, int n) {
    for (int i = 0; i < n; i++)
        futures[i] = nt_future();
}

static void drop(neap_future **futures, int n) {
    for (int i = 0; i < n; i++)
        neap_future_unref(futures[i]);
}

static void cancel(neap_future **futures, int n) {
    for (int i = 0; i < n; i++)
        neap_future_cancel(futures[i], NULL);
}

/* Asserts which members are done, as a string of 0 and 1, and that nothing is left hanging on
   them. */
static void assert_members(neap_future *waited, neap_future **futures, const char *done) {
    assert_int_equal(neap_future_kind(waited), NEAP_KIND_LIST);
    assert_int_equal(neap_future_list_count(waited), strlen(done));
    for (size_t i = 0; i < strlen(done); i++) {
        assert_ptr_equal(neap_future_list_get(waited, i), futures[i]);
        assert_int_equal(neap_future_done(futures[i]), done[i] == '1');
        assert_int_equal(neap_future_waiters(futures[i]), 0);
    }
    assert_null(neap_future_list_get(waited, strlen(done)));
}

/* ---- wait ------------------------------------------------------------------------------------ */

static void W1_wait_for_all_returns_when_the_last_is_done(void **state) {
    (void)state;
    nt_script s[2];
    neap_task *tasks[2];
    neap_future *futures[2];
    tasks[0] = nt_spawn(&s[0], "two", NT_ACTS(NT_SLEEP(2 * NT_SEC), NT_NOTE("2")));
    tasks[1] = nt_spawn(&s[1], "one", NT_ACTS(NT_SLEEP(1 * NT_SEC), NT_NOTE("1")));
    for (int i = 0; i < 2; i++)
        futures[i] = neap_task_future(tasks[i]);
    neap_future *waited = start_wait(futures, 2, NEAP_WAIT_ALL, -1);
    nt_until(waited);
    assert_true(neap_loop_time(nt.loop) == 2 * NT_SEC);
    assert_notes("1 2");
    assert_members(waited, futures, "11");
    neap_future_unref(waited);
    neap_task_unref(tasks[0]);
    neap_task_unref(tasks[1]);
}

static void W2_duplicates_collapse(void **state) {
    (void)state;
    neap_future *future = nt_future();
    neap_future *twice[3] = {future, future, future};
    neap_future *waited = start_wait(twice, 3, NEAP_WAIT_ALL, -1);
    assert_int_equal(neap_future_waiters(future), 1);
    assert_ok(neap_future_set_none(future));
    nt_until(waited);
    assert_members(waited, twice, "1");
    neap_future_unref(waited);
    neap_future_unref(future);
}

static void W3_W7_wait_for_the_first_completed(void **state) {
    (void)state;
    neap_future *futures[3] = {nt_sleep(3 * NT_SEC), nt_sleep(1 * NT_SEC), nt_sleep(2 * NT_SEC)};
    neap_future *waited = start_wait(futures, 3, NEAP_WAIT_FIRST_COMPLETED, -1);
    nt_until(waited);
    assert_true(neap_loop_time(nt.loop) == NT_SEC);
    assert_members(waited, futures, "010");
    neap_future_unref(waited);
    cancel(futures, 3);
    drop(futures, 3);
}

static void W7_wait_for_the_first_exception_stops_at_a_failure(void **state) {
    (void)state;
    neap_future *futures[3];
    make(futures, 3);
    neap_future *waited = start_wait(futures, 3, NEAP_WAIT_FIRST_EXCEPTION, -1);
    assert_ok(neap_future_set_none(futures[2]));
    nt_turns(2);
    assert_state(waited, NEAP_STATE_PENDING);
    assert_ok(neap_future_set_error(futures[0], NEAP_EPIPE, NULL));
    nt_until(waited);
    assert_members(waited, futures, "101");
    assert_code(neap_future_error(futures[0]), NEAP_EPIPE);
    neap_future_unref(waited);
    drop(futures, 3);
}

static void W7_a_cancelled_member_is_no_exception(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    neap_future *waited = start_wait(futures, 2, NEAP_WAIT_FIRST_EXCEPTION, -1);
    neap_future_cancel(futures[0], NULL);
    nt_turns(3);
    assert_state(waited, NEAP_STATE_PENDING);
    assert_ok(neap_future_set_none(futures[1]));
    nt_until(waited);
    assert_members(waited, futures, "11");
    neap_future_unref(waited);
    drop(futures, 2);
}

static void W7_wait_for_the_first_exception_without_one_is_wait_for_all(void **state) {
    (void)state;
    neap_future *futures[2] = {nt_sleep(1 * NT_SEC), nt_sleep(2 * NT_SEC)};
    neap_future *waited = start_wait(futures, 2, NEAP_WAIT_FIRST_EXCEPTION, -1);
    nt_until(waited);
    assert_true(neap_loop_time(nt.loop) == 2 * NT_SEC);
    assert_members(waited, futures, "11");
    neap_future_unref(waited);
    drop(futures, 2);
}

static void W3_W7_a_timeout_ends_the_wait_and_cancels_nobody(void **state) {
    (void)state;
    neap_future *futures[2] = {nt_sleep(1 * NT_SEC), nt_sleep(5 * NT_SEC)};
    neap_future *waited = start_wait(futures, 2, NEAP_WAIT_ALL, 2 * NT_SEC);
    nt_until(waited);
    assert_true(neap_loop_time(nt.loop) == 2 * NT_SEC);
    assert_members(waited, futures, "10");
    assert_state(futures[1], NEAP_STATE_PENDING);
    neap_future_unref(waited);
    cancel(futures, 2);
    drop(futures, 2);
}

static void W7_the_timer_of_a_wait_that_ended_is_gone(void **state) {
    (void)state;
    neap_future *future = nt_future();
    neap_future *waited = start_wait(&future, 1, NEAP_WAIT_ALL, 5 * NT_SEC);
    assert_int_equal(nt_metrics().timers, 1);
    assert_ok(neap_future_set_none(future));
    nt_until(waited);
    assert_int_equal(nt_metrics().timers, 0);
    neap_future_unref(waited);
    neap_future_unref(future);
}

static void W3_a_cancelled_wait_leaves_its_members_alone(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    neap_future *waited = start_wait(futures, 2, NEAP_WAIT_ALL, 5 * NT_SEC);
    assert_int_equal(neap_future_cancel(waited, NULL), 1);
    nt_turns(2);
    assert_state(waited, NEAP_STATE_CANCELLED);
    for (int i = 0; i < 2; i++) {
        assert_state(futures[i], NEAP_STATE_PENDING);
        assert_int_equal(neap_future_waiters(futures[i]), 0);
    }
    assert_int_equal(nt_metrics().timers, 0);
    neap_future_unref(waited);
    drop(futures, 2);
}

static void W3_a_dropped_wait_leaves_nothing_on_its_members(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    neap_future_unref(start_wait(futures, 2, NEAP_WAIT_ALL, 5 * NT_SEC));
    nt_turns(2);
    assert_ok(neap_future_set_none(futures[0]));
    nt_turns(2);
    drop(futures, 2);
    assert_ok(neap_loop_advance(nt.loop, 6 * NT_SEC));
    nt_turns(2);
    assert_int_equal(nt_metrics().timers, 0);
}

static void W4_a_wait_for_nothing_is_refused(void **state) {
    (void)state;
    neap_future *waited = NULL;
    assert_code(neap_wait(nt.loop, NULL, 0, NEAP_WAIT_ALL, -1, &waited), NEAP_EVALUE);
    assert_null(waited);
}

static void W6_a_wait_for_what_is_done_ends_in_the_next_tick(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    assert_ok(neap_future_set_none(futures[0]));
    assert_ok(neap_future_set_int(futures[1], 1));
    for (int32_t when = NEAP_WAIT_ALL; when <= NEAP_WAIT_FIRST_EXCEPTION; when++) {
        neap_future *waited = start_wait(futures, 2, when, -1);
        assert_int_equal(neap_future_waiters(waited), 0);
        nt_turn();
        assert_members(waited, futures, "11");
        neap_future_unref(waited);
    }
    drop(futures, 2);
}

static void a_wait_with_wrong_arguments_is_refused(void **state) {
    (void)state;
    neap_future *futures[2] = {nt_future(), NULL};
    neap_future *waited = NULL;
    assert_code(neap_wait(nt.loop, futures, 2, NEAP_WAIT_ALL, -1, &waited), NEAP_EINVAL);
    assert_code(neap_wait(nt.loop, futures, 1, 17, -1, &waited), NEAP_EINVAL);
    assert_code(neap_wait(nt.loop, NULL, 1, NEAP_WAIT_ALL, -1, &waited), NEAP_EINVAL);
    assert_null(waited);
    assert_int_equal(neap_future_waiters(futures[0]), 0);
    neap_future_unref(futures[0]);
}

static void E2_futures_of_another_loop_are_refused(void **state) {
    (void)state;
    neap_loop *other = nt_loop_new(0);
    neap_future *futures[2] = {nt_future(), nt_future_on(other)};
    neap_future *out = NULL;
    assert_code(neap_wait(nt.loop, futures, 2, NEAP_WAIT_ALL, -1, &out), NEAP_EOTHER_LOOP);
    assert_code(neap_gather(nt.loop, futures, 2, 0, &out), NEAP_EOTHER_LOOP);
    assert_null(out);
    for (int i = 0; i < 2; i++)
        assert_int_equal(neap_future_waiters(futures[i]), 0);
    drop(futures, 2);
    nt_loop_end(other);
}

/* ---- gather ---------------------------------------------------------------------------------- */

static void W8_gather_keeps_the_order_of_its_arguments(void **state) {
    (void)state;
    nt_script s[3];
    neap_task *tasks[3];
    neap_future *futures[3];
    tasks[0] = nt_spawn(&s[0], "a", NT_ACTS(NT_SLEEP(3 * NT_SEC), NT_RETURN(30)));
    tasks[1] = nt_spawn(&s[1], "b", NT_ACTS(NT_SLEEP(1 * NT_SEC), NT_RETURN(10)));
    tasks[2] = nt_spawn(&s[2], "c", NT_ACTS(NT_SLEEP(2 * NT_SEC), NT_RETURN(20)));
    for (int i = 0; i < 3; i++)
        futures[i] = neap_task_future(tasks[i]);
    neap_future *gathered = start_gather(futures, 3, 0);
    nt_until(gathered);
    assert_members(gathered, futures, "111");
    for (int i = 0; i < 3; i++) {
        neap_future *member = neap_future_list_get(gathered, (size_t)i);
        assert_int_equal(nt_int(member), i == 0 ? 30 : i * 10);
        neap_task_unref(tasks[i]);
    }
    neap_future_unref(gathered);
}

static void W8_an_empty_gather_is_an_empty_list(void **state) {
    (void)state;
    neap_future *gathered = start_gather(NULL, 0, 0);
    nt_until(gathered);
    assert_int_equal(neap_future_kind(gathered), NEAP_KIND_LIST);
    assert_int_equal(neap_future_list_count(gathered), 0);
    neap_future_unref(gathered);
}

static void W8_the_same_future_twice_is_there_twice(void **state) {
    (void)state;
    neap_future *future = nt_future();
    neap_future *twice[2] = {future, future};
    neap_future *gathered = start_gather(twice, 2, 0);
    assert_ok(neap_future_set_int(future, 4));
    nt_until(gathered);
    assert_members(gathered, twice, "11");
    neap_future_unref(gathered);
    neap_future_unref(future);
}

static void W8_cancelling_a_gather_cancels_its_members(void **state) {
    (void)state;
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_YIELD, NT_NOTE("cleaned")));
    neap_future *futures[3] = {nt_future(), neap_task_future(task), nt_future()};
    neap_future *gathered = start_gather(futures, 3, 0);
    assert_ok(neap_future_set_int(futures[0], 1));
    nt_turn();
    assert_int_equal(neap_future_cancel(gathered, NULL), 1);
    assert_state(gathered, NEAP_STATE_PENDING);
    nt_until(gathered);
    /* It ends after its members have. */
    assert_notes("cleaned");
    assert_state(gathered, NEAP_STATE_CANCELLED);
    assert_state(futures[2], NEAP_STATE_CANCELLED);
    assert_int_equal(nt_int(futures[0]), 1);
    assert_int_equal(neap_future_list_count(gathered), 3);
    neap_future_unref(gathered);
    neap_future_unref(futures[0]);
    neap_future_unref(futures[2]);
    neap_task_unref(task);
}

static void W8_the_first_failure_cancels_the_others_and_waits_for_them(void **state) {
    (void)state;
    nt_script s[3];
    neap_task *tasks[3];
    neap_future *futures[3];
    tasks[0] = nt_spawn(&s[0], "sleeper",
                        NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_SLEEP(NT_SEC), NT_NOTE("slept")));
    tasks[1] = nt_spawn(&s[1], "failer", NT_ACTS(NT_YIELD, NT_FAIL(NEAP_EPIPE)));
    tasks[2] = nt_spawn(&s[2], "worse", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_FAIL(NEAP_EPERM)));
    for (int i = 0; i < 3; i++)
        futures[i] = neap_task_future(tasks[i]);
    neap_future *gathered = start_gather(futures, 3, 0);
    nt_until(gathered);
    assert_notes("slept");
    assert_true(neap_loop_time(nt.loop) == NT_SEC);
    assert_code(neap_future_error(gathered), NEAP_EGROUP);
    assert_int_equal(neap_future_list_count(gathered), 3);
    assert_state(neap_future_list_get(gathered, 0), NEAP_STATE_RESULT);
    assert_code(neap_future_error(neap_future_list_get(gathered, 1)), NEAP_EPIPE);
    assert_code(neap_future_error(neap_future_list_get(gathered, 2)), NEAP_EPERM);
    nt_no_reports();
    neap_future_unref(gathered);
    for (int i = 0; i < 3; i++)
        neap_task_unref(tasks[i]);
}

static void W8_a_cancelled_member_cancels_the_gather(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    neap_future *gathered = start_gather(futures, 2, 0);
    neap_future_cancel(futures[0], NULL);
    nt_until(gathered);
    assert_state(gathered, NEAP_STATE_CANCELLED);
    assert_state(futures[1], NEAP_STATE_CANCELLED);
    neap_future_unref(gathered);
    drop(futures, 2);
}

static void W8_a_gather_that_returns_errors_waits_for_all_and_succeeds(void **state) {
    (void)state;
    neap_future *futures[3];
    make(futures, 3);
    neap_future *gathered = start_gather(futures, 3, NEAP_GATHER_RETURN_ERRORS);
    assert_ok(neap_future_set_error(futures[0], NEAP_EPIPE, NULL));
    neap_future_cancel(futures[1], NULL);
    nt_turns(3);
    assert_state(gathered, NEAP_STATE_PENDING);
    assert_state(futures[2], NEAP_STATE_PENDING);
    assert_ok(neap_future_set_int(futures[2], 3));
    nt_until(gathered);
    assert_members(gathered, futures, "111");
    assert_code(neap_future_error(neap_future_list_get(gathered, 0)), NEAP_EPIPE);
    nt_no_reports();
    neap_future_unref(gathered);
    drop(futures, 3);
}

static void W8_a_gather_of_done_members_ends_in_the_next_tick(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    assert_ok(neap_future_set_none(futures[0]));
    assert_ok(neap_future_set_error(futures[1], NEAP_EPIPE, NULL));
    neap_future *gathered = start_gather(futures, 2, 0);
    assert_ok(neap_future_ignore(gathered));
    nt_turn();
    assert_code(neap_future_error(gathered), NEAP_EGROUP);
    neap_future_unref(gathered);
    drop(futures, 2);
}

static void a_failed_gather_that_nobody_awaits_is_reported_once(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    neap_future *gathered = start_gather(futures, 2, 0);
    assert_ok(neap_future_set_error(futures[0], NEAP_EPIPE, NULL));
    assert_ok(neap_future_set_error(futures[1], NEAP_EPERM, NULL));
    nt_settle();
    assert_state(gathered, NEAP_STATE_ERROR);
    const nt_report *report = nt_claim(NEAP_REPORT_UNHANDLED);
    assert_ptr_equal(report->future, gathered);
    assert_int_equal(report->code, NEAP_EGROUP);
    neap_future_unref(gathered);
    drop(futures, 2);
    nt_settle();
}

static void a_dropped_gather_does_not_harm_its_members(void **state) {
    (void)state;
    neap_future *futures[2];
    make(futures, 2);
    neap_future_unref(start_gather(futures, 2, 0));
    nt_turns(2);
    assert_state(futures[0], NEAP_STATE_PENDING);
    assert_ok(neap_future_set_none(futures[0]));
    assert_ok(neap_future_set_none(futures[1]));
    nt_turns(2);
    drop(futures, 2);
}

static void a_gather_of_gathers_is_cancelled_through(void **state) {
    (void)state;
    neap_future *leaves[4];
    make(leaves, 4);
    neap_future *inner[2] = {start_gather(leaves, 2, 0), start_gather(leaves + 2, 2, 0)};
    neap_future *outer = start_gather(inner, 2, 0);
    nt_turn();
    assert_int_equal(neap_future_cancel(outer, NULL), 1);
    nt_until(outer);
    assert_state(outer, NEAP_STATE_CANCELLED);
    for (int i = 0; i < 4; i++)
        assert_state(leaves[i], NEAP_STATE_CANCELLED);
    neap_future_unref(outer);
    drop(inner, 2);
    drop(leaves, 4);
}

static void a_gather_of_very_many_members_works(void **state) {
    (void)state;
    enum {
        N = 10000
    };
    static neap_future *futures[N];
    make(futures, N);
    neap_future *gathered = start_gather(futures, N, 0);
    for (int i = 0; i < N; i++)
        assert_ok(neap_future_set_int(futures[N - 1 - i], i));
    nt_until(gathered);
    assert_int_equal(neap_future_list_count(gathered), N);
    neap_future_unref(gathered);
    drop(futures, N);
}

/* ---- wait_for -------------------------------------------------------------------------------- */

static neap_future *start_wait_for(neap_future *future, int64_t timeout_ns) {
    neap_future *outer = NULL;
    assert_ok(neap_wait_for(future, timeout_ns, &outer));
    assert_non_null(outer);
    return outer;
}

static void wait_for_passes_on_a_value_a_failure_and_a_cancellation(void **state) {
    (void)state;
    static const char tag;
    int destroyed = 0;
    neap_future *inner[3];
    neap_future *outer[3];
    make(inner, 3);
    for (int i = 0; i < 3; i++) {
        outer[i] = start_wait_for(inner[i], NT_SEC);
        assert_ok(neap_future_ignore(outer[i])); /* that of the inner one is what this is about */
    }
    assert_ok(neap_future_set_int(inner[0], 12));
    assert_ok(
        neap_future_set_exception(inner[1], NEAP_EFOREIGN, "boom", &tag, &destroyed, nt_count_fn));
    neap_future_cancel(inner[2], "gone");
    for (int i = 0; i < 3; i++)
        nt_until(outer[i]);
    assert_true(neap_loop_time(nt.loop) == 0);
    assert_int_equal(nt_int(outer[0]), 12);
    assert_code(neap_future_error(outer[1]), NEAP_EFOREIGN);
    assert_string_equal(neap_future_message(outer[1]), "boom");
    assert_ptr_equal(neap_future_exception(outer[1], &tag), &destroyed);
    assert_state(outer[2], NEAP_STATE_CANCELLED);
    assert_int_equal(nt_metrics().timers, 0);
    nt_no_reports();
    drop(inner, 3);
    drop(outer, 3);
    assert_int_equal(destroyed, 1);
}

static void wait_for_passes_on_bytes_and_pointers(void **state) {
    (void)state;
    static const char tag;
    int destroyed = 0;
    const void *data = NULL;
    size_t len = 0;
    void *ptr = NULL;
    neap_future *inner[2];
    make(inner, 2);
    neap_future *bytes = start_wait_for(inner[0], NT_SEC);
    neap_future *pointer = start_wait_for(inner[1], NT_SEC);
    assert_ok(neap_future_set_bytes(inner[0], "abc", 3));
    assert_ok(neap_future_set_ptr(inner[1], &tag, &destroyed, nt_count_fn));
    drop(inner, 2);
    nt_until(bytes);
    nt_until(pointer);
    assert_ok(neap_future_get_bytes(bytes, &data, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(data, "abc", 3);
    assert_ok(neap_future_get_ptr(pointer, &tag, &ptr));
    assert_ptr_equal(ptr, &destroyed);
    assert_int_equal(destroyed, 0);
    neap_future_unref(bytes);
    neap_future_unref(pointer);
    assert_int_equal(destroyed, 1);
}

static void wait_for_cancels_waits_for_the_end_and_fails_with_a_timeout(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t",
                               NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_NOTE("cleaning"),
                                       NT_SLEEP(NT_SEC), NT_NOTE("clean"), NT_CANCEL_SELF));
    neap_future *outer = start_wait_for(neap_task_future(task), 2 * NT_SEC);
    nt_until(outer);
    assert_notes("cleaning clean");
    assert_true(neap_loop_time(nt.loop) == 3 * NT_SEC);
    assert_code(neap_future_error(outer), NEAP_ETIMEOUT);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_future_unref(outer);
    neap_task_unref(task);
}

static void wait_for_gives_the_value_of_what_completed_all_the_same(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_RETURN(5)));
    neap_future *outer = start_wait_for(neap_task_future(task), 2 * NT_SEC);
    nt_until(outer);
    assert_int_equal(nt_int(outer), 5);
    neap_future_unref(outer);
    neap_task_unref(task);
}

static void wait_for_gives_the_value_that_came_in_the_tick_of_the_timeout(void **state) {
    (void)state;
    for (int order = 0; order < 2; order++) {
        neap_future *outer = NULL;
        neap_future *inner = NULL;
        if (order == 0) {
            inner = nt_sleep(NT_SEC);
            outer = start_wait_for(inner, NT_SEC);
        } else {
            /* The timer of the wait is the older one. */
            neap_future *gate = nt_future();
            outer = start_wait_for(gate, NT_SEC);
            inner = nt_sleep(NT_SEC);
            neap_future_unref(gate);
        }
        assert_ok(neap_future_ignore(outer));
        assert_ok(neap_loop_advance(nt.loop, NT_SEC));
        nt_settle();
        assert_int_equal(neap_future_done(outer), 1);
        if (order == 0)
            assert_int_equal(neap_future_error(outer), 0);
        else
            assert_code(neap_future_error(outer), NEAP_ETIMEOUT);
        neap_future_unref(inner);
        neap_future_unref(outer);
    }
}

static void cancelling_wait_for_cancels_what_it_waits_for(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(
        &s, "t", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_YIELD, NT_NOTE("clean"), NT_CANCEL_SELF));
    neap_future *outer = start_wait_for(neap_task_future(task), NT_SEC);
    nt_turn();
    assert_int_equal(neap_future_cancel(outer, NULL), 1);
    nt_until(outer);
    assert_notes("clean");
    assert_state(outer, NEAP_STATE_CANCELLED);
    assert_true(neap_loop_time(nt.loop) == 0);
    assert_int_equal(nt_metrics().timers, 0);
    neap_future_unref(outer);
    neap_task_unref(task);
}

static void a_wait_for_that_times_out_leaves_a_cancel_of_the_waiter_alone(void **state) {
    (void)state;
    nt_script s;
    neap_future *inner = nt_future();
    neap_future *outer = start_wait_for(inner, NT_SEC);
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(outer), NT_NOTE("never")));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_state(inner, NEAP_STATE_CANCELLED);
    neap_future_unref(inner);
    neap_future_unref(outer);
    neap_task_unref(task);
}

static void wait_for_without_a_limit_waits(void **state) {
    (void)state;
    neap_future *inner = nt_sleep(1000 * NT_SEC);
    neap_future *outer = start_wait_for(inner, -1);
    assert_int_equal(nt_metrics().timers, 1);
    nt_until(outer);
    assert_int_equal(neap_future_error(outer), 0);
    neap_future_unref(inner);
    neap_future_unref(outer);
}

/* ---- shield ---------------------------------------------------------------------------------- */

static void shield_passes_on_the_outcome(void **state) {
    (void)state;
    neap_future *inner = nt_future();
    neap_future *outer = NULL;
    assert_ok(neap_shield(inner, &outer));
    assert_ok(neap_future_set_int(inner, 6));
    nt_until(outer);
    assert_int_equal(nt_int(outer), 6);
    neap_future_unref(inner);
    neap_future_unref(outer);
}

static void a_long_chain_of_shields_ends_without_a_deep_stack(void **state) {
    (void)state;
    enum {
        N = 300000
    };
    neap_future *future = nt_future();
    int64_t value = 0;
    assert_ok(neap_future_set_int(future, 7));
    for (int i = 0; i < N; i++) {
        neap_future *outer = NULL;
        assert_ok(neap_shield(future, &outer));
        neap_future_unref(future);
        future = outer;
    }
    assert_ok(neap_future_get_int(future, &value));
    assert_int_equal(value, 7);
    neap_future_unref(future);
    assert_int_equal(nt_metrics().futures, 0);
}

static void cancelling_a_shield_leaves_what_is_shielded_alone(void **state) {
    (void)state;
    nt_script inner, waiter;
    neap_future *shield = NULL;
    neap_task *work =
        nt_spawn(&inner, "work", NT_ACTS(NT_SLEEP(NT_SEC), NT_NOTE("worked"), NT_RETURN(1)));
    assert_ok(neap_shield(neap_task_future(work), &shield));
    neap_task *task = nt_spawn(&waiter, "waiter", NT_ACTS(NT_AWAIT(shield), NT_NOTE("never")));
    nt_turn();
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_state(shield, NEAP_STATE_CANCELLED);
    nt_until_task(work);
    assert_notes("worked");
    neap_future_unref(shield);
    neap_task_unref(task);
    neap_task_unref(work);
}

static void a_failure_behind_a_cancelled_shield_is_reported(void **state) {
    (void)state;
    nt_script s;
    neap_future *shield = NULL;
    neap_task *work = nt_spawn(&s, "work", NT_ACTS(NT_SLEEP(NT_SEC), NT_FAIL(NEAP_EPIPE)));
    assert_ok(neap_shield(neap_task_future(work), &shield));
    neap_future_cancel(shield, NULL);
    neap_future_unref(shield);
    assert_ok(neap_loop_advance(nt.loop, 0));
    nt_turn();
    assert_ok(neap_loop_advance(nt.loop, NT_SEC));
    nt_settle();
    assert_string_equal(nt_claim(NEAP_REPORT_UNHANDLED)->name, "work");
    neap_task_unref(work);
}

NT_MAIN(NT_TEST_VIRTUAL(W1_wait_for_all_returns_when_the_last_is_done),
        NT_TEST(W2_duplicates_collapse), NT_TEST_VIRTUAL(W3_W7_wait_for_the_first_completed),
        NT_TEST(W7_wait_for_the_first_exception_stops_at_a_failure),
        NT_TEST(W7_a_cancelled_member_is_no_exception),
        NT_TEST_VIRTUAL(W7_wait_for_the_first_exception_without_one_is_wait_for_all),
        NT_TEST_VIRTUAL(W3_W7_a_timeout_ends_the_wait_and_cancels_nobody),
        NT_TEST_VIRTUAL(W7_the_timer_of_a_wait_that_ended_is_gone),
        NT_TEST_VIRTUAL(W3_a_cancelled_wait_leaves_its_members_alone),
        NT_TEST_VIRTUAL(W3_a_dropped_wait_leaves_nothing_on_its_members),
        NT_TEST(W4_a_wait_for_nothing_is_refused),
        NT_TEST(W6_a_wait_for_what_is_done_ends_in_the_next_tick),
        NT_TEST(a_wait_with_wrong_arguments_is_refused),
        NT_TEST(E2_futures_of_another_loop_are_refused),
        NT_TEST_VIRTUAL(W8_gather_keeps_the_order_of_its_arguments),
        NT_TEST(W8_an_empty_gather_is_an_empty_list),
        NT_TEST(W8_the_same_future_twice_is_there_twice),
        NT_TEST_VIRTUAL(W8_cancelling_a_gather_cancels_its_members),
        NT_TEST_VIRTUAL(W8_the_first_failure_cancels_the_others_and_waits_for_them),
        NT_TEST(W8_a_cancelled_member_cancels_the_gather),
        NT_TEST(W8_a_gather_that_returns_errors_waits_for_all_and_succeeds),
        NT_TEST(W8_a_gather_of_done_members_ends_in_the_next_tick),
        NT_TEST(a_failed_gather_that_nobody_awaits_is_reported_once),
        NT_TEST(a_dropped_gather_does_not_harm_its_members),
        NT_TEST(a_gather_of_gathers_is_cancelled_through),
        NT_TEST(a_gather_of_very_many_members_works),
        NT_TEST_VIRTUAL(wait_for_passes_on_a_value_a_failure_and_a_cancellation),
        NT_TEST_VIRTUAL(wait_for_passes_on_bytes_and_pointers),
        NT_TEST_VIRTUAL(wait_for_cancels_waits_for_the_end_and_fails_with_a_timeout),
        NT_TEST_VIRTUAL(wait_for_gives_the_value_of_what_completed_all_the_same),
        NT_TEST_VIRTUAL(wait_for_gives_the_value_that_came_in_the_tick_of_the_timeout),
        NT_TEST_VIRTUAL(cancelling_wait_for_cancels_what_it_waits_for),
        NT_TEST_VIRTUAL(a_wait_for_that_times_out_leaves_a_cancel_of_the_waiter_alone),
        NT_TEST_VIRTUAL(wait_for_without_a_limit_waits), NT_TEST(shield_passes_on_the_outcome),
        NT_TEST(a_long_chain_of_shields_ends_without_a_deep_stack),
        NT_TEST_VIRTUAL(cancelling_a_shield_leaves_what_is_shielded_alone),
        NT_TEST_VIRTUAL(a_failure_behind_a_cancelled_shield_is_reported))
