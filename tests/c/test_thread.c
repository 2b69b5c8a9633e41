/* Threads: a loop belongs to one, and several run side by side. */
#include <pthread.h>
#include <string.h>

#include "refusals.h"

static intptr_t refuse_in_thread(void *user) {
    return refuse_all(user);
}

static void X4_P1_every_function_of_the_loops_thread_is_refused_from_another(void **state) {
    (void)state;
    struct things t;
    nt_script s;
    make_things(&t, &s, NEAP_EWRONGTHREAD);
    neap_metrics before = nt_metrics();
    int taken = (int)nt_in_thread(refuse_in_thread, &t);
    assert_string_equal(t.wrong, "");
    assert_int_equal(t.destroyed, taken);
    /* After a failure nothing has changed. */
    neap_metrics after = nt_metrics();
    assert_int_equal(after.ready, before.ready);
    assert_int_equal(after.timers, before.timers);
    assert_int_equal(after.tasks, before.tasks);
    assert_int_equal(after.futures, before.futures);
    assert_int_equal(after.socks, before.socks);
    assert_int_equal(after.operations, before.operations);
    assert_int_equal(after.ticks, before.ticks);
    assert_state(t.future, NEAP_STATE_PENDING);
    assert_string_equal(neap_task_name(t.task), "t");
    assert_int_equal(neap_loop_debug(nt.loop, -1), 0);
    assert_ok(neap_future_set_int(t.future, 4));
    nt_until_task(t.task);
    drop_things(&t);
}

static intptr_t post_nothing(void *user) {
    neap_loop *loop = user;
    return neap_loop_in_thread(loop) == 0 && neap_loop_is_running(loop) == 0 &&
           neap_loop_is_closed(loop) == 0 && neap_loop_name(loop) != NULL &&
           neap_loop_backend(loop) != NULL;
}

static void L14_another_thread_is_not_the_loops(void **state) {
    (void)state;
    assert_int_equal(nt_in_thread(post_nothing, nt.loop), 1);
    assert_int_equal(neap_loop_in_thread(nt.loop), 1);
}

/* ---- A loop may change its thread ------------------------------------------------------------ */

static intptr_t bind_and_turn(void *user) {
    neap_loop *loop = user;
    if (neap_loop_bind_thread(loop) != 0 || neap_loop_in_thread(loop) != 1)
        return -1;
    return neap_loop_run_once(loop, 0);
}

static void an_idle_loop_is_handed_to_another_thread_and_back(void **state) {
    (void)state;
    nt_soon("there");
    assert_int_equal(nt_in_thread(bind_and_turn, nt.loop), 1);
    assert_notes("there");
    assert_int_equal(neap_loop_in_thread(nt.loop), 0);
    assert_code(neap_call_soon(nt.loop, nt_note_fn, NULL, NULL, NULL), NEAP_EWRONGTHREAD);
    assert_ok(neap_loop_bind_thread(nt.loop));
    nt_soon("back");
    nt_turn();
    assert_notes("there back");
}

static intptr_t bind_running(void *user) {
    return neap_loop_bind_thread(user);
}

static void try_to_steal(void *user) {
    nt_note("%s", neap_err_name((int32_t)nt_in_thread(bind_running, user)));
}

static void a_running_loop_cannot_be_handed_over(void **state) {
    (void)state;
    assert_ok(neap_call_soon(nt.loop, try_to_steal, nt.loop, NULL, NULL));
    nt_turn();
    assert_notes("ELOOP_RUNNING");
    assert_int_equal(neap_loop_in_thread(nt.loop), 1);
}

/* ---- Loops in parallel ----------------------------------------------------------------------- */

enum {
    LOOPS = 4
};

struct worker {
    pthread_t thread;
    pthread_t self; /* as the thread itself knows it */
    neap_loop *loop;
    int index;
    int rounds;
    int done;
    int bad;
    int64_t sum;
};

static void worker_callback(neap_future *future, void *user) {
    struct worker *w = user;
    int64_t value = 0;
    w->bad += !pthread_equal(pthread_self(), w->self);
    w->bad += neap_future_loop(future) != w->loop;
    w->bad += neap_future_get_int(future, &value) != 0;
    w->sum += value;
    w->done++;
}

static void worker_timer(void *user) {
    neap_future *future = user;
    neap_future_set_int(future, 1);
    neap_future_unref(future);
}

static int32_t worker_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    struct worker *w = user;
    neap_future *sleep = NULL;
    (void)awaited;
    (void)wake;
    if (w->rounds-- == 0) {
        neap_future_set_int(neap_task_future(task), w->index);
        return NEAP_STEP_DONE;
    }
    if (w->rounds % 3 == 0)
        return NEAP_STEP_YIELD;
    w->bad += neap_sleep(w->loop, w->rounds % 2 ? 0 : 1000, &sleep) != 0;
    w->bad += neap_task_await(task, sleep) != 0;
    neap_future_unref(sleep);
    return NEAP_STEP_AWAIT;
}

static void *worker_main(void *user) {
    static const neap_task_ops ops = {.size = sizeof(neap_task_ops), .step = worker_step};
    struct worker *w = user;
    neap_loop_options options = nt_options(0);
    neap_task *task = NULL;
    w->self = pthread_self();
    w->bad += neap_loop_new(&options, &w->loop) != 0;
    for (int i = 0; i < 100; i++) {
        neap_future *future = NULL;
        w->bad += neap_future_new(w->loop, &future) != 0;
        w->bad += neap_future_on_done(future, worker_callback, w, NULL, NULL) != 0;
        w->bad += neap_call_later(w->loop, i * 1000, worker_timer, future, NULL, NULL) != 0;
    }
    w->bad += neap_task_spawn(w->loop, &ops, w, NULL, &task) != 0;
    w->bad += neap_loop_run_until(w->loop, neap_task_future(task)) != 0;
    while (w->done < 100)
        w->bad += neap_loop_run_once(w->loop, -1) < 0;
    w->bad += neap_future_error(neap_task_future(task)) != 0;
    neap_task_unref(task);
    w->bad += neap_loop_close(w->loop, 0) != 0;
    neap_loop_unref(w->loop);
    return NULL;
}

static void P1_F10_loops_in_their_threads_share_nothing(void **state) {
    (void)state;
    struct worker workers[LOOPS];
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < LOOPS; i++) {
        workers[i].index = i;
        workers[i].rounds = 2000;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    }
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].bad, 0);
        assert_int_equal(workers[i].done, 100);
        assert_int_equal(workers[i].sum, 100);
    }
}

NT_MAIN(NT_TEST(X4_P1_every_function_of_the_loops_thread_is_refused_from_another),
        NT_TEST(L14_another_thread_is_not_the_loops),
        NT_TEST(an_idle_loop_is_handed_to_another_thread_and_back),
        NT_TEST(a_running_loop_cannot_be_handed_over),
        NT_TEST_BARE(P1_F10_loops_in_their_threads_share_nothing))
