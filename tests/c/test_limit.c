/* Barriers, limiters, and channels that are ordered by priority. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/* ---- Barriers */

static neap_barrier *new_barrier(uint32_t parties) {
    neap_barrier *barrier;
    assert_ok(neap_barrier_new(nt.loop, parties, &barrier));
    return barrier;
}

static neap_future *arrive(neap_barrier *barrier) {
    neap_future *future;
    assert_code(neap_barrier_wait(barrier, &future), NEAP_PENDING);
    return future;
}

static void the_last_to_arrive_lets_the_others_go_with_their_numbers(void **state) {
    (void)state;
    neap_barrier *barrier = new_barrier(3);
    for (int round = 0; round < 2; round++) {
        neap_future *first = arrive(barrier), *second = arrive(barrier);
        assert_int_equal(neap_barrier_waiting(barrier), 2);
        assert_int_equal(neap_barrier_wait(barrier, NULL), 2);
        assert_int_equal(nt_int(first), 0);
        assert_int_equal(nt_int(second), 1);
        neap_future_unref(first);
        neap_future_unref(second);
    }
    neap_barrier_unref(barrier);
}

static void who_is_cancelled_at_a_barrier_was_not_there(void **state) {
    (void)state;
    neap_barrier *barrier = new_barrier(3);
    neap_future *gone = arrive(barrier), *stays = arrive(barrier);
    assert_int_equal(neap_future_cancel(gone, NULL), 1);
    assert_code(neap_barrier_wait(barrier, NULL), NEAP_EAGAIN);
    neap_future *late = arrive(barrier);
    assert_int_equal(neap_barrier_wait(barrier, NULL), 2);
    assert_int_equal(nt_int(stays), 0);
    assert_int_equal(nt_int(late), 1);
    neap_future_unref(gone);
    neap_future_unref(stays);
    neap_future_unref(late);
    neap_barrier_unref(barrier);
}

static void a_closed_barrier_keeps_nobody(void **state) {
    (void)state;
    neap_barrier *barrier = new_barrier(2), *none = NULL;
    neap_future *waits = arrive(barrier);
    assert_int_equal(neap_barrier_close(barrier), 1);
    assert_int_equal(neap_barrier_close(barrier), 0);
    assert_code(neap_future_error(waits), NEAP_ECLOSED);
    assert_code(neap_barrier_wait(barrier, NULL), NEAP_ECLOSED);
    assert_code(neap_barrier_new(nt.loop, 0, &none), NEAP_EVALUE);
    neap_future_unref(waits);
    neap_barrier_unref(barrier);
}

/* ---- Limiters */

typedef struct borrower {
    neap_limiter *limiter;
    neap_future *future; /* of the wait; done at once if there was none */
    int32_t code;
} borrower;

static void borrow(void *user) {
    borrower *b = user;
    b->future = NULL;
    b->code = neap_limiter_acquire(b->limiter, &b->future);
    if (b->code == NEAP_PENDING)
        return;
    b->future = nt_future();
    assert_ok(neap_future_set_none(b->future));
}

static void give_back(void *user) {
    borrower *b = user;
    b->code = neap_limiter_release(b->limiter);
    neap_future_unref(b->future);
    b->future = NULL;
}

static void give_back_what_one_has_not(void *user) {
    borrower *b = user;
    b->code = neap_limiter_release(b->limiter);
}

static neap_limiter *new_limiter(uint32_t total) {
    neap_limiter *limiter;
    assert_ok(neap_limiter_new(nt.loop, total, &limiter));
    return limiter;
}

#define BORROWS(b, word)                                                                        \
    NT_ACTS(NT_CALL(borrow, (b)), NT_AWAIT_LATE(&(b)->future), NT_NOTE(word), NT_SLEEP(NT_SEC), \
            NT_NOTE("-"), NT_CALL(give_back, (b)))

