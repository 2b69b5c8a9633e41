/* pool.h: threads that run jobs, and the jobs.  pool.c owns the queue, the threads and their end; job.c what a loop has of a
   job: its future, and the way home; looppool.c the pools that a loop makes for itself.

   Who may touch what
   - A job that waits or runs is in a list of its pool, under the lock, and `state` says in which.
   - A job that is over belongs to whoever takes it out of that list: its mail brings it to the thread of its loop, where it
     ends; a job without a loop ends where it is.
   - `f` is of the loop's thread.  A future that lets go of its job leaves NULL there, whatever the job is doing.
   - Under the lock nobody is called but the allocator and the maker of threads.

   Two counts keep a pool: users' references, and those of the memory: one for all users, one for each thread and each job. */
#ifndef NP_SYS_POOL_H
#define NP_SYS_POOL_H

#include <pthread.h>

#include "core/future.h"

typedef struct np_keepsake np_keepsake; /* what a binding keeps with a thread */

typedef struct np_worker {
    np_list link; /* in pool->workers, at last in pool->ended */
    neap_pool *pool;
    pthread_t id;
    np_thread self;
    np_keepsake *kept; /* of the thread itself */
    bool left_behind;  /* nobody will join it */
} np_worker;

struct neap_pool {
    np_alloc *alloc;
    atomic_uint users;
    atomic_uint refs;
    np_guard guard;
    neap_pool_options options; /* the name is the pool's own */

    pthread_mutex_t lock;    /* of all that follows */
    pthread_cond_t work;     /* idle threads wait for it */
    pthread_cond_t quiet;    /* a shutdown waits for it: a thread has ended */
    np_list queue;           /* jobs that no thread has begun */
    np_list running;         /* jobs */
    np_list watchers;        /* jobs that wait for the end of all threads */
    np_list workers;         /* alive */
    np_list ended;           /* to be joined */
    bool closed;             /* takes no more jobs */
    bool orphaned;           /* the last user has gone: nobody joins */
    neap_pool_stats figures; /* of figures.threads: those that have not begun to end */
};

enum {
    NP_JOB_QUEUED = 0,
    NP_JOB_RUNNING,
    NP_JOB_OVER
};

struct neap_job {
    np_obj
        post; /* only its mail, type and loop, whose memory it keeps; without a loop nobody waits */
    np_list link;    /* in one of the pool's lists */
    neap_pool *pool; /* its memory */
    neap_future *f;  /* NULL: nobody waits any more */
    neap_job_fn fn;  /* NULL: it waits for the end of the threads */
    neap_job_finish_fn finish;
    void *user;
    neap_destroy_fn destroy;
    int64_t result;
    int64_t since;     /* when it was queued, then when it began */
    np_worker *worker; /* who runs it */
    uint8_t state;     /* NP_JOB_* */
    bool refused;      /* it has not run */
    bool named;        /* as left behind */
    atomic_bool unwanted;
    size_t size;
    char name[];
};

/* With an allocator, of which it takes a reference; the options are copied. */
int32_t np_pool_new(np_alloc *alloc, const neap_pool_options *options, neap_pool **ret_pool);

/* Puts a job into the queue: NEAP_PENDING.  A failure changes nothing. */
int32_t np_pool_add(neap_pool *pool, neap_job *job);

/* Lets a job wait for the end of all threads: 0 if there are none, or NEAP_PENDING. */
int32_t np_pool_watch(neap_pool *pool, neap_job *job);

/* Nobody wants the job any more; in the child after fork nothing happens.  What it was doing: one that had not begun is the
   caller's now, to be ended by np_job_end. */
uint8_t np_pool_take_back(neap_job *job);
uint8_t np_pool_state_of(neap_job *job);

/* Under the lock: jobs that are over without having run go over to `over`. */
void np_pool_refuse(np_list *jobs, np_list *over, int32_t result);
void np_pool_send_all_home(np_list *over); /* not under the lock */

/* Waits with the lock given up; false once that time has come. */
bool np_pool_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t when);

/* Under the lock: a new thread.  Errors: NEAP_ENOMEM, the system's. */
int32_t np_worker_new(neap_pool *pool);

/* Not under the lock: the end of threads that have left `workers`. */
void np_workers_join(neap_pool *pool, np_list *ended);

/* Marks all that run as unwanted. */
void np_pool_unwant(neap_pool *pool);

/* In a child after fork the locks and lists of a pool may be in any state; the references of threads and jobs that are not
   there any more keep its memory. */
static inline bool np_pool_forked(const neap_pool *pool) {
    return np_guard_forked(&pool->guard);
}

static inline void np_pool_keep(neap_pool *pool) {
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
}

void np_pool_let_go(neap_pool *pool);

/* A job that is over goes home; not under the lock. */
void np_job_send_home(neap_job *job);

/* The end of a job's memory. */
void np_job_end(neap_job *job);

/* The loop's pool of a kind, made when it is first used: borrowed while the loop keeps it. */
int32_t np_loop_pool(neap_loop *loop, int32_t which, neap_pool **ret_pool);

#endif
