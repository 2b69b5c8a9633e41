/* Locks, semaphores and channels: who waits is served in order, and nothing is lost to a cancellation. */
#include <string.h>

#include "support.h"

/* ---- Locks */

typedef struct user {
    neap_lock *lock;
    neap_future *future; /* of the wait; done at once if there was none */
    int32_t code;
} user;

static void acquire(void *arg) {
    user *u = arg;
    u->future = NULL;
    u->code = neap_lock_acquire(u->lock, &u->future);
    if (u->code == NEAP_PENDING)
        return;
    u->future = nt_future();
    assert_ok(neap_future_set_none(u->future));
}

static void release(void *arg) {
    user *u = arg;
    u->code = neap_lock_release(u->lock);
    if (u->future != NULL)
        neap_future_unref(u->future);
    u->future = NULL;
}

static neap_lock *new_lock(void) {
    neap_lock *lock;
    assert_ok(neap_lock_new(nt.loop, &lock));
    return lock;
}

/* Takes the lock, keeps it for a second. */
#define KEEPS(u, word)                                                                           \
    NT_ACTS(NT_CALL(acquire, (u)), NT_AWAIT_LATE(&(u)->future), NT_NOTE(word), NT_SLEEP(NT_SEC), \
            NT_NOTE("-"), NT_CALL(release, (u)))

static void D23_a_lock_goes_from_task_to_task_in_the_order_of_arrival(void **state) {
    (void)state;
    neap_lock *lock = new_lock();
    user u[3] = {{lock, NULL, 0}, {lock, NULL, 0}, {lock, NULL, 0}};
    nt_script s[3];
    neap_task_unref(nt_spawn(&s[0], "a", KEEPS(&u[0], "a")));
    neap_task_unref(nt_spawn(&s[1], "b", KEEPS(&u[1], "b")));
    neap_task *last = nt_spawn(&s[2], "c", KEEPS(&u[2], "c"));
    nt_turn();
    assert_code(u[1].code, NEAP_PENDING);
    nt_until_task(last);
    assert_notes("a - b - c -");
    assert_int_equal(neap_lock_holder(lock), 0);
    neap_task_unref(last);
    neap_lock_unref(lock);
}

static void a_lock_is_refused_to_its_holder_and_released_by_nobody_else(void **state) {
    (void)state;
    neap_lock *lock = new_lock();
    user u = {lock, NULL, 0}, again = {lock, NULL, 0}, other = {lock, NULL, 0};
    nt_script s, t;
    neap_future *none = NULL;
    neap_task_unref(nt_spawn(&s, "s",
                             NT_ACTS(NT_CALL(acquire, &u), NT_CALL(acquire, &again), NT_YIELD,
                                     NT_YIELD, NT_CALL(release, &u))));
    neap_task_unref(nt_spawn(&t, "t", NT_ACTS(NT_CALL(release, &other))));
    nt_turn();
    assert_code(again.code, NEAP_EDEADLOCK);
    assert_code(other.code, NEAP_EPERM);
    assert_code(neap_lock_acquire(lock, &none), NEAP_ENO_TASK);
    assert_code(neap_lock_release(lock), NEAP_EPERM);
    assert_null(none);
    nt_settle();
    assert_ok(u.code);
    neap_future_unref(again.future);
    neap_lock_unref(lock);
}

static void try_it(void *arg) {
    user *u = arg;
    u->code = neap_lock_acquire(u->lock, NULL);
}

static void without_a_future_a_lock_is_only_tried(void **state) {
    (void)state;
    neap_lock *lock = new_lock();
    user u = {lock, NULL, 0}, other = {lock, NULL, 0};
    nt_script s, t;
    neap_task_unref(nt_spawn(&s, "s", NT_ACTS(NT_CALL(try_it, &u), NT_YIELD)));
    neap_task_unref(nt_spawn(&t, "t", NT_ACTS(NT_CALL(try_it, &other))));
    nt_settle();
    assert_ok(u.code);
    assert_code(other.code, NEAP_EAGAIN);
    neap_lock_unref(lock);
}

