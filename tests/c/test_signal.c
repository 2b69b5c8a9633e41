/* Signals: nothing is touched unless asked; what was there before is saved, chained on request, and
   put back. */
#include "net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- A handler of the host's ----------------------------------------------------------------- */

static volatile sig_atomic_t host_calls;

static void host_handler(int signo) {
    (void)signo;
    host_calls++;
}

static volatile sig_atomic_t host_info_pid;

static void host_info_handler(int signo, siginfo_t *info, void *context) {
    (void)signo;
    (void)context;
    host_calls++;
    host_info_pid = (sig_atomic_t)info->si_pid;
}

/* Sets a handler of the host's for the test; host_end puts back what was there. */
static struct sigaction host_old;

static void host_begin(int signo, int flags) {
    struct sigaction action = {.sa_flags = flags};
    sigemptyset(&action.sa_mask);
    if (flags & SA_SIGINFO)
        action.sa_sigaction = host_info_handler;
    else
        action.sa_handler = host_handler;
    host_calls = 0;
    assert_int_equal(sigaction(signo, &action, &host_old), 0);
}

static void host_end(int signo) {
    assert_int_equal(sigaction(signo, &host_old, NULL), 0);
}

/* ---- Watches --------------------------------------------------------------------------------- */

typedef struct ear {
    int calls;
    int32_t signo;
    int destroyed;
    neap_handle *handle; /* to be cancelled at the first call, if set */
} ear;

static void ear_called(int32_t signo, void *user) {
    ear *e = user;
    e->calls++;
    e->signo = signo;
    if (e->handle != NULL) {
        assert_int_equal(neap_handle_cancel(e->handle), 1);
        neap_handle_unref(e->handle);
        e->handle = NULL;
    }
}

static void ear_destroyed(void *user) {
    ((ear *)user)->destroyed++;
}

static neap_handle *listen_on(neap_loop *loop, int signo, uint32_t flags, ear *e) {
    neap_handle *handle = NULL;
    assert_ok(neap_signal_watch(loop, signo, flags, ear_called, e, ear_destroyed, &handle));
    assert_non_null(handle);
    return handle;
}

static neap_handle *listen_to(int signo, uint32_t flags, ear *e) {
    return listen_on(nt.loop, signo, flags, e);
}

static void stop_listening(neap_handle *handle) {
    assert_int_equal(neap_handle_cancel(handle), 1);
    neap_handle_unref(handle);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void same_action(int signo, const struct sigaction *before) {
    struct sigaction now;
    assert_int_equal(sigaction(signo, NULL, &now), 0);
    assert_int_equal(now.sa_flags & ~0x04000000, before->sa_flags & ~0x04000000); /* SA_RESTORER */
    assert_true(now.sa_handler == before->sa_handler);
    for (int i = 1; i < 65; i++)
        assert_int_equal(sigismember(&now.sa_mask, i), sigismember(&before->sa_mask, i));
}

static void a_loop_touches_no_signal_unless_asked(void **state) {
    (void)state;
    struct sigaction before[32];
    sigset_t mask_before;
    sigset_t mask;
    int peer;
    for (int i = 1; i < 32; i++)
        assert_int_equal(sigaction(i, NULL, &before[i]), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask_before), 0);
    neap_loop *loop = nt_loop_new(0);
    neap_sock *conn = net_tcp(&peer);
    neap_future *slept = nt_sleep(NT_MS);
    nt_until(slept);
    neap_future_unref(slept);
    for (int i = 1; i < 32; i++)
        same_action(i, &before[i]);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    for (int i = 1; i < 65; i++)
        assert_int_equal(sigismember(&mask, i), sigismember(&mask_before, i));
    nt_loop_end(loop);
    for (int i = 1; i < 32; i++)
        same_action(i, &before[i]);
    net_end(conn);
    net_close(peer);
}

static void a_signal_is_heard_from_the_loop_and_not_before(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(e.calls, 0);
    nt_turn();
    assert_int_equal(e.calls, 1);
    assert_int_equal(e.signo, SIGUSR1);
    nt_turns(3);
    assert_int_equal(e.calls, 1);
    stop_listening(handle);
    nt_settle();
    assert_int_equal(e.destroyed, 1);
}

static void arrivals_between_two_ticks_count_as_one(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    for (int i = 0; i < 5; i++)
        assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(3);
    assert_int_equal(e.calls, 1);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(e.calls, 2);
    stop_listening(handle);
}

