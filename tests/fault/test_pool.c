/* Thread pools under failing memory: see test_core.c. */
#include <string.h>

#include "support.h"

static int ok(int32_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

static const char tag;

static int64_t keep_and_answer(neap_job *job, void *user) {
    int32_t rc = neap_job_set_data(job, &tag, user, NULL);
    return rc < 0 ? rc : 3;
}

static int32_t set_bytes(neap_future *future, int64_t result, void *user) {
    (void)user;
    return neap_future_set_bytes(future, "abc", (size_t)result);
}

/* Each job that was taken ends; each `user` is destroyed once, whether it was taken or not. */
static void give_jobs(neap_loop *loop, neap_pool *pool) {
    const neap_job_options options = {.size = sizeof options, .name = "j", .finish = set_bytes};
    neap_future *futures[3];
    int destroyed = 0, n = 0;
    for (int i = 0; i < 3; i++)
        n += ok(neap_pool_submit(pool, loop, keep_and_answer, &destroyed, nt_count_fn,
                                 i > 0 ? &options : NULL, &futures[n]));
    for (int i = 0; i < n; i++) {
        int32_t rc = neap_loop_run_until(loop, futures[i]);
        assert_true(rc == 0 || rc == NEAP_ENOMEM);
        while (neap_future_state(futures[i]) == NEAP_STATE_PENDING)
            (void)neap_loop_run_once(loop, NT_MS);
        (void)ok(neap_future_error(futures[i]));
        neap_future_unref(futures[i]);
    }
    assert_int_equal(destroyed, 3);
}

static void jobs(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_pool *pool = NULL;
    int destroyed = 0;
    if (loop == NULL)
        return;
    const neap_pool_options options = {.size = sizeof options,
                                       .allocator = &nt.heap.hook,
                                       .user = &destroyed,
                                       .destroy = nt_count_fn};
    if (ok(neap_pool_new(&options, &pool))) {
        give_jobs(loop, pool);
        assert_int_equal(neap_pool_close(pool, 0), 1);
        neap_future *closed = NULL;
        int32_t rc = neap_pool_closed(pool, loop, &closed);
        assert_true(rc == 0 || rc == NEAP_PENDING || rc == NEAP_ENOMEM);
        while (closed != NULL && neap_future_state(closed) == NEAP_STATE_PENDING)
            (void)neap_loop_run_once(loop, NT_MS);
        neap_future_unref(closed);
        assert_int_equal(neap_pool_shutdown(pool, -1, 0, NULL, NULL), 0);
        neap_pool_unref(pool);
    }
    assert_int_equal(destroyed, 1);
    if (ok(neap_loop_pool(loop, NEAP_POOL_USER, &pool))) {
        give_jobs(loop, pool);
        neap_pool_unref(pool);
    }
    nt_loop_end(loop);
    nt_claim_all();
}

static void under_failing_memory_jobs(void **state) {
    (void)state;
    nt_fault(jobs);
}

NT_MAIN(NT_TEST_BARE(under_failing_memory_jobs))
