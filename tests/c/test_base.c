/* White-box: the timers' heap, the list, the pool and the allocator of the lowest floor. */
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/shuffle.h"
#include "support.h"

static np_alloc *alloc;

static int setup(void **state) {
    nt_setup_bare(state);
    alloc = np_alloc_new(&nt.heap.hook);
    return alloc == NULL;
}

static int teardown(void **state) {
    np_alloc_unref(alloc);
    return nt_teardown(state);
}

static uint32_t random_state = 7;

static uint32_t rnd(uint32_t below) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* ---- The heap -------------------------------------------------------------------------------- */

/* Order, indices and length of the whole array. */
static void assert_heap(const np_heap *h) {
    for (uint32_t i = 0; i < h->len; i++) {
        const np_heap_entry *e = &h->entries[i];
        assert_int_equal(h->places[e->number], i);
        assert_int_equal(np_heap_node_of(h, e)->number, e->number);
        if (i == 0)
            continue;
        const np_heap_entry *parent = &h->entries[(i - 1) / 4];
        assert_true(parent->when < e->when || (parent->when == e->when && parent->seq < e->seq));
    }
    assert_true(h->len <= h->cap);
}

static np_heap_node *first_node(const np_heap *h) {
    const np_heap_entry *e = np_heap_first(h);
    return e != NULL ? np_heap_node_of(h, e) : NULL;
}

static void M2_the_heap_gives_the_earliest_deadline_first(void **state) {
    (void)state;
    enum {
        N = 1000
    };
    np_heap h;
    np_heap_node nodes[N];
    int64_t when[N];
    int64_t last = INT64_MIN;
    np_heap_init(&h, alloc);
    assert_null(np_heap_first(&h));
    for (int i = 0; i < N; i++) {
        nodes[i].number = NP_HEAP_OUT;
        when[i] = (int64_t)rnd(100) - 50;
        assert_ok(np_heap_add(&h, &nodes[i], when[i]));
    }
    assert_heap(&h);
    for (int i = 0; i < N; i++) {
        np_heap_node *node = first_node(&h);
        assert_true(when[node - nodes] >= last);
        last = when[node - nodes];
        np_heap_remove(&h, node);
        assert_false(np_heap_has(node));
    }
    assert_null(np_heap_first(&h));
    np_heap_fini(&h);
}

static void M8_the_heap_keeps_equal_deadlines_in_order_of_insertion(void **state) {
    (void)state;
    enum {
        N = 500
    };
    np_heap h;
    np_heap_node nodes[N];
    np_heap_init(&h, alloc);
    for (int i = 0; i < N; i++)
        assert_ok(np_heap_add(&h, &nodes[i], 5));
    for (int i = 0; i < N; i++) {
        assert_ptr_equal(first_node(&h), &nodes[i]);
        np_heap_remove(&h, &nodes[i]);
    }
    np_heap_fini(&h);
}

static void M4_the_heap_stays_a_heap_under_random_changes(void **state) {
    (void)state;
    enum {
        N = 300
    };
    np_heap h;
    np_heap_node nodes[N];
    uint32_t live = 0;
    np_heap_init(&h, alloc);
    for (int i = 0; i < N; i++)
        nodes[i].number = NP_HEAP_OUT;
    for (int step = 0; step < 20000; step++) {
        np_heap_node *node = &nodes[rnd(N)];
        if (!np_heap_has(node)) {
            assert_ok(np_heap_add(&h, node, rnd(50)));
            live++;
        } else if (rnd(3) == 0) {
            np_heap_move(&h, node, rnd(50));
        } else {
            np_heap_remove(&h, node);
            live--;
        }
        assert_int_equal(h.len, live);
        if (step % 100 == 0)
            assert_heap(&h);
    }
    assert_heap(&h);
    np_heap_fini(&h);
}

