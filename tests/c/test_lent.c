/* Receives into memory that the loop lends: who may read it, for how long, and what is given
   back. */
#include "net.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- A task that receives into lent memory --------------------------------------------------- */

typedef struct reader {
    neap_sock *sock;
    size_t max;
    size_t want;   /* ends after so many bytes, or at the end of the stream */
    char got[256]; /* what the steps read */
    size_t len;
    int waits;         /* receives that had to wait */
    int at_once;       /* receives that had not */
    int cancels;       /* cancellations delivered */
    int32_t code;      /* what a receive failed with */
    int datagrams;     /* recvfrom_lent instead */
    neap_addr from;    /* of the last datagram */
    neap_future *keep; /* the first future, kept beyond the step if keeps is set */
    int keeps;
    int gives_back; /* bytes to give back of the first receive */
} reader;

/* Takes what a receive brought; 1 if that was enough. */
static int reader_take(reader *r, const void *data, size_t n) {
    if (n == 0)
        return 1;
    size_t back = (size_t)r->gives_back < n ? (size_t)r->gives_back : n;
    r->gives_back = 0;
    assert_true(r->len + n < sizeof r->got);
    memcpy(r->got + r->len, data, n - back);
    r->len += n - back;
    if (back > 0)
        assert_ok(neap_sock_unrecv(r->sock, (const char *)data + n - back, back));
    return r->len >= r->want;
}

static int32_t reader_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    reader *r = user;
    if (wake == NEAP_WAKE_CANCEL ||
        (awaited != NULL && neap_future_state(awaited) == NEAP_STATE_CANCELLED)) {
        r->cancels++;
        return NEAP_STEP_CANCELLED;
    }
    if (awaited != NULL) {
        const void *data = NULL;
        size_t n = 0;
        r->code = neap_future_error(awaited);
        if (r->code != 0)
            return NEAP_STEP_DONE;
        assert_int_equal(neap_future_kind(awaited), NEAP_KIND_BYTES);
        assert_ok(neap_future_get_bytes(awaited, &data, &n));
        if (r->datagrams)
            assert_ok(neap_future_get_addr(awaited, &r->from));
        if (r->keeps && r->keep == NULL)
            r->keep = neap_future_ref(awaited);
        if (reader_take(r, data, n))
            return NEAP_STEP_DONE;
    }
    for (;;) {
        const void *data = NULL;
        neap_future *future = NULL;
        int32_t n = r->datagrams
                        ? neap_sock_recvfrom_lent(r->sock, r->max, 0, &data, &r->from, &future)
                        : neap_sock_recv_lent(r->sock, r->max, 0, &data, &future);
        if (n == NEAP_PENDING) {
            r->waits++;
            assert_ok(neap_task_await(task, future));
            neap_future_unref(future);
            return NEAP_STEP_AWAIT;
        }
        if (n < 0) {
            r->code = n;
            return NEAP_STEP_DONE;
        }
        r->at_once++;
        if (reader_take(r, data, (size_t)n))
            return NEAP_STEP_DONE;
    }
}

static const neap_task_ops reader_ops = {.size = sizeof(neap_task_ops), .step = reader_step};

static neap_task *spawn_reader(reader *r) {
    neap_task *task = NULL;
    assert_ok(neap_task_spawn(nt.loop, &reader_ops, r, NULL, &task));
    return task;
}

/* ---- At once --------------------------------------------------------------------------------- */

static void N1_a_lent_recv_with_data_waiting_registers_nothing(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    net_put(peer, "warm");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv_lent(conn, 64, 0, &data, &future), 4);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    neap_metrics before = nt_metrics();
    assert_int_equal(neap_sock_recv_lent(conn, 64, 0, &data, &future), 5);
    neap_metrics after = nt_metrics();
    assert_null(future);
    assert_memory_equal(data, "hello", 5);
    assert_int_equal(after.registrations, before.registrations);
    assert_int_equal(after.allocations, before.allocations);
    net_end(conn);
    net_close(peer);
}

