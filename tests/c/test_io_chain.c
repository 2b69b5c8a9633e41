/* Sockets, tasks and futures together: servers, ping-pong, the chain of one receive, and socket
   operations that are written anew over watches. */
#include "net.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- An echo task: receives lent bytes, sends them back, until the end ----------------------- */

typedef struct echo {
    neap_sock *sock; /* owned */
    char buf[256];
    size_t len; /* bytes of buf that are being sent */
    int sending;
    int *ended; /* counts */
} echo;

/* Starts operations until one must wait: 1, and *ret_future, or 0 at the end. */
static int echo_go_on(echo *e, int64_t result, int have_result, neap_future **ret_future) {
    for (;;) {
        if (have_result) {
            if (result < 0)
                return 0;
            if (!e->sending) {
                if (result == 0)
                    return 0;
                e->len = (size_t)result;
            }
            e->sending = !e->sending;
        }
        result = e->sending ? neap_sock_sendall(e->sock, e->buf, e->len, 0, ret_future)
                            : neap_sock_recv(e->sock, e->buf, sizeof e->buf, 0, ret_future);
        if (result == NEAP_PENDING)
            return 1;
        have_result = 1;
    }
}

static int32_t echo_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    echo *e = user;
    int64_t result = 0;
    neap_future *future = NULL;
    if (wake == NEAP_WAKE_CANCEL)
        return NEAP_STEP_CANCELLED;
    if (awaited != NULL) {
        result = neap_future_error(awaited);
        if (result == 0)
            assert_ok(neap_future_get_int(awaited, &result));
    }
    if (!echo_go_on(e, result, awaited != NULL, &future))
        return NEAP_STEP_DONE;
    assert_ok(neap_task_await(task, future));
    neap_future_unref(future);
    return NEAP_STEP_AWAIT;
}

static void echo_destroy(void *user) {
    echo *e = user;
    neap_sock_unref(e->sock);
    ++*e->ended;
    free(e);
}

static const neap_task_ops echo_ops = {
    .size = sizeof(neap_task_ops), .step = echo_step, .destroy = echo_destroy};

/* ---- A server task: accepts and spawns ------------------------------------------------------- */

typedef struct server {
    neap_sock *listener;
    int accepted;
    int ended;
} server;

static void serve_one(server *s, neap_sock *conn) {
    echo *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->sock = conn;
    e->ended = &s->ended;
    s->accepted++;
    assert_ok(neap_task_spawn(nt.loop, &echo_ops, e, NULL, NULL));
}

static int32_t server_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    server *s = user;
    neap_sock *conn = NULL;
    neap_future *future = NULL;
    if (wake == NEAP_WAKE_CANCEL ||
        (awaited != NULL && neap_future_state(awaited) == NEAP_STATE_CANCELLED))
        return NEAP_STEP_CANCELLED;
    if (awaited != NULL) {
        assert_ok(neap_future_take_sock(awaited, &conn));
        serve_one(s, conn);
    }
    int32_t code;
    while ((code = neap_sock_accept(s->listener, 0, &conn, NULL, &future)) == 0)
        serve_one(s, conn);
    assert_code(code, NEAP_PENDING);
    assert_ok(neap_task_await(task, future));
    neap_future_unref(future);
    return NEAP_STEP_AWAIT;
}

static const neap_task_ops server_ops = {.size = sizeof(neap_task_ops), .step = server_step};

static void turn_until(int *counter, int value) {
    for (int i = 0; i < 100000 && *counter < value; i++)
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    assert_int_equal(*counter, value);
}

static void N6_an_echo_server_of_tasks_gives_each_client_its_own_bytes(void **state) {
    (void)state;
    neap_addr addr;
    server s = {0};
    neap_task *task = NULL;
    s.listener = net_listener(&addr);
    assert_ok(neap_task_spawn(nt.loop, &server_ops, &s, NULL, &task));
    int one = net_raw_connect(&addr);
    int two = net_raw_connect(&addr);
    turn_until(&s.accepted, 2);
    net_put(one, "first");
    net_put(two, "second");
    while (!net_is(one, POLLIN) || !net_is(two, POLLIN))
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    net_expect(two, "second");
    net_expect(one, "first");
    net_close(one);
    net_close(two);
    turn_until(&s.ended, 2);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_until_task(task);
    neap_task_unref(task);
    net_end(s.listener);
}

