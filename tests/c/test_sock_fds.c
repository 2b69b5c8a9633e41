/* Descriptors over Unix sockets: with their bytes, owned by somebody at each time, never leaked (the teardown counts). */
#include "net.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FDS = 4
};

/* What a receive needs. */
typedef struct inbox {
    char bytes[64];
    neap_fd fds[FDS];
    neap_fds got;
} inbox;

static inbox make_inbox(uint32_t max) {
    inbox in = {.got = {.size = sizeof(neap_fds), .max = max}};
    return in;
}

static int32_t recv_fds(neap_sock *sock, inbox *in, size_t len, uint32_t flags,
                        neap_future **future) {
    in->got.fds = in->fds;
    return neap_sock_recv_fds(sock, in->bytes, len, &in->got, flags, future);
}

static int32_t take_fds(neap_future *future, inbox *in) {
    in->got.fds = in->fds;
    return neap_future_take_fds(future, &in->got);
}

static int32_t send_fd(neap_sock *sock, const char *text, neap_fd fd) {
    return neap_sock_send_fds(sock, text, strlen(text), &fd, 1, 0, &(neap_future *){NULL});
}

static void pair(int32_t sort, neap_sock **a, neap_sock **b) {
    *a = NULL;
    *b = NULL;
    assert_ok(neap_sock_pair(nt.loop, sort, a, b));
}

static void make_pipe(int ends[2]) {
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
}

/* Two descriptors of one pipe's end. */
static void expect_same_file(neap_fd a, neap_fd b) {
    struct stat x, y;
    assert_int_equal(fstat((int)a, &x), 0);
    assert_int_equal(fstat((int)b, &y), 0);
    assert_int_equal(x.st_ino, y.st_ino);
}

static void close_all(inbox *in) {
    for (uint32_t i = 0; i < in->got.len; i++)
        net_close((int)in->fds[i]);
    in->got.len = 0;
}

static void end_pair(neap_sock *a, neap_sock *b, int ends[2]) {
    net_end(a);
    net_end(b);
    net_close(ends[0]);
    net_close(ends[1]);
}

/* ---- There at once, and later */

static void descriptors_come_with_their_bytes(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    neap_fd both[2] = {ends[0], ends[1]};
    uint64_t allocations = nt_metrics().allocations;
    assert_int_equal(neap_sock_send_fds(a, "two", 3, both, 2, 0, &future), 3);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 3);
    assert_int_equal(nt_metrics().allocations, allocations);
    assert_null(future);
    assert_memory_equal(in.bytes, "two", 3);
    assert_int_equal(in.got.len, 2);
    assert_int_equal(in.got.flags, 0);
    expect_same_file(in.fds[0], ends[0]);
    expect_same_file(in.fds[1], ends[1]);
    assert_true((fcntl((int)in.fds[0], F_GETFD) & FD_CLOEXEC) != 0);
    close_all(&in);
    end_pair(a, b, ends);
}

static void descriptors_are_waited_for_and_taken_once(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    inbox small = make_inbox(0);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    assert_code(recv_fds(b, &in, 64, 0, &future), NEAP_PENDING);
    assert_code(take_fds(future, &in), NEAP_EPENDING);
    assert_int_equal(send_fd(a, "one", ends[0]), 3);
    nt_until(future);
    assert_int_equal(nt_int(future), 3);
    assert_code(take_fds(future, &small), NEAP_ERANGE);
    assert_int_equal(small.got.len, 1);
    assert_ok(take_fds(future, &in));
    assert_int_equal(in.got.len, 1);
    expect_same_file(in.fds[0], ends[0]);
    close_all(&in);
    assert_code(take_fds(future, &in), NEAP_EINVALID_STATE);
    neap_future_unref(future);
    end_pair(a, b, ends);
}

static void descriptors_that_nobody_takes_are_closed_with_the_future(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    char byte;
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    assert_code(recv_fds(b, &in, 64, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    assert_int_equal(send_fd(a, "x", ends[1]), 1);
    nt_until(future);
    neap_future_unref(future);
    net_close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0); /* no writer is left */
    net_end(a);
    net_end(b);
    net_close(ends[0]);
}

static void only_a_receive_of_descriptors_has_some_to_take(void **state) {
    (void)state;
    neap_sock *a, *b;
    char buf[8];
    inbox in = make_inbox(FDS);
    pair(NEAP_UNIX, &a, &b);
    neap_future *future = net_park_recv(b, buf, sizeof buf);
    net_send_text(a, "x");
    nt_until(future);
    assert_code(take_fds(future, &in), NEAP_ETYPE);
    neap_future_unref(future);
    net_end(a);
    net_end(b);
}

/* ---- Which bytes */

static void a_stream_keeps_descriptors_and_bytes_together(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    net_send_text(a, "before");
    assert_int_equal(send_fd(a, "with", ends[0]), 4);
    net_send_text(a, "behind");
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 10);
    assert_memory_equal(in.bytes, "beforewith", 10);
    assert_int_equal(in.got.len, 1);
    close_all(&in);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 6);
    assert_memory_equal(in.bytes, "behind", 6);
    assert_int_equal(in.got.len, 0);
    end_pair(a, b, ends);
}

