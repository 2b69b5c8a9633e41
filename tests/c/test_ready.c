/* One-shot waits for readiness: neap_fd_ready. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void make_pair(int fds[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(int fds[2]) {
    net_close(fds[0]);
    net_close(fds[1]);
}

static neap_future *park_ready(int fd, int32_t event) {
    neap_future *future = NULL;
    assert_code(neap_fd_ready(nt.loop, fd, event, 0, &future), NEAP_PENDING);
    assert_non_null(future);
    return future;
}

static void what_is_ready_answers_at_once(void **state) {
    (void)state;
    int fds[2];
    neap_future *future = NULL;
    make_pair(fds);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_WRITE, 0, &future), NEAP_WRITE);
    net_put(fds[1], "x");
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &future), NEAP_READ);
    assert_null(future);
    assert_int_equal(nt_metrics().operations, 0);
    close_pair(fds);
}

static void what_is_not_ready_is_waited_for_once(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    neap_future *future = park_ready(fds[0], NEAP_READ);
    nt_turns(3);
    assert_state(future, NEAP_STATE_PENDING);
    net_put(fds[1], "x");
    net_result(future, NEAP_READ);
    assert_int_equal(nt_metrics().operations, 0);
    assert_int_equal(nt_turn(), 0);
    close_pair(fds);
}

static void a_full_descriptor_becomes_writable(void **state) {
    (void)state;
    int fds[2];
    char zeros[4096] = {0};
    make_pair(fds);
    net_nonblock(fds[0]);
    while (write(fds[0], zeros, sizeof zeros) > 0)
        continue;
    neap_future *future = park_ready(fds[0], NEAP_WRITE);
    nt_turns(2);
    assert_state(future, NEAP_STATE_PENDING);
    net_drain(fds[1]);
    net_result(future, NEAP_WRITE);
    close_pair(fds);
}

static void the_two_directions_are_waited_for_side_by_side(void **state) {
    (void)state;
    int fds[2];
    char zeros[4096] = {0};
    make_pair(fds);
    net_nonblock(fds[0]);
    while (write(fds[0], zeros, sizeof zeros) > 0)
        continue;
    neap_future *writable = park_ready(fds[0], NEAP_WRITE);
    neap_future *readable = park_ready(fds[0], NEAP_READ);
    net_put(fds[1], "x");
    net_result(readable, NEAP_READ);
    assert_state(writable, NEAP_STATE_PENDING);
    net_drain(fds[1]);
    net_result(writable, NEAP_WRITE);
    close_pair(fds);
}

static void readiness_that_was_used_up_is_not_reported_again(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    for (int i = 0; i < 10; i++) {
        neap_future *future = park_ready(fds[0], NEAP_READ);
        net_put(fds[1], "abc");
        net_result(future, NEAP_READ);
        net_expect(fds[0], "abc");
    }
    neap_future *future = NULL;
    net_put(fds[1], "x");
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &future), NEAP_READ);
    net_expect(fds[0], "x");
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    close_pair(fds);
}

static void data_left_over_is_still_readable(void **state) {
    (void)state;
    int fds[2];
    neap_future *none = NULL;
    make_pair(fds);
    neap_future *future = park_ready(fds[0], NEAP_READ);
    net_put(fds[1], "ab");
    net_result(future, NEAP_READ);
    net_expect(fds[0], "a");
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &none), NEAP_READ);
    net_expect(fds[0], "b");
    close_pair(fds);
}

static void nowait_and_want_future_mean_what_they_mean_elsewhere(void **state) {
    (void)state;
    int fds[2];
    neap_future *future = NULL;
    make_pair(fds);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_WRITE, NEAP_WANT_FUTURE, &future),
                NEAP_PENDING);
    net_result(future, NEAP_WRITE);
    assert_int_equal(nt_metrics().operations, 0);
    close_pair(fds);
}

static void N17_a_second_waiter_of_a_direction_is_refused_and_the_first_unharmed(void **state) {
    (void)state;
    int fds[2];
    neap_future *second = NULL;
    make_pair(fds);
    neap_future *first = park_ready(fds[0], NEAP_READ);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &second), NEAP_EBUSY_FD);
    assert_null(second);
    assert_int_equal(nt_metrics().operations, 1);
    net_put(fds[1], "x");
    net_result(first, NEAP_READ);
    close_pair(fds);
}

static void N17_a_watch_is_refused_while_a_one_shot_wait_has_the_direction(void **state) {
    (void)state;
    int fds[2];
    int calls = 0;
    make_pair(fds);
    neap_future *first = park_ready(fds[0], NEAP_READ);
    assert_code(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), NEAP_EBUSY_FD);
    assert_code(neap_add_writer(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    assert_int_equal(neap_remove_writer(nt.loop, fds[0]), 1);
    net_put(fds[1], "x");
    net_result(first, NEAP_READ);
    assert_int_equal(calls, 0);
    assert_code(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    nt_turn();
    assert_int_equal(calls, 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    close_pair(fds);
}

static void N17_a_one_shot_wait_is_refused_while_a_watch_has_the_direction(void **state) {
    (void)state;
    int fds[2];
    int calls = 0;
    neap_future *future = NULL;
    make_pair(fds);
    assert_code(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &future), NEAP_EBUSY_FD);
    assert_null(future);
    net_put(fds[1], "x");
    nt_turn();
    assert_int_equal(calls, 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &future), NEAP_READ);
    close_pair(fds);
}

static void N9_a_cancelled_wait_frees_the_direction(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    neap_future *future = park_ready(fds[0], NEAP_READ);
    nt_on_done(future, "done");
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    assert_int_equal(nt_metrics().operations, 0);
    net_put(fds[1], "x");
    nt_turns(3);
    assert_notes("done");
    neap_future *again = NULL;
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &again), NEAP_READ);
    close_pair(fds);
}

static void a_cancelled_wait_lets_the_descriptor_be_closed_and_its_number_come_back(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fds[2];
        make_pair(fds);
        neap_future *future = park_ready(fds[0], NEAP_READ);
        if (i % 2)
            nt_turn();
        assert_code(neap_future_cancel(future, NULL), 1);
        net_cancelled(future);
        close_pair(fds);
        int more[2];
        make_pair(more);
        assert_int_equal(more[0], fds[0]);
        future = park_ready(more[0], NEAP_READ);
        nt_turns(2);
        assert_state(future, NEAP_STATE_PENDING);
        net_put(more[1], "x");
        net_result(future, NEAP_READ);
        close_pair(more);
    }
}

static void a_regular_file_answers_eperm_and_a_bad_descriptor_ebadf(void **state) {
    (void)state;
    char path[] = "/tmp/neap-test-XXXXXX";
    neap_future *future = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_code(neap_fd_ready(nt.loop, fd, NEAP_READ, 0, &future), NEAP_EPERM);
    net_close(fd);
    assert_code(neap_fd_ready(nt.loop, fd, NEAP_READ, 0, &future), NEAP_EBADF);
    assert_code(neap_fd_ready(nt.loop, -1, NEAP_WRITE, 0, &future), NEAP_EBADF);
    assert_null(future);
}

static void an_unknown_event_is_refused(void **state) {
    (void)state;
    int fds[2];
    neap_future *future = NULL;
    make_pair(fds);
    assert_code(neap_fd_ready(nt.loop, fds[0], 0, 0, &future), NEAP_EINVAL);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ | NEAP_WRITE, 0, &future), NEAP_EINVAL);
    assert_code(neap_fd_ready(nt.loop, fds[0], 4, 0, &future), NEAP_EINVAL);
    assert_null(future);
    close_pair(fds);
}

static void the_end_of_a_stream_is_readable(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    neap_future *future = park_ready(fds[0], NEAP_READ);
    net_close(fds[1]);
    net_result(future, NEAP_READ);
    net_close(fds[0]);
}

static void closing_the_loop_ends_a_wait(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    neap_future *future = park_ready(fds[0], NEAP_READ);
    nt_on_done(future, "once");
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_notes("once");
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    assert_true(fcntl(fds[0], F_GETFD) >= 0);
    close_pair(fds);
}

static void a_sockets_descriptor_can_be_waited_for(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    for (int i = 0; i < 5; i++) {
        neap_future *future = park_ready((int)neap_sock_fd(conn), NEAP_READ);
        net_put(peer, "abc");
        net_result(future, NEAP_READ);
        assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 3);
    }
    net_end(conn);
    net_close(peer);
}

static void a_task_may_wait_for_a_descriptor(void **state) {
    (void)state;
    int fds[2];
    nt_script script;
    make_pair(fds);
    neap_future *future = park_ready(fds[0], NEAP_READ);
    neap_task *task = nt_spawn(&script, "waiter", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turns(2);
    net_put(fds[1], "x");
    nt_until_task(task);
    assert_int_equal(nt_int(neap_task_future(task)), NEAP_READ);
    neap_task_unref(task);
    neap_future_unref(future);
    close_pair(fds);
}

static void closing_a_socket_ends_the_wait_for_its_descriptor(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = park_ready((int)neap_sock_fd(conn), NEAP_READ);
    nt_turn();
    net_end(conn);
    net_failure(future, NEAP_ECLOSED);
    assert_int_equal(nt_metrics().operations, 0);
    net_close(peer);
}

static void a_listener_is_readable_when_a_connection_waits(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = park_ready((int)neap_sock_fd(listener), NEAP_READ);
    int client = net_raw_connect(&addr);
    net_result(future, NEAP_READ);
    neap_sock *conn = net_accept_now(listener);
    net_end(conn);
    net_end(listener);
    net_close(client);
}

static void the_last_reference_of_a_socket_ends_the_wait_for_its_descriptor(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = park_ready((int)neap_sock_fd(conn), NEAP_READ);
    nt_turn();
    neap_sock_unref(conn);
    net_failure(future, NEAP_ECLOSED);
    net_close(peer);
}

NT_MAIN(NT_TEST(what_is_ready_answers_at_once), NT_TEST(what_is_not_ready_is_waited_for_once),
        NT_TEST(a_full_descriptor_becomes_writable),
        NT_TEST(the_two_directions_are_waited_for_side_by_side),
        NT_TEST(readiness_that_was_used_up_is_not_reported_again),
        NT_TEST(data_left_over_is_still_readable),
        NT_TEST(nowait_and_want_future_mean_what_they_mean_elsewhere),
        NT_TEST(N17_a_second_waiter_of_a_direction_is_refused_and_the_first_unharmed),
        NT_TEST(N17_a_watch_is_refused_while_a_one_shot_wait_has_the_direction),
        NT_TEST(N17_a_one_shot_wait_is_refused_while_a_watch_has_the_direction),
        NT_TEST(N9_a_cancelled_wait_frees_the_direction),
        NT_TEST(a_cancelled_wait_lets_the_descriptor_be_closed_and_its_number_come_back),
        NT_TEST(a_regular_file_answers_eperm_and_a_bad_descriptor_ebadf),
        NT_TEST(an_unknown_event_is_refused), NT_TEST(the_end_of_a_stream_is_readable),
        NT_TEST(closing_the_loop_ends_a_wait), NT_TEST(a_sockets_descriptor_can_be_waited_for),
        NT_TEST(a_task_may_wait_for_a_descriptor),
        NT_TEST(closing_a_socket_ends_the_wait_for_its_descriptor),
        NT_TEST(a_listener_is_readable_when_a_connection_waits),
        NT_TEST(the_last_reference_of_a_socket_ends_the_wait_for_its_descriptor))
