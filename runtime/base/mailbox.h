/* mailbox.h: what other threads leave for the loop's thread: posted calls and objects whose last outside reference
   went.  The loop looks with one atomic load.  After close nobody comes to look any more: posts are refused, and
   objects are released by whichever thread brings them, one thread at a time. */
#ifndef NP_MAILBOX_H
#define NP_MAILBOX_H

#include <pthread.h>
#include <stdatomic.h>

#include "base.h"

typedef struct np_mail {
    struct np_mail *next;
} np_mail;

/* Runs on the loop's thread; with `discard` at close, to free only. */
typedef void (*np_deliver_fn)(np_mail *mail, bool discard);

typedef struct np_mailbox {
    np_deliver_fn deliver;
    pthread_mutex_t lock;
    atomic_bool full; /* something is inside */
    bool closed;      /* under lock */
    bool draining;    /* under lock: after close, a thread is releasing objects */
    np_mail *first;   /* under lock; FIFO */
    np_mail *last;
} np_mailbox;

void np_mailbox_init(np_mailbox *box, np_deliver_fn deliver);
void np_mailbox_fini(np_mailbox *box);
void np_mailbox_reset(
    np_mailbox *box); /* for a child after fork, whose lock may be held by a thread that is gone */

/* Leaves mail; false if the box is closed. */
bool np_mailbox_put(np_mailbox *box, np_mail *mail);

/* Leaves mail also in a closed box: then delivers it here, unless another thread is at it already. */
void np_mailbox_put_always(np_mailbox *box, np_mail *mail);

/* Takes everything out: a chain in order of arrival, or NULL. */
np_mail *np_mailbox_take(np_mailbox *box);
void np_mailbox_close(np_mailbox *box);

static inline bool np_mailbox_full(np_mailbox *box) {
    return atomic_load_explicit(&box->full, memory_order_acquire);
}

#endif
