/* shutdown.c: the end of a program: intake stops -> tasks may end by themselves -> they are cancelled -> they may clean up ->
   what is left is aborted.  Beginning is apart from running through it, because a signal or a task begins, and whoever runs
   the loop goes through it. */
#include "base/clock.h"
#include "base/options.h"
#include "base/text.h"
#include "core/handle.h"
#include "core/task.h"

#define STOP_GRACE_DEFAULT (10 * NP_NS_PER_S)
#define GRACE_DEFAULT (5 * NP_NS_PER_S)

enum {
    NAMES_MAX = 10,
    TEXT_MAX = 1024,
    HOOK_TURNS_MAX = 100,
    TURNS_MAX = 100000 /* at one moment of a virtual clock, which stands while somebody is ready */
};

/* ---- Who wants to know */

typedef struct np_expectation {
    neap_future f;
    np_list link; /* in loop->shutdown_futures */
} np_expectation;

static np_expectation *expectation_of(neap_future *f) {
    return np_container(f, np_expectation, f);
}

static void destroy(np_obj *obj) {
    np_expectation *x = expectation_of(np_container(obj, neap_future, obj));
    np_list_unlink(&x->link);
    np_future_fini(&x->f);
    np_obj_free(obj, sizeof *x);
}

static int32_t cancel(neap_future *f, const char *msg) {
    np_list_unlink(&expectation_of(f)->link);
    np_future_settle_cancelled(f, msg);
    return 1;
}

static void end(neap_future *f) {
    np_list_unlink(&expectation_of(f)->link);
    np_future_settle_error(f, NEAP_ECLOSED, NULL);
}

static const char *what(const neap_future *f) {
    (void)f;
    return "the shutdown";
}

static const np_future_type expectation_type = {
    .base = {.name = "shutdown", .destroy = destroy}, .cancel = cancel, .end = end, .what = what};

int32_t neap_loop_shutdown_begun(neap_loop *loop, neap_future **ret_future) {
    int32_t rc = loop == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0 || loop->shutting_down)
        return rc;
    neap_future *f = np_future_new(loop, &expectation_type, sizeof(np_expectation));
    if (f == NULL)
        return NEAP_ENOMEM;
    np_list_init(&expectation_of(f)->link);
    np_list_append(&loop->shutdown_futures, &expectation_of(f)->link);
    (void)np_future_give(f, ret_future);
    return NEAP_PENDING;
}

bool np_loop_awaits_shutdown(const neap_loop *loop) {
    return !np_list_empty(&loop->shutdown_futures) && !np_list_empty(&loop->signal_watches);
}

static int32_t add_hook(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy_user,
                        neap_handle **ret) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    neap_handle *h = rc < 0 ? NULL : np_handle_new(loop, NP_CALL_SHUTDOWN);
    if (h == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_handle_take(h, user, destroy_user);
    h->fn.call = fn;
    if (loop->shutting_down) {
        loop->shutdown_heard = true;
        np_enqueue(loop, &h->node);
    } else {
        h->node.where = NP_AT_WAIT;
        np_list_append(&loop->on_shutdown, &h->node.link);
    }
    np_handle_give(h, ret);
    return 0;
}

int32_t neap_loop_on_shutdown(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy_user,
                              neap_handle **ret_handle) {
    int32_t rc = add_hook(loop, fn, user, destroy_user, ret_handle);
    if (rc < 0 && destroy_user != NULL)
        destroy_user(user);
    return rc;
}

/* ---- Beginning and end */

static bool has_listeners(const neap_loop *loop) {
    return !np_list_empty(&loop->on_shutdown) || !np_list_empty(&loop->shutdown_futures);
}

static void tell_listeners(neap_loop *loop) {
    while (!np_list_empty(&loop->on_shutdown))
        np_enqueue(loop, np_container(np_list_pop(&loop->on_shutdown), np_ready, link));
    while (!np_list_empty(&loop->shutdown_futures)) {
        np_expectation *x =
            np_container(np_list_pop(&loop->shutdown_futures), np_expectation, link);
        np_future_ref(&x->f);
        np_future_settle(&x->f, NEAP_STATE_RESULT);
        np_future_unref(&x->f);
    }
}

static void begin(neap_loop *loop, const char *reason) {
    loop->shutting_down = true;
    loop->shutdown_heard = has_listeners(loop);
    loop->shutdown_at = loop->now;
    loop->shutdown_reason = reason != NULL ? np_alloc_text(loop->alloc, reason) : NULL;
    tell_listeners(loop);
}

int32_t neap_loop_begin_shutdown(neap_loop *loop, const char *reason) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0 || loop->shutting_down)
        return rc;
    begin(loop, reason);
    return 1;
}

