/* handle.c: call_soon, call_later, call_at, call_every, and what can be done with their handles. */
#include "core/handle.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/events.h"
#include "core/future.h"
#include "core/task.h"

/* ---- Made and gone */

static const size_t sizes[] = {
    [NP_CALL_SOON] = sizeof(neap_handle),        [NP_CALL_TIMER] = sizeof(np_timer_call),
    [NP_CALL_EVERY] = sizeof(np_repeating_call), [NP_CALL_FUTURE] = sizeof(np_future_call),
    [NP_CALL_WATCH] = sizeof(np_source_call),    [NP_CALL_SIGNAL] = sizeof(np_source_call),
    [NP_CALL_SHUTDOWN] = sizeof(neap_handle),    [NP_CALL_STREAM] = sizeof(np_source_call),
};

static void destroy(np_obj *obj) {
    neap_handle *h = np_container(obj, neap_handle, obj);
    np_alloc_put_text(obj->loop->alloc, h->name);
    if (h->node.own_memory)
        np_obj_free_own(obj, sizes[h->node.call]);
    else
        np_obj_free(obj, sizes[h->node.call]);
}

static const np_type handle_type = {.name = "handle", .destroy = destroy};

bool np_is_handle(const np_obj *obj) {
    return obj->type == &handle_type;
}

static void init(neap_loop *loop, neap_handle *h, uint8_t kind) {
    np_ready_init(&h->node, NP_RUN_CALL);
    h->node.call = kind;
    h->node.active = true;
    h->context = np_local_ref(loop->context);
}

neap_handle *np_handle_new(neap_loop *loop, uint8_t kind) {
    neap_handle *h = np_obj_new(loop, &handle_type, sizes[kind]);
    if (h != NULL)
        init(loop, h, kind);
    return h;
}

void np_handle_take(neap_handle *h, void *user, neap_destroy_fn destroy_user) {
    h->user = user;
    h->destroy = destroy_user;
}

void np_handle_give(neap_handle *h, neap_handle **ret) {
    if (ret == NULL)
        return;
    np_obj_outer_ref(&h->obj);
    *ret = h;
}

void np_handle_drop(neap_handle *h) {
    neap_destroy_fn destroy_user = h->destroy;
    np_local *context = h->context;
    h->node.active = false;
    h->destroy = NULL;
    h->context = NULL;
    if (destroy_user != NULL) {
        destroy_user(h->user);
        np_stamp(h->obj.loop);
    }
    np_local_unref(h->obj.loop, context);
    np_obj_unref(&h->obj);
}

/* ---- What the kinds add */

static np_timer_call *timer_of(neap_handle *h) {
    bool timer = h->node.call == NP_CALL_TIMER || h->node.call == NP_CALL_EVERY;
    return timer ? np_container(h, np_timer_call, h) : NULL;
}

bool np_handle_is_scheduled(neap_handle *h) {
    const np_timer_call *t = timer_of(h);
    return t != NULL && np_heap_has(&t->timer.heap);
}

static const np_call_source *source_of(neap_handle *h) {
    bool sourced = h->node.call == NP_CALL_WATCH || h->node.call == NP_CALL_SIGNAL ||
                   h->node.call == NP_CALL_STREAM;
    return sourced ? np_source_call_of(h)->source : NULL;
}

/* The future that it waits for or is called with, which leaves the handle. */
static neap_future *take_future(neap_handle *h) {
    neap_future *f = np_handle_future(h);
    if (f != NULL)
        np_future_call_of(h)->future = NULL;
    return f;
}

/* ---- Running */

static void call(neap_handle *h) {
    switch (h->node.call) {
    case NP_CALL_FUTURE:
        h->fn.future(np_future_call_of(h)->future, h->user);
        break;
    case NP_CALL_SIGNAL:
        h->fn.signal(np_source_call_of(h)->signo, h->user);
        break;
    case NP_CALL_STREAM:
        h->fn.call(np_source_call_of(h)->owner);
        break;
    default:
        h->fn.call(h->user);
    }
}

