#include "support.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WATCHDOG_S = 60,
    WATCHDOG_SLOW_S = 600
};

nt_test nt;

/* ---- The allocator ------------------------------------------------------------------------ */

/* In front of each block: its size, kept where every alignment is satisfied. */
typedef union block {
    size_t size;
    max_align_t align;
} block;

static int heap_refuses(nt_heap *heap) {
    long call = atomic_fetch_add(&heap->calls, 1) + 1;
    long at = atomic_load(&heap->fail_at);
    if (at == 0 || call < at || (call > at && !atomic_load(&heap->fail_on)))
        return 0;
    atomic_fetch_add(&heap->failed, 1);
    return 1;
}

static void *heap_alloc(void *ctx, size_t n) {
    nt_heap *heap = ctx;
    if (heap_refuses(heap))
        return NULL;
    block *b = malloc(sizeof *b + n);
    if (b == NULL)
        return NULL;
    b->size = n;
    memset(b + 1, 0xa5, n);
    atomic_fetch_add(&heap->bytes, (long)n);
    atomic_fetch_add(&heap->blocks, 1);
    return b + 1;
}

static void heap_free(void *ctx, void *p, size_t n) {
    nt_heap *heap = ctx;
    if (p == NULL)
        return;
    block *b = (block *)p - 1;
    if (b->size != n)
        atomic_store(&heap->misuse, 1);
    atomic_fetch_sub(&heap->bytes, (long)b->size);
    atomic_fetch_sub(&heap->blocks, 1);
    memset(p, 0x5a, b->size);
    free(b);
}

static void *heap_realloc(void *ctx, void *p, size_t old, size_t n) {
    void *q = heap_alloc(ctx, n);
    if (q == NULL || p == NULL)
        return q;
    memcpy(q, p, old < n ? old : n);
    heap_free(ctx, p, old);
    return q;
}

void nt_heap_init(nt_heap *heap) {
    memset(heap, 0, sizeof *heap);
    heap->hook.size = sizeof heap->hook;
    heap->hook.ctx = heap;
    heap->hook.alloc = heap_alloc;
    heap->hook.realloc = heap_realloc;
    heap->hook.free = heap_free;
}

void nt_heap_fail(nt_heap *heap, long n, int on) {
    atomic_store(&heap->calls, 0);
    atomic_store(&heap->failed, 0);
    atomic_store(&heap->fail_on, on);
    atomic_store(&heap->fail_at, n);
}

/* ---- The running test --------------------------------------------------------------------- */

int nt_fd_count(void) {
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return -1;
    int n = 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 3; /* ".", ".." and the directory itself */
}

int nt_slow_machine(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 1;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 1;
#endif
#endif
    return getenv("NEAP_TEST_VALGRIND") != NULL;
}

neap_loop_options nt_options(uint32_t flags) {
    neap_loop_options options = {0};
    options.size = sizeof options;
    options.allocator = &nt.heap.hook;
    options.backend = nt.backend;
    if (getenv("NEAP_TEST_SHUFFLE") != NULL)
        options.shuffle_seed = (uint64_t)atol(getenv("NEAP_TEST_SHUFFLE"));
    options.name = "test";
    options.flags = flags;
    options.slow_ns = (flags & NEAP_LOOP_VIRTUAL_CLOCK) ? 0 : -1;
    return options;
}

neap_loop *nt_loop_named(uint32_t flags, const char *name) {
    neap_loop_options options = nt_options(flags);
    options.name = name;
    neap_loop *loop = NULL;
    assert_ok(neap_loop_new(&options, &loop));
    assert_non_null(loop);
    assert_ok(neap_loop_set_error_hook(loop, nt_report_fn, NULL, NULL));
    return loop;
}

neap_loop *nt_loop_new(uint32_t flags) {
    return nt_loop_named(flags, "test");
}

void nt_loop_end(neap_loop *loop) {
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
}

neap_metrics nt_metrics_of(neap_loop *loop) {
    neap_metrics m = {0};
    int32_t n = neap_loop_metrics(loop, &m, sizeof m);
    assert_int_equal(n, sizeof m);
    return m;
}

