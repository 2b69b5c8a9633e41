/* Selects: the first of several; what waits in a queue happens exactly once. */
#include <string.h>

#include "support.h"

static neap_chan *new_chan(size_t capacity) {
    neap_chan *chan;
    assert_ok(neap_chan_new(nt.loop, capacity, &chan));
    return chan;
}

static neap_future *receive(neap_chan *chan) {
    neap_value value;
    neap_future *future;
    assert_code(neap_chan_recv(chan, &value, sizeof value, &future), NEAP_PENDING);
    return future;
}

static neap_future *select_of(neap_future *const *futures, size_t n) {
    neap_future *select;
    assert_ok(neap_select(nt.loop, futures, n, &select));
    return select;
}

static void drop(neap_future *const *futures, size_t n) {
    for (size_t i = 0; i < n; i++)
        neap_future_unref(futures[i]);
}

static void D24_the_first_that_is_done_wins_and_the_others_are_cancelled(void **state) {
    (void)state;
    neap_future *futures[3] = {nt_sleep(3 * NT_SEC), nt_sleep(NT_SEC), nt_future()};
    neap_future *select = select_of(futures, 3);
    nt_until(select);
    assert_int_equal(nt_int(select), 1);
    assert_state(futures[0], NEAP_STATE_CANCELLED);
    assert_state(futures[2], NEAP_STATE_CANCELLED);
    assert_int_equal(neap_future_list_count(select), 3);
    assert_ptr_equal(neap_future_list_get(select, 2), futures[2]);
    neap_future_unref(select);
    drop(futures, 3);
}

static void a_failure_is_an_end_like_any_other(void **state) {
    (void)state;
    neap_future *futures[2] = {nt_future(), nt_future()};
    neap_future *select = select_of(futures, 2);
    assert_ok(neap_future_set_error(futures[0], NEAP_EPIPE, NULL));
    nt_settle();
    assert_int_equal(nt_int(select), 0);
    assert_state(futures[1], NEAP_STATE_CANCELLED);
    neap_future_unref(select);
    drop(futures, 2);
}

static void of_those_that_are_done_already_the_first_wins(void **state) {
    (void)state;
    neap_future *futures[3] = {nt_future(), nt_future(), nt_future()};
    assert_ok(neap_future_set_int(futures[2], 2));
    assert_ok(neap_future_set_int(futures[1], 1));
    neap_future *select = select_of(futures, 3);
    assert_state(select, NEAP_STATE_PENDING);
    nt_settle();
    assert_int_equal(nt_int(select), 1);
    assert_int_equal(nt_int(futures[2]), 2);
    neap_future_unref(select);
    drop(futures, 3);
}

static void of_two_channels_that_are_sent_to_in_one_step_one_is_received_from(void **state) {
    (void)state;
    neap_chan *a = new_chan(0), *b = new_chan(0);
    neap_future *futures[2] = {receive(a), receive(b)};
    neap_future *select = select_of(futures, 2);
    assert_ok(neap_chan_send_int(b, 7, NULL));
    assert_code(neap_chan_send_int(a, 8, NULL), NEAP_EAGAIN);
    assert_int_equal(nt_int(select), 1);
    assert_int_equal(nt_int(futures[1]), 7);
    assert_state(futures[0], NEAP_STATE_CANCELLED);
    neap_future_unref(select);
    drop(futures, 2);
    neap_chan_unref(a);
    neap_chan_unref(b);
}

static void a_value_is_sent_to_one_of_two_channels(void **state) {
    (void)state;
    neap_chan *a = new_chan(0), *b = new_chan(0);
    neap_future *futures[2];
    neap_value value;
    assert_code(neap_chan_send_int(a, 1, &futures[0]), NEAP_PENDING);
    assert_code(neap_chan_send_int(b, 1, &futures[1]), NEAP_PENDING);
    neap_future *select = select_of(futures, 2);
    assert_code(neap_chan_recv(a, &value, sizeof value, NULL), NEAP_KIND_INT);
    assert_code(neap_chan_recv(b, &value, sizeof value, NULL), NEAP_EAGAIN);
    assert_int_equal(nt_int(select), 0);
    neap_future_unref(select);
    drop(futures, 2);
    neap_chan_unref(a);
    neap_chan_unref(b);
}

