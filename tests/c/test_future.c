/* Futures: an outcome that is set once, and those who wait for it. */
#include <math.h>
#include <string.h>

#include "support.h"

static void F1_a_future_is_pending_then_has_one_of_three_outcomes(void **state) {
    (void)state;
    neap_future *result = nt_future();
    neap_future *error = nt_future();
    neap_future *cancelled = nt_future();
    assert_state(result, NEAP_STATE_PENDING);
    assert_int_equal(neap_future_done(result), 0);
    assert_int_equal(neap_future_error(result), NEAP_EPENDING);
    assert_ok(neap_future_set_int(result, 1));
    assert_ok(neap_future_set_error(error, NEAP_EPIPE, NULL));
    assert_int_equal(neap_future_cancel(cancelled, NULL), 1);
    assert_state(result, NEAP_STATE_RESULT);
    assert_state(error, NEAP_STATE_ERROR);
    assert_state(cancelled, NEAP_STATE_CANCELLED);
    assert_int_equal(neap_future_done(result), 1);
    assert_int_equal(neap_future_done(error), 1);
    assert_int_equal(neap_future_done(cancelled), 1);
    assert_int_equal(neap_future_error(result), 0);
    assert_int_equal(neap_future_error(error), NEAP_EPIPE);
    assert_int_equal(neap_future_error(cancelled), NEAP_ECANCELED);
    neap_future_unref(result);
    neap_future_unref(error);
    neap_future_unref(cancelled);
}

static void F2_callbacks_never_run_inside_the_setter(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_on_done(future, "a");
    nt_on_done(future, "b");
    nt_on_done(future, "c");
    assert_int_equal(neap_future_waiters(future), 3);
    assert_ok(neap_future_set_none(future));
    assert_notes("");
    nt_turn();
    assert_notes("a b c");
    assert_int_equal(neap_future_waiters(future), 0);
    neap_future_unref(future);
}

static void add_another(neap_future *future, void *user) {
    nt_note("%s", (const char *)user);
    nt_on_done(future, "added");
}

static void F3_each_callback_runs_once_also_when_one_adds_another(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_on_done(future, add_another, NT_WORD("first"), NULL, NULL));
    nt_on_done(future, "second");
    assert_ok(neap_future_set_none(future));
    nt_turn();
    assert_notes("first second");
    nt_turn();
    assert_notes("first second added");
    nt_turns(3);
    assert_notes("first second added");
    neap_future_unref(future);
}

static void F4_a_callback_on_a_done_future_runs_in_the_next_batch(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_none(future));
    nt_soon("earlier");
    nt_on_done(future, "late");
    nt_soon("later");
    assert_notes("");
    nt_turn();
    assert_notes("earlier late later");
    neap_future_unref(future);
}

static void note_state(neap_future *future, void *user) {
    assert_ptr_equal(*(neap_future **)user, future);
    nt_note("%d", (int)neap_future_state(future));
}

static void F5_callbacks_run_whichever_way_it_ended_and_get_the_future(void **state) {
    (void)state;
    neap_future *futures[3] = {nt_future(), nt_future(), nt_future()};
    for (int i = 0; i < 3; i++)
        assert_ok(neap_future_on_done(futures[i], note_state, &futures[i], NULL, NULL));
    assert_ok(neap_future_set_none(futures[0]));
    assert_ok(neap_future_set_error(futures[1], NEAP_EPIPE, NULL));
    assert_int_equal(neap_future_cancel(futures[2], NULL), 1);
    nt_turn();
    assert_notes("1 2 3");
    for (int i = 0; i < 3; i++)
        neap_future_unref(futures[i]);
}

static void F6_remove_done_tells_how_many_it_removed(void **state) {
    (void)state;
    neap_future *future = nt_future();
    int destroyed = 0;
    nt_on_done(future, "a");
    assert_ok(neap_future_on_done(future, nt_note_future_fn, &destroyed, nt_count_fn, NULL));
    assert_ok(neap_future_on_done(future, nt_note_future_fn, &destroyed, nt_count_fn, NULL));
    assert_int_equal(neap_future_remove_done(future, nt_note_future_fn, &destroyed), 2);
    assert_int_equal(destroyed, 2);
    assert_int_equal(neap_future_remove_done(future, nt_note_future_fn, &destroyed), 0);
    assert_int_equal(neap_future_remove_done(future, note_state, NULL), 0);
    assert_int_equal(neap_future_waiters(future), 1);
    assert_ok(neap_future_set_none(future));
    nt_turn();
    assert_notes("a");
    neap_future_unref(future);
}