static void call_timed(neap_loop *loop, neap_handle *h) {
    neap_handle *outer_handle = loop->current_handle;
    loop->current_handle = h;
    np_trace(loop, NEAP_TRACE_CALL, 0, NULL, NULL, h);
    uint64_t spent = 0;
    call(h);
    np_step_end(loop, &spent, NULL, h);
    np_trace(loop, NEAP_TRACE_CALLED, 0, NULL, NULL, h);
    loop->current_handle = outer_handle;
}

static void call_in_context(neap_loop *loop, neap_handle *h) {
    np_local *outer = loop->context;
    loop->context = np_local_ref(h->context);
    call_timed(loop, h);
    np_local_unref(loop, loop->context);
    loop->context = outer;
}

static bool comes_again(neap_handle *h) {
    return np_handle_is_scheduled(h) || source_of(h) != NULL || h->node.where != NP_AT_NONE;
}

void np_handle_run(neap_handle *h) {
    neap_loop *loop = h->obj.loop;
    if (h->fn.call == NULL) {
        np_events_add(loop, &h->node);
        return;
    }
    const np_call_source *source = source_of(h);
    if (source != NULL && source->before != NULL && !source->before(h))
        return;
    np_obj_ref(&h->obj);
    call_in_context(loop, h);
    neap_future *f = take_future(h);
    if (!h->node.cancelled && source != NULL && source->after != NULL)
        source->after(h);
    if (h->node.active && (h->node.cancelled || !comes_again(h)))
        np_handle_drop(h);
    np_obj_unref(&h->obj);
    if (f != NULL)
        np_future_unref(f);
}

void np_handle_fire_for(neap_handle *h, neap_future *f) {
    np_future_ref(f);
    np_future_call_of(h)->future = f;
    np_enqueue(h->obj.loop, &h->node);
}

/* ---- Cancelling */

/* Out of the list it is in; what it held there goes. */
static void leave_place(neap_handle *h) {
    uint8_t where = h->node.where;
    neap_future *f = take_future(h);
    np_dequeue(&h->node);
    if (f == NULL)
        return;
    if (where == NP_AT_WAIT)
        f->callbacks--;
    else
        np_future_unref(f);
}

int32_t np_handle_cancel(neap_handle *h) {
    if (!h->node.active || h->node.cancelled)
        return 0;
    bool to_come = comes_again(h);
    h->node.cancelled = true;
    if (timer_of(h) != NULL)
        np_timer_stop(h->obj.loop, &timer_of(h)->timer);
    if (source_of(h) != NULL)
        source_of(h)->stop(h);
    if (h->node.where == NP_AT_PULLED)
        return to_come; /* the host still has it and will bring it back */
    bool running = h == h->obj.loop->current_handle;
    if (h->node.where != NP_AT_NONE && !(running && np_handle_future(h) != NULL))
        leave_place(h);
    if (!running) /* what runs now is dropped when it returns */
        np_handle_drop(h);
    return to_come;
}