static void a_lent_recv_takes_at_most_max(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    net_put(peer, "abcdef");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv_lent(conn, 2, 0, &data, &future), 2);
    assert_memory_equal(data, "ab", 2);
    assert_int_equal(neap_sock_recv_lent(conn, 64, 0, &data, &future), 4);
    assert_memory_equal(data, "cdef", 4);
    assert_code(neap_sock_recv_lent(conn, 64, NEAP_NOWAIT, &data, NULL), NEAP_EAGAIN);
    net_end(conn);
    net_close(peer);
}

static void a_lent_recv_tells_the_end_of_the_stream(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    net_close(peer);
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv_lent(conn, 64, 0, &data, &future), 0);
    assert_null(future);
    net_end(conn);
}

static void a_lent_recv_of_a_megabyte_is_possible(void **state) {
    (void)state;
    enum {
        LEN = 1 << 20
    };
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    unsigned char *data = malloc(LEN);
    assert_non_null(data);
    net_fill_pattern(data, LEN, 0);
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    neap_future *sending = net_park_sendall(a, data, LEN);
    for (size_t have = 0; have < LEN;) {
        const void *lent = NULL;
        neap_future *future = NULL;
        int32_t n = neap_sock_recv_lent(b, LEN, 0, &lent, &future);
        size_t len = (size_t)n;
        if (n == NEAP_PENDING) {
            nt_until(future);
            assert_ok(neap_future_get_bytes(future, &lent, &len));
        }
        assert_true(len > 0 && len <= LEN);
        net_expect_pattern(lent, len, have);
        have += len;
        neap_future_unref(future);
    }
    net_result(sending, LEN);
    free(data);
    net_end(a);
    net_end(b);
}

/* ---- A task waits ---------------------------------------------------------------------------- */

static void a_task_reads_lent_bytes_in_the_step_that_they_wake(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 10};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    nt_turns(3);
    assert_string_equal(r.got, "hello");
    net_put(peer, "world");
    nt_until_task(task);
    assert_string_equal(r.got, "helloworld");
    assert_int_equal(r.waits, 2);
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

static void a_task_sees_the_end_of_the_stream(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 100};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "bye");
    net_close(peer);
    nt_until_task(task);
    assert_string_equal(r.got, "bye");
    assert_code(r.code, 0);
    neap_task_unref(task);
    net_end(conn);
}

static void N5_a_task_sees_a_reset(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 100};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_reset(peer);
    nt_until_task(task);
    assert_code(r.code, NEAP_ECONNRESET);
    neap_task_unref(task);
    net_end(conn);
}

static void a_task_that_waits_for_lent_bytes_holds_no_buffer(void **state) {
    (void)state;
    enum {
        N = 50
    };
    neap_sock *socks[N];
    neap_sock *peers[N];
    static reader readers[N];
    neap_task *tasks[N];
    memset(readers, 0, sizeof readers);
    for (int i = 0; i < N; i++)
        assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &socks[i], &peers[i]));
    uint64_t before = nt_metrics().bytes;
    for (int i = 0; i < N; i++) {
        readers[i] = (reader){.sock = socks[i], .max = 65536, .want = 1};
        tasks[i] = spawn_reader(&readers[i]);
    }
    nt_turns(2);
    assert_int_equal(nt_metrics().operations, N);
    /* One lent buffer for all, some pages for tasks and operations: far below N buffers. */
    assert_true(nt_metrics().bytes - before < 65536 * 8);
    for (int i = 0; i < N; i++) {
        neap_future *none = NULL;
        assert_int_equal(neap_sock_sendall(peers[i], "x", 1, 0, &none), 1);
    }
    for (int i = 0; i < N; i++) {
        nt_until_task(tasks[i]);
        assert_string_equal(readers[i].got, "x");
        neap_task_unref(tasks[i]);
        net_end(socks[i]);
        net_end(peers[i]);
    }
}

