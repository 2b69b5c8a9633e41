/* Support for the C tests: one fresh loop per test, an allocator that counts and can fail,
   recorders for what the loop says, a small driver for scripted tasks, and a teardown that fails
   on whatever was leaked.

   A test reads

       static void L1_callbacks_run_in_order(void **state) {
           (void)state;
           nt_soon("a");
           nt_soon("b");
           nt_turn();
           assert_notes("a b");
       }
       NT_MAIN(NT_TEST(L1_callbacks_run_in_order), NT_TEST_VIRTUAL(M1_...))

   The running test's things are in the global `nt`.  The backend comes from NEAP_TEST_BACKEND:
   unset is the library's own choice, "all" runs the whole program once per backend.  With
   NEAP_TEST_SHUFFLE, a seed, batches run in random order. */
#ifndef NEAP_TEST_SUPPORT_H
#define NEAP_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "neap.h"

#define NT_MS INT64_C(1000000)
#define NT_SEC INT64_C(1000000000)

enum {
    NT_REPORTS_MAX = 64,
    NT_TRACES_MAX = 4096,
    NT_NOTES_MAX = 65536,
    NT_WAKES_MAX = 16
};

/* ---- The allocator ------------------------------------------------------------------------ */

/* Counts what is allocated, checks the sizes that come back, and fails on request.  Any thread. */
typedef struct nt_heap {
    neap_allocator hook; /* to be handed to neap_loop_options.allocator */
    atomic_long bytes;   /* allocated now */
    atomic_long blocks;  /* allocated now */
    atomic_long calls;   /* allocations asked for since nt_heap_fail, or the beginning */
    atomic_long fail_at; /* the call that fails, from 1; 0: none */
    atomic_int fail_on;  /* 1: all calls from fail_at on fail as well */
    atomic_long failed;  /* how many were made to fail */
    atomic_int misuse;   /* a block came back with another size than it was allocated with */
} nt_heap;

void nt_heap_init(nt_heap *heap);

/* Makes the n-th allocation from now fail (0: none), and with `on` all after it. */
void nt_heap_fail(nt_heap *heap, long n, int on);

/* ---- The running test --------------------------------------------------------------------- */

/* One call of the error hook, with copies of what was borrowed. */
typedef struct nt_report {
    int32_t kind;
    int32_t code;
    int64_t elapsed_ns;
    neap_task *task;     /* for comparing only: it may be gone */
    neap_future *future; /* likewise */
    neap_handle *handle; /* likewise */
    int has_exception;
    char name[64];  /* of the task */
    char site[64];  /* of the task or future */
    char what[128]; /* the handle's description */
    char message[512];
} nt_report;

/* One call of the trace hook. */
typedef struct nt_trace {
    int32_t kind;
    int64_t value;
    neap_task *task; /* these three for comparing only */
    neap_future *future;
    neap_handle *handle;
} nt_trace;

typedef struct nt_test {
    neap_loop *loop;
    nt_heap heap;
    const char *backend; /* NULL: the library's choice */
    uint64_t objects;    /* of the new loop: what it must come back to */
    int fds;             /* open before the test */
    int closes_late;     /* files are let go of: the teardown waits until they are closed */

    char notes[NT_NOTES_MAX]; /* words, joined by one space */
    size_t notes_len;

    nt_report reports[NT_REPORTS_MAX];
    size_t n_reports;

    nt_trace traces[NT_TRACES_MAX];
    size_t n_traces;
} nt_test;

extern nt_test nt;

/* cmocka's setup and teardown functions: a loop on the real clock, on a virtual one, or none.
   Teardown fails if the loop has live tasks, objects, or reports that nobody claimed, and if a
   byte, a block or a descriptor is left after it. */
int nt_setup(void **state);
int nt_setup_virtual(void **state);
int nt_setup_bare(void **state);
int nt_teardown(void **state);

/* A loop of the test's backend and allocator, with the recorder of reports; nt_loop_end closes it
   and ends it. */
neap_loop *nt_loop_new(uint32_t flags);
neap_loop *nt_loop_named(uint32_t flags, const char *name);
void nt_loop_end(neap_loop *loop);

