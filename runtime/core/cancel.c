/* cancel.c: requests to cancel a task.  They go down the chain of tasks that await tasks and are delivered at its end: to
   what is awaited there, or to the task's next step. */
#include "core/scope.h"

const char *np_task_cancel_message(const neap_task *t) {
    return t->f.extra != NULL ? t->f.extra->cancel_msg : NULL;
}

void np_task_wake_sleeper(neap_task *t) {
    np_timer_stop(t->f.obj.loop, &t->timer);
    if (t->node.where == NP_AT_NONE)
        np_enqueue(t->f.obj.loop, &t->node);
}

static void give_up_wait(neap_task *t) {
    if (t->node.where != NP_AT_WAIT)
        return;
    np_dequeue(&t->node);
    np_enqueue(t->f.obj.loop, &t->node);
}

/* A request that came before the wait goes on to what is awaited.  The mark keeps a ring of tasks from coming back here. */
void np_task_cancel_at_wait(neap_task *t) {
    t->cancelling = true;
    t->cancel_sent = np_future_cancel(t->awaiting, np_task_cancel_message(t)) != 0;
    t->cancelling = false;
    if (t->cancel_sent) {
        t->must_cancel = false;
        t->lost = false;
    } else {
        give_up_wait(t);
    }
}

static void keep_message(neap_task *t, const char *msg) {
    np_alloc *alloc = t->f.obj.loop->alloc;
    np_future_extra *x = msg != NULL ? np_future_extra_of(&t->f) : t->f.extra;
    if (x == NULL)
        return;
    np_alloc_put_text(alloc, x->cancel_msg);
    x->cancel_msg = msg != NULL ? np_alloc_text(alloc, msg) : NULL;
}

/* The task that this one waits for, if a request can go on to it. */
static neap_task *inner_task(const neap_task *t) {
    neap_future *f = t->open || np_scope_shields(t) ? NULL : t->awaiting;
    if (f == NULL || !f->is_task || !np_future_pending(f))
        return NULL;
    neap_task *inner = np_container(f, neap_task, f);
    return inner->cancelling ? NULL : inner;
}

/* The request has reached its end: what the task awaits, or the task itself.  What refuses although it is pending waits for
   this very task: the wait is given up. */
static void deliver_cancel(neap_task *t, const char *msg) {
    bool awaits = t->awaiting != NULL && !t->open;
    bool shielded = np_scope_shields(t);
    t->cancel_sent = awaits && !shielded && np_future_cancel(t->awaiting, msg);
    if (t->cancel_sent)
        return;
    t->must_cancel = true;
    if (shielded)
        return;
    t->lost = awaits && np_holds_resource(t->awaiting);
    if (t->asleep && !t->open)
        np_task_wake_sleeper(t);
    give_up_wait(t);
}

/* Goes down the chain of tasks that await tasks, without recursion; the marks make an end of cycles. */
int32_t np_task_cancel(neap_task *first, const char *msg) {
    if (!np_future_pending(&first->f) || first->cancelling)
        return 0;
    neap_task *t = first;
    for (neap_task *inner = t; inner != NULL; inner = inner_task(t)) {
        t = inner;
        keep_message(t, msg);
        t->cancelling = true;
        t->cancel_sent = true;
    }
    deliver_cancel(t, msg);
    for (neap_task *at = first;; at = np_container(at->awaiting, neap_task, f)) {
        at->cancelling = false;
        if (at == t)
            return 1;
    }
}

void np_task_unshielded(neap_task *t) {
    if (t->must_cancel && !np_scope_shields(t))
        deliver_cancel(t, np_task_cancel_message(t));
}

/* What it waits for is cancelled if that is its own, else left alone; what has come all the same is delivered. */
void np_task_reach(neap_task *t) {
    neap_future *f = t->awaiting;
    if (t->open)
        return;
    if (t->asleep)
        np_task_wake_sleeper(t);
    if (f == NULL || !np_future_pending(f))
        return;
    uint8_t how = np_future_type_of(f)->scopes;
    if (how == NP_SCOPES_CANCEL)
        t->scope_sent = np_future_cancel(f, NULL) != 0;
    if (how != NP_SCOPES_WAIT && !t->scope_sent)
        give_up_wait(t);
}

int32_t neap_task_check(neap_task *task) {
    int32_t rc = task == NULL ? NEAP_EINVAL : np_enter(task->f.obj.loop);
    if (rc < 0)
        return rc;
    if (!task->open)
        return NEAP_EINVALID_STATE;
    np_scope_expire(task);
    task->by_scope = false;
    if (task->must_cancel && !np_scope_shields(task)) {
        task->must_cancel = false;
        task->lost = false;
    } else if (np_task_is_reached(task)) {
        task->by_scope = true;
    } else {
        return 0;
    }
    task->cancel_seen = true;
    return 1;
}

int32_t neap_task_cancel(neap_task *task, const char *msg) {
    int32_t rc = task == NULL ? NEAP_EINVAL : np_enter(task->f.obj.loop);
    return rc < 0 ? rc : np_task_cancel(task, msg);
}

const char *neap_task_cancel_message(neap_task *task) {
    const char *msg = np_task_cancel_message(task);
    return msg != NULL ? msg : "";
}