static void two_signals_of_one_tick_are_both_heard(void **state) {
    (void)state;
    ear one = {0};
    ear two = {0};
    neap_handle *a = listen_to(SIGUSR1, 0, &one);
    neap_handle *b = listen_to(SIGUSR2, 0, &two);
    assert_int_equal(raise(SIGUSR2), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(one.signo, SIGUSR1);
    assert_int_equal(two.signo, SIGUSR2);
    stop_listening(a);
    stop_listening(b);
}

static void the_handler_that_was_there_is_put_back(void **state) {
    (void)state;
    struct sigaction before;
    ear e = {0};
    host_begin(SIGUSR1, SA_RESTART);
    assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(host_calls, 0); /* not chained: it was not asked for */
    stop_listening(handle);
    nt_settle();
    same_action(SIGUSR1, &before);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(host_calls, 1);
    host_end(SIGUSR1);
}

static void the_default_action_is_put_back_too(void **state) {
    (void)state;
    struct sigaction before;
    ear e = {0};
    assert_int_equal(sigaction(SIGUSR2, NULL, &before), 0);
    neap_handle *handle = listen_to(SIGUSR2, 0, &e);
    stop_listening(handle);
    nt_settle();
    same_action(SIGUSR2, &before);
}

static void a_chained_handler_is_called_as_well(void **state) {
    (void)state;
    ear e = {0};
    host_begin(SIGUSR1, 0);
    neap_handle *handle = listen_to(SIGUSR1, NEAP_SIGNAL_CHAIN, &e);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(host_calls, 1);
    nt_turns(2);
    assert_int_equal(e.calls, 1);
    assert_int_equal(host_calls, 1);
    stop_listening(handle);
    host_end(SIGUSR1);
}

static void a_chained_handler_gets_the_whole_story(void **state) {
    (void)state;
    ear e = {0};
    host_begin(SIGUSR1, SA_SIGINFO);
    host_info_pid = 0;
    neap_handle *handle = listen_to(SIGUSR1, NEAP_SIGNAL_CHAIN, &e);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(host_calls, 1);
    assert_int_equal(host_info_pid, getpid());
    nt_turns(2);
    assert_int_equal(e.calls, 1);
    stop_listening(handle);
    host_end(SIGUSR1);
}

static void chaining_to_default_or_ignore_calls_nobody(void **state) {
    (void)state;
    ear e = {0};
    struct sigaction old;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    neap_handle *handle = listen_to(SIGUSR1, NEAP_SIGNAL_CHAIN, &e); /* default: would kill */
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(e.calls, 1);
    stop_listening(handle);
    assert_int_equal(sigaction(SIGUSR1, &ignore, &old), 0);
    handle = listen_to(SIGUSR1, NEAP_SIGNAL_CHAIN, &e);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(e.calls, 2);
    stop_listening(handle);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

static void two_watches_of_one_signal_are_both_called(void **state) {
    (void)state;
    struct sigaction before;
    ear one = {0};
    ear two = {0};
    assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
    neap_handle *a = listen_to(SIGUSR1, 0, &one);
    neap_handle *b = listen_to(SIGUSR1, 0, &two);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 1);
    stop_listening(a);
    nt_settle();
    assert_int_equal(raise(SIGUSR1), 0); /* the handler is still ours */
    nt_turns(2);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 2);
    stop_listening(b);
    nt_settle();
    same_action(SIGUSR1, &before);
}

static void two_loops_may_watch_one_signal(void **state) {
    (void)state;
    struct sigaction before;
    ear one = {0};
    ear two = {0};
    assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
    neap_loop *other = nt_loop_new(0);
    neap_handle *a = listen_to(SIGUSR1, 0, &one);
    neap_handle *b = listen_on(other, SIGUSR1, 0, &two);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turn();
    assert_true(neap_loop_run_once(other, 0) >= 0);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 1);
    stop_listening(a);
    nt_settle();
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turn();
    assert_true(neap_loop_run_once(other, 0) >= 0);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 2);
    stop_listening(b);
    nt_loop_end(other);
    same_action(SIGUSR1, &before);
}

static void a_watch_may_end_itself(void **state) {
    (void)state;
    struct sigaction before;
    ear e = {0};
    assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
    e.handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(3);
    assert_int_equal(e.calls, 1);
    assert_int_equal(e.destroyed, 1);
    same_action(SIGUSR1, &before);
}

static void a_watch_ended_after_the_arrival_and_before_the_tick_is_silent(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(raise(SIGUSR1), 0);
    stop_listening(handle);
    nt_turns(2);
    assert_int_equal(e.calls, 0);
    assert_int_equal(e.destroyed, 1);
}

static void a_watch_without_a_handle_ends_with_the_loop(void **state) {
    (void)state;
    struct sigaction before;
    ear e = {0};
    assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
    neap_loop *loop = nt_loop_new(0);
    assert_ok(neap_signal_watch(loop, SIGUSR1, 0, ear_called, &e, ear_destroyed, NULL));
    assert_int_equal(raise(SIGUSR1), 0);
    assert_true(neap_loop_run_once(loop, 0) >= 0);
    assert_int_equal(e.calls, 1);
    nt_loop_end(loop);
    assert_int_equal(e.destroyed, 1);
    same_action(SIGUSR1, &before);
}

