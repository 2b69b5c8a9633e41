/* neap.h: the public interface of neap, an asynchronous runtime: an event loop, futures, tasks, timers and
   socket operations behind opaque handles.

   Everything a client may use is in this file, in floor order: library, loop, handles and timers, futures,
   waiting for several, tasks, scopes, locks and channels, sockets, watches, signals, and what stands on these.

   Rules that hold for every function
   - Results: zero or a positive count is success, a negative code is a failure.  Failures of the system are
     -errno; neap's own start below -4000.  `errno` is never part of the contract.
   - Handles (neap_loop, neap_future, neap_sock and so on) are reference-counted.  A
     function that hands out a *new* reference says so; the caller ends it with the matching _unref.  *Borrowed*
     pointers stay valid until the stated event.  _ref and _unref accept any thread; _unref accepts NULL.
   - Implied errors of every function marked [L]: NEAP_EINVAL (a wrong argument), NEAP_ENOMEM,
     NEAP_ELOOP_CLOSED, NEAP_EWRONGTHREAD (called from a thread that is not the loop's), NEAP_EFORKED (called in
     a child after fork).  After a failure nothing has changed.
   - Out-parameters are named ret_x and are written only on success.
   - A callback travels as (function, user, destroy).  `destroy` may be NULL; it runs exactly once, after the last
     use of `user`, also when the call that took it fails.  Destroy hooks may call nothing of neap but _unref.
   - No function calls user code before it returns (destroy hooks excepted); callbacks run from the loop's batch.
   - Times are nanoseconds in int64_t, -1 stands for "never" where a timeout is asked for.

   Thread labels
   - [L] only on the loop's thread (checked in every build),  [M] any thread,  [S] also inside a signal handler.

   The model is Python's asyncio: loop, future, task, call_soon and friends mean what they mean there.  Starting
   calls answer like the WebAssembly component model's: a result at once, or NEAP_PENDING and a future. */
#ifndef NEAP_H
#define NEAP_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NEAP_API __attribute__((visibility("default")))
#else
#define NEAP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types --------------------------------------------------------------------------------------------- */

typedef struct neap_loop neap_loop; /* an event loop; belongs to one thread */
typedef struct neap_handle
    neap_handle; /* something queued or scheduled: a callback, a timer, a task's step */
typedef struct neap_future
    neap_future; /* an outcome that is there or will be: value, error, cancellation */
typedef struct neap_task neap_task; /* a future driven by a step function */
typedef struct neap_scope
    neap_scope;                     /* a region that is cancelled as a whole, or a group of tasks */
typedef struct neap_lock neap_lock; /* held by one task at a time */
typedef struct neap_sem neap_sem;   /* a semaphore */
typedef struct neap_event neap_event;             /* something that happens, or is undone */
typedef struct neap_chan neap_chan;               /* a bounded queue between tasks */
typedef struct neap_shared_chan neap_shared_chan; /* a bounded queue between threads */
typedef struct neap_cond neap_cond;               /* what tasks that share a lock wait for */
typedef struct neap_barrier neap_barrier;         /* where tasks wait for each other */
typedef struct neap_limiter neap_limiter;         /* tokens, of which a task has one */
typedef struct neap_sock neap_sock;               /* a socket, registered once with its loop */
typedef struct neap_stream neap_stream;           /* bytes in order, both ways, buffered */
typedef struct neap_process neap_process;         /* a child process */
typedef struct neap_file neap_file;               /* an open file, with a position of its own */
typedef struct neap_fs_watch neap_fs_watch;       /* what happens to files and directories */
typedef struct neap_buf neap_buf;                 /* immutable bytes with a reference count */
typedef struct neap_addrs neap_addrs;             /* what a name stands for, or an address */
typedef struct neap_pool neap_pool;               /* threads for what would block a loop */
typedef struct neap_job neap_job;                 /* a function that runs on a thread of a pool */
typedef struct neap_server neap_server;           /* listens, accepts, and knows its connections */
typedef struct neap_listeners
    neap_listeners; /* addresses that loops of several threads listen on together */

/* A file descriptor; wide enough for a Windows socket. */
typedef intptr_t neap_fd;

typedef void (*neap_fn)(void *user);
typedef void (*neap_destroy_fn)(void *user);
typedef void (*neap_future_fn)(neap_future *future, void *user);

/* The transparent structs are few.  Four are frozen: neap_addr, neap_iov, neap_process_fd, and neap_completion, which has a stride where arrays
   are passed.  All others only ever grow at their end, and begin with their size but for two: neap_msg has a stride, and
   neap_credentials is filled as far as the caller says. */

/* A socket address: `len` bytes of the system's struct sockaddr in `data`. */
typedef struct neap_addr {
    uint32_t family; /* NEAP_AF_* */
    uint32_t len;    /* bytes used in data */
    unsigned char data[128];
} neap_addr;

/* Bytes that are the caller's. */
typedef struct neap_iov {
    const void *data;
    size_t len;
} neap_iov;

/* ---- Codes --------------------------------------------------------------------------------------------- */

enum {
    NEAP_OK = 0,

    /* The system's, as -errno on Linux; the ones that programs compare with. */
    NEAP_EPERM = -1,
    NEAP_ENOENT = -2,
    NEAP_ESRCH = -3,
    NEAP_EINTR = -4,
    NEAP_E2BIG = -7,
    NEAP_EBADF = -9,
    NEAP_EAGAIN = -11,
    NEAP_ENOMEM = -12,
    NEAP_EACCES = -13,
    NEAP_EBUSY = -16,
    NEAP_EEXIST = -17,
    NEAP_ENOTDIR = -20,
    NEAP_EISDIR = -21,
    NEAP_EINVAL = -22,
    NEAP_EMFILE = -24,
    NEAP_EFBIG = -27,
    NEAP_ENOSPC = -28,
    NEAP_ESPIPE = -29,
    NEAP_EPIPE = -32,
    NEAP_ERANGE = -34,
    NEAP_EMSGSIZE = -90,
    NEAP_ENOTSUP = -95,
    NEAP_EADDRINUSE = -98,
    NEAP_EADDRNOTAVAIL = -99,
    NEAP_ECONNABORTED = -103,
    NEAP_ECONNRESET = -104,
    NEAP_EISCONN = -106,
    NEAP_ENOTCONN = -107,
    NEAP_ECONNREFUSED = -111,
    NEAP_ECANCELED = -125,

    /* neap's own. */
    NEAP_PENDING = -4000,       /* no failure: the result will come through the future */
    NEAP_ECLOSED = -4001,       /* the object was closed */
    NEAP_ELOOP_CLOSED = -4002,  /* the loop was closed */
    NEAP_EWRONGTHREAD = -4003,  /* the caller is not the loop's thread */
    NEAP_EREENTRANT = -4004,    /* a run, turn or dispatch inside a callback of the same loop */
    NEAP_EFORKED = -4005,       /* the loop belongs to the parent process */
    NEAP_ELOOP_RUNNING = -4006, /* the loop is running */
    NEAP_EOTHER_LOOP_RUNNING = -4007, /* this state runs another loop */
    NEAP_ESTOPPED_EARLY = -4008,      /* the loop was stopped before the future was done */
    NEAP_EDEADLOCK = -4009,           /* nothing can ever wake what is waited for */
    NEAP_EPENDING = -4010,            /* the future has no outcome yet */
    NEAP_EINVALID_STATE =
        -4011,             /* the object has its outcome already, or not the state for this call */
    NEAP_ETYPE = -4012,    /* a value of another type than asked for */
    NEAP_EVALUE = -4013,   /* a value of the right type that makes no sense */
    NEAP_ETIMEOUT = -4014, /* a deadline set by the program passed */
    NEAP_ETASK_OWNED = -4015,     /* only the task itself settles its future */
    NEAP_EOTHER_LOOP = -4016,     /* objects of two loops in one call */
    NEAP_EAWAIT_SELF = -4017,     /* a task cannot await itself */
    NEAP_EAWAIT_NOT_DONE = -4018, /* resumed before the awaited future was done */
    NEAP_EBAD_YIELD = -4019,      /* a task yielded something that cannot be waited for */
    NEAP_EBUSY_FD = -4020,        /* another waiter has this descriptor and direction */
    NEAP_ENO_LOOP = -4021,        /* no loop is running */
    NEAP_ENO_TASK = -4022,        /* waiting is possible only inside a task */
    NEAP_EALREADY_OWNED = -4023,  /* the coroutine belongs to a task already */
    NEAP_EFOREIGN = -4024,        /* an exception of another language; see neap_future_exception */
    NEAP_EGROUP = -4025,          /* one or more of several failed; each keeps its own error */
    NEAP_ENAME = -4026,           /* a host name where a numeric address is needed */
    NEAP_ENO_YIELD = -4027,       /* a wait below a function that cannot be suspended */
    NEAP_ECORRUPT = -4028,        /* an invariant broke; the loop refuses all further work */
    NEAP_EINCOMPLETE = -4029,     /* the end came before all that was wanted */
    NEAP_ELIMIT = -4030,          /* the limit came before the delimiter or the end */

    /* Of lookups. */
    NEAP_ENAME_BAD = -4031,         /* no host name: see neap_getaddrinfo */
    NEAP_ENAME_NOT_FOUND = -4032,   /* no such name, says who must know */
    NEAP_ENAME_NO_ADDRESS = -4033,  /* the name exists, without what was asked for */
    NEAP_ENAME_TEMPORARY = -4034,   /* no server answered, or each said that it failed: try later */
    NEAP_ENAME_FAILED = -4035,      /* an answer that makes no sense: trying again will not help */
    NEAP_ESERVICE_NOT_FOUND = -4036 /* no service of this name is known */
};

/* ---- Library ------------------------------------------------------------------------------------------- */

/* The version of the library as major * 10000 + minor * 100 + patch.
   [S] */
NEAP_API int32_t neap_version(void);

/* 1 if the library was built with the named feature ("epoll", "poll", "io_uring"), else 0.
   [S] */
NEAP_API int32_t neap_has(const char *feature);

/* A sentence for a code: static, never NULL.
   [S] */
NEAP_API const char *neap_strerror(int32_t code);

/* The C name of a code without its prefix ("ECONNREFUSED", "ETIMEOUT"): static, never NULL.
   [S] */
NEAP_API const char *neap_err_name(int32_t code);

/* The name that scripting languages show: the system's own names for system errors ("ECONNREFUSED"), lower-case
   words for neap's ("timeout", "closed"): static, never NULL.
   [S] */
NEAP_API const char *neap_err_word(int32_t code);

/* Memory functions.  `alloc`, `realloc` and `free` get `ctx` first; `realloc` and `free` get the old size.  All may
   be called from any thread that posts to the loop.  A failed allocation returns NULL. */
typedef struct neap_allocator {
    size_t size; /* sizeof(neap_allocator) */
    void *ctx;
    void *(*alloc)(void *ctx, size_t n);
    void *(*realloc)(void *ctx, void *p, size_t old, size_t n);
    void (*free)(void *ctx, void *p, size_t n);
} neap_allocator;

/* Bytes with a reference count: a copy of `len` bytes at `data` (NULL: uninitialised) from the loop's allocator.
   Returns a new reference in *ret_buf.
   [M] */
NEAP_API int32_t neap_buf_new(neap_loop *loop, const void *data, size_t len, neap_buf **ret_buf);

/* The bytes of a buffer: borrowed while the buffer lives.
   [M] */
NEAP_API void *neap_buf_data(const neap_buf *buf);

/* The length of a buffer in bytes.
   [M] */
NEAP_API size_t neap_buf_len(const neap_buf *buf);

/* Takes another reference; returns buf.
   [M] */
NEAP_API neap_buf *neap_buf_ref(neap_buf *buf);

/* Ends a reference.
   [M] */
NEAP_API void neap_buf_unref(neap_buf *buf);

enum {
    NEAP_AF_UNSPEC = 0,
    NEAP_AF_UNIX = 1,
    NEAP_AF_INET = 2,
    NEAP_AF_INET6 = 10
};

/* Reads a numeric address: "1.2.3.4:80", "[::1]:80" (with an optional zone), a path with a slash, "unix:PATH", or
   "@abstract".
   Errors: NEAP_ENAME if the host part is a name, NEAP_EVALUE if the text is none of these or too long.
   [S] */
NEAP_API int32_t neap_addr_parse(const char *text, neap_addr *ret_addr);

/* Writes the address as text that neap_addr_parse reads, cut to `cap` bytes with a final zero; "" for an unnamed
   Unix socket.  Returns the length of the whole text.
   [S] */
NEAP_API int32_t neap_addr_format(const neap_addr *addr, char *buf, size_t cap);

/* The port of an IP address, 0 of others.
   [S] */
NEAP_API int32_t neap_addr_port(const neap_addr *addr);

/* ---- Loop: life ---------------------------------------------------------------------------------------- */

enum {
    NEAP_LOOP_DEBUG = 1, /* record creation sites, report swallowed cancellations */
    NEAP_LOOP_VIRTUAL_CLOCK =
        2, /* time starts at 0 and jumps to the next deadline when nothing else can happen */
    NEAP_LOOP_STEP_TIMES =
        4, /* measure step times also where the processor has no invariant counter */
    NEAP_LOOP_EINTR =
        8 /* runs return NEAP_EINTR after a signal interrupted a wait; call again to go on */
};

typedef struct neap_loop_options {
    size_t size;                     /* sizeof(neap_loop_options) */
    const neap_allocator *allocator; /* copied; NULL: malloc */
    const char *backend; /* "epoll", "poll", "io_uring", or NULL: the library's choice */
    const char *name;    /* copied; for reports; NULL: "loop" */
    uint32_t flags;      /* NEAP_LOOP_* */
    uint32_t events_max; /* kernel events taken in one poll; 0: 256 */
    int64_t slow_ns;     /* report steps and callbacks that take longer; 0: 100 ms, -1: never */
    uint64_t
        shuffle_seed; /* for tests: each batch runs in random order, the same for the same seed; 0: in order */
    int64_t
        settle_ns; /* real time without news after which nothing is on its way between sockets; 0: 1 ms, -1: none */
} neap_loop_options;

/* Makes a loop that belongs to the calling thread.  `options` may be NULL.  Returns a new reference.
   Errors: NEAP_ENOTSUP for a backend that is unknown or that this machine refuses, NEAP_E2BIG for options from the
   future, the system's.
   [M] */
NEAP_API int32_t neap_loop_new(const neap_loop_options *options, neap_loop **ret_loop);

/* Takes another reference; returns loop.
   [M] */
NEAP_API neap_loop *neap_loop_ref(neap_loop *loop);

/* Ends a reference.  The last one of an open loop closes it silently and must then be ended on the loop's thread.
   Memory stays until every object of the loop is gone.
   [M] */
NEAP_API void neap_loop_unref(neap_loop *loop);

enum {
    NEAP_CLOSE_SILENT = 1
};

/* Ends all activity: sockets are closed, pending operations complete with NEAP_ECLOSED and their callbacks run once,
   suspended tasks are reported, aborted (`destroy` of their ops) and end as cancelled, queued callbacks and timers
   are dropped.  With NEAP_CLOSE_SILENT only destroy hooks run and nothing is reported.  Idempotent.
   Errors: NEAP_ELOOP_RUNNING inside run, turn or dispatch.
   [L] */
NEAP_API int32_t neap_loop_close(neap_loop *loop, uint32_t flags);

/* For the child after fork: frees what the loop holds and closes its descriptors without touching what parent and
   child share; only destroy hooks run.  Legal in the parent too, where it equals a silent close.
   [L] (but never NEAP_EFORKED) */
NEAP_API int32_t neap_loop_abandon(neap_loop *loop);

/* Gives an idle loop to the calling thread.
   Errors: NEAP_ELOOP_RUNNING.  The hand-over itself (nobody else uses the loop meanwhile) is the caller's duty.
   [M] */
NEAP_API int32_t neap_loop_bind_thread(neap_loop *loop);

/* 1 if the calling thread is the loop's.
   [M] */
NEAP_API int32_t neap_loop_in_thread(const neap_loop *loop);

/* 1 while a run, turn or dispatch of the loop is under way.
   [M] */
NEAP_API int32_t neap_loop_is_running(const neap_loop *loop);

/* 1 once the loop was closed.
   [M] */
NEAP_API int32_t neap_loop_is_closed(const neap_loop *loop);

/* The loop's name: borrowed while the loop lives.
   [M] */
NEAP_API const char *neap_loop_name(const neap_loop *loop);

/* The name of the backend in use: "epoll", "poll" or "io_uring".
   [M] */
NEAP_API const char *neap_loop_backend(const neap_loop *loop);

/* Keeps a pointer for a binding under `tag` (compared by address).  A second set replaces; ptr NULL removes.
   `destroy` runs at replacement or when the loop's memory goes.
   [L] */
NEAP_API int32_t neap_loop_set_data(neap_loop *loop, const void *tag, void *ptr,
                                    neap_destroy_fn destroy);

/* The pointer kept under `tag`, or NULL.
   [L] */
NEAP_API void *neap_loop_get_data(neap_loop *loop, const void *tag);

/* ---- Loop: running ------------------------------------------------------------------------------------- */

/* One tick: posted work -> poll -> completions of I/O -> due timers -> the batch of what is ready.  What the batch
   makes ready runs in the next tick.  Runs ticks until neap_loop_stop; the flag is cleared on return.
   Returns 0, or the code given to neap_loop_raise.
   Errors: NEAP_EREENTRANT.
   [L] */
NEAP_API int32_t neap_loop_run(neap_loop *loop);

/* Runs until `future` is done.  The caller reads the outcome from the future.
   Errors: NEAP_ESTOPPED_EARLY if stopped before that (the future stays pending), NEAP_EDEADLOCK if nothing is ready,
   scheduled, parked or held that could ever complete it, NEAP_EOTHER_LOOP, NEAP_EREENTRANT, or the code given to
   neap_loop_raise.
   [L] */
NEAP_API int32_t neap_loop_run_until(neap_loop *loop, neap_future *future);

/* What a run may take; 0: as much as it wants. */
typedef struct neap_limits {
    size_t size;     /* sizeof(neap_limits) */
    int64_t time_ns; /* of the loop's time */
    int64_t real_ns; /* of real time; looked at between ticks where the loop's clock is virtual */
    uint64_t ticks;
} neap_limits;

/* As neap_loop_run_until, within limits.
   Errors: as well NEAP_ETIMEOUT if one was reached first (the future stays pending), NEAP_E2BIG for limits from the future.
   [L] */
NEAP_API int32_t neap_loop_run_within(neap_loop *loop, neap_future *future,
                                      const neap_limits *limits);

/* One tick that waits at most `timeout_ns` for something to happen (0: not at all, -1: for ever).  It does not wait when an
   outcome has just come from another thread, so futures can be looked at between ticks.  Returns the number of callbacks and
   steps run.
   [L] */
NEAP_API int32_t neap_loop_run_once(neap_loop *loop, int64_t timeout_ns);

/* Ends the current run after the current batch; before a run: after its first tick, which does not wait.
   [L] */
NEAP_API int32_t neap_loop_stop(neap_loop *loop);

/* Ends the current run right after the current callback or step; the rest of the batch stays queued for the next
   run.  The run returns `code` (not 0).
   Errors: NEAP_EINVAL if code is 0, NEAP_EINVALID_STATE if nothing runs.
   [L] */
NEAP_API int32_t neap_loop_raise(neap_loop *loop, int32_t code);

/* The loop's time in ns, read once per tick: monotonic, or virtual.
   [L] */
NEAP_API int64_t neap_loop_time(neap_loop *loop);

/* Reads the clock anew and returns it.
   [L] */
NEAP_API int64_t neap_loop_update_time(neap_loop *loop);

/* Moves a virtual clock forward by `ns`; timers become due at the next tick.
   Errors: NEAP_ENOTSUP on a real clock.
   [L] */
NEAP_API int32_t neap_loop_advance(neap_loop *loop, int64_t ns);

/* Says that the host holds work which will wake the loop later (so that waiting is no deadlock); counted.
   [L] */
NEAP_API int32_t neap_loop_hold(neap_loop *loop);

/* Takes one hold back.
   Errors: NEAP_EINVALID_STATE if there is none.
   [L] */
NEAP_API int32_t neap_loop_release(neap_loop *loop);

/* 1 if anything is ready, scheduled, parked, watched or held, else 0.
   [L] */
NEAP_API int32_t neap_loop_alive(neap_loop *loop);