static void a_lock_passes_over_who_was_cancelled(void **state) {
    (void)state;
    neap_lock *lock = new_lock();
    user u[3] = {{lock, NULL, 0}, {lock, NULL, 0}, {lock, NULL, 0}};
    nt_script s[3];
    neap_task_unref(nt_spawn(&s[0], "a", KEEPS(&u[0], "a")));
    neap_task *cancelled = nt_spawn(&s[1], "b", KEEPS(&u[1], "b"));
    neap_task *last = nt_spawn(&s[2], "c", KEEPS(&u[2], "c"));
    nt_turns(2);
    assert_int_equal(neap_task_cancel(cancelled, NULL), 1);
    nt_until_task(last);
    assert_notes("a - c -");
    assert_int_equal(neap_loop_time(nt.loop), 2 * NT_SEC);
    assert_state(neap_task_future(cancelled), NEAP_STATE_CANCELLED);
    neap_future_unref(u[1].future);
    neap_task_unref(cancelled);
    neap_task_unref(last);
    neap_lock_unref(lock);
}

static void
D2_C10_a_lock_that_was_handed_over_stays_with_who_is_cancelled_in_the_same_tick(void **state) {
    (void)state;
    neap_lock *lock = new_lock();
    user a = {lock, NULL, 0}, b = {lock, NULL, 0};
    nt_script s, t;
    neap_task_unref(
        nt_spawn(&s, "a", NT_ACTS(NT_CALL(acquire, &a), NT_YIELD, NT_CALL(release, &a))));
    neap_task *task =
        nt_spawn(&t, "b",
                 NT_ACTS(NT_CALL(acquire, &b), NT_AWAIT_LATE(&b.future), NT_NOTE("has it"),
                         NT_YIELD_CATCH, NT_CALL(release, &b), NT_RETURN(1)));
    nt_turns(2);
    assert_int_equal(neap_lock_holder(lock), neap_task_id(task));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_notes("has it");
    assert_ok(b.code);
    assert_int_equal(t.cancels, 1);
    assert_int_equal(neap_lock_holder(lock), 0);
    neap_task_unref(task);
    neap_lock_unref(lock);
}

/* ---- Events */

static void an_event_lets_all_go_and_stays_set_until_it_is_cleared(void **state) {
    (void)state;
    neap_event *event;
    neap_future *waits[4];
    assert_ok(neap_event_new(nt.loop, &event));
    assert_int_equal(neap_event_is_set(event), 0);
    for (int i = 0; i < 3; i++)
        assert_code(neap_event_wait(event, &waits[i]), NEAP_PENDING);
    assert_code(neap_event_wait(event, NULL), NEAP_EAGAIN);
    assert_int_equal(neap_future_cancel(waits[1], NULL), 1);
    assert_int_equal(neap_event_set(event), 1);
    assert_int_equal(neap_event_set(event), 0);
    assert_state(waits[0], NEAP_STATE_RESULT);
    assert_state(waits[1], NEAP_STATE_CANCELLED);
    assert_state(waits[2], NEAP_STATE_RESULT);
    assert_ok(neap_event_wait(event, NULL));
    assert_int_equal(neap_event_is_set(event), 1);
    assert_int_equal(neap_event_clear(event), 1);
    assert_int_equal(neap_event_clear(event), 0);
    assert_code(neap_event_wait(event, &waits[3]), NEAP_PENDING);
    neap_event_unref(event);
    assert_state(waits[3], NEAP_STATE_PENDING);
    for (int i = 0; i < 4; i++)
        neap_future_unref(waits[i]);
}

/* ---- Each order of events, up to a length: the real thing beside a model */

enum {
    EVENTS = 7, /* in a row */
    WAITERS = EVENTS
};

/* Counts through the sequences of digits below `base`; false after the last. */
static int next_sequence(int *digits, int base) {
    for (int i = EVENTS - 1; i >= 0; i--) {
        if (++digits[i] < base)
            return 1;
        digits[i] = 0;
    }
    return 0;
}

typedef struct model_sem {
    neap_sem *sem;
    int64_t permits;
    int made, begun; /* waiters that were ever made; the oldest that may still wait */
    neap_future *futures[WAITERS];
    int32_t expected[WAITERS];
} model_sem;

static int oldest(model_sem *m) {
    for (int i = 0; i < m->made; i++)
        if (m->expected[i] == NEAP_STATE_PENDING)
            return i;
    return -1;
}

