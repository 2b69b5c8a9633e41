/* Anything, in any order: random starts, cancels, closes, watches, tasks, half turns and failing
   allocations over a handful of sockets.  What must hold: each callback runs exactly once, each
   destroy hook once, nothing is left, and (under the sanitizers and valgrind) no memory is misused.
   NEAP_TEST_SEED repeats one round, NEAP_TEST_SCHEDULES says how many. */
#include "net.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ROUNDS = 3000,
    ROUNDS_SLOW = 400,
    MOVES = 120,
    SOCKS = 6,
    OPS = 24
};

static uint64_t seed_of_round;

#define check(condition)                                                                         \
    do {                                                                                         \
        if (!(condition))                                                                        \
            fail_msg("round with seed %llu: %s", (unsigned long long)seed_of_round, #condition); \
    } while (0)

/* ---- The things ------------------------------------------------------------------------------ */

typedef struct op {
    neap_future *future; /* NULL: this entry is free, or the reference was given up */
    int used;
    int calls;     /* of its callback */
    int destroyed; /* times its destroy hook ran */
    int callback;  /* was registered */
    char buf[32];
} op;

typedef struct chaos {
    uint64_t seed;
    neap_loop *loop;
    neap_sock *socks[SOCKS];
    neap_sock *listener;
    neap_addr addr;
    int raw[2];     /* a socket pair of the host's */
    int watched[2]; /* reader, writer */
    int watch_calls;
    int watch_destroyed;
    int watch_added;
    op ops[OPS];
    int clients[4];
    int n_clients;
    int tasks;
    int tasks_destroyed;
    int faults; /* allocations may fail in this round */
    int over;   /* the sockets are given up */
    int phase;
} chaos;

static chaos *now; /* the running round, for callbacks */

static uint64_t dice(uint64_t n) {
    return net_below(&now->seed, n);
}

static neap_sock *any_sock(void) {
    return now->socks[dice(SOCKS)];
}

static op *free_op(void) {
    for (int i = 0; i < OPS; i++)
        if (!now->ops[i].used)
            return &now->ops[i];
    return NULL;
}

static op *any_op(void) {
    op *o = &now->ops[dice(OPS)];
    return o->used && o->future != NULL ? o : NULL;
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

static void act(void);

static void op_done(neap_future *future, void *user) {
    op *o = user;
    o->calls++;
    check(o->calls == 1);
    check(neap_future_done(future) == 1);
    (void)neap_future_error(future);
    if (dice(4) == 0)
        act();
}

static void op_destroyed(void *user) {
    op *o = user;
    o->destroyed++;
    check(o->destroyed == 1);
}

/* Keeps what a start gave: the answer may be at once, a failure, or a future. */
static void keep(op *o, int32_t code, neap_future *future) {
    if (code != NEAP_PENDING) {
        check(future == NULL);
        o->used = 0;
        return;
    }
    check(future != NULL);
    o->future = future;
    if (dice(3) > 0)
        o->callback = neap_future_on_done(future, op_done, o, op_destroyed, NULL) == 0;
    if (!o->callback)
        o->destroyed = 0;
    if (dice(2))
        (void)neap_future_ignore(future);
}

/* ---- Tasks ----------------------------------------------------------------------------------- */

typedef struct walker {
    chaos *round;
    int sock; /* which, by number: it may be replaced meanwhile */
    int steps;
    neap_future *keep;
} walker;

static int32_t walker_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    walker *w = user;
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = NULL;
    if (w->round->over)
        return NEAP_STEP_DONE;
    if (awaited != NULL && neap_future_get_bytes(awaited, &data, &len) == 0 && len > 0) {
        if (dice(3) == 0)
            (void)neap_sock_unrecv(w->round->socks[w->sock], data, len);
        if (dice(4) == 0 && w->keep == NULL)
            w->keep = neap_future_ref(awaited);
    }
    if (dice(6) == 0)
        act();
    if ((wake == NEAP_WAKE_CANCEL && dice(2)) || w->steps-- <= 0)
        return wake == NEAP_WAKE_CANCEL ? NEAP_STEP_CANCELLED : NEAP_STEP_DONE;
    neap_sock *sock = w->round->socks[w->sock];
    int32_t n = neap_sock_recv_lent(sock, dice(16) + 1, 0, &data, &future);
    if (n != NEAP_PENDING)
        return dice(2) ? NEAP_STEP_YIELD : NEAP_STEP_DONE;
    int32_t code = neap_task_await(task, future);
    neap_future_unref(future);
    return code == 0 ? NEAP_STEP_AWAIT : NEAP_STEP_DONE;
}

static void walker_destroy(void *user) {
    walker *w = user;
    w->round->tasks_destroyed++;
    neap_future_unref(w->keep);
    free(w);
}

static const neap_task_ops walker_ops = {
    .size = sizeof(neap_task_ops), .step = walker_step, .destroy = walker_destroy};

static void spawn(void) {
    walker *w = calloc(1, sizeof *w);
    assert_non_null(w);
    *w = (walker){.round = now, .sock = (int)dice(SOCKS), .steps = (int)dice(6)};
    now->tasks++;
    (void)neap_task_spawn(now->loop, &walker_ops, w, NULL, NULL);
}

static int32_t cancel_some(neap_task *task, void *user) {
    (void)user;
    if (dice(3) == 0)
        (void)neap_task_cancel(task, NULL);
    return 0;
}

/* ---- Watches --------------------------------------------------------------------------------- */

static void watch_called(void *user) {
    chaos *c = user;
    c->watch_calls++;
    if (dice(3) == 0)
        (void)neap_remove_reader(c->loop, c->raw[0]);
    if (dice(3) == 0)
        net_drain(c->raw[0]);
    if (dice(8) == 0)
        act();
}

static void posted(void *user) {
    ((chaos *)user)->watch_calls++;
    if (dice(8) == 0)
        act();
}

static void watch_destroyed(void *user) {
    ((chaos *)user)->watch_destroyed++;
}

/* ---- Moves ----------------------------------------------------------------------------------- */

static void replace_sock(size_t at) {
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    size_t other = at ^ 1;
    neap_sock *old[2] = {now->socks[at], now->socks[other]};
    if (neap_sock_pair(now->loop, dice(3) ? NEAP_UNIX : NEAP_UNIX_DGRAM, &a, &b) != 0)
        return;
    now->socks[at] = a;
    now->socks[other] = b;
    for (int i = 0; i < 2; i++) {
        if (dice(2))
            (void)neap_sock_close(old[i]);
        neap_sock_unref(old[i]);
    }
}

/* A descriptor to watch: the host's, or one of a socket, which may go at any time. */
static neap_fd any_fd(void) {
    neap_fd fd = dice(2) ? neap_sock_fd(any_sock()) : now->raw[0];
    return fd >= 0 ? fd : now->raw[0];
}

static void start_receive(op *o, uint32_t flags) {
    const void *data = NULL;
    neap_future *future = NULL;
    size_t len = dice(sizeof o->buf) + 1;
    int32_t code;
    switch (dice(4)) {
    case 0:
        code = neap_sock_recv(any_sock(), o->buf, len, flags, &future);
        break;
    case 1:
        code = neap_sock_recv_lent(any_sock(), len, flags, &data, &future);
        break;
    case 2:
        code = neap_sock_recvfrom(any_sock(), o->buf, len, flags, NULL, &future);
        break;
    default:
        code = neap_sock_recvfrom_lent(any_sock(), len, flags, &data, NULL, &future);
        break;
    }
    keep(o, code, future);
}

static void start_send(op *o, uint32_t flags) {
    static const char zeros[300000];
    neap_future *future = NULL;
    size_t len = dice(3) ? dice(sizeof o->buf) + 1 : dice(sizeof zeros) + 1;
    int32_t code = dice(2) && (flags & NEAP_NOWAIT) == 0
                       ? neap_sock_sendall(any_sock(), zeros, len, flags, &future)
                       : neap_sock_send(any_sock(), zeros, len, flags, &future);
    keep(o, code, future);
}

static void start_accept(op *o, uint32_t flags) {
    neap_sock *conn = NULL;
    neap_future *future = NULL;
    int32_t code = neap_sock_accept(now->listener, flags, &conn, NULL, &future);
    if (code == 0)
        neap_sock_unref(conn);
    keep(o, code, future);
}

/* A fresh client takes the place of a socket. */
static void start_connect(op *o, uint32_t flags) {
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    size_t at = dice(SOCKS);
    int32_t sort = now->addr.family == NEAP_AF_UNIX ? NEAP_UNIX : NEAP_TCP;
    if (neap_sock_new(now->loop, sort, NEAP_AF_UNSPEC, &sock) != 0) {
        o->used = 0;
        return;
    }
    int32_t code = neap_sock_connect(sock, &now->addr, flags & NEAP_WANT_FUTURE, &future);
    (void)neap_sock_set_option(sock, "linger", 0);
    neap_sock_unref(now->socks[at]);
    now->socks[at] = sock;
    keep(o, code, future);
}

static void start_other(op *o, uint32_t flags) {
    neap_future *future = NULL;
    op *other = any_op();
    int32_t code = NEAP_EINVAL;
    switch (dice(4)) {
    case 0:
        code = neap_fd_ready(now->loop, any_fd(), dice(2) ? NEAP_READ : NEAP_WRITE, flags, &future);
        break;
    case 1:
        code = neap_sleep(now->loop, (int64_t)dice(3) * 1000, &future);
        code = code == 0 ? NEAP_PENDING : code;
        break;
    case 2:
        if (other != NULL)
            code = neap_wait_for(other->future, (int64_t)dice(3) * 1000, &future);
        code = code == 0 ? NEAP_PENDING : code;
        break;
    default:
        if (other != NULL)
            code = neap_shield(other->future, &future);
        code = code == 0 ? NEAP_PENDING : code;
        break;
    }
    keep(o, code, future);
}

static void start(void) {
    static const uint32_t flags[] = {0, 0, NEAP_NOWAIT, NEAP_WANT_FUTURE};
    op *o = free_op();
    if (o == NULL)
        return;
    memset(o, 0, sizeof *o);
    o->used = 1;
    uint32_t f = flags[dice(4)];
    switch (dice(8)) {
    case 0:
    case 1:
    case 2:
        start_receive(o, f);
        break;
    case 3:
    case 4:
        start_send(o, f);
        break;
    case 5:
        start_accept(o, f);
        break;
    case 6:
        start_connect(o, f);
        break;
    default:
        start_other(o, f);
        break;
    }
}

static void touch_op(void) {
    neap_sock *conn = NULL;
    op *o = any_op();
    if (o == NULL)
        return;
    switch (dice(4)) {
    case 0:
    case 1:
        (void)neap_future_cancel(o->future, NULL);
        break;
    case 2:
        if (neap_future_take_sock(o->future, &conn) == 0)
            neap_sock_unref(conn);
        break;
    default:
        neap_future_unref(o->future); /* the operation goes on, and its callback comes */
        o->future = NULL;
        break;
    }
}

static void touch_sock(void) {
    size_t at = dice(SOCKS);
    char byte = 'u';
    switch (dice(8)) {
    case 0:
        replace_sock(at);
        break;
    case 1:
        (void)neap_sock_close(now->socks[at]);
        break;
    case 2:
        (void)neap_sock_shutdown(now->socks[at], (int32_t)dice(3));
        break;
    default:
        (void)neap_sock_unrecv(now->socks[at], &byte, 1);
        break;
    }
}

static void signalled(int32_t signo, void *user) {
    (void)signo;
    ((chaos *)user)->watch_calls++;
    if (dice(4) == 0)
        act();
}

/* Signals, posts and wakes. */
static void touch_from_outside(void) {
    switch (dice(4)) {
    case 0:
        now->watch_added++;
        (void)neap_signal_watch(now->loop, SIGUSR1, (uint32_t)dice(2), signalled, now,
                                watch_destroyed, NULL);
        break;
    case 1:
        (void)neap_signal_deliver(now->loop, SIGUSR1);
        break;
    case 2:
        now->watch_added++;
        (void)neap_loop_post(now->loop, posted, now, watch_destroyed);
        break;
    default:
        (void)neap_loop_wake(now->loop);
        break;
    }
}

static void touch_watch(void) {
    int32_t code = 0;
    switch (dice(6)) {
    case 0:
    case 1:
        now->watch_added++;
        code = neap_add_reader(now->loop, any_fd(), watch_called, now, watch_destroyed);
        break;
    case 2:
        now->watch_added++;
        code = neap_add_writer(now->loop, any_fd(), watch_called, now, watch_destroyed);
        break;
    case 3:
        (void)neap_remove_reader(now->loop, any_fd());
        break;
    case 4:
        (void)neap_remove_writer(now->loop, any_fd());
        break;
    default:
        if (dice(2))
            (void)!write(now->raw[1], "w", 1);
        else
            touch_from_outside();
        break;
    }
    check(code >= 0 || code == NEAP_EBUSY_FD || code == NEAP_ENOMEM || code == NEAP_ELOOP_CLOSED);
}

static void touch_clients(void) {
    if (now->n_clients < 4 && dice(2) && neap_sock_fd(now->listener) >= 0) {
        now->clients[now->n_clients++] = net_raw_connect(&now->addr);
    } else if (now->n_clients > 0) {
        net_reset(now->clients[--now->n_clients]);
    }
}

/* One move that does not turn the loop: legal in callbacks too. */
static void act(void) {
    if (now->over)
        return;
    if (now->faults)
        nt_heap_fail(&nt.heap, dice(3) == 0 ? (long)dice(4) + 1 : 0, 0);
    switch (dice(9)) {
    case 0:
    case 1:
    case 2:
    case 3:
        start();
        break;
    case 4:
        touch_op();
        break;
    case 5:
        touch_sock();
        break;
    case 6:
        touch_watch();
        break;
    case 7:
        touch_clients();
        break;
    default:
        if (dice(2))
            spawn();
        else
            (void)neap_task_walk(now->loop, cancel_some, NULL);
        break;
    }
    nt_heap_fail(&nt.heap, 0, 0);
}

static void turn(void) {
    int64_t timeout;
    if (now->faults && dice(4) == 0)
        nt_heap_fail(&nt.heap, (long)dice(6) + 1, 0);
    if (now->phase == 0 && dice(2)) {
        check(neap_loop_run_once(now->loop, 0) >= 0);
    } else {
        if (now->phase == 0)
            check(neap_loop_prepare(now->loop, &timeout) >= 0);
        else if (now->phase == 1)
            check(neap_loop_wait(now->loop, 0) >= 0);
        else
            check(neap_loop_dispatch(now->loop, (uint32_t)dice(3)) >= 0);
        now->phase = (now->phase + 1) % 3;
    }
    nt_heap_fail(&nt.heap, 0, 0);
}

/* ---- A round --------------------------------------------------------------------------------- */

static void round_begin(chaos *c, uint64_t seed) {
    memset(c, 0, sizeof *c);
    now = c;
    c->seed = seed_of_round = seed;
    c->faults = seed % 3 == 0;
    c->loop = nt_loop_new(dice(8) == 0 ? NEAP_LOOP_DEBUG : 0);
    for (size_t i = 0; i < SOCKS; i += 2)
        assert_ok(neap_sock_pair(c->loop, dice(3) ? NEAP_UNIX : NEAP_UNIX_DGRAM, &c->socks[i],
                                 &c->socks[i + 1]));
    c->addr = dice(2) ? net_abstract() : net_loopback();
    assert_ok(neap_sock_new(c->loop, c->addr.family == NEAP_AF_UNIX ? NEAP_UNIX : NEAP_TCP,
                            NEAP_AF_UNSPEC, &c->listener));
    assert_ok(neap_sock_bind(c->listener, &c->addr));
    assert_ok(neap_sock_local(c->listener, &c->addr));
    assert_ok(neap_sock_listen(c->listener, 0));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, c->raw), 0);
}

