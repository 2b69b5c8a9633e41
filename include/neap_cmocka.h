/* neap_cmocka.h: tests with cmocka of programs that use neap: each test has a loop of its own with a virtual clock, and fails
   on what it leaves behind.  Header only; include it behind cmocka.h.

       static void a_sleep_takes_its_time(void **state) {
           neap_loop *loop = neap_test_loop(state);
           neap_future *sleep;
           assert_int_equal(neap_sleep(loop, 1000000000, &sleep), 0);
           neap_test_run(state, sleep);
           assert_int_equal(neap_loop_time(loop), 1000000000);
           neap_future_unref(sleep);
       }

       int main(void) {
           const struct CMUnitTest tests[] = {neap_test_unit(a_sleep_takes_its_time)};
           return cmocka_run_group_tests(tests, NULL, NULL);
       }

   A test fails if it leaves a task, a timer, an operation, an open socket, a callback to come, a report that it has not taken
   (a failure that nobody awaits), or memory of the loop, its own references included. */
#ifndef NEAP_CMOCKA_H
#define NEAP_CMOCKA_H

#ifndef CMOCKA_H_
#error "neap_cmocka.h comes behind cmocka.h"
#endif

#include <neap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The running test --------------------------------------------------------------------- */

typedef struct neap_test {
    neap_loop *loop;
    neap_limits limits; /* of each neap_test_run: 60 s of the loop's time, 10 s of real time */
    void *user;         /* the test's own */

    /* Memory of the loop; any thread may allocate. */
    neap_allocator allocator;
    long bytes, blocks; /* allocated now */
    long fail_in;       /* so many allocations from now one fails; 0: none */
    long misused;       /* blocks that came back with another size */

    /* Texts, a line each. */
    char reports[4096];
    char wrong[4096];
} neap_test;

static inline neap_test *neap_test_of(void **state) {
    return (neap_test *)*state;
}

static inline neap_loop *neap_test_loop(void **state) {
    return neap_test_of(state)->loop;
}

/* Adds a line to a text that may be full already. */
static inline void neap_test_line(char *text, size_t cap, const char *line, long number) {
    size_t len = strlen(text);
    if (number < 0)
        snprintf(text + len, cap - len, "%s\n", line);
    else
        snprintf(text + len, cap - len, "%s: %ld\n", line, number);
}

/* ---- Memory ------------------------------------------------------------------------------- */

/* In front of each block: its size, where every alignment is satisfied. */
typedef union neap_test_block {
    size_t size;
    long double align;
    void *pointer;
} neap_test_block;

static inline int neap_test_refuses(neap_test *test) {
    long left = __atomic_load_n(&test->fail_in, __ATOMIC_RELAXED);
    return left > 0 && __atomic_sub_fetch(&test->fail_in, 1, __ATOMIC_RELAXED) == 0;
}

static inline void *neap_test_alloc(void *ctx, size_t n) {
    neap_test *test = (neap_test *)ctx;
    neap_test_block *block =
        neap_test_refuses(test) ? NULL : (neap_test_block *)malloc(sizeof *block + n);
    if (block == NULL)
        return NULL;
    block->size = n;
    __atomic_add_fetch(&test->bytes, (long)n, __ATOMIC_RELAXED);
    __atomic_add_fetch(&test->blocks, 1, __ATOMIC_RELAXED);
    return block + 1;
}

static inline void neap_test_free(void *ctx, void *p, size_t n) {
    neap_test *test = (neap_test *)ctx;
    if (p == NULL)
        return;
    neap_test_block *block = (neap_test_block *)p - 1;
    __atomic_add_fetch(&test->misused, block->size != n, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&test->bytes, (long)block->size, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&test->blocks, 1, __ATOMIC_RELAXED);
    free(block);
}

