/* Thread pools: jobs end once, on the thread of their loop, whoever is cancelled or closed meanwhile. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/* ---- Helpers */

/* What a job waits at until the test opens it. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int open;
    atomic_int entered;
    atomic_int unwanted; /* jobs that found themselves unwanted when it opened */
    atomic_int destroyed;
} gate;

static void gate_init(gate *g) {
    memset(g, 0, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
}

static void gate_open(gate *g) {
    pthread_mutex_lock(&g->lock);
    g->open = 1;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static int64_t wait_at_gate(neap_job *job, void *user) {
    gate *g = user;
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->entered, 1);
    while (!g->open)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
    if (!neap_job_wanted(job))
        atomic_fetch_add(&g->unwanted, 1);
    return 7;
}

static void gate_count_destroy(void *user) {
    atomic_fetch_add(&((gate *)user)->destroyed, 1);
}

static int64_t answer(neap_job *job, void *user) {
    (void)job;
    return (intptr_t)user;
}

static int64_t never(neap_job *job, void *user) {
    (void)job;
    (void)user;
    abort();
}

static neap_pool *new_pool_of(neap_pool_options options) {
    neap_pool *pool;
    options.size = sizeof options;
    options.allocator = &nt.heap.hook;
    assert_ok(neap_pool_new(&options, &pool));
    return pool;
}

static neap_pool *new_pool(uint32_t threads) {
    return new_pool_of((neap_pool_options){.name = "test", .threads_max = threads});
}

/* No job may be left. */
static void end_pool(neap_pool *pool) {
    assert_int_equal(neap_pool_shutdown(pool, -1, 0, NULL, NULL), 0);
    neap_pool_unref(pool);
}

static neap_future *submit(neap_pool *pool, neap_job_fn fn, void *user, neap_destroy_fn destroy) {
    neap_future *future = NULL;
    assert_ok(neap_pool_submit(pool, nt.loop, fn, user, destroy, NULL, &future));
    assert_non_null(future);
    return future;
}

static neap_pool_stats stats_of(neap_pool *pool) {
    neap_pool_stats stats;
    assert_int_equal(neap_pool_get_stats(pool, &stats, sizeof stats), sizeof stats);
    return stats;
}

/* Spins until that many jobs wait at the gate. */
static void await_entered(gate *g, int n) {
    while (atomic_load(&g->entered) < n)
        sched_yield();
}

static void await_done(neap_pool *pool, uint64_t n) {
    while (stats_of(pool).done < n)
        sched_yield();
}

/* ---- Results */

static void a_job_answers_an_integer_or_fails_with_a_code(void **state) {
    (void)state;
    neap_pool *pool = new_pool(2);
    neap_future *fine = submit(pool, answer, (void *)41, NULL);
    nt_until(fine);
    assert_int_equal(nt_int(fine), 41);
    neap_future *failed = submit(pool, answer, (void *)(intptr_t)NEAP_ENOENT, NULL);
    nt_until(failed);
    assert_code(neap_future_error(failed), NEAP_ENOENT);
    neap_future_unref(fine);
    neap_future_unref(failed);
    end_pool(pool);
}

typedef struct parcel {
    pthread_t ran_on, finished_on, destroyed_on;
    int ran, finished, destroyed;
    char *text;
    int32_t answer;
} parcel;

static int64_t fill_parcel(neap_job *job, void *user) {
    parcel *p = user;
    (void)job;
    p->ran_on = pthread_self();
    p->ran++;
    p->text = strdup("hello");
    return 5;
}

static int32_t hand_over_text(neap_future *future, int64_t result, void *user) {
    parcel *p = user;
    p->finished_on = pthread_self();
    p->finished++;
    if (p->answer == 0)
        assert_ok(neap_future_set_bytes(future, p->text, (size_t)result));
    return p->answer;
}

static void destroy_parcel(void *user) {
    parcel *p = user;
    p->destroyed_on = pthread_self();
    p->destroyed++;
    free(p->text);
}

static void a_finisher_hands_over_what_the_job_made_on_the_thread_of_the_loop(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    const neap_job_options options = {.size = sizeof options, .finish = hand_over_text};
    for (int32_t code = 0; code >= NEAP_EPIPE; code += NEAP_EPIPE) {
        parcel p = {.answer = code};
        neap_future *future;
        const void *data;
        size_t len;
        assert_ok(
            neap_pool_submit(pool, nt.loop, fill_parcel, &p, destroy_parcel, &options, &future));
        nt_until(future);
        if (code == 0) {
            assert_ok(neap_future_get_bytes(future, &data, &len));
            assert_int_equal(len, 5);
            assert_memory_equal(data, "hello", 5);
        } else {
            assert_code(neap_future_error(future), code);
        }
        assert_true(p.ran == 1 && p.finished == 1 && p.destroyed == 1);
        assert_false(pthread_equal(p.ran_on, pthread_self()));
        assert_true(pthread_equal(p.finished_on, pthread_self()));
        assert_true(pthread_equal(p.destroyed_on, pthread_self()));
        neap_future_unref(future);
    }
    end_pool(pool);
}

static void D25_a_job_goes_on_when_its_future_is_dropped(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    parcel p = {0};
    neap_future_unref(submit(pool, fill_parcel, &p, destroy_parcel));
    await_done(pool, 1);
    nt_turn();
    assert_int_equal(p.destroyed, 1);
    end_pool(pool);
}

static intptr_t submit_without_loop(void *user) {
    return neap_pool_submit(user, NULL, answer, NULL, NULL, NULL, NULL);
}

static void any_thread_may_give_jobs_whose_end_nobody_hears(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    neap_future *future;
    assert_int_equal(nt_in_thread(submit_without_loop, pool), 0);
    await_done(pool, 1);
    assert_code(neap_pool_submit(pool, NULL, never, NULL, NULL, NULL, &future), NEAP_EINVAL);
    end_pool(pool);
}

/* ---- Cancelling */

static void D25_a_job_that_has_not_begun_is_taken_back(void **state) {
    (void)state;
    gate g;
    int destroyed = 0;
    gate_init(&g);
    neap_pool *pool = new_pool(1);
    neap_future *first = submit(pool, wait_at_gate, &g, NULL);
    await_entered(&g, 1);
    neap_future *second = submit(pool, never, &destroyed, nt_count_fn);
    assert_int_equal(neap_future_cancel(second, NULL), 1);
    assert_state(second, NEAP_STATE_CANCELLED);
    assert_int_equal(destroyed, 1);
    assert_int_equal(stats_of(pool).queued, 0);
    gate_open(&g);
    nt_until(first);
    neap_future_unref(first);
    neap_future_unref(second);
    end_pool(pool);
}

static void
D25_who_cancels_a_running_job_is_free_at_once_and_the_late_result_is_destroyed(void **state) {
    (void)state;
    gate g;
    gate_init(&g);
    neap_pool *pool = new_pool(1);
    neap_future *future = submit(pool, wait_at_gate, &g, gate_count_destroy);
    await_entered(&g, 1);
    assert_int_equal(neap_future_cancel(future, "enough"), 1);
    assert_state(future, NEAP_STATE_CANCELLED);
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    gate_open(&g);
    await_done(pool, 1);
    assert_int_equal(atomic_load(&g.unwanted), 1);
    while (atomic_load(&g.destroyed) == 0)
        nt_turn();
    assert_int_equal(atomic_load(&g.destroyed), 1);
    neap_future_unref(future);
    end_pool(pool);
}

static void C10_a_cancel_loses_to_a_job_that_is_over(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    parcel p = {0};
    const neap_job_options options = {.size = sizeof options, .finish = hand_over_text};
    neap_future *future;
    nt_script script;
    assert_ok(neap_pool_submit(pool, nt.loop, fill_parcel, &p, destroy_parcel, &options, &future));
    neap_task *task =
        nt_spawn(&script, "t", NT_ACTS(NT_AWAIT(future), NT_NOTE("value"), NT_YIELD_CATCH));
    nt_turn();
    await_done(pool, 1);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_until_task(task);
    assert_notes("value");
    assert_state(future, NEAP_STATE_RESULT);
    assert_int_equal(script.cancels, 1);
    neap_task_unref(task);
    neap_future_unref(future);
    end_pool(pool);
}

/* ---- The queue */

static void D25_a_full_queue_refuses(void **state) {
    (void)state;
    gate g;
    int destroyed = 0;
    gate_init(&g);
    neap_pool *pool = new_pool_of((neap_pool_options){.threads_max = 1, .queue_max = 2});
    neap_future *futures[3], *refused = NULL;
    for (int i = 0; i < 3; i++)
        futures[i] = submit(pool, wait_at_gate, &g, NULL);
    await_entered(&g, 1);
    assert_code(neap_pool_submit(pool, nt.loop, never, &destroyed, nt_count_fn, NULL, &refused),
                NEAP_EBUSY);
    assert_null(refused);
    assert_int_equal(destroyed, 1);
    gate_open(&g);
    for (int i = 0; i < 3; i++) {
        nt_until(futures[i]);
        neap_future_unref(futures[i]);
    }
    assert_true(stats_of(pool).queue_longest_ns > 0);
    assert_true(stats_of(pool).queue_total_ns >= stats_of(pool).queue_longest_ns);
    end_pool(pool);
}

static void threads_are_made_for_work_and_end_without_it(void **state) {
    (void)state;
    gate g;
    gate_init(&g);
    neap_pool *pool = new_pool_of((neap_pool_options){.threads_max = 3, .idle_ns = 1});
    neap_future *futures[4];
    assert_int_equal(stats_of(pool).threads, 0);
    for (int i = 0; i < 4; i++)
        futures[i] = submit(pool, wait_at_gate, &g, NULL);
    await_entered(&g, 3);
    neap_pool_stats stats = stats_of(pool);
    assert_true(stats.threads == 3 && stats.running == 3 && stats.queued == 1 && stats.idle == 0);
    gate_open(&g);
    for (int i = 0; i < 4; i++) {
        nt_until(futures[i]);
        neap_future_unref(futures[i]);
    }
    while (stats_of(pool).threads > 0)
        sched_yield();
    neap_future *again = submit(pool, answer, (void *)1, NULL);
    nt_until(again);
    neap_future_unref(again);
    end_pool(pool);
}

/* A stack that no machine has makes the system refuse threads. */
static void set_thread_stack(size_t bytes) {
    pthread_attr_t attr;
    assert_int_equal(pthread_getattr_default_np(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, bytes), 0);
    assert_int_equal(pthread_setattr_default_np(&attr), 0);
    pthread_attr_destroy(&attr);
}

static void a_thread_that_the_system_refuses_is_an_error_only_if_there_is_no_other(void **state) {
    (void)state;
    pthread_attr_t attr;
    size_t normal;
    gate g;
    int destroyed = 0;
    neap_future *future = NULL;
    gate_init(&g);
    assert_int_equal(pthread_getattr_default_np(&attr), 0);
    assert_int_equal(pthread_attr_getstacksize(&attr, &normal), 0);
    pthread_attr_destroy(&attr);
    neap_pool *none = new_pool(2), *one = new_pool(2);
    neap_future *first = submit(one, wait_at_gate, &g, NULL);
    await_entered(&g, 1);
    set_thread_stack((size_t)1 << 50);
    int32_t refused =
        neap_pool_submit(none, nt.loop, never, &destroyed, nt_count_fn, NULL, &future);
    neap_future *second = submit(one, answer, (void *)3, NULL);
    set_thread_stack(normal);
    assert_code(refused, NEAP_EAGAIN);
    assert_null(future);
    assert_int_equal(destroyed, 1);
    gate_open(&g);
    nt_until(second);
    nt_until(first);
    assert_int_equal(nt_int(second), 3);
    neap_future_unref(first);
    neap_future_unref(second);
    end_pool(none);
    end_pool(one);
}

/* ---- Threads */

enum {
    STANDARD_SIGNALS = 31
};

static int64_t signals_unblocked(neap_job *job, void *user) {
    sigset_t mask;
    int64_t n = 0;
    (void)job;
    (void)user;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int signo = 1; signo <= STANDARD_SIGNALS; signo++)
        n += signo != SIGKILL && signo != SIGSTOP && !sigismember(&mask, signo);
    return n;
}

