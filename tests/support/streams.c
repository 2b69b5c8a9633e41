#include "streams.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static neap_stream *over(neap_sock *sock) {
    neap_stream *stream = NULL;
    assert_ok(neap_stream_new(sock, &stream));
    neap_sock_unref(sock);
    return stream;
}

neap_stream *st_unix(int *ret_peer) {
    return over(net_unix(ret_peer));
}

neap_stream *st_tcp(int *ret_peer) {
    return over(net_tcp(ret_peer));
}

neap_stream *st_open(int fd, uint32_t flags) {
    neap_stream *stream = NULL;
    assert_ok(neap_stream_open(nt.loop, fd, flags, &stream));
    return stream;
}

void st_pipe(neap_stream **ret_from, neap_stream **ret_to) {
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    *ret_from = st_open(fds[0], 0);
    *ret_to = st_open(fds[1], 0);
}

void st_end(neap_stream *stream, int peer) {
    assert_ok(neap_stream_close(stream, 0, NULL));
    neap_stream_unref(stream);
    if (peer >= 0)
        net_close(peer);
}

neap_future *st_park_exactly(neap_stream *stream, size_t n) {
    const void *data = NULL;
    neap_future *future = NULL;
    assert_int_equal(neap_stream_read_exactly(stream, n, 0, &data, &future), NEAP_PENDING);
    assert_non_null(future);
    return future;
}

neap_future *st_park_line(neap_stream *stream, size_t limit, uint32_t flags) {
    const neap_iov line = {"\n", 1};
    const void *data = NULL;
    neap_future *future = NULL;
    assert_int_equal(neap_stream_read_until(stream, &line, 1, limit, flags, &data, &future),
                     NEAP_PENDING);
    assert_non_null(future);
    return future;
}

void st_bytes(neap_future *future, const char *expected) {
    const void *data = NULL;
    size_t len = 0;
    nt_until(future);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(data, expected, len);
    neap_future_unref(future);
}

void st_next(neap_stream *stream, const char *expected) {
    const void *data = NULL;
    size_t len = strlen(expected);
    assert_int_equal(neap_stream_read_exactly(stream, len, NEAP_NOWAIT, &data, NULL), len);
    assert_memory_equal(data, expected, len);
}

void st_rest(neap_stream *stream, const char *expected) {
    const void *data = NULL;
    if (*expected != '\0')
        st_next(stream, expected);
    int64_t n = neap_stream_read(stream, 1, NEAP_NOWAIT, &data, NULL);
    assert_true(n == NEAP_EAGAIN || n == 0);
}

void st_write(neap_stream *stream, const char *text) {
    size_t len = strlen(text);
    assert_int_equal(neap_stream_write(stream, text, len, NEAP_NOWAIT, NULL), len);
}

neap_future *st_stuff(neap_stream *stream, size_t len) {
    neap_future *future = NULL;
    unsigned char *data = malloc(len);
    assert_non_null(data);
    net_fill_pattern(data, len, 0);
    assert_int_equal(neap_stream_write(stream, data, len, 0, &future), NEAP_PENDING);
    free(data);
    return future;
}

void st_expect_pattern(int fd, size_t len) {
    static unsigned char part[65536];
    for (size_t at = 0; at < len;) {
        for (int tries = 0; !net_is(fd, POLLIN) && tries < 10000; tries++)
            nt_turn();
        size_t room = len - at < sizeof part ? len - at : sizeof part;
        ssize_t n = read(fd, part, room);
        assert_true(n > 0);
        net_expect_pattern(part, (size_t)n, at);
        at += (size_t)n;
        nt_turn();
    }
}
