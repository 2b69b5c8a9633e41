/* task.h: a future driven by a step function.  The core knows no language: a step runs until the next suspension and says
   how it ended.

   Waiting: one node serves all: the first step, a yield, a wait, a wake-up.  `awaiting` is held from neap_task_await until
   the step that follows the wake-up.  A sleeping task stands in the timers' heap instead.  Cancelling a waiting task
   cancels what it awaits; if that is done already, the cancellation is delivered at the wake-up (a plain future) or, when
   the completed thing was an operation on the world, at the next wait (`lost`): its value is not thrown away. */
#ifndef NP_TASK_H
#define NP_TASK_H

#include "core/future.h"

struct neap_task {
    neap_future f; /* first: a task is a future */
    np_ready node;
    const neap_task_ops *ops;
    void *user;
    neap_future *awaiting;
    np_local *context;
    np_timer timer; /* of a sleep */
    uint64_t id;
    uint64_t steps;
    uint64_t step_cycles;  /* with the loop's origin: time in steps */
    int64_t waiting_since; /* ns of the loop's time, -1: does not wait */
    uint16_t yields;       /* bare ones in a row, since the last wait */
    uint8_t wake;          /* NEAP_WAKE_* of the open step */
    uint8_t staged;        /* the state that the step has set */
    bool started : 1;
    bool asleep : 1;      /* from neap_task_sleep until the wake-up */
    bool rested : 1;      /* the time of the sleep was over before the step was */
    bool open : 1;        /* a step is under way, or a task event waits for its answer */
    bool must_cancel : 1; /* a cancellation is to be delivered */
    bool lost : 1; /* that one lost against a completed operation: not before the next wait */
    bool cancel_sent : 1; /* a cancellation went to what it awaits */
    bool cancel_seen : 1; /* this step was woken by a cancellation */
    bool by_scope : 1;    /* that was a scope's */
    bool scope_sent : 1;  /* a scope has cancelled what it awaits */
    bool preempted : 1;   /* the last step ended where no cancellation may come in */
    bool background : 1;  /* in the loop's other list */
    bool cancelling : 1;  /* a request is on its way down the chain of awaits; short-lived */
};

/* What surrounds a step. */
typedef struct np_step {
    neap_future *awaited; /* kept alive for the step */
    neap_task *outer;
    np_local *outer_context;
} np_step;

bool np_task_begin(neap_task *task, np_step *step); /* false: no step is to run now */
void np_task_end(neap_task *task, const np_step *step, int32_t answer);

/* From the batch.  Inline, because engines leave a step by a long jump, after which the processor mispredicts the return
   of each frame that the step lies in. */
static inline void np_task_run(neap_task *task) {
    np_step step;
    if (np_task_begin(task, &step))
        np_task_end(task, &step, task->ops->step(task, step.awaited, task->wake, task->user));
}

/* If just one task waits for the pending future, and by steps: queues it, so that it asks the future's `ready` when its turn
   comes. */
bool np_task_rouse(neap_future *f);

/* It will step soon: what it waits for may begin. */
void np_task_fetch(neap_task *task);

/* Ends a live task without another step. */
void np_task_abort(neap_task *task);

/* Asks the ops for the site, which they know as long as they have `user`. */
void np_task_note_site(neap_task *task);
bool np_task_knows_site(const neap_task *task);
bool np_task_knows_stack(const neap_task *task);

bool np_task_in_step(const neap_task *task);
void np_task_stage(neap_task *task, uint8_t state);

/* A step ended in a bare yield (fair.c). */
void np_task_note_yield(neap_task *task);

/* ---- Cancelling (cancel.c) */

int32_t np_task_cancel(neap_task *task, const char *msg);
void np_task_cancel_at_wait(
    neap_task *task); /* a request that came before the wait goes on to what is awaited */
void np_task_wake_sleeper(neap_task *task);
const char *np_task_cancel_message(const neap_task *task); /* or NULL */
void np_task_reach(neap_task *task); /* its scope is cancelled: ends its wait, if there is one */
void np_task_unshielded(neap_task *task); /* what a shield kept out comes in */

/* What the awaited future has is not to be thrown away by a cancellation. */
static inline bool np_holds_resource(const neap_future *f) {
    return (f->flags & NP_F_RESOURCE) != 0 && f->state == NEAP_STATE_RESULT;
}

#endif