static void the_same_queue_may_stand_in_a_select_twice(void **state) {
    (void)state;
    neap_sem *sem;
    neap_future *futures[2];
    assert_ok(neap_sem_new(nt.loop, 0, &sem));
    for (int i = 0; i < 2; i++)
        assert_code(neap_sem_acquire(sem, &futures[i]), NEAP_PENDING);
    neap_future *select = select_of(futures, 2);
    assert_ok(neap_sem_release(sem));
    assert_ok(neap_sem_release(sem));
    assert_int_equal(nt_int(select), 0);
    assert_int_equal(neap_sem_permits(sem), 1);
    neap_future_unref(select);
    drop(futures, 2);
    neap_sem_unref(sem);
}

static void a_select_that_stands_at_a_barrier_twice_passes_it_once(void **state) {
    (void)state;
    neap_barrier *barrier;
    neap_future *futures[2];
    assert_ok(neap_barrier_new(nt.loop, 3, &barrier));
    for (int i = 0; i < 2; i++)
        assert_code(neap_barrier_wait(barrier, &futures[i]), NEAP_PENDING);
    neap_future *select = select_of(futures, 2);
    assert_int_equal(neap_barrier_wait(barrier, NULL), 2);
    assert_int_equal(nt_int(select), 0);
    assert_state(futures[1], NEAP_STATE_CANCELLED);
    neap_future_unref(select);
    drop(futures, 2);
    neap_barrier_unref(barrier);
}

static void a_cancelled_select_cancels_its_members(void **state) {
    (void)state;
    neap_chan *chan = new_chan(0);
    neap_future *futures[2] = {receive(chan), nt_sleep(NT_SEC)};
    neap_future *select = select_of(futures, 2);
    assert_int_equal(neap_future_cancel(select, "enough"), 1);
    assert_state(select, NEAP_STATE_CANCELLED);
    assert_state(futures[0], NEAP_STATE_CANCELLED);
    assert_state(futures[1], NEAP_STATE_CANCELLED);
    assert_code(neap_chan_send_int(chan, 1, NULL), NEAP_EAGAIN);
    neap_future_unref(select);
    drop(futures, 2);
    neap_chan_unref(chan);
}

static void D2_a_select_that_has_an_item_is_not_cancelled_any_more(void **state) {
    (void)state;
    neap_chan *chan = new_chan(0);
    neap_future *futures[2] = {nt_future(), receive(chan)};
    neap_future *select = select_of(futures, 2);
    nt_script s;
    neap_task *task =
        nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(select), NT_NOTE("has it"), NT_YIELD, NT_NOTE("never")));
    nt_turn();
    assert_ok(neap_chan_send_int(chan, 5, NULL));
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_settle();
    assert_notes("has it");
    assert_int_equal(nt_int(futures[1]), 5);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
    neap_future_unref(select);
    drop(futures, 2);
    neap_chan_unref(chan);
}

static void what_cannot_be_selected_is_refused(void **state) {
    (void)state;
    neap_loop *other = nt_loop_new(0);
    neap_future *futures[2] = {nt_future(), nt_future_on(other)}, *none = NULL, *select = NULL;
    assert_code(neap_select(nt.loop, futures, 0, &select), NEAP_EVALUE);
    assert_code(neap_select(nt.loop, futures, 2, &select), NEAP_EOTHER_LOOP);
    assert_code(neap_select(nt.loop, &none, 1, &select), NEAP_EINVAL);
    assert_code(neap_select(nt.loop, futures, 1, NULL), NEAP_EINVAL);
    assert_null(select);
    drop(futures, 2);
    nt_loop_end(other);
}

/* ---- Each order of events, up to a length */

enum {
    EVENTS = 6,
    KINDS = 8, /* of events */
    VALUES_MAX = EVENTS
};

typedef struct pick {
    neap_future *futures[2], *select;
} pick;

typedef struct world {
    neap_chan *chans[2];
    pick picks[EVENTS];
    int n_picks, sent[2], seen[VALUES_MAX + 1][2];
} world;

