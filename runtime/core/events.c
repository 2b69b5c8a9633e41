/* events.c: pull mode: completions taken in batches, and single entries taken out for a host's own queue. */
#include "core/events.h"

#include "core/future.h"
#include "core/handle.h"
#include "core/task.h"

void np_events_add(neap_loop *loop, np_ready *node) {
    node->where = NP_AT_EVENT;
    np_list_append(&loop->events, &node->link);
}

/* ---- Batches */

/* A future that was shown lives until the next call.  It is done, so `all` is free, unless it was shown already. */
static void lend(neap_loop *loop, neap_future *f) {
    if (!np_list_empty(&f->all))
        return;
    np_future_ref(f);
    np_list_append(&loop->lent_events, &f->all);
}

void np_events_forget_last(neap_loop *loop) {
    while (!np_list_empty(&loop->lent_events))
        np_future_unref(np_container(np_list_pop(&loop->lent_events), neap_future, all));
}

static neap_completion show_handle(neap_loop *loop, neap_handle *h) {
    neap_completion ev = {.kind = NEAP_COMPLETION_CALL, .cookie = (uint64_t)(uintptr_t)h->user};
    neap_future *f = np_handle_future(h);
    np_dequeue(&h->node);
    if (f != NULL) {
        np_future_call_of(h)->future = NULL;
        ev.kind = NEAP_COMPLETION_FUTURE;
        ev.object = f;
        lend(loop, f);
        np_future_unref(f);
    }
    if (!np_handle_is_scheduled(h))
        np_handle_drop(h);
    return ev;
}

static neap_completion show(neap_loop *loop, np_ready *node) {
    if (node->kind == NP_RUN_CALL)
        return show_handle(loop, np_container(node, neap_handle, node));
    neap_task *task = np_container(node, neap_task, node);
    np_dequeue(node);
    return (neap_completion){NEAP_COMPLETION_TASK, task->wake, (uint64_t)(uintptr_t)task->user,
                             task};
}

int32_t neap_loop_poll_completions(neap_loop *loop, neap_completion *ev, size_t stride, size_t cap,
                                   int64_t timeout_ns) {
    if (loop == NULL || ev == NULL || cap == 0 || stride < sizeof *ev)
        return NEAP_EINVAL;
    int32_t rc = np_begin_turn(loop);
    if (rc < 0)
        return rc;
    np_events_forget_last(loop);
    rc = np_tick(loop, np_list_empty(&loop->events) ? timeout_ns : 0);
    size_t n = 0;
    for (char *at = (char *)ev; n < cap && !np_list_empty(&loop->events); n++, at += stride)
        *(neap_completion *)(void *)at =
            show(loop, np_container(loop->events.next, np_ready, link));
    int32_t raised = loop->raised;
    loop->raised = 0;
    np_leave(loop);
    return raised != 0 ? raised : rc < 0 ? rc : (int32_t)n;
}

/* ---- Single entries */

static np_obj *owner_of(np_ready *node) {
    return node->kind == NP_RUN_CALL ? &np_container(node, neap_handle, node)->obj
                                     : &np_container(node, neap_task, node)->f.obj;
}

int32_t neap_loop_next_ready(neap_loop *loop, neap_handle **ret_handle) {
    int32_t rc = loop == NULL || ret_handle == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    np_take_mail(loop);
    np_run_internal(loop);
    if (!np_list_empty(&loop->ready)) {
        np_ready *node = np_container(loop->ready.next, np_ready, link);
        np_dequeue(node);
        node->where = NP_AT_PULLED;
        np_list_append(&loop->pulled, &node->link);
        np_obj *obj = owner_of(node);
        np_obj_outer_ref(obj);
        *ret_handle = (neap_handle *)(void *)obj;
        return 1;
    }
    np_report_failures(loop);
    return 0;
}

static np_ready *node_of(neap_handle *h) {
    return np_is_handle(&h->obj) ? &h->node : &((neap_task *)(void *)h)->node;
}

int32_t neap_handle_run(neap_handle *handle) {
    int32_t rc = handle == NULL ? NEAP_EINVAL : np_enter(handle->obj.loop);
    if (rc == NEAP_ELOOP_CLOSED)
        np_obj_outer_unref(&handle->obj); /* brought back too late */
    if (rc < 0)
        return rc;
    neap_loop *loop = handle->obj.loop;
    np_ready *node = node_of(handle);
    if (node->where != NP_AT_PULLED)
        return NEAP_EINVALID_STATE;
    rc = np_begin_turn(loop);
    if (rc < 0)
        return rc;
    np_dequeue(node);
    np_stamp(loop);
    if (np_is_handle(&handle->obj) && handle->node.cancelled)
        np_handle_drop(handle);
    else
        np_run_node(loop, node);
    int32_t raised = loop->raised;
    loop->raised = 0;
    np_leave(loop);
    np_obj_outer_unref(&handle->obj);
    return raised;
}
