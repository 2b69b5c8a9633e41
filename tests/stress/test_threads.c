/* Several loops in several threads: a token goes round over sockets, posts cross from everywhere to
   everywhere, handles are given up on foreign threads.  Meant for the thread sanitizer. */
#include "net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    THREADS = 4,
    LAPS = 500
};

typedef struct member {
    pthread_t thread;
    struct ring *ring;
    int index;
    neap_loop *loop;
    int in;  /* the descriptor that the token comes from */
    int out; /* the one that it leaves by */
    neap_sock *socks[2];
    char token;
    int laps;
    atomic_int posts;     /* arrived */
    atomic_int destroyed; /* of the posts */
    int finished;
    int code; /* why it failed */
} member;

typedef struct ring {
    member members[THREADS];
    pthread_barrier_t ready; /* all loops are there */
    pthread_barrier_t over;  /* nobody posts any more */
} ring;

static void posted(void *user) {
    atomic_fetch_add(&((member *)user)->posts, 1);
}

static void post_destroyed(void *user) {
    atomic_fetch_add(&((member *)user)->destroyed, 1);
}

static void fail_with(member *m, int code) {
    if (m->code == 0)
        m->code = code;
    m->finished = 1;
    neap_loop_stop(m->loop);
}

static void nothing(void *user) {
    (void)user;
}

/* The other thread gives it up, be the post called or dropped when that loop closes. */
static void unref_there(void *user) {
    neap_future_unref(user);
}

/* Posts to everybody, and with it a reference of a future of ours. */

static int post_to_all(member *m) {
    for (int i = 0; i < THREADS; i++) {
        member *other = &m->ring->members[i];
        neap_future *future = NULL;
        if (neap_loop_post(other->loop, posted, other, post_destroyed) != 0)
            return -1;
        if (neap_future_new(m->loop, &future) != 0)
            return -2;
        if (neap_loop_post(other->loop, nothing, future, unref_there) != 0)
            return -3;
    }
    return 0;
}

static void token_came(neap_future *future, void *user);

static int wait_for_token(member *m) {
    neap_future *future = NULL;
    int32_t code = neap_sock_recv(m->socks[0], &m->token, 1, NEAP_WANT_FUTURE, &future);
    if (code != NEAP_PENDING)
        return -4;
    code = neap_future_on_done(future, token_came, m, NULL, NULL);
    neap_future_unref(future);
    return code;
}

static void token_came(neap_future *future, void *user) {
    member *m = user;
    int64_t n = 0;
    neap_future *none = NULL;
    if (neap_future_get_int(future, &n) != 0 || n != 1 || m->token != 't') {
        fail_with(m, 10);
        return;
    }
    m->laps++;
    if (post_to_all(m) != 0)
        fail_with(m, 11);
    /* The first one keeps the token at the end. */
    int last = m->index == 0 && m->laps == LAPS;
    if (!last && neap_sock_send(m->socks[1], "t", 1, 0, &none) != 1)
        fail_with(m, 12);
    if (m->laps < LAPS && wait_for_token(m) != 0)
        fail_with(m, 13);
    if (m->laps == LAPS)
        m->finished = 1;
}

static int member_run(member *m) {
    neap_loop_options options = {.size = sizeof options, .backend = nt.backend};
    neap_future *none = NULL;
    if (neap_loop_new(&options, &m->loop) != 0)
        return 1;
    if (neap_sock_adopt(m->loop, m->in, &m->socks[0]) != 0 ||
        neap_sock_adopt(m->loop, m->out, &m->socks[1]) != 0)
        return 2;
    pthread_barrier_wait(&m->ring->ready);
    if (wait_for_token(m) != 0)
        return 3;
    if (m->index == 0 && neap_sock_send(m->socks[1], "t", 1, 0, &none) != 1)
        return 4;
    while (!m->finished || atomic_load(&m->posts) < THREADS * LAPS)
        if (neap_loop_run_once(m->loop, 100 * NT_MS) < 0)
            return 5;
    pthread_barrier_wait(&m->ring->over);
    if (neap_loop_close(m->loop, 0) != 0)
        return 6;
    neap_sock_unref(m->socks[0]);
    neap_sock_unref(m->socks[1]);
    return m->code;
}

