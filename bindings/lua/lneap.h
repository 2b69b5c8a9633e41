/* lneap.h: what the files of the Lua binding share.  Everything of a Lua state hangs from one record, nl_state,
   which is upvalue 1 of each of our functions and lives as long as the state. */
#ifndef NEAP_LNEAP_H
#define NEAP_LNEAP_H

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
typedef struct nl_callback nl_callback;
typedef struct nl_trace nl_trace;
typedef struct nl_slice nl_slice;
typedef struct nl_signals nl_signals;

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
    NL_ERROR, /* a table, not a userdata */
    NL_KINDS
} nl_kind;

/* First in each of our userdata.  Its kind is told from here: nobody else can know the state's address.  Those that hold
   references of the core are in the state's list, because at its end some engines run no finalizers for what other
   finalizers made. */
typedef struct nl_node {
    nl_state *st;
    uint8_t kind;  /* NL_FUTURE ... */
    uint8_t flags; /* of a future: NL_INTERNAL ... */
    uint8_t form;  /* of a future: NL_NONE ... */
    int ref;       /* an anchor while the core can call back, else LUA_NOREF */
    struct nl_node *next, **at;
} nl_node;

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

/* The head of the userdata of futures and tasks. */
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
    nl_thread co;    /* .L is NULL once it ended */
    int nargs;       /* values on its stack for the next resume */
    int owns;        /* an anchor: what is closed if it never starts */
    int line;        /* where it was spawned */
    nl_slice *slice; /* how long a step may last, or NULL */
    uint8_t credit;  /* operations that this step may start before the core is asked */
    uint8_t started;
    uint8_t pooled;      /* the thread is ours and goes back to the pool */
    uint8_t ended;       /* the last step was seen */
    uint8_t exiting;     /* called exit: is not resumed again */
    uint8_t named;       /* the core need not make a name */
    uint8_t interrupted; /* at the end of a shutdown's grace */
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
    neap_fd fd;
};

struct nl_sock {
    nl_node node;
    neap_sock *sock;
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
    neap_sock *sock;
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
    NL_POOL_MAX = 1024
};

