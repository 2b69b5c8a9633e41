/* task.c: tasks: spawned, stepped, suspended, cancelled, finished. */
#include "core/task.h"

#include <string.h>

#include "base/clock.h"
#include "core/events.h"
#include "core/lent.h"
#include "core/scope.h"

#define BACKGROUND_FROM ((uint64_t)1 << 52) /* no loop makes as many others */

/* ---- Made and gone */

static void destroy(np_obj *obj) {
    neap_task *t = np_container(obj, neap_task, f.obj);
    np_future_fini(&t->f);
    np_obj_free(obj, sizeof *t);
}

static int32_t cancel_future(neap_future *f, const char *msg) {
    return np_task_cancel(np_container(f, neap_task, f), msg);
}

static const np_future_type task_type = {.base = {.name = "task", .destroy = destroy},
                                         .cancel = cancel_future,
                                         .scopes = NP_SCOPES_DETACH};

static int32_t copy_options(neap_task *t, const neap_task_options *o) {
    np_alloc *alloc = t->f.obj.loop->alloc;
    if (o == NULL)
        return 0;
    if (o->size < offsetof(neap_task_options, scope))
        return NEAP_EINVAL;
    if (o->name == NULL && o->site == NULL)
        return 0;
    np_future_extra *x = np_future_extra_of(&t->f);
    if (x == NULL)
        return NEAP_ENOMEM;
    if (o->name != NULL && (x->name = np_alloc_text(alloc, o->name)) == NULL)
        return NEAP_ENOMEM;
    if (o->site != NULL && (x->site = np_alloc_text(alloc, o->site)) == NULL)
        return NEAP_ENOMEM;
    return 0;
}

/* A table of an older header ends before `site`. */
static bool are_ops(const neap_task_ops *ops) {
    return ops != NULL && ops->size >= offsetof(neap_task_ops, site);
}

/* Tasks are aborted before the loop's timers end.  A host may answer after the time is over. */
static void slept(neap_loop *loop, np_timer *timer, bool ended) {
    neap_task *t = np_container(timer, neap_task, timer);
    (void)ended;
    if (t->open)
        t->rested = true;
    else
        np_enqueue(loop, &t->node);
}

/* What a background task spawns is in the background as well. */
static bool is_background(const neap_loop *loop, const neap_task_options *o) {
    bool asked = o != NULL && o->size >= sizeof *o && (o->flags & NEAP_TASK_BACKGROUND) != 0;
    return asked || (loop->current != NULL && loop->current->background);
}

/* The scope that the options name, else that of the task which spawns, unless only one of the two is in the background. */
static int32_t find_scope(neap_loop *loop, const neap_task_options *o, bool background,
                          neap_scope **ret_scope) {
    bool named = o != NULL && o->size >= offsetof(neap_task_options, flags) && o->scope != NULL;
    bool inherits = loop->current != NULL && loop->current->background == background;
    neap_scope *s = named ? o->scope : inherits ? np_scope_for_spawn(loop) : NULL;
    *ret_scope = s;
    return named && s->obj.loop != loop ? NEAP_EOTHER_LOOP : np_scope_may_take(s);
}

/* From now on the inner reference is the loop's.  Background tasks are numbered apart, so that they change no name. */
static void enlist(neap_loop *loop, neap_task *t, bool background) {
    t->background = background;
    t->id = background ? BACKGROUND_FROM + ++loop->background_ids : ++loop->task_ids;
    np_list_unlink(&t->f.all);
    np_list_append(background ? &loop->background : &loop->tasks, &t->f.all);
}

