/* loop.h: the loop: what is ready, what is scheduled, what is parked, and who belongs to it.

   Invariants
   - A ready node is in at most one list: a future's waiters, the ready queue, the running batch, the entries taken out by
     a host, or the events for pull mode.  `where` says in which.  Moving it allocates nothing, so waking can't fail.
   - User code runs only from the batch (np_run_batch), from neap_handle_run, and from close.
   - While `inside` is 0 the host may be asleep on the pollable descriptor: whoever makes work then nudges it. */
#ifndef NP_LOOP_H
#define NP_LOOP_H

#include "base/clock.h"
#include "base/guard.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/thread.h"
#include "core/object.h"
#include "io/backend.h"

typedef struct np_local np_local;
typedef struct np_inbuf np_inbuf;
typedef struct np_resolver np_resolver;

/* ---- What can be queued */

enum {
    NP_RUN_CALL = 1,
    NP_RUN_TASK,
    NP_RUN_WAITER
};
enum {
    NP_AT_NONE = 0,
    NP_AT_WAIT,
    NP_AT_READY,
    NP_AT_PULLED,
    NP_AT_EVENT
};

typedef struct np_ready {
    np_list link;
    uint8_t kind;  /* NP_RUN_*: what contains the node */
    uint8_t where; /* NP_AT_* */
    /* Of a call, whose other fields fill its cache lines. */
    uint8_t call; /* NP_CALL_* */
    bool active;  /* the call is to come, or to come again */
    bool cancelled;
    bool own_memory; /* not the pool's: a post */
} np_ready;

/* The runtime's own code waiting for a future; it runs between entries and no host sees it. */
typedef struct np_waiter np_waiter;
struct np_waiter {
    np_ready node;
    bool at_once; /* a future that hands something over fires it in the same call */
    void (*fire)(
        np_waiter *w); /* once the future is done; calls no user: it queues, settles and starts */
};

/* Something in the timers' heap. */
typedef struct np_timer np_timer;
struct np_timer {
    np_heap_node heap;
    /* Out of the heap already; may only queue, or start it again, which then cannot fail.  `ended`: the loop closes before
       it came due. */
    void (*due)(neap_loop *loop, np_timer *timer, bool ended);
};

/* ---- Hooks */

typedef struct np_hook {
    void *user;
    neap_destroy_fn destroy;
} np_hook;

typedef struct np_data np_data;

enum {
    NP_LOOP_POOLS = 3, /* NEAP_POOL_* */
    NP_SPARES = 8
};

/* A pool of threads that the loop uses; what it is, is the floor above's. */
typedef struct np_loop_pool_slot {
    neap_pool *pool; /* a reference, or NULL */
    bool own;        /* it ends with the loop */
} np_loop_pool_slot;

enum {
    NP_OPEN = 0,
    NP_CLOSING,
    NP_CLOSED,
    NP_CORRUPT
};

struct neap_loop {
    /* Threads other than the loop's touch only these. */
    atomic_uint refs;   /* users' references, plus 1 while there are objects */
    np_mailbox mail;    /* posts, and objects let go elsewhere */
    atomic_bool asleep; /* somebody has to write the wake descriptor for news to be seen */
    atomic_uint_least64_t signals; /* arrived, by bit signo - 1 */
    atomic_uchar life;             /* NP_OPEN ... */
    np_thread owner;
    np_guard guard;

    np_alloc *alloc;
    np_pool pool;
    np_io io;
    char *name;
    uint32_t flags;   /* NEAP_LOOP_* */
    uint64_t objects; /* objects whose memory is the pool's */