static void threads_block_all_signals(void **state) {
    (void)state;
    sigset_t before, after;
    neap_pool *pool = new_pool(1);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    neap_future *future = submit(pool, signals_unblocked, NULL, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signo = 1; signo <= STANDARD_SIGNALS; signo++)
        assert_int_equal(sigismember(&before, signo), sigismember(&after, signo));
    nt_until(future);
    assert_int_equal(nt_int(future), 0);
    neap_future_unref(future);
    end_pool(pool);
}

static const char tag;
static atomic_int hooks_started, hooks_stopped, kept_destroyed;

static void count_start(void *user) {
    atomic_fetch_add((atomic_int *)user, 1);
}

static void count_stop(void *user) {
    (void)user;
    atomic_fetch_add(&hooks_stopped, 1);
}

static void destroy_kept(void *user) {
    free(user);
    atomic_fetch_add(&kept_destroyed, 1);
}

static int64_t count_on_thread(neap_job *job, void *user) {
    (void)user;
    int *n = neap_job_get_data(job, &tag);
    if (n == NULL) {
        n = calloc(1, sizeof *n);
        if (neap_job_set_data(job, &tag, n, destroy_kept) < 0)
            return NEAP_ENOMEM;
    }
    return ++*n;
}

static void a_thread_keeps_data_of_bindings_between_jobs_and_has_hooks(void **state) {
    (void)state;
    int gone = 0;
    atomic_store(&hooks_started, 0);
    atomic_store(&hooks_stopped, 0);
    atomic_store(&kept_destroyed, 0);
    neap_pool *pool = new_pool_of((neap_pool_options){.threads_max = 1,
                                                      .thread_start = count_start,
                                                      .thread_stop = count_stop,
                                                      .user = &hooks_started});
    for (int i = 1; i <= 3; i++) {
        neap_future *future = submit(pool, count_on_thread, NULL, NULL);
        nt_until(future);
        assert_int_equal(nt_int(future), i);
        neap_future_unref(future);
    }
    assert_int_equal(atomic_load(&hooks_started), 1);
    assert_int_equal(atomic_load(&kept_destroyed), 0);
    end_pool(pool);
    assert_int_equal(atomic_load(&kept_destroyed), 1);
    assert_int_equal(atomic_load(&hooks_stopped), 1);
    neap_pool_options options = {.size = sizeof options + 0, .user = &gone, .destroy = nt_count_fn};
    pool = new_pool_of(options);
    assert_int_equal(gone, 0);
    neap_pool_unref(pool);
    assert_int_equal(gone, 1);
}

