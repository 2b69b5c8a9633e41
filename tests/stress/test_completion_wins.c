/* Completion wins: over randomised schedules of starts, cancels, arrivals and half turns, no
   connection, byte or item is ever lost.  The schedules follow from one seed: NEAP_TEST_SEED (a
   number), of which a failure tells; how many there are: NEAP_TEST_SCHEDULES. */
#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SCHEDULES = 20000,
    SCHEDULES_SLOW = 1000,
    BATCH = 64, /* schedules that share their sockets */
    OPS = 6,    /* operations per schedule */
    MOVES = 16  /* moves per schedule */
};

static uint64_t seed_of_schedule;

#define check(condition)                                                                  \
    do {                                                                                  \
        if (!(condition))                                                                 \
            fail_msg("schedule with seed %llu: %s", (unsigned long long)seed_of_schedule, \
                     #condition);                                                         \
    } while (0)

/* How the operations that had to wait ended, over all schedules of a test: both must have
   happened. */
static long n_completed;
static long n_cancelled;

static void count_outcome(int32_t code) {
    check(code == 0 || code == NEAP_ECANCELED);
    if (code == 0)
        n_completed++;
    else
        n_cancelled++;
}

static void end_schedules(long n) {
    print_message("%ld schedules: %ld operations completed, %ld were cancelled\n", n, n_completed,
                  n_cancelled);
    if (n >= 1000 && getenv("NEAP_TEST_SEED") == NULL)
        assert_true(n_completed > n / 20 && n_cancelled > n / 20);
}

static long n_schedules(void) {
    const char *text = getenv("NEAP_TEST_SCHEDULES");
    long n = text != NULL ? atol(text) : nt_slow_machine() ? SCHEDULES_SLOW : SCHEDULES;
    n_completed = n_cancelled = 0;
    alarm((unsigned)(120 + n / 200)); /* the watchdog's, for so many */
    return n;
}

/* The seed of the i-th schedule: a failure can be repeated with this one alone. */
static uint64_t begin_schedule(long i) {
    const char *text = getenv("NEAP_TEST_SEED");
    uint64_t seed = (text != NULL ? strtoull(text, NULL, 0) : 1) + (uint64_t)i;
    seed_of_schedule = seed;
    return seed;
}

/* ---- Half turns ------------------------------------------------------------------------------ */

/* Where the loop is between its phases. */
static int phase;

/* The next phase, or now and then a whole turn. */
static void move_on(uint64_t *seed) {
    int64_t timeout;
    if (phase == 0 && net_below(seed, 3) == 0) {
        check(neap_loop_run_once(nt.loop, 0) >= 0);
        return;
    }
    if (phase == 0)
        check(neap_loop_prepare(nt.loop, &timeout) >= 0);
    else if (phase == 1)
        check(neap_loop_wait(nt.loop, 0) >= 0);
    else
        check(neap_loop_dispatch(nt.loop, net_below(seed, 2) ? 0 : 1) >= 0);
    phase = (phase + 1) % 3;
}

static void finish_turns(void) {
    int64_t timeout;
    if (phase == 1)
        check(neap_loop_wait(nt.loop, 0) >= 0);
    if (phase != 0)
        check(neap_loop_dispatch(nt.loop, 0) >= 0);
    phase = 0;
    check(neap_loop_prepare(nt.loop, &timeout) >= 0);
    nt_settle();
}

/* Cancels what is pending and turns until all futures are done. */
static void cancel_rest(neap_future **futures, int n) {
    finish_turns();
    for (int i = 0; i < n; i++)
        check(neap_future_cancel(futures[i], NULL) >= 0);
    nt_settle();
    for (int i = 0; i < n; i++)
        check(neap_future_done(futures[i]) == 1);
}

/* ---- Accept ---------------------------------------------------------------------------------- */

typedef struct accept_case {
    neap_sock *listener;
    neap_addr addr;
    neap_future *futures[OPS];
    int n_futures;
    int clients[OPS];
    int n_clients;
    int seen[OPS];
} accept_case;

/* Reads the client's number from the connection, which is then known to be alive and its own. */
static void accept_see(accept_case *c, neap_sock *conn) {
    unsigned char id = 0;
    net_wait(neap_sock_fd(conn), POLLIN);
    check(neap_sock_recv(conn, &id, 1, NEAP_NOWAIT, NULL) == 1);
    check(id < c->n_clients);
    check(c->seen[id] == 0);
    c->seen[id] = 1;
    net_reset(c->clients[id]); /* leaves nothing behind in the kernel */
    net_end(conn);
}

static void accept_move(accept_case *c, uint64_t *seed) {
    neap_sock *conn = NULL;
    uint64_t dice = net_below(seed, 10);
    if (dice < 2 && c->n_clients < OPS) {
        unsigned char id = (unsigned char)c->n_clients;
        int fd = net_raw_connect(&c->addr);
        net_write(fd, &id, 1);
        c->clients[c->n_clients++] = fd;
    } else if (dice < 4 && c->n_futures < OPS) {
        int32_t code = neap_sock_accept(c->listener, dice == 2 ? NEAP_WANT_FUTURE : 0, &conn, NULL,
                                        &c->futures[c->n_futures]);
        check(code == 0 || code == NEAP_PENDING);
        if (code == 0)
            accept_see(c, conn);
        else
            c->n_futures++;
    } else if (dice < 6 && c->n_futures > 0) {
        check(neap_future_cancel(c->futures[net_below(seed, (uint64_t)c->n_futures)], NULL) >= 0);
    } else {
        move_on(seed);
    }
}

static void accept_finish(accept_case *c) {
    neap_sock *conn = NULL;
    cancel_rest(c->futures, c->n_futures);
    for (int i = 0; i < c->n_futures; i++) {
        int32_t code = neap_future_take_sock(c->futures[i], &conn);
        count_outcome(code);
        if (code == 0)
            accept_see(c, conn);
        neap_future_unref(c->futures[i]);
    }
    int missing = 0;
    for (int i = 0; i < c->n_clients; i++)
        missing += !c->seen[i];
    for (; missing > 0; missing--)
        accept_see(c, net_accept_now(c->listener)); /* what no accept took is in the queue */
    check(neap_sock_accept(c->listener, NEAP_NOWAIT, &conn, NULL, NULL) == NEAP_EAGAIN);
}

static void C10_no_connection_is_lost_between_accepts_and_cancels(void **state) {
    (void)state;
    long n = n_schedules();
    neap_sock *listener = NULL;
    neap_addr addr;
    for (long i = 0; i < n; i++) {
        uint64_t seed = begin_schedule(i);
        if (i % BATCH == 0) {
            if (listener != NULL)
                net_end(listener);
            addr = (seed / BATCH) % 4 == 0 ? net_loopback() : net_abstract();
            assert_ok(neap_sock_new(nt.loop, addr.family == NEAP_AF_UNIX ? NEAP_UNIX : NEAP_TCP,
                                    NEAP_AF_UNSPEC, &listener));
            assert_ok(neap_sock_bind(listener, &addr));
            assert_ok(neap_sock_listen(listener, 0));
            assert_ok(neap_sock_local(listener, &addr));
        }
        accept_case c = {.listener = listener, .addr = addr};
        for (int j = 0; j < MOVES; j++)
            accept_move(&c, &seed);
        accept_finish(&c);
    }
    if (listener != NULL)
        net_end(listener);
    end_schedules(n);
}

/* ---- Receive --------------------------------------------------------------------------------- */

typedef struct recv_case {
    neap_sock *conn;
    int peer;
    size_t *written; /* positions in the stream, over all schedules of the batch */
    size_t *taken;
    neap_future *futures[OPS];
    int lent[OPS];
    unsigned char bufs[OPS][8];
    int n;
} recv_case;

static void recv_see(recv_case *c, const unsigned char *data, size_t len) {
    check(len > 0 && len <= 8);
    for (size_t i = 0; i < len; i++)
        check(data[i] == net_byte(*c->taken + i));
    *c->taken += len;
    check(*c->taken <= *c->written);
}

static void recv_start(recv_case *c, uint64_t *seed) {
    const void *data = NULL;
    size_t len = (size_t)net_below(seed, 8) + 1;
    uint32_t flags = net_below(seed, 3) == 0 ? NEAP_WANT_FUTURE : 0;
    int lent = net_below(seed, 2) == 0;
    neap_future **future = &c->futures[c->n];
    int32_t code = lent ? neap_sock_recv_lent(c->conn, len, flags, &data, future)
                        : neap_sock_recv(c->conn, c->bufs[c->n], len, flags, future);
    check(code > 0 || code == NEAP_PENDING);
    if (code == NEAP_PENDING) {
        c->lent[c->n++] = lent;
        return;
    }
    /* An answer at once means that nobody waited before it: all former operations are done, in
       order. */
    for (int i = 0; i < c->n; i++)
        check(neap_future_done(c->futures[i]) == 1);
    neap_sock_unrecv(c->conn, lent ? data : c->bufs[c->n], (size_t)code); /* counted at the end */
}

static void recv_move(recv_case *c, uint64_t *seed) {
    uint64_t dice = net_below(seed, 10);
    if (dice < 2) {
        unsigned char data[8];
        size_t len = (size_t)net_below(seed, sizeof data) + 1;
        net_fill_pattern(data, len, *c->written);
        net_write(c->peer, data, len);
        *c->written += len;
    } else if (dice < 4 && c->n < OPS) {
        recv_start(c, seed);
    } else if (dice < 6 && c->n > 0) {
        check(neap_future_cancel(c->futures[net_below(seed, (uint64_t)c->n)], NULL) >= 0);
    } else {
        move_on(seed);
    }
}

static void recv_finish(recv_case *c) {
    cancel_rest(c->futures, c->n);
    for (int i = 0; i < c->n; i++) {
        int64_t len = 0;
        const void *data = c->bufs[i];
        size_t n = 0;
        int32_t code = neap_future_error(c->futures[i]);
        count_outcome(code);
        if (code == 0 && c->lent[i]) {
            check(neap_future_get_bytes(c->futures[i], &data, &n) == 0);
            recv_see(c, data, n);
        } else if (code == 0) {
            check(neap_future_get_int(c->futures[i], &len) == 0);
            recv_see(c, data, (size_t)len);
        }
        neap_future_unref(c->futures[i]);
    }
    while (*c->taken < *c->written) {
        unsigned char rest[8];
        int32_t n = neap_sock_recv(c->conn, rest, sizeof rest, NEAP_NOWAIT, NULL);
        if (n == NEAP_EAGAIN) {
            net_wait(neap_sock_fd(c->conn), POLLIN);
            continue;
        }
        check(n > 0);
        recv_see(c, rest, (size_t)n);
    }
}

static void C10_no_byte_is_lost_between_receives_and_cancels(void **state) {
    (void)state;
    long n = n_schedules();
    neap_sock *conn = NULL;
    int peer = -1;
    size_t written = 0;
    size_t taken = 0;
    for (long i = 0; i < n; i++) {
        uint64_t seed = begin_schedule(i);
        if (i % BATCH == 0) {
            if (conn != NULL) {
                net_end(conn);
                net_close(peer);
            }
            conn = (seed / BATCH) % 2 ? net_unix(&peer) : net_tcp(&peer);
            written = taken = 0;
        }
        recv_case c = {.conn = conn, .peer = peer, .written = &written, .taken = &taken};
        for (int j = 0; j < MOVES; j++)
            recv_move(&c, &seed);
        recv_finish(&c);
    }
    if (conn != NULL) {
        net_end(conn);
        net_close(peer);
    }
    end_schedules(n);
}

/* ---- A task that is cancelled again and again ------------------------------------------------ */

typedef struct stubborn {
    neap_sock *conn;
    size_t taken;
    size_t end; /* where the stream ends */
} stubborn;

static void stubborn_take(stubborn *s, const void *data, size_t len) {
    check(len > 0);
    for (size_t i = 0; i < len; i++)
        check(((const unsigned char *)data)[i] == net_byte(s->taken + i));
    s->taken += len;
}

static int32_t stubborn_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    stubborn *s = user;
    (void)wake;
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = NULL;
    if (awaited != NULL)
        count_outcome(neap_future_error(awaited));
    if (awaited != NULL && neap_future_error(awaited) == 0) {
        check(neap_future_get_bytes(awaited, &data, &len) == 0);
        stubborn_take(s, data, len);
    }
    while (s->taken < s->end) {
        int32_t n = neap_sock_recv_lent(s->conn, 5, 0, &data, &future);
        if (n == NEAP_PENDING) {
            check(neap_task_await(task, future) == 0);
            neap_future_unref(future);
            return NEAP_STEP_AWAIT;
        }
        check(n > 0);
        stubborn_take(s, data, (size_t)n);
    }
    return NEAP_STEP_DONE;
}