neap_metrics nt_metrics(void) {
    return nt_metrics_of(nt.loop);
}

static void watch(void) {
    alarm(nt_slow_machine() ? WATCHDOG_SLOW_S : WATCHDOG_S);
}

int nt_setup_bare(void **state) {
    watch();
    const char *backend = nt.backend;
    nt.loop = NULL;
    nt.backend = backend;
    nt.n_reports = 0;
    nt.n_traces = 0;
    nt_note_clear();
    nt_heap_init(&nt.heap);
    nt.fds = nt_fd_count();
    *state = &nt;
    return 0;
}

static int setup_with(void **state, uint32_t flags) {
    nt_setup_bare(state);
    neap_loop_options options = nt_options(flags);
    int32_t code = neap_loop_new(&options, &nt.loop);
    if (code != 0) {
        print_error("neap_loop_new: %s\n", neap_strerror(code));
        return -1;
    }
    if (neap_loop_set_error_hook(nt.loop, nt_report_fn, NULL, NULL) != 0)
        return -1;
    nt.objects = nt_metrics().objects;
    return 0;
}

int nt_setup(void **state) {
    return setup_with(state, 0);
}

int nt_setup_virtual(void **state) {
    return setup_with(state, NEAP_LOOP_VIRTUAL_CLOCK);
}

/* Says what is wrong and counts it. */
static int leak(const char *what, long have, long want) {
    if (have == want)
        return 0;
    print_error("leak: %s: %ld instead of %ld\n", what, have, want);
    return 1;
}

static int leaks_of_loop(void) {
    neap_metrics m = {0};
    int n = 0;
    if (neap_loop_is_closed(nt.loop) == 0 && neap_loop_metrics(nt.loop, &m, sizeof m) > 0) {
        n += leak("tasks", (long)m.tasks, 0);
        n += leak("operations", (long)m.operations, 0);
        n += leak("sockets", (long)m.socks, 0);
        n += leak("timers", (long)m.timers, 0);
        n += leak("entries of the ready queue", (long)m.ready, 0);
        /* A failure stays until the end of its tick, pulled objects until the next pull. */
        neap_completion event;
        n += leak("events that nobody took",
                  neap_loop_poll_completions(nt.loop, &event, sizeof event, 1, 0), 0);
        if (neap_loop_metrics(nt.loop, &m, sizeof m) > 0)
            n += leak("objects", (long)m.objects, (long)nt.objects);
    }
    return n;
}

static int leaks_of_process(void) {
    int n = 0;
    n += leak("bytes", atomic_load(&nt.heap.bytes), 0);
    n += leak("blocks", atomic_load(&nt.heap.blocks), 0);
    n += leak("blocks freed with a wrong size", atomic_load(&nt.heap.misuse), 0);
    n += leak("descriptors", nt_fd_count(), nt.fds);
    return n;
}

static int unclaimed_reports(void) {
    int n = (int)nt.n_reports;
    for (size_t i = 0; i < nt.n_reports; i++)
        print_error("report nobody claimed: kind %d, %s (%s)\n", (int)nt.reports[i].kind,
                    nt.reports[i].message, neap_err_name(nt.reports[i].code));
    nt.n_reports = 0;
    return n;
}

/* A file that was let go of is closed a little later, and its memory goes then. */
static void await_closing(void) {
    neap_metrics m;
    for (int i = 0; i < 5000 && neap_loop_metrics(nt.loop, &m, sizeof m) > 0; i++) {
        if (m.operations == 0 && m.objects <= nt.objects)
            break;
        if (neap_loop_run_once(nt.loop, i == 0 ? 0 : NT_MS) < 0)
            break;
    }
}