static int32_t make(neap_loop *loop, const neap_task_ops *ops, void *user,
                    const neap_task_options *options, neap_task **ret_task) {
    neap_scope *scope = NULL;
    int32_t rc = loop == NULL || !are_ops(ops) ? NEAP_EINVAL : np_enter(loop);
    bool background = rc == 0 && is_background(loop, options);
    if (rc == 0)
        rc = find_scope(loop, options, background, &scope);
    if (rc < 0)
        return rc;
    neap_future *f = np_future_new(loop, &task_type, sizeof(neap_task));
    if (f == NULL)
        return NEAP_ENOMEM;
    neap_task *t = np_container(f, neap_task, f);
    f->is_task = true;
    np_ready_init(&t->node, NP_RUN_TASK);
    np_timer_init(&t->timer, slept);
    rc = copy_options(t, options);
    if (rc == 0)
        rc = np_scope_take(scope, t);
    if (rc < 0) {
        np_future_unref(f);
        return rc;
    }
    t->ops = ops;
    t->user = user;
    t->waiting_since = -1;
    enlist(loop, t, background);
    t->context = np_local_ref(loop->context);
    np_trace(loop, NEAP_TRACE_SPAWN, 0, t, NULL, NULL);
    np_enqueue(loop, &t->node);
    if (ret_task != NULL) {
        np_obj_outer_ref(&f->obj);
        *ret_task = t;
    }
    return 0;
}

static int32_t taken(int32_t rc, const neap_task_ops *ops, void *user) {
    if (rc < 0 && are_ops(ops) && ops->destroy != NULL)
        ops->destroy(user);
    return rc;
}

int32_t neap_task_new(neap_loop *loop, const neap_task_ops *ops, void *user,
                      const neap_task_options *options, neap_task **ret_task) {
    if (loop != NULL && np_look(loop) == 0)
        loop->user_taken = true;
    return taken(make(loop, ops, user, options, ret_task), ops, user);
}

int32_t neap_task_spawn(neap_loop *loop, const neap_task_ops *ops, void *user,
                        const neap_task_options *options, neap_task **ret_task) {
    if (loop == NULL || loop->factory == NULL)
        return taken(make(loop, ops, user, options, ret_task), ops, user);
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return taken(rc, ops, user);
    loop->user_taken = false;
    rc = loop->factory(loop, ops, user, options, ret_task, loop->factory_hook.user);
    return loop->user_taken ? rc : taken(rc, ops, user);
}

int32_t neap_loop_set_task_factory(neap_loop *loop, neap_task_factory_fn fn, void *user,
                                   neap_destroy_fn destroy_user) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0) {
        if (destroy_user != NULL)
            destroy_user(user);
        return rc;
    }
    np_hook_set(&loop->factory_hook, user, destroy_user);
    loop->factory = fn;
    return 0;
}

neap_task *neap_task_ref(neap_task *task) {
    np_obj_outer_ref(&task->f.obj);
    return task;
}

void neap_task_unref(neap_task *task) {
    if (task != NULL)
        np_obj_outer_unref(&task->f.obj);
}

neap_future *neap_task_future(neap_task *task) {
    return &task->f;
}

/* ---- Ending */

static void drop_awaited(neap_task *t) {
    neap_future *f = t->awaiting;
    t->awaiting = NULL;
    t->asleep = false;
    np_timer_stop(t->f.obj.loop, &t->timer);
    t->waiting_since = -1;
    if (f != NULL)
        np_future_unref(f);
}

/* The last act: the outcome is there, the owner of `user` is told, the loop lets go. */
static void finish(neap_task *t, uint8_t state) {
    neap_loop *loop = t->f.obj.loop;
    np_local *context = t->context;
    t->context = NULL;
    t->open = false;
    t->f.flags &= (uint8_t)~NP_F_STAGED;
    if (state == NEAP_STATE_CANCELLED) {
        np_future_clear_value(&t->f);
        np_future_set_message(&t->f, np_task_cancel_message(t));
    } else if (state == NEAP_STATE_ERROR) {
        np_task_note_site(t);
    }
    np_trace(loop, NEAP_TRACE_DONE, state, t, NULL, NULL);
    np_future_settle(&t->f, state);
    np_scope_note_end(t);
    if (t->ops->destroy != NULL)
        t->ops->destroy(t->user);
    np_local_unref(loop, context);
    np_future_unref(&t->f);
}

