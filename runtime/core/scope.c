/* scope.c: scopes: made, entered, left, cancelled, and their members. */
#include "core/scope.h"

#include "base/clock.h"

/* ---- Made and gone */

static bool is_shield(const neap_scope *s) {
    return (s->flags & NEAP_SCOPE_SHIELD) != 0 && !s->lifted;
}

/* The parent, if its cancellation comes through. */
static neap_scope *open_parent(const neap_scope *s) {
    return is_shield(s) ? NULL : s->parent;
}

static bool is_to_be_reached(const neap_scope *s) {
    const neap_scope *parent = open_parent(s);
    return s->state != NEAP_SCOPE_OPEN || (parent != NULL && parent->reached);
}

/* Failures that nobody has asked for are reported after all. */
static void drop_failures(neap_scope *s) {
    while (!np_list_empty(&s->failures)) {
        neap_future *f = np_container(np_list_pop(&s->failures), neap_future, all);
        if (np_enter(s->obj.loop) == 0)
            np_future_note_failure(f);
        np_future_unref(f);
    }
}

static void end_one(neap_scope *s) {
    neap_loop *loop = s->obj.loop;
    np_timer_stop(loop, &s->timer);
    drop_failures(s);
    if (s->joined != NULL)
        np_future_unref(s->joined);
    if (s->winner != NULL)
        np_future_unref(s->winner);
    np_alloc_put_text(loop->alloc, s->message);
    np_list_unlink(&s->siblings);
    np_obj_free(&s->obj, sizeof *s);
}

/* The scopes around it go with it if nothing else holds them; there may be very many. */
static void destroy(np_obj *obj) {
    neap_scope *s = np_container(obj, neap_scope, obj), *parent;
    for (; s != NULL; s = parent) {
        parent = s->parent;
        bool last = parent != NULL && parent->obj.refs == 1;
        end_one(s);
        if (parent != NULL && !last) {
            np_obj_unref(&parent->obj);
            break;
        }
    }
}

static const np_type scope_type = {.name = "scope", .destroy = destroy};

static void expired(neap_loop *loop, np_timer *timer, bool ended);

int32_t np_scope_make(neap_loop *loop, neap_scope *parent, uint32_t flags, neap_scope **ret_scope) {
    neap_scope *s = np_obj_new(loop, &scope_type, sizeof *s);
    if (s == NULL)
        return NEAP_ENOMEM;
    np_list *const lists[] = {&s->siblings, &s->children, &s->tasks, &s->failures};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        np_list_init(lists[i]);
    np_timer_init(&s->timer, expired);
    s->deadline = NP_NEVER;
    s->flags = (uint8_t)flags;
    if (parent != NULL) {
        np_obj_ref(&parent->obj);
        s->parent = parent;
        np_list_append(&parent->children, &s->siblings);
    }
    s->reached = is_to_be_reached(s);
    np_obj_publish(&s->obj);
    *ret_scope = s;
    return 0;
}

int32_t neap_scope_new(neap_loop *loop, neap_scope *parent, uint32_t flags,
                       neap_scope **ret_scope) {
    int32_t rc = loop == NULL || ret_scope == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && parent != NULL && parent->obj.loop != loop)
        rc = NEAP_EOTHER_LOOP;
    if (rc < 0)
        return rc;
    if (parent == NULL && loop->current != NULL)
        parent = np_task_scope(loop->current);
    return np_scope_make(loop, parent, flags, ret_scope);
}

neap_scope *neap_scope_ref(neap_scope *scope) {
    np_obj_outer_ref(&scope->obj);
    return scope;
}

void neap_scope_unref(neap_scope *scope) {
    if (scope != NULL)
        np_obj_outer_unref(&scope->obj);
}

/* ---- Cancelling */

/* The next scope of the tree below `top`, with or without the children of s. */
static neap_scope *next_below(neap_scope *s, const neap_scope *top, bool down) {
    if (down && !np_list_empty(&s->children))
        return np_container(s->children.next, neap_scope, siblings);
    while (s != top) {
        if (s->siblings.next != &s->parent->children)
            return np_container(s->siblings.next, neap_scope, siblings);
        s = s->parent;
    }
    return NULL;
}