/* ---- Loop: shutting down ------------------------------------------------------------------------------- */

enum {
    NEAP_SHUTDOWN_STOP = 1,   /* intake stops; tasks may end by themselves */
    NEAP_SHUTDOWN_CANCEL = 2, /* tasks are cancelled and may clean up */
    NEAP_SHUTDOWN_ABORT = 3,  /* what is left is aborted; only if there is something */
    NEAP_SHUTDOWN_DONE = 4,   /* no task is left */
    NEAP_SHUTDOWN_WAITING = 5 /* once a second while a step waits for tasks */
};

/* What is told of a shutdown; borrowed for the call. */
typedef struct neap_shutdown_step {
    size_t size;
    int32_t step;       /* NEAP_SHUTDOWN_* */
    int32_t tasks;      /* that are alive */
    int64_t elapsed_ns; /* of the loop's time since the shutdown began */
    int64_t limit_ns;   /* how long the step may last */
    const char
        *text; /* all that as a line, with the names of up to ten tasks; it goes to the log, too */
} neap_shutdown_step;

typedef void (*neap_shutdown_fn)(neap_loop *loop, const neap_shutdown_step *step, void *user);

typedef struct neap_shutdown_options {
    size_t size; /* sizeof(neap_shutdown_options) */
    int64_t
        stop_grace_ns; /* how long tasks may end by themselves before they are cancelled, counted from the
                              beginning; 0: 10 s if a hook or future waited for the shutdown, else none; -1: none */
    int64_t grace_ns; /* how long cancelled tasks may clean up; 0: 5 s, -1: not at all */
    neap_task *
        first; /* cancelled first, the others when it has ended or its time is over; NULL: all at once */
    neap_shutdown_fn fn; /* told of each step; it may not run the loop; may be NULL */
    void *user;
} neap_shutdown_options;

/* Says that the loop shuts down, and why (copied, may be NULL): queues the hooks of neap_loop_on_shutdown and completes
   the futures of neap_loop_shutdown_begun.  Nothing else happens until the host calls neap_loop_shutdown.  Returns 1, or
   0 if a shutdown had begun.
   [L] */
NEAP_API int32_t neap_loop_begin_shutdown(neap_loop *loop, const char *reason);

/* 1 from the beginning of a shutdown to its end.
   [L] */
NEAP_API int32_t neap_loop_shutting_down(neap_loop *loop);

/* Queues fn(user) when a shutdown begins, once, in order of registration: to close what takes in new work.  During a
   shutdown it is queued now.  fn NULL, ret_handle: as in neap_call_soon.
   [L] */
NEAP_API int32_t neap_loop_on_shutdown(neap_loop *loop, neap_fn fn, void *user,
                                       neap_destroy_fn destroy, neap_handle **ret_handle);

/* Answers 0 during a shutdown; else NEAP_PENDING with a new reference in *ret_future, which completes when one begins.
   While a signal is watched, who waits for it is no deadlock.
   [L] */
NEAP_API int32_t neap_loop_shutdown_begun(neap_loop *loop, neap_future **ret_future);

/* Runs the loop until no task is left, in steps: intake stops (neap_loop_begin_shutdown, if nobody has called it) -> the
   stop grace -> all tasks are cancelled, also those that are spawned meanwhile -> the grace -> what is left is aborted:
   reported, its ops destroyed, its future cancelled.  A grace ends early when no task is left or none can be woken.
   neap_loop_raise ends both graces: each task is still cancelled and gets one turn.  `options` may be NULL.  Returns the
   number of aborted tasks; afterwards the loop can be used as before.
   Errors: NEAP_EREENTRANT, NEAP_E2BIG for options from the future.
   [L] */
NEAP_API int32_t neap_loop_shutdown_with(neap_loop *loop, const neap_shutdown_options *options);

/* As neap_loop_shutdown_with, without a stop grace and with a grace of `grace_ns` (0: none).
   [L] */
NEAP_API int32_t neap_loop_shutdown(neap_loop *loop, int64_t grace_ns);

/* ---- Loop: inside a host's own loop -------------------------------------------------------------------- */

/* A descriptor that is readable exactly when a turn is due: for I/O, timers, posts, the ready queue, and calls made
   from outside a turn.  Poll it for reading, then call neap_loop_run_once(loop, 0), or prepare, wait(0), dispatch.
   Borrowed; made for polling only.
   Errors: NEAP_ENOTSUP on a backend without one.
   [L] */
NEAP_API int32_t neap_loop_fd(neap_loop *loop);

/* The time of the next timer in *ret_when; returns 1, or 0 if no timer is pending.
   [L] */
NEAP_API int32_t neap_loop_next_deadline(neap_loop *loop, int64_t *ret_when);

/* First of three phases for hosts that wait themselves: takes posts, writes into *ret_timeout how long a wait may last
   in ns (-1: no limit).  Returns 1 if work is ready now or a post has settled something (timeout 0), else 0.
   [L] */
NEAP_API int32_t neap_loop_prepare(neap_loop *loop, int64_t *ret_timeout);

/* Second phase: collects what the kernel has, waiting at most `timeout_ns`; runs no user code.  An interrupted wait
   returns early.  Returns the number of kernel events.
   [L] */
NEAP_API int32_t neap_loop_wait(neap_loop *loop, int64_t timeout_ns);

/* Third phase: due timers, then the batch of what is ready, at most `max` entries (0: no limit).  Returns how many ran.
   [L] */
NEAP_API int32_t neap_loop_dispatch(neap_loop *loop, uint32_t max);

/* Takes the oldest ready entry out for the caller to run: *ret_handle is a new reference that must be passed to
   neap_handle_run exactly once.  Returns 1, or 0 if nothing is ready.  With it a host can keep a queue of its own.
   [L] */
NEAP_API int32_t neap_loop_next_ready(neap_loop *loop, neap_handle **ret_handle);

/* Runs an entry from neap_loop_next_ready (or does nothing if it was cancelled meanwhile) and ends the reference.
   Errors: NEAP_EINVALID_STATE if it was not taken out.
   [L] */
NEAP_API int32_t neap_handle_run(neap_handle *handle);

/* A completion taken in batches instead of by callback. */
typedef struct neap_completion {
    uint32_t kind;   /* NEAP_COMPLETION_* */
    int32_t wake;    /* of a task: NEAP_WAKE_* */
    uint64_t cookie; /* the `user` given at registration */
    void *object;    /* the neap_future or neap_task; borrowed until the next poll_completions */
} neap_completion;

enum {
    NEAP_COMPLETION_CALL = 1,
    NEAP_COMPLETION_FUTURE = 2,
    NEAP_COMPLETION_TASK = 3
};

/* One tick, then takes up to `cap` completions of everything that was registered with a NULL function (and of tasks
   without a step) into `ev`, entries `stride` bytes apart.  Returns how many.  Does not wait if some are left over.
   [L] */
NEAP_API int32_t neap_loop_poll_completions(neap_loop *loop, neap_completion *ev, size_t stride,
                                            size_t cap, int64_t timeout_ns);

/* ---- Loop: from other threads -------------------------------------------------------------------------- */

/* Queues fn(user) to run on the loop's thread, in order of posting.
   Errors: NEAP_ELOOP_CLOSED, NEAP_ENOMEM.
   [M] */
NEAP_API int32_t neap_loop_post(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy);

/* Makes a waiting loop turn once.
   [S] */
NEAP_API int32_t neap_loop_wake(neap_loop *loop);

/* ---- Loop: hooks and figures --------------------------------------------------------------------------- */

enum {
    NEAP_REPORT_CALLBACK = 1,  /* a callback failed (neap_loop_fail) */
    NEAP_REPORT_UNHANDLED = 2, /* a task or future failed and nobody awaits it */
    NEAP_REPORT_PENDING = 3,   /* a task was destroyed while it waited */
    NEAP_REPORT_SLOW = 4,      /* a step or callback took longer than the limit */
    NEAP_REPORT_SWALLOWED = 5, /* a task went on after a cancellation (debug) */
    NEAP_REPORT_ABORTED = 6,   /* a task outlived its grace */
    NEAP_REPORT_DEADLOCK = 7,  /* run_until found nothing that could wake it */
    NEAP_REPORT_LEFT = 8,      /* a job of a pool outlived its loop */
    NEAP_REPORT_SHORTAGE = 9   /* a server lacks descriptors or memory to accept */
};

/* What the error hook gets; borrowed for the call. */
typedef struct neap_report {
    size_t size;
    int32_t kind;              /* NEAP_REPORT_* */
    int32_t code;              /* the failure's code, or 0 */
    const char *message;       /* never NULL */
    neap_future *future;       /* the future or task's future concerned, or NULL */
    neap_task *task;           /* the task concerned, or NULL */
    neap_handle *handle;       /* the entry that was being run, or NULL */
    int64_t elapsed_ns;        /* of a slow step */
    const void *exception_tag; /* a foreign exception: its tag and pointer, or NULL */
    void *exception;
    const char *where; /* of a slow step: where it suspended, as ops->describe says, or NULL */
} neap_report;

typedef void (*neap_report_fn)(neap_loop *loop, const neap_report *report, void *user);

/* Sets who hears of failures that nobody awaits; NULL: nobody.  The hook may not run the loop.
   [L] */
NEAP_API int32_t neap_loop_set_error_hook(neap_loop *loop, neap_report_fn fn, void *user,
                                          neap_destroy_fn destroy);

/* Reports a failure of the callback that is running (NEAP_REPORT_CALLBACK) through the error hook.  The exception
   (tag, pointer) is borrowed for the call.
   [L] */
NEAP_API int32_t neap_loop_fail(neap_loop *loop, int32_t code, const char *message, const void *tag,
                                void *exception);

enum {
    NEAP_LOG_DEBUG = 0,
    NEAP_LOG_INFO = 1,
    NEAP_LOG_WARNING = 2,
    NEAP_LOG_ERROR = 3
};

typedef void (*neap_log_fn)(neap_loop *loop, int32_t level, const char *text, void *user);

/* Sets who gets log lines (for example: how long polls took); NULL: nobody.
   [L] */
NEAP_API int32_t neap_loop_set_log_hook(neap_loop *loop, neap_log_fn fn, void *user,
                                        neap_destroy_fn destroy);

typedef void (*neap_fatal_fn)(neap_loop *loop, const char *file, int32_t line, const char *text,
                              void *user);

/* Sets who hears of a broken invariant; afterwards every call answers NEAP_ECORRUPT.  The library never aborts.
   [L] */
NEAP_API int32_t neap_loop_set_fatal_hook(neap_loop *loop, neap_fatal_fn fn, void *user,
                                          neap_destroy_fn destroy);

/* Each comes exactly once, in the order in which things happen:
   - around a poll: POLL, POLLED, and then one IO for each operation that the kernel has ended;
   - a task: SPAWN, then for each step STEP, what the step does, and one of SUSPEND, YIELD, DONE; DONE without a step before it
     if it was cancelled before its first, or aborted.  Between two steps there is a WAKE if the awaited future had to be
     waited for (more than one only for a lent receive that found nothing when its turn came).  A task that is driven
     through neap_loop_poll_completions has only SPAWN, WAKE and what its answers say;
   - a callback: CALL, what it does, CALLED. */
enum {
    NEAP_TRACE_POLL = 1,     /* about to poll; value: timeout in ns, -1 for ever */
    NEAP_TRACE_POLLED = 2,   /* back from poll; value: kernel events, or a code */
    NEAP_TRACE_READY = 3,    /* a descriptor became ready; value: the descriptor */
    NEAP_TRACE_IO = 4,       /* an operation moved its data or failed; value: result */
    NEAP_TRACE_SETTLE = 5,   /* a future got its outcome; value: its state */
    NEAP_TRACE_WAKE = 6,     /* a task was queued because what it awaits is done */
    NEAP_TRACE_SPAWN = 7,    /* a task was made */
    NEAP_TRACE_STEP = 8,     /* a task's step begins; value: NEAP_WAKE_* */
    NEAP_TRACE_SUSPEND = 9,  /* a step ended in a wait; future: on what */
    NEAP_TRACE_YIELD = 10,   /* a step ended in a bare yield */
    NEAP_TRACE_DONE = 11,    /* a task ended; value: its state */
    NEAP_TRACE_CALL = 12,    /* a callback begins */
    NEAP_TRACE_RUN_END = 13, /* a run, turn or dispatch returns */
    NEAP_TRACE_CALLED = 14   /* a callback ended */
};

/* What the trace hook gets; borrowed for the call. */
typedef struct neap_trace {
    size_t size;
    int32_t kind; /* NEAP_TRACE_* */
    int64_t value;
    neap_task *task;
    neap_future *future;
    neap_handle *handle;
    neap_task *current; /* whose step is running: who spawns, wakes, settles; or NULL */
    int64_t time_ns;    /* of the monotonic clock, or of the loop's virtual one */
} neap_trace;

typedef void (*neap_trace_fn)(neap_loop *loop, const neap_trace *trace, void *user);

/* Sets who watches each movement of the loop; NULL: nobody, at the price of one test.  The hook may only take notes: it
   must not call the loop.
   [L] */
NEAP_API int32_t neap_loop_set_trace_hook(neap_loop *loop, neap_trace_fn fn, void *user,
                                          neap_destroy_fn destroy);

/* Answers how long the loop may wait before it asks again, in ns; -1: for as long as nothing happens, and then it asks
   before the next wait. */
typedef int64_t (*neap_idle_fn)(neap_loop *loop, int32_t quiet, void *user);

/* Sets what is called when a run or turn has nothing to do and would wait for longer than no time, as a callback is; NULL:
   nothing.  `quiet`: the time that the last answer allowed has gone by, and nothing happened in it.  Work that can wait,
   such as collecting garbage, asks for some silence first and is done in small parts, each followed by the answer 0, so
   that what happens meanwhile comes first.  Not called with a virtual clock, nor where a host watches neap_loop_fd.
   Like libuv's prepare and idle handles in one.
   [L] */
NEAP_API int32_t neap_loop_set_idle_hook(neap_loop *loop, neap_idle_fn fn, void *user,
                                         neap_destroy_fn destroy);

/* Turns debug mode on (1) or off (0); -1 only asks.  Returns the former setting.
   [L] */
NEAP_API int32_t neap_loop_debug(neap_loop *loop, int32_t on);

/* Sets the limit above which a step or callback is reported as slow; -1: never.
   [L] */
NEAP_API int32_t neap_loop_set_slow(neap_loop *loop, int64_t slow_ns);

enum {
    NEAP_LONGEST_STEP_MAX = 128,
    NEAP_LATE_MAX = 24
};

typedef struct neap_metrics {
    size_t size;
    uint64_t ticks;         /* ticks since the loop was made */
    uint64_t polls;         /* calls of the kernel's poll */
    uint64_t blocked_polls; /* of those, with a timeout other than 0 */
    uint64_t events;        /* kernel events taken */
    uint64_t runs;          /* callbacks and steps run */
    uint64_t registrations; /* changes of the kernel's interest set */
    uint64_t ready;         /* entries in the ready queue now */
    uint64_t timers;        /* timers pending now */
    uint64_t tasks;         /* live tasks now */
    uint64_t futures;       /* pending futures now, tasks not counted */
    uint64_t operations;    /* I/O operations parked now */
    uint64_t socks;         /* open sockets now */
    uint64_t objects;       /* objects that hold the loop's memory now */
    uint64_t bytes;         /* bytes allocated now through the allocator */
    uint64_t blocks;        /* blocks allocated now through the allocator */
    uint64_t allocations;   /* allocations since the loop was made */
    /* Times in ns; those of steps are 0 where they are not measured (NEAP_LOOP_STEP_TIMES). */
    int64_t elapsed_ns;       /* since the loop was made */
    int64_t busy_ns;          /* in callbacks and steps; the rest is waiting and the kernel's */
    int64_t longest_batch_ns; /* of one tick: so long nothing else had its turn */
    int64_t longest_step_ns;  /* of one callback or step */
    /* The task of the longest step and where it suspended, or "a callback". */
    char longest_step[NEAP_LONGEST_STEP_MAX];
    int64_t late_last_ns;    /* how late the timer was that came due last */
    int64_t late_longest_ns; /* how late any was */
    /* Timers by how late they were: [0] less than 1 us, [n] less than 2^n us, and all above in the last. */
    uint64_t late[NEAP_LATE_MAX];
} neap_metrics;

/* Fills at most `size` bytes of *out; returns the number of bytes that are valid.
   [L] */
NEAP_API int32_t neap_loop_metrics(neap_loop *loop, neap_metrics *out, size_t size);

/* Takes the next piece of a text: `len` bytes, without a final zero.  May call nothing of neap but functions that only ask. */
typedef void (*neap_write_fn)(const char *text, size_t len, void *user);

enum {
    NEAP_TREE_STACKS = 1,    /* with the stacks that ops->stack knows */
    NEAP_TREE_BACKGROUND = 2 /* with background tasks */
};

/* Writes the live tasks as a tree, each once, in time and size that grow with their number: a task stands below the one
   whose group it was spawned into.  A line says its name and number, what it waits for or does, where, where it was
   spawned, its steps and their time; lines below it, the scopes that it is inside of.  At the end come the rings of tasks
   that wait for each other.  The text is for people: programs ask neap_task_walk and what stands beside it.
   Errors: NEAP_ENOMEM; then what was written is not all.
   [L] */
NEAP_API int32_t neap_loop_write_tree(neap_loop *loop, uint32_t flags, neap_write_fn write,
                                      void *user);

/* ---- Handles and timers -------------------------------------------------------------------------------- */

/* Queues fn(user) for the next batch, in order.  ret_handle may be NULL; else it receives a new reference.
   With fn NULL the completion goes to neap_loop_poll_completions, `user` is the cookie.
   [L] */
NEAP_API int32_t neap_call_soon(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy,
                                neap_handle **ret_handle);

/* Schedules fn(user) once, `delay_ns` from the loop's time (negative counts as 0).  Equal deadlines run in order of
   creation.  ret_handle as in neap_call_soon.
   [L] */
NEAP_API int32_t neap_call_later(neap_loop *loop, int64_t delay_ns, neap_fn fn, void *user,
                                 neap_destroy_fn destroy, neap_handle **ret_handle);

/* Schedules fn(user) once, at `when_ns` of the loop's time.
   [L] */
NEAP_API int32_t neap_call_at(neap_loop *loop, int64_t when_ns, neap_fn fn, void *user,
                              neap_destroy_fn destroy, neap_handle **ret_handle);

/* Calls fn(user) first after `first_ns`, then each `interval_ns` (> 0) without drift; ticks missed while the loop was
   busy are skipped, not made up.
   [L] */
NEAP_API int32_t neap_call_every(neap_loop *loop, int64_t first_ns, int64_t interval_ns, neap_fn fn,
                                 void *user, neap_destroy_fn destroy, neap_handle **ret_handle);

/* Moves a timer to `delay_ns` from now; from its own callback it makes it fire again.
   Errors: NEAP_EINVALID_STATE if it has fired, is cancelled, or is no timer.
   [L] */
NEAP_API int32_t neap_handle_reset(neap_handle *handle, int64_t delay_ns);

/* Prevents the call.  Returns 1 if it was still to come, 0 if it ran or was cancelled already.
   [L] */
NEAP_API int32_t neap_handle_cancel(neap_handle *handle);

/* 1 if the handle was cancelled.
   [L] */
NEAP_API int32_t neap_handle_cancelled(neap_handle *handle);

/* The deadline of a timer in ns of the loop's time, or NEAP_EINVAL for what is no timer.
   [L] */
NEAP_API int64_t neap_handle_when(neap_handle *handle);

/* Gives the handle a text for reports: copied.
   [L] */
NEAP_API int32_t neap_handle_set_name(neap_handle *handle, const char *name);

/* Writes a line about the handle (kind, name, state), cut to `cap` bytes with a final zero.  Returns the whole length.
   [L] */
NEAP_API int32_t neap_handle_describe(neap_handle *handle, char *buf, size_t cap);

/* Takes another reference; returns handle.
   [M] */
NEAP_API neap_handle *neap_handle_ref(neap_handle *handle);

/* Ends a reference; the call still happens.
   [M] */
NEAP_API void neap_handle_unref(neap_handle *handle);

/* ---- Futures ------------------------------------------------------------------------------------------- */

enum {
    NEAP_STATE_PENDING = 0,
    NEAP_STATE_RESULT = 1,
    NEAP_STATE_ERROR = 2,
    NEAP_STATE_CANCELLED = 3
};

