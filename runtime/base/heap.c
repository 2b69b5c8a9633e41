#include "base/heap.h"

#include <stdlib.h>
#include <string.h>

#define ARITY 4
#define CAP_MIN 64
#define LINE 64 /* bytes of a cache line */

void np_heap_init(np_heap *h, np_alloc *alloc) {
    memset(h, 0, sizeof *h);
    h->free = NP_HEAP_OUT;
    h->alloc = alloc;
}

/* ---- The memory: entries, from the second on at the start of a line, nodes, places */

static size_t block_size(uint32_t cap) {
    size_t each = sizeof(np_heap_entry) + sizeof(np_heap_node *) + sizeof(uint32_t);
    return cap == 0 ? 0 : LINE + cap * each;
}

static np_heap_entry *first_place(void *block) {
    uintptr_t second = ((uintptr_t)block + sizeof(np_heap_entry) + LINE - 1) / LINE * LINE;
    return (np_heap_entry *)(void *)((char *)block + (second - (uintptr_t)block)) - 1;
}

void np_heap_fini(np_heap *h) {
    np_alloc_put(h->alloc, h->block, block_size(h->cap));
    np_heap_init(h, h->alloc);
}

static void free_from(np_heap *h, uint32_t first) {
    for (uint32_t i = first; i < h->cap; i++) {
        h->nodes[i] = NULL;
        h->places[i] = i + 1 < h->cap ? i + 1 : NP_HEAP_OUT;
    }
    h->free = first;
}

/* To a larger block; all numbers are taken and stay. */
static void copy(np_heap *to, const np_heap *h) {
    if (h->cap > 0) {
        memcpy(to->entries, h->entries, h->cap * sizeof *h->entries);
        memcpy(to->nodes, h->nodes, h->cap * sizeof(np_heap_node *));
        memcpy(to->places, h->places, h->cap * sizeof *h->places);
    }
    free_from(to, h->cap);
}

/* To a smaller block: timers get the numbers of their places. */
static void compact(np_heap *to, const np_heap *h) {
    for (uint32_t i = 0; i < h->len; i++) {
        to->entries[i] = (np_heap_entry){h->entries[i].when, h->entries[i].seq, i};
        to->nodes[i] = np_heap_node_of(h, &h->entries[i]);
        to->nodes[i]->number = i;
        to->places[i] = i;
    }
    free_from(to, h->len);
}

static int32_t resize(np_heap *h, uint32_t cap) {
    np_heap to = *h;
    to.block = np_alloc_get(h->alloc, block_size(cap));
    if (to.block == NULL)
        return NEAP_ENOMEM;
    to.cap = cap;
    to.entries = first_place(to.block);
    to.nodes = (np_heap_node **)(void *)(to.entries + cap);
    to.places = (uint32_t *)(void *)(to.nodes + cap);
    if (cap > h->cap)
        copy(&to, h);
    else
        compact(&to, h);
    np_alloc_put(h->alloc, h->block, block_size(h->cap));
    *h = to;
    return 0;
}

/* ---- Order */

static bool before(const np_heap_entry *a, const np_heap_entry *b) {
    return a->when < b->when || (a->when == b->when && a->seq < b->seq);
}

static int compare(const void *a, const void *b) {
    return before(a, b) ? -1 : before(b, a);
}

/* Numbers of insertion ran out: a sorted array is a heap as well, and its order gives new ones. */
static void renumber(np_heap *h) {
    qsort(h->entries, h->len, sizeof *h->entries, compare);
    for (uint32_t i = 0; i < h->len; i++) {
        h->entries[i].seq = i;
        h->places[h->entries[i].number] = i;
    }
    h->seq = h->len;
}

static uint32_t next_seq(np_heap *h) {
    if (np_unlikely(h->seq == UINT32_MAX))
        renumber(h);
    return h->seq++;
}

/* ---- Moving */

