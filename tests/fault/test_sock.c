/* Sockets, watches and signals under failing memory: as test_core.c. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

static int ok(int32_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

/* As ok, of a starting call: 1 at once, 2 pending with a future, 0 no memory. */
static int started(int32_t code, neap_future **future) {
    if (code == NEAP_PENDING) {
        assert_non_null(*future);
        return 2;
    }
    assert_null(*future);
    return ok(code);
}

static void end(neap_loop *loop) {
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
}

static void settle(neap_loop *loop) {
    for (int quiet = 0; quiet < 3;) {
        int32_t n = neap_loop_run_once(loop, 0);
        assert_true(n >= 0 || n == NEAP_ENOMEM);
        quiet = n == 0 ? quiet + 1 : 0;
    }
}

static int pair(neap_loop *loop, neap_sock **a, neap_sock **b) {
    *a = NULL;
    *b = NULL;
    if (ok(neap_sock_pair(loop, NEAP_UNIX, a, b)))
        return 1;
    assert_null(*a);
    assert_null(*b);
    return 0;
}

/* The future has an outcome; what it says, with nobody having to hear of a failure. */
static int32_t outcome(neap_future *future) {
    assert_int_equal(neap_future_done(future), 1);
    return neap_future_error(future);
}

/* ---- Scenarios ------------------------------------------------------------------------------- */

