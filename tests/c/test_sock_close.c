/* Closing a socket, or its loop, while operations wait: each completes with NEAP_ECLOSED, its
   callbacks run once. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Asserts that closing `sock` fails the waiting operation with NEAP_ECLOSED, later than the call,
   and once. */
static void expect_closed_by_close(neap_sock *sock, neap_future *future) {
    nt_note_clear();
    nt_on_done(future, "once");
    assert_ok(neap_sock_close(sock));
    assert_notes("");
    net_failure(future, NEAP_ECLOSED);
    nt_settle();
    assert_notes("once");
    neap_sock_unref(sock);
}

static void close_ends_a_waiting_recv(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    expect_closed_by_close(conn, net_park_recv(conn, buf, sizeof buf));
    net_expect_eof(peer);
    net_close(peer);
}

static void close_ends_a_waiting_lent_recv(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    const void *data = NULL;
    neap_future *future = NULL;
    assert_code(neap_sock_recv_lent(conn, 4096, 0, &data, &future), NEAP_PENDING);
    expect_closed_by_close(conn, future);
    net_close(peer);
}

static void close_ends_a_waiting_accept(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    expect_closed_by_close(listener, net_park_accept(listener));
}

static void close_ends_a_waiting_send(void **state) {
    (void)state;
    int peer;
    neap_future *future = NULL;
    neap_sock *conn = net_unix(&peer);
    net_stuff(conn);
    assert_code(neap_sock_send(conn, "abc", 3, 0, &future), NEAP_PENDING);
    expect_closed_by_close(conn, future);
    net_close(peer);
}

static void close_ends_a_waiting_sendall_which_tells_how_much_went(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    size_t len = 8 * 1024 * 1024;
    char *data = calloc(1, len);
    neap_future *future = net_park_sendall(conn, data, len);
    neap_future_ref(future);
    expect_closed_by_close(conn, future);
    int64_t partial = neap_future_partial(future);
    assert_true(partial > 0 && partial < (int64_t)len);
    neap_future_unref(future);
    size_t sum = 0;
    static char buf[65536];
    ssize_t n;
    while ((n = recv(peer, buf, sizeof buf, 0)) > 0)
        sum += (size_t)n;
    assert_int_equal(n, 0);
    assert_int_equal(sum, partial);
    free(data);
    net_close(peer);
}

static void close_ends_a_waiting_recvfrom(void **state) {
    (void)state;
    char buf[8];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    assert_code(neap_sock_recvfrom(sock, buf, sizeof buf, 0, NULL, &future), NEAP_PENDING);
    expect_closed_by_close(sock, future);
}

static void close_ends_a_waiting_sendto(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX_DGRAM, &a, &b));
    int32_t n;
    while ((n = neap_sock_sendto(a, "x", 1, NULL, NEAP_NOWAIT, NULL)) == 1)
        continue;
    assert_code(n, NEAP_EAGAIN);
    assert_code(neap_sock_sendto(a, "x", 1, NULL, 0, &future), NEAP_PENDING);
    expect_closed_by_close(a, future);
    net_end(b);
}

static void close_ends_a_waiting_connect(void **state) {
    (void)state;
    neap_addr any = net_loopback();
    neap_addr addr;
    int listener = net_raw_listen(&any, 0, &addr);
    neap_sock *filler[8];
    neap_future *waiting[8];
    int last = -1;
    /* A queue that is full leaves a connect of TCP without an answer. */
    for (int i = 0; i < 8; i++) {
        assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &filler[i]));
        assert_code(neap_sock_connect(filler[i], &addr, NEAP_WANT_FUTURE, &waiting[i]),
                    NEAP_PENDING);
    }
    nt_turns(3);
    for (int i = 0; i < 8; i++) {
        if (neap_future_done(waiting[i])) {
            neap_future_unref(waiting[i]);
            net_end(filler[i]);
        } else {
            last = i;
            expect_closed_by_close(filler[i], waiting[i]);
        }
    }
    assert_true(last >= 0);
    net_close(listener);
}

static void close_ends_all_operations_of_both_directions_in_order(void **state) {
    (void)state;
    int peer;
    char buf[2][8];
    neap_sock *conn = net_unix(&peer);
    neap_future *futures[4];
    futures[0] = net_park_recv(conn, buf[0], 8);
    futures[1] = net_park_recv(conn, buf[1], 8);
    net_stuff(conn);
    futures[2] = net_park_sendall(conn, "abc", 3);
    futures[3] = net_park_sendall(conn, "def", 3);
    nt_on_done(futures[0], "recv1");
    nt_on_done(futures[1], "recv2");
    nt_on_done(futures[2], "send1");
    nt_on_done(futures[3], "send2");
    assert_ok(neap_sock_close(conn));
    for (int i = 0; i < 4; i++)
        net_failure(futures[i], NEAP_ECLOSED);
    nt_settle();
    assert_true(strstr(nt.notes, "recv1 recv2") != NULL);
    assert_true(strstr(nt.notes, "send1 send2") != NULL);
    assert_int_equal(nt.notes_len, strlen("recv1 recv2 send1 send2"));
    neap_sock_unref(conn);
    net_close(peer);
}