/* The n-th that waits, from the front. */
static int waiting(model_sem *m, int n) {
    for (int i = 0; i < m->made; i++)
        if (m->expected[i] == NEAP_STATE_PENDING && n-- == 0)
            return i;
    return -1;
}

static void sem_acquire(model_sem *m) {
    neap_future *future = NULL;
    int32_t rc = neap_sem_acquire(m->sem, &future);
    assert_code(rc, m->permits > 0 ? 0 : NEAP_PENDING);
    if (m->permits > 0) {
        m->permits--;
        return;
    }
    m->futures[m->made] = future;
    m->expected[m->made++] = NEAP_STATE_PENDING;
}

static void sem_release(model_sem *m) {
    int first = oldest(m);
    assert_ok(neap_sem_release(m->sem));
    if (first >= 0)
        m->expected[first] = NEAP_STATE_RESULT;
    else
        m->permits++;
}

static void sem_cancel(model_sem *m, int n) {
    int i = waiting(m, n);
    if (i < 0)
        return;
    assert_int_equal(neap_future_cancel(m->futures[i], NULL), 1);
    m->expected[i] = NEAP_STATE_CANCELLED;
}

static void sem_event(model_sem *m, int event) {
    if (event == 0)
        sem_acquire(m);
    else if (event == 1)
        sem_release(m);
    else
        sem_cancel(m, event - 2);
    assert_int_equal(neap_sem_permits(m->sem), m->permits);
    for (int i = 0; i < m->made; i++)
        assert_state(m->futures[i], m->expected[i]);
}

static void D23_in_every_order_of_events_a_semaphore_gives_each_permit_once(void **state) {
    (void)state;
    for (int permits = 0; permits <= 1; permits++) {
        int events[EVENTS] = {0};
        do {
            model_sem m = {.permits = permits};
            assert_ok(neap_sem_new(nt.loop, permits, &m.sem));
            for (int i = 0; i < EVENTS; i++)
                sem_event(&m, events[i]);
            for (int i = 0; i < m.made; i++)
                neap_future_unref(m.futures[i]);
            neap_sem_unref(m.sem);
        } while (next_sequence(events, 5));
    }
}

/* ---- Channels */

static void destroyed(void *ptr) {
    ++*(int *)ptr;
}

static neap_chan *new_chan(size_t capacity) {
    neap_chan *chan;
    assert_ok(neap_chan_new(nt.loop, capacity, &chan));
    return chan;
}

typedef struct side {
    neap_future *future;
    int32_t expected; /* state */
    int value;        /* sent, or to be received; 0: none */
} side;

typedef struct model_chan {
    neap_chan *chan;
    int capacity, closed;
    int store[EVENTS], len;
    side senders[WAITERS], receivers[WAITERS];
    int n_senders, n_receivers, sent;
} model_chan;

static side *nth_waiting(side *sides, int n, int which) {
    for (int i = 0; i < n; i++)
        if (sides[i].expected == NEAP_STATE_PENDING && which-- == 0)
            return &sides[i];
    return NULL;
}

static void chan_send(model_chan *m) {
    neap_future *future = NULL;
    int value = ++m->sent;
    side *receiver = nth_waiting(m->receivers, m->n_receivers, 0);
    int32_t rc = neap_chan_send_int(m->chan, value, &future);
    if (m->closed) {
        assert_code(rc, NEAP_ECLOSED);
    } else if (receiver != NULL) {
        assert_ok(rc);
        receiver->expected = NEAP_STATE_RESULT;
        receiver->value = value;
    } else if (m->len < m->capacity) {
        assert_ok(rc);
        m->store[m->len++] = value;
    } else {
        assert_code(rc, NEAP_PENDING);
        m->senders[m->n_senders++] = (side){future, NEAP_STATE_PENDING, value};
    }
}

static int model_take(model_chan *m) {
    side *sender = nth_waiting(m->senders, m->n_senders, 0);
    if (m->len == 0) {
        sender->expected = NEAP_STATE_RESULT;
        return sender->value;
    }
    int value = m->store[0];
    memmove(m->store, m->store + 1, (size_t)--m->len * sizeof *m->store);
    if (sender != NULL) {
        sender->expected = NEAP_STATE_RESULT;
        m->store[m->len++] = sender->value;
    }
    return value;
}