static const neap_task_ops stubborn_ops = {.size = sizeof(neap_task_ops), .step = stubborn_step};

static void C10_a_task_cancelled_at_any_moment_loses_no_byte(void **state) {
    (void)state;
    enum {
        BYTES = 40
    };
    long n = n_schedules();
    for (long i = 0; i < n; i += BATCH) {
        int peer;
        neap_sock *conn = (begin_schedule(i) / BATCH) % 2 ? net_unix(&peer) : net_tcp(&peer);
        stubborn s = {.conn = conn};
        for (long j = i; j < i + BATCH && j < n; j++) {
            uint64_t seed = begin_schedule(j);
            neap_task *task = NULL;
            size_t written = s.taken;
            s.end = s.taken + BYTES;
            assert_ok(neap_task_spawn(nt.loop, &stubborn_ops, &s, NULL, &task));
            for (int moves = 0; !neap_future_done(neap_task_future(task)); moves++) {
                unsigned char data[8];
                uint64_t dice = net_below(&seed, 8);
                if (dice < 2 && written < s.end) {
                    size_t len = (size_t)net_below(&seed, sizeof data) + 1;
                    if (len > s.end - written)
                        len = s.end - written;
                    net_fill_pattern(data, len, written);
                    net_write(peer, data, len);
                    written += len;
                } else if (dice == 2 && moves < 100 && neap_task_steps(task) > 0) {
                    neap_task_cancel(task, NULL);
                } else {
                    move_on(&seed);
                }
                check(moves < 100000);
            }
            finish_turns();
            check(s.taken == s.end);
            neap_task_unref(task);
        }
        net_end(conn);
        net_close(peer);
    }
    end_schedules(n);
}