    /* Running. */
    atomic_uint inside; /* > 0: a run, turn, dispatch or single entry is under way */
    bool stopping;      /* end the run after this batch */
    bool interrupted;   /* a signal ended a wait, and the host wants to know */
    bool hosted;        /* a host has the pollable descriptor */
    bool in_batch;      /* entries are run, one after the other */
    int32_t raised;     /* code of neap_loop_raise */
    uint32_t holds;     /* by neap_loop_hold */
    uint32_t jobs; /* in pools of threads, whose end somebody waits for; what is done to files */
    int64_t now;   /* ns */
    int64_t settle_ns;      /* silence after which nothing is on its way between sockets */
    uint64_t shuffle;       /* state of the random order of batches; 0: in order */
    int64_t slow_ns;        /* report steps above it; NP_NEVER: none */
    uint8_t timed;          /* NP_TIMED_*: how step times are measured */
    uint64_t stamp;         /* counts when the last step, or what came between, ended */
    uint64_t origin_cycles; /* with origin_ns: what a count is worth */
    int64_t origin_ns;
    uint64_t notable;          /* a step of more counts is looked at */
    uint64_t longest;          /* counts of the longest step */
    uint64_t longest_batch;    /* of the longest batch */
    uint64_t busy;             /* of all batches */
    neap_task *current;        /* whose step runs */
    neap_future *step_awaited; /* what it was woken by; the step holds a reference */
    neap_handle *current_handle;
    np_local *context;   /* task-local values visible now */
    uint32_t step_spent; /* operations that the running step has noted */
    uint32_t turn_spent; /* and all steps of the turn */

    np_list ready;    /* FIFO of np_ready */
    np_list batch;    /* what the tick runs now */
    np_list internal; /* waiters of the runtime, run between entries, so that they cost no tick */
    np_list
        gathered; /* those that run together behind some entries of the batch that runs, or at its end */
    np_list pulled; /* taken out by neap_loop_next_ready */
    np_list events; /* for neap_loop_poll_completions */
    np_list
        lent_events; /* futures shown by the last neap_loop_poll_completions, by future.all; each holds a reference */
    np_heap timers;
    np_list blocked; /* futures of neap_wait_all_blocked, in the order in which they are served */
    np_list tasks;   /* live tasks in order of creation, by future.all */
    np_list background; /* tasks that serve the program and are no part of it, likewise */
    np_list futures;    /* other pending futures, by future.all */
    np_list
        failed; /* failed this tick with nobody to see it, by future.all; each holds a reference */
    np_list orphans;   /* done futures whose last reference goes, by future.all */
    bool burying;      /* those are being destroyed */
    np_list socks;     /* open sockets */
    np_list files;     /* open files */
    np_list file_jobs; /* what is done to files now */
    np_list servers;   /* that are not closed */
    np_list starved;   /* servers that lack descriptors or memory to accept */
    np_list watches;   /* readers and writers of raw descriptors */
    np_list signal_watches;
    np_list processes;        /* that run */
    np_list on_shutdown;      /* hooks, by np_ready.link */
    np_list shutdown_futures; /* who waits for one to begin */
    char *shutdown_reason;    /* or NULL */
    int64_t shutdown_at;      /* when it began */
    bool shutting_down;
    bool shutdown_heard; /* a hook or future was told and has not had its turn */
    uint64_t task_ids;
    uint64_t background_ids;
    np_data *data; /* by tag */

    neap_buf *lent;           /* see lent.h */
    neap_future *lent_future; /* whose value stands in lent memory, with a reference */
    np_inbuf *lent_in;        /* whose bytes stand there, or NULL */

    /* Left by the floors above. */
    void (*close_net)(neap_loop *loop); /* ends servers; NULL: there was none */
    void (*fd_freed)(neap_loop *loop);  /* somebody in `starved` may accept again */
    void (*close_sys)(neap_loop *loop); /* closes sockets, watches, signals, pools, processes */
    void (*on_signals)(neap_loop *loop, uint64_t bits); /* queues the watches of what arrived */
    neap_listeners *listeners; /* whose addresses its sockets share, or NULL */
    int32_t place;             /* among them */
    np_resolver *resolver;     /* that floor's; NULL: nobody has asked for a name */

    np_loop_pool_slot pools[NP_LOOP_POOLS];

    neap_report_fn on_report;
    np_hook report_hook;
    neap_log_fn on_log;
    np_hook log_hook;
    neap_fatal_fn on_fatal;
    np_hook fatal_hook;
    neap_trace_fn on_trace;
    np_hook trace_hook;
    neap_idle_fn on_idle;
    np_hook idle_hook;
    neap_task_factory_fn factory;
    np_hook factory_hook;
    bool user_taken; /* neap_task_new took (or destroyed) its user since the factory was called */

    uint64_t ticks, polls, blocked_polls, kernel_events, runs;
    int64_t late_last; /* ns, of the timer that came due last */
    int64_t late_longest;
    uint64_t late[NEAP_LATE_MAX]; /* timers by how late they were */
    char longest_what[NEAP_LONGEST_STEP_MAX];