/* ---- What is seen of it */

static void the_job_that_a_task_waits_for_is_named_and_no_deadlock(void **state) {
    (void)state;
    gate g;
    nt_script script;
    char text[256];
    neap_future *future;
    gate_init(&g);
    neap_pool *pool = new_pool(1);
    const neap_job_options options = {.size = sizeof options, .name = "resize"};
    assert_ok(neap_pool_submit(pool, nt.loop, wait_at_gate, &g, NULL, &options, &future));
    await_entered(&g, 1);
    neap_task *task = nt_spawn(&script, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_turn();
    assert_true(neap_task_describe_wait(task, text, sizeof text) > 0);
    assert_non_null(strstr(text, "waits for the job resize (runs in the pool test)"));
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    gate_open(&g);
    nt_until_task(task);
    assert_int_equal(nt_int(neap_task_future(task)), 7);
    neap_task_unref(task);
    neap_future_unref(future);
    end_pool(pool);
}

static void a_virtual_clock_stands_while_a_job_runs(void **state) {
    (void)state;
    gate g;
    gate_init(&g);
    neap_pool *pool = new_pool(1);
    neap_future *sleep = nt_sleep(NT_SEC), *future = submit(pool, wait_at_gate, &g, NULL);
    await_entered(&g, 1);
    assert_int_equal(neap_loop_run_once(nt.loop, 10 * NT_SEC), 0);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    gate_open(&g);
    nt_until(future);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    nt_until(sleep);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    neap_future_unref(future);
    neap_future_unref(sleep);
    end_pool(pool);
}

/* ---- The end */

static void a_closed_pool_refuses_what_waits_or_finishes_it(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= NEAP_POOL_FINISH; flags++) {
        gate g;
        gate_init(&g);
        neap_pool *pool = new_pool(1);
        neap_future *closed = NULL, *refused;
        neap_future *first = submit(pool, wait_at_gate, &g, NULL);
        neap_future *second = submit(pool, answer, (void *)9, NULL);
        await_entered(&g, 1);
        assert_code(neap_pool_closed(pool, nt.loop, &closed), NEAP_EINVALID_STATE);
        assert_int_equal(neap_pool_close(pool, flags), 1);
        assert_int_equal(neap_pool_close(pool, NEAP_POOL_FINISH), 0);
        assert_code(neap_pool_submit(pool, nt.loop, never, NULL, NULL, NULL, &refused),
                    NEAP_ECLOSED);
        assert_code(neap_pool_closed(pool, nt.loop, &closed), NEAP_PENDING);
        nt_turn();
        assert_state(closed, NEAP_STATE_PENDING);
        gate_open(&g);
        nt_until(closed);
        nt_until(first);
        nt_until(second);
        if (flags == 0)
            assert_code(neap_future_error(second), NEAP_ECLOSED);
        else
            assert_int_equal(nt_int(second), 9);
        neap_future_unref(closed);
        assert_code(neap_pool_closed(pool, nt.loop, &closed), 0);
        neap_future_unref(first);
        neap_future_unref(second);
        end_pool(pool);
    }
}

