/* The descriptor of a loop: readable exactly when a turn is due, whoever made it so. */
#include "net.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int loop_fd(void) {
    int fd = neap_loop_fd(nt.loop);
    assert_true(fd >= 0);
    return fd;
}

static int due(void) {
    return net_is(loop_fd(), POLLIN);
}

/* Waits until a turn is due, which the watchdog bounds. */
static void wait_due(void) {
    net_wait(loop_fd(), POLLIN);
}

/* Turns as often as it is due, at most `max` times; how often. */
static int turn_while_due(int max) {
    int turns = 0;
    while (due()) {
        nt_turn();
        if (++turns > max)
            fail_msg("the descriptor stays readable");
    }
    return turns;
}

/* A turn is due, brings `expected` notes, and then all is quiet again. */
static void expect_turn(const char *expected) {
    assert_true(due());
    turn_while_due(4);
    assert_notes(expected);
    assert_false(due());
}

/* Asked for once, so that the loop is the host's from now on; nothing is due. */
static void begin(void) {
    loop_fd();
    turn_while_due(3);
    assert_false(due());
}

static int setup_fd(void **state) {
    if (nt.backend == NULL)
        nt.backend = "epoll";
    if (nt_setup(state) != 0)
        return -1;
    begin();
    return 0;
}

#define FD_TEST(f) cmocka_unit_test_setup_teardown(f, setup_fd, nt_teardown)

static void the_poll_backend_has_no_descriptor(void **state) {
    (void)state;
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    options.backend = "poll";
    assert_ok(neap_loop_new(&options, &loop));
    assert_int_equal(neap_loop_fd(loop), NEAP_ENOTSUP);
    nt_loop_end(loop);
}

static void the_descriptor_is_the_same_each_time_and_close_on_exec(void **state) {
    (void)state;
    int fd = loop_fd();
    assert_int_equal(neap_loop_fd(nt.loop), fd);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void the_descriptor_goes_with_the_loop(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    int fd = neap_loop_fd(loop);
    assert_true(fd >= 0);
    assert_ok(neap_loop_close(loop, 0));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(neap_loop_fd(loop), NEAP_ELOOP_CLOSED);
    neap_loop_unref(loop);
}

static void a_loop_without_work_is_quiet(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_false(due());
        nt_turn();
    }
    assert_false(due());
}

static void a_turn_that_was_not_due_does_no_harm(void **state) {
    (void)state;
    nt_soon("a");
    nt_turns(3);
    assert_notes("a");
    assert_false(due());
}

static void a_call_soon_from_outside_makes_a_turn_due(void **state) {
    (void)state;
    nt_soon("a");
    expect_turn("a");
    nt_soon("b");
    nt_soon("c");
    expect_turn("a b c");
}

static void not_turning_keeps_it_readable(void **state) {
    (void)state;
    nt_soon("a");
    for (int i = 0; i < 10; i++)
        assert_true(due());
    expect_turn("a");
}

static void call_again(void *user) {
    int *left = user;
    nt_note("%d", *left);
    if (--*left > 0)
        assert_ok(neap_call_soon(nt.loop, call_again, left, NULL, NULL));
}

static void what_a_batch_made_ready_makes_the_next_turn_due(void **state) {
    (void)state;
    int left = 3;
    assert_ok(neap_call_soon(nt.loop, call_again, &left, NULL, NULL));
    assert_true(due());
    nt_turn();
    assert_notes("3");
    assert_true(due());
    nt_turn();
    assert_true(due());
    nt_turn();
    assert_notes("3 2 1");
    assert_false(due());
}

static void a_future_completed_from_outside_makes_a_turn_due(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_on_done(future, "done");
    assert_false(due());
    assert_ok(neap_future_set_int(future, 1));
    expect_turn("done");
    nt_on_done(future, "late");
    expect_turn("done late");
    neap_future_unref(future);
}

static void a_future_without_waiters_makes_no_turn_due(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_int(future, 1));
    turn_while_due(1);
    assert_false(due());
    neap_future_unref(future);
}