static void F6_a_callback_is_also_removed_by_cancelling_its_handle(void **state) {
    (void)state;
    neap_future *future = nt_future();
    neap_handle *waiting = NULL;
    neap_handle *queued = NULL;
    int destroyed = 0;
    assert_ok(neap_future_on_done(future, nt_note_future_fn, &destroyed, nt_count_fn, &waiting));
    assert_int_equal(neap_handle_cancel(waiting), 1);
    assert_int_equal(destroyed, 1);
    assert_int_equal(neap_future_waiters(future), 0);
    assert_ok(neap_future_on_done(future, nt_note_future_fn, &destroyed, nt_count_fn, &queued));
    nt_on_done(future, "kept");
    assert_ok(neap_future_set_none(future));
    assert_int_equal(neap_handle_cancel(queued), 1);
    assert_int_equal(destroyed, 2);
    nt_turn();
    assert_notes("kept");
    neap_handle_unref(waiting);
    neap_handle_unref(queued);
    neap_future_unref(future);
}

static void F7_reading_answers_pending_cancelled_or_the_same_failure_each_time(void **state) {
    (void)state;
    neap_future *future = nt_future();
    int64_t value = 42;
    assert_code(neap_future_get_int(future, &value), NEAP_EPENDING);
    assert_code(neap_future_kind(future), NEAP_EPENDING);
    assert_ok(neap_future_set_error(future, NEAP_ETIMEOUT, "too late"));
    for (int i = 0; i < 3; i++) {
        assert_code(neap_future_error(future), NEAP_ETIMEOUT);
        assert_code(neap_future_get_int(future, &value), NEAP_ETIMEOUT);
        assert_code(neap_future_kind(future), NEAP_ETIMEOUT);
        assert_string_equal(neap_future_message(future), "too late");
    }
    neap_future_unref(future);
    future = nt_future();
    neap_future_cancel(future, "go away");
    assert_code(neap_future_get_int(future, &value), NEAP_ECANCELED);
    assert_code(neap_future_kind(future), NEAP_ECANCELED);
    assert_string_equal(neap_future_message(future), "go away");
    assert_int_equal(value, 42);
    neap_future_unref(future);
}

/* Asserts that nothing can change the outcome. */
static void assert_settled(neap_future *future) {
    int32_t state = neap_future_state(future);
    int32_t error = neap_future_error(future);
    int destroyed = 0;
    static const char tag;
    assert_code(neap_future_set_none(future), NEAP_EINVALID_STATE);
    assert_code(neap_future_set_int(future, 2), NEAP_EINVALID_STATE);
    assert_code(neap_future_set_double(future, 2), NEAP_EINVALID_STATE);
    assert_code(neap_future_set_bool(future, 1), NEAP_EINVALID_STATE);
    assert_code(neap_future_set_bytes(future, "b", 1), NEAP_EINVALID_STATE);
    assert_code(neap_future_set_ptr(future, &tag, &destroyed, nt_count_fn), NEAP_EINVALID_STATE);
    assert_int_equal(destroyed, 1);
    assert_code(neap_future_set_error(future, NEAP_EPIPE, "b"), NEAP_EINVALID_STATE);
    assert_code(
        neap_future_set_exception(future, NEAP_EFOREIGN, "b", &tag, &destroyed, nt_count_fn),
        NEAP_EINVALID_STATE);
    assert_int_equal(destroyed, 2);
    assert_int_equal(neap_future_cancel(future, NULL), 0);
    assert_state(future, state);
    assert_int_equal(neap_future_error(future), error);
}

static void F8_a_second_completion_is_refused(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_int(future, 1));
    assert_settled(future);
    assert_int_equal(nt_int(future), 1);
    neap_future_unref(future);
    future = nt_future();
    assert_ok(neap_future_set_error(future, NEAP_ETIMEOUT, "first"));
    assert_settled(future);
    assert_string_equal(neap_future_message(future), "first");
    neap_future_unref(future);
}

