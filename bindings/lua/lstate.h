/* lstate.h: the types of the Lua binding.  Everything of a Lua state hangs from one record, nl_state, which is upvalue 1 of
   each of our functions and lives as long as the state. */
#ifndef NEAP_LSTATE_H
#define NEAP_LSTATE_H

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "compat.h"
#include "neap.h"
#include "neap_lua.h"

#define NL_STATE(L) (nl_state_here(L))
#define NL_CLOSING_NS ((int64_t)500000000) /* for what has to run when the time is over */
#define NL_NEVER ((int64_t)1 << 62)        /* a delay in ns that no program outlives */

typedef struct nl_state nl_state;
typedef struct nl_object nl_object;
typedef struct nl_task nl_task;
typedef struct nl_loop nl_loop;
typedef struct nl_handle nl_handle;
typedef struct nl_sock nl_sock;
typedef struct nl_fd nl_fd;
typedef struct nl_file nl_file;
typedef struct nl_fs_watch nl_fs_watch;
typedef struct nl_stream nl_stream;
typedef struct nl_callback nl_callback;
typedef struct nl_trace nl_trace;
typedef struct nl_slice nl_slice;
typedef struct nl_signals nl_signals;
typedef struct nl_worker nl_worker;
typedef struct nl_finishing nl_finishing;

/* The thread of Lua whose step runs in this thread of the system: what upvalue 1 says, without asking the engine. */
typedef struct nl_here {
    const lua_State *L;
    nl_state *st;
} nl_here;
extern _Thread_local nl_here nl_running_step;

static inline nl_state *nl_state_here(lua_State *L) {
    return nl_running_step.L == L ? nl_running_step.st
                                  : (nl_state *)lua_touserdata(L, lua_upvalueindex(1));
}

/* The kinds of our userdata; a task is a future too. */
typedef enum nl_kind {
    NL_FUTURE,
    NL_TASK,
    NL_LOOP,
    NL_HANDLE,
    NL_SOCK,
    NL_FD,
    NL_STREAM,
    NL_FILE,
    NL_FS_WATCH,
    NL_LOCAL,
    NL_SCOPE,
    NL_LOCK,
    NL_COND,
    NL_SEM,
    NL_LIMITER,
    NL_EVENT,
    NL_BARRIER,
    NL_CHAN,
    NL_QUEUE,
    NL_SHARED_CHAN,
    NL_CREW,
    NL_WORKER,
    NL_POOL,
    NL_SERVER,
    NL_SIGNAL_STREAM,
    NL_PROCESS,
    NL_ERROR, /* a table, not a userdata */
    NL_KINDS
} nl_kind;

typedef struct nl_node nl_node;

/* First in each of our userdata, which is told from those of others by the state's address: nobody else can know it. */
typedef struct nl_box {
    nl_state *st;
    nl_node *node; /* NULL: its finalizer was run */
} nl_box;

/* First in each block that a box leads to.  What has a finalizer is in memory of its own and in the state's list until that
   is run, or else until the state's end: where memory is out an engine may fail to call a finalizer, and frees the userdata
   all the same; and some run none at their end for what other finalizers made.  Tasks and task-locals have no finalizer
   and are their userdata itself: their node is a box that leads to itself. */
struct nl_node {
    nl_state *st;
    nl_node *self; /* of a node that is a box */
    nl_node *next, **at;
    uint8_t kind;  /* NL_FUTURE ... */
    uint8_t flags; /* of a future: NL_INTERNAL ... */
    uint8_t form;  /* of a future: NL_NONE ... */
    uint8_t units; /* of 8 bytes: the size of a block of its own; 0: too large to be used again */
    int ref;       /* an anchor while the core can call back, else LUA_NOREF */
};

/* Lua values that hang from a future's userdata. */
enum {
    NL_VALUE = 1, /* its result or error */
    NL_NOTES = 2, /* [record] = callback; task: also site= and name=, or the spawner alone */
    NL_LINK =
        3, /* task: its keeper, once failed {traceback=, stack=, keeper=}; derived future: the source */
    NL_SLOTS = 3
};

/* What slot NL_VALUE holds.  A future's payload points at the byte of the same number in nl_forms. */
enum {
    NL_NONE,
    NL_ONE,
    NL_PACKED,
    NL_FORMS
};
extern const char nl_forms[NL_FORMS];