static void many_tasks_woken_in_one_tick_read_their_own_bytes(void **state) {
    (void)state;
    enum {
        N = 20
    };
    neap_sock *socks[N];
    neap_sock *peers[N];
    static reader readers[N];
    neap_task *tasks[N];
    memset(readers, 0, sizeof readers);
    for (int i = 0; i < N; i++) {
        assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &socks[i], &peers[i]));
        readers[i] = (reader){.sock = socks[i], .max = 64, .want = 3};
        tasks[i] = spawn_reader(&readers[i]);
    }
    nt_turns(2);
    for (int i = 0; i < N; i++) {
        char text[3] = {'a', (char)('a' + i), 'z'};
        neap_future *none = NULL;
        assert_int_equal(neap_sock_sendall(peers[i], text, 3, 0, &none), 3);
    }
    nt_turn();
    for (int i = 0; i < N; i++) {
        char text[4] = {'a', (char)('a' + i), 'z', 0};
        assert_string_equal(readers[i].got, text);
        nt_until_task(tasks[i]);
        neap_task_unref(tasks[i]);
        net_end(socks[i]);
        net_end(peers[i]);
    }
}

static void a_future_that_outlives_the_step_keeps_a_copy(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    size_t len = 0;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 10, .keeps = 1};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "first");
    nt_turns(3);
    assert_non_null(r.keep);
    net_put(peer, "OTHER");
    nt_until_task(task);
    assert_string_equal(r.got, "firstOTHER");
    assert_ok(neap_future_get_bytes(r.keep, &data, &len));
    assert_int_equal(len, 5);
    assert_memory_equal(data, "first", 5);
    neap_future_unref(r.keep);
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

static void two_tasks_may_await_one_lent_receive(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    nt_script one;
    nt_script two;
    assert_code(neap_sock_recv_lent(conn, 64, 0, &data, &future), NEAP_PENDING);
    neap_task *a = nt_spawn(&one, "one", NT_ACTS(NT_AWAIT(future), NT_NOTE("one")));
    neap_task *b = nt_spawn(&two, "two", NT_ACTS(NT_AWAIT(future), NT_NOTE("two")));
    nt_turns(2);
    net_put(peer, "hello");
    nt_until_task(a);
    nt_until_task(b);
    assert_notes("one two");
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, 5);
    assert_memory_equal(data, "hello", 5);
    neap_future_unref(future);
    neap_task_unref(a);
    neap_task_unref(b);
    net_end(conn);
    net_close(peer);
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

typedef struct heard {
    char text[64];
    size_t len;
    int calls;
    int32_t code;
} heard;

static void hear(neap_future *future, void *user) {
    heard *h = user;
    const void *data = NULL;
    h->calls++;
    h->code = neap_future_get_bytes(future, &data, &h->len);
    if (h->code == 0 && h->len < sizeof h->text)
        memcpy(h->text, data, h->len);
}