enum {
    NEAP_KIND_NONE = 0,
    NEAP_KIND_INT = 1,    /* int64_t */
    NEAP_KIND_DOUBLE = 2, /* double */
    NEAP_KIND_BOOL = 3,   /* 0 or 1 */
    NEAP_KIND_BYTES = 4,  /* pointer and length */
    NEAP_KIND_PTR = 5,    /* tag and pointer of a binding */
    NEAP_KIND_SOCK = 6,   /* a neap_sock */
    NEAP_KIND_LIST = 7,   /* the futures given to gather or wait */
    NEAP_KIND_FILE = 8    /* a neap_file */
};

/* Makes a pending future.  Its outcome is set once: by a setter, an error or a cancel; the first wins, later ones answer
   NEAP_EINVALID_STATE.  Setting an outcome queues the waiters and calls nobody.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_future_new(neap_loop *loop, neap_future **ret_future);

/* Takes another reference; returns future.
   [M] */
NEAP_API neap_future *neap_future_ref(neap_future *future);

/* Ends a reference.  A pending future without references is forgotten with its callbacks.
   [M] */
NEAP_API void neap_future_unref(neap_future *future);

/* The future's loop: borrowed while the future lives.
   [M] */
NEAP_API neap_loop *neap_future_loop(const neap_future *future);

/* The task that this future belongs to (borrowed), or NULL for a plain future.
   [M] */
NEAP_API neap_task *neap_future_task(const neap_future *future);

/* NEAP_STATE_*.
   [L] */
NEAP_API int32_t neap_future_state(const neap_future *future);

/* 1 if the state is not pending.
   [L] */
NEAP_API int32_t neap_future_done(const neap_future *future);

/* Completes without a value.
   Errors of all setters: NEAP_EINVALID_STATE if the outcome is there, NEAP_ETASK_OWNED on a task's future outside its
   own step.
   [L] */
NEAP_API int32_t neap_future_set_none(neap_future *future);

/* Completes with an integer.
   [L] */
NEAP_API int32_t neap_future_set_int(neap_future *future, int64_t value);

/* Completes with a floating-point number.
   [L] */
NEAP_API int32_t neap_future_set_double(neap_future *future, double value);

/* Completes with a truth value.
   [L] */
NEAP_API int32_t neap_future_set_bool(neap_future *future, int32_t value);

/* Completes with a copy of `len` bytes.
   [L] */
NEAP_API int32_t neap_future_set_bytes(neap_future *future, const void *data, size_t len);

/* Completes with a pointer of a binding: `tag` is the address of any static object of the binding.  `destroy` runs
   when the future goes, or at once if the call fails.
   [L] */
NEAP_API int32_t neap_future_set_ptr(neap_future *future, const void *tag, void *ptr,
                                     neap_destroy_fn destroy);

/* Fails with a negative code and a text (copied; NULL: the code's own).
   [L] */
NEAP_API int32_t neap_future_set_error(neap_future *future, int32_t code, const char *message);

/* Fails with an exception of another language beside code and text; `destroy` as in neap_future_set_ptr.
   [L] */
NEAP_API int32_t neap_future_set_exception(neap_future *future, int32_t code, const char *message,
                                           const void *tag, void *ptr, neap_destroy_fn destroy);

/* The setters for other threads: the outcome travels through the post-box; a future that has its outcome by then drops
   it.  The caller holds a reference.
   Errors: NEAP_ELOOP_CLOSED, NEAP_ENOMEM.
   [M] */
NEAP_API int32_t neap_future_post_int(neap_future *future, int64_t value);

/* As neap_future_post_int, with a copy of `len` bytes.
   [M] */
NEAP_API int32_t neap_future_post_bytes(neap_future *future, const void *data, size_t len);

/* As neap_future_post_int, with a pointer of a binding.
   [M] */
NEAP_API int32_t neap_future_post_ptr(neap_future *future, const void *tag, void *ptr,
                                      neap_destroy_fn destroy);

/* As neap_future_post_int, with a failure.
   [M] */
NEAP_API int32_t neap_future_post_error(neap_future *future, int32_t code, const char *message);

/* The kind of a result, NEAP_KIND_*, or the code of a failure, NEAP_ECANCELED, or NEAP_EPENDING.
   All readers below answer in the same way if there is no result, and NEAP_ETYPE if it is of another kind.  Reading
   an outcome marks a failure as retrieved.
   [L] */
NEAP_API int32_t neap_future_kind(neap_future *future);

/* What a result is, for neap_future_value. */
typedef union neap_value {
    int64_t i; /* NEAP_KIND_INT; NEAP_KIND_BOOL: 0 or 1 */
    double d;
    struct {
        const void *data;
        size_t len;
    } bytes; /* as neap_future_get_bytes says */
    struct {
        const void *tag;
        void *ptr;
    } ptr;
} neap_value;

/* The kind of a result, as neap_future_kind answers it, and the value in the same call, for kinds that have a member in
   the union; of others it is zero.  `size` is sizeof(neap_value).
   Errors: NEAP_EINVAL for a smaller one.
   [L] */
NEAP_API int32_t neap_future_value(neap_future *future, neap_value *ret_value, size_t size);

/* Reads an integer.
   [L] */
NEAP_API int32_t neap_future_get_int(neap_future *future, int64_t *ret_value);

/* Reads a floating-point number.
   [L] */
NEAP_API int32_t neap_future_get_double(neap_future *future, double *ret_value);

/* Reads a truth value.
   [L] */
NEAP_API int32_t neap_future_get_bool(neap_future *future, int32_t *ret_value);

/* Reads bytes: borrowed while the future lives.
   [L] */
NEAP_API int32_t neap_future_get_bytes(neap_future *future, const void **ret_data, size_t *ret_len);

/* Reads a pointer that was set under `tag`: borrowed while the future lives.  Another tag answers NEAP_ETYPE.
   [L] */
NEAP_API int32_t neap_future_get_ptr(neap_future *future, const void *tag, void **ret_ptr);

/* Takes the accepted socket out: a new reference, once; later calls answer NEAP_EINVALID_STATE.  A socket that nobody
   takes is closed with the future.
   [L] */
NEAP_API int32_t neap_future_take_sock(neap_future *future, neap_sock **ret_sock);

/* Takes the opened file out, as neap_future_take_sock does.
   [L] */
NEAP_API int32_t neap_future_take_file(neap_future *future, neap_file **ret_file);

/* The address that came with an accept or a recvfrom.
   [L] */
NEAP_API int32_t neap_future_get_addr(neap_future *future, neap_addr *ret_addr);

/* How many futures a gather or wait was given; also when it failed.
   [L] */
NEAP_API int32_t neap_future_list_count(neap_future *future);

/* The index-th future of a gather or wait: borrowed while the future lives; NULL out of range.
   [L] */
NEAP_API neap_future *neap_future_list_get(neap_future *future, size_t index);

/* 0 for a result, the negative code of a failure, NEAP_ECANCELED, or NEAP_EPENDING.  Marks a failure as retrieved.
   [L] */
NEAP_API int32_t neap_future_error(neap_future *future);

/* The text of a failure or cancellation: borrowed while the future lives; "" if there is none.
   [L] */
NEAP_API const char *neap_future_message(neap_future *future);

/* The foreign exception set under `tag`, or NULL: borrowed while the future lives.
   [L] */
NEAP_API void *neap_future_exception(neap_future *future, const void *tag);

/* Bytes that a send, sendall, write or copy is known to have moved when it failed or was cancelled, else 0.
   [L] */
NEAP_API int64_t neap_future_partial(neap_future *future);

/* Asks for cancellation (msg is copied, may be NULL).  A plain future is cancelled at once; an operation when the
   backend has let go of it; a task at its wait; gather passes it on to its members.  Returns 1 if the request was
   made, 0 if the outcome is there already.
   [L] */
NEAP_API int32_t neap_future_cancel(neap_future *future, const char *msg);

/* Sets what happens when a plain future is cancelled: fn(future, user) is queued.  One hook; a second replaces it.
   [L] */
NEAP_API int32_t neap_future_set_cancel_hook(neap_future *future, neap_future_fn fn, void *user,
                                             neap_destroy_fn destroy);

/* Queues fn(future, user) once the future is done: at completion, or now if it is done.  Any number, in order of
   registration.  fn NULL: as in neap_call_soon.  ret_handle may be NULL; cancelling the handle removes the callback.
   [L] */
NEAP_API int32_t neap_future_on_done(neap_future *future, neap_future_fn fn, void *user,
                                     neap_destroy_fn destroy, neap_handle **ret_handle);

/* Removes every waiting callback with this fn and user; returns how many.
   [L] */
NEAP_API int32_t neap_future_remove_done(neap_future *future, neap_future_fn fn, void *user);

/* Callbacks and tasks that wait for the future now.
   [L] */
NEAP_API int32_t neap_future_waiters(neap_future *future);

/* Says that nobody will read this outcome: a failure is not reported.
   [L] */
NEAP_API int32_t neap_future_ignore(neap_future *future);

/* Keeps a text (copied) for reports, for example where a script made the future.
   [L] */
NEAP_API int32_t neap_future_set_site(neap_future *future, const char *site);

/* That text, or "": borrowed while the future lives.
   [L] */
NEAP_API const char *neap_future_site(neap_future *future);

/* A future that completes after `delay_ns`; its cancellation removes the timer at once.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_sleep(neap_loop *loop, int64_t delay_ns, neap_future **ret_future);

/* For tests: a future that completes when everything else is blocked: in a tick that has nothing to run and would wait, once
   nothing has come for `cushion_ns` of real time, and nothing can be on its way between sockets of this loop.  A virtual clock does
   not move before.  Of several the one with the shortest cushion is served first, of equal ones the oldest; each waits for all
   to be blocked anew.  A turn that may not wait for so long serves none, nor does neap_loop_dispatch.  Returns a new reference.
   Errors: NEAP_ENOTSUP where a host watches neap_loop_fd.
   [L] */
NEAP_API int32_t neap_wait_all_blocked(neap_loop *loop, int64_t cushion_ns,
                                       neap_future **ret_future);

/* ---- Waiting for several ------------------------------------------------------------------------------- */

enum {
    NEAP_GATHER_RETURN_ERRORS = 1
};

/* A future (kind LIST) that completes when all `n` futures are done; the same one may occur twice; n may be 0.  The first
   failure or cancellation of a member cancels the others and waits for them; then the gather fails with NEAP_EGROUP,
   or is cancelled if no member failed.  With NEAP_GATHER_RETURN_ERRORS it waits for all and succeeds.  Cancelling the
   gather cancels its members.  Members are kept.  Returns a new reference.
   Errors: NEAP_EOTHER_LOOP.
   [L] */
NEAP_API int32_t neap_gather(neap_loop *loop, neap_future *const *futures, size_t n, uint32_t flags,
                             neap_future **ret_future);

enum {
    NEAP_WAIT_ALL = 0,
    NEAP_WAIT_FIRST_COMPLETED = 1,
    NEAP_WAIT_FIRST_EXCEPTION = 2
};

/* A future (kind LIST) that completes when the condition holds or `timeout_ns` (-1: never) has passed; duplicates collapse;
   members are never cancelled, and no callback is left on them.  Returns a new reference.
   Errors: NEAP_EVALUE if n is 0, NEAP_EOTHER_LOOP.
   [L] */
NEAP_API int32_t neap_wait(neap_loop *loop, neap_future *const *futures, size_t n, int32_t when,
                           int64_t timeout_ns, neap_future **ret_future);

/* A future that completes when the first of `n` futures is done, in whatever way: its value (kind INT) is the index of that
   one; if several are done already, the first of them.  In the same moment the others are cancelled.  Those that wait in the
   queue of a channel, lock, semaphore, limiter, event or barrier leave it before anything else can be handed to them: exactly
   one of them happens.  Another operation that had completed already keeps its value; the members stay readable with
   neap_future_list_get.  Cancelling the select cancels its members; if one of them has taken something from the world, that
   one is selected instead.  Returns a new reference.
   Errors: NEAP_EVALUE if n is 0, NEAP_EOTHER_LOOP.
   [L] */
NEAP_API int32_t neap_select(neap_loop *loop, neap_future *const *futures, size_t n,
                             neap_future **ret_future);

/* A future with the outcome of `future`.  After `timeout_ns` it cancels `future`, waits for its end, and fails with
   NEAP_ETIMEOUT, unless `future` completed all the same.  Cancelling it cancels `future`.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_wait_for(neap_future *future, int64_t timeout_ns, neap_future **ret_future);

/* A future with the outcome of `future`; cancelling it leaves `future` alone.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_shield(neap_future *future, neap_future **ret_future);

/* ---- Tasks --------------------------------------------------------------------------------------------- */

enum {
    NEAP_STEP_DONE = 0,      /* ended; the outcome was set on the task's future, or none is */
    NEAP_STEP_YIELD = 1,     /* again in the next batch */
    NEAP_STEP_AWAIT = 2,     /* waits: neap_task_await or neap_task_sleep was called */
    NEAP_STEP_CANCELLED = 3, /* ended by letting a cancellation out */
    NEAP_STEP_PREEMPT =
        4 /* as YIELD, at a place where no cancellation may come in: it waits for the next wait */
};

enum {
    NEAP_WAKE_START = 0,  /* the first step */
    NEAP_WAKE_READY = 1,  /* the awaited future is done */
    NEAP_WAKE_CANCEL = 2, /* deliver a cancellation now */
    NEAP_WAKE_RESUME = 3  /* after a yield or sleep */
};

/* How a binding or host drives its tasks.  One static table serves all tasks of a kind. */
typedef struct neap_task_ops {
    size_t size; /* sizeof(neap_task_ops) */
    /* Runs until the next suspension and says how it ended (NEAP_STEP_*).  `awaited` is borrowed for the step and NULL
       unless `wake` is NEAP_WAKE_READY or NEAP_WAKE_CANCEL.  NULL: a task driven through neap_loop_poll_completions. */
    int32_t (*step)(neap_task *task, neap_future *awaited, int32_t wake, void *user);
    /* Writes a text for dumps (where it waits), at most cap bytes with a final zero.  May be NULL. */
    void (*describe)(neap_task *task, void *user, char *buf, size_t cap);
    /* Runs once, after the last step, also for a task that never started or was aborted; what it takes counts in the time
       of the step that runs next.  May be NULL. */
    void (*destroy)(void *user);
    /* Writes where the task was spawned ("file:line"), at most cap bytes with a final zero: asked if the options did not
       say, when somebody wants to know, and before `destroy` if the task fails.  May be NULL. */
    void (*site)(neap_task *task, void *user, char *buf, size_t cap);
    /* Writes the task's stack, innermost frame first: one call of `write` for each frame, with a line of text.  May be NULL. */
    void (*stack)(neap_task *task, void *user, neap_write_fn write, void *to);
} neap_task_ops;

enum {
    /* It looks after the program and is no part of it, as a server for questions about it: neap_task_walk does not visit it,
       no group takes it unless its options say so, and as long as nobody awaits it, what it waits for (one operation, its sleep,
       the deadlines of its scopes) does not count as something that could wake the program (NEAP_EDEADLOCK, neap_loop_alive):
       so nothing of the program may depend on what it does.  neap_loop_shutdown cancels it when all others have
       ended.  Its number comes from a range of its own.  What it spawns is in the background, too. */
    NEAP_TASK_BACKGROUND = 1
};

typedef struct neap_task_options {
    size_t size;      /* sizeof(neap_task_options) */
    const char *name; /* copied; NULL: "task-N" */
    const char
        *site; /* copied; where it was spawned, "file:line"; NULL: ops->site knows, or nobody */
    neap_scope *scope; /* whose member it becomes; NULL: see neap_scope_new */
    uint32_t flags;    /* NEAP_TASK_* */
} neap_task_options;

/* Makes a task through the loop's task factory (neap_task_new if none is set).  Its first step is only queued.  The loop
   owns the task until it ends; ret_task may be NULL, else it receives a new reference.  `user` is taken: ops->destroy
   runs also if the call fails.
   [L] */
NEAP_API int32_t neap_task_spawn(neap_loop *loop, const neap_task_ops *ops, void *user,
                                 const neap_task_options *options, neap_task **ret_task);

/* As neap_task_spawn, past the factory: what a factory itself calls.
   [L] */
NEAP_API int32_t neap_task_new(neap_loop *loop, const neap_task_ops *ops, void *user,
                               const neap_task_options *options, neap_task **ret_task);

typedef int32_t (*neap_task_factory_fn)(neap_loop *loop, const neap_task_ops *task_ops,
                                        void *task_user, const neap_task_options *options,
                                        neap_task **ret_task, void *user);

/* Sets what neap_task_spawn calls; NULL: neap_task_new.  A factory that fails without calling neap_task_new leaves
   task_user to neap_task_spawn, which destroys it.
   [L] */
NEAP_API int32_t neap_loop_set_task_factory(neap_loop *loop, neap_task_factory_fn fn, void *user,
                                            neap_destroy_fn destroy);

/* Takes another reference; returns task.
   [M] */
NEAP_API neap_task *neap_task_ref(neap_task *task);

/* Ends a reference; the task goes on.
   [M] */
NEAP_API void neap_task_unref(neap_task *task);

/* The task as a future: borrowed while the task lives.  Every function that takes a future takes it.
   [M] */
NEAP_API neap_future *neap_task_future(neap_task *task);

/* Inside a step (or between a task event and its answer): waits for `future`, which is kept.  Then return
   NEAP_STEP_AWAIT.  A future that is done wakes the task in the next batch.
   Errors: NEAP_EAWAIT_SELF, NEAP_EOTHER_LOOP, NEAP_EBUSY if the task waits already, NEAP_EINVALID_STATE outside a step.
   [L] */
NEAP_API int32_t neap_task_await(neap_task *task, neap_future *future);

/* Inside a step, instead of neap_task_await: waits for a time of at least delay_ns (INT64_MAX: for ever) without
   a future.  Then return NEAP_STEP_AWAIT.  The task wakes with NEAP_WAKE_RESUME.
   Errors: NEAP_EBUSY if the task waits already, NEAP_ENOMEM, NEAP_EINVALID_STATE outside a step.
   [L] */
NEAP_API int32_t neap_task_sleep(neap_task *task, int64_t delay_ns);

/* Answers a task event (a task without a step function) with NEAP_STEP_*, as a step function would return it.
   Errors: NEAP_EINVALID_STATE if the task has no open event.
   [L] */
NEAP_API int32_t neap_task_answer(neap_task *task, int32_t step);

/* Asks for cancellation, delivered once at the task's wait.  What it awaits is cancelled; the task then wakes with
   NEAP_WAKE_READY and a cancelled future.  A task that awaits nothing, or a plain future that is done, wakes with
   NEAP_WAKE_CANCEL; one whose operation has completed keeps that result and is cancelled at its next wait.  Two requests before the delivery are one.  msg is copied, may be NULL.  Returns 1, or 0 if the
   task has ended.
   [L] */
NEAP_API int32_t neap_task_cancel(neap_task *task, const char *msg);

/* Inside a step: takes the cancellation that would be delivered at a wait here, also that of a deadline which has passed
   since the loop last read the clock.  Returns 1 if there is one, as if the step had been woken with NEAP_WAKE_CANCEL;
   else 0.  For steps that compute for long.
   Errors: NEAP_EINVALID_STATE outside the task's step.
   [L] */
NEAP_API int32_t neap_task_check(neap_task *task);

/* Notes that the running step has started `n` operations whose results were there at once.  Returns 1 if it may go on, 0
   if it should yield, so that others have their turn: it has had 128, or 8 while all steps of this turn together have
   had 4,096.
   [L] */
NEAP_API int32_t neap_loop_spend(neap_loop *loop, uint32_t n);

/* Ends a task at once, without another step: what it awaits is cancelled, its ops are destroyed, its future is
   cancelled.  Returns 1, or 0 if it has ended.
   Errors: NEAP_EINVALID_STATE inside its own step.
   [L] */
NEAP_API int32_t neap_task_abort(neap_task *task);

/* The text of the last cancellation request, or "": borrowed until the next.
   [L] */
NEAP_API const char *neap_task_cancel_message(neap_task *task);

/* The task whose step is running, or NULL: borrowed for the step.
   [L] */
NEAP_API neap_task *neap_task_current(neap_loop *loop);