static void chan_recv(model_chan *m) {
    neap_future *future = NULL;
    neap_value value;
    int32_t rc = neap_chan_recv(m->chan, &value, sizeof value, &future);
    if (m->len > 0 || nth_waiting(m->senders, m->n_senders, 0) != NULL) {
        assert_code(rc, NEAP_KIND_INT);
        assert_int_equal(value.i, model_take(m));
    } else if (m->closed) {
        assert_code(rc, NEAP_ECLOSED);
    } else {
        assert_code(rc, NEAP_PENDING);
        m->receivers[m->n_receivers++] = (side){future, NEAP_STATE_PENDING, 0};
    }
}

static void chan_cancel(side *s) {
    if (s == NULL)
        return;
    assert_int_equal(neap_future_cancel(s->future, NULL), 1);
    s->expected = NEAP_STATE_CANCELLED;
}

static void chan_close(model_chan *m) {
    assert_int_equal(neap_chan_close(m->chan), !m->closed);
    m->closed = 1;
    for (int i = 0; i < m->n_senders; i++)
        if (m->senders[i].expected == NEAP_STATE_PENDING)
            m->senders[i].expected = NEAP_STATE_ERROR;
    for (int i = 0; i < m->n_receivers; i++)
        if (m->receivers[i].expected == NEAP_STATE_PENDING)
            m->receivers[i].expected = NEAP_STATE_ERROR;
}

static void check_sides(const side *sides, int n) {
    for (int i = 0; i < n; i++) {
        assert_state(sides[i].future, sides[i].expected);
        if (sides[i].expected == NEAP_STATE_ERROR)
            assert_code(neap_future_error(sides[i].future), NEAP_ECLOSED);
    }
}

static void chan_event(model_chan *m, int event) {
    switch (event) {
    case 0:
        chan_send(m);
        break;
    case 1:
        chan_recv(m);
        break;
    case 2:
    case 3:
        chan_cancel(nth_waiting(m->senders, m->n_senders, event - 2));
        break;
    case 4:
        chan_cancel(nth_waiting(m->receivers, m->n_receivers, 0));
        break;
    default:
        chan_close(m);
    }
    assert_int_equal(neap_chan_len(m->chan), m->len);
    check_sides(m->senders, m->n_senders);
    check_sides(m->receivers, m->n_receivers);
}

static void chan_end(model_chan *m) {
    for (int i = 0; i < m->n_receivers; i++) {
        if (m->receivers[i].expected == NEAP_STATE_RESULT)
            assert_int_equal(nt_int(m->receivers[i].future), m->receivers[i].value);
        neap_future_unref(m->receivers[i].future);
    }
    for (int i = 0; i < m->n_senders; i++)
        neap_future_unref(m->senders[i].future);
    neap_chan_unref(m->chan);
}

static void
D23_in_every_order_of_events_a_channel_gives_each_value_once_and_in_order(void **state) {
    (void)state;
    for (int capacity = 0; capacity <= 2; capacity++) {
        int events[EVENTS] = {0};
        do {
            model_chan m = {.capacity = capacity};
            m.chan = new_chan((size_t)capacity);
            for (int i = 0; i < EVENTS; i++)
                chan_event(&m, events[i]);
            chan_end(&m);
        } while (next_sequence(events, nt_slow_machine() ? 4 : 6));
    }
}

static void a_pointer_is_the_receivers_to_destroy(void **state) {
    (void)state;
    static const char tag;
    int gone = 0;
    neap_chan *chan = new_chan(1);
    neap_value value;
    assert_ok(neap_chan_send_ptr(chan, &tag, &gone, destroyed, NULL));
    assert_code(neap_chan_recv(chan, &value, sizeof value, NULL), NEAP_KIND_PTR);
    assert_ptr_equal(value.ptr.tag, &tag);
    assert_ptr_equal(value.ptr.ptr, &gone);
    neap_chan_unref(chan);
    assert_int_equal(gone, 0);
}