static void reach_tasks(neap_scope *s) {
    for (np_list *at = s->tasks.next, *next; at != &s->tasks; at = next) {
        next = at->next;
        np_task_reach(np_container(at, np_future_extra, in_scope)->task);
    }
}

/* Tells the scopes below, and the tasks in them.  Nothing that a user wrote runs here. */
static void spread(neap_scope *top) {
    for (neap_scope *s = top; s != NULL;) {
        bool newly = !s->reached && is_to_be_reached(s);
        s->reached = s->reached || newly;
        if (newly)
            reach_tasks(s);
        s = next_below(s, top, newly);
    }
}

static int32_t cancel(neap_scope *s, uint8_t state, const char *msg) {
    if (s->state != NEAP_SCOPE_OPEN || s->left)
        return 0;
    s->state = state;
    s->message = msg != NULL ? np_alloc_text(s->obj.loop->alloc, msg) : NULL;
    spread(s);
    return 1;
}

int32_t neap_scope_cancel(neap_scope *scope, const char *msg) {
    int32_t rc = scope == NULL ? NEAP_EINVAL : np_enter(scope->obj.loop);
    return rc < 0 ? rc : cancel(scope, NEAP_SCOPE_CANCELLED, msg);
}

static void cancel_posted(void *scope) {
    (void)neap_scope_cancel(scope, NULL);
}

static void drop_posted(void *scope) {
    neap_scope_unref(scope);
}

int32_t neap_scope_post_cancel(neap_scope *scope) {
    if (scope == NULL)
        return NEAP_EINVAL;
    return neap_loop_post(scope->obj.loop, cancel_posted, neap_scope_ref(scope), drop_posted);
}

/* From now on the shield lets in what waits outside. */
static void lift(neap_scope *s) {
    s->lifted = true;
    spread(s);
    if (s->owner != NULL)
        np_task_unshielded(s->owner);
}

static void expired(neap_loop *loop, np_timer *timer, bool ended) {
    neap_scope *s = np_container(timer, neap_scope, timer);
    (void)loop;
    if (ended)
        return;
    if ((s->flags & NEAP_SCOPE_SHIELD) != 0)
        lift(s);
    else
        cancel(s, NEAP_SCOPE_TIMED_OUT, NULL);
}

void np_scope_expire(const neap_task *task) {
    neap_loop *loop = task->f.obj.loop;
    int64_t now = -1;
    for (neap_scope *s = np_task_scope(task); s != NULL; s = s->parent) {
        if (!np_heap_has(&s->timer.heap))
            continue;
        if (now < 0)
            now = neap_loop_update_time(loop);
        if (s->deadline > now)
            continue;
        np_timer_stop(loop, &s->timer);
        expired(loop, &s->timer, false);
    }
}

int32_t neap_scope_set_deadline(neap_scope *scope, int64_t when) {
    int32_t rc = scope == NULL ? NEAP_EINVAL : np_enter(scope->obj.loop);
    if (rc < 0)
        return rc;
    neap_loop *loop = scope->obj.loop;
    int64_t deadline = when < 0 ? NP_NEVER : when;
    if (deadline == NP_NEVER || scope->left)
        np_timer_stop(loop, &scope->timer);
    else if (np_heap_has(&scope->timer.heap))
        np_timer_move(loop, &scope->timer, deadline);
    else
        rc = np_timer_start(loop, &scope->timer, deadline);
    if (rc == 0)
        scope->deadline = deadline;
    return rc;
}

int32_t neap_scope_deadline(neap_scope *scope, int64_t *ret_when) {
    int32_t rc = scope == NULL || ret_when == NULL ? NEAP_EINVAL : np_look(scope->obj.loop);
    if (rc < 0 || scope->deadline == NP_NEVER)
        return rc;
    *ret_when = scope->deadline;
    return 1;
}

int32_t neap_scope_cancelled(neap_scope *scope) {
    int32_t rc = scope == NULL ? NEAP_EINVAL : np_look(scope->obj.loop);
    return rc < 0 ? rc : scope->reached;
}

int32_t neap_scope_state(neap_scope *scope) {
    int32_t rc = scope == NULL ? NEAP_EINVAL : np_look(scope->obj.loop);
    return rc < 0 ? rc : scope->state;
}

const char *neap_scope_message(neap_scope *scope) {
    return scope->message != NULL ? scope->message : "";
}

/* ---- Inside */

