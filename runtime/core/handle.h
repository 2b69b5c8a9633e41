/* handle.h: a callback with everything it needs, queued, scheduled, or waiting for a future.

   While the call is to come the runtime holds one inner reference and `user`.  It gives both up, in that order, after
   the call or at cancel (np_handle_drop); users may hold the husk longer. */
#ifndef NP_HANDLE_H
#define NP_HANDLE_H

#include "core/loop.h"

enum {
    NP_CALL_SOON = 1,
    NP_CALL_TIMER,
    NP_CALL_EVERY,
    NP_CALL_FUTURE, /* fn.future(future, user) */
    NP_CALL_WATCH,  /* of a descriptor, owned by the floor above */
    NP_CALL_SIGNAL  /* fn.signal(signo, user), likewise */
};

struct neap_handle {
    np_obj obj;
    np_ready node;
    uint8_t kind; /* NP_CALL_* */
    bool active;  /* the call is to come, or to come again */
    bool cancelled;
    np_timer timer;   /* of a timer */
    int64_t when;     /* of a timer: its deadline */
    int64_t interval; /* of a repeating timer */
    union {
        neap_fn call;
        neap_future_fn future;
        neap_signal_fn signal;
    } fn; /* NULL: goes to the events of pull mode */
    void *user;
    neap_destroy_fn destroy;
    neap_future *future;            /* of NP_CALL_FUTURE: waited for; held once it is done */
    void *owner;                    /* of a watch or signal */
    void (*stop)(neap_handle *h);   /* of a watch or signal: ends it; left by the floor above */
    void (*after)(neap_handle *h);  /* of a watch or signal: after each call */
    bool (*before)(neap_handle *h); /* of a watch: is the call still due? */
    np_local *context;
    char *name;
};

/* An active handle with the runtime's reference, seeing the present context; NULL when there is no memory. */
neap_handle *np_handle_new(neap_loop *loop, uint8_t kind);
void np_handle_take(neap_handle *h, void *user, neap_destroy_fn destroy);

/* Hands a reference to the user if one is asked for. */
void np_handle_give(neap_handle *h, neap_handle **ret);

/* The call will not come (any more): destroys `user` and ends the runtime's reference. */
void np_handle_drop(neap_handle *h);

/* Unlinks from wherever it waits, then drops.  1 if the call was to come. */
int32_t np_handle_cancel(neap_handle *h);

/* Queues the callback of a future that is done. */
void np_handle_fire_for(neap_handle *h, neap_future *f);

void np_handle_run(neap_handle *h);
bool np_is_handle(const np_obj *obj);

#endif
