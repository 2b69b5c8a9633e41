/* White-box: steps that no binding would take, and an invariant that broke. */
#include <string.h>

#include "core/loop.h"
#include "core/testhooks.h"
#include "support.h"

static void G1_stepping_a_finished_task_is_refused(void **state) {
    (void)state;
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_NOTE("1"), NT_YIELD, NT_NOTE("2"), NT_RETURN(7)));
    assert_ok(np_test_step(task));
    assert_notes("1");
    assert_ok(np_test_step(task));
    assert_notes("1 2");
    assert_code(np_test_step(task), NEAP_EINVALID_STATE);
    nt_turns(2);
    assert_int_equal(s.n_wakes, 2);
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(nt_int(neap_task_future(task)), 7);
    neap_task_unref(task);
}

static void F9_resuming_a_waiter_before_the_future_is_done_is_refused(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    assert_ok(np_test_step(task));
    assert_code(np_test_step(task), NEAP_EAWAIT_NOT_DONE);
    assert_int_equal(s.n_wakes, 1);
    assert_int_equal(neap_future_waiters(future), 1);
    assert_ok(neap_future_set_int(future, 3));
    assert_ok(np_test_step(task));
    assert_int_equal(nt_int(neap_task_future(task)), 3);
    nt_turns(2);
    assert_int_equal(s.n_wakes, 2);
    neap_task_unref(task);
    neap_future_unref(future);
}

static void note_fatal(neap_loop *loop, const char *file, int32_t line, const char *text,
                       void *user) {
    (void)loop;
    assert_int_equal(*(int *)user, 0);
    nt_note("%s:%d %s", file, (int)line, text);
    ++*(int *)user;
}

static void after_a_broken_invariant_every_call_is_refused_and_the_loop_can_end(void **state) {
    (void)state;
    int fatal = 0, destroyed = 0;
    neap_loop *loop = nt_loop_new(0);
    neap_future *future = NULL;
    nt_script s;
    neap_task *task = nt_spawn_on(loop, &s, "t", NT_ACTS(NT_YIELD));
    assert_ok(neap_loop_set_fatal_hook(loop, note_fatal, &fatal, NULL));
    assert_ok(neap_call_soon(loop, nt_note_fn, &destroyed, nt_count_fn, NULL));
    np_fatal(loop, "heap.c", 12, "the heap is no heap");
    assert_notes("heap.c:12 the heap is no heap");
    assert_int_equal(fatal, 1);
    assert_code(neap_loop_run_once(loop, 0), NEAP_ECORRUPT);
    assert_code(neap_loop_run(loop), NEAP_ECORRUPT);
    assert_code(neap_call_soon(loop, nt_note_fn, NULL, NULL, NULL), NEAP_ECORRUPT);
    assert_code(neap_future_new(loop, &future), NEAP_ECORRUPT);
    assert_code(neap_task_cancel(task, NULL), NEAP_ECORRUPT);
    assert_int_equal(neap_loop_post(loop, nt_note_fn, NULL, NULL) < 0, 1);
    assert_int_equal(s.n_wakes, 0);
    neap_task_unref(task);
    (void)neap_loop_close(loop, NEAP_CLOSE_SILENT);
    neap_loop_unref(loop);
    assert_int_equal(destroyed, 1);
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
}

NT_MAIN(NT_TEST(G1_stepping_a_finished_task_is_refused),
        NT_TEST(F9_resuming_a_waiter_before_the_future_is_done_is_refused),
        NT_TEST_BARE(after_a_broken_invariant_every_call_is_refused_and_the_loop_can_end))