static void a_callback_gets_bytes_that_stay(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    size_t len = 0;
    heard h = {{0}, 0, 0, 0};
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    assert_code(neap_sock_recv_lent(conn, 64, 0, &data, &future), NEAP_PENDING);
    assert_ok(neap_future_on_done(future, hear, &h, NULL, NULL));
    net_put(peer, "hello");
    nt_until(future);
    nt_settle();
    assert_int_equal(h.calls, 1);
    assert_code(h.code, 0);
    assert_string_equal(h.text, "hello");
    net_put(peer, "OTHER");
    net_wait(neap_sock_fd(conn), POLLIN);
    const void *other = NULL;
    assert_int_equal(neap_sock_recv_lent(conn, 64, NEAP_NOWAIT, &other, NULL), 5);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_memory_equal(data, "hello", 5);
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void a_lent_receive_without_any_waiter_keeps_its_bytes(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    assert_code(neap_sock_recv_lent(conn, 64, 0, &data, &future), NEAP_PENDING);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    nt_until(future);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, 5);
    assert_memory_equal(data, "hello", 5);
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

static void want_future_of_a_lent_recv_holds_the_bytes(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    size_t len = 0;
    neap_future *one = NULL;
    neap_future *two = NULL;
    neap_sock *conn = net_tcp(&peer);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_code(neap_sock_recv_lent(conn, 3, NEAP_WANT_FUTURE, &data, &one), NEAP_PENDING);
    assert_code(neap_sock_recv_lent(conn, 64, NEAP_WANT_FUTURE, &data, &two), NEAP_PENDING);
    nt_until(one);
    nt_until(two);
    assert_ok(neap_future_get_bytes(one, &data, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(data, "hel", 3);
    assert_ok(neap_future_get_bytes(two, &data, &len));
    assert_int_equal(len, 2);
    assert_memory_equal(data, "lo", 2);
    neap_future_unref(one);
    neap_future_unref(two);
    net_end(conn);
    net_close(peer);
}

static void lent_and_own_receives_share_one_queue(void **state) {
    (void)state;
    int peer;
    char buf[4] = {0};
    const void *data = NULL;
    size_t len = 0;
    neap_future *own = NULL;
    neap_future *lent = NULL;
    neap_sock *conn = net_tcp(&peer);
    assert_code(neap_sock_recv_lent(conn, 2, 0, &data, &lent), NEAP_PENDING);
    own = net_park_recv(conn, buf, 2);
    net_put(peer, "abcd");
    nt_until(own);
    nt_until(lent);
    assert_ok(neap_future_get_bytes(lent, &data, &len));
    assert_int_equal(len, 2);
    assert_memory_equal(data, "ab", 2);
    assert_string_equal(buf, "cd");
    neap_future_unref(own);
    neap_future_unref(lent);
    net_end(conn);
    net_close(peer);
}

static void a_datagram_is_lent_to_a_task_with_its_sender(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    char a[64];
    char b[64];
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    reader r = {.sock = sock, .max = 64, .want = 5, .datagrams = 1};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    assert_int_equal(sendto(peer, "hello", 5, 0, (struct sockaddr *)addr.data, addr.len), 5);
    nt_until_task(task);
    assert_string_equal(r.got, "hello");
    neap_addr_format(&from, a, sizeof a);
    neap_addr_format(&r.from, b, sizeof b);
    assert_string_equal(a, b);
    neap_task_unref(task);
    net_end(sock);
    net_close(peer);
}

/* ---- Cancel ---------------------------------------------------------------------------------- */

static void C10_a_task_cancelled_before_the_batch_has_taken_nothing(void **state) {
    (void)state;
    int peer;
    int64_t timeout;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_until_task(task);
    assert_int_equal(r.cancels, 1);
    assert_string_equal(r.got, "");
    neap_task_unref(task);
    net_recv_text(conn, "hello");
    net_end(conn);
    net_close(peer);
}

static void C10_a_future_cancelled_before_the_batch_loses_no_byte(void **state) {
    (void)state;
    int peer;
    int64_t timeout;
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    assert_code(neap_sock_recv_lent(conn, 64, 0, &data, &future), NEAP_PENDING);
    nt_turn();
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_true(neap_future_cancel(future, NULL) >= 0);
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_until(future);
    if (neap_future_state(future) == NEAP_STATE_RESULT) {
        assert_ok(neap_future_get_bytes(future, &data, &len));
        assert_int_equal(len, 5);
        assert_memory_equal(data, "hello", 5);
    } else {
        net_recv_text(conn, "hello");
    }
    neap_future_unref(future);
    net_end(conn);
    net_close(peer);
}

/* A callback that another one of the same batch precedes: it cancels the task that the poll made
   ready. */
static void cancel_task(void *user) {
    assert_int_equal(neap_task_cancel(user, NULL), 1);
}

static void C10_a_task_cancelled_in_the_batch_before_its_step_has_taken_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_ok(neap_call_soon(nt.loop, cancel_task, task, NULL, NULL));
    nt_until_task(task);
    /* Either the step came first and has all, or the cancel did and took nothing. */
    if (r.cancels == 0) {
        assert_string_equal(r.got, "hello");
    } else {
        assert_string_equal(r.got, "");
        net_recv_text(conn, "hello");
    }
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

/* A connection that others may hold, too: its bytes stay in the kernel until they are taken. */
static neap_sock *shared_tcp(int *ret_peer) {
    neap_sock *conn = net_tcp(ret_peer);
    neap_sock *shared = NULL;
    int fd = fcntl((int)neap_sock_fd(conn), F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    net_end(conn);
    assert_ok(neap_sock_adopt(nt.loop, fd, &shared));
    return shared;
}

static void bytes_that_somebody_else_took_meanwhile_are_waited_for_again(void **state) {
    (void)state;
    int peer;
    int64_t timeout;
    neap_sock *conn = shared_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    net_drain((int)neap_sock_fd(conn)); /* as a process that shares the socket would */
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_turns(3);
    assert_false(neap_future_done(neap_task_future(task)));
    net_put(peer, "again");
    nt_until_task(task);
    assert_string_equal(r.got, "again");
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

static void closing_between_the_poll_and_the_batch_ends_a_lent_receive(void **state) {
    (void)state;
    int peer;
    int64_t timeout;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
    assert_ok(neap_sock_close(conn));
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_until_task(task);
    assert_code(r.code, NEAP_ECLOSED);
    assert_string_equal(r.got, "");
    neap_task_unref(task);
    neap_sock_unref(conn);
    net_close(peer);
}

/* ---- Giving back ----------------------------------------------------------------------------- */

static void bytes_given_back_come_first(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    char buf[64] = {0};
    net_put(peer, "headbody");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv_lent(conn, 64, 0, &data, &future), 8);
    assert_ok(neap_sock_unrecv(conn, (const char *)data + 4, 4));
    net_put(peer, "tail");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv(conn, buf, 3, NEAP_NOWAIT, NULL), 3);
    assert_string_equal(buf, "bod");
    net_recv_text(conn, "ytail");
    net_end(conn);
    net_close(peer);
}

static void bytes_given_back_twice_are_stacked(void **state) {
    (void)state;
    int peer;
    char buf[4];
    neap_sock *conn = net_tcp(&peer);
    assert_ok(neap_sock_unrecv(conn, "cd", 2));
    assert_ok(neap_sock_unrecv(conn, "ab", 2));
    net_put(peer, "ef");
    net_recv_text(conn, "abcdef");
    assert_ok(neap_sock_unrecv(conn, "z", 1));
    assert_int_equal(neap_sock_recv(conn, buf, 1, NEAP_NOWAIT, NULL), 1);
    assert_int_equal(buf[0], 'z');
    net_end(conn);
    net_close(peer);
}

static void bytes_given_back_survive_the_end_of_the_stream(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    net_close(peer);
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 0);
    assert_ok(neap_sock_unrecv(conn, "late", 4));
    net_recv_text(conn, "late");
    assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 0);
    net_end(conn);
}

static void giving_back_nothing_changes_nothing(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    assert_ok(neap_sock_unrecv(conn, "", 0));
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_end(conn);
    net_close(peer);
}

static void bytes_given_back_and_never_read_are_freed_with_the_socket(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    char *data = calloc(1, 100000);
    assert_ok(neap_sock_unrecv(conn, data, 100000));
    free(data);
    net_end(conn);
    net_close(peer);
}

static void giving_back_serves_a_receive_that_waits(void **state) {
    (void)state;
    int peer;
    char buf[8] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    assert_ok(neap_sock_unrecv(conn, "abc", 3));
    assert_notes("");
    net_result(future, 3);
    assert_string_equal(buf, "abc");
    net_end(conn);
    net_close(peer);
}

static void giving_back_what_was_just_lent_cannot_fail(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *conn = net_tcp(&peer);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_int_equal(neap_sock_recv_lent(conn, 64, 0, &data, &future), 5);
    nt_heap_fail(&nt.heap, 1, 1);
    assert_ok(neap_sock_unrecv(conn, (const char *)data + 1, 4));
    nt_heap_fail(&nt.heap, 0, 0);
    net_recv_text(conn, "ello");
    net_end(conn);
    net_close(peer);
}

static void giving_back_own_bytes_without_memory_fails_and_changes_nothing(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    char *data = calloc(1, 100000);
    nt_heap_fail(&nt.heap, 1, 1);
    assert_code(neap_sock_unrecv(conn, data, 100000), NEAP_ENOMEM);
    nt_heap_fail(&nt.heap, 0, 0);
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    free(data);
    net_end(conn);
    net_close(peer);
}

static void a_task_may_give_back_in_its_step(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 8, .gives_back = 3};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "abcdefgh");
    nt_until_task(task);
    assert_string_equal(r.got, "abcdefgh");
    assert_int_equal(r.waits, 1);
    assert_int_equal(r.at_once, 1);
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