enum {
    NL_INTERNAL = 1, /* the core completes it */
    NL_SHARED = 2,   /* others than Lua may complete, cancel or read it */
    NL_DERIVED = 4,  /* its Lua values are those of the future in slot NL_LINK */
    NL_CACHED = 8,  /* slot NL_VALUE holds the outcome although the core's future does not say so */
    NL_FAILED = 16, /* in the list of failures that may still be reported */
    NL_RECEIVED = 32, /* its integer counts bytes in the buffer in slot NL_LINK */
    NL_KEPT = 64      /* of a task: its future is the keeper's */
};

/* The head of futures and tasks. */
struct nl_object {
    nl_node node;
    neap_future *future; /* a reference; a task's: see nl_task */
    nl_callback *calls;  /* registered callbacks, newest first */
    nl_object *queued;   /* next of the failures that may be reported, or of the tasks to bury */
    int holds; /* reasons to keep the userdata alive: while there are any it is anchored */
};

/* A coroutine and its anchor. */
typedef struct nl_thread {
    lua_State *L;
    int ref;
} nl_thread;

/* Operations that a step may start before the core is asked. */
enum {
    NL_CREDIT = 8
};

/* What the task's coroutine waits for.  One wait per task: the innermost coroutine of a chain has it. */
enum {
    NL_WAIT_NOT = 0,
    NL_WAIT_FUTURE,
    NL_WAIT_TICK,
    NL_WAIT_SLEEP,
    NL_WAIT_RAW,
    NL_WAIT_RAW_TICK,
    NL_WAIT_SLICE /* for its next turn, in the middle of a script's function */
};

typedef struct nl_wait {
    union {
        neap_future *future; /* NULL for a tick or sleep */
        int64_t delay;       /* of a sleep that is still to begin, in ns */
    };
    lua_State *thread; /* who waits */
    int32_t error;     /* why the core refused the wait */
    uint8_t mode;
    uint8_t owned; /* the reference to the future is ours to end */
    uint8_t woken; /* the core has resumed us */
    uint8_t wake;  /* NEAP_WAKE_* */
} nl_wait;

/* A task's userdata has no finalizer, so that tasks which nobody keeps cost the collector little.  While the task lives it
   is anchored and has a reference of the core's task.  One that ends with values leaves them here and lets go: o.future is
   NULL.  Any other end gives the reference to a keeper, a future's userdata that hangs from the task's; so does whoever
   needs a future of the core later. */
struct nl_task {
    nl_object o;
    nl_thread co;   /* .L is NULL once it ended */
    int nargs;      /* values on its stack for the next resume */
    int owns;       /* an anchor: what is closed if it never starts */
    int line;       /* where it was spawned */
    uint8_t credit; /* operations that this step may start before the core is asked */
    unsigned started : 1;
    unsigned pooled : 1;      /* the thread is ours and goes back to the pool */
    unsigned ended : 1;       /* the last step was seen */
    unsigned exiting : 1;     /* called exit: is not resumed again */
    unsigned named : 1;       /* the core need not make a name */
    unsigned interrupted : 1; /* at the end of a shutdown's grace */
    nl_slice *slice;          /* how long a step may last, or NULL */
    union {
        nl_wait wait;
        struct {
            uint64_t id;
            neap_loop *loop; /* to compare only */
        } past;              /* once it let go of the core */
    };
};

/* The core's task, while there is one. */
static inline neap_task *nl_core_task(const nl_task *t) {
    return t->o.future != NULL ? neap_future_task(t->o.future) : NULL;
}

struct nl_loop {
    nl_node node;
    neap_loop *loop; /* a reference */
    nl_loop *next;
    int holds;
    uint8_t attached; /* a host's */
    uint8_t hooked;   /* our error hook is set */
    nl_trace *trace;
};

/* Lua values of a handle. */
enum {
    NL_CALLABLE = 1, /* the function, or it and its arguments packed */
    NL_WATCHED = 2,  /* the socket of a watch, which must not be collected before */
    NL_HANDLE_SLOTS = 2
};

