/* Random programs on one loop: tasks that yield, wait, spawn, fail, cancel each other and
   themselves, futures that are completed, cancelled and forgotten, timers that are moved and
   cancelled, combinations of all of it.  Whatever the schedule: each callback at most once, each
   destroy hook exactly once, no step inside a step, nothing left over. NEAP_TEST_SCHEDULES tells
   how many programs, NEAP_TEST_SEED where to begin. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

enum {
    SLOTS = 24,
    ACTORS = 400,
    REGISTRATIONS = 2000,
    HANDLES = 16
};

/* A task that does something random in each step. */
struct actor {
    neap_task *task; /* borrowed: for comparing */
    int steps_left;
    int running;
    int destroyed;
    int steps;
};

/* A callback, on a future or by itself. */
struct registration {
    int called;
    int destroyed;
    int once; /* not a repeating timer */
};

static struct {
    neap_loop *loop;
    neap_future *slots[SLOTS]; /* each with a reference, or NULL */
    neap_handle *handles[HANDLES];
    struct actor actors[ACTORS];
    int n_actors;
    struct registration registrations[REGISTRATIONS];
    int n_registrations;
    int depth;   /* steps and callbacks that are running: never more than 1 */
    int closing; /* nothing can be started any more */
    int faults;  /* memory may fail */
    uint64_t random;
} w;

static uint32_t rnd(uint32_t below) {
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return (uint32_t)(w.random >> 32) % below;
}

/* 1 if the call succeeded; where memory fails it may have failed for that. */
static int made(int32_t code) {
    if (code == NEAP_ENOMEM && w.faults)
        return 0;
    assert_true(code >= 0);
    return 1;
}

static void enter(void) {
    assert_int_equal(w.depth, 0);
    w.depth++;
}

static void leave(void) {
    w.depth--;
}

static neap_future *any_slot(void) {
    return w.slots[rnd(SLOTS)];
}

/* Puts a new reference into a slot; what was there is dropped. */
static void put(neap_future *future) {
    neap_future **slot = &w.slots[rnd(SLOTS)];
    neap_future_unref(*slot);
    *slot = future;
}

static void put_handle(neap_handle *handle) {
    neap_handle **slot = &w.handles[rnd(HANDLES)];
    neap_handle_unref(*slot);
    *slot = handle;
}

static void do_something(void);

/* ---- Callbacks ------------------------------------------------------------------------------- */

static void registration_called(void *user) {
    struct registration *r = user;
    enter();
    r->called++;
    assert_int_equal(r->destroyed, 0);
    if (r->once)
        assert_int_equal(r->called, 1);
    if (!w.closing && rnd(3) == 0)
        do_something();
    leave();
}

static void registration_done(neap_future *future, void *user) {
    assert_int_equal(neap_future_done(future), 1);
    registration_called(user);
}

static void registration_destroyed(void *user) {
    struct registration *r = user;
    r->destroyed++;
    assert_int_equal(r->destroyed, 1);
}

/* NULL when there were enough. */
static struct registration *registration_new(void) {
    if (w.n_registrations == REGISTRATIONS)
        return NULL;
    struct registration *r = &w.registrations[w.n_registrations++];
    r->once = 1;
    return r;
}

/* ---- Tasks ----------------------------------------------------------------------------------- */

static int32_t actor_awaits(neap_task *task, struct actor *a) {
    neap_future *future = NULL;
    int32_t code;
    (void)a;
    if (rnd(3) == 0) {
        if (!made(neap_sleep(w.loop, rnd(20), &future)))
            return NEAP_STEP_YIELD;
        code = neap_task_await(task, future);
        neap_future_unref(future);
    } else {
        future = any_slot();
        if (future == NULL)
            return NEAP_STEP_YIELD;
        code = neap_task_await(task, future);
    }
    if (code == 0)
        return NEAP_STEP_AWAIT;
    assert_int_equal(code, NEAP_EAWAIT_SELF);
    return NEAP_STEP_YIELD;
}

static int32_t actor_ends(neap_task *task) {
    neap_future *self = neap_task_future(task);
    int32_t code = 0;
    switch (rnd(4)) {
    case 0:
        code = neap_future_set_int(self, 1);
        break;
    case 1:
        code = neap_future_set_error(self, NEAP_EPIPE, "random");
        break;
    case 2:
        return NEAP_STEP_CANCELLED;
    default:
        break;
    }
    /* It may have found itself in a slot and have set its outcome there. */
    assert_true(code == NEAP_EINVALID_STATE || made(code) >= 0);
    return NEAP_STEP_DONE;
}