static void F8_setting_a_cancelled_future_is_refused(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    assert_settled(future);
    neap_future_unref(future);
}

static void F8_C1_cancelling_a_done_future_answers_0_and_changes_nothing(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_on_done(future, "once");
    assert_ok(neap_future_set_int(future, 5));
    assert_int_equal(neap_future_cancel(future, "late"), 0);
    nt_turn();
    assert_int_equal(neap_future_cancel(future, "later"), 0);
    nt_turn();
    assert_notes("once");
    assert_int_equal(nt_int(future), 5);
    assert_string_equal(neap_future_message(future), "");
    nt_no_reports();
    neap_future_unref(future);
}

static void F10_a_future_knows_its_loop(void **state) {
    (void)state;
    neap_loop *other = nt_loop_new(0);
    neap_future *here = nt_future();
    neap_future *there = nt_future_on(other);
    assert_ptr_equal(neap_future_loop(here), nt.loop);
    assert_ptr_equal(neap_future_loop(there), other);
    nt_on_done(here, "here");
    nt_on_done(there, "there");
    assert_ok(neap_future_set_none(here));
    assert_ok(neap_future_set_none(there));
    nt_turns(2);
    assert_notes("here");
    assert_int_equal(neap_loop_run_once(other, 0), 1);
    assert_notes("here there");
    neap_future_unref(here);
    neap_future_unref(there);
    nt_loop_end(other);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void each_kind_of_value_comes_back_as_it_was_set(void **state) {
    (void)state;
    static const int64_t ints[] = {0, 1, -1, INT64_MAX, INT64_MIN};
    static const double doubles[] = {0.0, -0.0, 1.5, 1e308, INFINITY};
    neap_future *future;
    for (size_t i = 0; i < 5; i++) {
        int64_t value = 77;
        future = nt_future();
        assert_ok(neap_future_set_int(future, ints[i]));
        assert_int_equal(neap_future_kind(future), NEAP_KIND_INT);
        assert_ok(neap_future_get_int(future, &value));
        assert_true(value == ints[i]);
        neap_future_unref(future);
    }
    for (size_t i = 0; i < 5; i++) {
        double value = 77;
        future = nt_future();
        assert_ok(neap_future_set_double(future, doubles[i]));
        assert_int_equal(neap_future_kind(future), NEAP_KIND_DOUBLE);
        assert_ok(neap_future_get_double(future, &value));
        assert_memory_equal(&value, &doubles[i], sizeof value);
        neap_future_unref(future);
    }
    for (int32_t truth = 0; truth <= 1; truth++) {
        int32_t value = 77;
        future = nt_future();
        assert_ok(neap_future_set_bool(future, truth));
        assert_int_equal(neap_future_kind(future), NEAP_KIND_BOOL);
        assert_ok(neap_future_get_bool(future, &value));
        assert_int_equal(value, truth);
        neap_future_unref(future);
    }
    future = nt_future();
    assert_ok(neap_future_set_none(future));
    assert_int_equal(neap_future_kind(future), NEAP_KIND_NONE);
    neap_future_unref(future);
}

static void bytes_are_copied_and_borrowed_back(void **state) {
    (void)state;
    char bytes[] = "with\0zero";
    neap_future *future = nt_future();
    const void *data = NULL;
    size_t len = 0;
    assert_ok(neap_future_set_bytes(future, bytes, sizeof bytes));
    bytes[0] = 'x';
    assert_int_equal(neap_future_kind(future), NEAP_KIND_BYTES);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, sizeof bytes);
    assert_memory_equal(data, "with\0zero", sizeof bytes);
    neap_future_unref(future);
    future = nt_future();
    assert_ok(neap_future_set_bytes(future, NULL, 0));
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, 0);
    neap_future_unref(future);
}

static void long_bytes_survive(void **state) {
    (void)state;
    static unsigned char bytes[1 << 20];
    neap_future *future = nt_future();
    const void *data = NULL;
    size_t len = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7);
    assert_ok(neap_future_set_bytes(future, bytes, sizeof bytes));
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, sizeof bytes);
    assert_memory_equal(data, bytes, sizeof bytes);
    neap_future_unref(future);
}