static void *member_main(void *user) {
    member *m = user;
    m->code = member_run(m);
    return NULL;
}

static void a_token_and_posts_go_round_among_loops_of_several_threads(void **state) {
    (void)state;
    static ring r;
    memset(&r, 0, sizeof r);
    assert_int_equal(pthread_barrier_init(&r.ready, NULL, THREADS), 0);
    assert_int_equal(pthread_barrier_init(&r.over, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        r.members[i].out = fds[0];
        r.members[(i + 1) % THREADS].in = fds[1];
    }
    for (int i = 0; i < THREADS; i++) {
        r.members[i].ring = &r;
        r.members[i].index = i;
        assert_int_equal(pthread_create(&r.members[i].thread, NULL, member_main, &r.members[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(r.members[i].thread, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(r.members[i].code, 0);
        assert_int_equal(r.members[i].laps, LAPS);
        assert_int_equal(atomic_load(&r.members[i].posts), THREADS * LAPS);
        assert_int_equal(atomic_load(&r.members[i].destroyed), THREADS * LAPS);
        neap_loop_unref(r.members[i].loop); /* on a foreign thread: it is closed */
    }
    pthread_barrier_destroy(&r.ready);
    pthread_barrier_destroy(&r.over);
}

/* ---- Posting while the loop closes ----------------------------------------------------------- */

typedef struct closing {
    neap_loop *loop;
    atomic_int stop;
    atomic_int accepted;
    atomic_int called;
    atomic_int destroyed;
    int refused;
} closing;

static void closing_called(void *user) {
    atomic_fetch_add(&((closing *)user)->called, 1);
}

static void closing_destroyed(void *user) {
    atomic_fetch_add(&((closing *)user)->destroyed, 1);
}

static void *keep_posting(void *user) {
    closing *c = user;
    while (!atomic_load(&c->stop)) {
        int32_t code = neap_loop_post(c->loop, closing_called, c, closing_destroyed);
        if (code == 0)
            atomic_fetch_add(&c->accepted, 1);
        else if (code == NEAP_ELOOP_CLOSED)
            c->refused++;
        else
            abort();
        (void)neap_loop_wake(c->loop);
        (void)neap_signal_deliver(c->loop, 10);
        if (c->refused > 100)
            break;
    }
    neap_loop_unref(c->loop);
    return NULL;
}

static void a_loop_may_close_while_others_post_to_it(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        closing c = {0};
        pthread_t thread;
        neap_loop_options options = {.size = sizeof options, .backend = nt.backend};
        assert_ok(neap_loop_new(&options, &c.loop));
        neap_loop_ref(c.loop);
        assert_int_equal(pthread_create(&thread, NULL, keep_posting, &c), 0);
        while (atomic_load(&c.called) < 20)
            assert_true(neap_loop_run_once(c.loop, NT_MS) >= 0);
        assert_ok(neap_loop_close(c.loop, i % 2 ? NEAP_CLOSE_SILENT : 0));
        if (i % 3 == 0)
            atomic_store(&c.stop, 1);
        neap_loop_unref(c.loop);
        assert_int_equal(pthread_join(thread, NULL), 0);
        /* Every post that was taken has ended, called or not; those refused were destroyed as well. */
        assert_int_equal(atomic_load(&c.destroyed), atomic_load(&c.accepted) + c.refused);
        assert_true(atomic_load(&c.called) <= atomic_load(&c.accepted));
    }
}

NT_MAIN(NT_TEST_BARE(a_token_and_posts_go_round_among_loops_of_several_threads),
        NT_TEST_BARE(a_loop_may_close_while_others_post_to_it))
