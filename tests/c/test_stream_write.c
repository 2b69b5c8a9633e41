/* Writing to streams: gathered, in order, bounded; and the ways in which a stream ends. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MUCH = 1 << 20
};

static neap_stream *make(int *ret_peer) {
    neap_stream *stream = NULL;
    neap_sock *sock = net_unix(ret_peer);
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

static void write_twice(void *user) {
    neap_future *future = NULL;
    assert_int_equal(neap_stream_write(user, "one ", 4, 0, &future), 4);
    assert_int_equal(neap_stream_write(user, "two", 3, 0, &future), 3);
    assert_int_equal(neap_stream_unsent(user), 7);
}

static void writes_go_together_when_the_callback_ends(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    assert_ok(neap_call_soon(nt.loop, write_twice, stream, NULL, NULL));
    nt_trace_start();
    nt_turn();
    assert_int_equal(nt_trace_count(NEAP_TRACE_IO), 1);
    nt_trace_stop();
    assert_int_equal(neap_stream_unsent(stream), 0);
    net_expect(peer, "one two");
    end(stream, peer);
}

typedef struct onlooker {
    int peer;
    int calls; /* until the bytes were there */
    bool seen;
} onlooker;

static void look(void *user) {
    onlooker *o = user;
    char byte;
    if (o->seen)
        return;
    o->calls++;
    o->seen = recv(o->peer, &byte, 1, MSG_DONTWAIT) == 1;
}

static void write_one(void *user) {
    neap_future *future = NULL;
    assert_int_equal(neap_stream_write(user, "x", 1, 0, &future), 1);
}

static void a_write_does_not_wait_for_all_others_of_the_turn(void **state) {
    (void)state;
    onlooker o = {0};
    neap_stream *stream = make(&o.peer);
    assert_ok(neap_call_soon(nt.loop, write_one, stream, NULL, NULL));
    for (int i = 0; i < 100; i++)
        assert_ok(neap_call_soon(nt.loop, look, &o, NULL, NULL));
    nt_turn();
    assert_true(o.seen);
    assert_in_range(o.calls, 1, 8);
    end(stream, o.peer);
}

static void fork_and_wait(void *user) {
    pid_t *pid = user;
    *pid = fork();
    assert_true(*pid >= 0);
    if (*pid > 0)
        assert_int_equal(waitpid(*pid, NULL, 0), *pid);
}

static void a_child_that_comes_back_into_the_loop_sends_nothing_of_its_parent(void **state) {
    (void)state;
    int peer;
    pid_t pid = -1;
    neap_stream *stream = make(&peer);
    assert_ok(neap_call_soon(nt.loop, write_one, stream, NULL, NULL));
    assert_ok(neap_call_soon(nt.loop, fork_and_wait, &pid, NULL, NULL));
    (void)neap_loop_run_once(nt.loop, 0);
    if (pid == 0)
        _exit(0);
    char bytes[4];
    assert_int_equal(recv(peer, bytes, sizeof bytes, MSG_DONTWAIT), 1);
    end(stream, peer);
}

static void a_write_outside_of_the_loop_goes_with_the_next_turn(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = NULL;
    assert_int_equal(neap_stream_write(stream, "early", 5, 0, &future), 5);
    nt_turn();
    net_expect(peer, "early");
    end(stream, peer);
}

static char *much(size_t at) {
    char *data = malloc(MUCH);
    net_fill_pattern((unsigned char *)data, MUCH, at);
    return data;
}

static void expect_much(int peer, size_t total) {
    char part[65536];
    for (size_t at = 0; at < total;) {
        net_wait(peer, POLLIN);
        ssize_t n = read(peer, part, sizeof part);
        assert_true(n > 0);
        net_expect_pattern((unsigned char *)part, (size_t)n, at);
        at += (size_t)n;
        nt_turn();
    }
}