static void N6_a_thousand_cycles_of_connect_and_close_leave_no_descriptor(void **state) {
    (void)state;
    int rounds = 1000;
    neap_addr addr;
    server s = {0};
    neap_task *task = NULL;
    s.listener = net_listener(&addr);
    assert_ok(neap_task_spawn(nt.loop, &server_ops, &s, NULL, &task));
    nt_turn();
    int fds = nt_fd_count();
    for (int i = 0; i < rounds; i++) {
        int client = net_raw_connect(&addr);
        net_put(client, "x");
        while (!net_is(client, POLLIN))
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
        net_expect(client, "x");
        if (i % 2)
            net_reset(client);
        else
            net_close(client);
    }
    turn_until(&s.ended, rounds);
    assert_int_equal(nt_fd_count(), fds);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_until_task(task);
    neap_task_unref(task);
    net_end(s.listener);
}

/* ---- Ping-pong and idleness ------------------------------------------------------------------ */

typedef struct player {
    neap_sock *sock;
    int serves; /* begins with a send */
    int rounds; /* receives still to come */
    char c;
} player;

static int32_t player_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    player *p = user;
    neap_future *none = NULL;
    neap_future *future = NULL;
    (void)wake;
    if (p->serves) {
        p->serves = 0;
        assert_int_equal(neap_sock_send(p->sock, "o", 1, 0, &none), 1);
    }
    if (awaited != NULL) {
        assert_int_equal(nt_int(awaited), 1);
        p->rounds--;
        assert_int_equal(neap_sock_send(p->sock, "o", 1, 0, &none), 1);
    }
    for (;;) {
        if (p->rounds == 0)
            return NEAP_STEP_DONE;
        int32_t n = neap_sock_recv(p->sock, &p->c, 1, 0, &future);
        if (n == NEAP_PENDING)
            break;
        assert_int_equal(n, 1);
        p->rounds--;
        assert_int_equal(neap_sock_send(p->sock, "o", 1, 0, &none), 1);
    }
    assert_ok(neap_task_await(task, future));
    neap_future_unref(future);
    return NEAP_STEP_AWAIT;
}

static const neap_task_ops player_ops = {.size = sizeof(neap_task_ops), .step = player_step};

static void N19_two_tasks_play_ping_pong_a_thousand_times(void **state) {
    (void)state;
    player a = {.serves = 1, .rounds = 1000};
    player b = {.rounds = 1000};
    neap_task *task_a = NULL;
    neap_task *task_b = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a.sock, &b.sock));
    assert_ok(neap_task_spawn(nt.loop, &player_ops, &a, NULL, &task_a));
    assert_ok(neap_task_spawn(nt.loop, &player_ops, &b, NULL, &task_b));
    nt_until_task(task_a);
    nt_until_task(task_b);
    assert_int_equal(a.rounds, 0);
    assert_int_equal(b.rounds, 0);
    neap_task_unref(task_a);
    neap_task_unref(task_b);
    net_end(a.sock);
    net_end(b.sock);
}

static void N19_a_loop_whose_tasks_all_wait_blocks_in_the_poll(void **state) {
    (void)state;
    enum {
        N = 10
    };
    neap_sock *pairs[N][2];
    static char bufs[N][8];
    neap_future *futures[N];
    for (int i = 0; i < N; i++) {
        assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &pairs[i][0], &pairs[i][1]));
        futures[i] = net_park_recv(pairs[i][0], bufs[i], sizeof bufs[i]);
    }
    nt_turn();
    neap_metrics before = nt_metrics();
    neap_future *slept = nt_sleep(200 * NT_MS);
    nt_until(slept);
    neap_metrics after = nt_metrics();
    /* One wait for the timer; a second if the kernel's clock is coarser than ours. */
    assert_true(after.polls - before.polls <= 4);
    assert_true(after.ticks - before.ticks <= 4);
    neap_future_unref(slept);
    for (int i = 0; i < N; i++) {
        net_end(pairs[i][0]);
        net_end(pairs[i][1]);
        net_failure(futures[i], NEAP_ECLOSED);
    }
}