    neap_buf *lent_from;         /* the memory in which the value of lent_future stands */
    neap_buf *spares[NP_SPARES]; /* small buffers, see inbuf.h */
    uint8_t spares_len;
    uint32_t fetchers; /* entries of the next batch that may fetch, see tick.c */
};

/* ---- Entering (every public function) */

/* For functions that only read: thread and process. */
static inline int32_t np_look(const neap_loop *loop) {
    if (np_unlikely(np_guard_forked(&loop->guard)))
        return NEAP_EFORKED;
    if (np_unlikely(np_thread_self() != loop->owner))
        return NEAP_EWRONGTHREAD;
    return 0;
}

int32_t np_life_code(const neap_loop *loop) NP_COLD;

/* For functions that start or change something: the loop is open, too. */
static inline int32_t np_enter(const neap_loop *loop) {
    int32_t rc = np_look(loop);
    if (rc == 0 && np_unlikely(atomic_load_explicit(&loop->life, memory_order_relaxed) != NP_OPEN))
        rc = np_life_code(loop);
    return rc;
}

/* For the functions that any thread may call. */
static inline int32_t np_enter_any(const neap_loop *loop) {
    if (np_unlikely(np_guard_forked(&loop->guard)))
        return NEAP_EFORKED;
    bool open = atomic_load_explicit(&loop->life, memory_order_relaxed) == NP_OPEN;
    return np_likely(open) ? 0 : np_life_code(loop);
}

/* ---- Memory of the loop */

static inline void np_loop_keep(neap_loop *loop) {
    atomic_fetch_add_explicit(&loop->refs, 1, memory_order_relaxed);
}

void np_loop_let_go(neap_loop *loop);

/* The calling thread may touch inner reference counts. */
bool np_loop_owns_objects(const neap_loop *loop);

/* ---- Waking */

void np_loop_wake_if_asleep(neap_loop *loop); /* any thread */

/* Work appeared: a host that sleeps on the descriptor must learn of it. */
static inline void np_loop_nudge(neap_loop *loop) {
    if (np_unlikely(loop->inside == 0 && loop->hosted))
        np_loop_wake_if_asleep(loop);
}

/* ---- The ready queue */

static inline void np_ready_init(np_ready *node, uint8_t kind) {
    np_list_init(&node->link);
    node->kind = kind;
    node->where = NP_AT_NONE;
}

static inline void np_enqueue(neap_loop *loop, np_ready *node) {
    node->where = NP_AT_READY;
    np_list_append(&loop->ready, &node->link);
    np_loop_nudge(loop);
}

static inline void np_enqueue_waiter(neap_loop *loop, np_waiter *w) {
    w->node.where = NP_AT_READY;
    np_list_append(&loop->internal, &w->node.link);
    np_loop_nudge(loop);
}

/* As np_enqueue_waiter, but others of its kind may come before it runs: what they do is quicker done in a row. */
static inline void np_enqueue_gathered(neap_loop *loop, np_waiter *w) {
    if (!loop->in_batch) {
        np_enqueue_waiter(loop, w);
        return;
    }
    w->node.where = NP_AT_READY;
    np_list_append(&loop->gathered, &w->node.link);
}

static inline void np_dequeue(np_ready *node) {
    np_list_unlink(&node->link);
    node->where = NP_AT_NONE;
}

/* ---- Timers */

void np_timer_init(np_timer *t, void (*due)(neap_loop *loop, np_timer *timer, bool ended));
int32_t np_timer_start(neap_loop *loop, np_timer *t, int64_t when);
void np_timer_move(neap_loop *loop, np_timer *t, int64_t when);
void np_timer_stop(neap_loop *loop, np_timer *t);

/* ---- The tick (tick.c) */

