/* What simple rules about short reads hang on, what interrupts, and descriptors whose number comes
   back. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Receives until the end of the stream or `want` bytes: first waiting, so that the socket is
   registered. */
static void receive_all(neap_sock *sock, neap_future *first, char *buf, size_t got, size_t want) {
    neap_future *future = first;
    size_t have = got;
    for (;;) {
        int64_t n;
        if (future == NULL) {
            n = neap_sock_recv(sock, buf + have, 64, 0, &future);
            if (n != NEAP_PENDING)
                future = NULL;
        } else {
            n = NEAP_PENDING;
        }
        if (n == NEAP_PENDING) {
            nt_until(future);
            assert_code(neap_future_error(future), 0);
            n = nt_int(future);
            neap_future_unref(future);
            future = NULL;
        }
        assert_true(n >= 0);
        have += (size_t)n;
        if (n == 0 || have >= want)
            break;
    }
    assert_int_equal(have, want);
}

/* ---- Short reads ----------------------------------------------------------------------------- */

static void data_with_fin_in_one_segment_is_followed_by_the_end(void **state) {
    (void)state;
    for (int parked = 0; parked < 2; parked++) {
        int peer;
        int on = 1;
        char buf[128] = {0};
        neap_sock *conn = net_tcp(&peer);
        neap_future *future = NULL;
        if (parked) {
            future = net_park_recv(conn, buf, 64);
            nt_turns(2);
        }
        assert_int_equal(setsockopt(peer, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0);
        net_put(peer, "last words");
        assert_int_equal(shutdown(peer, SHUT_WR), 0);
        receive_all(conn, future, buf, 0, 10);
        assert_string_equal(buf, "last words");
        receive_all(conn, NULL, buf, 10, 10);
        net_end(conn);
        net_close(peer);
    }
}

static void a_short_read_with_the_end_behind_it_is_not_the_last_event(void **state) {
    (void)state;
    int peer;
    int on = 1;
    char buf[128] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, 64);
    assert_int_equal(setsockopt(peer, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0);
    net_put(peer, "bye");
    net_close(peer);
    net_result(future, 3);
    /* No further event will come: the end is known already. */
    nt_turns(2);
    int32_t n = neap_sock_recv(conn, buf, 64, 0, &future);
    if (n == NEAP_PENDING)
        net_result(future, 0);
    else
        assert_code(n, 0);
    net_end(conn);
}

static void urgent_data_does_not_hide_what_follows_it(void **state) {
    (void)state;
    int peer;
    char buf[128] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, 64);
    net_put(peer, "ab");
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    net_put(peer, "cd");
    net_wait(neap_sock_fd(conn), POLLIN);
    receive_all(conn, future, buf, 0, 4);
    assert_string_equal(buf, "abcd");
    net_end(conn);
    net_close(peer);
}

static void urgent_data_in_line_arrives_in_its_place(void **state) {
    (void)state;
    int peer;
    char buf[128] = {0};
    neap_sock *conn = net_tcp(&peer);
    assert_ok(neap_sock_set_option(conn, "oobinline", 1));
    neap_future *future = net_park_recv(conn, buf, 64);
    net_put(peer, "ab");
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    net_put(peer, "cd");
    net_wait(neap_sock_fd(conn), POLLIN);
    receive_all(conn, future, buf, 0, 5);
    assert_string_equal(buf, "ab!cd");
    net_end(conn);
    net_close(peer);
}

static void urgent_data_alone_does_not_keep_the_loop_busy(void **state) {
    (void)state;
    int peer;
    char buf[128] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, 64);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    net_wait(neap_sock_fd(conn), POLLPRI);
    nt_turns(3);
    uint64_t events = nt_metrics().events;
    nt_turns(20);
    assert_int_equal(nt_metrics().events, events);
    assert_state(future, NEAP_STATE_PENDING);
    net_put(peer, "cd");
    receive_all(conn, future, buf, 0, 2);
    net_end(conn);
    net_close(peer);
}

