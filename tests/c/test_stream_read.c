/* Reading from streams: whole answers, at once or later, and nothing lost when a read fails, ends or is cancelled. */
#include "net.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const neap_iov LINE = {"\n", 1};

/* A stream over a Unix socket, and the other end. */
static neap_stream *make(int *ret_peer) {
    neap_stream *stream = NULL;
    neap_sock *sock = net_unix(ret_peer);
    assert_ok(neap_stream_new(sock, &stream));
    neap_sock_unref(sock);
    return stream;
}

static neap_stream *make_tcp(int *ret_peer) {
    neap_stream *stream = NULL;
    neap_sock *sock = net_tcp(ret_peer);
    assert_ok(neap_stream_new(sock, &stream));
    neap_sock_unref(sock);
    return stream;
}

static void end(neap_stream *stream, int peer) {
    assert_ok(neap_stream_close(stream, 0, NULL));
    neap_stream_unref(stream);
    if (peer >= 0)
        net_close(peer);
}

/* What a read answered: the count, and where it has put the address of the bytes. */
static void expect_now(int64_t n, const void *const *data, const char *expected) {
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(*data, expected, strlen(expected));
}

/* Runs until the future is done, asserts its bytes, ends the reference. */
static void expect_bytes(neap_future *future, const char *expected) {
    const void *data = NULL;
    size_t len = 0;
    nt_until(future);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    expect_now((int64_t)len, &data, expected);
    neap_future_unref(future);
}

static neap_future *park_exactly(neap_stream *stream, size_t n) {
    const void *data = NULL;
    neap_future *future = NULL;
    assert_int_equal(neap_stream_read_exactly(stream, n, 0, &data, &future), NEAP_PENDING);
    return future;
}

static neap_future *park_line(neap_stream *stream, size_t limit, uint32_t flags) {
    const void *data = NULL;
    neap_future *future = NULL;
    assert_int_equal(neap_stream_read_until(stream, &LINE, 1, limit, flags, &data, &future),
                     NEAP_PENDING);
    return future;
}

static void what_has_come_is_read_without_a_future(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *stream = make(&peer);
    net_put(peer, "one\ntwo\nthree");
    expect_now(neap_stream_read_until(stream, &LINE, 1, 100, 0, &data, &future), &data, "one\n");
    expect_now(neap_stream_read_exactly(stream, 2, 0, &data, &future), &data, "tw");
    expect_now(neap_stream_read(stream, 4, 0, &data, &future), &data, "o\nth");
    expect_now(neap_stream_read(stream, 100, 0, &data, &future), &data, "ree");
    assert_null(future);
    end(stream, peer);
}

static void a_waiting_read_is_not_done_before_all_has_come(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = park_exactly(stream, 6);
    for (int i = 0; i < 5; i++) {
        net_write(peer, &"abcdef"[i], 1);
        nt_turn();
        assert_state(future, NEAP_STATE_PENDING);
    }
    net_put(peer, "fg");
    expect_bytes(future, "abcdef");
    const void *data = NULL;
    expect_now(neap_stream_read(stream, 9, NEAP_NOWAIT, &data, NULL), &data, "g");
    end(stream, peer);
}

static void a_task_is_woken_once_for_bytes_that_come_one_by_one(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = park_exactly(stream, 5);
    nt_script script;
    neap_task *task = nt_spawn(&script, "reader", NT_ACTS(NT_AWAIT(future), NT_NOTE("read")));
    nt_settle();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(script.n_wakes, 1);
        net_write(peer, &"hello"[i], 1);
        nt_settle();
    }
    assert_int_equal(script.n_wakes, 2);
    expect_bytes(future, "hello");
    neap_task_unref(task);
    end(stream, peer);
}

static void the_end_before_all_has_come_is_told_and_takes_nothing(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_stream *stream = make(&peer);
    neap_future *future = park_exactly(stream, 10);
    net_put(peer, "half");
    nt_settle();
    net_close(peer);
    net_failure(future, NEAP_EINCOMPLETE);
    expect_now(neap_stream_read_all(stream, 100, 0, &data, &future), &data, "half");
    assert_int_equal(neap_stream_read(stream, 1, 0, &data, &future), 0);
    assert_int_equal(neap_stream_at_end(stream), 1);
    end(stream, -1);
}

static void a_line_beyond_the_limit_is_an_error_and_stays(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_stream *stream = make(&peer);
    neap_future *future = park_line(stream, 8, 0);
    net_put(peer, "much too long\nshort\n");
    net_failure(future, NEAP_ELIMIT);
    future = NULL;
    assert_int_equal(neap_stream_read_until(stream, &LINE, 1, 8, 0, &data, &future), NEAP_ELIMIT);
    expect_now(neap_stream_read_until(stream, &LINE, 1, 100, 0, &data, &future), &data,
               "much too long\n");
    expect_now(neap_stream_read_until(stream, &LINE, 1, 8, 0, &data, &future), &data, "short\n");
    end(stream, peer);
}

