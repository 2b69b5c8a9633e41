/* When descriptors run out: the connection stays in the queue, and what is freed can be used
   again. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Takes every descriptor up to a lowered limit. */
typedef struct famine {
    struct rlimit old;
    int fds[64];
    int n;
} famine;

static void famine_begin(famine *f) {
    struct rlimit low;
    int top = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(top >= 0);
    net_close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &f->old), 0);
    low = f->old;
    low.rlim_cur = (rlim_t)top + 32;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    f->n = 0;
    for (;;) {
        int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            break;
        assert_true(f->n < 64);
        f->fds[f->n++] = fd;
    }
    assert_int_equal(errno, EMFILE);
}

static void famine_free_one(famine *f) {
    assert_true(f->n > 0);
    net_close(f->fds[--f->n]);
}

static void famine_end(famine *f) {
    while (f->n > 0)
        famine_free_one(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &f->old), 0);
}

static void accept_without_descriptors_leaves_the_connection_in_the_queue(void **state) {
    (void)state;
    famine f;
    neap_addr addr;
    neap_sock *conn = NULL;
    neap_future *future = NULL;
    neap_sock *listener = net_listener(&addr);
    int client = net_raw_connect(&addr);
    net_put(client, "hello");
    net_wait(neap_sock_fd(listener), POLLIN);
    famine_begin(&f);
    for (int i = 0; i < 3; i++)
        assert_code(neap_sock_accept(listener, 0, &conn, NULL, &future), NEAP_EMFILE);
    assert_null(conn);
    assert_null(future);
    famine_free_one(&f);
    assert_ok(neap_sock_accept(listener, NEAP_NOWAIT, &conn, NULL, NULL));
    famine_end(&f);
    net_recv_text(conn, "hello");
    net_end(conn);
    net_close(client);
    net_end(listener);
}

static void an_accept_that_waits_fails_without_descriptors_and_the_next_one_serves(void **state) {
    (void)state;
    famine f;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *first = net_park_accept(listener);
    neap_future *second = net_park_accept(listener);
    assert_ok(neap_future_ignore(second)); /* it may fail before it is looked at */
    nt_turn();
    int client = net_raw_connect(&addr);
    net_put(client, "hello");
    net_wait(neap_sock_fd(listener), POLLIN);
    famine_begin(&f);
    nt_until(first);
    famine_end(&f);
    net_failure(first, NEAP_EMFILE);
    /* No new event will come for the one in the queue: the second must not hang. */
    neap_sock *conn = NULL;
    if (neap_future_done(second)) {
        net_failure(second, NEAP_EMFILE);
        assert_code(neap_sock_accept(listener, NEAP_WANT_FUTURE, &conn, NULL, &second),
                    NEAP_PENDING);
    }
    conn = net_accepted(second);
    net_recv_text(conn, "hello");
    net_end(conn);
    net_close(client);
    net_end(listener);
}

static void making_a_socket_without_descriptors_fails_cleanly(void **state) {
    (void)state;
    famine f;
    neap_addr addr = net_loopback();
    neap_sock *sock = NULL;
    neap_sock *other = NULL;
    neap_sock *late = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &late));
    uint64_t objects = nt_metrics().objects;
    famine_begin(&f);
    assert_code(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock), NEAP_EMFILE);
    assert_code(neap_sock_pair(nt.loop, NEAP_UNIX, &sock, &other), NEAP_EMFILE);
    assert_code(neap_sock_bind(late, &addr), NEAP_EMFILE);
    assert_code(neap_sock_connect(late, &addr, 0, &future), NEAP_EMFILE);
    famine_free_one(&f);
    assert_code(neap_sock_pair(nt.loop, NEAP_UNIX, &sock, &other), NEAP_EMFILE);
    famine_end(&f);
    assert_null(sock);
    assert_null(other);
    assert_null(future);
    assert_int_equal(nt_metrics().objects, objects);
    assert_ok(neap_sock_bind(late, &addr)); /* nothing had changed: it works now */
    net_end(late);
}