void np_task_abort(neap_task *t) {
    neap_future *f = t->awaiting;
    if (t->node.where != NP_AT_NONE)
        np_dequeue(&t->node);
    if (f != NULL)
        np_future_cancel(f, NULL); /* as a cancel would; its buffer may be the task's */
    drop_awaited(t);
    finish(t, NEAP_STATE_CANCELLED);
}

int32_t neap_task_abort(neap_task *task) {
    int32_t rc = task == NULL ? NEAP_EINVAL : np_enter(task->f.obj.loop);
    if (rc < 0)
        return rc;
    if (!np_future_pending(&task->f))
        return 0;
    if (task->open && task->ops->step != NULL)
        return NEAP_EINVALID_STATE;
    np_task_abort(task);
    return 1;
}

/* ---- Stepping */

bool np_task_in_step(const neap_task *t) {
    return t->open;
}

void np_task_stage(neap_task *t, uint8_t state) {
    t->staged = state;
    t->f.flags |= NP_F_STAGED;
}

/* A request that was made of the task itself, and may come in now. */
static bool is_asked_to_end(const neap_task *t) {
    return t->must_cancel && !(t->awaiting != NULL && np_holds_resource(t->awaiting)) &&
           !t->preempted && !np_scope_shields(t);
}

/* Its scope is cancelled, and there is no outcome that was to be delivered. */
static bool is_out_of_scope(const neap_task *t) {
    return np_task_is_reached(t) && !t->preempted &&
           (t->awaiting == NULL || np_future_pending(t->awaiting));
}

static int32_t wake_reason(neap_task *t) {
    t->by_scope = t->scope_sent && t->awaiting->state == NEAP_STATE_CANCELLED;
    if (is_asked_to_end(t)) {
        t->must_cancel = false;
        t->lost = false;
        return NEAP_WAKE_CANCEL;
    }
    if (np_unlikely(is_out_of_scope(t))) {
        t->by_scope = true;
        return NEAP_WAKE_CANCEL;
    }
    if (!t->started)
        return NEAP_WAKE_START;
    return t->awaiting != NULL ? NEAP_WAKE_READY : NEAP_WAKE_RESUME;
}

/* A lent receive is only made when its task is about to see the bytes; it may find nothing after all. */
static bool settled(neap_task *t) {
    neap_future *f = t->awaiting;
    if (f == NULL || !np_future_pending(f) || is_asked_to_end(t) || np_task_is_reached(t))
        return true;
    if (np_future_type_of(f)->ready != NULL && np_future_type_of(f)->ready(f))
        return true;
    np_future_wait(f, &t->node);
    return false;
}

bool np_task_rouse(neap_future *f) {
    np_list *first = f->waiters.next;
    if (np_list_empty(&f->waiters) || first->next != &f->waiters)
        return false;
    np_ready *node = np_container(first, np_ready, link);
    if (node->kind != NP_RUN_TASK)
        return false;
    neap_task *t = np_container(node, neap_task, node);
    if (t->ops->step == NULL)
        return false;
    np_dequeue(node);
    np_trace(f->obj.loop, NEAP_TRACE_WAKE, 0, t, f, NULL);
    np_enqueue(f->obj.loop, node);
    f->obj.loop->fetchers += np_future_type_of(f)->fetch != NULL;
    return true;
}

void np_task_fetch(neap_task *t) {
    neap_future *f = t->awaiting;
    if (f != NULL && np_future_pending(f) && np_future_type_of(f)->fetch != NULL)
        np_future_type_of(f)->fetch(f);
}