static void a_pointer_that_came_through_a_future_goes_with_it(void **state) {
    (void)state;
    static const char tag;
    int gone = 0;
    neap_chan *chan = new_chan(0);
    neap_value value;
    neap_future *future;
    void *ptr;
    assert_code(neap_chan_recv(chan, &value, sizeof value, &future), NEAP_PENDING);
    assert_ok(neap_chan_send_ptr(chan, &tag, &gone, destroyed, NULL));
    assert_ok(neap_future_get_ptr(future, &tag, &ptr));
    assert_ptr_equal(ptr, &gone);
    assert_int_equal(gone, 0);
    neap_future_unref(future);
    assert_int_equal(gone, 1);
    neap_chan_unref(chan);
}

static void pointers_that_nobody_receives_are_destroyed_once(void **state) {
    (void)state;
    static const char tag;
    int gone[6] = {0};
    neap_chan *chan = new_chan(1);
    neap_future *cancelled, *refused;
    assert_ok(neap_chan_send_ptr(chan, &tag, &gone[0], destroyed, NULL));
    assert_code(neap_chan_send_ptr(chan, &tag, &gone[1], destroyed, NULL), NEAP_EAGAIN);
    assert_code(neap_chan_send_ptr(chan, &tag, &gone[2], destroyed, &cancelled), NEAP_PENDING);
    assert_code(neap_chan_send_ptr(chan, &tag, &gone[3], destroyed, &refused), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(cancelled, NULL), 1);
    assert_int_equal(neap_chan_close(chan), 1);
    assert_code(neap_chan_send_ptr(chan, &tag, &gone[4], destroyed, NULL), NEAP_ECLOSED);
    assert_int_equal(gone[0], 0);
    neap_chan_unref(chan);
    for (int i = 0; i < 5; i++)
        assert_int_equal(gone[i], 1);
    neap_future_unref(cancelled);
    neap_future_unref(refused);
}

static void a_large_channel_takes_memory_as_it_fills(void **state) {
    (void)state;
    neap_chan *chan = new_chan((size_t)1 << 40);
    neap_value value;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            assert_ok(neap_chan_send_int(chan, i, NULL));
        for (int i = 0; i < 1000; i++) {
            assert_code(neap_chan_recv(chan, &value, sizeof value, NULL), NEAP_KIND_INT);
            assert_int_equal(value.i, i);
        }
    }
    neap_chan_unref(chan);
}

static void waiters_of_a_loop_that_closes_hear_so(void **state) {
    (void)state;
    neap_chan *chan = new_chan(0);
    neap_sem *sem;
    neap_value value;
    neap_future *futures[3];
    assert_ok(neap_sem_new(nt.loop, 0, &sem));
    assert_code(neap_sem_acquire(sem, &futures[0]), NEAP_PENDING);
    assert_code(neap_chan_recv(chan, &value, sizeof value, &futures[1]), NEAP_PENDING);
    assert_code(neap_sem_acquire(sem, &futures[2]), NEAP_PENDING);
    assert_ok(neap_loop_close(nt.loop, 0));
    for (int i = 0; i < 3; i++) {
        assert_code(neap_future_error(futures[i]), NEAP_ECLOSED);
        neap_future_unref(futures[i]);
    }
    assert_code(neap_sem_release(sem), NEAP_ELOOP_CLOSED);
    neap_sem_unref(sem);
    neap_chan_unref(chan);
}

#define V NT_TEST_VIRTUAL

NT_MAIN(V(D23_a_lock_goes_from_task_to_task_in_the_order_of_arrival),
        V(a_lock_is_refused_to_its_holder_and_released_by_nobody_else),
        V(without_a_future_a_lock_is_only_tried), V(a_lock_passes_over_who_was_cancelled),
        V(D2_C10_a_lock_that_was_handed_over_stays_with_who_is_cancelled_in_the_same_tick),
        V(an_event_lets_all_go_and_stays_set_until_it_is_cleared),
        V(D23_in_every_order_of_events_a_semaphore_gives_each_permit_once),
        V(D23_in_every_order_of_events_a_channel_gives_each_value_once_and_in_order),
        V(a_pointer_is_the_receivers_to_destroy),
        V(a_pointer_that_came_through_a_future_goes_with_it),
        V(pointers_that_nobody_receives_are_destroyed_once),
        V(a_large_channel_takes_memory_as_it_fills), V(waiters_of_a_loop_that_closes_hear_so))