struct nl_handle {
    nl_node node;
    neap_loop *loop;     /* borrowed while the call is to come */
    neap_handle *handle; /* a reference; NULL: a watch */
    int event;           /* of a watch: NEAP_READ or NEAP_WRITE, else 0 */
    neap_fd fd;          /* of a signal: its number */
};

struct nl_sock {
    nl_node node;
    neap_sock *sock;
};

/* A descriptor that somebody has to close. */
struct nl_fd {
    nl_node node;
    neap_fd fd; /* -1: closed, or somebody else's now */
};

struct nl_stream {
    nl_node node;
    neap_stream *stream;
    size_t limit;     /* of lines, and of what stands before delimiters */
    uint8_t standard; /* one of the process's own: what was written goes before a run ends */
};

struct nl_fs_watch {
    nl_node node;
    neap_fs_watch *watch;
};

struct nl_file {
    nl_node node;
    neap_file *file;
    neap_buf *seen;       /* what came last for a pread without a wait */
    neap_future *reading; /* what the one reader waits for, or had last */
    neap_buf *block;      /* what came last for a read without a wait */
    char *bytes;          /* read ahead of the script: from `at` to `end` */
    size_t at, end, cap;
    const void *piece; /* came behind these and is still where the core has put it */
    size_t piece_len;
    size_t wanted; /* by the read under way, in bytes */
    size_t asked;  /* of the core */
    size_t scanned;
    uint8_t form;    /* of that read: see lfileread.c */
    uint8_t awaited; /* the reader has not seen yet how `reading` ended */
};

/* The head of what a script may make before it runs: it belongs to the loop of its first use, and once that is closed to
   that of the next. */
typedef struct nl_bound {
    nl_node node;
    neap_loop *loop; /* a reference, or NULL */
} nl_bound;

/* What can be waited for and stand in a select, by kind of userdata.  Begun with ret_future NULL it only tries. */
typedef struct nl_case {
    int32_t (*begin)(lua_State *L, nl_state *st, int at, neap_future **ret_future,
                     neap_value *ret_value);
    int (*answer)(lua_State *L, nl_state *st, int32_t code, const neap_value *value);
    /* Of the value behind `at`; NULL: nothing can be sent. */
    int32_t (*begin_send)(lua_State *L, nl_state *st, int at, neap_future **ret_future);
    int (*answer_sent)(lua_State *L, nl_state *st, int32_t code);
} nl_case;

/* One level of coroutine.resume inside a task: `outer` has resumed `inner`. */
typedef struct nl_link {
    lua_State *outer, *inner;
    struct nl_link *up;
    int depth;
    uint8_t through; /* the inner one runs a protected call of the outer one */
} nl_link;

/* What the core may keep longer than the Lua state lives points here: st is NULL once the state is closed. */
typedef struct nl_life {
    nl_state *st;
    int refs;
} nl_life;

/* Bytes that the core lent for a string that may fail to be made. */
typedef struct nl_lent {
    neap_sock *sock;     /* whose they are: a socket's, or */
    neap_stream *stream; /* a stream's */
    const void *data;
    size_t len;
} nl_lent;

/* Garbage collection in silence (lidle.c). */
typedef struct nl_idle {
    int canary;    /* registry: a weak table */
    int least_kb;  /* of the heap, since the last collection in silence */
    int left;      /* steps that the present one may still take; 0: none is under way */
    int begun;     /* it has taken its first */
    int64_t asked; /* when it was last to begin or go on, in ns of the loop's time */
} nl_idle;

/* The signals of a run (lsignal.c). */
enum {
    NL_SIGNALS = 2
};
struct nl_signals {
    nl_state *st;
    neap_loop *loop;
    neap_task *main;    /* of the run */
    int64_t stop_grace; /* ns; -1: that depends on who listens */
    int64_t grace;
    int count;         /* that the loop has seen, but for interrupts of a prompt */
    int prompting;     /* an interrupt only cancels the main task */
    atomic_int end_ms; /* how long the end may take after the first signal; 0: for ever */
    atomic_int timing; /* that time runs */
    neap_handle *watches[NL_SIGNALS];
    uint8_t timed[NL_SIGNALS]; /* handler and timer are in place */
    timer_t timers[NL_SIGNALS];
    struct sigaction before[NL_SIGNALS];
};