/* The future that the task waits for, or NULL: borrowed while it waits.
   [L] */
NEAP_API neap_future *neap_task_awaiting(neap_task *task);

/* The `user` given at creation.
   [L] */
NEAP_API void *neap_task_user(neap_task *task);

/* The ops given at creation: a binding recognises its own tasks by it.
   [M] */
NEAP_API const neap_task_ops *neap_task_get_ops(neap_task *task);

/* The task's number on its loop, from 1 in order of creation; what its name "task-N" has.
   [M] */
NEAP_API uint64_t neap_task_id(neap_task *task);

/* The task's name: borrowed until it is changed.
   [L] */
NEAP_API const char *neap_task_name(neap_task *task);

/* Changes the name: copied.
   [L] */
NEAP_API int32_t neap_task_set_name(neap_task *task, const char *name);

/* Where the task was spawned, or "": borrowed while the task lives.  What only ops->site knows is gone once the task has
   ended without a failure and nobody had asked.
   [L] */
NEAP_API const char *neap_task_site(neap_task *task);

/* Steps run so far.
   [L] */
NEAP_API uint64_t neap_task_steps(neap_task *task);

/* Time spent in steps in ns, 0 where it is not measured.
   [L] */
NEAP_API int64_t neap_task_step_time(neap_task *task);

/* Writes a line about the task ("NAME waits for WHAT at WHERE", "NAME runs", "NAME has ended"), cut to `cap` bytes with a final zero.  Returns the whole
   length.
   [L] */
NEAP_API int32_t neap_task_describe(neap_task *task, char *buf, size_t cap);

/* The loop's time at which the task began its present wait, or -1 if it does not wait.
   [L] */
NEAP_API int64_t neap_task_waiting_since(neap_task *task);

/* Writes what the task waits for or does ("waits for a recv on 127.0.0.1:80 (descriptor 7), for 1.5 s", "sleeps for
   another 2 s", "runs", "is ready"), without the name of who has it, cut to `cap` bytes with a final zero.  Returns the length of the whole text.
   [L] */
NEAP_API int32_t neap_task_describe_wait(neap_task *task, char *buf, size_t cap);

/* The number of the one task that has to go on before this one can: which it awaits, or which has the lock that it waits for;
   0: none.
   [L] */
NEAP_API uint64_t neap_task_waits_for(neap_task *task);

/* Writes all about one task: what neap_loop_write_tree says of it, with its stack, then the tasks that it waits for, and those
   that these wait for, each once.
   Errors: NEAP_ENOMEM; then what was written is not all.
   [L] */
NEAP_API int32_t neap_task_explain(neap_task *task, neap_write_fn write, void *user);

typedef int32_t (*neap_task_walk_fn)(neap_task *task, void *user);

/* Calls fn for each live task in order of creation until it returns non-zero; returns that value, or 0.  fn must not
   run the loop; it may cancel and spawn (new tasks are not visited).
   [L] */
NEAP_API int32_t neap_task_walk(neap_loop *loop, neap_task_walk_fn fn, void *user);

/* Task-local values, as contextvars: a task inherits what its spawner sees; what it sets is seen by itself, by callbacks
   it registers afterwards and by tasks it spawns afterwards.  A callback runs in a copy of the context that it was registered
   in.  `key` is compared by address.  Outside tasks and callbacks: the loop's outermost context.  `destroy` runs when nobody sees the value any more.
   [L] */
NEAP_API int32_t neap_local_set(neap_loop *loop, const void *key, void *value,
                                neap_destroy_fn destroy);

/* The value visible here in *ret_value; returns 1, or 0 if none was set.
   [L] */
NEAP_API int32_t neap_local_get(neap_loop *loop, const void *key, void **ret_value);

/* ---- Scopes -------------------------------------------------------------------------------------------- */

/* A scope is a region of a task, with all that is spawned into it, that is cancelled as a whole: by neap_scope_cancel, by
   its deadline, or with the scope around it.  Being cancelled is a state and lasts until the region is left: a wait that
   is under way or begins later ends at once, with NEAP_WAKE_CANCEL or, if it was for an operation, with NEAP_WAKE_READY and
   the cancelled operation.  A plain future or a task that is waited for is left alone.  An operation that has completed
   is delivered, and the wait after it is cancelled.  After Trio's cancel scopes and nurseries. */
enum {
    NEAP_SCOPE_SHIELD = 1, /* keeps out cancellations, a task's own too, until its deadline */
    NEAP_SCOPE_GROUP = 2,  /* takes what its tasks spawn */
    NEAP_SCOPE_KEEP =
        4, /* keeps failures of members that nobody awaits, for neap_scope_next_failure */
    NEAP_SCOPE_FAIL_FAST = 8, /* with KEEP: the first of them cancels the scope */
    NEAP_SCOPE_ANY = 16       /* the first member that ends with a result cancels the scope */
};

enum {
    NEAP_SCOPE_OPEN = 0,
    NEAP_SCOPE_CANCELLED = 1, /* by neap_scope_cancel, or by NEAP_SCOPE_FAIL_FAST or _ANY */
    NEAP_SCOPE_TIMED_OUT = 2  /* by its deadline */
};

/* Makes a scope below `parent` (NULL: below that of the task whose step runs, if there is one), which is kept.  A task
   without a scope in its options becomes a member of the innermost group around the task that spawns it, if there is
   one.  Returns a new reference.
   Errors: NEAP_EOTHER_LOOP, NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_scope_new(neap_loop *loop, neap_scope *parent, uint32_t flags,
                                neap_scope **ret_scope);

/* Takes another reference; returns scope.
   [M] */
NEAP_API neap_scope *neap_scope_ref(neap_scope *scope);

/* Ends a reference.  Failures that nobody has taken are then reported.
   [M] */
NEAP_API void neap_scope_unref(neap_scope *scope);

/* Inside a step: the task goes into the scope, which was made below the task's present one and is entered once.
   Errors: NEAP_EINVALID_STATE, NEAP_EOTHER_LOOP.
   [L] */
NEAP_API int32_t neap_scope_enter(neap_scope *scope, neap_task *task);

/* Inside a step: the task leaves the scope, its innermost one, which takes no members from now on and cannot be cancelled
   any more.  A task that ends leaves all, and what was spawned into them is cancelled.
   Errors: NEAP_EBUSY while there are members, NEAP_EINVALID_STATE if the task's innermost scope is another.
   [L] */
NEAP_API int32_t neap_scope_leave(neap_scope *scope, neap_task *task);

/* Cancels the scope and those below, as far as no shield stands between; msg is copied, may be NULL.  Returns 1, or 0 if
   it was cancelled or left before.
   [L] */
NEAP_API int32_t neap_scope_cancel(neap_scope *scope, const char *msg);

/* As neap_scope_cancel, from any thread: the request travels through the post-box.  The caller holds a reference.  So a scope
   is a cancellation token that may be handed to others.
   Errors: NEAP_ELOOP_CLOSED, NEAP_ENOMEM.
   [M] */
NEAP_API int32_t neap_scope_post_cancel(neap_scope *scope);

/* When the scope cancels itself, or a shield ends: nanoseconds of the loop's clock; -1: never.  A time that has passed acts
   in the next batch.  A deadline does not reach beyond that of a scope around it.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_scope_set_deadline(neap_scope *scope, int64_t when);

/* Reads the scope's own deadline.  Returns 1, or 0 if it has none.
   [L] */
NEAP_API int32_t neap_scope_deadline(neap_scope *scope, int64_t *ret_when);

/* 1 if waits inside are cancelled now, by this scope or one around it.
   [L] */
NEAP_API int32_t neap_scope_cancelled(neap_scope *scope);

/* What happened to the scope itself: NEAP_SCOPE_OPEN, NEAP_SCOPE_CANCELLED or NEAP_SCOPE_TIMED_OUT.
   [L] */
NEAP_API int32_t neap_scope_state(neap_scope *scope);

/* The text of the request that cancelled it, or "": borrowed while the scope lives.
   [L] */
NEAP_API const char *neap_scope_message(neap_scope *scope);

/* The number of live members.
   [L] */
NEAP_API int32_t neap_scope_members(neap_scope *scope);

/* A future that completes when there are no members.  No scope ends a wait for it, because who leaves a group waits for its
   tasks; a request to the task itself does, and leaves the future alone.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_scope_join(neap_scope *scope, neap_future **ret_future);

/* The next failure that NEAP_SCOPE_KEEP has kept, in the order in which they came.  Returns 1 and a new reference, or 0 if
   there is none.
   [L] */
NEAP_API int32_t neap_scope_next_failure(neap_scope *scope, neap_future **ret_future);

/* Of NEAP_SCOPE_ANY: the first member that ended with a result, or NULL: borrowed while the scope lives.
   [L] */
NEAP_API neap_future *neap_scope_winner(neap_scope *scope);

/* The innermost scope of a task, or NULL: borrowed while the task is inside.
   [L] */
NEAP_API neap_scope *neap_task_scope(neap_task *task);

/* The scope that a task was spawned into, or NULL: borrowed while the task lives.
   [L] */
NEAP_API neap_scope *neap_task_group(neap_task *task);

/* The task that is inside that scope or, if nobody is, inside the nearest one around it; or NULL: borrowed.
   [L] */
NEAP_API neap_task *neap_task_parent(neap_task *task);

/* The scope around a scope, or NULL: borrowed while the scope lives.
   [L] */
NEAP_API neap_scope *neap_scope_parent(neap_scope *scope);

/* The task that is inside the scope since neap_scope_enter, or NULL: borrowed.
   [L] */
NEAP_API neap_task *neap_scope_owner(neap_scope *scope);

/* The NEAP_SCOPE_* that it was made with.
   [L] */
NEAP_API int32_t neap_scope_flags(neap_scope *scope);

/* Which scope caused the cancellation that the task's running step was woken with: the outermost that is cancelled; NULL
   if the task itself was asked to end, or there is no cancellation.  Borrowed while the task is inside.
   [L] */
NEAP_API neap_scope *neap_task_cancelled_by(neap_task *task);

/* ---- Locks, semaphores, events, barriers, channels ----------------------------------------------------- */

/* All are for the tasks of one loop.  Who waits stands in a queue and is served in the order of arrival, and is handed what
   it waited for: a lock, a permit, an item.  From then on it has it: a cancellation that comes in the same tick loses.  Who
   is cancelled before leaves the queue at once.  A starting call answers a result at once, or NEAP_PENDING with a future
   in ret_future (a new reference), or with ret_future NULL, NEAP_EAGAIN instead.  After Trio's and asyncio's. */

/* Makes a lock, which tasks hold.  Returns a new reference.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_lock_new(neap_loop *loop, neap_lock **ret_lock);

/* Takes another reference; returns lock.
   [M] */
NEAP_API neap_lock *neap_lock_ref(neap_lock *lock);

/* Ends a reference; waiters keep the lock.
   [M] */
NEAP_API void neap_lock_unref(neap_lock *lock);

/* Inside a step: the task takes the lock.  0 at once, or a future (kind NONE).
   Errors: NEAP_ENO_TASK outside a step, NEAP_EDEADLOCK if the task has it already.
   [L] */
NEAP_API int32_t neap_lock_acquire(neap_lock *lock, neap_future **ret_future);

/* Inside a step of the task that holds it: hands the lock to the oldest waiter, or frees it.
   Errors: NEAP_EPERM if the task does not hold it.
   [L] */
NEAP_API int32_t neap_lock_release(neap_lock *lock);

/* The number of the task that holds it (neap_task_id), 0: none.
   [L] */
NEAP_API uint64_t neap_lock_holder(neap_lock *lock);

/* Makes a condition that belongs to the lock, which it keeps.  Returns a new reference.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_cond_new(neap_lock *lock, neap_cond **ret_cond);

/* Takes another reference; returns cond.
   [M] */
NEAP_API neap_cond *neap_cond_ref(neap_cond *cond);

/* Ends a reference; waiters keep the condition.
   [M] */
NEAP_API void neap_cond_unref(neap_cond *cond);

/* Inside a step of the task that holds the lock: hands the lock on and waits to be notified.  Always a future (kind NONE),
   NEAP_PENDING.  When it is done the task has the lock again, also when it was cancelled: that is heard once the lock is there.
   A notification to one who is then cancelled goes on to the next.
   Errors: NEAP_EPERM if the task does not hold the lock.
   [L] */
NEAP_API int32_t neap_cond_wait(neap_cond *cond, neap_future **ret_future);

/* Inside a step of the task that holds the lock: lets the `n` who have waited longest (-1: all) stand in the lock's queue.
   Returns how many there were.
   Errors: NEAP_EPERM if the task does not hold the lock.
   [L] */
NEAP_API int32_t neap_cond_notify(neap_cond *cond, int32_t n);

/* Makes a semaphore with so many permits.  Returns a new reference.
   Errors: NEAP_ENOMEM, NEAP_EVALUE if there are less than 0.
   [L] */
NEAP_API int32_t neap_sem_new(neap_loop *loop, int64_t permits, neap_sem **ret_sem);

/* Takes another reference; returns sem.
   [M] */
NEAP_API neap_sem *neap_sem_ref(neap_sem *sem);

/* Ends a reference; waiters keep the semaphore.
   [M] */
NEAP_API void neap_sem_unref(neap_sem *sem);

/* Takes a permit.  0 at once, or a future (kind NONE).
   [L] */
NEAP_API int32_t neap_sem_acquire(neap_sem *sem, neap_future **ret_future);

/* Gives a permit: to the oldest waiter, or to the store.
   [L] */
NEAP_API int32_t neap_sem_release(neap_sem *sem);

/* The permits in the store.
   [L] */
NEAP_API int64_t neap_sem_permits(neap_sem *sem);

/* Makes an event, which is not set.  Returns a new reference.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_event_new(neap_loop *loop, neap_event **ret_event);

/* Takes another reference; returns event.
   [M] */
NEAP_API neap_event *neap_event_ref(neap_event *event);

/* Ends a reference; waiters keep the event.
   [M] */
NEAP_API void neap_event_unref(neap_event *event);

/* Sets the event: all who wait go on, and nobody waits from now on.  Returns 1, or 0 if it was set.
   [L] */
NEAP_API int32_t neap_event_set(neap_event *event);

/* Takes it back for those who come later.  Returns 1, or 0 if it was not set.
   [L] */
NEAP_API int32_t neap_event_clear(neap_event *event);

/* 1 if the event is set.
   [L] */
NEAP_API int32_t neap_event_is_set(neap_event *event);

/* Waits until the event is set.  0 at once, or a future (kind NONE).
   [L] */
NEAP_API int32_t neap_event_wait(neap_event *event, neap_future **ret_future);

/* Makes a barrier for so many parties.  Returns a new reference.
   Errors: NEAP_ENOMEM, NEAP_EVALUE if there are none.
   [L] */
NEAP_API int32_t neap_barrier_new(neap_loop *loop, uint32_t parties, neap_barrier **ret_barrier);

/* Takes another reference; returns barrier.
   [M] */
NEAP_API neap_barrier *neap_barrier_ref(neap_barrier *barrier);

/* Ends a reference; waiters keep the barrier.
   [M] */
NEAP_API void neap_barrier_unref(neap_barrier *barrier);

/* Waits until all parties are here: the last one gets its number, parties - 1, at once and lets the others go, whose futures
   (kind INT) have theirs, from 0 in order of arrival.  Then the barrier begins anew.  Who is cancelled was not here.
   Errors, also of the future: NEAP_ECLOSED.
   [L] */
NEAP_API int32_t neap_barrier_wait(neap_barrier *barrier, neap_future **ret_future);

/* Nobody waits any more: those who do hear NEAP_ECLOSED.  Returns 1, or 0 if it was closed.
   [L] */
NEAP_API int32_t neap_barrier_close(neap_barrier *barrier);

/* How many wait.
   [L] */
NEAP_API int32_t neap_barrier_waiting(neap_barrier *barrier);

/* Makes a limiter with so many tokens: a semaphore that knows which tasks have them.  After Trio's CapacityLimiter.  Returns a
   new reference.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_limiter_new(neap_loop *loop, uint32_t total, neap_limiter **ret_limiter);

/* Takes another reference; returns limiter.
   [M] */
NEAP_API neap_limiter *neap_limiter_ref(neap_limiter *limiter);

/* Ends a reference; waiters keep the limiter.
   [M] */
NEAP_API void neap_limiter_unref(neap_limiter *limiter);

/* Inside a step: the task borrows a token.  0 at once, or a future (kind NONE).
   Errors: NEAP_ENO_TASK outside a step, NEAP_EDEADLOCK if the task has one already, NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_limiter_acquire(neap_limiter *limiter, neap_future **ret_future);

/* Inside a step of a task that has one: gives the token back, to the oldest waiter or to the store.
   Errors: NEAP_EPERM if the task has none.
   [L] */
NEAP_API int32_t neap_limiter_release(neap_limiter *limiter);

/* Changes the number of tokens.  With more, waiters go on; with fewer, nobody gets one until enough have come back.
   Errors: NEAP_ENOMEM; then nothing has changed.
   [L] */
NEAP_API int32_t neap_limiter_set_total(neap_limiter *limiter, uint32_t total);

/* The number of tokens.
   [L] */
NEAP_API int64_t neap_limiter_total(neap_limiter *limiter);

/* How many of them are out.
   [L] */
NEAP_API int64_t neap_limiter_borrowed(neap_limiter *limiter);

/* Makes a channel of values with room for so many of them (0: a sender waits for its receiver; SIZE_MAX: unbounded).  Returns
   a new reference.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_chan_new(neap_loop *loop, size_t capacity, neap_chan **ret_chan);

/* As neap_chan_new: out of this one comes the value of the least priority first, and among equals the one that has been in it
   longest.  Senders that wait for room do so in the order of their arrival.
   Errors: NEAP_ENOMEM.
   [L] */
NEAP_API int32_t neap_chan_new_ordered(neap_loop *loop, size_t capacity, neap_chan **ret_chan);

/* Takes another reference; returns chan.
   [M] */
NEAP_API neap_chan *neap_chan_ref(neap_chan *chan);

/* Ends a reference; waiters keep the channel.  Values that nobody received are destroyed with it.
   [M] */
NEAP_API void neap_chan_unref(neap_chan *chan);

/* Sends an integer.  0 if there was room or a receiver, or a future (kind NONE) that completes when there is.
   Errors, also of the future: NEAP_ECLOSED.
   [L] */
NEAP_API int32_t neap_chan_send_int(neap_chan *chan, int64_t value, neap_future **ret_future);

/* Sends a pointer of a binding, which is taken: `destroy` (may be NULL) runs if the send fails or is cancelled, too.
   Errors, also of the future: NEAP_ECLOSED.
   [L] */
NEAP_API int32_t neap_chan_send_ptr(neap_chan *chan, const void *tag, void *ptr,
                                    neap_destroy_fn destroy, neap_future **ret_future);

/* As neap_chan_send_int, with a priority, which is 0 there; in a channel that is not ordered it counts for nothing.
   Errors: also NEAP_EVALUE for NaN.
   [L] */
NEAP_API int32_t neap_chan_put_int(neap_chan *chan, double priority, int64_t value,
                                   neap_future **ret_future);

/* As neap_chan_send_ptr, with a priority.
   Errors: also NEAP_EVALUE for NaN.
   [L] */
NEAP_API int32_t neap_chan_put_ptr(neap_chan *chan, double priority, const void *tag, void *ptr,
                                   neap_destroy_fn destroy, neap_future **ret_future);

/* Receives the next value: at once its kind, NEAP_KIND_INT or NEAP_KIND_PTR, with the value, which is the caller's to
   destroy; or a future that completes with it and destroys it.  `size` is sizeof(neap_value).
   Errors, also of the future: NEAP_ECLOSED once the channel is closed and empty.
   [L] */
NEAP_API int32_t neap_chan_recv(neap_chan *chan, neap_value *ret_value, size_t size,
                                neap_future **ret_future);

/* Says that the work on one received value is done, for neap_chan_join.  After asyncio's queues.
   Errors: NEAP_EINVALID_STATE if that was said of all values already.
   [L] */
NEAP_API int32_t neap_chan_task_done(neap_chan *chan);

/* Waits until neap_chan_task_done was called for each value that the channel has accepted.  0 at once, or a future (kind
   NONE).
   [L] */
NEAP_API int32_t neap_chan_join(neap_chan *chan, neap_future **ret_future);