static void a_limiter_lets_so_many_tasks_in_and_the_others_in_order(void **state) {
    (void)state;
    neap_limiter *limiter = new_limiter(2);
    borrower b[4];
    nt_script s[4];
    neap_task *last = NULL;
    static const char *const words[] = {"a", "b", "c", "d"};
    nt_act acts[4][7];
    for (int i = 0; i < 4; i++) {
        b[i] = (borrower){limiter, NULL, 0};
        memcpy(acts[i], BORROWS(&b[i], words[i]), sizeof acts[i]);
        neap_task_unref(last);
        last = nt_spawn(&s[i], words[i], acts[i]);
    }
    nt_turns(2);
    assert_int_equal(neap_limiter_borrowed(limiter), 2);
    nt_until_task(last);
    assert_notes("a b - - c d - -");
    assert_int_equal(neap_limiter_borrowed(limiter), 0);
    neap_task_unref(last);
    neap_limiter_unref(limiter);
}

static void a_limiter_knows_who_has_its_tokens(void **state) {
    (void)state;
    neap_limiter *limiter = new_limiter(5);
    borrower has = {limiter, NULL, 0}, again = {limiter, NULL, 0}, other = {limiter, NULL, 0};
    nt_script s, t;
    neap_future *none = NULL;
    neap_task_unref(nt_spawn(&s, "s",
                             NT_ACTS(NT_CALL(borrow, &has), NT_CALL(borrow, &again), NT_YIELD,
                                     NT_YIELD, NT_CALL(give_back, &has))));
    neap_task_unref(nt_spawn(&t, "t", NT_ACTS(NT_CALL(give_back_what_one_has_not, &other))));
    nt_turn();
    assert_code(again.code, NEAP_EDEADLOCK);
    assert_code(other.code, NEAP_EPERM);
    assert_code(neap_limiter_acquire(limiter, &none), NEAP_ENO_TASK);
    assert_code(neap_limiter_release(limiter), NEAP_EPERM);
    nt_settle();
    assert_ok(has.code);
    neap_future_unref(again.future);
    neap_limiter_unref(limiter);
}

static void a_limiter_may_change_its_number(void **state) {
    (void)state;
    enum {
        N = 20
    };
    neap_limiter *limiter = new_limiter(0);
    borrower b[N];
    nt_script s[N];
    nt_act acts[N][7];
    for (int i = 0; i < N; i++) {
        b[i] = (borrower){limiter, NULL, 0};
        memcpy(acts[i], BORROWS(&b[i], "+"), sizeof acts[i]);
        neap_task_unref(nt_spawn(&s[i], "t", acts[i]));
    }
    nt_turns(2);
    assert_int_equal(neap_limiter_borrowed(limiter), 0);
    assert_ok(neap_limiter_set_total(limiter, 15));
    assert_int_equal(neap_limiter_borrowed(limiter), 15);
    assert_ok(neap_limiter_set_total(limiter, 1));
    assert_int_equal(neap_limiter_total(limiter), 1);
    assert_int_equal(neap_limiter_borrowed(limiter), 15);
    assert_int_equal(neap_loop_shutdown(nt.loop, 60 * NT_SEC), 0);
    assert_int_equal(neap_limiter_borrowed(limiter), 15); /* the cancelled gave nothing back */
    for (int i = 0; i < N; i++)
        neap_future_unref(b[i].future);
    neap_limiter_unref(limiter);
}

/* ---- Priorities */

static neap_chan *new_ordered(size_t capacity) {
    neap_chan *chan;
    assert_ok(neap_chan_new_ordered(nt.loop, capacity, &chan));
    return chan;
}

static int64_t take(neap_chan *chan) {
    neap_value value;
    assert_code(neap_chan_recv(chan, &value, sizeof value, NULL), NEAP_KIND_INT);
    return value.i;
}

static void the_least_priority_comes_first_and_equals_in_their_order(void **state) {
    (void)state;
    enum {
        N = 500
    };
    neap_chan *chan = new_ordered(SIZE_MAX);
    for (int round = 0; round < 20; round++) {
        int priorities[N];
        unsigned seed = (unsigned)round * 7919 + 1;
        for (int i = 0; i < N; i++) {
            seed = seed * 1103515245u + 12345u;
            priorities[i] = (int)(seed >> 16) % 40 - 20;
            assert_ok(neap_chan_put_int(chan, priorities[i], i, NULL));
        }
        int64_t last = take(chan);
        for (int n = 1; n < N; n++) {
            int64_t next = take(chan);
            assert_true(priorities[last] < priorities[next] ||
                        (priorities[last] == priorities[next] && last < next));
            last = next;
        }
    }
    neap_chan_unref(chan);
}

