/* What travels to the loop from other threads: calls, wakes, outcomes. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

/* ---- Posts under load ------------------------------------------------------------------------ */

enum {
    POSTERS = 4
};

struct poster {
    pthread_t thread;
    int index;
    int count;
    atomic_int sent;
    int received; /* on the loop's thread: next expected number */
    int disorder;
    int failures;
};

struct message {
    struct poster *poster;
    int number;
};

static atomic_int messages_destroyed;

static void receive_message(void *user) {
    struct message *m = user;
    m->poster->disorder += m->number != m->poster->received;
    m->poster->received++;
}

static void destroy_message(void *user) {
    atomic_fetch_add(&messages_destroyed, 1);
    free(user);
}

static void *poster_main(void *user) {
    struct poster *p = user;
    for (int i = 0; i < p->count; i++) {
        struct message *m = malloc(sizeof *m);
        m->poster = p;
        m->number = i;
        p->failures += neap_loop_post(nt.loop, receive_message, m, destroy_message) != 0;
        atomic_fetch_add(&p->sent, 1);
        if (i % 7 == 0)
            p->failures += neap_loop_wake(nt.loop) != 0;
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void posts_from_many_threads_arrive_once_and_in_the_order_of_each_thread(void **state) {
    (void)state;
    struct poster posters[POSTERS];
    int count = nt_slow_machine() ? 2000 : 50000;
    int received = 0;
    atomic_store(&messages_destroyed, 0);
    memset(posters, 0, sizeof posters);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].count = count;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, poster_main, &posters[i]), 0);
    }
    while (received < POSTERS * count) {
        assert_true(neap_loop_run_once(nt.loop, -1) >= 0);
        received = 0;
        for (int i = 0; i < POSTERS; i++)
            received += posters[i].received;
    }
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
        assert_int_equal(posters[i].disorder, 0);
        assert_int_equal(posters[i].failures, 0);
    }
    nt_settle();
    assert_int_equal(atomic_load(&messages_destroyed), POSTERS * count);
}

static void *poster_until_closed(void *user) {
    struct poster *p = user;
    for (;;) {
        struct message *m = malloc(sizeof *m);
        m->poster = p;
        m->number = 0;
        int32_t code = neap_loop_post(nt.loop, receive_message, m, destroy_message);
        atomic_fetch_add(&p->sent, 1);
        if (code == NEAP_ELOOP_CLOSED)
            return NULL;
        p->failures += code != 0;
        sched_yield();
    }
}

static void posts_that_meet_a_closing_loop_are_destroyed(void **state) {
    (void)state;
    struct poster posters[POSTERS];
    int sent = 0;
    atomic_store(&messages_destroyed, 0);
    memset(posters, 0, sizeof posters);
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&posters[i].thread, NULL, poster_until_closed, &posters[i]),
                         0);
    for (int i = 0; i < POSTERS; i++)
        while (atomic_load(&posters[i].sent) < 10)
            nt_turn();
    assert_ok(neap_loop_close(nt.loop, 0));
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
        assert_int_equal(posters[i].failures, 0);
        sent += atomic_load(&posters[i].sent);
    }
    assert_int_equal(atomic_load(&messages_destroyed), sent);
}

static void *waker_main(void *user) {
    atomic_int *go_on = user;
    while (atomic_load(go_on)) {
        neap_loop_wake(nt.loop);
        sched_yield();
    }
    return NULL;
}

