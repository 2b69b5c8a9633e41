/* server_end.c: the end of a server: it listens no more -> who serves may finish -> is cancelled -> is aborted. */
#include "base/clock.h"
#include "base/options.h"
#include "base/text.h"
#include "core/handle.h"
#include "net/server.h"

#define GRACE_DEFAULT (10 * NP_NS_PER_S)
#define CANCEL_GRACE_DEFAULT (5 * NP_NS_PER_S)

/* ---- Telling whom it waits for */

static void add_task_names(np_text *t, const neap_server *s) {
    int n = 0;
    for (np_list *at = s->conns.next; at != &s->conns; at = at->next) {
        const np_conn *c = np_container(at, np_conn, link);
        if (c->task != NULL)
            np_text_add(t, "%s%s", n++ == 0 ? ": " : ", ",
                        neap_task_name(neap_future_task(c->task)));
    }
}

static void tell(neap_server *s) {
    neap_loop *loop = s->obj.loop;
    char text[240] = "";
    np_text t = {.bytes = text, .cap = sizeof text};
    s->told = loop->now;
    if (loop->on_log == NULL)
        return;
    np_text_add(&t, "a server that closes waits for %llu connections and %u tasks",
                (unsigned long long)s->open, (unsigned)s->scope->members);
    add_task_names(&t, s);
    np_logf(loop, NEAP_LOG_INFO, "%s", text);
}

/* ---- The steps */

static bool is_inside(const neap_task *task, const neap_scope *scope) {
    const neap_scope *at = np_task_scope(task);
    while (at != NULL && at != scope)
        at = at->parent;
    return at != NULL;
}

static void abort_task(neap_task *t, bool had_time) {
    if (had_time)
        np_report(
            t->f.obj.loop,
            (neap_report){.kind = NEAP_REPORT_ABORTED,
                          .code = NEAP_ETIMEOUT,
                          .message = "the task outlived the end of its server and was aborted",
                          .task = t,
                          .future = &t->f});
    np_task_abort(t);
}

/* Tasks of regions inside of the scope are members of those, and theirs. */
static void abort_tasks(neap_server *s) {
    neap_loop *loop = s->obj.loop;
    for (np_list *at = loop->tasks.next, *next; at != &loop->tasks; at = next) {
        next = at->next; /* an abort ends no other task */
        neap_task *t = np_container(at, neap_task, f.all);
        if (is_inside(t, s->scope) && !np_task_in_step(t))
            abort_task(t, s->cancel_grace > 0);
    }
}

/* Nobody is to begin to serve them any more. */
static void drop_arrived(neap_server *s) {
    while (!np_list_empty(&s->arrived))
        np_conn_drop(np_container(s->arrived.next, np_conn, link));
}

/* Closing one may end the list entries of no other. */
static void close_connections(neap_server *s) {
    for (np_list *at = s->conns.next, *next; at != &s->conns; at = next) {
        neap_sock *sock = np_container(at, np_conn, link)->sock;
        next = at->next;
        if (sock->closed)
            continue;
        np_obj_ref(&sock->obj);
        np_sock_shut(sock);
        np_obj_unref(&sock->obj);
    }
}

static void cancel_tasks(neap_server *s) {
    s->state = NEAP_SERVER_CANCELLING;
    drop_arrived(s);
    s->abort_at = np_time_add(s->obj.loop->now, s->cancel_grace);
    (void)neap_scope_cancel(s->scope, s->reason != NULL ? s->reason : "the server closes");
}

/* Without memory for it the server looks in each turn. */
static void await_members(neap_server *s) {
    neap_future *f = NULL;
    if (s->members != NULL || s->scope->members == 0)
        return;
    if (neap_scope_join(s->scope, &f) < 0) {
        np_server_queue_turn(s);
        return;
    }
    s->members = f;
    np_future_ref(f);
    neap_future_unref(f);
    np_future_wait(f, &s->waiter.node);
}

static bool is_over(const neap_server *s) {
    return np_list_empty(&s->conns) && np_list_empty(&s->arrived) && s->scope->members == 0;
}

/* When it is to look next: a second later, to tell of it, or at the end of the step.  A step without an end is part of
   something that tells by itself. */
static void set_timer(neap_server *s) {
    neap_loop *loop = s->obj.loop;
    int64_t end = s->state == NEAP_SERVER_CLOSING ? s->cancel_at : s->abort_at;
    int64_t next = np_time_add(s->told, NP_NS_PER_S);
    np_timer_stop(loop, &s->timer);
    if (end == NP_NEVER)
        return;
    int64_t when = loop->on_log != NULL && next < end ? next : end;
    if (np_timer_start(loop, &s->timer, when) < 0)
        np_server_queue_turn(s); /* no memory for the timer: it looks in each turn */
}

