/* Task-local values. */
#include "support.h"

static const char key, other_key;

static void set_local(void *user) {
    assert_ok(neap_local_set(nt.loop, &key, user, NULL));
}

static void note_local(void *user) {
    void *value = NULL;
    (void)user;
    int32_t found = neap_local_get(nt.loop, &key, &value);
    nt_note("%s", found ? (const char *)value : "-");
}

static void note_local_future(neap_future *future, void *user) {
    (void)future;
    note_local(user);
}

static void T16_outside_tasks_there_is_an_outermost_context(void **state) {
    (void)state;
    void *value = &value;
    assert_int_equal(neap_local_get(nt.loop, &key, &value), 0);
    assert_ptr_equal(value, &value);
    set_local(NT_WORD("outer"));
    note_local(NULL);
    assert_int_equal(neap_local_get(nt.loop, &other_key, &value), 0);
    assert_notes("outer");
}

static nt_script child_script;
static neap_task *child;

static void spawn_child(void *user) {
    static const nt_act acts[] = {NT_CALL(note_local, NULL),
                                  NT_CALL(set_local, NT_WORD("child's")),
                                  NT_YIELD,
                                  NT_CALL(note_local, NULL),
                                  {.what = NT_DO_END}};
    (void)user;
    child = nt_spawn(&child_script, "child", acts);
}

static void T16_a_child_sees_what_its_parent_set_and_not_the_other_way(void **state) {
    (void)state;
    nt_script s;
    neap_task *parent =
        nt_spawn(&s, "parent",
                 NT_ACTS(NT_CALL(set_local, NT_WORD("parent's")), NT_CALL(spawn_child, NULL),
                         NT_CALL(set_local, NT_WORD("later")), NT_YIELD, NT_YIELD,
                         NT_CALL(note_local, NULL)));
    nt_until_task(parent);
    nt_until_task(child);
    /* The child: what was set before the spawn, then its own; the parent: its own. */
    assert_notes("parent's child's later");
    neap_task_unref(parent);
    neap_task_unref(child);
}

static void T16_what_a_task_sets_is_not_seen_outside(void **state) {
    (void)state;
    nt_script a, b;
    set_local(NT_WORD("outer"));
    neap_task *first =
        nt_spawn(&a, "a",
                 NT_ACTS(NT_CALL(note_local, NULL), NT_CALL(set_local, NT_WORD("inner")), NT_YIELD,
                         NT_CALL(note_local, NULL)));
    neap_task *second =
        nt_spawn(&b, "b", NT_ACTS(NT_CALL(note_local, NULL), NT_YIELD, NT_CALL(note_local, NULL)));
    nt_turns(2);
    note_local(NULL);
    assert_notes("outer outer inner outer outer");
    neap_task_unref(first);
    neap_task_unref(second);
}

static void T16_a_value_survives_waits(void **state) {
    (void)state;
    nt_script s;
    neap_future *future = nt_future();
    neap_task *task =
        nt_spawn(&s, "t",
                 NT_ACTS(NT_CALL(set_local, NT_WORD("mine")), NT_AWAIT(future),
                         NT_CALL(note_local, NULL), NT_SLEEP(0), NT_CALL(note_local, NULL)));
    nt_turn();
    set_local(NT_WORD("outer"));
    assert_ok(neap_future_set_none(future));
    nt_until_task(task);
    assert_notes("mine mine");
    neap_future_unref(future);
    neap_task_unref(task);
}

static neap_future *gate;

static void register_callbacks(void *user) {
    (void)user;
    assert_ok(neap_call_soon(nt.loop, note_local, NULL, NULL, NULL));
    assert_ok(neap_call_later(nt.loop, 0, note_local, NULL, NULL, NULL));
    assert_ok(neap_future_on_done(gate, note_local_future, NULL, NULL, NULL));
}

static void T16_callbacks_run_in_the_context_of_who_registered_them(void **state) {
    (void)state;
    nt_script s;
    gate = nt_future();
    set_local(NT_WORD("outer"));
    neap_task *task = nt_spawn(
        &s, "t", NT_ACTS(NT_CALL(set_local, NT_WORD("mine")), NT_CALL(register_callbacks, NULL)));
    nt_turns(2);
    assert_notes("mine mine");
    assert_ok(neap_future_set_none(gate));
    nt_turn();
    assert_notes("mine mine mine");
    note_local(NULL);
    assert_notes("mine mine mine outer");
    neap_future_unref(gate);
    neap_task_unref(task);
}