static void closing_the_loop_puts_the_handler_back(void **state) {
    (void)state;
    for (uint32_t flags = 0; flags <= NEAP_CLOSE_SILENT; flags++) {
        struct sigaction before;
        ear e = {0};
        assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
        neap_loop *loop = nt_loop_new(0);
        neap_handle *handle = listen_on(loop, SIGUSR1, 0, &e);
        assert_int_equal(raise(SIGUSR1), 0);
        assert_ok(neap_loop_close(loop, flags));
        same_action(SIGUSR1, &before);
        assert_int_equal(e.calls, 0);
        assert_int_equal(e.destroyed, 1);
        neap_handle_unref(handle);
        neap_loop_unref(loop);
    }
}

static void signals_that_cannot_be_caught_are_refused(void **state) {
    (void)state;
    static const int bad[] = {SIGKILL, SIGSTOP, 0, -1, 65, 1000};
    ear e = {0};
    neap_handle *handle = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_code(neap_signal_watch(nt.loop, bad[i], 0, ear_called, &e, ear_destroyed, &handle),
                    NEAP_EINVAL);
        assert_int_equal(e.destroyed, (int)i + 1);
        assert_null(handle);
    }
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* Sends the signal to this process from a child, a little later. */
static pid_t kill_later(int signo) {
    pid_t parent = getpid();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        usleep(20000);
        kill(parent, signo);
        _exit(0);
    }
    return child;
}

static void N20_a_signal_wakes_a_waiting_loop(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    pid_t child = kill_later(SIGUSR1);
    while (e.calls == 0)
        assert_true(neap_loop_run_once(nt.loop, -1) >= 0);
    assert_int_equal(e.calls, 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    stop_listening(handle);
}

static void stop_loop(int32_t signo, void *user) {
    (void)signo;
    assert_ok(neap_loop_stop(user));
}

static void N20_a_signal_may_stop_a_run_that_serves(void **state) {
    (void)state;
    neap_addr addr;
    neap_handle *handle = NULL;
    neap_sock *listener = net_listener(&addr);
    neap_future *accepting = net_park_accept(listener);
    assert_ok(neap_signal_watch(nt.loop, SIGUSR1, 0, stop_loop, nt.loop, NULL, &handle));
    pid_t child = kill_later(SIGUSR1);
    assert_ok(neap_loop_run(nt.loop));
    assert_state(accepting, NEAP_STATE_PENDING);
    assert_int_equal(waitpid(child, NULL, 0), child);
    stop_listening(handle);
    net_end(listener);
    net_failure(accepting, NEAP_ECLOSED);
}

static void a_signal_watch_alone_is_nothing_to_wait_for(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    neap_future *future = nt_future();
    assert_code(neap_loop_run_until(nt.loop, future), NEAP_EDEADLOCK);
    nt_claim_all();
    stop_listening(handle);
    neap_future_unref(future);
}

static void a_signal_that_arrived_before_the_wait_prevents_it(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    nt_turn();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(raise(SIGUSR1), 0);
        assert_true(neap_loop_run_once(nt.loop, -1) >= 0);
        assert_int_equal(e.calls, i + 1);
    }
    stop_listening(handle);
}

/* ---- Delivery by the host -------------------------------------------------------------------- */

static void the_host_may_deliver_a_signal_itself(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_ok(neap_signal_deliver(nt.loop, SIGUSR1));
    assert_int_equal(e.calls, 0);
    nt_turns(2);
    assert_int_equal(e.calls, 1);
    stop_listening(handle);
}

static void a_delivered_signal_that_nobody_watches_is_harmless(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_true(neap_signal_deliver(nt.loop, SIGUSR2) <= 0);
    nt_turns(2);
    assert_int_equal(e.calls, 0);
    stop_listening(handle);
    assert_code(neap_signal_deliver(nt.loop, 1000), NEAP_EINVAL);
}

static intptr_t deliver_from_thread(void *user) {
    return neap_signal_deliver(user, SIGUSR1);
}

static void a_signal_may_be_delivered_from_another_thread(void **state) {
    (void)state;
    ear e = {0};
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(nt_in_thread(deliver_from_thread, nt.loop), 0);
    while (e.calls == 0)
        assert_true(neap_loop_run_once(nt.loop, -1) >= 0);
    stop_listening(handle);
}

/* The host's own handler stays in place: it delivers from inside. */
static void delivering_handler(int signo) {
    neap_signal_deliver(nt.loop, signo);
}

