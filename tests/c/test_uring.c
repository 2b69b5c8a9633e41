/* What only io_uring does: the kernel receives ahead for the streams that we hold. */
#include "net.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    POOL_BYTES = 256 * 16384 /* what the kernel may receive ahead for one loop */
};

/* A connection that the kernel receives for from now on. */
static neap_sock *armed(int *ret_peer) {
    char c = 0;
    neap_sock *conn = net_tcp(ret_peer);
    neap_future *future = net_park_recv(conn, &c, 1);
    nt_turn();
    net_put(*ret_peer, "!");
    net_result(future, 1);
    assert_int_equal(c, '!');
    return conn;
}

/* What the peer has sent is in our buffers: the kernel has nothing more. */
static void receive_ahead(neap_sock *conn) {
    net_wait(neap_sock_fd(conn), POLLIN);
    for (int i = 0; i < 1000 && net_is(neap_sock_fd(conn), POLLIN); i++)
        assert_true(neap_loop_run_once(nt.loop, 1) >= 0); /* a turn that polls */
    assert_false(net_is(neap_sock_fd(conn), POLLIN));
}

static void recv_end(neap_sock *conn) {
    char c;
    neap_future *future = NULL;
    int32_t n = neap_sock_recv(conn, &c, 1, 0, &future);
    if (n == NEAP_PENDING)
        net_result(future, 0);
    else
        assert_int_equal(n, 0);
}

static void recv_pattern(neap_sock *conn, size_t from, size_t to) {
    static unsigned char buf[65536];
    while (from < to) {
        neap_future *future = NULL;
        size_t want = to - from < sizeof buf ? to - from : sizeof buf;
        int32_t n = neap_sock_recv(conn, buf, want, 0, &future);
        if (n == NEAP_PENDING) {
            nt_until(future);
            n = (int32_t)nt_int(future);
            neap_future_unref(future);
        }
        assert_true(n > 0);
        net_expect_pattern(buf, (size_t)n, from);
        from += (size_t)n;
    }
}

/* ---- Where it is refused --------------------------------------------------------------------- */

static int forbid(unsigned call) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1 /* EPERM */),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void P3_the_ring_is_chosen_by_name_and_not_by_itself(void **state) {
    (void)state;
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    assert_int_equal(neap_has("io_uring"), 1);
    assert_string_equal(neap_loop_backend(nt.loop), "io_uring");
    options.backend = NULL;
    assert_ok(neap_loop_new(&options, &loop));
    assert_string_not_equal(neap_loop_backend(loop), "io_uring");
    nt_loop_end(loop);
}

static int child_without(void *user) {
    neap_loop *loop = NULL;
    neap_loop_options options = nt_options(0);
    neap_loop_abandon(nt.loop);
    if (forbid(*(unsigned *)user) != 0)
        return 1;
    int fds = nt_fd_count();
    options.backend = "io_uring";
    if (neap_loop_new(&options, &loop) != NEAP_ENOTSUP || loop != NULL)
        return 2;
    if (nt_fd_count() != fds)
        return 3;
    options.backend = NULL;
    if (neap_loop_new(&options, &loop) != 0 || strcmp(neap_loop_backend(loop), "io_uring") == 0)
        return 4;
    neap_loop_unref(loop);
    return 0;
}

static void a_machine_that_forbids_rings_has_another_backend(void **state) {
    (void)state;
    unsigned call = __NR_io_uring_setup;
    assert_int_equal(nt_in_child(child_without, &call), 0);
}

static void a_machine_that_forbids_provided_buffers_has_another_backend(void **state) {
    (void)state;
    unsigned call = __NR_io_uring_register;
    assert_int_equal(nt_in_child(child_without, &call), 0);
}

/* ---- The order of the bytes ------------------------------------------------------------------ */

static void bytes_received_ahead_come_before_those_of_the_kernel(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = armed(&peer);
    net_put(peer, "ab");
    receive_ahead(conn);
    net_put(peer, "cd");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv(conn, buf, 1, NEAP_NOWAIT, NULL), 1);
    assert_int_equal(neap_sock_recv(conn, buf + 1, 4, NEAP_NOWAIT, NULL), 1);
    assert_int_equal(neap_sock_recv(conn, buf + 2, 4, NEAP_NOWAIT, NULL), 2);
    assert_memory_equal(buf, "abcd", 4);
    assert_code(neap_sock_recv(conn, buf, 4, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_put(peer, "e");
    net_recv_text(conn, "e");
    net_end(conn);
    net_close(peer);
}

static void a_stream_that_was_drained_is_received_for_without_a_wait(void **state) {
    (void)state;
    int peers[2];
    char buf[8];
    neap_sock *first = armed(&peers[0]); /* there are buffers from here on */
    neap_sock *conn = net_tcp(&peers[1]);
    neap_future *other = net_park_recv(first, buf, sizeof buf);
    net_put(peers[1], "a");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 1);
    nt_turn();
    net_put(peers[1], "b");
    receive_ahead(conn);
    net_recv_text(conn, "b");
    net_end(conn);
    net_end(first);
    net_failure(other, NEAP_ECLOSED);
    net_close(peers[0]);
    net_close(peers[1]);
}