static void a_spawn_from_outside_makes_a_turn_due(void **state) {
    (void)state;
    nt_script script;
    neap_task *task =
        nt_spawn(&script, "task", NT_ACTS(NT_NOTE("step"), NT_YIELD, NT_NOTE("again")));
    assert_true(due());
    nt_turn();
    assert_notes("step");
    expect_turn("step again");
    neap_task_unref(task);
}

static void a_cancel_from_outside_makes_a_turn_due(void **state) {
    (void)state;
    nt_script script;
    neap_task *task = nt_spawn(&script, "task", NT_ACTS(NT_SLEEP(3600 * NT_SEC)));
    turn_while_due(4);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_true(due());
    turn_while_due(5);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void a_cancelled_operation_makes_a_turn_due(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_on_done(future, "cancelled");
    turn_while_due(4);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    expect_turn("cancelled");
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void a_socket_closed_from_outside_makes_a_turn_due(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_on_done(future, "closed");
    turn_while_due(4);
    net_end(conn);
    expect_turn("closed");
    neap_future_unref(future);
    net_close(peer);
}

static intptr_t post_note(void *user) {
    return neap_loop_post(nt.loop, nt_note_fn, user, NULL);
}

static void a_post_of_another_thread_makes_a_turn_due(void **state) {
    (void)state;
    assert_int_equal(nt_in_thread(post_note, (void *)"posted"), 0);
    wait_due();
    expect_turn("posted");
}

static void a_post_of_the_same_thread_makes_a_turn_due(void **state) {
    (void)state;
    assert_ok(neap_loop_post(nt.loop, nt_note_fn, (void *)"posted", NULL));
    expect_turn("posted");
}

static void a_wake_makes_one_turn_due(void **state) {
    (void)state;
    assert_ok(neap_loop_wake(nt.loop));
    assert_ok(neap_loop_wake(nt.loop));
    assert_true(due());
    assert_true(turn_while_due(2) >= 1);
}

static void a_timer_makes_a_turn_due_when_its_time_comes(void **state) {
    (void)state;
    nt_later(5 * NT_MS, "timer");
    turn_while_due(3);
    assert_notes("");
    wait_due();
    turn_while_due(4);
    assert_notes("timer");
}

static void a_timer_of_the_past_makes_a_turn_due_at_once(void **state) {
    (void)state;
    nt_later(0, "now");
    wait_due();
    turn_while_due(4);
    assert_notes("now");
}

static void an_earlier_timer_set_from_outside_counts(void **state) {
    (void)state;
    neap_handle *late = nt_later_handle(3600 * NT_SEC, "late");
    turn_while_due(3);
    nt_later(5 * NT_MS, "early");
    wait_due();
    while (due())
        nt_turn();
    for (int i = 0; i < 1000 && nt.notes_len == 0; i++) {
        wait_due();
        nt_turn();
    }
    assert_notes("early");
    turn_while_due(2);
    assert_int_equal(neap_handle_cancel(late), 1);
    neap_handle_unref(late);
}

static void a_timer_moved_forward_from_outside_counts(void **state) {
    (void)state;
    neap_handle *handle = nt_later_handle(3600 * NT_SEC, "moved");
    turn_while_due(3);
    assert_ok(neap_handle_reset(handle, 2 * NT_MS));
    for (int i = 0; i < 1000 && nt.notes_len == 0; i++) {
        wait_due();
        nt_turn();
    }
    assert_notes("moved");
    neap_handle_unref(handle);
}

static void a_cancelled_timer_makes_no_turn_due(void **state) {
    (void)state;
    neap_handle *handle = nt_later_handle(20 * NT_MS, "never");
    turn_while_due(3);
    assert_int_equal(neap_handle_cancel(handle), 1);
    neap_handle_unref(handle);
    turn_while_due(3);
    int woken = 0;
    for (int i = 0; i < 10; i++) {
        struct pollfd p = {.fd = loop_fd(), .events = POLLIN};
        if (poll(&p, 1, 10) == 1) {
            woken++;
            nt_turn();
        }
    }
    assert_true(woken <= 1); /* the kernel's timer may still have been set: it is consumed */
    assert_notes("");
}

static void a_repeating_timer_makes_as_many_turns_due_as_it_fires(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    int calls = 0;
    int turns = 0;
    assert_ok(neap_call_every(nt.loop, NT_MS, 2 * NT_MS, nt_count_fn, &calls, NULL, &handle));
    while (calls < 20) {
        wait_due();
        nt_turn();
        turns++;
    }
    assert_true(turns <= 2 * calls + 2);
    assert_int_equal(neap_handle_cancel(handle), 1);
    neap_handle_unref(handle);
}

static void data_for_a_waiting_receive_makes_a_turn_due(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    for (int i = 0; i < 3; i++) {
        neap_future *future = net_park_recv(conn, buf, sizeof buf);
        nt_on_done(future, "got");
        turn_while_due(4);
        assert_state(future, NEAP_STATE_PENDING);
        net_put(peer, "abc");
        wait_due();
        turn_while_due(4);
        assert_int_equal(nt_int(future), 3);
        neap_future_unref(future);
    }
    assert_notes("got got got");
    net_end(conn);
    net_close(peer);
}

static void an_operation_that_starts_on_old_readiness_is_not_left_waiting(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *first = net_park_recv(conn, buf, 1);
    turn_while_due(4);
    net_put(peer, "ab");
    wait_due();
    turn_while_due(4);
    assert_int_equal(nt_int(first), 1);
    neap_future_unref(first);
    neap_future *none = NULL;
    assert_int_equal(neap_sock_recv(conn, buf, 1, 0, &none), 1);
    neap_future *second = net_park_recv(conn, buf, 1);
    nt_on_done(second, "second");
    assert_false(neap_future_done(second));
    net_put(peer, "c");
    wait_due();
    turn_while_due(4);
    assert_notes("second");
    neap_future_unref(second);
    net_end(conn);
    net_close(peer);
}

static void a_want_future_that_is_done_makes_a_turn_due_for_its_callback(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    nt_on_done(future, "done");
    expect_turn("done");
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void data_that_nobody_waits_for_leaves_the_loop_quiet(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    turn_while_due(4);
    net_put(peer, "abc");
    wait_due();
    turn_while_due(4);
    assert_int_equal(nt_int(future), 3);
    neap_future_unref(future);
    for (int i = 0; i < 5; i++) {
        net_put(peer, "more");
        net_wait(neap_sock_fd(conn), POLLIN);
        turn_while_due(2); /* the edge may be announced: it is consumed */
        assert_false(due());
    }
    net_recv_text(conn, "moremoremoremoremore");
    net_end(conn);
    net_close(peer);
}

static void a_connection_that_nobody_accepts_leaves_the_loop_quiet(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    turn_while_due(4);
    int one = net_raw_connect(&addr);
    wait_due();
    turn_while_due(4);
    neap_sock *conn = net_accepted(future);
    int two = net_raw_connect(&addr);
    net_wait(neap_sock_fd(listener), POLLIN);
    turn_while_due(2);
    assert_false(due());
    neap_sock *other = net_accept_now(listener);
    net_end(other);
    net_end(conn);
    net_close(one);
    net_close(two);
    net_end(listener);
    turn_while_due(2);
}

static void a_peer_that_went_away_leaves_the_loop_quiet(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    turn_while_due(4);
    net_put(peer, "abc");
    net_close(peer);
    wait_due();
    turn_while_due(4);
    assert_int_equal(nt_int(future), 3);
    neap_future_unref(future);
    assert_false(due());
    net_end(conn);
}

static void a_full_socket_that_nobody_sends_to_leaves_the_loop_quiet(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    net_stuff(conn);
    neap_future *future = net_park_sendall(conn, "x", 1);
    turn_while_due(4);
    assert_state(future, NEAP_STATE_PENDING);
    while (!neap_future_done(future)) {
        net_drain(peer);
        net_wait(loop_fd(), POLLIN);
        nt_turn();
    }
    neap_future_unref(future);
    for (int i = 0; i < 5; i++) {
        net_drain(peer);
        turn_while_due(2);
    }
    assert_false(due());
    net_end(conn);
    net_close(peer);
}

static void a_watch_keeps_a_turn_due_as_long_as_its_descriptor_is_ready(void **state) {
    (void)state;
    int fds[2];
    int calls = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    turn_while_due(3);
    net_put(fds[1], "x");
    for (int i = 1; i <= 5; i++) {
        wait_due();
        nt_turn();
        assert_int_equal(calls, i);
    }
    net_expect(fds[0], "x");
    turn_while_due(3);
    assert_false(due());
    net_put(fds[1], "y");
    wait_due();
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    turn_while_due(3);
    assert_false(due());
    net_close(fds[0]);
    net_close(fds[1]);
}

static void a_one_shot_wait_makes_one_turn_due(void **state) {
    (void)state;
    int fds[2];
    neap_future *future = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &future), NEAP_PENDING);
    nt_on_done(future, "ready");
    turn_while_due(3);
    net_put(fds[1], "x");
    wait_due();
    turn_while_due(3);
    assert_notes("ready");
    assert_false(due()); /* still readable, but nobody asks any more */
    neap_future_unref(future);
    net_close(fds[0]);
    net_close(fds[1]);
}

static void signalled(int32_t signo, void *user) {
    (void)signo;
    nt_note("%s", (const char *)user);
}

static void a_signal_makes_a_turn_due(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    assert_ok(neap_signal_watch(nt.loop, SIGUSR1, 0, signalled, (void *)"signal", NULL, &handle));
    turn_while_due(3);
    assert_int_equal(raise(SIGUSR1), 0);
    expect_turn("signal");
    assert_int_equal(neap_handle_cancel(handle), 1);
    neap_handle_unref(handle);
    turn_while_due(3);
}

static void raise_out(void *user) {
    nt_note("%s", (const char *)user);
    assert_ok(neap_loop_raise(nt.loop, NEAP_ECANCELED));
}

static void what_a_raise_left_behind_is_due(void **state) {
    (void)state;
    assert_ok(neap_call_soon(nt.loop, raise_out, (void *)"raised", NULL, NULL));
    nt_soon("rest");
    assert_int_equal(neap_loop_run_once(nt.loop, 0), NEAP_ECANCELED);
    assert_notes("raised");
    expect_turn("raised rest");
}

static void what_a_small_dispatch_left_behind_is_due(void **state) {
    (void)state;
    int64_t timeout;
    nt_soon("a");
    nt_soon("b");
    nt_soon("c");
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 1);
    assert_int_equal(timeout, 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_int_equal(neap_loop_dispatch(nt.loop, 2), 2);
    assert_notes("a b");
    expect_turn("a b c");
}

static void what_the_poll_collected_is_due_until_it_is_dispatched(void **state) {
    (void)state;
    int peer;
    char buf[8];
    int64_t timeout;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_on_done(future, "got");
    turn_while_due(3);
    net_put(peer, "abc");
    wait_due();
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 1);
    assert_true(due());
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 1);
    assert_notes("got");
    turn_while_due(2);
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void an_entry_taken_out_is_no_longer_due(void **state) {
    (void)state;
    neap_handle *handle = NULL;
    nt_soon("mine");
    assert_true(due());
    assert_int_equal(neap_loop_next_ready(nt.loop, &handle), 1);
    turn_while_due(2);
    assert_false(due());
    assert_true(neap_handle_run(handle) >= 0);
    assert_notes("mine");
    turn_while_due(2);
    assert_false(due());
}