enum {
    NL_POOL_MAX = 1024,
    NL_SPARE_MAX = 32768, /* blocks of a size */
    NL_SPARE_UNITS = 17   /* sizes */
};

struct nl_state {
    lua_State *R; /* a thread of ours: callbacks and bookkeeping run on it */
    nl_life *life;
    nl_loop *loop;    /* the state's loop, or NULL */
    nl_loop *running; /* the loop that runs, or NULL */
    nl_loop *loops;
    nl_node *nodes;
    nl_node *ended; /* blocks that the end of the state has dropped, to be freed last */
    nl_node *spare[NL_SPARE_UNITS]; /* by size: blocks to be used again, linked by next */
    int spares[NL_SPARE_UNITS];
    void (*drops[NL_KINDS])(
        nl_node *); /* by kind: ends what a node in the list holds of the core, if it does yet */
    const nl_case *cases[NL_KINDS];
    nl_task *task; /* whose step runs */
    nl_link *chain;
    nl_handle *handle;  /* whose callback runs, or ran last */
    nl_object *failed;  /* kept until their report is over */
    nl_object *dead;    /* aborted tasks whose Lua side is still to be closed */
    uint64_t failed_at; /* tick of the newest failure */
    int64_t limit;      /* real time at which a test that does not wait is ended; 0: none */
    uint8_t overran;    /* it was told so, and has caught that */
    nl_lent lent;       /* while len > 0 */
    nl_idle idle;
    int meta_ref[NL_KINDS];
    const void *error_meta; /* the address of the errors' metatable */
    int module;             /* registry: the table of neap.core */
    int *free_refs;         /* anchors that can be used again */
    int free_len, free_cap;
    int anchored; /* anchors that were ever made */
    int owned;    /* registry: weak set of threads that belong to tasks */
    int waiting;  /* registry: weak set of coroutines inside a wait that went outward */
    int passed;   /* how many */
    int shared;   /* registry: weak map of the core's futures that hosts know */
    int batches;  /* registry: weak map of sockets to their memory for batches */
    int scopes;   /* registry: weak map of the scopes that scripts made */
    int tracing;  /* registry: the message handler */
    int poke;     /* registry: a Lua function that does nothing */
    int bottom;   /* registry: the function at the bottom of tasks: see nl_push_body */
    int entry;    /* registry: the function under every call from the core */
    int trail;    /* registry: the traceback of the last failed call */
    int fault;    /* registry: the error of the callback that has just failed */
    int recent;   /* registry: the userdata of `handle` */
    int key_code, key_message;   /* registry: strings that are needed when memory may be out */
    int key_site;                /* registry: likewise, for where no Lua may run */
    int patched;                 /* registry: the replaced functions as they were, by name */
    int coroutine;               /* registry: neap.coroutine */
    int passers;                 /* registry: set of C functions that can be suspended */
    int patches;                 /* runs that want those functions replaced */
    nl_thread pool[NL_POOL_MAX]; /* threads that wait for a task */
    int pool_len;
    neap_future *received;   /* of a shared channel, while its value is pushed */
    nl_finishing *finishing; /* pools that no script has any more */
    uint8_t wired;           /* neap/init.lua is through */
    int exit_status;
    int signo;           /* of the last signal that began or hastened the end of the run */
    nl_signals *signals; /* of the run, if it asked for them */
    nl_worker *worker;   /* whose state this is, or NULL */
    volatile sig_atomic_t taken[NL_SIGNALS]; /* watches of scripts for these signals */
    neap_loop *interruptible;                /* runs, and leaves interrupts to the interpreter */
    neap_handle *interrupt;                  /* its watch; a reference, or NULL */
    volatile int64_t
        overtime; /* when who runs on in a shutdown is interrupted, in ns of the system's clock; 0: never */
    uint8_t counts;   /* threads may have the hook of lcount.c */
    uint8_t compiles; /* the engine did, before the shutdown */
    uint8_t heard;    /* somebody was to be told of the run's end */
    uint8_t in_main;  /* a run waits for its main task */
    uint8_t ending;   /* a run shuts down */
    uint8_t exiting;
    uint8_t closed; /* the Lua state is closing: never call it again */
};

#endif
