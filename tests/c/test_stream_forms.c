/* Each call of a stream in each of its forms: at once, as a future, without waiting; its limits, exact and one more; its
   arguments. */
#include "streams.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const neap_iov LINE = {"\n", 1};

enum {
    NOWAIT_FUTURE = NEAP_NOWAIT | NEAP_WANT_FUTURE,
    UNKNOWN = 1 << 20
};

/* The read numbered `kind`, of what "abc\n" satisfies. */
static int64_t read_by(int kind, neap_stream *s, uint32_t flags, const void **ret_data,
                       neap_future **ret_future) {
    switch (kind) {
    case 0:
        return neap_stream_read(s, 4, flags, ret_data, ret_future);
    case 1:
        return neap_stream_read_exactly(s, 4, flags, ret_data, ret_future);
    case 2:
        return neap_stream_read_until(s, &LINE, 1, 4, flags, ret_data, ret_future);
    case 3:
        return neap_stream_fill(s, 4, flags, ret_future);
    default:
        return neap_stream_read_all(s, 4, flags, ret_data, ret_future);
    }
}

enum {
    KINDS = 5,
    FILL = 3,
    ALL = 4
};

static void expect_outcome(int kind, neap_stream *s, neap_future *future) {
    if (kind == FILL) {
        net_result(future, 4);
        st_next(s, "abc\n");
    } else {
        st_bytes(future, "abc\n");
    }
}

static void every_read_comes_as_a_future_if_asked(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (uint32_t nowait = 0; nowait <= NEAP_NOWAIT; nowait += NEAP_NOWAIT) {
            int peer;
            const void *data = NULL;
            neap_future *future = NULL;
            neap_stream *s = st_unix(&peer);
            net_put(peer, "abc\n");
            if (kind == ALL)
                assert_int_equal(shutdown(peer, SHUT_WR), 0);
            assert_int_equal(read_by(kind, s, nowait | NEAP_WANT_FUTURE, &data, &future),
                             NEAP_PENDING);
            assert_int_equal(neap_future_done(future), 1);
            expect_outcome(kind, s, future);
            st_end(s, peer);
        }
}

static void no_read_waits_if_told_so(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        int peer;
        const void *data = NULL;
        neap_future *future = NULL;
        neap_stream *s = st_unix(&peer);
        assert_int_equal(read_by(kind, s, NEAP_NOWAIT, &data, NULL), NEAP_EAGAIN);
        assert_int_equal(read_by(kind, s, NOWAIT_FUTURE, &data, &future), NEAP_EAGAIN);
        assert_null(future);
        net_put(peer, "abc\n");
        if (kind == ALL)
            assert_int_equal(shutdown(peer, SHUT_WR), 0);
        assert_int_equal(read_by(kind, s, NEAP_NOWAIT, &data, NULL), 4);
        if (kind == FILL)
            assert_int_equal(neap_stream_peek(s, &data), 4);
        assert_memory_equal(data, "abc\n", 4);
        st_end(s, peer);
    }
}

static void every_read_waits_for_its_bytes(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        int peer;
        const void *data = NULL;
        neap_future *future = NULL;
        neap_stream *s = st_tcp(&peer);
        assert_int_equal(read_by(kind, s, 0, &data, &future), NEAP_PENDING);
        for (int i = 0; i < 4 && kind != 0; i++) {
            net_write(peer, &"abc\n"[i], 1);
            nt_settle();
        }
        if (kind == 0)
            net_put(peer, "abc\n");
        if (kind == ALL)
            assert_int_equal(shutdown(peer, SHUT_WR), 0);
        expect_outcome(kind, s, future);
        st_end(s, peer);
    }
}

static void every_read_can_be_cancelled_and_takes_nothing(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (int bytes = 0; bytes < 4; bytes++) {
            int peer;
            const void *data = NULL;
            neap_future *future = NULL;
            neap_stream *s = st_unix(&peer);
            assert_int_equal(read_by(kind, s, 0, &data, &future), NEAP_PENDING);
            if (bytes > 0 && kind != 0) {
                net_write(peer, "abc", (size_t)bytes);
                nt_settle();
            }
            assert_int_equal(neap_future_cancel(future, NULL), 1);
            if (bytes > 0 && kind == 0)
                net_write(peer, "abc", (size_t)bytes);
            net_cancelled(future);
            st_rest(s, (const char *[]){"", "a", "ab", "abc"}[bytes]);
            st_end(s, peer);
        }
}