static void report_swallowed(neap_task *t) {
    neap_loop *loop = t->f.obj.loop;
    if (t->cancel_seen && (loop->flags & NEAP_LOOP_DEBUG) != 0)
        np_report(loop, (neap_report){.kind = NEAP_REPORT_SWALLOWED,
                                      .message = "the task goes on after a cancellation",
                                      .task = t,
                                      .future = &t->f});
    t->cancel_seen = false;
}

static void suspend(neap_task *t) {
    neap_loop *loop = t->f.obj.loop;
    neap_future *f = t->awaiting;
    np_trace(loop, NEAP_TRACE_SUSPEND, 0, t, f, NULL);
    t->waiting_since = loop->now;
    t->yields = 0;
    if (f == NULL) {
        if (is_asked_to_end(t) || t->rested || np_task_is_reached(t))
            np_task_wake_sleeper(t);
        return;
    }
    if (np_future_pending(f))
        np_future_wait(f, &t->node);
    else
        np_enqueue(loop, &t->node);
    if (!np_future_pending(f))
        np_future_seen(f);
    if (np_unlikely(t->must_cancel) && !np_scope_shields(t))
        np_task_cancel_at_wait(t);
    else if (np_unlikely(np_task_is_reached(t)))
        np_task_reach(t);
}

static void fail(neap_task *t, int32_t code, const char *message) {
    np_future_clear_value(&t->f);
    t->f.code = code;
    np_future_set_message(&t->f, message);
    drop_awaited(t);
    finish(t, NEAP_STATE_ERROR);
}

static void done(neap_task *t) {
    uint8_t state = (t->f.flags & NP_F_STAGED) != 0 ? t->staged : NEAP_STATE_RESULT;
    bool dropped = state == NEAP_STATE_RESULT && t->must_cancel && !t->lost;
    if (t->awaiting != NULL || t->asleep)
        drop_awaited(t);
    finish(t, dropped ? NEAP_STATE_CANCELLED : state);
}

static bool waits(const neap_task *t) {
    return t->awaiting != NULL || t->asleep;
}

/* How the step ended decides what comes next. */
static void conclude(neap_task *t, int32_t step) {
    t->open = false;
    if (step == NEAP_STEP_DONE) {
        done(t);
    } else if (step == NEAP_STEP_CANCELLED) {
        drop_awaited(t);
        finish(t, NEAP_STATE_CANCELLED);
    } else if ((t->f.flags & NP_F_STAGED) != 0) {
        fail(t, NEAP_EINVALID_STATE, "the step set an outcome and did not end");
    } else if (step == NEAP_STEP_AWAIT && waits(t)) {
        report_swallowed(t);
        suspend(t);
    } else if (step == NEAP_STEP_YIELD && !waits(t)) {
        report_swallowed(t);
        np_task_note_yield(t);
        np_trace(t->f.obj.loop, NEAP_TRACE_YIELD, 0, t, NULL, NULL);
        np_enqueue(t->f.obj.loop, &t->node);
    } else if (step == NEAP_STEP_PREEMPT && !waits(t)) {
        t->preempted = true;
        np_trace(t->f.obj.loop, NEAP_TRACE_YIELD, 0, t, NULL, NULL);
        np_enqueue(t->f.obj.loop, &t->node);
    } else {
        fail(t, NEAP_EINVAL, "the step's answer does not fit what it did");
    }
}

/* The loop is inside the task until leave. */
static void enter(neap_task *t, np_step *s) {
    neap_loop *loop = t->f.obj.loop;
    s->outer = loop->current;
    s->outer_context = loop->context;
    loop->current = t;
    loop->step_spent = 0;
    loop->step_awaited = s->awaited;
    loop->context = t->context;
    np_trace(loop, NEAP_TRACE_STEP, t->wake, t, s->awaited, NULL);
}

static void leave(neap_task *t, const np_step *s) {
    neap_loop *loop = t->f.obj.loop;
    np_step_end(loop, &t->step_cycles, t, NULL);
    loop->step_awaited = NULL;
    t->context = loop->context;
    loop->context = s->outer_context;
    loop->current = s->outer;
}