int nt_teardown(void **state) {
    (void)state;
    int n = 0;
    if (nt.loop != NULL) {
        if (neap_loop_is_running(nt.loop)) {
            print_error("the test left its loop running\n");
            nt.loop = NULL;
            return -1;
        }
        if (nt.closes_late)
            await_closing();
        nt.closes_late = 0;
        n += leaks_of_loop();
        n += unclaimed_reports();
        int32_t code = neap_loop_close(nt.loop, 0);
        if (code != 0) {
            print_error("neap_loop_close: %s\n", neap_err_name(code));
            n++;
        }
        neap_loop_unref(nt.loop);
        nt.loop = NULL;
    }
    n += unclaimed_reports();
    n += leaks_of_process();
    return n == 0 ? 0 : -1;
}

/* ---- Turning the loop --------------------------------------------------------------------- */

int32_t nt_turn(void) {
    int32_t n = neap_loop_run_once(nt.loop, 0);
    assert_true(n >= 0);
    return n;
}

void nt_turns(int n) {
    for (int i = 0; i < n; i++)
        nt_turn();
}

void nt_settle(void) {
    for (int i = 0; i < 10000; i++)
        if (nt_turn() == 0)
            return;
    fail_msg("the loop did not settle in 10,000 ticks");
}

void nt_until(neap_future *future) {
    assert_ok(neap_loop_run_until(nt.loop, future));
    assert_true(neap_future_done(future) == 1);
}

void nt_until_task(neap_task *task) {
    nt_until(neap_task_future(task));
}

/* ---- Notes ---------------------------------------------------------------------------------- */

void nt_note(const char *format, ...) {
    va_list args;
    if (nt.notes_len > 0 && nt.notes_len + 1 < sizeof nt.notes)
        nt.notes[nt.notes_len++] = ' ';
    va_start(args, format);
    int n = vsnprintf(nt.notes + nt.notes_len, sizeof nt.notes - nt.notes_len, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof nt.notes - nt.notes_len);
    nt.notes_len += (size_t)n;
}

void nt_note_clear(void) {
    nt.notes_len = 0;
    nt.notes[0] = '\0';
}

void nt_note_fn(void *user) {
    nt_note("%s", (const char *)user);
}

void nt_note_future_fn(neap_future *future, void *user) {
    assert_non_null(future);
    assert_true(neap_future_done(future) == 1);
    nt_note("%s", (const char *)user);
}

void nt_count_fn(void *user) {
    ++*(int *)user;
}

void nt_note_destroy(void *user) {
    nt_note("~%s", (const char *)user);
}

void nt_soon(const char *word) {
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, (void *)word, NULL, NULL));
}

neap_handle *nt_soon_handle(const char *word) {
    neap_handle *handle = NULL;
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, (void *)word, NULL, &handle));
    assert_non_null(handle);
    return handle;
}

void nt_later(int64_t delay_ns, const char *word) {
    assert_ok(neap_call_later(nt.loop, delay_ns, nt_note_fn, (void *)word, NULL, NULL));
}

neap_handle *nt_later_handle(int64_t delay_ns, const char *word) {
    neap_handle *handle = NULL;
    assert_ok(neap_call_later(nt.loop, delay_ns, nt_note_fn, (void *)word, NULL, &handle));
    assert_non_null(handle);
    return handle;
}

void nt_on_done(neap_future *future, const char *word) {
    assert_ok(neap_future_on_done(future, nt_note_future_fn, (void *)word, NULL, NULL));
}

/* ---- Reports and traces --------------------------------------------------------------------- */

void nt_report_fn(neap_loop *loop, const neap_report *report, void *user) {
    (void)loop;
    (void)user;
    if (nt.n_reports == NT_REPORTS_MAX)
        return;
    nt_report *r = &nt.reports[nt.n_reports++];
    memset(r, 0, sizeof *r);
    r->kind = report->kind;
    r->code = report->code;
    r->elapsed_ns = report->elapsed_ns;
    r->task = report->task;
    r->future = report->future;
    r->handle = report->handle;
    r->has_exception = report->exception_tag != NULL;
    if (report->task != NULL) {
        snprintf(r->name, sizeof r->name, "%s", neap_task_name(report->task));
        snprintf(r->site, sizeof r->site, "%s", neap_task_site(report->task));
    } else if (report->future != NULL) {
        snprintf(r->site, sizeof r->site, "%s", neap_future_site(report->future));
    }
    if (report->handle != NULL)
        neap_handle_describe(report->handle, r->what, sizeof r->what);
    if (report->message != NULL)
        snprintf(r->message, sizeof r->message, "%s", report->message);
    else
        snprintf(r->message, sizeof r->message, "(a report without a message)");
}