/* The options that nt_loop_new uses. */
neap_loop_options nt_options(uint32_t flags);

neap_metrics nt_metrics_of(neap_loop *loop);
neap_metrics nt_metrics(void);

/* Open descriptors of this process. */
int nt_fd_count(void);

/* ---- Turning the loop --------------------------------------------------------------------- */

/* One tick that does not wait; n of them; ticks until one runs nothing (at most 10,000). */
int32_t nt_turn(void);
void nt_turns(int n);
void nt_settle(void);

/* Runs until the future is done and asserts that the run says so. */
void nt_until(neap_future *future);
void nt_until_task(neap_task *task);

/* ---- Notes: the order in which things happen ----------------------------------------------- */

void nt_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void nt_note_clear(void);

/* A neap_fn that notes its user, a string. */
void nt_note_fn(void *user);
/* A neap_future_fn that notes its user, a string. */
void nt_note_future_fn(neap_future *future, void *user);
/* A neap_destroy_fn that counts in the int that user points to. */
void nt_count_fn(void *user);
/* A neap_destroy_fn that notes "~" and its user, a string. */
void nt_note_destroy(void *user);

/* A string as the user of one of these. */
#define NT_WORD(text) ((void *)(text))

#define assert_notes(expected) assert_string_equal(nt.notes, (expected))

/* call_soon, call_later and on_done with nt_note_fn. */
void nt_soon(const char *word);
neap_handle *nt_soon_handle(const char *word);
void nt_later(int64_t delay_ns, const char *word);
neap_handle *nt_later_handle(int64_t delay_ns, const char *word);
void nt_on_done(neap_future *future, const char *word);

/* ---- Reports and traces --------------------------------------------------------------------- */

/* A neap_report_fn that records in nt.reports. */
void nt_report_fn(neap_loop *loop, const neap_report *report, void *user);

/* Asserts that exactly one report came, of this kind, and claims it: valid until the next one. */
const nt_report *nt_claim(int32_t kind);
/* Asserts that no report came. */
void nt_no_reports(void);
/* Claims all; how many there were of a kind. */
size_t nt_reports_of(int32_t kind);
void nt_claim_all(void);

/* Starts to record (or records anew), stops. */
void nt_trace_start(void);
void nt_trace_stop(void);
size_t nt_trace_count(int32_t kind);
/* The index-th record of a kind; fails the test if there is none. */
const nt_trace *nt_trace_get(int32_t kind, size_t index);
/* A word for NEAP_TRACE_*. */
const char *nt_trace_word(int32_t kind);

/* ---- Futures ------------------------------------------------------------------------------- */

neap_future *nt_future(void);
neap_future *nt_future_on(neap_loop *loop);
neap_future *nt_sleep(int64_t delay_ns);
/* Asserts that the future has a result of kind INT and returns it. */
int64_t nt_int(neap_future *future);
#define assert_state(future, expected) assert_int_equal(neap_future_state(future), (expected))
#define assert_ok(call) assert_int_equal((call), NEAP_OK)
#define assert_code(call, expected) assert_int_equal((call), (expected))

/* ---- Scripted tasks ------------------------------------------------------------------------- */

/* What a scripted task does, one after the other.  A wait that is answered by a failure or a
   cancellation ends the task with it, as an exception would, unless the wait is a _CATCH. */
typedef struct nt_act {
    enum {
        NT_DO_END,    /* returns without a value */
        NT_DO_NOTE,   /* notes a word */
        NT_DO_YIELD,  /* a bare yield */
        NT_DO_AWAIT,  /* waits for a future */
        NT_DO_SLEEP,  /* waits for neap_sleep */
        NT_DO_RETURN, /* returns an integer */
        NT_DO_PASS,   /* returns the integer that the last wait gave */
        NT_DO_FAIL,   /* fails with a code */
        NT_DO_CALL,   /* calls a function */
        NT_DO_CANCEL, /* cancels the running task itself */
        NT_DO_LOOP    /* goes back to the first act */
    } what;
    int catches;          /* of a wait: goes on whatever the outcome */
    neap_future *future;  /* to wait for */
    neap_future **lazily; /* likewise, read when the act is reached */
    int64_t value;        /* to return, fail with, or sleep */
    const char *word;
    neap_fn fn;
    void *user;
} nt_act;