static void the_end_and_an_error_stand_behind_the_bytes(void **state) {
    (void)state;
    char buf[8];
    for (int reset = 0; reset < 2; reset++) {
        int peer;
        neap_sock *conn = armed(&peer);
        net_put(peer, "last");
        receive_ahead(conn);
        if (reset)
            net_reset(peer);
        else
            net_close(peer);
        net_wait(neap_sock_fd(conn), POLLIN);
        assert_true(neap_loop_run_once(nt.loop, 1) >= 0);
        assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 4);
        assert_memory_equal(buf, "last", 4);
        assert_true(neap_loop_run_once(nt.loop, 1) >= 0);
        int32_t first = neap_sock_recv(conn, buf, 4, NEAP_NOWAIT, NULL);
        assert_code(first, reset ? NEAP_ECONNRESET : 0);
        assert_int_equal(neap_sock_recv(conn, buf, 4, NEAP_NOWAIT, NULL), 0);
        net_end(conn);
    }
}

static void a_cancelled_receive_loses_no_byte_that_is_under_way(void **state) {
    (void)state;
    enum {
        ROUNDS = 500
    };
    int peer;
    uint64_t seed = 11;
    size_t sent = 0;
    size_t got = 0;
    neap_sock *conn = armed(&peer);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned char in[64];
        unsigned char out[64];
        size_t n = 1 + (size_t)net_below(&seed, sizeof out);
        neap_future *future = NULL;
        int32_t rc = neap_sock_recv(conn, in, sizeof in, 0, &future);
        net_fill_pattern(out, n, sent);
        net_write(peer, out, n);
        sent += n;
        if (net_below(&seed, 2) == 0)
            nt_turn();
        if (rc == NEAP_PENDING) {
            neap_future_cancel(future, NULL);
            nt_turn();
            rc = neap_future_state(future) == NEAP_STATE_CANCELLED ? 0 : (int32_t)nt_int(future);
            neap_future_unref(future);
        }
        assert_true(rc >= 0);
        net_expect_pattern(in, (size_t)rc, got);
        got += (size_t)rc;
    }
    recv_pattern(conn, got, sent);
    net_end(conn);
    net_close(peer);
}

static void a_watch_sees_what_was_received_ahead(void **state) {
    (void)state;
    int peer;
    int calls = 0;
    neap_future *ready = NULL;
    neap_sock *conn = armed(&peer);
    int fd = (int)neap_sock_fd(conn);
    net_put(peer, "x");
    receive_ahead(conn);
    assert_int_equal(neap_fd_ready(nt.loop, fd, NEAP_READ, 0, &ready), NEAP_READ);
    assert_int_equal(neap_add_reader(nt.loop, fd, nt_count_fn, &calls, NULL), 0);
    nt_turns(4);
    assert_true(calls >= 2);
    net_recv_text(conn, "x");
    nt_turns(3);
    calls = 0;
    nt_turns(3);
    assert_int_equal(calls, 0);
    net_put(peer, "y");
    for (int i = 0; i < 1000 && calls == 0; i++)
        neap_loop_run_once(nt.loop, NT_MS);
    assert_true(calls > 0);
    assert_int_equal(neap_remove_reader(nt.loop, fd), 1);
    net_recv_text(conn, "y");
    net_end(conn);
    net_close(peer);
}

/* ---- Too much, too little -------------------------------------------------------------------- */