/* Sends one byte with a descriptor beside it. */
static void send_descriptor(int peer, char c, int fd) {
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {.iov_base = &c, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof control.buf};
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    assert_int_equal(sendmsg(peer, &msg, 0), 1);
}

static void a_descriptor_passed_between_two_writes_does_not_hang_the_stream(void **state) {
    (void)state;
    int peer;
    char buf[128] = {0};
    neap_sock *conn = net_unix(&peer);
    int before = nt_fd_count();
    neap_future *future = net_park_recv(conn, buf, 64);
    net_put(peer, "ab");
    send_descriptor(peer, 'c', peer);
    net_put(peer, "de");
    receive_all(conn, future, buf, 0, 5);
    assert_string_equal(buf, "abcde");
    assert_int_equal(nt_fd_count(), before); /* nobody asked for it: it is not ours to keep */
    net_end(conn);
    net_close(peer);
}

static void many_small_writes_between_two_turns_are_all_received(void **state) {
    (void)state;
    int peer;
    char buf[4096] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, 3);
    for (int i = 0; i < 300; i++)
        net_put(peer, "x");
    size_t have = 0;
    while (have < 300) {
        nt_until(future);
        have += (size_t)nt_int(future);
        neap_future_unref(future);
        future = NULL;
        if (have < 300) {
            int32_t n = neap_sock_recv(conn, buf, 7, NEAP_WANT_FUTURE, &future);
            assert_code(n, NEAP_PENDING);
        }
    }
    assert_int_equal(have, 300);
    net_end(conn);
    net_close(peer);
}

static void data_that_comes_between_a_short_read_and_the_next_wait_wakes(void **state) {
    (void)state;
    int peer;
    char buf[64];
    neap_sock *conn = net_tcp(&peer);
    for (int i = 0; i < 200; i++) {
        neap_future *future = NULL;
        net_put(peer, "abc");
        net_wait(neap_sock_fd(conn), POLLIN);
        int32_t n = neap_sock_recv(conn, buf, sizeof buf, 0, &future);
        if (n == NEAP_PENDING)
            net_result(future, 3);
        else
            assert_code(n, 3);
        if (i % 3 == 1)
            net_put(peer, "de");
        if (i % 5 == 0)
            nt_turn();
        n = neap_sock_recv(conn, buf, sizeof buf, 0, &future);
        if (i % 3 != 1) {
            assert_code(n, NEAP_PENDING);
            net_put(peer, "de");
        }
        if (n == NEAP_PENDING)
            net_result(future, 2);
        else
            assert_code(n, 2);
    }
    net_end(conn);
    net_close(peer);
}

/* ---- Interrupted calls ----------------------------------------------------------------------- */