int32_t neap_loop_shutting_down(neap_loop *loop) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_look(loop);
    return rc < 0 ? rc : loop->shutting_down;
}

void np_shutdown_forget(neap_loop *loop) {
    loop->shutting_down = false;
    np_alloc_put_text(loop->alloc, loop->shutdown_reason);
    loop->shutdown_reason = NULL;
}

/* ---- Telling of it */

static int32_t count_tasks(const neap_loop *loop) {
    int32_t n = 0;
    for (np_list *at = loop->tasks.next; at != &loop->tasks; at = at->next)
        n++;
    return n;
}

static void add_names(np_text *t, neap_loop *loop, int32_t tasks) {
    int32_t n = 0;
    for (np_list *at = loop->tasks.next; at != &loop->tasks && n < NAMES_MAX; at = at->next, n++)
        np_text_add(t, "%s%s", n == 0 ? ": " : ", ",
                    neap_task_name(np_container(at, neap_task, f.all)));
    if (tasks > n)
        np_text_add(t, " and %d more", (int)(tasks - n));
}

static void describe(np_text *t, neap_loop *loop, const neap_shutdown_step *s) {
    static const char *const verbs[] = {[NEAP_SHUTDOWN_STOP] = "begins",
                                        [NEAP_SHUTDOWN_CANCEL] = "cancels",
                                        [NEAP_SHUTDOWN_ABORT] = "aborts",
                                        [NEAP_SHUTDOWN_DONE] = "is over",
                                        [NEAP_SHUTDOWN_WAITING] = "waits for"};
    np_text_add(t, "shutdown");
    if (s->step == NEAP_SHUTDOWN_STOP && loop->shutdown_reason != NULL)
        np_text_add(t, " (%s)", loop->shutdown_reason);
    np_text_add(t, " %s", verbs[s->step]);
    if (s->step == NEAP_SHUTDOWN_STOP)
        np_text_add(t, " with");
    if (s->step != NEAP_SHUTDOWN_DONE)
        np_text_add(t, " %d task%s", (int)s->tasks, s->tasks == 1 ? "" : "s");
    np_text_add(t, " after %.3f s", (double)s->elapsed_ns / 1e9);
    add_names(t, loop, s->tasks);
}

typedef struct ending {
    neap_loop *loop;
    neap_shutdown_options o;
    int64_t told;    /* when a step was last told of */
    uint64_t newest; /* number of the newest task that was cancelled */
    int turns;       /* at the present moment of a virtual clock */
    bool hurried;
    int32_t rc;
} ending;

static void tell(ending *e, int32_t step, int64_t limit_ns) {
    neap_loop *loop = e->loop;
    char bytes[TEXT_MAX] = "";
    np_text t = {.bytes = bytes, .cap = sizeof bytes};
    e->told = loop->now;
    if (loop->on_log == NULL && e->o.fn == NULL)
        return;
    neap_shutdown_step s = {.size = sizeof s,
                            .step = step,
                            .tasks = count_tasks(loop),
                            .elapsed_ns = loop->now - loop->shutdown_at,
                            .limit_ns = limit_ns};
    describe(&t, loop, &s);
    s.text = bytes;
    if (loop->on_log != NULL)
        loop->on_log(loop, NEAP_LOG_INFO, bytes, loop->log_hook.user);
    if (e->o.fn != NULL)
        e->o.fn(loop, &s, e->o.user);
}

/* ---- The steps */

static bool has_tasks(const ending *e) {
    return e->rc >= 0 && !np_list_empty(&e->loop->tasks);
}

static void note_standstill(ending *e, int64_t before) {
    e->turns = e->loop->now == before ? e->turns + 1 : 0;
    if (e->turns > TURNS_MAX)
        e->hurried = true;
}