static void close_gives_the_descriptor_back_at_once(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    int fd = (int)neap_sock_fd(conn);
    assert_ok(neap_sock_close(conn));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    net_expect_eof(peer);
    neap_sock_unref(conn);
    net_close(peer);
}

static void close_is_idempotent(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    assert_ok(neap_sock_close(conn));
    int other = dup(peer); /* would be hit by a second close of the same number */
    assert_ok(neap_sock_close(conn));
    assert_true(fcntl(other, F_GETFD) >= 0);
    neap_sock_unref(conn);
    net_close(other);
    net_close(peer);
}

static void a_closed_socket_answers_eclosed_to_everything(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_sock *none = NULL;
    neap_future *future = NULL;
    const void *data = NULL;
    neap_addr addr = net_loopback();
    int32_t value = 0;
    char buf[8];
    assert_ok(neap_sock_close(conn));
    assert_int_equal(neap_sock_fd(conn), NEAP_ECLOSED);
    assert_code(neap_sock_recv(conn, buf, 8, 0, &future), NEAP_ECLOSED);
    assert_code(neap_sock_recv(conn, buf, 8, NEAP_NOWAIT, NULL), NEAP_ECLOSED);
    assert_code(neap_sock_recv_lent(conn, 8, 0, &data, &future), NEAP_ECLOSED);
    assert_code(neap_sock_recvfrom(conn, buf, 8, 0, &addr, &future), NEAP_ECLOSED);
    assert_code(neap_sock_recvfrom_lent(conn, 8, 0, &data, &addr, &future), NEAP_ECLOSED);
    assert_code(neap_sock_unrecv(conn, "x", 1), NEAP_ECLOSED);
    assert_code(neap_sock_send(conn, "x", 1, 0, &future), NEAP_ECLOSED);
    assert_code(neap_sock_sendall(conn, "x", 1, 0, &future), NEAP_ECLOSED);
    assert_code(neap_sock_sendto(conn, "x", 1, NULL, 0, &future), NEAP_ECLOSED);
    assert_code(neap_sock_accept(conn, 0, &none, NULL, &future), NEAP_ECLOSED);
    assert_code(neap_sock_connect(conn, &addr, 0, &future), NEAP_ECLOSED);
    assert_code(neap_sock_bind(conn, &addr), NEAP_ECLOSED);
    assert_code(neap_sock_listen(conn, 0), NEAP_ECLOSED);
    assert_code(neap_sock_shutdown(conn, NEAP_SHUT_WR), NEAP_ECLOSED);
    assert_code(neap_sock_local(conn, &addr), NEAP_ECLOSED);
    assert_code(neap_sock_peer(conn, &addr), NEAP_ECLOSED);
    assert_code(neap_sock_set_option(conn, "nodelay", 1), NEAP_ECLOSED);
    assert_code(neap_sock_get_option(conn, "nodelay", &value), NEAP_ECLOSED);
    assert_null(future);
    neap_sock_unref(conn);
    net_close(peer);
}

static void the_last_reference_closes(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    assert_ptr_equal(neap_sock_ref(conn), conn);
    neap_sock_unref(conn);
    assert_false(net_is(peer, POLLIN));
    neap_sock_unref(conn);
    nt_settle();
    net_expect_eof(peer);
    net_close(peer);
}

static void the_last_reference_ends_what_waits(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    neap_sock_unref(conn);
    net_failure(future, NEAP_ECLOSED);
    net_expect_eof(peer);
    net_close(peer);
}

static void unref_of_no_socket_is_fine(void **state) {
    (void)state;
    neap_sock_unref(NULL);
}

/* Closes its socket, as the callback of an operation of that socket. */
static void close_in_callback(neap_future *future, void *user) {
    nt_note("%s", neap_err_name(neap_future_error(future)));
    assert_ok(neap_sock_close(user));
}