void np_server_go_on(neap_server *s) {
    neap_loop *loop = s->obj.loop;
    if (s->state == NEAP_SERVER_CLOSING && loop->now >= s->cancel_at && !is_over(s)) {
        cancel_tasks(s);
        if (s->cancel_grace == 0 && s->scope->members > 0) { /* they have their turn before this */
            np_server_queue_turn(s);
            return;
        }
    }
    np_server_hand_out_last(s);
    bool alone = s->scope->members == 0; /* what is open is nobody's to close */
    if (s->state == NEAP_SERVER_CANCELLING && (alone || loop->now >= s->abort_at)) {
        abort_tasks(s);
        close_connections(s);
    }
    if (is_over(s)) {
        np_server_finish(s);
        return;
    }
    await_members(s);
    if (loop->now - s->told >= NP_NS_PER_S)
        tell(s);
    set_timer(s);
}

/* Who has come before is served, if there is time for it. */
static void stop_listening(neap_server *s, bool has_time) {
    if (has_time)
        np_server_take_last(s);
    s->state = NEAP_SERVER_CLOSING;
    s->told = s->obj.loop->now;
    np_server_feed(s);
    np_listeners_close(s);
    np_lot_refuse_all(&s->acceptors, NEAP_ECLOSED);
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int32_t np_server_begin_end(neap_server *s, int64_t grace, int64_t cancel_grace,
                            const char *reason) {
    neap_loop *loop = s->obj.loop;
    if (s->state == NEAP_SERVER_CLOSED)
        return 0;
    if (s->state == NEAP_SERVER_OPEN)
        stop_listening(s, grace > 0);
    if (s->reason == NULL && reason != NULL)
        s->reason = np_alloc_text(loop->alloc, reason);
    s->cancel_at = earlier(s->cancel_at, np_time_add(loop->now, grace));
    s->cancel_grace = earlier(s->cancel_grace, cancel_grace);
    if (s->state == NEAP_SERVER_CANCELLING)
        s->abort_at = earlier(s->abort_at, np_time_add(loop->now, cancel_grace));
    np_server_queue_turn(s);
    return 1;
}

/* ---- For users */

static int64_t time_of(int64_t given, int64_t otherwise) {
    return given == 0 ? otherwise : given < 0 ? 0 : given;
}

int32_t neap_server_close(neap_server *server, const neap_server_close_options *options) {
    neap_server_close_options o;
    int32_t rc = np_options_read(&o, sizeof o, options);
    if (rc == 0)
        rc = server == NULL ? NEAP_EINVAL : np_enter(server->obj.loop);
    if (rc < 0)
        return rc;
    return np_server_begin_end(server, time_of(o.grace_ns, GRACE_DEFAULT),
                               time_of(o.cancel_grace_ns, CANCEL_GRACE_DEFAULT), o.reason);
}

int32_t neap_server_abort(neap_server *server) {
    int32_t rc = server == NULL ? NEAP_EINVAL : np_enter(server->obj.loop);
    if (rc < 0)
        return rc;
    rc = np_server_begin_end(server, 0, 0, NULL);
    if (rc == 0)
        return 0;
    if (server->state == NEAP_SERVER_CLOSING)
        cancel_tasks(server);
    close_connections(server);
    if (server->turn != NULL && server->turn->node.where == NP_AT_READY)
        np_dequeue(&server->turn->node); /* after those that have just been cancelled */
    np_server_queue_turn(server);
    return rc;
}

static const char *what(const neap_future *f) {
    (void)f;
    return "the end of a server";
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_lot *lot = np_container(f, np_parked, f)->lot;
    np_text t = {.bytes = buf, .cap = cap};
    if (lot == NULL)
        return;
    const neap_server *s = np_container(lot, neap_server, closers);
    char name[160];
    np_server_name(s, name, sizeof name);
    np_text_add(&t, "%s%s, which has %llu connections", name[0] != '\0' ? " on " : "", name,
                (unsigned long long)s->open);
}

static void destroy(np_obj *obj) {
    np_lot_fini(np_container(obj, np_parked, f.obj));
    np_obj_free(obj, sizeof(np_parked));
}

static int32_t cancel(neap_future *f, const char *msg) {
    np_lot_cancel(np_container(f, np_parked, f), msg);
    return 1;
}

static void end(neap_future *f) {
    np_lot_refuse(np_container(f, np_parked, f), NEAP_ECLOSED);
}

static const np_future_type closed_type = {.base = {.name = "closed", .destroy = destroy},
                                           .cancel = cancel,
                                           .end = end,
                                           .what = what,
                                           .detail = detail};

int32_t neap_server_closed(neap_server *server, neap_future **ret_future) {
    int32_t rc = server == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(server->obj.loop);
    if (rc < 0 || server->state == NEAP_SERVER_CLOSED)
        return rc;
    np_parked *p = np_lot_park(&server->closers, &closed_type, sizeof *p);
    if (p == NULL)
        return NEAP_ENOMEM;
    p->f.flags &= (uint8_t)~NP_F_RESOURCE; /* nothing is handed over: a cancellation wins */
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}