static int32_t actor_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    struct actor *a = user;
    enter();
    assert_int_equal(a->running, 0);
    assert_int_equal(a->destroyed, 0);
    assert_true((wake == NEAP_WAKE_START) == (a->steps == 0));
    if (wake == NEAP_WAKE_READY)
        assert_int_equal(neap_future_done(awaited), 1);
    if (wake == NEAP_WAKE_RESUME || wake == NEAP_WAKE_START)
        assert_null(awaited);
    assert_ptr_equal(neap_task_current(w.loop), task);
    a->running = 1;
    a->steps++;
    int cancelled = wake == NEAP_WAKE_CANCEL ||
                    (awaited != NULL && neap_future_state(awaited) == NEAP_STATE_CANCELLED);
    if (rnd(2) == 0)
        do_something();
    if (rnd(16) == 0)
        neap_task_cancel(task, "itself");
    int32_t step;
    if (cancelled && rnd(2) == 0)
        step = NEAP_STEP_CANCELLED;
    else if (a->steps_left-- == 0)
        step = actor_ends(task);
    else
        step = rnd(3) == 0 ? NEAP_STEP_YIELD : actor_awaits(task, a);
    a->running = 0;
    leave();
    return step;
}

static void actor_destroyed(void *user) {
    struct actor *a = user;
    a->destroyed++;
    assert_int_equal(a->destroyed, 1);
    assert_int_equal(a->running, 0);
}

static const neap_task_ops actor_ops = {
    .size = sizeof(neap_task_ops), .step = actor_step, .destroy = actor_destroyed};

static void spawn(void) {
    if (w.n_actors == ACTORS)
        return;
    struct actor *a = &w.actors[w.n_actors++];
    neap_task *task = NULL;
    a->steps_left = (int)rnd(6);
    if (!made(neap_task_spawn(w.loop, &actor_ops, a, NULL, &task)))
        return;
    if (rnd(2) == 0)
        put(neap_future_ref(neap_task_future(task)));
    neap_task_unref(task);
}

/* ---- Random deeds ---------------------------------------------------------------------------- */

static void complete(neap_future *future) {
    int32_t code;
    if (future == NULL)
        return;
    int32_t before = neap_future_state(future);
    switch (rnd(3)) {
    case 0:
        code = neap_future_set_int(future, 7);
        break;
    case 1:
        code = neap_future_set_bytes(future, "some bytes", 10);
        break;
    default:
        code = neap_future_set_error(future, NEAP_ETIMEOUT, "random");
        break;
    }
    /* Of tasks, sleeps and combinations the outcome is theirs alone. */
    if (before != NEAP_STATE_PENDING)
        assert_int_equal(code, neap_future_task(future) != NULL ? code : NEAP_EINVALID_STATE);
    if (code != 0)
        assert_int_equal(neap_future_state(future), before);
}

static void add_callback(neap_future *future) {
    struct registration *r = future != NULL ? registration_new() : NULL;
    neap_handle *handle = NULL;
    if (r == NULL)
        return;
    if (made(neap_future_on_done(future, registration_done, r, registration_destroyed, &handle)))
        put_handle(handle);
    else
        assert_int_equal(r->destroyed, 1);
}

static void add_timer(void) {
    struct registration *r = registration_new();
    neap_handle *handle = NULL;
    if (r == NULL)
        return;
    int32_t code;
    switch (rnd(3)) {
    case 0:
        code = neap_call_soon(w.loop, registration_called, r, registration_destroyed, &handle);
        break;
    case 1:
        r->once = 0; /* it may be moved by itself */
        code = neap_call_later(w.loop, rnd(20), registration_called, r, registration_destroyed,
                               &handle);
        break;
    default:
        r->once = 0;
        code = neap_call_every(w.loop, rnd(20), 1 + rnd(10), registration_called, r,
                               registration_destroyed, &handle);
        break;
    }
    if (made(code))
        put_handle(handle);
    else
        assert_int_equal(r->destroyed, 1);
}

static void touch_handle(void) {
    neap_handle *handle = w.handles[rnd(HANDLES)];
    if (handle == NULL)
        return;
    if (rnd(2) == 0) {
        assert_true(neap_handle_cancel(handle) >= 0);
    } else {
        int32_t code = neap_handle_reset(handle, rnd(20));
        assert_true(code == NEAP_EINVALID_STATE || made(code) >= 0);
    }
}

static void combine(void) {
    neap_future *members[4];
    neap_future *whole = NULL;
    int32_t code;
    size_t n = 0;
    for (uint32_t i = 1 + rnd(4); i > 0; i--) {
        neap_future *member = any_slot();
        if (member != NULL)
            members[n++] = member;
    }
    if (n == 0)
        return;
    switch (rnd(5)) {
    case 0:
        code = neap_gather(w.loop, members, n, 0, &whole);
        break;
    case 1:
        code = neap_gather(w.loop, members, n, NEAP_GATHER_RETURN_ERRORS, &whole);
        break;
    case 2:
        code =
            neap_wait(w.loop, members, n, (int32_t)rnd(3), rnd(2) ? -1 : (int64_t)rnd(20), &whole);
        break;
    case 3:
        code = neap_wait_for(members[0], rnd(20), &whole);
        break;
    default:
        code = neap_shield(members[0], &whole);
        break;
    }
    if (made(code))
        put(whole);
}

