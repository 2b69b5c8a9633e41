/* How streams end: closed, aborted, reset, half-closed, together with their loop; with reads that wait, bytes in flight, and
   others who wait for these. */
#include "streams.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MUCH = 1 << 20
};

/* ---- Closed with a read that waits, bytes in flight, and a wait for them */

/* A stream in that state: which of the three there are is in the bits of `kind`. */
typedef struct busy {
    neap_stream *stream;
    int peer;
    neap_future *read;  /* or NULL */
    neap_future *write; /* or NULL */
    neap_future *drain; /* or NULL */
} busy;

enum {
    KINDS = 8
};

static busy make_busy(int kind, neap_stream *(*make)(int *ret_peer)) {
    busy b = {0};
    b.stream = make(&b.peer);
    if (kind & 1)
        b.read = st_park_exactly(b.stream, 2);
    if (kind & 2)
        b.write = st_stuff(b.stream, 8 * MUCH);
    if ((kind & 4) && b.write != NULL)
        assert_int_equal(neap_stream_drain(b.stream, 0, &b.drain), NEAP_PENDING);
    neap_future *futures[] = {b.read, b.write, b.drain};
    for (int i = 0; i < 3; i++)
        if (futures[i] != NULL)
            assert_ok(neap_future_ignore(futures[i]));
    nt_settle();
    return b;
}

/* All who waited hear the code; the other end is closed. */
static void expect_ended(busy *b, int32_t code) {
    neap_future *futures[] = {b->read, b->write, b->drain};
    for (int i = 0; i < 3; i++)
        if (futures[i] != NULL)
            net_failure(futures[i], code);
    if (b->peer >= 0)
        net_close(b->peer);
}

static void abort_ends_all_that_waits(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        busy b = make_busy(kind, kind % 2 ? st_unix : st_tcp);
        assert_ok(neap_stream_abort(b.stream));
        assert_ok(neap_stream_abort(b.stream));
        assert_int_equal(neap_stream_unsent(b.stream), 0);
        expect_ended(&b, NEAP_ECLOSED);
        st_end(b.stream, -1);
    }
}

static void the_last_reference_ends_all_that_waits(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        busy b = make_busy(kind, st_unix);
        neap_stream_unref(b.stream);
        expect_ended(&b, NEAP_ECLOSED);
    }
}

static void a_socket_that_is_closed_ends_all_that_waits(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        busy b = make_busy(kind, st_unix);
        assert_ok(neap_sock_close(neap_stream_sock(b.stream)));
        assert_int_equal(neap_stream_write(b.stream, "x", 1, NEAP_NOWAIT, NULL), NEAP_ECLOSED);
        expect_ended(&b, NEAP_ECLOSED);
        st_end(b.stream, -1);
    }
}

static void a_loop_that_closes_ends_all_that_waits(void **state) {
    (void)state;
    for (int kind = 0; kind < 2 * KINDS; kind++) {
        neap_loop *outer = nt.loop;
        nt.loop = nt_loop_new(0);
        busy b = make_busy(kind % KINDS, st_unix);
        neap_stream_write(b.stream, "not sent", 8, NEAP_STREAM_BUFFER, NULL);
        assert_ok(neap_loop_close(nt.loop, kind >= KINDS ? NEAP_CLOSE_SILENT : 0));
        neap_future *futures[] = {b.read, b.write, b.drain};
        for (int i = 0; i < 3; i++) {
            if (futures[i] != NULL)
                assert_code(neap_future_error(futures[i]), NEAP_ECLOSED);
            neap_future_unref(futures[i]);
        }
        neap_stream_unref(b.stream);
        net_close(b.peer);
        neap_loop_unref(nt.loop);
        nt.loop = outer;
    }
}

static void a_loop_may_close_while_a_stream_flushes(void **state) {
    (void)state;
    for (uint32_t silent = 0; silent <= NEAP_CLOSE_SILENT; silent += NEAP_CLOSE_SILENT)
        for (int keeps = 0; keeps < 2; keeps++) {
            neap_loop *outer = nt.loop;
            nt.loop = nt_loop_new(0);
            neap_future *closed = NULL;
            busy b = make_busy(2, st_unix);
            assert_int_equal(neap_stream_close(b.stream, 0, &closed), NEAP_PENDING);
            if (!keeps)
                neap_stream_unref(b.stream);
            assert_ok(neap_loop_close(nt.loop, silent));
            assert_code(neap_future_error(closed), NEAP_ECLOSED);
            neap_future_unref(closed);
            neap_future_unref(b.write);
            if (keeps)
                neap_stream_unref(b.stream);
            net_close(b.peer);
            neap_loop_unref(nt.loop);
            nt.loop = outer;
        }
}