/* One turn, which waits for something to happen, but no longer than to `end`. */
static void turn(ending *e, int64_t end) {
    neap_loop *loop = e->loop;
    int64_t before = loop->now, next = np_time_add(e->told, NP_NS_PER_S);
    int64_t until = end < next ? end : next;
    e->rc = np_tick(loop, until > loop->now ? until - loop->now : 0);
    if (loop->raised != 0)
        e->hurried = true;
    loop->raised = 0;
    loop->stopping = false;
    loop->interrupted = false;
    if ((loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0)
        note_standstill(e, before);
    if (has_tasks(e) && loop->now >= next)
        tell(e, NEAP_SHUTDOWN_WAITING, end > loop->now ? end - loop->now : 0);
}

static bool may_wait(const ending *e, int64_t until) {
    return has_tasks(e) && !e->hurried && e->loop->now < until && !np_loop_is_stuck(e->loop);
}

/* Hooks, and who waited for this, have their turn before anybody is cancelled; hooks may register hooks. */
static void run_hooks(ending *e) {
    neap_loop *loop = e->loop;
    for (int n = 0; loop->shutdown_heard && n < HOOK_TURNS_MAX && e->rc >= 0; n++) {
        loop->shutdown_heard = false;
        turn(e, loop->now);
    }
}

static int64_t stop_grace(const ending *e) {
    int64_t grace = e->o.stop_grace_ns;
    if (grace == 0)
        return e->loop->shutdown_heard ? STOP_GRACE_DEFAULT : 0;
    return grace > 0 ? grace : 0;
}

static void stop_intake(ending *e) {
    int64_t grace = stop_grace(e);
    int64_t until = np_time_add(e->loop->shutdown_at, grace);
    tell(e, NEAP_SHUTDOWN_STOP, grace);
    run_hooks(e);
    while (may_wait(e, until))
        turn(e, until);
}

static void cancel_one(neap_loop *loop, neap_task *task) {
    const char *reason = loop->shutdown_reason;
    np_task_cancel(task, reason != NULL ? reason : "the loop shuts down");
}

static void cancel_new(ending *e) {
    neap_loop *loop = e->loop;
    uint64_t upto = loop->task_ids;
    for (np_list *at = loop->tasks.next, *next; at != &loop->tasks; at = next) {
        next = at->next; /* a cancel only queues, so the list stands still */
        neap_task *t = np_container(at, neap_task, f.all);
        if (t->id > e->newest && t->id <= upto && t != e->o.first)
            cancel_one(loop, t);
    }
    e->newest = upto;
}

/* At the end of the grace all have been cancelled and had a turn. */
static void cancel_all(ending *e) {
    neap_loop *loop = e->loop;
    neap_task *first = e->o.first;
    int64_t grace = e->o.grace_ns > 0 ? e->o.grace_ns : e->o.grace_ns < 0 ? 0 : GRACE_DEFAULT;
    int64_t until = np_time_add(loop->now, grace);
    if (!has_tasks(e))
        return;
    tell(e, NEAP_SHUTDOWN_CANCEL, grace);
    if (first != NULL)
        cancel_one(loop, first);
    for (;;) {
        if (first == NULL || !np_future_pending(&first->f) || np_loop_is_stuck(loop))
            cancel_new(e);
        if (!may_wait(e, until))
            break;
        turn(e, until);
    }
    cancel_new(e);
    if (has_tasks(e))
        turn(e, loop->now);
}

static int32_t abort_rest(ending *e) {
    neap_loop *loop = e->loop;
    int32_t n = 0;
    if (!np_list_empty(&loop->tasks))
        tell(e, NEAP_SHUTDOWN_ABORT, 0);
    while (!np_list_empty(&loop->tasks)) {
        neap_task *t = np_container(loop->tasks.next, neap_task, f.all);
        np_report(loop, (neap_report){.kind = NEAP_REPORT_ABORTED,
                                      .code = NEAP_ETIMEOUT,
                                      .message = "the task outlived its grace and was aborted",
                                      .task = t,
                                      .future = &t->f});
        np_task_abort(t);
        n++;
    }
    np_report_failures(loop);
    return n;
}

int32_t neap_loop_shutdown_with(neap_loop *loop, const neap_shutdown_options *options) {
    ending e = {.loop = loop};
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_options_read(&e.o, sizeof e.o, options);
    if (rc == 0 && e.o.first != NULL && e.o.first->f.obj.loop != loop)
        rc = NEAP_EOTHER_LOOP;
    if (rc == 0)
        rc = np_begin_turn(loop);
    if (rc < 0)
        return rc;
    if (e.o.first != NULL)
        neap_task_ref(e.o.first);
    (void)neap_loop_update_time(loop);
    if (!loop->shutting_down)
        begin(loop, NULL);
    stop_intake(&e);
    cancel_all(&e);
    run_hooks(&e);
    int32_t aborted = abort_rest(&e);
    np_background_end(loop);
    tell(&e, NEAP_SHUTDOWN_DONE, 0);
    neap_task_unref(e.o.first);
    np_shutdown_forget(loop);
    np_leave(loop);
    return e.rc < 0 ? e.rc : aborted;
}

int32_t neap_loop_shutdown(neap_loop *loop, int64_t grace_ns) {
    const neap_shutdown_options o = {
        .size = sizeof o, .stop_grace_ns = -1, .grace_ns = grace_ns > 0 ? grace_ns : -1};
    return neap_loop_shutdown_with(loop, &o);
}
