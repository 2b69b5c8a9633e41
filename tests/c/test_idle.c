/* What a loop does with the time in which nothing happens. */
#include "support.h"

enum {
    CALLS_MAX = 16
};

/* The hook answers these bounds in turn, then -1, and notes what it was told. */
typedef struct idler {
    int64_t bounds[CALLS_MAX];
    int32_t quiet[CALLS_MAX];
    int calls;
    neap_future *resolves; /* in its last call */
} idler;

static int64_t note_idle(neap_loop *loop, int32_t quiet, void *user) {
    idler *i = user;
    (void)loop;
    assert_true(i->calls < CALLS_MAX);
    i->quiet[i->calls] = quiet;
    int64_t bound = i->bounds[i->calls++];
    if (bound < 0 && i->resolves != NULL)
        assert_ok(neap_future_set_int(i->resolves, 1));
    return bound;
}

static void use(idler *i) {
    assert_ok(neap_loop_set_idle_hook(nt.loop, note_idle, i, NULL));
}

static void the_idle_hook_is_asked_before_a_wait_and_not_while_there_is_work(void **state) {
    (void)state;
    idler i = {.bounds = {-1, -1}};
    use(&i);
    nt_soon("work");
    assert_int_equal(neap_loop_run_once(nt.loop, NT_MS), 1);
    assert_int_equal(i.calls, 0);
    assert_int_equal(neap_loop_run_once(nt.loop, 0), 0);
    assert_int_equal(i.calls, 0);
    assert_int_equal(neap_loop_run_once(nt.loop, NT_MS), 0);
    assert_int_equal(i.calls, 1);
    assert_int_equal(i.quiet[0], 0);
    assert_notes("work");
}

static void the_idle_hook_is_asked_again_after_silence(void **state) {
    (void)state;
    neap_future *future = nt_future();
    idler i = {.bounds = {NT_MS, 0, 0, -1}, .resolves = future};
    use(&i);
    nt_later(3600 * NT_SEC, "never");
    nt_until(future);
    assert_int_equal(i.calls, 4);
    assert_int_equal(i.quiet[0], 0);
    for (int n = 1; n < 4; n++)
        assert_int_equal(i.quiet[n], 1);
    neap_future_unref(future);
    assert_ok(neap_loop_close(nt.loop, 0));
}

static void a_wait_that_ends_before_its_bound_was_not_quiet(void **state) {
    (void)state;
    idler i = {.bounds = {3600 * NT_SEC, 3600 * NT_SEC, -1}};
    use(&i);
    for (int n = 0; n < 2; n++) {
        neap_future *sleep = nt_sleep(NT_MS);
        nt_until(sleep);
        neap_future_unref(sleep);
    }
    assert_int_equal(i.calls, 2);
    assert_int_equal(i.quiet[0], 0);
    assert_int_equal(i.quiet[1], 0);
}

static void what_the_idle_hook_makes_ready_runs_at_once(void **state) {
    (void)state;
    neap_future *future = nt_future();
    idler i = {.bounds = {0, 0, -1}, .resolves = future};
    use(&i);
    assert_ok(neap_loop_hold(nt.loop)); /* it could wait for ever */
    nt_until(future);
    assert_int_equal(i.calls, 3);
    assert_ok(neap_loop_release(nt.loop));
    neap_future_unref(future);
}

static void a_bounded_turn_lasts_as_long_with_an_idle_hook(void **state) {
    (void)state;
    idler i = {.bounds = {NT_MS, NT_MS, NT_MS, -1}}; /* on a slow machine the first may last */
    use(&i);
    int64_t before = neap_loop_update_time(nt.loop);
    neap_metrics counts = nt_metrics();
    assert_int_equal(neap_loop_run_once(nt.loop, 10 * NT_MS), 0);
    assert_true(neap_loop_time(nt.loop) - before >= 10 * NT_MS);
    assert_int_equal(nt_metrics().ticks - counts.ticks, 1);
    assert_true(i.calls >= 1 && i.calls <= 4);
}

static void an_idle_hook_may_remove_itself(void **state) {
    (void)state;
    idler i = {.bounds = {-1, -1}};
    use(&i);
    assert_int_equal(neap_loop_run_once(nt.loop, NT_MS), 0);
    assert_ok(neap_loop_set_idle_hook(nt.loop, NULL, NULL, NULL));
    assert_int_equal(neap_loop_run_once(nt.loop, NT_MS), 0);
    assert_int_equal(i.calls, 1);
}

static void with_a_virtual_clock_the_idle_hook_is_not_asked(void **state) {
    (void)state;
    idler i = {.bounds = {0}};
    use(&i);
    neap_future *sleep = nt_sleep(NT_SEC);
    nt_until(sleep);
    assert_int_equal(i.calls, 0);
    neap_future_unref(sleep);
}

static void where_a_host_watches_the_idle_hook_is_not_asked(void **state) {
    (void)state;
    idler i = {.bounds = {-1}};
    use(&i);
    int hosted = neap_loop_fd(nt.loop) >= 0; /* poll has no descriptor */
    assert_int_equal(neap_loop_run_once(nt.loop, NT_MS), 0);
    assert_int_equal(i.calls, !hosted);
}

NT_MAIN(NT_TEST(the_idle_hook_is_asked_before_a_wait_and_not_while_there_is_work),
        NT_TEST(the_idle_hook_is_asked_again_after_silence),
        NT_TEST(a_wait_that_ends_before_its_bound_was_not_quiet),
        NT_TEST(what_the_idle_hook_makes_ready_runs_at_once),
        NT_TEST(a_bounded_turn_lasts_as_long_with_an_idle_hook),
        NT_TEST(an_idle_hook_may_remove_itself),
        NT_TEST_VIRTUAL(with_a_virtual_clock_the_idle_hook_is_not_asked),
        NT_TEST(where_a_host_watches_the_idle_hook_is_not_asked))