#define NT_NOTE(w) \
    { .what = NT_DO_NOTE, .word = (w) }
#define NT_YIELD \
    { .what = NT_DO_YIELD }
#define NT_YIELD_CATCH \
    { .what = NT_DO_YIELD, .catches = 1 }
#define NT_AWAIT(f) \
    { .what = NT_DO_AWAIT, .future = (f) }
#define NT_AWAIT_CATCH(f) \
    { .what = NT_DO_AWAIT, .future = (f), .catches = 1 }
#define NT_AWAIT_LATE(pf) \
    { .what = NT_DO_AWAIT, .lazily = (pf) }
#define NT_SLEEP(ns) \
    { .what = NT_DO_SLEEP, .value = (ns) }
#define NT_SLEEP_CATCH(ns) \
    { .what = NT_DO_SLEEP, .value = (ns), .catches = 1 }
#define NT_RETURN(v) \
    { .what = NT_DO_RETURN, .value = (v) }
#define NT_PASS \
    { .what = NT_DO_PASS }
#define NT_FAIL(code) \
    { .what = NT_DO_FAIL, .value = (code) }
#define NT_CALL(f, u) \
    { .what = NT_DO_CALL, .fn = (f), .user = (u) }
#define NT_CANCEL_SELF \
    { .what = NT_DO_CANCEL }
#define NT_AGAIN \
    { .what = NT_DO_LOOP }
#define NT_ACTS(...) ((const nt_act[]){__VA_ARGS__, {.what = NT_DO_END}})

/* A task made of acts; the caller's variable, which outlives the task. */
typedef struct nt_script {
    const nt_act *acts;
    size_t pc;
    int n_wakes;                 /* steps begun */
    int32_t wakes[NT_WAKES_MAX]; /* why, of the first ones */
    int32_t seen_state;          /* of the future that the last wait was for; -1 without */
    int64_t seen_int;            /* its value if it had an INT */
    int cancels;                 /* cancellations delivered */
    int destroyed;               /* times that destroy ran */
    int running;                 /* inside a step now */
    int overlapped;              /* a step began inside another: never */
} nt_script;

extern const neap_task_ops nt_script_ops;

/* Spawns the script on nt.loop (or a given one); returns a new reference. */
neap_task *nt_spawn(nt_script *script, const char *name, const nt_act *acts);
neap_task *nt_spawn_on(neap_loop *loop, nt_script *script, const char *name, const nt_act *acts);

/* ---- Threads, children, faults -------------------------------------------------------------- */

/* Runs fn(user) on a new thread and waits for its end; what it returns. */
intptr_t nt_in_thread(intptr_t (*fn)(void *user), void *user);

/* Runs fn(user) in a forked child and returns its exit status (-signal if it was killed).  fn must
   not assert. */
int nt_in_child(int (*fn)(void *user), void *user);

/* 1 under valgrind or a sanitizer, where counts of rounds are to be small. */
int nt_slow_machine(void);

/* Runs the scenario with the 1st, 2nd, 3rd ... allocation failing until a run needs no more: once
   each, then from there on.  The scenario makes its loop of nt_fault_loop, which answers NULL if
   that failed, ends all it made, and asserts what holds whether or not something failed.  After
   each run nothing may be left. */
void nt_fault(void (*scenario)(void));
neap_loop *nt_fault_loop(uint32_t flags);

/* ---- The program ---------------------------------------------------------------------------- */

/* Runs the tests under the watchdog; the exit status. */
int nt_main(const char *group, const struct CMUnitTest *tests, size_t n);

#define NT_TEST(f) cmocka_unit_test_setup_teardown(f, nt_setup, nt_teardown)
#define NT_TEST_VIRTUAL(f) cmocka_unit_test_setup_teardown(f, nt_setup_virtual, nt_teardown)
#define NT_TEST_BARE(f) cmocka_unit_test_setup_teardown(f, nt_setup_bare, nt_teardown)

#define NT_MAIN(...)                                                     \
    int main(void) {                                                     \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                 \
        return nt_main(__FILE__, tests, sizeof tests / sizeof tests[0]); \
    }

#endif