/* ---- Connect --------------------------------------------------------------------------------- */

typedef struct connect_case {
    int listener;
    neap_addr addr;
    neap_sock *socks[OPS];
    neap_future *futures[OPS];
    int n;
} connect_case;

static void connect_move(connect_case *c, uint64_t *seed) {
    uint64_t dice = net_below(seed, 10);
    if (dice < 3 && c->n < OPS) {
        assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &c->socks[c->n]));
        check(neap_sock_connect(c->socks[c->n], &c->addr, NEAP_WANT_FUTURE, &c->futures[c->n]) ==
              NEAP_PENDING);
        c->n++;
    } else if (dice < 5 && c->n > 0) {
        check(neap_future_cancel(c->futures[net_below(seed, (uint64_t)c->n)], NULL) >= 0);
    } else {
        move_on(seed);
    }
}

/* Finds the other end of a connection of this port among those that the listener took. */
static int connect_find(const int *fds, int n, int32_t port) {
    for (int i = 0; i < n; i++) {
        struct sockaddr_in from = {0};
        socklen_t len = sizeof from;
        if (fds[i] >= 0 && getpeername(fds[i], (struct sockaddr *)&from, &len) == 0 &&
            ntohs(from.sin_port) == port)
            return i;
    }
    return -1;
}

