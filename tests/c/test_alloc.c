/* Memory: every byte goes through the hook, each allocation may fail, buffers are counted. */
#include <string.h>

#include "support.h"

static void all_memory_comes_from_the_hook_and_goes_back(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    assert_true(atomic_load(&nt.heap.bytes) > 0);
    nt_loop_end(loop);
    assert_int_equal(atomic_load(&nt.heap.bytes), 0);
    assert_int_equal(atomic_load(&nt.heap.blocks), 0);
}

static void metrics_count_the_same_bytes_and_blocks_as_the_hook(void **state) {
    (void)state;
    neap_future *futures[100];
    for (int i = 0; i < 100; i++) {
        futures[i] = nt_future();
        assert_ok(neap_future_set_bytes(futures[i], "0123456789", 10));
    }
    neap_metrics m = nt_metrics();
    assert_int_equal(m.bytes, atomic_load(&nt.heap.bytes));
    assert_int_equal(m.blocks, atomic_load(&nt.heap.blocks));
    assert_int_equal(m.allocations, atomic_load(&nt.heap.calls));
    for (int i = 0; i < 100; i++)
        neap_future_unref(futures[i]);
    m = nt_metrics();
    assert_int_equal(m.bytes, atomic_load(&nt.heap.bytes));
    assert_int_equal(m.blocks, atomic_load(&nt.heap.blocks));
}

static void without_a_hook_malloc_serves(void **state) {
    (void)state;
    neap_loop *loop = NULL;
    neap_future *future = NULL;
    assert_ok(neap_loop_new(NULL, &loop));
    assert_ok(neap_future_new(loop, &future));
    neap_future_unref(future);
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
    assert_int_equal(atomic_load(&nt.heap.calls), 0);
}

static void a_loop_that_cannot_be_made_leaves_nothing(void **state) {
    (void)state;
    neap_loop_options options = nt_options(0);
    for (long n = 1;; n++) {
        neap_loop *loop = (neap_loop *)&options;
        nt_heap_fail(&nt.heap, n, 0);
        int32_t code = neap_loop_new(&options, &loop);
        nt_heap_fail(&nt.heap, 0, 0);
        if (code == 0) {
            assert_true(n > 1);
            nt_loop_end(loop);
            break;
        }
        assert_int_equal(code, NEAP_ENOMEM);
        assert_ptr_equal(loop, &options);
        assert_int_equal(atomic_load(&nt.heap.bytes), 0);
        assert_int_equal(nt_fd_count(), nt.fds);
    }
}

static void options_of_an_older_program_are_accepted(void **state) {
    (void)state;
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    options.slow_ns = 123; /* beyond the size that is told: not to be read */
    options.size = offsetof(neap_loop_options, flags);
    assert_ok(neap_loop_new(&options, &loop));
    assert_string_equal(neap_loop_name(loop), "test");
    nt_loop_end(loop);
}

static void options_of_a_newer_program_are_accepted_if_they_ask_for_nothing_new(void **state) {
    (void)state;
    struct {
        neap_loop_options now;
        int64_t later[2];
    } options;
    neap_loop *loop = NULL;
    memset(&options, 0, sizeof options);
    options.now = nt_options(0);
    options.now.size = sizeof options;
    assert_ok(neap_loop_new(&options.now, &loop));
    nt_loop_end(loop);
    options.later[1] = 1;
    loop = NULL;
    assert_code(neap_loop_new(&options.now, &loop), NEAP_E2BIG);
    assert_null(loop);
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    neap_loop_options options = nt_options(0);
    neap_loop *loop = NULL;
    assert_code(neap_loop_new(&options, NULL), NEAP_EINVAL);
    options.size = 0;
    assert_code(neap_loop_new(&options, &loop), NEAP_EINVAL);
    options = nt_options(0);
    options.flags = 0x80000000u;
    assert_code(neap_loop_new(&options, &loop), NEAP_EINVAL);
    options = nt_options(0);
    neap_allocator half = nt.heap.hook;
    half.free = NULL;
    options.allocator = &half;
    assert_code(neap_loop_new(&options, &loop), NEAP_EINVAL);
    assert_null(loop);
}

static void a_buffer_holds_a_copy(void **state) {
    (void)state;
    char bytes[] = "abc";
    neap_buf *buf = NULL;
    assert_ok(neap_buf_new(nt.loop, bytes, 3, &buf));
    bytes[0] = 'x';
    assert_int_equal(neap_buf_len(buf), 3);
    assert_memory_equal(neap_buf_data(buf), "abc", 3);
    assert_ptr_equal(neap_buf_ref(buf), buf);
    neap_buf_unref(buf);
    assert_memory_equal(neap_buf_data(buf), "abc", 3);
    neap_buf_unref(buf);
    neap_buf_unref(NULL);
}

static void a_buffer_may_be_empty_or_filled_later(void **state) {
    (void)state;
    neap_buf *empty = NULL;
    neap_buf *raw = NULL;
    assert_ok(neap_buf_new(nt.loop, NULL, 0, &empty));
    assert_int_equal(neap_buf_len(empty), 0);
    neap_buf_unref(empty);
    assert_ok(neap_buf_new(nt.loop, NULL, 100, &raw));
    memset(neap_buf_data(raw), 7, 100);
    assert_int_equal(neap_buf_len(raw), 100);
    neap_buf_unref(raw);
}

