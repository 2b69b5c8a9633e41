/* Streams under failing memory: as test_core.c.  Whatever fails, no byte is lost, doubled, or out of order. */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

static int ok(int64_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

static void settle(neap_loop *loop) {
    for (int quiet = 0; quiet < 3;) {
        int32_t n = neap_loop_run_once(loop, 0);
        assert_true(n >= 0 || n == NEAP_ENOMEM);
        quiet = n == 0 ? quiet + 1 : 0;
    }
}

/* A loop with two streams that are connected; false if there was no memory for them. */
static int begin(neap_loop **ret_loop, neap_stream **ret_a, neap_stream **ret_b) {
    *ret_loop = nt_fault_loop(0);
    *ret_a = *ret_b = NULL;
    if (*ret_loop == NULL)
        return 0;
    if (ok(neap_stream_pair(*ret_loop, ret_a, ret_b)))
        return 1;
    assert_null(*ret_a);
    assert_null(*ret_b);
    assert_ok(neap_loop_close(*ret_loop, 0));
    neap_loop_unref(*ret_loop);
    return 0;
}

static void end(neap_loop *loop, neap_stream *a, neap_stream *b) {
    neap_stream_unref(a);
    neap_stream_unref(b);
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
}

/* Takes what is there with memory that does not fail: it is exactly this. */
static void expect_rest(neap_loop *loop, neap_stream *stream, const char *expected) {
    const void *data = NULL;
    size_t len = strlen(expected);
    nt_heap_fail(&nt.heap, 0, 0);
    settle(loop);
    if (len > 0) {
        assert_int_equal(neap_stream_read_exactly(stream, len, NEAP_NOWAIT, &data, NULL), len);
        assert_memory_equal(data, expected, len);
    }
    assert_int_equal(neap_stream_read(stream, 1, NEAP_NOWAIT, &data, NULL), NEAP_EAGAIN);
}

/* ---- Reading */

static void a_read_that_fails_takes_nothing(void) {
    neap_loop *loop;
    neap_stream *a, *b;
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = NULL;
    if (!begin(&loop, &a, &b))
        return;
    int64_t rc = neap_stream_read_exactly(b, 6, 0, &data, &future);
    assert_true(rc == NEAP_PENDING || rc == NEAP_ENOMEM);
    int wrote = ok(neap_stream_write(a, "abcdef", 6, NEAP_NOWAIT, NULL));
    settle(loop);
    bool taken = future != NULL && neap_future_done(future) && neap_future_error(future) == 0;
    if (taken) {
        assert_ok(neap_future_get_bytes(future, &data, &len));
        assert_int_equal(len, 6);
        assert_memory_equal(data, "abcdef", 6);
    } else if (future != NULL) {
        assert_true(!neap_future_done(future) || neap_future_error(future) == NEAP_ENOMEM);
        neap_future_cancel(future, NULL);
    }
    neap_future_unref(future);
    expect_rest(loop, b, wrote && !taken ? "abcdef" : "");
    end(loop, a, b);
}

static void a_line_whose_delimiters_cannot_be_kept_stays(void) {
    neap_loop *loop;
    neap_stream *a, *b;
    const void *data = NULL;
    const neap_iov delims[] = {{"\r\n", 2}, {"--long--", 8}};
    neap_future *future = NULL;
    if (!begin(&loop, &a, &b))
        return;
    int wrote = ok(neap_stream_write(a, "a line", 6, NEAP_NOWAIT, NULL));
    settle(loop);
    int64_t rc = neap_stream_read_until(b, delims, 2, 99, 0, &data, &future);
    assert_true(rc == NEAP_PENDING || rc == NEAP_ENOMEM);
    if (future != NULL)
        neap_future_cancel(future, NULL);
    neap_future_unref(future);
    expect_rest(loop, b, wrote ? "a line" : "");
    end(loop, a, b);
}

static void bytes_that_give_way_are_kept(void) {
    neap_loop *loop;
    neap_stream *a, *b, *c = NULL, *d = NULL;
    const void *data = NULL;
    if (!begin(&loop, &a, &b))
        return;
    if (ok(neap_stream_pair(loop, &c, &d))) {
        int wrote = ok(neap_stream_write(a, "abcdef", 6, NEAP_NOWAIT, NULL)) &&
                    ok(neap_stream_write(c, "other", 5, NEAP_NOWAIT, NULL));
        settle(loop);
        if (wrote) {
            int64_t n = neap_stream_read_exactly(b, 2, NEAP_NOWAIT, &data, NULL);
            int other = ok(neap_stream_read_exactly(d, 5, NEAP_NOWAIT, &data, NULL));
            expect_rest(loop, b, ok(n) ? "cdef" : "abcdef");
            expect_rest(loop, d, other ? "" : "other");
        }
    }
    neap_stream_unref(c);
    neap_stream_unref(d);
    end(loop, a, b);
}

static void bytes_put_back_are_there_or_were_refused(void) {
    neap_loop *loop;
    neap_stream *a, *b;
    const void *data = NULL;
    if (!begin(&loop, &a, &b))
        return;
    int wrote = ok(neap_stream_write(a, "rest", 4, NEAP_NOWAIT, NULL));
    settle(loop);
    int64_t n = wrote ? neap_stream_read(b, 2, NEAP_NOWAIT, &data, NULL) : NEAP_ENOMEM;
    if (ok(n)) /* what was just lent needs no memory */
        assert_ok(neap_stream_unread(b, data, 2));
    int back = ok(neap_stream_unread(b, "front ", 6));
    expect_rest(loop, b, back && wrote ? "front rest" : back ? "front " : wrote ? "rest" : "");
    end(loop, a, b);
}

/* ---- Writing */

static void each_write_goes_whole_or_not_at_all(void) {
    neap_loop *loop;
    neap_stream *a, *b;
    char expected[400] = "";
    if (!begin(&loop, &a, &b))
        return;
    for (int i = 0; i < 6; i++) {
        static const char *const words[] = {"one ", "two ", "three ", "four ", "five ", "six "};
        const neap_iov parts[] = {{words[i], strlen(words[i])}, {words[i], strlen(words[i])}};
        if (ok(neap_stream_writev(a, parts, 2, NEAP_NOWAIT, NULL))) {
            strcat(expected, words[i]);
            strcat(expected, words[i]);
        }
        if (i == 3)
            settle(loop);
    }
    expect_rest(loop, b, expected);
    end(loop, a, b);
}

static void a_large_write_goes_whole_or_ends_the_writing(void) {
    enum {
        LEN = 1 << 20
    };
    static char out[LEN];
    neap_loop *loop;
    neap_stream *a, *b;
    neap_future *future = NULL;
    if (!begin(&loop, &a, &b))
        return;
    int64_t rc = neap_stream_write(a, out, LEN, 0, &future);
    assert_true(rc == NEAP_PENDING || rc == NEAP_ENOMEM || rc == LEN);
    const void *data = NULL;
    size_t got = 0;
    nt_heap_fail(&nt.heap, 0, 0);
    for (int idle = 0; idle < 5; idle++) {
        int64_t n = neap_stream_read(b, LEN, NEAP_NOWAIT, &data, NULL);
        assert_true(n > 0 || n == NEAP_EAGAIN);
        got += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle;
        settle(loop);
    }
    if (rc == NEAP_ENOMEM)
        assert_true(got < LEN);
    else
        assert_int_equal(got, LEN);
    if (rc == NEAP_ENOMEM && got > 0)
        assert_int_equal(neap_stream_write(a, "x", 1, NEAP_NOWAIT, NULL), NEAP_ENOMEM);
    neap_future_unref(future);
    end(loop, a, b);
}

static void a_drain_an_end_and_a_close(void) {
    neap_loop *loop;
    neap_stream *a, *b;
    neap_future *drained = NULL, *ended = NULL, *closed = NULL;
    if (!begin(&loop, &a, &b))
        return;
    (void)neap_stream_write(a, "abc", 3, NEAP_NOWAIT, NULL);
    (void)neap_stream_drain(a, NEAP_WANT_FUTURE, &drained);
    (void)neap_stream_write_eof(a, NEAP_WANT_FUTURE, &ended);
    (void)neap_stream_close(a, NEAP_WANT_FUTURE, &closed);
    settle(loop);
    neap_future *futures[] = {drained, ended, closed};
    for (int i = 0; i < 3; i++) {
        if (futures[i] != NULL)
            assert_ok(neap_future_error(futures[i]));
        neap_future_unref(futures[i]);
    }
    assert_int_equal(neap_stream_write(a, "x", 1, NEAP_NOWAIT, NULL), NEAP_ECLOSED);
    end(loop, a, b);
}

static void descriptors_stay_with_who_could_not_open_them(void) {
    neap_loop *loop = nt_fault_loop(0);
    int fds[2];
    neap_stream *from = NULL, *to = NULL;
    if (loop == NULL)
        return;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    if (!ok(neap_stream_open(loop, fds[0], 0, &from)))
        assert_int_equal(close(fds[0]), 0);
    if (!ok(neap_stream_open(loop, fds[1], NEAP_STREAM_SHARED, &to)))
        assert_null(to);
    assert_int_equal(close(fds[1]), 0);
    end(loop, from, to);
}

/* ---- Push mode */

typedef struct pushed {
    char bytes[64];
    size_t len;
    int closed;
    int32_t code;
    int destroyed;
} pushed;

static void on_data(neap_stream *stream, const void *data, size_t len, void *user) {
    pushed *p = user;
    (void)stream;
    memcpy(p->bytes + p->len, data, len);
    p->len += len;
}

static void on_closed(neap_stream *stream, int32_t code, void *user) {
    pushed *p = user;
    (void)stream;
    p->closed++;
    p->code = code;
}

static void on_destroy(void *user) {
    ((pushed *)user)->destroyed++;
}

static void pushed_bytes_come_in_order_and_the_end_once(void) {
    static const neap_stream_callbacks callbacks = {
        .size = sizeof callbacks, .data = on_data, .closed = on_closed};
    neap_loop *loop;
    neap_stream *a, *b;
    pushed p = {.len = 0};
    char expected[64] = "";
    if (!begin(&loop, &a, &b))
        return;
    int started = ok(neap_stream_start(b, &callbacks, &p, on_destroy));
    for (int i = 0; i < 3; i++) {
        int64_t n = neap_stream_write(a, "word ", 5, NEAP_NOWAIT, NULL);
        assert_true(n == 5 || n == NEAP_ENOMEM || n == NEAP_EPIPE);
        if (n == 5)
            strcat(expected, "word ");
        settle(loop);
    }
    (void)neap_stream_close(a, 0, NULL);
    settle(loop);
    assert_memory_equal(p.bytes, expected, p.len);
    assert_int_equal(p.closed, started);
    assert_true(p.code == 0 || p.code == NEAP_ENOMEM);
    if (started && p.code == 0)
        assert_int_equal(p.len, strlen(expected));
    assert_int_equal(p.destroyed, 1);
    end(loop, a, b);
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(a_read_that_fails_takes_nothing)
SWEEP(a_line_whose_delimiters_cannot_be_kept_stays)
SWEEP(bytes_that_give_way_are_kept)
SWEEP(bytes_put_back_are_there_or_were_refused)
SWEEP(each_write_goes_whole_or_not_at_all)
SWEEP(a_large_write_goes_whole_or_ends_the_writing)
SWEEP(a_drain_an_end_and_a_close)
SWEEP(descriptors_stay_with_who_could_not_open_them)
SWEEP(pushed_bytes_come_in_order_and_the_end_once)

NT_MAIN(NT_TEST_BARE(under_failing_memory_a_read_that_fails_takes_nothing),
        NT_TEST_BARE(under_failing_memory_a_line_whose_delimiters_cannot_be_kept_stays),
        NT_TEST_BARE(under_failing_memory_bytes_that_give_way_are_kept),
        NT_TEST_BARE(under_failing_memory_bytes_put_back_are_there_or_were_refused),
        NT_TEST_BARE(under_failing_memory_each_write_goes_whole_or_not_at_all),
        NT_TEST_BARE(under_failing_memory_a_large_write_goes_whole_or_ends_the_writing),
        NT_TEST_BARE(under_failing_memory_a_drain_an_end_and_a_close),
        NT_TEST_BARE(under_failing_memory_descriptors_stay_with_who_could_not_open_them),
        NT_TEST_BARE(under_failing_memory_pushed_bytes_come_in_order_and_the_end_once))
