/* Cancelling operations: nothing taken from the world is lost, nothing stays behind. */
#include "net.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void N9_a_cancelled_accept_leaves_nothing_behind(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    nt_on_done(future, "done");
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    assert_notes("done");
    assert_int_equal(nt_metrics().operations, 0);
    int client = net_raw_connect(&addr);
    net_wait(neap_sock_fd(listener), POLLIN);
    nt_turns(5);
    assert_notes("done");
    nt_no_reports();
    assert_int_equal(nt_metrics().socks, 1);
    /* The connection waits for the next who asks. */
    net_put(client, "hello");
    neap_sock *conn = net_accept_now(listener);
    net_recv_text(conn, "hello");
    net_end(conn);
    net_close(client);
    net_end(listener);
}

static void a_cancelled_recv_leaves_the_bytes_to_the_next(void **state) {
    (void)state;
    int peer;
    char buf[8] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    assert_code(neap_future_cancel(future, "enough"), 1);
    net_cancelled(future);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    nt_turns(3);
    net_recv_text(conn, "abc");
    assert_int_equal(buf[0], 0);
    net_end(conn);
    net_close(peer);
}

static void a_cancelled_lent_recv_leaves_the_bytes_to_the_next(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    assert_code(neap_sock_recv_lent(conn, 64, 0, &data, &future), NEAP_PENDING);
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    net_put(peer, "abc");
    net_recv_text(conn, "abc");
    net_end(conn);
    net_close(peer);
}

static void a_cancelled_connect_closes_its_descriptor(void **state) {
    (void)state;
    neap_addr any = net_loopback();
    neap_addr addr;
    int listener = net_raw_listen(&any, 0, &addr);
    int waited = 0;
    for (int i = 0; i < 8; i++) {
        neap_sock *sock = NULL;
        neap_future *future = NULL;
        assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
        assert_code(neap_sock_connect(sock, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
        nt_turns(2);
        if (neap_future_cancel(future, NULL) == 1) {
            waited++;
            net_cancelled(future);
            assert_int_equal(neap_sock_fd(sock), NEAP_ECLOSED);
            assert_code(neap_sock_connect(sock, &addr, 0, &future), NEAP_ECLOSED);
            neap_sock_unref(sock);
        } else {
            neap_future_unref(future);
            net_end(sock);
        }
    }
    assert_true(waited > 0);
    net_close(listener);
}

static void a_cancelled_sendall_tells_how_much_went_and_leaves_the_stream_open(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    size_t len = 8 * 1024 * 1024;
    unsigned char *data = malloc(len);
    assert_non_null(data);
    net_fill_pattern(data, len, 0);
    neap_future *future = net_park_sendall(conn, data, len);
    nt_turns(2);
    neap_future_ref(future);
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    int64_t partial = neap_future_partial(future);
    neap_future_unref(future);
    assert_true(partial > 0 && partial < (int64_t)len);
    unsigned char *back = malloc((size_t)partial);
    assert_non_null(back);
    net_read(peer, back, (size_t)partial);
    net_expect_pattern(back, (size_t)partial, 0);
    assert_int_equal(net_drain(peer), 0);
    net_send_text(conn, "on");
    net_expect(peer, "on");
    net_put(peer, "and back");
    net_recv_text(conn, "and back");
    free(data);
    free(back);
    net_end(conn);
    net_close(peer);
}

static void a_sendall_cancelled_in_the_queue_sends_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    size_t filled = net_stuff(conn);
    neap_future *first = net_park_sendall(conn, "first", 5);
    neap_future *second = net_park_sendall(conn, "second", 6);
    neap_future *third = net_park_sendall(conn, "third", 5);
    neap_future_ref(second);
    assert_code(neap_future_cancel(second, NULL), 1);
    net_cancelled(second);
    assert_int_equal(neap_future_partial(second), 0);
    neap_future_unref(second);
    char *skip = malloc(filled);
    size_t have = 0;
    while (have < filled) {
        ssize_t n = recv(peer, skip, filled - have, MSG_DONTWAIT);
        if (n > 0)
            have += (size_t)n;
        else
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    }
    net_result(first, 5);
    net_result(third, 5);
    net_expect(peer, "firstthird");
    free(skip);
    net_end(conn);
    net_close(peer);
}

static void a_cancelled_send_sends_nothing(void **state) {
    (void)state;
    int peer;
    neap_future *future = NULL;
    neap_sock *conn = net_unix(&peer);
    size_t filled = net_stuff(conn);
    assert_code(neap_sock_send(conn, "abc", 3, 0, &future), NEAP_PENDING);
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    size_t sum = 0;
    static char buf[65536];
    while (sum < filled) {
        ssize_t n = recv(peer, buf, sizeof buf, 0);
        assert_true(n > 0);
        sum += (size_t)n;
        nt_turn();
    }
    assert_int_equal(sum, filled);
    nt_turns(3);
    assert_int_equal(net_drain(peer), 0);
    net_end(conn);
    net_close(peer);
}

static void a_cancelled_recvfrom_leaves_the_datagram_to_the_next(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    char buf[8] = {0};
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_code(neap_sock_recvfrom(sock, buf, sizeof buf, 0, NULL, &future), NEAP_PENDING);
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    assert_int_equal(sendto(peer, "abc", 3, 0, (struct sockaddr *)addr.data, addr.len), 3);
    net_wait(neap_sock_fd(sock), POLLIN);
    nt_turns(3);
    assert_int_equal(neap_sock_recvfrom(sock, buf, sizeof buf, NEAP_NOWAIT, NULL, NULL), 3);
    net_end(sock);
    net_close(peer);
}

static void a_cancelled_sendto_sends_nothing(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *future = NULL;
    char buf[8];
    int32_t n;
    int sent = 0;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX_DGRAM, &a, &b));
    while ((n = neap_sock_sendto(a, "x", 1, NULL, NEAP_NOWAIT, NULL)) == 1)
        sent++;
    assert_code(neap_sock_sendto(a, "yy", 2, NULL, 0, &future), NEAP_PENDING);
    assert_code(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    while ((n = neap_sock_recv(b, buf, sizeof buf, NEAP_NOWAIT, NULL)) == 1) {
        sent--;
        nt_turn();
    }
    assert_code(n, NEAP_EAGAIN);
    assert_int_equal(sent, 0);
    net_end(a);
    net_end(b);
}