static void a_buffer_of_absurd_length_is_refused(void **state) {
    (void)state;
    neap_buf *buf = NULL;
    assert_code(neap_buf_new(nt.loop, NULL, SIZE_MAX, &buf), NEAP_ENOMEM);
    assert_code(neap_buf_new(nt.loop, NULL, SIZE_MAX - 8, &buf), NEAP_ENOMEM);
    assert_null(buf);
    assert_code(neap_buf_new(nt.loop, "a", 1, NULL), NEAP_EINVAL);
}

static void a_buffer_outlives_the_last_reference_to_its_loop(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_buf *buf = NULL;
    assert_ok(neap_buf_new(loop, "kept", 4, &buf));
    nt_loop_end(loop);
    assert_memory_equal(neap_buf_data(buf), "kept", 4);
    neap_buf_unref(buf);
}

static void a_failed_call_changes_nothing_and_still_runs_destroy(void **state) {
    (void)state;
    enum {
        MAX = 10000
    };
    static neap_handle *handles[MAX];
    static int destroyed[MAX];
    int n = 0;
    memset(destroyed, 0, sizeof destroyed);
    nt_heap_fail(&nt.heap, 1, 1);
    for (;; n++) {
        assert_true(n < MAX); /* what is kept in pools comes to an end */
        handles[n] = NULL;
        int32_t code =
            neap_call_later(nt.loop, NT_SEC, nt_note_fn, &destroyed[n], nt_count_fn, &handles[n]);
        if (code != 0) {
            assert_int_equal(code, NEAP_ENOMEM);
            break;
        }
        assert_int_equal(destroyed[n], 0);
    }
    nt_heap_fail(&nt.heap, 0, 0);
    assert_int_equal(destroyed[n], 1);
    assert_null(handles[n]);
    assert_int_equal(nt_metrics().timers, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(neap_handle_cancel(handles[i]), 1);
        neap_handle_unref(handles[i]);
        assert_int_equal(destroyed[i], 1);
    }
    nt_turn();
}

static void no_allocation_is_needed_to_complete_a_future(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT(future), NT_PASS));
    nt_on_done(future, "callback");
    nt_turn();
    nt_heap_fail(&nt.heap, 1, 1);
    assert_ok(neap_future_set_int(future, 7));
    nt_turn();
    assert_int_equal(atomic_load(&nt.heap.failed), 0);
    nt_heap_fail(&nt.heap, 0, 0);
    assert_notes("callback");
    assert_int_equal(nt_int(neap_task_future(task)), 7);
    neap_task_unref(task);
    neap_future_unref(future);
}

static void no_allocation_is_needed_to_cancel_a_task(void **state) {
    (void)state;
    nt_script s;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_SLEEP(NT_SEC)));
    nt_turn();
    nt_heap_fail(&nt.heap, 1, 1);
    assert_int_equal(neap_task_cancel(task, NULL), 1);
    nt_turn();
    assert_int_equal(atomic_load(&nt.heap.failed), 0);
    nt_heap_fail(&nt.heap, 0, 0);
    assert_state(neap_task_future(task), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
}

static void data_of_a_binding_is_found_by_its_tag_and_destroyed(void **state) {
    (void)state;
    static const char tag_a, tag_b;
    int a = 0, b = 0, replaced = 0;
    neap_loop *loop = nt_loop_new(0);
    assert_null(neap_loop_get_data(loop, &tag_a));
    assert_ok(neap_loop_set_data(loop, &tag_a, &replaced, nt_count_fn));
    assert_ok(neap_loop_set_data(loop, &tag_b, &b, nt_count_fn));
    assert_ptr_equal(neap_loop_get_data(loop, &tag_a), &replaced);
    assert_ok(neap_loop_set_data(loop, &tag_a, &a, nt_count_fn));
    assert_int_equal(replaced, 1);
    assert_ptr_equal(neap_loop_get_data(loop, &tag_a), &a);
    assert_ok(neap_loop_set_data(loop, &tag_a, NULL, NULL));
    assert_int_equal(a, 1);
    assert_null(neap_loop_get_data(loop, &tag_a));
    assert_ptr_equal(neap_loop_get_data(loop, &tag_b), &b);
    nt_loop_end(loop);
    assert_int_equal(a, 1);
    assert_int_equal(b, 1);
}

NT_MAIN(NT_TEST_BARE(all_memory_comes_from_the_hook_and_goes_back),
        NT_TEST(metrics_count_the_same_bytes_and_blocks_as_the_hook),
        NT_TEST_BARE(without_a_hook_malloc_serves),
        NT_TEST_BARE(a_loop_that_cannot_be_made_leaves_nothing),
        NT_TEST_BARE(options_of_an_older_program_are_accepted),
        NT_TEST_BARE(options_of_a_newer_program_are_accepted_if_they_ask_for_nothing_new),
        NT_TEST_BARE(wrong_options_are_refused), NT_TEST(a_buffer_holds_a_copy),
        NT_TEST(a_buffer_may_be_empty_or_filled_later),
        NT_TEST(a_buffer_of_absurd_length_is_refused),
        NT_TEST_BARE(a_buffer_outlives_the_last_reference_to_its_loop),
        NT_TEST(a_failed_call_changes_nothing_and_still_runs_destroy),
        NT_TEST(no_allocation_is_needed_to_complete_a_future),
        NT_TEST(no_allocation_is_needed_to_cancel_a_task),
        NT_TEST_BARE(data_of_a_binding_is_found_by_its_tag_and_destroyed))
