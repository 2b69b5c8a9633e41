/* One of each object, and every function that belongs to the loop's thread called with them from
   where it must not be: in another thread, or in a child after fork. */
#ifndef NEAP_TEST_REFUSALS_H
#define NEAP_TEST_REFUSALS_H

#include "support.h"

struct things {
    neap_loop *loop;
    neap_handle *handle;
    neap_future *future;
    neap_task *task; /* awaits the future */
    neap_sock *sock;
    neap_stream *stream;
    neap_file *file;
    neap_fs_watch *watch;
    neap_scope *scope;
    neap_lock *lock;
    neap_sem *sem;
    neap_event *event;
    neap_cond *cond;
    neap_barrier *barrier;
    neap_limiter *limiter;
    neap_chan *chan;
    neap_pool *pool;
    neap_server *server;   /* closed */
    neap_process *process; /* runs; killed with its last reference */
    int32_t expected;      /* the code that every call must answer */
    int destroyed;         /* destroy hooks that ran, of calls that took a callback */
    char wrong[1024];      /* calls that answered something else */
};

void make_things(struct things *t, nt_script *script, int32_t expected);
void unref_things(struct things *t); /* on any thread */
void drop_things(struct things *t);

/* Calls everything; the number of destroy hooks that should have run. */
int refuse_all(struct things *t);

#endif