static void T16_a_value_set_in_a_callback_stays_in_the_context_of_the_callback(void **state) {
    (void)state;
    set_local(NT_WORD("outer"));
    assert_ok(neap_call_soon(nt.loop, set_local, NT_WORD("changed"), NULL, NULL));
    assert_ok(neap_call_soon(nt.loop, note_local, NULL, NULL, NULL));
    nt_turn();
    /* As in asyncio: a callback runs in a copy of the context that it was registered in. */
    assert_notes("outer");
}

static void set_counted(void *user) {
    assert_ok(neap_local_set(nt.loop, &key, user, nt_count_fn));
}

static void T16_destroy_runs_when_nobody_sees_the_value_any_more(void **state) {
    (void)state;
    nt_script s;
    int first = 0, second = 0;
    neap_task *task = nt_spawn(
        &s, "t",
        NT_ACTS(NT_CALL(set_counted, &first), NT_YIELD, NT_CALL(set_counted, &second), NT_YIELD));
    nt_turn();
    assert_int_equal(first, 0);
    nt_turn();
    assert_int_equal(first, 1);
    assert_int_equal(second, 0);
    nt_turn();
    neap_task_unref(task);
    nt_turn();
    assert_int_equal(second, 1);
}

static void T16_a_value_lives_while_a_child_sees_it(void **state) {
    (void)state;
    nt_script s;
    int destroyed = 0;
    neap_task *parent = nt_spawn(
        &s, "parent", NT_ACTS(NT_CALL(set_counted, &destroyed), NT_CALL(spawn_child, NULL)));
    nt_turn();
    neap_task_unref(parent);
    assert_int_equal(destroyed, 0);
    assert_int_equal(neap_task_cancel(child, NULL), 1);
    nt_turns(2);
    neap_task_unref(child);
    nt_turn();
    assert_int_equal(destroyed, 1);
}

static void T16_values_of_the_outermost_context_go_with_the_loop(void **state) {
    (void)state;
    int destroyed = 0;
    neap_loop *loop = nt_loop_new(0);
    assert_ok(neap_local_set(loop, &key, &destroyed, nt_count_fn));
    nt_loop_end(loop);
    assert_int_equal(destroyed, 1);
}

static void T16_many_keys_are_kept_apart(void **state) {
    (void)state;
    static const char keys[100];
    for (int i = 0; i < 100; i++)
        assert_ok(neap_local_set(nt.loop, &keys[i], (void *)(intptr_t)(i + 1), NULL));
    for (int i = 0; i < 100; i += 2)
        assert_ok(neap_local_set(nt.loop, &keys[i], (void *)(intptr_t)(i + 1000), NULL));
    for (int i = 0; i < 100; i++) {
        void *value = NULL;
        assert_int_equal(neap_local_get(nt.loop, &keys[i], &value), 1);
        assert_int_equal((intptr_t)value, i % 2 == 0 ? i + 1000 : i + 1);
    }
}

static void T16_a_null_value_is_a_value(void **state) {
    (void)state;
    void *value = &value;
    assert_ok(neap_local_set(nt.loop, &key, NULL, NULL));
    assert_int_equal(neap_local_get(nt.loop, &key, &value), 1);
    assert_null(value);
}

NT_MAIN(NT_TEST(T16_outside_tasks_there_is_an_outermost_context),
        NT_TEST(T16_a_child_sees_what_its_parent_set_and_not_the_other_way),
        NT_TEST(T16_what_a_task_sets_is_not_seen_outside), NT_TEST(T16_a_value_survives_waits),
        NT_TEST(T16_callbacks_run_in_the_context_of_who_registered_them),
        NT_TEST(T16_a_value_set_in_a_callback_stays_in_the_context_of_the_callback),
        NT_TEST(T16_destroy_runs_when_nobody_sees_the_value_any_more),
        NT_TEST(T16_a_value_lives_while_a_child_sees_it),
        NT_TEST_BARE(T16_values_of_the_outermost_context_go_with_the_loop),
        NT_TEST(T16_many_keys_are_kept_apart), NT_TEST(T16_a_null_value_is_a_value))
