/* taskinfo.c: what can be asked of tasks: who runs, who waits for what, names, sites, all that live. */
#include <stdio.h>

#include "core/task.h"

neap_task *neap_task_current(neap_loop *loop) {
    return loop == NULL || np_look(loop) < 0 ? NULL : loop->current;
}

neap_future *neap_task_awaiting(neap_task *task) {
    return np_look(task->f.obj.loop) < 0 || task->open ? NULL : task->awaiting;
}

void *neap_task_user(neap_task *task) {
    return task->user;
}

const neap_task_ops *neap_task_get_ops(neap_task *task) {
    return task->ops;
}

uint64_t neap_task_id(neap_task *task) {
    return task->id;
}

const char *neap_task_name(neap_task *task) {
    char made[32];
    np_future_extra *x = np_future_extra_of(&task->f);
    if (x != NULL && x->name == NULL) {
        snprintf(made, sizeof made, "task-%llu", (unsigned long long)task->id);
        x->name = np_alloc_text(task->f.obj.loop->alloc, made);
    }
    return x != NULL && x->name != NULL ? x->name : "task";
}

int32_t neap_task_set_name(neap_task *task, const char *name) {
    int32_t rc = task == NULL || name == NULL ? NEAP_EINVAL : np_look(task->f.obj.loop);
    if (rc < 0)
        return rc;
    np_alloc *alloc = task->f.obj.loop->alloc;
    np_future_extra *x = np_future_extra_of(&task->f);
    char *copy = x == NULL ? NULL : np_alloc_text(alloc, name);
    if (copy == NULL)
        return NEAP_ENOMEM;
    np_alloc_put_text(alloc, x->name);
    x->name = copy;
    return 0;
}

/* A table of an older header ends before it. */
bool np_task_knows_site(const neap_task *t) {
    return t->ops->size >= offsetof(neap_task_ops, stack) && t->ops->site != NULL;
}

bool np_task_knows_stack(const neap_task *t) {
    return t->ops->size >= sizeof(neap_task_ops) && t->ops->stack != NULL;
}

/* What only the ops know goes with `user`. */
void np_task_note_site(neap_task *t) {
    char text[256] = "";
    bool known = t->f.extra != NULL && t->f.extra->site != NULL;
    if (known || !np_task_knows_site(t) || np_future_extra_of(&t->f) == NULL)
        return;
    t->ops->site(t, t->user, text, sizeof text);
    t->f.extra->site = np_alloc_text(t->f.obj.loop->alloc, text);
}

const char *neap_task_site(neap_task *task) {
    if (np_future_pending(&task->f) && np_look(task->f.obj.loop) == 0)
        np_task_note_site(task);
    return neap_future_site(&task->f);
}

uint64_t neap_task_steps(neap_task *task) {
    return task->steps;
}

int64_t neap_task_waiting_since(neap_task *task) {
    return task->waiting_since;
}

/* New tasks stand behind the last one that was there; the visited one may go, its neighbour is kept. */
int32_t neap_task_walk(neap_loop *loop, neap_task_walk_fn fn, void *user) {
    int32_t rc = loop == NULL || fn == NULL ? NEAP_EINVAL : np_look(loop);
    uint64_t last = rc < 0 ? 0 : loop->task_ids;
    if (rc < 0 || np_list_empty(&loop->tasks))
        return rc;
    neap_future *f = np_container(loop->tasks.next, neap_future, all);
    np_future_ref(f);
    while (rc == 0) {
        neap_task *t = np_container(f, neap_task, f);
        rc = np_future_pending(f) && t->id <= last ? fn(t, user) : 0;
        np_list *next = np_list_empty(&f->all) ? &loop->tasks : f->all.next;
        neap_future *after = next == &loop->tasks ? NULL : np_container(next, neap_future, all);
        if (after != NULL)
            np_future_ref(after);
        np_future_unref(f);
        if (after == NULL)
            return rc;
        f = after;
    }
    np_future_unref(f);
    return rc;
}
