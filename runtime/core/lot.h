/* lot.h: a fair queue of waiters, in which locks, semaphores and channels let tasks wait.  Whoever is let go was handed
   something at the same time: its future counts as an operation on the world, so that a later cancellation does not undo
   it.  Who is cancelled before leaves the queue at once, and what it brought goes. */
#ifndef NP_LOT_H
#define NP_LOT_H

#include "core/future.h"

typedef struct np_lot {
    np_list parked; /* by np_parked.link, oldest first */
} np_lot;

/* A value on its way. */
typedef struct np_item {
    uint8_t kind; /* NEAP_KIND_INT, NEAP_KIND_PTR; NEAP_KIND_NONE: none */
    int64_t i;
    const void *tag;
    void *ptr;
    neap_destroy_fn destroy;
} np_item;

typedef struct np_parked {
    neap_future f;
    np_list link;
    np_obj *owner; /* of the lot, with a reference; NULL once it left */
    uint64_t task; /* the number of the task that waits, or 0 */
    np_item item;  /* what a sender brought */
} np_parked;

static inline void np_lot_init(np_lot *lot) {
    np_list_init(&lot->parked);
}

/* The oldest waiter, or NULL. */
static inline np_parked *np_lot_first(const np_lot *lot) {
    return np_list_empty(&lot->parked) ? NULL : np_container(lot->parked.next, np_parked, link);
}

/* Joins the queue of a lot that `owner` has; NULL if there is no memory. */
np_parked *np_lot_park(np_lot *lot, np_obj *owner);

/* Out of the queue with a result: none, or the item, which is taken. */
void np_lot_let_go(np_parked *p, np_item *item);
void np_lot_refuse(np_parked *p, int32_t code);

void np_item_drop(np_item *item);

/* The number of the task whose step runs, or 0. */
uint64_t np_current_task_id(const neap_loop *loop);

#endif