int32_t neap_handle_cancel(neap_handle *handle) {
    if (handle == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_look(handle->obj.loop);
    if (rc < 0)
        return rc;
    if (!np_is_handle(&handle->obj))
        return NEAP_EINVAL;
    return np_handle_cancel(handle);
}

/* ---- Timers */

static void due_once(neap_loop *loop, np_timer *t, bool ended) {
    neap_handle *h = &np_container(t, np_timer_call, timer)->h;
    if (ended)
        np_handle_cancel(h);
    else if (h->node.where ==
             NP_AT_NONE) /* else it was reset while a host had it, who will run it */
        np_enqueue(loop, &h->node);
}

/* The next time on the grid of intervals; times that were missed are skipped. */
static int64_t next_time(const np_repeating_call *r, int64_t now) {
    int64_t next = np_time_add(r->t.when, r->interval);
    if (next <= now)
        next = np_time_add(next, (now - next) / r->interval * r->interval + r->interval);
    return next;
}

static void due_again(neap_loop *loop, np_timer *t, bool ended) {
    np_repeating_call *r = np_container(t, np_repeating_call, t.timer);
    neap_handle *h = &r->t.h;
    if (ended) {
        np_handle_cancel(h);
        return;
    }
    r->t.when = next_time(r, loop->now);
    (void)np_timer_start(loop, t, r->t.when);
    if (h->node.where == NP_AT_NONE)
        np_enqueue(loop, &h->node);
}

static int32_t schedule(neap_loop *loop, int64_t when, int64_t interval, neap_fn fn, void *user,
                        neap_destroy_fn destroy_user, neap_handle **ret) {
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    neap_handle *h = np_handle_new(loop, interval > 0 ? NP_CALL_EVERY : NP_CALL_TIMER);
    if (h == NULL)
        return NEAP_ENOMEM;
    np_timer_call *t = timer_of(h);
    np_timer_init(&t->timer, interval > 0 ? due_again : due_once);
    t->when = when;
    if (interval > 0)
        np_container(t, np_repeating_call, t)->interval = interval;
    h->fn.call = fn;
    rc = np_timer_start(loop, &t->timer, when);
    if (rc < 0) {
        np_handle_drop(h);
        return rc;
    }
    np_handle_take(h, user, destroy_user);
    np_handle_give(h, ret);
    return 0;
}

static int32_t taken(int32_t rc, void *user, neap_destroy_fn destroy_user) {
    if (rc < 0 && destroy_user != NULL)
        destroy_user(user);
    return rc;
}

static int64_t from_now(neap_loop *loop, int64_t delay_ns) {
    return delay_ns <= 0 ? loop->now : np_time_add(loop->now, delay_ns);
}

int32_t neap_call_at(neap_loop *loop, int64_t when_ns, neap_fn fn, void *user,
                     neap_destroy_fn destroy_user, neap_handle **ret_handle) {
    int32_t rc =
        loop == NULL ? NEAP_EINVAL : schedule(loop, when_ns, 0, fn, user, destroy_user, ret_handle);
    return taken(rc, user, destroy_user);
}

int32_t neap_call_later(neap_loop *loop, int64_t delay_ns, neap_fn fn, void *user,
                        neap_destroy_fn destroy_user, neap_handle **ret_handle) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0)
        rc = schedule(loop, from_now(loop, delay_ns), 0, fn, user, destroy_user, ret_handle);
    return taken(rc, user, destroy_user);
}

int32_t neap_call_every(neap_loop *loop, int64_t first_ns, int64_t interval_ns, neap_fn fn,
                        void *user, neap_destroy_fn destroy_user, neap_handle **ret_handle) {
    int32_t rc = loop == NULL || interval_ns <= 0 ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0)
        rc = schedule(loop, from_now(loop, first_ns), interval_ns, fn, user, destroy_user,
                      ret_handle);
    return taken(rc, user, destroy_user);
}

static int32_t call_soon(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy_user,
                         neap_handle **ret) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    neap_handle *h = np_handle_new(loop, NP_CALL_SOON);
    if (h == NULL)
        return NEAP_ENOMEM;
    np_handle_take(h, user, destroy_user);
    h->fn.call = fn;
    np_enqueue(loop, &h->node);
    np_handle_give(h, ret);
    return 0;
}

int32_t neap_call_soon(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy_user,
                       neap_handle **ret_handle) {
    return taken(call_soon(loop, fn, user, destroy_user, ret_handle), user, destroy_user);
}

/* ---- Posts: a handle made on another thread, which travels in its own mail */

static void post_arrived(np_obj *obj, bool discard) {
    neap_handle *h = np_container(obj, neap_handle, obj);
    neap_loop *loop = obj->loop;
    if (discard) {
        if (h->destroy != NULL)
            h->destroy(h->user);
        np_alloc_put(loop->alloc, h, sizeof *h);
        return;
    }
    np_obj_init(&h->obj, loop, &handle_type);
    init(loop, h, NP_CALL_SOON);
    h->node.own_memory = true;
    np_enqueue(loop, &h->node);
}

static const np_type post_type = {.name = "post", .arrived = post_arrived};

