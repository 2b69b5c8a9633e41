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
    NP_CALL_FUTURE,   /* fn.future(future, user) */
    NP_CALL_WATCH,    /* of a descriptor, owned by the floor above */
    NP_CALL_SIGNAL,   /* fn.signal(signo, user), likewise */
    NP_CALL_SHUTDOWN, /* when a shutdown begins */
    NP_CALL_STREAM    /* fn.call(owner) sees to what is to be told, likewise */
};

/* What the floor above does with the calls of a watch, signal or stream. */
typedef struct np_call_source {
    void (*stop)(neap_handle *h);   /* ends it */
    bool (*before)(neap_handle *h); /* is the call still due?  May be NULL */
    void (*after)(neap_handle *h);  /* after each call.  May be NULL */
} np_call_source;

/* What all kinds have; there may be millions of them, so each kind only adds what it needs. */
struct neap_handle {
    np_obj obj;
    np_ready node;
    union {
        neap_fn call;
        neap_future_fn future;
        neap_signal_fn signal;
    } fn; /* NULL: goes to the events of pull mode */
    void *user;
    neap_destroy_fn destroy;
    np_local *context;
    char *name;
};

typedef struct np_future_call {
    neap_handle h;
    neap_future *future; /* waited for; held once it is done */
} np_future_call;

typedef struct np_timer_call {
    neap_handle h;
    np_timer timer;
    int64_t when; /* the deadline */
} np_timer_call;

typedef struct np_repeating_call {
    np_timer_call t;
    int64_t interval;
} np_repeating_call;

typedef struct np_source_call {
    neap_handle h;
    const np_call_source *source; /* NULL: over */
    void *owner;                  /* the source's own */
    int32_t signo;                /* of a signal */
} np_source_call;

/* An active handle with the runtime's reference, seeing the present context; NULL when there is no memory. */
neap_handle *np_handle_new(neap_loop *loop, uint8_t kind);

static inline np_future_call *np_future_call_of(neap_handle *h) {
    return np_container(h, np_future_call, h);
}

static inline np_source_call *np_source_call_of(neap_handle *h) {
    return np_container(h, np_source_call, h);
}

/* The future that a callback waits for or is called with, or NULL. */
static inline neap_future *np_handle_future(neap_handle *h) {
    return h->node.call == NP_CALL_FUTURE ? np_future_call_of(h)->future : NULL;
}

/* What it tells is an end, which a loop that closes still tells. */
static inline bool np_handle_tells_end(neap_handle *h) {
    return h->node.call == NP_CALL_STREAM || np_handle_future(h) != NULL;
}

/* A timer that is still to come due. */
bool np_handle_is_scheduled(neap_handle *h);
void np_handle_take(neap_handle *h, void *user, neap_destroy_fn destroy);

/* Hands a reference to the user if one is asked for. */
void np_handle_give(neap_handle *h, neap_handle **ret);

/* The call will not come (any more): destroys `user` and ends the runtime's reference. */
void np_handle_drop(neap_handle *h);

/* Unlinks from wherever it waits, then drops.  1 if the call was to come. */
int32_t np_handle_cancel(neap_handle *h);

/* Queues the callback of a future that is done. */
void np_handle_fire_for(neap_handle *h, neap_future *f);

/* Not inline: in the batch's function there is room for one of the two kinds of entries, and a task needs it more. */
void np_handle_run(neap_handle *h) __attribute__((noinline));
bool np_is_handle(const np_obj *obj);

#endif