static void descriptors_come_with_the_first_of_their_bytes(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    assert_int_equal(send_fd(a, "with", ends[0]), 4);
    assert_int_equal(recv_fds(b, &in, 1, 0, &future), 1);
    assert_int_equal(in.got.len, 1);
    close_all(&in);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 3);
    assert_int_equal(in.got.len, 0);
    end_pair(a, b, ends);
}

static void a_datagram_has_its_own_descriptors_and_tells_if_it_was_cut(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX_DGRAM, &a, &b);
    make_pipe(ends);
    assert_int_equal(send_fd(a, "", ends[0]), 0);
    assert_int_equal(send_fd(a, "longer", ends[1]), 6);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 0);
    assert_int_equal(in.got.len, 1);
    assert_int_equal(in.got.flags, 0);
    expect_same_file(in.fds[0], ends[0]);
    close_all(&in);
    assert_int_equal(recv_fds(b, &in, 4, 0, &future), 4);
    assert_int_equal(in.got.len, 1);
    assert_int_equal(in.got.flags, NEAP_MSG_TRUNC);
    close_all(&in);
    end_pair(a, b, ends);
}

static void bytes_that_were_put_back_stand_in_front(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    assert_int_equal(send_fd(a, "new", ends[0]), 3);
    assert_ok(neap_sock_unrecv(b, "old", 3));
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 3);
    assert_memory_equal(in.bytes, "old", 3);
    assert_int_equal(in.got.len, 0);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 3);
    assert_int_equal(in.got.len, 1);
    close_all(&in);
    end_pair(a, b, ends);
}

static void the_end_of_a_stream_has_no_descriptors(void **state) {
    (void)state;
    neap_sock *a, *b;
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    assert_code(recv_fds(b, &in, 64, 0, &future), NEAP_PENDING);
    net_end(a);
    nt_until(future);
    assert_int_equal(nt_int(future), 0);
    assert_ok(take_fds(future, &in));
    assert_int_equal(in.got.len, 0);
    neap_future_unref(future);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 0);
    net_end(b);
}

/* ---- Sends that wait */

static neap_future *park_send(neap_sock *a, neap_fd fd) {
    neap_future *future = NULL;
    net_stuff(a);
    assert_code(neap_sock_send_fds(a, "late", 4, &fd, 1, 0, &future), NEAP_PENDING);
    return future;
}

/* Reads what the socket was stuffed with, and the message behind it. */
static void recv_behind_zeros(neap_sock *b, inbox *in, neap_future *sent) {
    static char zeros[65536];
    int32_t n = 1;
    in->got.fds = in->fds;
    in->got.len = 0;
    for (int i = 0; i < 10000 && in->got.len == 0; i++) {
        n = neap_sock_recv_fds(b, zeros, sizeof zeros, &in->got, NEAP_NOWAIT, NULL);
        assert_true(n > 0 || n == NEAP_EAGAIN);
        if (!neap_future_done(sent))
            nt_turn();
    }
    assert_true(n >= 4);
    assert_memory_equal(zeros + n - 4, "late", 4);
}

static void what_waits_to_be_sent_may_be_closed_by_its_owner(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    int other[2];
    inbox in = make_inbox(FDS);
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    int kept = fcntl(ends[0], F_DUPFD_CLOEXEC, 0);
    neap_future *future = park_send(a, ends[0]);
    net_close(ends[0]);
    make_pipe(other); /* another file has the number */
    recv_behind_zeros(b, &in, future);
    net_result(future, 4);
    assert_int_equal(in.got.len, 1);
    expect_same_file(in.fds[0], kept);
    close_all(&in);
    net_close(kept);
    net_close(ends[1]);
    end_pair(a, b, other);
}

static void copies_of_a_cancelled_send_are_closed(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    char byte;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    neap_future *future = park_send(a, ends[1]);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    assert_int_equal(neap_future_partial(future), 0);
    net_close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    net_cancelled(future);
    net_end(a);
    net_end(b);
    net_close(ends[0]);
}