static void a_cancelled_entry_leaves_nothing_due_for_long(void **state) {
    (void)state;
    neap_handle *handle = nt_soon_handle("never");
    assert_int_equal(neap_handle_cancel(handle), 1);
    neap_handle_unref(handle);
    turn_while_due(2);
    assert_false(due());
    assert_notes("");
}

static void a_loop_that_ran_by_itself_before_can_be_handed_to_a_host(void **state) {
    (void)state;
    char buf[8];
    neap_loop *loop = nt_loop_new(0);
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_pair(loop, NEAP_UNIX, &a, &b));
    assert_code(neap_sock_recv(a, buf, sizeof buf, 0, &future), NEAP_PENDING);
    assert_ok(neap_call_later(loop, 3 * NT_MS, nt_note_fn, (void *)"timer", NULL, NULL));
    assert_true(neap_loop_run_once(loop, 0) >= 0);
    assert_ok(neap_call_soon(loop, nt_note_fn, (void *)"soon", NULL, NULL));
    int fd = neap_loop_fd(loop); /* asked for only now, with work of all sorts pending */
    assert_true(net_is(fd, POLLIN));
    assert_true(neap_loop_run_once(loop, 0) >= 0);
    while (strlen(nt.notes) < strlen("soon timer")) { /* on a slow machine the timer may be first */
        net_wait(fd, POLLIN);
        assert_true(neap_loop_run_once(loop, 0) >= 0);
    }
    neap_future *none = NULL;
    assert_int_equal(neap_sock_sendall(b, "x", 1, 0, &none), 1);
    while (!neap_future_done(future)) {
        net_wait(fd, POLLIN);
        assert_true(neap_loop_run_once(loop, 0) >= 0);
    }
    neap_future_unref(future);
    assert_ok(neap_sock_close(a));
    assert_ok(neap_sock_close(b));
    neap_sock_unref(a);
    neap_sock_unref(b);
    nt_loop_end(loop);
}