static inline void *neap_test_realloc(void *ctx, void *p, size_t old, size_t n) {
    void *q = neap_test_alloc(ctx, n);
    if (q == NULL || p == NULL)
        return q;
    memcpy(q, p, old < n ? old : n);
    neap_test_free(ctx, p, old);
    return q;
}

/* The n-th allocation from now fails; 0: none. */
static inline void neap_test_fail_allocation(void **state, long n) {
    __atomic_store_n(&neap_test_of(state)->fail_in, n, __ATOMIC_RELAXED);
}

/* ---- Reports ------------------------------------------------------------------------------ */

static inline void neap_test_report(neap_loop *loop, const neap_report *report, void *user) {
    neap_test *test = (neap_test *)user;
    (void)loop;
    if (report->kind != NEAP_REPORT_SLOW)
        neap_test_line(test->reports, sizeof test->reports, report->message, -1);
}

/* What was reported since the last time, a line each, until the next call of these functions; "" if nothing was.  Who takes a
   report was ready for it. */
static inline const char *neap_test_take_reports(void **state) {
    neap_test *test = neap_test_of(state);
    memcpy(test->wrong, test->reports, sizeof test->reports);
    test->reports[0] = '\0';
    return test->wrong;
}

/* ---- Running ------------------------------------------------------------------------------ */

static inline int32_t neap_test_add_task(neap_task *task, void *user) {
    neap_test *test = (neap_test *)user;
    char line[512];
    neap_task_describe(task, line, sizeof line);
    neap_test_line(test->wrong, sizeof test->wrong, line, -1);
    return 0;
}

/* Runs the loop until the future is done, within the test's limits.  Returns what neap_loop_run_within does; after a
   failure the test's `wrong` says who waits for what. */
static inline int32_t neap_test_try_run(void **state, neap_future *future) {
    neap_test *test = neap_test_of(state);
    int32_t code = neap_loop_run_within(test->loop, future, &test->limits);
    test->wrong[0] = '\0';
    if (code == 0)
        return 0;
    neap_test_line(test->wrong, sizeof test->wrong, neap_strerror(code), -1);
    neap_task_walk(test->loop, neap_test_add_task, test);
    return code;
}

/* As neap_test_try_run; fails the test if the future is not done. */
static inline void neap_test_run(void **state, neap_future *future) {
    if (neap_test_try_run(state, future) != 0)
        fail_msg("neap_test_run: %s", neap_test_of(state)->wrong);
}

/* Runs the loop until everything is blocked: nothing is ready, and nothing is on its way between its sockets.  A virtual
   clock does not move.  Returns 0, or a code if that came to no end. */
static inline int32_t neap_test_try_blocked(void **state) {
    neap_future *blocked;
    int32_t code = neap_wait_all_blocked(neap_test_loop(state), 0, &blocked);
    if (code < 0)
        return code;
    code = neap_test_try_run(state, blocked);
    neap_future_cancel(blocked, NULL);
    neap_future_unref(blocked);
    return code;
}

/* As neap_test_try_blocked; fails the test if that comes to no end. */
static inline void neap_test_blocked(void **state) {
    if (neap_test_try_blocked(state) != 0)
        fail_msg("neap_test_blocked: %s", neap_test_of(state)->wrong);
}

/* ---- Setup and teardown ------------------------------------------------------------------- */

/* For a setup of your own: a loop with these options, but for the allocator.  -1 if there is none. */
static inline int neap_test_begin(void **state, const neap_loop_options *options) {
    neap_loop_options ours = *options;
    neap_test *test = (neap_test *)calloc(1, sizeof *test);
    if (test == NULL)
        return -1;
    test->limits.size = sizeof test->limits;
    test->limits.time_ns = (int64_t)60 * 1000000000;
    test->limits.real_ns = (int64_t)10 * 1000000000;
    test->allocator.size = sizeof test->allocator;
    test->allocator.ctx = test;
    test->allocator.alloc = neap_test_alloc;
    test->allocator.realloc = neap_test_realloc;
    test->allocator.free = neap_test_free;
    ours.allocator = &test->allocator;
    int32_t code = neap_loop_new(&ours, &test->loop);
    if (code == 0)
        code = neap_loop_set_error_hook(test->loop, neap_test_report, test, NULL);
    if (code < 0) {
        print_error("no loop: %s\n", neap_strerror(code));
        neap_loop_unref(test->loop);
        free(test);
        return -1;
    }
    *state = test;
    return 0;
}