static void a_closed_stream_answers_so(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    assert_ok(neap_stream_close(s, 0, &future));
    assert_int_equal(neap_stream_read(s, 1, 0, &data, &future), NEAP_ECLOSED);
    assert_int_equal(neap_stream_fill(s, 1, 0, &future), NEAP_ECLOSED);
    assert_int_equal(neap_stream_peek(s, &data), NEAP_ECLOSED);
    assert_int_equal(neap_stream_consume(s, 0), NEAP_ECLOSED);
    assert_int_equal(neap_stream_unread(s, "x", 1), NEAP_ECLOSED);
    assert_int_equal(neap_stream_at_end(s), NEAP_ECLOSED);
    assert_int_equal(neap_stream_write(s, "x", 1, 0, &future), NEAP_ECLOSED);
    assert_int_equal(neap_stream_drain(s, 0, &future), NEAP_ECLOSED);
    assert_int_equal(neap_stream_write_eof(s, 0, &future), NEAP_ECLOSED);
    assert_int_equal(neap_stream_set_marks(s, 1, 2), NEAP_ECLOSED);
    assert_int_equal(neap_stream_unsent(s), 0);
    assert_ok(neap_stream_close(s, 0, &future));
    assert_ok(neap_stream_abort(s));
    assert_null(future);
    st_end(s, peer);
}

/* ---- Closed while it flushes */

static void two_may_wait_for_the_same_close(void **state) {
    (void)state;
    busy b = make_busy(2 | 4, st_tcp);
    neap_future *closed[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++)
        assert_int_equal(neap_stream_close(b.stream, 0, &closed[i]), NEAP_PENDING);
    assert_int_equal(neap_stream_unsent(b.stream) > 0, 1);
    st_expect_pattern(b.peer, 8 * MUCH);
    neap_future *futures[] = {closed[0], closed[1], b.write, b.drain};
    for (int i = 0; i < 4; i++) {
        nt_until(futures[i]);
        assert_ok(neap_future_error(futures[i]));
        neap_future_unref(futures[i]);
    }
    net_expect_eof(b.peer);
    st_end(b.stream, b.peer);
}

static void a_peer_that_goes_while_it_flushes_is_told(void **state) {
    (void)state;
    busy b = make_busy(1 | 2 | 4, st_unix);
    neap_future *closed = NULL;
    assert_int_equal(neap_stream_close(b.stream, 0, &closed), NEAP_PENDING);
    net_failure(b.read, NEAP_ECLOSED);
    b.read = NULL;
    net_close(b.peer);
    b.peer = -1;
    net_failure(closed, NEAP_EPIPE);
    expect_ended(&b, NEAP_EPIPE);
    st_end(b.stream, -1);
}

static void an_abort_while_it_flushes_ends_it(void **state) {
    (void)state;
    busy b = make_busy(2 | 4, st_tcp);
    neap_future *closed = NULL;
    char byte[65536];
    assert_int_equal(neap_stream_close(b.stream, 0, &closed), NEAP_PENDING);
    assert_ok(neap_stream_abort(b.stream));
    net_failure(closed, NEAP_ECLOSED);
    ssize_t n;
    while ((n = read(b.peer, byte, sizeof byte)) > 0)
        ;
    assert_int_equal(n, -1);
    assert_int_equal(errno, ECONNRESET);
    expect_ended(&b, NEAP_ECLOSED);
    st_end(b.stream, -1);
}

/* ---- Resets */

static void a_reset_ends_a_read_that_waits_and_what_is_in_flight(void **state) {
    (void)state;
    for (int kind = 1; kind < KINDS; kind++) {
        busy b = make_busy(kind, st_tcp);
        net_reset(b.peer);
        b.peer = -1;
        net_wait(neap_sock_fd(neap_stream_sock(b.stream)), POLLHUP);
        /* The kernel tells an error once, to who asks first, and then that the pipe is broken. */
        if ((kind & 3) == 3) {
            nt_until(b.read);
            bool first = neap_future_error(b.read) == NEAP_ECONNRESET;
            neap_future_unref(b.read);
            b.read = NULL;
            expect_ended(&b, first ? NEAP_EPIPE : NEAP_ECONNRESET);
        } else {
            expect_ended(&b, NEAP_ECONNRESET);
        }
        assert_ok(neap_stream_abort(b.stream));
        neap_stream_unref(b.stream);
    }
}

static void a_reset_ends_a_file_that_is_sent(void **state) {
    (void)state;
    int peer, file = memfd_create("file", MFD_CLOEXEC);
    neap_future *future = NULL;
    neap_stream *s = st_tcp(&peer);
    assert_int_equal(ftruncate(file, 64 * MUCH), 0);
    assert_int_equal(neap_stream_sendfile(s, file, 0, 64 * MUCH, 0, &future), NEAP_PENDING);
    nt_settle();
    assert_state(future, NEAP_STATE_PENDING);
    net_reset(peer);
    nt_until(future);
    int32_t code = neap_future_error(future);
    assert_true(code == NEAP_ECONNRESET || code == NEAP_EPIPE);
    neap_future_unref(future);
    assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
    net_close(file);
    assert_ok(neap_stream_abort(s));
    neap_stream_unref(s);
}