static void the_first_receiver_may_leave_the_queue(void **state) {
    (void)state;
    int peer;
    char one[8] = {0};
    char two[8] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *first = net_park_recv(conn, one, sizeof one);
    neap_future *second = net_park_recv(conn, two, sizeof two);
    assert_code(neap_future_cancel(first, NULL), 1);
    net_put(peer, "abc");
    net_result(second, 3);
    net_cancelled(first);
    assert_string_equal(two, "abc");
    assert_string_equal(one, "");
    net_end(conn);
    net_close(peer);
}

static void a_receiver_in_the_middle_may_leave_the_queue(void **state) {
    (void)state;
    int peer;
    char buf[3][2] = {{0}};
    neap_future *futures[3];
    neap_sock *conn = net_tcp(&peer);
    for (int i = 0; i < 3; i++)
        futures[i] = net_park_recv(conn, buf[i], 1);
    assert_code(neap_future_cancel(futures[1], NULL), 1);
    net_cancelled(futures[1]);
    net_put(peer, "ac");
    net_result(futures[0], 1);
    net_result(futures[2], 1);
    assert_int_equal(buf[0][0], 'a');
    assert_int_equal(buf[2][0], 'c');
    net_end(conn);
    net_close(peer);
}

static void C1_cancelling_a_completed_operation_answers_zero_and_keeps_the_value(void **state) {
    (void)state;
    int peer;
    char buf[8] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    net_put(peer, "abc");
    nt_until(future);
    assert_code(neap_future_cancel(future, NULL), 0);
    net_result(future, 3);
    net_end(conn);
    net_close(peer);
}

static void C10_a_receive_completed_by_the_poll_wins_over_a_cancel_before_the_batch(void **state) {
    (void)state;
    int peer;
    char buf[8] = {0};
    int64_t timeout;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_code(neap_future_cancel(future, NULL), 0);
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    net_result(future, 3);
    assert_string_equal(buf, "abc");
    net_end(conn);
    net_close(peer);
}