static inline int neap_test_setup_with(void **state, uint32_t flags) {
    neap_loop_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.flags = flags;
    return neap_test_begin(state, &options);
}

/* cmocka's setup: a loop with a virtual clock; with the real one. */
static inline int neap_test_setup(void **state) {
    return neap_test_setup_with(state, NEAP_LOOP_VIRTUAL_CLOCK);
}

static inline int neap_test_setup_real(void **state) {
    return neap_test_setup_with(state, 0);
}

static inline void neap_test_left(char *text, size_t cap, const char *what, uint64_t n) {
    if (n > 0)
        neap_test_line(text, cap, what, (long)n);
}

/* Adds what is left on the loop to a text of `cap` bytes. */
static inline void neap_test_inspect(void **state, char *text, size_t cap) {
    neap_test *test = neap_test_of(state);
    neap_metrics m;
    test->limits.ticks = 10000;
    neap_test_try_blocked(state); /* what was cancelled ends */
    memset(&m, 0, sizeof m);
    neap_loop_metrics(test->loop, &m, sizeof m);
    test->wrong[0] = '\0';
    neap_task_walk(test->loop, neap_test_add_task, test);
    neap_test_left(text, cap, "left: tasks", m.tasks);
    snprintf(text + strlen(text), cap - strlen(text), "%s", test->wrong);
    neap_test_left(text, cap, "left: timers", m.timers);
    neap_test_left(text, cap, "left: operations and watches", m.operations);
    neap_test_left(text, cap, "left: open sockets", m.socks);
    neap_test_left(text, cap, "left: callbacks to come", m.ready);
    if (test->reports[0] != '\0')
        snprintf(text + strlen(text), cap - strlen(text), "reported: %s",
                 neap_test_take_reports(state));
}

/* Closes the loop and ends the test, which holds nothing of it any more.  Writes what was wrong, a line each, into `text`
   of `cap` bytes, "" if nothing was. */
static inline void neap_test_end(void **state, char *text, size_t cap) {
    neap_test *test = neap_test_of(state);
    text[0] = '\0';
    *state = NULL;
    if (neap_loop_is_running(test->loop)) { /* an assertion has left a callback: nobody goes back */
        neap_test_line(text, cap, "the loop was left running", -1);
        return;
    }
    if (!neap_loop_is_closed(test->loop)) {
        void *here = test;
        neap_test_inspect(&here, text, cap);
        neap_loop_set_error_hook(test->loop, NULL, NULL, NULL);
        neap_loop_close(test->loop, 0);
    }
    neap_loop_unref(test->loop);
    neap_test_left(text, cap, "left: bytes", (uint64_t)test->bytes);
    neap_test_left(text, cap, "left: blocks", (uint64_t)test->blocks);
    neap_test_left(text, cap, "blocks freed with another size", (uint64_t)test->misused);
    if (test->blocks == 0) /* else somebody may still come back to its allocator */
        free(test);
}

/* cmocka's teardown. */
static inline int neap_test_teardown(void **state) {
    char text[8192];
    neap_test_end(state, text, sizeof text);
    if (text[0] == '\0')
        return 0;
    print_error("%s", text);
    return -1;
}

#define neap_test_unit(f) cmocka_unit_test_setup_teardown(f, neap_test_setup, neap_test_teardown)
#define neap_test_unit_real(f) \
    cmocka_unit_test_setup_teardown(f, neap_test_setup_real, neap_test_teardown)

#endif