static void bytes_that_came_before_an_error_are_read_first(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *s = st_tcp(&peer);
    net_put(peer, "before");
    net_wait(neap_sock_fd(neap_stream_sock(s)), POLLIN);
    assert_int_equal(neap_stream_fill(s, 6, 0, &future), 6);
    net_reset(peer);
    net_wait(neap_sock_fd(neap_stream_sock(s)), POLLHUP);
    assert_int_equal(neap_stream_read_exactly(s, 7, 0, &data, &future), NEAP_ECONNRESET);
    assert_int_equal(neap_stream_at_end(s), 0);
    assert_int_equal(neap_stream_read(s, 3, 0, &data, &future), 3);
    assert_int_equal(neap_stream_read_exactly(s, 3, 0, &data, &future), 3);
    assert_int_equal(neap_stream_at_end(s), 1);
    assert_int_equal(neap_stream_read(s, 3, 0, &data, &future), NEAP_ECONNRESET);
    assert_null(future);
    assert_ok(neap_stream_abort(s));
    neap_stream_unref(s);
}

/* ---- Half-closed */

static void both_directions_end_on_their_own(void **state) {
    (void)state;
    for (int ours_first = 0; ours_first < 2; ours_first++) {
        int peer;
        const void *data = NULL;
        neap_future *future = NULL;
        neap_stream *s = st_tcp(&peer);
        st_write(s, "ours");
        net_put(peer, "theirs");
        if (!ours_first)
            assert_int_equal(shutdown(peer, SHUT_WR), 0);
        assert_ok(neap_stream_write_eof(s, 0, &future));
        assert_ok(neap_stream_write_eof(s, 0, &future));
        assert_int_equal(neap_stream_write(s, "x", 1, 0, &future), NEAP_EPIPE);
        net_expect(peer, "ours");
        net_expect_eof(peer);
        if (ours_first)
            assert_int_equal(shutdown(peer, SHUT_WR), 0);
        net_wait(neap_sock_fd(neap_stream_sock(s)), POLLRDHUP);
        assert_int_equal(neap_stream_read_all(s, 99, 0, &data, &future), 6);
        assert_memory_equal(data, "theirs", 6);
        assert_ok(neap_stream_drain(s, 0, &future));
        st_end(s, peer);
    }
}

static void write_eof_waits_its_turn(void **state) {
    (void)state;
    busy b = make_busy(2, st_unix);
    neap_future *ended = NULL;
    assert_int_equal(neap_stream_write_eof(b.stream, 0, &ended), NEAP_PENDING);
    assert_int_equal(neap_stream_write(b.stream, "x", 1, NEAP_STREAM_BUFFER, NULL), NEAP_EPIPE);
    st_expect_pattern(b.peer, 8 * MUCH);
    nt_until(ended);
    assert_ok(neap_future_error(ended));
    net_expect_eof(b.peer);
    net_put(b.peer, "still heard");
    nt_settle();
    st_rest(b.stream, "still heard");
    neap_future_unref(ended);
    neap_future_unref(b.write);
    st_end(b.stream, b.peer);
}

/* ---- Cancelled waits of writers */

static void each_wait_of_a_writer_can_be_cancelled(void **state) {
    (void)state;
    busy b = make_busy(2 | 4, st_unix);
    neap_future *more = NULL, *ended = NULL;
    assert_int_equal(neap_stream_write(b.stream, "+", 1, 0, &more), NEAP_PENDING);
    assert_int_equal(neap_stream_write_eof(b.stream, 0, &ended), NEAP_PENDING);
    neap_future *futures[] = {ended, b.drain, more, b.write};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(neap_future_cancel(futures[i], NULL), 1);
        net_cancelled(futures[i]);
    }
    st_expect_pattern(b.peer, 8 * MUCH);
    net_expect(b.peer, "+");
    net_expect_eof(b.peer);
    st_end(b.stream, b.peer);
}

static void what_is_unsent_is_counted_in_bytes(void **state) {
    (void)state;
    busy b = make_busy(2, st_unix);
    int64_t before = neap_stream_unsent(b.stream);
    assert_true(before > 0 && before < 8 * MUCH);
    st_expect_pattern(b.peer, MUCH);
    nt_settle();
    assert_true(neap_stream_unsent(b.stream) <= before - MUCH / 2);
    assert_state(b.write, NEAP_STATE_PENDING);
    neap_future_unref(b.write);
    assert_ok(neap_stream_abort(b.stream));
    neap_stream_unref(b.stream);
    net_close(b.peer);
}