static void note_left(const char *name, int64_t running_ns, void *user) {
    assert_true(running_ns >= 0);
    nt_note("%s%s", (const char *)user, name);
}

static void D25_a_shutdown_names_the_jobs_that_it_leaves_behind(void **state) {
    (void)state;
    gate g;
    neap_future *futures[2];
    gate_init(&g);
    neap_pool *pool = new_pool(2);
    static const char *const names[] = {"first", "second"};
    for (int i = 0; i < 2; i++) {
        const neap_job_options options = {.size = sizeof options, .name = names[i]};
        assert_ok(neap_pool_submit(pool, nt.loop, wait_at_gate, &g, NULL, &options, &futures[i]));
        await_entered(&g, i + 1);
    }
    assert_int_equal(neap_pool_shutdown(pool, NT_MS, 0, note_left, NT_WORD("left:")), 2);
    assert_notes("left:first left:second");
    neap_pool_unref(pool);
    gate_open(&g);
    for (int i = 0; i < 2; i++) {
        nt_until(futures[i]);
        assert_int_equal(nt_int(futures[i]), 7);
        neap_future_unref(futures[i]);
    }
    assert_int_equal(atomic_load(&g.unwanted), 2);
    while (atomic_load(&nt.heap.bytes) > (long)nt_metrics().bytes)
        sched_yield(); /* the threads give up the last of the pool */
}