/* Ends the loop in one of several ways, with things in any state. */
static void round_end(chaos *c) {
    uint64_t how = dice(4);
    int silent = how == 1 || how == 2;
    if (c->phase != 0 && how == 0)
        check(neap_loop_dispatch(c->loop, 0) >= 0);
    if (how == 3)
        for (int i = 0; i < 20; i++)
            check(neap_loop_run_once(c->loop, 0) >= 0);
    c->over = (int)dice(2);
    if (c->over) {
        for (int i = 0; i < SOCKS; i++)
            neap_sock_unref(c->socks[i]);
        neap_sock_unref(c->listener);
    }
    if (how != 2)
        check(neap_loop_close(c->loop, silent ? NEAP_CLOSE_SILENT : 0) == 0);
    if (how == 2)
        check(neap_loop_abandon(c->loop) == 0);
    for (int i = 0; i < OPS; i++)
        if (c->ops[i].used)
            neap_future_unref(c->ops[i].future);
    if (!c->over) {
        for (int i = 0; i < SOCKS; i++)
            neap_sock_unref(c->socks[i]);
        neap_sock_unref(c->listener);
    }
    neap_loop_unref(c->loop);
    for (int i = 0; i < OPS; i++) {
        const op *o = &c->ops[i];
        if (o->used && o->callback) {
            check(o->destroyed == 1);
            check(o->calls <= 1);
            check(silent || o->calls == 1 || o->future == NULL);
        }
    }
    check(c->tasks == c->tasks_destroyed);
    check(c->watch_added == c->watch_destroyed);
    while (c->n_clients > 0)
        net_close(c->clients[--c->n_clients]);
    net_close(c->raw[0]);
    net_close(c->raw[1]);
    nt_claim_all(); /* failures that nobody looked at were reported: so it must be */
}

static void anything_in_any_order_leaves_nothing_behind(void **state) {
    (void)state;
    static chaos c;
    const char *count = getenv("NEAP_TEST_SCHEDULES");
    const char *seed = getenv("NEAP_TEST_SEED");
    long n = count != NULL ? atol(count) : nt_slow_machine() ? ROUNDS_SLOW : ROUNDS;
    alarm((unsigned)(120 + n / 20));
    for (long i = 0; i < (seed != NULL ? 1 : n); i++) {
        int fds = nt_fd_count();
        round_begin(&c, seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)i + 1);
        for (int j = 0; j < MOVES; j++) {
            if (dice(3) == 0)
                turn();
            else
                act();
        }
        round_end(&c);
        check(atomic_load(&nt.heap.bytes) == 0);
        check(atomic_load(&nt.heap.blocks) == 0);
        check(atomic_load(&nt.heap.misuse) == 0);
        check(nt_fd_count() == fds);
    }
}

NT_MAIN(NT_TEST_BARE(anything_in_any_order_leaves_nothing_behind))