static void every_read_is_refused_while_one_waits(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    neap_future *first = st_park_exactly(s, 2);
    for (int kind = 0; kind < KINDS; kind++) {
        assert_int_equal(read_by(kind, s, 0, &data, &future), NEAP_EBUSY);
        assert_int_equal(read_by(kind, s, NEAP_NOWAIT, &data, NULL), NEAP_EBUSY);
    }
    assert_int_equal(neap_stream_consume(s, 0), NEAP_EBUSY);
    assert_int_equal(neap_stream_peek(s, &data), 0);
    net_put(peer, "ok");
    st_bytes(first, "ok");
    st_end(s, peer);
}

static void wrong_arguments_of_reads_are_refused(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    const neap_iov empty = {"", 0}, none = {NULL, 1}, many[17] = {{NULL, 0}};
    for (int kind = 0; kind < KINDS; kind++) {
        assert_int_equal(read_by(kind, NULL, 0, &data, &future), NEAP_EINVAL);
        assert_int_equal(read_by(kind, s, UNKNOWN, &data, &future), NEAP_EINVAL);
        assert_int_equal(read_by(kind, s, 0, &data, NULL), NEAP_EINVAL);
        assert_int_equal(read_by(kind, s, NEAP_WANT_FUTURE, &data, NULL), NEAP_EINVAL);
        assert_int_equal(read_by(kind, s, NOWAIT_FUTURE, &data, NULL), NEAP_EINVAL);
        if (kind != FILL)
            assert_int_equal(read_by(kind, s, 0, NULL, &future), NEAP_EINVAL);
    }
    assert_int_equal(neap_stream_read(s, 0, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_exactly(s, 0, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_exactly(s, SIZE_MAX, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_fill(s, 0, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_until(s, &LINE, 0, 4, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_until(s, &LINE, 1, 0, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_until(s, NULL, 1, 4, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_until(s, &empty, 1, 4, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_until(s, &none, 1, 4, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_read_until(s, many, 17, 4, 0, &data, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_consume(s, 1), NEAP_EINVAL);
    assert_int_equal(neap_stream_peek(s, NULL), NEAP_EINVAL);
    assert_ok(neap_stream_unread(s, "there already", 13));
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(read_by(kind, s, 0, &data, NULL), NEAP_EINVAL);
    assert_null(future);
    st_end(s, peer);
}

/* ---- Limits */

static int64_t line_of(const char *text, int ends, size_t limit, uint32_t flags) {
    int peer;
    const void *data = NULL;
    neap_stream *s = st_unix(&peer);
    net_put(peer, text);
    if (ends)
        assert_int_equal(shutdown(peer, SHUT_WR), 0);
    int64_t n = neap_stream_read_until(s, &LINE, 1, limit, flags | NEAP_NOWAIT, &data, NULL);
    if (n < 0)
        st_next(s, text);
    else if (n > 0)
        assert_memory_equal(data, text, (size_t)n);
    st_end(s, peer);
    return n;
}

static void a_line_may_have_exactly_the_limit(void **state) {
    (void)state;
    assert_int_equal(line_of("1234\n", 0, 5, 0), 5);
    assert_int_equal(line_of("12345\n", 0, 5, 0), NEAP_ELIMIT);
    assert_int_equal(line_of("12345", 0, 5, 0), NEAP_ELIMIT);
    assert_int_equal(line_of("1234", 0, 5, 0), NEAP_EAGAIN);
    assert_int_equal(line_of("1234", 1, 5, 0), NEAP_EINCOMPLETE);
    assert_int_equal(line_of("\n", 1, 1, 0), 1);
}

static void the_rest_may_have_exactly_the_limit(void **state) {
    (void)state;
    assert_int_equal(line_of("12345", 1, 5, NEAP_STREAM_REST), 5);
    assert_int_equal(line_of("123456", 1, 5, NEAP_STREAM_REST), NEAP_ELIMIT);
    assert_int_equal(line_of("12345\n", 1, 5, NEAP_STREAM_REST), NEAP_ELIMIT);
    assert_int_equal(line_of("12345", 0, 5, NEAP_STREAM_REST), NEAP_EAGAIN);
    assert_int_equal(line_of("12345", 1, SIZE_MAX, NEAP_STREAM_REST), 5);
    assert_int_equal(line_of("", 1, 5, NEAP_STREAM_REST), 0);
}

static void all_may_have_exactly_the_limit(void **state) {
    (void)state;
    for (size_t limit = 0; limit < 5; limit++) {
        int peer;
        const void *data = NULL;
        neap_stream *s = st_unix(&peer);
        net_put(peer, "abc");
        net_close(peer);
        int64_t expected = limit < 3 ? NEAP_ELIMIT : 3;
        assert_int_equal(neap_stream_read_all(s, limit, NEAP_NOWAIT, &data, NULL), expected);
        st_rest(s, limit < 3 ? "abc" : "");
        st_end(s, -1);
    }
}

static void a_parser_fills_peeks_and_consumes(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    const char wire[] = "\003one\000\005three";
    const char *texts[] = {"one", "", "three"};
    const int64_t there[] = {11, 7, 6};
    for (int i = 0; i < 11; i++)
        net_write(peer, wire + i, 1);
    net_close(peer);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(neap_stream_fill(s, 1, 0, &future), 1);
        assert_int_equal(neap_stream_peek(s, &data), there[i]);
        size_t len = *(const unsigned char *)data;
        assert_int_equal(neap_stream_consume(s, 1), 0);
        if (len > 0)
            assert_int_equal(neap_stream_fill(s, len, 0, &future), len);
        neap_stream_peek(s, &data);
        assert_memory_equal(data, texts[i], len);
        assert_ok(neap_stream_consume(s, len));
    }
    assert_int_equal(neap_stream_fill(s, 1, 0, &future), 0);
    assert_int_equal(neap_stream_at_end(s), 1);
    st_end(s, -1);
}

/* ---- Writing */

static void wrong_arguments_of_writes_are_refused(void **state) {
    (void)state;
    int peer, closed = open("/dev/null", O_WRONLY | O_CLOEXEC);
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    const neap_iov none[] = {{"x", 1}, {NULL, 1}}, huge[] = {{"x", SIZE_MAX}, {"x", SIZE_MAX}};
    assert_int_equal(neap_stream_write(NULL, "x", 1, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_write(s, NULL, 1, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_write(s, NULL, 0, 0, &future), 0);
    assert_int_equal(neap_stream_write(s, "x", 1, 0, NULL), NEAP_EINVAL);
    assert_int_equal(neap_stream_write(s, "x", 1, NOWAIT_FUTURE, NULL), NEAP_EINVAL);
    assert_int_equal(neap_stream_write(s, "x", 1, UNKNOWN, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_writev(s, NULL, 1, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_writev(s, NULL, 0, 0, &future), 0);
    assert_int_equal(neap_stream_writev(s, none, 2, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_writev(s, huge, 2, 0, &future), NEAP_E2BIG);
    assert_int_equal(neap_stream_drain(s, 0, NULL), NEAP_EINVAL);
    assert_int_equal(neap_stream_drain(s, NEAP_STREAM_BUFFER, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_write_eof(s, 0, NULL), NEAP_EINVAL);
    assert_int_equal(neap_stream_sendfile(s, -1, 0, -1, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_sendfile(s, closed, 0, -2, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_sendfile(s, closed, -1, 1, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_sendfile(s, closed, 0, 0, 0, &future), NEAP_EBADF);
    net_close(closed);
    assert_int_equal(neap_stream_sendfile(s, closed, 0, 0, 0, &future), NEAP_EBADF);
    assert_int_equal(neap_stream_set_marks(s, 2, 1), NEAP_EINVAL);
    assert_int_equal(neap_stream_set_marks(s, 0, SIZE_MAX), NEAP_EINVAL);
    assert_int_equal(neap_stream_close(s, UNKNOWN, NULL), NEAP_EINVAL);
    assert_int_equal(neap_stream_close(s, NEAP_WANT_FUTURE, NULL), NEAP_EINVAL);
    assert_int_equal(neap_stream_unsent(s), 0);
    assert_null(future);
    st_end(s, peer);
}

static void writes_come_as_futures_if_asked(void **state) {
    (void)state;
    for (uint32_t nowait = 0; nowait <= NEAP_NOWAIT; nowait += NEAP_NOWAIT) {
        int peer;
        uint32_t flags = nowait | NEAP_WANT_FUTURE;
        neap_future *futures[4] = {NULL, NULL, NULL, NULL};
        neap_stream *s = st_unix(&peer);
        assert_int_equal(neap_stream_write(s, "x", 1, flags, &futures[0]), NEAP_PENDING);
        assert_int_equal(neap_stream_drain(s, flags, &futures[1]), NEAP_PENDING);
        assert_int_equal(neap_stream_write_eof(s, flags, &futures[2]), NEAP_PENDING);
        assert_int_equal(neap_stream_close(s, flags, &futures[3]), NEAP_PENDING);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(neap_future_done(futures[i]), 1);
            assert_ok(neap_future_error(futures[i]));
            neap_future_unref(futures[i]);
        }
        net_expect(peer, "x");
        net_expect_eof(peer);
        st_end(s, peer);
    }
}

static void what_must_not_wait_takes_nothing_above_the_mark(void **state) {
    (void)state;
    int peer;
    char path[] = "/tmp/neap-test-XXXXXX";
    int fd = mkstemp(path);
    neap_future *future = NULL;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(fd, "file", 4), 4);
    neap_stream *s = st_unix(&peer);
    neap_future *big = st_stuff(s, 1 << 20);
    int64_t unsent = neap_stream_unsent(s);
    assert_int_equal(neap_stream_write(s, "x", 1, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_int_equal(neap_stream_write(s, "x", 1, NOWAIT_FUTURE, &future), NEAP_EAGAIN);
    assert_int_equal(neap_stream_sendfile(s, fd, 0, -1, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_int_equal(neap_stream_drain(s, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_int_equal(neap_stream_unsent(s), unsent);
    assert_int_equal(neap_stream_sendfile(s, fd, 0, -1, NEAP_STREAM_BUFFER, NULL), 4);
    assert_int_equal(neap_stream_unsent(s), unsent + 4);
    assert_int_equal(neap_stream_write_eof(s, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    st_expect_pattern(peer, 1 << 20);
    nt_settle();
    net_expect(peer, "file");
    net_expect_eof(peer);
    neap_future_unref(big);
    net_close(fd);
    st_end(s, peer);
}

static void marks_decide_who_waits(void **state) {
    (void)state;
    int peer;
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    assert_ok(neap_stream_set_marks(s, 0, 0));
    assert_int_equal(neap_stream_write(s, "goes", 4, 0, &future), 4);
    net_expect(peer, "goes");
    size_t stuffed = net_stuff(neap_stream_sock(s));
    assert_int_equal(neap_stream_write(s, "a", 1, 0, &future), NEAP_PENDING);
    assert_int_equal(neap_stream_unsent(s), 1);
    assert_ok(neap_stream_set_marks(s, 1, 3));
    assert_int_equal(neap_stream_write(s, "bc", 2, NEAP_NOWAIT, NULL), 2);
    assert_int_equal(neap_stream_write(s, "d", 1, NEAP_NOWAIT, NULL), 1);
    assert_int_equal(neap_stream_write(s, "e", 1, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    while (stuffed > 0) {
        stuffed -= net_drain(peer);
        if (stuffed > 0)
            nt_turn();
    }
    nt_until(future);
    neap_future_unref(future);
    nt_settle();
    net_expect(peer, "abcd");
    st_end(s, peer);
}

NT_MAIN(NT_TEST(every_read_comes_as_a_future_if_asked), NT_TEST(no_read_waits_if_told_so),
        NT_TEST(every_read_waits_for_its_bytes),
        NT_TEST(every_read_can_be_cancelled_and_takes_nothing),
        NT_TEST(every_read_is_refused_while_one_waits),
        NT_TEST(wrong_arguments_of_reads_are_refused), NT_TEST(a_line_may_have_exactly_the_limit),
        NT_TEST(the_rest_may_have_exactly_the_limit), NT_TEST(all_may_have_exactly_the_limit),
        NT_TEST(a_parser_fills_peeks_and_consumes), NT_TEST(wrong_arguments_of_writes_are_refused),
        NT_TEST(writes_come_as_futures_if_asked),
        NT_TEST(what_must_not_wait_takes_nothing_above_the_mark), NT_TEST(marks_decide_who_waits))