static void M8_the_order_of_insertion_survives_the_end_of_its_numbers(void **state) {
    (void)state;
    enum {
        N = 200
    };
    np_heap h;
    np_heap_node nodes[N];
    np_heap_init(&h, alloc);
    h.seq = UINT32_MAX - N / 2;
    for (int i = 0; i < N; i++)
        assert_ok(np_heap_add(&h, &nodes[i], i % 2));
    assert_heap(&h);
    for (int i = 0; i < N; i++) {
        int expected = i < N / 2 ? 2 * i : 2 * (i - N / 2) + 1;
        assert_ptr_equal(first_node(&h), &nodes[expected]);
        np_heap_remove(&h, &nodes[expected]);
    }
    np_heap_fini(&h);
}

static void removing_what_is_not_in_the_heap_does_nothing(void **state) {
    (void)state;
    np_heap h;
    np_heap_node a = {NP_HEAP_OUT};
    np_heap_node b = {NP_HEAP_OUT};
    np_heap_init(&h, alloc);
    assert_ok(np_heap_add(&h, &a, 1));
    np_heap_remove(&h, &b);
    assert_int_equal(h.len, 1);
    np_heap_remove(&h, &a);
    np_heap_remove(&h, &a);
    assert_int_equal(h.len, 0);
    np_heap_fini(&h);
}

static void a_heap_that_finds_no_memory_stays_as_it_was(void **state) {
    (void)state;
    enum {
        N = 64
    };
    np_heap h;
    np_heap_node nodes[N + 1];
    np_heap_init(&h, alloc);
    nt_heap_fail(&nt.heap, 1, 1);
    nodes[0].number = NP_HEAP_OUT;
    assert_code(np_heap_add(&h, &nodes[0], 1), NEAP_ENOMEM);
    assert_int_equal(h.len, 0);
    nt_heap_fail(&nt.heap, 0, 0);
    uint32_t n = 0;
    do
        assert_ok(np_heap_add(&h, &nodes[n++], 1));
    while (h.len < h.cap && n < N);
    nt_heap_fail(&nt.heap, 1, 1);
    nodes[n].number = NP_HEAP_OUT;
    assert_code(np_heap_add(&h, &nodes[n], 0), NEAP_ENOMEM);
    assert_false(np_heap_has(&nodes[n]));
    assert_int_equal(h.len, n);
    /* Moving and removing need none. */
    np_heap_move(&h, &nodes[0], 2);
    for (uint32_t i = 0; i < n; i++)
        np_heap_remove(&h, &nodes[i]);
    nt_heap_fail(&nt.heap, 0, 0);
    np_heap_fini(&h);
}

static void a_heap_gives_memory_back_when_it_empties(void **state) {
    (void)state;
    enum {
        N = 20000
    };
    static np_heap_node nodes[N];
    np_heap h;
    np_heap_init(&h, alloc);
    for (int i = 0; i < N; i++)
        assert_ok(np_heap_add(&h, &nodes[i], i));
    long full = atomic_load(&nt.heap.bytes);
    for (int i = 0; i < N; i++)
        np_heap_remove(&h, &nodes[i]);
    assert_true(atomic_load(&nt.heap.bytes) < full / 16);
    np_heap_fini(&h);
}

/* ---- The list -------------------------------------------------------------------------------- */

struct item {
    np_list link;
    int value;
};

static void assert_list(np_list *head, const char *expected) {
    nt_note_clear();
    for (np_list *at = head->next; at != head; at = at->next) {
        assert_ptr_equal(at->next->prev, at);
        nt_note("%d", np_container(at, struct item, link)->value);
    }
    assert_notes(expected);
}

static void a_list_is_first_in_first_out(void **state) {
    (void)state;
    np_list head;
    struct item items[4];
    np_list_init(&head);
    assert_true(np_list_empty(&head));
    for (int i = 0; i < 4; i++) {
        items[i].value = i;
        np_list_append(&head, &items[i].link);
    }
    assert_list(&head, "0 1 2 3");
    np_list_unlink(&items[1].link);
    np_list_unlink(&items[1].link); /* twice does no harm */
    assert_list(&head, "0 2 3");
    assert_ptr_equal(np_list_pop(&head), &items[0].link);
    assert_list(&head, "2 3");
}

