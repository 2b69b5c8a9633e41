/* Streams: what is there comes back at once, what is not is waited for; ends, resets and
   refusals. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TEN_MB = 10 * 1024 * 1024
};

/* ---- At once --------------------------------------------------------------------------------- */

static void N1_recv_with_data_waiting_registers_and_allocates_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8] = {0};
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    neap_metrics before = nt_metrics();
    neap_future *future = NULL;
    assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, 0, &future), 5);
    neap_metrics after = nt_metrics();
    assert_null(future);
    assert_string_equal(buf, "hello");
    assert_int_equal(after.registrations, before.registrations);
    assert_int_equal(after.allocations, before.allocations);
    assert_int_equal(after.operations, before.operations);
    net_end(conn);
    net_close(peer);
}

static void N1_send_that_fits_registers_and_allocates_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_metrics before = nt_metrics();
    neap_future *future = NULL;
    assert_int_equal(neap_sock_send(conn, "abc", 3, 0, &future), 3);
    assert_int_equal(neap_sock_sendall(conn, "defg", 4, 0, &future), 4);
    neap_metrics after = nt_metrics();
    assert_null(future);
    assert_int_equal(after.registrations, before.registrations);
    assert_int_equal(after.allocations, before.allocations);
    net_expect(peer, "abcdefg");
    net_end(conn);
    net_close(peer);
}

static void N1_recv_without_data_registers_once_and_never_again(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    uint64_t fresh = nt_metrics().registrations;
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    uint64_t first = nt_metrics().registrations;
    assert_true(first <= fresh + 1);
    for (int i = 0; i < 100; i++) {
        nt_turn();
        net_put(peer, "ping");
        net_result(future, 4);
        future = net_park_recv(conn, buf, sizeof buf);
    }
    neap_metrics after = nt_metrics();
    assert_true(after.registrations <= fresh + 1);
    assert_int_equal(after.operations, 1);
    net_put(peer, "last");
    net_result(future, 4);
    net_end(conn);
    net_close(peer);
}

static void N1_both_directions_share_one_registration(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    char buf[8];
    uint64_t fresh = nt_metrics().registrations;
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    net_stuff(conn);
    neap_future *send = net_park_sendall(conn, "tail", 4);
    assert_int_equal(nt_metrics().operations, 2);
    while (!neap_future_done(send)) {
        net_drain(peer);
        nt_turn();
    }
    net_put(peer, "x");
    net_result(recv, 1);
    net_result(send, 4);
    if (strcmp(neap_loop_backend(nt.loop), "epoll") == 0)
        assert_true(nt_metrics().registrations <= fresh + 1);
    net_end(conn);
    net_close(peer);
}

static void a_steady_exchange_allocates_nothing_new(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[64];
    neap_metrics warm = {0};
    for (int i = 0; i < 64; i++) {
        if (i == 32)
            warm = nt_metrics();
        neap_future *future = net_park_recv(conn, buf, sizeof buf);
        net_put(peer, "ping");
        net_result(future, 4);
        assert_int_equal(neap_sock_sendall(conn, "pong", 4, 0, &future), 4);
        net_expect(peer, "pong");
    }
    assert_int_equal(nt_metrics().bytes, warm.bytes);
    assert_int_equal(nt_metrics().blocks, warm.blocks);
    net_end(conn);
    net_close(peer);
}

static void N1_a_receive_that_was_ready_before_the_poll_completes_in_that_tick(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_on_done(future, "received");
    nt_turn();
    assert_notes("");
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    nt_turn();
    assert_notes("received");
    net_result(future, 3);
    net_end(conn);
    net_close(peer);
}