static void connect_finish(connect_case *c) {
    int fds[OPS];
    int n = 0;
    cancel_rest(c->futures, c->n);
    while (net_is(c->listener, POLLIN)) {
        check(n < OPS);
        fds[n++] = net_raw_accept(c->listener);
    }
    for (int i = 0; i < c->n; i++) {
        int32_t code = neap_future_error(c->futures[i]);
        count_outcome(code);
        if (code == 0) {
            neap_addr local;
            char word[3] = {0};
            check(neap_sock_local(c->socks[i], &local) == 0);
            int at = connect_find(fds, n, neap_addr_port(&local));
            check(at >= 0);
            check(neap_sock_send(c->socks[i], "hi", 2, NEAP_NOWAIT, NULL) == 2);
            net_read(fds[at], word, 2);
            check(strcmp(word, "hi") == 0);
            assert_ok(neap_sock_set_option(c->socks[i], "linger", 0));
            assert_ok(neap_sock_close(c->socks[i]));
        } else {
            check(neap_sock_fd(c->socks[i]) == NEAP_ECLOSED);
        }
        neap_sock_unref(c->socks[i]);
        neap_future_unref(c->futures[i]);
    }
    for (int i = 0; i < n; i++)
        net_reset(fds[i]); /* leaves nothing behind in the kernel */
}