static void copies_of_a_send_go_with_its_socket(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    char byte;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    neap_future *future = park_send(a, ends[1]);
    net_end(a);
    net_close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    net_failure(future, NEAP_ECLOSED);
    net_end(b);
    net_close(ends[0]);
}

static void a_long_message_has_its_descriptors_once(void **state) {
    (void)state;
    enum {
        LEN = 1 << 20
    };
    neap_sock *a, *b;
    int ends[2];
    neap_future *future = NULL;
    inbox in = make_inbox(FDS);
    static unsigned char out[LEN];
    static unsigned char got[LEN];
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    net_fill_pattern(out, LEN, 0);
    assert_code(neap_sock_send_fds(a, out, LEN, &(neap_fd){ends[0]}, 1, 0, &future), NEAP_PENDING);
    size_t n = 0;
    uint32_t fds = 0;
    for (int i = 0; i < 100000 && n < LEN; i++) {
        in.got.fds = in.fds;
        int32_t more = neap_sock_recv_fds(b, got + n, LEN - n, &in.got, NEAP_NOWAIT, NULL);
        assert_true(more > 0 || more == NEAP_EAGAIN);
        if (more > 0) {
            n += (size_t)more;
            fds += in.got.len;
            close_all(&in);
        }
        nt_turn();
    }
    net_result(future, LEN);
    assert_int_equal(n, LEN);
    assert_int_equal(fds, 1);
    net_expect_pattern(got, LEN, 0);
    end_pair(a, b, ends);
}

/* They went with the first bytes: what waits needs no copies of them. */
static void the_rest_of_a_long_message_waits_where_descriptors_are_short(void **state) {
    (void)state;
    enum {
        LEN = 1 << 20
    };
    neap_sock *a, *b;
    int ends[2];
    struct rlimit old, low;
    neap_future *future = NULL;
    static char out[LEN];
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 0; /* those that are open go on */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int32_t code = neap_sock_send_fds(a, out, LEN, &(neap_fd){ends[0]}, 1, 0, &future);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_code(code, NEAP_PENDING);
    neap_future_cancel(future, NULL);
    assert_true(neap_future_partial(future) > 0);
    neap_future_unref(future);
    end_pair(a, b, ends);
}

/* ---- Too many */

static void more_than_asked_for_are_closed_and_told(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(1);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    neap_fd three[3] = {ends[0], ends[1], ends[0]};
    assert_int_equal(neap_sock_send_fds(a, "x", 1, three, 3, 0, &future), 1);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 1);
    assert_int_equal(in.got.len, 1);
    assert_int_equal(in.got.flags, NEAP_MSG_CTRUNC);
    expect_same_file(in.fds[0], ends[0]);
    close_all(&in);
    end_pair(a, b, ends);
}