static void see(world *w, int64_t value) {
    w->seen[value / 2][value % 2]++;
}

/* Values of the two channels are even and odd. */
static void send_one(world *w, int which) {
    if (neap_chan_send_int(w->chans[which], 2 * w->sent[which] + which, NULL) == 0)
        w->sent[which]++;
}

static int try_one(world *w, int which) {
    neap_value value;
    int32_t rc = neap_chan_recv(w->chans[which], &value, sizeof value, NULL);
    if (rc == NEAP_KIND_INT)
        see(w, value.i);
    return rc == NEAP_KIND_INT;
}

static void start_select(world *w) {
    if (try_one(w, 0) || try_one(w, 1))
        return;
    pick *p = &w->picks[w->n_picks++];
    p->futures[0] = receive(w->chans[0]);
    p->futures[1] = receive(w->chans[1]);
    p->select = select_of(p->futures, 2);
}

static void cancel_nth(world *w, int n) {
    for (int i = 0; i < w->n_picks; i++)
        if (neap_future_state(w->picks[i].select) == NEAP_STATE_PENDING && n-- == 0)
            assert_int_equal(neap_future_cancel(w->picks[i].select, NULL), 1);
}

static void happen(world *w, int event) {
    if (event < 2)
        send_one(w, event);
    else if (event < 4)
        (void)try_one(w, event - 2);
    else if (event < 6)
        cancel_nth(w, event - 4);
    else if (event == 6)
        start_select(w);
    else
        nt_turn();
}

static void end_pick(world *w, const pick *p) {
    int done = 0;
    if (neap_future_state(p->select) == NEAP_STATE_PENDING)
        assert_int_equal(neap_future_cancel(p->select, NULL), 1);
    for (int i = 0; i < 2; i++) {
        int32_t state = neap_future_state(p->futures[i]);
        if (state == NEAP_STATE_RESULT) {
            see(w, nt_int(p->futures[i]));
            done++;
            assert_int_equal(nt_int(p->select), i);
        } else {
            assert_int_equal(state, NEAP_STATE_CANCELLED);
        }
    }
    assert_int_equal(done, neap_future_state(p->select) == NEAP_STATE_RESULT);
    neap_future_unref(p->select);
    drop(p->futures, 2);
}

static void end_world(world *w) {
    for (int i = 0; i < w->n_picks; i++)
        end_pick(w, &w->picks[i]);
    for (int which = 0; which < 2; which++) {
        while (try_one(w, which)) {
        }
        for (int i = 0; i < VALUES_MAX; i++)
            assert_int_equal(w->seen[i][which], i < w->sent[which]);
        neap_chan_unref(w->chans[which]);
    }
}

static void D24_in_every_order_of_events_a_select_takes_one_value_and_loses_none(void **state) {
    (void)state;
    long count = 1;
    int length = nt_slow_machine() ? 5 : EVENTS;
    for (int i = 0; i < length; i++)
        count *= KINDS;
    for (size_t capacity = 0; capacity <= 1; capacity++) {
        for (long n = 0; n < count; n++) {
            world w = {.chans = {new_chan(capacity), new_chan(capacity)}};
            long rest = n;
            for (int i = 0; i < length; i++, rest /= KINDS)
                happen(&w, (int)(rest % KINDS));
            end_world(&w);
        }
    }
}

#define V NT_TEST_VIRTUAL

NT_MAIN(V(D24_the_first_that_is_done_wins_and_the_others_are_cancelled),
        V(a_failure_is_an_end_like_any_other), V(of_those_that_are_done_already_the_first_wins),
        V(of_two_channels_that_are_sent_to_in_one_step_one_is_received_from),
        V(a_value_is_sent_to_one_of_two_channels), V(the_same_queue_may_stand_in_a_select_twice),
        V(a_select_that_stands_at_a_barrier_twice_passes_it_once),
        V(a_cancelled_select_cancels_its_members),
        V(D2_a_select_that_has_an_item_is_not_cancelled_any_more),
        V(what_cannot_be_selected_is_refused),
        V(D24_in_every_order_of_events_a_select_takes_one_value_and_loses_none))
