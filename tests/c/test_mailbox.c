/* White-box: the post-box between threads, and the guard that knows a fork. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/guard.h"
#include "base/mailbox.h"
#include "support.h"

struct letter {
    np_mail mail;
    int sender;
    int number;
    atomic_int *delivered;
    atomic_int *discarded;
};

static void deliver(np_mail *mail, bool discard) {
    struct letter *l = np_container(mail, struct letter, mail);
    atomic_fetch_add(discard ? l->discarded : l->delivered, 1);
    free(l);
}

static struct letter *letter_new(int sender, int number, atomic_int *counts) {
    struct letter *l = calloc(1, sizeof *l);
    l->sender = sender;
    l->number = number;
    l->delivered = &counts[0];
    l->discarded = &counts[1];
    return l;
}

static int deliver_chain(np_mail *chain, int *next) {
    int n = 0;
    while (chain != NULL) {
        np_mail *mail = chain;
        struct letter *l = np_container(mail, struct letter, mail);
        chain = mail->next;
        if (next != NULL) {
            assert_int_equal(l->number, next[l->sender]);
            next[l->sender]++;
        }
        deliver(mail, false);
        n++;
    }
    return n;
}

static void mail_is_taken_in_the_order_of_its_arrival(void **state) {
    (void)state;
    np_mailbox box;
    atomic_int counts[2] = {0, 0};
    int next[1] = {0};
    np_mailbox_init(&box, deliver);
    assert_false(np_mailbox_full(&box));
    assert_null(np_mailbox_take(&box));
    for (int i = 0; i < 10; i++)
        assert_true(np_mailbox_put(&box, &letter_new(0, i, counts)->mail));
    assert_true(np_mailbox_full(&box));
    assert_int_equal(deliver_chain(np_mailbox_take(&box), next), 10);
    assert_false(np_mailbox_full(&box));
    assert_int_equal(atomic_load(&counts[0]), 10);
    np_mailbox_close(&box);
    np_mailbox_fini(&box);
}

static void closing_discards_what_is_inside_and_refuses_the_rest(void **state) {
    (void)state;
    np_mailbox box;
    atomic_int counts[2] = {0, 0};
    np_mailbox_init(&box, deliver);
    assert_true(np_mailbox_put(&box, &letter_new(0, 0, counts)->mail));
    np_mailbox_close(&box);
    assert_int_equal(atomic_load(&counts[1]), 1);
    struct letter *late = letter_new(0, 1, counts);
    assert_false(np_mailbox_put(&box, &late->mail));
    assert_int_equal(atomic_load(&counts[1]), 1);
    np_mailbox_put_always(&box, &late->mail);
    assert_int_equal(atomic_load(&counts[1]), 2);
    np_mailbox_fini(&box);
}

enum {
    SENDERS = 4
};

struct sender {
    pthread_t thread;
    np_mailbox *box;
    int index;
    int count;
    int always;
    atomic_int *counts;
    int refused;
};

static void *send_all(void *user) {
    struct sender *s = user;
    for (int i = 0; i < s->count; i++) {
        struct letter *l = letter_new(s->index, i, s->counts);
        if (s->always) {
            np_mailbox_put_always(s->box, &l->mail);
        } else if (!np_mailbox_put(s->box, &l->mail)) {
            s->refused++;
            free(l);
        }
    }
    return NULL;
}

static void start(struct sender *senders, np_mailbox *box, atomic_int *counts, int count,
                  int always) {
    memset(senders, 0, SENDERS * sizeof *senders);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){
            .box = box, .index = i, .count = count, .always = always, .counts = counts};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
}

static void mail_of_many_threads_is_neither_lost_nor_doubled_nor_reordered(void **state) {
    (void)state;
    np_mailbox box;
    struct sender senders[SENDERS];
    atomic_int counts[2] = {0, 0};
    int next[SENDERS] = {0};
    int count = nt_slow_machine() ? 2000 : 50000;
    int taken = 0;
    np_mailbox_init(&box, deliver);
    start(senders, &box, counts, count, 0);
    while (taken < SENDERS * count)
        if (np_mailbox_full(&box))
            taken += deliver_chain(np_mailbox_take(&box), next);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    assert_int_equal(taken, SENDERS * count);
    np_mailbox_close(&box);
    assert_int_equal(atomic_load(&counts[1]), 0);
    np_mailbox_fini(&box);
}

static void mail_that_meets_the_close_is_delivered_discarded_or_refused(void **state) {
    (void)state;
    for (int always = 0; always <= 1; always++) {
        np_mailbox box;
        struct sender senders[SENDERS];
        atomic_int counts[2] = {0, 0};
        int count = nt_slow_machine() ? 500 : 5000;
        int refused = 0;
        np_mailbox_init(&box, deliver);
        start(senders, &box, counts, count, always);
        for (int i = 0; i < 10; i++)
            deliver_chain(np_mailbox_take(&box), NULL);
        np_mailbox_close(&box);
        for (int i = 0; i < SENDERS; i++) {
            assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
            refused += senders[i].refused;
        }
        assert_int_equal(atomic_load(&counts[0]) + atomic_load(&counts[1]) + refused,
                         SENDERS * count);
        np_mailbox_fini(&box);
    }
}

static int child_sees_the_fork(void *user) {
    return np_guard_slow_check(user) && np_guard_forked(user) ? 0 : 1;
}

static void the_guard_knows_a_child_from_its_parent(void **state) {
    (void)state;
    np_guard guard;
    assert_int_equal(np_guard_init(&guard), 0);
    assert_false(np_guard_forked(&guard));
    assert_false(np_guard_slow_check(&guard));
    assert_int_equal(nt_in_child(child_sees_the_fork, &guard), 0);
    assert_false(np_guard_forked(&guard));
    np_guard_fini(&guard);
}

static void where_the_page_cannot_tell_the_process_id_does(void **state) {
    (void)state;
    np_guard guard;
    assert_int_equal(np_guard_init(&guard), 0);
    guard.wiped_on_fork = false;
    assert_false(np_guard_slow_check(&guard));
    assert_int_equal(nt_in_child(child_sees_the_fork, &guard), 0);
    np_guard_fini(&guard);
}

static void times_end_at_the_ends_of_the_range(void **state) {
    (void)state;
    assert_true(np_time_add(1, 2) == 3);
    assert_true(np_time_add(INT64_MAX, 1) == NP_NEVER);
    assert_true(np_time_add(NP_NEVER, NP_NEVER) == NP_NEVER);
    assert_true(np_time_add(INT64_MIN, -1) == INT64_MIN);
    assert_true(np_time_add(INT64_MIN, INT64_MAX) == -1);
    int64_t a = np_clock_ns();
    assert_true(np_clock_ns() >= a);
}

NT_MAIN(NT_TEST_BARE(mail_is_taken_in_the_order_of_its_arrival),
        NT_TEST_BARE(closing_discards_what_is_inside_and_refuses_the_rest),
        NT_TEST_BARE(mail_of_many_threads_is_neither_lost_nor_doubled_nor_reordered),
        NT_TEST_BARE(mail_that_meets_the_close_is_delivered_discarded_or_refused),
        NT_TEST_BARE(the_guard_knows_a_child_from_its_parent),
        NT_TEST_BARE(where_the_page_cannot_tell_the_process_id_does),
        NT_TEST_BARE(times_end_at_the_ends_of_the_range))