static void a_pair_is_made(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    if (loop == NULL)
        return;
    pair(loop, &a, &b);
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

static void bytes_go_through_at_once(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *future = NULL;
    char buf[8];
    if (loop == NULL)
        return;
    if (pair(loop, &a, &b)) {
        /* What is there at once needs no memory. */
        assert_int_equal(neap_sock_send(a, "abc", 3, 0, &future), 3);
        assert_int_equal(neap_sock_recv(b, buf, sizeof buf, 0, &future), 3);
        assert_null(future);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

static void a_pending_receive_gets_its_bytes(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *future = NULL;
    neap_future *sent = NULL;
    char buf[8] = "";
    if (loop == NULL)
        return;
    if (pair(loop, &a, &b)) {
        int how = started(neap_sock_recv(b, buf, sizeof buf, 0, &future), &future);
        assert_int_equal(neap_sock_send(a, "abc", 3, 0, &sent), 3);
        settle(loop);
        if (how == 2) {
            assert_ok(outcome(future));
            assert_int_equal(nt_int(future), 3);
            neap_future_unref(future);
        } else {
            /* The bytes are still there. */
            future = NULL;
            assert_int_equal(neap_sock_recv(b, buf, sizeof buf, 0, &future), 3);
        }
        assert_memory_equal(buf, "abc", 3);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

static void lent_bytes_are_not_lost(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *future = NULL;
    neap_future *sent = NULL;
    const void *data = NULL;
    size_t len = 0;
    if (loop == NULL)
        return;
    if (pair(loop, &a, &b)) {
        int how = started(neap_sock_recv_lent(b, 100, 0, &data, &future), &future);
        assert_int_equal(neap_sock_send(a, "abcdef", 6, 0, &sent), 6);
        settle(loop);
        if (how == 2 && neap_future_done(future) && neap_future_error(future) == 0) {
            assert_ok(neap_future_get_bytes(future, &data, &len));
            assert_int_equal(len, 6);
            assert_memory_equal(data, "abcdef", 6);
        } else {
            /* Cancelled or failed, nothing was taken: the next receive finds it. */
            char buf[8];
            neap_future *again = NULL;
            if (how == 2) {
                neap_future_cancel(future, NULL);
                settle(loop);
                assert_int_equal(neap_future_done(future), 1);
            }
            int32_t n = neap_sock_recv(b, buf, sizeof buf, 0, &again);
            if (n != NEAP_ENOMEM) {
                assert_int_equal(n, 6);
                assert_memory_equal(buf, "abcdef", 6);
            }
        }
        neap_future_unref(future);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    settle(loop);
    end(loop);
}

static void bytes_given_back_are_received_again(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *future = NULL;
    char buf[16];
    if (loop == NULL)
        return;
    if (pair(loop, &a, &b)) {
        int given = ok(neap_sock_unrecv(b, "back", 4));
        assert_int_equal(neap_sock_send(a, "more", 4, 0, &future), 4);
        int32_t n = neap_sock_recv(b, buf, 4, 0, &future);
        assert_int_equal(n, 4);
        assert_memory_equal(buf, given ? "back" : "more", 4);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

static void a_long_send_is_whole_or_tells_how_much_went(void) {
    enum {
        LEN = 1 << 20
    };
    static char out[LEN];
    static char in[LEN];
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *sent = NULL;
    if (loop == NULL)
        return;
    for (int i = 0; i < LEN; i++)
        out[i] = (char)(i * 31);
    if (pair(loop, &a, &b)) {
        int how = started(neap_sock_sendall(a, out, LEN, 0, &sent), &sent);
        int got = 0;
        for (int idle = 0; idle < 5;) {
            neap_future *none = NULL;
            int32_t n = neap_sock_recv(b, in + got, (size_t)(LEN - got), NEAP_NOWAIT, &none);
            assert_true(n >= 0 || n == NEAP_EAGAIN);
            got += n > 0 ? n : 0;
            idle = n > 0 ? 0 : idle + 1;
            settle(loop);
        }
        assert_memory_equal(in, out, (size_t)got);
        if (how == 2) {
            int32_t code = outcome(sent);
            assert_true(code == 0 || code == NEAP_ENOMEM);
            assert_int_equal(got, code == 0 ? LEN : (int)neap_future_partial(sent));
            neap_future_unref(sent);
        }
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

static void a_connection_is_accepted_once(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *listener = NULL, *client = NULL, *accepted = NULL;
    neap_future *accepting = NULL, *connecting = NULL;
    neap_addr addr;
    if (loop == NULL)
        return;
    assert_ok(neap_addr_parse("127.0.0.1:0", &addr));
    int ready = ok(neap_sock_new(loop, NEAP_TCP, NEAP_AF_INET, &listener)) &&
                ok(neap_sock_new(loop, NEAP_TCP, NEAP_AF_INET, &client));
    if (ready) {
        assert_ok(neap_sock_bind(listener, &addr));
        assert_ok(neap_sock_listen(listener, 0));
        assert_ok(neap_sock_local(listener, &addr));
        int accepts =
            started(neap_sock_accept(listener, 0, &accepted, NULL, &accepting), &accepting);
        assert_null(accepted);
        int connects = started(neap_sock_connect(client, &addr, 0, &connecting), &connecting);
        for (int i = 0; i < 50; i++)
            assert_true(neap_loop_run_once(loop, NT_MS) >= 0);
        if (connects == 2) {
            assert_ok(outcome(connecting));
            neap_future_unref(connecting);
        }
        if (accepts == 2 && connects != 0) {
            int32_t code = outcome(accepting);
            assert_true(code == 0 || code == NEAP_ENOMEM);
            if (code == 0)
                assert_ok(neap_future_take_sock(accepting, &accepted));
        }
        neap_future_unref(accepting);
        if (accepted == NULL && connects != 0) {
            /* No memory then: the connection is still in the queue. */
            neap_future *again = NULL;
            int32_t code = neap_sock_accept(listener, NEAP_NOWAIT, &accepted, NULL, &again);
            assert_true(code == 0 || code == NEAP_ENOMEM);
        }
    }
    neap_sock_unref(accepted);
    neap_sock_unref(client);
    neap_sock_unref(listener);
    settle(loop);
    end(loop);
}

static void pending_operations_end_with_their_socket(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *futures[3] = {NULL, NULL, NULL};
    const void *data = NULL;
    char buf[8];
    int called = 0, expected = 0;
    if (loop == NULL)
        return;
    if (pair(loop, &a, &b)) {
        started(neap_sock_recv(a, buf, sizeof buf, 0, &futures[0]), &futures[0]);
        started(neap_sock_recv(a, buf, sizeof buf, 0, &futures[1]), &futures[1]);
        started(neap_sock_recv_lent(b, 8, 0, &data, &futures[2]), &futures[2]);
        for (int i = 0; i < 3; i++)
            if (futures[i] != NULL)
                expected += ok(
                    neap_future_on_done(futures[i], nt_note_future_fn, NT_WORD("x"), NULL, NULL));
        assert_ok(neap_sock_close(a));
        assert_ok(neap_sock_close(b));
        settle(loop);
        for (int i = 0; i < 3; i++) {
            if (futures[i] != NULL)
                assert_code(outcome(futures[i]), NEAP_ECLOSED);
            neap_future_unref(futures[i]);
        }
        for (const char *p = nt.notes; *p != '\0'; p++)
            called += *p == 'x';
        assert_int_equal(called, expected);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

static void a_batch_that_waits_loses_nothing(void) {
    enum {
        N = 3
    };
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a = NULL, *b = NULL;
    neap_future *future = NULL;
    char bytes[N] = "xyz";
    char in[N] = "";
    neap_msg out[N] = {{.data = &bytes[0], .len = 1},
                       {.data = &bytes[1], .len = 1},
                       {.data = &bytes[2], .len = 1}};
    neap_msg room[N] = {
        {.data = &in[0], .cap = 1}, {.data = &in[1], .cap = 1}, {.data = &in[2], .cap = 1}};
    if (loop == NULL)
        return;
    if (ok(neap_sock_pair(loop, NEAP_UNIX_DGRAM, &a, &b))) {
        int how = started(neap_sock_recv_many(b, room, sizeof *room, N, 0, &future), &future);
        assert_int_equal(neap_sock_send_many(a, out, sizeof *out, N, NEAP_NOWAIT, NULL), N);
        settle(loop);
        if (how == 2)
            assert_ok(outcome(future));
        else
            assert_int_equal(neap_sock_recv_many(b, room, sizeof *room, N, NEAP_NOWAIT, NULL), N);
        assert_memory_equal(in, bytes, N);
        neap_future_unref(future);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

/* As a future, by each kind of receive: what there is no future for stays. */
static void bytes_given_back_wait_for_a_future(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    char buf[16] = "";
    neap_fds fds = {.size = sizeof fds};
    if (loop == NULL)
        return;
    if (pair(loop, &a, &b)) {
        int left = ok(neap_sock_unrecv(b, "abcdef", 6)) ? 3 : 0;
        for (int tries = 0; left > 0 && tries < 9; tries++) {
            neap_future *f = NULL;
            int32_t rc = tries % 2 == 0 ? neap_sock_recv(b, buf, 2, NEAP_WANT_FUTURE, &f)
                                        : neap_sock_recv_fds(b, buf, 2, &fds, NEAP_WANT_FUTURE, &f);
            if (started(rc, &f) == 2) {
                assert_ok(outcome(f));
                assert_int_equal(nt_int(f), 2);
                assert_memory_equal(buf, &"efcdab"[2 * --left], 2);
            }
            neap_future_unref(f);
        }
        while (left > 0) { /* without a future none is needed */
            assert_int_equal(neap_sock_recv(b, buf, 2, NEAP_NOWAIT, NULL), 2);
            assert_memory_equal(buf, &"efcdab"[2 * --left], 2);
        }
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
}

/* A message with a descriptor that was there before anybody asked: taken whole, or left whole. */
static void a_message_that_is_there_is_received_whole_or_stays(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    char byte = 0;
    neap_fd got = -1, own;
    neap_fds fds = {.size = sizeof fds, .fds = &got, .max = 1};
    neap_future *f = NULL;
    int ends[2];
    if (loop == NULL)
        return;
    assert_int_equal(pipe(ends), 0);
    own = ends[1];
    if (pair(loop, &a, &b)) {
        assert_int_equal(neap_sock_send_fds(a, "x", 1, &own, 1, 0, &f), 1);
        if (started(neap_sock_recv_fds(b, &byte, 1, &fds, NEAP_WANT_FUTURE, &f), &f) == 2) {
            assert_ok(outcome(f));
            assert_ok(neap_future_take_fds(f, &fds));
        } else {
            f = NULL;
            assert_int_equal(neap_sock_recv_fds(b, &byte, 1, &fds, 0, &f), 1);
        }
        assert_int_equal(byte, 'x');
        assert_int_equal(fds.len, 1);
        assert_int_equal(close((int)got), 0);
        neap_future_unref(f);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

/* The writing end of a pipe travels, both sides waiting; in the end nobody has it who should not. */
static void a_descriptor_arrives_or_is_closed(void) {
    static char zeros[65536];
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *sent = NULL, *received = NULL;
    int ends[2];
    char byte;
    neap_fd fd, got = -1;
    neap_fds fds = {.size = sizeof fds, .fds = &got, .max = 1};
    if (loop == NULL)
        return;
    assert_int_equal(pipe(ends), 0);
    fd = ends[1];
    if (pair(loop, &a, &b)) {
        while (neap_sock_send(a, zeros, sizeof zeros, NEAP_NOWAIT, NULL) > 0)
            ;
        int how = started(neap_sock_send_fds(a, "x", 1, &fd, 1, 0, &sent), &sent);
        while (neap_sock_recv(b, zeros, sizeof zeros, NEAP_NOWAIT, NULL) > 0)
            ;
        int waits =
            started(neap_sock_recv_fds(b, zeros, sizeof zeros, &fds, 0, &received), &received);
        settle(loop);
        if (how == 2 && waits == 2 && outcome(sent) == 0 && outcome(received) == 0) {
            assert_ok(neap_future_take_fds(received, &fds));
            assert_int_equal(fds.len, 1);
            assert_int_equal(close((int)got), 0);
        }
        neap_future_unref(sent);
        neap_future_unref(received);
    }
    neap_sock_unref(a);
    neap_sock_unref(b);
    end(loop);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

static void watches(void) {
    neap_loop *loop = nt_fault_loop(0);
    int ends[2];
    int calls = 0, destroyed = 0;
    neap_future *ready = NULL;
    if (loop == NULL)
        return;
    assert_int_equal(pipe(ends), 0);
    int watched = ok(neap_add_reader(loop, ends[0], nt_count_fn, &calls, NULL));
    int writes = ok(neap_add_writer(loop, ends[1], nt_count_fn, &destroyed, nt_count_fn));
    (void)writes;
    assert_int_equal(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 5; i++)
        assert_true(neap_loop_run_once(loop, 0) >= 0);
    assert_int_equal(calls > 0, watched);
    assert_int_equal(neap_remove_reader(loop, ends[0]), watched);
    assert_true(neap_remove_writer(loop, ends[1]) >= 0);
    assert_true(destroyed >= 1);
    int how = started(neap_fd_ready(loop, ends[0], NEAP_READ, 0, &ready), &ready);
    settle(loop);
    if (how == 2) {
        assert_ok(outcome(ready));
        neap_future_unref(ready);
    }
    close(ends[0]);
    close(ends[1]);
    end(loop);
}

static int arrivals;

static void arrived(int32_t signo, void *user) {
    (void)signo;
    (void)user;
    arrivals++;
}

static void signals(void) {
    neap_loop *loop = nt_fault_loop(0);
    struct sigaction before, after;
    neap_handle *handle = NULL;
    int destroyed = 0;
    if (loop == NULL)
        return;
    arrivals = 0;
    assert_int_equal(sigaction(SIGUSR2, NULL, &before), 0);
    if (ok(neap_signal_watch(loop, SIGUSR2, 0, arrived, &destroyed, nt_count_fn, &handle))) {
        assert_int_equal(raise(SIGUSR2), 0);
        settle(loop);
        assert_int_equal(arrivals, 1);
        assert_int_equal(neap_handle_cancel(handle), 1);
    }
    assert_int_equal(destroyed, 1);
    neap_handle_unref(handle);
    end(loop);
    assert_int_equal(sigaction(SIGUSR2, NULL, &after), 0);
    assert_true(before.sa_handler == after.sa_handler);
}

static void a_loop_is_closed_with_operations_pending(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_sock *a, *b;
    neap_future *future = NULL;
    char buf[8];
    int ends[2];
    neap_future *ready = NULL;
    if (loop == NULL)
        return;
    assert_int_equal(pipe(ends), 0);
    started(neap_fd_ready(loop, ends[0], NEAP_READ, 0, &ready), &ready);
    if (pair(loop, &a, &b))
        started(neap_sock_recv(a, buf, sizeof buf, 0, &future), &future);
    assert_ok(neap_loop_close(loop, 0));
    if (future != NULL)
        assert_code(outcome(future), NEAP_ECLOSED);
    if (ready != NULL)
        assert_code(outcome(ready), NEAP_ECLOSED);
    neap_future_unref(future);
    neap_future_unref(ready);
    neap_sock_unref(a);
    neap_sock_unref(b);
    neap_loop_unref(loop);
    close(ends[0]);
    close(ends[1]);
}

/* A bind that fails leaves the address to the other place. */
static void two_places_listen(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_listeners *listeners = NULL;
    neap_sock *sock = NULL;
    neap_addr addr;
    assert_ok(neap_addr_parse("127.0.0.1:0", &addr));
    if (loop == NULL)
        return;
    if (ok(neap_listeners_new(&nt.heap.hook, 2, &listeners))) {
        assert_ok(neap_loop_set_listeners(loop, listeners, 1));
        if (ok(neap_sock_new(loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock))) {
            assert_ok(neap_sock_bind(sock, &addr));
            if (!ok(neap_sock_listen(sock, 0)))
                (void)ok(neap_sock_listen(sock, 0));
        }
    }
    neap_sock_unref(sock);
    end(loop);
    neap_listeners_unref(listeners);
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(a_pair_is_made)
SWEEP(bytes_go_through_at_once)
SWEEP(a_pending_receive_gets_its_bytes)
SWEEP(lent_bytes_are_not_lost)
SWEEP(bytes_given_back_are_received_again)
SWEEP(a_long_send_is_whole_or_tells_how_much_went)
SWEEP(a_connection_is_accepted_once)
SWEEP(pending_operations_end_with_their_socket)
SWEEP(a_batch_that_waits_loses_nothing)
SWEEP(a_descriptor_arrives_or_is_closed)
SWEEP(bytes_given_back_wait_for_a_future)
SWEEP(a_message_that_is_there_is_received_whole_or_stays)
SWEEP(watches)
SWEEP(signals)
SWEEP(a_loop_is_closed_with_operations_pending)
SWEEP(two_places_listen)

NT_MAIN(NT_TEST_BARE(under_failing_memory_a_pair_is_made),
        NT_TEST_BARE(under_failing_memory_bytes_go_through_at_once),
        NT_TEST_BARE(under_failing_memory_a_pending_receive_gets_its_bytes),
        NT_TEST_BARE(under_failing_memory_lent_bytes_are_not_lost),
        NT_TEST_BARE(under_failing_memory_bytes_given_back_are_received_again),
        NT_TEST_BARE(under_failing_memory_a_long_send_is_whole_or_tells_how_much_went),
        NT_TEST_BARE(under_failing_memory_a_connection_is_accepted_once),
        NT_TEST_BARE(under_failing_memory_pending_operations_end_with_their_socket),
        NT_TEST_BARE(under_failing_memory_a_batch_that_waits_loses_nothing),
        NT_TEST_BARE(under_failing_memory_a_descriptor_arrives_or_is_closed),
        NT_TEST_BARE(under_failing_memory_bytes_given_back_wait_for_a_future),
        NT_TEST_BARE(under_failing_memory_a_message_that_is_there_is_received_whole_or_stays),
        NT_TEST_BARE(under_failing_memory_watches), NT_TEST_BARE(under_failing_memory_signals),
        NT_TEST_BARE(under_failing_memory_a_loop_is_closed_with_operations_pending),
        NT_TEST_BARE(under_failing_memory_two_places_listen))
