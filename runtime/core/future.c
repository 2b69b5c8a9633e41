/* future.c: the life of a future: made, waited for, settled, cancelled, gone. */
#include "core/future.h"

#include "core/buf.h"
#include "core/handle.h"
#include "core/task.h"

/* ---- Made and gone */

neap_future *np_future_new(neap_loop *loop, const np_future_type *type, size_t size) {
    neap_future *f = np_obj_new(loop, &type->base, size);
    if (f == NULL)
        return NULL;
    np_list_init(&f->waiters);
    np_list_init(&f->all);
    np_list_append(&loop->futures, &f->all);
    return f;
}

/* Chains of futures that each have the outcome of the next may be long: the last references are dropped in a loop. */
static void unref_source(neap_future *source) {
    neap_loop *loop = source->obj.loop;
    if (source->obj.refs > 1) {
        np_future_unref(source);
        return;
    }
    np_list_append(&loop->orphans, &source->all);
    if (loop->burying)
        return;
    np_loop_keep(loop); /* these may be its last objects */
    loop->burying = true;
    while (!np_list_empty(&loop->orphans))
        np_future_unref(np_container(np_list_pop(&loop->orphans), neap_future, all));
    loop->burying = false;
    np_loop_let_go(loop);
}

void np_future_clear_value(neap_future *f) {
    uint8_t kind = f->kind;
    f->kind = NEAP_KIND_NONE;
    if (kind == NEAP_KIND_BYTES)
        np_alloc_put(f->obj.loop->alloc, f->value.bytes.data, f->value.bytes.len + 1);
    else if (kind == NP_KIND_BUF)
        neap_buf_unref(f->value.buf);
    else if (kind == NP_KIND_SLICE)
        neap_buf_unref(f->value.slice.buf);
    else if ((kind == NEAP_KIND_PTR || kind == NP_KIND_EXCEPTION) && f->value.ptr.destroy != NULL)
        f->value.ptr.destroy(f->value.ptr.ptr);
    else if (kind == NP_KIND_SOURCE)
        unref_source(f->value.source);
    else if (kind == NEAP_KIND_SOCK && f->value.sock != NULL)
        np_obj_outer_unref((np_obj *)(void *)f->value.sock);
    else if (kind == NEAP_KIND_FILE && f->value.file != NULL)
        np_obj_outer_unref((np_obj *)(void *)f->value.file);
}

static void free_extra(neap_future *f) {
    np_future_extra *x = f->extra;
    if (x == NULL)
        return;
    neap_loop *loop = f->obj.loop;
    f->extra = NULL;
    np_alloc_put_text(loop->alloc, x->message);
    np_alloc_put_text(loop->alloc, x->site);
    np_alloc_put_text(loop->alloc, x->name);
    np_alloc_put_text(loop->alloc, x->cancel_msg);
    if (x->cancel_hook != NULL)
        np_handle_drop(x->cancel_hook);
    np_pool_put(&loop->pool, x, sizeof *x);
}

static void drop_callbacks(neap_future *f) {
    while (!np_list_empty(&f->waiters)) {
        np_ready *node = np_container(np_list_pop(&f->waiters), np_ready, link);
        node->where = NP_AT_NONE;
        np_handle_drop(
            np_container(node, neap_handle, node)); /* only callbacks wait without a reference */
    }
    f->callbacks = 0;
}

void np_future_fini(neap_future *f) {
    np_list_unlink(&f->all);
    drop_callbacks(f);
    np_future_clear_value(f);
    free_extra(f);
}

static void destroy_plain(np_obj *obj) {
    neap_future *f = np_container(obj, neap_future, obj);
    np_future_fini(f);
    np_obj_free(obj, sizeof *f);
}

static int32_t cancel_plain(neap_future *f, const char *msg) {
    np_future_settle_cancelled(f, msg);
    return 1;
}

static const np_future_type plain_type = {.base = {.name = "a future", .destroy = destroy_plain},
                                          .cancel = cancel_plain,
                                          .scopes = NP_SCOPES_DETACH};