static void G4_a_pointer_travels_with_its_tag_and_is_destroyed_with_the_future(void **state) {
    (void)state;
    static const char mine, yours;
    int destroyed = 0;
    void *ptr = NULL;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_ptr(future, &mine, &destroyed, nt_count_fn));
    assert_int_equal(neap_future_kind(future), NEAP_KIND_PTR);
    assert_ok(neap_future_get_ptr(future, &mine, &ptr));
    assert_ptr_equal(ptr, &destroyed);
    ptr = NULL;
    assert_code(neap_future_get_ptr(future, &yours, &ptr), NEAP_ETYPE);
    assert_null(ptr);
    assert_int_equal(destroyed, 0);
    neap_future_unref(future);
    assert_int_equal(destroyed, 1);
}

static neap_value value_of(neap_future *future, int32_t kind) {
    neap_value value;
    memset(&value, 0x55, sizeof value);
    assert_int_equal(neap_future_value(future, &value, sizeof value), kind);
    neap_future_unref(future);
    return value;
}

static void one_call_tells_the_kind_and_the_value(void **state) {
    (void)state;
    static const char tag;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_int(future, INT64_MIN));
    assert_true(value_of(future, NEAP_KIND_INT).i == INT64_MIN);
    future = nt_future();
    assert_ok(neap_future_set_bool(future, 7));
    assert_true(value_of(future, NEAP_KIND_BOOL).i == 1);
    future = nt_future();
    assert_ok(neap_future_set_double(future, -0.5));
    assert_true(value_of(future, NEAP_KIND_DOUBLE).d == -0.5);
    future = nt_future();
    assert_ok(neap_future_set_ptr(future, &tag, &future, NULL));
    neap_value value = value_of(future, NEAP_KIND_PTR);
    assert_ptr_equal(value.ptr.tag, &tag);
    assert_ptr_equal(value.ptr.ptr, &future);
    future = nt_future();
    assert_ok(neap_future_set_none(future));
    assert_true(value_of(future, NEAP_KIND_NONE).i == 0);
}

static void one_call_tells_bytes_set_here_and_elsewhere(void **state) {
    (void)state;
    neap_future *future = nt_future();
    neap_value value;
    assert_ok(neap_future_set_bytes(future, "abc", 3));
    assert_int_equal(neap_future_value(future, &value, sizeof value), NEAP_KIND_BYTES);
    assert_int_equal(value.bytes.len, 3);
    assert_memory_equal(value.bytes.data, "abc", 3);
    neap_future_unref(future);
    future = nt_future();
    assert_ok(neap_future_post_bytes(future, "de", 2));
    nt_until(future);
    assert_int_equal(neap_future_value(future, &value, sizeof value), NEAP_KIND_BYTES);
    assert_int_equal(value.bytes.len, 2);
    assert_memory_equal(value.bytes.data, "de", 2);
    neap_future_unref(future);
}

static void one_call_tells_why_there_is_no_value(void **state) {
    (void)state;
    neap_future *future = nt_future();
    neap_value value;
    assert_code(neap_future_value(future, &value, sizeof value), NEAP_EPENDING);
    assert_code(neap_future_value(future, &value, sizeof value - 1), NEAP_EINVAL);
    assert_ok(neap_future_set_error(future, NEAP_ETIMEOUT, NULL));
    assert_code(neap_future_value(future, &value, sizeof value), NEAP_ETIMEOUT);
    neap_future_unref(future);
}

static void a_value_of_another_kind_is_a_type_error(void **state) {
    (void)state;
    static const char tag;
    neap_future *future = nt_future();
    int64_t i;
    double d;
    int32_t b;
    void *p;
    const void *data;
    size_t len;
    neap_sock *sock;
    neap_addr addr;
    assert_ok(neap_future_set_double(future, 1.0));
    assert_code(neap_future_get_int(future, &i), NEAP_ETYPE);
    assert_code(neap_future_get_bool(future, &b), NEAP_ETYPE);
    assert_code(neap_future_get_bytes(future, &data, &len), NEAP_ETYPE);
    assert_code(neap_future_get_ptr(future, &tag, &p), NEAP_ETYPE);
    assert_code(neap_future_take_sock(future, &sock), NEAP_ETYPE);
    assert_code(neap_future_get_addr(future, &addr), NEAP_ETYPE);
    assert_code(neap_future_list_count(future), NEAP_ETYPE);
    assert_null(neap_future_list_get(future, 0));
    neap_future_unref(future);
    future = nt_future();
    assert_ok(neap_future_set_int(future, 1));
    assert_code(neap_future_get_double(future, &d), NEAP_ETYPE);
    assert_int_equal(neap_future_partial(future), 0);
    neap_future_unref(future);
}

