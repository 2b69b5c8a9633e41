/* lot.h: a fair queue of waiters, in which locks, semaphores and channels let tasks wait.  Whoever is let go was handed
   something at the same time: its future counts as an operation on the world, so that a later cancellation does not undo
   it.  Who is cancelled before leaves the queue at once, and what it brought goes.  A select whose case is let go is decided
   in the same call: its other cases have left their queues when that returns. */
#ifndef NP_LOT_H
#define NP_LOT_H

#include "core/future.h"

typedef struct np_lot {
    np_list parked; /* by np_parked.link, oldest first */
    size_t len;
    np_obj *owner;
} np_lot;

/* A value on its way. */
typedef struct np_item {
    uint8_t kind; /* NEAP_KIND_* of a number or pointer, NP_KIND_BUF; NEAP_KIND_NONE: none */
    union {
        int64_t i;
        double d;
        void *ptr; /* also of a buffer */
    };
    const void *tag;         /* of a pointer */
    neap_destroy_fn destroy; /* of a pointer */
    double priority;         /* where that counts: the least comes first */
    uint64_t turn;           /* of the store: among equals the least comes first */
} np_item;

typedef struct np_parked {
    neap_future f;
    np_list link;
    np_lot *lot;   /* with a reference to its owner; NULL once it left */
    uint64_t task; /* the number of the task that waits, or 0 */
    np_item item;  /* what a sender brought */
} np_parked;

void np_lot_init(np_lot *lot, np_obj *owner);

/* The oldest waiter, or NULL. */
static inline np_parked *np_lot_first(const np_lot *lot) {
    return np_list_empty(&lot->parked) ? NULL : np_container(lot->parked.next, np_parked, link);
}

/* A new waiter at the end of the queue; NULL if there is no memory.  A type other than NULL begins with an np_parked, and its
   destroy calls np_lot_fini. */
np_parked *np_lot_park(np_lot *lot, const np_future_type *type, size_t size);
void np_lot_fini(np_parked *p);

/* To the end of another queue. */
void np_lot_move(np_parked *p, np_lot *to);

/* Parks whoever calls: NEAP_PENDING with the future, or what a starting call answers instead. */
int32_t np_lot_wait(np_lot *lot, neap_future **ret_future);

/* Out of the queue with a result: none, or the item, which is taken. */
void np_lot_let_go(np_parked *p, np_item *item);
void np_lot_refuse(np_parked *p, int32_t code);
void np_lot_cancel(np_parked *p, const char *msg);

/* The same for all of them. */
void np_lot_let_all_go(np_lot *lot);
void np_lot_refuse_all(np_lot *lot, int32_t code);

/* For reports. */
const char *np_lot_what(const neap_future *f);
uint64_t np_lot_holder(const neap_future *f);

void np_item_drop(np_item *item);
void np_item_give(np_item *item, neap_future *f); /* becomes the value of the future */

/* The number of the task whose step runs, or 0. */
uint64_t np_current_task_id(const neap_loop *loop);

#endif
