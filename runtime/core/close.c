/* close.c: the end of a loop.

   Order: nothing new is taken (life) -> suspended tasks are reported -> the floors above end servers and close sockets,
   watches, signals and processes, the backend drains: operations end with NEAP_ECLOSED -> tasks are aborted -> timers and queued calls go ->
   what the end of operations made ready runs once (not when silent) -> hooks, post-box.  Data by tag stays as long as the memory. */
#include "core/inbuf.h"
#include "core/events.h"
#include "core/future.h"
#include "core/handle.h"
#include "core/task.h"

static void end_operations(neap_loop *loop) {
    if (loop->close_net != NULL)
        loop->close_net(loop);
    if (loop->close_sys != NULL)
        loop->close_sys(loop);
    loop->io.backend->drain(&loop->io);
    np_reap(loop);
}

static void end_tasks(np_list *tasks) {
    while (!np_list_empty(tasks))
        np_task_abort(np_container(tasks->next, neap_task, f.all));
}

static void drop_node(np_ready *node) {
    if (node->kind == NP_RUN_CALL)
        np_handle_cancel(np_container(node, neap_handle, node));
    else
        np_dequeue(node); /* the task's or the future's own */
}

static void drop_calls_of(np_list *list, bool keep_ends) {
    for (np_list *at = list->next, *next; at != list; at = next) {
        np_ready *node = np_container(at, np_ready, link);
        next = at->next;
        if (!keep_ends || node->kind != NP_RUN_CALL ||
            !np_handle_tells_end(np_container(node, neap_handle, node)))
            drop_node(node);
    }
}

static void end_timers(neap_loop *loop) {
    while (loop->timers.len > 0) {
        np_timer *t = np_container(np_heap_pop(&loop->timers), np_timer, heap);
        t->due(loop, t, true);
    }
}

/* Pulled entries are with the host, who still brings them back; what they would do is gone. */
static void end_pulled(neap_loop *loop) {
    while (!np_list_empty(&loop->pulled)) {
        np_ready *node = np_container(loop->pulled.next, np_ready, link);
        node->where = NP_AT_READY;
        drop_node(node);
    }
}

/* Futures that the runtime would have completed end with NEAP_ECLOSED, those of users stay as they are. */
static void end_futures(neap_loop *loop) {
    np_list rest;
    np_list_init(&rest);
    while (!np_list_empty(&loop->futures)) {
        neap_future *f = np_container(loop->futures.next, neap_future, all);
        np_list_unlink(&f->all);
        np_list_append(&rest, &f->all);
        if (np_future_type_of(f)->end != NULL)
            np_future_type_of(f)->end(f);
    }
    np_list_splice(&loop->futures, &rest);
}

/* Callbacks on futures that nobody will complete any more go now, so that no destroy hook outlives the loop. */
static void drop_waiting_calls(neap_loop *loop) {
    while (!np_list_empty(&loop->futures)) {
        neap_future *f = np_container(np_list_pop(&loop->futures), neap_future, all);
        np_future_ref(f);
        drop_calls_of(&f->waiters, false);
        np_future_unref(f);
    }
}

static void drop_hooks(neap_loop *loop) {
    loop->on_report = NULL;
    loop->on_log = NULL;
    loop->on_fatal = NULL;
    loop->on_trace = NULL;
    loop->on_idle = NULL;
    loop->factory = NULL;
    np_hook_set(&loop->report_hook, NULL, NULL);
    np_hook_set(&loop->log_hook, NULL, NULL);
    np_hook_set(&loop->fatal_hook, NULL, NULL);
    np_hook_set(&loop->trace_hook, NULL, NULL);
    np_hook_set(&loop->idle_hook, NULL, NULL);
    np_hook_set(&loop->factory_hook, NULL, NULL);
}

/* Done callbacks may start nothing, so this ends. */
static void run_rest(neap_loop *loop) {
    loop->inside++;
    loop->raised = 0;
    while (!np_list_empty(&loop->ready) || !np_list_empty(&loop->internal))
        np_run_batch(loop, 0);
    loop->inside--;
}

void np_loop_shut(neap_loop *loop, uint32_t flags) {
    bool silent = (flags & NEAP_CLOSE_SILENT) != 0;
    unsigned char life = atomic_exchange(&loop->life, NP_CLOSING);
    if (life == NP_CLOSED)
        atomic_store(&loop->life, NP_CLOSED);
    if (life == NP_CLOSED || life == NP_CLOSING)
        return;
    np_loop_keep(loop);
    if (!silent)
        np_report_pending(loop);
    else
        loop->on_report = NULL;
    drop_calls_of(&loop->ready, true);
    drop_calls_of(&loop->events, false);
    drop_calls_of(&loop->on_shutdown, false);
    end_pulled(loop);
    end_operations(loop);
    end_tasks(&loop->tasks);
    end_tasks(&loop->background);
    end_timers(loop);
    if (!silent)
        run_rest(loop);
    end_futures(loop);
    if (!silent)
        run_rest(loop);
    drop_calls_of(&loop->ready, false);
    drop_calls_of(&loop->internal, false);
    drop_waiting_calls(loop);
    np_report_failures(loop);
    np_events_forget_last(loop);
    np_shutdown_forget(loop);
    np_local_unref(loop, loop->context);
    loop->context = NULL;
    if (loop->lent_in != NULL)
        np_inbuf_clear(loop, loop->lent_in);
    neap_buf_unref(np_lent_take(loop));
    np_inbuf_drop_spares(loop);
    drop_hooks(loop);
    np_take_mail(loop); /* to discard */
    np_io_close(&loop->io);
    np_heap_fini(&loop->timers);
    np_pool_trim(&loop->pool);
    atomic_store_explicit(&loop->life, NP_CLOSED, memory_order_release);
    np_mailbox_close(&loop->mail);
    np_loop_let_go(loop);
}

int32_t neap_loop_close(neap_loop *loop, uint32_t flags) {
    bool known = (flags & ~(uint32_t)NEAP_CLOSE_SILENT) == 0;
    int32_t rc = loop == NULL || !known ? NEAP_EINVAL : np_look(loop);
    if (rc < 0)
        return rc;
    if (loop->inside > 0)
        return NEAP_ELOOP_RUNNING;
    np_loop_shut(loop, flags);
    return 0;
}

int32_t neap_loop_abandon(neap_loop *loop) {
    if (loop == NULL)
        return NEAP_EINVAL;
    if (np_guard_forked(&loop->guard)) {
        loop->io.abandoned = true;
        loop->inside = 0; /* whoever was inside is in the parent */
        loop->owner = np_thread_self();
        np_mailbox_reset(&loop->mail);
    } else {
        int32_t rc = np_look(loop);
        if (rc < 0)
            return rc;
        if (loop->inside > 0)
            return NEAP_ELOOP_RUNNING;
    }
    np_loop_shut(loop, NEAP_CLOSE_SILENT);
    return 0;
}