void nt_no_reports(void) {
    for (size_t i = 0; i < nt.n_reports; i++)
        print_error("report: kind %d, %s\n", (int)nt.reports[i].kind, nt.reports[i].message);
    assert_int_equal(nt.n_reports, 0);
}

const nt_report *nt_claim(int32_t kind) {
    if (nt.n_reports != 1)
        for (size_t i = 0; i < nt.n_reports; i++)
            print_error("report: kind %d, %s\n", (int)nt.reports[i].kind, nt.reports[i].message);
    assert_int_equal(nt.n_reports, 1);
    assert_int_equal(nt.reports[0].kind, kind);
    nt.n_reports = 0;
    return &nt.reports[0];
}

size_t nt_reports_of(int32_t kind) {
    size_t n = 0;
    for (size_t i = 0; i < nt.n_reports; i++)
        n += nt.reports[i].kind == kind;
    return n;
}

void nt_claim_all(void) {
    nt.n_reports = 0;
}

static void trace_fn(neap_loop *loop, const neap_trace *trace, void *user) {
    (void)loop;
    (void)user;
    if (nt.n_traces == NT_TRACES_MAX)
        return;
    nt_trace *t = &nt.traces[nt.n_traces++];
    t->kind = trace->kind;
    t->value = trace->value;
    t->task = trace->task;
    t->future = trace->future;
    t->handle = trace->handle;
}

void nt_trace_start(void) {
    nt.n_traces = 0;
    assert_ok(neap_loop_set_trace_hook(nt.loop, trace_fn, NULL, NULL));
}

void nt_trace_stop(void) {
    assert_ok(neap_loop_set_trace_hook(nt.loop, NULL, NULL, NULL));
}

size_t nt_trace_count(int32_t kind) {
    size_t n = 0;
    for (size_t i = 0; i < nt.n_traces; i++)
        n += nt.traces[i].kind == kind;
    return n;
}

const nt_trace *nt_trace_get(int32_t kind, size_t index) {
    for (size_t i = 0; i < nt.n_traces; i++)
        if (nt.traces[i].kind == kind && index-- == 0)
            return &nt.traces[i];
    fail_msg("the trace has no such %s", nt_trace_word(kind));
    return NULL;
}

const char *nt_trace_word(int32_t kind) {
    static const char *const words[] = {"?",      "poll", "polled", "ready", "io",
                                        "settle", "wake", "spawn",  "step",  "suspend",
                                        "yield",  "done", "call",   "end",   "called"};
    size_t n = sizeof words / sizeof words[0];
    return words[kind > 0 && (size_t)kind < n ? kind : 0];
}

/* ---- Futures ------------------------------------------------------------------------------- */

neap_future *nt_future_on(neap_loop *loop) {
    neap_future *future = NULL;
    assert_ok(neap_future_new(loop, &future));
    assert_non_null(future);
    return future;
}

neap_future *nt_future(void) {
    return nt_future_on(nt.loop);
}

neap_future *nt_sleep(int64_t delay_ns) {
    neap_future *future = NULL;
    assert_ok(neap_sleep(nt.loop, delay_ns, &future));
    assert_non_null(future);
    return future;
}

int64_t nt_int(neap_future *future) {
    int64_t value = 0;
    assert_int_equal(neap_future_kind(future), NEAP_KIND_INT);
    assert_ok(neap_future_get_int(future, &value));
    return value;
}

/* ---- Scripted tasks ------------------------------------------------------------------------- */