int32_t neap_future_new(neap_loop *loop, neap_future **ret_future) {
    if (loop == NULL || ret_future == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(loop);
    if (rc < 0)
        return rc;
    neap_future *f = np_future_new(loop, &plain_type, sizeof *f);
    return f == NULL ? NEAP_ENOMEM : np_future_give(f, ret_future);
}

neap_future *neap_future_ref(neap_future *future) {
    np_obj_outer_ref(&future->obj);
    return future;
}

void neap_future_unref(neap_future *future) {
    if (future != NULL)
        np_obj_outer_unref(&future->obj);
}

neap_loop *neap_future_loop(const neap_future *future) {
    return future->obj.loop;
}

neap_task *neap_future_task(const neap_future *future) {
    return future->is_task ? (neap_task *)(void *)(uintptr_t)future : NULL;
}

np_future_extra *np_future_extra_of(neap_future *f) {
    if (f->extra == NULL)
        f->extra = np_pool_get(&f->obj.loop->pool, sizeof *f->extra);
    return f->extra;
}

/* ---- Waiting */

void np_future_wait(neap_future *f, np_ready *node) {
    node->where = NP_AT_WAIT;
    np_list_append(&f->waiters, &node->link);
    if (node->kind == NP_RUN_CALL)
        f->callbacks++;
}

/* Each node keeps its place in the order; callbacks hold the future until they have run. */
static void wake_waiters(neap_future *f) {
    neap_loop *loop = f->obj.loop;
    for (np_list *at = f->waiters.next, *next; at != &f->waiters; at = next) {
        np_ready *node = np_container(at, np_ready, link);
        next = at->next;
        node->where = NP_AT_READY;
        if (node->kind == NP_RUN_TASK) {
            np_trace(loop, NEAP_TRACE_WAKE, 0, np_container(node, neap_task, node), f, NULL);
        } else if (node->kind == NP_RUN_WAITER) {
            np_list_unlink(at);
            np_list_append(&loop->internal, at);
        }
    }
    f->flags |= NP_F_RETRIEVED;
    f->obj.refs += f->callbacks;
    f->callbacks = 0;
    np_list_splice(&loop->ready, &f->waiters);
    np_loop_nudge(loop);
}

/* ---- Settling */

static void fire_cancel_hook(neap_future *f) {
    neap_handle *hook = f->extra != NULL ? f->extra->cancel_hook : NULL;
    if (hook == NULL)
        return;
    f->extra->cancel_hook = NULL;
    if (f->state == NEAP_STATE_CANCELLED)
        np_handle_fire_for(hook, f);
    else
        np_handle_drop(hook);
}

void np_future_note_failure(neap_future *f) {
    if (f->code == NEAP_ECLOSED || (f->flags & (NP_F_RETRIEVED | NP_F_IGNORED)) != 0)
        return; /* a close is no surprise */
    np_future_ref(f);
    f->flags |= NP_F_FAILED;
    np_list_append(&f->obj.loop->failed, &f->all);
}

void np_future_seen(neap_future *f) {
    f->flags |= NP_F_RETRIEVED;
    if ((f->flags & NP_F_FAILED) == 0)
        return;
    f->flags &= (uint8_t)~NP_F_FAILED;
    np_list_unlink(&f->all);
    np_future_unref(f);
}

void np_future_settle(neap_future *f, uint8_t state) {
    neap_loop *loop = f->obj.loop;
    f->state = state;
    np_list_unlink(&f->all);
    np_trace(loop, NEAP_TRACE_SETTLE, state, f->is_task ? (neap_task *)(void *)f : NULL, f, NULL);
    if (!np_list_empty(&f->waiters))
        wake_waiters(f);
    if (state == NEAP_STATE_ERROR)
        np_future_note_failure(f);
    if (np_unlikely(f->extra != NULL))
        fire_cancel_hook(f);
}

static bool has_hasty_waiter(const neap_future *f) {
    for (const np_list *at = f->waiters.next; at != &f->waiters; at = at->next) {
        const np_ready *node = np_container(at, np_ready, link);
        if (node->kind == NP_RUN_WAITER && np_container(node, np_waiter, node)->at_once)
            return true;
    }
    return false;
}

static void fire_at_once(neap_loop *loop, np_list *waiters) {
    while (!np_list_empty(waiters)) {
        np_waiter *w = np_container(np_list_pop(waiters), np_waiter, node.link);
        if (!w->at_once) {
            np_list_append(&loop->internal, &w->node.link);
            continue;
        }
        w->node.where = NP_AT_NONE;
        w->fire(w);
    }
}

/* What was to run before stays where it is. */
void np_future_settle_at_once(neap_future *f, uint8_t state) {
    neap_loop *loop = f->obj.loop;
    np_list before, own;
    if (!has_hasty_waiter(f)) {
        np_future_settle(f, state);
        return;
    }
    np_list_init(&before);
    np_list_init(&own);
    np_list_splice(&before, &loop->internal);
    np_future_settle(f, state);
    np_list_splice(&own, &loop->internal);
    np_list_splice(&loop->internal, &before);
    fire_at_once(loop, &own);
}

void np_future_set_message(neap_future *f, const char *message) {
    np_future_extra *x = message != NULL ? np_future_extra_of(f) : NULL;
    if (x == NULL)
        return; /* without memory the code's own text has to do */
    np_alloc_put_text(f->obj.loop->alloc, x->message);
    x->message = np_alloc_text(f->obj.loop->alloc, message);
}

void np_future_settle_error(neap_future *f, int32_t code, const char *message) {
    f->code = code;
    np_future_set_message(f, message);
    np_future_settle(f, NEAP_STATE_ERROR);
}

void np_future_settle_cancelled(neap_future *f, const char *msg) {
    np_future_set_message(f, msg);
    np_future_settle(f, NEAP_STATE_CANCELLED);
}

void np_future_settle_as(neap_future *f, neap_future *source) {
    np_future_ref(source);
    f->kind = NP_KIND_SOURCE;
    f->value.source = source;
    np_future_seen(source);
    f->flags |= source->flags & NP_F_RESOURCE;
    np_future_settle(f, source->state);
}

void np_future_deactivate(neap_future *f) {
    if ((f->flags & NP_F_ACTIVE) == 0)
        return;
    f->flags &= (uint8_t)~NP_F_ACTIVE;
    np_future_unref(f);
}

neap_future *np_future_origin(neap_future *f) {
    while (f->kind == NP_KIND_SOURCE)
        f = f->value.source;
    return f;
}

/* ---- Cancelling */

int32_t np_future_cancel(neap_future *f, const char *msg) {
    if (!np_future_pending(f))
        return 0;
    return np_future_type_of(f)->cancel(f, msg);
}

int32_t neap_future_cancel(neap_future *future, const char *msg) {
    if (future == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(future->obj.loop);
    return rc < 0 ? rc : np_future_cancel(future, msg);
}

static int32_t set_cancel_hook(neap_future *f, neap_future_fn fn, void *user,
                               neap_destroy_fn destroy) {
    if (f == NULL || fn == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(f->obj.loop);
    if (rc < 0)
        return rc;
    if (!np_future_pending(f) || f->obj.type != &plain_type.base)
        return NEAP_EINVALID_STATE;
    np_future_extra *x = np_future_extra_of(f);
    neap_handle *h = x == NULL ? NULL : np_handle_new(f->obj.loop, NP_CALL_FUTURE);
    if (h == NULL)
        return NEAP_ENOMEM;
    np_handle_take(h, user, destroy);
    h->fn.future = fn;
    if (x->cancel_hook != NULL)
        np_handle_drop(x->cancel_hook);
    x->cancel_hook = h;
    return 0;
}

int32_t neap_future_set_cancel_hook(neap_future *future, neap_future_fn fn, void *user,
                                    neap_destroy_fn destroy) {
    int32_t rc = set_cancel_hook(future, fn, user, destroy);
    if (rc < 0 && destroy != NULL)
        destroy(user);
    return rc;
}

/* ---- Callbacks */

static int32_t on_done(neap_future *f, neap_future_fn fn, void *user, neap_destroy_fn destroy,
                       neap_handle **ret) {
    if (f == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(f->obj.loop);
    if (rc < 0)
        return rc;
    neap_handle *h = np_handle_new(f->obj.loop, NP_CALL_FUTURE);
    if (h == NULL)
        return NEAP_ENOMEM;
    np_handle_take(h, user, destroy);
    h->fn.future = fn;
    np_future_call_of(h)->future = f;
    if (np_future_pending(f)) {
        np_future_wait(f, &h->node);
    } else {
        np_future_ref(f);
        np_future_seen(f);
        np_enqueue(f->obj.loop, &h->node);
    }
    np_handle_give(h, ret);
    return 0;
}

int32_t neap_future_on_done(neap_future *future, neap_future_fn fn, void *user,
                            neap_destroy_fn destroy, neap_handle **ret_handle) {
    int32_t rc = on_done(future, fn, user, destroy, ret_handle);
    if (rc < 0 && destroy != NULL)
        destroy(user);
    return rc;
}

int32_t neap_future_remove_done(neap_future *future, neap_future_fn fn, void *user) {
    if (future == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(future->obj.loop);
    if (rc < 0)
        return rc;
    int32_t removed = 0;
    for (np_list *at = future->waiters.next, *next; at != &future->waiters; at = next) {
        next = at->next;
        np_ready *node = np_container(at, np_ready, link);
        neap_handle *h = node->kind == NP_RUN_CALL ? np_container(node, neap_handle, node) : NULL;
        if (h == NULL || h->fn.future != fn || h->user != user)
            continue;
        np_handle_cancel(h);
        removed++;
    }
    return removed;
}

int32_t neap_future_waiters(neap_future *future) {
    int32_t rc = np_look(future->obj.loop);
    if (rc < 0)
        return rc;
    for (np_list *at = future->waiters.next; at != &future->waiters; at = at->next)
        rc++;
    return rc;
}

int32_t neap_future_ignore(neap_future *future) {
    int32_t rc = np_look(future->obj.loop);
    if (rc < 0)
        return rc;
    future->flags |= NP_F_IGNORED;
    np_future_seen(future);
    return rc;
}

int32_t neap_future_set_site(neap_future *future, const char *site) {
    if (future == NULL || site == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(future->obj.loop);
    if (rc < 0)
        return rc;
    np_future_extra *x = np_future_extra_of(future);
    char *copy = x == NULL ? NULL : np_alloc_text(future->obj.loop->alloc, site);
    if (copy == NULL)
        return NEAP_ENOMEM;
    np_alloc_put_text(future->obj.loop->alloc, x->site);
    x->site = copy;
    return 0;
}

const char *neap_future_site(neap_future *future) {
    return future->extra != NULL && future->extra->site != NULL ? future->extra->site : "";
}
