/* scope.h: regions that are cancelled as a whole.

   - Scopes form trees; each holds its parent.  A task stands in the list of its innermost scope, which it holds; regions
     that it has entered itself have it as `owner`, the first other one is the scope that it was spawned into: it is a
     member there until it ends.
   - `reached` is kept eagerly, so that asking is one load: the scope itself is cancelled, or its parent is reached and no
     shield stands between.
   - A cancelled scope is a state, not an event: whoever begins to wait in a reached scope is woken in the next batch,
     again and again until it is left.  What an operation has taken from the world is not thrown away: a completed wait
     is delivered, the next one is cancelled. */
#ifndef NP_SCOPE_H
#define NP_SCOPE_H

#include "core/task.h"

struct neap_scope {
    np_obj obj;
    neap_scope *parent; /* a reference, or NULL */
    np_list siblings;   /* in the parent's children */
    np_list children;
    np_list tasks;       /* whose innermost scope it is, by np_future_extra.in_scope */
    np_list failures;    /* of members, by future.all; each holds a reference */
    neap_task *owner;    /* the task that is inside, or NULL */
    neap_future *joined; /* completes when no member is left; a reference, or NULL */
    neap_future *winner; /* of NEAP_SCOPE_ANY; a reference, or NULL */
    char *message;
    np_timer timer;   /* of the deadline */
    int64_t deadline; /* ns of the loop's time; NP_NEVER: none */
    uint32_t members; /* live tasks that were spawned into it */
    uint8_t flags;    /* NEAP_SCOPE_* */
    uint8_t state;    /* NEAP_SCOPE_OPEN ...: what happened to itself */
    bool reached;
    bool lifted; /* a shield whose deadline has passed */
    bool left;   /* takes no members and no owner */
};

/* A scope with exactly this parent, which may be NULL, and one outer reference. */
int32_t np_scope_make(neap_loop *loop, neap_scope *parent, uint32_t flags, neap_scope **ret_scope);

/* The scope that a task is spawned into if nothing else is said. */
neap_scope *np_scope_for_spawn(neap_loop *loop);

/* A new task becomes a member.  NULL: of none. */
int32_t np_scope_may_take(const neap_scope *scope);
int32_t np_scope_take(neap_scope *scope, neap_task *task);

/* The task, whose outcome is there, leaves all its scopes. */
void np_scope_task_ended(neap_task *task);

static inline void np_scope_note_end(neap_task *task) {
    if (np_unlikely(task->f.extra != NULL && task->f.extra->scope != NULL))
        np_scope_task_ended(task);
}

/* Lets the deadlines of the task's scopes pass that are due by now. */
void np_scope_expire(const neap_task *task);

/* Whether an innermost region that keeps cancellations out belongs to the task. */
bool np_scope_shields(const neap_task *task);

/* The innermost scope, or NULL. */
static inline neap_scope *np_task_scope(const neap_task *task) {
    return task->f.extra != NULL ? task->f.extra->scope : NULL;
}

/* The scope that the task was spawned into, or NULL. */
neap_scope *np_task_group(const neap_task *task);

/* The task that is inside that scope or, if nobody is, inside the nearest one around it; or NULL. */
neap_task *np_task_parent(const neap_task *task);

static inline bool np_task_is_reached(const neap_task *task) {
    const neap_scope *scope = np_task_scope(task);
    return scope != NULL && scope->reached;
}

#endif