bool np_take_mail(neap_loop *loop); /* whether there was any */
void np_run_internal(neap_loop *loop);
void np_reap(neap_loop *loop); /* calls done of every completed operation */
int32_t np_poll(neap_loop *loop, int64_t timeout_ns);
void np_due_timers(neap_loop *loop);
int32_t np_run_batch(neap_loop *loop, uint32_t max);
void np_run_node(neap_loop *loop, np_ready *node);
int64_t np_timeout(neap_loop *loop);
int32_t np_tick(neap_loop *loop, int64_t timeout_max_ns);
bool np_loop_can_wake(neap_loop *loop);
bool np_loop_is_stuck(neap_loop *loop); /* nothing but a stop can end a wait */
void np_leave(neap_loop *loop);         /* the outermost run, turn or dispatch returns */
int32_t np_begin_turn(neap_loop *loop);

/* ---- Who waits for all to be blocked (blocked.c); there is one */

int64_t np_blocked_cushion(const neap_loop *loop);
void np_blocked_serve(neap_loop *loop);

/* ---- Reports and traces (report.c; stuck.c) */

void np_report_pending(neap_loop *loop); /* all tasks, when the loop closes */
void np_report_deadlock(neap_loop *loop, neap_future *future);

void np_report(neap_loop *loop, neap_report report) NP_COLD;
void np_report_failures(neap_loop *loop);
void np_report_failure(neap_loop *loop, neap_future *f, const char *text) NP_COLD;
void np_logf(neap_loop *loop, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void np_fatal(neap_loop *loop, const char *file, int32_t line, const char *text) NP_COLD;
void np_trace_emit(neap_loop *loop, int32_t kind, int64_t value, neap_task *task,
                   neap_future *future, neap_handle *handle) NP_COLD;
void np_hook_set(np_hook *hook, void *user, neap_destroy_fn destroy);

#define np_trace(loop, kind, value, task, future, handle)                       \
    do {                                                                        \
        if (np_unlikely((loop)->on_trace != NULL))                              \
            np_trace_emit((loop), (kind), (value), (task), (future), (handle)); \
    } while (0)

/* ---- Step times (steps.c): a step begins where the one before ended; what runs between steps and may take long, hooks of
   users and waiters of the runtime, is followed by a stamp so that no step is blamed for it.  The end of a task is not:
   each task has one, and reading the counter would be a good part of its cost.  A count is one of the processor's counter,
   or a nanosecond of a virtual clock. */

enum {
    NP_TIMED_NOT = 0,
    NP_TIMED_COUNTER,
    NP_TIMED_VIRTUAL
};

void np_stamp(neap_loop *loop);

void np_step_virtual(neap_loop *loop, uint64_t *total, neap_task *task,
                     neap_handle *handle) NP_COLD;
void np_step_look(neap_loop *loop, uint64_t spent, neap_task *task, neap_handle *handle) NP_COLD;

/* Adds the time of the step or callback to the total. */
static inline void np_step_end(neap_loop *loop, uint64_t *total, neap_task *task,
                               neap_handle *handle) {
    if (np_unlikely(loop->timed != NP_TIMED_COUNTER)) {
        np_step_virtual(loop, total, task, handle);
        return;
    }
    uint64_t now = np_cycles(), spent = now - loop->stamp;
    loop->stamp = now;
    *total += spent;
    if (np_unlikely(spent > loop->notable))
        np_step_look(loop, spent, task, handle);
}

void np_steps_watch(
    neap_loop *loop); /* the limit of slow steps, or the longest step, has changed */

void np_batch_ended(neap_loop *loop, uint64_t begun);
void np_timer_was_late(neap_loop *loop, int64_t ns);

/* ---- Background tasks (background.c) */

/* What only background tasks wait for: timers that have a deadline, and parked operations. */
typedef struct np_backstage {
    uint32_t timers;
    uint32_t operations;
} np_backstage;

np_backstage np_background_wakers(const neap_loop *loop);

/* Cancels them and gives them some turns; the rest is aborted. */
void np_background_end(neap_loop *loop);

/* ---- Shutting down (shutdown.c) */

/* Somebody waits for a signal to begin a shutdown. */
bool np_loop_awaits_shutdown(const neap_loop *loop);
void np_shutdown_forget(neap_loop *loop);

/* ---- Close (close.c) */

void np_loop_shut(neap_loop *loop, uint32_t flags);

/* ---- Task-local values (local.c) */

np_local *np_local_ref(np_local *local); /* NULL stays NULL */
void np_local_unref(neap_loop *loop, np_local *local);

/* ---- Data by tag (loop.c) */

void np_data_drop_all(neap_loop *loop);

#endif
