/* heap.h: the timers' heap: 4-ary, in one array, ordered by deadline, then by order of insertion.  Keys stand in the
   array (a comparison touches no timer) and each timer knows its index, so removal is O(log n) and the heap holds live
   timers only.  Only np_heap_add can fail; moving a deadline allocates nothing. */
#ifndef NP_HEAP_H
#define NP_HEAP_H

#include "alloc.h"

#define NP_HEAP_OUT UINT32_MAX

typedef struct np_heap_node {
    uint32_t index; /* place in the array, NP_HEAP_OUT while not in the heap */
} np_heap_node;

typedef struct np_heap_entry {
    int64_t when;
    uint64_t seq;
    np_heap_node *node;
} np_heap_entry;

typedef struct np_heap {
    np_heap_entry *entries;
    uint32_t len;
    uint32_t cap;
    uint64_t seq; /* of the next insertion */
    np_alloc *alloc;
} np_heap;

void np_heap_init(np_heap *h, np_alloc *alloc);
void np_heap_fini(np_heap *h);
int32_t np_heap_add(np_heap *h, np_heap_node *node, int64_t when);
void np_heap_remove(np_heap *h, np_heap_node *node); /* nothing to do if it is not in the heap */
void np_heap_move(np_heap *h, np_heap_node *node, int64_t when);

static inline bool np_heap_has(const np_heap_node *node) {
    return node->index != NP_HEAP_OUT;
}

/* The first entry, or NULL. */
static inline const np_heap_entry *np_heap_first(const np_heap *h) {
    return h->len > 0 ? &h->entries[0] : NULL;
}

#endif