static int64_t shut_down_own_pool(neap_job *job, void *user) {
    (void)job;
    return neap_pool_shutdown(user, -1, 0, NULL, NULL);
}

static void a_job_cannot_wait_for_the_end_of_its_own_pool(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    neap_future *future = submit(pool, shut_down_own_pool, pool, NULL);
    nt_until(future);
    assert_code(neap_future_error(future), NEAP_EREENTRANT);
    neap_future_unref(future);
    end_pool(pool);
}

static void the_last_reference_leaves_the_jobs_to_be_done(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    neap_future *futures[3];
    for (int i = 0; i < 3; i++)
        futures[i] = submit(pool, answer, (void *)(intptr_t)i, NULL);
    neap_pool_unref(pool);
    for (int i = 0; i < 3; i++) {
        nt_until(futures[i]);
        assert_int_equal(nt_int(futures[i]), i);
        neap_future_unref(futures[i]);
    }
    while (atomic_load(&nt.heap.bytes) > (long)nt_metrics().bytes)
        sched_yield();
}

static void drop_pool(void *user) {
    neap_pool_unref(user);
}

static void the_last_reference_may_go_on_a_thread_of_the_pool(void **state) {
    (void)state;
    neap_pool *pool = new_pool(1);
    assert_ok(neap_pool_submit(pool, NULL, answer, pool, drop_pool, NULL, NULL));
    while (atomic_load(&nt.heap.bytes) > (long)nt_metrics().bytes)
        sched_yield();
}