static void nowait_answers_eagain_and_parks_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    char buf[8];
    neap_sock *none = NULL;
    uint64_t allocations = nt_metrics().allocations;
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_stuff(conn);
    assert_code(neap_sock_send(conn, "x", 1, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_int_equal(nt_metrics().allocations, allocations);
    assert_code(neap_sock_accept(listener, NEAP_NOWAIT, &none, NULL, NULL), NEAP_EAGAIN);
    assert_null(none);
    assert_int_equal(nt_metrics().operations, 0);
    net_end(listener);
    net_end(conn);
    net_close(peer);
}

static void nowait_asks_the_system_whatever_was_known_before(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_sock *other = NULL;
    char buf[8];
    /* Both are registered and known to be empty; then nothing is parked, so that no turn would
       poll. */
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    neap_future *accept = net_park_accept(listener);
    nt_turns(2);
    assert_int_equal(neap_future_cancel(recv, NULL), 1);
    assert_int_equal(neap_future_cancel(accept, NULL), 1);
    net_cancelled(recv);
    net_cancelled(accept);
    for (int i = 0; i < 3; i++) {
        int client = net_raw_connect(&addr);
        net_put(peer, "abc");
        net_wait(neap_sock_fd(conn), POLLIN);
        net_wait(neap_sock_fd(listener), POLLIN);
        assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 3);
        assert_ok(neap_sock_accept(listener, NEAP_NOWAIT, &other, NULL, NULL));
        net_end(other);
        net_close(client);
    }
    net_end(listener);
    net_end(conn);
    net_close(peer);
}

static void want_future_gives_a_future_that_is_done(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = NULL;
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    assert_true(neap_future_done(future) == 1);
    net_result(future, 3);
    assert_code(neap_sock_sendall(conn, "xyz", 3, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    net_result(future, 3);
    net_expect(peer, "xyz");
    net_end(conn);
    net_close(peer);
}

static void want_future_gives_a_failure_through_the_future(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    char buf[8];
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_code(neap_sock_recv(sock, buf, sizeof buf, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    assert_non_null(future);
    net_failure(future, NEAP_ENOTCONN);
    net_end(sock);
}

static void want_future_still_waits_where_nothing_is_there(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = NULL;
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    assert_state(future, NEAP_STATE_PENDING);
    net_put(peer, "abc");
    net_result(future, 3);
    net_end(conn);
    net_close(peer);
}

static void length_zero_completes_at_once_with_zero(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = NULL;
    char buf[8];
    assert_code(neap_sock_recv(conn, buf, 0, 0, &future), 0);
    assert_code(neap_sock_send(conn, "", 0, 0, &future), 0);
    assert_code(neap_sock_sendall(conn, "", 0, 0, &future), 0);
    assert_null(future);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv(conn, buf, 0, 0, &future), 0);
    net_recv_text(conn, "abc");
    net_end(conn);
    net_close(peer);
}

static void N3_recv_takes_at_most_what_was_asked_and_keeps_the_rest(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8] = {0};
    net_put(peer, "abcdef");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv(conn, buf, 2, NEAP_NOWAIT, NULL), 2);
    assert_string_equal(buf, "ab");
    assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 4);
    assert_memory_equal(buf, "cdef", 4);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_end(conn);
    net_close(peer);
}

/* ---- Accept and connect ---------------------------------------------------------------------- */

static void N2_accept_gives_a_nonblocking_cloexec_connection_and_its_address(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from = {0};
    neap_addr peer_of = {0};
    neap_sock *listener = net_listener(&addr);
    int first = net_raw_connect(&addr);
    neap_sock *conn = NULL;
    neap_future *future = NULL;
    net_wait(neap_sock_fd(listener), POLLIN);
    assert_ok(neap_sock_accept(listener, 0, &conn, &from, &future));
    assert_null(future);
    int fd = (int)neap_sock_fd(conn);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_ok(neap_sock_peer(conn, &peer_of));
    assert_int_equal(from.family, NEAP_AF_INET);
    assert_int_equal(from.len, peer_of.len);
    assert_memory_equal(from.data, peer_of.data, from.len);
    assert_ptr_equal(neap_sock_loop(conn), nt.loop);
    net_end(conn);
    net_close(first);
    net_end(listener);
}