/* ---- The moment between the poll and the batch ----------------------------------------------- */

/* Polls, and leaves the batch to the caller. */
static void collect(void) {
    int64_t timeout;
    assert_true(neap_loop_prepare(nt.loop, &timeout) >= 0);
    assert_true(neap_loop_wait(nt.loop, 0) >= 0);
}

static void a_second_task_is_served_when_the_first_is_cancelled_at_the_last_moment(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader one = {.sock = conn, .max = 64, .want = 5};
    reader two = {.sock = conn, .max = 64, .want = 5};
    neap_task *first = spawn_reader(&one);
    neap_task *second = spawn_reader(&two);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    collect();
    assert_int_equal(neap_task_cancel(first, NULL), 1);
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_until_task(first);
    nt_until_task(second);
    assert_int_equal(one.cancels, 1);
    assert_string_equal(one.got, "");
    assert_string_equal(two.got, "hello");
    neap_task_unref(first);
    neap_task_unref(second);
    net_end(conn);
    net_close(peer);
}

static void two_tasks_share_what_comes_in_order(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader one = {.sock = conn, .max = 3, .want = 3};
    reader two = {.sock = conn, .max = 3, .want = 3};
    neap_task *first = spawn_reader(&one);
    neap_task *second = spawn_reader(&two);
    nt_turns(2);
    net_put(peer, "abcdef");
    nt_until_task(first);
    nt_until_task(second);
    assert_string_equal(one.got, "abc");
    assert_string_equal(two.got, "def");
    neap_task_unref(first);
    neap_task_unref(second);
    net_end(conn);
    net_close(peer);
}