static void C10_a_connect_is_either_there_or_closed(void **state) {
    (void)state;
    long n = n_schedules();
    neap_addr any = net_loopback();
    connect_case shared = {0};
    shared.listener = net_raw_listen(&any, 128, &shared.addr);
    for (long i = 0; i < n; i++) {
        uint64_t seed = begin_schedule(i);
        connect_case c = shared;
        for (int j = 0; j < MOVES / 2; j++)
            connect_move(&c, &seed);
        connect_finish(&c);
    }
    net_close(shared.listener);
    end_schedules(n);
}

/* ---- Send ------------------------------------------------------------------------------------ */

static void C10_a_cancelled_sendall_tells_exactly_what_went(void **state) {
    (void)state;
    enum {
        LEN = 300000
    };
    long n = n_schedules() / 8;
    unsigned char *data = malloc(LEN);
    unsigned char *back = malloc((size_t)OPS * LEN);
    assert_non_null(data);
    assert_non_null(back);
    net_fill_pattern(data, LEN, 0);
    int peer;
    neap_sock *conn = net_unix(&peer);
    for (long i = 0; i < n; i++) {
        uint64_t seed = begin_schedule(i);
        neap_future *futures[OPS];
        size_t sizes[OPS];
        int n_futures = 0;
        size_t at_once = 0;
        size_t have = 0;
        for (int j = 0; j < MOVES; j++) {
            uint64_t dice = net_below(&seed, 10);
            if (dice < 3 && n_futures < OPS) {
                size_t len = (size_t)net_below(&seed, LEN) + 1;
                int32_t code = neap_sock_sendall(conn, data, len, 0, &futures[n_futures]);
                check(code == (int32_t)len || code == NEAP_PENDING);
                if (code == NEAP_PENDING)
                    sizes[n_futures++] = len;
                else
                    at_once += len;
            } else if (dice < 5 && n_futures > 0) {
                check(neap_future_cancel(futures[net_below(&seed, (uint64_t)n_futures)], NULL) >=
                      0);
            } else if (dice < 7) {
                ssize_t got = recv(peer, back, (size_t)OPS * LEN, MSG_DONTWAIT);
                have += got > 0 ? (size_t)got : 0;
            } else {
                move_on(&seed);
            }
        }
        cancel_rest(futures, n_futures);
        size_t told = at_once;
        for (int j = 0; j < n_futures; j++) {
            int32_t code = neap_future_error(futures[j]);
            count_outcome(code);
            told += code == 0 ? sizes[j] : (size_t)neap_future_partial(futures[j]);
            neap_future_unref(futures[j]);
        }
        have += net_drain(peer);
        check(have == told);
    }
    net_end(conn);
    net_close(peer);
    free(data);
    free(back);
    end_schedules(n);
}

NT_MAIN(NT_TEST(C10_no_connection_is_lost_between_accepts_and_cancels),
        NT_TEST(C10_no_byte_is_lost_between_receives_and_cancels),
        NT_TEST(C10_a_task_cancelled_at_any_moment_loses_no_byte),
        NT_TEST(C10_a_connect_is_either_there_or_closed),
        NT_TEST(C10_a_cancelled_sendall_tells_exactly_what_went))