/* Ends sending: waiting senders and, once it is empty, receivers hear NEAP_ECLOSED.  Returns 1, or 0 if it was closed.
   [L] */
NEAP_API int32_t neap_chan_close(neap_chan *chan);

/* 1 after neap_chan_close.
   [L] */
NEAP_API int32_t neap_chan_is_closed(neap_chan *chan);

/* The number of values in it; waiting senders do not count.
   [L] */
NEAP_API int64_t neap_chan_len(neap_chan *chan);

/* ---- Channels between threads -------------------------------------------------------------------------- */

/* A channel that belongs to no loop: its ends may be on any threads, and plain data goes through.  Who waits does so on its own
   loop, and a value that somebody has received is there on that loop's thread; one on its way to a receiver that is cancelled
   meanwhile goes back in front.  Waiting here keeps a run from being a deadlock. */

/* Makes a channel with room for so many values (0: a sender waits for its receiver; SIZE_MAX: unbounded).  `allocator`
   (NULL: malloc) is called from any thread.  Returns a new reference.
   Errors: NEAP_EINVAL, NEAP_ENOMEM.
   [M] */
NEAP_API int32_t neap_shared_chan_new(const neap_allocator *allocator, size_t capacity,
                                      neap_shared_chan **ret_chan);

/* Takes another reference; returns chan.
   [M] */
NEAP_API neap_shared_chan *neap_shared_chan_ref(neap_shared_chan *chan);

/* Ends a reference; who waits keeps the channel.  With the last one the values in it go.
   [M] */
NEAP_API void neap_shared_chan_unref(neap_shared_chan *chan);

/* Sends an integer.  0 if there was room or a receiver, or NEAP_PENDING with a future (kind NONE) of `loop`, on whose thread
   this is called then.  `loop` and ret_future may be NULL, in which case this may be called on any thread, never waits, and
   answers NEAP_EAGAIN instead.
   Errors, also of the future: NEAP_ECLOSED.
   [M] */
NEAP_API int32_t neap_shared_chan_send_int(neap_shared_chan *chan, neap_loop *loop, int64_t value,
                                           neap_future **ret_future);

/* As neap_shared_chan_send_int, a floating-point number.
   [M] */
NEAP_API int32_t neap_shared_chan_send_double(neap_shared_chan *chan, neap_loop *loop, double value,
                                              neap_future **ret_future);

/* As neap_shared_chan_send_int, a truth value.
   [M] */
NEAP_API int32_t neap_shared_chan_send_bool(neap_shared_chan *chan, neap_loop *loop, int32_t value,
                                            neap_future **ret_future);

/* As neap_shared_chan_send_int, a copy of `len` bytes.
   [M] */
NEAP_API int32_t neap_shared_chan_send_bytes(neap_shared_chan *chan, neap_loop *loop,
                                             const void *data, size_t len,
                                             neap_future **ret_future);

/* As neap_shared_chan_send_int, a pointer of a binding, which is taken: `destroy` (may be NULL) runs on any thread, with the
   receiving future, or if nobody receives it or this fails.
   [M] */
NEAP_API int32_t neap_shared_chan_send_ptr(neap_shared_chan *chan, neap_loop *loop, const void *tag,
                                           void *ptr, neap_destroy_fn destroy,
                                           neap_future **ret_future);

/* Receives the oldest value through a future of `loop`, on whose thread this is called: 0 if it is there already, else
   NEAP_PENDING, or with NEAP_NOWAIT in `flags` NEAP_EAGAIN.
   Errors, also of the future: NEAP_ECLOSED once the channel is closed and empty.
   [L] */
NEAP_API int32_t neap_shared_chan_recv(neap_shared_chan *chan, neap_loop *loop, uint32_t flags,
                                       neap_future **ret_future);

/* Ends sending: waiting senders and, once it is empty, receivers hear NEAP_ECLOSED.  Returns 1, or 0 if it was closed.
   [M] */
NEAP_API int32_t neap_shared_chan_close(neap_shared_chan *chan);

/* 1 after neap_shared_chan_close.
   [M] */
NEAP_API int32_t neap_shared_chan_is_closed(neap_shared_chan *chan);

/* The number of values in it; waiting senders do not count.
   [M] */
NEAP_API int64_t neap_shared_chan_len(neap_shared_chan *chan);

/* ---- Sockets ------------------------------------------------------------------------------------------- */

enum {
    NEAP_TCP = 1,
    NEAP_UDP = 2,
    NEAP_UNIX = 3,
    NEAP_UNIX_DGRAM = 4
};

/* Flags of starting calls. */
enum {
    NEAP_NOWAIT =
        1, /* never wait: answer NEAP_EAGAIN instead of NEAP_PENDING; the future out-parameter may be NULL */
    NEAP_WANT_FUTURE = 2 /* always answer NEAP_PENDING with a future, which may be done */
};

/* Makes a socket of the given sort.  `family` NEAP_AF_UNSPEC: the descriptor is opened by bind or connect, in the
   family of the address.  Descriptors are non-blocking and close-on-exec.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_sock_new(neap_loop *loop, int32_t sort, int32_t family, neap_sock **ret_sock);

/* Makes a socket of a descriptor, which is taken on success; it becomes non-blocking and close-on-exec.
   Errors: NEAP_EBADF, NEAP_ENOTSUP if the descriptor is no socket.
   [L] */
NEAP_API int32_t neap_sock_adopt(neap_loop *loop, neap_fd fd, neap_sock **ret_sock);

/* Two connected Unix sockets of the given sort (NEAP_UNIX or NEAP_UNIX_DGRAM): two new references.
   [L] */
NEAP_API int32_t neap_sock_pair(neap_loop *loop, int32_t sort, neap_sock **ret_a,
                                neap_sock **ret_b);

/* Takes another reference; returns sock.
   [M] */
NEAP_API neap_sock *neap_sock_ref(neap_sock *sock);

/* Ends a reference; the last one closes the socket.
   [M] */
NEAP_API void neap_sock_unref(neap_sock *sock);

/* Closes the descriptor at once; pending operations complete with NEAP_ECLOSED.  Idempotent.
   [L] */
NEAP_API int32_t neap_sock_close(neap_sock *sock);

/* The descriptor, borrowed: NEAP_ECLOSED after close, NEAP_EBADF before it was opened.  Not for reading beside the
   socket: a backend may have received ahead of its receives (io_uring does, for TCP).
   [L] */
NEAP_API neap_fd neap_sock_fd(const neap_sock *sock);

/* The socket's loop: borrowed while the socket lives.
   [M] */
NEAP_API neap_loop *neap_sock_loop(const neap_sock *sock);

/* Binds to an address; listeners of IP get SO_REUSEADDR.
   [L] */
NEAP_API int32_t neap_sock_bind(neap_sock *sock, const neap_addr *addr);

/* Starts to listen; backlog 0: the system's maximum.
   [L] */
NEAP_API int32_t neap_sock_listen(neap_sock *sock, int32_t backlog);

/* Starting calls.  Each answers at once: a result >= 0 (nothing was allocated), a negative failure, or NEAP_PENDING and a
   new reference to a future in *ret_future.  Operations of one direction on one socket are served in order.  A
   cancel that meets a completed operation loses: the value stays.  Buffers belong to the operation until its future is
   done, also after a cancel. */

/* Accepts a connection.  At once: 0, *ret_sock is a new reference and *ret_addr (may be NULL) the peer; later: a future of
   kind SOCK (neap_future_take_sock, neap_future_get_addr).  A connection that died in the queue is skipped.
   Errors: NEAP_EMFILE and other shortages leave the connection in the queue.
   [L] */
NEAP_API int32_t neap_sock_accept(neap_sock *sock, uint32_t flags, neap_sock **ret_sock,
                                  neap_addr *ret_addr, neap_future **ret_future);

/* Connects.  A connect that is cancelled closes the socket.
   [L] */
NEAP_API int32_t neap_sock_connect(neap_sock *sock, const neap_addr *addr, uint32_t flags,
                                   neap_future **ret_future);

/* Receives up to `len` bytes into `data`.  Result (kind INT): the count, 0 at the end of the stream.  len 0 completes at
   once with 0.
   [L] */
NEAP_API int32_t neap_sock_recv(neap_sock *sock, void *data, size_t len, uint32_t flags,
                                neap_future **ret_future);

/* Receives up to `max` bytes into memory lent by the loop, so that an idle socket holds no buffer.  At once: the count, and
   *ret_data lent until the running step or callback returns or the next lent receive; later: kind BYTES, which a
   task reads in the step that it wakes.  A future that others see too, or that outlives that step, keeps a copy.
   [L] */
NEAP_API int32_t neap_sock_recv_lent(neap_sock *sock, size_t max, uint32_t flags,
                                     const void **ret_data, neap_future **ret_future);

/* Receives one datagram, cut to `len` bytes, and its sender (ret_addr may be NULL).  Result as neap_sock_recv;
   neap_future_get_addr for the sender.
   [L] */
NEAP_API int32_t neap_sock_recvfrom(neap_sock *sock, void *data, size_t len, uint32_t flags,
                                    neap_addr *ret_addr, neap_future **ret_future);

/* As neap_sock_recvfrom into lent memory, as neap_sock_recv_lent.
   [L] */
NEAP_API int32_t neap_sock_recvfrom_lent(neap_sock *sock, size_t max, uint32_t flags,
                                         const void **ret_data, neap_addr *ret_addr,
                                         neap_future **ret_future);

/* Puts bytes in front of what the next receive returns: for a consumer that took more than it could use.  Lent memory is
   taken over instead of copied, so that giving back what a receive just lent cannot fail.
   [L] */
NEAP_API int32_t neap_sock_unrecv(neap_sock *sock, const void *data, size_t len);

/* Sends what fits.  Result (kind INT): the count, at least 1 unless len is 0.  Never raises SIGPIPE.
   [L] */
NEAP_API int32_t neap_sock_send(neap_sock *sock, const void *data, size_t len, uint32_t flags,
                                neap_future **ret_future);

/* Sends all of it, as one unit among the sends of this socket.  Result (kind INT): len.  After a failure or a cancel
   neap_future_partial tells how much went; the stream stays open.
   Errors: NEAP_EINVAL with NEAP_NOWAIT; sending what fits is neap_sock_send's.
   [L] */
NEAP_API int32_t neap_sock_sendall(neap_sock *sock, const void *data, size_t len, uint32_t flags,
                                   neap_future **ret_future);

/* Sends one datagram to an address (NULL: the connected peer).  Result as neap_sock_send.
   [L] */
NEAP_API int32_t neap_sock_sendto(neap_sock *sock, const void *data, size_t len,
                                  const neap_addr *addr, uint32_t flags, neap_future **ret_future);

enum {
    NEAP_SHUT_RD = 0,
    NEAP_SHUT_WR = 1,
    NEAP_SHUT_RDWR = 2
};

/* Ends one or both directions.
   [L] */
NEAP_API int32_t neap_sock_shutdown(neap_sock *sock, int32_t how);

/* The address that the socket is bound to.
   [L] */
NEAP_API int32_t neap_sock_local(neap_sock *sock, neap_addr *ret_addr);

/* The address of the peer: of a connection also when that has gone.
   [L] */
NEAP_API int32_t neap_sock_peer(neap_sock *sock, neap_addr *ret_addr);

/* Sets an option by its name in lower case: "reuseaddr", "reuseport", "nodelay", "keepalive", "keepidle", "keepintvl",
   "keepcnt", "sndbuf", "rcvbuf", "broadcast", "linger" (seconds, -1 off), "v6only", "oobinline", "cork", "priority", "ttl",
   "multicast_ttl", "multicast_loop" (in the family of the socket), "passcred" (see neap_fds).
   Errors: NEAP_EVALUE for an unknown name.
   [L] */
NEAP_API int32_t neap_sock_set_option(neap_sock *sock, const char *name, int32_t value);

/* Reads an option; also "error" (which clears it), "type", "drops": how many datagrams found no room in the socket's queue so
   far (the count of the kernel, which begins again behind 2^32), and "peeruid": the user who made the other end of a
   connected Unix stream.
   Errors: NEAP_ENOTSUP for the last if nobody is known.
   [L] */
NEAP_API int32_t neap_sock_get_option(neap_sock *sock, const char *name, int32_t *ret_value);

/* ---- Datagrams in batches ------------------------------------------------------------------------------ */

/* One datagram of a batch; may grow at its end, so arrays of them are passed with the distance between two. */
typedef struct neap_msg {
    void *data; /* the bytes to send, or room for those that come */
    size_t cap; /* room; not used to send */
    size_t len; /* bytes to send; bytes that came */
    size_t
        missing; /* bytes of a received datagram that found no room and are lost: 0 if it is whole */
    neap_addr addr; /* the sender; the receiver (len 0: the connected peer) */
} neap_msg;

/* Receives datagrams by one system call, up to `count` of them, of which a call takes at most 128: waits until there is one.
   Entries are `stride` bytes apart; they and their memory belong to the operation until it is done.  Result (kind INT): how
   many came; each tells its length, what was cut off, and its sender.  Datagrams that found no room in the queue of the
   socket (option "rcvbuf") are counted by the option "drops".
   Errors: NEAP_ENOTSUP for streams; those of earlier sends on a connected socket (NEAP_ECONNREFUSED), once each, after which
   it goes on.
   [L] */
NEAP_API int32_t neap_sock_recv_many(neap_sock *sock, neap_msg *msgs, size_t stride, size_t count,
                                     uint32_t flags, neap_future **ret_future);

enum {
    NEAP_SEGMENT = 512 /* flag of neap_sock_send_many: the kernel may cut them */
};

/* Sends datagrams, all of them and in order, as one unit among the sends of this socket, by one system call for each 128 as
   long as they find room.  With NEAP_SEGMENT those in a row that are of one length (the last may be shorter) and go to one
   receiver are given to the kernel as one, which it cuts as late as it can (UDP_SEGMENT): several times as quick.  Where that
   is not possible they go as without it.  Result (kind INT): how many.  After a failure or a cancel neap_future_partial tells how many went:
   the one behind them is what failed.  With NEAP_NOWAIT: how many found room, at least 1, else NEAP_EAGAIN.
   Errors: NEAP_ENOTSUP for streams, and for sockets other than UDP with NEAP_SEGMENT; NEAP_EMSGSIZE for one that is too long.
   [L] */
NEAP_API int32_t neap_sock_send_many(neap_sock *sock, const neap_msg *msgs, size_t stride,
                                     size_t count, uint32_t flags, neap_future **ret_future);

/* Receives what is sent to a group of multicast, too, as it comes in through an interface (its name or number; NULL: the
   system chooses), from everybody or from one source only (NULL: everybody).  Opens the socket in the family of the group,
   and from then on it hears no groups but its own.
   Errors: NEAP_EVALUE if the group is no address of multicast, or there is no such interface; NEAP_EADDRINUSE if the socket
   is in the group already.
   [L] */
NEAP_API int32_t neap_sock_join(neap_sock *sock, const neap_addr *group, const char *iface,
                                const neap_addr *source);

/* Ends a membership; the arguments are those of neap_sock_join.
   Errors: NEAP_EADDRNOTAVAIL if there is none.
   [L] */
NEAP_API int32_t neap_sock_leave(neap_sock *sock, const neap_addr *group, const char *iface,
                                 const neap_addr *source);

/* Sends to groups of multicast through this interface (its name or number; NULL: the system chooses).
   [L] */
NEAP_API int32_t neap_sock_multicast_via(neap_sock *sock, const char *iface);

/* ---- Unix sockets: descriptors and credentials --------------------------------------------------------- */

enum {
    NEAP_FDS_MAX = 253 /* descriptors with one message */
};

enum {
    NEAP_MSG_TRUNC = 1, /* the datagram was longer than its room: the rest is lost */
    NEAP_MSG_CTRUNC =
        2 /* more descriptors came than were asked for, or than the process may have: they are closed */
};

/* Who a process is; pid 0: not known. */
typedef struct neap_credentials {
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
} neap_credentials;

/* What came with bytes over a Unix socket. */
typedef struct neap_fds {
    size_t size;           /* sizeof(neap_fds) */
    neap_fd *fds;          /* room; the descriptors put here are the caller's, and close-on-exec */
    uint32_t max;          /* how many there is room for, at most NEAP_FDS_MAX */
    uint32_t len;          /* how many came */
    uint32_t flags;        /* NEAP_MSG_* */
    neap_credentials from; /* the sender, if the option "passcred" was set */
} neap_fds;

/* Sends bytes and descriptors together.  The peer gets copies of the descriptors, which stay the caller's and may be closed
   as soon as this returns.  On a stream all bytes are sent, at least one, the descriptors with the first, as one unit among
   its sends; a datagram goes whole, to the connected peer.  Result (kind INT): len.  After a failure or a cancel
   neap_future_partial tells how many bytes went: if any did, the descriptors went, too.
   Errors: NEAP_ENOTSUP for other than Unix sockets; NEAP_E2BIG above NEAP_FDS_MAX; NEAP_EVALUE for a stream and no byte;
   NEAP_EBADF if one of them is none; NEAP_EINVAL with NEAP_NOWAIT on a stream.
   [L] */
NEAP_API int32_t neap_sock_send_fds(neap_sock *sock, const void *data, size_t len,
                                    const neap_fd *fds, size_t fds_len, uint32_t flags,
                                    neap_future **ret_future);

/* Receives up to `len` bytes (of a datagram: those that fit) and the descriptors that were sent with them.  On a stream
   bytes that were sent before may stand in front, none that were sent after.  At once: the count, and *fds is filled; later:
   kind INT, and neap_future_take_fds.  Only fds->max counts before.  neap_sock_recv would lose them.
   Errors: NEAP_ENOTSUP for other than Unix sockets.
   [L] */
NEAP_API int32_t neap_sock_recv_fds(neap_sock *sock, void *data, size_t len, neap_fds *fds,
                                    uint32_t flags, neap_future **ret_future);

/* Takes the descriptors that a neap_sock_recv_fds received out of its future, once.  What nobody takes is closed with
   the future.
   Errors: NEAP_ETYPE for other futures, NEAP_EINVALID_STATE the second time, NEAP_ERANGE if there is not enough
   room: then fds->len tells how much is needed.
   [L] */
NEAP_API int32_t neap_future_take_fds(neap_future *future, neap_fds *fds);

/* Who was at the other end of a connected Unix socket when it was connected: fills `size` bytes of *ret_peer.
   Errors: NEAP_ENOTSUP if nobody is known.
   [L] */
NEAP_API int32_t neap_sock_peer_credentials(neap_sock *sock, neap_credentials *ret_peer,
                                            size_t size);
/* ---- Names --------------------------------------------------------------------------------------------- */

/* What a name stands for: addresses, the best first, and names.  Immutable, with a reference count. */

/* How many addresses there are: at least one.
   [M] */
NEAP_API size_t neap_addrs_count(const neap_addrs *addrs);

/* Copies the index-th address.
   Errors: NEAP_EINVAL out of range.
   [M] */
NEAP_API int32_t neap_addrs_get(const neap_addrs *addrs, size_t index, neap_addr *ret_addr);

/* The host name: the canonical one of neap_getaddrinfo if that was asked for, or what neap_getnameinfo has found; else NULL.
   Borrowed while the addresses live.
   [M] */
NEAP_API const char *neap_addrs_name(const neap_addrs *addrs);

/* The service name, or the port as digits, of neap_getnameinfo; else NULL.  Borrowed while the addresses live.
   [M] */
NEAP_API const char *neap_addrs_service(const neap_addrs *addrs);

/* Takes another reference; returns addrs.
   [M] */
NEAP_API neap_addrs *neap_addrs_ref(neap_addrs *addrs);

/* Ends a reference.
   [M] */
NEAP_API void neap_addrs_unref(neap_addrs *addrs);

enum {
    NEAP_CANONNAME = 256 /* flag of neap_getaddrinfo: ask for the canonical name, too */
};