static void a_process_without_descriptors_gets_the_bytes_and_is_told(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    struct rlimit old, low;
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    assert_int_equal(send_fd(a, "x", ends[0]), 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int32_t n = recv_fds(b, &in, 64, 0, &future);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(n, 1);
    assert_int_equal(in.got.len, 0);
    assert_int_equal(in.got.flags, NEAP_MSG_CTRUNC);
    end_pair(a, b, ends);
}

static void a_send_that_waits_without_descriptors_for_copies_sends_nothing(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    struct rlimit old, low;
    neap_future *future = NULL;
    pair(NEAP_UNIX, &a, &b);
    make_pipe(ends);
    net_stuff(a);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    neap_fd fd = ends[0];
    int32_t code = neap_sock_send_fds(a, "x", 1, &fd, 1, 0, &future);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(code == NEAP_EMFILE || code == NEAP_EINVAL); /* as fcntl calls it */
    assert_null(future);
    end_pair(a, b, ends);
}

/* ---- Refused */

static void what_cannot_carry_descriptors_is_refused(void **state) {
    (void)state;
    neap_sock *a, *b;
    int peer;
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    neap_fd fd = 0;
    neap_fd wrong = -1;
    neap_fd closed = 1 << 20;
    static neap_fd many[NEAP_FDS_MAX + 1];
    neap_sock *tcp = net_tcp(&peer);
    pair(NEAP_UNIX, &a, &b);
    assert_code(neap_sock_send_fds(tcp, "x", 1, &fd, 1, 0, &future), NEAP_ENOTSUP);
    assert_code(recv_fds(tcp, &in, 64, 0, &future), NEAP_ENOTSUP);
    assert_code(neap_sock_send_fds(a, "", 0, &fd, 1, 0, &future), NEAP_EVALUE);
    assert_code(neap_sock_send_fds(a, "x", 1, &fd, 1, NEAP_NOWAIT, NULL), NEAP_EINVAL);
    assert_code(neap_sock_send_fds(a, "x", 1, NULL, 1, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_send_fds(a, "x", 1, &wrong, 1, 0, &future), NEAP_EBADF);
    assert_code(neap_sock_send_fds(a, "x", 1, &closed, 1, 0, &future), NEAP_EBADF);
    assert_code(neap_sock_send_fds(a, "x", 1, many, NEAP_FDS_MAX + 1, 0, &future), NEAP_E2BIG);
    in.got.max = NEAP_FDS_MAX + 1;
    assert_code(recv_fds(b, &in, 64, 0, &future), NEAP_E2BIG);
    in.got.size = 1;
    assert_code(recv_fds(b, &in, 64, 0, &future), NEAP_EINVAL);
    assert_null(future);
    net_end(tcp);
    net_close(peer);
    net_end(a);
    net_end(b);
}

/* ---- Who is there */

static void expect_me(const neap_credentials *who) {
    assert_int_equal(who->pid, getpid());
    assert_int_equal(who->uid, getuid());
    assert_int_equal(who->gid, getgid());
}

static void a_unix_socket_knows_its_peer(void **state) {
    (void)state;
    neap_sock *a, *b;
    int peer;
    neap_credentials who = {0};
    neap_sock *tcp = net_tcp(&peer);
    pair(NEAP_UNIX, &a, &b);
    assert_ok(neap_sock_peer_credentials(a, &who, sizeof who));
    expect_me(&who);
    neap_credentials part = {0, 0, 77};
    assert_ok(neap_sock_peer_credentials(a, &part, offsetof(neap_credentials, gid)));
    assert_int_equal(part.pid, getpid());
    assert_int_equal(part.gid, 77);
    assert_code(neap_sock_peer_credentials(tcp, &who, sizeof who), NEAP_ENOTSUP);
    net_end(tcp);
    net_close(peer);
    net_end(a);
    net_end(b);
}

static void a_datagram_tells_who_sent_it_if_asked(void **state) {
    (void)state;
    neap_sock *a, *b;
    int ends[2];
    inbox in = make_inbox(FDS);
    neap_future *future = NULL;
    pair(NEAP_UNIX_DGRAM, &a, &b);
    make_pipe(ends);
    assert_int_equal(send_fd(a, "x", ends[0]), 1);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 1);
    assert_int_equal(in.got.from.pid, 0);
    close_all(&in);
    assert_ok(neap_sock_set_option(b, "passcred", 1));
    assert_int_equal(send_fd(a, "x", ends[0]), 1);
    assert_int_equal(recv_fds(b, &in, 64, 0, &future), 1);
    expect_me(&in.got.from);
    assert_int_equal(in.got.len, 1);
    close_all(&in);
    end_pair(a, b, ends);
}

NT_MAIN(NT_TEST(descriptors_come_with_their_bytes),
        NT_TEST(descriptors_are_waited_for_and_taken_once),
        NT_TEST(descriptors_that_nobody_takes_are_closed_with_the_future),
        NT_TEST(only_a_receive_of_descriptors_has_some_to_take),
        NT_TEST(a_stream_keeps_descriptors_and_bytes_together),
        NT_TEST(descriptors_come_with_the_first_of_their_bytes),
        NT_TEST(a_datagram_has_its_own_descriptors_and_tells_if_it_was_cut),
        NT_TEST(bytes_that_were_put_back_stand_in_front),
        NT_TEST(the_end_of_a_stream_has_no_descriptors),
        NT_TEST(what_waits_to_be_sent_may_be_closed_by_its_owner),
        NT_TEST(copies_of_a_cancelled_send_are_closed),
        NT_TEST(copies_of_a_send_go_with_its_socket),
        NT_TEST(a_long_message_has_its_descriptors_once),
        NT_TEST(the_rest_of_a_long_message_waits_where_descriptors_are_short),
        NT_TEST(more_than_asked_for_are_closed_and_told),
        NT_TEST(a_process_without_descriptors_gets_the_bytes_and_is_told),
        NT_TEST(a_send_that_waits_without_descriptors_for_copies_sends_nothing),
        NT_TEST(what_cannot_carry_descriptors_is_refused), NT_TEST(a_unix_socket_knows_its_peer),
        NT_TEST(a_datagram_tells_who_sent_it_if_asked))