static void C10_an_accept_completed_by_the_poll_wins_over_a_cancel_before_the_batch(void **state) {
    (void)state;
    neap_addr addr;
    int64_t timeout;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    net_put(client, "hello");
    net_wait(neap_sock_fd(listener), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_code(neap_future_cancel(future, NULL), 0);
    neap_sock *conn = net_accepted(future);
    net_recv_text(conn, "hello");
    net_end(conn);
    net_close(client);
    net_end(listener);
}

static void C10_a_cancel_before_the_poll_leaves_the_connection_in_the_queue(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    net_put(client, "hello");
    net_wait(neap_sock_fd(listener), POLLIN);
    assert_code(neap_future_cancel(future, NULL), 1);
    nt_until(future);
    neap_sock *conn = NULL;
    if (neap_future_take_sock(future, &conn) != 0)
        conn = net_accept_now(listener);
    neap_future_unref(future);
    net_recv_text(conn, "hello");
    net_end(conn);
    net_close(client);
    net_end(listener);
}

static void cancelling_twice_answers_once(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_on_done(future, "once");
    assert_code(neap_future_cancel(future, NULL), 1);
    assert_true(neap_future_cancel(future, NULL) >= 0);
    net_cancelled(future);
    nt_settle();
    assert_notes("once");
    net_end(conn);
    net_close(peer);
}

static void a_cancel_carries_its_message(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    neap_future_ref(future);
    assert_code(neap_future_cancel(future, "lost interest"), 1);
    net_cancelled(future);
    assert_string_equal(neap_future_message(future), "lost interest");
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void cancel_and_close_in_one_tick_complete_once(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_on_done(future, "once");
    assert_code(neap_future_cancel(future, NULL), 1);
    assert_ok(neap_sock_close(conn));
    nt_until(future);
    int32_t code = neap_future_error(future);
    assert_true(code == NEAP_ECANCELED || code == NEAP_ECLOSED);
    neap_future_unref(future);
    nt_settle();
    assert_notes("once");
    neap_sock_unref(conn);
    net_close(peer);
}

static void C2_cancelling_a_task_cancels_the_receive_that_it_awaits(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_script script = {0};
    neap_task *task = nt_spawn(&script, "reader", NT_ACTS(NT_AWAIT(future)));
    nt_turns(2);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_until_task(task);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_int_equal(script.cancels, 1);
    net_cancelled(future);
    assert_int_equal(nt_metrics().operations, 0);
    neap_task_unref(task);
    net_put(peer, "abc");
    net_recv_text(conn, "abc");
    net_end(conn);
    net_close(peer);
}

static void C10_a_cancel_that_lost_comes_at_the_next_wait(void **state) {
    (void)state;
    int peer;
    char buf[8];
    int64_t timeout;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_script script = {0};
    neap_task *task =
        nt_spawn(&script, "reader", NT_ACTS(NT_AWAIT(future), NT_NOTE("read"), NT_SLEEP(NT_SEC)));
    nt_turns(2);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    assert_notes("read");
    nt_until_task(task);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    assert_int_equal(script.cancels, 1);
    neap_task_unref(task);
    net_result(future, 3);
    net_end(conn);
    net_close(peer);
}

static void C10_a_cancel_that_lost_lapses_if_the_task_returns_first(void **state) {
    (void)state;
    int peer;
    char buf[8];
    int64_t timeout;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_script script = {0};
    neap_task *task = nt_spawn(&script, "reader", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turns(2);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_until_task(task);
    assert_int_equal(nt_int(neap_task_future(task)), 3);
    neap_task_unref(task);
    net_result(future, 3);
    net_end(conn);
    net_close(peer);
}

static void a_wait_for_that_runs_out_leaves_the_bytes_to_the_next(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    neap_future *limited = NULL;
    assert_ok(neap_wait_for(future, NT_MS, &limited));
    net_failure(limited, NEAP_ETIMEOUT);
    net_cancelled(future);
    net_put(peer, "abc");
    net_recv_text(conn, "abc");
    net_end(conn);
    net_close(peer);
}

NT_MAIN(NT_TEST(N9_a_cancelled_accept_leaves_nothing_behind),
        NT_TEST(a_cancelled_recv_leaves_the_bytes_to_the_next),
        NT_TEST(a_cancelled_lent_recv_leaves_the_bytes_to_the_next),
        NT_TEST(a_cancelled_connect_closes_its_descriptor),
        NT_TEST(a_cancelled_sendall_tells_how_much_went_and_leaves_the_stream_open),
        NT_TEST(a_sendall_cancelled_in_the_queue_sends_nothing),
        NT_TEST(a_cancelled_send_sends_nothing),
        NT_TEST(a_cancelled_recvfrom_leaves_the_datagram_to_the_next),
        NT_TEST(a_cancelled_sendto_sends_nothing), NT_TEST(the_first_receiver_may_leave_the_queue),
        NT_TEST(a_receiver_in_the_middle_may_leave_the_queue),
        NT_TEST(C1_cancelling_a_completed_operation_answers_zero_and_keeps_the_value),
        NT_TEST(C10_a_receive_completed_by_the_poll_wins_over_a_cancel_before_the_batch),
        NT_TEST(C10_an_accept_completed_by_the_poll_wins_over_a_cancel_before_the_batch),
        NT_TEST(C10_a_cancel_before_the_poll_leaves_the_connection_in_the_queue),
        NT_TEST(cancelling_twice_answers_once), NT_TEST(a_cancel_carries_its_message),
        NT_TEST(cancel_and_close_in_one_tick_complete_once),
        NT_TEST(C2_cancelling_a_task_cancels_the_receive_that_it_awaits),
        NT_TEST(C10_a_cancel_that_lost_comes_at_the_next_wait),
        NT_TEST(C10_a_cancel_that_lost_lapses_if_the_task_returns_first),
        NT_TEST(a_wait_for_that_runs_out_leaves_the_bytes_to_the_next))
