/* Channels between threads: each value is received once, whoever is cancelled meanwhile. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

static neap_shared_chan *new_chan(size_t capacity) {
    neap_shared_chan *chan;
    assert_ok(neap_shared_chan_new(&nt.heap.hook, capacity, &chan));
    return chan;
}

static neap_future *receive(neap_shared_chan *chan, int32_t expected) {
    neap_future *future = NULL;
    assert_code(neap_shared_chan_recv(chan, nt.loop, 0, &future), expected);
    return future;
}

static void assert_received(neap_shared_chan *chan, int64_t expected) {
    neap_future *future = receive(chan, 0);
    assert_int_equal(nt_int(future), expected);
    neap_future_unref(future);
}

static void assert_empty(neap_shared_chan *chan) {
    neap_future *future = NULL;
    assert_code(neap_shared_chan_recv(chan, nt.loop, NEAP_NOWAIT, &future), NEAP_EAGAIN);
    assert_null(future);
}

/* ---- On one loop it is a channel like any other */

static void values_of_all_kinds_arrive_in_order(void **state) {
    (void)state;
    static const char tag;
    int gone = 0;
    neap_shared_chan *chan = new_chan(8);
    neap_value value;
    void *ptr;
    double d;
    assert_ok(neap_shared_chan_send_int(chan, nt.loop, -7, NULL));
    assert_ok(neap_shared_chan_send_double(chan, NULL, 0.5, NULL));
    assert_ok(neap_shared_chan_send_bool(chan, NULL, 9, NULL));
    assert_ok(neap_shared_chan_send_bytes(chan, NULL, "a\0b", 3, NULL));
    assert_ok(neap_shared_chan_send_ptr(chan, NULL, &tag, &gone, nt_count_fn, NULL));
    assert_int_equal(neap_shared_chan_len(chan), 5);
    assert_received(chan, -7);
    neap_future *future = receive(chan, 0);
    assert_ok(neap_future_get_double(future, &d));
    assert_true(d == 0.5);
    neap_future_unref(future);
    future = receive(chan, 0);
    assert_code(neap_future_value(future, &value, sizeof value), NEAP_KIND_BOOL);
    assert_int_equal(value.i, 1);
    neap_future_unref(future);
    future = receive(chan, 0);
    assert_code(neap_future_value(future, &value, sizeof value), NEAP_KIND_BYTES);
    assert_int_equal(value.bytes.len, 3);
    assert_memory_equal(value.bytes.data, "a\0b", 3);
    neap_future_unref(future);
    future = receive(chan, 0);
    assert_ok(neap_future_get_ptr(future, &tag, &ptr));
    assert_ptr_equal(ptr, &gone);
    assert_int_equal(gone, 0);
    neap_future_unref(future);
    assert_int_equal(gone, 1);
    neap_shared_chan_unref(chan);
}

static void a_sender_waits_for_room_and_a_receiver_for_a_value(void **state) {
    (void)state;
    for (size_t capacity = 0; capacity <= 1; capacity++) {
        neap_shared_chan *chan = new_chan(capacity);
        neap_future *sent = NULL, *receiver = receive(chan, NEAP_PENDING);
        assert_ok(neap_shared_chan_send_int(chan, nt.loop, 1, &sent));
        assert_int_equal(nt_int(receiver), 1);
        if (capacity == 1)
            assert_ok(neap_shared_chan_send_int(chan, nt.loop, 2, NULL));
        assert_code(neap_shared_chan_send_int(chan, NULL, 0, NULL), NEAP_EAGAIN);
        assert_code(neap_shared_chan_send_int(chan, nt.loop, 2 + (int)capacity, &sent),
                    NEAP_PENDING);
        assert_received(chan, 2);
        assert_state(sent, NEAP_STATE_RESULT);
        if (capacity == 1)
            assert_received(chan, 3);
        assert_empty(chan);
        neap_future_unref(sent);
        neap_future_unref(receiver);
        neap_shared_chan_unref(chan);
    }
}