/* ---- Loops */

static void a_loop_that_closes_lets_go_of_its_jobs(void **state) {
    (void)state;
    gate g;
    int destroyed = 0;
    gate_init(&g);
    neap_pool *pool = new_pool(1);
    neap_loop *loop = nt_loop_new(0);
    neap_future *running, *queued;
    assert_ok(neap_pool_submit(pool, loop, wait_at_gate, &g, gate_count_destroy, NULL, &running));
    assert_ok(neap_pool_submit(pool, loop, never, &destroyed, nt_count_fn, NULL, &queued));
    await_entered(&g, 1);
    nt_loop_end(loop);
    assert_int_equal(destroyed, 1);
    assert_code(neap_future_error(running), NEAP_ECLOSED);
    assert_code(neap_future_error(queued), NEAP_ECLOSED);
    neap_future_unref(running);
    neap_future_unref(queued);
    gate_open(&g);
    end_pool(pool);
    assert_int_equal(atomic_load(&g.destroyed), 1);
}

static int64_t wait_until_unwanted(neap_job *job, void *user) {
    atomic_fetch_add((atomic_int *)user, 1);
    while (neap_job_wanted(job))
        sched_yield();
    return 0;
}

static void D25_a_loop_has_pools_of_its_own_that_end_with_it(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_pool *pools[3], *again;
    atomic_int entered;
    neap_future *future;
    atomic_init(&entered, 0);
    for (int which = NEAP_POOL_FILES; which <= NEAP_POOL_USER; which++)
        assert_ok(neap_loop_pool(loop, which, &pools[which]));
    assert_string_equal(neap_pool_name(pools[NEAP_POOL_NAMES]), "names");
    assert_ok(neap_loop_pool(loop, NEAP_POOL_NAMES, &again));
    assert_ptr_equal(again, pools[NEAP_POOL_NAMES]);
    neap_pool_unref(again);
    assert_ptr_not_equal(pools[NEAP_POOL_FILES], pools[NEAP_POOL_USER]);
    assert_code(neap_loop_pool(loop, 3, &again), NEAP_EINVAL);
    assert_ok(neap_pool_submit(pools[NEAP_POOL_USER], loop, wait_until_unwanted, &entered, NULL,
                               NULL, &future));
    while (atomic_load(&entered) == 0)
        sched_yield();
    nt_loop_end(loop);
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    assert_int_equal(stats_of(pools[NEAP_POOL_USER]).threads, 0);
    neap_future_unref(future);
    for (int which = NEAP_POOL_FILES; which <= NEAP_POOL_USER; which++)
        neap_pool_unref(pools[which]);
}

static void D25_a_job_that_outlives_its_loop_is_reported_with_its_name(void **state) {
    (void)state;
    gate g;
    neap_pool *pool;
    neap_future *future;
    gate_init(&g);
    neap_loop *loop = nt_loop_new(0);
    const neap_job_options options = {.size = sizeof options, .name = "stubborn"};
    assert_ok(neap_loop_pool(loop, NEAP_POOL_USER, &pool));
    assert_ok(
        neap_pool_submit(pool, loop, wait_at_gate, &g, gate_count_destroy, &options, &future));
    await_entered(&g, 1);
    assert_ok(neap_loop_close(loop, 0));
    assert_non_null(strstr(nt_claim(NEAP_REPORT_LEFT)->message, "stubborn"));
    neap_future_unref(future);
    neap_pool_unref(pool);
    neap_loop_unref(loop);
    gate_open(&g);
    while (atomic_load(&nt.heap.bytes) > (long)nt_metrics().bytes)
        sched_yield();
    assert_int_equal(atomic_load(&g.destroyed), 1);
}