/* ---- The chain of one receive ---------------------------------------------------------------- */

static void N18_one_receive_passes_its_seven_stations_in_order(void **state) {
    (void)state;
    int peer;
    char buf[8];
    nt_script script;
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    neap_task *task = nt_spawn(&script, "reader", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turns(2);
    net_put(peer, "abc");
    net_wait(neap_sock_fd(conn), POLLIN);
    nt_trace_start();
    nt_turn();
    nt_trace_stop();
    static const int32_t chain[] = {NEAP_TRACE_POLL,   NEAP_TRACE_READY, NEAP_TRACE_IO,
                                    NEAP_TRACE_SETTLE, NEAP_TRACE_WAKE,  NEAP_TRACE_STEP,
                                    NEAP_TRACE_DONE};
    size_t station = 0;
    size_t n = sizeof chain / sizeof chain[0];
    for (size_t i = 0; i < nt.n_traces && station < n; i++) {
        const nt_trace *t = &nt.traces[i];
        if (t->kind != chain[station])
            continue;
        if (t->kind == NEAP_TRACE_READY)
            assert_int_equal(t->value, neap_sock_fd(conn));
        if (t->kind == NEAP_TRACE_IO)
            assert_int_equal(t->value, 3);
        if (t->kind == NEAP_TRACE_SETTLE)
            assert_ptr_equal(t->future, future);
        if (t->kind == NEAP_TRACE_WAKE || t->kind == NEAP_TRACE_STEP)
            assert_ptr_equal(t->task, task);
        station++;
    }
    if (station < n)
        for (size_t i = 0; i < nt.n_traces; i++)
            print_error("trace %zu: %s\n", i, nt_trace_word(nt.traces[i].kind));
    assert_int_equal(station, n);
    assert_int_equal(nt_int(neap_task_future(task)), 3);
    neap_task_unref(task);
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

/* ---- Socket operations written over watches, as a user may ----------------------------------- */

typedef struct own_op {
    int fd;
    const char *out; /* what is to be sent, or NULL for a receive */
    size_t len;
    char in[64];
    neap_future *future; /* its own reference */
} own_op;

static void own_recv_ready(void *user) {
    own_op *op = user;
    ssize_t n = recv(op->fd, op->in, sizeof op->in, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    neap_remove_reader(nt.loop, op->fd);
    if (n < 0)
        neap_future_set_error(op->future, -errno, NULL);
    else
        neap_future_set_int(op->future, n);
}

static void own_send_ready(void *user) {
    own_op *op = user;
    ssize_t n = send(op->fd, op->out, op->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        neap_remove_writer(nt.loop, op->fd);
        neap_future_set_error(op->future, -errno, NULL);
        return;
    }
    op->out += n;
    op->len -= (size_t)n;
    if (op->len > 0)
        return;
    neap_remove_writer(nt.loop, op->fd);
    neap_future_set_none(op->future);
}

static void own_recv(own_op *op, int fd) {
    *op = (own_op){.fd = fd, .future = nt_future()};
    assert_int_equal(neap_add_reader(nt.loop, fd, own_recv_ready, op, NULL), 0);
}

static void own_sendall(own_op *op, int fd, const char *data, size_t len) {
    *op = (own_op){.fd = fd, .out = data, .len = len, .future = nt_future()};
    assert_int_equal(neap_add_writer(nt.loop, fd, own_send_ready, op, NULL), 0);
}

static void N7_a_receive_written_over_add_reader_works(void **state) {
    (void)state;
    int fds[2];
    own_op op;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    own_recv(&op, fds[0]);
    nt_turns(2);
    net_put(fds[1], "abc");
    nt_until(op.future);
    assert_int_equal(nt_int(op.future), 3);
    assert_memory_equal(op.in, "abc", 3);
    neap_future_unref(op.future);
    own_recv(&op, fds[0]);
    net_close(fds[1]);
    nt_until(op.future);
    assert_int_equal(nt_int(op.future), 0);
    neap_future_unref(op.future);
    net_close(fds[0]);
}

static void N7_a_sendall_written_over_add_writer_survives_partial_writes(void **state) {
    (void)state;
    enum {
        LEN = 1 << 20
    };
    int fds[2];
    own_op op;
    char *data = malloc(LEN);
    char *back = malloc(LEN);
    assert_non_null(data);
    assert_non_null(back);
    net_fill_pattern((unsigned char *)data, LEN, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    own_sendall(&op, fds[0], data, LEN);
    for (size_t have = 0; have < LEN;) {
        ssize_t n = recv(fds[1], back + have, LEN - have, MSG_DONTWAIT);
        if (n > 0)
            have += (size_t)n;
        else
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    }
    nt_until(op.future);
    assert_code(neap_future_error(op.future), 0);
    net_expect_pattern((unsigned char *)back, LEN, 0);
    neap_future_unref(op.future);
    net_close(fds[0]);
    net_close(fds[1]);
    free(data);
    free(back);
}

static void N7_an_error_of_such_an_operation_is_the_futures(void **state) {
    (void)state;
    int fds[2];
    own_op op;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    net_close(fds[1]);
    own_sendall(&op, fds[0], "x", 1);
    nt_until(op.future);
    assert_code(neap_future_error(op.future), NEAP_EPIPE);
    neap_future_unref(op.future);
    net_close(fds[0]);
}

/* ---- The one-shot style: wait for readiness, then call the system ---------------------------- */

typedef struct raw_echo {
    int fd;
    int closed;
} raw_echo;

static int32_t raw_echo_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    raw_echo *e = user;
    neap_future *future = NULL;
    (void)wake;
    int32_t ready = awaited != NULL ? NEAP_READ : 0;
    for (;;) {
        if (ready == 0)
            ready = neap_fd_ready(nt.loop, e->fd, NEAP_READ, 0, &future);
        if (ready == NEAP_PENDING) {
            assert_ok(neap_task_await(task, future));
            neap_future_unref(future);
            return NEAP_STEP_AWAIT;
        }
        assert_int_equal(ready, NEAP_READ);
        char buf[64];
        ssize_t n = recv(e->fd, buf, sizeof buf, 0);
        if (n <= 0) {
            net_close(e->fd);
            e->closed = 1;
            return NEAP_STEP_DONE;
        }
        net_write(e->fd, buf, (size_t)n);
        ready = 0;
    }
}

static const neap_task_ops raw_echo_ops = {.size = sizeof(neap_task_ops), .step = raw_echo_step};

static void N15_a_task_that_waits_for_descriptors_echoes(void **state) {
    (void)state;
    int fds[2];
    raw_echo e = {0};
    neap_task *task = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    e.fd = fds[0];
    assert_ok(neap_task_spawn(nt.loop, &raw_echo_ops, &e, NULL, &task));
    for (int i = 0; i < 20; i++) {
        net_put(fds[1], "hello");
        while (!net_is(fds[1], POLLIN))
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
        net_expect(fds[1], "hello");
    }
    net_close(fds[1]);
    nt_until_task(task);
    assert_int_equal(e.closed, 1);
    neap_task_unref(task);
}

/* Sleeps a while and asserts that the loop slept too: a poll for the timer, and a few for what was
   announced once. */
static void expect_idle(void) {
    neap_metrics before = nt_metrics();
    neap_future *slept = nt_sleep(100 * NT_MS);
    nt_until(slept);
    neap_future_unref(slept);
    assert_true(nt_metrics().polls - before.polls <= 6);
}

static void N19_a_peer_that_went_away_keeps_no_loop_busy(void **state) {
    (void)state;
    char buf[2][8];
    int gone;
    int peer;
    neap_sock *at_end = net_tcp(&gone);
    neap_sock *conn = net_tcp(&peer);
    neap_future *other = net_park_recv(conn, buf[1], sizeof buf[1]);
    neap_future *future = net_park_recv(at_end, buf[0], sizeof buf[0]);
    net_put(gone, "abc");
    net_close(gone);
    net_result(future, 3); /* the end is not taken */
    expect_idle();
    net_end(at_end);
    net_end(conn);
    net_failure(other, NEAP_ECLOSED);
    net_close(peer);
}

static void N19_bytes_that_nobody_receives_keep_no_loop_busy(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    net_stuff(conn);
    neap_future *future = net_park_sendall(conn, "tail", 4); /* parked in the other direction */
    net_put(peer, "unread");
    net_wait(neap_sock_fd(conn), POLLIN);
    expect_idle();
    net_end(conn);
    net_failure(future, NEAP_ECLOSED);
    net_close(peer);
}

static void N19_a_half_closed_peer_keeps_no_loop_busy_while_a_send_waits(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_unix(&peer);
    net_stuff(conn);
    neap_future *future = net_park_sendall(conn, "tail", 4);
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    net_wait(neap_sock_fd(conn), POLLIN);
    expect_idle();
    assert_state(future, NEAP_STATE_PENDING);
    net_end(conn);
    net_failure(future, NEAP_ECLOSED);
    net_close(peer);
}

static void N19_room_to_send_that_nobody_uses_keeps_no_loop_busy(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    expect_idle();
    net_end(conn);
    net_failure(future, NEAP_ECLOSED);
    net_close(peer);
}

static void N19_connections_in_the_queue_that_nobody_accepts_keep_no_loop_busy(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_addr addr;
    neap_sock *conn = net_tcp(&peer);
    neap_sock *listener = net_listener(&addr);
    neap_future *recv = net_park_recv(conn, buf, sizeof buf);
    neap_future *accept = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    int second = net_raw_connect(&addr);
    neap_sock *taken = net_accepted(accept);
    expect_idle();
    net_end(taken);
    net_end(listener);
    net_end(conn);
    net_failure(recv, NEAP_ECLOSED);
    net_close(client);
    net_close(second);
    net_close(peer);
}

static intptr_t wake_and_post(void *user) {
    for (int i = 0; i < 3; i++) {
        if (neap_loop_wake(nt.loop) != 0)
            return 1;
        if (neap_loop_post(nt.loop, nt_note_fn, user, NULL) != 0)
            return 2;
    }
    return 0;
}

static void N19_a_wake_from_another_thread_keeps_no_loop_busy(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_turn();
    assert_int_equal(nt_in_thread(wake_and_post, (void *)"posted"), 0);
    nt_turns(3);
    assert_notes("posted posted posted");
    expect_idle();
    net_end(conn);
    net_failure(future, NEAP_ECLOSED);
    net_close(peer);
}

NT_MAIN(NT_TEST(N6_an_echo_server_of_tasks_gives_each_client_its_own_bytes),
        NT_TEST(N6_a_thousand_cycles_of_connect_and_close_leave_no_descriptor),
        NT_TEST(N19_two_tasks_play_ping_pong_a_thousand_times),
        NT_TEST(N19_a_loop_whose_tasks_all_wait_blocks_in_the_poll),
        NT_TEST(N18_one_receive_passes_its_seven_stations_in_order),
        NT_TEST(N7_a_receive_written_over_add_reader_works),
        NT_TEST(N7_a_sendall_written_over_add_writer_survives_partial_writes),
        NT_TEST(N7_an_error_of_such_an_operation_is_the_futures),
        NT_TEST(N15_a_task_that_waits_for_descriptors_echoes),
        NT_TEST(N19_a_peer_that_went_away_keeps_no_loop_busy),
        NT_TEST(N19_bytes_that_nobody_receives_keep_no_loop_busy),
        NT_TEST(N19_a_half_closed_peer_keeps_no_loop_busy_while_a_send_waits),
        NT_TEST(N19_room_to_send_that_nobody_uses_keeps_no_loop_busy),
        NT_TEST(N19_connections_in_the_queue_that_nobody_accepts_keep_no_loop_busy),
        NT_TEST(N19_a_wake_from_another_thread_keeps_no_loop_busy))