static void wakes_from_another_thread_disturb_nothing(void **state) {
    (void)state;
    atomic_int go_on;
    pthread_t thread;
    atomic_init(&go_on, 1);
    assert_int_equal(pthread_create(&thread, NULL, waker_main, &go_on), 0);
    for (int i = 0; i < 200; i++) {
        neap_future *sleep = nt_sleep(10000);
        nt_until(sleep);
        neap_future_unref(sleep);
    }
    atomic_store(&go_on, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *wake_late(void *user) {
    (void)user;
    usleep(10000);
    neap_loop_wake(nt.loop);
    return NULL;
}

static void a_wake_from_another_thread_ends_an_endless_wait(void **state) {
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_late, NULL), 0);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void wake_in_handler(int signo) {
    (void)signo;
    neap_loop_wake(nt.loop);
}

static void a_wake_inside_a_signal_handler_ends_an_endless_wait(void **state) {
    (void)state;
    struct sigaction action;
    struct sigaction before;
    memset(&action, 0, sizeof action);
    action.sa_handler = wake_in_handler;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* ---- Outcomes from other threads ------------------------------------------------------------- */

static const char value_tag;

struct completer {
    pthread_t thread;
    neap_future **futures;
    int n;
    int failures;
    atomic_int destroyed;
};

static void count_destroyed(void *user) {
    atomic_fetch_add((atomic_int *)user, 1);
}

static void *completer_main(void *user) {
    struct completer *c = user;
    for (int i = 0; i < c->n; i++) {
        int32_t code = 0;
        switch (i % 4) {
        case 0:
            code = neap_future_post_int(c->futures[i], i);
            break;
        case 1:
            code = neap_future_post_bytes(c->futures[i], &i, sizeof i);
            break;
        case 2:
            code = neap_future_post_ptr(c->futures[i], &value_tag, &c->destroyed, count_destroyed);
            break;
        case 3:
            code = neap_future_post_error(c->futures[i], NEAP_ETIMEOUT, "from afar");
            break;
        }
        c->failures += code != 0;
    }
    return NULL;
}

static void outcomes_posted_from_two_threads_settle_each_future_once(void **state) {
    (void)state;
    enum {
        N = 2000
    };
    static neap_future *futures[N];
    struct completer c[2];
    int called = 0;
    memset(c, 0, sizeof c);
    for (int i = 0; i < N; i++) {
        futures[i] = nt_future();
        assert_ok(neap_future_on_done(futures[i], nt_note_future_fn, NT_WORD("x"), NULL, NULL));
    }
    for (int i = 0; i < 2; i++) {
        c[i].futures = futures;
        c[i].n = N;
        assert_int_equal(pthread_create(&c[i].thread, NULL, completer_main, &c[i]), 0);
    }
    for (int i = 0; i < N; i++)
        while (!neap_future_done(futures[i]))
            assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(c[i].thread, NULL), 0);
        assert_int_equal(c[i].failures, 0);
    }
    nt_settle();
    for (const char *p = nt.notes; *p != '\0'; p++)
        called += *p == 'x';
    assert_int_equal(called, N);
    for (int i = 0; i < N; i++) {
        const void *data = NULL;
        size_t len = 0;
        void *ptr = NULL;
        switch (i % 4) {
        case 0:
            assert_int_equal(nt_int(futures[i]), i);
            break;
        case 1:
            assert_ok(neap_future_get_bytes(futures[i], &data, &len));
            assert_int_equal(len, sizeof i);
            assert_memory_equal(data, &i, sizeof i);
            break;
        case 2:
            assert_ok(neap_future_get_ptr(futures[i], &value_tag, &ptr));
            break;
        case 3:
            assert_code(neap_future_error(futures[i]), NEAP_ETIMEOUT);
            assert_string_equal(neap_future_message(futures[i]), "from afar");
            break;
        }
        neap_future_unref(futures[i]);
    }
    nt_settle();
    assert_int_equal(atomic_load(&c[0].destroyed) + atomic_load(&c[1].destroyed), 2 * (N / 4));
}

static intptr_t post_int_7(void *user) {
    return neap_future_post_int(user, 7);
}

static void an_outcome_that_comes_too_late_is_dropped(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_int_equal(nt_in_thread(post_int_7, future), 0);
    assert_ok(neap_future_set_int(future, 1));
    nt_settle();
    assert_int_equal(nt_int(future), 1);
    neap_future_unref(future);
}

/* Nothing becomes ready by it, and waiting would let the clock go to the timer. */
static void a_turn_does_not_wait_when_an_outcome_has_just_arrived(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_later(NT_SEC, "timer");
    assert_int_equal(nt_in_thread(post_int_7, future), 0);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 0);
    assert_int_equal(nt_int(future), 7);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_notes("timer");
    neap_future_unref(future);
}

static void a_host_is_told_not_to_wait_when_an_outcome_has_just_arrived(void **state) {
    (void)state;
    neap_future *future = nt_future();
    int64_t timeout = -1;
    nt_later(NT_SEC, "timer");
    assert_int_equal(nt_in_thread(post_int_7, future), 0);
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 1);
    assert_int_equal(timeout, 0);
    assert_int_equal(nt_int(future), 7);
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_int_equal(timeout, NT_SEC);
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    neap_future_unref(future);
}

static void an_outcome_in_flight_keeps_the_future(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_on_done(future, "done");
    assert_int_equal(nt_in_thread(post_int_7, future), 0);
    neap_future_unref(future);
    nt_settle();
    assert_notes("done");
}

static void an_outcome_in_flight_at_the_close_is_destroyed(void **state) {
    (void)state;
    atomic_int destroyed;
    neap_future *future = nt_future();
    atomic_init(&destroyed, 0);
    assert_ok(neap_future_post_ptr(future, &value_tag, &destroyed, count_destroyed));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(atomic_load(&destroyed), 1);
    assert_code(neap_future_post_ptr(future, &value_tag, &destroyed, count_destroyed),
                NEAP_ELOOP_CLOSED);
    assert_int_equal(atomic_load(&destroyed), 2);
    neap_future_unref(future);
}

NT_MAIN(NT_TEST(posts_from_many_threads_arrive_once_and_in_the_order_of_each_thread),
        NT_TEST(posts_that_meet_a_closing_loop_are_destroyed),
        NT_TEST(wakes_from_another_thread_disturb_nothing),
        NT_TEST(a_wake_from_another_thread_ends_an_endless_wait),
        NT_TEST(a_wake_inside_a_signal_handler_ends_an_endless_wait),
        NT_TEST(outcomes_posted_from_two_threads_settle_each_future_once),
        NT_TEST(an_outcome_that_comes_too_late_is_dropped),
        NT_TEST_VIRTUAL(a_turn_does_not_wait_when_an_outcome_has_just_arrived),
        NT_TEST_VIRTUAL(a_host_is_told_not_to_wait_when_an_outcome_has_just_arrived),
        NT_TEST(an_outcome_in_flight_keeps_the_future),
        NT_TEST(an_outcome_in_flight_at_the_close_is_destroyed))