int32_t neap_loop_post(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy_user) {
    if (loop == NULL || fn == NULL)
        return taken(NEAP_EINVAL, user, destroy_user);
    int32_t rc = np_enter_any(loop);
    if (rc < 0)
        return taken(rc, user, destroy_user);
    neap_handle *h = np_alloc_get(loop->alloc, sizeof *h);
    if (h == NULL)
        return taken(NEAP_ENOMEM, user, destroy_user);
    memset(h, 0, sizeof *h);
    h->obj.loop = loop;
    h->obj.type = &post_type;
    h->fn.call = fn;
    np_handle_take(h, user, destroy_user);
    if (!np_mailbox_put(&loop->mail, &h->obj.mail)) {
        post_arrived(&h->obj, true);
        return NEAP_ELOOP_CLOSED;
    }
    np_loop_wake_if_asleep(loop);
    return 0;
}

int32_t neap_handle_reset(neap_handle *handle, int64_t delay_ns) {
    if (handle == NULL || !np_is_handle(&handle->obj))
        return NEAP_EINVAL;
    neap_loop *loop = handle->obj.loop;
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    np_timer_call *t = timer_of(handle);
    if (t == NULL || !handle->node.active || handle->node.cancelled)
        return NEAP_EINVALID_STATE;
    int64_t when = from_now(loop, delay_ns);
    if (np_heap_has(&t->timer.heap))
        np_timer_move(loop, &t->timer, when);
    else if ((rc = np_timer_start(loop, &t->timer, when)) < 0)
        return rc;
    t->when = when;
    if (handle->node.where == NP_AT_READY ||
        handle->node.where == NP_AT_EVENT) /* was due already: no longer */
        np_dequeue(&handle->node);
    return 0;
}

/* ---- Questions */

int32_t neap_handle_cancelled(neap_handle *handle) {
    int32_t rc = np_look(handle->obj.loop);
    return rc < 0 ? rc : np_is_handle(&handle->obj) && handle->node.cancelled;
}

int64_t neap_handle_when(neap_handle *handle) {
    int32_t rc = np_look(handle->obj.loop);
    if (rc < 0)
        return rc;
    np_timer_call *t = np_is_handle(&handle->obj) ? timer_of(handle) : NULL;
    return t != NULL ? t->when : NEAP_EINVAL;
}

int32_t neap_handle_set_name(neap_handle *handle, const char *name) {
    if (handle == NULL || name == NULL || !np_is_handle(&handle->obj))
        return NEAP_EINVAL;
    int32_t rc = np_look(handle->obj.loop);
    if (rc < 0)
        return rc;
    char *copy = np_alloc_text(handle->obj.loop->alloc, name);
    if (copy == NULL)
        return NEAP_ENOMEM;
    np_alloc_put_text(handle->obj.loop->alloc, handle->name);
    handle->name = copy;
    return 0;
}

static const char *state_word(const neap_handle *h) {
    if (h->node.cancelled)
        return "cancelled";
    return h->node.active ? "pending" : "done";
}

int32_t neap_handle_describe(neap_handle *handle, char *buf, size_t cap) {
    static const char *const kinds[] = {
        "?",     "call_soon", "timer",         "repeating timer", "done callback",
        "watch", "signal",    "shutdown hook", "stream"};
    if (handle == NULL || (buf == NULL && cap > 0))
        return NEAP_EINVAL;
    int32_t rc = np_look(handle->obj.loop);
    if (rc < 0)
        return rc;
    if (!np_is_handle(&handle->obj))
        return snprintf(buf, cap, "step of task %s", neap_task_name((neap_task *)(void *)handle));
    const char *name = handle->name != NULL ? handle->name : "callback";
    return snprintf(buf, cap, "%s %s (%s)", kinds[handle->node.call], name, state_word(handle));
}

neap_handle *neap_handle_ref(neap_handle *handle) {
    np_obj_outer_ref(&handle->obj);
    return handle;
}

void neap_handle_unref(neap_handle *handle) {
    if (handle != NULL)
        np_obj_outer_unref(&handle->obj);
}
