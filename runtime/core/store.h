/* store.h: the items that a channel keeps: a ring, or where priorities count a heap.  Its memory grows with what is in it, up
   to the capacity. */
#ifndef NP_STORE_H
#define NP_STORE_H

#include "core/lot.h"

typedef struct np_store {
    np_alloc *alloc;
    np_item *items;
    size_t room, len, capacity;
    size_t first;   /* of a ring: where the oldest stands; of a heap 0 */
    uint64_t turns; /* items that were ever put */
    bool ordered;   /* a heap */
} np_store;

void np_store_init(np_store *s, np_alloc *alloc, size_t capacity, bool ordered);
void np_store_fini(np_store *s); /* drops the items */

/* Takes the item; there is room up to the capacity.  Errors: NEAP_ENOMEM, but not in the place of one just taken. */
int32_t np_store_put(np_store *s, const np_item *item);
np_item np_store_take(np_store *s); /* the first; there is one */

static inline bool np_store_is_full(const np_store *s) {
    return s->len >= s->capacity;
}

#endif