static void N1_a_storm_of_signals_disturbs_no_transfer(void **state) {
    (void)state;
    size_t len = 10 * 1024 * 1024;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    static unsigned char buf[30000];
    unsigned char *data = malloc(len);
    assert_non_null(data);
    net_fill_pattern(data, len, 0);
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    net_storm_begin();
    neap_future *sending = net_park_sendall(a, data, len);
    for (size_t have = 0; have < len;) {
        neap_future *future = NULL;
        assert_code(neap_sock_recv(b, buf, sizeof buf, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
        nt_until(future);
        assert_code(neap_future_error(future), 0);
        size_t n = (size_t)nt_int(future);
        assert_true(n > 0);
        net_expect_pattern(buf, n, have);
        have += n;
        neap_future_unref(future);
    }
    net_result(sending, (int64_t)len);
    net_storm_end();
    free(data);
    net_end(a);
    net_end(b);
}

static void a_storm_of_signals_shortens_no_timer_and_no_wait(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    net_storm_begin();
    int64_t start = neap_loop_update_time(nt.loop);
    neap_future *slept = nt_sleep(50 * NT_MS);
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    nt_until(slept);
    assert_true(neap_loop_update_time(nt.loop) - start >= 50 * NT_MS);
    assert_state(recv, NEAP_STATE_PENDING);
    neap_future_unref(slept);
    net_put(peer, "abc");
    net_result(recv, 3);
    net_storm_end();
    net_end(conn);
    net_close(peer);
}

static void connect_and_accept_survive_a_storm_of_signals(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    net_storm_begin();
    for (int i = 0; i < 500 || net_storms() < 20; i++) {
        neap_sock *client = NULL;
        neap_future *connecting = NULL;
        neap_future *accepting = NULL;
        neap_sock *none = NULL;
        assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &client));
        assert_code(neap_sock_accept(listener, NEAP_WANT_FUTURE, &none, NULL, &accepting),
                    NEAP_PENDING);
        assert_code(neap_sock_connect(client, &addr, NEAP_WANT_FUTURE, &connecting), NEAP_PENDING);
        neap_sock *conn = net_accepted(accepting);
        nt_until(connecting);
        assert_code(neap_future_error(connecting), 0);
        neap_future_unref(connecting);
        assert_ok(neap_sock_set_option(client, "linger", 0));
        net_end(client);
        net_end(conn);
    }
    net_storm_end();
    net_end(listener);
}

/* ---- Descriptor numbers that come back ------------------------------------------------------- */

/* Takes the free numbers below `number`, so that it is the next one when it is closed; how many. */
static int fill_holes(int holes[16], int number) {
    int n = 0;
    for (;;) {
        int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);
        assert_true(fd >= 0 && n < 16);
        if (fd > number) {
            net_close(fd);
            return n;
        }
        holes[n++] = fd;
    }
}

static void a_reused_descriptor_number_hears_nothing_of_its_predecessor(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        int old_peer;
        char old_buf[8];
        char buf[8];
        neap_sock *conn = net_tcp(&old_peer);
        neap_fd number = neap_sock_fd(conn);
        neap_future *old_future = net_park_recv(conn, old_buf, sizeof old_buf);
        nt_turn();
        net_put(old_peer, "old");
        net_wait(number, POLLIN);
        int holes[16];
        int n_holes = fill_holes(holes, (int)number);
        assert_ok(neap_sock_close(conn));
        neap_sock_unref(conn);
        conn = NULL;
        neap_sock *spare = NULL;
        assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &conn, &spare));
        assert_int_equal(neap_sock_fd(conn), number);
        neap_future *future = net_park_recv(conn, buf, sizeof buf);
        net_failure(old_future, NEAP_ECLOSED);
        nt_turns(3);
        assert_state(future, NEAP_STATE_PENDING);
        neap_future *sending = NULL;
        assert_int_equal(neap_sock_sendall(spare, "new", 3, 0, &sending), 3);
        net_result(future, 3);
        assert_memory_equal(buf, "new", 3);
        net_end(conn);
        net_end(spare);
        net_close(old_peer);
        while (n_holes > 0)
            net_close(holes[--n_holes]);
    }
}