struct nl_state {
    lua_State *R; /* a thread of ours: callbacks and bookkeeping run on it */
    nl_life *life;
    nl_loop *loop;    /* the state's loop, or NULL */
    nl_loop *running; /* the loop that runs, or NULL */
    nl_loop *loops;
    nl_node *nodes;
    void (*drops[NL_KINDS])(
        nl_node *); /* by kind: ends what a node that was in the list holds of the core */
    const nl_case *cases[NL_KINDS];
    nl_task *task; /* whose step runs */
    nl_link *chain;
    nl_handle *handle;  /* whose callback runs, or ran last */
    nl_object *failed;  /* kept until their report is over */
    nl_object *dead;    /* aborted tasks whose Lua side is still to be closed */
    uint64_t failed_at; /* tick of the newest failure */
    int64_t limit;      /* real time at which a test that does not wait is ended; 0: none */
    uint8_t overran;    /* it was told so, and has caught that */
    nl_lent lent;
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
    uint8_t wired; /* neap/init.lua is through */
    int exit_status;
    int signo;           /* of the last signal that began or hastened the end of the run */
    nl_signals *signals; /* of the run, if it asked for them */
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

/* lneap.c: the record, anchors, entering Lua */
nl_state *nl_state_of(lua_State *L);
int nl_anchor(lua_State *L, nl_state *st);
void nl_unanchor(nl_state *st, int ref);
void nl_anchored(lua_State *L, int ref);
nl_node *nl_node_at(lua_State *L, nl_state *st, int index);
void *nl_test(lua_State *L, nl_state *st, int index, nl_kind kind);
void *nl_check(lua_State *L, nl_state *st, int index, nl_kind kind, const char *what);
void nl_class(lua_State *L, nl_state *st, nl_kind kind, const char *name, const luaL_Reg *methods,
              const luaL_Reg *waits, const luaL_Reg *metas);
void nl_functions(lua_State *L, nl_state *st, const luaL_Reg *functions);
void nl_waits(lua_State *L, nl_state *st, const luaL_Reg *functions);
void *nl_make(lua_State *L, nl_state *st, nl_kind kind, size_t size, int slots);
void nl_setmeta(lua_State *L, nl_state *st, nl_kind kind);
typedef void (*nl_body)(lua_State *L, nl_state *st, void *arg);
int nl_enter(nl_state *st, nl_body body, void *arg);
void nl_call_in(nl_state *st, neap_loop *loop, nl_body body, void *arg);
void *nl_alloc(lua_State *L, size_t size);
void *nl_alloc_with(lua_State *L, nl_state *st, size_t size, int ref);
nl_life *nl_life_ref(nl_state *st);
void nl_life_unref(nl_life *life);
void nl_track(nl_node *node);
void nl_untrack(nl_node *node);
void nl_closing(nl_state *st);
void nl_drop(nl_node *node);
int nl_is_bound(const nl_bound *b);
neap_loop *nl_bind(lua_State *L, nl_state *st, nl_bound *b);
void nl_unbind(nl_bound *b);
int nl_gc(lua_State *L);
void nl_loop_drop(nl_loop *l);
void nl_tidy(nl_state *st);
void nl_takeback(nl_state *st);
int64_t nl_seconds(lua_State *L, int index);
lua_Integer nl_count(lua_State *L, nl_state *st, int index, lua_Integer otherwise,
                     const char *what);

/* lerror.c */
void nl_push_error(lua_State *L, nl_state *st, int32_t code, const char *message);
int nl_throw(lua_State *L, nl_state *st, int32_t code, const char *format, ...);
int nl_throw_code(lua_State *L, nl_state *st, int32_t code);
void nl_check_code(lua_State *L, nl_state *st, int64_t code);
int nl_arg_error(lua_State *L, nl_state *st, int arg, int32_t code, const char *text);
int nl_type_error(lua_State *L, nl_state *st, int arg, const char *expected);
int nl_fail(lua_State *L, nl_state *st, int32_t code, const char *op, const char *address);
void nl_push_cancelled(lua_State *L, nl_state *st, const char *message);
int nl_is_cancelled(lua_State *L, nl_state *st, int index);
int32_t nl_error_code(lua_State *L, nl_state *st, int index);
const char *nl_error_text(lua_State *L, nl_state *st, int index);
void nl_set_where(lua_State *L, int error);
int nl_is_wrapper(const lua_Debug *ar);
const char *nl_site(lua_State *L, char *buf, size_t cap);
void nl_open_error(lua_State *L, nl_state *st);

/* lvalue.c: Lua values in and out of futures */
int nl_settle_plain(lua_State *L, neap_future *future, int index, int32_t *ret_code);
int32_t nl_settle(lua_State *L, nl_state *st, nl_object *o, int ud, int first, int n);
int32_t nl_settle_error(lua_State *L, nl_state *st, int ud, int error);
int nl_push_value(lua_State *L, nl_state *st, neap_future *future, int ud, int32_t kind,
                  const neap_value *value);
int nl_push_outcome(lua_State *L, nl_state *st, neap_future *future, int ud);
int nl_push_own_outcome(lua_State *L, nl_state *st, int ud);
int nl_push_result(lua_State *L, nl_state *st, int ud);
int32_t nl_settle_again(lua_State *L, nl_state *st, nl_object *o, int ud, neap_future *future);
void nl_push_failure(lua_State *L, nl_state *st, neap_future *future, int ud);
void nl_add_wait_of(lua_State *L, nl_state *st, int ud);
void *nl_new_cell(lua_State *L, nl_state *st, int form);
void nl_push_cell(lua_State *L, const void *cell);
void nl_cell_gone(void *cell);
void nl_pack(lua_State *L, int first, int n);
int nl_unpack(lua_State *L, int index);

/* lfuture.c, ldone.c */
nl_object *nl_new_object(lua_State *L, nl_state *st);
nl_object *nl_new_future(lua_State *L, nl_state *st, nl_loop *loop);
nl_object *nl_to_object(lua_State *L, nl_state *st, int index);
nl_object *nl_check_object(lua_State *L, nl_state *st, int index);
neap_future *nl_check_future(lua_State *L, nl_state *st, int index);
int32_t nl_state_of_object(const nl_object *o);
void nl_hold(lua_State *L, nl_object *o, int ud);
void nl_release(nl_object *o);
void nl_note_failure(lua_State *L, nl_object *o, int ud);
void nl_drop_failures(nl_state *st);
void nl_push_object(lua_State *L, nl_state *st, neap_future *future);
void nl_reach(lua_State *L, nl_object *o, int ud);
void nl_object_class(lua_State *L, nl_state *st, nl_kind kind, const char *name,
                     const luaL_Reg *metas);
void nl_share(lua_State *L, nl_state *st, int ud);
void nl_ensure(lua_State *L, nl_state *st, nl_loop *loop, int index);
void nl_check_ensure(lua_State *L, nl_state *st, int index);
int nl_add_done_callback(lua_State *L);
int nl_remove_done_callback(lua_State *L);
void nl_forget_callbacks(nl_object *o);
void nl_open_future(lua_State *L, nl_state *st);

/* ltask.c, lstep.c, lthread.c */
extern const neap_task_ops nl_task_ops;
void nl_write_site(neap_task *task, void *user, char *buf, size_t cap);
typedef struct nl_spawning {
    const char *name;
    int owns;          /* stack index, or 0 */
    neap_scope *scope; /* whose member it becomes, or NULL: see neap.h */
    int64_t slice;     /* how long a step may last in ns, plus 1; 0: as long as it likes */
    uint32_t flags;    /* NEAP_TASK_* */
} nl_spawning;
nl_task *nl_spawn(lua_State *L, nl_state *st, nl_loop *loop, int first, const nl_spawning *how);
int nl_is_callable(lua_State *L, int index);
int nl_has_await(lua_State *L, int index);
void nl_check_body(lua_State *L, nl_state *st, int index);
void nl_push_task(lua_State *L, nl_state *st, neap_task *task);
void nl_bury(nl_state *st);
void nl_keep(lua_State *L, nl_task *t, neap_future *future, int ud);
int nl_is_kept(lua_State *L, int ud);
void nl_revive(lua_State *L, nl_state *st, int ud);
void nl_push_notes(lua_State *L, int ud);
int nl_spawn_call(lua_State *L, nl_state *st, nl_loop *loop, int at);
int nl_spawn_into(lua_State *L, nl_state *st, neap_scope *scope, int at);
int nl_expand_options(lua_State *L, nl_state *st, int at, int reserve);
int nl_is_wait(nl_state *st, int nres);
void nl_thread_take(lua_State *L, nl_state *st, nl_task *t);
void nl_thread_give(nl_task *t, int reusable);
void nl_record_failure(lua_State *L, nl_task *t, lua_State *at, int level, int error);
void nl_renote_death(lua_State *L, nl_state *st);
void nl_note_death(lua_State *L, nl_state *st, lua_State *co);
void nl_note_cause(lua_State *L, nl_state *st, int source, int error);
int nl_trace_failure(lua_State *L);
int nl_keep_trace(lua_State *L);
int nl_trace_here(lua_State *L);
int nl_thread_owned(lua_State *L, nl_state *st, int index);
void nl_thread_own(lua_State *L, nl_state *st, int index);
void nl_push_stack(lua_State *L, lua_State *co);
void nl_open_task(lua_State *L, nl_state *st);

/* ltree.c */
enum {
    NL_FRAMES_SHOWN = 200 /* of a stack */
};
void nl_write_where(neap_task *task, void *user, char *buf, size_t cap);
void nl_write_stack(neap_task *task, void *user, neap_write_fn write, void *to);
extern const luaL_Reg nl_tree_methods[];
void nl_open_tree(lua_State *L, nl_state *st);

/* lcontrol.c */
int nl_control_wanted(void);
void nl_control_start(lua_State *L, nl_state *st, nl_loop *l);
void nl_open_control(lua_State *L, nl_state *st);

/* lpark.c: suspending */
void nl_check_wait(lua_State *L, nl_state *st);
int nl_can_wait(lua_State *L, const nl_state *st);
void nl_take_off(lua_State *L, nl_state *st);
void nl_note_spent(nl_task *t);
int nl_park(lua_State *L, nl_state *st, neap_future *future, int owned, nl_cont k);
int nl_park_tick(lua_State *L, nl_state *st, nl_cont k);
int nl_park_sleep(lua_State *L, nl_state *st, int64_t delay, nl_cont k);
neap_future *nl_woken(lua_State *L, nl_state *st);
void nl_wait_end(nl_task *t);
int nl_raise_of(lua_State *L, nl_state *st, int ud);
int nl_is_spent(nl_state *st);
int nl_again(lua_State *L, nl_state *st, lua_CFunction fn);
int nl_await(lua_State *L, nl_state *st, int ud);
int nl_raise_next_tick(lua_State *L, nl_state *st);

/* lcoro.c, lyield.c */
int nl_yield(lua_State *L);
int nl_is_protected(const nl_state *st, const lua_State *L);
int nl_wrap_call(lua_State *L);
int32_t nl_raw_yield(neap_task *task, nl_task *t, int nres);
void nl_raw_wake(nl_task *t);
extern const luaL_Reg nl_yield_calls[];
void nl_patch(lua_State *L, nl_state *st);
void nl_unpatch(nl_state *st);
void nl_open_coroutine(lua_State *L, nl_state *st);

/* lloop.c, lhandle.c, lwatch.c, ltrace.c */
nl_loop *nl_new_loop(lua_State *L, nl_state *st);
void nl_loop_begin(nl_loop *l, neap_loop *loop);
nl_loop *nl_make_loop(lua_State *L, nl_state *st, int options);
nl_loop *nl_loop_now(lua_State *L, nl_state *st);
nl_loop *nl_find_loop(nl_state *st, neap_loop *loop);
nl_loop *nl_check_loop(lua_State *L, nl_state *st, int index);
void nl_push_loop(lua_State *L, nl_loop *l);
void nl_set_loop(lua_State *L, nl_state *st, nl_loop *l, int ud);
int32_t nl_close_loop(lua_State *L, nl_loop *l, int ud);
void nl_open_loop(lua_State *L, nl_state *st);
void nl_open_handle(lua_State *L, nl_state *st);
extern const luaL_Reg nl_handle_calls[];
extern const luaL_Reg nl_watch_calls[];
extern const luaL_Reg nl_trace_calls[];
extern const luaL_Reg nl_report_calls[];
void nl_trace_stop(nl_loop *l);
neap_fd nl_to_fd(lua_State *L, nl_state *st, int index);
nl_handle *nl_new_handle(lua_State *L, nl_state *st, neap_loop *loop, int first);
void nl_forget_recent(nl_state *st);
void nl_handle_fire(void *user);
void nl_handle_gone(void *user);

/* lreport.c */
void nl_report(neap_loop *loop, const neap_report *report, void *user);
void nl_hook_reports(nl_loop *l);

/* lsock.c, lsockio.c, laddr.c */
nl_sock *nl_new_sock(lua_State *L, nl_state *st);
nl_sock *nl_check_sock(lua_State *L, nl_state *st, int index);
int32_t nl_address(lua_State *L, nl_state *st, int index, neap_addr *addr);
void nl_push_address(lua_State *L, const neap_addr *addr);
extern const luaL_Reg nl_sock_tries[];
extern const luaL_Reg nl_sock_waits[];
extern const luaL_Reg nl_sock_futures[];
void nl_open_sock(lua_State *L, nl_state *st);

/* lwait.c, lgather.c, llocal.c, lscope.c, llock.c, lsync.c, lchan.c, lshared.c, lselect.c, lrun.c, lshutdown.c, lsignal.c,
   lidle.c, ltesting.c */
void nl_push_members(lua_State *L, nl_state *st, int list, int n, int unique);
neap_future **nl_push_futures(lua_State *L, nl_state *st, int members, int n);
void nl_check_options(lua_State *L, nl_state *st, int at, const char *const *names);
void nl_open_wait(lua_State *L, nl_state *st);
void nl_open_gather(lua_State *L, nl_state *st);
void nl_push_group_error(lua_State *L, nl_state *st, int errors);
void nl_push_delivered(lua_State *L, nl_state *st, nl_task *t, const char *message);
void nl_open_scope(lua_State *L, nl_state *st);
int nl_acquire(lua_State *L, nl_state *st, const nl_case *kind, lua_CFunction again);
int nl_try_acquire(lua_State *L, nl_state *st, const nl_case *kind);
int nl_answer_true(lua_State *L, nl_state *st, int32_t code, const neap_value *value);
void nl_open_lock(lua_State *L, nl_state *st);
void nl_open_sync(lua_State *L, nl_state *st);
void nl_open_chan(lua_State *L, nl_state *st);
size_t nl_capacity(lua_State *L, nl_state *st, int index);
void nl_open_shared(lua_State *L, nl_state *st);
void nl_open_select(lua_State *L, nl_state *st);
void nl_open_local(lua_State *L, nl_state *st);
void nl_open_run(lua_State *L, nl_state *st);
void nl_open_testing(lua_State *L, nl_state *st);
void nl_idle_on(nl_loop *l);
void nl_run_begin(lua_State *L, nl_loop *l, int ud, int patch);
void nl_run_end(lua_State *L, nl_loop *l, int patch);
int32_t nl_run_loop(lua_State *L, nl_loop *l, neap_future *until, int interrupts);
int nl_run_answer(lua_State *L, nl_state *st, int32_t code);
void nl_refuse_running(lua_State *L, nl_state *st, nl_loop *l);
enum {
    NL_RAISE_EXIT = 1,
    NL_RAISE_SHUTDOWN = 2,
    NL_RAISE_ABORT = 3
};
nl_loop *nl_running_loop(nl_state *st);
int32_t nl_begin_shutdown(nl_state *st, neap_loop *loop, const char *reason);
int nl_on_shutdown(lua_State *L);
void nl_open_shutdown(lua_State *L, nl_state *st);
void nl_signals_on(lua_State *L, nl_signals *s);
void nl_signals_off(nl_signals *s);
extern const luaL_Reg nl_signal_calls[];
void nl_signals_heard(nl_signals *s);

/* lcount.c */
void nl_check_slice(lua_State *L, nl_state *st);
void nl_set_slice(lua_State *L, nl_task *t, int64_t ns);
void nl_overtime_begin(nl_state *st, neap_loop *loop);
void nl_overtime(nl_state *st, int64_t ns, int64_t more);
void nl_overtime_end(nl_state *st, neap_loop *loop);
void nl_count_in(const nl_state *st, lua_State *co);
void nl_count_end(lua_State *co);
void nl_count_now(nl_state *st);
neap_handle *nl_interrupt_on(neap_loop *loop);
void nl_interrupt_off(neap_handle *watch);
int nl_interrupted(lua_State *L, nl_state *st);

#endif