static void stand_in(np_future_extra *x, neap_scope *s) {
    if (x->scope != NULL)
        np_list_unlink(&x->in_scope);
    x->scope = s;
    if (s != NULL)
        np_list_append(&s->tasks, &x->in_scope);
}

/* The block that tells where a task stands; made when it is first needed. */
static np_future_extra *place_of(neap_task *t) {
    np_future_extra *x = np_future_extra_of(&t->f);
    if (x != NULL)
        x->task = t;
    return x;
}

static void leave(neap_task *t) {
    neap_scope *s = np_task_scope(t);
    stand_in(t->f.extra, s->parent);
    s->owner = NULL;
    s->left = true;
    np_timer_stop(s->obj.loop, &s->timer);
    np_obj_unref(&s->obj); /* of its parent it had one already */
}

static int32_t may_move(const neap_scope *s, const neap_task *t) {
    if (s == NULL || t == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(s->obj.loop);
    if (rc < 0)
        return rc;
    if (t->f.obj.loop != s->obj.loop)
        return NEAP_EOTHER_LOOP;
    return t->open ? 0 : NEAP_EINVALID_STATE;
}

int32_t neap_scope_enter(neap_scope *scope, neap_task *task) {
    int32_t rc = may_move(scope, task);
    if (rc < 0)
        return rc;
    if (scope->owner != NULL || scope->left || scope->parent != np_task_scope(task))
        return NEAP_EINVALID_STATE;
    np_future_extra *place = place_of(task);
    if (place == NULL)
        return NEAP_ENOMEM;
    np_obj_ref(&scope->obj);
    scope->owner = task;
    stand_in(place, scope);
    return 0;
}

int32_t neap_scope_leave(neap_scope *scope, neap_task *task) {
    int32_t rc = may_move(scope, task);
    if (rc < 0)
        return rc;
    if (np_task_scope(task) != scope || scope->owner != task)
        return NEAP_EINVALID_STATE;
    if (scope->members > 0)
        return NEAP_EBUSY;
    leave(task);
    return 0;
}

neap_scope *neap_task_scope(neap_task *task) {
    return np_task_scope(task);
}

neap_scope *np_task_group(const neap_task *t) {
    neap_scope *s = np_task_scope(t);
    while (s != NULL && s->owner == t)
        s = s->parent;
    return s;
}

neap_task *np_task_parent(const neap_task *t) {
    neap_scope *s = np_task_group(t);
    while (s != NULL && s->owner == NULL)
        s = s->parent;
    return s != NULL ? s->owner : NULL;
}

neap_scope *neap_task_group(neap_task *task) {
    return np_look(task->f.obj.loop) < 0 ? NULL : np_task_group(task);
}

neap_task *neap_task_parent(neap_task *task) {
    return np_look(task->f.obj.loop) < 0 ? NULL : np_task_parent(task);
}

neap_scope *neap_task_cancelled_by(neap_task *task) {
    neap_scope *cause = NULL;
    if (!task->by_scope)
        return NULL;
    for (neap_scope *s = np_task_scope(task); s != NULL && s->reached; s = open_parent(s))
        if (s->state != NEAP_SCOPE_OPEN)
            cause = s;
    return cause;
}

bool np_scope_shields(const neap_task *t) {
    for (const neap_scope *s = np_task_scope(t); s != NULL && s->owner == t; s = s->parent)
        if (is_shield(s))
            return true;
    return false;
}

/* ---- Members */

neap_scope *np_scope_for_spawn(neap_loop *loop) {
    neap_scope *s = loop->current != NULL ? np_task_scope(loop->current) : NULL;
    while (s != NULL && (s->flags & NEAP_SCOPE_GROUP) == 0)
        s = s->parent;
    return s;
}

int32_t np_scope_may_take(const neap_scope *s) {
    return s != NULL && s->left ? NEAP_ECLOSED : 0;
}

int32_t np_scope_take(neap_scope *s, neap_task *t) {
    np_future_extra *place = s != NULL ? place_of(t) : NULL;
    if (place == NULL)
        return s != NULL ? NEAP_ENOMEM : 0;
    np_obj_ref(&s->obj);
    s->members++;
    stand_in(place, s);
    return 0;
}

static void keep_failure(neap_scope *s, neap_future *f) {
    f->flags &= (uint8_t)~NP_F_FAILED;
    np_list_unlink(&f->all);
    np_list_append(&s->failures, &f->all);
    if ((s->flags & NEAP_SCOPE_FAIL_FAST) != 0)
        cancel(s, NEAP_SCOPE_CANCELLED, "another task of the group failed");
}

static void keep_winner(neap_scope *s, neap_future *f) {
    np_future_ref(f);
    s->winner = f;
    cancel(s, NEAP_SCOPE_CANCELLED, "another task of the group was first");
}

void np_scope_task_ended(neap_task *t) {
    neap_scope *s;
    while ((s = np_task_scope(t)) != NULL && s->owner == t) {
        if (s->members > 0) /* nobody will wait for them any more */
            cancel(s, NEAP_SCOPE_CANCELLED, "the task that made the group has ended");
        leave(t);
    }
    if (s == NULL) /* regions only */
        return;
    stand_in(t->f.extra, NULL);
    s->members--;
    if ((t->f.flags & NP_F_FAILED) != 0 && (s->flags & NEAP_SCOPE_KEEP) != 0)
        keep_failure(s, &t->f);
    if (t->f.state == NEAP_STATE_RESULT && (s->flags & NEAP_SCOPE_ANY) != 0 && s->winner == NULL)
        keep_winner(s, &t->f);
    neap_future *joined = s->joined;
    if (s->members == 0 && joined != NULL) {
        s->joined = NULL;
        np_future_settle(joined, NEAP_STATE_RESULT);
        np_future_unref(joined);
    }
    np_obj_unref(&s->obj);
}

static void destroy_join(np_obj *obj) {
    neap_future *f = np_container(obj, neap_future, obj);
    np_future_fini(f);
    np_obj_free(obj, sizeof *f);
}

/* Whoever is cancelled gives up its wait; the members are not asked. */
static int32_t refuse_cancel(neap_future *f, const char *msg) {
    (void)f;
    (void)msg;
    return 0;
}

static const char *members_end(const neap_future *f) {
    (void)f;
    return "the tasks of its group";
}

static const np_future_type join_type = {.base = {.name = "join", .destroy = destroy_join},
                                         .cancel = refuse_cancel,
                                         .scopes = NP_SCOPES_WAIT,
                                         .what = members_end};

int32_t neap_scope_join(neap_scope *scope, neap_future **ret_future) {
    int32_t rc = scope == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(scope->obj.loop);
    if (rc < 0)
        return rc;
    neap_future *f = scope->joined;
    if (f == NULL) {
        f = np_future_new(scope->obj.loop, &join_type, sizeof *f);
        if (f == NULL)
            return NEAP_ENOMEM;
        if (scope->members == 0) {
            np_future_settle(f, NEAP_STATE_RESULT);
            return np_future_give(f, ret_future);
        }
        scope->joined = f;
    }
    *ret_future = neap_future_ref(f);
    return 0;
}

neap_scope *neap_scope_parent(neap_scope *scope) {
    return np_look(scope->obj.loop) < 0 ? NULL : scope->parent;
}

neap_task *neap_scope_owner(neap_scope *scope) {
    return np_look(scope->obj.loop) < 0 ? NULL : scope->owner;
}

int32_t neap_scope_flags(neap_scope *scope) {
    int32_t rc = scope == NULL ? NEAP_EINVAL : np_look(scope->obj.loop);
    return rc < 0 ? rc : scope->flags;
}

int32_t neap_scope_members(neap_scope *scope) {
    int32_t rc = scope == NULL ? NEAP_EINVAL : np_look(scope->obj.loop);
    return rc < 0 ? rc : (int32_t)scope->members;
}

int32_t neap_scope_next_failure(neap_scope *scope, neap_future **ret_future) {
    int32_t rc = scope == NULL || ret_future == NULL ? NEAP_EINVAL : np_look(scope->obj.loop);
    if (rc < 0 || np_list_empty(&scope->failures))
        return rc;
    neap_future *f = np_container(np_list_pop(&scope->failures), neap_future, all);
    f->flags |= NP_F_RETRIEVED;
    *ret_future = neap_future_ref(f);
    np_future_unref(f);
    return 1;
}

neap_future *neap_scope_winner(neap_scope *scope) {
    return scope->winner;
}
