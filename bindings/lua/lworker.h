/* lworker.h: a worker: a thread with a Lua state and a loop of its own, started by a script in another.

   Who owns what.  The records belong to both sides, by references: to objects in the starting state and to the threads.
   - The crew, and what is set of a worker before its thread starts, are constant.
   - Under `lock`: the loop, while it can be posted to; what was asked for before; how it ended.
   - Lua state, loop and everything on it are the thread's alone.  Others reach it by posts to its loop: stop, hasten, ask.
   - The futures are the starter's; the worker posts to its loop what completes them.
   The thread takes no signals, waits for nobody, and touches the record last when it says that it has ended. */
#ifndef NEAP_LWORKER_H
#define NEAP_LWORKER_H

#include <pthread.h>

#include "lneap.h"

/* What workers have in common that do the same. */
typedef struct nl_crew {
    atomic_int refs;
    int count;
    int is_script;
    int control;
    int64_t grace, stop_grace; /* ns; -1: as the run has it */
    nl_parcel *paths;          /* of modules */
    nl_parcel *call; /* the channels by name; the script's path or the function; its arguments */
    neap_listeners *listeners; /* a reference */
} nl_crew;

typedef struct nl_worker {
    int id;                     /* from 1 */
    int restarts;               /* how often its place was taken before */
    nl_crew *crew;              /* a reference */
    neap_loop *home;            /* the starter's; a reference */
    neap_future *ready, *ended; /* of its thread; gone once it has heard of the end */

    atomic_int refs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    neap_loop *loop; /* a reference while the run is on */
    nl_state *st;    /* the thread's */
    neap_future *main;
    int stopping, hastened; /* asked for */
    int was_ready;
    int over;        /* the thread is at its end, or there is none */
    const char *how; /* "done", "error", "exit", "signal" */
    int status;      /* of an exit */
    char *text;      /* of an error, or NULL */
    char *traceback;
} nl_worker;

/* lworker.c: the thread's side, and how it is reached */
nl_crew *nl_crew_new(void);
void nl_crew_unref(nl_crew *crew);
nl_worker *nl_worker_new(nl_crew *crew, int id);
void nl_worker_unref(nl_worker *w);
int nl_worker_start(nl_worker *w);
int32_t nl_worker_stop(nl_worker *w);
int32_t nl_worker_hasten(nl_worker *w);
int32_t nl_worker_ask(nl_worker *w, neap_future *answer);
int nl_worker_await(nl_worker *w, const struct timespec *until);

#endif