static void a_receive_from_outside_does_not_overtake_a_task_about_to_read(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    collect();
    assert_code(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_until_task(task);
    assert_string_equal(r.got, "hello");
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

static void a_callback_that_comes_at_the_last_moment_gets_the_bytes_too(void **state) {
    (void)state;
    int peer;
    heard h = {{0}, 0, 0, 0};
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    collect();
    neap_future *future = neap_future_ref(neap_task_awaiting(task));
    assert_ok(neap_future_on_done(future, hear, &h, NULL, NULL));
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    nt_until_task(task);
    nt_settle();
    assert_string_equal(r.got, "hello");
    assert_string_equal(h.text, "hello");
    neap_future_unref(future);
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

static void a_small_dispatch_leaves_the_bytes_where_they_are(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = shared_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 5};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    nt_soon("before");
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    collect();
    assert_int_equal(neap_loop_dispatch(nt.loop, 1), 1);
    assert_notes("before");
    assert_true(net_is(neap_sock_fd(conn), POLLIN)); /* not taken yet */
    nt_until_task(task);
    assert_string_equal(r.got, "hello");
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

/* ---- Behind other futures -------------------------------------------------------------------- */

static void expect_bytes(neap_future *future, const char *text) {
    const void *data = NULL;
    size_t len = 0;
    nt_until(future);
    assert_int_equal(neap_future_kind(future), NEAP_KIND_BYTES);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, strlen(text));
    assert_memory_equal(data, text, len);
    neap_future_unref(future);
}

static neap_future *park_lent(neap_sock *sock) {
    const void *data = NULL;
    neap_future *future = NULL;
    assert_code(neap_sock_recv_lent(sock, 64, 0, &data, &future), NEAP_PENDING);
    return future;
}

static void bytes_pass_through_wait_for_and_shield(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    neap_future *limited = NULL;
    neap_future *shielded = NULL;
    neap_future *inner = park_lent(conn);
    assert_ok(neap_wait_for(inner, NT_SEC, &limited));
    net_put(peer, "one");
    expect_bytes(limited, "one");
    expect_bytes(inner, "one");
    inner = park_lent(conn);
    assert_ok(neap_shield(inner, &shielded));
    net_put(peer, "two");
    expect_bytes(shielded, "two");
    expect_bytes(inner, "two");
    net_end(conn);
    net_close(peer);
}

static void a_task_may_wait_for_bytes_behind_wait_for(void **state) {
    (void)state;
    int peer;
    nt_script script;
    neap_sock *conn = net_tcp(&peer);
    neap_future *limited = NULL;
    neap_future *inner = park_lent(conn);
    assert_ok(neap_wait_for(inner, NT_SEC, &limited));
    neap_task *task = nt_spawn(&script, "waiter", NT_ACTS(NT_AWAIT(limited), NT_NOTE("woken")));
    nt_turns(2);
    net_put(peer, "one");
    nt_until_task(task);
    assert_notes("woken");
    expect_bytes(limited, "one");
    neap_future_unref(inner);
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

static void gathered_receives_keep_their_bytes(void **state) {
    (void)state;
    enum {
        N = 3
    };
    int peers[N];
    neap_sock *conns[N];
    neap_future *futures[N];
    neap_future *all = NULL;
    for (int i = 0; i < N; i++) {
        conns[i] = net_tcp(&peers[i]);
        futures[i] = park_lent(conns[i]);
    }
    assert_ok(neap_gather(nt.loop, futures, N, 0, &all));
    net_put(peers[2], "c");
    net_put(peers[0], "a");
    net_put(peers[1], "b");
    nt_until(all);
    for (int i = 0; i < N; i++) {
        char text[2] = {(char)('a' + i), 0};
        expect_bytes(futures[i], text);
        net_end(conns[i]);
        net_close(peers[i]);
    }
    neap_future_unref(all);
}

static void a_limit_that_passes_loses_no_bytes(void **state) {
    (void)state;
    int peer;
    neap_future *limited = NULL;
    neap_sock *conn = net_tcp(&peer);
    neap_future *inner = park_lent(conn);
    assert_ok(neap_wait_for(inner, NT_MS, &limited));
    net_failure(limited, NEAP_ETIMEOUT);
    net_cancelled(inner);
    net_put(peer, "later");
    net_recv_text(conn, "later");
    net_end(conn);
    net_close(peer);
}

static void giving_back_serves_all_who_wait_in_order(void **state) {
    (void)state;
    int peer;
    char one[4] = {0};
    char two[4] = {0};
    char three[4] = {0};
    neap_sock *conn = net_tcp(&peer);
    neap_future *first = net_park_recv(conn, one, 2);
    neap_future *second = net_park_recv(conn, two, 2);
    neap_future *third = net_park_recv(conn, three, 2);
    assert_ok(neap_sock_unrecv(conn, "abc", 3));
    net_result(first, 2);
    net_result(second, 1);
    nt_turns(2);
    assert_state(third, NEAP_STATE_PENDING);
    net_put(peer, "de");
    net_result(third, 2);
    assert_string_equal(one, "ab");
    assert_string_equal(two, "c");
    assert_string_equal(three, "de");
    net_end(conn);
    net_close(peer);
}

static void a_second_poll_before_the_batch_changes_nothing(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    reader r = {.sock = conn, .max = 64, .want = 10};
    neap_task *task = spawn_reader(&r);
    nt_turns(2);
    uint64_t steps = neap_task_steps(task);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(conn), POLLIN);
    collect();
    net_put(peer, "world");
    collect();
    collect();
    assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    assert_true(neap_task_steps(task) <= steps + 1);
    nt_until_task(task);
    assert_string_equal(r.got, "helloworld");
    neap_task_unref(task);
    net_end(conn);
    net_close(peer);
}

NT_MAIN(NT_TEST(N1_a_lent_recv_with_data_waiting_registers_nothing),
        NT_TEST(a_lent_recv_takes_at_most_max), NT_TEST(a_lent_recv_tells_the_end_of_the_stream),
        NT_TEST(a_lent_recv_of_a_megabyte_is_possible),
        NT_TEST(a_task_reads_lent_bytes_in_the_step_that_they_wake),
        NT_TEST(a_task_sees_the_end_of_the_stream), NT_TEST(N5_a_task_sees_a_reset),
        NT_TEST(a_task_that_waits_for_lent_bytes_holds_no_buffer),
        NT_TEST(many_tasks_woken_in_one_tick_read_their_own_bytes),
        NT_TEST(a_future_that_outlives_the_step_keeps_a_copy),
        NT_TEST(two_tasks_may_await_one_lent_receive), NT_TEST(a_callback_gets_bytes_that_stay),
        NT_TEST(a_lent_receive_without_any_waiter_keeps_its_bytes),
        NT_TEST(want_future_of_a_lent_recv_holds_the_bytes),
        NT_TEST(lent_and_own_receives_share_one_queue),
        NT_TEST(a_datagram_is_lent_to_a_task_with_its_sender),
        NT_TEST(C10_a_task_cancelled_before_the_batch_has_taken_nothing),
        NT_TEST(C10_a_future_cancelled_before_the_batch_loses_no_byte),
        NT_TEST(C10_a_task_cancelled_in_the_batch_before_its_step_has_taken_nothing),
        NT_TEST(bytes_that_somebody_else_took_meanwhile_are_waited_for_again),
        NT_TEST(closing_between_the_poll_and_the_batch_ends_a_lent_receive),
        NT_TEST(bytes_given_back_come_first), NT_TEST(bytes_given_back_twice_are_stacked),
        NT_TEST(bytes_given_back_survive_the_end_of_the_stream),
        NT_TEST(giving_back_nothing_changes_nothing),
        NT_TEST(bytes_given_back_and_never_read_are_freed_with_the_socket),
        NT_TEST(giving_back_serves_a_receive_that_waits),
        NT_TEST(giving_back_what_was_just_lent_cannot_fail),
        NT_TEST(giving_back_own_bytes_without_memory_fails_and_changes_nothing),
        NT_TEST(a_task_may_give_back_in_its_step),
        NT_TEST(a_second_task_is_served_when_the_first_is_cancelled_at_the_last_moment),
        NT_TEST(two_tasks_share_what_comes_in_order),
        NT_TEST(a_receive_from_outside_does_not_overtake_a_task_about_to_read),
        NT_TEST(a_callback_that_comes_at_the_last_moment_gets_the_bytes_too),
        NT_TEST(a_small_dispatch_leaves_the_bytes_where_they_are),
        NT_TEST(bytes_pass_through_wait_for_and_shield),
        NT_TEST(a_task_may_wait_for_bytes_behind_wait_for),
        NT_TEST(gathered_receives_keep_their_bytes), NT_TEST(a_limit_that_passes_loses_no_bytes),
        NT_TEST(giving_back_serves_all_who_wait_in_order),
        NT_TEST(a_second_poll_before_the_batch_changes_nothing))