static void who_is_cancelled_or_dropped_leaves_the_queue(void **state) {
    (void)state;
    neap_shared_chan *chan = new_chan(0);
    neap_future *sender;
    neap_future *cancelled = receive(chan, NEAP_PENDING), *dropped = receive(chan, NEAP_PENDING);
    assert_int_equal(neap_future_cancel(cancelled, NULL), 1);
    neap_future_unref(dropped);
    assert_code(neap_shared_chan_send_int(chan, nt.loop, 1, NULL), NEAP_EAGAIN);
    assert_code(neap_shared_chan_send_int(chan, nt.loop, 2, &sender), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(sender, NULL), 1);
    assert_empty(chan);
    neap_future_unref(cancelled);
    neap_future_unref(sender);
    neap_shared_chan_unref(chan);
}

static void a_close_wakes_both_sides(void **state) {
    (void)state;
    neap_shared_chan *chan = new_chan(0), *other = new_chan(1);
    neap_future *receiver = receive(chan, NEAP_PENDING), *sender;
    assert_ok(neap_shared_chan_send_int(other, NULL, 1, NULL));
    assert_code(neap_shared_chan_send_int(other, nt.loop, 2, &sender), NEAP_PENDING);
    assert_int_equal(neap_shared_chan_close(chan), 1);
    assert_int_equal(neap_shared_chan_close(chan), 0);
    assert_int_equal(neap_shared_chan_close(other), 1);
    assert_int_equal(neap_shared_chan_is_closed(other), 1);
    assert_code(neap_future_error(receiver), NEAP_ECLOSED);
    assert_code(neap_future_error(sender), NEAP_ECLOSED);
    assert_code(neap_shared_chan_send_int(other, NULL, 3, NULL), NEAP_ECLOSED);
    assert_received(other, 1);
    neap_future_unref(receiver);
    receiver = NULL;
    assert_code(neap_shared_chan_recv(other, nt.loop, 0, &receiver), NEAP_ECLOSED);
    neap_future_unref(sender);
    neap_shared_chan_unref(chan);
    neap_shared_chan_unref(other);
}

static void what_nobody_receives_is_destroyed_once(void **state) {
    (void)state;
    static const char tag;
    int gone[4] = {0};
    neap_shared_chan *chan = new_chan(1);
    neap_future *cancelled, *closed;
    assert_ok(neap_shared_chan_send_ptr(chan, NULL, &tag, &gone[0], nt_count_fn, NULL));
    assert_code(neap_shared_chan_send_ptr(chan, NULL, &tag, &gone[1], nt_count_fn, NULL),
                NEAP_EAGAIN);
    assert_code(neap_shared_chan_send_ptr(chan, nt.loop, &tag, &gone[2], nt_count_fn, &cancelled),
                NEAP_PENDING);
    assert_code(neap_shared_chan_send_ptr(chan, nt.loop, &tag, &gone[3], nt_count_fn, &closed),
                NEAP_PENDING);
    assert_int_equal(neap_future_cancel(cancelled, NULL), 1);
    assert_int_equal(neap_shared_chan_close(chan), 1);
    neap_shared_chan_unref(chan);
    for (int i = 0; i < 4; i++)
        assert_int_equal(gone[i], 1);
    neap_future_unref(cancelled);
    neap_future_unref(closed);
}

/* ---- Across threads */

static intptr_t send_three(void *user) {
    for (int i = 1; i <= 3; i++)
        if (neap_shared_chan_send_int(user, NULL, i, NULL) != 0)
            return i;
    return 0;
}

static void C10_a_value_on_its_way_to_a_cancelled_receiver_goes_back_in_front(void **state) {
    (void)state;
    neap_shared_chan *chan = new_chan(2);
    neap_future *receiver = receive(chan, NEAP_PENDING);
    assert_int_equal(nt_in_thread(send_three, chan), 0);
    assert_state(receiver, NEAP_STATE_PENDING);
    assert_int_equal(neap_future_cancel(receiver, NULL), 1);
    assert_state(receiver, NEAP_STATE_CANCELLED);
    nt_turn();
    assert_int_equal(neap_shared_chan_len(chan), 3);
    for (int i = 1; i <= 3; i++)
        assert_received(chan, i);
    neap_future_unref(receiver);
    neap_shared_chan_unref(chan);
}

