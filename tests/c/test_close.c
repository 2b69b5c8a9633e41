/* Closing a loop: what ends, what runs, what stays usable. */
#include <string.h>
#include <unistd.h>

#include "support.h"

static void nothing(void *user) {
    (void)user;
}

static void on_signal(int32_t signo, void *user) {
    (void)signo;
    (void)user;
}

static void L10_queued_callbacks_and_timers_are_dropped_and_destroyed(void **state) {
    (void)state;
    int counts[4] = {0};
    neap_future *future = nt_future();
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, &counts[0], nt_count_fn, NULL));
    assert_ok(neap_call_later(nt.loop, NT_SEC, nt_note_fn, &counts[1], nt_count_fn, NULL));
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, &counts[2], nt_count_fn));
    assert_ok(neap_future_on_done(future, nt_note_future_fn, &counts[3], nt_count_fn, NULL));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 1);
    neap_future_unref(future);
    assert_int_equal(counts[3], 1);
    assert_notes("");
}

static void L10_suspended_tasks_end_as_cancelled_without_another_step(void **state) {
    (void)state;
    nt_script sleeping, fresh, ready;
    neap_task *a = nt_spawn(&sleeping, "a", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_NOTE("never")));
    neap_task *b = nt_spawn(&ready, "b", NT_ACTS(NT_YIELD, NT_NOTE("never")));
    nt_turn();
    neap_task *c = nt_spawn(&fresh, "c", NT_ACTS(NT_NOTE("never")));
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_notes("");
    assert_int_equal(sleeping.destroyed, 1);
    assert_int_equal(ready.destroyed, 1);
    assert_int_equal(fresh.destroyed, 1);
    assert_int_equal(sleeping.n_wakes, 1);
    assert_state(neap_task_future(a), NEAP_STATE_CANCELLED);
    assert_state(neap_task_future(b), NEAP_STATE_CANCELLED);
    assert_state(neap_task_future(c), NEAP_STATE_CANCELLED);
    neap_task_unref(a);
    neap_task_unref(b);
    neap_task_unref(c);
}

static void note_error(neap_future *future, void *user) {
    nt_note("%s:%s", (const char *)user, neap_err_name(neap_future_error(future)));
}

static void L10_pending_operations_complete_as_closed_and_their_callbacks_run_once(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *received = NULL;
    neap_future *ready = NULL;
    char buf[8];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_code(neap_sock_recv(a, buf, sizeof buf, 0, &received), NEAP_PENDING);
    assert_code(neap_fd_ready(nt.loop, ends[0], NEAP_READ, 0, &ready), NEAP_PENDING);
    assert_ok(neap_future_on_done(received, note_error, NT_WORD("recv"), NULL, NULL));
    assert_ok(neap_future_on_done(ready, note_error, NT_WORD("ready"), NULL, NULL));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_notes("recv:ECLOSED ready:ECLOSED");
    assert_code(neap_future_error(received), NEAP_ECLOSED);
    neap_future_unref(received);
    neap_future_unref(ready);
    neap_sock_unref(a);
    neap_sock_unref(b);
    close(ends[0]);
    close(ends[1]);
}

static void L10_a_silent_close_runs_destroy_hooks_only(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *received = NULL;
    int destroyed = 0;
    char buf[8];
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_code(neap_sock_recv(a, buf, sizeof buf, 0, &received), NEAP_PENDING);
    assert_ok(neap_future_on_done(received, nt_note_future_fn, &destroyed, nt_count_fn, NULL));
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_notes("");
    assert_int_equal(destroyed, 1);
    neap_future_unref(received);
    neap_sock_unref(a);
    neap_sock_unref(b);
}

static void L10_a_close_inside_a_callback_is_refused_and_works_afterwards(void **state) {
    (void)state;
    nt_soon("x");
    nt_turn();
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_int_equal(neap_loop_is_closed(nt.loop), 1);
}

static void L10_a_close_with_unknown_flags_is_refused(void **state) {
    (void)state;
    assert_code(neap_loop_close(nt.loop, 0x100), NEAP_EINVAL);
    assert_int_equal(neap_loop_is_closed(nt.loop), 0);
}

