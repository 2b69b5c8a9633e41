/* Hand-over wins: tasks that share a lock and a channel are cancelled at any moment, each for itself and all by their
   scope; no item and no lock is lost, and never are two inside.  Seeds as in test_completion_wins.c. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net.h"

enum {
    SCHEDULES = 1000000,
    SCHEDULES_SLOW = 10000,
    WORKERS = 4,
    ITEMS = 12,
    MOVES = 40
};

static uint64_t seed_of_schedule;
static long n_handed; /* waits that were served, and that were cancelled, over all schedules */
static long n_cancelled;

#define check(condition)                                                                  \
    do {                                                                                  \
        if (!(condition))                                                                 \
            fail_msg("schedule with seed %llu: %s", (unsigned long long)seed_of_schedule, \
                     #condition);                                                         \
    } while (0)

typedef struct shop {
    neap_lock *lock;
    neap_chan *chan;
    neap_scope *scope;
    int inside;
    int sent;
    int seen[ITEMS];
} shop;

typedef struct worker {
    shop *s;
    enum {
        WANTS_LOCK,
        INSIDE,
        WANTS_ITEM
    } phase;
    int dwell; /* turns inside */
    int ended;
} worker;

static void see(shop *s, int64_t item) {
    check(item >= 0 && item < s->sent);
    check(s->seen[item] == 0);
    s->seen[item] = 1;
}

static void go_in(worker *w) {
    check(++w->s->inside == 1);
    w->phase = INSIDE;
    w->dwell = (int)(seed_of_schedule + (uint64_t)w->s->sent) % 3;
}

static void go_out(worker *w) {
    w->s->inside--;
    check(neap_lock_release(w->s->lock) == 0);
    w->phase = WANTS_ITEM;
}

/* What the wait has brought, if it was served.  As in a language, nobody looks behind a cancellation. */
static void take(worker *w, neap_future *awaited, int32_t wake) {
    neap_value value;
    if (awaited == NULL)
        return;
    int32_t code = wake == NEAP_WAKE_CANCEL ? NEAP_ECANCELED : neap_future_error(awaited);
    check(code == 0 || code == NEAP_ECANCELED);
    n_handed += code == 0;
    n_cancelled += code != 0;
    if (code == 0 && w->phase == WANTS_LOCK) {
        go_in(w);
    } else if (code == 0) {
        check(neap_future_value(awaited, &value, sizeof value) == NEAP_KIND_INT);
        see(w->s, value.i);
        w->phase = WANTS_LOCK;
    }
}

static int32_t wait_for(neap_task *task, neap_future *future) {
    check(neap_task_await(task, future) == 0);
    neap_future_unref(future);
    return NEAP_STEP_AWAIT;
}

static int32_t work(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    worker *w = user;
    neap_future *future = NULL;
    neap_value value;
    take(w, awaited, wake);
    for (;;) {
        if (w->phase == INSIDE) {
            if (w->dwell-- > 0)
                return NEAP_STEP_YIELD;
            go_out(w);
        }
        if (neap_task_cancelled_by(task) != NULL)
            return NEAP_STEP_CANCELLED;
        int32_t rc = w->phase == WANTS_LOCK
                         ? neap_lock_acquire(w->s->lock, &future)
                         : neap_chan_recv(w->s->chan, &value, sizeof value, &future);
        if (rc == NEAP_PENDING)
            return wait_for(task, future);
        check(rc >= 0);
        if (w->phase == WANTS_LOCK) {
            go_in(w);
        } else {
            see(w->s, value.i);
            w->phase = WANTS_LOCK;
        }
    }
}

static void gone(void *user) {
    ((worker *)user)->ended++;
}

static const neap_task_ops worker_ops = {
    .size = sizeof(neap_task_ops), .step = work, .destroy = gone};

static void move(shop *s, neap_task **tasks, uint64_t *seed) {
    uint64_t dice = net_below(seed, 20);
    if (dice < 7 && s->sent < ITEMS) {
        s->sent++; /* before a receiver can see it */
        int32_t rc = neap_chan_send_int(s->chan, s->sent - 1, NULL);
        check(rc == 0 || rc == NEAP_EAGAIN);
        if (rc == NEAP_EAGAIN)
            s->sent--;
    } else if (dice < 12) {
        neap_task_cancel(tasks[net_below(seed, WORKERS)], NULL);
    } else if (dice == 12 && net_below(seed, 8) == 0) {
        neap_scope_cancel(s->scope, NULL);
    } else {
        check(neap_loop_run_once(nt.loop, 0) >= 0);
    }
}

static void run_schedule(uint64_t seed) {
    shop s = {0};
    worker workers[WORKERS] = {{0}};
    neap_task *tasks[WORKERS];
    neap_value value;
    assert_ok(neap_lock_new(nt.loop, &s.lock));
    assert_ok(neap_chan_new(nt.loop, (size_t)net_below(&seed, 3), &s.chan));
    assert_ok(neap_scope_new(nt.loop, NULL, 0, &s.scope));
    neap_task_options options = {.size = sizeof options, .scope = s.scope};
    for (int i = 0; i < WORKERS; i++) {
        workers[i].s = &s;
        assert_ok(neap_task_spawn(nt.loop, &worker_ops, &workers[i], &options, &tasks[i]));
    }
    for (int i = 0; i < MOVES; i++)
        move(&s, tasks, &seed);
    (void)neap_scope_cancel(s.scope, NULL);
    nt_settle();
    while (neap_chan_recv(s.chan, &value, sizeof value, NULL) == NEAP_KIND_INT)
        see(&s, value.i);
    for (int i = 0; i < s.sent; i++)
        check(s.seen[i] == 1);
    check(s.inside == 0 && neap_lock_holder(s.lock) == 0);
    for (int i = 0; i < WORKERS; i++) {
        check(workers[i].ended == 1);
        neap_task_unref(tasks[i]);
    }
    neap_scope_unref(s.scope);
    neap_chan_unref(s.chan);
    neap_lock_unref(s.lock);
}

static void C10_no_item_and_no_lock_is_lost_between_tasks_that_are_cancelled(void **state) {
    (void)state;
    const char *count = getenv("NEAP_TEST_SCHEDULES"), *first = getenv("NEAP_TEST_SEED");
    long n = count != NULL ? atol(count) : nt_slow_machine() ? SCHEDULES_SLOW : SCHEDULES;
    alarm((unsigned)(120 + n / 200)); /* the watchdog's, for so many */
    n_handed = n_cancelled = 0;
    for (long i = 0; i < n; i++) {
        seed_of_schedule = (first != NULL ? strtoull(first, NULL, 0) : 1) + (uint64_t)i;
        run_schedule(seed_of_schedule);
    }
    print_message("%ld schedules: %ld waits served, %ld cancelled\n", n, n_handed, n_cancelled);
    assert_true(first != NULL || (n_handed > n / 20 && n_cancelled > n / 20));
}

NT_MAIN(NT_TEST_VIRTUAL(C10_no_item_and_no_lock_is_lost_between_tasks_that_are_cancelled))