/* Looks a host name up: its addresses of `family` (NEAP_AF_INET, NEAP_AF_INET6, or NEAP_AF_UNSPEC for both), in the order of
   RFC 6724, with the port of `service` (digits, or a name such as "https"; NULL: 0).  A starting call, with NEAP_CANONNAME beside
   the flags of those.  At once, with *ret_addrs a new reference, come numeric addresses, "localhost" and what ends in
   ".localhost" (both loopback addresses), and what the cache has; anything else comes later, through a future that
   neap_future_get_addrs reads.  The first such call starts a thread of the loop's: neither a hosts file nor a name server is ever
   waited for on the loop's own.  A cancel frees the caller at once; the late answer is dropped.  A pending lookup keeps a
   run from being a deadlock.  The text of a failure names host and cause.
   Errors: NEAP_ENAME_BAD for a host that is longer than 253 bytes, has an empty label or one longer than 63 bytes or a
   character that no host name has, or ends in a number and is no address; NEAP_EVALUE for a port above 65535;
   NEAP_ENAME_NO_ADDRESS for a numeric address of the other family; NEAP_ENAME_NOT_FOUND and NEAP_ENAME_NO_ADDRESS if the cache
   has that; NEAP_EAGAIN with NEAP_NOWAIT.  Of the future, too: NEAP_ENAME_NOT_FOUND, NEAP_ENAME_NO_ADDRESS,
   NEAP_ENAME_TEMPORARY, NEAP_ENAME_FAILED, NEAP_ESERVICE_NOT_FOUND.
   [L] */
NEAP_API int32_t neap_getaddrinfo(neap_loop *loop, const char *host, const char *service,
                                  int32_t family, uint32_t flags, neap_addrs **ret_addrs,
                                  neap_future **ret_future);

/* Looks for the name of an IP address (the address itself is what neap_addrs_get answers) and of the service at its port.
   NEAP_PENDING with a future that neap_future_get_addrs reads.
   Errors: NEAP_EVALUE for an address without a port.  Of the future: NEAP_ENAME_NOT_FOUND if it has no name, and the others of
   neap_getaddrinfo.
   [L] */
NEAP_API int32_t neap_getnameinfo(neap_loop *loop, const neap_addr *addr, neap_future **ret_future);

/* Reads the result of a lookup: borrowed while the future lives.
   [L] */
NEAP_API int32_t neap_future_get_addrs(neap_future *future, neap_addrs **ret_addrs);

typedef struct neap_resolver_options {
    size_t size;             /* sizeof(neap_resolver_options) */
    const char *engine;      /* "c-ares", "system", or NULL: c-ares where it was built in */
    const char *servers;     /* "127.0.0.1:5353,[::1]:53"; NULL: those of the file below */
    const char *resolv_conf; /* read again whenever it changes; NULL: /etc/resolv.conf */
    int64_t timeout_ns;      /* of the first try, of each server; 0: the file's, else 5 s */
    uint32_t tries;          /* of each server; 0: the file's, else 4 */
    uint32_t cache;          /* names that are kept for as long as their servers allow; 0: none */
    int64_t
        negative_ns; /* for how long it is kept among these that a name has no addresses; 0: not at all */
} neap_resolver_options;

/* Sets how names are looked up from now on, and empties the cache; lookups under way end as they were begun.  `options` NULL: the
   defaults.  c-ares asks all names at once, from one thread; the system's getaddrinfo blocks a thread of a pool for each, uses
   whatever the system is set up for, and does not tell how long an answer holds, so that no addresses are kept.  Neither tells
   for how long a name server allows to keep that there are none: that is negative_ns, for NEAP_ENAME_NOT_FOUND and
   NEAP_ENAME_NO_ADDRESS alone.  Both read files and environment (RES_OPTIONS, LOCALDOMAIN) as the system's resolver does.
   Errors: NEAP_ENOTSUP for an engine that is not there, or an option that it does not have (the system's: servers,
   resolv_conf, timeout_ns, tries); NEAP_EVALUE for a server that is no numeric address.
   [L] */
NEAP_API int32_t neap_loop_set_resolver(neap_loop *loop, const neap_resolver_options *options);

/* The engine that looks names up: "c-ares" or "system"; static.
   [L] */
NEAP_API const char *neap_loop_resolver(neap_loop *loop);

/* ---- Streams ------------------------------------------------------------------------------------------- */

/* A stream reads and writes the bytes of a connection, pipe or terminal through buffers.  Reading: one read at a time; what a
   read does not take stays for the next, also when a read fails, is cancelled or comes to its limit.  Writing: any number of
   writers; each write goes as one, in order.  Writes are gathered and go when the running step or callback ends, or at once
   when they are many; a failure to send is told by the next call that writes, waits for what was written, or closes.
   After Python's asyncio (StreamReader, StreamWriter), which keeps the two apart. */

/* Flags of the calls below, beside NEAP_NOWAIT and NEAP_WANT_FUTURE. */
enum {
    NEAP_STREAM_SHARED = 16, /* of neap_stream_open: others use the descriptor, too */
    NEAP_STREAM_REST = 32,   /* of neap_stream_read_until: what stands before the end will do */
    NEAP_STREAM_BUFFER = 64  /* of writes: take the bytes and do not wait, however many there are */
};

/* Makes a stream over a connected socket, which it keeps and closes.  From now on nobody else should receive from the socket or
   send to it.  Returns a new reference.
   Errors: NEAP_ENOTSUP for datagram sockets, NEAP_ENOTCONN before the descriptor was opened.
   [L] */
NEAP_API int32_t neap_stream_new(neap_sock *sock, neap_stream **ret_stream);

/* Makes a stream over any descriptor that can be read or written: a pipe, a terminal, a socket, a character device, a file.  It
   is taken on success and becomes non-blocking and close-on-exec.  With NEAP_STREAM_SHARED it stays the caller's, and its
   flags, which other processes may share, stay as they are: the stream opens the same thing anew or, where that is not
   possible, tells the kernel with each call that it must not block.  So standard input, output and errors are used.  Of what
   cannot be opened anew, terminals, and pipes of kernels before 6.4, know no such calls; there the kernel is asked before
   each whether it would block, and it still can if another process comes between.  Files do not announce anything: they are
   read and written on the spot.  Returns a new reference.
   Errors: NEAP_EBADF, NEAP_EBUSY_FD.
   [L] */
NEAP_API int32_t neap_stream_open(neap_loop *loop, neap_fd fd, uint32_t flags,
                                  neap_stream **ret_stream);

/* Two streams that are connected to each other: two new references.
   [L] */
NEAP_API int32_t neap_stream_pair(neap_loop *loop, neap_stream **ret_a, neap_stream **ret_b);

/* Takes another reference; returns stream.
   [M] */
NEAP_API neap_stream *neap_stream_ref(neap_stream *stream);

/* Ends a reference; the last one closes the stream at once, unless neap_stream_close has begun to.
   [M] */
NEAP_API void neap_stream_unref(neap_stream *stream);

/* The socket of the stream, for its names and options: borrowed while the stream lives.  Of a pipe or terminal its calls answer
   that it is no socket.
   [M] */
NEAP_API neap_sock *neap_stream_sock(neap_stream *stream);

/* The address of the peer of a connection, as long as the stream lives: also when the peer has gone, and after close.
   Errors: NEAP_ECLOSED after close if the socket was adopted or one of a pair; of a pipe or terminal, that it is no socket.
   [L] */
NEAP_API int32_t neap_stream_peer(neap_stream *stream, neap_addr *ret_addr);

/* Reading.  At once: the number of bytes (0: the end of the stream), and *ret_data lent until the next call of this stream,
   the next read of another, or the end of the running step or callback; later: NEAP_PENDING and a future of kind BYTES,
   empty at the end.
   Errors of all: NEAP_EBUSY while another read waits, NEAP_ECLOSED, the system's; bytes that came before an error are
   read first.  A failed read takes nothing. */

/* Reads what is there, at least one byte, up to `max`.
   [L] */
NEAP_API int64_t neap_stream_read(neap_stream *stream, size_t max, uint32_t flags,
                                  const void **ret_data, neap_future **ret_future);

/* Reads `n` bytes.
   Errors: NEAP_EINCOMPLETE if the end comes before; what is there can be read by other means.
   [L] */
NEAP_API int64_t neap_stream_read_exactly(neap_stream *stream, size_t n, uint32_t flags,
                                          const void **ret_data, neap_future **ret_future);

/* Reads up to and with the first of `count` (at most 16) delimiters, `limit` bytes at most.  With NEAP_STREAM_REST in `flags`
   what stands between the last delimiter and the end counts, too.
   Errors: NEAP_ELIMIT, NEAP_EINCOMPLETE; what is there can be read by other means.
   [L] */
NEAP_API int64_t neap_stream_read_until(neap_stream *stream, const neap_iov *delims, size_t count,
                                        size_t limit, uint32_t flags, const void **ret_data,
                                        neap_future **ret_future);

/* Reads all up to the end, `limit` bytes at most.
   Errors: NEAP_ELIMIT.
   [L] */
NEAP_API int64_t neap_stream_read_all(neap_stream *stream, size_t limit, uint32_t flags,
                                      const void **ret_data, neap_future **ret_future);

/* Waits until `n` bytes can be read without waiting.  Answers n, or fewer before the end (kind INT).  With
   neap_stream_peek and neap_stream_consume for parsers.
   [L] */
NEAP_API int64_t neap_stream_fill(neap_stream *stream, size_t n, uint32_t flags,
                                  neap_future **ret_future);

/* The bytes that have come and were not read: how many, and *ret_data lent as above.  Never waits.
   [L] */
NEAP_API int64_t neap_stream_peek(neap_stream *stream, const void **ret_data);

/* Takes so many of the bytes that neap_stream_peek shows.
   Errors: NEAP_EINVAL if there are fewer, NEAP_EBUSY while a read waits.
   [L] */
NEAP_API int32_t neap_stream_consume(neap_stream *stream, size_t n);

/* Puts bytes in front of what is to be read.  Giving back what was just lent cannot fail.
   [L] */
NEAP_API int32_t neap_stream_unread(neap_stream *stream, const void *data, size_t len);

/* 1 if all was read and the end, or a failure, has come.
   [L] */
NEAP_API int32_t neap_stream_at_end(const neap_stream *stream);

/* Writes `len` bytes, which are copied.  At once: len.  Later: NEAP_PENDING and a future (kind NONE) for who wrote beyond the high
   mark: the bytes are taken all the same, and the future is done when those unsent are down to the low mark.  With
   NEAP_NOWAIT nothing is taken above the high mark; without memory for the future the answer is len.  Large writes to an
   idle stream are not copied if the kernel takes them.  Never raises SIGPIPE.
   Errors: why an earlier write could not be sent; NEAP_EPIPE after neap_stream_write_eof; NEAP_EAGAIN.
   [L] */
NEAP_API int64_t neap_stream_write(neap_stream *stream, const void *data, size_t len,
                                   uint32_t flags, neap_future **ret_future);

/* As neap_stream_write, of several pieces as one write.
   [L] */
NEAP_API int64_t neap_stream_writev(neap_stream *stream, const neap_iov *parts, size_t count,
                                    uint32_t flags, neap_future **ret_future);

/* Writes `count` bytes (-1: all that is left) of a file from `offset` on, without copying them where the kernel can.  The
   descriptor is duplicated.  At once: how many; later: a future (kind NONE).  NEAP_NOWAIT as for neap_stream_write.  The
   file is read on the loop's thread.
   Errors: NEAP_EINVAL if it is no regular file, NEAP_EBADF if it is not open for reading, NEAP_EINCOMPLETE if it is
   shorter; one that becomes shorter meanwhile ends the stream's writing with that.
   [L] */
NEAP_API int64_t neap_stream_sendfile(neap_stream *stream, neap_fd fd, int64_t offset,
                                      int64_t count, uint32_t flags, neap_future **ret_future);

/* Waits until the kernel has all that was written.  0 at once, or a future (kind NONE).
   [L] */
NEAP_API int32_t neap_stream_drain(neap_stream *stream, uint32_t flags, neap_future **ret_future);

/* Ends writing: the peer reads the end when it has read the rest.  As neap_stream_drain.  A pipe or terminal is closed.
   [L] */
NEAP_API int32_t neap_stream_write_eof(neap_stream *stream, uint32_t flags,
                                       neap_future **ret_future);

/* Sets from how many unsent bytes on writers wait, and until how many.  65536 and 16384 if never set.
   [L] */
NEAP_API int32_t neap_stream_set_marks(neap_stream *stream, size_t low, size_t high);

/* The number of bytes that were written and that the kernel does not have yet.
   [L] */
NEAP_API int64_t neap_stream_unsent(const neap_stream *stream);

/* Closes when all that was written has gone; a waiting read ends with NEAP_ECLOSED at once.  0, or NEAP_PENDING and a future (kind
   NONE) if ret_future is not NULL; with NULL or NEAP_NOWAIT the rest goes by itself.  Cancelling the future closes at once, as
   neap_stream_abort.  Idempotent.
   Errors: why something could not be sent; the stream is closed then, too.
   [L] */
NEAP_API int32_t neap_stream_close(neap_stream *stream, uint32_t flags, neap_future **ret_future);

/* Closes at once: what was not sent is lost, and a peer over TCP is told so by a reset.  Idempotent.
   [L] */
NEAP_API int32_t neap_stream_abort(neap_stream *stream);

/* Push mode: callbacks instead of reads.  All run from the loop's batch, in the task-local values of neap_stream_start, and may
   call everything: close, stop, pause, let go of the stream.  Order: any number of `data`, then `eof` at most once, then
   `closed` exactly once; after neap_stream_close or neap_stream_abort only `closed` comes.  Of one stream about 64 KiB are
   received per tick. */
typedef struct neap_stream_callbacks {
    size_t size; /* sizeof(neap_stream_callbacks) */
    /* The user's memory for the next bytes: its address in *ret_data, its length as the result, `suggested` being only that.
       0: nothing is received until neap_stream_resume.  It is free again when `data` was called with it or this is called
       anew; nothing may have come.  NULL: bytes are lent. */
    size_t (*buffer)(neap_stream *stream, size_t suggested, void **ret_data, void *user);
    /* Bytes have come; lent until it returns, unless they stand in memory from `buffer`.  What is given back by
       neap_stream_unread comes again in front of the next ones. */
    void (*data)(neap_stream *stream, const void *data, size_t len, void *user);
    /* The end of what the peer sends.  Writing goes on.  NULL: the stream is closed as by neap_stream_close. */
    void (*eof)(neap_stream *stream, void *user);
    /* The stream is closed.  0: by neap_stream_close, and all has gone; NEAP_ECLOSED: at once, by whatever means, or with the
       loop; else why it could not be read or written.  A failure closes.  May be NULL. */
    void (*closed)(neap_stream *stream, int32_t code, void *user);
    /* More than the high mark was unsent, and now not more than the low mark is.  May be NULL. */
    void (*can_write)(neap_stream *stream, void *user);
} neap_stream_callbacks;

/* Calls the callbacks, which are copied, from now on; what has come already comes first.  Reads answer NEAP_EBUSY meanwhile.
   The caller keeps its reference to the stream.  `destroy` runs after the last callback.  A loop that is closed silently calls
   only that.
   Errors: NEAP_EBUSY while a read waits or if it was started, NEAP_ECLOSED.
   [L] */
NEAP_API int32_t neap_stream_start(neap_stream *stream, const neap_stream_callbacks *callbacks,
                                   void *user, neap_destroy_fn destroy);

/* Ends push mode without another callback; bytes that have come stay for reads.  Returns 1 if it was started, else 0.
   [L] */
NEAP_API int32_t neap_stream_stop(neap_stream *stream);

/* Receives nothing until neap_stream_resume: `data` and `eof` do not come, and that the peer has gone is seen only by writing.
   At once, also inside a callback.  Idempotent.
   Errors: NEAP_EINVALID_STATE if it was not started, NEAP_ECLOSED.
   [L] */
NEAP_API int32_t neap_stream_pause(neap_stream *stream);

/* Receives again; calls nothing before it returns.  Idempotent.
   Errors: as neap_stream_pause.
   [L] */
NEAP_API int32_t neap_stream_resume(neap_stream *stream);
/* ---- Listeners of several loops ------------------------------------------------------------------------ */

/* For a program that runs one loop per thread, each of which does the same: what their sockets bind (TCP, UDP, Unix), they bind
   together, and each of them gets its part of the connections.  Each loop has a place.  IP addresses have a socket for each
   place, among which the kernel spreads connections (SO_REUSEPORT), without letting other processes in; a port 0 is the same
   port for all that listen on it in the same order.  A Unix address has one socket for all.  A socket that has the option
   "reuseport" before it is bound is left alone.

   What a place listens on outlives its loop, with the connections that wait to be accepted: the next loop of the place finds
   them when it binds the same address.  Meanwhile new ones go to the other places.  neap_sock_close gives a place at an
   address up for good, unless the loop's shutdown has begun. */

/* Makes one with so many places, 1 to 256.  `allocator` (NULL: malloc) is called from any thread.  Returns a new reference.
   Errors: NEAP_EINVAL, NEAP_ENOMEM.
   [M] */
NEAP_API int32_t neap_listeners_new(const neap_allocator *allocator, int32_t places,
                                    neap_listeners **ret_listeners);

/* Takes another reference; returns listeners.
   [M] */
NEAP_API neap_listeners *neap_listeners_ref(neap_listeners *listeners);

/* Ends a reference; loops have one each until they are closed.  With the last one everything that was kept is closed.
   [M] */
NEAP_API void neap_listeners_unref(neap_listeners *listeners);

/* From now on the loop's sockets bind as the place number `place` (from 0) of these listeners, until the loop is closed.
   Errors: NEAP_EBUSY while another loop has the place, NEAP_EINVALID_STATE if the loop has listeners.
   [L] */
NEAP_API int32_t neap_loop_set_listeners(neap_loop *loop, neap_listeners *listeners, int32_t place);

/* Nobody takes the place again: what was kept for it is closed, and what it still has is not kept any more.  Takes effect
   until a loop is given the place all the same.
   [M] */
NEAP_API int32_t neap_listeners_leave(neap_listeners *listeners, int32_t place);

/* ---- Connecting ---------------------------------------------------------------------------------------- */

typedef struct neap_connect_options {
    size_t size;            /* sizeof(neap_connect_options) */
    const neap_addr *local; /* bound first: only its family is tried; NULL: the system's choice */
    int64_t delay_ns;       /* between attempts; 0: 250 ms, -1: the next one only after a failure */
    int32_t prefer;         /* the family tried first; NEAP_AF_UNSPEC: that of the best address */
} neap_connect_options;

/* Connects to "host:port", where host is a name or a numeric address ("[::1]:80") and port may be the name of a service, or to a
   Unix stream ("/path", "unix:PATH", "@abstract").  A name is looked up as neap_getaddrinfo does, and its addresses are tried as
   RFC 8305 (happy eyeballs) says: the families in turn, the next address once the one before has failed or after a delay.
   The first connection is the result (kind SOCK: neap_future_take_sock), the others are closed.  Returns 0 with a future, a new
   reference, which may be done.  `options` may be NULL.  A cancel closes everything; one that meets a connection that is
   there loses.
   Errors: NEAP_EVALUE for a text that is no address, NEAP_ENAME_BAD.  Of the future: those of neap_getaddrinfo; if no address
   could be connected to, the code of a shortage if there was one, else of the first that did not only fail for want of a
   route, of an address of our own or of its family; the text tells of all (neap_future_tried).
   [L] */
NEAP_API int32_t neap_connect(neap_loop *loop, const char *address,
                              const neap_connect_options *options, neap_future **ret_future);

/* The index-th address that a neap_connect tried in vain, in order of trying, and why it failed.  Returns 1, or 0 behind the last
   and of other futures.
   [L] */
NEAP_API int32_t neap_future_tried(neap_future *future, size_t index, neap_addr *ret_addr,
                                   int32_t *ret_code);

/* ---- Watches on descriptors ---------------------------------------------------------------------------- */

enum {
    NEAP_READ = 1,
    NEAP_WRITE = 2
};

/* Calls fn(user) in each tick in which `fd` is readable, until removed.  The descriptor stays the caller's and must be
   removed before it is closed.  One reader per descriptor: a second replaces the first.  Returns 1 if it replaced one,
   else 0.
   Errors: NEAP_EBADF, NEAP_EPERM for a regular file, NEAP_EBUSY_FD while a one-shot wait has this direction.
   [L] */
NEAP_API int32_t neap_add_reader(neap_loop *loop, neap_fd fd, neap_fn fn, void *user,
                                 neap_destroy_fn destroy);

/* Removes the reader.  Returns 1 if there was one, else 0.
   [L] */
NEAP_API int32_t neap_remove_reader(neap_loop *loop, neap_fd fd);

/* As neap_add_reader, when `fd` is writable.
   [L] */
NEAP_API int32_t neap_add_writer(neap_loop *loop, neap_fd fd, neap_fn fn, void *user,
                                 neap_destroy_fn destroy);