static void L10_every_starting_function_of_a_closed_loop_answers_loop_closed(void **state) {
    (void)state;
    static const char tag;
    nt_script s;
    neap_sock *sock = NULL;
    neap_sock *out = NULL;
    neap_addr addr;
    char buf[4] = "abc";
    int64_t i64 = 0;
    neap_completion event;
    neap_handle *handle = nt_later_handle(NT_SEC, "x");
    neap_future *future = nt_future();
    neap_future *ret = NULL;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD));
    assert_ok(neap_addr_parse("127.0.0.1:1", &addr));
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    neap_loop *loop = nt.loop;
    assert_code(neap_loop_run(loop), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_run_once(loop, 0), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_run_until(loop, future), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_stop(loop), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_shutdown(loop, 0), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_fd(loop), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_prepare(loop, &i64), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_wait(loop, 0), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_dispatch(loop, 0), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_poll_completions(loop, &event, sizeof event, 1, 0), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_post(loop, nothing, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_loop_hold(loop), NEAP_ELOOP_CLOSED);
    assert_code(neap_call_soon(loop, nothing, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_call_later(loop, 1, nothing, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_handle_reset(handle, 1), NEAP_ELOOP_CLOSED);
    assert_code(neap_future_new(loop, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_sleep(loop, 1, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_gather(loop, &future, 1, 0, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_wait(loop, &future, 1, 0, -1, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_wait_for(future, 1, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_shield(future, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_future_on_done(future, nt_note_future_fn, NULL, NULL, NULL),
                NEAP_ELOOP_CLOSED);
    assert_code(neap_future_post_int(future, 1), NEAP_ELOOP_CLOSED);
    assert_code(neap_task_spawn(loop, &nt_script_ops, &s, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_local_set(loop, &tag, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_sock_new(loop, NEAP_TCP, NEAP_AF_INET, &out), NEAP_ELOOP_CLOSED);
    assert_code(neap_sock_pair(loop, NEAP_UNIX, &out, &out), NEAP_ELOOP_CLOSED);
    assert_code(neap_add_reader(loop, 0, nothing, NULL, NULL), NEAP_ELOOP_CLOSED);
    assert_code(neap_fd_ready(loop, 0, NEAP_READ, 0, &ret), NEAP_ELOOP_CLOSED);
    assert_code(neap_signal_watch(loop, 10, 0, on_signal, NULL, NULL, NULL), NEAP_ELOOP_CLOSED);
    int32_t code = neap_sock_recv(sock, buf, sizeof buf, 0, &ret);
    assert_true(code == NEAP_ECLOSED || code == NEAP_ELOOP_CLOSED);
    code = neap_sock_bind(sock, &addr);
    assert_true(code == NEAP_ECLOSED || code == NEAP_ELOOP_CLOSED);
    assert_null(ret);
    assert_null(out);
    neap_handle_unref(handle);
    neap_future_unref(future);
    neap_task_unref(task);
    neap_sock_unref(sock);
}

static void outcomes_can_be_read_after_the_close(void **state) {
    (void)state;
    neap_future *value = nt_future();
    neap_future *failed = nt_future();
    assert_ok(neap_future_set_int(value, 11));
    assert_ok(neap_future_set_error(failed, NEAP_EPIPE, "read me"));
    assert_ok(neap_future_ignore(failed));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_state(value, NEAP_STATE_RESULT);
    assert_int_equal(nt_int(value), 11);
    assert_code(neap_future_error(failed), NEAP_EPIPE);
    assert_string_equal(neap_future_message(failed), "read me");
    neap_future_unref(value);
    neap_future_unref(failed);
}

static void objects_outlive_the_last_reference_to_the_loop(void **state) {
    (void)state;
    nt_script s;
    neap_loop *loop = nt_loop_new(0);
    neap_future *future = nt_future_on(loop);
    neap_task *task = nt_spawn_on(loop, &s, "t", NT_ACTS(NT_RETURN(1)));
    neap_handle *handle = NULL;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_ok(neap_call_later(loop, NT_SEC, nothing, NULL, NULL, &handle));
    assert_ok(neap_sock_pair(loop, NEAP_UNIX, &a, &b));
    neap_loop_unref(loop);
    assert_int_equal(s.destroyed, 1);
    assert_code(neap_future_set_none(future), NEAP_ELOOP_CLOSED);
    assert_int_equal(neap_handle_cancel(handle), 0);
    neap_future_unref(future);
    neap_task_unref(task);
    neap_handle_unref(handle);
    neap_sock_unref(a);
    neap_sock_unref(b);
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
    assert_int_equal(nt_fd_count(), nt.fds);
}

static void data_is_destroyed_when_the_memory_goes(void **state) {
    (void)state;
    static const char tag;
    int destroyed = 0;
    neap_loop *loop = nt_loop_new(0);
    neap_future *future = nt_future_on(loop);
    assert_ok(neap_loop_set_data(loop, &tag, &destroyed, nt_count_fn));
    assert_ok(neap_loop_close(loop, 0));
    assert_int_equal(destroyed, 0);
    neap_loop_unref(loop);
    neap_future_unref(future);
    assert_int_equal(destroyed, 1);
}

static void a_callback_that_runs_during_the_close_can_start_nothing(void **state) {
    (void)state;
    /* What a closing loop calls back meets a loop that is closed already. */
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *received = NULL;
    char buf[8];
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_code(neap_sock_recv(a, buf, sizeof buf, 0, &received), NEAP_PENDING);
    assert_ok(neap_future_on_done(received, note_error, NT_WORD("first"), NULL, NULL));
    assert_ok(neap_future_on_done(received, note_error, NT_WORD("second"), NULL, NULL));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_notes("first:ECLOSED second:ECLOSED");
    neap_future_unref(received);
    neap_sock_unref(a);
    neap_sock_unref(b);
}

static void a_close_ends_what_waits_for_several(void **state) {
    (void)state;
    neap_future *futures[2] = {nt_future(), nt_sleep(NT_SEC)};
    neap_future *gathered = NULL;
    neap_future *waited = NULL;
    neap_future *limited = NULL;
    neap_future *shielded = NULL;
    assert_ok(neap_gather(nt.loop, futures, 2, 0, &gathered));
    assert_ok(neap_wait(nt.loop, futures, 2, NEAP_WAIT_ALL, NT_SEC, &waited));
    assert_ok(neap_wait_for(futures[0], NT_SEC, &limited));
    assert_ok(neap_shield(futures[1], &shielded));
    assert_ok(neap_loop_close(nt.loop, 0));
    /* Whether outcomes that only the close brought about are reported is not promised. */
    nt_claim_all();
    neap_future_unref(gathered);
    neap_future_unref(waited);
    neap_future_unref(limited);
    neap_future_unref(shielded);
    neap_future_unref(futures[0]);
    neap_future_unref(futures[1]);
}

static void a_close_in_the_middle_of_a_raised_batch_drops_the_rest(void **state) {
    (void)state;
    nt_script s;
    int destroyed = 0;
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, &destroyed, nt_count_fn, NULL));
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_NOTE("never")));
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_int_equal(destroyed, 1);
    assert_int_equal(s.destroyed, 1);
    assert_notes("");
    neap_task_unref(task);
}

static void abandon_equals_a_silent_close_in_the_parent(void **state) {
    (void)state;
    nt_script s;
    int destroyed = 0;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_SEC)));
    nt_turn();
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, &destroyed, nt_count_fn, NULL));
    assert_ok(neap_loop_abandon(nt.loop));
    assert_int_equal(destroyed, 1);
    assert_int_equal(s.destroyed, 1);
    assert_int_equal(neap_loop_is_closed(nt.loop), 1);
    nt_no_reports();
    neap_task_unref(task);
}

static void closing_a_loop_closes_its_descriptors_at_once(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    (void)neap_loop_fd(nt.loop);
    assert_ok(neap_loop_close(nt.loop, 0));
    /* One may stay until the memory goes: another thread may be writing to it in neap_loop_wake. */
    assert_true(nt_fd_count() <= nt.fds + 1);
    assert_code((int32_t)neap_sock_fd(a), NEAP_ECLOSED);
    neap_sock_unref(a);
    neap_sock_unref(b);
}

NT_MAIN(NT_TEST(L10_queued_callbacks_and_timers_are_dropped_and_destroyed),
        NT_TEST(L10_suspended_tasks_end_as_cancelled_without_another_step),
        NT_TEST(L10_pending_operations_complete_as_closed_and_their_callbacks_run_once),
        NT_TEST(L10_a_silent_close_runs_destroy_hooks_only),
        NT_TEST(L10_a_close_inside_a_callback_is_refused_and_works_afterwards),
        NT_TEST(L10_a_close_with_unknown_flags_is_refused),
        NT_TEST(L10_every_starting_function_of_a_closed_loop_answers_loop_closed),
        NT_TEST(outcomes_can_be_read_after_the_close),
        NT_TEST_BARE(objects_outlive_the_last_reference_to_the_loop),
        NT_TEST_BARE(data_is_destroyed_when_the_memory_goes),
        NT_TEST(a_callback_that_runs_during_the_close_can_start_nothing),
        NT_TEST(a_close_ends_what_waits_for_several),
        NT_TEST(a_close_in_the_middle_of_a_raised_batch_drops_the_rest),
        NT_TEST(abandon_equals_a_silent_close_in_the_parent),
        NT_TEST(closing_a_loop_closes_its_descriptors_at_once))