static size_t send_what_fits(int peer, size_t at) {
    static unsigned char data[65536];
    net_fill_pattern(data, sizeof data, at);
    ssize_t n = send(peer, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (size_t)n : 0;
}

static void a_fast_sender_without_a_reader_fills_a_bounded_part_of_memory(void **state) {
    (void)state;
    int peer;
    size_t sent = 0;
    neap_sock *conn = armed(&peer);
    for (int quiet = 0; quiet < 50;) {
        size_t n = send_what_fits(peer, sent);
        sent += n;
        quiet = n > 0 ? 0 : quiet + 1;
        neap_loop_run_once(nt.loop, NT_MS);
    }
    assert_true(sent < POOL_BYTES); /* with the kernel's own */
    assert_true(atomic_load(&nt.heap.bytes) < POOL_BYTES / 4);
    /* Another one is served meanwhile. */
    int other_peer;
    neap_sock *other = armed(&other_peer);
    net_put(other_peer, "other");
    net_recv_text(other, "other");
    recv_pattern(conn, 0, sent);
    size_t more = send_what_fits(peer, sent);
    recv_pattern(conn, sent, sent + more);
    net_end(other);
    net_close(other_peer);
    net_end(conn);
    net_close(peer);
}

static void what_a_reader_leaves_behind_stays_in_the_kernel(void **state) {
    (void)state;
    enum {
        PIECE = 16384,
        PIECES = 12
    };
    static unsigned char piece[PIECE];
    int peer;
    int left = 0;
    neap_sock *conn = armed(&peer);
    for (size_t i = 0; i < PIECES; i++) {
        net_fill_pattern(piece, PIECE, i * PIECE);
        net_write(peer, piece, PIECE);
        net_wait(neap_sock_fd(conn), POLLIN);
        assert_true(neap_loop_run_once(nt.loop, 1) >= 0);
    }
    assert_int_equal(ioctl((int)neap_sock_fd(conn), FIONREAD, &left), 0);
    assert_true(left >= PIECE * PIECES / 2);
    recv_pattern(conn, 0, PIECE * PIECES);
    net_put(peer, "on it goes");
    net_recv_text(conn, "on it goes");
    net_end(conn);
    net_close(peer);
}

static void more_connections_than_buffers_all_get_their_bytes(void **state) {
    (void)state;
    enum {
        CONNS = 400
    };
    static neap_sock *conns[CONNS];
    static int peers[CONNS];
    net_need_descriptors(2 * CONNS + 50);
    for (int i = 0; i < CONNS; i++)
        conns[i] = armed(&peers[i]);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CONNS; i++)
            net_put(peers[i], "nobody reads this yet");
        for (int i = 0; i < 5; i++)
            assert_true(neap_loop_run_once(nt.loop, 1) >= 0);
        for (int i = 0; i < CONNS; i++)
            net_recv_text(conns[i], "nobody reads this yet");
    }
    /* With readers that all wait, and with the end. */
    static neap_future *futures[CONNS];
    static char bufs[CONNS][16];
    for (int i = 0; i < CONNS; i++)
        futures[i] = net_park_recv(conns[i], bufs[i], sizeof bufs[i]);
    nt_turn();
    for (int i = 0; i < CONNS; i++)
        net_put(peers[i], "now");
    for (int i = 0; i < CONNS; i++)
        net_result(futures[i], 3);
    for (int i = 0; i < CONNS; i++)
        net_close(peers[i]);
    nt_turns(3);
    for (int i = 0; i < CONNS; i++) {
        recv_end(conns[i]);
        net_end(conns[i]);
    }
}

/* An allocator that has no large blocks. */
static void *small_alloc(void *ctx, size_t n) {
    (void)ctx;
    return n < 100000 ? malloc(n) : NULL;
}

static void *small_realloc(void *ctx, void *p, size_t old, size_t n) {
    (void)ctx;
    (void)old;
    return n < 100000 ? realloc(p, n) : NULL;
}

static void small_free(void *ctx, void *p, size_t n) {
    (void)ctx;
    (void)n;
    free(p);
}

static void without_memory_to_receive_ahead_streams_are_polled(void **state) {
    (void)state;
    const neap_allocator small = {
        .size = sizeof small, .alloc = small_alloc, .realloc = small_realloc, .free = small_free};
    neap_loop_options options = nt_options(0);
    neap_loop *ours = nt.loop;
    char buf[8];
    int peer;
    options.allocator = &small;
    assert_ok(neap_loop_new(&options, &nt.loop));
    neap_sock *conn = armed(&peer);
    for (int i = 0; i < 20; i++) {
        neap_future *future = net_park_recv(conn, buf, sizeof buf);
        nt_turn();
        net_put(peer, "abc");
        net_result(future, 3);
    }
    net_close(peer);
    recv_end(conn);
    net_end(conn);
    nt_loop_end(nt.loop);
    nt.loop = ours;
}

/* ---- Close ----------------------------------------------------------------------------------- */