/* As neap_remove_reader.
   [L] */
NEAP_API int32_t neap_remove_writer(neap_loop *loop, neap_fd fd);

/* Waits once until `fd` is ready in one direction (NEAP_READ or NEAP_WRITE).  At once: the event; later: kind INT.
   Errors: as neap_add_reader; NEAP_EBUSY_FD if another waiter has this descriptor and direction.
   [L] */
NEAP_API int32_t neap_fd_ready(neap_loop *loop, neap_fd fd, int32_t event, uint32_t flags,
                               neap_future **ret_future);

/* ---- Signals ------------------------------------------------------------------------------------------- */

enum {
    NEAP_SIGNAL_CHAIN = 1 /* also call the handler that was there before */
};

typedef void (*neap_signal_fn)(int32_t signo, void *user);

/* Calls fn(signo, user) from the loop after the signal arrived; arrivals between two ticks count as one.  The handler that
   was there before is saved, and put back when the last watch of the signal in the process ends.  Nothing is touched
   unless this is called.  The handle (new reference; may be NULL) ends the watch by neap_handle_cancel.
   Errors: NEAP_EINVAL for signals that cannot be caught.
   [L] */
NEAP_API int32_t neap_signal_watch(neap_loop *loop, int32_t signo, uint32_t flags,
                                   neap_signal_fn fn, void *user, neap_destroy_fn destroy,
                                   neap_handle **ret_handle);

/* For hosts that own the handlers: tells the loop that the signal arrived.
   [S] */
NEAP_API int32_t neap_signal_deliver(neap_loop *loop, int32_t signo);

/* ---- Thread pools -------------------------------------------------------------------------------------- */

/* Threads that run what would block a loop.  A pool belongs to no loop: any number of loops give it jobs, and each hears of
   the end of its own on its own thread.  Threads are made when there is work for them and end after some idle time; they
   block all signals.  A job cannot be stopped from outside: who cancels the future of one that runs is free at once, the job
   can ask whether it is still wanted, and what it brings is destroyed.  Jobs keep a run from being a deadlock and a
   virtual clock from moving.  A child after fork has none of the threads: there a pool does nothing. */

typedef struct neap_pool_options {
    size_t size;
    const neap_allocator *allocator; /* copied; called from any thread; NULL: malloc */
    const char *name;                /* copied; of reports and threads; NULL: "pool" */
    uint32_t threads_max;            /* 0: 4 */
    int32_t queue_max;               /* jobs that may wait for a thread; 0: 1,024, -1: any number */
    int64_t idle_ns;                 /* a thread without work ends after that; 0: 10 s, -1: never */
    neap_fn thread_start;            /* called on each new thread with `user`; may be NULL */
    neap_fn thread_stop;             /* and before it ends; may be NULL */
    void *user;
    neap_destroy_fn destroy;
} neap_pool_options;

/* Makes a pool; its first thread comes with the first job.  `options` may be NULL.  Returns a new reference.
   Errors: NEAP_EINVAL, NEAP_ENOMEM, NEAP_E2BIG for options from the future.
   [M] */
NEAP_API int32_t neap_pool_new(const neap_pool_options *options, neap_pool **ret_pool);

/* Takes another reference; returns pool.
   [M] */
NEAP_API neap_pool *neap_pool_ref(neap_pool *pool);

/* Ends a reference.  With the last one the pool takes no more jobs; those that it has are done, and its threads end when
   nobody waits for them: neap_pool_shutdown before it is the way to wait.
   [M] */
NEAP_API void neap_pool_unref(neap_pool *pool);

/* The name of the pool: borrowed while the pool lives.
   [M] */
NEAP_API const char *neap_pool_name(const neap_pool *pool);

/* Runs on a thread of the pool.  The result of the job: zero or more, or a negative code. */
typedef int64_t (*neap_job_fn)(neap_job *job, void *user);

/* Sets the outcome of the future of a job with the result `result`, of which `user` may hold the rest: bytes, a pointer, an
   object.  Runs on the loop's thread when the news arrives there, or in a cancel that comes too late, so it may set the outcome
   and make objects, but neither run nor close the loop.  What it takes out of `user` the destroy hook must not find there.  With a negative answer the
   future fails with that code. */
typedef int32_t (*neap_job_finish_fn)(neap_future *future, int64_t result, void *user);

typedef struct neap_job_options {
    size_t size;
    const char *name;          /* copied; for reports; NULL: "job" */
    neap_job_finish_fn finish; /* NULL: the result is an integer or a failure */
} neap_job_options;

/* Gives the pool a job: fn(job, user) runs once on one of its threads, in order of submission as threads become free.
   *ret_future is a new reference to a future of `loop`, on whose thread this is called then; dropping it leaves the job alone,
   cancelling it takes a job back that has not begun.  With ret_future NULL nobody hears of the end, `finish` is not called,
   `loop` may be NULL, and this may be called on any thread.  `options` may be NULL.  `destroy` runs when the job is over or was
   taken back: on the thread of `loop`, or on any if there is none or it has closed.
   Errors: NEAP_EBUSY if the queue is full, NEAP_EAGAIN if there is no thread and the system refuses one, NEAP_ECLOSED after
   neap_pool_close, NEAP_E2BIG for options from the future.  Of the future: what fn answered, NEAP_ECLOSED if the pool
   was closed before the job began.
   [M] */
NEAP_API int32_t neap_pool_submit(neap_pool *pool, neap_loop *loop, neap_job_fn fn, void *user,
                                  neap_destroy_fn destroy, const neap_job_options *options,
                                  neap_future **ret_future);

/* 0 once nobody wants the result any more: the future was cancelled, or a shutdown of the pool has waited long enough.
   [M] (while the job runs) */
NEAP_API int32_t neap_job_wanted(const neap_job *job);

/* Keeps a pointer for a binding with the thread that runs the job, under `tag` (compared by address), for later jobs on
   the same thread.  A second set replaces; ptr NULL removes.  `destroy` runs at replacement or before the thread ends.
   Errors: NEAP_ENOMEM, NEAP_EWRONGTHREAD outside the job's function.
   [M] (in the job's function) */
NEAP_API int32_t neap_job_set_data(neap_job *job, const void *tag, void *ptr,
                                   neap_destroy_fn destroy);

/* The pointer that the job's thread has under `tag`, or NULL.
   [M] (in the job's function) */
NEAP_API void *neap_job_get_data(neap_job *job, const void *tag);

typedef struct neap_pool_stats {
    size_t size;
    uint32_t threads;         /* alive */
    uint32_t idle;            /* of them */
    uint32_t queued;          /* jobs that no thread has begun */
    uint32_t running;         /* jobs */
    uint64_t done;            /* jobs that have run */
    uint64_t dropped;         /* that were taken back or refused before they began */
    int64_t queue_longest_ns; /* that a job waited before it began */
    int64_t queue_total_ns;   /* that all together waited */
    int64_t run_longest_ns;   /* that a job ran */
} neap_pool_stats;

/* Fills at most `size` bytes of *out.  Returns how many were filled.
   [M] */
NEAP_API int32_t neap_pool_get_stats(neap_pool *pool, neap_pool_stats *out, size_t size);

enum {
    NEAP_POOL_FINISH = 1 /* jobs that wait are done first; without it they fail with NEAP_ECLOSED */
};

/* Ends submission; idle threads end.  Returns 1, or 0 if it was closed.  A second call without NEAP_POOL_FINISH still refuses what
   waits.
   [M] */
NEAP_API int32_t neap_pool_close(neap_pool *pool, uint32_t flags);

/* A future (kind NONE) of the end of all threads of a pool that was closed: 0 if none is left, else NEAP_PENDING.
   Errors: NEAP_EINVALID_STATE if the pool was not closed.
   [L] */
NEAP_API int32_t neap_pool_closed(neap_pool *pool, neap_loop *loop, neap_future **ret_future);

/* Told of a job that a shutdown leaves behind: its name, and how long it has been running. */
typedef void (*neap_job_left_fn)(const char *name, int64_t running_ns, void *user);

/* neap_pool_close, then waits at most `timeout_ns` (-1: for ever) for the threads to end.  Jobs that still run then are
   unwanted from there on and left behind: each is named to fn(name, running_ns, user), which may be NULL and runs before
   this returns; who waits for one still can.  The library stays loaded for their sake.  Returns how many were left.
   Errors: NEAP_EREENTRANT inside a job of this pool, NEAP_EINVAL, NEAP_EFORKED.
   [M] (blocks) */
NEAP_API int32_t neap_pool_shutdown(neap_pool *pool, int64_t timeout_ns, uint32_t flags,
                                    neap_job_left_fn fn, void *user);

/* The pools of a loop, each made when it is first used.  They are apart so that slow work of one kind does not stop
   another. */
enum {
    NEAP_POOL_FILES = 0, /* what the library does with files */
    NEAP_POOL_NAMES = 1, /* and with names */
    NEAP_POOL_USER = 2   /* what programs give away */
};

/* The loop's pool of a kind.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_loop_pool(neap_loop *loop, int32_t which, neap_pool **ret_pool);

/* Gives the loop another pool, of which it takes a reference; NULL: one of its own again, when needed.  A pool of the loop's
   own finishes its jobs; when the loop closes, its own pools are shut down, within half a second each, and jobs that are
   left behind are logged.
   [L] */
NEAP_API int32_t neap_loop_set_pool(neap_loop *loop, int32_t which, neap_pool *pool);
/* ---- Processes ------------------------------------------------------------------------------------------ */

/* A child process is watched through its pidfd: no handler for SIGCHLD is needed, no child of the host's is reaped, and no
   signal goes to a process that has taken over its number.  Its end is its exit, whoever else may have its pipes. */

enum {
    NEAP_PROCESS_KILL =
        1, /* SIGKILL when the last reference goes or the loop closes; else it runs on */
    NEAP_PROCESS_CLEAR_ENV = 2,     /* its environment is only what `env` says */
    NEAP_PROCESS_GROUP = 4,         /* leads a process group of its own */
    NEAP_PROCESS_SESSION = 8,       /* leads a session, and so a process group, of its own */
    NEAP_PROCESS_UID = 16,          /* `uid` counts */
    NEAP_PROCESS_GID = 32,          /* `gid` counts */
    NEAP_PROCESS_KEEP_FDS = 64,     /* inherits also what is not close-on-exec */
    NEAP_PROCESS_KEEP_SIGNALS = 128 /* inherits the signal mask, and which signals are ignored */
};

/* What a descriptor of a child is. */
enum {
    NEAP_PROCESS_INHERIT = 0,  /* the parent's of the same number */
    NEAP_PROCESS_NULL = 1,     /* /dev/null */
    NEAP_PROCESS_PIPE_IN = 2,  /* a pipe that the child reads */
    NEAP_PROCESS_PIPE_OUT = 3, /* a pipe that the child writes */
    NEAP_PROCESS_PAIR = 4,     /* a Unix stream socket, for both */
    NEAP_PROCESS_FD = 5,       /* the parent's descriptor `fd`, which is borrowed for the call */
    NEAP_PROCESS_SAME = 6 /* what the child's descriptor `fd` is, which stands before in the list */
};

typedef struct neap_process_fd {
    int32_t number; /* in the child */
    int32_t source; /* NEAP_PROCESS_INHERIT ... */
    neap_fd fd;
} neap_process_fd;

typedef struct neap_process_options {
    size_t size; /* sizeof(neap_process_options) */
    const char *
        file; /* the program: without a slash it is searched along the PATH of the child's environment; NULL: args[0] */
    const char *const *args; /* ends with NULL; the first is the name that the program sees */
    const char *const *
        env; /* ends with NULL; "NAME=value" adds to the parent's or replaces, "NAME" removes; may be NULL */
    const char *cwd; /* where it runs, and where relative paths begin; NULL: the parent's */
    const neap_process_fd
        *fds; /* 0, 1 and 2 are inherited if they are not listed, all others closed */
    size_t n_fds;
    uint32_t flags; /* NEAP_PROCESS_* */
    uint32_t uid;
    uint32_t gid;
    const uint32_t *groups; /* supplementary, where uid or gid is given: exactly these */
    size_t n_groups;
    int32_t death_signal; /* that the child gets when the thread that started it ends; 0: none */
    const char *
        *step; /* where to name what failed: "exec", "chdir", "setuid" ..., static; may be NULL */
} neap_process_options;

/* How a process ended. */
enum {
    NEAP_EXITED = 1,      /* `code`: its exit code */
    NEAP_SIGNALED = 2,    /* `code`: the signal */
    NEAP_EXIT_UNKNOWN = 3 /* the host reaps all children: somebody else has the status */
};

typedef struct neap_process_status {
    size_t size; /* bytes filled in */
    int32_t how; /* NEAP_EXITED ... */
    int32_t code;
    int32_t dumped;    /* a core was written */
    int64_t user_ns;   /* processor time of it and of the children that it waited for */
    int64_t system_ns; /* likewise; both 0 if somebody else reaped it */
    int64_t max_rss;   /* bytes, likewise */
} neap_process_status;

/* Starts a program as a child process.  The calling thread is suspended until the program has begun or failed to, some
   hundred microseconds whatever the size of the host: no memory is copied, but for a child that becomes another user.  All
   signals are blocked meanwhile; in the child they have their defaults and none is blocked.  Returns a new reference.
   Errors: those of the system for the step that options->step names, NEAP_ENOENT if there is no such program; NEAP_EINVAL,
   NEAP_E2BIG for options from the future.
   [L] */
NEAP_API int32_t neap_process_spawn(neap_loop *loop, const neap_process_options *options,
                                    neap_process **ret_process);

/* Takes another reference; returns process.
   [M] */
NEAP_API neap_process *neap_process_ref(neap_process *process);

/* Ends a reference.  After the last one the process runs on, or is killed with NEAP_PROCESS_KILL; the loop reaps it when
   it ends.  If the loop is closed before, it is killed and reaped, or from then on a child that is the host's to reap.
   [M] */
NEAP_API void neap_process_unref(neap_process *process);

/* The process's loop: borrowed while the process lives.
   [M] */
NEAP_API neap_loop *neap_process_loop(const neap_process *process);

/* Its number, also after its end, when another may have it.
   [M] */
NEAP_API int32_t neap_process_pid(const neap_process *process);

/* The parent's end of the pipe or socket that is the child's descriptor `number`: non-blocking, close-on-exec, and from now on
   the caller's.  What is not taken is closed with the last reference.
   Errors: NEAP_EBADF if there is none, or it was taken.
   [L] */
NEAP_API neap_fd neap_process_take_fd(neap_process *process, int32_t number);

/* Waits until the process has ended.  0 at once, or NEAP_PENDING with a future (kind NONE); with ret_future NULL, NEAP_EAGAIN
   instead.  Any number may wait, and the status stays.
   Errors of the future: NEAP_ECLOSED.
   [L] */
NEAP_API int32_t neap_process_wait(neap_process *process, neap_future **ret_future);

/* How it ended.  `size` is sizeof(neap_process_status); returns how many bytes were filled in.
   Errors: NEAP_EPENDING while it runs, also if its loop was closed meanwhile.
   [L] */
NEAP_API int32_t neap_process_get_status(neap_process *process, neap_process_status *ret_status,
                                         size_t size);

/* Sends a signal; 0 only asks whether it runs.
   Errors: NEAP_ESRCH once it has ended, NEAP_EPERM if it has another user, NEAP_EINVAL.
   [L] */
NEAP_API int32_t neap_process_kill(neap_process *process, int32_t signo);

/* Sends a signal to all processes of the group that it leads, also when it has ended itself (Linux 6.9).
   Errors: NEAP_EINVALID_STATE if it was started without a group; as neap_process_kill.
   [L] */
NEAP_API int32_t neap_process_kill_group(neap_process *process, int32_t signo);
/* ---- Files --------------------------------------------------------------------------------------------- */

/* Files are always ready and may take long all the same, so each operation is made by a thread of the loop's pool of files, or
   by the kernel (io_uring).  It is one trip there, however many calls it takes.

   Rules of this section
   - Paths are pointer and length, need no final zero and may have any length that the system takes.  One with a zero inside
     answers NEAP_EVALUE.  They are copied, as is what is written.
   - Operations answer NEAP_PENDING and a new reference to a future in *ret_future, or a negative failure; reads may have
     their bytes at once.  What the system refuses comes through the future.
   - A cancel frees whoever waits at once.  What had begun may still happen, and is stopped where that can be done; memory and
     descriptors are kept until then.  A file that was opened for nobody is closed again, bytes that were read for nobody are
     read again by the next, and neap_future_partial tells how much is known to be written.
   - Interrupted and partial calls of the system are continued. */

enum {
    NEAP_OPEN_READ = 1,
    NEAP_OPEN_WRITE = 2,
    NEAP_OPEN_APPEND = 4, /* write at the end, wherever that is by then */
    NEAP_OPEN_CREATE = 8,
    NEAP_OPEN_EXCL = 16, /* create, and fail with NEAP_EEXIST if it is there */
    NEAP_OPEN_TRUNCATE = 32,
    NEAP_OPEN_NOFOLLOW = 64 /* fail if the last part of the path is a symbolic link */
};

/* Opens a file: `how` is a sum of NEAP_OPEN_*, `permissions` are those of a new file before the process's umask.  Kind FILE.
   The descriptor is close-on-exec, and non-blocking, so that nothing waits for the other end of a pipe or for a terminal:
   reads and writes of such files answer NEAP_EAGAIN when they would wait.
   [L] */
NEAP_API int32_t neap_file_open(neap_loop *loop, const char *path, size_t len, uint32_t how,
                                uint32_t permissions, neap_future **ret_future);

/* Makes a file of a descriptor, which is taken on success; it becomes close-on-exec.  The position is where it stands.
   Errors: NEAP_EBADF.
   [L] */
NEAP_API int32_t neap_file_adopt(neap_loop *loop, neap_fd fd, neap_file **ret_file);

/* Takes another reference; returns file.
   [M] */
NEAP_API neap_file *neap_file_ref(neap_file *file);

/* Ends a reference; the last one closes the file as soon as nothing uses it any more.
   [M] */
NEAP_API void neap_file_unref(neap_file *file);

/* Closes the file: pending operations complete with NEAP_ECLOSED.  The future completes when the descriptor is closed, with
   what the system says of it; it is closed also after a failure or a cancel.  A closed file answers 0.
   [L] */
NEAP_API int32_t neap_file_close(neap_file *file, neap_future **ret_future);

/* The descriptor, borrowed: NEAP_ECLOSED after close.
   [L] */
NEAP_API neap_fd neap_file_fd(const neap_file *file);

/* The path that it was opened by, "" for an adopted descriptor: borrowed while the file lives.
   [M] */
NEAP_API const char *neap_file_path(const neap_file *file);

/* The file's loop: borrowed while the file lives.
   [M] */
NEAP_API neap_loop *neap_file_loop(const neap_file *file);

/* Reads `len` bytes where the file's position is, and moves it; less only if the file ends before.  Reads, writes and seeks of
   one file happen in the order of the calls.  What is in memory comes at once, up to 256 KiB: the count, and a new reference
   to the bytes in *ret_buf; later: kind BYTES.  NEAP_NOWAIT and NEAP_WANT_FUTURE as for sockets; ret_buf may be NULL with the
   latter.
   [L] */
NEAP_API int32_t neap_file_read(neap_file *file, size_t len, uint32_t flags, neap_buf **ret_buf,
                                neap_future **ret_future);

/* As neap_file_read, from `offset` on.  It moves no position and waits for no other operation.
   [L] */
NEAP_API int32_t neap_file_pread(neap_file *file, int64_t offset, size_t len, uint32_t flags,
                                 neap_buf **ret_buf, neap_future **ret_future);

/* Writes all of it where the position is, or at the end of a file opened to append.  Kind INT: len.
   Errors: NEAP_ENOSPC, NEAP_EFBIG and others; neap_future_partial tells how much went, and the position is behind that.
   [L] */
NEAP_API int32_t neap_file_write(neap_file *file, const void *data, size_t len,
                                 neap_future **ret_future);

/* As neap_file_write, from `offset` on, without a position; a file opened to append is written at its end all the same.
   [L] */
NEAP_API int32_t neap_file_pwrite(neap_file *file, int64_t offset, const void *data, size_t len,
                                  neap_future **ret_future);

enum {
    NEAP_SEEK_SET = 0,
    NEAP_SEEK_CUR = 1,
    NEAP_SEEK_END = 2
};

