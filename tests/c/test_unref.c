/* References are taken and ended on any thread. */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "refusals.h"

enum {
    THREADS = 4
};

struct referrer {
    pthread_t thread;
    struct things *things;
    neap_buf *buf;
    int rounds;
};

static void *referrer_main(void *user) {
    struct referrer *r = user;
    struct things *t = r->things;
    for (int i = 0; i < r->rounds; i++) {
        neap_loop_ref(t->loop);
        neap_handle_ref(t->handle);
        neap_future_ref(t->future);
        neap_task_ref(t->task);
        neap_sock_ref(t->sock);
        neap_scope_ref(t->scope);
        neap_lock_ref(t->lock);
        neap_sem_ref(t->sem);
        neap_event_ref(t->event);
        neap_cond_ref(t->cond);
        neap_barrier_ref(t->barrier);
        neap_limiter_ref(t->limiter);
        neap_chan_ref(t->chan);
        neap_process_ref(t->process);
        neap_buf_ref(r->buf);
        neap_buf_unref(r->buf);
        neap_process_unref(t->process);
        neap_chan_unref(t->chan);
        neap_limiter_unref(t->limiter);
        neap_barrier_unref(t->barrier);
        neap_cond_unref(t->cond);
        neap_event_unref(t->event);
        neap_sem_unref(t->sem);
        neap_lock_unref(t->lock);
        neap_scope_unref(t->scope);
        neap_sock_unref(t->sock);
        neap_task_unref(t->task);
        neap_future_unref(t->future);
        neap_handle_unref(t->handle);
        neap_loop_unref(t->loop);
    }
    return NULL;
}

static void references_are_taken_and_ended_by_all_threads_at_once(void **state) {
    (void)state;
    struct things t;
    nt_script s;
    struct referrer referrers[THREADS];
    make_things(&t, &s, 0);
    neap_buf *buf = NULL;
    assert_ok(neap_buf_new(nt.loop, "shared", 6, &buf));
    for (int i = 0; i < THREADS; i++) {
        referrers[i] =
            (struct referrer){.things = &t, .buf = buf, .rounds = nt_slow_machine() ? 2000 : 50000};
        assert_int_equal(pthread_create(&referrers[i].thread, NULL, referrer_main, &referrers[i]),
                         0);
    }
    struct referrer self = {.things = &t, .buf = buf, .rounds = 2000};
    for (int i = 0; i < 5; i++) {
        referrer_main(&self);
        nt_turn();
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(referrers[i].thread, NULL), 0);
    nt_settle();
    assert_memory_equal(neap_buf_data(buf), "shared", 6);
    assert_ok(neap_future_set_int(t.future, 4));
    nt_until_task(t.task);
    neap_buf_unref(buf);
    drop_things(&t);
}

static intptr_t drop_all(void *user) {
    unref_things(user);
    return 0;
}

static void the_last_references_may_end_on_a_foreign_thread(void **state) {
    (void)state;
    struct things t;
    nt_script s;
    int destroyed = 0;
    static const char tag;
    make_things(&t, &s, 0);
    neap_handle_cancel(t.handle);
    assert_ok(neap_future_set_ptr(t.future, &tag, &destroyed, nt_count_fn));
    nt_until_task(t.task);
    assert_int_equal(destroyed, 0);
    nt_in_thread(drop_all, &t);
    nt_settle();
    while (nt_metrics().operations > 0) /* the process dies */
        assert_true(neap_loop_run_once(nt.loop, NT_SEC) >= 0);
    /* The destroy hooks ran, and on the loop's thread: the loop is at rest now. */
    assert_int_equal(destroyed, 1);
    assert_int_equal(nt_metrics().socks, 0);
    assert_int_equal(nt_metrics().objects, nt.objects);
}

static pthread_t destroy_thread;

static void remember_thread(void *user) {
    destroy_thread = pthread_self();
    nt_count_fn(user);
}

static intptr_t drop_future(void *user) {
    neap_future_unref(user);
    return 0;
}

static void a_destroy_hook_runs_on_the_loops_thread_after_a_foreign_unref(void **state) {
    (void)state;
    static const char tag;
    int destroyed = 0;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_ptr(future, &tag, &destroyed, remember_thread));
    nt_in_thread(drop_future, future);
    nt_settle();
    assert_int_equal(destroyed, 1);
    assert_true(pthread_equal(destroy_thread, pthread_self()));
}

static void a_foreign_unref_in_flight_at_the_close_is_not_lost(void **state) {
    (void)state;
    static const char tag;
    int destroyed = 0;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_ptr(future, &tag, &destroyed, nt_count_fn));
    nt_in_thread(drop_future, future);
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(destroyed, 1);
}

static void a_foreign_unref_after_the_close_ends_the_object(void **state) {
    (void)state;
    static const char tag;
    int destroyed = 0;
    neap_loop *loop = nt_loop_new(0);
    neap_future *future = nt_future_on(loop);
    assert_ok(neap_future_set_ptr(future, &tag, &destroyed, nt_count_fn));
    nt_loop_end(loop);
    nt_in_thread(drop_future, future);
    assert_int_equal(destroyed, 1);
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
}

static intptr_t drop_loop(void *user) {
    neap_loop_unref(user);
    return 0;
}

static void a_closed_loop_may_end_on_a_foreign_thread(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    assert_ok(neap_loop_close(loop, 0));
    nt_in_thread(drop_loop, loop);
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
}

struct dropper {
    pthread_t thread;
    neap_future **futures;
    int n;
};

static void *drop_some(void *user) {
    struct dropper *d = user;
    for (int i = 0; i < d->n; i++) {
        neap_future_post_int(d->futures[i], i);
        neap_future_unref(d->futures[i]);
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static int callbacks;

static void count_callback(neap_future *future, void *user) {
    (void)user;
    callbacks += neap_future_done(future) == 1;
}

static void futures_dropped_elsewhere_while_their_callbacks_run_here_are_freed_once(void **state) {
    (void)state;
    enum {
        N = 4000
    };
    static neap_future *futures[N];
    struct dropper d = {.futures = futures, .n = N};
    callbacks = 0;
    for (int i = 0; i < N; i++) {
        futures[i] = nt_future();
        assert_ok(neap_future_on_done(futures[i], count_callback, NULL, NULL, NULL));
    }
    assert_int_equal(pthread_create(&d.thread, NULL, drop_some, &d), 0);
    while (callbacks < N)
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    assert_int_equal(pthread_join(d.thread, NULL), 0);
    nt_settle();
    assert_int_equal(callbacks, N);
    assert_int_equal(nt_metrics().objects, nt.objects);
}

static intptr_t drop_buf(void *user) {
    neap_buf_unref(user);
    return 0;
}

static void buffers_end_on_any_thread(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_buf *buf = NULL;
    assert_ok(neap_buf_new(loop, "x", 1, &buf));
    nt_loop_end(loop);
    nt_in_thread(drop_buf, buf);
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
}

NT_MAIN(NT_TEST(references_are_taken_and_ended_by_all_threads_at_once),
        NT_TEST(the_last_references_may_end_on_a_foreign_thread),
        NT_TEST(a_destroy_hook_runs_on_the_loops_thread_after_a_foreign_unref),
        NT_TEST(a_foreign_unref_in_flight_at_the_close_is_not_lost),
        NT_TEST_BARE(a_foreign_unref_after_the_close_ends_the_object),
        NT_TEST_BARE(a_closed_loop_may_end_on_a_foreign_thread),
        NT_TEST(futures_dropped_elsewhere_while_their_callbacks_run_here_are_freed_once),
        NT_TEST_BARE(buffers_end_on_any_thread))