static void close_lets_the_peer_see_the_end_at_once(void **state) {
    (void)state;
    char buf[8];
    for (int waits = 0; waits < 2; waits++) {
        int peer;
        neap_sock *conn = armed(&peer);
        neap_future *future = waits ? net_park_recv(conn, buf, sizeof buf) : NULL;
        nt_turn();
        net_end(conn);
        assert_true(net_is(peer, POLLIN));
        net_expect_eof(peer);
        if (future != NULL)
            net_failure(future, NEAP_ECLOSED);
        net_close(peer);
    }
}

static void close_frees_the_port_of_a_listener_at_once(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *future = net_park_accept(listener);
    nt_turns(2);
    net_end(listener);
    int raw = net_raw_listen(&addr, 1, &addr);
    net_close(raw);
    net_failure(future, NEAP_ECLOSED);
}

static void close_with_bytes_that_nobody_read_resets_as_the_kernel_does(void **state) {
    (void)state;
    int peer;
    char c;
    neap_sock *conn = armed(&peer);
    net_put(peer, "unread");
    receive_ahead(conn);
    net_end(conn);
    assert_int_equal(recv(peer, &c, 1, 0), -1);
    net_close(peer);
}

static void closing_the_loop_ends_what_the_kernel_does_for_it(void **state) {
    (void)state;
    int peers[20];
    char buf[20];
    neap_sock *conns[20];
    neap_future *futures[20];
    for (int i = 0; i < 20; i++) {
        conns[i] = armed(&peers[i]);
        futures[i] = net_park_recv(conns[i], &buf[i], 1);
    }
    nt_turn();
    for (int i = 0; i < 20; i += 2)
        net_put(peers[i], "x"); /* under way */
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    for (int i = 0; i < 20; i++) {
        net_drain(peers[i]);
        net_close(peers[i]);
        neap_future_unref(futures[i]);
        neap_sock_unref(conns[i]);
    }
}

/* ---- Processes, threads, signals ------------------------------------------------------------- */

struct inherited {
    neap_sock *conn;
    neap_future *future;
};

static int child_abandons(void *user) {
    struct inherited *i = user;
    if (neap_loop_abandon(nt.loop) != 0)
        return 1;
    neap_future_unref(i->future);
    neap_sock_unref(i->conn);
    neap_loop_unref(nt.loop);
    return atomic_load(&nt.heap.bytes) == 0 ? 0 : 2;
}

static void a_forked_child_leaves_the_ring_of_its_parent_alone(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = armed(&peer);
    net_put(peer, "before");
    receive_ahead(conn);
    net_recv_text(conn, "bef");
    neap_future *writer = NULL;
    assert_code(neap_sock_send(conn, "x", 1, NEAP_WANT_FUTURE, &writer), NEAP_PENDING);
    struct inherited held = {conn, writer};
    assert_int_equal(nt_in_child(child_abandons, &held), 0);
    net_recv_text(conn, "ore");
    net_result(writer, 1);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    held.future = future;
    nt_turn();
    assert_int_equal(nt_in_child(child_abandons, &held), 0);
    net_put(peer, "after");
    net_result(future, 5);
    net_end(conn);
    net_drain(peer);
    net_close(peer);
}

static intptr_t receive_there(void *user) {
    struct inherited *i = user;
    if (neap_loop_bind_thread(nt.loop) != 0)
        return -1;
    while (!neap_future_done(i->future))
        if (neap_loop_run_once(nt.loop, NT_SEC) < 0)
            return -2;
    int64_t n = 0;
    return neap_future_get_int(i->future, &n) == 0 ? (intptr_t)n : -3;
}

static void a_loop_that_changes_its_thread_takes_its_receives_along(void **state) {
    (void)state;
    int peer;
    char buf[16];
    neap_sock *conn = armed(&peer);
    net_put(peer, "ahead");
    receive_ahead(conn);
    net_put(peer, "!");
    net_recv_text(conn, "ahead!");
    for (int i = 0; i < 4; i++) {
        neap_future *future = net_park_recv(conn, buf, sizeof buf);
        struct inherited held = {conn, future};
        if (i % 2 == 0)
            nt_turn();
        net_put(peer, "there");
        assert_int_equal(nt_in_thread(receive_there, &held), 5);
        neap_future_unref(future);
        assert_ok(neap_loop_bind_thread(nt.loop));
        net_put(peer, "back");
        net_recv_text(conn, "back");
    }
    net_end(conn);
    net_expect_eof(peer);
    net_close(peer);
}