static void lists_are_spliced_behind_and_in_front(void **state) {
    (void)state;
    np_list a, b;
    struct item items[6];
    np_list_init(&a);
    np_list_init(&b);
    for (int i = 0; i < 6; i++) {
        items[i].value = i;
        np_list_append(i < 3 ? &a : &b, &items[i].link);
    }
    np_list_splice(&a, &b);
    assert_list(&a, "0 1 2 3 4 5");
    assert_true(np_list_empty(&b));
    np_list_splice(&a, &b); /* nothing */
    assert_list(&a, "0 1 2 3 4 5");
    np_list_append(&b, np_list_pop(&a));
    np_list_append(&b, np_list_pop(&a));
    np_list_splice_front(&a, &b);
    assert_list(&a, "0 1 2 3 4 5");
    assert_true(np_list_empty(&b));
    np_list_splice_front(&b, &a);
    assert_list(&b, "0 1 2 3 4 5");
    assert_true(np_list_empty(&a));
}

/* ---- The pool and the allocator -------------------------------------------------------------- */

static void a_pool_gives_zeroed_blocks_of_every_size(void **state) {
    (void)state;
    np_pool pool;
    np_pool_init(&pool, alloc);
    for (int round = 0; round < 2; round++)
        for (size_t n = 1; n < 1000; n += 7) {
            unsigned char *p = np_pool_get(&pool, n);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % sizeof(void *), 0);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(p[i], 0);
            memset(p, 0xff, n);
            np_pool_put(&pool, p, n);
        }
    np_pool_trim(&pool);
    assert_int_equal(atomic_load(&alloc->blocks), 1); /* the np_alloc itself */
}

static void a_trimmed_pool_keeps_nothing(void **state) {
    (void)state;
    np_pool pool;
    np_pool_init(&pool, alloc);
    void *p = np_pool_get(&pool, 40);
    np_pool_trim(&pool);
    np_pool_put(&pool, p, 40);
    assert_int_equal(atomic_load(&alloc->blocks), 1);
}

static void what_a_burst_took_from_the_pool_goes_back(void **state) {
    (void)state;
    enum {
        N = 10000
    };
    static void *blocks[N];
    np_pool pool;
    np_pool_init(&pool, alloc);
    for (int i = 0; i < N; i++) {
        blocks[i] = np_pool_get(&pool, 100);
        assert_non_null(blocks[i]);
        memset(blocks[i], i & 0xff, 100);
    }
    for (int i = 0; i < N; i++) /* back in another order, none overwritten */
    {
        unsigned char *p = blocks[(i * 7919) % N];
        assert_int_equal(p[0], (i * 7919) % N & 0xff);
        assert_int_equal(p[99], p[0]);
        np_pool_put(&pool, p, 100);
    }
    assert_true(atomic_load(&alloc->blocks) <= 2); /* the np_alloc and one slab */
    np_pool_trim(&pool);
    assert_int_equal(atomic_load(&alloc->blocks), 1);
}

static void a_block_of_the_pool_is_used_again_without_the_allocator(void **state) {
    (void)state;
    np_pool pool;
    np_pool_init(&pool, alloc);
    void *p = np_pool_get(&pool, 100);
    uint64_t total = atomic_load(&alloc->total);
    for (int i = 0; NP_POOL_SLAB > 0 && i < 1000; i++) {
        np_pool_put(&pool, p, 100);
        assert_ptr_equal(np_pool_get(&pool, 99), p);
    }
    assert_int_equal(atomic_load(&alloc->total), total);
    np_pool_put(&pool, p, 100);
    np_pool_trim(&pool);
}

static void a_pool_without_memory_answers_null(void **state) {
    (void)state;
    np_pool pool;
    np_pool_init(&pool, alloc);
    nt_heap_fail(&nt.heap, 1, 1);
    assert_null(np_pool_get(&pool, 40));
    assert_null(np_pool_get(&pool, 100000));
    nt_heap_fail(&nt.heap, 0, 0);
    np_pool_trim(&pool);
}