/* What the step held goes. */
static void let_go(neap_task *t, neap_future *awaited) {
    neap_loop *loop = t->f.obj.loop;
    if (awaited != NULL)
        np_future_unref(awaited);
    np_lent_end(loop);
    np_obj_unref(&t->f.obj);
}

static void open_step(neap_task *t, neap_future *awaited) {
    bool through_awaited =
        t->cancel_sent && awaited != NULL && awaited->state == NEAP_STATE_CANCELLED;
    t->awaiting = NULL;
    t->asleep = false;
    t->waiting_since = -1;
    t->started = true;
    t->open = true;
    t->cancel_seen = t->wake == NEAP_WAKE_CANCEL || through_awaited || t->by_scope ||
                     (t->preempted && t->cancel_seen);
    t->preempted = false;
    t->cancel_sent = false;
    t->scope_sent = false;
    t->steps++;
    np_obj_ref(&t->f.obj);
}

bool np_task_begin(neap_task *t, np_step *s) {
    if (!settled(t))
        return false;
    t->wake = (uint8_t)wake_reason(t);
    if (!t->started && t->wake == NEAP_WAKE_CANCEL) { /* never entered */
        finish(t, NEAP_STATE_CANCELLED);
        return false;
    }
    s->awaited = t->awaiting;
    open_step(t, s->awaited);
    if (t->ops->step == NULL) {
        np_events_add(t->f.obj.loop, &t->node);
        let_go(t, s->awaited);
        return false;
    }
    enter(t, s);
    return true;
}

void np_task_end(neap_task *t, const np_step *s, int32_t answer) {
    leave(t, s);
    conclude(t, answer);
    let_go(t, s->awaited);
}

/* Its step is under way and has not begun to wait. */
static int32_t may_wait(const neap_task *task) {
    int32_t rc = task == NULL ? NEAP_EINVAL : np_enter(task->f.obj.loop);
    if (rc < 0)
        return rc;
    if (!task->open)
        return NEAP_EINVALID_STATE;
    return waits(task) ? NEAP_EBUSY : 0;
}

int32_t neap_task_await(neap_task *task, neap_future *future) {
    int32_t rc = future == NULL ? NEAP_EINVAL : may_wait(task);
    if (rc < 0)
        return rc;
    if (future == &task->f)
        return NEAP_EAWAIT_SELF;
    if (future->obj.loop != task->f.obj.loop)
        return NEAP_EOTHER_LOOP;
    np_future_ref(future);
    task->awaiting = future;
    return 0;
}

int32_t neap_task_sleep(neap_task *task, int64_t delay_ns) {
    int32_t rc = may_wait(task);
    if (rc < 0)
        return rc;
    neap_loop *loop = task->f.obj.loop;
    int64_t when = np_time_add(loop->now, delay_ns > 0 ? delay_ns : 0);
    rc = when == NP_NEVER ? 0 : np_timer_start(loop, &task->timer, when);
    task->rested = false;
    task->asleep = rc == 0;
    return rc;
}

int32_t neap_task_answer(neap_task *task, int32_t step_end) {
    int32_t rc = task == NULL ? NEAP_EINVAL : np_enter(task->f.obj.loop);
    if (rc < 0)
        return rc;
    if (step_end < NEAP_STEP_DONE || step_end > NEAP_STEP_PREEMPT)
        return NEAP_EINVAL;
    if (!task->open || task->ops->step != NULL || task->node.where != NP_AT_NONE)
        return NEAP_EINVALID_STATE;
    if ((step_end == NEAP_STEP_AWAIT) != waits(task))
        return NEAP_EINVAL;
    np_obj_ref(&task->f.obj);
    conclude(task, step_end);
    np_obj_unref(&task->f.obj);
    return 0;
}
