/* Waiting until everything else waits, and what is on its way while a virtual clock could move. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "support.h"

/* Notes "blocked" when it completes. */
static neap_future *wait_noting(int64_t cushion_ns, const char *word) {
    neap_future *f = NULL;
    assert_ok(neap_wait_all_blocked(nt.loop, cushion_ns, &f));
    nt_on_done(f, word);
    return f;
}

static void until_noted(neap_future *f) {
    nt_until(f);
    neap_future_unref(f);
    nt_turn();
}

/* ---- Who waits for all to be blocked --------------------------------------------------------- */

static void all_are_blocked_once_nothing_is_left_to_run(void **state) {
    (void)state;
    nt_script s;
    neap_future *never = nt_future();
    neap_future *blocked = wait_noting(0, "blocked");
    neap_task *t = nt_spawn(&s, "t",
                            NT_ACTS(NT_NOTE("1"), NT_YIELD, NT_NOTE("2"), NT_YIELD, NT_NOTE("3"),
                                    NT_AWAIT_CATCH(never)));
    until_noted(blocked);
    assert_notes("1 2 3 blocked");
    assert_ok(neap_future_set_none(never));
    nt_until_task(t);
    neap_task_unref(t);
    neap_future_unref(never);
}

static void D20_a_virtual_clock_does_not_move_before(void **state) {
    (void)state;
    neap_future *sleep = nt_sleep(NT_SEC);
    nt_on_done(sleep, "second");
    until_noted(wait_noting(0, "blocked"));
    assert_int_equal(neap_loop_time(nt.loop), 0);
    assert_notes("blocked");
    nt_until(sleep);
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    neap_future_unref(sleep);
    nt_turn();
}

static void soon_after(neap_future *f, void *user) {
    (void)f;
    nt_note("%s", (const char *)user);
    nt_soon("work");
}

static void of_several_the_shortest_cushion_is_first_and_each_waits_anew(void **state) {
    (void)state;
    neap_future *f[3];
    assert_ok(neap_wait_all_blocked(nt.loop, NT_MS, &f[0]));
    assert_ok(neap_wait_all_blocked(nt.loop, 0, &f[1]));
    assert_ok(neap_wait_all_blocked(nt.loop, 0, &f[2]));
    static const char *const words[] = {"third", "first", "second"};
    for (int i = 0; i < 3; i++)
        assert_ok(neap_future_on_done(f[i], soon_after, NT_WORD(words[i]), NULL, NULL));
    nt_until(f[0]);
    nt_settle();
    assert_notes("first work second work third work");
    for (int i = 0; i < 3; i++)
        neap_future_unref(f[i]);
}

static void a_timer_within_the_cushion_comes_first(void **state) {
    (void)state;
    nt_later(NT_MS, "timer");
    until_noted(wait_noting(20 * NT_MS, "blocked"));
    assert_notes("timer blocked");
}

static void a_cushion_is_real_time_and_no_virtual_timer_ends_it(void **state) {
    (void)state;
    neap_handle *h = nt_later_handle(1, "timer");
    until_noted(wait_noting(NT_MS, "blocked"));
    assert_notes("blocked");
    assert_int_equal(neap_handle_cancel(h), 1);
    neap_handle_unref(h);
}

static void a_cancelled_wait_is_served_no_more(void **state) {
    (void)state;
    neap_future *f = wait_noting(0, "never"), *g = wait_noting(0, "blocked");
    assert_int_equal(neap_future_cancel(f, NULL), 1);
    nt_turn();
    assert_state(f, NEAP_STATE_CANCELLED);
    nt_note_clear();
    until_noted(g);
    assert_notes("blocked");
    neap_future_unref(f);
}

static void a_forgotten_wait_is_served_all_the_same(void **state) {
    (void)state;
    neap_future_unref(wait_noting(0, "blocked"));
    nt_settle();
    assert_notes("blocked");
}

static void the_end_of_the_loop_ends_the_wait(void **state) {
    (void)state;
    neap_future *f = NULL;
    assert_ok(neap_wait_all_blocked(nt.loop, NT_SEC, &f));
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_code(neap_future_error(f), NEAP_ECLOSED);
    neap_future_unref(f);
}

static void one_who_waits_for_all_to_be_blocked_is_no_deadlock(void **state) {
    (void)state;
    neap_future *f = NULL, *never = nt_future();
    assert_ok(neap_wait_all_blocked(nt.loop, 0, &f));
    assert_code(neap_loop_run_until(nt.loop, never), NEAP_EDEADLOCK);
    assert_state(f, NEAP_STATE_RESULT);
    nt_claim(NEAP_REPORT_DEADLOCK);
    neap_future_unref(f);
    neap_future_unref(never);
}

static void a_turn_that_may_not_wait_so_long_serves_nobody(void **state) {
    (void)state;
    neap_future *f = NULL;
    assert_ok(neap_wait_all_blocked(nt.loop, NT_MS, &f));
    nt_turns(3);
    assert_state(f, NEAP_STATE_PENDING);
    nt_until(f);
    neap_future_unref(f);
}

static void a_loop_that_a_host_watches_does_not_know_when_all_are_blocked(void **state) {
    (void)state;
    neap_future *f = NULL;
    if (neap_loop_fd(nt.loop) < 0)
        return; /* poll has no descriptor */
    assert_code(neap_wait_all_blocked(nt.loop, 0, &f), NEAP_ENOTSUP);
    assert_null(f);
}

static void the_wait_refuses_wrong_arguments(void **state) {
    (void)state;
    neap_future *f = NULL;
    assert_code(neap_wait_all_blocked(NULL, 0, &f), NEAP_EINVAL);
    assert_code(neap_wait_all_blocked(nt.loop, 0, NULL), NEAP_EINVAL);
}