static void a_value_for_a_receiver_that_is_gone_goes_to_the_next(void **state) {
    (void)state;
    neap_shared_chan *chan = new_chan(2);
    neap_future *gone = receive(chan, NEAP_PENDING);
    assert_int_equal(nt_in_thread(send_three, chan), 0);
    neap_future_unref(gone);
    assert_received(chan, 2);
    assert_received(chan, 3);
    neap_future *next = receive(chan, NEAP_PENDING);
    nt_until(next);
    assert_int_equal(nt_int(next), 1);
    neap_future_unref(next);
    neap_shared_chan_unref(chan);
}

static void values_that_came_back_go_with_the_channel(void **state) {
    (void)state;
    neap_shared_chan *chan = new_chan(2);
    neap_future *gone = receive(chan, NEAP_PENDING);
    assert_int_equal(nt_in_thread(send_three, chan), 0);
    neap_future_unref(gone);
    nt_turn();
    neap_shared_chan_unref(chan);
}

static void D24_of_two_that_are_sent_to_at_once_a_select_takes_one(void **state) {
    (void)state;
    neap_shared_chan *chans[2] = {new_chan(2), new_chan(2)};
    neap_future *members[2] = {receive(chans[0], NEAP_PENDING), receive(chans[1], NEAP_PENDING)};
    neap_future *select;
    assert_ok(neap_select(nt.loop, members, 2, &select));
    assert_int_equal(nt_in_thread(send_three, chans[1]), 0);
    assert_int_equal(nt_in_thread(send_three, chans[0]), 0);
    nt_until(select);
    assert_int_equal(nt_int(select), 1);
    assert_int_equal(nt_int(members[1]), 1);
    assert_state(members[0], NEAP_STATE_CANCELLED);
    nt_turn();
    assert_received(chans[0], 1);
    for (int i = 0; i < 2; i++) {
        neap_future_unref(members[i]);
        neap_shared_chan_unref(chans[i]);
    }
    neap_future_unref(select);
}

static void a_loop_that_closes_gives_back_what_was_on_its_way(void **state) {
    (void)state;
    neap_shared_chan *chan = new_chan(2);
    neap_loop *loop = nt_loop_new(0);
    neap_future *future;
    assert_code(neap_shared_chan_recv(chan, loop, 0, &future), NEAP_PENDING);
    assert_int_equal(nt_in_thread(send_three, chan), 0);
    nt_loop_end(loop);
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    assert_int_equal(neap_shared_chan_len(chan), 3);
    assert_received(chan, 1);
    neap_shared_chan_unref(chan);
}

/* ---- Many threads, each with a loop, that give up now and then */

enum {
    SIDES = 2 /* senders, and receivers */
};

typedef struct worker {
    pthread_t thread;
    neap_shared_chan *chan;
    neap_loop_options options;
    unsigned seed;
    int sends, rounds;
    int64_t count, sum; /* of what it sent or received */
    int trouble;
} worker;

static unsigned draw(worker *w, unsigned n) {
    w->seed = w->seed * 1103515245u + 12345u;
    return (w->seed >> 16) % n;
}

/* Waits for the future and sometimes gives up; its state. */
static int32_t wait_a_while(worker *w, neap_loop *loop, neap_future *future) {
    for (unsigned patience = draw(w, 6); neap_future_state(future) == NEAP_STATE_PENDING;) {
        if (patience > 0 && --patience == 0)
            neap_future_cancel(future, NULL);
        else
            neap_loop_run_once(loop, NT_MS);
    }
    return neap_future_state(future);
}