static void a_failure_needs_a_negative_code(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_code(neap_future_set_error(future, 0, "none"), NEAP_EINVAL);
    assert_code(neap_future_set_error(future, 5, "none"), NEAP_EINVAL);
    assert_code(neap_future_set_error(future, NEAP_PENDING, "none"), NEAP_EINVAL);
    assert_state(future, NEAP_STATE_PENDING);
    neap_future_unref(future);
}

static void a_failure_without_a_text_has_its_codes(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_set_error(future, NEAP_ECONNREFUSED, NULL));
    assert_code(neap_future_error(future), NEAP_ECONNREFUSED);
    assert_string_equal(neap_future_message(future), neap_strerror(NEAP_ECONNREFUSED));
    neap_future_unref(future);
}

static void the_text_of_a_failure_is_copied(void **state) {
    (void)state;
    char text[] = "original";
    neap_future *future = nt_future();
    assert_ok(neap_future_set_error(future, NEAP_EPIPE, text));
    text[0] = 'X';
    assert_code(neap_future_error(future), NEAP_EPIPE);
    assert_string_equal(neap_future_message(future), "original");
    neap_future_unref(future);
}

static void a_foreign_exception_is_found_by_its_tag_and_destroyed(void **state) {
    (void)state;
    static const char mine, yours;
    int destroyed = 0;
    neap_future *future = nt_future();
    assert_ok(
        neap_future_set_exception(future, NEAP_EFOREIGN, "ouch", &mine, &destroyed, nt_count_fn));
    assert_state(future, NEAP_STATE_ERROR);
    assert_code(neap_future_error(future), NEAP_EFOREIGN);
    assert_string_equal(neap_future_message(future), "ouch");
    assert_ptr_equal(neap_future_exception(future, &mine), &destroyed);
    assert_null(neap_future_exception(future, &yours));
    assert_int_equal(destroyed, 0);
    neap_future_unref(future);
    nt_turn(); /* a failure stays until the end of its tick */
    assert_int_equal(destroyed, 1);
}