static void a_loop_with_a_descriptor_can_still_run_by_itself(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        neap_future *slept = nt_sleep(2 * NT_MS);
        nt_until(slept);
        neap_future_unref(slept);
    }
    turn_while_due(3);
    assert_false(due());
}

NT_MAIN(FD_TEST(the_poll_backend_has_no_descriptor),
        FD_TEST(the_descriptor_is_the_same_each_time_and_close_on_exec),
        FD_TEST(the_descriptor_goes_with_the_loop), FD_TEST(a_loop_without_work_is_quiet),
        FD_TEST(a_turn_that_was_not_due_does_no_harm),
        FD_TEST(a_call_soon_from_outside_makes_a_turn_due), FD_TEST(not_turning_keeps_it_readable),
        FD_TEST(what_a_batch_made_ready_makes_the_next_turn_due),
        FD_TEST(a_future_completed_from_outside_makes_a_turn_due),
        FD_TEST(a_future_without_waiters_makes_no_turn_due),
        FD_TEST(a_spawn_from_outside_makes_a_turn_due),
        FD_TEST(a_cancel_from_outside_makes_a_turn_due),
        FD_TEST(a_cancelled_operation_makes_a_turn_due),
        FD_TEST(a_socket_closed_from_outside_makes_a_turn_due),
        FD_TEST(a_post_of_another_thread_makes_a_turn_due),
        FD_TEST(a_post_of_the_same_thread_makes_a_turn_due), FD_TEST(a_wake_makes_one_turn_due),
        FD_TEST(a_timer_makes_a_turn_due_when_its_time_comes),
        FD_TEST(a_timer_of_the_past_makes_a_turn_due_at_once),
        FD_TEST(an_earlier_timer_set_from_outside_counts),
        FD_TEST(a_timer_moved_forward_from_outside_counts),
        FD_TEST(a_cancelled_timer_makes_no_turn_due),
        FD_TEST(a_repeating_timer_makes_as_many_turns_due_as_it_fires),
        FD_TEST(data_for_a_waiting_receive_makes_a_turn_due),
        FD_TEST(an_operation_that_starts_on_old_readiness_is_not_left_waiting),
        FD_TEST(a_want_future_that_is_done_makes_a_turn_due_for_its_callback),
        FD_TEST(data_that_nobody_waits_for_leaves_the_loop_quiet),
        FD_TEST(a_connection_that_nobody_accepts_leaves_the_loop_quiet),
        FD_TEST(a_peer_that_went_away_leaves_the_loop_quiet),
        FD_TEST(a_full_socket_that_nobody_sends_to_leaves_the_loop_quiet),
        FD_TEST(a_watch_keeps_a_turn_due_as_long_as_its_descriptor_is_ready),
        FD_TEST(a_one_shot_wait_makes_one_turn_due), FD_TEST(a_signal_makes_a_turn_due),
        FD_TEST(what_a_raise_left_behind_is_due), FD_TEST(what_a_small_dispatch_left_behind_is_due),
        FD_TEST(what_the_poll_collected_is_due_until_it_is_dispatched),
        FD_TEST(an_entry_taken_out_is_no_longer_due),
        FD_TEST(a_cancelled_entry_leaves_nothing_due_for_long),
        FD_TEST(a_loop_that_ran_by_itself_before_can_be_handed_to_a_host),
        FD_TEST(a_loop_with_a_descriptor_can_still_run_by_itself))