static void a_descriptor_that_lives_on_in_a_duplicate_wakes_nobody(void **state) {
    (void)state;
    int fds[2];
    char buf[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    int twin = fcntl(fds[0], F_DUPFD_CLOEXEC, 0); /* the host keeps the file open */
    neap_sock *sock = NULL;
    assert_ok(neap_sock_adopt(nt.loop, fds[0], &sock));
    neap_future *future = net_park_recv(sock, buf, sizeof buf);
    nt_turns(2);
    net_end(sock);
    net_failure(future, NEAP_ECLOSED);
    /* The number goes to another socket, which waits as well. */
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_int_equal(neap_sock_fd(a), fds[0]);
    future = net_park_recv(a, buf, sizeof buf);
    nt_turns(2);
    uint64_t events = nt_metrics().events;
    net_put(fds[1], "for the twin");
    nt_turns(5);
    assert_state(future, NEAP_STATE_PENDING);
    assert_int_equal(nt_metrics().events, events);
    net_expect(twin, "for the twin");
    net_end(a);
    net_failure(future, NEAP_ECLOSED);
    net_end(b);
    net_close(twin);
    net_close(fds[1]);
}

/* A child that holds copies of all descriptors open until the pipe is closed. */
static pid_t child_holding(int ret_pipe[2]) {
    assert_int_equal(pipe2(ret_pipe, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char c;
        close(ret_pipe[1]);
        _exit(read(ret_pipe[0], &c, 1) == 0 ? 0 : 1);
    }
    return child;
}

static void a_file_that_lives_on_in_a_child_wakes_nobody(void **state) {
    (void)state;
    int peer;
    int hold[2];
    int fds[2];
    char buf[8];
    int status = 0;
    int holes[16];
    neap_future *ready = NULL;
    neap_sock *conn = net_tcp(&peer);
    int number = (int)neap_sock_fd(conn);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_turn();
    pid_t child = child_holding(hold);
    net_end(conn);
    net_failure(future, NEAP_ECLOSED);
    /* The number comes back as another file, for which somebody waits; the old file is not closed
       and gets bytes. */
    int n_holes = fill_holes(holes, number - 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fds[0], number);
    assert_code(neap_fd_ready(nt.loop, fds[0], NEAP_READ, 0, &ready), NEAP_PENDING);
    nt_turn();
    net_put(peer, "for the child");
    nt_turns(5);
    assert_state(ready, NEAP_STATE_PENDING);
    net_put(fds[1], "x");
    net_result(ready, NEAP_READ);
    net_close(hold[1]);
    net_close(hold[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    while (n_holes > 0)
        net_close(holes[--n_holes]);
    net_close(fds[0]);
    net_close(fds[1]);
    net_close(peer);
}

/* Two watches are ready in one tick; the first replaces what the second stands for by a descriptor
   of the same number. */
typedef struct swap {
    int old_fd;
    int old_peer;
    int new_peer;
    int old_calls;
    int new_calls;
    int done;
} swap;

static void swap_new(void *user) {
    ((swap *)user)->new_calls++;
}

static void swap_old(void *user) {
    ((swap *)user)->old_calls++;
}

static void swap_now(void *user) {
    swap *s = user;
    int fds[2];
    if (s->done++)
        return;
    assert_int_equal(neap_remove_reader(nt.loop, s->old_fd), 1);
    net_close(s->old_fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fds[0], s->old_fd);
    s->new_peer = fds[1];
    assert_int_equal(neap_add_reader(nt.loop, fds[0], swap_new, s, NULL), 0);
}

static void an_event_of_this_tick_does_not_reach_a_watch_made_in_this_tick(void **state) {
    (void)state;
    int first[2];
    int second[2];
    swap s = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second), 0);
    s.old_fd = second[0];
    s.old_peer = second[1];
    assert_int_equal(neap_add_reader(nt.loop, first[0], swap_now, &s, NULL), 0);
    assert_int_equal(neap_add_reader(nt.loop, second[0], swap_old, &s, NULL), 0);
    nt_turn();
    net_put(first[1], "x");
    net_put(second[1], "x");
    nt_turns(4);
    assert_true(s.done > 0);
    assert_int_equal(s.new_calls, 0);
    assert_true(s.old_calls <= 1); /* it may have come first */
    net_put(s.new_peer, "y");
    nt_turns(2);
    assert_true(s.new_calls > 0);
    assert_int_equal(neap_remove_reader(nt.loop, first[0]), 1);
    assert_int_equal(neap_remove_reader(nt.loop, second[0]), 1);
    net_close(first[0]);
    net_close(first[1]);
    net_close(second[0]);
    net_close(second[1]);
    net_close(s.new_peer);
}

/* ---- Adopted descriptors --------------------------------------------------------------------- */

static void an_adopted_descriptor_becomes_nonblocking_and_works(void **state) {
    (void)state;
    int fds[2];
    neap_sock *sock = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_ok(neap_sock_adopt(nt.loop, fds[0], &sock));
    assert_int_equal(neap_sock_fd(sock), fds[0]);
    assert_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0);
    net_put(fds[1], "abc");
    net_recv_text(sock, "abc");
    net_end(sock);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    net_expect_eof(fds[1]);
    net_close(fds[1]);
}

static void an_adopted_listener_accepts(void **state) {
    (void)state;
    neap_addr any = net_loopback();
    neap_addr addr;
    neap_sock *listener = NULL;
    int raw = net_raw_listen(&any, 8, &addr);
    assert_ok(neap_sock_adopt(nt.loop, raw, &listener));
    neap_future *future = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    neap_sock *conn = net_accepted(future);
    net_put(client, "abc");
    net_recv_text(conn, "abc");
    net_end(conn);
    net_end(listener);
    net_close(client);
}

static void an_adopted_datagram_socket_keeps_its_borders(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    char buf[64] = {0};
    neap_sock *sock = NULL;
    int raw = net_raw_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_ok(neap_sock_adopt(nt.loop, raw, &sock));
    assert_int_equal(sendto(peer, "one", 3, 0, (struct sockaddr *)addr.data, addr.len), 3);
    assert_int_equal(sendto(peer, "two!", 4, 0, (struct sockaddr *)addr.data, addr.len), 4);
    net_wait(raw, POLLIN);
    assert_int_equal(neap_sock_recv(sock, buf, sizeof buf, NEAP_NOWAIT, NULL), 3);
    net_wait(raw, POLLIN);
    assert_int_equal(neap_sock_recv(sock, buf, sizeof buf, NEAP_NOWAIT, NULL), 4);
    net_end(sock);
    net_close(peer);
}

static void adopting_what_is_no_socket_leaves_it_to_the_caller(void **state) {
    (void)state;
    int fds[2];
    neap_sock *sock = NULL;
    assert_int_equal(pipe(fds), 0);
    assert_code(neap_sock_adopt(nt.loop, fds[0], &sock), NEAP_ENOTSUP);
    assert_code(neap_sock_adopt(nt.loop, -1, &sock), NEAP_EBADF);
    assert_code(neap_sock_adopt(nt.loop, 1000000, &sock), NEAP_EBADF);
    assert_null(sock);
    assert_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0);
    assert_true((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) == 0);
    net_close(fds[0]);
    net_close(fds[1]);
}