static void a_hosts_handler_may_deliver_from_inside(void **state) {
    (void)state;
    ear e = {0};
    struct sigaction action = {.sa_handler = delivering_handler};
    struct sigaction old;
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0); /* over neap's */
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(e.calls, 1);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
    stop_listening(handle);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static intptr_t watch_in_thread(void *user) {
    (void)user;
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    ear e = {0};
    neap_handle *handle = NULL;
    if (neap_loop_new(&options, &loop) != 0)
        return 1;
    if (neap_signal_watch(loop, SIGUSR1, 0, ear_called, &e, ear_destroyed, &handle) != 0)
        return 2;
    kill(getpid(), SIGUSR1); /* whichever thread takes it, the loop hears of it */
    for (int i = 0; i < 1000 && e.calls == 0; i++)
        neap_loop_run_once(loop, 10 * NT_MS);
    neap_handle_cancel(handle);
    neap_handle_unref(handle);
    if (neap_loop_close(loop, 0) != 0)
        return 3;
    neap_loop_unref(loop);
    return e.calls == 1 ? 0 : 4;
}

static void a_signal_taken_by_another_thread_reaches_the_loop(void **state) {
    (void)state;
    struct sigaction before;
    assert_int_equal(sigaction(SIGUSR1, NULL, &before), 0);
    assert_int_equal(nt_in_thread(watch_in_thread, NULL), 0);
    same_action(SIGUSR1, &before);
}

static void chaining_ends_with_the_watch_that_asked_for_it(void **state) {
    (void)state;
    ear one = {0};
    ear two = {0};
    host_begin(SIGUSR1, 0);
    neap_handle *chained = listen_to(SIGUSR1, NEAP_SIGNAL_CHAIN, &one);
    neap_handle *plain = listen_to(SIGUSR1, 0, &two);
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(host_calls, 1); /* once for both */
    assert_int_equal(one.calls + two.calls, 2);
    stop_listening(chained);
    nt_settle();
    assert_int_equal(raise(SIGUSR1), 0);
    nt_turns(2);
    assert_int_equal(host_calls, 1);
    assert_int_equal(two.calls, 2);
    stop_listening(plain);
    host_end(SIGUSR1);
}

static void a_handler_that_the_host_set_meanwhile_is_left_alone(void **state) {
    (void)state;
    ear e = {0};
    struct sigaction mine = {.sa_handler = host_handler};
    struct sigaction now;
    struct sigaction old;
    assert_int_equal(sigaction(SIGUSR1, NULL, &old), 0);
    neap_handle *handle = listen_to(SIGUSR1, 0, &e);
    assert_int_equal(sigaction(SIGUSR1, &mine, NULL), 0);
    stop_listening(handle);
    nt_settle();
    assert_int_equal(sigaction(SIGUSR1, NULL, &now), 0);
    assert_true(now.sa_handler == host_handler);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

NT_MAIN(NT_TEST(a_loop_touches_no_signal_unless_asked),
        NT_TEST(a_signal_is_heard_from_the_loop_and_not_before),
        NT_TEST(arrivals_between_two_ticks_count_as_one),
        NT_TEST(two_signals_of_one_tick_are_both_heard),
        NT_TEST(the_handler_that_was_there_is_put_back),
        NT_TEST(the_default_action_is_put_back_too), NT_TEST(a_chained_handler_is_called_as_well),
        NT_TEST(a_chained_handler_gets_the_whole_story),
        NT_TEST(chaining_to_default_or_ignore_calls_nobody),
        NT_TEST(two_watches_of_one_signal_are_both_called), NT_TEST(two_loops_may_watch_one_signal),
        NT_TEST(a_watch_may_end_itself),
        NT_TEST(a_watch_ended_after_the_arrival_and_before_the_tick_is_silent),
        NT_TEST(a_watch_without_a_handle_ends_with_the_loop),
        NT_TEST(closing_the_loop_puts_the_handler_back),
        NT_TEST(signals_that_cannot_be_caught_are_refused),
        NT_TEST(N20_a_signal_wakes_a_waiting_loop),
        NT_TEST(N20_a_signal_may_stop_a_run_that_serves),
        NT_TEST(a_signal_watch_alone_is_nothing_to_wait_for),
        NT_TEST(a_signal_that_arrived_before_the_wait_prevents_it),
        NT_TEST(the_host_may_deliver_a_signal_itself),
        NT_TEST(a_delivered_signal_that_nobody_watches_is_harmless),
        NT_TEST(a_signal_may_be_delivered_from_another_thread),
        NT_TEST(a_hosts_handler_may_deliver_from_inside),
        NT_TEST(a_signal_taken_by_another_thread_reaches_the_loop),
        NT_TEST(chaining_ends_with_the_watch_that_asked_for_it),
        NT_TEST(a_handler_that_the_host_set_meanwhile_is_left_alone))