static void of_several_delimiters_the_one_that_ends_first_counts(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    const neap_iov delims[] = {{"\r\n\r\n", 4}, {"\n", 1}, {"--", 2}};
    neap_stream *stream = make(&peer);
    net_put(peer, "a\r\n\r\nb--c\n-");
    expect_now(neap_stream_read_until(stream, delims, 3, 99, 0, &data, &future), &data, "a\r\n");
    expect_now(neap_stream_read_until(stream, delims, 3, 99, 0, &data, &future), &data, "\r\n");
    expect_now(neap_stream_read_until(stream, delims, 3, 99, 0, &data, &future), &data, "b--");
    expect_now(neap_stream_read_until(stream, delims, 3, 99, 0, &data, &future), &data, "c\n");
    assert_int_equal(neap_stream_read_until(stream, delims, 3, 99, NEAP_NOWAIT, &data, NULL),
                     NEAP_EAGAIN);
    end(stream, peer);
}

static void a_delimiter_may_come_in_pieces(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    const neap_iov delim = {"--end--", 7};
    neap_stream *stream = make_tcp(&peer);
    const char *text = "text --en--end--";
    assert_int_equal(neap_stream_read_until(stream, &delim, 1, 99, 0, &data, &future),
                     NEAP_PENDING);
    for (size_t i = 0; i < strlen(text); i++) {
        net_write(peer, text + i, 1);
        nt_settle();
    }
    expect_bytes(future, text);
    end(stream, peer);
}

static void a_cancelled_read_takes_nothing(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_stream *stream = make(&peer);
    neap_future *future = park_exactly(stream, 10);
    net_put(peer, "four");
    nt_settle();
    neap_future_cancel(future, NULL);
    net_cancelled(future);
    expect_now(neap_stream_read(stream, 100, NEAP_NOWAIT, &data, NULL), &data, "four");
    end(stream, peer);
}

static void a_second_reader_is_refused_and_the_first_goes_on(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *other = NULL;
    neap_stream *stream = make(&peer);
    neap_future *future = park_exactly(stream, 2);
    assert_int_equal(neap_stream_read(stream, 5, 0, &data, &other), NEAP_EBUSY);
    net_put(peer, "ok");
    expect_bytes(future, "ok");
    end(stream, peer);
}

static void a_read_ends_when_the_stream_is_closed(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = park_exactly(stream, 2);
    assert_ok(neap_stream_close(stream, 0, NULL));
    net_failure(future, NEAP_ECLOSED);
    end(stream, peer);
}

static void bytes_of_two_streams_do_not_mix(void **state) {
    (void)state;
    int peer_a, peer_b;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *a = make(&peer_a), *b = make(&peer_b);
    net_put(peer_a, "first a second a");
    net_put(peer_b, "first b second b");
    expect_now(neap_stream_read_exactly(a, 8, 0, &data, &future), &data, "first a ");
    expect_now(neap_stream_read_exactly(b, 8, 0, &data, &future), &data, "first b ");
    expect_now(neap_stream_read(a, 99, 0, &data, &future), &data, "second a");
    expect_now(neap_stream_read(b, 99, 0, &data, &future), &data, "second b");
    end(a, peer_a);
    end(b, peer_b);
}

static void what_was_read_can_be_put_back(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *stream = make(&peer);
    net_put(peer, "some words");
    expect_now(neap_stream_read_exactly(stream, 4, 0, &data, &future), &data, "some");
    assert_ok(neap_stream_unread(stream, data, 4));
    expect_now(neap_stream_read(stream, 99, 0, &data, &future), &data, "some words");
    assert_ok(neap_stream_unread(stream, data, 10));
    assert_ok(neap_stream_unread(stream, "other ", 6));
    expect_now(neap_stream_read(stream, 99, 0, &data, &future), &data, "other some words");
    end(stream, peer);
}

NT_MAIN(NT_TEST(what_has_come_is_read_without_a_future),
        NT_TEST(a_waiting_read_is_not_done_before_all_has_come),
        NT_TEST(a_task_is_woken_once_for_bytes_that_come_one_by_one),
        NT_TEST(the_end_before_all_has_come_is_told_and_takes_nothing),
        NT_TEST(a_line_beyond_the_limit_is_an_error_and_stays),
        NT_TEST(of_several_delimiters_the_one_that_ends_first_counts),
        NT_TEST(a_delimiter_may_come_in_pieces), NT_TEST(a_cancelled_read_takes_nothing),
        NT_TEST(a_second_reader_is_refused_and_the_first_goes_on),
        NT_TEST(a_read_ends_when_the_stream_is_closed), NT_TEST(bytes_of_two_streams_do_not_mix),
        NT_TEST(what_was_read_can_be_put_back))