static void adopting_what_is_in_use_is_refused(void **state) {
    (void)state;
    int fds[2];
    int calls = 0;
    neap_sock *sock = NULL;
    neap_sock *second = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    assert_code(neap_sock_adopt(nt.loop, fds[0], &sock), NEAP_EBUSY_FD);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_ok(neap_sock_adopt(nt.loop, fds[0], &sock));
    assert_code(neap_sock_adopt(nt.loop, fds[0], &second), NEAP_EBUSY_FD);
    assert_null(second);
    net_end(sock);
    net_close(fds[1]);
}

static void only_what_came_from_somewhere_has_an_address(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_addr addr;
    neap_future *plain = nt_future();
    neap_sock *conn = net_tcp(&peer);
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    assert_code(neap_future_get_addr(plain, &addr), NEAP_EPENDING);
    assert_code(neap_future_get_addr(recv, &addr), NEAP_EPENDING);
    assert_ok(neap_future_set_int(plain, 1));
    assert_code(neap_future_get_addr(plain, &addr), NEAP_ETYPE);
    assert_code(neap_future_get_addr(plain, NULL), NEAP_EINVAL);
    net_put(peer, "x");
    nt_until(recv);
    assert_code(neap_future_get_addr(recv, &addr), NEAP_ETYPE);
    neap_future_unref(plain);
    neap_future_unref(recv);
    net_end(conn);
    net_close(peer);
}