static void a_wrong_argument_is_refused_and_changes_nothing(void **state) {
    (void)state;
    neap_future *future = nt_future();
    int destroyed = 0;
    assert_code(neap_future_new(nt.loop, NULL), NEAP_EINVAL);
    assert_code(neap_future_new(NULL, &future), NEAP_EINVAL);
    assert_code(neap_future_set_bytes(future, NULL, 3), NEAP_EINVAL);
    assert_code(neap_future_set_int(NULL, 3), NEAP_EINVAL);
    assert_code(neap_future_set_ptr(NULL, &destroyed, &destroyed, nt_count_fn), NEAP_EINVAL);
    assert_int_equal(destroyed, 1);
    assert_code(neap_future_on_done(NULL, nt_note_future_fn, &destroyed, nt_count_fn, NULL),
                NEAP_EINVAL);
    assert_int_equal(destroyed, 2);
    assert_state(future, NEAP_STATE_PENDING);
    neap_future_unref(future);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void a_forgotten_pending_future_drops_its_callbacks(void **state) {
    (void)state;
    int destroyed = 0;
    neap_future *future = nt_future();
    assert_ok(neap_future_on_done(future, nt_note_future_fn, &destroyed, nt_count_fn, NULL));
    assert_ok(neap_future_set_cancel_hook(future, nt_note_future_fn, &destroyed, nt_count_fn));
    neap_future_unref(future);
    assert_int_equal(destroyed, 2);
    nt_turns(2);
    assert_notes("");
}

static void a_done_future_lives_until_its_callbacks_ran(void **state) {
    (void)state;
    neap_future *future = nt_future();
    int destroyed = 0;
    assert_ok(neap_future_on_done(future, note_state, &future, NULL, NULL));
    assert_ok(neap_future_on_done(future, nt_note_future_fn, NT_WORD("x"), NULL, NULL));
    assert_ok(neap_future_set_ptr(future, &destroyed, &destroyed, nt_count_fn));
    neap_future_unref(future);
    assert_int_equal(destroyed, 0);
    nt_turn();
    assert_notes("1 x");
    assert_int_equal(destroyed, 1);
}

static void references_are_counted(void **state) {
    (void)state;
    neap_future *future = nt_future();
    uint64_t objects = nt_metrics().objects;
    assert_ptr_equal(neap_future_ref(future), future);
    neap_future_unref(future);
    assert_int_equal(nt_metrics().objects, objects);
    assert_ok(neap_future_set_int(future, 3));
    neap_future_unref(future);
    assert_int_equal(nt_metrics().objects, objects - 1);
    neap_future_unref(NULL);
}

static void the_metrics_count_pending_futures(void **state) {
    (void)state;
    assert_int_equal(nt_metrics().futures, 0);
    neap_future *a = nt_future();
    neap_future *b = nt_future();
    assert_int_equal(nt_metrics().futures, 2);
    assert_ok(neap_future_set_none(a));
    assert_int_equal(nt_metrics().futures, 1);
    neap_future_unref(b);
    assert_int_equal(nt_metrics().futures, 0);
    neap_future_unref(a);
}

static void note_destroy_and_drop(void *user) {
    neap_future **future = user;
    nt_note("destroyed");
    neap_future_unref(*future);
}

static void a_destroy_hook_may_end_references(void **state) {
    (void)state;
    neap_future *inner = nt_future();
    neap_future *outer = nt_future();
    assert_ok(neap_future_set_ptr(outer, &inner, &inner, note_destroy_and_drop));
    neap_future_unref(outer);
    assert_notes("destroyed");
    assert_int_equal(nt_metrics().futures, 0);
}

static void the_last_reference_may_end_inside_a_callback(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_ok(neap_future_on_done(future, note_state, &future, note_destroy_and_drop, NULL));
    assert_ok(neap_future_set_none(future));
    nt_turn();
    assert_notes("1 destroyed");
}

static void drop(void *user) {
    neap_future_unref(*(neap_future **)user);
}

static void a_long_chain_of_futures_each_holding_the_next_ends(void **state) {
    (void)state;
    enum {
        N = 10000
    };
    static neap_future *next[N];
    neap_future *head = nt_future();
    for (int i = 0; i < N; i++) {
        next[i] = head;
        head = nt_future();
        assert_ok(neap_future_set_ptr(head, next, &next[i], drop));
    }
    neap_future_unref(head);
    nt_turns(2);
    assert_int_equal(nt_metrics().futures, 0);
}

/* ---- Cancel hook, site, ignore --------------------------------------------------------------- */

static void the_cancel_hook_is_queued_when_the_future_is_cancelled(void **state) {
    (void)state;
    neap_future *future = nt_future();
    int destroyed = 0;
    assert_ok(neap_future_set_cancel_hook(future, nt_note_future_fn, NT_WORD("replaced"), NULL));
    assert_ok(neap_future_set_cancel_hook(future, nt_note_future_fn, NT_WORD("hook"), NULL));
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    assert_notes("");
    nt_turn();
    assert_notes("hook");
    neap_future_unref(future);
    future = nt_future();
    assert_ok(neap_future_set_cancel_hook(future, nt_note_future_fn, &destroyed, nt_count_fn));
    assert_ok(neap_future_set_none(future));
    nt_turn();
    assert_notes("hook");
    neap_future_unref(future);
    assert_int_equal(destroyed, 1);
}

static void a_site_is_kept(void **state) {
    (void)state;
    neap_future *future = nt_future();
    char site[] = "script.lua:12";
    assert_string_equal(neap_future_site(future), "");
    assert_ok(neap_future_set_site(future, site));
    site[0] = 'X';
    assert_string_equal(neap_future_site(future), "script.lua:12");
    assert_ok(neap_future_set_site(future, "b.lua:1"));
    assert_string_equal(neap_future_site(future), "b.lua:1");
    neap_future_unref(future);
}

static void a_plain_future_belongs_to_no_task(void **state) {
    (void)state;
    neap_future *future = nt_future();
    assert_null(neap_future_task(future));
    neap_future_unref(future);
}

static void the_outcome_is_visible_before_the_callbacks_run(void **state) {
    (void)state;
    neap_future *future = nt_future();
    nt_trace_start();
    assert_ok(neap_future_set_int(future, 9));
    assert_int_equal(nt_int(future), 9);
    assert_int_equal(nt_trace_count(NEAP_TRACE_SETTLE), 1);
    assert_ptr_equal(nt_trace_get(NEAP_TRACE_SETTLE, 0)->future, future);
    assert_int_equal(nt_trace_get(NEAP_TRACE_SETTLE, 0)->value, NEAP_STATE_RESULT);
    nt_trace_stop();
    neap_future_unref(future);
}

static void L17_a_future_awaited_under_a_timeout_of_0_times_out_after_one_tick(void **state) {
    (void)state;
    neap_future *pending = nt_future();
    neap_future *done = nt_future();
    neap_future *outer = NULL;
    assert_ok(neap_wait_for(pending, 0, &outer));
    assert_ok(neap_future_ignore(outer));
    assert_state(outer, NEAP_STATE_PENDING);
    nt_turn();
    assert_code(neap_future_error(outer), NEAP_ETIMEOUT);
    assert_state(pending, NEAP_STATE_CANCELLED);
    neap_future_unref(outer);
    assert_ok(neap_future_set_int(done, 4));
    assert_ok(neap_wait_for(done, 0, &outer));
    nt_until(outer);
    assert_int_equal(nt_int(outer), 4);
    neap_future_unref(outer);
    neap_future_unref(pending);
    neap_future_unref(done);
}

NT_MAIN(NT_TEST(F1_a_future_is_pending_then_has_one_of_three_outcomes),
        NT_TEST(F2_callbacks_never_run_inside_the_setter),
        NT_TEST(F3_each_callback_runs_once_also_when_one_adds_another),
        NT_TEST(F4_a_callback_on_a_done_future_runs_in_the_next_batch),
        NT_TEST(F5_callbacks_run_whichever_way_it_ended_and_get_the_future),
        NT_TEST(F6_remove_done_tells_how_many_it_removed),
        NT_TEST(F6_a_callback_is_also_removed_by_cancelling_its_handle),
        NT_TEST(F7_reading_answers_pending_cancelled_or_the_same_failure_each_time),
        NT_TEST(F8_a_second_completion_is_refused),
        NT_TEST(F8_setting_a_cancelled_future_is_refused),
        NT_TEST(F8_C1_cancelling_a_done_future_answers_0_and_changes_nothing),
        NT_TEST(F10_a_future_knows_its_loop), NT_TEST(each_kind_of_value_comes_back_as_it_was_set),
        NT_TEST(bytes_are_copied_and_borrowed_back), NT_TEST(long_bytes_survive),
        NT_TEST(G4_a_pointer_travels_with_its_tag_and_is_destroyed_with_the_future),
        NT_TEST(one_call_tells_the_kind_and_the_value),
        NT_TEST(one_call_tells_bytes_set_here_and_elsewhere),
        NT_TEST(one_call_tells_why_there_is_no_value),
        NT_TEST(a_value_of_another_kind_is_a_type_error), NT_TEST(a_failure_needs_a_negative_code),
        NT_TEST(a_failure_without_a_text_has_its_codes), NT_TEST(the_text_of_a_failure_is_copied),
        NT_TEST(a_foreign_exception_is_found_by_its_tag_and_destroyed),
        NT_TEST(a_wrong_argument_is_refused_and_changes_nothing),
        NT_TEST(a_forgotten_pending_future_drops_its_callbacks),
        NT_TEST(a_done_future_lives_until_its_callbacks_ran), NT_TEST(references_are_counted),
        NT_TEST(the_metrics_count_pending_futures), NT_TEST(a_destroy_hook_may_end_references),
        NT_TEST(the_last_reference_may_end_inside_a_callback),
        NT_TEST(a_long_chain_of_futures_each_holding_the_next_ends),
        NT_TEST(the_cancel_hook_is_queued_when_the_future_is_cancelled), NT_TEST(a_site_is_kept),
        NT_TEST(a_plain_future_belongs_to_no_task),
        NT_TEST(the_outcome_is_visible_before_the_callbacks_run),
        NT_TEST_VIRTUAL(L17_a_future_awaited_under_a_timeout_of_0_times_out_after_one_tick))