static void a_loop_can_be_given_a_pool(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_pool *own = new_pool(1), *found, *fresh;
    assert_ok(neap_loop_set_pool(loop, NEAP_POOL_FILES, own));
    assert_ok(neap_loop_pool(loop, NEAP_POOL_FILES, &found));
    assert_ptr_equal(found, own);
    assert_ok(neap_loop_set_pool(loop, NEAP_POOL_FILES, NULL));
    assert_ok(neap_loop_pool(loop, NEAP_POOL_FILES, &fresh));
    assert_ptr_not_equal(fresh, own);
    neap_pool_unref(fresh);
    neap_pool_unref(found);
    assert_ok(neap_loop_set_pool(loop, NEAP_POOL_FILES, own));
    nt_loop_end(loop);
    neap_future *future = submit(own, answer, (void *)2, NULL);
    nt_until(future);
    neap_future_unref(future);
    end_pool(own);
}

/* ---- After a fork */

struct inherited {
    neap_pool *pool;
    neap_future *future;
    gate *g;
};

static int child_uses_pool(void *user) {
    struct inherited *i = user;
    neap_pool_stats stats;
    neap_loop *loop;
    neap_loop_options options = nt_options(0);
    if (neap_pool_submit(i->pool, nt.loop, never, NULL, NULL, NULL, NULL) != NEAP_EFORKED)
        return 1;
    if (neap_loop_abandon(nt.loop) != 0 || neap_loop_new(&options, &loop) != 0)
        return 2;
    neap_future *future = NULL;
    if (neap_pool_submit(i->pool, loop, never, NULL, NULL, NULL, &future) != NEAP_EFORKED)
        return 3;
    if (neap_pool_get_stats(i->pool, &stats, sizeof stats) != NEAP_EFORKED)
        return 4;
    if (neap_pool_shutdown(i->pool, -1, 0, NULL, NULL) != NEAP_EFORKED)
        return 5;
    neap_future_unref(i->future);
    neap_pool_unref(i->pool);
    neap_loop_unref(loop);
    return 0;
}

static void in_a_forked_child_a_pool_does_nothing(void **state) {
    (void)state;
    gate g;
    gate_init(&g);
    struct inherited i = {.g = &g};
    assert_ok(neap_loop_pool(nt.loop, NEAP_POOL_USER, &i.pool));
    i.future = submit(i.pool, wait_at_gate, &g, NULL);
    await_entered(&g, 1);
    assert_int_equal(nt_in_child(child_uses_pool, &i), 0);
    gate_open(&g);
    nt_until(i.future);
    assert_int_equal(nt_int(i.future), 7);
    neap_future_unref(i.future);
    end_pool(i.pool);
}

/* ---- Many loops, many jobs, many cancels */

enum {
    LOOPS = 3,
    AT_ONCE = 16
};

typedef struct client {
    pthread_t thread;
    neap_pool *pool;
    neap_loop_options options;
    unsigned seed;
    int rounds, trouble;
    atomic_int ran, destroyed;
    int submitted, done, cancelled, refused;
} client;

static int64_t count_run(neap_job *job, void *user) {
    client *c = user;
    (void)neap_job_wanted(job);
    return atomic_fetch_add(&c->ran, 1) % 2 == 0 ? 1 : NEAP_EPIPE;
}

static void count_destroyed(void *user) {
    atomic_fetch_add(&((client *)user)->destroyed, 1);
}

static unsigned draw(client *c, unsigned n) {
    c->seed = c->seed * 1103515245u + 12345u;
    return (c->seed >> 16) % n;
}

static void end_future(client *c, neap_future *future) {
    int32_t state = neap_future_state(future);
    c->done += state == NEAP_STATE_RESULT || state == NEAP_STATE_ERROR;
    c->cancelled += state == NEAP_STATE_CANCELLED;
    c->trouble |= state == NEAP_STATE_PENDING;
    (void)neap_future_error(future);
    neap_future_unref(future);
}

static void round_of_jobs(client *c, neap_loop *loop) {
    neap_future *futures[AT_ONCE];
    int n = 0;
    for (int i = 0; i < AT_ONCE; i++) {
        int32_t rc =
            neap_pool_submit(c->pool, loop, count_run, c, count_destroyed, NULL, &futures[n]);
        c->submitted++;
        c->refused += rc == NEAP_EBUSY;
        c->trouble |= rc < 0 && rc != NEAP_EBUSY;
        n += rc == 0;
    }
    for (int i = 0; i < n; i++)
        if (draw(c, 3) == 0)
            neap_future_cancel(futures[i], NULL);
    for (int i = 0; i < n; i++) {
        int32_t rc = neap_loop_run_until(loop, futures[i]);
        c->trouble |= rc < 0;
        end_future(c, futures[i]);
    }
}

