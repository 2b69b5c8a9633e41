/* future.h: an outcome that is there or will be.

   The contract of completion
   - An outcome is set once; the first wins.  Setting it moves all waiters to the ready queue in order of registration
     and calls nobody.
   - A future does not hold its waiters alive, except callbacks; a waiter holds the future.  So a pending future without
     references goes, and its callbacks with it.
   - Each waiting callback counts in `callbacks`; at completion each gets a reference to the future until it has run.
   - `all` links a pending future into the loop's list (tasks: the loop's tasks), a failed one that nobody has seen
     into loop->failed.
   - A proxy's outcome is that of `value.source`, which it holds. */
#ifndef NP_FUTURE_H
#define NP_FUTURE_H

#include "core/loop.h"

/* What differs between kinds of futures; the type's first member. */
typedef struct np_future_type {
    np_type base;
    /* Passes a cancellation on.  1 if the request was made. */
    int32_t (*cancel)(neap_future *f, const char *msg);
    /* Asked before a task steps though the future it awaits is pending: settles it now (true) or not.  May be NULL. */
    bool (*ready)(neap_future *f);
    /* Asked when such a task is one of several that will step soon: may take from the kernel what `ready` will look for.
       Settles nothing and calls nobody.  May be NULL. */
    void (*fetch)(neap_future *f);
    /* The loop closes: settles with NEAP_ECLOSED and lets go.  NULL: nothing to let go. */
    void (*end)(neap_future *f);
    uint8_t scopes; /* NP_SCOPES_* */
    bool operation; /* while it is pending the backend has one parked for it */
    /* For reports; NULL: the type's name, and nobody. */
    const char *(*what)(const neap_future *f); /* what is waited for: "a lock" */
    uint64_t (*holder)(const neap_future *f);  /* the number of the task that has it, or 0 */
    /* The i-th future that it waits for itself, done or not; NULL behind the last.  May be NULL. */
    neap_future *(*part)(const neap_future *f, size_t i);
    /* Writes more about what is waited for, to be put behind `what`: " on 127.0.0.1:80".  May be NULL. */
    void (*detail)(const neap_future *f, char *buf, size_t cap);
    /* The address that came with the result; NULL if none did.  May be NULL. */
    const neap_addr *(*addr)(const neap_future *f);
} np_future_type;

/* What a cancelled scope does to the wait of a task for a pending future of this type. */
enum {
    NP_SCOPES_CANCEL = 0, /* the future is the wait's own: it is cancelled */
    NP_SCOPES_DETACH,     /* others may want it: the task leaves it alone */
    NP_SCOPES_WAIT        /* the wait is not ended: who leaves a group waits for its tasks */
};

/* Rare things, made when first needed. */
typedef struct np_future_extra {
    char *message;
    char *site;               /* a task's: where it was spawned */
    char *name;               /* of a task; NULL: "task-N", made when asked for */
    char *cancel_msg;         /* of a task's last cancellation */
    neap_handle *cancel_hook; /* of a plain future */
    neap_task *task;          /* of a task in a scope: the task itself */
    neap_scope *scope;        /* innermost; a reference, or NULL */
    np_list in_scope;         /* in the scope's tasks */
} np_future_extra;

enum {
    NP_F_RESOURCE = 1,  /* an operation on the world: once completed, a cancel loses */
    NP_F_RETRIEVED = 2, /* somebody saw or will see the outcome */
    NP_F_IGNORED = 4,
    NP_F_STAGED =
        8, /* a task has set its outcome inside its step; it counts when the step says DONE */
    NP_F_FAILED = 16, /* in loop->failed, with a reference */
    NP_F_MARKED = 64, /* seen in this list; short-lived */
    NP_F_ACTIVE = 32  /* holds a reference to itself: something in the runtime will complete it */
};

enum {
    NP_KIND_SOURCE = 64,
    NP_KIND_BUF,
    NP_KIND_LENT,
    NP_KIND_SLICE,
    NP_KIND_FIRST_BYTES = NP_KIND_BUF,
    NP_KIND_LAST_BYTES = NP_KIND_SLICE,
    NP_KIND_EXCEPTION,
    NP_KIND_PARTIAL
}; /* beside NEAP_KIND_* */

struct neap_future {
    np_obj obj;
    np_list all;
    np_list waiters; /* np_ready nodes, where == NP_AT_WAIT */
    uint32_t callbacks;
    int32_t code;  /* of a failure */
    uint8_t state; /* NEAP_STATE_* */
    uint8_t kind;  /* NEAP_KIND_* or NP_KIND_* */
    uint8_t flags; /* NP_F_* */
    bool is_task;
    union {
        int64_t i;
        double d;
        struct {
            void *data;
            size_t len;
        } bytes; /* NEAP_KIND_BYTES: owned; NP_KIND_LENT: the loop's */
        struct {
            const void *data;
            size_t len;
            neap_buf *buf; /* where they stand: a reference */
        } slice;
        struct {
            const void *tag;
            void *ptr;
            neap_destroy_fn destroy;
        } ptr;
        neap_sock *sock; /* begins with an np_obj; an outer reference */
        neap_file *file; /* likewise */
        neap_buf *buf;
        neap_future *source;
    } value;
    np_future_extra *extra;
};

static inline np_future_type *np_future_type_of(const neap_future *f) {
    return (np_future_type *)(void *)f->obj.type;
}

static inline void np_future_ref(neap_future *f) {
    np_obj_ref(&f->obj);
}

static inline void np_future_unref(neap_future *f) {
    np_obj_unref(&f->obj);
}

/* A pending future of `size` bytes with one inner reference, in the loop's list; NULL when there is no memory. */
neap_future *np_future_new(neap_loop *loop, const np_future_type *type, size_t size);

/* What every destroy of a future type ends with. */
void np_future_fini(neap_future *f);

/* Sets the outcome; the value stands in it already.  Queues the waiters. */
void np_future_settle(neap_future *f, uint8_t state);
/* As np_future_settle; combinations that wait for it hear of it before this returns. */
void np_future_settle_at_once(neap_future *f, uint8_t state);
void np_future_settle_error(neap_future *f, int32_t code, const char *message);
void np_future_settle_cancelled(neap_future *f, const char *msg);

/* Settles with the outcome of another future that is done. */
void np_future_settle_as(neap_future *f, neap_future *source);

/* Drops the reference that an active future holds to itself. */
void np_future_deactivate(neap_future *f);

int32_t np_future_cancel(neap_future *f, const char *msg);

/* Somebody has the outcome: a failure is not reported. */
void np_future_seen(neap_future *f);
void np_future_wait(neap_future *f, np_ready *node); /* f is pending */
void np_future_clear_value(neap_future *f);
np_future_extra *np_future_extra_of(neap_future *f); /* NULL when there is no memory */
void np_future_set_message(neap_future *f, const char *message);

/* A failure that nobody has seen will be reported at the end of the tick. */
void np_future_note_failure(neap_future *f);

/* The future whose outcome f has: f, or the end of its chain of sources. */
neap_future *np_future_origin(neap_future *f);

static inline bool np_future_pending(const neap_future *f) {
    return f->state == NEAP_STATE_PENDING;
}

/* Publishes a new active or plain future to the user. */
static inline int32_t np_future_give(neap_future *f, neap_future **ret) {
    np_obj_publish(&f->obj);
    *ret = f;
    return 0;
}

#endif