static void place(np_heap *h, uint32_t i, np_heap_entry e) {
    h->entries[i] = e;
    h->places[e.number] = i;
}

static void sift_up(np_heap *h, uint32_t i, np_heap_entry e) {
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!before(&e, &h->entries[parent]))
            break;
        place(h, i, h->entries[parent]);
        i = parent;
    }
    place(h, i, e);
}

static uint32_t least_child(const np_heap *h, uint32_t first) {
    uint32_t end = first + ARITY < h->len ? first + ARITY : h->len;
    uint32_t least = first;
    for (uint32_t c = first + 1; c < end; c++)
        if (before(&h->entries[c], &h->entries[least]))
            least = c;
    return least;
}

/* A large heap lies outside the caches: the children of all four come while their parents are compared. */
static void fetch_children(const np_heap *h, uint32_t first) {
    const char *at = (const char *)&h->entries[first * ARITY + 1];
    if (first * ARITY + 1 < h->len)
        for (int i = 0; i < ARITY; i++)
            __builtin_prefetch(at + (ptrdiff_t)i * LINE);
}

static void sift_down(np_heap *h, uint32_t i, np_heap_entry e) {
    for (;;) {
        uint32_t first = i * ARITY + 1;
        if (first >= h->len)
            break;
        fetch_children(h, first);
        uint32_t c = least_child(h, first);
        if (!before(&h->entries[c], &e))
            break;
        place(h, i, h->entries[c]);
        i = c;
    }
    place(h, i, e);
}

static void settle(np_heap *h, uint32_t i, np_heap_entry e) {
    if (i > 0 && before(&e, &h->entries[(i - 1) / ARITY]))
        sift_up(h, i, e);
    else
        sift_down(h, i, e);
}

/* ---- What the loop asks for */

int32_t np_heap_add(np_heap *h, np_heap_node *node, int64_t when) {
    if (h->len == h->cap) {
        if (h->cap > UINT32_MAX / ARITY - 1)
            return NEAP_ENOMEM;
        int32_t rc = resize(h, h->cap == 0 ? CAP_MIN : h->cap * 2);
        if (rc < 0)
            return rc;
    }
    uint32_t number = h->free;
    h->free = h->places[number];
    h->nodes[number] = node;
    node->number = number;
    uint32_t seq = next_seq(h);
    h->len++;
    sift_up(h, h->len - 1, (np_heap_entry){when, seq, number});
    return 0;
}

static void take_out(np_heap *h, uint32_t i) {
    uint32_t number = h->entries[i].number;
    np_heap_entry last = h->entries[--h->len];
    if (last.number != number)
        settle(h, i, last);
    h->nodes[number] = NULL;
    h->places[number] = h->free;
    h->free = number;
    /* A shrink that finds no memory leaves all as it is. */
    if (h->cap > CAP_MIN && h->len < h->cap / 8)
        (void)resize(h, h->cap / 4 > CAP_MIN ? h->cap / 4 : CAP_MIN);
}

void np_heap_remove(np_heap *h, np_heap_node *node) {
    if (!np_heap_has(node))
        return;
    take_out(h, h->places[node->number]);
    node->number = NP_HEAP_OUT;
}

/* The timer itself, and the place of the next one's address, come into the caches while the heap is put in order. */
np_heap_node *np_heap_pop(np_heap *h) {
    np_heap_node *node = h->nodes[h->entries[0].number];
    __builtin_prefetch(node, 1);
    __builtin_prefetch((char *)node - LINE, 1);
    take_out(h, 0);
    if (h->len > 0)
        __builtin_prefetch(&h->nodes[h->entries[0].number]);
    node->number = NP_HEAP_OUT;
    return node;
}

void np_heap_move(np_heap *h, np_heap_node *node, int64_t when) {
    uint32_t seq = next_seq(h);
    settle(h, h->places[node->number], (np_heap_entry){when, seq, node->number});
}