/* Waits for what the act names; the future is kept by the task. */
static int32_t script_wait(neap_task *task, const nt_act *act) {
    neap_future *future = act->lazily != NULL ? *act->lazily : act->future;
    if (act->what == NT_DO_SLEEP) {
        int32_t code = neap_sleep(neap_future_loop(neap_task_future(task)), act->value, &future);
        if (code != 0)
            return code;
    }
    int32_t code = neap_task_await(task, future);
    if (act->what == NT_DO_SLEEP)
        neap_future_unref(future);
    return code;
}

/* Ends the task as failed; without memory for the text as without. */
static int32_t script_fail(neap_task *task, int32_t code, const char *message) {
    neap_future *future = neap_task_future(task);
    if (neap_future_set_error(future, code, message) == NEAP_ENOMEM)
        neap_future_set_error(future, code, NULL);
    return NEAP_STEP_DONE;
}

/* Goes on after a wait; 1 if the task goes on, else *ret_step is how it ends. */
static int script_resume(nt_script *s, neap_task *task, neap_future *awaited, int32_t wake,
                         int32_t *ret_step) {
    s->seen_state = awaited != NULL ? neap_future_state(awaited) : -1;
    if (awaited != NULL && s->seen_state == NEAP_STATE_RESULT)
        neap_future_get_int(awaited, &s->seen_int);
    int cancelled = wake == NEAP_WAKE_CANCEL || s->seen_state == NEAP_STATE_CANCELLED;
    s->cancels += cancelled;
    if (wake == NEAP_WAKE_START || s->acts[s->pc - 1].catches)
        return 1;
    if (cancelled) {
        *ret_step = NEAP_STEP_CANCELLED;
        return 0;
    }
    if (s->seen_state == NEAP_STATE_ERROR) {
        *ret_step = script_fail(task, neap_future_error(awaited), neap_future_message(awaited));
        return 0;
    }
    return 1;
}

static int32_t script_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    nt_script *s = user;
    neap_future *self = neap_task_future(task);
    int32_t step = NEAP_STEP_DONE;
    s->overlapped |= s->running;
    s->running = 1;
    if (s->n_wakes < NT_WAKES_MAX)
        s->wakes[s->n_wakes] = wake;
    s->n_wakes++;
    int goes_on = script_resume(s, task, awaited, wake, &step);
    while (goes_on) {
        const nt_act *act = &s->acts[s->pc++];
        int32_t code = 0;
        switch (act->what) {
        case NT_DO_END:
            goes_on = 0;
            break;
        case NT_DO_NOTE:
            nt_note("%s", act->word);
            break;
        case NT_DO_YIELD:
            step = NEAP_STEP_YIELD;
            goes_on = 0;
            break;
        case NT_DO_AWAIT:
        case NT_DO_SLEEP:
            code = script_wait(task, act);
            step = code == 0 ? NEAP_STEP_AWAIT : script_fail(task, code, NULL);
            goes_on = 0;
            break;
        case NT_DO_RETURN:
            neap_future_set_int(self, act->value);
            goes_on = 0;
            break;
        case NT_DO_PASS:
            neap_future_set_int(self, s->seen_int);
            goes_on = 0;
            break;
        case NT_DO_FAIL:
            script_fail(task, (int32_t)act->value, act->word);
            goes_on = 0;
            break;
        case NT_DO_CALL:
            act->fn(act->user);
            break;
        case NT_DO_CANCEL:
            neap_task_cancel(task, NULL);
            break;
        case NT_DO_LOOP:
            s->pc = 0;
            break;
        }
    }
    s->running = 0;
    return step;
}

static void script_destroy(void *user) {
    nt_script *s = user;
    s->destroyed++;
}

const neap_task_ops nt_script_ops = {
    .size = sizeof(neap_task_ops), .step = script_step, .destroy = script_destroy};

neap_task *nt_spawn_on(neap_loop *loop, nt_script *script, const char *name, const nt_act *acts) {
    neap_task_options options = {.size = sizeof options, .name = name};
    neap_task *task = NULL;
    memset(script, 0, sizeof *script);
    script->acts = acts;
    script->seen_state = -1;
    assert_ok(neap_task_spawn(loop, &nt_script_ops, script, &options, &task));
    assert_non_null(task);
    return task;
}

