/* Batches in random order: for tests that look for a hidden reliance on the order. */
#include <string.h>

#include "support.h"

enum {
    ENTRIES = 10,
    TEXT = 64
};

static neap_loop *loop_with(uint64_t seed) {
    neap_loop *loop = NULL;
    neap_loop_options options = nt_options(NEAP_LOOP_VIRTUAL_CLOCK);
    options.shuffle_seed = seed;
    assert_ok(neap_loop_new(&options, &loop));
    return loop;
}

/* Two batches of callbacks on a loop with that seed, in the order in which they ran. */
static void order_of(uint64_t seed, char *order) {
    static const char *const words[ENTRIES] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    neap_loop *loop = loop_with(seed);
    nt_note_clear();
    for (int batch = 0; batch < 2; batch++) {
        for (int i = 0; i < ENTRIES; i++)
            assert_ok(neap_call_soon(loop, nt_note_fn, NT_WORD(words[i]), NULL, NULL));
        assert_int_equal(neap_loop_run_once(loop, 0), ENTRIES);
    }
    assert_true(nt.notes_len < TEXT);
    memcpy(order, nt.notes, nt.notes_len + 1);
    nt_loop_end(loop);
}

static void without_a_seed_batches_run_in_order(void **state) {
    char order[TEXT];
    (void)state;
    order_of(0, order);
    assert_string_equal(order, "0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9");
}

static void the_same_seed_gives_the_same_order(void **state) {
    char one[TEXT], other[TEXT];
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        order_of(seed, one);
        order_of(seed, other);
        assert_string_equal(one, other);
    }
}

static void different_seeds_give_different_orders(void **state) {
    char one[TEXT], other[TEXT];
    (void)state;
    order_of(1, one);
    for (uint64_t seed = 2; seed <= 10; seed++) {
        order_of(seed, other);
        assert_string_not_equal(one, other);
    }
    assert_memory_not_equal(one, one + ENTRIES * 2, ENTRIES * 2 - 1); /* two batches, two orders */
}

static void work_and_next(void *user) {
    nt_note("now");
    assert_ok(neap_call_soon(user, nt_note_fn, NT_WORD("next"), NULL, NULL));
}

static void what_a_batch_makes_ready_still_waits_for_the_next(void **state) {
    (void)state;
    neap_loop *loop = loop_with(7);
    for (int i = 0; i < 3; i++)
        assert_ok(neap_call_soon(loop, work_and_next, loop, NULL, NULL));
    assert_int_equal(neap_loop_run_once(loop, 0), 3);
    assert_notes("now now now");
    assert_int_equal(neap_loop_run_once(loop, 0), 3);
    assert_notes("now now now next next next");
    nt_loop_end(loop);
}

static void tasks_are_shuffled_too(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    static const nt_act acts[4][2] = {{NT_NOTE("a"), {.what = NT_DO_END}},
                                      {NT_NOTE("b"), {.what = NT_DO_END}},
                                      {NT_NOTE("c"), {.what = NT_DO_END}},
                                      {NT_NOTE("d"), {.what = NT_DO_END}}};
    nt_script scripts[4];
    neap_task *tasks[4];
    int moved = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        nt_note_clear();
        neap_loop *loop = loop_with(seed);
        for (int i = 0; i < 4; i++)
            tasks[i] = nt_spawn_on(loop, &scripts[i], names[i], acts[i]);
        assert_int_equal(neap_loop_run_once(loop, 0), 4);
        moved += strcmp(nt.notes, "a b c d") != 0;
        for (int i = 0; i < 4; i++)
            neap_task_unref(tasks[i]);
        nt_loop_end(loop);
    }
    assert_true(moved > 0);
}

NT_MAIN(NT_TEST_BARE(without_a_seed_batches_run_in_order),
        NT_TEST_BARE(the_same_seed_gives_the_same_order),
        NT_TEST_BARE(different_seeds_give_different_orders),
        NT_TEST_BARE(what_a_batch_makes_ready_still_waits_for_the_next),
        NT_TEST_BARE(tasks_are_shuffled_too))