/* ---- Who the peer was */

static void expect_peer(neap_stream *stream, const neap_addr *expected) {
    neap_addr addr;
    assert_ok(neap_stream_peer(stream, &addr));
    assert_int_equal(addr.family, expected->family);
    assert_int_equal(addr.len, expected->len);
    assert_memory_equal(addr.data, expected->data, addr.len);
}

/* The client has the address `own` if that is not NULL. */
static void expect_remembered(const neap_addr *at, const neap_addr *own, bool parked) {
    neap_addr listening, from, met;
    neap_sock *listener = NULL, *client = NULL, *conn = NULL;
    neap_stream *near = NULL, *far = NULL;
    neap_future *future = NULL, *connect = NULL;
    bool local = at->family == NEAP_AF_UNIX;
    assert_ok(neap_sock_new(nt.loop, local ? NEAP_UNIX : NEAP_TCP, (int32_t)at->family, &listener));
    assert_ok(neap_sock_bind(listener, at));
    assert_ok(neap_sock_listen(listener, 0));
    assert_ok(neap_sock_local(listener, &listening));
    if (parked)
        future = net_park_accept(listener);
    assert_ok(neap_sock_new(nt.loop, local ? NEAP_UNIX : NEAP_TCP, (int32_t)at->family, &client));
    if (own != NULL)
        assert_ok(neap_sock_bind(client, own));
    assert_int_equal(neap_sock_connect(client, &listening, NEAP_WANT_FUTURE, &connect),
                     NEAP_PENDING);
    nt_until(connect);
    assert_ok(neap_future_error(connect));
    neap_future_unref(connect);
    conn = parked ? net_accepted(future) : net_accept_now(listener);
    assert_ok(neap_sock_local(client, &from));
    assert_ok(neap_sock_peer(client, &met));
    assert_ok(neap_stream_new(conn, &near));
    assert_ok(neap_stream_new(client, &far));
    neap_sock_unref(conn);
    neap_sock_unref(client);
    expect_peer(near, &from);
    assert_ok(neap_stream_abort(far));
    net_wait(neap_sock_fd(neap_stream_sock(near)), POLLIN);
    expect_peer(near, &from);
    assert_ok(neap_stream_abort(near));
    expect_peer(near, &from);
    expect_peer(far, &met);
    neap_stream_unref(near);
    neap_stream_unref(far);
    net_end(listener);
}

static void the_peer_is_known_when_it_has_gone_and_after_close(void **state) {
    (void)state;
    neap_addr any[] = {net_loopback(), net_addr("[::1]:0"), net_abstract()};
    neap_addr own = net_abstract();
    for (int parked = 0; parked < 2; parked++) {
        for (int i = 0; i < 3; i++)
            expect_remembered(&any[i], NULL, parked != 0);
        expect_remembered(&any[2], &own, parked != 0);
    }
}

static void who_was_never_met_is_not_known_after_close(void **state) {
    (void)state;
    neap_addr addr;
    neap_stream *a = NULL, *b = NULL;
    assert_ok(neap_stream_pair(nt.loop, &a, &b));
    assert_ok(neap_stream_peer(a, &addr));
    assert_ok(neap_stream_abort(a));
    assert_code(neap_stream_peer(a, &addr), NEAP_ECLOSED);
    assert_code(neap_stream_peer(a, NULL), NEAP_EINVAL);
    neap_stream_unref(a);
    neap_stream_unref(b);
}

NT_MAIN(NT_TEST(abort_ends_all_that_waits), NT_TEST(the_last_reference_ends_all_that_waits),
        NT_TEST(a_socket_that_is_closed_ends_all_that_waits),
        NT_TEST(a_loop_that_closes_ends_all_that_waits),
        NT_TEST(a_loop_may_close_while_a_stream_flushes), NT_TEST(a_closed_stream_answers_so),
        NT_TEST(two_may_wait_for_the_same_close),
        NT_TEST(a_peer_that_goes_while_it_flushes_is_told),
        NT_TEST(an_abort_while_it_flushes_ends_it),
        NT_TEST(a_reset_ends_a_read_that_waits_and_what_is_in_flight),
        NT_TEST(a_reset_ends_a_file_that_is_sent),
        NT_TEST(bytes_that_came_before_an_error_are_read_first),
        NT_TEST(both_directions_end_on_their_own), NT_TEST(write_eof_waits_its_turn),
        NT_TEST(each_wait_of_a_writer_can_be_cancelled),
        NT_TEST(what_is_unsent_is_counted_in_bytes),
        NT_TEST(the_peer_is_known_when_it_has_gone_and_after_close),
        NT_TEST(who_was_never_met_is_not_known_after_close))