static neap_task *victim; /* to be aborted after the walk */

static int32_t cancel_some(neap_task *task, void *user) {
    (void)user;
    if (rnd(4) == 0)
        neap_task_cancel(task, "walked over");
    else if (victim == NULL && rnd(16) == 0 && task != neap_task_current(w.loop))
        victim = neap_task_ref(task);
    return rnd(8) == 0;
}

static void do_something(void) {
    neap_future *future = NULL;
    switch (rnd(12)) {
    case 0:
    case 1:
        spawn();
        break;
    case 2:
        if (made(neap_future_new(w.loop, &future)))
            put(future);
        break;
    case 3:
        if (made(neap_sleep(w.loop, rnd(20), &future)))
            put(future);
        break;
    case 4:
        complete(any_slot());
        break;
    case 5:
        future = any_slot();
        if (future != NULL)
            assert_true(neap_future_cancel(future, "random") >= 0);
        break;
    case 6:
        put(NULL);
        break;
    case 7:
        add_callback(any_slot());
        break;
    case 8:
        add_timer();
        break;
    case 9:
        touch_handle();
        break;
    case 10:
        combine();
        break;
    default:
        victim = NULL;
        assert_true(neap_task_walk(w.loop, cancel_some, NULL) >= 0);
        if (victim != NULL)
            assert_true(neap_task_abort(victim) >= 0);
        neap_task_unref(victim);
        break;
    }
}

/* ---- One program ----------------------------------------------------------------------------- */

static void drop_everything(void) {
    for (int i = 0; i < SLOTS; i++) {
        neap_future_unref(w.slots[i]);
        w.slots[i] = NULL;
    }
    for (int i = 0; i < HANDLES; i++) {
        neap_handle_unref(w.handles[i]);
        w.handles[i] = NULL;
    }
}

static long steps, calls; /* of all programs: that something happened at all */

static void faults(void) {
    if (w.faults)
        nt_heap_fail(&nt.heap, 1 + (long)rnd(40), rnd(4) == 0);
}

static void run_program(uint64_t seed, int with_faults) {
    memset(&w, 0, sizeof w);
    w.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    w.loop = nt_loop_new(NEAP_LOOP_VIRTUAL_CLOCK | (rnd(2) ? NEAP_LOOP_DEBUG : 0));
    w.faults = with_faults;
    for (int round = 0; round < 150; round++) {
        faults();
        for (uint32_t i = rnd(3); i > 0; i--)
            do_something();
        made(neap_loop_run_once(w.loop, (int64_t)rnd(8)));
        nt_claim_all();
    }
    int order = (int)rnd(3);
    if (order == 0)
        drop_everything();
    if (rnd(2) == 0)
        made(neap_loop_shutdown(w.loop, rnd(50)));
    nt_claim_all();
    if (order == 1)
        drop_everything();
    w.closing = 1;
    assert_ok(neap_loop_close(w.loop, rnd(2) ? NEAP_CLOSE_SILENT : 0));
    drop_everything();
    neap_loop_unref(w.loop);
    nt_heap_fail(&nt.heap, 0, 0);
    nt_claim_all();
    assert_int_equal(w.depth, 0);
    for (int i = 0; i < w.n_actors; i++) {
        assert_int_equal(w.actors[i].destroyed, 1);
        steps += w.actors[i].steps;
    }
    for (int i = 0; i < w.n_registrations; i++) {
        assert_int_equal(w.registrations[i].destroyed, 1);
        calls += w.registrations[i].called;
    }
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
    assert_int_equal(atomic_load(&nt.heap.blocks), 0);
    assert_int_equal(atomic_load(&nt.heap.misuse), 0);
}

static unsigned long from_environment(const char *name, unsigned long otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoul(text, NULL, 10) : otherwise;
}

static void run_programs(int with_faults) {
    unsigned long n = from_environment("NEAP_TEST_SCHEDULES", nt_slow_machine() ? 200 : 2000);
    unsigned long first = from_environment("NEAP_TEST_SEED", 1);
    for (unsigned long seed = first; seed < first + n; seed++) {
        if (getenv("NEAP_TEST_SEED") != NULL)
            fprintf(stderr, "seed %lu\n", seed);
        run_program(seed, with_faults);
    }
    print_message("%lu programs: %ld steps, %ld calls\n", n, steps, calls);
    assert_true(steps > (long)n && calls > (long)n);
}

static void random_programs_keep_every_promise(void **state) {
    (void)state;
    run_programs(0);
}

static void random_programs_keep_every_promise_also_when_memory_fails(void **state) {
    (void)state;
    run_programs(1);
}

NT_MAIN(NT_TEST_BARE(random_programs_keep_every_promise),
        NT_TEST_BARE(random_programs_keep_every_promise_also_when_memory_fails))
