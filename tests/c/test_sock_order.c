/* Operations of one direction on one socket are served in order, and a sendall is one unit. */
#include "net.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    HALF_MB = 512 * 1024
};

static void two_receivers_are_served_in_order(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char one[3] = {0};
    char two[3] = {0};
    neap_future *first = net_park_recv(conn, one, 2);
    neap_future *second = net_park_recv(conn, two, 2);
    nt_on_done(first, "first");
    nt_on_done(second, "second");
    net_put(peer, "abcd");
    net_result(second, 2);
    net_result(first, 2);
    assert_notes("first second");
    assert_string_equal(one, "ab");
    assert_string_equal(two, "cd");
    net_end(conn);
    net_close(peer);
}

static void one_chunk_goes_to_the_first_receiver_alone(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char one[8] = {0};
    char two[8] = {0};
    neap_future *first = net_park_recv(conn, one, sizeof one);
    neap_future *second = net_park_recv(conn, two, sizeof two);
    net_put(peer, "abc");
    net_result(first, 3);
    nt_turns(3);
    assert_state(second, NEAP_STATE_PENDING);
    net_put(peer, "de");
    net_result(second, 2);
    assert_memory_equal(two, "de", 2);
    net_end(conn);
    net_close(peer);
}

static void a_receive_does_not_overtake_one_that_waits(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char one[3] = {0};
    char two[3] = {0};
    neap_future *first = net_park_recv(conn, one, 2);
    net_put(peer, "abcd");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv(conn, two, 2, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    neap_future *second = net_park_recv(conn, two, 2);
    net_result(first, 2);
    net_result(second, 2);
    assert_string_equal(one, "ab");
    assert_string_equal(two, "cd");
    net_end(conn);
    net_close(peer);
}

static void the_end_of_the_stream_reaches_all_receivers(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[3][8];
    neap_future *futures[3];
    for (int i = 0; i < 3; i++)
        futures[i] = net_park_recv(conn, buf[i], sizeof buf[i]);
    net_put(peer, "x");
    net_close(peer);
    net_result(futures[0], 1);
    net_result(futures[1], 0);
    net_result(futures[2], 0);
    net_end(conn);
}

static void N5_a_reset_reaches_all_receivers_of_a_connection(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[2][8];
    neap_future *first = net_park_recv(conn, buf[0], sizeof buf[0]);
    neap_future *second = net_park_recv(conn, buf[1], sizeof buf[1]);
    net_reset(peer);
    net_failure(first, NEAP_ECONNRESET);
    /* The kernel tells the error once; what it says afterwards is the end of the stream. */
    nt_until(second);
    int32_t code = neap_future_error(second);
    assert_true(code == NEAP_ECONNRESET || (code == 0 && nt_int(second) == 0));
    neap_future_unref(second);
    net_end(conn);
}

static void two_acceptors_are_served_in_order(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *first = net_park_accept(listener);
    neap_future *second = net_park_accept(listener);
    int one = net_raw_connect(&addr);
    net_put(one, "one");
    neap_sock *conn_one = net_accepted(first);
    nt_turns(2);
    assert_state(second, NEAP_STATE_PENDING);
    int two = net_raw_connect(&addr);
    net_put(two, "two");
    neap_sock *conn_two = net_accepted(second);
    net_recv_text(conn_one, "one");
    net_recv_text(conn_two, "two");
    net_end(conn_one);
    net_end(conn_two);
    net_close(one);
    net_close(two);
    net_end(listener);
}

static void two_clients_at_once_serve_two_acceptors_in_one_tick(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *first = net_park_accept(listener);
    neap_future *second = net_park_accept(listener);
    int one = net_raw_connect(&addr);
    int two = net_raw_connect(&addr);
    net_put(one, "one");
    net_put(two, "two");
    neap_sock *conn_two = net_accepted(second);
    assert_true(neap_future_done(first) == 1);
    neap_sock *conn_one = net_accepted(first);
    net_recv_text(conn_one, "one");
    net_recv_text(conn_two, "two");
    net_end(conn_one);
    net_end(conn_two);
    net_close(one);
    net_close(two);
    net_end(listener);
}

static void an_accept_does_not_overtake_one_that_waits(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_sock *conn = NULL;
    neap_future *first = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    net_wait(neap_sock_fd(listener), POLLIN);
    assert_code(neap_sock_accept(listener, NEAP_NOWAIT, &conn, NULL, NULL), NEAP_EAGAIN);
    assert_null(conn);
    conn = net_accepted(first);
    net_end(conn);
    net_close(client);
    net_end(listener);
}

/* Reads exactly `len` bytes from the raw end while the loop runs. */
static void read_while_turning(int peer, unsigned char *data, size_t len) {
    for (size_t have = 0; have < len;) {
        ssize_t n = recv(peer, data + have, len - have, MSG_DONTWAIT);
        if (n > 0)
            have += (size_t)n;
        else
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    }
}

static void N4_concurrent_sendalls_do_not_mix(void **state) {
    (void)state;
    enum {
        N = 4
    };
    int peer;
    neap_sock *conn = net_unix(&peer);
    neap_future *futures[N];
    unsigned char *data[N];
    unsigned char *back = malloc((size_t)N * HALF_MB);
    size_t filled = net_stuff(conn);
    unsigned char *skip = malloc(filled);
    assert_non_null(back);
    assert_non_null(skip);
    for (int i = 0; i < N; i++) {
        data[i] = malloc(HALF_MB);
        assert_non_null(data[i]);
        memset(data[i], 'a' + i, HALF_MB);
        futures[i] = net_park_sendall(conn, data[i], HALF_MB);
    }
    read_while_turning(peer, skip, filled);
    read_while_turning(peer, back, (size_t)N * HALF_MB);
    for (int i = 0; i < N; i++) {
        assert_memory_equal(back + (size_t)i * HALF_MB, data[i], HALF_MB);
        net_result(futures[i], HALF_MB);
        free(data[i]);
    }
    free(back);
    free(skip);
    net_end(conn);
    net_close(peer);
}

static void a_send_does_not_overtake_a_sendall_that_waits(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    unsigned char *data = malloc(8 * HALF_MB);
    unsigned char *back = malloc(8 * HALF_MB);
    unsigned char tail[4] = {0};
    neap_future *later = NULL;
    assert_non_null(data);
    assert_non_null(back);
    net_fill_pattern(data, 8 * HALF_MB, 0);
    neap_future *all = net_park_sendall(conn, data, 8 * HALF_MB);
    assert_code(neap_sock_send(conn, "end", 3, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_code(neap_sock_sendall(conn, "end", 3, 0, &later), NEAP_PENDING);
    read_while_turning(peer, back, 8 * HALF_MB);
    read_while_turning(peer, tail, 3);
    net_expect_pattern(back, 8 * HALF_MB, 0);
    assert_string_equal((char *)tail, "end");
    net_result(all, 8 * HALF_MB);
    net_result(later, 3);
    free(data);
    free(back);
    net_end(conn);
    net_close(peer);
}

static void receives_one_after_the_other_keep_the_order_of_the_stream(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[4] = {0};
    net_put(peer, "1234567890");
    for (int i = 0; i < 5; i++) {
        neap_future *future = NULL;
        assert_code(neap_sock_recv(conn, buf, 2, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
        net_result(future, 2);
        nt_note("%s", buf);
    }
    assert_notes("12 34 56 78 90");
    net_end(conn);
    net_close(peer);
}

static void the_two_directions_do_not_wait_for_each_other(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[8];
    unsigned char *data = calloc(1, 8 * HALF_MB);
    neap_future *all = net_park_sendall(conn, data, 8 * HALF_MB);
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    net_put(peer, "abc");
    net_result(recv, 3);
    assert_state(all, NEAP_STATE_PENDING);
    while (!neap_future_done(all)) {
        net_drain(peer);
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    }
    net_result(all, 8 * HALF_MB);
    free(data);
    net_end(conn);
    net_close(peer);
}

/* A receiver that notes its word with the state of the future and keeps nothing. */
static void note_state(neap_future *future, void *user) {
    nt_note("%s:%d", (const char *)user, (int)neap_future_error(future));
}

static void completions_of_one_poll_are_queued_in_order_of_their_operations(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char buf[5][1];
    neap_future *futures[5];
    const char *names[5] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++) {
        futures[i] = net_park_recv(conn, buf[i], 1);
        assert_ok(neap_future_on_done(futures[i], note_state, (void *)names[i], NULL, NULL));
    }
    net_put(peer, "vwxyz");
    net_wait(neap_sock_fd(conn), POLLIN);
    nt_turn();
    assert_notes("a:0 b:0 c:0 d:0 e:0");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(buf[i][0], 'v' + i);
        net_result(futures[i], 1);
    }
    net_end(conn);
    net_close(peer);
}

static void fifty_clients_at_once_are_all_accepted_by_one_acceptor(void **state) {
    (void)state;
    enum {
        N = 50
    };
    int clients[N];
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    nt_turn();
    for (int i = 0; i < N; i++)
        clients[i] = net_raw_connect(&addr);
    for (int i = 0; i < N; i++) {
        neap_sock *conn = net_accepted(future);
        net_end(conn);
        if (i + 1 < N)
            assert_code(neap_sock_accept(listener, NEAP_WANT_FUTURE, &conn, NULL, &future),
                        NEAP_PENDING);
    }
    for (int i = 0; i < N; i++)
        net_close(clients[i]);
    net_end(listener);
}

static void more_events_than_one_poll_takes_are_served_in_the_next_ticks(void **state) {
    (void)state;
    enum {
        N = 20
    };
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    neap_sock *a[N];
    neap_sock *b[N];
    neap_future *futures[N];
    char bufs[N][4];
    options.events_max = 2;
    assert_ok(neap_loop_new(&options, &loop));
    for (int i = 0; i < N; i++) {
        assert_ok(neap_sock_pair(loop, NEAP_UNIX, &a[i], &b[i]));
        assert_code(neap_sock_recv(a[i], bufs[i], 4, 0, &futures[i]), NEAP_PENDING);
    }
    assert_true(neap_loop_run_once(loop, 0) >= 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(neap_sock_send(b[i], "abc", 3, NEAP_NOWAIT, NULL), 3);
    for (int i = 0; i < 2 * N; i++)
        assert_true(neap_loop_run_once(loop, 0) >= 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(nt_int(futures[i]), 3);
        neap_future_unref(futures[i]);
        net_end(a[i]);
        net_end(b[i]);
    }
    nt_loop_end(loop);
}

NT_MAIN(NT_TEST(two_receivers_are_served_in_order),
        NT_TEST(one_chunk_goes_to_the_first_receiver_alone),
        NT_TEST(a_receive_does_not_overtake_one_that_waits),
        NT_TEST(the_end_of_the_stream_reaches_all_receivers),
        NT_TEST(N5_a_reset_reaches_all_receivers_of_a_connection),
        NT_TEST(two_acceptors_are_served_in_order),
        NT_TEST(two_clients_at_once_serve_two_acceptors_in_one_tick),
        NT_TEST(an_accept_does_not_overtake_one_that_waits),
        NT_TEST(N4_concurrent_sendalls_do_not_mix),
        NT_TEST(a_send_does_not_overtake_a_sendall_that_waits),
        NT_TEST(receives_one_after_the_other_keep_the_order_of_the_stream),
        NT_TEST(the_two_directions_do_not_wait_for_each_other),
        NT_TEST(completions_of_one_poll_are_queued_in_order_of_their_operations),
        NT_TEST(fifty_clients_at_once_are_all_accepted_by_one_acceptor),
        NT_TEST(more_events_than_one_poll_takes_are_served_in_the_next_ticks))
