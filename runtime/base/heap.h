/* heap.h: the timers' heap: 4-ary, in one array, ordered by deadline, then by order of insertion.

   An entry carries its key and the number of its timer's place in a second, dense array that knows where the entry
   stands: sifting touches 16 bytes per entry and 4 per timer, and no timer at all.  So removal is O(log n) and the heap holds
   live timers only.  The four children of an entry share a cache line.  Only np_heap_add can fail, and not after a
   removal; moving a deadline allocates nothing. */
#ifndef NP_HEAP_H
#define NP_HEAP_H

#include "alloc.h"

#define NP_HEAP_OUT UINT32_MAX

typedef struct np_heap_node {
    uint32_t number; /* of the timer in the heap's tables, NP_HEAP_OUT while not in the heap */
} np_heap_node;

typedef struct np_heap_entry {
    int64_t when;
    uint32_t seq;
    uint32_t number;
} np_heap_entry;

typedef struct np_heap {
    np_heap_entry *entries;
    np_heap_node **nodes; /* by number; of a free number: NULL */
    uint32_t *places; /* by number: the index of its entry; of a free number: the next free one */
    uint32_t len;
    uint32_t cap;
    uint32_t seq;  /* of the next insertion */
    uint32_t free; /* the first free number */
    void *block;   /* the memory of all three */
    np_alloc *alloc;
} np_heap;

void np_heap_init(np_heap *h, np_alloc *alloc);
void np_heap_fini(np_heap *h);
int32_t np_heap_add(np_heap *h, np_heap_node *node, int64_t when);
void np_heap_remove(np_heap *h, np_heap_node *node); /* nothing to do if it is not in the heap */
np_heap_node *np_heap_pop(np_heap *h);               /* removes the first; there is one */
void np_heap_move(np_heap *h, np_heap_node *node, int64_t when);

static inline bool np_heap_has(const np_heap_node *node) {
    return node->number != NP_HEAP_OUT;
}

/* The first entry, or NULL. */
static inline const np_heap_entry *np_heap_first(const np_heap *h) {
    return h->len > 0 ? &h->entries[0] : NULL;
}

static inline np_heap_node *np_heap_node_of(const np_heap *h, const np_heap_entry *e) {
    return h->nodes[e->number];
}

/* Its deadline; NP_NEVER if it is not in the heap. */
static inline int64_t np_heap_when(const np_heap *h, const np_heap_node *node) {
    return np_heap_has(node) ? h->entries[h->places[node->number]].when : NP_NEVER;
}

static inline bool np_heap_is_first(const np_heap *h, const np_heap_node *node) {
    return h->len > 0 && h->entries[0].number == node->number;
}

#endif