static void N2_accept_waits_for_two_clients_and_returns_both(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    for (int i = 0; i < 2; i++) {
        neap_addr from = {0};
        neap_future *future = net_park_accept(listener);
        int client = net_raw_connect(&addr);
        net_put(client, i == 0 ? "one" : "two");
        nt_until(future);
        assert_ok(neap_future_get_addr(future, &from));
        assert_int_equal(from.family, NEAP_AF_INET);
        assert_true(neap_addr_port(&from) > 0);
        neap_sock *conn = net_accepted(future);
        assert_true((fcntl((int)neap_sock_fd(conn), F_GETFL) & O_NONBLOCK) != 0);
        net_recv_text(conn, i == 0 ? "one" : "two");
        net_end(conn);
        net_close(client);
    }
    net_end(listener);
}

static void an_accepted_socket_is_taken_once(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    neap_sock *conn = NULL;
    neap_sock *again = NULL;
    nt_until(future);
    assert_ok(neap_future_take_sock(future, &conn));
    assert_code(neap_future_take_sock(future, &again), NEAP_EINVALID_STATE);
    assert_null(again);
    neap_future_unref(future);
    net_end(conn);
    net_close(client);
    net_end(listener);
}

static void an_accepted_socket_that_nobody_takes_is_closed_with_its_future(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    nt_until(future);
    neap_future_unref(future);
    nt_settle();
    net_expect_eof(client);
    net_close(client);
    net_end(listener);
}

static void accept_skips_no_live_connection_behind_one_that_died_in_the_queue(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    net_reset(net_raw_connect(&addr));
    int client = net_raw_connect(&addr);
    net_put(client, "alive");
    int alive = 0;
    for (int i = 0; i < 2 && !alive; i++) {
        neap_sock *conn = net_accept_now(listener);
        char buf[8] = {0};
        neap_future *future = NULL;
        int32_t n = neap_sock_recv(conn, buf, sizeof buf, 0, &future);
        if (n == NEAP_PENDING) {
            nt_until(future);
            int64_t later = 0;
            n = neap_future_error(future) ? neap_future_error(future) : 0;
            if (n == 0 && neap_future_get_int(future, &later) == 0)
                n = (int32_t)later;
            neap_future_unref(future);
        }
        alive = n == 5 && strcmp(buf, "alive") == 0;
        net_end(conn);
    }
    assert_true(alive);
    net_close(client);
    net_end(listener);
}

static void connect_reaches_a_listener(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr any = net_loopback();
    int listener = net_raw_listen(&any, 8, &addr);
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
    assert_int_equal(neap_sock_fd(sock), NEAP_EBADF);
    int32_t code = neap_sock_connect(sock, &addr, 0, &future);
    if (code == NEAP_PENDING) {
        nt_until(future);
        assert_code(neap_future_error(future), 0);
        neap_future_unref(future);
    } else {
        assert_ok(code);
    }
    int fd = (int)neap_sock_fd(sock);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    int peer = net_raw_accept(listener);
    assert_int_equal(neap_sock_sendall(sock, "hi", 2, 0, &future), 2);
    net_expect(peer, "hi");
    net_close(peer);
    net_close(listener);
    net_end(sock);
}