static void *be_client(void *user) {
    client *c = user;
    neap_loop *loop;
    for (int part = 0; part < 2; part++) {
        if (neap_loop_new(&c->options, &loop) < 0) {
            c->trouble = 1;
            return NULL;
        }
        for (int i = 0; i < c->rounds; i++)
            round_of_jobs(c, loop);
        for (int i = 0; i < AT_ONCE; i++) { /* some run while the loop closes */
            neap_future *future;
            c->submitted++;
            if (neap_pool_submit(c->pool, loop, count_run, c, count_destroyed, NULL, &future) < 0)
                c->refused++;
            else
                neap_future_unref(future);
        }
        c->trouble |= neap_loop_close(loop, 0) != 0;
        neap_loop_unref(loop);
    }
    return NULL;
}

static void each_job_of_many_loops_ends_once(void **state) {
    (void)state;
    client clients[LOOPS];
    int rounds = nt_slow_machine() ? 100 : 1000;
    neap_pool *pool =
        new_pool_of((neap_pool_options){.threads_max = 4, .queue_max = 20, .idle_ns = 10000});
    for (int i = 0; i < LOOPS; i++) {
        clients[i] = (client){
            .pool = pool, .options = nt_options(0), .seed = (unsigned)i + 1, .rounds = rounds};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, be_client, &clients[i]), 0);
    }
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
    end_pool(pool);
    for (int i = 0; i < LOOPS; i++) {
        client *c = &clients[i];
        assert_int_equal(c->trouble, 0);
        assert_int_equal(atomic_load(&c->destroyed), c->submitted);
        assert_true(atomic_load(&c->ran) <= c->submitted - c->refused);
        assert_true(c->done > 0 && c->cancelled > 0);
    }
}

NT_MAIN(NT_TEST(a_job_answers_an_integer_or_fails_with_a_code),
        NT_TEST(a_finisher_hands_over_what_the_job_made_on_the_thread_of_the_loop),
        NT_TEST(D25_a_job_goes_on_when_its_future_is_dropped),
        NT_TEST(any_thread_may_give_jobs_whose_end_nobody_hears),
        NT_TEST(D25_a_job_that_has_not_begun_is_taken_back),
        NT_TEST(D25_who_cancels_a_running_job_is_free_at_once_and_the_late_result_is_destroyed),
        NT_TEST(C10_a_cancel_loses_to_a_job_that_is_over), NT_TEST(D25_a_full_queue_refuses),
        NT_TEST(threads_are_made_for_work_and_end_without_it),
        NT_TEST(a_thread_that_the_system_refuses_is_an_error_only_if_there_is_no_other),
        NT_TEST(threads_block_all_signals),
        NT_TEST(a_thread_keeps_data_of_bindings_between_jobs_and_has_hooks),
        NT_TEST(the_job_that_a_task_waits_for_is_named_and_no_deadlock),
        NT_TEST_VIRTUAL(a_virtual_clock_stands_while_a_job_runs),
        NT_TEST(a_closed_pool_refuses_what_waits_or_finishes_it),
        NT_TEST(D25_a_shutdown_names_the_jobs_that_it_leaves_behind),
        NT_TEST(a_job_cannot_wait_for_the_end_of_its_own_pool),
        NT_TEST(the_last_reference_leaves_the_jobs_to_be_done),
        NT_TEST(the_last_reference_may_go_on_a_thread_of_the_pool),
        NT_TEST(a_loop_that_closes_lets_go_of_its_jobs),
        NT_TEST(D25_a_loop_has_pools_of_its_own_that_end_with_it),
        NT_TEST(D25_a_job_that_outlives_its_loop_is_reported_with_its_name),
        NT_TEST(a_loop_can_be_given_a_pool), NT_TEST(in_a_forked_child_a_pool_does_nothing),
        NT_TEST(each_job_of_many_loops_ends_once))