static void the_allocator_counts_bytes_blocks_and_calls(void **state) {
    (void)state;
    uint64_t bytes = atomic_load(&alloc->bytes);
    uint64_t blocks = atomic_load(&alloc->blocks);
    uint64_t total = atomic_load(&alloc->total);
    void *p = np_alloc_get(alloc, 100);
    assert_int_equal(atomic_load(&alloc->bytes) - bytes, 100);
    p = np_alloc_resize(alloc, p, 100, 300);
    assert_int_equal(atomic_load(&alloc->bytes) - bytes, 300);
    p = np_alloc_resize(alloc, p, 300, 50);
    assert_int_equal(atomic_load(&alloc->bytes) - bytes, 50);
    assert_int_equal(atomic_load(&alloc->blocks) - blocks, 1);
    assert_int_equal(atomic_load(&alloc->total) - total, 3);
    np_alloc_put(alloc, p, 50);
    np_alloc_put(alloc, NULL, 7);
    char *text = np_alloc_text(alloc, "a text");
    assert_string_equal(text, "a text");
    np_alloc_put_text(alloc, text);
    np_alloc_put_text(alloc, NULL);
    assert_int_equal(atomic_load(&alloc->bytes), bytes);
    assert_int_equal(atomic_load(&alloc->blocks), blocks);
}

/* ---- The shuffle ----------------------------------------------------------------------------- */

static int place_of(const np_list *list, const np_list *node) {
    int n = 0;
    for (const np_list *at = list->next; at != node; at = at->next)
        n++;
    return n;
}

static void every_order_of_a_shuffled_list_is_as_likely_as_every_other(void **state) {
    enum {
        SEEDS = 24000
    };
    int counts[4 * 4 * 4 * 4] = {0};
    int seen = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        np_list list, nodes[4];
        uint64_t random = np_random_begin(seed);
        int order = 0;
        np_list_init(&list);
        for (int i = 0; i < 4; i++) {
            np_list_init(&nodes[i]);
            np_list_append(&list, &nodes[i]);
        }
        np_list_shuffle(&list, &random);
        for (int i = 0; i < 4; i++)
            order = order * 4 + place_of(&list, &nodes[i]);
        counts[order]++;
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        seen += counts[i] > 0;
        /* 1000 expected, deviation 31; the seeds are the same in each run */
        assert_true(counts[i] == 0 || (counts[i] > 850 && counts[i] < 1150));
    }
    assert_int_equal(seen, 24);
}

static void a_shuffled_list_keeps_all_its_nodes(void **state) {
    enum {
        N = 1000
    };
    np_list list, nodes[N];
    uint64_t random = np_random_begin(1);
    (void)state;
    np_list_init(&list);
    for (int i = 0; i < N; i++) {
        np_list_init(&nodes[i]);
        np_list_append(&list, &nodes[i]);
    }
    np_list_shuffle(&list, &random);
    for (int i = 0; i < N; i++)
        np_list_unlink(&nodes[i]);
    assert_true(np_list_empty(&list));
    np_list_shuffle(&list, &random);
    assert_true(np_list_empty(&list));
}

#define BASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

NT_MAIN(BASE(M2_the_heap_gives_the_earliest_deadline_first),
        BASE(M8_the_heap_keeps_equal_deadlines_in_order_of_insertion),
        BASE(M8_the_order_of_insertion_survives_the_end_of_its_numbers),
        BASE(M4_the_heap_stays_a_heap_under_random_changes),
        BASE(removing_what_is_not_in_the_heap_does_nothing),
        BASE(a_heap_that_finds_no_memory_stays_as_it_was),
        BASE(a_heap_gives_memory_back_when_it_empties), BASE(a_list_is_first_in_first_out),
        BASE(lists_are_spliced_behind_and_in_front),
        BASE(every_order_of_a_shuffled_list_is_as_likely_as_every_other),
        BASE(a_shuffled_list_keeps_all_its_nodes), BASE(a_pool_gives_zeroed_blocks_of_every_size),
        BASE(a_trimmed_pool_keeps_nothing), BASE(what_a_burst_took_from_the_pool_goes_back),
        BASE(a_block_of_the_pool_is_used_again_without_the_allocator),
        BASE(a_pool_without_memory_answers_null), BASE(the_allocator_counts_bytes_blocks_and_calls))