static void heard(int signo) {
    (void)signo;
}

static void *interrupt(void *user) {
    const struct timespec pause = {.tv_nsec = 20 * NT_MS};
    nanosleep(&pause, NULL);
    pthread_kill(*(pthread_t *)user, SIGUSR2);
    return NULL;
}

static void a_signal_ends_a_wait_that_also_submitted(void **state) {
    (void)state;
    neap_loop *ours = nt.loop;
    pthread_t self = pthread_self();
    const struct sigaction catch = {.sa_handler = heard};
    struct sigaction before;
    assert_int_equal(sigaction(SIGUSR2, &catch, &before), 0);
    nt.loop = nt_loop_new(NEAP_LOOP_EINTR);
    for (int timed = 0; timed < 2; timed++) {
        int peer;
        char c;
        pthread_t thread;
        neap_sock *conn = net_tcp(&peer);
        neap_future *future = net_park_recv(conn, &c, 1);
        neap_handle *timer = timed ? nt_later_handle(3600 * NT_SEC, "never") : NULL;
        assert_int_equal(pthread_create(&thread, NULL, interrupt, &self), 0);
        assert_code(neap_loop_run(nt.loop), NEAP_EINTR);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (timer != NULL)
            assert_int_equal(neap_handle_cancel(timer), 1);
        neap_handle_unref(timer);
        net_end(conn);
        net_failure(future, NEAP_ECLOSED);
        net_close(peer);
    }
    nt_loop_end(nt.loop);
    nt.loop = ours;
    assert_int_equal(sigaction(SIGUSR2, &before, NULL), 0);
}

static int child_turns(void *user) {
    neap_loop *loop = NULL;
    neap_future *future = NULL;
    int ends[2];
    neap_loop_options options = nt_options(0);
    neap_loop_abandon(nt.loop);
    if (neap_loop_new(&options, &loop) != 0 || pipe(ends) != 0)
        return 1;
    if (neap_fd_ready(loop, ends[0], NEAP_READ, 0, &future) != NEAP_PENDING)
        return 2;
    if (neap_loop_run_once(loop, 0) < 0 || neap_loop_run_once(loop, 0) < 0)
        return 3;
    if (forbid(*(unsigned *)user) != 0)
        return 4;
    for (int i = 0; i < 10; i++)
        if (neap_loop_run_once(loop, 0) < 0)
            return 5;
    if (write(ends[1], "x", 1) != 1)
        return 6;
    return neap_loop_run_once(loop, 0) < 0 ? 0 : 7; /* now it would have had to */
}

static void a_turn_with_nothing_to_fetch_makes_no_call_of_the_ring(void **state) {
    (void)state;
    unsigned call = __NR_io_uring_enter;
    assert_int_equal(nt_in_child(child_turns, &call), 0);
}

NT_MAIN(NT_TEST(P3_the_ring_is_chosen_by_name_and_not_by_itself),
        NT_TEST(a_machine_that_forbids_rings_has_another_backend),
        NT_TEST(a_machine_that_forbids_provided_buffers_has_another_backend),
        NT_TEST(bytes_received_ahead_come_before_those_of_the_kernel),
        NT_TEST(a_stream_that_was_drained_is_received_for_without_a_wait),
        NT_TEST(the_end_and_an_error_stand_behind_the_bytes),
        NT_TEST(a_cancelled_receive_loses_no_byte_that_is_under_way),
        NT_TEST(a_watch_sees_what_was_received_ahead),
        NT_TEST(a_fast_sender_without_a_reader_fills_a_bounded_part_of_memory),
        NT_TEST(what_a_reader_leaves_behind_stays_in_the_kernel),
        NT_TEST(more_connections_than_buffers_all_get_their_bytes),
        NT_TEST(without_memory_to_receive_ahead_streams_are_polled),
        NT_TEST(close_lets_the_peer_see_the_end_at_once),
        NT_TEST(close_frees_the_port_of_a_listener_at_once),
        NT_TEST(close_with_bytes_that_nobody_read_resets_as_the_kernel_does),
        NT_TEST(closing_the_loop_ends_what_the_kernel_does_for_it),
        NT_TEST(a_forked_child_leaves_the_ring_of_its_parent_alone),
        NT_TEST(a_loop_that_changes_its_thread_takes_its_receives_along),
        NT_TEST(a_signal_ends_a_wait_that_also_submitted),
        NT_TEST(a_turn_with_nothing_to_fetch_makes_no_call_of_the_ring))