static void send_one(worker *w, neap_loop *loop, int64_t value) {
    neap_future *future;
    int32_t rc = neap_shared_chan_send_int(w->chan, loop, value, &future);
    int sent = rc == 0;
    if (rc == NEAP_PENDING) {
        sent = wait_a_while(w, loop, future) == NEAP_STATE_RESULT;
        neap_future_unref(future);
    }
    w->trouble |= rc < 0 && rc != NEAP_PENDING;
    w->count += sent;
    w->sum += sent ? value : 0;
}

/* False at the end of the channel. */
static int receive_one(worker *w, neap_loop *loop) {
    neap_future *future;
    int64_t value;
    int32_t rc = neap_shared_chan_recv(w->chan, loop, 0, &future);
    if (rc < 0 && rc != NEAP_PENDING)
        return 0;
    int32_t state = wait_a_while(w, loop, future);
    int closed = state == NEAP_STATE_ERROR;
    if (state == NEAP_STATE_RESULT) {
        w->trouble |= neap_future_get_int(future, &value) != 0;
        w->count++;
        w->sum += value;
    }
    neap_future_unref(future);
    return !closed;
}

static void *work(void *user) {
    worker *w = user;
    neap_loop *loop;
    if (neap_loop_new(&w->options, &loop) < 0) {
        w->trouble = 1;
        return NULL;
    }
    for (int i = 0; w->sends && i < w->rounds; i++)
        send_one(w, loop, i + 1);
    while (!w->sends && receive_one(w, loop)) {
    }
    w->trouble |= neap_loop_close(loop, 0) != 0;
    neap_loop_unref(loop);
    return NULL;
}

static void C10_no_value_is_lost_or_doubled_between_threads_that_give_up(void **state) {
    (void)state;
    int rounds = nt_slow_machine() ? 300 : 5000;
    for (size_t capacity = 0; capacity <= 3; capacity += 3) {
        neap_shared_chan *chan = new_chan(capacity);
        worker workers[2 * SIDES];
        int64_t count = 0, sum = 0;
        for (int i = 0; i < 2 * SIDES; i++) {
            workers[i] = (worker){.chan = chan,
                                  .options = nt_options(0),
                                  .seed = (unsigned)i + 1,
                                  .sends = i < SIDES,
                                  .rounds = rounds};
            assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (int i = 0; i < 2 * SIDES; i++) {
            if (i == SIDES)
                assert_int_equal(neap_shared_chan_close(chan), 1);
            assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
            assert_int_equal(workers[i].trouble, 0);
            count += workers[i].sends ? workers[i].count : -workers[i].count;
            sum += workers[i].sends ? workers[i].sum : -workers[i].sum;
        }
        while (neap_shared_chan_len(chan) > 0) {
            neap_future *future = receive(chan, 0);
            count--;
            sum -= nt_int(future);
            neap_future_unref(future);
        }
        assert_int_equal(count, 0);
        assert_int_equal(sum, 0);
        assert_true(workers[0].count > rounds / 10);
        neap_shared_chan_unref(chan);
    }
}

NT_MAIN(NT_TEST(values_of_all_kinds_arrive_in_order),
        NT_TEST(a_sender_waits_for_room_and_a_receiver_for_a_value),
        NT_TEST(who_is_cancelled_or_dropped_leaves_the_queue), NT_TEST(a_close_wakes_both_sides),
        NT_TEST(what_nobody_receives_is_destroyed_once),
        NT_TEST(C10_a_value_on_its_way_to_a_cancelled_receiver_goes_back_in_front),
        NT_TEST(a_value_for_a_receiver_that_is_gone_goes_to_the_next),
        NT_TEST(values_that_came_back_go_with_the_channel),
        NT_TEST(D24_of_two_that_are_sent_to_at_once_a_select_takes_one),
        NT_TEST(a_loop_that_closes_gives_back_what_was_on_its_way),
        NT_TEST(C10_no_value_is_lost_or_doubled_between_threads_that_give_up))