static void N5_connect_to_a_closed_port_is_refused(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr any = net_loopback();
    net_close(net_raw_listen(&any, 1, &addr));
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
    assert_code(neap_sock_connect(sock, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    net_failure(future, NEAP_ECONNREFUSED);
    net_end(sock);
}

static void connect_twice_answers_eisconn(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr any = net_loopback();
    int listener = net_raw_listen(&any, 8, &addr);
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
    assert_code(neap_sock_connect(sock, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    nt_until(future);
    assert_code(neap_future_error(future), 0);
    neap_future_unref(future);
    assert_code(neap_sock_connect(sock, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    net_failure(future, NEAP_EISCONN);
    net_end(sock);
    net_close(listener);
}

static void connect_needs_an_address_of_the_sockets_family(void **state) {
    (void)state;
    neap_addr unix_addr = net_abstract();
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_true(neap_sock_connect(sock, &unix_addr, 0, &future) < 0);
    assert_null(future);
    assert_true(neap_sock_bind(sock, &unix_addr) < 0);
    net_end(sock);
}

static void N5_recv_and_send_without_a_connection_fail(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    char buf[8];
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_code(neap_sock_recv(sock, buf, sizeof buf, 0, &future), NEAP_ENOTCONN);
    assert_null(future);
    int32_t code = neap_sock_send(sock, "x", 1, 0, &future);
    assert_true(code == NEAP_EPIPE || code == NEAP_ENOTCONN);
    code = neap_sock_sendall(sock, "x", 1, 0, &future);
    assert_true(code == NEAP_EPIPE || code == NEAP_ENOTCONN);
    assert_null(future);
    neap_addr addr;
    assert_code(neap_sock_peer(sock, &addr), NEAP_ENOTCONN);
    net_end(sock);
}

static void accept_on_a_socket_that_does_not_listen_fails(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_sock *conn = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_code(neap_sock_accept(sock, 0, &conn, NULL, &future), NEAP_EINVAL);
    assert_null(conn);
    assert_null(future);
    net_end(sock);
}

/* ---- Ends of the stream ---------------------------------------------------------------------- */

static void N3_recv_returns_zero_at_the_end_of_the_stream_again_and_again(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    net_close(peer);
    net_result(future, 0);
    for (int i = 0; i < 3; i++)
        assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 0);
    net_end(conn);
}

static void the_peer_may_end_its_direction_and_still_receive(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    net_put(peer, "bye");
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    net_recv_text(conn, "bye");
    neap_future *future = NULL;
    int32_t n = neap_sock_recv(conn, buf, sizeof buf, 0, &future);
    if (n == NEAP_PENDING)
        net_result(future, 0);
    else
        assert_code(n, 0);
    assert_int_equal(neap_sock_sendall(conn, "still here", 10, 0, &future), 10);
    net_expect(peer, "still here");
    net_end(conn);
    net_close(peer);
}

static void our_direction_may_end_and_we_still_receive(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = NULL;
    assert_int_equal(neap_sock_sendall(conn, "bye", 3, 0, &future), 3);
    assert_ok(neap_sock_shutdown(conn, NEAP_SHUT_WR));
    net_expect(peer, "bye");
    net_expect_eof(peer);
    net_put(peer, "answer");
    net_recv_text(conn, "answer");
    assert_code(neap_sock_send(conn, "x", 1, 0, &future), NEAP_EPIPE);
    assert_null(future);
    net_end(conn);
    net_close(peer);
}

static void shutting_down_the_receiving_side_ends_a_waiting_receive(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    assert_ok(neap_sock_shutdown(conn, NEAP_SHUT_RD));
    net_result(future, 0);
    net_end(conn);
    net_close(peer);
}

static void shutting_down_a_socket_without_a_connection_fails(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_code(neap_sock_shutdown(sock, NEAP_SHUT_WR), NEAP_ENOTCONN);
    assert_code(neap_sock_shutdown(sock, 99), NEAP_EINVAL);
    net_end(sock);
}

static void N5_a_reset_fails_a_waiting_receive(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    net_reset(peer);
    net_failure(future, NEAP_ECONNRESET);
    net_end(conn);
}

static void N5_a_reset_fails_a_receive_that_starts_after_it(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    neap_future *future = NULL;
    net_reset(peer);
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, 0, &future), NEAP_ECONNRESET);
    assert_null(future);
    net_end(conn);
}

static void a_sendall_that_may_not_wait_is_refused_and_sends_nothing(void **state) {
    (void)state;
    int peer;
    char byte;
    neap_sock *conn = net_tcp(&peer);
    assert_code(neap_sock_sendall(conn, "abc", 3, NEAP_NOWAIT, NULL), NEAP_EINVAL);
    assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
    net_close(peer);
    net_end(conn);
}

static void N5_a_reset_fails_a_waiting_sendall_and_tells_how_much_went(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char *data = calloc(1, TEN_MB);
    neap_future *future = net_park_sendall(conn, data, TEN_MB);
    net_reset(peer);
    nt_until(future);
    int32_t code = neap_future_error(future);
    assert_true(code == NEAP_ECONNRESET || code == NEAP_EPIPE);
    int64_t partial = neap_future_partial(future);
    assert_true(partial > 0 && partial < TEN_MB);
    neap_future_unref(future);
    free(data);
    net_end(conn);
}

static void N5_sending_into_a_broken_pipe_answers_epipe_without_the_signal(void **state) {
    (void)state;
    struct sigaction old;
    struct sigaction fatal = {.sa_handler = SIG_DFL};
    assert_int_equal(sigaction(SIGPIPE, &fatal, &old), 0);
    int peer;
    neap_sock *conn = net_unix(&peer);
    neap_future *future = NULL;
    net_close(peer);
    assert_code(neap_sock_send(conn, "x", 1, 0, &future), NEAP_EPIPE);
    assert_code(neap_sock_sendall(conn, "x", 1, 0, &future), NEAP_EPIPE);
    assert_null(future);
    net_end(conn);
    conn = net_tcp(&peer);
    net_reset(peer);
    net_wait(neap_sock_fd(conn), POLLIN);
    char buf[8];
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_ECONNRESET);
    assert_code(neap_sock_send(conn, "x", 1, 0, &future), NEAP_EPIPE);
    net_end(conn);
    assert_int_equal(sigaction(SIGPIPE, &old, NULL), 0);
}

/* ---- Partial writes -------------------------------------------------------------------------- */

/* Reads `len` bytes of the pattern from the raw end in pieces of odd sizes, while the loop runs. */
static void read_slowly(int peer, neap_future *future, size_t len) {
    static unsigned char buf[70001];
    uint64_t seed = 4;
    size_t have = 0;
    while (have < len) {
        ssize_t n = recv(peer, buf, (size_t)net_below(&seed, sizeof buf) + 1, MSG_DONTWAIT);
        if (n > 0) {
            net_expect_pattern(buf, (size_t)n, have);
            have += (size_t)n;
            continue;
        }
        assert_true(n < 0 && errno == EAGAIN);
        if (neap_future_done(future))
            net_wait(peer, POLLIN);
        else
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    }
}

static void N4_sendall_of_ten_megabytes_reaches_a_slow_reader_byte_for_byte(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    unsigned char *data = malloc(TEN_MB);
    assert_non_null(data);
    net_fill_pattern(data, TEN_MB, 0);
    neap_future *future = net_park_sendall(conn, data, TEN_MB);
    read_slowly(peer, future, TEN_MB);
    net_result(future, TEN_MB);
    assert_int_equal(net_drain(peer), 0);
    free(data);
    net_end(conn);
    net_close(peer);
}

static void N4_sendall_of_ten_megabytes_over_a_unix_socket_arrives_whole(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    unsigned char *data = malloc(TEN_MB);
    assert_non_null(data);
    net_fill_pattern(data, TEN_MB, 0);
    neap_future *future = net_park_sendall(conn, data, TEN_MB);
    read_slowly(peer, future, TEN_MB);
    net_result(future, TEN_MB);
    free(data);
    net_end(conn);
    net_close(peer);
}

static void send_moves_what_fits_and_says_how_much(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    unsigned char *data = malloc(TEN_MB);
    static unsigned char back[65536];
    assert_non_null(data);
    net_fill_pattern(data, TEN_MB, 0);
    neap_future *future = NULL;
    int32_t n = neap_sock_send(conn, data, TEN_MB, 0, &future);
    assert_true(n > 0 && n < TEN_MB);
    assert_null(future);
    for (size_t have = 0; have < (size_t)n;) {
        ssize_t got = recv(peer, back, sizeof back, 0);
        assert_true(got > 0);
        net_expect_pattern(back, (size_t)got, have);
        have += (size_t)got;
        assert_true(have <= (size_t)n);
    }
    free(data);
    net_end(conn);
    net_close(peer);
}

static void send_into_a_full_socket_waits_and_then_moves_at_least_one_byte(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    neap_future *future = NULL;
    net_stuff(conn);
    assert_code(neap_sock_send(conn, "abc", 3, 0, &future), NEAP_PENDING);
    nt_turns(3);
    assert_state(future, NEAP_STATE_PENDING);
    while (!neap_future_done(future)) {
        net_drain(peer);
        nt_turn();
    }
    int64_t n = nt_int(future);
    assert_true(n >= 1 && n <= 3);
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void ten_megabytes_are_received_byte_for_byte(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    unsigned char *data = malloc(TEN_MB);
    static unsigned char buf[33333];
    assert_non_null(data);
    net_fill_pattern(data, TEN_MB, 0);
    neap_future *sending = net_park_sendall(a, data, TEN_MB);
    for (size_t have = 0; have < TEN_MB;) {
        neap_future *future = NULL;
        int64_t n = neap_sock_recv(b, buf, sizeof buf, 0, &future);
        if (n == NEAP_PENDING) {
            nt_until(future);
            n = nt_int(future);
            neap_future_unref(future);
        }
        assert_true(n > 0);
        net_expect_pattern(buf, (size_t)n, have);
        have += (size_t)n;
    }
    net_result(sending, TEN_MB);
    free(data);
    net_end(a);
    net_end(b);
}

/* ---- Misuse ---------------------------------------------------------------------------------- */

static void wrong_arguments_are_refused_and_change_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_sock *none = NULL;
    neap_future *future = NULL;
    char buf[8];
    neap_addr addr = net_loopback();
    assert_code(neap_sock_recv(NULL, buf, sizeof buf, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_recv(conn, NULL, 8, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_send(conn, NULL, 8, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_sendall(conn, NULL, 8, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, 0, NULL), NEAP_EINVAL);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, UINT32_C(1) << 30, &future), NEAP_EINVAL);
    assert_code(neap_sock_accept(conn, 0, NULL, NULL, &future), NEAP_EINVAL);
    assert_code(neap_sock_connect(conn, NULL, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_bind(conn, NULL), NEAP_EINVAL);
    assert_code(neap_sock_new(nt.loop, 99, NEAP_AF_INET, &none), NEAP_EINVAL);
    assert_code(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, NULL), NEAP_EINVAL);
    assert_code(neap_sock_new(NULL, NEAP_TCP, NEAP_AF_INET, &none), NEAP_EINVAL);
    assert_code(neap_sock_local(conn, NULL), NEAP_EINVAL);
    assert_null(future);
    assert_null(none);
    assert_int_equal(nt_metrics().operations, 0);
    addr.len = sizeof addr.data + 1;
    assert_true(neap_sock_connect(conn, &addr, 0, &future) < 0);
    net_put(peer, "fine");
    net_recv_text(conn, "fine");
    net_end(conn);
    net_close(peer);
}

static void a_listener_can_bind_again_while_old_connections_linger(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    int client = net_raw_connect(&addr);
    neap_sock *conn = net_accept_now(listener);
    net_end(conn); /* our side closes first: its end lingers in TIME_WAIT */
    net_expect_eof(client);
    net_close(client);
    net_end(listener);
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &listener));
    assert_ok(neap_sock_bind(listener, &addr));
    assert_ok(neap_sock_listen(listener, 0));
    net_end(listener);
}

static void two_listeners_of_one_port_are_refused(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_sock *second = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &second));
    int32_t code = neap_sock_bind(second, &addr);
    if (code == 0)
        code = neap_sock_listen(second, 0);
    assert_code(code, NEAP_EADDRINUSE);
    net_end(second);
    net_end(listener);
}