static void a_callback_may_close_its_own_socket(void **state) {
    (void)state;
    int peer;
    char buf[2][8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *first = net_park_recv(conn, buf[0], 8);
    neap_future *second = net_park_recv(conn, buf[1], 8);
    assert_ok(neap_future_on_done(first, close_in_callback, conn, NULL, NULL));
    net_put(peer, "abc");
    net_result(first, 3);
    net_failure(second, NEAP_ECLOSED);
    neap_sock_unref(conn);
    net_close(peer);
}

static void a_completed_receive_survives_the_close_of_its_socket(void **state) {
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
    assert_ok(neap_sock_close(conn));
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    net_result(future, 3);
    assert_string_equal(buf, "abc");
    neap_sock_unref(conn);
    net_close(peer);
}

typedef struct tally {
    int called;
    int destroyed;
    int32_t code;
} tally;

static void tally_called(neap_future *future, void *user) {
    tally *t = user;
    t->called++;
    t->code = neap_future_error(future);
}

static void tally_destroyed(void *user) {
    ((tally *)user)->destroyed++;
}

static void an_operation_keeps_its_future_until_it_is_done(void **state) {
    (void)state;
    int peer;
    tally t = {0};
    char buf[8] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    assert_ok(neap_future_on_done(future, tally_called, &t, tally_destroyed, NULL));
    neap_future_unref(future);
    nt_settle();
    assert_int_equal(t.called, 0);
    assert_ok(neap_sock_close(conn));
    nt_settle();
    assert_int_equal(t.called, 1);
    assert_int_equal(t.destroyed, 1);
    assert_code(t.code, NEAP_ECLOSED);
    neap_sock_unref(conn);
    net_close(peer);
}

/* ---- Closing the loop ------------------------------------------------------------------------ */

static void closing_the_loop_completes_what_waits_and_runs_its_callbacks_once(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_addr addr;
    neap_sock *conn = net_tcp(&peer);
    neap_sock *listener = net_listener(&addr);
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    neap_future *accept = net_park_accept(listener);
    nt_on_done(recv, "recv");
    nt_on_done(accept, "accept");
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_true(strcmp(nt.notes, "recv accept") == 0 || strcmp(nt.notes, "accept recv") == 0);
    assert_code(neap_future_error(recv), NEAP_ECLOSED);
    assert_code(neap_future_error(accept), NEAP_ECLOSED);
    net_expect_eof(peer);
    int32_t code = neap_sock_send(conn, "x", 1, NEAP_NOWAIT, NULL);
    assert_true(code == NEAP_ELOOP_CLOSED || code == NEAP_ECLOSED);
    neap_future_unref(recv);
    neap_future_unref(accept);
    neap_sock_unref(conn);
    neap_sock_unref(listener);
    net_close(peer);
}

static void closing_the_loop_silently_runs_only_destroy_hooks(void **state) {
    (void)state;
    int peer;
    int destroyed = 0;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    assert_ok(neap_future_on_done(recv, nt_note_future_fn, &destroyed, nt_count_fn, NULL));
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_notes("");
    assert_int_equal(destroyed, 1);
    net_expect_eof(peer);
    neap_future_unref(recv);
    neap_sock_unref(conn);
    net_close(peer);
}

static void a_socket_may_outlive_its_loop(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    char buf[8];
    assert_ok(neap_sock_pair(loop, NEAP_UNIX, &a, &b));
    nt_loop_end(loop);
    assert_true(neap_sock_recv(a, buf, 8, NEAP_NOWAIT, NULL) < 0);
    assert_ok(neap_sock_close(a));
    neap_sock_unref(a);
    neap_sock_unref(b);
}

static void sockets_of_a_closed_loop_are_refused(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_sock *other = NULL;
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_code(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock), NEAP_ELOOP_CLOSED);
    assert_code(neap_sock_pair(nt.loop, NEAP_UNIX, &sock, &other), NEAP_ELOOP_CLOSED);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_code(neap_sock_adopt(nt.loop, fds[0], &sock), NEAP_ELOOP_CLOSED);
    assert_null(sock);
    net_close(fds[0]);
    net_close(fds[1]);
}

NT_MAIN(NT_TEST(close_ends_a_waiting_recv), NT_TEST(close_ends_a_waiting_lent_recv),
        NT_TEST(close_ends_a_waiting_accept), NT_TEST(close_ends_a_waiting_send),
        NT_TEST(close_ends_a_waiting_sendall_which_tells_how_much_went),
        NT_TEST(close_ends_a_waiting_recvfrom), NT_TEST(close_ends_a_waiting_sendto),
        NT_TEST(close_ends_a_waiting_connect),
        NT_TEST(close_ends_all_operations_of_both_directions_in_order),
        NT_TEST(close_gives_the_descriptor_back_at_once), NT_TEST(close_is_idempotent),
        NT_TEST(a_closed_socket_answers_eclosed_to_everything), NT_TEST(the_last_reference_closes),
        NT_TEST(the_last_reference_ends_what_waits), NT_TEST(unref_of_no_socket_is_fine),
        NT_TEST(a_callback_may_close_its_own_socket),
        NT_TEST(a_completed_receive_survives_the_close_of_its_socket),
        NT_TEST(an_operation_keeps_its_future_until_it_is_done),
        NT_TEST(closing_the_loop_completes_what_waits_and_runs_its_callbacks_once),
        NT_TEST(closing_the_loop_silently_runs_only_destroy_hooks),
        NT_TEST(a_socket_may_outlive_its_loop), NT_TEST(sockets_of_a_closed_loop_are_refused))