/* ---- What is on its way ---------------------------------------------------------------------- */

/* Two connected ends of this loop over TCP. */
static void connect_both(neap_sock **ret_a, neap_sock **ret_b) {
    neap_addr addr;
    neap_future *done = NULL;
    neap_sock *listener = net_listener(&addr);
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, ret_a));
    int32_t code = neap_sock_connect(*ret_a, &addr, 0, &done);
    if (code == NEAP_PENDING) {
        nt_until(done);
        assert_state(done, NEAP_STATE_RESULT);
        neap_future_unref(done);
    } else {
        assert_ok(code);
    }
    *ret_b = net_accept_now(listener);
    net_end(listener);
}

static void
D20_what_is_sent_between_sockets_of_the_loop_arrives_before_the_clock_moves(void **state) {
    (void)state;
    enum {
        ROUNDS = 1000
    };
    neap_sock *a, *b;
    char byte;
    connect_both(&a, &b);
    int64_t before = neap_loop_time(nt.loop);
    for (int i = 0; i < ROUNDS; i++) {
        neap_handle *timer = nt_later_handle(1, "early");
        neap_future *got = net_park_recv(i % 2 == 0 ? b : a, &byte, 1);
        assert_int_equal(neap_sock_send(i % 2 == 0 ? a : b, "x", 1, NEAP_NOWAIT, NULL), 1);
        net_result(got, 1);
        assert_int_equal(neap_handle_cancel(timer), 1);
        neap_handle_unref(timer);
    }
    assert_notes("");
    assert_int_equal(neap_loop_time(nt.loop), before);
    net_end(a);
    net_end(b);
}

static intptr_t write_late(void *user) {
    const struct timespec pause = {0, 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    return write(*(int *)user, "x", 1);
}

static void *write_late_thread(void *user) {
    write_late(user);
    return NULL;
}

static void the_clock_moves_after_silence_only(void **state) {
    (void)state;
    neap_loop_options options = nt_options(NEAP_LOOP_VIRTUAL_CLOCK);
    options.settle_ns = 50 * NT_SEC; /* ended by the byte */
    assert_ok(neap_loop_new(&options, &nt.loop));
    int peer;
    char byte;
    neap_sock *s = net_unix(&peer);
    neap_future *got = net_park_recv(s, &byte, 1);
    nt_on_done(got, "byte");
    nt_later(1, "timer");
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_late_thread, &peer), 0);
    net_result(got, 1);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    nt_settle();
    assert_int_equal(neap_loop_run_once(nt.loop, -1),
                     1); /* nothing is parked: no silence is needed */
    assert_notes("byte timer");
    net_close(peer);
    net_end(s);
}

static void an_idle_listener_costs_one_silence_not_one_for_each_jump(void **state) {
    (void)state;
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    neap_future *connection = net_park_accept(listener);
    uint64_t before = nt_metrics().blocked_polls;
    for (int i = 0; i < 100; i++) {
        neap_future *sleep = nt_sleep(NT_SEC);
        nt_until(sleep);
        neap_future_unref(sleep);
    }
    assert_int_equal(nt_metrics().blocked_polls - before, 1);
    assert_int_equal(neap_future_cancel(connection, NULL), 1);
    net_cancelled(connection);
    net_end(listener);
}

static void no_silence_is_waited_for_where_it_is_not_wanted(void **state) {
    (void)state;
    neap_addr addr;
    neap_loop_options options = nt_options(NEAP_LOOP_VIRTUAL_CLOCK);
    options.settle_ns = -1;
    assert_ok(neap_loop_new(&options, &nt.loop));
    neap_sock *listener = net_listener(&addr);
    neap_future *connection = net_park_accept(listener);
    neap_future *sleep = nt_sleep(NT_SEC);
    nt_until(sleep);
    assert_int_equal(nt_metrics().blocked_polls, 0);
    neap_future_unref(sleep);
    assert_int_equal(neap_future_cancel(connection, NULL), 1);
    net_cancelled(connection);
    net_end(listener);
}

NT_MAIN(
    NT_TEST_VIRTUAL(all_are_blocked_once_nothing_is_left_to_run),
    NT_TEST_VIRTUAL(D20_a_virtual_clock_does_not_move_before),
    NT_TEST_VIRTUAL(of_several_the_shortest_cushion_is_first_and_each_waits_anew),
    NT_TEST(a_timer_within_the_cushion_comes_first),
    NT_TEST_VIRTUAL(a_cushion_is_real_time_and_no_virtual_timer_ends_it),
    NT_TEST_VIRTUAL(a_cancelled_wait_is_served_no_more),
    NT_TEST_VIRTUAL(a_forgotten_wait_is_served_all_the_same),
    NT_TEST_VIRTUAL(the_end_of_the_loop_ends_the_wait),
    NT_TEST_VIRTUAL(one_who_waits_for_all_to_be_blocked_is_no_deadlock),
    NT_TEST_VIRTUAL(a_turn_that_may_not_wait_so_long_serves_nobody),
    NT_TEST(a_loop_that_a_host_watches_does_not_know_when_all_are_blocked),
    NT_TEST(the_wait_refuses_wrong_arguments),
    NT_TEST_VIRTUAL(D20_what_is_sent_between_sockets_of_the_loop_arrives_before_the_clock_moves),
    NT_TEST_BARE(the_clock_moves_after_silence_only),
    NT_TEST_VIRTUAL(an_idle_listener_costs_one_silence_not_one_for_each_jump),
    NT_TEST_BARE(no_silence_is_waited_for_where_it_is_not_wanted))