static void who_writes_above_the_mark_waits_for_the_peer(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = NULL;
    char *data = much(0);
    assert_int_equal(neap_stream_write(stream, data, MUCH, 0, &future), NEAP_PENDING);
    assert_true(neap_stream_unsent(stream) > 65536);
    assert_int_equal(neap_stream_write(stream, "x", 1, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    nt_turns(3);
    assert_state(future, NEAP_STATE_PENDING);
    expect_much(peer, MUCH);
    nt_until(future);
    assert_state(future, NEAP_STATE_RESULT);
    neap_future_unref(future);
    free(data);
    end(stream, peer);
}

static void writes_of_many_go_whole_and_in_order(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *futures[3] = {NULL, NULL, NULL};
    for (size_t i = 0; i < 3; i++) {
        char *data = much(i * MUCH);
        assert_int_equal(neap_stream_write(stream, data, MUCH, 0, &futures[i]), NEAP_PENDING);
        free(data);
    }
    expect_much(peer, 3 * (size_t)MUCH);
    for (int i = 0; i < 3; i++) {
        nt_until(futures[i]);
        neap_future_unref(futures[i]);
    }
    end(stream, peer);
}

static void a_cancelled_wait_leaves_the_bytes_on_their_way(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = NULL;
    char *data = much(0);
    assert_int_equal(neap_stream_write(stream, data, MUCH, 0, &future), NEAP_PENDING);
    free(data);
    neap_future_cancel(future, NULL);
    net_cancelled(future);
    expect_much(peer, MUCH);
    end(stream, peer);
}

static void close_sends_the_rest_first(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = NULL;
    neap_future *closed = NULL;
    char *data = much(0);
    assert_int_equal(neap_stream_write(stream, data, MUCH, 0, &future), NEAP_PENDING);
    free(data);
    assert_int_equal(neap_stream_close(stream, 0, &closed), NEAP_PENDING);
    assert_int_equal(neap_stream_write(stream, "x", 1, NEAP_NOWAIT, NULL), NEAP_ECLOSED);
    expect_much(peer, MUCH);
    nt_until(closed);
    assert_state(closed, NEAP_STATE_RESULT);
    assert_state(future, NEAP_STATE_RESULT);
    net_expect_eof(peer);
    neap_future_unref(closed);
    neap_future_unref(future);
    end(stream, peer);
}

static void a_close_goes_on_without_its_user(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = NULL;
    char *data = much(0);
    assert_int_equal(neap_stream_write(stream, data, MUCH, 0, &future), NEAP_PENDING);
    free(data);
    neap_future_unref(future);
    assert_ok(neap_stream_close(stream, 0, NULL));
    neap_stream_unref(stream);
    expect_much(peer, MUCH);
    nt_settle();
    net_expect_eof(peer);
    net_close(peer);
}

static void a_cancelled_close_closes_at_once(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = make(&peer);
    neap_future *future = NULL;
    neap_future *closed = NULL;
    char *data = much(0);
    assert_int_equal(neap_stream_write(stream, data, MUCH, 0, &future), NEAP_PENDING);
    free(data);
    assert_int_equal(neap_stream_close(stream, 0, &closed), NEAP_PENDING);
    neap_future_cancel(closed, NULL);
    net_cancelled(closed);
    net_failure(future, NEAP_ECLOSED);
    assert_true(neap_sock_fd(neap_stream_sock(stream)) == NEAP_ECLOSED);
    end(stream, peer);
}

static void the_peer_reads_the_end_and_can_still_answer(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *stream = make(&peer);
    assert_int_equal(neap_stream_write(stream, "question", 8, 0, &future), 8);
    assert_ok(neap_stream_write_eof(stream, 0, &future));
    net_expect(peer, "question");
    net_expect_eof(peer);
    assert_int_equal(neap_stream_write(stream, "x", 1, 0, &future), NEAP_EPIPE);
    net_put(peer, "answer");
    assert_int_equal(neap_stream_read(stream, 99, 0, &data, &future), 6);
    end(stream, peer);
}

static void a_peer_that_is_gone_is_told_by_the_next_call(void **state) {
    (void)state;
    int peer;
    neap_future *future = NULL;
    neap_stream *stream = make(&peer);
    net_close(peer);
    assert_int_equal(neap_stream_write(stream, "x", 1, 0, &future), 1);
    nt_turn();
    assert_int_equal(neap_stream_write(stream, "x", 1, 0, &future), NEAP_EPIPE);
    assert_int_equal(neap_stream_drain(stream, 0, &future), NEAP_EPIPE);
    assert_int_equal(neap_stream_close(stream, 0, &future), NEAP_EPIPE);
    neap_stream_unref(stream);
}

static void a_file_is_sent_between_two_writes(void **state) {
    (void)state;
    int peer;
    neap_future *future = NULL;
    char path[] = "/tmp/neap-test-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);
    neap_stream *stream = make(&peer);
    assert_int_equal(neap_stream_write(stream, "<", 1, 0, &future), 1);
    assert_int_equal(neap_stream_sendfile(stream, fd, 2, 5, 0, &future), 5);
    assert_int_equal(neap_stream_sendfile(stream, fd, 8, -1, 0, &future), 2);
    assert_int_equal(neap_stream_sendfile(stream, fd, 8, 5, 0, &future), NEAP_EINCOMPLETE);
    assert_int_equal(neap_stream_sendfile(stream, peer, 0, 5, 0, &future), NEAP_EINVAL);
    assert_int_equal(neap_stream_write(stream, ">", 1, 0, &future), 1);
    nt_turn();
    net_expect(peer, "<2345689>");
    net_close(fd);
    end(stream, peer);
}

/* ---- Pipes */

static void a_pipe_is_a_stream(void **state) {
    (void)state;
    int fds[2];
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *from = NULL, *to = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_ok(neap_stream_open(nt.loop, fds[0], 0, &from));
    assert_ok(neap_stream_open(nt.loop, fds[1], 0, &to));
    assert_int_equal(neap_stream_read_exactly(from, 5, 0, &data, &future), NEAP_PENDING);
    neap_future *ignored = NULL;
    assert_int_equal(neap_stream_write(to, "hello", 5, 0, &ignored), 5);
    nt_until(future);
    neap_future_unref(future);
    assert_ok(neap_stream_write_eof(to, 0, &ignored));
    assert_int_equal(neap_stream_read(from, 5, 0, &data, &future), 0);
    end(from, -1);
    end(to, -1);
}

static void a_pipe_that_nobody_reads_raises_no_signal(void **state) {
    (void)state;
    int fds[2];
    neap_future *future = NULL;
    neap_stream *to = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    net_close(fds[0]);
    assert_ok(neap_stream_open(nt.loop, fds[1], 0, &to));
    assert_int_equal(neap_stream_write(to, "x", 1, 0, &future), 1);
    assert_int_equal(neap_stream_drain(to, 0, &future), NEAP_EPIPE);
    sigset_t pending;
    assert_int_equal(sigpending(&pending), 0);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
    assert_int_equal(neap_stream_close(to, 0, NULL), NEAP_EPIPE);
    neap_stream_unref(to);
}

static void the_flags_of_a_shared_descriptor_stay(void **state) {
    (void)state;
    int fds[2];
    const void *data = NULL;
    neap_stream *from = NULL, *to = NULL;
    neap_future *future = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_ok(neap_stream_open(nt.loop, fds[0], NEAP_STREAM_SHARED, &from));
    assert_ok(neap_stream_open(nt.loop, fds[1], NEAP_STREAM_SHARED, &to));
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(neap_stream_read(from, 9, NEAP_NOWAIT, &data, NULL), NEAP_EAGAIN);
    char *bytes = much(0);
    assert_int_equal(neap_stream_write(to, bytes, MUCH, 0, &future), NEAP_PENDING);
    expect_much(fds[0], MUCH);
    nt_until(future);
    neap_future_unref(future);
    free(bytes);
    end(from, fds[0]);
    end(to, fds[1]);
}

static void a_shared_socket_never_blocks(void **state) {
    (void)state;
    int fds[2];
    const void *data = NULL;
    neap_stream *stream = NULL;
    neap_future *future = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_ok(neap_stream_open(nt.loop, fds[0], NEAP_STREAM_SHARED, &stream));
    assert_int_equal(neap_stream_read(stream, 9, NEAP_NOWAIT, &data, NULL), NEAP_EAGAIN);
    char *bytes = much(0);
    assert_int_equal(neap_stream_write(stream, bytes, MUCH, 0, &future), NEAP_PENDING);
    expect_much(fds[1], MUCH);
    nt_until(future);
    neap_future_unref(future);
    free(bytes);
    end(stream, fds[1]);
    net_close(fds[0]);
}

NT_MAIN(NT_TEST(writes_go_together_when_the_callback_ends),
        NT_TEST(a_write_does_not_wait_for_all_others_of_the_turn),
        NT_TEST(a_child_that_comes_back_into_the_loop_sends_nothing_of_its_parent),
        NT_TEST(a_write_outside_of_the_loop_goes_with_the_next_turn),
        NT_TEST(who_writes_above_the_mark_waits_for_the_peer),
        NT_TEST(writes_of_many_go_whole_and_in_order),
        NT_TEST(a_cancelled_wait_leaves_the_bytes_on_their_way),
        NT_TEST(close_sends_the_rest_first), NT_TEST(a_close_goes_on_without_its_user),
        NT_TEST(a_cancelled_close_closes_at_once),
        NT_TEST(the_peer_reads_the_end_and_can_still_answer),
        NT_TEST(a_peer_that_is_gone_is_told_by_the_next_call),
        NT_TEST(a_file_is_sent_between_two_writes), NT_TEST(a_pipe_is_a_stream),
        NT_TEST(a_pipe_that_nobody_reads_raises_no_signal),
        NT_TEST(the_flags_of_a_shared_descriptor_stay), NT_TEST(a_shared_socket_never_blocks))