static void senders_that_wait_for_room_are_served_in_the_order_of_arrival(void **state) {
    (void)state;
    neap_chan *chan = new_ordered(1);
    neap_future *first, *second;
    assert_ok(neap_chan_put_int(chan, 5, 5, NULL));
    assert_code(neap_chan_put_int(chan, 9, 9, &first), NEAP_PENDING);
    assert_code(neap_chan_put_int(chan, 1, 1, &second), NEAP_PENDING);
    assert_int_equal(take(chan), 5);
    assert_state(first, NEAP_STATE_RESULT);
    assert_state(second, NEAP_STATE_PENDING);
    assert_int_equal(take(chan), 9);
    assert_int_equal(take(chan), 1);
    neap_future_unref(first);
    neap_future_unref(second);
    neap_chan_unref(chan);
}

static void a_priority_is_a_number_and_counts_only_where_there_is_order(void **state) {
    (void)state;
    neap_chan *ordered = new_ordered(4), *plain;
    int gone = 0;
    static const char tag;
    assert_ok(neap_chan_new(nt.loop, 4, &plain));
    assert_code(neap_chan_put_int(ordered, NAN, 1, NULL), NEAP_EVALUE);
    assert_code(neap_chan_put_ptr(ordered, NAN, &tag, &gone, nt_count_fn, NULL), NEAP_EVALUE);
    assert_int_equal(gone, 1);
    assert_ok(neap_chan_put_int(ordered, INFINITY, 2, NULL));
    assert_ok(neap_chan_put_ptr(ordered, -INFINITY, &tag, &gone, nt_count_fn, NULL));
    assert_ok(neap_chan_put_int(plain, 2, 2, NULL));
    assert_ok(neap_chan_put_int(plain, 1, 1, NULL));
    assert_int_equal(take(plain), 2);
    neap_chan_unref(ordered);
    neap_chan_unref(plain);
    assert_int_equal(gone, 2);
}

static void a_join_waits_until_all_values_are_done(void **state) {
    (void)state;
    neap_chan *chan = new_ordered(1);
    neap_future *sender, *join;
    assert_ok(neap_chan_join(chan, NULL));
    assert_ok(neap_chan_put_int(chan, 0, 1, NULL));
    assert_code(neap_chan_put_int(chan, 0, 2, &sender), NEAP_PENDING);
    assert_code(neap_chan_join(chan, &join), NEAP_PENDING);
    (void)take(chan);
    (void)take(chan);
    assert_state(join, NEAP_STATE_PENDING);
    assert_ok(neap_chan_task_done(chan));
    assert_state(join, NEAP_STATE_PENDING);
    assert_ok(neap_chan_task_done(chan));
    assert_state(join, NEAP_STATE_RESULT);
    assert_code(neap_chan_task_done(chan), NEAP_EINVALID_STATE);
    neap_future_unref(sender);
    neap_future_unref(join);
    neap_chan_unref(chan);
}

#define V NT_TEST_VIRTUAL

NT_MAIN(V(the_last_to_arrive_lets_the_others_go_with_their_numbers),
        V(who_is_cancelled_at_a_barrier_was_not_there), V(a_closed_barrier_keeps_nobody),
        V(a_limiter_lets_so_many_tasks_in_and_the_others_in_order),
        V(a_limiter_knows_who_has_its_tokens), V(a_limiter_may_change_its_number),
        V(the_least_priority_comes_first_and_equals_in_their_order),
        V(senders_that_wait_for_room_are_served_in_the_order_of_arrival),
        V(a_priority_is_a_number_and_counts_only_where_there_is_order),
        V(a_join_waits_until_all_values_are_done))