static void streams_travel_over_ipv6(void **state) {
    (void)state;
    neap_addr any = net_addr("[::1]:0");
    neap_addr addr;
    neap_addr from = {0};
    char text[64];
    neap_sock *listener = NULL;
    neap_sock *client = NULL;
    neap_sock *conn = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &listener));
    int32_t code = neap_sock_bind(listener, &any);
    if (code == NEAP_EADDRNOTAVAIL || code == -EAFNOSUPPORT) {
        print_message("no IPv6 on this machine's loopback: only the refusal was seen\n");
        net_end(listener);
        return;
    }
    assert_ok(code);
    assert_ok(neap_sock_listen(listener, 0));
    assert_ok(neap_sock_local(listener, &addr));
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &client));
    assert_code(neap_sock_connect(client, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    nt_until(future);
    assert_code(neap_future_error(future), 0);
    neap_future_unref(future);
    net_wait(neap_sock_fd(listener), POLLIN);
    assert_ok(neap_sock_accept(listener, NEAP_NOWAIT, &conn, &from, NULL));
    neap_addr_format(&from, text, sizeof text);
    assert_memory_equal(text, "[::1]:", 6);
    net_send_text(client, "six");
    net_recv_text(conn, "six");
    net_end(conn);
    net_end(client);
    net_end(listener);
}

static void connections_are_made_without_delay_of_small_writes(void **state) {
    (void)state;
    int peer;
    int32_t value = 0;
    neap_sock *conn = net_tcp(&peer);
    assert_ok(neap_sock_get_option(conn, "nodelay", &value));
    assert_int_equal(value, 1);
    net_end(conn);
    net_close(peer);
}

NT_MAIN(NT_TEST(N1_recv_with_data_waiting_registers_and_allocates_nothing),
        NT_TEST(a_sendall_that_may_not_wait_is_refused_and_sends_nothing),
        NT_TEST(N1_send_that_fits_registers_and_allocates_nothing),
        NT_TEST(N1_recv_without_data_registers_once_and_never_again),
        NT_TEST(N1_both_directions_share_one_registration),
        NT_TEST(a_steady_exchange_allocates_nothing_new),
        NT_TEST(N1_a_receive_that_was_ready_before_the_poll_completes_in_that_tick),
        NT_TEST(nowait_answers_eagain_and_parks_nothing),
        NT_TEST(nowait_asks_the_system_whatever_was_known_before),
        NT_TEST(want_future_gives_a_future_that_is_done),
        NT_TEST(want_future_gives_a_failure_through_the_future),
        NT_TEST(want_future_still_waits_where_nothing_is_there),
        NT_TEST(length_zero_completes_at_once_with_zero),
        NT_TEST(N3_recv_takes_at_most_what_was_asked_and_keeps_the_rest),
        NT_TEST(N2_accept_gives_a_nonblocking_cloexec_connection_and_its_address),
        NT_TEST(N2_accept_waits_for_two_clients_and_returns_both),
        NT_TEST(an_accepted_socket_is_taken_once),
        NT_TEST(an_accepted_socket_that_nobody_takes_is_closed_with_its_future),
        NT_TEST(accept_skips_no_live_connection_behind_one_that_died_in_the_queue),
        NT_TEST(connect_reaches_a_listener), NT_TEST(N5_connect_to_a_closed_port_is_refused),
        NT_TEST(connect_twice_answers_eisconn),
        NT_TEST(connect_needs_an_address_of_the_sockets_family),
        NT_TEST(N5_recv_and_send_without_a_connection_fail),
        NT_TEST(accept_on_a_socket_that_does_not_listen_fails),
        NT_TEST(N3_recv_returns_zero_at_the_end_of_the_stream_again_and_again),
        NT_TEST(the_peer_may_end_its_direction_and_still_receive),
        NT_TEST(our_direction_may_end_and_we_still_receive),
        NT_TEST(shutting_down_the_receiving_side_ends_a_waiting_receive),
        NT_TEST(shutting_down_a_socket_without_a_connection_fails),
        NT_TEST(N5_a_reset_fails_a_waiting_receive),
        NT_TEST(N5_a_reset_fails_a_receive_that_starts_after_it),
        NT_TEST(N5_a_reset_fails_a_waiting_sendall_and_tells_how_much_went),
        NT_TEST(N5_sending_into_a_broken_pipe_answers_epipe_without_the_signal),
        NT_TEST(N4_sendall_of_ten_megabytes_reaches_a_slow_reader_byte_for_byte),
        NT_TEST(N4_sendall_of_ten_megabytes_over_a_unix_socket_arrives_whole),
        NT_TEST(send_moves_what_fits_and_says_how_much),
        NT_TEST(send_into_a_full_socket_waits_and_then_moves_at_least_one_byte),
        NT_TEST(ten_megabytes_are_received_byte_for_byte),
        NT_TEST(wrong_arguments_are_refused_and_change_nothing),
        NT_TEST(a_listener_can_bind_again_while_old_connections_linger),
        NT_TEST(two_listeners_of_one_port_are_refused), NT_TEST(streams_travel_over_ipv6),
        NT_TEST(connections_are_made_without_delay_of_small_writes))