static void a_watched_descriptor_closed_too_early_keeps_no_loop_busy(void **state) {
    (void)state;
    int fds[2];
    int more[2];
    int calls = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    nt_turn();
    net_close(fds[0]); /* against the rules: it had to be removed first */
    net_close(fds[1]);
    nt_turns(3);
    assert_true(calls <= 1);
    neap_metrics before = nt_metrics();
    neap_future *slept = nt_sleep(50 * NT_MS);
    nt_until(slept);
    neap_future_unref(slept);
    assert_true(nt_metrics().polls - before.polls <= 6);
    nt_claim_all(); /* a backend that notices says so */
    neap_remove_reader(nt.loop, fds[0]);
    /* The number can be used again. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, more), 0);
    assert_int_equal(more[0], fds[0]);
    assert_int_equal(neap_add_reader(nt.loop, more[0], nt_count_fn, &calls, NULL), 0);
    calls = 0;
    net_put(more[1], "x");
    nt_turns(2);
    assert_int_equal(calls, 2);
    assert_int_equal(neap_remove_reader(nt.loop, more[0]), 1);
    net_close(more[0]);
    net_close(more[1]);
}

static void a_new_socket_takes_the_number_of_a_watch_that_was_forgotten(void **state) {
    (void)state;
    int fds[2];
    int calls = 0;
    char buf[8];
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(neap_add_reader(nt.loop, fds[0], nt_count_fn, &calls, NULL), 0);
    nt_turn();
    net_close(fds[0]); /* against the rules */
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_int_equal(neap_sock_fd(a), fds[0]);
    neap_future *future = net_park_recv(a, buf, sizeof buf);
    nt_turns(3);
    calls = 0;
    assert_int_equal(neap_sock_send(b, "abc", 3, NEAP_NOWAIT, NULL), 3);
    net_result(future, 3);
    nt_turns(2);
    assert_int_equal(calls, 0);
    nt_claim_all();
    neap_remove_reader(nt.loop, fds[0]);
    net_end(a);
    net_end(b);
    net_close(fds[1]);
}

NT_MAIN(NT_TEST(data_with_fin_in_one_segment_is_followed_by_the_end),
        NT_TEST(a_short_read_with_the_end_behind_it_is_not_the_last_event),
        NT_TEST(urgent_data_does_not_hide_what_follows_it),
        NT_TEST(urgent_data_in_line_arrives_in_its_place),
        NT_TEST(urgent_data_alone_does_not_keep_the_loop_busy),
        NT_TEST(a_descriptor_passed_between_two_writes_does_not_hang_the_stream),
        NT_TEST(many_small_writes_between_two_turns_are_all_received),
        NT_TEST(data_that_comes_between_a_short_read_and_the_next_wait_wakes),
        NT_TEST(N1_a_storm_of_signals_disturbs_no_transfer),
        NT_TEST(a_storm_of_signals_shortens_no_timer_and_no_wait),
        NT_TEST(connect_and_accept_survive_a_storm_of_signals),
        NT_TEST(a_reused_descriptor_number_hears_nothing_of_its_predecessor),
        NT_TEST(a_descriptor_that_lives_on_in_a_duplicate_wakes_nobody),
        NT_TEST(an_event_of_this_tick_does_not_reach_a_watch_made_in_this_tick),
        NT_TEST(an_adopted_descriptor_becomes_nonblocking_and_works),
        NT_TEST(an_adopted_listener_accepts), NT_TEST(an_adopted_datagram_socket_keeps_its_borders),
        NT_TEST(adopting_what_is_no_socket_leaves_it_to_the_caller),
        NT_TEST(a_file_that_lives_on_in_a_child_wakes_nobody),
        NT_TEST(adopting_what_is_in_use_is_refused),
        NT_TEST(only_what_came_from_somewhere_has_an_address),
        NT_TEST(a_watched_descriptor_closed_too_early_keeps_no_loop_busy),
        NT_TEST(a_new_socket_takes_the_number_of_a_watch_that_was_forgotten))
