#include "base/heap.h"

#define ARITY 4
#define CAP_MIN 64

void np_heap_init(np_heap *h, np_alloc *alloc) {
    h->entries = NULL;
    h->len = 0;
    h->cap = 0;
    h->seq = 0;
    h->alloc = alloc;
}

void np_heap_fini(np_heap *h) {
    np_alloc_put(h->alloc, h->entries, h->cap * sizeof *h->entries);
    np_heap_init(h, h->alloc);
}

static bool before(const np_heap_entry *a, const np_heap_entry *b) {
    return a->when < b->when || (a->when == b->when && a->seq < b->seq);
}

static void place(np_heap *h, uint32_t i, np_heap_entry e) {
    h->entries[i] = e;
    e.node->index = i;
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

static void sift_down(np_heap *h, uint32_t i, np_heap_entry e) {
    for (;;) {
        uint32_t first = i * ARITY + 1;
        if (first >= h->len)
            break;
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

static int32_t resize(np_heap *h, uint32_t cap) {
    np_heap_entry *e = np_alloc_resize(h->alloc, h->entries, h->cap * sizeof *e, cap * sizeof *e);
    if (e == NULL)
        return NEAP_ENOMEM;
    h->entries = e;
    h->cap = cap;
    return 0;
}

int32_t np_heap_add(np_heap *h, np_heap_node *node, int64_t when) {
    if (h->len == h->cap) {
        if (h->cap > UINT32_MAX / 2 - 1)
            return NEAP_ENOMEM;
        int32_t rc = resize(h, h->cap == 0 ? CAP_MIN : h->cap * 2);
        if (rc < 0)
            return rc;
    }
    sift_up(h, h->len++, (np_heap_entry){when, h->seq++, node});
    return 0;
}

void np_heap_remove(np_heap *h, np_heap_node *node) {
    uint32_t i = node->index;
    if (i == NP_HEAP_OUT)
        return;
    node->index = NP_HEAP_OUT;
    np_heap_entry last = h->entries[--h->len];
    if (last.node != node)
        settle(h, i, last);
    /* A shrink that finds no memory leaves the array as it is. */
    if (h->cap > CAP_MIN && h->len < h->cap / 8)
        (void)resize(h, h->cap / 4 > CAP_MIN ? h->cap / 4 : CAP_MIN);
}

void np_heap_move(np_heap *h, np_heap_node *node, int64_t when) {
    settle(h, node->index, (np_heap_entry){when, h->seq++, node});
}