static void a_loop_without_descriptors_cannot_be_made(void **state) {
    (void)state;
    famine f;
    neap_loop *loop = NULL;
    neap_loop_options options = nt_options(0);
    famine_begin(&f);
    int32_t code = neap_loop_new(&options, &loop);
    for (int i = 0; i < 4 && code != 0; i++) {
        assert_code(code, NEAP_EMFILE);
        assert_null(loop);
        famine_free_one(&f);
        code = neap_loop_new(&options, &loop);
    }
    famine_end(&f);
    assert_ok(code);
    nt_loop_end(loop);
}

static void an_open_connection_works_on_without_descriptors(void **state) {
    (void)state;
    famine f;
    int peer;
    neap_future *none = NULL;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    famine_begin(&f);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    net_put(peer, "hello");
    net_result(future, 5);
    assert_int_equal(neap_sock_sendall(conn, "back", 4, 0, &none), 4);
    famine_end(&f);
    net_expect(peer, "back");
    net_end(conn);
    net_close(peer);
}

static void hundreds_of_connections_come_and_go_without_a_trace(void **state) {
    (void)state;
    int rounds = nt_slow_machine() ? 200 : 2000;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    int fds = nt_fd_count();
    uint64_t blocks = 0;
    for (int i = 0; i < rounds; i++) {
        neap_future *future = net_park_accept(listener);
        int client = net_raw_connect(&addr);
        neap_sock *conn = net_accepted(future);
        net_put(client, "x");
        net_recv_text(conn, "x");
        if (i % 2)
            net_end(conn);
        net_reset(client);
        if (i % 2 == 0)
            net_end(conn);
        if (i == rounds / 2)
            blocks = nt_metrics().blocks;
    }
    nt_settle();
    assert_int_equal(nt_fd_count(), fds);
    assert_int_equal(nt_metrics().blocks, blocks);
    net_end(listener);
}

static void a_thousand_connections_are_open_at_once(void **state) {
    (void)state;
    enum {
        N = 1000
    };
    static neap_sock *conns[N];
    static int clients[N];
    static char bufs[N][4];
    static neap_future *futures[N];
    net_need_descriptors(2 * N + 64);
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    for (int i = 0; i < N; i++) {
        clients[i] = net_raw_connect(&addr);
        conns[i] = net_accept_now(listener);
        futures[i] = net_park_recv(conns[i], bufs[i], sizeof bufs[i]);
    }
    assert_int_equal(nt_metrics().operations, N);
    assert_int_equal(nt_metrics().socks, N + 1);
    for (int i = N - 1; i >= 0; i--)
        net_put(clients[i], "ping");
    for (int i = 0; i < N; i++) {
        net_result(futures[i], 4);
        assert_memory_equal(bufs[i], "ping", 4);
        net_end(conns[i]);
        net_close(clients[i]);
    }
    net_end(listener);
}

static void the_loops_descriptor_can_be_asked_for_again(void **state) {
    (void)state;
    famine f;
    if (strcmp(neap_loop_backend(nt.loop), "poll") == 0)
        return; /* it has none, see the test of the descriptor */
    famine_begin(&f);
    assert_int_equal(neap_loop_fd(nt.loop), NEAP_EMFILE);
    famine_end(&f);
    assert_true(neap_loop_fd(nt.loop) >= 0);
    nt_later(NT_MS, "timer");
    net_wait(neap_loop_fd(nt.loop), POLLIN);
    while (nt.notes_len == 0)
        nt_turn();
    assert_notes("timer");
}

NT_MAIN(NT_TEST(accept_without_descriptors_leaves_the_connection_in_the_queue),
        NT_TEST(an_accept_that_waits_fails_without_descriptors_and_the_next_one_serves),
        NT_TEST(making_a_socket_without_descriptors_fails_cleanly),
        NT_TEST(a_loop_without_descriptors_cannot_be_made),
        NT_TEST(an_open_connection_works_on_without_descriptors),
        NT_TEST(hundreds_of_connections_come_and_go_without_a_trace),
        NT_TEST(a_thousand_connections_are_open_at_once),
        NT_TEST(the_loops_descriptor_can_be_asked_for_again))