neap_task *nt_spawn(nt_script *script, const char *name, const nt_act *acts) {
    return nt_spawn_on(nt.loop, script, name, acts);
}

/* ---- Threads, children, faults -------------------------------------------------------------- */

struct thread_call {
    intptr_t (*fn)(void *user);
    void *user;
    intptr_t answer;
};

static void *thread_main(void *arg) {
    struct thread_call *call = arg;
    call->answer = call->fn(call->user);
    return NULL;
}

intptr_t nt_in_thread(intptr_t (*fn)(void *user), void *user) {
    struct thread_call call = {fn, user, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, thread_main, &call), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return call.answer;
}

int nt_in_child(int (*fn)(void *user), void *user) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(WATCHDOG_S);
        _exit(fn(user));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) != pid)
        ;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

neap_loop *nt_fault_loop(uint32_t flags) {
    neap_loop_options options = nt_options(flags);
    neap_loop *loop = NULL;
    int32_t code = neap_loop_new(&options, &loop);
    if (code != 0) {
        assert_int_equal(code, NEAP_ENOMEM);
        assert_null(loop);
        return NULL;
    }
    neap_loop_set_error_hook(loop, nt_report_fn, NULL, NULL);
    return loop;
}

/* One run with the n-th allocation failing; 1 if it failed one. */
static int fault_run(void (*scenario)(void), long n, int on) {
    watch();
    nt_claim_all();
    nt_note_clear();
    nt_heap_fail(&nt.heap, n, on);
    scenario();
    int failed = atomic_load(&nt.heap.failed) > 0;
    nt_heap_fail(&nt.heap, 0, 0);
    if (leaks_of_process() != 0)
        fail_msg("with allocation %ld failing%s", n, on ? " and all after it" : "");
    return failed;
}

void nt_fault(void (*scenario)(void)) {
    for (int on = 0; on <= 1; on++) {
        long n = 1;
        while (fault_run(scenario, n, on))
            n++;
        assert_true(n > 1);
    }
    nt_claim_all();
}

/* ---- The program ---------------------------------------------------------------------------- */

static void watchdog(int signo) {
    (void)signo;
    static const char text[] = "\nwatchdog: the test hangs\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    abort();
}

static int run_group(const char *group, const struct CMUnitTest *tests, size_t n) {
    return _cmocka_run_group_tests(group, tests, n, NULL, NULL);
}

enum {
    SKIPPED = 77 /* what the runner takes for "not run" */
};

/* A backend that is built in and that this machine forbids, as a sandbox does with io_uring. */
static int refused(const char *backend) {
    neap_loop *loop = NULL;
    neap_loop_options options = {.size = sizeof options, .backend = backend};
    if (backend == NULL || neap_has(backend) == 0)
        return 0;
    if (neap_loop_new(&options, &loop) == NEAP_ENOTSUP) {
        fprintf(stderr, "not run: this machine refuses %s\n", backend);
        return 1;
    }
    neap_loop_unref(loop);
    return 0;
}

int nt_main(const char *group, const struct CMUnitTest *tests, size_t n) {
    static const char *const backends[] = {"epoll", "poll", "io_uring"};
    const char *name = strrchr(group, '/');
    name = name != NULL ? name + 1 : group;
    setvbuf(stdout, NULL, _IONBF, 0);
    signal(SIGALRM, watchdog);
    nt.backend = getenv("NEAP_TEST_BACKEND");
    if (nt.backend != NULL && *nt.backend == '\0')
        nt.backend = NULL;
    if (nt.backend == NULL || strcmp(nt.backend, "all") != 0)
        return refused(nt.backend) ? SKIPPED : run_group(name, tests, n) != 0;
    int failed = 0;
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        nt.backend = backends[i];
        if (neap_has(nt.backend) == 0 || refused(nt.backend))
            continue;
        failed += run_group(name, tests, n) != 0;
    }
    return failed != 0;
}