/* Moves the position by `offset` from where `whence` says.  At once: 0, and the new position in *ret_pos; later, behind
   operations under way and from the end: kind INT.
   Errors: NEAP_ESPIPE for a file without positions, NEAP_EINVAL before its beginning.
   [L] */
NEAP_API int32_t neap_file_seek(neap_file *file, int64_t offset, int32_t whence, int64_t *ret_pos,
                                neap_future **ret_future);

/* What the system knows of the file: neap_future_get_stat.
   [L] */
NEAP_API int32_t neap_file_stat(neap_file *file, neap_future **ret_future);

/* Completes when what was written is on the medium; data_only 1: without what only describes the file.
   [L] */
NEAP_API int32_t neap_file_sync(neap_file *file, int32_t data_only, neap_future **ret_future);

/* Cuts the file to `size` bytes, or extends it by zeros; the position stays.
   [L] */
NEAP_API int32_t neap_file_truncate(neap_file *file, int64_t size, neap_future **ret_future);

enum {
    NEAP_FILE_UNKNOWN = 0,
    NEAP_FILE_REGULAR = 1,
    NEAP_FILE_DIRECTORY = 2,
    NEAP_FILE_SYMLINK = 3,
    NEAP_FILE_FIFO = 4,
    NEAP_FILE_SOCKET = 5,
    NEAP_FILE_CHAR = 6,
    NEAP_FILE_BLOCK = 7
};

#define NEAP_TIME_NOW (-INT64_MAX) /* of a time to set: now */
#define NEAP_TIME_OMIT INT64_MIN   /* leave it; as an answer: not known */

/* What is known of a file. */
typedef struct neap_stat {
    size_t size;          /* sizeof(neap_stat) */
    int32_t type;         /* NEAP_FILE_* */
    uint32_t permissions; /* 07777 */
    uint64_t bytes;
    uint64_t allocated; /* bytes on the medium */
    uint64_t device;
    uint64_t inode;
    uint64_t links;
    uint32_t user;
    uint32_t group;
    int64_t atime_ns; /* read; these four in ns since 1970 */
    int64_t mtime_ns; /* written */
    int64_t ctime_ns; /* changed in any way */
    int64_t birth_ns; /* made; NEAP_TIME_OMIT where that is not kept */
} neap_stat;

/* Reads what a stat found into *ret_stat, of which `size` bytes are there.
   [L] */
NEAP_API int32_t neap_future_get_stat(neap_future *future, neap_stat *ret_stat, size_t size);

enum {
    NEAP_FS_NOFOLLOW = 1, /* a symbolic link is meant itself */
    NEAP_FS_PARENTS = 2,  /* missing directories are made, too; one that is there is no failure */
    NEAP_FS_EXCL = 4,     /* NEAP_EEXIST if the target is there */
    NEAP_FS_APPEND = 8,
    NEAP_FS_SYNC = 16 /* complete when it is on the medium */
};

/* What the system knows of a path: neap_future_get_stat.  Flags: NEAP_FS_NOFOLLOW.
   [L] */
NEAP_API int32_t neap_fs_stat(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                              neap_future **ret_future);

/* Reads a whole file, whatever its size.  Kind BYTES.
   [L] */
NEAP_API int32_t neap_fs_read(neap_loop *loop, const char *path, size_t len,
                              neap_future **ret_future);

/* Makes a file of these bytes, or writes over the one that is there; NEAP_FS_APPEND: adds them to it.  Kind INT: data_len.
   Flags: NEAP_FS_APPEND, NEAP_FS_EXCL, NEAP_FS_SYNC.
   [L] */
NEAP_API int32_t neap_fs_write(neap_loop *loop, const char *path, size_t len, const void *data,
                               size_t data_len, uint32_t flags, uint32_t permissions,
                               neap_future **ret_future);

/* Replaces a file at once: whoever looks, also after a crash, finds the old bytes or the new ones.  They are written to a
   temporary file in the same directory, synced, renamed, and the directory is synced.  Permissions and, where allowed, the
   owner of a file that was there are kept; a symbolic link is replaced itself.  Nothing is left of what fails.  Kind INT.
   [L] */
NEAP_API int32_t neap_fs_replace(neap_loop *loop, const char *path, size_t len, const void *data,
                                 size_t data_len, uint32_t permissions, neap_future **ret_future);

/* Copies the bytes and permissions of a file, inside the kernel where that is possible.  Kind INT: the count.  Flags:
   NEAP_FS_EXCL.
   Errors: NEAP_EINVAL onto itself, NEAP_EISDIR.
   [L] */
NEAP_API int32_t neap_fs_copy(neap_loop *loop, const char *from, size_t from_len, const char *to,
                              size_t to_len, uint32_t flags, neap_future **ret_future);

/* Renames; a file that has the new name goes, unless flags is NEAP_FS_EXCL.
   [L] */
NEAP_API int32_t neap_fs_rename(neap_loop *loop, const char *from, size_t from_len, const char *to,
                                size_t to_len, uint32_t flags, neap_future **ret_future);

/* Removes a name.
   [L] */
NEAP_API int32_t neap_fs_unlink(neap_loop *loop, const char *path, size_t len,
                                neap_future **ret_future);

/* Makes a directory.  Flags: NEAP_FS_PARENTS.
   [L] */
NEAP_API int32_t neap_fs_mkdir(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                               uint32_t permissions, neap_future **ret_future);

/* Removes an empty directory.
   [L] */
NEAP_API int32_t neap_fs_rmdir(neap_loop *loop, const char *path, size_t len,
                               neap_future **ret_future);

/* Makes a symbolic link at `path` with the text `target`.
   [L] */
NEAP_API int32_t neap_fs_symlink(neap_loop *loop, const char *target, size_t target_len,
                                 const char *path, size_t len, neap_future **ret_future);

/* Gives a file another name.
   [L] */
NEAP_API int32_t neap_fs_link(neap_loop *loop, const char *from, size_t from_len, const char *to,
                              size_t to_len, neap_future **ret_future);

/* The text of a symbolic link.  Kind BYTES.
   [L] */
NEAP_API int32_t neap_fs_readlink(neap_loop *loop, const char *path, size_t len,
                                  neap_future **ret_future);

/* The absolute path without symbolic links, "." and "..".  Kind BYTES.
   [L] */
NEAP_API int32_t neap_fs_realpath(neap_loop *loop, const char *path, size_t len,
                                  neap_future **ret_future);

/* Sets the permissions, 07777.
   [L] */
NEAP_API int32_t neap_fs_chmod(neap_loop *loop, const char *path, size_t len, uint32_t permissions,
                               neap_future **ret_future);

/* Sets the times in ns since 1970; NEAP_TIME_NOW, NEAP_TIME_OMIT.  Flags: NEAP_FS_NOFOLLOW.
   [L] */
NEAP_API int32_t neap_fs_utimes(neap_loop *loop, const char *path, size_t len, int64_t atime_ns,
                                int64_t mtime_ns, uint32_t flags, neap_future **ret_future);

/* As neap_file_truncate, by path.
   [L] */
NEAP_API int32_t neap_fs_truncate(neap_loop *loop, const char *path, size_t len, int64_t size,
                                  neap_future **ret_future);

/* Makes and opens a file that did not exist, for this user only.  `pattern` is its path, whose last six bytes are XXXXXX and
   become others.  Kind FILE; neap_file_path tells the name.  After a cancel no file is left.
   [L] */
NEAP_API int32_t neap_fs_mkstemp(neap_loop *loop, const char *pattern, size_t len,
                                 neap_future **ret_future);

/* Likewise a directory.  Kind BYTES: its path.
   [L] */
NEAP_API int32_t neap_fs_mkdtemp(neap_loop *loop, const char *pattern, size_t len,
                                 neap_future **ret_future);

/* Reads a directory as a whole: neap_future_get_entry.  Flags: NEAP_FS_NOFOLLOW.
   [L] */
NEAP_API int32_t neap_fs_readdir(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                                 neap_future **ret_future);

/* An entry of a directory. */
typedef struct neap_dir_entry {
    size_t size;      /* sizeof(neap_dir_entry) */
    const char *name; /* ends with a zero; borrowed while the future lives */
    size_t name_len;
    int32_t type; /* NEAP_FILE_* of the entry itself, also of a symbolic link */
    uint64_t inode;
} neap_dir_entry;

/* The next entry that a readdir found, in the order of the file system, without "." and "..".  *cursor is 0 at first.
   Returns 1, or 0 when there are no more.
   [L] */
NEAP_API int32_t neap_future_get_entry(neap_future *future, size_t *cursor,
                                       neap_dir_entry *ret_entry, size_t size);

/* ---- Watching files ------------------------------------------------------------------------------------ */

enum {
    NEAP_FS_CREATED = 1, /* an entry of a watched directory, as the next and both moves */
    NEAP_FS_DELETED = 2,
    NEAP_FS_MODIFIED = 4,    /* written to, or cut */
    NEAP_FS_WRITTEN = 8,     /* closed by somebody who could write */
    NEAP_FS_ATTRIBUTES = 16, /* permissions, times, number of names */
    NEAP_FS_MOVED_FROM = 32,
    NEAP_FS_MOVED_TO = 64,
    NEAP_FS_GONE = 128,     /* what is watched itself was deleted, moved or unmounted */
    NEAP_FS_ENDED = 256,    /* it is watched no more; the last event of its number */
    NEAP_FS_OVERFLOW = 512, /* events were lost, of anything that is watched; id is -1 */
    NEAP_FS_IS_DIRECTORY = 1024
};

typedef struct neap_fs_event {
    size_t size;     /* sizeof(neap_fs_event) */
    int32_t id;      /* as neap_fs_watch_add answered */
    uint32_t kinds;  /* NEAP_FS_CREATED ... */
    uint32_t cookie; /* the same in both halves of a move, else 0 */
    const char *
        name; /* of the entry, in a watched directory, with a zero behind it; borrowed until the next call of
                         neap_fs_watch_next */
    size_t name_len;
} neap_fs_event;

/* Makes a watch of nothing yet.  The system keeps the events until they are asked for, up to a bound of its own; then one says that
   others were lost.  Returns a new reference.
   [L] */
NEAP_API int32_t neap_fs_watch_new(neap_loop *loop, neap_fs_watch **ret_watch);

/* Takes another reference; returns watch.
   [M] */
NEAP_API neap_fs_watch *neap_fs_watch_ref(neap_fs_watch *watch);

/* Ends a reference; the last one closes the watch.
   [M] */
NEAP_API void neap_fs_watch_unref(neap_fs_watch *watch);

/* Closes the watch; who waits for an event gets NEAP_ECLOSED.  Idempotent.
   [L] */
NEAP_API int32_t neap_fs_watch_close(neap_fs_watch *watch);

/* Watches a file, or a directory and its entries, but not those of directories in it.  Returns a number that its events have: of
   what is watched already the same again.  Looks the path up at once.
   Errors: NEAP_EVALUE for a zero inside the path, NEAP_ENOSPC for more than the system allows.
   [L] */
NEAP_API int32_t neap_fs_watch_add(neap_fs_watch *watch, const char *path, size_t len);

/* Watches it no more; a last event says so.
   Errors: NEAP_EINVAL for a number that is not watched.
   [L] */
NEAP_API int32_t neap_fs_watch_remove(neap_fs_watch *watch, int32_t id);

/* Takes the oldest event: 1, or NEAP_PENDING with a future (kind INT) after which to ask again; with ret_future NULL,
   NEAP_EAGAIN.  One at a time waits: NEAP_EBUSY_FD.
   [L] */
NEAP_API int32_t neap_fs_watch_next(neap_fs_watch *watch, neap_fs_event *ret_event, size_t size,
                                    neap_future **ret_future);

/* ---- Servers ------------------------------------------------------------------------------------------- */

/* A server listens on one or several addresses, accepts, and knows its connections until they are closed, so that it can be
   stopped in order: it stops to listen -> who serves the connections may finish -> is cancelled -> is aborted.  The loop has
   it until it is closed.

   While descriptors are short (NEAP_EMFILE, NEAP_ENFILE) it takes connections out of the kernel's queue with one that it
   keeps in reserve and closes them at once, so that nobody waits in vain; then it looks again when a socket of this loop is
   closed, at the latest after `backoff_ns`.  While memory is short they wait in the queue.  Of each such episode one report
   tells (NEAP_REPORT_SHORTAGE).  Connections that are open go on.  Above max_connections new ones wait in the queue. */

enum {
    NEAP_SERVER_REUSE_PORT =
        1, /* other sockets may share the port: the kernel spreads connections */
    NEAP_SERVER_ONE_PORT =
        2, /* IP addresses with port 0 share the port that the first of them is given */
    NEAP_SERVER_KEEP_QUEUED = 4,  /* while descriptors are short connections wait instead */
    NEAP_SERVER_KEEP_PATHS = 8,   /* Unix paths stay when it is closed */
    NEAP_SERVER_NO_SHUTDOWN = 16, /* goes on when a shutdown of the loop begins */
    NEAP_SERVER_PAUSED = 32,      /* accepts only after neap_server_resume */
    NEAP_SERVER_KEEP_ALIVE = 64   /* silent peers are asked whether they are there: SO_KEEPALIVE */
};

typedef struct neap_server_options {
    size_t size;              /* sizeof(neap_server_options) */
    uint32_t flags;           /* NEAP_SERVER_* */
    int32_t backlog;          /* connections that the kernel queues; 0: the system's maximum */
    uint64_t max_connections; /* open at the same time; 0: no limit */
    uint32_t batch;           /* accepted in one turn of the loop; 0: 64 */
    int64_t backoff_ns;       /* 0: 100 ms */
    neap_scope
        *scope; /* around that of the server; NULL: the innermost group of the task that makes it */
} neap_server_options;

/* Listens on `n` addresses.  A Unix path where only the socket file of a dead server is goes to this one; its own file is
   removed when it is closed.  IPv6 addresses take IPv6 alone.  `options` may be NULL.  Returns a new reference.
   Errors: the system's for the address whose index is then in *ret_failed (may be NULL); nothing is left of the others.
   NEAP_E2BIG for options from the future.
   [L] */
NEAP_API int32_t neap_server_new(neap_loop *loop, const neap_addr *addrs, size_t n,
                                 const neap_server_options *options, neap_server **ret_server,
                                 size_t *ret_failed);

/* Listens on a socket that listens already, too, which is kept, and closed with the server.
   Errors: NEAP_ECLOSED, NEAP_EINVAL for a socket that does not listen.
   [L] */
NEAP_API int32_t neap_server_add(neap_server *server, neap_sock *listener);

/* Takes another reference; returns server.
   [M] */
NEAP_API neap_server *neap_server_ref(neap_server *server);

/* Ends a reference; an open server goes on.
   [M] */
NEAP_API void neap_server_unref(neap_server *server);

/* The server's loop: borrowed while the server lives.
   [M] */
NEAP_API neap_loop *neap_server_loop(const neap_server *server);

/* The index-th socket that it listens on: borrowed while the server is open; NULL out of range.
   [L] */
NEAP_API neap_sock *neap_server_listener(neap_server *server, size_t index);

typedef void (*neap_server_fn)(neap_server *server, neap_sock *sock, const neap_addr *peer,
                               void *user);

/* From now on fn(server, sock, peer, user) is called for each connection; `sock` is a new reference.  It sees the task-local
   values that the caller of neap_server_new saw.
   Errors: NEAP_EINVALID_STATE if there is a function, or somebody waits in neap_server_accept.
   [L] */
NEAP_API int32_t neap_server_on_connection(neap_server *server, neap_server_fn fn, void *user,
                                           neap_destroy_fn destroy);

/* Accepts a connection, where no function takes them.  A starting call, as neap_sock_accept; who waits is served in order.
   Errors: NEAP_ECLOSED, also of the future; with NEAP_NOWAIT the shortage, or NEAP_EAGAIN.
   [L] */
NEAP_API int32_t neap_server_accept(neap_server *server, uint32_t flags, neap_sock **ret_sock,
                                    neap_addr *ret_addr, neap_future **ret_future);

/* Connections wait in the kernel's queue from now on.
   [L] */
NEAP_API int32_t neap_server_pause(neap_server *server);

/* They are accepted again.
   [L] */
NEAP_API int32_t neap_server_resume(neap_server *server);

/* The group whose members serve connections: cancelled, aborted and waited for when the server is closed.  Borrowed while the
   server lives.
   [L] */
NEAP_API neap_scope *neap_server_scope(neap_server *server);

/* Says that the task serves the connection: when the task has ended, in whatever way and also without a step, the connection
   is closed, unless neap_stream_close has begun to; until then the server does not count as closed.
   Errors: NEAP_EINVALID_STATE if the socket is none of the server's open connections or has a task, NEAP_EOTHER_LOOP.
   [L] */
NEAP_API int32_t neap_server_serve_by(neap_server *server, neap_sock *sock, neap_task *task);

/* What is told of a connection; borrowed for the call. */
typedef struct neap_connection {
    size_t size;
    uint64_t id;     /* from 1, in order of acceptance */
    neap_sock *sock; /* NULL if it is closed and its task still runs */
    neap_task *task; /* that serves it, or NULL */
    neap_addr peer;
    int64_t since_ns; /* the loop's time when it was accepted */
} neap_connection;

typedef int32_t (*neap_connection_fn)(const neap_connection *connection, void *user);

/* Calls fn for each connection in order of acceptance until it returns non-zero; returns that value, or 0.  fn may close
   that connection and cancel tasks, but neither run the loop nor close the server.
   [L] */
NEAP_API int32_t neap_server_walk(neap_server *server, neap_connection_fn fn, void *user);

typedef struct neap_server_metrics {
    size_t size;
    uint64_t open;      /* connections now */
    uint64_t accepted;  /* since it was made */
    uint64_t shed;      /* closed at once for lack of descriptors */
    uint64_t shortages; /* episodes */
    uint64_t turns;     /* in which it looked for connections or went on closing */
} neap_server_metrics;

/* Fills at most `size` bytes of *out; returns the number of bytes that are valid.
   [L] */
NEAP_API int32_t neap_server_get_metrics(neap_server *server, neap_server_metrics *out,
                                         size_t size);

enum {
    NEAP_SERVER_OPEN = 0,
    NEAP_SERVER_CLOSING = 1,    /* it listens no more; connections may finish */
    NEAP_SERVER_CANCELLING = 2, /* the tasks of its scope are cancelled and may clean up */
    NEAP_SERVER_CLOSED = 3      /* no connection is open, and no task of its scope is left */
};

/* NEAP_SERVER_OPEN ... NEAP_SERVER_CLOSED.
   [L] */
NEAP_API int32_t neap_server_state(neap_server *server);

typedef struct neap_server_close_options {
    size_t size; /* sizeof(neap_server_close_options) */
    int64_t
        grace_ns; /* how long connections may go on before their tasks are cancelled; 0: 10 s, -1: not at all,
                     INT64_MAX: for ever */
    int64_t
        cancel_grace_ns; /* how long cancelled tasks may clean up before they are aborted and what is
                                open is closed; 0: 5 s, -1: one turn */
    const char *reason;  /* of the cancellation, copied; may be NULL */
} neap_server_close_options;

/* Closes the listeners at once, and begins the end of the connections; once a second a line of the log tells whom it waits for.
   With a grace, who had connected before is taken from the kernel's queue first, as far as max_connections allows, and handed
   out in the next turn; so a client whose connect has succeeded is served.  The kernel resets the others: those that are in
   the middle of their handshake, of a server that is paused, without a grace, and where neap_server_accept is used, those that
   nobody waits for.  The queue of an address that other loops listen on, too (neap_loop_set_listeners), stays with these.
   Called again it can only shorten what is left.  `options` may be NULL.  Returns 1, or 0 if the server is closed.
   Errors: NEAP_E2BIG for options from the future.
   [L] */
NEAP_API int32_t neap_server_close(neap_server *server, const neap_server_close_options *options);

/* Closes all connections at once, and cancels the tasks of the server's scope, which have one turn before they are aborted.
   Returns as neap_server_close.
   [L] */
NEAP_API int32_t neap_server_abort(neap_server *server);

/* Waits until the server is closed.  0 if it is, or NEAP_PENDING with a future (kind NONE).
   [L] */
NEAP_API int32_t neap_server_closed(neap_server *server, neap_future **ret_future);

#ifdef __cplusplus
}
#endif

#endif
